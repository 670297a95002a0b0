/* SPDX-License-Identifier: BSD-3-Clause */
/* An ACL is a header and entries in a fixed order: owner, named users, owning
 * group, named groups, mask, others. The owner's, the group class's (the mask, or the
 * owning group's if there is no mask) and the others' entries are the nine permission bits of
 * the mode; they are kept equal here whenever either side changes. An access ACL
 * that has nothing beyond these is not stored.
 *
 * What comes from the medium was checked when it was set, and is checked again when it is used. */
#include "fs/acl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/fs_i.h"
#include "fs/xattr.h"
#include "pmem/log.h"

#define ACL_VERSION 2u

struct acl_head {
	uint32_t version;
};

struct acl_entry {
	uint16_t tag;
	uint16_t perm;
	uint32_t id;
};

enum acl_tag {
	ACL_USER_OBJ = 0x01,
	ACL_USER = 0x02,
	ACL_GROUP_OBJ = 0x04,
	ACL_GROUP = 0x08,
	ACL_MASK = 0x10,
	ACL_OTHER = 0x20,
};
#define ACL_PERM 7u
#define ACL_ID_NONE UINT32_MAX

static size_t
acl_count(size_t size)
{
	return (size - sizeof(struct acl_head)) / sizeof(struct acl_entry);
}

static struct acl_entry
entry_get(const void *acl, size_t n)
{
	struct acl_entry e;

	memcpy(&e, (const char *)acl + sizeof(struct acl_head) + n * sizeof(e), sizeof(e));
	return e;
}

static void
entry_set_perm(void *acl, size_t n, uint32_t perm)
{
	struct acl_entry e = entry_get(acl, n);

	e.perm = (uint16_t)perm;
	memcpy((char *)acl + sizeof(struct acl_head) + n * sizeof(e), &e, sizeof(e));
}

int
acl_check(const void *acl, size_t size)
{
	enum acl_tag expect = ACL_USER_OBJ;
	bool needs_mask = false, complete = false;
	struct acl_head head;

	if (size < sizeof(head) || size > XATTR_VALUE_MAX
	    || (size - sizeof(head)) % sizeof(struct acl_entry) != 0)
		return -EINVAL;
	memcpy(&head, acl, sizeof(head));
	if (head.version != ACL_VERSION)
		return -EINVAL;
	for (size_t n = 0; n < acl_count(size); n++) {
		struct acl_entry e = entry_get(acl, n);

		if ((e.perm & ~ACL_PERM) || complete)
			return -EINVAL;
		switch (e.tag) {
		case ACL_USER_OBJ:
			if (expect != ACL_USER_OBJ)
				return -EINVAL;
			expect = ACL_USER;
			break;
		case ACL_USER:
			if (expect != ACL_USER || e.id == ACL_ID_NONE)
				return -EINVAL;
			needs_mask = true;
			break;
		case ACL_GROUP_OBJ:
			if (expect != ACL_USER)
				return -EINVAL;
			expect = ACL_GROUP;
			break;
		case ACL_GROUP:
			if (expect != ACL_GROUP || e.id == ACL_ID_NONE)
				return -EINVAL;
			needs_mask = true;
			break;
		case ACL_MASK:
			if (expect != ACL_GROUP)
				return -EINVAL;
			expect = ACL_OTHER;
			break;
		case ACL_OTHER:
			if (expect != ACL_OTHER && (expect != ACL_GROUP || needs_mask))
				return -EINVAL;
			complete = true;
			break;
		default:
			return -EINVAL;
		}
	}
	if (!complete && acl_count(size) > 0)
		return -EINVAL;
	return (int)acl_count(size);
}

/* How far the class of an entry is from the lowest bit of the mode, or -1: it is in none. The
 * owning group's entry is one only if there is no mask. */
static int
class_shift(const void *acl, size_t size, size_t n)
{
	switch (entry_get(acl, n).tag) {
	case ACL_USER_OBJ:
		return 6;
	case ACL_MASK:
		return 3;
	case ACL_OTHER:
		return 0;
	case ACL_GROUP_OBJ:
		for (size_t k = n + 1; k < acl_count(size); k++)
			if (entry_get(acl, k).tag == ACL_MASK)
				return -1;
		return 3;
	default:
		return -1;
	}
}

