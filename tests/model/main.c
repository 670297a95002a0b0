/* SPDX-License-Identifier: BSD-3-Clause */
/* The model test's command line, and shrinking.
 *
 * Each sequence runs in a child process and a directory of its own, so that a crash or a hang is
 * a failure like any other. A sequence that fails is shrunk: parts of it are left out,
 * large ones first, as long as it still fails in the same way (so that it does not slide to another
 * fault); what remains is printed in the form that --replay takes.
 */
#include "tests/model/model.h"

#include <errno.h>
#include <ftw.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct {
	const struct backend *be;
	const char *dir;
	unsigned ops, runs, shrink_s;
	uint64_t seed;
	bool verbose;
} opt = { .be = NULL, .ops = 2000, .runs = 1, .shrink_s = 60, .seed = 1 };

/* What a child tells: in shared memory, so that it is there even if the child crashed. */
static struct shared {
	char why[1024];
	unsigned at;
} *shared;

static double
now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	remove(path); /* what can't be removed is not ours to worry about */
	return 0;
}

/* Take away what a child left: the mount and its daemon, which are in its process group. */
static void
clean_up(pid_t group, const char *dir)
{
	char mnt[600];

	kill(-group, SIGKILL);
	snprintf(mnt, sizeof(mnt), "%s/mnt", dir);
	if (opt.be == &backend_mount) {
		pid_t pid = fork();

		if (pid == 0) {
			if (geteuid() == 0)
				_exit(umount2(mnt, MNT_DETACH) < 0);
			fclose(stderr);
			execlp("fusermount3", "fusermount3", "-uzq", mnt, (char *)NULL);
			_exit(1);
		}
		if (pid > 0)
			waitpid(pid, NULL, 0);
	}
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* Run the list, or make that many operations from the seed: 0 passed, 1 failed with shared->why. The
 * list gets what was made. */
static int
run_child(struct op_list *l, unsigned make, uint64_t seed, unsigned limit_s)
{
	struct op *made = NULL;
	size_t room = (size_t)make * sizeof(struct op);
	char dir[512];
	int status, err;
	pid_t pid;

	snprintf(dir, sizeof(dir), "%s/model.XXXXXX", opt.dir);
	if (!mkdtemp(dir)) {
		fprintf(stderr, "model: %s: %s\n", dir, strerror(errno));
		exit(2);
	}
	if (make) {
		made = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (made == MAP_FAILED) {
			perror("model: mmap");
			exit(2);
		}
		l->op = made;
		l->room = make;
		l->n = 0;
	}
	memset(shared, 0, sizeof(*shared));
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		setpgid(0, 0);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(limit_s);
		err = run_ops(opt.be, dir, l, make, seed, opt.verbose, shared->why, sizeof(shared->why), &shared->at);
		fflush(stdout);
		exit(err);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		perror("model: fork");
		exit(2);
	}
	clean_up(pid, dir);
	err = !WIFEXITED(status) || WEXITSTATUS(status) != 0;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		snprintf(shared->why, sizeof(shared->why), "takes more than %u s", limit_s);
	else if (WIFSIGNALED(status))
		snprintf(shared->why, sizeof(shared->why), "killed by signal %d (%s)", WTERMSIG(status),
		    strsignal(WTERMSIG(status)));
	else if (err && !shared->why[0])
		snprintf(shared->why, sizeof(shared->why), "ended with status %d", WEXITSTATUS(status));
	if (make) {
		/* the child's count is not ours; made[] is zero behind what was made, and at tells how far it went */
		l->n = err ? (shared->at < make ? shared->at + 1 : make) : make;
		l->op = malloc(room);
		if (!l->op)
			abort();
		memcpy(l->op, made, room);
		munmap(made, room);
	}
	return err;
}

/* The list without n operations from at on. */
static struct op_list
without(const struct op_list *l, unsigned at, unsigned n)
{
	struct op_list r = { 0 };

	for (unsigned k = 0; k < l->n; k++)
		if (k < at || k >= at + n)
			op_list_add(&r, &l->op[k]);
	return r;
}

/* What kind of failure is this? The text without digits and without what comes before the first ": ", which
 * is often a path. */
static void
kind_of(const char *why, char kind[256])
{
	const char *p = strstr(why, ": ");
	size_t n = 0;

	for (p = p ? p : why; *p && n < 255; p++)
		if (*p < '0' || *p > '9')
			kind[n++] = *p;
	kind[n] = 0;
}

static void
shrink(struct op_list *l)
{
	char kind[256], other[256];
	double end = now_s() + opt.shrink_s;
	unsigned part = l->n / 2;

	kind_of(shared->why, kind);
	while (part && now_s() < end) {
		bool smaller = false;

		for (unsigned at = 0; at < l->n && now_s() < end;) {
			struct op_list less = without(l, at, part);

			int err = run_child(&less, 0, 0, 60);

			kind_of(shared->why, other);
			if (err && strcmp(kind, other) == 0) {
				free(l->op);
				*l = less;
				if (shared->at < l->n) /* what follows the failure does not matter */
					l->n = shared->at + 1;
				smaller = true;
			} else {
				free(less.op);
				at += part;
			}
		}
		if (!smaller || part > l->n)
			part /= 2;
	}
}

