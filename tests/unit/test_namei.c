/* SPDX-License-Identifier: BSD-3-Clause */
/* Operations on names: their effects, and each of their errors. */
#include <fcntl.h>
#include "tests/unit/unit_names.h"

#include <linux/fs.h>
#include <pthread.h>
#include <sys/sysmacros.h>

#include "fs/inode_i.h"
#include "fs/op.h"

static struct inode *made; /* what a failing call would give */

/* A time that a touch can be told from. */
static void
set_old_times(struct inode *i)
{
	mtx_lock(&i->attr_lock);
	i->attr.atime = i->attr.mtime = i->attr.ctime = (struct timespec){ 1000, 0 };
	mtx_unlock(&i->attr_lock);
}

static unsigned
touched(struct inode *i)
{
	struct stat st = stat_of(i);

	return (st.st_atim.tv_sec != 1000 ? TOUCH_ATIME : 0) | (st.st_mtim.tv_sec != 1000 ? TOUCH_MTIME : 0)
	    | (st.st_ctim.tv_sec != 1000 ? TOUCH_CTIME : 0);
}

static void
put_name(struct inode *dir, const char *name, bool is_dir)
{
	if (is_dir)
		ck_assert_ok(fs_rmdir(fs, dir, name));
	else
		ck_assert_ok(fs_unlink(fs, dir, name));
}

/* Link and entry counts and parents below dir are as its entries say. */
static int
check_child(void *arg, const char *name, size_t namelen, uint64_t ino, unsigned char type, off_t cookie,
    struct inode *child)
{
	uint64_t *count = arg; /* dir's number, entries, directories */
	struct stat st;

	(void)namelen;
	(void)cookie;
	if (strcmp(name, ".") == 0) {
		ck_assert_uint_eq(ino, count[0]);
		return 0;
	}
	if (strcmp(name, "..") == 0)
		return 0;
	ck_assert_ptr_nonnull(child);
	st = stat_of(child);
	ck_assert_uint_eq(IFTODT(st.st_mode), type);
	ck_assert_uint_ge(st.st_nlink, 1);
	count[1]++;
	if (type == DT_DIR) {
		uint64_t below[3] = { ino };

		count[2]++;
		ck_assert_uint_eq(child->attr.parent, count[0]);
		ck_assert_ok(fs_readdir(fs, child, 0, true, check_child, below));
		ck_assert_uint_eq(st.st_nlink, 2 + below[2]);
		ck_assert_uint_eq((uint64_t)st.st_size, below[1]);
	}
	inode_put(child);
	return 0;
}

static void
check_tree_counts(void)
{
	uint64_t count[3] = { INO_ROOT };
	struct stat st = stat_of(root);

	ck_assert_ok(fs_readdir(fs, root, 0, true, check_child, count));
	ck_assert_uint_eq(st.st_nlink, 2 + count[2]);
	ck_assert_uint_eq((uint64_t)st.st_size, count[1]);
}

static void
checked_teardown(void)
{
	check_tree_counts();
	remount();
	check_tree_counts();
	teardown();
}

START_TEST(lookup_errors)
{
	struct inode *f = make_file(root, "f"), *d = make_dir(root, "d"), *i;

	ck_assert_int_eq(lookup_error(root, "nothing"), -ENOENT);
	ck_assert_int_eq(lookup_error(root, ""), -ENOENT);
	ck_assert_int_eq(lookup_error(root, "a/b"), -EINVAL);
	ck_assert_int_eq(lookup_error(f, "x"), -ENOTDIR);
	i = lookup(d, ".");
	ck_assert_ptr_eq(i, d);
	inode_put(i);
	i = lookup(d, "..");
	ck_assert_ptr_eq(i, root);
	inode_put(i);
	i = lookup(root, "..");
	ck_assert_ptr_eq(i, root);
	inode_put(i);
	inode_put(f);
	inode_put(d);
}
END_TEST

START_TEST(create_kinds)
{
	static const mode_t types[] = { S_IFREG, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK };
	char name[8];
	struct stat st;

	for (unsigned k = 0; k < 5; k++) {
		snprintf(name, sizeof(name), "n%u", k);
		ck_assert_ok(fs_create(fs, root, name, types[k] | 07777, makedev(259, 70000), &cred_user, &made));
		inode_put(made);
	}
	remount();
	for (unsigned k = 0; k < 5; k++) {
		struct inode *i;

		snprintf(name, sizeof(name), "n%u", k);
		i = lookup(root, name);
		st = stat_of(i);
		ck_assert_uint_eq(st.st_mode, types[k] | 07755);
		ck_assert_uint_eq(st.st_uid, 1000);
		ck_assert_uint_eq(st.st_gid, 100);
		ck_assert_uint_eq(st.st_nlink, 1);
		ck_assert_uint_eq(st.st_rdev, k >= 3 ? makedev(259, 70000) : 0);
		inode_put(i);
	}
}
END_TEST

