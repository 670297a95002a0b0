/* SPDX-License-Identifier: BSD-3-Clause */
/* Repair: check, change, check again.
 *
 * The phases of the check say at each finding what there is to change. Nothing is
 * changed while they run: what they ask for is noted, as edits of single items. When the
 * check is through, the edits of one class are made, the lowest that has findings (check_i.h
 * has the order and the reason), in one transaction, which is committed; then the check
 * begins anew. Findings of other classes are dropped unsaid: what is still true comes up again.
 * So each step starts from what is on the medium, and a crash between two of them
 * leaves a pool on which repairing goes on. It ends when a check finds nothing, or if the steps
 * seem to lead nowhere.
 *
 * Damaged nodes are the first class: salvage.h gives a tree of what is left. Items of leaves
 * that fail their checksum are put in one by one; nothing says that they are right, so the
 * files concerned are named at the end, and such an inode does not get back what would
 * give rights to who runs it.
 *
 * What is free: everything that neither the tree as it was found names, nor what was read out of damaged
 * nodes. Blocks that an edit takes from a file are not used again by this repair.
 *
 * Inodes that no name leads to get one in /lost+found, which is made if need be: "#" and
 * the inode number.
 */
#include <dirent.h>
#include <errno.h>
#include <linux/xattr.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "fs/check_i.h"
#include "fs/dir.h"
#include "fs/extent.h"
#include "fs/inode_i.h"
#include "fs/xattr.h"
#include "pmem/salvage.h"

/* Each class needs a step or two, as a rule. */
#define STEPS_MAX 64
#define NAME_TRIES 100
#define LOST_FOUND "lost+found"

enum edit_op { EDIT_DELETE, EDIT_DELETE_RANGE, EDIT_PUT, EDIT_INSERT, EDIT_PATCH, EDIT_MOVE_ENTRY };

struct edit {
	struct tree_key key;
	struct tree_key to;  /* EDIT_DELETE_RANGE: last key; EDIT_MOVE_ENTRY: lo is the hash */
	size_t at;           /* of the value in fix->values */
	uint32_t len;
	uint32_t off;        /* EDIT_PATCH: in the item */
	uint8_t op;
	uint8_t class;
};

/* A finding that is kept. */
struct note {
	struct check_finding f;
	char *path, *what;
};

struct fix {
	struct ck_array notes;
	struct ck_array edits;
	struct ck_array adopted;  /* uint64_t: inodes for lost+found */
	unsigned char *values;
	size_t values_len, values_space;
	enum ck_class class;      /* of the last finding */
	bool no_memory;

	/* For all steps. */
	struct ck_array suspects; /* uint64_t: inodes with items that nothing vouches for; sorted */
	bool space_known;         /* the allocator is in use */
};

/* ---- what the phases ask for ------------------------------------------------------- */

void
fix_note(struct fix *fix, const struct check_finding *f)
{
	struct note *n = ck_array_add(&fix->notes);

	fix->class = ck_class(f->code);
	if (!n) {
		fix->no_memory = true;
		return;
	}
	n->f = *f;
	n->path = f->path ? strdup(f->path) : NULL;
	n->what = strdup(f->what);
	if (!n->what || (f->path && !n->path))
		fix->no_memory = true;
}

/* Several threads may report at once: then all their findings are of one class. */
static void
add_edit(struct ck *c, const struct edit *e, const void *value)
{
	struct fix *fix = c->fix;
	struct edit *new;

	if (!fix)
		return;
	pthread_mutex_lock(&c->report);
	if (fix->values_len + e->len > fix->values_space) {
		size_t space = 2 * (fix->values_space + e->len) + 4096;
		unsigned char *grown = realloc(fix->values, space);

		if (grown) {
			fix->values = grown;
			fix->values_space = space;
		}
	}
	new = ck_array_add(&fix->edits);
	if (!new || fix->values_len + e->len > fix->values_space) {
		fix->no_memory = true;
		goto out;
	}
	*new = *e;
	new->class = (uint8_t)fix->class;
	new->at = fix->values_len;
	if (e->len > 0)
		memcpy(fix->values + fix->values_len, value, e->len);
	fix->values_len += e->len;
out:
	pthread_mutex_unlock(&c->report);
}

void
fix_delete(struct ck *c, struct tree_key key)
{
	add_edit(c, &(struct edit){ .op = EDIT_DELETE, .key = key }, NULL);
}

