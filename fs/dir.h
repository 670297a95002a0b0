/* SPDX-License-Identifier: BSD-3-Clause */
/* The entries of a directory as items of the tree: nothing here knows what a name
 * stands for, or keeps nentries and times.
 *
 * Looking needs no lock (each call sees one state of the tree); a position stays
 * true as long as the directory is locked (LOCK_DIR), exclusive for changes.
 */
#ifndef PINFS_FS_DIR_H
#define PINFS_FS_DIR_H

#include "fs/fs.h"

/* Where a name is, or could be. */
struct dir_pos {
	struct inode *dir;
	struct tree_key key; /* lo 0: all slots of its hash are taken */
	uint64_t ino;        /* 0: the name is not there, key is free */
	unsigned char type;  /* DT_... */
};

/* 0, also if it is not there; -EIO. */
int dir_find(struct inode *dir, const char *name, size_t len, struct dir_pos *pos);
/* The same in a pool that is not mounted: pos->dir is NULL. */
int dir_find_unmounted(struct pool *p, const uint64_t hash_key[2], uint64_t dir, const char *name, size_t len,
    struct dir_pos *pos);
/* -ENOSPC: too many names with one hash. */
int dir_insert(struct txn *t, const struct dir_pos *pos, const char *name, size_t len, uint64_t ino,
    unsigned char type);
/* The entry names another inode. */
int dir_replace(struct txn *t, const struct dir_pos *pos, const char *name, size_t len, uint64_t ino,
    unsigned char type);
int dir_remove(struct txn *t, const struct dir_pos *pos);
/* 1: no entries; 0; -EIO. */
int dir_is_empty(struct inode *dir);

#endif
