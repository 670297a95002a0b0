/* SPDX-License-Identifier: BSD-3-Clause */
/* Pins on dax files: the durable blocks themselves. */
#include "tests/unit/unit_pin.h"

static int
try_dax(struct file *f, bool on)
{
	uint32_t flags, projid;

	ck_assert_ok(fs_getflags(f->inode->fs, f->inode, &flags, &projid));
	flags = on ? flags | INODE_FL_DAX : flags & ~INODE_FL_DAX;
	return fs_setflags(f->inode->fs, f->inode, flags, projid, &unit_cred);
}

static void
set_dax(struct file *f, bool on)
{
	ck_assert_ok(try_dax(f, on));
	ck_assert(inode_is_dax(f->inode) == on);
}

/* No block is bounced, and nothing is reserved for that. */
static void
expect_no_bounce(struct fs *fs)
{
	ck_assert_uint_eq(counters(fs).bounced_blocks, 0);
	ck_assert_uint_eq(unit_reserved_blocks(fs), 0);
}

static bool
has_csum(struct file *f, uint64_t off)
{
	struct extent x;

	rwl_rdlock(&f->inode->layout_lock);
	ck_assert_ok(extent_lookup(f->inode, off >> BLK_SHIFT, &x, NULL, 0));
	rwl_unlock(&f->inode->layout_lock);
	ck_assert_uint_ne(x.pblk, PBLK_NONE);
	return !(x.flags & (EXTENT_NOCSUM | EXTENT_UNWRITTEN));
}

START_TEST(test_in_place)
{
	uint64_t id, off;
	uint8_t *p;
	START(8);

	set_dax(f, true);
	unit_fill(f, 0, 4 * BLK, 'a');
	off = map_at(f, 0).pool_off;
	p = pin(f, PIN_WRITE, 0, 4 * BLK, &id);
	ck_assert_uint_eq(map_at(f, 0).pool_off, off);
	ck_assert_ptr_eq(p, pool_block(fs_pool(fs), off >> BLK_SHIFT));
	memset(p, 'b', 4 * BLK);
	unit_expect(f, 0, 4 * BLK, 'b');
	/* It is the client's to flush; nobody has to be asked. */
	unit_crash_expect(path, "f", 4 * BLK, 'b');
	memset(p, 'c', 4 * BLK);
	sync_file(f);
	unit_crash_expect(path, "f", 4 * BLK, 'c');
	unit_fill(f, 0, 4 * BLK, 'd');
	ck_assert(p[0] == 'd' && p[4 * BLK - 1] == 'd');
	ck_assert_uint_eq(map_at(f, 0).pool_off, off);
	memset(p, 'e', 4 * BLK);
	ck_assert_ok(pin_remove(f, id));
	ck_assert_uint_eq(map_at(f, 0).pool_off, off);
	sync_file(f);
	ck_assert_uint_eq(map_at(f, 0).pool_off, off);
	ck_assert_uint_eq(f->inode->live.extents, 0);
	unit_expect(f, 0, 4 * BLK, 'e');
	unit_crash_expect(path, "f", 4 * BLK, 'e');
	expect_no_bounce(fs);
	finish(fs, path, f, before);
}
END_TEST

