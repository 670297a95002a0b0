/* SPDX-License-Identifier: BSD-3-Clause */
/* Pins: blocks that stay where they are, bounces, and what becomes of blocks that a file lets go of. */
#include "fs/pin_i.h"

#include <linux/falloc.h>

#include "tests/unit/unit_pin.h"

START_TEST(test_coherence)
{
	uint64_t id;
	uint8_t *p;
	START(8);

	unit_fill(f, 0, 10 * BLK, 'a');
	sync_file(f);
	p = pin(f, PIN_WRITE, 2 * BLK, 4 * BLK, &id);
	ck_assert_int_eq(p[0], 'a');
	memset(p + 100, 'b', 2 * BLK);
	unit_expect(f, 0, 2 * BLK + 100, 'a');
	unit_expect(f, 2 * BLK + 100, 2 * BLK, 'b');
	unit_fill(f, 3 * BLK, 5 * BLK, 'c');
	ck_assert_int_eq(p[BLK], 'c');
	ck_assert_int_eq(p[4 * BLK - 1], 'c');
	ck_assert_int_eq(p[BLK - 1], 'b');
	ck_assert(inode_write_pinned(f->inode));
	ck_assert_ok(pin_remove(f, id));
	ck_assert(!inode_write_pinned(f->inode));
	ck_assert_err(pin_remove(f, id), ENOENT);
	finish(fs, path, f, before);
}
END_TEST

/* Zeroing takes pinned blocks from the file, as punching does: nothing that DMA stores later is to be in the zeroes. */
START_TEST(test_zero_range)
{
	for (int synced = 0; synced < 2; synced++) {
		uint64_t w, r;
		uint8_t *p, *q;
		START(8);

		unit_fill(f, 0, 10 * BLK, 'a');
		if (synced)
			sync_file(f);
		p = pin(f, PIN_WRITE, 2 * BLK, 4 * BLK, &w);
		q = pin(f, PIN_READ, 6 * BLK, 2 * BLK, &r);
		ck_assert_ok(fs_fallocate(f, FALLOC_FL_ZERO_RANGE, BLK + 100, 6 * BLK));
		ck_assert_int_eq(p[BLK], 'a');
		ck_assert_int_eq(q[0], 'a');
		memset(p, 'x', 4 * BLK);
		unit_expect(f, 0, BLK + 100, 'a');
		unit_expect(f, BLK + 100, 6 * BLK, 0);
		unit_expect(f, 7 * BLK + 100, BLK, 'a');
		sync_file(f);
		unit_fill(f, 0, 10 * BLK, 'b');
		memset(p, 'y', 4 * BLK);
		unit_expect(f, 0, 10 * BLK, 'b');
		sync_file(f);
		unit_crash_expect(path, "f", 10 * BLK, 'b');
		ck_assert_ok(pin_remove(f, w));
		ck_assert_ok(pin_remove(f, r));
		finish(fs, path, f, before);
	}
}
END_TEST

START_TEST(test_bounce)
{
	uint64_t id;
	uint8_t *p;
	struct map_extent x;
	START(8);

	/* First over a hole, so that each fsync has to find two blocks in the reserve. */
	ck_assert_ok(fs_truncate(f->inode, 8 * BLK));
	p = pin(f, PIN_WRITE, 0, 8 * BLK, &id);
	for (int c = 'a'; c < 'f'; c++) {
		memset(p, c, 8 * BLK);
		sync_file(f);
		memset(p, 'z', 8 * BLK);
		unit_crash_expect(path, "f", 8 * BLK, (uint8_t)c);
		unit_expect(f, 0, 8 * BLK, 'z');
	}
	ck_assert_uint_eq(counters(fs).bounced_blocks, 5 * 8);
	ck_assert_uint_eq(unit_reserved_blocks(fs) % 8, 0);
	x = map_at(f, 0);
	ck_assert_uint_eq(x.flags, MAP_DIRTY | MAP_WPINNED);

	/* The last unpin: the block itself becomes durable. */
	ck_assert_ok(pin_remove(f, id));
	ck_assert_uint_eq(unit_reserved_blocks(fs), 0);
	sync_file(f);
	ck_assert_uint_eq(counters(fs).bounced_blocks, 5 * 8);
	ck_assert_uint_eq(map_at(f, 0).pool_off, x.pool_off);
	ck_assert_uint_eq(map_at(f, 0).flags, MAP_DURABLE);
	ck_assert_uint_eq(f->inode->live.extents, 0);
	ck_assert_uint_eq(unit_free_blocks(fs), before - 8);
	unit_crash_expect(path, "f", 8 * BLK, 'z');
	finish(fs, path, f, before);
}
END_TEST

