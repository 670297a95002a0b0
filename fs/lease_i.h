/* SPDX-License-Identifier: BSD-3-Clause */
/* The inside of leases: for lease.c, lease_event.c, layout.c, and for pin.c, which asks them. */
#ifndef PINFS_FS_LEASE_I_H
#define PINFS_FS_LEASE_I_H

#include <bsd/sys/tree.h>

#include "fs/fs_i.h"
#include "fs/layout.h"
#include "fs/lease.h"
#include "fs/pin_i.h"
#include "fs/process.h"

/* An event that has not been read. */
struct unread {
	struct cds_list_head link;     /* file->events */
	struct lease *lease;
	struct lease_event event;
};

/* P: the table's lock, all but what is said to be constant. */
struct lease {
	RB_ENTRY(lease) by_start;      /* table->by_start */
	RB_ENTRY(lease) by_id;         /* table->by_id */
	struct cds_list_head file_link; /* file->leases */
	struct cds_list_head breaking_link; /* table->breaking, while it is that */
	struct file *file;             /* constant */
	uint64_t id;                   /* constant */
	fblk_t start, end;             /* constant */
	fblk_t max_end;                /* largest end in its subtree of by_start */
	enum lease_state state;
	struct lease_params params;
	pid_t tgid;                    /* constant */
	uid_t uid;                     /* constant */
	struct process process;        /* to be signalled, if params.signal */
	int64_t since_ns;              /* constant; CLOCK_MONOTONIC */
	int64_t deadline_ns;           /* while it is BREAKING */
	bool unattended;               /* broken by somebody who did not wait: stays BREAKING until the deadline */
	struct lease_event cause;      /* what it was broken for */
	struct unread *unread[LEASE_EVENT_TYPES];
};
RB_HEAD(lease_start_tree, lease);
RB_HEAD(lease_id_tree, lease);

struct lease_table {
	struct mtx lock;               /* LOCK_PINS; protects what follows */
	struct inode *inode;           /* constant */
	struct lease_start_tree by_start; /* as intervals */
	struct lease_id_tree by_id;
	uint64_t nleases;              /* read atomically without the lock */
	uint64_t nexclusive;           /* HELD */
	struct cds_list_head breaking; /* by deadline, but for those that have none */
	struct cds_list_head ops;      /* layout operations, in the order in which they came */
	uint64_t nwaiting;             /* of these, parked; read atomically without the lock */
	struct parked timer;           /* for the first deadline; holds a reference to the inode */
	bool timed;                    /* the timer is parked, or its run() is on its way */
};

static inline struct lease_table *
lease_table(const struct inode *i)
{
	return __atomic_load_n(&i->leases, __ATOMIC_ACQUIRE);
}

static inline bool
ranges_overlap(fblk_t a, fblk_t a_end, fblk_t b, fblk_t b_end)
{
	return a < b_end && b < a_end;
}

/* ---- lease.c ---- */

/* NULL: no memory. Any lock may be held. */
struct lease_table *lease_table_make(struct inode *i);
/* The only way from one state to another. */
void lease_move_locked(struct lease_table *t, struct lease *l, enum lease_state to);
/* The first lease that overlaps the range, the one after l. */
struct lease *lease_first_locked(struct lease_table *t, fblk_t start, fblk_t end);
struct lease *lease_next_locked(struct lease *l, fblk_t start, fblk_t end);
/* No lease is BREAKING any more: then nobody needs the timer. No lock may be held. */
void lease_timer_stop(struct lease_table *t);

/* May these ranges be pinned by f? *leased: all of them are covered by leases of f. -EAGAIN a layout operation wants one of them,
 * or a lease there is BREAKING; for a long-term pin -ENOLCK no lease of f covers it, -ESTALE one does, but it is revoked. */
int lease_check_pin(struct file *f, const struct pin_range *r, unsigned n, bool longterm, bool *leased);

/* ---- lease_event.c: table lock held ---- */

/* Tell the holder. op NULL: it is what the lease was broken for. */
void lease_event_add_locked(struct lease *l, enum lease_event_type type, const struct layout_op *op);
/* Forget what is unread of it. */
void lease_event_forget_locked(struct lease *l);

/* ---- layout.c ---- */

/* Somebody gave up a lease, or it was revoked: who waited for it goes on. Table lock held. */
void layout_lease_gone_locked(struct lease_table *t, const struct lease *l);
/* The same for a pin. Layout lock exclusive held. */
void layout_pin_gone(struct inode *i, const struct pin *pin);
/* run() of the table's timer. */
void layout_timer(struct parked *p, enum park_reason why);
/* Is an operation registered that overlaps: 2 one that waits, 1 one that runs, 0 none. */
int layout_wanted_locked(const struct lease_table *t, fblk_t start, fblk_t end);

#endif
