/* SPDX-License-Identifier: BSD-3-Clause */
/* The tree's readers: lookups, scans, the walk over all of it, and the sealing
 * of new nodes at commit. tree_change.c has the changes.
 *
 * Every reader goes down a struct path, which remembers for each level the node and
 * the child taken. It serves as a cursor: the next leaf is found by going up to the
 * first node that has one more child, and down again. And it says which keys may
 * be in a node: those between the separators to the left and to the right of the
 * way taken. A node is checked against that range, too, when it is touched first. So
 * no subtree can pass in a place where it does not belong, nor in two places; with
 * levels that count down to 0 this is why no way down or along ever becomes a loop.
 *
 * Lookups run while a commit closes the transaction, since closing only stores into
 * refs what lookups don't read (see path_load). tree_walk reads the committed tree,
 * which nobody changes; it keeps commits out, so that none of its blocks can be
 * freed under it.
 */
#include "pmem/tree.h"

#include <errno.h>
#include <string.h>

#include "pmem/crc.h"
#include "pmem/log.h"
#include "pmem/tree_i.h"

/* ---- reaching a node ---- */

const char *
path_node_check(struct pool *p, const struct path *path, int level, const struct node_ref *ref,
    uint64_t txn_max)
{
	struct node_expect x = { .block = ref->block, .crc = ref->crc, .level = level, .owner = p->node_owner,
		.txn_max = txn_max };
	struct tree_key low, high;

	if (!tree_block_ok(p, ref->block))
		return "its block number is outside the pool";
	if (ref->flags != 0)
		return "unknown flags on the reference";
	for (unsigned l = (unsigned)level + 1; level >= 0 && l < path->height; l++) {
		const struct node_header *n = path->at[l].node;
		unsigned idx = path->at[l].idx;

		if (!x.low && idx > 0) {
			low = inner_key(n, idx);
			x.low = &low;
		}
		if (!x.high && idx + 1 < n->nr) {
			high = inner_key(n, idx + 1);
			x.high = &high;
		}
	}
	return node_check(pool_addr(p, ref->block), &x);
}

int
path_load_slow(struct pool *p, const struct path *path, int level, const struct node_ref *ref, bool quiet,
    struct node_header **out)
{
	const char *why;

	if (tree_block_ok(p, ref->block) && pool_verified(p, ref->block))
		why = "wrong level"; /* reached before, from a place where it fits */
	else
		why = path_node_check(p, path, level, ref, p->txn_at_open);
	if (!why) {
		pool_set_verified(p, ref->block);
		*out = pool_addr(p, ref->block);
		return 0;
	}
	if (!quiet && level < 0)
		pinfs_log(LOG_ERR, "%s: root of the tree at block %llu: %s", p->path,
		    (unsigned long long)ref->block, why);
	else if (!quiet)
		pinfs_log(LOG_ERR, "%s: tree node at block %llu (level %d): %s", p->path,
		    (unsigned long long)ref->block, level, why);
	return -EIO;
}

/* Have the front of a child fetched, where a search in it is going to look: in parallel, instead of line
 * after line as the search gets there. */
static inline void
prefetch_child(const struct pool *p, const struct node_header *n, unsigned idx)
{
	pblk_t blk = inner_slots(n)[idx].child.block;
	const uint8_t *child;

	if (!tree_block_ok(p, blk))
		return;
	child = pool_addr(p, blk);
	for (unsigned off = 0; off < 1024; off += 128)
		__builtin_prefetch(child + off);
}

int
path_descend(struct pool *p, struct path *path, struct tree_key key)
{
	struct node_header *n;
	unsigned level;
	int r;

	path->height = 0;
	if (p->tree_root.block == PBLK_NONE)
		return 0;
	r = path_load(p, path, -1, &p->tree_root, false, &n);
	if (r < 0)
		return r;
	level = n->level;
	path->height = level + 1;
	for (;;) {
		path->at[level].node = n;
		if (level == 0)
			return 0;
		path->at[level].idx = inner_search(n, key);
		prefetch_child(p, n, path->at[level].idx);
		level--;
		r = path_load_child(p, path, level, false, &n);
		if (r < 0)
			return r;
	}
}

