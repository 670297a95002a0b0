/* SPDX-License-Identifier: BSD-3-Clause */
/* Third phase: inodes and what hangs on them, and who owns which block.
 *
 * The items of one inode follow each other: the inode, its symlink chunks,
 * attributes, (entries: check_names.c,) extents. So one struct file holds all
 * that has to be compared, and is closed when the next inode comes.
 *
 * A block has one owner unless the counts say otherwise. Blocks outside of the counted runs
 * have a bit each: one that is set already is named twice. What extents name inside of
 * the counted runs is noted as pieces; sorted by their starts and by their ends, the
 * two lists tell for every block how many pieces cover it, and that is compared
 * with its count.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/check_i.h"
#include "fs/extent.h"
#include "fs/inode_i.h"
#include "fs/siphash.h"
#include "fs/xattr.h"

#define PHASE "files"
#define XATTR_HASH_SHIFT 16 /* 48 bits of hash, */
#define XATTR_SLOT_BITS 8   /* then slot, then chunk */

struct piece {
	pblk_t start, end;
};

struct file {
	uint64_t ino;            /* INO_NONE: none yet */
	struct ck_inode *in;     /* NULL: it has no inode item */
	bool sound;              /* its inode item is: size and blocks can be compared */
	bool lost;               /* it has items nevertheless */
	bool entries, nocsum;    /* what there is without an inode */
	struct inode_attr attr;
	uint64_t size, nblocks;

	uint64_t blocks;         /* of extents */
	bool extents_damaged;    /* so that their blocks can't be counted */
	fblk_t end;              /* of the extent before */

	uint64_t chunks, bytes;  /* of a symlink, so far */
	bool symlink_damaged;

	uint64_t xattr;          /* key of the attribute being read, without chunk */
	uint32_t xattr_len, xattr_got;
	unsigned xattr_chunk;    /* that comes next; 0: none is being read */
};

struct files {
	struct file f;
	struct ck_array pieces;  /* struct piece */
};

/* ---- inodes ---------------------------------------------------------------------- */

/* All parts of the attribute that is being read. */
static void
fix_delete_xattr(struct ck *c, const struct file *f)
{
	fix_delete_range(c, tree_key(f->ino, ITEM_XATTR, f->xattr << XATTR_SLOT_BITS),
	    tree_key(f->ino, ITEM_XATTR, f->xattr << XATTR_SLOT_BITS | 0xff));
}

static void
end_xattr(struct ck *c, struct file *f)
{
	if (f->xattr_chunk > 0 && f->xattr_got != f->xattr_len) {
		ck_report(c, CHECK_XATTR, f->ino, CHECK_NOWHERE, CHECK_NOWHERE,
		    "attribute at %llx has %u bytes, it should have %u", (unsigned long long)f->xattr,
		    f->xattr_got, f->xattr_len);
		fix_delete_xattr(c, f);
	}
	f->xattr_chunk = 0;
}

/* All items of an inode. */
static void
fix_delete_file(struct ck *c, uint64_t ino)
{
	fix_delete_range(c, (struct tree_key){ ino << 8, 0 }, (struct tree_key){ ino << 8 | 0xff, UINT64_MAX });
}

/* The last part of a target tells that it is the last by not being full. */
static bool
target_is_whole(const struct file *f)
{
	return !f->symlink_damaged && f->bytes % ITEM_CHUNK != 0;
}

/* Items without an inode. */
static void
end_lost_file(struct ck *c, struct file *f)
{
	struct inode_item item;

	ck_report(c, CHECK_NO_INODE, f->ino, CHECK_NOWHERE, CHECK_NOWHERE, "items of an inode that does not exist");
	if (f->ino == INO_ROOT)
		return; /* made with the names */
	if (f->entries)
		fix_new_inode(c, &item, S_IFDIR | 0700, 0);
	else if (f->blocks > 0)
		fix_new_inode(c, &item, S_IFREG | 0600, min_of(f->end << BLK_SHIFT, (uint64_t)FILE_MAX_BYTES));
	else if (target_is_whole(f))
		fix_new_inode(c, &item, S_IFLNK | 0777, f->bytes);
	else {
		fix_delete_file(c, f->ino);
		return;
	}
	if (f->nocsum)
		item.flags = INODE_FL_DAX;
	fix_put(c, tree_key(f->ino, ITEM_INODE, 0), &item, sizeof(item));
}

