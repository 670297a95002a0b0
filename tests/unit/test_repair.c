/* SPDX-License-Identifier: BSD-3-Clause */
/* Repair: whatever was planted, afterwards the pool checks clean and mounts, a second run changes
 * nothing, and files that were not concerned have the bytes that they had. */
#include "tests/unit/unit_damage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pmem/crc.h"
#include "tests/unit/unit_repair.h"

/* ---- looking at files ------------------------------------------------------------------------- */

static struct inode *
walk_to(struct fs *fs, const char *path)
{
	struct inode *i, *next;
	char copy[200], *save = NULL;

	snprintf(copy, sizeof(copy), "%s", path);
	ck_assert_ok(inode_get(fs, INO_ROOT, &i));
	for (char *name = strtok_r(copy, "/", &save); name; name = strtok_r(NULL, "/", &save)) {
		int r = fs_lookup(fs, i, name, &next);

		inode_put(i);
		if (r == -ENOENT)
			return NULL;
		ck_assert_ok(r);
		i = next;
	}
	return i;
}

/* CRC and size of a file's content; false: no such file. */
static bool
content_of(struct fs *fs, const char *path, uint32_t *crc, uint64_t *size)
{
	static char buf[400000];
	struct inode *i = walk_to(fs, path);
	struct file *f;
	ssize_t n;

	if (!i)
		return false;
	ck_assert_ok(fs_open(fs, i, O_RDONLY, &unit_cred, &f));
	inode_put(i);
	n = fs_read(f, buf, sizeof(buf), 0);
	*size = unit_size(f);
	fs_release(f);
	*crc = n >= 0 ? crc32c(buf, (size_t)n) : 0;
	if (n >= 0)
		*size = (uint64_t)n;
	return n >= 0;
}

static const char *const names[] = { "/file", "/dir/clone", "/dir/pre", "/dir/sub/hard" };
#define NAMES (sizeof(names) / sizeof(names[0]))

struct contents {
	bool there[NAMES];
	uint32_t crc[NAMES];
	uint64_t size[NAMES];
};

static struct contents
contents_of(const char *path)
{
	struct fs *fs = unit_mount(path);
	struct contents c;

	for (unsigned n = 0; n < NAMES; n++)
		c.there[n] = content_of(fs, names[n], &c.crc[n], &c.size[n]);
	ck_assert_ok(fs_umount(fs));
	return c;
}

/* ---- what was planted ---------------------------------------------------------------------------- */

/* Damage after which a file is not what it was, or is elsewhere. */
static const struct {
	const char *kind, *name;
} concerned[] = {
	{ "unreachable", "/dir/clone" }, { "unreachable", "/dir/pre" }, { "unreachable", "/dir/sub/hard" },
	{ "circle", "/dir/clone" }, { "circle", "/dir/pre" }, { "circle", "/dir/sub/hard" },
	{ "extent", "/file" }, { "extent", "/dir/sub/hard" }, { "eof", "/file" }, { "eof", "/dir/sub/hard" },
	{ "data", "/file" }, { "data", "/dir/sub/hard" },
};

static bool
is_concerned(const char *kind, const char *name)
{
	for (unsigned n = 0; n < sizeof(concerned) / sizeof(concerned[0]); n++)
		if (strcmp(concerned[n].kind, kind) == 0 && strcmp(concerned[n].name, name) == 0)
			return true;
	return false;
}

START_TEST(what_was_planted_is_repaired)
{
	const struct damage_kind *kind = &damage_kinds[_i];
	struct sample s = damage_sample();
	struct contents before = contents_of(s.path), after;
	struct repair_result rep;
	struct unit_told told;

	damage_plant(&s, kind->plant);
	rep = unit_repair(s.path, CHECK_DATA_MARK, &told);
	if (kind->code[0] == CHECK_ORPHAN_GONE)
		ck_assert_uint_eq(rep.repaired, 0);
	else
		ck_assert_uint_ge(rep.repaired, 1);
	ck_assert_uint_ge(told.codes[kind->code[0]], 1);
	after = contents_of(s.path);
	for (unsigned n = 0; n < NAMES; n++) {
		if (is_concerned(kind->name, names[n]))
			continue;
		ck_assert_msg(after.there[n], "%s: %s is gone", kind->name, names[n]);
		ck_assert_msg(after.crc[n] == before.crc[n] && after.size[n] == before.size[n], "%s: %s has changed",
		    kind->name, names[n]);
	}
}
END_TEST

