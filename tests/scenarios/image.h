/* SPDX-License-Identifier: BSD-3-Clause */
/* What a crash at this moment would leave: the pool file is copied and looked at with fs/, without a mount. */
#ifndef PINFS_TESTS_SCENARIO_IMAGE_H
#define PINFS_TESTS_SCENARIO_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct image;

/* Of the pool of the mount that fd is on. It is checked. NULL: damaged (the reason is on stdout). */
struct image *image_take(int fd);
/* Content of a file in the root directory: as pread(2), -errno. */
ssize_t image_read(struct image *im, const char *name, void *buf, size_t len, uint64_t off);
void image_drop(struct image *im);

#endif
