/* SPDX-License-Identifier: BSD-3-Clause */
/* What inode.c and inode_item.c share with the modules that make and remove
 * inodes (fs.c, op.c). */
#ifndef PINFS_FS_INODE_I_H
#define PINFS_FS_INODE_I_H

#include "fs/inode.h"

/* A directory's nlink is 2 and one for each directory in it. */
#define INODE_NLINK_MAX 0xfffffffeu
#define SYMLINK_MAX_BYTES 4095u

int inode_cache_init(struct fs *fs);
/* Every inode leaves the cache, whoever refers to it: the filesystem is being closed.
 * Unlinked ones are deleted, unless the fs is abandoned. */
void inode_cache_drain(struct fs *fs);
void inode_cache_destroy(struct fs *fs);

/* As inode_get, for an inode without links that a crash left behind. */
int inode_get_orphan(struct fs *fs, uint64_t ino, struct inode **out);
/* As inode_new, with a size (a symlink's). */
int inode_new_sized(struct txn *t, struct fs *fs, const struct inode_attr *attr, uint64_t size,
    struct inode **out);

/* inode_item.c: the image on the medium */
void inode_item_encode(struct inode_item *item, const struct inode_attr *attr, uint64_t size,
    uint64_t nblocks);
/* NULL, or what is wrong with it. */
const char *inode_item_decode(const struct inode_item *item, uint64_t ino, struct inode_attr *attr,
    uint64_t *size, uint64_t *nblocks);
/* Read the item of i->ino into i. -ENOENT, -EIO (logged). */
int inode_load(struct inode *i);
/* parent as the tree has it, for a directory. Needs no struct inode. */
int inode_read_parent(struct fs *fs, uint64_t ino, uint64_t *parent);

#endif