/* What there was before is made fit: dirty data, data with checksums, blocks preallocated, holes. */
START_TEST(test_prepared)
{
	uint64_t id, off;
	struct pin_range r;
	uint8_t *p;
	START(8);

	unit_fill(f, 0, 2 * BLK, 'a');
	sync_file(f);
	unit_fill(f, 2 * BLK, 2 * BLK, 'a');
	ck_assert_ok(fs_fallocate(f, 0, 4 * BLK, 2 * BLK));
	ck_assert_ok(fs_truncate(f->inode, 8 * BLK));
	set_dax(f, true);
	ck_assert(has_csum(f, 0));
	ck_assert_ok(try_pin(f, PIN_WRITE, 0, 0, 8 * BLK, &id, &r));
	for (uint64_t at = 0; at < 8 * BLK; at += BLK) {
		ck_assert(!has_csum(f, at));
		off = map_at(f, at).pool_off;
		ck_assert_uint_ne(off, UINT64_MAX);
		p = pool_block(fs_pool(fs), off >> BLK_SHIFT);
		ck_assert_int_eq(p[0], at < 4 * BLK ? 'a' : 0);
		ck_assert_int_eq(p[BLK - 1], at < 4 * BLK ? 'a' : 0);
		memset(p, 'b', BLK);
	}
	unit_crash_expect(path, "f", 8 * BLK, 'b');
	ck_assert_ok(pin_remove(f, id));

	/* The pin makes the file longer, durably. */
	ck_assert_ok(try_pin(f, PIN_WRITE, PIN_ALLOC, 8 * BLK, 4 * BLK, &id, &r));
	ck_assert_uint_eq(r.ext_len, 4 * BLK);
	p = pool_block(fs_pool(fs), r.pool_off >> BLK_SHIFT);
	unit_expect(f, 8 * BLK, 4 * BLK, 0);
	memset(p, 'b', 4 * BLK);
	unit_crash_expect(path, "f", 12 * BLK, 'b');
	ck_assert_ok(pin_remove(f, id));
	expect_no_bounce(fs);
	finish(fs, path, f, before);
}
END_TEST

/* Blocks that another file shares stay what they are. */
START_TEST(test_shared)
{
	struct file *g;
	uint64_t id;
	uint8_t *p;
	START(8);

	unit_fill(f, 0, 2 * BLK, 'a');
	g = unit_file(fs, "g", O_RDWR);
	ck_assert_ok(fs_clone_range(f, 0, g, 0, 0));
	set_dax(f, true);
	p = pin(f, PIN_WRITE, 0, 2 * BLK, &id);
	memset(p, 'b', 2 * BLK);
	unit_expect(g, 0, 2 * BLK, 'a');
	/* A copy is of what there is. */
	ck_assert_int_eq(fs_copy_range(f, 0, g, 0, BLK), (long long)BLK);
	memset(p, 'c', 2 * BLK);
	unit_expect(g, 0, BLK, 'b');
	ck_assert_ok(fs_clone_range(f, 0, g, 0, 0));
	memset(p, 'd', 2 * BLK);
	unit_expect(g, 0, 2 * BLK, 'c');
	unit_expect(f, 0, 2 * BLK, 'd');
	ck_assert_ok(pin_remove(f, id));
	fs_release(g);
	unit_unlink(fs, "g");
	finish(fs, path, f, before);
}
END_TEST

START_TEST(test_two_pinners)
{
	uint64_t id[3];
	uint8_t *p[3];
	struct file *g;
	START(8);

	unit_fill(f, 0, 4 * BLK, 'a');
	set_dax(f, true);
	g = unit_file(fs, "f", O_RDWR);
	p[0] = pin(f, PIN_READ, 0, 4 * BLK, &id[0]);
	p[1] = pin(g, PIN_WRITE, BLK, 2 * BLK, &id[1]);
	p[2] = pin(f, PIN_WRITE, 2 * BLK, 2 * BLK, &id[2]);
	ck_assert_ptr_eq(p[1], p[0] + BLK);
	ck_assert_ptr_eq(p[2], p[0] + 2 * BLK);
	p[1][BLK] = 'b';
	ck_assert_int_eq(p[2][0], 'b');
	unit_fill(g, 0, BLK, 'c');
	ck_assert_int_eq(p[0][0], 'c');
	sync_file(f);
	ck_assert_ok(pin_remove(g, id[1]));
	sync_file(f);
	ck_assert_ok(pin_remove(f, id[2]));
	p[0][3 * BLK] = 'd';
	ck_assert_ok(pin_remove(f, id[0]));
	unit_expect(f, 3 * BLK, 1, 'd');
	sync_file(f);
	ck_assert_uint_eq(f->inode->live.extents, 0);
	fs_release(g);
	expect_no_bounce(fs);
	finish(fs, path, f, before);
}
END_TEST

