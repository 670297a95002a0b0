/* SPDX-License-Identifier: BSD-3-Clause */
/* Who writes back when: sync, and the background thread. (fsync is in fsync.c.)
 *
 * sync makes many files durable in one commit. It takes all dirty inodes, copies
 * with no lock held, and then applies all of them in one transaction: no commit can
 * come in between, so after a crash either all of them are as sync took them or none is. (What
 * the transaction gate is held for is only the tree changes, microseconds an inode; but
 * it is a shared hold in one piece, and a commit that wants the gate, with everybody
 * who comes after it, waits that long. Therefore SYNC_BATCH: beyond that many dirty
 * inodes, sync works in several transactions, and a crash or the commit of somebody
 * else's fsync can fall between them.)
 *
 * From take to apply an inode must be left alone by other writebacks. For a single one its
 * LOCK_WRITEBACK is held for that time; sync can't hold thousands of locks, so it puts its inodes
 * in a set, and writeback_lock() waits for an inode in there. Inodes enter the set with their
 * lock held, and leave it all at once.
 *
 * The background thread writes back inodes that have been dirty for commit_s, together with those that have been
 * for half of that, and commits the open transaction when it has been dirty that long, or when it has
 * grown big. It sleeps until the next of these is due, and without a deadline when nothing is dirty; then it is
 * `idle`, and writeback_wake() ends that. Who dirties something only reads `idle`, without a fence, so it
 * may miss that the thread is just going to sleep, and the thread may miss what was
 * dirtied. Therefore its first sleep when idle has a deadline: when that is over, it looks again at what
 * by then everybody can see.
 *
 * It also looks whether the clients that keep blocks from being free (pmem/held.h) have gone: soon after blocks have begun
 * to wait, then less and less often. When space is short, or somebody asks for the mount's status, that is done at
 * once.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/pin_i.h"
#include "fs/track.h"
#include "fs/writeback_i.h"
#include "pmem/held.h"
#include "pmem/log.h"

#define SYNC_BATCH 1024u
#define NS_PER_S 1000000000ll
#define NEVER INT64_MAX
#define HELD_FIRST_NS (10 * NS_PER_S / 1000)
#define HELD_LAST_NS (30 * NS_PER_S)

static const struct wb_want everything = { .times = true };

struct set_member {
	RB_ENTRY(set_member) link;
	uint64_t ino;
	struct writeback wb;
	bool active;     /* taken, and neither applied nor undone */
};
RB_HEAD(inode_set, set_member);

struct flusher {
	struct fs *fs;
	pthread_t thread;
	struct mtx lock;           /* LOCK_LEAF; protects what follows */
	pthread_cond_t wake;       /* CLOCK_MONOTONIC; stop, idle or kicked changed */
	bool stop;
	bool idle;                 /* atomic: nothing was dirty when it went to sleep */
	bool kicked;               /* atomic: there is something to do at once */
	bool waiting;              /* held blocks have begun to wait */

	bool syncing;              /* one sync at a time */
	struct inode_set set;      /* inodes that it has taken */
	uint64_t nset;             /* atomic */
	pthread_cond_t synced;     /* syncing or set changed */

	/* The thread's own. */
	uint64_t txn_seen;         /* the open transaction that was dirty, */
	int64_t txn_since;         /* and since when, as far as known */
	int64_t held_due, held_pause; /* when to look at held blocks, and how long after that again */
	int last_error;            /* of background writeback, to log it once */
};

static int
member_cmp(const struct set_member *a, const struct set_member *b)
{
	return a->ino < b->ino ? -1 : a->ino > b->ino;
}

RB_GENERATE_INTERNAL(inode_set, set_member, link, member_cmp, static __attribute__((unused)))

static int64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

/* ---- excluding writebacks ----------------------------------------------------------- */

static bool
in_set_locked(struct flusher *f, uint64_t ino)
{
	struct set_member key = { .ino = ino };

	return RB_FIND(inode_set, &f->set, &key) != NULL;
}

static void
wait_for_set(struct flusher *f, uint64_t a, uint64_t b)
{
	mtx_lock(&f->lock);
	while (in_set_locked(f, a) || in_set_locked(f, b))
		mtx_cond_wait(&f->synced, &f->lock);
	mtx_unlock(&f->lock);
}

