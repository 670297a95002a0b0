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
