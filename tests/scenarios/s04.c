/* SPDX-License-Identifier: BSD-3-Clause */
/* The holder's DMA goes on after the file has let go of its blocks, while new files take all space that there is. */
#include <linux/falloc.h>

#include "tests/scenarios/scenario.h"

#define NBLOCKS 64u
#define BOUND_MS 200 /* s04.sh: transient_ms */

/* How long the operation took, with the pin still there. */
static int64_t
under_pin(bool punch)
{
	struct truncater tr;
	struct pinfs_map *m;
	int64_t begin;
	uint64_t others;
	uint8_t *dma;
	char path[4096];
	int fd;

	fd = make_file("pinned", NBLOCKS, 'a');
	m = map_range(fd, 0, (uint64_t)NBLOCKS * BLOCK, PINFS_MAP_WRITE, PINFS_PIN_TRANSIENT);
	dma = pinfs_addr(m);
	begin = now_ms();
	if (punch) {
		int other = open_in("pinned", O_RDWR);
		pid_t pid = fork();

		must(pid >= 0, "fork");
		if (pid == 0)
			_exit(fallocate(other, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)NBLOCKS * BLOCK) == 0 ? 0 : 1);
		must(reap(pid) == 0, "punch");
		close(other);
	} else {
		truncater_start(&tr, "pinned", 0);
		must(truncater_end(&tr) == 0, "truncate");
	}
	begin = now_ms() - begin;
	/* late DMA, before and after somebody else fills the pool */
	memset(dma, 'X', (size_t)NBLOCKS * BLOCK);
	fill_pool("new", 'N');
	memset(dma, 'X', (size_t)NBLOCKS * BLOCK);
	others = count_others("new", 'N');
	must(others == 0, "%llu bytes of the DMA in another file", (unsigned long long)others);
	must(dma[0] == 'X' && dma[(size_t)NBLOCKS * BLOCK - 1] == 'X', "somebody else wrote into the holder's blocks");
	must(count_others("pinned", 0) == 0, "the DMA is in the file that let go of it");
	must(pinfs_unmap(m) == 0, "unmap");
	close(fd);
	for (int k = 0; k < 2; k++) {
		snprintf(path, sizeof(path), "%s/%s", scenario_dir, k ? "new" : "pinned");
		must(unlink(path) == 0, "unlink");
	}
	return begin;
}

int
main(int argc, char **argv)
{
	int64_t truncate_ms, punch_ms;
	bool bounded = true;

	scenario_begin(argc, argv);
	truncate_ms = under_pin(false);
	punch_ms = under_pin(true);
	if (policy_is("wait"))
		bounded = truncate_ms >= BOUND_MS * 9 / 10 && punch_ms >= BOUND_MS * 9 / 10;
	seen(bounded, "truncate %lld ms, punch %lld ms, both before the unpin", (long long)truncate_ms, (long long)punch_ms);
}
