/* SPDX-License-Identifier: BSD-3-Clause */
/* Damage is planted through the tree, so that all checksums are right, and with counts adjusted, so that
 * there is one thing that is wrong. */
#include "tests/unit/unit_damage.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/siphash.h"
#include "pmem/crc.h"
#include "pmem/log.h"

/* ---- a pool with some of everything ------------------------------------------------- */

static const struct fs_cred cred = { .umask = 022 };

static void
write_file(struct fs *fs, struct inode *i, char fill, size_t len)
{
	char *buf = malloc(len);
	struct file *f;

	ck_assert_ptr_nonnull(buf);
	/* Each block different, so that a mix-up shows. */
	for (size_t k = 0; k < len; k++)
		buf[k] = (char)(fill + (char)(k >> BLK_SHIFT) * 7);
	ck_assert_ok(fs_open(fs, i, O_RDWR, &cred, &f));
	ck_assert_int_eq(fs_write(f, buf, len, 0, false), (ssize_t)len);
	fs_release(f);
	free(buf);
}

static void
make_files(struct fs *fs, struct sample *s)
{
	struct inode *root, *dir, *sub, *file, *pre, *clone, *link;
	struct file *from, *to;
	char target[1501], value[3000];

	memset(target, 't', sizeof(target) - 1);
	target[sizeof(target) - 1] = '\0';
	memset(value, 'v', sizeof(value));
	ck_assert_ok(inode_get(fs, INO_ROOT, &root));
	ck_assert_ok(fs_mkdir(fs, root, "dir", 0755, &cred, &dir));
	ck_assert_ok(fs_mkdir(fs, dir, "sub", 0755, &cred, &sub));
	ck_assert_ok(fs_create(fs, root, "file", S_IFREG | 0644, 0, &cred, &file));
	ck_assert_ok(fs_link(fs, file, sub, "hard"));
	ck_assert_ok(fs_setxattr(fs, file, "user.long", value, sizeof(value), 0, &cred));
	ck_assert_ok(fs_setxattr(fs, file, "user.short", value, 5, 0, &cred));
	ck_assert_ok(fs_symlink(fs, dir, "link", target, &cred, &link));
	ck_assert_ok(fs_create(fs, dir, "clone", S_IFREG | 0644, 0, &cred, &clone));
	ck_assert_ok(fs_create(fs, dir, "pre", S_IFREG | 0644, 0, &cred, &pre));
	write_file(fs, file, 'a', 300000);
	write_file(fs, clone, 'A', 50000);
	ck_assert_ok(fs_open(fs, pre, O_RDWR, &cred, &to));
	ck_assert_ok(fs_fallocate(to, FALLOC_FL_KEEP_SIZE, 0, 20 * BLK_SIZE));
	fs_release(to);
	ck_assert_ok(fs_sync(fs));
	ck_assert_ok(fs_open(fs, file, O_RDONLY, &cred, &from));
	ck_assert_ok(fs_open(fs, clone, O_RDWR, &cred, &to));
	ck_assert_ok(fs_clone_range(from, 8 * BLK_SIZE, to, 16 * BLK_SIZE, 8 * BLK_SIZE));
	fs_release(from);
	fs_release(to);
	s->dir = dir->ino;
	s->sub = sub->ino;
	s->file = file->ino;
	s->pre = pre->ino;
	s->clone = clone->ino;
	s->link = link->ino;
	inode_put(dir);
	inode_put(sub);
	inode_put(file);
	inode_put(pre);
	inode_put(clone);
	inode_put(link);
	inode_put(root);
}

static void
quiet(void *arg, int level, const char *text)
{
	(void)arg, (void)level, (void)text;
}

struct sample
damage_sample(void)
{
	struct sample s = { .path = unit_mkpool(16) };
	struct fs *fs;

	pinfs_log_to(quiet, NULL);
	fs = unit_mount(s.path);
	make_files(fs, &s);
	ck_assert_ok(fs_umount(fs));
	return s;
}

/* ---- planting damage --------------------------------------------------------------------- */

static struct inode_item
get_inode(struct plant *p, uint64_t ino)
{
	struct inode_item item;

	ck_assert_int_eq(tree_get(p->pool, tree_key(ino, ITEM_INODE, 0), &item, sizeof(item)), sizeof(item));
	return item;
}

