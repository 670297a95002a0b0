/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of pins share. */
#ifndef PINFS_TESTS_UNIT_PIN_H
#define PINFS_TESTS_UNIT_PIN_H

#include "fs/fs_i.h"
#include "tests/unit/unit_crash.h"

#define BLK ((uint64_t)BLK_SIZE)

static inline struct fs_counters
counters(struct fs *fs)
{
	struct fs_counters c;

	fs_counters(fs, &c);
	return c;
}

static inline uint64_t
quarantined(struct fs *fs)
{
	struct alloc_stats st;

	alloc_stats(pool_alloc(fs_pool(fs)), &st);
	return st.quarantined;
}

/* Pin one range. */
static inline int
try_pin(struct file *f, enum pin_access access, unsigned flags, uint64_t off, uint64_t len, uint64_t *id,
    struct pin_range *range)
{
	*range = (struct pin_range){ .off = off, .len = len };
	return pin_add(f, &(struct pin_params){ access, PIN_TRANSIENT, flags, FS_PINNED_DEFAULT }, range, 1,
	    &unit_cred, id);
}

/* The same, for a range that lies in one piece: where. */
static inline uint8_t *
pin(struct file *f, enum pin_access access, uint64_t off, uint64_t len, uint64_t *id)
{
	struct pin_range r;

	ck_assert_ok(try_pin(f, access, 0, off, len, id, &r));
	ck_assert_uint_ne(r.pool_off, UINT64_MAX);
	ck_assert_uint_eq(r.ext_len, r.len);
	return pool_block(fs_pool(f->inode->fs), r.pool_off >> BLK_SHIFT);
}

static inline void
sync_file(struct file *f)
{
	ck_assert_ok(fs_fsync_wait(f->inode->fs, f->inode, false));
}

static inline struct map_extent
map_at(struct file *f, uint64_t off)
{
	struct map_extent x;

	ck_assert_int_eq(map_extents(f->inode, off, BLK, &x, 1), 1);
	return x;
}

/* Everything is released: the pool has as much space as before. */
static inline void
finish(struct fs *fs, const char *path, struct file *f, uint64_t free_before)
{
	ck_assert_ok(fs_truncate(f->inode, 0));
	fs_release(f);
	ck_assert_uint_eq(unit_free_blocks(fs), free_before);
	ck_assert_uint_eq(unit_reserved_blocks(fs), 0);
	ck_assert_uint_eq(quarantined(fs), 0);
	ck_assert_uint_eq(counters(fs).pins, 0);
	ck_assert_uint_eq(counters(fs).pinned_blocks, 0);
	ck_assert_ok(fs_umount(fs));
	unit_check(path);
}

/* A pool with an empty file f that is open, and how many blocks are free then. */
#define START(mib) \
	const char *path = unit_mkpool(mib); \
	struct fs *fs = unit_mount_quiet(path); \
	struct file *f = unit_file(fs, "f", O_RDWR); \
	uint64_t before = unit_free_blocks(fs)

#endif
