/* SPDX-License-Identifier: BSD-3-Clause */
/* The tree's writers.
 *
 * Each change has three steps, so that it can't stop half-way:
 *
 *   1. Look: go down to the leaf, loading every node that will be needed (a sibling
 *      to merge with, too), and find out what has to be done and how many new nodes
 *      that takes. Damage ends here, with -EIO; a damaged sibling is only passed over.
 *   2. Get the blocks for the new nodes, all or none (struct spare).
 *   3. Do it: copy the nodes of the path that belong to an earlier transaction, top
 *      down, then change leaf and parents bottom up. Nothing in this step can fail.
 *
 * A node whose header names the open transaction is changed in place; its parents
 * name the open transaction, too, for the ref to it changed when it was made. So the
 * nodes of a path that have to be copied are always the lower ones.
 *
 * Space in nodes. A deletion that leaves a node less than half full has it take in
 * a neighbour under the same parent if both fit; an empty node goes. So of two
 * neighbours one is at least half full (unless values shrank, or damage is beside).
 * Where keys come in order full nodes are left behind: a split at the end of a node,
 * or of an object's items, moves nothing (node.c). An item behind the last one of a
 * full leaf goes into the next leaf if that has room; else keys that come there in
 * descending order would each start a leaf.
 */
#include "pmem/tree.h"

#include <errno.h>
#include <string.h>

#include "pmem/log.h"
#include "pmem/tree_i.h"

/* Neighbours are merged if the result leaves some room: else the next insertion would split them again. */
#define MERGE_BYTES (NODE_SPACE * 7 / 8)
#define MERGE_SLOTS (INNER_SLOTS_MAX * 7 / 8)

/* Blocks of the new nodes of one change: a copy of the whole path, a sibling or a split
 * on every level, and a root. */
struct spare {
	pblk_t blk[2 * NODE_LEVELS_MAX + 1];
	unsigned next;
};

static int
spare_get(struct spare *s, struct txn *t, unsigned n)
{
	s->next = 0;
	return txn_nodes_new(t, n, s->blk);
}

/* The next one, as an empty node. */
static struct node_header *
spare_node(struct spare *s, struct txn *t, unsigned level)
{
	pblk_t blk = s->blk[s->next++];
	struct node_header *n = pool_addr(t->pool, blk);

	node_init(n, blk, level, t->number, t->pool->node_owner);
	return n;
}

static bool
node_is_new(const struct txn *t, const struct node_header *n)
{
	return n->txn == t->number;
}

/* How many nodes of the path, from level up, have to be copied. */
static unsigned
path_count_old(const struct txn *t, const struct path *path, unsigned level)
{
	unsigned n = 0;

	for (unsigned l = level; l < path->height && !node_is_new(t, path->at[l].node); l++)
		n++;
	return n;
}

/* The copy of n in the open transaction, which may be n. ref, which lies in a node of the open
 * transaction, follows. */
static struct node_header *
node_copy(struct txn *t, struct spare *spare, struct node_ref *ref, struct node_header *n)
{
	struct node_header *copy;
	pblk_t blk;

	if (node_is_new(t, n))
		return n;
	blk = spare->blk[spare->next++];
	copy = pool_addr(t->pool, blk);
	memcpy(copy, n, BLK_SIZE);
	copy->block = blk;
	copy->txn = t->number;
	*ref = (struct node_ref){ .block = blk, .flags = NODE_REF_DIRTY };
	txn_node_free(t, n->block);
	return copy;
}

/* The ref by which at[level] was reached. */
static struct node_ref *
path_ref(struct pool *p, struct path *path, unsigned level)
{
	if (level + 1 == path->height)
		return &p->tree_root;
	return &inner_slots(path->at[level + 1].node)[path->at[level + 1].idx].child;
}

static void
path_copy(struct txn *t, struct spare *spare, struct path *path, unsigned level)
{
	for (unsigned l = path->height; l-- > level;)
		path->at[l].node = node_copy(t, spare, path_ref(t->pool, path, l), path->at[l].node);
}

static void
tree_set_height(struct pool *p, unsigned height)
{
	__atomic_store_n(&p->tree_height, height, __ATOMIC_RELAXED);
}

/* ---- insertion ---- */

/* New nodes that splitting the leaf takes: one for each level that is full, and a
 * root if all are. 0: the tree can't grow any more. */
