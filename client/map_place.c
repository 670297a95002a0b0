/* SPDX-License-Identifier: BSD-3-Clause */
/* Where a mapping lies: addresses, and the blocks of the pool at them.
 *
 * All ranges of a pin are mapped side by side into one reservation of addresses. The pin's reply tells the first
 * extent of each range, and mostly that is all of it; otherwise the daemon lists the pin's extents. It lists the blocks
 * that the pin has fixed, not those of the file: if a layout operation has cut the pin loose by now, the
 * file's blocks are others, which nobody has fixed.
 *
 * A shared OFD lock on each pool range tells the kernel, and through it a later daemon, that the range is mapped.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client/client_i.h"

#define HUGE_SIZE (2u << 20)

/* A mapping that is long enough is 2 MiB aligned, so that the kernel can map a well-placed extent with large
 * pages. */
int
map_reserve(struct pinfs_map *m, void *at)
{
	size_t slack = !at && m->len >= HUGE_SIZE ? HUGE_SIZE : 0;
	int fixed = !at ? 0 : m->flags & PINFS_MAP_REPLACE ? MAP_FIXED : MAP_FIXED_NOREPLACE;

	if (m->len > SIZE_MAX - slack)
		return -ENOMEM;
	m->reserved_len = m->len + slack;
	m->reserved = mmap(at, m->reserved_len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | fixed, -1, 0);
	if (m->reserved == MAP_FAILED) {
		m->reserved = NULL;
		return -errno;
	}
	if (at && m->reserved != at) { /* kernel before 4.17 */
		munmap(m->reserved, m->reserved_len);
		m->reserved = NULL;
		return -EEXIST;
	}
	m->addr = m->reserved;
	if (slack)
		m->addr += -(uintptr_t)m->reserved & (HUGE_SIZE - 1);
	return 0;
}

int
map_displace(struct pinfs_map *m)
{
	if (mmap(m->reserved, m->reserved_len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) ==
	    MAP_FAILED)
		return -errno;
	return madvise(m->reserved, m->reserved_len, MADV_DONTFORK) < 0 ? -errno : 0;
}

static int
place_extent(struct pinfs_map *m, size_t at, uint64_t len, uint64_t pool_off)
{
	int prot = PROT_READ | (m->flags & PINFS_MAP_WRITE ? PROT_WRITE : 0);
	struct flock lock = {
		.l_type = F_RDLCK,
		.l_whence = SEEK_SET,
		.l_start = (off_t)pool_off,
		.l_len = (off_t)len,
	};

	if (pool_off == PINFS_POOL_OFF_HOLE) {
		/* Only a read pin has holes: they show zeroes. */
		if (mmap(m->addr + at, len, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
			return -errno;
		return 0;
	}
	if (fcntl(m->pool_fd, F_OFD_SETLK, &lock) < 0)
		return -errno;
	if (mmap(m->addr + at, len, prot, MAP_SHARED | MAP_FIXED, m->pool_fd, (off_t)pool_off) == MAP_FAILED)
		return -errno;
	return 0;
}

/* How far a listing has come: the next extent must begin there. */
struct place {
	unsigned range;
	uint64_t done;  /* bytes of that range */
};

static int
place_listed(struct pinfs_map *m, struct place *p, const struct pinfs_extent *e, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct map_range *r;
		int err;

		if (p->range == m->nranges)
			return -EPROTO;
		r = &m->ranges[p->range];
		if (e[i].off != r->off + p->done || e[i].len == 0 || e[i].len > r->len - p->done)
			return -EPROTO;
		err = place_extent(m, r->at + (size_t)p->done, e[i].len, e[i].pool_off);
		if (err)
			return err;
		p->done += e[i].len;
		if (p->done == r->len) {
			p->range++;
			p->done = 0;
		}
	}
	return 0;
}

/* Daemons before PINFS_IOC_PIN_EXTENTS never cut a pin loose behind its holder's back: the file's extents are the
 * pin's. */
static int
place_by_file(struct pinfs_map *m)
{
	struct pinfs_extents *x = calloc(1, sizeof(*x));
	struct place p = { 0 };
	int err = x ? 0 : -ENOMEM;

	while (!err && p.range < m->nranges) {
		struct map_range *r = &m->ranges[p.range];

		*x = (struct pinfs_extents){ .size = sizeof(*x), .off = r->off + p.done, .len = r->len - p.done };
		if (ioctl(m->fd, PINFS_IOC_EXTENTS, x) < 0)
			err = -errno;
		else if (x->count == 0 || x->count > PINFS_EXTENTS_MAX)
			err = -EPROTO;
		else
			err = place_listed(m, &p, x->extents, x->count);
	}
	free(x);
	return err;
}

static int
place_by_pin(struct pinfs_map *m)
{
	struct pinfs_pin_extents *x = calloc(1, sizeof(*x));
	struct place p = { 0 };
	int err = x ? 0 : -ENOMEM;

	while (!err) {
		x->size = sizeof(*x);
		x->id = m->pin_id;
		if (ioctl(m->fd, PINFS_IOC_PIN_EXTENTS, x) < 0)
			err = -errno;
		else if (x->count > PINFS_EXTENTS_MAX || (x->count == 0 && x->cursor))
			err = -EPROTO;
		else
			err = place_listed(m, &p, x->extents, x->count);
		if (x->cursor == 0)
			break;
		x->count = 0;
		memset(x->extents, 0, sizeof(x->extents));
	}
	if (!err && p.range < m->nranges)
		err = -EPROTO;
	free(x);
	return err;
}

int
map_place(struct pinfs_map *m, const struct pinfs_pin_range *first)
{
	bool all = true;
	int err = 0;

	for (unsigned k = 0; k < m->nranges; k++)
		all &= first[k].ext_len >= m->ranges[k].len;
	for (unsigned k = 0; k < m->nranges && all && !err; k++)
		err = place_extent(m, m->ranges[k].at, m->ranges[k].len, first[k].pool_off);
	if (!all) {
		err = place_by_pin(m);
		if (err == -ENOTTY)
			err = place_by_file(m);
	}
	return err;
}
