/* SPDX-License-Identifier: BSD-3-Clause */
/* doc/MEDIUM.md and pmem/format.h say the same. The tables of the page are read: each
 * heading "### `struct x` (n bytes...)" with the rows of its fields, and the
 * table of constants. Both sides have to be complete. */
#include "tests/unit/unit.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "pmem/format.h"

#define VARIABLE SIZE_MAX

struct field {
	const char *strct, *name;
	size_t off, size;
	bool seen;
};

#define FIELD(s, f) { #s, #f, offsetof(struct s, f), sizeof(((struct s *)NULL)->f), false }
#define TAIL(s, f) { #s, #f, offsetof(struct s, f), VARIABLE, false }

static struct field fields[] = {
	FIELD(root_block, magic), FIELD(root_block, version), FIELD(root_block, crc), FIELD(root_block, uuid),
	FIELD(root_block, feature_compat), FIELD(root_block, feature_ro_compat),
	FIELD(root_block, feature_incompat), FIELD(root_block, txn), FIELD(root_block, nblocks),
	FIELD(root_block, mkfs_time_ns), FIELD(root_block, commit_time_ns), FIELD(root_block, next_ino),
	FIELD(root_block, ninodes), FIELD(root_block, data_blocks), FIELD(root_block, node_blocks),
	FIELD(root_block, hash_seed), FIELD(root_block, flags), FIELD(root_block, ntrees),
	FIELD(root_block, label), FIELD(root_block, tree), FIELD(root_block, reserved),
	FIELD(node_ref, block), FIELD(node_ref, crc), FIELD(node_ref, flags),
	FIELD(tree_key, hi), FIELD(tree_key, lo),
	FIELD(node_header, magic), FIELD(node_header, level), FIELD(node_header, nr), FIELD(node_header, block),
	FIELD(node_header, txn), FIELD(node_header, free_low), FIELD(node_header, garbage),
	FIELD(node_header, owner),
	FIELD(leaf_slot, hi), FIELD(leaf_slot, lo), FIELD(leaf_slot, off), FIELD(leaf_slot, len),
	FIELD(leaf_slot, reserved),
	FIELD(inner_slot, hi), FIELD(inner_slot, lo), FIELD(inner_slot, child),
	FIELD(inode_item, size), FIELD(inode_item, nblocks), FIELD(inode_item, mode), FIELD(inode_item, nlink),
	FIELD(inode_item, uid), FIELD(inode_item, gid), FIELD(inode_item, rdev_major),
	FIELD(inode_item, rdev_minor), FIELD(inode_item, flags), FIELD(inode_item, generation),
	FIELD(inode_item, atime_sec), FIELD(inode_item, mtime_sec), FIELD(inode_item, ctime_sec),
	FIELD(inode_item, btime_sec), FIELD(inode_item, atime_nsec), FIELD(inode_item, mtime_nsec),
	FIELD(inode_item, ctime_nsec), FIELD(inode_item, btime_nsec), FIELD(inode_item, parent),
	FIELD(inode_item, nentries), FIELD(inode_item, projid), FIELD(inode_item, reserved),
	FIELD(inode_item, reserved2),
	FIELD(dirent_item, ino), FIELD(dirent_item, type), FIELD(dirent_item, namelen), TAIL(dirent_item, name),
	FIELD(xattr_item, value_len), FIELD(xattr_item, namelen), FIELD(xattr_item, reserved),
	TAIL(xattr_item, data),
	FIELD(extent_item, pblk), FIELD(extent_item, len), FIELD(extent_item, flags), TAIL(extent_item, csum),
	FIELD(refcount_item, len), FIELD(refcount_item, count),
};

/* Bytes of the fixed part: what fs/ reads and writes as the head of an item. */
static struct {
	const char *name;
	size_t size;
	bool seen;
} structs[] = {
	{ "root_block", sizeof(struct root_block), false },
	{ "node_ref", sizeof(struct node_ref), false },
	{ "tree_key", sizeof(struct tree_key), false },
	{ "node_header", sizeof(struct node_header), false },
	{ "leaf_slot", sizeof(struct leaf_slot), false },
	{ "inner_slot", sizeof(struct inner_slot), false },
	{ "inode_item", sizeof(struct inode_item), false },
	{ "dirent_item", DIRENT_ITEM_HEAD, false },
	{ "xattr_item", XATTR_ITEM_HEAD, false },
	{ "extent_item", EXTENT_ITEM_HEAD, false },
	{ "refcount_item", sizeof(struct refcount_item), false },
};

