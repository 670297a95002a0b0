/* SPDX-License-Identifier: BSD-3-Clause */
/* Attributes: modes, owners, setuid and setgid, sticky directories, timestamps, xattrs, inode flags,
 * statfs.
 */
#include "tests/mount/posix.h"

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>
#include <sys/xattr.h>

enum { ME = 65534, OTHER = 54321, GRP = 65534, OTHERGRP = 54322 };

static void
modes(void)
{
	int fd;

	umask(027);
	fd = open("f", O_RDWR | O_CREAT, 0666);
	OK(close(fd));
	EQ(st_of("f").st_mode & 07777, 0640);
	OK(mkdir("d", 0777));
	EQ(st_of("d").st_mode & 07777, 0750);
	OK(mknod("n", S_IFREG | 0777, 0));
	EQ(st_of("n").st_mode & 07777, 0750);
	OK(chmod("f", 07777));
	EQ(st_of("f").st_mode & 07777, is_root() ? 07777 : st_of("f").st_mode & 07777);
	TRUE(S_ISREG(st_of("f").st_mode));
	OK(chmod("f", 0));
	EQ(st_of("f").st_mode & 07777, 0);
	ERR(chmod("none", 0644), ENOENT);
}

static void
permissions(void)
{
	if (!can_act())
		return;
	OK(make("secret", "x"));
	OK(chmod("secret", 0600));
	OK(mkdir("closed", 0700));
	OK(make("closed/f", "x"));
	OK(make("group", "x"));
	OK(chown("group", 0, GRP));
	OK(chmod("group", 0640));
	AS(ME, GRP) {
		ERR(open("secret", O_RDONLY), EACCES);
		ERR(open("closed/f", O_RDONLY), EACCES);
		ERR(access("closed/f", F_OK), EACCES);
		ERR(truncate("secret", 0), EACCES);
		OK(open("group", O_RDONLY));
		ERR(open("group", O_RDWR), EACCES);
		ERR(chmod("secret", 0666), EPERM);
		ERR(chown("secret", ME, GRP), EPERM);
		ERR(mknod("closed/g", S_IFREG | 0600, 0), EACCES);
		ERR(unlink("closed/f"), EACCES);
		OK(make("mine", "x"));
		EQ(st_of("mine").st_uid, ME);
		EQ(st_of("mine").st_gid, GRP);
		ERR(chown("mine", 0, (gid_t)-1), EPERM);
		ERR(chown("mine", (uid_t)-1, OTHERGRP), EPERM);
		OK(chown("mine", (uid_t)-1, GRP));
		OK(chmod("mine", 0400));
	}
	OK(chown("mine", OTHER, OTHERGRP));
	EQ(st_of("mine").st_uid, OTHER);
	EQ(st_of("mine").st_gid, OTHERGRP);
}

static void
sticky(void)
{
	if (!can_act())
		return;
	OK(mkdir("t", 0777));
	OK(chmod("t", 01777));
	OK(make("t/root", "x"));
	OK(mkdir("t/rootdir", 0777));
	AS(ME, GRP) {
		ERR(unlink("t/root"), EPERM);
		ERR(rmdir("t/rootdir"), EPERM);
		ERR(rename("t/root", "t/x"), EPERM);
		OK(make("t/mine", "x"));
		ERR(rename("t/mine", "t/root"), EPERM);
		OK(make("t/theirs", "x"));
		OK(rename("t/mine", "t/mine2"));
		OK(unlink("t/mine2"));
	}
	AS(OTHER, GRP) {
		ERR(unlink("t/theirs"), EPERM);
	}
	OK(unlink("t/theirs"));
}

static void
setgid_directory(void)
{
	if (!can_act())
		return;
	OK(mkdir("d", 0777));
	OK(chown("d", 0, OTHERGRP));
	OK(chmod("d", 02777));
	AS(ME, GRP) {
		OK(make("d/f", ""));
		EQ(st_of("d/f").st_gid, OTHERGRP);
		OK(mkdir("d/sub", 0755));
		EQ(st_of("d/sub").st_gid, OTHERGRP);
		TRUE(st_of("d/sub").st_mode & S_ISGID);
		OK(symlink("x", "d/s"));
		EQ(st_of("d/s").st_gid, OTHERGRP);
		/* no setgid program of a group one is no member of */
		OK(mknod("d/prog", S_IFREG | 02775, 0));
		EQ(st_of("d/prog").st_mode & S_ISGID, 0);
		OK(chmod("d/f", 02775));
		EQ(st_of("d/f").st_mode & S_ISGID, 0);
	}
	OK(mkdir("plain", 0777));
	OK(chmod("plain", 0777));
	AS(ME, GRP) {
		OK(mkdir("plain/sub", 0755));
		EQ(st_of("plain/sub").st_gid, GRP);
		EQ(st_of("plain/sub").st_mode & S_ISGID, 0);
	}
}

