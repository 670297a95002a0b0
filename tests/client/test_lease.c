/* SPDX-License-Identifier: BSD-3-Clause */
/* Leases through libpinfs: events, callbacks, mappings that let go, revocation. Somebody else, whom a lease is broken
 * for, is a child process. */
#include "tests/client/client.h"

#include <setjmp.h>

/* A child that truncates the file: its pid. */
static pid_t
truncate_by_another(const char *name, off_t size)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(truncate(test_path(name), size) < 0 ? errno : 0);
	ck_assert_int_gt(pid, 0);
	return pid;
}

/* Its errno. */
static int
result_of(pid_t pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static bool
ended(pid_t pid)
{
	siginfo_t info = { 0 };

	ck_assert_int_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT), 0);
	return info.si_pid == pid;
}

START_TEST(events)
{
	struct pinfs_lease_options o = { .size = sizeof(o), .off = 2 * BLK, .cookie = 77 };
	int fd = test_file("events", 8);
	struct pinfs_event ev;
	uint64_t id;
	pid_t pid;

	ck_assert_ok(pinfs_lease(fd, &o, &id));
	ck_assert_int_eq(pinfs_next_event(fd, &ev, 0), 0);
	ck_assert_int_eq(pinfs_next_event(fd, &ev, 20), 0);
	pid = truncate_by_another("events", 4 * BLK);
	ck_assert_int_eq(pinfs_next_event(fd, &ev, -1), 1);
	ck_assert_uint_eq(ev.type, PINFS_EVENT_BREAK);
	ck_assert_uint_eq(ev.op, PINFS_OP_TRUNCATE);
	ck_assert_uint_eq(ev.lease, id);
	ck_assert_uint_eq(ev.cookie, 77);
	ck_assert_uint_eq(ev.off, 4 * BLK);
	ck_assert_uint_eq(ev.pid, (unsigned)pid);
	ck_assert(!ended(pid));
	ck_assert_err(pinfs_lease_modify(fd, id, NULL), EAGAIN);
	ck_assert_ok(pinfs_lease_release(fd, id));
	ck_assert_int_eq(result_of(pid), 0);
	ck_assert_err(pinfs_lease_release(fd, id), ENOENT);
	ck_assert_int_eq(pinfs_next_event(fd, &ev, 0), 0);
	close(fd);
}
END_TEST

/* Several at once: none is lost by taking one at a time. */
START_TEST(events_of_many_leases)
{
	enum { LEASES = 20 };
	int fd = test_file("many", LEASES);
	uint64_t id[LEASES];
	unsigned seen = 0;
	pid_t pid;

	for (unsigned k = 0; k < LEASES; k++) {
		struct pinfs_lease_options o = { .size = sizeof(o), .off = k * BLK, .len = BLK, .cookie = k };

		ck_assert_ok(pinfs_lease(fd, &o, &id[k]));
	}
	pid = truncate_by_another("many", 0);
	for (unsigned k = 0; k < LEASES; k++) {
		struct pinfs_event ev;

		ck_assert_int_eq(pinfs_next_event(fd, &ev, -1), 1);
		ck_assert_uint_lt(ev.cookie, LEASES);
		ck_assert_uint_eq(ev.lease, id[ev.cookie]);
		ck_assert_uint_eq(seen & 1u << ev.cookie, 0);
		seen |= 1u << ev.cookie;
		ck_assert_ok(pinfs_lease_release(fd, ev.lease));
	}
	ck_assert_int_eq(result_of(pid), 0);
	close(fd);
}
END_TEST

