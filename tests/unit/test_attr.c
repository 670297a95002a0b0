/* SPDX-License-Identifier: BSD-3-Clause */
/* setattr, flags, and who sets which time. */
#include <fcntl.h>
#include "tests/unit/unit_names.h"

static int
set(struct inode *i, unsigned which, struct stat st)
{
	return fs_setattr(fs, i, which, &st, &cred_root);
}

static mode_t
mode_of(struct inode *i)
{
	return stat_of(i).st_mode & 07777;
}

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

START_TEST(mode_and_owner)
{
	struct inode *f = make_file(root, "f");
	struct stat st = { .st_mode = 0640 };

	set_old_times(f);
	ck_assert_ok(fs_setattr(fs, f, FS_SET_MODE, &st, &cred_root));
	ck_assert_uint_eq(st.st_mode, S_IFREG | 0640); /* the result comes back */
	ck_assert_uint_eq(st.st_ino, f->ino);
	ck_assert_uint_eq(touched(f), TOUCH_CTIME);
	/* The type can't be changed. */
	ck_assert_ok(set(f, FS_SET_MODE, (struct stat){ .st_mode = S_IFDIR | 0600 }));
	ck_assert_uint_eq(stat_of(f).st_mode, S_IFREG | 0600);
	ck_assert_ok(set(f, FS_SET_UID, (struct stat){ .st_uid = 7, .st_gid = 8 }));
	ck_assert_uint_eq(stat_of(f).st_uid, 7);
	ck_assert_uint_eq(stat_of(f).st_gid, 0);
	ck_assert_ok(set(f, FS_SET_GID, (struct stat){ .st_uid = 9, .st_gid = 8 }));
	ck_assert_uint_eq(stat_of(f).st_uid, 7);
	ck_assert_uint_eq(stat_of(f).st_gid, 8);
	ck_assert_ok(set(f, 0, (struct stat){ .st_uid = 99 }));
	ck_assert_uint_eq(stat_of(f).st_uid, 7);
	inode_put(f);
}
END_TEST

START_TEST(suidgid)
{
	struct inode *f = make_file(root, "f"), *d = make_dir(root, "d");

	/* chown takes setuid, and setgid where the group may execute. */
	ck_assert_ok(set(f, FS_SET_MODE, (struct stat){ .st_mode = 06755 }));
	ck_assert_ok(set(f, FS_SET_UID, (struct stat){ .st_uid = 5 }));
	ck_assert_uint_eq(mode_of(f), 0755);
	ck_assert_ok(set(f, FS_SET_MODE, (struct stat){ .st_mode = 06745 }));
	ck_assert_ok(set(f, FS_SET_GID, (struct stat){ .st_gid = 5 }));
	ck_assert_uint_eq(mode_of(f), 02745);
	/* A mode in the same request has the last word. */
	ck_assert_ok(set(f, FS_SET_MODE | FS_SET_UID, (struct stat){ .st_mode = 06711, .st_uid = 6 }));
	ck_assert_uint_eq(mode_of(f), 06711);
	/* Not on directories. */
	ck_assert_ok(set(d, FS_SET_MODE, (struct stat){ .st_mode = 06777 }));
	ck_assert_ok(set(d, FS_SET_UID | FS_SET_GID, (struct stat){ .st_uid = 5 }));
	ck_assert_uint_eq(mode_of(d), 06777);

	ck_assert_ok(set(f, FS_SET_KILL_SUIDGID, (struct stat){ 0 }));
	ck_assert_uint_eq(mode_of(f), 0711);
	/* truncate: only if asked to. */
	ck_assert_ok(set(f, FS_SET_MODE, (struct stat){ .st_mode = 06711 }));
	ck_assert_ok(set(f, FS_SET_SIZE, (struct stat){ .st_size = 10 }));
	ck_assert_uint_eq(mode_of(f), 06711);
	ck_assert_ok(set(f, FS_SET_SIZE | FS_SET_KILL_SUIDGID, (struct stat){ .st_size = 20 }));
	ck_assert_uint_eq(mode_of(f), 0711);
	/* Lazily stored, but fsync makes it durable. */
	ck_assert_ok(fs_sync(fs));
	inode_put(f);
	inode_put(d);
	crash();
	f = lookup(root, "f");
	ck_assert_uint_eq(mode_of(f), 0711);
	ck_assert_int_eq(stat_of(f).st_size, 20);
	inode_put(f);
}
END_TEST

