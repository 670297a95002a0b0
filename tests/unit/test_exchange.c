/* SPDX-License-Identifier: BSD-3-Clause */
/* Two ranges that change places. */
#include "tests/unit/unit_pin.h"

#include <linux/falloc.h>

static const char *path;
static struct fs *fs;
static struct file *a, *b;
static uint64_t free_before;

static void
open_files(void)
{
	a = unit_file(fs, "a", O_RDWR);
	b = unit_file(fs, "b", O_RDWR);
}

static void
setup(void)
{
	path = unit_mkpool(16);
	fs = unit_mount_quiet(path);
	free_before = unit_free_blocks(fs);
	open_files();
}

static void
remount(void)
{
	fs_release(a);
	fs_release(b);
	ck_assert_ok(fs_umount(fs));
	unit_check(path);
	fs = unit_mount_quiet(path);
	open_files();
}

static void
teardown(void)
{
	__atomic_store_n(&writeback_test_hook, NULL, __ATOMIC_RELEASE);
	remount();
	fs_release(a);
	fs_release(b);
	unit_unlink(fs, "a");
	unit_unlink(fs, "b");
	ck_assert_uint_eq(unit_free_blocks(fs), free_before);
	ck_assert_uint_eq(unit_reserved_blocks(fs), 0);
	ck_assert_uint_eq(quarantined(fs), 0);
	ck_assert_ok(fs_umount(fs));
}

/* Block k of f gets k + first in all bytes. */
static void
number_blocks(struct file *f, unsigned n, uint8_t first)
{
	for (unsigned k = 0; k < n; k++)
		unit_fill(f, k * BLK, BLK, (uint8_t)(first + k));
}

static void
expect_blocks(struct file *f, unsigned at, unsigned n, uint8_t first)
{
	for (unsigned k = 0; k < n; k++)
		unit_expect(f, (at + k) * BLK, BLK, (uint8_t)(first + k));
}

START_TEST(arguments)
{
	struct file *ro = unit_file(fs, "b", O_RDONLY), *wo = unit_file(fs, "a", O_WRONLY),
	    *ap = unit_file(fs, "b", O_RDWR | O_APPEND);
	uint32_t flags, projid;

	number_blocks(a, 4, 1);
	number_blocks(b, 8, 11);
	unit_fill(a, 4 * BLK, 100, 5);
	unit_fill(b, 8 * BLK, 100, 19);
	ck_assert_err(fs_exchange_range(a, 0, ro, 0, BLK), EBADF);
	ck_assert_err(fs_exchange_range(wo, 0, b, 0, BLK), EBADF);
	ck_assert_err(fs_exchange_range(a, 0, ap, 0, BLK), EBADF);
	ck_assert_err(fs_exchange_range(a, 1, b, 0, BLK), EINVAL);
	ck_assert_err(fs_exchange_range(a, 0, b, 100, BLK), EINVAL);
	ck_assert_err(fs_exchange_range(a, 0, b, 0, 100), EINVAL);
	ck_assert_err(fs_exchange_range(a, 0, b, 0, 4 * BLK + 100), EINVAL);
	ck_assert_err(fs_exchange_range(a, 0, b, 0, 5 * BLK), EINVAL);
	ck_assert_err(fs_exchange_range(a, 8 * BLK, b, 0, 0), EINVAL);
	ck_assert_err(fs_exchange_range(a, 0, b, 0, UINT64_MAX), EINVAL);
	ck_assert_err(fs_exchange_range(a, (uint64_t)1 << 63, b, 0, BLK), EINVAL);
	ck_assert_err(fs_exchange_range(a, 0, a, BLK, 2 * BLK), EINVAL);
	ck_assert_err(fs_exchange_range(a, 0, a, 0, BLK), EINVAL);
	ck_assert_err(fs_exchange_range(a, 0, a, BLK, 0), EINVAL);
	/* up to the end of both */
	ck_assert_ok(fs_exchange_range(a, 4 * BLK, b, 8 * BLK, 100));
	unit_expect(a, 4 * BLK, 100, 19);
	unit_expect(b, 8 * BLK, 100, 5);
	ck_assert_ok(fs_getflags(fs, b->inode, &flags, &projid));
	ck_assert_ok(fs_setflags(fs, b->inode, flags | INODE_FL_APPEND, projid, &unit_cred));
	ck_assert_err(fs_exchange_range(a, 0, b, 0, BLK), EPERM);
	ck_assert_ok(fs_setflags(fs, b->inode, flags | INODE_FL_IMMUTABLE, projid, &unit_cred));
	ck_assert_err(fs_exchange_range(a, 0, b, 0, BLK), EPERM);
	ck_assert_ok(fs_setflags(fs, b->inode, flags, projid, &unit_cred));
	expect_blocks(a, 0, 4, 1);
	expect_blocks(b, 0, 8, 11);
	fs_release(ro);
	fs_release(wo);
	fs_release(ap);
}
END_TEST

