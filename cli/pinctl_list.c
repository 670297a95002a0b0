/* SPDX-License-Identifier: BSD-3-Clause */
/* Pins and leases: asked for, named, and printed as a table or as JSON.
 *
 * The daemon knows inodes and processes. What a file is called depends on who looks; the name shown is the one that the
 * holder has it open by, from /proc/PID/fd, where we may read that; otherwise the inode number.
 */
#include "config.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/pinctl_list.h"

/* ---- names --------------------------------------------------------------------------------------------- */

#define NAME(table, n) ((n) < sizeof(table) / sizeof((table)[0]) && (table)[n] ? (table)[n] : "?")

const char *
name_of_class(unsigned n)
{
	static const char *const names[] = { [PINFS_PIN_TRANSIENT] = "transient", [PINFS_PIN_LONGTERM] = "longterm",
		[PINFS_PIN_FAULTABLE] = "faultable" };

	return NAME(names, n);
}

const char *
name_of_access(unsigned n)
{
	static const char *const names[] = { [PINFS_ACCESS_READ] = "read", [PINFS_ACCESS_READWRITE] = "write" };

	return NAME(names, n);
}

const char *
name_of_lease(unsigned n)
{
	static const char *const names[] = { [PINFS_LEASE_SHARED] = "shared", [PINFS_LEASE_EXCLUSIVE] = "exclusive" };

	return NAME(names, n);
}

const char *
name_of_state(unsigned n)
{
	static const char *const names[] = { [PINFS_LEASE_HELD] = "held", [PINFS_LEASE_BREAKING] = "BREAKING",
		[PINFS_LEASE_REVOKED] = "REVOKED", [PINFS_LEASE_RELEASED] = "released" };

	return NAME(names, n);
}

const char *
name_of_writeback(unsigned n)
{
	static const char *const names[] = { [PINFS_WRITEBACK_DEFAULT] = "default", [PINFS_WRITEBACK_BOUNCE] = "bounce",
		[PINFS_WRITEBACK_WAIT] = "wait", [PINFS_WRITEBACK_FAIL] = "fail", [PINFS_WRITEBACK_SKIP] = "skip",
		[PINFS_WRITEBACK_HOLDER] = "holder" };

	return NAME(names, n);
}

const char *
name_of_op(unsigned n)
{
	static const char *const names[] = { [PINFS_OP_TRUNCATE] = "truncate", [PINFS_OP_PUNCH] = "punch",
		[PINFS_OP_ZERO] = "zero", [PINFS_OP_COLLAPSE] = "collapse", [PINFS_OP_INSERT] = "insert",
		[PINFS_OP_EXCHANGE] = "exchange", [PINFS_OP_CLONE_INTO] = "clone-into", [PINFS_OP_DAX] = "dax",
		[PINFS_OP_FILL] = "fill" };

	return NAME(names, n);
}

const char *
name_of_event(unsigned n)
{
	static const char *const names[] = { [PINFS_EVENT_BREAK] = "break", [PINFS_EVENT_REVOKED] = "revoked",
		[PINFS_EVENT_RESTORED] = "restored", [PINFS_EVENT_FILLED] = "filled" };

	return NAME(names, n);
}

const char *
name_of_deadline(unsigned n)
{
	static const char *const names[] = { [PINFS_DEADLINE_REVOKE] = "revoke", [PINFS_DEADLINE_FAIL] = "fail",
		[PINFS_DEADLINE_WAIT] = "wait" };

	return NAME(names, n);
}

int
number_of(const char *name, const char *(*name_of)(unsigned))
{
	for (unsigned n = 0; n < 16; n++)
		if (strcmp(name, name_of(n)) == 0 && strcmp(name, "?") != 0)
			return (int)n;
	return -1;
}

void
command_of(char buf[16], uint32_t pid)
{
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/comm", pid);
	f = fopen(path, "re");
	if (!f || !fgets(buf, 16, f))
		strcpy(buf, "-");
	if (f)
		fclose(f);
	buf[strcspn(buf, "\n")] = '\0';
	for (char *c = buf; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
}

const char *
exact_size(char buf[24], uint64_t bytes)
{
	static const char *const units[] = { "", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB" };
	unsigned u = 0;

	while (bytes && bytes % 1024 == 0 && u + 1 < sizeof(units) / sizeof(units[0])) {
		bytes /= 1024;
		u++;
	}
	snprintf(buf, 24, "%" PRIu64 "%s", bytes, units[u]);
	return buf;
}

const char *
short_time(char buf[16], uint64_t ms)
{
	if (ms < 9950)
		snprintf(buf, 16, "%.1f s", (double)ms / 1000);
	else if (ms < 100 * 1000)
		snprintf(buf, 16, "%" PRIu64 " s", ms / 1000);
	else if (ms < 100 * 60 * 1000)
		snprintf(buf, 16, "%" PRIu64 " min", ms / 60000);
	else if (ms < (uint64_t)48 * 3600 * 1000)
		snprintf(buf, 16, "%" PRIu64 " h", ms / 3600000);
	else
		snprintf(buf, 16, "%" PRIu64 " d", ms / 86400000);
	return buf;
}

int
terminal_width(void)
{
	struct winsize ws = { 0 };

	if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) < 0)
		return 0;
	return ws.ws_col;
}

