/* SPDX-License-Identifier: BSD-3-Clause */
/* Directory entries: hashes, slots, cookies. */
#include "tests/unit/unit_names.h"

#include <dirent.h>
#include <pthread.h>

#include "fs/dir.h"
#include "fs/siphash.h"
#include "pmem/log.h"

#define SEEN_MAX 2048

struct seen {
	unsigned n, stop_after;   /* 0: don't stop */
	unsigned children;
	off_t last;
	char name[SEEN_MAX][24];
};

static int
see(void *arg, const char *name, size_t namelen, uint64_t ino, unsigned char type, off_t cookie,
    struct inode *child)
{
	struct seen *s = arg;

	ck_assert_uint_ne(ino, 0);
	ck_assert(type == DT_DIR || type == DT_REG);
	ck_assert_uint_eq(strlen(name), namelen);
	ck_assert_int_gt(cookie, s->last);
	if (child) {
		ck_assert_uint_eq(child->ino, ino);
		s->children++;
		inode_put(child);
	}
	if (s->stop_after && s->n == s->stop_after)
		return 1;
	ck_assert_uint_lt(s->n, SEEN_MAX);
	ck_assert_uint_lt(namelen, sizeof(s->name[0]));
	memcpy(s->name[s->n++], name, namelen + 1);
	s->last = cookie;
	return 0;
}

static unsigned
times_seen(const struct seen *s, const char *name)
{
	unsigned n = 0;

	for (unsigned k = 0; k < s->n; k++)
		n += strcmp(s->name[k], name) == 0;
	return n;
}

START_TEST(siphash_vectors)
{
	/* From the paper, and the first of its reference implementation. */
	static const uint64_t key[2] = { 0x0706050403020100u, 0x0f0e0d0c0b0a0908u };
	unsigned char in[15];

	for (unsigned k = 0; k < sizeof(in); k++)
		in[k] = (unsigned char)k;
	ck_assert_uint_eq(siphash24(key, in, 15), 0xa129ca6149be45e5u);
	ck_assert_uint_eq(siphash24(key, in, 0), 0x726fdb47dd0e0e31u);
	ck_assert_uint_eq(siphash24(key, in, 8), 0x93f5f5799a932462u);
}
END_TEST

START_TEST(empty_directory)
{
	struct seen *s = calloc(1, sizeof(*s));

	ck_assert_int_eq(dir_is_empty(root), 1);
	ck_assert_ok(fs_readdir(fs, root, 0, true, see, s));
	ck_assert_uint_eq(s->n, 2);
	ck_assert_str_eq(s->name[0], ".");
	ck_assert_str_eq(s->name[1], "..");
	ck_assert_int_lt(s->last, 16);
	free(s);
}
END_TEST

START_TEST(all_names_collide)
{
	struct seen *s = calloc(1, sizeof(*s));
	struct inode *i;
	char name[16];

	fs->dirhash_mask = 0;
	for (unsigned k = 0; k < HASH_SLOTS; k++) {
		snprintf(name, sizeof(name), "c%u", k);
		touch_file(root, name);
	}
	ck_assert_err(fs_create(fs, root, "one more", 0644, 0, &cred_root, &i), ENOSPC);
	ck_assert_uint_eq(stat_of(root).st_size, HASH_SLOTS);
	for (unsigned k = 0; k < HASH_SLOTS; k++) {
		snprintf(name, sizeof(name), "c%u", k);
		ck_assert(exists(root, name));
	}
	ck_assert_ok(fs_readdir(fs, root, 0, false, see, s));
	ck_assert_uint_eq(s->n, 2 + HASH_SLOTS);

	/* The slot that is left is the one that is taken; the others stay where they are. */
	ck_assert_ok(fs_unlink(fs, root, "c7"));
	ck_assert(!exists(root, "c7"));
	touch_file(root, "again");
	memset(s, 0, sizeof(*s));
	ck_assert_ok(fs_readdir(fs, root, 0, false, see, s));
	ck_assert_uint_eq(s->n, 2 + HASH_SLOTS);
	ck_assert_str_eq(s->name[2 + 7], "again");
	ck_assert_str_eq(s->name[2 + 8], "c8");
	/* A rename within the same hash needs a free slot of its own. */
	ck_assert_err(fs_rename(fs, root, "again", root, "other", 0), ENOSPC);
	ck_assert(exists(root, "again"));
	ck_assert_ok(fs_unlink(fs, root, "c0"));
	ck_assert_ok(fs_rename(fs, root, "again", root, "other", 0));
	ck_assert(exists(root, "other") && !exists(root, "again"));
	free(s);
}
END_TEST

