/* SPDX-License-Identifier: BSD-3-Clause */
/* Attributes, extended attributes, and the figures of df(1).
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/xattr.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "fs/fuse/front_i.h"

void
request_getattr(struct front *fr, const struct request *r)
{
	struct fuse_attr_out out = { .attr_valid = 0 };
	struct inode *i;
	struct stat st;
	int err;

	err = front_inode(fr, r->head->nodeid, &i);
	if (err < 0) {
		front_reply_error(fr, r, err);
		return;
	}
	front_stat(i, &st);
	out.attr_valid = (uint64_t)front_attr_timeout(fr, i);
	inode_put(i);
	front_attr_out(&st, &out.attr);
	front_reply_data(fr, r, &out, sizeof(out));
}

/* FUSE_SET_ATTR_... as FS_SET_... */
static unsigned
which_of(int to_set)
{
	static const struct { int fuse; unsigned fs; } bits[] = {
		{ FUSE_SET_ATTR_MODE, FS_SET_MODE }, { FUSE_SET_ATTR_UID, FS_SET_UID },
		{ FUSE_SET_ATTR_GID, FS_SET_GID }, { FUSE_SET_ATTR_SIZE, FS_SET_SIZE },
		{ FUSE_SET_ATTR_ATIME, FS_SET_ATIME }, { FUSE_SET_ATTR_MTIME, FS_SET_MTIME },
		{ FUSE_SET_ATTR_ATIME_NOW, FS_SET_ATIME_NOW }, { FUSE_SET_ATTR_MTIME_NOW, FS_SET_MTIME_NOW },
		{ FUSE_SET_ATTR_CTIME, FS_SET_CTIME },
	};
	unsigned which = 0;

	for (size_t k = 0; k < sizeof(bits) / sizeof(bits[0]); k++)
		if (to_set & bits[k].fuse)
			which |= bits[k].fs;
	/* The kernel sends the plain bit with "now" as well; the value is ours then. */
	if (which & FS_SET_ATIME_NOW)
		which &= ~(unsigned)FS_SET_ATIME;
	if (which & FS_SET_MTIME_NOW)
		which &= ~(unsigned)FS_SET_MTIME;
	return which;
}

/* Whether setuid and setgid have to go is in a bit that libfuse does not pass on. */
static bool
setattr_kills(const struct front *fr)
{
	const struct request *r = front_request;
	const struct fuse_setattr_in *in = r ? r->body : NULL;

	if (!in || r->head->opcode != FUSE_SETATTR || r->len < sizeof(*in))
		return false;
	if (fr->killpriv_v2)
		return (in->valid & FATTR_KILL_SUIDGID) != 0;
	return (in->valid & FATTR_SIZE) && r->head->uid != 0;
}

/* A request that may have to wait for leases, if it makes the file shorter. */
struct setattr {
	struct front_op op;
	fuse_req_t req;
	struct inode *inode;
	unsigned which;
	struct stat st;
	struct fs_cred cred;
};

static void
setattr_reply(struct setattr *s, int r)
{
	if (r < 0)
		front_reply(s->req, r);
	else
		fuse_reply_attr(s->req, &s->st, front_attr_timeout(front_of(s->req), s->inode));
	inode_put(s->inode);
}

static int
setattr_now(struct setattr *s)
{
	return fs_setattr(front_of(s->req)->fs, s->inode, s->which, &s->st, &s->cred);
}

static void
setattr_truncate(struct front_op *p, int r)
{
	struct setattr *s = caa_container_of(p, struct setattr, op);

	if (r == 0) {
		if (front_big(s->inode))
			session_long_request();
		r = setattr_now(s);
		layout_end(&p->op);
	}
	setattr_reply(s, r);
	free(s);
}

static void
op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
	struct front *fr = front_of(req);
	struct setattr s = { .req = req, .which = which_of(to_set), .st = *attr }, *later;
	fblk_t start, end;
	int r;

	front_cred(req, &s.cred);
	if (setattr_kills(fr))
		s.which |= FS_SET_KILL_SUIDGID;
	r = front_inode(fr, ino, &s.inode);
	if (r < 0) {
		front_reply(req, r);
		return;
	}
	if (!(s.which & FS_SET_SIZE) || !inode_is_reg(s.inode) || attr->st_size < 0 ||
	    !layout_of_truncate(s.inode, (uint64_t)attr->st_size, &start, &end)) {
		setattr_reply(&s, setattr_now(&s));
		return;
	}
	later = malloc(sizeof(*later));
	if (!later) {
		setattr_reply(&s, -ENOMEM);
		return;
	}
	*later = s;
	layout_op_init(&later->op.op, s.inode, LAYOUT_TRUNCATE, start, end);
	later->op.op.tid = fuse_req_ctx(req)->pid;
	later->op.op.nonblock = fi && (front_file(fi)->flags & O_NONBLOCK);
	front_op_begin(&later->op, &fr->waiters, front_request->head->unique, setattr_truncate);
}

