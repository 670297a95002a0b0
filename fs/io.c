/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading, writing and truncating files.
 *
 * A read hands out iovecs into the mapped pool and keeps the io and layout locks
 * shared until its caller has copied or sent the bytes: so no block can be freed
 * and used again under it. Holes and preallocated blocks are read from one
 * megabyte of zero pages.
 *
 * A write goes run by run: as many blocks as may be treated alike (content.h tells how).
 * Stores in place happen under the layout lock. Fresh blocks are allocated and filled with no
 * layout lock held, completely, and then put into the live map, unless a pin has
 * claimed their range in the meantime: then that part is tried again, in place.
 * The size moves when a stretch of writing ends, under the io lock, so readers see a write whole.
 *
 * Two things need locks dropped in the middle: moving the durable side of a block away that is
 * pinned in place, and making space on a full pool. What was written until then counts;
 * afterwards the write goes on where it was.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "fs/content.h"
#include "fs/dax.h"
#include "fs/layout.h"

#define ZERO_BYTES ((size_t)1 << 20)
#define READ_IOVECS 64

static pthread_once_t zero_once = PTHREAD_ONCE_INIT;
static uint8_t *zero_area;

static void
zero_map(void)
{
	void *p = mmap(NULL, ZERO_BYTES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	zero_area = p == MAP_FAILED ? NULL : p;
}

static int
check_alignment(const struct file *f, uint64_t off, size_t len)
{
	unsigned align = f->inode->fs->opt.dio_align;

	if (align == 0 || !(f->flags & O_DIRECT))
		return 0;
	return ((off | len) & (align - 1)) == 0 ? 0 : -EINVAL;
}

/* ---- reading --------------------------------------------------------------- */

/* Add bytes to the list, to its last element if they follow that. False: no room. */
static bool
add_iovec(struct iovec *iov, int max, int *count, const uint8_t *base, size_t len)
{
	struct iovec *last = iov + *count - 1;

	if (*count > 0 && (const uint8_t *)last->iov_base + last->iov_len == base && base != zero_area) {
		last->iov_len += len;
		return true;
	}
	if (*count >= max)
		return false;
	iov[*count] = (struct iovec){ (void *)(uintptr_t)base, len };
	++*count;
	return true;
}

static bool
add_zeroes(struct iovec *iov, int max, int *count, size_t len, size_t *done)
{
	size_t n;

	for (; len > 0; len -= n, *done += n) {
		n = min_of(len, ZERO_BYTES);
		if (!add_iovec(iov, max, count, zero_area, n))
			return false;
	}
	return true;
}

/* The bytes [off, end) of the file, which exist; layout lock shared. */
static ssize_t
collect(struct inode *i, uint64_t off, uint64_t end, struct iovec *iov, int max, int *count)
{
	uint64_t at = off, seg_end;
	struct segment s;
	size_t n, zeroes;
	bool more;
	int r;

	while (at < end) {
		r = segment_lookup(i, at >> BLK_SHIFT, bytes_to_blocks_up(end) - (at >> BLK_SHIFT), &s);
		if (r == 0)
			r = segment_verify(i, &s);
		if (r < 0)
			return r;
		seg_end = min_of((s.fblk + s.len) << BLK_SHIFT, end);
		n = seg_end - at;
		if (s.kind == LIVE_DATA) {
			more = add_iovec(iov, max, count,
			    (uint8_t *)content_block(i, s.pblk) + (at & BLK_MASK), n);
			if (!more)
				break;
			at += n;
		} else {
			zeroes = 0;
			more = add_zeroes(iov, max, count, n, &zeroes);
			at += zeroes;
			if (!more)
				break;
		}
	}
	return (ssize_t)(at - off);
}

ssize_t
fs_read_begin(struct file *f, uint64_t off, size_t len, struct iovec *iov, int max, int *count)
{
	struct inode *i = f->inode;
	ssize_t r;

	*count = 0;
	if (i->type != S_IFREG)
		return i->type == S_IFDIR ? -EISDIR : -EINVAL;
	if (off > FILE_MAX_BYTES)
		return -EINVAL;
	r = check_alignment(f, off, len);
	if (r < 0)
		return r;
	pthread_once(&zero_once, zero_map);
	if (zero_area == NULL)
		return -ENOMEM;
	len = min_of(len, (size_t)SSIZE_MAX);
	if (len > 0 && !(f->flags & O_NOATIME))
		inode_accessed(i);

	rwl_rdlock(&i->io_lock);
	rwl_rdlock(&i->layout_lock);
	if (off >= i->size)
		return 0;
	r = collect(i, off, off + min_of(len, i->size - off), iov, max, count);
	if (r < 0) {
		*count = 0;
		fs_read_done(f);
	}
	return r;
}

void
fs_read_done(struct file *f)
{
	rwl_unlock(&f->inode->layout_lock);
	rwl_unlock(&f->inode->io_lock);
}

ssize_t
fs_read(struct file *f, void *buf, size_t len, uint64_t off)
{
	struct iovec iov[READ_IOVECS];
	size_t done = 0;
	ssize_t n;
	int count;

	do {
		n = fs_read_begin(f, off + done, len - done, iov, READ_IOVECS, &count);
		if (n < 0)
			return done > 0 ? (ssize_t)done : n;
		for (int k = 0; k < count; k++) {
			memcpy((uint8_t *)buf + done, iov[k].iov_base, iov[k].iov_len);
			done += iov[k].iov_len;
		}
		fs_read_done(f);
	} while (n > 0 && done < len && off + done <= FILE_MAX_BYTES);
	return (ssize_t)done;
}

/* ---- writing --------------------------------------------------------------- */

/* A run of blocks to treat alike: layout lock shared. *s is its first segment; *goal is set for
 * STORE_FRESH. */
static int
next_run(struct inode *i, const struct write_cursor *c, struct segment *s, enum store_how *how, uint64_t *nblocks,
    pblk_t *goal)
{
	fblk_t first = c->off >> BLK_SHIFT, end = bytes_to_blocks_up(c->off + c->len), at;
	struct segment more;
	int r;

	r = segment_lookup(i, first, end - first, s);
	if (r < 0)
		return r;
	*how = segment_store(s);
	at = first + s->len;
	if (*how == STORE_FRESH) {
		*goal = content_goal(i, first, s);
		while (at < end) {
			r = segment_lookup(i, at, end - at, &more);
			/* what can't be looked up ends the run, and is met again if it matters */
			if (r < 0 || segment_store(&more) != STORE_FRESH)
				break;
			at += more.len;
		}
	}
	*nblocks = at - first;
	return 0;
}

/* Into blocks that are live and mutable. Layout lock exclusive. */
static void
store_in_place(struct inode *i, struct write_cursor *c, const struct segment *s)
{
	uint64_t n = write_bytes_in(c, s->len);
	uint8_t *to = content_block(i, s->pblk);

	domain_copy(content_domain(i), to + (c->off & BLK_MASK), c->src, n);
	if (!(s->live->flags & LIVE_DIRTY))
		content_mark_dirty(i, s->fblk, s->fblk + bytes_to_blocks_up((c->off & BLK_MASK) + n));
	write_advance(c, n);
}

/* Into preallocated blocks, which become data. Layout lock exclusive. */
static int
store_fill(struct inode *i, struct write_cursor *c, const struct segment *s)
{
	uint64_t n = write_bytes_in(c, s->len);
	uint64_t blocks = bytes_to_blocks_up((c->off & BLK_MASK) + n);
	struct domain *d = content_domain(i);
	size_t head = c->off & BLK_MASK, tail = -(c->off + n) & BLK_MASK;
	uint8_t *to = content_block(i, s->pblk);
	int r;

	/* that can fail, and until it is done the blocks read zero whatever is in them */
	r = live_prepare(&i->live);
	if (r < 0)
		return r;
	domain_zero(d, to, head);
	domain_copy(d, to + head, c->src, n);
	domain_zero(d, to + head + n, tail);
	layout_fill(i, s->fblk, blocks);
	r = live_set(&i->live, s->fblk, blocks, LIVE_DATA, s->pblk, LIVE_DIRTY, NULL, NULL);
	if (r == 0)
		write_advance(c, n);
	return r;
}

/* Put complete blocks into the live map, as many as may go there; *n becomes that number, which
 * the map owns now. Takes the layout lock. */
static int
enter_blocks(struct inode *i, fblk_t fblk, pblk_t pblk, uint64_t *n)
{
	int r;

	rwl_wrlock(&i->layout_lock);
	*n = content_replaceable(i, fblk, *n);
	layout_fill(i, fblk, *n);
	r = live_set(&i->live, fblk, *n, LIVE_DATA, pblk, LIVE_DIRTY, content_drop, i);
	if (r < 0)
		*n = 0;
	rwl_unlock(&i->layout_lock);
	return r;
}

/* Into fresh blocks: at most nblocks, maybe none if a pin was quicker. No layout lock held. */
static int
store_fresh(struct inode *i, struct write_cursor *c, uint64_t nblocks, pblk_t goal)
{
	struct pool *p = i->fs->pool;
	fblk_t fblk = c->off >> BLK_SHIFT;
	size_t head = c->off & BLK_MASK, tail;
	uint64_t got, kept, n;
	uint8_t *to;
	pblk_t start;
	int r;

	r = pool_alloc_data(p, goal, nblocks, 0, &start, &got);
	if (r < 0)
		return r;
	kept = 0;
	n = write_bytes_in(c, got);
	tail = -(c->off + n) & BLK_MASK;
	to = content_block(i, start);
	if (got == 1) {
		r = content_fill_rest(i, fblk, to, (unsigned)head, (unsigned)(BLK_SIZE - tail));
	} else {
		r = content_fill_rest(i, fblk, to, (unsigned)head, BLK_SIZE);
		if (r == 0)
			r = content_fill_rest(i, fblk + got - 1, to + ((got - 1) << BLK_SHIFT), 0,
			    (unsigned)(BLK_SIZE - tail));
	}
	if (r == 0) {
		domain_copy(content_domain(i), to + head, c->src, n);
		kept = got;
		r = enter_blocks(i, fblk, start, &kept);
	}
	if (kept < got)
		pool_free_data(p, start + kept, got - kept);
	if (kept > 0)
		write_advance(c, write_bytes_in(c, kept));
	return r;
}

int
content_write_run(struct inode *i, struct write_cursor *c, struct content_wait *w)
{
	enum store_how how = STORE_IN_PLACE;
	pblk_t goal = PBLK_NONE;
	uint64_t nblocks = 0;
	struct segment s;
	int r;

	rwl_wrlock(&i->layout_lock);
	r = next_run(i, c, &s, &how, &nblocks, &goal);
	if (r == 0 && how == STORE_IN_PLACE)
		store_in_place(i, c, &s);
	else if (r == 0 && how == STORE_FILL)
		r = store_fill(i, c, &s);
	else if (r == 0 && how == STORE_UNSHARE)
		r = content_want_unshare(w, s.fblk, s.len);
	rwl_unlock(&i->layout_lock);
	if (r == 0 && how == STORE_FRESH)
		r = store_fresh(i, c, nblocks, goal);
	return r;
}

/* Moving the durable side away from read-pinned blocks drops the io lock. Ask for it before the first byte is
 * stored, so that readers don't see half of the write meanwhile. io lock exclusive held: no pin comes. */
static int
unshare_first(struct inode *i, const struct write_cursor *c, struct content_wait *w)
{
	fblk_t fblk = c->off >> BLK_SHIFT, end = ((c->off + c->len - 1) >> BLK_SHIFT) + 1;
	struct live_extent *e;
	int r = 0;

	if (c->len == 0)
		return 0;
	rwl_rdlock(&i->layout_lock);
	for (e = i->pins ? live_find(&i->live, fblk) : NULL; e && e->fblk < end; e = live_next(&i->live, e))
		if ((e->flags & (LIVE_DURABLE | LIVE_DAX)) == LIVE_DURABLE) {
			r = content_want_unshare(w, fblk, end - fblk);
			break;
		}
	rwl_unlock(&i->layout_lock);
	return r;
}

/* All that can be written without dropping the io lock, which is held exclusive. */
static int
write_locked(struct inode *i, struct write_cursor *c, bool kill_suidgid, struct content_wait *w)
{
	uint64_t start = c->off;
	int r = 0;

	if (c->off > i->size)
		r = content_zero_tail(i, w);
	if (r == 0)
		r = unshare_first(i, c, w);
	while (r == 0 && c->len > 0)
		r = content_write_run(i, c, w);
	if (c->off > start)
		content_changed(i, max_of(i->size, c->off), kill_suidgid);
	return r;
}

/* Is this write allowed, and up to which length? */
static int
check_write(struct file *f, uint64_t off, uint64_t *len, uint32_t *inode_flags)
{
	int r;

	r = content_writable(f->inode, inode_flags);
	if (r < 0)
		return r;
	if ((f->flags & O_ACCMODE) == O_RDONLY)
		return -EBADF;
	if (off > FILE_MAX_BYTES)
		return -EINVAL;
	r = check_alignment(f, off, *len);
	if (r < 0)
		return r;
	*len = min_of(*len, (uint64_t)SSIZE_MAX);
	return 0;
}

ssize_t
fs_write(struct file *f, const void *buf, size_t length, uint64_t off, bool kill_suidgid)
{
	struct inode *i = f->inode;
	struct content_wait wait = { .reclaimed = false };
	bool append = f->flags & O_APPEND;
	uint64_t len = length, start = off;
	struct write_cursor c = { buf, off, 0 };
	uint32_t flags;
	ssize_t n;
	int r;

	r = check_write(f, append ? 0 : off, &len, &flags);
	if (r < 0 || len == 0)
		return r;
	if (flags & INODE_FL_DAX) {
		n = dax_write(f, buf, len, off, kill_suidgid);
		if (n != 0)
			return n;
	}
	do {
		rwl_wrlock(&i->io_lock);
		if (append && c.off == start)
			c.off = start = i->size;
		if (start >= FILE_MAX_BYTES) {
			r = -EFBIG;
		} else if (append && c.off != i->size) {
			/* another append came in between: what is left has no place any more */
			r = 0;
		} else {
			c.len = min_of(len, FILE_MAX_BYTES - start) - (c.off - start);
			r = write_locked(i, &c, kill_suidgid, &wait);
		}
		rwl_unlock(&i->io_lock);
		if (r == 0)
			break;
		r = content_retry(i, r, &wait);
	} while (r == 0);
	return c.off > start ? (ssize_t)(c.off - start) : r;
}

/* ---- adopting blocks --------------------------------------------------------- */

/* Put the blocks [0, n) of a run in place of [fblk, fblk+n). *kept: how many went into
 * the map. Stops where something is pinned. io lock exclusive held. */
static int
adopt_run(struct inode *i, fblk_t fblk, pblk_t run, uint64_t n, uint64_t *kept)
{
	struct live_extent *e;
	int r;

	rwl_wrlock(&i->layout_lock);
	for (e = live_find(&i->live, fblk); e != NULL && e->fblk < fblk + n; e = live_next(&i->live, e)) {
		if (live_held(e) || (e->flags & LIVE_DURABLE)) {
			n = e->fblk > fblk ? e->fblk - fblk : 0;
			break;
		}
	}
	layout_fill(i, fblk, n);
	r = live_set(&i->live, fblk, n, LIVE_DATA, run, LIVE_DIRTY, content_drop, i);
	*kept = r == 0 ? n : 0;
	rwl_unlock(&i->layout_lock);
	return r;
}

/* One stretch of an adoption: what the map takes by reference, or else a run that is copied. */
static int
adopt_some(struct inode *i, struct write_cursor *c, struct content_wait *w)
{
	struct pool *p = i->fs->pool;
	pblk_t run = pool_block_of(p, c->src);
	uint64_t kept = 0, before = c->len;
	struct write_cursor copy;
	int r;

	r = adopt_run(i, c->off >> BLK_SHIFT, run, c->len >> BLK_SHIFT, &kept);
	if (r == 0 && kept > 0) {
		write_advance(c, kept << BLK_SHIFT);
		return 0;
	}
	if (r < 0)
		return r;
	copy = *c;
	copy.len = BLK_SIZE;
	r = content_write_run(i, &copy, w);
	if (copy.len < BLK_SIZE) {
		pool_free_data(p, run, 1);
		write_advance(c, min_of(before, (uint64_t)BLK_SIZE));
	}
	return r;
}

static int
adopt_locked(struct inode *i, struct write_cursor *c, struct content_wait *w)
{
	uint64_t start = c->off;
	int r = 0;

	if (c->off > i->size)
		r = content_zero_tail(i, w);
	while (r == 0 && c->len > 0)
		r = adopt_some(i, c, w);
	if (c->off > start)
		content_changed(i, max_of(i->size, c->off), false);
	return r;
}

ssize_t
fs_write_blocks(struct file *f, pblk_t run, uint64_t nblocks, uint64_t off, bool kill_suidgid)
{
	struct inode *i = f->inode;
	struct pool *p = i->fs->pool;
	struct content_wait wait = { .reclaimed = false };
	uint64_t len = nblocks << BLK_SHIFT;
	struct write_cursor c = { pool_block(p, run), off, len };
	uint32_t flags;
	ssize_t n;
	int r;

	r = check_write(f, off, &len, &flags);
	if (r == 0 && ((off & BLK_MASK) != 0 || (f->flags & O_APPEND) || (flags & INODE_FL_DAX))) {
		n = fs_write(f, c.src, len, off, kill_suidgid);
		pool_free_data(p, run, nblocks);
		return n;
	}
	/* whole blocks only: the very last one of the largest file is not */
	if (r == 0 && len > FILE_MAX_BYTES - off)
		r = -EFBIG;
	while (r == 0 && c.len > 0) {
		rwl_wrlock(&i->io_lock);
		r = adopt_locked(i, &c, &wait);
		rwl_unlock(&i->io_lock);
		if (r != 0)
			r = content_retry(i, r, &wait);
	}
	if (c.len > 0)
		pool_free_data(p, run + (nblocks - (c.len >> BLK_SHIFT)), c.len >> BLK_SHIFT);
	if (kill_suidgid && c.off > off)
		inode_kill_suidgid(i);
	return c.off > off ? (ssize_t)(c.off - off) : r;
}

/* ---- truncating -------------------------------------------------------------- */

/* io lock exclusive held. */
static int
truncate_locked(struct inode *i, uint64_t size, struct content_wait *w)
{
	int r;

	if (size > i->size) {
		r = content_zero_tail(i, w);
	} else {
		r = content_prepare_cut(i);
		if (r == 0)
			r = content_zero(i, size, -size & BLK_MASK, true, w);
		/* also blocks behind the end that fallocate put there */
		if (r == 0)
			r = content_cut(i, bytes_to_blocks_up(size), FBLK_MAX + 1);
	}
	if (r == 0)
		content_changed(i, size, false);
	return r;
}

int
fs_truncate(struct inode *i, uint64_t size)
{
	struct content_wait wait = { .reclaimed = false };
	uint32_t flags;
	int r;

	r = content_writable(i, &flags);
	if (r < 0)
		return r;
	if (flags & INODE_FL_APPEND)
		return -EPERM;
	if (size > FILE_MAX_BYTES)
		return -EFBIG;
	do {
		rwl_wrlock(&i->io_lock);
		r = truncate_locked(i, size, &wait);
		rwl_unlock(&i->io_lock);
		if (r == 0)
			return 0;
		r = content_retry(i, r, &wait);
	} while (r == 0);
	return r;
}