START_TEST(times)
{
	struct inode *f = make_file(root, "f");
	struct stat st = { .st_atim = { 11, 22 }, .st_mtim = { 33, 44 }, .st_ctim = { 55, 66 } };

	set_old_times(f);
	ck_assert_ok(set(f, FS_SET_ATIME, st));
	ck_assert_int_eq(stat_of(f).st_atim.tv_sec, 11);
	ck_assert_uint_eq(touched(f), TOUCH_ATIME | TOUCH_CTIME);
	set_old_times(f);
	ck_assert_ok(set(f, FS_SET_MTIME, st));
	ck_assert_int_eq(stat_of(f).st_mtim.tv_nsec, 44);
	ck_assert_uint_eq(touched(f), TOUCH_MTIME | TOUCH_CTIME);
	set_old_times(f);
	ck_assert_ok(set(f, FS_SET_ATIME_NOW | FS_SET_MTIME_NOW, st));
	ck_assert_int_gt(stat_of(f).st_atim.tv_sec, 1000);
	ck_assert_int_gt(stat_of(f).st_mtim.tv_sec, 1000);
	ck_assert_ok(set(f, FS_SET_CTIME, st));
	ck_assert_int_eq(stat_of(f).st_ctim.tv_sec, 55);
	st.st_atim.tv_nsec = 1000000000;
	ck_assert_err(set(f, FS_SET_ATIME, st), EINVAL);
	st.st_mtim.tv_nsec = -1;
	ck_assert_err(set(f, FS_SET_MTIME, st), EINVAL);
	inode_put(f);
}
END_TEST

START_TEST(size)
{
	struct inode *f = make_file(root, "f"), *d = make_dir(root, "d"), *p;
	struct stat st;

	ck_assert_ok(fs_create(fs, root, "p", S_IFIFO | 0600, 0, &cred_root, &p));
	set_old_times(f);
	ck_assert_ok(set(f, FS_SET_SIZE, (struct stat){ .st_size = 12345 }));
	ck_assert_int_eq(stat_of(f).st_size, 12345);
	ck_assert_uint_eq(touched(f), TOUCH_MTIME | TOUCH_CTIME);
	/* With a time of its own, that one stays. */
	ck_assert_ok(set(f, FS_SET_SIZE | FS_SET_MTIME, (struct stat){ .st_size = 1, .st_mtim = { 77, 0 } }));
	st = stat_of(f);
	ck_assert_int_eq(st.st_size, 1);
	ck_assert_int_eq(st.st_mtim.tv_sec, 77);
	ck_assert_err(set(d, FS_SET_SIZE, (struct stat){ .st_size = 0 }), EISDIR);
	ck_assert_err(set(p, FS_SET_SIZE, (struct stat){ .st_size = 0 }), EINVAL);
	ck_assert_err(set(f, FS_SET_SIZE, (struct stat){ .st_size = -1 }), EINVAL);
	inode_put(f);
	inode_put(d);
	inode_put(p);
}
END_TEST

START_TEST(flags_forbid)
{
	struct inode *f = make_file(root, "f");
	struct stat st = { .st_mode = 0600, .st_atim = { 1, 1 } };

	set_flags(f, INODE_FL_IMMUTABLE);
	for (unsigned which = FS_SET_MODE; which <= FS_SET_MTIME_NOW; which <<= 1)
		ck_assert_err(set(f, which, st), EPERM);
	set_flags(f, INODE_FL_APPEND);
	ck_assert_err(set(f, FS_SET_MODE, st), EPERM);
	ck_assert_err(set(f, FS_SET_UID, st), EPERM);
	ck_assert_err(set(f, FS_SET_SIZE, st), EPERM);
	ck_assert_err(set(f, FS_SET_ATIME, st), EPERM);
	ck_assert_ok(set(f, FS_SET_ATIME_NOW | FS_SET_MTIME_NOW, st));
	set_flags(f, 0);
	ck_assert_ok(set(f, FS_SET_MODE, st));
	inode_put(f);
}
END_TEST

START_TEST(flags)
{
	struct inode *f = make_file(root, "f"), *p;
	uint32_t fl, projid;
	struct fs_cred other = cred_user;

	other.uid++;
	ck_assert_ok(set(f, FS_SET_UID, (struct stat){ .st_uid = cred_user.uid }));
	set_old_times(f);
	ck_assert_ok(fs_setflags(fs, f, INODE_FL_NODUMP | INODE_FL_SYNC, 5, &cred_user));
	ck_assert_uint_eq(touched(f), TOUCH_CTIME);
	ck_assert_ok(fs_getflags(fs, f, &fl, &projid));
	ck_assert_uint_eq(fl, INODE_FL_NODUMP | INODE_FL_SYNC);
	ck_assert_uint_eq(projid, 5);
	ck_assert_err(fs_setflags(fs, f, 0, 5, &other), EPERM);
	ck_assert_err(fs_setflags(fs, f, INODE_FL_IMMUTABLE, 5, &cred_user), EPERM);
	ck_assert_err(fs_setflags(fs, f, INODE_FL_APPEND, 5, &cred_user), EPERM);
	ck_assert_err(fs_setflags(fs, f, 1u << 30, 5, &cred_root), EOPNOTSUPP);
	set_flags(f, INODE_FL_IMMUTABLE);
	/* What is immutable can't be made mutable by its owner. */
	ck_assert_err(fs_setflags(fs, f, 0, 5, &cred_user), EPERM);
	set_flags(f, 0);

	ck_assert_ok(fs_setflags(fs, f, INODE_FL_DAX, 0, &cred_root));
	ck_assert(inode_is_dax(f));
	set_flags(f, 0);
	ck_assert_ok(fs_create(fs, root, "p", S_IFIFO | 0600, 0, &cred_root, &p));
	ck_assert_err(fs_setflags(fs, p, INODE_FL_DAX, 0, &cred_root), EINVAL);
	inode_put(p);
	inode_put(f);
}
END_TEST

