/* SPDX-License-Identifier: BSD-3-Clause */
/* The durable map: random changes against an array, joining and splitting of items, sharing,
 * CRC checks, damage. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "fs/fs_i.h"
#include "fs/refcount.h"
#include "pmem/crc.h"
#include "pmem/log.h"

#define FILES 3
#define FILE_BLOCKS 3000u

/* For inner loops: ck_assert is a system call each. */
#define expect(cond) do { if (!(cond)) ck_abort_msg("%s", #cond); } while (0)

/* What one block of a file should be. */
struct want {
	pblk_t pblk; /* PBLK_NONE: hole */
	uint32_t flags, csum;
};

struct world {
	const char *path;
	struct fs fs;
	struct inode inode[FILES];
	struct want want[FILES][FILE_BLOCKS];
	uint64_t seed;
	uint64_t free_at_start;
};

static unsigned errors_logged;

static void
count_errors(void *arg, int level, const char *text)
{
	(void)arg, (void)text;
	errors_logged += level <= LOG_ERR;
}

static int
found_count(void *arg, struct tree_key key, const void *value, size_t len)
{
	struct world *w = arg;
	struct refcount_run run;

	ck_assert_ptr_null(refcount_decode(w->fs.pool, key, value, len, &run));
	refcount_found(w->fs.pool, &run);
	return 0;
}

static void
open_world(struct world *w)
{
	w->fs.pool = unit_open(w->path);
	ck_assert_ok(tree_scan(w->fs.pool, tree_key(INO_NONE, ITEM_REFCOUNT, 0),
	    tree_key(INO_NONE, ITEM_REFCOUNT, UINT64_MAX), found_count, w));
	w->fs.csum_checked = calloc(pool_nblocks(w->fs.pool) / 64 + 1, sizeof(uint64_t));
	ck_assert_ptr_nonnull(w->fs.csum_checked);
}

static void
close_world(struct world *w)
{
	free(w->fs.csum_checked);
	pool_close(w->fs.pool);
}

static uint64_t
free_blocks(struct world *w)
{
	struct alloc_stats st;

	alloc_stats(pool_alloc(w->fs.pool), &st);
	ck_assert_uint_eq(st.reserved, 0);
	return st.free;
}

static void
commit(struct world *w)
{
	ck_assert_ok(txn_commit_wait(w->fs.pool, txn_open_number(w->fs.pool)));
}

static struct world *
make_world(unsigned mib)
{
	struct world *w = calloc(1, sizeof(*w));

	ck_assert_ptr_nonnull(w);
	w->path = unit_mkpool(mib);
	w->seed = 20240611;
	for (unsigned n = 0; n < FILES; n++) {
		struct inode *i = &w->inode[n];

		i->fs = &w->fs;
		i->ino = 10 + n;
		rwl_init(&i->layout_lock, LOCK_LAYOUT, i->ino);
		mtx_init(&i->attr_lock, LOCK_ATTR, 0);
	}
	open_world(w);
	w->free_at_start = free_blocks(w);
	errors_logged = 0;
	pinfs_log_to(count_errors, NULL);
	return w;
}

static void
free_world(struct world *w)
{
	pinfs_log_to(NULL, NULL);
	for (unsigned n = 0; n < FILES; n++) {
		extent_cache_free(&w->inode[n]);
		rwl_destroy(&w->inode[n].layout_lock);
		mtx_destroy(&w->inode[n].attr_lock);
	}
	close_world(w);
	free(w);
}

static uint64_t
random_below(struct world *w, uint64_t n)
{
	return unit_random(&w->seed) % n;
}

static void
begin(struct world *w, struct txn *t, unsigned file, uint64_t len)
{
	ck_assert_ok(txn_begin(w->fs.pool, t, extent_credits(&w->inode[file], 1, len), 0));
	rwl_wrlock(&w->inode[file].layout_lock);
}

static void
end(struct world *w, struct txn *t, unsigned file)
{
	rwl_unlock(&w->inode[file].layout_lock);
	txn_end(t);
}

/* A run of n fresh blocks, or as many as there are in a row. */
static pblk_t
take_blocks(struct world *w, uint64_t n, uint64_t *got)
{
	pblk_t start;

	ck_assert_ok(pool_alloc_data(w->fs.pool, PBLK_NONE, n, 0, &start, got));
	return start;
}

