/* SPDX-License-Identifier: BSD-3-Clause */
/* Writeback: what is durable is what fsync saw, whatever goes on meanwhile. */
#include <pthread.h>
#include <time.h>

#include "fs/fs_i.h"
#include "tests/unit/unit_crash.h"

#define BLK BLK_SIZE

static uint8_t *
pattern(size_t len, uint8_t c)
{
	uint8_t *buf = malloc(len);

	ck_assert_ptr_nonnull(buf);
	memset(buf, c, len);
	return buf;
}

static void
fill(struct file *f, uint64_t off, size_t len, uint8_t c)
{
	uint8_t *buf = pattern(len, c);

	unit_write(f, buf, len, off);
	free(buf);
}

static void
sync_file(struct fs *fs, struct file *f)
{
	ck_assert_ok(fs_fsync_wait(fs, f->inode, false));
}

START_TEST(test_image_is_last_fsync)
{
	const char *path = unit_mkpool(8);
	struct fs *fs = unit_mount_quiet(path);
	struct file *f = unit_file(fs, "f", O_RDWR);
	struct fs_counters before, after;

	fill(f, 0, 100 * BLK, 'a');
	fs_counters(fs, &before);
	ck_assert_uint_eq(before.live_extents, 1);
	sync_file(fs, f);
	fs_counters(fs, &after);
	ck_assert_uint_eq(after.live_extents, 0);
	ck_assert_uint_eq(after.commits, before.commits + 1);
	ck_assert_uint_eq(after.writebacks, before.writebacks + 1);
	ck_assert_uint_eq(after.wb_blocks, before.wb_blocks + 100);
	ck_assert_uint_eq(after.bounced_blocks, before.bounced_blocks);
	unit_crash_expect(path, "f", 100 * BLK, 'a');
	fill(f, 10 * BLK + 5, 50 * BLK, 'b');
	ck_assert_ok(fs_truncate(f->inode, 80 * BLK));
	unit_crash_expect(path, "f", 100 * BLK, 'a');
	ck_assert_ok(fs_truncate(f->inode, 0));
	fill(f, 0, 3 * BLK + 7, 'c');
	sync_file(fs, f);
	unit_crash_expect(path, "f", 3 * BLK + 7, 'c');
	unit_expect(f, 0, 3 * BLK + 7, 'c');
	/* Nothing is left in the live map. */
	ck_assert_uint_eq(f->inode->live.extents, 0);
	fs_release(f);
	ck_assert_ok(fs_umount(fs));
	unit_check(path);
}
END_TEST

/* What the hook does to the file, between the phases. Atomic: a writeback in the background may just be there. */
static struct file *hook_file;
static void (*hook_what)(struct file *f, enum writeback_point at);

static void
hook(struct inode *i, enum writeback_point at)
{
	void (*what)(struct file *, enum writeback_point) = __atomic_load_n(&hook_what, __ATOMIC_ACQUIRE);
	struct file *f = __atomic_load_n(&hook_file, __ATOMIC_ACQUIRE);

	if (f && what && f->inode == i)
		what(f, at);
}

static void
hook_set(struct file *f, void (*what)(struct file *, enum writeback_point))
{
	__atomic_store_n(&hook_file, f, __ATOMIC_RELEASE);
	__atomic_store_n(&hook_what, what, __ATOMIC_RELEASE);
	__atomic_store_n(&writeback_test_hook, what ? hook : NULL, __ATOMIC_RELEASE);
}

static void
write_meanwhile(struct file *f, enum writeback_point at)
{
	if (at == WRITEBACK_TAKEN) {
		fill(f, 4 * BLK, 8 * BLK, 'x');
		fill(f, 20 * BLK + 100, 100, 'x');
		fill(f, 40 * BLK, 10 * BLK, 'x');
	} else {
		fill(f, 5 * BLK, 2 * BLK, 'y');
	}
}

static void
append_meanwhile(struct file *f, enum writeback_point at)
{
	if (at == WRITEBACK_TAKEN)
		fill(f, 3 * BLK, 2 * BLK, 'x');
}

