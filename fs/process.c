/* SPDX-License-Identifier: BSD-3-Clause */
/* A request names the thread that made it. Whether that is the first thread of its process, as it mostly is, one system
 * call tells; otherwise /proc is asked.
 */
#include "fs/process.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

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

int
process_open(pid_t pid)
{
	int fd, err = 0;

	if (pid <= 0)
		return -EPERM; /* not in our pid namespace */
	fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (fd < 0)
		return -errno;
	if (syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0) < 0)
		err = -errno;
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

void
process_signal(int pidfd, int sig, uint64_t value)
{
	siginfo_t info = { .si_signo = sig, .si_code = SI_QUEUE };

	info.si_pid = getpid();
	info.si_uid = getuid();
	info.si_value.sival_ptr = (void *)(uintptr_t)value;
	/* a queue of real-time signals that is full: there is the event, too */
	syscall(SYS_pidfd_send_signal, pidfd, sig, &info, 0);
}