static void
report(struct op_list *l, const char *what)
{
	printf("FAIL: %s, backend %s: operation %u: %s\n", what, opt.be->name, shared->at, shared->why);
	if (!opt.shrink_s)
		return;
	opt.verbose = false;
	printf("shrinking %u operations for up to %u s ...\n", l->n, opt.shrink_s);
	fflush(stdout);
	shrink(l);
	if (run_child(l, 0, 0, 60))
		printf("%u operations are left; they fail with: operation %u: %s\n", l->n, shared->at, shared->why);
	else
		printf("%u operations are left, and fail only sometimes\n", l->n);
	printf("---- for --replay ----\n");
	for (unsigned k = 0; k < l->n; k++)
		op_print(stdout, &l->op[k]);
	printf("----\n");
}

static int
replay(const char *path)
{
	FILE *f = strcmp(path, "-") ? fopen(path, "r") : stdin;
	struct op_list l = { 0 };
	char line[256];
	struct op op;
	int err;

	if (!f) {
		fprintf(stderr, "model: %s: %s\n", path, strerror(errno));
		return 2;
	}
	while (fgets(line, sizeof(line), f)) {
		if (line[0] == '#' || line[0] == '\n' || line[0] == '-')
			continue;
		if (!op_parse(&op, line)) {
			fprintf(stderr, "model: %s: not an operation: %s", path, line);
			return 2;
		}
		op_list_add(&l, &op);
	}
	if (f != stdin)
		fclose(f);
	err = run_child(&l, 0, 0, 600);
	if (err)
		report(&l, path);
	free(l.op);
	return err;
}

static void
usage(FILE *f)
{
	fprintf(f, "Usage: model --backend fs|mount [OPTION]...\n"
	    "Random operations on pinfs, compared with a model in memory.\n\n"
	    "  --seed N       the first seed (default 1)\n"
	    "  --runs N       how many seeds, one after the other (default 1)\n"
	    "  --ops N        operations a seed (default 2000)\n"
	    "  --dir DIR      where pools are made (default $PINFS_TEST_DIR or /dev/shm)\n"
	    "  --replay FILE  run the operations in FILE instead (-: standard input)\n"
	    "  --shrink S     how long to shrink a failure, in seconds (default 60; 0: not)\n"
	    "  --verbose      print each operation before it is done\n");
}

int
main(int argc, char **argv)
{
	static const struct option longopts[] = {
		{ "backend", required_argument, NULL, 'b' }, { "seed", required_argument, NULL, 's' },
		{ "runs", required_argument, NULL, 'r' },    { "ops", required_argument, NULL, 'o' },
		{ "dir", required_argument, NULL, 'd' },     { "replay", required_argument, NULL, 'p' },
		{ "shrink", required_argument, NULL, 'k' },  { "verbose", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },          { NULL, 0, NULL, 0 },
	};
	const char *replay_path = NULL;
	int c;

	opt.dir = getenv("PINFS_TEST_DIR");
	if (!opt.dir || !opt.dir[0])
		opt.dir = "/dev/shm";
	while ((c = getopt_long(argc, argv, "", longopts, NULL)) != -1) {
		switch (c) {
		case 'b':
			opt.be = strcmp(optarg, "fs") == 0 ? &backend_fs :
			    strcmp(optarg, "mount") == 0 ? &backend_mount : NULL;
			break;
		case 's':
			opt.seed = strtoull(optarg, NULL, 0);
			break;
		case 'r':
			opt.runs = (unsigned)strtoul(optarg, NULL, 0);
			break;
		case 'o':
			opt.ops = (unsigned)strtoul(optarg, NULL, 0);
			break;
		case 'd':
			opt.dir = optarg;
			break;
		case 'p':
			replay_path = optarg;
			break;
		case 'k':
			opt.shrink_s = (unsigned)strtoul(optarg, NULL, 0);
			break;
		case 'v':
			opt.verbose = true;
			break;
		case 'h':
			usage(stdout);
			return 0;
		default:
			return 2;
		}
	}
	if (!opt.be || !opt.ops || !opt.runs || optind != argc) {
		usage(stderr);
		return 2;
	}
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED) {
		perror("model: mmap");
		return 2;
	}
	if (replay_path)
		return replay(replay_path);
	for (unsigned k = 0; k < opt.runs; k++) {
		struct op_list l = { 0 };
		double start = now_s();
		char what[64];

		if (run_child(&l, opt.ops, opt.seed + k, 300)) {
			snprintf(what, sizeof(what), "seed %llu", (unsigned long long)(opt.seed + k));
			report(&l, what);
			free(l.op);
			return 1;
		}
		free(l.op);
		printf("seed %llu: %u operations, %.1f s\n", (unsigned long long)(opt.seed + k), opt.ops, now_s() - start);
		fflush(stdout);
	}
	return 0;
}
