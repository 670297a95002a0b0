/* SPDX-License-Identifier: BSD-3-Clause */
/* Reflinks and copy_file_range, one behaviour at a time. test_io.c has the random mix. */
#include "tests/unit/unit_crash.h"

#include <linux/falloc.h>
#include <unistd.h>

#include "fs/fs_i.h"

static const char *path;
static struct fs *fs;
static struct file *a, *b;
static uint64_t free_before;

static void
setup(void)
{
	path = unit_mkpool(8);
	fs = unit_mount(path);
	free_before = unit_free_blocks(fs);
	a = unit_file(fs, "a", O_RDWR);
	b = unit_file(fs, "b", O_RDWR);
}

static void
remount(void)
{
	fs_release(a);
	fs_release(b);
	ck_assert_ok(fs_umount(fs));
	unit_check(path);
	fs = unit_mount(path);
	a = unit_file(fs, "a", O_RDWR);
	b = unit_file(fs, "b", O_RDWR);
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
	ck_assert_ok(fs_umount(fs));
}

START_TEST(shares_and_parts)
{
	uint64_t left;

	unit_fill(a, 0, 1 << 20, 1);
	ck_assert_ok(fs_sync(fs));
	left = unit_free_blocks(fs);
	ck_assert_ok(fs_clone_range(a, 0, b, 0, 0));
	ck_assert_uint_eq(unit_size(b), 1 << 20);
	unit_expect(b, 0, 1 << 20, 1);
	/* only a few nodes of the tree */
	ck_assert_uint_ge(unit_free_blocks(fs) + 20, left);
	/* each goes its own way, one after the other, over a remount too */
	unit_fill(a, 5000, 10000, 2);
	unit_expect(b, 0, 1 << 20, 1);
	ck_assert_ok(fs_sync(fs));
	unit_fill(b, 500000, 100, 3);
	ck_assert_ok(fs_truncate(b->inode, 600000));
	remount();
	unit_expect(a, 0, 5000, 1);
	unit_expect(a, 5000, 10000, 2);
	unit_expect(a, 15000, (1 << 20) - 15000, 1);
	unit_expect(b, 0, 500000, 1);
	unit_expect(b, 500000, 100, 3);
	unit_expect(b, 500100, 99900, 1);
	/* the other's end does not matter to it */
	fs_release(a);
	unit_unlink(fs, "a");
	a = unit_file(fs, "a", O_RDWR);
	ck_assert_ok(fs_sync(fs));
	unit_expect(b, 0, 500000, 1);
}
END_TEST

START_TEST(arguments)
{
	struct file *ro = unit_file(fs, "b", O_RDONLY), *wo = unit_file(fs, "a", O_WRONLY),
	    *ap = unit_file(fs, "b", O_WRONLY | O_APPEND);

	unit_fill(a, 0, 50000, 1);
	unit_fill(b, 0, 100000, 2);
	ck_assert_err(fs_clone_range(a, 1, b, 0, 4096), EINVAL);
	ck_assert_err(fs_clone_range(a, 0, b, 1, 4096), EINVAL);
	ck_assert_err(fs_clone_range(a, 0, b, 0, 4000), EINVAL);
	ck_assert_err(fs_clone_range(a, 0, b, 0, 53248), EINVAL);
	/* up to an end that is not a block's: only where it becomes the end */
	ck_assert_err(fs_clone_range(a, 0, b, 0, 50000), EINVAL);
	ck_assert_err(fs_clone_range(a, 0, b, 0, 0), EINVAL);
	ck_assert_err(fs_clone_range(a, 53248, b, 0, 0), EINVAL);
	ck_assert_err(fs_clone_range(a, 0, b, 0, UINT64_MAX), EINVAL);
	ck_assert_err(fs_clone_range(a, 0, b, (uint64_t)1 << 63, 4096), EINVAL);
	ck_assert_err(fs_clone_range(a, 0, b, FILE_MAX_BYTES & ~4095ll, 8192), EFBIG);
	ck_assert_err(fs_clone_range(a, 0, a, 4096, 8192), EINVAL);
	ck_assert_err(fs_clone_range(a, 0, ro, 0, 4096), EBADF);
	ck_assert_err(fs_clone_range(wo, 0, b, 0, 4096), EBADF);
	ck_assert_err(fs_clone_range(a, 0, ap, 0, 4096), EBADF);
	unit_expect(b, 0, 100000, 2);
	ck_assert_ok(fs_clone_range(a, 49152, b, 98304 + 4096, 0));
	ck_assert_uint_eq(unit_size(b), 98304 + 4096 + 848);
	unit_expect(b, 0, 100000, 2);
	unit_expect(b, 100000, 2400, 0);
	unit_expect(b, 102400, 848, 1);
	ck_assert_ok(fs_clone_range(a, 0, a, 8192, 8192));
	fs_release(ro);
	fs_release(wo);
	fs_release(ap);
}
END_TEST

