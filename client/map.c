/* SPDX-License-Identifier: BSD-3-Clause */
/* Direct mappings.
 *
 * A mapping is made in this order, so that at every moment the memory it shows belongs to
 * the file:
 *
 *   1. pin the range (PINFS_IOC_PIN): from here on its blocks stay where they are;
 *   2. open the pool file, and check that it is the one the daemon serves;
 *   3. take a shared OFD lock on each pool range: the kernel then knows who maps
 *      what, even when the daemon is gone;
 *   4. reserve address space and map the extents side by side into it;
 *   5. ask the daemon for something: if it answers, it was there when the locks were, so a
 *      daemon that takes its place has seen them, and leaves the blocks alone as long as they are locked.
 *
 * It is taken apart the other way round. The locks are taken away by name, because a child
 * that has been forked meanwhile has the open file of the pool, too. Each mapping has its own open file of
 * the pool, because an OFD lock belongs to one and has to go with one mapping; and its own
 * duplicate of the caller's descriptor, so that the pin can't end before the mapping.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <pinfs/pinfs.h>

#define HUGE_SIZE (2u << 20)

struct pinfs_map {
	int fd;       /* duplicate of the caller's: keeps the open file, and so the pin */
	int pool_fd;  /* holds the OFD locks */
	uint64_t pin_id;
	bool pinned;
	int prot;
	uint64_t off;
	size_t len;
	uint8_t *addr;      /* what the caller sees */
	void *reserved;     /* the whole reservation around it */
	size_t reserved_len;
};