unsigned
tree_height(struct pool *p)
{
	unsigned height = __atomic_load_n(&p->tree_height, __ATOMIC_RELAXED);
	struct path path = { .height = 0 };
	struct node_header *n;

	if (height > 0)
		return height;
	rwl_rdlock(&p->tree_lock);
	if (p->tree_root.block != PBLK_NONE) {
		if (path_load(p, &path, -1, &p->tree_root, true, &n) == 0) {
			height = n->level + 1u;
			__atomic_store_n(&p->tree_height, height, __ATOMIC_RELAXED);
		} else {
			height = NODE_LEVELS_MAX;
		}
	}
	rwl_unlock(&p->tree_lock);
	return height;
}

/* ---- lookups ---- */

static inline ssize_t
leaf_get(struct pool *p, const struct node_header *leaf, struct tree_key key, void *buf, size_t size)
{
	bool found;
	unsigned i = leaf_search(leaf, key, &found);
	size_t len;

	if (!found)
		return -ENOENT;
	len = leaf_slots(leaf)[i].len;
	if (len > size) {
		pinfs_log(LOG_ERR, "%s: item %llx %llx in block %llu has %zu bytes, not at most %zu", p->path,
		    (unsigned long long)key.hi, (unsigned long long)key.lo, (unsigned long long)leaf->block,
		    len, size);
		return -EIO;
	}
	memcpy(buf, leaf_value(leaf, i), len);
	return (ssize_t)len;
}

ssize_t
tree_get(struct pool *p, struct tree_key key, void *buf, size_t size)
{
	struct path path;
	ssize_t r;

	rwl_rdlock(&p->tree_lock);
	r = path_descend(p, &path, key);
	if (r == 0)
		r = path.height > 0 ? leaf_get(p, path.at[0].node, key, buf, size) : -ENOENT;
	rwl_unlock(&p->tree_lock);
	return r;
}

/* Go down from at[level + 1], along the first or the last children. */
static int
path_descend_edge(struct pool *p, struct path *path, unsigned level, bool last)
{
	struct node_header *n;
	int r;

	for (;;) {
		r = path_load_child(p, path, level, false, &n);
		if (r < 0)
			return r;
		path->at[level].node = n;
		path->at[level].idx = last ? n->nr - 1u : 0;
		if (level == 0)
			return 1;
		level--;
	}
}

/* To the next leaf, if it may have keys up to `to`: 1, or 0 if there is none. A leaf behind
 * the range is not looked at, so damage there is no concern of the scan. */
static int
path_next(struct pool *p, struct path *path, struct tree_key to)
{
	unsigned l = 1;

	while (l < path->height && path->at[l].idx + 1 >= path->at[l].node->nr)
		l++;
	if (l >= path->height)
		return 0;
	path->at[l].idx++;
	if (tree_key_cmp(inner_key(path->at[l].node, path->at[l].idx), to) > 0)
		return 0;
	return path_descend_edge(p, path, l - 1, false);
}

/* To the leaf before, if it may have keys from `from` on. */
static int
path_prev(struct pool *p, struct path *path, struct tree_key from)
{
	unsigned l = 1;

	while (l < path->height && path->at[l].idx == 0)
		l++;
	if (l >= path->height)
		return 0;
	if (tree_key_cmp(inner_key(path->at[l].node, path->at[l].idx), from) <= 0)
		return 0;
	path->at[l].idx--;
	return path_descend_edge(p, path, l - 1, true);
}

