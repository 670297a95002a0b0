/* SPDX-License-Identifier: BSD-3-Clause */
/* The tree against a sorted array, through commits and reopening. Damaged trees are in test_tree_damage.c. */
#include "tests/unit/unit_tree.h"

#include "pmem/node.h"

static uint64_t
free_blocks(struct pool *p)
{
	struct alloc_stats st;

	alloc_stats(pool_alloc(p), &st);
	ck_assert_uint_eq(st.reserved, 0);
	return st.free;
}

static struct pool *
reopen(struct pool *p)
{
	char path[256];

	snprintf(path, sizeof(path), "%s", pool_path(p));
	pool_close(p);
	return unit_open(path);
}

struct walk_sum {
	uint64_t nodes, items, leaf_bytes, leaves;
};

static int
walk_count(void *arg, const struct tree_walk_node *wn)
{
	struct walk_sum *sum = arg;

	if (wn->error)
		ck_abort_msg("block %llu: %s", (unsigned long long)wn->block, wn->why);
	sum->nodes++;
	if (wn->level == 0) {
		sum->leaves++;
		sum->items += leaf_count(wn->node);
		sum->leaf_bytes += leaf_used(wn->node);
	}
	return 0;
}

/* Commit, and compare everything. Returns how full the leaves are, in percent. */
static unsigned
check(struct pool *p, const struct model *m, uint64_t seed)
{
	struct cursor c = { .m = m, .stop_at = SIZE_MAX };
	struct walk_sum sum = { 0 };
	uint64_t ninodes, data_blocks, nodes;
	uint8_t buf[ITEM_VALUE_MAX];

	commit(p);
	must(tree_walk(p, walk_count, &sum) == 0);
	pool_counters(p, &ninodes, &data_blocks, &nodes);
	must(sum.items == m->nr);
	must(sum.nodes == nodes);

	must(tree_scan(p, first_key, last_key, visit, &c) == 0);
	must(c.next == m->nr);
	c.back = true;
	must(tree_scan_back(p, first_key, last_key, visit, &c) == 0);
	must(c.next == 0);

	for (size_t i = 0; i < m->nr; i++) {
		const struct item *it = &m->items[i];

		must(tree_get(p, it->key, buf, sizeof(buf)) == (ssize_t)it->len);
		must(memcmp(buf, value_of(it), it->len) == 0);
	}
	/* Ranges between arbitrary keys, present or not, and a visitor that stops. */
	for (unsigned i = 0; i < 40 && m->nr > 0; i++) {
		struct tree_key from = m->items[unit_random(&seed) % m->nr].key;
		struct tree_key to = m->items[unit_random(&seed) % m->nr].key;
		size_t low, high;
		bool found;

		if (i % 3 == 0)
			from.lo++;
		if (i % 5 == 0)
			to.lo--;
		low = model_find(m, from, &found);
		high = model_find(m, to, &found) + found;
		high = max_of(low, high);
		c = (struct cursor){ .m = m, .next = low, .stop_at = SIZE_MAX };
		must(tree_scan(p, from, to, visit, &c) == 0);
		must(c.next == high);
		c.back = true;
		must(tree_scan_back(p, from, to, visit, &c) == 0);
		must(c.next == low);
		if (low == high)
			continue;
		c = (struct cursor){ .m = m, .next = low, .stop_at = (low + high) / 2 };
		must(tree_scan(p, from, to, visit, &c) == 7);
		must(c.next == (low + high) / 2);
	}
	return sum.leaves ? (unsigned)(sum.leaf_bytes * 100 / (sum.leaves * NODE_SPACE)) : 100;
}

/* Delete all that is left, in random order: every block comes back. */
static void
empty(struct pool *p, struct model *m, uint64_t *seed, uint64_t all_free)
{
	uint64_t ninodes, data_blocks, nodes;

	while (m->nr > 0) {
		del(p, m, m->items[unit_random(seed) % m->nr].key);
		if (unit_random(seed) % 4000 == 0)
			check(p, m, *seed);
	}
	check(p, m, *seed);
	pool_counters(p, &ninodes, &data_blocks, &nodes);
	ck_assert_uint_eq(nodes, 0);
	ck_assert_uint_eq(free_blocks(p), all_free);
	ck_assert_uint_eq(overdrafts, 0);
}

/* ---- against the model ---- */

static const size_t random_lens[] = { 0, 24, 200, ITEM_VALUE_MAX };