/* With the locks of a and b held (which may be the same): has a sync one of them? */
static bool
in_set(struct flusher *f, const struct inode *a, const struct inode *b)
{
	bool is;

	if (!f || __atomic_load_n(&f->nset, __ATOMIC_ACQUIRE) == 0)
		return false;
	mtx_lock(&f->lock);
	is = in_set_locked(f, a->ino) || in_set_locked(f, b->ino);
	mtx_unlock(&f->lock);
	return is;
}

void
writeback_lock(struct inode *i)
{
	writeback_lock_both(i, i);
}

/* Neither lock is kept while the other inode is waited for: the sync that has it may be about to take this one. */
void
writeback_lock_both(struct inode *a, struct inode *b)
{
	struct inode *first = a->ino <= b->ino ? a : b, *second = a->ino <= b->ino ? b : a;
	struct flusher *f = a->fs->flusher;

	for (;;) {
		mtx_lock(&first->wb_lock);
		if (first != second)
			mtx_lock(&second->wb_lock);
		if (!in_set(f, a, b))
			return;
		writeback_unlock_both(a, b);
		wait_for_set(f, a->ino, b->ino);
	}
}

void
writeback_unlock_both(struct inode *a, struct inode *b)
{
	mtx_unlock(&a->wb_lock);
	if (a != b)
		mtx_unlock(&b->wb_lock);
}

void
writeback_unlock(struct inode *i)
{
	mtx_unlock(&i->wb_lock);
}

/* ---- sync ----------------------------------------------------------------------------- */

/* The first inodes of the list of dirty ones, at most max, with a reference each. */
static size_t
dirty_inodes(struct fs *fs, struct inode **out, size_t max)
{
	struct inode *i;
	size_t n = 0;

	mtx_lock(&fs->dirty_lock);
	cds_list_for_each_entry(i, &fs->dirty, dirty_link) {
		if (n == max)
			break;
		out[n++] = inode_hold(i);
	}
	mtx_unlock(&fs->dirty_lock);
	return n;
}

static uint64_t
dirty_count(struct fs *fs)
{
	uint64_t n;

	mtx_lock(&fs->dirty_lock);
	n = fs->dirty_count;
	mtx_unlock(&fs->dirty_lock);
	return n;
}

/* Take the inode and put it in the set. */
static int
sync_take(struct fs *fs, struct set_member *m, struct inode *i)
{
	struct flusher *f = fs->flusher;
	int r;

	for (;;) {
		track_scan(i);
		writeback_lock(i);
		r = writeback_take(&m->wb, i, &everything);
		if (r == 0 && writeback_idle(&m->wb))
			writeback_clean(&m->wb);
		else if (r == 0)
			m->active = true;
		m->ino = i->ino;
		if (m->active && f) {
			mtx_lock(&f->lock);
			RB_INSERT(inode_set, &f->set, m);
			__atomic_fetch_add(&f->nset, 1, __ATOMIC_RELEASE);
			mtx_unlock(&f->lock);
		}
		writeback_unlock(i);
		if (r != -EAGAIN)
			return r;
		r = m->wb.txn ? txn_commit_wait(fs->pool, m->wb.txn) : 0;
		if (r < 0)
			return r;
	}
}

static int
sync_copy(struct set_member *m)
{
	int r = writeback_copy(&m->wb);

	if (r < 0) {
		writeback_undo(&m->wb);
		m->active = false;
	}
	return r;
}

static int
sync_begin(struct fs *fs, struct txn *t, uint64_t credits)
{
	int r = txn_begin(fs->pool, t, credits, TXN_MUST);

	if (r != -ENOSPC)
		return r;
	/* What deletions have freed becomes free with the commit. */
	r = txn_commit_wait(fs->pool, txn_open_number(fs->pool));
	return r < 0 ? r : txn_begin(fs->pool, t, credits, TXN_MUST);
}

/* All in one transaction. If there is not space for the worst case of all together it is -ENOSPC, *begun is
 * false, and nothing was done. */
static int
sync_apply(struct fs *fs, struct set_member *m, size_t n, bool *begun)
{
	struct wb_cost cost = { 0 };
	struct txn t;
	int r, err = 0;

	for (size_t k = 0; k < n; k++)
		if (m[k].active)
			writeback_cost(&m[k].wb, &cost);
	*begun = false;
	if (cost.credits == 0)
		return 0;
	r = sync_begin(fs, &t, writeback_credits(fs->pool, &cost));
	if (r < 0)
		return r;
	*begun = true;
	for (size_t k = 0; k < n; k++) {
		if (!m[k].active)
			continue;
		r = writeback_apply(&m[k].wb, &t);
		m[k].active = false;
		err = err ? err : r;
	}
	txn_end(&t);
	return err;
}