void
fix_delete_range(struct ck *c, struct tree_key from, struct tree_key to)
{
	add_edit(c, &(struct edit){ .op = EDIT_DELETE_RANGE, .key = from, .to = to }, NULL);
}

void
fix_put(struct ck *c, struct tree_key key, const void *value, size_t len)
{
	add_edit(c, &(struct edit){ .op = EDIT_PUT, .key = key, .len = (uint32_t)len }, value);
}

void
fix_insert(struct ck *c, struct tree_key key, const void *value, size_t len)
{
	add_edit(c, &(struct edit){ .op = EDIT_INSERT, .key = key, .len = (uint32_t)len }, value);
}

void
fix_patch(struct ck *c, struct tree_key key, size_t off, const void *bytes, size_t len)
{
	add_edit(c, &(struct edit){ .op = EDIT_PATCH, .key = key, .off = (uint32_t)off, .len = (uint32_t)len }, bytes);
}

void
fix_move_entry(struct ck *c, struct tree_key key, uint64_t hash)
{
	add_edit(c, &(struct edit){ .op = EDIT_MOVE_ENTRY, .key = key, .to.lo = hash }, NULL);
}

void
fix_adopt(struct ck *c, uint64_t ino)
{
	uint64_t *new;

	if (!c->fix)
		return;
	new = ck_array_add(&c->fix->adopted);
	if (new)
		*new = ino;
	else
		c->fix->no_memory = true;
}

void
fix_new_inode(struct ck *c, struct inode_item *item, uint32_t mode, uint64_t size)
{
	struct timespec now = inode_now();
	struct inode_attr attr = { .mode = mode, .nlink = S_ISDIR(mode) ? 2 : 1, .parent = S_ISDIR(mode) ? INO_ROOT : 0,
		.atime = now, .mtime = now, .ctime = now, .btime = now };
	struct stat st;

	/* Whom the pool belongs to, he can read it anyway. */
	if (fstat(pool_fd(c->pool), &st) == 0) {
		attr.uid = st.st_uid;
		attr.gid = st.st_gid;
	}
	if (getrandom(&attr.generation, sizeof(attr.generation), GRND_NONBLOCK) != (ssize_t)sizeof(attr.generation))
		attr.generation = (uint32_t)now.tv_nsec;
	inode_item_encode(item, &attr, size, 0);
}

/* ---- one change after the other -------------------------------------------------------- */

/* Join the open transaction for a few changes at unrelated keys. */
static int
join(struct pool *p, struct txn *t)
{
	return txn_begin(p, t, txn_credits(p, 4), TXN_MUST);
}

static int
put_item(struct pool *p, struct tree_key key, const void *value, size_t len)
{
	struct txn t;
	int r = join(p, &t);

	if (r < 0)
		return r;
	r = tree_put(&t, key, value, len);
	txn_end(&t);
	return r;
}

/* -EEXIST */
static int
insert_item(struct pool *p, struct tree_key key, const void *value, size_t len)
{
	struct txn t;
	int r = join(p, &t);

	if (r < 0)
		return r;
	r = tree_insert(&t, key, value, len);
	txn_end(&t);
	return r;
}

/* It may be gone already. */
static int
delete_item(struct pool *p, struct tree_key key)
{
	struct txn t;
	int r = join(p, &t);

	if (r < 0)
		return r;
	r = tree_delete(&t, key);
	txn_end(&t);
	return r == -ENOENT ? 0 : r;
}

static int
note_key(void *arg, struct tree_key key, const void *value, size_t len)
{
	(void)value, (void)len;
	*(struct tree_key *)arg = key;
	return 1;
}

static int
delete_range(struct pool *p, struct tree_key from, struct tree_key to)
{
	struct tree_key key;
	int r;

	while ((r = tree_scan(p, from, to, note_key, &key)) > 0) {
		r = delete_item(p, key);
		if (r < 0)
			break;
	}
	return r;
}

static int
patch_item(struct pool *p, struct tree_key key, size_t off, const void *bytes, size_t len)
{
	unsigned char value[ITEM_VALUE_MAX];
	ssize_t n = tree_get(p, key, value, sizeof(value));

	if (n < 0)
		return n == -ENOENT ? 0 : (int)n;
	if (off + len > (size_t)n)
		return 0;
	memcpy(value + off, bytes, len);
	return put_item(p, key, value, (size_t)n);
}