START_TEST(create_errors)
{
	struct inode *f = make_file(root, "f"), *d = make_dir(root, "d");
	char name[FS_NAME_MAX + 2];

	memset(name, 'n', sizeof(name));
	name[FS_NAME_MAX + 1] = '\0';
	ck_assert_err(fs_create(fs, root, "f", 0644, 0, &cred_root, &made), EEXIST);
	ck_assert_err(fs_create(fs, root, "d", 0644, 0, &cred_root, &made), EEXIST);
	ck_assert_err(fs_create(fs, root, ".", 0644, 0, &cred_root, &made), EEXIST);
	ck_assert_err(fs_create(fs, root, "..", 0644, 0, &cred_root, &made), EEXIST);
	ck_assert_err(fs_create(fs, root, "", 0644, 0, &cred_root, &made), ENOENT);
	ck_assert_err(fs_create(fs, root, "a/b", 0644, 0, &cred_root, &made), EINVAL);
	ck_assert_err(fs_create(fs, root, name, 0644, 0, &cred_root, &made), ENAMETOOLONG);
	ck_assert_err(fs_create(fs, f, "x", 0644, 0, &cred_root, &made), ENOTDIR);
	ck_assert_err(fs_create(fs, root, "x", S_IFDIR | 0755, 0, &cred_root, &made), EINVAL);
	ck_assert_err(fs_create(fs, root, "x", S_IFLNK | 0755, 0, &cred_root, &made), EINVAL);
	ck_assert_err(fs_mkdir(fs, root, "f", 0755, &cred_root, &made), EEXIST);
	ck_assert_err(fs_mkdir(fs, f, "x", 0755, &cred_root, &made), ENOTDIR);
	ck_assert_err(fs_mkdir(fs, root, name, 0755, &cred_root, &made), ENAMETOOLONG);
	ck_assert_err(fs_tmpfile(fs, f, 0600, &cred_root, &made), ENOTDIR);

	set_flags(d, INODE_FL_IMMUTABLE);
	ck_assert_err(fs_create(fs, d, "x", 0644, 0, &cred_root, &made), EPERM);
	ck_assert_err(fs_mkdir(fs, d, "x", 0755, &cred_root, &made), EPERM);
	ck_assert_err(fs_symlink(fs, d, "x", "t", &cred_root, &made), EPERM);
	ck_assert_err(fs_link(fs, f, d, "x"), EPERM);
	set_flags(d, INODE_FL_APPEND);
	touch_file(d, "x"); /* adding is what append-only is for */
	set_flags(d, 0);
	ck_assert_ok(fs_unlink(fs, d, "x"));

	ck_assert_ok(fs_rmdir(fs, root, "d"));
	ck_assert_err(fs_create(fs, d, "x", 0644, 0, &cred_root, &made), ENOENT);
	ck_assert_err(fs_mkdir(fs, d, "x", 0755, &cred_root, &made), ENOENT);
	ck_assert_err(fs_link(fs, f, d, "x"), ENOENT);
	ck_assert_err(fs_tmpfile(fs, d, 0600, &cred_root, &made), ENOENT);
	ck_assert_uint_eq(inodes_in_use(), 3);
	inode_put(f);
	inode_put(d);
}
END_TEST

START_TEST(create_times_and_inheritance)
{
	struct inode *d = make_dir(root, "d"), *i;
	struct stat st = { .st_mode = 02775, .st_gid = 77 };

	ck_assert_ok(fs_setattr(fs, d, FS_SET_GID, &st, &cred_root));
	st.st_mode = 02775;
	ck_assert_ok(fs_setattr(fs, d, FS_SET_MODE, &st, &cred_root));
	ck_assert_ok(fs_setflags(fs, d, INODE_FL_NODUMP | INODE_FL_DAX | INODE_FL_NOATIME, 42, &cred_root));
	set_old_times(d);

	ck_assert_ok(fs_create(fs, d, "f", S_IFREG | 0666, 0, &cred_user, &i));
	st = stat_of(i);
	ck_assert_uint_eq(st.st_gid, 77);
	ck_assert_uint_eq(st.st_mode, S_IFREG | 0644);
	ck_assert_uint_eq(i->attr.projid, 42);
	ck_assert_uint_eq(i->attr.flags, INODE_FL_NODUMP | INODE_FL_DAX | INODE_FL_NOATIME);
	ck_assert_uint_eq(touched(d), TOUCH_MTIME | TOUCH_CTIME);
	ck_assert_int_eq(st.st_mtim.tv_sec, st.st_ctim.tv_sec);
	ck_assert_int_eq(st.st_mtim.tv_sec, st.st_atim.tv_sec);
	ck_assert_int_eq(i->attr.btime.tv_sec, st.st_ctim.tv_sec);
	inode_put(i);

	ck_assert_ok(fs_mkdir(fs, d, "sub", 0777, &cred_user, &i));
	st = stat_of(i);
	ck_assert_uint_eq(st.st_mode, S_IFDIR | 02755);
	ck_assert_uint_eq(st.st_gid, 77);
	ck_assert_uint_eq(st.st_nlink, 2);
	inode_put(i);
	ck_assert_uint_eq(stat_of(d).st_nlink, 3);

	/* The mount's dax option is about new files. */
	fs->opt.dax = FS_DAX_NEVER;
	ck_assert_ok(fs_create(fs, d, "never", S_IFREG | 0666, 0, &cred_user, &i));
	ck_assert(!inode_is_dax(i));
	inode_put(i);
	fs->opt.dax = FS_DAX_ALWAYS;
	ck_assert_ok(fs_create(fs, root, "always", S_IFREG | 0666, 0, &cred_user, &i));
	ck_assert(inode_is_dax(i));
	inode_put(i);
	fs->opt.dax = FS_DAX_INODE;

	ck_assert_ok(fs_create(fs, d, "fifo", S_IFIFO | 0666, 0, &cred_user, &i));
	ck_assert_uint_eq(i->attr.flags, INODE_FL_NODUMP | INODE_FL_NOATIME);
	inode_put(i);

	set_flags(d, INODE_FL_APPEND);
	i = make_file(d, "plain");
	ck_assert_uint_eq(i->attr.flags, 0);
	inode_put(i);
	inode_put(d);
	d = lookup(root, "d");
	set_flags(d, 0);
	inode_put(d);
}
END_TEST

