/* SPDX-License-Identifier: BSD-3-Clause */
/* What writeback does about pinned blocks: bounce, wait, fail, skip, by mount and by pin, and which of several counts. */
#include <unistd.h>

#include "fs/park.h"
#include "tests/unit/unit_pin.h"

static struct fs *
mount_with(const char *path, enum fs_pinned transient, enum fs_pinned longterm, bool allow_skip)
{
	struct fs_options opt;

	fs_options_default(&opt);
	opt.pinned_transient = transient;
	opt.pinned_longterm = longterm;
	opt.allow_skip = allow_skip;
	return unit_mount_options(path, opt);
}

/* Pin n blocks from block b on for writing. */
static int
pin_as(struct file *f, enum pin_class class, enum fs_pinned how, uint64_t b, uint64_t n, uint64_t *id, uint8_t **p)
{
	const struct pin_params params = { .access = PIN_WRITE, .class = class, .writeback = how };
	struct pin_range r = { .off = b * BLK, .len = n * BLK };
	int err = pin_add(f, &params, &r, 1, &unit_cred, id);

	if (err == 0)
		*p = pool_block(fs_pool(f->inode->fs), r.pool_off >> BLK_SHIFT);
	return err;
}

/* A mount as the options say, and an empty file. */
#define START_WITH(transient, longterm, allow_skip) \
	const char *path = unit_mkpool(8); \
	struct fs *fs = mount_with(path, transient, longterm, allow_skip); \
	struct file *f = unit_file(fs, "f", O_RDWR); \
	uint64_t before = unit_free_blocks(fs)

START_TEST(test_refused)
{
	struct pin_params params = { .access = PIN_READ, .class = PIN_LONGTERM, .writeback = FS_PINNED_BOUNCE };
	struct pin_range r = { .len = BLK };
	uint64_t id;
	uint8_t *p;
	START(8);

	unit_fill(f, 0, BLK, 'a');
	ck_assert_err(pin_add(f, &params, &r, 1, &unit_cred, &id), EINVAL); /* nothing is bounced for a reader */
	params = (struct pin_params){ .access = PIN_WRITE, .class = 0 };
	ck_assert_err(pin_add(f, &params, &r, 1, &unit_cred, &id), EINVAL);
	params.class = PIN_FAULTABLE + 1;
	ck_assert_err(pin_add(f, &params, &r, 1, &unit_cred, &id), EINVAL);
	ck_assert_err(pin_as(f, PIN_LONGTERM, FS_PINNED_HOLDER + 1, 0, 1, &id, &p), EINVAL);
	ck_assert_err(pin_as(f, PIN_LONGTERM, FS_PINNED_WAIT, 0, 1, &id, &p), EINVAL);
	ck_assert_err(pin_as(f, PIN_FAULTABLE, FS_PINNED_WAIT, 0, 1, &id, &p), EINVAL);
	ck_assert_err(pin_as(f, PIN_TRANSIENT, FS_PINNED_SKIP, 0, 1, &id, &p), EPERM);
	ck_assert_uint_eq(counters(fs).pins, 0);
	finish(fs, path, f, before);
}
END_TEST

/* A mount's choice for each class, and what a pin chooses instead. */
static const struct {
	enum pin_class class;
	enum fs_pinned transient, longterm, pin;
	bool bounced;
} choices[] = {
	{ PIN_TRANSIENT, FS_PINNED_BOUNCE, FS_PINNED_FAIL, FS_PINNED_DEFAULT, true },
	{ PIN_LONGTERM, FS_PINNED_BOUNCE, FS_PINNED_FAIL, FS_PINNED_DEFAULT, false },
	{ PIN_FAULTABLE, FS_PINNED_BOUNCE, FS_PINNED_FAIL, FS_PINNED_DEFAULT, false },
	{ PIN_TRANSIENT, FS_PINNED_FAIL, FS_PINNED_BOUNCE, FS_PINNED_DEFAULT, false },
	{ PIN_LONGTERM, FS_PINNED_FAIL, FS_PINNED_BOUNCE, FS_PINNED_DEFAULT, true },
	{ PIN_FAULTABLE, FS_PINNED_FAIL, FS_PINNED_BOUNCE, FS_PINNED_DEFAULT, true },
	{ PIN_TRANSIENT, FS_PINNED_FAIL, FS_PINNED_BOUNCE, FS_PINNED_BOUNCE, true },
	{ PIN_LONGTERM, FS_PINNED_BOUNCE, FS_PINNED_BOUNCE, FS_PINNED_FAIL, false },
};

