/* SPDX-License-Identifier: BSD-3-Clause */
/* Extended attributes.
 *
 * An attribute is a row of chunks, items with neighbouring keys (format.h):
 * its name and its value behind each other, cut into pieces of ITEM_CHUNK bytes. Names
 * with one hash take different slots. The attribute lock of the inode is held while one is
 * read or changed, so that nobody sees parts of two values.
 *
 * Most inodes have no attributes, and most questions are about those that are not
 * there (security.capability, ACLs): inode->xattr_known answers them from memory.
 *
 * A change of several chunks first touches the path to each: what can fail
 * fails before anything has changed. */
#include "fs/xattr.h"

#include <errno.h>
#include <linux/xattr.h>
#include <string.h>

#include "fs/acl.h"
#include "fs/fs_i.h"
#include "fs/op.h"
#include "fs/siphash.h"
#include "pmem/log.h"

#define SLOTS 256u
#define CHUNK_BITS 8u
#define SLOT_BITS 8u

static int
damaged(struct tree_key key, const char *why)
{
	pinfs_log(LOG_ERR, "inode %llu: extended attribute %llx is damaged: %s",
	    (unsigned long long)tree_key_ino(key), (unsigned long long)key.lo, why);
	return -EIO;
}

/* Where an attribute is, or could be. */
struct xattr_pos {
	uint64_t base;       /* key of its chunk 0 */
	bool found;
	bool full;           /* not found, and no slot left */
	uint32_t value_len;
};

static unsigned
chunks(size_t namelen, size_t value_len)
{
	return (unsigned)((namelen + value_len + ITEM_CHUNK - 1) / ITEM_CHUNK);
}

/* NULL, or what is wrong with the first chunk of an attribute. */
static const char *
decode_first(const void *value, size_t len, struct xattr_item *x)
{
	size_t total;

	if (len < XATTR_ITEM_HEAD)
		return "too short";
	memcpy(&x->value_len, value, sizeof(x->value_len));
	x->namelen = ((const uint8_t *)value)[offsetof(struct xattr_item, namelen)];
	if (x->namelen == 0 || x->value_len > XATTR_VALUE_MAX)
		return "length out of range";
	total = (size_t)x->namelen + x->value_len;
	if (len - XATTR_ITEM_HEAD != min_of(total, (size_t)ITEM_CHUNK))
		return "wrong length";
	if (memchr((const char *)value + XATTR_ITEM_HEAD, '\0', x->namelen))
		return "name has a null byte";
	return NULL;
}

struct find {
	const char *name;
	size_t len;
	struct xattr_pos *pos;
	uint64_t used[SLOTS / 64];
};

static int
find_one(void *arg, struct tree_key key, const void *value, size_t len)
{
	struct find *f = arg;
	unsigned slot = (unsigned)(key.lo >> CHUNK_BITS) % SLOTS;
	struct xattr_item x;
	const char *why;

	f->used[slot / 64] |= (uint64_t)1 << slot % 64;
	if (key.lo & ((1u << CHUNK_BITS) - 1))
		return 0;
	why = decode_first(value, len, &x);
	if (why)
		return damaged(key, why);
	if (x.namelen != f->len || memcmp((const char *)value + XATTR_ITEM_HEAD, f->name, f->len) != 0)
		return 0;
	f->pos->found = true;
	f->pos->base = key.lo;
	f->pos->value_len = x.value_len;
	return 1;
}