START_TEST(few_hashes)
{
	struct seen *s = calloc(1, sizeof(*s));
	char name[16];

	fs->dirhash_mask = 0x1f;
	for (unsigned k = 0; k < 150; k++) {
		snprintf(name, sizeof(name), "few%u", k);
		touch_file(root, name);
	}
	for (unsigned k = 0; k < 150; k += 3) {
		snprintf(name, sizeof(name), "few%u", k);
		ck_assert_ok(fs_unlink(fs, root, name));
	}
	for (unsigned k = 0; k < 150; k++) {
		snprintf(name, sizeof(name), "few%u", k);
		ck_assert(exists(root, name) == (k % 3 != 0));
	}
	ck_assert_ok(fs_readdir(fs, root, 0, false, see, s));
	ck_assert_uint_eq(s->n, 2 + 100);
	free(s);
}
END_TEST

/* Entries that are there all the time are seen exactly once, whatever else comes and
 * goes between two calls. */
START_TEST(cookies_are_stable)
{
	struct seen *s = calloc(1, sizeof(*s));
	uint64_t seed = 7;
	unsigned before;
	char name[24];

	fs->dirhash_mask = 0x1ff; /* collisions, too */
	for (unsigned k = 0; k < 800; k++) {
		snprintf(name, sizeof(name), "stay%u", k);
		touch_file(root, name);
		if (k % 2) {
			snprintf(name, sizeof(name), "go%u", k);
			touch_file(root, name);
		}
	}
	do {
		uint64_t r = unit_random(&seed) % 800;

		before = s->n;
		s->stop_after = s->n + 5;
		ck_assert_ok(fs_readdir(fs, root, s->last, unit_random(&seed) & 1, see, s));
		snprintf(name, sizeof(name), "go%u", (unsigned)r | 1);
		if (exists(root, name))
			ck_assert_ok(fs_unlink(fs, root, name));
		snprintf(name, sizeof(name), "come%u.%u", s->n, (unsigned)r);
		touch_file(root, name);
	} while (s->n > before);
	for (unsigned k = 0; k < 800; k++) {
		snprintf(name, sizeof(name), "stay%u", k);
		ck_assert_uint_eq(times_seen(s, name), 1);
	}
	for (unsigned k = 0; k < s->n; k++)
		ck_assert_uint_eq(times_seen(s, s->name[k]), 1);
	free(s);
}
END_TEST

START_TEST(readdirplus_gives_inodes)
{
	struct seen *s = calloc(1, sizeof(*s));

	touch_file(root, "a");
	inode_put(make_dir(root, "b"));
	ck_assert_ok(fs_readdir(fs, root, 0, true, see, s));
	ck_assert_uint_eq(s->n, 4);
	ck_assert_uint_eq(s->children, 2);
	free(s);
}
END_TEST

START_TEST(readdir_errors)
{
	struct seen *s = calloc(1, sizeof(*s));
	struct inode *f = make_file(root, "f");

	ck_assert_err(fs_readdir(fs, f, 0, false, see, s), ENOTDIR);
	ck_assert_err(fs_readdir(fs, root, -1, false, see, s), EINVAL);
	ck_assert_ok(fs_readdir(fs, root, INT64_MAX, false, see, s));
	ck_assert_uint_eq(s->n, 0);
	inode_put(f);
	free(s);
}
END_TEST

