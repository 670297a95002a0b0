/* SPDX-License-Identifier: BSD-3-Clause */
/* Operations on names, but for rename (rename.c).
 *
 * Each one that changes something runs in one transaction, begun before any
 * lock is taken, with the directory locked (LOCK_DIR, exclusive); op.h undoes what
 * a failed one did. Inodes are put after the transaction has ended, because the
 * last reference to an unlinked one deletes it, in transactions of its own.
 *
 * A lookup takes no lock: it reads the entry, then gets the inode. If that is
 * gone by then, the entry was removed or replaced in between, and a second look tells
 * which.
 *
 * A directory that was removed has nlink 0; that is decided with its own lock
 * held, so nothing can be created in it afterwards. */
#include "fs/namei.h"

#include <errno.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "fs/acl.h"
#include "fs/fs_i.h"
#include "fs/op.h"
#include "pmem/log.h"

#define SYMLINK_MAX_BYTES 4095u

/* What new files and directories take over from their directory, as ext4 and XFS do it. */
#define INHERIT_REG_DIR (INODE_FL_NOATIME | INODE_FL_NODUMP | INODE_FL_SYNC | INODE_FL_DAX)
#define INHERIT_OTHER (INODE_FL_NOATIME | INODE_FL_NODUMP)

int
name_check(const char *name, size_t *len)
{
	*len = strnlen(name, FS_NAME_MAX + 1);
	if (*len == 0)
		return -ENOENT;
	if (*len > FS_NAME_MAX)
		return -ENAMETOOLONG;
	return memchr(name, '/', *len) ? -EINVAL : 0;
}

bool
name_is_dots(const char *name, size_t len)
{
	return name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.'));
}

/* Is it the name of an entry that an operation may change in dir? dots: the error for "." and "..". */
static int
entry_name(struct inode *dir, const char *name, int dots, size_t *len)
{
	int err;

	if (!inode_is_dir(dir))
		return -ENOTDIR;
	err = name_check(name, len);
	if (err)
		return err;
	return name_is_dots(name, *len) ? dots : 0;
}

int
name_dangles(struct inode *dir, uint64_t ino)
{
	pinfs_log(LOG_ERR, "directory %llu has an entry for inode %llu, which is not there",
	    (unsigned long long)dir->ino, (unsigned long long)ino);
	return -EIO;
}

static int
lookup_dots(struct inode *dir, size_t len, struct inode **out)
{
	uint64_t parent;

	if (len == 1) {
		*out = inode_hold(dir);
		return 0;
	}
	mtx_lock(&dir->attr_lock);
	parent = dir->attr.parent;
	mtx_unlock(&dir->attr_lock);
	return inode_get(dir->fs, parent, out);
}

int
fs_lookup(struct fs *fs, struct inode *dir, const char *name, struct inode **out)
{
	uint64_t gone = INO_NONE;
	struct dir_pos pos;
	size_t len;
	int err;

	if (!inode_is_dir(dir))
		return -ENOTDIR;
	err = name_check(name, &len);
	if (err)
		return err;
	if (name_is_dots(name, len))
		return lookup_dots(dir, len, out);
	for (;;) {
		err = dir_find(dir, name, len, &pos);
		if (err)
			return err;
		if (pos.ino == INO_NONE)
			return -ENOENT;
		if (pos.ino == gone)
			return name_dangles(dir, gone);
		err = inode_get(fs, pos.ino, out);
		if (err != -ENOENT)
			return err;
		gone = pos.ino;
	}
}

/* ---- making ---- */

struct new_node {
	mode_t mode;           /* with type */
	dev_t rdev;
	const char *target;    /* symlink */
	size_t target_len;
	const struct fs_cred *cred;
};

/* Flags of a new inode. The dax mount option decides about new files; whether a file that
 * is there is stored to in place is a fact about its blocks, and stays what it is. */
static uint32_t
inherit_flags(const struct inode *dir, mode_t mode)
{
	enum fs_dax_mode dax = dir->fs->opt.dax;
	uint32_t flags = inode_flags(dir);

	if (S_ISDIR(mode))
		return flags & INHERIT_REG_DIR;
	if (!S_ISREG(mode))
		return flags & INHERIT_OTHER;
	flags &= INHERIT_REG_DIR;
	if (dax == FS_DAX_ALWAYS)
		flags |= INODE_FL_DAX;
	if (dax == FS_DAX_NEVER)
		flags &= ~INODE_FL_DAX;
	return flags;
}

