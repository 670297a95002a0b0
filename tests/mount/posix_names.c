/* SPDX-License-Identifier: BSD-3-Clause */
/* Names and directories: open, create, link, unlink, rename, symlinks, special files, readdir.
 */
#include "tests/mount/posix.h"

#include <dirent.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>

static void
open_flags(void)
{
	int fd;

	OK(make("f", "text"));
	OK(mkdir("d", 0755));
	OK(symlink("f", "s"));
	ERR(open("f", O_RDWR | O_CREAT | O_EXCL, 0644), EEXIST);
	ERR(open("s", O_RDWR | O_CREAT | O_EXCL, 0644), EEXIST);
	ERR(open("f", O_RDONLY | O_DIRECTORY), ENOTDIR);
	ERR(open("s", O_RDONLY | O_NOFOLLOW), ELOOP);
	ERR(open("d", O_WRONLY), EISDIR);
	ERR(open("d", O_RDWR | O_CREAT, 0644), EISDIR);
	ERR(open("none", O_RDONLY), ENOENT);
	ERR(open("none/f", O_RDWR | O_CREAT, 0644), ENOENT);
	ERR(open("f/x", O_RDWR | O_CREAT, 0644), ENOTDIR);
	ERR(open("f/", O_RDONLY), ENOTDIR);
	ERR(open("new/", O_RDWR | O_CREAT, 0644), EISDIR);
	fd = open("f", O_RDWR | O_TRUNC);
	OK(fd);
	EQ(st_of("f").st_size, 0);
	OK(close(fd));
	fd = open("f", O_RDONLY);
	ERR(write(fd, "x", 1), EBADF);
	OK(close(fd));
	fd = open("f", O_WRONLY);
	ERR(read(fd, &fd, 1), EBADF);
	OK(close(fd));
	/* a mode that forbids writing does not stop the descriptor that created the file */
	fd = open("ro", O_RDWR | O_CREAT | O_EXCL, 0444);
	EQ(write(fd, "x", 1), 1);
	OK(close(fd));
	EQ(st_of("ro").st_mode & 07777, 0444);
}

static void
link_rules(void)
{
	OK(make("f", "text"));
	OK(mkdir("d", 0755));
	OK(symlink("f", "s"));
	OK(link("f", "g"));
	EQ(st_of("f").st_nlink, 2);
	EQ(st_of("f").st_ino, st_of("g").st_ino);
	ERR(link("f", "g"), EEXIST);
	ERR(link("d", "e"), EPERM);
	ERR(link("none", "e"), ENOENT);
	ERR(link("f", "d/x/y"), ENOENT);
	ERR(link("f", "g/y"), ENOTDIR);
	OK(link("s", "t")); /* the symlink itself */
	TRUE(S_ISLNK(st_of("t").st_mode));
	EQ(st_of("s").st_nlink, 2);
	OK(linkat(AT_FDCWD, "s", AT_FDCWD, "h", AT_SYMLINK_FOLLOW));
	EQ(st_of("f").st_nlink, 3);
	OK(unlink("f"));
	EQ(st_of("g").st_nlink, 2);
	TRUE(content_is("g", "text"));
}

static void
unlink_rules(void)
{
	OK(make("f", ""));
	OK(mkdir("d", 0755));
	OK(make("d/f", ""));
	ERR(unlink("d"), EISDIR);
	ERR(unlink("none"), ENOENT);
	ERR(rmdir("f"), ENOTDIR);
	ERR(rmdir("d"), ENOTEMPTY);
	ERR(rmdir("d/."), EINVAL);
	ERR(rmdir("d/.."), ENOTEMPTY);
	ERR(mkdir("d", 0755), EEXIST);
	ERR(mkdir("f", 0755), EEXIST);
	OK(unlink("d/f"));
	OK(rmdir("d"));
	ERR(rmdir("d"), ENOENT);
}

