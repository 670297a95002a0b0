/* SPDX-License-Identifier: BSD-3-Clause */
/* Facts about the mount: counters, pins and leases. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "client/client_i.h"

int
pinfs_get_status(int fd, struct pinfs_status *st)
{
	memset(st, 0, sizeof(*st));
	st->size = sizeof(*st);
	if (ioctl(fd, PINFS_IOC_STATUS, st) < 0)
		return -errno;
	st->pool_path[sizeof(st->pool_path) - 1] = '\0';
	st->label[sizeof(st->label) - 1] = '\0';
	return 0;
}

int
pinfs_list(int fd, unsigned flags, pinfs_list_fn *each, void *arg)
{
	struct pinfs_list *l = calloc(1, sizeof(*l));
	int r = l ? 0 : -ENOMEM;

	while (r == 0) {
		l->size = sizeof(*l);
		l->flags = flags;
		if (ioctl(fd, PINFS_IOC_LIST, l) < 0) {
			r = -errno;
			break;
		}
		for (uint32_t k = 0; k < l->count && k < PINFS_LIST_MAX && r == 0; k++)
			r = each(&l->entries[k], arg);
		if (l->cursor[0] == 0 && l->cursor[1] == 0)
			break;
		l->count = 0;
		memset(l->entries, 0, sizeof(l->entries));
	}
	free(l);
	return r;
}

const char *
pinfs_version(void)
{
	return PACKAGE_VERSION;
}
