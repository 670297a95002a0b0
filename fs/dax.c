/* SPDX-License-Identifier: BSD-3-Clause */
/* Writes to dax inodes.
 *
 * A block without checksum that the durable map names is stored to in place: no other file can
 * share it (clone.c copies such blocks), so this is the one exception to the rule that what the
 * committed root reaches does not change, and the reason why these blocks have no checksum. What
 * is stored is noted with the transaction, for its flush. Where there is no such block, one
 * is filled completely and mapped in the transaction at once; preallocated blocks are filled
 * where they are.
 *
 * Where the live map has something, because a range was cut out, preallocated, or is pinned, the
 * write goes there as in any other file; writeback makes that durable, with checksums, and the next
 * write after it takes the blocks out of that state. So truncating, punching and
 * preallocating need nothing special.
 *
 * A pin fixes the durable blocks themselves: dax_prepare() makes the range consist of such as are stored to
 * in place, and they are entered in the live map as LIVE_DAX, because that is where pins are counted. What is
 * stored there, by whomever, is flushed by the next fsync (WB_FLUSH).
 *
 * The attribute can be turned on and off at any time but under a pin. Blocks with checksums that a dax inode
 * has are replaced when they are written to; so are blocks without, of an inode that is dax no longer, by the
 * usual writeback. What the inode is, is looked at under the io lock.
 *
 * The size in the inode's item moves with the blocks that are mapped, so that after a crash
 * no block lies behind the end of the file.
 */
#include "fs/dax.h"

#include <errno.h>
#include <fcntl.h>

#include "fs/content.h"
#include "fs/layout.h"
#include "fs/pin_i.h"
#include "fs/writeback_i.h"

/* Bytes written in one transaction. */
#define DAX_BYTES ((uint64_t)1 << 20)
/* Blocks that are made fit for a pin in one transaction. */
#define PREPARE_BLOCKS ((uint64_t)16384)

struct dax_write {
	struct inode *inode;
	struct txn txn;
	struct write_cursor at;
	struct content_wait wait;
};

static bool
is_dax_block(const struct segment *s)
{
	return s->live == NULL && s->kind == LIVE_DATA && (s->extent_flags & EXTENT_NOCSUM);
}

/* Map filled blocks, which replace whatever the durable map has there, up to byte `end` of the
 * file. Layout lock exclusive. */
static int
map_blocks(struct dax_write *dw, fblk_t fblk, pblk_t pblk, uint64_t n, uint64_t end)
{
	struct inode *i = dw->inode;
	struct pin_freed freed = { .inode = i, .keep = false };
	struct txn *t = &dw->txn;
	int r;

	CDS_INIT_LIST_HEAD(&freed.spares);
	r = txn_extend(t, extent_credits(i, 1, n) + txn_credits(i->fs->pool, 1));
	if (r == 0)
		r = tree_touch(t, tree_key(i->ino, ITEM_INODE, 0));
	if (r == 0)
		layout_fill(i, fblk, n);
	if (r == 0)
		r = extent_replace(t, i, fblk, pblk, n, EXTENT_NOCSUM, NULL, false,
		    pin_table(i) ? pin_extent_freed : NULL, &freed);
	if (r < 0)
		return r;
	txn_note_data(t, pblk, n);
	content_store_size(t, i, max_of(i->durable_size, end));
	return 0;
}

/* Map filled blocks, if nothing is in the live map there. Takes the layout lock. */
static int
map_if_free(struct dax_write *dw, fblk_t fblk, pblk_t pblk, uint64_t n, uint64_t end, bool *mapped)
{
	struct inode *i = dw->inode;
	struct live_extent *e;
	int r = 0;

	rwl_wrlock(&i->layout_lock);
	e = live_find(&i->live, fblk);
	if (e == NULL || e->fblk >= fblk + n) {
		r = map_blocks(dw, fblk, pblk, n, end);
		*mapped = r == 0;
	}
	rwl_unlock(&i->layout_lock);
	return r;
}

/* Layout lock exclusive: what can be stored where it is. *how: STORE_IN_PLACE done; STORE_FRESH nothing
 * done yet, s is to be replaced by new blocks; STORE_UNSHARE: live, nothing done. */