void
damage_put(struct plant *p, struct tree_key key, const void *value, size_t len)
{
	ck_assert_ok(tree_put(&p->txn, key, value, len));
}

static void
put_inode(struct plant *p, uint64_t ino, const struct inode_item *item)
{
	damage_put(p, tree_key(ino, ITEM_INODE, 0), item, sizeof(*item));
}

static void
drop(struct plant *p, struct tree_key key)
{
	ck_assert_ok(tree_delete(&p->txn, key));
}

static void
adjust(struct plant *p, uint64_t ino, int nlink, int nentries)
{
	struct inode_item item = get_inode(p, ino);

	item.nlink += (uint32_t)nlink;
	item.nentries += (uint64_t)(int64_t)nentries;
	put_inode(p, ino, &item);
}

/* Key of an entry by name, in slot 0: nothing in the sample collides. */
static struct tree_key
entry_key(struct plant *p, uint64_t dir, const char *name)
{
	struct root_block root;
	uint64_t seed[2];

	pool_root(p->pool, &root);
	memcpy(seed, root.hash_seed, sizeof(seed));
	return tree_key(dir, ITEM_DIRENT, siphash24(seed, name, strlen(name)) >> 5 << HASH_SLOT_BITS);
}

static void
put_entry(struct plant *p, struct tree_key key, const char *name, uint64_t ino, uint8_t type)
{
	char value[DIRENT_ITEM_HEAD + 255];

	memcpy(value, &ino, sizeof(ino));
	value[8] = (char)type;
	value[9] = (char)strlen(name);
	memcpy(value + DIRENT_ITEM_HEAD, name, strlen(name));
	damage_put(p, key, value, DIRENT_ITEM_HEAD + strlen(name));
}

static void
add_entry(struct plant *p, uint64_t dir, const char *name, uint64_t ino, uint8_t type)
{
	put_entry(p, entry_key(p, dir, name), name, ino, type);
	adjust(p, dir, type == DT_DIR, 1);
}

static void
drop_entry(struct plant *p, uint64_t dir, const char *name, bool is_dir)
{
	drop(p, entry_key(p, dir, name));
	adjust(p, dir, is_dir ? -1 : 0, -1);
}

struct first_item {
	struct tree_key key;
	unsigned char value[ITEM_VALUE_MAX];
	size_t len;
	unsigned skip; /* that many before it */
};

static int
copy_first(void *arg, struct tree_key key, const void *value, size_t len)
{
	struct first_item *f = arg;

	if (f->skip-- > 0)
		return 0;
	f->key = key;
	f->len = len;
	memcpy(f->value, value, len);
	return 1;
}

/* The nth item of a type. */
static struct first_item
nth_item(struct plant *p, uint64_t ino, enum item_type type, unsigned n)
{
	struct first_item f = { .skip = n };

	ck_assert_int_eq(tree_scan(p->pool, tree_key(ino, type, 0), tree_key(ino, type, UINT64_MAX), copy_first, &f),
	    1);
	return f;
}

static pblk_t
first_block(struct plant *p, uint64_t ino)
{
	struct first_item f = nth_item(p, ino, ITEM_EXTENT, 0);
	struct extent_item e;

	memcpy(&e, f.value, EXTENT_ITEM_HEAD);
	return e.pblk;
}

/* Point the first extent of `pre`, 20 unwritten blocks, at other blocks. */
void
damage_redirect_pre(struct plant *p, pblk_t to)
{
	struct first_item f = nth_item(p, p->s->pre, ITEM_EXTENT, 0);

	memcpy(f.value, &to, sizeof(to));
	damage_put(p, f.key, f.value, f.len);
}

