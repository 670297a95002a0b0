/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/scenarios/scenario.h"

static int
state_of(const struct pinfs_list_entry *e, void *arg)
{
	if (e->kind == PINFS_LIST_LEASE)
		*(int *)arg = e->state;
	return 0;
}

int
main(int argc, char **argv)
{
	struct truncater tr;
	struct pinfs_event ev;
	struct stat st;
	int fd, r, state = 0, again;

	scenario_begin(argc, argv);
	fd = make_file("mine", 4, 'a');
	lease(fd, 0, 0, PINFS_LEASE_EXCLUSIVE, 0, 0);
	pin(fd, 0, 4 * BLOCK, PINFS_ACCESS_READWRITE, PINFS_PIN_LONGTERM);
	truncater_start(&tr, "mine", 0);
	r = truncater_end(&tr);
	sleep_ms(400); /* longer than the deadline of a break, if there were one */
	truncater_start(&tr, "mine", BLOCK);
	again = truncater_end(&tr);
	must(pinfs_list(fd, 0, state_of, &state) == 0, "list");
	must(pinfs_next_event(fd, &ev, 0) == 0, "the holder was told");
	must(fstat(fd, &st) == 0 && st.st_size == 4 * BLOCK, "the file changed");
	seen(r == ETXTBSY && again == ETXTBSY && state == PINFS_LEASE_HELD, "%s, later %s; lease %s", strerror(r), strerror(again),
	    state == PINFS_LEASE_HELD ? "held" : "gone");
}
