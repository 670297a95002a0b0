/* SPDX-License-Identifier: BSD-3-Clause */
/* Pins whose holder alone says what becomes durable (FS_PINNED_HOLDER). */
#include "tests/unit/unit_pin.h"

static int
try_hold(struct file *f, uint64_t off, uint64_t len, uint64_t *id, struct pin_range *r)
{
	*r = (struct pin_range){ .off = off, .len = len };
	return pin_add(f, &(struct pin_params){ PIN_WRITE, PIN_TRANSIENT, 0, FS_PINNED_HOLDER }, r, 1, &unit_cred, id);
}

static uint8_t *
hold(struct file *f, uint64_t off, uint64_t len, uint64_t *id)
{
	struct pin_range r;

	ck_assert_ok(try_hold(f, off, len, id, &r));
	ck_assert_uint_eq(r.ext_len, r.len);
	return pool_block(fs_pool(f->inode->fs), r.pool_off >> BLK_SHIFT);
}

static void
done(void *arg, int err)
{
	*(int *)arg = err;
}

/* As the holder, who is told when it is durable. */
static void
sync_as(struct file *f)
{
	int err = 1;

	fs_fsync_file(f, false, done, &err);
	for (int n = 0; n < 6000 && __atomic_load_n(&err, __ATOMIC_ACQUIRE) == 1; n++)
		usleep(10000);
	ck_assert_int_eq(err, 0);
}

/* A pin that was to make the file longer is refused when blocks for that are there: they are behind the end. */
START_TEST(test_refused_growth)
{
	struct pin_range r = { .off = 0, .len = 8 * BLK };
	struct file *other;
	uint64_t id, none;
	START(8);

	unit_fill(f, 0, 4 * BLK, 'a');
	sync_file(f);
	other = unit_file(fs, "f", O_RDWR);
	hold(f, 0, BLK, &id);
	ck_assert_err(pin_add(other, &(struct pin_params){ PIN_WRITE, PIN_TRANSIENT, PIN_ALLOC, FS_PINNED_DEFAULT }, &r, 1, &unit_cred,
	    &none), EBUSY);
	ck_assert_uint_eq(unit_size(other), 4 * BLK);
	ck_assert_ok(pin_remove(f, id));
	fs_release(other);
	sync_file(f);
	unit_crash_expect(path, "f", 4 * BLK, 'a');
	fs_release(f);
	ck_assert_ok(fs_umount(fs));
	unit_check(path);
	(void)before;
}
END_TEST

START_TEST(test_only_his_syncs)
{
	struct file *g, *other;
	uint64_t id;
	uint8_t *p;
	START(8);

	unit_fill(f, 0, 4 * BLK, 'a');
	sync_file(f);
	other = unit_file(fs, "f", O_RDWR);
	p = hold(f, 0, 2 * BLK, &id);
	memset(p, 'b', 2 * BLK);
	unit_expect(other, 0, 2 * BLK, 'b');
	unit_fill(other, 2 * BLK, 2 * BLK, 'c');
	/* Everybody else's: what is not pinned is taken, what is stays as it was. */
	sync_as(other);
	sync_file(f);
	ck_assert_ok(fs_sync(fs));
	for (int k = 0; k < 2; k++) {
		struct fs *crashed = unit_crash(path);
		struct file *c = unit_file(crashed, "f", O_RDONLY);

		unit_expect(c, 0, 2 * BLK, k ? 'b' : 'a');
		unit_expect(c, 2 * BLK, 2 * BLK, 'c');
		fs_release(c);
		ck_assert_ok(fs_umount(crashed));
		sync_as(f);
	}
	/* A clone is of what he has synced. */
	memset(p, 'd', 2 * BLK);
	g = unit_file(fs, "g", O_RDWR);
	ck_assert_ok(fs_clone_range(f, 0, g, 0, 0));
	unit_expect(g, 0, 2 * BLK, 'b');
	unit_expect(g, 2 * BLK, 2 * BLK, 'c');
	unit_expect(f, 0, 2 * BLK, 'd');
	ck_assert_ok(fs_truncate(g->inode, 0));
	fs_release(g);
	unit_unlink(fs, "g");
	/* After the unpin they are blocks as any others. */
	ck_assert_ok(pin_remove(f, id));
	sync_file(f);
	unit_expect(f, 0, 2 * BLK, 'd');
	fs_release(other);
	finish(fs, path, f, before);
}
END_TEST

