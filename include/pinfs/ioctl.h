/* SPDX-License-Identifier: BSD-3-Clause */
/* pinfs: the requests that ioctl(2) takes on files and directories of a mount.
 *
 * No library is needed to use them. All structures have the same layout on 32 and 64
 * bit: only fixed-size fields, naturally aligned, explicit padding. Offsets and lengths are
 * in bytes unless a name says blocks. Reserved fields and unknown flags must be zero
 * (EINVAL otherwise), so that they can get a meaning later. `size` is sizeof the structure as the
 * caller knows it (for PINFS_IOC_PIN: with its ranges) and must match the request.
 *
 * Every request may be used by many threads at once, on one descriptor or several. The ids of pins, and
 * those of leases, are unique on the mount; that of one open file means nothing to another.
 *
 * Errors common to all: ENOTTY not a pinfs file; EINVAL wrong size, unknown flag, reserved
 * field not zero, offset or length out of range; ENOTCONN the daemon is gone.
 *
 * pinfs_ioctl(2) has the full text.
 */
#ifndef PINFS_IOCTL_H
#define PINFS_IOCTL_H

#include <linux/types.h>
#include <linux/ioctl.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PINFS_IOC_MAGIC 0xfa
#define PINFS_BLOCK_SIZE 4096
#define PINFS_POOL_OFF_HOLE (~(__u64)0) /* no block: reads zero */

enum pinfs_domain {
	PINFS_DOMAIN_VOLATILE = 0,  /* pool on tmpfs, hugetlbfs: survives the daemon, not the machine */
	PINFS_DOMAIN_PAGECACHE = 1, /* pool on a disk filesystem */
	PINFS_DOMAIN_PMEM = 2,      /* pool on fs-DAX or devdax */
};

/* -- PINFS_IOC_INFO: what one file is. Any open file, directories too. ------ */
struct pinfs_info {
	__u32 size;
	__u32 flags;          /* in: 0 */
	__u64 ino;
	__u64 generation;
	__u64 file_size;      /* live, bytes */
	__u64 durable_size;   /* as of the last writeback */
	__u64 live_blocks;    /* blocks in the live map: dirty or pinned */
	__u64 durable_blocks; /* blocks the durable map names */
	__u64 dirty_extents;
	__u64 read_pins;      /* pins on this file */
	__u64 write_pins;
	__u32 inode_flags;    /* PINFS_INODE_... */
	__u32 domain;         /* enum pinfs_domain */
	__u8 pool_uuid[16];
	__u64 reserved[4];
};
#define PINFS_INODE_IMMUTABLE 0x1
#define PINFS_INODE_APPEND 0x2
#define PINFS_INODE_NOATIME 0x4
#define PINFS_INODE_NODUMP 0x8
#define PINFS_INODE_SYNC 0x10
#define PINFS_INODE_DAX 0x20

/* -- PINFS_IOC_PIN: fix the blocks behind ranges of the file ---------------
 *
 * Ranges are rounded out to blocks; on return off, len tell what was pinned, and
 * pool_off, ext_len where its first extent lies in the pool file. A range of more than one
 * extent (ext_len < len) is listed with PINFS_IOC_EXTENTS. All ranges or none.
 *
 * EBADF not open for the access asked for; EINVAL no range, more than
 * PINFS_PIN_RANGES_MAX, or one that is empty, overflows, or lies beyond EOF
 * (write pins with PINFS_PIN_ALLOC extend the file instead); EDQUOT the user's pin_limit;
 * ENOSPC no space for blocks or for the copies that writeback will need; ENOLCK a long-term pin without a lease
 * of the same open file that covers it; EAGAIN a layout operation waits for the range; ESTALE the lease
 * has been revoked; EPERM PINFS_WRITEBACK_SKIP is not allowed here. */
#define PINFS_PIN_RANGES_MAX 64

struct pinfs_pin_range {
	__u64 off;       /* in, out */
	__u64 len;       /* in, out */
	__u64 pool_off;  /* out: bytes from the start of the pool, or PINFS_POOL_OFF_HOLE */
	__u64 ext_len;   /* out: bytes of the first extent within the range */
};

