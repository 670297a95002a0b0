/* SPDX-License-Identifier: BSD-3-Clause */
/* pinctl scrub: start one, look on until it has ended, end it. The scrub is the daemon's: a pinctl that is interrupted
 * cancels it, one that is killed leaves it running. */
#include "config.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <pinfs/pinfs.h>

#include "cli/cli.h"
#include "cli/pinctl.h"

#define RATE_DEFAULT (100ull << 20)
#define LOOK_NS 100000000 /* between two looks */

enum { EXIT_SOUND = 0, EXIT_FAILED = 1, EXIT_DAMAGE = 4, EXIT_CANCELLED = 32 };

typedef unsigned long long ull;

static volatile sig_atomic_t interrupted;

static void
on_signal(int sig)
{
	(void)sig;
	interrupted = 1;
}

static int
ask(int fd, const char *path, uint32_t op, uint64_t rate, struct pinfs_scrub *s)
{
	*s = (struct pinfs_scrub){ .size = sizeof(*s), .op = op, .bytes_per_s = rate };
	if (ioctl(fd, PINFS_IOC_SCRUB, s) == 0)
		return 0;
	if (errno == EBUSY)
		cli_error(PINCTL_PROG, "%s: a scrub is running (--status shows how far it is, --cancel ends it)", path);
	else if (errno == EPERM)
		cli_error(PINCTL_PROG, "%s: scrub: not permitted: only root and the user that the daemon runs as may", path);
	else
		pinctl_failed(path, "scrub", -errno);
	return -1;
}

static const char *
state_name(uint32_t state)
{
	switch (state) {
	case PINFS_SCRUB_NEVER:
		return "never";
	case PINFS_SCRUB_RUNNING:
		return "running";
	case PINFS_SCRUB_DONE:
		return "done";
	case PINFS_SCRUB_CANCELLED:
		return "cancelled";
	default:
		return "unknown";
	}
}

static void
print_time(const char *what, int64_t t)
{
	time_t sec = (time_t)t;
	struct tm tm;
	char buf[40];

	if (t != 0 && localtime_r(&sec, &tm) && strftime(buf, sizeof(buf), "%F %T", &tm))
		printf("  %-13s %s\n", what, buf);
}

static void
print_scrub(const char *path, const struct pinfs_scrub *s)
{
	char a[16], b[16];

	printf("%s: scrub %s\n", path, s->state == PINFS_SCRUB_NEVER ? "never run since the mount" : state_name(s->state));
	if (s->state == PINFS_SCRUB_NEVER)
		return;
	print_time("started", s->started);
	print_time("ended", s->ended);
	printf("  read          %s of %s\n", cli_size(a, s->done_bytes), cli_size(b, s->total_bytes));
	printf("  tree nodes    %llu, %llu damaged\n", (ull)s->nodes, (ull)s->node_errors);
	printf("  inodes        %llu, %llu damaged\n", (ull)s->inodes, (ull)s->inode_errors);
	printf("  blocks        %llu, %llu damaged", (ull)s->blocks, (ull)s->block_errors);
	if (s->known_blocks)
		printf(", %llu of known damage", (ull)s->known_blocks);
	putchar('\n');
}

static void
json_scrub(const struct pinfs_scrub *s)
{
	printf("{\"state\":\"%s\",\"bytes_per_s\":%llu,\"done_bytes\":%llu,\"total_bytes\":%llu,\"nodes\":%llu,"
	    "\"inodes\":%llu,\"blocks\":%llu", state_name(s->state), (ull)s->bytes_per_s, (ull)s->done_bytes,
	    (ull)s->total_bytes, (ull)s->nodes, (ull)s->inodes, (ull)s->blocks);
	printf(",\"node_errors\":%llu,\"inode_errors\":%llu,\"block_errors\":%llu,\"known_blocks\":%llu,"
	    "\"started\":%lld,\"ended\":%lld}\n", (ull)s->node_errors, (ull)s->inode_errors, (ull)s->block_errors,
	    (ull)s->known_blocks, (long long)s->started, (long long)s->ended);
}

static int
show(const struct pinctl_args *a, const struct pinfs_scrub *s)
{
	if (pinctl_has(a, PINCTL_JSON))
		json_scrub(s);
	else
		print_scrub(a->operand[0], s);
	if (s->node_errors + s->inode_errors + s->block_errors > 0)
		return EXIT_DAMAGE;
	return s->state == PINFS_SCRUB_CANCELLED ? EXIT_CANCELLED : EXIT_SOUND;
}

static int
look_on(const struct pinctl_args *a, int fd, struct pinfs_scrub *s)
{
	struct timespec pause = { 0, LOOK_NS };
	struct cli_progress bar;

	cli_progress_start(&bar, "scrub", s->total_bytes, isatty(STDERR_FILENO));
	while (s->state == PINFS_SCRUB_RUNNING) {
		nanosleep(&pause, NULL);
		if (ask(fd, a->operand[0], interrupted ? PINFS_SCRUB_CANCEL : PINFS_SCRUB_STATUS, 0, s) < 0) {
			cli_progress_end(&bar);
			return EXIT_FAILED;
		}
		cli_progress_update(&bar, s->done_bytes);
	}
	cli_progress_end(&bar);
	return show(a, s);
}

static int
run_scrub(const struct pinctl_args *a, int fd, uint64_t rate)
{
	struct sigaction sa = { .sa_handler = on_signal };
	struct pinfs_scrub s;

	if (pinctl_has(a, PINCTL_STATUS))
		return ask(fd, a->operand[0], PINFS_SCRUB_STATUS, 0, &s) < 0 ? EXIT_FAILED : show(a, &s);
	if (pinctl_has(a, PINCTL_CANCEL))
		return ask(fd, a->operand[0], PINFS_SCRUB_CANCEL, 0, &s) < 0 ? EXIT_FAILED : 0;
	sigemptyset(&sa.sa_mask);
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	if (ask(fd, a->operand[0], PINFS_SCRUB_START, rate, &s) < 0)
		return EXIT_FAILED;
	return look_on(a, fd, &s);
}

int
pinctl_scrub(const struct pinctl_args *a)
{
	uint64_t rate = RATE_DEFAULT;
	int fd, r;

	if (pinctl_has(a, PINCTL_STATUS) + pinctl_has(a, PINCTL_CANCEL) + pinctl_has(a, PINCTL_RATE) > 1) {
		cli_usage_error(PINCTL_PROG, "one of --status, --cancel and --rate at a time");
		return PINCTL_USAGE;
	}
	if (pinctl_has(a, PINCTL_RATE) && pinctl_size(a->value[PINCTL_RATE], "rate", &rate) < 0)
		return PINCTL_USAGE;
	fd = pinctl_open(a->operand[0]);
	if (fd < 0)
		return EXIT_FAILED;
	r = run_scrub(a, fd, rate);
	close(fd);
	return r;
}