static int
store_there(struct dax_write *dw, struct segment *s, enum store_how *how)
{
	struct write_cursor *c = &dw->at;
	struct inode *i = dw->inode;
	struct domain *d = content_domain(i);
	size_t head = c->off & BLK_MASK;
	uint64_t n, blocks;
	uint8_t *to;
	int r;

	r = segment_lookup(i, c->off >> BLK_SHIFT, bytes_to_blocks_up(head + c->len), s);
	if (r < 0)
		return r;
	n = write_bytes_in(c, s->len);
	blocks = bytes_to_blocks_up(head + n);
	*how = STORE_IN_PLACE;
	if (s->live != NULL) {
		*how = STORE_UNSHARE;
		return 0;
	}
	if (is_dax_block(s)) {
		to = content_block(i, s->pblk);
		domain_copy(d, to + head, c->src, n);
		txn_note_data(&dw->txn, s->pblk, blocks);
	} else if (s->kind == LIVE_UNWRITTEN) {
		to = content_block(i, s->pblk);
		domain_zero(d, to, head);
		domain_copy(d, to + head, c->src, n);
		domain_zero(d, to + head + n, -(c->off + n) & BLK_MASK);
		r = map_blocks(dw, s->fblk, s->pblk, blocks, c->off + n);
		if (r < 0)
			return r;
	} else {
		*how = STORE_FRESH;
		return 0;
	}
	write_advance(c, n);
	return 0;
}

/* Replace (the beginning of) s, a hole or data with checksums, by new blocks. */
static int
store_new(struct dax_write *dw, const struct segment *s)
{
	struct write_cursor *c = &dw->at;
	struct inode *i = dw->inode;
	struct pool *p = i->fs->pool;
	size_t head = c->off & BLK_MASK, tail;
	uint64_t got, n;
	bool mapped = false;
	pblk_t start;
	uint8_t *to;
	int r;

	r = pool_alloc_data(p, PBLK_NONE, s->len, 0, &start, &got);
	if (r < 0)
		return r;
	n = write_bytes_in(c, got);
	tail = -(c->off + n) & BLK_MASK;
	to = pool_block(p, start);
	r = content_fill_rest(i, s->fblk, to, (unsigned)head, got == 1 ? (unsigned)(BLK_SIZE - tail) : BLK_SIZE);
	if (r == 0 && got > 1)
		r = content_fill_rest(i, s->fblk + got - 1, to + ((got - 1) << BLK_SHIFT), 0,
		    (unsigned)(BLK_SIZE - tail));
	if (r == 0) {
		domain_copy(content_domain(i), to + head, c->src, n);
		r = map_if_free(dw, s->fblk, start, got, c->off + n, &mapped);
	}
	if (mapped)
		write_advance(c, n);
	else
		pool_free_data(p, start, got);
	return r;
}

/* A live part: as in any other file, but not beyond it. */
static int
store_live(struct dax_write *dw, const struct segment *s)
{
	struct write_cursor part = dw->at;
	uint64_t before;
	int r;

	before = part.len = write_bytes_in(&dw->at, s->len);
	r = content_write_run(dw->inode, &part, &dw->wait);
	write_advance(&dw->at, before - part.len);
	return r;
}

/* What is stored in place is flushed by this transaction's commit. */
static void
wait_for_txn(struct dax_write *dw)
{
	struct inode *i = dw->inode;

	mtx_lock(&i->attr_lock);
	i->last_fsync_txn = txn_number(&dw->txn);
	mtx_unlock(&i->attr_lock);
}

/* io lock exclusive held, within a transaction. */
static int
write_chunk(struct dax_write *dw, bool kill_suidgid)
{
	struct inode *i = dw->inode;
	uint64_t start = dw->at.off;
	enum store_how how;
	struct segment s;
	int r = 0;

	if (dw->at.off > i->size)
		r = content_zero_tail(i, &dw->wait);
	while (r == 0 && dw->at.len > 0) {
		rwl_wrlock(&i->layout_lock);
		r = store_there(dw, &s, &how);
		rwl_unlock(&i->layout_lock);
		if (r == 0 && how == STORE_FRESH)
			r = store_new(dw, &s);
		else if (r == 0 && how == STORE_UNSHARE)
			r = store_live(dw, &s);
	}
	if (dw->at.off > start) {
		content_changed(i, max_of(i->size, dw->at.off), kill_suidgid);
		wait_for_txn(dw);
	}
	return r;
}

