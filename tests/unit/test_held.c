/* SPDX-License-Identifier: BSD-3-Clause */
/* Blocks that clients still have locked, or may still store to: pmem/held.c and those who use it. A client is
 * another open file of the pool here, with the locks and the mapping that libpinfs would have. */
#include <sys/mman.h>

#include "pmem/held.h"
#include "tests/unit/unit_pin.h"

static int
client(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	return fd;
}

/* type F_RDLCK or F_UNLCK; bytes, len 0: to the end. */
static void
lock(int fd, short type, uint64_t off, uint64_t len)
{
	struct flock l = { .l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)off, .l_len = (off_t)len };

	ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &l), 0);
}

static uint8_t *
map(int fd, uint64_t off, uint64_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)off);

	ck_assert_ptr_ne(p, MAP_FAILED);
	return p;
}

static struct fs *
mount_again(const char *path)
{
	struct fs_options opt;
	struct pool_error err;
	struct fs *fs;

	fs_options_default(&opt);
	opt.commit_s = 3600;
	ck_assert_ok(fs_mount(&fs, path, &opt, &err));
	return fs;
}

/* Write c until the pool is full. */
static void
fill_pool(struct fs *fs, const char *name, uint8_t c)
{
	struct file *f = unit_file(fs, name, O_RDWR);
	uint8_t buf[16 * BLK_SIZE];
	uint64_t off = 0;
	ssize_t n;

	memset(buf, c, sizeof(buf));
	while ((n = fs_write(f, buf, sizeof(buf), off, false)) > 0)
		off += (uint64_t)n;
	ck_assert_int_eq(n, -ENOSPC);
	fs_release(f);
}

static void
expect_file(struct fs *fs, const char *name, uint8_t c)
{
	struct file *f = unit_file(fs, name, O_RDONLY);

	unit_expect(f, 0, unit_size(f), c);
	fs_release(f);
}

static void
expect_held(struct fs *fs, uint64_t blocks)
{
	held_check_all(fs_pool(fs));
	ck_assert_uint_eq(held_waiting(fs_pool(fs)), blocks);
	ck_assert_uint_eq(quarantined(fs), blocks);
}

START_TEST(test_client_outlives_daemon)
{
	struct map_extent x;
	uint64_t id;
	uint8_t *p;
	int c;
	START(8);

	unit_fill(f, 0, 4 * BLK, 'a');
	pin(f, PIN_WRITE, 0, 4 * BLK, &id);
	x = map_at(f, 0);
	c = client(path);
	lock(c, F_RDLCK, x.pool_off, 4 * BLK);
	p = map(c, x.pool_off, 4 * BLK);
	memset(p, 'b', 4 * BLK);
	sync_file(f);
	memset(p, 'Z', 4 * BLK);
	fs_release(f); /* a crash would not; but it is in memory only, and somebody has to free it */
	fs_abandon(fs);

	fs = mount_again(path);
	expect_file(fs, "f", 'b');
	expect_held(fs, 4);
	fill_pool(fs, "full", 'x');
	memset(p, 'Y', 4 * BLK);
	ck_assert_ok(fs_sync(fs));
	expect_file(fs, "full", 'x');
	expect_file(fs, "f", 'b');
	ck_assert_uint_eq(p[3 * BLK], 'Y');

	/* A part of the lock goes, then all; late stores end in pages that are no part of the pool. */
	lock(c, F_UNLCK, x.pool_off + BLK, BLK);
	expect_held(fs, 3);
	ck_assert_uint_eq(p[BLK], 0);
	ck_assert_uint_eq(p[0], 'Y');
	lock(c, F_UNLCK, 0, 0);
	close(c);
	expect_held(fs, 0);
	ck_assert_uint_eq(p[0], 0);
	unit_unlink(fs, "full");
	f = unit_file(fs, "f", O_RDWR);
	munmap(p, 4 * BLK);
	finish(fs, path, f, before);
}
END_TEST

