/* SPDX-License-Identifier: BSD-3-Clause */
/* The lock-order validator, and what both builds share.
 *
 * Every thread keeps a list of the locks it holds, each with the backtrace of
 * where it was taken. A lock may be taken only if it comes behind all of them:
 * of a higher rank, or of the same rank with a higher key where the rank nests.
 * As all threads obey one order, no cycle of waiting threads can come about;
 * so a single thread that breaks it in a test is enough to be caught, and it needs
 * no second thread that happens to be at the right place.
 *
 * The check comes before the lock is waited for, so a thread that would deadlock
 * with itself is told, too. A trylock never waits and may go against the order;
 * what is taken after it may not.
 */
#include "pmem/lock.h"

static void
native_rwlock_init(pthread_rwlock_t *l)
{
	pthread_rwlockattr_t attr;

	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(l, &attr);
	pthread_rwlockattr_destroy(&attr);
}

#ifndef PINFS_DEBUG

void
mtx_init(struct mtx *m, enum lock_rank rank, uint64_t key)
{
	(void)rank, (void)key;
	pthread_mutex_init(&m->m, NULL);
}

void
mtx_destroy(struct mtx *m)
{
	pthread_mutex_destroy(&m->m);
}

void
rwl_init(struct rwl *l, enum lock_rank rank, uint64_t key)
{
	(void)rank, (void)key;
	native_rwlock_init(&l->l);
}

void
rwl_destroy(struct rwl *l)
{
	pthread_rwlock_destroy(&l->l);
}

#else

#include <execinfo.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pmem/types.h"

#define HELD_MAX 32
#define FRAMES_MAX 24

static const struct {
	const char *name;
	bool nests; /* by ascending key */
} ranks[LOCK_RANKS] = {
	[LOCK_COMMIT] = { "commit", false },
	[LOCK_WRITEBACK] = { "writeback", true },
	[LOCK_GATE] = { "gate", false },
	[LOCK_RENAME] = { "rename", false },
	[LOCK_DIR] = { "dir", true },
	[LOCK_IO] = { "io", true },
	[LOCK_LAYOUT] = { "layout", true },
	[LOCK_PINS] = { "pins", false },
	[LOCK_ATTR] = { "attr", false },
	[LOCK_ICACHE] = { "icache", false },
	[LOCK_REFCOUNT] = { "refcount", false },
	[LOCK_TREE] = { "tree", false },
	[LOCK_ALLOC] = { "alloc", false },
	[LOCK_LEAF] = { "leaf", false },
};

struct held {
	const void *lock;
	enum lock_rank rank;
	uint64_t key;
	const char *how;
	int nframes;
	void *frames[FRAMES_MAX];
};

static __thread struct held held[HELD_MAX];
static __thread unsigned nheld;

/* Async-signal-safe output only: malloc's own locks may be in a bad way. */
static void
say(const char *fmt, ...)
{
	char text[256];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n > 0 && write(STDERR_FILENO, text, min_of((size_t)n, sizeof(text) - 1)) < 0)
		return;
}

static void
say_lock(const char *what, const void *lock, enum lock_rank rank, uint64_t key, const char *how)
{
	say("%s %s lock %p (rank %d, key %llu) %s\n", what, ranks[rank].name, lock, (int)rank,
	    (unsigned long long)key, how);
}

static _Noreturn void
say_here_and_abort(void)
{
	void *frames[FRAMES_MAX];
	int n = backtrace(frames, FRAMES_MAX);

	backtrace_symbols_fd(frames, n, STDERR_FILENO);
	abort();
}

static _Noreturn void
violation(const char *why, const struct held *h, const void *lock, enum lock_rank rank, uint64_t key,
    const char *how)
{
	say("lock order: %s\n", why);
	if (h) {
		say_lock("holding", h->lock, h->rank, h->key, h->how);
		backtrace_symbols_fd(h->frames, h->nframes, STDERR_FILENO);
	}
	say_lock("while at", lock, rank, key, how);
	say_here_and_abort();
}

static struct held *
find_held(const void *lock)
{
	for (unsigned i = nheld; i-- > 0;)
		if (held[i].lock == lock)
			return &held[i];
	return NULL;
}

static bool
comes_behind(const struct held *h, enum lock_rank rank, uint64_t key)
{
	if (h->rank != rank)
		return h->rank < rank;
	return ranks[rank].nests && h->key < key;
}

/* except: a lock that is held now but won't be when this one is waited for. */
static void
check_order(const void *lock, enum lock_rank rank, uint64_t key, const char *how, const void *except)
{
	for (unsigned i = 0; i < nheld; i++) {
		if (held[i].lock == except)
			continue;
		if (held[i].lock == lock)
			violation("taken twice by one thread", &held[i], lock, rank, key, how);
		if (!comes_behind(&held[i], rank, key))
			violation("against the order", &held[i], lock, rank, key, how);
	}
}