/* Attributes of a new inode in dir, whose attr_lock is held. */
static void
inherit_locked(struct inode *dir, const struct new_node *nn, struct timespec now, struct inode_attr *a)
{
	*a = (struct inode_attr){
		.mode = nn->mode,
		.nlink = S_ISDIR(nn->mode) ? 2 : 1,
		.uid = nn->cred->uid,
		.gid = nn->cred->gid,
		.flags = inherit_flags(dir, nn->mode),
		.projid = dir->attr.projid,
		.parent = S_ISDIR(nn->mode) ? dir->ino : 0,
		.atime = now,
		.mtime = now,
		.ctime = now,
	};
	if (S_ISCHR(nn->mode) || S_ISBLK(nn->mode)) {
		a->rdev_major = major(nn->rdev);
		a->rdev_minor = minor(nn->rdev);
	}
	if (dir->attr.mode & S_ISGID) {
		a->gid = dir->attr.gid;
		if (S_ISDIR(nn->mode))
			a->mode |= S_ISGID;
	}
}

static uint64_t
symlink_chunks(const struct new_node *nn)
{
	return (nn->target_len + ITEM_CHUNK - 1) / ITEM_CHUNK;
}

static int
store_target(struct txn *t, struct inode *i, const struct new_node *nn)
{
	int err = 0;

	for (uint64_t k = 0; k < symlink_chunks(nn) && !err; k++) {
		size_t off = k * ITEM_CHUNK;
		size_t n = min_of(nn->target_len - off, (size_t)ITEM_CHUNK);

		err = tree_insert(t, tree_key(i->ino, ITEM_SYMLINK, k), nn->target + off, n);
	}
	return err;
}

/* The inode with what it inherits. linked: its name is about to be made. */
static int
make_inode(struct op *op, struct inode *dir, const struct new_node *nn, bool linked, struct inode **out)
{
	struct acl_new acl = { 0 };
	struct inode_attr attr;
	int err = 0;

	mtx_lock(&dir->attr_lock);
	inherit_locked(dir, nn, op->now, &attr);
	if (!S_ISLNK(nn->mode))
		err = acl_new_locked(dir, &attr.mode, nn->cred->umask, &acl);
	mtx_unlock(&dir->attr_lock);
	if (err)
		return err;
	if (!linked)
		attr.nlink = 0;
	if (acl.access || acl.def)
		err = txn_extend(&op->t, acl_new_credits(op->fs->pool, &acl));
	if (!err)
		err = op_new_inode(op, &attr, nn->target_len, out);
	if (!err && (acl.access || acl.def))
		err = acl_new_store(&op->t, *out, &acl);
	if (!err && nn->target)
		err = store_target(&op->t, *out, nn);
	acl_new_free(&acl);
	return err;
}

/* dir is locked. */
static int
make_locked(struct op *op, struct inode *dir, const char *name, size_t len, const struct new_node *nn,
    struct inode **out)
{
	struct attr_delta delta = { .nlink = S_ISDIR(nn->mode), .nentries = 1,
		.touch = TOUCH_MTIME | TOUCH_CTIME };
	struct dir_pos pos;
	int err;

	if (dir->attr.nlink == 0)
		return -ENOENT;
	err = dir_find(dir, name, len, &pos);
	if (err)
		return err;
	if (pos.ino != INO_NONE)
		return -EEXIST;
	if (inode_flags(dir) & INODE_FL_IMMUTABLE)
		return -EPERM;
	err = make_inode(op, dir, nn, true, out);
	if (!err)
		err = op_dirent_insert(op, &pos, name, len, (*out)->ino, (unsigned char)IFTODT(nn->mode));
	if (!err)
		err = op_attr(op, dir, &delta, NULL);
	return err;
}

static int
make(struct fs *fs, struct inode *dir, const char *name, const struct new_node *nn, struct inode **out)
{
	struct inode *made = NULL;
	struct op op;
	size_t len;
	int err;

	err = entry_name(dir, name, -EEXIST, &len);
	if (err)
		return err;
	err = op_begin(&op, fs, 3, txn_credits_run(fs->pool, symlink_chunks(nn), ITEM_CHUNK), 0);
	if (err)
		return err;
	rwl_wrlock(&dir->io_lock);
	err = make_locked(&op, dir, name, len, nn, &made);
	if (err)
		op_undo(&op);
	rwl_unlock(&dir->io_lock);
	op_end(&op);
	if (!err)
		*out = made;
	return err;
}

int
fs_create(struct fs *fs, struct inode *dir, const char *name, mode_t mode, dev_t rdev,
    const struct fs_cred *c, struct inode **out)
{
	struct new_node nn = { .mode = mode & (S_IFMT | 07777), .rdev = rdev, .cred = c };

	if ((mode & S_IFMT) == 0)
		nn.mode |= S_IFREG;
	if (S_ISDIR(nn.mode) || S_ISLNK(nn.mode))
		return -EINVAL;
	return make(fs, dir, name, &nn, out);
}

