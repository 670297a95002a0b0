/* SPDX-License-Identifier: BSD-3-Clause */
/* The two maps of a file seen as one, and the rules of changing it.
 *
 * Where a store goes is decided block by block (segment_store): a live block
 * that no writeback has taken and the durable map does not name is stored to in
 * place, whether pinned or not; so is a block of a dax file that is pinned (LIVE_DAX), which the durable map
 * names; a preallocated one is stored to, too, and becomes data by that;
 * everything else is replaced by a fresh block that is complete before the live map
 * shows it. Holding the io lock exclusive keeps other writers and the start of a
 * writeback away, but not pins and not the end of a writeback: so what was
 * decided under the layout lock is looked at again (content_replaceable) when that
 * was dropped in between.
 *
 * Cutting a range out leaves a LIVE_HOLE there, also where the durable map has
 * nothing yet: a writeback under way may be about to map blocks that it took before. Where
 * neither map has anything there is nothing to hide either, because every block
 * that a writeback can have taken is still covered by one of them.
 *
 * Who owns a live block: the live map, unless a writeback has taken it, the
 * durable map names it (LIVE_DURABLE, or data stored into a block that is durable as
 * unwritten), or a pin holds it. content_drop() is the one place that frees.
 *
 * Bytes behind the end of the file in its last block are zero as far as write(2) goes, but a direct
 * mapping can store there, so whoever makes a file grow past the old end looks
 * (content_zero_tail).
 */
#include "fs/content.h"

#include <errno.h>
#include <string.h>

#include "fs/dax.h"
#include "pmem/log.h"

/* ---- looking ------------------------------------------------------------- */

int
segment_lookup(struct inode *i, fblk_t fblk, uint64_t max, struct segment *s)
{
	struct live_extent *e = live_find(&i->live, fblk);
	struct extent x;
	int r;

	s->fblk = fblk;
	if (e != NULL && e->fblk <= fblk) {
		s->len = min_of(live_end(e) - fblk, max);
		s->pblk = e->kind == LIVE_HOLE ? PBLK_NONE : e->pblk + (fblk - e->fblk);
		s->kind = (enum live_kind)e->kind;
		s->live = e;
		s->extent_flags = 0;
		return 0;
	}
	s->live = NULL;
	s->len = e != NULL ? min_of(e->fblk - fblk, max) : max;
	s->pblk = PBLK_NONE;
	s->kind = LIVE_HOLE;
	s->extent_flags = 0;
	if (i->durable_blocks == 0)
		return 0;
	r = extent_lookup(i, fblk, &x, NULL, 0);
	if (r < 0)
		return r;
	s->len = min_of(s->len, x.len - (fblk - x.fblk));
	if (x.pblk != PBLK_NONE) {
		s->pblk = x.pblk + (fblk - x.fblk);
		s->kind = x.flags & EXTENT_UNWRITTEN ? LIVE_UNWRITTEN : LIVE_DATA;
		s->extent_flags = x.flags;
	}
	return 0;
}

int
segment_verify(struct inode *i, const struct segment *s)
{
	if (s->live != NULL || s->kind != LIVE_DATA || (s->extent_flags & EXTENT_NOCSUM))
		return 0;
	return extent_verify(i, s->fblk, s->pblk, s->len, NULL);
}

enum store_how
segment_store(const struct segment *s)
{
	if (s->live == NULL)
		return s->kind == LIVE_UNWRITTEN ? STORE_FILL : STORE_FRESH;
	if (s->live->flags & LIVE_DAX)
		return STORE_IN_PLACE;
	if (s->live->flags & (LIVE_TAKEN | LIVE_DURABLE))
		return live_held(s->live) || (s->live->flags & LIVE_DURABLE) ? STORE_UNSHARE : STORE_FRESH;
	switch (s->kind) {
	case LIVE_DATA:
		return STORE_IN_PLACE;
	case LIVE_UNWRITTEN:
		return STORE_FILL;
	default:
		return STORE_FRESH;
	}
}