START_TEST(holes_and_preallocation)
{
	ck_assert_ok(fs_truncate(a->inode, 200000));
	unit_fill(a, 20480, 4096, 1);
	ck_assert_ok(fs_fallocate(a, 0, 81920, 40960));
	unit_fill(b, 0, 200000, 9);
	ck_assert_ok(fs_fsync_wait(fs, b->inode, false));
	ck_assert_ok(fs_clone_range(a, 0, b, 0, 0));
	unit_expect(b, 0, 20480, 0);
	unit_expect(b, 20480, 4096, 1);
	unit_expect(b, 24576, 200000 - 24576, 0);
	ck_assert_int_eq(fs_seek(b, 0, SEEK_DATA), 20480);
	ck_assert_err(fs_seek(b, 24576, SEEK_DATA), ENXIO);
	/* what is preallocated in one is not so in the other */
	unit_fill(a, 90000, 1000, 2);
	unit_fill(b, 90000, 500, 3);
	ck_assert_ok(fs_sync(fs));
	unit_fill(a, 100000, 1000, 4);
	ck_assert_ok(fs_sync(fs));
	unit_expect(a, 90000, 1000, 2);
	unit_expect(b, 90000, 500, 3);
	unit_expect(b, 90500, 100000, 0);
}
END_TEST

/* What is written to the source while the clone writes it back. */
static struct file *hooked;
static uint8_t hook_byte;

static void
write_more(struct inode *i, enum writeback_point at)
{
	if (i == hooked->inode && at == WRITEBACK_COPIED) {
		unit_fill(hooked, 8192, 4096, ++hook_byte);
		unit_fill(hooked, 40960, 100, hook_byte);
	}
}

START_TEST(source_changes_meanwhile)
{
	unit_fill(a, 0, 81920, 100);
	hooked = a;
	hook_byte = 0;
	__atomic_store_n(&writeback_test_hook, write_more, __ATOMIC_RELEASE);
	ck_assert_ok(fs_clone_range(a, 0, b, 0, 0));
	__atomic_store_n(&writeback_test_hook, NULL, __ATOMIC_RELEASE);
	ck_assert_uint_gt(hook_byte, 0);
	unit_expect(b, 0, 8192, 100);
	unit_expect(b, 8192, 4096, hook_byte);
	unit_expect(b, 12288, 40960 - 12288, 100);
	unit_expect(b, 40960, 100, hook_byte);
	unit_expect(b, 41060, 81920 - 41060, 100);
	unit_fill(a, 8192, 4096, 55);
	remount();
	unit_expect(b, 8192, 4096, hook_byte);
	unit_expect(a, 8192, 4096, 55);
}
END_TEST

/* A write to the destination while the clone writes that back is overwritten or not, but not mixed. */
START_TEST(destination_changes_meanwhile)
{
	unit_fill(a, 0, 81920, 100);
	unit_fill(b, 0, 81920, 101);
	hooked = b;
	hook_byte = 0;
	__atomic_store_n(&writeback_test_hook, write_more, __ATOMIC_RELEASE);
	ck_assert_ok(fs_clone_range(a, 0, b, 0, 0));
	__atomic_store_n(&writeback_test_hook, NULL, __ATOMIC_RELEASE);
	unit_expect(b, 0, 81920, 100);
	remount();
	unit_expect(b, 0, 81920, 100);
}
END_TEST

