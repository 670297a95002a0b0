/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/unit.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pmem/alloc.h"
#include "pmem/log.h"

#define FIRST ((pblk_t)2)
#define HUGE_BLOCKS 512u

static struct alloc *
fresh(uint64_t end)
{
	struct alloc *a;

	ck_assert_ok(alloc_new(&a, FIRST, end));
	alloc_free(a, FIRST, end - FIRST);
	return a;
}

static struct alloc_stats
stats(struct alloc *a)
{
	struct alloc_stats st;

	alloc_stats(a, &st);
	return st;
}

static pblk_t
one(struct alloc *a, pblk_t goal, unsigned flags)
{
	pblk_t start;
	uint64_t got;

	ck_assert_ok(alloc_run(a, goal, 1, 0, flags, &start, &got));
	ck_assert_uint_eq(got, 1);
	return start;
}

START_TEST(starts_all_used)
{
	struct alloc *a;
	pblk_t start;
	uint64_t got;

	ck_assert_ok(alloc_new(&a, FIRST, 1000));
	ck_assert_uint_eq(stats(a).total, 998);
	ck_assert_uint_eq(stats(a).free, 0);
	ck_assert_err(alloc_run(a, PBLK_NONE, 1, 0, 0, &start, &got), ENOSPC);
	ck_assert_err(alloc_reserve(a, 1, 0), ENOSPC);
	alloc_free(a, 10, 5);
	ck_assert_uint_eq(stats(a).free, 5);
	ck_assert_uint_eq(stats(a).largest, 5);
	ck_assert_ok(alloc_run(a, PBLK_NONE, 100, 0, 0, &start, &got));
	ck_assert_uint_eq(start, 10);
	ck_assert_uint_eq(got, 5);
	alloc_destroy(a);
}
END_TEST

START_TEST(single_blocks_are_sequential)
{
	struct alloc *a = fresh(100000);
	pblk_t data = one(a, PBLK_NONE, 0), node = one(a, PBLK_NONE, ALLOC_NODE);

	ck_assert_uint_ne(data / HUGE_BLOCKS, node / HUGE_BLOCKS);
	for (unsigned i = 1; i < 400; i++) {
		ck_assert_uint_eq(one(a, i % 2 ? PBLK_NONE : data + i, 0), data + i);
		ck_assert_uint_eq(one(a, PBLK_NONE, ALLOC_NODE), node + i);
	}
	/* Through many cursors: every block once, and nodes apart from data. */
	for (unsigned i = 400; i < 20000; i++) {
		ck_assert_uint_ne(one(a, PBLK_NONE, 0), one(a, PBLK_NONE, ALLOC_NODE));
	}
	ck_assert_uint_eq(stats(a).free, 100000 - FIRST - 40000);
	alloc_destroy(a);
}
END_TEST

START_TEST(goals)
{
	struct alloc *a = fresh(10000);
	pblk_t start;
	uint64_t got;

	ck_assert_ok(alloc_run(a, 5000, 100, 0, 0, &start, &got));
	ck_assert_uint_eq(start, 5000);
	ck_assert_uint_eq(got, 100);
	/* Free, but not for the whole length: as long as can be had there. */
	ck_assert_ok(alloc_run(a, 4990, 100, 0, 0, &start, &got));
	ck_assert_uint_eq(start, 4990);
	ck_assert_uint_eq(got, 10);
	/* Exact: somewhere else then. */
	ck_assert_ok(alloc_run(a, 4980, 100, 0, ALLOC_EXACT, &start, &got));
	ck_assert_uint_ne(start, 4980);
	ck_assert_uint_eq(got, 100);
	/* Not free: anywhere. */
	ck_assert_ok(alloc_run(a, 5050, 7, 0, 0, &start, &got));
	ck_assert_uint_eq(got, 7);
	ck_assert_ok(alloc_run(a, 9999999, 7, 0, 0, &start, &got));
	ck_assert_uint_eq(got, 7);
	alloc_destroy(a);
}
END_TEST

