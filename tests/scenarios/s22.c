/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/scenarios/image.h"
#include "tests/scenarios/scenario.h"

#define NBLOCKS 256u

int
main(int argc, char **argv)
{
	uint64_t first, second, third, b;
	struct pinfs_map *m;
	struct image *im;
	char c = 0;
	int fd, r;

	scenario_begin(argc, argv);
	fd = make_file("odp", NBLOCKS, 'a');
	m = map_range(fd, 0, (uint64_t)NBLOCKS * BLOCK, PINFS_MAP_WRITE | PINFS_MAP_FAULTABLE, 0);
	r = pinfs_map_tracked(m);
	if (r != 1) {
		printf("SEEN the kernel can't tell what was stored to: %s\n", strerror(-r));
		fflush(stdout);
		_exit(77);
	}
	memset(pinfs_addr(m), 'b', NBLOCKS * BLOCK);
	b = status_of(fd, bounced_blocks);
	must(fsync(fd) == 0, "fsync");
	first = status_of(fd, bounced_blocks) - b;
	b += first;
	must(fsync(fd) == 0, "fsync");
	second = status_of(fd, bounced_blocks) - b;
	b += second;
	((char *)pinfs_addr(m))[100 * BLOCK] = 'c';
	((char *)pinfs_addr(m))[200 * BLOCK + 7] = 'd';
	must(fsync(fd) == 0, "fsync");
	third = status_of(fd, bounced_blocks) - b;
	im = image_take(fd);
	must(im && image_read(im, "odp", &c, 1, 100 * BLOCK) == 1 && c == 'c', "the first store is not durable");
	must(image_read(im, "odp", &c, 1, 200 * BLOCK + 7) == 1 && c == 'd', "the second store is not durable");
	must(image_read(im, "odp", &c, 1, 255 * BLOCK) == 1 && c == 'b', "a clean block");
	image_drop(im);
	must(status_of(fd, lease_breaks) == 0, "fsync broke a lease");
	must(pinfs_unmap(m) == 0, "unmap");
	seen(first == NBLOCKS && second == 0 && third == 2, "copied: %llu of %u dirty, then %llu, then %llu of 2 stored to",
	    (unsigned long long)first, NBLOCKS, (unsigned long long)second, (unsigned long long)third);
}
