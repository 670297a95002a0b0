/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/scenarios/scenario.h"

#define ROUNDS 300

/* Records that carry their number, written and read back while the attribute goes on and off. */
static void
load(void *arg)
{
	struct turns *t = arg;
	int fd = open_in("load", O_RDWR);
	uint64_t rec[64], back[64];

	for (uint64_t n = 1; !turn_ready(t, 1, 0); n++) {
		off_t off = (off_t)(n * 7919 % 200) * 512;

		for (unsigned k = 0; k < 64; k++)
			rec[k] = n ^ k;
		must(pwrite(fd, rec, sizeof(rec), off) == sizeof(rec), "pwrite under load");
		must(pread(fd, back, sizeof(back), off) == sizeof(back), "pread under load");
		must(memcmp(rec, back, sizeof(rec)) == 0, "a record is not what was written");
		if (n % 16 == 0)
			must(fsync(fd) == 0, "fsync under load");
	}
}

int
main(int argc, char **argv)
{
	char path[4096];
	int dir, fd, inherited, pinned[2], r;
	struct turns t;
	uint64_t id;
	pid_t pid;

	scenario_begin(argc, argv);
	snprintf(path, sizeof(path), "%s/dir", scenario_dir);
	must(mkdir(path, 0755) == 0, "mkdir");
	dir = open(path, O_RDONLY | O_DIRECTORY);
	must(dir >= 0 && set_dax(dir, true) == 0 && is_dax(dir), "set on a directory");
	inherited = open_in("dir/file", O_RDWR | O_CREAT);
	must(is_dax(inherited), "not inherited");

	fd = make_file("load", 25, 0);
	must(!is_dax(fd), "dax from nowhere");
	turns_init(&t);
	pid = child(load, &t);
	for (int k = 0; k < ROUNDS; k++)
		must(set_dax(fd, !(k & 1)) == 0 && is_dax(fd) == !(k & 1), "set and cleared under load");
	turn_give(&t, 0, 's');
	must(reap(pid) == 0, "the load failed");

	for (int on = 0; on < 2; on++) {
		must(set_dax(fd, !on) == 0, "set");
		r = try_pin(fd, 0, BLOCK, PINFS_ACCESS_READWRITE, PINFS_PIN_TRANSIENT, &id);
		must(r == 0, "pin: %s", pinfs_strerror(r));
		pinned[on] = set_dax(fd, on);
		must(is_dax(fd) == !on, "it changed under a pin");
		must(pinfs_unpin(fd, id) == 0, "unpin");
		must(set_dax(fd, on) == 0, "after the unpin");
	}
	seen(pinned[0] == -ETXTBSY && pinned[1] == -ETXTBSY, "set, inherited, %d changes under load; pinned: %s, %s", ROUNDS,
	    strerror(-pinned[0]), strerror(-pinned[1]));
}
