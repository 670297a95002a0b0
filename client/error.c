/* SPDX-License-Identifier: BSD-3-Clause */
/* Errors in words: what it meant here, and what would help. */
#include <errno.h>
#include <string.h>

#include "client/client_i.h"

const char *
pinfs_strerror(int err)
{
	switch (err < 0 ? -err : err) {
	case 0:
		return "success";
	case ENOTTY:
		return "not a file on a pinfs mount, or its daemon is older than this request";
	case EINVAL:
		return "bad argument: the offset must be a multiple of 4096, and the range must lie inside the "
		       "file (or PINFS_MAP_ALLOC be given)";
	case E2BIG:
		return "an options structure has something that this version of the library does not know";
	case EBADF:
		return "the descriptor is not open for this access: PINFS_MAP_WRITE needs O_RDWR, a write pin and an "
		       "exclusive lease a file that is open for writing";
	case EACCES:
	case EPERM:
		return "the pool file may not be opened: direct mappings need read (and write) permission on it";
	case ENOENT:
		return "no such pin or lease of this open file, or the pool file has been renamed or removed since it "
		       "was mounted";
	case ESTALE:
		return "revoked: the lease was not released in time, and the blocks are in no file any more; map again. "
		       "From a first mapping: the pool's path names another file now, or another mount namespace's";
	case ENOLCK:
		return "a long-term pin needs a lease that covers its range, taken through the same open file: call "
		       "pinfs_lease() first, or pin for one transfer (PINFS_PIN_TRANSIENT)";
	case EAGAIN:
		return "a layout operation (truncate, punch, ...) waits for the range, or gave up at the deadline: "
		       "try again when it is done";
	case EBUSY:
		return "in the way: somebody else's lease (pinctl leases shows it), a pin of your own, a pin whose "
		       "writeback policy is to fail, or a mapping with PINFS_MAP_ATOMIC beside another writable one";
	case ETXTBSY:
		return "somebody holds an exclusive lease on the range (pinctl leases shows who), or the file is pinned: "
		       "it has to be released first";
	case EEXIST:
		return "something is mapped at the fixed address: unmap it, or say PINFS_MAP_REPLACE";
	case ECHILD:
		return "the mapping was made before fork(2) and belongs to the parent: map again in the child";
	case EISDIR:
		return "a directory has no blocks to pin";
	case ENOSYS:
		return "the kernel is too old for it: tracking of stores needs Linux 6.7";
	case EDQUOT:
		return "over the mount's limit of pinned bytes for a user: unpin something, or raise the mount option "
		       "pin_limit";
	case ENOSPC:
		return "no space in the pool for the pinned blocks and the copies that writeback will need";
	case ENOTCONN:
		return "the pinfs daemon of this mount is gone: unmount, mount again, and open the file anew";
	case EFAULT:
		return "bad address; from io_uring or verbs on a mapping: the pool lies on a disk filesystem, where the "
		       "kernel refuses long-term pins; put it on tmpfs or devdax";
	case EIO:
		return "damaged block or node; the daemon's log names it, fsck.pinfs -n lists all";
	case ENOMEM:
		return "out of memory or address space";
	case EROFS:
		return "the pool is mounted read-only";
	case EPROTO:
		return "the daemon's answer makes no sense to this library: versions differ?";
	default:
		/* strerrordesc_np() is the one that is static and thread-safe. */
		return strerrordesc_np(err < 0 ? -err : err) ? strerrordesc_np(err < 0 ? -err : err) : "unknown error";
	}
}
