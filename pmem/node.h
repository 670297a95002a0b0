/* SPDX-License-Identifier: BSD-3-Clause */
/* One node of the tree: 4 KiB in the pool, layout in format.h. For tree*.c only.
 *
 * node_check is the gate for whatever comes from the medium: after it has
 * found nothing, the other functions may rely on the counts, offsets and the order of
 * keys that the node states. Functions that change a node expect it to be one of
 * the open transaction and can't fail: whether there is room is asked before.
 *
 * Locks: the caller holds LOCK_TREE, exclusive for changes (or the node is of a
 * closed transaction, which nobody changes).
 */
#ifndef PINFS_PMEM_NODE_H
#define PINFS_PMEM_NODE_H

#include "pmem/format.h"

/* What whoever refers to a node says about it. */
struct node_expect {
	pblk_t block;
	uint32_t crc;
	int level;         /* -1: a root, any level */
	uint32_t owner;    /* root_node_owner() */
	uint64_t txn_max;  /* no node on the medium is newer */
	/* Keys must be in low..high, high excluded; NULL: no limit. */
	const struct tree_key *low, *high;
};

/* NULL, or what is wrong with the node, in words. */
const char *node_check(const struct node_header *n, const struct node_expect *x);

void node_init(struct node_header *n, pblk_t block, unsigned level, uint64_t txn, uint32_t owner);

static inline struct leaf_slot *
leaf_slots(const struct node_header *n)
{
	return (struct leaf_slot *)(uintptr_t)(n + 1);
}

static inline struct inner_slot *
inner_slots(const struct node_header *n)
{
	return (struct inner_slot *)(uintptr_t)(n + 1);
}

static inline struct tree_key
leaf_key(const struct node_header *n, unsigned i)
{
	return (struct tree_key){ leaf_slots(n)[i].hi, leaf_slots(n)[i].lo };
}

static inline struct tree_key
inner_key(const struct node_header *n, unsigned i)
{
	return (struct tree_key){ inner_slots(n)[i].hi, inner_slots(n)[i].lo };
}

/* One subtraction with borrow instead of two compares and a branch. */
static inline unsigned __int128
key_number(uint64_t hi, uint64_t lo)
{
	return (unsigned __int128)hi << 64 | lo;
}

/* The first slot whose key is not below key (nr: none), and whether it is the
 * very key. The loop halves the range without a branch that could be mispredicted. */
static inline unsigned
leaf_search(const struct node_header *n, struct tree_key key, bool *found)
{
	const struct leaf_slot *base = leaf_slots(n), *slots = base;
	unsigned __int128 want = key_number(key.hi, key.lo);
	unsigned left = n->nr, i;

	*found = false;
	if (left == 0)
		return 0;
	while (left > 1) {
		unsigned half = left / 2;

		base += key_number(base[half - 1].hi, base[half - 1].lo) < want ? half : 0;
		left -= half;
	}
	i = (unsigned)(base - slots) + (key_number(base->hi, base->lo) < want);
	if (i < n->nr)
		*found = slots[i].hi == key.hi && slots[i].lo == key.lo;
	return i;
}

/* The child below which key belongs: the last one whose key is not above it,
 * or the first. */
static inline unsigned
inner_search(const struct node_header *n, struct tree_key key)
{
	const struct inner_slot *base = inner_slots(n), *slots = base;
	unsigned __int128 want = key_number(key.hi, key.lo);
	unsigned left = n->nr;

	while (left > 1) {
		unsigned half = left / 2;

		base += key_number(base[half].hi, base[half].lo) <= want ? half : 0;
		left -= half;
	}
	return (unsigned)(base - slots);
}

/* ---- leaves ---- */

/* Bytes that items take up, slots included. */
static inline size_t
leaf_used(const struct node_header *n)
{
	return n->nr * sizeof(struct leaf_slot) + (BLK_SIZE - n->free_low - n->garbage);
}

/* Bytes that are left, garbage included. */
static inline size_t
leaf_room(const struct node_header *n)
{
	return NODE_SPACE - leaf_used(n);
}

static inline size_t
leaf_item_bytes(size_t len)
{
	return sizeof(struct leaf_slot) + len;
}

static inline const void *
leaf_value(const struct node_header *n, unsigned i)
{
	return (const uint8_t *)n + leaf_slots(n)[i].off;
}

/* Needs room for the item. */
void leaf_insert(struct node_header *n, unsigned pos, struct tree_key key, const void *value, size_t len);
/* Needs room for what the value grows by. */
void leaf_replace(struct node_header *n, unsigned pos, const void *value, size_t len);
void leaf_remove(struct node_header *n, unsigned pos);
/* Insert at pos where there is no room: items move to right, which is empty. Where keys
 * seem to come in order (at the ends of the node, and of the items with one hi) the split is at
 * pos, so that they leave full nodes behind; otherwise both get half of the bytes. */
void leaf_split(struct node_header *n, struct node_header *right, unsigned pos, struct tree_key key,
    const void *value, size_t len);
/* Take in all items of a neighbour that lies behind (before) n. Needs room for them. */
void leaf_merge_right(struct node_header *n, const struct node_header *right);
void leaf_merge_left(struct node_header *n, const struct node_header *left);

/* ---- inner nodes ---- */

/* Needs nr < INNER_SLOTS_MAX. */
void inner_insert(struct node_header *n, unsigned pos, struct tree_key key, const struct node_ref *child);
void inner_remove(struct node_header *n, unsigned pos);
/* Insert into a full node at pos > 0; the upper slots move to right, which is empty. */
void inner_split(struct node_header *n, struct node_header *right, unsigned pos, struct tree_key key,
    const struct node_ref *child);
/* As for leaves; sep is the key by which the parent tells the two apart. */
void inner_merge_right(struct node_header *n, const struct node_header *right, struct tree_key sep);
void inner_merge_left(struct node_header *n, const struct node_header *left, struct tree_key sep);

#endif
