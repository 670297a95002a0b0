/* SPDX-License-Identifier: BSD-3-Clause */
/* The open transaction, and the commit that makes it durable.
 *
 * Operations hold the gate shared between txn_begin and txn_end. A commit holds
 * LOCK_COMMIT from beginning to end, and within it
 *
 *   close   gate exclusive: nobody is in the middle of an operation. The tree is
 *           sealed (CRCs of the new nodes), the counters and the root ref are
 *           copied into the next root, and what the transaction has collected
 *           (ranges to flush, blocks to free) is swapped for its empty twin. The
 *           number goes up: that is all it takes to open the next transaction, for
 *           a node is of the open transaction if its header says that number.
 *   flush   everything noted becomes durable; operations go on.
 *   root    the root slot is written; with that the transaction is committed.
 *   free    the freed blocks go to the allocator, and the number is published last:
 *           who sees it can count on the space.
 *
 * Group commit comes from the mutex: whoever has waited for it finds that a commit
 * by one of those who waited with him has taken his changes along. A transaction
 * that has changed nothing is left open.
 *
 * txn_commit_async must not wait for the medium. Only in the pagecache domain is
 * there something to wait for: there a thread of its own, started when it is needed
 * first, takes the requests that have piled up and does one commit for all of them.
 *
 * If a commit fails nothing can be said about what the medium holds beyond the last
 * root, so it is the end: nothing more is committed, no block is freed, and no
 * transaction begins. What the failed commit would have freed stays allocated, so
 * the old root stays whole. txn_abort brings the same about for the open transaction. Who calls it has
 * the gate, so a commit that is about to close that transaction looks again when it has the gate.
 */
#include "pmem/txn.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "pmem/log.h"
#include "pmem/pool_i.h"

/* Runs of blocks to be freed. Room for KEEP is held on to, so that ordinary transactions allocate
 * no memory. */
#define FREES_KEEP 1024u

#define NODE_ALLOC (ALLOC_RESERVED | ALLOC_NODE)

/* Nobody gets here by counting; what comes behind could wrap. */
#define TXN_NUMBER_MAX (UINT64_MAX / 2)

struct run {
	pblk_t start;
	uint64_t n;
};

struct frees {
	struct run *runs;
	size_t nr, room;
};

/* A request to the committer. */
struct request {
	struct request *next;
	uint64_t number;
	void (*done)(void *arg, int err);
	void *arg;
};

struct txn_state {
	struct rwl gate;         /* LOCK_GATE */
	uint64_t open;           /* atomic; changes with the gate held exclusive */
	uint64_t open_nodes;     /* atomic */
	uint64_t pending_free;   /* atomic; blocks in both sets of frees */
	bool dirty;              /* atomic; the open transaction has changed something */

	struct mtx lock;         /* LOCK_LEAF */
	struct frees frees;      /* P: lock, gate shared; or gate exclusive */
	struct flush_set *flush; /* likewise; holds ranges in the pagecache domain only */

	struct mtx commit;       /* LOCK_COMMIT */
	uint64_t committed;      /* atomic; changes with commit held */
	uint64_t commits;        /* atomic; likewise */
	/* Of the closed transaction. P: commit */
	struct frees closed_frees;
	struct flush_set *closed_flush;
	struct root_block closed_root;

	bool has_committer;      /* async requests go to the thread (pagecache domain) */
	bool committer_runs;     /* P: lock */
	bool committer_stop;     /* P: lock */
	struct request *requests, **requests_end; /* P: lock */
	pthread_cond_t wake;     /* with lock: requests, committer_stop */
	pthread_t committer;
};

/* ---- freed blocks ---- */

