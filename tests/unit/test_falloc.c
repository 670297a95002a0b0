/* SPDX-License-Identifier: BSD-3-Clause */
/* fallocate and lseek, one behaviour at a time. test_io.c has the random mix. */
#include "tests/unit/unit_file.h"

#include <linux/falloc.h>
#include <unistd.h>

#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
#define ZERO FALLOC_FL_ZERO_RANGE
#define KEEP FALLOC_FL_KEEP_SIZE

static const char *path;
static struct fs *fs;
static struct file *f;
static uint64_t free_before;

static void
setup(void)
{
	path = unit_mkpool(8);
	fs = unit_mount(path);
	free_before = unit_free_blocks(fs);
	f = unit_file(fs, "a", O_RDWR);
}

static void
remount(void)
{
	fs_release(f);
	ck_assert_ok(fs_umount(fs));
	unit_check(path);
	fs = unit_mount(path);
	f = unit_file(fs, "a", O_RDWR);
}

static void
teardown(void)
{
	remount();
	fs_release(f);
	unit_unlink(fs, "a");
	ck_assert_uint_eq(unit_free_blocks(fs), free_before);
	ck_assert_uint_eq(unit_reserved_blocks(fs), 0);
	ck_assert_ok(fs_umount(fs));
}

static uint64_t
free_now(void)
{
	struct alloc_stats st;

	alloc_stats(pool_alloc(fs_pool(fs)), &st);
	return st.free;
}

static uint64_t
blocks(void)
{
	struct stat st;

	inode_stat(f->inode, &st);
	return (uint64_t)st.st_blocks / 8;
}

START_TEST(arguments)
{
	ck_assert_err(fs_fallocate(f, FALLOC_FL_COLLAPSE_RANGE, 0, 4096), EOPNOTSUPP);
	ck_assert_err(fs_fallocate(f, FALLOC_FL_INSERT_RANGE, 0, 4096), EOPNOTSUPP);
	ck_assert_err(fs_fallocate(f, FALLOC_FL_UNSHARE_RANGE, 0, 4096), EOPNOTSUPP);
	ck_assert_err(fs_fallocate(f, FALLOC_FL_PUNCH_HOLE, 0, 4096), EOPNOTSUPP);
	ck_assert_err(fs_fallocate(f, PUNCH | ZERO, 0, 4096), EOPNOTSUPP);
	ck_assert_err(fs_fallocate(f, 0, 0, 0), EINVAL);
	ck_assert_err(fs_fallocate(f, 0, (uint64_t)INT64_MAX + 1, 1), EINVAL);
	ck_assert_err(fs_fallocate(f, 0, 0, (uint64_t)INT64_MAX + 1), EINVAL);
	ck_assert_err(fs_fallocate(f, 0, INT64_MAX, 1), EFBIG);
	ck_assert_err(fs_fallocate(f, 0, 2, INT64_MAX), EFBIG);
	ck_assert_err(fs_fallocate(f, 0, 0, INT64_MAX), ENOSPC);
	ck_assert_ok(fs_fallocate(f, PUNCH, 0, INT64_MAX));
	ck_assert_ok(fs_fallocate(f, PUNCH, INT64_MAX - 1, 1));
	ck_assert_uint_eq(unit_size(f), 0);
	ck_assert_uint_eq(blocks(), 0);
}
END_TEST

START_TEST(preallocate)
{
	uint64_t left;

	ck_assert_ok(fs_fallocate(f, 0, 5000, 100000));
	ck_assert_uint_eq(unit_size(f), 105000);
	ck_assert_uint_eq(blocks(), 25);
	unit_expect(f, 0, 105000, 0);
	ck_assert_err(fs_seek(f, 0, SEEK_DATA), ENXIO);
	ck_assert_int_eq(fs_seek(f, 0, SEEK_HOLE), 0);
	/* writing there needs no block more */
	left = free_now();
	unit_fill(f, 5000, 50000, 1);
	ck_assert_uint_eq(free_now(), left);
	unit_expect(f, 5000, 50000, 1);
	unit_expect(f, 55000, 50000, 0);
	ck_assert_int_eq(fs_seek(f, 0, SEEK_DATA), 4096);
	ck_assert_int_eq(fs_seek(f, 4096, SEEK_HOLE), 57344);
	/* doing it again changes nothing */
	ck_assert_ok(fs_fallocate(f, KEEP, 4096, 100904));
	ck_assert_uint_eq(free_now(), left);
	unit_expect(f, 5000, 50000, 1);
}
END_TEST

