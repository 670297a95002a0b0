/* SPDX-License-Identifier: BSD-3-Clause */
/* Free space is a set of disjoint extents in two trees: by address, to find
 * what a goal or a freed range touches, and by size, to find the best fit.
 *
 * Small allocations outnumber all others, so they don't search. Each class (data,
 * nodes) has a cursor: an extent of up to 2 MiB that was set aside for it and from
 * whose front blocks are popped. A cursor stays in the address tree, where shrinking
 * it from the front disturbs nothing, but not in the size tree; popping a block is
 * therefore a subtraction. It also makes neighbours in time neighbours in space, keeps
 * nodes apart from data, and leaves long extents whole.
 *
 * Two extents that touch are one, unless one of them is a cursor: that one is
 * joined with its neighbours when it is given up, which also happens whenever the size
 * tree can't serve a request, so that no free block is ever out of reach.
 *
 * The records of extents come from a list that grows by slabs and never shrinks.
 * Where a record is needed and can't be had, an allocation settles for a place that
 * needs none; a free that can't be recorded costs the blocks until the next mount.
 */
#include "pmem/alloc.h"

#include <bsd/sys/tree.h>
#include <errno.h>
#include <stdlib.h>

#include "pmem/lock.h"
#include "pmem/log.h"

#define HUGE_BLOCKS ((uint64_t)512) /* 2 MiB */
#define CURSOR_BLOCKS HUGE_BLOCKS   /* what a cursor takes at a time, and may grow to */
#define SMALL_MAX ((uint64_t)32)    /* requests up to this are served by the cursor */
#define ALIGN_TRIES 32              /* extents that are looked at for an aligned fit */
#define SLAB_EXTENTS 127

enum class { CLASS_DATA, CLASS_NODE, CLASSES, CLASS_NONE = CLASSES };

/* A cursor takes shorter extents only if nothing else is left. The higher, the less nodes and the files of
 * small writes are scattered; the lower, the sooner blocks are used again that are still in the
 * processor's cache and have page table entries. Where a node lies hardly matters. */
static const uint64_t cursor_min[CLASSES] = { [CLASS_DATA] = 32, [CLASS_NODE] = 4 };

struct ext {
	RB_ENTRY(ext) by_addr;
	RB_ENTRY(ext) by_size;
	pblk_t start;
	uint64_t n;
	enum class cursor; /* CLASS_NONE: an ordinary extent, in both trees */
};

struct slab {
	struct slab *next;
	struct ext ext[SLAB_EXTENTS];
};

RB_HEAD(addr_tree, ext);
RB_HEAD(size_tree, ext);

struct alloc {
	struct mtx lock; /* LOCK_ALLOC; protects all below */
	pblk_t first, end;
	uint64_t free, reserved, quarantined, nextents;
	struct addr_tree by_addr;
	struct size_tree by_size;
	struct ext *cursor[CLASSES];
	bool (*backed)(void *arg, pblk_t start, uint64_t n);
	void *backed_arg;
	bool (*guard)(void *arg, pblk_t start, uint64_t *n);
	void *guard_arg;
	struct ext *spare; /* linked by by_addr.rbe_left */
	struct slab *slabs;
};

static inline pblk_t
ext_end(const struct ext *e)
{
	return e->start + e->n;
}

static inline int
addr_cmp(const struct ext *a, const struct ext *b)
{
	return a->start < b->start ? -1 : a->start > b->start;
}

static inline int
size_cmp(const struct ext *a, const struct ext *b)
{
	if (a->n != b->n)
		return a->n < b->n ? -1 : 1;
	return addr_cmp(a, b);
}

/* Not RB_GENERATE_STATIC: that one needs a macro which only the BSDs have. */
#define MAYBE_UNUSED __attribute__((unused)) static
RB_GENERATE_INTERNAL(addr_tree, ext, by_addr, addr_cmp, MAYBE_UNUSED)
RB_GENERATE_INTERNAL(size_tree, ext, by_size, size_cmp, MAYBE_UNUSED)

