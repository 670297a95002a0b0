/* SPDX-License-Identifier: BSD-3-Clause */
/* Names: lookup, creation, links, removal, renaming, reading directories.
 *
 * "." and ".." are looked up only for a file handle whose inode the kernel does not have (NFS,
 * open_by_handle_at(2)); the inode is loaded by its number then, and the kernel compares
 * the generation. A name that does not exist is worth remembering as well: nobody but the kernel
 * can make it exist.
 *
 * Directories are not opened (opendir is ENOSYS): what a directory stream needs is in its cookies,
 * and the kernel keeps what was read as long as nothing in the directory changes.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "fs/fuse/front_i.h"

static int
lookup_parent(struct front *fr, struct inode *dir, struct inode **out)
{
	uint64_t parent;

	if (!inode_is_dir(dir))
		return -ENOTDIR;
	mtx_lock(&dir->attr_lock);
	parent = dir->attr.parent;
	mtx_unlock(&dir->attr_lock);
	return inode_get(fr->fs, parent, out);
}

static int
lookup(struct front *fr, uint64_t parent, const char *name, struct inode **out)
{
	struct inode *dir;
	int r;

	r = front_inode(fr, parent, &dir);
	if (r < 0)
		return r == -ENOENT ? -ESTALE : r;
	if (strcmp(name, ".") == 0) {
		*out = dir;
		return 0;
	}
	if (strcmp(name, "..") == 0)
		r = lookup_parent(fr, dir, out);
	else
		r = fs_lookup(fr->fs, dir, name, out);
	inode_put(dir);
	return r;
}

void
request_lookup(struct front *fr, const struct request *r)
{
	struct fuse_entry_out e = { .entry_valid = fr->opt.attr_timeout }; /* no inode: no such name */
	const char *name = front_name(r, 0);
	struct inode *i = NULL;
	int err;

	err = name ? lookup(fr, r->head->nodeid, name, &i) : -EINVAL;
	if (err < 0 && err != -ENOENT) {
		front_reply_error(fr, r, err);
		return;
	}
	if (i)
		front_entry_out(fr, i, &e);
	inode_put(i);
	/* The caller was interrupted: the kernel has not heard of the inode. */
	if (front_reply_data(fr, r, &e, sizeof(e)) < 0 && e.nodeid)
		inode_forget(fr->fs, e.nodeid, 1);
}

/* Nobody waits for a reply to these. */
void
request_forget(struct front *fr, const struct request *r)
{
	const struct fuse_forget_in *in = r->body;

	if (r->len >= sizeof(*in))
		inode_forget(fr->fs, r->head->nodeid, in->nlookup);
}

void
request_batch_forget(struct front *fr, const struct request *r)
{
	const struct fuse_batch_forget_in *in = r->body;
	const struct fuse_forget_one *one = (const struct fuse_forget_one *)(in + 1);

	if (r->len < sizeof(*in) || (r->len - sizeof(*in)) / sizeof(*one) < in->count)
		return;
	for (uint32_t k = 0; k < in->count; k++)
		inode_forget(fr->fs, one[k].nodeid, one[k].nlookup);
}

static void
op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	char target[PATH_MAX + 1];
	struct inode *i;
	ssize_t n;

	n = front_inode(front_of(req), ino, &i);
	if (n == 0) {
		n = fs_readlink(front_of(req)->fs, i, target, PATH_MAX);
		inode_put(i);
	}
	if (n < 0) {
		front_reply(req, (int)n);
		return;
	}
	target[n] = '\0';
	fuse_reply_readlink(req, target);
}

/* ---- making and linking ---------------------------------------------------------------------- */

/* A new name in parent: a symlink if target is set, else what mode says. */
static void
make(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev, const char *target)
{
	struct front *fr = front_of(req);
	struct inode *dir, *i = NULL;
	struct fs_cred c;
	int r;

	front_cred(req, &c);
	r = front_inode(fr, parent, &dir);
	if (r == 0) {
		if (target)
			r = fs_symlink(fr->fs, dir, name, target, &c, &i);
		else if (S_ISDIR(mode))
			r = fs_mkdir(fr->fs, dir, name, mode, &c, &i);
		else
			r = fs_create(fr->fs, dir, name, mode, rdev, &c, &i);
		inode_put(dir);
	}
	front_reply_inode(req, r, i);
}

static void
op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	if (S_ISDIR(mode))
		front_reply(req, -EINVAL);
	else
		make(req, parent, name, mode, rdev, NULL);
}

static void
op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	make(req, parent, name, S_IFDIR | (mode & 07777), 0, NULL);
}

static void
op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	make(req, parent, name, S_IFLNK, 0, target);
}

