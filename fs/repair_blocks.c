/* SPDX-License-Identifier: BSD-3-Clause */
/* Repair of who owns which block.
 *
 * What the counts of shared blocks say is not asked: they are made anew from what the extents
 * name. All extents are sorted by their first block and swept, part by part, where a part is the
 * blocks up to the next place where an extent begins or ends. Who names a part alone owns it. Where
 * several do, the content decides:
 *
 *   Extents with CRCs: the content belongs to the one with the most blocks that match it.
 *   Others with the very same CRCs are clones of it, and share it: nothing else makes two
 *   blocks have one checksum in all extents of a row. The rest claims content that
 *   is not its own; that part of it becomes a hole, which reveals nothing of the other file.
 *   Without CRCs that match: the first dax extent, whose content may be anything, keeps the
 *   blocks, and other dax extents get a copy.
 *   Preallocated blocks have no content: whoever else names them has the better claim.
 *
 * No file may name a node of the tree: such a part is a hole, too.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/check_i.h"
#include "fs/extent.h"
#include "pmem/crc.h"

struct owner {
	pblk_t start, end;
	struct tree_key key;   /* of the item */
	const uint8_t *csums;  /* in the item as committed; NULL: none */
	uint32_t flags;
};

enum lot { LOT_HOLE, LOT_COPY };

/* Part of an extent that it can't keep. */
struct cut {
	size_t owner;
	pblk_t start, end;
	enum lot lot;
};

struct sweep {
	struct ck *c;
	struct ck_array owners;   /* struct owner, by start */
	struct ck_array active;   /* size_t: that cover the part being looked at */
	struct ck_array cuts;     /* struct cut */
	struct refcount_run run;  /* not yet told; len 0: none */
};

static struct owner *
owner_at(const struct sweep *s, size_t active)
{
	return ck_array_at(&s->owners, *(size_t *)ck_array_at(&s->active, active));
}

static int
gather_owner(struct ck *c, void *arg, struct tree_key key, const void *value, size_t len)
{
	struct sweep *s = arg;
	const uint8_t *csums;
	struct owner *o;
	struct extent e;

	if (tree_key_type(key) != ITEM_EXTENT || tree_key_ino(key) == INO_NONE ||
	    extent_decode(c->pool, key, value, len, &e, &csums))
		return 0;
	o = ck_array_add(&s->owners);
	if (!o)
		return -ENOMEM;
	*o = (struct owner){ e.pblk, e.pblk + e.len, key, csums, e.flags };
	return 0;
}

static int
cmp_owner(const void *a, const void *b)
{
	const struct owner *x = a, *y = b;

	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	return tree_key_cmp(x->key, y->key);
}

static int
cmp_cut(const void *a, const void *b)
{
	const struct cut *x = a, *y = b;

	if (x->owner != y->owner)
		return x->owner < y->owner ? -1 : 1;
	return x->start < y->start ? -1 : x->start > y->start;
}

/* ---- one part ------------------------------------------------------------------------ */

static int
cut(struct sweep *s, size_t active, pblk_t start, pblk_t end, enum lot lot)
{
	struct cut *x = ck_array_add(&s->cuts);

	if (!x)
		return -ENOMEM;
	*x = (struct cut){ *(size_t *)ck_array_at(&s->active, active), start, end, lot };
	return 0;
}

static void
flush_run(struct sweep *s)
{
	struct refcount_item item = { (uint32_t)s->run.len, s->run.count };

	if (s->run.len > 0)
		fix_put(s->c, tree_key(INO_NONE, ITEM_REFCOUNT, s->run.start), &item, sizeof(item));
	s->run.len = 0;
}

static void
count_run(struct sweep *s, pblk_t start, pblk_t end, uint32_t count)
{
	if (count < 2)
		return;
	if (s->run.len > 0 && s->run.start + s->run.len == start && s->run.count == count &&
	    s->run.len + (end - start) <= UINT32_MAX) {
		s->run.len += end - start;
		return;
	}
	flush_run(s);
	s->run = (struct refcount_run){ start, end - start, count };
}