/* ---- content ------------------------------------------------------------------------------------- */

static void
read_block(const char *path, unsigned block, char buf[BLK_SIZE], int expect)
{
	struct fs *fs = unit_mount(path);
	struct file *f = unit_file(fs, "file", O_RDWR);
	ssize_t n = fs_read(f, buf, BLK_SIZE, block * BLK_SIZE);

	ck_assert_int_eq(n, expect);
	fs_release(f);
	ck_assert_ok(fs_umount(fs));
}

static void
plant_bad_block(struct plant *p)
{
	damage_kinds[damage_nkinds - 1].plant(p); /* data: block 3 of "file" */
}

/* What is done to content is what was asked for; known damage can be dealt with later. */
START_TEST(bad_blocks_are_treated_as_asked)
{
	struct sample s = damage_sample();
	char was[BLK_SIZE], is[BLK_SIZE];
	struct unit_told told;
	struct repair_result rep;

	ck_assert_str_eq(damage_kinds[damage_nkinds - 1].name, "data");
	read_block(s.path, 3, was, BLK_SIZE);
	damage_plant(&s, plant_bad_block);
	unit_repair(s.path, CHECK_DATA_MARK, &told);
	ck_assert_uint_eq(told.codes[CHECK_DATA_CRC], 1);
	read_block(s.path, 3, is, -EIO);
	read_block(s.path, 2, is, BLK_SIZE);
	read_block(s.path, 4, is, BLK_SIZE);
	if (_i == 0) { /* written anew, it is as good as any */
		struct fs *fs = unit_mount(s.path);
		struct file *f = unit_file(fs, "file", O_RDWR);

		unit_write(f, was, BLK_SIZE, 3 * BLK_SIZE);
		fs_release(f);
		ck_assert_ok(fs_umount(fs));
		rep = unit_repair(s.path, CHECK_DATA_MARK, &told);
		ck_assert_uint_eq(told.n, 0);
		ck_assert_uint_eq(rep.commits, 0);
		read_block(s.path, 3, is, BLK_SIZE);
		ck_assert_mem_eq(is, was, BLK_SIZE);
	} else if (_i == 1) {
		unit_repair(s.path, CHECK_DATA_PUNCH, &told);
		read_block(s.path, 3, is, BLK_SIZE);
		memset(was, 0, BLK_SIZE);
		ck_assert_mem_eq(is, was, BLK_SIZE);
	} else {
		unit_repair(s.path, CHECK_DATA_ACCEPT, &told);
		read_block(s.path, 3, is, BLK_SIZE);
		ck_assert_mem_ne(is, was, BLK_SIZE);
		is[1000] ^= 4;
		ck_assert_mem_eq(is, was, BLK_SIZE);
	}
}
END_TEST

/* A clone of damaged content is as damaged, and as known. */
START_TEST(a_clone_of_known_damage_is_known)
{
	struct sample s = damage_sample();
	struct unit_told told;
	struct file *from, *to;
	struct fs *fs;

	damage_plant(&s, plant_bad_block);
	unit_repair(s.path, CHECK_DATA_MARK, &told);
	fs = unit_mount(s.path);
	from = unit_file(fs, "file", O_RDONLY);
	to = unit_file(fs, "copy", O_RDWR);
	ck_assert_ok(fs_clone_range(from, 0, to, 0, 6 * BLK_SIZE));
	fs_release(from);
	fs_release(to);
	ck_assert_ok(fs_umount(fs));
	unit_is_repaired(s.path);
}
END_TEST

