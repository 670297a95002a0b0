/* SPDX-License-Identifier: BSD-3-Clause */
/* Extended attributes: sizes, collisions, namespaces, errors. */
#include "tests/unit/unit_names.h"

#include <linux/xattr.h>
#include <pthread.h>

#include "fs/siphash.h"
#include "fs/xattr.h"
#include "pmem/log.h"

static char big[XATTR_VALUE_MAX + 1], got[XATTR_VALUE_MAX + 1];

static void
fill(char *buf, size_t len, unsigned seed)
{
	for (size_t k = 0; k < len; k++)
		buf[k] = (char)(k * 31 + k / 256 + seed);
}

static int
set(struct inode *i, const char *name, const char *value)
{
	return fs_setxattr(fs, i, name, value, strlen(value), 0, &cred_root);
}

static void
check_value(struct inode *i, const char *name, const void *value, size_t len)
{
	ck_assert_int_eq(fs_getxattr(fs, i, name, NULL, 0), len);
	memset(got, 0x5a, sizeof(got));
	ck_assert_int_eq(fs_getxattr(fs, i, name, got, sizeof(got)), len);
	if (len > 0)
		ck_assert_mem_eq(got, value, len);
	ck_assert_int_eq(got[len], 0x5a);
}

/* Items of extended attributes that the inode has. */
static int
count_one(void *arg, struct tree_key key, const void *value, size_t len)
{
	(void)key;
	(void)value;
	(void)len;
	++*(unsigned *)arg;
	return 0;
}

static unsigned
items(struct inode *i)
{
	unsigned n = 0;

	ck_assert_ok(tree_scan(fs->pool, tree_key(i->ino, ITEM_XATTR, 0), tree_key(i->ino, ITEM_XATTR, UINT64_MAX),
	    count_one, &n));
	return n;
}

START_TEST(set_get_remove)
{
	struct inode *i = make_file(root, "f");

	ck_assert_err(fs_getxattr(fs, i, "user.a", got, sizeof(got)), ENODATA);
	ck_assert_err(fs_removexattr(fs, i, "user.a"), ENODATA);
	ck_assert_ok(set(i, "user.a", "one"));
	check_value(i, "user.a", "one", 3);
	ck_assert_ok(set(i, "user.a", "longer than one"));
	check_value(i, "user.a", "longer than one", 15);
	ck_assert_ok(set(i, "user.a", ""));
	check_value(i, "user.a", "", 0);
	ck_assert_ok(fs_setxattr(fs, i, "user.n", NULL, 0, 0, &cred_root));
	check_value(i, "user.n", "", 0);
	ck_assert_ok(fs_removexattr(fs, i, "user.a"));
	ck_assert_err(fs_getxattr(fs, i, "user.a", got, sizeof(got)), ENODATA);
	ck_assert_ok(fs_removexattr(fs, i, "user.n"));
	ck_assert_uint_eq(items(i), 0);
	ck_assert_err(fs_getxattr(fs, i, "user.n", got, sizeof(got)), ENODATA);
	inode_put(i);
}
END_TEST

/* Every length around the borders of chunks, grown and shrunk. */
START_TEST(sizes)
{
	static const size_t len[] = { 0, 1, 1017, 1018, 1019, 2041, 2042, 2043, 10000, 65535, 65536, 65536, 5000, 1018,
		1019, 1, 65536, 0 };
	struct inode *i = make_file(root, "f");

	for (unsigned k = 0; k < sizeof(len) / sizeof(len[0]); k++) {
		fill(big, len[k], k);
		ck_assert_ok(fs_setxattr(fs, i, "user.x", big, len[k], 0, &cred_root));
		check_value(i, "user.x", big, len[k]);
		ck_assert_uint_eq(items(i), (6 + len[k] + ITEM_CHUNK - 1) / ITEM_CHUNK);
		if (len[k] > 1)
			ck_assert_err(fs_getxattr(fs, i, "user.x", got, len[k] - 1), ERANGE);
	}
	fill(big, XATTR_VALUE_MAX, 1);
	ck_assert_ok(fs_setxattr(fs, i, "user.x", big, XATTR_VALUE_MAX, 0, &cred_root));
	inode_put(i);
	remount();
	i = lookup(root, "f");
	check_value(i, "user.x", big, XATTR_VALUE_MAX);
	ck_assert_ok(fs_removexattr(fs, i, "user.x"));
	ck_assert_uint_eq(items(i), 0);
	inode_put(i);
}
END_TEST