static void
end_file(struct ck *c, struct file *f)
{
	struct tree_key key = tree_key(f->ino, ITEM_INODE, 0);

	end_xattr(c, f);
	if (f->lost)
		end_lost_file(c, f);
	if (!f->in || !f->sound)
		return;
	if (S_ISLNK(f->attr.mode) && !f->symlink_damaged && f->bytes != f->size) {
		ck_report(c, CHECK_SYMLINK, f->ino, CHECK_NOWHERE, CHECK_NOWHERE,
		    "the target has %llu bytes, it should have %llu", (unsigned long long)f->bytes,
		    (unsigned long long)f->size);
		if (target_is_whole(f))
			fix_patch(c, key, offsetof(struct inode_item, size), &f->bytes, sizeof(f->bytes));
		else
			fix_delete_file(c, f->ino);
	}
	if (!f->extents_damaged && f->nblocks != f->blocks) {
		ck_report(c, CHECK_NBLOCKS, f->ino, CHECK_NOWHERE, CHECK_NOWHERE,
		    "the inode counts %llu blocks, its extents name %llu", (unsigned long long)f->nblocks,
		    (unsigned long long)f->blocks);
		fix_patch(c, key, offsetof(struct inode_item, nblocks), &f->blocks, sizeof(f->blocks));
	}
}

static void
begin_file(struct ck *c, struct file *f, uint64_t ino)
{
	end_file(c, f);
	*f = (struct file){ .ino = ino, .in = ck_inode(c, ino) };
}

/* Values that are possible, where those on the medium are not. What they should be is found with the
 * entries and extents. */
static void
sanitize(struct inode_item *item, uint64_t ino)
{
	item->mode &= S_IFMT | 07777u;
	item->flags &= INODE_FL_SUPP;
	item->reserved = 0;
	item->reserved2 = 0;
	item->nlink = min_of(item->nlink, INODE_NLINK_MAX);
	item->nblocks = min_of(item->nblocks, FBLK_MAX);
	if (S_ISREG(item->mode) && item->size > FILE_MAX_BYTES)
		item->size = 0;
	if (S_ISLNK(item->mode) && (item->size == 0 || item->size > SYMLINK_MAX_BYTES))
		item->size = 1;
	if (S_ISDIR(item->mode) && (ino == INO_ROOT || item->parent == INO_NONE || item->parent > INO_MAX))
		item->parent = INO_ROOT;
	item->atime_nsec = item->atime_nsec < 1000000000 ? item->atime_nsec : 0;
	item->mtime_nsec = item->mtime_nsec < 1000000000 ? item->mtime_nsec : 0;
	item->ctime_nsec = item->ctime_nsec < 1000000000 ? item->ctime_nsec : 0;
	item->btime_nsec = item->btime_nsec < 1000000000 ? item->btime_nsec : 0;
}

static void
check_inode(struct ck *c, struct file *f, const void *value, size_t len)
{
	struct tree_key key = tree_key(f->ino, ITEM_INODE, 0);
	const char *why = "wrong length";
	struct inode_item item;

	if (len == sizeof(item)) {
		memcpy(&item, value, sizeof(item));
		why = inode_item_decode(&item, f->ino, &f->attr, &f->size, &f->nblocks);
		if (!why && (item.reserved != 0 || item.reserved2 != 0))
			why = "reserved fields that are not zero";
	}
	if (!why) {
		f->sound = true;
		return;
	}
	ck_report(c, CHECK_INODE, f->ino, CHECK_NOWHERE, CHECK_NOWHERE, "inode item: %s", why);
	if (len == sizeof(item))
		sanitize(&item, f->ino);
	if (len == sizeof(item) && !inode_item_decode(&item, f->ino, &f->attr, &f->size, &f->nblocks))
		fix_put(c, key, &item, sizeof(item));
	else
		fix_delete(c, key); /* the next check tells from what is left what it was */
}

/* ---- symlinks and attributes ----------------------------------------------------------- */

