/* SPDX-License-Identifier: BSD-3-Clause */
/* Every request that takes an offset and a length, with those that overflow, and with the last block there can be. */
#include "tests/scenarios/scenario.h"

#define TOP ((uint64_t)INT64_MAX)

static const struct { uint64_t off, len; } bad[] = {
	{ TOP, 1 }, { TOP - 1, 3 }, { TOP - BLOCK + 2, BLOCK }, { TOP + 1, 1 }, { UINT64_MAX, 1 }, { UINT64_MAX, UINT64_MAX },
	{ UINT64_MAX - BLOCK + 1, BLOCK }, { 0, UINT64_MAX }, { 1, UINT64_MAX }, { BLOCK, TOP }, { 0, TOP + 1 },
};
#define BAD (sizeof(bad) / sizeof(bad[0]))

static unsigned calls, wrong;
static int fd;

static void
refused(const char *what, size_t k, int r, int e)
{
	calls++;
	if (r < 0 && (e == EINVAL || e == EFBIG || e == ENXIO))
		return;
	wrong++;
	printf("%s of %#llx+%#llx: %s\n", what, (unsigned long long)bad[k].off, (unsigned long long)bad[k].len,
	    r < 0 ? strerror(e) : "success");
}

int
main(int argc, char **argv)
{
	struct stat before, after;
	char page[BLOCK] = "last";
	uint64_t id;
	int r;

	scenario_begin(argc, argv);
	fd = make_file("far", 3, 'a');
	must(fstat(fd, &before) == 0, "fstat");
	for (size_t k = 0; k < BAD; k++) {
		struct pinfs_sync_range sync = { .size = sizeof(sync), .off = bad[k].off, .len = bad[k].len };
		struct pinfs_range range = { .size = sizeof(range), .off = bad[k].off, .len = bad[k].len };
		struct pinfs_extents x = { .size = sizeof(x), .off = bad[k].off, .len = bad[k].len };

		r = try_pin(fd, bad[k].off, bad[k].len, PINFS_ACCESS_READ, PINFS_PIN_TRANSIENT, &id);
		refused("read pin", k, r, -r);
		refused("sync", k, ioctl(fd, PINFS_IOC_SYNC, &sync), errno);
		refused("collapse", k, ioctl(fd, PINFS_IOC_COLLAPSE, &range), errno);
		refused("insert", k, ioctl(fd, PINFS_IOC_INSERT, &range), errno);
		if (bad[k].off > TOP || bad[k].len > TOP - bad[k].off)
			refused("extents", k, ioctl(fd, PINFS_IOC_EXTENTS, &x), errno);
		if (bad[k].off <= TOP && bad[k].len <= TOP) {
			refused("fallocate", k, fallocate(fd, 0, (off_t)bad[k].off, (off_t)bad[k].len), errno);
			if (bad[k].len <= BLOCK)
				refused("pwrite", k, (int)pwrite(fd, page, BLOCK, (off_t)TOP), errno);
		}
	}
	/* the read pin that only touches the end of what there can be: nothing is there */
	r = try_pin(fd, TOP - BLOCK + 1, BLOCK - 1, PINFS_ACCESS_READ, PINFS_PIN_TRANSIENT, &id);
	must(r == -EINVAL, "a read pin beyond the end of the file: %d", r);
	must(fstat(fd, &after) == 0 && after.st_size == before.st_size && after.st_blocks == before.st_blocks,
	    "the file has changed");
	/* and what is allowed works up to the last byte */
	must(ftruncate(fd, (off_t)TOP) == 0, "ftruncate to 2^63-1");
	must(pwrite(fd, page, 4, (off_t)TOP - 4) == 4, "write of the last bytes there can be");
	memset(page, 0, sizeof(page));
	must(pread(fd, page, 4, (off_t)TOP - 4) == 4 && memcmp(page, "last", 4) == 0, "and reading them");
	must(fsync(fd) == 0 && ftruncate(fd, 3 * BLOCK) == 0, "back again");
	seen(wrong == 0, "%u calls refused, %u not; the last 4 bytes of 2^63-1 work", calls - wrong, wrong);
}
