/* SPDX-License-Identifier: BSD-3-Clause */
/* Writing to dax inodes (INODE_FL_DAX), whose blocks are durable from the moment they are
 * allocated, carry no checksum, and are stored to in place.
 */
#ifndef PINFS_FS_DAX_H
#define PINFS_FS_DAX_H

#include "fs/fs_i.h"

/* fs_write() for a dax inode, the arguments checked, len > 0. No lock may be held. 0: it is none any
 * more, and nothing was written. */
ssize_t dax_write(struct file *f, const void *buf, uint64_t len, uint64_t off, bool kill_suidgid);

#endif
