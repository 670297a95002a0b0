/* SPDX-License-Identifier: BSD-3-Clause */
/* The filesystem, without FUSE: what a front end or a test calls.
 *
 * Objects are named by inode number or by struct inode (a counted reference).
 * Access is not checked here by mode or ACL: the front end lets the kernel do that
 * (default_permissions); what the kernel can't know is checked here (immutable and
 * append-only flags, EROFS, limits). Who acts is told by struct fs_cred.
 *
 * All functions are thread-safe; each takes the locks it needs in the order of
 * pmem/lock.h and returns with none held, unless its name says otherwise. They return 0
 * or a count, or a negative errno with nothing changed.
 */
#ifndef PINFS_FS_FS_H
#define PINFS_FS_FS_H

#include <dirent.h>
#include <sys/statvfs.h>
#include <sys/uio.h>

#include "fs/inode.h"

struct fs_cred {
	uid_t uid;
	gid_t gid;
	pid_t tgid;     /* process, 0: none (a test) */
	mode_t umask;
	bool fsetid;    /* may keep setgid it is no member of: CAP_FSETID */
};

enum fs_dax_mode { FS_DAX_INODE, FS_DAX_ALWAYS, FS_DAX_NEVER };
enum fs_verify { FS_VERIFY_FIRST, FS_VERIFY_ALWAYS };
enum fs_atime { FS_ATIME_RELATIME, FS_ATIME_STRICT, FS_ATIME_NOATIME };

/* What writeback does about a block that is pinned for write. */
enum fs_pinned {
	FS_PINNED_DEFAULT, /* of a pin: as the mount has it for its class */
	FS_PINNED_BOUNCE,  /* a snapshot of it goes to another block */
	FS_PINNED_WAIT,    /* fsync waits for the pin, transient_ms at most, then bounces */
	FS_PINNED_FAIL,    /* the file is not written back: fsync gives -EBUSY */
	FS_PINNED_SKIP,    /* writeback leaves it out and says nothing */
	FS_PINNED_HOLDER,  /* left out but by the holder's syncs; if he goes without unpinning, it reverts to the last */
};

struct fs_options {
	bool readonly;
	unsigned commit_s;           /* age at which dirty data is written back; default 5 */
	enum fs_dax_mode dax;
	enum fs_verify verify;
	enum fs_atime atime;
	unsigned dio_align;          /* 0: any; 512; 4096 */
	uint64_t pin_limit;          /* bytes per user; 0: half the pool */
	unsigned lease_limit;        /* leases of one user at a time */
	enum fs_pinned pinned_transient; /* writeback of blocks with such pins; not DEFAULT */
	enum fs_pinned pinned_longterm;  /* the same, not WAIT; also for faultable pins */
	bool allow_skip;             /* a pin may ask for FS_PINNED_SKIP */
	unsigned transient_ms;       /* how long somebody may have to wait for a transient pin */
	unsigned lease_break_ms;     /* how long a layout operation waits for leases; 0: for ever */
	bool lease_cut;              /* not at all: leases are revoked at once */
	bool pin_without_lease;      /* long-term pins need none: the default here, not of a mount */
	bool layout_wait;            /* layout operations wait for transient pins, too */
	struct pool_options pool;
};
void fs_options_default(struct fs_options *o);

/* Open the pool, walk it, delete orphans, start background writeback. */
int fs_mount(struct fs **out, const char *path, const struct fs_options *opt, struct pool_error *err);
/* Stop background work, write everything back, commit clean, close. Returns the
 * first error; the fs is gone in any case. */
int fs_umount(struct fs *fs);
/* As a SIGKILL would: nothing is written back. Tests and crash simulation. */
void fs_abandon(struct fs *fs);
/* mkfs: add the root directory to a pool that pool_mkfs made. */
int fs_format(const char *path, uid_t uid, gid_t gid, mode_t mode, struct pool_error *err);

/* ---- names (namei.c, dir.c) ---- all give the inode with a reference */

#define FS_NAME_MAX 255u

int fs_lookup(struct fs *fs, struct inode *dir, const char *name, struct inode **out);
int fs_create(struct fs *fs, struct inode *dir, const char *name, mode_t mode, dev_t rdev,
    const struct fs_cred *c, struct inode **out); /* regular, fifo, socket, device */
int fs_mkdir(struct fs *fs, struct inode *dir, const char *name, mode_t mode, const struct fs_cred *c,
    struct inode **out);
int fs_symlink(struct fs *fs, struct inode *dir, const char *name, const char *target,
    const struct fs_cred *c, struct inode **out);