static inline pblk_t
huge_align(pblk_t blk)
{
	return (blk + HUGE_BLOCKS - 1) & ~(HUGE_BLOCKS - 1);
}

/* ---- records -------------------------------------------------------------- */

static void
ext_recycle(struct alloc *a, struct ext *e)
{
	RB_LEFT(e, by_addr) = a->spare;
	a->spare = e;
}

static struct ext *
ext_new(struct alloc *a, pblk_t start, uint64_t n)
{
	struct ext *e;

	if (!a->spare) {
		struct slab *s = malloc(sizeof(*s));

		if (!s)
			return NULL;
		s->next = a->slabs;
		a->slabs = s;
		for (unsigned i = 0; i < SLAB_EXTENTS; i++)
			ext_recycle(a, &s->ext[i]);
	}
	e = a->spare;
	a->spare = RB_LEFT(e, by_addr);
	e->start = start;
	e->n = n;
	e->cursor = CLASS_NONE;
	return e;
}

/* ---- extents -------------------------------------------------------------- */

/* A new ordinary extent. */
static void
ext_insert(struct alloc *a, struct ext *e)
{
	RB_INSERT(addr_tree, &a->by_addr, e);
	RB_INSERT(size_tree, &a->by_size, e);
	a->nextents++;
}

static void
ext_remove(struct alloc *a, struct ext *e)
{
	RB_REMOVE(addr_tree, &a->by_addr, e);
	if (e->cursor == CLASS_NONE)
		RB_REMOVE(size_tree, &a->by_size, e);
	else
		a->cursor[e->cursor] = NULL;
	a->nextents--;
	ext_recycle(a, e);
}

/* Move the bounds of e; it must not pass a neighbour. n > 0. */
static void
ext_set(struct alloc *a, struct ext *e, pblk_t start, uint64_t n)
{
	if (e->cursor == CLASS_NONE)
		RB_REMOVE(size_tree, &a->by_size, e);
	e->start = start;
	e->n = n;
	if (e->cursor == CLASS_NONE)
		RB_INSERT(size_tree, &a->by_size, e);
}

/* Take [start, start+n) out of e. From the middle that needs a record: false if
 * there is none. A cursor stays the part behind. */
static bool
ext_take(struct alloc *a, struct ext *e, pblk_t start, uint64_t n)
{
	uint64_t before = start - e->start;
	uint64_t behind = ext_end(e) - (start + n);
	struct ext *front;

	if (behind == 0 && before == 0) {
		ext_remove(a, e);
	} else if (behind == 0) {
		ext_set(a, e, e->start, before);
	} else if (before == 0) {
		ext_set(a, e, start + n, behind);
	} else {
		front = ext_new(a, e->start, before);
		if (!front)
			return false;
		ext_set(a, e, start + n, behind);
		ext_insert(a, front);
	}
	return true;
}

static struct ext *
ext_at_or_behind(struct alloc *a, pblk_t blk)
{
	struct ext key = { .start = blk };

	return RB_NFIND(addr_tree, &a->by_addr, &key);
}

static struct ext *
ext_before(struct alloc *a, struct ext *behind)
{
	return behind ? RB_PREV(addr_tree, &a->by_addr, behind) : RB_MAX(addr_tree, &a->by_addr);
}

/* The extent that blk lies in, or NULL. */
static struct ext *
ext_covering(struct alloc *a, pblk_t blk)
{
	struct ext *e = ext_at_or_behind(a, blk);

	if (e && e->start == blk)
		return e;
	e = ext_before(a, e);
	return e && blk < ext_end(e) ? e : NULL;
}

static struct ext *
ext_best_fit(struct alloc *a, uint64_t n)
{
	struct ext key = { .n = n };

	return RB_NFIND(size_tree, &a->by_size, &key);
}