/* A dax write maps its blocks at once: the size that a writeback took before must not come back over it. */
START_TEST(test_dax_write_during_writeback)
{
	const char *path = unit_mkpool(8);
	struct fs *fs = unit_mount_quiet(path);
	struct file *f = unit_file(fs, "f", O_RDWR);

	ck_assert_ok(fs_setflags(fs, f->inode, INODE_FL_DAX, 0, &unit_cred));
	fill(f, 0, 3 * BLK, 'x');
	hook_set(f, append_meanwhile);
	sync_file(fs, f);
	hook_set(NULL, NULL);
	unit_crash_expect(path, "f", 5 * BLK, 'x');
	fs_release(f);
	ck_assert_ok(fs_umount(fs));
	unit_check(path);
}
END_TEST

START_TEST(test_write_during_writeback)
{
	const char *path = unit_mkpool(8);
	struct fs *fs = unit_mount_quiet(path);
	struct file *f = unit_file(fs, "f", O_RDWR);
	struct fs *image;
	struct file *g;

	fill(f, 0, 32 * BLK, 'a');
	hook_set(f, write_meanwhile);
	sync_file(fs, f);
	hook_set(NULL, NULL);
	unit_crash_expect(path, "f", 32 * BLK, 'a');
	ck_assert(inode_is_dirty(f->inode));

	unit_expect(f, 0, 4 * BLK, 'a');
	unit_expect(f, 4 * BLK, BLK, 'x');
	unit_expect(f, 5 * BLK, 2 * BLK, 'y');
	unit_expect(f, 7 * BLK, 5 * BLK, 'x');
	unit_expect(f, 12 * BLK, 8 * BLK + 100, 'a');
	unit_expect(f, 20 * BLK + 100, 100, 'x');
	unit_expect(f, 32 * BLK, 8 * BLK, 0);
	sync_file(fs, f);
	image = unit_crash(path);
	g = unit_file(image, "f", O_RDONLY);
	ck_assert_uint_eq(unit_size(g), 50 * BLK);
	unit_expect(g, 5 * BLK, 2 * BLK, 'y');
	unit_expect(g, 20 * BLK + 100, 100, 'x');
	unit_expect(g, 20 * BLK + 200, 11 * BLK, 'a');
	unit_expect(g, 40 * BLK, 10 * BLK, 'x');
	fs_release(g);
	ck_assert_ok(fs_umount(image));
	fs_release(f);
	ck_assert_ok(fs_umount(fs));
	unit_check(path);
}
END_TEST

static void
cut_meanwhile(struct file *f, enum writeback_point at)
{
	if (at == WRITEBACK_TAKEN)
		ck_assert_ok(fs_truncate(f->inode, 3 * BLK + 10));
	else
		ck_assert_ok(fs_truncate(f->inode, 64 * BLK));
}

static void
grow_meanwhile(struct file *f, enum writeback_point at)
{
	if (at == WRITEBACK_COPIED)
		ck_assert_ok(fs_truncate(f->inode, 64 * BLK));
}

/* A file that becomes longer by a hole while it is written back has nothing but its size to be written back next. */
START_TEST(test_grow_during_writeback)
{
	const char *path = unit_mkpool(8);
	struct fs *fs = unit_mount_quiet(path);
	struct file *f = unit_file(fs, "f", O_RDWR);
	struct fs *crashed;
	struct file *g;

	fill(f, 0, 4 * BLK, 'a');
	hook_set(f, grow_meanwhile);
	sync_file(fs, f);
	hook_set(NULL, NULL);
	ck_assert_ok(fs_sync(fs));
	crashed = unit_crash(path);
	g = unit_file(crashed, "f", O_RDONLY);
	ck_assert_uint_eq(unit_size(g), 64 * BLK);
	fs_release(g);
	ck_assert_ok(fs_umount(crashed));
	fs_release(f);
	ck_assert_ok(fs_umount(fs));
	unit_check(path);
}
END_TEST

