/* SPDX-License-Identifier: BSD-3-Clause */
/* Directory entries.
 *
 * An entry is an item whose key is its name's hash and a slot (format.h); the
 * slots of one hash lie side by side, so one scan over them finds the name, or
 * the lowest slot that is free. A name that is removed leaves its slot empty and moves no
 * other: the key of an entry is fixed as long as the entry lives, and so is its readdir
 * cookie, which is the key's lower half. readdir in key order therefore shows every entry
 * that is there from beginning to end exactly once, whatever comes and goes
 * meanwhile.
 *
 * readdir copies entries out of the tree in batches, because neither the front
 * end nor the inode cache may be called with the tree locked. */
#include "fs/dir.h"

#include <errno.h>
#include <string.h>

#include "fs/fs_i.h"
#include "fs/siphash.h"
#include "pmem/log.h"

#define COOKIE_DOT 1
#define COOKIE_DOTDOT 2
#define COOKIE_FIRST ((uint64_t)HASH_SLOTS) /* hash 0 is not used: below are "." and ".." */
#define COOKIE_LAST ((uint64_t)INT64_MAX)
#define READDIR_BATCH_BYTES 4096u

static uint64_t
name_hash(const uint64_t hash_key[2], uint64_t mask, const char *name, size_t len)
{
	uint64_t h = siphash24(hash_key, name, len) >> (HASH_SLOT_BITS + 1);

	h &= mask;
	return (h ? h : 1) << HASH_SLOT_BITS;
}

/* NULL, or what is wrong with it, apart from the characters of the name. */
static const char *
dirent_decode(const void *value, size_t len, struct dirent_item *d)
{
	if (len <= DIRENT_ITEM_HEAD)
		return "too short";
	memcpy(&d->ino, value, sizeof(d->ino));
	d->type = ((const uint8_t *)value)[offsetof(struct dirent_item, type)];
	d->namelen = ((const uint8_t *)value)[offsetof(struct dirent_item, namelen)];
	if (d->namelen != len - DIRENT_ITEM_HEAD)
		return "wrong length";
	if (d->ino == INO_NONE || d->ino > INO_MAX)
		return "inode number out of range";
	switch (d->type) {
	case DT_FIFO:
	case DT_CHR:
	case DT_DIR:
	case DT_BLK:
	case DT_REG:
	case DT_LNK:
	case DT_SOCK:
		break;
	default:
		return "unknown type";
	}
	return NULL;
}

