/* SPDX-License-Identifier: BSD-3-Clause */
/* Every way to break the lock order is planted once, in a process of its own: it
 * has to abort and to show both places. Without --enable-debug there is no
 * validator; what is left to test then is that the locks lock.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "pmem/lock.h"

static struct mtx commit, alloc, leaf, leaf2;
static struct rwl gate, io5, io7, tree;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;

static void
setup(void)
{
	mtx_init(&commit, LOCK_COMMIT, 0);
	mtx_init(&alloc, LOCK_ALLOC, 0);
	mtx_init(&leaf, LOCK_LEAF, 0);
	mtx_init(&leaf2, LOCK_LEAF, 0);
	rwl_init(&gate, LOCK_GATE, 0);
	rwl_init(&io5, LOCK_IO, 5);
	rwl_init(&io7, LOCK_IO, 7);
	rwl_init(&tree, LOCK_TREE, 0);
}

static void
teardown(void)
{
	mtx_destroy(&commit);
	mtx_destroy(&alloc);
	mtx_destroy(&leaf);
	mtx_destroy(&leaf2);
	rwl_destroy(&gate);
	rwl_destroy(&io5);
	rwl_destroy(&io7);
	rwl_destroy(&tree);
}

/* ---- both builds ---- */

START_TEST(in_order)
{
	mtx_lock(&commit);
	rwl_wrlock(&gate);
	rwl_rdlock(&io5);
	rwl_wrlock(&io7);
	rwl_rdlock(&tree);
	mtx_lock(&alloc);
	mtx_lock(&leaf);
	/* The order of release is free. */
	rwl_unlock(&gate);
	rwl_unlock(&io7);
	mtx_unlock(&leaf);
	mtx_unlock(&commit);
	rwl_unlock(&tree);
	mtx_unlock(&alloc);
	rwl_unlock(&io5);
	lock_assert_none_held();
}
END_TEST

START_TEST(try)
{
	mtx_lock(&leaf);
	/* Against the order, but it can't wait. */
	ck_assert(mtx_trylock(&alloc));
	mtx_unlock(&alloc);
	mtx_unlock(&leaf);
	lock_assert_none_held();
}
END_TEST

static void *
try_in_other_thread(void *arg)
{
	bool got = mtx_trylock(arg);

	if (got)
		mtx_unlock(arg);
	return got ? arg : NULL;
}

START_TEST(mutex_excludes)
{
	pthread_t t;
	void *got;

	mtx_lock(&leaf);
	ck_assert_int_eq(pthread_create(&t, NULL, try_in_other_thread, &leaf), 0);
	pthread_join(t, &got);
	ck_assert_ptr_null(got);
	mtx_unlock(&leaf);
	ck_assert_int_eq(pthread_create(&t, NULL, try_in_other_thread, &leaf), 0);
	pthread_join(t, &got);
	ck_assert_ptr_nonnull(got);
}
END_TEST

static bool woken; /* P: leaf */

static void *
wake(void *arg)
{
	(void)arg;
	mtx_lock(&leaf);
	woken = true;
	pthread_cond_signal(&cond);
	mtx_unlock(&leaf);
	return NULL;
}

START_TEST(condition)
{
	pthread_t t;

	woken = false;
	mtx_lock(&leaf);
	ck_assert_int_eq(pthread_create(&t, NULL, wake, NULL), 0);
	while (!woken)
		mtx_cond_wait(&cond, &leaf);
	mtx_unlock(&leaf);
	lock_assert_none_held();
	pthread_join(t, NULL);
}
END_TEST

static void *
write_lock_tree(void *arg)
{
	rwl_wrlock(&tree);
	rwl_unlock(&tree);
	return arg;
}

/* While a writer waits for a reader, other readers have to queue behind it. */
START_TEST(writers_first)
{
	const struct timespec ms = { .tv_nsec = 1000000 };
	pthread_t t;
	int ret;

	rwl_rdlock(&tree);
	ck_assert_int_eq(pthread_create(&t, NULL, write_lock_tree, NULL), 0);
	while ((ret = pthread_rwlock_tryrdlock(&tree.l)) == 0) {
		pthread_rwlock_unlock(&tree.l);
		nanosleep(&ms, NULL); /* the test's time limit ends this */
	}
	ck_assert_int_eq(ret, EBUSY);
	rwl_unlock(&tree);
	pthread_join(t, NULL);
}
END_TEST

/* ---- the validator ---- */

#ifdef PINFS_DEBUG

