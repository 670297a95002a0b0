/* SPDX-License-Identifier: BSD-3-Clause */
/* What is told of pins: which ranges, whose, in pieces that survive changes; and which blocks a pin has fixed. */
#include "tests/unit/unit_pin.h"

#define ROOM 64u

START_TEST(test_entries)
{
	const struct fs_cred other = { .uid = 7, .tgid = 99, .fsetid = true };
	struct pin_params params = { .access = PIN_WRITE, .class = PIN_TRANSIENT, .writeback = FS_PINNED_FAIL };
	struct pin_range r[3] = { { .off = 8 * BLK, .len = BLK }, { .off = 0, .len = 5 }, { .off = BLK, .len = 2 * BLK } };
	struct pin_info info[ROOM];
	uint64_t id, id2, after = 0;
	START(8);

	unit_fill(f, 0, 16 * BLK, 'a');
	ck_assert_uint_eq(pin_list(f->inode, &after, PIN_LIST_ALL, info, ROOM), 0);
	ck_assert_uint_eq(after, UINT64_MAX);
	ck_assert_ok(pin_add(f, &params, r, 3, &other, &id));
	params = (struct pin_params){ .access = PIN_READ, .class = PIN_TRANSIENT };
	ck_assert_ok(pin_add(f, &params, r, 1, &unit_cred, &id2));
	after = 0;
	ck_assert_uint_eq(pin_list(f->inode, &after, PIN_LIST_ALL, info, ROOM), 3);
	ck_assert_uint_eq(after, UINT64_MAX);
	ck_assert_uint_eq(info[0].id, id);
	ck_assert_uint_eq(info[0].off, 8 * BLK);
	ck_assert_uint_eq(info[0].len, BLK);
	ck_assert_uint_eq(info[0].uid, 7);
	ck_assert_int_eq(info[0].tgid, 99);
	ck_assert_int_eq(info[0].access, PIN_WRITE);
	ck_assert_int_eq(info[0].writeback, FS_PINNED_FAIL);
	ck_assert(!info[0].tracked && !info[0].cut);
	ck_assert_uint_eq(info[1].id, id); /* two ranges that touch */
	ck_assert_uint_eq(info[1].off, 0);
	ck_assert_uint_eq(info[1].len, 3 * BLK);
	ck_assert_uint_eq(info[2].id, id2);
	ck_assert_int_eq(info[2].access, PIN_READ);
	ck_assert_int_eq(info[2].writeback, FS_PINNED_DEFAULT);
	after = 0;
	ck_assert_uint_eq(pin_list(f->inode, &after, 7, info, ROOM), 2);
	after = 0;
	ck_assert_uint_eq(pin_list(f->inode, &after, 8, info, ROOM), 0);
	ck_assert_uint_eq(after, UINT64_MAX);
	ck_assert_ok(pin_remove(f, id));
	ck_assert_ok(pin_remove(f, id2));
	for (enum fs_pinned how = FS_PINNED_BOUNCE; how <= FS_PINNED_HOLDER; how++) {
		params = (struct pin_params){ .access = PIN_WRITE, .class = PIN_TRANSIENT, .writeback = how };
		if (pin_add(f, &params, r, 1, &unit_cred, &id) == -EPERM)
			continue;
		after = 0;
		ck_assert_uint_eq(pin_list(f->inode, &after, PIN_LIST_ALL, info, ROOM), 1);
		ck_assert_int_eq(info[0].writeback, how);
		ck_assert_ok(pin_remove(f, id));
	}
	finish(fs, path, f, before);
}
END_TEST

/* Pins come and go while they are told: none that stays is missed, none is told twice. */
START_TEST(test_cursor)
{
	enum { PINS = 1000 };
	static uint64_t id[PINS];
	struct pin_info info[ROOM];
	uint64_t after = 0, last = 0, told = 0;
	struct pin_range r;
	unsigned n, gone = 0;
	START(8);

	unit_fill(f, 0, 16 * BLK, 'a');
	for (unsigned k = 0; k < PINS; k++)
		ck_assert_ok(try_pin(f, PIN_READ, 0, k % 16 * BLK, BLK, &id[k], &r));
	while (after != UINT64_MAX) {
		n = pin_list(f->inode, &after, PIN_LIST_ALL, info, ROOM);
		for (unsigned k = 0; k < n; k++) {
			ck_assert_uint_gt(info[k].id, last);
			last = info[k].id;
			told++;
		}
		if (after == UINT64_MAX)
			break;
		/* the one told last, and one that is to come */
		ck_assert_ok(pin_remove(f, last));
		for (unsigned k = 0; k < PINS; k++) {
			if (id[k] == last)
				id[k] = 0;
			if (id[k] > last + 300) {
				ck_assert_ok(pin_remove(f, id[k]));
				id[k] = 0;
				gone++;
				break;
			}
		}
	}
	ck_assert_uint_eq(told, PINS - gone);
	for (unsigned k = 0; k < PINS; k++)
		if (id[k])
			ck_assert_ok(pin_remove(f, id[k]));
	finish(fs, path, f, before);
}
END_TEST

