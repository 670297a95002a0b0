/* SPDX-License-Identifier: BSD-3-Clause */
/* Who reads the device: see session.c for the why.
 *
 *        seat                   long request, or the watchman
 *     RESTING ------> SEATED ---------------------------------> AWAY
 *        ^               |   <---------------------------------  |
 *        +---------------+        done, and nobody is seated     |
 *        |  not needed                                           |
 *        +-------------------------------------------------------+
 *                         done, and others are seated
 *
 * Every SEATS_WINDOW requests a worker looks back: where do the clients run that it served? The
 * workers whose homes these are should be seated; it rests itself if its own home is not among them;
 * and if no client is anywhere else, others that serve the same clients need not be seated. If it hardly
 * ever had to wait, because there was always a request pending, another worker is seated in any case.
 * (Waiting shows as context switches of the thread; where a client runs, in /proc.)
 *
 * A worker that is told to rest while it waits in read(2) learns of it with its next request.
 *
 * The watchman looks every few milliseconds, while there are requests, whether a seated worker is still at
 * the request that it was at before, and declares it AWAY. When there was nothing to do for some
 * rounds he sleeps until a worker wakes him.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "fs/fuse/session_i.h"
#include "pmem/log.h"

#define WATCH_NS 2000000        /* the watchman's round */
#define WATCH_IDLE_ROUNDS 25    /* without a request, after which he goes to sleep */

static void leave_seat_locked(struct worker *w);

/* ---- places ------------------------------------------------------------------------ */

int
seats_home(const struct session *s, unsigned n)
{
	if (s->ncpus < 2)
		return -1;
	n %= s->ncpus;
	for (int c = 0; c < CPU_SETSIZE; c++)
		if (CPU_ISSET(c, &s->cpus) && n-- == 0)
			return c;
	return -1;
}

static void
go_home(struct worker *w)
{
	cpu_set_t set;

	if (w->home < 0 || w->at_home || __atomic_load_n(&w->s->bound, __ATOMIC_RELAXED))
		return;
	CPU_ZERO(&set);
	CPU_SET(w->home, &set);
	w->at_home = pthread_setaffinity_np(pthread_self(), sizeof(set), &set) == 0;
}

static void
leave_home(struct worker *w)
{
	if (!w->at_home)
		return;
	pthread_setaffinity_np(pthread_self(), sizeof(w->s->cpus), &w->s->cpus);
	w->at_home = false;
}

/* Is the worker where it put itself? The administrator may have bound us to some other processor
 * (taskset -a): then we stay there, one at a time; or have set us free again: then we go home. */
static bool
still_at_home(struct worker *w)
{
	struct session *s = w->s;
	cpu_set_t set;
	bool bound;

	if (w->home < 0 || pthread_getaffinity_np(pthread_self(), sizeof(set), &set) != 0)
		return false;
	bound = CPU_COUNT(&set) == 1;
	if (bound && CPU_ISSET(w->home, &set))
		return true;
	w->at_home = false;
	mtx_lock(&s->lock);
	__atomic_store_n(&s->bound, bound, __ATOMIC_RELAXED);
	if (bound)
		leave_seat_locked(w);
	mtx_unlock(&s->lock);
	go_home(w);
	return false;
}

/* The processor that a client is on, -1: can't be told. */
static int
cpu_of(struct client *c)
{
	char text[1024], *p;
	ssize_t n;

	if (c->tid == 0)
		return -1;
	if (c->stat_fd < 0) {
		snprintf(text, sizeof(text), "/proc/%u/stat", c->tid);
		c->stat_fd = open(text, O_RDONLY | O_CLOEXEC);
	}
	if (c->stat_fd < 0)
		return -1;
	n = pread(c->stat_fd, text, sizeof(text) - 1, 0);
	if (n <= 0)
		return -1;
	text[n] = '\0';
	/* field 39, counted from the end of the command name, which is field 2 */
	p = strrchr(text, ')');
	for (int field = 2; p && field < 39; field++)
		p = strchr(p + 1, ' ');
	return p ? atoi(p + 1) : -1;
}

static void
forget_client(struct client *c)
{
	if (c->stat_fd >= 0)
		close(c->stat_fd);
	*c = (struct client){ .tid = 0, .stat_fd = -1 };
}

/* ---- seats --------------------------------------------------------------------------- */

void
seats_set_state_locked(struct worker *w, enum worker_state state)
{
	if (w->state == SEATED)
		w->s->nseated--;
	if (state == SEATED)
		w->s->nseated++;
	if (w->state == RESTING)
		pthread_cond_signal(&w->seated);
	__atomic_store_n(&w->state, state, __ATOMIC_RELAXED);
}

/* Unless it is the last one. */
static void
leave_seat_locked(struct worker *w)
{
	if (w->state == SEATED && w->s->nseated > 1)
		seats_set_state_locked(w, RESTING);
}

