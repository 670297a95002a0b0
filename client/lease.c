/* SPDX-License-Identifier: BSD-3-Clause */
/* Leases that the caller takes himself, and their events. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include "client/client_i.h"

static int
take_options(struct pinfs_lease_options *o, const struct pinfs_lease_options *options)
{
	int err = 0;

	memset(o, 0, sizeof(*o));
	if (options)
		err = options_take(o, sizeof(*o), options);
	if (!err && o->reserved)
		err = -EINVAL;
	if (!o->type)
		o->type = PINFS_LEASE_SHARED;
	return err;
}

static int
request(int fd, unsigned flags, const struct pinfs_lease_options *o, uint64_t *id)
{
	struct pinfs_lease l = {
		.size = sizeof(l),
		.flags = flags,
		.id = flags & PINFS_LEASE_MODIFY ? *id : 0,
		.off = o->off,
		.len = o->len,
		.type = o->type,
		.on_deadline = o->on_deadline,
		.signal = o->signal,
		.cookie = o->cookie,
	};

	if (ioctl(fd, PINFS_IOC_LEASE, &l) < 0)
		return -errno;
	*id = l.id;
	return 0;
}

static int
release(int fd, uint64_t id)
{
	struct pinfs_lease_release r = { .size = sizeof(r), .id = id };

	return ioctl(fd, PINFS_IOC_LEASE_RELEASE, &r) < 0 ? -errno : 0;
}

int
pinfs_lease(int fd, const struct pinfs_lease_options *options, uint64_t *id)
{
	struct pinfs_lease_options o;
	int err = take_options(&o, options);

	if (!err)
		err = request(fd, 0, &o, id);
	if (err || !o.on_event)
		return err;
	err = watch_add(fd, id, 1, o.on_event, o.arg, NULL);
	if (err)
		release(fd, *id);
	return err;
}

int
pinfs_lease_modify(int fd, uint64_t id, const struct pinfs_lease_options *options)
{
	struct pinfs_lease_options o;
	int err = take_options(&o, options);

	if (!err && (o.off || o.len || o.on_event))
		err = -EINVAL;
	return err ? err : request(fd, PINFS_LEASE_MODIFY, &o, &id);
}

int
pinfs_lease_release(int fd, uint64_t id)
{
	int err = release(fd, id);

	/* After it, since fd may be the watch's own. */
	watch_remove_lease(fd, id);
	return err;
}

static int64_t
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int
pinfs_next_event(int fd, struct pinfs_event *ev, int timeout_ms)
{
	int64_t deadline = timeout_ms > 0 ? now_ms() + timeout_ms : 0;

	for (;;) {
		struct pinfs_events x = { .size = sizeof(x), .count = 1 };
		struct pollfd p = { .fd = fd, .events = POLLPRI };
		int64_t left = timeout_ms;

		if (ioctl(fd, PINFS_IOC_EVENTS, &x) < 0)
			return -errno;
		if (x.count > 0) {
			*ev = x.events[0];
			return 1;
		}
		if (timeout_ms > 0)
			left = deadline - now_ms();
		if (timeout_ms >= 0 && left <= 0)
			return 0;
		if (poll(&p, 1, (int)left) < 0)
			return -errno;
		if (p.revents & (POLLERR | POLLHUP | POLLNVAL) && !(p.revents & POLLPRI))
			return p.revents & POLLNVAL ? -EBADF : -ENOTCONN;
	}
}

void
pinfs_lease_give_way(int fd, const struct pinfs_event *ev, void *arg)
{
	if (ev->type != PINFS_EVENT_BREAK && ev->type != PINFS_EVENT_REVOKED)
		return;
	if (arg)
		pinfs_let_go(arg);
	/* It may have been released while this event was on its way. */
	pinfs_lease_release(fd, ev->lease);
}
