/* SPDX-License-Identifier: BSD-3-Clause */
/* Counts of shared blocks, as runs in the tree.
 *
 * A change by one over [start, end) is done in windows: the runs that overlap or
 * touch the window are read into a small array, the runs that have to be there
 * afterwards are computed from it, and the difference of the two is written. A
 * window ends early where the array is full, so no memory is allocated and
 * nothing but damage can fail; refcount_check_locked has met that before.
 *
 * One lock for the whole pool makes read-decide-write one step. Two inodes
 * that share a block change its count under different layout locks, and a run
 * is split and joined in several steps that others must not see between. It is
 * held for microseconds, by writebacks that displace blocks, never by reads.
 */
#include "fs/refcount.h"

#include <errno.h>
#include <string.h>

#include "pmem/lock.h"
#include "pmem/log.h"

#define WINDOW 64 /* runs read at a time; at least 3 for a window to advance */

struct window {
	struct pool *pool;
	pblk_t start, end;   /* what is asked about */
	pblk_t limit;        /* start of a run that was left out, or UINT64_MAX */
	struct refcount_run run[WINDOW];
	unsigned n;
	const char *damage;
	pblk_t damage_at;
};

void
refcount_lock(struct pool *p)
{
	mtx_lock(&pool_shared(p)->lock);
}

void
refcount_unlock(struct pool *p)
{
	mtx_unlock(&pool_shared(p)->lock);
}

/* The reserve follows what there is to count. */
static void
count_runs(struct pool *p, int64_t items, int64_t blocks)
{
	struct pool_shared *s = pool_shared(p);

	__atomic_fetch_add(&s->items, (uint64_t)items, __ATOMIC_RELAXED);
	__atomic_fetch_add(&s->blocks, (uint64_t)blocks, __ATOMIC_RELAXED);
}

void
refcount_found(struct pool *p, const struct refcount_run *r)
{
	count_runs(p, 1, (int64_t)r->len);
}

static struct tree_key
key_of(pblk_t block)
{
	return tree_key(INO_NONE, ITEM_REFCOUNT, block);
}

const char *
refcount_decode(struct pool *p, struct tree_key key, const void *value, size_t len, struct refcount_run *r)
{
	struct refcount_item item;

	if (len != sizeof(item))
		return "a reference count of the wrong length";
	memcpy(&item, value, sizeof(item));
	if (item.len == 0 || !pool_range_ok(p, key.lo, item.len))
		return "a reference count for blocks outside the pool";
	if (item.count < 2)
		return "a reference count below 2";
	*r = (struct refcount_run){ key.lo, item.len, item.count };
	return NULL;
}

/* The run that begins at or before start-1: it may reach up to start. */
static int
visit_first(void *arg, struct tree_key key, const void *value, size_t len)
{
	struct window *w = arg;
	struct refcount_run r;

	w->damage = refcount_decode(w->pool, key, value, len, &r);
	if (w->damage) {
		w->damage_at = key.lo;
		return -EIO;
	}
	if (r.start + r.len >= w->start)
		w->run[w->n++] = r;
	return 1;
}

static int
visit_next(void *arg, struct tree_key key, const void *value, size_t len)
{
	struct window *w = arg;
	struct refcount_run r;

	w->damage = refcount_decode(w->pool, key, value, len, &r);
	if (!w->damage && w->n > 0 && r.start < w->run[w->n - 1].start + w->run[w->n - 1].len)
		w->damage = "reference counts that overlap";
	if (w->damage) {
		w->damage_at = key.lo;
		return -EIO;
	}
	if (w->n == WINDOW) {
		w->limit = r.start;
		return 1;
	}
	w->run[w->n++] = r;
	return 0;
}

/* Read the runs that overlap or touch [start, end). If there are too many, the
 * window ends with the last that was read; and it is no longer than a run can be. */
static int
window_read(struct window *w, struct pool *p, pblk_t start, pblk_t end)
{
	int r;

	w->pool = p;
	end = min_of(end, start + UINT32_MAX);
	w->start = start;
	w->end = end;
	w->limit = UINT64_MAX;
	w->n = 0;
	w->damage = NULL;
	r = tree_scan_back(p, key_of(0), key_of(start - 1), visit_first, w);
	if (r >= 0)
		r = tree_scan(p, key_of(start), key_of(end), visit_next, w);
	if (w->damage)
		pinfs_log(LOG_ERR, "block %llu: damaged item: %s", (unsigned long long)w->damage_at,
		    w->damage);
	if (r < 0)
		return r;
	/* The last run read then serves as the neighbour behind the window. */
	if (w->limit != UINT64_MAX)
		w->end = min_of(w->end, w->run[w->n - 1].start);
	return 0;
}

int
refcount_get(struct pool *p, pblk_t start, uint64_t n, uint32_t *count, uint64_t *run)
{
	struct window w;
	int r;

	if (n == 0 || !pool_range_ok(p, start, n))
		return -EINVAL;
	refcount_lock(p);
	r = window_read(&w, p, start, start + n);
	refcount_unlock(p);
	if (r < 0)
		return r;
	*count = 1;
	*run = w.end - start;
	for (unsigned i = 0; i < w.n; i++) {
		const struct refcount_run *c = &w.run[i];

		if (c->start + c->len <= start)
			continue;
		if (c->start <= start) {
			*count = c->count;
			*run = min_of(c->start + c->len, w.end) - start;
		} else {
			*run = min_of(c->start, w.end) - start;
		}
		break;
	}
	return 0;
}