int fs_tmpfile(struct fs *fs, struct inode *dir, mode_t mode, const struct fs_cred *c, struct inode **out);
int fs_link(struct fs *fs, struct inode *i, struct inode *dir, const char *name);
int fs_unlink(struct fs *fs, struct inode *dir, const char *name);
int fs_rmdir(struct fs *fs, struct inode *dir, const char *name);
int fs_rename(struct fs *fs, struct inode *olddir, const char *oldname, struct inode *newdir,
    const char *newname, unsigned flags); /* RENAME_NOREPLACE, RENAME_EXCHANGE */
/* Target without terminator into buf; its length. */
ssize_t fs_readlink(struct fs *fs, struct inode *i, char *buf, size_t size);

/* Entries in cookie order, after cookie `off` (0: from the start, "." and ".." first). fn
 * returns nonzero to stop (the entry was not taken). child is NULL unless plus is set and
 * the entry's inode could be had: then it is a reference that fn must put (or keep). A
 * cookie stays valid whatever is created or removed. */
typedef int fs_dirent_fn(void *arg, const char *name, size_t namelen, uint64_t ino, unsigned char type,
    off_t cookie, struct inode *child);
int fs_readdir(struct fs *fs, struct inode *dir, off_t off, bool plus, fs_dirent_fn *fn, void *arg);

/* ---- attributes (attr.c, xattr.c) ---- */

enum { FS_SET_MODE = 1, FS_SET_UID = 2, FS_SET_GID = 4, FS_SET_SIZE = 8, FS_SET_ATIME = 16,
       FS_SET_MTIME = 32, FS_SET_ATIME_NOW = 64, FS_SET_MTIME_NOW = 128, FS_SET_CTIME = 256,
       FS_SET_KILL_SUIDGID = 512 };
/* Changes what `which` names (from st), all or nothing, then tells the result in st. */
int fs_setattr(struct fs *fs, struct inode *i, unsigned which, struct stat *st, const struct fs_cred *c);
int fs_getflags(struct fs *fs, struct inode *i, uint32_t *flags, uint32_t *projid); /* INODE_FL_... */
int fs_setflags(struct fs *fs, struct inode *i, uint32_t flags, uint32_t projid, const struct fs_cred *c);
/* size 0: tells the length. flags: XATTR_CREATE, XATTR_REPLACE. POSIX ACL names keep mode in step. */
ssize_t fs_getxattr(struct fs *fs, struct inode *i, const char *name, void *buf, size_t size);
int fs_setxattr(struct fs *fs, struct inode *i, const char *name, const void *value, size_t size, int flags,
    const struct fs_cred *c);
ssize_t fs_listxattr(struct fs *fs, struct inode *i, char *buf, size_t size);
int fs_removexattr(struct fs *fs, struct inode *i, const char *name);
int fs_statfs(struct fs *fs, struct statvfs *st);

/* ---- open files (file.c) ---- */

struct offer;

/* An open file description: what pins and leases belong to. */
struct file {
	struct inode *inode;     /* a reference */
	int flags;               /* O_... as opened */
	struct cds_list_head pins; /* P: layout lock exclusive; pin.h */
	uint64_t nholder;        /* atomic; how many of them are FS_PINNED_HOLDER */
	struct cds_list_head leases; /* P: lease table lock, as all of these; lease.h */
	struct cds_list_head events;
	unsigned nevents;        /* read atomically without the lock */
	uint64_t event_seq, events_lost;
	uint64_t poll_handle;    /* the front end's; atomic: where to tell of events, 0: nobody waits for them */
	struct cds_list_head open_link; /* P: fs->open_lock */
	struct offer *offer;     /* the front end's */
};
int fs_open(struct fs *fs, struct inode *i, int flags, const struct fs_cred *c, struct file **out);
/* The last close: drops its pins and leases. What is still open when the filesystem is unmounted is released then: the
 * kernel need not tell of closes that come with, or after, the unmount. */
void fs_release(struct file *f);

/* fn is called, with locks held, whenever an open file has got an event to read (lease.h): it must not do more than
 * pass that on. Set once, before there are files. */
void fs_set_notify(struct fs *fs, void (*fn)(void *arg, struct file *f), void *arg);

/* ---- content (io.c, falloc.c, shift.c, clone.c, exchange.c) ---- */

/* Read without copying: up to max iovecs that point into the pool (or to zeroes) for
 * the bytes that exist in off..off+len. The inode's io and layout locks are held shared until
 * fs_read_done; *count is set; returns the byte count. After an error nothing is held. */
