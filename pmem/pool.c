/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening ties the modules of this layer together: file, lock, mapping, root,
 * domain, allocator, open transaction. Nothing of the medium is believed until
 * root_read has judged the root; nothing can be allocated until the owner's walk
 * of the tree has said what is in use.
 *
 * The first store to a page of a shared mapping is a fault, and for a pool whose
 * file has holes it may be the moment when memory or disk turns out to be full: a
 * SIGBUS. Both are taken care of when blocks are allocated, with no lock held.
 * On tmpfs and DAX the page tables of 2 MiB are filled by one call the first time
 * that a block in them is handed out; a bit remembers it. On a disk filesystem the
 * kernel would take every page so touched for dirty, and write it; and it
 * write-protects pages again as it cleans them. So there exactly the allocated
 * blocks are touched, each time.
 */
#include "pmem/pool_i.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "pmem/bits.h"
#include "pmem/held.h"
#include "pmem/log.h"

#define NODE_WINDOW ((uint64_t)128)
#define POPULATE_CHUNK ((uint64_t)1 << POPULATE_CHUNK_SHIFT)

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* Whether pool_populate has found these to be all right: the rule for nodes in a sparse pool. */
static bool
chunks_populated(void *arg, pblk_t start, uint64_t n)
{
	struct pool *p = arg;
	uint64_t last = ((start + n) << BLK_SHIFT) - 1;

	for (uint64_t c = (start << BLK_SHIFT) >> POPULATE_CHUNK_SHIFT; c <= last >> POPULATE_CHUNK_SHIFT; c++)
		if (!(__atomic_load_n(&p->populated[c / 64], __ATOMIC_RELAXED) >> c % 64 & 1))
			return false;
	return true;
}

/* ---- opening and closing -------------------------------------------------- */

static int
read_root(struct pool *p, const char *path, unsigned flags, struct pool_error *err)
{
	const char *why;
	uint64_t incompat = FEATURE_INCOMPAT_SUPP |
	    (flags & POOL_IMAGE ? FEATURE_INCOMPAT_IMAGE | FEATURE_INCOMPAT_HIDDEN : 0);
	int ret = root_read(p->base, p->file.bytes >> BLK_SHIFT, incompat, &p->root, &why);

	if (ret == -EIO && (flags & POOL_MEND) && p->root.txn > 0 && root_mend(&p->root, p->file.bytes >> BLK_SHIFT) == 0) {
		p->root_damage = why;
		ret = 0;
	}
	if (ret < 0) {
		pool_error_set(err, "%s: %s", path, why);
		return ret;
	}
	if ((p->root.feature_ro_compat & ~FEATURE_RO_COMPAT_SUPP) && !p->readonly) {
		pool_error_set(err, "%s: it has a feature that this program can only read", path);
		return -EROFS;
	}
	p->nblocks = p->root.nblocks;
	p->tree_root = p->root.tree[0];
	p->node_owner = pool_node_owner(&p->root);
	p->next_ino = p->root.next_ino;
	p->ninodes = p->root.ninodes;
	p->data_blocks = p->root.data_blocks;
	p->node_blocks = p->root.node_blocks;
	return 0;
}

/* The root that was read, and what was stored to dax files, may be in the page cache only, left there by a daemon
 * that was killed; but the next commit goes to the other slot and reuses blocks. In the pmem domain whoever
 * stored has written it back, in the same breath; a root is worth being sure of. */
static int
settle(struct pool *p)
{
	bool all = domain_kind(p->domain) == DOMAIN_PAGECACHE;

	return domain_flush_range(p->domain, p->base, all ? p->file.map_len : ROOT_SLOTS * BLK_SIZE);
}

