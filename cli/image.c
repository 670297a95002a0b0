/* SPDX-License-Identifier: BSD-3-Clause */
/* pinfs-image: a pool's metadata as a sparse file, for a bug report. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "fs/image.h"

static const char prog[] = "pinfs-image";

enum { EXIT_USAGE = 2 };

struct run {
	bool hide;
	bool quiet;
	struct cli_progress bar;
	const char *phase;
};

static void
help(void)
{
	printf("Usage: %s [OPTION]... POOL IMAGE\n"
	       "Write the metadata of the pinfs pool in POOL, which must not be mounted, to IMAGE, a new\n"
	       "sparse file: what files and directories there are and where they lie, nothing of what is in\n"
	       "the files. fsck.pinfs -n checks it as it would the pool.\n"
	       "\n"
	       "  -n, --hide-names    replace names, link targets, attributes and the label by letters\n"
	       "  -q, --quiet         say nothing unless it fails\n"
	       "      --help          show this\n"
	       "      --version       show the version\n"
	       "\n"
	       "Example: %s -n /dev/shm/pool pool.image && tar cSJf pool.image.tar.xz pool.image\n",
	    prog, prog);
}

static int
on_progress(void *arg, const char *phase, uint64_t done, uint64_t total)
{
	struct run *run = arg;

	if (phase != run->phase) {
		cli_progress_start(&run->bar, phase, total, !run->quiet && isatty(STDERR_FILENO));
		run->phase = phase;
	}
	cli_progress_update(&run->bar, done);
	return 0;
}

static int
write_image(struct run *run, struct pool *p, const char *to, struct image_result *res)
{
	struct image_options opt = { .hide_names = run->hide, .progress = on_progress, .arg = run };
	int fd = open(to, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600), r;

	if (fd < 0)
		return -errno;
	r = image_write(p, fd, &opt, res);
	cli_progress_end(&run->bar);
	if (close(fd) < 0 && r == 0)
		r = -errno;
	if (r < 0)
		unlink(to);
	return r;
}

static int
make_image(struct run *run, const char *path, const char *to)
{
	struct pool_options opt = { .flags = POOL_RDONLY | POOL_MEND | POOL_IMAGE, .domain = -1 };
	struct pool_error err = { "" };
	struct image_result res;
	struct pool *p;
	int r = pool_open(&p, path, &opt, &err);

	if (r < 0) {
		if (err.text[0])
			cli_error(prog, "%s", err.text);
		else
			cli_error(prog, "%s: %s", path, strerror(-r));
		return EXIT_FAILURE;
	}
	r = write_image(run, p, to, &res);
	pool_close(p);
	if (r < 0) {
		cli_error(prog, "%s: %s", to, strerror(-r));
		return EXIT_FAILURE;
	}
	if (!run->quiet)
		printf("%s: %llu nodes%s\n", to, (unsigned long long)res.nodes, run->hide ? ", names hidden" : "");
	if (res.damaged > 0 && !run->quiet)
		printf("%s: %llu damaged nodes%s\n", path, (unsigned long long)res.damaged,
		    run->hide ? ", which are not in the image: they may contain names" : "");
	return EXIT_SUCCESS;
}

int
main(int argc, char **argv)
{
	enum { OPT_HELP = 256, OPT_VERSION };
	static const struct option longopts[] = {
		{ "hide-names", no_argument, NULL, 'n' },
		{ "quiet", no_argument, NULL, 'q' },
		{ "help", no_argument, NULL, OPT_HELP },
		{ "version", no_argument, NULL, OPT_VERSION },
		{ NULL, 0, NULL, 0 },
	};
	struct run run = { .hide = false };
	int c;

	while ((c = getopt_long(argc, argv, "nq", longopts, NULL)) != -1) {
		switch (c) {
		case 'n':
			run.hide = true;
			break;
		case 'q':
			run.quiet = true;
			break;
		case OPT_HELP:
			help();
			return EXIT_SUCCESS;
		case OPT_VERSION:
			cli_version(prog);
			return EXIT_SUCCESS;
		default:
			cli_usage_error(prog, "the options are --hide-names and --quiet");
			return EXIT_USAGE;
		}
	}
	if (argc - optind != 2) {
		cli_usage_error(prog, "which POOL, and which IMAGE? two names are needed");
		return EXIT_USAGE;
	}
	return make_image(&run, argv[optind], argv[optind + 1]);
}