START_TEST(huge_runs_are_aligned)
{
	struct alloc *a = fresh(16 * HUGE_BLOCKS);
	pblk_t start;
	uint64_t got;

	one(a, PBLK_NONE, 0);
	one(a, PBLK_NONE, ALLOC_NODE);
	for (unsigned i = 0; i < 4; i++) {
		ck_assert_ok(alloc_run(a, PBLK_NONE, 2 * HUGE_BLOCKS, 0, ALLOC_HUGE, &start, &got));
		ck_assert_uint_eq(got, 2 * HUGE_BLOCKS);
		ck_assert_uint_eq(start % HUGE_BLOCKS, 0);
	}
	alloc_destroy(a);

	/* Many long extents that have no room for an aligned run, one that has. */
	ck_assert_ok(alloc_new(&a, FIRST, 1000 * HUGE_BLOCKS));
	for (unsigned i = 0; i < 200; i++)
		alloc_free(a, (2 * i + 1) * HUGE_BLOCKS + 1, HUGE_BLOCKS + 100);
	alloc_free(a, 900 * HUGE_BLOCKS + 7, 2 * HUGE_BLOCKS);
	ck_assert_ok(alloc_run(a, PBLK_NONE, HUGE_BLOCKS, 0, ALLOC_HUGE | ALLOC_EXACT, &start, &got));
	ck_assert_uint_eq(start, 901 * HUGE_BLOCKS);
	/* Alignment is a wish only. */
	ck_assert_ok(alloc_run(a, PBLK_NONE, HUGE_BLOCKS, 0, ALLOC_HUGE | ALLOC_EXACT, &start, &got));
	ck_assert_uint_eq(got, HUGE_BLOCKS);
	ck_assert_uint_ne(start % HUGE_BLOCKS, 0);
	alloc_destroy(a);
}
END_TEST

START_TEST(what_cursors_hold_is_not_lost)
{
	struct alloc *a = fresh(4 * HUGE_BLOCKS);
	uint64_t left = stats(a).free, got;
	pblk_t start, data = one(a, PBLK_NONE, 0), node = one(a, PBLK_NONE, ALLOC_NODE);

	/* All the rest as one run each side of the two blocks, cursors or not. */
	alloc_free(a, data, 1);
	alloc_free(a, node, 1);
	ck_assert_uint_eq(stats(a).free, left);
	ck_assert_ok(alloc_run(a, PBLK_NONE, left, 0, ALLOC_EXACT, &start, &got));
	ck_assert_uint_eq(start, FIRST);
	alloc_free(a, start, got);

	/* A node can have the last block, even if data's cursor has it, and the other way round. */
	for (unsigned flags = 0; flags <= ALLOC_NODE; flags += ALLOC_NODE) {
		one(a, PBLK_NONE, flags ^ ALLOC_NODE);
		for (uint64_t i = 1; i < left; i++)
			one(a, PBLK_NONE, flags);
		ck_assert_err(alloc_run(a, PBLK_NONE, 1, 0, flags, &start, &got), ENOSPC);
		alloc_free(a, FIRST, left);
	}
	alloc_destroy(a);
}
END_TEST

static bool
backed_from_3000(void *arg, pblk_t start, uint64_t n)
{
	(void)arg, (void)n;
	return start >= 3000;
}

/* Nodes come from where there is something behind the pool file, to the last such block; data
 * from anywhere. */
