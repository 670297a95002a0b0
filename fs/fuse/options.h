/* SPDX-License-Identifier: BSD-3-Clause */
/* Mount options: what comes after -o, from a command line, mount(8) or an fstab.
 */
#ifndef PINFS_FS_FUSE_OPTIONS_H
#define PINFS_FS_FUSE_OPTIONS_H

#include <stdio.h>

#include "fs/fs.h"

enum { MOUNT_THREADS_MAX = 64, MOUNT_TIMEOUT_MAX = 30 * 24 * 3600 };

struct mount_options {
	struct fs_options fs;
	bool allow_other, allow_root;
	bool nodev, nosuid, noexec, dirsync, sync;
	unsigned threads;      /* 0: as many as the machine suggests */
	unsigned attr_timeout; /* seconds that the kernel may trust attributes and names */
};

void mount_options_default(struct mount_options *o);
/* One -o argument: a list with commas ("\," is no comma). What it names is changed in *o, the last of
 * two that contradict wins. -EINVAL, and why holds a sentence. */
int mount_options_parse(struct mount_options *o, const char *text, char *why, size_t size);
/* The same for fusermount3 and the kernel: list must hold at least 256 bytes. */
void mount_options_kernel(const struct mount_options *o, char *list, size_t size);
/* The list for --help. */
void mount_options_help(FILE *f);

#endif