START_TEST(test_choice)
{
	uint64_t id;
	uint8_t *p;
	START_WITH(choices[_i].transient, choices[_i].longterm, false);

	unit_fill(f, 0, 4 * BLK, 'a');
	sync_file(f);
	ck_assert_ok(pin_as(f, choices[_i].class, choices[_i].pin, 0, 4, &id, &p));
	memset(p, 'b', 4 * BLK);
	ck_assert_int_eq(fs_fsync_wait(fs, f->inode, false), choices[_i].bounced ? 0 : -EBUSY);
	unit_crash_expect(path, "f", 4 * BLK, choices[_i].bounced ? 'b' : 'a');
	ck_assert_uint_eq(counters(fs).bounced_blocks, choices[_i].bounced ? 4 : 0);
	ck_assert_ok(pin_remove(f, id));
	sync_file(f);
	unit_crash_expect(path, "f", 4 * BLK, 'b');
	finish(fs, path, f, before);
}
END_TEST

/* Nothing of the file is written, everything of the others is; and the unmount loses nothing. */
START_TEST(test_fail)
{
	uint64_t id;
	struct file *g;
	struct fs *after;
	uint8_t *p;
	START_WITH(FS_PINNED_BOUNCE, FS_PINNED_FAIL, false);

	(void)before;
	g = unit_file(fs, "g", O_RDWR);
	unit_fill(f, 0, 8 * BLK, 'a');
	sync_file(f);
	ck_assert_ok(pin_as(f, PIN_LONGTERM, FS_PINNED_DEFAULT, 6, 2, &id, &p));
	memset(p, 'b', 2 * BLK);
	unit_fill(f, 0, 6 * BLK, 'b');
	unit_fill(g, 0, 8 * BLK, 'c');
	ck_assert_err(fs_fsync_wait(fs, f->inode, false), EBUSY);
	ck_assert_err(fs_fsync_wait(fs, f->inode, true), EBUSY);
	ck_assert_err(fs_sync(fs), EBUSY);
	ck_assert(inode_is_dirty(f->inode));
	unit_crash_expect(path, "f", 8 * BLK, 'a');
	unit_crash_expect(path, "g", 8 * BLK, 'c');
	fs_release(g);
	ck_assert_ok(fs_umount(fs));
	unit_check(path);
	after = unit_mount_quiet(path);
	f = unit_file(after, "f", O_RDONLY);
	unit_expect(f, 0, 8 * BLK, 'b');
	fs_release(f);
	ck_assert_ok(fs_umount(after));
}
END_TEST

/* Who needs an image of the file gets one. */
START_TEST(test_fail_clone)
{
	uint64_t id;
	struct file *g;
	uint8_t *p;
	START_WITH(FS_PINNED_FAIL, FS_PINNED_FAIL, false);

	g = unit_file(fs, "g", O_RDWR);
	unit_fill(f, 0, 4 * BLK, 'a');
	ck_assert_ok(pin_as(f, PIN_LONGTERM, FS_PINNED_DEFAULT, 0, 4, &id, &p));
	memset(p, 'b', 4 * BLK);
	ck_assert_ok(fs_clone_range(f, 0, g, 0, 0));
	memset(p, 'c', 4 * BLK);
	unit_expect(g, 0, 4 * BLK, 'b');
	ck_assert_ok(pin_remove(f, id));
	ck_assert_ok(fs_truncate(g->inode, 0));
	fs_release(g);
	unit_unlink(fs, "g");
	finish(fs, path, f, before);
}
END_TEST