int
refcount_check_locked(struct pool *p, pblk_t start, uint64_t n, int delta, uint64_t *runs)
{
	pblk_t end = start + n;
	struct window w;
	int r;

	*runs = 0;
	while (start < end) {
		r = window_read(&w, p, start, end);
		if (r < 0)
			return r;
		for (unsigned i = 0; i < w.n; i++) {
			const struct refcount_run *c = &w.run[i];

			if (c->start + c->len <= start || c->start >= w.end)
				continue;
			++*runs;
			if (delta > 0 && c->count == UINT32_MAX)
				return -EMLINK;
		}
		start = w.end;
	}
	return 0;
}

uint64_t
refcount_credits(struct pool *p, uint64_t runs)
{
	/* Each run that is met may leave itself, a gap before it and a rest, and
	 * two neighbours may be joined. */
	return txn_credits_run(p, 3 * runs + 4, sizeof(struct refcount_item));
}

uint64_t
refcount_credits_all(struct pool *p)
{
	struct pool_shared *s = pool_shared(p);

	return txn_credits_all(p, __atomic_load_n(&s->items, __ATOMIC_RELAXED),
	    __atomic_load_n(&s->blocks, __ATOMIC_RELAXED), sizeof(struct refcount_item));
}

/* Add a run to what has to be there, joined with the one before if it can be. */
static void
emit(struct refcount_run *out, unsigned *n, pblk_t start, pblk_t end, uint32_t count)
{
	struct refcount_run *last = *n > 0 ? &out[*n - 1] : NULL;

	if (start == end || count < 2)
		return;
	if (last && last->start + last->len == start && last->count == count &&
	    last->len + (end - start) <= UINT32_MAX) {
		last->len += end - start;
		return;
	}
	out[(*n)++] = (struct refcount_run){ start, end - start, count };
}

static bool
run_equal(const struct refcount_run *a, const struct refcount_run *b)
{
	return a->start == b->start && a->len == b->len && a->count == b->count;
}

/* Make the tree hold `now` where it holds `was`. */
static int
write_runs(struct txn *t, const struct refcount_run *was, unsigned nwas, const struct refcount_run *now,
    unsigned nnow)
{
	int64_t blocks = 0;
	unsigned a, b;
	int r;

	for (a = 0; a < nwas; a++)
		blocks -= (int64_t)was[a].len;
	for (b = 0; b < nnow; b++)
		blocks += (int64_t)now[b].len;
	count_runs(t->pool, (int64_t)nnow - nwas, blocks);
	a = b = 0;
	while (a < nwas || b < nnow) {
		if (b == nnow || (a < nwas && was[a].start < now[b].start)) {
			r = tree_delete(t, key_of(was[a++].start));
		} else {
			struct refcount_item item = { (uint32_t)now[b].len, now[b].count };
			bool same_key = a < nwas && was[a].start == now[b].start;

			r = same_key && run_equal(&was[a], &now[b]) ?
			    0 : tree_put(t, key_of(now[b].start), &item, sizeof(item));
			a += same_key;
			b++;
		}
		if (r < 0)
			return r;
	}
	return 0;
}

/* Change the window's counts by delta. Blocks without a run have the count 1. */
static int
window_change(struct txn *t, struct window *w, int delta)
{
	/* Each run gives three parts at most, with a gap before each and one behind. */
	struct refcount_run out[4 * WINDOW + 1];
	pblk_t pos = w->start;
	unsigned n = 0;

	for (unsigned i = 0; i < w->n; i++) {
		const struct refcount_run *c = &w->run[i];
		pblk_t c_end = c->start + c->len;
		pblk_t from = max_of(c->start, w->start), to = min_of(c_end, w->end);

		if (from >= to) { /* only a neighbour */
			if (c->start >= w->end) {
				emit(out, &n, pos, w->end, (uint32_t)(1 + delta));
				pos = w->end;
			}
			emit(out, &n, c->start, c_end, c->count);
			continue;
		}
		emit(out, &n, pos, from, (uint32_t)(1 + delta));
		emit(out, &n, c->start, from, c->count);
		emit(out, &n, from, to, c->count + (uint32_t)delta);
		emit(out, &n, to, c_end, c->count);
		pos = to;
	}
	emit(out, &n, pos, w->end, (uint32_t)(1 + delta));
	return write_runs(t, w->run, w->n, out, n);
}

int
refcount_inc_locked(struct txn *t, pblk_t start, uint64_t n)
{
	pblk_t end = start + n;
	struct window w;
	int r;

	while (start < end) {
		r = window_read(&w, t->pool, start, end);
		if (r == 0)
			r = window_change(t, &w, 1);
		if (r < 0)
			return r;
		start = w.end;
	}
	return 0;
}

int
refcount_dec_locked(struct txn *t, pblk_t start, uint64_t n, refcount_last_fn *last, void *arg)
{
	pblk_t end = start + n;
	struct window w;
	int r;

	while (start < end) {
		pblk_t pos = start;

		r = window_read(&w, t->pool, start, end);
		if (r == 0)
			r = window_change(t, &w, -1);
		if (r < 0)
			return r;
		for (unsigned i = 0; i < w.n; i++) {
			const struct refcount_run *c = &w.run[i];
			pblk_t c_end = c->start + c->len;

			if (c_end <= start || c->start >= w.end)
				continue;
			if (c->start > pos)
				last(arg, pos, c->start - pos);
			pos = min_of(c_end, w.end);
		}
		if (pos < w.end)
			last(arg, pos, w.end - pos);
		start = w.end;
	}
	return 0;
}