uint64_t
content_replaceable(struct inode *i, fblk_t fblk, uint64_t n)
{
	const struct live_map *m = &i->live;
	struct live_extent *e;

	for (e = live_find(m, fblk); e != NULL && e->fblk < fblk + n; e = live_next(m, e))
		if (live_held(e) || (e->kind != LIVE_HOLE && !(e->flags & LIVE_TAKEN)))
			return e->fblk > fblk ? e->fblk - fblk : 0;
	return n;
}

pblk_t
content_goal(struct inode *i, fblk_t fblk, const struct segment *s)
{
	struct live_extent *e;
	struct segment before;

	if (fblk == 0)
		return PBLK_NONE;
	e = live_find(&i->live, fblk - 1);
	if (e != NULL && e->fblk < fblk)
		return e->kind == LIVE_HOLE ? PBLK_NONE : e->pblk + (fblk - e->fblk);
	/* Replacing durable data, what follows the block before is most likely the data itself. */
	if (s->kind != LIVE_HOLE || segment_lookup(i, fblk - 1, 1, &before) != 0 ||
	    before.pblk == PBLK_NONE)
		return PBLK_NONE;
	return before.pblk + 1;
}

struct last_extent {
	struct inode *i;
	fblk_t end;
};

static int
last_extent(void *arg, struct tree_key key, const void *value, size_t len)
{
	struct last_extent *x = arg;
	const uint8_t *csums;
	struct extent e;
	const char *why;

	why = extent_decode(x->i->fs->pool, key, value, len, &e, &csums);
	if (why != NULL) {
		pinfs_log(LOG_ERR, "inode %llu: last extent: %s", (unsigned long long)x->i->ino, why);
		return -EIO;
	}
	x->end = e.fblk + e.len;
	return 1;
}

int
content_end(struct inode *i, fblk_t *end)
{
	struct last_extent x = { i, 0 };
	struct live_extent *e = RB_ROOT(&i->live.tree);
	int r;

	if (i->durable_blocks > 0) {
		r = tree_scan_back(i->fs->pool, tree_key(i->ino, ITEM_EXTENT, 0),
		    tree_key(i->ino, ITEM_EXTENT, UINT64_MAX), last_extent, &x);
		if (r < 0)
			return r;
	}
	while (e != NULL && RB_RIGHT(e, link) != NULL)
		e = RB_RIGHT(e, link);
	*end = e != NULL ? max_of(x.end, live_end(e)) : x.end;
	return 0;
}

/* ---- waiting and trying again ---------------------------------------------- */

int
content_want_unshare(struct content_wait *w, fblk_t fblk, uint64_t len)
{
	w->fblk = fblk;
	w->len = len;
	return CONTENT_UNSHARE;
}

int
content_retry(struct inode *i, int r, struct content_wait *w)
{
	if (r == CONTENT_UNSHARE)
		return pin_unshare(i, w->fblk, w->len);
	if (r == CONTENT_DAX) {
		r = dax_prepare(i, w->fblk, w->len, w->write);
		if (r == 0)
			return 0;
	}
	if (r != -ENOSPC || w->reclaimed)
		return r;
	w->reclaimed = true;
	return writeback_reclaim(i->fs) ? 0 : -ENOSPC;
}

/* ---- changing -------------------------------------------------------------- */

void
content_drop(void *arg, const struct live_extent *part)
{
	struct inode *i = arg;
	struct pool *p = i->fs->pool;
	fblk_t at = part->fblk, end = live_end(part);
	struct extent x;
	uint64_t n;
	int r;

	if (part->kind == LIVE_HOLE || (part->flags & (LIVE_TAKEN | LIVE_DURABLE)) || live_held(part))
		return;
	if (i->durable_blocks == 0) {
		pool_free_data(p, part->pblk, part->len);
		return;
	}
	for (; at < end; at += n) {
		pblk_t pblk = part->pblk + (at - part->fblk);

		r = extent_lookup(i, at, &x, NULL, 0);
		if (r < 0) {
			/* Lost until the next mount: better than free and in use. */
			pinfs_log(LOG_WARNING, "inode %llu: %llu blocks not freed: durable map is damaged",
			    (unsigned long long)i->ino, (unsigned long long)(end - at));
			return;
		}
		n = min_of(x.len - (at - x.fblk), end - at);
		if (x.pblk == PBLK_NONE || x.pblk + (at - x.fblk) != pblk)
			pool_free_data(p, pblk, n);
	}
}