START_TEST(test_truncate_during_writeback)
{
	const char *path = unit_mkpool(8);
	struct fs *fs = unit_mount_quiet(path);
	struct file *f = unit_file(fs, "f", O_RDWR);
	uint64_t before;

	before = unit_free_blocks(fs);
	fill(f, 0, 32 * BLK, 'a');
	hook_set(f, cut_meanwhile);
	sync_file(fs, f);
	hook_set(NULL, NULL);
	unit_crash_expect(path, "f", 32 * BLK, 'a');
	ck_assert_uint_eq(unit_size(f), 64 * BLK);
	unit_expect(f, 0, 3 * BLK + 10, 'a');
	unit_expect(f, 3 * BLK + 10, 60 * BLK, 0);
	ck_assert_ok(fs_truncate(f->inode, 0));
	fs_release(f);
	ck_assert_uint_eq(unit_free_blocks(fs), before);
	ck_assert_ok(fs_umount(fs));
	unit_check(path);
}
END_TEST

START_TEST(test_holes_and_preallocation)
{
	const char *path = unit_mkpool(8);
	struct fs *fs = unit_mount_quiet(path), *image;
	struct file *f = unit_file(fs, "f", O_RDWR), *g;
	struct map_extent x[8];
	uint64_t before = unit_free_blocks(fs);

	fill(f, 0, 64 * BLK, 'a');
	sync_file(fs, f);
	ck_assert_ok(fs_fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8 * BLK, 8 * BLK));
	ck_assert_ok(fs_fallocate(f, 0, 64 * BLK, 16 * BLK));
	unit_crash_expect(path, "f", 64 * BLK, 'a');
	sync_file(fs, f);
	ck_assert_uint_eq(f->inode->live.extents, 0);
	ck_assert_int_eq(map_extents(f->inode, 0, 80 * BLK, x, 8), 4);
	ck_assert_uint_eq(x[1].flags, MAP_HOLE);
	ck_assert_uint_eq(x[3].flags, MAP_DURABLE | MAP_UNWRITTEN);
	ck_assert_uint_eq(unit_free_blocks(fs) + 56 + 16, before - 1 + 1);
	image = unit_crash(path);
	g = unit_file(image, "f", O_RDONLY);
	unit_expect(g, 0, 8 * BLK, 'a');
	unit_expect(g, 8 * BLK, 8 * BLK, 0);
	unit_expect(g, 16 * BLK, 48 * BLK, 'a');
	unit_expect(g, 64 * BLK, 16 * BLK, 0);
	fs_release(g);
	ck_assert_ok(fs_umount(image));

	/* Into what is preallocated; that no block is new shows that it was used. */
	fill(f, 70 * BLK, 2 * BLK, 'b');
	unit_crash_expect(path, "nothing", 0, 0);
	sync_file(fs, f);
	unit_expect(f, 70 * BLK, 2 * BLK, 'b');
	unit_expect(f, 72 * BLK, 8 * BLK, 0);
	fs_release(f);
	ck_assert_ok(fs_umount(fs));
	unit_check(path);
}
END_TEST

static uint64_t grabbed;

/* Between take and apply the pool becomes full to the last block. (Writeback tries more than once then.) */
static void
grab_meanwhile(struct file *f, enum writeback_point at)
{
	struct pool *p = fs_pool(f->inode->fs);
	struct alloc_stats st;

	if (grabbed > 0)
		return;
	if (at == WRITEBACK_TAKEN) {
		fill(f, 3 * BLK, 4 * BLK, 'x');
		ck_assert_ok(fs_truncate(f->inode, 20 * BLK));
	} else {
		alloc_stats(pool_alloc(p), &st);
		grabbed = st.free - st.reserved;
		ck_assert_ok(alloc_reserve(pool_alloc(p), grabbed, 0));
	}
}

START_TEST(test_failed_writeback)
{
	const char *path = unit_mkpool(8);
	struct fs *fs = unit_mount_quiet(path);
	struct file *f = unit_file(fs, "f", O_RDWR);
	uint64_t before = unit_free_blocks(fs);

	fill(f, 0, 10 * BLK, 'a');
	sync_file(fs, f);
	fill(f, 0, 32 * BLK, 'b');
	hook_set(f, grab_meanwhile);
	ck_assert_err(fs_fsync_wait(fs, f->inode, false), ENOSPC);
	hook_set(NULL, NULL);
	alloc_unreserve(pool_alloc(fs_pool(fs)), grabbed);
	/* Nothing has happened to the durable image, and nothing is lost of the live one. */
	unit_crash_expect(path, "f", 10 * BLK, 'a');
	ck_assert(inode_is_dirty(f->inode));
	unit_expect(f, 0, 3 * BLK, 'b');
	unit_expect(f, 3 * BLK, 4 * BLK, 'x');
	unit_expect(f, 7 * BLK, 13 * BLK, 'b');
	fill(f, 3 * BLK, 4 * BLK, 'b');
	sync_file(fs, f);
	unit_crash_expect(path, "f", 20 * BLK, 'b');
	/* Superseded blocks have been freed, too. */
	ck_assert_ok(fs_truncate(f->inode, 0));
	fs_release(f);
	ck_assert_uint_eq(unit_free_blocks(fs), before);
	ck_assert_uint_eq(unit_reserved_blocks(fs), 0);
	ck_assert_ok(fs_umount(fs));
	unit_check(path);
}
END_TEST