static unsigned
count_splits(const struct path *path)
{
	unsigned n = 1, l = 1;

	while (l < path->height && path->at[l].node->nr == INNER_SLOTS_MAX) {
		l++;
		n++;
	}
	if (l < path->height)
		return n;
	return path->height < NODE_LEVELS_MAX ? n + 1 : 0;
}

/* at[0] was split, right lies behind it: tell the parents. */
static void
insert_right(struct txn *t, struct spare *spare, struct path *path, struct node_header *right)
{
	struct pool *p = t->pool;
	struct tree_key sep = leaf_key(right, 0);
	struct node_ref ref = { .block = right->block, .flags = NODE_REF_DIRTY };
	struct node_header *root;

	for (unsigned l = 1; l < path->height; l++) {
		struct node_header *n = path->at[l].node;
		unsigned pos = path->at[l].idx + 1;

		if (n->nr < INNER_SLOTS_MAX) {
			inner_insert(n, pos, sep, &ref);
			return;
		}
		right = spare_node(spare, t, l);
		inner_split(n, right, pos, sep, &ref);
		sep = inner_key(right, 0);
		ref.block = right->block;
	}
	root = spare_node(spare, t, path->height);
	inner_insert(root, 0, (struct tree_key){ 0, 0 }, &p->tree_root);
	inner_insert(root, 1, sep, &ref);
	p->tree_root = (struct node_ref){ .block = root->block, .flags = NODE_REF_DIRTY };
	tree_set_height(p, path->height + 1);
}

static int
insert_first(struct txn *t, struct tree_key key, const void *value, size_t len)
{
	struct pool *p = t->pool;
	struct node_header *leaf;
	struct spare spare;
	int r;

	r = spare_get(&spare, t, 1);
	if (r < 0)
		return r;
	leaf = spare_node(&spare, t, 0);
	leaf_insert(leaf, 0, key, value, len);
	p->tree_root = (struct node_ref){ .block = leaf->block, .flags = NODE_REF_DIRTY };
	tree_set_height(p, 1);
	return 0;
}

/* The next leaf under the same parent, if an item of len bytes fits in. */
static struct node_header *
next_leaf_with_room(struct pool *p, struct path *path, size_t len)
{
	struct node_header *n;
	int r;

	if (path->height < 2 || path->at[1].idx + 1 >= path->at[1].node->nr)
		return NULL;
	path->at[1].idx++;
	r = path_load_child(p, path, 0, true, &n);
	path->at[1].idx--;
	return r == 0 && leaf_room(n) >= leaf_item_bytes(len) ? n : NULL;
}

/* The item does not fit in its leaf; pos is the end of the leaf, and next comes behind it. */
static int
insert_into_next(struct txn *t, struct path *path, struct node_header *next, struct tree_key key,
    const void *value, size_t len)
{
	struct inner_slot *slot;
	struct spare spare;
	int r;

	r = spare_get(&spare, t, path_count_old(t, path, 1) + !node_is_new(t, next));
	if (r < 0)
		return r;
	path_copy(t, &spare, path, 1);
	slot = inner_slots(path->at[1].node) + path->at[1].idx + 1;
	next = node_copy(t, &spare, &slot->child, next);
	slot->hi = key.hi;
	slot->lo = key.lo;
	leaf_insert(next, 0, key, value, len);
	return 0;
}

static int
insert_by_split(struct txn *t, struct path *path, bool found, struct tree_key key, const void *value,
    size_t len)
{
	unsigned pos = path->at[0].idx, splits = count_splits(path);
	struct node_header *leaf, *right;
	struct spare spare;
	int r;

	if (splits == 0) {
		pinfs_log(LOG_ERR, "%s: the tree has reached its greatest height", t->pool->path);
		return -EIO;
	}
	r = spare_get(&spare, t, path_count_old(t, path, 0) + splits);
	if (r < 0)
		return r;
	path_copy(t, &spare, path, 0);
	leaf = path->at[0].node;
	if (found)
		leaf_remove(leaf, pos);
	right = spare_node(&spare, t, 0);
	leaf_split(leaf, right, pos, key, value, len);
	insert_right(t, &spare, path, right);
	return 0;
}