/* Map with made-up CRCs, which the array remembers. */
static void
map(struct world *w, unsigned file, fblk_t fblk, pblk_t pblk, uint64_t len, uint32_t flags)
{
	uint32_t csums[FILE_BLOCKS];
	struct txn t;

	for (uint64_t k = 0; k < len; k++) {
		csums[k] = flags ? 0 : (uint32_t)unit_random(&w->seed);
		w->want[file][fblk + k] = (struct want){ pblk + k, flags, csums[k] };
	}
	begin(w, &t, file, len);
	ck_assert_ok(extent_map(&t, &w->inode[file], fblk, pblk, len, flags, flags ? NULL : csums));
	end(w, &t, file);
}

static void
map_fresh(struct world *w, unsigned file, fblk_t fblk, uint64_t len, uint32_t flags)
{
	uint64_t got;
	pblk_t pblk = take_blocks(w, len, &got);

	map(w, file, fblk, pblk, got, flags);
}

static void
unmap(struct world *w, unsigned file, fblk_t fblk, uint64_t len)
{
	struct txn t;

	memset(&w->want[file][fblk], 0, len * sizeof(struct want));
	begin(w, &t, file, len);
	ck_assert_ok(extent_unmap(&t, &w->inode[file], fblk, len));
	end(w, &t, file);
}

/* Share what another file has in a row at some place. */
static void
share(struct world *w, unsigned from, fblk_t src, unsigned to, fblk_t dst, uint64_t max)
{
	const struct want *s = &w->want[from][src];
	uint32_t csums[FILE_BLOCKS];
	struct want copy[FILE_BLOCKS];
	uint64_t len = 0;
	struct txn t;

	if (s->pblk == PBLK_NONE)
		return;
	while (len < max && src + len < FILE_BLOCKS && dst + len < FILE_BLOCKS && s[len].pblk == s->pblk + len &&
	    s[len].flags == s->flags) {
		csums[len] = s[len].csum;
		copy[len] = s[len];
		len++;
	}
	begin(w, &t, to, len);
	ck_assert_ok(extent_map_shared(&t, &w->inode[to], dst, s->pblk, len, s->flags, s->flags ? NULL : csums));
	end(w, &t, to);
	memcpy(&w->want[to][dst], copy, len * sizeof(copy[0]));
}

/* ---- comparing ---------------------------------------------------------------- */

static void
check_file(struct world *w, unsigned file, bool with_csums)
{
	struct inode *i = &w->inode[file];
	uint64_t blocks = 0;
	uint32_t csums[300];
	struct extent e;

	rwl_rdlock(&i->layout_lock);
	for (fblk_t f = 0; f < FILE_BLOCKS; f += min_of(e.len, 300)) {
		const struct want *want = &w->want[file][f];

		memset(csums, 0, sizeof(csums));
		expect(extent_lookup(i, f, &e, with_csums ? csums : NULL, 300) == 0);
		expect(e.fblk == f && e.len >= 1 && e.len <= FBLK_MAX + 1 - f);
		for (uint64_t k = 0; k < min_of(e.len, 300) && f + k < FILE_BLOCKS; k++) {
			expect(want[k].pblk == (e.pblk == PBLK_NONE ? PBLK_NONE : e.pblk + k));
			if (e.pblk == PBLK_NONE)
				continue;
			blocks++;
			expect(want[k].flags == e.flags);
			expect(!with_csums || want[k].csum == csums[k]);
		}
	}
	rwl_unlock(&i->layout_lock);
	ck_assert_uint_eq(i->durable_blocks, blocks);
}

/* Owners of each block, the counters, and what the allocator has left. */
static void
check_owners(struct world *w)
{
	uint64_t n = pool_nblocks(w->fs.pool), distinct = 0, shared = 0, ninodes, data_blocks, node_blocks;
	uint32_t *owners = calloc(n, sizeof(*owners));

	ck_assert_ptr_nonnull(owners);
	for (unsigned file = 0; file < FILES; file++)
		for (unsigned f = 0; f < FILE_BLOCKS; f++)
			owners[w->want[file][f].pblk]++;
	for (pblk_t b = POOL_FIRST_BLOCK; b < n;) {
		uint64_t run;
		uint32_t count;

		expect(refcount_get(w->fs.pool, b, n - b, &count, &run) == 0 && run >= 1);
		for (; run > 0; run--, b++) {
			expect(count == max_of(owners[b], 1));
			distinct += owners[b] > 0;
			shared += owners[b] > 1;
		}
	}
	pool_counters(w->fs.pool, &ninodes, &data_blocks, &node_blocks);
	ck_assert_uint_eq(data_blocks, distinct);
	ck_assert_uint_eq(pool_shared(w->fs.pool)->blocks, shared);
	commit(w);
	pool_counters(w->fs.pool, &ninodes, &data_blocks, &node_blocks);
	ck_assert_uint_eq(free_blocks(w) + distinct + node_blocks, n - POOL_FIRST_BLOCK);
	ck_assert_uint_eq(errors_logged, 0);
	free(owners);
}