START_TEST(atime)
{
	struct inode *f = make_file(root, "f");

	set_old_times(f);
	inode_accessed(f); /* relatime: atime is not newer than mtime */
	ck_assert_uint_eq(touched(f), TOUCH_ATIME);
	ck_assert_ok(set(f, FS_SET_ATIME, (struct stat){ .st_atim = { 2000, 0 } }));
	mtx_lock(&f->attr_lock);
	f->attr.ctime.tv_sec = f->attr.mtime.tv_sec = 1000;
	mtx_unlock(&f->attr_lock);
	inode_accessed(f); /* it is, but it is older than a day */
	ck_assert_int_gt(stat_of(f).st_atim.tv_sec, 2000);
	mtx_lock(&f->attr_lock);
	f->attr.atime.tv_sec -= 3600;
	f->attr.ctime.tv_sec = f->attr.mtime.tv_sec = 1000;
	mtx_unlock(&f->attr_lock);
	struct stat before = stat_of(f);
	inode_accessed(f);
	ck_assert_int_eq(stat_of(f).st_atim.tv_sec, before.st_atim.tv_sec);
	fs->opt.atime = FS_ATIME_STRICT;
	inode_accessed(f);
	ck_assert_int_gt(stat_of(f).st_atim.tv_sec, before.st_atim.tv_sec);
	set_old_times(f);
	fs->opt.atime = FS_ATIME_NOATIME;
	inode_accessed(f);
	ck_assert_uint_eq(touched(f), 0);
	fs->opt.atime = FS_ATIME_STRICT;
	set_flags(f, INODE_FL_NOATIME);
	set_old_times(f);
	inode_accessed(f);
	ck_assert_uint_eq(touched(f), 0);
	inode_put(f);
}
END_TEST

START_TEST(change_counter_moves)
{
	struct inode *f = make_file(root, "f");
	uint64_t was = f->change;

	ck_assert_ok(set(f, FS_SET_MODE, (struct stat){ .st_mode = 0600 }));
	ck_assert_uint_gt(f->change, was);
	was = f->change;
	inode_touch(f, TOUCH_MTIME);
	ck_assert_uint_gt(f->change, was);
	was = f->change;
	ck_assert_ok(fs_link(fs, f, root, "g"));
	ck_assert_uint_gt(f->change, was);
	was = f->change;
	ck_assert_ok(fs_setxattr(fs, f, "user.a", "1", 1, 0, &cred_root));
	ck_assert_uint_gt(f->change, was);
	inode_put(f);
}
END_TEST

START_TEST(statfs)
{
	struct statvfs before, after;

	ck_assert_ok(fs_statfs(fs, &before));
	ck_assert_uint_eq(before.f_bsize, 4096);
	ck_assert_uint_eq(before.f_frsize, 4096);
	ck_assert_uint_eq(before.f_namemax, 255);
	ck_assert_uint_eq(before.f_blocks, (16 << 20 >> 12) - 2);
	ck_assert_uint_le(before.f_bavail, before.f_bfree);
	ck_assert_uint_le(before.f_bfree, before.f_blocks);
	ck_assert_uint_eq(before.f_files - before.f_ffree, 1);
	touch_file(root, "f");
	ck_assert_ok(fs_statfs(fs, &after));
	ck_assert_uint_eq(after.f_files - after.f_ffree, 2);
	ck_assert_uint_eq(after.f_fsid, before.f_fsid);
}
END_TEST

/* What a deletion gives back counts at once, though it is free only with the next commit. */
START_TEST(statfs_after_unlink)
{
	static const char data[1 << 20];
	struct statvfs before, after;
	struct inode *i;
	struct file *f;

	i = make_file(root, "f");
	ck_assert_ok(fs_sync(fs));
	ck_assert_ok(fs_statfs(fs, &before));
	ck_assert_ok(fs_open(fs, i, O_RDWR, &cred_root, &f));
	ck_assert_int_eq(fs_write(f, data, sizeof(data), 0, false), sizeof(data));
	ck_assert_ok(fs_fsync_wait(fs, f->inode, false));
	fs_release(f);
	inode_put(i);
	ck_assert_ok(fs_statfs(fs, &after));
	ck_assert_uint_le(after.f_bfree, before.f_bfree - (sizeof(data) >> 12));
	ck_assert_ok(fs_unlink(fs, root, "f"));
	ck_assert_ok(fs_statfs(fs, &after));
	/* but for a few nodes of the tree that the deletion itself has changed */
	ck_assert_uint_ge(after.f_bfree + 8, before.f_bfree);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("attr");
	TCase *tc = tcase_create("attr");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, mode_and_owner);
	tcase_add_test(tc, suidgid);
	tcase_add_test(tc, times);
	tcase_add_test(tc, size);
	tcase_add_test(tc, flags_forbid);
	tcase_add_test(tc, flags);
	tcase_add_test(tc, atime);
	tcase_add_test(tc, change_counter_moves);
	tcase_add_test(tc, statfs);
	tcase_add_test(tc, statfs_after_unlink);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
