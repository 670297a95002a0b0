/* SPDX-License-Identifier: BSD-3-Clause */
/* Writeback: live becomes durable.
 *
 * One writeback of one inode:
 *   1. take:  io lock and layout lock, briefly: note every dirty extent and the size.
 *             Blocks that nobody has pinned for write are marked LIVE_TAKEN: from now on
 *             immutable; stores to them go to fresh blocks and never wait.
 *   2. copy:  no lock: CRCs of the taken blocks; blocks pinned for write are
 *             copied to fresh ones, with their CRC: the bounce.
 *   3. apply: in one transaction, layout lock exclusive: the durable map is pointed at
 *             taken blocks and copies; blocks it named before are freed with the
 *             transaction; extents of the live map that are now the same as the durable map
 *             leave it (or lose LIVE_DIRTY, if pinned).
 * The caller decides when to commit. Between 1 and 3 everybody else goes on.
 * After a failure everything that was taken is dirty again.
 */
#ifndef PINFS_FS_WRITEBACK_H
#define PINFS_FS_WRITEBACK_H

#include "fs/fs.h"

/* For who needs an image of the file: pins have no say. *txn: the transaction whose commit makes it durable (also if nothing was dirty: the one that
 * holds its newest change). Takes LOCK_WRITEBACK of the inode: no lock may be held. */
int writeback_inode(struct inode *i, uint64_t *txn);
/* Start and stop the background thread: writes back what is older than commit_s, everything
 * under space pressure, and commits. */
int writeback_start(struct fs *fs);
void writeback_stop(struct fs *fs);
/* Make space: write back and commit what would free blocks. True if that may have helped.
 * No lock may be held. */
bool writeback_reclaim(struct fs *fs);

/* The background thread sleeps without a deadline as long as there is nothing to do. Call this
 * after something became dirty: an inode, or the open transaction. Cheap, any lock may be held. */
void writeback_wake(struct fs *fs);

/* Tests: called between the phases of every writeback, with no lock held but LOCK_WRITEBACK. */
enum writeback_point { WRITEBACK_TAKEN, WRITEBACK_COPIED };
extern void (*writeback_test_hook)(struct inode *i, enum writeback_point at);

#endif
