/* SPDX-License-Identifier: BSD-3-Clause */
/* Faultable pins: which blocks their holder has stored to.
 *
 * A write pin counts as dirty at every writeback, because nobody sees what DMA stores. Who stores by processor only, with
 * asynchronous write protection (userfaultfd) over his mapping, can say where that is (pin_track() in pin.h).
 * From then on writeback asks the kernel first, and an extent that nobody else has pinned for writing is
 * dirty only where it was stored to.
 *
 * What is asked are other processes' page tables. That takes a lock of theirs which they may keep for as long
 * as they like, so a thread of the filesystem does it. Who does not get an answer in time takes all for dirty and asks
 * no more: the pin goes on as a long-term one.
 */
#ifndef PINFS_FS_TRACK_H
#define PINFS_FS_TRACK_H

#include "fs/pin_i.h"

struct tracker; /* the thread, and the processes it looks into; one for a filesystem */

int tracker_new(struct tracker **out);
/* No pin is left. NULL is allowed. */
void tracker_free(struct tracker *t);

/* Before a writeback of the inode: mark dirty what was stored to until now. No lock may be held. If it can't be
 * found out, all that is tracked becomes dirty. */
void track_scan(struct inode *i);
/* All that is tracked is dirty. Takes the layout lock. */
void track_dirty_all(struct inode *i);
/* The pin ends, or what was said of it holds no longer: its extents are dirty. Layout lock exclusive. */
void track_end(struct inode *i, struct pin *pin);
/* How long a process has for its answer; a test changes it. */
extern int64_t track_scan_ns;
/* Blocks of the pin that are tracked. Layout lock held. */
uint64_t track_blocks(const struct pin *pin);
/* Does the inode have anything to ask about? No lock. */
bool track_any(const struct inode *i);

#endif
