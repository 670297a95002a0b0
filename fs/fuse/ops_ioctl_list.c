/* SPDX-License-Identifier: BSD-3-Clause */
/* ioctl PINFS_IOC_LIST: pins and leases, of a file or of the mount.
 *
 * Between two calls the cursor says where to go on: the number of the inode, and the id of the last entry of it
 * that was told, with LEASES set once its pins are through. An inode that is gone by then is passed over.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "fs/fuse/ioctl_i.h"
#include "fs/lease.h"
#include "fs/park.h"
#include "fs/pin.h"

#define LEASES ((uint64_t)1 << 63)
#define PINS_ROOM 64u /* a pin may have that many ranges */
#define INODES 16u    /* looked up at a time */
#define ROUNDS 16u    /* of that, in one request: each goes through all open files */

_Static_assert((int)PIN_READ == PINFS_ACCESS_READ, "access of a pin");
_Static_assert((int)LEASE_HELD == PINFS_LEASE_HELD && (int)LEASE_BREAKING == PINFS_LEASE_BREAKING &&
    (int)LEASE_REVOKED == PINFS_LEASE_REVOKED, "states of leases");

struct listing {
	struct pinfs_list *o;
	uid_t uid;      /* whose; PIN_LIST_ALL */
	int64_t now;
};

static uint64_t
age_ms(const struct listing *l, int64_t since)
{
	return l->now > since ? (uint64_t)(l->now - since) / 1000000 : 0;
}

static unsigned
room(const struct listing *l)
{
	return PINFS_LIST_MAX - l->o->count;
}

/* True: that was all. */
static bool
list_pins(struct listing *l, struct inode *i)
{
	struct pin_info p[PINFS_LIST_MAX];
	unsigned n;

	while (room(l) >= PINS_ROOM) {
		uint64_t after = l->o->cursor[1];

		n = pin_list(i, &after, l->uid, p, room(l));
		for (unsigned k = 0; k < n; k++)
			l->o->entries[l->o->count++] = (struct pinfs_list_entry){
				.ino = i->ino, .id = p[k].id, .off = p[k].off, .len = p[k].len,
				.age_ms = age_ms(l, p[k].since_ns), .pid = (uint32_t)p[k].tgid, .uid = p[k].uid,
				.kind = PINFS_LIST_PIN, .type = (uint8_t)p[k].class,
				.access = p[k].access == PIN_READ ? PINFS_ACCESS_READ : PINFS_ACCESS_READWRITE,
				.state = p[k].cut ? PINFS_LEASE_REVOKED : PINFS_LEASE_HELD,
				.writeback = (uint8_t)p[k].writeback, .tracked = p[k].tracked,
			};
		if (after == UINT64_MAX)
			return true;
		/* others' pins can be many: let the caller come again, rather than keep this thread */
		if (n == 0 && after != l->o->cursor[1]) {
			l->o->cursor[1] = after;
			return false;
		}
		l->o->cursor[1] = after;
	}
	return false;
}

static uint64_t
left_ms(const struct listing *l, const struct lease_info *x)
{
	if (x->state != LEASE_BREAKING)
		return 0;
	if (x->deadline_ns == PARK_FOREVER)
		return ~(uint64_t)0;
	return x->deadline_ns > l->now ? (uint64_t)(x->deadline_ns - l->now) / 1000000 : 0;
}

static bool
list_leases(struct listing *l, struct inode *i)
{
	struct lease_info x[PINFS_LIST_MAX];
	unsigned n, max;

	while ((max = room(l)) > 0) {
		n = lease_list(i, l->o->cursor[1] & ~LEASES, x, max);
		for (unsigned k = 0; k < n; k++) {
			l->o->cursor[1] = LEASES | x[k].id;
			if (l->uid != PIN_LIST_ALL && x[k].uid != l->uid)
				continue;
			l->o->entries[l->o->count++] = (struct pinfs_list_entry){
				.ino = i->ino, .id = x[k].id, .off = x[k].off, .len = x[k].len,
				.age_ms = age_ms(l, x[k].since_ns), .left_ms = left_ms(l, &x[k]),
				.pid = (uint32_t)x[k].tgid, .uid = x[k].uid,
				.kind = PINFS_LIST_LEASE, .type = (uint8_t)x[k].type, .state = (uint8_t)x[k].state,
			};
		}
		if (n < max)
			return true;
	}
	return false;
}

/* The cursor points into the inode. True: that was all of it, and the cursor is behind it. */
static bool
list_inode(struct listing *l, struct inode *i)
{
	if (!(l->o->cursor[1] & LEASES)) {
		if (!list_pins(l, i))
			return false;
		l->o->cursor[1] = LEASES;
	}
	if (!list_leases(l, i))
		return false;
	l->o->cursor[0] = i->ino + 1;
	l->o->cursor[1] = 0;
	return true;
}

static void
list_mount(struct listing *l, struct fs *fs)
{
	struct inode *inode[INODES];
	unsigned n, rounds = 0;
	bool more = true;

	while (more) {
		if (rounds++ == ROUNDS)
			return; /* many have others' only: let the caller come again */
		n = pin_inodes(fs, l->o->cursor[0], inode, INODES);
		more = n == INODES;
		for (unsigned k = 0; k < n; k++) {
			if (inode[k]->ino != l->o->cursor[0]) {
				l->o->cursor[0] = inode[k]->ino;
				l->o->cursor[1] = 0;
			}
			if (list_inode(l, inode[k]))
				continue;
			for (; k < n; k++)
				inode_put(inode[k]);
			return;
		}
		for (unsigned k = 0; k < n; k++)
			inode_put(inode[k]);
	}
	l->o->cursor[0] = l->o->cursor[1] = 0;
}

int
ioctl_list(const struct call *c)
{
	struct listing l = { .now = park_now() };
	struct pinfs_list *o;
	struct fs_cred cred;
	bool mount;

	if (c->in_size != sizeof(*o))
		return -EINVAL;
	o = malloc(sizeof(*o));
	if (!o)
		return -ENOMEM;
	memcpy(o, c->in, sizeof(*o));
	if (o->size != sizeof(*o) || (o->flags & ~(uint32_t)PINFS_LIST_MOUNT) || o->reserved32 || !RESERVED_OK(*o)) {
		free(o);
		return -EINVAL;
	}
	mount = o->flags & PINFS_LIST_MOUNT;
	front_cred(c->req, &cred);
	l.o = o;
	l.uid = cred.uid == 0 || cred.uid == geteuid() ? PIN_LIST_ALL : cred.uid;
	o->count = 0;
	memset(o->entries, 0, sizeof(o->entries));
	if (mount) {
		list_mount(&l, c->front->fs);
	} else if (!inode_is_reg(c->inode)) {
		o->cursor[0] = o->cursor[1] = 0;
	} else {
		if (o->cursor[0] != c->inode->ino)
			o->cursor[1] = 0;
		o->cursor[0] = c->inode->ino;
		if (list_inode(&l, c->inode))
			o->cursor[0] = o->cursor[1] = 0;
	}
	ioctl_reply_struct(c, o, sizeof(*o));
	free(o);
	return 0;
}
