/* SPDX-License-Identifier: BSD-3-Clause */
/* Second phase: what the directories say.
 *
 * All entries of a directory follow its inode in key order, so they are counted on
 * the way, and what the inode item says about them is compared when the next
 * inode comes. Each entry leaves its mark at the inode that it names: a count, and
 * where it was met first. When all have been read, the links of each inode are compared
 * with the marks; and from each directory the marks are followed up, which ends at
 * the root directory, or in a cycle, or nowhere.
 */
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/check_i.h"
#include "fs/siphash.h"

#define PHASE "names"

struct names {
	uint64_t seed[2];
	struct ck_inode *dir;     /* being read; NULL: no directory */
	bool dir_damaged;         /* its item is: nothing to compare with */
	uint64_t dir_says;        /* entries, as its item says */
	uint64_t entries;
	uint64_t subdirs;
	uint64_t lost_ino;        /* entries in what is no directory were reported for this one */
	bool is_dir;              /* but its entries prove that it is one */
	struct {                  /* entries with the hash of the one before: name and length */
		char name[256];
		uint8_t len;
	} same[HASH_SLOTS];
	unsigned nsame;
	uint64_t same_hash;
};

/* ---- one entry ------------------------------------------------------------------- */

static bool
name_ok(const char *name, size_t len)
{
	if (len == 0 || memchr(name, '/', len) || memchr(name, '\0', len))
		return false;
	return !(name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')));
}

static unsigned char
type_of_mode(uint32_t mode)
{
	return (unsigned char)((mode & S_IFMT) >> 12);
}

static const char *
type_name(unsigned char type)
{
	static const char *const names[] = {
		[1] = "fifo", [2] = "character device", [4] = "directory", [6] = "block device",
		[8] = "regular file", [10] = "symlink", [12] = "socket",
	};

	return type < sizeof(names) / sizeof(names[0]) && names[type] ? names[type] : "unknown type";
}

/* Name of an entry in a message: short, without bytes that a terminal would act on. */
static const char *
quote_name(const char *name, size_t len, char *buf, size_t size)
{
	size_t n = min_of(len, size - 1);

	for (size_t i = 0; i < n; i++)
		buf[i] = (unsigned char)name[i] >= 0x20 && name[i] != 0x7f ? name[i] : '?';
	buf[n] = '\0';
	return buf;
}

static uint64_t
hash_of(const struct names *s, const char *name, size_t len)
{
	uint64_t hash = siphash24(s->seed, name, len) >> (HASH_SLOT_BITS + 1);

	return hash ? hash : 1;
}

/* The hash of the name, which is the upper part of the key; and no other entry by that name. */
static void
check_hash(struct ck *c, struct names *s, uint64_t ino, uint64_t lo, const char *name, size_t len)
{
	uint64_t hash = hash_of(s, name, len), is = lo >> HASH_SLOT_BITS;
	struct tree_key key = tree_key(ino, ITEM_DIRENT, lo);
	char quoted[64];

	if (is != hash && !c->no_hashes) {
		ck_report(c, CHECK_DIRENT_HASH, ino, CHECK_NOWHERE, CHECK_NOWHERE,
		    "entry \"%s\" is filed under %llx, its name belongs under %llx",
		    quote_name(name, len, quoted, sizeof(quoted)), (unsigned long long)is,
		    (unsigned long long)hash);
		fix_move_entry(c, key, hash);
	}
	if (is != s->same_hash) {
		s->same_hash = is;
		s->nsame = 0;
	}
	for (unsigned i = 0; i < s->nsame; i++)
		if (s->same[i].len == len && memcmp(s->same[i].name, name, len) == 0) {
			ck_report(c, CHECK_DIRENT_DUPLICATE, ino, CHECK_NOWHERE, CHECK_NOWHERE,
			    "there are two entries \"%s\"", quote_name(name, len, quoted, sizeof(quoted)));
			fix_delete(c, key);
		}
	/* Sixteen slots a hash: there is room. */
	memcpy(s->same[s->nsame].name, name, len);
	s->same[s->nsame++].len = (uint8_t)len;
}

static void
check_target(struct ck *c, struct names *s, uint64_t lo, const struct dirent_item *d, const char *name)
{
	struct ck_inode *dir = s->dir, *in = ck_inode(c, d->ino);
	struct tree_key key = tree_key(dir->ino, ITEM_DIRENT, lo);
	unsigned char type;
	char quoted[64];

	quote_name(name, d->namelen, quoted, sizeof(quoted));
	if (!in) {
		ck_report(c, CHECK_DIRENT_DANGLING, dir->ino, CHECK_NOWHERE, CHECK_NOWHERE,
		    "entry \"%s\" names inode %llu, which does not exist", quoted, (unsigned long long)d->ino);
		fix_delete(c, key);
		/* The directory's link count counted it. */
		s->subdirs += d->type == DT_DIR;
		return;
	}
	in->links++;
	type = type_of_mode(in->mode);
	if (in->mode != 0 && type != d->type) {
		ck_report(c, CHECK_DIRENT_TYPE, dir->ino, CHECK_NOWHERE, CHECK_NOWHERE,
		    "entry \"%s\" says %s, inode %llu is a %s", quoted, type_name(d->type),
		    (unsigned long long)d->ino, type_name(type));
		fix_patch(c, key, offsetof(struct dirent_item, type), &type, 1);
	}
	if (in->seen_dir == INO_NONE && in->ino != INO_ROOT) {
		in->seen_dir = dir->ino;
		in->seen_lo = lo;
	}
	if (!S_ISDIR(in->mode))
		return;
	s->subdirs++;
	if (in->links > 1 || in->ino == INO_ROOT) {
		ck_report(c, CHECK_DIR_TWICE, in->ino, CHECK_NOWHERE, CHECK_NOWHERE,
		    "entry \"%s\" of inode %llu is another name of this directory", quoted,
		    (unsigned long long)dir->ino);
		fix_delete(c, key);
	} else if (in->parent != dir->ino) {
		ck_report(c, CHECK_DIR_PARENT, in->ino, CHECK_NOWHERE, CHECK_NOWHERE,
		    "its parent is inode %llu, but inode %llu has the entry",
		    (unsigned long long)in->parent, (unsigned long long)dir->ino);
		fix_patch(c, tree_key(in->ino, ITEM_INODE, 0), offsetof(struct inode_item, parent), &dir->ino,
		    sizeof(dir->ino));
	}
}

/* NULL, or what is wrong with it. */
static const char *
decode(struct tree_key key, const void *value, size_t len, struct dirent_item *d)
{
	const char *name = (const char *)value + DIRENT_ITEM_HEAD;

	if (len < DIRENT_ITEM_HEAD)
		return "too short";
	memcpy(d, value, DIRENT_ITEM_HEAD);
	if (len != (size_t)DIRENT_ITEM_HEAD + d->namelen)
		return "its size does not fit the length of the name";
	if (!name_ok(name, d->namelen))
		return "a name that no file can have";
	if (d->ino == INO_NONE || d->ino > INO_MAX)
		return "an impossible inode number";
	if (key.lo >> 63)
		return "its key is no readdir cookie";
	return NULL;
}

static void
check_dirent(struct ck *c, struct names *s, struct tree_key key, const void *value, size_t len)
{
	const char *name = (const char *)value + DIRENT_ITEM_HEAD, *why;
	uint64_t ino = tree_key_ino(key);
	struct dirent_item d;

	s->entries++;
	why = decode(key, value, len, &d);
	if (why) {
		ck_report(c, CHECK_DIRENT, ino, CHECK_NOWHERE, CHECK_NOWHERE, "entry at %llx: %s",
		    (unsigned long long)key.lo, why);
		fix_delete(c, key);
		return;
	}
	check_hash(c, s, ino, key.lo, name, d.namelen);
	check_target(c, s, key.lo, &d, name);
}

/* ---- one directory ------------------------------------------------------------------- */

/* Entries in what is no directory, as its inode says. That a name is filed under its hash does not come about
 * by accident: then it is the inode that is wrong. */
static void
check_stray_dirent(struct ck *c, struct names *s, struct tree_key key, const void *value, size_t len)
{
	uint64_t ino = tree_key_ino(key);
	struct ck_inode *in = ck_inode(c, ino);
	struct dirent_item d;
	uint32_t mode;

	/* Entries without any inode are reported with the other items like that. */
	if (!in)
		return;
	if (s->lost_ino != ino) {
		ck_report(c, CHECK_DIRENT, ino, CHECK_NOWHERE, CHECK_NOWHERE,
		    "directory entries in what is no directory");
		s->lost_ino = ino;
		s->is_dir = false;
	}
	if (!s->is_dir && !decode(key, value, len, &d) && key.lo >> HASH_SLOT_BITS == hash_of(s, (const char *)value +
	    DIRENT_ITEM_HEAD, d.namelen)) {
		s->is_dir = true;
		mode = S_IFDIR | (in->mode & 0777u);
		fix_patch(c, tree_key(ino, ITEM_INODE, 0), offsetof(struct inode_item, mode), &mode, sizeof(mode));
		fix_patch(c, tree_key(ino, ITEM_INODE, 0), offsetof(struct inode_item, parent), &(uint64_t){ INO_ROOT },
		    sizeof(uint64_t));
	}
	if (!s->is_dir)
		fix_delete(c, key);
}

static void
end_dir(struct ck *c, struct names *s)
{
	struct ck_inode *dir = s->dir;
	uint32_t nlink;

	s->dir = NULL;
	if (!dir || s->dir_damaged)
		return;
	nlink = dir->orphan && dir->nlink == 0 ? 0 : (uint32_t)(2 + s->subdirs);
	if (s->entries != s->dir_says) {
		ck_report(c, CHECK_NENTRIES, dir->ino, CHECK_NOWHERE, CHECK_NOWHERE,
		    "the directory counts %llu entries, there are %llu", (unsigned long long)s->dir_says,
		    (unsigned long long)s->entries);
		fix_patch(c, tree_key(dir->ino, ITEM_INODE, 0), offsetof(struct inode_item, nentries), &s->entries,
		    sizeof(s->entries));
	}
	if (dir->nlink != nlink) {
		ck_report(c, CHECK_NLINK, dir->ino, CHECK_NOWHERE, CHECK_NOWHERE,
		    "the directory has link count %u, it should be %u", dir->nlink, nlink);
		fix_patch(c, tree_key(dir->ino, ITEM_INODE, 0), offsetof(struct inode_item, nlink), &nlink,
		    sizeof(nlink));
	}
}

static int
names_item(struct ck *c, void *arg, struct tree_key key, const void *value, size_t len)
{
	struct names *s = arg;
	uint64_t ino = tree_key_ino(key);

	if (tree_key_type(key) == ITEM_INODE && ino != INO_NONE) {
		struct ck_inode *in = ck_inode(c, ino);
		struct inode_item item;

		end_dir(c, s);
		if (!in || (in->mode != 0 && !S_ISDIR(in->mode)))
			return 0;
		s->dir = in;
		s->dir_damaged = len != sizeof(item);
		s->entries = s->subdirs = s->nsame = 0;
		s->same_hash = 0;
		if (!s->dir_damaged) {
			memcpy(&item, value, sizeof(item));
			s->dir_says = item.nentries;
			c->res->dirs++;
		}
		return 0;
	}
	if (tree_key_type(key) != ITEM_DIRENT || ino == INO_NONE)
		return 0;
	if (s->dir && s->dir->ino == ino)
		check_dirent(c, s, key, value, len);
	else
		check_stray_dirent(c, s, key, value, len);
	return 0;
}

/* ---- all of them ----------------------------------------------------------------------- */

/* Follow the entries up from a directory; every directory on the way gets the result.
 * What can't be reached is reported once, where the way ends, not for all that is below. */
static void
find_reach(struct ck *c, struct ck_inode *dir)
{
	struct ck_inode *d = dir, *next;
	uint8_t reach;

	for (;;) {
		if (d->ino == INO_ROOT)
			d->reach = REACH_YES;
		if (d->reach != REACH_UNKNOWN)
			break;
		d->reach = REACH_WALKING;
		next = d->seen_dir == INO_NONE ? NULL : ck_inode(c, d->seen_dir);
		if (next && next->reach != REACH_WALKING) {
			d = next;
			continue;
		}
		d->reach = REACH_NO;
		if (next) {
			ck_report(c, CHECK_DIR_UNREACHABLE, d->ino, CHECK_NOWHERE, CHECK_NOWHERE,
			    "it is in a circle of directories: inode %llu has its entry, and is below it",
			    (unsigned long long)next->ino);
			fix_delete(c, tree_key(d->seen_dir, ITEM_DIRENT, d->seen_lo));
		} else if (d->nlink > 0) {
			ck_report(c, CHECK_DIR_UNREACHABLE, d->ino, CHECK_NOWHERE, CHECK_NOWHERE,
			    "no directory has an entry for it");
			fix_adopt(c, d->ino);
		}
		break;
	}
	reach = d->reach;
	for (d = dir; d && d->reach == REACH_WALKING; d = ck_inode(c, d->seen_dir))
		d->reach = reach;
}

static void
check_links(struct ck *c, struct ck_inode *in)
{
	if (S_ISDIR(in->mode)) {
		find_reach(c, in);
	} else if (in->links != in->nlink && in->mode != 0) {
		ck_report(c, CHECK_NLINK, in->ino, CHECK_NOWHERE, CHECK_NOWHERE,
		    "link count is %u, but %u names lead to it", in->nlink, in->links);
		if (in->links > 0)
			fix_patch(c, tree_key(in->ino, ITEM_INODE, 0), offsetof(struct inode_item, nlink), &in->links,
			    sizeof(in->links));
		else
			fix_adopt(c, in->ino);
	}
	if (in->nlink == 0 && in->links == 0 && !in->orphan && in->mode != 0 && in->ino != INO_ROOT) {
		ck_report(c, CHECK_ORPHAN_MISSING, in->ino, CHECK_NOWHERE, CHECK_NOWHERE,
		    "unlinked, but not noted as an orphan");
		fix_adopt(c, in->ino);
	}
}

static void
check_orphans(struct ck *c)
{
	for (size_t n = 0; n < c->orphans.n; n++) {
		uint64_t ino = *(uint64_t *)ck_array_at(&c->orphans, n);
		struct ck_inode *in = ck_inode(c, ino);

		if (!in) {
			ck_report(c, CHECK_ORPHAN_GONE, ino, CHECK_NOWHERE, CHECK_NOWHERE,
			    "noted as an orphan, but there is no such inode");
			fix_delete(c, tree_key(INO_NONE, ITEM_ORPHAN, ino));
			continue;
		}
		c->res->orphans++;
		if (in->nlink > 0 || in->links > 0) {
			ck_report(c, CHECK_ORPHAN_LINKED, ino, CHECK_NOWHERE, CHECK_NOWHERE,
			    "noted as an orphan, but it has %u links and %u names", in->nlink, in->links);
			fix_delete(c, tree_key(INO_NONE, ITEM_ORPHAN, ino));
		}
	}
	if ((c->root.flags & ROOT_CLEAN) && c->orphans.n > 0)
		ck_report(c, CHECK_ROOT_CLEAN, INO_NONE, CHECK_NOWHERE, CHECK_NOWHERE,
		    "marked as cleanly unmounted, with %zu orphans", c->orphans.n);
}

int
ck_names(struct ck *c)
{
	struct names s = { .dir = NULL };
	struct ck_inode *root;
	int r;

	memcpy(s.seed, c->root.hash_seed, sizeof(s.seed));
	/* Known before the directories are looked at: an unlinked one has no links to count. */
	for (size_t n = 0; n < c->orphans.n; n++) {
		struct ck_inode *in = ck_inode(c, *(uint64_t *)ck_array_at(&c->orphans, n));

		if (in)
			in->orphan = true;
	}
	r = ck_each_item(c, PHASE, names_item, &s);
	if (r < 0)
		return r;
	end_dir(c, &s);
	root = ck_inode(c, INO_ROOT);
	if (!root || (root->mode != 0 && !S_ISDIR(root->mode))) {
		struct inode_item item;

		ck_report(c, CHECK_NO_ROOT_DIR, INO_NONE, CHECK_NOWHERE, CHECK_NOWHERE,
		    root ? "inode 1 is no directory" : "there is no root directory");
		fix_new_inode(c, &item, S_IFDIR | 0755, 0);
		fix_put(c, tree_key(INO_ROOT, ITEM_INODE, 0), &item, sizeof(item));
	}
	for (size_t n = 0; n < c->inodes.n; n++)
		check_links(c, ck_array_at(&c->inodes, n));
	check_orphans(c);
	return 0;
}
