/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/scenarios/image.h"
#include "tests/scenarios/scenario.h"

int
main(int argc, char **argv)
{
	char half[1024], page[BLOCK];
	struct pinfs_map *m;
	struct image *im;
	bool write_there, dma_there;
	int fd, r, e;

	scenario_begin(argc, argv);
	fd = make_file("halves", 1, 'a');
	m = map_range(fd, 0, BLOCK, PINFS_MAP_WRITE, PINFS_PIN_LONGTERM);
	memset(half, 'w', sizeof(half));
	must(pwrite(fd, half, sizeof(half), 0) == sizeof(half), "pwrite");
	memset((char *)pinfs_addr(m) + 1024, 'd', 1024);
	r = fsync(fd);
	e = errno;
	im = image_take(fd);
	must(im && image_read(im, "halves", page, sizeof(page), 0) == BLOCK, "crash image");
	image_drop(im);
	write_there = page[0] == 'w' && page[1023] == 'w';
	dma_there = page[1024] == 'd' && page[2047] == 'd';
	must(page[2048] == 'a' && (page[0] == 'w' || page[0] == 'a'), "the image has something else");
	must(pinfs_unmap(m) == 0, "unmap");
	if (policy_is("fail"))
		seen(r < 0 && e == EBUSY && !write_there && !dma_there, "%s; the medium has %s", r < 0 ? strerror(e) : "0",
		    write_there || dma_there ? "part of it" : "the old page");
	if (policy_is("skip"))
		seen(r == 0 && !write_there && !dma_there, "fsync says %s; the medium has %s", r == 0 ? "0" : strerror(e),
		    write_there || dma_there ? "part of it" : "the old page");
	seen(r == 0 && write_there && dma_there, "fsync %s; medium: write(2) %s, DMA %s", r == 0 ? "0" : strerror(e),
	    write_there ? "there" : "missing", dma_there ? "there" : "missing");
}