START_TEST(names)
{
	char name[XATTR_NAME_LEN_MAX + 2], list[XATTR_NAME_LEN_MAX + 1];
	struct inode *i = make_file(root, "f");

	memset(name, 'n', sizeof(name));
	memcpy(name, "user.", 5);
	name[XATTR_NAME_LEN_MAX] = '\0';
	fill(big, 3000, 3);
	ck_assert_ok(fs_setxattr(fs, i, name, big, 3000, 0, &cred_root));
	check_value(i, name, big, 3000);
	ck_assert_int_eq(fs_listxattr(fs, i, NULL, 0), XATTR_NAME_LEN_MAX + 1);
	ck_assert_int_eq(fs_listxattr(fs, i, list, sizeof(list)), XATTR_NAME_LEN_MAX + 1);
	ck_assert_str_eq(list, name);
	name[XATTR_NAME_LEN_MAX] = 'n';
	name[XATTR_NAME_LEN_MAX + 1] = '\0';
	ck_assert_err(fs_setxattr(fs, i, name, "", 0, 0, &cred_root), ERANGE);
	ck_assert_err(fs_getxattr(fs, i, name, NULL, 0), ERANGE);
	inode_put(i);
}
END_TEST

START_TEST(errors)
{
	struct inode *i = make_file(root, "f"), *p, *l;

	ck_assert_ok(fs_create(fs, root, "p", S_IFIFO | 0644, 0, &cred_root, &p));
	ck_assert_ok(fs_symlink(fs, root, "l", "t", &cred_root, &l));
	ck_assert_err(fs_setxattr(fs, i, "user.a", "v", 1, XATTR_REPLACE, &cred_root), ENODATA);
	ck_assert_ok(fs_setxattr(fs, i, "user.a", "v", 1, XATTR_CREATE, &cred_root));
	ck_assert_err(fs_setxattr(fs, i, "user.a", "w", 1, XATTR_CREATE, &cred_root), EEXIST);
	ck_assert_ok(fs_setxattr(fs, i, "user.a", "w", 1, XATTR_REPLACE, &cred_root));
	ck_assert_err(fs_setxattr(fs, i, "user.a", "w", 1, 8, &cred_root), EINVAL);
	ck_assert_err(fs_setxattr(fs, i, "user.a", NULL, 1, 0, &cred_root), EINVAL);
	ck_assert_err(fs_setxattr(fs, i, "user.a", big, XATTR_VALUE_MAX + 1, 0, &cred_root), E2BIG);
	ck_assert_err(set(i, "user.", "v"), EINVAL);
	ck_assert_err(set(i, "nonsense", "v"), EOPNOTSUPP);
	ck_assert_err(set(i, "", "v"), EOPNOTSUPP);
	ck_assert_err(set(i, "system.other", "v"), EOPNOTSUPP);
	ck_assert_err(fs_getxattr(fs, i, "os2.a", got, 10), EOPNOTSUPP);
	ck_assert_err(fs_removexattr(fs, i, "os2.a"), EOPNOTSUPP);
	ck_assert_err(set(p, "user.a", "v"), EPERM);
	ck_assert_err(set(l, "user.a", "v"), EPERM);
	ck_assert_ok(set(l, "trusted.a", "v"));
	ck_assert_err(fs_setxattr(fs, i, "trusted.a", "v", 1, 0, &cred_user), EPERM);
	ck_assert_ok(set(i, "trusted.a", "v"));
	ck_assert_ok(fs_setxattr(fs, i, "security.selinux", "v", 1, 0, &cred_user));
	check_value(i, "user.a", "w", 1);

	set_flags(i, INODE_FL_IMMUTABLE);
	ck_assert_err(set(i, "user.b", "v"), EPERM);
	ck_assert_err(fs_removexattr(fs, i, "user.a"), EPERM);
	set_flags(i, INODE_FL_APPEND);
	ck_assert_err(set(i, "user.b", "v"), EPERM);
	ck_assert_err(fs_removexattr(fs, i, "user.a"), EPERM);
	set_flags(i, 0);
	inode_put(i);
	inode_put(p);
	inode_put(l);
}
END_TEST

START_TEST(listing)
{
	struct inode *i = make_file(root, "f");
	char name[32], list[2048];
	unsigned seen = 0;
	size_t len = 0;
	ssize_t n;

	ck_assert_int_eq(fs_listxattr(fs, i, list, sizeof(list)), 0);
	for (unsigned k = 0; k < 50; k++) {
		snprintf(name, sizeof(name), "user.name%u", k);
		len += strlen(name) + 1;
		fill(big, k * 100, k);
		ck_assert_ok(fs_setxattr(fs, i, name, big, k * 100, 0, &cred_root));
	}
	ck_assert_int_eq(fs_listxattr(fs, i, NULL, 0), len);
	ck_assert_err(fs_listxattr(fs, i, list, len - 1), ERANGE);
	n = fs_listxattr(fs, i, list, sizeof(list));
	ck_assert_int_eq(n, len);
	for (const char *at = list; at < list + n; at += strlen(at) + 1) {
		unsigned k = (unsigned)atoi(at + strlen("user.name"));

		ck_assert_uint_lt(k, 50);
		fill(big, k * 100, k);
		check_value(i, at, big, k * 100);
		seen++;
	}
	ck_assert_uint_eq(seen, 50);
	inode_put(i);
}
END_TEST

