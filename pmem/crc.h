/* SPDX-License-Identifier: BSD-3-Clause */
/* CRC32C through ISA-L. */
#ifndef PINFS_PMEM_CRC_H
#define PINFS_PMEM_CRC_H

#include "pmem/types.h"

/* CRC32C of len bytes. */
uint32_t crc32c(const void *data, size_t len);
/* CRC32C of data followed by more: pass the result of the call before. */
uint32_t crc32c_more(uint32_t crc, const void *data, size_t len);
/* Of a block whose four bytes at crc_off count as zero. */
uint32_t crc32c_block_but(const void *block, size_t crc_off);

#endif