bool
acl_to_mode(const void *acl, size_t size, uint32_t *mode)
{
	bool all = true;

	for (size_t n = 0; n < acl_count(size); n++) {
		struct acl_entry e = entry_get(acl, n);
		int shift = class_shift(acl, size, n);

		if (shift < 0 || e.tag == ACL_MASK)
			all = false;
		if (shift >= 0)
			*mode = (*mode & ~(ACL_PERM << shift)) | (uint32_t)e.perm << shift;
	}
	return all;
}

void
acl_chmod(void *acl, size_t size, uint32_t mode)
{
	for (size_t n = 0; n < acl_count(size); n++) {
		int shift = class_shift(acl, size, n);

		if (shift >= 0)
			entry_set_perm(acl, n, mode >> shift & ACL_PERM);
	}
}

bool
acl_inherit(void *acl, size_t size, uint32_t *mode)
{
	for (size_t n = 0; n < acl_count(size); n++) {
		int shift = class_shift(acl, size, n);

		if (shift >= 0)
			entry_set_perm(acl, n, entry_get(acl, n).perm & (*mode >> shift & ACL_PERM));
	}
	return acl_to_mode(acl, size, mode);
}

/* The stored ACL in *acl (to be freed) and its size; 0: none. attr_lock is held. */
static ssize_t
acl_read_locked(struct inode *i, const char *name, void **acl)
{
	ssize_t size = xattr_get_locked(i, name, NULL, 0), n;

	if (size == -ENODATA)
		return 0;
	if (size < 0)
		return size;
	*acl = malloc((size_t)size + 1);
	if (!*acl)
		return -ENOMEM;
	n = xattr_get_locked(i, name, *acl, (size_t)size);
	if (n >= 0 && acl_check(*acl, (size_t)n) <= 0) {
		pinfs_log(LOG_ERR, "inode %llu: damaged ACL", (unsigned long long)i->ino);
		n = -EIO;
	}
	if (n < 0) {
		free(*acl);
		*acl = NULL;
	}
	return n;
}

int
acl_chmod_locked(struct txn *t, struct inode *i, uint32_t mode)
{
	void *acl = NULL;
	ssize_t size = acl_read_locked(i, ACL_NAME_ACCESS, &acl);
	int err;

	if (size <= 0)
		return (int)size;
	acl_chmod(acl, (size_t)size, mode);
	err = txn_extend(t, xattr_credits(i->fs->pool, (size_t)size));
	if (!err)
		err = xattr_set_locked(t, i, ACL_NAME_ACCESS, acl, (size_t)size, 0);
	free(acl);
	return err;
}

int
acl_new_locked(struct inode *dir, uint32_t *mode, mode_t umask, struct acl_new *a)
{
	ssize_t size = acl_read_locked(dir, ACL_NAME_DEFAULT, &a->access);

	if (size < 0)
		return (int)size;
	if (size == 0) {
		*mode &= ~(uint32_t)(umask & 0777);
		return 0;
	}
	if (S_ISDIR(*mode)) {
		a->def = malloc((size_t)size);
		if (!a->def) {
			acl_new_free(a);
			return -ENOMEM;
		}
		memcpy(a->def, a->access, (size_t)size);
		a->def_size = (size_t)size;
	}
	a->access_size = (size_t)size;
	if (acl_inherit(a->access, a->access_size, mode)) {
		free(a->access);
		a->access = NULL;
	}
	return 0;
}

uint64_t
acl_new_credits(struct pool *p, const struct acl_new *a)
{
	return (a->access ? xattr_credits(p, a->access_size) : 0) + (a->def ? xattr_credits(p, a->def_size) : 0);
}

int
acl_new_store(struct txn *t, struct inode *i, const struct acl_new *a)
{
	int err = 0;

	mtx_lock(&i->attr_lock);
	if (a->access)
		err = xattr_set_locked(t, i, ACL_NAME_ACCESS, a->access, a->access_size, 0);
	if (!err && a->def)
		err = xattr_set_locked(t, i, ACL_NAME_DEFAULT, a->def, a->def_size, 0);
	mtx_unlock(&i->attr_lock);
	return err;
}

void
acl_new_free(struct acl_new *a)
{
	free(a->access);
	free(a->def);
	*a = (struct acl_new){ 0 };
}
