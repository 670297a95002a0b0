/* SPDX-License-Identifier: BSD-3-Clause */
/* The scratch directory is made once by the test program, before the runner
 * forks a process for each test, and is removed by a janitor: a process of its
 * own session that does nothing but wait for the other end of a pipe to close.
 * So the directory goes away whatever ends the tests, SIGKILL included. In
 * addition each test process removes its own pools when it exits, so that a long
 * suite does not pile them up.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pmem/pool.h"

#define PATHS_MAX 64

static char scratch[200];
static pid_t janitor = -1;
static int janitor_pipe = -1;

/* Paths handed out in this process. */
static char paths[PATHS_MAX][256];
static unsigned npaths;
static pid_t paths_owner;

/* Sanitizers make tests several times slower than the runner's four seconds allow for. */
__attribute__((constructor)) static void
default_timeout(void)
{
	setenv("CK_DEFAULT_TIMEOUT", "120", 0);
}

static void
die(const char *what)
{
	fprintf(stderr, "unit: %s: %s\n", what, strerror(errno));
	exit(99);
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	remove(path);
	return 0;
}

static void
remove_paths(void)
{
	if (paths_owner != getpid())
		return;
	for (unsigned i = 0; i < npaths; i++)
		unlink(paths[i]);
}

static void
end_scratch(void)
{
	remove_paths();
	if (janitor < 0 || janitor_pipe < 0)
		return;
	close(janitor_pipe);
	janitor_pipe = -1;
	waitpid(janitor, NULL, 0); /* ECHILD in a forked test, which is not its parent */
}

static void
start_scratch(void)
{
	const char *dir = getenv("PINFS_TEST_DIR");
	int fds[2];
	char c;

	if (scratch[0])
		return;
	snprintf(scratch, sizeof(scratch), "%s/pinfs-test.%d.XXXXXX", dir && *dir ? dir : "/dev/shm",
	    (int)getpid());
	if (!mkdtemp(scratch))
		die(scratch);
	if (pipe2(fds, O_CLOEXEC) < 0)
		die("pipe");
	fflush(NULL);
	janitor = fork();
	if (janitor < 0)
		die("fork");
	if (janitor == 0) {
		setsid();
		/* The pipe of whoever reads the tests' output must see its end. */
		close(fds[1]);
		close(STDOUT_FILENO);
		close(STDERR_FILENO);
		while (read(fds[0], &c, 1) < 0 && errno == EINTR)
			;
		nftw(scratch, remove_one, 16, FTW_DEPTH | FTW_PHYS);
		_exit(0);
	}
	close(fds[0]);
	janitor_pipe = fds[1];
	atexit(end_scratch);
}

int
unit_main(Suite *s)
{
	SRunner *sr = srunner_create(s);
	int failed;

	start_scratch();
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

const char *
unit_pool_path(void)
{
	start_scratch();
	if (paths_owner != getpid()) {
		paths_owner = getpid();
		npaths = 0;
	}
	ck_assert_msg(npaths < PATHS_MAX, "a test uses more than %d pools", PATHS_MAX);
	snprintf(paths[npaths], sizeof(paths[npaths]), "%s/pool.%d.%u", scratch, (int)getpid(), npaths);
	return paths[npaths++];
}

const char *
unit_mkpool(unsigned mib)
{
	const char *path = unit_pool_path();
	struct mkfs_options opt = { .bytes = (uint64_t)mib << 20 };
	struct pool_error err;
	int r = pool_mkfs(path, &opt, &err);

	ck_assert_msg(r == 0, "mkfs %s: %s", path, err.text);
	return path;
}

static int
mark_used(void *arg, const struct tree_walk_node *wn)
{
	struct pool *p = arg;

	if (wn->error)
		return wn->error;
	ck_assert_ok(pool_rebuild_used(p, wn->block, 1));
	if (wn->level > 0)
		return 0;
	for (unsigned i = 0; i < leaf_count(wn->node); i++) {
		struct extent_item e;
		struct tree_key key;
		const void *value;
		size_t len;

		leaf_item(wn->node, i, &key, &value, &len);
		if (tree_key_type(key) != ITEM_EXTENT || len < EXTENT_ITEM_HEAD)
			continue;
		memcpy(&e, value, EXTENT_ITEM_HEAD);
		ck_assert_ok(pool_rebuild_used(p, e.pblk, e.len));
	}
	return 0;
}

struct pool *
unit_open(const char *path)
{
	struct pool_options opt = { .domain = -1 };
	struct pool_error err;
	struct pool *p;
	int r = pool_open(&p, path, &opt, &err);

	ck_assert_msg(r == 0, "open %s: %s", path, err.text);
	ck_assert_ok(pool_rebuild_begin(p));
	ck_assert_ok(tree_walk(p, mark_used, p));
	ck_assert_ok(pool_rebuild_end(p));
	return p;
}

uint64_t
unit_random(uint64_t *state)
{
	uint64_t x = *state ? *state : 0x9e3779b97f4a7c15u;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * 0x2545f4914f6cdd1du;
}