/* Make e one with what it touches, so far as that is ordinary, too. */
static void
ext_join(struct alloc *a, struct ext *e)
{
	struct ext *prev = RB_PREV(addr_tree, &a->by_addr, e);
	struct ext *next = RB_NEXT(addr_tree, &a->by_addr, e);

	if (next && next->cursor == CLASS_NONE && next->start == ext_end(e)) {
		uint64_t n = next->n;

		ext_remove(a, next);
		ext_set(a, e, e->start, e->n + n);
	}
	if (prev && prev->cursor == CLASS_NONE && ext_end(prev) == e->start) {
		uint64_t n = e->n;

		ext_remove(a, e);
		ext_set(a, prev, prev->start, prev->n + n);
	}
}

/* ---- cursors -------------------------------------------------------------- */

static void
cursor_give_up(struct alloc *a, enum class c)
{
	struct ext *e = a->cursor[c];

	if (!e)
		return;
	a->cursor[c] = NULL;
	e->cursor = CLASS_NONE;
	RB_INSERT(size_tree, &a->by_size, e);
	ext_join(a, e);
}

static void
cursors_give_up(struct alloc *a)
{
	for (enum class c = 0; c < CLASSES; c++)
		cursor_give_up(a, c);
}

/* What a new cursor would best be: a short extent rather than a piece of a long one, but none so
 * short that the next search comes soon. NULL: the size tree is empty. */
static struct ext *
cursor_candidate(struct alloc *a, enum class c)
{
	struct ext *e = ext_best_fit(a, cursor_min[c]);

	return e ? e : RB_MAX(size_tree, &a->by_size);
}

/* Where to cut a cursor off e: at the end of a 2 MiB unit, so that what remains starts on one. */
static pblk_t
cursor_cut(const struct ext *e)
{
	return min_of(huge_align(e->start + 1), ext_end(e));
}

/* For nodes, in a sparse pool: any extent with something behind its front is better than one
 * without, as a node can't be refused. A long search, for when the disk below is full. */
static struct ext *
backed_candidate(struct alloc *a, struct ext *best)
{
	struct ext *e, *found = NULL;

	if (!best || a->backed(a->backed_arg, best->start, cursor_cut(best) - best->start))
		return best;
	RB_FOREACH(e, addr_tree, &a->by_addr) {
		if (e->cursor != CLASS_NONE || !a->backed(a->backed_arg, e->start, 1))
			continue;
		if (!found || e->n > found->n)
			found = e;
		if (found->n >= cursor_min[CLASS_NODE])
			break;
	}
	return found ? found : best;
}

/* Set a new extent aside for c, in place of what is left of the old one. NULL: nothing is free. */
static struct ext *
cursor_renew(struct alloc *a, enum class c)
{
	struct ext *e, *front;
	pblk_t cut;

	cursor_give_up(a, c);
	e = cursor_candidate(a, c);
	if (!e) {
		cursors_give_up(a);
		e = cursor_candidate(a, c);
	}
	if (c == CLASS_NODE && a->backed)
		e = backed_candidate(a, e);
	if (!e)
		return NULL;
	cut = cursor_cut(e);
	if (cut < ext_end(e)) {
		front = ext_new(a, e->start, cut - e->start);
		if (front) {
			ext_set(a, e, cut, ext_end(e) - cut);
			ext_insert(a, front);
			e = front;
		}
	}
	RB_REMOVE(size_tree, &a->by_size, e);
	e->cursor = c;
	a->cursor[c] = e;
	return e;
}

/* ---- choosing ------------------------------------------------------------- */

/* Each of these takes up to want blocks (all of them if exact) and says how many; 0: not
 * served. */

