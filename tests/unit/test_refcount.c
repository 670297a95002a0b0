/* SPDX-License-Identifier: BSD-3-Clause */
/* Counts of shared blocks against an array, and their damage. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <string.h>

#include "fs/refcount.h"
#include "pmem/log.h"

#define FIRST 100u
#define BLOCKS 3000u

/* For inner loops: ck_assert is a system call each. */
#define expect(cond) do { if (!(cond)) ck_abort_msg("%s", #cond); } while (0)

struct counts {
	struct pool *pool;
	uint32_t count[BLOCKS];  /* 1: no entry */
	uint64_t freed[BLOCKS];  /* how often dec said that it has no owner */
	uint64_t seed;
};

static void
silence(void *arg, int level, const char *text)
{
	(void)arg, (void)level, (void)text;
}

static struct counts *
make_counts(void)
{
	struct counts *c = calloc(1, sizeof(*c));

	ck_assert_ptr_nonnull(c);
	c->pool = unit_open(unit_mkpool(16));
	c->seed = 77;
	for (unsigned b = 0; b < BLOCKS; b++)
		c->count[b] = 1;
	return c;
}

static void
free_counts(struct counts *c)
{
	pool_close(c->pool);
	free(c);
}

static void
note_last(void *arg, pblk_t start, uint64_t n)
{
	struct counts *c = arg;

	ck_assert_uint_gt(n, 0);
	for (uint64_t k = 0; k < n; k++)
		c->freed[start - FIRST + k]++;
}

static void
change(struct counts *c, unsigned from, unsigned n, int delta)
{
	uint64_t runs, freed[BLOCKS];
	struct txn t;

	memcpy(freed, c->freed, sizeof(freed));
	ck_assert_ok(txn_begin(c->pool, &t, 1, 0));
	refcount_lock(c->pool);
	ck_assert_ok(refcount_check_locked(c->pool, FIRST + from, n, delta, &runs));
	ck_assert_uint_le(runs, n);
	ck_assert_ok(txn_extend(&t, refcount_credits(c->pool, runs)));
	if (delta > 0)
		ck_assert_ok(refcount_inc_locked(&t, FIRST + from, n));
	else
		ck_assert_ok(refcount_dec_locked(&t, FIRST + from, n, note_last, c));
	refcount_unlock(c->pool);
	txn_end(&t);
	for (unsigned b = 0; b < BLOCKS; b++) {
		bool in = b >= from && b < from + n;
		bool last = in && delta < 0 && c->count[b] == 1;

		expect(c->freed[b] == freed[b] + last);
		/* A block that lost its last owner counts as new: one owner. */
		if (in && !last)
			c->count[b] += (uint32_t)delta;
	}
}

struct runs {
	struct counts *c;
	struct refcount_run before;
	unsigned n;
};

static int
check_item(void *arg, struct tree_key key, const void *value, size_t len)
{
	struct runs *s = arg;
	struct refcount_run r;

	expect(!refcount_decode(s->c->pool, key, value, len, &r));
	/* No overlap, and neighbours of equal count are one. */
	expect(r.start >= s->before.start + s->before.len);
	expect(r.start > s->before.start + s->before.len || r.count != s->before.count);
	for (uint64_t b = r.start; b < r.start + r.len; b++)
		expect(s->c->count[b - FIRST] == r.count);
	s->before = r;
	s->n += (unsigned)r.len;
	return 0;
}

static void
check_all(struct counts *c)
{
	struct runs s = { .c = c };
	unsigned shared = 0;

	for (unsigned b = 0; b < BLOCKS; b++)
		shared += c->count[b] > 1;
	ck_assert_ok(tree_scan(c->pool, tree_key(INO_NONE, ITEM_REFCOUNT, 0),
	    tree_key(INO_NONE, ITEM_REFCOUNT, UINT64_MAX), check_item, &s));
	ck_assert_uint_eq(s.n, shared);
	for (unsigned b = 0; b < BLOCKS;) {
		uint32_t count;
		uint64_t run;

		expect(refcount_get(c->pool, FIRST + b, BLOCKS - b, &count, &run) == 0);
		expect(run >= 1 && run <= BLOCKS - b);
		for (; run > 0; run--, b++)
			expect(c->count[b] == count);
	}
}

START_TEST(random_changes)
{
	struct counts *c = make_counts();

	for (unsigned step = 1; step <= 2000; step++) {
		unsigned from = (unsigned)(unit_random(&c->seed) % BLOCKS);
		unsigned most = unit_random(&c->seed) % 4 ? 10 : 1500;
		unsigned n = 1 + (unsigned)(unit_random(&c->seed) % most);

		change(c, from, min_of(n, BLOCKS - from), unit_random(&c->seed) % 2 ? 1 : -1);
		if (step % 50 == 0)
			check_all(c);
	}
	free_counts(c);
}
END_TEST

