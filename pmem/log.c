/* SPDX-License-Identifier: BSD-3-Clause */
/* One sink at a time, chosen before threads start or by a test; a line is
 * formatted whole and written with one call, so lines of threads don't mix. */
#include "pmem/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>

static atomic_int max_level = LOG_NOTICE;
static atomic_bool use_syslog;
static void (*sink)(void *arg, int level, const char *text);
static void *sink_arg;

void
pinfs_log(int level, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	if (level > atomic_load_explicit(&max_level, memory_order_relaxed))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (sink)
		sink(sink_arg, level, text);
	else if (atomic_load_explicit(&use_syslog, memory_order_relaxed))
		syslog(level, "%s", text);
	else
		fprintf(stderr, "pinfs: %s\n", text);
}

void
pinfs_log_level(int level)
{
	max_level = level;
}

void
pinfs_log_to_syslog(const char *ident)
{
	openlog(ident, LOG_PID, LOG_DAEMON);
	use_syslog = true;
}

void
pinfs_log_to(void (*fn)(void *arg, int level, const char *text), void *arg)
{
	sink_arg = arg;
	sink = fn;
}