struct pinfs_pin {
	__u32 size;      /* PINFS_PIN_SIZE(nranges) */
	__u32 flags;     /* PINFS_PIN_ALLOC */
	__u16 access;    /* enum pinfs_access */
	__u16 pin_class; /* enum pinfs_pin_class */
	__u32 nranges;
	__u64 id;        /* out: names the pin, for PINFS_IOC_UNPIN on this open file */
	__u32 writeback; /* enum pinfs_writeback; DEFAULT for a read pin */
	__u32 reserved32;
	__u64 reserved[2];
	struct pinfs_pin_range ranges[];
};
enum pinfs_access {
	PINFS_ACCESS_READ = 1,
	PINFS_ACCESS_READWRITE = 3, /* the file must be open for writing */
};
enum pinfs_pin_class {
	PINFS_PIN_TRANSIENT = 1, /* for the time of one I/O */
	PINFS_PIN_LONGTERM = 2,  /* as long as the holder likes; needs a lease (PINFS_IOC_LEASE) */
	PINFS_PIN_FAULTABLE = 3, /* long-term, and its stores fault on clean pages: see PINFS_IOC_TRACK */
};
#define PINFS_PIN_ALLOC 0x1
/* What writeback does about blocks pinned for writing. The mount's choice, for each class, is
 * -o writeback_transient= and -o writeback_longterm=; a pin may choose for itself. Where several pins
 * that differ cover a block, the first of FAIL, SKIP, WAIT, BOUNCE that one of them has counts.
 *
 * HOLDER makes memory crash-atomic: the holder alone says when what he has stored is to be kept. His syncs
 * (fsync, PINFS_IOC_SYNC through the pin's open file) bounce as ever; every other writeback leaves the blocks as of the last
 * of these, in fsync by others, background writeback, sync of the mount, and in clones. And if the pin ends without PINFS_IOC_UNPIN
 * because the holder has died, or closed the file, the file goes back to that. So whatever dies when, the range is as the
 * holder's last sync took it. Such blocks can't be pinned for writing by somebody else at the same time (EBUSY). Not for
 * dax files (EINVAL): there is nothing to go back to. */
enum pinfs_writeback {
	PINFS_WRITEBACK_DEFAULT = 0, /* as the mount has it */
	PINFS_WRITEBACK_BOUNCE = 1,  /* a snapshot goes to other blocks; nobody waits */
	PINFS_WRITEBACK_WAIT = 2,    /* transient only: for the unpin, at most transient_ms, then bounce */
	PINFS_WRITEBACK_FAIL = 3,    /* fsync gives EBUSY, nothing is written */
	PINFS_WRITEBACK_SKIP = 4,    /* fsync leaves the block out and says success; EPERM unless -o allow_skip */
	PINFS_WRITEBACK_HOLDER = 5,  /* only the holder's own syncs take it; without an unpin it goes back to the last */
};

#define PINFS_PIN_SIZE(n) (sizeof(struct pinfs_pin) + (n) * sizeof(struct pinfs_pin_range))

/* -- PINFS_IOC_UNPIN: the holder's I/O on the pin's ranges is complete -------
 * ENOENT: no pin of this open file has that id. */
struct pinfs_unpin {
	__u32 size;
	__u32 flags;     /* 0 */
	__u64 id;
	__u64 reserved[2];
};

/* -- PINFS_IOC_TRACK: where the holder of a faultable pin has it mapped --------
 *
 * [off, off+len) of a PINFS_PIN_FAULTABLE write pin is mapped at addr in the calling process, registered
 * there for asynchronous write protection (userfaultfd, UFFD_FEATURE_WP_ASYNC). From now on writeback asks the
 * kernel (PAGEMAP_SCAN) which blocks were stored to, and bounces only those. The holder promises that nothing
 * else stores to the range: no DMA, no other mapping, no child. What of a pin has not been named here counts as
 * dirty at every writeback, as a long-term pin does. len 0 ends it for the whole pin.
 *
 * tracked tells whether the daemon can: 0 means that the pin goes on as a long-term one (kernel before 6.11, or the
 * daemon may not look into the process), reason is an errno that says why.
 * ENOENT not a pin of this open file; EINVAL not a faultable write pin, not in it, not aligned to blocks. */
struct pinfs_track {
	__u32 size;
	__u32 flags;     /* 0 */
	__u64 id;
	__u64 off, len;  /* of the file, whole blocks */
	__u64 addr;
	__u32 tracked;   /* out */
	__u32 reason;    /* out */
	__u64 reserved[2];
};

/* -- PINFS_IOC_EXTENTS: what is mapped where, from off on -------------------
 * Fills up to PINFS_EXTENTS_MAX extents of [off, off+len) and the count; next_off is where
 * to go on (off+len, or EOF, when all fitted). */
