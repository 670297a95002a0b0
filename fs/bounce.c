/* SPDX-License-Identifier: BSD-3-Clause */
/* The reserve for bounces: why fsync can't run out of space.
 *
 * Writeback copies each block that is pinned for write (or tainted) to a fresh one,
 * and the durable map moves from the copy of last time to the new one. The old copy
 * can't be used again before that is committed, so in between a block has two
 * copies; afterwards again one. A pinned block therefore costs, beside itself, two blocks,
 * one of which is in the durable map and the other in reserve:
 *
 *   - If the durable map has a block there already that no other file shares (the
 *     extent is LIVE_BACKED), that is the first of the two, and one is reserved when the pin
 *     is taken. If it has none, or one that it shares, two are.
 *   - A bounce draws one block from the reserve. The private block that it displaces
 *     is not freed but kept as a spare: it goes back into the reserve as this very block,
 *     usable when the transaction that displaced it is committed. Where
 *     nothing private was displaced, the extent becomes LIVE_BACKED: what it needs drops from
 *     two to one just as the reserve does.
 *   - A clone that comes to share a durable copy takes LIVE_BACKED away and reserves
 *     one more, or fails (pin_share).
 *
 * So with
 *
 *     have = reserved + spares + drawn,  need = sum over bounced blocks of (backed ? 1 : 2)
 *
 * have >= need always holds, and reserved + spares >= number of bounced blocks
 * whenever no writeback is under way. The only thing a writeback may have to wait for is a commit: one
 * that comes right after another, before the spares of that are usable, first
 * commits it (bounce_ready says so before anything is touched). Since spares are never given to the
 * allocator, nobody can snatch them between a commit and the next bounce; and a
 * file that is synced over and over bounces between two runs of blocks without the
 * allocator taking part.
 *
 * Blocks that leave (last unpin, truncate) lower `need`; bounce_trim then gives
 * back what is too much. have < need happens only after a lack of memory; bounce_ready
 * then asks the allocator for more.
 *
 * The list of spares is in the order of their transactions, so those that can be used are
 * at its head.
 */
#include <errno.h>
#include <stdlib.h>

#include "fs/pin_i.h"

void
bounce_init(struct pin_table *pt)
{
	mtx_init(&pt->lock, LOCK_PINS, 0);
	CDS_INIT_LIST_HEAD(&pt->spares);
	CDS_INIT_LIST_HEAD(&pt->dead);
	CDS_INIT_LIST_HEAD(&pt->syncs);
}

static uint64_t
needs(uint64_t n, bool backed)
{
	return backed ? n : 2 * n;
}

void
bounce_join(struct pin_table *pt, uint64_t n, bool backed, uint64_t reserved)
{
	mtx_lock(&pt->lock);
	pt->bounced += n;
	pt->need += needs(n, backed);
	pt->reserved += reserved;
	mtx_unlock(&pt->lock);
}

void
bounce_leave(struct inode *i, uint64_t n, bool backed)
{
	struct pin_table *pt = pin_table(i);

	mtx_lock(&pt->lock);
	pt->bounced -= n;
	pt->need -= needs(n, backed);
	mtx_unlock(&pt->lock);
}

void
bounce_set_backed(struct pin_table *pt, uint64_t n)
{
	mtx_lock(&pt->lock);
	pt->need -= n;
	mtx_unlock(&pt->lock);
}

void
bounce_clear_backed(struct pin_table *pt, uint64_t n, uint64_t reserved)
{
	mtx_lock(&pt->lock);
	pt->need += n;
	pt->reserved += reserved;
	mtx_unlock(&pt->lock);
}

int
bounce_ready(struct inode *i, uint64_t *txn)
{
	struct pin_table *pt = pin_table(i);
	struct pool *p = i->fs->pool;
	uint64_t committed = txn_committed(p), ready;
	struct spare *s;
	int r = 0;

	mtx_lock(&pt->lock);
	ready = pt->reserved;
	*txn = 0;
	cds_list_for_each_entry(s, &pt->spares, link) {
		if (s->txn <= committed)
			ready += s->len;
		else
			*txn = s->txn;
		if (ready >= pt->bounced)
			break;
	}
	if (ready < pt->bounced) {
		if (*txn != 0) {
			r = -EAGAIN;
		} else {
			r = alloc_reserve(pool_alloc(p), pt->bounced - ready, 0);
			if (r == 0)
				pt->reserved += pt->bounced - ready;
		}
	}
	mtx_unlock(&pt->lock);
	return r;
}

