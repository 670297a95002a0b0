/* SPDX-License-Identifier: BSD-3-Clause */
/* Faultable mappings: letting writeback know which pages were stored to.
 *
 * The mapping is registered with a userfaultfd for asynchronous write protection: the kernel resolves a store's
 * fault by itself, and remembers that the page was stored to. The daemon asks it (PAGEMAP_SCAN), which protects the
 * pages again. Nobody reads from the descriptor; it must be open as long as the mapping is to be protected.
 * UFFD_USER_MODE_ONLY is what needs no privilege; asynchronous faults of the kernel, in read(2) into the mapping,
 * work nevertheless.
 *
 * All pages are protected here, before the address is known to anybody: the mapping starts clean.
 *
 * Where anything is missing the pin remains as it is, and counts as dirty at each writeback.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "client/client_i.h"

/* The kernel's numbers, for headers older than 6.7. */
#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif

static int
protect(struct pinfs_map *m)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_WP_UNPOPULATED |
		    UFFD_FEATURE_WP_ASYNC,
	};
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)m->addr, .len = m->len },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	struct uffdio_writeprotect wp = { .range = reg.range, .mode = UFFDIO_WRITEPROTECT_MODE_WP };

	m->uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	if (m->uffd < 0)
		return -errno;
	/* A kernel that does not know one of the features says EINVAL: it is too old. */
	if (ioctl(m->uffd, UFFDIO_API, &api) < 0)
		return errno == EINVAL ? -ENOSYS : -errno;
	if (ioctl(m->uffd, UFFDIO_REGISTER, &reg) < 0 || ioctl(m->uffd, UFFDIO_WRITEPROTECT, &wp) < 0)
		return -errno;
	return 0;
}

static int
track(struct pinfs_map *m, const struct map_range *r)
{
	struct pinfs_track t = {
		.size = sizeof(t),
		.id = m->pin_id,
		.off = r->off,
		.len = r->len,
		.addr = (uintptr_t)(m->addr + r->at),
	};

	if (ioctl(m->fd, PINFS_IOC_TRACK, &t) < 0)
		return -errno;
	if (t.tracked)
		return 0;
	return t.reason && t.reason <= 4095 ? -(int)t.reason : -EOPNOTSUPP;
}

int
track_start(struct pinfs_map *m)
{
	struct pinfs_track none = { .size = sizeof(none), .id = m->pin_id };
	int err = protect(m);

	for (unsigned k = 0; k < m->nranges && !err; k++)
		err = track(m, &m->ranges[k]);
	if (!err)
		return 1;
	/* Some ranges may be tracked. If this fails, too, the daemon finds out that they are not protected any more. */
	ioctl(m->fd, PINFS_IOC_TRACK, &none);
	if (m->uffd >= 0)
		close(m->uffd);
	m->uffd = -1;
	return err;
}
