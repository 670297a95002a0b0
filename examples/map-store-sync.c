/* SPDX-License-Identifier: BSD-3-Clause */
/* Maps a file of a pinfs mount, stores a text, which pread(2) sees at once, and makes it durable; then
 * stores another text that is not: map-store-sync FILE TEXT [TEXT-AFTER-SYNC] */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include <pinfs/pinfs.h>

static void
store(int fd, struct pinfs_map *map, const char *text)
{
	char seen[4096];

	snprintf(pinfs_addr(map), pinfs_len(map), "%s", text);
	if (pread(fd, seen, sizeof(seen), 0) != sizeof(seen))
		err(1, "pread");
	printf("stored at %p, pread(2) sees '%s'\n", pinfs_addr(map), seen);
}

int
main(int argc, char **argv)
{
	int fd = argc > 2 ? open(argv[1], O_RDWR | O_CREAT, 0644) : -1, r;
	struct pinfs_map *map;

	if (fd < 0)
		err(1, "usage: map-store-sync FILE TEXT [TEXT-AFTER-SYNC]");
	if ((r = pinfs_map(fd, 0, 4096, PINFS_MAP_WRITE | PINFS_MAP_ALLOC, &map)) < 0)
		errx(1, "pinfs_map: %s", pinfs_strerror(r));
	store(fd, map, argv[2]);
	if ((r = pinfs_sync(map)) < 0)
		errx(1, "pinfs_sync: %s", pinfs_strerror(r));
	printf("pinfs_sync: that is durable\n");
	if (argc > 3)
		store(fd, map, argv[3]);
	return pinfs_unmap(map) < 0;
}
