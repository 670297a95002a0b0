/* SPDX-License-Identifier: BSD-3-Clause */
/* What becomes of pinned blocks: the file lets go of them, or the pins do.
 *
 * A pinned block is in one of two places: in the live map of its file, where
 * the extent counts its pins, or, after a truncate or a hole punched (pin_cut), in
 * quarantine: a tree by block number, whose entries count them instead. A pin knows which blocks
 * it fixed, so its end (pin_release) looks for them in the one place and then in the
 * other. In quarantine a block belongs to its pins; the last one frees it:
 *
 *   never in the durable map    it becomes free at once
 *   the durable map names it    (read pins fix such blocks.) It belongs to that as
 *                               before. When the durable map lets go of it first, its pins
 *                               inherit it (pin_extent_freed); free it is when that transaction
 *                               is committed, too
 *   tainted                     a holder of a write pin closed the file without unpinning, so
 *                               the kernel may still do DMA into it; or it unpinned what it still
 *                               maps. Such a block is held (pmem/held.h): it is free when nobody has
 *                               it locked, and then its range of the pool file is hole-punched
 *                               first. Late DMA ends in a page that is no part of the pool any more.
 *                               (The blocks of a read pin that ended like this are held, and no more: what
 *                               is sent late must not be another file's content, but the block is what
 *                               it was.)
 *
 * A tainted block of a dax file that is still in the file (LIVE_DAX) stays its block: there is no other content to
 * go back to, and who had it pinned was storing to this very file. It is held from then on, so whenever the
 * file lets go of it, it is punched before anybody else gets it: late DMA reaches the file that was pinned, or none.
 *
 * A block whose holder alone says what becomes durable (FS_PINNED_HOLDER), and who went without a word, leaves the file as soon
 * as nobody has it pinned: what is durable shows through again.
 *
 * Any other tainted block that is still in the file goes the same way after the next writeback has
 * copied its content (writeback.c).
 *
 * Freeing that needs a system call or a transaction is put on a list, for
 * pin_settle(), which runs when no lock is held. Where memory is short a block may stay in
 * quarantine for good, that is until the next mount: that is safe, and said.
 */
#include <errno.h>
#include <stdlib.h>

#include "fs/pin_i.h"
#include "pmem/held.h"
#include "pmem/log.h"

static int
quarantined_cmp(const struct quarantined *a, const struct quarantined *b)
{
	return a->pblk < b->pblk ? -1 : a->pblk > b->pblk;
}

RB_GENERATE_INTERNAL(quarantine_tree, quarantined, link, quarantined_cmp, static __attribute__((unused)))

/* The entry that has pblk, or the first one behind it. */
static struct quarantined *
quarantine_find(struct pin_table *pt, pblk_t pblk)
{
	struct quarantined *q = RB_ROOT(&pt->quarantine), *behind = NULL;

	while (q) {
		if (pblk < q->pblk) {
			behind = q;
			q = RB_LEFT(q, link);
		} else if (pblk < q->pblk + q->len) {
			return q;
		} else {
			q = RB_RIGHT(q, link);
		}
	}
	return behind;
}

static void
lost(const struct inode *i, pblk_t pblk, uint64_t n)
{
	pinfs_log(LOG_ERR, "inode %llu: no memory: %llu blocks at %llu stay in quarantine until the next mount",
	    (unsigned long long)i->ino, (unsigned long long)n, (unsigned long long)pblk);
}

/* Make pblk a boundary of the entries. */
static bool
quarantine_split(struct pin_table *pt, pblk_t pblk)
{
	struct quarantined *q = quarantine_find(pt, pblk), *rest;

	if (!q || q->pblk >= pblk)
		return true;
	rest = malloc(sizeof(*rest));
	if (!rest)
		return false;
	*rest = *q;
	rest->pblk = pblk;
	rest->len = q->pblk + q->len - pblk;
	q->len = pblk - q->pblk;
	RB_INSERT(quarantine_tree, &pt->quarantine, rest);
	return true;
}

/* ---- freeing -------------------------------------------------------------------- */

/* q is in no tree: put it on the list for pin_settle. */
static void
bury(struct pin_table *pt, struct quarantined *q)
{
	mtx_lock(&pt->lock);
	cds_list_add_tail(&q->dead_link, &pt->dead);
	mtx_unlock(&pt->lock);
}