/* The answer that lies: success, and the crash image shows what it was worth. */
START_TEST(test_skip)
{
	uint64_t id;
	uint8_t *p;
	START_WITH(FS_PINNED_BOUNCE, FS_PINNED_SKIP, false);

	unit_fill(f, 0, 8 * BLK, 'a');
	sync_file(f);
	ck_assert_ok(pin_as(f, PIN_LONGTERM, FS_PINNED_DEFAULT, 4, 2, &id, &p));
	memset(p, 'b', 2 * BLK);
	unit_fill(f, 0, 4 * BLK, 'b');
	unit_fill(f, 6 * BLK, 2 * BLK, 'b');
	sync_file(f);
	ck_assert_uint_eq(counters(fs).skipped_blocks, 2);
	ck_assert_uint_eq(counters(fs).bounced_blocks, 0);
	{
		struct fs *image = unit_crash(path);
		struct file *g = unit_file(image, "f", O_RDONLY);

		unit_expect(g, 0, 4 * BLK, 'b');
		unit_expect(g, 4 * BLK, 2 * BLK, 'a');
		unit_expect(g, 6 * BLK, 2 * BLK, 'b');
		fs_release(g);
		ck_assert_ok(fs_umount(image));
	}
	ck_assert(inode_is_dirty(f->inode));
	ck_assert_ok(pin_remove(f, id));
	sync_file(f);
	unit_crash_expect(path, "f", 8 * BLK, 'b');
	finish(fs, path, f, before);
}
END_TEST

/* Several pins on one block: FAIL before SKIP before BOUNCE, however they come and go. */
START_TEST(test_first_counts)
{
	static const enum fs_pinned how[] = { FS_PINNED_BOUNCE, FS_PINNED_SKIP, FS_PINNED_FAIL };
	uint64_t id[3], skipped = 0, bounced = 0;
	uint8_t *p;
	START_WITH(FS_PINNED_BOUNCE, FS_PINNED_BOUNCE, true);

	unit_fill(f, 0, 6 * BLK, 'a');
	sync_file(f);
	for (unsigned order = 0; order < 27; order++) {
		/* a window of 3 blocks for each, which overlap */
		const unsigned pin[] = { order % 3, order / 3 % 3, order / 9 };
		unsigned held = 0;

		if (pin[0] == pin[1] || pin[0] == pin[2] || pin[1] == pin[2])
			continue;
		for (unsigned k = 0; k < 6; k++) {
			unsigned n = pin[k % 3];

			if (k < 3)
				ck_assert_ok(pin_as(f, PIN_TRANSIENT, how[n], n, 3, &id[n], &p));
			else
				ck_assert_ok(pin_remove(f, id[n]));
			held ^= 1u << n;
			if (held & 4) {
				ck_assert_err(fs_fsync_wait(fs, f->inode, false), EBUSY);
			} else {
				sync_file(f);
				/* what is skipped: all 3 of the one; the other has a block of its own */
				skipped += held & 2 ? 3 : 0;
				bounced += held == 1 ? 3 : held == 3 ? 1 : 0;
			}
			ck_assert_uint_eq(counters(fs).skipped_blocks, skipped);
			ck_assert_uint_eq(counters(fs).bounced_blocks, bounced);
		}
		ck_assert_uint_eq(held, 0);
		ck_assert_uint_eq(f->inode->live.extents, 0);
	}
	finish(fs, path, f, before);
}
END_TEST

/* ---- waiting --------------------------------------------------------------------------- */

struct sync {
	bool done; /* atomic */
	int err;
	struct parked *parked;
};

static void
sync_done(void *arg, int err)
{
	struct sync *s = arg;

	s->err = err;
	__atomic_store_n(&s->done, true, __ATOMIC_RELEASE);
}

static void
sync_waits(void *arg, struct parked *p)
{
	struct sync *s = arg;

	ck_assert_ptr_null(s->parked);
	s->parked = p;
}

static void
start_sync(struct file *f, uint64_t off, uint64_t len, struct sync *s)
{
	const struct fs_sync_range range = { .off = off, .len = len, .done = sync_done, .waits = sync_waits, .arg = s };

	*s = (struct sync){ .done = false };
	fs_fsync_range(f->inode->fs, f->inode, &range);
}

/* It ends, and how. */
static int
end_sync(struct sync *s)
{
	while (!__atomic_load_n(&s->done, __ATOMIC_ACQUIRE))
		usleep(1000);
	return s->err;
}

