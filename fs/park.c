/* SPDX-License-Identifier: BSD-3-Clause */
/* A parked continuation is in one of three states:
 *
 *            park                       wake, deadline, cancel, shutdown
 *     IDLE ---------> WAITING ------------------------------------------> READY
 *      ^  \               |                                               ^ |
 *      |   \              | withdraw                                      | |
 *      |    \-------------+--- park, when cancelled before or shut down --/ |
 *      +------------------+<------------------------------------------------+
 *                                              run
 *
 * WAITING ones are on a list (for the shutdown), and in a tree by deadline if they have one. READY ones are in
 * one queue; whoever calls park_run() takes the first, makes it IDLE, and calls run() with the lot's lock dropped.
 * The reason is decided with the step to READY, so there is exactly one.
 *
 * The lot's thread sleeps in read(2) of a timerfd, which is set to the earliest deadline, or to now if it
 * has to run what a thread woke that is no runner.
 */
#include "fs/park.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "pmem/lock.h"
#include "pmem/log.h"

enum park_state { PARK_IDLE, PARK_WAITING, PARK_READY };

static int
parked_cmp(const struct parked *a, const struct parked *b)
{
	if (a->deadline_ns != b->deadline_ns)
		return a->deadline_ns < b->deadline_ns ? -1 : 1;
	return a->seq < b->seq ? -1 : a->seq > b->seq;
}

RB_HEAD(park_tree, parked);
RB_GENERATE_INTERNAL(park_tree, parked, timed, parked_cmp, static __attribute__((unused)))

struct park_lot {
	struct mtx lock;             /* LOCK_LEAF */
	struct park_tree timed;      /* P: lock */
	struct cds_list_head waiting; /* P: lock */
	struct cds_list_head ready;  /* P: lock */
	uint64_t nready;             /* atomic; changed under lock */
	uint64_t nwaiting;           /* atomic; changed under lock */
	uint64_t seq;                /* P: lock */
	int64_t armed_ns;            /* P: lock; what the timer is set to, PARK_FOREVER: not at all */
	bool closed;                 /* P: lock */
	bool stop;                   /* P: lock; the thread has to end */
	int timer_fd;
	pthread_t thread;
	bool running;                /* P: who opens and closes; there is a thread */
};

static _Thread_local bool is_runner;

int64_t
park_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int64_t
park_after_ms(unsigned ms)
{
	return ms ? park_now() + (int64_t)ms * 1000000 : PARK_FOREVER;
}

static void
arm_locked(struct park_lot *lot, int64_t when_ns)
{
	struct itimerspec it = { .it_value = { .tv_nsec = 1 } }; /* the distant past: at once */

	if (when_ns >= lot->armed_ns)
		return;
	if (when_ns > 0)
		it.it_value = (struct timespec){ when_ns / 1000000000, when_ns % 1000000000 };
	if (it.it_value.tv_sec == 0 && it.it_value.tv_nsec == 0)
		it.it_value.tv_nsec = 1;
	lot->armed_ns = when_ns;
	timerfd_settime(lot->timer_fd, TFD_TIMER_ABSTIME, &it, NULL);
}

static void
ready_locked(struct park_lot *lot, struct parked *p, enum park_reason why)
{
	if (p->state == PARK_WAITING) {
		cds_list_del(&p->link);
		if (p->deadline_ns != PARK_FOREVER)
			RB_REMOVE(park_tree, &lot->timed, p);
		__atomic_sub_fetch(&lot->nwaiting, 1, __ATOMIC_RELAXED);
	}
	p->state = PARK_READY;
	p->why = (uint8_t)why;
	cds_list_add_tail(&p->link, &lot->ready);
	__atomic_add_fetch(&lot->nready, 1, __ATOMIC_RELEASE);
	if (!is_runner && lot->running)
		arm_locked(lot, 0);
}

void
park_init(struct parked *p, struct park_lot *lot, void (*run)(struct parked *p, enum park_reason why))
{
	*p = (struct parked){ .lot = lot, .run = run, .state = PARK_IDLE };
}

void
park(struct parked *p, int64_t deadline_ns)
{
	struct park_lot *lot = p->lot;

	mtx_lock(&lot->lock);
	p->deadline_ns = deadline_ns;
	if (lot->closed || p->cancelled) {
		ready_locked(lot, p, lot->closed ? PARK_SHUTDOWN : PARK_CANCELLED);
	} else {
		p->state = PARK_WAITING;
		cds_list_add_tail(&p->link, &lot->waiting);
		__atomic_add_fetch(&lot->nwaiting, 1, __ATOMIC_RELAXED);
		if (deadline_ns != PARK_FOREVER) {
			p->seq = ++lot->seq;
			RB_INSERT(park_tree, &lot->timed, p);
			arm_locked(lot, deadline_ns);
		}
	}
	mtx_unlock(&lot->lock);
}