void
pin_discard(struct inode *i, pblk_t pblk, uint64_t n)
{
	struct quarantined *q = malloc(sizeof(*q));

	alloc_quarantine(pool_alloc(i->fs->pool), n);
	if (!q) {
		lost(i, pblk, n);
		return;
	}
	*q = (struct quarantined){ .pblk = pblk, .len = n, .tainted = true };
	bury(pin_table(i), q);
}

/* The last pin of q is gone. */
static void
quarantine_end(struct inode *i, struct quarantined *q)
{
	struct pin_table *pt = pin_table(i);
	struct pool *p = i->fs->pool;

	RB_REMOVE(quarantine_tree, &pt->quarantine, q);
	if (!q->durable && (q->tainted || q->txn > txn_committed(p))) {
		bury(pt, q);
		return;
	}
	/* the durable map frees it one day */
	if (q->durable && q->tainted)
		held_mark(p, q->pblk, q->len);
	if (!q->durable)
		alloc_release_quarantined(pool_alloc(p), q->pblk, q->len);
	free(q);
}

static void
free_dead(struct inode *i, struct quarantined *q)
{
	struct pool *p = i->fs->pool;
	struct txn t;

	if (q->tainted)
		held_mark(p, q->pblk, q->len);
	if (q->txn <= txn_committed(p)) {
		alloc_release_quarantined(pool_alloc(p), q->pblk, q->len);
	} else if (txn_begin(p, &t, 0, TXN_MUST) == 0) {
		alloc_unquarantine(pool_alloc(p), q->len);
		txn_free(&t, q->pblk, q->len);
		txn_end(&t);
	}
	if (q->tainted)
		held_check(p, q->pblk, q->len);
}

void
pin_settle(struct inode *i)
{
	struct pin_table *pt = pin_table(i);
	CDS_LIST_HEAD(dead);
	struct quarantined *q, *next;

	if (!pt)
		return;
	mtx_lock(&pt->lock);
	cds_list_splice(&pt->dead, &dead);
	CDS_INIT_LIST_HEAD(&pt->dead);
	mtx_unlock(&pt->lock);
	cds_list_for_each_entry_safe(q, next, &dead, dead_link) {
		free_dead(i, q);
		free(q);
	}
	bounce_settle(i);
}

void
quarantine_clear(struct pin_table *pt)
{
	struct quarantined *q;

	while ((q = RB_ROOT(&pt->quarantine)) != NULL) {
		RB_REMOVE(quarantine_tree, &pt->quarantine, q);
		free(q);
	}
}

/* ---- the file lets go ------------------------------------------------------------ */

uint64_t
pin_durable_run(struct inode *i, fblk_t fblk, pblk_t pblk, uint64_t n, bool *durable)
{
	struct extent x;

	*durable = false;
	if (i->durable_blocks == 0)
		return n;
	if (extent_lookup(i, fblk, &x, NULL, 0) < 0) {
		*durable = true;
		return n;
	}
	*durable = x.pblk != PBLK_NONE && x.pblk + (fblk - x.fblk) == pblk;
	return min_of(n, x.len - (fblk - x.fblk));
}

/* The pins of a part of a live extent become those of its blocks. */
static void
quarantine_add(struct inode *i, const struct live_extent *part)
{
	struct pin_table *pt = pin_table(i);
	struct alloc *a = pool_alloc(i->fs->pool);
	uint64_t done, n;

	for (done = 0; done < part->len; done += n) {
		pblk_t pblk = part->pblk + done;
		struct quarantined *q;
		bool durable = true;
		uint64_t txn;

		n = part->len - done;
		txn = pin_moved_txn(pt, pblk, &n);
		if (txn != 0)
			durable = false;
		else if (!(part->flags & LIVE_TAKEN)) /* which is as good as durable */
			n = pin_durable_run(i, part->fblk + done, pblk, n, &durable);
		if (!durable)
			alloc_quarantine(a, n);
		q = malloc(sizeof(*q));
		if (!q) {
			lost(i, pblk, n);
			continue;
		}
		*q = (struct quarantined){
			.pblk = pblk,
			.len = n,
			.txn = txn,
			.wpins = part->wpins,
			.rpins = part->rpins,
			.durable = durable,
			.tainted = (part->flags & LIVE_TAINTED) != 0,
		};
		RB_INSERT(quarantine_tree, &pt->quarantine, q);
	}
}