START_TEST(random_changes)
{
	struct pool *p = unit_open(unit_mkpool(48));
	uint64_t seed = 100 + (uint64_t)_i, all_free = free_blocks(p);
	size_t most = random_lens[_i];
	struct model m = { 0 };

	for (unsigned step = 0; step < 10000; step++) {
		struct tree_key key = item_key(unit_random(&seed) % 50, unit_random(&seed) % 200);
		uint64_t dice = unit_random(&seed) % 100;
		/* Grow for a while, then shrink. */
		unsigned puts = step / 2500 % 2 ? 35 : 75;

		if (dice < puts)
			put(p, &m, key, step, most ? unit_random(&seed) % (most + 1) : 0);
		else
			del(p, &m, key);
		if (step % 700 == 0)
			commit(p);
		if (step % 2500 == 2499) {
			check(p, &m, seed);
			p = reopen(p);
			check(p, &m, seed);
		}
	}
	empty(p, &m, &seed, all_free);
	pool_close(p);
	free(m.items);
}
END_TEST

enum order { ASCENDING, DESCENDING, RANDOM };

START_TEST(insert_in_order)
{
	struct pool *p = unit_open(unit_mkpool(48));
	uint64_t seed = 200, all_free = free_blocks(p);
	enum order order = (enum order)(_i / 2);
	unsigned step = _i % 2 ? 20000 : 10000, fullness;
	struct model m = { 0 };

	for (unsigned i = 0; i < step; i++) {
		uint64_t n = unit_random(&seed) >> 20;

		if (order != RANDOM)
			n = order == ASCENDING ? i : step - i;

		put(p, &m, item_key(5, n), 0, 24);
		if (i % 5000 == 0)
			commit(p);
	}
	fullness = check(p, &m, seed);
	ck_assert_uint_ge(fullness, order == RANDOM ? 60 : 98);
	p = reopen(p);
	check(p, &m, seed);
	if (_i % 2)
		empty(p, &m, &seed, all_free);
	/* From one end, or from both in turn. */
	while (m.nr > 0)
		del(p, &m, m.items[order == ASCENDING ? 0 : m.nr % 2 ? m.nr - 1 : 0].key);
	empty(p, &m, &seed, all_free);
	pool_close(p);
	free(m.items);
}
END_TEST

static uint64_t
node_count(struct pool *p)
{
	uint64_t ninodes, data_blocks, nodes;

	pool_counters(p, &ninodes, &data_blocks, &nodes);
	return nodes;
}

/* Descending keys that all belong behind a leaf that has not a byte left: they must not each start a leaf. */
START_TEST(insert_behind_full_leaf)
{
	struct pool *p = unit_open(unit_mkpool(16));
	uint64_t seed = 250, nodes;
	struct model m = { 0 };
	unsigned i = 0;

	while (node_count(p) < 5)
		put(p, &m, item_key(4, i++), 0, 24);
	nodes = node_count(p);
	while (node_count(p) == nodes)
		put(p, &m, item_key(4, i++), 0, 24);
	del(p, &m, item_key(4, i - 1));
	ck_assert_uint_eq(node_count(p), nodes);
	for (i = 5000; i > 0; i--)
		put(p, &m, item_key(5, i), 0, 24);
	ck_assert_uint_ge(check(p, &m, seed), 95);
	pool_close(p);
	free(m.items);
}
END_TEST

/* Files that grow side by side, each by ascending offsets: leaves stay full, too. */
START_TEST(insert_interleaved)
{
	struct pool *p = unit_open(unit_mkpool(48));
	uint64_t seed = 300;
	struct model m = { 0 };

	for (unsigned i = 0; i < 600; i++)
		for (unsigned file = 0; file < 40; file++)
			put(p, &m, item_key(file, i), 0, 20);
	ck_assert_uint_ge(check(p, &m, seed), 85);
	pool_close(p);
	free(m.items);
}
END_TEST

/* Neighbours at or below half full are merged: what is left of a tree takes as many nodes as it needs. */
START_TEST(thinning_gives_nodes_back)
{
	struct pool *p = unit_open(unit_mkpool(48));
	uint64_t seed = 400, before;
	struct model m = { 0 };

	for (unsigned i = 0; i < 20000; i++)
		put(p, &m, item_key(5, i), 0, 24);
	before = node_count(p);
	for (unsigned i = 0; i < 20000; i++)
		if (i % 10)
			del(p, &m, item_key(5, i));
	check(p, &m, seed);
	ck_assert_uint_lt(node_count(p), before / 5);
	/* What fits in one node takes one. */
	while (m.nr > 20)
		del(p, &m, m.items[unit_random(&seed) % m.nr].key);
	check(p, &m, seed);
	ck_assert_uint_eq(node_count(p), 1);
	pool_close(p);
	free(m.items);
}
END_TEST

/* Runs of neighbouring changes, in trees that random changes have made holes in, never need more than
 * txn_credits_run says. */
