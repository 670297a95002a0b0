/* SPDX-License-Identifier: BSD-3-Clause */
/* Between extent.c and extent_move.c, which change the durable map, and extent_read.c. */
#ifndef PINFS_FS_EXTENT_I_H
#define PINFS_FS_EXTENT_I_H

#include "fs/extent.h"

#define EXTENT_NO_CRCS (EXTENT_UNWRITTEN | EXTENT_NOCSUM) /* with either flag an item has none */
#define FBLK_END (FBLK_MAX + 1) /* behind the last block that a file can have */

struct tree_key extent_key(const struct inode *i, fblk_t fblk);
void extent_log_damage(const struct inode *i, const struct extent *e, const char *what);
/* The map is about to change: layout lock exclusive. */
void extent_cache_clear(struct inode *i);
/* A change of the map that has begun stopped: logged, and the transaction is aborted. Returns r. */
int extent_change_failed(struct txn *t, const struct inode *i, fblk_t fblk, int r);
/* Insert or replace the item of an extent; csums are not looked at if its flags say that it has none. */
int extent_put_item(struct txn *t, struct inode *i, const struct extent *e, const uint32_t *csums);

#endif
