/* SPDX-License-Identifier: BSD-3-Clause */
/* DMA sets no dirty bit: a page that was written back while it was pinned must count as dirty when the pin goes. */
#include "tests/scenarios/image.h"
#include "tests/scenarios/scenario.h"

static char
durable(int fd)
{
	struct image *im = image_take(fd);
	char c = 0;

	must(im && image_read(im, "late", &c, 1, 100) == 1, "crash image");
	image_drop(im);
	return c;
}

int
main(int argc, char **argv)
{
	struct pinfs_map *m;
	char first, second;
	int fd;

	scenario_begin(argc, argv);
	fd = make_file("late", 1, 'a');
	m = map_range(fd, 0, BLOCK, PINFS_MAP_WRITE, PINFS_PIN_TRANSIENT);
	memset(pinfs_addr(m), 'b', BLOCK);
	must(fsync(fd) == 0, "fsync");
	first = durable(fd);
	memset(pinfs_addr(m), 'c', BLOCK);
	must(pinfs_unmap(m) == 0, "unmap");
	must(durable(fd) == first, "the store after fsync changed the durable image");
	must(fsync(fd) == 0, "fsync");
	second = durable(fd);
	seen(first == 'b' && second == 'c', "first writeback '%c', the one after the unpin '%c'", first, second);
}
