/* SPDX-License-Identifier: BSD-3-Clause */
/* Loads a disk file into a file of a pinfs mount without a copy: the disk's DMA goes straight into the file's own memory, which is
 * registered with io_uring as a buffer; that is a long-term pin, as RDMA or a GPU take it. With a third name it is written to another
 * disk file in the same way: registered-buffer DISK-FILE FILE [DISK-COPY] */
#include <err.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <pinfs/pinfs.h>

#define CHUNK ((size_t)1 << 20)
#define DEPTH 8 /* requests under way at once */

static double
now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* All len bytes between the disk file and the registered buffer at addr, in either direction. */
static void
transfer(struct io_uring *ring, int disk, uint8_t *addr, size_t len, bool out)
{
	size_t asked = 0, done = 0;
	unsigned flying = 0;

	while (done < len) {
		struct io_uring_cqe *cqe;

		for (; flying < DEPTH && asked < len; flying++) {
			size_t n = len - asked < CHUNK ? len - asked : CHUNK;
			struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

			if (out)
				io_uring_prep_write_fixed(sqe, disk, addr + asked, (unsigned)n, asked, 0);
			else
				io_uring_prep_read_fixed(sqe, disk, addr + asked, (unsigned)n, asked, 0);
			io_uring_sqe_set_data64(sqe, n);
			asked += n;
		}
		if (io_uring_submit_and_wait(ring, 1) < 0 || io_uring_wait_cqe(ring, &cqe) < 0)
			errx(1, "io_uring");
		if (cqe->res < 0)
			errx(1, "%s: %s", out ? "write" : "read", strerror(-cqe->res));
		/* The last chunk of a file that does not end with a block is short. */
		if ((size_t)cqe->res != cqe->user_data && done + cqe->user_data < len)
			errx(1, "%s: only %d bytes", out ? "write" : "read", cqe->res);
		done += cqe->user_data;
		flying--;
		io_uring_cqe_seen(ring, cqe);
	}
}

int
main(int argc, char **argv)
{
	int in = argc > 2 ? open(argv[1], O_RDONLY | O_DIRECT) : -1;
	int fd = argc > 2 ? open(argv[2], O_RDWR | O_CREAT, 0644) : -1;
	int out = argc > 3 ? open(argv[3], O_WRONLY | O_CREAT | O_TRUNC | O_DIRECT, 0644) : -1;
	struct pinfs_map *map;
	struct io_uring ring;
	struct iovec buffer;
	struct stat st;
	double start;
	int r;

	if (in < 0 || fd < 0 || (argc > 3 && out < 0) || fstat(in, &st) < 0)
		err(1, "usage: registered-buffer DISK-FILE FILE [DISK-COPY]");
	r = pinfs_map(fd, 0, (size_t)st.st_size, PINFS_MAP_WRITE | PINFS_MAP_ALLOC, &map);
	if (r < 0)
		errx(1, "%s: %s", argv[2], pinfs_strerror(r));
	buffer = (struct iovec){ pinfs_addr(map), pinfs_len(map) };
	r = io_uring_queue_init(DEPTH, &ring, 0);
	if (r < 0)
		errx(77, "io_uring: %s", strerror(-r));
	r = io_uring_register_buffers(&ring, &buffer, 1);
	if (r < 0)
		errx(1, "io_uring_register_buffers: %s", pinfs_strerror(r));
	start = now();
	transfer(&ring, in, pinfs_addr(map), pinfs_len(map), false);
	printf("read %.1f MiB into the file's memory: %.0f MiB/s\n", (double)st.st_size / (1 << 20),
	    (double)st.st_size / (1 << 20) / (now() - start));
	r = pinfs_sync(map);
	if (r < 0)
		errx(1, "pinfs_sync: %s", pinfs_strerror(r));
	if (out >= 0)
		transfer(&ring, out, pinfs_addr(map), pinfs_len(map), true);
	if (out >= 0 && ftruncate(out, st.st_size) < 0)
		err(1, "%s", argv[3]);
	/* The kernel lets go of the pages, then we do. */
	io_uring_queue_exit(&ring);
	r = pinfs_unmap(map);
	return r < 0;
}
