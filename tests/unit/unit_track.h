/* SPDX-License-Identifier: BSD-3-Clause */
/* A client's mapping of a run of the pool whose stores the kernel tells. */
#ifndef PINFS_TESTS_UNIT_TRACK_H
#define PINFS_TESTS_UNIT_TRACK_H

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif

struct mapping {
	uint8_t *at;
	size_t len;
	int uffd;
};

/* -errno: the kernel can't. */
static inline int
protect(struct mapping *m)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP |
		UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_WP_UNPOPULATED | UFFD_FEATURE_WP_ASYNC };
	struct uffdio_register reg = { .range = { (uintptr_t)m->at, m->len }, .mode = UFFDIO_REGISTER_MODE_WP };

	m->uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	if (m->uffd < 0)
		return -errno;
	if (ioctl(m->uffd, UFFDIO_API, &api) < 0 || ioctl(m->uffd, UFFDIO_REGISTER, &reg) < 0)
		return -errno;
	return 0;
}

static inline void
unmap(struct mapping *m)
{
	munmap(m->at, m->len);
	if (m->uffd >= 0)
		close(m->uffd);
}

#endif
