/* SPDX-License-Identifier: BSD-3-Clause */
/* pinfs: the requests that ioctl(2) takes on files and directories of a mount.
 *
 * No library is needed to use them. All structures have the same layout on 32 and 64
 * bit: only fixed-size fields, naturally aligned, explicit padding. Offsets and lengths are
 * in bytes unless a name says blocks. Reserved fields and unknown flags must be zero
 * (EINVAL otherwise), so that they can get a meaning later. `size` is sizeof the structure as the
 * caller knows it (for PINFS_IOC_PIN: with its ranges) and must match the request.
 *
 * Every request may be used by many threads at once, on one descriptor or several.
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
 * ENOSPC no space for blocks or for the copies that writeback will need. */
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
	__u64 reserved[3];
	struct pinfs_pin_range ranges[];
};
enum pinfs_access {
	PINFS_ACCESS_READ = 1,
	PINFS_ACCESS_READWRITE = 3, /* the file must be open for writing */
};
enum pinfs_pin_class {
	PINFS_PIN_LONGTERM = 2,
};
#define PINFS_PIN_ALLOC 0x1

#define PINFS_PIN_SIZE(n) (sizeof(struct pinfs_pin) + (n) * sizeof(struct pinfs_pin_range))

/* -- PINFS_IOC_UNPIN: the holder's I/O on the pin's ranges is complete -------
 * ENOENT: no pin of this open file has that id. */
struct pinfs_unpin {
	__u32 size;
	__u32 flags;     /* 0 */
	__u64 id;
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

/* -- PINFS_IOC_SYNC: make [off, off+len) durable; len 0: to EOF -------------
 * At least that range: the first version makes the whole file durable. With PINFS_SYNC_FS
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
	__u64 pool_dev;           /* st_dev and st_ino of the pool file */
	__u64 pool_ino;
	__u32 daemon_pid;
	__u32 readonly;
	__u64 reserved[8];
	char pool_path[4096];     /* absolute; the name it was mounted by */
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

#ifdef __cplusplus
}
#endif
#endif