static void
reopen(struct world *w)
{
	commit(w);
	for (unsigned n = 0; n < FILES; n++)
		extent_cache_free(&w->inode[n]);
	close_world(w);
	open_world(w);
}

static int
count_item(void *arg, struct tree_key key, const void *value, size_t len)
{
	unsigned *n = arg;

	(void)key, (void)value, (void)len;
	++*n;
	return 0;
}

static unsigned
count_items(struct world *w, unsigned file)
{
	uint64_t ino = w->inode[file].ino;
	unsigned n = 0;

	ck_assert_ok(tree_scan(w->fs.pool, tree_key(ino, ITEM_EXTENT, 0), tree_key(ino, ITEM_EXTENT, UINT64_MAX),
	    count_item, &n));
	return n;
}

/* Extents of two ranges change places. */
static void
exchange(struct world *w, unsigned fa, fblk_t a, unsigned fb, fblk_t b, uint64_t len)
{
	struct inode *i[2] = { &w->inode[fa], &w->inode[fb] };
	fblk_t at[2] = { a, b };
	struct extent_list l[2];
	struct txn t;

	if (fa == fb && a < b + len && b < a + len)
		return;
	ck_assert_ok(txn_begin(w->fs.pool, &t, 2 * extent_split_credits(i[0]) + 2 * extent_split_credits(i[1]), 0));
	rwl_wrlock(&w->inode[min_of(fa, fb)].layout_lock);
	if (fa != fb)
		rwl_wrlock(&w->inode[max_of(fa, fb)].layout_lock);
	for (int k = 0; k < 2; k++) {
		ck_assert_ok(extent_split(&t, i[k], at[k]));
		ck_assert_ok(extent_split(&t, i[k], at[k] + len));
	}
	for (int k = 0; k < 2; k++) {
		ck_assert_ok(extent_list_read(&l[k], i[k], at[k], at[k] + len));
		ck_assert_ok(txn_extend(&t, extent_list_credits(w->fs.pool, &l[k])));
	}
	for (int k = 0; k < 2; k++)
		ck_assert_ok(extent_list_take(&t, i[k], &l[k]));
	for (int k = 0; k < 2; k++) {
		ck_assert_ok(extent_list_put(&t, i[1 - k], &l[k], at[k], at[1 - k]));
		extent_list_free(&l[k]);
	}
	rwl_unlock(&i[0]->layout_lock);
	if (fa != fb)
		rwl_unlock(&i[1]->layout_lock);
	txn_end(&t);
	for (uint64_t k = 0; k < len; k++) {
		struct want was = w->want[fa][a + k];

		w->want[fa][a + k] = w->want[fb][b + k];
		w->want[fb][b + k] = was;
	}
}

/* ---- tests ---------------------------------------------------------------------- */

static void
random_change(struct world *w)
{
	static const uint32_t flags[] = { 0, 0, 0, EXTENT_UNWRITTEN, EXTENT_NOCSUM };
	unsigned file = (unsigned)random_below(w, FILES);
	fblk_t fblk = random_below(w, FILE_BLOCKS);
	uint64_t len = 1 + random_below(w, random_below(w, 4) ? 20 : 700);
	const struct want *at = &w->want[file][fblk];

	len = min_of(len, FILE_BLOCKS - fblk);
	switch (random_below(w, 9)) {
	case 8:
		exchange(w, file, fblk, (unsigned)random_below(w, FILES), random_below(w, FILE_BLOCKS - len + 1), len);
		break;
	case 0: case 1: case 2:
		map_fresh(w, file, fblk, len, flags[random_below(w, 5)]);
		break;
	case 3:
		unmap(w, file, fblk, len);
		break;
	case 4: case 5: case 6:
		/* The same file, too: over itself, shifted. */
		share(w, (unsigned)random_below(w, FILES), random_below(w, FILE_BLOCKS), file, fblk, len);
		break;
	case 7: /* the blocks that are there, with other flags and CRCs */
		for (uint64_t k = 1; k < len; k++)
			if (at[k].pblk != at->pblk + k)
				len = k;
		if (at->pblk != PBLK_NONE)
			map(w, file, fblk, at->pblk, len, at->flags ? 0 : EXTENT_UNWRITTEN);
		break;
	}
}