int
tree_scan(struct pool *p, struct tree_key from, struct tree_key to, tree_visit_fn *fn, void *arg)
{
	struct path path;
	unsigned i = 0;
	bool found;
	int r;

	rwl_rdlock(&p->tree_lock);
	r = path_descend(p, &path, from);
	if (r < 0 || path.height == 0)
		goto out;
	i = leaf_search(path.at[0].node, from, &found);
	do {
		const struct node_header *leaf = path.at[0].node;

		if (path.height > 1 && path.at[1].idx + 1 < path.at[1].node->nr)
			prefetch_child(p, path.at[1].node, path.at[1].idx + 1);
		for (; i < leaf->nr; i++) {
			struct tree_key key = leaf_key(leaf, i);

			r = 0;
			if (tree_key_cmp(key, to) > 0)
				goto out;
			r = fn(arg, key, leaf_value(leaf, i), leaf_slots(leaf)[i].len);
			if (r != 0)
				goto out;
		}
		i = 0;
		r = path_next(p, &path, to);
	} while (r > 0);
out:
	rwl_unlock(&p->tree_lock);
	return r;
}

int
tree_scan_back(struct pool *p, struct tree_key from, struct tree_key to, tree_visit_fn *fn, void *arg)
{
	struct path path;
	unsigned i; /* one behind the item that comes next */
	bool found;
	int r;

	rwl_rdlock(&p->tree_lock);
	r = path_descend(p, &path, to);
	if (r < 0 || path.height == 0)
		goto out;
	i = leaf_search(path.at[0].node, to, &found);
	i += found;
	do {
		const struct node_header *leaf = path.at[0].node;

		for (; i > 0; i--) {
			struct tree_key key = leaf_key(leaf, i - 1);

			r = 0;
			if (tree_key_cmp(key, from) < 0)
				goto out;
			r = fn(arg, key, leaf_value(leaf, i - 1), leaf_slots(leaf)[i - 1].len);
			if (r != 0)
				goto out;
		}
		r = path_prev(p, &path, from);
		i = path.at[0].node->nr;
	} while (r > 0);
out:
	rwl_unlock(&p->tree_lock);
	return r;
}

/* ---- closing a transaction ---- */

static uint32_t
seal_node(struct pool *p, struct flush_set *fs, struct node_header *n)
{
	if (n->level > 0) {
		struct inner_slot *s = inner_slots(n);

		for (unsigned i = 0; i < n->nr; i++) {
			if (!(s[i].child.flags & NODE_REF_DIRTY))
				continue;
			s[i].child.crc = seal_node(p, fs, pool_addr(p, s[i].child.block));
			s[i].child.flags = 0;
		}
	}
	flush_set_add(fs, n->block, 1);
	return crc32c(n, BLK_SIZE);
}

void
tree_seal(struct pool *p, struct flush_set *fs)
{
	if (!(p->tree_root.flags & NODE_REF_DIRTY))
		return;
	p->tree_root.crc = seal_node(p, fs, pool_addr(p, p->tree_root.block));
	p->tree_root.flags = 0;
}

/* ---- the walk ---- */

struct walk {
	struct pool *p;
	uint64_t txn_max;
	tree_walk_fn *fn;
	void *arg;
	struct path path;
};

static int
walk_node(struct walk *w, int level, const struct node_ref *ref)
{
	struct tree_walk_node wn = { .block = ref->block, .level = level < 0 ? 0 : (unsigned)level };
	struct node_header *n;
	int r;

	wn.why = path_node_check(w->p, &w->path, level, ref, w->txn_max);
	if (wn.why) {
		wn.error = -EIO;
		return w->fn(w->arg, &wn);
	}
	pool_set_verified(w->p, ref->block);
	n = pool_addr(w->p, ref->block);
	wn.level = n->level;
	wn.node = n;
	r = w->fn(w->arg, &wn);
	if (r != 0 || n->level == 0)
		return r;
	if (level < 0)
		w->path.height = n->level + 1u;
	w->path.at[n->level].node = n;
	for (unsigned i = 0; i < n->nr && r == 0; i++) {
		w->path.at[n->level].idx = i;
		r = walk_node(w, n->level - 1, &inner_slots(n)[i].child);
	}
	return r;
}

