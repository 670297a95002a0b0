/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages for the administrator: to stderr until the daemon detaches, then to
 * syslog. Thread-safe. Repeated damage reports are not throttled here.
 */
#ifndef PINFS_PMEM_LOG_H
#define PINFS_PMEM_LOG_H

#include <syslog.h>

/* level: LOG_ERR ... LOG_DEBUG of <syslog.h>. No newline at the end. */
void pinfs_log(int level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Messages above this level are dropped; default LOG_NOTICE. */
void pinfs_log_level(int level);
/* From now on to syslog, as ident. */
void pinfs_log_to_syslog(const char *ident);
/* Give messages to fn instead (tests, progress bars); NULL: back to stderr. */
void pinfs_log_to(void (*fn)(void *arg, int level, const char *text), void *arg);

#endif
