/* SPDX-License-Identifier: BSD-3-Clause */
/* Mounting, serving, unmounting; and what the operations share.
 *
 * libfuse mounts, negotiates, and takes most kinds of requests apart. The frequent ones, and those of
 * which it does not pass on everything, are served from the raw request (session.c). Replies of both leave
 * by the one descriptor of the device; libfuse's pass reply_writev(), which amends one of them:
 * the reply to INIT, in which flags are wanted that libfuse 3.14 has no name for.
 *
 *   FUSE_HANDLE_KILLPRIV_V2: without it the kernel asks for security.capability before every
 *       buffered write. With it, it trusts us to take setuid, setgid and capabilities away, and
 *       says in the request when. (SB_NOSEC in the kernel.)
 *   FUSE_DIRECT_IO_ALLOW_MMAP: a file opened with O_DIRECT can bypass the kernel's cache altogether,
 *       and two writers need not wait for each other, without mmap(2) of it being refused. So can any
 *       that is pinned for writing when it is opened.
 *   FUSE_AUTO_INVAL_DATA is libfuse's own, but matters as much: a reader of cached pages asks for the
 *       attributes when theirs have timed out, and drops the pages if the modification time moved. That is how
 *       stores through a direct mapping, which time out at once, become visible to read(2). The kernel forgets
 *       to, though, if what it hears is older than the end of another request on the file, and splice(2) does not ask at
 *       all. So pages of a write-pinned file are dropped again as soon as they have been filled (request_read).
 *
 * Everything else that changes files passes through the kernel, so names, attributes and pages may stay
 * in its caches for long.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fs/fuse/front_i.h"
#include "fs/pin.h"
#include "pmem/log.h"

/* How long a mount waits for the daemon of a mount that was just unmounted. */
#define LOCK_WAIT_MS 10000
/* From that size on, work that passes over a file's blocks is long. */
#define BIG_BLOCKS 2048u
/* Asynchronous requests that the kernel has under way at most. */
#define MAX_BACKGROUND 256u

/* ---- what operations share ------------------------------------------------------------ */

void
front_cred(fuse_req_t req, struct fs_cred *c)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);

	*c = (struct fs_cred){ .uid = ctx->uid, .gid = ctx->gid, .tgid = ctx->pid, .umask = ctx->umask,
		.fsetid = ctx->uid == 0 };
}

double
front_attr_timeout(struct front *fr, struct inode *i)
{
	if (!inode_is_reg(i))
		return fr->opt.attr_timeout;
	front_tells(i);
	return inode_write_pinned(i) ? 0 : fr->opt.attr_timeout;
}

/* Most pins are of files that nobody looks at in between, and a notification costs several times what a pin does. So it is
 * noted (kernel_knows) whether anything was told since the last one. Who tells sets the note before he looks whether
 * the file is pinned, who pins counts the pin before he looks at the note; so one of them sees the other. */
void
front_forget(struct front *fr, struct inode *i, void (*done)(void *arg), void *arg)
{
	if (__atomic_exchange_n(&i->kernel_knows, false, __ATOMIC_SEQ_CST))
		notify_inval(fr->notifier, i->ino, 0, 0, done, arg);
	else if (done)
		done(arg);
}

/* A time that no file has shown before. The kernel drops what it has cached of a file when it is told
 * another mtime than last time, so two answers within a tick of the coarse clock, or within the
 * resolution of the fine one, must not be the same. */