bool
park_wake(struct parked *p)
{
	struct park_lot *lot = p->lot;
	bool waits;

	mtx_lock(&lot->lock);
	waits = p->state == PARK_WAITING;
	if (waits)
		ready_locked(lot, p, PARK_WOKEN);
	mtx_unlock(&lot->lock);
	return waits;
}

bool
park_cancel(struct parked *p)
{
	struct park_lot *lot = p->lot;
	bool waits;

	mtx_lock(&lot->lock);
	p->cancelled = true;
	waits = p->state == PARK_WAITING;
	if (waits)
		ready_locked(lot, p, PARK_CANCELLED);
	mtx_unlock(&lot->lock);
	return waits;
}

bool
park_withdraw(struct parked *p)
{
	struct park_lot *lot = p->lot;
	bool waits;

	mtx_lock(&lot->lock);
	waits = p->state == PARK_WAITING;
	if (waits) {
		cds_list_del(&p->link);
		if (p->deadline_ns != PARK_FOREVER)
			RB_REMOVE(park_tree, &lot->timed, p);
		__atomic_sub_fetch(&lot->nwaiting, 1, __ATOMIC_RELAXED);
		p->state = PARK_IDLE;
	}
	mtx_unlock(&lot->lock);
	return waits;
}

void
park_runner(bool is)
{
	is_runner = is;
}

uint64_t
park_ready(const struct park_lot *lot)
{
	return __atomic_load_n(&lot->nready, __ATOMIC_ACQUIRE);
}

uint64_t
park_count(const struct park_lot *lot)
{
	return __atomic_load_n(&lot->nwaiting, __ATOMIC_RELAXED);
}

void
park_run(struct park_lot *lot)
{
	struct parked *p;
	enum park_reason why;

	lock_assert_none_held();
	mtx_lock(&lot->lock);
	while (!cds_list_empty(&lot->ready)) {
		p = cds_list_first_entry(&lot->ready, struct parked, link);
		cds_list_del(&p->link);
		__atomic_sub_fetch(&lot->nready, 1, __ATOMIC_RELAXED);
		p->state = PARK_IDLE;
		why = (enum park_reason)p->why;
		mtx_unlock(&lot->lock);
		p->run(p, why); /* it may be gone after that */
		lock_assert_none_held();
		mtx_lock(&lot->lock);
	}
	mtx_unlock(&lot->lock);
}

/* ---- the lot's thread -------------------------------------------------------------------- */

static void
expire_locked(struct park_lot *lot)
{
	int64_t now = park_now();
	struct parked *p;

	while ((p = RB_MIN(park_tree, &lot->timed)) != NULL && p->deadline_ns <= now)
		ready_locked(lot, p, PARK_DEADLINE);
	lot->armed_ns = PARK_FOREVER;
	if (p)
		arm_locked(lot, p->deadline_ns);
}

static void *
lot_main(void *arg)
{
	struct park_lot *lot = arg;
	uint64_t expirations;
	bool stop;

	pthread_setname_np(pthread_self(), "pinfs-park");
	park_runner(true);
	do {
		/* fails when interrupted only, and then there is no harm in looking */
		if (read(lot->timer_fd, &expirations, sizeof(expirations)) < 0 && errno != EINTR)
			pinfs_log(LOG_ERR, "timer: %s", strerror(errno));
		mtx_lock(&lot->lock);
		expire_locked(lot);
		stop = lot->stop;
		mtx_unlock(&lot->lock);
		park_run(lot);
	} while (!stop);
	return NULL;
}

int
park_lot_new(struct park_lot **out)
{
	struct park_lot *lot = calloc(1, sizeof(*lot));
	int r;

	if (!lot)
		return -ENOMEM;
	RB_INIT(&lot->timed);
	CDS_INIT_LIST_HEAD(&lot->waiting);
	CDS_INIT_LIST_HEAD(&lot->ready);
	lot->armed_ns = PARK_FOREVER;
	lot->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	if (lot->timer_fd < 0) {
		r = -errno;
		free(lot);
		return r;
	}
	mtx_init(&lot->lock, LOCK_LEAF, 0);
	lot->running = true; /* before the thread can see it */
	r = pthread_create(&lot->thread, NULL, lot_main, lot);
	if (r) {
		lot->running = false;
		park_lot_free(lot);
		return -r;
	}
	*out = lot;
	return 0;
}

void
park_close(struct park_lot *lot)
{
	struct parked *p, *next;

	mtx_lock(&lot->lock);
	lot->closed = lot->stop = true;
	cds_list_for_each_entry_safe(p, next, &lot->waiting, link)
		ready_locked(lot, p, PARK_SHUTDOWN);
	if (lot->running)
		arm_locked(lot, 0);
	mtx_unlock(&lot->lock);
	if (lot->running)
		pthread_join(lot->thread, NULL);
	mtx_lock(&lot->lock);
	lot->running = false;
	mtx_unlock(&lot->lock);
	park_run(lot);
}

void
park_lot_free(struct park_lot *lot)
{
	if (!lot)
		return;
	park_close(lot);
	close(lot->timer_fd);
	mtx_destroy(&lot->lock);
	free(lot);
}