/* What is cut keeps its blocks until the unpin; what the file gets there is other blocks. */
START_TEST(test_cut)
{
	uint64_t id, off;
	uint8_t *p;
	START(8);

	set_dax(f, true);
	unit_fill(f, 0, 4 * BLK, 'a');
	p = pin(f, PIN_WRITE, 0, 4 * BLK, &id);
	off = map_at(f, BLK).pool_off;
	ck_assert_ok(fs_truncate(f->inode, 100));
	ck_assert_ok(fs_truncate(f->inode, 4 * BLK));
	ck_assert_int_eq(p[100], 0);
	sync_file(f);
	unit_fill(f, BLK, 3 * BLK, 'b');
	unit_free_blocks(fs);
	memset(p + BLK, 'c', 3 * BLK);
	unit_expect(f, BLK, 3 * BLK, 'b');
	ck_assert_uint_ne(map_at(f, BLK).pool_off, off);
	ck_assert_ok(fs_fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, BLK));
	p[0] = 'd';
	unit_expect(f, 0, BLK, 0);
	sync_file(f);
	ck_assert_ok(pin_remove(f, id));
	finish(fs, path, f, before);
}
END_TEST

/* A holder goes without a word. The file keeps the block; when it lets go of it nobody gets what late DMA stores. */
START_TEST(test_tainted)
{
	struct pool *p;
	struct file *g;
	uint64_t id, off;
	pblk_t b;
	START(8);

	p = fs_pool(fs);
	set_dax(f, true);
	for (int cut = 0; cut < 2; cut++) {
		unit_fill(f, 0, 2 * BLK, 'a');
		g = unit_file(fs, "f", O_RDWR);
		memset(pin(g, PIN_WRITE, 0, 2 * BLK, &id), 'b', 2 * BLK);
		off = map_at(f, 0).pool_off;
		b = off >> BLK_SHIFT;
		if (cut)
			ck_assert_ok(fs_truncate(f->inode, 0));
		fs_release(g);
		ck_assert(held_any(p, b, 2));
		if (!cut) {
			ck_assert_uint_eq(map_at(f, 0).pool_off, off);
			sync_file(f);
			unit_expect(f, 0, 2 * BLK, 'b');
			unit_fill(f, 0, BLK, 'c');
			ck_assert_uint_eq(map_at(f, 0).pool_off, off);
			ck_assert_ok(fs_truncate(f->inode, 0));
		}
		memset(pool_block(p, b), 'x', 2 * BLK);
		unit_free_blocks(fs);
		/* punched: what was stored there is in no pool any more */
		ck_assert(!held_any(p, b, 2));
		ck_assert_int_eq(*(uint8_t *)pool_block(p, b), 0);
	}
	finish(fs, path, f, before);
}
END_TEST

START_TEST(test_attribute)
{
	uint64_t id, off;
	uint8_t *p;
	START(8);

	unit_fill(f, 0, 4 * BLK, 'a');
	for (int on = 0; on < 2; on++) {
		set_dax(f, on);
		p = pin(f, PIN_READ, 0, BLK, &id);
		ck_assert_err(try_dax(f, !on), ETXTBSY);
		ck_assert_ok(pin_remove(f, id));
		pin(f, PIN_WRITE, 0, 2 * BLK, &id);
		ck_assert_err(try_dax(f, !on), ETXTBSY);
		ck_assert_ok(pin_remove(f, id));
	}
	/* Turned off before the flush of what was stored; then a block without checksum is not stored to. */
	p = pin(f, PIN_WRITE, 0, 2 * BLK, &id);
	memset(p, 'b', 2 * BLK);
	ck_assert_ok(pin_remove(f, id));
	off = map_at(f, 0).pool_off;
	set_dax(f, false);
	ck_assert_uint_eq(f->inode->live.extents, 0);
	sync_file(f);
	unit_expect(f, 0, 2 * BLK, 'b');
	ck_assert(!has_csum(f, 0));
	unit_fill(f, 0, BLK, 'c');
	ck_assert_uint_ne(map_at(f, 0).pool_off, off);
	ck_assert_int_eq(p[0], 'b');
	sync_file(f);
	ck_assert(has_csum(f, 0) && !has_csum(f, BLK));
	p = pin(f, PIN_WRITE, 0, 2 * BLK, &id);
	memset(p, 'd', 2 * BLK);
	sync_file(f);
	ck_assert_uint_eq(counters(fs).bounced_blocks, 2);
	ck_assert_ok(pin_remove(f, id));
	sync_file(f);
	ck_assert(has_csum(f, BLK));
	unit_expect(f, 0, 2 * BLK, 'd');
	finish(fs, path, f, before);
}
END_TEST