static const uint8_t *
csum_of(const struct owner *o, pblk_t b)
{
	return o->csums + (b - o->start) * sizeof(uint32_t);
}

/* How many blocks of the part are what the owner's CRCs say. */
static uint64_t
matches(const struct sweep *s, const struct owner *o, pblk_t start, pblk_t end)
{
	uint64_t n = 0;

	for (pblk_t b = start; b < end; b++) {
		uint32_t crc = crc32c(pool_block(s->c->pool, b), BLK_SIZE);

		n += memcmp(&crc, csum_of(o, b), sizeof(crc)) == 0;
	}
	return n;
}

/* Whose the content is: an index into active. */
static size_t
find_winner(const struct sweep *s, pblk_t start, pblk_t end)
{
	const struct owner *o = owner_at(s, 0);
	size_t first_dax = SIZE_MAX, best = SIZE_MAX;
	uint64_t most = 0;

	for (size_t k = 0; k < s->active.n; k++) {
		const struct owner *prev = o;
		uint64_t n;

		o = owner_at(s, k);
		if (o->flags & EXTENT_NOCSUM)
			first_dax = min_of(first_dax, k);
		if (!o->csums)
			continue;
		/* Clones come one after the other, and need no second look. */
		if (best != SIZE_MAX && prev->csums &&
		    memcmp(csum_of(prev, start), csum_of(o, start), (end - start) * sizeof(uint32_t)) == 0)
			continue;
		n = matches(s, o, start, end);
		if (best == SIZE_MAX || n > most) {
			best = k;
			most = n;
		}
	}
	if (first_dax != SIZE_MAX && most == 0)
		return first_dax;
	return best != SIZE_MAX ? best : 0;
}

static int
settle(struct sweep *s, pblk_t start, pblk_t end)
{
	size_t winner = s->active.n > 1 ? find_winner(s, start, end) : 0;
	const struct owner *w = owner_at(s, winner);
	uint32_t count = 0;
	int r = 0;

	for (size_t k = 0; k < s->active.n && r == 0; k++) {
		const struct owner *o = owner_at(s, k);

		if (k == winner || (w->csums && o->csums &&
		    memcmp(csum_of(w, start), csum_of(o, start), (end - start) * sizeof(uint32_t)) == 0))
			count++;
		else
			r = cut(s, k, start, end, (w->flags & o->flags & EXTENT_NOCSUM) ? LOT_COPY : LOT_HOLE);
	}
	count_run(s, start, end, count);
	return r;
}

/* Parts within which blocks are nodes, or are not. */
static int
settle_part(struct sweep *s, pblk_t start, pblk_t end)
{
	int r = 0;

	while (start < end && r == 0) {
		bool node = ck_bit(s->c->node_bits, start);
		pblk_t to = start + 1;

		while (to < end && ck_bit(s->c->node_bits, to) == node)
			to++;
		if (!node)
			r = settle(s, start, to);
		for (size_t k = 0; node && k < s->active.n && r == 0; k++)
			r = cut(s, k, start, to, LOT_HOLE);
		start = to;
	}
	return r;
}

static int
sweep(struct sweep *s)
{
	size_t next = 0;
	pblk_t at = 0;

	while (next < s->owners.n || s->active.n > 0) {
		pblk_t to = UINT64_MAX;
		size_t kept = 0;
		int r;

		for (size_t k = 0; k < s->active.n; k++)
			if (owner_at(s, k)->end > at)
				*(size_t *)ck_array_at(&s->active, kept++) = *(size_t *)ck_array_at(&s->active, k);
		s->active.n = kept;
		if (kept == 0 && next < s->owners.n)
			at = ((struct owner *)ck_array_at(&s->owners, next))->start;
		for (; next < s->owners.n && ((struct owner *)ck_array_at(&s->owners, next))->start <= at; next++) {
			size_t *new = ck_array_add(&s->active);

			if (!new)
				return -ENOMEM;
			*new = next;
		}
		if (s->active.n == 0)
			break;
		if (next < s->owners.n)
			to = ((struct owner *)ck_array_at(&s->owners, next))->start;
		for (size_t k = 0; k < s->active.n; k++)
			to = min_of(to, owner_at(s, k)->end);
		r = settle_part(s, at, to);
		if (r < 0)
			return r;
		at = to;
	}
	return 0;
}

