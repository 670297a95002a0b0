/* SPDX-License-Identifier: BSD-3-Clause */
/* Layout leases: "tell me before the layout of this range changes". pinfs(7) has what they promise.
 *
 * A lease is a registration over (open file, range of blocks, type); it ends with its release or with the
 * file. Layout operations (layout.h) break the leases of other processes: the lease is BREAKING, an event can be read
 * from its file, and the operation is parked until the lease is gone or its deadline has passed.
 */
#ifndef PINFS_FS_LEASE_H
#define PINFS_FS_LEASE_H

#include "fs/fs.h"

/* All of these as in <pinfs/ioctl.h>. */
enum lease_type { LEASE_SHARED = 1, LEASE_EXCLUSIVE = 2 };
enum lease_state { LEASE_HELD = 1, LEASE_BREAKING = 2, LEASE_REVOKED = 3, LEASE_RELEASED = 4 };
enum lease_on_deadline { LEASE_DEADLINE_REVOKE = 0, LEASE_DEADLINE_FAIL = 1, LEASE_DEADLINE_WAIT = 2 };
enum lease_event_type { LEASE_EVENT_BREAK = 1, LEASE_EVENT_REVOKED = 2, LEASE_EVENT_RESTORED = 3, LEASE_EVENT_FILLED = 4,
       LEASE_EVENT_TYPES };

struct lease_params {
	enum lease_type type;
	enum lease_on_deadline on_deadline;
	int signal;        /* 0: none */
	uint64_t cookie;
};

/* Take one on [*off, *off + *len), in bytes; *len 0: to the end of the largest file. Both are rounded out to blocks.
 * c->tgid is the process that is the holder, c->uid is charged. -EAGAIN a layout operation wants the range, -EBUSY another
 * open file's lease is in the way, -EBADF f is open for reading only, and the lease is one that refuses operations:
 * exclusive, or anything but LEASE_DEADLINE_REVOKE; -EDQUOT the user has too many, -EPERM the process can't be signalled,
 * -EINVAL. */
int lease_take(struct file *f, uint64_t *off, uint64_t *len, const struct lease_params *p, const struct fs_cred *c,
    uint64_t *id);
/* Make it what p says. -ENOENT not a lease of this open file, -ESTALE revoked, -EAGAIN BREAKING, -EBUSY, -EBADF, -EPERM,
 * -EINVAL. */
int lease_modify(struct file *f, uint64_t id, const struct lease_params *p, const struct fs_cred *c);
/* -ENOENT. */
int lease_release(struct file *f, uint64_t id);
/* All leases and events of a file that is being closed. */
void lease_drop_all(struct file *f);

struct lease_event {
	enum lease_event_type type;
	int op;              /* enum layout_kind */
	uint64_t lease, cookie, seq;
	uint64_t off, len;   /* bytes */
	int64_t deadline_ns; /* CLOCK_MONOTONIC; 0: none */
	pid_t pid;
};
/* Take up to max events of the open file, the oldest first; how many. *more: how many are left; *lost: how many
 * could not be kept, for want of memory, since the last call. */
unsigned lease_events(struct file *f, struct lease_event *out, unsigned max, unsigned *more, uint64_t *lost);
bool lease_events_pending(struct file *f);

/* What a lease looks like from outside. */
struct lease_info {
	uint64_t id;
	uint64_t off, len;    /* bytes */
	int64_t since_ns;
	int64_t deadline_ns;  /* BREAKING: INT64_MAX: none */
	pid_t tgid;
	uid_t uid;
	enum lease_type type;
	enum lease_state state;
};
/* Up to max leases of the inode with ids above `after`, in their order; how many. */
unsigned lease_list(struct inode *i, uint64_t after, struct lease_info *out, unsigned max);

/* The inode leaves memory. */
void lease_evict(struct inode *i);

#endif
