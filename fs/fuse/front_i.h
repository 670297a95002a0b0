/* SPDX-License-Identifier: BSD-3-Clause */
/* The inside of the front end, for the files of fs/fuse/ only. */
#ifndef PINFS_FS_FUSE_FRONT_I_H
#define PINFS_FS_FUSE_FRONT_I_H

#ifndef FUSE_USE_VERSION
#define FUSE_USE_VERSION 314
#endif
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <time.h>

#include "fs/fuse/front.h"
#include "fs/fuse/notify.h"
#include "fs/fuse/offer.h"
#include "fs/fuse/session.h"
#include "fs/fuse/waiting.h"

/* of <linux/fuse.h> 7.45; an opcode, not a macro, there */
#define OPCODE_COPY_FILE_RANGE_64 53
#ifndef FUSE_DIRECT_IO_ALLOW_MMAP
#define FUSE_DIRECT_IO_ALLOW_MMAP (1ULL << 36)
#endif

struct front {
	struct fs *fs;
	struct mount_options opt;
	struct fuse_session *se;
	int fd;                /* the device, while mounted */
	struct session *session;
	struct notifier *notifier;
	struct waiters waiters;
	struct offers offers;
	bool mounted;
	int (*unmount)(void *arg);
	void *unmount_arg;
	/* agreed on in INIT, before any other request */
	bool killpriv_v2;      /* writes say when they take setuid and setgid away */
	bool direct_io;        /* files opened with O_DIRECT may bypass the kernel's cache, and still be mapped */
	uint64_t init_unique;  /* atomic; of the INIT request, until its reply has passed */
	uint64_t init_flags;   /* what the kernel offered */
	uint64_t pool_dev, pool_ino;
};

/* A request as it came from the kernel. */
struct request {
	const struct fuse_in_header *head;
	const void *body;      /* what follows the header, aligned to 8 bytes */
	size_t len;            /* of the body */
};
/* The one that this thread executes: libfuse does not pass on everything that is in it. */
extern _Thread_local const struct request *front_request;

static inline struct front *
front_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* nodeid = inode number: a handle that an NFS server keeps is good over remounts. */
static inline int
front_inode(struct front *fr, fuse_ino_t ino, struct inode **out)
{
	return inode_get(fr->fs, ino, out);
}

/* A file handle is the address of a struct file. Its lowest bit says that the kernel does not cache
 * what is read and written through it. */
#define FH_DIRECT 1u

static inline struct file *
front_file_of(uint64_t fh)
{
	return (struct file *)(uintptr_t)(fh & ~(uint64_t)FH_DIRECT);
}

static inline struct file *
front_file(const struct fuse_file_info *fi)
{
	return front_file_of(fi->fh);
}

void front_cred(fuse_req_t req, struct fs_cred *c);
/* How long the kernel may trust attributes: not at all while somebody stores behind its back. */
double front_attr_timeout(struct front *fr, struct inode *i);
/* The kernel is about to be told something of the file that it may keep: call it before the file's state is looked at. */
static inline void
front_tells(struct inode *i)
{
	if (!__atomic_load_n(&i->kernel_knows, __ATOMIC_ACQUIRE))
		(void)__atomic_exchange_n(&i->kernel_knows, true, __ATOMIC_SEQ_CST);
}
/* Have it forget all that, and call done(arg) when it has; at once, if it can't know anything. The state has
 * changed already. done NULL: nobody waits. */
void front_forget(struct front *fr, struct inode *i, void (*done)(void *arg), void *arg);
/* inode_stat, with a modification time that moves while the file is pinned for write. */
void front_stat(struct inode *i, struct stat *st);
void front_entry(struct front *fr, struct inode *i, struct fuse_entry_param *e);
/* err >= 0 is success. */
void front_reply(fuse_req_t req, int err);
/* An entry for the kernel to remember, or the error; takes over the reference. */
void front_reply_inode(fuse_req_t req, int err, struct inode *i);

/* Long before it is known whether they are: what these cost depends on how much the file holds. */
bool front_big(const struct inode *i);

/* Content was changed, and the kernel leaves it to us what that takes away: setuid, setgid, capabilities. */
void front_took_privileges(struct front *fr, uid_t uid, struct inode *i);

/* ops_*.c fill in their part of the table. */
/* fsync of a file, through an open one or NULL, or of a part of it (fs_fsync_range), and the reply. Big ones are long
 * requests. (ops_file.c) */
void front_sync(fuse_req_t req, struct file *f, struct inode *i, uint64_t off, uint64_t len, bool datasync, bool ioctl);

void ops_name_fill(struct fuse_lowlevel_ops *ops);
void ops_attr_fill(struct fuse_lowlevel_ops *ops);
void ops_file_fill(struct fuse_lowlevel_ops *ops);
void ops_ioctl_fill(struct fuse_lowlevel_ops *ops);

/* Requests that don't pass through libfuse, because they are frequent, or because it does not
 * pass on all of them. They reply themselves. */
void request_lookup(struct front *fr, const struct request *r);
void request_forget(struct front *fr, const struct request *r);
void request_batch_forget(struct front *fr, const struct request *r);
void request_getattr(struct front *fr, const struct request *r);
void request_open(struct front *fr, const struct request *r);
void request_create(struct front *fr, const struct request *r);
void request_tmpfile(struct front *fr, const struct request *r);
void request_poll(struct front *fr, const struct request *r);
void request_release(struct front *fr, const struct request *r);
void request_read(struct front *fr, const struct request *r);
void request_write(struct front *fr, const struct request *r);
void request_copy_range(struct front *fr, const struct request *r);
/* Payload already lies in blocks run..run+nblocks, taken from the pool by the caller. */
void request_write_blocks(struct front *fr, const struct request *r, pblk_t run, uint64_t nblocks);

/* INIT is on its way to libfuse: front.c amends the reply. */
void front_init_request(struct front *fr, const struct request *r);

/* Replies by hand. iov[0] is left free for the header. -errno of writev. */
int front_reply_iov(struct front *fr, uint64_t unique, struct iovec *iov, int count);
int front_reply_data(struct front *fr, const struct request *r, const void *data, size_t size);
void front_reply_error(struct front *fr, const struct request *r, int err);
void front_attr_out(const struct stat *st, struct fuse_attr *a);
/* What the kernel is told of an inode that it is to remember: counts it as looked up. */
void front_entry_out(struct front *fr, struct inode *i, struct fuse_entry_out *e);
/* A name at the beginning of a body, or behind what comes first there. NULL: it does not end. */
const char *front_name(const struct request *r, size_t offset);

#endif
