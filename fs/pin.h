/* SPDX-License-Identifier: BSD-3-Clause */
/* Pins: registrations over (open file, byte range, access, class). See
 * doc/SEMANTICS.md for what they promise to clients.
 *
 * A write pin needs its blocks live and fixed: what is durable or a hole is
 * copied or zeroed into a fresh, contiguous run; the reserve for one bounce copy of
 * each block is taken at once, so that fsync can't run out of space. A read pin fixes the
 * block that is there, live or durable. While a block is pinned it stays in the
 * live map and its content is what every reader and writer sees.
 *
 * Pins belong to a struct file and end with it.
 */
#ifndef PINFS_FS_PIN_H
#define PINFS_FS_PIN_H

#include "fs/fs.h"

struct pin;

enum pin_access { PIN_READ = 1, PIN_WRITE = 2 }; /* WRITE includes READ */

struct pin_range {
	uint64_t off, len;   /* bytes; rounded out to blocks on return */
	uint64_t pool_off;   /* out: where its first extent lies in the pool, or UINT64_MAX: a hole */
	uint64_t ext_len;    /* out: bytes of that first extent inside the range */
};

enum { PIN_ALLOC = 1 }; /* a write pin may extend the file, as fallocate does */

/* For how long. */
enum pin_class {
	PIN_TRANSIENT = 1, /* the time of one I/O */
	PIN_LONGTERM = 2,
	PIN_FAULTABLE = 3, /* long, and the holder can tell which blocks it has stored to */
};

struct pin_params {
	enum pin_access access;
	enum pin_class class;
	unsigned flags;          /* PIN_ALLOC */
	enum fs_pinned writeback; /* of a write pin */
};

/* All ranges or none. -EINVAL beyond EOF, bad range, FS_PINNED_WAIT for a class that may last; -EBADF not open
 * for the access; -EPERM FS_PINNED_SKIP is not allowed, or a write pin of a file that is immutable or append-only; -EBUSY
 * there is a write pin, and it or this one is FS_PINNED_HOLDER; -EDQUOT, -ENOSPC; -ENOLCK it is no transient pin and no
 * lease of f covers it, -ESTALE one does but has been revoked; -EAGAIN a layout operation wants the range. uid is charged. */
int pin_add(struct file *f, const struct pin_params *params, struct pin_range *r, unsigned n,
    const struct fs_cred *c, uint64_t *id);
/* PIN_READ or PIN_WRITE; -ENOENT: not a pin of this open file. */
int pin_access_of(struct file *f, uint64_t id);
/* -ENOENT: not a pin of this open file. */
int pin_remove(struct file *f, uint64_t id);
/* All pins of a file that is being closed. */
void pin_drop_all(struct file *f);

/* [off, off+len) of a faultable write pin, whole blocks, is mapped at addr in process tgid, protected for
 * asynchronous write faults: from now on writeback asks which blocks were stored to (track.h). *reason: 0, or the errno
 * why it can't; then the pin goes on as a long-term one. len 0: no longer, for all of the pin. -ENOENT, -EINVAL. */
int pin_track(struct file *f, uint64_t id, uint64_t off, uint64_t len, uint64_t addr, pid_t tgid, int *reason);

/* Extents of range [off, off+len) as direct mappings must see them now: up to max,
 * from off on; returns the count. Preallocated blocks read zero and so must not be
 * mapped: they have no pool_off. off and len are rounded out to blocks. -EIO. */
struct map_extent {
	uint64_t off, len, pool_off; /* bytes; pool_off UINT64_MAX: hole */
	uint32_t flags;              /* MAP_... */
};
enum { MAP_DURABLE = 1, MAP_DIRTY = 2, MAP_UNWRITTEN = 4, MAP_RPINNED = 8, MAP_WPINNED = 16,
       MAP_SHARED_BLOCKS = 32, MAP_HOLE = 64, MAP_CUT = 128 /* in no file any more */ };
int map_extents(struct inode *i, uint64_t off, uint64_t len, struct map_extent *out, int max);

/* The blocks that a pin has fixed, in the order of its ranges, MAP_CUT if the file has let go of them, or MAP_HOLE: up to
 * max, from *cursor on, which is 0 at first, moves on, and is 0 again when all have been told. -ENOENT. */
int pin_extents(struct file *f, uint64_t id, uint64_t *cursor, struct map_extent *out, int max);

/* A range of a pin. Ranges that touch each other are one. */
struct pin_info {
	uint64_t id;
	uint64_t off, len;        /* bytes */
	int64_t since_ns;         /* CLOCK_MONOTONIC */
	pid_t tgid;
	uid_t uid;
	enum pin_class class;
	enum pin_access access;
	enum fs_pinned writeback; /* of a write pin: in force */
	bool tracked;             /* all of it */
	bool cut;                 /* a layout operation has taken it from the file */
};
/* Pins of the inode with ids above *after, which moves behind those that have been told or passed over; UINT64_MAX:
 * there are no more. Those of one user, or PIN_LIST_ALL. max is at least 64: ranges of one pin are told together. */
#define PIN_LIST_ALL ((uid_t)-1)
unsigned pin_list(struct inode *i, uint64_t *after, uid_t uid, struct pin_info *out, unsigned max);
/* The first max inodes with numbers from `from` on that have pins, or have had leases, with a reference each: how many. */
unsigned pin_inodes(struct fs *fs, uint64_t from, struct inode **out, unsigned max);

bool inode_write_pinned(struct inode *i); /* any write pin at all: attribute timeouts */
void pin_counts(struct inode *i, uint64_t *read, uint64_t *write); /* pins on this inode */

/* ---- for those who change content (io.c, falloc.c, clone.c, file.c) ---- */

/* [fblk, fblk+len) of the live map is about to be replaced or removed: the pins there are
 * cut loose, their blocks belong to them from now on, and are freed when the last of them goes.
 * Layout lock exclusive. Looks at the live map, does not change it (live_removed_fn must leave
 * alone what is pinned or LIVE_TAINTED: it has been dealt with). Can't fail. */
void pin_cut(struct inode *i, fblk_t fblk, uint64_t len);

/* A store met a pinned block that has to stay as it is, because the durable map names it
 * (LIVE_DURABLE) or a writeback has taken it (LIVE_TAKEN). Moves the durable side away
 * to a copy, durably, so that the block belongs to the live map only and can be stored to. No lock may
 * be held; the caller looks again after it. -ENOSPC, -EIO, -EROFS. */
int pin_unshare(struct inode *i, fblk_t fblk, uint64_t len);

/* The durable blocks of [fblk, fblk+len) are about to become shared with another file (clone):
 * with the layout lock exclusive, after the writeback of i. -EAGAIN: there are
 * blocks pinned in place, so pin_unshare(i, fblk, len) with no lock held has to come first; -ENOSPC: no
 * space for the copies that later writebacks of the write-pinned blocks will need. */
int pin_share(struct inode *i, fblk_t fblk, uint64_t len);

/* The inode leaves memory: no open file, no pin. No lock may be held. */
void pin_evict(struct inode *i);

#endif
