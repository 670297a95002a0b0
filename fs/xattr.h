/* SPDX-License-Identifier: BSD-3-Clause */
/* Extended attributes as items of the tree, below namespaces and permissions.
 * All with the inode's attr_lock held, which is what protects them: readers see an
 * attribute whole, old or new.
 */
#ifndef PINFS_FS_XATTR_H
#define PINFS_FS_XATTR_H

#include "fs/inode.h"

#define XATTR_VALUE_MAX 65536u
#define XATTR_NAME_LEN_MAX 255u

/* size 0: the length. -ENODATA, -ERANGE, -EIO. */
ssize_t xattr_get_locked(struct inode *i, const char *name, void *buf, size_t size);
/* flags: XATTR_CREATE, XATTR_REPLACE. All or nothing. t has xattr_credits for the size; what a
 * longer value in its place needs is reserved here. -EEXIST, -ENODATA, -ENOSPC. */
int xattr_set_locked(struct txn *t, struct inode *i, const char *name, const void *value, size_t size,
    int flags);
uint64_t xattr_credits(struct pool *p, size_t size);
/* Reserves what it needs itself. -ENODATA. */
int xattr_remove_locked(struct txn *t, struct inode *i, const char *name);

#endif
