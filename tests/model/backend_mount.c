/* SPDX-License-Identifier: BSD-3-Clause */
/* The model test through a mount: system calls, a daemon of its own, libpinfs for direct
 * mappings. A crash is SIGKILL of the daemon; before every new mount fsck.pinfs -n has
 * to find the pool sound. The programs are found by PATH.
 *
 * Where the last open file of a mount that was killed is still mapped, that mapping is unmapped
 * first: it is the client's memory and no business of the new mount.
 */
#include "tests/model/model.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include <pinfs/pinfs.h>

static struct {
	char dir[512], pool[600], mnt[600];
	pid_t daemon;
	int root; /* descriptor of the mount's root; -1: not mounted */
	int fd[NSLOTS + 1];
	struct pinfs_map *map[NSLOTS + 1];
} m;

static long
result(long r)
{
	return r < 0 ? -errno : r;
}

static pid_t
spawn(char *const argv[], bool quiet)
{
	pid_t pid = fork();

	if (pid == 0) {
		int null;

		prctl(PR_SET_PDEATHSIG, SIGKILL); /* nothing outlives the test */
		null = open(quiet ? "/dev/null" : "/dev/stderr", O_WRONLY);

		dup2(null, STDOUT_FILENO);
		execvp(argv[0], argv);
		fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
		_exit(127);
	}
	return pid;
}

/* 0, or -EPROTO where the program failed; how is said on standard error. */
static int
reap_ok(pid_t pid, const char *name)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -ECHILD;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFSIGNALED(status))
		fprintf(stderr, "%s: killed by signal %d\n", name, WTERMSIG(status));
	else
		fprintf(stderr, "%s: status %d\n", name, WEXITSTATUS(status));
	return -EPROTO;
}

static int
run_program(char *const argv[])
{
	return reap_ok(spawn(argv, true), argv[0]);
}

static int
unmount(bool lazy)
{
	if (geteuid() == 0)
		return (int)result(umount2(m.mnt, lazy ? MNT_DETACH : 0));
	return run_program((char *[]){ "fusermount3", lazy ? "-uz" : "-u", m.mnt, NULL });
}

