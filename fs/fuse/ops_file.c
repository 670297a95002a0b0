/* SPDX-License-Identifier: BSD-3-Clause */
/* Open files and their content.
 *
 * A file handle is a struct file. Reads and writes are served from the raw request: a read's reply
 * is sent from the pool itself, under the locks that keep its blocks in place, so nothing is copied here;
 * the payload of a write is stored from the request's buffer, or already lies in blocks of the pool.
 *
 * Who is in the middle of a request for a file keeps it open; but only until the reply has been sent.
 *
 * The flags of an open file may change after open (fcntl(2): O_APPEND, O_DIRECT); reads and writes tell
 * how they are now.
 *
 * What makes a file shorter or frees blocks of it may have to wait for leases; then it is parked with what it needs (struct
 * front_op), and the operation has ended for others before its caller gets the reply.
 *
 * close(2) sends nothing that could wait: there is no flush (see noflush), and release is not waited for.
 *
 * Files opened with O_DIRECT bypass the kernel's cache (FOPEN_DIRECT_IO), where the kernel can do that and
 * map them all the same: a shorter way, and writers of one file don't exclude each other
 * (FOPEN_PARALLEL_DIRECT_WRITES). Before such a write the kernel drops the range from its cache, but not after it,
 * and a reader who has the file open in the usual way may have read the old content into it in between. So if
 * there is any such reader (inode->kernel_cached), the range is dropped once more before the writer gets
 * his reply. Mappings of the O_DIRECT descriptor itself don't count: they are coherent with what
 * was written before they were touched.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "fs/fuse/front_i.h"
#include "fs/lease.h"
#include "fs/pin.h"

/* A read of n blocks at any offset touches one more, and each has an iovec at most. */
#define READ_IOVECS ((SESSION_MAX_WRITE >> BLK_SHIFT) + 2)
#define LONG_BYTES ((uint64_t)8 << 20)
/* The protocol's reply has 32 bits for the count: as much as write(2) does at most. */
#define COPY_BYTES_MAX ((size_t)0x7ffff000)
#define CHANGING_FLAGS (O_APPEND | O_DIRECT)

/* ---- reading ------------------------------------------------------------------------------- */

void
request_read(struct front *fr, const struct request *r)
{
	const struct fuse_read_in *in = r->body;
	struct iovec iov[1 + READ_IOVECS];
	struct file f;
	bool fills_cache;
	ssize_t n;
	int count, err;

	if (r->len < sizeof(*in) || in->size > SESSION_MAX_WRITE) {
		front_reply_error(fr, r, -EINVAL);
		return;
	}
	/* With the reply the client may close the file, before its locks are dropped here. */
	f = (struct file){ .inode = inode_hold(front_file_of(in->fh)->inode), .flags = (int)in->flags };
	fills_cache = !(in->read_flags & FUSE_READ_LOCKOWNER);
	if (fills_cache)
		front_tells(f.inode);
	n = fs_read_begin(&f, in->offset, in->size, iov + 1, READ_IOVECS, &count);
	if (n < 0) {
		inode_put(f.inode);
		front_reply_error(fr, r, (int)n);
		return;
	}
	err = front_reply_iov(fr, r->head->unique, iov, 1 + count);
	fs_read_done(&f);
	/* A store through a mapping may follow at once, and splice(2) takes from the cache without asking. */
	if (fills_cache && inode_write_pinned(f.inode))
		notify_inval(fr->notifier, r->head->nodeid, (int64_t)in->offset, in->size, NULL, NULL);
	inode_put(f.inode);
	/* ENOENT: nobody waits any more. Anything else: the bytes could not be had. */
	if (err < 0 && err != -ENOENT && err != -ENODEV)
		front_reply_error(fr, r, -EIO);
}

/* ---- writing ------------------------------------------------------------------------------- */

/* What is left to do for a write that has been stored. */
struct written {
	struct front *front;
	struct fuse_in_header head;
	uint64_t off;
	uint32_t size;
	bool drop;             /* the kernel has to drop the range first */
};

