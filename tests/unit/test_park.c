/* SPDX-License-Identifier: BSD-3-Clause */
/* Parking: one end for each wait, whatever comes at once. */
#include "fs/park.h"

#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "pmem/types.h"
#include "tests/unit/unit.h"

#define MANY 1000

struct wait {
	struct parked park;
	unsigned id;
	unsigned ends;           /* atomic */
	enum park_reason why;
	struct order *order;
	unsigned again;          /* park so many times more */
};

/* Who ended, in this order. */
struct order {
	pthread_mutex_t lock;
	pthread_cond_t more;
	unsigned id[2 * MANY];
	unsigned n;
};

static void
order_init(struct order *o)
{
	memset(o, 0, sizeof(*o));
	pthread_mutex_init(&o->lock, NULL);
	pthread_cond_init(&o->more, NULL);
}

static void
ended(struct parked *p, enum park_reason why)
{
	struct wait *w = caa_container_of(p, struct wait, park);
	struct order *o = w->order;

	w->why = why;
	__atomic_add_fetch(&w->ends, 1, __ATOMIC_RELAXED);
	if (w->again > 0) {
		w->again--;
		park(p, PARK_FOREVER);
		return;
	}
	pthread_mutex_lock(&o->lock);
	o->id[o->n++] = w->id;
	pthread_cond_signal(&o->more);
	pthread_mutex_unlock(&o->lock);
}

static void
wait_for(struct order *o, unsigned n)
{
	pthread_mutex_lock(&o->lock);
	while (o->n < n)
		pthread_cond_wait(&o->more, &o->lock);
	pthread_mutex_unlock(&o->lock);
}

static struct park_lot *
new_lot(void)
{
	struct park_lot *lot;

	ck_assert_ok(park_lot_new(&lot));
	return lot;
}

static void
wait_init(struct wait *w, struct park_lot *lot, struct order *o, unsigned id)
{
	*w = (struct wait){ .id = id, .order = o };
	park_init(&w->park, lot, ended);
}

START_TEST(test_wake)
{
	struct park_lot *lot = new_lot();
	struct wait w[3];
	struct order o;

	order_init(&o);
	for (unsigned k = 0; k < 3; k++) {
		wait_init(&w[k], lot, &o, k);
		ck_assert(!park_wake(&w[k].park));
		park(&w[k].park, PARK_FOREVER);
	}
	ck_assert_uint_eq(park_count(lot), 3);

	/* A runner runs what it woke, when it says so and not before, in its order. */
	park_runner(true);
	ck_assert(park_wake(&w[2].park));
	ck_assert(park_wake(&w[0].park));
	ck_assert(!park_wake(&w[0].park));
	ck_assert(!park_cancel(&w[2].park));
	ck_assert(park_ready(lot));
	ck_assert_uint_eq(park_count(lot), 1);
	ck_assert_uint_eq(o.n, 0);
	park_run(lot);
	ck_assert_uint_eq(o.n, 2);
	ck_assert_uint_eq(o.id[0], 2);
	ck_assert_uint_eq(o.id[1], 0);
	ck_assert_int_eq(w[0].why, PARK_WOKEN);
	ck_assert_int_eq(w[2].why, PARK_WOKEN);
	ck_assert(!park_ready(lot));
	park_runner(false);

	/* Somebody else leaves it to the lot. */
	ck_assert(park_wake(&w[1].park));
	wait_for(&o, 3);
	ck_assert_uint_eq(w[1].ends, 1);
	park_lot_free(lot);
}
END_TEST

START_TEST(test_deadlines)
{
	struct park_lot *lot = new_lot();
	static const unsigned ms[] = { 60, 20, 40, 20 };
	static const unsigned order[] = { 1, 3, 2, 0 };
	int64_t now = park_now();
	struct wait w[4], never;
	struct order o;

	order_init(&o);
	wait_init(&never, lot, &o, 9);
	park(&never.park, PARK_FOREVER);
	for (unsigned k = 0; k < 4; k++) {
		wait_init(&w[k], lot, &o, k);
		park(&w[k].park, now + (int64_t)ms[k] * 1000000);
	}
	wait_for(&o, 4);
	ck_assert_int_ge(park_now(), now + 60000000);
	for (unsigned k = 0; k < 4; k++) {
		ck_assert_uint_eq(o.id[k], order[k]);
		ck_assert_int_eq(w[k].why, PARK_DEADLINE);
	}
	/* One that is over already, while the thread sleeps for a later one. */
	wait_init(&w[0], lot, &o, 10);
	wait_init(&w[1], lot, &o, 11);
	park(&w[0].park, now + (int64_t)3600 * 1000000000);
	park(&w[1].park, 1);
	wait_for(&o, 5);
	ck_assert_uint_eq(o.id[4], 11);
	ck_assert_uint_eq(never.ends, 0);
	ck_assert_int_eq(park_after_ms(0), PARK_FOREVER);
	park_lot_free(lot);
	ck_assert_int_eq(never.why, PARK_SHUTDOWN);
	ck_assert_int_eq(w[0].why, PARK_SHUTDOWN);
}
END_TEST

