/* SPDX-License-Identifier: BSD-3-Clause */
/* Processes, as far as leases and pins have to tell them apart and to signal them. */
#ifndef PINFS_FS_PROCESS_H
#define PINFS_FS_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

/* The process of a thread; the number itself if there is no such thread (any more), 0 for 0. */
pid_t process_of(pid_t tid);
/* A pidfd through which the process can be signalled: -ESRCH, -EPERM this process may not, -EMFILE. */
int process_open(pid_t pid);
/* sig with si_code SI_QUEUE and that si_value; goes nowhere if the process is gone. */
void process_signal(int pidfd, int sig, uint64_t value);

#endif