static int
move_entry(struct pool *p, struct tree_key key, uint64_t hash)
{
	unsigned char value[ITEM_VALUE_MAX];
	ssize_t n = tree_get(p, key, value, sizeof(value));
	int r = -EEXIST;

	if (n < 0)
		return n == -ENOENT ? 0 : (int)n;
	for (unsigned slot = 0; slot < HASH_SLOTS && r == -EEXIST; slot++)
		r = insert_item(p, tree_key(tree_key_ino(key), ITEM_DIRENT, hash << HASH_SLOT_BITS | slot), value, (size_t)n);
	return r < 0 && r != -EEXIST ? r : delete_item(p, key);
}

static int
apply_edit(struct pool *p, const struct fix *fix, const struct edit *e)
{
	const unsigned char *value = fix->values + e->at;
	int r;

	switch ((enum edit_op)e->op) {
	case EDIT_DELETE:
		return delete_item(p, e->key);
	case EDIT_DELETE_RANGE:
		return delete_range(p, e->key, e->to);
	case EDIT_PUT:
		return put_item(p, e->key, value, e->len);
	case EDIT_INSERT:
		r = insert_item(p, e->key, value, e->len);
		return r == -EEXIST ? 0 : r;
	case EDIT_PATCH:
		return patch_item(p, e->key, e->off, value, e->len);
	case EDIT_MOVE_ENTRY:
		return move_entry(p, e->key, e->to.lo);
	}
	return -EINVAL;
}

/* ---- lost+found ------------------------------------------------------------------------------ */

/* Add to the counts of an inode in the open tree. */
static int
adjust(struct pool *p, uint64_t ino, int nlink, int nentries)
{
	struct tree_key key = tree_key(ino, ITEM_INODE, 0);
	struct inode_item item;
	ssize_t n = tree_get(p, key, &item, sizeof(item));

	if (n != (ssize_t)sizeof(item))
		return n < 0 ? (int)n : -EIO;
	item.nlink += (uint32_t)nlink;
	item.nentries += (uint64_t)(int64_t)nentries;
	return put_item(p, key, &item, sizeof(item));
}

static int
add_entry(struct ck *c, uint64_t dir, const char *name, uint64_t ino, unsigned char type)
{
	struct pool *p = c->pool;
	uint64_t seed[2];
	struct dir_pos pos;
	struct txn t;
	int r;

	memcpy(seed, c->root.hash_seed, sizeof(seed));
	r = dir_find_unmounted(p, seed, dir, name, strlen(name), &pos);
	if (r == 0 && pos.ino != INO_NONE)
		r = -EEXIST;
	if (r == 0)
		r = join(p, &t);
	if (r < 0)
		return r;
	r = dir_insert(&t, &pos, name, strlen(name), ino, type);
	txn_end(&t);
	return r == 0 ? adjust(p, dir, type == DT_DIR, 1) : r;
}

/* The lowest number that no inode has: if the highest is taken. */
static uint64_t
unused_ino(struct ck *c)
{
	uint64_t ino = INO_ROOT + 1;

	while (ck_inode(c, ino))
		ino++;
	return ino;
}

static uint64_t
next_ino(struct ck *c)
{
	const struct ck_inode *last = c->inodes.n > 0 ? ck_array_at(&c->inodes, c->inodes.n - 1) : NULL;

	return max_of(c->root.next_ino, last ? last->ino + 1 : INO_ROOT + 1);
}

static int
make_lost_found(struct ck *c, const char *name, uint64_t *ino)
{
	struct inode_item item;
	struct txn t;
	int r = join(c->pool, &t);

	if (r < 0)
		return r;
	*ino = next_ino(c) <= INO_MAX ? txn_new_ino(&t) : unused_ino(c);
	fix_new_inode(c, &item, S_IFDIR | 0700, 0);
	r = tree_insert(&t, tree_key(*ino, ITEM_INODE, 0), &item, sizeof(item));
	if (r == 0)
		txn_add_inodes(&t, 1);
	txn_end(&t);
	return r == 0 ? add_entry(c, INO_ROOT, name, *ino, DT_DIR) : r;
}

static int
lost_found(struct ck *c, uint64_t *ino)
{
	char name[sizeof(LOST_FOUND) + 8] = LOST_FOUND;
	uint64_t seed[2];
	struct dir_pos pos;
	int r;

	memcpy(seed, c->root.hash_seed, sizeof(seed));
	for (unsigned k = 1; k < NAME_TRIES; k++) {
		const struct ck_inode *in;

		r = dir_find_unmounted(c->pool, seed, INO_ROOT, name, strlen(name), &pos);
		if (r < 0)
			return r;
		if (pos.ino == INO_NONE)
			return make_lost_found(c, name, ino);
		in = ck_inode(c, pos.ino);
		if (in && S_ISDIR(in->mode) && in->reach == REACH_YES) {
			*ino = pos.ino;
			return 0;
		}
		snprintf(name, sizeof(name), LOST_FOUND ".%u", k);
	}
	return -EEXIST;
}