START_TEST(random_changes)
{
	struct world *w = make_world(64);

	for (unsigned step = 1; step <= 3000; step++) {
		random_change(w);
		if (step % 20 == 0)
			check_file(w, (unsigned)random_below(w, FILES), step % 40 == 0);
		if (step % 250 == 0)
			check_owners(w);
		if (step % 500 == 0)
			reopen(w);
	}
	for (unsigned file = 0; file < FILES; file++) {
		check_file(w, file, true);
		unmap(w, file, 0, FILE_BLOCKS);
		check_file(w, file, false);
	}
	check_owners(w);
	ck_assert_uint_eq(free_blocks(w), w->free_at_start);
	free_world(w);
}
END_TEST

/* A change that runs out of credits in the middle, with no block left in the pool, is none after a remount. */
START_TEST(half_a_change_is_never_committed)
{
	enum { LEN = 3 * EXTENT_CSUM_BLOCKS_MAX };
	static const uint32_t csums[LEN];
	struct world *w = make_world(8);
	struct alloc_stats st;
	struct txn t;
	uint64_t got;
	pblk_t pblk;

	for (fblk_t f = 0; f < 100; f += 2)
		map_fresh(w, 0, f, 1, 0);
	pblk = take_blocks(w, LEN, &got);
	ck_assert_uint_eq(got, LEN);
	commit(w);
	begin(w, &t, 0, LEN);
	alloc_unreserve(pool_alloc(w->fs.pool), t.credits);
	t.credits = 0;
	/* The tree is one leaf. It can be copied, and an item added, but no other made. */
	alloc_stats(pool_alloc(w->fs.pool), &st);
	ck_assert_ok(alloc_reserve(pool_alloc(w->fs.pool), st.free - 1, 0));
	ck_assert_err(extent_map(&t, &w->inode[0], 200, pblk, LEN, 0, csums), ENOSPC);
	ck_assert_uint_gt(t.changes, 0);
	ck_assert_uint_gt(errors_logged, 0);
	end(w, &t, 0);
	ck_assert_err(txn_commit_wait(w->fs.pool, txn_open_number(w->fs.pool)), EIO);
	ck_assert_err(txn_begin(w->fs.pool, &t, 0, TXN_MUST), EROFS);

	extent_cache_free(&w->inode[0]);
	close_world(w);
	open_world(w);
	check_file(w, 0, true);
	free_world(w);
}
END_TEST

START_TEST(sequential_runs_are_joined)
{
	struct world *w = make_world(16);
	uint64_t got;
	pblk_t start = take_blocks(w, 1024, &got);
	unsigned first;

	ck_assert_uint_eq(got, 1024);
	for (unsigned k = 0; k < 1024; k += 16)
		map(w, 0, k, start + k, 16, 0);
	ck_assert_uint_eq(count_items(w, 0), 1024 / EXTENT_CSUM_BLOCKS_MAX);
	check_file(w, 0, true);
	/* The last gap between two runs: the item takes up both sides. */
	unmap(w, 0, 300, 8);
	first = count_items(w, 0);
	start = w->want[0][299].pblk + 1;
	commit(w);
	/* Nobody else allocates: the freed blocks are still what they were. */
	ck_assert_ok(pool_alloc_data(w->fs.pool, start, 8, 0, &start, &got));
	ck_assert_uint_eq(start, w->want[0][299].pblk + 1);
	map(w, 0, 300, start, 8, 0);
	ck_assert_uint_eq(count_items(w, 0), first - 1);
	check_file(w, 0, true);
	free_world(w);
}
END_TEST

START_TEST(joins_keep_to_the_limit)
{
	struct world *w = make_world(16);
	uint64_t got;
	pblk_t start = take_blocks(w, 600, &got);

	map(w, 0, 0, start, 200, 0);
	map(w, 0, 200, start + 200, 57, 0);
	ck_assert_uint_eq(count_items(w, 0), 2);
	map(w, 0, 257, start + 257, 199, 0);
	ck_assert_uint_eq(count_items(w, 0), 2);
	check_file(w, 0, true);
	/* Without CRCs it is one item whatever the length, but never with others. */
	map(w, 1, 0, take_blocks(w, 500, &got), 500, EXTENT_UNWRITTEN);
	ck_assert_uint_eq(count_items(w, 1), 1);
	check_file(w, 1, false);
	free_world(w);
}
END_TEST

START_TEST(overwriting_the_middle_splits)
{
	struct world *w = make_world(16);

	map_fresh(w, 0, 0, 256, 0);
	ck_assert_uint_eq(count_items(w, 0), 1);
	map_fresh(w, 0, 100, 1, 0);
	ck_assert_uint_eq(count_items(w, 0), 3);
	check_file(w, 0, true);
	unmap(w, 0, 200, 10);
	ck_assert_uint_eq(count_items(w, 0), 4);
	check_file(w, 0, true);
	check_owners(w);
	free_world(w);
}
END_TEST

