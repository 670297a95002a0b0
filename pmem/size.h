/* SPDX-License-Identifier: BSD-3-Clause */
/* Sizes on command lines and in mount options. Needs nothing else of pmem/, so programs without it have it, too. */
#ifndef PINFS_PMEM_SIZE_H
#define PINFS_PMEM_SIZE_H

#include <stdint.h>

/* "4096", "64K", "1.5G", "2GiB", "0x1000": powers of 1024 (K, M, G, T, P, E, each
 * with or without "iB" or "B", either case). -EINVAL, -ERANGE; *why says what was wrong. */
int size_parse(const char *text, uint64_t *bytes, const char **why);

#endif