static int
xattr_find(struct inode *i, const char *name, size_t len, struct xattr_pos *pos)
{
	uint64_t hash = siphash24(i->fs->hash_key, name, len) >> (CHUNK_BITS + SLOT_BITS);
	uint64_t first = (hash ? hash : 1) << (CHUNK_BITS + SLOT_BITS);
	struct find f = { .name = name, .len = len, .pos = pos };
	unsigned slot = 0;
	int r;

	*pos = (struct xattr_pos){ 0 };
	r = tree_scan(i->fs->pool, tree_key(i->ino, ITEM_XATTR, first),
	    tree_key(i->ino, ITEM_XATTR, first + (1u << (CHUNK_BITS + SLOT_BITS)) - 1), find_one, &f);
	if (r)
		return r < 0 ? r : 0;
	while (slot < SLOTS && (f.used[slot / 64] >> slot % 64 & 1))
		slot++;
	pos->full = slot == SLOTS;
	pos->base = first + ((uint64_t)slot << CHUNK_BITS);
	return 0;
}

/* ---- what is known ---- */

static uint8_t
absent_bit(const char *name)
{
	if (strcmp(name, ACL_NAME_ACCESS) == 0)
		return XATTR_NO_ACL;
	if (strcmp(name, ACL_NAME_DEFAULT) == 0)
		return XATTR_NO_DEFAULT_ACL;
	return strcmp(name, XATTR_NAME_CAPS) == 0 ? XATTR_NO_CAPS : 0;
}

static int
stop_at_any(void *arg, struct tree_key key, const void *value, size_t len)
{
	(void)arg;
	(void)key;
	(void)value;
	(void)len;
	return 1;
}

/* 1: it is known that there is no attribute of that name; 0: have a look. */
static int
known_absent_locked(struct inode *i, const char *name)
{
	int r;

	if (!(i->xattr_known & (XATTR_NONE | XATTR_SOME))) {
		r = tree_scan(i->fs->pool, tree_key(i->ino, ITEM_XATTR, 0),
		    tree_key(i->ino, ITEM_XATTR, UINT64_MAX), stop_at_any, NULL);
		if (r < 0)
			return r;
		i->xattr_known |= r ? XATTR_SOME : XATTR_FRESH;
	}
	return (i->xattr_known & (XATTR_NONE | absent_bit(name))) != 0;
}

/* ---- reading ---- */

struct read_value {
	unsigned char *buf;
	uint64_t base;       /* key of chunk 0 */
	size_t namelen;
	size_t total;        /* of name and value */
	size_t done;
};

static int
copy_chunk(void *arg, struct tree_key key, const void *value, size_t len)
{
	struct read_value *r = arg;
	const unsigned char *data = (const unsigned char *)value + XATTR_ITEM_HEAD;
	size_t want = min_of(r->total - r->done, (size_t)ITEM_CHUNK);
	size_t skip = r->done == 0 ? r->namelen : 0;

	if (key.lo != r->base + r->done / ITEM_CHUNK || len != XATTR_ITEM_HEAD + want)
		return damaged(key, "chunks don't fit together");
	if (want > skip)
		memcpy(r->buf + r->done + skip - r->namelen, data + skip, want - skip);
	r->done += want;
	return 0;
}

ssize_t
xattr_get_locked(struct inode *i, const char *name, void *buf, size_t size)
{
	size_t len = strlen(name);
	struct xattr_pos pos;
	struct read_value r;
	int err;

	err = known_absent_locked(i, name);
	if (err)
		return err < 0 ? err : -ENODATA;
	err = xattr_find(i, name, len, &pos);
	if (err)
		return err;
	if (!pos.found) {
		i->xattr_known |= absent_bit(name);
		return -ENODATA;
	}
	if (size == 0)
		return pos.value_len;
	if (size < pos.value_len)
		return -ERANGE;
	r = (struct read_value){ .buf = buf, .base = pos.base, .namelen = len, .total = len + pos.value_len };
	err = tree_scan(i->fs->pool, tree_key(i->ino, ITEM_XATTR, pos.base),
	    tree_key(i->ino, ITEM_XATTR, pos.base + chunks(len, pos.value_len) - 1), copy_chunk, &r);
	if (!err && r.done != r.total)
		err = damaged(tree_key(i->ino, ITEM_XATTR, pos.base), "a chunk is missing");
	return err ? err : (ssize_t)pos.value_len;
}

