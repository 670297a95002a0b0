/* SPDX-License-Identifier: BSD-3-Clause */
/* A hash table of plain C structs in a mapped file. After each batch of updates pinfs_sync(): whenever this program, the daemon, or
 * both are killed, the table is exactly as after some batch. No log, no ordering of stores, no code for recovery.
 *
 *   crash-atomic FILE run N       N batches more; after each its number on standard output
 *   crash-atomic FILE check M     M or a later batch is what the file holds, exactly; says which
 *
 * For the check each batch is a function of its number, so the table can be made again in ordinary memory, and compared. */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <pinfs/pinfs.h>

#define BUCKETS 4096
#define NODES 16384 /* 512 KiB of them */
#define BATCH 20    /* updates */

struct node {
	uint64_t key, value;
	uint32_t next; /* index, 0: none; so it does not matter where the file is mapped */
	uint32_t fill[3];
};

struct table {
	uint64_t batch; /* the last that was completed */
	uint64_t count;
	uint32_t free;  /* list of unused nodes */
	uint32_t used;  /* nodes that were ever used */
	uint32_t bucket[BUCKETS];
	struct node node[NODES];
};

static uint32_t *
find(struct table *t, uint64_t key)
{
	uint32_t *at = &t->bucket[key * 0x9e3779b97f4a7c15u >> 52];

	while (*at && t->node[*at].key != key)
		at = &t->node[*at].next;
	return at;
}

static void
put(struct table *t, uint64_t key, uint64_t value)
{
	uint32_t *at = find(t, key), n = *at;

	if (n == 0) {
		n = t->free ? t->free : ++t->used;
		if (t->free)
			t->free = t->node[n].next;
		t->node[n] = (struct node){ .key = key };
		*at = n;
		t->count++;
	}
	t->node[n].value = value;
}

static void
delete(struct table *t, uint64_t key)
{
	uint32_t *at = find(t, key), n = *at;

	if (n == 0)
		return;
	*at = t->node[n].next;
	t->node[n].next = t->free;
	t->free = n;
	t->count--;
}

static void
do_batch(struct table *t)
{
	uint64_t x = (t->batch + 1) * 0xd1342543de82ef95u;

	for (int k = 0; k < BATCH; k++) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		if (x % 5 < 3)
			put(t, x / 8 % (NODES - 1), x);
		else
			delete(t, x / 8 % (NODES - 1));
	}
	t->batch++;
}

static struct table *
map_table(int fd, struct pinfs_map **map)
{
	const int flags = PINFS_MAP_WRITE | PINFS_MAP_ALLOC | PINFS_MAP_ATOMIC | PINFS_MAP_FAULTABLE;
	int r;

	/* Whoever had it mapped before may have died a moment ago, and pinfs does not know yet. */
	for (int n = 0; n < 1000; n++) {
		r = pinfs_map(fd, 0, sizeof(struct table), flags, map);
		if (r != -EBUSY)
			break;
		usleep(10000);
	}
	if (r < 0)
		errx(1, "pinfs_map: %s", pinfs_strerror(r));
	return pinfs_addr(*map);
}

static void
run(int fd, uint64_t batches)
{
	struct pinfs_map *map;
	struct table *t = map_table(fd, &map);
	int r;

	for (; batches > 0; batches--) {
		do_batch(t);
		r = pinfs_sync(map);
		if (r < 0)
			errx(1, "pinfs_sync: %s", pinfs_strerror(r));
		printf("%llu\n", (unsigned long long)t->batch);
		fflush(stdout);
	}
	pinfs_unmap(map);
}

static void
check(int fd, uint64_t least)
{
	struct table *model = calloc(1, sizeof(*model));
	struct pinfs_map *map;
	struct table *t = map_table(fd, &map);

	if (!model)
		err(1, NULL);
	if (t->batch < least)
		errx(1, "batch %llu is lost: it is as of %llu", (unsigned long long)least, (unsigned long long)t->batch);
	while (model->batch < t->batch)
		do_batch(model);
	if (memcmp(t, model, sizeof(*t)) != 0)
		errx(1, "the table is not what batch %llu left", (unsigned long long)t->batch);
	printf("exactly batch %llu: %llu entries\n", (unsigned long long)t->batch, (unsigned long long)t->count);
	pinfs_unmap(map);
	free(model);
}

int
main(int argc, char **argv)
{
	int fd = argc == 4 ? open(argv[1], O_RDWR | O_CREAT, 0644) : -1;

	if (fd < 0)
		err(1, "usage: crash-atomic FILE run|check N");
	if (strcmp(argv[2], "run") == 0)
		run(fd, strtoull(argv[3], NULL, 0));
	else
		check(fd, strtoull(argv[3], NULL, 0));
	return 0;
}
