/* SPDX-License-Identifier: BSD-3-Clause */
/* The live map against an array that says for each block what should be there. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <string.h>

#include "fs/live.h"
#include "pmem/format.h"

#define MODEL_BLOCKS 300u

/* Check's own assertions each write a record: too slow for inner loops. */
#define must(cond) \
	do { if (!(cond)) ck_abort_msg("%s", #cond); } while (0)

struct cell {
	bool present;
	uint8_t kind, flags;
	pblk_t pblk;
	uint32_t wpins, rpins;
};

struct model {
	struct cell cell[MODEL_BLOCKS];
	/* what the callback has been told of */
	struct cell gone[MODEL_BLOCKS];
};

static void
note_removed(void *arg, const struct live_extent *part)
{
	struct model *mo = arg;

	must(part->len > 0);
	for (uint64_t k = 0; k < part->len; k++) {
		struct cell *c = &mo->gone[part->fblk + k];

		must(!c->present);
		*c = (struct cell){ true, part->kind, part->flags,
			part->kind == LIVE_HOLE ? PBLK_NONE : part->pblk + k, part->wpins, part->rpins };
	}
}

static bool
cell_same(const struct cell *a, const struct cell *b)
{
	if (a->present != b->present)
		return false;
	return !a->present || (a->kind == b->kind && a->flags == b->flags && a->pblk == b->pblk &&
	    a->wpins == b->wpins && a->rpins == b->rpins);
}

/* The map says what the model says, its extents are in order, and its counts are right. */
static void
compare(const struct live_map *m, const struct model *mo, bool merged)
{
	uint64_t extents = 0, blocks = 0, dirty = 0;
	struct live_extent *e, *before = NULL;
	fblk_t at = 0;

	for (e = live_find(m, 0); e != NULL; before = e, e = live_next(m, e)) {
		must(e->len > 0);
		must(e->fblk >= at);
		for (; at < e->fblk; at++)
			must(!mo->cell[at].present);
		for (; at < live_end(e); at++) {
			struct cell c = { true, e->kind, e->flags,
				e->kind == LIVE_HOLE ? PBLK_NONE : e->pblk + (at - e->fblk), e->wpins,
				e->rpins };

			must(cell_same(&c, &mo->cell[at]));
		}
		if (merged && before != NULL && live_end(before) == e->fblk)
			must(before->kind != e->kind || before->flags != e->flags ||
			    before->wpins != e->wpins || before->rpins != e->rpins ||
			    (e->kind != LIVE_HOLE && before->pblk + before->len != e->pblk));
		extents++;
		if (e->kind != LIVE_HOLE)
			blocks += e->len;
		if (e->flags & LIVE_DIRTY)
			dirty += e->kind == LIVE_DATA ? (e->len + EXTENT_CSUM_BLOCKS_MAX - 1) /
			    EXTENT_CSUM_BLOCKS_MAX : 1;
	}
	for (; at < MODEL_BLOCKS; at++)
		must(!mo->cell[at].present);
	must(m->extents == extents);
	must(m->blocks == blocks);
	must(m->dirty_extents == dirty);
	for (fblk_t b = 0; b < MODEL_BLOCKS; b++) {
		e = live_find(m, b);
		if (mo->cell[b].present)
			must(e != NULL && e->fblk <= b && b < live_end(e));
		else
			must(e == NULL || e->fblk > b);
	}
}

/* What the last change took out is what the model had there. */
static void
compare_gone(struct model *mo, fblk_t fblk, uint64_t len)
{
	for (fblk_t b = 0; b < MODEL_BLOCKS; b++) {
		struct cell none = { .present = false };
		bool inside = b >= fblk && b < fblk + len;

		must(cell_same(&mo->gone[b], inside ? &mo->cell[b] : &none));
	}
	memset(mo->gone, 0, sizeof(mo->gone));
}

/* A hole of n blocks comes before fblk, or the n blocks before it go. */
static void
shift(struct live_map *m, struct model *mo, fblk_t fblk, uint64_t n, bool up)
{
	fblk_t gap = up ? MODEL_BLOCKS - n : fblk - n;

	must(live_remove(m, gap, n, NULL, NULL) == 0);
	must(live_split(m, fblk) == 0);
	if (up) {
		live_shift_up(m, fblk, n);
		memmove(&mo->cell[fblk + n], &mo->cell[fblk], (MODEL_BLOCKS - fblk - n) * sizeof(mo->cell[0]));
		memset(&mo->cell[fblk], 0, n * sizeof(mo->cell[0]));
	} else {
		live_shift_down(m, fblk, n);
		memmove(&mo->cell[fblk - n], &mo->cell[fblk], (MODEL_BLOCKS - fblk) * sizeof(mo->cell[0]));
		memset(&mo->cell[MODEL_BLOCKS - n], 0, n * sizeof(mo->cell[0]));
	}
}

/* Two ranges of one map. */
static void
exchange(struct live_map *m, struct model *mo, fblk_t a, fblk_t b, uint64_t n)
{
	must(live_split(m, a) == 0 && live_split(m, a + n) == 0);
	must(live_split(m, b) == 0 && live_split(m, b + n) == 0);
	live_exchange(m, a, m, b, n);
	for (uint64_t k = 0; k < n; k++) {
		struct cell c = mo->cell[a + k];

		mo->cell[a + k] = mo->cell[b + k];
		mo->cell[b + k] = c;
	}
}

static void
random_move(struct live_map *m, struct model *mo, uint64_t *rnd)
{
	uint64_t n = 1 + unit_random(rnd) % 20;
	fblk_t a = n + unit_random(rnd) % (MODEL_BLOCKS - 3 * n), b;
	struct live_extent *e;

	switch (unit_random(rnd) % 4) {
	case 0:
		shift(m, mo, a, n, true);
		break;
	case 1:
		shift(m, mo, a, n, false);
		break;
	case 2:
		b = unit_random(rnd) % 2 ? a + n : a - n;
		exchange(m, mo, a, b, n);
		break;
	default:
		e = live_find(m, a);
		if (e == NULL || e->kind != LIVE_DATA)
			break;
		live_repoint(m, e, 20000 + a);
		for (fblk_t at = e->fblk; at < live_end(e); at++)
			mo->cell[at] = (struct cell){ true, LIVE_DATA, LIVE_DIRTY, 20000 + a + (at - e->fblk), 0, 0 };
		break;
	}
}

static void
random_change(struct live_map *m, struct model *mo, uint64_t *rnd, bool *merged)
{
	fblk_t fblk = unit_random(rnd) % MODEL_BLOCKS;
	uint64_t len = 1 + unit_random(rnd) % (unit_random(rnd) % 4 == 0 ? MODEL_BLOCKS : 6);
	struct live_extent *e;

	len = min_of(len, MODEL_BLOCKS - fblk);
	switch (unit_random(rnd) % 9) {
	case 8:
		random_move(m, mo, rnd);
		*merged = false;
		break;
	case 0: case 1: case 2: case 3: {
		enum live_kind kind = (enum live_kind)(unit_random(rnd) % 3);
		unsigned flags = unit_random(rnd) % 4 ? LIVE_DIRTY : (unsigned)(unit_random(rnd) % 8);
		/* often the block that continues what is there */
		pblk_t pblk = kind == LIVE_HOLE ? PBLK_NONE :
		    unit_random(rnd) % 4 ? 1000 + fblk : 5000 + unit_random(rnd) % 10000;

		must(live_set(m, fblk, len, kind, pblk, flags, note_removed, mo) == 0);
		compare_gone(mo, fblk, len);
		for (uint64_t k = 0; k < len; k++)
			mo->cell[fblk + k] = (struct cell){ true, (uint8_t)kind, (uint8_t)flags,
				kind == LIVE_HOLE ? PBLK_NONE : pblk + k, 0, 0 };
		break;
	}
	case 4:
		must(live_remove(m, fblk, len, note_removed, mo) == 0);
		compare_gone(mo, fblk, len);
		memset(&mo->cell[fblk], 0, len * sizeof(mo->cell[0]));
		break;
	case 5:
		must(live_split(m, fblk) == 0);
		e = live_find(m, fblk);
		must(e == NULL || e->fblk >= fblk);
		*merged = false;
		break;
	case 6: {
		/* pin or unpin a range, as pin.c does it */
		bool write = unit_random(rnd) % 2;
		bool add = unit_random(rnd) % 2;

		must(live_split(m, fblk) == 0);
		must(live_split(m, fblk + len) == 0);
		for (e = live_find(m, fblk); e != NULL && e->fblk < fblk + len; e = live_next(m, e)) {
			must(live_end(e) <= fblk + len);
			uint32_t *n = write ? &e->wpins : &e->rpins;

			*n = add ? *n + 1 : 0;
			for (fblk_t b = e->fblk; b < live_end(e); b++)
				*(write ? &mo->cell[b].wpins : &mo->cell[b].rpins) = *n;
		}
		live_merge(m, fblk, len);
		*merged = false;
		break;
	}
	default: {
		unsigned set = (unsigned)(unit_random(rnd) % 8), clear = (unsigned)(unit_random(rnd) % 8);

		e = live_find(m, fblk);
		if (e == NULL)
			break;
		live_change_flags(m, e, set, clear);
		for (fblk_t b = e->fblk; b < live_end(e); b++)
			mo->cell[b].flags = (uint8_t)((mo->cell[b].flags & ~clear) | set);
		live_merge(m, e->fblk, e->len);
		*merged = false;
		break;
	}
	}
	if (unit_random(rnd) % 16 == 0) {
		live_merge(m, 0, MODEL_BLOCKS);
		*merged = true;
	}
}

START_TEST(random_changes)
{
	static struct model mo;
	uint64_t rnd = 4711 + (uint64_t)_i;
	struct live_map m;
	bool merged = true;

	memset(&mo, 0, sizeof(mo));
	live_init(&m, NULL, NULL);
	for (int n = 0; n < 4000; n++) {
		random_change(&m, &mo, &rnd, &merged);
		if (n % 7 == 0 || n < 100)
			compare(&m, &mo, merged);
	}
	live_clear(&m);
	memset(&mo, 0, sizeof(mo));
	compare(&m, &mo, true);
	live_clear(&m);
}
END_TEST

/* Of two maps, with what they have together. */
START_TEST(exchange_of_maps)
{
	uint64_t dirty = 0, extents = 0;
	struct live_map a, b;

	live_init(&a, &dirty, &extents);
	live_init(&b, &dirty, &extents);
	ck_assert_ok(live_set(&a, 10, 10, LIVE_DATA, 100, LIVE_DIRTY, NULL, NULL));
	ck_assert_ok(live_set(&b, 0, 1000, LIVE_HOLE, PBLK_NONE, LIVE_DIRTY, NULL, NULL));
	ck_assert_ok(live_split(&a, 15));
	ck_assert_ok(live_split(&b, 500));
	ck_assert_ok(live_split(&b, 510));
	live_exchange(&a, 15, &b, 500, 10);
	ck_assert_uint_eq(live_find(&a, 14)->pblk, 100);
	ck_assert_uint_eq(live_find(&a, 15)->kind, LIVE_HOLE);
	ck_assert_uint_eq(live_end(live_find(&a, 15)), 25);
	ck_assert_uint_eq(live_find(&b, 500)->pblk, 105);
	ck_assert_uint_eq(live_find(&b, 505)->fblk, 510);
	ck_assert_uint_eq(a.blocks, 5);
	ck_assert_uint_eq(b.blocks, 5);
	ck_assert_uint_eq(a.dirty_extents, 2);
	ck_assert_uint_eq(b.dirty_extents, 3);
	ck_assert_uint_eq(dirty, 5);
	ck_assert_uint_eq(extents, 5);
	live_clear(&a);
	live_clear(&b);
	ck_assert_uint_eq(dirty, 0);
	ck_assert_uint_eq(extents, 0);
}
END_TEST

START_TEST(small_and_merged)
{
	struct live_extent *e;
	struct live_map m;

	/* with malloc's own word, in units of 16 bytes */
	ck_assert_uint_le((sizeof(struct live_extent) + sizeof(size_t) + 15) & ~(size_t)15, 100);

	live_init(&m, NULL, NULL);
	ck_assert_ptr_null(live_find(&m, 0));
	/* forwards, backwards, and the one between: one extent */
	for (fblk_t b = 10; b < 20; b++)
		ck_assert_ok(live_set(&m, b, 1, LIVE_DATA, 100 + b, LIVE_DIRTY, NULL, NULL));
	for (fblk_t b = 30; b > 20; b--)
		ck_assert_ok(live_set(&m, b, 1, LIVE_DATA, 100 + b, LIVE_DIRTY, NULL, NULL));
	ck_assert_uint_eq(m.extents, 2);
	ck_assert_ok(live_set(&m, 20, 1, LIVE_DATA, 120, LIVE_DIRTY, NULL, NULL));
	ck_assert_uint_eq(m.extents, 1);
	e = live_find(&m, 0);
	ck_assert_uint_eq(e->fblk, 10);
	ck_assert_uint_eq(e->len, 21);
	ck_assert_uint_eq(e->pblk, 110);
	/* other block, other flags, pins: kept apart */
	ck_assert_ok(live_set(&m, 31, 1, LIVE_DATA, 500, LIVE_DIRTY, NULL, NULL));
	ck_assert_ok(live_set(&m, 9, 1, LIVE_DATA, 109, LIVE_DIRTY | LIVE_TAKEN, NULL, NULL));
	ck_assert_uint_eq(m.extents, 3);
	live_find(&m, 31)->wpins = 1;
	ck_assert_ok(live_set(&m, 32, 1, LIVE_DATA, 501, LIVE_DIRTY, NULL, NULL));
	ck_assert_uint_eq(m.extents, 4);
	live_find(&m, 31)->wpins = 0;
	live_merge(&m, 31, 1);
	ck_assert_uint_eq(m.extents, 3);
	live_clear(&m);
}
END_TEST

/* What it counted of pins is theirs. */
START_TEST(repointed)
{
	struct live_extent *e;
	struct live_map m;

	live_init(&m, NULL, NULL);
	ck_assert_ok(live_set(&m, 10, 4, LIVE_DATA, 100, LIVE_DIRTY | LIVE_TAINTED, NULL, NULL));
	e = live_find(&m, 10);
	e->wpins = 4;
	e->rpins = e->tracked = e->wait = e->fail = e->skip = e->holder = 1;
	live_repoint(&m, e, 200);
	ck_assert_uint_eq(e->pblk, 200);
	ck_assert_uint_eq(e->flags, LIVE_DIRTY);
	ck_assert_uint_eq(e->wpins + e->rpins + e->tracked + e->wait + e->fail + e->skip + e->holder, 0);
	live_clear(&m);
}
END_TEST

START_TEST(far_ends)
{
	struct live_extent *e;
	struct live_map m;

	live_init(&m, NULL, NULL);
	ck_assert_ok(live_set(&m, 5, FBLK_MAX + 1 - 5, LIVE_HOLE, PBLK_NONE, LIVE_DIRTY, NULL, NULL));
	ck_assert_uint_eq(m.blocks, 0);
	ck_assert_uint_eq(m.dirty_extents, 1);
	ck_assert_ok(live_set(&m, FBLK_MAX, 1, LIVE_DATA, 77, LIVE_DIRTY, NULL, NULL));
	e = live_find(&m, FBLK_MAX);
	ck_assert_uint_eq(e->pblk, 77);
	ck_assert_ptr_null(live_next(&m, e));
	e = live_find(&m, FBLK_MAX - 1);
	ck_assert_uint_eq(e->kind, LIVE_HOLE);
	ck_assert_uint_eq(live_end(e), FBLK_MAX);
	live_merge(&m, FBLK_MAX, 1);
	ck_assert_ok(live_remove(&m, 0, FBLK_MAX + 1, NULL, NULL));
	ck_assert_uint_eq(m.extents, 0);
	/* a long run of data weighs what it will cost */
	ck_assert_ok(live_set(&m, 0, 1000, LIVE_DATA, 100, LIVE_DIRTY, NULL, NULL));
	ck_assert_uint_eq(m.dirty_extents, 4);
	ck_assert_ok(live_remove(&m, 256, 744, NULL, NULL));
	ck_assert_uint_eq(m.dirty_extents, 1);
	live_clear(&m);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("live");
	TCase *t = tcase_create("live");

	tcase_add_loop_test(t, random_changes, 0, 8);
	tcase_add_test(t, exchange_of_maps);
	tcase_add_test(t, small_and_merged);
	tcase_add_test(t, repointed);
	tcase_add_test(t, far_ends);
	suite_add_tcase(s, t);
	return unit_main(s);
}