static struct timespec
moving_time(void)
{
	static int64_t newest; /* atomic; nanoseconds */
	int64_t last = __atomic_load_n(&newest, __ATOMIC_RELAXED), next;
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	do {
		next = max_of((int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec, last + 1);
	} while (!__atomic_compare_exchange_n(&newest, &last, next, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	return (struct timespec){ .tv_sec = next / 1000000000, .tv_nsec = next % 1000000000 };
}

void
front_stat(struct inode *i, struct stat *st)
{
	inode_stat(i, st);
	if (inode_is_reg(i) && inode_write_pinned(i))
		st->st_mtim = moving_time();
}

void
front_entry(struct front *fr, struct inode *i, struct fuse_entry_param *e)
{
	*e = (struct fuse_entry_param){ .ino = i->ino, .attr_timeout = front_attr_timeout(fr, i),
		.entry_timeout = fr->opt.attr_timeout };
	front_stat(i, &e->attr);
	e->generation = i->attr.generation; /* constant */
}

void
front_reply(fuse_req_t req, int err)
{
	fuse_reply_err(req, err < 0 ? -err : 0);
}

void
front_reply_inode(fuse_req_t req, int err, struct inode *i)
{
	struct front *fr = front_of(req);
	struct fuse_entry_param e;
	uint64_t ino;

	if (err < 0) {
		fuse_reply_err(req, -err);
		return;
	}
	ino = i->ino;
	front_entry(fr, i, &e);
	inode_lookup_ref(i);
	inode_put(i);
	/* The caller was interrupted: the kernel has not heard of the inode. */
	if (fuse_reply_entry(req, &e) < 0)
		inode_forget(fr->fs, ino, 1);
}

bool
front_big(const struct inode *i)
{
	/* a guess is enough, so no lock */
	return __atomic_load_n(&i->live.blocks, __ATOMIC_RELAXED) >= BIG_BLOCKS ||
	    __atomic_load_n(&i->durable_blocks, __ATOMIC_RELAXED) >= BIG_BLOCKS;
}

static int
send_reply(struct front *fr, uint64_t unique, int err, struct iovec *iov, int count)
{
	struct fuse_out_header out = { .unique = unique, .error = err };
	size_t len = sizeof(out);

	iov[0] = (struct iovec){ &out, sizeof(out) };
	for (int k = 1; k < count; k++)
		len += iov[k].iov_len;
	out.len = (uint32_t)len;
	return writev(fr->fd, iov, count) < 0 ? -errno : 0;
}

int
front_reply_iov(struct front *fr, uint64_t unique, struct iovec *iov, int count)
{
	return send_reply(fr, unique, 0, iov, count);
}

int
front_reply_data(struct front *fr, const struct request *r, const void *data, size_t size)
{
	struct iovec iov[2] = { { NULL, 0 }, { (void *)(uintptr_t)data, size } };

	return send_reply(fr, r->head->unique, 0, iov, 2);
}

void
front_reply_error(struct front *fr, const struct request *r, int err)
{
	struct iovec iov[1];

	send_reply(fr, r->head->unique, err, iov, 1);
}

const char *
front_name(const struct request *r, size_t offset)
{
	const char *name = (const char *)r->body + offset;

	return offset < r->len && memchr(name, '\0', r->len - offset) ? name : NULL;
}

void
front_attr_out(const struct stat *st, struct fuse_attr *a)
{
	*a = (struct fuse_attr){
		.ino = st->st_ino,
		.size = (uint64_t)st->st_size,
		.blocks = (uint64_t)st->st_blocks,
		.atime = (uint64_t)st->st_atim.tv_sec,
		.mtime = (uint64_t)st->st_mtim.tv_sec,
		.ctime = (uint64_t)st->st_ctim.tv_sec,
		.atimensec = (uint32_t)st->st_atim.tv_nsec,
		.mtimensec = (uint32_t)st->st_mtim.tv_nsec,
		.ctimensec = (uint32_t)st->st_ctim.tv_nsec,
		.mode = st->st_mode,
		.nlink = (uint32_t)st->st_nlink,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.rdev = (uint32_t)st->st_rdev,
		.blksize = (uint32_t)st->st_blksize,
	};
}

void
front_entry_out(struct front *fr, struct inode *i, struct fuse_entry_out *e)
{
	struct stat st;

	front_stat(i, &st);
	*e = (struct fuse_entry_out){ .nodeid = i->ino, .generation = i->attr.generation,
		.entry_valid = fr->opt.attr_timeout, .attr_valid = (uint64_t)front_attr_timeout(fr, i) };
	front_attr_out(&st, &e->attr);
	inode_lookup_ref(i);
}

/* ---- INIT -------------------------------------------------------------------------------- */

void
front_init_request(struct front *fr, const struct request *r)
{
	const struct fuse_init_in *in = r->body;

	fr->init_flags = in->flags;
	if ((in->flags & FUSE_INIT_EXT) && r->len >= offsetof(struct fuse_init_in, flags2) + sizeof(in->flags2))
		fr->init_flags |= (uint64_t)in->flags2 << 32;
	__atomic_store_n(&fr->init_unique, r->head->unique, __ATOMIC_RELEASE);
}

static void
init(void *arg, struct fuse_conn_info *conn)
{
	static const unsigned wanted = FUSE_CAP_ASYNC_READ | FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_EXPORT_SUPPORT |
	    FUSE_CAP_DONT_MASK | FUSE_CAP_IOCTL_DIR | FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_READDIRPLUS |
	    FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_ASYNC_DIO | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_POSIX_ACL |
	    FUSE_CAP_HANDLE_KILLPRIV | FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_NO_OPENDIR_SUPPORT;

	(void)arg;
	conn->want = conn->capable & wanted;
	conn->max_write = SESSION_MAX_WRITE;
	conn->max_background = MAX_BACKGROUND;
	conn->congestion_threshold = MAX_BACKGROUND * 3 / 4;
}

static void
amend_init(struct front *fr, struct fuse_init_out *out)
{
	uint64_t add = fr->init_flags & (FUSE_HANDLE_KILLPRIV_V2 | FUSE_DIRECT_IO_ALLOW_MMAP);

	fr->killpriv_v2 = (add & FUSE_HANDLE_KILLPRIV_V2) != 0;
	fr->direct_io = (add & FUSE_DIRECT_IO_ALLOW_MMAP) != 0;
	out->flags |= (uint32_t)add;
	if (fr->killpriv_v2)
		out->flags &= ~(uint32_t)FUSE_HANDLE_KILLPRIV;
	if (add >> 32) {
		if (!(out->flags & FUSE_INIT_EXT))
			out->flags2 = 0;
		out->flags |= FUSE_INIT_EXT;
		out->flags2 |= (uint32_t)(add >> 32);
	}
}

static ssize_t
reply_writev(int fd, struct iovec *iov, int count, void *arg)
{
	struct front *fr = arg;
	const struct fuse_out_header *out = iov[0].iov_base;

	if (__atomic_load_n(&fr->init_unique, __ATOMIC_RELAXED) == out->unique && out->unique != 0) {
		__atomic_store_n(&fr->init_unique, 0, __ATOMIC_RELAXED);
		if (out->error == 0 && count == 2 && iov[1].iov_len >= sizeof(struct fuse_init_out))
			amend_init(fr, iov[1].iov_base);
	}
	return writev(fd, iov, count);
}

/* libfuse wants one; session.c does the reading. */
static ssize_t
request_readv(int fd, void *buf, size_t len, void *arg)
{
	(void)arg;
	return read(fd, buf, len);
}

/* ---- mounting ------------------------------------------------------------------------------ */

static void
library_log(enum fuse_log_level level, const char *fmt, va_list ap)
{
	char text[400];
	size_t n;

	vsnprintf(text, sizeof(text), fmt, ap);
	n = strlen(text);
	while (n > 0 && text[n - 1] == '\n')
		text[--n] = '\0';
	if (n > 0)
		pinfs_log((int)level, "%s", text);
}

static int
add_args(struct fuse_args *args, const char *pool, const struct mount_options *o, bool debug)
{
	char list[256], source[4200];
	char *opts = NULL;
	int r;

	mount_options_kernel(o, list, sizeof(list));
	snprintf(source, sizeof(source), "fsname=%s", pool);
	r = fuse_opt_add_opt(&opts, list) || fuse_opt_add_opt(&opts, "subtype=pinfs") ||
	    fuse_opt_add_opt_escaped(&opts, source) || fuse_opt_add_arg(args, "pinfs") ||
	    fuse_opt_add_arg(args, "-o") || fuse_opt_add_arg(args, opts) ||
	    (debug && fuse_opt_add_arg(args, "-d"));
	free(opts);
	return r ? -ENOMEM : 0;
}

static int
check_mountpoint(const char *mnt, struct front_error *err)
{
	struct stat st;

	if (stat(mnt, &st) < 0) {
		int e = errno;

		if (e == ENOTCONN)
			snprintf(err->text, sizeof(err->text),
			    "%s is a mount whose daemon has died: unmount it first ('fusermount3 -u %s')", mnt, mnt);
		else
			snprintf(err->text, sizeof(err->text), "mountpoint %s: %s", mnt, strerror(e));
		return -e;
	}
	if (!S_ISDIR(st.st_mode)) {
		snprintf(err->text, sizeof(err->text), "mountpoint %s is not a directory", mnt);
		return -ENOTDIR;
	}
	return 0;
}

/* The file has got an event: who polls it is told once, and asks again then. */
static void
file_event(void *arg, struct file *f)
{
	struct front *fr = arg;
	uint64_t handle = __atomic_exchange_n(&f->poll_handle, 0, __ATOMIC_SEQ_CST);

	if (handle && !session_poll_later(handle))
		notify_poll(fr->notifier, handle);
}

static int
open_fs(struct front *fr, const char *pool, struct front_error *err)
{
	struct pool_error perr = { "" };
	struct stat st;
	int r;

	fr->opt.fs.pool.lock_wait_ms = LOCK_WAIT_MS;
	r = fs_mount(&fr->fs, pool, &fr->opt.fs, &perr);
	if (r < 0) {
		snprintf(err->text, sizeof(err->text), "%s", perr.text[0] ? perr.text : strerror(-r));
		return r;
	}
	fs_set_notify(fr->fs, file_event, fr);
	if (fstat(pool_fd(fs_pool(fr->fs)), &st) == 0) {
		fr->pool_dev = st.st_dev;
		fr->pool_ino = st.st_ino;
	}
	return 0;
}

/* mnt NULL: fr->fd is connected already. */
static int
mount_session(struct front *fr, const char *pool, const char *mnt, bool debug, struct front_error *err)
{
	static const struct fuse_custom_io io = { .writev = reply_writev, .read = request_readv };
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct fuse_lowlevel_ops ops = { .init = init };
	int r;

	ops_name_fill(&ops);
	ops_attr_fill(&ops);
	ops_file_fill(&ops);
	ops_ioctl_fill(&ops);
	fuse_set_log_func(library_log);
	r = add_args(&args, pool, &fr->opt, debug);
	if (r == 0) {
		fr->se = fuse_session_new(&args, &ops, sizeof(ops), fr);
		r = fr->se ? 0 : -EINVAL;
	}
	fuse_opt_free_args(&args);
	if (r < 0) {
		snprintf(err->text, sizeof(err->text), "can't set up a FUSE session: %s", strerror(-r));
		return r;
	}
	if (mnt) {
		/* the library has said why */
		if (fuse_session_mount(fr->se, mnt) < 0) {
			snprintf(err->text, sizeof(err->text), "can't mount on %s", mnt);
			return -EPERM;
		}
		fr->mounted = true;
		fr->fd = fuse_session_fd(fr->se);
	}
	r = fuse_session_custom_io(fr->se, &io, fr->fd);
	if (r < 0)
		snprintf(err->text, sizeof(err->text), "can't set up a FUSE session: %s", strerror(-r));
	return r;
}

/* mountpoint NULL: fd is the device. */
static int
open_on(struct front **out, const char *pool, const char *mountpoint, int fd, const struct mount_options *o, bool debug,
    struct front_error *err)
{
	struct front *fr = calloc(1, sizeof(*fr));
	int r;

	if (!fr)
		return -ENOMEM;
	fr->opt = *o;
	fr->fd = fd;
	waiters_init(&fr->waiters);
	offers_init(&fr->offers);
	r = open_fs(fr, pool, err);
	if (r == 0)
		r = mount_session(fr, pool, mountpoint, debug, err);
	if (r == 0)
		r = notifier_start(&fr->notifier, fr->se);
	if (r == 0)
		r = session_new(&fr->session, fr, fr->fd, o->threads, debug);
	if (r == 0)
		r = session_start(fr->session);
	if (r < 0) {
		if (err->text[0] == '\0')
			snprintf(err->text, sizeof(err->text), "%s", strerror(-r));
		front_close(fr);
		return r;
	}
	*out = fr;
	return 0;
}

int
front_open(struct front **out, const char *pool, const char *mountpoint, const struct mount_options *o, bool debug,
    struct front_error *err)
{
	int r;

	err->text[0] = '\0';
	r = check_mountpoint(mountpoint, err);
	return r < 0 ? r : open_on(out, pool, mountpoint, -1, o, debug, err);
}

int
front_open_fd(struct front **out, const char *pool, int fd, const struct mount_options *o, struct front_error *err)
{
	err->text[0] = '\0';
	return open_on(out, pool, NULL, fd, o, false, err);
}

int
front_serve(struct front *fr)
{
	struct pollfd p[2];
	sigset_t set;
	int sfd, r = 0;

	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sfd = signalfd(-1, &set, SFD_CLOEXEC);
	if (sfd < 0)
		return -errno;
	p[0] = (struct pollfd){ .fd = sfd, .events = POLLIN };
	p[1] = (struct pollfd){ .fd = session_ended_fd(fr->session), .events = POLLIN };
	while (poll(p, 2, -1) < 0)
		if (errno != EINTR) {
			r = -errno;
			break;
		}
	close(sfd);
	return r;
}

void
front_on_unmount(struct front *fr, int (*fn)(void *arg), void *arg)
{
	fr->unmount = fn;
	fr->unmount_arg = arg;
}

/* The library unmounts, too, unless the device says that the connection is gone (POLLERR). After a lazy unmount of a
 * mount that somebody uses it does not, so something that does takes its place. That ends the connection. */
static void
close_device(struct front *fr)
{
	int p[2];

	if (pipe2(p, O_CLOEXEC) < 0)
		return;
	close(p[0]);
	dup2(p[1], fr->fd);
	close(p[1]);
}

static void
unmount(struct front *fr)
{
	int r = fr->unmount ? fr->unmount(fr->unmount_arg) : 0;

	/* EINVAL: it is no mount any more, which is why we end */
	if (fr->unmount && (r == 0 || r == -EINVAL))
		close_device(fr);
	else if (r < 0)
		pinfs_log(LOG_WARNING, "can't unmount: %s", strerror(-r));
	fuse_session_unmount(fr->se);
}

int
front_close(struct front *fr)
{
	int r = 0, e;

	if (!fr)
		return 0;
	notifier_stop(fr->notifier);
	if (fr->session)
		r = session_stop(fr->session);
	/* what is parked gets its reply while there is still somebody to reply to */
	if (fr->fs)
		park_close(fs_park(fr->fs));
	if (fr->mounted)
		unmount(fr);
	if (fr->se)
		fuse_session_destroy(fr->se);
	session_free(fr->session);
	notifier_free(fr->notifier);
	/* of files that the next step releases */
	offers_destroy(&fr->offers);
	if (fr->fs) {
		e = fs_umount(fr->fs);
		if (e < 0)
			pinfs_log(LOG_ERR, "closing the pool: %s", strerror(-e));
		r = r ? r : e;
	}
	waiters_destroy(&fr->waiters);
	free(fr);
	return r;
}

const char *
front_fuse_version(void)
{
	return fuse_pkgversion();
}
