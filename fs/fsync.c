/* SPDX-License-Identifier: BSD-3-Clause */
/* fsync: of one file, or of a part of it.
 *
 * Writeback, then the commit of the transaction that it is in; the caller is told by a callback, so no thread waits
 * for the commit.
 *
 * Before that it may have to wait for pins that want it (FS_PINNED_WAIT): as long as a dirty block is pinned in that
 * way and in no stronger one, but not longer than transient_ms. A request that waits is parked and on the list
 * of the inode's pin table; each such pin that goes wakes all of the list, and they look again. Looking and going on the
 * list is one step under the layout lock, and so is a pin's end, so none is missed. When the time is over they
 * go on, and the blocks are bounced. Only fsync waits: what the background thread writes nobody waits for, so it
 * bounces at once, and so does sync.
 *
 * A part of a file is made durable by itself if that is an image of the part beside the last image of the rest; a size
 * that has changed comes with all of the file (writeback.c, take_content).
 */
#include <errno.h>
#include <stdlib.h>

#include "fs/park.h"
#include "fs/pin_i.h"
#include "fs/writeback_i.h"

struct request {
	struct parked parked;
	struct cds_list_head link;  /* pin_table.syncs */
	struct inode *inode;        /* a reference */
	struct fs_sync_range sync;
	int64_t deadline_ns;
	bool told;                  /* the caller knows that it waits */
};

static struct wb_want
want_of(const struct fs_sync_range *s)
{
	uint64_t end = s->len > 0 && s->len <= FILE_MAX_BYTES - min_of(s->off, FILE_MAX_BYTES) ? s->off + s->len : 0;
	bool all = s->off == 0 && s->len == 0;

	return (struct wb_want){
		.fblk = s->off >> BLK_SHIFT,
		.end = all ? 0 : end > 0 ? bytes_to_blocks_up(end) : FBLK_MAX + 1,
		.times = !s->datasync,
		.holder = s->holder,
	};
}

static void
sync_now(struct inode *i, const struct fs_sync_range *s)
{
	const struct wb_want want = want_of(s);
	uint64_t txn;
	int r;

	r = writeback_run(i, &want, &txn);
	if (r < 0)
		s->done(s->arg, r);
	else
		txn_commit_async(i->fs->pool, txn, s->done, s->arg);
}

/* ---- waiting for pins -------------------------------------------------------------------- */

/* Is there a block to wait for? Layout lock shared. */
static bool
must_wait(struct inode *i, const struct fs_sync_range *s)
{
	const struct wb_want want = want_of(s);
	bool part, wait = false;
	struct live_extent *e;
	fblk_t end;

	mtx_lock(&i->attr_lock);
	part = want.end > 0 && i->size == i->durable_size;
	mtx_unlock(&i->attr_lock);
	end = part ? want.end : FBLK_MAX + 1;
	for (e = live_find(&i->live, part ? want.fblk : 0); e && e->fblk < end; e = live_next(&i->live, e)) {
		if (e->wpins == 0 || !(e->flags & LIVE_DIRTY))
			continue;
		/* it fails whatever is waited for */
		if (live_policy(e) == FS_PINNED_FAIL)
			return false;
		wait |= live_policy(e) == FS_PINNED_WAIT;
	}
	return wait;
}

static void
count_parked(const struct request *q, int by)
{
	__atomic_add_fetch(&q->inode->fs->counters.parked, (uint64_t)(int64_t)by, __ATOMIC_RELAXED);
}

/* Park it if it has to wait: then it may be gone on return. */
static bool
park_request(struct request *q)
{
	struct inode *i = q->inode;
	struct pin_table *pt = pin_table(i);
	bool wait;

	rwl_rdlock(&i->layout_lock);
	wait = must_wait(i, &q->sync);
	if (wait) {
		if (q->sync.waits && !q->told)
			q->sync.waits(q->sync.arg, &q->parked);
		q->told = true;
		count_parked(q, 1);
		mtx_lock(&pt->lock);
		cds_list_add_tail(&q->link, &pt->syncs);
		park(&q->parked, q->deadline_ns);
		mtx_unlock(&pt->lock);
	}
	rwl_unlock(&i->layout_lock);
	return wait;
}

static void
request_end(struct request *q, bool cancelled)
{
	struct fs_sync_range s = q->sync;
	struct inode *i = q->inode;

	free(q);
	if (cancelled)
		s.done(s.arg, -EINTR);
	else
		sync_now(i, &s);
	inode_put(i);
}

static void
run(struct parked *p, enum park_reason why)
{
	struct request *q = caa_container_of(p, struct request, parked);
	struct pin_table *pt = pin_table(q->inode);

	mtx_lock(&pt->lock);
	cds_list_del(&q->link);
	mtx_unlock(&pt->lock);
	count_parked(q, -1);
	if (why == PARK_WOKEN && park_now() < q->deadline_ns && park_request(q))
		return;
	request_end(q, why == PARK_CANCELLED);
}

void
fsync_pin_gone(struct pin_table *pt)
{
	struct request *q;

	mtx_lock(&pt->lock);
	cds_list_for_each_entry(q, &pt->syncs, link)
		park_wake(&q->parked);
	mtx_unlock(&pt->lock);
}

/* ---- entry points ------------------------------------------------------------------------- */

void
fs_fsync_range(struct fs *fs, struct inode *i, const struct fs_sync_range *s)
{
	struct pin_table *pt = pin_table(i);
	struct request *q;

	if (!pt || __atomic_load_n(&pt->nwait, __ATOMIC_ACQUIRE) == 0) {
		sync_now(i, s);
		return;
	}
	q = malloc(sizeof(*q));
	if (!q) {
		s->done(s->arg, -ENOMEM);
		return;
	}
	q->inode = inode_hold(i);
	q->told = false;
	q->sync = *s;
	q->deadline_ns = park_after_ms(fs->opt.transient_ms);
	park_init(&q->parked, fs->park, run);
	if (!park_request(q))
		request_end(q, false);
}

void
fs_fsync(struct fs *fs, struct inode *i, bool datasync, void (*done)(void *arg, int err), void *arg)
{
	const struct fs_sync_range s = { .datasync = datasync, .done = done, .arg = arg };

	fs_fsync_range(fs, i, &s);
}

void
fs_fsync_file(struct file *f, bool datasync, void (*done)(void *arg, int err), void *arg)
{
	const struct fs_sync_range s = { .datasync = datasync, .holder = fs_is_holder(f), .done = done, .arg = arg };

	fs_fsync_range(f->inode->fs, f->inode, &s);
}

struct waiter {
	struct mtx lock;
	pthread_cond_t cond;
	bool done;
	int err;
};

static void
wake(void *arg, int err)
{
	struct waiter *w = arg;

	mtx_lock(&w->lock);
	w->err = err;
	w->done = true;
	pthread_cond_signal(&w->cond);
	mtx_unlock(&w->lock);
}

int
fs_fsync_wait(struct fs *fs, struct inode *i, bool datasync)
{
	struct waiter w = { .done = false };

	mtx_init(&w.lock, LOCK_LEAF, 0);
	pthread_cond_init(&w.cond, NULL);
	fs_fsync(fs, i, datasync, wake, &w);
	mtx_lock(&w.lock);
	while (!w.done)
		mtx_cond_wait(&w.cond, &w.lock);
	mtx_unlock(&w.lock);
	pthread_cond_destroy(&w.cond);
	mtx_destroy(&w.lock);
	return w.err;
}
