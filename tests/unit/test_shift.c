/* SPDX-License-Identifier: BSD-3-Clause */
/* Collapsing and inserting ranges. */
#include "tests/unit/unit_pin.h"

#include <linux/falloc.h>

/* Block k of f gets k + first in all bytes. */
static void
number_blocks(struct file *f, unsigned n, uint8_t first)
{
	for (unsigned k = 0; k < n; k++)
		unit_fill(f, k * BLK, BLK, (uint8_t)(first + k));
}

static void
expect_block(struct file *f, unsigned k, uint8_t c)
{
	unit_expect(f, k * BLK, BLK, c);
}

START_TEST(arguments)
{
	START(8);
	struct file *ro = unit_file(fs, "f", O_RDONLY);
	uint32_t flags, projid;

	number_blocks(f, 4, 1);
	unit_fill(f, 4 * BLK, 100, 5);
	ck_assert_err(fs_collapse_range(ro, 0, BLK), EBADF);
	ck_assert_err(fs_insert_range(ro, 0, BLK), EBADF);
	ck_assert_err(fs_collapse_range(f, 0, 0), EINVAL);
	ck_assert_err(fs_collapse_range(f, 1, BLK), EINVAL);
	ck_assert_err(fs_collapse_range(f, 0, BLK - 1), EINVAL);
	ck_assert_err(fs_collapse_range(f, BLK, 4 * BLK), EINVAL);
	ck_assert_err(fs_collapse_range(f, 8 * BLK, BLK), EINVAL);
	ck_assert_err(fs_collapse_range(f, (uint64_t)1 << 63, BLK), EINVAL);
	ck_assert_err(fs_collapse_range(f, FILE_MAX_BYTES & ~(BLK - 1), 2 * BLK), EFBIG);
	ck_assert_err(fs_insert_range(f, 5 * BLK, BLK), EINVAL);
	ck_assert_err(fs_insert_range(f, BLK, 100), EINVAL);
	ck_assert_err(fs_insert_range(f, 0, (FILE_MAX_BYTES & ~(BLK - 1)) - BLK), EFBIG);
	/* what is preallocated behind the end has to have a place, too */
	ck_assert_ok(fs_fallocate(f, FALLOC_FL_KEEP_SIZE, (uint64_t)1 << 62, BLK));
	ck_assert_err(fs_insert_range(f, 0, (uint64_t)1 << 62), EFBIG);
	for (unsigned k = 0; k < 4; k++)
		expect_block(f, k, (uint8_t)(1 + k));
	ck_assert_uint_eq(unit_size(f), 4 * BLK + 100);
	ck_assert_ok(fs_getflags(fs, f->inode, &flags, &projid));
	ck_assert_ok(fs_setflags(fs, f->inode, flags | INODE_FL_APPEND, projid, &unit_cred));
	ck_assert_err(fs_collapse_range(f, 0, BLK), EPERM);
	ck_assert_ok(fs_setflags(fs, f->inode, flags | INODE_FL_IMMUTABLE, projid, &unit_cred));
	ck_assert_err(fs_insert_range(f, 0, BLK), EPERM);
	ck_assert_ok(fs_setflags(fs, f->inode, flags, projid, &unit_cred));
	fs_release(ro);
	finish(fs, path, f, before);
}
END_TEST

START_TEST(collapse)
{
	START(8);

	number_blocks(f, 10, 1);
	unit_fill(f, 10 * BLK, 100, 11);
	ck_assert_ok(fs_collapse_range(f, 2 * BLK, 3 * BLK));
	ck_assert_uint_eq(unit_size(f), 7 * BLK + 100);
	for (int pass = 0; pass < 2; pass++) {
		expect_block(f, 1, 2);
		expect_block(f, 2, 6);
		expect_block(f, 6, 10);
		unit_expect(f, 7 * BLK, 100, 11);
		fs_release(f);
		ck_assert_ok(fs_umount(fs));
		unit_check(path);
		fs = unit_mount_quiet(path);
		f = unit_file(fs, "f", O_RDWR);
	}
	/* behind the old end nothing comes back */
	ck_assert_ok(fs_truncate(f->inode, 12 * BLK));
	unit_expect(f, 7 * BLK + 100, 5 * BLK - 100, 0);
	finish(fs, path, f, before);
}
END_TEST