START_TEST(part)
{
	number_blocks(a, 10, 1);
	number_blocks(b, 10, 101);
	ck_assert_ok(fs_sync(fs));
	unit_fill(b, 5 * BLK, BLK, 77);
	ck_assert_ok(fs_fallocate(a, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 3 * BLK, BLK));
	ck_assert_ok(fs_exchange_range(a, 2 * BLK, b, 4 * BLK, 3 * BLK));
	for (int pass = 0; pass < 2; pass++) {
		expect_blocks(a, 0, 2, 1);
		expect_blocks(a, 2, 1, 105);
		expect_blocks(a, 3, 1, 77);
		expect_blocks(a, 4, 1, 107);
		expect_blocks(a, 5, 5, 6);
		expect_blocks(b, 0, 4, 101);
		expect_blocks(b, 4, 1, 3);
		unit_expect(b, 5 * BLK, BLK, 0);
		expect_blocks(b, 6, 1, 5);
		expect_blocks(b, 7, 3, 108);
		remount();
	}
}
END_TEST

/* Of everything, with preallocated blocks behind the end. */
START_TEST(whole)
{
	number_blocks(a, 3, 1);
	unit_fill(a, 3 * BLK, 100, 4);
	ck_assert_ok(fs_fallocate(a, FALLOC_FL_KEEP_SIZE, 6 * BLK, BLK));
	number_blocks(b, 20, 101);
	unit_fill(b, 20 * BLK, 2000, 121);
	ck_assert_ok(fs_exchange_range(a, 0, b, 0, 0));
	for (int pass = 0; pass < 2; pass++) {
		ck_assert_uint_eq(unit_size(a), 20 * BLK + 2000);
		ck_assert_uint_eq(unit_size(b), 3 * BLK + 100);
		expect_blocks(a, 0, 20, 101);
		unit_expect(a, 20 * BLK, 2000, 121);
		expect_blocks(b, 0, 3, 1);
		unit_expect(b, 3 * BLK, 100, 4);
		ck_assert_uint_eq(map_at(b, 6 * BLK).flags & MAP_UNWRITTEN, MAP_UNWRITTEN);
		remount();
	}
	/* tails of different length, at different places */
	ck_assert_ok(fs_exchange_range(a, 18 * BLK, b, BLK, 0));
	ck_assert_uint_eq(unit_size(a), 20 * BLK + 100);
	ck_assert_uint_eq(unit_size(b), 3 * BLK + 2000);
	expect_blocks(a, 18, 2, 2);
	unit_expect(a, 20 * BLK, 100, 4);
	expect_blocks(b, 1, 2, 119);
	unit_expect(b, 3 * BLK, 2000, 121);
	/* and nothing against something */
	ck_assert_ok(fs_truncate(b->inode, 0));
	ck_assert_ok(fs_exchange_range(a, 0, b, 0, 0));
	ck_assert_uint_eq(unit_size(a), 0);
	expect_blocks(b, 0, 18, 101);
}
END_TEST