static void
unlinked_open(void)
{
	char path[64], buf[8192];
	struct stat st;
	int fd = open_new("f"), fd2;

	fill(buf, sizeof(buf), 1);
	EQ(write(fd, buf, 5000), 5000);
	OK(unlink("f"));
	OK(fstat(fd, &st));
	EQ(st.st_nlink, 0);
	EQ(pwrite(fd, buf + 5000, 3192, 5000), 3192);
	memset(buf, 0, sizeof(buf));
	EQ(pread(fd, buf, sizeof(buf), 0), sizeof(buf));
	TRUE(is_filled(buf, sizeof(buf), 1));
	OK(ftruncate(fd, 100));
	OK(fsync(fd));
	OK(fchmod(fd, 0600));
	OK(fstat(fd, &st));
	EQ(st.st_size, 100);
	EQ(st.st_mode & 07777, 0600);
	/* open again through /proc, but no new name for a file without links */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	fd2 = open(path, O_RDONLY);
	OK(fd2);
	EQ(read(fd2, buf, sizeof(buf)), 100);
	OK(close(fd2));
	ERR(linkat(AT_FDCWD, path, AT_FDCWD, "back", AT_SYMLINK_FOLLOW), ENOENT);
	OK(make("f", "other"));
	EQ(pread(fd, buf, sizeof(buf), 0), 100);
	OK(close(fd));
	TRUE(content_is("f", "other"));
}

static void
removed_directory(void)
{
	int fd;

	OK(mkdir("d", 0755));
	fd = open("d", O_RDONLY | O_DIRECTORY);
	OK(fd);
	OK(chdir("d"));
	OK(rmdir("../d"));
	ERR(open("x", O_RDWR | O_CREAT, 0644), ENOENT);
	ERR(mkdir("x", 0755), ENOENT);
	ERR(openat(fd, "x", O_RDWR | O_CREAT, 0644), ENOENT);
	OK(chdir("/"));
	OK(close(fd));
}

static void
tmpfile_rules(void)
{
	char path[64];
	int fd = open(".", O_TMPFILE | O_RDWR, 0640);

	if (fd < 0 && errno == EOPNOTSUPP) {
		not_run("O_TMPFILE: this libfuse or kernel has no tmpfile request");
		return;
	}
	OK(fd);
	EQ(write(fd, "text", 4), 4);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	OK(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
	OK(close(fd));
	TRUE(content_is("named", "text"));
	EQ(st_of("named").st_nlink, 1);
	EQ(st_of("named").st_mode & 07777, 0640);
	fd = open(".", O_TMPFILE | O_RDWR | O_EXCL, 0640);
	OK(fd);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ERR(linkat(AT_FDCWD, path, AT_FDCWD, "never", AT_SYMLINK_FOLLOW), ENOENT);
	OK(close(fd));
}

static void
rename_rules(void)
{
	OK(make("a", "a"));
	OK(make("b", "b"));
	OK(mkdir("d", 0755));
	OK(mkdir("d/sub", 0755));
	OK(mkdir("e", 0755));
	OK(make("d/f", ""));
	ERR(rename("none", "x"), ENOENT);
	ERR(rename("a", "d"), EISDIR);
	ERR(rename("d", "a"), ENOTDIR);
	ERR(rename("e", "d"), ENOTEMPTY);
	ERR(rename("d", "d/sub/x"), EINVAL);
	ERR(rename("d", "d/sub"), EINVAL);
	ERR(rename("d/sub", "d"), ENOTEMPTY);
	ERR(rename("a", "none/x"), ENOENT);
	ERR(rename("a", "b/x"), ENOTDIR);
	OK(rename("a", "a"));
	OK(rename("a", "b"));
	TRUE(content_is("b", "a"));
	ERR(access("a", F_OK), ENOENT);
	/* two links to one file: nothing happens, both stay */
	OK(link("b", "c"));
	OK(rename("b", "c"));
	EQ(st_of("b").st_nlink, 2);
	EQ(st_of("c").st_nlink, 2);
	/* a directory over an empty one; and into another parent, which moves ".." */
	EQ(st_of("d").st_nlink, 3);
	OK(rename("d/sub", "e"));
	EQ(st_of("d").st_nlink, 2);
	OK(rename("e", "d/e"));
	EQ(st_of("d").st_nlink, 3);
	EQ(st_of("d/e/..").st_ino, st_of("d").st_ino);
}

static void
rename_over_open(void)
{
	char c = 0;
	int fd;

	OK(make("old", "o"));
	OK(make("new", "n"));
	fd = open("old", O_RDWR);
	OK(fd);
	OK(rename("new", "old"));
	EQ(read(fd, &c, 1), 1);
	EQ(c, 'o');
	EQ(pwrite(fd, "p", 1, 0), 1);
	OK(close(fd));
	TRUE(content_is("old", "n"));
}

static void
rename_flags(void)
{
	ino_t a, d;

	OK(make("a", "a"));
	OK(make("b", "b"));
	OK(mkdir("d", 0755));
	OK(mkdir("d/x", 0755));
	OK(make("d/f", ""));
	ERR(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE), EEXIST);
	ERR(renameat2(AT_FDCWD, "a", AT_FDCWD, "none", RENAME_EXCHANGE), ENOENT);
	ERR(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE | RENAME_EXCHANGE), EINVAL);
	ERR(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", 0x40000000), EINVAL);
	ERR(renameat2(AT_FDCWD, "d", AT_FDCWD, "d/x", RENAME_EXCHANGE), EINVAL);
	OK(renameat2(AT_FDCWD, "a", AT_FDCWD, "c", RENAME_NOREPLACE));
	OK(renameat2(AT_FDCWD, "c", AT_FDCWD, "b", RENAME_EXCHANGE));
	TRUE(content_is("b", "a"));
	TRUE(content_is("c", "b"));
	/* a file and a directory that is not empty, across directories */
	OK(mkdir("e", 0755));
	OK(make("e/file", "file"));
	a = st_of("e/file").st_ino;
	d = st_of("d").st_ino;
	OK(renameat2(AT_FDCWD, "e/file", AT_FDCWD, "d", RENAME_EXCHANGE));
	EQ(st_of("d").st_ino, a);
	EQ(st_of("e/file").st_ino, d);
	TRUE(content_is("d", "file"));
	EQ(st_of("e").st_nlink, 3);
	EQ(st_of("e/file/..").st_ino, st_of("e").st_ino);
	TRUE(S_ISDIR(st_of("e/file/x").st_mode));
}