#define PINFS_EXTENTS_MAX 128
struct pinfs_extent {
	__u64 off;
	__u64 len;
	__u64 pool_off;  /* or PINFS_POOL_OFF_HOLE */
	__u32 flags;     /* PINFS_EXTENT_... */
	__u32 reserved;
};
#define PINFS_EXTENT_DURABLE 0x1   /* the durable map names this block */
#define PINFS_EXTENT_DIRTY 0x2     /* live content that the next writeback takes */
#define PINFS_EXTENT_UNWRITTEN 0x4 /* preallocated, reads zero */
#define PINFS_EXTENT_RPINNED 0x8
#define PINFS_EXTENT_WPINNED 0x10
#define PINFS_EXTENT_SHARED 0x20   /* another file shares the block (reflink) */
#define PINFS_EXTENT_HOLE 0x40
#define PINFS_EXTENT_CUT 0x80      /* PINFS_IOC_PIN_EXTENTS: in no file any more */
struct pinfs_extents {
	__u32 size;
	__u32 flags;     /* 0 */
	__u64 off;
	__u64 len;
	__u64 next_off;  /* out */
	__u32 count;     /* out */
	__u32 reserved32;
	__u64 reserved[3];
	struct pinfs_extent extents[PINFS_EXTENTS_MAX];
};

/* -- PINFS_IOC_PIN_EXTENTS: the blocks that a pin has fixed ------------------
 * They are the pin's whatever has become of the file since. cursor 0 begins; it comes back for the next
 * call, or as 0 when all have been told. In ranges' order. flags of an extent: PINFS_EXTENT_CUT if the file
 * has let go of it (quarantined), PINFS_EXTENT_HOLE.
 * ENOENT: not a pin of this open file. */
struct pinfs_pin_extents {
	__u32 size;
	__u32 flags;     /* 0 */
	__u64 id;
	__u64 cursor;    /* in, out */
	__u32 count;     /* out */
	__u32 reserved32;
	__u64 reserved[2];
	struct pinfs_extent extents[PINFS_EXTENTS_MAX];
};

/* -- PINFS_IOC_SYNC: make [off, off+len) durable; len 0: to EOF -------------
 * At least that range, as one image of it beside the last image of the rest; all of the file, if its size has
 * changed since that. EBUSY: pinned with PINFS_WRITEBACK_FAIL, nothing was written. With PINFS_SYNC_FS
 * (off and len 0) all that is dirty on the mount, in one commit if it is not too much for one: what
 * syncfs(2) should do, which the kernel does not pass on to a FUSE daemon. */
#define PINFS_SYNC_FS 0x1
struct pinfs_sync_range {
	__u32 size;
	__u32 flags;     /* PINFS_SYNC_FS */
	__u64 off;
	__u64 len;
	__u64 reserved[2];
};

/* -- PINFS_IOC_STATUS: the mount. On any file or directory of it. ------------ */
struct pinfs_status {
	__u32 size;
	__u32 flags;          /* 0 */
	__u32 domain;         /* enum pinfs_domain */
	__u32 block_size;
	__u8 pool_uuid[16];
	char label[64];
	__u64 total_blocks;
	__u64 free_blocks;
	__u64 reserved_blocks;    /* free, but promised to pins and dirty data */
	__u64 quarantined_blocks;
	__u64 data_blocks;
	__u64 node_blocks;
	__u64 inodes;
	__u64 txn_committed;      /* number of the newest durable transaction */
	__u64 pins;
	__u64 pinned_blocks;
	__u64 dirty_inodes;
	__u64 cached_inodes;
	__u64 live_extents;
	__u64 commits;
	__u64 writebacks;
	__u64 written_blocks;     /* by reference and by copy */
	__u64 bounced_blocks;     /* of these, by copy */
	__u64 requests;           /* FUSE requests served */
	__u64 skipped_blocks;     /* left out by PINFS_WRITEBACK_SKIP */
	__u64 held_blocks;        /* quarantined because somebody still has them locked: its client has
	                           * outlived a daemon, or still maps what it has unpinned */
	__u64 leases;
	__u64 lease_breaks;       /* begun */
	__u64 lease_revocations;
	__u64 parked;             /* requests that wait for a lease or a pin now */
	__u64 pool_dev;           /* st_dev and st_ino of the pool file */
	__u64 pool_ino;
	__u32 daemon_pid;
	__u32 readonly;
	__u64 reserved[8];
	char pool_path[4096];     /* absolute; the name it was mounted by */
};