void
pin_cut(struct inode *i, fblk_t fblk, uint64_t len)
{
	struct pin_table *pt = pin_table(i);
	fblk_t end = fblk + len;
	struct live_extent *e;

	if (!pt)
		return;
	for (e = live_find(&i->live, fblk); e && e->fblk < end; e = live_next(&i->live, e)) {
		struct live_extent part = *e;

		if (e->kind == LIVE_HOLE || !(live_pinned(e) || live_bounced(e)))
			continue;
		part.fblk = max_of(e->fblk, fblk);
		part.len = min_of(live_end(e), end) - part.fblk;
		part.pblk += part.fblk - e->fblk;
		if (live_pinned(e)) {
			quarantine_add(i, &part);
		} else {
			/* Tainted and not pinned: if a writeback has taken it, that frees it. */
			if (e->flags & LIVE_TAKEN)
				continue;
			pin_discard(i, part.pblk, part.len);
		}
		if (live_bounced(e))
			bounce_leave(i, part.len, (e->flags & LIVE_BACKED) != 0);
	}
	bounce_trim(i);
}

void
pin_not_durable(struct inode *i, const struct live_extent *part)
{
	struct pin_table *pt = pin_table(i);
	struct live_extent rest = *part;
	pblk_t end = part->pblk + part->len;
	struct quarantined *q = pt ? quarantine_find(pt, part->pblk) : NULL;

	rest.flags = 0;
	rest.wpins = rest.rpins = 0;
	while (q && q->pblk < end) {
		/* Entries came from this extent while it was taken, so they don't reach beyond. */
		if (q->pblk > rest.pblk) {
			rest.len = q->pblk - rest.pblk;
			content_drop(i, &rest);
		}
		q->durable = false;
		alloc_quarantine(pool_alloc(i->fs->pool), q->len);
		rest.fblk += q->pblk + q->len - rest.pblk;
		rest.pblk = q->pblk + q->len;
		rest.len = end - rest.pblk;
		q = RB_NEXT(quarantine_tree, &pt->quarantine, q);
	}
	if (rest.len > 0)
		content_drop(i, &rest);
}

bool
pin_quarantine_durable(struct inode *i)
{
	struct pin_table *pt = pin_table(i);
	struct quarantined *q;

	if (!pt)
		return false;
	RB_FOREACH(q, quarantine_tree, &pt->quarantine)
		if (q->durable)
			return true;
	return false;
}

static void
free_or_keep(struct pin_freed *f, struct txn *t, pblk_t pblk, uint64_t n)
{
	bool keep = f->keep && !held_any(f->inode->fs->pool, pblk, n);
	struct spare *s = keep ? malloc(sizeof(*s)) : NULL;

	if (!s) {
		txn_free(t, pblk, n);
		return;
	}
	*s = (struct spare){ .pblk = pblk, .len = n, .txn = txn_number(t) };
	cds_list_add_tail(&s->link, &f->spares);
}

void
pin_extent_freed(void *arg, struct txn *t, fblk_t fblk, pblk_t pblk, uint64_t n)
{
	struct pin_freed *f = arg;
	struct pin_table *pt = pin_table(f->inode);
	pblk_t end = pblk + n;

	while (pblk < end) {
		struct live_extent *e = live_find(&f->inode->live, fblk);
		struct quarantined *q = quarantine_find(pt, pblk);
		uint64_t here = end - pblk;

		if (q && q->pblk <= pblk && q->durable) {
			/* Entries are not split at the ends of durable extents; but they lie within one
			 * run of the file, so what is let go of is let go of as a whole or at a
			 * boundary that can be made. */
			here = min_of(here, q->pblk + q->len - pblk);
			if (quarantine_split(pt, pblk) && quarantine_split(pt, pblk + here)) {
				q = quarantine_find(pt, pblk);
				q->durable = false;
				q->txn = txn_number(t);
				alloc_quarantine(pool_alloc(f->inode->fs->pool), q->len);
			} else {
				lost(f->inode, pblk, here);
			}
		} else {
			if (q && q->pblk > pblk)
				here = min_of(here, q->pblk - pblk);
			if (e)
				here = min_of(here, (e->fblk > fblk ? e->fblk : live_end(e)) - fblk);
			/* What is in the live map itself stays: pin_unshare is moving the durable side. */
			if (!e || e->fblk > fblk || e->kind == LIVE_HOLE || e->pblk + (fblk - e->fblk) != pblk)
				free_or_keep(f, t, pblk, here);
		}
		pblk += here;
		fblk += here;
	}
}

