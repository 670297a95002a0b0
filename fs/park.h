/* SPDX-License-Identifier: BSD-3-Clause */
/* Parking: waiting without a thread.
 *
 * Who has to wait for something outside (a client that gives a lease back, a pin that goes, a moment in time)
 * puts what is to be done afterwards into a struct parked, parks it, and returns. When the wait
 * ends, for whichever reason comes first, run() is called exactly once with that reason, by some thread that
 * holds no lock:
 *
 *   PARK_WOKEN      park_wake()
 *   PARK_DEADLINE   the time given to park() has come
 *   PARK_CANCELLED  park_cancel(), which may also come before park()
 *   PARK_SHUTDOWN   park_close(); and everything that is parked after it
 *
 * How to use it: embed a struct parked, park_init() it, put the whole on a list of those who wait (of an
 * inode, say) under a lock of your own, and park() it under that lock or after it: from park() on run() may be called at
 * any moment, so everything that it needs must be there before. Who ends the wait finds it on the list under the
 * same lock and calls park_wake(). run() takes the lock, takes itself off the list, drops the lock, and may then
 * look again, park again, or free the memory. park_wake(), park_cancel() and park() may be called
 * with any lock held but one of rank LOCK_LEAF.
 *
 * Who runs: a thread that has called park_runner(true), as the workers of a front end do, calls park_run() when it is done with
 * what it is at, and so goes on at once with what it has woken itself, in the order in which it woke it. What other threads
 * wake, and what has reached its deadline, is run by the one thread of the lot, which sleeps until the
 * earliest deadline: nothing ticks.
 */
#ifndef PINFS_FS_PARK_H
#define PINFS_FS_PARK_H

#include <bsd/sys/tree.h>
#include <stdbool.h>
#include <stdint.h>
#include <urcu/list.h>

struct park_lot;

enum park_reason { PARK_WOKEN, PARK_DEADLINE, PARK_CANCELLED, PARK_SHUTDOWN };

#define PARK_FOREVER INT64_MAX /* no deadline */

/* All of it belongs to park.c, once it is initialised. */
struct parked {
	struct park_lot *lot;
	void (*run)(struct parked *p, enum park_reason why);
	/* P: the lot's lock */
	RB_ENTRY(parked) timed;
	struct cds_list_head link;
	int64_t deadline_ns;
	uint64_t seq;
	uint8_t state;
	uint8_t why;
	bool cancelled;
};

int park_lot_new(struct park_lot **out);
/* Ends all waits with PARK_SHUTDOWN, and runs them. When it returns nothing is parked and the lot's thread is gone; what is
 * parked later is ready at once, for the next park_run(). May be called again. No lock may be held. */
void park_close(struct park_lot *lot);
/* Closes it first. NULL is allowed. */
void park_lot_free(struct park_lot *lot);

void park_init(struct parked *p, struct park_lot *lot, void (*run)(struct parked *p, enum park_reason why));
/* Until deadline_ns (CLOCK_MONOTONIC) or PARK_FOREVER. p is not parked now. */
void park(struct parked *p, int64_t deadline_ns);
/* End the wait; false: it had ended already, or has not begun. */
bool park_wake(struct parked *p);
/* The same with PARK_CANCELLED. If the wait has not begun, it ends as soon as it does. */
bool park_cancel(struct parked *p);
/* End it without running anything; false: too late, run() is being called or will be. */
bool park_withdraw(struct parked *p);

/* This thread calls park_run() itself before it waits for anything (or: no longer). */
void park_runner(bool is);
/* Run what is ready, until nothing is. No lock may be held. */
void park_run(struct park_lot *lot);
/* How much? A hint, without a lock; a thread sees what it has woken itself. */
uint64_t park_ready(const struct park_lot *lot);
/* How many are parked now. */
uint64_t park_count(const struct park_lot *lot);

/* CLOCK_MONOTONIC in nanoseconds, and that many milliseconds from now; 0 ms: PARK_FOREVER. */
int64_t park_now(void);
int64_t park_after_ms(unsigned ms);

#endif
