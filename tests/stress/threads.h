/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the many-threads test share: threads.c says what it does. */
#ifndef PINFS_TESTS_THREADS_H
#define PINFS_TESTS_THREADS_H

#include <semaphore.h>
#include <stdatomic.h>

#include "fs/fs.h"
#include "fs/layout.h"
#include "fs/lease.h"
#include "fs/pin.h"
#include "tests/stress/record.h"

enum {
	THREADS_MAX = 32,
	REGION = 105,        /* records of a thread in the file that all share: blocks at its ends are its neighbours', too */
	OWN = 256,           /* records at most of a thread's own files */
	OWN_FILES = 2,
	AREAS = OWN_FILES + 1,
	COMMON_FILES = 4,
	COMMON = 512,        /* records at most that a common file is made to have, but for races */
	NAMES = 40,          /* of a thread's own */
	HELD = 6,            /* pins, and leases, that a thread keeps for a while */
};

/* A run of records that only one thread changes, and what is in each. */
struct area {
	struct file *f;
	uint64_t base;       /* records before it in the file */
	unsigned n;          /* how many it has; of a file of its own: all */
	bool own;            /* the whole of a file */
	uint64_t seq[OWN];   /* what was written; 0: nothing */
};

struct held {
	struct file *f;      /* NULL: none */
	uint64_t id;
	uint64_t pool_off;   /* of a write pin: its first extent */
	uint64_t len;
	bool write;
};

struct worker {
	unsigned me;
	uint64_t seed;
	uint64_t sequence;
	struct area area[AREAS]; /* 0: of the shared file */
	struct file *scratch;
	struct file *common[COMMON_FILES];
	struct held pin[HELD], lease[HELD];
	uint64_t name[NAMES];    /* its inode number; 0: it does not exist */
	bool dir[NAMES];
	uint64_t value[NAMES];   /* of its xattr; 0: none */
	_Atomic uint64_t stores; /* odd while it stores to its part of the shared file through a mapping */
	_Atomic uint64_t done, refused;
	bool runner;
	pthread_t thread;
};

struct test {
	struct fs *fs;
	unsigned threads;
	struct worker worker[THREADS_MAX];
	_Atomic bool stop;
};
extern struct test test;
extern const struct fs_cred threads_cred;

_Noreturn __attribute__((format(printf, 1, 2))) void die(const char *fmt, ...);
/* Dies if r is an error. */
void must(int64_t r, const char *what);
/* The same for a count, if it is not len. */
void must_all(int64_t r, size_t len, const char *what);
/* r is a success, or one of the errors that a race may give (up to a 0). */
#define may(w, r, what, ...) may_be((w), (r), (what), (const int[]){ __VA_ARGS__, 0 })
bool may_be(struct worker *w, int64_t r, const char *what, const int *errors);

/* An open file of that name in the root directory; made if it does not exist. */
struct file *open_file(const char *name);
struct inode *directory(const char *name); /* with a reference; made if it does not exist */

/* Before an operation on bytes [off, off+len) that changes a layout: may wait for leases. True: go on, then
 * layout_end(&ask->op). len 0: all from off on. */
struct ask {
	struct layout_op op;
	sem_t over;          /* it has waited */
	int r;
};
bool layout_ask(struct worker *w, struct ask *ask, struct file *f, enum layout_kind kind, uint64_t off, uint64_t len);
/* Where byte off of a pinned range lies. */
void *mapped(struct file *f, uint64_t off);
/* Store through a mapping, as another process would: not seen by the thread sanitizer. */
void store_words(void *to, const void *from, size_t len);

/* threads_areas.c: what only one thread changes, checked exactly */
void area_step(struct worker *w);
void area_check(struct area *a, unsigned me, unsigned first, unsigned n);
void shared_snapshot(struct worker *w);

/* threads_common.c: what all change, and names */
void common_step(struct worker *w);
void common_look(struct file *f);
void names_step(struct worker *w);
void names_check(struct worker *w);
void release_held(struct worker *w);

static inline unsigned
rnd(struct worker *w, unsigned n)
{
	return random_below(&w->seed, n);
}

#endif
