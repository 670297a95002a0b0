/* SPDX-License-Identifier: BSD-3-Clause */
/* Namespace operations change several items in one transaction. A transaction
 * can't be rolled back, because others share it; but space for it is reserved and
 * what it changes is checked beforehand, so what can still fail is damage on the
 * medium (and memory). Then the changes made so far are taken back one by one. That can't
 * meet damage again: their nodes have been copied into the open transaction, and the
 * gate, which the operation holds, keeps that transaction open.
 *
 * Attributes are undone by difference, since other operations may have changed the same
 * inode meanwhile (a link count, from another directory). */
#include "fs/op.h"

#include <assert.h>
#include <errno.h>

#include "fs/fs_i.h"
#include "fs/inode_i.h"
#include "pmem/log.h"

int
op_begin(struct op *op, struct fs *fs, uint64_t changes, uint64_t credits, unsigned txn_flags)
{
	int err;

	if (fs->opt.readonly)
		return -EROFS;
	op->fs = fs;
	op->n = 0;
	/* Undoing an insertion or a removal may split a node, too. */
	credits += txn_credits(fs->pool, changes + 2);
	err = txn_begin(fs->pool, &op->t, credits, txn_flags);
	if (err == -ENOSPC && writeback_reclaim(fs))
		err = txn_begin(fs->pool, &op->t, credits, txn_flags);
	if (!err)
		op->now = inode_now();
	return err;
}

void
op_end(struct op *op)
{
	txn_end(&op->t);
	writeback_wake(op->fs);
}

unsigned
dirs_lock(struct inode *dirs[], unsigned n)
{
	unsigned kept = 0;

	/* Insertion sort by number; an inode that is there already is dropped, as is NULL. */
	for (unsigned k = 0; k < n; k++) {
		struct inode *dir = dirs[k];
		unsigned at = 0;

		if (!dir)
			continue;
		while (at < kept && dirs[at]->ino < dir->ino)
			at++;
		if (at < kept && dirs[at] == dir)
			continue;
		for (unsigned m = kept; m > at; m--)
			dirs[m] = dirs[m - 1];
		dirs[at] = dir;
		kept++;
	}
	for (unsigned k = 0; k < kept; k++)
		rwl_wrlock(&dirs[k]->io_lock);
	return kept;
}

void
dirs_unlock(struct inode *dirs[], unsigned n)
{
	while (n > 0)
		rwl_unlock(&dirs[--n]->io_lock);
}

static struct undo *
log_undo(struct op *op, enum undo_kind kind)
{
	struct undo *u = &op->undo[op->n++];

	assert(op->n <= OP_UNDO_MAX);
	u->kind = kind;
	return u;
}

/* attr_lock is held. */
static void
touch_locked(struct inode *i, unsigned touch, struct timespec now)
{
	if (touch & TOUCH_MTIME)
		i->attr.mtime = now;
	if (touch & TOUCH_CTIME)
		i->attr.ctime = now;
}

/* attr_lock is held. nlink is also read without it: by inode_put, and, of a directory, by
 * who has the directory locked; it only changes with that lock held, too. */
static void
add_nlink_locked(struct inode *i, int64_t n)
{
	if (n != 0)
		__atomic_store_n(&i->attr.nlink, (uint32_t)((int64_t)i->attr.nlink + n), __ATOMIC_RELAXED);
}

/* attr_lock is held. */
static void
revert_locked(struct inode *i, const struct undo *u)
{
	add_nlink_locked(i, -u->delta.nlink);
	i->attr.nentries -= (uint64_t)u->delta.nentries;
	if (u->delta.parent)
		i->attr.parent = u->delta.parent;
	if (u->delta.touch & TOUCH_MTIME)
		i->attr.mtime = u->mtime;
	if (u->delta.touch & TOUCH_CTIME)
		i->attr.ctime = u->ctime;
	i->linkable = u->linkable;
}

static int
undo_attr(struct op *op, const struct undo *u)
{
	struct inode *i = u->inode;
	int err;

	mtx_lock(&i->attr_lock);
	revert_locked(i, u);
	err = inode_store_locked(&op->t, i);
	mtx_unlock(&i->attr_lock);
	inode_changed(i);
	return err;
}

static int
undo_dirent(struct op *op, const struct undo *u)
{
	/* Whoever looked without the lock may have seen what is taken back now. */
	inode_changed(u->pos.dir);
	switch (u->kind) {
	case UNDO_DIRENT_INSERT:
		return dir_remove(&op->t, &u->pos);
	case UNDO_DIRENT_REPLACE:
		return dir_replace(&op->t, &u->pos, u->name, u->len, u->pos.ino, u->pos.type);
	default:
		return dir_insert(&op->t, &u->pos, u->name, u->len, u->pos.ino, u->pos.type);
	}
}