START_TEST(insert)
{
	START(8);

	number_blocks(f, 4, 1);
	ck_assert_ok(fs_fallocate(f, FALLOC_FL_KEEP_SIZE, 6 * BLK, 2 * BLK));
	ck_assert_ok(fs_insert_range(f, BLK, 3 * BLK));
	ck_assert_uint_eq(unit_size(f), 7 * BLK);
	expect_block(f, 0, 1);
	unit_expect(f, BLK, 3 * BLK, 0);
	ck_assert_int_eq(fs_seek(f, (int64_t)BLK, SEEK_DATA), 4 * BLK);
	expect_block(f, 4, 2);
	expect_block(f, 6, 4);
	ck_assert_uint_eq(map_at(f, 9 * BLK).flags & MAP_UNWRITTEN, MAP_UNWRITTEN);
	/* and back again, without a writeback of its own in between */
	unit_fill(f, 2 * BLK, BLK, 99);
	ck_assert_ok(fs_collapse_range(f, BLK, BLK));
	expect_block(f, 1, 99);
	expect_block(f, 3, 2);
	finish(fs, path, f, before);
}
END_TEST

/* A long run of blocks is one extent for the most part: it is cut at the borders. */
START_TEST(inside_extents)
{
	START(16);

	for (unsigned k = 0; k < 4; k++)
		unit_fill(f, k * 256 * BLK, 256 * BLK, (uint8_t)(1 + k));
	sync_file(f);
	ck_assert_ok(fs_collapse_range(f, 100 * BLK, 500 * BLK));
	unit_expect(f, 0, 100 * BLK, 1);
	unit_expect(f, 100 * BLK, 168 * BLK, 3);
	unit_expect(f, 268 * BLK, 256 * BLK, 4);
	ck_assert_ok(fs_insert_range(f, 150 * BLK, 7 * BLK));
	unit_expect(f, 100 * BLK, 50 * BLK, 3);
	unit_expect(f, 150 * BLK, 7 * BLK, 0);
	unit_expect(f, 157 * BLK, 118 * BLK, 3);
	unit_expect(f, 275 * BLK, 256 * BLK, 4);
	finish(fs, path, f, before);
}
END_TEST

/* Blocks that another file shares stay shared; collapsing them gives up one reference. */
START_TEST(shared_blocks)
{
	START(16);
	struct file *g = unit_file(fs, "g", O_RDWR);
	uint64_t left;

	unit_fill(f, 0, 512 * BLK, 1);
	unit_fill(f, 512 * BLK, 512 * BLK, 2);
	ck_assert_ok(fs_clone_range(f, 0, g, 0, 0));
	left = unit_free_blocks(fs);
	ck_assert_ok(fs_collapse_range(f, 100 * BLK, 100 * BLK));
	ck_assert_ok(fs_insert_range(f, 50 * BLK, 200 * BLK));
	ck_assert_uint_ge(unit_free_blocks(fs) + 40, left);
	unit_expect(g, 0, 512 * BLK, 1);
	unit_expect(g, 512 * BLK, 512 * BLK, 2);
	unit_expect(f, 50 * BLK, 200 * BLK, 0);
	unit_expect(f, 250 * BLK, 362 * BLK, 1);
	unit_expect(f, 612 * BLK, 512 * BLK, 2);
	ck_assert_uint_eq(map_at(f, 700 * BLK).flags & MAP_SHARED_BLOCKS, MAP_SHARED_BLOCKS);
	fs_release(g);
	unit_unlink(fs, "g");
	finish(fs, path, f, before);
}
END_TEST

/* One block, one extent, as badly as can be. */
START_TEST(fragmented)
{
	enum { BLOCKS = 4000 };
	START(64);

	/* even blocks first, so that no two neighbours of the file are neighbours in the pool */
	for (unsigned k = 0; k < BLOCKS; k += 2)
		unit_fill(f, k * BLK, BLK, (uint8_t)(1 + k % 250));
	sync_file(f);
	for (unsigned k = 1; k < BLOCKS; k += 2)
		unit_fill(f, k * BLK, BLK, (uint8_t)(1 + k % 250));
	sync_file(f);
	ck_assert_ok(fs_collapse_range(f, 3 * BLK, 250 * BLK));
	for (unsigned k = 3; k < BLOCKS - 250; k += 7)
		expect_block(f, k, (uint8_t)(1 + k % 250));
	ck_assert_ok(fs_insert_range(f, 0, 5 * BLK));
	for (unsigned k = 0; k < BLOCKS - 250; k += 7)
		expect_block(f, k + 5, (uint8_t)(1 + k % 250));
	ck_assert_uint_eq(unit_size(f), (BLOCKS - 245) * BLK);
	finish(fs, path, f, before);
}
END_TEST

