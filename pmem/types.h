/* SPDX-License-Identifier: BSD-3-Clause */
/* The words that every layer shares: block numbers and block arithmetic.
 *
 * A block is 4 KiB, on the medium and everywhere else. A pblk_t counts blocks
 * from the start of the pool; a fblk_t counts blocks from the start of a file.
 * Byte quantities are called ..._off, ..._len or ..._bytes, block counts n or
 * ..._blocks, so that a unit can always be told from a name or a type.
 *
 * Functions of pmem/ and fs/ return 0 (or a count) on success and a negative
 * errno value on failure, decided where the cause is known.
 */
#ifndef PINFS_PMEM_TYPES_H
#define PINFS_PMEM_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t pblk_t; /* block number in the pool */
typedef uint64_t fblk_t; /* block number in a file */

/* Not BLOCK_SIZE: <linux/fs.h> and <sys/mount.h> have one of 1024, and a system header that comes later puts its own
 * in the place of ours without a warning. */
#define BLK_SHIFT 12
#define BLK_SIZE 4096u
#define BLK_MASK (BLK_SIZE - 1)

/* Block 0 holds a root slot, so 0 is never the number of a data block or a
 * node: it says "none". */
#define PBLK_NONE ((pblk_t)0)

/* The largest file: s64 offsets, as loff_t has them. */
#define FILE_MAX_BYTES INT64_MAX
#define FBLK_MAX ((fblk_t)(FILE_MAX_BYTES >> BLK_SHIFT))

static inline uint64_t
bytes_to_blocks_up(uint64_t bytes)
{
	return (bytes >> BLK_SHIFT) + ((bytes & BLK_MASK) != 0);
}

#define min_of(a, b) ((a) < (b) ? (a) : (b))
#define max_of(a, b) ((a) > (b) ? (a) : (b))

#endif
