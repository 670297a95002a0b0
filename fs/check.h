/* SPDX-License-Identifier: BSD-3-Clause */
/* Is a pool sound? And if not, can it be made so?
 *
 * The pool is one that nobody has mounted: opened with pool_open, never rebuilt. check_pool
 * reads everything there is and changes nothing (POOL_RDONLY will do, and POOL_IMAGE). Whatever the
 * medium says is looked at with suspicion; damage is reported, and the check goes on with
 * what can still be reached. repair_pool checks and repairs in turns (repair.c).
 *
 * Memory: two bits for each block of the pool, 48 bytes for each inode, 8 for
 * each leaf of the tree, 16 for each run of shared blocks and for each extent that
 * names shared ones. A repair keeps its findings and what it is going to change in addition; of
 * shared blocks with wrong counts, 32 bytes for each extent.
 */
#ifndef PINFS_FS_CHECK_H
#define PINFS_FS_CHECK_H

#include "pmem/pool.h"

/* What can be found. check_code_name() gives the stable name, for scripts and tests. */
enum check_code {
	CHECK_ROOT_SLOT,       /* info */
	CHECK_ROOT_CLEAN,
	CHECK_COUNTER,
	CHECK_NEXT_INO,
	CHECK_NODE,
	CHECK_KEY_ORDER,
	CHECK_ITEM,
	CHECK_NO_INODE,
	CHECK_INODE,
	CHECK_NO_ROOT_DIR,
	CHECK_DIRENT,
	CHECK_DIRENT_HASH,
	CHECK_DIRENT_DUPLICATE,
	CHECK_DIRENT_DANGLING,
	CHECK_DIRENT_TYPE,
	CHECK_DIR_TWICE,
	CHECK_DIR_PARENT,
	CHECK_DIR_UNREACHABLE,
	CHECK_NENTRIES,
	CHECK_NLINK,
	CHECK_ORPHAN_MISSING,
	CHECK_ORPHAN_LINKED,
	CHECK_ORPHAN_GONE,     /* info */
	CHECK_SYMLINK,
	CHECK_XATTR,
	CHECK_EXTENT,
	CHECK_EXTENT_OVERLAP,
	CHECK_EXTENT_EOF,
	CHECK_NBLOCKS,
	CHECK_BLOCK_NODE,
	CHECK_BLOCK_TWICE,
	CHECK_REFCOUNT,
	CHECK_DATA_CRC,
	CHECK_DATA_KNOWN,      /* info */
	CHECK_SALVAGED,        /* info */
	CHECK_CODES
};
const char *check_code_name(enum check_code code);

#define CHECK_NOWHERE UINT64_MAX

struct check_finding {
	enum check_code code;
	bool error;         /* damage; else a remark */
	bool safe;          /* can be repaired with nothing lost */
	uint64_t ino;       /* INO_NONE: no inode's business */
	const char *path;   /* of the inode, as its bytes are; NULL: not known */
	uint64_t offset;    /* bytes in the file, or CHECK_NOWHERE */
	pblk_t block;       /* in the pool, or CHECK_NOWHERE */
	const char *what;
	const char *means;
	const char *repair; /* what is done about it; NULL: nothing */
};

/* What a repair does to blocks of files that don't match their CRCs. */
enum check_data {
	CHECK_DATA_MARK,   /* content and CRCs stay, the extent is marked: reading goes on failing */
	CHECK_DATA_PUNCH,  /* they become holes: what is lost reads as zeroes */
	CHECK_DATA_ACCEPT, /* they get the CRCs of what they hold, whatever that is */
};

struct check_options {
	bool no_data;       /* leave out the CRCs of data blocks */
	enum check_data data; /* repair_pool */
	unsigned threads;   /* for CRCs; 0: as many as there are processors, 2 at least */
	/* Called for each finding, by one thread at a time, not always the same. */
	void (*finding)(void *arg, const struct check_finding *f);
	/* repair_pool: called once, before the first change; an error ends the repair. NULL is allowed. */
	int (*before_change)(void *arg);
	/* Called by the thread that called check_pool; nonzero cancels. NULL is allowed. */
	int (*progress)(void *arg, const char *phase, uint64_t done, uint64_t total);
	void *arg;
};

struct check_result {
	uint64_t errors, infos;
	uint64_t inodes, dirs, orphans;
	uint64_t nodes;
	uint64_t data_blocks;   /* distinct */
	uint64_t shared_blocks; /* of these, with more than one owner */
	uint64_t verified_blocks;
};

/* 0 when the check ran to its end, whatever it found; -ECANCELED; -ENOMEM. */
int check_pool(struct pool *p, const struct check_options *opt, struct check_result *res);

struct repair_result {
	uint64_t repaired;  /* findings that something was done about */
	uint64_t left;      /* errors that are still there */
	uint64_t commits;   /* steps that were made durable, each by itself */
};
/* Check, repair what was found, and check again, until nothing is found. Each step is a transaction:
 * a crash leaves the pool as it was between two of them, which is no worse than before. *res
 * is what the last check counted; findings come with what was done about them, after the fact.
 * An error has left the step that it was met in undone, and the pool can only be closed:
 * -ENOSPC, -EIO, -ENOMEM, -ECANCELED. */
int repair_pool(struct pool *p, const struct check_options *opt, struct check_result *res,
    struct repair_result *rep);

/* The line for a person, without "error:" and newline. Bytes of the path that are no printable
 * ASCII or UTF-8 are escaped. Returns as snprintf does. */
int check_format(const struct check_finding *f, char *buf, size_t size);

#endif