static void
check_symlink(struct ck *c, struct file *f, uint64_t chunk, const void *value, size_t len)
{
	const char *why = NULL;

	if (f->symlink_damaged)
		return;
	if (f->sound && !S_ISLNK(f->attr.mode))
		why = "a target in what is no symlink";
	else if (chunk != f->chunks || f->bytes != f->chunks * ITEM_CHUNK)
		why = "a part of the target is missing";
	else if (len == 0 || len > ITEM_CHUNK)
		why = "a part of the target has the wrong length";
	else if (memchr(value, '\0', len))
		why = "the target contains a null character";
	if (why) {
		f->symlink_damaged = true;
		ck_report(c, CHECK_SYMLINK, f->ino, CHECK_NOWHERE, CHECK_NOWHERE, "%s", why);
		/* Half a target leads elsewhere: better none. */
		if (f->sound && !S_ISLNK(f->attr.mode))
			fix_delete_range(c, tree_key(f->ino, ITEM_SYMLINK, 0),
			    tree_key(f->ino, ITEM_SYMLINK, UINT64_MAX));
		else if (f->in)
			fix_delete_file(c, f->ino);
		return;
	}
	f->chunks++;
	f->bytes += len;
}

static const char *
xattr_chunk(const struct ck *c, struct file *f, unsigned chunk, const uint8_t *value, size_t len)
{
	struct xattr_item item;
	uint64_t seed[2], hash;

	if (chunk != f->xattr_chunk)
		return "a part is missing";
	if (len < XATTR_ITEM_HEAD)
		return "a part is too short";
	memcpy(&item, value, XATTR_ITEM_HEAD);
	len -= XATTR_ITEM_HEAD;
	if (len > ITEM_CHUNK)
		return "a part is too long";
	if (chunk > 0) {
		if (item.namelen != 0 || item.value_len != f->xattr_len)
			return "a part that does not belong to the first";
	} else {
		if (item.namelen == 0 || item.namelen > len)
			return "impossible length of the name";
		if (memchr(value + XATTR_ITEM_HEAD, '\0', item.namelen))
			return "the name contains a null character";
		if (item.value_len > XATTR_VALUE_MAX)
			return "it is longer than an attribute can be";
		memcpy(seed, c->root.hash_seed, sizeof(seed));
		hash = siphash24(seed, value + XATTR_ITEM_HEAD, item.namelen) >> XATTR_HASH_SHIFT;
		if (f->xattr >> XATTR_SLOT_BITS != (hash ? hash : 1) && !c->no_hashes)
			return "it is filed under another name's hash";
		f->xattr_len = item.value_len;
		f->xattr_got = 0;
		len -= item.namelen;
	}
	if (len > f->xattr_len - f->xattr_got)
		return "a part is longer than what is left";
	/* All parts but the last are full. */
	if (f->xattr_got + len < f->xattr_len && len + (chunk == 0 ? item.namelen : 0u) != ITEM_CHUNK)
		return "a part in the middle is not full";
	f->xattr_got += (uint32_t)len;
	f->xattr_chunk++;
	return NULL;
}

static void
check_xattr(struct ck *c, struct file *f, uint64_t lo, const void *value, size_t len)
{
	const char *why;

	if (lo >> 8 != f->xattr || f->xattr_chunk == 0) {
		end_xattr(c, f);
		f->xattr = lo >> 8;
	}
	why = xattr_chunk(c, f, lo & 0xff, value, len);
	if (!why)
		return;
	ck_report(c, CHECK_XATTR, f->ino, CHECK_NOWHERE, CHECK_NOWHERE, "attribute at %llx: %s",
	    (unsigned long long)lo, why);
	fix_delete_xattr(c, f);
	f->xattr_chunk = 0;
}

/* ---- extents and blocks ------------------------------------------------------------------ */

/* The counted run that covers b, or the first one behind it. */
static const struct refcount_run *
find_count(const struct ck *c, pblk_t b)
{
	size_t low = 0, high = c->counts.n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		const struct refcount_run *r = ck_array_at(&c->counts, mid);

		if (r->start + r->len <= b)
			low = mid + 1;
		else
			high = mid;
	}
	return low < c->counts.n ? ck_array_at(&c->counts, low) : NULL;
}

typedef bool block_test(struct ck *c, pblk_t b);

static bool
block_is_node(struct ck *c, pblk_t b)
{
	return ck_bit(c->node_bits, b);
}

static bool
block_is_taken(struct ck *c, pblk_t b)
{
	return ck_bit(c->data_bits, b);
}

/* Report the runs of blocks from..to of the extent that the test holds for. */
static void
report_runs(struct ck *c, const struct file *f, const struct extent *e, pblk_t from, pblk_t to,
    block_test *test, enum check_code code, const char *what)
{
	while (from < to) {
		pblk_t end = from + 1;

		if (!test(c, from)) {
			from++;
			continue;
		}
		while (end < to && test(c, end))
			end++;
		ck_report(c, code, f->ino, (e->fblk + (from - e->pblk)) << BLK_SHIFT, from,
		    "%llu block%s %s", (unsigned long long)(end - from), end - from == 1 ? "" : "s", what);
		from = end;
	}
}

