/* SPDX-License-Identifier: BSD-3-Clause */
/* pinctl pin, unpin, lease, events: being a holder.
 *
 * A pin or lease ends with the process that has the file open. So without --hold these commands tell only whether it can
 * be had, and what it would be; with --hold they keep it until a signal comes, print what happens to the lease, and
 * with --cooperate let go when somebody waits for it.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <pinfs/pinfs.h>

#include "cli/cli.h"
#include "cli/pinctl.h"
#include "cli/pinctl_list.h"

typedef unsigned long long ull;

/* ---- what the command line says --------------------------------------------------------------------------- */

/* OFF LEN, from operand k on, if they are there. */
static int
take_range(const struct pinctl_args *a, int k, uint64_t *off, uint64_t *len)
{
	*off = *len = 0;
	if (a->operands <= k)
		return 0;
	if (a->operands == k + 1) {
		cli_usage_error(PINCTL_PROG, "an offset needs a length");
		return -EINVAL;
	}
	if (pinctl_size(a->operand[k], "offset", off) < 0 || pinctl_size(a->operand[k + 1], "length", len) < 0)
		return -EINVAL;
	return 0;
}

/* The number for an option whose values are words; n stays as it is without the option. */
static int
take_word(const struct pinctl_args *a, enum pinctl_option o, const char *what, const char *(*name_of)(unsigned),
    unsigned *n)
{
	char all[128] = "";
	int found;

	if (!pinctl_has(a, o))
		return 0;
	found = number_of(a->value[o], name_of);
	if (found >= 0) {
		*n = (unsigned)found;
		return 0;
	}
	for (unsigned k = 0; k < 16; k++)
		if (strcmp(name_of(k), "?") != 0) {
			strcat(all, all[0] ? ", " : "");
			strcat(all, name_of(k));
		}
	cli_usage_error(PINCTL_PROG, "'%s' is no %s: one of %s", a->value[o], what, all);
	return -EINVAL;
}

/* ---- holding ------------------------------------------------------------------------------------------------ */

