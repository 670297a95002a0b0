/* SPDX-License-Identifier: BSD-3-Clause */
/* The durable map of an inode: extents in the metadata tree, with the CRC32C
 * of each block, and the reference counts of shared blocks.
 *
 * Lookups need the inode's layout lock shared; changes need it exclusive and a
 * transaction, and take the inode's attr_lock for a moment. Damage is -EIO,
 * logged with inode, offset and block.
 */
#ifndef PINFS_FS_EXTENT_H
#define PINFS_FS_EXTENT_H

#include "pmem/pool.h"

struct fs;
struct inode;

struct extent {
	fblk_t fblk;
	pblk_t pblk;   /* PBLK_NONE: hole */
	uint64_t len;  /* blocks; a hole reaches to the next extent or to the end: FBLK_MAX is its last block */
	uint32_t flags; /* EXTENT_UNWRITTEN, EXTENT_NOCSUM, EXTENT_DAMAGED */
};

/* The extent or hole at fblk, from fblk on. Adjacent items that continue each
 * other are joined, up to a bound: what follows may still be contiguous. If
 * csums is not NULL, up to ncsums CRCs of its first blocks are stored (none for
 * a hole, an unwritten extent or one without CRCs). A reader that passes NULL here
 * and to extent_verify is served from memory. -EINVAL beyond FBLK_MAX. */
int extent_lookup(struct inode *i, fblk_t fblk, struct extent *e, uint32_t *csums, size_t ncsums);

/* Map a run, in place of whatever the range mapped: blocks that lose their last
 * reference are freed with the transaction. csums: one for each block; NULL with
 * EXTENT_UNWRITTEN or EXTENT_NOCSUM. Updates inode->durable_blocks and the pool's counters.
 * Mapping the very block that is there (to give it other flags or CRCs) is no change of
 * owner. -ENOSPC: what it displaces is shared, and splitting the counts needs more than the
 * transaction could get. An error has changed nothing. */
int extent_map(struct txn *t, struct inode *i, fblk_t fblk, pblk_t pblk, uint64_t len, uint32_t flags,
    const uint32_t *csums);
/* Map a run that other extents name already: as extent_map, and takes a reference to each block.
 * -EMLINK: a block has 2^32-1 owners. */
int extent_map_shared(struct txn *t, struct inode *i, fblk_t fblk, pblk_t pblk, uint64_t len,
    uint32_t flags, const uint32_t *csums);
/* Make a range a hole. */
int extent_unmap(struct txn *t, struct inode *i, fblk_t fblk, uint64_t len);

/* Told of each run that lost its last reference, when the change is done: instead
 * of txn_free. For blocks that somebody still uses though no file names them. Runs under the
 * refcount lock: it may take LOCK_TREE, LOCK_ALLOC or LOCK_LEAF. */
typedef void extent_freed_fn(void *arg, struct txn *t, fblk_t fblk, pblk_t pblk, uint64_t n);
/* What the three above are made of. pblk PBLK_NONE unmaps; shared takes references;
 * freed may be NULL. */
int extent_replace(struct txn *t, struct inode *i, fblk_t fblk, pblk_t pblk, uint64_t len, uint32_t flags,
    const uint32_t *csums, bool shared, extent_freed_fn *freed, void *arg);

/* Credits that mapping or unmapping len blocks may need in the worst case, in
 * nruns separate ranges. Blocks that are shared ask the transaction for more. */
uint64_t extent_credits(struct inode *i, uint64_t nruns, uint64_t len);

/* What changing a range costs beyond extent_credits, because blocks that it maps are shared. extent_map and the
 * others ask for that themselves, before they change anything; who changes many ranges as
 * one step has to ask for all of them first, and set TXN_PREPAID. -EIO. */
int extent_shared_credits(struct inode *i, fblk_t fblk, uint64_t len, uint64_t *credits);

/* ---- extents that change their place (extent_move.c). Layout lock exclusive ---- */

struct extent_list_entry;
struct extent_list {
	struct extent_list_entry *entry;
	uint32_t *csums;
	size_t n, space, ncsums, csum_space;
	uint64_t blocks;       /* that they map */
};

/* Make fblk a border of extents: what is mapped stays the same. -EIO. */
int extent_split(struct txn *t, struct inode *i, fblk_t fblk);
uint64_t extent_split_credits(struct inode *i);
/* All extents of [fblk, end), whose ends have been split; nothing is left in *l to free after an
 * error. -EIO, -ENOMEM. */
int extent_list_read(struct extent_list *l, struct inode *i, fblk_t fblk, fblk_t end);
void extent_list_free(struct extent_list *l);
/* Take them out of the map of i; put them, from + n becoming to + n, in a range of the map of i that has none. Blocks,
 * references and CRCs are as they were. With credits for both (extent_list_credits) neither fails but
 * for what is logged as critical: the caller touches (tree_touch) the key behind the range that they are put in first. */
uint64_t extent_list_credits(struct pool *p, const struct extent_list *l);
int extent_list_take(struct txn *t, struct inode *i, const struct extent_list *l);
int extent_list_put(struct txn *t, struct inode *i, const struct extent_list *l, fblk_t from, fblk_t to);
/* Would unmapping the range meet damage? It has read all that is there then. -EIO, -ENOMEM. */
int extent_check(struct inode *i, fblk_t fblk, uint64_t len);

/* Check the CRC of durable blocks on first touch since mount (or on every read,
 * verify=always). pblk..+n must be what extent_lookup said for fblk; not for unwritten
 * extents. csums NULL: they are looked up if they are needed. -EIO, logged. */
int extent_verify(struct inode *i, fblk_t fblk, pblk_t pblk, uint64_t n, const uint32_t *csums);
/* The blocks get other content: their CRC has to be checked again. extent_map
 * and freeing do this by themselves. */
void extent_forget_csum(struct fs *fs, pblk_t start, uint64_t n);

/* Drop what lookups remembered of the durable map (inode->ecache): an inode leaves memory. */
void extent_cache_free(struct inode *i);

/* Why an extent item is damaged, or NULL if it is sound: every use of one read from the
 * medium goes through this. *e and, if the item has them, *csums (unaligned) are set. */
const char *extent_decode(struct pool *p, struct tree_key key, const void *value, size_t len,
    struct extent *e, const uint8_t **csums);

#endif