START_TEST(longest_name)
{
	char name[FS_NAME_MAX + 2];

	memset(name, 'x', sizeof(name));
	name[FS_NAME_MAX] = '\0';
	touch_file(root, name);
	ck_assert(exists(root, name));
	remount();
	ck_assert(exists(root, name));
	name[FS_NAME_MAX] = 'x';
	name[FS_NAME_MAX + 1] = '\0';
	ck_assert_int_eq(lookup_error(root, name), -ENAMETOOLONG);
}
END_TEST

static void
insert_item(const void *value, size_t len, uint64_t cookie)
{
	struct txn t;

	ck_assert_ok(txn_begin(fs->pool, &t, txn_credits(fs->pool, 1), 0));
	ck_assert_ok(tree_put(&t, tree_key(INO_ROOT, ITEM_DIRENT, cookie), value, len));
	txn_end(&t);
}

static void
ignore_log(void *arg, int level, const char *text)
{
	(void)arg;
	(void)level;
	(void)text;
}

/* What is wrong with an entry is found, and the others can still be read. */
START_TEST(damaged_entries)
{
	static const struct {
		uint8_t item[14];
		size_t len;
		bool name;      /* only the name is bad: it is never asked for, but listed */
	} bad[] = {
		{ { 5, 0, 0, 0, 0, 0, 0, 0, DT_REG, 0 }, 10, false },            /* no name */
		{ { 5, 0, 0 }, 3, false },                                        /* too short */
		{ { 5, 0, 0, 0, 0, 0, 0, 0, DT_REG, 3, 'a', 'b' }, 12, false },  /* length */
		{ { 0, 0, 0, 0, 0, 0, 0, 0, DT_REG, 1, 'a' }, 11, false },       /* inode 0 */
		{ { 5, 0, 0, 0, 0, 0, 0, 1, DT_REG, 1, 'a' }, 11, false },       /* beyond INO_MAX */
		{ { 5, 0, 0, 0, 0, 0, 0, 0, 77, 1, 'a' }, 11, false },           /* type */
		{ { 5, 0, 0, 0, 0, 0, 0, 0, DT_REG, 2, 'a', '/' }, 12, true },
		{ { 5, 0, 0, 0, 0, 0, 0, 0, DT_REG, 2, 'a', 0 }, 12, true },
		{ { 5, 0, 0, 0, 0, 0, 0, 0, DT_REG, 2, '.', '.' }, 12, true },
	};
	struct seen *s = calloc(1, sizeof(*s));
	struct dir_pos pos;

	pinfs_log_to(ignore_log, NULL);
	fs->dirhash_mask = 0;
	touch_file(root, "good");
	for (unsigned k = 0; k < sizeof(bad) / sizeof(bad[0]); k++) {
		insert_item(bad[k].item, bad[k].len, 1 << HASH_SLOT_BITS | 1);
		ck_assert_int_eq(dir_find(root, "other", 5, &pos), bad[k].name ? 0 : -EIO);
		ck_assert(exists(root, "good"));
		memset(s, 0, sizeof(*s));
		ck_assert_ok(fs_readdir(fs, root, 0, false, see, s));
		ck_assert_uint_eq(s->n, 3);
	}
	pinfs_log_to(NULL, NULL);
	free(s);
}
END_TEST

START_TEST(dangling_entry)
{
	static const uint8_t item[] = { 99, 0, 0, 0, 0, 0, 0, 0, DT_REG, 1, 'd' };
	struct dir_pos pos;

	pinfs_log_to(ignore_log, NULL);
	ck_assert_ok(dir_find(root, "d", 1, &pos));
	insert_item(item, sizeof(item), pos.key.lo);
	ck_assert_int_eq(lookup_error(root, "d"), -EIO);
	ck_assert_err(fs_unlink(fs, root, "d"), EIO);
	pinfs_log_to(NULL, NULL);
}
END_TEST

static int
count_entry(void *arg, const char *name, size_t namelen, uint64_t ino, unsigned char type, off_t cookie,
    struct inode *child)
{
	(void)name;
	(void)namelen;
	(void)ino;
	(void)type;
	(void)cookie;
	(void)child;
	++*(unsigned *)arg;
	return 0;
}

