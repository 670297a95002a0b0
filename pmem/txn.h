/* SPDX-License-Identifier: BSD-3-Clause */
/* Transactions: what becomes durable together.
 *
 * There is one open transaction at any time. An operation joins it
 * (txn_begin: gate shared), changes the tree, and leaves (txn_end). A commit
 * takes the gate exclusively for the moment it takes to fill in the CRCs of the new
 * nodes and to open the next transaction; then, with operations going on, it makes
 * all new nodes and noted data durable, passes a barrier, writes the next root
 * slot, passes a barrier. Nodes of a closed transaction are immutable.
 *
 *        open --close--> closed --flush--> flushed --root slot--> committed
 *
 * Blocks freed in a transaction (txn_free) become free when it is committed.
 * A block allocated and freed in the same transaction becomes free at once.
 *
 * A failed commit (-EIO from the medium) leaves the last root in force and
 * the pool read-only: later txn_begin gives -EROFS. So does txn_abort, for a change that
 * stopped half way.
 *
 * Space: txn_begin reserves the worst case of tree nodes that the operation may
 * need, so a change in the tree never fails for space. Ordinary operations leave
 * the metadata reserve (pool_meta_reserve) alone; operations that
 * free space or must succeed (delete, writeback) pass TXN_MUST and may use it.
 */
#ifndef PINFS_PMEM_TXN_H
#define PINFS_PMEM_TXN_H

#include "pmem/types.h"

struct pool;
struct txn; /* one operation's membership in the open transaction; used by one thread */

enum {
	TXN_MUST = 1,
	/* Set in flags by a caller who has extended the transaction by what changes to reference counts
	 * will need (extent_shared_credits), so that they don't ask again. */
	TXN_PREPAID = 2,
};

/* Upper bound of nodes for n changes at unrelated keys / at n neighbouring keys where
 * no value is longer than len bytes, neither one that is there nor one to come. */
uint64_t txn_credits(struct pool *p, uint64_t n);
uint64_t txn_credits_run(struct pool *p, uint64_t n, size_t len);
/* Upper bound of nodes for however many changes to a row of items of at most len bytes, of which there are n, and
 * never more than max. */
uint64_t txn_credits_all(struct pool *p, uint64_t n, uint64_t max, size_t len);

/* Join: LOCK_GATE is held shared until txn_end. *t is storage that the caller
 * provides. -ENOSPC, -EROFS. */
int txn_begin(struct pool *p, struct txn *t, uint64_t credits, unsigned flags);
/* Reserve more, for a loop that can't tell beforehand. */
int txn_extend(struct txn *t, uint64_t credits);
void txn_end(struct txn *t);

/* Between the two, by who has changed a part of what belongs together, and can't go on nor take it back (which nothing
 * is known to cause: space has been reserved and nodes have been read before): the open transaction is never
 * committed, the pool is read-only, the next mount finds the last commit. */
void txn_abort(struct txn *t, int err);

/* The number of the transaction that was joined: what txn_commit_wait needs. */
uint64_t txn_number(const struct txn *t);

/* Free blocks when this transaction commits. Never fails. */
void txn_free(struct txn *t, pblk_t start, uint64_t n);
/* As txn_free, for blocks that this very transaction allocated: at once. */
void txn_free_new(struct txn *t, pblk_t start, uint64_t n);
/* Data that has to be durable when this transaction is. */
void txn_note_data(struct txn *t, pblk_t start, uint64_t n);

/* Counters kept in the root block; they become durable with this transaction. */
uint64_t txn_new_ino(struct txn *t);
void txn_add_inodes(struct txn *t, int64_t n);
void txn_add_data_blocks(struct txn *t, int64_t n);

/* Make transaction `number` (and all before it) durable. Group commit: callers that
 * come while a commit runs share the next one. Returns at once if it is
 * durable already, and commits nothing if it is open and has changed nothing. The commit runs in
 * one of the callers. -EIO: it failed, or an earlier one did. No lock may be held. */
int txn_commit_wait(struct pool *p, uint64_t number);
/* The same, without waiting for the medium: calls done(arg, err) once, either
 * before returning or from another thread. In the volatile and pmem domains the
 * commit runs in the caller (it is faster than a hand-over). */
void txn_commit_async(struct pool *p, uint64_t number, void (*done)(void *arg, int err), void *arg);

/* Number of the open transaction; whether it has changed anything. */
uint64_t txn_open_number(struct pool *p);
bool txn_open_dirty(struct pool *p);
/* Blocks that will be free when what has been done so far is durable. */
uint64_t txn_pending_free(struct pool *p);
/* How many commits there were since the pool was opened. */
uint64_t txn_commits(struct pool *p);
/* Newest durable transaction. */
uint64_t txn_committed(struct pool *p);
/* New nodes in the open transaction: a background commit is due when this grows large. */
uint64_t txn_open_nodes(struct pool *p);

struct txn {
	struct pool *pool;
	uint64_t number;
	uint64_t credits;    /* still reserved */
	uint64_t changes;    /* that it has made in the tree */
	unsigned flags;
};

#endif
