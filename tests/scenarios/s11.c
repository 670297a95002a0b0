/* SPDX-License-Identifier: BSD-3-Clause */
#include <pthread.h>

#include "tests/scenarios/scenario.h"

#define LAP 4096u /* blocks; then they are made holes again */

static unsigned rounds;
static pthread_barrier_t barrier;
static uint8_t *pool;
static uint64_t placed[2]; /* where each has found the block */
static int file[2];

/* Thread `me` writes its word at the beginning of its half of the block. */
static void
fault(unsigned me, unsigned round)
{
	struct pinfs_pin_options o = { .size = sizeof(o), .access = PINFS_ACCESS_READWRITE, .pin_class = PINFS_PIN_TRANSIENT };
	struct pinfs_pin_range r = { .off = round % LAP * (uint64_t)BLOCK, .len = BLOCK };
	const uint64_t word[2] = { 2 * round + 1, 2 * round + 2 };
	const uint64_t *half;
	uint64_t id;
	int err;

	pthread_barrier_wait(&barrier);
	err = pinfs_pin(file[me], &o, &r, 1, &id);
	errno = -err;
	must(err == 0 && r.pool_off != PINFS_POOL_OFF_HOLE, "pin: %s", pinfs_strerror(err));
	half = (const uint64_t *)(pool + r.pool_off + me * BLOCK / 2);
	for (unsigned k = 0; k < BLOCK / 2 / 8; k++)
		must(half[k] == 0, "round %u: a hole has %#llx in it", round, (unsigned long long)half[k]);
	__atomic_store_n((uint64_t *)(pool + r.pool_off + me * BLOCK / 2), word[me], __ATOMIC_RELEASE);
	placed[me] = r.pool_off;
	pthread_barrier_wait(&barrier);
	must(placed[0] == placed[1], "round %u: two blocks", round);
	half = (const uint64_t *)(pool + r.pool_off);
	must(half[0] == word[0] && half[BLOCK / 2 / 8] == word[1], "round %u: a store is lost", round);
	err = pinfs_unpin(file[me], id);
	must(err == 0, "unpin: %s", pinfs_strerror(err));
}

static void
make_holes(void)
{
	must(ftruncate(file[0], 0) == 0 && ftruncate(file[0], (off_t)LAP * BLOCK) == 0, "make holes");
}

static void *
other(void *arg)
{
	(void)arg;
	for (unsigned n = 0; n < rounds; n++) {
		fault(1, n);
		if (n % LAP == LAP - 1) {
			pthread_barrier_wait(&barrier); /* both have unpinned: */
			pthread_barrier_wait(&barrier); /* a truncate by this process would be refused */
		}
	}
	return NULL;
}

int
main(int argc, char **argv)
{
	uint64_t word[BLOCK / 8];
	pthread_t t;

	scenario_begin(argc, argv);
	rounds = getenv("S11_ROUNDS") ? (unsigned)atoi(getenv("S11_ROUNDS")) : 100000;
	pthread_barrier_init(&barrier, NULL, 2);
	file[0] = make_file("holes", 0, 0);
	file[1] = open_in("holes", O_RDWR);
	pool = map_pool(file[0], 0, status_of(file[0], total_blocks) * BLOCK);
	make_holes();
	must(pthread_create(&t, NULL, other, NULL) == 0, "pthread_create");
	for (unsigned n = 0; n < rounds; n++) {
		fault(0, n);
		if (n % LAP == LAP - 1) {
			pthread_barrier_wait(&barrier);
			make_holes();
			pthread_barrier_wait(&barrier);
		}
	}
	pthread_join(t, NULL);
	for (unsigned n = rounds / LAP * LAP; n < rounds; n++) {
		must(pread(file[0], word, BLOCK, (off_t)(n % LAP) * BLOCK) == BLOCK, "read");
		must(word[0] == 2 * n + 1 && word[BLOCK / 16] == 2 * n + 2, "block %u does not have both stores", n % LAP);
	}
	seen(true, "%u rounds: one block, zeroed once, both stores kept", rounds);
}
