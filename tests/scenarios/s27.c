/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/scenarios/scenario.h"

int
main(int argc, char **argv)
{
	struct pinfs_pin_range range = { .off = 0, .len = 4 * BLOCK };
	struct pinfs_pin_options o = { .size = sizeof(o), .access = PINFS_ACCESS_READWRITE };
	struct truncater tr;
	struct pinfs_event ev;
	uint64_t id, pin_id;
	uint8_t *map;
	bool early;
	int fd, r;

	scenario_begin(argc, argv);
	fd = make_file("touched", 4, 'a');
	id = lease(fd, 0, 4 * BLOCK, PINFS_LEASE_SHARED, 0, 0);
	r = pinfs_pin(fd, &o, &range, 1, &pin_id);
	must(r == 0 && range.ext_len == 4 * BLOCK, "pin: %s", pinfs_strerror(r));
	map = map_pool(fd, range.pool_off, 4 * BLOCK);
	truncater_start(&tr, "touched", 0);
	must(pinfs_next_event(fd, &ev, 10000) == 1, "no event");
	early = truncater_done(&tr, 50);
	for (unsigned k = 0; k < 4 * BLOCK; k += 512)
		map[k] = (uint8_t)(map[k] + 1); /* faults, while the truncate waits */
	must(pinfs_unpin(fd, pin_id) == 0 && pinfs_lease_release(fd, id) == 0, "release");
	r = truncater_end(&tr);
	must(r == 0, "truncate: %s", strerror(r));
	must(munmap(map, 4 * BLOCK) == 0, "munmap");
	seen(!early, "touched, released; truncate returned with the range still mapped");
}
