/* SPDX-License-Identifier: BSD-3-Clause */
/* Puts a file of a pinfs mount into a pipe without a copy: the pages of its mapping are what the reader gets.
 * vmsplice FILE | cat >COPY
 *
 * Until they have been read they must stay what they are, so the mapping goes when the pipe is empty. */
#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <pinfs/pinfs.h>

int
main(int argc, char **argv)
{
	int fd = argc == 2 ? open(argv[1], O_RDONLY) : -1, left = 1, r;
	struct pinfs_map *map;
	struct iovec v;
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0)
		err(1, "usage: vmsplice FILE | cat >COPY");
	r = pinfs_map(fd, 0, 0, PINFS_MAP_READ, &map);
	if (r < 0)
		errx(1, "%s: %s", argv[1], pinfs_strerror(r));
	v = (struct iovec){ pinfs_addr(map), (size_t)st.st_size };
	while (v.iov_len > 0) {
		n = vmsplice(STDOUT_FILENO, &v, 1, 0);
		if (n < 0)
			err(1, "vmsplice");
		v.iov_base = (uint8_t *)v.iov_base + n;
		v.iov_len -= (size_t)n;
	}
	while (ioctl(STDOUT_FILENO, FIONREAD, &left) == 0 && left > 0)
		usleep(1000);
	return pinfs_unmap(map) < 0;
}