/* Nothing but this entry leads to it. */
static int
adopt(struct ck *c, uint64_t dir, const struct ck_inode *in)
{
	struct tree_key key = tree_key(in->ino, ITEM_INODE, 0);
	uint32_t nlink = 1;
	char name[40];
	int r = -EEXIST;

	snprintf(name, sizeof(name), "#%llu", (unsigned long long)in->ino);
	for (unsigned k = 1; k < NAME_TRIES && r == -EEXIST; k++) {
		r = add_entry(c, dir, name, in->ino, (unsigned char)((in->mode & S_IFMT) >> 12));
		snprintf(name, sizeof(name), "#%llu.%u", (unsigned long long)in->ino, k);
	}
	if (r < 0)
		return r;
	if (S_ISDIR(in->mode))
		return patch_item(c->pool, key, offsetof(struct inode_item, parent), &dir, sizeof(dir));
	return patch_item(c->pool, key, offsetof(struct inode_item, nlink), &nlink, sizeof(nlink));
}

static int
adopt_all(struct ck *c)
{
	uint64_t dir = 0;
	int r = lost_found(c, &dir);

	for (size_t n = 0; n < c->fix->adopted.n && r == 0; n++) {
		const struct ck_inode *in = ck_inode(c, *(uint64_t *)ck_array_at(&c->fix->adopted, n));

		if (in->ino != dir)
			r = adopt(c, dir, in);
	}
	return r;
}

/* ---- the tree ------------------------------------------------------------------------------------ */

static int
use_item(struct pool *p, struct tree_key key, const void *value, size_t len)
{
	const uint8_t *csums;
	struct extent e;

	if (tree_key_type(key) != ITEM_EXTENT || extent_decode(p, key, value, len, &e, &csums))
		return 0;
	return pool_rebuild_used(p, e.pblk, e.len);
}

static int
use_leaf(struct pool *p, pblk_t block)
{
	const struct node_header *leaf = pool_block(p, block);
	int r = 0;

	for (unsigned i = 0; i < leaf_count(leaf) && r == 0; i++) {
		struct tree_key key;
		const void *value;
		size_t len;

		leaf_item(leaf, i, &key, &value, &len);
		r = use_item(p, key, value, len);
	}
	return r;
}

static int
use_block(void *arg, pblk_t block)
{
	return pool_rebuild_used(arg, block, 1);
}

static int
use_loose(void *arg, struct tree_key key, const void *value, size_t len)
{
	return use_item(arg, key, value, len);
}

/* Name what is used, for a tree without damage. */
static int
know_space(struct ck *c)
{
	struct pool *p = c->pool;
	int r = pool_rebuild_begin(p);

	for (pblk_t b = POOL_FIRST_BLOCK; b < pool_nblocks(p) && r == 0; b++)
		if (ck_bit(c->node_bits, b))
			r = pool_rebuild_used(p, b, 1);
	for (size_t l = 0; l < c->leaves.n && r == 0; l++)
		r = use_leaf(p, *(pblk_t *)ck_array_at(&c->leaves, l));
	return r == 0 ? pool_rebuild_end(p) : r;
}

static int
know_salvaged_space(struct pool *p, const struct salvage *s)
{
	int r = pool_rebuild_begin(p);

	if (r == 0)
		r = salvage_blocks(s, use_block, p);
	for (size_t n = 0; n < salvage_leaves(s) && r == 0; n++)
		r = use_leaf(p, salvage_leaf(s, n));
	if (r == 0)
		r = salvage_items(s, use_loose, p);
	return r == 0 ? pool_rebuild_end(p) : r;
}

static int
note_suspect(struct fix *fix, uint64_t ino)
{
	uint64_t *last = fix->suspects.n > 0 ? ck_array_at(&fix->suspects, fix->suspects.n - 1) : NULL;

	if (ino == INO_NONE || (last && *last == ino))
		return 0;
	last = ck_array_add(&fix->suspects);
	if (!last)
		return -ENOMEM;
	*last = ino;
	return 0;
}