static void
pin(struct file *f, enum pin_access access, uint64_t off, uint64_t len, uint64_t *id, uint8_t **at)
{
	struct pin_range r = { .off = off, .len = len };

	ck_assert_ok(unit_pin(f, access, &r, 1, id));
	ck_assert_uint_ge(r.ext_len, len);
	*at = (uint8_t *)pool_block(fs_pool(fs), 0) + r.pool_off;
}

/* The clone of a pinned file is a snapshot: its holder keeps the block. */
START_TEST(pinned_source)
{
	uint8_t *w, *r;
	uint64_t wid, rid;

	unit_fill(a, 0, 81920, 1);
	ck_assert_ok(fs_fsync_wait(fs, a->inode, false));
	pin(a, PIN_WRITE, 8192, 8192, &wid, &w);
	pin(a, PIN_READ, 40960, 8192, &rid, &r);
	memset(w, 2, 8192);
	ck_assert_ok(fs_clone_range(a, 0, b, 0, 0));
	memset(w, 3, 8192);
	unit_fill(a, 40960, 4096, 4);
	ck_assert_uint_eq(r[0], 4);
	unit_expect(a, 8192, 8192, 3);
	for (int pass = 0; pass < 2; pass++) {
		unit_expect(b, 0, 8192, 1);
		unit_expect(b, 8192, 8192, 2);
		unit_expect(b, 16384, 81920 - 16384, 1);
		ck_assert_ok(fs_sync(fs));
	}
	/* again, now that a snapshot of it is shared */
	ck_assert_ok(fs_clone_range(a, 0, b, 0, 0));
	memset(w, 5, 8192);
	unit_expect(b, 8192, 8192, 3);
	unit_expect(b, 40960, 4096, 4);
	ck_assert_ok(pin_remove(a, wid));
	ck_assert_ok(pin_remove(a, rid));
	ck_assert_ok(fs_sync(fs));
	unit_expect(a, 8192, 8192, 5);
	unit_expect(b, 8192, 8192, 3);
}
END_TEST

/* Cloning over pinned blocks cuts them loose: stores of the holder reach no file any more. */
START_TEST(pinned_destination)
{
	uint8_t *w, *r;
	uint64_t wid, rid;

	unit_fill(a, 0, 81920, 1);
	unit_fill(b, 0, 81920, 2);
	ck_assert_ok(fs_sync(fs));
	pin(b, PIN_WRITE, 8192, 8192, &wid, &w);
	pin(b, PIN_READ, 40960, 8192, &rid, &r);
	ck_assert_ok(fs_clone_range(a, 0, b, 0, 0));
	memset(w, 3, 8192);
	unit_expect(b, 0, 81920, 1);
	/* still what it was, whatever else is written */
	ck_assert_ok(fs_sync(fs));
	unit_fill(a, 0, 81920, 7);
	ck_assert_ok(fs_sync(fs));
	for (int k = 0; k < 8192; k++)
		if (r[k] != 2 || w[k] != 3)
			ck_abort_msg("a block was used again while it was pinned");
	ck_assert_ok(pin_remove(b, wid));
	ck_assert_ok(pin_remove(b, rid));
	unit_expect(b, 0, 81920, 1);
}
END_TEST

/* Bytes that a direct mapping stored behind the end are not cloned. */
START_TEST(tail_of_a_pinned_source)
{
	uint64_t id;
	uint8_t *w;

	unit_fill(a, 0, 10000, 1);
	pin(a, PIN_WRITE, 8192, 1808, &id, &w);
	memset(w, 6, 4096);
	ck_assert_ok(fs_clone_range(a, 0, b, 0, 0));
	ck_assert_ok(pin_remove(a, id));
	ck_assert_ok(fs_truncate(a->inode, 20000));
	ck_assert_ok(fs_truncate(b->inode, 20000));
	unit_expect(a, 8192, 1808, 6);
	unit_expect(b, 8192, 1808, 6);
	unit_expect(a, 10000, 10000, 0);
	unit_expect(b, 10000, 10000, 0);
}
END_TEST

