/* SPDX-License-Identifier: BSD-3-Clause */
/* Locks, and the one order in which they are taken.
 *
 * A thread may take a lock only if its rank is higher than that of every lock
 * it holds. Equal ranks nest only where a rank says so, by ascending key (the
 * inode number). This is the order, outermost first:
 *
 *   LOCK_COMMIT      one commit at a time; held from closing a transaction to
 *                    its root being durable (no other lock is held when it is taken)
 *   LOCK_WRITEBACK   one writeback of an inode at a time (key: inode number)
 *   LOCK_GATE        transaction gate: shared by every operation that changes
 *                    the tree, exclusive for the moment a commit closes it
 *   LOCK_RENAME      one cross-directory rename at a time (keeps the tree a tree)
 *   LOCK_DIR         a directory's entries (key: inode number)
 *   LOCK_IO          a file's content: read shared, write/truncate exclusive
 *                    (key: inode number)
 *   LOCK_LAYOUT      a file's block maps, live and durable: lookup and pin
 *                    shared, layout change exclusive (key: inode number)
 *   LOCK_PINS        the pin and lease tables of an inode
 *   LOCK_ATTR        an inode's attributes in memory
 *   LOCK_ICACHE      the inode cache's bookkeeping
 *   LOCK_REFCOUNT    reference counts of shared blocks: read, decide, write is one step
 *   LOCK_TREE        the metadata tree: lookups shared, changes exclusive
 *   LOCK_ALLOC       the block allocator
 *   LOCK_LEAF        anything that takes no other lock while it is held
 *
 * It lives in the lowest layer, because every layer takes locks; it is the
 * only place where a rank is defined.
 *
 * Built with --enable-debug, every acquisition is checked against the order
 * and every release against what is held: a violation prints the two
 * backtraces (where the held lock was taken, and where the offending one is)
 * and aborts. Otherwise the wrappers are bare pthread calls.
 *
 * Rules: no lock is conditional on what a function returned; a function that
 * returns with a lock held, or drops one, says so in its name (..._lock,
 * ..._unlock); nobody waits for a client while holding one.
 */
#ifndef PINFS_PMEM_LOCK_H
#define PINFS_PMEM_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum lock_rank {
	LOCK_COMMIT = 1,
	LOCK_WRITEBACK,
	LOCK_GATE,
	LOCK_RENAME,
	LOCK_DIR,
	LOCK_IO,
	LOCK_LAYOUT,
	LOCK_PINS,
	LOCK_ATTR,
	LOCK_ICACHE,
	LOCK_REFCOUNT,
	LOCK_TREE,
	LOCK_ALLOC,
	LOCK_LEAF,
	LOCK_RANKS
};

struct mtx {
	pthread_mutex_t m;
#ifdef PINFS_DEBUG
	enum lock_rank rank;
	uint64_t key;
#endif
};

/* Writer-preferring: a stream of readers can't starve a writer, and a thread
 * must not take the shared side twice. */
struct rwl {
	pthread_rwlock_t l;
#ifdef PINFS_DEBUG
	enum lock_rank rank;
	uint64_t key;
#endif
};

/* key orders locks of one rank among each other (inode number); 0 if locks of
 * this rank never nest. */
void mtx_init(struct mtx *m, enum lock_rank rank, uint64_t key);
void mtx_destroy(struct mtx *m);
void rwl_init(struct rwl *l, enum lock_rank rank, uint64_t key);
void rwl_destroy(struct rwl *l);

#ifdef PINFS_DEBUG
void mtx_lock(struct mtx *m);
bool mtx_trylock(struct mtx *m);
void mtx_unlock(struct mtx *m);
void mtx_cond_wait(pthread_cond_t *c, struct mtx *m);
void rwl_rdlock(struct rwl *l);
void rwl_wrlock(struct rwl *l);
void rwl_unlock(struct rwl *l);
/* Abort unless this thread holds no lock at all: called where a thread is
 * about to wait for something outside, or returns to its request loop. */
void lock_assert_none_held(void);
#else
static inline void mtx_lock(struct mtx *m) { pthread_mutex_lock(&m->m); }
static inline bool mtx_trylock(struct mtx *m) { return pthread_mutex_trylock(&m->m) == 0; }
static inline void mtx_unlock(struct mtx *m) { pthread_mutex_unlock(&m->m); }
static inline void mtx_cond_wait(pthread_cond_t *c, struct mtx *m) { pthread_cond_wait(c, &m->m); }
static inline void rwl_rdlock(struct rwl *l) { pthread_rwlock_rdlock(&l->l); }
static inline void rwl_wrlock(struct rwl *l) { pthread_rwlock_wrlock(&l->l); }
static inline void rwl_unlock(struct rwl *l) { pthread_rwlock_unlock(&l->l); }
static inline void lock_assert_none_held(void) { }
#endif

#endif
