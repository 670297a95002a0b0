/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading a tree that has damaged nodes.
 *
 * The walk from the committed root takes a node for sound if node_check finds nothing: then
 * the CRC that its parent states vouches for it, and it is kept. Where a node is damaged there are
 * three cases.
 *
 *   A leaf that can still be told to be the one that was meant (its header names this pool, its own
 *   block, its level and a transaction that was committed): its slots are read one by one, and the
 *   items are given to the caller, who has to judge them.
 *   An inner node like that: each of its slots that names a child with the right CRC leads on
 *   as if nothing had happened.
 *   Any other: nothing can be said about what was in it. The current version of a leaf is lost with the
 *   leaf. But below an inner node there were others, which nothing leads to now.
 *
 * If an inner node was damaged, the pool is searched for leaves in the range of keys that it
 * covered. What is found may be the current version of a leaf, or one of the older ones that
 * changes have left behind: an unused block keeps what it held. They are told apart by this: at all times the
 * leaves of a tree don't overlap. So if two leaves overlap, the older one had been replaced by the time
 * the newer one was written, whatever became of that one. Hence each leaf is set
 * against everything newer: it stays if it overlaps none of it, accepted or not. Leaves that the tree
 * leads to come before all others. What remains is at worst a leaf all of whose items were deleted later, so
 * that deleted files may come back; the caller's checks have to find what does not fit then. Leaving
 * a leaf out on suspicion would be worse.
 *
 * Threads share the search; all else is done by the caller's thread. The pool is nobody else's, so
 * there are no locks but for the tree's, which the callees of salvage_rebuild expect.
 */
#include "pmem/salvage.h"

#include <bsd/sys/tree.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "pmem/crc.h"
#include "pmem/tree_i.h"

#define SEARCH_STEP ((uint64_t)16384) /* blocks: a thread's portion, 64 MiB */
#define SEARCH_THREADS_MAX 16u

/* Keys from low on, below high. */
struct range {
	struct tree_key low, high;
	bool bounded; /* high counts */
};

struct leaf {
	struct tree_key first, last;
	pblk_t block;
	uint64_t txn;
	uint32_t crc;
	uint16_t nr;
	bool vouched; /* the tree leads to it */
	bool dropped;
};

/* A leaf that is damaged, but readable in part. */
struct wreck {
	pblk_t block;
	struct range range;
};

struct array {
	void *data;
	size_t n, space, size;
};

struct salvage {
	struct pool *pool;
	uint64_t txn_max;
	struct array leaves;  /* struct leaf */
	struct array wrecks;  /* struct wreck */
	struct array holes;   /* struct range: where inner nodes are damaged */
	uint64_t *reached;    /* bits: blocks that the tree led to */
	struct salvage_stats stats;
};

static void *
array_add(struct array *a)
{
	if (a->n == a->space) {
		size_t space = a->space ? 2 * a->space : 64;
		void *grown = reallocarray(a->data, space, a->size);

		if (!grown)
			return NULL;
		a->data = grown;
		a->space = space;
	}
	return memset((char *)a->data + a->n++ * a->size, 0, a->size);
}

static bool
reached(const struct salvage *s, pblk_t b)
{
	return s->reached[b / 64] >> (b % 64) & 1;
}

static void
set_reached(struct salvage *s, pblk_t b)
{
	s->reached[b / 64] |= 1ull << (b % 64);
}

static bool
in_range(const struct range *r, struct tree_key key)
{
	return tree_key_cmp(key, r->low) >= 0 && (!r->bounded || tree_key_cmp(key, r->high) < 0);
}

/* ---- the walk ---- */

/* Is there, whatever its CRC, the node that is meant to be at this block? */
static bool
is_itself(const struct salvage *s, const struct node_header *n, pblk_t block, int level)
{
	return n->magic == NODE_MAGIC && n->owner == s->pool->node_owner && n->block == block &&
	    n->txn <= s->txn_max && n->level < NODE_LEVELS_MAX && (level < 0 || n->level == level);
}

static int
add_leaf(struct array *to, const struct node_header *n, uint32_t crc, bool vouched)
{
	struct leaf *l = array_add(to);

	if (!l)
		return -ENOMEM;
	*l = (struct leaf){ .first = leaf_key(n, 0), .last = leaf_key(n, n->nr - 1u), .block = n->block,
		.txn = n->txn, .crc = crc, .nr = n->nr, .vouched = vouched };
	return 0;
}