static void
suid_files(const char *how)
{
	OK(make(how, "text"));
	OK(chown(how, ME, GRP));
	OK(chmod(how, 06777));
	EQ(st_of(how).st_mode & 07777, 06777);
}

static void
suid_clearing(void)
{
	int fd;

	if (!can_act())
		return;
	suid_files("write");
	suid_files("truncate");
	suid_files("open_trunc");
	suid_files("direct");
	suid_files("fallocate");
	suid_files("keep");
	AS(OTHER, OTHERGRP) {
		fd = open("write", O_WRONLY);
		EQ(write(fd, "x", 1), 1);
		EQ(st_of("write").st_mode & 06000, 0);
		OK(truncate("truncate", 1));
		EQ(st_of("truncate").st_mode & 06000, 0);
		OK(open("open_trunc", O_WRONLY | O_TRUNC));
		EQ(st_of("open_trunc").st_mode & 06000, 0);
		fd = open("direct", O_WRONLY | O_DIRECT);
		if (fd >= 0) {
			void *p = aligned_alloc(4096, 4096);

			memset(p, 1, 4096);
			EQ(pwrite(fd, p, 4096, 0), 4096);
			EQ(st_of("direct").st_mode & 06000, 0);
			free(p);
		}
		fd = open("fallocate", O_WRONLY);
		OK(fallocate(fd, 0, 0, 10000));
		EQ(st_of("fallocate").st_mode & 06000, 0);
		fd = open("keep", O_RDWR);
		OK(fd);
	}
	EQ(st_of("keep").st_mode & 06000, 06000);
	fd = open("keep", O_WRONLY); /* root, with CAP_FSETID, may */
	EQ(write(fd, "x", 1), 1);
	OK(close(fd));
	EQ(st_of("keep").st_mode & 06000, 06000);
	OK(chown("keep", OTHER, OTHERGRP)); /* a new owner: gone, even for root */
	EQ(st_of("keep").st_mode & 06000, 0);
}

/* ---- timestamps ------------------------------------------------------------ */

static struct stat before;

/* Which times of path moved since `before` was taken? */
static unsigned
moved(const char *path)
{
	struct stat st = st_of(path);

	return (same_time(st.st_atim, before.st_atim) ? 0 : 4u) |
	       (same_time(st.st_mtim, before.st_mtim) ? 0 : 2u) |
	       (same_time(st.st_ctim, before.st_ctim) ? 0 : 1u);
}
enum { NONE = 0, C = 1, MC = 3, A = 4 };

static void
note_times(const char *path)
{
	before = st_of(path);
	tick();
}

static void
times_move(void)
{
	char buf[4096] = "";
	int fd;

	OK(mkdir("d", 0755));
	fd = open_new("d/f");
	OK(mkdir("e", 0755));

#define MOVES(path, action, want) do { note_times(path); action; EQ(moved(path), want); } while (0)
	MOVES("d/f", EQ(write(fd, "x", 1), 1), MC);
	MOVES("d/f", EQ(write(fd, buf, sizeof(buf)), sizeof(buf)), MC);
	MOVES("d/f", EQ(write(fd, "", 0), 0), NONE);
	MOVES("d/f", OK(ftruncate(fd, 10)), MC);
	MOVES("d/f", OK(fallocate(fd, 0, 0, 8192)), MC);
	MOVES("d/f", OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096)), MC);
	MOVES("d/f", OK(chmod("d/f", 0600)), C);
	MOVES("d/f", OK(chown("d/f", getuid(), getgid())), C);
	MOVES("d/f", OK(link("d/f", "d/g")), C);
	MOVES("d/f", OK(unlink("d/g")), C);
	MOVES("d/f", OK(rename("d/f", "e/f")); OK(rename("e/f", "d/f")), C);
	MOVES("d/f", OK(fsync(fd)), NONE);
	MOVES("d/f", OK(setxattr("d/f", "user.a", "1", 1, 0)), C);
	MOVES("d/f", OK(removexattr("d/f", "user.a")), C);
	MOVES("d/f", OK(close(open("d/f", O_RDWR))), NONE);
	MOVES("d/f", OK(close(open("d/f", O_RDWR | O_TRUNC))), MC);
	MOVES("d", OK(make("d/x", "")), MC);
	MOVES("d", OK(link("d/x", "d/y")), MC);
	MOVES("d", OK(unlink("d/y")), MC);
	MOVES("d", OK(mkdir("d/z", 0755)), MC);
	MOVES("d", OK(rmdir("d/z")), MC);
	MOVES("d", OK(symlink("x", "d/s")), MC);
	MOVES("d", OK(rename("d/x", "d/x2")), MC);
	MOVES("d", OK(rename("d/x2", "e/x2")), MC);
	MOVES("e", OK(rename("e/x2", "d/x")), MC);
	MOVES("d", EQ(write(fd, "x", 1), 1), NONE);
	MOVES("d", OK(chmod("d", 0700)), C);
