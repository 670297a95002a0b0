/* SPDX-License-Identifier: BSD-3-Clause */
/* Making a pool: look, lock, allocate, clear the old root slots, write both new ones.
 *
 * The lock is taken on the whole file, not only on the root slots: a client of a
 * daemon that died still holds locks on what it maps, and must not find its
 * stores in a new pool.
 *
 * The old roots go first and for good, so that a crash half way leaves no pool
 * rather than an old one with new blocks. Both slots are written, as
 * transactions 1 and 2, so that there is a second root from the first day. What
 * lies in the other blocks does not matter: nothing refers to them.
 *
 * Whatever fails, a file that was made here is removed again, and one that was
 * only resized gets its old size back.
 */
#include "pmem/pool_i.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "pmem/log.h"

#define PROBE_BYTES ((size_t)1 << 20)     /* read at a time */
#define DEVICE_HEAD ((uint64_t)2 << 20)   /* where a device is looked at: signatures lie at */
#define DEVICE_TAIL ((uint64_t)1 << 20)   /* its ends */
#define ALLOCATE_STEP ((uint64_t)64 << 20)

struct making {
	const char *path;
	const struct mkfs_options *opt;
	struct pool_error *err;
	struct pool_file file;
	bool created;
	bool resized;
	uint64_t old_bytes;
	uint64_t bytes; /* of the pool: whole blocks */
};

static int
fail(struct making *m, int ret, const char *what)
{
	pool_error_set(m->err, "%s: %s%s%s", m->path, what, ret == -EINVAL || ret == -EEXIST ? "" : ": ",
	    ret == -EINVAL || ret == -EEXIST ? "" : strerror(-ret));
	return ret;
}

static void
progress(struct making *m, uint64_t done)
{
	if (m->opt->progress)
		m->opt->progress(m->opt->progress_arg, done, m->bytes);
}

/* ---- is it empty? --------------------------------------------------------- */

static bool
all_zero(const char *buf, size_t len)
{
	return len == 0 || (buf[0] == 0 && memcmp(buf, buf + 1, len - 1) == 0);
}

/* 1: something other than zeroes between from and to. */
static int
content_in(struct making *m, char *buf, uint64_t from, uint64_t to)
{
	while (from < to) {
		ssize_t n = pread(m->file.fd, buf, min_of(PROBE_BYTES, to - from), (off_t)from);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		if (!all_zero(buf, (size_t)n))
			return 1;
		from += (uint64_t)n;
	}
	return 0;
}