START_TEST(link_count_of_directories)
{
	struct inode *d = make_dir(root, "d");

	/* As if 2^32 directories were there. */
	mtx_lock(&root->attr_lock);
	root->attr.nlink += INODE_NLINK_MAX - 3;
	mtx_unlock(&root->attr_lock);
	ck_assert_err(fs_mkdir(fs, root, "one more", 0755, &cred_root, &made), EMLINK);
	ck_assert(!exists(root, "one more"));
	inode_put(make_dir(d, "sub"));
	ck_assert_err(fs_rename(fs, d, "sub", root, "sub", 0), EMLINK);
	ck_assert(exists(d, "sub") && !exists(root, "sub"));
	mtx_lock(&root->attr_lock);
	root->attr.nlink -= INODE_NLINK_MAX - 3;
	mtx_unlock(&root->attr_lock);
	inode_put(d);
}
END_TEST

START_TEST(links)
{
	struct inode *f = make_file(root, "f"), *d = make_dir(root, "d"), *i;
	char name[FS_NAME_MAX + 2];

	set_old_times(f);
	set_old_times(d);
	ck_assert_ok(fs_link(fs, f, d, "g"));
	ck_assert_uint_eq(touched(f), TOUCH_CTIME);
	ck_assert_uint_eq(touched(d), TOUCH_MTIME | TOUCH_CTIME);
	ck_assert_uint_eq(stat_of(f).st_nlink, 2);
	i = lookup(d, "g");
	ck_assert_ptr_eq(i, f);
	inode_put(i);

	memset(name, 'n', sizeof(name));
	name[FS_NAME_MAX + 1] = '\0';
	ck_assert_err(fs_link(fs, f, d, "g"), EEXIST);
	ck_assert_err(fs_link(fs, f, d, "."), EEXIST);
	ck_assert_err(fs_link(fs, f, d, ""), ENOENT);
	ck_assert_err(fs_link(fs, f, d, name), ENAMETOOLONG);
	ck_assert_err(fs_link(fs, f, f, "x"), ENOTDIR);
	ck_assert_err(fs_link(fs, d, root, "x"), EPERM);
	set_flags(f, INODE_FL_IMMUTABLE);
	ck_assert_err(fs_link(fs, f, root, "x"), EPERM);
	set_flags(f, INODE_FL_APPEND);
	ck_assert_err(fs_link(fs, f, root, "x"), EPERM);
	set_flags(f, 0);

	mtx_lock(&f->attr_lock);
	f->attr.nlink = INODE_NLINK_MAX;
	mtx_unlock(&f->attr_lock);
	ck_assert_err(fs_link(fs, f, root, "x"), EMLINK);
	ck_assert(!exists(root, "x"));
	mtx_lock(&f->attr_lock);
	f->attr.nlink = 2;
	mtx_unlock(&f->attr_lock);

	ck_assert_ok(fs_unlink(fs, root, "f"));
	ck_assert_uint_eq(stat_of(f).st_nlink, 1);
	ck_assert_ok(fs_unlink(fs, d, "g"));
	ck_assert_err(fs_link(fs, f, root, "f"), ENOENT);
	ck_assert(!exists(root, "f"));
	inode_put(f);
	inode_put(d);
}
END_TEST