/* No space for the nodes: nothing happens, and nothing stays reserved. */
START_TEST(no_space)
{
	START(16);
	struct file *g = unit_file(fs, "g", O_RDWR);
	uint64_t off = 0;
	ssize_t n;
	int r;

	for (unsigned k = 0; k < 1600; k += 2)
		unit_fill(f, k * BLK, BLK, (uint8_t)(1 + k % 250));
	sync_file(f);
	for (unsigned k = 1; k < 1600; k += 2)
		unit_fill(f, k * BLK, BLK, (uint8_t)(1 + k % 250));
	sync_file(f);
	do {
		static char buf[BLK_SIZE];

		buf[0] = 1;
		n = fs_write(g, buf, sizeof(buf), off, false);
		off += BLK;
	} while (n > 0);
	ck_assert_ok(fs_sync(fs));
	r = fs_collapse_range(f, BLK, BLK);
	ck_assert_err(r, ENOSPC);
	ck_assert_err(fs_insert_range(f, BLK, BLK), ENOSPC);
	for (unsigned k = 0; k < 1600; k++)
		expect_block(f, k, (uint8_t)(1 + k % 250));
	fs_release(g);
	unit_unlink(fs, "g");
	ck_assert_ok(fs_collapse_range(f, BLK, BLK));
	expect_block(f, 1, 3);
	finish(fs, path, f, before);
}
END_TEST

/* ---- crashes -------------------------------------------------------------------------- */

static void
crash_expect(const char *path, unsigned blocks, const uint8_t *c)
{
	struct fs *fs = unit_crash(path);
	struct file *f = unit_file(fs, "f", O_RDONLY);

	ck_assert_uint_eq(unit_size(f), blocks * BLK);
	for (unsigned k = 0; k < blocks; k++)
		expect_block(f, k, c[k]);
	fs_release(f);
	ck_assert_ok(fs_umount(fs));
}

/* The whole old image, dirty data included, or the whole new one. */
START_TEST(crash)
{
	static const uint8_t old[] = { 1, 2, 3, 4, 5 }, shorter[] = { 1, 4, 5 }, longer[] = { 0, 0, 1, 4, 5 };
	START(8);

	number_blocks(f, 5, 1);
	sync_file(f);
	unit_fill(f, BLK, BLK, 77);
	ck_assert_ok(fs_collapse_range(f, BLK, 2 * BLK));
	crash_expect(path, 5, old);
	sync_file(f);
	crash_expect(path, 3, shorter);
	ck_assert_ok(fs_insert_range(f, 0, 2 * BLK));
	crash_expect(path, 3, shorter);
	ck_assert_ok(txn_commit_wait(fs_pool(fs), txn_open_number(fs_pool(fs))));
	crash_expect(path, 5, longer);
	finish(fs, path, f, before);
}
END_TEST

/* What comes in between the writeback and the move: it moves along, live. */
static struct file *hooked;

static void
write_more(struct inode *i, enum writeback_point at)
{
	if (i == hooked->inode && at == WRITEBACK_COPIED) {
		unit_fill(hooked, 3 * BLK, BLK, 33);
		unit_fill(hooked, 6 * BLK, BLK, 66);
	}
}

START_TEST(changes_meanwhile)
{
	static const uint8_t image[] = { 1, 4, 5 };
	START(8);

	number_blocks(f, 5, 1);
	hooked = f;
	__atomic_store_n(&writeback_test_hook, write_more, __ATOMIC_RELEASE);
	ck_assert_ok(fs_collapse_range(f, BLK, 2 * BLK));
	__atomic_store_n(&writeback_test_hook, NULL, __ATOMIC_RELEASE);
	ck_assert_uint_eq(unit_size(f), 5 * BLK);
	ck_assert_ok(txn_commit_wait(fs_pool(fs), txn_open_number(fs_pool(fs))));
	crash_expect(path, 3, image);
	for (int pass = 0; pass < 2; pass++) {
		expect_block(f, 0, 1);
		expect_block(f, 1, 33);
		expect_block(f, 2, 5);
		expect_block(f, 3, 0);
		expect_block(f, 4, 66);
		sync_file(f);
	}
	finish(fs, path, f, before);
}
END_TEST