/* ---- the tree -------------------------------------------------------------------------------------- */

#define MANY 400u

/* Several levels of nodes, and stale ones in unused blocks. */
static const char *
many_files(void)
{
	const char *path = unit_mkpool(16);
	struct fs *fs = unit_mount(path);
	char name[120];

	for (unsigned round = 0; round < 3; round++) {
		for (unsigned n = 0; n < MANY; n++) {
			struct file *f;

			snprintf(name, sizeof(name), "file-%u-with-a-name-that-takes-up-room-in-its-directory", n);
			f = unit_file(fs, name, O_RDWR);
			unit_fill(f, 0, 100 + n, (uint8_t)(n + round));
			fs_release(f);
			if (n % 50 == 0)
				ck_assert_ok(fs_sync(fs));
		}
		for (unsigned n = 0; n < 20; n++) {
			snprintf(name, sizeof(name), "gone-%u-%u", round, n);
			fs_release(unit_file(fs, name, O_RDWR));
		}
		ck_assert_ok(fs_sync(fs));
		for (unsigned n = 0; n < 20; n++) {
			snprintf(name, sizeof(name), "gone-%u-%u", round, n);
			unit_unlink(fs, name);
		}
		ck_assert_ok(fs_sync(fs));
	}
	ck_assert_ok(fs_umount(fs));
	return path;
}

/* How many are what they should be. Names that were deleted must not come back. */
static unsigned
files_whole(const char *path)
{
	struct fs *fs = unit_mount(path);
	unsigned whole = 0;
	char name[120];

	for (unsigned n = 0; n < 3 * 20; n++) {
		snprintf(name, sizeof(name), "/gone-%u-%u", n / 20, n % 20);
		ck_assert_ptr_null(walk_to(fs, name));
	}

	for (unsigned n = 0; n < MANY; n++) {
		uint32_t crc, want;
		uint64_t size;
		char buf[1000];

		snprintf(name, sizeof(name), "/file-%u-with-a-name-that-takes-up-room-in-its-directory", n);
		if (!content_of(fs, name, &crc, &size))
			continue;
		memset(buf, (int)(uint8_t)(n + 2), 100 + n);
		want = crc32c(buf, 100 + n);
		whole += size == 100 + n && crc == want;
	}
	ck_assert_ok(fs_umount(fs));
	return whole;
}

struct nodes {
	pblk_t root, inner, leaf; /* the last of the latter two */
	unsigned n, leaves;
};

static int
note_node(void *arg, const struct tree_walk_node *wn)
{
	struct nodes *nodes = arg;

	ck_assert_int_eq(wn->error, 0);
	if (nodes->n++ == 0)
		nodes->root = wn->block;
	else if (wn->level > 0)
		nodes->inner = wn->block;
	if (wn->level == 0) {
		nodes->leaves++;
		if (nodes->leaves == 5)
			nodes->leaf = wn->block;
	}
	return 0;
}

static struct nodes
nodes_of(const char *path)
{
	struct pool *p = unit_open(path);
	struct nodes nodes = { 0 };

	ck_assert_ok(tree_walk(p, note_node, &nodes));
	pool_close(p);
	return nodes;
}

static void
zero_block(const char *path, pblk_t block)
{
	static const char zeroes[BLK_SIZE];
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite(fd, zeroes, BLK_SIZE, (off_t)(block << BLK_SHIFT)), BLK_SIZE);
	close(fd);
}

/* The root node is gone: the leaves below it are found, and nothing is lost. */
START_TEST(leaves_below_a_lost_node_are_found)
{
	const char *path = many_files();
	struct nodes nodes = nodes_of(path);
	struct unit_told told;

	ck_assert_uint_ge(nodes.leaves, 20);
	ck_assert_uint_eq(files_whole(path), MANY);
	nodes = nodes_of(path);
	if (_i == 0)
		zero_block(path, nodes.root);
	else
		damage_flip(path, nodes.root, 32 + 16 * 32 + 3); /* a key: the CRCs of children vouch for them */
	unit_repair(path, CHECK_DATA_MARK, &told);
	ck_assert_uint_eq(told.codes[CHECK_NODE], 1);
	ck_assert_uint_eq(files_whole(path), MANY);
}
END_TEST

