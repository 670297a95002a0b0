/* SPDX-License-Identifier: BSD-3-Clause */
/* Nodes on their own, in plain memory: every change keeps what node_check demands, and
 * node_check finds every kind of damage that a checksum does not. */
#include "pmem/node.h"

#include <stdio.h>
#include <string.h>

#include "pmem/crc.h"
#include "tests/unit/unit.h"

/* As ck_assert, which writes to a file each time that all is well: too slow for what is
 * done a million times. */
#define must(cond) \
	do { \
		if (!(cond)) \
			ck_abort_msg("%s", #cond); \
	} while (0)

#define BLK 77u
#define TXN 5u
#define OWNER 0xfeedu

static _Alignas(BLK_SIZE) uint8_t block_a[BLK_SIZE], block_b[BLK_SIZE];
static struct node_header *const a = (struct node_header *)block_a;
static struct node_header *const b = (struct node_header *)block_b;

static struct tree_key
key(uint64_t n)
{
	return (struct tree_key){ n / 7, n % 7 };
}

static uint64_t
key_value(struct tree_key k)
{
	return k.hi * 7 + k.lo;
}

/* The value of an item is told by its key and a version. */
static const uint8_t *
value_of(uint64_t n, unsigned version, size_t len)
{
	static uint8_t buf[ITEM_VALUE_MAX];

	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)(n * 31 + version * 7 + i);
	return buf;
}

static const char *
check(const struct node_header *n, int level)
{
	struct node_expect x = { .block = BLK, .crc = crc32c(n, BLK_SIZE), .level = level, .owner = OWNER,
		.txn_max = TXN };

	return node_check(n, &x);
}

static void
assert_good(const struct node_header *n, int level)
{
	const char *why = check(n, level);

	if (why)
		ck_abort_msg("%s", why);
}

static void
assert_item(const struct node_header *n, unsigned i, uint64_t k, unsigned version, size_t len)
{
	must(key_value(leaf_key(n, i)) == k);
	must(leaf_slots(n)[i].len == len);
	must(memcmp(leaf_value(n, i), value_of(k, version, len), len) == 0);
}

static void
fill_leaf(struct node_header *n, unsigned items, uint64_t first, uint64_t step, size_t len)
{
	node_init(n, BLK, 0, TXN, OWNER);
	for (unsigned i = 0; i < items; i++)
		leaf_insert(n, i, key(first + i * step), value_of(first + i * step, 0, len), len);
}

START_TEST(leaf_random_changes)
{
	struct { uint64_t k; unsigned version; size_t len; } model[256];
	uint64_t seed = 1;
	unsigned nr = 0;

	node_init(a, BLK, 0, TXN, OWNER);
	for (unsigned step = 0; step < 20000; step++) {
		uint64_t k = unit_random(&seed) % 300;
		size_t len = unit_random(&seed) % (step % 3 ? 60 : ITEM_VALUE_MAX + 1);
		unsigned pos, i;
		bool found;

		for (i = 0; i < nr && model[i].k < k; i++)
			;
		pos = leaf_search(a, key(k), &found);
		must(pos == i);
		must(found == (i < nr && model[i].k == k));
		if (found && unit_random(&seed) % 3 == 0) {
			leaf_remove(a, pos);
			memmove(&model[i], &model[i + 1], (--nr - i) * sizeof(model[0]));
		} else if (found && leaf_room(a) + model[i].len >= len) {
			leaf_replace(a, pos, value_of(k, step, len), len);
			model[i].version = step;
			model[i].len = len;
		} else if (!found && leaf_room(a) >= leaf_item_bytes(len)) {
			leaf_insert(a, pos, key(k), value_of(k, step, len), len);
			memmove(&model[i + 1], &model[i], (nr++ - i) * sizeof(model[0]));
			model[i].k = k;
			model[i].version = step;
			model[i].len = len;
		} else if (nr > 0) {
			i = (unsigned)(unit_random(&seed) % nr);
			leaf_remove(a, i);
			memmove(&model[i], &model[i + 1], (--nr - i) * sizeof(model[0]));
		}
		must(a->nr == nr);
		if (nr > 0)
			assert_good(a, 0);
		for (i = 0; i < nr; i++)
			assert_item(a, i, model[i].k, model[i].version, model[i].len);
	}
}
END_TEST

