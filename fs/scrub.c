/* SPDX-License-Identifier: BSD-3-Clause */
/* The scrub of a mounted pool.
 *
 * A cursor goes from leaf to leaf of the tree by key, with no snapshot: tree_check_next has the checksum of each node computed
 * anew. Then come the inodes that the leaf holds. Each file's durable map is gone through by offset; of
 * the blocks that an extent names, a few are read at a time, with the layout lock held shared, as a reader of
 * the file would, so they can't be freed meanwhile. What is written while the scrub runs may be missed or met; it
 * has just been checksummed anyway. No commit and no writer waits for more than one such step, which
 * takes some ten microseconds.
 *
 * Between steps the thread sleeps as long as it is ahead of its rate.
 *
 *     never --start--> running --end--> done       --start--> running ...
 *                              --cancel--> cancelled --start--> running ...
 *
 * A block that fails has its "was checked" bit taken back, a node its "was verified" bit: from then on who
 * reads them gets EIO, whatever was read before the damage happened.
 */
#include "fs/scrub.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/extent.h"
#include "fs/fs_i.h"
#include "pmem/crc.h"
#include "pmem/log.h"

#define STEP_BLOCKS 64u          /* read with the layout lock held */
#define STEP_BYTES ((uint64_t)1 << 20) /* read between two looks at the clock */
#define NSEC_PER_SEC 1000000000

struct scrub {
	struct fs *fs;
	struct mtx lock;           /* LOCK_LEAF */
	pthread_cond_t wake;       /* with lock: stop */
	bool stop;                 /* P: lock */
	bool has_thread;           /* P: lock; somebody has to join it */
	pthread_t thread;          /* P: lock */
	struct scrub_status st;    /* P: lock */

	/* Of the thread. */
	struct timespec began;     /* CLOCK_MONOTONIC */
	uint64_t unpaced;          /* bytes since the last look at the clock */
	unsigned nodes, ninos;     /* of the step: looked at, and what was in the leaf */
	uint64_t ino[NODE_SPACE / sizeof(struct leaf_slot)];
};

static const bool legal[SCRUB_STATES][SCRUB_STATES] = {
	[SCRUB_NEVER] = { [SCRUB_RUNNING] = true },
	[SCRUB_RUNNING] = { [SCRUB_DONE] = true, [SCRUB_CANCELLED] = true },
	[SCRUB_DONE] = { [SCRUB_RUNNING] = true },
	[SCRUB_CANCELLED] = { [SCRUB_RUNNING] = true },
};

/* s->lock held. False: it can't go there. */
static bool
enter_locked(struct scrub *s, enum scrub_state to)
{
	if (!legal[s->st.state][to])
		return false;
	s->st.state = to;
	if (to != SCRUB_RUNNING)
		s->st.ended = time(NULL);
	return true;
}

/* ---- pace ---------------------------------------------------------------------------- */

/* When that many bytes may have been read. */
static struct timespec
due(const struct scrub *s, uint64_t bytes, uint64_t rate)
{
	struct timespec ts = s->began;

	ts.tv_sec += (time_t)(bytes / rate);
	ts.tv_nsec += (long)((double)(bytes % rate) / (double)rate * NSEC_PER_SEC);
	if (ts.tv_nsec >= NSEC_PER_SEC) {
		ts.tv_nsec -= NSEC_PER_SEC;
		ts.tv_sec++;
	}
	return ts;
}

/* Some bytes were read: count them, and wait if that was too fast. -ECANCELED. */
static int
pace(struct scrub *s, uint64_t bytes)
{
	uint64_t rate;
	int r = 0;

	mtx_lock(&s->lock);
	s->st.done_bytes += bytes;
	s->unpaced += bytes;
	rate = s->st.bytes_per_s;
	if (rate > 0 && s->unpaced >= min_of(STEP_BYTES, rate / 8 + 1)) {
		struct timespec until = due(s, s->st.done_bytes, rate);

		s->unpaced = 0;
		while (!s->stop && pthread_cond_timedwait(&s->wake, &s->lock.m, &until) != ETIMEDOUT)
			;
	}
	if (s->stop)
		r = -ECANCELED;
	mtx_unlock(&s->lock);
	return r;
}