/* ---- changing ---- */

uint64_t
xattr_credits(struct pool *p, size_t size)
{
	return txn_credits_run(p, chunks(XATTR_NAME_LEN_MAX, size), XATTR_ITEM_HEAD + ITEM_CHUNK);
}

/* Touch the paths to n chunks. */
static int
touch_chunks(struct txn *t, struct inode *i, uint64_t base, unsigned n)
{
	int err = 0;

	for (unsigned k = 0; k < n && !err; k++)
		err = tree_touch(t, tree_key(i->ino, ITEM_XATTR, base + k));
	return err;
}

static int
put_chunk(struct txn *t, struct inode *i, uint64_t base, unsigned k, const char *name, const void *value,
    size_t size)
{
	unsigned char item[XATTR_ITEM_HEAD + ITEM_CHUNK] = { 0 };
	size_t namelen = strlen(name), skip = k == 0 ? namelen : 0;
	size_t at = (size_t)k * ITEM_CHUNK;
	size_t n = min_of(namelen + size - at, (size_t)ITEM_CHUNK);
	uint32_t value_len = (uint32_t)size;

	memcpy(item, &value_len, sizeof(value_len));
	if (k == 0) {
		item[offsetof(struct xattr_item, namelen)] = (uint8_t)namelen;
		memcpy(item + XATTR_ITEM_HEAD, name, namelen);
	}
	if (n > skip)
		memcpy(item + XATTR_ITEM_HEAD + skip, (const char *)value + at + skip - namelen, n - skip);
	return tree_put(t, tree_key(i->ino, ITEM_XATTR, base + k), item, XATTR_ITEM_HEAD + n);
}

/* Make a row of `old` chunks one of `new` chunks. */
static int
write_chunks(struct txn *t, struct inode *i, uint64_t base, unsigned old, unsigned new, const char *name,
    const void *value, size_t size)
{
	unsigned most = max_of(old, new);
	int err = 0;

	/* A single change is all or nothing by itself. */
	if (most > 1)
		err = touch_chunks(t, i, base, most);
	for (unsigned k = 0; k < new && !err; k++)
		err = put_chunk(t, i, base, k, name, value, size);
	for (unsigned k = new; k < old && !err; k++)
		err = tree_delete(t, tree_key(i->ino, ITEM_XATTR, base + k));
	return err;
}

int
xattr_set_locked(struct txn *t, struct inode *i, const char *name, const void *value, size_t size, int flags)
{
	size_t len = strlen(name);
	unsigned old = 0, new = chunks(len, size);
	struct xattr_pos pos;
	int err;

	err = xattr_find(i, name, len, &pos);
	if (err)
		return err;
	if (pos.found && (flags & XATTR_CREATE))
		return -EEXIST;
	if (!pos.found && (flags & XATTR_REPLACE))
		return -ENODATA;
	if (pos.full)
		return -ENOSPC;
	if (pos.found)
		old = chunks(len, pos.value_len);
	if (old > new)
		err = txn_extend(t, xattr_credits(i->fs->pool, pos.value_len));
	if (err)
		return err;
	i->xattr_known &= (uint8_t)~(XATTR_NONE | absent_bit(name));
	i->xattr_known |= XATTR_SOME;
	return write_chunks(t, i, pos.base, old, new, name, value, size);
}

int
xattr_remove_locked(struct txn *t, struct inode *i, const char *name)
{
	size_t len = strlen(name);
	struct xattr_pos pos;
	int err;

	err = known_absent_locked(i, name);
	if (err)
		return err < 0 ? err : -ENODATA;
	err = xattr_find(i, name, len, &pos);
	if (err)
		return err;
	if (!pos.found)
		return -ENODATA;
	err = txn_extend(t, xattr_credits(i->fs->pool, pos.value_len));
	if (err)
		return err;
	i->xattr_known &= (uint8_t)~XATTR_SOME;
	return write_chunks(t, i, pos.base, chunks(len, pos.value_len), 0, name, NULL, 0);
}