START_TEST(test_held_in_use)
{
	struct map_extent x;
	struct file *g;
	int c;
	START(8);

	unit_fill(f, 0, 8 * BLK, 'a');
	sync_file(f);
	x = map_at(f, 0);
	c = client(path);
	lock(c, F_RDLCK, x.pool_off + 2 * BLK, 4 * BLK);
	fs_release(f);
	ck_assert_ok(fs_umount(fs));

	/* In a file they are as any others; when it lets go of them they wait. */
	fs = mount_again(path);
	expect_held(fs, 0);
	expect_file(fs, "f", 'a');
	f = unit_file(fs, "f", O_RDWR);
	unit_fill(f, 0, 3 * BLK, 'b');
	sync_file(f);
	expect_held(fs, 1);
	ck_assert_ok(fs_truncate(f->inode, 5 * BLK));
	sync_file(f);
	expect_held(fs, 2);
	g = unit_file(fs, "g", O_RDWR);
	unit_fill(g, 0, BLK, 'c');
	fs_release(g);
	unit_unlink(fs, "g");
	/* A crash, a mount without the client: nothing is left of it. */
	ck_assert_ok(fs_sync(fs));
	fs_release(f);
	fs_abandon(fs);
	fs = mount_again(path);
	expect_held(fs, 2);
	close(c);
	fs_abandon(fs);
	fs = mount_again(path);
	expect_held(fs, 0);
	f = unit_file(fs, "f", O_RDWR);
	unit_expect(f, 3 * BLK, 2 * BLK, 'a');
	finish(fs, path, f, before);
}
END_TEST

START_TEST(test_locks_anywhere)
{
	enum { CLIENTS = 40 };
	uint64_t nblocks, seed = 11, expected = 0;
	bool locked[2048] = { false };
	int c[CLIENTS];
	START(8);

	nblocks = pool_nblocks(fs_pool(fs));
	ck_assert_uint_eq(nblocks, 2048);
	fs_release(f);
	ck_assert_ok(fs_umount(fs));
	/* Not in order, not of whole blocks, one up to the end of the file however long. */
	for (unsigned k = 0; k < CLIENTS; k++) {
		c[k] = client(path);
		for (unsigned m = 0; m < 3; m++) {
			uint64_t start = 1000 + unit_random(&seed) % 900, n = 1 + unit_random(&seed) % 20;

			lock(c[k], F_RDLCK, start * BLK + 100, n * BLK - 4000);
			for (uint64_t b = start; b < start + n; b++)
				locked[b] = true;
		}
	}
	lock(c[7], F_RDLCK, 2000 * BLK, 0);
	for (uint64_t b = 0; b < nblocks; b++)
		expected += locked[b] || b >= 2000;
	fs = mount_again(path);
	expect_held(fs, expected);
	fill_pool(fs, "full", 'x');
	f = unit_file(fs, "full", O_RDWR);
	ck_assert_ok(fs_sync(fs));
	for (uint64_t off = 0; off < unit_size(f); off += BLK) {
		uint64_t b = map_at(f, off).pool_off / BLK;

		ck_assert(b < 2000 && !locked[b]);
	}
	/* fsck -n does not mind them; mkfs -f does. */
	fs_release(f);
	ck_assert_ok(fs_umount(fs));
	unit_check(path);
	ck_assert_err(pool_mkfs(path, &(struct mkfs_options){ .force = true }, &(struct pool_error){ 0 }), EBUSY);
	fs = mount_again(path);
	for (unsigned k = 0; k < CLIENTS; k++)
		close(c[k]);
	expect_held(fs, 0);
	unit_unlink(fs, "full");
	f = unit_file(fs, "f", O_RDWR);
	finish(fs, path, f, before);
}
END_TEST

START_TEST(test_unpin_while_mapped)
{
	struct map_extent x;
	uint64_t id;
	uint8_t *p;
	int c;
	START(8);

	unit_fill(f, 0, 4 * BLK, 'a');
	pin(f, PIN_WRITE, 0, 4 * BLK, &id);
	x = map_at(f, 0);
	c = client(path);
	lock(c, F_RDLCK, x.pool_off + BLK, BLK);
	p = map(c, x.pool_off, 4 * BLK);
	ck_assert_ok(pin_remove(f, id));
	/* Not by reference: what it stores later would be in the durable image. */
	sync_file(f);
	ck_assert_uint_ne(map_at(f, BLK).pool_off, x.pool_off + BLK);
	memset(p + BLK, 'Z', BLK);
	unit_expect(f, 0, 4 * BLK, 'a');
	unit_crash_expect(path, "f", 4 * BLK, 'a');
	expect_held(fs, 1);
	ck_assert_uint_eq(p[BLK], 'Z');
	/* A new pin is as any other, and its bounces don't come to use the block either. */
	pin(f, PIN_WRITE, 0, 4 * BLK, &id);
	for (int k = 0; k < 5; k++) {
		unit_fill(f, 0, 4 * BLK, (uint8_t)('b' + k));
		sync_file(f);
		ck_assert_uint_eq(p[BLK], 'Z');
	}
	ck_assert_ok(pin_remove(f, id));
	expect_held(fs, 1);
	close(c); /* the lock belongs to the open file, which lives as long as the mapping */
	expect_held(fs, 1);
	munmap(p, 4 * BLK);
	expect_held(fs, 0);
	finish(fs, path, f, before);
}
END_TEST

