/* SPDX-License-Identifier: BSD-3-Clause */
/* Files for the tests of file content. */
#ifndef PINFS_TESTS_UNIT_FILE_H
#define PINFS_TESTS_UNIT_FILE_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "fs/check.h"
#include "fs/fs.h"
#include "fs/pin.h"
#include "pmem/held.h"
#include "tests/unit/unit.h"

static const struct fs_cred unit_cred = { .fsetid = true };

/* An open file of that name in the root directory; made if it does not exist. */
static inline struct file *
unit_file(struct fs *fs, const char *name, int flags)
{
	struct inode *root, *i;
	struct file *f;
	int r;

	ck_assert_ok(inode_get(fs, INO_ROOT, &root));
	r = fs_lookup(fs, root, name, &i);
	if (r == -ENOENT)
		r = fs_create(fs, root, name, S_IFREG | 0644, 0, &unit_cred, &i);
	ck_assert_ok(r);
	ck_assert_ok(fs_open(fs, i, flags, &unit_cred, &f));
	inode_put(i);
	inode_put(root);
	return f;
}

static inline void
unit_unlink(struct fs *fs, const char *name)
{
	struct inode *root;

	ck_assert_ok(inode_get(fs, INO_ROOT, &root));
	ck_assert_ok(fs_unlink(fs, root, name));
	inode_put(root);
}

/* Blocks that can be had when all is written back and committed twice, so that every free
 * has taken effect. */
static inline uint64_t
unit_free_blocks(struct fs *fs)
{
	struct alloc_stats st;

	for (int n = 0; n < 2; n++) {
		ck_assert_ok(fs_sync(fs));
		ck_assert_ok(txn_commit_wait(fs_pool(fs), txn_open_number(fs_pool(fs))));
	}
	held_check_all(fs_pool(fs));
	alloc_stats(pool_alloc(fs_pool(fs)), &st);
	return st.free;
}

static inline uint64_t
unit_reserved_blocks(struct fs *fs)
{
	struct alloc_stats st;

	alloc_stats(pool_alloc(fs_pool(fs)), &st);
	return st.reserved;
}

static inline void
unit_finding(void *arg, const struct check_finding *f)
{
	char text[512];

	(void)arg;
	check_format(f, text, sizeof(text));
	if (f->error)
		fprintf(stderr, "check: %s\n", text);
}

/* fsck of a pool that is not mounted. */
static inline void
unit_check(const char *path)
{
	struct pool_options open = { .flags = POOL_RDONLY, .domain = -1 };
	struct check_options opt = { .finding = unit_finding, .threads = 1 };
	struct check_result res;
	struct pool_error err;
	struct pool *p;

	ck_assert_ok(pool_open(&p, path, &open, &err));
	ck_assert_ok(check_pool(p, &opt, &res));
	pool_close(p);
	ck_assert_uint_eq(res.errors, 0);
}

static inline uint64_t
unit_size(struct file *f)
{
	struct stat st;

	inode_stat(f->inode, &st);
	return (uint64_t)st.st_size;
}

/* Pin n ranges as a mount without options does. */
static inline int
unit_pin(struct file *f, enum pin_access access, struct pin_range *r, unsigned n, uint64_t *id)
{
	const struct pin_params params = { .access = access, .class = PIN_TRANSIENT };

	return pin_add(f, &params, r, n, &unit_cred, id);
}

static inline void
unit_write(struct file *f, const void *buf, size_t len, uint64_t off)
{
	ck_assert_int_eq(fs_write(f, buf, len, off, false), (long long)len);
}

/* All bytes of a range are c. */
static inline void
unit_expect(struct file *f, uint64_t off, size_t len, uint8_t c)
{
	uint8_t *buf = malloc(len);

	ck_assert_ptr_nonnull(buf);
	ck_assert_int_eq(fs_read(f, buf, len, off), (long long)len);
	for (size_t k = 0; k < len; k++)
		if (buf[k] != c)
			ck_abort_msg("byte %llu is %#x, not %#x", (unsigned long long)(off + k), buf[k], c);
	free(buf);
}

static inline void
unit_fill(struct file *f, uint64_t off, size_t len, uint8_t c)
{
	uint8_t *buf = malloc(len);

	ck_assert_ptr_nonnull(buf);
	memset(buf, c, len);
	unit_write(f, buf, len, off);
	free(buf);
}

#endif