#ifdef PINFS_DEBUG
#define MANY 20000u /* the lock validator takes its time */
#else
#define MANY 100000u
#endif

START_TEST(many_entries)
{
	const unsigned many = MANY;
	struct inode *dir;
	unsigned n = 0;
	char name[32];

	teardown();
	pool_at = unit_mkpool(128);
	setup_mount();
	dir = make_dir(root, "many");
	for (unsigned k = 0; k < many; k++) {
		snprintf(name, sizeof(name), "file-%u.dat", k);
		touch_file(dir, name);
	}
	ck_assert_uint_eq(stat_of(dir).st_size, many);
	inode_put(dir);
	remount();
	dir = lookup(root, "many");
	ck_assert_uint_eq(stat_of(dir).st_size, many);
	ck_assert_ok(fs_readdir(fs, dir, 0, false, count_entry, &n));
	ck_assert_uint_eq(n, many + 2);
	for (unsigned k = 0; k < many; k++) {
		snprintf(name, sizeof(name), "file-%u.dat", (k * 7919u) % many);
		ck_assert_ok(fs_unlink(fs, dir, name));
	}
	ck_assert_int_eq(dir_is_empty(dir), 1);
	inode_put(dir);
	ck_assert_ok(fs_rmdir(fs, root, "many"));
	ck_assert_uint_eq(inodes_in_use(), 1);
}
END_TEST

/* Two writers in one directory, a reader, and names that both want. */
static void *
worker(void *arg)
{
	uint64_t seed = (uint64_t)(uintptr_t)arg;
	struct inode *i;
	char name[16];
	int err;

	for (unsigned k = 0; k < 3000; k++) {
		snprintf(name, sizeof(name), "n%u", (unsigned)(unit_random(&seed) % 50));
		switch (unit_random(&seed) % 4) {
		case 0:
			err = fs_create(fs, root, name, 0644, 0, &cred_root, &i);
			if (!err)
				inode_put(i);
			ck_assert(err == 0 || err == -EEXIST);
			break;
		case 1:
			err = fs_unlink(fs, root, name);
			ck_assert(err == 0 || err == -ENOENT);
			break;
		case 2:
			err = fs_rename(fs, root, name, root, "n1", 0);
			ck_assert(err == 0 || err == -ENOENT);
			break;
		default:
			err = lookup_error(root, name);
			ck_assert(err == 0 || err == -ENOENT);
		}
	}
	return NULL;
}

START_TEST(concurrent_changes)
{
	unsigned n = 0;
	pthread_t th[2];

	touch_file(root, "always");
	for (uintptr_t k = 0; k < 2; k++)
		ck_assert_int_eq(pthread_create(&th[k], NULL, worker, (void *)(k + 1)), 0);
	for (unsigned k = 0; k < 300; k++) {
		struct seen *s = calloc(1, sizeof(*s));

		ck_assert_ok(fs_readdir(fs, root, 0, k & 1, see, s));
		ck_assert_uint_eq(times_seen(s, "always"), 1);
		free(s);
	}
	for (unsigned k = 0; k < 2; k++)
		pthread_join(th[k], NULL);
	ck_assert_ok(fs_readdir(fs, root, 0, false, count_entry, &n));
	ck_assert_uint_eq(stat_of(root).st_size, n - 2);
	ck_assert_uint_eq(inodes_in_use(), n - 1);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("dir");
	TCase *tc = tcase_create("dir");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, siphash_vectors);
	tcase_add_test(tc, empty_directory);
	tcase_add_test(tc, all_names_collide);
	tcase_add_test(tc, few_hashes);
	tcase_add_test(tc, cookies_are_stable);
	tcase_add_test(tc, readdirplus_gives_inodes);
	tcase_add_test(tc, readdir_errors);
	tcase_add_test(tc, longest_name);
	tcase_add_test(tc, damaged_entries);
	tcase_add_test(tc, dangling_entry);
	tcase_add_test(tc, many_entries);
	tcase_add_test(tc, concurrent_changes);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
