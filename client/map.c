/* SPDX-License-Identifier: BSD-3-Clause */
/* Direct mappings.
 *
 * A mapping is made in this order, so that at every moment the memory it shows belongs to
 * the file, or to nobody:
 *
 *   1. lease the ranges: a layout operation has to ask from here on;
 *   2. pin them (PINFS_IOC_PIN): their blocks stay where they are;
 *   3. open the pool file, and check that it is the one the daemon serves;
 *   4. reserve address space, take a shared OFD lock on each pool range (the kernel then knows who maps
 *      what, even when the daemon is gone), and map the extents side by side (map_place.c);
 *   5. ask the daemon for something: if it answers, it was there when the locks were, so a
 *      daemon that takes its place has seen them, and leaves the blocks alone as long as they are locked;
 *   6. for a faultable one: have stores tracked (track.c);
 *   7. have events of the lease watched, if there is a callback (watch.c).
 *
 * It is taken apart the other way round, by pinfs_let_go(). Each mapping has its own open file of
 * the pool, because an OFD lock belongs to one and has to go with one mapping; and its own
 * duplicate of the caller's descriptor, so that the pin can't end before the mapping.
 *
 * Pin and lease belong to the caller's open file, which a child made by fork(2) shares; so in a child nothing of this
 * is taken apart: it closes its descriptors and forgets.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/client_i.h"

/* ---- steps ------------------------------------------------------------------------------------------ */

static int
lease_ranges(struct pinfs_map *m)
{
	for (unsigned k = 0; k < m->nranges; k++) {
		struct pinfs_lease l = {
			.size = sizeof(l),
			.off = m->ranges[k].off,
			.len = m->ranges[k].len,
			.type = PINFS_LEASE_SHARED,
			.on_deadline = m->on_deadline,
		};

		if (ioctl(m->fd, PINFS_IOC_LEASE, &l) < 0)
			return errno == ENOTTY ? 0 : -errno; /* a daemon without leases asks for none */
		m->ranges[k].lease = l.id;
		m->leased = true;
	}
	return 0;
}

static void
release_ranges(struct pinfs_map *m)
{
	for (unsigned k = 0; k < m->nranges; k++) {
		struct pinfs_lease_release r = { .size = sizeof(r), .id = m->ranges[k].lease };

		/* It fails if the daemon is gone, and the lease with it, or if somebody released it before. */
		if (r.id)
			ioctl(m->fd, PINFS_IOC_LEASE_RELEASE, &r);
	}
}

static int
pin_ranges(struct pinfs_map *m, const struct pinfs_map_options *o, struct pinfs_pin_range *r)
{
	struct pinfs_pin_options p = {
		.size = sizeof(p),
		.flags = o->flags & PINFS_MAP_ALLOC ? PINFS_PIN_ALLOC : 0,
		.access = o->flags & PINFS_MAP_WRITE ? PINFS_ACCESS_READWRITE : PINFS_ACCESS_READ,
		.pin_class = o->pin_class,
		.writeback = o->writeback,
	};
	size_t at = 0;
	int err;

	for (unsigned k = 0; k < m->nranges; k++)
		r[k] = (struct pinfs_pin_range){ .off = m->ranges[k].off, .len = m->ranges[k].len };
	err = pinfs_pin(m->fd, &p, r, m->nranges, &m->pin_id);
	if (err)
		return err;
	m->pinned = true;
	for (unsigned k = 0; k < m->nranges; k++) {
		if (r[k].off != m->ranges[k].off || r[k].len < m->ranges[k].len || r[k].ext_len == 0 ||
		    r[k].len % PINFS_BLOCK_SIZE)
			return -EPROTO;
		/* Whole pages are mapped: what lies behind EOF in the last block is there too. */
		m->ranges[k].len = r[k].len;
		m->ranges[k].at = at;
		if (r[k].len > SIZE_MAX - at)
			return -ENOMEM;
		at += (size_t)r[k].len;
	}
	m->len = at;
	return 0;
}