/* ---- what follows for the extents ------------------------------------------------------------ */

/* Blocks start..end of an extent, at their place in the file. */
static void
keep_part(struct ck *c, const struct owner *o, pblk_t start, pblk_t end, pblk_t at)
{
	struct extent_item item = { .pblk = at, .len = (uint32_t)(end - start), .flags = o->flags };
	unsigned char value[ITEM_VALUE_MAX];
	size_t n = o->csums ? item.len * sizeof(uint32_t) : 0;
	struct tree_key key = o->key;

	key.lo += start - o->start;
	memcpy(value, &item, EXTENT_ITEM_HEAD);
	if (n > 0)
		memcpy(value + EXTENT_ITEM_HEAD, csum_of(o, start), n);
	fix_put(c, key, value, EXTENT_ITEM_HEAD + n);
}

static int
copy_part(struct ck *c, const struct owner *o, pblk_t start, pblk_t end)
{
	struct pool *p = c->pool;
	int r = 0;

	while (start < end && r == 0) {
		uint64_t got = 0;
		struct txn t;
		pblk_t to;

		r = txn_begin(p, &t, 0, TXN_MUST);
		if (r < 0)
			break;
		/* Repair has the pool for itself: what there is of space can be used. */
		r = alloc_run(pool_alloc(p), PBLK_NONE, end - start, 0, 0, &to, &got);
		if (r == 0)
			r = pool_populate(p, to, got);
		if (r == 0) {
			domain_copy(pool_domain(p), pool_block(p, to), pool_block(p, start), got << BLK_SHIFT);
			txn_note_data(&t, to, got);
			keep_part(c, o, start, start + got, to);
		}
		txn_end(&t);
		start += got;
	}
	return r;
}

static int
cut_extents(struct sweep *s)
{
	const struct cut *x = s->cuts.data, *end = x + s->cuts.n;
	int r = 0;

	while (x < end && r == 0) {
		const struct owner *o = ck_array_at(&s->owners, x->owner);
		size_t owner = x->owner;
		pblk_t at = o->start;

		fix_delete(s->c, o->key);
		for (; x < end && x->owner == owner && r == 0; x++) {
			if (x->start > at)
				keep_part(s->c, o, at, x->start, at);
			if (x->lot == LOT_COPY)
				r = copy_part(s->c, o, x->start, x->end);
			at = x->end;
		}
		if (at < o->end)
			keep_part(s->c, o, at, o->end, at);
	}
	return r;
}

int
fix_blocks(struct ck *c)
{
	struct sweep s = { .c = c, .owners.size = sizeof(struct owner), .active.size = sizeof(size_t),
		.cuts.size = sizeof(struct cut) };
	int r = ck_each_item(c, "owners of blocks", gather_owner, &s);

	if (r == 0) {
		if (s.owners.n > 0)
			qsort(s.owners.data, s.owners.n, s.owners.size, cmp_owner);
		fix_delete_range(c, tree_key(INO_NONE, ITEM_REFCOUNT, 0), tree_key(INO_NONE, ITEM_REFCOUNT, UINT64_MAX));
		r = sweep(&s);
		flush_run(&s);
	}
	if (r == 0 && s.cuts.n > 0) {
		qsort(s.cuts.data, s.cuts.n, s.cuts.size, cmp_cut);
		r = cut_extents(&s);
	}
	free(s.owners.data);
	free(s.active.data);
	free(s.cuts.data);
	return r;
}
