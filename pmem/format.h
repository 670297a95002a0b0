/* SPDX-License-Identifier: BSD-3-Clause */
/* What lies on the medium, byte by byte. doc/MEDIUM.md says the same in prose;
 * a unit test compares the sizes and offsets of the two.
 *
 * All integers are little-endian (the build refuses a big-endian host), all
 * structures are naturally aligned without padding that is not named, and all
 * reserved fields are zero. CRCs are CRC32C (Castagnoli), initial value and
 * final xor 0xffffffff, as iSCSI and ext4 use it.
 *
 * Nothing read through these structures is trusted: pmem/ checks what is its
 * own (roots, node headers, slots), fs/ checks the values of its items.
 */
#ifndef PINFS_PMEM_FORMAT_H
#define PINFS_PMEM_FORMAT_H

#include "pmem/types.h"

#define POOL_MAGIC "PINFSv1\n" /* 8 bytes, no terminator */
#define POOL_VERSION 1u
#define ROOT_SLOTS 2u          /* blocks 0 and 1 */
#define POOL_FIRST_BLOCK 2u    /* first block that can be allocated */
#define POOL_MIN_BYTES (1u << 20)
#define POOL_TREES_MAX 16u     /* room in the root; version 1 uses tree 0 */

/* Feature bits. compat: an older implementation may ignore it. ro_compat: it
 * may mount read-only. incompat: it must refuse. */
#define FEATURE_COMPAT_SUPP 0ull
#define FEATURE_RO_COMPAT_SUPP 0ull
#define FEATURE_INCOMPAT_SUPP 0ull
/* Of metadata images only, which nobody mounts: there is no content; names don't fit their hashes. */
#define FEATURE_INCOMPAT_IMAGE 1ull
#define FEATURE_INCOMPAT_HIDDEN 2ull

/* A node of the tree is named by where it is and what it contains. */
struct node_ref {
	uint64_t block; /* PBLK_NONE: empty tree */
	uint32_t crc;   /* of the whole 4 KiB node */
	uint32_t flags; /* 0 on the medium; NODE_REF_DIRTY in memory only */
};
/* The child was made in the open transaction: its CRC is not known yet. The
 * commit clears it; one found on the medium is damage. */
#define NODE_REF_DIRTY 1u

struct root_block {
	char magic[8];
	uint32_t version;
	uint32_t crc;            /* of this 4 KiB block with crc = 0 */
	uint8_t uuid[16];
	uint64_t feature_compat;
	uint64_t feature_ro_compat;
	uint64_t feature_incompat;
	uint64_t txn;            /* transaction number; slot = txn % ROOT_SLOTS */
	uint64_t nblocks;        /* size of the pool in blocks, root slots included */
	uint64_t mkfs_time_ns;   /* CLOCK_REALTIME */
	uint64_t commit_time_ns; /* CLOCK_REALTIME */
	uint64_t next_ino;       /* lowest inode number never used */
	uint64_t ninodes;        /* inodes in use (checked by fsck) */
	uint64_t data_blocks;    /* distinct data blocks in use (checked by fsck) */
	uint64_t node_blocks;    /* tree nodes in use (checked by fsck) */
	uint8_t hash_seed[16];   /* SipHash key of directory name hashes */
	uint32_t flags;          /* ROOT_CLEAN */
	uint32_t ntrees;
	char label[64];          /* UTF-8, zero padded */
	struct node_ref tree[POOL_TREES_MAX];
	uint8_t reserved[4096 - 464];
};
#define ROOT_CLEAN 1u /* written by a clean unmount: no orphans, nothing volatile */

/* A key is 128 bits: hi = inode number << 8 | item type, lo = offset. Keys sort
 * as (hi, lo). Inode numbers are below 2^56. */
struct tree_key {
	uint64_t hi;
	uint64_t lo;
};

enum item_type {
	ITEM_INODE = 1,   /* lo 0: struct inode_item */
	ITEM_SYMLINK = 2, /* lo = chunk number: target, ITEM_CHUNK bytes a chunk */
	ITEM_XATTR = 3,   /* lo = name hash with slot and chunk: struct xattr_item */
	ITEM_DIRENT = 4,  /* lo = name hash with slot: struct dirent_item */
	ITEM_EXTENT = 5,  /* lo = file block: struct extent_item */
	ITEM_REFCOUNT = 6,/* inode number 0; lo = pool block: struct refcount_item */
	ITEM_ORPHAN = 7,  /* inode number 0; lo = inode number: no value */
};
#define INO_NONE 0ull   /* owns what belongs to the filesystem as a whole */
#define INO_ROOT 1ull
#define INO_MAX ((1ull << 56) - 1)

#define NODE_MAGIC 0x646e6950u /* "Pind" */
#define NODE_LEVELS_MAX 12u

struct node_header {
	uint32_t magic;
	uint16_t level;  /* 0 = leaf */
	uint16_t nr;     /* slots in use */
	uint64_t block;  /* its own place: a misplaced node can be told */
	uint64_t txn;    /* transaction that wrote it */
	uint16_t free_low;  /* leaf: first byte of the value area in use */
	uint16_t garbage;   /* leaf: bytes of dead values above free_low */
	uint32_t owner;  /* CRC of the root's uuid and hash_seed: a node of this very pool */
};

/* Leaf: slots grow up from the header, values grow down from the end. */
struct leaf_slot {
	uint64_t hi;
	uint64_t lo;
	uint16_t off;   /* of the value in the node; 0 if len is 0 */
	uint16_t len;
	uint32_t reserved;
};