static void
reply_written(const struct written *w, int err)
{
	struct fuse_write_out out = { .size = w->size };
	struct request r = { .head = &w->head };

	if (err < 0)
		front_reply_error(w->front, &r, err);
	else
		front_reply_data(w->front, &r, &out, sizeof(out));
}

static void
dropped(void *arg)
{
	reply_written(arg, 0);
	free(arg);
}

static void
written_durably(void *arg, int err)
{
	struct written *w = arg;

	if (err == 0 && w->drop) {
		notify_inval(w->front->notifier, w->head.nodeid, (int64_t)w->off, w->size, dropped, w);
		return;
	}
	reply_written(w, err);
	free(w);
}

/* n bytes are in the file. O_SYNC and chattr +S: they have to be durable before the reply. */
static void
finish_write(struct front *fr, const struct request *r, struct inode *i, ssize_t n)
{
	const struct fuse_write_in *in = r->body;
	struct written w = { .front = fr, .head = *r->head, .off = in->offset, .size = (uint32_t)n }, *later;
	bool sync = (in->flags & O_DSYNC) || (inode_flags(i) & INODE_FL_SYNC);

	/* What the kernel writes from its cache is in its cache, and the notifier may be what made it do so. */
	w.drop = (in->fh & FH_DIRECT) && !(in->write_flags & FUSE_WRITE_CACHE) &&
	    __atomic_load_n(&i->kernel_cached, __ATOMIC_ACQUIRE) > 0;
	if (n <= 0 || (!sync && !w.drop)) {
		reply_written(&w, (int)min_of(n, 0));
		return;
	}
	later = malloc(sizeof(*later));
	if (!later) {
		reply_written(&w, -ENOMEM);
		return;
	}
	*later = w;
	if (!sync) {
		written_durably(later, 0);
		return;
	}
	inode_hold(i); /* the file may be closed as soon as there is a reply */
	fs_fsync_file(front_file_of(in->fh), (in->flags & O_SYNC) != O_SYNC, written_durably, later);
	inode_put(i);
}

static uint32_t
mode_of(const struct inode *i)
{
	return __atomic_load_n(&i->attr.mode, __ATOMIC_RELAXED);
}

/* The kernel keeps the mode for as long as we said; it must not honour a bit that is gone. */
static void
mode_changed(struct front *fr, struct inode *i, uint32_t before)
{
	if ((before & (S_ISUID | S_ISGID)) && mode_of(i) != before)
		notify_inval(fr->notifier, i->ino, 0, -1, NULL, NULL);
}

/* What a write takes away from its file: capabilities now; the return value says whether also
 * setuid and setgid. */
static bool
write_takes(struct front *fr, const struct request *r, struct inode *i)
{
	const struct fuse_write_in *in = r->body;

	inode_drop_capability(i);
	return (in->write_flags & FUSE_WRITE_KILL_SUIDGID) || (!fr->killpriv_v2 && r->head->uid != 0);
}

void
front_took_privileges(struct front *fr, uid_t uid, struct inode *i)
{
	uint32_t mode = mode_of(i);

	inode_drop_capability(i);
	if (uid != 0 && (mode & (S_ISUID | S_ISGID)))
		inode_kill_suidgid(i);
	mode_changed(fr, i, mode);
}

/* The file that is written to, with the flags that it has now. */
static struct file *
file_to_write(const struct fuse_write_in *in)
{
	struct file *f = front_file_of(in->fh);
	int was = __atomic_load_n(&f->flags, __ATOMIC_RELAXED);

	if ((was ^ (int)in->flags) & CHANGING_FLAGS)
		__atomic_store_n(&f->flags, (was & ~CHANGING_FLAGS) | ((int)in->flags & CHANGING_FLAGS),
		    __ATOMIC_RELAXED);
	/* what was written through the kernel's cache is in it */
	if (!(in->fh & FH_DIRECT) || (in->write_flags & FUSE_WRITE_CACHE))
		front_tells(f->inode);
	return f;
}