static int
upsert_locked(struct txn *t, struct tree_key key, const void *value, size_t len, bool replace)
{
	struct node_header *leaf, *next;
	struct spare spare;
	struct path path;
	size_t need;
	unsigned pos;
	bool found;
	int r;

	r = path_descend(t->pool, &path, key);
	if (r < 0)
		return r;
	if (path.height == 0)
		return insert_first(t, key, value, len);
	leaf = path.at[0].node;
	pos = path.at[0].idx = leaf_search(leaf, key, &found);
	if (found && !replace)
		return -EEXIST;
	need = leaf_item_bytes(len);
	if (found)
		need -= min_of(need, leaf_item_bytes(leaf_slots(leaf)[pos].len));
	if (need > leaf_room(leaf)) {
		next = !found && pos == leaf->nr ? next_leaf_with_room(t->pool, &path, len) : NULL;
		if (next)
			return insert_into_next(t, &path, next, key, value, len);
		return insert_by_split(t, &path, found, key, value, len);
	}
	r = spare_get(&spare, t, path_count_old(t, &path, 0));
	if (r < 0)
		return r;
	path_copy(t, &spare, &path, 0);
	if (found)
		leaf_replace(path.at[0].node, pos, value, len);
	else
		leaf_insert(path.at[0].node, pos, key, value, len);
	return 0;
}

static int
upsert(struct txn *t, struct tree_key key, const void *value, size_t len, bool replace)
{
	int r;

	if (len > ITEM_VALUE_MAX)
		return -EINVAL;
	rwl_wrlock(&t->pool->tree_lock);
	r = upsert_locked(t, key, value, len, replace);
	rwl_unlock(&t->pool->tree_lock);
	t->changes += r == 0;
	return r;
}

int
tree_insert(struct txn *t, struct tree_key key, const void *value, size_t len)
{
	return upsert(t, key, value, len, false);
}

int
tree_put(struct txn *t, struct tree_key key, const void *value, size_t len)
{
	return upsert(t, key, value, len, true);
}

int
tree_touch(struct txn *t, struct tree_key key)
{
	struct pool *p = t->pool;
	struct spare spare;
	struct path path;
	int r;

	rwl_wrlock(&p->tree_lock);
	r = path_descend(p, &path, key);
	if (r == 0)
		r = spare_get(&spare, t, path_count_old(t, &path, 0));
	if (r == 0)
		path_copy(t, &spare, &path, 0);
	rwl_unlock(&p->tree_lock);
	return r;
}

/* ---- deletion ---- */

/* What becomes of the node of a level once an item or a child is gone from it. */
enum fate { FATE_STAYS, FATE_GOES, FATE_TAKES_LEFT, FATE_TAKES_RIGHT };

struct removal {
	enum fate fate[NODE_LEVELS_MAX];
	struct node_header *sibling[NODE_LEVELS_MAX]; /* that is taken in */
	unsigned top; /* the last level that loses something */
};

/* The neighbour at idx + step of the node of level, if both fit in one node. */
static struct node_header *
mergeable_sibling(struct pool *p, struct path *path, unsigned level, int step, size_t used)
{
	const struct node_header *parent = path->at[level + 1].node;
	unsigned idx = path->at[level + 1].idx;
	struct node_header *n;
	int r;

	if (step < 0 ? idx == 0 : idx + 1 >= parent->nr)
		return NULL;
	path->at[level + 1].idx = idx + (unsigned)step;
	r = path_load_child(p, path, level, true, &n);
	path->at[level + 1].idx = idx;
	if (r < 0)
		return NULL;
	if (level == 0)
		return used + leaf_used(n) <= MERGE_BYTES ? n : NULL;
	return used + n->nr <= MERGE_SLOTS ? n : NULL;
}

/* used: bytes of a leaf, slots of an inner node, that will be left on this level. */
static enum fate
plan_level(struct pool *p, struct path *path, unsigned level, size_t used, struct node_header **sibling)
{
	size_t full = level == 0 ? NODE_SPACE : INNER_SLOTS_MAX;

	if (used == 0)
		return FATE_GOES;
	if (level + 1 == path->height || used >= full / 2)
		return FATE_STAYS;
	*sibling = mergeable_sibling(p, path, level, -1, used);
	if (*sibling)
		return FATE_TAKES_LEFT;
	*sibling = mergeable_sibling(p, path, level, 1, used);
	return *sibling ? FATE_TAKES_RIGHT : FATE_STAYS;
}

