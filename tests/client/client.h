/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of libpinfs share: files on the mount that $PINFS_TEST_MNT names. */
#ifndef PINFS_TESTS_CLIENT_H
#define PINFS_TESTS_CLIENT_H

#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <pinfs/pinfs.h>

#define BLK 4096

static inline const char *
test_path(const char *name)
{
	static char path[PATH_MAX];
	const char *mnt = getenv("PINFS_TEST_MNT");

	ck_assert_msg(mnt, "PINFS_TEST_MNT is not set: run this by tests/client/client.sh");
	snprintf(path, sizeof(path), "%s/%s", mnt, name);
	return path;
}

/* A new file of that many blocks, each full of its letter: 'a', 'b', ... */
static inline int
test_file(const char *name, unsigned blocks)
{
	char block[BLK];
	int fd;

	unlink(test_path(name));
	fd = open(test_path(name), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	ck_assert_msg(fd >= 0, "%s: %s", test_path(name), strerror(errno));
	for (unsigned k = 0; k < blocks; k++) {
		memset(block, 'a' + (int)(k % 26), sizeof(block));
		ck_assert_int_eq(pwrite(fd, block, sizeof(block), (off_t)k * BLK), BLK);
	}
	return fd;
}

static inline char
test_byte(int fd, uint64_t off)
{
	char c = 0;

	ck_assert_int_eq(pread(fd, &c, 1, (off_t)off), 1);
	return c;
}

static inline struct pinfs_info
test_info(int fd)
{
	struct pinfs_info in = { .size = sizeof(in) };

	ck_assert_int_eq(ioctl(fd, PINFS_IOC_INFO, &in), 0);
	return in;
}

static inline uint64_t
test_pins(int fd)
{
	struct pinfs_info in = test_info(fd);

	return in.read_pins + in.write_pins;
}

/* Is there a mapping at p, with or without access? */
static inline bool
test_mapped(const void *p)
{
	unsigned char vec;

	return mincore((void *)((uintptr_t)p & ~(uintptr_t)(BLK - 1)), BLK, &vec) == 0;
}

#endif
