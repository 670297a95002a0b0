/* SPDX-License-Identifier: BSD-3-Clause */
/* A list of notes, a thread that works it off.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fs/fuse/front_i.h"

struct note {
	struct note *next;
	uint64_t poll_handle;  /* 0: it is an invalidation */
	uint64_t ino;
	int64_t off, len;
	void (*done)(void *arg);
	void *arg;
};

struct notifier {
	struct fuse_session *se;
	pthread_t thread;
	struct mtx lock;       /* LOCK_LEAF */
	pthread_cond_t more;
	struct note *first;    /* P: lock */
	struct note **last;    /* P: lock; where the next one is put */
	bool stop;             /* P: lock */
};

/* Fails when nobody polls any more. */
void
notify_poll_now(struct notifier *n, uint64_t handle)
{
	struct fuse_notify_poll_wakeup_out wake = { .kh = handle };
	struct fuse_out_header out = { .len = sizeof(out) + sizeof(wake), .error = FUSE_NOTIFY_POLL };
	struct iovec iov[2] = { { &out, sizeof(out) }, { &wake, sizeof(wake) } };
	ssize_t r = writev(fuse_session_fd(n->se), iov, 2);

	(void)r;
}

static void
send_note(struct notifier *n, const struct note *note)
{
	/* Fails where the kernel has not, or no longer, the inode: there is nothing to drop. */
	if (note->poll_handle)
		notify_poll_now(n, note->poll_handle);
	else if (note->len < 0)
		fuse_lowlevel_notify_inval_inode(n->se, note->ino, -1, 0);
	else
		fuse_lowlevel_notify_inval_inode(n->se, note->ino, note->off, note->len);
	if (note->done)
		note->done(note->arg);
}

static void *
notifier_main(void *arg)
{
	struct notifier *n = arg;
	struct note *note;

	pthread_setname_np(pthread_self(), "pinfs-notify");
	mtx_lock(&n->lock);
	for (;;) {
		while (!n->first && !n->stop)
			mtx_cond_wait(&n->more, &n->lock);
		note = n->first;
		if (!note)
			break;
		n->first = note->next;
		if (!n->first)
			n->last = &n->first;
		mtx_unlock(&n->lock);
		send_note(n, note);
		free(note);
		mtx_lock(&n->lock);
	}
	mtx_unlock(&n->lock);
	return NULL;
}

int
notifier_start(struct notifier **out, struct fuse_session *se)
{
	struct notifier *n = calloc(1, sizeof(*n));
	int r;

	if (!n)
		return -ENOMEM;
	n->se = se;
	n->last = &n->first;
	mtx_init(&n->lock, LOCK_LEAF, 0);
	pthread_cond_init(&n->more, NULL);
	r = pthread_create(&n->thread, NULL, notifier_main, n);
	if (r) {
		pthread_cond_destroy(&n->more);
		mtx_destroy(&n->lock);
		free(n);
		return -r;
	}
	*out = n;
	return 0;
}

void
notifier_stop(struct notifier *n)
{
	if (!n)
		return;
	mtx_lock(&n->lock);
	n->stop = true;
	pthread_cond_signal(&n->more);
	mtx_unlock(&n->lock);
	pthread_join(n->thread, NULL);
}

void
notifier_free(struct notifier *n)
{
	if (!n)
		return;
	pthread_cond_destroy(&n->more);
	mtx_destroy(&n->lock);
	free(n);
}

/* Takes over the note, unless it is too late. */
static bool
pass_on(struct notifier *n, struct note *note)
{
	bool taken;

	mtx_lock(&n->lock);
	taken = !n->stop;
	if (taken) {
		*n->last = note;
		n->last = &note->next;
		pthread_cond_signal(&n->more);
	}
	mtx_unlock(&n->lock);
	return taken;
}

void
notify_inval(struct notifier *n, uint64_t ino, int64_t off, int64_t len, void (*done)(void *arg), void *arg)
{
	struct note *note = malloc(sizeof(*note));

	if (note) {
		*note = (struct note){ .ino = ino, .off = off, .len = len, .done = done, .arg = arg };
		if (pass_on(n, note))
			return;
	}
	free(note);
	if (done)
		done(arg);
}

void
notify_poll(struct notifier *n, uint64_t handle)
{
	struct note *note = malloc(sizeof(*note));

	if (note) {
		*note = (struct note){ .poll_handle = handle };
		if (!pass_on(n, note))
			free(note);
		return;
	}
	/* This one waits for nothing in the kernel, so better here than not at all. */
	notify_poll_now(n, handle);
}
