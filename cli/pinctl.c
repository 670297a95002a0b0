/* SPDX-License-Identifier: BSD-3-Clause */
/* pinctl: look at a pinfs mount and its files. The subcommands are in
 * pinctl_status.c and pinctl_map.c; here is what they share and the command line. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <pinfs/pinfs.h>

#include "cli/cli.h"
#include "cli/pinctl.h"

static const char prog[] = PINCTL_PROG;

static const struct {
	const char *name;
	int (*run)(const char *path, bool json);
	const char *operand, *text;
} commands[] = {
	{ "status", pinctl_status, "MNT", "the mount: domain, space, pins, counters" },
	{ "info", pinctl_info, "FILE", "one file: sizes, live and durable blocks, pins, flags" },
	{ "sync", pinctl_sync, "MNT", "make everything on the mount durable, as syncfs(2) would" },
	{ "map", pinctl_map, "FILE", "where each part of a file lies in the pool, and in which state" },
};
#define NCOMMANDS (sizeof(commands) / sizeof(commands[0]))

static void
help(void)
{
	printf("Usage: %s COMMAND [--json] PATH\n"
	       "Look at a pinfs mount and its files.\n\n", prog);
	for (size_t i = 0; i < NCOMMANDS; i++)
		printf("  %-8s%-6s%s\n", commands[i].name, commands[i].operand, commands[i].text);
	printf("\n"
	       "  --json        print JSON\n"
	       "  --help        show this\n"
	       "  --version     show the version\n");
}

int
pinctl_open(const char *path)
{
	/* Not a fifo's or device's open: they have effects, or block. */
	struct stat sb;
	int fd;

	if (stat(path, &sb) < 0) {
		cli_error(prog, "%s: %s", path, strerror(errno));
		return -1;
	}
	if (!S_ISREG(sb.st_mode) && !S_ISDIR(sb.st_mode)) {
		cli_error(prog, "%s: neither a regular file nor a directory", path);
		return -1;
	}
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		cli_error(prog, "%s: %s", path, strerror(errno));
	return fd;
}

void
pinctl_failed(const char *path, const char *what, int err)
{
	if (err == -ENOTTY || err == -ENOSYS)
		cli_error(prog, "%s: not on a pinfs mount", path);
	else
		cli_error(prog, "%s: %s: %s", path, what, pinfs_strerror(err));
}

const char *
pinctl_domain(uint32_t domain)
{
	switch (domain) {
	case PINFS_DOMAIN_VOLATILE:
		return "volatile";
	case PINFS_DOMAIN_PAGECACHE:
		return "pagecache";
	case PINFS_DOMAIN_PMEM:
		return "pmem";
	default:
		return "unknown";
	}
}

int
main(int argc, char **argv)
{
	enum { OPT_HELP = 256, OPT_VERSION, OPT_JSON };
	static const struct option longopts[] = {
		{ "json", no_argument, NULL, OPT_JSON },
		{ "help", no_argument, NULL, OPT_HELP },
		{ "version", no_argument, NULL, OPT_VERSION },
		{ NULL, 0, NULL, 0 },
	};
	bool json = false;
	int c;

	while ((c = getopt_long(argc, argv, "", longopts, NULL)) != -1) {
		switch (c) {
		case OPT_JSON:
			json = true;
			break;
		case OPT_HELP:
			help();
			return 0;
		case OPT_VERSION:
			cli_version(prog);
			return 0;
		default:
			cli_usage_error(prog, "unknown option");
			return 2;
		}
	}
	if (argc == optind) {
		cli_usage_error(prog, "which command? one of status, info, map, sync, sync");
		return 2;
	}
	for (size_t i = 0; i < NCOMMANDS; i++) {
		if (strcmp(argv[optind], commands[i].name) != 0)
			continue;
		if (argc - optind != 2) {
			cli_usage_error(prog, "%s takes one %s", commands[i].name, commands[i].operand);
			return 2;
		}
		return commands[i].run(argv[optind + 1], json);
	}
	cli_usage_error(prog, "'%s' is no command: one of status, info, map", argv[optind]);
	return 2;
}
