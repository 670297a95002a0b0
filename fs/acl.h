/* SPDX-License-Identifier: BSD-3-Clause */
/* POSIX ACLs, in the form in which extended attributes carry them (version 2).
 *
 * The kernel checks access by them; what is left to a filesystem is here: that what is
 * set is valid, that mode and access ACL say the same, and that new files inherit.
 */
#ifndef PINFS_FS_ACL_H
#define PINFS_FS_ACL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "fs/inode.h"

#define ACL_NAME_ACCESS "system.posix_acl_access"
#define ACL_NAME_DEFAULT "system.posix_acl_default"

/* -EINVAL: not a valid ACL; else the number of entries. 0: an empty one, which means none. */
int acl_check(const void *acl, size_t size);

/* The rest works on valid ACLs with entries. */

/* Permission bits as the ACL has them, into *mode (other bits stay). True if the bits say it
 * all: the ACL need not be stored. */
bool acl_to_mode(const void *acl, size_t size, uint32_t *mode);
/* chmod(2): change the ACL to have mode's bits. */
void acl_chmod(void *acl, size_t size, uint32_t mode);
/* Make a directory's default ACL the access ACL of a file that is created with *mode: both
 * are reduced to what the two allow. True if the resulting mode says it all. */
bool acl_inherit(void *acl, size_t size, uint32_t *mode);

/* chmod(2) of an inode that may have an access ACL; attr_lock is held. */
int acl_chmod_locked(struct txn *t, struct inode *i, uint32_t mode);

/* What a new inode of *mode gets from its directory, whose attr_lock is held. Without a
 * default ACL *mode loses umask; buffers are NULL where there is nothing to store. */
struct acl_new {
	void *access, *def;
	size_t access_size, def_size;
};
int acl_new_locked(struct inode *dir, uint32_t *mode, mode_t umask, struct acl_new *a);
/* Credits to store it, and storing it with the new inode. */
uint64_t acl_new_credits(struct pool *p, const struct acl_new *a);
int acl_new_store(struct txn *t, struct inode *i, const struct acl_new *a);
void acl_new_free(struct acl_new *a);

#endif
