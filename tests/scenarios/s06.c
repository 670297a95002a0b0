/* SPDX-License-Identifier: BSD-3-Clause */
/* After the revocation the holder goes on storing, while other files fill the pool; then every byte of every file of the
 * mount is looked at. The file is truncated to half: what the holder has of the other half is no longer the file's, either. */
#include "tests/scenarios/scenario.h"

#define NBLOCKS 128u
#define DEADLINE_MS 300 /* s06.sh: lease_break_ms */

int
main(int argc, char **argv)
{
	struct truncater tr;
	struct pinfs_map *m;
	uint64_t id = 0, quarantined, others;
	int64_t begin;
	uint8_t *dma;
	int fd, r, sync_r, pin_r;

	scenario_begin(argc, argv);
	fd = make_file("held", NBLOCKS, 'a');
	m = map_range(fd, 0, (uint64_t)NBLOCKS * BLOCK, PINFS_MAP_WRITE, 0);
	dma = pinfs_addr(m);
	begin = now_ms();
	truncater_start(&tr, "held", (off_t)NBLOCKS / 2 * BLOCK);
	r = truncater_end(&tr);
	begin = now_ms() - begin;
	must(r == 0, "truncate: %s", strerror(r));
	must(begin >= DEADLINE_MS * 9 / 10, "truncate returned after %lld ms, before the deadline", (long long)begin);
	must(pinfs_map_state(m) == PINFS_LEASE_REVOKED, "state %d", pinfs_map_state(m));
	sync_r = pinfs_sync(m);
	pin_r = try_pin(pinfs_event_fd(m), 0, BLOCK, PINFS_ACCESS_READWRITE, PINFS_PIN_LONGTERM, &id);
	quarantined = status_of(fd, quarantined_blocks);
	must(quarantined >= NBLOCKS, "%llu blocks in quarantine", (unsigned long long)quarantined);
	memset(dma, 'X', (size_t)NBLOCKS * BLOCK);
	fill_pool("other", 'N');
	memset(dma, 'X', (size_t)NBLOCKS * BLOCK);
	others = count_others("other", 'N') + count_others("held", 'a');
	must(pinfs_unmap(m) == 0, "unmap after the revocation has to succeed");
	seen(others == 0 && sync_r == -ESTALE && pin_r < 0 && status_of(fd, lease_revocations) == 1,
	    "after %lld ms; %llu stray bytes; sync: %s; new pin: %s", (long long)begin, (unsigned long long)others,
	    strerror(-sync_r), strerror(-pin_r));
}
