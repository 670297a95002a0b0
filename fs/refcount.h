/* SPDX-License-Identifier: BSD-3-Clause */
/* How many extents name a block.
 *
 * Only blocks with more than one owner have an entry in the tree: ITEM_REFCOUNT
 * items are runs of blocks with one count, sorted, without overlap, neighbours
 * of equal count joined. A block without an entry has one owner (or is free:
 * the counts can't tell).
 *
 * The counts belong to the pool, not to an inode: whoever changes them reads,
 * decides and writes with the refcount lock held (refcount_lock .. refcount_unlock),
 * which comes after an inode's layout and attribute locks and before LOCK_TREE.
 */
#ifndef PINFS_FS_REFCOUNT_H
#define PINFS_FS_REFCOUNT_H

#include "pmem/pool.h"

struct refcount_run {
	pblk_t start;
	uint64_t len;
	uint32_t count; /* >= 2 */
};

/* Why a refcount item is damaged, or NULL; *r is set if it is sound. */
const char *refcount_decode(struct pool *p, struct tree_key key, const void *value, size_t len,
    struct refcount_run *r);

/* How many owners the block at start has, and how many of the n blocks from
 * there on have as many. Takes the lock. -EIO. */
int refcount_get(struct pool *p, pblk_t start, uint64_t n, uint32_t *count, uint64_t *run);

/* Mount: the tree holds this run. */
void refcount_found(struct pool *p, const struct refcount_run *r);

void refcount_lock(struct pool *p);
void refcount_unlock(struct pool *p);

/* The rest with the lock held. */

/* Read what a change by delta (+1, -1) to [start, start+n) will touch, so that
 * the change can't meet damage: *runs becomes the number of entries that overlap.
 * -EIO, -EMLINK (a count would overflow). */
int refcount_check_locked(struct pool *p, pblk_t start, uint64_t n, int delta, uint64_t *runs);
/* Credits for a change that meets that many runs. */
uint64_t refcount_credits(struct pool *p, uint64_t runs);
/* Credits for any changes, as long as no block comes to be shared that is not. */
uint64_t refcount_credits_all(struct pool *p);
/* One owner more for each block. */
int refcount_inc_locked(struct txn *t, pblk_t start, uint64_t n);
/* One owner less; last is told of each run that has none now. */
typedef void refcount_last_fn(void *arg, pblk_t start, uint64_t n);
int refcount_dec_locked(struct txn *t, pblk_t start, uint64_t n, refcount_last_fn *last, void *arg);

#endif
