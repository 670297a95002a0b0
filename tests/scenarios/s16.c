/* SPDX-License-Identifier: BSD-3-Clause */
/* The pool is filled with junk, which is deleted: so whatever is free has been somebody else's data. A
 * write pin of more holes than there is space for must fail as a whole; whatever it had allocated by then is in no file; and
 * the holes read zero, then and when some of the space is there. */
#include "tests/scenarios/scenario.h"

#define CHUNK (1u << 20)

static bool
all_zero(int fd, uint64_t len)
{
	static char buf[CHUNK];

	for (uint64_t off = 0; off < len; off += CHUNK) {
		must(pread(fd, buf, CHUNK, (off_t)off) == CHUNK, "read");
		for (size_t k = 0; k < CHUNK; k++)
			if (buf[k])
				return false;
	}
	return true;
}

static uint64_t
fill(const char *name, uint64_t bytes)
{
	static char buf[CHUNK];
	int fd = open_in(name, O_RDWR | O_CREAT);
	uint64_t done = 0;

	memset(buf, 'J', sizeof(buf));
	while (done < bytes && pwrite(fd, buf, CHUNK, (off_t)done) == CHUNK)
		done += CHUNK;
	fsync(fd);
	close(fd);
	return done;
}

int
main(int argc, char **argv)
{
	struct pinfs_status *a = calloc(1, sizeof(*a)), *b = calloc(1, sizeof(*b));
	uint64_t full, id, holes = (uint64_t)16 << 20;
	char path[4096];
	int fd, r, tries = 0, granted = 0;

	scenario_begin(argc, argv);
	must(a && b, "memory");
	full = fill("junk", UINT64_MAX);
	snprintf(path, sizeof(path), "%s/junk", scenario_dir);
	must(unlink(path) == 0, "unlink");
	fd = open_in("holes", O_RDWR | O_CREAT);
	must(ftruncate(fd, (off_t)holes) == 0, "ftruncate");
	must(fsync(fd) == 0, "fsync");
	/* leave room for ever more of it */
	for (uint64_t room = 1; room < holes >> 20; room += 3, tries++) {
		fill("junk", full - (room << 20));
		must(pinfs_get_status(fd, a) == 0, "status");
		r = try_pin(fd, 0, holes, PINFS_ACCESS_READWRITE, PINFS_PIN_TRANSIENT, &id);
		if (r == 0) {
			granted++;
			must(pinfs_unpin(fd, id) == 0, "unpin");
		} else {
			must(r == -ENOSPC, "pin: %s", pinfs_strerror(r));
			must(pinfs_get_status(fd, b) == 0, "status");
			must(b->pins == a->pins && b->reserved_blocks <= a->reserved_blocks, "a failed pin left something");
		}
		must(all_zero(fd, holes), "somebody else's data in the holes, with %llu MiB of room", (unsigned long long)room);
		must(unlink(path) == 0, "unlink");
	}
	seen(tries > granted, "%d of %d pins ENOSPC; holes read zero after each", tries - granted, tries);
}
