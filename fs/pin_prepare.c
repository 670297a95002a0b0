/* SPDX-License-Identifier: BSD-3-Clause */
/* Making the blocks of a range fit to be pinned.
 *
 * For a read pin the blocks are there; those that only the durable map has are entered in the
 * live map as LIVE_DURABLE. (A block that another file shares is copied, though: it could not
 * be moved away from under the pin later, because the other file names it, too.)
 *
 * For a write pin each block has to be live, mutable, and named by no durable map. The range is first
 * planned, under the layout lock shared: a list of pieces, each of which says where its
 * content is and whether it can stay. What can't stay gets fresh blocks, allocated for whole stretches
 * of pieces at once, so that pinning makes a file contiguous; if what
 * could stay is badly scattered and nobody has pinned it, it moves along. Then the content
 * is copied with no layout lock held; the sources stay what they are, because the writeback lock
 * and the io lock keep everybody away who could change or free them, but readers of
 * other files go on. At last the layout lock is taken exclusively and the fresh blocks
 * are entered: from then on nothing fails but for want of memory, and what has been entered by then
 * is just ordinary dirty data of the same content.
 *
 * A dax file has the durable blocks themselves pinned, for reading or writing (LIVE_DAX). They must be such as
 * are stored to in place: what is not is dax_prepare()'s to change, with no lock held (CONTENT_DAX).
 */
#include <errno.h>
#include <stdlib.h>

#include "fs/dax.h"
#include "fs/layout.h"
#include "fs/pin_i.h"
#include "fs/refcount.h"

/* A stretch shorter than this, on average, is worth copying to make a range contiguous. */
#define STRAIGHT_BLOCKS 512u

enum piece_how {
	PIECE_HOLE,    /* read pin: nothing to fix */
	PIECE_STAY,    /* live block that can be pinned as it is */
	PIECE_ENTER,   /* read pin, or dax: durable block, to be entered in the live map */
	PIECE_FILL,    /* live block that reads zero: clear it, then it can stay */
	PIECE_FRESH,   /* needs a fresh block: content at src, or zero */
};

struct piece {
	fblk_t fblk;
	uint64_t len;
	pblk_t src;     /* PBLK_NONE: zero */
	enum piece_how how;
	bool pinned;    /* somebody else's pin keeps it here */
};

/* Fresh blocks. */
struct fresh {
	fblk_t fblk;
	uint64_t len;
	pblk_t pblk;
};

struct prepare {
	struct inode *inode;
	bool write, dax;
	struct piece *piece;
	size_t npieces, piece_space;
	struct fresh *fresh;
	size_t nfresh, fresh_space;
};

/* The array, with room for one more than n elements. NULL: no memory, and it is as it was. */
static void *
grow(void *array, size_t *space, size_t n, size_t size)
{
	size_t more = *space ? 2 * *space : 16;
	void *grown;

	if (n < *space)
		return array;
	grown = realloc(array, more * size);
	if (grown)
		*space = more;
	return grown;
}

/* ---- the plan --------------------------------------------------------------------------- */

static int
add_piece(struct prepare *p, const struct segment *s, uint64_t len, enum piece_how how)
{
	struct piece *last = p->npieces > 0 ? &p->piece[p->npieces - 1] : NULL;
	struct piece new = {
		.fblk = s->fblk,
		.len = len,
		.src = s->kind == LIVE_HOLE || (how == PIECE_FRESH && s->kind != LIVE_DATA) ? PBLK_NONE : s->pblk,
		.how = how,
		.pinned = s->live && live_pinned(s->live),
	};
	struct piece *piece;

	if (last && last->fblk + last->len == new.fblk && last->how == how && last->pinned == new.pinned &&
	    (new.src == PBLK_NONE ? last->src == PBLK_NONE : last->src != PBLK_NONE &&
	        last->src + last->len == new.src)) {
		last->len += len;
		return 0;
	}
	piece = grow(p->piece, &p->piece_space, p->npieces, sizeof(*piece));
	if (!piece)
		return -ENOMEM;
	p->piece = piece;
	p->piece[p->npieces++] = new;
	return 0;
}

