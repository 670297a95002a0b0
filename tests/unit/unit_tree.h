/* SPDX-License-Identifier: BSD-3-Clause */
/* For the tests of the tree: a sorted array beside it as the model. */
#ifndef PINFS_TESTS_UNIT_TREE_H
#define PINFS_TESTS_UNIT_TREE_H

#include "pmem/tree.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "pmem/log.h"
#include "pmem/pool.h"
#include "tests/unit/unit.h"

/* As ck_assert, which writes to a file each time that all is well: too slow for what is
 * done a million times. */
#define must(cond) \
	do { \
		if (!(cond)) \
			ck_abort_msg("%s", #cond); \
	} while (0)

/* ---- the model ---- */

struct item {
	struct tree_key key;
	unsigned version;
	size_t len;
};

struct model {
	struct item *items;
	size_t nr, room;
};

static inline size_t
model_find(const struct model *m, struct tree_key key, bool *found)
{
	size_t low = 0, high = m->nr;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (tree_key_cmp(m->items[mid].key, key) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	*found = low < m->nr && tree_key_cmp(m->items[low].key, key) == 0;
	return low;
}

static inline void
model_put(struct model *m, struct item it)
{
	bool found;
	size_t i = model_find(m, it.key, &found);

	if (!found) {
		if (m->nr == m->room) {
			m->room = m->room ? 2 * m->room : 1024;
			m->items = realloc(m->items, m->room * sizeof(it));
			ck_assert_ptr_nonnull(m->items);
		}
		memmove(&m->items[i + 1], &m->items[i], (m->nr++ - i) * sizeof(it));
	}
	m->items[i] = it;
}

static inline bool
model_delete(struct model *m, struct tree_key key)
{
	bool found;
	size_t i = model_find(m, key, &found);

	if (found)
		memmove(&m->items[i], &m->items[i + 1], (--m->nr - i) * sizeof(m->items[0]));
	return found;
}

/* Items that nobody takes for extents. */
static inline struct tree_key
item_key(uint64_t ino, uint64_t lo)
{
	return tree_key(ino, ITEM_XATTR, lo);
}

static inline const uint8_t *
value_of(const struct item *it)
{
	static __thread uint8_t buf[ITEM_VALUE_MAX + 1];

	for (size_t i = 0; i < it->len; i++)
		buf[i] = (uint8_t)(it->key.hi * 3 + it->key.lo * 31 + it->version * 7 + i);
	return buf;
}

/* ---- a pool with its tree ---- */

static unsigned overdrafts; /* transactions that needed more nodes than they had reserved */
static unsigned errors_logged;

static inline void
take_log(void *arg, int level, const char *text)
{
	(void)arg;
	if (strstr(text, "than it has reserved"))
		overdrafts++;
	else if (level <= LOG_ERR)
		errors_logged++;
	else
		fprintf(stderr, "%s\n", text);
}

static inline void
setup(void)
{
	pinfs_log_to(take_log, NULL);
}

static inline void
commit(struct pool *p)
{
	must(txn_commit_wait(p, txn_open_number(p)) == 0);
}

static inline void
put(struct pool *p, struct model *m, struct tree_key key, unsigned version, size_t len)
{
	struct item it = { key, version, len };
	struct txn t;

	must(txn_begin(p, &t, txn_credits(p, 1), 0) == 0);
	must(tree_put(&t, key, value_of(&it), len) == 0);
	txn_end(&t);
	model_put(m, it);
}

static inline void
del(struct pool *p, struct model *m, struct tree_key key)
{
	struct txn t;
	int r;

	must(txn_begin(p, &t, txn_credits(p, 1), TXN_MUST) == 0);
	r = tree_delete(&t, key);
	txn_end(&t);
	must(r == (model_delete(m, key) ? 0 : -ENOENT));
}

struct cursor {
	const struct model *m;
	size_t next;   /* ascending: the item that comes; descending: one behind it */
	bool back;
	size_t stop_at; /* return 7 there */
};

static inline int
visit(void *arg, struct tree_key key, const void *value, size_t len)
{
	struct cursor *c = arg;
	const struct item *it;

	if (c->back)
		c->next--;
	if (c->next == c->stop_at)
		return 7;
	must(c->next < c->m->nr);
	it = &c->m->items[c->next];
	must(tree_key_cmp(it->key, key) == 0);
	must(it->len == len);
	must(memcmp(value, value_of(it), len) == 0);
	if (!c->back)
		c->next++;
	return 0;
}

/* A range of all keys. */
static const struct tree_key first_key = { 0, 0 }, last_key = { UINT64_MAX, UINT64_MAX };

#endif