#undef MOVES
	OK(close(fd));
}

static void
times_atime(void)
{
	const struct timespec old[2] = { { .tv_sec = 1000000000 }, { .tv_nsec = UTIME_OMIT } };
	int fd;

	OK(make("f", "text"));
	OK(utimensat(AT_FDCWD, "f", old, 0));
	EQ(st_of("f").st_atim.tv_sec, 1000000000);
	fd = open("f", O_RDONLY);
	before = st_of("f");
	EQ(read(fd, &(char[8]){ 0 }, 8), 4);
	/* relatime: the access time was before the modification: it moves */
	TRUE(st_of("f").st_atim.tv_sec > 1000000000);
	EQ(moved("f"), A);
	OK(close(fd));
	OK(utimensat(AT_FDCWD, "f", old, 0));
	fd = open("f", O_RDONLY | O_NOATIME);
	if (fd >= 0) {
		EQ(read(fd, &(char[8]){ 0 }, 8), 4);
		EQ(st_of("f").st_atim.tv_sec, 1000000000);
		OK(close(fd));
	}
}

static void
times_set(void)
{
	const struct {
		int64_t sec;
		long nsec;
	} table[] = {
		{ 0, 0 }, { 1, 1 }, { 1234567890, 123456789 }, { 1234567890, 999999999 }, { -1, 0 }, { -1000, 5 },
		{ 2147483647, 0 }, { 2147483648, 1 }, { 4294967296, 7 }, { 16725225600, 42 },
	};
	struct timespec t[2];
	struct stat st;

	OK(make("f", "text"));
	for (size_t k = 0; k < sizeof(table) / sizeof(table[0]); k++) {
		t[0] = t[1] = (struct timespec){ .tv_sec = table[k].sec, .tv_nsec = table[k].nsec };
		t[1].tv_sec++;
		OK(utimensat(AT_FDCWD, "f", t, 0));
		st = st_of("f");
		EQ(st.st_atim.tv_sec, table[k].sec);
		EQ(st.st_atim.tv_nsec, table[k].nsec);
		EQ(st.st_mtim.tv_sec, table[k].sec + 1);
		EQ(st.st_mtim.tv_nsec, table[k].nsec);
	}
	before = st_of("f");
	tick();
	t[0] = (struct timespec){ .tv_nsec = UTIME_OMIT };
	t[1] = (struct timespec){ .tv_nsec = UTIME_NOW };
	OK(utimensat(AT_FDCWD, "f", t, 0));
	EQ(moved("f"), MC);
	OK(symlink("f", "s"));
	t[0] = t[1] = (struct timespec){ .tv_sec = 77 };
	OK(utimensat(AT_FDCWD, "s", t, AT_SYMLINK_NOFOLLOW));
	EQ(st_of("s").st_mtim.tv_sec, 77);
	TRUE(st_of("f").st_mtim.tv_sec != 77);
	if (!can_act())
		return;
	OK(chmod("f", 0666));
	AS(ME, GRP) {
		ERR(utimensat(AT_FDCWD, "f", t, 0), EPERM);
		OK(utimensat(AT_FDCWD, "f", NULL, 0)); /* "now": writing rights are enough */
	}
	OK(chmod("f", 0644));
	AS(ME, GRP) {
		ERR(utimensat(AT_FDCWD, "f", NULL, 0), EACCES);
	}
}