/* ---- what a front end calls ---- */

enum xattr_space { SPACE_USER, SPACE_TRUSTED, SPACE_SECURITY, SPACE_ACL, SPACES };

/* -EOPNOTSUPP: no such namespace; -EINVAL: only its prefix. */
static int
name_space(const char *name)
{
	static const char *const prefix[] = {
		[SPACE_USER] = XATTR_USER_PREFIX,
		[SPACE_TRUSTED] = XATTR_TRUSTED_PREFIX,
		[SPACE_SECURITY] = XATTR_SECURITY_PREFIX,
	};

	if (strnlen(name, XATTR_NAME_LEN_MAX + 1) > XATTR_NAME_LEN_MAX)
		return -ERANGE;
	if (absent_bit(name) & (XATTR_NO_ACL | XATTR_NO_DEFAULT_ACL))
		return SPACE_ACL;
	for (int s = 0; s < SPACE_ACL; s++) {
		size_t len = strlen(prefix[s]);

		if (strncmp(name, prefix[s], len) == 0)
			return name[len] ? s : -EINVAL;
	}
	return -EOPNOTSUPP;
}

ssize_t
fs_getxattr(struct fs *fs, struct inode *i, const char *name, void *buf, size_t size)
{
	int space = name_space(name);
	ssize_t n;

	(void)fs;
	if (space < 0)
		return space;
	mtx_lock(&i->attr_lock);
	n = xattr_get_locked(i, name, buf, size);
	mtx_unlock(&i->attr_lock);
	return n;
}

struct list {
	char *buf;
	size_t size;
	size_t done;
};

static int
list_one(void *arg, struct tree_key key, const void *value, size_t len)
{
	struct list *l = arg;
	struct xattr_item x;
	const char *why;

	if (key.lo & ((1u << CHUNK_BITS) - 1))
		return 0;
	why = decode_first(value, len, &x);
	if (why)
		return damaged(key, why);
	if (l->size > 0) {
		if (l->size - l->done < (size_t)x.namelen + 1)
			return -ERANGE;
		memcpy(l->buf + l->done, (const char *)value + XATTR_ITEM_HEAD, x.namelen);
		l->buf[l->done + x.namelen] = '\0';
	}
	l->done += (size_t)x.namelen + 1;
	return 0;
}

ssize_t
fs_listxattr(struct fs *fs, struct inode *i, char *buf, size_t size)
{
	struct list l = { .buf = buf, .size = size };
	int err = 0;

	mtx_lock(&i->attr_lock);
	if (!(i->xattr_known & XATTR_NONE))
		err = tree_scan(fs->pool, tree_key(i->ino, ITEM_XATTR, 0),
		    tree_key(i->ino, ITEM_XATTR, UINT64_MAX), list_one, &l);
	mtx_unlock(&i->attr_lock);
	return err ? err : (ssize_t)l.done;
}

/* A change that is being made: a value, or none: the attribute goes. */
struct change {
	const char *name;
	const void *value;
	size_t size;
	int flags;
	bool must_exist;     /* removal of what is not there fails */
	bool set_mode;
	uint32_t mode;       /* permission bits, and S_ISGID, to keep */
};

static int
change_locked(struct op *op, struct inode *i, const struct change *ch)
{
	int err;

	/* So that the last step can't fail. */
	err = tree_touch(&op->t, tree_key(i->ino, ITEM_INODE, 0));
	if (err)
		return err;
	if (ch->value) {
		err = xattr_set_locked(&op->t, i, ch->name, ch->value, ch->size, ch->flags);
	} else {
		err = xattr_remove_locked(&op->t, i, ch->name);
		if (err == -ENODATA && !ch->must_exist)
			err = 0;
	}
	if (err)
		return err;
	if (ch->set_mode)
		i->attr.mode = ch->mode;
	i->attr.ctime = op->now;
	return inode_store_locked(&op->t, i);
}

