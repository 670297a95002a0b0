/* SPDX-License-Identifier: BSD-3-Clause */
/* fsck.pinfs: check a pool, and repair it.
 *
 * Everything that knows the format is in fs/check.h; this is options, output and the exit status
 * of fsck(8). Findings go to standard output, one a line, as they are found, or as they are repaired; the
 * progress bar and messages about the run itself go to standard error.
 *
 * -p checks first, and repairs only if every finding can be repaired with nothing lost. */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/copy.h"
#include "fs/check.h"

/* fsck(8) */
enum { EXIT_CLEAN = 0, EXIT_REPAIRED = 1, EXIT_LEFT = 4, EXIT_OPERATION = 8, EXIT_USAGE = 16, EXIT_CANCELLED = 32 };

static const char prog[] = "fsck.pinfs";

struct run {
	const char *path;
	char mode;               /* 'n', 'y' or 'p' */
	bool force, verbose, json, no_data;
	enum check_data data;
	const char *backup;      /* NULL: none */
	struct pool *pool;
	bool quiet;              /* the look before a repair: findings are counted only */
	uint64_t unsafe;         /* of these, errors that -p leaves alone */
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
	       "Check the pinfs pool in POOL, which must not be mounted, and repair it if asked to.\n"
	       "\n"
	       "  -n              check, change nothing (the default)\n"
	       "  -y              repair what is found\n"
	       "  -p, -a          for boot: leave out a pool that was cleanly unmounted; repair only if\n"
	       "                  nothing can be lost by it\n"
	       "  -f              with -p: check it nevertheless\n"
	       "      --backup FILE  before the first change, copy the pool to FILE, which must not exist\n"
	       "      --data=HOW  with -y, content that does not match its checksum: mark (the default;\n"
	       "                  reading it goes on failing), punch (it reads as zeroes), accept\n"
	       "  -v              add figures\n"
	       "  -C              show a progress bar (the default on a terminal)\n"
	       "      --no-data   leave out the checksums of file content\n"
	       "      --json      findings and figures as JSON\n"
	       "      --help      show this\n"
	       "      --version   show the version\n"
	       "\n"
	       "Exit status: 0 sound, 1 repaired, 4 damage is left, 8 could not check or repair,\n"
	       "16 wrong usage, 32 cancelled.\n",
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
	if (f->repair) {
		fputs(", \"repair\": ", stdout);
		cli_json_string(stdout, f->repair);
	}
	putchar('}');
}

