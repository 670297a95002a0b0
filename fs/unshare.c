/* SPDX-License-Identifier: BSD-3-Clause */
/* Moving the durable side of a block away from under its pins.
 *
 * A read pin on clean data fixes the durable block itself, in place. When that
 * is to be written to, the pinner has to see it, and what the committed root reaches
 * must not change. So the durable map goes elsewhere:
 *
 *   1. copy the blocks; in a transaction, point the durable map at the copies
 *   2. commit it, with no lock held
 *   3. the blocks belong to the live map alone: LIVE_DURABLE goes, they can be stored to
 *
 * (Pinned blocks of a dax file, LIVE_DAX, are stored to where they are; this is not about them.)
 *
 * Between 1 and 3 the blocks are in limbo: no map names them but the live one, and the committed
 * root reaches them. The table lists them as moves. A move counts as one more read pin, so that
 * they can't come loose; if the file is cut meanwhile, they go into quarantine with the
 * number of the transaction (quarantine.c). Whoever comes along when it is committed finishes
 * the move; another thread that wants the same blocks waits for the same commit.
 */
#include <errno.h>
#include <stdlib.h>

#include "fs/pin_i.h"
#include "fs/refcount.h"
#include "fs/writeback_i.h"
#include "pmem/crc.h"

uint64_t
pin_moved_txn(struct pin_table *pt, pblk_t pblk, uint64_t *n)
{
	struct move *m;

	cds_list_for_each_entry(m, &pt->moves, link) {
		if (pblk >= m->ext.pblk && pblk < m->ext.pblk + m->ext.len) {
			*n = min_of(*n, m->ext.pblk + m->ext.len - pblk);
			return m->txn;
		}
		if (m->ext.pblk > pblk)
			*n = min_of(*n, m->ext.pblk - pblk);
	}
	return 0;
}

/* Finish the moves whose transaction is durable. Layout lock exclusive. */
static int
finish_moves(struct inode *i)
{
	struct pin_table *pt = pin_table(i);
	uint64_t committed = txn_committed(i->fs->pool);
	struct move *m, *next;

	cds_list_for_each_entry_safe(m, next, &pt->moves, link) {
		const struct pin_ext *x = &m->ext;
		fblk_t end = x->fblk + x->len;
		struct live_extent *e;

		if (m->txn > committed)
			continue;
		/* It may have been joined with a neighbour that is not moved. */
		if (live_split(&i->live, x->fblk) < 0 || live_split(&i->live, end) < 0)
			return -ENOMEM;
		for (e = live_find(&i->live, x->fblk); e && e->fblk < end; e = live_next(&i->live, e)) {
			if (e->kind == LIVE_DATA && e->pblk - e->fblk == x->pblk - x->fblk)
				live_change_flags(&i->live, e, 0, LIVE_DURABLE);
		}
		cds_list_del(&m->link);
		pin_release(i, x, COUNT_READ, false);
		free(m);
	}
	return 0;
}

/* The first extent of the range that has to be moved: *x, and 0; or the transaction to wait
 * for. False: there is none. Layout lock shared. */
static bool
find_work(struct inode *i, fblk_t fblk, fblk_t end, struct pin_ext *x, uint64_t *txn)
{
	struct pin_table *pt = pin_table(i);
	struct live_extent *e;

	for (e = live_find(&i->live, fblk); e && e->fblk < end; e = live_next(&i->live, e)) {
		if (!(e->flags & LIVE_DURABLE) || (e->flags & LIVE_DAX))
			continue;
		x->fblk = max_of(e->fblk, fblk);
		x->len = min_of(live_end(e), end) - x->fblk;
		x->pblk = e->pblk + (x->fblk - e->fblk);
		*txn = pt ? pin_moved_txn(pt, x->pblk, &x->len) : 0;
		return true;
	}
	return false;
}

/* A move is being made: the blocks are held, so that they stay what they are; to..+len will be the copy. */
struct copy {
	struct move *move;
	pblk_t to;
	uint32_t *csums;
};

static void
copy_free(struct inode *i, struct copy *c, bool used)
{
	if (!used && c->move)
		pool_free_data(i->fs->pool, c->to, c->move->ext.len);
	if (!used)
		free(c->move);
	free(c->csums);
}

static int
copy_new(struct inode *i, const struct pin_ext *x, struct copy *c)
{
	uint64_t got;
	int r;

	c->csums = NULL;
	c->move = malloc(sizeof(*c->move));
	if (!c->move)
		return -ENOMEM;
	r = pool_alloc_data(i->fs->pool, PBLK_NONE, x->len, 0, &c->to, &got);
	if (r < 0) {
		free(c->move);
		return r;
	}
	c->move->ext = *x;
	c->move->ext.len = got;
	c->csums = malloc(got * sizeof(*c->csums));
	if (!c->csums) {
		copy_free(i, c, false);
		return -ENOMEM;
	}
	return 0;
}

