/* SPDX-License-Identifier: BSD-3-Clause */
/* The holder has page 1 pinned for one I/O and does not let go of it before it has had page 0 as well; meanwhile
 * somebody writes both back, in order. A filesystem that locks page 0 and then waits for page 1's pin has both wait for
 * ever. */
#include "tests/scenarios/scenario.h"

#define BOUND_MS 300 /* s01.sh: transient_ms */

struct syncer {
	struct turns t;
	int fd;
};

static void
sync_it(void *arg)
{
	struct syncer *s = arg;
	int r;

	turn_take(&s->t, 1);
	turn_give(&s->t, 1, 'b'); /* begins */
	r = fsync(s->fd);
	turn_give(&s->t, 1, r == 0 ? 'o' : 'e');
}

int
main(int argc, char **argv)
{
	struct pinfs_map *one, *zero;
	struct syncer s;
	int64_t begin, took;
	bool early;
	pid_t pid;
	char c;

	scenario_begin(argc, argv);
	s.fd = make_file("evil", 2, 'a');
	turns_init(&s.t);
	pid = child(sync_it, &s);
	one = map_range(s.fd, BLOCK, BLOCK, PINFS_MAP_WRITE, PINFS_PIN_TRANSIENT);
	memset(pinfs_addr(one), 'b', BLOCK);
	turn_give(&s.t, 0, 'g');
	turn_take(&s.t, 0);
	begin = now_ms();
	if (policy_is("wait"))
		sleep_ms(BOUND_MS / 4); /* fsync waits by now */
	zero = map_range(s.fd, 0, BLOCK, PINFS_MAP_WRITE, PINFS_PIN_TRANSIENT);
	memset(pinfs_addr(zero), 'c', BLOCK);
	early = turn_ready(&s.t, 0, 0);
	/* both pinned until fsync has returned */
	c = turn_take(&s.t, 0);
	took = now_ms() - begin;
	must(reap(pid) == 0, "the process that syncs failed");
	must(c == 'o', "fsync failed");
	must(pinfs_unmap(zero) == 0 && pinfs_unmap(one) == 0, "unmap");
	if (policy_is("wait"))
		seen(!early && took >= BOUND_MS * 9 / 10, "page 0 pinned while fsync waited; fsync ended after %lld ms",
		    (long long)took);
	seen(true, "fsync returned with both pages still pinned");
}