/* The content moves, the holder's blocks don't, and they come to no other file. */
START_TEST(test_moved)
{
	struct file *g, *h;
	uint64_t id, off;
	uint8_t *p;
	START(8);

	set_dax(f, true);
	unit_fill(f, 0, BLK, 'a');
	unit_fill(f, BLK, 3 * BLK, 'b');
	p = pin(f, PIN_WRITE, BLK, 2 * BLK, &id);
	off = map_at(f, BLK).pool_off;
	ck_assert_ok(fs_collapse_range(f, 0, BLK));
	memset(p, 'x', 2 * BLK);
	unit_expect(f, 0, 3 * BLK, 'b');
	sync_file(f);
	ck_assert_ok(pin_remove(f, id));
	unit_crash_expect(path, "f", 3 * BLK, 'b');

	g = unit_file(fs, "g", O_RDWR);
	set_dax(g, true);
	unit_fill(g, 0, 3 * BLK, 'c');
	p = pin(f, PIN_WRITE, 0, 2 * BLK, &id);
	off = map_at(f, 0).pool_off;
	ck_assert_ok(fs_exchange_range(f, 0, g, 0, 3 * BLK));
	ck_assert_uint_ne(map_at(g, 0).pool_off, off);
	memset(p, 'y', 2 * BLK);
	unit_expect(f, 0, 3 * BLK, 'c');
	unit_expect(g, 0, 3 * BLK, 'b');
	ck_assert_ok(fs_fsync_wait(fs, g->inode, false));
	unit_expect(g, 0, 3 * BLK, 'b');
	ck_assert_ok(pin_remove(f, id));

	/* Nor do blocks whose holder went without a word. */
	h = unit_file(fs, "g", O_RDWR);
	p = pin(h, PIN_WRITE, 0, 2 * BLK, &id);
	memset(p, 'd', 2 * BLK);
	fs_release(h);
	sync_file(g);
	ck_assert_uint_eq(g->inode->live.extents, 0);
	off = map_at(g, 0).pool_off;
	ck_assert(held_any(fs_pool(fs), off >> BLK_SHIFT, 1));
	ck_assert_ok(fs_exchange_range(f, 0, g, 0, 3 * BLK));
	ck_assert_uint_ne(map_at(f, 0).pool_off, off);
	memset(p, 'z', 2 * BLK);
	unit_expect(f, 0, 2 * BLK, 'd');
	sync_file(f);
	unit_expect(f, 0, 2 * BLK, 'd');
	fs_release(g);
	unit_unlink(fs, "g");
	finish(fs, path, f, before);
}
END_TEST

/* There is nothing to bounce, so nothing to say about that; who wants to say alone what becomes durable can't. */
START_TEST(test_policies)
{
	static const enum fs_pinned policy[] = { FS_PINNED_WAIT, FS_PINNED_FAIL, FS_PINNED_HOLDER };
	struct pin_range r = { .off = 0, .len = BLK };
	struct pin_params params = { PIN_WRITE, PIN_TRANSIENT, 0, FS_PINNED_DEFAULT };
	uint64_t id;
	START(8);

	set_dax(f, true);
	unit_fill(f, 0, BLK, 'a');
	for (unsigned k = 0; k < 2; k++) {
		params.writeback = policy[k];
		ck_assert_ok(pin_add(f, &params, &r, 1, &unit_cred, &id));
		sync_file(f);
		ck_assert_ok(pin_remove(f, id));
	}
	params.writeback = policy[2];
	ck_assert_err(pin_add(f, &params, &r, 1, &unit_cred, &id), EINVAL);
	finish(fs, path, f, before);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("pin_dax");
	TCase *t = tcase_create("pin_dax");

	tcase_set_timeout(t, 60);
	tcase_add_test(t, test_in_place);
	tcase_add_test(t, test_prepared);
	tcase_add_test(t, test_shared);
	tcase_add_test(t, test_two_pinners);
	tcase_add_test(t, test_cut);
	tcase_add_test(t, test_tainted);
	tcase_add_test(t, test_attribute);
	tcase_add_test(t, test_moved);
	tcase_add_test(t, test_policies);
	suite_add_tcase(s, t);
	return unit_main(s);
}