/* There the copy is made in another way. */
START_TEST(test_bounce_pmem)
{
	const char *path = unit_mkpool(8);
	struct fs *fs = unit_mount_domain(path, DOMAIN_PMEM);
	struct file *f = unit_file(fs, "f", O_RDWR);
	uint64_t id, size = 37 * BLK + 10;
	uint8_t *p;

	ck_assert_ok(fs_truncate(f->inode, size));
	p = pin(f, PIN_WRITE, 0, size, &id);
	memset(p, 'a', 38 * BLK);
	sync_file(f);
	unit_crash_expect(path, "f", size, 'a');
	ck_assert_ok(pin_remove(f, id));
	fs_release(f);
	ck_assert_ok(fs_umount(fs));
	unit_check(path);
}
END_TEST

START_TEST(test_unpin_one_of_two)
{
	uint64_t id1, id2;
	uint8_t *p, *q;
	START(8);

	unit_fill(f, 0, 8 * BLK, 'a');
	sync_file(f);
	p = pin(f, PIN_WRITE, 0, 6 * BLK, &id1);
	q = pin(f, PIN_WRITE, 4 * BLK, 4 * BLK, &id2);
	ck_assert_ptr_eq(p + 4 * BLK, q);
	sync_file(f);
	ck_assert_uint_eq(counters(fs).bounced_blocks, 8);
	ck_assert_ok(pin_remove(f, id1));
	sync_file(f);
	ck_assert_uint_eq(counters(fs).bounced_blocks, 12);
	ck_assert_uint_eq(map_at(f, 0).flags, MAP_DURABLE);
	ck_assert_uint_eq(map_at(f, 5 * BLK).flags, MAP_DIRTY | MAP_WPINNED);
	memset(q, 'b', 4 * BLK);
	sync_file(f);
	unit_expect(f, 4 * BLK, 4 * BLK, 'b');
	ck_assert_ok(pin_remove(f, id2));
	finish(fs, path, f, before);
}
END_TEST

static struct file *hook_file;
static uint64_t hook_id;

/* While blocks are bounced they are unpinned and cut, and somebody else gets what is free. */
static void
cut_hook(struct inode *i, enum writeback_point at)
{
	struct file *g;

	if (!hook_file || hook_file->inode != i || at != WRITEBACK_TAKEN)
		return;
	ck_assert_ok(fs_truncate(i, BLK));
	ck_assert_ok(pin_remove(hook_file, hook_id));
	g = unit_file(i->fs, "other", O_RDWR);
	unit_fill(g, 0, 64 * BLK, 'x');
	fs_release(g);
}

START_TEST(test_cut_during_bounce)
{
	struct file *g;
	uint8_t *p;
	START(4);

	g = unit_file(fs, "other", O_RDWR);
	unit_fill(f, 0, 8 * BLK, 'a');
	p = pin(f, PIN_WRITE, 0, 8 * BLK, &hook_id);
	memset(p, 'b', 8 * BLK);
	hook_file = f;
	__atomic_store_n(&writeback_test_hook, cut_hook, __ATOMIC_RELEASE);
	sync_file(f);
	__atomic_store_n(&writeback_test_hook, NULL, __ATOMIC_RELEASE);
	unit_crash_expect(path, "f", 8 * BLK, 'b');
	unit_expect(f, 0, BLK, 'b');
	sync_file(f);
	unit_crash_expect(path, "f", BLK, 'b');
	ck_assert_ok(fs_truncate(g->inode, 0));
	fs_release(g);
	unit_unlink(fs, "other");
	finish(fs, path, f, before);
}
END_TEST