/* Each in one of its own. */
static int
sync_apply_singly(struct fs *fs, struct set_member *m, size_t n)
{
	struct txn t;
	int r, err = 0;

	for (size_t k = 0; k < n; k++) {
		if (!m[k].active)
			continue;
		r = writeback_begin(&m[k].wb, &t);
		if (r == -ENOSPC) {
			r = txn_commit_wait(fs->pool, txn_open_number(fs->pool));
			if (r == 0)
				r = writeback_begin(&m[k].wb, &t);
		}
		if (r == 0) {
			r = writeback_apply(&m[k].wb, &t);
			txn_end(&t);
		} else {
			writeback_undo(&m[k].wb);
		}
		m[k].active = false;
		err = err ? err : r;
	}
	return err;
}

static void
empty_set(struct fs *fs)
{
	struct flusher *f = fs->flusher;

	if (!f)
		return;
	mtx_lock(&f->lock);
	RB_INIT(&f->set);
	__atomic_store_n(&f->nset, 0, __ATOMIC_RELEASE);
	pthread_cond_broadcast(&f->synced);
	mtx_unlock(&f->lock);
}

static int
sync_batch(struct fs *fs, struct set_member *m, struct inode **inode, size_t n)
{
	bool taken[SYNC_BATCH], begun;
	int r, err = 0;

	for (size_t k = 0; k < n; k++) {
		m[k].active = false;
		r = sync_take(fs, &m[k], inode[k]);
		taken[k] = m[k].active;
		err = err ? err : r;
	}
	for (size_t k = 0; k < n; k++) {
		if (!m[k].active)
			continue;
		writeback_test_point(inode[k], WRITEBACK_TAKEN);
		r = sync_copy(&m[k]);
		err = err ? err : r;
		writeback_test_point(inode[k], WRITEBACK_COPIED);
	}
	r = sync_apply(fs, m, n, &begun);
	if (r == -ENOSPC && !begun)
		r = sync_apply_singly(fs, m, n);
	else if (r < 0)
		for (size_t k = 0; k < n; k++)
			if (m[k].active)
				writeback_undo(&m[k].wb);
	err = err ? err : r;
	empty_set(fs);
	for (size_t k = 0; k < n; k++) {
		if (taken[k])
			writeback_finish(&m[k].wb);
		inode_put(inode[k]);
	}
	return err;
}

static void
sync_enter(struct flusher *f)
{
	if (!f)
		return;
	mtx_lock(&f->lock);
	while (f->syncing)
		mtx_cond_wait(&f->synced, &f->lock);
	f->syncing = true;
	mtx_unlock(&f->lock);
}

static void
sync_leave(struct flusher *f)
{
	if (!f)
		return;
	mtx_lock(&f->lock);
	f->syncing = false;
	pthread_cond_broadcast(&f->synced);
	mtx_unlock(&f->lock);
}

static int
sync_inodes(struct fs *fs)
{
	uint64_t left = dirty_count(fs);
	size_t n, max = min_of(left, (uint64_t)SYNC_BATCH);
	struct set_member *m;
	struct inode **inode;
	int r, err = 0;

	if (left == 0)
		return 0;
	m = malloc(max * sizeof(*m));
	inode = malloc(max * sizeof(*inode));
	if (!m || !inode)
		err = -ENOMEM;
	/* What becomes dirty meanwhile goes to the end of the list. */
	while (err != -ENOMEM && left > 0) {
		n = dirty_inodes(fs, inode, min_of(left, max));
		if (n == 0)
			break;
		r = sync_batch(fs, m, inode, n);
		err = err ? err : r;
		left -= n;
	}
	free(m);
	free(inode);
	return err;
}

int
fs_sync(struct fs *fs)
{
	int r, err;

	if (fs->opt.readonly)
		return 0;
	sync_enter(fs->flusher);
	err = sync_inodes(fs);
	sync_leave(fs->flusher);
	r = txn_commit_wait(fs->pool, txn_open_number(fs->pool));
	return err ? err : r;
}

/* ---- space ------------------------------------------------------------------------------ */

