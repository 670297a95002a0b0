/* SPDX-License-Identifier: BSD-3-Clause */
/* The inside of a pool, for the files of pmem/ only. */
#ifndef PINFS_PMEM_POOL_I_H
#define PINFS_PMEM_POOL_I_H

#include "pmem/lock.h"
#include "pmem/pool.h"

struct txn_state; /* txn.c: the open transaction, the commit under way */

/* What lies below a pool (pool_file.c). */
struct pool_file {
	int fd;
	bool device;     /* of fixed size: a block device or a DAX character device */
	bool dax_device; /* the latter: can be mapped, but not read or written */
	bool sparse;     /* a file with holes: storing may need space that is not there */
	uint64_t bytes;  /* its size */
	uint8_t *base;   /* NULL: not mapped */
	size_t map_len;
	bool by_libpmem; /* pmem_unmap is to unmap it */
};

struct pool {
	struct pool_file file;
	char *path;              /* absolute */
	uint8_t *base;           /* = file.base */
	uint64_t nblocks;
	bool readonly;
	bool failed;             /* atomic: a commit failed, nothing more may change */
	struct domain *domain;
	struct alloc *alloc;

	struct rwl tree_lock;    /* LOCK_TREE */
	struct node_ref tree_root; /* P: tree_lock; of the open transaction */
	unsigned tree_height;    /* atomic; levels below tree_root, 0: empty or not known yet; tree.c */
	uint32_t node_owner;     /* what the headers of its nodes say */
	uint64_t txn_at_open;    /* no node that was there when the pool was opened is newer */
	uint64_t *verified;      /* atomic bits: node at this block was verified since mount */

	/* The last root that is durable. Only root_write (by whoever holds LOCK_COMMIT) changes it, under
	 * root_lock; so the committer may read it without, everybody else uses pool_root(). */
	struct root_block root;
	const char *root_damage; /* POOL_MEND: what was wrong with the one on the medium */
	struct mtx root_lock;    /* LOCK_LEAF */
	struct txn_state *txn;
	struct held *held;       /* held.c */

	/* Working counters, atomic; a closing commit copies them into the root. */
	uint64_t next_ino, ninodes, data_blocks, node_blocks;
	uint64_t wb_credits;     /* atomic; pool_wb_credit */
	struct pool_shared shared;

	uint64_t *rebuild;       /* used bits during the mount walk */

	uint64_t *populated;     /* atomic bits by POPULATE_CHUNK: page tables were filled */
	bool no_populate;        /* atomic: the kernel can't do it for this mapping */
};

#define POPULATE_CHUNK_SHIFT 21 /* bytes: 2 MiB */

static inline void *
pool_addr(const struct pool *p, pblk_t blk)
{
	return p->base + (blk << BLK_SHIFT);
}

/* root.c: choosing and writing root slots */
/* Newest valid slot of the mapped pool into *out; why says what was wrong. incompat: features that will do. */
int root_read(const void *base, uint64_t file_blocks, uint64_t incompat, struct root_block *out, const char **why);
/* Of a root that root_read refused: figures that can't be true become some that can. -EIO: there is more to it. */
int root_mend(struct root_block *r, uint64_t file_blocks);
/* Fill in r's CRC and commit time and store it into its slot, durable with a barrier; then it is
 * p->root. r->txn tells the slot. -EIO: the slot may hold anything, p->root is as before. */
int root_write(struct pool *p, struct root_block *r);
/* The same for a root that belongs to no struct pool (mkfs). */
int root_store(struct domain *d, void *base, struct root_block *r);

/* pool_file.c: the file or device below, for pool.c and mkfs.c */
void pool_error_set(struct pool_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* oflags: O_RDWR or O_RDONLY, maybe O_CREAT | O_EXCL. -EINVAL: neither file nor device. */
int pool_file_open(struct pool_file *f, const char *path, int oflags, struct pool_error *err);
/* Exclusive (if open for writing) or shared OFD lock on the root slots, or on everything; polls for
 * wait_ms. -EBUSY. */
int pool_file_lock(struct pool_file *f, const char *path, bool whole, unsigned wait_ms,
    struct pool_error *err);
int pool_file_map(struct pool_file *f, const char *path, bool readonly, struct pool_error *err);
void pool_file_close(struct pool_file *f); /* unmaps, drops the lock */

/* held.c */
int held_new(struct pool *p);
void held_free(struct pool *p);
/* Mount: note what is locked, before anything becomes free. */
void held_find(struct pool *p);

/* txn.c */
/* Goes on from p->root. -EIO, -ENOMEM. */
int txn_state_new(struct pool *p);
/* Waits for what the committer has still to do. */
void txn_state_free(struct pool *p);
/* Commit now with ROOT_CLEAN. */
int txn_commit_clean(struct pool *p);
/* Keep commits out: what the committed root reaches stays what it is. No lock may be held. */
void txn_commit_lock(struct pool *p);
void txn_commit_unlock(struct pool *p);
/* For tree.c, tree_lock held exclusive: blocks for n nodes of the open transaction, all or none, out of
 * t's credits (never fails if those were enough; otherwise -ENOSPC on a full pool). */
int txn_nodes_new(struct txn *t, unsigned n, pblk_t *blk);
/* The end of a node, whose header is still in place: with the transaction, or at once if it is new. */
void txn_node_free(struct txn *t, pblk_t blk);

/* tree.c */
/* Levels of the open tree; takes tree_lock if they are not known yet. */
unsigned tree_height(struct pool *p);
/* For the closing commit (gate exclusive): fill in the CRCs of all dirty children bottom-up, and
 * of the root ref, and note each new node in fs. */
void tree_seal(struct pool *p, struct flush_set *fs);

static inline bool
pool_verified(const struct pool *p, pblk_t blk)
{
	return __atomic_load_n(&p->verified[blk / 64], __ATOMIC_RELAXED) >> (blk % 64) & 1;
}

static inline void
pool_set_verified(struct pool *p, pblk_t blk)
{
	__atomic_fetch_or(&p->verified[blk / 64], 1ull << (blk % 64), __ATOMIC_RELAXED);
}

static inline void
pool_clear_verified(struct pool *p, pblk_t blk)
{
	__atomic_fetch_and(&p->verified[blk / 64], ~(1ull << (blk % 64)), __ATOMIC_RELAXED);
}

#endif