static const char *
name_decode(const char *name, size_t len)
{
	if (memchr(name, '\0', len) || memchr(name, '/', len))
		return "character that no name has";
	if (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')))
		return "name that every directory has";
	return NULL;
}

static int
damaged(struct tree_key key, const char *why)
{
	pinfs_log(LOG_ERR, "directory %llu: entry %llx is damaged: %s",
	    (unsigned long long)tree_key_ino(key), (unsigned long long)key.lo, why);
	return -EIO;
}

struct find {
	const char *name;
	size_t len;
	uint64_t free; /* lowest free slot's key */
	struct dir_pos *pos;
};

static int
find_one(void *arg, struct tree_key key, const void *value, size_t len)
{
	struct find *f = arg;
	struct dirent_item d;
	const char *why;

	if (key.lo == f->free)
		f->free++;
	why = dirent_decode(value, len, &d);
	if (why)
		return damaged(key, why);
	if (d.namelen != f->len || memcmp((const char *)value + DIRENT_ITEM_HEAD, f->name, f->len) != 0)
		return 0;
	f->pos->key = key;
	f->pos->ino = d.ino;
	f->pos->type = d.type;
	return 1;
}

static int
find_hash(struct pool *p, uint64_t dir, uint64_t first, const char *name, size_t len, struct dir_pos *pos)
{
	uint64_t last = first + HASH_SLOTS - 1;
	struct find f = { .name = name, .len = len, .free = first, .pos = pos };
	int r;

	r = tree_scan(p, tree_key(dir, ITEM_DIRENT, first), tree_key(dir, ITEM_DIRENT, last), find_one, &f);
	if (r < 0)
		return r;
	if (r == 0)
		pos->key = tree_key(dir, ITEM_DIRENT, f.free <= last ? f.free : 0);
	return 0;
}

int
dir_find(struct inode *dir, const char *name, size_t len, struct dir_pos *pos)
{
	*pos = (struct dir_pos){ .dir = dir, .ino = INO_NONE };
	return find_hash(dir->fs->pool, dir->ino, name_hash(dir->fs->hash_key, dir->fs->dirhash_mask, name, len), name,
	    len, pos);
}

int
dir_find_unmounted(struct pool *p, const uint64_t hash_key[2], uint64_t dir, const char *name, size_t len,
    struct dir_pos *pos)
{
	*pos = (struct dir_pos){ .ino = INO_NONE };
	return find_hash(p, dir, name_hash(hash_key, ~(uint64_t)0, name, len), name, len, pos);
}

static size_t
dirent_encode(unsigned char buf[DIRENT_ITEM_HEAD + FS_NAME_MAX], const char *name, size_t len, uint64_t ino,
    unsigned char type)
{
	memcpy(buf, &ino, sizeof(ino));
	buf[offsetof(struct dirent_item, type)] = type;
	buf[offsetof(struct dirent_item, namelen)] = (unsigned char)len;
	memcpy(buf + DIRENT_ITEM_HEAD, name, len);
	return DIRENT_ITEM_HEAD + len;
}

int
dir_insert(struct txn *t, const struct dir_pos *pos, const char *name, size_t len, uint64_t ino,
    unsigned char type)
{
	unsigned char item[DIRENT_ITEM_HEAD + FS_NAME_MAX];
	size_t n;

	if (pos->key.lo == 0)
		return -ENOSPC;
	n = dirent_encode(item, name, len, ino, type);
	return tree_insert(t, pos->key, item, n);
}

int
dir_replace(struct txn *t, const struct dir_pos *pos, const char *name, size_t len, uint64_t ino,
    unsigned char type)
{
	unsigned char item[DIRENT_ITEM_HEAD + FS_NAME_MAX];
	size_t n = dirent_encode(item, name, len, ino, type);

	return tree_put(t, pos->key, item, n);
}

int
dir_remove(struct txn *t, const struct dir_pos *pos)
{
	return tree_delete(t, pos->key);
}

static int
find_any(void *arg, struct tree_key key, const void *value, size_t len)
{
	(void)arg;
	(void)key;
	(void)value;
	(void)len;
	return 1;
}

int
dir_is_empty(struct inode *dir)
{
	int r = tree_scan(dir->fs->pool, tree_key(dir->ino, ITEM_DIRENT, 0),
	    tree_key(dir->ino, ITEM_DIRENT, UINT64_MAX), find_any, NULL);

	return r < 0 ? r : r == 0;
}

/* Entries as they lie in the tree, one behind the other, each behind its head. */
struct batch_head {
	uint64_t ino;
	uint64_t cookie;
	uint8_t type;
	uint8_t namelen;
};

struct batch {
	size_t used;
	bool full;
	unsigned char buf[READDIR_BATCH_BYTES];
};

static int
copy_entry(void *arg, struct tree_key key, const void *value, size_t len)
{
	struct batch *b = arg;
	struct batch_head h = { 0 };
	struct dirent_item d;
	const char *why = dirent_decode(value, len, &d);

	if (!why)
		why = name_decode((const char *)value + DIRENT_ITEM_HEAD, d.namelen);
	/* One damaged entry must not hide the others. */
	if (why) {
		damaged(key, why);
		return 0;
	}
	if (b->used + sizeof(h) + d.namelen > sizeof(b->buf)) {
		b->full = true;
		return 1;
	}
	h.ino = d.ino;
	h.cookie = key.lo;
	h.type = d.type;
	h.namelen = d.namelen;
	memcpy(b->buf + b->used, &h, sizeof(h));
	memcpy(b->buf + b->used + sizeof(h), (const char *)value + DIRENT_ITEM_HEAD, d.namelen);
	b->used += sizeof(h) + d.namelen;
	return 0;
}

/* What fn said; *cookie is that of the last entry that it took. */
static int
emit_batch(struct fs *fs, const struct batch *b, bool plus, fs_dirent_fn *fn, void *arg, uint64_t *cookie)
{
	struct batch_head h;
	size_t at = 0;

	while (at < b->used) {
		char name[FS_NAME_MAX + 1];
		struct inode *child = NULL;

		memcpy(&h, b->buf + at, sizeof(h));
		memcpy(name, b->buf + at + sizeof(h), h.namelen);
		name[h.namelen] = '\0';
		at += sizeof(h) + h.namelen;
		if (plus && inode_get(fs, h.ino, &child) < 0)
			child = NULL;
		if (fn(arg, name, h.namelen, h.ino, h.type, (off_t)h.cookie, child))
			return 1;
		*cookie = h.cookie;
	}
	return 0;
}

int
fs_readdir(struct fs *fs, struct inode *dir, off_t off, bool plus, fs_dirent_fn *fn, void *arg)
{
	uint64_t cookie = (uint64_t)off, parent;
	struct batch b;
	int r;

	if (!inode_is_dir(dir))
		return -ENOTDIR;
	if (off < 0)
		return -EINVAL;
	inode_accessed(dir);
	if (cookie < COOKIE_DOT) {
		if (fn(arg, ".", 1, dir->ino, DT_DIR, COOKIE_DOT, NULL))
			return 0;
		cookie = COOKIE_DOT;
	}
	if (cookie < COOKIE_DOTDOT) {
		mtx_lock(&dir->attr_lock);
		parent = dir->attr.parent;
		mtx_unlock(&dir->attr_lock);
		if (fn(arg, "..", 2, parent, DT_DIR, COOKIE_DOTDOT, NULL))
			return 0;
	}
	if (cookie < COOKIE_FIRST)
		cookie = COOKIE_FIRST - 1;
	do {
		if (cookie >= COOKIE_LAST)
			return 0;
		b.used = 0;
		b.full = false;
		r = tree_scan(fs->pool, tree_key(dir->ino, ITEM_DIRENT, cookie + 1),
		    tree_key(dir->ino, ITEM_DIRENT, COOKIE_LAST), copy_entry, &b);
		if (r < 0)
			return r;
		if (emit_batch(fs, &b, plus, fn, arg, &cookie))
			return 0;
	} while (b.full);
	return 0;
}