/* The inodes of a mount in order, from any number on, however many files are open. */
START_TEST(test_inodes)
{
	enum { FILES = 40 };
	struct inode *i[8];
	struct file *g[FILES];
	uint64_t id, from = 0, seen = 0;
	struct pin_range r;
	unsigned n;
	char name[16];
	START(8);

	for (unsigned k = 0; k < FILES; k++) {
		snprintf(name, sizeof(name), "g%u", k * 7 % FILES);
		g[k] = unit_file(fs, name, O_RDWR);
		unit_fill(g[k], 0, BLK, 'a');
		if (k % 4)
			ck_assert_ok(try_pin(g[k], PIN_READ, 0, 0, 1, &id, &r));
	}
	do {
		n = pin_inodes(fs, from, i, 8);
		for (unsigned k = 0; k < n; k++) {
			ck_assert_uint_ge(i[k]->ino, from);
			from = i[k]->ino + 1;
			seen++;
			inode_put(i[k]);
		}
	} while (n == 8);
	ck_assert_uint_eq(seen, FILES * 3 / 4);
	for (unsigned k = 0; k < FILES; k++) {
		fs_release(g[k]);
		snprintf(name, sizeof(name), "g%u", k);
		unit_unlink(fs, name);
	}
	ck_assert_uint_eq(pin_inodes(fs, 0, i, 8), 0);
	finish(fs, path, f, before);
}
END_TEST

/* A pin's blocks stay its own when the file has let go of them. */
START_TEST(test_extents)
{
	struct pin_range r[2] = { { .off = 2 * BLK, .len = 6 * BLK }, { .off = 0, .len = BLK } };
	struct map_extent x[8], again[8];
	uint64_t id, cursor = 0;
	int n;
	START(8);

	unit_fill(f, 0, 8 * BLK, 'a');
	ck_assert_ok(fs_truncate(f->inode, 10 * BLK));
	ck_assert_ok(unit_pin(f, PIN_WRITE, r, 2, &id));
	ck_assert_err(pin_extents(f, id + 1, &cursor, x, 8), ENOENT);
	ck_assert_int_eq(pin_extents(f, id, &cursor, x, 8), 2);
	ck_assert_uint_eq(cursor, 0);
	ck_assert_uint_eq(x[0].off, 2 * BLK);
	ck_assert_uint_eq(x[0].len, 6 * BLK);
	ck_assert_uint_eq(x[0].flags, 0);
	ck_assert_uint_eq(x[1].off, 0);
	ck_assert_ok(fs_fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4 * BLK, 2 * BLK));
	unit_fill(f, 4 * BLK, BLK, 'b'); /* another block */
	ck_assert_int_eq(pin_extents(f, id, &cursor, again, 8), 4);
	ck_assert_uint_eq(again[0].len, 2 * BLK);
	ck_assert_uint_eq(again[1].off, 4 * BLK);
	ck_assert_uint_eq(again[1].len, 2 * BLK);
	ck_assert_uint_eq(again[1].pool_off, x[0].pool_off + 2 * BLK);
	ck_assert_uint_eq(again[1].flags, MAP_CUT);
	ck_assert_uint_eq(again[2].off, 6 * BLK);
	ck_assert_uint_eq(again[2].flags, 0);
	/* one by one */
	for (int k = 0; k < 4; k++) {
		n = pin_extents(f, id, &cursor, x, 1);
		ck_assert_int_eq(n, 1);
		ck_assert_mem_eq(&x[0], &again[k], sizeof(x[0]));
		ck_assert_int_eq(cursor == 0, k == 3);
	}
	ck_assert_ok(pin_remove(f, id));
	/* a hole under a read pin */
	r[0] = (struct pin_range){ .off = 7 * BLK, .len = 3 * BLK };
	ck_assert_ok(unit_pin(f, PIN_READ, r, 1, &id));
	ck_assert_int_eq(pin_extents(f, id, &cursor, x, 8), 2);
	ck_assert_uint_eq(x[1].flags, MAP_HOLE);
	ck_assert_uint_eq(x[1].len, 2 * BLK);
	ck_assert_uint_eq(x[1].pool_off, UINT64_MAX);
	ck_assert_ok(pin_remove(f, id));
	finish(fs, path, f, before);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("pin_list");
	TCase *t = tcase_create("list");

	tcase_add_test(t, test_entries);
	tcase_add_test(t, test_cursor);
	tcase_add_test(t, test_inodes);
	tcase_add_test(t, test_extents);
	suite_add_tcase(s, t);
	return unit_main(s);
}