/* ---- xattrs ----------------------------------------------------------------- */

static bool
listed(const char *path, const char *name)
{
	char list[8192];
	ssize_t n = llistxattr(path, list, sizeof(list));

	for (char *p = list; p < list + n; p += strlen(p) + 1)
		if (strcmp(p, name) == 0)
			return true;
	return false;
}

static void
xattrs(void)
{
	char big[4000], buf[4096], name[300], list[4096];

	OK(make("f", ""));
	OK(mkdir("d", 0755));
	OK(symlink("f", "s"));
	OK(mkfifo("p", 0600));
	EQ(listxattr("f", NULL, 0) >= 0, 1);
	ERR(getxattr("f", "user.a", buf, sizeof(buf)), ENODATA);
	ERR(setxattr("f", "user.a", "1", 1, XATTR_REPLACE), ENODATA);
	OK(setxattr("f", "user.a", "one", 3, XATTR_CREATE));
	ERR(setxattr("f", "user.a", "two", 3, XATTR_CREATE), EEXIST);
	OK(setxattr("f", "user.a", "three", 5, XATTR_REPLACE));
	EQ(getxattr("f", "user.a", NULL, 0), 5);
	ERR(getxattr("f", "user.a", buf, 4), ERANGE);
	EQ(getxattr("f", "user.a", buf, sizeof(buf)), 5);
	TRUE(memcmp(buf, "three", 5) == 0);
	OK(setxattr("f", "user.empty", "", 0, 0));
	EQ(getxattr("f", "user.empty", buf, sizeof(buf)), 0);
	fill(big, sizeof(big), 9);
	OK(setxattr("f", "user.big", big, sizeof(big), 0));
	EQ(getxattr("f", "user.big", buf, sizeof(buf)), sizeof(big));
	TRUE(is_filled(buf, sizeof(big), 9));
	OK(setxattr("f", "user.big", big, 10, 0)); /* shorter */
	EQ(getxattr("f", "user.big", buf, sizeof(buf)), 10);
	TRUE(listed("f", "user.a") && listed("f", "user.empty") && listed("f", "user.big"));
	ERR(listxattr("f", buf, 5), ERANGE);
	OK(removexattr("f", "user.a"));
	ERR(removexattr("f", "user.a"), ENODATA);
	TRUE(!listed("f", "user.a"));
	/* names: 255 bytes with the prefix */
	memset(name, 'n', sizeof(name));
	memcpy(name, "user.", 5);
	name[256] = 0;
	ERR(setxattr("f", name, "1", 1, 0), ERANGE);
	name[255] = 0;
	OK(setxattr("f", name, "1", 1, 0));
	TRUE(listed("f", name));
	ERR(setxattr("f", "nonsense.a", "1", 1, 0), EOPNOTSUPP);
	OK(setxattr("d", "user.dir", "1", 1, 0));
	ERR(lsetxattr("s", "user.a", "1", 1, 0), EPERM);
	ERR(setxattr("p", "user.a", "1", 1, 0), EPERM);
	if (!is_root())
		return;
	OK(setxattr("f", "trusted.t", "1", 1, 0));
	OK(lsetxattr("s", "trusted.t", "2", 1, 0));
	EQ(lgetxattr("s", "trusted.t", buf, sizeof(buf)), 1);
	TRUE(listed("f", "trusted.t") && listed("s", "trusted.t"));
	OK(setxattr("f", "security.pinfs", "1", 1, 0));
	EQ(getxattr("f", "security.pinfs", buf, sizeof(buf)), 1);
	if (!can_act())
		return;
	AS(ME, GRP) {
		ERR(getxattr("f", "trusted.t", buf, sizeof(buf)), ENODATA);
		TRUE(!listed("f", "trusted.t") && listed("f", "user.empty") && listed("f", "security.pinfs"));
		EQ(listxattr("f", NULL, 0), listxattr("f", list, sizeof(list)));
		ERR(setxattr("f", "trusted.t", "1", 1, 0), EPERM);
		ERR(setxattr("f", "user.a", "1", 1, 0), EACCES);
	}
}

