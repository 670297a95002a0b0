/* SPDX-License-Identifier: BSD-3-Clause */
/* The check as a whole: runs the phases (check_i.h), turns what they find into
 * findings with a path, and compares the root's counters with what was counted.
 *
 * A path is made when a finding needs one: each inode remembers the first entry
 * that names it, so the names from there up to the root are one lookup each.
 * Before the entries have been read there is no path, and damage may keep it unknown.
 */
#include "fs/check_i.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PATH_BYTES_MAX 4096
#define PROGRESS_LEAVES 64

static const struct {
	const char *name;
	bool info;
	enum ck_class class;
	const char *means;
	const char *repair; /* what a repair does about it; CHECK_DATA_CRC: see repair_of */
} codes[CHECK_CODES] = {
	[CHECK_ROOT_SLOT] = { "root-slot", true, CLASS_ROOT, "a commit was interrupted there; the other slot counts",
	    NULL },
	[CHECK_ROOT_CLEAN] = { "root-clean", false, CLASS_ROOT, "a clean unmount leaves no orphans",
	    "the mark is taken away" },
	[CHECK_COUNTER] = { "counter", false, CLASS_ROOT, "statfs shows wrong figures",
	    "set to what was counted" },
	[CHECK_NEXT_INO] = { "next-ino", false, CLASS_ROOT, "a new file may get the number of one that exists",
	    "set above them" },
	[CHECK_NODE] = { "node", false, CLASS_TREE, "all that is below this node of the tree is lost",
	    "what can still be read was put into a new tree" },
	[CHECK_KEY_ORDER] = { "key-order", false, CLASS_TREE, "lookups may miss items",
	    "put into a new tree in order" },
	[CHECK_ITEM] = { "item", false, CLASS_ITEMS, "no part of this version knows what it is",
	    "removed" },
	[CHECK_NO_INODE] = { "no-inode", false, CLASS_ITEMS, "what it belonged to can't be reached, its space is lost",
	    "a new inode was made for content and entries, the rest was removed" },
	[CHECK_INODE] = { "inode", false, CLASS_ITEMS, "the file can't be opened",
	    "impossible fields were given values that are possible" },
	[CHECK_NO_ROOT_DIR] = { "no-root-dir", false, CLASS_ITEMS, "the pool can't be mounted",
	    "a root directory was made" },
	[CHECK_DIRENT] = { "dirent", false, CLASS_ITEMS, "the entry can't be used, and reading the directory fails",
	    "removed; or the inode was made a directory again, if its entries prove that it was one" },
	[CHECK_DIRENT_HASH] = { "dirent-hash", false, CLASS_ITEMS, "the name is listed but can't be looked up",
	    "filed where the name belongs" },
	[CHECK_DIRENT_DUPLICATE] = { "dirent-duplicate", false, CLASS_NAMES, "only one of the two can be looked up",
	    "the second one was removed" },
	[CHECK_DIRENT_DANGLING] = { "dirent-dangling", false, CLASS_NAMES, "opening the name fails",
	    "removed" },
	[CHECK_DIRENT_TYPE] = { "dirent-type", false, CLASS_NAMES, "listings show the wrong type",
	    "set to the type of the inode" },
	[CHECK_DIR_TWICE] = { "dir-twice", false, CLASS_NAMES, "a directory has one name only",
	    "the second name was removed" },
	[CHECK_DIR_PARENT] = { "dir-parent", false, CLASS_LINKS, "\"..\" leads elsewhere",
	    "set to the directory that has the entry" },
	[CHECK_DIR_UNREACHABLE] = { "dir-unreachable", false, CLASS_LINKS, "no path leads to it and what is in it",
	    "put into lost+found; out of a circle first" },
	[CHECK_NENTRIES] = { "nentries", false, CLASS_LINKS, "the directory may be taken for empty, or can't be removed",
	    "set to what was counted" },
	[CHECK_NLINK] = { "nlink", false, CLASS_LINKS, "the file may be deleted too early, or never",
	    "set to what was counted; put into lost+found if no name leads to it" },
	[CHECK_ORPHAN_MISSING] = { "orphan-missing", false, CLASS_LINKS, "no name leads to it, and no mount will delete it",
	    "put into lost+found" },
	[CHECK_ORPHAN_LINKED] = { "orphan-linked", false, CLASS_NAMES, "the note is wrong; the next mount drops it",
	    "the note was removed" },
	[CHECK_ORPHAN_GONE] = { "orphan-gone", true, CLASS_NAMES, "the next mount drops the entry",
	    NULL },
	[CHECK_SYMLINK] = { "symlink", false, CLASS_ITEMS, "the link can't be followed",
	    "the size was set right if the target is whole; otherwise the link was removed" },
	[CHECK_XATTR] = { "xattr", false, CLASS_ITEMS, "the attribute can't be read",
	    "the attribute was removed" },
	[CHECK_EXTENT] = { "extent", false, CLASS_ITEMS, "that part of the file can't be read",
	    "removed: that part of the file reads as zeroes" },
	[CHECK_EXTENT_OVERLAP] = { "extent-overlap", false, CLASS_ITEMS, "the file has two contents there",
	    "the part that overlaps was taken from the second one" },
	[CHECK_EXTENT_EOF] = { "extent-eof", false, CLASS_LINKS, "it would show when the file grows",
	    "the file was made longer, so that it can be read" },
	[CHECK_NBLOCKS] = { "nblocks", false, CLASS_LINKS, "stat shows a wrong figure",
	    "set to what was counted" },
	[CHECK_BLOCK_NODE] = { "block-node", false, CLASS_BLOCKS, "the file shows the filesystem's own data",
	    "taken from the file: that part of it reads as zeroes" },
	[CHECK_BLOCK_TWICE] = { "block-twice", false, CLASS_BLOCKS, "two files overwrite or free each other's content",
	    "shared if both have the same checksums; otherwise a copy for the second, or a hole if the content is not its own" },
	[CHECK_REFCOUNT] = { "refcount", false, CLASS_BLOCKS, "shared blocks are freed too early, or never",
	    "counted anew" },
	[CHECK_DATA_CRC] = { "data-crc", false, CLASS_DATA, "the content is damaged, reading it fails",
	    NULL },
	[CHECK_DATA_KNOWN] = { "data-known", true, CLASS_DATA, "known damage: reading it fails until it is written anew",
	    NULL },
	[CHECK_SALVAGED] = { "salvaged", true, CLASS_TREE, "nothing vouches for them: look whether it is what it should be",
	    NULL },
};

