/* SPDX-License-Identifier: BSD-3-Clause */
/* The inside of a node.
 *
 * A leaf is two stacks that grow towards each other: slots, in the order of their keys, up
 * from the header, and values, in no order, down from the end of the block. free_low is
 * where the lowest value begins. A value that goes away leaves a gap; gaps are only
 * counted (garbage), and closed all at once when an item does not fit between
 * the stacks but would fit with them. So at all times
 *
 *     header + nr slots <= free_low
 *     free_low + garbage + the lengths of all values = BLK_SIZE
 *
 * An inner node is just its slots. The key of its first slot is never compared, as
 * that child takes everything below the second, and need not be a lower bound of
 * what is below it: so when two nodes become one, the key of the slot that was
 * the first of the right one comes from their parent.
 */
#include "pmem/node.h"

#include <string.h>

#include "pmem/crc.h"

static uint8_t *
node_byte(struct node_header *n, size_t off)
{
	return (uint8_t *)n + off;
}

/* ---- checking what the medium says ---- */

static const char *
key_range_check(const struct node_expect *x, struct tree_key first, struct tree_key last)
{
	if (x->low && tree_key_cmp(first, *x->low) < 0)
		return "a key lies below the node's range";
	if (x->high && tree_key_cmp(last, *x->high) >= 0)
		return "a key lies above the node's range";
	return NULL;
}

static const char *
leaf_check(const struct node_header *n, const struct node_expect *x)
{
	const struct leaf_slot *s = leaf_slots(n);
	size_t values = 0;

	if (n->nr > NODE_SPACE / sizeof(*s))
		return "more slots than fit";
	if (n->free_low > BLK_SIZE || n->free_low < sizeof(*n) + n->nr * sizeof(*s))
		return "values overlap the slots";
	for (unsigned i = 0; i < n->nr; i++) {
		if (s[i].reserved != 0)
			return "reserved bits of a slot are set";
		if (s[i].len > ITEM_VALUE_MAX)
			return "a value is longer than allowed";
		if (s[i].len == 0 && s[i].off != 0)
			return "an empty value has a place";
		if (s[i].len > 0 && (s[i].off < n->free_low || s[i].off + s[i].len > BLK_SIZE))
			return "a value lies outside the value area";
		if (i > 0 && tree_key_cmp(leaf_key(n, i - 1), leaf_key(n, i)) >= 0)
			return "keys are out of order";
		values += s[i].len;
	}
	if (n->free_low + n->garbage + values != BLK_SIZE)
		return "the value area does not add up";
	return key_range_check(x, leaf_key(n, 0), leaf_key(n, n->nr - 1u));
}

static const char *
inner_check(const struct node_header *n, const struct node_expect *x)
{
	const struct inner_slot *s = inner_slots(n);

	if (n->nr > INNER_SLOTS_MAX)
		return "more slots than fit";
	if (n->free_low != 0 || n->garbage != 0)
		return "an inner node states a value area";
	for (unsigned i = 0; i < n->nr; i++) {
		if (s[i].child.flags != 0)
			return "unknown flags on a child";
		if (i > 1 && tree_key_cmp(inner_key(n, i - 1), inner_key(n, i)) >= 0)
			return "keys are out of order";
	}
	if (n->nr == 1)
		return NULL;
	return key_range_check(x, inner_key(n, 1), inner_key(n, n->nr - 1u));
}

const char *
node_check(const struct node_header *n, const struct node_expect *x)
{
	if (n->magic != NODE_MAGIC)
		return "not a tree node";
	if (crc32c(n, BLK_SIZE) != x->crc)
		return "checksum mismatch";
	if (n->block != x->block)
		return "the node belongs to another place";
	if (n->owner != x->owner)
		return "the node belongs to another pool";
	if (x->level < 0 ? n->level >= NODE_LEVELS_MAX : n->level != x->level)
		return "wrong level";
	if (n->txn > x->txn_max)
		return "the node is newer than the root";
	if (n->nr == 0)
		return "the node is empty";
	return n->level == 0 ? leaf_check(n, x) : inner_check(n, x);
}

void
node_init(struct node_header *n, pblk_t block, unsigned level, uint64_t txn, uint32_t owner)
{
	memset(n, 0, BLK_SIZE); /* what the block held before is nobody's business */
	n->magic = NODE_MAGIC;
	n->level = (uint16_t)level;
	n->block = block;
	n->txn = txn;
	n->owner = owner;
	if (level == 0)
		n->free_low = BLK_SIZE;
}