int
bounce_draw(struct inode *i, uint64_t want, pblk_t *start, uint64_t *got)
{
	struct pin_table *pt = pin_table(i);
	struct pool *p = i->fs->pool;
	struct spare *s = NULL;
	int r = 0;

	mtx_lock(&pt->lock);
	if (!cds_list_empty(&pt->spares))
		s = cds_list_first_entry(&pt->spares, struct spare, link);
	if (s && s->txn <= txn_committed(p)) {
		*start = s->pblk;
		*got = min_of(want, s->len);
		s->pblk += *got;
		s->len -= *got;
		pt->nspare -= *got;
		if (s->len == 0) {
			cds_list_del(&s->link);
			free(s);
		}
	} else if (pt->reserved > 0) {
		want = min_of(want, pt->reserved);
		r = alloc_run(pool_alloc(p), PBLK_NONE, want, 0, ALLOC_RESERVED | ALLOC_EXACT, start, got);
		if (r == -ENOSPC)
			r = alloc_run(pool_alloc(p), PBLK_NONE, want, 0, ALLOC_RESERVED, start, got);
		if (r == 0)
			pt->reserved -= *got;
	} else {
		r = -ENOSPC;
	}
	if (r == 0)
		pt->drawn += *got;
	mtx_unlock(&pt->lock);
	return r;
}

void
bounce_undraw(struct inode *i, pblk_t start, uint64_t n)
{
	struct pin_table *pt = pin_table(i);
	struct pool *p = i->fs->pool;
	struct spare *s = malloc(sizeof(*s));

	mtx_lock(&pt->lock);
	pt->drawn -= n;
	if (s) {
		*s = (struct spare){ .pblk = start, .len = n };
		cds_list_add(&s->link, &pt->spares);
		pt->nspare += n;
	} else {
		pool_free_data(p, start, n);
	}
	mtx_unlock(&pt->lock);
}

void
bounce_used(struct inode *i, uint64_t n)
{
	struct pin_table *pt = pin_table(i);

	mtx_lock(&pt->lock);
	pt->drawn -= n;
	mtx_unlock(&pt->lock);
}

void
bounce_keep(struct pin_table *pt, struct cds_list_head *spares)
{
	struct spare *s, *next, *last;

	if (cds_list_empty(spares))
		return;
	mtx_lock(&pt->lock);
	cds_list_for_each_entry_safe(s, next, spares, link) {
		pt->nspare += s->len;
		last = cds_list_empty(&pt->spares) ? NULL : cds_list_entry(pt->spares.prev, struct spare, link);
		if (last && last->txn == s->txn && last->pblk + last->len == s->pblk) {
			last->len += s->len;
			free(s);
		} else {
			cds_list_add_tail(&s->link, &pt->spares);
		}
	}
	mtx_unlock(&pt->lock);
	CDS_INIT_LIST_HEAD(spares);
}

void
bounce_trim(struct inode *i)
{
	struct pin_table *pt = pin_table(i);
	struct pool *p = i->fs->pool;
	uint64_t have, surplus, n;

	mtx_lock(&pt->lock);
	have = pt->reserved + pt->nspare + pt->drawn;
	surplus = have > pt->need ? have - pt->need : 0;
	n = min_of(surplus, pt->reserved);
	if (n > 0) {
		alloc_unreserve(pool_alloc(p), n);
		pt->reserved -= n;
		surplus -= n;
	}
	while (surplus > 0 && pt->nspare > 0) {
		struct spare *s = cds_list_first_entry(&pt->spares, struct spare, link);

		if (s->txn > txn_committed(p))
			break;
		n = min_of(surplus, s->len);
		s->len -= n;
		pool_free_data(p, s->pblk + s->len, n);
		pt->nspare -= n;
		surplus -= n;
		if (s->len == 0) {
			cds_list_del(&s->link);
			free(s);
		}
	}
	mtx_unlock(&pt->lock);
}

void
bounce_settle(struct inode *i)
{
	struct pin_table *pt = pin_table(i);
	struct pool *p = i->fs->pool;
	CDS_LIST_HEAD(pending);
	struct spare *s, *next;
	struct txn t;
	bool joined;

	bounce_trim(i);
	mtx_lock(&pt->lock);
	if (pt->need == 0 && pt->drawn == 0 && pt->nspare > 0) {
		cds_list_splice(&pt->spares, &pending);
		CDS_INIT_LIST_HEAD(&pt->spares);
		pt->nspare = 0;
	}
	mtx_unlock(&pt->lock);
	if (cds_list_empty(&pending))
		return;
	/* They are displaced by the open transaction or by one before it. If it can't be joined the
	 * pool is read-only by now, and nothing is ever free again. */
	joined = txn_begin(p, &t, 0, TXN_MUST) == 0;
	cds_list_for_each_entry_safe(s, next, &pending, link) {
		if (joined)
			txn_free(&t, s->pblk, s->len);
		free(s);
	}
	if (joined)
		txn_end(&t);
}
