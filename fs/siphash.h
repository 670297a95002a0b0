/* SPDX-License-Identifier: BSD-3-Clause */
/* SipHash-2-4: the keyed hash of names, so that nobody who does not know the
 * pool's key can make names that collide.
 */
#ifndef PINFS_FS_SIPHASH_H
#define PINFS_FS_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

/* key: its two little-endian halves. */
uint64_t siphash24(const uint64_t key[2], const void *data, size_t len);

#endif