int
fs_mkdir(struct fs *fs, struct inode *dir, const char *name, mode_t mode, const struct fs_cred *c,
    struct inode **out)
{
	struct new_node nn = { .mode = S_IFDIR | (mode & 07777), .cred = c };

	return make(fs, dir, name, &nn, out);
}

int
fs_symlink(struct fs *fs, struct inode *dir, const char *name, const char *target,
    const struct fs_cred *c, struct inode **out)
{
	struct new_node nn = { .mode = S_IFLNK | 0777, .target = target, .cred = c,
		.target_len = strnlen(target, SYMLINK_MAX_BYTES + 1) };

	if (nn.target_len == 0)
		return -ENOENT;
	if (nn.target_len > SYMLINK_MAX_BYTES)
		return -ENAMETOOLONG;
	return make(fs, dir, name, &nn, out);
}

int
fs_tmpfile(struct fs *fs, struct inode *dir, mode_t mode, const struct fs_cred *c, struct inode **out)
{
	struct new_node nn = { .mode = S_IFREG | (mode & 07777), .cred = c };
	struct inode *made = NULL;
	struct op op;
	int err;

	if (!inode_is_dir(dir))
		return -ENOTDIR;
	err = op_begin(&op, fs, 2, 0, 0);
	if (err)
		return err;
	rwl_rdlock(&dir->io_lock);
	err = dir->attr.nlink == 0 ? -ENOENT : 0;
	if (!err)
		err = make_inode(&op, dir, &nn, false, &made);
	if (!err)
		err = op_orphan_add(&op, made->ino);
	if (!err) {
		mtx_lock(&made->attr_lock);
		made->linkable = true;
		mtx_unlock(&made->attr_lock);
		*out = made;
	} else {
		op_undo(&op);
	}
	rwl_unlock(&dir->io_lock);
	op_end(&op);
	return err;
}

/* dir is locked. */
static int
link_locked(struct op *op, struct inode *i, struct inode *dir, const char *name, size_t len)
{
	struct attr_delta more = { .nlink = 1, .touch = TOUCH_CTIME };
	struct attr_delta entry = { .nentries = 1, .touch = TOUCH_MTIME | TOUCH_CTIME };
	struct dir_pos pos;
	uint32_t nlink;
	int err;

	if (dir->attr.nlink == 0)
		return -ENOENT;
	err = dir_find(dir, name, len, &pos);
	if (err)
		return err;
	if (pos.ino != INO_NONE)
		return -EEXIST;
	if (inode_flags(dir) & INODE_FL_IMMUTABLE)
		return -EPERM;
	err = op_attr(op, i, &more, &nlink);
	if (!err && nlink == 1)
		err = op_orphan_remove(op, i->ino);
	if (!err)
		err = op_dirent_insert(op, &pos, name, len, i->ino, (unsigned char)IFTODT(i->type));
	if (!err)
		err = op_attr(op, dir, &entry, NULL);
	return err;
}

int
fs_link(struct fs *fs, struct inode *i, struct inode *dir, const char *name)
{
	struct op op;
	size_t len;
	int err;

	err = entry_name(dir, name, -EEXIST, &len);
	if (err)
		return err;
	if (inode_is_dir(i) || (inode_flags(i) & (INODE_FL_IMMUTABLE | INODE_FL_APPEND)))
		return -EPERM;
	err = op_begin(&op, fs, 4, 0, 0);
	if (err)
		return err;
	rwl_wrlock(&dir->io_lock);
	err = link_locked(&op, i, dir, name, len);
	if (err)
		op_undo(&op);
	rwl_unlock(&dir->io_lock);
	op_end(&op);
	return err;
}

/* ---- removing ---- */

int
name_may_remove(struct inode *dir, struct inode *victim)
{
	uint32_t flags = inode_flags(dir) | inode_flags(victim);

	return flags & (INODE_FL_IMMUTABLE | INODE_FL_APPEND) ? -EPERM : 0;
}

int
name_drop_link(struct op *op, struct inode *victim)
{
	struct attr_delta less = { .nlink = -1, .touch = TOUCH_CTIME };
	uint32_t nlink;
	int err;

	/* A removed directory loses its own "." as well. It is locked, nlink is stable. */
	if (inode_is_dir(victim))
		less.nlink = -(int64_t)victim->attr.nlink;
	err = op_attr(op, victim, &less, &nlink);
	if (!err && nlink == 0)
		err = op_orphan_add(op, victim->ino);
	return err;
}