START_TEST(unlinking)
{
	struct inode *d = make_dir(root, "d"), *f = make_file(d, "f");

	set_old_times(f);
	set_old_times(d);
	ck_assert_err(fs_unlink(fs, d, "none"), ENOENT);
	ck_assert_err(fs_unlink(fs, d, ""), ENOENT);
	ck_assert_err(fs_unlink(fs, root, "d"), EISDIR);
	ck_assert_err(fs_unlink(fs, root, "."), EISDIR);
	ck_assert_err(fs_unlink(fs, f, "x"), ENOTDIR);
	ck_assert_uint_eq(touched(d) | touched(f), 0);
	set_flags(f, INODE_FL_IMMUTABLE);
	ck_assert_err(fs_unlink(fs, d, "f"), EPERM);
	set_flags(f, INODE_FL_APPEND);
	ck_assert_err(fs_unlink(fs, d, "f"), EPERM);
	set_flags(f, 0);
	set_flags(d, INODE_FL_APPEND);
	ck_assert_err(fs_unlink(fs, d, "f"), EPERM);
	set_flags(d, INODE_FL_IMMUTABLE);
	ck_assert_err(fs_unlink(fs, d, "f"), EPERM);
	set_flags(d, 0);
	ck_assert_uint_eq(stat_of(f).st_nlink, 1);
	set_old_times(f);
	set_old_times(d);
	ck_assert_ok(fs_unlink(fs, d, "f"));
	ck_assert_uint_eq(touched(d), TOUCH_MTIME | TOUCH_CTIME);
	ck_assert_uint_eq(touched(f), TOUCH_CTIME);
	ck_assert_uint_eq(stat_of(f).st_nlink, 0);
	inode_put(f);
	inode_put(d);
	ck_assert_uint_eq(inodes_in_use(), 2);
}
END_TEST

START_TEST(removing_directories)
{
	struct inode *d = make_dir(root, "d"), *e = make_dir(d, "e");

	touch_file(root, "f");
	ck_assert_err(fs_rmdir(fs, root, "d"), ENOTEMPTY);
	ck_assert_err(fs_rmdir(fs, root, "f"), ENOTDIR);
	ck_assert_err(fs_rmdir(fs, root, "none"), ENOENT);
	ck_assert_err(fs_rmdir(fs, root, "."), EINVAL);
	ck_assert_err(fs_rmdir(fs, root, ".."), ENOTEMPTY);
	set_flags(e, INODE_FL_IMMUTABLE);
	ck_assert_err(fs_rmdir(fs, d, "e"), EPERM);
	set_flags(e, 0);
	set_old_times(d);
	set_old_times(e);
	ck_assert_ok(fs_rmdir(fs, d, "e"));
	ck_assert_uint_eq(touched(d), TOUCH_MTIME | TOUCH_CTIME);
	ck_assert_uint_eq(touched(e), TOUCH_CTIME);
	ck_assert_uint_eq(stat_of(e).st_nlink, 0);
	ck_assert_uint_eq(stat_of(d).st_nlink, 2);
	ck_assert_int_eq(lookup_error(e, "x"), -ENOENT);
	inode_put(e);
	inode_put(d);
	ck_assert_ok(fs_rmdir(fs, root, "d"));
	ck_assert_uint_eq(inodes_in_use(), 2);
}
END_TEST

START_TEST(symlinks)
{
	static const size_t lengths[] = { 1, 7, 1023, 1024, 1025, 2048, 4095 };
	char target[4100], buf[4100], name[8];
	struct inode *i;

	for (size_t k = 0; k < sizeof(target); k++)
		target[k] = (char)('a' + k % 26);
	for (unsigned k = 0; k < 7; k++) {
		char save = target[lengths[k]];

		target[lengths[k]] = '\0';
		snprintf(name, sizeof(name), "l%u", k);
		ck_assert_ok(fs_symlink(fs, root, name, target, &cred_user, &i));
		ck_assert_int_eq(stat_of(i).st_size, lengths[k]);
		ck_assert_uint_eq(stat_of(i).st_mode, S_IFLNK | 0777);
		inode_put(i);
		target[lengths[k]] = save;
	}
	remount();
	for (unsigned k = 0; k < 7; k++) {
		snprintf(name, sizeof(name), "l%u", k);
		i = lookup(root, name);
		ck_assert_int_eq(fs_readlink(fs, i, buf, sizeof(buf)), lengths[k]);
		ck_assert_mem_eq(buf, target, lengths[k]);
		buf[3] = '!';
		ck_assert_int_eq(fs_readlink(fs, i, buf, 3), lengths[k] < 3 ? lengths[k] : 3);
		ck_assert_int_eq(buf[3], '!');
		inode_put(i);
		ck_assert_ok(fs_unlink(fs, root, name));
	}
	ck_assert_uint_eq(inodes_in_use(), 1);

	target[4096] = '\0';
	ck_assert_err(fs_symlink(fs, root, "l", target, &cred_root, &made), ENAMETOOLONG);
	ck_assert_err(fs_symlink(fs, root, "l", "", &cred_root, &made), ENOENT);
	touch_file(root, "f");
	ck_assert_err(fs_symlink(fs, root, "f", "t", &cred_root, &made), EEXIST);
	i = lookup(root, "f");
	ck_assert_err(fs_readlink(fs, i, buf, sizeof(buf)), EINVAL);
	inode_put(i);
}
END_TEST

