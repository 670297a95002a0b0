/* SPDX-License-Identifier: BSD-3-Clause */
/* ioctls about leases: taking, changing and releasing them, and what their holders are told.
 *
 * Releasing one may end the wait of requests. They are executed by the same worker, when this request
 * has got its reply (session.c).
 */
#include <errno.h>

#include "fs/fuse/ioctl_i.h"
#include "fs/lease.h"
#include "fs/process.h"

_Static_assert((int)LEASE_SHARED == PINFS_LEASE_SHARED && (int)LEASE_EXCLUSIVE == PINFS_LEASE_EXCLUSIVE &&
    (int)LEASE_HELD == PINFS_LEASE_HELD && (int)LEASE_BREAKING == PINFS_LEASE_BREAKING &&
    (int)LEASE_REVOKED == PINFS_LEASE_REVOKED && (int)LEASE_RELEASED == PINFS_LEASE_RELEASED &&
    (int)LEASE_DEADLINE_REVOKE == PINFS_DEADLINE_REVOKE && (int)LEASE_DEADLINE_FAIL == PINFS_DEADLINE_FAIL &&
    (int)LEASE_DEADLINE_WAIT == PINFS_DEADLINE_WAIT && (int)LEASE_EVENT_BREAK == PINFS_EVENT_BREAK &&
    (int)LEASE_EVENT_REVOKED == PINFS_EVENT_REVOKED && (int)LEASE_EVENT_RESTORED == PINFS_EVENT_RESTORED &&
    (int)LEASE_EVENT_FILLED == PINFS_EVENT_FILLED, "leases inside and in the ABI");
_Static_assert((int)LAYOUT_TRUNCATE == PINFS_OP_TRUNCATE && (int)LAYOUT_PUNCH == PINFS_OP_PUNCH &&
    (int)LAYOUT_ZERO == PINFS_OP_ZERO && (int)LAYOUT_COLLAPSE == PINFS_OP_COLLAPSE &&
    (int)LAYOUT_INSERT == PINFS_OP_INSERT && (int)LAYOUT_EXCHANGE == PINFS_OP_EXCHANGE &&
    (int)LAYOUT_CLONE_INTO == PINFS_OP_CLONE_INTO && (int)LAYOUT_DAX == PINFS_OP_DAX && (int)LAYOUT_FILL == PINFS_OP_FILL,
    "layout operations inside and in the ABI");

static int
check_lease(const struct pinfs_lease *o)
{
	if (o->size != sizeof(*o) || (o->flags & ~(uint32_t)PINFS_LEASE_MODIFY) || o->reserved32 || !RESERVED_OK(*o))
		return -EINVAL;
	if (o->type > PINFS_LEASE_EXCLUSIVE || o->on_deadline > PINFS_DEADLINE_WAIT || o->signal > INT32_MAX)
		return -EINVAL;
	if ((o->flags & PINFS_LEASE_MODIFY) ? o->off || o->len : o->id)
		return -EINVAL;
	return 0;
}

int
ioctl_lease(const struct call *c)
{
	struct lease_params p;
	struct pinfs_lease o;
	uint64_t off, len, id;
	struct fs_cred cred;
	int r;

	if (c->in_size != sizeof(o))
		return -EINVAL;
	memcpy(&o, c->in, sizeof(o));
	r = check_lease(&o);
	if (r == 0 && !c->file)
		r = -EISDIR;
	if (r < 0)
		return r;
	front_cred(c->req, &cred);
	cred.tgid = process_of(cred.tgid);
	p = (struct lease_params){ .type = (enum lease_type)o.type, .on_deadline = (enum lease_on_deadline)o.on_deadline,
		.signal = (int)o.signal, .cookie = o.cookie };
	if (o.flags & PINFS_LEASE_MODIFY) {
		r = lease_modify(c->file, o.id, &p, &cred);
	} else {
		off = o.off;
		len = o.len;
		r = lease_take(c->file, &off, &len, &p, &cred, &id);
		if (r == 0) {
			o.off = off;
			o.len = len;
			o.id = id;
		}
	}
	if (r == 0)
		ioctl_reply_struct(c, &o, sizeof(o));
	return r;
}

int
ioctl_lease_release(const struct call *c)
{
	struct pinfs_lease_release o;
	int r;

	if (!TAKE(c, o) || !RESERVED_OK(o))
		return -EINVAL;
	if (!c->file)
		return -EISDIR;
	r = lease_release(c->file, o.id);
	if (r == 0)
		ioctl_reply_struct(c, NULL, 0);
	return r;
}

int
ioctl_events(const struct call *c)
{
	struct lease_event e[PINFS_EVENTS_MAX];
	struct pinfs_events o;
	unsigned n, more;
	uint64_t lost;

	if (!TAKE(c, o) || !RESERVED_OK(o) || o.count > PINFS_EVENTS_MAX)
		return -EINVAL;
	if (!c->file)
		return -EISDIR;
	n = lease_events(c->file, e, o.count ? o.count : PINFS_EVENTS_MAX, &more, &lost);
	o = (struct pinfs_events){ .size = sizeof(o), .count = n, .more = more, .lost = lost };
	for (unsigned k = 0; k < n; k++)
		o.events[k] = (struct pinfs_event){
			.type = e[k].type, .op = (uint32_t)e[k].op, .lease = e[k].lease, .cookie = e[k].cookie,
			.off = e[k].off, .len = e[k].len, .deadline_ns = (uint64_t)e[k].deadline_ns, .seq = e[k].seq,
			.pid = (uint32_t)e[k].pid,
		};
	ioctl_reply_struct(c, &o, sizeof(o));
	return 0;
}