static void
op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	struct front *fr = front_of(req);
	struct inode *dir, *i;
	int r;

	r = front_inode(fr, ino, &i);
	if (r < 0) {
		front_reply(req, r);
		return;
	}
	r = front_inode(fr, parent, &dir);
	if (r == 0) {
		r = fs_link(fr->fs, i, dir, name);
		inode_put(dir);
	}
	if (r < 0)
		inode_put(i);
	front_reply_inode(req, r, i);
}

static void
remove_name(fuse_req_t req, fuse_ino_t parent, const char *name,
    int (*how)(struct fs *fs, struct inode *dir, const char *name))
{
	struct front *fr = front_of(req);
	struct inode *dir;
	int r;

	r = front_inode(fr, parent, &dir);
	if (r == 0) {
		r = how(fr->fs, dir, name);
		inode_put(dir);
	}
	front_reply(req, r);
}

static void
op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	remove_name(req, parent, name, fs_unlink);
}

static void
op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	remove_name(req, parent, name, fs_rmdir);
}

static void
op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent, const char *newname,
    unsigned flags)
{
	struct front *fr = front_of(req);
	struct inode *olddir, *newdir;
	int r;

	r = front_inode(fr, parent, &olddir);
	if (r == 0) {
		r = front_inode(fr, newparent, &newdir);
		if (r == 0) {
			r = fs_rename(fr->fs, olddir, name, newdir, newname, flags);
			inode_put(newdir);
		}
		inode_put(olddir);
	}
	front_reply(req, r);
}

/* ---- reading directories ------------------------------------------------------------------------ */

struct listing {
	fuse_req_t req;
	char *buf;
	size_t size, used;
};

static int
add_name(void *arg, const char *name, size_t namelen, uint64_t ino, unsigned char type, off_t cookie,
    struct inode *child)
{
	struct listing *l = arg;
	struct stat st = { .st_ino = ino, .st_mode = (mode_t)type << 12 };
	size_t n = fuse_add_direntry(l->req, l->buf + l->used, l->size - l->used, name, &st, cookie);

	(void)namelen;
	inode_put(child);
	if (n > l->size - l->used)
		return 1;
	l->used += n;
	return 0;
}

/* "." and "..", and entries whose inode can't be had, tell only their number: nodeid 0 is "not looked up". */
static int
add_entry(void *arg, const char *name, size_t namelen, uint64_t ino, unsigned char type, off_t cookie,
    struct inode *child)
{
	struct listing *l = arg;
	struct fuse_entry_param e = { .attr = { .st_ino = ino, .st_mode = (mode_t)type << 12 } };
	size_t n;

	(void)namelen;
	if (child)
		front_entry(front_of(l->req), child, &e);
	n = fuse_add_direntry_plus(l->req, l->buf + l->used, l->size - l->used, name, &e, cookie);
	if (n > l->size - l->used) {
		inode_put(child);
		return 1;
	}
	l->used += n;
	if (child)
		inode_lookup_ref(child);
	inode_put(child);
	return 0;
}

/* The kernel did not take the list: forget what add_entry() has counted. */
static void
forget_listing(struct front *fr, const struct listing *l)
{
	for (size_t at = 0; at < l->used;) {
		struct fuse_direntplus d;

		memcpy(&d, l->buf + at, sizeof(d));
		if (d.entry_out.nodeid)
			inode_forget(fr->fs, d.entry_out.nodeid, 1);
		at += FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + d.dirent.namelen);
	}
}

static void
list_directory(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, bool plus)
{
	struct front *fr = front_of(req);
	struct listing l = { .req = req, .size = size };
	struct inode *dir;
	int r;

	l.buf = malloc(size);
	if (!l.buf) {
		front_reply(req, -ENOMEM);
		return;
	}
	r = front_inode(fr, ino, &dir);
	if (r == 0) {
		r = fs_readdir(fr->fs, dir, off, plus, plus ? add_entry : add_name, &l);
		inode_put(dir);
	}
	/* what was listed before an error counts; the next call meets the error again */
	if (r < 0 && l.used == 0)
		front_reply(req, r);
	else if (fuse_reply_buf(req, l.buf, l.used) < 0 && plus)
		forget_listing(fr, &l);
	free(l.buf);
}

static void
op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)fi;
	list_directory(req, ino, size, off, false);
}

static void
op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)fi;
	list_directory(req, ino, size, off, true);
}

static void
op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	fuse_reply_err(req, ENOSYS);
}

void
ops_name_fill(struct fuse_lowlevel_ops *ops)
{
	ops->readlink = op_readlink;
	ops->mknod = op_mknod;
	ops->mkdir = op_mkdir;
	ops->symlink = op_symlink;
	ops->link = op_link;
	ops->unlink = op_unlink;
	ops->rmdir = op_rmdir;
	ops->rename = op_rename;
	ops->opendir = op_opendir;
	ops->readdir = op_readdir;
	ops->readdirplus = op_readdirplus;
}