void
request_write(struct front *fr, const struct request *r)
{
	const struct fuse_write_in *in = r->body;
	struct file *f;
	uint32_t mode;
	ssize_t n;

	if (r->len < sizeof(*in) || r->len - sizeof(*in) < in->size) {
		front_reply_error(fr, r, -EINVAL);
		return;
	}
	f = file_to_write(in);
	mode = mode_of(f->inode);
	n = fs_write(f, in + 1, in->size, in->offset, write_takes(fr, r, f->inode));
	mode_changed(fr, f->inode, mode);
	finish_write(fr, r, f->inode, n);
}

void
request_write_blocks(struct front *fr, const struct request *r, pblk_t run, uint64_t nblocks)
{
	const struct fuse_write_in *in = r->body;
	struct file *f = file_to_write(in);
	uint32_t mode = mode_of(f->inode);
	ssize_t n;

	n = fs_write_blocks(f, run, nblocks, in->offset, write_takes(fr, r, f->inode));
	mode_changed(fr, f->inode, mode);
	finish_write(fr, r, f->inode, n);
}

/* ---- opening ------------------------------------------------------------------------------- */

/* open_flags: FUSE_OPEN_... of the request. */
static int
open_file(struct front *fr, const struct request *r, struct inode *i, uint32_t flags, uint32_t open_flags,
    struct file **f)
{
	struct fs_cred c = { .uid = r->head->uid, .gid = r->head->gid, .tgid = (pid_t)r->head->pid };
	int err = 0;

	c.fsetid = fr->killpriv_v2 ? !(open_flags & FUSE_OPEN_KILL_SUIDGID) : r->head->uid == 0;
	if ((flags & O_TRUNC) && inode_is_reg(i)) {
		if (front_big(i))
			session_long_request();
		err = inode_drop_capability(i);
	}
	return err < 0 ? err : fs_open(fr->fs, i, (int)flags, &c, f);
}

static void
opened(struct front *fr, struct file *f, struct fuse_open_out *out)
{
	struct inode *i = f->inode;

	*out = (struct fuse_open_out){ .fh = (uintptr_t)f, .open_flags = FOPEN_NOFLUSH };
	/* what was cached before somebody began to store behind the kernel's back is old */
	if (!inode_write_pinned(i))
		out->open_flags |= FOPEN_KEEP_CACHE;
	if (fr->direct_io && inode_is_reg(i) && ((f->flags & O_DIRECT) || inode_write_pinned(i))) {
		out->open_flags |= FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES;
		out->fh |= FH_DIRECT;
	} else {
		__atomic_add_fetch(&i->kernel_cached, 1, __ATOMIC_ACQ_REL);
	}
}

static void
close_file(struct front *fr, uint64_t fh)
{
	struct file *f = front_file_of(fh);

	if (!(fh & FH_DIRECT))
		__atomic_sub_fetch(&f->inode->kernel_cached, 1, __ATOMIC_ACQ_REL);
	offer_withdraw(&fr->offers, f);
	fs_release(f);
}

static void
open_reply(struct front *fr, const struct request *r, int err, struct file *f)
{
	struct fuse_open_out out;

	if (err < 0) {
		front_reply_error(fr, r, err);
		return;
	}
	opened(fr, f, &out);
	if (front_reply_data(fr, r, &out, sizeof(out)) < 0)
		close_file(fr, out.fh);
}

/* The reply to CREATE and TMPFILE: an inode, and that it is open. Takes over the reference. */
static void
open_new_reply(struct front *fr, const struct request *r, struct inode *i, int err, struct file *f)
{
	struct { struct fuse_entry_out entry; struct fuse_open_out open; } out;

	if (err < 0) {
		inode_put(i);
		front_reply_error(fr, r, err);
		return;
	}
	front_entry_out(fr, i, &out.entry);
	inode_put(i);
	opened(fr, f, &out.open);
	if (front_reply_data(fr, r, &out, sizeof(out)) < 0) {
		close_file(fr, out.open.fh);
		inode_forget(fr->fs, out.entry.nodeid, 1);
	}
}