START_TEST(copy_range)
{
	uint64_t left;

	unit_fill(a, 0, 200000, 1);
	unit_fill(a, 100, 300, 2);
	ck_assert_ok(fs_sync(fs));
	left = unit_free_blocks(fs);
	/* both ends off by the same: what lies between is shared */
	ck_assert_int_eq(fs_copy_range(a, 100, b, 4196, 150000), 150000);
	ck_assert_ok(fs_sync(fs));
	ck_assert_uint_ge(unit_free_blocks(fs) + 10, left);
	ck_assert_uint_eq(unit_size(b), 154196);
	unit_expect(b, 0, 4196, 0);
	unit_expect(b, 4196, 300, 2);
	unit_expect(b, 4496, 149700, 1);
	/* shared to the very end */
	ck_assert_int_eq(fs_copy_range(a, 196608, b, 196608, 1 << 20), 3392);
	ck_assert_uint_eq(unit_size(b), 200000);
	/* nothing fits: all is copied */
	ck_assert_int_eq(fs_copy_range(a, 0, b, 1, 100000), 100000);
	unit_expect(b, 101, 300, 2);
	unit_expect(b, 401, 99600, 1);
	unit_expect(b, 100001, 54195, 1);
	unit_expect(b, 154196, 196608 - 154196, 0);
	unit_expect(b, 196608, 3392, 1);
	ck_assert_int_eq(fs_copy_range(a, 200000, b, 0, 10), 0);
	ck_assert_int_eq(fs_copy_range(a, 0, b, 0, 0), 0);
	ck_assert_err(fs_copy_range(a, 0, a, 4096, 8192), EINVAL);
	ck_assert_err(fs_copy_range(a, 0, b, UINT64_MAX, 1), EINVAL);
	ck_assert_err(fs_copy_range(a, 0, b, FILE_MAX_BYTES, 1), EFBIG);
	ck_assert_int_eq(fs_copy_range(a, 0, a, 200000, 1000), 1000);
	unit_expect(a, 200100, 300, 2);
}
END_TEST

/* Damage in the middle of what a clone replaces: then nothing of it is replaced. */
static void
store(struct file *f, uint64_t off, size_t len, int c)
{
	uint8_t *buf = malloc(len);

	memset(buf, c, len);
	ck_assert_int_eq(fs_write(f, buf, len, off, false), (ssize_t)len);
	free(buf);
}

/* Nothing is shared with a dax file, and what a crash leaves is the old or the new. */
START_TEST(dax_file)
{
	enum { LEN = 40000 };
	struct file *dax = _i == 0 ? a : b;
	struct map_extent x;
	uint8_t c;

	ck_assert_ok(fs_setflags(fs, dax->inode, INODE_FL_DAX, 0, &unit_cred));
	store(a, 0, LEN, 'a');
	store(b, 0, LEN, 'b');
	ck_assert_ok(fs_sync(fs));
	ck_assert_ok(fs_clone_range(a, 0, b, 0, 0));
	ck_assert_ok(txn_commit_wait(fs_pool(fs), txn_open_number(fs_pool(fs))));
	unit_crash_expect(path, "b", LEN, 'b');
	store(a, 0, LEN, 'c');
	ck_assert_ok(fs_sync(fs));
	unit_crash_expect(path, "b", LEN, 'a');
	store(b, 0, LEN, 'd');
	ck_assert_ok(fs_sync(fs));
	unit_crash_expect(path, "a", LEN, 'c');
	ck_assert_ok(fs_fallocate(a, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8192, 8192));
	ck_assert_ok(fs_clone_range(a, 4096, b, 4096, 16384));
	remount();
	ck_assert_int_eq(fs_read(b, &c, 1, 4095), 1);
	ck_assert_int_eq(c, 'd');
	ck_assert_int_eq(fs_read(b, &c, 1, 4096), 1);
	ck_assert_int_eq(c, 'c');
	unit_expect(b, 8192, 8192, 0);
	ck_assert_int_eq(map_extents(b->inode, 8192, 8192, &x, 1), 1);
	ck_assert(x.flags & MAP_HOLE);
	ck_assert_int_eq(fs_read(b, &c, 1, 20479), 1);
	ck_assert_int_eq(c, 'c');
	ck_assert_int_eq(fs_read(b, &c, 1, 20480), 1);
	ck_assert_int_eq(c, 'd');
}
END_TEST

