/* SPDX-License-Identifier: BSD-3-Clause */
/* Two bits for each block of the pool say it all, so nothing here can fail for want of memory:
 *
 *   held  waiting
 *    0      0      of no concern
 *    1      0      in use, and held. When it is freed the allocator asks (guard), and it waits
 *    1      1      freed, and counted as quarantined by the allocator. A check looks whether it is locked;
 *                  if not it is punched out of the pool file, and free: 0 0
 *
 * While a check is at a run its waiting bits are 0, so that two checks never have the same blocks. nwaiting
 * counts them all the same.
 *
 * Whether a range is locked is asked of the kernel by F_OFD_GETLK, which tells of one lock that is in the way, not
 * of the first. So a range is walked by asking for less and less of it until what is told starts at its beginning, or
 * nothing is in the way. Our own lock is on the root slots, where no block is.
 *
 * What could go wrong: between a check's question and its answer no lock can come, because who
 * may lock a block has it pinned, and a block that waits is in no file. A client that was given a pin by a daemon that died
 * before the client had locked it must not map it: it asks the daemon for something after it has locked
 * (client/map.c). And a client that dies with DMA in flight while there is no daemon leaves no trace: its locks are gone
 * when the next daemon looks.
 *
 * The bits are protected by a lock of their own. It is taken by the guard under the allocator's, never the
 * other way round.
 */
#include "pmem/held.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "pmem/bits.h"
#include "pmem/log.h"
#include "pmem/pool_i.h"

struct held {
	struct mtx lock;       /* LOCK_LEAF; protects the bits, lo and hi, and changes of what follows */
	uint64_t *held;
	uint64_t *waiting;
	pblk_t lo, hi;         /* all waiting blocks are in here */
	uint64_t nheld;        /* atomic */
	uint64_t nwaiting;     /* atomic */
	void (*wake)(void *arg);
	void *wake_arg;
};

/* ---- what the kernel knows ------------------------------------------------------ */

/* Are the first blocks of [at, end) locked by somebody else? Tells for how many that holds alike. */
static bool
locked_run(struct pool *p, pblk_t at, pblk_t end, uint64_t *n)
{
	for (;;) {
		struct flock l = {
			.l_type = F_WRLCK,
			.l_whence = SEEK_SET,
			.l_start = (off_t)(at << BLK_SHIFT),
			.l_len = (off_t)((end - at) << BLK_SHIFT),
		};
		pblk_t from, to;

		*n = end - at;
		if (fcntl(p->file.fd, F_OFD_GETLK, &l) < 0)
			return true; /* can't tell */
		if (l.l_type == F_UNLCK)
			return false;
		from = (pblk_t)l.l_start >> BLK_SHIFT;
		to = l.l_len == 0 ? end : min_of(end, bytes_to_blocks_up((uint64_t)l.l_start + (uint64_t)l.l_len));
		if (from <= at) {
			*n = max_of(to, at + 1) - at;
			return true;
		}
		end = from;
	}
}

/* ---- holding ------------------------------------------------------------------------ */

static void
mark_locked(struct held *h, pblk_t start, uint64_t n)
{
	pblk_t at = start, to, end = start + n;

	while (at < end) {
		at = bits_find(h->held, at, end, false);
		to = bits_find(h->held, at, end, true);
		bits_put(h->held, at, to - at, true);
		__atomic_fetch_add(&h->nheld, to - at, __ATOMIC_RELEASE);
		at = to;
	}
}

void
held_mark(struct pool *p, pblk_t start, uint64_t n)
{
	mtx_lock(&p->held->lock);
	mark_locked(p->held, start, n);
	mtx_unlock(&p->held->lock);
}

bool
held_note(struct pool *p, pblk_t start, uint64_t n)
{
	bool any = false;
	uint64_t here;

	for (pblk_t at = start; at < start + n; at += here) {
		if (!locked_run(p, at, start + n, &here))
			continue;
		held_mark(p, at, here);
		any = true;
	}
	return any;
}

bool
held_any(struct pool *p, pblk_t start, uint64_t n)
{
	struct held *h = p->held;
	bool any;

	if (__atomic_load_n(&h->nheld, __ATOMIC_ACQUIRE) == 0)
		return false;
	mtx_lock(&h->lock);
	any = bits_find(h->held, start, start + n, true) < start + n;
	mtx_unlock(&h->lock);
	return any;
}

void
held_find(struct pool *p)
{
	if (p->readonly)
		return;
	held_note(p, POOL_FIRST_BLOCK, p->nblocks - POOL_FIRST_BLOCK);
	if (p->held->nheld > 0)
		pinfs_log(LOG_WARNING, "%s: clients from before this mount still map %llu blocks of it: those that are in "
		    "no file are quarantined until they go", p->path, (unsigned long long)p->held->nheld);
}

/* ---- waiting -------------------------------------------------------------------------- */