static void
op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct statvfs st;
	fsblkcnt_t held;
	int r;

	(void)ino;
	r = fs_statfs(front_of(req)->fs, &st);
	if (r < 0) {
		front_reply(req, r);
		return;
	}
	held = session_held_blocks(front_of(req)->session) * (BLK_SIZE / st.f_frsize);
	st.f_bfree = min_of(st.f_bfree + held, st.f_blocks);
	st.f_bavail = min_of(st.f_bavail + held, st.f_bfree);
	fuse_reply_statfs(req, &st);
}

/* ---- extended attributes ---------------------------------------------------------------------- */

/* Is the caller in that group? Asked only when an ACL is set. */
static bool
in_group(fuse_req_t req, gid_t gid)
{
	gid_t *list = NULL;
	bool found = fuse_req_ctx(req)->gid == gid;
	int n = 0, size = 64;

	while (!found) {
		free(list);
		list = calloc((size_t)size, sizeof(*list));
		if (!list)
			break;
		n = fuse_req_getgroups(req, size, list);
		if (n <= size)
			break;
		size = n;
	}
	for (int k = 0; list && k < n && !found; k++)
		found = list[k] == gid;
	free(list);
	return found;
}

static void
op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
	struct front *fr = front_of(req);
	struct inode *i;
	struct stat st;
	struct fs_cred c;
	int r;

	front_cred(req, &c);
	r = front_inode(fr, ino, &i);
	if (r == 0) {
		if (strcmp(name, XATTR_NAME_POSIX_ACL_ACCESS) == 0) {
			inode_stat(i, &st);
			c.fsetid = c.fsetid || !(st.st_mode & S_ISGID) || in_group(req, st.st_gid);
		}
		r = fs_setxattr(fr->fs, i, name, value, size, flags, &c);
		inode_put(i);
	}
	front_reply(req, r);
}

/* Length, or the bytes themselves. */
static void
reply_bytes(fuse_req_t req, ssize_t n, const char *buf, size_t size)
{
	if (n < 0)
		front_reply(req, (int)n);
	else if (size == 0)
		fuse_reply_xattr(req, (size_t)n);
	else
		fuse_reply_buf(req, buf, (size_t)n);
}

static void
op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct front *fr = front_of(req);
	size_t room = min_of(size, (size_t)XATTR_SIZE_MAX);
	char small[256], *buf = small;
	struct inode *i;
	ssize_t n;

	if (room > sizeof(small))
		buf = malloc(room);
	n = buf ? front_inode(fr, ino, &i) : -ENOMEM;
	if (n == 0) {
		n = fs_getxattr(fr->fs, i, name, size ? buf : NULL, room);
		inode_put(i);
	}
	reply_bytes(req, n, buf, size);
	if (buf != small)
		free(buf);
}

/* May the caller know of trusted attributes? (The kernel asks only who reads or sets one.) A request does not say
 * what capabilities its sender has, but /proc does. Only of root: others can have all of them in a user namespace of
 * their own, where they don't count. */
static bool
is_admin(const struct fuse_ctx *ctx)
{
	char path[64], line[128];
	unsigned long long caps = 0;
	FILE *f;

	if (ctx->uid != 0 || ctx->pid == 0)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/status", (int)ctx->pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "CapEff: %llx", &caps) == 1)
			break;
	fclose(f);
	return caps >> CAP_SYS_ADMIN & 1;
}

/* Take the names of trusted attributes out of a list of n bytes, unless the caller may see them: its new length. */
static ssize_t
hide_trusted(fuse_req_t req, char *list, ssize_t n)
{
	ssize_t from, to = 0, len;
	int admin = -1; /* not known yet */

	for (from = 0; from < n; from += len) {
		len = (ssize_t)strlen(list + from) + 1;
		if (strncmp(list + from, XATTR_TRUSTED_PREFIX, XATTR_TRUSTED_PREFIX_LEN) == 0) {
			if (admin < 0)
				admin = is_admin(fuse_req_ctx(req));
			if (!admin)
				continue;
		}
		memmove(list + to, list + from, (size_t)len);
		to += len;
	}
	return n < 0 ? n : to;
}

static void
op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct front *fr = front_of(req);
	char small[256], *list = small;
	struct inode *i;
	ssize_t n;

	n = front_inode(fr, ino, &i);
	if (n < 0) {
		front_reply(req, (int)n);
		return;
	}
	n = fs_listxattr(fr->fs, i, list, sizeof(small));
	if (n == -ERANGE) {
		list = malloc(XATTR_LIST_MAX);
		n = list ? fs_listxattr(fr->fs, i, list, XATTR_LIST_MAX) : -ENOMEM;
	}
	inode_put(i);
	n = hide_trusted(req, list, n);
	reply_bytes(req, size > 0 && n > (ssize_t)size ? -ERANGE : n, list, size);
	if (list != small)
		free(list);
}

static void
op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct front *fr = front_of(req);
	struct inode *i;
	int r;

	r = front_inode(fr, ino, &i);
	if (r == 0) {
		r = fs_removexattr(fr->fs, i, name);
		inode_put(i);
	}
	front_reply(req, r);
}

void
ops_attr_fill(struct fuse_lowlevel_ops *ops)
{
	ops->setattr = op_setattr;
	ops->statfs = op_statfs;
	ops->setxattr = op_setxattr;
	ops->getxattr = op_getxattr;
	ops->listxattr = op_listxattr;
	ops->removexattr = op_removexattr;
}