/* ---- pins ------------------------------------------------------------------------------- */

/* The holder keeps his blocks; the file gets what they held. */
START_TEST(pinned_rest)
{
	START(16);
	uint64_t wid, rid, did, size = 0;
	uint8_t *w, *r, *d;

	number_blocks(f, 12, 1);
	sync_file(f);
	w = pin(f, PIN_WRITE, 4 * BLK, 2 * BLK, &wid);
	r = pin(f, PIN_READ, 8 * BLK, BLK, &rid);
	unit_fill(f, 10 * BLK, BLK, 50);
	d = pin(f, PIN_READ, 10 * BLK, BLK, &did);
	memset(w, 40, 2 * BLK);
	for (int pass = 0; pass < 2; pass++) {
		if (pass == 0)
			ck_assert_ok(fs_collapse_range(f, BLK, BLK));
		else
			ck_assert_ok(fs_insert_range(f, 0, 3 * BLK));
		memset(w, 41 + pass, 2 * BLK);
		size = pass == 0 ? 11 : 14;
		for (int again = 0; again < 2; again++) {
			unsigned at = pass == 0 ? 0 : 3;

			expect_block(f, at, 1);
			expect_block(f, at + 1, 3);
			expect_block(f, at + 3, 40);
			expect_block(f, at + 4, 40);
			expect_block(f, at + 7, 9);
			expect_block(f, at + 9, 50);
			ck_assert_uint_eq(unit_size(f), size * BLK);
			sync_file(f);
		}
	}
	/* whatever is written, theirs is theirs */
	for (unsigned k = 0; k < size; k++)
		unit_fill(f, k * BLK, BLK, 99);
	ck_assert_ok(fs_sync(fs));
	ck_assert_uint_eq(r[0], 9);
	ck_assert_uint_eq(d[0], 50);
	ck_assert_uint_eq(w[0], 42);
	ck_assert_ok(pin_remove(f, wid));
	ck_assert_ok(pin_remove(f, rid));
	ck_assert_ok(pin_remove(f, did));
	finish(fs, path, f, before);
}
END_TEST

/* A write, and a store of the holder, that come after the writeback has copied the block. */
static uint8_t *hooked_block;

static void
store_more(struct inode *i, enum writeback_point at)
{
	if (i == hooked->inode && at == WRITEBACK_COPIED) {
		memset(hooked_block, 70, BLK);
		unit_fill(hooked, 5 * BLK, BLK, 71);
	}
}

START_TEST(pinned_changes_meanwhile)
{
	START(16);
	uint64_t id;

	number_blocks(f, 8, 1);
	hooked_block = pin(f, PIN_WRITE, 4 * BLK, 2 * BLK, &id);
	hooked = f;
	__atomic_store_n(&writeback_test_hook, store_more, __ATOMIC_RELEASE);
	ck_assert_ok(fs_collapse_range(f, BLK, BLK));
	__atomic_store_n(&writeback_test_hook, NULL, __ATOMIC_RELEASE);
	ck_assert_ok(pin_remove(f, id));
	for (int pass = 0; pass < 2; pass++) {
		expect_block(f, 3, 70);
		expect_block(f, 4, 71);
		expect_block(f, 5, 7);
		sync_file(f);
	}
	finish(fs, path, f, before);
}
END_TEST

/* Where there is no run that is long enough the copies of one extent lie in several. */
START_TEST(pinned_rest_in_pieces)
{
	static pblk_t taken[4096];
	unsigned n = 0;
	uint64_t id, got;
	START(8);
	struct pool *pool = fs_pool(fs);
	uint8_t *p;

	ck_assert_ok(fs_truncate(f->inode, 8 * BLK));
	p = pin(f, PIN_WRITE, 0, 8 * BLK, &id);
	for (unsigned k = 0; k < 8; k++)
		memset(p + k * BLK, (int)(1 + k), BLK);
	sync_file(f);
	/* no two neighbours are free */
	while (alloc_run(pool_alloc(pool), PBLK_NONE, 1, 0, 0, &taken[n], &got) == 0)
		n++;
	for (unsigned k = 0; k < n; k += 2)
		pool_free_data(pool, taken[k], 1);
	ck_assert_ok(fs_insert_range(f, 0, BLK));
	ck_assert_uint_eq(quarantined(fs), 8);
	expect_block(f, 0, 0);
	for (unsigned k = 0; k < 8; k++)
		expect_block(f, 1 + k, (uint8_t)(1 + k));
	sync_file(f);
	for (unsigned k = 1; k < n; k += 2)
		pool_free_data(pool, taken[k], 1);
	ck_assert_ok(pin_remove(f, id));
	finish(fs, path, f, before);
}
END_TEST