/* -- PINFS_IOC_LIST: pins and leases ------------------------------------------
 * Of the file, or with PINFS_LIST_MOUNT of the whole mount (then on any file or directory of it). cursor 0
 * begins; it comes back for the next call, or as 0 when all have been told. What comes and goes in between may or
 * may not be told; nothing is told twice. A pin of several ranges, or a lease, is an entry for each range.
 * Somebody who is neither root nor the daemon's user is told of his own only. */
#define PINFS_LIST_MOUNT 0x1
#define PINFS_LIST_MAX 128
enum pinfs_list_kind { PINFS_LIST_PIN = 1, PINFS_LIST_LEASE = 2 };
struct pinfs_list_entry {
	__u64 ino;
	__u64 id;
	__u64 off, len;
	__u64 age_ms;
	__u64 left_ms;    /* a lease that is BREAKING: until its deadline; ~0: there is none */
	__u32 pid;        /* of the process that took it */
	__u32 uid;
	__u8 kind;        /* enum pinfs_list_kind */
	__u8 type;        /* enum pinfs_pin_class, or enum pinfs_lease_type */
	__u8 access;      /* enum pinfs_access, of a pin */
	__u8 state;       /* enum pinfs_lease_state; of a pin PINFS_LEASE_HELD or, if it was cut loose, REVOKED */
	__u8 writeback;   /* enum pinfs_writeback in force, of a write pin */
	__u8 tracked;     /* of a faultable pin: all of it */
	__u8 reserved8[2];
	__u64 reserved;
};
struct pinfs_list {
	__u32 size;
	__u32 flags;      /* PINFS_LIST_MOUNT */
	__u64 cursor[2];  /* in, out */
	__u32 count;      /* out */
	__u32 reserved32;
	__u64 reserved[2];
	struct pinfs_list_entry entries[PINFS_LIST_MAX];
};

/* -- PINFS_IOC_LEASE: be told before the layout of a range changes -------------
 *
 * A layout operation (truncate down, punch, zero, collapse, insert, exchange, clone into) by another process on a
 * leased range tells the holder (POLLPRI on the open file, an event in PINFS_IOC_EVENTS, the signal), waits until the
 * lease is released and the range's pins are gone, and goes on then; or at the deadline does what on_deadline
 * says. A lease belongs to the open file and ends with its last close. off is rounded down, the end up to blocks;
 * len 0: to the end of the file however large (2^63-1). With PINFS_LEASE_MODIFY id names a lease of this open file whose
 * type, on_deadline, signal and cookie become those given (off and len must be 0): up- and downgrade.
 *
 * EAGAIN an operation waits for the range, or (MODIFY) the lease is BREAKING; EBUSY an exclusive lease of somebody
 * else is in the way, or (for EXCLUSIVE) any other lease of another open file; ESTALE (MODIFY) it was
 * revoked; ENOENT (MODIFY); EBADF the file is open for reading only, and the lease is one that refuses: exclusive, or
 * on_deadline other than PINFS_DEADLINE_REVOKE; EDQUOT the user's lease_limit; EPERM the daemon may not signal the
 * caller; EINVAL. A process that has become another user's since is not signalled. */
enum pinfs_lease_type { PINFS_LEASE_SHARED = 1, PINFS_LEASE_EXCLUSIVE = 2 };
enum pinfs_lease_state {
	PINFS_LEASE_HELD = 1,
	PINFS_LEASE_BREAKING = 2,
	PINFS_LEASE_REVOKED = 3,
	PINFS_LEASE_RELEASED = 4, /* in events only */
};
enum pinfs_on_deadline {
	PINFS_DEADLINE_REVOKE = 0, /* the lease is revoked, its pins are cut loose, the operation goes on */
	PINFS_DEADLINE_FAIL = 1,   /* the operation fails with EAGAIN, the lease is HELD again */
	PINFS_DEADLINE_WAIT = 2,   /* there is none */
};
#define PINFS_LEASE_MODIFY 0x1
struct pinfs_lease {
	__u32 size;
	__u32 flags;        /* PINFS_LEASE_MODIFY */
	__u64 id;           /* out (MODIFY: in) */
	__u64 off, len;     /* in, out */
	__u32 type;         /* enum pinfs_lease_type */
	__u32 on_deadline;  /* enum pinfs_on_deadline */
	__u32 signal;       /* 0: none; sent to the calling process with si_code SI_QUEUE */
	__u32 reserved32;
	__u64 cookie;       /* si_value of the signal; also in the event */
	__u64 reserved[2];
};