static uint64_t
take_at_goal(struct alloc *a, enum class c, pblk_t goal, uint64_t want, bool exact, pblk_t *start)
{
	struct ext *e = a->cursor[c];
	uint64_t n;

	if (!e || goal < e->start || goal >= ext_end(e))
		e = ext_covering(a, goal);
	/* The other class's cursor is left to it. */
	if (!e || (e->cursor != CLASS_NONE && e->cursor != c))
		return 0;
	n = min_of(want, ext_end(e) - goal);
	if ((exact && n < want) || !ext_take(a, e, goal, n))
		return 0;
	*start = goal;
	return n;
}

static uint64_t
take_small(struct alloc *a, enum class c, uint64_t want, bool exact, pblk_t *start)
{
	struct ext *e = a->cursor[c];
	uint64_t n;

	if (!e || e->n < want)
		e = cursor_renew(a, c);
	if (!e)
		return 0;
	n = min_of(want, e->n);
	if (exact && n < want)
		return 0;
	*start = e->start;
	ext_take(a, e, e->start, n);
	return n;
}

static uint64_t
take_aligned(struct alloc *a, uint64_t want, pblk_t *start)
{
	struct ext *e = ext_best_fit(a, want);
	pblk_t at;

	for (int i = 0; e; i++) {
		at = huge_align(e->start);
		if (at < ext_end(e) && ext_end(e) - at >= want && ext_take(a, e, at, want)) {
			*start = at;
			return want;
		}
		/* After some tries go on with what is certain to do. */
		if (i == ALIGN_TRIES)
			return 0;
		e = i == ALIGN_TRIES - 1 ? ext_best_fit(a, want + HUGE_BLOCKS - 1) :
		                           RB_NEXT(size_tree, &a->by_size, e);
	}
	return 0;
}

/* The best fit, else (not if exact) the longest that there is. */
static uint64_t
take_fit(struct alloc *a, uint64_t want, bool exact, pblk_t *start)
{
	struct ext *e = ext_best_fit(a, want);
	uint64_t n;

	if (!e && !exact)
		e = RB_MAX(size_tree, &a->by_size);
	if (!e)
		return 0;
	n = min_of(want, e->n);
	*start = e->start;
	ext_take(a, e, e->start, n);
	return n;
}

static uint64_t
take(struct alloc *a, pblk_t goal, uint64_t want, unsigned flags, pblk_t *start)
{
	enum class c = flags & ALLOC_NODE ? CLASS_NODE : CLASS_DATA;
	bool exact = flags & ALLOC_EXACT;
	uint64_t n = 0;

	if (goal != PBLK_NONE)
		n = take_at_goal(a, c, goal, want, exact, start);
	if (n == 0 && want <= SMALL_MAX)
		n = take_small(a, c, want, exact, start);
	if (n > 0)
		return n;
	/* The cursors hold back up to 2 MiB each; that counts only when space is short. */
	if (!ext_best_fit(a, want))
		cursors_give_up(a);
	if ((flags & ALLOC_HUGE) && want >= HUGE_BLOCKS)
		n = take_aligned(a, want, start);
	return n > 0 ? n : take_fit(a, want, exact, start);
}

/* ---- freeing -------------------------------------------------------------- */

/* Whether a touching extent may grow by n: a cursor must not swallow long runs,
 * which then no size search would find. */
static bool
may_grow(const struct ext *e, uint64_t n)
{
	return e->cursor == CLASS_NONE || e->n + n <= CURSOR_BLOCKS;
}

/* False: the range is not wholly used. */
static bool
give_back(struct alloc *a, pblk_t start, uint64_t n)
{
	struct ext *prev, *next, *e;
	bool at_prev, at_next;

	if (n == 0 || start < a->first || start >= a->end || n > a->end - start)
		return false;
	next = ext_at_or_behind(a, start);
	prev = ext_before(a, next);
	if ((next && next->start < start + n) || (prev && ext_end(prev) > start))
		return false;
	at_prev = prev && ext_end(prev) == start;
	at_next = next && next->start == start + n;

	if (at_prev && prev->cursor == CLASS_NONE) {
		uint64_t more = at_next && next->cursor == CLASS_NONE ? next->n : 0;

		if (more)
			ext_remove(a, next);
		ext_set(a, prev, prev->start, prev->n + n + more);
	} else if (at_next && next->cursor == CLASS_NONE) {
		ext_set(a, next, start, next->n + n);
	} else if (at_prev && may_grow(prev, n)) {
		ext_set(a, prev, prev->start, prev->n + n);
	} else if (at_next && may_grow(next, n)) {
		ext_set(a, next, start, next->n + n);
	} else {
		e = ext_new(a, start, n);
		if (!e) {
			pinfs_log(LOG_ERR, "out of memory: %llu freed blocks stay unused until the next mount",
			    (unsigned long long)n);
			return true;
		}
		ext_insert(a, e);
	}
	a->free += n;
	return true;
}

