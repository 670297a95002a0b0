/* SPDX-License-Identifier: BSD-3-Clause */
/* The thread that runs callbacks for events of leases.
 *
 * There is one for the process, started with the first watch; it ends when the last one has gone. It waits in
 * epoll_wait(2) on a duplicate of each watched descriptor: poll(2) would ask the daemon about every one of them each time.
 * When one has something to tell it reads the events of that open file and looks, for each of them, for the watch
 * that has its lease. So several watches of one open file work, whichever of them epoll reports.
 *
 * A watch is on the list until it is removed; while the thread reads from one or is in its callback, it holds a
 * reference besides. watch_remove() takes the watch from the list and waits until nobody but itself has a
 * reference, unless it was called from the thread, that is, from a callback: then the thread frees the watch after it. The
 * lock is never held over a request to the daemon or a callback.
 *
 * A child made by fork(2) has no such thread, and no use for its watches: they are the parent's. They are dropped there.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/client_i.h"

struct watch {
	struct watch *next;  /* protected by lock, as are refs */
	unsigned refs;
	uint64_t serial;     /* what epoll knows it by: never used again, unlike an address */
	int fd;
	dev_t dev;           /* the mount: ids of leases are unique on one */
	pinfs_lease_event_fn *fn;
	void *arg;
	bool by_lease;       /* nobody has a pointer: it is removed by the lease's id */
	unsigned nleases;
	uint64_t leases[];
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t dropped;  /* a reference has been */
	struct watch *first;
	uint64_t last_serial;
	bool running;            /* the thread; epoll and wake are open exactly then */
	pthread_t thread;
	int epoll, wake;
} state = { .lock = PTHREAD_MUTEX_INITIALIZER, .dropped = PTHREAD_COND_INITIALIZER };

static void
drop_locked(struct watch *w)
{
	if (--w->refs == 0) {
		close(w->fd);
		free(w);
	} else {
		pthread_cond_broadcast(&state.dropped);
	}
}

static struct watch *
find_serial_locked(uint64_t serial)
{
	struct watch *w = state.first;

	while (w && w->serial != serial)
		w = w->next;
	return w;
}

static struct watch *
find_lease_locked(dev_t dev, uint64_t lease)
{
	for (struct watch *w = state.first; w; w = w->next)
		for (unsigned k = 0; w->dev == dev && k < w->nleases; k++)
			if (w->leases[k] == lease)
				return w;
	return NULL;
}

/* ---- the thread ------------------------------------------------------------------------------------ */

static void
deliver(dev_t dev, const struct pinfs_event *ev)
{
	struct watch *w;

	pthread_mutex_lock(&state.lock);
	w = find_lease_locked(dev, ev->lease);
	if (w)
		w->refs++;
	pthread_mutex_unlock(&state.lock);
	if (!w)
		return;
	w->fn(w->fd, ev, w->arg);
	pthread_mutex_lock(&state.lock);
	drop_locked(w);
	pthread_mutex_unlock(&state.lock);
}

static void
read_events(uint64_t serial, bool broken)
{
	struct pinfs_events x;
	struct watch *w;

	pthread_mutex_lock(&state.lock);
	w = find_serial_locked(serial);
	if (w)
		w->refs++;
	pthread_mutex_unlock(&state.lock);
	if (!w)
		return;
	do {
		memset(&x, 0, sizeof(x));
		x.size = sizeof(x);
		if (ioctl(w->fd, PINFS_IOC_EVENTS, &x) < 0) {
			broken |= errno != EINTR;
			break;
		}
		for (uint32_t k = 0; k < x.count && k < PINFS_EVENTS_MAX; k++)
			deliver(w->dev, &x.events[k]);
	} while (x.more && x.count);
	/* The daemon is gone, and epoll would report that for ever. */
	if (broken)
		epoll_ctl(state.epoll, EPOLL_CTL_DEL, w->fd, NULL);
	pthread_mutex_lock(&state.lock);
	drop_locked(w);
	pthread_mutex_unlock(&state.lock);
}

/* The last watch has gone: whoever adds the next one starts a new thread. */
static bool
may_end(void)
{
	uint64_t n;
	bool end;

	pthread_mutex_lock(&state.lock);
	end = state.first == NULL;
	if (end) {
		close(state.epoll);
		close(state.wake);
		state.running = false;
	} else {
		while (read(state.wake, &n, sizeof(n)) == sizeof(n))
			continue;
	}
	pthread_mutex_unlock(&state.lock);
	return end;
}