START_TEST(test_goes_back)
{
	struct file *g;
	uint64_t id, off;
	uint8_t *p;
	START(8);

	/* Never synced; a hole before; synced since; cut in between. */
	ck_assert_ok(fs_truncate(f->inode, 8 * BLK));
	unit_fill(f, 0, 2 * BLK, 'a');
	sync_file(f);
	g = unit_file(fs, "f", O_RDWR);
	p = hold(g, 0, 4 * BLK, &id);
	memset(p, 'x', 4 * BLK);
	fs_release(g);
	unit_expect(f, 0, 2 * BLK, 'a');
	unit_expect(f, 2 * BLK, 2 * BLK, 0);
	ck_assert_uint_eq(quarantined(fs), 0);

	g = unit_file(fs, "f", O_RDWR);
	p = hold(g, 0, 8 * BLK, &id);
	memset(p, 'b', 8 * BLK);
	sync_as(g);
	memset(p, 'c', 8 * BLK);
	off = map_at(f, 0).pool_off;
	ck_assert_ok(fs_truncate(f->inode, 6 * BLK));
	ck_assert_ok(fs_truncate(f->inode, 8 * BLK));
	fs_release(g);
	ck_assert_uint_ne(map_at(f, 0).pool_off, off);
	unit_expect(f, 0, 6 * BLK, 'b');
	unit_expect(f, 6 * BLK, 2 * BLK, 0);
	sync_file(f);
	unit_expect(f, 0, 6 * BLK, 'b');
	finish(fs, path, f, before);
}
END_TEST

/* Somebody reads there by a pin of his own: back it goes when he is gone. */
START_TEST(test_reader_stays)
{
	struct pin_range r;
	struct file *g;
	uint64_t id, rid;
	uint8_t *p;
	START(8);

	unit_fill(f, 0, 2 * BLK, 'a');
	g = unit_file(fs, "f", O_RDWR);
	p = hold(g, 0, 2 * BLK, &id);
	sync_as(g);
	memset(p, 'b', 2 * BLK);
	ck_assert_ptr_eq(pin(f, PIN_READ, BLK, BLK, &rid), p + BLK);
	fs_release(g);
	unit_expect(f, 0, BLK, 'a');
	unit_expect(f, BLK, BLK, 'b');
	sync_file(f);
	unit_crash_expect(path, "f", 2 * BLK, 'a');
	ck_assert_err(try_hold(f, 0, 2 * BLK, &id, &r), EBUSY);
	ck_assert_ok(pin_remove(f, rid));
	unit_expect(f, 0, 2 * BLK, 'a');
	finish(fs, path, f, before);
}
END_TEST

START_TEST(test_alone)
{
	struct pin_range r;
	struct file *g;
	uint64_t id, id2;
	START(8);

	unit_fill(f, 0, 4 * BLK, 'a');
	g = unit_file(fs, "f", O_RDWR);
	hold(f, 0, 2 * BLK, &id);
	ck_assert_err(try_hold(g, BLK, 2 * BLK, &id2, &r), EBUSY);
	ck_assert_err(try_pin(g, PIN_WRITE, 0, BLK, BLK, &id2, &r), EBUSY);
	ck_assert_ok(try_pin(g, PIN_WRITE, 0, 2 * BLK, BLK, &id2, &r));
	ck_assert_err(try_hold(f, 2 * BLK, BLK, &id, &r), EBUSY);
	fs_release(g);
	ck_assert_ok(pin_remove(f, id));
	hold(f, 0, 4 * BLK, &id);
	/* An unmount ends it as a death does. */
	sync_as(f);
	memset(pool_block(fs_pool(fs), map_at(f, 0).pool_off >> BLK_SHIFT), 'z', 4 * BLK);
	ck_assert_ok(fs_umount(fs));
	fs = unit_mount_quiet(path);
	f = unit_file(fs, "f", O_RDWR);
	unit_expect(f, 0, 4 * BLK, 'a');
	finish(fs, path, f, before);
}
END_TEST

static struct file *closed;

static void
close_holder(struct inode *i, enum writeback_point at)
{
	(void)i;
	if (at != WRITEBACK_COPIED || !closed)
		return;
	fs_release(closed);
	closed = NULL;
}

/* He dies while his sync is on its way: either it is as of that sync, or as of the one before. */
START_TEST(test_dies_in_sync)
{
	struct file *g;
	uint64_t id;
	uint8_t *p;
	START(8);

	unit_fill(f, 0, 4 * BLK, 'a');
	g = unit_file(fs, "f", O_RDWR);
	p = hold(g, 0, 4 * BLK, &id);
	memset(p, 'b', 4 * BLK);
	closed = g;
	__atomic_store_n(&writeback_test_hook, close_holder, __ATOMIC_RELEASE);
	sync_as(g);
	__atomic_store_n(&writeback_test_hook, NULL, __ATOMIC_RELEASE);
	ck_assert_ptr_null(closed);
	unit_expect(f, 0, 4 * BLK, 'b');
	ck_assert_uint_eq(quarantined(fs), 0);
	sync_file(f);
	unit_crash_expect(path, "f", 4 * BLK, 'b');
	finish(fs, path, f, before);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("pin_holder");
	TCase *t = tcase_create("pin_holder");

	tcase_set_timeout(t, 120);
	tcase_add_test(t, test_refused_growth);
	tcase_add_test(t, test_only_his_syncs);
	tcase_add_test(t, test_goes_back);
	tcase_add_test(t, test_reader_stays);
	tcase_add_test(t, test_alone);
	tcase_add_test(t, test_dies_in_sync);
	suite_add_tcase(s, t);
	return unit_main(s);
}