/* dir is locked; *victim has a reference if it is set, whatever is returned. */
static int
unlink_locked(struct op *op, struct inode *dir, const char *name, size_t len, struct inode **victim)
{
	struct attr_delta entry = { .nentries = -1, .touch = TOUCH_MTIME | TOUCH_CTIME };
	struct dir_pos pos;
	int err;

	err = dir_find(dir, name, len, &pos);
	if (err)
		return err;
	if (pos.ino == INO_NONE)
		return -ENOENT;
	if (pos.type == DT_DIR)
		return -EISDIR;
	err = inode_get(dir->fs, pos.ino, victim);
	if (err)
		return err == -ENOENT ? name_dangles(dir, pos.ino) : err;
	err = name_may_remove(dir, *victim);
	if (!err)
		err = op_dirent_remove(op, &pos, name, len);
	if (!err)
		err = name_drop_link(op, *victim);
	if (!err)
		err = op_attr(op, dir, &entry, NULL);
	return err;
}

int
fs_unlink(struct fs *fs, struct inode *dir, const char *name)
{
	struct inode *victim = NULL;
	struct op op;
	size_t len;
	int err;

	err = entry_name(dir, name, -EISDIR, &len);
	if (err)
		return err;
	err = op_begin(&op, fs, 4, 0, TXN_MUST);
	if (err)
		return err;
	rwl_wrlock(&dir->io_lock);
	err = unlink_locked(&op, dir, name, len, &victim);
	if (err)
		op_undo(&op);
	rwl_unlock(&dir->io_lock);
	op_end(&op);
	inode_put(victim);
	return err;
}

/* Both are locked. 1: the name stands for something else meanwhile. */
static int
rmdir_locked(struct op *op, struct inode *dir, const char *name, size_t len, struct inode *victim)
{
	struct attr_delta entry = { .nlink = -1, .nentries = -1, .touch = TOUCH_MTIME | TOUCH_CTIME };
	struct dir_pos pos;
	int err;

	err = dir_find(dir, name, len, &pos);
	if (err)
		return err;
	if (pos.ino != victim->ino)
		return 1;
	err = name_may_remove(dir, victim);
	if (err)
		return err;
	err = dir_is_empty(victim);
	if (err <= 0)
		return err ? err : -ENOTEMPTY;
	err = op_dirent_remove(op, &pos, name, len);
	if (!err)
		err = name_drop_link(op, victim);
	if (!err)
		err = op_attr(op, dir, &entry, NULL);
	return err;
}

int
fs_rmdir(struct fs *fs, struct inode *dir, const char *name)
{
	struct inode *victim, *locked[2];
	struct op op;
	unsigned n;
	size_t len;
	int err;

	err = entry_name(dir, name, strcmp(name, "..") == 0 ? -ENOTEMPTY : -EINVAL, &len);
	if (err)
		return err;
	do {
		err = fs_lookup(fs, dir, name, &victim);
		if (err)
			return err;
		if (!inode_is_dir(victim)) {
			inode_put(victim);
			return -ENOTDIR;
		}
		err = op_begin(&op, fs, 4, 0, TXN_MUST);
		if (!err) {
			locked[0] = dir;
			locked[1] = victim;
			n = dirs_lock(locked, 2);
			err = rmdir_locked(&op, dir, name, len, victim);
			if (err)
				op_undo(&op);
			dirs_unlock(locked, n);
			op_end(&op);
		}
		inode_put(victim);
	} while (err > 0);
	return err;
}

/* ---- reading a symlink ---- */

struct read_target {
	char *buf;
	uint64_t size;   /* of the buffer */
	uint64_t done;   /* bytes seen */
};

static int
copy_chunk(void *arg, struct tree_key key, const void *value, size_t len)
{
	struct read_target *r = arg;

	if (key.lo != r->done / ITEM_CHUNK || r->done % ITEM_CHUNK != 0 || len > ITEM_CHUNK)
		return -EIO;
	if (r->done < r->size)
		memcpy(r->buf + r->done, value, min_of(len, r->size - r->done));
	r->done += len;
	return 0;
}

ssize_t
fs_readlink(struct fs *fs, struct inode *i, char *buf, size_t size)
{
	struct read_target r = { .buf = buf, .size = size };
	int err;

	if (!S_ISLNK(i->type))
		return -EINVAL;
	err = tree_scan(fs->pool, tree_key(i->ino, ITEM_SYMLINK, 0), tree_key(i->ino, ITEM_SYMLINK, UINT64_MAX),
	    copy_chunk, &r);
	if (!err && r.done != i->size)
		err = -EIO;
	if (err) {
		if (err == -EIO)
			pinfs_log(LOG_ERR, "inode %llu: damaged symlink", (unsigned long long)i->ino);
		return err;
	}
	inode_accessed(i);
	return (ssize_t)min_of(r.size, r.done);
}