void
content_mark_dirty(struct inode *i, fblk_t fblk, fblk_t end)
{
	struct live_map *m = &i->live;
	struct live_extent *e;

	for (e = live_find(m, fblk); e != NULL && e->fblk < end; e = live_next(m, e)) {
		if (e->flags & LIVE_DIRTY)
			continue;
		/* its end is the next one, then; without memory for that all of it is dirty */
		if (e->fblk < fblk && live_split(m, fblk) == 0)
			continue;
		if (live_end(e) > end)
			(void)live_split(m, end);
		live_change_flags(m, e, LIVE_DIRTY, 0);
	}
}

void
content_cut_pins(struct inode *i, fblk_t fblk, fblk_t end)
{
	struct live_extent *e;
	fblk_t from, to;

	while (fblk < end && (e = live_find(&i->live, fblk)) != NULL && e->fblk < end) {
		from = max_of(e->fblk, fblk);
		to = min_of(live_end(e), end);
		if (live_held(e))
			pin_cut(i, from, to - from);
		fblk = to;
	}
}

int
content_prepare_cut(struct inode *i)
{
	fblk_t end;
	int r;

	rwl_wrlock(&i->layout_lock);
	r = content_end(i, &end);
	if (r == 0)
		r = live_prepare_changes(&i->live, 3);
	rwl_unlock(&i->layout_lock);
	return r;
}

int
content_cut(struct inode *i, fblk_t fblk, fblk_t end)
{
	fblk_t last;
	int r;

	rwl_wrlock(&i->layout_lock);
	r = content_end(i, &last);
	if (r < 0)
		goto out;
	end = min_of(end, last);
	if (fblk >= end)
		goto out;
	r = live_prepare(&i->live);
	if (r < 0)
		goto out;
	content_cut_pins(i, fblk, end);
	r = live_set(&i->live, fblk, end - fblk, LIVE_HOLE, PBLK_NONE, LIVE_DIRTY, content_drop, i);
out:
	rwl_unlock(&i->layout_lock);
	return r;
}