START_TEST(test_fsync_of_clean_inode)
{
	const char *path = unit_mkpool(8);
	struct fs *fs = unit_mount_quiet(path), *image;
	struct file *f = unit_file(fs, "new", O_RDWR);
	struct inode *root, *i;
	uint64_t commits;

	sync_file(fs, f);
	image = unit_crash(path);
	ck_assert_ok(inode_get(image, INO_ROOT, &root));
	ck_assert_ok(fs_lookup(image, root, "new", &i));
	inode_put(i);
	inode_put(root);
	ck_assert_ok(fs_umount(image));
	/* Once more: there is nothing to commit. */
	commits = txn_committed(fs_pool(fs));
	sync_file(fs, f);
	ck_assert_uint_eq(txn_committed(fs_pool(fs)), commits);
	fs_release(f);
	ck_assert_ok(fs_umount(fs));
}
END_TEST

static void
sync_many(unsigned n, bool one_commit)
{
	const char *path = unit_mkpool(32);
	struct fs *fs = unit_mount_quiet(path), *image;
	uint64_t commits;
	char name[32];

	for (unsigned k = 0; k < n; k++) {
		struct file *f;

		snprintf(name, sizeof(name), "file%u", k);
		f = unit_file(fs, name, O_RDWR);
		fill(f, 0, BLK / 2, (uint8_t)(k + 1));
		fs_release(f);
	}
	commits = txn_committed(fs_pool(fs));
	ck_assert_ok(fs_sync(fs));
	if (one_commit)
		ck_assert_uint_eq(txn_committed(fs_pool(fs)), commits + 1);
	image = unit_crash(path);
	for (unsigned k = 0; k < n; k++) {
		struct file *f;

		snprintf(name, sizeof(name), "file%u", k);
		f = unit_file(image, name, O_RDONLY);
		ck_assert_uint_eq(unit_size(f), BLK / 2);
		unit_expect(f, 0, BLK / 2, (uint8_t)(k + 1));
		fs_release(f);
	}
	ck_assert_ok(fs_umount(image));
	ck_assert_ok(fs_umount(fs));
}

START_TEST(test_sync_is_one_commit)
{
	sync_many(500, true);
}
END_TEST

/* In the middle of a sync: others commit, and want to write back a file that sync has taken. */
static pthread_t second;
static bool second_runs, second_done; /* done: atomic */
static __thread bool is_second;

static void *
second_fsync(void *arg)
{
	struct file *f = arg;

	is_second = true;
	sync_file(f->inode->fs, f);
	__atomic_store_n(&second_done, true, __ATOMIC_RELEASE);
	return NULL;
}

static void
during_sync(struct file *f, enum writeback_point at)
{
	const struct timespec pause = { .tv_nsec = 20000000 };
	struct fs *fs = f->inode->fs;
	struct file *g;

	if (is_second)
		return;
	if (at == WRITEBACK_TAKEN) {
		fill(f, 0, 2 * BLK, 'x');
		second_runs = true;
		ck_assert_int_eq(pthread_create(&second, NULL, second_fsync, f), 0);
		nanosleep(&pause, NULL);
	} else if (second_runs) {
		g = unit_file(fs, "another", O_RDWR);
		sync_file(fs, g);
		fs_release(g);
		ck_assert(!__atomic_load_n(&second_done, __ATOMIC_ACQUIRE));
	}
}