START_TEST(more_runs_than_fit_in_a_window)
{
	struct counts *c = make_counts();

	for (unsigned b = 0; b < BLOCKS; b += 2)
		change(c, b, 1, 1);
	check_all(c);
	change(c, 1, BLOCKS - 2, 1);
	check_all(c);
	/* Every second one is left with two owners, the rest with one ... */
	change(c, 0, BLOCKS, -1);
	check_all(c);
	/* ... and then with none, or one. */
	change(c, 0, BLOCKS, -1);
	check_all(c);
	free_counts(c);
}
END_TEST

START_TEST(neighbours_are_joined)
{
	struct counts *c = make_counts();
	struct runs s = { .c = c };

	change(c, 10, 5, 1);
	change(c, 20, 5, 1);
	change(c, 15, 5, 1);
	check_all(c);
	ck_assert_ok(tree_scan(c->pool, tree_key(INO_NONE, ITEM_REFCOUNT, 0),
	    tree_key(INO_NONE, ITEM_REFCOUNT, UINT64_MAX), check_item, &s));
	ck_assert_uint_eq(s.before.start, FIRST + 10);
	ck_assert_uint_eq(s.before.len, 15);
	free_counts(c);
}
END_TEST

START_TEST(counts_outlive_the_mount)
{
	struct counts *c = make_counts();
	const char *path = strdup(pool_path(c->pool));

	change(c, 100, 300, 1);
	change(c, 200, 10, 1);
	ck_assert_ok(txn_commit_wait(c->pool, txn_open_number(c->pool)));
	pool_close(c->pool);
	c->pool = unit_open(path);
	check_all(c);
	free((void *)path);
	free_counts(c);
}
END_TEST

static void
put_raw(struct counts *c, pblk_t b, uint32_t len, uint32_t count, size_t bytes)
{
	struct refcount_item item[2] = { { len, count } };
	struct txn t;

	ck_assert_ok(txn_begin(c->pool, &t, txn_credits(c->pool, 1), 0));
	ck_assert_ok(tree_put(&t, tree_key(INO_NONE, ITEM_REFCOUNT, b), item, bytes));
	txn_end(&t);
}

START_TEST(damage_gives_eio)
{
	static const struct {
		uint32_t len, count;
		size_t bytes;
	} bad[] = { { 1, 1, 8 }, { 1, 0, 8 }, { 0, 2, 8 }, { 1, 2, 7 }, { 1, 2, 9 }, { 100000, 2, 8 } };
	struct counts *c = make_counts();
	uint32_t count;
	uint64_t run, runs;

	pinfs_log_to(silence, NULL);
	for (unsigned n = 0; n < sizeof(bad) / sizeof(bad[0]); n++) {
		put_raw(c, 500, bad[n].len, bad[n].count, bad[n].bytes);
		ck_assert_err(refcount_get(c->pool, 400, 200, &count, &run), EIO);
		refcount_lock(c->pool);
		ck_assert_err(refcount_check_locked(c->pool, 450, 100, -1, &runs), EIO);
		refcount_unlock(c->pool);
		ck_assert_ok(refcount_get(c->pool, 300, 100, &count, &run));
	}
	put_raw(c, 500, 10, 2, 8);
	put_raw(c, 505, 10, 2, 8);
	ck_assert_err(refcount_get(c->pool, 400, 200, &count, &run), EIO);
	free_counts(c);
}
END_TEST

START_TEST(counts_do_not_overflow)
{
	struct counts *c = make_counts();
	uint64_t runs;

	put_raw(c, 500, 10, UINT32_MAX, 8);
	refcount_lock(c->pool);
	ck_assert_err(refcount_check_locked(c->pool, 505, 1, 1, &runs), EMLINK);
	ck_assert_ok(refcount_check_locked(c->pool, 510, 1, 1, &runs));
	ck_assert_ok(refcount_check_locked(c->pool, 505, 1, -1, &runs));
	ck_assert_uint_eq(runs, 1);
	refcount_unlock(c->pool);
	free_counts(c);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("refcount");
	TCase *t = tcase_create("counts");

	tcase_add_test(t, random_changes);
	tcase_add_test(t, more_runs_than_fit_in_a_window);
	tcase_add_test(t, neighbours_are_joined);
	tcase_add_test(t, counts_outlive_the_mount);
	tcase_add_test(t, damage_gives_eio);
	tcase_add_test(t, counts_do_not_overflow);
	suite_add_tcase(s, t);
	return unit_main(s);
}