START_TEST(tmpfiles)
{
	struct inode *t;
	uint64_t ino;

	ck_assert_ok(fs_tmpfile(fs, root, 0666, &cred_user, &t));
	ck_assert_uint_eq(stat_of(t).st_nlink, 0);
	ck_assert_uint_eq(stat_of(t).st_mode, S_IFREG | 0644);
	ck_assert_uint_eq(stat_of(root).st_size, 0);
	inode_put(t);
	ck_assert_uint_eq(inodes_in_use(), 1);

	/* A link makes it a file like any other; without one it is gone for good. */
	ck_assert_ok(fs_tmpfile(fs, root, 0600, &cred_root, &t));
	ino = t->ino;
	ck_assert_ok(fs_link(fs, t, root, "t"));
	ck_assert_uint_eq(stat_of(t).st_nlink, 1);
	inode_put(t);
	ck_assert_ok(fs_sync(fs));
	crash();
	t = lookup(root, "t");
	ck_assert_uint_eq(t->ino, ino);
	ck_assert_ok(fs_unlink(fs, root, "t"));
	ck_assert_err(fs_link(fs, t, root, "t"), ENOENT);
	inode_put(t);

	ck_assert_ok(fs_tmpfile(fs, root, 0600, &cred_root, &t));
	touch_file(root, "taken");
	ck_assert_err(fs_link(fs, t, root, "taken"), EEXIST);
	ck_assert_ok(fs_link(fs, t, root, "t")); /* the failure has not used it up */
	inode_put(t);
}
END_TEST

/* ---- rename ---- */

enum kind { NONE, FILE_, DIR_, FULL };
static const char *const kind_name[] = { "none", "file", "dir", "full dir" };

static struct inode *
make_kind(struct inode *dir, const char *name, enum kind k)
{
	struct inode *i;

	switch (k) {
	case FILE_:
		return make_file(dir, name);
	case DIR_:
		return make_dir(dir, name);
	case FULL:
		i = make_dir(dir, name);
		touch_file(i, "inside");
		return i;
	default:
		return NULL;
	}
}

static void
remove_kind(struct inode *dir, const char *name)
{
	struct inode *i;

	if (!exists(dir, name))
		return;
	i = lookup(dir, name);
	if (inode_is_dir(i) && exists(i, "inside"))
		ck_assert_ok(fs_unlink(fs, i, "inside"));
	put_name(dir, name, inode_is_dir(i));
	inode_put(i);
}

static int
plain_result(enum kind from, enum kind to)
{
	if (from == NONE)
		return -ENOENT;
	if (to == NONE)
		return 0;
	if (from == FILE_)
		return to == FILE_ ? 0 : -EISDIR;
	if (to == FILE_)
		return -ENOTDIR;
	return to == FULL ? -ENOTEMPTY : 0;
}

/* Every kind over every kind, within a directory and across, for each flag. */
START_TEST(rename_matrix)
{
	static const unsigned flag[] = { 0, RENAME_NOREPLACE, RENAME_EXCHANGE };
	struct inode *a = make_dir(root, "a"), *b = make_dir(root, "b");

	for (unsigned n = 0; n < 3 * 4 * 4 * 2; n++) {
		unsigned flags = flag[n % 3];
		enum kind from = n / 3 % 4, to = n / 12 % 4;
		struct inode *newdir = n / 48 ? b : a;
		struct inode *src = make_kind(a, "src", from), *dst = make_kind(newdir, "dst", to);
		uint64_t before = inodes_in_use();
		int want = plain_result(from, to), got;

		if (flags == RENAME_NOREPLACE && from != NONE && to != NONE)
			want = -EEXIST;
		if (flags == RENAME_EXCHANGE)
			want = from != NONE && to != NONE ? 0 : -ENOENT;
		set_old_times(a);
		set_old_times(newdir);
		if (src)
			set_old_times(src);
		if (dst)
			set_old_times(dst);
		got = fs_rename(fs, a, "src", newdir, "dst", flags);
		ck_assert_msg(got == want, "%s over %s, flags %u, %s: %d, not %d", kind_name[from], kind_name[to],
		    flags, newdir == a ? "same" : "across", got, want);
		if (want < 0) {
			ck_assert_uint_eq(touched(a) | touched(newdir), 0);
			ck_assert_uint_eq((src ? touched(src) : 0) | (dst ? touched(dst) : 0), 0);
			ck_assert(exists(a, "src") == (from != NONE));
			ck_assert(exists(newdir, "dst") == (to != NONE));
		} else {
			struct inode *now = lookup(newdir, "dst");

			ck_assert_ptr_eq(now, src);
			inode_put(now);
			ck_assert_uint_eq(touched(a), TOUCH_MTIME | TOUCH_CTIME);
			ck_assert_uint_eq(touched(newdir), TOUCH_MTIME | TOUCH_CTIME);
			ck_assert_uint_eq(touched(src), TOUCH_CTIME);
			ck_assert(exists(a, "src") == (flags == RENAME_EXCHANGE));
			if (flags == RENAME_EXCHANGE) {
				now = lookup(a, "src");
				ck_assert_ptr_eq(now, dst);
				inode_put(now);
			}
			if (dst) {
				ck_assert_uint_eq(touched(dst), TOUCH_CTIME);
				ck_assert(flags == RENAME_EXCHANGE || stat_of(dst).st_nlink == 0);
			}
		}
		check_tree_counts();
		inode_put(src);
		inode_put(dst);
		ck_assert_uint_eq(inodes_in_use(), before - (want == 0 && to != NONE && flags == 0));
		remove_kind(a, "src");
		remove_kind(newdir, "dst");
		ck_assert_uint_eq(inodes_in_use(), 3);
	}
	inode_put(a);
	inode_put(b);
}
END_TEST

