/* SPDX-License-Identifier: BSD-3-Clause */
/* Between the files that execute ioctls. */
#ifndef PINFS_FS_FUSE_IOCTL_I_H
#define PINFS_FS_FUSE_IOCTL_I_H

#include <string.h>

#include <pinfs/ioctl.h>

#include "fs/fuse/front_i.h"

struct call {
	fuse_req_t req;
	struct front *front;
	struct inode *inode;
	struct file *file;     /* NULL: of a directory */
	const void *in;
	size_t in_size, out_size;
};

bool ioctl_all_zero(const void *p, size_t n);
#define RESERVED_OK(s) ioctl_all_zero((s).reserved, sizeof((s).reserved))

/* A copy of the caller's structure, which has the size that it says. */
#define TAKE(c, s) \
	((c)->in_size == sizeof(s) && (memcpy(&(s), (c)->in, sizeof(s)), (s).size == sizeof(s) && (s).flags == 0))

void ioctl_reply_struct(const struct call *c, const void *s, size_t size);

/* A reply that waits for the notifier: reply_deferred is a done function for notify_inval(). NULL: no memory. */
struct ioctl_deferred;
struct ioctl_deferred *ioctl_defer(fuse_req_t req, const void *data, size_t size);
void ioctl_reply_deferred(void *arg);
void ioctl_defer_cancel(struct ioctl_deferred *d); /* it was not passed on */

/* Each replies itself, or returns an error and has not replied. (ops_ioctl_layout.c, ops_ioctl_pin.c) */
int ioctl_collapse(const struct call *c);
int ioctl_insert(const struct call *c);
int ioctl_offer(const struct call *c);
int ioctl_clone(const struct call *c);
int ioctl_exchange(const struct call *c);
int ioctl_track(const struct call *c);
int ioctl_pin_extents(const struct call *c);
int ioctl_list(const struct call *c); /* ops_ioctl_list.c */
/* The same. (ops_ioctl_lease.c) */
int ioctl_lease(const struct call *c);
int ioctl_lease_release(const struct call *c);
int ioctl_events(const struct call *c);

#endif