START_TEST(damaged_destination)
{
	struct extent_item item = { .len = 1, .flags = EXTENT_NOCSUM };
	struct extent x;
	struct txn t;

	/* two steps of a clone, because the blocks are not in a row */
	unit_fill(a, 16384, 16384, 1);
	ck_assert_ok(fs_sync(fs));
	unit_fill(a, 0, 16384, 1);
	unit_fill(b, 0, 32768, 2);
	ck_assert_ok(fs_sync(fs));
	ck_assert_ok(txn_begin(fs_pool(fs), &t, txn_credits(fs_pool(fs), 2), 0));
	rwl_wrlock(&b->inode->layout_lock);
	ck_assert_ok(extent_lookup(b->inode, 0, &x, NULL, 0));
	item.pblk = x.pblk;
	ck_assert_ok(tree_insert(&t, tree_key(b->inode->ino, ITEM_EXTENT, 5), &item, EXTENT_ITEM_HEAD));
	rwl_unlock(&b->inode->layout_lock);
	txn_end(&t);
	ck_assert_err(fs_clone_range(a, 0, b, 0, 0), EIO);
	ck_assert_ok(txn_begin(fs_pool(fs), &t, txn_credits(fs_pool(fs), 2), 0));
	ck_assert_ok(tree_delete(&t, tree_key(b->inode->ino, ITEM_EXTENT, 5)));
	txn_end(&t);
	unit_expect(b, 0, 32768, 2);
	remount();
	unit_expect(b, 0, 32768, 2);
}
END_TEST

START_TEST(many_clones)
{
	struct file *f[10];
	char name[16];

	unit_fill(a, 0, 2 << 20, 1);
	for (int k = 0; k < 10; k++) {
		snprintf(name, sizeof(name), "c%d", k);
		f[k] = unit_file(fs, name, O_RDWR);
		ck_assert_ok(fs_clone_range(a, 0, f[k], 0, 0));
		unit_fill(f[k], (uint64_t)k * 50000, 1000, (uint8_t)(10 + k));
	}
	ck_assert_ok(fs_sync(fs));
	for (int k = 0; k < 10; k++) {
		unit_expect(f[k], (uint64_t)k * 50000, 1000, (uint8_t)(10 + k));
		unit_expect(f[k], (uint64_t)k * 50000 + 1000, 1 << 20, 1);
	}
	unit_expect(a, 0, 2 << 20, 1);
	for (int k = 0; k < 10; k++) {
		fs_release(f[k]);
		snprintf(name, sizeof(name), "c%d", k);
		unit_unlink(fs, name);
	}
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("clone");
	TCase *t = tcase_create("clone");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, shares_and_parts);
	tcase_add_test(t, arguments);
	tcase_add_test(t, holes_and_preallocation);
	tcase_add_test(t, source_changes_meanwhile);
	tcase_add_test(t, destination_changes_meanwhile);
	tcase_add_test(t, pinned_source);
	tcase_add_test(t, pinned_destination);
	tcase_add_test(t, tail_of_a_pinned_source);
	tcase_add_test(t, copy_range);
	tcase_add_loop_test(t, dax_file, 0, 2);
	tcase_add_test(t, damaged_destination);
	tcase_add_test(t, many_clones);
	suite_add_tcase(s, t);
	return unit_main(s);
}
