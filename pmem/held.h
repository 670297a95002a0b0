/* SPDX-License-Identifier: BSD-3-Clause */
/* Blocks that somebody outside may still store to, or look at: they are not used again before that is over.
 *
 * A client takes a shared OFD lock on each range of the pool file that it maps, and keeps it as long as the
 * mapping; so the kernel knows who maps what, even when the daemon that granted it is gone. A block is held
 *   - if it was locked when the pool was opened: its client has outlived a daemon
 *   - if it was found locked when its last pin went (held_note): its client maps what it has unpinned
 *   - if its pinner went without a word, so that DMA may be in flight (held_mark)
 *
 * Being held changes nothing for a block in use. When it is freed it does not become free, though, but waits in
 * quarantine until nobody has it locked; then its range is punched out of the pool file, so that late
 * stores end in a page that is no part of the pool, allocated anew, and free.
 *
 * Thread-safe. Any lock up to LOCK_ALLOC may be held, except where it says otherwise.
 */
#ifndef PINFS_PMEM_HELD_H
#define PINFS_PMEM_HELD_H

#include "pmem/pool.h"

/* Hold what of the n blocks somebody has locked; is there any? */
bool held_note(struct pool *p, pblk_t start, uint64_t n);
void held_mark(struct pool *p, pblk_t start, uint64_t n);
/* Is one of the blocks held? */
bool held_any(struct pool *p, pblk_t start, uint64_t n);

/* Free what waits, of these blocks or of all, and is no longer locked. System calls: no lock may be held. True if
 * something became free. */
bool held_check(struct pool *p, pblk_t start, uint64_t n);
bool held_check_all(struct pool *p);
/* How many blocks wait. */
uint64_t held_waiting(struct pool *p);
/* Call fn, with LOCK_ALLOC held, when blocks begin to wait: somebody should call held_check_all in a while, and
 * again as long as any wait. One at a time; NULL: no more. */
void held_set_wake(struct pool *p, void (*fn)(void *arg), void *arg);

#endif