static int
undo_one(struct op *op, const struct undo *u)
{
	switch (u->kind) {
	case UNDO_NEW_INODE:
		inode_new_undo(&op->t, u->inode);
		return 0;
	case UNDO_ATTR:
		return undo_attr(op, u);
	case UNDO_DIRENT_INSERT:
	case UNDO_DIRENT_REPLACE:
	case UNDO_DIRENT_REMOVE:
		return undo_dirent(op, u);
	case UNDO_ORPHAN_ADD:
		return tree_delete(&op->t, tree_key(INO_NONE, ITEM_ORPHAN, u->ino));
	case UNDO_ORPHAN_REMOVE:
		return tree_insert(&op->t, tree_key(INO_NONE, ITEM_ORPHAN, u->ino), NULL, 0);
	}
	return -EINVAL;
}

void
op_undo(struct op *op)
{
	while (op->n > 0) {
		const struct undo *u = &op->undo[--op->n];
		int err = undo_one(op, u);

		if (err) {
			pinfs_log(LOG_ERR, "step %d of a failed operation could not be undone: %d",
			    (int)u->kind, err);
			txn_abort(&op->t, err);
		}
	}
}

int
op_new_inode(struct op *op, const struct inode_attr *attr, uint64_t size, struct inode **out)
{
	int err = inode_new_sized(&op->t, op->fs, attr, size, out);

	if (!err)
		log_undo(op, UNDO_NEW_INODE)->inode = *out;
	return err;
}

/* attr_lock is held. */
static int
check_nlink_locked(struct inode *i, int64_t n)
{
	int64_t nlink = i->attr.nlink;

	if (n > 0 && nlink == 0 && !i->linkable)
		return -ENOENT;
	if (n > 0 && nlink + n > (int64_t)INODE_NLINK_MAX)
		return -EMLINK;
	if (nlink + n < 0) {
		pinfs_log(LOG_ERR, "inode %llu: more names than links", (unsigned long long)i->ino);
		return -EIO;
	}
	return 0;
}

int
op_attr(struct op *op, struct inode *i, const struct attr_delta *d, uint32_t *nlink)
{
	struct undo *u;
	int err;

	mtx_lock(&i->attr_lock);
	err = check_nlink_locked(i, d->nlink);
	if (err) {
		mtx_unlock(&i->attr_lock);
		return err;
	}
	u = log_undo(op, UNDO_ATTR);
	u->inode = i;
	u->delta = *d;
	u->delta.parent = d->parent ? i->attr.parent : 0;
	u->mtime = i->attr.mtime;
	u->ctime = i->attr.ctime;
	u->linkable = i->linkable;

	add_nlink_locked(i, d->nlink);
	if (d->nlink > 0)
		i->linkable = false;
	i->attr.nentries += (uint64_t)d->nentries;
	if (d->parent)
		i->attr.parent = d->parent;
	touch_locked(i, d->touch, op->now);
	err = inode_store_locked(&op->t, i);
	if (err) {
		revert_locked(i, u);
		op->n--;
	}
	if (nlink)
		*nlink = i->attr.nlink;
	mtx_unlock(&i->attr_lock);
	inode_changed(i);
	return err;
}

int
op_dirent_insert(struct op *op, const struct dir_pos *pos, const char *name, size_t len, uint64_t ino,
    unsigned char type)
{
	int err = dir_insert(&op->t, pos, name, len, ino, type);

	if (!err)
		log_undo(op, UNDO_DIRENT_INSERT)->pos = *pos;
	return err;
}

static void
log_dirent(struct op *op, enum undo_kind kind, const struct dir_pos *pos, const char *name, size_t len)
{
	struct undo *u = log_undo(op, kind);

	u->pos = *pos;
	u->name = name;
	u->len = len;
}

int
op_dirent_replace(struct op *op, const struct dir_pos *pos, const char *name, size_t len, uint64_t ino,
    unsigned char type)
{
	int err = dir_replace(&op->t, pos, name, len, ino, type);

	if (!err)
		log_dirent(op, UNDO_DIRENT_REPLACE, pos, name, len);
	return err;
}

int
op_dirent_remove(struct op *op, const struct dir_pos *pos, const char *name, size_t len)
{
	int err = dir_remove(&op->t, pos);

	if (!err)
		log_dirent(op, UNDO_DIRENT_REMOVE, pos, name, len);
	return err;
}

int
op_orphan_add(struct op *op, uint64_t ino)
{
	int err = tree_insert(&op->t, tree_key(INO_NONE, ITEM_ORPHAN, ino), NULL, 0);

	if (!err)
		log_undo(op, UNDO_ORPHAN_ADD)->ino = ino;
	return err;
}

int
op_orphan_remove(struct op *op, uint64_t ino)
{
	int err = tree_delete(&op->t, tree_key(INO_NONE, ITEM_ORPHAN, ino));

	if (!err)
		log_undo(op, UNDO_ORPHAN_REMOVE)->ino = ino;
	return err;
}