/* Inner node: nr children; hi/lo is the lowest key below the child (the first
 * one's is not compared: it counts as the lowest of all). */
struct inner_slot {
	uint64_t hi;
	uint64_t lo;
	struct node_ref child;
};

#define NODE_SPACE (BLK_SIZE - sizeof(struct node_header))
#define INNER_SLOTS_MAX (NODE_SPACE / sizeof(struct inner_slot))
/* Three of the largest items fit in a leaf, so that a split always helps. */
#define ITEM_VALUE_MAX 1280u
#define ITEM_CHUNK 1024u /* payload of one chunk of a symlink or xattr value */

/* ---- items of fs/ ------------------------------------------------------ */

struct inode_item {
	uint64_t size;       /* bytes, as of the last writeback */
	uint64_t nblocks;    /* data blocks its extents name (shared ones too) */
	uint32_t mode;       /* st_mode: type and permissions */
	uint32_t nlink;
	uint32_t uid;
	uint32_t gid;
	uint32_t rdev_major;
	uint32_t rdev_minor;
	uint32_t flags;      /* INODE_FL_... */
	uint32_t generation;
	int64_t atime_sec;
	int64_t mtime_sec;
	int64_t ctime_sec;
	int64_t btime_sec;
	uint32_t atime_nsec;
	uint32_t mtime_nsec;
	uint32_t ctime_nsec;
	uint32_t btime_nsec;
	uint64_t parent;     /* directory: its parent's inode number */
	uint64_t nentries;   /* directory: entries other than . and .. */
	uint32_t projid;
	uint32_t reserved;
	uint64_t reserved2;
};

#define INODE_FL_IMMUTABLE 0x1u
#define INODE_FL_APPEND 0x2u
#define INODE_FL_NOATIME 0x4u
#define INODE_FL_NODUMP 0x8u
#define INODE_FL_SYNC 0x10u
#define INODE_FL_DAX 0x20u
#define INODE_FL_SUPP 0x3fu

/* A name hash is the upper 59 bits of SipHash-2-4 of the name; the lower four
 * bits of the 63 are a slot, so that up to 16 names with one hash live side by side
 * and each keeps its key, which is also its readdir cookie. The hash value 0
 * becomes 1: cookies below 16 are free for "." and "..". */
#define HASH_SLOT_BITS 4u
#define HASH_SLOTS (1u << HASH_SLOT_BITS)

struct dirent_item {
	uint64_t ino;
	uint8_t type;     /* DT_... of <dirent.h> */
	uint8_t namelen;  /* 1..255 */
	char name[];      /* not terminated */
};
#define DIRENT_ITEM_HEAD 10u /* bytes before name */

/* An attribute's first chunk carries name and total length, the others only
 * payload; data[] holds at most ITEM_CHUNK bytes (all but the last exactly). lo = name hash (48 bits, 0 becomes 1) << 16 | slot << 8 | chunk. */
struct xattr_item {
	uint32_t value_len; /* bytes in all chunks together, at most 65536 */
	uint8_t namelen;    /* in chunk 0; 0 in the others */
	uint8_t reserved[3];
	char data[];        /* chunk 0: name, then payload */
};
#define XATTR_ITEM_HEAD 8u

/* The durable map. csum[i] is the CRC32C of block i of the run; an extent that
 * is unwritten (reads zero) or of a dax inode has none. */
struct extent_item {
	uint64_t pblk;
	uint32_t len;     /* blocks */
	uint32_t flags;
	uint32_t csum[];
};
#define EXTENT_ITEM_HEAD 16u
#define EXTENT_UNWRITTEN 1u
#define EXTENT_NOCSUM 2u
#define EXTENT_DAMAGED 4u                 /* none of its blocks matches its CRC, and that is known: reads fail */
#define EXTENT_CSUM_BLOCKS_MAX 256u     /* longest extent that carries CRCs */
#define EXTENT_NOCSUM_BLOCKS_MAX (1u << 20)

/* A run of blocks that more than one extent names. Runs don't overlap; a block
 * without an entry has one owner. */
struct refcount_item {
	uint32_t len;   /* blocks */
	uint32_t count; /* >= 2 */
};

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the medium is little-endian and so far the host must be, too"
#endif
_Static_assert(sizeof(struct root_block) == BLK_SIZE, "root block");
_Static_assert(sizeof(struct node_ref) == 16, "node ref");
_Static_assert(sizeof(struct node_header) == 32, "node header");
_Static_assert(sizeof(struct leaf_slot) == 24, "leaf slot");
_Static_assert(sizeof(struct inner_slot) == 32, "inner slot");
_Static_assert(sizeof(struct inode_item) == 128, "inode item");

static inline struct tree_key
tree_key(uint64_t ino, enum item_type type, uint64_t lo)
{
	return (struct tree_key){ ino << 8 | (uint64_t)type, lo };
}

static inline int
tree_key_cmp(struct tree_key a, struct tree_key b)
{
	if (a.hi != b.hi)
		return a.hi < b.hi ? -1 : 1;
	return a.lo < b.lo ? -1 : a.lo > b.lo;
}

static inline uint64_t tree_key_ino(struct tree_key k) { return k.hi >> 8; }
static inline enum item_type tree_key_type(struct tree_key k) { return (enum item_type)(k.hi & 0xff); }

#endif