static int
mount_pool(void)
{
	const struct timespec wait = { .tv_nsec = 2000000 };
	struct stat below, st;
	int status;

	if (stat(m.dir, &below) < 0)
		return -errno;
	m.daemon = spawn((char *[]){ "pinfs", m.pool, m.mnt, "-f", "-o", "commit=3600", NULL }, true);
	if (m.daemon < 0)
		return -errno;
	for (int k = 0; k < 10000; k++) {
		if (waitpid(m.daemon, &status, WNOHANG) != 0) {
			m.daemon = -1;
			return -ENOTCONN;
		}
		if (stat(m.mnt, &st) == 0 && st.st_dev != below.st_dev) {
			m.root = open(m.mnt, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
			return m.root < 0 ? -errno : 0;
		}
		nanosleep(&wait, NULL);
	}
	return -ETIMEDOUT;
}

static int
start_mount(const char *dir)
{
	int err;

	memset(&m, 0, sizeof(m));
	m.root = -1;
	m.daemon = -1;
	for (unsigned k = 0; k <= NSLOTS; k++)
		m.fd[k] = -1;
	snprintf(m.dir, sizeof(m.dir), "%s", dir);
	snprintf(m.pool, sizeof(m.pool), "%s/pool", dir);
	snprintf(m.mnt, sizeof(m.mnt), "%s/mnt", dir);
	unlink(m.pool);
	if (mkdir(m.mnt, 0755) < 0 && errno != EEXIST)
		return -errno;
	err = run_program((char *[]){ "mkfs.pinfs", "-s", "64M", m.pool, NULL });
	return err ? err : mount_pool();
}

static int
close_mount(unsigned slot)
{
	int err = 0;

	if (m.map[slot])
		err = pinfs_unmap(m.map[slot]);
	m.map[slot] = NULL;
	if (m.fd[slot] >= 0 && close(m.fd[slot]) < 0 && !err)
		err = -errno;
	m.fd[slot] = -1;
	return err;
}

static int
leave(bool crash)
{
	int err;

	if (m.root >= 0)
		close(m.root);
	m.root = -1;
	if (m.daemon < 0)
		return 0;
	if (crash)
		kill(m.daemon, SIGKILL);
	for (unsigned k = 0; crash && k <= NSLOTS; k++)
		close_mount(k); /* whatever the dead mount says */
	err = unmount(crash);
	if (err)
		return err;
	if (crash) {
		waitpid(m.daemon, NULL, 0);
		err = 0;
	} else {
		err = reap_ok(m.daemon, "pinfs");
	}
	m.daemon = -1;
	return err;
}

static int
fsck(void)
{
	return run_program((char *[]){ "fsck.pinfs", "-n", m.pool, NULL }) ? -EUCLEAN : 0;
}

static int
remount_mount(bool crash)
{
	int err = leave(crash);

	if (!err)
		err = fsck();
	return err ? err : mount_pool();
}

static int
stop_mount(void)
{
	int err = leave(false);

	return err ? err : fsck();
}

/* Paths are relative to the root; "" is the root itself. */
static const char *
at(const char *path)
{
	return path[0] ? path : ".";
}

static int
open_mount(unsigned slot, const char *path, bool create)
{
	int fd = openat(m.root, at(path), O_RDWR | O_NOFOLLOW | O_CLOEXEC | (create ? O_CREAT : 0), 0644);

	if (fd < 0)
		return -errno;
	m.fd[slot] = fd;
	return 0;
}

static long
write_mount(unsigned slot, const void *buf, size_t len, uint64_t off)
{
	return result(pwrite(m.fd[slot], buf, len, (off_t)off));
}

static long
read_mount(unsigned slot, void *buf, size_t len, uint64_t off)
{
	return result(pread(m.fd[slot], buf, len, (off_t)off));
}

static int
fstat_mount(unsigned slot, struct stat *st)
{
	return (int)result(fstat(m.fd[slot], st));
}

static int
truncate_mount(unsigned slot, uint64_t size)
{
	return (int)result(ftruncate(m.fd[slot], (off_t)size));
}

static int
fallocate_mount(unsigned slot, int mode, uint64_t off, uint64_t len)
{
	return (int)result(fallocate(m.fd[slot], mode, (off_t)off, (off_t)len));
}

static long
copy_mount(unsigned slot, uint64_t off, unsigned slot2, uint64_t off2, uint64_t len)
{
	off_t a = (off_t)off, b = (off_t)off2;
	struct stat st;
	uint64_t size;
	long done = 0;

	if (fstat(m.fd[slot], &st) < 0)
		return -errno;
	size = (uint64_t)st.st_size; /* as it was before: the copy may make the source longer */
	if (off < size && len > size - off)
		len = size - off;
	while (len) {
		ssize_t n = copy_file_range(m.fd[slot], &a, m.fd[slot2], &b, len, 0);

		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += n;
		len -= (uint64_t)n;
	}
	return done;
}

static int
range_mount(unsigned slot, unsigned long cmd, uint64_t off, uint64_t len)
{
	struct pinfs_range r = { .size = sizeof(r), .off = off, .len = len };

	return (int)result(ioctl(m.fd[slot], cmd, &r));
}

static int
collapse_mount(unsigned slot, uint64_t off, uint64_t len)
{
	return range_mount(slot, PINFS_IOC_COLLAPSE, off, len);
}

static int
insert_mount(unsigned slot, uint64_t off, uint64_t len)
{
	return range_mount(slot, PINFS_IOC_INSERT, off, len);
}

static int
exchange_mount(unsigned slot, uint64_t off, unsigned slot2, uint64_t off2, uint64_t len)
{
	struct pinfs_exchange x = { .size = sizeof(x), .off = off, .other_off = off2, .len = len };
	struct pinfs_offer o = { .size = sizeof(o) };

	if (ioctl(m.fd[slot2], PINFS_IOC_OFFER, &o) < 0)
		return -errno;
	memcpy(x.token, o.token, sizeof(x.token));
	return (int)result(ioctl(m.fd[slot], PINFS_IOC_EXCHANGE, &x));
}

static int
map_mount(unsigned slot, uint64_t len)
{
	return pinfs_map(m.fd[slot], 0, len, PINFS_MAP_WRITE, &m.map[slot]);
}

static int
store_mount(unsigned slot, const void *buf, size_t len, uint64_t off)
{
	memcpy((char *)pinfs_addr(m.map[slot]) + off, buf, len);
	return 0;
}

static int
unmap_mount(unsigned slot)
{
	int err = pinfs_unmap(m.map[slot]);

	m.map[slot] = NULL;
	return err;
}

static int
fsync_mount(unsigned slot)
{
	return (int)result(slot % 2 ? fdatasync(m.fd[slot]) : fsync(m.fd[slot]));
}

static int
sync_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	int fd, err = 0;

	(void)st, (void)ftw;
	if (type != FTW_F && type != FTW_DP)
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		err = -errno;
	if (fd >= 0)
		close(fd);
	return err;
}

