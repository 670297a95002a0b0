/* SPDX-License-Identifier: BSD-3-Clause */
/* Open files that were offered for a request on another one: a request reaches the daemon from one descriptor only, and
 * a number of another descriptor says nothing about who may use it. A token does: only who has the file open can
 * have got it, and who was given it.
 *
 * A token is 128 random bits, good for one use, for OFFER_S seconds, while the file is open. A file has one at most.
 */
#ifndef PINFS_FS_FUSE_OFFER_H
#define PINFS_FS_FUSE_OFFER_H

#include "fs/fs.h"

#define OFFER_S 60
#define OFFER_TOKEN 16 /* bytes */

struct offer;
RB_HEAD(offer_tree, offer);

struct offers {
	struct mtx lock;              /* LOCK_LEAF; protects the rest, and file->offer */
	struct offer_tree by_token;
	struct cds_list_head by_time; /* the oldest first */
};

void offers_init(struct offers *s);
void offers_destroy(struct offers *s);
/* A new offer of f, instead of the one before. -ENOMEM; -EAGAIN: no random numbers. */
int offer_make(struct offers *s, struct file *f, uint8_t token[OFFER_TOKEN]);
/* Use it: *f is like the file that was offered, with a reference to the inode that the caller has to put. -ESTALE. */
int offer_redeem(struct offers *s, const uint8_t token[OFFER_TOKEN], struct file *f);
/* The file is being closed. */
void offer_withdraw(struct offers *s, struct file *f);

#endif
