/* SPDX-License-Identifier: BSD-3-Clause */
/* fallocate(2) and lseek(2) for data and holes.
 *
 * Preallocating puts LIVE_UNWRITTEN extents where there is nothing: blocks that
 * read zero whatever is in them. All that will be needed is reserved first, so
 * that a request that does not fit changes nothing. Zeroing a range does the same and also
 * takes content away: blocks of the live map stay and are only said to be unwritten, but for pinned ones, which
 * go to their pins, as when a hole is punched, because DMA may store to them after the zeroes; durable ones are overlaid with fresh ones, because a writeback of the zeroes must not need
 * space that nobody promised. Punching is content_cut() with the bytes zeroed that share a block
 * with what stays.
 *
 * Blocks are allocated with no layout lock held, so a pin may fill a gap first: then the gap
 * needs less than was reserved, never more.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

#include "fs/content.h"

#define HUGE_BLOCKS 512u

/* A range of blocks in which space is to be had. */
struct prealloc {
	fblk_t at, end;
	fblk_t zero, zero_end; /* within it: content is to be zeroed */
	uint64_t left;         /* blocks reserved and not used yet */
};

static bool
to_zero(const struct prealloc *pa, fblk_t fblk)
{
	return fblk >= pa->zero && fblk < pa->zero_end;
}

/* The segment at fblk, all of which is to be treated alike. Layout lock shared. */
static int
next_segment(struct inode *i, const struct prealloc *pa, fblk_t fblk, struct segment *s)
{
	fblk_t end = pa->end;

	if (fblk < pa->zero)
		end = min_of(end, pa->zero);
	else if (fblk < pa->zero_end)
		end = min_of(end, pa->zero_end);
	return segment_lookup(i, fblk, end - fblk, s);
}

/* A block that can't become a preallocated one: a pin has it, or a dax file's durable map. */
static bool
is_held(const struct segment *s)
{
	return s->live && (live_held(s->live) || (s->live->flags & LIVE_DAX));
}

/* Does the segment need fresh blocks? */
static bool
is_gap(const struct prealloc *pa, const struct segment *s)
{
	return s->kind == LIVE_HOLE ||
	    (to_zero(pa, s->fblk) && s->kind == LIVE_DATA && (segment_store(s) == STORE_FRESH || is_held(s)));
}

/* How many fresh blocks the range needs. */
static int
count_gaps(struct inode *i, const struct prealloc *pa, uint64_t *need)
{
	struct segment s;
	fblk_t at;
	int r = 0;

	*need = 0;
	rwl_rdlock(&i->layout_lock);
	for (at = pa->at; at < pa->end; at += s.len) {
		r = next_segment(i, pa, at, &s);
		if (r < 0)
			break;
		if (is_gap(pa, &s))
			*need += s.len;
	}
	rwl_unlock(&i->layout_lock);
	return r;
}

/* Leave pinned blocks to their pins: here is a hole then. Layout lock exclusive. */
static int
let_go(struct inode *i, struct segment *s)
{
	int r = live_prepare(&i->live);

	if (r < 0)
		return r;
	content_cut_pins(i, s->fblk, s->fblk + s->len);
	r = live_set(&i->live, s->fblk, s->len, LIVE_HOLE, PBLK_NONE, LIVE_DIRTY, content_drop, i);
	s->kind = LIVE_HOLE;
	s->pblk = PBLK_NONE;
	s->live = NULL;
	return r;
}

