/* SPDX-License-Identifier: BSD-3-Clause */
/* Layout operations: what frees, moves or replaces blocks of a range of a file, and so has to ask those who hold leases
 * and pins on it.
 *
 *   fill in kind, inode, the range, who; layout_begin(); the operation itself; layout_end()
 *
 * layout_begin() registers the operation, which it stays until layout_end(): while it is, no lease
 * and no long-term pin is granted on the range, and while it waits no pin at all, so nothing can come between the
 * check and the operation, and nobody can starve it. Then it decides:
 *
 *   another process's exclusive lease             -ETXTBSY
 *   a pin of this process                         -EBUSY: it would wait for itself
 *   PINFS_OP_DAX and any pin                      -ETXTBSY
 *   another process's shared lease, its pins      those leases are broken, and it waits; not with lease_break=cut: they
 *                                                 are revoked at once
 *   transient pins                                as the mount's layout_transient says; an operation that moves content
 *                                                 waits transient_ms for them
 *   an operation on the range that came before
 *   and has had to wait                           it waits for its end: they go on in the order in which they came
 *
 * This process's own leases do not matter. Leases that nobody waits for any more are HELD again. An operation that
 * does not change the layout (a truncate that extends the file, a write) is none.
 */
#ifndef PINFS_FS_LAYOUT_H
#define PINFS_FS_LAYOUT_H

#include "fs/fs.h"
#include "fs/park.h"

/* As enum pinfs_layout_op. */
enum layout_kind {
	LAYOUT_TRUNCATE = 1,
	LAYOUT_PUNCH = 2,
	LAYOUT_ZERO = 3,
	LAYOUT_COLLAPSE = 4,
	LAYOUT_INSERT = 5,
	LAYOUT_EXCHANGE = 6,
	LAYOUT_CLONE_INTO = 7,
	LAYOUT_DAX = 8,
	LAYOUT_FILL = 9, /* in events only */
};

#define LAYOUT_PARKED 1

struct layout_op {
	/* the caller's, set before layout_begin() */
	struct inode *inode;      /* a reference, as long as the operation lasts */
	enum layout_kind kind;
	fblk_t start, end;        /* blocks; FBLK_MAX + 1: all there can be */
	pid_t tid;                /* thread that asks for it; 0: none */
	bool nonblock;            /* O_NONBLOCK: rather fail with -EWOULDBLOCK than wait, after the break has begun */
	bool probe;               /* fail with -EWOULDBLOCK if anything is in the way, and leave it alone */
	/* Called once if layout_begin() gave LAYOUT_PARKED, by some thread without locks: r is 0 (do it, then
	 * layout_end()), or an error, and the operation is over. -EINTR: park_cancel(&op->park); -EAGAIN: a lease
	 * wants that at its deadline; -EIO: unmounted. */
	void (*resume)(struct layout_op *op, int r);

	/* layout.c's; P: lease table lock */
	struct parked park;
	struct cds_list_head link;
	pid_t tgid;
	uint64_t leases, pins;    /* that it waits for */
	bool behind;              /* and for an operation before it */
	bool waits, has_waited;
	int failed;
	int64_t longterm_ns, transient_ns; /* until when it waits for such pins */
};

/* Before anything else: op->park can be cancelled from then on. */
void layout_op_init(struct layout_op *op, struct inode *i, enum layout_kind kind, fblk_t start, fblk_t end);
/* 0; LAYOUT_PARKED; or an error, and the operation is over. No lock may be held. */
int layout_begin(struct layout_op *op);
void layout_end(struct layout_op *op);

/* Blocks are about to get content in [fblk, fblk+n). Who has a lease there and a read pin of what was a hole is told,
 * because its mapping goes on showing zeroes; nobody waits. Layout lock exclusive. */
void layout_fill(struct inode *i, fblk_t fblk, uint64_t n);

/* The blocks that an operation on bytes is about; false: it does not change the layout. */
bool layout_of_truncate(struct inode *i, uint64_t size, fblk_t *start, fblk_t *end);
bool layout_of_fallocate(struct inode *i, int mode, uint64_t off, uint64_t len, enum layout_kind *kind, fblk_t *start,
    fblk_t *end);

#endif
