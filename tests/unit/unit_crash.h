/* SPDX-License-Identifier: BSD-3-Clause */
/* What a crash would leave: a copy of the pool file, taken while it is mounted. */
#ifndef PINFS_TESTS_UNIT_CRASH_H
#define PINFS_TESTS_UNIT_CRASH_H

#include <unistd.h>

#include "tests/unit/unit_file.h"

/* Mounted so that the background thread does nothing by itself; otherwise as opt says. */
static inline struct fs *
unit_mount_options(const char *path, struct fs_options opt)
{
	struct pool_error err;
	struct fs *fs = unit_mount(path);
	int r;

	ck_assert_ok(fs_umount(fs));
	opt.commit_s = 3600;
	r = fs_mount(&fs, path, &opt, &err);
	ck_assert_msg(r == 0, "mount %s: %s", path, err.text);
	return fs;
}

/* domain -1: what it is. */
static inline struct fs *
unit_mount_domain(const char *path, int domain)
{
	struct fs_options opt;

	fs_options_default(&opt);
	opt.pool.domain = domain;
	return unit_mount_options(path, opt);
}

static inline struct fs *
unit_mount_quiet(const char *path)
{
	return unit_mount_domain(path, -1);
}

static inline void
unit_copy(const char *from, const char *to)
{
	static char buf[1 << 20];
	int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ssize_t n;

	ck_assert(in >= 0 && out >= 0);
	while ((n = read(in, buf, sizeof(buf))) > 0)
		ck_assert_int_eq(write(out, buf, (size_t)n), n);
	ck_assert_int_eq(n, 0);
	close(in);
	close(out);
}

/* The crash image of the pool at path, checked and mounted. */
static inline struct fs *
unit_crash(const char *path)
{
	const char *copy = unit_pool_path();

	unit_copy(path, copy);
	unit_check(copy);
	return unit_mount_quiet(copy);
}

/* In the crash image, the file has that size and all its bytes are c. */
static inline void
unit_crash_expect(const char *path, const char *name, uint64_t size, uint8_t c)
{
	struct fs *fs = unit_crash(path);
	struct file *f = unit_file(fs, name, O_RDONLY);

	ck_assert_uint_eq(unit_size(f), size);
	if (size > 0)
		unit_expect(f, 0, size, c);
	fs_release(f);
	ck_assert_ok(fs_umount(fs));
}

#endif
