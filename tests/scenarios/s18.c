/* SPDX-License-Identifier: BSD-3-Clause */
/* In a build with --enable-debug a violation of the lock order aborts, so "silent over the whole run" is what every other
 * test of such a build shows; here it is shown that it would not be silent. Other builds have no validator. */
#include "config.h"

#include "pmem/lock.h"
#include "tests/scenarios/scenario.h"

static void
invert(void *arg)
{
	struct mtx a, b;

	(void)arg;
	mtx_init(&a, LOCK_PINS, 0);
	mtx_init(&b, LOCK_ALLOC, 0);
	mtx_lock(&a);
	mtx_lock(&b); /* as it should be */
	mtx_unlock(&b);
	mtx_unlock(&a);
	mtx_lock(&b);
	mtx_lock(&a); /* the inversion */
	mtx_unlock(&a);
	mtx_unlock(&b);
}

int
main(int argc, char **argv)
{
	int status, out[2];
	char text[65536];
	size_t len = 0;
	ssize_t n;
	pid_t pid;

	scenario_begin(argc, argv);
#ifndef PINFS_DEBUG
	printf("SEEN this build has no validator (configure --enable-debug)\n");
	fflush(stdout);
	_exit(77);
#endif
	must(pipe(out) == 0, "pipe");
	pid = fork();
	must(pid >= 0, "fork");
	if (pid == 0) {
		dup2(out[1], 2);
		close(out[0]);
		close(out[1]);
		invert(NULL);
		_exit(0);
	}
	close(out[1]);
	while (len < sizeof(text) - 1 && (n = read(out[0], text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	must(waitpid(pid, &status, 0) == pid, "waitpid");
	seen(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && len > 0, "%s; it printed %zu bytes",
	    WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "no abort", len);
}
