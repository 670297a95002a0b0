/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading everything, while the filesystem is in use: is it still what the checksums say?
 *
 * One scrub at a time, in a thread of its own, no faster than it was told. It changes nothing: what it finds is logged with
 * inode and offset, or block, and counted. Thread-safe; nothing here waits for the scrub but scrub_free.
 */
#ifndef PINFS_FS_SCRUB_H
#define PINFS_FS_SCRUB_H

#include "fs/fs.h"

struct scrub;

enum scrub_state { SCRUB_NEVER, SCRUB_RUNNING, SCRUB_DONE, SCRUB_CANCELLED, SCRUB_STATES };

struct scrub_status {
	enum scrub_state state;
	uint64_t bytes_per_s;              /* 0: as fast as it can */
	uint64_t done_bytes, total_bytes;  /* read; of what there was when it began, shared blocks once */
	uint64_t nodes, inodes, blocks;    /* looked at */
	uint64_t node_errors, inode_errors, block_errors;
	uint64_t known_blocks;             /* damaged, and marked so by a repair */
	int64_t started, ended;            /* seconds since 1970; 0: not yet */
};

int scrub_new(struct fs *fs, struct scrub **out);
/* Ends a scrub that runs, and waits for that: no lock may be held. NULL is allowed. */
void scrub_free(struct scrub *s);

/* -EBUSY: one is running. */
int fs_scrub_start(struct fs *fs, uint64_t bytes_per_s);
/* It ends soon; that none runs is no error. */
void fs_scrub_cancel(struct fs *fs);
void fs_scrub_status(struct fs *fs, struct scrub_status *st);

#endif