/* fn must abort with a message that has all of the words. */
static void
must_abort(void (*fn)(void), const char *why, const char *held, const char *at)
{
	char text[16384];
	size_t len = 0;
	ssize_t n;
	int fds[2], status;
	pid_t pid;

	ck_assert_int_eq(pipe(fds), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		signal(SIGABRT, SIG_DFL);
		dup2(fds[1], STDERR_FILENO);
		fn();
		_exit(0);
	}
	close(fds[1]);
	while (len < sizeof(text) - 1 && (n = read(fds[0], text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = 0;
	close(fds[0]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "no abort, but status %x", status);
	ck_assert_msg(strstr(text, why) != NULL, "no \"%s\" in:\n%s", why, text);
	if (held)
		ck_assert_msg(strstr(text, held) != NULL, "no \"%s\" in:\n%s", held, text);
	if (at)
		ck_assert_msg(strstr(text, at) != NULL, "no \"%s\" in:\n%s", at, text);
	/* Two backtraces: a line of each names an address. */
	if (held && at) {
		const char *first = strstr(text, held), *second = strstr(text, at);

		ck_assert(first < second);
		ck_assert_ptr_nonnull(strstr(first, "[0x"));
		ck_assert(strstr(first, "[0x") < second);
		ck_assert_ptr_nonnull(strstr(second, "[0x"));
	}
}

static void
inversion(void)
{
	mtx_lock(&alloc);
	rwl_rdlock(&tree);
}

static void
keys_descend(void)
{
	rwl_rdlock(&io7);
	rwl_wrlock(&io5);
}

static void
same_rank(void)
{
	mtx_lock(&leaf);
	mtx_lock(&leaf2);
}

static void
shared_twice(void)
{
	rwl_rdlock(&io5);
	rwl_rdlock(&io5);
}

static void
behind_trylock(void)
{
	if (mtx_trylock(&leaf))
		mtx_lock(&alloc);
}

static void
unlock_twice(void)
{
	mtx_lock(&leaf);
	mtx_unlock(&leaf);
	mtx_unlock(&leaf);
}

static void *
unlock_tree(void *arg)
{
	rwl_unlock(&tree);
	return arg;
}

static void
unlock_elsewhere(void)
{
	pthread_t t;

	rwl_wrlock(&tree);
	if (pthread_create(&t, NULL, unlock_tree, NULL) == 0)
		pthread_join(t, NULL);
}

static void
wait_without(void)
{
	mtx_cond_wait(&cond, &leaf);
}

static void
wait_against_order(void)
{
	mtx_lock(&alloc);
	mtx_lock(&leaf);
	mtx_cond_wait(&cond, &alloc);
}

static void
held_at_end(void)
{
	rwl_rdlock(&gate);
	lock_assert_none_held();
}

static void
destroy_held(void)
{
	mtx_lock(&leaf);
	mtx_destroy(&leaf);
}

START_TEST(planted)
{
	must_abort(inversion, "against the order", "holding alloc lock", "while at tree lock");
	must_abort(keys_descend, "against the order", "holding io lock", "while at io lock");
	must_abort(same_rank, "against the order", "holding leaf lock", "while at leaf lock");
	must_abort(shared_twice, "taken twice", "holding io lock", "while at io lock");
	must_abort(behind_trylock, "against the order", "holding leaf lock", "while at alloc lock");
	must_abort(unlock_twice, "does not hold it", NULL, "while at leaf lock");
	must_abort(unlock_elsewhere, "does not hold it", NULL, "while at tree lock");
	must_abort(wait_without, "without its mutex", NULL, "while at leaf lock");
	must_abort(wait_against_order, "against the order", "holding leaf lock", "while at alloc lock");
	must_abort(held_at_end, "held where none may be", "holding gate lock", NULL);
	must_abort(destroy_held, "destroyed while held", "holding leaf lock", "while at leaf lock");
}
END_TEST

#endif

int
main(void)
{
	Suite *s = suite_create("lock");
	TCase *tc = tcase_create("lock");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, in_order);
	tcase_add_test(tc, try);
	tcase_add_test(tc, mutex_excludes);
	tcase_add_test(tc, condition);
	tcase_add_test(tc, writers_first);
#ifdef PINFS_DEBUG
	tcase_add_test(tc, planted);
#else
	puts("lock: the validator's tests are skipped: built without --enable-debug");
#endif
	suite_add_tcase(s, tc);
	return unit_main(s);
}