/* Items 0, 2, 4 ... of random length until one does not fit; then an odd key into each place. */
START_TEST(leaf_split_everywhere)
{
	uint64_t seed = 2;

	for (unsigned round = 0; round < 200; round++) {
		size_t lens[NODE_SPACE / sizeof(struct leaf_slot)], most = round % 2 ? ITEM_VALUE_MAX : 40;
		size_t all = 0;
		unsigned nr = 0;

		for (;;) {
			lens[nr] = unit_random(&seed) % (most + 1);
			all += leaf_item_bytes(lens[nr]);
			if (all > NODE_SPACE)
				break;
			nr++;
		}
		for (unsigned pos = 0; pos <= nr; pos++) {
			size_t len = lens[nr];
			uint64_t k = 2 * pos;
			unsigned item = 0;

			node_init(a, BLK, 0, TXN, OWNER);
			node_init(b, BLK, 0, TXN, OWNER);
			for (unsigned i = 0; i < nr; i++)
				leaf_insert(a, i, key(2 * i + 1), value_of(2 * i + 1, 0, lens[i]), lens[i]);
			leaf_split(a, b, pos, key(k), value_of(k, 1, len), len);
			assert_good(a, 0);
			assert_good(b, 0);
			must(a->nr + b->nr == nr + 1);
			if (pos == nr)
				must(b->nr == 1);
			else if (pos == 0)
				must(a->nr == 1);
			else if (key(k).hi == key(k - 1).hi && key(k).hi != key(k + 1).hi)
				must(a->nr == pos + 1 ||
				    (a->nr == pos && leaf_room(a) < leaf_item_bytes(len)));
			else
				must(min_of(leaf_used(a), leaf_used(b)) >=
				    NODE_SPACE / 2 - leaf_item_bytes(ITEM_VALUE_MAX) / 2);
			for (unsigned i = 0; i <= nr; i++, item++) {
				const struct node_header *n = item < a->nr ? a : b;
				unsigned at = item < a->nr ? item : item - a->nr;

				if (i == pos)
					assert_item(n, at, k, 1, len);
				else
					assert_item(n, at, 2 * (i - (i > pos)) + 1, 0, lens[i - (i > pos)]);
			}
		}
	}
}
END_TEST

START_TEST(leaf_merges)
{
	for (unsigned left = 1; left < 20; left++) {
		unsigned right = 20 - left;

		/* A gap in the node that takes the other in: it has to be closed for it. */
		fill_leaf(a, left, 0, 1, 170);
		fill_leaf(b, right, left, 1, 170);
		leaf_replace(a, 0, value_of(0, 0, 100), 100);
		leaf_merge_right(a, b);
		assert_good(a, 0);
		must(a->nr == 20);
		assert_item(a, 0, 0, 0, 100);
		for (unsigned i = 1; i < 20; i++)
			assert_item(a, i, i, 0, 170);

		fill_leaf(a, left, 0, 1, 170);
		fill_leaf(b, right, left, 1, 170);
		leaf_replace(b, right - 1, value_of(19, 0, 100), 100);
		leaf_merge_left(b, a);
		assert_good(b, 0);
		must(b->nr == 20);
		assert_item(b, 19, 19, 0, 100);
		for (unsigned i = 0; i < 19; i++)
			assert_item(b, i, i, 0, 170);
	}
}
END_TEST

START_TEST(leaf_without_values)
{
	unsigned most = NODE_SPACE / sizeof(struct leaf_slot);
	bool found;

	fill_leaf(a, most, 0, 1, 0);
	assert_good(a, 0);
	ck_assert_uint_lt(leaf_room(a), sizeof(struct leaf_slot));
	ck_assert_uint_eq(leaf_search(a, key(most), &found), most);
	ck_assert(!found);
	for (unsigned i = 0; i < most; i++)
		leaf_remove(a, 0);
	ck_assert_uint_eq(leaf_room(a), NODE_SPACE);
}
END_TEST

static struct node_ref
ref_of(uint64_t n)
{
	return (struct node_ref){ .block = 1000 + n, .crc = (uint32_t)n };
}