/* A leaf is gone: what was in it is lost, everything else is there. */
START_TEST(a_lost_leaf_loses_what_was_in_it)
{
	const char *path = many_files();
	struct nodes nodes = nodes_of(path);
	struct unit_told told;
	unsigned whole;

	zero_block(path, nodes.leaf);
	unit_repair(path, CHECK_DATA_MARK, &told);
	ck_assert_uint_eq(told.codes[CHECK_NODE], 1);
	whole = files_whole(path);
	ck_assert_uint_ge(whole, MANY - 60);
	ck_assert_uint_lt(whole, MANY);
}
END_TEST

/* One bit of a leaf: its items are taken one by one, and those concerned are named. */
START_TEST(a_leaf_with_a_wrong_checksum_gives_what_it_can)
{
	const char *path = many_files();
	struct nodes nodes = nodes_of(path);
	struct unit_told told;

	damage_flip(path, nodes.leaf, 4000);
	unit_repair(path, CHECK_DATA_MARK, &told);
	ck_assert_uint_ge(told.codes[CHECK_SALVAGED], 2);
	ck_assert_uint_ge(files_whole(path), MANY - 2);
}
END_TEST

/* File content that looks like a leaf is none. */
START_TEST(content_is_not_taken_for_a_node)
{
	const char *path = many_files();
	struct nodes nodes = nodes_of(path);
	struct unit_told told;
	struct root_block root;
	struct pool *p = unit_open(path);
	struct node_header *forged;
	struct inode_item item;
	struct leaf_slot slot = { .hi = 77777ull << 8 | ITEM_INODE, .off = BLK_SIZE - sizeof(item), .len = sizeof(item) };
	uint64_t got;
	pblk_t b;

	/* What a user could have written to a block that was his: all but the owner is right. */
	pool_root(p, &root);
	ck_assert_ok(pool_alloc_data(p, PBLK_NONE, 1, 0, &b, &got));
	forged = pool_block(p, b);
	memset(forged, 0, BLK_SIZE);
	*forged = (struct node_header){ .magic = NODE_MAGIC, .nr = 1, .block = b, .txn = root.txn, .free_low = slot.off };
	memcpy(forged + 1, &slot, sizeof(slot));
	memset(&item, 0, sizeof(item));
	item.mode = S_IFREG | S_ISUID | 0755;
	item.nlink = 1;
	memcpy((char *)forged + slot.off, &item, sizeof(item));
	pool_close(p);
	zero_block(path, nodes.root);
	unit_repair(path, CHECK_DATA_MARK, &told);
	ck_assert_uint_eq(files_whole(path), MANY);
	p = unit_open(path);
	ck_assert_err(tree_get(p, tree_key(77777, ITEM_INODE, 0), &item, sizeof(item)), ENOENT);
	pool_close(p);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("repair");
	TCase *t = tcase_create("planted");

	tcase_add_loop_test(t, what_was_planted_is_repaired, 0, (int)damage_nkinds);
	suite_add_tcase(s, t);
	t = tcase_create("content");
	tcase_add_loop_test(t, bad_blocks_are_treated_as_asked, 0, 3);
	tcase_add_test(t, a_clone_of_known_damage_is_known);
	suite_add_tcase(s, t);
	t = tcase_create("tree");
	tcase_add_loop_test(t, leaves_below_a_lost_node_are_found, 0, 2);
	tcase_add_test(t, a_lost_leaf_loses_what_was_in_it);
	tcase_add_test(t, a_leaf_with_a_wrong_checksum_gives_what_it_can);
	tcase_add_test(t, content_is_not_taken_for_a_node);
	suite_add_tcase(s, t);
	return unit_main(s);
}