START_TEST(preallocated_blocks_become_data_in_place)
{
	struct world *w = make_world(16);
	uint64_t got, before;
	pblk_t start = take_blocks(w, 100, &got);

	map(w, 0, 0, start, 100, EXTENT_UNWRITTEN);
	commit(w);
	before = free_blocks(w);
	for (unsigned k = 0; k < 100; k += 10)
		map(w, 0, k, start + k, 10, 0);
	ck_assert_uint_eq(count_items(w, 0), 1);
	check_file(w, 0, true);
	check_owners(w);
	ck_assert_uint_eq(free_blocks(w), before);
	free_world(w);
}
END_TEST

START_TEST(shared_blocks_go_with_the_last_owner)
{
	struct world *w = make_world(16);

	map_fresh(w, 0, 0, 64, 0);
	share(w, 0, 0, 1, 500, 64);
	share(w, 0, 16, 2, 0, 16);
	check_owners(w);
	unmap(w, 0, 0, 64);
	check_owners(w);
	unmap(w, 1, 510, 20);
	check_owners(w);
	unmap(w, 2, 0, 16);
	unmap(w, 1, 0, FILE_BLOCKS);
	check_owners(w);
	ck_assert_uint_eq(free_blocks(w), w->free_at_start);
	free_world(w);
}
END_TEST

struct freed {
	unsigned calls;
	fblk_t fblk;
	pblk_t pblk;
	uint64_t n;
};

static void
note_freed(void *arg, struct txn *t, fblk_t fblk, pblk_t pblk, uint64_t n)
{
	struct freed *f = arg;

	(void)t;
	f->calls++;
	f->fblk = fblk;
	f->pblk = pblk;
	f->n = n;
}

START_TEST(the_freed_hook_gets_what_has_no_owner)
{
	struct world *w = make_world(16);
	struct freed f = { 0 };
	uint64_t before;
	struct txn t;

	map_fresh(w, 0, 10, 30, 0);
	share(w, 0, 20, 1, 0, 10);
	commit(w);
	before = free_blocks(w);
	begin(w, &t, 0, 12);
	/* 18..29, of which 20..29 are shared */
	ck_assert_ok(extent_replace(&t, &w->inode[0], 18, PBLK_NONE, 12, 0, NULL, false, note_freed, &f));
	end(w, &t, 0);
	ck_assert_uint_eq(f.calls, 1);
	ck_assert_uint_eq(f.fblk, 18);
	ck_assert_uint_eq(f.n, 2);
	ck_assert_uint_eq(f.pblk, w->want[0][18].pblk);
	commit(w);
	ck_assert_uint_le(free_blocks(w), before); /* the hook has not freed them */
	free_world(w);
}
END_TEST

START_TEST(bad_arguments_are_refused)
{
	struct world *w = make_world(16);
	struct inode *i = &w->inode[0];
	uint32_t csum = 1;
	struct extent e;
	struct txn t;

	begin(w, &t, 0, 8);
	ck_assert_err(extent_map(&t, i, 0, PBLK_NONE, 1, 0, &csum), EINVAL);
	ck_assert_err(extent_map(&t, i, 0, 1, 1, 0, &csum), EINVAL);
	ck_assert_err(extent_map(&t, i, 0, 5, 0, 0, &csum), EINVAL);
	ck_assert_err(extent_map(&t, i, 0, 5, 1, 0, NULL), EINVAL);
	ck_assert_err(extent_map(&t, i, 0, 5, 1, EXTENT_UNWRITTEN, &csum), EINVAL);
	ck_assert_err(extent_map(&t, i, 0, 5, 1, 8, NULL), EINVAL);
	ck_assert_err(extent_map(&t, i, FBLK_MAX + 1, 5, 1, 0, &csum), EINVAL);
	ck_assert_err(extent_map(&t, i, FBLK_MAX, 5, 2, EXTENT_UNWRITTEN, NULL), EINVAL);
	ck_assert_err(extent_map(&t, i, 0, pool_nblocks(w->fs.pool), 1, 0, &csum), EINVAL);
	ck_assert_err(extent_unmap(&t, i, 1, UINT64_MAX), EINVAL);
	ck_assert_ok(extent_unmap(&t, i, 0, FBLK_MAX + 1));
	end(w, &t, 0);
	ck_assert_err(extent_lookup(i, FBLK_MAX + 1, &e, NULL, 0), EINVAL);
	ck_assert_ok(extent_lookup(i, FBLK_MAX, &e, NULL, 0));
	ck_assert_uint_eq(e.len, 1);
	check_owners(w);
	free_world(w);
}
END_TEST

