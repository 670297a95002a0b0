/* SPDX-License-Identifier: BSD-3-Clause */
/* Between the phases of a check. They run in this order, each over the leaves
 * that the first one found:
 *
 *   check_tree.c    roots, nodes, order of keys; gathers inodes, orphans, counts
 *   check_names.c   directory entries, links, parents, reachability
 *   check_files.c   inodes, symlinks, attributes, extents; who owns which block
 *   check_data.c    CRCs of data blocks, in threads
 *   check.c         counters, and what all of them share
 *
 * In a repair the phases say at each finding what is to be changed (fix_...), and repair.c does it.
 * Findings have classes: a repair deals with one class at a time, the lowest that was found, and
 * checks again, since what is found on a higher level may be a consequence.
 */
#ifndef PINFS_FS_CHECK_I_H
#define PINFS_FS_CHECK_I_H

#include <pthread.h>

#include "fs/check.h"
#include "fs/refcount.h"

struct ck_inode {
	uint64_t ino;
	uint64_t parent;      /* as its item says; directories */
	uint64_t seen_dir;    /* directory of the first entry that names it; 0: none so far */
	uint64_t seen_lo;     /* and the key of that entry */
	uint32_t nlink;       /* as its item says */
	uint32_t links;       /* entries that name it */
	uint16_t mode;        /* 0: the item is damaged */
	uint8_t reach;        /* directories: enum ck_reach */
	bool orphan;          /* an orphan item names it */
};

enum ck_class {
	CLASS_TREE,   /* nodes */
	CLASS_ITEMS,  /* items that can't be read, or can't be where they are */
	CLASS_NAMES,  /* entries that lead to the wrong place */
	CLASS_LINKS,  /* counts and sizes, and inodes without names */
	CLASS_BLOCKS, /* who owns a block */
	CLASS_ROOT,   /* figures in the root block */
	CLASS_DATA,   /* content */
	CLASSES
};

enum ck_reach { REACH_UNKNOWN, REACH_WALKING, REACH_YES, REACH_NO };

struct ck_array {
	void *data;
	size_t n, space, size; /* elements in use, allocated; bytes of one */
};

struct ck {
	struct pool *pool;
	const struct check_options *opt;
	struct check_result *res;
	struct fix *fix;          /* NULL: only a check */
	bool no_data;             /* content has been dealt with (repair), or is not there (image) */
	bool no_hashes;           /* an image in which names are hidden */
	struct root_block root;

	struct ck_array leaves;   /* pblk_t, in key order */
	struct ck_array inodes;   /* struct ck_inode, by number */
	struct ck_array counts;   /* struct refcount_run, by start, without overlap */
	struct ck_array orphans;  /* uint64_t */
	uint64_t *node_bits;      /* blocks that are tree nodes */
	uint64_t *data_bits;      /* blocks that extents name */
	bool uncounted;           /* a node or extent is damaged: there is more than was counted */

	pthread_mutex_t report;   /* findings, and the counters in res */
};

/* The whole check; ck_free in any case. c->fix and c->no_data are set, the rest is zero. */
int ck_run(struct ck *c, struct pool *p, const struct check_options *opt, struct check_result *res);
void ck_free(struct ck *c);

/* Phases. */
int ck_tree(struct ck *c);
int ck_names(struct ck *c);
int ck_files(struct ck *c);
int ck_data(struct ck *c);

/* Report. ino may be INO_NONE, offset and block CHECK_NOWHERE. */
void ck_report(struct ck *c, enum check_code code, uint64_t ino, uint64_t offset, pblk_t block,
    const char *fmt, ...) __attribute__((format(printf, 6, 7)));
/* -ECANCELED, or 0. */
int ck_progress(struct ck *c, const char *phase, uint64_t done, uint64_t total);

/* Each item of each leaf, in key order. fn returns < 0 to stop. */
typedef int ck_item_fn(struct ck *c, void *arg, struct tree_key key, const void *value, size_t len);
int ck_each_item(struct ck *c, const char *phase, ck_item_fn *fn, void *arg);

enum ck_class ck_class(enum check_code code);

/* What a repair is to do about the finding that was reported last; without a repair, nothing. Changes are
 * made in the order in which they are asked for. */
void fix_delete(struct ck *c, struct tree_key key);
void fix_delete_range(struct ck *c, struct tree_key from, struct tree_key to);
void fix_put(struct ck *c, struct tree_key key, const void *value, size_t len);
/* Unless there is an item by then. */
void fix_insert(struct ck *c, struct tree_key key, const void *value, size_t len);
/* Some bytes of an item, if it is there and long enough. */
void fix_patch(struct ck *c, struct tree_key key, size_t off, const void *bytes, size_t len);
/* To a free slot of the hash; removed if there is none. */
void fix_move_entry(struct ck *c, struct tree_key key, uint64_t hash);
/* An entry in lost+found. */
void fix_adopt(struct ck *c, uint64_t ino);
/* For ck_report, which holds c->report: keep it until it is known whether something is done about it. */
void fix_note(struct fix *fix, const struct check_finding *f);
/* The inode that takes the place of one that was lost: of that type, with no permissions for others. */
void fix_new_inode(struct ck *c, struct inode_item *item, uint32_t mode, uint64_t size);

/* repair_blocks.c: every block gets the owners and the count that it should have. In a transaction, the tree
 * as committed. */
int fix_blocks(struct ck *c);

/* NULL: there is none. */
struct ck_inode *ck_inode(struct ck *c, uint64_t ino);
/* Room for one more element at the end, zeroed; NULL: no memory. */
void *ck_array_add(struct ck_array *a);
void *ck_array_at(const struct ck_array *a, size_t i);

static inline bool
ck_bit(const uint64_t *bits, pblk_t b)
{
	return bits[b / 64] >> (b % 64) & 1;
}

static inline void
ck_set_bit(uint64_t *bits, pblk_t b)
{
	bits[b / 64] |= 1ull << (b % 64);
}

#endif