static int
content_in_file(struct making *m, char *buf)
{
	off_t data = 0, hole = 0, end = (off_t)m->file.bytes;
	int ret = 0;

	while (ret == 0 && hole < end) {
		data = lseek(m->file.fd, hole, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			return 0;
		/* A filesystem without SEEK_DATA: it may all be data. */
		hole = data < 0 ? end : lseek(m->file.fd, data, SEEK_HOLE);
		if (data < 0)
			data = 0;
		ret = content_in(m, buf, (uint64_t)data, hole < 0 ? (uint64_t)end : (uint64_t)hole);
		if (hole < 0)
			break;
	}
	return ret;
}

static int
content_in_device(struct making *m, char *buf)
{
	uint64_t head = min_of(DEVICE_HEAD, m->file.bytes);
	uint64_t tail = max_of(head, m->file.bytes - min_of(DEVICE_TAIL, m->file.bytes));
	int ret;

	if (m->file.dax_device) {
		const char *base = (const char *)m->file.base;

		return !all_zero(base, head) || !all_zero(base + tail, m->file.bytes - tail);
	}
	ret = content_in(m, buf, 0, head);
	return ret ? ret : content_in(m, buf, tail, m->file.bytes);
}

static int
refuse_content(struct making *m)
{
	char magic[8] = "";
	char *buf;
	int ret;

	if (m->created || m->opt->force || m->file.bytes == 0)
		return 0;
	buf = malloc(PROBE_BYTES);
	if (!buf)
		return fail(m, -ENOMEM, "can't look for old content");
	ret = m->file.device ? content_in_device(m, buf) : content_in_file(m, buf);
	free(buf);
	if (ret == 0)
		return 0;
	if (ret < 0)
		return fail(m, ret, "can't look for old content");
	if (m->file.dax_device)
		memcpy(magic, m->file.base, sizeof(magic));
	else if (pread(m->file.fd, magic, sizeof(magic), 0) != (ssize_t)sizeof(magic))
		magic[0] = 0;
	return fail(m, -EEXIST, memcmp(magic, POOL_MAGIC, sizeof(magic)) == 0 ?
	    "there is a pinfs pool already; -f overwrites it" : "it is not empty; -f overwrites it");
}

/* ---- size ----------------------------------------------------------------- */

static int
choose_size(struct making *m)
{
	uint64_t bytes = m->opt->bytes ? m->opt->bytes : m->file.bytes;
	struct statfs sfs;

	if (m->opt->bytes == 0 && bytes == 0)
		return fail(m, -EINVAL, "it is empty or new, so a size must be given (-s)");
	if (m->file.device && bytes > m->file.bytes) {
		pool_error_set(m->err, "%s: the device has only %llu bytes", m->path,
		    (unsigned long long)m->file.bytes);
		return -EINVAL;
	}
	if (bytes < POOL_MIN_BYTES) {
		pool_error_set(m->err, "%s: a pool needs at least %u bytes", m->path, POOL_MIN_BYTES);
		return -EINVAL;
	}
	if (bytes > INT64_MAX - BLK_SIZE)
		return fail(m, -EFBIG, "size");
	if (!m->file.device && fstatfs(m->file.fd, &sfs) == 0 && sfs.f_type == HUGETLBFS_MAGIC &&
	    bytes % (uint64_t)sfs.f_bsize != 0) {
		pool_error_set(m->err, "%s: on hugetlbfs the size must be a multiple of %llu", m->path,
		    (unsigned long long)sfs.f_bsize);
		return -EINVAL;
	}
	m->bytes = bytes & ~(uint64_t)BLK_MASK;
	return 0;
}

/* What can't fit is refused before a block of it is taken: filling a tmpfs to find out would
 * take the machine's memory. */
static int
check_room(struct making *m)
{
	struct statfs sfs;
	struct stat sb;
	uint64_t has, room;

	if (fstatfs(m->file.fd, &sfs) < 0 || fstat(m->file.fd, &sb) < 0)
		return fail(m, -errno, "can't be asked for its space");
	if (sfs.f_blocks == 0 || sfs.f_bsize <= 0)
		return 0; /* a filesystem without a limit, or one that does not tell */
	has = (uint64_t)sb.st_blocks * 512;
	room = (uint64_t)sfs.f_bavail > UINT64_MAX / (uint64_t)sfs.f_bsize ? UINT64_MAX :
	    (uint64_t)sfs.f_bavail * (uint64_t)sfs.f_bsize;
	if (has >= m->bytes || m->bytes - has <= room)
		return 0;
	pool_error_set(m->err, "%s: a pool of %llu bytes does not fit: its filesystem has space for %llu more",
	    m->path, (unsigned long long)m->bytes, (unsigned long long)room);
	return -ENOSPC;
}

static int
allocate(struct making *m)
{
	int ret = check_room(m);

	if (ret < 0)
		return ret;
	for (uint64_t off = 0; off < m->bytes;) {
		uint64_t len = min_of(ALLOCATE_STEP, m->bytes - off);

		if (fallocate(m->file.fd, 0, (off_t)off, (off_t)len) < 0) {
			if (errno == EINTR)
				continue;
			if (errno == EOPNOTSUPP) {
				pinfs_log(LOG_NOTICE, "%s: its filesystem can't allocate in advance", m->path);
				break;
			}
			return fail(m, -errno, "can't allocate its blocks");
		}
		off += len;
		progress(m, off);
	}
	return 0;
}

static int
give_size(struct making *m)
{
	uint64_t to = m->opt->bytes ? m->bytes : m->file.bytes;
	int ret;

	if (m->file.device)
		return 0;
	m->resized = true;
	if (m->file.bytes != to && ftruncate(m->file.fd, (off_t)to) < 0)
		return fail(m, -errno, "can't be given its size");
	m->file.bytes = to;
	ret = m->opt->keep_sparse ? 0 : allocate(m);
	return ret;
}

/* ---- content -------------------------------------------------------------- */

static int
random_bytes(void *buf, size_t len)
{
	char *p = buf;

	while (len > 0) {
		ssize_t n = getrandom(p, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int
fill_root(struct making *m, struct root_block *r)
{
	struct timespec now;
	int ret;

	memset(r, 0, sizeof(*r));
	memcpy(r->magic, POOL_MAGIC, sizeof(r->magic));
	r->version = POOL_VERSION;
	r->nblocks = m->bytes >> BLK_SHIFT;
	clock_gettime(CLOCK_REALTIME, &now);
	r->mkfs_time_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	r->next_ino = INO_ROOT + 1; /* that of the root directory is not handed out */
	r->flags = ROOT_CLEAN;
	r->ntrees = 1;
	if (m->opt->label)
		memcpy(r->label, m->opt->label, strlen(m->opt->label));
	ret = random_bytes(r->hash_seed, sizeof(r->hash_seed));
	if (ret == 0 && m->opt->uuid) {
		memcpy(r->uuid, m->opt->uuid, sizeof(r->uuid));
	} else if (ret == 0) {
		ret = random_bytes(r->uuid, sizeof(r->uuid));
		r->uuid[6] = (uint8_t)((r->uuid[6] & 0x0f) | 0x40); /* RFC 4122, version 4 */
		r->uuid[8] = (uint8_t)((r->uuid[8] & 0x3f) | 0x80);
	}
	return ret;
}

static int
write_roots(struct making *m)
{
	struct root_block *r = malloc(sizeof(*r));
	struct domain *d = NULL;
	int ret;

	if (!r)
		return -ENOMEM;
	ret = fill_root(m, r);
	if (ret == 0)
		ret = domain_open(&d, domain_detect(m->file.fd, m->file.base, m->file.map_len), m->file.fd,
		    m->file.base, m->file.map_len);
	if (ret == 0) {
		domain_zero(d, m->file.base, ROOT_SLOTS * BLK_SIZE);
		ret = domain_flush_range(d, m->file.base, ROOT_SLOTS * BLK_SIZE);
	}
	for (r->txn = 1; ret == 0 && r->txn <= ROOT_SLOTS; r->txn++)
		ret = root_store(d, m->file.base, r);
	domain_close(d);
	free(r);
	return ret;
}

/* The name of a new file has to be as durable as the file. */
static int
sync_name(struct making *m)
{
	char *copy;
	int fd, ret = 0;

	if (m->file.device)
		return 0;
	if (fsync(m->file.fd) < 0)
		return -errno;
	if (!m->created)
		return 0;
	copy = strdup(m->path);
	if (!copy)
		return -ENOMEM;
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || (fsync(fd) < 0 && errno != EINVAL))
		ret = errno == EACCES ? 0 : -errno; /* a directory that we may write but not read */
	if (fd >= 0)
		close(fd);
	free(copy);
	return ret;
}

static int
open_target(struct making *m)
{
	struct stat st;
	int ret;

	/* O_EXCL claims a block device: the kernel refuses if it uses it itself. */
	if (stat(m->path, &st) == 0)
		return pool_file_open(&m->file, m->path, S_ISBLK(st.st_mode) ? O_RDWR | O_EXCL : O_RDWR, m->err);
	if (errno != ENOENT)
		return fail(m, -errno, "can't be found");
	if (m->opt->bytes == 0)
		return fail(m, -EINVAL, "no such file, and no size is given (-s) for a new one");
	ret = pool_file_open(&m->file, m->path, O_RDWR | O_CREAT | O_EXCL, m->err);
	m->created = ret == 0;
	return ret;
}

static int
make(struct making *m)
{
	int ret = open_target(m);

	if (ret == 0)
		ret = pool_file_lock(&m->file, m->path, true, 0, m->err);
	if (ret == 0 && m->file.dax_device)
		ret = pool_file_map(&m->file, m->path, false, m->err);
	m->old_bytes = m->file.bytes;
	if (ret == 0)
		ret = choose_size(m);
	if (ret == 0)
		ret = refuse_content(m);
	if (ret == 0)
		ret = give_size(m);
	if (ret == 0 && !m->file.base)
		ret = pool_file_map(&m->file, m->path, false, m->err);
	if (ret == 0)
		ret = write_roots(m);
	if (ret == 0)
		ret = sync_name(m);
	if (ret == 0)
		progress(m, m->bytes);
	return ret;
}

int
pool_mkfs(const char *path, const struct mkfs_options *opt, struct pool_error *err)
{
	struct making m = { .path = path, .opt = opt, .err = err, .file.fd = -1 };
	int ret;

	pool_error_set(err, "%s", "");
	if (opt->label && strlen(opt->label) >= sizeof(((struct root_block *)NULL)->label)) {
		pool_error_set(err, "%s: a label has at most 63 bytes", path);
		return -EINVAL;
	}
	ret = make(&m);
	if (ret < 0) {
		if (err && !err->text[0])
			fail(&m, ret, "can't be made a pool");
		if (m.created)
			unlink(path);
		else if (m.resized && ftruncate(m.file.fd, (off_t)m.old_bytes) < 0)
			pinfs_log(LOG_WARNING, "%s: can't get its old size back: %s", path, strerror(errno));
	}
	pool_file_close(&m.file);
	return ret;
}