#define START_WAIT(ms) \
	const char *path = unit_mkpool(8); \
	struct fs_options opt; \
	struct fs *fs; \
	struct file *f; \
	uint64_t before; \
	fs_options_default(&opt); \
	opt.pinned_transient = FS_PINNED_WAIT; \
	opt.transient_ms = ms; \
	fs = unit_mount_options(path, opt); \
	f = unit_file(fs, "f", O_RDWR); \
	before = unit_free_blocks(fs)

/* fsync goes on when the last pin that it waits for is gone, and then takes the blocks by reference. */
START_TEST(test_wait)
{
	uint64_t id[2], other;
	struct sync s;
	uint8_t *p;
	START_WAIT(3600 * 1000);

	unit_fill(f, 0, 8 * BLK, 'a');
	sync_file(f);
	ck_assert_ok(pin_as(f, PIN_TRANSIENT, FS_PINNED_DEFAULT, 0, 2, &id[0], &p));
	ck_assert_ok(pin_as(f, PIN_TRANSIENT, FS_PINNED_DEFAULT, 1, 2, &id[1], &p));
	ck_assert_ok(pin_as(f, PIN_TRANSIENT, FS_PINNED_BOUNCE, 6, 2, &other, &p));
	start_sync(f, 0, 0, &s);
	ck_assert_ptr_nonnull(s.parked);
	ck_assert_ok(pin_remove(f, id[0]));
	park_run(fs_park(fs));
	usleep(20000);
	ck_assert(!__atomic_load_n(&s.done, __ATOMIC_ACQUIRE));
	ck_assert_uint_eq(park_count(fs_park(fs)), 1);
	ck_assert_uint_eq(counters(fs).parked, 1);
	ck_assert_ok(pin_remove(f, id[1]));
	ck_assert_ok(end_sync(&s));
	ck_assert_uint_eq(counters(fs).parked, 0);
	ck_assert_uint_eq(counters(fs).bounced_blocks, 2); /* the other one's */
	/* Nothing to wait for: not dirty there; or out of the range; sync and the rest don't wait at all. */
	ck_assert_ok(pin_as(f, PIN_TRANSIENT, FS_PINNED_DEFAULT, 0, 2, &id[0], &p));
	start_sync(f, 4 * BLK, 4 * BLK, &s);
	ck_assert(s.done && s.err == 0 && !s.parked);
	ck_assert_ok(fs_sync(fs));
	ck_assert_ok(pin_remove(f, id[0]));
	ck_assert_ok(pin_remove(f, other));
	finish(fs, path, f, before);
}
END_TEST

/* When the time is over it bounces. */
START_TEST(test_wait_ends)
{
	struct sync s;
	uint64_t id;
	uint8_t *p;
	START_WAIT(20);

	unit_fill(f, 0, 4 * BLK, 'a');
	ck_assert_ok(pin_as(f, PIN_TRANSIENT, FS_PINNED_DEFAULT, 0, 4, &id, &p));
	memset(p, 'b', 4 * BLK);
	start_sync(f, 0, 0, &s);
	ck_assert_ptr_nonnull(s.parked);
	ck_assert_ok(end_sync(&s));
	ck_assert_uint_eq(counters(fs).bounced_blocks, 4);
	unit_crash_expect(path, "f", 4 * BLK, 'b');
	ck_assert_ok(pin_remove(f, id));
	finish(fs, path, f, before);
}
END_TEST

/* It can be interrupted, and an unmount does not wait for it. */
START_TEST(test_wait_cancelled)
{
	struct sync s;
	uint64_t id;
	uint8_t *p;
	START_WAIT(3600 * 1000);

	(void)before;
	unit_fill(f, 0, 4 * BLK, 'a');
	ck_assert_ok(pin_as(f, PIN_TRANSIENT, FS_PINNED_DEFAULT, 0, 4, &id, &p));
	start_sync(f, 0, 0, &s);
	ck_assert(park_cancel(s.parked));
	ck_assert_int_eq(end_sync(&s), -EINTR);
	ck_assert_uint_eq(counters(fs).parked, 0);
	ck_assert_uint_eq(counters(fs).writebacks, 0);
	start_sync(f, 0, 0, &s);
	ck_assert_ptr_nonnull(s.parked);
	ck_assert_ok(fs_umount(fs));
	ck_assert_ok(end_sync(&s));
	unit_check(path);
}
END_TEST