static void
xattrs_many(void)
{
	char name[64], value[64], buf[64];

	OK(make("f", ""));
	for (unsigned k = 0; k < 100; k++) {
		snprintf(name, sizeof(name), "user.many%u", k);
		snprintf(value, sizeof(value), "value %u", k * k);
		OK(setxattr("f", name, value, strlen(value), 0));
	}
	for (unsigned k = 0; k < 100; k += 2) {
		snprintf(name, sizeof(name), "user.many%u", k);
		OK(removexattr("f", name));
	}
	for (unsigned k = 0; k < 100; k++) {
		snprintf(name, sizeof(name), "user.many%u", k);
		snprintf(value, sizeof(value), "value %u", k * k);
		if (k % 2 == 0) {
			TRUE(!listed("f", name));
			continue;
		}
		EQ(getxattr("f", name, buf, sizeof(buf)), strlen(value));
		TRUE(memcmp(buf, value, strlen(value)) == 0);
	}
}

/* ---- inode flags ------------------------------------------------------------ */

static int
set_flags(const char *path, int flags)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), r, saved;

	if (fd < 0)
		return fd;
	r = ioctl(fd, FS_IOC_SETFLAGS, &flags);
	saved = errno;
	close(fd);
	errno = saved;
	return r;
}

static int
get_flags(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), flags = 0;

	OK(ioctl(fd, FS_IOC_GETFLAGS, &flags));
	OK(close(fd));
	return flags;
}

enum { TESTED_FLAGS = FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NOATIME_FL | FS_NODUMP_FL };

static void
flags_roundtrip(void)
{
	struct fsxattr fsx;
	int fd;

	OK(make("f", "text"));
	EQ(get_flags("f") & TESTED_FLAGS, 0);
	OK(set_flags("f", FS_NODUMP_FL | FS_NOATIME_FL));
	EQ(get_flags("f") & TESTED_FLAGS, FS_NODUMP_FL | FS_NOATIME_FL);
	OK(set_flags("f", FS_NOATIME_FL));
	EQ(get_flags("f") & TESTED_FLAGS, FS_NOATIME_FL);
	OK(set_flags("f", 0));
	fd = open("f", O_RDWR | O_CLOEXEC);
	memset(&fsx, 0, sizeof(fsx));
	OK(ioctl(fd, FS_IOC_FSGETXATTR, &fsx));
	EQ(fsx.fsx_xflags & (FS_XFLAG_NODUMP | FS_XFLAG_IMMUTABLE), 0);
	fsx.fsx_xflags |= FS_XFLAG_NODUMP;
	OK(ioctl(fd, FS_IOC_FSSETXATTR, &fsx));
	memset(&fsx, 0, sizeof(fsx));
	OK(ioctl(fd, FS_IOC_FSGETXATTR, &fsx));
	TRUE(fsx.fsx_xflags & FS_XFLAG_NODUMP);
	EQ(get_flags("f") & FS_NODUMP_FL, FS_NODUMP_FL);
	OK(close(fd));
	if (!is_root()) {
		ERR(set_flags("f", FS_IMMUTABLE_FL), EPERM);
		return;
	}
	if (!can_act())
		return;
	AS(ME, GRP) {
		OK(make("mine", ""));
		ERR(set_flags("mine", FS_IMMUTABLE_FL), EPERM);
		OK(set_flags("mine", FS_NODUMP_FL));
		ERR(set_flags("f", FS_NODUMP_FL), EPERM); /* of another owner */
	}
}

static void
flags_immutable(void)
{
	if (!is_root()) {
		not_run("chattr +i, +a: not root");
		return;
	}
	OK(make("f", "text"));
	OK(mkdir("d", 0755));
	OK(make("d/f", "text"));
	OK(set_flags("f", FS_IMMUTABLE_FL));
	ERR(open("f", O_WRONLY), EPERM);
	ERR(open("f", O_RDONLY | O_TRUNC), EPERM);
	ERR(truncate("f", 0), EPERM);
	ERR(unlink("f"), EPERM);
	ERR(rename("f", "g"), EPERM);
	ERR(rename("d/f", "f"), EPERM);
	ERR(link("f", "g"), EPERM);
	ERR(chmod("f", 0600), EPERM);
	ERR(chown("f", ME, GRP), EPERM);
	ERR(setxattr("f", "user.a", "1", 1, 0), EPERM);
	TRUE(content_is("f", "text"));
	OK(set_flags("d", FS_IMMUTABLE_FL));
	ERR(mknod("d/new", S_IFREG | 0600, 0), EPERM);
	ERR(mkdir("d/new", 0700), EPERM);
	ERR(unlink("d/f"), EPERM);
	ERR(rename("d/f", "x"), EPERM);
	ERR(rmdir("d"), EPERM);
	OK(set_flags("d", 0));
	OK(set_flags("f", 0));
	OK(unlink("f"));
	OK(unlink("d/f"));
}

