/* SPDX-License-Identifier: BSD-3-Clause */
/* A holder with DMA in flight: late HOW FILE SOURCE
 *
 * Maps 64 KiB at the beginning of FILE, starts something that the kernel completes later, says "in flight", and does what it
 * is told on standard input, a word a line, answering "done":
 *   close    closes FILE and the pool and takes the mapping away without a word to pinfs, as an exit would, but lives on
 *   read     (vmsplice) takes what the kernel has out of the pipe: "holds X" if all of it is the byte X
 *   quit     ends
 *
 * HOW    registered   io_uring READ_FIXED from SOURCE, O_DIRECT, into the mapping as a registered buffer
 *        direct       read(2), O_DIRECT, in a thread
 *        vmsplice     the mapping, read-only, is put into a pipe
 * Exit status 77: not to be had here, and why. */
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <pinfs/pinfs.h>

#define LEN (64 << 10)

static struct pinfs_map *map;
static struct io_uring ring;
static int source, pipe_fd[2];
static const char *file, *pool;

static void
skip(const char *what, int error)
{
	fprintf(stderr, "skipped: %s: %s\n", what, strerror(error));
	exit(77);
}

static void
start_registered(void)
{
	struct iovec v = { pinfs_addr(map), LEN };
	struct io_uring_sqe *sqe;
	int r = io_uring_queue_init(4, &ring, 0);

	if (r == -ENOSYS || r == -EPERM)
		skip("io_uring", -r);
	if (r == 0)
		r = io_uring_register_buffers(&ring, &v, 1);
	if (r < 0)
		errx(1, "registered buffer: %s", strerror(-r));
	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_read_fixed(sqe, source, v.iov_base, LEN, 0, 0);
	if (io_uring_submit(&ring) != 1)
		errx(1, "io_uring_submit");
}

static void *
direct_read(void *addr)
{
	ssize_t n = pread(source, addr, LEN, 0);

	if (n != LEN)
		warn("read from the slow device: %zd", n);
	return NULL;
}

static void
start_direct(void)
{
	pthread_t t;

	if (pthread_create(&t, NULL, direct_read, pinfs_addr(map)) != 0)
		errx(1, "pthread_create");
}

static void
start_vmsplice(void)
{
	struct iovec v = { pinfs_addr(map), LEN };

	if (pipe2(pipe_fd, O_CLOEXEC) < 0)
		err(1, "pipe");
	if (vmsplice(pipe_fd[1], &v, 1, 0) != LEN)
		err(1, "vmsplice");
}

static void
read_pipe(void)
{
	static char buf[LEN];

	for (size_t got = 0; got < LEN;) {
		ssize_t n = read(pipe_fd[0], buf + got, LEN - got);

		if (n <= 0)
			err(1, "pipe");
		got += (size_t)n;
	}
	printf(memcmp(buf, buf + 1, LEN - 1) == 0 ? "holds %c\n" : "holds a mixture with %c\n", buf[0]);
}

/* Every descriptor of the file and of the pool, and the mapping. */
static void
close_all(void)
{
	DIR *d = opendir("/proc/self/fd");
	char target[4096];
	struct dirent *e;

	if (!d)
		err(1, "/proc/self/fd");
	while ((e = readdir(d)) != NULL) {
		ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1);

		target[n > 0 ? n : 0] = '\0';
		target[strcspn(target, " ")] = '\0'; /* "... (deleted)" */
		if (strcmp(target, file) == 0 || strcmp(target, pool) == 0)
			close(atoi(e->d_name));
	}
	closedir(d);
	if (munmap(pinfs_addr(map), pinfs_len(map)) < 0)
		err(1, "munmap");
}

int
main(int argc, char **argv)
{
	bool vmsplice_it = argc == 4 && strcmp(argv[1], "vmsplice") == 0;
	static struct pinfs_status st;
	char line[64];
	int fd, r;

	if (argc != 4)
		errx(2, "usage: late HOW FILE SOURCE");
	file = argv[2];
	fd = open(file, O_RDWR);
	source = vmsplice_it ? -1 : open(argv[3], O_RDONLY | O_DIRECT);
	if (fd < 0 || (source < 0 && !vmsplice_it))
		err(1, "open");
	r = pinfs_map(fd, 0, LEN, vmsplice_it ? PINFS_MAP_READ : PINFS_MAP_WRITE, &map);
	if (r == 0)
		r = pinfs_get_status(fd, &st);
	if (r < 0)
		errx(1, "%s: %s", file, pinfs_strerror(r));
	pool = st.pool_path;
	close(fd);
	if (strcmp(argv[1], "registered") == 0)
		start_registered();
	else if (strcmp(argv[1], "direct") == 0)
		start_direct();
	else
		start_vmsplice();
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("in flight\n");
	while (fgets(line, sizeof(line), stdin)) {
		if (strcmp(line, "close\n") == 0)
			close_all();
		else if (strcmp(line, "read\n") == 0)
			read_pipe();
		else
			break;
		printf("done\n");
	}
	return 0;
}