START_TEST(nodes_prefer_backed_blocks)
{
	struct alloc *a;
	pblk_t start;
	uint64_t n;

	ck_assert_ok(alloc_new(&a, FIRST, 10000));
	alloc_free(a, 100, 5);
	alloc_free(a, 200, 300);
	alloc_free(a, 3100, 1);
	alloc_free(a, 3200, 9);
	alloc_free(a, 4000, 2);
	alloc_set_backed(a, backed_from_3000, NULL);
	alloc_node_window(a, 128, &start, &n);
	ck_assert_uint_eq(start, 200);
	ck_assert_uint_eq(n, 300);
	for (unsigned i = 0; i < 12; i++)
		ck_assert_uint_ge(one(a, PBLK_NONE, ALLOC_NODE), 3000);
	ck_assert_uint_lt(one(a, PBLK_NONE, ALLOC_NODE), 3000);
	ck_assert_uint_lt(one(a, PBLK_NONE, 0), 3000);
	alloc_destroy(a);
}
END_TEST

START_TEST(reservations)
{
	struct alloc *a = fresh(1002);
	pblk_t start;
	uint64_t got;

	ck_assert_ok(alloc_reserve(a, 400, 100));
	ck_assert_err(alloc_reserve(a, 501, 100), ENOSPC);
	ck_assert_err(alloc_reserve(a, UINT64_MAX, 100), ENOSPC);
	ck_assert_err(alloc_reserve(a, 1, UINT64_MAX), ENOSPC);
	ck_assert_ok(alloc_reserve(a, 500, 100));
	ck_assert_uint_eq(stats(a).reserved, 900);
	/* 100 unreserved ones are left. */
	ck_assert_err(alloc_run(a, PBLK_NONE, 1, 100, 0, &start, &got), ENOSPC);
	ck_assert_err(alloc_run(a, PBLK_NONE, 91, 10, ALLOC_EXACT, &start, &got), ENOSPC);
	ck_assert_ok(alloc_run(a, PBLK_NONE, 200, 10, 0, &start, &got));
	ck_assert_uint_eq(got, 90);
	ck_assert_ok(alloc_run(a, PBLK_NONE, 10, 0, 0, &start, &got));
	ck_assert_uint_eq(got, 10);
	ck_assert_err(alloc_run(a, PBLK_NONE, 1, 0, 0, &start, &got), ENOSPC);
	/* What was promised can be had to the last block, one by one and in runs. */
	for (unsigned i = 0; i < 300; i++)
		one(a, PBLK_NONE, ALLOC_RESERVED | (i % 2 ? ALLOC_NODE : 0));
	ck_assert_uint_eq(stats(a).reserved, 600);
	for (uint64_t n = 600; n > 0; n -= got)
		ck_assert_ok(alloc_run(a, PBLK_NONE, n, 0, ALLOC_RESERVED, &start, &got));
	ck_assert_uint_eq(stats(a).reserved, 0);
	ck_assert_uint_eq(stats(a).free, 0);

	alloc_free(a, 100, 50);
	ck_assert_ok(alloc_reserve(a, 50, 0));
	ck_assert_ok(alloc_run(a, PBLK_NONE, 20, 0, ALLOC_RESERVED, &start, &got));
	alloc_undo(a, start, got, ALLOC_RESERVED);
	ck_assert_uint_eq(stats(a).reserved, 50);
	ck_assert_uint_eq(stats(a).free, 50);
	alloc_unreserve(a, 50);
	ck_assert_ok(alloc_run(a, PBLK_NONE, 50, 0, 0, &start, &got));
	alloc_undo(a, start, got, 0);
	ck_assert_uint_eq(stats(a).reserved, 0);
	ck_assert_uint_eq(stats(a).free, 50);
	alloc_destroy(a);
}
END_TEST

START_TEST(quarantine)
{
	struct alloc *a = fresh(102);
	pblk_t start;
	uint64_t got;

	ck_assert_ok(alloc_run(a, PBLK_NONE, 10, 0, ALLOC_EXACT, &start, &got));
	alloc_quarantine(a, 10);
	ck_assert_uint_eq(stats(a).quarantined, 10);
	ck_assert_uint_eq(stats(a).free, 90);
	alloc_release_quarantined(a, start + 2, 3);
	ck_assert_uint_eq(stats(a).quarantined, 7);
	ck_assert_uint_eq(stats(a).free, 93);
	alloc_destroy(a);
}
END_TEST

