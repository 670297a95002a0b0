/* SPDX-License-Identifier: BSD-3-Clause */
/* The daemon reads what others have written: a pool, requests of strangers. Should one of them ever get more out of it than an
 * error, it is to find as little as possible.
 *
 * Capabilities belong to threads, and there are threads before the mount is there; a seccomp filter can be given to all
 * at once (SECCOMP_FILTER_FLAG_TSYNC), and with it comes no_new_privs. So the filter it is: it denies, with EPERM, what
 * a server of requests never does but what privileges are good for. Everything else is allowed, so no
 * library is surprised, and the kernel remembers which calls those are without running the filter.
 *
 * Unmounting is the one thing that needs privileges at the end: umount(2) for root, the setuid program fusermount3 for
 * others, which no_new_privs would disarm. A second process, forked at the beginning, waits for one byte to do
 * it; or for the end of the daemon, to end too (a daemon that dies leaves its mount, as it always did).
 */
#include "cli/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pmem/log.h"

static int helper_fd = -1;
static pid_t helper;

/* ---- the process that unmounts -------------------------------------------------------------------- */

static int
unmount_now(const char *mountpoint)
{
	int status;
	pid_t pid;

	/* lazily, as libfuse does: who still uses it gets ENOTCONN when the daemon is gone */
	if (umount2(mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
		return 0;
	if (geteuid() == 0)
		return -errno;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		execlp("fusermount3", "fusermount3", "-u", "-q", "-z", "--", mountpoint, (char *)NULL);
		_exit(127);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPERM;
}

static void __attribute__((noreturn))
helper_main(const char *mountpoint, int fd)
{
	int null = open("/dev/null", O_RDWR), r;
	ssize_t n;
	char c;

	prctl(PR_SET_NAME, "pinfs-unmount");
	for (int k = STDIN_FILENO; k <= STDERR_FILENO && null >= 0; k++)
		dup2(null, k);
	if (chdir("/") < 0)
		_exit(1);
	do
		n = read(fd, &c, 1);
	while (n < 0 && errno == EINTR);
	if (n == 1) {
		r = unmount_now(mountpoint);
		n = write(fd, &r, sizeof(r));
		(void)n; /* nobody is left to be told */
	}
	_exit(0);
}

int
confine_begin(const char *mountpoint, int drop)
{
	int fd[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) < 0)
		return -errno;
	helper = fork();
	if (helper < 0) {
		int err = -errno;

		close(fd[0]);
		close(fd[1]);
		return err;
	}
	if (helper == 0) {
		close(fd[0]);
		if (drop >= 0)
			close(drop);
		helper_main(mountpoint, fd[1]);
	}
	close(fd[1]);
	helper_fd = fd[0];
	return 0;
}

int
confine_unmount(void *unused)
{
	int r = -EPIPE;

	(void)unused;
	if (helper_fd < 0)
		return -ESRCH;
	if (write(helper_fd, "u", 1) != 1 || read(helper_fd, &r, sizeof(r)) != sizeof(r))
		r = -EPIPE;
	close(helper_fd);
	helper_fd = -1;
	waitpid(helper, NULL, 0);
	return r;
}

/* ---- the filter -------------------------------------------------------------------------------------- */

static const int denied[] = {
	/* other programs, other processes */
	SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev), SCMP_SYS(kcmp),
	SCMP_SYS(pidfd_getfd), SCMP_SYS(process_madvise),
	/* the file tree */
	SCMP_SYS(mount), SCMP_SYS(umount2), SCMP_SYS(pivot_root), SCMP_SYS(chroot), SCMP_SYS(move_mount), SCMP_SYS(open_tree),
	SCMP_SYS(fsopen), SCMP_SYS(fsmount), SCMP_SYS(fsconfig), SCMP_SYS(fspick), SCMP_SYS(mount_setattr),
	SCMP_SYS(open_by_handle_at), SCMP_SYS(openat2), SCMP_SYS(creat), SCMP_SYS(truncate), SCMP_SYS(mknod), SCMP_SYS(mknodat),
	SCMP_SYS(mkdir), SCMP_SYS(mkdirat), SCMP_SYS(rmdir), SCMP_SYS(unlink), SCMP_SYS(unlinkat), SCMP_SYS(rename),
	SCMP_SYS(renameat), SCMP_SYS(renameat2), SCMP_SYS(link), SCMP_SYS(linkat), SCMP_SYS(symlink), SCMP_SYS(symlinkat),
	SCMP_SYS(chmod), SCMP_SYS(fchmod), SCMP_SYS(fchmodat), SCMP_SYS(chown), SCMP_SYS(fchown), SCMP_SYS(lchown),
	SCMP_SYS(fchownat), SCMP_SYS(setxattr), SCMP_SYS(lsetxattr), SCMP_SYS(fsetxattr), SCMP_SYS(swapon), SCMP_SYS(swapoff),
	SCMP_SYS(acct), SCMP_SYS(quotactl),
	/* who we are, and in which world */
	SCMP_SYS(setuid), SCMP_SYS(setgid), SCMP_SYS(setreuid), SCMP_SYS(setregid), SCMP_SYS(setresuid), SCMP_SYS(setresgid),
	SCMP_SYS(setgroups), SCMP_SYS(setfsuid), SCMP_SYS(setfsgid), SCMP_SYS(capset), SCMP_SYS(unshare), SCMP_SYS(setns),
	SCMP_SYS(keyctl), SCMP_SYS(add_key), SCMP_SYS(request_key),
	/* the machine */
	SCMP_SYS(init_module), SCMP_SYS(finit_module), SCMP_SYS(delete_module), SCMP_SYS(kexec_load), SCMP_SYS(kexec_file_load),
	SCMP_SYS(reboot), SCMP_SYS(bpf), SCMP_SYS(perf_event_open), SCMP_SYS(settimeofday), SCMP_SYS(clock_settime),
	SCMP_SYS(adjtimex), SCMP_SYS(clock_adjtime), SCMP_SYS(sethostname), SCMP_SYS(setdomainname), SCMP_SYS(syslog),
	SCMP_SYS(iopl), SCMP_SYS(ioperm), SCMP_SYS(vhangup), SCMP_SYS(fanotify_init),
	/* the network; connecting to what was not there at the beginning. (syslog(3) has its own rule.) */
	SCMP_SYS(bind), SCMP_SYS(listen), SCMP_SYS(accept), SCMP_SYS(accept4),
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	SCMP_SYS(ptrace), /* with which a leak checker looks at us */
#endif
};