static int
run_cmp(const void *a, const void *b)
{
	const struct run *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

/* Sort, and join what touches. */
static void
frees_squeeze(struct frees *f)
{
	size_t to = 0;

	if (f->nr < 2)
		return;
	qsort(f->runs, f->nr, sizeof(*f->runs), run_cmp);
	for (size_t i = 1; i < f->nr; i++) {
		if (f->runs[to].start + f->runs[to].n == f->runs[i].start)
			f->runs[to].n += f->runs[i].n;
		else
			f->runs[++to] = f->runs[i];
	}
	f->nr = to + 1;
}

static bool
frees_resize(struct frees *f, size_t room)
{
	struct run *runs = realloc(f->runs, room * sizeof(*runs));

	if (!runs)
		return false;
	f->runs = runs;
	f->room = room;
	return true;
}

/* False: no memory, they stay allocated. */
static bool
frees_add(struct frees *f, pblk_t start, uint64_t n)
{
	if (f->nr > 0) {
		struct run *last = &f->runs[f->nr - 1];

		if (last->start + last->n == start) {
			last->n += n;
			return true;
		}
		if (start + n == last->start) {
			last->start = start;
			last->n += n;
			return true;
		}
	}
	if (f->nr == f->room && !frees_resize(f, 2 * f->room)) {
		frees_squeeze(f);
		if (f->nr == f->room) {
			/* Mounting finds free what no map names, so this does no lasting harm. */
			pinfs_log(LOG_ERR, "no memory: blocks %llu+%llu stay allocated until the next mount",
			    (unsigned long long)start, (unsigned long long)n);
			return false;
		}
	}
	f->runs[f->nr++] = (struct run){ start, n };
	return true;
}

static void
frees_apply(struct frees *f, struct alloc *a, uint64_t *pending)
{
	for (size_t i = 0; i < f->nr; i++) {
		alloc_free(a, f->runs[i].start, f->runs[i].n);
		__atomic_fetch_sub(pending, f->runs[i].n, __ATOMIC_RELAXED);
	}
	f->nr = 0;
	if (f->room > FREES_KEEP)
		frees_resize(f, FREES_KEEP);
}

/* ---- credits ---- */

uint64_t
txn_credits(struct pool *p, uint64_t n)
{
	/* Each level copied and split, and one more: the tree may grow before the transaction begins. */
	return n * 2 * (tree_height(p) + 1) + 1;
}

/* Of two neighbouring nodes at least one is half full (tree_change.c), so n neighbouring items lie in at most
 * twice the nodes that half full ones would be, and some at the ends. Any of those may split at
 * once, and from then on once for each half node of new items. */
uint64_t
txn_credits_run(struct pool *p, uint64_t n, size_t len)
{
	uint64_t bytes = n * (sizeof(struct leaf_slot) + len);
	uint64_t touched = 4 * bytes / NODE_SPACE + 3;
	uint64_t made = touched + 2 * bytes / NODE_SPACE + 1;
	uint64_t sum = touched + made;
	unsigned height = tree_height(p) + 1;

	for (unsigned l = 1; l < height; l++) {
		touched = 4 * touched / INNER_SLOTS_MAX + 3;
		made = touched + 2 * made / INNER_SLOTS_MAX + 1;
		sum += touched + made;
	}
	return min_of(sum, txn_credits(p, n));
}

/* No node is copied twice, and what is new goes into nodes that are half full at least. */
uint64_t
txn_credits_all(struct pool *p, uint64_t n, uint64_t max, size_t len)
{
	const uint64_t item = sizeof(struct leaf_slot) + len;
	uint64_t more = max_of(n, max) - n;
	uint64_t touched = 4 * n * item / NODE_SPACE + 3;
	uint64_t made = min_of(touched, more) + 2 * more * item / NODE_SPACE + 1;
	uint64_t sum = touched + made;
	unsigned height = tree_height(p) + 1;

	for (unsigned l = 1; l < height; l++) {
		touched = 4 * touched / INNER_SLOTS_MAX + 3;
		made = min_of(touched, made) + 2 * made / INNER_SLOTS_MAX + 1;
		sum += touched + made;
	}
	return sum;
}

/* ---- membership ---- */

static uint64_t
keep_for(struct pool *p, unsigned flags)
{
	return flags & TXN_MUST ? 0 : pool_meta_reserve(p);
}

static bool
pool_failed(const struct pool *p)
{
	return __atomic_load_n(&p->failed, __ATOMIC_ACQUIRE);
}

int
txn_begin(struct pool *p, struct txn *t, uint64_t credits, unsigned flags)
{
	struct txn_state *s = p->txn;
	int r;

	if (p->readonly)
		return -EROFS;
	if (credits > 0) {
		r = alloc_reserve(p->alloc, credits, keep_for(p, flags));
		if (r < 0)
			return pool_failed(p) ? -EROFS : r;
	}
	rwl_rdlock(&s->gate);
	if (pool_failed(p)) {
		rwl_unlock(&s->gate);
		if (credits > 0)
			alloc_unreserve(p->alloc, credits);
		return -EROFS;
	}
	*t = (struct txn){ .pool = p, .number = s->open, .credits = credits, .flags = flags };
	return 0;
}

int
txn_extend(struct txn *t, uint64_t credits)
{
	int r = alloc_reserve(t->pool->alloc, credits, keep_for(t->pool, t->flags));

	if (r == 0)
		t->credits += credits;
	return r;
}

void
txn_end(struct txn *t)
{
	struct pool *p = t->pool;

	rwl_unlock(&p->txn->gate);
	if (t->credits > 0)
		alloc_unreserve(p->alloc, t->credits);
	t->credits = 0;
}

void
txn_abort(struct txn *t, int err)
{
	struct pool *p = t->pool;

	if (__atomic_exchange_n(&p->failed, true, __ATOMIC_ACQ_REL))
		return;
	pinfs_log(LOG_CRIT, "%s: a change in transaction %llu stopped half way (%s): read-only from now on, as of the "
	    "last commit", p->path, (unsigned long long)t->number, strerror(-err));
}

uint64_t
txn_number(const struct txn *t)
{
	return t->number;
}

static void
mark_dirty(struct txn_state *s)
{
	if (!__atomic_load_n(&s->dirty, __ATOMIC_RELAXED))
		__atomic_store_n(&s->dirty, true, __ATOMIC_RELEASE);
}

void
txn_free(struct txn *t, pblk_t start, uint64_t n)
{
	struct txn_state *s = t->pool->txn;

	if (n == 0)
		return;
	mark_dirty(s);
	mtx_lock(&s->lock);
	if (frees_add(&s->frees, start, n))
		__atomic_fetch_add(&s->pending_free, n, __ATOMIC_RELAXED);
	mtx_unlock(&s->lock);
}

void
txn_free_new(struct txn *t, pblk_t start, uint64_t n)
{
	if (n > 0)
		alloc_free(t->pool->alloc, start, n);
}

void
txn_note_data(struct txn *t, pblk_t start, uint64_t n)
{
	struct txn_state *s = t->pool->txn;

	mark_dirty(s);
	if (!s->has_committer) {
		/* Written back at once, or not at all: nothing is added to the set, so no lock. */
		flush_set_add(s->flush, start, n);
		return;
	}
	mtx_lock(&s->lock);
	flush_set_add(s->flush, start, n);
	mtx_unlock(&s->lock);
}

uint64_t
txn_new_ino(struct txn *t)
{
	mark_dirty(t->pool->txn);
	return __atomic_fetch_add(&t->pool->next_ino, 1, __ATOMIC_RELAXED);
}

void
txn_add_inodes(struct txn *t, int64_t n)
{
	mark_dirty(t->pool->txn);
	__atomic_fetch_add(&t->pool->ninodes, (uint64_t)n, __ATOMIC_RELAXED);
}

void
txn_add_data_blocks(struct txn *t, int64_t n)
{
	mark_dirty(t->pool->txn);
	__atomic_fetch_add(&t->pool->data_blocks, (uint64_t)n, __ATOMIC_RELAXED);
}

/* ---- nodes, for the tree ---- */

/* A run of at most want blocks, ready to be stored to: one call fills the page tables of the 2 MiB
 * that nodes come from next, which takes less time than the faults would, one by one, under the same
 * lock. On a disk filesystem there is nothing to fill ahead (pool.c says why). */
static int
node_run(struct pool *p, unsigned want, pblk_t *start, uint64_t *got)
{
	int r = alloc_run(p->alloc, PBLK_NONE, want, 0, NODE_ALLOC, start, got);

	if (r < 0 || p->txn->has_committer)
		return r;
	r = pool_populate(p, *start, *got);
	if (r < 0)
		alloc_undo(p->alloc, *start, *got, NODE_ALLOC);
	return r;
}

int
txn_nodes_new(struct txn *t, unsigned n, pblk_t *blk)
{
	struct pool *p = t->pool;
	unsigned have = 0;
	int r;

	if (n == 0)
		return 0;
	if (t->credits < n) {
		r = alloc_reserve(p->alloc, n - t->credits, 0);
		if (r < 0)
			return r;
		pinfs_log(LOG_NOTICE, "an operation needs more nodes than it has reserved: %u, not %llu", n,
		    (unsigned long long)t->credits);
		t->credits = n;
	}
	while (have < n) {
		pblk_t start;
		uint64_t got;

		r = node_run(p, n - have, &start, &got);
		if (r < 0) {
			while (have > 0)
				alloc_undo(p->alloc, blk[--have], 1, NODE_ALLOC);
			return r;
		}
		for (uint64_t i = 0; i < got; i++)
			blk[have++] = start + i;
	}
	for (unsigned i = 0; i < n; i++)
		pool_set_verified(p, blk[i]);
	t->credits -= n;
	mark_dirty(p->txn);
	__atomic_fetch_add(&p->node_blocks, n, __ATOMIC_RELAXED);
	__atomic_fetch_add(&p->txn->open_nodes, n, __ATOMIC_RELAXED);
	return 0;
}

void
txn_node_free(struct txn *t, pblk_t blk)
{
	struct pool *p = t->pool;
	const struct node_header *n = pool_addr(p, blk);

	pool_clear_verified(p, blk);
	__atomic_fetch_sub(&p->node_blocks, 1, __ATOMIC_RELAXED);
	if (n->txn != t->number) {
		txn_free(t, blk, 1);
		return;
	}
	__atomic_fetch_sub(&p->txn->open_nodes, 1, __ATOMIC_RELAXED);
	txn_free_new(t, blk, 1);
}

/* ---- commit ---- */

void
txn_commit_lock(struct pool *p)
{
	mtx_lock(&p->txn->commit);
}

void
txn_commit_unlock(struct pool *p)
{
	mtx_unlock(&p->txn->commit);
}

/* LOCK_COMMIT held. The gate is exclusive in here: every microsecond counts. -EIO: aborted. */
static int
close_open(struct pool *p, uint32_t root_flags)
{
	struct txn_state *s = p->txn;
	struct root_block *root = &s->closed_root;
	struct flush_set *flush = s->closed_flush;
	struct frees frees = s->closed_frees;

	*root = p->root;
	root->flags = root_flags;

	rwl_wrlock(&s->gate);
	if (pool_failed(p)) {
		rwl_unlock(&s->gate);
		return -EIO;
	}
	tree_seal(p, s->flush);
	root->txn = s->open;
	root->tree[0] = p->tree_root;
	root->next_ino = __atomic_load_n(&p->next_ino, __ATOMIC_RELAXED);
	root->ninodes = __atomic_load_n(&p->ninodes, __ATOMIC_RELAXED);
	root->data_blocks = __atomic_load_n(&p->data_blocks, __ATOMIC_RELAXED);
	root->node_blocks = __atomic_load_n(&p->node_blocks, __ATOMIC_RELAXED);
	s->closed_flush = s->flush;
	s->flush = flush;
	s->closed_frees = s->frees;
	s->frees = frees;
	__atomic_store_n(&s->open, s->open + 1, __ATOMIC_RELAXED);
	__atomic_store_n(&s->open_nodes, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&s->dirty, false, __ATOMIC_RELAXED);
	rwl_unlock(&s->gate);
	return 0;
}

/* LOCK_COMMIT held: what close_open has closed becomes durable. */
static int
commit_closed(struct pool *p)
{
	struct txn_state *s = p->txn;
	int r;

	r = domain_flush_set(p->domain, s->closed_flush);
	if (r == 0)
		r = root_write(p, &s->closed_root);
	if (r < 0) {
		__atomic_store_n(&p->failed, true, __ATOMIC_RELEASE);
		pinfs_log(LOG_CRIT, "%s: commit of transaction %llu failed (%s): read-only from now on",
		    p->path, (unsigned long long)s->closed_root.txn, strerror(-r));
		return -EIO;
	}
	flush_set_clear(s->closed_flush);
	frees_apply(&s->closed_frees, p->alloc, &s->pending_free);
	__atomic_fetch_add(&s->commits, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&s->committed, s->closed_root.txn, __ATOMIC_RELEASE);
	return 0;
}

/* Up to number, waiting for the medium. */
static int
commit_to(struct pool *p, uint64_t number)
{
	struct txn_state *s = p->txn;
	int r = 0;

	mtx_lock(&s->commit);
	if (s->committed >= number) {
		/* Somebody else's commit took it along. */
	} else if (pool_failed(p)) {
		r = -EIO;
	} else if (__atomic_load_n(&s->dirty, __ATOMIC_ACQUIRE)) {
		r = close_open(p, 0);
		if (r == 0)
			r = commit_closed(p);
	}
	mtx_unlock(&s->commit);
	return r;
}

int
txn_commit_clean(struct pool *p)
{
	struct txn_state *s = p->txn;
	int r = 0;

	if (p->readonly)
		return 0;
	lock_assert_none_held();
	mtx_lock(&s->commit);
	if (pool_failed(p)) {
		r = -EIO;
	} else if (__atomic_load_n(&s->dirty, __ATOMIC_ACQUIRE) || !(p->root.flags & ROOT_CLEAN)) {
		r = close_open(p, ROOT_CLEAN);
		if (r == 0)
			r = commit_closed(p);
	}
	mtx_unlock(&s->commit);
	return r;
}

int
txn_commit_wait(struct pool *p, uint64_t number)
{
	lock_assert_none_held();
	if (txn_committed(p) >= number)
		return 0;
	return commit_to(p, number);
}

/* ---- the committer ---- */

static void *
committer_main(void *arg)
{
	struct pool *p = arg;
	struct txn_state *s = p->txn;

	mtx_lock(&s->lock);
	for (;;) {
		struct request *batch, *next;
		uint64_t number = 0;
		int err;

		while (!s->requests && !s->committer_stop)
			mtx_cond_wait(&s->wake, &s->lock);
		if (!s->requests)
			break;
		batch = s->requests;
		s->requests = NULL;
		s->requests_end = &s->requests;
		mtx_unlock(&s->lock);

		for (struct request *q = batch; q; q = q->next)
			number = max_of(number, q->number);
		err = commit_to(p, number);
		for (struct request *q = batch; q; q = next) {
			next = q->next;
			q->done(q->arg, txn_committed(p) >= q->number ? 0 : err);
			free(q);
		}
		mtx_lock(&s->lock);
	}
	mtx_unlock(&s->lock);
	return NULL;
}

/* s->lock held. The thread takes no signals: those are the main thread's. */
static bool
committer_start(struct pool *p)
{
	struct txn_state *s = p->txn;
	sigset_t all, old;

	if (s->committer_runs)
		return true;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	s->committer_runs = pthread_create(&s->committer, NULL, committer_main, p) == 0;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return s->committer_runs;
}

static bool
committer_request(struct pool *p, uint64_t number, void (*done)(void *arg, int err), void *arg)
{
	struct txn_state *s = p->txn;
	struct request *q = malloc(sizeof(*q));
	bool runs;

	if (!q)
		return false;
	*q = (struct request){ .number = number, .done = done, .arg = arg };
	mtx_lock(&s->lock);
	runs = committer_start(p);
	if (runs) {
		*s->requests_end = q;
		s->requests_end = &q->next;
		pthread_cond_signal(&s->wake);
	}
	mtx_unlock(&s->lock);
	if (!runs)
		free(q);
	return runs;
}

void
txn_commit_async(struct pool *p, uint64_t number, void (*done)(void *arg, int err), void *arg)
{
	lock_assert_none_held();
	if (txn_committed(p) >= number)
		done(arg, 0);
	else if (!p->txn->has_committer || !committer_request(p, number, done, arg))
		done(arg, commit_to(p, number));
}

/* ---- the state as a whole ---- */

uint64_t
txn_open_number(struct pool *p)
{
	return __atomic_load_n(&p->txn->open, __ATOMIC_ACQUIRE);
}

bool
txn_open_dirty(struct pool *p)
{
	return __atomic_load_n(&p->txn->dirty, __ATOMIC_ACQUIRE);
}

uint64_t
txn_pending_free(struct pool *p)
{
	return __atomic_load_n(&p->txn->pending_free, __ATOMIC_RELAXED);
}

uint64_t
txn_commits(struct pool *p)
{
	return __atomic_load_n(&p->txn->commits, __ATOMIC_RELAXED);
}

uint64_t
txn_committed(struct pool *p)
{
	return __atomic_load_n(&p->txn->committed, __ATOMIC_ACQUIRE);
}

uint64_t
txn_open_nodes(struct pool *p)
{
	return __atomic_load_n(&p->txn->open_nodes, __ATOMIC_RELAXED);
}

int
txn_state_new(struct pool *p)
{
	struct txn_state *s;

	if (p->root.txn >= TXN_NUMBER_MAX) {
		pinfs_log(LOG_ERR, "%s: the root has a wrong transaction number", p->path);
		return -EIO;
	}
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	if (!frees_resize(&s->frees, FREES_KEEP) || !frees_resize(&s->closed_frees, FREES_KEEP))
		goto no_memory;
	s->flush = flush_set_new(p->domain);
	s->closed_flush = flush_set_new(p->domain);
	if (!s->flush || !s->closed_flush)
		goto no_memory;
	rwl_init(&s->gate, LOCK_GATE, 0);
	mtx_init(&s->lock, LOCK_LEAF, 0);
	mtx_init(&s->commit, LOCK_COMMIT, 0);
	pthread_cond_init(&s->wake, NULL);
	s->requests_end = &s->requests;
	s->has_committer = domain_kind(p->domain) == DOMAIN_PAGECACHE;
	s->committed = p->root.txn;
	s->open = p->root.txn + 1;

	p->txn_at_open = p->root.txn;
	p->txn = s;
	return 0;

no_memory:
	flush_set_free(s->flush);
	flush_set_free(s->closed_flush);
	free(s->frees.runs);
	free(s->closed_frees.runs);
	free(s);
	return -ENOMEM;
}

void
txn_state_free(struct pool *p)
{
	struct txn_state *s = p->txn;
	bool runs;

	if (!s)
		return;
	mtx_lock(&s->lock);
	s->committer_stop = true;
	runs = s->committer_runs;
	pthread_cond_signal(&s->wake);
	mtx_unlock(&s->lock);
	if (runs)
		pthread_join(s->committer, NULL);
	pthread_cond_destroy(&s->wake);
	mtx_destroy(&s->commit);
	mtx_destroy(&s->lock);
	rwl_destroy(&s->gate);
	flush_set_free(s->flush);
	flush_set_free(s->closed_flush);
	free(s->frees.runs);
	free(s->closed_frees.runs);
	free(s);
	p->txn = NULL;
}
