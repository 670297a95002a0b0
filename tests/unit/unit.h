/* SPDX-License-Identifier: BSD-3-Clause */
/* What every unit test program shares. */
#ifndef PINFS_TESTS_UNIT_H
#define PINFS_TESTS_UNIT_H

#include <check.h>
#include <stdint.h>
#include <stdlib.h>

/* Run a suite in forked tests (CK_FORK=no in the environment: not), print every failure and
 * one line of totals; the exit status of main(). */
int unit_main(Suite *s);

/* A path for a pool, fresh for each call, in a directory of this process
 * ($PINFS_TEST_DIR or /dev/shm) that is removed when the program ends. */
const char *unit_pool_path(void);

/* A pool of that many MiB at a fresh path: the path. Aborts the test on failure. */
struct pool;
const char *unit_mkpool(unsigned mib);
struct pool *unit_open(const char *path);  /* opened, allocator rebuilt from an empty tree walk */
struct fs;
struct fs *unit_mount(const char *path);   /* formats it first if it has no root directory */

/* A small deterministic generator (xorshift64*). */
uint64_t unit_random(uint64_t *state);

#define ck_assert_ok(expr) \
	do { long long r_ = (long long)(expr); \
	     ck_assert_msg(r_ >= 0, "%s: %lld (%s)", #expr, r_, strerror((int)-r_)); } while (0)
#define ck_assert_err(expr, err) \
	do { long long r_ = (long long)(expr); \
	     ck_assert_msg(r_ == -(err), "%s: %lld, not -%s", #expr, r_, #err); } while (0)

#endif