static int
add_hole(struct salvage *s, const struct range *range)
{
	struct range *r = array_add(&s->holes);

	if (!r)
		return -ENOMEM;
	*r = *range;
	return 0;
}

static int gather(struct salvage *s, const struct node_ref *ref, int level, const struct range *range);

static int
gather_children(struct salvage *s, const struct node_header *n, const struct range *range)
{
	int r = 0;

	for (unsigned i = 0; i < n->nr && r == 0; i++) {
		struct range below = *range;

		if (i > 0)
			below.low = inner_key(n, i);
		if (i + 1u < n->nr) {
			below.high = inner_key(n, i + 1);
			below.bounded = true;
		}
		r = gather(s, &inner_slots(n)[i].child, n->level - 1, &below);
	}
	return r;
}

static int
gather_damaged(struct salvage *s, pblk_t block, int level, const struct range *range)
{
	const struct node_header *n;
	struct wreck *w;
	int r = 0;

	s->stats.damaged++;
	n = tree_block_ok(s->pool, block) && !reached(s, block) ? pool_addr(s->pool, block) : NULL;
	if (!n || !is_itself(s, n, block, level)) {
		s->stats.lost++;
		return level == 0 ? 0 : add_hole(s, range);
	}
	set_reached(s, block);
	if (n->level == 0) {
		w = array_add(&s->wrecks);
		if (!w)
			return -ENOMEM;
		*w = (struct wreck){ block, *range };
		return 0;
	}
	r = add_hole(s, range);
	for (unsigned i = 0; i < min_of(n->nr, INNER_SLOTS_MAX) && r == 0; i++) {
		const struct node_ref *ref = &inner_slots(n)[i].child;
		struct node_expect x = { .block = ref->block, .crc = ref->crc, .level = n->level - 1,
			.owner = s->pool->node_owner, .txn_max = s->txn_max, .low = &range->low,
			.high = range->bounded ? &range->high : NULL };

		/* What such a slot can't vouch for is left to the search. */
		if (tree_block_ok(s->pool, ref->block) && !reached(s, ref->block) &&
		    (!node_check(pool_addr(s->pool, ref->block), &x) ||
		    is_itself(s, pool_addr(s->pool, ref->block), ref->block, n->level - 1)))
			r = gather(s, ref, n->level - 1, range);
	}
	return r;
}

static int
gather(struct salvage *s, const struct node_ref *ref, int level, const struct range *range)
{
	struct node_expect x = { .block = ref->block, .crc = ref->crc, .level = level, .owner = s->pool->node_owner,
		.txn_max = s->txn_max, .low = &range->low, .high = range->bounded ? &range->high : NULL };
	const struct node_header *n;

	if (ref->flags != 0 || !tree_block_ok(s->pool, ref->block) || reached(s, ref->block))
		return gather_damaged(s, ref->block, level, range);
	n = pool_addr(s->pool, ref->block);
	if (node_check(n, &x))
		return gather_damaged(s, ref->block, level, range);
	set_reached(s, ref->block);
	if (n->level > 0)
		return gather_children(s, n, range);
	s->stats.kept++;
	return add_leaf(&s->leaves, n, ref->crc, true);
}

/* ---- the search ---- */

struct search {
	struct salvage *s;
	uint64_t next;        /* atomic; block */
	uint64_t done;        /* atomic; blocks */
	int error;            /* P: lock */
	bool stop;            /* atomic */
	unsigned running;     /* P: lock */
	pthread_mutex_t lock; /* and s->leaves */
	pthread_cond_t ended;
};

static int
search_block(struct search *q, pblk_t b)
{
	struct salvage *s = q->s;
	const struct node_header *n = pool_addr(s->pool, b);
	struct node_expect x = { .block = b, .owner = s->pool->node_owner, .txn_max = s->txn_max };
	int r;

	if (n->magic != NODE_MAGIC || !is_itself(s, n, b, 0) || reached(s, b))
		return 0;
	x.crc = crc32c(n, BLK_SIZE);
	if (node_check(n, &x))
		return 0;
	for (size_t i = 0; i < s->holes.n; i++) {
		const struct range *hole = (struct range *)s->holes.data + i;

		if (!in_range(hole, leaf_key(n, 0)) || !in_range(hole, leaf_key(n, n->nr - 1u)))
			continue;
		pthread_mutex_lock(&q->lock);
		r = add_leaf(&s->leaves, n, x.crc, false);
		pthread_mutex_unlock(&q->lock);
		return r;
	}
	return 0;
}

