/* SPDX-License-Identifier: BSD-3-Clause */
/* Checks of POSIX and Linux semantics on a directory of a mount: what the tables of
 * posix_*.c contain and what their functions use.
 *
 * A check is a function that runs in a process of its own, with a fresh directory (mode 0777)
 * as its working directory, so paths are short and relative. The macros below record a failure with file,
 * line and expression, and go on.
 */
#ifndef PINFS_TESTS_MOUNT_POSIX_H
#define PINFS_TESTS_MOUNT_POSIX_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct check {
	const char *name;
	void (*run)(void);
};
/* Ended by an entry without name. */
extern const struct check posix_names[], posix_attrs[], posix_io[];

void check_ok(long long r, const char *expr, const char *file, int line);
void check_err(long long r, int err, const char *expr, const char *file, int line);
void check_eq(long long got, long long want, const char *expr, const char *file, int line);
void check_true(bool c, const char *expr, const char *file, int line);
/* Part of a check can't run here; the reason is printed, nothing fails. */
void not_run(const char *why);

/* The call returns >= 0 / returns -1 with that errno / equality of integers / truth. */
#define OK(expr) check_ok((long long)(expr), #expr, __FILE__, __LINE__)
#define ERR(expr, e) check_err((long long)(expr), e, #expr, __FILE__, __LINE__)
#define EQ(got, want) check_eq((long long)(got), (long long)(want), #got " == " #want, __FILE__, __LINE__)
#define TRUE(c) check_true(c, #c, __FILE__, __LINE__)

/* AS(uid, gid) { statements }: run them in a child with these ids and no other groups; only if
 * can_act(): we are root, and the mount is open to others (allow_other). Otherwise can_act() says so. */
#define AS(uid, gid) for (int as_ = as_begin(uid, gid); as_ == 0; as_ = as_end())
bool can_act(void);
int as_begin(uid_t uid, gid_t gid);
int as_end(void) __attribute__((noreturn));
static inline bool is_root(void) { return geteuid() == 0; }

/* Helpers that must succeed (a failure is recorded). */
int make(const char *path, const char *content);      /* a file 0644 with that text; closed */
int open_new(const char *path);                       /* O_RDWR | O_CREAT | O_EXCL, 0644 */
struct stat st_of(const char *path);                  /* lstat */
bool content_is(const char *path, const char *want);
void fill(void *buf, size_t len, unsigned seed);      /* bytes that depend on seed and place */
bool is_filled(const void *buf, size_t len, unsigned seed);
bool is_zero(const void *buf, size_t len);
bool same_time(struct timespec a, struct timespec b);
void tick(void);                                      /* let the clock of timestamps move on */

#endif
