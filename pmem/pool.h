/* SPDX-License-Identifier: BSD-3-Clause */
/* A pool: one file (or device) mapped whole, with its roots, allocator, tree
 * and transactions. This is all that fs/ sees of the medium.
 *
 * pool_open maps the pool with libpmem, takes the exclusive OFD lock on the
 * root slots (so a second opener gets -EBUSY), picks the newest valid root and
 * checks its geometry against the file. The allocator is empty ("all used")
 * until the owner has walked the tree: pool_rebuild_begin, pool_rebuild_used for
 * what it finds, pool_rebuild_end.
 */
#ifndef PINFS_PMEM_POOL_H
#define PINFS_PMEM_POOL_H

#include "pmem/alloc.h"
#include "pmem/domain.h"
#include "pmem/format.h"
#include "pmem/lock.h"
#include "pmem/tree.h"
#include "pmem/txn.h"

struct pool;

enum {
	POOL_RDONLY = 1,  /* map read-only, shared lock: fsck -n, dump */
	POOL_MEND = 2,    /* put up with wrong figures in the root: fsck. The next commit writes better ones */
	POOL_IMAGE = 4,   /* a metadata image will do; with POOL_RDONLY */
};

struct pool_options {
	unsigned flags;
	int domain;             /* enum domain_kind, or -1: detect */
	unsigned lock_wait_ms;  /* how long to wait for the pool's lock: umount(2)
	                           returns before the old daemon is gone */
	domain_record_fn *record; /* NULL, or a test follows what is made durable: domain.h */
	void *record_arg;
};

/* Why an open or mkfs failed, in words, for the user; "" if it did not. */
struct pool_error { char text[256]; };

/* -EBUSY in use, -EINVAL not a pool, -EPROTONOSUPPORT unknown incompat feature
 * or version, -EROFS unknown ro_compat feature and not POOL_RDONLY, -EIO no valid root
 * or pool shorter than its root says, or errno of open/mmap. */
int pool_open(struct pool **out, const char *path, const struct pool_options *opt, struct pool_error *err);
/* Commits nothing. Frees everything, drops the lock. */
void pool_close(struct pool *p);
/* Commit with ROOT_CLEAN set: the last thing before pool_close. */
int pool_commit_clean(struct pool *p);

struct mkfs_options {
	uint64_t bytes;      /* 0: the size that the file or device has */
	bool force;          /* overwrite a pool or any other non-empty file */
	const char *label;   /* NULL or at most 63 bytes */
	const uint8_t *uuid; /* NULL: random */
	void (*progress)(void *arg, uint64_t done, uint64_t total);
	void *progress_arg;
	bool keep_sparse;    /* don't allocate the blocks of a regular file */
};
/* Make an empty pool: roots and an empty tree; no root directory, fs_format()
 * adds that. The file is created 0600, its blocks allocated (fallocate), an old pool's
 * root slots cleared first. -EEXIST not empty and not forced, -EBUSY in use. */
int pool_mkfs(const char *path, const struct mkfs_options *opt, struct pool_error *err);

/* Address of a block. The caller has checked that blk < pool_nblocks(). */
void *pool_block(struct pool *p, pblk_t blk);
pblk_t pool_block_of(struct pool *p, const void *addr);
uint64_t pool_nblocks(const struct pool *p);
bool pool_range_ok(const struct pool *p, pblk_t start, uint64_t n); /* inside, behind the roots, no wrap */
int pool_fd(const struct pool *p);
const char *pool_path(const struct pool *p);
bool pool_readonly(const struct pool *p);
struct domain *pool_domain(struct pool *p);
struct alloc *pool_alloc(struct pool *p);
/* What tells the nodes of this pool from those of another, or of one that was here before. */
uint32_t pool_node_owner(const struct root_block *r);
/* POOL_MEND: what is wrong with the root on the medium, NULL if nothing is (any more). */
const char *pool_root_damage(struct pool *p);
/* The root as of the last commit, or as of mount. */
void pool_root(struct pool *p, struct root_block *out);
/* Counters as of the open transaction. */
void pool_counters(struct pool *p, uint64_t *ninodes, uint64_t *data_blocks, uint64_t *node_blocks);

/* A repair has counted: these are the figures of the open transaction. */
void pool_set_counters(struct pool *p, uint64_t next_ino, uint64_t ninodes, uint64_t data_blocks, uint64_t node_blocks);

/* Mount: name what is used; then everything else becomes free. The owner walks the
 * tree (tree_walk) and names its nodes and the data that its items name. pool_rebuild_used
 * returns -EIO for a range outside the pool; it may be called for a block twice (double
 * use is fsck's business), from one thread. What is not used but locked by somebody who
 * maps it is quarantined (held.h). The pages that the walk has mapped are
 * dropped at the end, so that they don't count as resident. */
int pool_rebuild_begin(struct pool *p);
int pool_rebuild_used(struct pool *p, pblk_t start, uint64_t n);
int pool_rebuild_end(struct pool *p);

/* Blocks that ordinary operations leave alone, so that deleting and committing
 * always succeed (UINT64_MAX: a sparse pool file on a full filesystem); grows with what dirty files will need at writeback:
 * pool_wb_credits() counts dirty extents (atomic; whoever makes one adds to it). */
uint64_t pool_meta_reserve(struct pool *p);
uint64_t *pool_wb_credits(struct pool *p);

/* Blocks with several owners, whose counts fs/refcount.c keeps: its lock, how many items they take, and how many
 * blocks that are. The reserve lets all of these counts change. */
struct pool_shared {
	struct mtx lock;         /* LOCK_REFCOUNT */
	uint64_t items, blocks;  /* atomic */
};
struct pool_shared *pool_shared(struct pool *p);

/* Have the page tables of blocks filled in bulk before they are stored to, instead of by a
 * fault for each page: whole 2 MiB chunks, each once. It also finds out that there
 * is no memory or disk space behind the pool file (a sparse pool): -ENOSPC then, where a store
 * would end in SIGBUS. Only for blocks about to be written; no lock may be held. */
int pool_populate(struct pool *p, pblk_t start, uint64_t n);

/* Data blocks for files; keeps the metadata reserve (unless ALLOC_RESERVED), and sees to it that
 * they can be stored to (pool_populate). -ENOSPC has changed nothing: *start is PBLK_NONE then. */
int pool_alloc_data(struct pool *p, pblk_t goal, uint64_t want, unsigned flags, pblk_t *start, uint64_t *got);
/* Free data blocks that no committed and no closed transaction can name (a live
 * block that never was written back): at once. */
void pool_free_data(struct pool *p, pblk_t start, uint64_t n);

#endif