static void
count(struct scrub *s, uint64_t *what, uint64_t n)
{
	mtx_lock(&s->lock);
	*what += n;
	mtx_unlock(&s->lock);
}

/* ---- files ------------------------------------------------------------------------------ */

static void
scrub_block(struct scrub *s, struct inode *i, const struct extent *e, uint64_t k, uint32_t want)
{
	uint32_t crc = crc32c(pool_block(s->fs->pool, e->pblk + k), BLK_SIZE);

	if (crc == want)
		return;
	extent_forget_csum(s->fs, e->pblk + k, 1);
	if (e->flags & EXTENT_DAMAGED) {
		count(s, &s->st.known_blocks, 1);
		return;
	}
	count(s, &s->st.block_errors, 1);
	pinfs_log(LOG_ERR, "scrub: inode %llu, offset %llu, block %llu: content has CRC %08x, not %08x",
	    (unsigned long long)i->ino, (unsigned long long)(e->fblk + k) << BLK_SHIFT,
	    (unsigned long long)(e->pblk + k), crc, want);
}

/* Look at what is mapped at *at, and move on. Bytes that were read, 0 for a hole; -EIO. */
static int64_t
scrub_extent(struct scrub *s, struct inode *i, fblk_t *at)
{
	uint32_t csums[STEP_BLOCKS];
	struct extent e;
	int64_t read = 0;
	int r;

	rwl_rdlock(&i->layout_lock);
	r = extent_lookup(i, *at, &e, csums, STEP_BLOCKS);
	if (r == 0 && e.pblk != PBLK_NONE && !(e.flags & (EXTENT_UNWRITTEN | EXTENT_NOCSUM))) {
		e.len = min_of(e.len, (uint64_t)STEP_BLOCKS);
		for (uint64_t k = 0; k < e.len; k++)
			scrub_block(s, i, &e, k, csums[k]);
		read = (int64_t)(e.len << BLK_SHIFT);
	}
	rwl_unlock(&i->layout_lock);
	if (r < 0)
		return r;
	*at = e.fblk + e.len;
	return read;
}

static int
scrub_file(struct scrub *s, struct inode *i)
{
	fblk_t at = 0;
	int r = 0;

	while (at <= FBLK_MAX && r == 0) {
		int64_t read = scrub_extent(s, i, &at);

		if (read < 0) { /* was logged; what is behind it can't be told from it */
			count(s, &s->st.inode_errors, 1);
			return 0;
		}
		count(s, &s->st.blocks, (uint64_t)read >> BLK_SHIFT);
		r = pace(s, (uint64_t)read);
	}
	return r;
}

static int
scrub_inode(struct scrub *s, uint64_t ino)
{
	struct inode *i;
	int r = inode_get(s->fs, ino, &i);

	if (r == -EIO)
		count(s, &s->st.inode_errors, 1);
	if (r < 0)
		return r == -ENOMEM ? r : 0; /* it may be gone by now */
	count(s, &s->st.inodes, 1);
	r = inode_is_reg(i) ? scrub_file(s, i) : 0;
	inode_put(i);
	return r;
}

/* ---- nodes ------------------------------------------------------------------------------ */

/* The tree is locked: note what is in the leaf, for later. */
static int
scrub_node(void *arg, const struct tree_walk_node *wn)
{
	struct scrub *s = arg;

	s->nodes++;
	if (wn->error) {
		count(s, &s->st.node_errors, 1);
		pinfs_log(LOG_ERR, "scrub: tree node at block %llu (level %u): %s", (unsigned long long)wn->block,
		    wn->level, wn->why);
		return 0;
	}
	for (unsigned k = 0; wn->level == 0 && k < leaf_count(wn->node); k++) {
		struct tree_key key;
		const void *value;
		size_t len;

		leaf_item(wn->node, k, &key, &value, &len);
		if (tree_key_type(key) == ITEM_INODE && tree_key_ino(key) != INO_NONE)
			s->ino[s->ninos++] = tree_key_ino(key);
	}
	return 0;
}

