/* SPDX-License-Identifier: BSD-3-Clause */
/* POSIX ACLs: what is valid, and that mode and ACL say the same. */
#include "tests/unit/unit_names.h"

#include "fs/acl.h"

enum { U = 1, USER = 2, G = 4, GROUP = 8, M = 16, O = 32 };

struct acl {
	size_t size;
	unsigned char bytes[4 + 8 * 12];
};

static struct acl
acl(unsigned version)
{
	struct acl a = { .size = 4 };

	memcpy(a.bytes, &version, 4);
	return a;
}

static struct acl
with(struct acl a, unsigned tag, unsigned perm, uint32_t id)
{
	uint16_t t = (uint16_t)tag, p = (uint16_t)perm;

	memcpy(a.bytes + a.size, &t, 2);
	memcpy(a.bytes + a.size + 2, &p, 2);
	memcpy(a.bytes + a.size + 4, &id, 4);
	a.size += 8;
	return a;
}

/* owner, group, others; and with a named user and a mask */
static struct acl
minimal(unsigned u, unsigned g, unsigned o)
{
	return with(with(with(acl(2), U, u, -1u), G, g, -1u), O, o, -1u);
}

static struct acl
extended(unsigned u, unsigned named, unsigned g, unsigned m, unsigned o)
{
	return with(with(with(with(with(acl(2), U, u, -1u), USER, named, 1234), G, g, -1u), M, m, -1u), O, o, -1u);
}

static int
check(struct acl a)
{
	return acl_check(a.bytes, a.size);
}

START_TEST(validity)
{
	struct acl a;

	ck_assert_int_eq(check(acl(2)), 0);
	ck_assert_int_eq(check(minimal(7, 5, 0)), 3);
	ck_assert_int_eq(check(extended(7, 5, 0, 7, 0)), 5);
	a = with(with(with(acl(2), U, 7, -1u), USER, 1, 1), USER, 2, 2);
	a = with(with(with(with(with(a, G, 0, -1u), GROUP, 1, 1), GROUP, 2, 2), M, 7, -1u), O, 0, -1u);
	ck_assert_int_eq(check(a), 8);

	ck_assert_err(check(acl(1)), EINVAL);
	a = minimal(7, 5, 0);
	ck_assert_err(acl_check(a.bytes, a.size - 1), EINVAL);
	ck_assert_err(acl_check(a.bytes, a.size - 8), EINVAL);
	ck_assert_err(acl_check(a.bytes, 3), EINVAL);
	ck_assert_err(acl_check(a.bytes, 0), EINVAL);
	ck_assert_err(check(minimal(8, 5, 0)), EINVAL);
	ck_assert_err(check(with(minimal(7, 5, 0), O, 0, -1u)), EINVAL);
	ck_assert_err(check(with(minimal(7, 5, 0), M, 0, -1u)), EINVAL);
	ck_assert_err(check(with(acl(2), U, 7, -1u)), EINVAL);
	ck_assert_err(check(with(acl(2), 64, 7, -1u)), EINVAL);
	/* named entries without a mask, out of order, without an id */
	ck_assert_err(check(with(with(with(with(acl(2), U, 7, -1u), USER, 1, 1), G, 0, -1u), O, 0, -1u)), EINVAL);
	ck_assert_err(check(with(with(with(acl(2), G, 7, -1u), U, 0, -1u), O, 0, -1u)), EINVAL);
	ck_assert_err(check(with(with(with(with(with(acl(2), U, 7, -1u), G, 0, -1u), USER, 1, 1), M, 1, -1u), O, 0,
	    -1u)), EINVAL);
	ck_assert_err(check(with(with(with(with(with(acl(2), U, 7, -1u), USER, 1, -1u), G, 0, -1u), M, 1, -1u), O, 0,
	    -1u)), EINVAL);
}
END_TEST

START_TEST(mode_bits)
{
	struct acl a = minimal(7, 5, 1);
	uint32_t mode = S_IFREG | 04000;

	ck_assert(acl_to_mode(a.bytes, a.size, &mode));
	ck_assert_uint_eq(mode, S_IFREG | 04751);
	a = extended(6, 7, 7, 2, 4);
	mode = S_IFREG;
	ck_assert(!acl_to_mode(a.bytes, a.size, &mode));
	ck_assert_uint_eq(mode, S_IFREG | 0624); /* the group class is the mask */
	acl_chmod(a.bytes, a.size, 0751);
	ck_assert_mem_eq(a.bytes, extended(7, 7, 7, 5, 1).bytes, a.size);
	a = minimal(7, 7, 7);
	acl_chmod(a.bytes, a.size, 0640);
	ck_assert_mem_eq(a.bytes, minimal(6, 4, 0).bytes, a.size);
}
END_TEST

static struct acl
get(struct inode *i, const char *name)
{
	struct acl a;
	ssize_t n = fs_getxattr(fs, i, name, a.bytes, sizeof(a.bytes));

	ck_assert(n > 0 || n == -ENODATA);
	a.size = n > 0 ? (size_t)n : 0;
	return a;
}