START_TEST(the_last_block_of_a_file)
{
	struct world *w = make_world(16);
	struct inode *i = &w->inode[0];
	uint32_t csum = 7, got_csum = 0;
	struct extent e;
	struct txn t;
	uint64_t got;
	pblk_t b = take_blocks(w, 1, &got);

	begin(w, &t, 0, 1);
	ck_assert_ok(extent_map(&t, i, FBLK_MAX, b, 1, 0, &csum));
	end(w, &t, 0);
	ck_assert_ok(extent_lookup(i, 0, &e, NULL, 0));
	ck_assert_uint_eq(e.pblk, PBLK_NONE);
	ck_assert_uint_eq(e.len, FBLK_MAX);
	ck_assert_ok(extent_lookup(i, FBLK_MAX, &e, &got_csum, 1));
	ck_assert_uint_eq(e.pblk, b);
	ck_assert_uint_eq(e.len, 1);
	ck_assert_uint_eq(got_csum, 7);
	free_world(w);
}
END_TEST

/* ---- damage ------------------------------------------------------------------------ */

static void
put_raw(struct world *w, uint64_t ino, fblk_t fblk, const struct extent_item *item, size_t len)
{
	struct txn t;

	ck_assert_ok(txn_begin(w->fs.pool, &t, txn_credits(w->fs.pool, 1), 0));
	ck_assert_ok(tree_put(&t, tree_key(ino, ITEM_EXTENT, fblk), item, len));
	txn_end(&t);
}

/* Item 50.. of file 0 is damaged: nothing that needs it works, nothing changes; the rest does. */
static void
expect_damage(struct world *w)
{
	struct inode *i = &w->inode[0];
	uint64_t blocks = i->durable_blocks, free_before, data, data_after, x;
	struct extent e;
	struct txn t;
	uint64_t got;
	pblk_t b = take_blocks(w, 1, &got);
	unsigned logged = errors_logged;

	commit(w);
	free_before = free_blocks(w);
	pool_counters(w->fs.pool, &x, &data, &x);
	extent_cache_free(i);
	ck_assert_err(extent_lookup(i, 55, &e, NULL, 0), EIO);
	ck_assert_uint_gt(errors_logged, logged);
	ck_assert_ok(extent_lookup(i, 5, &e, NULL, 0));
	begin(w, &t, 0, 100);
	ck_assert_err(extent_unmap(&t, i, 0, 100), EIO);
	ck_assert_err(extent_map(&t, i, 55, b, 1, EXTENT_UNWRITTEN, NULL), EIO);
	end(w, &t, 0);
	commit(w);
	pool_counters(w->fs.pool, &x, &data_after, &x);
	ck_assert_uint_eq(data, data_after);
	ck_assert_uint_eq(i->durable_blocks, blocks);
	ck_assert_uint_eq(free_blocks(w), free_before);
	pool_free_data(w->fs.pool, b, 1);
}

START_TEST(damaged_items_give_eio)
{
	static const struct {
		uint64_t pblk;
		uint32_t len, flags;
		size_t bytes;
	} bad[] = {
		{ 100, 1, EXTENT_UNWRITTEN, 15 },                 /* too short */
		{ 100, 1, EXTENT_UNWRITTEN, 20 },                 /* CRCs where none belong */
		{ 100, 4, 0, 16 + 12 },                           /* a CRC is missing */
		{ 100, 0, EXTENT_UNWRITTEN, 16 },                 /* no blocks */
		{ 100, 1, 4, 16 },                                /* unknown flag */
		{ 1, 1, EXTENT_UNWRITTEN, 16 },                   /* a root slot */
		{ UINT64_MAX, 2, EXTENT_UNWRITTEN, 16 },          /* wraps */
		{ 4090, 10, EXTENT_UNWRITTEN, 16 },               /* passes the pool's end */
		{ 100, EXTENT_NOCSUM_BLOCKS_MAX + 1, EXTENT_NOCSUM, 16 },
		{ 100, EXTENT_CSUM_BLOCKS_MAX + 1, 0, 16 + 4 * (EXTENT_CSUM_BLOCKS_MAX + 1) },
	};
	struct extent_item *item = calloc(1, ITEM_VALUE_MAX);
	struct world *w = make_world(16);

	ck_assert_ptr_nonnull(item);
	map_fresh(w, 0, 0, 20, 0);
	for (unsigned n = 0; n < sizeof(bad) / sizeof(bad[0]); n++) {
		*item = (struct extent_item){ bad[n].pblk, bad[n].len, bad[n].flags };
		put_raw(w, w->inode[0].ino, 50, item, bad[n].bytes);
		expect_damage(w);
	}
	/* Sound, but on top of its neighbour. */
	*item = (struct extent_item){ 100, 10, EXTENT_UNWRITTEN };
	put_raw(w, w->inode[0].ino, 50, item, 16);
	put_raw(w, w->inode[0].ino, 59, item, 16);
	extent_cache_free(&w->inode[0]);
	{
		struct txn t;

		begin(w, &t, 0, 100);
		ck_assert_err(extent_unmap(&t, &w->inode[0], 0, 100), EIO);
		end(w, &t, 0);
	}
	free(item);
	free_world(w);
}
END_TEST