static void
on_finding(void *arg, const struct check_finding *f)
{
	static char line[20000]; /* findings come one at a time */
	struct run *run = arg;

	run->unsafe += f->error && !f->safe;
	if (run->quiet)
		return;
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
json_end(const struct run *run, const struct check_result *r, const struct repair_result *rep, bool complete)
{
	printf("%s],\n  \"complete\": %s,\n  \"repaired\": %llu,\n  \"left\": %llu,\n  \"errors\": %llu,\n  \"infos\": %llu,\n"
	    "  \"inodes\": %llu,\n  \"directories\": %llu,\n  \"orphans\": %llu,\n  \"tree_nodes\": %llu,\n"
	    "  \"data_blocks\": %llu,\n  \"shared_blocks\": %llu,\n  \"verified_blocks\": %llu\n}\n",
	    run->findings ? "\n  " : "", complete ? "true" : "false", (unsigned long long)rep->repaired,
	    (unsigned long long)rep->left, (unsigned long long)r->errors,
	    (unsigned long long)r->infos, (unsigned long long)r->inodes, (unsigned long long)r->dirs,
	    (unsigned long long)r->orphans, (unsigned long long)r->nodes,
	    (unsigned long long)r->data_blocks, (unsigned long long)r->shared_blocks,
	    (unsigned long long)r->verified_blocks);
}

static const char *
plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

static void
print_summary(const struct run *run, const struct check_result *r, const struct repair_result *rep)
{
	const char *unchecked = run->no_data ? " (content not checked)" : "";

	if (run->verbose)
		print_figures(r);
	if (rep->repaired > 0 && rep->left == 0)
		printf("%s: %llu error%s repaired%s\n", run->path, (unsigned long long)rep->repaired,
		    plural(rep->repaired), unchecked);
	else if (rep->repaired > 0)
		printf("%s: %llu error%s repaired, %llu left\n", run->path, (unsigned long long)rep->repaired,
		    plural(rep->repaired), (unsigned long long)rep->left);
	else if (rep->left == 0)
		printf("%s: no damage found%s\n", run->path, unchecked);
	else
		printf("%s: %llu error%s\n", run->path, (unsigned long long)rep->left, plural(rep->left));
}

/* ---- the run --------------------------------------------------------------------- */

static int
on_change(void *arg)
{
	struct run *run = arg;
	int r;

	cli_progress_end(&run->bar);
	if (!run->backup) {
		if (!run->json)
			cli_error(prog, "repairing without a copy of the pool (--backup makes one)");
		return 0;
	}
	run->phase = NULL;
	r = cli_copy_pool(run->pool, run->backup, on_progress, run);
	if (r < 0)
		cli_error(prog, "%s: %s; nothing was changed", run->backup, strerror(-r));
	return r;
}

/* May -p repair what there is? Findings are shown only if not: then there is nothing more to come. */
static int
may_preen(struct run *run, const struct check_options *opt, struct check_result *res)
{
	int r;

	run->quiet = true;
	r = check_pool(run->pool, opt, res);
	run->quiet = false;
	run->phase = NULL;
	return r < 0 ? r : run->unsafe == 0;
}

static int
check_or_repair(struct run *run, struct check_result *res, struct repair_result *rep)
{
	struct check_options opt = {
		.no_data = run->no_data, .data = run->data, .finding = on_finding, .before_change = on_change,
		.progress = on_progress, .arg = run,
	};
	bool repair = run->mode == 'y';
	int r = 0;

	memset(rep, 0, sizeof(*rep));
	if (run->mode == 'p') {
		r = may_preen(run, &opt, res);
		repair = r > 0;
		if (r < 0)
			return r;
	}
	if (repair)
		return repair_pool(run->pool, &opt, res, rep);
	r = check_pool(run->pool, &opt, res);
	rep->left = res->errors;
	return r;
}

static int
explain(const struct run *run, int r, const struct repair_result *rep)
{
	if (r == -ECANCELED) {
		cli_error(prog, "cancelled; the check is not complete");
		return EXIT_CANCELLED;
	}
	if (r == -ENOSPC)
		cli_error(prog, "%s: no free blocks to repair it with", run->path);
	else if (r < 0)
		cli_error(prog, "%s: the %s could not be completed: %s", run->path, run->mode == 'n' ? "check" : "repair",
		    strerror(-r));
	if (r < 0 && rep->commits > 0)
		cli_error(prog, "what is shown as repaired is; the pool can be repaired further");
	if (r < 0)
		return EXIT_OPERATION;
	if (rep->left > 0 && run->mode == 'p')
		cli_error(prog, "%s: a repair may lose something: copy the pool, and run fsck.pinfs -y", run->path);
	if (rep->left > 0)
		return EXIT_LEFT;
	return rep->repaired > 0 ? EXIT_REPAIRED : EXIT_CLEAN;
}

static int
check(struct run *run)
{
	struct repair_result rep;
	struct root_block root;
	struct check_result res;
	char uuid[37];
	int r;

	pool_root(run->pool, &root);
	run->no_data |= (root.feature_incompat & FEATURE_INCOMPAT_IMAGE) != 0;
	if (run->mode == 'p' && !run->force && (root.flags & ROOT_CLEAN) && !pool_root_damage(run->pool)) {
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
	r = check_or_repair(run, &res, &rep);
	cli_progress_end(&run->bar);
	if (run->json)
		json_end(run, &res, &rep, r == 0);
	else if (r == 0)
		print_summary(run, &res, &rep);
	fflush(stdout);
	return explain(run, r, &rep);
}

static int
run_check(struct run *run)
{
	struct pool_options opt = { .flags = POOL_MEND | (run->mode == 'n' ? POOL_RDONLY | POOL_IMAGE : 0), .domain = -1 };
	struct pool_error err = { "" };
	int r = pool_open(&run->pool, run->path, &opt, &err);

	if (r < 0) {
		if (err.text[0])
			cli_error(prog, "%s", err.text); /* names the pool */
		else
			cli_error(prog, "%s: %s", run->path, strerror(-r));
		/* It is a pool, but none that can be used any more. */
		return r == -EIO ? EXIT_LEFT : EXIT_OPERATION;
	}
	r = check(run);
	pool_close(run->pool);
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

static int
parse_data(const char *text, enum check_data *data)
{
	static const char *const names[] = {
		[CHECK_DATA_MARK] = "mark", [CHECK_DATA_PUNCH] = "punch", [CHECK_DATA_ACCEPT] = "accept",
	};

	for (unsigned n = 0; n < sizeof(names) / sizeof(names[0]); n++) {
		if (strcmp(text, names[n]) == 0) {
			*data = (enum check_data)n;
			return 0;
		}
	}
	return -EINVAL;
}

int
main(int argc, char **argv)
{
	enum { OPT_HELP = 256, OPT_VERSION, OPT_NO_DATA, OPT_JSON, OPT_BACKUP, OPT_DATA };
	static const struct option longopts[] = {
		{ "backup", required_argument, NULL, OPT_BACKUP },
		{ "data", required_argument, NULL, OPT_DATA },
		{ "no-data", no_argument, NULL, OPT_NO_DATA },
		{ "json", no_argument, NULL, OPT_JSON },
		{ "help", no_argument, NULL, OPT_HELP },
		{ "version", no_argument, NULL, OPT_VERSION },
		{ NULL, 0, NULL, 0 },
	};
	struct run run = { .bar_wanted = isatty(STDERR_FILENO) };
	bool data_given = false;
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
		case OPT_BACKUP:
			run.backup = optarg;
			break;
		case OPT_DATA:
			if (parse_data(optarg, &run.data) < 0) {
				cli_usage_error(prog, "--data: mark, punch or accept, not '%s'", optarg);
				return EXIT_USAGE;
			}
			data_given = true;
			break;
		case OPT_HELP:
			help();
			return EXIT_CLEAN;
		case OPT_VERSION:
			cli_version(prog);
			return EXIT_CLEAN;
		default:
			cli_usage_error(prog, "the options are -n, -y, -p, -f, -v, -C, --backup, --data, --no-data and --json");
			return EXIT_USAGE;
		}
	}
	if (!run.mode)
		run.mode = 'n';
	if (run.mode == 'n' && run.backup) {
		cli_usage_error(prog, "--backup goes with -y or -p: without them nothing is changed");
		return EXIT_USAGE;
	}
	if (data_given && (run.mode != 'y' || run.no_data)) {
		cli_usage_error(prog, "--data goes with -y, and not with --no-data");
		return EXIT_USAGE;
	}
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