static void
check_acl(struct inode *i, const char *name, struct acl want)
{
	struct acl a = get(i, name);

	ck_assert_uint_eq(a.size, want.size);
	ck_assert_mem_eq(a.bytes, want.bytes, a.size);
}

static int
set(struct inode *i, const char *name, struct acl a, const struct fs_cred *c)
{
	return fs_setxattr(fs, i, name, a.bytes, a.size, 0, c);
}

START_TEST(setting_changes_mode)
{
	struct inode *f = make_file(root, "f");

	ck_assert_ok(set(f, ACL_NAME_ACCESS, extended(7, 6, 4, 5, 1), &cred_root));
	ck_assert_uint_eq(stat_of(f).st_mode, S_IFREG | 0751);
	check_acl(f, ACL_NAME_ACCESS, extended(7, 6, 4, 5, 1));
	/* One that says no more than the mode is not kept. */
	ck_assert_ok(set(f, ACL_NAME_ACCESS, minimal(6, 4, 0), &cred_root));
	ck_assert_uint_eq(stat_of(f).st_mode, S_IFREG | 0640);
	ck_assert_uint_eq(get(f, ACL_NAME_ACCESS).size, 0);
	ck_assert_ok(set(f, ACL_NAME_ACCESS, minimal(6, 4, 4), &cred_root));
	ck_assert_uint_eq(stat_of(f).st_mode, S_IFREG | 0644);
	/* Removal leaves the mode as it is, and is no error if there is none. */
	ck_assert_ok(set(f, ACL_NAME_ACCESS, extended(7, 6, 4, 5, 1), &cred_root));
	ck_assert_ok(fs_removexattr(fs, f, ACL_NAME_ACCESS));
	ck_assert_ok(fs_removexattr(fs, f, ACL_NAME_ACCESS));
	ck_assert_uint_eq(stat_of(f).st_mode, S_IFREG | 0751);
	ck_assert_ok(set(f, ACL_NAME_ACCESS, extended(7, 6, 4, 5, 1), &cred_root));
	ck_assert_ok(set(f, ACL_NAME_ACCESS, acl(2), &cred_root)); /* an empty one: the same */
	ck_assert_uint_eq(get(f, ACL_NAME_ACCESS).size, 0);

	ck_assert_ok(set(f, ACL_NAME_ACCESS, extended(7, 6, 4, 5, 1), &cred_root));
	inode_put(f);
	remount();
	f = lookup(root, "f");
	check_acl(f, ACL_NAME_ACCESS, extended(7, 6, 4, 5, 1));
	inode_put(f);
}
END_TEST

START_TEST(setgid_of_others)
{
	struct inode *f = make_file(root, "f");
	struct fs_cred member = cred_user;
	struct stat st = { .st_mode = 02755, .st_gid = 100 };

	ck_assert_ok(fs_setattr(fs, f, FS_SET_GID, &st, &cred_root));
	st.st_mode = 02755;
	ck_assert_ok(fs_setattr(fs, f, FS_SET_MODE, &st, &cred_root));
	ck_assert_ok(set(f, ACL_NAME_ACCESS, minimal(7, 5, 0), &member));
	ck_assert_uint_eq(stat_of(f).st_mode, S_IFREG | 02750);
	member.gid = 101;
	ck_assert_ok(set(f, ACL_NAME_ACCESS, minimal(7, 5, 1), &member));
	ck_assert_uint_eq(stat_of(f).st_mode, S_IFREG | 0751);
	inode_put(f);
}
END_TEST

START_TEST(chmod_changes_acl)
{
	struct inode *f = make_file(root, "f");
	struct stat st = { .st_mode = 0421 };

	ck_assert_ok(set(f, ACL_NAME_ACCESS, extended(7, 6, 4, 5, 1), &cred_root));
	ck_assert_ok(fs_setattr(fs, f, FS_SET_MODE, &st, &cred_root));
	check_acl(f, ACL_NAME_ACCESS, extended(4, 6, 4, 2, 1));
	ck_assert_uint_eq(st.st_mode, S_IFREG | 0421);
	inode_put(f);
}
END_TEST

START_TEST(errors)
{
	struct inode *f = make_file(root, "f"), *l;
	struct acl bad = minimal(7, 5, 0);

	bad.size--;
	ck_assert_ok(fs_symlink(fs, root, "l", "t", &cred_root, &l));
	ck_assert_err(set(f, ACL_NAME_ACCESS, bad, &cred_root), EINVAL);
	ck_assert_err(set(f, ACL_NAME_DEFAULT, minimal(7, 5, 0), &cred_root), EACCES);
	ck_assert_ok(set(f, ACL_NAME_DEFAULT, acl(2), &cred_root));
	ck_assert_err(set(l, ACL_NAME_ACCESS, minimal(7, 5, 0), &cred_root), EOPNOTSUPP);
	set_flags(f, INODE_FL_IMMUTABLE);
	ck_assert_err(set(f, ACL_NAME_ACCESS, minimal(7, 5, 0), &cred_root), EPERM);
	set_flags(f, 0);
	ck_assert_uint_eq(stat_of(f).st_mode, S_IFREG | 0644);
	inode_put(f);
	inode_put(l);
}
END_TEST