/* ---- leaves ---- */

/* Bytes between the two stacks. */
static size_t
leaf_gap(const struct node_header *n)
{
	return n->free_low - sizeof(*n) - n->nr * sizeof(struct leaf_slot);
}

/* Close the gaps between values. */
static void
leaf_compact(struct node_header *n)
{
	struct leaf_slot *s = leaf_slots(n);
	uint8_t values[BLK_SIZE];
	size_t low = BLK_SIZE;

	if (n->garbage == 0)
		return;
	memcpy(values + n->free_low, node_byte(n, n->free_low), BLK_SIZE - n->free_low);
	for (unsigned i = 0; i < n->nr; i++) {
		if (s[i].len == 0)
			continue;
		low -= s[i].len;
		memcpy(node_byte(n, low), values + s[i].off, s[i].len);
		s[i].off = (uint16_t)low;
	}
	n->free_low = (uint16_t)low;
	n->garbage = 0;
}

/* Room for a value at the bottom of the value stack; the caller has seen to the gap. */
static void
value_store(struct node_header *n, struct leaf_slot *s, const void *value, size_t len)
{
	s->len = (uint16_t)len;
	s->off = 0;
	if (len == 0)
		return;
	n->free_low = (uint16_t)(n->free_low - len);
	s->off = n->free_low;
	memcpy(node_byte(n, s->off), value, len);
}

static void
value_drop(struct node_header *n, struct leaf_slot *s)
{
	if (s->len > 0 && s->off == n->free_low)
		n->free_low = (uint16_t)(n->free_low + s->len);
	else
		n->garbage = (uint16_t)(n->garbage + s->len);
	s->off = 0;
	s->len = 0;
}

void
leaf_insert(struct node_header *n, unsigned pos, struct tree_key key, const void *value, size_t len)
{
	struct leaf_slot *s = leaf_slots(n) + pos;

	if (leaf_gap(n) < leaf_item_bytes(len))
		leaf_compact(n);
	memmove(s + 1, s, (n->nr - pos) * sizeof(*s));
	n->nr++;
	*s = (struct leaf_slot){ .hi = key.hi, .lo = key.lo };
	value_store(n, s, value, len);
}

void
leaf_replace(struct node_header *n, unsigned pos, const void *value, size_t len)
{
	struct leaf_slot *s = leaf_slots(n) + pos;

	if (len > 0 && len <= s->len) {
		/* Keep the tail, so that the lowest value goes on beginning at free_low. */
		n->garbage = (uint16_t)(n->garbage + (s->len - len));
		memcpy(node_byte(n, s->off), value, len);
		s->len = (uint16_t)len;
		return;
	}
	value_drop(n, s);
	if (leaf_gap(n) < len)
		leaf_compact(n);
	value_store(n, s, value, len);
}

void
leaf_remove(struct node_header *n, unsigned pos)
{
	struct leaf_slot *s = leaf_slots(n) + pos;

	value_drop(n, s);
	n->nr--;
	memmove(s, s + 1, (n->nr - pos) * sizeof(*s));
	if (n->nr == 0) {
		n->free_low = BLK_SIZE;
		n->garbage = 0;
	}
}

/* Copy items from..to-1 of src to dst's slots at pos, which are free already. */
static void
leaf_copy_items(struct node_header *dst, unsigned pos, const struct node_header *src, unsigned from,
    unsigned to)
{
	const struct leaf_slot *in = leaf_slots(src);
	struct leaf_slot *out = leaf_slots(dst) + pos;

	for (unsigned i = from; i < to; i++, out++) {
		*out = (struct leaf_slot){ .hi = in[i].hi, .lo = in[i].lo };
		value_store(dst, out, leaf_value(src, i), in[i].len);
	}
}

static void
leaf_truncate(struct node_header *n, unsigned nr)
{
	for (unsigned i = nr; i < n->nr; i++)
		value_drop(n, leaf_slots(n) + i);
	n->nr = (uint16_t)nr;
	if (nr == 0) {
		n->free_low = BLK_SIZE;
		n->garbage = 0;
	}
}

/* How many of the items, the new one at pos counted, stay on the left.
 *
 * At either end of the node the new one is alone. At the end of the items of one object (hi) it
 * becomes the last one on the left, so that what is appended to the object next fills that node
 * up. Otherwise the two sides become as alike as can be. Items are at most a
 * third of a node, so in each case both fit. */
