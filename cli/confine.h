/* SPDX-License-Identifier: BSD-3-Clause */
/* What the daemon can do no more once it serves: doc/SECURITY.md.
 *
 *   confine_begin()   before anything else, with one thread: starts a second process that keeps what it takes to
 *                     unmount, and does nothing but wait
 *   confine()         when everything is open and mounted, in any number of threads
 */
#ifndef PINFS_CLI_CONFINE_H
#define PINFS_CLI_CONFINE_H

/* drop: a descriptor that only the caller is to keep, -1: none. -errno: confine() must not be called then. */
int confine_begin(const char *mountpoint, int drop);
/* From now on no thread of this process can become somebody else, execute a program, mount, trace, make a network connection,
 * or open a file to write to it. 0, or -errno: then all is as before. */
int confine(void);
/* Have the mount taken away by the process that still can; it is gone then. -errno. For front_on_unmount(). */
int confine_unmount(void *unused);

#endif