/* A pin on the range that is collapsed; one before it, which nothing happens to. */
START_TEST(pinned_range)
{
	START(16);
	uint64_t wid, rid, kid;
	uint8_t *w, *r, *k;

	number_blocks(f, 12, 1);
	sync_file(f);
	k = pin(f, PIN_WRITE, 0, 2 * BLK, &kid);
	w = pin(f, PIN_WRITE, 4 * BLK, BLK, &wid);
	r = pin(f, PIN_READ, 5 * BLK, BLK, &rid);
	ck_assert_ok(fs_collapse_range(f, 2 * BLK, 6 * BLK));
	memset(w, 40, BLK);
	memset(k, 20, BLK);
	expect_block(f, 0, 20);
	expect_block(f, 1, 2);
	expect_block(f, 2, 9);
	number_blocks(f, 6, 100);
	ck_assert_ok(fs_sync(fs));
	ck_assert_uint_eq(w[0], 40);
	ck_assert_uint_eq(r[0], 6);
	ck_assert_uint_eq(k[0], 100);
	ck_assert_ok(pin_remove(f, wid));
	ck_assert_ok(pin_remove(f, rid));
	ck_assert_ok(pin_remove(f, kid));
	finish(fs, path, f, before);
}
END_TEST

/* A holder that went without unpinning: his last content moves, his blocks don't come along. */
START_TEST(tainted_rest)
{
	START(16);
	struct file *g = unit_file(fs, "f", O_RDWR);
	uint64_t id;
	uint8_t *w;

	number_blocks(f, 8, 1);
	w = pin(g, PIN_WRITE, 4 * BLK, BLK, &id);
	memset(w, 44, BLK);
	fs_release(g);
	ck_assert_ok(fs_insert_range(f, BLK, BLK));
	memset(w, 45, BLK);
	expect_block(f, 5, 44);
	sync_file(f);
	expect_block(f, 5, 44);
	expect_block(f, 8, 8);
	finish(fs, path, f, before);
}
END_TEST

START_TEST(dax_file)
{
	static const uint8_t shorter[] = { 1, 4, 9, 6 };
	START(16);
	uint32_t flags, projid;

	ck_assert_ok(fs_getflags(fs, f->inode, &flags, &projid));
	ck_assert_ok(fs_setflags(fs, f->inode, flags | INODE_FL_DAX, projid, &unit_cred));
	number_blocks(f, 6, 1);
	sync_file(f);
	unit_fill(f, 4 * BLK, BLK, 9);
	ck_assert_ok(fs_collapse_range(f, BLK, 2 * BLK));
	/* without another sync */
	crash_expect(path, 4, shorter);
	ck_assert_ok(fs_insert_range(f, 2 * BLK, BLK));
	unit_fill(f, 3 * BLK, 10, 10);
	sync_file(f);
	unit_expect(f, 3 * BLK, 10, 10);
	unit_expect(f, 3 * BLK + 10, BLK - 10, 9);
	expect_block(f, 2, 0);
	expect_block(f, 4, 6);
	finish(fs, path, f, before);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("shift");
	TCase *t = tcase_create("shift");

	tcase_add_test(t, arguments);
	tcase_add_test(t, collapse);
	tcase_add_test(t, insert);
	tcase_add_test(t, inside_extents);
	tcase_add_test(t, shared_blocks);
	tcase_add_test(t, fragmented);
	tcase_add_test(t, no_space);
	tcase_add_test(t, crash);
	tcase_add_test(t, changes_meanwhile);
	tcase_add_test(t, pinned_rest);
	tcase_add_test(t, pinned_changes_meanwhile);
	tcase_add_test(t, pinned_rest_in_pieces);
	tcase_add_test(t, pinned_range);
	tcase_add_test(t, tainted_rest);
	tcase_add_test(t, dax_file);
	suite_add_tcase(s, t);
	return unit_main(s);
}