static int
pool_open(struct pinfs_map *m, bool writable)
{
	struct pinfs_status *st = calloc(1, sizeof(*st));
	struct stat sb;
	int err = 0;

	if (!st)
		return -ENOMEM;
	err = pinfs_get_status(m->fd, st);
	if (err)
		goto out;
	m->pool_fd = open(st->pool_path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	if (m->pool_fd < 0) {
		err = -errno;
		goto out;
	}
	if (fstat(m->pool_fd, &sb) < 0)
		err = -errno;
	else if (sb.st_dev != st->pool_dev || sb.st_ino != st->pool_ino)
		err = -ESTALE; /* replaced since it was mounted, or another mount namespace */
out:
	free(st);
	return err;
}

/* One address range for the whole mapping, 2 MiB aligned if it is that long, so that
 * the kernel can map a well-placed extent with large pages. */
static int
reserve_addresses(struct pinfs_map *m)
{
	size_t slack = m->len >= HUGE_SIZE ? HUGE_SIZE : 0;

	if (m->len > SIZE_MAX - slack)
		return -ENOMEM;
	m->reserved_len = m->len + slack;
	m->reserved = mmap(NULL, m->reserved_len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (m->reserved == MAP_FAILED) {
		m->reserved = NULL;
		return -errno;
	}
	m->addr = m->reserved;
	if (slack)
		m->addr += -(uintptr_t)m->reserved & (HUGE_SIZE - 1);
	return 0;
}

static int
map_extent(struct pinfs_map *m, uint64_t off, uint64_t len, uint64_t pool_off)
{
	uint8_t *at = m->addr + (off - m->off);
	struct flock lock = {
		.l_type = F_RDLCK,
		.l_whence = SEEK_SET,
		.l_start = (off_t)pool_off,
		.l_len = (off_t)len,
	};

	if (pool_off == PINFS_POOL_OFF_HOLE) {
		/* Only a read pin has holes: they show zeroes. */
		if (mmap(at, len, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
			return -errno;
		return 0;
	}
	if (fcntl(m->pool_fd, F_OFD_SETLK, &lock) < 0)
		return -errno;
	if (mmap(at, len, m->prot, MAP_SHARED | MAP_FIXED, m->pool_fd, (off_t)pool_off) == MAP_FAILED)
		return -errno;
	return 0;
}

/* What the pin's answer did not hold: list it. */
static int
map_rest(struct pinfs_map *m, uint64_t off)
{
	struct pinfs_extents *x = calloc(1, sizeof(*x));
	uint64_t end = m->off + m->len;
	int err = x ? 0 : -ENOMEM;

	while (!err && off < end) {
		*x = (struct pinfs_extents){ .size = sizeof(*x), .off = off, .len = end - off };
		if (ioctl(m->fd, PINFS_IOC_EXTENTS, x) < 0) {
			err = -errno;
			break;
		}
		for (uint32_t i = 0; i < x->count && !err; i++) {
			const struct pinfs_extent *e = &x->extents[i];

			if (e->off != off || e->len == 0 || e->len > end - off) {
				err = -EPROTO;
				break;
			}
			err = map_extent(m, e->off, e->len, e->pool_off);
			off += e->len;
		}
		if (!err && x->count == 0)
			err = -EPROTO;
	}
	free(x);
	return err;
}

static int
pin_range(struct pinfs_map *m, int flags, uint64_t *first_pool_off, uint64_t *first_len)
{
	union {
		struct pinfs_pin pin;
		char room[PINFS_PIN_SIZE(1)];
	} u;
	struct pinfs_pin_range *r = u.pin.ranges;

	memset(&u, 0, sizeof(u));
	u.pin.size = PINFS_PIN_SIZE(1);
	u.pin.flags = flags & PINFS_MAP_ALLOC ? PINFS_PIN_ALLOC : 0;
	u.pin.access = flags & PINFS_MAP_WRITE ? PINFS_ACCESS_READWRITE : PINFS_ACCESS_READ;
	u.pin.pin_class = PINFS_PIN_LONGTERM;
	u.pin.nranges = 1;
	r->off = m->off;
	r->len = m->len;
	if (ioctl(m->fd, PINFS_IOC_PIN(1), &u.pin) < 0)
		return -errno;
	m->pin_id = u.pin.id;
	m->pinned = true;
	if (r->off != m->off || r->len < m->len || r->ext_len == 0)
		return -EPROTO;
	/* Whole pages are mapped: what lies behind EOF in the last block is there too. */
	m->len = r->len;
	*first_pool_off = r->pool_off;
	*first_len = r->ext_len < r->len ? r->ext_len : r->len;
	return 0;
}

int
pinfs_map(int fd, uint64_t off, size_t len, int flags, struct pinfs_map **map)
{
	const int known = PINFS_MAP_READ | PINFS_MAP_WRITE | PINFS_MAP_ALLOC | PINFS_MAP_POPULATE;
	bool writable = (flags & PINFS_MAP_WRITE) != 0;
	uint64_t first_pool_off = PINFS_POOL_OFF_HOLE, first_len = 0;
	struct pinfs_map *m;
	struct stat sb;
	int err;

	*map = NULL;
	if (flags & ~known || !(flags & (PINFS_MAP_READ | PINFS_MAP_WRITE)))
		return -EINVAL;
	if (off % PINFS_BLOCK_SIZE || off > INT64_MAX || len > INT64_MAX - off)
		return -EINVAL;
	if (len == 0) {
		if (fstat(fd, &sb) < 0)
			return -errno;
		if ((uint64_t)sb.st_size <= off)
			return -EINVAL;
		len = (size_t)((uint64_t)sb.st_size - off);
	}
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->pool_fd = -1;
	m->off = off;
	m->len = len;
	m->prot = PROT_READ | (writable ? PROT_WRITE : 0);
	m->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	err = m->fd < 0 ? -errno : 0;
	if (!err)
		err = pin_range(m, flags, &first_pool_off, &first_len);
	if (!err)
		err = pool_open(m, writable);
	if (!err)
		err = reserve_addresses(m);
	if (!err)
		err = map_extent(m, off, first_len, first_pool_off);
	if (!err && first_len < m->len)
		err = map_rest(m, off + first_len);
	if (!err && ioctl(m->fd, PINFS_IOC_NOOP) < 0)
		err = -errno;
	if (!err && madvise(m->addr, m->len, MADV_DONTFORK) < 0)
		err = -errno;
	if (!err && flags & PINFS_MAP_POPULATE &&
	    madvise(m->addr, m->len, writable ? MADV_POPULATE_WRITE : MADV_POPULATE_READ) < 0 && errno != EINVAL)
		err = -errno; /* EINVAL: kernel older than 5.14, pages come one by one */
	if (err) {
		pinfs_unmap(m);
		return err;
	}
	*map = m;
	return 0;
}

void *
pinfs_addr(const struct pinfs_map *map)
{
	return map->addr;
}

size_t
pinfs_len(const struct pinfs_map *map)
{
	return map->len;
}

int
pinfs_unmap(struct pinfs_map *m)
{
	struct flock all = { .l_type = F_UNLCK, .l_whence = SEEK_SET };
	int err = 0;

	if (!m)
		return 0;
	if (m->reserved && munmap(m->reserved, m->reserved_len) < 0)
		err = -errno;
	/* The locks go before the pin: when the daemon frees the blocks, nobody is seen to map them. */
	if (m->pool_fd >= 0) {
		(void)fcntl(m->pool_fd, F_OFD_SETLK, &all);
		close(m->pool_fd);
	}
	if (m->pinned) {
		struct pinfs_unpin u = { .size = sizeof(u), .id = m->pin_id };

		/* Without a daemon there is no pin any more. */
		if (ioctl(m->fd, PINFS_IOC_UNPIN, &u) < 0 && errno != ENOTCONN && !err)
			err = -errno;
	}
	if (m->fd >= 0)
		close(m->fd);
	free(m);
	return err;
}

int
pinfs_sync(struct pinfs_map *m)
{
	return fdatasync(m->fd) < 0 ? -errno : 0;
}
