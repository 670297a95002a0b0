/* SPDX-License-Identifier: BSD-3-Clause */
/* Shorthand for tests of names and attributes: a mounted pool with a root
 * directory, and operations that fail the test unless they succeed.
 */
#ifndef PINFS_TESTS_UNIT_NAMES_H
#define PINFS_TESTS_UNIT_NAMES_H

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fs/fs_i.h"
#include "tests/unit/unit.h"

static const struct fs_cred cred_root = { .fsetid = true };
static const struct fs_cred cred_user = { .uid = 1000, .gid = 100, .umask = 022 };

static const char *pool_at;
static struct fs *fs;
static struct inode *root;

static inline void
setup_mount(void)
{
	fs = unit_mount(pool_at);
	ck_assert_ok(inode_get(fs, INO_ROOT, &root));
}

static inline void
setup(void)
{
	pool_at = unit_mkpool(16);
	setup_mount();
}

static inline void
remount(void)
{
	inode_put(root);
	ck_assert_ok(fs_umount(fs));
	setup_mount();
}

/* As after SIGKILL: what is not committed is lost. */
static inline void
crash(void)
{
	fs_abandon(fs);
	setup_mount();
}

static inline void
teardown(void)
{
	inode_put(root);
	ck_assert_ok(fs_umount(fs));
}

static inline struct inode *
lookup(struct inode *dir, const char *name)
{
	struct inode *i = NULL;

	ck_assert_ok(fs_lookup(fs, dir, name, &i));
	return i;
}

static inline int
lookup_error(struct inode *dir, const char *name)
{
	struct inode *i = NULL;
	int err = fs_lookup(fs, dir, name, &i);

	if (!err)
		inode_put(i);
	return err;
}

static inline bool
exists(struct inode *dir, const char *name)
{
	int err = lookup_error(dir, name);

	ck_assert(err == 0 || err == -ENOENT);
	return err == 0;
}

/* Made as root with umask 0; with a reference. */
static inline struct inode *
make_file(struct inode *dir, const char *name)
{
	struct inode *i = NULL;

	ck_assert_ok(fs_create(fs, dir, name, S_IFREG | 0644, 0, &cred_root, &i));
	return i;
}

static inline struct inode *
make_dir(struct inode *dir, const char *name)
{
	struct inode *i = NULL;

	ck_assert_ok(fs_mkdir(fs, dir, name, 0755, &cred_root, &i));
	return i;
}

static inline uint64_t
touch_file(struct inode *dir, const char *name)
{
	struct inode *i = make_file(dir, name);
	uint64_t ino = i->ino;

	inode_put(i);
	return ino;
}

static inline struct stat
stat_of(struct inode *i)
{
	struct stat st;

	inode_stat(i, &st);
	return st;
}

static inline void
set_flags(struct inode *i, uint32_t flags)
{
	ck_assert_ok(fs_setflags(fs, i, flags, 0, &cred_root));
}

static inline uint64_t
inodes_in_use(void)
{
	uint64_t ninodes, data, nodes;

	pool_counters(fs->pool, &ninodes, &data, &nodes);
	return ninodes;
}

#endif