START_TEST(test_read_unpin_while_mapped)
{
	struct map_extent x;
	uint64_t id, id2;
	uint8_t *p;
	int c;
	START(8);

	unit_fill(f, 0, 2 * BLK, 'a');
	sync_file(f);
	pin(f, PIN_READ, 0, 2 * BLK, &id);
	pin(f, PIN_READ, 0, BLK, &id2);
	x = map_at(f, 0);
	c = client(path);
	lock(c, F_RDLCK, x.pool_off, 2 * BLK);
	p = map(c, x.pool_off, 2 * BLK);
	ck_assert_ok(pin_remove(f, id));
	/* The first block is pinned by somebody else, whose lock this may be. */
	lock(c, F_UNLCK, x.pool_off, BLK);
	ck_assert_ok(pin_remove(f, id2));
	unit_fill(f, 0, 2 * BLK, 'b');
	sync_file(f);
	expect_held(fs, 1);
	fill_pool(fs, "full", 'x');
	ck_assert_ok(fs_sync(fs));
	ck_assert_uint_eq(p[BLK], 'a');
	expect_held(fs, 1);
	close(c);
	munmap(p, 2 * BLK);
	expect_held(fs, 0);
	unit_unlink(fs, "full");
	finish(fs, path, f, before);
}
END_TEST

START_TEST(test_close_while_mapped)
{
	struct map_extent x;
	struct file *g;
	uint64_t id;
	uint8_t *p;
	int c;
	START(8);

	/* It has closed the file, and maps its blocks all the same: cut off before, and still in the file. */
	g = unit_file(fs, "f", O_RDWR);
	unit_fill(g, 0, 4 * BLK, 'a');
	pin(g, PIN_WRITE, 0, 4 * BLK, &id);
	x = map_at(g, 0);
	c = client(path);
	lock(c, F_RDLCK, x.pool_off, 4 * BLK);
	p = map(c, x.pool_off, 4 * BLK);
	ck_assert_ok(fs_truncate(g->inode, 2 * BLK));
	fs_release(g);
	sync_file(f);
	expect_held(fs, 4);
	memset(p, 'Z', 4 * BLK);
	fill_pool(fs, "full", 'x');
	ck_assert_ok(fs_sync(fs));
	ck_assert_uint_eq(p[0], 'Z');
	ck_assert_uint_eq(p[4 * BLK - 1], 'Z');
	expect_file(fs, "full", 'x');
	expect_file(fs, "f", 'a');
	close(c);
	munmap(p, 4 * BLK);
	expect_held(fs, 0);
	unit_unlink(fs, "full");
	finish(fs, path, f, before);
}
END_TEST

START_TEST(test_freed_when_needed)
{
	uint64_t half;
	int c;
	START(8);

	half = pool_nblocks(fs_pool(fs)) / 2;
	fs_release(f);
	ck_assert_ok(fs_umount(fs));
	c = client(path);
	lock(c, F_RDLCK, half * BLK, half * BLK);
	fs = mount_again(path);
	expect_held(fs, half);
	f = unit_file(fs, "f", O_RDWR);
	ck_assert_err(fs_fallocate(f, 0, 0, (half + half / 2) * BLK), ENOSPC);
	close(c);
	ck_assert_ok(fs_fallocate(f, 0, 0, (half + half / 2) * BLK));
	ck_assert_uint_eq(quarantined(fs), 0);
	finish(fs, path, f, before);
}
END_TEST

START_TEST(test_freed_in_the_background)
{
	int c, n;
	START(8);

	fs_release(f);
	ck_assert_ok(fs_umount(fs));
	c = client(path);
	lock(c, F_RDLCK, 1024 * BLK, 100 * BLK);
	fs = mount_again(path);
	ck_assert_uint_eq(held_waiting(fs_pool(fs)), 100);
	close(c);
	for (n = 0; n < 6000 && held_waiting(fs_pool(fs)) > 0; n++)
		usleep(10000);
	ck_assert_uint_eq(held_waiting(fs_pool(fs)), 0);
	f = unit_file(fs, "f", O_RDWR);
	finish(fs, path, f, before);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("held");
	TCase *t = tcase_create("held");

	tcase_set_timeout(t, 120);
	tcase_add_test(t, test_client_outlives_daemon);
	tcase_add_test(t, test_held_in_use);
	tcase_add_test(t, test_locks_anywhere);
	tcase_add_test(t, test_unpin_while_mapped);
	tcase_add_test(t, test_read_unpin_while_mapped);
	tcase_add_test(t, test_close_while_mapped);
	tcase_add_test(t, test_freed_when_needed);
	tcase_add_test(t, test_freed_in_the_background);
	suite_add_tcase(s, t);
	return unit_main(s);
}