START_TEST(test_during_sync)
{
	const char *path = unit_mkpool(8);
	struct fs *fs = unit_mount_quiet(path);
	struct file *f = unit_file(fs, "f", O_RDWR), *g = unit_file(fs, "g", O_RDWR);

	fill(f, 0, 4 * BLK, 'a');
	fill(g, 0, 4 * BLK, 'a');
	ck_assert_ok(fs_sync(fs));
	fill(f, 0, 4 * BLK, 'b');
	fill(g, 0, 4 * BLK, 'b');
	hook_set(f, during_sync);
	ck_assert_ok(fs_sync(fs));
	hook_set(NULL, NULL);
	ck_assert(second_runs);
	pthread_join(second, NULL);
	unit_crash_expect(path, "g", 4 * BLK, 'b');
	unit_expect(f, 0, 2 * BLK, 'x');
	unit_expect(f, 2 * BLK, 2 * BLK, 'b');
	fs_release(g);
	fs_release(f);
	ck_assert_ok(fs_umount(fs));
	unit_check(path);
}
END_TEST

static const char *pool_now;

/* Nothing of a sync is durable before all of it is. */
static void
crash_during_sync(struct file *f, enum writeback_point at)
{
	struct file *g;

	if (at != WRITEBACK_COPIED)
		return;
	g = unit_file(f->inode->fs, "another", O_RDWR);
	sync_file(f->inode->fs, g);
	fs_release(g);
	unit_crash_expect(pool_now, "f", 4 * BLK, 'a');
	unit_crash_expect(pool_now, "g", 4 * BLK, 'a');
}

START_TEST(test_crash_during_sync)
{
	const char *path = pool_now = unit_mkpool(8);
	struct fs *fs = unit_mount_quiet(path);
	struct file *f = unit_file(fs, "f", O_RDWR), *g = unit_file(fs, "g", O_RDWR);

	for (unsigned round = 0; round < 2; round++) {
		fill(f, 0, 4 * BLK, 'a');
		fill(g, 0, 4 * BLK, 'a');
		ck_assert_ok(fs_sync(fs));
		fill(g, 0, 4 * BLK, 'b');
		fill(f, 0, 4 * BLK, 'b');
		hook_set(round ? f : g, crash_during_sync);
		ck_assert_ok(fs_sync(fs));
		hook_set(NULL, NULL);
		unit_crash_expect(path, "f", 4 * BLK, 'b');
		unit_crash_expect(path, "g", 4 * BLK, 'b');
	}
	fs_release(g);
	fs_release(f);
	ck_assert_ok(fs_umount(fs));
}
END_TEST

START_TEST(test_sync_of_many)
{
	sync_many(2600, false);
}
END_TEST

START_TEST(test_sync_full_pool)
{
	const char *path = unit_mkpool(4);
	struct fs *fs = unit_mount_quiet(path);
	struct file *f[16];
	uint8_t *buf = pattern(BLK, 'z');
	char name[32];
	ssize_t r = 0;

	/* Scattered blocks of many files until nothing fits; then all of it becomes durable all the same. */
	for (unsigned k = 0; k < 16; k++) {
		snprintf(name, sizeof(name), "file%u", k);
		f[k] = unit_file(fs, name, O_RDWR);
	}
	for (uint64_t n = 0; r >= 0; n++)
		r = fs_write(f[n % 16], buf, BLK, n / 16 * 2 * BLK, false);
	ck_assert_int_eq(r, -ENOSPC);
	ck_assert_ok(fs_sync(fs));
	for (unsigned k = 0; k < 16; k++)
		ck_assert_ok(fs_fsync_wait(fs, f[k]->inode, false));
	for (unsigned k = 0; k < 16; k++) {
		ck_assert_ok(fs_truncate(f[k]->inode, 0));
		fs_release(f[k]);
	}
	ck_assert_ok(fs_sync(fs));
	free(buf);
	ck_assert_ok(fs_umount(fs));
	unit_check(path);
}
END_TEST

/* ---- threads -------------------------------------------------------------------------- */

#define RECORD (4 * BLK)
#define RECORDS 16

struct crowd {
	struct fs *fs;
	struct file *f;
	bool stop; /* atomic */
};

