/* SPDX-License-Identifier: BSD-3-Clause */
/* The live map: extents in a red-black tree by file block, without overlap.
 *
 * A change has two parts: carve() takes a range out of the tree, clipping or
 * splitting the extents at its ends, and then the new extent is put there or,
 * where it continues a neighbour, the neighbour grows. Splitting and inserting need memory,
 * at most two extents, which every change takes from the map's few spare ones after making
 * sure that they exist: past that point nothing fails. Extents that leave the
 * tree become spare again, so that a file that is written to in a steady
 * state does not allocate at all.
 *
 * Keys may be changed in place where the order stays the same (the end of one
 * extent moves inside the gap or into the room that the change just made).
 */
#include "fs/live.h"

#include <errno.h>
#include <stdlib.h>

#include "pmem/format.h"

#define SPARES 2u /* what one change may need */

static int
live_cmp(const struct live_extent *a, const struct live_extent *b)
{
	return a->fblk < b->fblk ? -1 : a->fblk > b->fblk;
}

RB_GENERATE(live_tree, live_extent, link, live_cmp)

void
live_init(struct live_map *m, uint64_t *dirty_total, uint64_t *extents_total)
{
	RB_INIT(&m->tree);
	m->dirty_total = dirty_total;
	m->extents_total = extents_total;
	m->extents = m->blocks = m->dirty_extents = 0;
	m->spare = NULL;
	m->nspare = 0;
}

/* Have n unused extents. */
static int
have_spares(struct live_map *m, unsigned n)
{
	struct live_extent *e;

	while (m->nspare < n) {
		e = malloc(sizeof(*e));
		if (e == NULL)
			return -ENOMEM;
		RB_LEFT(e, link) = m->spare;
		m->spare = e;
		m->nspare++;
	}
	return 0;
}

int
live_prepare(struct live_map *m)
{
	return have_spares(m, SPARES);
}

int
live_prepare_changes(struct live_map *m, unsigned n)
{
	return have_spares(m, n * SPARES);
}

static struct live_extent *
spare_get(struct live_map *m)
{
	struct live_extent *e = m->spare;

	m->spare = RB_LEFT(e, link);
	m->nspare--;
	return e;
}

static void
spare_put(struct live_map *m, struct live_extent *e)
{
	if (m->nspare >= SPARES) {
		free(e);
		return;
	}
	RB_LEFT(e, link) = m->spare;
	m->spare = e;
	m->nspare++;
}

void
live_clear(struct live_map *m)
{
	struct live_extent *e;

	while ((e = RB_ROOT(&m->tree)) != NULL) {
		RB_REMOVE(live_tree, &m->tree, e);
		free(e);
	}
	while (m->nspare > 0)
		free(spare_get(m));
	if (m->dirty_total && m->dirty_extents > 0)
		__atomic_fetch_sub(m->dirty_total, m->dirty_extents, __ATOMIC_RELAXED);
	if (m->extents_total && m->extents > 0)
		__atomic_fetch_sub(m->extents_total, m->extents, __ATOMIC_RELAXED);
	live_init(m, m->dirty_total, m->extents_total);
}

/* What the extent counts for in dirty_extents. */
static uint64_t
dirty_weight(const struct live_extent *e)
{
	if (!(e->flags & LIVE_DIRTY))
		return 0;
	return e->kind == LIVE_DATA ? 1 + (e->len - 1) / EXTENT_CSUM_BLOCKS_MAX : 1;
}

/* n wraps for a negative change, as both sums do. */
static void
add_dirty(struct live_map *m, uint64_t n)
{
	if (n == 0)
		return;
	m->dirty_extents += n;
	if (m->dirty_total)
		__atomic_fetch_add(m->dirty_total, n, __ATOMIC_RELAXED);
}

/* Whoever only wants to guess reads it without the lock. */
static void
set_blocks(struct live_map *m, uint64_t n)
{
	__atomic_store_n(&m->blocks, n, __ATOMIC_RELAXED);
}

/* Make e, which is in the tree, cover [fblk, fblk+len) of the same run of blocks. */
static void
resize(struct live_map *m, struct live_extent *e, fblk_t fblk, uint64_t len)
{
	uint64_t weight = dirty_weight(e);

	if (e->kind != LIVE_HOLE) {
		e->pblk += fblk - e->fblk;
		set_blocks(m, m->blocks + len - e->len);
	}
	e->fblk = fblk;
	e->len = len;
	add_dirty(m, dirty_weight(e) - weight);
}