/* ---- the pins let go --------------------------------------------------------------- */

/* One pin less on [at, at+n), a part of an extent of the live map. */
static void
live_release(struct inode *i, fblk_t at, uint64_t n, enum pin_count count, bool taint)
{
	struct live_map *m = &i->live;
	struct live_extent *e, whole;
	bool bounced, gone = taint;

	if (live_split(m, at) < 0 || live_split(m, at + n) < 0) {
		lost(i, PBLK_NONE, n);
		return;
	}
	e = live_find(m, at);
	bounced = live_bounced(e);
	if (!taint && e->wpins + e->rpins == 1)
		taint = held_note(i->fs->pool, e->pblk, e->len) && count != COUNT_READ;
	if (taint && (e->flags & LIVE_DAX)) {
		held_mark(i->fs->pool, e->pblk, e->len);
		taint = false;
	}
	live_count(e, count, -1);
	if (taint)
		live_change_flags(m, e, LIVE_TAINTED | (count == COUNT_HOLDER && gone ? LIVE_REVERT : 0u), 0);
	if (bounced && !live_bounced(e)) {
		bounce_leave(i, n, (e->flags & LIVE_BACKED) != 0);
		live_change_flags(m, e, 0, LIVE_BACKED);
	}
	if (!live_pinned(e) && (e->flags & LIVE_REVERT)) {
		whole = *e;
		if (live_remove(m, at, n, NULL, NULL) == 0) {
			bounce_leave(i, n, (whole.flags & LIVE_BACKED) != 0);
			pin_discard(i, whole.pblk, n);
		}
		return;
	}
	if (live_pinned(e) || (e->flags & (LIVE_DIRTY | LIVE_TAINTED)))
		return;
	/* Not pinned and clean: nothing keeps it here. The durable map has the block itself or, after
	 * pin_unshare, a copy. */
	whole = *e;
	if (live_remove(m, at, n, NULL, NULL) == 0 && !(whole.flags & LIVE_DURABLE))
		pool_free_data(i->fs->pool, whole.pblk, whole.len);
}

static void
quarantine_release(struct inode *i, pblk_t pblk, uint64_t n, enum pin_count count, bool taint)
{
	struct pin_table *pt = pin_table(i);
	struct quarantined *q, *next;

	if (!quarantine_split(pt, pblk) || !quarantine_split(pt, pblk + n)) {
		lost(i, pblk, n);
		return;
	}
	for (q = quarantine_find(pt, pblk); q && q->pblk < pblk + n; q = next) {
		next = RB_NEXT(quarantine_tree, &pt->quarantine, q);
		if (count == COUNT_READ)
			q->rpins--;
		else
			q->wpins--;
		q->tainted |= taint;
		if (q->wpins > 0 || q->rpins > 0)
			continue;
		if (!q->tainted)
			held_note(i->fs->pool, q->pblk, q->len);
		quarantine_end(i, q);
	}
}

void
pin_release(struct inode *i, const struct pin_ext *x, enum pin_count count, bool taint)
{
	fblk_t at = x->fblk, end = x->fblk + x->len, next;

	if (x->pblk == PBLK_NONE)
		return;
	if (taint && count == COUNT_READ) {
		held_mark(i->fs->pool, x->pblk, x->len);
		taint = false;
	}
	for (; at < end; at = next) {
		struct live_extent *e = live_find(&i->live, at);
		pblk_t pblk = x->pblk + (at - x->fblk);

		if (!e || e->fblk > at) {
			next = e ? min_of(e->fblk, end) : end;
			quarantine_release(i, pblk, next - at, count, taint);
			continue;
		}
		next = min_of(live_end(e), end);
		if (e->kind == LIVE_HOLE || e->pblk + (at - e->fblk) != pblk)
			quarantine_release(i, pblk, next - at, count, taint);
		else
			live_release(i, at, next - at, count, taint);
	}
	live_merge(&i->live, x->fblk, x->len);
}