/* -- PINFS_IOC_LEASE_RELEASE: give it back --------------------------------------
 * Operations that waited for it go on in the order in which they came. Succeeds for a revoked one.
 * ENOENT: not a lease of this open file. */
struct pinfs_lease_release {
	__u32 size;
	__u32 flags;        /* 0 */
	__u64 id;
	__u64 reserved[2];
};

/* -- PINFS_IOC_EVENTS: what happened to the leases of this open file ------------
 * Takes up to count of them (0: PINFS_EVENTS_MAX), oldest first; more tells how many are left. The file polls POLLPRI
 * while there are any. Does not wait. Of each type a lease has one unread event at most: a newer one takes its
 * place; and when it is released they go with it. lost counts those that there was no memory for. */
#define PINFS_EVENTS_MAX 64
enum pinfs_event_type {
	PINFS_EVENT_BREAK = 1,    /* an operation waits: release the lease */
	PINFS_EVENT_REVOKED = 2,  /* too late, or -o lease_break=cut: its pins' blocks are in no file any more */
	PINFS_EVENT_RESTORED = 3, /* the operation gave up: the lease is HELD as before */
	PINFS_EVENT_FILLED = 4,   /* a hole in the range got blocks: a read mapping of it still shows zeroes */
};
enum pinfs_layout_op {
	PINFS_OP_TRUNCATE = 1,
	PINFS_OP_PUNCH = 2,
	PINFS_OP_ZERO = 3,
	PINFS_OP_COLLAPSE = 4,
	PINFS_OP_INSERT = 5,
	PINFS_OP_EXCHANGE = 6,
	PINFS_OP_CLONE_INTO = 7,
	PINFS_OP_DAX = 8,         /* the dax attribute is turned on or off */
	PINFS_OP_FILL = 9,        /* blocks for a hole */
};
struct pinfs_event {
	__u32 type;         /* enum pinfs_event_type */
	__u32 op;           /* enum pinfs_layout_op */
	__u64 lease;        /* id */
	__u64 cookie;
	__u64 off, len;     /* what the operation is about, within the lease */
	__u64 deadline_ns;  /* CLOCK_MONOTONIC; 0: none */
	__u64 seq;          /* of this open file, from 1, without gaps but for lost ones */
	__u32 pid;          /* who asked for the operation */
	__u32 reserved;
};
struct pinfs_events {
	__u32 size;
	__u32 flags;        /* 0 */
	__u32 count;        /* in: at most this many, 0 to PINFS_EVENTS_MAX; out: this many are there */
	__u32 more;         /* out */
	__u64 lost;         /* out: since the last call */
	__u64 reserved[2];
	struct pinfs_event events[PINFS_EVENTS_MAX];
};

/* -- PINFS_IOC_COLLAPSE, PINFS_IOC_INSERT: what FUSE's fallocate(2) can't carry --
 * Rules and errors of FALLOC_FL_COLLAPSE_RANGE and FALLOC_FL_INSERT_RANGE; off and len are multiples of 4096. */
struct pinfs_range {
	__u32 size;
	__u32 flags;        /* 0 */
	__u64 off, len;
	__u64 reserved[2];
};

/* -- PINFS_IOC_OFFER, PINFS_IOC_CLONE, PINFS_IOC_EXCHANGE: two files -------------
 *
 * A request reaches the daemon from one open file. To name another one, offer it first: the token is good for one
 * CLONE or EXCHANGE by anybody who was told of it, as long as the offered file is open and for a minute at most. An
 * open file has one offer at a time; the next one replaces it.
 *
 * CLONE: the rules of FICLONERANGE; this file's [dst_off, +len) becomes the offered file's [src_off, +len), len 0: to its
 * end. EXCHANGE: [off, +len) of this file changes places with [other_off, +len) of the offered one; both must be
 * open for reading and writing; block aligned, or up to the end of both; len 0: all from there on, with the ends of the
 * files. After a crash both changes are there, or none.
 * ESTALE: no such offer on this mount. Otherwise errors of FICLONERANGE and XFS_IOC_EXCHANGE_RANGE. */
struct pinfs_offer {
	__u32 size;
	__u32 flags;        /* 0 */
	__u8 token[16];     /* out */
	__u64 reserved[2];
};
struct pinfs_clone {
	__u32 size;
	__u32 flags;        /* 0 */
	__u8 token[16];
	__u64 src_off, len, dst_off;
	__u64 reserved[2];
};
struct pinfs_exchange {
	__u32 size;
	__u32 flags;        /* 0 */
	__u8 token[16];
	__u64 off, len, other_off;
	__u64 reserved[2];
};