static void
symlinks(void)
{
	char target[4096], buf[4097];

	memset(target, 'x', sizeof(target));
	for (size_t k = 200; k < sizeof(target); k += 200)
		target[k] = '/';
	target[4095] = 0;
	OK(symlink(target, "long"));
	EQ(st_of("long").st_size, 4095);
	EQ(readlink("long", buf, sizeof(buf)), 4095);
	TRUE(memcmp(buf, target, 4095) == 0);
	EQ(readlink("long", buf, 10), 10);
	OK(symlink("loop2", "loop1"));
	OK(symlink("loop1", "loop2"));
	ERR(open("loop1", O_RDONLY), ELOOP);
	OK(symlink("nowhere", "dangling"));
	ERR(open("dangling", O_RDONLY), ENOENT);
	ERR(symlink("x", "dangling"), EEXIST);
	ERR(symlink("", "empty"), ENOENT);
	OK(make("f", ""));
	ERR(readlink("f", buf, sizeof(buf)), EINVAL);
	TRUE(S_ISLNK(st_of("dangling").st_mode));
	EQ(st_of("dangling").st_mode & 07777, 0777);
	OK(close(open("dangling", O_RDWR | O_CREAT, 0644))); /* makes the target */
	OK(access("nowhere", F_OK));
}

static void
long_names(void)
{
	char name[257], other[257];

	memset(name, 'n', sizeof(name));
	name[256] = 0;
	ERR(open(name, O_RDWR | O_CREAT, 0644), ENAMETOOLONG);
	ERR(mkdir(name, 0755), ENAMETOOLONG);
	ERR(access(name, F_OK), ENAMETOOLONG);
	name[255] = 0;
	OK(make(name, "long"));
	TRUE(content_is(name, "long"));
	memcpy(other, name, sizeof(other));
	other[254] = 'm'; /* differs in the last byte only */
	ERR(access(other, F_OK), ENOENT);
	OK(rename(name, other));
	ERR(access(name, F_OK), ENOENT);
	TRUE(content_is(other, "long"));
	OK(unlink(other));
	/* any byte but / and 0, no case folding, no normalisation */
	OK(make("\xff\xfe\x01\n \\", "bytes"));
	TRUE(content_is("\xff\xfe\x01\n \\", "bytes"));
	OK(make("Case", "1"));
	OK(make("case", "2"));
	OK(make("\xc3\xa9", "composed"));
	ERR(access("e\xcc\x81", F_OK), ENOENT);
	OK(make("...", ""));
}