static void
flags_append(void)
{
	int fd;

	if (!is_root())
		return;
	OK(make("f", "text"));
	OK(set_flags("f", FS_APPEND_FL));
	ERR(open("f", O_WRONLY), EPERM);
	ERR(open("f", O_WRONLY | O_APPEND | O_TRUNC), EPERM);
	fd = open("f", O_WRONLY | O_APPEND);
	EQ(write(fd, "+", 1), 1);
	ERR(ftruncate(fd, 0), EPERM);
	OK(close(fd));
	ERR(truncate("f", 0), EPERM);
	ERR(unlink("f"), EPERM);
	ERR(rename("f", "g"), EPERM);
	TRUE(content_is("f", "text+"));
	OK(set_flags("f", 0));
	OK(unlink("f"));
}

/* Deleting may go on behind the last unlink: free blocks once they have stopped to change, or 5 s later. */
static struct statfs
settled(int dir)
{
	struct statfs st, now;

	OK(statfs(".", &st));
	for (unsigned same = 0, tries = 0; same < 10 && tries < 500; tries++) {
		tick();
		OK(fchmod(dir, tries % 2 ? 0777 : 0755)); /* something to commit: a commit is what frees */
		OK(fsync(dir));
		OK(statfs(".", &now));
		same = now.f_bfree == st.f_bfree ? same + 1 : 0;
		st = now;
	}
	return st;
}

static void
statfs_counts(void)
{
	struct statfs a, b, c;
	char buf[65536];
	int fd, dir = open(".", O_RDONLY | O_DIRECTORY);

	OK(dir);
	a = settled(dir);
	EQ(a.f_namelen, 255);
	TRUE(a.f_bsize >= 512 && a.f_blocks > 0 && a.f_bfree <= a.f_blocks && a.f_bavail <= a.f_bfree);
	fd = open_new("f");
	fill(buf, sizeof(buf), 3);
	for (int k = 0; k < 64; k++)
		EQ(write(fd, buf, sizeof(buf)), sizeof(buf));
	OK(fsync(fd));
	OK(statfs(".", &b));
	TRUE((a.f_bfree - b.f_bfree) * (uint64_t)a.f_bsize >= 64 * sizeof(buf));
	TRUE(st_of("f").st_blocks >= 64 * 128);
	OK(close(fd));
	OK(unlink("f"));
	/* the space comes back; a few blocks of metadata may stay */
	c = settled(dir);
	TRUE(c.f_bfree + 64 >= a.f_bfree);
	OK(close(dir));
}

static void
inode_numbers(void)
{
	ino_t f, g, d;

	OK(make("f", ""));
	OK(make("g", ""));
	OK(mkdir("d", 0755));
	f = st_of("f").st_ino;
	g = st_of("g").st_ino;
	d = st_of("d").st_ino;
	TRUE(f != g && f != d && g != d && f && g && d);
	OK(rename("f", "d/f"));
	EQ(st_of("d/f").st_ino, f);
	OK(rename("d", "e"));
	EQ(st_of("e").st_ino, d);
	EQ(st_of("e/f").st_ino, f);
	EQ(st_of("e").st_dev, st_of("g").st_dev);
}

const struct check posix_attrs[] = {
	{ "modes", modes },
	{ "permissions", permissions },
	{ "sticky", sticky },
	{ "setgid_directory", setgid_directory },
	{ "suid_clearing", suid_clearing },
	{ "times_move", times_move },
	{ "times_atime", times_atime },
	{ "times_set", times_set },
	{ "xattrs", xattrs },
	{ "xattrs_many", xattrs_many },
	{ "flags_roundtrip", flags_roundtrip },
	{ "flags_immutable", flags_immutable },
	{ "flags_append", flags_append },
	{ "statfs_counts", statfs_counts },
	{ "inode_numbers", inode_numbers },
	{ NULL, NULL },
};