static uint64_t
ms_until(uint64_t deadline_ns)
{
	struct timespec ts;
	uint64_t now;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	now = (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
	return deadline_ns > now ? (deadline_ns - now) / 1000000 : 0;
}

static void
print_event(const struct pinfs_event *ev, bool json)
{
	char off[24], len[24], left[16], command[16];

	command_of(command, ev->pid);
	if (json) {
		printf("{\"event\":\"%s\",\"op\":\"%s\",\"lease\":%llu,\"offset\":%llu,\"length\":%llu,\"seq\":%llu,\"pid\":%u,"
		       "\"command\":", name_of_event(ev->type), name_of_op(ev->op), (ull)ev->lease, (ull)ev->off,
		    (ull)ev->len, (ull)ev->seq, ev->pid);
		cli_json_string(stdout, command);
		printf(",\"left_ms\":");
		if (ev->deadline_ns)
			printf("%llu}\n", (ull)ms_until(ev->deadline_ns));
		else
			printf("null}\n");
	} else {
		printf("%s: %s of %s at %s, by pid %u (%s), lease %llu", name_of_event(ev->type), name_of_op(ev->op),
		    ev->len >= INT64_MAX - PINFS_BLOCK_SIZE - ev->off ? "all" : exact_size(len, ev->len),
		    exact_size(off, ev->off), ev->pid, command, (ull)ev->lease);
		if (ev->type == PINFS_EVENT_BREAK && ev->deadline_ns)
			printf(", %s left", short_time(left, ms_until(ev->deadline_ns)));
		putchar('\n');
	}
	fflush(stdout);
}

/* Signals that end a program are to end the holding, in order. */
static int
catch_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

/* 1: an event, 0: it is to end, or -errno. */
static int
wait_event(int fd, int signals, struct pinfs_event *ev)
{
	struct pollfd p[2] = { { .fd = signals, .events = POLLIN }, { .fd = fd, .events = POLLPRI } };

	for (;;) {
		int r = pinfs_next_event(fd, ev, 0);

		if (r == -ENOTTY) /* a daemon that tells no events: only the signal is left to wait for */
			p[1].fd = -1;
		else if (r != 0)
			return r;
		if (poll(p, 2, -1) < 0)
			return -errno;
		if (p[0].revents)
			return 0;
		if (p[1].revents & (POLLERR | POLLHUP))
			return -ENOTCONN;
	}
}

static bool
wants_lease(const struct pinfs_event *ev)
{
	return ev->type == PINFS_EVENT_BREAK || ev->type == PINFS_EVENT_REVOKED;
}

/* Until a signal comes, or with --cooperate somebody wants it. */
static int
hold(const char *path, int fd, const struct pinctl_args *a)
{
	int signals = catch_signals(), r;
	struct pinfs_event ev;

	fflush(stdout);
	do {
		r = signals < 0 ? -errno : wait_event(fd, signals, &ev);
		if (r > 0)
			print_event(&ev, pinctl_has(a, PINCTL_JSON));
	} while (r > 0 && !(pinctl_has(a, PINCTL_COOPERATE) && wants_lease(&ev)));
	close(signals);
	if (r < 0)
		pinctl_failed(path, "waiting for events", r);
	return r < 0;
}

/* ---- pin ---------------------------------------------------------------------------------------------------- */

static void
print_pin(const char *path, const struct pinctl_args *a, const struct pinfs_pin_options *o, uint64_t id,
    const struct pinfs_pin_range *r)
{
	char off[24], len[24];
	bool hole = r->pool_off == PINFS_POOL_OFF_HOLE;

	if (pinctl_has(a, PINCTL_JSON)) {
		printf("{\"id\":%llu,\"class\":\"%s\",\"access\":\"%s\",\"offset\":%llu,\"length\":%llu,\"pool_offset\":", (ull)id,
		    name_of_class(o->pin_class), name_of_access(o->access), (ull)r->off, (ull)r->len);
		if (hole)
			printf("null");
		else
			printf("%llu", (ull)r->pool_off);
		printf(",\"first_extent\":%llu}\n", (ull)r->ext_len);
		return;
	}
	printf("%s: pin %llu: %s at %s, for %s, %s", path, (ull)id, exact_size(len, r->len), exact_size(off, r->off),
	    o->access == PINFS_ACCESS_READ ? "reading" : "writing", name_of_class(o->pin_class));
	if (hole)
		printf(", begins with a hole\n");
	else if (r->ext_len >= r->len)
		printf(", at %llu of the pool\n", (ull)r->pool_off);
	else
		printf(", in pieces, the first at %llu of the pool\n", (ull)r->pool_off);
}

/* A long-term pin needs a lease; a daemon that has none asks for none. */
static int
lease_for_pin(int fd, const struct pinfs_pin_options *o, uint64_t off, uint64_t len)
{
	struct pinfs_lease_options l = { .size = sizeof(l), .off = off, .len = len };
	uint64_t id;
	int err;

	if (o->pin_class == PINFS_PIN_TRANSIENT)
		return 0;
	err = pinfs_lease(fd, &l, &id);
	return err == -ENOTTY ? 0 : err;
}

int
pinctl_pin(const struct pinctl_args *a)
{
	struct pinfs_pin_options o = { .size = sizeof(o), .access = PINFS_ACCESS_READ, .pin_class = PINFS_PIN_LONGTERM };
	const char *path = a->operand[0];
	struct pinfs_pin_range r = { 0 };
	uint64_t id;
	int fd, err;
	struct stat sb;

	if (take_range(a, 1, (uint64_t *)&r.off, (uint64_t *)&r.len) < 0 ||
	    take_word(a, PINCTL_CLASS, "class of pins", name_of_class, &o.pin_class) < 0 ||
	    take_word(a, PINCTL_WRITEBACK, "policy", name_of_writeback, &o.writeback) < 0)
		return PINCTL_USAGE;
	if (pinctl_has(a, PINCTL_WRITE))
		o.access = PINFS_ACCESS_READWRITE;
	else if (pinctl_has(a, PINCTL_ALLOC) || pinctl_has(a, PINCTL_WRITEBACK)) {
		cli_usage_error(PINCTL_PROG, "--alloc and --writeback are for pins with --write");
		return PINCTL_USAGE;
	}
	o.flags = pinctl_has(a, PINCTL_ALLOC) ? PINFS_PIN_ALLOC : 0;
	fd = pinctl_open_file(path, o.access == PINFS_ACCESS_READWRITE ? O_RDWR : O_RDONLY, 0, &sb);
	if (fd < 0)
		return 1;
	err = lease_for_pin(fd, &o, r.off, r.len);
	if (err == 0)
		err = pinfs_pin(fd, &o, &r, 1, &id);
	if (err < 0) {
		pinctl_failed(path, "pin", err);
	} else {
		print_pin(path, a, &o, id, &r);
		if (pinctl_has(a, PINCTL_HOLD))
			err = hold(path, fd, a);
	}
	close(fd);
	return err != 0;
}

/* ---- unpin -------------------------------------------------------------------------------------------------- */

/* A duplicate of the holder's descriptor is the same open file, and may unpin. */
static int
unpin_through(int pidfd, int their_fd, dev_t dev, uint64_t ino, uint64_t id)
{
	int fd = (int)syscall(SYS_pidfd_getfd, pidfd, their_fd, 0), err;
	struct stat sb;

	if (fd < 0)
		return -errno;
	err = fstat(fd, &sb) < 0 ? -errno : sb.st_dev != dev || sb.st_ino != ino ? -ENOENT : pinfs_unpin(fd, id);
	close(fd);
	return err;
}

static int
unpin_of(uint32_t pid, dev_t dev, uint64_t ino, uint64_t id)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0), err = -ENOENT;
	struct dirent *d;
	char path[64];
	DIR *fds;

	if (pidfd < 0)
		return -errno;
	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/fd", pid);
	fds = opendir(path);
	if (!fds) {
		err = -errno;
		close(pidfd);
		return err;
	}
	while (err != 0 && (d = readdir(fds)) != NULL) {
		int r = d->d_name[0] == '.' ? -ENOENT : unpin_through(pidfd, atoi(d->d_name), dev, ino, id);

		if (r != -ENOENT && r != -EBADF)
			err = r;
	}
	closedir(fds);
	close(pidfd);
	return err;
}