/* A live block that nobody has pinned yet: is it one that the durable map names, too, as
 * preallocated? Two owners that can both outlive the pin are one too many. */
static int
plan_live(struct prepare *p, const struct segment *s, uint64_t *n, enum piece_how how)
{
	bool durable;

	*n = pin_durable_run(p->inode, s->fblk, s->pblk, *n, &durable);
	return add_piece(p, s, *n, durable ? PIECE_FRESH : how);
}

static int
plan_read(struct prepare *p, const struct segment *s, uint64_t *n)
{
	uint32_t owners;
	int r;

	if (s->kind != LIVE_DATA)
		return add_piece(p, s, *n, PIECE_HOLE);
	if (s->live) {
		if (live_pinned(s->live) || (s->live->flags & LIVE_DURABLE))
			return add_piece(p, s, *n, PIECE_STAY);
		return plan_live(p, s, n, PIECE_STAY);
	}
	r = refcount_get(p->inode->fs->pool, s->pblk, *n, &owners, n);
	if (r < 0)
		return r;
	return add_piece(p, s, *n, owners > 1 ? PIECE_FRESH : PIECE_ENTER);
}

/* CONTENT_UNSHARE. */
static int
plan_write(struct prepare *p, const struct segment *s, uint64_t *n, struct content_wait *w)
{
	const struct live_extent *e = s->live;

	if (!e || e->kind == LIVE_HOLE)
		return add_piece(p, s, *n, PIECE_FRESH);
	if (e->flags & LIVE_DURABLE)
		return content_want_unshare(w, s->fblk, *n);
	if (live_pinned(e))
		return add_piece(p, s, *n, PIECE_STAY);
	/* DMA of a holder that is gone may still store to it. */
	if (e->flags & LIVE_TAINTED)
		return add_piece(p, s, *n, PIECE_FRESH);
	return plan_live(p, s, n, e->kind == LIVE_DATA ? PIECE_STAY : PIECE_FILL);
}

/* CONTENT_DAX. */
static int
plan_dax(struct prepare *p, const struct segment *s, uint64_t n, fblk_t end, struct content_wait *w)
{
	if (!dax_pinnable(s, p->write) && !pool_readonly(p->inode->fs->pool) && !p->inode->fs->opt.readonly) {
		*w = (struct content_wait){ s->fblk, end - s->fblk, p->write, w->reclaimed };
		return CONTENT_DAX;
	}
	return add_piece(p, s, n, s->kind != LIVE_DATA ? PIECE_HOLE : s->live ? PIECE_STAY : PIECE_ENTER);
}

/* Layout lock shared. */
static int
plan_range(struct prepare *p, fblk_t fblk, fblk_t end, struct content_wait *w)
{
	struct segment s;
	uint64_t n;
	int r;

	for (; fblk < end; fblk += n) {
		r = segment_lookup(p->inode, fblk, end - fblk, &s);
		if (r == 0)
			r = segment_verify(p->inode, &s);
		if (r < 0)
			return r;
		n = s.len;
		if (p->dax)
			r = plan_dax(p, &s, n, end, w);
		else
			r = p->write ? plan_write(p, &s, &n, w) : plan_read(p, &s, &n);
		if (r != 0)
			return r;
	}
	return 0;
}

/* The pieces from..to are one stretch that nobody has pinned: should all of it move? */
static void
plan_straighten(struct prepare *p, size_t from, size_t to)
{
	uint64_t runs = 1, blocks = p->piece[from].len;

	for (size_t k = from + 1; k < to; k++) {
		const struct piece *c = &p->piece[k], *b = c - 1;
		bool fresh = c->how == PIECE_FRESH;

		blocks += c->len;
		if (fresh != (b->how == PIECE_FRESH) || (!fresh && b->src + b->len != c->src))
			runs++;
	}
	if (runs <= 1 + blocks / STRAIGHT_BLOCKS)
		return;
	for (size_t k = from; k < to; k++) {
		struct piece *c = &p->piece[k];

		if (c->how == PIECE_FILL)
			c->src = PBLK_NONE;
		c->how = PIECE_FRESH;
	}
}