/* A pin that fails makes it fail at once; one that skips has nobody wait. */
START_TEST(test_wait_and_others)
{
	uint64_t id, id2;
	struct sync s;
	uint8_t *p;
	START_WAIT(3600 * 1000);

	unit_fill(f, 0, 4 * BLK, 'a');
	ck_assert_ok(pin_as(f, PIN_TRANSIENT, FS_PINNED_DEFAULT, 0, 2, &id, &p));
	ck_assert_ok(pin_as(f, PIN_LONGTERM, FS_PINNED_FAIL, 0, 4, &id2, &p));
	start_sync(f, 0, 0, &s);
	ck_assert(s.done && s.err == -EBUSY);
	ck_assert_ok(pin_remove(f, id2));
	ck_assert_ok(pin_remove(f, id));
	finish(fs, path, f, before);
}
END_TEST

/* A part of a file: only what overlaps, unless the size has changed. */
START_TEST(test_range)
{
	uint64_t id, b;
	struct sync s;
	uint8_t *p;
	START_WITH(FS_PINNED_BOUNCE, FS_PINNED_FAIL, false);

	unit_fill(f, 0, 32 * BLK, 'a');
	sync_file(f);
	ck_assert_ok(pin_as(f, PIN_TRANSIENT, FS_PINNED_DEFAULT, 0, 16, &id, &p));
	memset(p, 'b', 16 * BLK);
	unit_fill(f, 16 * BLK, 16 * BLK, 'b');
	b = counters(fs).bounced_blocks;
	start_sync(f, 5 * BLK + 1, BLK, &s); /* two blocks */
	ck_assert(s.done && s.err == 0);
	ck_assert_uint_eq(counters(fs).bounced_blocks - b, 2);
	start_sync(f, 20 * BLK, 0, &s); /* to the end */
	ck_assert(s.done && s.err == 0);
	ck_assert_uint_eq(counters(fs).bounced_blocks - b, 2);
	ck_assert(inode_is_dirty(f->inode));
	{
		struct fs *image = unit_crash(path);
		struct file *g = unit_file(image, "f", O_RDONLY);

		unit_expect(g, 0, 5 * BLK, 'a');
		unit_expect(g, 5 * BLK, 2 * BLK, 'b');
		unit_expect(g, 7 * BLK, 13 * BLK, 'a');
		unit_expect(g, 20 * BLK, 12 * BLK, 'b');
		fs_release(g);
		ck_assert_ok(fs_umount(image));
	}
	/* Longer now: a range alone would be in a file that never was. */
	unit_fill(f, 32 * BLK, 1, 'b');
	start_sync(f, 0, BLK, &s);
	ck_assert(s.done && s.err == 0);
	unit_crash_expect(path, "f", 32 * BLK + 1, 'b');
	ck_assert_ok(pin_remove(f, id));
	/* What fails is what overlaps. */
	ck_assert_ok(pin_as(f, PIN_LONGTERM, FS_PINNED_DEFAULT, 0, 1, &id, &p));
	start_sync(f, BLK, BLK, &s);
	ck_assert(s.done && s.err == 0);
	start_sync(f, 0, BLK, &s);
	ck_assert(s.done && s.err == -EBUSY);
	ck_assert_ok(pin_remove(f, id));
	finish(fs, path, f, before);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("pin_policy");
	TCase *t = tcase_create("policy");

	tcase_add_test(t, test_refused);
	tcase_add_loop_test(t, test_choice, 0, sizeof(choices) / sizeof(choices[0]));
	tcase_add_test(t, test_fail);
	tcase_add_test(t, test_fail_clone);
	tcase_add_test(t, test_skip);
	tcase_add_test(t, test_first_counts);
	tcase_add_test(t, test_wait);
	tcase_add_test(t, test_wait_ends);
	tcase_add_test(t, test_wait_cancelled);
	tcase_add_test(t, test_wait_and_others);
	tcase_add_test(t, test_range);
	suite_add_tcase(s, t);
	return unit_main(s);
}