static void *
search_thread(void *arg)
{
	struct search *q = arg;
	uint64_t end = q->s->pool->nblocks;
	int r = 0;

	while (r == 0 && !__atomic_load_n(&q->stop, __ATOMIC_RELAXED)) {
		uint64_t from = __atomic_fetch_add(&q->next, SEARCH_STEP, __ATOMIC_RELAXED);
		uint64_t to = min_of(from + SEARCH_STEP, end);

		if (from >= end)
			break;
		for (pblk_t b = from; b < to && r == 0; b++)
			r = search_block(q, b);
		__atomic_fetch_add(&q->done, to - from, __ATOMIC_RELAXED);
	}
	pthread_mutex_lock(&q->lock);
	if (r < 0)
		q->error = r;
	q->running--;
	pthread_cond_signal(&q->ended);
	pthread_mutex_unlock(&q->lock);
	return NULL;
}

static void
search_look_on(struct search *q, int (*progress)(void *arg, uint64_t done, uint64_t total), void *arg)
{
	pthread_mutex_lock(&q->lock);
	while (q->running > 0) {
		struct timespec until;

		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec++;
		pthread_cond_timedwait(&q->ended, &q->lock, &until);
		if (!progress || q->error)
			continue;
		pthread_mutex_unlock(&q->lock);
		if (progress(arg, __atomic_load_n(&q->done, __ATOMIC_RELAXED), q->s->pool->nblocks)) {
			__atomic_store_n(&q->stop, true, __ATOMIC_RELAXED);
			pthread_mutex_lock(&q->lock);
			q->error = -ECANCELED;
		} else {
			pthread_mutex_lock(&q->lock);
		}
	}
	pthread_mutex_unlock(&q->lock);
}

static int
search(struct salvage *s, int (*progress)(void *arg, uint64_t done, uint64_t total), void *arg)
{
	struct search q = { .s = s, .next = POOL_FIRST_BLOCK };
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	uint64_t steps = s->pool->nblocks / SEARCH_STEP + 1;
	unsigned want = (unsigned)min_of((uint64_t)(cpus > 1 ? cpus : 1), min_of(steps, SEARCH_THREADS_MAX)), n = 0;
	pthread_t thread[SEARCH_THREADS_MAX];

	pthread_mutex_init(&q.lock, NULL);
	pthread_cond_init(&q.ended, NULL);
	pthread_mutex_lock(&q.lock);
	while (n < want && pthread_create(&thread[n], NULL, search_thread, &q) == 0)
		n++;
	q.running = n > 0 ? n : 1;
	pthread_mutex_unlock(&q.lock);
	if (n == 0)
		search_thread(&q);
	search_look_on(&q, progress, arg);
	for (unsigned i = 0; i < n; i++)
		pthread_join(thread[i], NULL);
	pthread_cond_destroy(&q.ended);
	pthread_mutex_destroy(&q.lock);
	return q.error;
}

/* ---- the choice ---- */

/* Keys that something newer has covered, overlapping ones joined. */
struct cover {
	RB_ENTRY(cover) node;
	struct tree_key first, last;
};
RB_HEAD(cover_tree, cover);

/* Overlapping ranges compare as equal. */
static int
cover_cmp(struct cover *a, struct cover *b)
{
	if (tree_key_cmp(a->last, b->first) < 0)
		return -1;
	return tree_key_cmp(a->first, b->last) > 0;
}

RB_GENERATE_INTERNAL(cover_tree, cover, node, cover_cmp, __attribute__((unused)) static)

/* Was any of it covered? Now it is. */
static int
cover_add(struct cover_tree *t, struct tree_key first, struct tree_key last, bool *was)
{
	struct cover *c = malloc(sizeof(*c)), *old;

	if (!c)
		return -ENOMEM;
	*c = (struct cover){ .first = first, .last = last };
	*was = false;
	while ((old = RB_INSERT(cover_tree, t, c)) != NULL) {
		*was = true;
		RB_REMOVE(cover_tree, t, old);
		if (tree_key_cmp(old->first, c->first) < 0)
			c->first = old->first;
		if (tree_key_cmp(old->last, c->last) > 0)
			c->last = old->last;
		free(old);
	}
	return 0;
}

