/* SPDX-License-Identifier: BSD-3-Clause */
/* What a revocation leaves of its pins outside the range of the operation: nothing. */
#include "fs/lease_i.h"

#include <unistd.h>

#include "tests/unit/unit_pin.h"

#define END (FBLK_MAX + 1)
#define FILE_BLOCKS 32u

static const char *path;
static struct fs *fs;
static struct file *f, *other;

static void
setup(void)
{
	path = unit_mkpool(8);
	fs = unit_mount_quiet(path);
	f = unit_file(fs, "f", O_RDWR);
	other = unit_file(fs, "f", O_RDWR);
	fs->opt.lease_cut = true;
	unit_fill(f, 0, FILE_BLOCKS * BLK, 'a');
}

static void
teardown(void)
{
	fs_release(f);
	ck_assert_ok(fs_truncate(other->inode, 0));
	fs_release(other);
	ck_assert_uint_eq(unit_reserved_blocks(fs), 0);
	ck_assert_uint_eq(quarantined(fs), 0);
	ck_assert_uint_eq(counters(fs).parked, 0);
	ck_assert_ok(fs_umount(fs));
	unit_check(path);
}

/* A lease on [start, end) and a pin of all of it: the pin's id. */
static uint64_t
lease_and_pin(struct file *file, enum pin_access access, enum fs_pinned writeback, fblk_t start, fblk_t end)
{
	const struct pin_params p = { access, PIN_LONGTERM, 0, writeback };
	const struct lease_params lp = { .type = LEASE_SHARED };
	const struct fs_cred c = { .tgid = 1 };
	uint64_t off = start << BLK_SHIFT, len = (end - start) << BLK_SHIFT, id;
	struct pin_range r = { .off = off, .len = len };

	ck_assert_ok(lease_take(file, &off, &len, &lp, &c, &id));
	ck_assert_ok(pin_add(file, &p, &r, 1, &unit_cred, &id));
	return id;
}

/* Where the holder of a pin has its n-th block. */
static uint8_t *
at(struct file *file, uint64_t id, uint64_t n)
{
	struct map_extent x[FILE_BLOCKS];
	uint64_t cursor = 0;
	int count = pin_extents(file, id, &cursor, x, FILE_BLOCKS);

	for (int k = 0; k < count; k++) {
		if (n < x[k].len >> BLK_SHIFT)
			return pool_block(fs_pool(fs), (x[k].pool_off >> BLK_SHIFT) + n);
		n -= x[k].len >> BLK_SHIFT;
	}
	ck_abort_msg("the pin has no such block");
	return NULL;
}

static void
store(struct file *file, uint64_t id, uint64_t n, uint64_t blocks, int c)
{
	for (; blocks > 0; blocks--, n++)
		memset(at(file, id, n), c, BLK);
}

/* An operation on all from that block on that changes nothing but for whom it revokes. */
static void
revoke_from(fblk_t start)
{
	struct layout_op op;

	layout_op_init(&op, f->inode, LAYOUT_TRUNCATE, start, END);
	ck_assert_ok(layout_begin(&op));
	layout_end(&op);
}

static void
truncate_from(fblk_t start)
{
	struct layout_op op;

	layout_op_init(&op, f->inode, LAYOUT_TRUNCATE, start, END);
	ck_assert_ok(layout_begin(&op));
	ck_assert_ok(fs_truncate(f->inode, start << BLK_SHIFT));
	layout_end(&op);
}

/* The file has what the pin had when it was revoked, and goes its own way. */
START_TEST(test_truncate_half)
{
	uint64_t pin;

	if (_i & 1)
		sync_file(f);
	pin = lease_and_pin(f, PIN_WRITE, FS_PINNED_DEFAULT, 0, 16);
	if (_i & 2)
		sync_file(f);
	store(f, pin, 0, 16, 'b');
	truncate_from(8);
	ck_assert_uint_eq(quarantined(fs), 16);
	store(f, pin, 0, 16, 'x');
	unit_expect(other, 0, 8 * BLK, 'b');
	sync_file(f);
	store(f, pin, 0, 16, 'y');
	unit_expect(other, 0, 8 * BLK, 'b');
	unit_crash_expect(path, "f", 8 * BLK, 'b');
	unit_fill(other, 0, 16 * BLK, 'c');
	sync_file(f);
	ck_assert_uint_eq(at(f, pin, 0)[0], 'y');
	ck_assert_ok(pin_remove(f, pin));
	unit_expect(other, 0, 16 * BLK, 'c');
	ck_assert_uint_eq(quarantined(fs), 0);
	ck_assert_uint_eq(unit_reserved_blocks(fs), 0);
}
END_TEST

