/* SPDX-License-Identifier: BSD-3-Clause */
/* The tree against a sorted array, through commits and reopening; and damaged trees. */
#include "pmem/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "pmem/crc.h"
#include "pmem/log.h"
#include "pmem/node.h"
#include "pmem/pool.h"
#include "tests/unit/unit.h"

/* As ck_assert, which writes to a file each time that all is well: too slow for what is
 * done a million times. */
#define must(cond) \
	do { \
		if (!(cond)) \
			ck_abort_msg("%s", #cond); \
	} while (0)

/* ---- the model ---- */

struct item {
	struct tree_key key;
	unsigned version;
	size_t len;
};

struct model {
	struct item *items;
	size_t nr, room;
};

static size_t
model_find(const struct model *m, struct tree_key key, bool *found)
{
	size_t low = 0, high = m->nr;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (tree_key_cmp(m->items[mid].key, key) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	*found = low < m->nr && tree_key_cmp(m->items[low].key, key) == 0;
	return low;
}

static void
model_put(struct model *m, struct item it)
{
	bool found;
	size_t i = model_find(m, it.key, &found);

	if (!found) {
		if (m->nr == m->room) {
			m->room = m->room ? 2 * m->room : 1024;
			m->items = realloc(m->items, m->room * sizeof(it));
			ck_assert_ptr_nonnull(m->items);
		}
		memmove(&m->items[i + 1], &m->items[i], (m->nr++ - i) * sizeof(it));
	}
	m->items[i] = it;
}

static bool
model_delete(struct model *m, struct tree_key key)
{
	bool found;
	size_t i = model_find(m, key, &found);

	if (found)
		memmove(&m->items[i], &m->items[i + 1], (--m->nr - i) * sizeof(m->items[0]));
	return found;
}

/* Items that nobody takes for extents. */
static struct tree_key
item_key(uint64_t ino, uint64_t lo)
{
	return tree_key(ino, ITEM_XATTR, lo);
}

static const uint8_t *
value_of(const struct item *it)
{
	static __thread uint8_t buf[ITEM_VALUE_MAX + 1];

	for (size_t i = 0; i < it->len; i++)
		buf[i] = (uint8_t)(it->key.hi * 3 + it->key.lo * 31 + it->version * 7 + i);
	return buf;
}

/* ---- a pool with its tree ---- */

static unsigned overdrafts; /* transactions that needed more nodes than they had reserved */
static unsigned errors_logged;

static void
take_log(void *arg, int level, const char *text)
{
	(void)arg;
	if (strstr(text, "than it has reserved"))
		overdrafts++;
	else if (level <= LOG_ERR)
		errors_logged++;
	else
		fprintf(stderr, "%s\n", text);
}

static void
setup(void)
{
	pinfs_log_to(take_log, NULL);
}

static uint64_t
free_blocks(struct pool *p)
{
	struct alloc_stats st;

	alloc_stats(pool_alloc(p), &st);
	ck_assert_uint_eq(st.reserved, 0);
	return st.free;
}

static void
commit(struct pool *p)
{
	must(txn_commit_wait(p, txn_open_number(p)) == 0);
}

static struct pool *
reopen(struct pool *p)
{
	char path[256];

	snprintf(path, sizeof(path), "%s", pool_path(p));
	pool_close(p);
	return unit_open(path);
}

static void
put(struct pool *p, struct model *m, struct tree_key key, unsigned version, size_t len)
{
	struct item it = { key, version, len };
	struct txn t;

	must(txn_begin(p, &t, txn_credits(p, 1), 0) == 0);
	must(tree_put(&t, key, value_of(&it), len) == 0);
	txn_end(&t);
	model_put(m, it);
}

static void
del(struct pool *p, struct model *m, struct tree_key key)
{
	struct txn t;
	int r;

	must(txn_begin(p, &t, txn_credits(p, 1), TXN_MUST) == 0);
	r = tree_delete(&t, key);
	txn_end(&t);
	must(r == (model_delete(m, key) ? 0 : -ENOENT));
}

struct cursor {
	const struct model *m;
	size_t next;   /* ascending: the item that comes; descending: one behind it */
	bool back;
	size_t stop_at; /* return 7 there */
};

static int
visit(void *arg, struct tree_key key, const void *value, size_t len)
{
	struct cursor *c = arg;
	const struct item *it;

	if (c->back)
		c->next--;
	if (c->next == c->stop_at)
		return 7;
	must(c->next < c->m->nr);
	it = &c->m->items[c->next];
	must(tree_key_cmp(it->key, key) == 0);
	must(it->len == len);
	must(memcmp(value, value_of(it), len) == 0);
	if (!c->back)
		c->next++;
	return 0;
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

static const struct tree_key first_key = { 0, 0 }, last_key = { UINT64_MAX, UINT64_MAX };

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

/* ---- damage ---- */

struct node_place {
	pblk_t block;
	unsigned level;
	struct tree_key first, last; /* of the items below */
};

struct node_list {
	struct node_place v[4096];
	size_t nr;
};

static int
list_node(void *arg, const struct tree_walk_node *wn)
{
	struct node_list *l = arg;
	struct node_place *np = &l->v[l->nr++];

	ck_assert_uint_lt(l->nr, 4096);
	np->block = wn->block;
	np->level = wn->level;
	np->first = last_key;
	np->last = first_key;
	if (wn->level == 0) {
		struct tree_key first = leaf_key(wn->node, 0);
		struct tree_key last = leaf_key(wn->node, leaf_count(wn->node) - 1);

		/* Also of all nodes above: the last one seen of each level. */
		for (size_t i = l->nr, level = 0; i-- > 0;) {
			struct node_place *up = &l->v[i];

			if (i + 1 < l->nr && up->level <= level)
				continue;
			level = up->level;
			if (tree_key_cmp(first, up->first) < 0)
				up->first = first;
			if (tree_key_cmp(last, up->last) > 0)
				up->last = last;
		}
	}
	return 0;
}

static bool
is_below(const struct node_place *np, struct tree_key key)
{
	return tree_key_cmp(key, np->first) >= 0 && tree_key_cmp(key, np->last) <= 0;
}

/* A tree of three levels and what is where in it. */
static const char *
make_tree(struct model *m, struct node_list *l)
{
	const char *path = unit_mkpool(16);
	struct pool *p = unit_open(path);

	for (unsigned i = 0; i < 6000; i++)
		put(p, m, item_key(i / 100, 3 * (i % 100)), 0, i % 4 ? 100 : 300);
	commit(p);
	ck_assert_ok(tree_walk(p, list_node, l));
	ck_assert_uint_ge(l->v[0].level, 2);
	pool_close(p);
	return path;
}

static void
flip(const char *path, uint64_t off, uint8_t mask)
{
	int fd = open(path, O_RDWR);
	uint8_t byte;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pread(fd, &byte, 1, (off_t)off), 1);
	byte ^= mask;
	ck_assert_int_eq(pwrite(fd, &byte, 1, (off_t)off), 1);
	close(fd);
}

struct rebuild {
	struct pool *p;
	const struct node_list *all; /* what was used before the damage stays used */
	unsigned damaged;
	pblk_t block;
};

static int
mark_or_note(void *arg, const struct tree_walk_node *wn)
{
	struct rebuild *rb = arg;

	if (wn->error) {
		ck_assert_int_eq(wn->error, -EIO);
		ck_assert_ptr_nonnull(wn->why);
		rb->damaged++;
		rb->block = wn->block;
	}
	return 0;
}

static struct pool *
open_damaged(const char *path, struct rebuild *rb, const struct node_list *all)
{
	struct pool_options opt = { .domain = -1 };
	struct pool_error err;

	*rb = (struct rebuild){ .all = all };
	must(pool_open(&rb->p, path, &opt, &err) == 0);
	must(pool_rebuild_begin(rb->p) == 0);
	for (size_t i = 0; i < all->nr; i++)
		must(pool_rebuild_used(rb->p, all->v[i].block, 1) == 0);
	must(tree_walk(rb->p, mark_or_note, rb) == 0);
	must(pool_rebuild_end(rb->p) == 0);
	return rb->p;
}

START_TEST(flipped_byte)
{
	static struct node_list l;
	struct model m = { 0 };
	const char *path = make_tree(&m, &l);
	uint64_t seed = 600;

	for (unsigned round = 0; round < 60; round++) {
		const struct node_place *np = &l.v[round < 3 ? round : unit_random(&seed) % l.nr];
		uint64_t off = np->block * BLK_SIZE + unit_random(&seed) % (round % 2 ? BLK_SIZE : 64);
		uint8_t mask = (uint8_t)(1u << unit_random(&seed) % 8), buf[ITEM_VALUE_MAX];
		struct rebuild rb;
		struct pool *p;

		flip(path, off, mask);
		p = open_damaged(path, &rb, &l);
		must(rb.damaged == 1);
		must(rb.block == np->block);
		for (size_t i = 0; i < m.nr; i++) {
			struct item *it = &m.items[i];

			if (is_below(np, it->key)) {
				must(tree_get(p, it->key, buf, sizeof(buf)) == -EIO);
			} else {
				must(tree_get(p, it->key, buf, sizeof(buf)) == (ssize_t)it->len);
				must(memcmp(buf, value_of(it), it->len) == 0);
			}
		}
		must(errors_logged > 0);
		must(tree_scan(p, np->first, np->first, visit, NULL) == -EIO);
		must(tree_scan_back(p, np->last, np->last, visit, NULL) == -EIO);
		/* Scans that end just before it don't look at it. */
		bool found;
		size_t first = model_find(&m, np->first, &found);
		size_t behind = model_find(&m, np->last, &found) + 1;
		struct cursor c = { .m = &m, .stop_at = SIZE_MAX };
		if (first > 0) {
			must(tree_scan(p, first_key, m.items[first - 1].key, visit, &c) == 0);
			must(c.next == first);
		}
		if (behind < m.nr) {
			c.next = m.nr;
			c.back = true;
			must(tree_scan_back(p, m.items[behind].key, last_key, visit, &c) == 0);
			must(c.next == behind);
		}
		pool_close(p);
		flip(path, off, mask);
	}
	free(m.items);
}
END_TEST

/* Changes beside a damaged leaf: those above it fail and change nothing; all others work, down to an
 * otherwise empty tree (the leaf can't be merged, its parents stay for it). */
START_TEST(change_around_damage)
{
	static struct node_list l;
	struct model m = { 0 };
	const char *path = make_tree(&m, &l);
	const struct node_place *np = NULL;
	uint64_t seed = 700, lost = 0;
	struct tree_key behind;
	struct rebuild rb;
	struct cursor c;
	struct pool *p;
	struct txn t;

	for (size_t i = 0, leaves = 0; i < l.nr && leaves < 20; i++)
		if (l.v[i].level == 0 && ++leaves == 20)
			np = &l.v[i];
	behind = (struct tree_key){ np->last.hi, np->last.lo + 3 };
	flip(path, np->block * BLK_SIZE + 999, 1);
	p = open_damaged(path, &rb, &l);
	for (size_t i = 0; i < m.nr;) {
		struct tree_key key = m.items[i].key;

		if (!is_below(np, key)) {
			i++;
			continue;
		}
		must(txn_begin(p, &t, txn_credits(p, 4), 0) == 0);
		must(tree_delete(&t, key) == -EIO);
		must(tree_put(&t, key, "x", 1) == -EIO);
		must(tree_insert(&t, key, "x", 1) == -EIO);
		must(tree_touch(&t, key) == -EIO);
		txn_end(&t);
		model_delete(&m, key);
		lost++;
	}
	must(lost > 0);
	for (unsigned step = 0; step < 30000; step++) {
		struct tree_key key = item_key(unit_random(&seed) % 60, unit_random(&seed) % 300);

		if (tree_key_cmp(key, np->first) >= 0 && tree_key_cmp(key, behind) < 0)
			continue;
		if (step < 5000 && step % 2)
			put(p, &m, key, step, unit_random(&seed) % 300);
		else
			del(p, &m, key);
		if (step % 1000 == 0)
			commit(p);
	}
	while (m.nr > 0)
		del(p, &m, m.items[unit_random(&seed) % m.nr].key);
	commit(p);
	c = (struct cursor){ .m = &m, .stop_at = SIZE_MAX };
	must(tree_scan(p, first_key, last_key, visit, &c) == -EIO);
	must(c.next == 0);
	rb.damaged = 0;
	must(tree_walk(p, mark_or_note, &rb) == 0);
	must(rb.damaged == 1);
	must(rb.block == np->block);
	pool_close(p);
	free(m.items);
}
END_TEST

/* After tree_touch a change can't meet damage. */
START_TEST(touched_path_stays_good)
{
	static struct node_list l;
	struct model m = { 0 };
	const char *path = make_tree(&m, &l);
	struct tree_key key = m.items[3000].key;
	struct pool_options opt = { .domain = -1 };
	struct pool_error err;
	struct pool *p;
	struct txn t;

	p = unit_open(path);
	ck_assert_ok(txn_begin(p, &t, txn_credits(p, 6), 0));
	ck_assert_ok(tree_touch(&t, key));
	/* All nodes there were go bad now. */
	for (size_t i = 0; i < l.nr; i++)
		memset(pool_block(p, l.v[i].block), 0xff, BLK_SIZE);
	ck_assert_ok(tree_put(&t, key, "changed", 7));
	ck_assert_ok(tree_delete(&t, key));
	ck_assert_ok(tree_insert(&t, key, "again", 5));
	txn_end(&t);
	commit(p);
	pool_close(p);
	ck_assert_ok(pool_open(&p, path, &opt, &err));
	ck_assert_int_eq(tree_get(p, key, (uint8_t[8]){ 0 }, 8), 5);
	pool_close(p);
	free(m.items);
}
END_TEST

/* ---- trees whose checksums are right but that make no sense ---- */

/* Change the root node and make its and the root block's checksum right. */
static void
forge_root(struct pool *p, void (*change)(struct node_header *root, struct pool *p))
{
	struct root_block root, *slot;
	struct node_header *n;

	pool_root(p, &root);
	slot = (struct root_block *)pool_block(p, 0) + root.txn % ROOT_SLOTS;
	n = pool_block(p, root.tree[0].block);
	change(n, p);
	slot->tree[0].crc = crc32c(n, BLK_SIZE);
	slot->crc = crc32c_block_but(slot, offsetof(struct root_block, crc));
}

/* All of them concern the second child. */
static struct inner_slot *
second(struct node_header *n)
{
	return &inner_slots(n)[1];
}

static void
f_outside(struct node_header *n, struct pool *p)
{
	second(n)->child.block = pool_nblocks(p);
}

static void
f_huge(struct node_header *n, struct pool *p)
{
	(void)p;
	second(n)->child.block = UINT64_MAX;
}

static void
f_none(struct node_header *n, struct pool *p)
{
	(void)p;
	second(n)->child.block = PBLK_NONE;
}

static void
f_root_slot(struct node_header *n, struct pool *p)
{
	(void)p;
	second(n)->child.block = 1;
}

static void
f_itself(struct node_header *n, struct pool *p)
{
	(void)p;
	second(n)->child.block = n->block;
}

static void
f_twice(struct node_header *n, struct pool *p)
{
	(void)p;
	second(n)->child = second(n)[-1].child;
}

/* The second child is a node of the next but one level: the first leaf. */
static void
f_level(struct node_header *n, struct pool *p)
{
	const struct node_header *inner = pool_block(p, inner_slots(n)[0].child.block);

	second(n)->child = inner_slots(inner)[0].child;
}

static void
f_swapped(struct node_header *n, struct pool *p)
{
	struct node_ref ref = inner_slots(n)[0].child;

	(void)p;
	inner_slots(n)[0].child = second(n)->child;
	second(n)->child = ref;
}

static const struct {
	void (*make)(struct node_header *, struct pool *);
	unsigned damaged; /* nodes that the walk finds */
} forgeries[] = {
	{ f_outside, 1 }, { f_huge, 1 }, { f_none, 1 }, { f_root_slot, 1 }, { f_itself, 1 }, { f_twice, 1 },
	{ f_level, 1 }, { f_swapped, 2 },
};

START_TEST(forged_tree)
{
	static struct node_list l;
	struct model m = { 0 };
	const char *path = make_tree(&m, &l);
	struct pool *p = unit_open(path);
	uint8_t buf[ITEM_VALUE_MAX];
	unsigned good = 0, bad = 0;
	struct rebuild rb;

	forge_root(p, forgeries[_i].make);
	pool_close(p);
	p = open_damaged(path, &rb, &l);
	must(rb.damaged == forgeries[_i].damaged);
	for (int pass = 0; pass < 2; pass++) {
		for (size_t i = 0; i < m.nr; i++) {
			struct item *it = &m.items[i];
			ssize_t r = tree_get(p, it->key, buf, sizeof(buf));

			if (r < 0) {
				/* -ENOENT: reached before from where it belongs, so taken for checked. */
				must(r == -EIO || r == -ENOENT);
				bad++;
			} else {
				must(r == (ssize_t)it->len);
				must(memcmp(buf, value_of(it), it->len) == 0);
				good++;
			}
		}
	}
	must(bad > 0);
	if (forgeries[_i].make != f_swapped)
		must(good > 0);
	/* A scan ends, one way or another. */
	struct cursor c = { .m = &m, .stop_at = 0 };
	must(tree_scan(p, first_key, last_key, visit, &c) >= -EIO);
	for (size_t i = 0; i < m.nr; i++) {
		struct txn t;

		must(txn_begin(p, &t, txn_credits(p, 1), TXN_MUST) == 0);
		tree_delete(&t, m.items[i].key);
		txn_end(&t);
	}
	pool_close(p);
	free(m.items);
}
END_TEST

static void
r_txn(struct node_header *n, struct pool *p)
{
	(void)p;
	n->txn += 100;
}

static void
r_dirty(struct node_header *n, struct pool *p)
{
	(void)p;
	second(n)->child.flags = NODE_REF_DIRTY;
}

static void
r_level(struct node_header *n, struct pool *p)
{
	(void)p;
	n->level = NODE_LEVELS_MAX;
}

static void (*const root_forgeries[])(struct node_header *, struct pool *) = { r_txn, r_dirty, r_level };

START_TEST(forged_root)
{
	static struct node_list l;
	struct model m = { 0 };
	const char *path = make_tree(&m, &l);
	struct pool *p = unit_open(path);
	struct rebuild rb;
	uint8_t buf[8];
	struct txn t;

	forge_root(p, root_forgeries[_i]);
	pool_close(p);
	p = open_damaged(path, &rb, &l);
	ck_assert_uint_eq(rb.damaged, 1);
	ck_assert_err(tree_get(p, m.items[0].key, buf, sizeof(buf)), EIO);
	ck_assert_err(tree_scan(p, first_key, last_key, visit, NULL), EIO);
	ck_assert_err(tree_scan_back(p, first_key, last_key, visit, NULL), EIO);
	ck_assert_ok(txn_begin(p, &t, txn_credits(p, 1), 0));
	ck_assert_err(tree_put(&t, m.items[0].key, "", 0), EIO);
	ck_assert_err(tree_delete(&t, m.items[0].key), EIO);
	txn_end(&t);
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
	tcase_add_test(c, flipped_byte);
	tcase_add_test(c, change_around_damage);
	tcase_add_test(c, touched_path_stays_good);
	tcase_add_loop_test(c, forged_tree, 0, COUNT(forgeries));
	tcase_add_loop_test(c, forged_root, 0, COUNT(root_forgeries));
	suite_add_tcase(s, c);
	return unit_main(s);
}