START_TEST(exclusive)
{
	struct pinfs_lease_options o = { .size = sizeof(o), .type = PINFS_LEASE_EXCLUSIVE };
	int fd = test_file("exclusive", 4), other = open(test_path("exclusive"), O_RDWR | O_CLOEXEC);
	struct pinfs_map *m;
	uint64_t id, id2;

	ck_assert_ok(pinfs_lease(fd, &o, &id));
	ck_assert_int_eq(result_of(truncate_by_another("exclusive", 0)), ETXTBSY);
	ck_assert_err(pinfs_lease(other, NULL, &id2), EBUSY);
	ck_assert_err(pinfs_map(other, 0, BLK, PINFS_MAP_READ, &m), EBUSY);
	/* but the holder himself may map */
	ck_assert_ok(pinfs_map(fd, 0, BLK, PINFS_MAP_READ, &m));
	ck_assert_ok(pinfs_unmap(m));
	o.type = PINFS_LEASE_SHARED;
	ck_assert_ok(pinfs_lease_modify(fd, id, &o));
	ck_assert_ok(pinfs_lease(other, NULL, &id2));
	o.type = PINFS_LEASE_EXCLUSIVE;
	ck_assert_err(pinfs_lease_modify(fd, id, &o), EBUSY);
	o.len = 1;
	ck_assert_err(pinfs_lease_modify(fd, id, &o), EINVAL);
	close(other);
	close(fd);
}
END_TEST

START_TEST(long_term_pin_needs_a_lease)
{
	struct pinfs_lease_options o = { .size = sizeof(o), .len = 2 * BLK };
	struct pinfs_pin_options transient = { .size = sizeof(transient), .pin_class = PINFS_PIN_TRANSIENT };
	struct pinfs_pin_range r = { .off = 0, .len = BLK }, more = { .off = BLK, .len = 2 * BLK };
	int fd = test_file("needs", 4);
	uint64_t id, lease;

	ck_assert_err(pinfs_pin(fd, NULL, &r, 1, &id), ENOLCK);
	ck_assert_ok(pinfs_pin(fd, &transient, &r, 1, &id));
	ck_assert_ok(pinfs_lease(fd, &o, &lease));
	ck_assert_ok(pinfs_pin(fd, NULL, &r, 1, &id));
	ck_assert_err(pinfs_pin(fd, NULL, &more, 1, &id), ENOLCK);
	close(fd);
}
END_TEST

/* ---- callbacks ------------------------------------------------------------------------------------------- */

static struct {
	_Atomic unsigned calls;
	uint64_t cookie;
	pthread_t thread;
} called;

static void
note_and_release(int fd, const struct pinfs_event *ev, void *arg)
{
	called.cookie = ev->cookie;
	called.thread = pthread_self();
	called.calls++;
	ck_assert_ptr_eq(arg, &called);
	pinfs_lease_release(fd, ev->lease);
}

START_TEST(callback)
{
	struct pinfs_lease_options o = { .size = sizeof(o), .cookie = 5, .on_event = note_and_release, .arg = &called };
	int fd = test_file("callback", 4);
	uint64_t id;

	/* again and again: the thread ends with the last lease, and a new one begins */
	for (unsigned k = 1; k < 30; k++) {
		ck_assert_ok(pinfs_lease(fd, &o, &id));
		ck_assert_int_eq(result_of(truncate_by_another("callback", (30 - k) * BLK / 8)), 0);
		ck_assert_uint_eq(called.calls, k);
		ck_assert_uint_eq(called.cookie, 5);
		ck_assert(!pthread_equal(called.thread, pthread_self()));
		ck_assert_err(pinfs_lease_release(fd, id), ENOENT);
	}
	close(fd);
}
END_TEST

/* Of two files at once, and two leases of one file: each goes to its own. */
static void
count_and_release(int fd, const struct pinfs_event *ev, void *arg)
{
	(*(_Atomic unsigned *)arg)++;
	pinfs_lease_release(fd, ev->lease);
}