#define CONSTANT(c) { #c, c, false }

static struct {
	const char *name;
	uint64_t value;
	bool seen;
} constants[] = {
	CONSTANT(BLK_SIZE), CONSTANT(POOL_VERSION), CONSTANT(ROOT_SLOTS), CONSTANT(POOL_FIRST_BLOCK),
	CONSTANT(POOL_MIN_BYTES), CONSTANT(POOL_TREES_MAX), CONSTANT(ROOT_CLEAN),
	CONSTANT(FEATURE_COMPAT_SUPP), CONSTANT(FEATURE_RO_COMPAT_SUPP), CONSTANT(FEATURE_INCOMPAT_SUPP),
	CONSTANT(FEATURE_INCOMPAT_IMAGE), CONSTANT(FEATURE_INCOMPAT_HIDDEN),
	CONSTANT(NODE_MAGIC), CONSTANT(NODE_LEVELS_MAX), CONSTANT(NODE_SPACE), CONSTANT(INNER_SLOTS_MAX),
	CONSTANT(ITEM_VALUE_MAX), CONSTANT(ITEM_CHUNK), CONSTANT(ITEM_INODE), CONSTANT(ITEM_SYMLINK),
	CONSTANT(ITEM_XATTR), CONSTANT(ITEM_DIRENT), CONSTANT(ITEM_EXTENT), CONSTANT(ITEM_REFCOUNT),
	CONSTANT(ITEM_ORPHAN), CONSTANT(INO_NONE), CONSTANT(INO_ROOT), CONSTANT(INO_MAX),
	CONSTANT(HASH_SLOT_BITS), CONSTANT(EXTENT_UNWRITTEN), CONSTANT(EXTENT_NOCSUM), CONSTANT(EXTENT_DAMAGED),
	CONSTANT(EXTENT_CSUM_BLOCKS_MAX), CONSTANT(EXTENT_NOCSUM_BLOCKS_MAX), CONSTANT(INODE_FL_IMMUTABLE),
	CONSTANT(INODE_FL_APPEND), CONSTANT(INODE_FL_NOATIME), CONSTANT(INODE_FL_NODUMP),
	CONSTANT(INODE_FL_SYNC), CONSTANT(INODE_FL_DAX),
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static FILE *
open_page(void)
{
	static const char *const vars[] = { "TOP_SRCDIR", "srcdir" };
	const char *dir = NULL;
	char path[4096];
	FILE *f;

	for (unsigned i = 0; i < COUNT(vars) && !dir; i++)
		dir = getenv(vars[i]);
	snprintf(path, sizeof(path), "%s/doc/MEDIUM.md", dir ? dir : ".");
	f = fopen(path, "r");
	ck_assert_msg(f != NULL, "%s can't be opened; TOP_SRCDIR or srcdir names the source tree", path);
	return f;
}

static void
check_struct(const char *name, size_t size)
{
	for (unsigned i = 0; i < COUNT(structs); i++) {
		if (strcmp(structs[i].name, name) != 0)
			continue;
		ck_assert_msg(!structs[i].seen, "struct %s is described twice", name);
		ck_assert_msg(structs[i].size == size, "struct %s: %zu bytes in the page, %zu in the header", name,
		    size, structs[i].size);
		structs[i].seen = true;
		return;
	}
	ck_abort_msg("struct %s is not known to this test", name);
}

static void
check_field(const char *strct, const char *name, size_t off, size_t size)
{
	for (unsigned i = 0; i < COUNT(fields); i++) {
		struct field *f = &fields[i];

		if (strcmp(f->strct, strct) != 0 || strcmp(f->name, name) != 0)
			continue;
		ck_assert_msg(!f->seen, "%s.%s is described twice", strct, name);
		ck_assert_msg(f->off == off && f->size == size, "%s.%s: %zu+%zu in the page, %zu+%zu in the header",
		    strct, name, off, size, f->off, f->size);
		f->seen = true;
		return;
	}
	ck_abort_msg("%s.%s is not known to this test", strct, name);
}

static void
check_constant(const char *name, const char *value)
{
	for (unsigned i = 0; i < COUNT(constants); i++) {
		if (strcmp(constants[i].name, name) != 0)
			continue;
		ck_assert_msg(!constants[i].seen, "%s is listed twice", name);
		ck_assert_msg(strtoull(value, NULL, 0) == constants[i].value, "%s: %s in the page, %llu in the header",
		    name, value, (unsigned long long)constants[i].value);
		constants[i].seen = true;
		return;
	}
	ck_abort_msg("%s is not known to this test", name);
}

START_TEST(page_and_header_agree)
{
	char line[1024], name[64], value[64], strct[64] = "";
	size_t off, size, end = 0, total = 0;
	bool in_constants = false;
	FILE *f = open_page();

	while (fgets(line, sizeof(line), f)) {
		if (line[0] == '#') {
			ck_assert_msg(!strct[0] || end == total, "struct %s: its fields end at %zu of %zu", strct, end,
			    total);
			strct[0] = 0;
			in_constants = strcmp(line, "## Constants\n") == 0;
			if (sscanf(line, "### `struct %63[a-z_]` (%zu bytes", strct, &total) == 2) {
				check_struct(strct, total);
				end = 0;
			}
			continue;
		}
		if (in_constants && sscanf(line, "| `%63[A-Z_]` | %63[0-9a-fx] |", name, value) == 2)
			check_constant(name, value);
		if (!strct[0])
			continue;
		if (sscanf(line, "| %zu | … | `%63[a-z0-9_]` |", &off, name) == 2) {
			check_field(strct, name, off, VARIABLE);
			ck_assert_uint_eq(off, end);
		} else if (sscanf(line, "| %zu | %zu | `%63[a-z0-9_]` |", &off, &size, name) == 3) {
			check_field(strct, name, off, size);
			ck_assert_msg(off == end, "%s.%s: a gap in front of it", strct, name);
			end = off + size;
		} else {
			ck_assert_msg(line[0] != '|' || !isdigit((unsigned char)line[2]), "a row that can't be read: %s",
			    line);
		}
	}
	fclose(f);
	for (unsigned i = 0; i < COUNT(structs); i++)
		ck_assert_msg(structs[i].seen, "struct %s is not described", structs[i].name);
	for (unsigned i = 0; i < COUNT(fields); i++)
		ck_assert_msg(fields[i].seen, "%s.%s is not described", fields[i].strct, fields[i].name);
	for (unsigned i = 0; i < COUNT(constants); i++)
		ck_assert_msg(constants[i].seen, "%s is not listed", constants[i].name);
}
END_TEST

/* Without a gap in the page and with the sizes right, no padding can hide. */
START_TEST(largest_values_fit)
{
	ck_assert_uint_eq(sizeof(POOL_MAGIC) - 1, 8);
	ck_assert_uint_le(EXTENT_ITEM_HEAD + 4 * EXTENT_CSUM_BLOCKS_MAX, ITEM_VALUE_MAX);
	ck_assert_uint_le(XATTR_ITEM_HEAD + ITEM_CHUNK, ITEM_VALUE_MAX);
	ck_assert_uint_le(DIRENT_ITEM_HEAD + 255, ITEM_VALUE_MAX);
	ck_assert_uint_le(3 * (sizeof(struct leaf_slot) + ITEM_VALUE_MAX), NODE_SPACE);
}
END_TEST

START_TEST(keys)
{
	struct tree_key a = tree_key(5, ITEM_EXTENT, 7), b = tree_key(5, ITEM_EXTENT, 8);

	ck_assert_uint_eq(a.hi, 5 * 256 + 5);
	ck_assert_uint_eq(tree_key_ino(a), 5);
	ck_assert_int_eq(tree_key_type(a), ITEM_EXTENT);
	ck_assert_int_lt(tree_key_cmp(a, b), 0);
	ck_assert_int_gt(tree_key_cmp(b, a), 0);
	ck_assert_int_eq(tree_key_cmp(a, a), 0);
	ck_assert_int_lt(tree_key_cmp(tree_key(5, ITEM_INODE, UINT64_MAX), a), 0);
	ck_assert_int_lt(tree_key_cmp(a, tree_key(6, ITEM_INODE, 0)), 0);
	ck_assert_uint_eq(tree_key_ino(tree_key(INO_MAX, ITEM_ORPHAN, 0)), INO_MAX);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("format");
	TCase *tc = tcase_create("format");

	tcase_add_test(tc, page_and_header_agree);
	tcase_add_test(tc, largest_values_fit);
	tcase_add_test(tc, keys);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