START_TEST(rename_errors)
{
	struct inode *d = make_dir(root, "d"), *e = make_dir(d, "e"), *f = make_file(root, "f");
	struct inode *gone = make_dir(root, "gone");
	char name[FS_NAME_MAX + 2];

	memset(name, 'n', sizeof(name));
	name[FS_NAME_MAX + 1] = '\0';
	ck_assert_ok(fs_rmdir(fs, root, "gone"));
	ck_assert_err(fs_rename(fs, root, "f", root, "g", RENAME_EXCHANGE | RENAME_NOREPLACE), EINVAL);
	ck_assert_err(fs_rename(fs, root, "f", root, "g", 64), EINVAL);
	ck_assert_err(fs_rename(fs, root, "f", root, "g", RENAME_WHITEOUT), EINVAL);
	ck_assert_err(fs_rename(fs, root, "none", root, "g", 0), ENOENT);
	ck_assert_err(fs_rename(fs, root, "f", root, name, 0), ENAMETOOLONG);
	ck_assert_err(fs_rename(fs, root, "", root, "g", 0), ENOENT);
	ck_assert_err(fs_rename(fs, root, ".", root, "g", 0), EBUSY);
	ck_assert_err(fs_rename(fs, root, "f", root, "..", 0), EBUSY);
	ck_assert_err(fs_rename(fs, f, "x", root, "g", 0), ENOTDIR);
	ck_assert_err(fs_rename(fs, root, "f", f, "x", 0), ENOTDIR);
	ck_assert_err(fs_rename(fs, root, "f", gone, "f", 0), ENOENT);
	ck_assert_err(fs_rename(fs, root, "d", gone, "d", 0), ENOENT);

	/* Below itself, directly and deeper; over what it is in. */
	ck_assert_err(fs_rename(fs, root, "d", d, "x", 0), EINVAL);
	ck_assert_err(fs_rename(fs, root, "d", e, "x", 0), EINVAL);
	ck_assert_err(fs_rename(fs, root, "d", d, "e", 0), EINVAL);
	ck_assert_err(fs_rename(fs, d, "e", root, "d", 0), ENOTEMPTY);
	ck_assert_err(fs_rename(fs, root, "d", d, "e", RENAME_EXCHANGE), EINVAL);
	ck_assert_err(fs_rename(fs, d, "e", root, "d", RENAME_EXCHANGE), EINVAL);

	set_flags(f, INODE_FL_IMMUTABLE);
	ck_assert_err(fs_rename(fs, root, "f", root, "g", 0), EPERM);
	ck_assert_err(fs_rename(fs, root, "f", d, "g", 0), EPERM);
	touch_file(root, "h");
	ck_assert_err(fs_rename(fs, root, "h", root, "f", 0), EPERM);
	ck_assert_err(fs_rename(fs, root, "h", root, "f", RENAME_EXCHANGE), EPERM);
	set_flags(f, 0);
	set_flags(d, INODE_FL_IMMUTABLE);
	ck_assert_err(fs_rename(fs, root, "f", d, "f", 0), EPERM);
	ck_assert_err(fs_rename(fs, d, "e", root, "e", 0), EPERM);
	set_flags(d, INODE_FL_APPEND);
	ck_assert_err(fs_rename(fs, d, "e", root, "e", 0), EPERM);
	ck_assert_ok(fs_rename(fs, root, "f", d, "f", 0));
	ck_assert_err(fs_rename(fs, root, "h", d, "f", 0), EPERM);
	set_flags(d, 0);
	ck_assert(exists(d, "f") && exists(d, "e") && exists(root, "h"));
	inode_put(d);
	inode_put(e);
	inode_put(f);
	inode_put(gone);
}
END_TEST

START_TEST(rename_same_inode)
{
	struct inode *f = make_file(root, "f");

	ck_assert_ok(fs_link(fs, f, root, "g"));
	set_old_times(f);
	ck_assert_ok(fs_rename(fs, root, "f", root, "g", 0));
	ck_assert(exists(root, "f") && exists(root, "g"));
	ck_assert_ok(fs_rename(fs, root, "f", root, "f", 0));
	ck_assert_ok(fs_rename(fs, root, "f", root, "g", RENAME_EXCHANGE));
	ck_assert_err(fs_rename(fs, root, "f", root, "f", RENAME_NOREPLACE), EEXIST);
	ck_assert_uint_eq(touched(f), 0);
	ck_assert_uint_eq(stat_of(f).st_nlink, 2);
	inode_put(f);
}
END_TEST

