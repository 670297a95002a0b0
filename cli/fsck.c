/* SPDX-License-Identifier: BSD-3-Clause */
/* fsck.pinfs: check a pool.
 *
 * Everything that knows the format is in fs/check.h; this is options, output and the exit status
 * of fsck(8). Findings go to standard output, one a line, as they are found; the progress bar
 * and messages about the run itself go to standard error. */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "fs/check.h"

/* fsck(8) */
enum { EXIT_CLEAN = 0, EXIT_LEFT = 4, EXIT_OPERATION = 8, EXIT_USAGE = 16, EXIT_CANCELLED = 32 };

static const char prog[] = "fsck.pinfs";

struct run {
	const char *path;
	char mode;               /* 'n', 'y' or 'p' */
	bool force, verbose, json, no_data;
	bool bar_wanted;
	struct cli_progress bar;
	const char *phase;       /* that the bar shows */
	uint64_t findings;
};

static volatile sig_atomic_t interrupted;

static void
on_signal(int sig)
{
	(void)sig;
	interrupted = 1;
}

static void
help(void)
{
	printf("Usage: %s [OPTION]... POOL\n"
	       "Check the pinfs pool in POOL, which must not be mounted.\n"
	       "\n"
	       "  -n              check, change nothing (the default)\n"
	       "  -y              check with nobody else using the pool; this version reports damage\n"
	       "                  and repairs none\n"
	       "  -p, -a          as -y, but leave out a pool that was cleanly unmounted (for boot)\n"
	       "  -f              with -p: check it nevertheless\n"
	       "  -v              add figures\n"
	       "  -C              show a progress bar (the default on a terminal)\n"
	       "      --no-data   leave out the checksums of file content\n"
	       "      --json      findings and figures as JSON\n"
	       "      --help      show this\n"
	       "      --version   show the version\n"
	       "\n"
	       "Exit status: 0 sound, 4 damage found, 8 could not check, 16 wrong usage, 32 cancelled.\n",
	    prog);
}

/* ---- output ------------------------------------------------------------------- */

static void
json_finding(const struct run *run, const struct check_finding *f)
{
	printf("%s\n    {\"severity\": \"%s\", \"code\": \"%s\"", run->findings ? "," : "",
	    f->error ? "error" : "info", check_code_name(f->code));
	if (f->path) {
		fputs(", \"path\": ", stdout);
		cli_json_string(stdout, f->path);
	}
	if (f->ino != INO_NONE)
		printf(", \"inode\": %llu", (unsigned long long)f->ino);
	if (f->offset != CHECK_NOWHERE)
		printf(", \"offset\": %llu", (unsigned long long)f->offset);
	if (f->block != CHECK_NOWHERE)
		printf(", \"block\": %llu", (unsigned long long)f->block);
	fputs(", \"what\": ", stdout);
	cli_json_string(stdout, f->what);
	fputs(", \"means\": ", stdout);
	cli_json_string(stdout, f->means);
	putchar('}');
}

static void
on_finding(void *arg, const struct check_finding *f)
{
	static char line[20000]; /* findings come one at a time */
	struct run *run = arg;

	if (run->json) {
		json_finding(run, f);
	} else {
		cli_progress_end(&run->bar);
		check_format(f, line, sizeof(line));
		printf("%s: %s\n", f->error ? "error" : "info", line);
		fflush(stdout);
	}
	run->findings++;
}

static int
on_progress(void *arg, const char *phase, uint64_t done, uint64_t total)
{
	struct run *run = arg;

	if (run->bar_wanted) {
		if (phase != run->phase) {
			cli_progress_end(&run->bar);
			cli_progress_start(&run->bar, phase, total, true);
			run->phase = phase;
		}
		run->bar.total = total;
		cli_progress_update(&run->bar, done);
	}
	return interrupted;
}

static void
print_figures(const struct check_result *r)
{
	printf("%llu inodes (%llu directories, %llu orphans), %llu tree nodes, %llu data blocks "
	    "(%llu shared), %llu checksums verified\n", (unsigned long long)r->inodes,
	    (unsigned long long)r->dirs, (unsigned long long)r->orphans, (unsigned long long)r->nodes,
	    (unsigned long long)r->data_blocks, (unsigned long long)r->shared_blocks,
	    (unsigned long long)r->verified_blocks);
}

static void
json_end(const struct check_result *r, bool complete)
{
	printf("%s],\n  \"complete\": %s,\n  \"errors\": %llu,\n  \"infos\": %llu,\n"
	    "  \"inodes\": %llu,\n  \"directories\": %llu,\n  \"orphans\": %llu,\n  \"tree_nodes\": %llu,\n"
	    "  \"data_blocks\": %llu,\n  \"shared_blocks\": %llu,\n  \"verified_blocks\": %llu\n}\n",
	    r->errors || r->infos ? "\n  " : "", complete ? "true" : "false", (unsigned long long)r->errors,
	    (unsigned long long)r->infos, (unsigned long long)r->inodes, (unsigned long long)r->dirs,
	    (unsigned long long)r->orphans, (unsigned long long)r->nodes,
	    (unsigned long long)r->data_blocks, (unsigned long long)r->shared_blocks,
	    (unsigned long long)r->verified_blocks);
}

