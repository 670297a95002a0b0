/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/scenarios/scenario.h"

#define ROUNDS 2000

static void
shrink_and_grow(void *arg)
{
	struct turns *t = arg;
	int fd = open_in("edge", O_RDWR);

	while (!turn_ready(t, 1, 0))
		must(ftruncate(fd, BLOCK) == 0 && ftruncate(fd, 4 * BLOCK) == 0, "truncate");
}

static bool
zero_from(int fd, off_t from, off_t to)
{
	char buf[2 * BLOCK];
	ssize_t n = pread(fd, buf, (size_t)(to - from), from);

	must(n == to - from, "read");
	while (n > 0 && buf[n - 1] == 0)
		n--;
	return n == 0;
}

int
main(int argc, char **argv)
{
	unsigned granted = 0, refused = 0;
	struct pinfs_map *m;
	struct turns t;
	uint64_t id;
	int fd, r;
	pid_t pid;

	scenario_begin(argc, argv);
	/* stores behind the end, in its last block: pinned, and after the unpin */
	for (int held = 0; held < 2; held++) {
		fd = make_file("tail", 2, 'a');
		must(ftruncate(fd, 5000) == 0, "truncate");
		m = map_range(fd, BLOCK, BLOCK, PINFS_MAP_WRITE, PINFS_PIN_TRANSIENT);
		memset((char *)pinfs_addr(m) + (5000 - BLOCK), 'X', 2 * BLOCK - 5000);
		if (!held)
			must(pinfs_unmap(m) == 0, "unmap");
		must(ftruncate(fd, 3 * BLOCK) == 0, "extend");
		must(zero_from(fd, 5000, 3 * BLOCK), "what was stored behind the end is in the file, %s", held ? "pinned" : "unpinned");
		if (held)
			must(pinfs_unmap(m) == 0, "unmap");
		must(fsync(fd) == 0, "fsync");
		must(zero_from(fd, 5000, 3 * BLOCK), "after fsync");
		close(fd);
	}
	fd = make_file("edge", 4, 'a');
	r = try_pin(fd, 4 * BLOCK, BLOCK, PINFS_ACCESS_READWRITE, PINFS_PIN_TRANSIENT, &id);
	must(r == -EINVAL, "a pin beyond the end: %s", pinfs_strerror(r));
	turns_init(&t);
	pid = child(shrink_and_grow, &t);
	for (int k = 0; k < ROUNDS; k++) {
		r = try_pin(fd, 2 * BLOCK, 2 * BLOCK, PINFS_ACCESS_READWRITE, PINFS_PIN_TRANSIENT, &id);
		must(r == 0 || r == -EINVAL || r == -EAGAIN, "pin: %s", pinfs_strerror(r));
		granted += r == 0;
		refused += r != 0;
		if (r == 0)
			must(pinfs_unpin(fd, id) == 0, "unpin");
	}
	turn_give(&t, 0, 's');
	must(reap(pid) == 0, "the process that truncates failed");
	must(ftruncate(fd, BLOCK) == 0, "truncate");
	r = try_pin(fd, 2 * BLOCK, BLOCK, PINFS_ACCESS_READ, PINFS_PIN_TRANSIENT, &id);
	must(r == -EINVAL, "a pin beyond the new end: %s", pinfs_strerror(r));
	seen(true, "tail zero; %u pins granted, %u refused while it moved", granted, refused);
}