START_TEST(test_read_pin_in_place)
{
	struct pin_range r;
	uint64_t id, hole, off, free_blocks;
	uint8_t *p;
	START(8);

	unit_fill(f, 0, 4 * BLK, 'a');
	ck_assert_ok(fs_truncate(f->inode, 8 * BLK));
	sync_file(f);
	off = map_at(f, 0).pool_off;
	free_blocks = unit_free_blocks(fs);
	p = pin(f, PIN_READ, 0, 4 * BLK, &id);
	ck_assert_ptr_eq(p, pool_block(fs_pool(fs), off >> BLK_SHIFT));
	ck_assert_ok(try_pin(f, PIN_READ, 0, 4 * BLK, 4 * BLK, &hole, &r));
	ck_assert_uint_eq(r.pool_off, UINT64_MAX);
	ck_assert_uint_eq(r.ext_len, 4 * BLK);
	ck_assert_uint_eq(unit_free_blocks(fs), free_blocks);
	ck_assert_uint_eq(map_at(f, 0).flags, MAP_DURABLE | MAP_RPINNED);
	ck_assert(!inode_is_dirty(f->inode));
	/* What is written to the hole is not the pin's. */
	unit_fill(f, 4 * BLK, 4 * BLK, 'h');
	sync_file(f);
	ck_assert_uint_eq(map_at(f, 5 * BLK).flags, MAP_DURABLE);
	ck_assert_ok(pin_remove(f, hole));

	/* A write has to be seen by the pinner, and not by the durable image. */
	unit_fill(f, BLK, 2 * BLK, 'b');
	ck_assert_int_eq(p[0], 'a');
	ck_assert_int_eq(p[BLK], 'b');
	ck_assert_int_eq(p[3 * BLK - 1], 'b');
	ck_assert_int_eq(p[3 * BLK], 'a');
	{
		struct fs *image = unit_crash(path);
		struct file *g = unit_file(image, "f", O_RDONLY);

		unit_expect(g, 0, 4 * BLK, 'a');
		fs_release(g);
		ck_assert_ok(fs_umount(image));
	}
	sync_file(f);
	ck_assert_uint_eq(map_at(f, BLK).flags, MAP_DURABLE | MAP_RPINNED);
	ck_assert_uint_eq(map_at(f, BLK).pool_off, off + BLK);
	unit_fill(f, BLK, 2 * BLK, 'c');
	ck_assert_int_eq(p[2 * BLK], 'c');
	ck_assert_ok(pin_remove(f, id));
	sync_file(f);
	ck_assert_uint_eq(f->inode->live.extents, 0);
	unit_expect(f, BLK, 2 * BLK, 'c');
	finish(fs, path, f, before);
}
END_TEST

/* One pin whose ranges overlap: each block is counted once for each range that has it. */
START_TEST(test_overlapping_ranges)
{
	static const struct { uint64_t off, len; } ranges[][2] = {
		{ { 2, 1 }, { 2, 4 } }, { { 2, 4 }, { 2, 1 } }, { { 2, 2 }, { 3, 2 } }, { { 5, 1 }, { 4, 3 } },
		{ { 1, 6 }, { 3, 1 } }, { { 2, 2 }, { 4, 2 } }, { { 2, 2 }, { 2, 2 } },
	};
	START(8);

	for (unsigned k = 0; k < 2 * sizeof(ranges) / sizeof(ranges[0]); k++) {
		struct pin_params p = { k % 2 ? PIN_WRITE : PIN_READ, PIN_TRANSIENT, 0, FS_PINNED_DEFAULT };
		struct pin_range r[2];
		uint64_t id;

		unit_fill(f, 0, 8 * BLK, 'a');
		sync_file(f);
		for (unsigned j = 0; j < 2; j++)
			r[j] = (struct pin_range){ .off = ranges[k / 2][j].off * BLK, .len = ranges[k / 2][j].len * BLK };
		ck_assert_ok(pin_add(f, &p, r, 2, &unit_cred, &id));
		/* what the file lets go of is the pin's until its end, and no longer */
		ck_assert_ok(fs_truncate(f->inode, 3 * BLK));
		ck_assert_ok(pin_remove(f, id));
		ck_assert_uint_eq(quarantined(fs), 0);
		sync_file(f);
		ck_assert_uint_eq(f->inode->live.extents, 0);
	}
	finish(fs, path, f, before);
}
END_TEST

START_TEST(test_write_pin_over_read_pin)
{
	uint64_t rid, wid;
	uint8_t *p, *q;
	START(8);

	unit_fill(f, 0, 4 * BLK, 'a');
	sync_file(f);
	p = pin(f, PIN_READ, 0, 4 * BLK, &rid);
	q = pin(f, PIN_WRITE, BLK, 2 * BLK, &wid);
	ck_assert_ptr_eq(p + BLK, q);
	memset(q, 'b', 2 * BLK);
	unit_crash_expect(path, "f", 4 * BLK, 'a');
	sync_file(f);
	unit_expect(f, BLK, 2 * BLK, 'b');
	ck_assert_ok(pin_remove(f, rid));
	ck_assert_uint_eq(map_at(f, BLK).flags, MAP_DIRTY | MAP_WPINNED);
	ck_assert_uint_eq(map_at(f, 0).flags, MAP_DURABLE);
	ck_assert_ok(pin_remove(f, wid));
	sync_file(f);
	finish(fs, path, f, before);
}
END_TEST

