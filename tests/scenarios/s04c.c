/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/scenarios/scenario.h"

int
main(int argc, char **argv)
{
	struct pinfs_event ev;
	struct truncater tr;
	uint64_t id, tid;
	int fd, other;

	scenario_begin(argc, argv);
	fd = make_file("two", 64, 'a');
	lease(fd, 0, 16 * BLOCK, PINFS_LEASE_SHARED, 0, 0);
	id = pin(fd, 0, 16 * BLOCK, PINFS_ACCESS_READWRITE, PINFS_PIN_LONGTERM);
	tid = pin(fd, 8 * BLOCK, 16 * BLOCK, PINFS_ACCESS_READWRITE, PINFS_PIN_TRANSIENT);
	truncater_start(&tr, "two", 32 * BLOCK);
	must(truncater_end(&tr) == 0, "truncate");
	must(pinfs_next_event(fd, &ev, 0) == 0, "the holder was told");
	must(status_of(fd, lease_breaks) == 0, "a lease was broken");
	/* neither is anybody told when the file grows, in the range or not */
	other = open_in("two", O_RDWR);
	must(ftruncate(other, 128 * BLOCK) == 0 && pwrite(other, "x", 1, 0) == 1 && fsync(other) == 0, "grow, write, fsync");
	must(pinfs_next_event(fd, &ev, 0) == 0, "the holder was told of what moves nothing");
	must(pinfs_unpin(fd, id) == 0 && pinfs_unpin(fd, tid) == 0, "unpin");
	seen(true, "truncate, growth, write and fsync with all pins held; no break");
}