/* Go on to the next gap and deal with what lies before it. *gap is 0 blocks long at the end. */
static int
find_gap(struct inode *i, struct prealloc *pa, struct segment *gap, pblk_t *goal, struct content_wait *w)
{
	int r = 0;

	gap->len = 0;
	rwl_wrlock(&i->layout_lock);
	for (; pa->at < pa->end; pa->at += gap->len) {
		r = next_segment(i, pa, pa->at, gap);
		if (r < 0)
			break;
		if (is_gap(pa, gap)) {
			if (is_held(gap))
				r = let_go(i, gap);
			if (r < 0)
				break;
			*goal = content_goal(i, pa->at, gap);
			break;
		}
		if (to_zero(pa, gap->fblk) && gap->kind == LIVE_DATA) {
			r = segment_store(gap) == STORE_IN_PLACE ?
			    live_set(&i->live, gap->fblk, gap->len, LIVE_UNWRITTEN, gap->pblk, LIVE_DIRTY, NULL, NULL) :
			    content_want_unshare(w, gap->fblk, gap->len);
			if (r != 0)
				break;
		}
	}
	if (pa->at >= pa->end)
		gap->len = 0;
	rwl_unlock(&i->layout_lock);
	return r;
}

/* Fresh blocks for the beginning of a gap. */
static int
fill_gap(struct inode *i, struct prealloc *pa, const struct segment *gap, pblk_t goal)
{
	uint64_t want = min_of(gap->len, pa->left), got, kept;
	struct pool *p = i->fs->pool;
	pblk_t start;
	int r;

	if (want == 0)
		return -ENOSPC;
	r = pool_alloc_data(p, goal, want, ALLOC_RESERVED | (want >= HUGE_BLOCKS ? ALLOC_HUGE : 0), &start,
	    &got);
	if (r < 0)
		return r;
	pa->left -= got;

	rwl_wrlock(&i->layout_lock);
	kept = content_replaceable(i, gap->fblk, got);
	r = live_set(&i->live, gap->fblk, kept, LIVE_UNWRITTEN, start, LIVE_DIRTY, content_drop, i);
	if (r < 0)
		kept = 0;
	rwl_unlock(&i->layout_lock);
	if (kept < got)
		pool_free_data(p, start + kept, got - kept);
	pa->at += kept;
	return r;
}

/* Have blocks in all of [at, end), and zeroes in [zero, zero_end) of it. io lock exclusive held.
 * CONTENT_UNSHARE. */
static int
prealloc_range(struct inode *i, fblk_t at, fblk_t end, fblk_t zero, fblk_t zero_end, struct content_wait *w)
{
	struct prealloc pa = { .at = at, .end = end, .zero = zero, .zero_end = zero_end };
	struct pool *p = i->fs->pool;
	pblk_t goal = PBLK_NONE;
	struct segment gap;
	int r;

	r = count_gaps(i, &pa, &pa.left);
	if (r == 0 && pa.left > 0)
		r = alloc_reserve(pool_alloc(p), pa.left, pool_meta_reserve(p));
	if (r < 0)
		return r;
	for (;;) {
		r = find_gap(i, &pa, &gap, &goal, w);
		if (r != 0 || gap.len == 0)
			break;
		r = fill_gap(i, &pa, &gap, goal);
		if (r != 0)
			break;
	}
	if (pa.left > 0)
		alloc_unreserve(pool_alloc(p), pa.left);
	return r;
}

/* Zero what [off, end) has of blocks that it does not cover. */
static int
zero_edges(struct inode *i, uint64_t off, uint64_t end, struct content_wait *w)
{
	uint64_t first_end = min_of((off | BLK_MASK) + 1, end), last = max_of(end & ~(uint64_t)BLK_MASK, off);
	int r = 0;

	if (off & BLK_MASK)
		r = content_zero(i, off, first_end - off, true, w);
	if (r == 0 && (end & BLK_MASK) && (last > off || !(off & BLK_MASK)))
		r = content_zero(i, last, end - last, true, w);
	return r;
}

static int
punch(struct inode *i, uint64_t off, uint64_t end, struct content_wait *w)
{
	fblk_t first = bytes_to_blocks_up(off), last;
	int r;

	/* nothing is behind the end of the file but zeroes: its last block can go as a whole */
	if (end >= i->size)
		end = max_of(end, i->size + (-i->size & BLK_MASK));
	last = end >> BLK_SHIFT;
	r = content_prepare_cut(i);
	if (r == 0)
		r = zero_edges(i, off, end, w);
	if (r == 0 && first < last)
		r = content_cut(i, first, last);
	return r;
}

