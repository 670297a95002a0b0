/* SPDX-License-Identifier: BSD-3-Clause */
/* The FUSE front end: a mounted pool, served.
 *
 *   front_open()   opens the pool and mounts it: nothing is served yet
 *   front_serve()  serves requests until the mount goes away or a signal asks to stop
 *   front_close()  unmounts if need be, writes everything back, closes the pool
 *
 * SIGHUP, SIGINT and SIGTERM must be blocked before front_open(), because the threads that it
 * starts must not get them; front_serve() takes them.
 */
#ifndef PINFS_FS_FUSE_FRONT_H
#define PINFS_FS_FUSE_FRONT_H

#include "fs/fuse/options.h"

struct front;

struct front_error { char text[512]; };

/* pool and mountpoint are absolute. -errno, with err->text for the user. */
int front_open(struct front **out, const char *pool, const char *mountpoint, const struct mount_options *o,
    bool debug, struct front_error *err);
/* The same on a descriptor that speaks as the kernel does on /dev/fuse, a message for each read and write, and is closed at the
 * end: for tests that are the kernel. It is served when this returns. */
int front_open_fd(struct front **out, const char *pool, int fd, const struct mount_options *o, struct front_error *err);
/* 0, or -errno: requests can't be had any more. */
int front_serve(struct front *fr);
/* fn, which returns 0 or -errno, takes the mount away in front_close() instead of the library: for a process that can't any more. */
void front_on_unmount(struct front *fr, int (*fn)(void *arg), void *arg);
/* The first error of writing back and closing; gone in any case. */
int front_close(struct front *fr);

/* Version of the FUSE library in use. */
const char *front_fuse_version(void);

#endif
