/* SPDX-License-Identifier: BSD-3-Clause */
/* pinfs: mount a pool.
 *
 * Unless told to stay, the program splits in two before it touches anything: the child opens the pool,
 * mounts, and then serves in the background; the parent waits until the child has said that the mount
 * is there, or has failed. So errors are printed where the user sees them and become the exit status, and
 * no thread or lock has to survive a fork.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/confine.h"
#include "fs/fuse/front.h"
#include "pmem/log.h"

static const char prog[] = "pinfs";

enum { EXIT_USAGE = 2 };

struct arguments {
	const char *pool, *mountpoint;
	char pool_path[PATH_MAX], mountpoint_path[PATH_MAX]; /* absolute */
	struct mount_options options;
	bool foreground, debug;
};

static void
help(void)
{
	printf("Usage: %s POOL MOUNTPOINT [-o OPTION[,OPTION]...] [-f] [-d]\n"
	       "Mount the pinfs pool POOL on MOUNTPOINT.\n"
	       "\n"
	       "  -o, --options=LIST      mount options, see below\n"
	       "  -f, --foreground        stay in the foreground, messages to stderr\n"
	       "  -d, --debug             the same, and show requests\n"
	       "      --help              show this\n"
	       "      --version           show the version\n"
	       "\n"
	       "Mount options:\n",
	    prog);
	mount_options_help(stdout);
	printf("\n"
	       "Unmount with 'fusermount3 -u MOUNTPOINT', as root also with 'umount MOUNTPOINT'.\n"
	       "In an fstab: POOL MOUNTPOINT fuse.pinfs OPTIONS 0 0\n");
}

/* 0, or an exit status less than 0: -1 - status. */
static int
parse(struct arguments *a, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "options", required_argument, NULL, 'o' }, { "foreground", no_argument, NULL, 'f' },
		{ "debug", no_argument, NULL, 'd' }, { "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' }, { NULL, 0, NULL, 0 },
	};
	char why[1024];
	int opt;

	while ((opt = getopt_long(argc, argv, "o:fdhV", longs, NULL)) != -1) {
		switch (opt) {
		case 'o':
			if (mount_options_parse(&a->options, optarg, why, sizeof(why)) < 0) {
				cli_usage_error(prog, "%s", why);
				return -1 - EXIT_USAGE;
			}
			break;
		case 'f':
			a->foreground = true;
			break;
		case 'd':
			a->foreground = a->debug = true;
			break;
		case 'h':
			help();
			return -1;
		case 'V':
			cli_version(prog);
			printf("using libfuse %s\n", front_fuse_version());
			return -1;
		default:
			fprintf(stderr, "Try '%s --help'.\n", prog);
			return -1 - EXIT_USAGE;
		}
	}
	if (argc - optind != 2) {
		cli_usage_error(prog, argc - optind > 2 ? "too many arguments: '%s'" : "%s",
		    argc - optind > 2  ? argv[optind + 2]
		    : argc == optind   ? "no pool and no mountpoint given"
				       : "no mountpoint given");
		return -1 - EXIT_USAGE;
	}
	a->pool = argv[optind];
	a->mountpoint = argv[optind + 1];
	return 0;
}

/* The daemon works in "/", so paths have to be absolute before. */
static int
resolve(struct arguments *a)
{
	if (!realpath(a->pool, a->pool_path)) {
		cli_error(prog, "%s: %s", a->pool, strerror(errno));
		return -errno;
	}
	if (!realpath(a->mountpoint, a->mountpoint_path)) {
		if (errno == ENOTCONN)
			cli_error(prog, "%s is a mount whose daemon has died: unmount it first ('fusermount3 -u %s')",
			    a->mountpoint, a->mountpoint);
		else
			cli_error(prog, "mountpoint %s: %s", a->mountpoint, strerror(errno));
		return -errno;
	}
	return 0;
}

/* Descriptors 0 to 2 must exist, or a pool could become one of them and get messages. */
static int
open_standard(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
		if (fd < 0)
			return -errno;
	} while (fd <= STDERR_FILENO);
	close(fd);
	return 0;
}

static void
block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static void
detach_output(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	pinfs_log_to_syslog(prog);
	if (fd < 0)
		return;
	dup2(fd, STDIN_FILENO);
	dup2(fd, STDOUT_FILENO);
	dup2(fd, STDERR_FILENO);
	if (fd > STDERR_FILENO)
		close(fd);
}

/* Everything is open: give away what serving does not need. A kernel without seccomp is no reason not to serve. */
static void
confine_now(struct front *fr, int r)
{
	if (r == 0) {
		front_on_unmount(fr, confine_unmount, NULL);
		r = confine();
	}
	if (r < 0)
		pinfs_log(LOG_WARNING, "can't give up privileges (%s): going on with them", strerror(-r));
}

/* ready: where the parent waits for one byte, -1: there is none. */
static int
run(const struct arguments *a, int ready)
{
	struct front_error err;
	struct front *fr;
	int r, e, confined;

	block_signals();
	umask(0);
	if (a->debug)
		pinfs_log_level(LOG_DEBUG);
	confined = confine_begin(a->mountpoint_path, ready);
	r = front_open(&fr, a->pool_path, a->mountpoint_path, &a->options, a->debug, &err);
	if (r < 0) {
		cli_error(prog, "%s", err.text[0] ? err.text : strerror(-r));
		return EXIT_FAILURE;
	}
	if (ready >= 0) {
		detach_output();
		/* nobody waits any more: what was asked for is not wanted */
		if (write(ready, "", 1) != 1)
			r = -errno;
		close(ready);
	}
	confine_now(fr, confined);
	if (r == 0)
		r = front_serve(fr);
	e = front_close(fr);
	if (r == 0)
		r = e;
	if (r < 0)
		pinfs_log(LOG_ERR, "%s: %s", a->mountpoint_path, strerror(-r));
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int
wait_for_mount(pid_t child, int ready)
{
	int status;
	char byte;
	ssize_t n;

	do
		n = read(ready, &byte, 1);
	while (n < 0 && errno == EINTR);
	if (n == 1)
		return EXIT_SUCCESS;
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return EXIT_FAILURE;
	if (WIFSIGNALED(status)) {
		cli_error(prog, "the daemon was ended by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
		return EXIT_FAILURE;
	}
	return WEXITSTATUS(status);
}

static int
run_detached(const struct arguments *a)
{
	int p[2];
	pid_t child;

	if (pipe2(p, O_CLOEXEC) < 0 || (child = fork()) < 0) {
		cli_error(prog, "can't start the daemon: %s", strerror(errno));
		return EXIT_FAILURE;
	}
	if (child > 0) {
		close(p[1]);
		return wait_for_mount(child, p[0]);
	}
	close(p[0]);
	setsid();
	if (chdir("/") < 0) {
		cli_error(prog, "/: %s", strerror(errno));
		return EXIT_FAILURE;
	}
	return run(a, p[1]);
}

int
main(int argc, char **argv)
{
	static struct arguments a;
	int r;

	if (open_standard() < 0)
		return EXIT_FAILURE;
	mount_options_default(&a.options);
	r = parse(&a, argc, argv);
	if (r < 0)
		return -1 - r;
	if (resolve(&a) < 0)
		return EXIT_FAILURE;
	return a.foreground ? run(&a, -1) : run_detached(&a);
}
