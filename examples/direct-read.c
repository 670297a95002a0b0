/* SPDX-License-Identifier: BSD-3-Clause */
/* Loads a disk file into a file of a pinfs mount by plain read(2): opened O_DIRECT, the disk's DMA goes straight into the
 * file's own memory: direct-read DISK-FILE FILE */
#include <err.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <pinfs/pinfs.h>

int
main(int argc, char **argv)
{
	int in = argc == 3 ? open(argv[1], O_RDONLY | O_DIRECT) : -1;
	int fd = argc == 3 ? open(argv[2], O_RDWR | O_CREAT, 0644) : -1;
	struct pinfs_map *map;
	struct stat st;
	size_t done = 0;
	ssize_t n;
	int r;

	if (in < 0 || fd < 0 || fstat(in, &st) < 0)
		err(1, "usage: direct-read DISK-FILE FILE");
	r = pinfs_map(fd, 0, (size_t)st.st_size, PINFS_MAP_WRITE | PINFS_MAP_ALLOC, &map);
	if (r < 0)
		errx(1, "%s: %s", argv[2], pinfs_strerror(r));
	while (done < (size_t)st.st_size) {
		n = read(in, (char *)pinfs_addr(map) + done, pinfs_len(map) - done);
		if (n <= 0)
			err(1, "%s", argv[1]);
		done += (size_t)n;
	}
	r = pinfs_sync(map);
	if (r < 0)
		errx(1, "pinfs_sync: %s", pinfs_strerror(r));
	return pinfs_unmap(map) < 0;
}
