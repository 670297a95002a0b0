/* SPDX-License-Identifier: BSD-3-Clause */
/* Telling the kernel to drop what it has cached, and that there is something to poll for.
 *
 * The kernel drops pages under their locks, and one of them may be held by a reader who waits for a
 * reply of ours. So notifications never come from a thread that executes requests, but from one
 * thread of their own, in the order in which they were asked for.
 */
#ifndef PINFS_FS_FUSE_NOTIFY_H
#define PINFS_FS_FUSE_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

struct fuse_session;
struct notifier;

int notifier_start(struct notifier **out, struct fuse_session *se);
/* Everything that was asked for is done first, while requests are still served: the kernel may need that.
 * What is asked for later is taken as done: the mount is going away. NULL is allowed. */
void notifier_stop(struct notifier *n);
void notifier_free(struct notifier *n);

/* Drop attributes, and cached pages of [off, off+len); len 0: to the end of the file;
 * len < 0: attributes only. done (may be NULL) is called when the kernel has done so; at
 * once if there is no memory for the note. */
void notify_inval(struct notifier *n, uint64_t ino, int64_t off, int64_t len, void (*done)(void *arg), void *arg);
/* Who polls the file of that handle (of a POLL request) is to look again. Any lock may be held but one of rank LOCK_LEAF. */
void notify_poll(struct notifier *n, uint64_t handle);
/* The same at once, by a thread that is not executing a request just now. */
void notify_poll_now(struct notifier *n, uint64_t handle);

#endif