/* O_TRUNC of a file that somebody may have leased. */
struct opening {
	struct front_op op;
	struct front *front;
	struct fuse_in_header head;
	uint32_t flags, open_flags;
	bool create;           /* the reply is CREATE's */
};

static void
open_truncate(struct front_op *p, int err)
{
	struct opening *o = caa_container_of(p, struct opening, op);
	struct request r = { .head = &o->head };
	struct inode *i = p->op.inode;
	struct file *f = NULL;

	if (err == 0) {
		err = open_file(o->front, &r, i, o->flags, o->open_flags, &f);
		layout_end(&p->op);
	}
	if (o->create) {
		open_new_reply(o->front, &r, i, err, f);
	} else {
		open_reply(o->front, &r, err, f);
		inode_put(i);
	}
	free(o);
}

/* Takes over the reference. */
static void
open_inode(struct front *fr, const struct request *r, struct inode *i, uint32_t flags, uint32_t open_flags, bool create)
{
	struct opening *o = NULL;
	struct file *f = NULL;
	int err;

	if ((flags & O_TRUNC) && inode_is_reg(i)) {
		o = malloc(sizeof(*o));
		err = o ? 0 : -ENOMEM;
	} else {
		err = open_file(fr, r, i, flags, open_flags, &f);
	}
	if (o) {
		*o = (struct opening){ .front = fr, .head = *r->head, .flags = flags, .open_flags = open_flags,
			.create = create };
		layout_op_init(&o->op.op, i, LAYOUT_TRUNCATE, 0, FBLK_MAX + 1);
		o->op.op.tid = (pid_t)r->head->pid;
		o->op.op.nonblock = (flags & O_NONBLOCK) != 0;
		front_op_begin(&o->op, &fr->waiters, r->head->unique, open_truncate);
	} else if (create) {
		open_new_reply(fr, r, i, err, f);
	} else {
		open_reply(fr, r, err, f);
		inode_put(i);
	}
}

void
request_open(struct front *fr, const struct request *r)
{
	const struct fuse_open_in *in = r->body;
	struct inode *i;
	int err;

	err = r->len < sizeof(*in) ? -EINVAL : front_inode(fr, r->head->nodeid, &i);
	if (err < 0)
		front_reply_error(fr, r, err);
	else
		open_inode(fr, r, i, in->flags, in->open_flags, false);
}

static struct fs_cred
creator(const struct request *r)
{
	const struct fuse_create_in *in = r->body;

	return (struct fs_cred){ .uid = r->head->uid, .gid = r->head->gid, .tgid = (pid_t)r->head->pid,
		.umask = in->umask, .fsetid = r->head->uid == 0 };
}

void
request_create(struct front *fr, const struct request *r)
{
	const struct fuse_create_in *in = r->body;
	const char *name = front_name(r, sizeof(*in));
	struct inode *dir, *i;
	uint32_t flags;
	struct fs_cred c;
	int err;

	err = name ? front_inode(fr, r->head->nodeid, &dir) : -EINVAL;
	flags = err == 0 ? in->flags & ~(uint32_t)O_TRUNC : 0; /* of a new file there is nothing to truncate */
	if (err == 0) {
		c = creator(r);
		err = fs_create(fr->fs, dir, name, S_IFREG | (in->mode & 07777), 0, &c, &i);
		/* the one that somebody else has made a moment before */
		if (err == -EEXIST && !(in->flags & O_EXCL)) {
			err = fs_lookup(fr->fs, dir, name, &i);
			flags = in->flags;
		}
		inode_put(dir);
	}
	if (err < 0)
		front_reply_error(fr, r, err);
	else
		open_inode(fr, r, i, flags, in->open_flags, true);
}