static void
plan_removal(struct pool *p, struct path *path, struct removal *rm)
{
	const struct node_header *leaf = path->at[0].node;
	size_t used = leaf_used(leaf) - leaf_item_bytes(leaf_slots(leaf)[path->at[0].idx].len);

	for (unsigned l = 0;; l++) {
		rm->top = l;
		rm->fate[l] = plan_level(p, path, l, used, &rm->sibling[l]);
		if (rm->fate[l] == FATE_STAYS || l + 1 == path->height)
			return;
		used = path->at[l + 1].node->nr - 1u;
	}
}

/* The node of level takes in its sibling; the parent's slots are put right. */
static void
merge_level(struct txn *t, struct path *path, unsigned level, enum fate fate,
    const struct node_header *sibling)
{
	struct node_header *n = path->at[level].node, *parent = path->at[level + 1].node;
	unsigned idx = path->at[level + 1].idx;
	unsigned right = fate == FATE_TAKES_RIGHT ? idx + 1 : idx; /* slot of the right one of the two */
	struct tree_key sep = inner_key(parent, right);

	if (level == 0 && fate == FATE_TAKES_RIGHT)
		leaf_merge_right(n, sibling);
	else if (level == 0)
		leaf_merge_left(n, sibling);
	else if (fate == FATE_TAKES_RIGHT)
		inner_merge_right(n, sibling, sep);
	else
		inner_merge_left(n, sibling, sep);
	/* One slot remains, with the key of the left one and n as the child. */
	inner_slots(parent)[right - 1].child = inner_slots(parent)[idx].child;
	inner_remove(parent, right);
	txn_node_free(t, sibling->block);
}

/* A root with a single child is no use. Not if the child is damaged: its level would not be told then. */
static void
collapse_root(struct txn *t)
{
	struct pool *p = t->pool;
	struct path path;

	for (;;) {
		struct node_header *root = pool_addr(p, p->tree_root.block), *child;

		if (root->level == 0 || root->nr > 1)
			return;
		path.height = root->level + 1u;
		path.at[root->level].node = root;
		path.at[root->level].idx = 0;
		if (path_load_child(p, &path, root->level - 1u, true, &child) < 0)
			return;
		p->tree_root = inner_slots(root)[0].child;
		tree_set_height(p, child->level + 1u);
		txn_node_free(t, root->block);
	}
}

static void
apply_removal(struct txn *t, struct path *path, const struct removal *rm)
{
	struct pool *p = t->pool;

	if (rm->fate[0] != FATE_GOES)
		leaf_remove(path->at[0].node, path->at[0].idx);
	for (unsigned l = 0; l <= rm->top; l++) {
		switch (rm->fate[l]) {
		case FATE_STAYS:
			break;
		case FATE_GOES:
			txn_node_free(t, path->at[l].node->block);
			if (l + 1 < path->height && rm->fate[l + 1] != FATE_GOES)
				inner_remove(path->at[l + 1].node, path->at[l + 1].idx);
			break;
		case FATE_TAKES_LEFT:
		case FATE_TAKES_RIGHT:
			merge_level(t, path, l, rm->fate[l], rm->sibling[l]);
			break;
		}
	}
	if (rm->fate[path->height - 1] == FATE_GOES && rm->top + 1 == path->height) {
		p->tree_root = (struct node_ref){ .block = PBLK_NONE };
		tree_set_height(p, 0);
	} else {
		collapse_root(t);
	}
}

static int
delete_locked(struct txn *t, struct tree_key key)
{
	struct removal rm;
	struct spare spare;
	struct path path;
	unsigned lowest = 0;
	bool found = false;
	int r;

	r = path_descend(t->pool, &path, key);
	if (r < 0)
		return r;
	if (path.height > 0)
		path.at[0].idx = leaf_search(path.at[0].node, key, &found);
	if (!found)
		return -ENOENT;
	plan_removal(t->pool, &path, &rm);
	/* What goes needs no copy. */
	while (lowest <= rm.top && rm.fate[lowest] == FATE_GOES)
		lowest++;
	r = spare_get(&spare, t, path_count_old(t, &path, lowest));
	if (r < 0)
		return r;
	path_copy(t, &spare, &path, lowest);
	apply_removal(t, &path, &rm);
	return 0;
}

int
tree_delete(struct txn *t, struct tree_key key)
{
	int r;

	rwl_wrlock(&t->pool->tree_lock);
	r = delete_locked(t, key);
	rwl_unlock(&t->pool->tree_lock);
	t->changes += r == 0;
	return r;
}