START_TEST(callbacks_of_several)
{
	_Atomic unsigned n[3] = { 0 };
	int a = test_file("several-a", 8), b = test_file("several-b", 8);
	struct pinfs_lease_options o = { .size = sizeof(o), .len = 2 * BLK, .on_event = count_and_release, .arg = &n[0] };
	uint64_t id;

	ck_assert_ok(pinfs_lease(a, &o, &id));
	o.off = 6 * BLK;
	o.arg = &n[1];
	ck_assert_ok(pinfs_lease(a, &o, &id));
	o.off = 0;
	o.arg = &n[2];
	ck_assert_ok(pinfs_lease(b, &o, &id));
	ck_assert_int_eq(result_of(truncate_by_another("several-a", 4 * BLK)), 0);
	ck_assert_uint_eq(n[0], 0);
	ck_assert_uint_eq(n[1], 1);
	ck_assert_uint_eq(n[2], 0);
	ck_assert_int_eq(result_of(truncate_by_another("several-b", 0)), 0);
	ck_assert_int_eq(result_of(truncate_by_another("several-a", 0)), 0);
	ck_assert_uint_eq(n[0], 1);
	ck_assert_uint_eq(n[2], 1);
	close(a);
	close(b);
}
END_TEST

/* ---- mappings ----------------------------------------------------------------------------------------------- */

static sigjmp_buf jump;

static void
on_segv(int sig)
{
	siglongjmp(jump, sig);
}

START_TEST(cooperating_mapping)
{
	int fd = test_file("cooperate", 8);
	struct sigaction sa = { .sa_handler = on_segv };
	struct pinfs_map *m;
	volatile char *p;

	ck_assert_ok(pinfs_map(fd, 0, 8 * BLK, PINFS_MAP_WRITE | PINFS_MAP_COOPERATE, &m));
	p = pinfs_addr(m);
	p[0] = 'Q';
	ck_assert_int_eq(result_of(truncate_by_another("cooperate", 4 * BLK)), 0);
	ck_assert_uint_eq(test_pins(fd), 0);
	ck_assert_int_eq(pinfs_map_state(m), PINFS_LEASE_RELEASED);
	ck_assert_err(pinfs_sync(m), ESTALE);
	ck_assert_int_eq(test_byte(fd, 0), 'Q');
	sigaction(SIGSEGV, &sa, NULL);
	if (sigsetjmp(jump, 1) == 0) {
		p[0] = 'x';
		ck_abort_msg("the mapping is there");
	}
	ck_assert_ok(pinfs_unmap(m));
	close(fd);
}
END_TEST

static void
give_way_and_count(struct pinfs_map *m, const struct pinfs_event *ev, void *arg)
{
	if (ev->type == PINFS_EVENT_BREAK) {
		(*(_Atomic unsigned *)arg)++;
		pinfs_let_go(m);
	}
}

START_TEST(mapping_with_callback)
{
	_Atomic unsigned n = 0;
	int fd = test_file("with-callback", 8);
	struct pinfs_pin_range r[] = { { .off = 0, .len = BLK }, { .off = 6 * BLK, .len = BLK } };
	struct pinfs_map_options o = { .size = sizeof(o), .flags = PINFS_MAP_WRITE, .nranges = 2, .ranges = r,
		.on_event = give_way_and_count, .arg = (void *)&n };
	struct pinfs_map *m;

	ck_assert_ok(pinfs_map_with(fd, &o, &m));
	/* a part that is not mapped: nobody is asked */
	ck_assert_int_eq(result_of(truncate_by_another("with-callback", 7 * BLK)), 0);
	ck_assert_uint_eq(n, 0);
	ck_assert_int_eq(pinfs_map_state(m), PINFS_LEASE_HELD);
	ck_assert_int_eq(result_of(truncate_by_another("with-callback", 0)), 0);
	ck_assert_uint_ge(n, 1);
	ck_assert_ok(pinfs_unmap(m));
	close(fd);
}
END_TEST