static void
cover_free(struct cover_tree *t)
{
	struct cover *c;

	while ((c = RB_ROOT(t)) != NULL) {
		RB_REMOVE(cover_tree, t, c);
		free(c);
	}
}

/* Those that the tree leads to first, then the newest. Two of one transaction overlap if one was
 * merged with its neighbour: the larger one has the items of both. */
static int
leaf_newer(const void *a, const void *b)
{
	const struct leaf *x = a, *y = b;

	if (x->vouched != y->vouched)
		return x->vouched ? -1 : 1;
	if (x->txn != y->txn)
		return x->txn > y->txn ? -1 : 1;
	if (x->nr != y->nr)
		return x->nr > y->nr ? -1 : 1;
	return x->block < y->block ? -1 : x->block > y->block;
}

static int
leaf_before(const void *a, const void *b)
{
	const struct leaf *x = a, *y = b;

	if (x->dropped != y->dropped)
		return x->dropped ? 1 : -1;
	return tree_key_cmp(x->first, y->first);
}

/* NULL: the slot is no good. */
static const void *
wreck_item(const struct wreck *w, const struct node_header *n, unsigned i, struct tree_key *key, size_t *len)
{
	const struct leaf_slot *slot = &leaf_slots(n)[i];

	*key = leaf_key(n, i);
	*len = slot->len;
	if (!in_range(&w->range, *key) || slot->len > ITEM_VALUE_MAX || slot->reserved != 0)
		return NULL;
	if (slot->len == 0)
		return n;
	if (slot->off < sizeof(*n) + (i + 1) * sizeof(*slot) || slot->off + slot->len > BLK_SIZE)
		return NULL;
	return (const uint8_t *)n + slot->off;
}

static unsigned
wreck_slots(const struct node_header *n)
{
	return min_of(n->nr, (unsigned)(NODE_SPACE / sizeof(struct leaf_slot)));
}

/* A leaf that is damaged was there, so nothing older is current where its items are. */
static int
cover_wrecks(const struct salvage *s, struct cover_tree *t)
{
	int r = 0;

	for (size_t k = 0; k < s->wrecks.n && r == 0; k++) {
		const struct wreck *w = (struct wreck *)s->wrecks.data + k;
		const struct node_header *n = pool_addr(s->pool, w->block);
		struct tree_key key;
		size_t len;
		bool was;

		for (unsigned i = 0; i < wreck_slots(n) && r == 0; i++)
			if (wreck_item(w, n, i, &key, &len))
				r = cover_add(t, key, key, &was);
	}
	return r;
}

static int
choose(struct salvage *s)
{
	struct cover_tree covered = RB_INITIALIZER(&covered);
	struct leaf *leaf = s->leaves.data;
	size_t n = s->leaves.n, kept = 0, i = 0;
	int r = 0;

	if (n == 0)
		return 0;
	qsort(leaf, n, sizeof(*leaf), leaf_newer);
	for (; i < n && leaf[i].vouched && r == 0; i++)
		r = cover_add(&covered, leaf[i].first, leaf[i].last, &leaf[i].dropped);
	if (r == 0)
		r = cover_wrecks(s, &covered);
	for (; i < n && r == 0; i++) {
		r = cover_add(&covered, leaf[i].first, leaf[i].last, &leaf[i].dropped);
		s->stats.found += !leaf[i].dropped;
	}
	cover_free(&covered);
	if (r < 0)
		return r;
	qsort(leaf, n, sizeof(*leaf), leaf_before);
	while (kept < n && !leaf[kept].dropped)
		kept++;
	s->leaves.n = kept;
	return 0;
}

/* ---- what the caller sees ---- */