START_TEST(test_truncate_under_pins)
{
	uint64_t wid, rid, r2;
	struct pin_range half;
	uint8_t *p, *q;
	START(4);

	unit_fill(f, 0, 16 * BLK, 'a');
	sync_file(f);
	p = pin(f, PIN_WRITE, 0, 8 * BLK, &wid);
	q = pin(f, PIN_READ, 8 * BLK, 8 * BLK, &rid);
	ck_assert_ok(try_pin(f, PIN_READ, 0, 4 * BLK, 8 * BLK, &r2, &half)); /* half on each */
	ck_assert_ok(fs_truncate(f->inode, 0));
	ck_assert_uint_eq(quarantined(fs), 8);
	sync_file(f);
	unit_crash_expect(path, "f", 0, 0);
	/* Neither stores nor other files' data meet. */
	unit_fill(f, 0, 600 * BLK, 'n');
	sync_file(f);
	memset(p, 'p', 8 * BLK);
	ck_assert_int_eq(q[0], 'a');
	ck_assert_int_eq(q[8 * BLK - 1], 'a');
	unit_expect(f, 0, 600 * BLK, 'n');
	/* New pins of the same range have nothing to do with the old ones. */
	{
		uint64_t id;
		uint8_t *n = pin(f, PIN_WRITE, 0, 8 * BLK, &id);

		ck_assert_ptr_ne(n, p);
		ck_assert_ok(pin_remove(f, id));
	}
	ck_assert_ok(fs_truncate(f->inode, 0));
	ck_assert_uint_eq(unit_free_blocks(fs), before - 16);
	ck_assert_ok(pin_remove(f, wid));
	ck_assert_uint_eq(unit_free_blocks(fs), before - 12);
	/* those count, too, that were durable and are pinned for reading */
	ck_assert_uint_eq(quarantined(fs), 12);
	ck_assert_ok(pin_remove(f, r2));
	ck_assert_uint_eq(unit_free_blocks(fs), before - 8);
	ck_assert_uint_eq(quarantined(fs), 8);
	ck_assert_ok(pin_remove(f, rid));
	finish(fs, path, f, before);
}
END_TEST

START_TEST(test_unpin_before_cut_is_durable)
{
	uint64_t id;
	START(8);

	/* The block is in the durable map when the last pin goes, and must not be free before that lets go. */
	unit_fill(f, 0, 4 * BLK, 'a');
	sync_file(f);
	(void)pin(f, PIN_READ, 0, 4 * BLK, &id);
	ck_assert_ok(fs_truncate(f->inode, 0));
	ck_assert_ok(pin_remove(f, id));
	unit_fill(f, 0, 600 * BLK, 'b');
	unit_crash_expect(path, "f", 4 * BLK, 'a');
	/* The other way round, but the transaction that lets go is not committed yet. */
	ck_assert_ok(fs_truncate(f->inode, 0));
	unit_fill(f, 0, 4 * BLK, 'c');
	sync_file(f);
	(void)pin(f, PIN_READ, 0, 4 * BLK, &id);
	ck_assert_ok(fs_truncate(f->inode, 0));
	{
		uint64_t txn;

		ck_assert_ok(writeback_inode(f->inode, &txn));
		ck_assert_ok(pin_remove(f, id));
		unit_fill(f, 0, 600 * BLK, 'd');
		unit_crash_expect(path, "f", 4 * BLK, 'c');
	}
	finish(fs, path, f, before);
}
END_TEST

