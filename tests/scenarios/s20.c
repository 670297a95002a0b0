/* SPDX-License-Identifier: BSD-3-Clause */
#include <pthread.h>

#include "tests/scenarios/scenario.h"

#define ROUNDS 40u

static uint64_t *words, nwords;
static uint64_t generation; /* atomic: all words are this or the one before */
static int done;            /* atomic */

static void *
storer(void *arg)
{
	uint64_t g = generation;

	(void)arg;
	while (!__atomic_load_n(&done, __ATOMIC_RELAXED)) {
		__atomic_store_n(&generation, ++g, __ATOMIC_RELEASE);
		for (uint64_t k = 0; k < nwords; k++)
			__atomic_store_n(&words[k], g, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Every word is from before..after; once more later it is the same. */
static void
check_clone(int fd, uint64_t len, uint64_t before, uint64_t after)
{
	uint64_t *a = malloc(len), *b = malloc(len);

	must(a && b && pread(fd, a, len, 0) == (ssize_t)len, "read the clone");
	for (uint64_t k = 0; k < nwords; k++)
		must(a[k] >= before && a[k] <= after, "word %llu is of generation %llu, not %llu to %llu",
		    (unsigned long long)k, (unsigned long long)a[k], (unsigned long long)before, (unsigned long long)after);
	must(fsync(fd) == 0 && pread(fd, b, len, 0) == (ssize_t)len, "read it again");
	must(memcmp(a, b, len) == 0, "the clone changes as its source is stored to");
	free(a);
	free(b);
}

static uint64_t
first_extent(int fd)
{
	struct pinfs_extents x = { .size = sizeof(x), .len = BLOCK };

	must(ioctl(fd, PINFS_IOC_EXTENTS, &x) == 0, "extents");
	return x.extents[0].pool_off;
}

static void
play(const char *name, uint64_t len)
{
	int fd = make_file(name, (unsigned)(len / BLOCK), 0), to;
	struct pinfs_map *m = map_range(fd, 0, len, PINFS_MAP_WRITE, 0);
	uint64_t place = first_extent(fd), before, after;
	char copy[64];
	pthread_t t;

	words = pinfs_addr(m);
	nwords = len / 8;
	generation = 0;
	done = 0;
	must(pthread_create(&t, NULL, storer, NULL) == 0, "pthread_create");
	snprintf(copy, sizeof(copy), "%s.copy", name);
	for (unsigned n = 0; n < ROUNDS; n++) {
		loff_t in = 0, out = 0;

		to = open_in(copy, O_RDWR | O_CREAT | O_TRUNC);
		before = __atomic_load_n(&generation, __ATOMIC_ACQUIRE);
		must(copy_file_range(fd, &in, to, &out, len, 0) == (ssize_t)len, "copy_file_range");
		after = __atomic_load_n(&generation, __ATOMIC_ACQUIRE);
		check_clone(to, len, before > 0 ? before - 1 : 0, after);
		must(first_extent(fd) == place, "the pinner's blocks were moved");
		close(to);
	}
	__atomic_store_n(&done, 1, __ATOMIC_RELAXED);
	pthread_join(t, NULL);
	to = open_in(name, O_RDONLY);
	check_clone(to, len, generation, generation); /* no store is lost: read(2) of the file itself */
	must(pinfs_unmap(m) == 0, "unmap");
	must(fsync(fd) == 0, "fsync");
	check_clone(to, len, generation, generation);
	close(to);
	close(fd);
}

int
main(int argc, char **argv)
{
	scenario_begin(argc, argv);
	play("small", 4 * BLOCK);
	play("large", 4 << 20); /* two runs of 2 MiB */
	seen(true, "%u clones each of 16 KiB and 4 MiB: snapshots; no store lost", ROUNDS);
}