/* One that never answers is revoked: it shows its blocks on, and a sync does not pretend. */
START_TEST(revoked_mapping)
{
	int fd = test_file("revoked", 4);
	struct pinfs_event ev;
	struct pinfs_map *m;
	char *p;
	pid_t pid;

	ck_assert_ok(pinfs_map(fd, 0, 4 * BLK, PINFS_MAP_WRITE, &m));
	p = pinfs_addr(m);
	pid = truncate_by_another("revoked", BLK);
	ck_assert_int_eq(pinfs_next_event(pinfs_event_fd(m), &ev, -1), 1);
	ck_assert_uint_eq(ev.type, PINFS_EVENT_BREAK);
	ck_assert_int_eq(pinfs_map_state(m), PINFS_LEASE_BREAKING);
	ck_assert_int_eq(result_of(pid), 0);
	ck_assert_int_eq(pinfs_map_state(m), PINFS_LEASE_REVOKED);
	ck_assert_int_eq(ftruncate(fd, 4 * BLK), 0);
	p[2 * BLK] = '!';
	ck_assert_int_eq(p[2 * BLK], '!');
	ck_assert_int_eq(test_byte(fd, 2 * BLK), 0);
	ck_assert_err(pinfs_sync(m), ESTALE);
	ck_assert_err(pinfs_persist(m, p, 1), ESTALE);
	ck_assert_ok(pinfs_unmap(m));
	close(fd);
}
END_TEST

/* The holder's child has no thread and no callbacks, and can have its own. */
START_TEST(callbacks_and_fork)
{
	struct pinfs_lease_options o = { .size = sizeof(o), .on_event = note_and_release, .arg = &called };
	int fd = test_file("forked", 8), status;
	uint64_t id;
	pid_t pid;

	ck_assert_ok(pinfs_lease(fd, &o, &id));
	pid = fork();
	if (pid == 0) {
		int own = open(test_path("forked-own"), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
		struct pinfs_map *m;

		if (pinfs_map(own, 0, BLK, PINFS_MAP_WRITE | PINFS_MAP_ALLOC | PINFS_MAP_COOPERATE, &m) < 0)
			_exit(1);
		_exit(pinfs_unmap(m) < 0 ? 2 : 0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(result_of(truncate_by_another("forked", 0)), 0);
	ck_assert_uint_eq(called.calls, 1);
	close(fd);
}
END_TEST

static int
find_entry(const struct pinfs_list_entry *e, void *arg)
{
	uint64_t id = *(uint64_t *)arg;

	if (e->kind != PINFS_LIST_LEASE || e->id != id)
		return 0;
	ck_assert_uint_eq(e->off, BLK);
	ck_assert_uint_eq(e->len, 2 * BLK);
	ck_assert_uint_eq(e->type, PINFS_LEASE_SHARED);
	ck_assert_uint_eq(e->state, PINFS_LEASE_HELD);
	ck_assert_uint_eq(e->pid, (unsigned)getpid());
	return 42;
}

START_TEST(listed)
{
	struct pinfs_lease_options o = { .size = sizeof(o), .off = BLK + 5, .len = BLK };
	int fd = test_file("listed", 4);
	uint64_t id;

	ck_assert_ok(pinfs_lease(fd, &o, &id));
	ck_assert_int_eq(pinfs_list(fd, 0, find_entry, &id), 42);
	ck_assert_int_eq(pinfs_list(fd, PINFS_LIST_MOUNT, find_entry, &id), 42);
	ck_assert_ok(pinfs_lease_release(fd, id));
	ck_assert_int_eq(pinfs_list(fd, 0, find_entry, &id), 0);
	close(fd);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = { events, events_of_many_leases, exclusive, long_term_pin_needs_a_lease, callback,
		callbacks_of_several, cooperating_mapping, mapping_with_callback, revoked_mapping, callbacks_and_fork, listed };
	Suite *s = suite_create("libpinfs: leases");
	TCase *tc = tcase_create("lease");

	tcase_set_timeout(tc, 60);
	for (unsigned k = 0; k < sizeof(tests) / sizeof(tests[0]); k++)
		tcase_add_test(tc, tests[k]);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
