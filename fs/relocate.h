/* SPDX-License-Identifier: BSD-3-Clause */
/* A range of a file whose content moves: to another place in the file (shift.c) or to another one
 * (exchange.c). What a caller does, in this order:
 *
 *   writeback_inode                   with no lock held
 *   writeback lock, transaction, io locks exclusive, layout locks exclusive
 *   relocate_prepare                  each range; all that can fail is here
 *   txn_extend by relocate_credits
 *   relocate_cut                      each range: nothing in it is pinned any more
 *   then move both maps: extent_list_take, extent_list_put (of .durable), live_shift_... or live_exchange
 *   relocate_free                     in any case, without locks but LOCK_WRITEBACK
 */
#ifndef PINFS_FS_RELOCATE_H
#define PINFS_FS_RELOCATE_H

#include "fs/content.h"

/* Fresh blocks with the content of [fblk, fblk+len), which is pinned. */
struct relocate_copy {
	fblk_t fblk;
	pblk_t pblk;
	uint64_t len;
};

struct relocation {
	struct inode *inode;
	fblk_t fblk, end;
	struct extent_list durable;  /* what the durable map has in the range */
	struct relocate_copy *copy;
	size_t ncopies, space;
};

/* Layout lock exclusive, within t, for which extent_split_credits are there twice. CONTENT_UNSHARE. */
int relocate_prepare(struct relocation *m, struct txn *t, struct inode *i, fblk_t fblk, fblk_t end,
    struct content_wait *w);
uint64_t relocate_credits(const struct relocation *m);
void relocate_cut(struct relocation *m);
void relocate_free(struct relocation *m);

/* The locks of two inodes, which may be the same, in their order. */
void io_lock_both(struct inode *a, struct inode *b);
void io_unlock_both(struct inode *a, struct inode *b);
void layout_lock_both(struct inode *a, struct inode *b);
void layout_unlock_both(struct inode *a, struct inode *b);

#endif
