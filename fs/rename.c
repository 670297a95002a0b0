/* SPDX-License-Identifier: BSD-3-Clause */
/* rename(2), in its three kinds.
 *
 * Which locks it needs depends on what the names stand for: a directory that
 * is replaced has to be locked, too, so that it stays empty, and directories are locked in
 * order of their numbers. So the names are looked up first, without locks; then
 * the transaction is begun and the locks taken; and if one of the two directories has
 * changed in between (their change counters tell) it all starts again.
 *
 * With the first look comes what can't be done inside the transaction: if an
 * existing file is replaced, the new one's content is written back. The usual way to
 * replace a file, which is to write a new one and to rename it over the old, then leaves one
 * or the other after a crash, never an empty one, fsync or not.
 *
 * rename_lock is held while an inode moves from one directory to another; only
 * then do parents change. So the walk up from the new directory, which makes sure that no
 * directory is moved below itself, sees a tree that stands still. */
#include <errno.h>
#include <linux/fs.h>
#include <string.h>

#include "fs/fs_i.h"
#include "fs/inode_i.h"
#include "fs/namei.h"
#include "fs/op.h"
#include "pmem/log.h"

/* One side of a rename. */
struct side {
	struct inode *dir;
	const char *name;
	size_t len;
	uint64_t change;      /* dir's, before pos was looked up */
	struct dir_pos pos;
	struct inode *inode;  /* what the name stands for, with a reference; or NULL */
};

struct rename {
	struct fs *fs;
	unsigned flags;
	struct side from, to;
};

static int
side_init(struct side *s, struct inode *dir, const char *name)
{
	int err;

	s->dir = dir;
	s->name = name;
	if (!inode_is_dir(dir))
		return -ENOTDIR;
	err = name_check(name, &s->len);
	if (err)
		return err;
	return name_is_dots(name, s->len) ? -EBUSY : 0;
}

static void
side_put(struct side *s)
{
	inode_put(s->inode);
	s->inode = NULL;
}

static bool
side_changed(const struct side *s)
{
	return __atomic_load_n(&s->dir->change, __ATOMIC_ACQUIRE) != s->change;
}

/* Look the name up; what it stands for is NULL if it is not there. */
static int
side_find(struct side *s)
{
	int err;

	do {
		s->change = __atomic_load_n(&s->dir->change, __ATOMIC_ACQUIRE);
		s->inode = NULL;
		err = dir_find(s->dir, s->name, s->len, &s->pos);
		if (err || s->pos.ino == INO_NONE)
			return err;
		err = inode_get(s->dir->fs, s->pos.ino, &s->inode);
	} while (err == -ENOENT && side_changed(s));
	return err == -ENOENT ? name_dangles(s->dir, s->pos.ino) : err;
}

/* Is ino dir, or above it? 1, 0, -EIO. rename_lock is held. */
static int
is_ancestor(struct fs *fs, uint64_t ino, struct inode *dir)
{
	uint64_t at = dir->ino, parent, ninodes, data_blocks, node_blocks;
	int err;

	/* A path can't be longer than there are inodes: a loop on the medium is damage. */
	pool_counters(fs->pool, &ninodes, &data_blocks, &node_blocks);
	for (uint64_t depth = 0; depth <= ninodes; depth++) {
		if (at == ino)
			return 1;
		if (at == INO_ROOT)
			return 0;
		err = inode_read_parent(fs, at, &parent);
		if (err)
			return err == -ENOENT ? -EIO : err;
		at = parent;
	}
	pinfs_log(LOG_ERR, "directory %llu is not connected to the root directory", (unsigned long long)dir->ino);
	return -EIO;
}

/* What can be said before locks are taken, and stays true as long as neither
 * directory changes. */
static int
check_kinds(const struct rename *r)
{
	const struct inode *from = r->from.inode, *to = r->to.inode;

	if (!from)
		return -ENOENT;
	if (r->flags & RENAME_EXCHANGE)
		return to ? 0 : -ENOENT;
	if (!to)
		return 0;
	if (r->flags & RENAME_NOREPLACE)
		return -EEXIST;
	if (from == to)
		return 0;
	if (inode_is_dir(from) != inode_is_dir(to))
		return inode_is_dir(from) ? -ENOTDIR : -EISDIR;
	return 0;
}

/* All directories are locked, nothing has changed. */
static int
check_allowed(const struct rename *r)
{
	struct inode *olddir = r->from.dir, *newdir = r->to.dir;
	struct inode *from = r->from.inode, *to = r->to.inode;
	bool exchange = r->flags & RENAME_EXCHANGE;
	int err;

	if (olddir->attr.nlink == 0 || newdir->attr.nlink == 0)
		return -ENOENT;
	if (olddir != newdir && inode_is_dir(from)) {
		err = is_ancestor(r->fs, from->ino, newdir);
		if (err)
			return err < 0 ? err : -EINVAL;
	}
	if (olddir != newdir && exchange && inode_is_dir(to)) {
		err = is_ancestor(r->fs, to->ino, olddir);
		if (err)
			return err < 0 ? err : -EINVAL;
	}
	err = name_may_remove(olddir, from);
	if (!err && to)
		err = name_may_remove(newdir, to);
	if (!err && (inode_flags(newdir) & INODE_FL_IMMUTABLE))
		err = -EPERM;
	if (!err && to && !exchange && inode_is_dir(to)) {
		err = dir_is_empty(to);
		if (err >= 0)
			err = err ? 0 : -ENOTEMPTY;
	}
	return err;
}

