/* SPDX-License-Identifier: BSD-3-Clause */
/* Copying a pool: the file's data, hole by hole, or all of a device. Where the filesystem can share blocks
 * (FICLONE), the copy is made at once. A DAX device can't be read, but it is mapped. */
#include "cli/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define PHASE "copy"
#define STEP ((uint64_t)1 << 20) /* bytes */

struct copy {
	struct pool *pool;
	int from, to;
	uint64_t len;   /* of the file; of a device, what the pool takes */
	char *buf;
	int (*progress)(void *arg, const char *phase, uint64_t done, uint64_t total);
	void *arg;
};

int
cli_write_all(int fd, const void *buf, size_t len, uint64_t off)
{
	const char *b = buf;

	while (len > 0) {
		ssize_t n = pwrite(fd, b, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		b += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

/* Where data begins at or behind off, and where it ends. */
static void
next_data(const struct copy *c, uint64_t off, uint64_t *start, uint64_t *end)
{
	off_t data = lseek(c->from, (off_t)off, SEEK_DATA), hole;

	*start = off;
	*end = c->len;
	if (data < 0 && errno == ENXIO)
		*start = c->len;
	if (data < 0)
		return; /* a device, or a filesystem that can't tell */
	hole = lseek(c->from, data, SEEK_HOLE);
	*start = min_of((uint64_t)data, c->len);
	*end = hole < 0 ? c->len : min_of((uint64_t)hole, c->len);
}

static int
copy_range(struct copy *c, uint64_t off, uint64_t end)
{
	while (off < end) {
		uint64_t len = min_of(STEP, end - off);
		ssize_t n = pread(c->from, c->buf, len, (off_t)off);
		int r;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EINVAL) /* a DAX device */
			r = cli_write_all(c->to, (char *)pool_block(c->pool, 0) + off, len, off);
		else if (n <= 0)
			r = n < 0 ? -errno : -EIO;
		else
			r = cli_write_all(c->to, c->buf, (size_t)n, off);
		if (r < 0)
			return r;
		off += n > 0 ? (uint64_t)n : len;
		if (c->progress(c->arg, PHASE, off, c->len))
			return -ECANCELED;
	}
	return 0;
}

static int
copy_all(struct copy *c)
{
	int r = 0;

	if (ioctl(c->to, FICLONE, c->from) == 0)
		return 0;
	if (ftruncate(c->to, (off_t)c->len) < 0)
		return -errno;
	c->buf = malloc(STEP);
	if (!c->buf)
		return -ENOMEM;
	for (uint64_t off = 0, end; off < c->len && r == 0; off = end) {
		next_data(c, off, &off, &end);
		r = copy_range(c, off, end);
	}
	free(c->buf);
	return r;
}

int
cli_copy_pool(struct pool *p, const char *to, int (*progress)(void *arg, const char *phase, uint64_t done,
    uint64_t total), void *arg)
{
	struct copy c = { .pool = p, .from = pool_fd(p), .progress = progress, .arg = arg };
	struct stat st;
	int r;

	if (fstat(c.from, &st) < 0)
		return -errno;
	c.len = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : pool_nblocks(p) << BLK_SHIFT;
	c.to = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (c.to < 0)
		return -errno;
	r = copy_all(&c);
	if (r == 0 && fsync(c.to) < 0)
		r = -errno;
	if (close(c.to) < 0 && r == 0)
		r = -errno;
	if (r < 0)
		unlink(to);
	return r;
}
