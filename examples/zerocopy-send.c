/* SPDX-License-Identifier: BSD-3-Clause */
/* Sends a file of a pinfs mount over TCP out of its own memory, by io_uring's SEND_ZC; the other end is a child of ours that
 * writes what it gets to standard output: zerocopy-send FILE >COPY
 *
 * The network may read the memory until it says that it is done (for every send two completions come: what was
 * queued, then a notification). Not before that may the mapping go. */
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <liburing.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <pinfs/pinfs.h>

#define CHUNK ((size_t)256 << 10)

/* A connection over loopback. */
static void
connect_pair(int end[2])
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	end[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (l < 0 || end[0] < 0 || bind(l, (struct sockaddr *)&a, len) < 0 || listen(l, 1) < 0 ||
	    getsockname(l, (struct sockaddr *)&a, &len) < 0 || connect(end[0], (struct sockaddr *)&a, len) < 0)
		err(1, "loopback");
	end[1] = accept(l, NULL, NULL);
	if (end[1] < 0)
		err(1, "accept");
	close(l);
}

static void
receive(int from)
{
	char buf[65536];
	ssize_t n;

	while ((n = read(from, buf, sizeof(buf))) > 0)
		if (write(STDOUT_FILENO, buf, (size_t)n) != n)
			err(1, "standard output");
	_exit(n < 0);
}

/* Queue one send. Counts the notifications that are still to come. */
static size_t
send_some(struct io_uring *ring, int to, const uint8_t *addr, size_t len, unsigned *notes)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;
	int res = -1;

	io_uring_prep_send_zc(sqe, to, addr, len < CHUNK ? len : CHUNK, MSG_WAITALL, 0);
	if (io_uring_submit(ring) != 1)
		errx(1, "io_uring_submit");
	while (res < 0) {
		if (io_uring_wait_cqe(ring, &cqe) < 0)
			errx(1, "io_uring");
		if (cqe->flags & IORING_CQE_F_NOTIF) {
			--*notes;
		} else if (cqe->res < 0) {
			errx(cqe->res == -EINVAL || cqe->res == -EOPNOTSUPP ? 77 : 1, "SEND_ZC: %s", strerror(-cqe->res));
		} else {
			res = cqe->res;
			*notes += (cqe->flags & IORING_CQE_F_MORE) != 0;
		}
		io_uring_cqe_seen(ring, cqe);
	}
	return (size_t)res;
}

int
main(int argc, char **argv)
{
	int fd = argc == 2 ? open(argv[1], O_RDONLY) : -1, end[2], r, status;
	struct io_uring_cqe *cqe;
	struct pinfs_map *map;
	struct io_uring ring;
	unsigned notes = 0;
	struct stat st;
	pid_t child;

	if (fd < 0 || fstat(fd, &st) < 0)
		err(1, "usage: zerocopy-send FILE >COPY");
	connect_pair(end);
	child = fork();
	if (child == 0) {
		close(end[0]);
		receive(end[1]);
	}
	close(end[1]);
	r = pinfs_map(fd, 0, 0, PINFS_MAP_READ, &map);
	if (r < 0)
		errx(1, "%s: %s", argv[1], pinfs_strerror(r));
	r = io_uring_queue_init(8, &ring, 0);
	if (r < 0)
		errx(77, "io_uring: %s", strerror(-r));
	for (size_t done = 0; done < (size_t)st.st_size;)
		done += send_some(&ring, end[0], (uint8_t *)pinfs_addr(map) + done, (size_t)st.st_size - done, &notes);
	close(end[0]);
	for (; notes > 0; notes--) {
		if (io_uring_wait_cqe(&ring, &cqe) < 0)
			errx(1, "io_uring");
		io_uring_cqe_seen(&ring, cqe);
	}
	io_uring_queue_exit(&ring);
	r = pinfs_unmap(map);
	return waitpid(child, &status, 0) != child || status != 0 || r < 0;
}