START_TEST(credits_for_runs)
{
	struct pool *p = unit_open(unit_mkpool(48));
	uint64_t seed = 450 + (uint64_t)_i, all_free = free_blocks(p);
	size_t most = _i ? ITEM_VALUE_MAX : 40;
	struct model m = { 0 };

	for (unsigned round = 0; round < 600; round++) {
		uint64_t first = unit_random(&seed) % 3000;
		uint64_t n = unit_random(&seed) % (round % 4 ? 20 : 200) + 1;
		size_t len = unit_random(&seed) % (most + 1);
		bool down = unit_random(&seed) % 2, shrink = unit_random(&seed) % 3 == 0;
		struct txn t;

		must(txn_begin(p, &t, txn_credits_run(p, n, most), 0) == 0);
		for (uint64_t i = 0; i < n; i++) {
			struct item it = { item_key(1, first + (down ? n - i : i)), round, len };

			if (!shrink) {
				must(tree_put(&t, it.key, value_of(&it), len) == 0);
				model_put(&m, it);
			} else {
				must(tree_delete(&t, it.key) == (model_delete(&m, it.key) ? 0 : -ENOENT));
			}
		}
		txn_end(&t);
		if (round % 3 == 0)
			commit(p);
	}
	check(p, &m, seed);
	empty(p, &m, &seed, all_free);
	pool_close(p);
	free(m.items);
}
END_TEST

START_TEST(errors_of_calls)
{
	struct pool *p = unit_open(unit_mkpool(4));
	struct tree_key k = item_key(1, 2);
	uint8_t value[ITEM_VALUE_MAX + 1] = { 1 }, buf[16];
	struct cursor c = { .stop_at = 0 };
	struct txn t;

	ck_assert_err(tree_get(p, k, buf, sizeof(buf)), ENOENT);
	ck_assert_int_eq(tree_scan(p, first_key, last_key, visit, &c), 0);
	ck_assert_int_eq(tree_scan_back(p, first_key, last_key, visit, &c), 0);
	ck_assert_ok(txn_begin(p, &t, txn_credits(p, 4), 0));
	ck_assert_ok(tree_touch(&t, k));
	ck_assert_err(tree_delete(&t, k), ENOENT);
	ck_assert_err(tree_insert(&t, k, value, sizeof(value)), EINVAL);
	ck_assert_ok(tree_insert(&t, k, value, 8));
	ck_assert_err(tree_insert(&t, k, value, 8), EEXIST);
	ck_assert_err(tree_delete(&t, item_key(1, 3)), ENOENT);
	txn_end(&t);
	ck_assert_int_eq(tree_get(p, k, buf, 8), 8);
	ck_assert_err(tree_get(p, k, buf, 7), EIO);
	ck_assert_err(tree_get(p, item_key(1, 3), buf, sizeof(buf)), ENOENT);
	ck_assert_err(tree_get(p, item_key(1, 1), buf, sizeof(buf)), ENOENT);
	/* An empty range, and one the wrong way round. */
	c.next = 1;
	ck_assert_int_eq(tree_scan(p, item_key(1, 3), last_key, visit, &c), 0);
	ck_assert_int_eq(tree_scan(p, last_key, first_key, visit, &c), 0);
	pool_close(p);
}
END_TEST

/* Without credits, and no space to make up for it, a change fails and changes nothing. */
START_TEST(no_space_changes_nothing)
{
	struct pool *p = unit_open(unit_mkpool(1));
	uint64_t seed = 500, got;
	struct model m = { 0 };
	struct txn t;
	pblk_t start;

	for (unsigned i = 0; i < 300; i++)
		put(p, &m, item_key(1, 2 * i), 0, 100);
	commit(p);
	while (alloc_run(pool_alloc(p), PBLK_NONE, 100, 0, 0, &start, &got) == 0)
		;
	ck_assert_err(txn_begin(p, &t, 1, 0), ENOSPC);
	ck_assert_err(txn_begin(p, &t, 1, TXN_MUST), ENOSPC);
	ck_assert_ok(txn_begin(p, &t, 0, TXN_MUST));
	ck_assert_err(tree_insert(&t, item_key(1, 301), "", 0), ENOSPC);
	ck_assert_err(tree_put(&t, item_key(1, 300), "x", 1), ENOSPC);
	ck_assert_err(tree_delete(&t, item_key(1, 300)), ENOSPC);
	ck_assert_err(tree_touch(&t, item_key(1, 300)), ENOSPC);
	txn_end(&t);
	check(p, &m, seed);
	pool_close(p);
	free(m.items);
}
END_TEST

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

int
main(void)
{
	Suite *s = suite_create("tree");
	TCase *c = tcase_create("tree");

	tcase_add_checked_fixture(c, setup, NULL);
	tcase_add_loop_test(c, random_changes, 0, COUNT(random_lens));
	tcase_add_loop_test(c, insert_in_order, 0, 6);
	tcase_add_test(c, insert_behind_full_leaf);
	tcase_add_test(c, insert_interleaved);
	tcase_add_test(c, thinning_gives_nodes_back);
	tcase_add_loop_test(c, credits_for_runs, 0, 2);
	tcase_add_test(c, errors_of_calls);
	tcase_add_test(c, no_space_changes_nothing);
	suite_add_tcase(s, c);
	return unit_main(s);
}
