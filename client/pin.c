/* SPDX-License-Identifier: BSD-3-Clause */
/* Pins without a mapping. */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "client/client_i.h"

int
pinfs_pin(int fd, const struct pinfs_pin_options *options, struct pinfs_pin_range *ranges, unsigned n, uint64_t *id)
{
	_Alignas(struct pinfs_pin) char room[PINFS_PIN_SIZE(PINFS_PIN_RANGES_MAX)];
	struct pinfs_pin *p = (struct pinfs_pin *)room;
	struct pinfs_pin_options o = { 0 };
	int err = options ? options_take(&o, sizeof(o), options) : 0;

	if (err)
		return err;
	if (n == 0 || n > PINFS_PIN_RANGES_MAX || o.access > UINT16_MAX || o.pin_class > UINT16_MAX)
		return -EINVAL;
	memset(p, 0, sizeof(*p));
	p->size = (uint32_t)PINFS_PIN_SIZE(n);
	p->flags = o.flags;
	p->access = o.access ? (uint16_t)o.access : PINFS_ACCESS_READ;
	p->pin_class = o.pin_class ? (uint16_t)o.pin_class : PINFS_PIN_LONGTERM;
	p->writeback = o.writeback;
	p->nranges = n;
	for (unsigned k = 0; k < n; k++)
		p->ranges[k] = (struct pinfs_pin_range){ .off = ranges[k].off, .len = ranges[k].len };
	if (ioctl(fd, PINFS_IOC_PIN(n), p) < 0)
		return -errno;
	memcpy(ranges, p->ranges, n * sizeof(ranges[0]));
	*id = p->id;
	return 0;
}

int
pinfs_unpin(int fd, uint64_t id)
{
	struct pinfs_unpin u = { .size = sizeof(u), .id = id };

	return ioctl(fd, PINFS_IOC_UNPIN, &u) < 0 ? -errno : 0;
}
