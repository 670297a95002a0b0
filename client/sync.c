/* SPDX-License-Identifier: BSD-3-Clause */
/* Durability.
 *
 * A mapping that was revoked shows memory that is in no file any more, and a sync of the file says nothing about it. So
 * whoever syncs a mapping asks for its state afterwards: if it is still the file's then, it was when the image was
 * taken.
 */
#include <errno.h>
#include <libpmem.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "client/client_i.h"

static int
still_there(struct pinfs_map *m)
{
	int state = pinfs_map_state(m);

	if (state < 0)
		return state;
	return state == PINFS_LEASE_REVOKED || state == PINFS_LEASE_RELEASED ? -ESTALE : 0;
}

int
pinfs_sync(struct pinfs_map *m)
{
	/* Not fdatasync(2): the kernel lets that wait for a truncate of the file, and the truncate may be waiting for the caller to
	 * save what it has and to give back the lease. */
	int err = pinfs_sync_range(m->fd, 0, 0);

	return err ? err : still_there(m);
}

int
pinfs_sync_range(int fd, uint64_t off, uint64_t len)
{
	struct pinfs_sync_range s = { .size = sizeof(s), .off = off, .len = len };

	return ioctl(fd, PINFS_IOC_SYNC, &s) < 0 ? -errno : 0;
}

/* [at, at+len) of the mapping, in whatever ranges of the file that is. */
static int
sync_part(struct pinfs_map *m, size_t at, size_t len)
{
	int err = 0;

	for (unsigned k = 0; k < m->nranges && !err; k++) {
		const struct map_range *r = &m->ranges[k];
		size_t from = at > r->at ? at : r->at;
		size_t to = at + len < r->at + r->len ? at + len : r->at + (size_t)r->len;

		if (from < to)
			err = pinfs_sync_range(m->fd, r->off + (from - r->at), to - from);
	}
	return err ? err : still_there(m);
}

int
pinfs_persist(struct pinfs_map *m, const void *addr, size_t len)
{
	size_t at = (size_t)((uintptr_t)addr - (uintptr_t)m->addr);

	if ((uintptr_t)addr < (uintptr_t)m->addr || at > m->len || len > m->len - at)
		return -EINVAL;
	if (__atomic_load_n(&m->gone, __ATOMIC_ACQUIRE))
		return -ESTALE;
	if (len == 0)
		return 0;
	if (m->dax && m->domain == PINFS_DOMAIN_PMEM)
		pmem_persist(addr, len); /* CLWB or what this CPU has, and a fence */
	else if (m->dax && m->domain == PINFS_DOMAIN_VOLATILE)
		pmem_drain();
	else
		return sync_part(m, at, len);
	return 0;
}