START_TEST(a_damaged_count_gives_eio)
{
	struct refcount_item item = { .len = 4, .count = 1 };
	struct world *w = make_world(16);
	uint64_t data, after, x;
	struct txn t;

	map_fresh(w, 0, 0, 20, 0);
	pool_counters(w->fs.pool, &x, &data, &x);
	ck_assert_ok(txn_begin(w->fs.pool, &t, txn_credits(w->fs.pool, 1), 0));
	ck_assert_ok(tree_put(&t, tree_key(INO_NONE, ITEM_REFCOUNT, w->want[0][5].pblk), &item, sizeof(item)));
	txn_end(&t);
	begin(w, &t, 0, 20);
	ck_assert_err(extent_unmap(&t, &w->inode[0], 0, 20), EIO);
	end(w, &t, 0);
	pool_counters(w->fs.pool, &x, &after, &x);
	ck_assert_uint_eq(data, after);
	check_file(w, 0, true);
	free_world(w);
}
END_TEST

/* ---- CRCs --------------------------------------------------------------------------- */

START_TEST(content_is_checked_on_first_touch)
{
	struct world *w = make_world(16);
	struct inode *i = &w->inode[0];
	uint32_t csums[8];
	uint64_t got;
	pblk_t b = take_blocks(w, 8, &got);
	struct txn t;

	for (unsigned k = 0; k < 8; k++) {
		memset(pool_block(w->fs.pool, b + k), (int)k + 1, BLK_SIZE);
		csums[k] = crc32c(pool_block(w->fs.pool, b + k), BLK_SIZE);
	}
	begin(w, &t, 0, 8);
	ck_assert_ok(extent_map(&t, i, 3, b, 8, 0, csums));
	end(w, &t, 0);
	/* Block 2 is damaged before it was looked at, block 5 after. */
	ck_assert_ok(extent_verify(i, 8, b + 5, 1, csums + 5));
	((char *)pool_block(w->fs.pool, b + 2))[77] ^= 1;
	((char *)pool_block(w->fs.pool, b + 5))[77] ^= 1;
	ck_assert_ok(extent_verify(i, 3, b, 2, NULL));
	ck_assert_err(extent_verify(i, 3, b, 3, csums), EIO);
	ck_assert_err(extent_verify(i, 3, b, 3, NULL), EIO);
	ck_assert_ok(extent_verify(i, 6, b + 3, 5, NULL));
	w->fs.opt.verify = FS_VERIFY_ALWAYS;
	ck_assert_err(extent_verify(i, 8, b + 5, 1, NULL), EIO);
	w->fs.opt.verify = FS_VERIFY_FIRST;
	extent_forget_csum(&w->fs, b + 5, 1);
	ck_assert_err(extent_verify(i, 8, b + 5, 1, csums + 5), EIO);
	/* Without the bitmap every read is a first one. */
	free(w->fs.csum_checked);
	w->fs.csum_checked = NULL;
	ck_assert_ok(extent_verify(i, 3, b, 2, NULL));
	ck_assert_err(extent_verify(i, 3, b, 3, NULL), EIO);
	free_world(w);
}
END_TEST

START_TEST(forgetting_is_exact)
{
	struct world *w = make_world(16);

	for (unsigned start = 60; start < 70; start++) {
		for (unsigned n = 0; n < 140; n += 7) {
			memset(w->fs.csum_checked, 0xff, 64);
			extent_forget_csum(&w->fs, start, n);
			for (unsigned b = 0; b < 512; b++)
				expect((w->fs.csum_checked[b / 64] >> (b % 64) & 1) == (b < start || b >= start + n));
		}
	}
	free_world(w);
}
END_TEST

/* ---- threads ------------------------------------------------------------------------- */

#define LOOKUPS 20000u

/* The layout never changes what a block of the file holds here: pblk - fblk is one of two. */
struct reader {
	struct world *w;
	pblk_t a, b;
	uint64_t seed;
};