START_TEST(test_limits)
{
	struct pin_range r[3] = { { .off = 0, .len = 1 }, { .off = BLK, .len = BLK }, { .off = 100 * BLK, .len = 1 } };
	uint64_t id, id2;
	struct pin_range one;
	struct file *g;
	START(8);

	/* what a pin of one run takes, with malloc's own word */
	ck_assert_uint_le((sizeof(struct pin) + sizeof(struct pin_ext) + sizeof(size_t) + 15) & ~(size_t)15, 200);
	ck_assert_uint_eq(fs_options(fs)->pin_limit, 4 << 20);
	unit_fill(f, 0, 4 * BLK + 5, 'a');
	/* All or none. */
	ck_assert_err(unit_pin(f, PIN_WRITE, r, 3, &id), EINVAL);
	ck_assert_uint_eq(counters(fs).pins, 0);
	ck_assert_uint_eq(unit_reserved_blocks(fs), 0);
	ck_assert_ok(unit_pin(f, PIN_WRITE, r, 2, &id));
	ck_assert_uint_eq(r[0].off, 0);
	ck_assert_uint_eq(r[0].len, BLK);
	ck_assert_ok(pin_remove(f, id));
	/* The last block counts as a whole. */
	ck_assert_ok(try_pin(f, PIN_READ, 0, 4 * BLK, BLK, &id, &one));
	ck_assert_ok(pin_remove(f, id));
	ck_assert_err(try_pin(f, PIN_READ, 0, 5 * BLK, 1, &id, &one), EINVAL);
	ck_assert_err(try_pin(f, PIN_READ, PIN_ALLOC, 0, 1, &id, &one), EINVAL);
	ck_assert_err(try_pin(f, PIN_WRITE, 0, 0, 0, &id, &one), EINVAL);
	ck_assert_err(try_pin(f, PIN_WRITE, 0, UINT64_MAX, 2, &id, &one), EINVAL);
	ck_assert_err(try_pin(f, PIN_WRITE, PIN_ALLOC, INT64_MAX, 2, &id, &one), EINVAL);
	/* It extends the file. */
	ck_assert_ok(try_pin(f, PIN_WRITE, PIN_ALLOC, 3 * BLK, 3 * BLK + 9, &id, &one));
	ck_assert_uint_eq(unit_size(f), 6 * BLK + 9);
	ck_assert_uint_eq(one.len, 4 * BLK);
	unit_expect(f, 4 * BLK + 5, 2 * BLK + 4, 0);
	/* Who may do what. */
	g = unit_file(fs, "f", O_RDONLY);
	ck_assert_err(try_pin(g, PIN_WRITE, 0, 0, BLK, &id2, &one), EBADF);
	ck_assert_err(pin_remove(g, id), ENOENT);
	ck_assert_err(pin_access_of(g, id), ENOENT);
	ck_assert_ok(try_pin(g, PIN_READ, 0, 0, BLK, &id2, &one));
	fs_release(g);
	ck_assert_ok(pin_remove(f, id));
	/* Half the pool. */
	ck_assert_ok(fs_truncate(f->inode, 5 << 20));
	ck_assert_err(try_pin(f, PIN_READ, 0, 0, (4 << 20) + 1, &id, &one), EDQUOT);
	ck_assert_ok(try_pin(f, PIN_READ, 0, 0, 4 << 20, &id, &one));
	ck_assert_err(try_pin(f, PIN_READ, 0, 0, 1, &id2, &one), EDQUOT);
	ck_assert_ok(pin_remove(f, id));
	ck_assert_ok(try_pin(f, PIN_READ, 0, 0, 1, &id2, &one));
	ck_assert_ok(pin_remove(f, id2));
	finish(fs, path, f, before);
}
END_TEST

/* What is not to be written is not to be pinned for writing, also by a descriptor from before. */
START_TEST(test_flags)
{
	static const uint32_t flags[] = { INODE_FL_IMMUTABLE, INODE_FL_APPEND };
	struct fs_cred root = { .uid = 0 };
	struct pin_range r;
	uint64_t id;
	START(8);

	unit_fill(f, 0, 2 * BLK, 'a');
	for (unsigned k = 0; k < sizeof(flags) / sizeof(flags[0]); k++) {
		ck_assert_ok(fs_setflags(fs, f->inode, flags[k], 0, &root));
		ck_assert_err(try_pin(f, PIN_WRITE, 0, 0, BLK, &id, &r), EPERM);
		ck_assert_err(try_pin(f, PIN_WRITE, PIN_ALLOC, 0, 9 * BLK, &id, &r), EPERM);
		ck_assert_ok(try_pin(f, PIN_READ, 0, 0, BLK, &id, &r));
		ck_assert_ok(pin_remove(f, id));
		ck_assert_ok(fs_setflags(fs, f->inode, 0, 0, &root));
	}
	ck_assert_uint_eq(unit_size(f), 2 * BLK);
	ck_assert_ok(try_pin(f, PIN_WRITE, 0, 0, BLK, &id, &r));
	ck_assert_ok(pin_remove(f, id));
	finish(fs, path, f, before);
}
END_TEST

/* Fill the pool, block by block so that nothing is left. */
static void
fill_pool(struct fs *fs, struct file *g)
{
	uint8_t buf[BLK_SIZE];
	ssize_t r = 0;

	memset(buf, 'g', sizeof(buf));
	for (uint64_t n = 0; r >= 0; n++)
		r = fs_write(g, buf, sizeof(buf), n * BLK, false);
	ck_assert_int_eq(r, -ENOSPC);
	ck_assert_ok(fs_fsync_wait(fs, g->inode, false));
}

