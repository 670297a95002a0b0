/* SPDX-License-Identifier: BSD-3-Clause */
/* What namei.c and rename.c share. */
#ifndef PINFS_FS_NAMEI_H
#define PINFS_FS_NAMEI_H

#include "fs/fs.h"

struct op;

/* -ENOENT empty, -ENAMETOOLONG, -EINVAL. */
int name_check(const char *name, size_t *len);
bool name_is_dots(const char *name, size_t len);
/* Logs that there is no such inode: -EIO. */
int name_dangles(struct inode *dir, uint64_t ino);
/* -EPERM if flags of the directory or of what is to be removed from it forbid it. */
int name_may_remove(struct inode *dir, struct inode *victim);
/* One link less (of a directory: all); the last one leaves an orphan. */
int name_drop_link(struct op *op, struct inode *victim);

#endif