static bool
home_is_taken_locked(const struct session *s, int home)
{
	for (unsigned i = 0; i < s->nworkers; i++)
		if (s->workers[i].state == SEATED && s->workers[i].home == home)
			return true;
	return false;
}

/* Seat somebody else: best where nobody is, else anybody who rests, else a new worker. */
static void
seat_another_locked(struct session *s)
{
	struct worker *best = NULL;

	for (unsigned i = 0; i < s->nworkers; i++) {
		struct worker *w = s->workers + i;

		if (w->state != RESTING)
			continue;
		if (!best || !home_is_taken_locked(s, w->home))
			best = w;
		if (!home_is_taken_locked(s, w->home))
			break;
	}
	if (best)
		seats_set_state_locked(best, SEATED);
	else
		session_start_worker_locked(s, SEATED);
}

static void
come_back(struct worker *w)
{
	struct session *s = w->s;

	mtx_lock(&s->lock);
	if (w->state == AWAY)
		seats_set_state_locked(w, s->nseated == 0 ? SEATED : RESTING);
	mtx_unlock(&s->lock);
	go_home(w);
}

static long
context_switches(void)
{
	struct rusage u;

	getrusage(RUSAGE_THREAD, &u);
	return u.ru_nvcsw + u.ru_nivcsw;
}

static void
start_window(struct worker *w)
{
	w->in_window = w->changed = w->returned = 0;
	w->switches = context_switches();
}

static struct worker *
worker_of_locked(struct session *s, int home)
{
	for (unsigned i = 0; i < s->nworkers; i++)
		if (s->workers[i].home == home && s->workers[i].state != AWAY)
			return s->workers + i;
	return NULL;
}

/* Somebody should be seated on that processor. False: nobody can be had. */
static bool
seat_at_locked(struct session *s, int cpu)
{
	struct worker *w = worker_of_locked(s, cpu);

	if (!w) {
		/* homes are given out in order: maybe the next one's is that */
		if (s->nworkers < min_of(s->ncpus, SEATS_HOMES_MAX))
			session_start_worker_locked(s, RESTING);
		w = worker_of_locked(s, cpu);
	}
	if (w && w->state == RESTING)
		seats_set_state_locked(w, SEATED);
	return w != NULL;
}

/* The clients of the window are on these processors (n of them, different ones). */
static void
settle_locked(struct worker *w, const int *cpus, unsigned n)
{
	struct session *s = w->s;
	bool here = false, elsewhere = false;

	for (unsigned k = 0; k < n; k++) {
		if (cpus[k] == w->home)
			here = true;
		else
			elsewhere |= seat_at_locked(s, cpus[k]);
	}
	if (!here && elsewhere) {
		leave_seat_locked(w);
	} else if (!here && n == 1) {
		/* nobody has it for a home: this one moves there */
		w->home = cpus[0];
		w->at_home = false;
	}
	if (!here || elsewhere)
		return;
	for (unsigned i = 0; i < s->nworkers; i++) {
		struct worker *o = s->workers + i;
		uint32_t client = __atomic_load_n(&o->client, __ATOMIC_RELAXED);

		if (o != w && o->state == SEATED && (client == w->recent[0].tid || client == w->recent[1].tid))
			seats_set_state_locked(o, RESTING);
	}
}

static void
follow_clients(struct worker *w)
{
	bool several = w->returned >= SEATS_WINDOW / 8;
	int cpus[SEATS_RECENT];
	unsigned n = 0;

	for (unsigned k = 0; k < (several ? SEATS_RECENT : 1u); k++) {
		int cpu = cpu_of(w->recent + k);

		if (cpu < 0 || cpu >= CPU_SETSIZE || !CPU_ISSET(cpu, &w->s->cpus))
			return;
		if (n == 0 || cpus[0] != cpu)
			cpus[n++] = cpu;
	}
	mtx_lock(&w->s->lock);
	if (w->state == SEATED)
		settle_locked(w, cpus, n);
	mtx_unlock(&w->s->lock);
	go_home(w);
}

static void
look_back(struct worker *w)
{
	struct session *s = w->s;
	long waited = context_switches() - w->switches;

	if (!still_at_home(w)) {
		/* where we are is not ours to say */
	} else if (waited < SEATS_WINDOW / 4) {
		mtx_lock(&s->lock);
		if (!s->bound && s->nseated < min_of(s->ncpus, SEATS_HOMES_MAX) && s->nseated < s->max_workers)
			seat_another_locked(s);
		mtx_unlock(&s->lock);
	} else if (w->changed < SEATS_WINDOW / 8 || w->returned >= SEATS_WINDOW / 8) {
		follow_clients(w);
	}
	start_window(w);
}

/* ---- the watchman ------------------------------------------------------------------------ */