/* Count [from, to) of an extent in: part is inside of a counted run or wholly outside. */
static int
own_part(struct ck *c, struct files *s, const struct extent *e, pblk_t from, pblk_t to, bool counted)
{
	struct piece *piece;

	if (counted) {
		piece = ck_array_add(&s->pieces);
		if (!piece)
			return -ENOMEM;
		*piece = (struct piece){ from, to };
	} else {
		report_runs(c, &s->f, e, from, to, block_is_taken, CHECK_BLOCK_TWICE,
		    "that another extent names too, without a shared count");
	}
	for (pblk_t b = from; b < to; b++) {
		if (!ck_bit(c->data_bits, b))
			c->res->data_blocks++;
		ck_set_bit(c->data_bits, b);
	}
	return 0;
}

static int
own_blocks(struct ck *c, struct files *s, const struct extent *e)
{
	pblk_t from = e->pblk, end = e->pblk + e->len;
	const struct refcount_run *run = find_count(c, from), *last;
	int r;

	report_runs(c, &s->f, e, from, end, block_is_node, CHECK_BLOCK_NODE, "of this file belong to the tree");
	last = c->counts.n > 0 ? (const struct refcount_run *)ck_array_at(&c->counts, c->counts.n - 1) : NULL;
	while (from < end) {
		bool counted = run && run->start <= from;
		pblk_t to = counted ? run->start + run->len : run ? run->start : end;

		to = min_of(to, end);
		r = own_part(c, s, e, from, to, counted);
		if (r < 0)
			return r;
		if (counted)
			run = run == last ? NULL : run + 1;
		from = to;
	}
	return 0;
}

/* Take away what lies before fblk from. */
static void
fix_trim_extent(struct ck *c, struct tree_key key, const void *value, size_t len, const struct extent *e,
    fblk_t from)
{
	unsigned char trimmed[ITEM_VALUE_MAX];
	struct extent_item item;
	uint64_t cut = from - e->fblk;

	fix_delete(c, key);
	if (cut >= e->len)
		return;
	memcpy(&item, value, EXTENT_ITEM_HEAD);
	item.pblk += cut;
	item.len -= (uint32_t)cut;
	memcpy(trimmed, &item, EXTENT_ITEM_HEAD);
	if (len > EXTENT_ITEM_HEAD) {
		len -= cut * sizeof(uint32_t);
		memcpy(trimmed + EXTENT_ITEM_HEAD,
		    (const unsigned char *)value + EXTENT_ITEM_HEAD + cut * sizeof(uint32_t), len - EXTENT_ITEM_HEAD);
	}
	key.lo = from;
	fix_insert(c, key, trimmed, len);
}

static int
check_extent(struct ck *c, struct files *s, struct tree_key key, const void *value, size_t len)
{
	struct file *f = &s->f;
	struct extent e;
	const uint8_t *csums;
	const char *why = extent_decode(c->pool, key, value, len, &e, &csums);
	uint64_t offset = key.lo <= FBLK_MAX ? key.lo << BLK_SHIFT : CHECK_NOWHERE;
	fblk_t eof;

	if (!why && f->sound && !S_ISREG(f->attr.mode))
		why = "extent in what is no regular file";
	if (why) {
		ck_report(c, CHECK_EXTENT, f->ino, offset, e.pblk ? e.pblk : CHECK_NOWHERE, "%s", why);
		fix_delete(c, key);
		f->extents_damaged = true;
		c->uncounted = true;
		return 0;
	}
	if (e.fblk < f->end) {
		ck_report(c, CHECK_EXTENT_OVERLAP, f->ino, offset, e.pblk,
		    "the extent before reaches to offset %llu", (unsigned long long)f->end << BLK_SHIFT);
		fix_trim_extent(c, key, value, len, &e, f->end);
	}
	f->end = max_of(f->end, e.fblk + e.len);
	f->blocks += e.len;
	eof = bytes_to_blocks_up(f->size);
	f->nocsum |= (e.flags & EXTENT_NOCSUM) != 0;
	if (f->sound && !(e.flags & EXTENT_UNWRITTEN) && e.fblk + e.len > eof) {
		uint64_t size = min_of((e.fblk + e.len) << BLK_SHIFT, (uint64_t)FILE_MAX_BYTES);

		ck_report(c, CHECK_EXTENT_EOF, f->ino, max_of(e.fblk, eof) << BLK_SHIFT,
		    e.pblk + (max_of(e.fblk, eof) - e.fblk), "%llu blocks of content behind the end at %llu",
		    (unsigned long long)(e.fblk + e.len - max_of(e.fblk, eof)), (unsigned long long)f->size);
		fix_patch(c, tree_key(f->ino, ITEM_INODE, 0), offsetof(struct inode_item, size), &size, sizeof(size));
	}
	return own_blocks(c, s, &e);
}

