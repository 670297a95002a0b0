/* SPDX-License-Identifier: BSD-3-Clause */
/* The copy-on-write B+tree of items.
 *
 * Every item is a key (format.h) and a value of 0..ITEM_VALUE_MAX bytes. Nodes
 * lie in the mapped pool; each is named by {block, CRC} in its parent, so the
 * whole tree verifies from the root block. A node is verified (CRC, own address,
 * level, slot bounds, key order) once per mount, on first touch.
 *
 * A node of a committed (or closed) transaction is immutable: a change copies
 * the path down to it into the open transaction, where nodes are changed in place.
 *
 * Lookups take LOCK_TREE shared and may run in any thread without a
 * transaction; they see what open transactions did so far. Changes need a
 * struct txn (txn.h) and take LOCK_TREE exclusive for the moment they last.
 *
 * Errors: -EIO damaged node (logged with its address and why), -ENOENT,
 * -EEXIST, -ENOMEM. A change never fails with -ENOSPC: its txn has reserved.
 * A change that fails has changed nothing. A value longer than ITEM_VALUE_MAX is -EINVAL.
 */
#ifndef PINFS_PMEM_TREE_H
#define PINFS_PMEM_TREE_H

#include <sys/types.h>
#include "pmem/format.h"

struct pool;
struct txn;

/* Copy the value of key into buf (size bytes; a longer value is -EIO: the
 * caller knows how long a value may be). Returns its length. */
ssize_t tree_get(struct pool *p, struct tree_key key, void *buf, size_t size);

/* Return > 0 to stop, 0 to go on, < 0 to stop with that error. value points
 * into the node and may be unaligned: copy what has to be kept. Runs with
 * LOCK_TREE held shared: it must not call into the tree. */
typedef int tree_visit_fn(void *arg, struct tree_key key, const void *value, size_t len);

/* Visit items with from <= key <= to in ascending order; tree_scan_back in
 * descending order. Returns what stopped it, or 0. */
int tree_scan(struct pool *p, struct tree_key from, struct tree_key to, tree_visit_fn *fn, void *arg);
int tree_scan_back(struct pool *p, struct tree_key from, struct tree_key to, tree_visit_fn *fn, void *arg);

/* -EEXIST if the key is there. */
int tree_insert(struct txn *t, struct tree_key key, const void *value, size_t len);
/* Insert or replace. */
int tree_put(struct txn *t, struct tree_key key, const void *value, size_t len);
/* -ENOENT if it is not there. */
int tree_delete(struct txn *t, struct tree_key key);
/* Copy and verify the path to key without changing an item, so that a change to
 * key later in this operation can't meet damage (-EIO now instead). It takes credits as a change does. */
int tree_touch(struct txn *t, struct tree_key key);

/* Visit every node of the committed tree top-down, in the order of keys (mount, fsck, scrub).
 * Each is checked anew, whether it was before or not; a damaged one is reported through fn with its
 * error and not descended into. fn may return != 0 to stop: that is returned. Commits wait
 * until the walk is over, so fn must not wait for one. */
struct tree_walk_node {
	pblk_t block;
	unsigned level;
	int error;                       /* 0, or -EIO with why set */
	const char *why;
	const struct node_header *node;  /* valid if error is 0 */
};
typedef int tree_walk_fn(void *arg, const struct tree_walk_node *wn);
int tree_walk(struct pool *p, tree_walk_fn *fn, void *arg);
/* One step of a scrub: check the leaf that *at belongs to as if for the first time, and the nodes above it whose
 * first leaf it is; *at becomes the first key that may be in the next leaf. 1; 0 at the end. Only the operations that
 * are going on hold up a step, and a step them. Nodes that are not on the medium yet are passed over;
 * one that fails is not trusted any more. fn is called as by tree_walk, with the tree locked. */
int tree_check_next(struct pool *p, struct tree_key *at, tree_walk_fn *fn, void *arg);
/* Items of a verified leaf, for a tree_walk_fn or a leaf that tree_walk has verified. */
unsigned leaf_count(const struct node_header *leaf);
void leaf_item(const struct node_header *leaf, unsigned i, struct tree_key *key, const void **value,
    size_t *len);

#endif
