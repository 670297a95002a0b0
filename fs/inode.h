/* SPDX-License-Identifier: BSD-3-Clause */
/* Inodes in memory.
 *
 * A struct inode exists while somebody refers to it: a running operation, an
 * open file, the front end on behalf of the kernel (nlookup, which counts as one
 * reference as long as it is not 0), or its own dirty state. The cache is a liburcu hash
 * table by inode number; there is never more than one struct inode for a number.
 *
 * Two images of a file exist (see live.h): the durable one, which the tree
 * describes, and the live one, which readers see. For attributes that means: `size` here is the
 * live size; `durable_size` is that of the last writeback, and only it is ever
 * stored in the inode's item. Everything else in `attr` is stored whenever an operation that
 * changes it runs in a transaction, and with every writeback.
 *
 * When the last link is gone and refs drops to zero the inode is
 * deleted: an ITEM_ORPHAN, written together with the removal of the last
 * link, makes sure that a crash in between only delays this to the next mount.
 */
#ifndef PINFS_FS_INODE_H
#define PINFS_FS_INODE_H

#include <sys/stat.h>
#include <time.h>
#include <urcu/call-rcu.h>
#include <urcu/list.h>
#include <urcu/rculfhash.h>

#include "fs/live.h"
#include "pmem/lock.h"
#include "pmem/pool.h"

struct fs;
struct lease_table;
struct pin_table;

struct inode_attr {
	uint32_t mode, nlink, uid, gid;
	uint32_t rdev_major, rdev_minor;
	uint32_t flags;      /* INODE_FL_... */
	uint32_t generation;
	uint32_t projid;
	uint64_t parent;     /* directory */
	uint64_t nentries;   /* directory */
	struct timespec atime, mtime, ctime, btime;
};

enum inode_state {
	INODE_LOADING, /* in the cache, being read: others wait */
	INODE_LIVE,
	INODE_DELETING, /* no link, no user: being deleted; lookups get -ENOENT */
	INODE_BAD,     /* its item is damaged: -EIO */
};

struct inode {
	struct fs *fs;
	uint64_t ino;

	struct cds_lfht_node hash; /* fs->icache */
	struct rcu_head rcu;
	uint64_t refs;             /* P: icache lock, or atomic while > 0 */
	uint64_t nlookup;          /* atomic; holds one of refs while it is not 0 */
	enum inode_state state;    /* P: icache lock; read atomically */

	struct rwl io_lock;        /* LOCK_IO; of a directory: LOCK_DIR */
	struct rwl layout_lock;    /* LOCK_LAYOUT */
	struct mtx attr_lock;      /* LOCK_ATTR */
	struct mtx wb_lock;        /* LOCK_WRITEBACK */

	struct inode_attr attr;    /* P: attr_lock */
	uint64_t size;             /* P: changed under io_lock exclusive + attr_lock; read under either */
	uint64_t durable_size;     /* P: layout_lock exclusive + attr_lock */
	uint64_t durable_blocks;   /* P: like durable_size, or atomically for a guess; blocks that extents name */
	bool attr_dirty;           /* P: attr_lock; attr differs from the item in the tree */

	struct live_map live;      /* P: layout_lock */
	struct pin_table *pins;    /* P: layout_lock exclusive to make; LOCK_PINS inside */

	struct lease_table *leases; /* atomic: made once; its own lock */

	/* One-entry cache of the durable map for reads. P: layout_lock shared + its own spin;
	 * owned by fs/extent.c. */
	struct extent_cache *ecache;

	struct cds_list_head dirty_link; /* P: fs->dirty_lock; on fs->dirty while it needs writeback */
	int64_t dirty_since_ns;          /* P: fs->dirty_lock; CLOCK_MONOTONIC; 0: not dirty */

	uint64_t change;           /* atomic; moves with every change of content or attributes */
	uint64_t last_fsync_txn;   /* P: attr_lock; transaction that holds its newest metadata change */

	uint32_t type;             /* S_IFMT bits of attr.mode; constant once it is LIVE */
	bool linkable;             /* P: attr_lock; made by fs_tmpfile: a first link may be given to it */
	uint8_t xattr_known;       /* P: attr_lock; XATTR_... below */
	uint32_t kernel_cached;    /* atomic; the front end's: open files whose content the kernel caches */
	bool kernel_knows;         /* atomic; the front end's: it may have attributes or pages of it */
};

