/* SPDX-License-Identifier: BSD-3-Clause */
/* Lookups in the durable map, and the checking of CRCs.
 *
 * What a lookup finds is remembered per inode, because the reader of a big
 * file comes back for its other blocks: a handful of runs, each as long as items
 * that continue each other have been seen to reach. A file that lies in one
 * piece is soon one entry, and then a read needs no look at the tree.
 *
 * Readers share the layout lock, so the entries are behind a sequence counter:
 * it is odd while somebody adds an entry. Who finds it odd, or moved, uses
 * the tree; who can't make it odd does not remember. Nobody waits. A change of the
 * map comes with the layout lock held exclusively and just empties the cache.
 *
 * A CRC is checked once per mount and block; a bit per pool block says that it was.
 * A bit is taken back where the block gets a new owner or none.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/extent_i.h"
#include "fs/fs_i.h"
#include "pmem/crc.h"
#include "pmem/log.h"

#define CACHE_RUNS 16
#define JOIN_ITEMS_MAX 64 /* items that one lookup joins: bounds its time under LOCK_TREE */

/* All fields atomic: see above. */
struct cached_run {
	uint64_t fblk, pblk, len; /* len 0: unused */
	uint64_t flags;
};

struct extent_cache {
	uint64_t seq;             /* atomic; odd: being changed */
	unsigned next;            /* whom to replace; only while seq is odd */
	struct cached_run run[CACHE_RUNS];
};

/* ---- the cache --------------------------------------------------------------- */

/* Acquire loads and release stores throughout keep them between those of seq;
 * where loads are not reordered anyway, they cost nothing. */
static uint64_t
get(const uint64_t *field)
{
	return __atomic_load_n(field, __ATOMIC_ACQUIRE);
}

static void
set(uint64_t *field, uint64_t value)
{
	__atomic_store_n(field, value, __ATOMIC_RELEASE);
}

static struct extent
cached_get(const struct cached_run *c)
{
	return (struct extent){ get(&c->fblk), get(&c->pblk), get(&c->len), (uint32_t)get(&c->flags) };
}

static void
cached_set(struct cached_run *c, const struct extent *e)
{
	set(&c->fblk, e->fblk);
	set(&c->pblk, e->pblk);
	set(&c->len, e->len);
	set(&c->flags, e->flags);
}

static bool
cache_find(const struct extent_cache *c, fblk_t fblk, struct extent *e)
{
	uint64_t seq = get(&c->seq);

	if (seq & 1)
		return false;
	for (unsigned n = 0; n < CACHE_RUNS; n++) {
		fblk_t start = get(&c->run[n].fblk);

		if (fblk - start >= get(&c->run[n].len))
			continue;
		*e = cached_get(&c->run[n]);
		if (get(&c->seq) != seq || fblk - e->fblk >= e->len)
			return false;
		if (e->pblk != PBLK_NONE)
			e->pblk += fblk - e->fblk;
		e->len -= fblk - e->fblk;
		e->fblk = fblk;
		return true;
	}
	return false;
}

/* Does b overlap or follow a, mapped the same way? */
static bool
runs_continue(const struct extent *a, const struct extent *b)
{
	if (b->fblk < a->fblk || b->fblk > a->fblk + a->len || a->flags != b->flags)
		return false;
	if (a->pblk == PBLK_NONE || b->pblk == PBLK_NONE)
		return a->pblk == b->pblk;
	return b->pblk - a->pblk == b->fblk - a->fblk;
}

