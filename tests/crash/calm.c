/* SPDX-License-Identifier: BSD-3-Clause */
/* What would make two runs of one sequence differ, or wait, replaced for the whole program: a definition in
 * the program comes before that of a library.
 *
 * The time of day moves on with each look at it. It begins in the future, so that whoever waits until a
 * moment of it is woken by what he waits for. Random numbers are those of a fixed generator. liburcu frees
 * what was put ten milliseconds later, and makes an unmount wait for it; here it is freed at the unmount, when
 * nobody can be reading any more.
 */
#include <urcu.h> /* first: it gives call_rcu the name that the library has for it */

#include <errno.h>
#include <pthread.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "tests/crash/calm.h"

#define YEAR_2100 4102444800

static uint64_t ticks, chance;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct rcu_head *put;

void
calm_restart(void)
{
	__atomic_store_n(&ticks, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&chance, 1, __ATOMIC_RELAXED);
}

uint64_t
calm_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

int
clock_gettime(clockid_t id, struct timespec *ts)
{
	uint64_t t;

	if (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE)
		return (int)syscall(SYS_clock_gettime, id, ts);
	t = __atomic_add_fetch(&ticks, 1, __ATOMIC_RELAXED);
	ts->tv_sec = YEAR_2100 + (time_t)(t / 1000000);
	ts->tv_nsec = (long)(t % 1000000) * 1000;
	return 0;
}

ssize_t
getrandom(void *buf, size_t len, unsigned flags)
{
	uint8_t *to = buf;

	(void)flags;
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < len; i++)
		to[i] = (uint8_t)calm_random(&chance);
	pthread_mutex_unlock(&lock);
	return (ssize_t)len;
}

void
call_rcu(struct rcu_head *head, void (*fn)(struct rcu_head *))
{
	pthread_mutex_lock(&lock);
	head->func = fn;
	head->next.next = (struct cds_wfcq_node *)put;
	put = head;
	pthread_mutex_unlock(&lock);
}

void
rcu_barrier(void)
{
	struct rcu_head *head, *next;

	pthread_mutex_lock(&lock);
	head = put;
	put = NULL;
	pthread_mutex_unlock(&lock);
	for (; head; head = next) {
		next = (struct rcu_head *)head->next.next;
		head->func(head);
	}
}