/* True if anything is going on. */
static bool
watch_locked(struct session *s)
{
	bool busy = false;

	for (unsigned i = 0; i < s->nworkers; i++) {
		struct worker *w = s->workers + i;
		uint64_t turn = __atomic_load_n(&w->turn, __ATOMIC_SEQ_CST);

		busy |= turn != w->seen_turn || (turn & 1);
		if (w->state == SEATED && (turn & 1) && turn == w->seen_turn)
			seats_set_state_locked(w, AWAY);
		w->seen_turn = turn;
	}
	if (s->nseated == 0)
		seat_another_locked(s);
	return busy;
}

static void *
watchman_main(void *arg)
{
	struct session *s = arg;
	struct timespec until;
	unsigned idle = 0;

	pthread_setname_np(pthread_self(), "pinfs-watch");
	mtx_lock(&s->lock);
	while (!s->stop) {
		idle = watch_locked(s) ? 0 : idle + 1;
		if (idle < WATCH_IDLE_ROUNDS) {
			mtx_unlock(&s->lock);
			clock_gettime(CLOCK_MONOTONIC, &until);
			until.tv_nsec += WATCH_NS;
			if (until.tv_nsec >= 1000000000) {
				until.tv_nsec -= 1000000000;
				until.tv_sec++;
			}
			clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
			mtx_lock(&s->lock);
			continue;
		}
		/* A worker counts its turn first and looks at this then: one of us sees the other. */
		__atomic_store_n(&s->watchman_asleep, true, __ATOMIC_SEQ_CST);
		while (__atomic_load_n(&s->watchman_asleep, __ATOMIC_SEQ_CST) && !s->stop && !watch_locked(s))
			mtx_cond_wait(&s->wake_watchman, &s->lock);
		__atomic_store_n(&s->watchman_asleep, false, __ATOMIC_SEQ_CST);
		idle = 0;
	}
	mtx_unlock(&s->lock);
	return NULL;
}

/* ---- for the worker ------------------------------------------------------------------------ */

void
seats_first(struct worker *w)
{
	go_home(w);
	start_window(w);
}

void
seats_last(struct worker *w)
{
	for (unsigned k = 0; k < SEATS_RECENT; k++)
		forget_client(w->recent + k);
}

void
seats_rest(struct worker *w)
{
	struct session *s = w->s;

	mtx_lock(&s->lock);
	while (w->state == RESTING && !s->stop)
		mtx_cond_wait(&w->seated, &s->lock);
	mtx_unlock(&s->lock);
	start_window(w);
}

void
seats_long(struct worker *w)
{
	struct session *s = w->s;

	mtx_lock(&s->lock);
	if (w->state == SEATED) {
		seats_set_state_locked(w, AWAY);
		if (s->nseated == 0)
			seat_another_locked(s);
	}
	mtx_unlock(&s->lock);
	leave_home(w);
}

void
seats_turn_begins(struct worker *w)
{
	struct session *s = w->s;

	__atomic_add_fetch(&w->turn, 1, __ATOMIC_SEQ_CST);
	if (!__atomic_load_n(&s->watchman_asleep, __ATOMIC_SEQ_CST))
		return;
	mtx_lock(&s->lock);
	__atomic_store_n(&s->watchman_asleep, false, __ATOMIC_SEQ_CST);
	pthread_cond_signal(&s->wake_watchman);
	mtx_unlock(&s->lock);
}

static void
count_request(struct worker *w, uint32_t tid)
{
	struct client *c = w->recent, last;

	w->in_window++;
	if (tid == 0 || tid == c[0].tid) /* 0: nobody waits for this one */
		return;
	w->changed++;
	last = c[SEATS_RECENT - 1];
	if (last.tid == tid) {
		w->returned++;
	} else {
		forget_client(&last);
		last.tid = tid;
	}
	memmove(c + 1, c, (SEATS_RECENT - 1) * sizeof(*c));
	c[0] = last;
	__atomic_store_n(&w->client, tid, __ATOMIC_RELAXED);
}

void
seats_turn_ends(struct worker *w, uint32_t tid)
{
	__atomic_add_fetch(&w->turn, 1, __ATOMIC_RELEASE);
	if (__atomic_load_n(&w->state, __ATOMIC_RELAXED) == AWAY)
		come_back(w);
	count_request(w, tid);
	if (w->in_window >= SEATS_WINDOW)
		look_back(w);
}

int
seats_watch_start(struct session *s)
{
	int r = pthread_create(&s->watchman, NULL, watchman_main, s);

	if (r)
		pinfs_log(LOG_WARNING, "can't start a thread: %s", strerror(r));
	s->watching = r == 0;
	return -r;
}

/* s->stop is set. */
void
seats_watch_stop(struct session *s)
{
	if (!s->watching)
		return;
	mtx_lock(&s->lock);
	pthread_cond_signal(&s->wake_watchman);
	mtx_unlock(&s->lock);
	pthread_join(s->watchman, NULL);
	s->watching = false;
}