START_TEST(rename_moves_parent)
{
	struct inode *a = make_dir(root, "a"), *b = make_dir(root, "b"), *s = make_dir(a, "s"), *up;

	ck_assert_ok(fs_rename(fs, a, "s", b, "s", 0));
	up = lookup(s, "..");
	ck_assert_ptr_eq(up, b);
	inode_put(up);
	ck_assert_ok(fs_rename(fs, b, "s", b, "t", 0));
	touch_file(a, "f");
	ck_assert_ok(fs_rename(fs, b, "t", a, "f", RENAME_EXCHANGE));
	up = lookup(s, "..");
	ck_assert_ptr_eq(up, a);
	inode_put(up);
	ck_assert_uint_eq(stat_of(a).st_nlink, 3);
	ck_assert_uint_eq(stat_of(b).st_nlink, 2);
	inode_put(a);
	inode_put(b);
	inode_put(s);
}
END_TEST

/* The way in which programs replace a file, with the machine going down right after
 * the next commit: the new content is there, though nobody called fsync. */
START_TEST(replacing_is_never_empty)
{
	struct inode *i;
	struct file *f;
	char buf[16];

	touch_file(root, "conf");
	i = make_file(root, "conf.new");
	ck_assert_ok(fs_open(fs, i, O_RDWR, &cred_root, &f));
	ck_assert_int_eq(fs_write(f, "new content", 11, 0, false), 11);
	ck_assert_ok(fs_rename(fs, root, "conf.new", root, "conf", 0));
	fs_release(f);
	inode_put(i);
	ck_assert_ok(txn_commit_wait(fs->pool, txn_open_number(fs->pool)));
	crash();
	i = lookup(root, "conf");
	ck_assert_int_eq(stat_of(i).st_size, 11);
	ck_assert_ok(fs_open(fs, i, O_RDONLY, &cred_root, &f));
	ck_assert_int_eq(fs_read(f, buf, sizeof(buf), 0), 11);
	ck_assert_mem_eq(buf, "new content", 11);
	fs_release(f);
	inode_put(i);
	ck_assert_uint_eq(inodes_in_use(), 2);
}
END_TEST

START_TEST(replaced_while_open)
{
	struct inode *old = make_file(root, "f"), *again;
	uint64_t ino = old->ino;

	touch_file(root, "g");
	ck_assert_ok(fs_rename(fs, root, "g", root, "f", 0));
	ck_assert_uint_eq(inodes_in_use(), 3);
	ck_assert_ok(inode_get(fs, ino, &again));
	inode_put(again);
	ck_assert_ok(fs_sync(fs));
	crash();
	ck_assert_uint_eq(inodes_in_use(), 2);
	ck_assert_err(inode_get(fs, ino, &again), ENOENT);
}
END_TEST

/* An operation that fails half way has changed nothing. */
START_TEST(undo)
{
	struct inode *d = make_dir(root, "d"), *f = make_file(root, "f");
	struct attr_delta delta = { .nlink = 1, .nentries = 3, .parent = 77, .touch = TOUCH_MTIME | TOUCH_CTIME };
	struct inode_attr attr = { .mode = S_IFREG | 0600, .nlink = 1 };
	struct stat st[2] = { stat_of(d), stat_of(f) }, now;
	uint64_t before = inodes_in_use();
	struct inode_item item[2];
	struct dir_pos at, free;
	struct op op;

	ck_assert_ok(fs_sync(fs));
	tree_get(fs->pool, tree_key(d->ino, ITEM_INODE, 0), &item[0], sizeof(item[0]));
	ck_assert_ok(dir_find(root, "f", 1, &at));
	ck_assert_ok(dir_find(root, "new", 3, &free));
	ck_assert_ok(op_begin(&op, fs, 10, 0, 0));
	ck_assert_ok(op_new_inode(&op, &attr, 0, &made));
	ck_assert_ok(op_dirent_insert(&op, &free, "new", 3, made->ino, DT_REG));
	ck_assert_ok(op_dirent_replace(&op, &at, "f", 1, made->ino, DT_REG));
	ck_assert_ok(op_dirent_remove(&op, &at, "f", 1));
	ck_assert_ok(op_attr(&op, d, &delta, NULL));
	ck_assert_ok(op_orphan_add(&op, f->ino));
	ck_assert_ok(op_orphan_remove(&op, f->ino));
	op_undo(&op);
	op_end(&op);

	ck_assert(!exists(root, "new"));
	ck_assert_uint_eq(inodes_in_use(), before);
	now = stat_of(d);
	ck_assert_mem_eq(&now, &st[0], sizeof(now));
	now = stat_of(f);
	ck_assert_mem_eq(&now, &st[1], sizeof(now));
	ck_assert_uint_eq(d->attr.parent, INO_ROOT);
	tree_get(fs->pool, tree_key(d->ino, ITEM_INODE, 0), &item[1], sizeof(item[1]));
	ck_assert_mem_eq(&item[0], &item[1], sizeof(item[0]));
	/* The entry that was replaced, then removed, is the first one again. */
	made = lookup(root, "f");
	ck_assert_ptr_eq(made, f);
	inode_put(made);
	inode_put(d);
	inode_put(f);
}
END_TEST