START_TEST(test_full_pool)
{
	uint64_t hole, data, id;
	struct pin_range r;
	uint8_t *p, *q;
	struct file *g;
	START(8);

	unit_fill(f, 0, 64 * BLK, 'a');
	sync_file(f);
	ck_assert_ok(fs_truncate(f->inode, 128 * BLK));
	p = pin(f, PIN_WRITE, 0, 64 * BLK, &data);
	q = pin(f, PIN_WRITE, 64 * BLK, 64 * BLK, &hole);
	g = unit_file(fs, "g", O_RDWR);
	fill_pool(fs, g);
	/* No more pins; but fsync of what is pinned always works, in any rhythm of commits. */
	ck_assert_err(try_pin(g, PIN_WRITE, 0, 0, 64 * BLK, &id, &r), ENOSPC);
	for (int c = 'b'; c < 'm'; c++) {
		memset(p, c, 64 * BLK);
		memset(q, c, 64 * BLK);
		if (c % 3 == 0) {
			uint64_t txn;

			ck_assert_ok(writeback_inode(f->inode, &txn));
		} else {
			sync_file(f);
			unit_crash_expect(path, "f", 128 * BLK, (uint8_t)c);
		}
		(void)fs_write(g, "x", 1, 1 << 30, false);
	}
	ck_assert_ok(pin_remove(f, data));
	sync_file(f);
	sync_file(f);
	ck_assert_ok(pin_remove(f, hole));
	sync_file(f);
	ck_assert_ok(fs_truncate(g->inode, 0));
	fs_release(g);
	unit_unlink(fs, "g");
	finish(fs, path, f, before);
}
END_TEST

START_TEST(test_close_without_unpin)
{
	struct file *g, *h;
	uint64_t id, off;
	uint8_t *p;
	START(8);

	unit_fill(f, 0, 4 * BLK, 'a');
	g = unit_file(fs, "f", O_RDWR);
	p = pin(g, PIN_WRITE, 0, 4 * BLK, &id);
	off = map_at(f, 0).pool_off;
	memset(p, 'b', 4 * BLK);
	fs_release(g);
	ck_assert(!inode_write_pinned(f->inode));
	unit_expect(f, 0, 4 * BLK, 'b');
	/* The content is bounced; the block is not reused, it is punched out. */
	sync_file(f);
	ck_assert_uint_eq(counters(fs).bounced_blocks, 4);
	ck_assert_uint_ne(map_at(f, 0).pool_off, off);
	ck_assert_uint_eq(map_at(f, 0).flags, MAP_DURABLE);
	unit_expect(f, 0, 4 * BLK, 'b');
	ck_assert(p[0] == 0 && memcmp(p, p + 1, 4 * BLK - 1) == 0);
	ck_assert_uint_eq(quarantined(fs), 0);
	ck_assert_uint_eq(unit_reserved_blocks(fs), 0);
	ck_assert_uint_eq(unit_free_blocks(fs), before - 4);

	/* Cut from the file before or after that: the same. A reader keeps the block until it is gone. */
	g = unit_file(fs, "f", O_RDWR);
	p = pin(g, PIN_WRITE, 0, 4 * BLK, &id);
	h = unit_file(fs, "f", O_RDONLY);
	ck_assert_ptr_eq(pin(h, PIN_READ, 2 * BLK, BLK, &id), p + 2 * BLK);
	memset(p, 'c', 4 * BLK);
	ck_assert_ok(fs_truncate(f->inode, 3 * BLK));
	ck_assert_uint_eq(quarantined(fs), 1);
	fs_release(g);
	ck_assert_uint_eq(quarantined(fs), 0);
	ck_assert_int_eq(p[3 * BLK], 0);
	ck_assert_ok(fs_truncate(f->inode, BLK));
	ck_assert_int_eq(p[2 * BLK], 'c');
	ck_assert_uint_eq(quarantined(fs), 2); /* one is punched with the next writeback, one is pinned */
	sync_file(f);
	ck_assert_uint_eq(quarantined(fs), 1);
	ck_assert_int_eq(p[BLK], 0);
	ck_assert_int_eq(p[2 * BLK], 'c');
	fs_release(h);
	ck_assert_uint_eq(quarantined(fs), 0);
	ck_assert_int_eq(p[2 * BLK], 0);
	unit_expect(f, 0, BLK, 'c');

	/* The file goes with its last close. */
	g = unit_file(fs, "g", O_RDWR);
	unit_fill(g, 0, 4 * BLK, 'd');
	p = pin(g, PIN_WRITE, 0, 4 * BLK, &id);
	unit_unlink(fs, "g");
	fs_release(g);
	ck_assert_uint_eq(quarantined(fs), 0);
	ck_assert_int_eq(p[0], 0);
	finish(fs, path, f, before);
}
END_TEST