static void
wait_locked(struct held *h, pblk_t start, uint64_t n)
{
	bits_put(h->waiting, start, n, true);
	h->lo = min_of(h->lo, start);
	h->hi = max_of(h->hi, start + n);
}

/* For the allocator: see alloc_set_guard(). */
static bool
guard(void *arg, pblk_t start, uint64_t *n)
{
	struct pool *p = arg;
	struct held *h = p->held;
	void (*wake)(void *arg);
	void *wake_arg;
	pblk_t at;

	if (__atomic_load_n(&h->nheld, __ATOMIC_ACQUIRE) == 0 || !pool_range_ok(p, start, *n))
		return true;
	mtx_lock(&h->lock);
	at = bits_find(h->held, start, start + *n, true);
	if (at > start) {
		*n = at - start;
		mtx_unlock(&h->lock);
		return true;
	}
	*n = bits_find(h->held, start, start + *n, false) - start;
	wait_locked(h, start, *n);
	__atomic_fetch_add(&h->nwaiting, *n, __ATOMIC_RELAXED);
	wake = h->wake;
	wake_arg = h->wake_arg;
	mtx_unlock(&h->lock);
	if (wake)
		wake(wake_arg);
	return false;
}

/* Let go of the pages that are there, and have others. */
static int
punch(struct pool *p, pblk_t start, uint64_t n)
{
	off_t off = (off_t)(start << BLK_SHIFT), len = (off_t)(n << BLK_SHIFT);

	if (fallocate(p->file.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len) < 0)
		return -errno;
	/* A pool is allocated from the start, so that no store to it can fail; a device is anyway. */
	if (!p->file.device && fallocate(p->file.fd, 0, off, len) < 0)
		return -errno;
	return 0;
}

/* Nobody has them locked any more. */
static void
let_go(struct pool *p, pblk_t start, uint64_t n)
{
	struct held *h = p->held;
	int r = punch(p, start, n);

	mtx_lock(&h->lock);
	bits_put(h->held, start, n, false);
	__atomic_fetch_sub(&h->nheld, n, __ATOMIC_RELAXED);
	__atomic_fetch_sub(&h->nwaiting, n, __ATOMIC_RELAXED);
	mtx_unlock(&h->lock);
	if (r == 0)
		alloc_release_quarantined(p->alloc, start, n);
	else
		pinfs_log(LOG_WARNING, "%s: %llu blocks at %llu can't be punched out (%s): they stay in quarantine until "
		    "the next mount", p->path, (unsigned long long)n, (unsigned long long)start, strerror(-r));
}

bool
held_check(struct pool *p, pblk_t start, uint64_t n)
{
	struct held *h = p->held;
	pblk_t at = start, end = start + n, to;
	bool freed = false;
	uint64_t here;

	while (held_waiting(p) > 0) {
		mtx_lock(&h->lock);
		at = bits_find(h->waiting, at, end, true);
		to = bits_find(h->waiting, at, end, false);
		if (at < to)
			bits_put(h->waiting, at, to - at, false);
		mtx_unlock(&h->lock);
		if (at >= to)
			break;
		for (; at < to; at += here) {
			if (!locked_run(p, at, to, &here)) {
				let_go(p, at, here);
				freed = true;
				continue;
			}
			mtx_lock(&h->lock);
			wait_locked(h, at, here);
			mtx_unlock(&h->lock);
		}
	}
	return freed;
}

bool
held_check_all(struct pool *p)
{
	struct held *h = p->held;
	pblk_t lo, hi;

	if (held_waiting(p) == 0)
		return false;
	mtx_lock(&h->lock);
	lo = h->lo;
	hi = h->hi;
	h->lo = p->nblocks;
	h->hi = 0;
	mtx_unlock(&h->lock);
	return lo < hi && held_check(p, lo, hi - lo);
}

uint64_t
held_waiting(struct pool *p)
{
	return __atomic_load_n(&p->held->nwaiting, __ATOMIC_RELAXED);
}

void
held_set_wake(struct pool *p, void (*fn)(void *arg), void *arg)
{
	mtx_lock(&p->held->lock);
	p->held->wake = fn;
	p->held->wake_arg = arg;
	mtx_unlock(&p->held->lock);
}

/* ---- the whole -------------------------------------------------------------------------- */

int
held_new(struct pool *p)
{
	struct held *h = calloc(1, sizeof(*h));

	if (!h)
		return -ENOMEM;
	h->held = bits_new(p->nblocks);
	h->waiting = bits_new(p->nblocks);
	if (!h->held || !h->waiting) {
		free(h->held);
		free(h->waiting);
		free(h);
		return -ENOMEM;
	}
	h->lo = p->nblocks;
	mtx_init(&h->lock, LOCK_LEAF, 0);
	p->held = h;
	alloc_set_guard(p->alloc, guard, p);
	return 0;
}

void
held_free(struct pool *p)
{
	struct held *h = p->held;

	if (!h)
		return;
	free(h->held);
	free(h->waiting);
	mtx_destroy(&h->lock);
	free(h);
}