static void
insert(struct live_map *m, struct live_extent *e)
{
	RB_INSERT(live_tree, &m->tree, e);
	m->extents++;
	if (m->extents_total)
		__atomic_fetch_add(m->extents_total, 1, __ATOMIC_RELAXED);
	if (e->kind != LIVE_HOLE)
		set_blocks(m, m->blocks + e->len);
	add_dirty(m, dirty_weight(e));
}

/* Take e out of the tree. */
static void
detach(struct live_map *m, struct live_extent *e)
{
	m->extents--;
	if (m->extents_total)
		__atomic_fetch_sub(m->extents_total, 1, __ATOMIC_RELAXED);
	if (e->kind != LIVE_HOLE)
		set_blocks(m, m->blocks - e->len);
	add_dirty(m, -dirty_weight(e));
	RB_REMOVE(live_tree, &m->tree, e);
}

static void
discard(struct live_map *m, struct live_extent *e)
{
	detach(m, e);
	spare_put(m, e);
}

/* Cut e down to [fblk, end), a part of it. */
static void
clip(struct live_extent *e, fblk_t fblk, fblk_t end)
{
	if (e->kind != LIVE_HOLE)
		e->pblk += fblk - e->fblk;
	e->fblk = fblk;
	e->len = end - fblk;
}

/* b directly behind a could be part of it. */
static bool
continues(const struct live_extent *a, const struct live_extent *b)
{
	return live_end(a) == b->fblk && a->kind == b->kind && a->flags == b->flags &&
	    a->wpins == b->wpins && a->rpins == b->rpins && a->wait == b->wait && a->fail == b->fail &&
	    a->skip == b->skip && a->holder == b->holder && a->tracked == b->tracked &&
	    (a->kind == LIVE_HOLE || a->pblk + a->len == b->pblk);
}

struct live_extent *
live_find(const struct live_map *m, fblk_t fblk)
{
	struct live_extent *e = RB_ROOT(&m->tree), *behind = NULL;

	while (e != NULL) {
		if (fblk < e->fblk) {
			behind = e;
			e = RB_LEFT(e, link);
		} else if (fblk < live_end(e)) {
			return e;
		} else {
			e = RB_RIGHT(e, link);
		}
	}
	return behind;
}

struct live_extent *
live_next(const struct live_map *m, struct live_extent *e)
{
	(void)m;
	return RB_NEXT(live_tree, &m->tree, e);
}

/* Divide e at fblk, inside it. Needs a spare extent. */
static void
divide(struct live_map *m, struct live_extent *e, fblk_t fblk)
{
	struct live_extent *rest = spare_get(m);

	*rest = *e;
	clip(rest, fblk, live_end(e));
	resize(m, e, e->fblk, fblk - e->fblk);
	insert(m, rest);
}

/* Empty [fblk, end). Needs one spare extent if the range lies inside one extent, and
 * leaves one spare more for each extent that goes. */
static void
carve(struct live_map *m, fblk_t fblk, fblk_t end, live_removed_fn *removed, void *arg)
{
	struct live_extent *e, *next, part;

	e = live_find(m, fblk);
	if (e != NULL && e->fblk < fblk && live_end(e) > end)
		divide(m, e, end);
	for (; e != NULL && e->fblk < end; e = next) {
		next = live_next(m, e);
		part = *e;
		clip(&part, max_of(e->fblk, fblk), min_of(live_end(e), end));
		if (e->fblk < fblk)
			resize(m, e, e->fblk, fblk - e->fblk);
		else if (live_end(e) > end)
			resize(m, e, end, live_end(e) - end);
		else
			discard(m, e);
		if (removed != NULL)
			removed(arg, &part);
	}
}

int
live_split(struct live_map *m, fblk_t fblk)
{
	struct live_extent *e;

	e = live_find(m, fblk);
	if (e == NULL || e->fblk >= fblk)
		return 0;
	if (live_prepare(m) != 0)
		return -ENOMEM;
	divide(m, e, fblk);
	return 0;
}