/* Both ranges lie within one extent of one file. */
START_TEST(one_file)
{
	unit_fill(a, 0, 100 * BLK, 1);
	unit_fill(a, 100 * BLK, 100 * BLK, 2);
	ck_assert_ok(fs_sync(fs));
	ck_assert_ok(fs_exchange_range(a, 10 * BLK, a, 110 * BLK, 20 * BLK));
	for (int pass = 0; pass < 2; pass++) {
		unit_expect(a, 0, 10 * BLK, 1);
		unit_expect(a, 10 * BLK, 20 * BLK, 2);
		unit_expect(a, 30 * BLK, 70 * BLK, 1);
		unit_expect(a, 100 * BLK, 10 * BLK, 2);
		unit_expect(a, 110 * BLK, 20 * BLK, 1);
		unit_expect(a, 130 * BLK, 70 * BLK, 2);
		remount();
	}
}
END_TEST

static void
crash_expect(unsigned na, uint8_t first_a, unsigned nb, uint8_t first_b)
{
	struct fs *live = fs;
	struct file *fa, *fb;

	fs = unit_crash(path);
	fa = unit_file(fs, "a", O_RDONLY);
	fb = unit_file(fs, "b", O_RDONLY);
	ck_assert_uint_eq(unit_size(fa), na * BLK);
	ck_assert_uint_eq(unit_size(fb), nb * BLK);
	expect_blocks(fa, 0, na, first_a);
	expect_blocks(fb, 0, nb, first_b);
	fs_release(fa);
	fs_release(fb);
	ck_assert_ok(fs_umount(fs));
	fs = live;
}

/* Both or none, whichever of them is synced. */
START_TEST(crash)
{
	number_blocks(a, 3, 1);
	number_blocks(b, 7, 101);
	ck_assert_ok(fs_sync(fs));
	ck_assert_ok(fs_exchange_range(a, 0, b, 0, 0));
	crash_expect(3, 1, 7, 101);
	sync_file(a);
	crash_expect(7, 101, 3, 1);
	ck_assert_ok(fs_exchange_range(a, 0, b, 0, 0));
	crash_expect(7, 101, 3, 1);
	sync_file(b);
	crash_expect(3, 1, 7, 101);
}
END_TEST

static void
write_more(struct inode *i, enum writeback_point at)
{
	if (i == b->inode && at == WRITEBACK_COPIED) {
		unit_fill(a, BLK, BLK, 55);
		unit_fill(b, 9 * BLK, BLK, 66);
	}
}

/* What is written between the writebacks and the exchange is exchanged, too. */
START_TEST(changes_meanwhile)
{
	number_blocks(a, 3, 1);
	number_blocks(b, 7, 101);
	__atomic_store_n(&writeback_test_hook, write_more, __ATOMIC_RELEASE);
	ck_assert_ok(fs_exchange_range(a, 0, b, 0, 0));
	__atomic_store_n(&writeback_test_hook, NULL, __ATOMIC_RELEASE);
	ck_assert_ok(txn_commit_wait(fs_pool(fs), txn_open_number(fs_pool(fs))));
	crash_expect(7, 101, 3, 1);
	for (int pass = 0; pass < 2; pass++) {
		ck_assert_uint_eq(unit_size(a), 10 * BLK);
		ck_assert_uint_eq(unit_size(b), 3 * BLK);
		expect_blocks(a, 0, 7, 101);
		unit_expect(a, 7 * BLK, 2 * BLK, 0);
		expect_blocks(a, 9, 1, 66);
		expect_blocks(b, 0, 1, 1);
		expect_blocks(b, 1, 1, 55);
		remount();
	}
}
END_TEST

