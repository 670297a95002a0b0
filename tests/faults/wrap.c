/* SPDX-License-Identifier: BSD-3-Clause */
/* The wrappers: see wrap.h. Each has the name that the linker's --wrap asks for. */
#include "tests/faults/wrap.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

static uint64_t count, target;  /* atomic */
static bool from_there_on, pausing;
static const char *hit;         /* atomic */

void
faults_arm(uint64_t n, bool on)
{
	from_there_on = on;
	__atomic_store_n(&hit, NULL, __ATOMIC_RELAXED);
	__atomic_store_n(&count, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&target, n ? n : UINT64_MAX, __ATOMIC_RELEASE);
}

void
faults_pause(bool paused)
{
	__atomic_store_n(&pausing, paused, __ATOMIC_RELAXED);
}

uint64_t
faults_disarm(void)
{
	__atomic_store_n(&target, 0, __ATOMIC_RELEASE);
	return __atomic_load_n(&count, __ATOMIC_RELAXED);
}

const char *
faults_hit(void)
{
	return __atomic_load_n(&hit, __ATOMIC_RELAXED);
}

static bool
fails(const char *name)
{
	uint64_t t = __atomic_load_n(&target, __ATOMIC_ACQUIRE), n;
	const char *none = NULL;

	if (t == 0 || __atomic_load_n(&pausing, __ATOMIC_RELAXED))
		return false;
	n = __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED);
	if (n != t && !(from_there_on && n > t))
		return false;
	__atomic_compare_exchange_n(&hit, &none, name, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
	return true;
}

/* `type name(params)` that fails with errno e and value v; args is how they are passed on. */
#define WRAP(type, name, params, args, v, e) \
	type __real_##name params; \
	type __wrap_##name params; \
	type __wrap_##name params \
	{ \
		if (fails(#name)) { \
			errno = e; \
			return v; \
		} \
		return __real_##name args; \
	}

WRAP(void *, malloc, (size_t n), (n), NULL, ENOMEM)
WRAP(void *, calloc, (size_t n, size_t m), (n, m), NULL, ENOMEM)
WRAP(void *, realloc, (void *p, size_t n), (p, n), NULL, ENOMEM)
WRAP(int, posix_memalign, (void **p, size_t a, size_t n), (p, a, n), ENOMEM, ENOMEM)
WRAP(char *, strdup, (const char *s), (s), NULL, ENOMEM)
WRAP(void *, mmap, (void *a, size_t n, int prot, int fl, int fd, off_t off), (a, n, prot, fl, fd, off), MAP_FAILED, ENOMEM)
WRAP(int, madvise, (void *a, size_t n, int what), (a, n, what), -1, EFAULT)
WRAP(int, fstat, (int fd, struct stat *st), (fd, st), -1, EIO)
WRAP(int, fstatfs, (int fd, struct statfs *st), (fd, st), -1, EIO)
WRAP(int, fallocate, (int fd, int mode, off_t off, off_t len), (fd, mode, off, len), -1, ENOSPC)
WRAP(int, ftruncate, (int fd, off_t len), (fd, len), -1, EIO)
WRAP(int, fdatasync, (int fd), (fd), -1, EIO)
WRAP(int, fsync, (int fd), (fd), -1, EIO)
WRAP(ssize_t, pread, (int fd, void *buf, size_t n, off_t off), (fd, buf, n, off), -1, EIO)
WRAP(ssize_t, getrandom, (void *buf, size_t n, unsigned fl), (buf, n, fl), -1, ENOSYS)
WRAP(char *, realpath, (const char *path, char *buf), (path, buf), NULL, ENOMEM)
WRAP(int, pthread_create, (pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg), (t, a, fn, arg), EAGAIN,
    EAGAIN)
WRAP(int, io_uring_queue_init, (unsigned n, struct io_uring *r, unsigned fl), (n, r, fl), -ENOMEM, ENOMEM)
WRAP(int, io_uring_submit_and_wait, (struct io_uring *r, unsigned n), (r, n), -EIO, EIO)
WRAP(void *, pmem_map_file, (const char *path, size_t len, int fl, mode_t mode, size_t *mapped, int *is_pmem),
    (path, len, fl, mode, mapped, is_pmem), NULL, ENOMEM)

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int
__wrap_open(const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list ap;

	if (flags & (O_CREAT | O_TMPFILE)) {
		va_start(ap, flags);
		mode = va_arg(ap, mode_t);
		va_end(ap);
	}
	if (fails("open")) {
		errno = EMFILE;
		return -1;
	}
	return __real_open(path, flags, mode);
}

int __real_fcntl(int fd, int cmd, ...);
int __wrap_fcntl(int fd, int cmd, ...);
int
__wrap_fcntl(int fd, int cmd, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, cmd);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (fails("fcntl")) {
		errno = ENOLCK;
		return -1;
	}
	return __real_fcntl(fd, cmd, arg);
}
