/* SPDX-License-Identifier: BSD-3-Clause */
/* Facts about the mount, and errors in words. */
#include "config.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include <pinfs/pinfs.h>

int
pinfs_get_status(int fd, struct pinfs_status *st)
{
	memset(st, 0, sizeof(*st));
	st->size = sizeof(*st);
	if (ioctl(fd, PINFS_IOC_STATUS, st) < 0)
		return -errno;
	st->pool_path[sizeof(st->pool_path) - 1] = '\0';
	st->label[sizeof(st->label) - 1] = '\0';
	return 0;
}

const char *
pinfs_strerror(int err)
{
	switch (err < 0 ? -err : err) {
	case 0:
		return "success";
	case ENOTTY:
		return "not a file on a pinfs mount";
	case EINVAL:
		return "bad argument: the offset must be a multiple of 4096, and the range must lie inside the "
		       "file (or PINFS_MAP_ALLOC be given)";
	case EBADF:
		return "the descriptor is not open for this access: PINFS_MAP_WRITE needs O_RDWR";
	case EACCES:
	case EPERM:
		return "the pool file may not be opened: direct mappings need read (and write) permission on it";
	case ENOENT:
		return "no such pin, or the pool file has been renamed or removed since it was mounted";
	case ESTALE:
		return "the pool's path names another file now: was it replaced, or mounted in another namespace?";
	case EDQUOT:
		return "over the mount's limit of pinned bytes for a user (mount option pin_limit)";
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

const char *
pinfs_version(void)
{
	return PACKAGE_VERSION;
}