/* Holders keep their blocks, and the files get what those held. */
START_TEST(pinned)
{
	uint64_t wid, rid, tid;
	struct file *gone = unit_file(fs, "b", O_RDWR);
	uint8_t *w, *r, *t;

	number_blocks(a, 10, 1);
	number_blocks(b, 10, 101);
	ck_assert_ok(fs_sync(fs));
	w = pin(a, PIN_WRITE, 2 * BLK, 2 * BLK, &wid);
	r = pin(a, PIN_READ, 6 * BLK, BLK, &rid);
	t = pin(gone, PIN_WRITE, 8 * BLK, BLK, &tid);
	memset(w, 50, 2 * BLK);
	memset(t, 60, BLK);
	fs_release(gone);
	ck_assert_ok(fs_exchange_range(a, 0, b, 0, 0));
	memset(w, 51, 2 * BLK);
	for (int pass = 0; pass < 2; pass++) {
		expect_blocks(a, 0, 8, 101);
		unit_expect(a, 8 * BLK, BLK, 60);
		expect_blocks(a, 9, 1, 110);
		expect_blocks(b, 0, 2, 1);
		unit_expect(b, 2 * BLK, 2 * BLK, 50);
		expect_blocks(b, 4, 6, 5);
		ck_assert_ok(fs_sync(fs));
	}
	number_blocks(a, 10, 21);
	number_blocks(b, 10, 41);
	ck_assert_ok(fs_sync(fs));
	ck_assert_uint_eq(w[0], 51);
	ck_assert_uint_eq(r[0], 7);
	ck_assert_ok(pin_remove(a, wid));
	ck_assert_ok(pin_remove(a, rid));
	expect_blocks(a, 0, 10, 21);
	expect_blocks(b, 0, 10, 41);
}
END_TEST

/* A pinned durable block that was cut loose after the writeback would be the other file's to free. */
static void
punch_more(struct inode *i, enum writeback_point at)
{
	static bool done;

	if (i == b->inode && at == WRITEBACK_COPIED && !done) {
		done = true;
		ck_assert_ok(fs_fallocate(a, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, BLK, BLK));
	}
}

START_TEST(cut_meanwhile)
{
	uint64_t id;
	uint8_t *r;

	number_blocks(a, 4, 1);
	ck_assert_ok(fs_sync(fs));
	number_blocks(b, 4, 101);
	r = pin(a, PIN_READ, BLK, BLK, &id);
	__atomic_store_n(&writeback_test_hook, punch_more, __ATOMIC_RELEASE);
	ck_assert_ok(fs_exchange_range(a, 0, b, 0, 0));
	__atomic_store_n(&writeback_test_hook, NULL, __ATOMIC_RELEASE);
	ck_assert_ok(fs_sync(fs));
	for (int k = 0; k < 4; k++) {
		number_blocks(a, 30, (uint8_t)(11 + k));
		number_blocks(b, 30, (uint8_t)(51 + k));
		ck_assert_ok(fs_sync(fs));
	}
	ck_assert_uint_eq(r[0], 2);
	ck_assert_ok(pin_remove(a, id));
	expect_blocks(b, 0, 30, 54);
}
END_TEST

START_TEST(dax_files)
{
	uint32_t flags, projid;

	ck_assert_ok(fs_getflags(fs, a->inode, &flags, &projid));
	ck_assert_ok(fs_setflags(fs, a->inode, flags | INODE_FL_DAX, projid, &unit_cred));
	ck_assert_err(fs_exchange_range(a, 0, b, 0, 0), EINVAL);
	ck_assert_ok(fs_setflags(fs, b->inode, flags | INODE_FL_DAX, projid, &unit_cred));
	ck_assert_ok(fs_exchange_range(a, 0, b, 0, 0));
	number_blocks(a, 4, 1);
	number_blocks(b, 5, 101);
	ck_assert_ok(fs_exchange_range(a, 0, b, 0, 0));
	crash_expect(5, 101, 4, 1);
	unit_fill(a, BLK, 10, 77);
	unit_expect(a, BLK, 10, 77);
	unit_expect(a, BLK + 10, BLK - 10, 102);
	expect_blocks(b, 0, 4, 1);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("exchange");
	TCase *t = tcase_create("exchange");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, arguments);
	tcase_add_test(t, part);
	tcase_add_test(t, whole);
	tcase_add_test(t, one_file);
	tcase_add_test(t, crash);
	tcase_add_test(t, changes_meanwhile);
	tcase_add_test(t, pinned);
	tcase_add_test(t, cut_meanwhile);
	tcase_add_test(t, dax_files);
	suite_add_tcase(s, t);
	return unit_main(s);
}