/* io lock exclusive held. */
static int
fallocate_locked(struct inode *i, int mode, uint64_t off, uint64_t end, struct content_wait *w)
{
	bool grows = !(mode & FALLOC_FL_KEEP_SIZE) && end > i->size;
	fblk_t first = off >> BLK_SHIFT, last = bytes_to_blocks_up(end);
	int r = 0;

	if (mode & FALLOC_FL_PUNCH_HOLE) {
		r = punch(i, off, end, w);
	} else {
		if (grows)
			r = content_zero_tail(i, w);
		if (r == 0 && (mode & FALLOC_FL_ZERO_RANGE)) {
			r = prealloc_range(i, first, last, bytes_to_blocks_up(off), end >> BLK_SHIFT, w);
			if (r == 0)
				r = zero_edges(i, off, end, w);
		} else if (r == 0) {
			r = prealloc_range(i, first, last, 0, 0, w);
		}
	}
	if (r == 0)
		content_changed(i, grows ? end : i->size, false);
	return r;
}

static bool
mode_supported(int mode)
{
	switch (mode & ~FALLOC_FL_KEEP_SIZE) {
	case 0:
	case FALLOC_FL_ZERO_RANGE:
		return true;
	case FALLOC_FL_PUNCH_HOLE:
		return (mode & FALLOC_FL_KEEP_SIZE) != 0;
	default:
		return false;
	}
}

int
fs_fallocate(struct file *f, int mode, uint64_t off, uint64_t len)
{
	struct content_wait wait = { .reclaimed = false };
	struct inode *i = f->inode;
	uint32_t flags;
	int r;

	if (!mode_supported(mode))
		return -EOPNOTSUPP;
	r = content_writable(i, &flags);
	if (r < 0)
		return r;
	if ((f->flags & O_ACCMODE) == O_RDONLY)
		return -EBADF;
	if ((flags & INODE_FL_APPEND) && (mode & ~FALLOC_FL_KEEP_SIZE))
		return -EPERM;
	if (len == 0 || off > FILE_MAX_BYTES || len > FILE_MAX_BYTES)
		return -EINVAL;
	if (len > FILE_MAX_BYTES - off)
		return -EFBIG;
	do {
		rwl_wrlock(&i->io_lock);
		r = fallocate_locked(i, mode, off, off + len, &wait);
		rwl_unlock(&i->io_lock);
		if (r == 0)
			return 0;
		r = content_retry(i, r, &wait);
	} while (r == 0);
	return r;
}

/* The first offset from off on that is data (or is not); size if there is none. */
static int
seek_locked(struct inode *i, uint64_t off, bool data, uint64_t *found)
{
	uint64_t size = i->size, at = off;
	struct segment s;
	int r;

	while (at < size) {
		r = segment_lookup(i, at >> BLK_SHIFT, bytes_to_blocks_up(size) - (at >> BLK_SHIFT), &s);
		if (r < 0)
			return r;
		if ((s.kind == LIVE_DATA) == data)
			break;
		at = (s.fblk + s.len) << BLK_SHIFT;
	}
	*found = min_of(at, size);
	return 0;
}

int64_t
fs_seek(struct file *f, int64_t off, int whence)
{
	struct inode *i = f->inode;
	uint64_t found = 0;
	int r = 0;

	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return -EINVAL;
	if (i->type != S_IFREG)
		return i->type == S_IFDIR ? -EISDIR : -EINVAL;
	rwl_rdlock(&i->io_lock);
	rwl_rdlock(&i->layout_lock);
	if (off < 0 || (uint64_t)off >= i->size)
		r = -ENXIO;
	else
		r = seek_locked(i, (uint64_t)off, whence == SEEK_DATA, &found);
	if (r == 0 && whence == SEEK_DATA && found >= i->size)
		r = -ENXIO;
	rwl_unlock(&i->layout_lock);
	rwl_unlock(&i->io_lock);
	return r < 0 ? r : (int64_t)found;
}