/* Blocks that ordinary operations may have. */
static int64_t
available(struct fs *fs)
{
	struct alloc_stats st;

	alloc_stats(pool_alloc(fs->pool), &st);
	return (int64_t)(st.free - st.reserved) - (int64_t)pool_meta_reserve(fs->pool);
}

bool
writeback_reclaim(struct fs *fs)
{
	int64_t before = available(fs);

	if (held_check_all(fs->pool) && available(fs) > before)
		return true;
	if (fs->opt.readonly || (dirty_count(fs) == 0 && !txn_open_dirty(fs->pool)))
		return false;
	/* What it could write has helped, whatever it could not. */
	(void)fs_sync(fs);
	return available(fs) > before;
}

/* ---- the background thread ---------------------------------------------------------------- */

static int64_t
age_ns(const struct fs *fs)
{
	return (int64_t)max_of(fs->opt.commit_s, 1u) * NS_PER_S;
}

/* When the oldest dirty inode is due. */
static int64_t
inodes_due(struct fs *fs)
{
	int64_t due = NEVER;
	struct inode *i;

	mtx_lock(&fs->dirty_lock);
	if (!cds_list_empty(&fs->dirty)) {
		i = cds_list_first_entry(&fs->dirty, struct inode, dirty_link);
		due = __atomic_load_n(&i->dirty_since_ns, __ATOMIC_RELAXED) + age_ns(fs);
	}
	mtx_unlock(&fs->dirty_lock);
	return due;
}

/* Its old nodes are still there beside the new ones, and a crash would lose it all. */
static bool
txn_is_big(struct fs *fs)
{
	return txn_open_nodes(fs->pool) > max_of(pool_nblocks(fs->pool) / 64, (uint64_t)1024);
}

static int64_t
txn_due(struct flusher *f)
{
	struct fs *fs = f->fs;
	uint64_t number = txn_open_number(fs->pool);

	if (!txn_open_dirty(fs->pool))
		return NEVER;
	if (f->txn_seen != number) {
		f->txn_seen = number;
		f->txn_since = now_ns();
	}
	return txn_is_big(fs) ? 0 : f->txn_since + age_ns(fs);
}

/* Less than 1/32 of the pool is left, and there is something to win. */
static bool
space_is_short(struct fs *fs)
{
	return available(fs) < (int64_t)(pool_nblocks(fs->pool) / 32);
}

/* f->lock held. */
static int64_t
held_due_locked(struct flusher *f)
{
	if (f->waiting) {
		f->waiting = false;
		f->held_pause = HELD_FIRST_NS;
		f->held_due = now_ns() + f->held_pause;
	}
	return f->held_due;
}

static void
check_held(struct flusher *f)
{
	held_check_all(f->fs->pool);
	f->held_pause = min_of(2 * f->held_pause, HELD_LAST_NS);
	f->held_due = held_waiting(f->fs->pool) > 0 ? now_ns() + f->held_pause : NEVER;
}

static void
background_writeback(struct flusher *f)
{
	struct fs *fs = f->fs;
	/* What is half as old as it may become goes along: else, where files are written one after the other,
	 * each one would be due a moment after the last, with a commit of its own. */
	int64_t young = space_is_short(fs) ? NEVER : now_ns() - age_ns(fs) / 2;
	struct inode *i;
	uint64_t txn;
	int r;

	/* Those that stay dirty, because they are pinned or can't be written, go to the end of the list. */
	for (uint64_t left = dirty_count(fs); left > 0; left--) {
		if (dirty_inodes(fs, &i, 1) == 0)
			break;
		if (__atomic_load_n(&i->dirty_since_ns, __ATOMIC_RELAXED) > young) {
			inode_put(i);
			break;
		}
		r = writeback_run(i, &everything, &txn);
		/* -EBUSY is what a pin has asked for */
		if (r < 0 && r != -EBUSY && r != f->last_error)
			pinfs_log(LOG_WARNING, "inode %llu: background writeback: %s",
			    (unsigned long long)i->ino, strerror(-r));
		f->last_error = r;
		inode_put(i);
	}
	if (txn_open_dirty(fs->pool)) {
		(void)txn_commit_wait(fs->pool, txn_open_number(fs->pool)); /* which logs what goes wrong */
		f->txn_since = now_ns();
	}
}