/* What the operation was to take is the file's, too, if it fails after all. */
START_TEST(test_failed)
{
	uint64_t pin = lease_and_pin(f, PIN_WRITE, FS_PINNED_DEFAULT, 0, 16);

	revoke_from(8);
	store(f, pin, 0, 16, 'x');
	unit_expect(other, 0, FILE_BLOCKS * BLK, 'a');
	ck_assert_ok(pin_remove(f, pin));
	unit_expect(other, 0, FILE_BLOCKS * BLK, 'a');
}
END_TEST

/* Clean, or dirty, or stored to since; several ranges. */
START_TEST(test_read_pins)
{
	uint64_t pin;

	if (_i > 0)
		sync_file(f);
	pin = lease_and_pin(f, PIN_READ, FS_PINNED_DEFAULT, 0, 16);
	if (_i > 1) {
		unit_fill(other, 0, 4 * BLK, 'a');
		unit_fill(other, 9 * BLK, BLK, 'a');
	}
	revoke_from(12);
	ck_assert_uint_eq(quarantined(fs), 16);
	unit_fill(other, 0, 16 * BLK, 'n');
	for (uint64_t n = 0; n < 16; n++)
		ck_assert_uint_eq(at(f, pin, n)[0], 'a');
	sync_file(f);
	unit_expect(other, 0, 16 * BLK, 'n');
	ck_assert_ok(pin_remove(f, pin));
	unit_expect(other, 0, 16 * BLK, 'n');
}
END_TEST

/* The blocks that somebody else has pinned, too, stay as long as he has. */
START_TEST(test_two_holders)
{
	uint64_t pin = lease_and_pin(f, PIN_WRITE, FS_PINNED_DEFAULT, 0, 16), his;
	uint8_t *block;

	his = lease_and_pin(other, PIN_WRITE, FS_PINNED_DEFAULT, 2, 4);
	truncate_from(8);
	store(f, pin, 0, 16, 'x');
	unit_expect(other, 0, 2 * BLK, 'a');
	unit_expect(other, 2 * BLK, 2 * BLK, 'x');
	unit_expect(other, 4 * BLK, 4 * BLK, 'a');
	store(other, his, 0, 2, 'h');
	unit_expect(other, 2 * BLK, 2 * BLK, 'h');
	ck_assert_uint_eq(at(f, pin, 2)[0], 'h');
	block = at(f, pin, 2);
	ck_assert_ok(pin_remove(other, his));
	memset(block, 'y', BLK);
	unit_expect(other, 2 * BLK, 2 * BLK, 'h');
	sync_file(f);
	unit_expect(other, 2 * BLK, 2 * BLK, 'h');
	ck_assert_uint_eq(quarantined(fs), 16);
	ck_assert_ok(pin_remove(f, pin));
}
END_TEST

/* His own blocks are there for it, whether or not the last commit has been. */
START_TEST(test_no_space)
{
	uint8_t buf[BLK_SIZE] = { 'g' };
	struct file *g = unit_file(fs, "g", O_RDWR);
	uint64_t pin, txn;
	ssize_t r = 0;

	if (_i & 1)
		sync_file(f);
	pin = lease_and_pin(f, PIN_WRITE, FS_PINNED_DEFAULT, 0, FILE_BLOCKS);
	for (uint64_t n = 0; r >= 0; n++)
		r = fs_write(g, buf, sizeof(buf), n * BLK, false);
	ck_assert_int_eq(r, -ENOSPC);
	if (_i & 2)
		ck_assert_ok(writeback_inode(f->inode, &txn));
	else
		sync_file(g);
	store(f, pin, 0, FILE_BLOCKS, 'b');
	revoke_from(FILE_BLOCKS - 1);
	ck_assert_uint_eq(quarantined(fs), FILE_BLOCKS);
	store(f, pin, 0, FILE_BLOCKS, 'x');
	unit_expect(other, 0, FILE_BLOCKS * BLK, 'b');
	sync_file(f);
	unit_crash_expect(path, "f", FILE_BLOCKS * BLK, 'b');
	ck_assert_ok(pin_remove(f, pin));
	fs_release(g);
	unit_unlink(fs, "g");
}
END_TEST

