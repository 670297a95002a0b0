/* SPDX-License-Identifier: BSD-3-Clause */
/* ioctls about pins that exist: what a holder tells of one, and what he may know.
 */
#include <errno.h>

#include "fs/fuse/ioctl_i.h"
#include "fs/pin.h"
#include "fs/process.h"

int
ioctl_track(const struct call *c)
{
	struct pinfs_track o;
	struct fs_cred cred;
	int r, reason;

	if (!TAKE(c, o) || !RESERVED_OK(o) || o.tracked || o.reason)
		return -EINVAL;
	if (!c->file)
		return -EISDIR;
	/* whose memory it is about is what the kernel says, not the caller */
	front_cred(c->req, &cred);
	session_long_request();
	r = pin_track(c->file, o.id, o.off, o.len, o.addr, process_of(cred.tgid), &reason);
	if (r < 0)
		return r;
	o.tracked = reason == 0 && o.len > 0;
	o.reason = (uint32_t)reason;
	ioctl_reply_struct(c, &o, sizeof(o));
	return 0;
}

int
ioctl_pin_extents(const struct call *c)
{
	struct map_extent x[PINFS_EXTENTS_MAX];
	struct pinfs_pin_extents o;
	int n;

	if (!TAKE(c, o) || !RESERVED_OK(o) || o.reserved32)
		return -EINVAL;
	if (!c->file)
		return -EISDIR;
	n = pin_extents(c->file, o.id, (uint64_t *)&o.cursor, x, PINFS_EXTENTS_MAX);
	if (n < 0)
		return n;
	o.count = (uint32_t)n;
	memset(o.extents, 0, sizeof(o.extents));
	for (int k = 0; k < n; k++)
		o.extents[k] = (struct pinfs_extent){ x[k].off, x[k].len, x[k].pool_off,
			(x[k].flags & MAP_CUT ? PINFS_EXTENT_CUT : 0u) | (x[k].flags & MAP_HOLE ? PINFS_EXTENT_HOLE : 0u), 0 };
	ioctl_reply_struct(c, &o, sizeof(o));
	return 0;
}