static void *
writer(void *arg)
{
	struct crowd *c = arg;
	uint8_t buf[RECORD];
	uint64_t seed = 7;

	for (unsigned n = 0; n < 1500; n++) {
		uint64_t x = unit_random(&seed);

		memset(buf, (int)(x >> 32 & 0xff), sizeof(buf));
		unit_write(c->f, buf, sizeof(buf), x % RECORDS * RECORD);
	}
	__atomic_store_n(&c->stop, true, __ATOMIC_RELEASE);
	return NULL;
}

static void *
fsyncer(void *arg)
{
	struct crowd *c = arg;

	while (!__atomic_load_n(&c->stop, __ATOMIC_ACQUIRE))
		ck_assert_ok(fs_fsync_wait(c->fs, c->f->inode, true));
	return NULL;
}

static void *
syncer(void *arg)
{
	struct crowd *c = arg;

	while (!__atomic_load_n(&c->stop, __ATOMIC_ACQUIRE))
		ck_assert_ok(fs_sync(c->fs));
	return NULL;
}

/* A write(2) is in the image as a whole or not at all. */
START_TEST(test_threads)
{
	const char *path = unit_mkpool(8);
	struct crowd c = { .fs = unit_mount_quiet(path) };
	void *(*const job[])(void *) = { writer, fsyncer, syncer, fsyncer };
	pthread_t thread[4];
	uint8_t buf[RECORD];
	struct file *f;
	struct fs *fs;

	c.f = unit_file(c.fs, "f", O_RDWR);
	fill(c.f, 0, RECORDS * RECORD, 0);
	ck_assert_ok(fs_fsync_wait(c.fs, c.f->inode, false));
	for (unsigned k = 0; k < 4; k++)
		ck_assert_int_eq(pthread_create(&thread[k], NULL, job[k], &c), 0);
	for (unsigned k = 0; k < 4; k++)
		pthread_join(thread[k], NULL);
	fs_release(c.f);
	fs_abandon(c.fs);
	unit_check(path);
	fs = unit_mount_quiet(path);
	f = unit_file(fs, "f", O_RDONLY);
	for (unsigned k = 0; k < RECORDS; k++) {
		ck_assert_int_eq(fs_read(f, buf, sizeof(buf), k * RECORD), RECORD);
		ck_assert_msg(memcmp(buf, buf + 1, RECORD - 1) == 0, "record %u is torn", k);
	}
	fs_release(f);
	ck_assert_ok(fs_umount(fs));
}
END_TEST

START_TEST(test_background)
{
	const char *path = unit_mkpool(8);
	const struct timespec pause = { .tv_nsec = 20000000 };
	struct fs_options opt;
	struct pool_error err;
	struct fs *fs = unit_mount(path);
	struct file *f;

	ck_assert_ok(fs_umount(fs));
	fs_options_default(&opt);
	opt.commit_s = 1;
	ck_assert_ok(fs_mount(&fs, path, &opt, &err));
	for (unsigned round = 0; round < 2; round++) {
		/* Both what is in the inode and what is in the transaction only. */
		f = unit_file(fs, round ? "g" : "f", O_RDWR);
		if (round == 0)
			fill(f, 0, 5 * BLK, 'a');
		for (unsigned n = 0; n < 3000 && (inode_is_dirty(f->inode) || txn_open_dirty(fs_pool(fs))); n++)
			nanosleep(&pause, NULL);
		ck_assert(!inode_is_dirty(f->inode));
		ck_assert(!txn_open_dirty(fs_pool(fs)));
		fs_release(f);
	}
	unit_crash_expect(path, "f", 5 * BLK, 'a');
	ck_assert_ok(fs_umount(fs));
}
END_TEST

