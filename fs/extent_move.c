/* SPDX-License-Identifier: BSD-3-Clause */
/* Extents that change their place: in the same file, or to another one.
 *
 * To map the blocks at the new place and to unmap them at the old one would be two changes of
 * owner for each block. Here nothing happens to the blocks: their references and CRCs
 * stay what they are, only the keys of the items that name them change.
 *
 * First the borders of the range are made borders of items (extent_split: the map says the same as before). Then all
 * items of the range are read into a list; this is where damage and a lack of memory are met. After that,
 * extent_list_take and extent_list_put delete and insert items, in nodes that were all verified on the way: they fail
 * for want of credits only, and extent_list_credits says how many they take. In between the file has a hole,
 * so whoever moves extents holds the layout lock from the one to the other, and stays in one
 * transaction.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/extent_i.h"
#include "fs/fs_i.h"
#include "pmem/log.h"

/* ---- borders ------------------------------------------------------------------- */

struct straddling {
	struct inode *inode;
	fblk_t fblk;
	struct extent e;       /* len 0: none */
	uint32_t csum[EXTENT_CSUM_BLOCKS_MAX];
	const char *damage;
};

static int
find_straddling(void *arg, struct tree_key key, const void *value, size_t len)
{
	struct straddling *s = arg;
	const uint8_t *csums;
	struct extent e;

	s->damage = extent_decode(s->inode->fs->pool, key, value, len, &e, &csums);
	if (s->damage) {
		s->e = e;
		return -EIO;
	}
	if (e.fblk + e.len > s->fblk) {
		s->e = e;
		if (csums)
			memcpy(s->csum, csums, e.len * sizeof(uint32_t));
	}
	return 1;
}

uint64_t
extent_split_credits(struct inode *i)
{
	return txn_credits(i->fs->pool, 4);
}

int
extent_split(struct txn *t, struct inode *i, fblk_t fblk)
{
	struct straddling s = { .inode = i, .fblk = fblk };
	struct extent right;
	int r;

	if (fblk == 0 || fblk > FBLK_MAX)
		return 0;
	r = tree_scan_back(i->fs->pool, extent_key(i, 0), extent_key(i, fblk - 1), find_straddling, &s);
	if (s.damage)
		extent_log_damage(i, &s.e, s.damage);
	if (r < 0 || s.e.len == 0)
		return r < 0 ? r : 0;
	/* no damage can be met between the two puts */
	r = tree_touch(t, extent_key(i, s.e.fblk));
	if (r == 0)
		r = tree_touch(t, extent_key(i, fblk));
	if (r < 0)
		return r;
	extent_cache_clear(i);
	right = (struct extent){ fblk, s.e.pblk + (fblk - s.e.fblk), s.e.fblk + s.e.len - fblk, s.e.flags };
	r = extent_put_item(t, i, &right, s.e.flags & EXTENT_NO_CRCS ? NULL : s.csum + (fblk - s.e.fblk));
	if (r == 0) {
		s.e.len = fblk - s.e.fblk;
		r = extent_put_item(t, i, &s.e, s.csum);
	}
	return r;
}

/* ---- the list ------------------------------------------------------------------- */

struct extent_list_entry {
	struct extent e;
	size_t csum;           /* of its first block, in csums */
};

struct reading {
	struct extent_list *list;
	struct inode *inode;
	fblk_t at, end;        /* at: items seen so far reach to here */
	const char *damage;
	struct extent damage_at;
};

/* The array with room for n more than used elements, or NULL. */
static void *
grow(void *array, size_t *space, size_t used, size_t n, size_t size)
{
	size_t more = max_of(max_of(2 * *space, used + n), (size_t)64);
	void *grown;

	if (used + n <= *space)
		return array;
	grown = reallocarray(array, more, size);
	if (grown)
		*space = more;
	return grown;
}

