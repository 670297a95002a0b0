/* SPDX-License-Identifier: BSD-3-Clause */
/* The block allocator: which blocks of the pool are free.
 *
 * It exists in memory only and is rebuilt at mount by walking the tree, so it
 * can neither be corrupt nor leak. Free space is kept as extents, indexed by
 * address and by size (<bsd/sys/tree.h>).
 *
 * A block is free, used, reserved (promised, but not yet a particular block),
 * or quarantined (used by nobody we know, but possibly still written to by DMA
 * in flight or by a mapping: it becomes free by alloc_release_quarantined only).
 *
 * free + used + quarantined = all blocks; reserved <= free at all times. A
 * reservation is a promise: an allocation that draws on it can't fail.
 *
 * Locks: one LOCK_ALLOC mutex; nothing else is taken under it.
 */
#ifndef PINFS_PMEM_ALLOC_H
#define PINFS_PMEM_ALLOC_H

#include "pmem/types.h"

struct alloc;

struct alloc_stats {
	uint64_t total;       /* blocks of the pool behind the root slots */
	uint64_t free;        /* includes reserved */
	uint64_t reserved;
	uint64_t quarantined;
	uint64_t largest;     /* longest free run */
	uint64_t free_extents;
};

/* Blocks first..end-1 exist; all start out used. -ENOMEM. */
int alloc_new(struct alloc **out, pblk_t first, pblk_t end);
void alloc_destroy(struct alloc *a);

/* Promise n blocks: -ENOSPC if free - reserved < n + keep. keep is what has to
 * stay for others (the metadata reserve, see txn.h). */
int alloc_reserve(struct alloc *a, uint64_t n, uint64_t keep);
void alloc_unreserve(struct alloc *a, uint64_t n);

enum {
	ALLOC_RESERVED = 1, /* draw on a reservation that the caller made before:
	                       it shrinks by what is allocated */
	ALLOC_HUGE = 2,     /* prefer a 2 MiB aligned start if want is that long */
	ALLOC_NODE = 4,     /* single blocks for tree nodes: kept apart from data */
	ALLOC_EXACT = 8,    /* the whole run or -ENOSPC */
};
/* Allocate a run of 1..want blocks, as long as can be had, at goal if that is
 * free (PBLK_NONE: anywhere). Without ALLOC_RESERVED at least keep unreserved
 * blocks must remain. Returns 0 and *start, *got, or -ENOSPC. */
int alloc_run(struct alloc *a, pblk_t goal, uint64_t want, uint64_t keep, unsigned flags,
    pblk_t *start, uint64_t *got);

/* For a pool file with holes: tells whether blocks can be stored to for certain. Nodes are then taken
 * from such blocks as long as there are any. Called with LOCK_ALLOC held. */
void alloc_set_backed(struct alloc *a, bool (*backed)(void *arg, pblk_t start, uint64_t n), void *arg);
/* Asked of all blocks that are about to become free: may the first of these n, with as many behind it as *n
 * is cut to? If not they are quarantined, and it is for who said no to release them. Called with LOCK_ALLOC held. */
void alloc_set_guard(struct alloc *a, bool (*may)(void *arg, pblk_t start, uint64_t *n), void *arg);
/* A run that nodes will come from soon, of `least` blocks or more if there is one. *n = 0: nothing is
 * free. */
void alloc_node_window(struct alloc *a, uint64_t least, pblk_t *start, uint64_t *n);

/* Take back what alloc_run has just given, with the same flags: a reservation that was drawn on is
 * as it was. */
void alloc_undo(struct alloc *a, pblk_t start, uint64_t n, unsigned flags);

/* Used blocks become free. A range that is not wholly used is a bug: asserts
 * in debug builds, is logged and left alone otherwise. */
void alloc_free(struct alloc *a, pblk_t start, uint64_t n);
void alloc_quarantine(struct alloc *a, uint64_t n);          /* used -> quarantined: a count */
void alloc_unquarantine(struct alloc *a, uint64_t n);        /* and back */
void alloc_release_quarantined(struct alloc *a, pblk_t start, uint64_t n); /* -> free */

void alloc_stats(struct alloc *a, struct alloc_stats *st);
/* Call fn for each free extent in address order, with the lock held. */
void alloc_each_free(struct alloc *a, void (*fn)(void *arg, pblk_t start, uint64_t n), void *arg);

#endif