static unsigned
leaf_split_point(const struct node_header *n, unsigned pos, struct tree_key key, size_t len)
{
	const struct leaf_slot *s = leaf_slots(n);
	size_t all = leaf_used(n) + leaf_item_bytes(len), left = 0;
	unsigned items = n->nr + 1u;

	if (pos == n->nr)
		return n->nr;
	if (pos == 0)
		return 1;
	if (s[pos - 1].hi == key.hi && s[pos].hi != key.hi) {
		for (unsigned i = 0; i < pos; i++)
			left += leaf_item_bytes(s[i].len);
		return left + leaf_item_bytes(len) <= NODE_SPACE ? pos + 1 : pos;
	}
	for (unsigned i = 0; i < items; i++) {
		size_t bytes = leaf_item_bytes(i == pos ? len : s[i - (i > pos)].len);

		/* Past the middle: is it nearer with this item or without it? */
		if (2 * (left + bytes) >= all)
			return i > 0 && 2 * left + bytes > all ? i : i + 1;
		left += bytes;
	}
	return items - 1;
}

void
leaf_split(struct node_header *n, struct node_header *right, unsigned pos, struct tree_key key,
    const void *value, size_t len)
{
	unsigned stay = leaf_split_point(n, pos, key, len);
	bool new_stays = pos < stay;
	unsigned old_stay = stay - new_stays;

	right->nr = (uint16_t)(n->nr - old_stay);
	leaf_copy_items(right, 0, n, old_stay, n->nr);
	leaf_truncate(n, old_stay);
	if (new_stays)
		leaf_insert(n, pos, key, value, len);
	else
		leaf_insert(right, pos - stay, key, value, len);
}

/* Make room for the slots and values of other at slot pos. */
static void
leaf_open(struct node_header *n, unsigned pos, const struct node_header *other)
{
	struct leaf_slot *s = leaf_slots(n) + pos;

	if (leaf_gap(n) < leaf_used(other))
		leaf_compact(n);
	memmove(s + other->nr, s, (n->nr - pos) * sizeof(*s));
	n->nr = (uint16_t)(n->nr + other->nr);
}

void
leaf_merge_right(struct node_header *n, const struct node_header *right)
{
	unsigned nr = n->nr;

	leaf_open(n, nr, right);
	leaf_copy_items(n, nr, right, 0, right->nr);
}

void
leaf_merge_left(struct node_header *n, const struct node_header *left)
{
	leaf_open(n, 0, left);
	leaf_copy_items(n, 0, left, 0, left->nr);
}

/* ---- inner nodes ---- */

void
inner_insert(struct node_header *n, unsigned pos, struct tree_key key, const struct node_ref *child)
{
	struct inner_slot *s = inner_slots(n) + pos;

	memmove(s + 1, s, (n->nr - pos) * sizeof(*s));
	*s = (struct inner_slot){ .hi = key.hi, .lo = key.lo, .child = *child };
	n->nr++;
}

void
inner_remove(struct node_header *n, unsigned pos)
{
	struct inner_slot *s = inner_slots(n) + pos;

	n->nr--;
	memmove(s, s + 1, (n->nr - pos) * sizeof(*s));
}

void
inner_split(struct node_header *n, struct node_header *right, unsigned pos, struct tree_key key,
    const struct node_ref *child)
{
	unsigned stay = pos == n->nr ? n->nr : (n->nr + 1u) / 2;
	bool new_stays = pos < stay;
	unsigned old_stay = stay - new_stays;

	right->nr = (uint16_t)(n->nr - old_stay);
	memcpy(inner_slots(right), inner_slots(n) + old_stay, right->nr * sizeof(struct inner_slot));
	n->nr = (uint16_t)old_stay;
	if (new_stays)
		inner_insert(n, pos, key, child);
	else
		inner_insert(right, pos - stay, key, child);
}

void
inner_merge_right(struct node_header *n, const struct node_header *right, struct tree_key sep)
{
	struct inner_slot *s = inner_slots(n) + n->nr;

	memcpy(s, inner_slots(right), right->nr * sizeof(*s));
	s->hi = sep.hi;
	s->lo = sep.lo;
	n->nr = (uint16_t)(n->nr + right->nr);
}

void
inner_merge_left(struct node_header *n, const struct node_header *left, struct tree_key sep)
{
	struct inner_slot *s = inner_slots(n);

	memmove(s + left->nr, s, n->nr * sizeof(*s));
	s[left->nr].hi = sep.hi;
	s[left->nr].lo = sep.lo;
	memcpy(s, inner_slots(left), left->nr * sizeof(*s));
	n->nr = (uint16_t)(n->nr + left->nr);
}
