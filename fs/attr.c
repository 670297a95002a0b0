/* SPDX-License-Identifier: BSD-3-Clause */
/* Changing attributes, and the flags of chattr(1).
 *
 * Who may change what is the kernel's to check, but for what it does not know:
 * immutable and append-only files. What follows from a change is done here:
 *
 *   chmod     the access ACL follows the mode
 *   chown     of anything but a directory: setuid and setgid go, and security.capability
 *   truncate  modification time, and the same if the caller asks for it
 *
 * Mode, owner and explicit times are stored in a transaction. Those that
 * truncate moves are lazy, as the new size itself is: both become durable with the next writeback. If
 * both kinds come in one request, the transaction is first, and is taken back if the
 * truncate fails. */
#include <errno.h>
#include <string.h>

#include "fs/acl.h"
#include "fs/dax.h"
#include "fs/fs_i.h"
#include "fs/op.h"
#include "fs/pin_i.h"
#include "fs/xattr.h"

#define SET_OWNER (FS_SET_UID | FS_SET_GID)
#define SET_TIMES (FS_SET_ATIME | FS_SET_MTIME | FS_SET_CTIME)
#define SET_NOW (FS_SET_ATIME_NOW | FS_SET_MTIME_NOW)
#define SET_STORED (FS_SET_MODE | SET_OWNER | SET_TIMES | SET_NOW)
#define MODE_BITS 07777u
#define NSEC_PER_SEC 1000000000

/* Values of what `which` names (FS_SET_..., without _NOW). */
struct attr_set {
	unsigned which;
	uint32_t mode, uid, gid;
	struct timespec atime, mtime, ctime;
};

/* What write(2) and chown(2) take away. */
static uint32_t
without_suidgid(uint32_t mode)
{
	mode &= ~(uint32_t)S_ISUID;
	return mode & S_IXGRP ? mode & ~(uint32_t)S_ISGID : mode;
}

static bool
time_valid(const struct timespec *ts)
{
	return ts->tv_nsec >= 0 && ts->tv_nsec < NSEC_PER_SEC;
}

static int
check_request(struct inode *i, unsigned which, const struct stat *st)
{
	uint32_t flags = inode_flags(i);

	if (i->fs->opt.readonly)
		return -EROFS;
	if ((flags & INODE_FL_IMMUTABLE) && which)
		return -EPERM;
	if ((flags & INODE_FL_APPEND)
	    && (which & (FS_SET_MODE | SET_OWNER | FS_SET_ATIME | FS_SET_MTIME | FS_SET_SIZE)))
		return -EPERM;
	if (which & FS_SET_SIZE) {
		if (inode_is_dir(i))
			return -EISDIR;
		if (!inode_is_reg(i) || st->st_size < 0)
			return -EINVAL;
	}
	if (((which & FS_SET_ATIME) && !time_valid(&st->st_atim))
	    || ((which & FS_SET_MTIME) && !time_valid(&st->st_mtim))
	    || ((which & FS_SET_CTIME) && !time_valid(&st->st_ctim)))
		return -EINVAL;
	return 0;
}

/* Exchange what is set with what the inode has. attr_lock is held. */
static void
swap_locked(struct inode *i, struct attr_set *s)
{
	struct attr_set old = { .which = s->which, .mode = i->attr.mode, .uid = i->attr.uid, .gid = i->attr.gid,
		.atime = i->attr.atime, .mtime = i->attr.mtime, .ctime = i->attr.ctime };

	if (s->which & FS_SET_MODE)
		i->attr.mode = s->mode;
	if (s->which & FS_SET_UID)
		i->attr.uid = s->uid;
	if (s->which & FS_SET_GID)
		i->attr.gid = s->gid;
	if (s->which & FS_SET_ATIME)
		i->attr.atime = s->atime;
	if (s->which & FS_SET_MTIME)
		i->attr.mtime = s->mtime;
	if (s->which & FS_SET_CTIME)
		i->attr.ctime = s->ctime;
	*s = old;
}

/* What the request comes to, all things considered. attr_lock is held. */
static void
resolve_locked(struct inode *i, unsigned which, const struct stat *st, struct timespec now, struct attr_set *s)
{
	uint32_t mode = i->attr.mode;

	if (which & FS_SET_MODE)
		mode = (mode & S_IFMT) | (st->st_mode & MODE_BITS);
	else if ((which & (SET_OWNER | FS_SET_KILL_SUIDGID)) && !inode_is_dir(i))
		mode = without_suidgid(mode);
	*s = (struct attr_set){
		.which = (which & (SET_OWNER | FS_SET_ATIME | FS_SET_MTIME)) | FS_SET_CTIME,
		.mode = mode,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.atime = which & FS_SET_ATIME_NOW ? now : st->st_atim,
		.mtime = which & FS_SET_MTIME_NOW ? now : st->st_mtim,
		.ctime = which & FS_SET_CTIME ? st->st_ctim : now,
	};
	if (mode != i->attr.mode)
		s->which |= FS_SET_MODE;
	if (which & FS_SET_ATIME_NOW)
		s->which |= FS_SET_ATIME;
	if (which & FS_SET_MTIME_NOW)
		s->which |= FS_SET_MTIME;
}

/* Make it so and store it; *s becomes what was before. attr_lock is held. */
static int
apply_locked(struct op *op, struct inode *i, struct attr_set *s)
{
	int err;

	/* The ACL first, in one piece; after that nothing can fail. */
	err = tree_touch(&op->t, tree_key(i->ino, ITEM_INODE, 0));
	if (!err && (s->which & FS_SET_MODE) && !S_ISLNK(i->type))
		err = acl_chmod_locked(&op->t, i, s->mode);
	if (err)
		return err;
	swap_locked(i, s);
	err = inode_store_locked(&op->t, i);
	if (err)
		swap_locked(i, s);
	return err;
}