static void
nodes(void)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX, .sun_path = "sock" };
	char buf[8] = "";
	int s, fd, status;
	pid_t pid;

	OK(mkfifo("fifo", 0640));
	TRUE(S_ISFIFO(st_of("fifo").st_mode));
	EQ(st_of("fifo").st_mode & 07777, 0640);
	pid = fork();
	if (pid == 0) {
		fd = open("fifo", O_WRONLY);
		_exit(fd >= 0 && write(fd, "hello", 5) == 5 ? 0 : 1);
	}
	fd = open("fifo", O_RDONLY);
	OK(fd);
	EQ(read(fd, buf, 5), 5);
	OK(close(fd));
	OK(waitpid(pid, &status, 0));
	EQ(status, 0);
	ERR(open("fifo", O_WRONLY | O_NONBLOCK), ENXIO);

	s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	OK(bind(s, (struct sockaddr *)&sa, sizeof(sa)));
	TRUE(S_ISSOCK(st_of("sock").st_mode));
	OK(listen(s, 1));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	OK(connect(fd, (struct sockaddr *)&sa, sizeof(sa)));
	OK(close(fd));
	OK(close(s));
	ERR(open("sock", O_RDWR), ENXIO);

	OK(mknod("reg", S_IFREG | 0600, 0));
	TRUE(S_ISREG(st_of("reg").st_mode));
	ERR(mknod("reg", S_IFREG | 0600, 0), EEXIST);
	if (!is_root()) {
		ERR(mknod("dev", S_IFCHR | 0600, makedev(1, 3)), EPERM);
		return;
	}
	OK(mknod("null", S_IFCHR | 0666, makedev(1, 3)));
	TRUE(S_ISCHR(st_of("null").st_mode));
	EQ(st_of("null").st_rdev, makedev(1, 3));
	OK(mknod("big", S_IFBLK | 0600, makedev(0xabc, 0x54321)));
	TRUE(S_ISBLK(st_of("big").st_mode));
	EQ(st_of("big").st_rdev, makedev(0xabc, 0x54321));
}

/* ---- readdir ------------------------------------------------------------- */

enum { MANY = 3000 };

static void
readdir_all(void)
{
	static unsigned char seen[MANY];
	struct dirent *e;
	char name[32];
	unsigned dots = 0;
	DIR *d;

	OK(mkdir("d", 0755));
	OK(chdir("d"));
	for (unsigned k = 0; k < MANY; k++) {
		snprintf(name, sizeof(name), "name%u", k);
		OK(k % 3 == 0 ? mkdir(name, 0755) : k % 3 == 1 ? symlink("x", name) : mknod(name, S_IFREG | 0600, 0));
	}
	EQ(st_of(".").st_nlink, 2 + (MANY + 2) / 3);
	d = opendir(".");
	TRUE(d != NULL);
	while ((e = readdir(d))) {
		unsigned k;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) {
			EQ(e->d_ino, st_of(e->d_name).st_ino);
			EQ(e->d_type, DT_DIR);
			dots++;
			continue;
		}
		TRUE(sscanf(e->d_name, "name%u", &k) == 1 && k < MANY);
		if (k >= MANY)
			continue;
		EQ(seen[k], 0);
		seen[k] = 1;
		EQ(e->d_type, k % 3 == 0 ? DT_DIR : k % 3 == 1 ? DT_LNK : DT_REG);
		EQ(e->d_ino, st_of(e->d_name).st_ino);
	}
	EQ(dots, 2);
	TRUE(memchr(seen, 0, MANY) == NULL);
	OK(closedir(d));
	OK(chdir(".."));
	ERR(rmdir("d"), ENOTEMPTY);
}

/* What is there all the time is seen exactly once, whatever comes and goes meanwhile; positions of
 * telldir stay good. */