/* Files that become dirty one after the other share commits: there is one in half of commit_s at most. */
START_TEST(test_background_batches)
{
	enum { FILES = 200 };
	const char *path = unit_mkpool(8);
	const struct timespec pause = { .tv_nsec = 10000000 };
	struct timespec start, end;
	struct fs_options opt;
	struct pool_error err;
	struct fs *fs = unit_mount(path);
	struct file *f[FILES];
	uint64_t commits;
	char name[16];

	ck_assert_ok(fs_umount(fs));
	fs_options_default(&opt);
	opt.commit_s = 1;
	ck_assert_ok(fs_mount(&fs, path, &opt, &err));
	for (unsigned k = 0; k < FILES; k++) {
		snprintf(name, sizeof(name), "f%u", k);
		f[k] = unit_file(fs, name, O_RDWR);
	}
	commits = txn_commits(fs_pool(fs));
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (unsigned k = 0; k < FILES; k++) {
		fill(f[k], 0, BLK, 'a');
		nanosleep(&pause, NULL);
	}
	while (inode_is_dirty(f[0]->inode))
		nanosleep(&pause, NULL);
	commits = txn_commits(fs_pool(fs)) - commits;
	clock_gettime(CLOCK_MONOTONIC, &end);
	ck_assert_uint_ge(commits, 1);
	ck_assert_uint_le(commits, 2 * (uint64_t)(end.tv_sec - start.tv_sec + 1) + 2);
	for (unsigned k = 0; k < FILES; k++)
		fs_release(f[k]);
	ck_assert_ok(fs_umount(fs));
}
END_TEST

static void
done(void *arg, int err)
{
	ck_assert_int_eq(err, 0);
	__atomic_store_n((bool *)arg, true, __ATOMIC_RELEASE);
}

START_TEST(test_reclaim_and_async)
{
	const char *path = unit_mkpool(8);
	struct fs *fs = unit_mount_quiet(path);
	struct file *f = unit_file(fs, "f", O_RDWR);
	const struct timespec pause = { .tv_nsec = 1000000 };
	bool called = false;

	fill(f, 0, 100 * BLK, 'a');
	fs_fsync(fs, f->inode, false, done, &called);
	/* in the volatile domain: before it returns */
	while (!__atomic_load_n(&called, __ATOMIC_ACQUIRE))
		nanosleep(&pause, NULL);
	ck_assert(!writeback_reclaim(fs));
	ck_assert_ok(fs_truncate(f->inode, 0));
	ck_assert(writeback_reclaim(fs));
	ck_assert(!writeback_reclaim(fs));
	fs_release(f);
	ck_assert_ok(fs_umount(fs));
}
END_TEST

/* An inode that was changed, left the cache and came back is not taken for one that is durable. */
START_TEST(test_fsync_of_reloaded_inode)
{
	const char *path = unit_mkpool(8);
	struct fs *fs = unit_mount_quiet(path), *crashed;
	struct inode *root, *i;
	struct file *f = unit_file(fs, "old", O_RDWR);

	fs_release(f);
	ck_assert_ok(fs_sync(fs));
	ck_assert_ok(inode_get(fs, INO_ROOT, &root));
	ck_assert_ok(fs_rename(fs, root, "old", root, "new", 0));
	f = unit_file(fs, "new", O_RDONLY);
	sync_file(fs, f);
	fs_release(f);
	inode_put(root);

	crashed = unit_crash(path);
	ck_assert_ok(inode_get(crashed, INO_ROOT, &root));
	ck_assert_err(fs_lookup(crashed, root, "old", &i), ENOENT);
	ck_assert_ok(fs_lookup(crashed, root, "new", &i));
	inode_put(i);
	inode_put(root);
	ck_assert_ok(fs_umount(crashed));
	ck_assert_ok(fs_umount(fs));
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("writeback");
	TCase *t = tcase_create("writeback");

	tcase_add_test(t, test_image_is_last_fsync);
	tcase_add_test(t, test_write_during_writeback);
	tcase_add_test(t, test_dax_write_during_writeback);
	tcase_add_test(t, test_grow_during_writeback);
	tcase_add_test(t, test_truncate_during_writeback);
	tcase_add_test(t, test_holes_and_preallocation);
	tcase_add_test(t, test_failed_writeback);
	tcase_add_test(t, test_fsync_of_clean_inode);
	tcase_add_test(t, test_fsync_of_reloaded_inode);
	tcase_add_test(t, test_sync_is_one_commit);
	tcase_add_test(t, test_during_sync);
	tcase_add_test(t, test_crash_during_sync);
	tcase_add_test(t, test_sync_of_many);
	tcase_add_test(t, test_sync_full_pool);
	tcase_add_test(t, test_threads);
	tcase_add_test(t, test_background);
	tcase_add_test(t, test_background_batches);
	tcase_add_test(t, test_reclaim_and_async);
	suite_add_tcase(s, t);
	return unit_main(s);
}