const char *
check_code_name(enum check_code code)
{
	return codes[code].name;
}

/* ---- arrays -------------------------------------------------------------------- */

void *
ck_array_at(const struct ck_array *a, size_t i)
{
	return (char *)a->data + i * a->size;
}

void *
ck_array_add(struct ck_array *a)
{
	if (a->n == a->space) {
		size_t space = a->space ? a->space + a->space / 2 : 256;
		void *grown = reallocarray(a->data, space, a->size);

		if (!grown)
			return NULL;
		a->data = grown;
		a->space = space;
	}
	return memset(ck_array_at(a, a->n++), 0, a->size);
}

struct ck_inode *
ck_inode(struct ck *c, uint64_t ino)
{
	size_t low = 0, high = c->inodes.n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		struct ck_inode *in = ck_array_at(&c->inodes, mid);

		if (in->ino == ino)
			return in;
		if (in->ino < ino)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

/* ---- findings --------------------------------------------------------------------- */

/* The path of ino, ending at the end of buf; NULL if it is not known. Names are put in
 * from the end, at most as many as there are inodes (a cycle has no path). */
static char *
path_of(struct ck *c, uint64_t ino, char *buf, size_t size)
{
	char *at = buf + size - 1;

	*at = '\0';
	if (ino == INO_ROOT)
		return memcpy(at - 1, "/", 1);
	for (unsigned depth = 0; ino != INO_ROOT; depth++) {
		struct ck_inode *in = ck_inode(c, ino);
		char value[ITEM_VALUE_MAX];
		struct dirent_item d;
		ssize_t len;

		if (!in || in->seen_dir == INO_NONE || depth > PATH_BYTES_MAX / 2)
			return NULL;
		len = tree_get(c->pool, tree_key(in->seen_dir, ITEM_DIRENT, in->seen_lo), value, sizeof(value));
		if (len < (ssize_t)DIRENT_ITEM_HEAD)
			return NULL;
		memcpy(&d, value, DIRENT_ITEM_HEAD);
		if (len != (ssize_t)DIRENT_ITEM_HEAD + d.namelen || at - buf < d.namelen + 1)
			return NULL;
		at -= d.namelen;
		memcpy(at, value + DIRENT_ITEM_HEAD, d.namelen);
		*--at = '/';
		ino = in->seen_dir;
	}
	return at;
}

static const char *
repair_of(const struct ck *c, enum check_code code)
{
	static const char *const data[] = {
		[CHECK_DATA_MARK] = "left as it is, and marked as known",
		[CHECK_DATA_PUNCH] = "made a hole: it reads as zeroes",
		[CHECK_DATA_ACCEPT] = "given the checksum of what it holds, as was asked for",
	};

	return code == CHECK_DATA_CRC ? data[c->opt->data] : codes[code].repair;
}

enum ck_class
ck_class(enum check_code code)
{
	return codes[code].class;
}

void
ck_report(struct ck *c, enum check_code code, uint64_t ino, uint64_t offset, pblk_t block, const char *fmt,
    ...)
{
	struct check_finding f = { .code = code, .error = !codes[code].info, .ino = ino, .offset = offset,
		.block = block, .means = codes[code].means,
		.safe = codes[code].class == CLASS_LINKS || codes[code].class == CLASS_ROOT };
	char path[PATH_BYTES_MAX], what[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	f.what = what;
	f.path = ino == INO_NONE ? NULL : path_of(c, ino, path, sizeof(path));
	pthread_mutex_lock(&c->report);
	if (f.error)
		c->res->errors++;
	else
		c->res->infos++;
	if (c->fix) {
		f.repair = repair_of(c, code);
		fix_note(c->fix, &f);
	} else if (c->opt->finding) {
		c->opt->finding(c->opt->arg, &f);
	}
	pthread_mutex_unlock(&c->report);
}

/* Length of the UTF-8 character at s, 0 if there is none or it is a control character. */
static size_t
printable(const unsigned char *s)
{
	size_t n = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 :
	    s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;

	if (n == 1)
		return s[0] >= 0x20 && s[0] != 0x7f && s[0] != '\\';
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	/* C1 controls, surrogates, overlong forms, beyond the last plane */
	if ((n == 2 && s[0] == 0xc2 && s[1] < 0xa0) || (n == 3 && s[0] == 0xed && s[1] >= 0xa0) ||
	    (n == 3 && s[0] == 0xe0 && s[1] < 0xa0) || (n == 4 && s[0] == 0xf0 && s[1] < 0x90) ||
	    (n == 4 && s[0] == 0xf4 && s[1] >= 0x90))
		return 0;
	return n;
}

int
check_format(const struct check_finding *f, char *buf, size_t size)
{
	char where[4 * PATH_BYTES_MAX + 128];
	size_t n = 0;

	if (f->path) {
		const unsigned char *s = (const unsigned char *)f->path;

		while (*s && n < 4 * PATH_BYTES_MAX - 4) {
			size_t len = printable(s);

			if (len == 0) {
				n += (size_t)sprintf(where + n, "\\%03o", *s++);
				continue;
			}
			memcpy(where + n, s, len);
			n += len;
			s += len;
		}
		n += (size_t)sprintf(where + n, " (inode %llu)", (unsigned long long)f->ino);
	} else if (f->ino != INO_NONE) {
		n += (size_t)sprintf(where + n, "inode %llu", (unsigned long long)f->ino);
	}
	if (f->offset != CHECK_NOWHERE)
		n += (size_t)sprintf(where + n, "%soffset %llu", n ? ", " : "", (unsigned long long)f->offset);
	if (f->block != CHECK_NOWHERE)
		n += (size_t)sprintf(where + n, "%sblock %llu", n ? ", " : "", (unsigned long long)f->block);
	where[n] = '\0';
	return snprintf(buf, size, "%s%s%s: %s%s%s", where, n ? ": " : "", f->what, f->means, f->repair ? "; " : "",
	    f->repair ? f->repair : "");
}

/* ---- walking --------------------------------------------------------------------------- */

int
ck_progress(struct ck *c, const char *phase, uint64_t done, uint64_t total)
{
	if (c->opt->progress && c->opt->progress(c->opt->arg, phase, done, total) != 0)
		return -ECANCELED;
	return 0;
}

int
ck_each_item(struct ck *c, const char *phase, ck_item_fn *fn, void *arg)
{
	const pblk_t *leaf = c->leaves.data;
	int r;

	for (size_t l = 0; l < c->leaves.n; l++) {
		const struct node_header *node = pool_block(c->pool, leaf[l]);
		unsigned n = leaf_count(node);

		if (l % PROGRESS_LEAVES == 0) {
			r = ck_progress(c, phase, l, c->leaves.n);
			if (r < 0)
				return r;
		}
		for (unsigned i = 0; i < n; i++) {
			struct tree_key key;
			const void *value;
			size_t len;

			leaf_item(node, i, &key, &value, &len);
			r = fn(c, arg, key, value, len);
			if (r < 0)
				return r;
		}
	}
	return ck_progress(c, phase, c->leaves.n, c->leaves.n);
}

/* ---- the whole -------------------------------------------------------------------------- */

static void
counter(struct ck *c, const char *what, uint64_t says, uint64_t is)
{
	if (says != is)
		ck_report(c, CHECK_COUNTER, INO_NONE, CHECK_NOWHERE, CHECK_NOWHERE,
		    "the root block counts %llu %s, there are %llu", (unsigned long long)says, what,
		    (unsigned long long)is);
}

static void
compare_counters(struct ck *c)
{
	const struct ck_inode *last;

	/* What can't be read can't be counted. */
	if (!c->uncounted) {
		counter(c, "inodes", c->root.ninodes, c->res->inodes);
		counter(c, "data blocks", c->root.data_blocks, c->res->data_blocks);
		counter(c, "tree nodes", c->root.node_blocks, c->res->nodes);
	}
	if (c->inodes.n == 0)
		return;
	last = ck_array_at(&c->inodes, c->inodes.n - 1);
	if (last->ino >= c->root.next_ino)
		ck_report(c, CHECK_NEXT_INO, last->ino, CHECK_NOWHERE, CHECK_NOWHERE,
		    "the next inode number is %llu, which should be above all in use",
		    (unsigned long long)c->root.next_ino);
}

int
ck_run(struct ck *c, struct pool *p, const struct check_options *opt, struct check_result *res)
{
	size_t words = pool_nblocks(p) / 64 + 1;
	int r;

	c->pool = p;
	c->opt = opt;
	c->res = res;
	c->leaves.size = sizeof(pblk_t);
	c->inodes.size = sizeof(struct ck_inode);
	c->counts.size = sizeof(struct refcount_run);
	c->orphans.size = sizeof(uint64_t);
	memset(res, 0, sizeof(*res));
	pool_root(p, &c->root);
	c->no_data |= (c->root.feature_incompat & FEATURE_INCOMPAT_IMAGE) != 0;
	c->no_hashes = c->root.feature_incompat & FEATURE_INCOMPAT_HIDDEN;
	pthread_mutex_init(&c->report, NULL);
	c->node_bits = calloc(words, sizeof(uint64_t));
	c->data_bits = calloc(words, sizeof(uint64_t));
	if (!c->node_bits || !c->data_bits)
		return -ENOMEM;
	r = ck_tree(c);
	/* Above a damaged tree nothing is as it looks. */
	if (r < 0 || (c->fix && c->uncounted))
		return r;
	r = ck_names(c);
	if (r == 0)
		r = ck_files(c);
	if (r < 0)
		return r;
	compare_counters(c);
	/* Extents that are about to be changed are read when they have been. */
	if (opt->no_data || c->no_data || (c->fix && res->errors > 0))
		return 0;
	return ck_data(c);
}

void
ck_free(struct ck *c)
{
	free(c->node_bits);
	free(c->data_bits);
	free(c->leaves.data);
	free(c->inodes.data);
	free(c->counts.data);
	free(c->orphans.data);
	pthread_mutex_destroy(&c->report);
}

int
check_pool(struct pool *p, const struct check_options *opt, struct check_result *res)
{
	struct ck c = { .fix = NULL };
	int r = ck_run(&c, p, opt, res);

	ck_free(&c);
	return r;
}