static void *
watch_thread(void *arg)
{
	struct epoll_event e[16];

	(void)arg;
	do {
		int n = epoll_wait(state.epoll, e, sizeof(e) / sizeof(e[0]), -1);

		for (int k = 0; k < n; k++)
			if (e[k].data.u64)
				read_events(e[k].data.u64, e[k].events & (EPOLLERR | EPOLLHUP));
	} while (!may_end());
	return NULL;
}

/* ---- fork ------------------------------------------------------------------------------------------- */

static void
before_fork(void)
{
	pthread_mutex_lock(&state.lock);
}

static void
after_fork(void)
{
	pthread_mutex_unlock(&state.lock);
}

static void
in_child(void)
{
	while (state.first) {
		struct watch *w = state.first;

		state.first = w->next;
		close(w->fd);
		free(w);
	}
	if (state.running) {
		close(state.epoll);
		close(state.wake);
		state.running = false;
	}
	pthread_cond_init(&state.dropped, NULL);
	pthread_mutex_unlock(&state.lock);
}

static void
at_fork(void)
{
	pthread_atfork(before_fork, after_fork, in_child);
}

/* ---- adding and removing ------------------------------------------------------------------------------ */

static int
start_locked(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = 0 };
	sigset_t all, old;
	int err;

	if (state.running)
		return 0;
	pthread_once(&once, at_fork);
	state.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (state.epoll < 0)
		return -errno;
	state.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (state.wake < 0) {
		err = -errno;
		goto no_wake;
	}
	if (epoll_ctl(state.epoll, EPOLL_CTL_ADD, state.wake, &e) < 0) {
		err = -errno;
		goto no_thread;
	}
	/* Signals are for the program's own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = -pthread_create(&state.thread, NULL, watch_thread, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err == 0) {
		pthread_detach(state.thread);
		state.running = true;
		return 0;
	}
no_thread:
	close(state.wake);
no_wake:
	close(state.epoll);
	return err;
}

static void
unlink_locked(struct watch *w)
{
	struct watch **p = &state.first;
	uint64_t one = 1;

	while (*p != w)
		p = &(*p)->next;
	*p = w->next;
	epoll_ctl(state.epoll, EPOLL_CTL_DEL, w->fd, NULL);
	/* An eventfd's write of 1 fails only when it has been woken 2^64 times. */
	if (!state.first && write(state.wake, &one, sizeof(one)) < 0)
		abort();
}

static void
remove_locked(struct watch *w)
{
	bool from_callback = state.running && pthread_equal(pthread_self(), state.thread);

	unlink_locked(w);
	while (!from_callback && w->refs > 1)
		pthread_cond_wait(&state.dropped, &state.lock);
	drop_locked(w);
}

int
watch_add(int fd, const uint64_t *leases, unsigned n, pinfs_lease_event_fn *fn, void *arg, struct watch **out)
{
	struct watch *w = malloc(sizeof(*w) + n * sizeof(w->leases[0]));
	struct epoll_event e = { .events = EPOLLPRI };
	struct stat sb;
	int err = 0, epoll = -1;

	if (!w)
		return -ENOMEM;
	*w = (struct watch){ .refs = 1, .fn = fn, .arg = arg, .by_lease = !out, .nleases = n };
	memcpy(w->leases, leases, n * sizeof(w->leases[0]));
	w->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (w->fd < 0 || fstat(w->fd, &sb) < 0) {
		err = -errno;
		goto out;
	}
	w->dev = sb.st_dev;
	pthread_mutex_lock(&state.lock);
	err = start_locked();
	if (err == 0) {
		e.data.u64 = w->serial = ++state.last_serial;
		w->next = state.first;
		state.first = w;
		epoll = state.epoll;
	}
	pthread_mutex_unlock(&state.lock);
	/* This asks the daemon. The thread can't end meanwhile: there is a watch. */
	if (err == 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, w->fd, &e) < 0) {
		err = -errno;
		watch_remove(w);
		return err;
	}
out:
	if (err) {
		if (w->fd >= 0)
			close(w->fd);
		free(w);
		return err;
	}
	if (out)
		*out = w;
	return 0;
}

void
watch_remove(struct watch *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&state.lock);
	remove_locked(w);
	pthread_mutex_unlock(&state.lock);
}

void
watch_remove_lease(int fd, uint64_t lease)
{
	struct stat sb;
	struct watch *w;

	if (fstat(fd, &sb) < 0)
		return;
	pthread_mutex_lock(&state.lock);
	w = find_lease_locked(sb.st_dev, lease);
	if (w && w->by_lease)
		remove_locked(w);
	pthread_mutex_unlock(&state.lock);
}
