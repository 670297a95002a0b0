/* SPDX-License-Identifier: BSD-3-Clause */
/* What users have is in one small list for the process, as it is in the kernel: an entry exists while the user has
 * anything.
 */
#include "fs/users.h"

#include <errno.h>
#include <stdlib.h>

#include "fs/fs_i.h"

struct user {
	struct cds_list_head link;
	const struct fs *fs;
	uid_t uid;
	uint64_t has[USER_THINGS];
};

static CDS_LIST_HEAD(users);
static struct mtx users_lock; /* LOCK_LEAF */
static pthread_once_t users_once = PTHREAD_ONCE_INIT;

static void
users_init(void)
{
	mtx_init(&users_lock, LOCK_LEAF, 0);
}

static uint64_t
limit_of(const struct fs *fs, enum user_thing what)
{
	return what == USER_PINNED_BLOCKS ? fs->opt.pin_limit >> BLK_SHIFT : fs->opt.lease_limit;
}

static struct user *
find_user_locked(const struct fs *fs, uid_t uid)
{
	struct user *u;

	cds_list_for_each_entry(u, &users, link)
		if (u->fs == fs && u->uid == uid)
			return u;
	return NULL;
}

int
user_charge(const struct fs *fs, uid_t uid, enum user_thing what, uint64_t n)
{
	uint64_t limit = limit_of(fs, what);
	struct user *u;
	int r = 0;

	pthread_once(&users_once, users_init);
	mtx_lock(&users_lock);
	u = find_user_locked(fs, uid);
	if (n > limit || (u && u->has[what] > limit - n)) {
		r = -EDQUOT;
	} else if (u) {
		u->has[what] += n;
	} else {
		u = calloc(1, sizeof(*u));
		if (u) {
			u->fs = fs;
			u->uid = uid;
			u->has[what] = n;
			cds_list_add(&u->link, &users);
		} else {
			r = -ENOMEM;
		}
	}
	mtx_unlock(&users_lock);
	return r;
}

void
user_uncharge(const struct fs *fs, uid_t uid, enum user_thing what, uint64_t n)
{
	uint64_t left = 0;
	struct user *u;

	mtx_lock(&users_lock);
	u = find_user_locked(fs, uid);
	u->has[what] -= n;
	for (int k = 0; k < USER_THINGS; k++)
		left += u->has[k];
	if (left == 0) {
		cds_list_del(&u->link);
		free(u);
	}
	mtx_unlock(&users_lock);
}
