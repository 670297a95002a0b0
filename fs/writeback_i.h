/* SPDX-License-Identifier: BSD-3-Clause */
/* Writeback from the inside: its three phases one by one, for who writes back
 * many inodes in one transaction (flusher.c), and the exclusion of writebacks. */
#ifndef PINFS_FS_WRITEBACK_I_H
#define PINFS_FS_WRITEBACK_I_H

#include "fs/fs_i.h"

enum wb_how {
	WB_HOLE,      /* nothing there */
	WB_UNWRITTEN, /* preallocated block, by reference */
	WB_FLUSH,     /* LIVE_DAX: durable where it is */
	WB_REFERENCE, /* data, by reference */
	WB_BOUNCE,    /* pinned for write: by copy */
	WB_EVICT,     /* tainted, not pinned: by copy, and the block leaves the file */
};

/* A part of a live extent that was taken. */
struct wb_run {
	fblk_t fblk;
	uint64_t len;
	pblk_t src;   /* live block */
	pblk_t dst;   /* what the durable map gets; = src by reference. FLUSH: PBLK_NONE if it was pinned for write */
	uint32_t *csums; /* one for each block, if it is data */
	enum wb_how how;
};

/* What somebody wants written back. */
struct wb_want {
	fblk_t fblk, end; /* what overlaps that; end 0: all */
	bool times;    /* also if nothing but times has changed: not for fdatasync */
	bool bounce;   /* pinned blocks are bounced, whatever their pins say (but for FS_PINNED_HOLDER) */
	bool holder;   /* blocks that are FS_PINNED_HOLDER, too */
};

#define WB_RUNS 8u
#define WB_CSUMS 64u

/* One writeback of one inode. */
struct writeback {
	struct inode *inode;   /* the caller's reference */
	struct wb_run *run;
	size_t nruns, space;
	uint32_t *csums;
	uint64_t skipped;      /* blocks that pins had left out */
	uint64_t size;         /* of the file, when it was taken */
	uint64_t durable_size; /* likewise */
	uint64_t shared;       /* credits that were asked for reference counts */
	uint64_t txn;          /* what has to be committed; set by apply, or by take if there is nothing to do */
	bool store;            /* even if no run was taken: the inode's item has to be written */

	struct wb_run inline_run[WB_RUNS];
	uint32_t inline_csums[WB_CSUMS];
};

/* Phase 1. LOCK_WRITEBACK of the inode is held; it has to be excluded
 * (writeback_lock, or the inode is in the set of a sync) until apply or undo. 0, or an
 * error: then nothing is taken. -EAGAIN: wb->txn has to be committed first. -EBUSY: pins with FS_PINNED_FAIL. */
int writeback_take(struct writeback *wb, struct inode *i, const struct wb_want *want);
static inline bool
writeback_idle(const struct writeback *wb)
{
	return wb->nruns == 0 && !wb->store;
}
/* If it is idle: nothing to do but to note that the inode is clean. */
void writeback_clean(struct writeback *wb);
/* Phase 2. No lock but LOCK_WRITEBACK. On an error the caller has to undo. */
int writeback_copy(struct writeback *wb);
/* What applying it may cost, added to what is in *cost; credits for all of that in one transaction. */
struct wb_cost {
	uint64_t credits;  /* sum of the worst cases */
	uint64_t items;    /* inserted in the tree */
	uint64_t blocks;   /* CRCs in them */
	uint64_t shared;   /* credits for reference counts, in any case no more than refcount_credits_all() */
};
void writeback_cost(struct writeback *wb, struct wb_cost *cost);
uint64_t writeback_credits(struct pool *p, const struct wb_cost *cost);
/* Phase 3. It ends the writeback, whatever it returns. */
int writeback_begin(struct writeback *wb, struct txn *t); /* join a transaction for it alone */
int writeback_apply(struct writeback *wb, struct txn *t);
/* Instead of phase 3: everything taken is dirty again. */
void writeback_undo(struct writeback *wb);
/* After it, without locks but LOCK_WRITEBACK. */
void writeback_finish(struct writeback *wb);

/* All of it. */
int writeback_run(struct inode *i, const struct wb_want *want, uint64_t *txn);

static inline void
writeback_test_point(struct inode *i, enum writeback_point at)
{
	void (*hook)(struct inode *, enum writeback_point) = __atomic_load_n(&writeback_test_hook, __ATOMIC_ACQUIRE);

	if (__builtin_expect(hook != NULL, 0))
		hook(i, at);
}

/* Keep writebacks of the inode away: takes LOCK_WRITEBACK when no sync has the inode in its set. */
void writeback_lock(struct inode *i);
void writeback_unlock(struct inode *i);
/* The same for two, which may be one. */
void writeback_lock_both(struct inode *a, struct inode *b);
void writeback_unlock_both(struct inode *a, struct inode *b);

#endif