START_TEST(test_pin_tainted)
{
	struct file *g;
	uint64_t id;
	uint8_t *p, *q;
	START(8);

	unit_fill(f, 0, 4 * BLK, 'a');
	g = unit_file(fs, "f", O_RDWR);
	p = pin(g, PIN_WRITE, 0, 4 * BLK, &id);
	fs_release(g);
	/* Late DMA of the one who is gone must not hit the new pinner. */
	q = pin(f, PIN_WRITE, 0, 4 * BLK, &id);
	ck_assert_ptr_ne(p, q);
	ck_assert_int_eq(q[0], 'a');
	ck_assert_uint_eq(quarantined(fs), 0);
	ck_assert_int_eq(p[0], 0);
	sync_file(f);
	ck_assert_ok(pin_remove(f, id));
	finish(fs, path, f, before);
}
END_TEST

START_TEST(test_straighten)
{
	struct map_extent x[4];
	struct pin_range r;
	uint64_t id;
	START(16);

	/* Written backwards, and every other block only. */
	for (unsigned n = 64; n-- > 0;)
		unit_fill(f, n * 2 * BLK, BLK, (uint8_t)(n + 1));
	ck_assert_ok(try_pin(f, PIN_WRITE, 0, 0, 127 * BLK, &id, &r));
	ck_assert_uint_eq(r.ext_len, 127 * BLK);
	ck_assert_int_eq(map_extents(f->inode, 0, 127 * BLK, x, 4), 1);
	for (unsigned n = 0; n < 63; n++) {
		unit_expect(f, n * 2 * BLK, BLK, (uint8_t)(n + 1));
		unit_expect(f, (n * 2 + 1) * BLK, BLK, 0);
	}
	sync_file(f);
	ck_assert_ok(pin_remove(f, id));
	/* A big one starts where a huge page may. */
	ck_assert_ok(fs_truncate(f->inode, 0));
	ck_assert_ok(try_pin(f, PIN_WRITE, PIN_ALLOC, 0, 2 << 20, &id, &r));
	ck_assert_uint_eq(r.ext_len, 2 << 20);
	ck_assert_uint_eq(r.pool_off % (2 << 20), 0);
	ck_assert_ok(pin_remove(f, id));
	/* Preallocated blocks are used where they are, once they are only live. */
	ck_assert_ok(fs_truncate(f->inode, 0));
	ck_assert_ok(fs_fallocate(f, 0, 0, 16 * BLK));
	ck_assert_ok(try_pin(f, PIN_WRITE, 0, 0, 16 * BLK, &id, &r));
	ck_assert_uint_eq(r.ext_len, 16 * BLK);
	unit_expect(f, 0, 16 * BLK, 0);
	ck_assert_ok(pin_remove(f, id));
	finish(fs, path, f, before);
}
END_TEST

/* A block that the durable map has as preallocated and the live one as data. */
START_TEST(test_preallocated_durable)
{
	uint64_t wid, rid;
	uint8_t *p;
	START(8);

	ck_assert_ok(fs_fallocate(f, 0, 0, 16 * BLK));
	sync_file(f);
	unit_fill(f, 0, 8 * BLK, 'a');
	p = pin(f, PIN_READ, 0, 4 * BLK, &rid);
	ck_assert_int_eq(p[0], 'a');
	p = pin(f, PIN_WRITE, 2 * BLK, 14 * BLK, &wid);
	ck_assert_int_eq(p[0], 'a');
	ck_assert_int_eq(p[6 * BLK], 0);
	memset(p, 'b', 14 * BLK);
	sync_file(f);
	ck_assert_ok(fs_truncate(f->inode, 6 * BLK));
	sync_file(f);
	ck_assert_ok(pin_remove(f, wid));
	ck_assert_ok(pin_remove(f, rid));
	sync_file(f);
	unit_expect(f, 0, 2 * BLK, 'a');
	unit_expect(f, 2 * BLK, 4 * BLK, 'b');
	finish(fs, path, f, before);
}
END_TEST

START_TEST(test_tail)
{
	uint64_t id;
	uint8_t *p;
	START(8);

	/* Stores behind the end of the file are nobody's content. */
	unit_fill(f, 0, BLK + 100, 'a');
	p = pin(f, PIN_WRITE, 0, 2 * BLK, &id);
	memset(p + BLK + 100, 'x', BLK - 100);
	sync_file(f);
	{
		struct fs *image = unit_crash(path);
		struct file *g = unit_file(image, "f", O_RDWR);

		ck_assert_ok(fs_truncate(g->inode, 2 * BLK));
		unit_expect(g, BLK + 100, BLK - 100, 0);
		fs_release(g);
		ck_assert_ok(fs_umount(image));
	}
	ck_assert_ok(pin_remove(f, id));
	sync_file(f);
	ck_assert_ok(fs_truncate(f->inode, 2 * BLK));
	unit_expect(f, BLK + 100, BLK - 100, 0);
	finish(fs, path, f, before);
}
END_TEST