/* As give_back, but what the guard keeps is quarantined. */
static bool
give_back_guarded(struct alloc *a, pblk_t start, uint64_t n)
{
	uint64_t here;
	bool ok = true;

	if (!a->guard)
		return give_back(a, start, n);
	for (; n > 0; start += here, n -= here) {
		here = n;
		if (a->guard(a->guard_arg, start, &here))
			ok &= give_back(a, start, here);
		else
			a->quarantined += here;
	}
	return ok;
}

static void
report_bad_free(pblk_t start, uint64_t n)
{
	pinfs_log(LOG_ERR, "allocator: blocks %llu+%llu are freed but were not in use",
	    (unsigned long long)start, (unsigned long long)n);
#ifdef PINFS_DEBUG
	abort();
#endif
}

/* ---- entry points --------------------------------------------------------- */

int
alloc_new(struct alloc **out, pblk_t first, pblk_t end)
{
	struct alloc *a = calloc(1, sizeof(*a));

	if (!a)
		return -ENOMEM;
	mtx_init(&a->lock, LOCK_ALLOC, 0);
	a->first = first;
	a->end = end;
	RB_INIT(&a->by_addr);
	RB_INIT(&a->by_size);
	*out = a;
	return 0;
}

void
alloc_destroy(struct alloc *a)
{
	struct slab *s, *next;

	if (!a)
		return;
	for (s = a->slabs; s; s = next) {
		next = s->next;
		free(s);
	}
	mtx_destroy(&a->lock);
	free(a);
}

/* Blocks that may be had without touching reservations and keep. */
static uint64_t
available(const struct alloc *a, uint64_t keep)
{
	uint64_t unreserved = a->free - a->reserved;

	return unreserved > keep ? unreserved - keep : 0;
}

int
alloc_reserve(struct alloc *a, uint64_t n, uint64_t keep)
{
	int ret = 0;

	mtx_lock(&a->lock);
	if (n > available(a, keep))
		ret = -ENOSPC;
	else
		a->reserved += n;
	mtx_unlock(&a->lock);
	return ret;
}

void
alloc_unreserve(struct alloc *a, uint64_t n)
{
	bool ok;

	mtx_lock(&a->lock);
	ok = n <= a->reserved;
	a->reserved -= ok ? n : a->reserved;
	mtx_unlock(&a->lock);
	if (!ok) {
		pinfs_log(LOG_ERR, "allocator: more is given back than was reserved");
#ifdef PINFS_DEBUG
		abort();
#endif
	}
}

int
alloc_run(struct alloc *a, pblk_t goal, uint64_t want, uint64_t keep, unsigned flags, pblk_t *start,
    uint64_t *got)
{
	uint64_t most, n = 0;

	mtx_lock(&a->lock);
	most = flags & ALLOC_RESERVED ? a->reserved : available(a, keep);
	if (want > most)
		want = flags & ALLOC_EXACT ? 0 : most;
	if (want > 0)
		n = take(a, goal, want, flags, start);
	a->free -= n;
	if (flags & ALLOC_RESERVED)
		a->reserved -= n;
	mtx_unlock(&a->lock);
	*got = n;
	return n > 0 ? 0 : -ENOSPC;
}