static void
note_taken(const void *lock, enum lock_rank rank, uint64_t key, const char *how)
{
	struct held *h;

	if (nheld == HELD_MAX)
		violation("too many locks held", &held[nheld - 1], lock, rank, key, how);
	h = &held[nheld++];
	h->lock = lock;
	h->rank = rank;
	h->key = key;
	h->how = how;
	h->nframes = backtrace(h->frames, FRAMES_MAX);
}

static void
note_dropped(const void *lock, enum lock_rank rank, uint64_t key)
{
	struct held *h = find_held(lock);

	if (!h)
		violation("unlocked by a thread that does not hold it", nheld ? &held[nheld - 1] : NULL, lock,
		    rank, key, "unlock");
	memmove(h, h + 1, (size_t)(&held[nheld] - (h + 1)) * sizeof(*h));
	nheld--;
}

static void
check_native(int error, const char *what, const void *lock, enum lock_rank rank, uint64_t key)
{
	if (error)
		violation(strerror(error), NULL, lock, rank, key, what);
}

static void
check_rank(const void *lock, enum lock_rank rank)
{
	if (rank < LOCK_COMMIT || rank >= LOCK_RANKS) {
		say("lock order: lock %p is initialised with rank %d\n", lock, (int)rank);
		say_here_and_abort();
	}
}

void
mtx_init(struct mtx *m, enum lock_rank rank, uint64_t key)
{
	check_rank(m, rank);
	m->rank = rank;
	m->key = key;
	pthread_mutex_init(&m->m, NULL);
}

void
mtx_destroy(struct mtx *m)
{
	struct held *h = find_held(m);

	if (h)
		violation("destroyed while held", h, m, m->rank, m->key, "destroy");
	check_native(pthread_mutex_destroy(&m->m), "destroy", m, m->rank, m->key);
}

void
mtx_lock(struct mtx *m)
{
	check_order(m, m->rank, m->key, "lock", NULL);
	check_native(pthread_mutex_lock(&m->m), "lock", m, m->rank, m->key);
	note_taken(m, m->rank, m->key, "lock");
}

bool
mtx_trylock(struct mtx *m)
{
	struct held *h = find_held(m);

	if (h)
		violation("taken twice by one thread", h, m, m->rank, m->key, "trylock");
	if (pthread_mutex_trylock(&m->m) != 0)
		return false;
	note_taken(m, m->rank, m->key, "trylock");
	return true;
}

void
mtx_unlock(struct mtx *m)
{
	note_dropped(m, m->rank, m->key);
	check_native(pthread_mutex_unlock(&m->m), "unlock", m, m->rank, m->key);
}

/* The wait ends by taking the mutex again: that has to be in order with whatever
 * else is held meanwhile. */
void
mtx_cond_wait(pthread_cond_t *c, struct mtx *m)
{
	if (!find_held(m))
		violation("waiting on a condition without its mutex", NULL, m, m->rank, m->key, "wait");
	check_order(m, m->rank, m->key, "wait", m);
	note_dropped(m, m->rank, m->key);
	check_native(pthread_cond_wait(c, &m->m), "wait", m, m->rank, m->key);
	note_taken(m, m->rank, m->key, "wait");
}

void
rwl_init(struct rwl *l, enum lock_rank rank, uint64_t key)
{
	check_rank(l, rank);
	l->rank = rank;
	l->key = key;
	native_rwlock_init(&l->l);
}

void
rwl_destroy(struct rwl *l)
{
	struct held *h = find_held(l);

	if (h)
		violation("destroyed while held", h, l, l->rank, l->key, "destroy");
	check_native(pthread_rwlock_destroy(&l->l), "destroy", l, l->rank, l->key);
}

void
rwl_rdlock(struct rwl *l)
{
	check_order(l, l->rank, l->key, "shared", NULL);
	check_native(pthread_rwlock_rdlock(&l->l), "shared", l, l->rank, l->key);
	note_taken(l, l->rank, l->key, "shared");
}

void
rwl_wrlock(struct rwl *l)
{
	check_order(l, l->rank, l->key, "exclusive", NULL);
	check_native(pthread_rwlock_wrlock(&l->l), "exclusive", l, l->rank, l->key);
	note_taken(l, l->rank, l->key, "exclusive");
}

void
rwl_unlock(struct rwl *l)
{
	note_dropped(l, l->rank, l->key);
	check_native(pthread_rwlock_unlock(&l->l), "unlock", l, l->rank, l->key);
}

void
lock_assert_none_held(void)
{
	if (nheld == 0)
		return;
	say("lock order: a lock is held where none may be\n");
	for (unsigned i = 0; i < nheld; i++) {
		say_lock("holding", held[i].lock, held[i].rank, held[i].key, held[i].how);
		backtrace_symbols_fd(held[i].frames, held[i].nframes, STDERR_FILENO);
	}
	say_here_and_abort();
}

#endif