/* Is it still there? Then hold it. Layout lock exclusive. */
static int
copy_hold(struct inode *i, const struct copy *c, bool *held)
{
	const struct pin_ext *x = &c->move->ext;
	struct live_extent *e;
	struct pin_ext now;
	uint64_t txn;

	*held = false;
	if (!pin_table_make(i) || live_split(&i->live, x->fblk) < 0 ||
	    live_split(&i->live, x->fblk + x->len) < 0)
		return -ENOMEM;
	if (!find_work(i, x->fblk, x->fblk + x->len, &now, &txn) || txn != 0 || now.fblk != x->fblk ||
	    now.pblk != x->pblk || now.len != x->len)
		return 0;
	e = live_find(&i->live, x->fblk);
	e->rpins++;
	*held = true;
	return 0;
}

static void
copy_fill(struct inode *i, const struct copy *c)
{
	struct pool *p = i->fs->pool;

	for (uint64_t n = 0; n < c->move->ext.len; n++) {
		uint8_t *to = pool_block(p, c->to + n);

		domain_copy(pool_domain(p), to, pool_block(p, c->move->ext.pblk + n), BLK_SIZE);
		c->csums[n] = crc32c(to, BLK_SIZE);
	}
}

static int
copy_map(struct inode *i, const struct copy *c, uint64_t *txn)
{
	const struct pin_ext *x = &c->move->ext;
	struct pin_freed freed = { .inode = i };
	struct txn t;
	int r;

	CDS_INIT_LIST_HEAD(&freed.spares);
	r = txn_begin(i->fs->pool, &t, extent_credits(i, 1, x->len), TXN_MUST);
	if (r < 0)
		return r;
	txn_note_data(&t, c->to, x->len);
	rwl_wrlock(&i->layout_lock);
	/* Should the file have been cut here meanwhile, it does no harm. */
	r = extent_replace(&t, i, x->fblk, c->to, x->len, 0, c->csums, false, pin_extent_freed, &freed);
	if (r == 0) {
		*txn = c->move->txn = txn_number(&t);
		cds_list_add_tail(&c->move->link, &pin_table(i)->moves);
	}
	rwl_unlock(&i->layout_lock);
	txn_end(&t);
	return r;
}

/* Step 1, for one run or the beginning of it; *txn has to be committed then. The writeback lock is held. */
static int
move_durable(struct inode *i, const struct pin_ext *x, uint64_t *txn)
{
	struct copy c;
	bool held;
	int r;

	*txn = 0;
	r = copy_new(i, x, &c);
	if (r < 0)
		return r;
	rwl_wrlock(&i->layout_lock);
	r = copy_hold(i, &c, &held);
	rwl_unlock(&i->layout_lock);
	if (r < 0 || !held) {
		copy_free(i, &c, false);
		return r;
	}
	copy_fill(i, &c);
	r = copy_map(i, &c, txn);
	if (r < 0) {
		rwl_wrlock(&i->layout_lock);
		pin_release(i, &c.move->ext, COUNT_READ, false);
		rwl_unlock(&i->layout_lock);
	}
	copy_free(i, &c, r == 0);
	return r;
}

int
pin_unshare(struct inode *i, fblk_t fblk, uint64_t len)
{
	bool work, reclaimed = false;
	struct pin_ext x;
	uint64_t txn;
	int r;

	do {
		/* This also waits for a writeback that has taken blocks of the range. */
		writeback_lock(i);
		rwl_wrlock(&i->layout_lock);
		r = pin_table(i) ? finish_moves(i) : 0;
		work = find_work(i, fblk, fblk + len, &x, &txn);
		rwl_unlock(&i->layout_lock);
		if (r == 0 && work && txn == 0)
			r = move_durable(i, &x, &txn);
		writeback_unlock(i);
		if (r == -ENOSPC && !reclaimed) {
			reclaimed = true;
			r = writeback_reclaim(i->fs) ? 0 : r;
			txn = 0;
		}
		if (r == 0 && work && txn != 0)
			r = txn_commit_wait(i->fs->pool, txn);
	} while (r == 0 && work);
	return r;
}

int
pin_share(struct inode *i, fblk_t fblk, uint64_t len)
{
	struct pin_table *pt = pin_table(i);
	struct alloc *a = pool_alloc(i->fs->pool);
	fblk_t end = fblk + len;
	uint64_t backed = 0;
	struct live_extent *e;
	int r;

	if (!pt)
		return 0;
	for (e = live_find(&i->live, fblk); e && e->fblk < end; e = live_next(&i->live, e)) {
		if (e->flags & LIVE_DAX) /* a clone copies these */
			continue;
		if (e->flags & LIVE_DURABLE)
			return -EAGAIN;
		if (e->flags & LIVE_BACKED)
			backed += e->len;
	}
	if (backed == 0)
		return 0;
	r = live_split(&i->live, fblk);
	if (r == 0)
		r = live_split(&i->live, end);
	if (r < 0)
		return r;
	backed = 0;
	for (e = live_find(&i->live, fblk); e && e->fblk < end; e = live_next(&i->live, e))
		backed += e->flags & LIVE_BACKED ? e->len : 0;
	r = alloc_reserve(a, backed, pool_meta_reserve(i->fs->pool));
	if (r < 0)
		return r;
	bounce_clear_backed(pt, backed, backed);
	for (e = live_find(&i->live, fblk); e && e->fblk < end; e = live_next(&i->live, e))
		live_change_flags(&i->live, e, 0, LIVE_BACKED);
	live_merge(&i->live, fblk, len);
	return 0;
}