/* Where a stretch that starts with piece k, not pinned, ends. */
static size_t
plan_stretch(const struct prepare *p, size_t k)
{
	size_t to = k + 1;

	while (to < p->npieces && !p->piece[to].pinned &&
	    p->piece[to - 1].fblk + p->piece[to - 1].len == p->piece[to].fblk)
		to++;
	return to;
}

static int
plan_make(struct prepare *p, const struct pin_range *r, unsigned n, struct content_wait *w)
{
	int err = 0;
	size_t to;

	rwl_rdlock(&p->inode->layout_lock);
	for (unsigned k = 0; k < n && err == 0; k++)
		err = plan_range(p, r[k].off >> BLK_SHIFT, (r[k].off + r[k].len) >> BLK_SHIFT, w);
	rwl_unlock(&p->inode->layout_lock);
	if (err != 0 || !p->write || p->dax)
		return err;
	for (size_t k = 0; k < p->npieces; k = to) {
		to = k + 1;
		if (p->piece[k].pinned)
			continue;
		to = plan_stretch(p, k);
		plan_straighten(p, k, to);
	}
	return 0;
}

/* ---- fresh blocks ------------------------------------------------------------------------- */

/* For the fresh pieces from k on that continue each other; k moves behind them. */
static int
alloc_stretch(struct prepare *p, size_t *k)
{
	struct pool *pool = p->inode->fs->pool;
	const struct piece *c = &p->piece[*k], *before = *k > 0 ? c - 1 : NULL;
	fblk_t fblk = c->fblk, end = fblk;
	struct fresh *fresh;
	pblk_t goal = PBLK_NONE, start;
	uint64_t got;
	int r;

	while (*k < p->npieces && p->piece[*k].how == PIECE_FRESH && p->piece[*k].fblk == end)
		end += p->piece[(*k)++].len;
	if (before && before->how == PIECE_STAY && before->fblk + before->len == fblk)
		goal = before->src + before->len;
	while (fblk < end) {
		fresh = grow(p->fresh, &p->fresh_space, p->nfresh, sizeof(*fresh));
		if (!fresh)
			return -ENOMEM;
		p->fresh = fresh;
		r = pool_alloc_data(pool, goal, end - fblk, ALLOC_HUGE | ALLOC_EXACT, &start, &got);
		if (r == -ENOSPC)
			r = pool_alloc_data(pool, goal, end - fblk, ALLOC_HUGE, &start, &got);
		if (r < 0)
			return r;
		p->fresh[p->nfresh++] = (struct fresh){ fblk, got, start };
		fblk += got;
		goal = start + got;
	}
	return 0;
}

static int
alloc_all(struct prepare *p)
{
	int r = 0;

	for (size_t k = 0; k < p->npieces && r == 0;) {
		if (p->piece[k].how == PIECE_FRESH)
			r = alloc_stretch(p, &k);
		else
			k++;
	}
	return r;
}

static void
free_fresh(struct prepare *p, size_t from)
{
	for (size_t k = from; k < p->nfresh; k++)
		pool_free_data(p->inode->fs->pool, p->fresh[k].pblk, p->fresh[k].len);
	p->nfresh = min_of(p->nfresh, from);
}

/* Pieces and fresh runs are in the same order. */
static void
fill_all(struct prepare *p)
{
	struct pool *pool = p->inode->fs->pool;
	struct domain *d = pool_domain(pool);
	uint64_t used = 0, n;
	size_t f = 0;

	for (size_t k = 0; k < p->npieces; k++) {
		const struct piece *c = &p->piece[k];

		if (c->how == PIECE_FILL)
			domain_zero(d, pool_block(pool, c->src), c->len << BLK_SHIFT);
		for (uint64_t done = 0; c->how == PIECE_FRESH && done < c->len; done += n) {
			void *to = pool_block(pool, p->fresh[f].pblk + used);

			n = min_of(c->len - done, p->fresh[f].len - used);
			if (c->src == PBLK_NONE)
				domain_zero(d, to, n << BLK_SHIFT);
			else
				domain_copy(d, to, pool_block(pool, c->src + done), n << BLK_SHIFT);
			used += n;
			if (used == p->fresh[f].len) {
				f++;
				used = 0;
			}
		}
	}
}

