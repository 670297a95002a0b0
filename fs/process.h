/* SPDX-License-Identifier: BSD-3-Clause */
/* Processes, as far as leases and pins have to tell them apart and to signal them. */
#ifndef PINFS_FS_PROCESS_H
#define PINFS_FS_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

/* The process of a thread; the number itself if there is no such thread (any more), 0 for 0. */
pid_t process_of(pid_t tid);
/* Which process it is, for later: its number can be another's then. */
struct process {
	pid_t pid;
	uid_t uid;          /* on whose behalf it is signalled */
	uint64_t start;     /* clock ticks since boot */
};
/* The process that runs now and has that number. -EPERM: uid may not signal it, or this process may not or can't. */
int process_know(struct process *p, pid_t pid, uid_t uid);
/* sig with si_code SI_QUEUE and that si_value. Goes nowhere if the process is gone, or has become somebody else's. */
void process_signal(const struct process *p, int sig, uint64_t value);

#endif