/* What is known of an inode's extended attributes without a look at the tree: it has none
 * at all; it has some; no access ACL, default ACL, security.capability. A bit that is not set says
 * nothing. XATTR_FRESH: of an inode that was just made. */
enum { XATTR_NONE = 1, XATTR_SOME = 2, XATTR_NO_ACL = 4, XATTR_NO_DEFAULT_ACL = 8, XATTR_NO_CAPS = 16,
       XATTR_FRESH = XATTR_NONE | XATTR_NO_ACL | XATTR_NO_DEFAULT_ACL | XATTR_NO_CAPS };

/* Take a reference; loads the inode if needed. -ENOENT no such inode (or being
 * deleted), -EIO damaged, -ENOMEM. */
int inode_get(struct fs *fs, uint64_t ino, struct inode **out);
/* One more reference to an inode that the caller holds already. */
struct inode *inode_hold(struct inode *i);
/* Drop a reference; the last one may delete the inode, which runs transactions: no
 * lock may be held. NULL is allowed. */
void inode_put(struct inode *i);

/* The kernel was told of the inode once more (the caller holds a reference); it forgets
 * n of these. All of them together are one reference. No lock may be held for inode_forget. */
void inode_lookup_ref(struct inode *i);
void inode_forget(struct fs *fs, uint64_t ino, uint64_t n);

/* A new inode of mode in transaction t, inserted in the tree with one item and
 * in the cache with one reference. attr is copied; generation and btime are set here. */
int inode_new(struct txn *t, struct fs *fs, const struct inode_attr *attr, struct inode **out);
/* Undo inode_new in the same transaction (the operation failed further on). */
void inode_new_undo(struct txn *t, struct inode *i);

/* Write attr and durable_size/blocks to the inode's item. attr_lock is NOT held by the caller. */
int inode_store(struct txn *t, struct inode *i);
/* The same with attr_lock held, for who changes attr and stores it in one step. */
int inode_store_locked(struct txn *t, struct inode *i);

/* Mark for background writeback (content or lazily stored times): change first, then mark. */
void inode_mark_dirty(struct inode *i);
/* Take it off the list of dirty inodes: clear first, then look at what is dirty. Drops the list's
 * reference: the caller must have one of its own, or hold no lock. */
void inode_clear_dirty(struct inode *i);

/* The time that stamps changes: CLOCK_REALTIME, as the kernel's current_time(). */
struct timespec inode_now(void);
enum { TOUCH_ATIME = 1, TOUCH_MTIME = 2, TOUCH_CTIME = 4 };
/* Set the named times to now; takes attr_lock. Sets attr_dirty and marks the inode dirty, so that
 * writeback stores them. */
void inode_touch(struct inode *i, unsigned which);
/* It was read: moves atime as the mount's atime option and the inode's flags say. */
void inode_accessed(struct inode *i);
/* Content was changed by somebody without CAP_FSETID: a regular file loses setuid, and
 * setgid if its group may execute it. As lazily stored as the times. */
void inode_kill_suidgid(struct inode *i);
/* Content or owner is about to be changed by anybody: security.capability goes. Costs a look at
 * xattr_known for an inode that has none, a transaction for one that has it; no lock may be held. */
int inode_drop_capability(struct inode *i);

/* Takes layout_lock shared and attr_lock. */
void inode_stat(struct inode *i, struct stat *st);

static inline bool inode_is_dir(const struct inode *i) { return S_ISDIR(i->type); }
static inline bool inode_is_reg(const struct inode *i) { return S_ISREG(i->type); }
/* INODE_FL_... without the lock: flags are stored atomically. */
static inline uint32_t
inode_flags(const struct inode *i)
{
	return __atomic_load_n(&i->attr.flags, __ATOMIC_RELAXED);
}
static inline bool inode_is_dax(const struct inode *i) { return (inode_flags(i) & INODE_FL_DAX) != 0; }
static inline bool
inode_is_dirty(const struct inode *i)
{
	return __atomic_load_n(&i->dirty_since_ns, __ATOMIC_RELAXED) != 0;
}
/* Something about it changed that a cached copy of it must not outlive. */
static inline void inode_changed(struct inode *i) { __atomic_fetch_add(&i->change, 1, __ATOMIC_RELEASE); }

#endif