/* ---- collecting ---------------------------------------------------------------------------------------- */

static int
add_row(const struct pinfs_list_entry *e, void *arg)
{
	struct listing *l = arg;

	if (l->n == l->room) {
		size_t room = l->room ? l->room * 2 : 64;
		struct list_row *more = reallocarray(l->row, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		l->row = more;
		l->room = room;
	}
	l->row[l->n++] = (struct list_row){ .e = *e };
	return 0;
}

/* The name by which the process has that file open, in buf; false: it has not, or we may not see it. */
static bool
find_path(char buf[PATH_MAX], uint32_t pid, dev_t dev, uint64_t ino)
{
	char dir[64], link[sizeof(dir) + NAME_MAX + 2];
	bool found = false;
	struct dirent *d;
	struct stat sb;
	ssize_t n;
	DIR *fds;

	snprintf(dir, sizeof(dir), "/proc/%" PRIu32 "/fd", pid);
	fds = opendir(dir);
	if (!fds)
		return false;
	while (!found && (d = readdir(fds)) != NULL) {
		snprintf(link, sizeof(link), "%s/%s", dir, d->d_name);
		if (d->d_name[0] == '.' || stat(link, &sb) < 0 || sb.st_dev != dev || sb.st_ino != ino)
			continue;
		n = readlink(link, buf, PATH_MAX - 1);
		if (n > 0) {
			buf[n] = '\0';
			found = true;
		}
	}
	closedir(fds);
	return found;
}

static const char *
keep_path(struct listing *l, const char *path)
{
	if (l->npaths == l->paths_room) {
		size_t room = l->paths_room ? l->paths_room * 2 : 16;
		char **more = reallocarray(l->paths, room, sizeof(*more));

		if (!more)
			return NULL;
		l->paths = more;
		l->paths_room = room;
	}
	l->paths[l->npaths] = strdup(path);
	return l->paths[l->npaths] ? l->paths[l->npaths++] : NULL;
}

/* Who holds many has them one after the other, mostly: then the last answer is the next one's. */
static int
name_rows(struct listing *l, dev_t dev)
{
	char path[PATH_MAX];

	for (size_t k = 0; k < l->n; k++) {
		struct list_row *r = &l->row[k], *last = k ? r - 1 : NULL;

		if (last && last->e.pid == r->e.pid)
			memcpy(r->command, last->command, sizeof(r->command));
		else
			command_of(r->command, r->e.pid);
		if (last && last->e.pid == r->e.pid && last->e.ino == r->e.ino) {
			r->path = last->path;
			continue;
		}
		if (!find_path(path, r->e.pid, dev, r->e.ino))
			snprintf(path, sizeof(path), "inode %llu", (unsigned long long)r->e.ino);
		r->path = keep_path(l, path);
		if (!r->path)
			return -ENOMEM;
	}
	return 0;
}

/* Breaking leases first, and then who holds on for longest. */
static int
by_urgency(const void *pa, const void *pb)
{
	const struct pinfs_list_entry *a = &((const struct list_row *)pa)->e, *b = &((const struct list_row *)pb)->e;
	bool ba = a->state == PINFS_LEASE_BREAKING, bb = b->state == PINFS_LEASE_BREAKING;

	if (ba != bb)
		return ba ? -1 : 1;
	if (a->age_ms != b->age_ms)
		return a->age_ms > b->age_ms ? -1 : 1;
	if (a->id != b->id)
		return a->id < b->id ? -1 : 1;
	return a->off < b->off ? -1 : a->off > b->off;
}

int
listing_get(struct listing *l, int fd, bool whole_mount)
{
	struct stat sb;
	int err;

	l->n = 0;
	while (l->npaths > 0)
		free(l->paths[--l->npaths]);
	if (fstat(fd, &sb) < 0)
		return -errno;
	err = pinfs_list(fd, whole_mount ? PINFS_LIST_MOUNT : 0, add_row, l);
	if (err == 0)
		err = name_rows(l, sb.st_dev);
	if (err == 0 && l->n)
		qsort(l->row, l->n, sizeof(l->row[0]), by_urgency);
	return err;
}

void
listing_free(struct listing *l)
{
	while (l->npaths > 0)
		free(l->paths[--l->npaths]);
	free(l->paths);
	free(l->row);
	*l = (struct listing){ 0 };
}

/* ---- printing ------------------------------------------------------------------------------------------ */

/* The end of the largest file that there can be, in whole blocks. */
static bool
lease_to_the_end(const struct pinfs_list_entry *e)
{
	return e->len >= INT64_MAX - PINFS_BLOCK_SIZE - e->off;
}

/* What is known of the holder, the range and the state, as wide for each row of a table. */
static void
state_text(char buf[32], const struct pinfs_list_entry *e)
{
	char left[16];

	if (e->state != PINFS_LEASE_BREAKING || e->kind != PINFS_LIST_LEASE)
		snprintf(buf, 32, "%s%s", name_of_state(e->state), e->tracked ? ", tracked" : "");
	else if (e->left_ms == UINT64_MAX)
		snprintf(buf, 32, "%s, no deadline", name_of_state(e->state));
	else
		snprintf(buf, 32, "%s, %s left", name_of_state(e->state), short_time(left, e->left_ms));
}

/* The last column may be any length: on a terminal the end of the name is shown, which tells most. */
static void
clip_path(char *buf, size_t size, const char *path, int width)
{
	size_t used = strlen(buf), len = strlen(path), room = size - used - 1;

	if (width > 0 && (size_t)width < used + 8)
		buf[width] = '\0';
	else if (width > 0 && len > (size_t)width - used) {
		path += len - ((size_t)width - used) + 3;
		while (((unsigned char)*path & 0xc0) == 0x80) /* not in the middle of a UTF-8 character */
			path++;
		snprintf(buf + used, room, "...%s", path);
	} else {
		snprintf(buf + used, room, "%s", path);
	}
}

void
listing_heading(char *buf, size_t size, unsigned kind, int width)
{
	if (kind == PINFS_LIST_PIN)
		snprintf(buf, size, "%6s %7s %-15s %-9s %-6s %9s %9s %6s  %-13s  ", "PIN", "PID", "COMMAND", "CLASS", "ACCESS",
		    "OFFSET", "LENGTH", "AGE", "STATE");
	else
		snprintf(buf, size, "%6s %7s %-15s %-9s %9s %10s %6s  %-21s  ", "LEASE", "PID", "COMMAND", "TYPE", "OFFSET",
		    "LENGTH", "AGE", "STATE");
	clip_path(buf, size, "FILE", width);
}

void
listing_format(char *buf, size_t size, const struct list_row *r, int width)
{
	const struct pinfs_list_entry *e = &r->e;
	char off[24], len[24], age[16], state[32];

	exact_size(off, e->off);
	exact_size(len, e->len);
	short_time(age, e->age_ms);
	state_text(state, e);
	if (e->kind == PINFS_LIST_PIN)
		snprintf(buf, size, "%6llu %7u %-15s %-9s %-6s %9s %9s %6s  %-13s  ", (unsigned long long)e->id, e->pid,
		    r->command, name_of_class(e->type), name_of_access(e->access), off, len, age, state);
	else
		snprintf(buf, size, "%6llu %7u %-15s %-9s %9s %10s %6s  %-21s  ", (unsigned long long)e->id, e->pid, r->command,
		    name_of_lease(e->type), off, lease_to_the_end(e) ? "to the end" : len, age, state);
	clip_path(buf, size, r->path, width);
}

void
listing_print(const struct listing *l, unsigned kind, int width)
{
	char line[PATH_MAX + 256];
	size_t n = 0;

	for (size_t k = 0; k < l->n; k++) {
		if (l->row[k].e.kind != kind)
			continue;
		if (n++ == 0) {
			listing_heading(line, sizeof(line), kind, width);
			puts(line);
		}
		listing_format(line, sizeof(line), &l->row[k], width);
		puts(line);
	}
	if (n == 0)
		printf("no %s\n", kind == PINFS_LIST_PIN ? "pins" : "leases");
}

static void
json_row(const struct list_row *r)
{
	const struct pinfs_list_entry *e = &r->e;

	printf("{\"id\":%llu,\"inode\":%llu,\"file\":", (unsigned long long)e->id, (unsigned long long)e->ino);
	if (r->path[0] == '/')
		cli_json_string(stdout, r->path);
	else
		printf("null");
	printf(",\"pid\":%u,\"uid\":%u,\"command\":", e->pid, e->uid);
	cli_json_string(stdout, r->command);
	printf(",\"offset\":%llu,\"length\":%llu,\"age_ms\":%llu,\"state\":\"", (unsigned long long)e->off,
	    (unsigned long long)e->len, (unsigned long long)e->age_ms);
	for (const char *c = name_of_state(e->state); *c; c++)
		putchar(tolower((unsigned char)*c));
	if (e->kind == PINFS_LIST_PIN) {
		printf("\",\"class\":\"%s\",\"access\":\"%s\",\"writeback\":\"%s\",\"tracked\":%s}", name_of_class(e->type),
		    name_of_access(e->access), name_of_writeback(e->writeback), e->tracked ? "true" : "false");
		return;
	}
	printf("\",\"type\":\"%s\",\"left_ms\":", name_of_lease(e->type));
	if (e->state == PINFS_LEASE_BREAKING && e->left_ms != UINT64_MAX)
		printf("%llu}", (unsigned long long)e->left_ms);
	else
		printf("null}");
}

void
listing_json(const struct listing *l, unsigned kind, const char *name)
{
	const char *sep = "";

	printf("\"%s\":[", name);
	for (size_t k = 0; k < l->n; k++)
		if (l->row[k].e.kind == kind) {
			printf("%s", sep);
			json_row(&l->row[k]);
			sep = ",";
		}
	putchar(']');
}