/* The two directories' link and entry counts and times. */
static int
change_dirs(struct op *op, const struct rename *r, const struct attr_delta *old, const struct attr_delta *new)
{
	struct attr_delta both = { .nlink = old->nlink + new->nlink, .nentries = old->nentries + new->nentries,
		.touch = TOUCH_MTIME | TOUCH_CTIME };
	int err;

	if (r->from.dir == r->to.dir)
		return op_attr(op, r->from.dir, &both, NULL);
	err = op_attr(op, r->from.dir, old, NULL);
	return err ? err : op_attr(op, r->to.dir, new, NULL);
}

/* The inode is in dir now. */
static int
change_moved(struct op *op, struct inode *i, struct inode *from, struct inode *to)
{
	struct attr_delta d = { .touch = TOUCH_CTIME };

	if (inode_is_dir(i) && from != to)
		d.parent = to->ino;
	return op_attr(op, i, &d, NULL);
}

static int
move(struct op *op, struct rename *r)
{
	struct side *s = &r->from, *d = &r->to;
	struct attr_delta old = { .nlink = -(int64_t)inode_is_dir(s->inode), .nentries = -1,
		.touch = TOUCH_MTIME | TOUCH_CTIME };
	struct attr_delta new = { .nlink = inode_is_dir(s->inode), .nentries = 1,
		.touch = TOUCH_MTIME | TOUCH_CTIME };
	int err;

	/* The new name first: the file is never without one. */
	if (d->inode)
		err = op_dirent_replace(op, &d->pos, d->name, d->len, s->inode->ino, s->pos.type);
	else
		err = op_dirent_insert(op, &d->pos, d->name, d->len, s->inode->ino, s->pos.type);
	if (!err)
		err = op_dirent_remove(op, &s->pos, s->name, s->len);
	if (!err)
		err = change_moved(op, s->inode, s->dir, d->dir);
	if (!err && d->inode) {
		new.nentries--;
		new.nlink -= inode_is_dir(d->inode);
		err = name_drop_link(op, d->inode);
	}
	return err ? err : change_dirs(op, r, &old, &new);
}

static int
exchange(struct op *op, struct rename *r)
{
	struct side *s = &r->from, *d = &r->to;
	int64_t dirs = (int64_t)inode_is_dir(s->inode) - (int64_t)inode_is_dir(d->inode);
	struct attr_delta old = { .nlink = -dirs, .touch = TOUCH_MTIME | TOUCH_CTIME };
	struct attr_delta new = { .nlink = dirs, .touch = TOUCH_MTIME | TOUCH_CTIME };
	int err;

	err = op_dirent_replace(op, &d->pos, d->name, d->len, s->inode->ino, s->pos.type);
	if (!err)
		err = op_dirent_replace(op, &s->pos, s->name, s->len, d->inode->ino, d->pos.type);
	if (!err)
		err = change_moved(op, s->inode, s->dir, d->dir);
	if (!err)
		err = change_moved(op, d->inode, d->dir, s->dir);
	return err ? err : change_dirs(op, r, &old, &new);
}

/* 1: something changed since the names were looked up. */
static int
rename_found(struct rename *r)
{
	bool across = r->from.dir != r->to.dir;
	struct inode *locked[3] = { r->from.dir, r->to.dir };
	struct op op;
	unsigned n;
	int err;

	if (r->to.inode && !(r->flags & RENAME_EXCHANGE) && inode_is_dir(r->to.inode))
		locked[2] = r->to.inode;
	err = op_begin(&op, r->fs, 8, 0, 0);
	if (err)
		return err;
	if (across)
		mtx_lock(&r->fs->rename_lock);
	n = dirs_lock(locked, 3);
	if (side_changed(&r->from) || side_changed(&r->to)) {
		err = 1;
	} else {
		err = check_allowed(r);
		if (!err)
			err = r->flags & RENAME_EXCHANGE ? exchange(&op, r) : move(&op, r);
		if (err)
			op_undo(&op);
	}
	dirs_unlock(locked, n);
	if (across)
		mtx_unlock(&r->fs->rename_lock);
	op_end(&op);
	return err;
}

int
fs_rename(struct fs *fs, struct inode *olddir, const char *oldname, struct inode *newdir,
    const char *newname, unsigned flags)
{
	struct rename r = { .fs = fs, .flags = flags };
	uint64_t txn;
	int err;

	if ((flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE)) || flags == (RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	err = side_init(&r.from, olddir, oldname);
	if (!err)
		err = side_init(&r.to, newdir, newname);
	if (err)
		return err;
	do {
		err = side_find(&r.from);
		if (!err)
			err = side_find(&r.to);
		if (!err)
			err = check_kinds(&r);
		/* Two names of one inode: there is nothing to do (POSIX). */
		if (!err && r.from.inode != r.to.inode) {
			if (r.to.inode && !(flags & RENAME_EXCHANGE) && inode_is_reg(r.from.inode))
				err = writeback_inode(r.from.inode, &txn);
			if (!err)
				err = rename_found(&r);
		}
		side_put(&r.from);
		side_put(&r.to);
	} while (err > 0);
	return err;
}