/* The kernel does not pass syncfs(2) on to FUSE daemons: everything, one by one. */
static int
sync_mount(void)
{
	return nftw(m.mnt, sync_one, 16, FTW_PHYS | FTW_MOUNT | FTW_DEPTH);
}

static int
mkdir_mount(const char *path)
{
	return (int)result(mkdirat(m.root, path, 0755));
}

static int
symlink_mount(const char *target, const char *path)
{
	return (int)result(symlinkat(target, m.root, path));
}

static int
link_mount(const char *old, const char *path)
{
	return (int)result(linkat(m.root, old, m.root, path, 0));
}

static int
unlink_mount(const char *path)
{
	return (int)result(unlinkat(m.root, path, 0));
}

static int
rmdir_mount(const char *path)
{
	return (int)result(unlinkat(m.root, path, AT_REMOVEDIR));
}

static int
rename_mount(const char *old, const char *path, unsigned flags)
{
	return (int)result(renameat2(m.root, old, m.root, path, flags));
}

/* xattr calls know no directory descriptor. */
static const char *
absolute(const char *path)
{
	static char buf[PATH_SIZE + 700];

	snprintf(buf, sizeof(buf), "%s/%s", m.mnt, path);
	return buf;
}

static int
setxattr_mount(const char *path, const char *name, const void *value, size_t len, int flags)
{
	return (int)result(lsetxattr(absolute(path), name, value, len, flags));
}

static int
removexattr_mount(const char *path, const char *name)
{
	return (int)result(lremovexattr(absolute(path), name));
}

static long
getxattr_mount(const char *path, const char *name, void *buf, size_t len)
{
	return result(lgetxattr(absolute(path), name, buf, len));
}

static int
stat_mount(const char *path, struct stat *st)
{
	return (int)result(fstatat(m.root, at(path), st, AT_SYMLINK_NOFOLLOW));
}

static long
readlink_mount(const char *path, char *buf, size_t len)
{
	return result(readlinkat(m.root, path, buf, len));
}

static int
readdir_mount(const char *path, struct dirent_seen *out, int max)
{
	int fd = openat(m.root, at(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC), n = 0;
	struct dirent *e;
	DIR *d;

	if (fd < 0)
		return -errno;
	d = fdopendir(fd);
	if (!d) {
		close(fd);
		return -ENOMEM;
	}
	errno = 0;
	while ((e = readdir(d)) && n < max) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		snprintf(out[n].name, sizeof(out[n].name), "%s", e->d_name);
		out[n++].ino = e->d_ino;
	}
	if (!e && errno)
		n = -errno;
	closedir(d);
	return n;
}

const struct backend backend_mount = {
	.name = "mount", .start = start_mount, .remount = remount_mount, .stop = stop_mount, .open = open_mount,
	.close = close_mount, .write = write_mount, .read = read_mount, .fstat = fstat_mount,
	.truncate = truncate_mount, .fallocate = fallocate_mount, .copy = copy_mount,
	.collapse = collapse_mount, .insert = insert_mount, .exchange = exchange_mount, .map = map_mount,
	.store = store_mount, .unmap = unmap_mount, .fsync = fsync_mount, .sync = sync_mount, .mkdir = mkdir_mount,
	.symlink = symlink_mount, .link = link_mount, .unlink = unlink_mount, .rmdir = rmdir_mount,
	.rename = rename_mount, .setxattr = setxattr_mount, .removexattr = removexattr_mount,
	.getxattr = getxattr_mount, .stat = stat_mount, .readlink = readlink_mount, .readdir = readdir_mount,
};
