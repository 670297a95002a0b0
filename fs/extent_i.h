/* SPDX-License-Identifier: BSD-3-Clause */
/* Between extent.c, which changes the durable map, and extent_read.c. */
#ifndef PINFS_FS_EXTENT_I_H
#define PINFS_FS_EXTENT_I_H

#include "fs/extent.h"

#define EXTENT_NO_CRCS (EXTENT_UNWRITTEN | EXTENT_NOCSUM) /* with either flag an item has none */
#define FBLK_END (FBLK_MAX + 1) /* behind the last block that a file can have */

struct tree_key extent_key(const struct inode *i, fblk_t fblk);
void extent_log_damage(const struct inode *i, const struct extent *e, const char *what);
/* The map is about to change: layout lock exclusive. */
void extent_cache_clear(struct inode *i);

#endif
