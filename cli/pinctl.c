/* SPDX-License-Identifier: BSD-3-Clause */
/* pinctl: look at a pinfs mount and its files, and change what no other program can. The subcommands are in
 * pinctl_*.c; here is what they share and the command line.
 *
 * All options are known to one table, and each command says which of them it takes; so an option has one
 * meaning, may stand before or after the operands, and is refused where it means nothing.
 */
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <pinfs/pinfs.h>

#include "cli/cli.h"
#include "cli/pinctl.h"
#include "pmem/size.h"

static const char prog[] = PINCTL_PROG;

static const struct {
	const char *name, *value, *text;
} options[] = {
	[PINCTL_ALLOC] = { "alloc", NULL, "extend the file to the end of the range" },
	[PINCTL_CANCEL] = { "cancel", NULL, "end the scrub that runs" },
	[PINCTL_CLASS] = { "class", "C", "transient, longterm (the default) or faultable" },
	[PINCTL_COOPERATE] = { "cooperate", NULL, "with --hold: let go when a layout operation asks for it" },
	[PINCTL_EXCLUSIVE] = { "exclusive", NULL, "layout operations by others fail (ETXTBSY) and don't wait" },
	[PINCTL_FOLLOW] = { "follow", NULL, "go on after the first event" },
	[PINCTL_HOLD] = { "hold", NULL, "keep it until interrupted, and show what happens to it" },
	[PINCTL_INTERVAL] = { "interval", "SECONDS", "between two looks, 1 if not given" },
	[PINCTL_JSON] = { "json", NULL, "print JSON" },
	[PINCTL_ON_DEADLINE] = { "on-deadline", "D", "of a break: revoke (the default), fail or wait" },
	[PINCTL_RATE] = { "rate", "BYTES", "a second, 100M if not given; 0: as fast as it can" },
	[PINCTL_STATUS] = { "status", NULL, "show how far the scrub is, or how the last one ended" },
	[PINCTL_WRITE] = { "write", NULL, "pin for writing" },
	[PINCTL_WRITEBACK] = { "writeback", "P", "what writeback does: default, bounce, wait, fail, skip or holder" },
};
#define NOPTIONS (sizeof(options) / sizeof(options[0]))
#define OPT(o) (1u << PINCTL_##o)
#define JSON OPT(JSON)
#define HOLD (OPT(HOLD) | OPT(COOPERATE))

static const struct command {
	const char *name;
	int (*run)(const struct pinctl_args *a);
	const char *operands;
	unsigned min, max;   /* number of operands */
	unsigned options;    /* 1 << enum pinctl_option */
	const char *text;
} commands[] = {
	{ "status", pinctl_status, "MNT", 1, 1, JSON, "the mount: domain, space, counters, every pin and lease" },
	{ "info", pinctl_info, "FILE", 1, 1, JSON, "one file: sizes, live and durable blocks, pins, flags" },
	{ "map", pinctl_map, "FILE", 1, 1, JSON, "where each part of a file lies in the pool, its state, its pins" },
	{ "sync", pinctl_sync, "MNT|FILE [OFF LEN]", 1, 3, JSON,
	    "make a file, a range of it, or everything on the mount durable, as syncfs(2) would" },
	{ "clone", pinctl_clone, "SRC DST", 2, 2, JSON, "make DST a copy of SRC that shares its blocks" },
	{ "exchange", pinctl_exchange, "A B [OFF LEN]", 2, 4, JSON,
	    "let two files change contents, or a range of them: after a crash both have or neither has" },
	{ "punch", pinctl_punch, "FILE OFF LEN", 3, 3, JSON, "make a range a hole" },
	{ "collapse", pinctl_collapse, "FILE OFF LEN", 3, 3, JSON, "take a range out: what is behind it moves down" },
	{ "insert", pinctl_insert, "FILE OFF LEN", 3, 3, JSON, "put a hole in: what is behind it moves up" },
	{ "pin", pinctl_pin, "FILE OFF LEN", 3, 3,
	    JSON | HOLD | OPT(WRITE) | OPT(CLASS) | OPT(ALLOC) | OPT(WRITEBACK), "pin a range" },
	{ "unpin", pinctl_unpin, "FILE ID", 2, 2, JSON, "take a pin away from its holder, whose I/O is complete" },
	{ "lease", pinctl_lease, "FILE [OFF LEN]", 1, 3, JSON | HOLD | OPT(EXCLUSIVE) | OPT(ON_DEADLINE),
	    "take a layout lease" },
	{ "leases", pinctl_leases, "MNT|FILE", 1, 1, JSON, "list the leases of a mount or of one file" },
	{ "events", pinctl_events, "FILE [OFF LEN]", 1, 3, JSON | OPT(FOLLOW) | OPT(ON_DEADLINE),
	    "wait for a layout operation and show it: a lease that gives way" },
	{ "scrub", pinctl_scrub, "MNT", 1, 1, JSON | OPT(CANCEL) | OPT(RATE) | OPT(STATUS),
	    "read everything on the mount, in the background of other use, and compare checksums" },
	{ "top", pinctl_top, "MNT", 1, 1, OPT(INTERVAL), "pins, leases and breaks, live, on the whole screen" },
};
#define NCOMMANDS (sizeof(commands) / sizeof(commands[0]))

