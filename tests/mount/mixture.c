/* SPDX-License-Identifier: BSD-3-Clause */
/* mixture [-d] [-r] FILE A B: is every word (8 bytes) of FILE, as far as A goes, the one that A or B has there? So is a file that is
 * overwritten with A and B in turns, by whatever size of step. -d: read with O_DIRECT. -r: again and again until SIGTERM. */
#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK ((size_t)1 << 20)

static volatile sig_atomic_t ended;

static void
end(int sig)
{
	(void)sig;
	ended = 1;
}

static void
fill(int fd, const char *name, uint64_t *buf, size_t len, size_t off)
{
	for (size_t got = 0; got < len;) {
		ssize_t n = pread(fd, (char *)buf + got, CHUNK - got, (off_t)(off + got));

		if (n <= 0)
			err(1, "%s at %zu", name, off + got);
		got += (size_t)n;
	}
}

int
main(int argc, char **argv)
{
	static _Alignas(4096) uint64_t buf[3][CHUNK / 8];
	int opt, fd[3], direct = 0, repeat = 0;
	struct stat st;

	while ((opt = getopt(argc, argv, "dr")) != -1) {
		direct |= opt == 'd';
		repeat |= opt == 'r';
	}
	argv += optind;
	if (argc - optind != 3)
		errx(2, "usage: mixture [-d] [-r] FILE A B");
	for (int k = 0; k < 3; k++) {
		fd[k] = open(argv[k], O_RDONLY | (k == 0 && direct ? O_DIRECT : 0));
		if (fd[k] < 0)
			err(1, "%s", argv[k]);
	}
	if (fstat(fd[1], &st) < 0)
		err(1, "%s", argv[1]);
	signal(SIGTERM, end);
	do {
		for (size_t off = 0; off < (size_t)st.st_size && !ended; off += CHUNK) {
			size_t len = (size_t)st.st_size - off < CHUNK ? (size_t)st.st_size - off : CHUNK;

			for (int k = 0; k < 3; k++)
				fill(fd[k], argv[k], buf[k], len, off);
			for (size_t w = 0; w < len / 8; w++)
				if (buf[0][w] != buf[1][w] && buf[0][w] != buf[2][w])
					errx(1, "%s at %zu: %016llx is neither %016llx nor %016llx", argv[0], off + 8 * w,
					    (unsigned long long)buf[0][w], (unsigned long long)buf[1][w],
					    (unsigned long long)buf[2][w]);
		}
	} while (repeat && !ended);
	return 0;
}
