/* SPDX-License-Identifier: BSD-3-Clause */
/* What can still be had of a tree with damaged nodes, and a sound tree made of it.
 *
 * For a repair, on a pool that nobody else uses: salvage_gather reads and decides, salvage_free
 * forgets. In between the caller tells the allocator what is used (salvage_blocks and what the items
 * name), joins a transaction and calls salvage_rebuild, then inserts what
 * salvage_items tells. Nothing is durable before that transaction is.
 */
#ifndef PINFS_PMEM_SALVAGE_H
#define PINFS_PMEM_SALVAGE_H

#include "pmem/tree.h"

struct salvage;

struct salvage_stats {
	uint64_t damaged; /* nodes that the tree names and that are no good */
	uint64_t lost;    /* of these, without a trace of what was in them */
	uint64_t kept;    /* leaves that the tree leads to */
	uint64_t found;   /* leaves that it lost the way to */
};

/* progress may be NULL; nonzero cancels. -ENOMEM, -ECANCELED. */
int salvage_gather(struct pool *p, int (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
    struct salvage **out, struct salvage_stats *stats);
void salvage_free(struct salvage *s);

/* Sound leaves, by key. */
size_t salvage_leaves(const struct salvage *s);
pblk_t salvage_leaf(const struct salvage *s, size_t n);
/* Every block that the old tree or the new one may need. fn returns < 0 to stop. */
int salvage_blocks(const struct salvage *s, int (*fn)(void *arg, pblk_t block), void *arg);
/* Each item that can be read in a damaged leaf. Neither keys nor values can be relied on, and a key may come
 * twice. */
int salvage_items(const struct salvage *s, tree_visit_fn *fn, void *arg);

/* Nodes that salvage_rebuild takes. */
uint64_t salvage_credits(const struct salvage *s);
/* The open tree becomes new inner nodes over the sound leaves. The blocks of old nodes that are
 * not in it stay allocated until the pool is opened next. -ENOSPC, -EFBIG (more levels than a tree has). */
int salvage_rebuild(struct txn *t, const struct salvage *s);

#endif
