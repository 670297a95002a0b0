/* SPDX-License-Identifier: BSD-3-Clause */
/* Copies of pools. */
#ifndef PINFS_CLI_COPY_H
#define PINFS_CLI_COPY_H

#include "pmem/pool.h"

/* Copy an open pool, byte by byte, to a new file of mode 0600; holes stay holes, and the copy is durable.
 * progress as in struct check_options. -EEXIST, -ECANCELED; a file half written is removed again. */
int cli_copy_pool(struct pool *p, const char *to, int (*progress)(void *arg, const char *phase, uint64_t done,
    uint64_t total), void *arg);
/* For a file made from scratch: all of buf at off. */
int cli_write_all(int fd, const void *buf, size_t len, uint64_t off);

#endif
