/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/scenarios/scenario.h"

int
main(int argc, char **argv)
{
	bool early, cut = false;
	struct truncater tr;
	struct pinfs_event ev;
	struct pinfs_map *m;
	struct stat st;
	int fd, r;

	scenario_begin(argc, argv);
	fd = make_file("held", 8, 'a');
	m = map_range(fd, 0, 8 * BLOCK, PINFS_MAP_WRITE, 0);
	memset(pinfs_addr(m), 'h', 8 * BLOCK);
	truncater_start(&tr, "held", BLOCK);
	r = pinfs_next_event(pinfs_event_fd(m), &ev, 10000);
	must(r == 1, "no event within 10 s");
	must(ev.op == PINFS_OP_TRUNCATE, "event of operation %u", ev.op);
	if (policy_is("cut")) {
		cut = true;
		must(truncater_end(&tr) == 0, "truncate");
		must(((char *)pinfs_addr(m))[5 * BLOCK] == 'h', "the holder lost what it had");
		memset((char *)pinfs_addr(m) + 4 * BLOCK, 'X', BLOCK);
		must(fstat(fd, &st) == 0 && st.st_size == BLOCK, "size");
		must(ftruncate(fd, 8 * BLOCK) == 0 && count_others("held", 0) == BLOCK, "what was cut is still in the file");
		must(pinfs_unmap(m) == 0, "unmap");
		seen(ev.type == PINFS_EVENT_REVOKED || ev.type == PINFS_EVENT_BREAK, "truncate returned with the pin held; event %u",
		    ev.type);
	}
	must(ev.type == PINFS_EVENT_BREAK && ev.deadline_ns > 0, "event %u", ev.type);
	must(ev.off <= BLOCK && ev.off + ev.len >= 8 * BLOCK, "the event's range");
	early = truncater_done(&tr, 50);
	must(fstat(fd, &st) == 0 && (early || st.st_size == 8 * BLOCK), "fstat while it waits");
	must(pread(fd, &r, 1, 0) == 1, "read while it waits");
	must(pinfs_unmap(m) == 0, "unmap");
	r = truncater_end(&tr);
	must(r == 0, "truncate: %s", strerror(r));
	must(fstat(fd, &st) == 0 && st.st_size == BLOCK, "size after it");
	seen(!early && !cut && status_of(fd, lease_revocations) == 0, "event, then the release, then truncate returned");
}
