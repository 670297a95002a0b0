/* SPDX-License-Identifier: BSD-3-Clause */
/* What each user has of what costs the daemon memory, or the pool blocks, for as long as he likes. Thread-safe; any lock but a
 * leaf may be held.
 */
#ifndef PINFS_FS_USERS_H
#define PINFS_FS_USERS_H

#include "fs/fs.h"

enum user_thing {
	USER_PINNED_BLOCKS, /* up to fs->opt.pin_limit bytes */
	USER_LEASES,        /* up to fs->opt.lease_limit */
	USER_THINGS,
};

/* n more. -EDQUOT that is too many, -ENOMEM. */
int user_charge(const struct fs *fs, uid_t uid, enum user_thing what, uint64_t n);
/* n less: they have been charged. */
void user_uncharge(const struct fs *fs, uid_t uid, enum user_thing what, uint64_t n);

#endif
