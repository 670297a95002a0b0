/* SPDX-License-Identifier: BSD-3-Clause */
/* Between the files of pinctl: one function for each subcommand. */
#ifndef PINFS_CLI_PINCTL_H
#define PINFS_CLI_PINCTL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#define PINCTL_PROG "pinctl"

enum { PINCTL_USAGE = 2 }; /* exit status after a usage error */

/* All options of all commands; pinctl.c has a table of what they are called. */
enum pinctl_option {
	PINCTL_ALLOC,
	PINCTL_CANCEL,
	PINCTL_CLASS,
	PINCTL_COOPERATE,
	PINCTL_EXCLUSIVE,
	PINCTL_FOLLOW,
	PINCTL_HOLD,
	PINCTL_INTERVAL,
	PINCTL_JSON,
	PINCTL_ON_DEADLINE,
	PINCTL_RATE,
	PINCTL_STATUS,
	PINCTL_WRITE,
	PINCTL_WRITEBACK,
	PINCTL_NOPTIONS
};

struct pinctl_args {
	unsigned given;                      /* 1 << enum pinctl_option */
	const char *value[PINCTL_NOPTIONS];  /* of those that have one */
	char **operand;                      /* after the command; as many as it takes */
	int operands;
};

static inline bool
pinctl_has(const struct pinctl_args *a, enum pinctl_option o)
{
	return (a->given & 1u << o) != 0;
}

/* One for each command: does the work, prints; returns the exit status. */
int pinctl_status(const struct pinctl_args *a);
int pinctl_info(const struct pinctl_args *a);
int pinctl_map(const struct pinctl_args *a);
int pinctl_sync(const struct pinctl_args *a);
int pinctl_clone(const struct pinctl_args *a);
int pinctl_exchange(const struct pinctl_args *a);
int pinctl_punch(const struct pinctl_args *a);
int pinctl_collapse(const struct pinctl_args *a);
int pinctl_insert(const struct pinctl_args *a);
int pinctl_pin(const struct pinctl_args *a);
int pinctl_unpin(const struct pinctl_args *a);
int pinctl_lease(const struct pinctl_args *a);
int pinctl_leases(const struct pinctl_args *a);
int pinctl_events(const struct pinctl_args *a);
int pinctl_top(const struct pinctl_args *a);
int pinctl_scrub(const struct pinctl_args *a);

/* An offset or length with an optional unit; complains (what: "offset"), -EINVAL, -ERANGE: a usage error. */
int pinctl_size(const char *text, const char *what, uint64_t *bytes);
/* Open a file or directory for asking about it; complains and returns -1 on failure. */
int pinctl_open(const char *path);
/* Open a regular file, with what fstat(2) says of it; the same. */
int pinctl_open_file(const char *path, int flags, mode_t mode, struct stat *sb);
/* Complain about a failed request on path: err is a negative errno. */
void pinctl_failed(const char *path, const char *what, int err);
const char *pinctl_domain(uint32_t domain);

#endif
