/* SPDX-License-Identifier: BSD-3-Clause */
/* Writing to dax inodes (INODE_FL_DAX), whose blocks are durable from the moment they are
 * allocated, carry no checksum, and are stored to in place.
 */
#ifndef PINFS_FS_DAX_H
#define PINFS_FS_DAX_H

#include "fs/content.h"

/* Make the blocks of [fblk, fblk+len), which are to be pinned, such as are stored to in place: what is live
 * becomes durable, data gets blocks without checksums; and if they are to be pinned for write, so do
 * holes, zeroed. It is durable when i->last_fsync_txn is. No lock may be held. Others may change it
 * again before it is pinned. -ENOSPC, -EIO, -EROFS. */
int dax_prepare(struct inode *i, fblk_t fblk, uint64_t len, bool write);
/* Is a segment like that? */
bool dax_pinnable(const struct segment *s, bool write);
/* The inode, which has no pins, ceases to be a dax inode: its live map forgets their blocks, and what was stored
 * to them is durable with t. Layout lock exclusive. -ENOMEM. */
int dax_forget(struct txn *t, struct inode *i);

/* fs_write() for a dax inode, the arguments checked, len > 0. No lock may be held. 0: it is none any
 * more, and nothing was written. */
ssize_t dax_write(struct file *f, const void *buf, uint64_t len, uint64_t off, bool kill_suidgid);

#endif
