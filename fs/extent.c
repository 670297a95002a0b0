/* SPDX-License-Identifier: BSD-3-Clause */
/* Changes of the durable map.
 *
 * An extent item maps a run of file blocks to a run of pool blocks and carries
 * the CRC of each. Extents with CRCs are short (EXTENT_CSUM_BLOCKS_MAX), so that
 * an item fits in a node; a long run is a row of items.
 *
 * Every change is one replacement: the range [fblk, fblk+len) loses what it
 * mapped and gets the new run, or nothing. It has two halves.
 *
 * The plan reads and decides, and is where damage, a lack of memory or of
 * credits is met. One backward scan from the end of the range collects the items
 * that overlap it. What the first and the last of them map outside of the range
 * stays: as `left` and `right`. If there is no such rest, left and right
 * may be the neighbours, in case the new run continues them. Shared blocks are
 * looked up, and their changes paid for.
 *
 * Applying it puts and deletes items, then counts, then frees. The scan has loaded
 * every leaf that a key of it belongs to, from the one of end down to that of the
 * left side, so all of them are verified and no damage is left to be met (tree_touch
 * would copy them in advance, which costs a lookup and gains nothing). Blocks are
 * handed back last, when nothing names them.
 */
#include "fs/extent.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/extent_i.h"
#include "fs/fs_i.h"
#include "fs/refcount.h"
#include "pmem/log.h"


/* What an old item maps inside the range. */
struct piece {
	fblk_t key;   /* of the item */
	fblk_t fblk;
	pblk_t pblk;
	uint32_t len;
	bool kept;    /* the new run maps the same blocks here */
};

/* What is next to the range on one side. */
struct side {
	bool present;
	bool rest;     /* part of an item that overlaps the range: has to be written anew */
	bool join;     /* becomes part of a new item */
	struct extent e;
	uint32_t csum[EXTENT_CSUM_BLOCKS_MAX];
};

struct plan {
	struct inode *inode;
	fblk_t fblk, end;
	pblk_t pblk;         /* PBLK_NONE: unmap */
	uint32_t flags;
	const uint32_t *csums;
	uint64_t item_max;   /* blocks an item of the new run may have */

	struct piece *piece; /* in descending order, as the scan met them */
	size_t npieces, space;
	struct piece inline_piece[16];
	struct side left, right;
	uint64_t kept;       /* blocks in kept pieces */
	uint64_t mapped;     /* blocks in all pieces */
	fblk_t lowest;       /* first block that items seen so far map */

	const char *damage;
	struct extent damage_at;
};

/* ---- items --------------------------------------------------------------- */

struct tree_key
extent_key(const struct inode *i, fblk_t fblk)
{
	return tree_key(i->ino, ITEM_EXTENT, fblk);
}

const char *
extent_decode(struct pool *p, struct tree_key key, const void *value, size_t len, struct extent *e,
    const uint8_t **csums)
{
	struct extent_item item;
	uint64_t max;

	*e = (struct extent){ .fblk = key.lo };
	*csums = NULL;
	if (len < EXTENT_ITEM_HEAD)
		return "extent item too short";
	memcpy(&item, value, EXTENT_ITEM_HEAD);
	e->pblk = item.pblk;
	e->len = item.len;
	e->flags = item.flags;
	if ((item.flags & ~(EXTENT_NO_CRCS | EXTENT_DAMAGED)) ||
	    ((item.flags & EXTENT_DAMAGED) && (item.flags & EXTENT_NO_CRCS)))
		return "extent with unknown flags";
	max = item.flags & EXTENT_NO_CRCS ? EXTENT_NOCSUM_BLOCKS_MAX : EXTENT_CSUM_BLOCKS_MAX;
	if (item.len == 0 || item.len > max)
		return "extent of impossible length";
	if (len != EXTENT_ITEM_HEAD + (item.flags & EXTENT_NO_CRCS ? 0 : item.len * sizeof(uint32_t)))
		return "extent item whose size does not fit its length";
	if (key.lo > FBLK_MAX || item.len > FBLK_END - key.lo)
		return "extent beyond the largest file size";
	if (!pool_range_ok(p, item.pblk, item.len))
		return "extent outside of the pool";
	if (!(item.flags & EXTENT_NO_CRCS))
		*csums = (const uint8_t *)value + EXTENT_ITEM_HEAD;
	return NULL;
}