/* One more extent of one fresh block, with its CRC, that is counted as it should be. */
static void
add_extent(struct plant *p, uint64_t ino, fblk_t fblk)
{
	struct inode_item item = get_inode(p, ino);
	struct extent_item e = { .len = 1 };
	unsigned char value[EXTENT_ITEM_HEAD + 4];
	uint64_t got;
	uint32_t crc;
	pblk_t b;

	ck_assert_ok(pool_alloc_data(p->pool, PBLK_NONE, 1, 0, &b, &got));
	memset(pool_block(p->pool, b), 'x', BLK_SIZE);
	crc = crc32c(pool_block(p->pool, b), BLK_SIZE);
	e.pblk = b;
	memcpy(value, &e, EXTENT_ITEM_HEAD);
	memcpy(value + EXTENT_ITEM_HEAD, &crc, sizeof(crc));
	damage_put(p, tree_key(ino, ITEM_EXTENT, fblk), value, sizeof(value));
	item.nblocks++;
	put_inode(p, ino, &item);
	txn_add_data_blocks(&p->txn, 1);
}

static void
add_orphan(struct plant *p, uint64_t ino)
{
	damage_put(p, tree_key(INO_NONE, ITEM_ORPHAN, ino), NULL, 0);
}

/* ---- the kinds -------------------------------------------------------------------------- */

static void plant_nlink(struct plant *p) { adjust(p, p->s->file, 1, 0); }
static void plant_dir_nlink(struct plant *p) { adjust(p, p->s->dir, 1, 0); }
static void plant_nentries(struct plant *p) { adjust(p, p->s->dir, 0, 1); }
static void plant_dangling(struct plant *p) { add_entry(p, INO_ROOT, "ghost", 9999, DT_REG); }
static void plant_dangling_dir(struct plant *p) { add_entry(p, p->s->sub, "ghost", 9999, DT_DIR); }

static void
plant_dirent(struct plant *p)
{
	add_entry(p, INO_ROOT, "a/b", p->s->file, DT_REG);
}

static void
plant_dirent_type(struct plant *p)
{
	put_entry(p, entry_key(p, INO_ROOT, "file"), "file", p->s->file, DT_FIFO);
}

static void
plant_dirent_hash(struct plant *p)
{
	struct tree_key key = entry_key(p, INO_ROOT, "file");

	drop(p, key);
	key.lo += HASH_SLOTS;
	put_entry(p, key, "file", p->s->file, DT_REG);
}

static void
plant_duplicate(struct plant *p)
{
	struct tree_key key = entry_key(p, INO_ROOT, "file");

	key.lo++;
	put_entry(p, key, "file", p->s->file, DT_REG);
	adjust(p, INO_ROOT, 0, 1);
	adjust(p, p->s->file, 1, 0);
}

static void
plant_dir_parent(struct plant *p)
{
	struct inode_item item = get_inode(p, p->s->sub);

	item.parent = INO_ROOT;
	put_inode(p, p->s->sub, &item);
}

static void
plant_dir_twice(struct plant *p)
{
	add_entry(p, p->s->sub, "again", p->s->sub, DT_DIR);
}

static void
plant_unreachable(struct plant *p)
{
	drop_entry(p, INO_ROOT, "dir", true);
}

static void
plant_circle(struct plant *p)
{
	struct inode_item item;

	drop_entry(p, INO_ROOT, "dir", true);
	add_entry(p, p->s->sub, "up", p->s->dir, DT_DIR);
	item = get_inode(p, p->s->dir);
	item.parent = p->s->sub;
	put_inode(p, p->s->dir, &item);
}

static void
plant_orphan_missing(struct plant *p)
{
	drop_entry(p, p->s->dir, "link", false);
	adjust(p, p->s->link, -1, 0);
}

void
damage_plant_orphan(struct plant *p) /* no damage: a crash leaves this */
{
	plant_orphan_missing(p);
	add_orphan(p, p->s->link);
}

static void plant_orphan_linked(struct plant *p) { add_orphan(p, p->s->file); }
static void plant_orphan_gone(struct plant *p) { add_orphan(p, 7777); }

static void
plant_inode(struct plant *p)
{
	struct inode_item item = get_inode(p, p->s->file);

	item.mtime_nsec = 1000000000;
	put_inode(p, p->s->file, &item);
}

static void
plant_inode_reserved(struct plant *p)
{
	struct inode_item item = get_inode(p, p->s->file);

	item.reserved2 = 1;
	put_inode(p, p->s->file, &item);
}

static void
plant_no_inode(struct plant *p)
{
	damage_put(p, tree_key(8888, ITEM_SYMLINK, 0), "abc", 3);
}

