/* SPDX-License-Identifier: BSD-3-Clause */
/* One namespace operation: a transaction and what it takes to undo it.
 *
 *   op_begin, lock the directories, op_...(), on an error op_undo, unlock, op_end
 *
 * Every change that returned 0 is on the undo log; op_undo takes them back in
 * reverse order, so that an operation that fails has changed nothing. Names passed to
 * op_dirent_... must stay valid until op_end.
 */
#ifndef PINFS_FS_OP_H
#define PINFS_FS_OP_H

#include "fs/dir.h"

#define OP_UNDO_MAX 12u

/* What a namespace operation changes about an inode. */
struct attr_delta {
	int64_t nlink;
	int64_t nentries;
	uint64_t parent; /* 0: as it is */
	unsigned touch;  /* TOUCH_MTIME, TOUCH_CTIME */
};

enum undo_kind {
	UNDO_NEW_INODE,
	UNDO_ATTR,
	UNDO_DIRENT_INSERT,
	UNDO_DIRENT_REPLACE,
	UNDO_DIRENT_REMOVE,
	UNDO_ORPHAN_ADD,
	UNDO_ORPHAN_REMOVE,
};

struct undo {
	enum undo_kind kind;
	struct inode *inode;       /* NEW_INODE, ATTR */
	struct attr_delta delta;   /* ATTR: what was done; parent: the old one */
	struct timespec mtime, ctime;
	bool linkable;
	const char *name;          /* DIRENT_... */
	size_t len;
	struct dir_pos pos;        /* DIRENT_...: as it was before */
	uint64_t ino;              /* ORPHAN_... */
};

struct op {
	struct fs *fs;
	struct txn t;
	struct timespec now;
	unsigned n;
	struct undo undo[OP_UNDO_MAX];
};

/* changes: how many items it changes at most; credits: what it needs besides. Makes
 * space, if there is none, by writing back. No lock may be held. -ENOSPC, -EROFS. */
int op_begin(struct op *op, struct fs *fs, uint64_t changes, uint64_t credits, unsigned txn_flags);
void op_undo(struct op *op);
void op_end(struct op *op);

/* Lock directories exclusive, in order of their numbers. dirs may have NULL and repeated
 * entries; it becomes the list of those that were locked, whose count is returned. */
unsigned dirs_lock(struct inode *dirs[], unsigned n);
void dirs_unlock(struct inode *dirs[], unsigned n);

/* A new inode, with one reference. op_undo drops that. */
int op_new_inode(struct op *op, const struct inode_attr *attr, uint64_t size, struct inode **out);
/* Change and store. *nlink (may be NULL): what it is now. -EMLINK; -ENOENT: a link more for an
 * inode that has none and may not be given one. */
int op_attr(struct op *op, struct inode *i, const struct attr_delta *d, uint32_t *nlink);
int op_dirent_insert(struct op *op, const struct dir_pos *pos, const char *name, size_t len, uint64_t ino,
    unsigned char type);
int op_dirent_replace(struct op *op, const struct dir_pos *pos, const char *name, size_t len, uint64_t ino,
    unsigned char type);
int op_dirent_remove(struct op *op, const struct dir_pos *pos, const char *name, size_t len);
int op_orphan_add(struct op *op, uint64_t ino);
int op_orphan_remove(struct op *op, uint64_t ino);

#endif