/* Remember e, joined with what is there already; e becomes the whole. */
static void
cache_add(struct extent_cache *c, struct extent *e)
{
	uint64_t seq = get(&c->seq);
	int place = -1;

	if ((seq & 1) ||
	    !__atomic_compare_exchange_n(&c->seq, &seq, seq + 1, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return;
	for (int n = 0; n < CACHE_RUNS; n++) {
		struct extent old = cached_get(&c->run[n]);

		if (old.len == 0) {
			if (place < 0)
				place = n;
			continue;
		}
		if (runs_continue(&old, e)) {
			e->len = max_of(old.fblk + old.len, e->fblk + e->len) - old.fblk;
			e->fblk = old.fblk;
			e->pblk = old.pblk;
		} else if (runs_continue(e, &old)) {
			e->len = max_of(old.fblk + old.len, e->fblk + e->len) - e->fblk;
		} else {
			continue;
		}
		set(&c->run[n].len, 0);
		place = n;
	}
	if (place < 0)
		place = (int)(c->next++ % CACHE_RUNS);
	cached_set(&c->run[place], e);
	set(&c->seq, seq + 2);
}

static struct extent_cache *
cache_of(struct inode *i)
{
	return __atomic_load_n(&i->ecache, __ATOMIC_ACQUIRE);
}

/* The inode's cache, made if need be; NULL without memory. */
static struct extent_cache *
cache_make(struct inode *i)
{
	struct extent_cache *c = cache_of(i), *other = NULL;

	if (c)
		return c;
	c = calloc(1, sizeof(*c));
	if (c && !__atomic_compare_exchange_n(&i->ecache, &other, c, false, __ATOMIC_ACQ_REL,
	    __ATOMIC_ACQUIRE)) {
		free(c);
		c = other;
	}
	return c;
}

void
extent_cache_clear(struct inode *i)
{
	struct extent_cache *c = cache_of(i);

	if (!c)
		return;
	for (unsigned n = 0; n < CACHE_RUNS; n++)
		set(&c->run[n].len, 0);
}

void
extent_cache_free(struct inode *i)
{
	free(i->ecache);
	i->ecache = NULL;
}

/* ---- lookup ---------------------------------------------------------------------- */

struct lookup {
	struct inode *inode;
	fblk_t fblk;         /* asked for */
	struct extent e;     /* the answer: len 0 as long as nothing is known */
	uint32_t *csums;
	size_t ncsums, got;
	unsigned items;
	fblk_t next;         /* a hole: where the next extent starts */
	struct extent at;    /* the item being looked at, and what is wrong with it */
	const char *damage;
};

static void
lookup_csums(struct lookup *l, const struct extent *item, const uint8_t *csums)
{
	fblk_t from = max_of(item->fblk, l->fblk);
	size_t n;

	if (!csums || l->got == l->ncsums)
		return;
	n = min_of(l->ncsums - l->got, item->fblk + item->len - from);
	memcpy(l->csums + l->got, csums + (from - item->fblk) * sizeof(uint32_t), n * sizeof(uint32_t));
	l->got += n;
}

/* All CRCs that were asked for and that the extents known so far have? */
static bool
lookup_has_csums(const struct lookup *l)
{
	return l->got == l->ncsums || (l->e.flags & EXTENT_NO_CRCS);
}

/* The item at or before fblk. */
static int
lookup_first(void *arg, struct tree_key key, const void *value, size_t len)
{
	struct lookup *l = arg;
	const uint8_t *csums;

	l->damage = extent_decode(l->inode->fs->pool, key, value, len, &l->at, &csums);
	if (l->damage)
		return -EIO;
	if (l->at.fblk + l->at.len > l->fblk) {
		l->e = l->at;
		l->items = 1;
		lookup_csums(l, &l->at, csums);
	}
	return 1;
}

/* Items behind it. */
static int
lookup_next(void *arg, struct tree_key key, const void *value, size_t len)
{
	struct lookup *l = arg;
	const uint8_t *csums;

	if (l->e.len == 0) {
		l->next = key.lo;
		return 1;
	}
	l->damage = extent_decode(l->inode->fs->pool, key, value, len, &l->at, &csums);
	if (!l->damage && l->at.fblk < l->e.fblk + l->e.len)
		l->damage = "extents overlap";
	if (l->damage)
		return -EIO;
	if (l->at.fblk != l->e.fblk + l->e.len || !runs_continue(&l->e, &l->at))
		return 1;
	l->e.len += l->at.len;
	lookup_csums(l, &l->at, csums);
	/* Who wants CRCs wants these blocks; else go on for the sake of the next lookup. */
	return lookup_has_csums(l) && (l->ncsums > 0 || ++l->items >= JOIN_ITEMS_MAX);
}

/* Scans of the tree. l->e becomes the whole run, which may start before fblk. */
static int
lookup_tree(struct lookup *l)
{
	struct inode *i = l->inode;
	struct pool *p = i->fs->pool;
	int r;

	r = tree_scan_back(p, extent_key(i, 0), extent_key(i, l->fblk), lookup_first, l);
	if (r >= 0 && l->fblk < FBLK_MAX) {
		/* A damaged item behind the one that was asked for is met when it is needed. */
		r = tree_scan(p, extent_key(i, l->fblk + 1), extent_key(i, FBLK_MAX), lookup_next, l);
		if (r == -EIO && l->e.len > 0) {
			l->damage = NULL;
			r = 0;
		}
	}
	if (l->damage)
		extent_log_damage(i, &l->at, l->damage);
	if (r < 0)
		return r;
	if (l->e.len == 0)
		l->e = (struct extent){ l->fblk, PBLK_NONE, l->next - l->fblk, 0 };
	return 0;
}

static int
lookup_slow(struct inode *i, fblk_t fblk, struct extent *e, uint32_t *csums, size_t ncsums)
{
	struct lookup l = { .inode = i, .fblk = fblk, .csums = csums, .ncsums = ncsums, .next = FBLK_END };
	struct extent_cache *c;
	struct extent run;
	fblk_t skip;
	int r;

	r = lookup_tree(&l);
	if (r < 0)
		return r;
	run = l.e;
	c = cache_make(i);
	if (c)
		cache_add(c, &run);
	/* What others found may be longer, but comes without CRCs. */
	if (ncsums > 0)
		run = l.e;
	skip = fblk - run.fblk;
	*e = (struct extent){ fblk, run.pblk == PBLK_NONE ? PBLK_NONE : run.pblk + skip, run.len - skip,
		run.flags };
	return 0;
}

int
extent_lookup(struct inode *i, fblk_t fblk, struct extent *e, uint32_t *csums, size_t ncsums)
{
	struct extent_cache *c = cache_of(i);

	if (fblk > FBLK_MAX)
		return -EINVAL;
	if (!csums)
		ncsums = 0;
	if (ncsums == 0 && c && cache_find(c, fblk, e))
		return 0;
	return lookup_slow(i, fblk, e, csums, ncsums);
}

/* ---- CRCs --------------------------------------------------------------------------- */

/* The bits of start..end that are in the word of start. */
static uint64_t
word_mask(pblk_t start, pblk_t end)
{
	uint64_t mask = ~0ull << (start % 64);

	if (end / 64 == start / 64)
		mask &= (1ull << (end % 64)) - 1;
	return mask;
}

static pblk_t
next_word(pblk_t blk)
{
	return (blk | 63) + 1;
}

void
extent_forget_csum(struct fs *fs, pblk_t start, uint64_t n)
{
	pblk_t end = start + n;

	if (!fs->csum_checked)
		return;
	for (pblk_t b = start; b < end; b = next_word(b)) {
		uint64_t *word = &fs->csum_checked[b / 64];
		uint64_t mask = word_mask(b, end);

		if (__atomic_load_n(word, __ATOMIC_RELAXED) & mask)
			__atomic_fetch_and(word, ~mask, __ATOMIC_RELAXED);
	}
}

static bool
all_checked(const struct fs *fs, pblk_t start, uint64_t n)
{
	pblk_t end = start + n;

	for (pblk_t b = start; b < end; b = next_word(b)) {
		uint64_t mask = word_mask(b, end);

		if ((__atomic_load_n(&fs->csum_checked[b / 64], __ATOMIC_RELAXED) & mask) != mask)
			return false;
	}
	return true;
}

/* Blocks whose CRCs are at hand. */
static int
verify_blocks(struct inode *i, fblk_t fblk, pblk_t pblk, uint64_t n, const uint32_t *csums, bool always)
{
	struct fs *fs = i->fs;

	for (uint64_t k = 0; k < n; k++) {
		uint64_t bit = 1ull << ((pblk + k) % 64);
		uint64_t *word = fs->csum_checked ? &fs->csum_checked[(pblk + k) / 64] : NULL;
		uint32_t crc;

		if (!always && word && (__atomic_load_n(word, __ATOMIC_RELAXED) & bit))
			continue;
		crc = crc32c(pool_block(fs->pool, pblk + k), BLK_SIZE);
		if (crc != csums[k]) {
			pinfs_log(LOG_ERR, "inode %llu, offset %llu, block %llu: damaged: content has CRC "
			    "%08x, not %08x", (unsigned long long)i->ino,
			    (unsigned long long)(fblk + k) << BLK_SHIFT, (unsigned long long)(pblk + k), crc,
			    csums[k]);
			return -EIO;
		}
		if (word)
			__atomic_fetch_or(word, bit, __ATOMIC_RELAXED);
	}
	return 0;
}

int
extent_verify(struct inode *i, fblk_t fblk, pblk_t pblk, uint64_t n, const uint32_t *csums)
{
	bool always = i->fs->opt.verify == FS_VERIFY_ALWAYS;
	uint32_t buf[EXTENT_CSUM_BLOCKS_MAX];

	if (!always && i->fs->csum_checked && all_checked(i->fs, pblk, n))
		return 0;
	if (csums)
		return verify_blocks(i, fblk, pblk, n, csums, always);
	while (n > 0) {
		uint64_t part = min_of(n, EXTENT_CSUM_BLOCKS_MAX);
		struct extent e;
		int r = extent_lookup(i, fblk, &e, buf, part);

		if (r < 0)
			return r;
		part = min_of(part, e.len);
		if (e.pblk != pblk)
			return -EINVAL;
		if (!(e.flags & EXTENT_NO_CRCS))
			r = verify_blocks(i, fblk, pblk, part, buf, always);
		if (r < 0)
			return r;
		fblk += part;
		pblk += part;
		n -= part;
	}
	return 0;
}