/* What a reader has stays where there is no space, and goes with his pin. */
START_TEST(test_no_space_to_read)
{
	uint8_t buf[BLK_SIZE] = { 'g' };
	struct file *g = unit_file(fs, "g", O_RDWR);
	uint64_t pin;
	ssize_t r = 0;

	sync_file(f);
	pin = lease_and_pin(f, PIN_READ, FS_PINNED_DEFAULT, 0, FILE_BLOCKS);
	for (uint64_t n = 0; r >= 0; n++)
		r = fs_write(g, buf, sizeof(buf), n * BLK, false);
	sync_file(g);
	revoke_from(8);
	unit_expect(other, 0, FILE_BLOCKS * BLK, 'a');
	ck_assert_ok(pin_remove(f, pin));
	unit_expect(other, 0, FILE_BLOCKS * BLK, 'a');
	fs_release(g);
	unit_unlink(fs, "g");
}
END_TEST

/* What its holder has not declared durable is gone with him. */
START_TEST(test_holder)
{
	uint64_t pin;

	sync_file(f);
	pin = lease_and_pin(f, PIN_WRITE, FS_PINNED_HOLDER, 0, 16);
	store(f, pin, 0, 16, 'b');
	revoke_from(8);
	store(f, pin, 0, 16, 'x');
	unit_expect(other, 0, FILE_BLOCKS * BLK, 'a');
	sync_file(f);
	unit_expect(other, 0, FILE_BLOCKS * BLK, 'a');
	ck_assert_ok(pin_remove(f, pin));
}
END_TEST

/* Nobody waits for the lease, whose deadline comes all the same. */
START_TEST(test_unattended)
{
	struct layout_op op;
	uint64_t pin;

	fs->opt.lease_cut = false;
	fs->opt.lease_break_ms = 10;
	pin = lease_and_pin(f, PIN_WRITE, FS_PINNED_DEFAULT, 0, 16);
	layout_op_init(&op, f->inode, LAYOUT_TRUNCATE, 8, END);
	op.nonblock = true;
	ck_assert_err(layout_begin(&op), EWOULDBLOCK);
	for (unsigned n = 0; quarantined(fs) < 16; n++) {
		ck_assert_uint_lt(n, 20000);
		usleep(1000);
	}
	store(f, pin, 0, 16, 'x');
	unit_expect(other, 0, FILE_BLOCKS * BLK, 'a');
	ck_assert_ok(pin_remove(f, pin));
}
END_TEST

/* The lease is back, the pin is not: at the deadline it is as if it had been revoked. */
START_TEST(test_leftover_pin)
{
	uint64_t pin = lease_and_pin(f, PIN_WRITE, FS_PINNED_DEFAULT, 0, 16);

	lease_drop_all(f);
	revoke_from(8);
	store(f, pin, 0, 16, 'x');
	unit_expect(other, 0, FILE_BLOCKS * BLK, 'a');
	ck_assert_ok(pin_remove(f, pin));
}
END_TEST

/* Its holder goes without a word: what he has is out of the file, and not free before the kernel has let go of it. */
START_TEST(test_holder_dies)
{
	struct file *g = unit_file(fs, "f", O_RDWR);

	lease_and_pin(g, PIN_WRITE, FS_PINNED_DEFAULT, 0, 16);
	truncate_from(8);
	fs_release(g);
	unit_expect(other, 0, 8 * BLK, 'a');
	sync_file(f);
	unit_crash_expect(path, "f", 8 * BLK, 'a');
	ck_assert_uint_eq(quarantined(fs), 0);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("revoke");
	TCase *t = tcase_create("revoke");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, test_truncate_half, 0, 4);
	tcase_add_test(t, test_failed);
	tcase_add_loop_test(t, test_read_pins, 0, 3);
	tcase_add_test(t, test_two_holders);
	tcase_add_loop_test(t, test_no_space, 0, 4);
	tcase_add_test(t, test_no_space_to_read);
	tcase_add_test(t, test_holder);
	tcase_add_test(t, test_unattended);
	tcase_add_test(t, test_leftover_pin);
	tcase_add_test(t, test_holder_dies);
	suite_add_tcase(s, t);
	return unit_main(s);
}
