/* SPDX-License-Identifier: BSD-3-Clause */
/* What the command-line programs share: how sizes are shown, usage errors, a progress bar, JSON. */
#ifndef PINFS_CLI_H
#define PINFS_CLI_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* "1.5 GiB"; returns buf. */
const char *cli_size(char buf[16], uint64_t bytes);

/* "PROG: message", and where help is to be had; the caller exits with its usage status. */
void cli_usage_error(const char *prog, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void cli_error(const char *prog, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* "PROG (pinfs) 0.1.0" */
void cli_version(const char *prog);

/* A bar on stderr, redrawn at most ten times a second; draws nothing unless
 * enabled (callers pass isatty(2), or what their option says). */
struct cli_progress {
	const char *label;
	uint64_t total, done;
	int64_t last_ns;
	bool enabled, drawn;
};
void cli_progress_start(struct cli_progress *p, const char *label, uint64_t total, bool enabled);
void cli_progress_update(struct cli_progress *p, uint64_t done);
void cli_progress_end(struct cli_progress *p); /* clears the line */

/* A JSON string with its quotes; bytes that are not UTF-8 become U+FFFD. */
void cli_json_string(FILE *f, const char *s);
/* A UUID in its 36-character form; returns buf. */
const char *cli_uuid(char buf[37], const uint8_t uuid[16]);

#endif