START_TEST(test_clone_of_pinned)
{
	struct file *g;
	uint64_t wid, rid;
	uint8_t *p, *q;
	START(8);

	g = unit_file(fs, "g", O_RDWR);
	unit_fill(f, 0, 16 * BLK, 'a');
	sync_file(f);
	p = pin(f, PIN_WRITE, 0, 8 * BLK, &wid);
	q = pin(f, PIN_READ, 8 * BLK, 8 * BLK, &rid);
	memset(p, 'a', 8 * BLK);
	ck_assert_ok(fs_clone_range(f, 0, g, 0, 16 * BLK));
	unit_expect(g, 0, 16 * BLK, 'a');
	/* Both pins go on seeing the source, and the clone doesn't. */
	memset(p, 'b', 8 * BLK);
	unit_fill(f, 8 * BLK, 8 * BLK, 'b');
	ck_assert_int_eq(q[0], 'b');
	sync_file(f);
	sync_file(g);
	unit_crash_expect(path, "g", 16 * BLK, 'a');
	unit_crash_expect(path, "f", 16 * BLK, 'b');
	/* A read pin on what is shared can't be in place: it is seen to follow a write all the same. */
	ck_assert_ok(pin_remove(f, rid));
	ck_assert_ok(pin_remove(f, wid));
	sync_file(f);
	ck_assert_ok(fs_clone_range(f, 0, g, 0, 16 * BLK));
	q = pin(g, PIN_READ, 0, 16 * BLK, &rid);
	unit_fill(g, 0, 16 * BLK, 'c');
	ck_assert_int_eq(q[16 * BLK - 1], 'c');
	unit_expect(f, 0, 16 * BLK, 'b');
	ck_assert_ok(pin_remove(g, rid));
	ck_assert_ok(fs_truncate(g->inode, 0));
	fs_release(g);
	unit_unlink(fs, "g");
	finish(fs, path, f, before);
}
END_TEST

START_TEST(test_many_pins)
{
	enum { PINS = 1500 };
	uint64_t *id = calloc(PINS, sizeof(*id)), seed = 3;
	struct pin_range r;
	START(16);

	ck_assert_ptr_nonnull(id);
	unit_fill(f, 0, 512 * BLK, 'a');
	sync_file(f);
	for (unsigned n = 0; n < PINS; n++)
		ck_assert_ok(try_pin(f, PIN_READ, 0, unit_random(&seed) % 500 * BLK, BLK * (n % 3 + 1) / 24 + 1, &id[n],
		    &r));
	ck_assert_uint_eq(counters(fs).pins, PINS);
	for (unsigned n = 0; n < PINS; n++) {
		unsigned other = (unsigned)(unit_random(&seed) % PINS);
		uint64_t x = id[n];

		id[n] = id[other];
		id[other] = x;
	}
	ck_assert_ok(fs_truncate(f->inode, 250 * BLK));
	for (unsigned n = 0; n < PINS / 2; n++)
		ck_assert_ok(pin_remove(f, id[n]));
	sync_file(f);
	free(id);
	/* The rest goes with the file. */
	fs_release(f);
	f = unit_file(fs, "f", O_RDWR);
	ck_assert_uint_eq(counters(fs).pins, 0);
	finish(fs, path, f, before);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("pin");
	TCase *t = tcase_create("pin");

	tcase_add_test(t, test_coherence);
	tcase_add_test(t, test_zero_range);
	tcase_add_test(t, test_bounce);
	tcase_add_test(t, test_bounce_pmem);
	tcase_add_test(t, test_unpin_one_of_two);
	tcase_add_test(t, test_cut_during_bounce);
	tcase_add_test(t, test_read_pin_in_place);
	tcase_add_test(t, test_overlapping_ranges);
	tcase_add_test(t, test_write_pin_over_read_pin);
	tcase_add_test(t, test_truncate_under_pins);
	tcase_add_test(t, test_unpin_before_cut_is_durable);
	tcase_add_test(t, test_limits);
	tcase_add_test(t, test_flags);
	tcase_add_test(t, test_full_pool);
	tcase_add_test(t, test_close_without_unpin);
	tcase_add_test(t, test_pin_tainted);
	tcase_add_test(t, test_straighten);
	tcase_add_test(t, test_preallocated_durable);
	tcase_add_test(t, test_tail);
	tcase_add_test(t, test_clone_of_pinned);
	tcase_add_test(t, test_many_pins);
	suite_add_tcase(s, t);
	return unit_main(s);
}