static int
make_parts(struct pool *p, const struct pool_options *opt)
{
	enum domain_kind kind = opt->domain >= 0 ? (enum domain_kind)opt->domain :
	                                      domain_detect(p->file.fd, p->base, p->file.map_len);
	int ret;

	p->verified = bits_new(p->nblocks);
	p->populated = bits_new(p->file.map_len >> POPULATE_CHUNK_SHIFT);
	if (!p->verified || !p->populated)
		return -ENOMEM;
	ret = domain_open(&p->domain, kind, p->file.fd, p->base, p->file.map_len);
	if (ret == 0 && opt->record)
		domain_record(p->domain, opt->record, opt->record_arg);
	if (ret == 0 && !p->readonly)
		ret = settle(p);
	if (ret == 0)
		ret = alloc_new(&p->alloc, POOL_FIRST_BLOCK, p->nblocks);
	if (ret == 0 && p->file.sparse)
		alloc_set_backed(p->alloc, chunks_populated, p);
	if (ret == 0)
		ret = held_new(p);
	if (ret == 0)
		ret = txn_state_new(p);
	return ret;
}

int
pool_open(struct pool **out, const char *path, const struct pool_options *opt, struct pool_error *err)
{
	struct pool *p;
	int ret;

	pool_error_set(err, "%s", "");
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->file.fd = -1;
	p->readonly = opt->flags & POOL_RDONLY;
	rwl_init(&p->tree_lock, LOCK_TREE, 0);
	mtx_init(&p->root_lock, LOCK_LEAF, 0);
	mtx_init(&p->shared.lock, LOCK_REFCOUNT, 0);

	ret = pool_file_open(&p->file, path, p->readonly ? O_RDONLY : O_RDWR, err);
	if (ret == 0)
		ret = pool_file_lock(&p->file, path, false, opt->lock_wait_ms, err);
	if (ret == 0)
		ret = pool_file_map(&p->file, path, p->readonly, err);
	if (ret == 0) {
		p->base = p->file.base;
		p->path = realpath(path, NULL);
		if (!p->path)
			p->path = strdup(path);
		ret = p->path ? read_root(p, path, opt->flags, err) : -ENOMEM;
	}
	if (ret == 0)
		ret = make_parts(p, opt);
	if (ret < 0) {
		if (err && !err->text[0])
			pool_error_set(err, "%s: %s", path, strerror(-ret));
		pool_close(p);
		return ret;
	}
	*out = p;
	return 0;
}

void
pool_close(struct pool *p)
{
	if (!p)
		return;
	if (p->txn)
		txn_state_free(p);
	held_free(p);
	alloc_destroy(p->alloc);
	domain_close(p->domain);
	pool_file_close(&p->file);
	free(p->rebuild);
	free(p->populated);
	free(p->verified);
	free(p->path);
	mtx_destroy(&p->shared.lock);
	mtx_destroy(&p->root_lock);
	rwl_destroy(&p->tree_lock);
	free(p);
}

int
pool_commit_clean(struct pool *p)
{
	return txn_commit_clean(p);
}

/* ---- what a pool is ------------------------------------------------------- */

void *
pool_block(struct pool *p, pblk_t blk)
{
	return pool_addr(p, blk);
}

pblk_t
pool_block_of(struct pool *p, const void *addr)
{
	return (pblk_t)((const uint8_t *)addr - p->base) >> BLK_SHIFT;
}

uint64_t
pool_nblocks(const struct pool *p)
{
	return p->nblocks;
}

bool
pool_range_ok(const struct pool *p, pblk_t start, uint64_t n)
{
	return n > 0 && start >= POOL_FIRST_BLOCK && start < p->nblocks && n <= p->nblocks - start;
}

int
pool_fd(const struct pool *p)
{
	return p->file.fd;
}

const char *
pool_path(const struct pool *p)
{
	return p->path;
}

bool
pool_readonly(const struct pool *p)
{
	return p->readonly;
}

struct domain *
pool_domain(struct pool *p)
{
	return p->domain;
}

struct alloc *
pool_alloc(struct pool *p)
{
	return p->alloc;
}

const char *
pool_root_damage(struct pool *p)
{
	return txn_commits(p) == 0 ? p->root_damage : NULL;
}

void
pool_root(struct pool *p, struct root_block *out)
{
	mtx_lock(&p->root_lock);
	*out = p->root;
	mtx_unlock(&p->root_lock);
}

void
pool_counters(struct pool *p, uint64_t *ninodes, uint64_t *data_blocks, uint64_t *node_blocks)
{
	*ninodes = __atomic_load_n(&p->ninodes, __ATOMIC_RELAXED);
	*data_blocks = __atomic_load_n(&p->data_blocks, __ATOMIC_RELAXED);
	*node_blocks = __atomic_load_n(&p->node_blocks, __ATOMIC_RELAXED);
}

