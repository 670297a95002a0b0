/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files that read and change file content share (io.c, falloc.c,
 * clone.c, file.c, dax.c): the two maps of an inode seen as one, what may be
 * stored where, and cutting ranges out.
 *
 * "Layout lock shared" in a contract below means at least shared. A function that takes
 * locks itself says which it wants held.
 */
#ifndef PINFS_FS_CONTENT_H
#define PINFS_FS_CONTENT_H

#include "fs/fs_i.h"

/* One stretch of a file as a reader sees it: from the live map, or the durable
 * map showing through. */
struct segment {
	fblk_t fblk;
	uint64_t len;             /* blocks, at least 1 */
	pblk_t pblk;              /* PBLK_NONE for a hole */
	enum live_kind kind;
	struct live_extent *live; /* NULL: durable map. Valid while the layout lock is held */
	uint32_t extent_flags;    /* of a durable one */
};

/* The segment at fblk, at most max (> 0) blocks of it. Layout lock shared. -EIO. */
int segment_lookup(struct inode *i, fblk_t fblk, uint64_t max, struct segment *s);
/* Check the CRCs of a data segment, if it comes from the durable map. Layout lock shared. -EIO. */
int segment_verify(struct inode *i, const struct segment *s);

/* Where a store to a segment has to go. */
enum store_how {
	STORE_IN_PLACE, /* its own block, which is live and mutable */
	STORE_FILL,     /* its own block, which is allocated but reads zero: the rest of it
	                   has to be zeroed, then it becomes live data */
	STORE_FRESH,    /* a fresh block: here is a hole, or a block that has to stay as it is */
	STORE_UNSHARE,  /* pinned, and immutable: pin_unshare() comes first */
};
enum store_how segment_store(const struct segment *s);

/* A live extent that a pin, or what a pin left behind, keeps in its place. */
static inline bool
live_held(const struct live_extent *e)
{
	return e->wpins > 0 || e->rpins > 0 || (e->flags & LIVE_TAINTED);
}

/* Why an operation under the io lock could not go on, for content_retry(). */
#define CONTENT_UNSHARE 1 /* positive: no errno */
#define CONTENT_DAX 2     /* dax_prepare() comes first */
struct content_wait {
	fblk_t fblk;     /* which range */
	uint64_t len;
	bool write;      /* CONTENT_DAX: its holes, too */
	bool reclaimed;  /* space was made once already */
};
int content_want_unshare(struct content_wait *w, fblk_t fblk, uint64_t len);
/* r != 0 is what the operation ended with. Does what is missing: 0 then, and the operation
 * should be tried again; else the error to return. No lock may be held. */
int content_retry(struct inode *i, int r, struct content_wait *w);

/* How many blocks from fblk on, up to n, may be replaced by fresh ones: nothing there is pinned
 * or mutable. Layout lock shared. */
uint64_t content_replaceable(struct inode *i, fblk_t fblk, uint64_t n);
/* A good place for what is to be block fblk. Layout lock shared. */
pblk_t content_goal(struct inode *i, fblk_t fblk, const struct segment *s);

/* The live blocks of the range were stored to. Layout lock exclusive. */
void content_mark_dirty(struct inode *i, fblk_t fblk, fblk_t end);

/* live_removed_fn, arg = the inode: frees the blocks of a part that nobody else owns. */
void content_drop(void *arg, const struct live_extent *part);

/* Hand the pinned parts of a range that is about to go over to their pins. Layout lock exclusive. */
void content_cut_pins(struct inode *i, fblk_t fblk, fblk_t end);
/* The block behind the last one that either map knows. Layout lock shared. -EIO. */
int content_end(struct inode *i, fblk_t *end);
/* Before content_zero() at the edges of a range and content_cut() of what is between: neither of them will fail for
 * want of memory or because a map is damaged, when the other has been done already. io lock exclusive held,
 * takes the layout lock. -ENOMEM, -EIO: nothing has changed. */
int content_prepare_cut(struct inode *i);
/* Make [fblk, end) a hole: pinned blocks go to their pins. io lock exclusive held, takes
 * the layout lock. */
int content_cut(struct inode *i, fblk_t fblk, fblk_t end);
bool content_is_zero(const uint8_t *p, size_t n);
/* Zero the bytes [off, off+len), which lie in one block, if they aren't zero. io lock exclusive
 * held, takes the layout lock. must: may use space that ordinary writes leave alone.
 * CONTENT_UNSHARE. */
int content_zero(struct inode *i, uint64_t off, uint64_t len, bool must, struct content_wait *w);
/* The file is about to grow so that what is behind its end becomes visible: zero the rest
 * of its last block, where a direct mapping may have stored. As content_zero(). */
int content_zero_tail(struct inode *i, struct content_wait *w);
/* Content of a block that is to become block fblk, of which [lo, hi) will be stored: fill in
 * the rest from what is there now. Takes the layout lock; io lock exclusive held. */
int content_fill_rest(struct inode *i, fblk_t fblk, uint8_t *block, unsigned lo, unsigned hi);

/* Where a write is: bytes of src that still have to be stored, from off on. */
struct write_cursor {
	const uint8_t *src;
	uint64_t off, len;
};

static inline void
write_advance(struct write_cursor *c, uint64_t n)
{
	c->src += n;
	c->off += n;
	c->len -= n;
}

/* Bytes of it that fall into n blocks from the cursor's on. */
static inline uint64_t
write_bytes_in(const struct write_cursor *c, uint64_t nblocks)
{
	return min_of((nblocks << BLK_SHIFT) - (c->off & BLK_MASK), c->len);
}

/* Store the beginning of it: as many blocks as may be treated alike, maybe none if a pin came in
 * between (try again). io lock exclusive held, takes the layout lock. CONTENT_UNSHARE. (io.c) */
int content_write_run(struct inode *i, struct write_cursor *c, struct content_wait *w);

/* Content or size changed: size, times, change count, dirty. io lock exclusive held. */
void content_changed(struct inode *i, uint64_t size, bool kill_suidgid);
/* For who has changed the durable map by himself, in t: the inode's item, with this durable size.
 * tree_touch() of the item came before. Layout lock exclusive. */
void content_store_size(struct txn *t, struct inode *i, uint64_t size);
/* May content be changed at all? -EROFS, -EISDIR, -EINVAL not a regular file, -EPERM immutable.
 * *flags: INODE_FL_... as they are. */
int content_writable(struct inode *i, uint32_t *flags);

static inline struct domain *
content_domain(const struct inode *i)
{
	return pool_domain(i->fs->pool);
}

static inline void *
content_block(const struct inode *i, pblk_t pblk)
{
	return pool_block(i->fs->pool, pblk);
}

#endif