START_TEST(ctime_moves)
{
	struct inode *i = make_file(root, "f");

	for (int k = 0; k < 2; k++) {
		mtx_lock(&i->attr_lock);
		i->attr.mtime = i->attr.ctime = (struct timespec){ 1000, 0 };
		mtx_unlock(&i->attr_lock);
		if (k == 0)
			ck_assert_ok(set(i, "user.a", "v"));
		else
			ck_assert_ok(fs_removexattr(fs, i, "user.a"));
		ck_assert_int_gt(stat_of(i).st_ctim.tv_sec, 1000);
		ck_assert_int_eq(stat_of(i).st_mtim.tv_sec, 1000);
	}
	inode_put(i);
}
END_TEST

/* Two names with one hash live in slots of their own. A collision of 48 bits can't be found by
 * trying, so an item of another name is put where the first one would go. */
START_TEST(colliding_names)
{
	struct { uint32_t value_len; uint8_t namelen, reserved[3]; char data[8]; } item = {
		.value_len = 2, .namelen = 6, .data = "user.zZ!" };
	uint64_t base = siphash24(fs->hash_key, "user.a", 6) >> 16 << 16;
	struct inode *i = make_file(root, "f");
	struct txn t;

	ck_assert_uint_ne(base, 0);
	ck_assert_ok(set(i, "user.b", "v")); /* so that it is known to have some */
	ck_assert_ok(txn_begin(fs->pool, &t, txn_credits(fs->pool, 1), 0));
	ck_assert_ok(tree_put(&t, tree_key(i->ino, ITEM_XATTR, base), &item, sizeof(item)));
	txn_end(&t);
	ck_assert_err(fs_getxattr(fs, i, "user.a", got, 10), ENODATA);
	fill(big, 3000, 9);
	ck_assert_ok(fs_setxattr(fs, i, "user.a", big, 3000, 0, &cred_root));
	check_value(i, "user.a", big, 3000);
	ck_assert_int_eq(fs_listxattr(fs, i, NULL, 0), 3 * 7);
	ck_assert_ok(fs_removexattr(fs, i, "user.a"));
	ck_assert_uint_eq(items(i), 2);
	inode_put(i);
}
END_TEST

static void
ignore_log(void *arg, int level, const char *text)
{
	(void)arg;
	(void)level;
	(void)text;
}

START_TEST(damaged_items)
{
	uint64_t base = siphash24(fs->hash_key, "user.a", 6) >> 16 << 16;
	struct inode *i = make_file(root, "f");
	uint8_t item[XATTR_ITEM_HEAD + ITEM_CHUNK] = { 0 };
	struct txn t;

	pinfs_log_to(ignore_log, NULL);
	fill(big, 3000, 9);
	ck_assert_ok(fs_setxattr(fs, i, "user.a", big, 3000, 0, &cred_root));
#define DAMAGE(chunk, change, length) \
	do { \
		ssize_t len_ = tree_get(fs->pool, tree_key(i->ino, ITEM_XATTR, base | (chunk)), item, sizeof(item)); \
		ck_assert_ok(len_); \
		change; \
		ck_assert_ok(txn_begin(fs->pool, &t, txn_credits(fs->pool, 1), 0)); \
		ck_assert_ok(tree_put(&t, tree_key(i->ino, ITEM_XATTR, base | (chunk)), item, (size_t)(length))); \
		txn_end(&t); \
		ck_assert_err(fs_getxattr(fs, i, "user.a", got, sizeof(got)), EIO); \
		ck_assert_ok(fs_removexattr(fs, root, "user.none") == -ENODATA ? 0 : -EIO); \
	} while (0)
	DAMAGE(1, (void)item, len_ - 1);                  /* a chunk is too short */
	ck_assert_ok(fs_setxattr(fs, i, "user.a", big, 3000, 0, &cred_root));
	ck_assert_ok(txn_begin(fs->pool, &t, txn_credits(fs->pool, 1), 0));
	ck_assert_ok(tree_delete(&t, tree_key(i->ino, ITEM_XATTR, base | 2)));
	txn_end(&t);
	ck_assert_err(fs_getxattr(fs, i, "user.a", got, sizeof(got)), EIO); /* one is missing */
	ck_assert_ok(fs_setxattr(fs, i, "user.a", big, 3000, 0, &cred_root));
	DAMAGE(0, item[2] = 0xff, len_);                  /* value_len */
	ck_assert_err(fs_listxattr(fs, i, got, sizeof(got)), EIO);
	ck_assert_err(fs_setxattr(fs, i, "user.a", "v", 1, 0, &cred_root), EIO);
	DAMAGE(0, (item[2] = 0, item[4] = 0), len_);      /* no name */
	DAMAGE(0, item[4] = 6, 4);                        /* no head */
#undef DAMAGE
	pinfs_log_to(NULL, NULL);
	inode_put(i);
}
END_TEST

