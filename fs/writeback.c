/* SPDX-License-Identifier: BSD-3-Clause */
/* One writeback of one inode: take, copy, apply.
 *
 * What makes the image a snapshot:
 *   - A write(2) enters the live map as a whole, with the io lock exclusive. Take holds it
 *     shared, so no write is half done; and it sees every dirty extent at one moment.
 *   - What is taken by reference is immutable from then on (LIVE_TAKEN). Stores to it
 *     go to fresh blocks, so what take saw is what gets the CRC and becomes durable.
 *   - A block that is pinned for write can't be made immutable. It is copied, and the CRC
 *     is that of the copy. The block has the content of one moment as far as write(2) is
 *     concerned: each piece is copied with the io lock held shared. (Stores of a direct mapping
 *     or DMA may tear; only the holder can prevent that.)
 *
 * What happens to a run between take and apply: a part of it may be cut from the file, or
 * replaced by a fresh block. Then it is "superseded": it still becomes durable, since it
 * was there at the moment of the snapshot, but the live map has something newer already. A
 * block taken by reference belongs to the writeback, so nobody frees it. A block being bounced might be
 * unpinned, cut and freed while it is copied; so the writeback itself holds it like one more
 * write pin, and it goes into quarantine instead.
 *
 *   how       in the live map until apply   after success                 after failure
 *   HOLE      as it is                      leaves the live map           stays dirty
 *   UNWRITTEN LIVE_TAKEN                    leaves the live map           dirty again
 *   FLUSH     as it is                      clean; leaves the live map    stays dirty
 *                                           unless pinned
 *   REFERENCE LIVE_TAKEN                    leaves it; if it is pinned    dirty again
 *                                           for reading, LIVE_DURABLE
 *   BOUNCE    one more write pin; clean     stays what it is, now         dirty
 *             if all pins are tracked       LIVE_BACKED
 *   EVICT     LIVE_TAKEN                    leaves it; block discarded    dirty again
 *
 * What is FS_PINNED_HOLDER stays as it is, unless the sync is its holder's. Where pins ask for it with FS_PINNED_FAIL or FS_PINNED_SKIP, take refuses the file, or leaves the
 * extent alone. It stays dirty, so when those pins are gone it is written as if they had not been.
 *
 * FLUSH is a block of a dax file: what is there is only made durable. Stores to it go on meanwhile; those through a
 * direct mapping say nothing, so what was pinned for write when it was taken is still dirty afterwards.
 *
 * EVICT is a tainted block without pins: DMA of a dead holder may still store to it, so the file
 * moves off it. A write pin counts as dirty at every writeback, so a bounced extent keeps
 * LIVE_DIRTY (but for tracked ones, see track.h); when its last pin goes it is an ordinary dirty extent, the next writeback takes it by
 * reference, and with that the copy is displaced and freed.
 *
 * Apply changes several extents of the tree one after the other. Each change is all or nothing; and
 * before the first, everything they will meet is read, so that damage is found while nothing
 * has been changed yet.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/inode.h"
#include "fs/pin_i.h"
#include "fs/refcount.h"
#include "fs/track.h"
#include "fs/writeback_i.h"
#include "pmem/crc.h"
#include "pmem/log.h"

/* Blocks that are copied at a time: small enough to be in the cache for the CRC. */
#define PIECE 16u
/* How often a writeback that finds no space for the tree tries again after a commit. */
#define FULL_TRIES 3u

void (*writeback_test_hook)(struct inode *i, enum writeback_point at);

/* ---- runs ------------------------------------------------------------------------ */

static bool
is_data(const struct wb_run *run)
{
	return run->how >= WB_REFERENCE;
}