START_TEST(inheritance)
{
	struct inode *d = make_dir(root, "d"), *i;

	ck_assert_ok(set(d, ACL_NAME_DEFAULT, extended(7, 6, 5, 7, 4), &cred_root));
	ck_assert_uint_eq(stat_of(d).st_mode, S_IFDIR | 0755); /* its own mode stays */

	/* The umask does not count; what is asked for limits what is inherited. */
	ck_assert_ok(fs_create(fs, d, "f", S_IFREG | 0666, 0, &cred_user, &i));
	ck_assert_uint_eq(stat_of(i).st_mode, S_IFREG | 0664);
	check_acl(i, ACL_NAME_ACCESS, extended(6, 6, 5, 6, 4));
	ck_assert_uint_eq(get(i, ACL_NAME_DEFAULT).size, 0);
	inode_put(i);
	ck_assert_ok(fs_tmpfile(fs, d, 0600, &cred_user, &i));
	ck_assert_uint_eq(stat_of(i).st_mode, S_IFREG | 0600);
	check_acl(i, ACL_NAME_ACCESS, extended(6, 6, 5, 0, 0));
	inode_put(i);

	ck_assert_ok(fs_mkdir(fs, d, "sub", 0750, &cred_user, &i));
	ck_assert_uint_eq(stat_of(i).st_mode, S_IFDIR | 0750);
	check_acl(i, ACL_NAME_ACCESS, extended(7, 6, 5, 5, 0));
	check_acl(i, ACL_NAME_DEFAULT, extended(7, 6, 5, 7, 4));
	inode_put(i);

	ck_assert_ok(fs_symlink(fs, d, "l", "t", &cred_user, &i));
	ck_assert_uint_eq(stat_of(i).st_mode, S_IFLNK | 0777);
	ck_assert_int_eq(fs_listxattr(fs, i, NULL, 0), 0);
	inode_put(i);

	/* A default ACL of three entries makes a mode and nothing else. */
	ck_assert_ok(set(d, ACL_NAME_DEFAULT, minimal(7, 7, 0), &cred_root));
	ck_assert_ok(fs_create(fs, d, "g", S_IFREG | 0666, 0, &cred_user, &i));
	ck_assert_uint_eq(stat_of(i).st_mode, S_IFREG | 0660);
	ck_assert_int_eq(fs_listxattr(fs, i, NULL, 0), 0);
	inode_put(i);
	inode_put(d);
	remount();
	d = lookup(root, "d");
	ck_assert_ok(fs_create(fs, d, "h", S_IFREG | 0666, 0, &cred_user, &i));
	ck_assert_uint_eq(stat_of(i).st_mode, S_IFREG | 0660);
	inode_put(i);

	ck_assert_ok(fs_removexattr(fs, d, ACL_NAME_DEFAULT));
	ck_assert_ok(fs_create(fs, d, "plain", S_IFREG | 0666, 0, &cred_user, &i));
	ck_assert_uint_eq(stat_of(i).st_mode, S_IFREG | 0644);
	inode_put(i);
	inode_put(d);
}
END_TEST

/* Many entries: the ACL takes several chunks, with each new inode. */
START_TEST(large_default_acl)
{
	size_t n = 1000, size = 4 + 8 * (n + 4);
	unsigned char *a = malloc(size), *b = malloc(size);
	struct inode *d = make_dir(root, "d"), *i;
	struct acl head = with(acl(2), U, 7, -1u), tail = with(with(with(acl(2), G, 5, -1u), M, 7, -1u), O, 0, -1u);

	memcpy(a, head.bytes, head.size);
	for (uint32_t k = 0; k < n; k++)
		memcpy(a + head.size + 8 * k, with(acl(2), USER, 6, k).bytes + 4, 8);
	memcpy(a + head.size + 8 * n, tail.bytes + 4, tail.size - 4);
	ck_assert_int_eq(acl_check(a, size), n + 4);
	ck_assert_ok(fs_setxattr(fs, d, ACL_NAME_DEFAULT, a, size, 0, &cred_root));
	ck_assert_ok(fs_mkdir(fs, d, "sub", 0777, &cred_root, &i));
	ck_assert_int_eq(fs_getxattr(fs, i, ACL_NAME_DEFAULT, b, size), size);
	ck_assert_mem_eq(a, b, size);
	inode_put(i);
	ck_assert_err(fs_mkdir(fs, d, "sub", 0777, &cred_root, &i), EEXIST);
	inode_put(d);
	free(a);
	free(b);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("acl");
	TCase *tc = tcase_create("acl");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, validity);
	tcase_add_test(tc, mode_bits);
	tcase_add_test(tc, setting_changes_mode);
	tcase_add_test(tc, setgid_of_others);
	tcase_add_test(tc, chmod_changes_acl);
	tcase_add_test(tc, errors);
	tcase_add_test(tc, inheritance);
	tcase_add_test(tc, large_default_acl);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