static void
print_summary(const struct run *run, const struct check_result *r)
{
	if (run->verbose)
		print_figures(r);
	if (r->errors == 0)
		printf("%s: no damage found%s\n", run->path, run->no_data ? " (content not checked)" : "");
	else
		printf("%s: %llu error%s\n", run->path, (unsigned long long)r->errors, r->errors == 1 ? "" : "s");
}

/* ---- the run --------------------------------------------------------------------- */

static int
check(struct run *run, struct pool *p)
{
	struct check_options opt = {
		.no_data = run->no_data, .finding = on_finding, .progress = on_progress, .arg = run,
	};
	struct root_block root;
	struct check_result res;
	char uuid[37];
	int r;

	pool_root(p, &root);
	if (run->mode == 'p' && !run->force && (root.flags & ROOT_CLEAN)) {
		if (run->json)
			printf("{\"skipped\": \"clean\"}\n");
		else
			printf("%s: cleanly unmounted, not checked (-f checks it)\n", run->path);
		return EXIT_CLEAN;
	}
	if (run->json) {
		fputs("{\n  \"pool\": ", stdout);
		cli_json_string(stdout, run->path);
		printf(",\n  \"uuid\": \"%s\",\n  \"transaction\": %llu,\n  \"findings\": [",
		    cli_uuid(uuid, root.uuid), (unsigned long long)root.txn);
	}
	r = check_pool(p, &opt, &res);
	cli_progress_end(&run->bar);
	if (run->json)
		json_end(&res, r == 0);
	else if (r == 0)
		print_summary(run, &res);
	fflush(stdout);
	if (r == -ECANCELED) {
		cli_error(prog, "cancelled; the check is not complete");
		return EXIT_CANCELLED;
	}
	if (r < 0) {
		cli_error(prog, "%s: the check could not be completed: %s", run->path, strerror(-r));
		return EXIT_OPERATION;
	}
	if (res.errors == 0)
		return EXIT_CLEAN;
	if (run->mode != 'n')
		cli_error(prog, "this version reports damage only, nothing was repaired");
	return EXIT_LEFT;
}

static int
run_check(struct run *run)
{
	struct pool_options opt = { .flags = run->mode == 'n' ? POOL_RDONLY : 0, .domain = -1 };
	struct pool_error err = { "" };
	struct pool *p;
	int r = pool_open(&p, run->path, &opt, &err);

	if (r < 0) {
		if (err.text[0])
			cli_error(prog, "%s", err.text); /* names the pool */
		else
			cli_error(prog, "%s: %s", run->path, strerror(-r));
		/* It is a pool, but none that can be used any more. */
		return r == -EIO ? EXIT_LEFT : EXIT_OPERATION;
	}
	r = check(run, p);
	pool_close(p);
	return r;
}

static void
catch_signals(void)
{
	struct sigaction sa = { .sa_handler = on_signal };

	sigemptyset(&sa.sa_mask);
	sa.sa_flags = (int)SA_RESETHAND; /* the second time, at once */
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
}

int
main(int argc, char **argv)
{
	enum { OPT_HELP = 256, OPT_VERSION, OPT_NO_DATA, OPT_JSON };
	static const struct option longopts[] = {
		{ "no-data", no_argument, NULL, OPT_NO_DATA },
		{ "json", no_argument, NULL, OPT_JSON },
		{ "help", no_argument, NULL, OPT_HELP },
		{ "version", no_argument, NULL, OPT_VERSION },
		{ NULL, 0, NULL, 0 },
	};
	struct run run = { .bar_wanted = isatty(STDERR_FILENO) };
	int c, r;

	while ((c = getopt_long(argc, argv, "nypafvC::", longopts, NULL)) != -1) {
		switch (c) {
		case 'n':
		case 'y':
		case 'p':
		case 'a':
			if (c == 'a')
				c = 'p';
			if (run.mode && run.mode != c) {
				cli_usage_error(prog, "-%c and -%c contradict each other: give one of -n, -y, -p",
				    run.mode, c);
				return EXIT_USAGE;
			}
			run.mode = (char)c;
			break;
		case 'f':
			run.force = true;
			break;
		case 'v':
			run.verbose = true;
			break;
		case 'C': /* fsck(8) may name a descriptor; the bar goes to standard error */
			run.bar_wanted = true;
			break;
		case OPT_NO_DATA:
			run.no_data = true;
			break;
		case OPT_JSON:
			run.json = true;
			break;
		case OPT_HELP:
			help();
			return EXIT_CLEAN;
		case OPT_VERSION:
			cli_version(prog);
			return EXIT_CLEAN;
		default:
			cli_usage_error(prog, "the options are -n, -y, -p, -f, -v, -C, --no-data and --json");
			return EXIT_USAGE;
		}
	}
	if (!run.mode)
		run.mode = 'n';
	if (argc == optind) {
		cli_usage_error(prog, "which POOL? name the file or device");
		return EXIT_USAGE;
	}
	if (argc - optind > 1) {
		cli_usage_error(prog, "one POOL at a time: '%s' is one too many", argv[optind + 1]);
		return EXIT_USAGE;
	}
	run.path = argv[optind];
	catch_signals();
	r = run_check(&run);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		cli_error(prog, "standard output: %s", strerror(errno));
		return r == EXIT_CLEAN ? EXIT_OPERATION : r;
	}
	return r;
}
