/* SPDX-License-Identifier: BSD-3-Clause */
/* At every moment at least one pin covers the range: each process takes the next one before it drops the last. */
#include "tests/scenarios/scenario.h"

#define PINNERS 2
#define NBLOCKS 16u
#define TRUNCATES 5

static void
pin_on_and_on(void *arg)
{
	struct turns *t = arg;
	uint64_t ids[2] = { 0, 0 };
	int fd = open_in("busy", O_RDWR), r;
	bool told = false;

	for (unsigned n = 0; !turn_ready(t, 1, 0); n++) {
		r = try_pin(fd, 0, (uint64_t)NBLOCKS * BLOCK, PINFS_ACCESS_READWRITE, PINFS_PIN_TRANSIENT, &ids[n & 1]);
		/* EAGAIN: a truncate waits; EINVAL: it is done, and the file is short */
		must(r == 0 || r == -EAGAIN || r == -EINVAL, "pin: %s", pinfs_strerror(r));
		if (r < 0)
			ids[n & 1] = 0;
		if (ids[!(n & 1)])
			must(pinfs_unpin(fd, ids[!(n & 1)]) == 0, "unpin");
		ids[!(n & 1)] = 0;
		if (r == 0 && !told)
			turn_give(t, 1, 'p');
		told |= r == 0;
	}
}

int
main(int argc, char **argv)
{
	struct truncater tr;
	struct turns t[PINNERS];
	int64_t most = 0, begin;
	pid_t pid[PINNERS];
	int fd;

	scenario_begin(argc, argv);
	fd = make_file("busy", NBLOCKS, 'a');
	for (int k = 0; k < PINNERS; k++) {
		turns_init(&t[k]);
		pid[k] = child(pin_on_and_on, &t[k]);
		turn_take(&t[k], 0);
	}
	for (int k = 0; k < TRUNCATES; k++) {
		begin = now_ms();
		truncater_start(&tr, "busy", BLOCK);
		must(truncater_end(&tr) == 0, "truncate");
		begin = now_ms() - begin;
		most = begin > most ? begin : most;
		must(ftruncate(fd, (off_t)NBLOCKS * BLOCK) == 0, "extend");
	}
	for (int k = 0; k < PINNERS; k++) {
		turn_give(&t[k], 0, 's');
		must(reap(pid[k]) == 0, "a pinner failed");
	}
	must(status_of(fd, pins) == 0, "pins are left");
	seen(true, "%d truncates under %d pinners, the longest %lld ms", TRUNCATES, PINNERS, (long long)most);
}
