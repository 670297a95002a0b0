/* SPDX-License-Identifier: BSD-3-Clause */
/* Between the files of pinctl: one function for each subcommand. */
#ifndef PINFS_CLI_PINCTL_H
#define PINFS_CLI_PINCTL_H

#include <stdbool.h>
#include <stdint.h>

#define PINCTL_PROG "pinctl"

/* Each takes an operand and prints; returns the exit status. */
int pinctl_status(const char *path, bool json);
int pinctl_info(const char *path, bool json);
int pinctl_map(const char *path, bool json);
int pinctl_sync(const char *path, bool json);

/* Open a file or directory for asking about it; complains and returns -1 on failure. */
int pinctl_open(const char *path);
/* Complain about a failed request on path: err is a negative errno. */
void pinctl_failed(const char *path, const char *what, int err);
const char *pinctl_domain(uint32_t domain);

#endif
