/* SPDX-License-Identifier: BSD-3-Clause */
#include <pthread.h>

#include "tests/scenarios/scenario.h"

#define ROUNDS 20000u
#define LAP 2048u

static pthread_barrier_t barrier;
static uint8_t *pool;
static int file[2];

static uint64_t
pin_block(unsigned me, unsigned access, unsigned round, uint64_t *pool_off)
{
	struct pinfs_pin_options o = { .size = sizeof(o), .access = access, .pin_class = PINFS_PIN_TRANSIENT };
	struct pinfs_pin_range r = { .off = round % LAP * (uint64_t)BLOCK, .len = BLOCK };
	uint64_t id = 0;
	int err = pinfs_pin(file[me], &o, &r, 1, &id);

	errno = -err;
	must(err == 0, "pin: %s", pinfs_strerror(err));
	*pool_off = r.pool_off;
	return id;
}

static void
zero_or_data(const uint8_t *p, unsigned round, const char *how)
{
	for (unsigned k = 0; k < BLOCK; k++)
		must(p[k] == 0 || p[k] == 'w', "round %u: %#x seen by %s", round, p[k], how);
}

static void *
writer(void *arg)
{
	uint64_t id, off;

	(void)arg;
	for (unsigned n = 0; n < ROUNDS; n++) {
		pthread_barrier_wait(&barrier);
		id = pin_block(1, PINFS_ACCESS_READWRITE, n, &off);
		memset(pool + off, 'w', BLOCK);
		must(pinfs_unpin(file[1], id) == 0, "unpin");
		pthread_barrier_wait(&barrier);
	}
	return NULL;
}

int
main(int argc, char **argv)
{
	unsigned holes = 0, blocks = 0;
	uint8_t buf[BLOCK];
	uint64_t id, off;
	pthread_t t;

	scenario_begin(argc, argv);
	/* All free blocks have held somebody else's bytes. */
	fill_pool("other", 'X');
	file[0] = open_in("other", O_RDWR);
	must(ftruncate(file[0], 0) == 0 && fsync(file[0]) == 0, "make space");
	file[0] = make_file("holes", 0, 0);
	file[1] = open_in("holes", O_RDWR);
	pool = map_pool(file[0], 0, status_of(file[0], total_blocks) * BLOCK);
	pthread_barrier_init(&barrier, NULL, 2);
	must(pthread_create(&t, NULL, writer, NULL) == 0, "pthread_create");
	for (unsigned n = 0; n < ROUNDS; n++) {
		if (n % LAP == 0)
			must(ftruncate(file[0], 0) == 0 && ftruncate(file[0], (off_t)LAP * BLOCK) == 0, "make holes");
		pthread_barrier_wait(&barrier);
		id = pin_block(0, PINFS_ACCESS_READ, n, &off);
		if (off == PINFS_POOL_OFF_HOLE) {
			holes++;
		} else {
			blocks++;
			zero_or_data(pool + off, n, "a read pin");
		}
		must(pread(file[0], buf, BLOCK, n % LAP * (off_t)BLOCK) == BLOCK, "read");
		zero_or_data(buf, n, "read(2)");
		must(pinfs_unpin(file[0], id) == 0, "unpin");
		pthread_barrier_wait(&barrier);
	}
	pthread_join(t, NULL);
	seen(true, "%u rounds: a hole %u times, zero or data %u", ROUNDS, holes, blocks);
}