static int
scrub_all(struct scrub *s)
{
	struct tree_key at = { 0, 0 };
	int more, r;

	do {
		s->nodes = s->ninos = 0;
		more = tree_check_next(s->fs->pool, &at, scrub_node, s);
		count(s, &s->st.nodes, s->nodes);
		r = more < 0 ? more : pace(s, (uint64_t)s->nodes << BLK_SHIFT);
		for (unsigned k = 0; k < s->ninos && r == 0; k++)
			r = scrub_inode(s, s->ino[k]);
	} while (more > 0 && r == 0);
	return r;
}

/* ---- the whole --------------------------------------------------------------------------- */

static void *
scrub_main(void *arg)
{
	struct scrub *s = arg;
	struct scrub_status st;
	int r = scrub_all(s);

	mtx_lock(&s->lock);
	enter_locked(s, r < 0 ? SCRUB_CANCELLED : SCRUB_DONE);
	st = s->st;
	mtx_unlock(&s->lock);
	pinfs_log(st.node_errors + st.inode_errors + st.block_errors > 0 ? LOG_ERR : LOG_INFO,
	    "scrub %s: %llu nodes, %llu inodes, %llu blocks; %llu, %llu, %llu of them damaged",
	    r < 0 ? "cancelled" : "done", (unsigned long long)st.nodes, (unsigned long long)st.inodes,
	    (unsigned long long)st.blocks, (unsigned long long)st.node_errors, (unsigned long long)st.inode_errors,
	    (unsigned long long)st.block_errors);
	return NULL;
}

/* Signals are the main thread's. */
static int
start_thread(struct scrub *s, pthread_t *thread)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(thread, NULL, scrub_main, s);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -r;
}

int
fs_scrub_start(struct fs *fs, uint64_t bytes_per_s)
{
	struct scrub *s = fs->scrub;
	uint64_t inodes, data, nodes;
	int r = 0;

	pool_counters(fs->pool, &inodes, &data, &nodes);
	mtx_lock(&s->lock);
	if (s->st.state == SCRUB_RUNNING) {
		mtx_unlock(&s->lock);
		return -EBUSY;
	}
	/* Its last word was the change of state. */
	if (s->has_thread)
		pthread_join(s->thread, NULL);
	s->has_thread = false;
	s->stop = false;
	s->unpaced = 0;
	clock_gettime(CLOCK_MONOTONIC, &s->began);
	s->st = (struct scrub_status){ .state = s->st.state, .bytes_per_s = bytes_per_s,
		.total_bytes = (data + nodes) << BLK_SHIFT, .started = time(NULL) };
	r = start_thread(s, &s->thread);
	if (r == 0) {
		s->has_thread = true;
		enter_locked(s, SCRUB_RUNNING);
	}
	mtx_unlock(&s->lock);
	return r;
}

void
fs_scrub_cancel(struct fs *fs)
{
	struct scrub *s = fs->scrub;

	mtx_lock(&s->lock);
	s->stop = true;
	pthread_cond_signal(&s->wake);
	mtx_unlock(&s->lock);
}

void
fs_scrub_status(struct fs *fs, struct scrub_status *st)
{
	mtx_lock(&fs->scrub->lock);
	*st = fs->scrub->st;
	mtx_unlock(&fs->scrub->lock);
}

int
scrub_new(struct fs *fs, struct scrub **out)
{
	struct scrub *s = calloc(1, sizeof(*s));
	pthread_condattr_t attr;

	if (!s)
		return -ENOMEM;
	s->fs = fs;
	mtx_init(&s->lock, LOCK_LEAF, 0);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->wake, &attr);
	pthread_condattr_destroy(&attr);
	*out = s;
	return 0;
}

void
scrub_free(struct scrub *s)
{
	bool has_thread;

	if (!s)
		return;
	mtx_lock(&s->lock);
	s->stop = true;
	has_thread = s->has_thread;
	pthread_cond_signal(&s->wake);
	mtx_unlock(&s->lock);
	if (has_thread)
		pthread_join(s->thread, NULL);
	pthread_cond_destroy(&s->wake);
	mtx_destroy(&s->lock);
	free(s);
}