int
salvage_gather(struct pool *p, int (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
    struct salvage **out, struct salvage_stats *stats)
{
	struct salvage *s = calloc(1, sizeof(*s));
	struct range all = { .bounded = false };
	int r = 0;

	if (!s)
		return -ENOMEM;
	s->pool = p;
	s->txn_max = p->root.txn;
	s->leaves.size = sizeof(struct leaf);
	s->wrecks.size = sizeof(struct wreck);
	s->holes.size = sizeof(struct range);
	s->reached = calloc(p->nblocks / 64 + 1, sizeof(*s->reached));
	if (!s->reached)
		r = -ENOMEM;
	else if (p->root.tree[0].block != PBLK_NONE)
		r = gather(s, &p->root.tree[0], -1, &all);
	if (r == 0 && s->holes.n > 0)
		r = search(s, progress, arg);
	if (r == 0)
		r = choose(s);
	if (r < 0) {
		salvage_free(s);
		return r;
	}
	*stats = s->stats;
	*out = s;
	return 0;
}

void
salvage_free(struct salvage *s)
{
	if (!s)
		return;
	free(s->leaves.data);
	free(s->wrecks.data);
	free(s->holes.data);
	free(s->reached);
	free(s);
}

size_t
salvage_leaves(const struct salvage *s)
{
	return s->leaves.n;
}

pblk_t
salvage_leaf(const struct salvage *s, size_t n)
{
	return ((struct leaf *)s->leaves.data)[n].block;
}

int
salvage_blocks(const struct salvage *s, int (*fn)(void *arg, pblk_t block), void *arg)
{
	int r = 0;

	for (pblk_t b = POOL_FIRST_BLOCK; b < s->pool->nblocks && r == 0; b++)
		if (reached(s, b))
			r = fn(arg, b);
	for (size_t i = 0; i < s->leaves.n && r == 0; i++)
		r = fn(arg, salvage_leaf(s, i));
	return r;
}

int
salvage_items(const struct salvage *s, tree_visit_fn *fn, void *arg)
{
	int r = 0;

	for (size_t k = 0; k < s->wrecks.n && r == 0; k++) {
		const struct wreck *w = (struct wreck *)s->wrecks.data + k;
		const struct node_header *n = pool_addr(s->pool, w->block);

		for (unsigned i = 0; i < wreck_slots(n) && r == 0; i++) {
			struct tree_key key;
			const void *value;
			size_t len;

			value = wreck_item(w, n, i, &key, &len);
			if (value)
				r = fn(arg, key, value, len);
		}
	}
	return r;
}

/* ---- the new tree ---- */

uint64_t
salvage_credits(const struct salvage *s)
{
	return s->leaves.n / (INNER_SLOTS_MAX - 1) + 2 * NODE_LEVELS_MAX;
}

/* One level above the n refs; they become those of the new nodes. */
static int
build_level(struct txn *t, struct inner_slot *ref, size_t *n, unsigned level)
{
	size_t nodes = (*n + INNER_SLOTS_MAX - 1) / INNER_SLOTS_MAX, at = 0;

	for (size_t k = 0; k < nodes; k++) {
		size_t nr = (*n - at) / (nodes - k); /* as alike as can be */
		struct inner_slot first = ref[at];
		struct node_header *node;
		pblk_t blk;
		int r = txn_nodes_new(t, 1, &blk);

		if (r < 0)
			return r;
		node = pool_addr(t->pool, blk);
		node_init(node, blk, level, t->number, t->pool->node_owner);
		memcpy(inner_slots(node), ref + at, nr * sizeof(*ref));
		node->nr = (uint16_t)nr;
		at += nr;
		first.child = (struct node_ref){ .block = blk, .flags = NODE_REF_DIRTY };
		ref[k] = first;
	}
	*n = nodes;
	return 0;
}

int
salvage_rebuild(struct txn *t, const struct salvage *s)
{
	struct inner_slot *ref = calloc(s->leaves.n + 1, sizeof(*ref));
	const struct leaf *leaf = s->leaves.data;
	struct pool *p = t->pool;
	size_t n = s->leaves.n;
	unsigned level = 0;
	int r = 0;

	if (!ref)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		ref[i] = (struct inner_slot){ leaf[i].first.hi, leaf[i].first.lo,
			{ .block = leaf[i].block, .crc = leaf[i].crc } };
	rwl_wrlock(&p->tree_lock);
	while (n > 1 && r == 0)
		r = ++level < NODE_LEVELS_MAX ? build_level(t, ref, &n, level) : -EFBIG;
	if (r == 0) {
		p->tree_root = n > 0 ? ref[0].child : (struct node_ref){ .block = PBLK_NONE };
		__atomic_store_n(&p->tree_height, n > 0 ? level + 1 : 0, __ATOMIC_RELAXED);
	}
	rwl_unlock(&p->tree_lock);
	free(ref);
	return r;
}