ssize_t
dax_write(struct file *f, const void *buf, uint64_t len, uint64_t off, bool kill_suidgid)
{
	struct dax_write dw = { .inode = f->inode, .at = { buf, off, 0 } };
	struct inode *i = f->inode;
	bool append = f->flags & O_APPEND;
	uint64_t start = off, left = len;
	int r;

	do {
		r = txn_begin(i->fs->pool, &dw.txn, 0, 0);
		if (r < 0)
			break;
		rwl_wrlock(&i->io_lock);
		if (append && dw.at.off == start)
			dw.at.off = start = i->size;
		if (!inode_is_dax(i)) {
			left = 0; /* turned off meanwhile: the rest is not for us */
		} else if (start >= FILE_MAX_BYTES) {
			r = -EFBIG;
		} else if (append && dw.at.off != i->size) {
			left = 0; /* another append came in between */
		} else {
			left = min_of(len, FILE_MAX_BYTES - start) - (dw.at.off - start);
			dw.at.len = min_of(left, DAX_BYTES);
			r = write_chunk(&dw, kill_suidgid);
			left = min_of(len, FILE_MAX_BYTES - start) - (dw.at.off - start);
		}
		rwl_unlock(&i->io_lock);
		txn_end(&dw.txn);
		if (r != 0)
			r = content_retry(i, r, &dw.wait);
	} while (r == 0 && left > 0);
	return dw.at.off > start ? (ssize_t)(dw.at.off - start) : r;
}

/* ---- pins -------------------------------------------------------------------- */

bool
dax_pinnable(const struct segment *s, bool write)
{
	if (s->kind != LIVE_DATA)
		return !write;
	return s->live != NULL ? (s->live->flags & LIVE_DAX) != 0 : (s->extent_flags & EXTENT_NOCSUM) != 0;
}

/* (The beginning of) s, durable or a hole, in fresh blocks, near goal; a preallocated one in its own. s->len becomes
 * what was done. */
static int
convert(struct dax_write *dw, struct segment *s, pblk_t *goal)
{
	struct inode *i = dw->inode;
	struct pool *p = i->fs->pool;
	bool fresh = s->kind != LIVE_UNWRITTEN, mapped = false;
	pblk_t start = s->pblk;
	uint64_t n = s->len;
	int r = 0;

	if (fresh)
		r = pool_alloc_data(p, *goal, s->len, ALLOC_HUGE, &start, &n);
	if (r < 0)
		return r;
	for (uint64_t k = 0; k < n && r == 0; k++)
		r = content_fill_rest(i, s->fblk + k, pool_block(p, start + k), 0, 0);
	if (r == 0)
		r = map_if_free(dw, s->fblk, start, n, 0, &mapped);
	if (mapped) {
		wait_for_txn(dw);
		*goal = start + n;
	} else if (fresh) {
		pool_free_data(p, start, n);
	}
	s->len = n;
	return r;
}

int
dax_prepare(struct inode *i, fblk_t fblk, uint64_t len, bool write)
{
	const struct wb_want want = { .fblk = fblk, .end = fblk + len, .bounce = true };
	struct dax_write dw = { .inode = i };
	fblk_t end = fblk + len;
	pblk_t goal = PBLK_NONE;
	struct segment s;
	uint64_t txn;
	int r;

	r = writeback_run(i, &want, &txn);
	for (; r == 0 && fblk < end; fblk += s.len) {
		r = txn_begin(i->fs->pool, &dw.txn, 0, 0);
		if (r < 0)
			break;
		rwl_wrlock(&i->io_lock);
		rwl_rdlock(&i->layout_lock);
		r = segment_lookup(i, fblk, min_of(end - fblk, PREPARE_BLOCKS), &s);
		rwl_unlock(&i->layout_lock);
		/* what has become live again meanwhile is for the next attempt */
		if (r == 0 && inode_is_dax(i) && s.live == NULL && !dax_pinnable(&s, write))
			r = convert(&dw, &s, &goal);
		rwl_unlock(&i->io_lock);
		txn_end(&dw.txn);
	}
	return r;
}

int
dax_forget(struct txn *t, struct inode *i)
{
	struct live_extent *e;
	fblk_t at;
	int r = 0;

	for (at = 0; r == 0 && (e = live_find(&i->live, at)) != NULL;) {
		at = live_end(e);
		if (!(e->flags & LIVE_DAX))
			continue;
		if (e->flags & LIVE_DIRTY)
			txn_note_data(t, e->pblk, e->len);
		r = live_remove(&i->live, e->fblk, e->len, NULL, NULL);
	}
	return r;
}
