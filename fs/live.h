/* SPDX-License-Identifier: BSD-3-Clause */
/* The live map: what readers, writers and direct mappings see where it differs
 * from the durable map.
 *
 * Two maps describe a file. The durable map (extent.h) is the image of its last
 * writeback; it changes in writeback (and where blocks change their place: clone, shift.c,
 * exchange.c), and a block that it names is never stored to. The
 * live map is memory: an ordered set of extents, each of which overrides the
 * durable map over its range. Truncating, punching, preallocating and writing change the
 * live map and nothing else; that is why a crash finds exactly an image that some
 * writeback made, and why none of them needs a transaction.
 *
 *   LIVE_HOLE       reads zero, no block
 *   LIVE_UNWRITTEN  a block that reads zero (preallocated)
 *   LIVE_DATA       a block with content
 *
 * Flags:
 *   LIVE_DIRTY      the next writeback has to carry this to the durable map
 *   LIVE_TAKEN      a writeback under way took this block by reference: it is
 *                   immutable; a store to this range goes to a fresh block
 *   LIVE_DURABLE    the durable map names this very block (it is here only
 *                   because it is pinned): immutable, until the durable side has moved away
 *   LIVE_TAINTED    its holder went away without unpinning, DMA may still be
 *                   in flight: never taken by reference, always bounced
 *   LIVE_DAX        with LIVE_DURABLE: the block has no checksum, the inode is dax, and it is here because it
 *                   is, or was, pinned: stored to in place. LIVE_DIRTY means that the next fsync has to
 *                   flush it, and nothing else
 *
 * An extent with pins stays in the map, clean or dirty, until the last pin is gone. What pins want of
 * writeback is counted like the pins themselves, so nobody has to look for them.
 *
 * Protected by the inode's layout lock: shared to look up, exclusive to change.
 * Adjacent extents of equal kind, flags and pin counts whose blocks are adjacent
 * are merged.
 */
#ifndef PINFS_FS_LIVE_H
#define PINFS_FS_LIVE_H

#include <bsd/sys/tree.h>
#include "pmem/types.h"

enum live_kind { LIVE_HOLE, LIVE_UNWRITTEN, LIVE_DATA };

#define LIVE_DIRTY 1u
#define LIVE_TAKEN 2u
#define LIVE_DURABLE 4u
#define LIVE_TAINTED 8u
#define LIVE_DAX 0x10u

struct live_extent {
	RB_ENTRY(live_extent) link;
	fblk_t fblk;
	pblk_t pblk;      /* PBLK_NONE for a hole */
	uint64_t len;     /* blocks; a hole may be as long as the file format allows */
	uint8_t kind;     /* enum live_kind */
	uint8_t flags;
	uint32_t wpins;   /* write pins that cover it */
	uint32_t rpins;   /* read pins that cover it */
	uint32_t tracked; /* how many of wpins tell what they store to: if all do, it can be clean (track.h) */
	uint32_t wait, fail, skip, holder; /* how many of wpins want writeback to do that (pin.h) */
};

RB_HEAD(live_tree, live_extent);
RB_PROTOTYPE(live_tree, live_extent, link, live_cmp)

struct live_map {
	struct live_tree tree;
	uint64_t extents;
	uint64_t blocks;       /* blocks that extents with a block hold; may be read atomically without the lock */
	/* Dirty extents: those of data count once for each EXTENT_CSUM_BLOCKS_MAX blocks
	 * begun, because that many items their writeback inserts. */
	uint64_t dirty_extents;
	uint64_t *extents_total;   /* atomic; extents of all maps together, for status */
	uint64_t *dirty_total;     /* atomic; of all maps together: what writeback has to be able to pay */
	struct live_extent *spare; /* a few unused ones, so that a change can't fail half way */
	unsigned nspare;
};

/* The totals may be NULL. */
void live_init(struct live_map *m, uint64_t *dirty_total, uint64_t *extents_total);
/* Drops all extents; the blocks are the caller's business. */
void live_clear(struct live_map *m);

/* The extent that covers fblk, or the first one behind it; NULL if none. */
struct live_extent *live_find(const struct live_map *m, fblk_t fblk);
struct live_extent *live_next(const struct live_map *m, struct live_extent *e);

/* Changes allocate at most two extents each. -ENOMEM changes nothing. */

/* After it the next change of the map can't fail: for a caller that has to do
 * something else first which it can't take back. -ENOMEM. */
int live_prepare(struct live_map *m);
/* The same for the next n changes. */
int live_prepare_changes(struct live_map *m, unsigned n);

/* Make fblk a boundary: no extent reaches across it. */
int live_split(struct live_map *m, fblk_t fblk);

/* What a change took out of the map, cut to the range, so that the caller can free or quarantine the
 * blocks (or leave them: LIVE_TAKEN blocks belong to the writeback that took them,
 * LIVE_DURABLE ones to the durable map). It must not touch the map. */
typedef void live_removed_fn(void *arg, const struct live_extent *part);

static inline fblk_t
live_end(const struct live_extent *e)
{
	return e->fblk + e->len;
}

/* Put [fblk, fblk+len) in place of whatever overlapped; removed (may be NULL) is
 * told of each part that went. A hole has pblk PBLK_NONE. The range must not be pinned
 * unless the caller has dealt with the pins. Pin counts of the new extent are 0. */
int live_set(struct live_map *m, fblk_t fblk, uint64_t len, enum live_kind kind, pblk_t pblk,
    unsigned flags, live_removed_fn *removed, void *arg);
/* Take the range out of the map: the durable map shows through. */
int live_remove(struct live_map *m, fblk_t fblk, uint64_t len, live_removed_fn *removed, void *arg);
/* Change flags of an extent (keeps dirty_extents in step). e stays valid; merge later. */
void live_change_flags(struct live_map *m, struct live_extent *e, unsigned set, unsigned clear);
/* e gets another run of blocks of the same length: dirty data that nobody has pinned. */
void live_repoint(struct live_map *m, struct live_extent *e, pblk_t pblk);

/* Whole extents change their place; the ends of the ranges have been split. These can't fail. */

/* All extents from fblk on move up by n blocks, or down, where nothing is in the n blocks before. */
void live_shift_up(struct live_map *m, fblk_t fblk, uint64_t n);
void live_shift_down(struct live_map *m, fblk_t fblk, uint64_t n);
/* [fa, fa+len) of a changes places with [fb, fb+len) of b, which may be another range of the same map. */
void live_exchange(struct live_map *a, fblk_t fa, struct live_map *b, fblk_t fb, uint64_t len);

/* Join mergeable neighbours in and around [fblk, fblk+len). Extents in it become invalid. */
void live_merge(struct live_map *m, fblk_t fblk, uint64_t len);

#endif
