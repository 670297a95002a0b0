/* SPDX-License-Identifier: BSD-3-Clause */
/* First phase: the root slots and the nodes of the tree.
 *
 * The walk verifies each node: CRC, its own address, level, slots, and that its
 * keys are between the separators above it. The leaves it comes by are noted in
 * order, so that the later phases need no walk; and the inodes, counts and orphans
 * that they will ask for are gathered.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/check_i.h"
#include "pmem/crc.h"

#define PHASE "tree nodes"

struct walk_state {
	struct ck *c;
	struct tree_key last; /* key of the item before */
	bool any;
};

static void
check_slot(struct ck *c, unsigned slot)
{
	struct root_block r;
	const char *why = NULL;

	memcpy(&r, pool_block(c->pool, slot), sizeof(r));
	if (memcmp(r.magic, POOL_MAGIC, sizeof(r.magic)) != 0)
		why = "has no magic number";
	else if (r.crc != crc32c_block_but(&r, offsetof(struct root_block, crc)))
		why = "has a wrong CRC";
	else if (r.txn % ROOT_SLOTS != slot)
		why = "holds the root of the other slot";
	else if (memcmp(r.uuid, c->root.uuid, sizeof(r.uuid)) != 0)
		why = "belongs to another pool";
	if (why)
		ck_report(c, CHECK_ROOT_SLOT, INO_NONE, CHECK_NOWHERE, slot, "root slot %u %s", slot, why);
}

static int
gather_inode(struct ck *c, struct tree_key key, const void *value, size_t len)
{
	struct ck_inode *in = ck_array_add(&c->inodes);
	struct inode_item item;

	if (!in)
		return -ENOMEM;
	c->res->inodes++;
	in->ino = tree_key_ino(key);
	/* Its fields are checked with the file: by then it has a path. */
	if (len == sizeof(item)) {
		memcpy(&item, value, sizeof(item));
		in->mode = (uint16_t)item.mode;
		in->nlink = item.nlink;
		in->parent = item.parent;
	}
	return 0;
}

static int
gather_count(struct ck *c, struct tree_key key, const void *value, size_t len)
{
	struct refcount_run run, *last, *out;
	const char *why = refcount_decode(c->pool, key, value, len, &run);

	last = c->counts.n > 0 ? ck_array_at(&c->counts, c->counts.n - 1) : NULL;
	if (!why && last && last->start + last->len > run.start)
		why = "reference counts that overlap";
	if (why) {
		ck_report(c, CHECK_REFCOUNT, INO_NONE, CHECK_NOWHERE, key.lo, "%s", why);
		return 0;
	}
	out = ck_array_add(&c->counts);
	if (!out)
		return -ENOMEM;
	*out = run;
	return 0;
}

static int
gather_orphan(struct ck *c, struct tree_key key, size_t len)
{
	uint64_t *ino;

	if (len != 0 || key.lo == INO_NONE || key.lo > INO_MAX) {
		ck_report(c, CHECK_ITEM, INO_NONE, CHECK_NOWHERE, CHECK_NOWHERE,
		    "orphan item for inode %llu with %zu bytes, not 0", (unsigned long long)key.lo, len);
		fix_delete(c, key);
		return 0;
	}
	ino = ck_array_add(&c->orphans);
	if (!ino)
		return -ENOMEM;
	*ino = key.lo;
	return 0;
}

/* Which items an owner may have: type and inode number 0 or not. */
static int
gather_item(struct ck *c, struct tree_key key, const void *value, size_t len)
{
	uint64_t ino = tree_key_ino(key);

	switch (tree_key_type(key)) {
	case ITEM_REFCOUNT:
		if (ino == INO_NONE)
			return gather_count(c, key, value, len);
		break;
	case ITEM_ORPHAN:
		if (ino == INO_NONE)
			return gather_orphan(c, key, len);
		break;
	case ITEM_INODE:
		if (ino != INO_NONE && key.lo == 0)
			return gather_inode(c, key, value, len);
		break;
	case ITEM_SYMLINK:
	case ITEM_XATTR:
	case ITEM_DIRENT:
	case ITEM_EXTENT:
		if (ino != INO_NONE)
			return 0;
		break;
	}
	ck_report(c, CHECK_ITEM, ino, CHECK_NOWHERE, CHECK_NOWHERE,
	    "item of type %u at %llu, which nothing can have", (unsigned)(key.hi & 0xff),
	    (unsigned long long)key.lo);
	fix_delete(c, key);
	return 0;
}

static int
visit_node(void *arg, const struct tree_walk_node *wn)
{
	struct walk_state *s = arg;
	struct ck *c = s->c;
	pblk_t *leaf;
	int r;

	if (wn->error) {
		c->uncounted = true;
		ck_report(c, CHECK_NODE, INO_NONE, CHECK_NOWHERE, wn->block, "tree node: %s", wn->why);
		return 0;
	}
	c->res->nodes++;
	ck_set_bit(c->node_bits, wn->block);
	r = ck_progress(c, PHASE, c->res->nodes, max_of(c->res->nodes, c->root.node_blocks));
	if (r < 0 || wn->level > 0)
		return r;
	leaf = ck_array_add(&c->leaves);
	if (!leaf)
		return -ENOMEM;
	*leaf = wn->block;
	for (unsigned i = 0; i < leaf_count(wn->node); i++) {
		struct tree_key key;
		const void *value;
		size_t len;

		leaf_item(wn->node, i, &key, &value, &len);
		if (s->any && tree_key_cmp(s->last, key) >= 0) {
			c->uncounted = true;
			ck_report(c, CHECK_KEY_ORDER, INO_NONE, CHECK_NOWHERE, wn->block,
			    "item %u (%llx %llx) is not above the one before (%llx %llx)", i,
			    (unsigned long long)key.hi, (unsigned long long)key.lo,
			    (unsigned long long)s->last.hi, (unsigned long long)s->last.lo);
			continue;
		}
		s->last = key;
		s->any = true;
		r = gather_item(c, key, value, len);
		if (r < 0)
			return r;
	}
	return 0;
}

int
ck_tree(struct ck *c)
{
	struct walk_state s = { .c = c };

	for (unsigned slot = 0; slot < ROOT_SLOTS; slot++)
		check_slot(c, slot);
	if (pool_root_damage(c->pool))
		ck_report(c, CHECK_COUNTER, INO_NONE, CHECK_NOWHERE, CHECK_NOWHERE, "the root block can't be right: %s",
		    pool_root_damage(c->pool));
	return tree_walk(c->pool, visit_node, &s);
}