static void
command_usage(const struct command *c)
{
	printf("Usage: %s %s", prog, c->name);
	for (size_t i = 0; i < NOPTIONS; i++)
		if (c->options & 1u << i)
			printf(options[i].value ? " [--%s %s]" : " [--%s]", options[i].name, options[i].value);
	printf(" %s\n", c->operands);
}

static void
print_options(unsigned which)
{
	char left[32];

	for (size_t i = 0; i < NOPTIONS; i++)
		if (which & 1u << i) {
			snprintf(left, sizeof(left), "--%s %s", options[i].name, options[i].value ? options[i].value : "");
			printf("  %-20s%s\n", left, options[i].text);
		}
	printf("  %-20s%s\n  %-20s%s\n", "--help", "show this, after a command: about the command", "--version",
	    "show the version");
}

static void
command_help(const struct command *c)
{
	command_usage(c);
	printf("%c%s.\n\n", toupper((unsigned char)c->text[0]), c->text + 1);
	print_options(c->options);
	if (c->max > 1)
		printf("\nOffsets and lengths are in bytes, or with a unit: 4096, 64K, 1.5G.\n");
}

static void
help(void)
{
	printf("Usage: %s COMMAND [OPTION]... OPERAND...\n"
	       "Look at a pinfs mount and its files, and do what no other program can.\n\n", prog);
	for (size_t i = 0; i < NCOMMANDS; i++)
		printf("  %-10s%-20s%s\n", commands[i].name, commands[i].operands, commands[i].text);
	printf("\n");
	print_options(JSON);
	printf("\n'%s COMMAND --help' tells the options of a command. Offsets and lengths may have a unit: 64K, 1.5G.\n",
	    prog);
}

int
pinctl_size(const char *text, const char *what, uint64_t *bytes)
{
	const char *why;
	int err = size_parse(text, bytes, &why);

	if (err < 0)
		cli_usage_error(prog, "%s '%s': %s", what, text, why);
	return err;
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

int
pinctl_open_file(const char *path, int flags, mode_t mode, struct stat *sb)
{
	int fd;

	/* Not a fifo's or device's open: they have effects, or block. */
	if (stat(path, sb) == 0 && !S_ISREG(sb->st_mode)) {
		cli_error(prog, "%s: not a regular file", path);
		return -1;
	}
	fd = open(path, flags | O_CLOEXEC | O_NOCTTY, mode);
	if (fd >= 0 && fstat(fd, sb) == 0)
		return fd;
	cli_error(prog, "%s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
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

static const struct command *
find_command(const char *name)
{
	for (size_t i = 0; i < NCOMMANDS; i++)
		if (strcmp(name, commands[i].name) == 0)
			return commands + i;
	cli_usage_error(prog, "'%s' is no command", name);
	return NULL;
}

static int
run_command(const struct command *c, const struct pinctl_args *a)
{
	unsigned n = (unsigned)a->operands;

	for (size_t i = 0; i < NOPTIONS; i++)
		if (a->given & ~c->options & 1u << i) {
			cli_usage_error(prog, "%s does not take --%s", c->name, options[i].name);
			return PINCTL_USAGE;
		}
	if (n < c->min || n > c->max) {
		cli_usage_error(prog, "%s takes %s: %s", c->name, c->operands,
		    n < c->min ? "not enough was given" : "too much was given");
		return PINCTL_USAGE;
	}
	return c->run(a);
}

int
main(int argc, char **argv)
{
	enum { OPT_HELP = 256, OPT_VERSION };
	struct option longopts[NOPTIONS + 3] = { 0 };
	struct pinctl_args a = { 0 };
	const struct command *cmd;
	bool show_help = false;
	int c;

	for (size_t i = 0; i < NOPTIONS; i++)
		longopts[i] = (struct option){ options[i].name, options[i].value ? required_argument : no_argument, NULL,
			(int)i };
	longopts[NOPTIONS] = (struct option){ "help", no_argument, NULL, OPT_HELP };
	longopts[NOPTIONS + 1] = (struct option){ "version", no_argument, NULL, OPT_VERSION };
	while ((c = getopt_long(argc, argv, "", longopts, NULL)) != -1) {
		switch (c) {
		case OPT_HELP:
			show_help = true;
			break;
		case OPT_VERSION:
			cli_version(prog);
			return 0;
		case '?':
			fprintf(stderr, "Try '%s --help'.\n", prog);
			return PINCTL_USAGE;
		default:
			a.given |= 1u << c;
			a.value[c] = optarg;
		}
	}
	if (argc == optind) {
		if (show_help) {
			help();
			return 0;
		}
		cli_usage_error(prog, "which command?");
		return PINCTL_USAGE;
	}
	cmd = find_command(argv[optind]);
	if (!cmd)
		return PINCTL_USAGE;
	if (show_help) {
		command_help(cmd);
		return 0;
	}
	a.operand = argv + optind + 1;
	a.operands = argc - optind - 1;
	return run_command(cmd, &a);
}
