/* SPDX-License-Identifier: BSD-3-Clause */
/* A request names the thread that made it. Whether that is the first thread of its process, as it mostly is, one system
 * call tells; otherwise /proc is asked.
 *
 * A process that asked for a signal may be gone when the time comes, and its number another's; or it may have become
 * another user's, by a setuid program that it executed, say, and the daemon, which may be root, must not do for the
 * one user what the kernel would not let him do himself. So a process is remembered by number and start time, and when
 * it is signalled its directory in /proc, which stays the same process', tells both and whose it is. Nothing is kept
 * open meanwhile: descriptors are few, and who asks for signals could use them up.
 */
#include "fs/process.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pmem/types.h"

pid_t
process_of(pid_t tid)
{
	char path[64], line[128];
	pid_t tgid = tid;
	FILE *f;

	/* signal 0 to thread tid of process tid: is there one? */
	if (tid <= 0 || syscall(SYS_tgkill, tid, tid, 0) == 0 || errno == EPERM)
		return tid;
	snprintf(path, sizeof(path), "/proc/%d/status", (int)tid);
	f = fopen(path, "re");
	if (!f)
		return tid;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "Tgid: %d", &tgid) == 1)
			break;
	fclose(f);
	return tgid;
}

/* Its directory in /proc, and when it started. */
static int
open_process(pid_t pid, uint64_t *start)
{
	char path[32], text[1024];
	const char *p;
	ssize_t n = -1;
	int dir, fd;

	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	fd = openat(dir, "stat", O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, text, sizeof(text) - 1);
		close(fd);
	}
	text[max_of(n, 0)] = '\0';
	/* the name may contain anything; the start time is the 20th field behind it */
	p = strrchr(text, ')');
	for (int k = 0; p && k < 20; k++)
		p = strchr(p + 1, ' ');
	if (!p || sscanf(p, "%" SCNu64, start) != 1) {
		close(dir);
		return -ESRCH;
	}
	return dir;
}

/* May that user, by the rules of kill(2)? (The owner of the directory is the effective user.) */
static bool
may_signal(int dir, uid_t uid)
{
	struct stat st;

	return uid == 0 || (fstat(dir, &st) == 0 && st.st_uid == uid);
}

int
process_know(struct process *p, pid_t pid, uid_t uid)
{
	int dir, r = 0;

	if (pid <= 0)
		return -EPERM; /* not in our pid namespace */
	*p = (struct process){ .pid = pid, .uid = uid };
	dir = open_process(pid, &p->start);
	if (dir < 0)
		return dir == -ESRCH ? -EPERM : dir; /* it is there, it asks: just not for us to see */
	if (!may_signal(dir, uid))
		r = -EPERM;
	else if (syscall(SYS_pidfd_send_signal, dir, 0, NULL, 0) < 0)
		r = -errno;
	close(dir);
	return r;
}

void
process_signal(const struct process *p, int sig, uint64_t value)
{
	siginfo_t info = { .si_signo = sig, .si_code = SI_QUEUE };
	uint64_t start;
	int dir = open_process(p->pid, &start);

	if (dir < 0)
		return;
	info.si_pid = getpid();
	info.si_uid = getuid();
	info.si_value.sival_ptr = (void *)(uintptr_t)value;
	/* a queue of real-time signals that is full: there is the event, too */
	if (start == p->start && may_signal(dir, p->uid))
		syscall(SYS_pidfd_send_signal, dir, sig, &info, 0);
	close(dir);
}