/* An item that nothing vouches for. */
static int
insert_loose(void *arg, struct tree_key key, const void *value, size_t len)
{
	static const char caps[] = XATTR_NAME_CAPS;
	struct ck *c = arg;
	struct inode_item item;
	int r;

	if (tree_key_type(key) == ITEM_XATTR && (key.lo & 0xff) == 0 && len >= XATTR_ITEM_HEAD + sizeof(caps) - 1 &&
	    memcmp((const char *)value + XATTR_ITEM_HEAD, caps, sizeof(caps) - 1) == 0)
		return 0;
	if (tree_key_type(key) == ITEM_INODE && len == sizeof(item)) {
		memcpy(&item, value, sizeof(item));
		if (S_ISREG(item.mode))
			item.mode &= ~(uint32_t)(S_ISUID | S_ISGID);
		value = &item;
	}
	r = insert_item(c->pool, key, value, len);
	if (r == -EEXIST)
		return 0;
	return r == 0 ? note_suspect(c->fix, tree_key_ino(key)) : r;
}

static int
search_progress(void *arg, uint64_t done, uint64_t total)
{
	return ck_progress(arg, "search for nodes", done, total);
}

static int
rebuild_tree(struct ck *c, const struct salvage *s)
{
	struct pool *p = c->pool;
	struct txn t;
	int r;

	/* Figures that can't be true must not get into a root, which would be refused. */
	pool_set_counters(p, c->root.next_ino, c->root.ninodes, min_of(c->root.data_blocks, pool_nblocks(p) / 2),
	    salvage_leaves(s));
	r = txn_begin(p, &t, salvage_credits(s), TXN_MUST);
	if (r < 0)
		return r;
	r = salvage_rebuild(&t, s);
	txn_end(&t);
	return r == 0 ? salvage_items(s, insert_loose, c) : r;
}

static int
salvage_tree(struct ck *c)
{
	struct salvage_stats st;
	struct salvage *s;
	int r = salvage_gather(c->pool, search_progress, c, &s, &st);

	if (r < 0)
		return r;
	r = c->fix->space_known ? 0 : know_salvaged_space(c->pool, s);
	c->fix->space_known = true;
	if (r == 0)
		r = rebuild_tree(c, s);
	if (r == 0)
		ck_report(c, CHECK_SALVAGED, INO_NONE, CHECK_NOWHERE, CHECK_NOWHERE,
		    "%llu damaged nodes, %llu of them without a trace; %llu leaves kept, %llu found again by search, "
		    "items of %zu inodes taken from damaged leaves", (unsigned long long)st.damaged,
		    (unsigned long long)st.lost, (unsigned long long)st.kept, (unsigned long long)st.found,
		    c->fix->suspects.n);
	salvage_free(s);
	return r;
}

/* ---- a step --------------------------------------------------------------------------------------- */

static int
commit(struct pool *p)
{
	struct txn t;
	uint64_t number;
	int r = join(p, &t);

	if (r < 0)
		return r;
	txn_add_inodes(&t, 0); /* a new root even if it is all that is new */
	number = txn_number(&t);
	txn_end(&t);
	return txn_commit_wait(p, number);
}

static int
change_items(struct ck *c, enum ck_class class)
{
	struct fix *fix = c->fix;
	int r = 0;

	if (!fix->space_known)
		r = know_space(c);
	fix->space_known = true;
	/* As counted; what changes them now is found by the next check. */
	pool_set_counters(c->pool, next_ino(c), c->res->inodes, c->res->data_blocks, c->res->nodes);
	if (r == 0 && class == CLASS_BLOCKS) {
		fix->class = CLASS_BLOCKS;
		r = fix_blocks(c);
	}
	for (size_t n = 0; n < fix->edits.n && r == 0; n++) {
		const struct edit *e = ck_array_at(&fix->edits, n);

		if (n % 1024 == 0)
			r = ck_progress(c, "repair", n, fix->edits.n);
		if (e->class == class && r == 0)
			r = apply_edit(c->pool, fix, e);
	}
	if (r == 0 && class == CLASS_LINKS && fix->adopted.n > 0)
		r = adopt_all(c);
	return r;
}

static int
change(struct ck *c, enum ck_class class)
{
	int r;

	if (c->fix->no_memory)
		return -ENOMEM;
	r = class == CLASS_TREE ? salvage_tree(c) : change_items(c, class);
	if (r == 0 && c->fix->no_memory)
		r = -ENOMEM;
	return r == 0 ? commit(c->pool) : r;
}

/* ---- the whole ------------------------------------------------------------------------------------- */