void
extent_log_damage(const struct inode *i, const struct extent *e, const char *what)
{
	pinfs_log(LOG_ERR, "inode %llu, offset %llu, block %llu: damaged: %s", (unsigned long long)i->ino,
	    (unsigned long long)e->fblk << BLK_SHIFT, (unsigned long long)e->pblk, what);
}

int
extent_change_failed(struct txn *t, const struct inode *i, fblk_t fblk, int r)
{
	pinfs_log(LOG_CRIT, "inode %llu, offset %llu: the map could not be changed: %s",
	    (unsigned long long)i->ino, (unsigned long long)fblk << BLK_SHIFT, strerror(-r));
	txn_abort(t, r);
	return r;
}

/* ---- the plan -------------------------------------------------------------- */

static int
plan_add_piece(struct plan *pl, const struct piece *piece)
{
	if (pl->npieces == pl->space) {
		size_t space = pl->space * 2;
		bool first = pl->piece == pl->inline_piece;
		struct piece *grown = realloc(first ? NULL : pl->piece, space * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		if (first)
			memcpy(grown, pl->inline_piece, sizeof(pl->inline_piece));
		pl->piece = grown;
		pl->space = space;
	}
	pl->piece[pl->npieces++] = *piece;
	return 0;
}

/* Blocks from..to of the extent e, whose item has csums, lie beside the range. */
static void
plan_set_side(struct side *s, const struct extent *e, const uint8_t *csums, fblk_t from, fblk_t to, bool rest)
{
	s->present = true;
	s->rest = rest;
	s->e = (struct extent){ from, e->pblk + (from - e->fblk), to - from, e->flags };
	if (csums)
		memcpy(s->csum, csums + (from - e->fblk) * sizeof(uint32_t), (to - from) * sizeof(uint32_t));
}

/* Would an item of the new run take up a side that ends (starts) where the range
 * begins (ends)? Whether the sum fits is seen when items are cut. */
static bool
plan_continues(const struct plan *pl, const struct extent *e, bool left)
{
	if (pl->pblk == PBLK_NONE || e->flags != pl->flags || e->len >= pl->item_max)
		return false;
	return left ? e->pblk + e->len == pl->pblk : pl->pblk + (pl->end - pl->fblk) == e->pblk;
}

static int
plan_visit(void *arg, struct tree_key key, const void *value, size_t len)
{
	struct plan *pl = arg;
	struct piece piece;
	struct extent e;
	const uint8_t *csums;
	fblk_t e_end, to;
	int r;

	pl->damage = extent_decode(pl->inode->fs->pool, key, value, len, &e, &csums);
	if (!pl->damage && e.fblk + e.len > pl->lowest)
		pl->damage = "extents overlap";
	if (pl->damage) {
		pl->damage_at = e;
		return -EIO;
	}
	e_end = e.fblk + e.len;
	pl->lowest = e.fblk;
	if (e.fblk >= pl->end) {
		if (e.fblk == pl->end && plan_continues(pl, &e, false))
			plan_set_side(&pl->right, &e, csums, e.fblk, e_end, false);
		return 0;
	}
	if (e_end <= pl->fblk) {
		if (e_end == pl->fblk && plan_continues(pl, &e, true))
			plan_set_side(&pl->left, &e, csums, e.fblk, e_end, false);
		return 1;
	}
	if (e_end > pl->end)
		plan_set_side(&pl->right, &e, csums, pl->end, e_end, true);
	if (e.fblk < pl->fblk)
		plan_set_side(&pl->left, &e, csums, e.fblk, pl->fblk, true);
	piece.key = e.fblk;
	piece.fblk = max_of(e.fblk, pl->fblk);
	piece.pblk = e.pblk + (piece.fblk - e.fblk);
	to = min_of(e_end, pl->end);
	piece.len = (uint32_t)(to - piece.fblk);
	piece.kept = pl->pblk != PBLK_NONE && piece.pblk == pl->pblk + (piece.fblk - pl->fblk);
	r = plan_add_piece(pl, &piece);
	if (r < 0)
		return r;
	pl->mapped += piece.len;
	if (piece.kept)
		pl->kept += piece.len;
	return e.fblk < pl->fblk;
}

/* Blocks that the first item of the new run has of the run itself. */
static uint64_t
plan_cut(const struct plan *pl, fblk_t from)
{
	return min_of(pl->end - from, pl->item_max);
}

/* Which sides become part of a new item: the sum has to fit. */
static void
plan_join(struct plan *pl)
{
	uint64_t first, last;

	if (pl->pblk == PBLK_NONE)
		return;
	first = plan_cut(pl, pl->fblk);
	pl->left.join = pl->left.present && plan_continues(pl, &pl->left.e, true) &&
	    pl->left.e.len + first <= pl->item_max;
	last = (pl->end - pl->fblk - 1) % pl->item_max + 1;
	if (pl->left.join && first == pl->end - pl->fblk)
		last += pl->left.e.len;
	pl->right.join = pl->right.present && plan_continues(pl, &pl->right.e, false) &&
	    last + pl->right.e.len <= pl->item_max;
}

/* Not = {}: it holds two kilobytes that mostly stay unused. */
static void
plan_init(struct plan *pl, struct inode *i, fblk_t fblk, pblk_t pblk, uint64_t len, uint32_t flags,
    const uint32_t *csums)
{
	pl->inode = i;
	pl->fblk = fblk;
	pl->end = fblk + len;
	pl->pblk = pblk;
	pl->flags = flags;
	pl->csums = csums;
	pl->item_max = flags & EXTENT_NO_CRCS ? EXTENT_NOCSUM_BLOCKS_MAX : EXTENT_CSUM_BLOCKS_MAX;
	pl->piece = pl->inline_piece;
	pl->npieces = 0;
	pl->space = sizeof(pl->inline_piece) / sizeof(pl->inline_piece[0]);
	pl->left.present = pl->left.rest = pl->left.join = false;
	pl->right.present = pl->right.rest = pl->right.join = false;
	pl->kept = pl->mapped = 0;
	pl->lowest = UINT64_MAX;
	pl->damage = NULL;
}

static int
plan_make(struct plan *pl)
{
	struct inode *i = pl->inode;
	int r;

	/* From end, not end - 1: a right neighbour may start there, and a rest be put there. */
	r = tree_scan_back(i->fs->pool, extent_key(i, 0), extent_key(i, pl->end), plan_visit, pl);
	if (pl->damage)
		extent_log_damage(i, &pl->damage_at, pl->damage);
	if (r < 0)
		return r;
	plan_join(pl);
	return 0;
}

static void
plan_free(struct plan *pl)
{
	if (pl->piece != pl->inline_piece)
		free(pl->piece);
}

/* The pieces by ascending file block, those in a row joined: from *n on, which
 * starts at npieces. Returns false at the end. */
static bool
plan_next_run(const struct plan *pl, size_t *n, bool kept, struct extent *run)
{
	while (*n > 0 && pl->piece[*n - 1].kept != kept)
		--*n;
	if (*n == 0)
		return false;
	*run = (struct extent){ pl->piece[*n - 1].fblk, pl->piece[*n - 1].pblk, 0, 0 };
	while (*n > 0) {
		const struct piece *c = &pl->piece[*n - 1];

		if (c->kept != kept || c->fblk != run->fblk + run->len || c->pblk != run->pblk + run->len)
			break;
		run->len += c->len;
		--*n;
	}
	return true;
}

/* ---- shared blocks ----------------------------------------------------------- */

struct release {
	struct txn *txn;
	struct fs *fs;
	fblk_t fblk;     /* of the run being released */
	pblk_t pblk;
	uint64_t blocks; /* released so far */
	extent_freed_fn *freed;
	void *arg;
};

static void
release_run(void *arg, pblk_t start, uint64_t n)
{
	struct release *rel = arg;

	extent_forget_csum(rel->fs, start, n);
	rel->blocks += n;
	if (rel->freed)
		rel->freed(rel->arg, rel->txn, rel->fblk + (start - rel->pblk), start, n);
	else
		txn_free(rel->txn, start, n);
}

/* The new run without what it keeps: each part gets a reference. With check set,
 * only look whether that will work, and add up what it costs. */
static int
take_references(struct txn *t, const struct plan *pl, bool check, uint64_t *credits)
{
	pblk_t pos = pl->pblk, stop = pl->pblk + (pl->end - pl->fblk);
	size_t n = pl->npieces;
	struct extent run;
	bool more;

	do {
		uint64_t len, met = 0;
		int r = 0;

		more = plan_next_run(pl, &n, true, &run);
		len = (more ? run.pblk : stop) - pos;
		if (len > 0 && check)
			r = refcount_check_locked(t->pool, pos, len, 1, &met);
		else if (len > 0)
			r = refcount_inc_locked(t, pos, len);
		if (r < 0)
			return r;
		if (len > 0 && check)
			*credits += refcount_credits(t->pool, met + 1);
		if (more)
			pos = run.pblk + run.len;
	} while (more);
	return 0;
}

/* Add up what the counts of displaced blocks cost: parts may lie far from each other. */
static int
check_displaced(struct txn *t, const struct plan *pl, bool shared, uint64_t *credits)
{
	pblk_t low = UINT64_MAX, high = 0;
	uint64_t met = 0;
	struct extent run;
	size_t n;
	int r;

	for (n = pl->npieces; plan_next_run(pl, &n, false, &run);) {
		low = min_of(low, run.pblk);
		high = max_of(high, run.pblk + run.len);
	}
	if (low >= high)
		return 0;
	/* Almost always nothing here is shared, and one look tells. (The references that
	 * a shared run takes may come to overlap these.) */
	r = refcount_check_locked(t->pool, low, high - low, -1, &met);
	if (r < 0 || (met == 0 && !shared))
		return r;
	for (n = pl->npieces; plan_next_run(pl, &n, false, &run);) {
		r = refcount_check_locked(t->pool, run.pblk, run.len, -1, &met);
		if (r < 0)
			return r;
		if (met > 0 || shared)
			*credits += refcount_credits(t->pool, met + 1);
	}
	return 0;
}

static int
release_displaced(struct release *rel, const struct plan *pl, bool any_shared)
{
	size_t n = pl->npieces;
	struct extent run;
	int r;

	while (plan_next_run(pl, &n, false, &run)) {
		rel->fblk = run.fblk;
		rel->pblk = run.pblk;
		if (any_shared) {
			r = refcount_dec_locked(rel->txn, run.pblk, run.len, release_run, rel);
			if (r < 0)
				return r;
		} else {
			release_run(rel, run.pblk, run.len);
		}
	}
	return 0;
}

/* ---- applying it --------------------------------------------------------------- */

int
extent_put_item(struct txn *t, struct inode *i, const struct extent *e, const uint32_t *csums)
{
	uint32_t value[EXTENT_ITEM_HEAD / sizeof(uint32_t) + EXTENT_CSUM_BLOCKS_MAX];
	struct extent_item head = { .pblk = e->pblk, .len = (uint32_t)e->len, .flags = e->flags };
	size_t ncsums = e->flags & EXTENT_NO_CRCS ? 0 : e->len;

	memcpy(value, &head, EXTENT_ITEM_HEAD);
	if (ncsums > 0)
		memcpy(value + EXTENT_ITEM_HEAD / sizeof(uint32_t), csums, ncsums * sizeof(uint32_t));
	return tree_put(t, extent_key(i, e->fblk), value, EXTENT_ITEM_HEAD + ncsums * sizeof(uint32_t));
}

/* One item of the new run: n blocks from `from` on, with the sides it takes up. */
static int
put_chunk(struct txn *t, const struct plan *pl, fblk_t from, uint64_t n)
{
	const struct side *left = from == pl->fblk && pl->left.join ? &pl->left : NULL;
	const struct side *right = from + n == pl->end && pl->right.join ? &pl->right : NULL;
	struct extent e = { from, pl->pblk + (from - pl->fblk), n, pl->flags };
	const uint32_t *src = pl->csums ? pl->csums + (from - pl->fblk) : NULL;
	uint32_t csums[EXTENT_CSUM_BLOCKS_MAX];
	uint32_t *dst = csums;

	if (!left && !right)
		return extent_put_item(t, pl->inode, &e, src);
	if (left) {
		e.fblk = left->e.fblk;
		e.pblk = left->e.pblk;
		e.len += left->e.len;
	}
	if (right)
		e.len += right->e.len;
	if (pl->csums) {
		if (left)
			dst = mempcpy(dst, left->csum, left->e.len * sizeof(*dst));
		dst = mempcpy(dst, src, n * sizeof(*dst));
		if (right)
			memcpy(dst, right->csum, right->e.len * sizeof(*dst));
	}
	return extent_put_item(t, pl->inode, &e, csums);
}

/* Is there a new item under this key of an old one? Then it is replaced, not deleted. */
static bool
key_is_reused(const struct plan *pl, fblk_t key)
{
	if (pl->pblk == PBLK_NONE || key < pl->fblk)
		return false;
	if (key == pl->fblk)
		return !pl->left.join;
	return (key - pl->fblk) % pl->item_max == 0;
}

static int
apply_items(struct txn *t, const struct plan *pl)
{
	struct inode *i = pl->inode;
	int r;

	for (size_t n = pl->npieces; n > 0; n--) {
		fblk_t key = pl->piece[n - 1].key;

		if (key < pl->fblk || key_is_reused(pl, key))
			continue;
		r = tree_delete(t, extent_key(i, key));
		if (r < 0)
			return r;
	}
	if (pl->left.rest && !pl->left.join) {
		r = extent_put_item(t, i, &pl->left.e, pl->left.csum);
		if (r < 0)
			return r;
	}
	if (pl->right.rest && !pl->right.join)
		r = extent_put_item(t, i, &pl->right.e, pl->right.csum);
	else if (!pl->right.rest && pl->right.join)
		r = tree_delete(t, extent_key(i, pl->right.e.fblk));
	else
		r = 0;
	if (r < 0 || pl->pblk == PBLK_NONE)
		return r;
	for (fblk_t from = pl->fblk; from < pl->end;) {
		uint64_t n = plan_cut(pl, from);

		r = put_chunk(t, pl, from, n);
		if (r < 0)
			return r;
		from += n;
	}
	return 0;
}

/* Everything that changes, after the plan; refcounts are locked if they matter. */
static int
apply(struct txn *t, struct plan *pl, bool shared, bool counted, struct release *rel)
{
	struct inode *i = pl->inode;
	uint64_t before = t->changes;
	int r;

	extent_cache_clear(i);
	r = shared ? take_references(t, pl, false, NULL) : 0;
	if (r == 0)
		r = apply_items(t, pl);
	if (r == 0)
		r = release_displaced(rel, pl, counted);
	return r < 0 && t->changes != before ? extent_change_failed(t, i, pl->fblk, r) : r;
}

int
extent_replace(struct txn *t, struct inode *i, fblk_t fblk, pblk_t pblk, uint64_t len, uint32_t flags,
    const uint32_t *csums, bool shared, extent_freed_fn *freed, void *arg)
{
	struct release rel = { .txn = t, .fs = i->fs, .freed = freed, .arg = arg };
	uint64_t mapped_new = pblk == PBLK_NONE ? 0 : len, credits = 0;
	struct plan pl;
	int r;

	if (len == 0 || fblk > FBLK_MAX || len > FBLK_END - fblk || (flags & ~(EXTENT_NO_CRCS | EXTENT_DAMAGED)))
		return -EINVAL;
	if (pblk != PBLK_NONE && (!pool_range_ok(t->pool, pblk, len) || !csums != !!(flags & EXTENT_NO_CRCS)))
		return -EINVAL;
	plan_init(&pl, i, fblk, pblk, len, flags, csums);
	r = plan_make(&pl);
	if (r < 0)
		goto out;
	if (pblk == PBLK_NONE && pl.mapped == 0)
		goto out;
	if (shared || pl.mapped > pl.kept) {
		refcount_lock(t->pool);
		r = check_displaced(t, &pl, shared, &credits);
		if (r == 0 && shared)
			r = take_references(t, &pl, true, &credits);
		if (r == 0 && credits > 0 && !(t->flags & TXN_PREPAID))
			r = txn_extend(t, shared ? credits : min_of(credits, refcount_credits_all(t->pool)));
		if (r == 0)
			r = apply(t, &pl, shared, credits > 0, &rel);
		refcount_unlock(t->pool);
	} else {
		r = apply(t, &pl, false, false, &rel);
	}
	if (r < 0)
		goto out;

	if (pblk != PBLK_NONE)
		extent_forget_csum(i->fs, pblk, len);
	txn_add_data_blocks(t, (shared ? 0 : (int64_t)(mapped_new - pl.kept)) - (int64_t)rel.blocks);
	mtx_lock(&i->attr_lock);
	__atomic_store_n(&i->durable_blocks, i->durable_blocks + mapped_new - pl.mapped, __ATOMIC_RELAXED);
	mtx_unlock(&i->attr_lock);
out:
	plan_free(&pl);
	return r;
}

int
extent_check(struct inode *i, fblk_t fblk, uint64_t len)
{
	struct plan pl;
	int r;

	plan_init(&pl, i, fblk, PBLK_NONE, len, 0, NULL);
	r = plan_make(&pl);
	plan_free(&pl);
	return r;
}

int
extent_map(struct txn *t, struct inode *i, fblk_t fblk, pblk_t pblk, uint64_t len, uint32_t flags,
    const uint32_t *csums)
{
	if (pblk == PBLK_NONE)
		return -EINVAL;
	return extent_replace(t, i, fblk, pblk, len, flags, csums, false, NULL, NULL);
}

int
extent_map_shared(struct txn *t, struct inode *i, fblk_t fblk, pblk_t pblk, uint64_t len, uint32_t flags,
    const uint32_t *csums)
{
	if (pblk == PBLK_NONE)
		return -EINVAL;
	return extent_replace(t, i, fblk, pblk, len, flags, csums, true, NULL, NULL);
}

int
extent_unmap(struct txn *t, struct inode *i, fblk_t fblk, uint64_t len)
{
	return extent_replace(t, i, fblk, PBLK_NONE, len, 0, NULL, false, NULL, NULL);
}

int
extent_shared_credits(struct inode *i, fblk_t fblk, uint64_t len, uint64_t *credits)
{
	struct pool *p = i->fs->pool;
	fblk_t end = fblk + len;
	struct extent e;
	int r = 0;

	*credits = 0;
	for (; r == 0 && fblk < end; fblk = e.fblk + e.len) {
		uint64_t met = 0;

		r = extent_lookup(i, fblk, &e, NULL, 0);
		if (r < 0)
			return r;
		if (e.fblk >= end || e.pblk == PBLK_NONE)
			continue;
		refcount_lock(p);
		r = refcount_check_locked(p, e.pblk, min_of(e.len, end - e.fblk), -1, &met);
		refcount_unlock(p);
		if (met > 0)
			*credits += refcount_credits(p, met + 1);
	}
	if (*credits > 0)
		*credits = min_of(*credits, refcount_credits_all(p));
	return r;
}

uint64_t
extent_credits(struct inode *i, uint64_t nruns, uint64_t len)
{
	struct pool *p = i->fs->pool;
	const size_t largest = EXTENT_ITEM_HEAD + EXTENT_CSUM_BLOCKS_MAX * sizeof(uint32_t);
	const size_t smallest = EXTENT_ITEM_HEAD + sizeof(uint32_t);
	uint64_t blocks, new_items;

	/* New items are full but for the last of each run, and each run may leave a rest on
	 * either side. Old ones have one block each at worst; there are no more of
	 * them than blocks that the file has. Separate ranges touch a way down each, or all
	 * the leaves of the file if those are fewer. */
	mtx_lock(&i->attr_lock);
	blocks = i->durable_blocks;
	mtx_unlock(&i->attr_lock);
	new_items = min_of(len, len / EXTENT_CSUM_BLOCKS_MAX + nruns) + 2 * nruns;
	return min_of(txn_credits(p, nruns), txn_credits_run(p, blocks + 1, smallest)) +
	    txn_credits_run(p, new_items, largest) + txn_credits_run(p, min_of(len, blocks), smallest);
}