/* -- PINFS_IOC_SCRUB: read everything and compare checksums ----------------------
 *
 * On any file or directory of the mount. Nothing is changed; what is found is counted here and logged by the
 * daemon with inode and offset. One scrub at a time; it goes on when its starter is gone. The reply tells how far the scrub is,
 * or how the last one ended; it does not wait for one to end. START and CANCEL: EPERM neither root nor the
 * user that the daemon runs as; EBUSY (START) one is running. CANCEL without a scrub is no error. */
enum pinfs_scrub_op {
	PINFS_SCRUB_STATUS = 0,
	PINFS_SCRUB_START = 1,
	PINFS_SCRUB_CANCEL = 2,
};
enum pinfs_scrub_state {
	PINFS_SCRUB_NEVER = 0,     /* since the mount */
	PINFS_SCRUB_RUNNING = 1,
	PINFS_SCRUB_DONE = 2,
	PINFS_SCRUB_CANCELLED = 3,
};
struct pinfs_scrub {
	__u32 size;
	__u32 flags;         /* 0 */
	__u32 op;            /* in: enum pinfs_scrub_op */
	__u32 state;         /* out, as all that follows: enum pinfs_scrub_state */
	__u64 bytes_per_s;   /* in, too (START): at most that fast; 0: no limit */
	__u64 done_bytes;    /* read so far */
	__u64 total_bytes;   /* in use when it began; what is shared or written meanwhile is not counted */
	__u64 nodes;         /* looked at: nodes of the tree, inodes, blocks of files with checksums */
	__u64 inodes;
	__u64 blocks;
	__u64 node_errors;   /* damaged, of these */
	__u64 inode_errors;
	__u64 block_errors;
	__u64 known_blocks;  /* damaged, and marked so by fsck.pinfs(8): not among the errors */
	__s64 started;       /* seconds since 1970; 0: not yet */
	__s64 ended;
	__u64 reserved[4];
};

#define PINFS_IOC_INFO _IOWR(PINFS_IOC_MAGIC, 1, struct pinfs_info)
#define PINFS_IOC_PIN(n) \
	_IOC(_IOC_READ | _IOC_WRITE, PINFS_IOC_MAGIC, 2, PINFS_PIN_SIZE(n))
#define PINFS_IOC_UNPIN _IOW(PINFS_IOC_MAGIC, 3, struct pinfs_unpin)
#define PINFS_IOC_EXTENTS _IOWR(PINFS_IOC_MAGIC, 4, struct pinfs_extents)
#define PINFS_IOC_SYNC _IOW(PINFS_IOC_MAGIC, 5, struct pinfs_sync_range)
#define PINFS_IOC_STATUS _IOWR(PINFS_IOC_MAGIC, 6, struct pinfs_status)
/* Does nothing: the round trip that everything else is measured against. */
#define PINFS_IOC_NOOP _IO(PINFS_IOC_MAGIC, 7)
#define PINFS_IOC_TRACK _IOWR(PINFS_IOC_MAGIC, 8, struct pinfs_track)
#define PINFS_IOC_PIN_EXTENTS _IOWR(PINFS_IOC_MAGIC, 9, struct pinfs_pin_extents)
#define PINFS_IOC_LIST _IOWR(PINFS_IOC_MAGIC, 10, struct pinfs_list)
#define PINFS_IOC_LEASE _IOWR(PINFS_IOC_MAGIC, 16, struct pinfs_lease)
#define PINFS_IOC_LEASE_RELEASE _IOW(PINFS_IOC_MAGIC, 17, struct pinfs_lease_release)
#define PINFS_IOC_EVENTS _IOWR(PINFS_IOC_MAGIC, 18, struct pinfs_events)
#define PINFS_IOC_COLLAPSE _IOW(PINFS_IOC_MAGIC, 24, struct pinfs_range)
#define PINFS_IOC_INSERT _IOW(PINFS_IOC_MAGIC, 25, struct pinfs_range)
#define PINFS_IOC_OFFER _IOWR(PINFS_IOC_MAGIC, 26, struct pinfs_offer)
#define PINFS_IOC_CLONE _IOW(PINFS_IOC_MAGIC, 27, struct pinfs_clone)
#define PINFS_IOC_EXCHANGE _IOW(PINFS_IOC_MAGIC, 28, struct pinfs_exchange)
#define PINFS_IOC_SCRUB _IOWR(PINFS_IOC_MAGIC, 32, struct pinfs_scrub)

#ifdef __cplusplus
}
#endif
#endif