static int
runs_room(struct writeback *wb, size_t n)
{
	size_t space = max_of(2 * wb->space, wb->nruns + n);
	bool first = wb->run == wb->inline_run;
	struct wb_run *grown;

	if (wb->nruns + n <= wb->space)
		return 0;
	grown = realloc(first ? NULL : wb->run, space * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	if (first)
		memcpy(grown, wb->inline_run, wb->nruns * sizeof(*grown));
	wb->run = grown;
	wb->space = space;
	return 0;
}

static void
runs_add(struct writeback *wb, enum wb_how how, fblk_t fblk, uint64_t len, pblk_t src, pblk_t dst)
{
	wb->run[wb->nruns++] = (struct wb_run){
		.fblk = fblk,
		.len = len,
		.src = src,
		.dst = dst,
		.how = how,
	};
}

static void
runs_free(struct writeback *wb)
{
	if (wb->run != wb->inline_run)
		free(wb->run);
	if (wb->csums != wb->inline_csums)
		free(wb->csums);
	wb->run = wb->inline_run;
	wb->csums = wb->inline_csums;
	wb->nruns = 0;
}

/* ---- take -------------------------------------------------------------------------- */

/* A pinned or tainted extent: destinations for all its blocks. What could not get one has a run without
 * (PBLK_NONE), for undo. */
static int
take_bounced(struct writeback *wb, struct live_extent *e)
{
	struct inode *i = wb->inode;
	enum wb_how how = live_pinned(e) ? WB_BOUNCE : WB_EVICT;
	uint64_t done, got;
	pblk_t dst;
	int r;

	r = runs_room(wb, 1);
	if (r < 0)
		return r;
	if (how == WB_BOUNCE) {
		/* Those who pinned it tell of what they store from now on. */
		if (e->tracked >= e->wpins && !(e->flags & LIVE_TAINTED))
			live_change_flags(&i->live, e, 0, LIVE_DIRTY);
		live_count(e, COUNT_BOUNCE, 1);
		/* If it was held by read pins and being tainted it had been counted before. */
	} else {
		bounce_leave(i, e->len, (e->flags & LIVE_BACKED) != 0);
		live_change_flags(&i->live, e, LIVE_TAKEN, LIVE_BACKED);
	}
	for (done = 0; done < e->len; done += got) {
		r = runs_room(wb, 2);
		if (r == 0)
			r = bounce_draw(i, e->len - done, &dst, &got);
		if (r < 0) {
			dst = PBLK_NONE;
			got = e->len - done;
		}
		runs_add(wb, how, e->fblk + done, got, e->pblk + done, dst);
	}
	return r;
}

/* What those who pinned it for writing want done about it. */
static int
take_pinned(struct writeback *wb, struct live_extent *e, const struct wb_want *want)
{
	enum fs_pinned policy = live_policy(e);

	if (policy == FS_PINNED_HOLDER)
		return want->holder && e->holder > 0 ? take_bounced(wb, e) : 0;
	switch (want->bounce ? FS_PINNED_BOUNCE : policy) {
	case FS_PINNED_FAIL:
		return -EBUSY;
	case FS_PINNED_SKIP:
		wb->skipped += e->len;
		return 0;
	default: /* who waits has waited before */
		return take_bounced(wb, e);
	}
}

static int
take_extent(struct writeback *wb, struct live_extent *e, const struct wb_want *want)
{
	int r;

	if (e->kind == LIVE_DATA && live_bounced(e))
		return take_pinned(wb, e, want);
	r = runs_room(wb, 1);
	if (r < 0)
		return r;
	switch ((enum live_kind)e->kind) {
	case LIVE_HOLE:
		runs_add(wb, WB_HOLE, e->fblk, e->len, PBLK_NONE, PBLK_NONE);
		return 0;
	case LIVE_UNWRITTEN:
		runs_add(wb, WB_UNWRITTEN, e->fblk, e->len, e->pblk, e->pblk);
		break;
	case LIVE_DATA:
		if (e->flags & LIVE_DAX) {
			runs_add(wb, WB_FLUSH, e->fblk, e->len, e->pblk, e->wpins > 0 ? PBLK_NONE : e->pblk);
			return 0;
		}
		runs_add(wb, WB_REFERENCE, e->fblk, e->len, e->pblk, e->pblk);
		break;
	}
	live_change_flags(&wb->inode->live, e, LIVE_TAKEN, 0);
	return 0;
}

/* A direct mapping may have stored behind the end of the file, in its last block. The bounce
 * clears that in the copy; here is what was unpinned since. */
static void
clear_tail(struct writeback *wb)
{
	struct inode *i = wb->inode;
	struct pool *p = i->fs->pool;
	fblk_t last = wb->size >> BLK_SHIFT;
	size_t used = wb->size & BLK_MASK;
	struct live_extent *e = used ? live_find(&i->live, last) : NULL;
	uint8_t *tail;

	if (!e || e->fblk > last || e->kind != LIVE_DATA || !(e->flags & LIVE_DIRTY) || live_bounced(e) ||
	    (e->flags & LIVE_DAX))
		return;
	tail = (uint8_t *)pool_block(p, e->pblk + (last - e->fblk)) + used;
	if (tail[0] != 0 || memcmp(tail, tail + 1, BLK_SIZE - used - 1) != 0)
		domain_zero(pool_domain(p), tail, BLK_SIZE - used);
}

/* The io lock shared and the layout lock exclusive are held. */
static int
take_content(struct writeback *wb, const struct wb_want *want)
{
	struct inode *i = wb->inode;
	/* A size goes with the content up to it, or a crash would find a file that never was. */
	bool part = want->end > 0 && i->size == i->durable_size;
	fblk_t end = part ? want->end : FBLK_MAX + 1;
	struct live_extent *e;
	int r = 0;

	wb->size = i->size;
	if (i->live.dirty_extents == 0)
		return 0;
	clear_tail(wb);
	/* Without memory for the boundaries it is a bit more. */
	if (part) {
		(void)live_split(&i->live, want->fblk);
		(void)live_split(&i->live, end);
	}
	for (e = live_find(&i->live, part ? want->fblk : 0); e && e->fblk < end; e = live_next(&i->live, e)) {
		if (!(e->flags & LIVE_DIRTY))
			continue;
		r = take_extent(wb, e, want);
		if (r < 0)
			break;
	}
	return r;
}

int
writeback_take(struct writeback *wb, struct inode *i, const struct wb_want *want)
{
	bool reg = inode_is_reg(i);
	int r = 0;

	wb->inode = i;
	wb->run = wb->inline_run;
	wb->space = WB_RUNS;
	wb->nruns = 0;
	wb->csums = wb->inline_csums;
	wb->skipped = 0;
	wb->size = 0;
	wb->shared = 0;
	wb->txn = 0;
	if (reg) {
		if (pin_table(i)) {
			r = bounce_ready(i, &wb->txn);
			if (r < 0)
				return r;
		}
		rwl_rdlock(&i->io_lock);
		rwl_wrlock(&i->layout_lock);
		r = take_content(wb, want);
	}
	mtx_lock(&i->attr_lock);
	wb->durable_size = i->durable_size;
	wb->store = wb->nruns > 0 || (reg && wb->size != i->durable_size) || (i->attr_dirty && want->times);
	wb->txn = i->last_fsync_txn;
	mtx_unlock(&i->attr_lock);
	if (reg) {
		rwl_unlock(&i->layout_lock);
		rwl_unlock(&i->io_lock);
	}
	if (wb->skipped > 0 && r == 0)
		__atomic_fetch_add(&i->fs->counters.skipped_blocks, wb->skipped, __ATOMIC_RELAXED);
	if (r < 0) {
		writeback_undo(wb);
		wb->txn = 0;
		/* The reserve was enough a moment ago: another unpin has changed what it is made of. */
		if (r == -ENOSPC)
			r = -EAGAIN;
	}
	return r;
}

/* ---- copy -------------------------------------------------------------------------- */

static void
checksum(struct pool *p, pblk_t pblk, uint64_t n, uint32_t *csums)
{
	for (uint64_t k = 0; k < n; k++)
		csums[k] = crc32c(pool_block(p, pblk + k), BLK_SIZE);
}

/* Copy and checksum a few blocks. In the pmem domain what is copied bypasses the cache, so
 * there the CRC is taken from a copy on the way. */
static void
bounce_piece(struct pool *p, const uint8_t *src, pblk_t dst, size_t bytes, size_t zero, uint32_t *csums)
{
	struct domain *d = pool_domain(p);
	uint8_t *to = pool_block(p, dst);

	if (domain_kind(d) == DOMAIN_PMEM) {
		uint8_t buf[PIECE * BLK_SIZE];

		memcpy(buf, src, bytes);
		memset(buf + bytes, 0, zero);
		for (size_t off = 0; off < bytes + zero; off += BLK_SIZE)
			csums[off / BLK_SIZE] = crc32c(buf + off, BLK_SIZE);
		domain_copy(d, to, buf, bytes + zero);
		return;
	}
	domain_copy(d, to, src, bytes);
	if (zero > 0)
		domain_zero(d, to + bytes, zero);
	checksum(p, dst, (bytes + zero) >> BLK_SHIFT, csums);
}

static int
bounce_run(struct writeback *wb, const struct wb_run *run)
{
	struct inode *i = wb->inode;
	struct pool *p = i->fs->pool;
	uint64_t n;
	int r;

	r = pool_populate(p, run->dst, run->len);
	if (r < 0)
		return r;
	for (uint64_t done = 0; done < run->len; done += n) {
		uint64_t from = (run->fblk + done) << BLK_SHIFT;
		size_t bytes, zero = 0;

		n = min_of(run->len - done, (uint64_t)PIECE);
		bytes = n << BLK_SHIFT;
		if (wb->size > from && wb->size < from + bytes && (wb->size & BLK_MASK)) {
			/* Up to the end of the file, and one block at most behind it. */
			zero = -wb->size & BLK_MASK;
			n = bytes_to_blocks_up(wb->size - from);
			bytes = wb->size - from;
		}
		rwl_rdlock(&i->io_lock);
		bounce_piece(p, pool_block(p, run->src + done), run->dst + done, bytes, zero, run->csums + done);
		rwl_unlock(&i->io_lock);
	}
	return 0;
}

int
writeback_copy(struct writeback *wb)
{
	struct pool *p = wb->inode->fs->pool;
	uint64_t total = 0;
	uint32_t *csums;
	int r = 0;

	for (size_t k = 0; k < wb->nruns; k++)
		total += is_data(&wb->run[k]) ? wb->run[k].len : 0;
	if (total > WB_CSUMS) {
		csums = malloc(total * sizeof(*csums));
		if (!csums)
			return -ENOMEM;
		wb->csums = csums;
	}
	csums = wb->csums;
	for (size_t k = 0; k < wb->nruns && r == 0; k++) {
		struct wb_run *run = &wb->run[k];

		if (!is_data(run)) {
			run->csums = NULL;
			continue;
		}
		run->csums = csums;
		csums += run->len;
		if (run->how == WB_REFERENCE)
			checksum(p, run->src, run->len, run->csums);
		else
			r = bounce_run(wb, run);
	}
	return r;
}

/* ---- what a run left in the live map ------------------------------------------------- */

/* The next part of a run, from *done on: [at, at+n) of the file; e is the extent that still
 * has it in the live map, cut to the part, or NULL: superseded. False at the end. */
struct part {
	uint64_t done, n;
	fblk_t at;
	struct live_extent *e;
};

static bool
next_part(struct live_map *m, const struct wb_run *run, struct part *part)
{
	struct live_extent *e;

	part->done += part->n;
	if (part->done >= run->len)
		return false;
	part->at = run->fblk + part->done;
	part->n = run->len - part->done;
	part->e = NULL;
	e = live_find(m, part->at);
	if (!e)
		return true;
	if (e->fblk > part->at) {
		part->n = min_of(part->n, e->fblk - part->at);
		return true;
	}
	part->n = min_of(part->n, live_end(e) - part->at);
	if (run->how == WB_HOLE) {
		if (e->kind == LIVE_HOLE)
			part->e = e;
		return true;
	}
	if (e->kind == LIVE_HOLE || e->pblk + (part->at - e->fblk) != run->src + part->done)
		return true;
	if (run->how != WB_BOUNCE && run->how != WB_FLUSH && !(e->flags & LIVE_TAKEN))
		return true;
	part->e = e;
	return true;
}

/* Cut e out as an extent of its own. NULL: no memory; then it stays as it is. */
static struct live_extent *
isolate(struct live_map *m, const struct part *part)
{
	if (live_split(m, part->at) < 0 || live_split(m, part->at + part->n) < 0)
		return NULL;
	return live_find(m, part->at);
}

static struct pin_ext
run_ext(const struct wb_run *run)
{
	return (struct pin_ext){ run->fblk, run->src, run->len };
}

/* The durable map has the run now. */
static void
run_done(struct writeback *wb, const struct wb_run *run)
{
	struct inode *i = wb->inode;
	struct live_map *m = &i->live;
	struct pin_table *pt = pin_table(i);
	struct part part = { 0 };
	struct live_extent *e;
	struct pin_ext x;

	while (next_part(m, run, &part)) {
		switch (run->how) {
		case WB_FLUSH:
			if (!part.e || !(part.e->flags & LIVE_DAX) || part.e->wpins > 0 || run->dst == PBLK_NONE)
				break;
			if (!live_pinned(part.e) && live_remove(m, part.at, part.n, NULL, NULL) == 0)
				break;
			e = isolate(m, &part);
			if (e)
				live_change_flags(m, e, 0, LIVE_DIRTY);
			break;
		case WB_HOLE:
			if (part.e)
				live_remove(m, part.at, part.n, NULL, NULL);
			break;
		case WB_UNWRITTEN:
		case WB_REFERENCE:
			if (!part.e)
				break;
			if (!live_pinned(part.e) && live_remove(m, part.at, part.n, NULL, NULL) == 0)
				break;
			e = isolate(m, &part);
			if (e)
				live_change_flags(m, e, LIVE_DURABLE, LIVE_DIRTY | LIVE_TAKEN);
			break;
		case WB_BOUNCE:
			if (!part.e || (part.e->flags & LIVE_BACKED))
				break;
			e = isolate(m, &part);
			if (e) {
				live_change_flags(m, e, LIVE_BACKED, 0);
				bounce_set_backed(pt, part.n);
			}
			break;
		case WB_EVICT:
			if (!part.e || live_remove(m, part.at, part.n, NULL, NULL) == 0) {
				pin_discard(i, run->src + part.done, part.n);
				break;
			}
			live_change_flags(m, part.e, 0, LIVE_TAKEN);
			bounce_join(pt, part.n, false, 0);
			break;
		}
	}
	if (run->how == WB_BOUNCE || run->how == WB_EVICT)
		bounce_used(i, run->len);
	if (run->how == WB_BOUNCE) {
		x = run_ext(run);
		pin_release(i, &x, true, false);
	}
}

/* It has not, and will not. */
static void
run_failed(struct writeback *wb, const struct wb_run *run)
{
	struct inode *i = wb->inode;
	struct live_map *m = &i->live;
	struct part part = { 0 };
	struct live_extent *e, gone;
	struct pin_ext x;

	while (run->how != WB_HOLE && run->how != WB_FLUSH && next_part(m, run, &part)) {
		if (run->how == WB_BOUNCE) {
			if (part.e)
				content_mark_dirty(i, part.at, part.at + part.n);
			continue;
		}
		e = part.e ? isolate(m, &part) : NULL;
		if (e) {
			live_change_flags(m, e, 0, LIVE_TAKEN);
			if (run->how == WB_EVICT)
				bounce_join(pin_table(i), part.n, false, 0);
		} else if (!part.e && run->how == WB_EVICT) {
			pin_discard(i, run->src + part.done, part.n);
		} else if (!part.e) {
			gone = (struct live_extent){
				.fblk = part.at,
				.pblk = run->src + part.done,
				.len = part.n,
				.kind = run->how == WB_UNWRITTEN ? LIVE_UNWRITTEN : LIVE_DATA,
			};
			pin_not_durable(i, &gone);
		}
	}
	if (run->dst != PBLK_NONE && (run->how == WB_BOUNCE || run->how == WB_EVICT))
		bounce_undraw(i, run->dst, run->len);
	if (run->how == WB_BOUNCE) {
		x = run_ext(run);
		pin_release(i, &x, true, false);
	}
	live_merge(m, run->fblk, run->len);
}

/* ---- apply ------------------------------------------------------------------------- */

static int
count_item(void *arg, struct tree_key key, const void *value, size_t len)
{
	uint64_t *n = arg;

	(void)key, (void)value, (void)len;
	++*n;
	return 0;
}

/* Read all that the durable map has in the runs, and add up how many extents that are. A node
 * that was read once is not found damaged later. */
static int
read_durable(const struct writeback *wb, uint64_t *items)
{
	struct inode *i = wb->inode;

	for (size_t k = 0; k < wb->nruns; k++) {
		const struct wb_run *run = &wb->run[k];
		int r = tree_scan(i->fs->pool, tree_key(i->ino, ITEM_EXTENT, run->fblk),
		    tree_key(i->ino, ITEM_EXTENT, run->fblk + (run->len - 1)), count_item, items);

		if (r < 0)
			return r;
	}
	return 0;
}

static uint64_t
blocks_changed(const struct writeback *wb)
{
	uint64_t durable, sum = 0;

	mtx_lock(&wb->inode->attr_lock);
	durable = wb->inode->durable_blocks;
	mtx_unlock(&wb->inode->attr_lock);
	for (size_t k = 0; k < wb->nruns; k++)
		sum += wb->run[k].how == WB_FLUSH ? 0 :
		    wb->run[k].how == WB_HOLE ? min_of(wb->run[k].len, durable) : wb->run[k].len;
	return sum;
}

/* What the reference counts of displaced blocks will cost. Layout lock held. */
static int
shared_credits(const struct writeback *wb, uint64_t *credits)
{
	struct pool *p = wb->inode->fs->pool;
	uint64_t sum = 0;
	int r = 0;

	*credits = 0;
	if (__atomic_load_n(&pool_shared(p)->blocks, __ATOMIC_RELAXED) == 0)
		return 0;
	for (size_t k = 0; r == 0 && k < wb->nruns; k++) {
		uint64_t n;

		r = extent_shared_credits(wb->inode, wb->run[k].fblk, wb->run[k].len, &n);
		sum += n;
	}
	*credits = sum > 0 ? min_of(sum, refcount_credits_all(p)) : 0;
	return r;
}

void
writeback_cost(struct writeback *wb, struct wb_cost *cost)
{
	struct inode *i = wb->inode;
	uint64_t durable;

	mtx_lock(&i->attr_lock);
	durable = i->durable_blocks;
	mtx_unlock(&i->attr_lock);
	cost->items++;
	for (size_t k = 0; k < wb->nruns; k++) {
		const struct wb_run *run = &wb->run[k];

		if (run->how == WB_FLUSH)
			continue;
		/* What is left of old extents on either side; then new ones. */
		if (durable > 0)
			cost->items += 2;
		if (run->how == WB_HOLE)
			continue;
		cost->items += 1 + (is_data(run) ? run->len / EXTENT_CSUM_BLOCKS_MAX : 0);
		cost->blocks += is_data(run) ? run->len : 0;
	}
	cost->credits += txn_credits(i->fs->pool, 1);
	if (wb->nruns == 0)
		return;
	cost->credits += extent_credits(i, wb->nruns, blocks_changed(wb));
	/* Damage is met again, and told of, when it is applied. */
	rwl_rdlock(&i->layout_lock);
	(void)shared_credits(wb, &wb->shared);
	rwl_unlock(&i->layout_lock);
	cost->shared += wb->shared;
}

uint64_t
writeback_credits(struct pool *p, const struct wb_cost *cost)
{
	const uint64_t item = sizeof(struct leaf_slot) + EXTENT_ITEM_HEAD;
	uint64_t inodes, data, nodes;

	/* For many changes there is a bound that is lower than the sum of their worst cases: a
	 * transaction copies no node twice, each node there was can be full and split at once, and for
	 * the rest, splits of small items make nodes that are half full, and items of many
	 * CRCs have one node each at worst. */
	pool_counters(p, &inodes, &data, &nodes);
	return min_of(cost->credits, 2 * nodes + 2 * cost->items * item / NODE_SPACE +
	    cost->blocks / (EXTENT_CSUM_BLOCKS_MAX - 6) + 32) +
	    (cost->shared > 0 ? min_of(cost->shared, refcount_credits_all(p)) : 0);
}

/* The least that will do, where space is short: by counting what is there. (extent_credits
 * has to assume that the old extents are of one block each.) */
static uint64_t
least_credits(const struct writeback *wb)
{
	struct pool *p = wb->inode->fs->pool;
	const size_t largest = EXTENT_ITEM_HEAD + EXTENT_CSUM_BLOCKS_MAX * sizeof(uint32_t);
	uint64_t blocks = blocks_changed(wb), items = 0, fresh;

	if (wb->nruns == 0 || read_durable(wb, &items) < 0)
		return txn_credits(p, 1);
	fresh = min_of(blocks, blocks / EXTENT_CSUM_BLOCKS_MAX + wb->nruns);
	return txn_credits(p, 1) + txn_credits_run(p, max_of(items, fresh) + 2 * wb->nruns, largest);
}

static int
apply_run(struct writeback *wb, struct txn *t, const struct wb_run *run)
{
	struct inode *i = wb->inode;
	struct pin_table *pt = pin_table(i);
	struct pin_freed freed = { .inode = i, .keep = run->how == WB_BOUNCE || run->how == WB_EVICT };
	int r;

	if (run->how == WB_FLUSH)
		return 0;
	CDS_INIT_LIST_HEAD(&freed.spares);
	r = extent_replace(t, i, run->fblk, run->dst, run->len, run->how == WB_UNWRITTEN ? EXTENT_UNWRITTEN : 0,
	    run->csums, false, pt ? pin_extent_freed : NULL, &freed);
	if (pt)
		bounce_keep(pt, &freed.spares);
	return r;
}

/* Half a writeback is none, so the reference counts of displaced blocks are paid for before the first change. They have
 * been, unless others have changed them since. */
static int
prepay(const struct writeback *wb, struct txn *t)
{
	uint64_t credits;
	int r;

	r = shared_credits(wb, &credits);
	if (r == 0 && credits > wb->shared)
		r = txn_extend(t, credits - wb->shared);
	if (r == 0)
		t->flags |= TXN_PREPAID;
	return r;
}

/* Nothing is left to write: off the list of dirty inodes. Layout lock exclusive. */
static void
update_dirty(struct inode *i)
{
	bool dirty;

	inode_clear_dirty(i);
	mtx_lock(&i->attr_lock);
	/* A file that became longer since it was taken, by a hole, has nothing else to show for it: its attributes have been stored. */
	dirty = i->attr_dirty || (inode_is_reg(i) && i->size != i->durable_size);
	mtx_unlock(&i->attr_lock);
	if (dirty || i->live.dirty_extents > 0 || track_any(i))
		inode_mark_dirty(i);
}

int
writeback_apply(struct writeback *wb, struct txn *t)
{
	struct inode *i = wb->inode;
	struct fs *fs = i->fs;
	uint64_t ignored = 0, blocks = 0, bounced = 0;
	size_t done = 0;
	int r, r2;

	for (size_t k = 0; k < wb->nruns; k++)
		if (is_data(&wb->run[k]) || wb->run[k].how == WB_FLUSH)
			txn_note_data(t, wb->run[k].how == WB_FLUSH ? wb->run[k].src : wb->run[k].dst, wb->run[k].len);
	rwl_wrlock(&i->layout_lock);
	r = tree_touch(t, tree_key(i->ino, ITEM_INODE, 0));
	if (r == 0 && wb->nruns > 1)
		r = read_durable(wb, &ignored);
	if (r == 0)
		r = prepay(wb, t);
	while (r == 0 && done < wb->nruns) {
		r = apply_run(wb, t, &wb->run[done]);
		if (r == 0)
			done++;
	}
	for (size_t k = 0; k < done; k++) {
		const struct wb_run *run = &wb->run[k];

		run_done(wb, run);
		if (is_data(run))
			blocks += run->len;
		if (run->how == WB_BOUNCE || run->how == WB_EVICT)
			bounced += run->len;
	}
	for (size_t k = done; k < wb->nruns; k++)
		run_failed(wb, &wb->run[k]);
	if (r == 0 && inode_is_reg(i)) {
		mtx_lock(&i->attr_lock);
		/* A dax write may have mapped blocks behind the end since it was taken. */
		i->durable_size = i->durable_size == wb->durable_size ? wb->size : max_of(wb->size, i->durable_size);
		mtx_unlock(&i->attr_lock);
	}
	t->flags &= ~(unsigned)TXN_PREPAID;
	if (r < 0 && done > 0) {
		pinfs_log(LOG_ERR, "inode %llu: could be written back in part only: not at all, then",
		    (unsigned long long)i->ino);
		txn_abort(t, r);
	}
	if (r == 0 || done > 0) {
		r2 = inode_store(t, i);
		r = r < 0 ? r : r2;
	}
	if (pin_table(i))
		bounce_trim(i);
	update_dirty(i);
	rwl_unlock(&i->layout_lock);

	wb->txn = txn_number(t);
	__atomic_fetch_add(&fs->counters.writebacks, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&fs->counters.wb_blocks, blocks, __ATOMIC_RELAXED);
	__atomic_fetch_add(&fs->counters.bounced_blocks, bounced, __ATOMIC_RELAXED);
	return r;
}

void
writeback_clean(struct writeback *wb)
{
	struct inode *i = wb->inode;

	if (!inode_is_dirty(i))
		return;
	rwl_wrlock(&i->layout_lock);
	update_dirty(i);
	rwl_unlock(&i->layout_lock);
}

void
writeback_undo(struct writeback *wb)
{
	struct inode *i = wb->inode;

	if (wb->nruns > 0) {
		rwl_wrlock(&i->layout_lock);
		for (size_t k = 0; k < wb->nruns; k++)
			run_failed(wb, &wb->run[k]);
		rwl_unlock(&i->layout_lock);
	}
	runs_free(wb);
}

void
writeback_finish(struct writeback *wb)
{
	runs_free(wb);
	pin_settle(wb->inode);
}

/* ---- the whole ----------------------------------------------------------------------- */

int
writeback_begin(struct writeback *wb, struct txn *t)
{
	struct pool *p = wb->inode->fs->pool;
	struct wb_cost cost = { 0 };
	int r;

	writeback_cost(wb, &cost);
	r = txn_begin(p, t, writeback_credits(p, &cost), TXN_MUST);
	return r == -ENOSPC ? txn_begin(p, t, least_credits(wb) + wb->shared, TXN_MUST) : r;
}

/* With the writeback lock held. -EAGAIN: as for writeback_take. */
static int
writeback_once(struct inode *i, const struct wb_want *want, uint64_t *txn)
{
	struct writeback wb;
	struct txn t;
	int r;

	r = writeback_take(&wb, i, want);
	*txn = wb.txn;
	if (r < 0)
		return r;
	if (writeback_idle(&wb)) {
		if (want->times)
			writeback_clean(&wb);
		writeback_finish(&wb);
		return 0;
	}
	writeback_test_point(i, WRITEBACK_TAKEN);
	r = writeback_copy(&wb);
	if (r == 0) {
		writeback_test_point(i, WRITEBACK_COPIED);
		r = writeback_begin(&wb, &t);
	}
	if (r < 0) {
		writeback_undo(&wb);
		return r;
	}
	r = writeback_apply(&wb, &t);
	txn_end(&t);
	*txn = wb.txn;
	writeback_finish(&wb);
	return r;
}

int
writeback_run(struct inode *i, const struct wb_want *want, uint64_t *txn)
{
	unsigned full = 0;
	int r;

	if (i->fs->opt.readonly) {
		*txn = 0;
		return 0;
	}
	for (;;) {
		track_scan(i);
		writeback_lock(i);
		r = writeback_once(i, want, txn);
		writeback_unlock(i);
		if (r == -ENOSPC && full++ < FULL_TRIES) {
			*txn = txn_open_number(i->fs->pool); /* with it, what others have reserved is free again */
			/* scattered blocks take more of the tree than one run does */
			if (track_any(i))
				track_dirty_all(i);
		} else if (r != -EAGAIN) {
			return r;
		}
		if (*txn != 0) {
			r = txn_commit_wait(i->fs->pool, *txn);
			if (r < 0)
				return r;
		}
	}
}

int
writeback_inode(struct inode *i, uint64_t *txn)
{
	const struct wb_want want = { .times = true, .bounce = true };

	return writeback_run(i, &want, txn);
}