int
live_set(struct live_map *m, fblk_t fblk, uint64_t len, enum live_kind kind, pblk_t pblk, unsigned flags,
    live_removed_fn *removed, void *arg)
{
	struct live_extent *e, *prev, *next;
	struct live_extent new = {
		.fblk = fblk,
		.pblk = pblk,
		.len = len,
		.kind = (uint8_t)kind,
		.flags = (uint8_t)flags,
	};

	if (len == 0)
		return 0;
	if (live_prepare(m) != 0)
		return -ENOMEM;
	carve(m, fblk, fblk + len, removed, arg);
	next = live_find(m, fblk);
	if (next != NULL && !continues(&new, next))
		next = NULL;
	prev = fblk > 0 ? live_find(m, fblk - 1) : NULL;
	if (prev != NULL && prev->fblk < fblk && continues(prev, &new)) {
		if (next != NULL) {
			len += next->len;
			discard(m, next);
		}
		resize(m, prev, prev->fblk, prev->len + len);
	} else if (next != NULL) {
		resize(m, next, fblk, next->len + len);
	} else {
		e = spare_get(m);
		*e = new;
		insert(m, e);
	}
	return 0;
}

int
live_remove(struct live_map *m, fblk_t fblk, uint64_t len, live_removed_fn *removed, void *arg)
{
	if (len == 0)
		return 0;
	if (live_prepare(m) != 0)
		return -ENOMEM;
	carve(m, fblk, fblk + len, removed, arg);
	return 0;
}

void
live_change_flags(struct live_map *m, struct live_extent *e, unsigned set, unsigned clear)
{
	uint64_t weight = dirty_weight(e);

	e->flags = (uint8_t)((e->flags & ~clear) | set);
	add_dirty(m, dirty_weight(e) - weight);
}

void
live_merge(struct live_map *m, fblk_t fblk, uint64_t len)
{
	struct live_extent *e, *next;
	uint64_t more;

	e = live_find(m, fblk > 0 ? fblk - 1 : 0);
	while (e != NULL && (next = live_next(m, e)) != NULL && next->fblk <= fblk + len) {
		if (!continues(e, next)) {
			e = next;
			continue;
		}
		more = next->len;
		discard(m, next);
		resize(m, e, e->fblk, e->len + more);
	}
}

void
live_repoint(struct live_map *m, struct live_extent *e, pblk_t pblk)
{
	live_change_flags(m, e, LIVE_DIRTY, ~LIVE_DIRTY);
	e->pblk = pblk;
	e->wpins = e->rpins = e->tracked = 0;
	e->wait = e->fail = e->skip = e->holder = 0;
}

/* All of them move alike, so they stay in order. */
void
live_shift_up(struct live_map *m, fblk_t fblk, uint64_t n)
{
	struct live_extent *e;

	for (e = live_find(m, fblk); e != NULL; e = live_next(m, e))
		e->fblk += n;
	live_merge(m, fblk, 0);
}

void
live_shift_down(struct live_map *m, fblk_t fblk, uint64_t n)
{
	struct live_extent *e;

	for (e = live_find(m, fblk); e != NULL; e = live_next(m, e))
		e->fblk -= n;
	live_merge(m, fblk - n, 0);
}

/* The extents of [fblk, end), as a list through RB_LEFT, with fblk counted from 0. */
static struct live_extent *
take_range(struct live_map *m, fblk_t fblk, fblk_t end)
{
	struct live_extent *e, *list = NULL;

	while ((e = live_find(m, fblk)) != NULL && e->fblk < end) {
		detach(m, e);
		e->fblk -= fblk;
		RB_LEFT(e, link) = list;
		list = e;
	}
	return list;
}

static void
put_range(struct live_map *m, struct live_extent *list, fblk_t fblk, uint64_t len)
{
	struct live_extent *e;

	while ((e = list) != NULL) {
		list = RB_LEFT(e, link);
		e->fblk += fblk;
		insert(m, e);
	}
	live_merge(m, fblk, len);
}

void
live_exchange(struct live_map *a, fblk_t fa, struct live_map *b, fblk_t fb, uint64_t len)
{
	struct live_extent *from_a = take_range(a, fa, fa + len), *from_b = take_range(b, fb, fb + len);

	put_range(a, from_b, fa, len);
	put_range(b, from_a, fb, len);
}
