/* SPDX-License-Identifier: BSD-3-Clause */
/* The end of a revocation: what its pins have fixed leaves the file.
 *
 * A layout operation cuts the pins in its own range. A pin that has lost its lease may reach beyond it, and its holder,
 * who is not to be heard any more, would go on storing into the file there. So all other blocks that such a pin
 * (pin->cut) still has in the live map are detached: the holder keeps them, in quarantine, and the file gets a copy of what
 * they hold at that moment.
 *
 *   pinned for write (or tainted)   copied into a block of the bounce reserve, of which it has at least one and which it does not
 *                                   need any more after that (bounce.c): so this can't run out of space
 *   clean, the durable map          pin_unshare() moves the durable side away first, and that needs space. The live
 *   has the very block              map then just lets go
 *   dirty, pinned for reading       copied into a free block
 *   FS_PINNED_HOLDER                the file goes back to what is durable, as when its holder goes without a word
 *
 * Where there is no space for what is pinned for reading only, it stays in the file until its pin ends: its holder can't
 * store to it.
 *
 * A block leaves the file with all its pins or not at all. If somebody else, whose lease is as good as before, has it pinned, too,
 * both go on seeing each other's stores, which he has agreed to; it is detached when his pin ends.
 *
 * Who calls: an operation about to run, which leaves out its own range, because what is cut need not be copied; its
 * end, for what it has left after all; the deadline of a lease that no operation waits for; and the end of
 * a pin. pin_table.loose says that there may be something to do. It is set where pins become cut, and holding the writeback, the io
 * and the layout lock it is cleared, so nobody misses anything; he who comes second finds it done.
 */
#include <errno.h>
#include <string.h>

#include "fs/pin_i.h"
#include "fs/writeback_i.h"
#include "pmem/log.h"

struct detach {
	struct inode *inode;
	fblk_t keep, keep_end;    /* left alone */
	bool left;                /* there is something for another time */
	bool copied;
	bool nomoves;             /* pin_unshare() has failed */
	uint64_t nospace;         /* blocks that stay for want of space */
	uint64_t txn;             /* to be committed first */
	struct content_wait wait; /* to be unshared; len 0: nothing */
};

/* ---- whose blocks are to go -------------------------------------------------------------- */

/* fn for what the pins that are cut have fixed, or for what the others have. */
static int
each_ext(struct detach *d, bool cut, int (*fn)(struct detach *d, const struct pin_ext *x))
{
	struct pin *pin;
	int r = 0;

	for (pin = pin_after(d->inode, 0); r == 0 && pin; pin = pin_after(d->inode, pin->id))
		for (uint32_t k = 0; pin->cut == cut && r == 0 && k < pin->next; k++)
			if (pin->ext[k].pblk != PBLK_NONE)
				r = fn(d, &pin->ext[k]);
	return r;
}

static int
split_ext(struct detach *d, const struct pin_ext *x)
{
	struct live_map *m = &d->inode->live;
	int r = live_split(m, x->fblk);

	return r == 0 ? live_split(m, x->fblk + x->len) : r;
}

/* Does the file still have the blocks there? */
static bool
is_there(const struct live_extent *e, const struct pin_ext *x)
{
	return e->kind == LIVE_DATA && e->pblk - e->fblk == x->pblk - x->fblk;
}

static int
stay_ext(struct detach *d, const struct pin_ext *x)
{
	struct live_map *m = &d->inode->live;
	struct live_extent *e;
	int r = split_ext(d, x);

	for (e = live_find(m, x->fblk); r == 0 && e && e->fblk < x->fblk + x->len; e = live_next(m, e))
		if (is_there(e, x))
			live_change_flags(m, e, LIVE_STAYS, 0);
	return r;
}

static int
tidy_ext(struct detach *d, const struct pin_ext *x)
{
	struct live_map *m = &d->inode->live;
	struct live_extent *e;

	for (e = live_find(m, x->fblk); e && e->fblk < x->fblk + x->len; e = live_next(m, e))
		live_change_flags(m, e, 0, LIVE_STAYS);
	live_merge(m, x->fblk, x->len);
	return 0;
}

/* ---- detaching --------------------------------------------------------------------------- */

static int
let_go(struct inode *i, struct live_extent *e)
{
	fblk_t fblk = e->fblk;
	uint64_t len = e->len;
	int r;

	r = live_prepare(&i->live);
	if (r < 0)
		return r;
	pin_cut(i, fblk, len);
	return live_remove(&i->live, fblk, len, NULL, NULL);
}

/* A fresh run of up to want blocks; *drawn: from the reserve. */
static int
fresh_run(struct inode *i, bool bounced, uint64_t want, pblk_t *start, uint64_t *got, bool *drawn)
{
	int r = bounced ? bounce_draw(i, want, start, got) : -ENOSPC;

	*drawn = r == 0;
	return r == -ENOSPC ? pool_alloc_data(i->fs->pool, PBLK_NONE, want, 0, start, got) : r;
}

