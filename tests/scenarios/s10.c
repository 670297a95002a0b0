/* SPDX-License-Identifier: BSD-3-Clause */
#include <sys/xattr.h>

#include "tests/scenarios/scenario.h"

#define ROUNDS 10000
#define PINNERS 2
#define NBLOCKS 8u

static uint64_t *done; /* shared by all processes; atomic */

static void
direct_io(void *arg)
{
	int fd = open_in("journal", O_RDWR);

	(void)arg;
	while (__atomic_load_n(done, __ATOMIC_RELAXED) < ROUNDS) {
		uint64_t n = __atomic_fetch_add(done, 1, __ATOMIC_RELAXED);
		uint64_t id = pin(fd, n % NBLOCKS * BLOCK, BLOCK, PINFS_ACCESS_READWRITE, PINFS_PIN_TRANSIENT);

		must(fsetxattr(fd, "user.n", &n, sizeof(n), 0) == 0, "a transaction with a pin held");
		must(pwrite(fd, &n, sizeof(n), (off_t)(n % NBLOCKS * BLOCK)) == sizeof(n), "a write with a pin held");
		must(pinfs_unpin(fd, id) == 0, "unpin");
	}
}

int
main(int argc, char **argv)
{
	unsigned syncs = 0, busy = 0;
	pid_t pid[PINNERS];
	int fd;

	scenario_begin(argc, argv);
	done = mmap(NULL, sizeof(*done), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(done != MAP_FAILED, "mmap");
	fd = make_file("journal", NBLOCKS, 'a');
	for (int k = 0; k < PINNERS; k++)
		pid[k] = child(direct_io, NULL);
	while (__atomic_load_n(done, __ATOMIC_RELAXED) < ROUNDS) {
		if (fsync(fd) == 0) {
			syncs++;
		} else {
			must(errno == EBUSY && policy_is("fail"), "fsync");
			busy++;
		}
		usleep(100); /* the pins are to get somewhere, too */
	}
	for (int k = 0; k < PINNERS; k++)
		must(reap(pid[k]) == 0, "a process that does direct I/O failed");
	must(fsync(fd) == 0, "fsync with no pin left");
	seen(syncs + busy > 0, "%d rounds; fsync 0: %u, EBUSY: %u", ROUNDS, syncs, busy);
}