ssize_t fs_read_begin(struct file *f, uint64_t off, size_t len, struct iovec *iov, int max, int *count);
void fs_read_done(struct file *f);
ssize_t fs_read(struct file *f, void *buf, size_t len, uint64_t off);
/* O_APPEND in f->flags writes at the end. Short only on ENOSPC after some bytes. kill_suidgid:
 * take setuid/setgid away. */
ssize_t fs_write(struct file *f, const void *buf, size_t len, uint64_t off, bool kill_suidgid);
/* Adopt a run of blocks from pool_alloc_data(), completely filled, as the content at off: zero-copy
 * where off is block aligned and nothing there is pinned, else copied. The blocks are gone for the
 * caller in any case. */
ssize_t fs_write_blocks(struct file *f, pblk_t run, uint64_t nblocks, uint64_t off, bool kill_suidgid);
int fs_truncate(struct inode *i, uint64_t size);      /* content only; attr.c calls it */
int fs_fallocate(struct file *f, int mode, uint64_t off, uint64_t len);
/* Cut a range out of the middle of a file, or a hole into it: what is behind it moves. The rules of
 * FALLOC_FL_COLLAPSE_RANGE and FALLOC_FL_INSERT_RANGE. Block aligned, not up to or beyond the end: -EINVAL. */
int fs_collapse_range(struct file *f, uint64_t off, uint64_t len);
int fs_insert_range(struct file *f, uint64_t off, uint64_t len);
int64_t fs_seek(struct file *f, int64_t off, int whence); /* SEEK_DATA, SEEK_HOLE */
/* Share blocks where offsets allow it, copy the rest. */
ssize_t fs_copy_range(struct file *in, uint64_t off_in, struct file *out, uint64_t off_out, uint64_t len);
/* FICLONERANGE rules: block aligned (len may end at EOF; 0 = to EOF). */
int fs_clone_range(struct file *in, uint64_t off_in, struct file *out, uint64_t off_out, uint64_t len);
/* Two ranges change places: durably both or none. Block aligned (len may end at EOF of both); 0 = all from there on,
 * with the ends of the files. They may be of one file, without overlap. */
int fs_exchange_range(struct file *a, uint64_t off_a, struct file *b, uint64_t off_b, uint64_t len);

/* ---- durability (writeback.c) ---- */

/* Writeback of the inode, then commit; done is called once, maybe before it returns. -EBUSY: pinned
 * with FS_PINNED_FAIL, nothing was written. */
void fs_fsync(struct fs *fs, struct inode *i, bool datasync, void (*done)(void *arg, int err), void *arg);
/* The same, by the holder of pins perhaps. */
void fs_fsync_file(struct file *f, bool datasync, void (*done)(void *arg, int err), void *arg);
/* The same for a part of it. Only what overlaps [off, off+len) is written, if the size of the file is as it was at
 * its last writeback; else all of it. Where a pin has FS_PINNED_WAIT that may have to wait, without a thread (park.h). */
struct parked;
struct fs_sync_range {
	uint64_t off, len;                    /* len 0: to the end of the file */
	bool datasync;
	bool holder;                          /* by the holder of pins: as fs_fsync_file() */
	void (*done)(void *arg, int err);     /* -EINTR: the wait was cancelled */
	/* It is about to wait; park_cancel(p) ends that. Called once at most, with the layout lock held. May be NULL. */
	void (*waits)(void *arg, struct parked *p);
	void *arg;
};
static inline bool
fs_is_holder(const struct file *f)
{
	return __atomic_load_n(&f->nholder, __ATOMIC_ACQUIRE) > 0;
}
void fs_fsync_range(struct fs *fs, struct inode *i, const struct fs_sync_range *s);
/* fs_fsync, waiting (tests, internal). No lock may be held. */
int fs_fsync_wait(struct fs *fs, struct inode *i, bool datasync);
/* Writeback of everything dirty, one commit. -EBUSY: but for files that are pinned with FS_PINNED_FAIL. */
int fs_sync(struct fs *fs);

/* ---- counters, for status ---- */
struct fs_counters {
	uint64_t commits, writebacks, wb_blocks, bounced_blocks, skipped_blocks, pins, pinned_blocks,
	    dirty_inodes, cached_inodes, live_extents, leases, lease_breaks, lease_revocations, parked;
};
void fs_counters(struct fs *fs, struct fs_counters *c);
struct pool *fs_pool(struct fs *fs);
struct park_lot *fs_park(struct fs *fs); /* park.h; closed, it may be, before fs_umount() */
const struct fs_options *fs_options(struct fs *fs);

#endif