/* The durable map has unwritten blocks: they are stored to in place, and nobody frees them twice. */
START_TEST(write_into_durable_unwritten)
{
	uint64_t left;

	ck_assert_ok(fs_fallocate(f, 0, 0, 100000));
	ck_assert_ok(fs_fsync_wait(fs, f->inode, false));
	remount();
	unit_expect(f, 0, 100000, 0);
	ck_assert_uint_eq(blocks(), 25);
	left = free_now();
	unit_fill(f, 100, 20000, 1);
	ck_assert_uint_eq(free_now(), left);
	unit_expect(f, 0, 100, 0);
	unit_expect(f, 100, 20000, 1);
	unit_expect(f, 20100, 10000, 0);
	/* take it away again before it is durable */
	ck_assert_ok(fs_fallocate(f, PUNCH, 8192, 8192));
	ck_assert_ok(fs_truncate(f->inode, 18000));
	unit_expect(f, 100, 8092, 1);
	unit_expect(f, 8192, 8192, 0);
	unit_expect(f, 16384, 1616, 1);
	ck_assert_ok(fs_fsync_wait(fs, f->inode, false));
	ck_assert_uint_eq(blocks(), 3);
	remount();
	unit_expect(f, 100, 8092, 1);
	unit_expect(f, 8192, 8192, 0);
	unit_expect(f, 16384, 1616, 1);
	/* zeroed in between, too */
	ck_assert_ok(fs_fallocate(f, 0, 0, 100000));
	ck_assert_ok(fs_fsync_wait(fs, f->inode, false));
	unit_fill(f, 40000, 20000, 2);
	ck_assert_ok(fs_fallocate(f, ZERO, 40000, 10000));
	ck_assert_ok(fs_fsync_wait(fs, f->inode, false));
	unit_expect(f, 40000, 10000, 0);
	unit_expect(f, 50000, 10000, 2);
}
END_TEST

START_TEST(behind_the_end)
{
	unit_fill(f, 0, 5000, 1);
	ck_assert_ok(fs_fallocate(f, KEEP, 0, 100000));
	ck_assert_uint_eq(unit_size(f), 5000);
	ck_assert_uint_eq(blocks(), 25);
	remount();
	ck_assert_uint_eq(unit_size(f), 5000);
	ck_assert_uint_eq(blocks(), 25);
	unit_fill(f, 50000, 10, 2);
	unit_expect(f, 5000, 45000, 0);
	ck_assert_uint_eq(blocks(), 25);
	/* truncating to the size that it has drops them */
	ck_assert_ok(fs_truncate(f->inode, 50010));
	ck_assert_ok(fs_fsync_wait(fs, f->inode, false));
	ck_assert_uint_eq(blocks(), 13);
}
END_TEST

/* Blocks that had other content read zero, the parts of a block that aren't written included. */
START_TEST(nothing_stale)
{
	struct file *g = unit_file(fs, "b", O_RDWR);

	unit_fill(g, 0, 6 << 20, 0xee);
	ck_assert_ok(fs_sync(fs));
	fs_release(g);
	unit_unlink(fs, "b");
	ck_assert_uint_ge(unit_free_blocks(fs), free_before - 4);
	ck_assert_ok(fs_fallocate(f, 0, 0, 6 << 20));
	unit_expect(f, 0, 6 << 20, 0);
	for (uint64_t off = 0; off < 6 << 20; off += 100000) {
		unit_fill(f, off + 1234, 5000, 1);
		unit_expect(f, off + 1234, 5000, 1);
	}
	for (uint64_t off = 0; off < 6 << 20; off += 100000) {
		uint64_t end = min_of(off + 100000, (uint64_t)6 << 20);

		unit_expect(f, off, 1234, 0);
		unit_expect(f, off + 6234, end - off - 6234, 0);
	}
}
END_TEST