static void
fix_clear(struct fix *fix)
{
	for (size_t n = 0; n < fix->notes.n; n++) {
		struct note *note = ck_array_at(&fix->notes, n);

		free(note->path);
		free(note->what);
	}
	fix->notes.n = fix->edits.n = fix->adopted.n = 0;
	fix->values_len = 0;
}

static void
fix_free(struct fix *fix)
{
	fix_clear(fix);
	free(fix->notes.data);
	free(fix->edits.data);
	free(fix->adopted.data);
	free(fix->suspects.data);
	free(fix->values);
}

/* Which class has to be dealt with; CLASSES: none. */
static enum ck_class
lowest_class(const struct fix *fix)
{
	enum ck_class class = CLASSES;

	for (size_t n = 0; n < fix->notes.n; n++) {
		const struct note *note = ck_array_at(&fix->notes, n);

		if (note->f.error)
			class = min_of(class, ck_class(note->f.code));
	}
	return class;
}

/* Pass on what was found: what was done about it (class, and in the first step figures of
 * the root, which every step sets right), or is left. */
static uint64_t
tell(const struct fix *fix, const struct check_options *opt, enum ck_class class, bool first, bool left)
{
	uint64_t told = 0;

	for (size_t n = 0; n < fix->notes.n; n++) {
		struct note *note = ck_array_at(&fix->notes, n);
		enum ck_class of = ck_class(note->f.code);
		struct check_finding f = note->f;

		if (class == CLASSES ? f.error && !left : of != class && !(first && of == CLASS_ROOT))
			continue;
		/* Counters change with what is repaired: that is no damage. */
		if (f.code == CHECK_COUNTER && !first && !left)
			continue;
		/* A remark that stays true is made once, at the end. */
		if (!f.error && class != CLASSES && f.code != CHECK_SALVAGED)
			continue;
		f.path = note->path;
		f.what = note->what;
		if (left)
			f.repair = NULL;
		told += f.error;
		if (opt->finding)
			opt->finding(opt->arg, &f);
	}
	return told;
}

static int
cmp_ino(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void
tell_suspects(struct ck *c)
{
	struct ck_array *s = &c->fix->suspects;

	if (s->n > 0)
		qsort(s->data, s->n, s->size, cmp_ino);
	for (size_t n = 0; n < s->n; n++) {
		uint64_t ino = *(uint64_t *)ck_array_at(s, n);

		if (n > 0 && ino == *(uint64_t *)ck_array_at(s, n - 1))
			continue;
		if (ck_inode(c, ino))
			ck_report(c, CHECK_SALVAGED, ino, CHECK_NOWHERE, CHECK_NOWHERE,
			    "parts of it were taken from a damaged tree node");
	}
}

/* One check, and what follows from it. 1: go on. */
static int
step(struct pool *p, const struct check_options *opt, struct check_result *res, struct repair_result *rep,
    struct fix *fix, bool *data_done)
{
	struct ck c = { .fix = fix, .no_data = *data_done };
	bool first = rep->commits == 0, clean = false;
	enum ck_class class;
	int r = ck_run(&c, p, opt, res);

	class = lowest_class(fix);
	if (r == 0 && class == CLASSES) {
		tell_suspects(&c);
		tell(fix, opt, CLASSES, first, false);
		clean = c.orphans.n == 0;
		r = rep->commits > 0 && clean ? pool_commit_clean(p) : 0;
	} else if (r == 0 && rep->commits == STEPS_MAX) {
		rep->left = tell(fix, opt, CLASSES, first, true);
	} else if (r == 0) {
		*data_done |= class == CLASS_DATA;
		if (first && opt->before_change)
			r = opt->before_change(opt->arg);
		if (r == 0)
			r = change(&c, class);
		if (r == 0) {
			rep->repaired += tell(fix, opt, class, first, false);
			rep->commits++;
			r = 1;
		} else {
			rep->left = tell(fix, opt, CLASSES, first, true);
		}
	}
	ck_free(&c);
	return r;
}

int
repair_pool(struct pool *p, const struct check_options *opt, struct check_result *res,
    struct repair_result *rep)
{
	struct fix fix = { .notes.size = sizeof(struct note), .edits.size = sizeof(struct edit),
		.adopted.size = sizeof(uint64_t), .suspects.size = sizeof(uint64_t) };
	bool data_done = false;
	int r;

	memset(rep, 0, sizeof(*rep));
	do {
		fix_clear(&fix);
		r = step(p, opt, res, rep, &fix, &data_done);
	} while (r > 0);
	fix_free(&fix);
	return r;
}