static void
fill_inner(struct node_header *n, unsigned slots, uint64_t first, uint64_t step)
{
	node_init(n, BLK, 1, TXN, OWNER);
	for (unsigned i = 0; i < slots; i++) {
		struct node_ref ref = ref_of(first + i * step);

		inner_insert(n, i, key(first + i * step), &ref);
	}
}

static void
assert_slots(const struct node_header *n, unsigned from, uint64_t first, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++) {
		must(inner_slots(n)[from + i].child.block == 1000 + first + i);
		if (from + i > 0)
			must(key_value(inner_key(n, from + i)) == first + i);
	}
}

START_TEST(inner_search_finds_child)
{
	for (unsigned nr = 1; nr <= INNER_SLOTS_MAX; nr++) {
		fill_inner(a, nr, 10, 10);
		for (uint64_t k = 0; k < 10 * nr + 30; k++) {
			uint64_t want = k < 20 ? 0 : min_of(k / 10 - 1, nr - 1u);

			must(inner_search(a, key(k)) == want);
		}
	}
}
END_TEST

START_TEST(inner_split_everywhere)
{
	struct node_ref ref = ref_of(5000);

	for (unsigned pos = 1; pos <= INNER_SLOTS_MAX; pos++) {
		unsigned item = 0;

		fill_inner(a, INNER_SLOTS_MAX, 0, 2);
		node_init(b, BLK, 1, TXN, OWNER);
		inner_split(a, b, pos, key(2 * pos - 1), &ref);
		assert_good(a, 1);
		assert_good(b, 1);
		must(a->nr + b->nr == INNER_SLOTS_MAX + 1);
		if (pos == INNER_SLOTS_MAX)
			must(b->nr == 1);
		else
			must(min_of(a->nr, b->nr) >= INNER_SLOTS_MAX / 2);
		for (unsigned i = 0; i <= INNER_SLOTS_MAX; i++, item++) {
			const struct node_header *n = item < a->nr ? a : b;
			unsigned at = item < a->nr ? item : item - a->nr;
			uint64_t k = i == pos ? 2 * pos - 1 : 2 * (i - (i > pos));

			must(key_value(inner_key(n, at)) == k);
			must(inner_slots(n)[at].child.block == (i == pos ? 6000 : 1000 + k));
		}
	}
}
END_TEST

START_TEST(inner_merges)
{
	for (unsigned left = 1; left < 100; left += 7) {
		/* The right one's first key says nothing: the parent's does. */
		fill_inner(a, left, 0, 1);
		fill_inner(b, 100 - left, left, 1);
		inner_slots(b)[0].hi = ~0ull;
		inner_merge_right(a, b, key(left));
		assert_good(a, 1);
		ck_assert_uint_eq(a->nr, 100);
		assert_slots(a, 0, 0, 100);

		fill_inner(a, left, 0, 1);
		inner_merge_left(b, a, key(left));
		assert_good(b, 1);
		ck_assert_uint_eq(b->nr, 100);
		assert_slots(b, 0, 0, 100);

		for (unsigned i = 0; i < 99; i++)
			inner_remove(b, i % 2 ? 0 : b->nr - 1u);
		ck_assert_uint_eq(b->nr, 1);
		assert_good(b, 1);
	}
}
END_TEST

struct damage {
	const char *what;
	int level;
	void (*make)(struct node_header *n);
};