int
pinctl_unpin(const struct pinctl_args *a)
{
	const char *path = a->operand[0];
	struct listing l = { 0 };
	uint32_t pid = 0;
	struct stat sb;
	char *end;
	ull id;
	int fd, err;

	errno = 0;
	id = strtoull(a->operand[1], &end, 10);
	if (errno || *end || end == a->operand[1]) {
		cli_usage_error(PINCTL_PROG, "'%s' is no id of a pin: 'pinctl status' lists them", a->operand[1]);
		return PINCTL_USAGE;
	}
	fd = pinctl_open(path);
	if (fd < 0)
		return 1;
	err = fstat(fd, &sb) < 0 ? -errno : listing_get(&l, fd, false);
	for (size_t k = 0; k < l.n && err == 0; k++)
		if (l.row[k].e.kind == PINFS_LIST_PIN && l.row[k].e.id == id)
			pid = l.row[k].e.pid;
	listing_free(&l);
	close(fd);
	if (err < 0) {
		pinctl_failed(path, "unpin", err);
		return 1;
	}
	if (!pid) {
		cli_error(PINCTL_PROG, "%s: no pin %llu on this file: 'pinctl status' lists them", path, id);
		return 1;
	}
	err = unpin_of(pid, sb.st_dev, sb.st_ino, id);
	if (err == -EPERM || err == -EACCES)
		cli_error(PINCTL_PROG, "%s: pin %llu is held by pid %u, whose files you may not take: ask root, or end that process",
		    path, id, pid);
	else if (err < 0)
		cli_error(PINCTL_PROG, "%s: pin %llu of pid %u: %s", path, id, pid, pinfs_strerror(err));
	else if (pinctl_has(a, PINCTL_JSON))
		printf("{\"unpinned\":%llu,\"pid\":%u}\n", id, pid);
	else
		printf("%s: pin %llu of pid %u is no more\n", path, id, pid);
	return err < 0;
}

/* ---- lease, leases, events ------------------------------------------------------------------------------------ */

static void
print_lease(const char *path, const struct pinctl_args *a, const struct pinfs_lease_options *o, uint64_t id)
{
	char off[24], len[24];

	if (pinctl_has(a, PINCTL_JSON)) {
		printf("{\"id\":%llu,\"type\":\"%s\",\"offset\":%llu,\"length\":", (ull)id, name_of_lease(o->type), (ull)o->off);
		if (o->len)
			printf("%llu}\n", (ull)o->len);
		else
			printf("null}\n");
		return;
	}
	printf("%s: lease %llu, %s: ", path, (ull)id, name_of_lease(o->type));
	if (o->len)
		printf("%s at %s\n", exact_size(len, o->len), exact_size(off, o->off));
	else
		printf("the whole file\n");
}