static int
open_pool(struct pinfs_map *m)
{
	bool writable = (m->flags & PINFS_MAP_WRITE) != 0;
	struct pinfs_status *st = calloc(1, sizeof(*st));
	struct pinfs_info in = { .size = sizeof(in) };
	struct stat sb;
	int err = 0;

	if (!st)
		return -ENOMEM;
	err = pinfs_get_status(m->fd, st);
	if (!err && ioctl(m->fd, PINFS_IOC_INFO, &in) < 0)
		err = -errno;
	if (err)
		goto out;
	m->domain = st->domain;
	m->dax = (in.inode_flags & PINFS_INODE_DAX) != 0; /* it can't be turned on or off while there is a pin */
	m->pool_fd = open(st->pool_path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	if (m->pool_fd < 0 || fstat(m->pool_fd, &sb) < 0)
		err = -errno;
	else if (sb.st_dev != st->pool_dev || sb.st_ino != st->pool_ino)
		err = -ESTALE; /* replaced since it was mounted, or another mount namespace */
out:
	free(st);
	return err;
}

static int
make_usable(struct pinfs_map *m)
{
	int advice = m->flags & PINFS_MAP_WRITE ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;

	if (madvise(m->reserved, m->reserved_len, MADV_DONTFORK) < 0)
		return -errno;
	/* EINVAL: kernel older than 5.14, pages come one by one */
	if (m->flags & PINFS_MAP_POPULATE && madvise(m->addr, m->len, advice) < 0 && errno != EINVAL)
		return -errno;
	if (m->flags & PINFS_MAP_FAULTABLE)
		m->tracked = track_start(m);
	return 0;
}

static void
on_lease_event(int fd, const struct pinfs_event *ev, void *arg)
{
	struct pinfs_map *m = arg;

	(void)fd;
	if (m->on_event)
		m->on_event(m, ev, m->arg);
	else if (ev->type == PINFS_EVENT_BREAK || ev->type == PINFS_EVENT_REVOKED)
		pinfs_let_go(m);
}

static int
watch_leases(struct pinfs_map *m)
{
	uint64_t ids[PINFS_PIN_RANGES_MAX];

	if (!m->leased || (!m->on_event && !(m->flags & PINFS_MAP_COOPERATE)))
		return 0;
	for (unsigned k = 0; k < m->nranges; k++)
		ids[k] = m->ranges[k].lease;
	return watch_add(m->fd, ids, m->nranges, on_lease_event, m, &m->watch);
}

/* ---- making one ---------------------------------------------------------------------------------------- */

static int
check_options(struct pinfs_map_options *o)
{
	const unsigned known = PINFS_MAP_READ | PINFS_MAP_WRITE | PINFS_MAP_ALLOC | PINFS_MAP_POPULATE |
	    PINFS_MAP_FAULTABLE | PINFS_MAP_COOPERATE | PINFS_MAP_REPLACE | PINFS_MAP_ATOMIC;
	bool faultable = (o->flags & PINFS_MAP_FAULTABLE) != 0;
	bool writable = (o->flags & PINFS_MAP_WRITE) != 0;

	if (o->pin_class == 0)
		o->pin_class = faultable ? PINFS_PIN_FAULTABLE : PINFS_PIN_LONGTERM;
	if (o->flags & ~known || !(o->flags & (PINFS_MAP_READ | PINFS_MAP_WRITE)))
		return -EINVAL;
	if (faultable != (o->pin_class == PINFS_PIN_FAULTABLE) || (faultable && !writable))
		return -EINVAL;
	if ((o->flags & PINFS_MAP_COOPERATE && o->on_event) || (o->flags & PINFS_MAP_REPLACE && !o->addr))
		return -EINVAL;
	if (o->flags & PINFS_MAP_ATOMIC) {
		if (!writable || o->writeback != PINFS_WRITEBACK_DEFAULT)
			return -EINVAL;
		o->writeback = PINFS_WRITEBACK_HOLDER;
	}
	if (o->nranges == 0 || o->nranges > PINFS_PIN_RANGES_MAX || !o->ranges)
		return -EINVAL;
	return (uintptr_t)o->addr % PINFS_BLOCK_SIZE ? -EINVAL : 0;
}

static int
take_ranges(struct pinfs_map *m, const struct pinfs_pin_range *r)
{
	struct stat sb;

	for (unsigned k = 0; k < m->nranges; k++) {
		uint64_t off = r[k].off, len = r[k].len;

		if (off % PINFS_BLOCK_SIZE || off > INT64_MAX || len > INT64_MAX - off)
			return -EINVAL;
		if (len == 0) {
			if (fstat(m->fd, &sb) < 0)
				return -errno;
			if ((uint64_t)sb.st_size <= off)
				return -EINVAL;
			len = (uint64_t)sb.st_size - off;
		}
		m->ranges[k].off = off;
		m->ranges[k].len = len;
	}
	return 0;
}

static int
build(struct pinfs_map *m, const struct pinfs_map_options *o)
{
	struct pinfs_pin_range r[PINFS_PIN_RANGES_MAX];
	int err = take_ranges(m, o->ranges);

	if (!err && o->pin_class != PINFS_PIN_TRANSIENT)
		err = lease_ranges(m);
	if (!err)
		err = pin_ranges(m, o, r);
	if (!err)
		err = open_pool(m);
	if (!err)
		err = map_reserve(m, o->addr);
	if (!err)
		err = map_place(m, r);
	if (!err && ioctl(m->fd, PINFS_IOC_NOOP) < 0)
		err = -errno;
	if (!err)
		err = make_usable(m);
	return err ? err : watch_leases(m);
}

int
pinfs_map_with(int fd, const struct pinfs_map_options *options, struct pinfs_map **map)
{
	struct pinfs_map_options o;
	struct pinfs_map *m;
	int err;

	*map = NULL;
	err = options_take(&o, sizeof(o), options);
	if (!err)
		err = check_options(&o);
	if (err)
		return err;
	m = calloc(1, sizeof(*m) + o.nranges * sizeof(m->ranges[0]));
	if (!m)
		return -ENOMEM;
	pthread_mutex_init(&m->lock, NULL);
	m->owner = getpid();
	m->pool_fd = m->uffd = -1;
	m->flags = o.flags;
	m->on_deadline = o.on_deadline;
	m->on_event = o.on_event;
	m->arg = o.arg;
	m->nranges = o.nranges;
	m->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	err = m->fd < 0 ? -errno : build(m, &o);
	if (err) {
		pinfs_unmap(m);
		return err;
	}
	*map = m;
	return 0;
}

int
pinfs_map(int fd, uint64_t off, size_t len, int flags, struct pinfs_map **map)
{
	struct pinfs_pin_range r = { .off = off, .len = len };
	struct pinfs_map_options o = { .size = sizeof(o), .flags = (unsigned)flags, .nranges = 1, .ranges = &r };

	return pinfs_map_with(fd, &o, map);
}

/* ---- taking it apart ----------------------------------------------------------------------------------- */

int
pinfs_let_go(struct pinfs_map *m)
{
	struct flock unlock = { .l_type = F_UNLCK, .l_whence = SEEK_SET };
	struct pinfs_unpin u = { .size = sizeof(u), .id = m->pin_id };
	int err = 0;

	if (m->owner != getpid())
		return -ECHILD;
	pthread_mutex_lock(&m->lock);
	if (m->gone)
		goto out;
	if (m->reserved)
		err = map_displace(m);
	if (err)
		goto out; /* it may still be stored to: the pin has to stay */
	__atomic_store_n(&m->gone, true, __ATOMIC_RELEASE);
	if (m->uffd >= 0)
		close(m->uffd);
	/* The locks go before the pin: when the daemon frees the blocks, nobody is seen to map them. Not by close(2):
	 * a child may have the descriptor, too. */
	if (m->pool_fd >= 0) {
		fcntl(m->pool_fd, F_OFD_SETLK, &unlock);
		close(m->pool_fd);
	}
	m->uffd = m->pool_fd = -1;
	/* Without a daemon there is no pin any more. */
	if (m->pinned && ioctl(m->fd, PINFS_IOC_UNPIN, &u) < 0 && errno != ENOTCONN)
		err = -errno;
	release_ranges(m);
out:
	pthread_mutex_unlock(&m->lock);
	return err;
}

int
pinfs_unmap(struct pinfs_map *m)
{
	int err = 0;

	if (!m)
		return 0;
	if (m->owner == getpid()) {
		watch_remove(m->watch);
		err = pinfs_let_go(m);
		if (m->reserved && munmap(m->reserved, m->reserved_len) < 0 && !err)
			err = -errno;
	}
	if (m->uffd >= 0)
		close(m->uffd);
	if (m->pool_fd >= 0)
		close(m->pool_fd);
	if (m->fd >= 0)
		close(m->fd);
	pthread_mutex_destroy(&m->lock);
	free(m);
	return err;
}

/* ---- facts --------------------------------------------------------------------------------------------- */

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
pinfs_map_tracked(const struct pinfs_map *map)
{
	return map->tracked;
}

int
pinfs_event_fd(const struct pinfs_map *map)
{
	return map->fd;
}

/* To change a lease into what it is changes nothing, and tells in which state it is. */
static int
lease_state(const struct pinfs_map *m, uint64_t id)
{
	struct pinfs_lease l = {
		.size = sizeof(l),
		.flags = PINFS_LEASE_MODIFY,
		.id = id,
		.type = PINFS_LEASE_SHARED,
		.on_deadline = m->on_deadline,
	};

	if (ioctl(m->fd, PINFS_IOC_LEASE, &l) == 0)
		return PINFS_LEASE_HELD;
	switch (errno) {
	case EAGAIN:
		return PINFS_LEASE_BREAKING;
	case ESTALE:
		return PINFS_LEASE_REVOKED;
	case ENOENT: /* released by a process that shares the open file */
		return PINFS_LEASE_RELEASED;
	default:
		return -errno;
	}
}

int
pinfs_map_state(struct pinfs_map *m)
{
	int worst = PINFS_LEASE_HELD;

	if (__atomic_load_n(&m->gone, __ATOMIC_ACQUIRE))
		return PINFS_LEASE_RELEASED;
	for (unsigned k = 0; k < m->nranges; k++) {
		int s = m->ranges[k].lease ? lease_state(m, m->ranges[k].lease) : PINFS_LEASE_HELD;

		if (s < 0)
			return s;
		if (s > worst)
			worst = s;
	}
	return worst;
}