START_TEST(test_cancel)
{
	struct park_lot *lot = new_lot();
	struct wait w[2];
	struct order o;

	order_init(&o);
	park_runner(true);
	wait_init(&w[0], lot, &o, 0);
	wait_init(&w[1], lot, &o, 1);
	park(&w[0].park, PARK_FOREVER);
	ck_assert(park_cancel(&w[0].park));
	park_run(lot);
	ck_assert_int_eq(w[0].why, PARK_CANCELLED);

	/* Before the wait begins: then it ends with that, once. */
	ck_assert(!park_cancel(&w[1].park));
	ck_assert(!park_ready(lot));
	park(&w[1].park, PARK_FOREVER);
	ck_assert(!park_wake(&w[1].park));
	park_run(lot);
	ck_assert_uint_eq(w[1].ends, 1);
	ck_assert_int_eq(w[1].why, PARK_CANCELLED);
	park_runner(false);
	park_lot_free(lot);
}
END_TEST

START_TEST(test_withdraw)
{
	struct park_lot *lot = new_lot();
	struct wait w;
	struct order o;

	order_init(&o);
	park_runner(true);
	wait_init(&w, lot, &o, 0);
	ck_assert(!park_withdraw(&w.park));
	park(&w.park, park_after_ms(3600000));
	ck_assert(park_withdraw(&w.park));
	ck_assert_uint_eq(park_count(lot), 0);
	park_run(lot);
	ck_assert_uint_eq(w.ends, 0);
	park(&w.park, PARK_FOREVER);
	ck_assert(park_wake(&w.park));
	ck_assert(!park_withdraw(&w.park));
	park_run(lot);
	ck_assert_uint_eq(w.ends, 1);
	park_runner(false);
	park_lot_free(lot);
}
END_TEST

/* run() may park again, and does not run in the same round for that. */
START_TEST(test_again)
{
	struct park_lot *lot = new_lot();
	struct wait w;
	struct order o;

	order_init(&o);
	park_runner(true);
	wait_init(&w, lot, &o, 0);
	w.again = 2;
	park(&w.park, PARK_FOREVER);
	for (unsigned k = 1; k <= 3; k++) {
		ck_assert(park_wake(&w.park));
		park_run(lot);
		ck_assert_uint_eq(w.ends, k);
		ck_assert_uint_eq(park_count(lot), k < 3);
	}
	park_runner(false);
	park_lot_free(lot);
}
END_TEST

START_TEST(test_close)
{
	struct park_lot *lot = new_lot();
	static struct wait w[MANY];
	struct order o;

	order_init(&o);
	for (unsigned k = 0; k < MANY; k++) {
		wait_init(&w[k], lot, &o, k);
		park(&w[k].park, k % 2 ? PARK_FOREVER : park_after_ms(3600000));
	}
	park_close(lot);
	ck_assert_uint_eq(o.n, MANY);
	for (unsigned k = 0; k < MANY; k++) {
		ck_assert_uint_eq(w[k].ends, 1);
		ck_assert_int_eq(w[k].why, PARK_SHUTDOWN);
	}
	/* From now on nobody waits. */
	park(&w[0].park, PARK_FOREVER);
	park_run(lot);
	ck_assert_uint_eq(w[0].ends, 2);
	park_close(lot);
	park_lot_free(lot);
	park_lot_free(NULL);
}
END_TEST

/* ---- all at once --------------------------------------------------------------------------- */

struct race {
	struct park_lot *lot;
	struct wait *w;
	int what;
	uint64_t ended; /* how many waits this thread ended (or withdrew) */
};

static void *
race(void *arg)
{
	struct race *r = arg;

	park_runner(r->what != 1);
	for (unsigned k = 0; k < MANY; k++) {
		struct parked *p = &r->w[k].park;

		switch (r->what) {
		case 0:
			r->ended += park_wake(p);
			park_run(r->lot);
			break;
		case 1:
			r->ended += park_cancel(p);
			break;
		default:
			r->ended += park_withdraw(p);
			break;
		}
	}
	park_run(r->lot);
	return NULL;
}

START_TEST(test_race)
{
	struct park_lot *lot = new_lot();
	static struct wait w[MANY];
	struct race r[3];
	pthread_t t[3];
	uint64_t reasons[4] = { 0 }, ends = 0;
	int64_t now = park_now();
	struct order o;

	order_init(&o);
	for (unsigned k = 0; k < MANY; k++) {
		wait_init(&w[k], lot, &o, k);
		park(&w[k].park, now + (int64_t)k * 1000);
	}
	for (int k = 0; k < 3; k++) {
		r[k] = (struct race){ .lot = lot, .w = w, .what = k };
		ck_assert_int_eq(pthread_create(&t[k], NULL, race, &r[k]), 0);
	}
	for (int k = 0; k < 3; k++)
		pthread_join(t[k], NULL);
	park_lot_free(lot);
	for (unsigned k = 0; k < MANY; k++) {
		ck_assert_uint_le(w[k].ends, 1);
		ends += w[k].ends;
		if (w[k].ends)
			reasons[w[k].why]++;
	}
	/* each wait has one end, and who was told that it was his was right */
	ck_assert_uint_eq(ends + r[2].ended, MANY);
	ck_assert_uint_eq(reasons[PARK_WOKEN], r[0].ended);
	ck_assert_uint_eq(reasons[PARK_CANCELLED], r[1].ended);
	ck_assert_uint_eq(o.n, ends);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("park");
	TCase *t = tcase_create("all");

	tcase_add_test(t, test_wake);
	tcase_add_test(t, test_deadlines);
	tcase_add_test(t, test_cancel);
	tcase_add_test(t, test_withdraw);
	tcase_add_test(t, test_again);
	tcase_add_test(t, test_close);
	tcase_add_loop_test(t, test_race, 0, 20);
	suite_add_tcase(s, t);
	return unit_main(s);
}