static int
set_stored(struct fs *fs, struct inode *i, unsigned which, const struct stat *st, struct attr_set *s)
{
	struct op op;
	int err;

	err = op_begin(&op, fs, 1, 0, 0);
	if (err)
		return err;
	mtx_lock(&i->attr_lock);
	resolve_locked(i, which, st, op.now, s);
	err = apply_locked(&op, i, s);
	mtx_unlock(&i->attr_lock);
	op_end(&op);
	if (!err)
		inode_changed(i);
	return err;
}

/* Take set_stored back: s is what it left there. */
static void
unset_stored(struct fs *fs, struct inode *i, struct attr_set *s)
{
	struct op op;

	if (op_begin(&op, fs, 1, 0, TXN_MUST))
		return; /* the commit has failed; nothing of this becomes durable */
	mtx_lock(&i->attr_lock);
	apply_locked(&op, i, s);
	mtx_unlock(&i->attr_lock);
	op_end(&op);
	inode_changed(i);
}

/* The size, and what goes with it. fs_truncate has moved the times; those that the
 * request sets itself have the last word. */
static int
set_size(struct inode *i, unsigned which, const struct stat *st)
{
	int err = fs_truncate(i, (uint64_t)st->st_size);

	if (err)
		return err;
	if (which & FS_SET_KILL_SUIDGID)
		inode_kill_suidgid(i);
	if (which & (FS_SET_MTIME | FS_SET_CTIME)) {
		mtx_lock(&i->attr_lock);
		if (which & FS_SET_MTIME)
			i->attr.mtime = st->st_mtim;
		if (which & FS_SET_CTIME)
			i->attr.ctime = st->st_ctim;
		i->attr_dirty = true;
		mtx_unlock(&i->attr_lock);
		inode_mark_dirty(i);
	}
	return 0;
}

int
fs_setattr(struct fs *fs, struct inode *i, unsigned which, struct stat *st, const struct fs_cred *c)
{
	bool stored = (which & SET_STORED) || ((which & FS_SET_KILL_SUIDGID) && !(which & FS_SET_SIZE));
	struct attr_set old;
	int err;

	(void)c;
	err = check_request(i, which, st);
	if (!err && (which & (SET_OWNER | FS_SET_SIZE)) && !inode_is_dir(i))
		err = inode_drop_capability(i);
	if (err)
		return err;
	if (stored)
		err = set_stored(fs, i, which, st, &old);
	if (!err && (which & FS_SET_SIZE)) {
		err = set_size(i, which, st);
		if (err && stored)
			unset_stored(fs, i, &old);
	}
	if (!err)
		inode_stat(i, st);
	return err;
}

/* ---- flags ---- */

int
fs_getflags(struct fs *fs, struct inode *i, uint32_t *flags, uint32_t *projid)
{
	(void)fs;
	mtx_lock(&i->attr_lock);
	*flags = i->attr.flags;
	*projid = i->attr.projid;
	mtx_unlock(&i->attr_lock);
	return 0;
}

/* Has somebody a block of the file pinned? (Pins that were revoked have none.) Layout lock held. */
static bool
any_pinned(struct inode *i)
{
	struct live_extent *e = live_find(&i->live, 0);

	while (e && !live_pinned(e))
		e = live_next(&i->live, e);
	return e;
}

static int
check_flags_locked(struct inode *i, uint32_t flags, const struct fs_cred *c)
{
	uint32_t change = flags ^ i->attr.flags;

	if (c->uid != 0 && c->uid != i->attr.uid)
		return -EPERM;
	/* CAP_LINUX_IMMUTABLE, as far as a server can tell. */
	if (c->uid != 0 && (change & (INODE_FL_IMMUTABLE | INODE_FL_APPEND)))
		return -EPERM;
	if (!(change & INODE_FL_DAX) || inode_is_dir(i))
		return 0;
	if (!inode_is_reg(i))
		return -EINVAL;
	return any_pinned(i) ? -ETXTBSY : 0;
}

int
fs_setflags(struct fs *fs, struct inode *i, uint32_t flags, uint32_t projid, const struct fs_cred *c)
{
	uint32_t old_flags, old_projid;
	struct timespec old_ctime;
	struct op op;
	int err;

	if (flags & ~INODE_FL_SUPP)
		return -EOPNOTSUPP;
	err = op_begin(&op, fs, 1, 0, 0);
	if (err)
		return err;
	/* No write, and no pin, sees the dax attribute change. */
	rwl_wrlock(&i->io_lock);
	rwl_wrlock(&i->layout_lock);
	mtx_lock(&i->attr_lock);
	err = check_flags_locked(i, flags, c);
	if (!err && inode_is_reg(i) && !(flags & INODE_FL_DAX))
		err = dax_forget(&op.t, i);
	if (!err) {
		old_flags = i->attr.flags;
		old_projid = i->attr.projid;
		old_ctime = i->attr.ctime;
		__atomic_store_n(&i->attr.flags, flags, __ATOMIC_RELAXED);
		i->attr.projid = projid;
		i->attr.ctime = op.now;
		err = inode_store_locked(&op.t, i);
		if (err) {
			__atomic_store_n(&i->attr.flags, old_flags, __ATOMIC_RELAXED);
			i->attr.projid = old_projid;
			i->attr.ctime = old_ctime;
		}
	}
	mtx_unlock(&i->attr_lock);
	rwl_unlock(&i->layout_lock);
	rwl_unlock(&i->io_lock);
	op_end(&op);
	if (!err)
		inode_changed(i);
	return err;
}