void
pool_set_counters(struct pool *p, uint64_t next_ino, uint64_t ninodes, uint64_t data_blocks, uint64_t node_blocks)
{
	__atomic_store_n(&p->next_ino, next_ino, __ATOMIC_RELAXED);
	__atomic_store_n(&p->ninodes, ninodes, __ATOMIC_RELAXED);
	__atomic_store_n(&p->data_blocks, data_blocks, __ATOMIC_RELAXED);
	__atomic_store_n(&p->node_blocks, node_blocks, __ATOMIC_RELAXED);
}

/* ---- the walk at mount ---------------------------------------------------- */

int
pool_rebuild_begin(struct pool *p)
{
	free(p->rebuild);
	p->rebuild = bits_new(p->nblocks);
	if (!p->rebuild)
		return -ENOMEM;
	bits_put(p->rebuild, 0, POOL_FIRST_BLOCK, true);
	return 0;
}

int
pool_rebuild_used(struct pool *p, pblk_t start, uint64_t n)
{
	if (!pool_range_ok(p, start, n))
		return -EIO;
	bits_put(p->rebuild, start, n, true);
	return 0;
}

int
pool_rebuild_end(struct pool *p)
{
	pblk_t start, end = 0;

	held_find(p);
	for (;;) {
		start = bits_find(p->rebuild, end, p->nblocks, false);
		if (start == p->nblocks)
			break;
		end = bits_find(p->rebuild, start, p->nblocks, true);
		alloc_free(p->alloc, start, end - start);
	}
	free(p->rebuild);
	p->rebuild = NULL;
	__atomic_store_n(&p->next_ino, p->root.next_ino, __ATOMIC_RELAXED);
	__atomic_store_n(&p->ninodes, p->root.ninodes, __ATOMIC_RELAXED);
	__atomic_store_n(&p->data_blocks, p->root.data_blocks, __ATOMIC_RELAXED);
	__atomic_store_n(&p->node_blocks, p->root.node_blocks, __ATOMIC_RELAXED);

	/* The walk has touched every node. In a shared mapping this only drops page
	 * table entries: the contents are the file's and stay, and what is
	 * dirty goes to the page cache as such (DAX: is in the memory already, at worst in a CPU
	 * cache line, which a mapping has no part in). Mappings that can't do it refuse. */
	(void)madvise(p->base, p->file.map_len, MADV_DONTNEED);
	return 0;
}

/* ---- space ---------------------------------------------------------------- */

/* Returns 1 if the kernel can't do this at all. */
static int
populate_bytes(struct pool *p, uint64_t off, uint64_t len)
{
	while (madvise(p->base + off, len, MADV_POPULATE_WRITE) < 0) {
		switch (errno) {
		case EINTR:
		case EAGAIN:
			continue;
		case EINVAL:
			return 1;
		default: /* ENOMEM, EFAULT (a store would be SIGBUS), EHWPOISON */
			return -ENOSPC;
		}
	}
	return 0;
}

static int
populate_chunk(struct pool *p, uint64_t chunk)
{
	uint64_t mask = (uint64_t)1 << chunk % 64;
	uint64_t *word = &p->populated[chunk / 64];
	uint64_t off = chunk << POPULATE_CHUNK_SHIFT;
	int ret;

	if (__atomic_load_n(word, __ATOMIC_RELAXED) & mask)
		return 0;
	ret = populate_bytes(p, off, min_of(POPULATE_CHUNK, p->file.map_len - off));
	if (ret == 0)
		__atomic_fetch_or(word, mask, __ATOMIC_RELAXED);
	return ret;
}

static int
populate_chunks(struct pool *p, uint64_t off, uint64_t len)
{
	uint64_t last = (off + len - 1) >> POPULATE_CHUNK_SHIFT;
	int ret = 0;

	for (uint64_t c = off >> POPULATE_CHUNK_SHIFT; c <= last && ret == 0; c++)
		ret = populate_chunk(p, c);
	return ret;
}