static unsigned complaints;

static void
count_complaint(void *arg, int level, const char *text)
{
	(void)arg, (void)level, (void)text;
	complaints++;
}

/* A free that makes no sense is refused whole; a debug build aborts. */
static void
bad_free(pblk_t start, uint64_t n)
{
	struct alloc *a;
	int status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid > 0) {
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
#ifdef PINFS_DEBUG
		ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
#else
		ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "free of %llu+%llu: status %x",
		    (unsigned long long)start, (unsigned long long)n, status);
#endif
		return;
	}
	signal(SIGABRT, SIG_DFL);
	pinfs_log_to(count_complaint, NULL);
	if (alloc_new(&a, FIRST, 1000) < 0)
		_exit(2);
	alloc_free(a, 100, 100);
	alloc_free(a, start, n);
	if (complaints != 1 || stats(a).free != 100 || stats(a).free_extents != 1)
		_exit(1);
	_exit(0);
}

START_TEST(bad_frees)
{
	bad_free(100, 1);
	bad_free(199, 1);
	bad_free(150, 10);
	bad_free(99, 2);
	bad_free(199, 2);
	bad_free(50, 200);
	bad_free(300, 0);
	bad_free(0, 1);
	bad_free(1, 5);
	bad_free(990, 11);
	bad_free(1000, 1);
	bad_free(500, UINT64_MAX);
	bad_free(UINT64_MAX, 2);
}
END_TEST

/* ---- against a map of bits ---- */

#define MODEL_BLOCKS 6000u

struct model {
	uint8_t used[MODEL_BLOCKS];
	uint64_t free;
	/* what each_free has told */
	uint8_t told[MODEL_BLOCKS];
	pblk_t told_end;
};

static void
tell(void *arg, pblk_t start, uint64_t n)
{
	struct model *m = arg;

	ck_assert_uint_gt(n, 0);
	ck_assert_uint_le(start + n, MODEL_BLOCKS);
	/* In order, and joined: a gap between any two. */
	ck_assert(start > m->told_end);
	memset(m->told + start, 0, n);
	m->told_end = start + n;
}

static void
compare(struct alloc *a, struct model *m)
{
	uint64_t longest = 0, run = 0;
	struct alloc_stats st = stats(a);

	memset(m->told, 1, sizeof(m->told));
	m->told_end = 0;
	alloc_each_free(a, tell, m);
	ck_assert_int_eq(memcmp(m->told, m->used, sizeof(m->used)), 0);
	ck_assert_uint_eq(st.free, m->free);
	for (unsigned i = 0; i < MODEL_BLOCKS; i++) {
		run = m->used[i] ? 0 : run + 1;
		longest = max_of(longest, run);
	}
	ck_assert_uint_le(st.largest, longest);
}

static void
model_take(struct model *m, pblk_t start, uint64_t n)
{
	ck_assert_uint_ge(start, FIRST);
	ck_assert_uint_le(start + n, MODEL_BLOCKS);
	for (uint64_t i = 0; i < n; i++)
		ck_assert_msg(!m->used[start + i], "block %llu twice", (unsigned long long)(start + i));
	memset(m->used + start, 1, n);
	m->free -= n;
}

