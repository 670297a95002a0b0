/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests that are parked (fs/park.h), and FUSE_INTERRUPT, which ends their wait.
 *
 * A request whose wait may be long is put here before it is parked, and taken out before its reply is sent. In
 * between an interrupt of it calls park_cancel(), also if the kernel sent it before the request came
 * here. The reply is then EINTR, and nothing may have changed.
 */
#ifndef PINFS_FS_FUSE_WAITING_H
#define PINFS_FS_FUSE_WAITING_H

#include <stdint.h>

#include "fs/layout.h"
#include "fs/park.h"
#include "pmem/lock.h"

#define INTERRUPTS_EARLY 64u

/* Embedded in what a parked request needs. */
struct waiting {
	struct cds_list_head link; /* P: waiters.lock */
	uint64_t unique;
	struct parked *parked;
};

struct waiters {
	struct mtx lock;           /* LOCK_PINS: park_cancel() is called with it */
	struct cds_list_head list; /* P: lock */
	uint64_t early[INTERRUPTS_EARLY]; /* P: lock; the newest interrupts of requests that were not here */
	unsigned next;             /* P: lock; which of them is the oldest */
};

void waiters_init(struct waiters *s);
void waiters_destroy(struct waiters *s);
/* unique: the request's. It stays what it is until waiting_end(). */
void waiting_begin(struct waiters *s, struct waiting *w, uint64_t unique, struct parked *p);
void waiting_end(struct waiters *s, struct waiting *w);
/* The kernel wants request `unique` to end. False: it is not here (now). */
bool waiters_interrupt(struct waiters *s, uint64_t unique);

/* A request that is a layout operation: embedded in what it needs, which stays where it is until go() is called. */
struct front_op {
	struct layout_op op;       /* layout_op_init(), tid and nonblock come first */
	struct waiting wait;
	struct waiters *waiters;
	void (*go)(struct front_op *p, int r);
};
/* Calls go() once, maybe before it returns: with 0, when the operation is to be done, then layout_end(&p->op); or
 * with an error, when it is over. */
void front_op_begin(struct front_op *p, struct waiters *s, uint64_t unique, void (*go)(struct front_op *p, int r));

#endif