static void
plant_item(struct plant *p)
{
	damage_put(p, tree_key(p->s->file, (enum item_type)9, 5), "abc", 3);
}

static void
plant_next_ino(struct plant *p)
{
	struct inode_item item = get_inode(p, p->s->link);

	item.mode = S_IFIFO | 0600;
	item.nlink = 0;
	item.size = 0;
	put_inode(p, 100000, &item);
	add_orphan(p, 100000);
	txn_add_inodes(&p->txn, 1);
}

static void plant_ninodes(struct plant *p) { txn_add_inodes(&p->txn, 1); damage_plant_orphan(p); }
static void plant_data_blocks(struct plant *p) { txn_add_data_blocks(&p->txn, 3); damage_plant_orphan(p); }
static void plant_symlink(struct plant *p) { drop(p, tree_key(p->s->link, ITEM_SYMLINK, 1)); }
static void plant_symlink_hole(struct plant *p) { drop(p, tree_key(p->s->link, ITEM_SYMLINK, 0)); }

/* The long attribute has three chunks more than the first. */
static struct first_item
long_xattr(struct plant *p, unsigned chunk)
{
	struct first_item f;

	for (unsigned n = 0;; n++) {
		f = nth_item(p, p->s->file, ITEM_XATTR, n);
		if (f.len > 500 && (f.key.lo & 0xff) == chunk)
			return f;
	}
}

static void plant_xattr_end(struct plant *p) { drop(p, long_xattr(p, 2).key); }

static void
plant_xattr_length(struct plant *p)
{
	struct first_item f = long_xattr(p, 1);

	damage_put(p, f.key, f.value, f.len - 1);
}

static void
plant_xattr_hash(struct plant *p)
{
	struct first_item f = nth_item(p, p->s->file, ITEM_XATTR, 0);

	if (f.len > 500)
		f = nth_item(p, p->s->file, ITEM_XATTR, 3);
	drop(p, f.key);
	f.key.lo ^= 1ull << 40;
	damage_put(p, f.key, f.value, f.len);
}

static void
plant_extent(struct plant *p)
{
	struct first_item f = nth_item(p, p->s->file, ITEM_EXTENT, 0);

	f.value[12] = 0x80; /* flags */
	damage_put(p, f.key, f.value, f.len);
}

static void
plant_extent_of_dir(struct plant *p)
{
	struct extent_item e = { .pblk = 3000, .len = 1, .flags = EXTENT_UNWRITTEN };

	damage_put(p, tree_key(p->s->dir, ITEM_EXTENT, 0), &e, EXTENT_ITEM_HEAD);
}

static void plant_overlap(struct plant *p) { add_extent(p, p->s->file, 70); }
static void plant_eof(struct plant *p) { add_extent(p, p->s->file, 80); }

static void
plant_nblocks(struct plant *p)
{
	struct inode_item item = get_inode(p, p->s->file);

	item.nblocks++;
	put_inode(p, p->s->file, &item);
}

static void
plant_block_twice(struct plant *p)
{
	/* Behind the part of the file that is shared. */
	damage_redirect_pre(p, first_block(p, p->s->file) + 30);
	txn_add_data_blocks(&p->txn, -20);
}

static void
plant_refcount(struct plant *p)
{
	struct first_item f = nth_item(p, INO_NONE, ITEM_REFCOUNT, 0);

	f.value[4] = 3;
	damage_put(p, f.key, f.value, f.len);
}

static void
plant_refcount_gone(struct plant *p)
{
	drop(p, nth_item(p, INO_NONE, ITEM_REFCOUNT, 0).key);
}

static void
plant_refcount_alone(struct plant *p)
{
	struct refcount_item item = { .len = 2, .count = 2 };

	damage_put(p, tree_key(INO_NONE, ITEM_REFCOUNT, first_block(p, p->s->file)), &item, sizeof(item));
}

static void
plant_refcount_bad(struct plant *p)
{
	struct refcount_item item = { .len = 1, .count = 1 };

	damage_put(p, tree_key(INO_NONE, ITEM_REFCOUNT, 3000), &item, sizeof(item));
}