static int
add_rules(scmp_filter_ctx ctx)
{
	const uint32_t deny = SCMP_ACT_ERRNO(EPERM);
	int r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);

	for (size_t k = 0; r == 0 && k < sizeof(denied) / sizeof(denied[0]); k++)
		r = seccomp_rule_add(ctx, deny, denied[k], 0);
	/* files that are opened are read only, and exist: /proc, of clients */
	for (int mode = O_WRONLY; r == 0 && mode <= (O_WRONLY | O_RDWR); mode++) {
		r = seccomp_rule_add(ctx, deny, SCMP_SYS(openat), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, O_ACCMODE, (scmp_datum_t)mode));
		if (r == 0)
			r = seccomp_rule_add(ctx, deny, SCMP_SYS(open), 1,
			    SCMP_A1(SCMP_CMP_MASKED_EQ, O_ACCMODE, (scmp_datum_t)mode));
	}
	if (r == 0)
		r = seccomp_rule_add(ctx, deny, SCMP_SYS(openat), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, O_CREAT, O_CREAT));
	if (r == 0)
		r = seccomp_rule_add(ctx, deny, SCMP_SYS(open), 1, SCMP_A1(SCMP_CMP_MASKED_EQ, O_CREAT, O_CREAT));
	if (r == 0)
		r = seccomp_rule_add(ctx, deny, SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_NE, AF_UNIX, 0));
	return r;
}

int
confine(void)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	int r;

	if (!ctx)
		return -ENOMEM;
	r = add_rules(ctx);
	if (r == 0)
		r = seccomp_load(ctx);
	seccomp_release(ctx);
	return r;
}