static int
take_lease_options(const struct pinctl_args *a, struct pinfs_lease_options *o)
{
	*o = (struct pinfs_lease_options){ .size = sizeof(*o), .type = PINFS_LEASE_SHARED };
	if (pinctl_has(a, PINCTL_EXCLUSIVE))
		o->type = PINFS_LEASE_EXCLUSIVE;
	if (take_range(a, 1, &o->off, &o->len) < 0)
		return -EINVAL;
	if (a->operands > 1 && o->len == 0) {
		cli_usage_error(PINCTL_PROG, "a length of 0: leave out offset and length for the whole file");
		return -EINVAL;
	}
	return take_word(a, PINCTL_ON_DEADLINE, "choice for the deadline", name_of_deadline, &o->on_deadline);
}

/* May it make operations of others fail, or wait for ever? Who may only read may not have such a one. */
static bool
refuses(const struct pinfs_lease_options *o)
{
	return o->type == PINFS_LEASE_EXCLUSIVE || o->on_deadline != PINFS_DEADLINE_REVOKE;
}

int
pinctl_lease(const struct pinctl_args *a)
{
	const char *path = a->operand[0];
	struct pinfs_lease_options o;
	uint64_t id;
	int fd, err;
	struct stat sb;

	if (take_lease_options(a, &o) < 0)
		return PINCTL_USAGE;
	fd = pinctl_open_file(path, refuses(&o) ? O_RDWR : O_RDONLY, 0, &sb);
	if (fd < 0)
		return 1;
	err = pinfs_lease(fd, &o, &id);
	if (err < 0) {
		pinctl_failed(path, "lease", err);
	} else {
		print_lease(path, a, &o, id);
		if (pinctl_has(a, PINCTL_HOLD))
			err = hold(path, fd, a);
	}
	close(fd);
	return err != 0;
}

int
pinctl_leases(const struct pinctl_args *a)
{
	const char *path = a->operand[0];
	struct listing l = { 0 };
	int fd = pinctl_open(path), err;
	struct stat sb;

	if (fd < 0)
		return 1;
	err = fstat(fd, &sb) < 0 ? -errno : listing_get(&l, fd, S_ISDIR(sb.st_mode));
	close(fd);
	if (err < 0) {
		pinctl_failed(path, "leases", err);
	} else if (pinctl_has(a, PINCTL_JSON)) {
		putchar('{');
		listing_json(&l, PINFS_LIST_LEASE, "leases");
		printf("}\n");
	} else {
		listing_print(&l, PINFS_LIST_LEASE, terminal_width());
	}
	listing_free(&l);
	return err < 0;
}

/* A new lease after the last one was given up: when the operation that wanted it is through. -EINTR: it is to end. */
static int
lease_again(int fd, int signals, const struct pinfs_lease_options *o, uint64_t *id)
{
	struct pollfd p = { .fd = signals, .events = POLLIN };
	int err;

	while ((err = pinfs_lease(fd, o, id)) == -EAGAIN)
		if (poll(&p, 1, 20) != 0)
			return -EINTR;
	return err;
}

int
pinctl_events(const struct pinctl_args *a)
{
	const char *path = a->operand[0];
	struct pinfs_lease_options o;
	int fd, signals, r;
	struct pinfs_event ev;
	uint64_t id;
	struct stat sb;

	if (take_lease_options(a, &o) < 0)
		return PINCTL_USAGE;
	fd = pinctl_open_file(path, refuses(&o) ? O_RDWR : O_RDONLY, 0, &sb);
	if (fd < 0)
		return 1;
	signals = catch_signals();
	r = signals < 0 ? -errno : lease_again(fd, signals, &o, &id);
	if (r == 0 && !pinctl_has(a, PINCTL_JSON) && isatty(STDERR_FILENO))
		fprintf(stderr, "%s: waiting for layout operations of others\n", path);
	while (r == 0) {
		r = wait_event(fd, signals, &ev);
		if (r <= 0)
			break;
		print_event(&ev, pinctl_has(a, PINCTL_JSON));
		r = 0;
		/* Gone already, if it was given up for an event before this one. */
		if (wants_lease(&ev) && ev.lease == id)
			r = pinfs_lease_release(fd, id);
		if (!pinctl_has(a, PINCTL_FOLLOW))
			break;
		if (r == 0 && wants_lease(&ev) && ev.lease == id)
			r = lease_again(fd, signals, &o, &id);
	}
	if (r < 0 && r != -EINTR)
		pinctl_failed(path, "events", r);
	close(signals);
	close(fd);
	return r < 0 && r != -EINTR;
}
