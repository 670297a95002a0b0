/* SPDX-License-Identifier: BSD-3-Clause */
/* Holds a mapping of a file, with the lease that a mapping has, until somebody wants to change the file's layout; then lets
 * go in time, or does not react at all: layout-lease FILE cooperate|ignore */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <pinfs/pinfs.h>

static const char *const ops[] = { "", "truncate", "punch hole", "zero range", "collapse", "insert", "exchange", "clone into", "dax",
	"fill a hole" };

int
main(int argc, char **argv)
{
	int fd = argc == 3 ? open(argv[1], O_RDWR | O_CREAT, 0644) : -1, r;
	struct pinfs_map *map;
	struct pinfs_event ev;

	if (fd < 0)
		err(1, "usage: layout-lease FILE cooperate|ignore");
	r = pinfs_map(fd, 0, 65536, PINFS_MAP_WRITE | PINFS_MAP_ALLOC, &map);
	if (r < 0)
		errx(1, "%s: %s", argv[1], pinfs_strerror(r));
	memset(pinfs_addr(map), 'x', pinfs_len(map));
	printf("holder: 64 KiB of the file are mapped and pinned\n");
	fflush(stdout);
	r = pinfs_next_event(pinfs_event_fd(map), &ev, 60000);
	if (r != 1)
		errx(1, "no event: %s", r < 0 ? pinfs_strerror(r) : "nobody came");
	printf("holder: told of '%s'; %s\n", ops[ev.op < sizeof(ops) / sizeof(ops[0]) ? ev.op : 0],
	    argv[2][0] == 'c' ? "letting go" : "going on as if nothing was");
	fflush(stdout);
	if (argv[2][0] == 'c')
		return pinfs_unmap(map) < 0;
	while (pinfs_map_state(map) == PINFS_LEASE_BREAKING)
		usleep(10000);
	memset(pinfs_addr(map), 'X', pinfs_len(map)); /* reaches no file any more */
	r = pinfs_sync(map);
	printf("holder: revoked; what it stores now is in no file, and a sync says: %s\n", pinfs_strerror(r));
	return pinfs_unmap(map) < 0;
}