START_TEST(punch)
{
	for (int synced = 0; synced < 2; synced++) {
		unit_fill(f, 0, 100000, 1);
		if (synced)
			ck_assert_ok(fs_fsync_wait(fs, f->inode, false));
		ck_assert_ok(fs_fallocate(f, PUNCH, 5000, 10));
		ck_assert_ok(fs_fallocate(f, PUNCH, 10000, 30000));
		ck_assert_uint_eq(unit_size(f), 100000);
		unit_expect(f, 0, 5000, 1);
		unit_expect(f, 5000, 10, 0);
		unit_expect(f, 5010, 4990, 1);
		unit_expect(f, 10000, 30000, 0);
		unit_expect(f, 40000, 60000, 1);
		ck_assert_int_eq(fs_seek(f, 0, SEEK_HOLE), 12288);
		ck_assert_int_eq(fs_seek(f, 20000, SEEK_DATA), 36864);
		ck_assert_ok(fs_fsync_wait(fs, f->inode, false));
		ck_assert_uint_eq(blocks(), 25 - 6);
		/* up to the end and beyond: the last block goes as a whole */
		ck_assert_ok(fs_fallocate(f, PUNCH, 98304, 1 << 20));
		ck_assert_uint_eq(unit_size(f), 100000);
		unit_expect(f, 98304, 1696, 0);
		ck_assert_ok(fs_fallocate(f, PUNCH, 90000, 10000));
		ck_assert_ok(fs_fsync_wait(fs, f->inode, false));
		ck_assert_uint_eq(blocks(), 25 - 6 - 3);
		unit_expect(f, 40000, 50000, 1);
		unit_expect(f, 90000, 10000, 0);
		ck_assert_ok(fs_fallocate(f, PUNCH, 0, INT64_MAX));
		ck_assert_ok(fs_fsync_wait(fs, f->inode, false));
		ck_assert_uint_eq(blocks(), 0);
		unit_expect(f, 0, 100000, 0);
	}
}
END_TEST

START_TEST(zero_range)
{
	for (int synced = 0; synced < 2; synced++) {
		ck_assert_ok(fs_truncate(f->inode, 0));
		unit_fill(f, 0, 50000, 1);
		if (synced)
			ck_assert_ok(fs_fsync_wait(fs, f->inode, false));
		ck_assert_ok(fs_fallocate(f, ZERO | KEEP, 5000, 20000));
		unit_expect(f, 0, 5000, 1);
		unit_expect(f, 5000, 20000, 0);
		unit_expect(f, 25000, 25000, 1);
		ck_assert_int_eq(fs_seek(f, 0, SEEK_HOLE), 8192);
		ck_assert_int_eq(fs_seek(f, 8192, SEEK_DATA), 24576);
		/* beyond the end: it grows, unless it is told not to */
		ck_assert_ok(fs_fallocate(f, ZERO | KEEP, 40000, 100000));
		ck_assert_uint_eq(unit_size(f), 50000);
		ck_assert_ok(fs_fallocate(f, ZERO, 60000, 40000));
		ck_assert_uint_eq(unit_size(f), 100000);
		unit_expect(f, 25000, 15000, 1);
		unit_expect(f, 40000, 60000, 0);
		ck_assert_ok(fs_fsync_wait(fs, f->inode, false));
		ck_assert_uint_eq(blocks(), 35);
	}
}
END_TEST

START_TEST(no_space)
{
	uint64_t left, size = 50000;

	unit_fill(f, 0, size, 1);
	ck_assert_ok(fs_fsync_wait(fs, f->inode, false));
	unit_free_blocks(fs);
	left = free_now();
	ck_assert_err(fs_fallocate(f, 0, 0, 9 << 20), ENOSPC);
	ck_assert_err(fs_fallocate(f, ZERO, 100, 9 << 20), ENOSPC);
	ck_assert_uint_eq(unit_size(f), size);
	unit_free_blocks(fs);
	ck_assert_uint_ge(free_now() + 2, left);
	ck_assert_uint_eq(unit_reserved_blocks(fs), 0);
	unit_expect(f, 0, 100, 1);
	ck_assert_ok(fs_fallocate(f, 0, 0, 5 << 20));
	ck_assert_err(fs_fallocate(f, 0, 0, 9 << 20), ENOSPC);
	unit_fill(f, 1 << 20, 4 << 20, 2);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("falloc");
	TCase *t = tcase_create("falloc");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, arguments);
	tcase_add_test(t, preallocate);
	tcase_add_test(t, write_into_durable_unwritten);
	tcase_add_test(t, behind_the_end);
	tcase_add_test(t, nothing_stale);
	tcase_add_test(t, punch);
	tcase_add_test(t, zero_range);
	tcase_add_test(t, no_space);
	suite_add_tcase(s, t);
	return unit_main(s);
}