static int
files_item(struct ck *c, void *arg, struct tree_key key, const void *value, size_t len)
{
	struct files *s = arg;
	struct file *f = &s->f;
	uint64_t ino = tree_key_ino(key);

	if (ino == INO_NONE || key.hi == 0)
		return 0;
	if (ino != f->ino)
		begin_file(c, f, ino);
	f->lost = !f->in;
	switch (tree_key_type(key)) {
	case ITEM_INODE:
		if (key.lo == 0)
			check_inode(c, f, value, len);
		return 0;
	case ITEM_SYMLINK:
		check_symlink(c, f, key.lo, value, len);
		return 0;
	case ITEM_XATTR:
		check_xattr(c, f, key.lo, value, len);
		return 0;
	case ITEM_EXTENT:
		return check_extent(c, s, key, value, len);
	case ITEM_DIRENT:
		f->entries = true;
		return 0;
	default:
		return 0;
	}
}

/* ---- shared counts ----------------------------------------------------------------------- */

static int
cmp_start(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static int
cmp_block(const void *a, const void *b)
{
	const pblk_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* Compare one counted run; *s and *e are where the sorted starts and ends go on. */
static void
check_run(struct ck *c, const struct refcount_run *run, const struct piece *start, const pblk_t *end, size_t n,
    size_t *s, size_t *e)
{
	pblk_t pos = run->start, stop = run->start + run->len;
	pblk_t bad = pos; /* the wrong part that is not yet reported: bad..pos */
	uint64_t bad_owners = run->count;

	while (pos < stop) {
		uint64_t owners;
		pblk_t next = stop;

		while (*s < n && start[*s].start <= pos)
			++*s;
		while (*e < n && end[*e] <= pos)
			++*e;
		owners = *s - *e; /* begun and not ended */
		if (*s < n)
			next = min_of(next, start[*s].start);
		if (*e < n)
			next = min_of(next, end[*e]);
		if (owners != bad_owners) {
			if (bad_owners != run->count)
				ck_report(c, CHECK_REFCOUNT, INO_NONE, CHECK_NOWHERE, bad,
				    "%llu blocks have the count %u, %llu extents name them",
				    (unsigned long long)(pos - bad), run->count,
				    (unsigned long long)bad_owners);
			bad = pos;
			bad_owners = owners;
		}
		if (owners > 1)
			c->res->shared_blocks += next - pos;
		pos = next;
	}
	if (bad_owners != run->count)
		ck_report(c, CHECK_REFCOUNT, INO_NONE, CHECK_NOWHERE, bad,
		    "%llu blocks have the count %u, %llu extents name them", (unsigned long long)(pos - bad),
		    run->count, (unsigned long long)bad_owners);
}

static int
check_counts(struct ck *c, const struct files *f)
{
	size_t n = f->pieces.n, s = 0, e = 0;
	struct piece *start = f->pieces.data;
	pblk_t *end = calloc(n + 1, sizeof(*end));

	if (!end)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		end[i] = start[i].end;
	if (n > 0) {
		qsort(start, n, sizeof(*start), cmp_start);
		qsort(end, n, sizeof(*end), cmp_block);
	}
	for (size_t i = 0; i < c->counts.n; i++)
		check_run(c, ck_array_at(&c->counts, i), start, end, n, &s, &e);
	free(end);
	return 0;
}

int
ck_files(struct ck *c)
{
	struct files s = { .pieces.size = sizeof(struct piece) };
	int r = ck_each_item(c, PHASE, files_item, &s);

	if (r == 0) {
		end_file(c, &s.f);
		r = check_counts(c, &s);
	}
	free(s.pieces.data);
	return r;
}