void
alloc_set_backed(struct alloc *a, bool (*backed)(void *arg, pblk_t start, uint64_t n), void *arg)
{
	mtx_lock(&a->lock);
	a->backed = backed;
	a->backed_arg = arg;
	mtx_unlock(&a->lock);
}

void
alloc_set_guard(struct alloc *a, bool (*may)(void *arg, pblk_t start, uint64_t *n), void *arg)
{
	mtx_lock(&a->lock);
	a->guard = may;
	a->guard_arg = arg;
	mtx_unlock(&a->lock);
}

void
alloc_node_window(struct alloc *a, uint64_t least, pblk_t *start, uint64_t *n)
{
	struct ext *e, *next;

	mtx_lock(&a->lock);
	e = a->cursor[CLASS_NODE];
	if (!e || e->n < least) {
		next = ext_best_fit(a, least);
		if (!next)
			next = RB_MAX(size_tree, &a->by_size);
		if (!e || (next && next->n > e->n))
			e = next;
	}
	*start = e ? e->start : PBLK_NONE;
	*n = e ? min_of(e->n, CURSOR_BLOCKS) : 0;
	mtx_unlock(&a->lock);
}

void
alloc_undo(struct alloc *a, pblk_t start, uint64_t n, unsigned flags)
{
	uint64_t before;
	bool ok;

	mtx_lock(&a->lock);
	before = a->free;
	ok = give_back(a, start, n);
	if (flags & ALLOC_RESERVED)
		a->reserved += a->free - before;
	mtx_unlock(&a->lock);
	if (!ok)
		report_bad_free(start, n);
}

void
alloc_free(struct alloc *a, pblk_t start, uint64_t n)
{
	bool ok;

	mtx_lock(&a->lock);
	ok = give_back_guarded(a, start, n);
	mtx_unlock(&a->lock);
	if (!ok)
		report_bad_free(start, n);
}

void
alloc_quarantine(struct alloc *a, uint64_t n)
{
	mtx_lock(&a->lock);
	a->quarantined += n;
	mtx_unlock(&a->lock);
}

void
alloc_unquarantine(struct alloc *a, uint64_t n)
{
	mtx_lock(&a->lock);
	a->quarantined -= min_of(n, a->quarantined);
	mtx_unlock(&a->lock);
}

void
alloc_release_quarantined(struct alloc *a, pblk_t start, uint64_t n)
{
	bool ok;

	mtx_lock(&a->lock);
	ok = n <= a->quarantined && give_back_guarded(a, start, n);
	if (ok)
		a->quarantined -= n;
	mtx_unlock(&a->lock);
	if (!ok)
		report_bad_free(start, n);
}

void
alloc_stats(struct alloc *a, struct alloc_stats *st)
{
	struct ext *e;

	mtx_lock(&a->lock);
	e = RB_MAX(size_tree, &a->by_size);
	st->total = a->end - a->first;
	st->free = a->free;
	st->reserved = a->reserved;
	st->quarantined = a->quarantined;
	st->largest = e ? e->n : 0;
	st->free_extents = a->nextents;
	for (enum class c = 0; c < CLASSES; c++)
		if (a->cursor[c])
			st->largest = max_of(st->largest, a->cursor[c]->n);
	mtx_unlock(&a->lock);
}

void
alloc_each_free(struct alloc *a, void (*fn)(void *arg, pblk_t start, uint64_t n), void *arg)
{
	struct ext *e;
	pblk_t start = 0;
	uint64_t n = 0;

	mtx_lock(&a->lock);
	RB_FOREACH(e, addr_tree, &a->by_addr) {
		if (n > 0 && start + n == e->start) {
			n += e->n; /* a cursor touches its neighbours */
			continue;
		}
		if (n > 0)
			fn(arg, start, n);
		start = e->start;
		n = e->n;
	}
	if (n > 0)
		fn(arg, start, n);
	mtx_unlock(&a->lock);
}