static void
readdir_changes(void)
{
	static unsigned char seen[MANY];
	char name[32], at[256] = "";
	unsigned k, n = 0;
	struct dirent *e;
	long pos = 0;
	DIR *d;

	for (k = 0; k < MANY; k++) {
		snprintf(name, sizeof(name), "name%u", k);
		OK(mknod(name, S_IFREG | 0600, 0));
	}
	d = opendir(".");
	TRUE(d != NULL);
	while ((e = readdir(d))) {
		if (++n % 16 == 0) {
			/* odd names go, in no particular order; new ones come */
			for (unsigned j = 0; j < 24; j++) {
				snprintf(name, sizeof(name), "name%u", ((n * 7 + j * 131) % MANY) | 1);
				unlink(name);
			}
			snprintf(name, sizeof(name), "new%u", n);
			OK(mknod(name, S_IFREG | 0600, 0));
		}
		if (n == MANY / 4)
			pos = telldir(d);
		else if (n == MANY / 4 + 1)
			snprintf(at, sizeof(at), "%s", e->d_name);
		if (sscanf(e->d_name, "name%u", &k) == 1 && k < MANY) {
			EQ(seen[k], 0);
			seen[k] = 1;
		}
		if (n > 3 * MANY) {
			EQ(n, 3 * MANY); /* it does not end */
			break;
		}
	}
	for (k = 0; k < MANY; k += 2)
		EQ(seen[k], 1);
	/* back to a position: the entry that followed, if it still exists */
	seekdir(d, pos);
	e = readdir(d);
	TRUE(e != NULL);
	if (e && access(at, F_OK) == 0)
		TRUE(strcmp(e->d_name, at) == 0);
	rewinddir(d);
	for (n = 0; (e = readdir(d)); n++)
		if (e->d_name[0] != '.')
			OK(unlink(e->d_name));
	OK(closedir(d));
	d = opendir(".");
	for (n = 0; readdir(d); n++)
		continue;
	EQ(n, 2); /* all unlinked in one pass */
	OK(closedir(d));
}

static void
readdir_sees_changes(void)
{
	struct dirent *e;
	bool found = false;
	DIR *d;

	OK(mkdir("d", 0755));
	d = opendir("d");
	while (readdir(d))
		continue;
	OK(make("d/new", ""));
	rewinddir(d);
	while ((e = readdir(d)))
		found |= strcmp(e->d_name, "new") == 0;
	TRUE(found);
	OK(closedir(d));
}

/* Many processes create and rename in one directory: nothing lost, nothing twice. */
static void
parallel_names(void)
{
	enum { PROCS = 4, EACH = 300 };
	struct dirent *e;
	char a[32], b[32];
	unsigned n = 0;
	int status;
	DIR *d;

	for (int p = 0; p < PROCS; p++) {
		if (fork() != 0)
			continue;
		for (int k = 0; k < EACH; k++) {
			snprintf(a, sizeof(a), "tmp%d.%d", p, k);
			snprintf(b, sizeof(b), "done%d.%d", p, k);
			if (mknod(a, S_IFREG | 0600, 0) < 0 || rename(a, b) < 0 || (k % 3 == 0 && unlink(b) < 0))
				_exit(1);
			/* all fight for one name */
			if (mknod("shared", S_IFREG | 0600, 0) < 0 && errno != EEXIST)
				_exit(2);
			if (unlink("shared") < 0 && errno != ENOENT)
				_exit(3);
		}
		_exit(0);
	}
	for (int p = 0; p < PROCS; p++) {
		OK(wait(&status));
		EQ(status, 0);
	}
	d = opendir(".");
	while ((e = readdir(d)))
		n += strncmp(e->d_name, "done", 4) == 0;
	EQ(n, PROCS * (EACH - EACH / 3));
	OK(closedir(d));
	ERR(access("shared", F_OK), ENOENT);
}

const struct check posix_names[] = {
	{ "open_flags", open_flags },
	{ "link_rules", link_rules },
	{ "unlink_rules", unlink_rules },
	{ "unlinked_open", unlinked_open },
	{ "removed_directory", removed_directory },
	{ "tmpfile_rules", tmpfile_rules },
	{ "rename_rules", rename_rules },
	{ "rename_over_open", rename_over_open },
	{ "rename_flags", rename_flags },
	{ "symlinks", symlinks },
	{ "long_names", long_names },
	{ "nodes", nodes },
	{ "readdir_all", readdir_all },
	{ "readdir_changes", readdir_changes },
	{ "readdir_sees_changes", readdir_sees_changes },
	{ "parallel_names", parallel_names },
	{ NULL, NULL },
};
