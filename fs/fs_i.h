/* SPDX-License-Identifier: BSD-3-Clause */
/* The inside of a mounted filesystem, for the files of fs/ only. */
#ifndef PINFS_FS_FS_I_H
#define PINFS_FS_FS_I_H

#include "fs/fs.h"
#include "fs/extent.h"
#include "fs/park.h"
#include "fs/pin.h"
#include "fs/writeback.h"

struct flusher; /* writeback.c: the background thread */
struct tracker; /* track.c: which blocks were stored to */

struct fs {
	struct pool *pool;
	struct fs_options opt;

	struct cds_lfht *icache;
	uint64_t icache_buckets;          /* atomic */
	bool icache_resizing;             /* atomic; set by who starts it, cleared when icache_buckets is new */
	struct rcu_head icache_resize;
	struct mtx icache_lock;           /* LOCK_ICACHE: inode states, counts going to and from 0 */
	pthread_cond_t icache_cond;       /* an inode left INODE_LOADING or INODE_DELETING */
	struct mtx rename_lock;           /* LOCK_RENAME */

	struct mtx dirty_lock;            /* LOCK_LEAF */
	struct cds_list_head dirty;       /* P: dirty_lock; inodes by dirty_since_ns; each holds a reference */
	uint64_t dirty_count;             /* P: dirty_lock */
	struct flusher *flusher;
	struct tracker *tracker;

	struct mtx open_lock;             /* LOCK_LEAF */
	struct cds_list_head open;        /* P: open_lock; open files */

	uint64_t *csum_checked;           /* atomic bits by pool block: CRC checked since mount (extent.c) */
	uint64_t dirhash_mask;            /* ~0; a test narrows it to make name hashes collide */

	struct scrub *scrub;              /* reads everything when told to */
	struct park_lot *park;            /* what waits for a client, or for a moment */

	void (*notify)(void *arg, struct file *f); /* constant while there are files */
	void *notify_arg;

	struct fs_counters counters;      /* atomic, relaxed */

	/* Constant while mounted. */
	uint64_t hash_key[2];             /* SipHash key of names, from the root block */
	uint64_t generation_seed;         /* random: what generations of new inodes are made from */
	bool abandoned;                   /* fs_abandon: inodes leave the cache without a trace */
};

/* file.c of a deleted inode: drop its live map and blocks, then its extents, in
 * transactions of bounded size; the caller deletes the inode's other items. No lock held. */
int file_delete_content(struct inode *i);
/* Release what is still open. No lock held. */
void file_release_all(struct fs *fs);
/* An inode leaves the cache clean: free what file content modules hung on it. */
void file_evict(struct inode *i);

#endif