static void
sleep_until(struct flusher *f, int64_t due)
{
	struct timespec ts = { .tv_sec = due / NS_PER_S, .tv_nsec = due % NS_PER_S };

	/* The thread holds no other lock, so the order of locks is not concerned. */
	pthread_cond_timedwait(&f->wake, &f->lock.m, &ts);
}

/* f->lock held, and again on return: wait until there is something to do. False: stop. */
static bool
wait_for_work(struct flusher *f)
{
	while (!f->stop) {
		int64_t due;

		mtx_unlock(&f->lock);
		due = min_of(inodes_due(f->fs), txn_due(f));
		mtx_lock(&f->lock);
		if (f->stop)
			break;
		if (held_due_locked(f) <= now_ns()) {
			mtx_unlock(&f->lock);
			check_held(f);
			mtx_lock(&f->lock);
			continue;
		}
		due = min_of(due, f->held_due);
		if (f->kicked || due <= now_ns()) {
			__atomic_store_n(&f->kicked, false, __ATOMIC_RELAXED);
			return true;
		}
		if (due != NEVER) {
			__atomic_store_n(&f->idle, false, __ATOMIC_RELAXED);
			sleep_until(f, due);
		} else if (!f->idle) {
			__atomic_store_n(&f->idle, true, __ATOMIC_RELEASE);
			sleep_until(f, now_ns() + age_ns(f->fs));
		} else {
			mtx_cond_wait(&f->wake, &f->lock);
		}
	}
	return false;
}

static void *
flusher_main(void *arg)
{
	struct flusher *f = arg;

	mtx_lock(&f->lock);
	while (wait_for_work(f)) {
		mtx_unlock(&f->lock);
		background_writeback(f);
		mtx_lock(&f->lock);
	}
	mtx_unlock(&f->lock);
	return NULL;
}

void
writeback_wake(struct fs *fs)
{
	struct flusher *f = fs->flusher;
	bool big;

	if (!f)
		return;
	big = txn_is_big(fs);
	if (!__atomic_load_n(&f->idle, __ATOMIC_RELAXED) &&
	    !(big && !__atomic_load_n(&f->kicked, __ATOMIC_RELAXED)))
		return;
	mtx_lock(&f->lock);
	__atomic_store_n(&f->idle, false, __ATOMIC_RELAXED);
	if (big)
		__atomic_store_n(&f->kicked, true, __ATOMIC_RELAXED);
	pthread_cond_signal(&f->wake);
	mtx_unlock(&f->lock);
}

/* Blocks have begun to wait for who still has them locked: see held_set_wake(). */
static void
wake_for_held(void *arg)
{
	struct flusher *f = arg;

	mtx_lock(&f->lock);
	if (!f->waiting) {
		f->waiting = true;
		__atomic_store_n(&f->idle, false, __ATOMIC_RELAXED);
		pthread_cond_signal(&f->wake);
	}
	mtx_unlock(&f->lock);
}

int
writeback_start(struct fs *fs)
{
	struct flusher *f = calloc(1, sizeof(*f));
	pthread_condattr_t attr;
	sigset_t all, old;
	int r;

	if (!f)
		return -ENOMEM;
	f->fs = fs;
	mtx_init(&f->lock, LOCK_LEAF, 0);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&f->wake, &attr);
	pthread_condattr_destroy(&attr);
	pthread_cond_init(&f->synced, NULL);
	RB_INIT(&f->set);
	f->held_due = NEVER;
	f->waiting = held_waiting(fs->pool) > 0;
	fs->flusher = f;
	/* Signals are the main thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&f->thread, NULL, flusher_main, f);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r == 0) {
		held_set_wake(fs->pool, wake_for_held, f);
		return 0;
	}
	fs->flusher = NULL;
	pthread_cond_destroy(&f->synced);
	pthread_cond_destroy(&f->wake);
	mtx_destroy(&f->lock);
	free(f);
	return -r;
}

void
writeback_stop(struct fs *fs)
{
	struct flusher *f = fs->flusher;

	if (!f)
		return;
	held_set_wake(fs->pool, NULL, NULL);
	mtx_lock(&f->lock);
	f->stop = true;
	pthread_cond_signal(&f->wake);
	mtx_unlock(&f->lock);
	pthread_join(f->thread, NULL);
	fs->flusher = NULL;
	pthread_cond_destroy(&f->synced);
	pthread_cond_destroy(&f->wake);
	mtx_destroy(&f->lock);
	free(f);
}
