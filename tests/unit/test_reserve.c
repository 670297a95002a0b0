/* SPDX-License-Identifier: BSD-3-Clause */
/* What was taken in can be written back, however full the pool is: invariant I4. Nothing here may give ENOSPC but
 * what asks for more: write, clone, create. */
#include "tests/unit/unit_file.h"

#include "pmem/log.h"

enum { CLONES = 6 };

static bool complained;

static void
note_log(void *arg, int level, const char *text)
{
	(void)arg;
	if (level > LOG_NOTICE)
		return;
	complained = true;
	fprintf(stderr, "%s\n", text);
}

/* Blocks of a file in an order that leaves it in pieces, one extent each if step is odd and above 1. */
static void
write_scattered(struct file *f, uint64_t nblocks, uint64_t step)
{
	static const char block[BLK_SIZE] = "x";

	for (uint64_t k = 0; k < nblocks; k++)
		ck_assert_int_eq(fs_write(f, block, BLK_SIZE, k * step % nblocks << BLK_SHIFT, false), BLK_SIZE);
}

static void
write_until_full(struct file *f)
{
	static const char block[BLK_SIZE] = "y";
	ssize_t n = BLK_SIZE;

	for (uint64_t off = 0; n == BLK_SIZE; off += BLK_SIZE)
		n = fs_write(f, block, BLK_SIZE, off, false);
	ck_assert_int_eq(n, -ENOSPC);
}

/* Files that share their blocks in a pool that is full are overwritten here and there, until that
 * is ENOSPC and beyond, each synced now and then. */
static void
overwrite_clones(unsigned mib, uint64_t nblocks, uint64_t step, unsigned clones, uint64_t seed)
{
	const char *path = unit_mkpool(mib);
	struct fs *fs = unit_mount(path);
	struct file *f[CLONES], *rest;
	static const char block[4 * BLK_SIZE] = "z";
	uint64_t rng = seed, synced = 0, written = 0;
	char name[16];
	int r = 0;

	complained = false;
	pinfs_log_to(note_log, NULL);
	f[0] = unit_file(fs, "f0", O_RDWR);
	write_scattered(f[0], nblocks, step);
	ck_assert_ok(fs_sync(fs));
	for (unsigned k = 1; k < clones; k++) {
		snprintf(name, sizeof(name), "f%u", k);
		f[k] = unit_file(fs, name, O_RDWR);
		r = fs_clone_range(f[0], 0, f[k], 0, 0);
		ck_assert(r == 0 || r == -ENOSPC);
	}
	rest = unit_file(fs, "rest", O_RDWR);
	write_until_full(rest);
	for (unsigned n = 0; n < 1500; n++) {
		struct file *at = f[unit_random(&rng) % clones];
		uint64_t len = (unit_random(&rng) % 4 + 1) << BLK_SHIFT;
		ssize_t w;

		if (unit_random(&rng) % 64 == 0) {
			ck_assert_msg((r = fs_fsync_wait(fs, at->inode, false)) == 0,
			    "%u MiB, %llu blocks by %llu, %u clones, seed %llu, step %u: fsync: %s", mib,
			    (unsigned long long)nblocks, (unsigned long long)step, clones,
			    (unsigned long long)seed, n, strerror(-r));
			synced++;
			continue;
		}
		/* A little of what others have is given away now and then, so that more can be overwritten. */
		if (unit_random(&rng) % 256 == 0)
			ck_assert_ok(fs_truncate(rest->inode, rest->inode->size - min_of(rest->inode->size,
			    (uint64_t)16 << BLK_SHIFT)));
		w = fs_write(at, block, len, unit_random(&rng) % nblocks << BLK_SHIFT, false);
		ck_assert(w > 0 || w == -ENOSPC);
		written += w > 0;
	}
	ck_assert_uint_gt(synced, 0);
	ck_assert_uint_gt(written, 0);
	ck_assert_ok(fs_sync(fs));
	for (unsigned k = 0; k < clones; k++)
		fs_release(f[k]);
	fs_release(rest);
	ck_assert_ok(fs_umount(fs));
	ck_assert_msg(!complained, "%u MiB, %llu blocks by %llu, %u clones, seed %llu: see what was logged", mib,
	    (unsigned long long)nblocks, (unsigned long long)step, clones, (unsigned long long)seed);
	pinfs_log_to(NULL, NULL);
	unit_check(path);
}

START_TEST(fsync_on_full_pool)
{
	static const struct {
		unsigned mib, nblocks, step, clones;
	} shape[] = {
		{ 2, 128, 1, 2 }, { 2, 128, 31, 4 }, { 4, 256, 101, 6 }, { 4, 512, 1, 6 }, { 8, 1000, 301, 6 },
		{ 8, 400, 7, 3 }, { 16, 1500, 599, 6 },
	};

	for (uint64_t seed = 1; seed <= 4; seed++)
		overwrite_clones(shape[_i].mib, shape[_i].nblocks, shape[_i].step, shape[_i].clones, seed);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("reserve");
	TCase *tc = tcase_create("reserve");

	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, fsync_on_full_pool, 0, 7);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
