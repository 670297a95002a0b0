/* SPDX-License-Identifier: BSD-3-Clause */
/* A metadata image: a sparse file that holds a pool's roots and tree in their places and nothing of its files, for
 * who is to find out what is wrong with the pool. It can be checked (POOL_IMAGE), but not mounted.
 */
#ifndef PINFS_FS_IMAGE_H
#define PINFS_FS_IMAGE_H

#include "pmem/pool.h"

struct image_options {
	/* Names, link targets, attributes and the label become letters of the same number, the same name always the
	 * same letters; and the key of name hashes goes, so that no guess at a name can be tried. */
	bool hide_names;
	int (*progress)(void *arg, const char *phase, uint64_t done, uint64_t total); /* nonzero cancels */
	void *arg;
};

struct image_result {
	uint64_t nodes;   /* in the image */
	uint64_t damaged; /* that the tree names and that are no good */
};

/* fd is an empty regular file. The pool may be opened read-only. -EIO, -ENOSPC, -ENOMEM, -ECANCELED, or what write(2)
 * says; what is in the file is of no use then. */
int image_write(struct pool *p, int fd, const struct image_options *opt, struct image_result *res);

#endif