/* The file gets a copy of the beginning of the extent at fblk; *got blocks. */
static int
copy_run(struct inode *i, fblk_t fblk, uint64_t *got)
{
	struct live_extent *e = live_find(&i->live, fblk);
	struct pool *p = i->fs->pool;
	pblk_t start;
	bool drawn;
	int r;

	r = fresh_run(i, live_bounced(e), e->len, &start, got, &drawn);
	if (r < 0)
		return r;
	r = live_split(&i->live, fblk + *got);
	if (r < 0) {
		if (drawn)
			bounce_undraw(i, start, *got);
		else
			pool_free_data(p, start, *got);
		return r;
	}
	e = live_find(&i->live, fblk);
	domain_copy(content_domain(i), pool_block(p, start), pool_block(p, e->pblk), *got << BLK_SHIFT);
	if (drawn)
		bounce_used(i, *got);
	pin_cut(i, fblk, *got);
	live_repoint(&i->live, e, start);
	return 0;
}

static int
copy_extent(struct detach *d, struct live_extent *e)
{
	fblk_t at = e->fblk, end = live_end(e);
	bool bounced = live_bounced(e);
	uint64_t got;
	int r = 0;

	for (; at < end && r == 0; at += got) {
		r = copy_run(d->inode, at, &got);
		if (r < 0)
			break;
		d->copied = true;
	}
	if (r == -ENOSPC) {
		d->nospace += end - at;
		d->left |= bounced;
		r = 0;
	}
	return r;
}

static int
detach_extent(struct detach *d, struct live_extent *e)
{
	if ((e->flags & LIVE_STAYS) || (e->fblk >= d->keep && e->fblk < d->keep_end)) {
		d->left = true;
		return 0;
	}
	if (e->flags & LIVE_DAX) /* not to be moved by unsharing; the durable map lets go at the next writeback */
		return copy_extent(d, e);
	if (e->flags & LIVE_DURABLE) {
		if (d->nomoves)
			d->nospace += e->len;
		else if (d->wait.len == 0)
			content_want_unshare(&d->wait, e->fblk, e->len);
		return 0;
	}
	if (live_policy(e) != FS_PINNED_HOLDER && (live_bounced(e) || (e->flags & LIVE_DIRTY)))
		return copy_extent(d, e);
	return let_go(d->inode, e);
}

static int
detach_ext(struct detach *d, const struct pin_ext *x)
{
	struct live_map *m = &d->inode->live;
	fblk_t at, next, end = x->fblk + x->len;
	struct live_extent *e;
	int r = split_ext(d, x);

	for (at = x->fblk; r == 0 && (e = live_find(m, at)) != NULL && e->fblk < end; at = next) {
		next = live_end(e);
		if (is_there(e, x))
			r = detach_extent(d, e);
	}
	return r;
}

/* Writeback and io lock held, layout lock exclusive: nothing is LIVE_TAKEN. -EAGAIN: when d->txn is committed. */
static int
detach_locked(struct detach *d)
{
	struct pin_table *pt = pin_table(d->inode);
	struct live_map *m = &d->inode->live;
	int r;

	__atomic_store_n(&pt->loose, false, __ATOMIC_RELAXED);
	d->left = false;
	d->nospace = d->wait.len = 0;
	r = bounce_ready(d->inode, &d->txn);
	if (r != -EAGAIN) {
		r = live_split(m, d->keep);
		if (r == 0)
			r = live_split(m, d->keep_end);
		if (r == 0)
			r = each_ext(d, false, stay_ext);
		if (r == 0)
			r = each_ext(d, true, detach_ext);
		(void)each_ext(d, false, tidy_ext);
		(void)each_ext(d, true, tidy_ext);
	}
	if (r < 0 || d->left || d->wait.len > 0)
		__atomic_store_n(&pt->loose, true, __ATOMIC_RELAXED);
	return r;
}

static int
detach_once(struct detach *d)
{
	struct inode *i = d->inode;
	int r;

	writeback_lock(i);
	rwl_wrlock(&i->io_lock);
	rwl_wrlock(&i->layout_lock);
	r = detach_locked(d);
	rwl_unlock(&i->layout_lock);
	if (d->copied)
		inode_mark_dirty(i);
	rwl_unlock(&i->io_lock);
	writeback_unlock(i);
	pin_settle(i);
	return r;
}

void
pin_detach(struct inode *i, fblk_t keep, fblk_t keep_end)
{
	struct detach d = { .inode = i, .keep = keep, .keep_end = keep_end };
	struct pin_table *pt = pin_table(i);
	int r;

	if (!pt || !__atomic_load_n(&pt->loose, __ATOMIC_ACQUIRE))
		return;
	do {
		r = detach_once(&d);
		if (r == -EAGAIN)
			r = txn_commit_wait(i->fs->pool, d.txn);
		else if (r == 0 && d.wait.len == 0)
			break;
		else if (r == 0)
			d.nomoves = pin_unshare(i, d.wait.fblk, d.wait.len) < 0;
	} while (r == 0);
	if (r < 0)
		pinfs_log(LOG_ERR, "inode %llu: blocks of revoked pins stay in the file: %s", (unsigned long long)i->ino,
		    strerror(-r));
	else if (d.nospace > 0)
		pinfs_log(LOG_WARNING, "inode %llu: no space: %llu blocks of revoked pins stay in the file",
		    (unsigned long long)i->ino, (unsigned long long)d.nospace);
}