START_TEST(capability_goes_with_content)
{
	struct inode *i = make_file(root, "f");
	struct stat st = { 0 };

	ck_assert_ok(set(i, "security.capability", "cap"));
	ck_assert_ok(set(i, "user.a", "stays"));
	ck_assert_ok(fs_setattr(fs, i, FS_SET_SIZE, &st, &cred_root));
	ck_assert_err(fs_getxattr(fs, i, "security.capability", got, 10), ENODATA);
	ck_assert_ok(set(i, "security.capability", "cap"));
	ck_assert_ok(fs_setattr(fs, i, FS_SET_UID, &st, &cred_root));
	ck_assert_err(fs_getxattr(fs, i, "security.capability", got, 10), ENODATA);
	ck_assert_ok(set(i, "security.capability", "cap"));
	ck_assert_ok(fs_setattr(fs, i, FS_SET_MODE, &st, &cred_root));
	check_value(i, "security.capability", "cap", 3);
	ck_assert_ok(inode_drop_capability(i));
	ck_assert_ok(inode_drop_capability(i));
	check_value(i, "user.a", "stays", 5);
	inode_put(i);
}
END_TEST

/* No space: the old value is still there, whole. */
START_TEST(full_pool)
{
	struct inode *i;
	char name[32];
	int err;

	teardown();
	pool_at = unit_mkpool(2);
	setup_mount();
	i = make_file(root, "f");
	ck_assert_ok(set(i, "user.a", "small"));
	fill(big, XATTR_VALUE_MAX, 5);
	for (unsigned k = 0;; k++) {
		snprintf(name, sizeof(name), "user.fill%u", k);
		err = fs_setxattr(fs, i, name, big, XATTR_VALUE_MAX, 0, &cred_root);
		if (err)
			break;
	}
	ck_assert_int_eq(err, -ENOSPC);
	ck_assert_err(fs_setxattr(fs, i, "user.a", big, XATTR_VALUE_MAX, 0, &cred_root), ENOSPC);
	check_value(i, "user.a", "small", 5);
	ck_assert_ok(fs_removexattr(fs, i, "user.fill0"));
	ck_assert_ok(fs_setxattr(fs, i, "user.a", big, XATTR_VALUE_MAX / 2, 0, &cred_root));
	check_value(i, "user.a", big, XATTR_VALUE_MAX / 2);
	inode_put(i);
}
END_TEST

/* A reader never sees parts of two values. */
static void *
writer(void *arg)
{
	struct inode *i = arg;
	char *value = malloc(9000);

	for (unsigned k = 0; k < 400; k++) {
		size_t len = 1000 + k % 7 * 1100;

		memset(value, 'a' + (int)(k % 26), len);
		ck_assert_ok(fs_setxattr(fs, i, "user.x", value, len, 0, &cred_root));
	}
	free(value);
	return NULL;
}

START_TEST(values_are_whole)
{
	struct inode *i = make_file(root, "f");
	pthread_t th;

	ck_assert_ok(set(i, "user.x", "aaaa"));
	ck_assert_int_eq(pthread_create(&th, NULL, writer, i), 0);
	for (unsigned k = 0; k < 400; k++) {
		ssize_t n = fs_getxattr(fs, i, "user.x", got, sizeof(got));

		ck_assert_int_gt(n, 0);
		for (ssize_t b = 1; b < n; b++)
			ck_assert_int_eq(got[b], got[0]);
	}
	pthread_join(th, NULL);
	inode_put(i);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("xattr");
	TCase *tc = tcase_create("xattr");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, set_get_remove);
	tcase_add_test(tc, sizes);
	tcase_add_test(tc, names);
	tcase_add_test(tc, errors);
	tcase_add_test(tc, listing);
	tcase_add_test(tc, ctime_moves);
	tcase_add_test(tc, colliding_names);
	tcase_add_test(tc, damaged_items);
	tcase_add_test(tc, capability_goes_with_content);
	tcase_add_test(tc, full_pool);
	tcase_add_test(tc, values_are_whole);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