static void
random_alloc(struct alloc *a, struct model *m, uint64_t *seed, uint64_t keep)
{
	static const uint64_t sizes[] = { 1, 1, 1, 2, 8, 33, 64, 300, 512, 1024 };
	static const unsigned kinds[] = { 0, 0, ALLOC_NODE, ALLOC_HUGE, ALLOC_EXACT, ALLOC_EXACT | ALLOC_HUGE };
	uint64_t want = sizes[unit_random(seed) % (sizeof(sizes) / sizeof(sizes[0]))];
	unsigned flags = kinds[unit_random(seed) % (sizeof(kinds) / sizeof(kinds[0]))];
	pblk_t goal = unit_random(seed) % 3 ? PBLK_NONE : unit_random(seed) % MODEL_BLOCKS, start = 0;
	uint64_t got;
	int ret = alloc_run(a, goal, want, keep, flags, &start, &got);

	if (ret < 0) {
		uint64_t run = 0, longest = 0;

		ck_assert_int_eq(ret, -ENOSPC);
		if (m->free <= keep)
			return;
		/* Only an exact run may fail while blocks can be had: if there is none that long. */
		ck_assert(flags & ALLOC_EXACT);
		for (unsigned i = 0; i < MODEL_BLOCKS; i++) {
			run = m->used[i] ? 0 : run + 1;
			longest = max_of(longest, run);
		}
		ck_assert(longest < want || m->free - keep < want);
		return;
	}
	ck_assert_uint_ge(got, 1);
	ck_assert_uint_le(got, want);
	if (flags & ALLOC_EXACT)
		ck_assert_uint_eq(got, want);
	ck_assert_uint_ge(m->free, keep + got);
	model_take(m, start, got);
}

static void
random_free(struct alloc *a, struct model *m, uint64_t *seed)
{
	pblk_t start = FIRST + unit_random(seed) % (MODEL_BLOCKS - FIRST);
	uint64_t most = 1 + unit_random(seed) % (unit_random(seed) % 4 ? 4 : 700), n = 0;

	while (start < MODEL_BLOCKS && !m->used[start])
		start++;
	while (n < most && start + n < MODEL_BLOCKS && m->used[start + n])
		n++;
	if (n == 0)
		return;
	alloc_free(a, start, n);
	memset(m->used + start, 0, n);
	m->free += n;
}

START_TEST(random_against_model)
{
	struct alloc *a = fresh(MODEL_BLOCKS);
	struct model *m = calloc(1, sizeof(*m));
	uint64_t seed = 77 + (uint64_t)_i;

	ck_assert_ptr_nonnull(m);
	memset(m->used, 1, FIRST);
	m->free = MODEL_BLOCKS - FIRST;
	for (unsigned i = 0; i < 20000; i++) {
		/* Waves, so that it is nearly full at times, and nearly empty. */
		bool filling = i / 1000 % 2 == 0;
		uint64_t keep = unit_random(&seed) % 8 ? 0 : unit_random(&seed) % 1000;

		if (unit_random(&seed) % 8 < (filling ? 6 : 2))
			random_alloc(a, m, &seed, keep);
		else
			random_free(a, m, &seed);
		if (i % 50 == 0)
			compare(a, m);
	}
	/* Down to the last block, and all back. */
	while (m->free > 0) {
		pblk_t start;
		uint64_t got;

		ck_assert_ok(alloc_run(a, PBLK_NONE, 1 + unit_random(&seed) % 9, 0, 0, &start, &got));
		model_take(m, start, got);
	}
	compare(a, m);
	alloc_free(a, FIRST, MODEL_BLOCKS - FIRST);
	ck_assert_uint_eq(stats(a).free_extents, 1);
	alloc_destroy(a);
	free(m);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("alloc");
	TCase *tc = tcase_create("alloc");

	tcase_add_test(tc, starts_all_used);
	tcase_add_test(tc, single_blocks_are_sequential);
	tcase_add_test(tc, goals);
	tcase_add_test(tc, huge_runs_are_aligned);
	tcase_add_test(tc, what_cursors_hold_is_not_lost);
	tcase_add_test(tc, nodes_prefer_backed_blocks);
	tcase_add_test(tc, reservations);
	tcase_add_test(tc, quarantine);
	tcase_add_test(tc, bad_frees);
	tcase_add_loop_test(tc, random_against_model, 0, 6);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