static void *
read_map(void *arg)
{
	struct reader *r = arg;
	struct inode *i = &r->w->inode[0];

	for (unsigned n = 0; n < LOOKUPS; n++) {
		fblk_t f = unit_random(&r->seed) % 1000;
		struct extent e;
		int err;

		rwl_rdlock(&i->layout_lock);
		err = extent_lookup(i, f, &e, NULL, 0);
		rwl_unlock(&i->layout_lock);
		if (err < 0 || e.fblk != f || (e.pblk != r->a + f && e.pblk != r->b + f))
			return r;
	}
	return NULL;
}

START_TEST(lookups_in_threads)
{
	struct world *w = make_world(32);
	struct reader reader[3];
	pthread_t thread[3];
	uint64_t got;
	pblk_t a = take_blocks(w, 1000, &got), b = take_blocks(w, 1000, &got);
	uint32_t zeroes[1000] = { 0 };
	struct txn t;

	map(w, 0, 0, a, 1000, 0);
	for (unsigned n = 0; n < 3; n++) {
		reader[n] = (struct reader){ w, a, b, n + 1 };
		ck_assert_int_eq(pthread_create(&thread[n], NULL, read_map, &reader[n]), 0);
	}
	/* Blocks stay allocated: their owner here is the test. */
	for (unsigned n = 0; n < 400; n++) {
		fblk_t f = random_below(w, 1000);
		uint64_t len = min_of(1 + random_below(w, 50), 1000 - f);
		struct freed freed = { 0 };

		begin(w, &t, 0, len);
		ck_assert_ok(extent_replace(&t, &w->inode[0], f, (n % 2 ? a : b) + f, len, 0, zeroes, false,
		    note_freed, &freed));
		end(w, &t, 0);
	}
	for (unsigned n = 0; n < 3; n++) {
		void *failed;

		pthread_join(thread[n], &failed);
		ck_assert_ptr_null(failed);
	}
	free_world(w);
}
END_TEST

static void *
unmap_all(void *arg)
{
	struct reader *r = arg;
	unsigned file = (unsigned)r->seed;

	for (unsigned n = 0; n < 600; n += 3) {
		struct txn t;

		if (txn_begin(r->w->fs.pool, &t, extent_credits(&r->w->inode[file], 1, 3), 0) < 0)
			return r;
		rwl_wrlock(&r->w->inode[file].layout_lock);
		if (extent_unmap(&t, &r->w->inode[file], n, 3) < 0)
			return r;
		rwl_unlock(&r->w->inode[file].layout_lock);
		txn_end(&t);
	}
	return NULL;
}

START_TEST(owners_go_in_threads)
{
	struct world *w = make_world(16);
	struct reader r[FILES];
	pthread_t thread[FILES];

	map_fresh(w, 0, 0, 600, 0);
	for (unsigned file = 1; file < FILES; file++)
		share(w, 0, 0, file, 0, 600);
	check_owners(w);
	for (unsigned file = 0; file < FILES; file++) {
		r[file] = (struct reader){ .w = w, .seed = file };
		ck_assert_int_eq(pthread_create(&thread[file], NULL, unmap_all, &r[file]), 0);
	}
	for (unsigned file = 0; file < FILES; file++) {
		void *failed;

		pthread_join(thread[file], &failed);
		ck_assert_ptr_null(failed);
		memset(w->want[file], 0, sizeof(w->want[file]));
	}
	check_owners(w);
	ck_assert_uint_eq(free_blocks(w), w->free_at_start);
	free_world(w);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("extent");
	TCase *t = tcase_create("map");

	tcase_add_test(t, random_changes);
	tcase_add_test(t, half_a_change_is_never_committed);
	tcase_add_test(t, sequential_runs_are_joined);
	tcase_add_test(t, joins_keep_to_the_limit);
	tcase_add_test(t, overwriting_the_middle_splits);
	tcase_add_test(t, preallocated_blocks_become_data_in_place);
	tcase_add_test(t, shared_blocks_go_with_the_last_owner);
	tcase_add_test(t, the_freed_hook_gets_what_has_no_owner);
	tcase_add_test(t, bad_arguments_are_refused);
	tcase_add_test(t, the_last_block_of_a_file);
	suite_add_tcase(s, t);
	t = tcase_create("damage");
	tcase_add_test(t, damaged_items_give_eio);
	tcase_add_test(t, a_damaged_count_gives_eio);
	suite_add_tcase(s, t);
	t = tcase_create("crc");
	tcase_add_test(t, content_is_checked_on_first_touch);
	tcase_add_test(t, forgetting_is_exact);
	suite_add_tcase(s, t);
	t = tcase_create("threads");
	tcase_add_test(t, lookups_in_threads);
	tcase_add_test(t, owners_go_in_threads);
	suite_add_tcase(s, t);
	return unit_main(s);
}