static void
plant_data(struct plant *p)
{
	((char *)pool_block(p->pool, first_block(p, p->s->file) + 3))[1000] ^= 4;
	damage_plant_orphan(p);
}

const struct damage_kind damage_kinds[] = {
#define KIND(fn, path, ...) { #fn, plant_##fn, path, { __VA_ARGS__ }, \
	sizeof((enum check_code[]){ __VA_ARGS__ }) / sizeof(enum check_code) }
	KIND(nlink, "/file", CHECK_NLINK),
	KIND(dir_nlink, "/dir", CHECK_NLINK),
	KIND(nentries, "/dir", CHECK_NENTRIES),
	KIND(dangling, "/", CHECK_DIRENT_DANGLING),
	KIND(dangling_dir, "/dir/sub", CHECK_DIRENT_DANGLING),
	KIND(dirent, "/", CHECK_DIRENT),
	KIND(dirent_type, "/", CHECK_DIRENT_TYPE),
	KIND(dirent_hash, "/", CHECK_DIRENT_HASH),
	KIND(duplicate, "/", CHECK_DIRENT_DUPLICATE),
	KIND(dir_parent, "/dir/sub", CHECK_DIR_PARENT),
	KIND(dir_twice, "/dir/sub", CHECK_DIR_TWICE),
	KIND(unreachable, "", CHECK_DIR_UNREACHABLE),
	KIND(circle, "", CHECK_DIR_UNREACHABLE),
	KIND(orphan_missing, "", CHECK_ORPHAN_MISSING),
	KIND(orphan_linked, "/file", CHECK_ORPHAN_LINKED),
	KIND(orphan_gone, "", CHECK_ORPHAN_GONE),
	KIND(inode, "/file", CHECK_INODE),
	KIND(inode_reserved, "/file", CHECK_INODE),
	KIND(no_inode, "", CHECK_NO_INODE),
	KIND(item, "", CHECK_ITEM),
	KIND(next_ino, "", CHECK_NEXT_INO),
	KIND(ninodes, "", CHECK_COUNTER),
	KIND(data_blocks, "", CHECK_COUNTER),
	KIND(symlink, "/dir/link", CHECK_SYMLINK),
	KIND(symlink_hole, "/dir/link", CHECK_SYMLINK),
	KIND(xattr_end, "/file", CHECK_XATTR),
	KIND(xattr_length, "/file", CHECK_XATTR, CHECK_XATTR),
	KIND(xattr_hash, "/file", CHECK_XATTR),
	KIND(extent, "/file", CHECK_EXTENT, CHECK_REFCOUNT),
	KIND(extent_of_dir, "/dir", CHECK_EXTENT),
	KIND(overlap, "/file", CHECK_EXTENT_OVERLAP),
	KIND(eof, "/file", CHECK_EXTENT_EOF),
	KIND(nblocks, "/file", CHECK_NBLOCKS),
	KIND(block_twice, "/dir/pre", CHECK_BLOCK_TWICE),
	KIND(refcount, "", CHECK_REFCOUNT),
	KIND(refcount_gone, "/dir/clone", CHECK_BLOCK_TWICE),
	KIND(refcount_alone, "", CHECK_REFCOUNT),
	KIND(refcount_bad, "", CHECK_REFCOUNT),
	KIND(data, "/file", CHECK_DATA_CRC),
};
const unsigned damage_nkinds = sizeof(damage_kinds) / sizeof(damage_kinds[0]);

void
damage_plant(const struct sample *s, void (*fn)(struct plant *p))
{
	struct plant p = { .s = s, .pool = unit_open(s->path) };

	ck_assert_ok(txn_begin(p.pool, &p.txn, txn_credits(p.pool, 20), 0));
	fn(&p);
	txn_end(&p.txn);
	ck_assert_ok(txn_commit_wait(p.pool, txn_open_number(p.pool)));
	pool_close(p.pool);
}

void
damage_flip(const char *path, pblk_t block, size_t off)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	char c;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pread(fd, &c, 1, (off_t)((block << BLK_SHIFT) + off)), 1);
	c ^= 0x10;
	ck_assert_int_eq(pwrite(fd, &c, 1, (off_t)((block << BLK_SHIFT) + off)), 1);
	close(fd);
}
