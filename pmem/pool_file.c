/* SPDX-License-Identifier: BSD-3-Clause */
/* The file or device below a pool: opening it, how large it is, who has it, and
 * the mapping. mkfs and mount share this.
 *
 * The lock is an OFD lock: it belongs to the open file description, so it goes away
 * with the process whatever kills it, and no stray close of another
 * descriptor of the file drops it. Waiting for it is polling, because a wait has to
 * end at a deadline and a signal to cut it short is not a library's to take.
 *
 * libpmem maps by name. It is given the name that /proc has for our descriptor, so
 * that what is mapped is what was opened and locked, whatever was renamed meanwhile.
 * Where libpmem can't (a block device, no /proc), mmap(2) does.
 */
#include "pmem/pool_i.h"

#include <errno.h>
#include <fcntl.h>
#include <libpmem.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#define LOCK_POLL_MS 5

void
pool_error_set(struct pool_error *err, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return;
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
}

/* The size of a DAX character device is in sysfs only. */
static int
dax_size(dev_t rdev, uint64_t *bytes)
{
	char path[80], link[PATH_MAX], text[32];
	unsigned long long v;
	ssize_t n;
	FILE *f;
	bool ok;

	snprintf(path, sizeof(path), "/sys/dev/char/%u:%u/subsystem", major(rdev), minor(rdev));
	n = readlink(path, link, sizeof(link) - 1);
	if (n < 4 || memcmp(link + n - 4, "/dax", 4) != 0)
		return -EINVAL;
	snprintf(path, sizeof(path), "/sys/dev/char/%u:%u/size", major(rdev), minor(rdev));
	f = fopen(path, "re");
	if (!f)
		return -errno;
	ok = fgets(text, sizeof(text), f) != NULL && sscanf(text, "%llu", &v) == 1;
	fclose(f);
	if (!ok)
		return -EIO;
	*bytes = v;
	return 0;
}

static int
find_size(struct pool_file *f, const char *path, const struct stat *st, struct pool_error *err)
{
	int ret;

	switch (st->st_mode & S_IFMT) {
	case S_IFREG:
		f->bytes = (uint64_t)st->st_size;
		f->sparse = (uint64_t)st->st_blocks * 512 < (f->bytes & ~(uint64_t)BLK_MASK);
		return 0;
	case S_IFBLK:
		f->device = true;
		if (ioctl(f->fd, BLKGETSIZE64, &f->bytes) == 0)
			return 0;
		ret = -errno;
		pool_error_set(err, "%s: can't tell the size of the device: %s", path, strerror(-ret));
		return ret;
	case S_IFCHR:
		f->device = f->dax_device = true;
		ret = dax_size(st->st_rdev, &f->bytes);
		if (ret < 0)
			pool_error_set(err, "%s: not a DAX device", path);
		return ret;
	default:
		pool_error_set(err, "%s: neither a file nor a device", path);
		return -EINVAL;
	}
}

int
pool_file_open(struct pool_file *f, const char *path, int oflags, struct pool_error *err)
{
	struct stat st;
	int ret;

	memset(f, 0, sizeof(*f));
	/* O_NONBLOCK: a fifo must not keep us waiting before it is refused. */
	f->fd = open(path, oflags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
	if (f->fd < 0) {
		ret = -errno;
		pool_error_set(err, "%s: %s", path,
		    ret == -EBUSY ? "in use by the kernel (mounted, or part of another device)" : strerror(-ret));
		return ret;
	}
	ret = fstat(f->fd, &st) < 0 ? -errno : find_size(f, path, &st, err);
	if (ret < 0)
		pool_file_close(f);
	return ret;
}

static int64_t
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int
pool_file_lock(struct pool_file *f, const char *path, bool whole, unsigned wait_ms, struct pool_error *err)
{
	const struct timespec pause = { .tv_nsec = LOCK_POLL_MS * 1000000 };
	int64_t deadline = now_ms() + wait_ms;
	bool writing = (fcntl(f->fd, F_GETFL) & O_ACCMODE) == O_RDWR;

	for (;;) {
		struct flock fl = {
			.l_type = writing ? F_WRLCK : F_RDLCK,
			.l_whence = SEEK_SET,
			.l_len = whole ? 0 : ROOT_SLOTS * BLK_SIZE,
		};

		if (fcntl(f->fd, F_OFD_SETLK, &fl) == 0)
			return 0;
		if (errno != EAGAIN && errno != EACCES && errno != EINTR) {
			int ret = -errno;

			pool_error_set(err, "%s: can't be locked: %s", path, strerror(-ret));
			return ret;
		}
		if (now_ms() >= deadline)
			break;
		nanosleep(&pause, NULL);
	}
	pool_error_set(err, "%s: in use: it is mounted, being checked%s", path,
	    whole ? ", or still mapped by a client" : " or being made");
	return -EBUSY;
}

static bool
map_with_libpmem(struct pool_file *f)
{
	char name[40];
	size_t len = 0;
	int is_pmem;
	void *addr;

	snprintf(name, sizeof(name), "/proc/self/fd/%d", f->fd);
	addr = pmem_map_file(name, 0, 0, 0, &len, &is_pmem);
	if (!addr)
		return false;
	if (len != f->bytes) {
		pmem_unmap(addr, len);
		return false;
	}
	f->base = addr;
	f->map_len = len;
	f->by_libpmem = true;
	return true;
}

int
pool_file_map(struct pool_file *f, const char *path, bool readonly, struct pool_error *err)
{
	void *addr;

	if (f->bytes == 0 || f->bytes > INT64_MAX) {
		pool_error_set(err, "%s: it is empty, not a pinfs pool", path);
		return -EINVAL;
	}
	if (!readonly && map_with_libpmem(f))
		return 0;
	addr = mmap(NULL, f->bytes, readonly ? PROT_READ : PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, 0);
	if (addr == MAP_FAILED) {
		int ret = -errno;

		pool_error_set(err, "%s: can't be mapped: %s", path, strerror(-ret));
		return ret;
	}
	f->base = addr;
	f->map_len = f->bytes;
	return 0;
}

void
pool_file_close(struct pool_file *f)
{
	if (f->base && f->by_libpmem)
		pmem_unmap(f->base, f->map_len);
	else if (f->base)
		munmap(f->base, f->map_len);
	f->base = NULL;
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
}