static void d_magic(struct node_header *n) { n->magic++; }
static void d_block(struct node_header *n) { n->block++; }
static void d_owner(struct node_header *n) { n->owner++; }
static void d_level(struct node_header *n) { n->level++; }
static void d_txn(struct node_header *n) { n->txn = TXN + 1; }
static void d_empty(struct node_header *n) { n->nr = 0; }
static void d_many(struct node_header *n) { n->nr = UINT16_MAX; }
static void d_one_more(struct node_header *n) { n->nr++; }
static void d_free_low_high(struct node_header *n) { n->free_low = UINT16_MAX; }
static void d_free_low_zero(struct node_header *n) { n->free_low = 0; }
static void d_free_low_off(struct node_header *n) { n->free_low--; }
static void d_garbage(struct node_header *n) { n->garbage++; }
static void d_slot_reserved(struct node_header *n) { leaf_slots(n)[2].reserved = 1; }
static void d_len(struct node_header *n) { leaf_slots(n)[2].len = ITEM_VALUE_MAX + 1; }
static void d_len_zero(struct node_header *n) { leaf_slots(n)[2].len = 0; }
static void d_off_low(struct node_header *n) { leaf_slots(n)[2].off = 40; }
static void d_off_high(struct node_header *n) { leaf_slots(n)[2].off = BLK_SIZE - 1; }
static void d_off_max(struct node_header *n) { leaf_slots(n)[2].off = UINT16_MAX; }
static void d_leaf_order(struct node_header *n) { leaf_slots(n)[2].hi = 0; }
static void d_leaf_same(struct node_header *n) { leaf_slots(n)[2].lo = leaf_slots(n)[1].lo; }
static void d_flags(struct node_header *n) { inner_slots(n)[0].child.flags = NODE_REF_DIRTY; }
static void d_flags_unknown(struct node_header *n) { inner_slots(n)[9].child.flags = 1u << 31; }
static void d_inner_order(struct node_header *n) { inner_slots(n)[2].hi = 0; }

static const struct damage damages[] = {
	{ "magic", 0, d_magic }, { "block", 0, d_block }, { "owner", 0, d_owner }, { "level", 0, d_level },
	{ "level", 1, d_level }, { "txn", 0, d_txn }, { "empty", 0, d_empty }, { "empty", 1, d_empty },
	{ "many", 0, d_many }, { "many", 1, d_many }, { "one more", 0, d_one_more },
	{ "free_low high", 0, d_free_low_high }, { "free_low zero", 0, d_free_low_zero },
	{ "free_low off", 0, d_free_low_off }, { "garbage", 0, d_garbage }, { "garbage", 1, d_garbage },
	{ "slot reserved", 0, d_slot_reserved }, { "len", 0, d_len }, { "len zero", 0, d_len_zero },
	{ "off low", 0, d_off_low }, { "off high", 0, d_off_high }, { "off max", 0, d_off_max },
	{ "leaf order", 0, d_leaf_order }, { "leaf same", 0, d_leaf_same }, { "flags", 1, d_flags },
	{ "flags unknown", 1, d_flags_unknown }, { "inner order", 1, d_inner_order },
};

START_TEST(check_finds_damage)
{
	const struct damage *d = &damages[_i];

	if (d->level == 0)
		fill_leaf(a, 10, 20, 1, 30);
	else
		fill_inner(a, 10, 20, 7);
	assert_good(a, d->level);
	d->make(a);
	ck_assert_msg(check(a, d->level), "%s was not found", d->what);
}
END_TEST

START_TEST(check_compares_with_the_ref)
{
	struct tree_key low = key(20), high = key(30), above = key(21), below = key(29);
	struct node_expect x = { .block = BLK, .level = 0, .owner = OWNER, .txn_max = TXN, .low = &low, .high = &high };

	fill_leaf(a, 10, 20, 1, 30);
	x.crc = crc32c(a, BLK_SIZE);
	ck_assert(!node_check(a, &x));
	x.crc ^= 1;
	ck_assert(node_check(a, &x));
	x.crc ^= 1;
	x.low = &above;
	ck_assert(node_check(a, &x));
	x.low = &low;
	x.high = &below;
	ck_assert(node_check(a, &x));
	x.high = &high;
	x.level = 1;
	ck_assert(node_check(a, &x));
	x.level = -1;
	ck_assert(!node_check(a, &x));
	x.txn_max = TXN - 1;
	ck_assert(node_check(a, &x));
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("node");
	TCase *c = tcase_create("node");

	tcase_add_test(c, leaf_random_changes);
	tcase_add_test(c, leaf_split_everywhere);
	tcase_add_test(c, leaf_merges);
	tcase_add_test(c, leaf_without_values);
	tcase_add_test(c, inner_search_finds_child);
	tcase_add_test(c, inner_split_everywhere);
	tcase_add_test(c, inner_merges);
	tcase_add_loop_test(c, check_finds_damage, 0, (int)(sizeof(damages) / sizeof(damages[0])));
	tcase_add_test(c, check_compares_with_the_ref);
	suite_add_tcase(s, c);
	return unit_main(s);
}