/* ---- entering ------------------------------------------------------------------------------- */

/* A range of a read pin, or in a dax file: what only the durable map has is entered in the live map. That is what
 * the plan said, and what pins on other open files have let go of since. */
static int
enter_durable(struct inode *i, fblk_t fblk, fblk_t end, bool dax)
{
	struct segment s;
	int r = 0;

	for (; fblk < end && r == 0; fblk += s.len) {
		r = segment_lookup(i, fblk, end - fblk, &s);
		if (r == 0 && !s.live && s.kind == LIVE_DATA)
			r = live_set(&i->live, s.fblk, s.len, LIVE_DATA, s.pblk, LIVE_DURABLE |
			    (dax && (s.extent_flags & EXTENT_NOCSUM) ? LIVE_DAX : 0), NULL, NULL);
	}
	return r;
}

/* A write pin's range: is all of it fit? A block that was read-pinned may have left the live
 * map with that pin. */
static int
check_writable(struct inode *i, fblk_t fblk, fblk_t end)
{
	struct segment s;
	int r;

	for (; fblk < end; fblk += s.len) {
		r = segment_lookup(i, fblk, end - fblk, &s);
		if (r < 0)
			return r;
		if (!s.live || s.kind != LIVE_DATA || (s.live->flags & (LIVE_DURABLE | LIVE_DAX)) == LIVE_DURABLE)
			return -EAGAIN;
	}
	return 0;
}

/* Layout lock exclusive. What was done stays done if this fails; fresh blocks that were not used are freed. */
static int
enter_all(struct prepare *p, const struct pin_range *range, unsigned n)
{
	struct inode *i = p->inode;
	struct live_map *m = &i->live;
	size_t f;
	int r = 0;

	for (f = 0; f < p->nfresh; f++) {
		const struct fresh *x = &p->fresh[f];

		r = live_prepare(m);
		if (r < 0)
			break;
		pin_cut(i, x->fblk, x->len); /* what is tainted */
		layout_fill(i, x->fblk, x->len);
		live_set(m, x->fblk, x->len, LIVE_DATA, x->pblk, LIVE_DIRTY, content_drop, i);
	}
	free_fresh(p, f);
	for (size_t k = 0; k < p->npieces && r == 0; k++) {
		const struct piece *c = &p->piece[k];

		if (c->how != PIECE_FILL)
			continue;
		layout_fill(i, c->fblk, c->len);
		r = live_set(m, c->fblk, c->len, LIVE_DATA, c->src, LIVE_DIRTY, NULL, NULL);
	}
	for (unsigned k = 0; k < n && r == 0; k++) {
		fblk_t from = range[k].off >> BLK_SHIFT, to = (range[k].off + range[k].len) >> BLK_SHIFT;

		if (!p->write || p->dax)
			r = enter_durable(i, from, to, p->dax);
		if (r == 0 && p->write)
			r = check_writable(i, from, to);
	}
	/* When all are there: what is entered may join what was split before. */
	for (unsigned k = 0; k < n && r == 0; k++) {
		fblk_t from = range[k].off >> BLK_SHIFT, to = (range[k].off + range[k].len) >> BLK_SHIFT;

		r = live_split(m, from);
		if (r == 0)
			r = live_split(m, to);
	}
	return r;
}

int
pin_prepare_layout_lock(struct inode *i, bool write, const struct pin_range *range, unsigned n,
    struct content_wait *w)
{
	struct prepare p = { .inode = i, .write = write, .dax = inode_is_dax(i) };
	int r;

	r = plan_make(&p, range, n, w);
	if (r == 0)
		r = alloc_all(&p);
	if (r == 0) {
		fill_all(&p);
		rwl_wrlock(&i->layout_lock);
		r = enter_all(&p, range, n);
		if (r < 0)
			rwl_unlock(&i->layout_lock);
	} else {
		free_fresh(&p, 0);
	}
	free(p.piece);
	free(p.fresh);
	return r;
}