static int
list_add(struct extent_list *l, const struct extent *e, const uint8_t *csums)
{
	size_t ncsums = csums ? e->len : 0;
	void *grown;

	grown = grow(l->entry, &l->space, l->n, 1, sizeof(*l->entry));
	if (!grown)
		return -ENOMEM;
	l->entry = grown;
	if (ncsums > 0) {
		grown = grow(l->csums, &l->csum_space, l->ncsums, ncsums, sizeof(*l->csums));
		if (!grown)
			return -ENOMEM;
		l->csums = grown;
		memcpy(l->csums + l->ncsums, csums, ncsums * sizeof(*l->csums));
	}
	l->entry[l->n++] = (struct extent_list_entry){ *e, l->ncsums };
	l->ncsums += ncsums;
	l->blocks += e->len;
	return 0;
}

static int
read_item(void *arg, struct tree_key key, const void *value, size_t len)
{
	struct reading *rd = arg;
	const uint8_t *csums;
	struct extent e;

	if (key.lo >= rd->end)
		return 1;
	rd->damage = extent_decode(rd->inode->fs->pool, key, value, len, &e, &csums);
	if (!rd->damage && (e.fblk < rd->at || e.len > rd->end - e.fblk))
		rd->damage = "extents overlap";
	if (rd->damage) {
		rd->damage_at = e;
		return -EIO;
	}
	rd->at = e.fblk + e.len;
	return list_add(rd->list, &e, csums);
}

int
extent_list_read(struct extent_list *l, struct inode *i, fblk_t fblk, fblk_t end)
{
	struct reading rd = { .list = l, .inode = i, .at = fblk, .end = end };
	int r;

	*l = (struct extent_list){ 0 };
	/* not just to end: what comes behind may have to be loaded, too */
	r = tree_scan(i->fs->pool, extent_key(i, fblk), extent_key(i, UINT64_MAX), read_item, &rd);
	if (rd.damage)
		extent_log_damage(i, &rd.damage_at, rd.damage);
	if (r < 0)
		extent_list_free(l);
	return r < 0 ? r : 0;
}

void
extent_list_free(struct extent_list *l)
{
	free(l->entry);
	free(l->csums);
	*l = (struct extent_list){ 0 };
}

uint64_t
extent_list_credits(struct pool *p, const struct extent_list *l)
{
	uint64_t bytes = l->n * EXTENT_ITEM_HEAD + l->ncsums * sizeof(uint32_t);

	/* What a run of neighbours costs depends on the bytes that they have together, so the average will do;
	 * once for the deletions, and once, with a path to touch, for the insertions. */
	if (l->n == 0)
		return txn_credits(p, 1);
	return 2 * txn_credits_run(p, l->n, (size_t)(bytes / l->n + 1)) + txn_credits(p, 1);
}

static void
add_blocks(struct inode *i, uint64_t n)
{
	mtx_lock(&i->attr_lock);
	__atomic_store_n(&i->durable_blocks, i->durable_blocks + n, __ATOMIC_RELAXED);
	mtx_unlock(&i->attr_lock);
}

int
extent_list_take(struct txn *t, struct inode *i, const struct extent_list *l)
{
	extent_cache_clear(i);
	for (size_t k = 0; k < l->n; k++) {
		int r = tree_delete(t, extent_key(i, l->entry[k].e.fblk));

		if (r < 0)
			return extent_change_failed(t, i, l->entry[k].e.fblk, r);
	}
	add_blocks(i, -l->blocks);
	return 0;
}

int
extent_list_put(struct txn *t, struct inode *i, const struct extent_list *l, fblk_t from, fblk_t to)
{
	extent_cache_clear(i);
	for (size_t k = 0; k < l->n; k++) {
		struct extent e = l->entry[k].e;
		int r;

		e.fblk = to + (e.fblk - from);
		r = extent_put_item(t, i, &e, e.flags & EXTENT_NO_CRCS ? NULL : l->csums + l->entry[k].csum);
		if (r < 0)
			return extent_change_failed(t, i, e.fblk, r);
	}
	add_blocks(i, l->blocks);
	return 0;
}