int
tree_walk(struct pool *p, tree_walk_fn *fn, void *arg)
{
	struct walk w = { .p = p, .fn = fn, .arg = arg };
	struct node_ref root;
	int r = 0;

	txn_commit_lock(p);
	root = p->root.tree[0];
	w.txn_max = p->root.txn;
	if (root.block != PBLK_NONE)
		r = walk_node(&w, -1, &root);
	txn_commit_unlock(p);
	return r;
}

/* ---- a step of a scrub ---- */

/* The lowest key behind the node of level that the path leads to; false: nothing is behind it. */
static bool
path_behind(const struct path *path, unsigned level, struct tree_key *key)
{
	for (unsigned l = level + 1; l < path->height; l++) {
		if (path->at[l].idx + 1 >= path->at[l].node->nr)
			continue;
		*key = inner_key(path->at[l].node, path->at[l].idx + 1);
		return true;
	}
	return false;
}

/* Is the leaf that the path leads to the first one below level? */
static bool
path_is_first(const struct path *path, unsigned level)
{
	for (unsigned l = 1; l <= level; l++)
		if (path->at[l].idx > 0)
			return false;
	return true;
}

/* The node that ref names, checked: NULL, with why and what is behind it, if it is damaged. */
static struct node_header *
check_node(struct pool *p, const struct path *path, int level, const struct node_ref *ref, struct tree_walk_node *wn)
{
	*wn = (struct tree_walk_node){ .block = ref->block, .level = level < 0 ? 0 : (unsigned)level };
	if (!(ref->flags & NODE_REF_DIRTY))
		wn->why = path_node_check(p, path, level, ref, txn_open_number(p));
	if (!wn->why)
		return pool_addr(p, ref->block);
	wn->error = -EIO;
	if (tree_block_ok(p, ref->block))
		pool_clear_verified(p, ref->block);
	return NULL;
}

/* LOCK_TREE held, and no commit closes a transaction: which refs are dirty does not change. */
static int
check_next_locked(struct pool *p, struct tree_key *at, tree_walk_fn *fn, void *arg)
{
	struct tree_walk_node wn[NODE_LEVELS_MAX];
	const struct node_ref *ref = &p->tree_root;
	struct path path = { .height = 0 };
	struct tree_key key = *at;
	int level = -1, r = 0;
	bool more;

	if (ref->block == PBLK_NONE)
		return 0;
	do {
		struct tree_walk_node w;
		struct node_header *n = check_node(p, &path, level < 0 ? -1 : level - 1, ref, &w);

		if (!n) {
			more = path_behind(&path, w.level, at);
			r = fn(arg, &w);
			return r < 0 ? r : more;
		}
		if (level < 0)
			path.height = n->level + 1u;
		level = n->level;
		w.level = n->level;
		w.node = n;
		wn[level] = w;
		path.at[level].node = n;
		path.at[level].idx = level > 0 ? inner_search(n, key) : 0;
		if (level > 0)
			ref = &inner_slots(n)[path.at[level].idx].child;
	} while (level > 0);
	more = path_behind(&path, 0, at);
	for (unsigned l = path.height; l-- > 0 && r == 0;)
		if (path_is_first(&path, l))
			r = fn(arg, &wn[l]);
	return r < 0 ? r : more;
}

int
tree_check_next(struct pool *p, struct tree_key *at, tree_walk_fn *fn, void *arg)
{
	struct txn t;
	int r = p->readonly ? -EROFS : txn_begin(p, &t, 0, TXN_MUST), ret;

	/* Read-only there are no commits either. */
	if (r < 0 && r != -EROFS)
		return r;
	rwl_rdlock(&p->tree_lock);
	ret = check_next_locked(p, at, fn, arg);
	rwl_unlock(&p->tree_lock);
	if (r == 0)
		txn_end(&t);
	return ret;
}

unsigned
leaf_count(const struct node_header *leaf)
{
	return leaf->nr;
}

void
leaf_item(const struct node_header *leaf, unsigned i, struct tree_key *key, const void **value, size_t *len)
{
	*key = leaf_key(leaf, i);
	*value = leaf_value(leaf, i);
	*len = leaf_slots(leaf)[i].len;
}