/* O_TMPFILE: as create, without a name. */
void
request_tmpfile(struct front *fr, const struct request *r)
{
	const struct fuse_create_in *in = r->body;
	struct inode *dir, *i;
	struct fs_cred c;
	int err;

	err = r->len < sizeof(*in) ? -EINVAL : front_inode(fr, r->head->nodeid, &dir);
	if (err == 0) {
		c = creator(r);
		err = fs_tmpfile(fr->fs, dir, S_IFREG | (in->mode & 07777), &c, &i);
		inode_put(dir);
	}
	if (err < 0)
		front_reply_error(fr, r, err);
	else
		open_inode(fr, r, i, in->flags & ~(uint32_t)O_TRUNC, in->open_flags, true);
}

/* ---- polling -------------------------------------------------------------------------------- */

/* Reading and writing never wait; POLLPRI is for events of leases. */
void
request_poll(struct front *fr, const struct request *r)
{
	const struct fuse_poll_in *in = r->body;
	struct fuse_poll_out out = { .revents = POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM };
	struct file *f;

	if (r->len < sizeof(*in)) {
		front_reply_error(fr, r, -EINVAL);
		return;
	}
	f = front_file_of(in->fh);
	/* First say where to find us, then look: the other side does the second before the first. */
	if (in->flags & FUSE_POLL_SCHEDULE_NOTIFY)
		__atomic_store_n(&f->poll_handle, in->kh, __ATOMIC_SEQ_CST);
	if (lease_events_pending(f))
		out.revents |= POLLPRI;
	out.revents &= in->events | POLLERR | POLLHUP;
	front_reply_data(fr, r, &out, sizeof(out));
}

void
request_release(struct front *fr, const struct request *r)
{
	const struct fuse_release_in *in = r->body;
	struct file *f;
	bool pinned;

	if (r->len < sizeof(*in)) {
		front_reply_error(fr, r, -EINVAL);
		return;
	}
	f = front_file_of(in->fh);
	pinned = !cds_list_empty(&f->pins); /* nobody else uses it any more */
	if (__atomic_load_n(&f->inode->attr.nlink, __ATOMIC_RELAXED) == 0 && front_big(f->inode))
		session_long_request();
	close_file(fr, in->fh);
	/* what was stored last through a mapping is in nobody's cache */
	if (pinned)
		notify_inval(fr->notifier, r->head->nodeid, 0, 0, NULL, NULL);
	front_reply_error(fr, r, 0);
}

/* ---- durability ------------------------------------------------------------------------------ */

/* An fsync under way. */
struct syncing {
	struct front *front;
	fuse_req_t req;
	struct waiting waiting;
	uint64_t unique;
	bool waits, ioctl;
};

static void
sync_waits(void *arg, struct parked *p)
{
	struct syncing *s = arg;

	s->waits = true;
	waiting_begin(&s->front->waiters, &s->waiting, s->unique, p);
}

static void
synced(void *arg, int err)
{
	struct syncing *s = arg;

	if (s->waits)
		waiting_end(&s->front->waiters, &s->waiting);
	if (err < 0 || !s->ioctl)
		front_reply(s->req, err);
	else
		fuse_reply_ioctl(s->req, 0, NULL, 0);
	free(s);
}

void
front_sync(fuse_req_t req, struct file *f, struct inode *i, uint64_t off, uint64_t len, bool datasync, bool ioctl)
{
	struct front *fr = front_of(req);
	struct fs_sync_range range = { .off = off, .len = len, .datasync = datasync, .done = synced,
		.holder = f && fs_is_holder(f), .waits = sync_waits };
	struct syncing *s = malloc(sizeof(*s));

	if (!s) {
		front_reply(req, -ENOMEM);
		return;
	}
	*s = (struct syncing){ .front = fr, .req = req, .unique = front_request->head->unique, .ioctl = ioctl };
	range.arg = s;
	if (front_big(i) && inode_is_dirty(i))
		session_long_request();
	fs_fsync_range(fr->fs, i, &range);
}

static void
op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct file *f = front_file(fi);
	struct inode *i = inode_hold(f->inode); /* a reply lets the file be closed */

	(void)ino;
	front_sync(req, f, i, 0, 0, datasync != 0, false);
	inode_put(i);
}

