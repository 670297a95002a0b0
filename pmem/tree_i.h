/* SPDX-License-Identifier: BSD-3-Clause */
/* The inside of the tree, for tree*.c only: the way from the root down to a
 * leaf, and how a node is reached. LOCK_TREE is held throughout.
 */
#ifndef PINFS_PMEM_TREE_I_H
#define PINFS_PMEM_TREE_I_H

#include "pmem/node.h"
#include "pmem/pool_i.h"

/* at[0] is the leaf, at[height - 1] the root; idx is the child (item) taken. */
struct path {
	unsigned height; /* 0: the tree is empty */
	struct {
		struct node_header *node;
		unsigned idx;
	} at[NODE_LEVELS_MAX];
};

/* Check a node against the ref by which it was reached; path says which keys may be in it (by the
 * children taken above level; level -1: the root). NULL, or what is wrong. */
const char *path_node_check(struct pool *p, const struct path *path, int level, const struct node_ref *ref,
    uint64_t txn_max);
/* What path_load does when it can't take a node for granted: check it, mark it verified, or log what is
 * wrong (unless quiet) and return -EIO. */
int path_load_slow(struct pool *p, const struct path *path, int level, const struct node_ref *ref, bool quiet,
    struct node_header **out);

static inline bool
tree_block_ok(const struct pool *p, pblk_t blk)
{
	return blk >= POOL_FIRST_BLOCK && blk < p->nblocks;
}

/* The node that ref names, verified on first touch. A commit that is closing fills in crc and flags of
 * refs to new nodes while lookups go on; but new nodes are verified from the start, and of a ref to a
 * verified node only the block number is read. The level is compared each time: it is what tells a leaf
 * from an inner node. */
static inline int
path_load(struct pool *p, const struct path *path, int level, const struct node_ref *ref, bool quiet,
    struct node_header **out)
{
	pblk_t blk = ref->block;

	if (__builtin_expect(tree_block_ok(p, blk) && pool_verified(p, blk), 1)) {
		*out = pool_addr(p, blk);
		if (__builtin_expect(level < 0 || (*out)->level == level, 1))
			return 0;
	}
	return path_load_slow(p, path, level, ref, quiet, out);
}

/* The child of at[level + 1] that its idx names. */
static inline int
path_load_child(struct pool *p, struct path *path, unsigned level, bool quiet, struct node_header **out)
{
	const struct inner_slot *s = inner_slots(path->at[level + 1].node) + path->at[level + 1].idx;

	return path_load(p, path, (int)level, &s->child, quiet, out);
}

/* From the root to the leaf where key belongs; at[0].idx is left to the caller. */
int path_descend(struct pool *p, struct path *path, struct tree_key key);

#endif