int
pool_populate(struct pool *p, pblk_t start, uint64_t n)
{
	uint64_t off = start << BLK_SHIFT, len = n << BLK_SHIFT;
	bool exact = domain_kind(p->domain) == DOMAIN_PAGECACHE;
	int ret = 0;

	if (n == 0 || __atomic_load_n(&p->no_populate, __ATOMIC_RELAXED))
		return 0;
	if (!exact)
		ret = populate_chunks(p, off, len);
	/* Where 2 MiB can't be had, these blocks still may. */
	if (exact || ret == -ENOSPC)
		ret = populate_bytes(p, off, len);
	if (ret > 0) {
		__atomic_store_n(&p->no_populate, true, __ATOMIC_RELAXED);
		ret = 0;
	}
	return ret;
}

/* In a file with holes: whether there are blocks for nodes that have memory or disk space behind them
 * (alloc_set_backed makes nodes prefer them). A tree change must not fail half way, so this is
 * asked before a transaction begins, for as many nodes as several of them at once may need. */
static bool
nodes_backed(struct pool *p)
{
	pblk_t start;
	uint64_t n;

	if (!p->file.sparse)
		return true;
	alloc_node_window(p->alloc, NODE_WINDOW, &start, &n);
	return n == 0 || populate_chunks(p, start << BLK_SHIFT, n << BLK_SHIFT) >= 0;
}

/* The reserve has to let every deletion and the writeback of everything dirty pass.
 *
 * What writeback makes of nodes grows in two ways. With the length of data: four
 * bytes of CRC a block, three items of EXTENT_CSUM_BLOCKS_MAX in a leaf, so nblocks/768 leaves for
 * a pool full of data, nblocks/384 if splits left them half full; the base of
 * nblocks/256 covers that whatever the extents' lengths are. And with the number
 * of dirty extents W (wb_credits): each may have to copy the leaf it falls into
 * and the path to it, but no node is copied twice by one commit, so this is bounded by W
 * (inner nodes being few: the 64) as well as by the nodes that there are; and a short
 * extent's item adds some 44 bytes to a leaf, at least half of which a split fills, so new
 * leaves number at most W/32.
 *
 * Where blocks are shared, writeback changes counts as well: one item for each run of blocks with one count, in the
 * end at most one for each shared block.
 *
 * Deleting works its way through a file in transactions of bounded size; the base's
 * minimum of 64 nodes is several times what one of them can need. A pool of a few MiB
 * can't spare that, and has a tree of two levels.
 *
 * Where the pool file has holes and what is below it is full, blocks that are free here are none
 * that could be had: then everything is reserve. */
uint64_t
pool_meta_reserve(struct pool *p)
{
	uint64_t base = max_of(p->nblocks / 256, min_of((uint64_t)64, p->nblocks / 8));
	uint64_t w = __atomic_load_n(&p->wb_credits, __ATOMIC_RELAXED);
	uint64_t nodes = __atomic_load_n(&p->node_blocks, __ATOMIC_RELAXED);
	uint64_t shared = __atomic_load_n(&p->shared.blocks, __ATOMIC_RELAXED);

	if (!nodes_backed(p))
		return UINT64_MAX;
	if (shared > 0)
		base += txn_credits_all(p, __atomic_load_n(&p->shared.items, __ATOMIC_RELAXED), shared,
		    sizeof(struct refcount_item));
	return base + min_of(w, nodes + 64) + w / 32;
}

struct pool_shared *
pool_shared(struct pool *p)
{
	return &p->shared;
}

uint64_t *
pool_wb_credits(struct pool *p)
{
	return &p->wb_credits;
}

int
pool_alloc_data(struct pool *p, pblk_t goal, uint64_t want, unsigned flags, pblk_t *start, uint64_t *got)
{
	uint64_t keep = flags & ALLOC_RESERVED ? 0 : pool_meta_reserve(p);
	int ret = alloc_run(p->alloc, goal, want, keep, flags, start, got);

	if (ret == 0) {
		ret = pool_populate(p, *start, *got);
		if (ret < 0)
			alloc_undo(p->alloc, *start, *got, flags);
	}
	if (ret < 0)
		*start = PBLK_NONE;
	return ret;
}

void
pool_free_data(struct pool *p, pblk_t start, uint64_t n)
{
	alloc_free(p->alloc, start, n);
}