bool
content_is_zero(const uint8_t *p, size_t n)
{
	return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

/* A block for content_zero(), with no layout lock held. */
static int
one_block(struct inode *i, bool must, pblk_t *pblk)
{
	struct pool *p = i->fs->pool;
	uint64_t got;
	int r;

	r = pool_alloc_data(p, PBLK_NONE, 1, 0, pblk, &got);
	if (r != -ENOSPC || !must)
		return r;
	/* Making a file shorter must be possible on a full pool. */
	r = alloc_reserve(pool_alloc(p), 1, pool_meta_reserve(p) / 2);
	if (r < 0)
		return r;
	r = pool_alloc_data(p, PBLK_NONE, 1, ALLOC_RESERVED, pblk, &got);
	if (r < 0)
		alloc_unreserve(pool_alloc(p), 1);
	return r;
}

#define NEED_BLOCK 3 /* beside CONTENT_UNSHARE */

/* One attempt at content_zero(), layout lock exclusive. *fresh: a block that may be used (it
 * is PBLK_NONE after that), or PBLK_NONE: NEED_BLOCK if one is needed. */
static int
zero_locked(struct inode *i, uint64_t off, uint64_t len, pblk_t *fresh, struct content_wait *w)
{
	struct domain *d = content_domain(i);
	fblk_t fblk = off >> BLK_SHIFT;
	size_t lo = off & BLK_MASK;
	uint8_t *old, *new;
	struct segment s;
	int r;

	r = segment_lookup(i, fblk, 1, &s);
	if (r < 0 || s.kind != LIVE_DATA)
		return r;
	r = segment_verify(i, &s);
	if (r < 0)
		return r;
	old = content_block(i, s.pblk);
	if (content_is_zero(old + lo, len))
		return 0;
	switch (segment_store(&s)) {
	case STORE_UNSHARE:
		return content_want_unshare(w, fblk, 1);
	case STORE_IN_PLACE:
		domain_zero(d, old + lo, len);
		content_mark_dirty(i, fblk, fblk + 1);
		break;
	default:
		if (*fresh == PBLK_NONE)
			return NEED_BLOCK;
		new = content_block(i, *fresh);
		domain_copy(d, new, old, lo);
		domain_zero(d, new + lo, len);
		domain_copy(d, new + lo + len, old + lo + len, BLK_SIZE - lo - len);
		r = live_set(&i->live, fblk, 1, LIVE_DATA, *fresh, LIVE_DIRTY, content_drop, i);
		if (r < 0)
			return r;
		*fresh = PBLK_NONE;
		break;
	}
	return 0;
}

int
content_zero(struct inode *i, uint64_t off, uint64_t len, bool must, struct content_wait *w)
{
	pblk_t fresh = PBLK_NONE;
	int r;

	if (len == 0)
		return 0;
	for (;;) {
		rwl_wrlock(&i->layout_lock);
		r = zero_locked(i, off, len, &fresh, w);
		rwl_unlock(&i->layout_lock);
		if (r != NEED_BLOCK)
			break;
		r = one_block(i, must, &fresh);
		if (r < 0)
			break;
	}
	if (fresh != PBLK_NONE)
		pool_free_data(i->fs->pool, fresh, 1);
	return r;
}

int
content_zero_tail(struct inode *i, struct content_wait *w)
{
	uint64_t rest = -i->size & BLK_MASK;

	return content_zero(i, i->size, rest, false, w);
}

int
content_fill_rest(struct inode *i, fblk_t fblk, uint8_t *block, unsigned lo, unsigned hi)
{
	struct domain *d = content_domain(i);
	uint64_t start = fblk << BLK_SHIFT;
	const uint8_t *old;
	struct segment s;
	unsigned valid;
	int r;

	if (lo == 0 && hi == BLK_SIZE)
		return 0;
	valid = i->size > start ? (unsigned)min_of(i->size - start, (uint64_t)BLK_SIZE) : 0;
	rwl_rdlock(&i->layout_lock);
	r = segment_lookup(i, fblk, 1, &s);
	if (r == 0)
		r = segment_verify(i, &s);
	if (r < 0)
		goto out;
	if (s.kind != LIVE_DATA)
		valid = 0;
	old = valid > 0 ? content_block(i, s.pblk) : NULL;
	if (lo > 0 && valid > 0)
		domain_copy(d, block, old, min_of(lo, valid));
	if (lo > valid)
		domain_zero(d, block + valid, lo - valid);
	if (hi < valid)
		domain_copy(d, block + hi, old + hi, valid - hi);
	if (hi < BLK_SIZE)
		domain_zero(d, block + max_of(hi, valid), BLK_SIZE - max_of(hi, valid));
out:
	rwl_unlock(&i->layout_lock);
	return r;
}

void
content_changed(struct inode *i, uint64_t size, bool kill_suidgid)
{
	struct timespec now = inode_now();

	mtx_lock(&i->attr_lock);
	i->size = size;
	i->attr.mtime = i->attr.ctime = now;
	i->attr_dirty = true;
	mtx_unlock(&i->attr_lock);
	inode_changed(i);
	if (kill_suidgid)
		inode_kill_suidgid(i);
	inode_mark_dirty(i);
}

void
content_store_size(struct txn *t, struct inode *i, uint64_t size)
{
	mtx_lock(&i->attr_lock);
	i->durable_size = size;
	/* with its path in the transaction this does not fail; if it did, the next writeback would do it */
	if (inode_store_locked(t, i) < 0)
		i->attr_dirty = true;
	mtx_unlock(&i->attr_lock);
}

int
content_writable(struct inode *i, uint32_t *flags)
{
	if (i->type != S_IFREG)
		return i->type == S_IFDIR ? -EISDIR : -EINVAL;
	if (i->fs->opt.readonly || pool_readonly(i->fs->pool))
		return -EROFS;
	mtx_lock(&i->attr_lock);
	*flags = i->attr.flags;
	mtx_unlock(&i->attr_lock);
	return *flags & INODE_FL_IMMUTABLE ? -EPERM : 0;
}
