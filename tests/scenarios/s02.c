/* SPDX-License-Identifier: BSD-3-Clause */
/* A thread stores to all pages of a mapping as fast as it can, in rounds, while the file is written back again and again.
 * Each crash image must pass its checksums, and each word of it be what it was at some moment of the fsync: not older
 * than the round before it, not newer than the one after. (A block that is stored to while it is copied has words of several
 * moments; whoever needs more does not store during the call.) */
#include <pthread.h>

#include "tests/scenarios/image.h"
#include "tests/scenarios/scenario.h"

#define NBLOCKS 1024u
#define ROUNDS 20
#define WORDS (BLOCK / 8)

static uint64_t rounds_stored, stop; /* atomic */

static void *
storer(void *arg)
{
	uint64_t *word = arg;

	for (uint64_t n = 1; !__atomic_load_n(&stop, __ATOMIC_RELAXED); n++) {
		for (size_t k = 0; k < (size_t)NBLOCKS * WORDS; k += 64)
			__atomic_store_n(&word[k], n, __ATOMIC_RELEASE);
		__atomic_store_n(&rounds_stored, n, __ATOMIC_RELEASE);
	}
	return NULL;
}

int
main(int argc, char **argv)
{
	int fd, during = 0;
	struct pinfs_map *m;
	struct image *im;
	pthread_t thread;
	uint64_t page[WORDS];

	scenario_begin(argc, argv);
	fd = make_file("stored", NBLOCKS, 0);
	m = map_range(fd, 0, (uint64_t)NBLOCKS * BLOCK, PINFS_MAP_WRITE, PINFS_PIN_TRANSIENT);
	must(pthread_create(&thread, NULL, storer, pinfs_addr(m)) == 0, "pthread_create");
	for (int round = 0; round < ROUNDS; round++) {
		uint64_t before = __atomic_load_n(&rounds_stored, __ATOMIC_ACQUIRE), after;

		must(fsync(fd) == 0, "fsync");
		after = __atomic_load_n(&rounds_stored, __ATOMIC_ACQUIRE);
		during += after > before;
		if (round % 5)
			continue;
		im = image_take(fd);
		must(im, "the crash image is damaged");
		for (unsigned b = 0; b < NBLOCKS; b++) {
			must(image_read(im, "stored", page, sizeof(page), (uint64_t)b * BLOCK) == BLOCK,
			    "a block of the image fails its checksum");
			for (size_t k = 0; k < WORDS; k += 64)
				must(page[k] >= before && page[k] <= after + 1, "block %u has a word of round %llu, not %llu to %llu",
				    b, (unsigned long long)page[k], (unsigned long long)before, (unsigned long long)after + 1);
		}
		image_drop(im);
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	must(pinfs_unmap(m) == 0, "unmap");
	seen(during > 0, "all images sound; stores went on during %d of %d fsyncs", during, ROUNDS);
}