static void
op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct front *fr = front_of(req);
	struct inode *i;
	int r;

	(void)fi;
	r = front_inode(fr, ino, &i);
	if (r < 0) {
		front_reply(req, r);
		return;
	}
	front_sync(req, NULL, i, 0, 0, datasync != 0, false);
	inode_put(i);
}

/* ---- space -------------------------------------------------------------------------------------- */

struct falloc {
	struct front_op op;
	fuse_req_t req;
	struct file *file;     /* open until the reply */
	int mode;
	uint64_t off, len;
};

static int
fallocate_now(const struct falloc *a)
{
	int r;

	if (a->len >= LONG_BYTES)
		session_long_request();
	r = fs_fallocate(a->file, a->mode, a->off, a->len);
	if (r == 0)
		front_took_privileges(front_of(a->req), fuse_req_ctx(a->req)->uid, a->file->inode);
	return r;
}

static void
fallocate_layout(struct front_op *p, int r)
{
	struct falloc *a = caa_container_of(p, struct falloc, op);

	if (r == 0) {
		r = fallocate_now(a);
		layout_end(&p->op);
	}
	front_reply(a->req, r);
	free(a);
}

static void
op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len, struct fuse_file_info *fi)
{
	struct falloc a = { .req = req, .file = front_file(fi), .mode = mode, .off = (uint64_t)off, .len = (uint64_t)len };
	struct inode *i = a.file->inode;
	enum layout_kind kind;
	struct falloc *later;
	fblk_t start, end;

	(void)ino;
	if (off < 0 || len <= 0) {
		front_reply(req, -EINVAL);
		return;
	}
	if (!inode_is_reg(i) || !layout_of_fallocate(i, mode, a.off, a.len, &kind, &start, &end)) {
		front_reply(req, fallocate_now(&a));
		return;
	}
	later = malloc(sizeof(*later));
	if (!later) {
		front_reply(req, -ENOMEM);
		return;
	}
	*later = a;
	layout_op_init(&later->op.op, i, kind, start, end);
	later->op.op.tid = fuse_req_ctx(req)->pid;
	later->op.op.nonblock = (a.file->flags & O_NONBLOCK) != 0;
	front_op_begin(&later->op, &front_of(req)->waiters, front_request->head->unique, fallocate_layout);
}

static void
op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
	int64_t r = fs_seek(front_file(fi), off, whence);

	(void)ino;
	if (r < 0)
		front_reply(req, (int)r);
	else
		fuse_reply_lseek(req, r);
}

/* Linux 6.18 asks by a number of its own, with 64 bits for the answer. If two processes are the first to be told that there is no
 * such request, it concludes that there is neither (fuse_copy_file_range()), and copies through its page cache from then on: so
 * both are served. */
void
request_copy_range(struct front *fr, const struct request *r)
{
	const struct fuse_copy_file_range_in *in = r->body;
	struct fuse_write_out out32 = { 0 };
	struct file *to;
	uint64_t out64;
	ssize_t n;

	if (r->len < sizeof(*in) || in->flags || in->off_in > INT64_MAX || in->off_out > INT64_MAX) {
		front_reply_error(fr, r, -EINVAL);
		return;
	}
	to = front_file_of(in->fh_out);
	session_long_request();
	n = fs_copy_range(front_file_of(in->fh_in), in->off_in, to, in->off_out, min_of(in->len, COPY_BYTES_MAX));
	if (n > 0)
		front_took_privileges(fr, r->head->uid, to->inode);
	if (n < 0) {
		front_reply_error(fr, r, (int)n);
	} else if (r->head->opcode == FUSE_COPY_FILE_RANGE) {
		out32.size = (uint32_t)n;
		front_reply_data(fr, r, &out32, sizeof(out32));
	} else {
		out64 = (uint64_t)n;
		front_reply_data(fr, r, &out64, sizeof(out64));
	}
}

void
ops_file_fill(struct fuse_lowlevel_ops *ops)
{
	ops->fsync = op_fsync;
	ops->fsyncdir = op_fsyncdir;
	ops->fallocate = op_fallocate;
	ops->lseek = op_lseek;
}