/* Whether an ACL may be on such an inode, and the mode that it makes. */
static int
acl_change_locked(struct inode *i, struct change *ch, const struct fs_cred *c)
{
	bool access = strcmp(ch->name, ACL_NAME_ACCESS) == 0;
	int n = ch->size > 0 ? acl_check(ch->value, ch->size) : 0;

	if (n < 0)
		return n;
	ch->flags = 0;
	if (n == 0) {
		ch->value = NULL;
		return 0;
	}
	if (!access)
		return inode_is_dir(i) ? 0 : -EACCES;
	ch->set_mode = true;
	ch->mode = i->attr.mode;
	if (acl_to_mode(ch->value, ch->size, &ch->mode))
		ch->value = NULL;
	if (!c->fsetid && c->gid != i->attr.gid)
		ch->mode &= ~(uint32_t)S_ISGID;
	return 0;
}

static int
check_change(struct inode *i, int space)
{
	if (space < 0)
		return space;
	if (space == SPACE_USER && !inode_is_reg(i) && !inode_is_dir(i))
		return -EPERM;
	if (space == SPACE_ACL && S_ISLNK(i->type))
		return -EOPNOTSUPP;
	return inode_flags(i) & (INODE_FL_IMMUTABLE | INODE_FL_APPEND) ? -EPERM : 0;
}

static int
change(struct fs *fs, struct inode *i, struct change *ch, int space, const struct fs_cred *c, unsigned txn_flags)
{
	struct op op;
	int err;

	err = op_begin(&op, fs, 1, ch->value ? xattr_credits(fs->pool, ch->size) : 0, txn_flags);
	if (err)
		return err;
	mtx_lock(&i->attr_lock);
	if (space == SPACE_ACL && ch->value)
		err = acl_change_locked(i, ch, c);
	if (!err)
		err = change_locked(&op, i, ch);
	mtx_unlock(&i->attr_lock);
	op_end(&op);
	if (!err)
		inode_changed(i);
	return err;
}

int
fs_setxattr(struct fs *fs, struct inode *i, const char *name, const void *value, size_t size, int flags,
    const struct fs_cred *c)
{
	struct change ch = { .name = name, .value = value ? value : "", .size = size, .flags = flags };
	int space = name_space(name);
	int err;

	err = check_change(i, space);
	if (err)
		return err;
	if (space == SPACE_TRUSTED && c->uid != 0)
		return -EPERM;
	if (size > XATTR_VALUE_MAX)
		return -E2BIG;
	if ((flags & ~(XATTR_CREATE | XATTR_REPLACE)) || (size > 0 && !value))
		return -EINVAL;
	return change(fs, i, &ch, space, c, 0);
}

int
fs_removexattr(struct fs *fs, struct inode *i, const char *name)
{
	int space = name_space(name);
	/* Taking away an ACL that says no more than the mode is no error, as elsewhere. */
	struct change ch = { .name = name, .must_exist = space != SPACE_ACL };
	int err = check_change(i, space);

	return err ? err : change(fs, i, &ch, space, NULL, TXN_MUST);
}

int
inode_drop_capability(struct inode *i)
{
	struct change ch = { .name = XATTR_NAME_CAPS };
	int absent;

	mtx_lock(&i->attr_lock);
	absent = known_absent_locked(i, XATTR_NAME_CAPS);
	if (absent == 0)
		absent = xattr_get_locked(i, XATTR_NAME_CAPS, NULL, 0) == -ENODATA;
	mtx_unlock(&i->attr_lock);
	if (absent)
		return absent < 0 ? absent : 0;
	return change(i->fs, i, &ch, SPACE_SECURITY, NULL, TXN_MUST);
}
