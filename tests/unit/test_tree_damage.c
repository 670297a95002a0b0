/* SPDX-License-Identifier: BSD-3-Clause */
/* Damaged trees: bytes that changed, and nodes whose checksums are right but that make no sense. */
#include "tests/unit/unit_tree.h"

#include <fcntl.h>
#include <unistd.h>

#include "pmem/crc.h"
#include "pmem/node.h"

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
	Suite *s = suite_create("tree_damage");
	TCase *c = tcase_create("tree_damage");

	tcase_add_checked_fixture(c, setup, NULL);
	tcase_add_test(c, flipped_byte);
	tcase_add_test(c, change_around_damage);
	tcase_add_test(c, touched_path_stays_good);
	tcase_add_loop_test(c, forged_tree, 0, COUNT(forgeries));
	tcase_add_loop_test(c, forged_root, 0, COUNT(root_forgeries));
	suite_add_tcase(s, c);
	return unit_main(s);
}
