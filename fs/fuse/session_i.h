/* SPDX-License-Identifier: BSD-3-Clause */
/* What session.c and seats.c share: workers, and who of them is seated.
 */
#ifndef PINFS_FS_FUSE_SESSION_I_H
#define PINFS_FS_FUSE_SESSION_I_H

#include <sched.h>

#include "fs/fuse/front_i.h"

#define SEATS_WINDOW 64         /* requests between two looks back */
#define SEATS_HOMES_MAX 16u     /* workers with a home of their own */
#define POLLS_MAX 16            /* what is more goes to the notifier */
#define SEATS_RECENT 2          /* clients that a worker remembers */

enum worker_state { SEATED, RESTING, AWAY };

/* A thread that sends requests. */
struct client {
	uint32_t tid;               /* 0: none */
	int stat_fd;                /* /proc/<tid>/stat, -1: not open */
};

struct worker {
	struct session *s;
	pthread_t thread;
	int home;                   /* processor, -1: none */
	enum worker_state state;    /* P: s->lock to change; its own thread reads it atomically */
	pthread_cond_t seated;      /* its state is not RESTING any more, or the session ends */
	uint64_t turn;              /* atomic; odd while a request is executed */
	uint64_t seen_turn;         /* the watchman's */
	uint32_t client;            /* atomic; thread that sent the newest request */

	/* the worker's own */
	uint64_t polls[POLLS_MAX];  /* handles of files that were told of an event by this request */
	unsigned npolls;
	bool at_home;               /* bound to it */
	unsigned in_window;         /* requests */
	unsigned changed;           /* of these from another client than the one before */
	unsigned returned;          /* and this one had been there before, but not just now */
	struct client recent[SEATS_RECENT]; /* the newest first */
	long switches;              /* at the beginning of the window */
	bool stream;                /* the newest request was a large write */
	pblk_t run;                 /* blocks of the pool for the next one, PBLK_NONE: none */
	uint8_t *buf;               /* BUFFER_BYTES */
} __attribute__((aligned(128)));

struct session {
	struct front *front;
	int fd, ended_fd;
	bool debug, deny_others;
	uid_t owner;
	cpu_set_t cpus;             /* that we were allowed when we began */
	unsigned ncpus;
	unsigned max_workers;

	struct mtx lock;            /* LOCK_LEAF */
	unsigned nworkers;          /* P: lock; started, never fewer again */
	unsigned nseated;           /* P: lock */
	bool bound;                 /* atomic; to a processor that we did not choose */
	bool stop;                  /* atomic */
	int error;                  /* P: lock */

	pthread_t watchman;
	bool watching;              /* there is one */
	bool watchman_asleep;       /* atomic */
	uint64_t held_blocks;       /* atomic; of the pool, in workers' hands */
	pthread_cond_t wake_watchman; /* P: lock */

	struct worker *workers;     /* max_workers of them */
};


/* ---- session.c ---- */

/* A new worker, if there may be one more. */
int session_start_worker_locked(struct session *s, enum worker_state state);

/* ---- seats.c: called by a worker for itself, without the lock unless the name says so ---- */

void seats_set_state_locked(struct worker *w, enum worker_state state);
void seats_first(struct worker *w);
/* Around the execution of a request: for the watchman, and to look back now and then. */
void seats_turn_begins(struct worker *w);
void seats_turn_ends(struct worker *w, uint32_t tid);
/* It is RESTING: wait until it is not, or the session ends. */
void seats_rest(struct worker *w);
/* Something long begins. It ends with the turn. */
void seats_long(struct worker *w);
void seats_last(struct worker *w);
/* The processor that is the home of the n'th worker, -1: none. */
int seats_home(const struct session *s, unsigned n);
int seats_watch_start(struct session *s);
void seats_watch_stop(struct session *s);

#endif