/* A full pool: what fails leaves nothing behind, and deleting works. */
START_TEST(full_pool)
{
	unsigned n = 0;
	struct inode *i;
	char name[300];
	int err;

	teardown();
	pool_at = unit_mkpool(2);
	setup_mount();
	memset(name, 'f', sizeof(name));
	do {
		snprintf(name + 200, sizeof(name) - 200, "%u", n);
		err = fs_create(fs, root, name, 0644, 0, &cred_root, &i);
		if (!err)
			inode_put(i);
		n += !err;
	} while (!err);
	ck_assert_int_eq(err, -ENOSPC);
	ck_assert_uint_gt(n, 100);
	ck_assert_uint_eq(inodes_in_use(), n + 1);
	check_tree_counts();
	for (unsigned k = 0; k < n; k++) {
		snprintf(name + 200, sizeof(name) - 200, "%u", k);
		ck_assert_ok(fs_unlink(fs, root, name));
	}
	ck_assert_ok(fs_sync(fs));
	touch_file(root, "again");
	ck_assert_uint_eq(inodes_in_use(), 2);
}
END_TEST

/* Directories moved to and fro by several threads stay a tree. */
static void *
mover(void *arg)
{
	static const char *const names[] = { "a", "b", "c", "d" };
	uint64_t seed = (uint64_t)(uintptr_t)arg;

	for (unsigned k = 0; k < 1500; k++) {
		struct inode *dir[2];

		for (unsigned s = 0; s < 2; s++) {
			unsigned depth = unit_random(&seed) % 4;

			dir[s] = inode_hold(root);
			while (depth--) {
				struct inode *below;

				if (fs_lookup(fs, dir[s], names[unit_random(&seed) % 4], &below))
					break;
				inode_put(dir[s]);
				dir[s] = below;
			}
		}
		fs_rename(fs, dir[0], names[unit_random(&seed) % 4], dir[1], names[unit_random(&seed) % 4],
		    unit_random(&seed) & 1 ? RENAME_EXCHANGE : 0);
		if (unit_random(&seed) % 4 == 0) {
			struct inode *d;

			if (fs_mkdir(fs, dir[0], names[unit_random(&seed) % 4], 0755, &cred_root, &d) == 0)
				inode_put(d);
		}
		if (unit_random(&seed) % 8 == 0)
			fs_rmdir(fs, dir[1], names[unit_random(&seed) % 4]);
		inode_put(dir[0]);
		inode_put(dir[1]);
	}
	return NULL;
}

static int
count_all(void *arg, const char *name, size_t namelen, uint64_t ino, unsigned char type, off_t cookie,
    struct inode *child)
{
	(void)namelen;
	(void)ino;
	(void)type;
	(void)cookie;
	if (name[0] != '.') {
		++*(uint64_t *)arg;
		ck_assert_ptr_nonnull(child);
		ck_assert_ok(fs_readdir(fs, child, 0, true, count_all, arg));
	}
	inode_put(child);
	return 0;
}

START_TEST(concurrent_moves)
{
	uint64_t n = 1;
	pthread_t th[3];

	for (uintptr_t k = 0; k < 3; k++)
		ck_assert_int_eq(pthread_create(&th[k], NULL, mover, (void *)(k + 21)), 0);
	for (unsigned k = 0; k < 3; k++)
		pthread_join(th[k], NULL);
	check_tree_counts();
	/* All of them can be reached from the root: there is no loop apart from it. */
	ck_assert_ok(fs_readdir(fs, root, 0, true, count_all, &n));
	ck_assert_uint_eq(inodes_in_use(), n);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("namei");
	TCase *tc = tcase_create("namei");

	tcase_add_checked_fixture(tc, setup, checked_teardown);
	tcase_add_test(tc, lookup_errors);
	tcase_add_test(tc, create_kinds);
	tcase_add_test(tc, create_errors);
	tcase_add_test(tc, create_times_and_inheritance);
	tcase_add_test(tc, link_count_of_directories);
	tcase_add_test(tc, links);
	tcase_add_test(tc, unlinking);
	tcase_add_test(tc, removing_directories);
	tcase_add_test(tc, symlinks);
	tcase_add_test(tc, tmpfiles);
	tcase_add_test(tc, rename_matrix);
	tcase_add_test(tc, rename_errors);
	tcase_add_test(tc, rename_same_inode);
	tcase_add_test(tc, rename_moves_parent);
	tcase_add_test(tc, replacing_is_never_empty);
	tcase_add_test(tc, replaced_while_open);
	tcase_add_test(tc, undo);
	tcase_add_test(tc, full_pool);
	tcase_add_test(tc, concurrent_moves);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
