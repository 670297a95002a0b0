/* SPDX-License-Identifier: BSD-3-Clause */
/* The scrub: reads all there is, finds what was damaged since it was read last, keeps to its rate, and is in
 * nobody's way. */
#include "tests/unit/unit_repair.h"

#include <pthread.h>
#include <sched.h>
#include <time.h>

#include "fs/scrub.h"
#include "pmem/log.h"

static const char *path;

static void
quiet(void *arg, int level, const char *text)
{
	(void)arg, (void)level, (void)text;
}

static struct fs *
filled(unsigned files)
{
	struct fs *fs;
	char name[40];

	pinfs_log_to(quiet, NULL);
	path = unit_mkpool(32);
	fs = unit_mount(path);
	for (unsigned n = 0; n < files; n++) {
		struct file *f;

		snprintf(name, sizeof(name), "file-%u", n);
		f = unit_file(fs, name, O_RDWR);
		unit_fill(f, n % 5 * BLK_SIZE, 3 * BLK_SIZE, (uint8_t)n);
		fs_release(f);
	}
	ck_assert_ok(fs_sync(fs));
	return fs;
}

static struct scrub_status
wait_end(struct fs *fs)
{
	struct scrub_status st;

	do {
		struct timespec ms = { 0, 1000000 };

		nanosleep(&ms, NULL);
		fs_scrub_status(fs, &st);
	} while (st.state == SCRUB_RUNNING);
	return st;
}

static struct scrub_status
scrub(struct fs *fs)
{
	ck_assert_ok(fs_scrub_start(fs, 0));
	return wait_end(fs);
}

START_TEST(everything_is_read)
{
	struct fs *fs = filled(200);
	uint64_t inodes, data, nodes;
	struct scrub_status st;

	fs_scrub_status(fs, &st);
	ck_assert_int_eq(st.state, SCRUB_NEVER);
	st = scrub(fs);
	pool_counters(fs_pool(fs), &inodes, &data, &nodes);
	ck_assert_int_eq(st.state, SCRUB_DONE);
	ck_assert_uint_eq(st.inodes, inodes);
	ck_assert_uint_eq(st.blocks, data);
	ck_assert_uint_eq(st.nodes, nodes);
	ck_assert_uint_eq(st.done_bytes, st.total_bytes);
	ck_assert_uint_eq(st.node_errors + st.inode_errors + st.block_errors, 0);
	ck_assert(st.started > 0 && st.ended >= st.started);
	ck_assert_ok(fs_umount(fs));
}
END_TEST

static int
no_stop(void *arg, struct tree_key key, const void *value, size_t len)
{
	(void)key, (void)len;
	memcpy(arg, value, EXTENT_ITEM_HEAD);
	return 1;
}

/* A block that was read, and sound, goes bad: the scrub finds it, and nobody reads it any more. */
START_TEST(damaged_content_is_found)
{
	struct fs *fs = filled(20);
	struct file *f = unit_file(fs, "file-5", O_RDONLY);
	struct scrub_status st;
	struct extent_item e;
	char buf[BLK_SIZE];

	unit_expect(f, 0, 3 * BLK_SIZE, 5);
	ck_assert_int_eq(tree_scan(fs_pool(fs), tree_key(f->inode->ino, ITEM_EXTENT, 0),
	    tree_key(f->inode->ino, ITEM_EXTENT, UINT64_MAX), no_stop, &e), 1);
	((char *)pool_block(fs_pool(fs), e.pblk + 1))[77] ^= 1;
	unit_expect(f, BLK_SIZE + 100, 100, 5); /* was checked before, and is not again */
	st = scrub(fs);
	ck_assert_uint_eq(st.block_errors, 1);
	ck_assert_uint_eq(st.node_errors + st.inode_errors, 0);
	ck_assert_err(fs_read(f, buf, BLK_SIZE, BLK_SIZE), EIO);
	unit_expect(f, 0, BLK_SIZE, 5);
	fs_release(f);
	fs_abandon(fs);
}
END_TEST

struct last_leaf {
	pblk_t block;
	unsigned leaves;
};

static int
note_leaf(void *arg, const struct tree_walk_node *wn)
{
	struct last_leaf *l = arg;

	if (wn->level == 0 && ++l->leaves == 3)
		l->block = wn->block;
	return 0;
}

START_TEST(a_damaged_node_is_found)
{
	struct fs *fs = filled(400);
	struct last_leaf l = { 0 };
	struct scrub_status st;

	ck_assert_ok(tree_walk(fs_pool(fs), note_leaf, &l));
	ck_assert_uint_gt(l.leaves, 5);
	((char *)pool_block(fs_pool(fs), l.block))[4001] ^= 1;
	st = scrub(fs);
	ck_assert_int_eq(st.state, SCRUB_DONE);
	ck_assert_uint_eq(st.node_errors, 1);
	ck_assert_uint_gt(st.inodes, 200);
	st = scrub(fs);
	ck_assert_uint_eq(st.node_errors, 1);
	fs_abandon(fs);
}
END_TEST

START_TEST(one_at_a_time_at_its_rate_and_cancelled)
{
	struct fs *fs = filled(200);
	struct scrub_status st;

	ck_assert_ok(fs_scrub_start(fs, BLK_SIZE));
	ck_assert_err(fs_scrub_start(fs, 0), EBUSY);
	fs_scrub_status(fs, &st);
	ck_assert_int_eq(st.state, SCRUB_RUNNING);
	ck_assert_uint_eq(st.bytes_per_s, BLK_SIZE);
	fs_scrub_cancel(fs);
	st = wait_end(fs);
	ck_assert_int_eq(st.state, SCRUB_CANCELLED);
	ck_assert_uint_lt(st.done_bytes, st.total_bytes);
	fs_scrub_cancel(fs);
	st = scrub(fs);
	ck_assert_int_eq(st.state, SCRUB_DONE);
	/* An unmount does not wait for it. */
	ck_assert_ok(fs_scrub_start(fs, 1));
	ck_assert_ok(fs_umount(fs));
	unit_check(path);
}
END_TEST

struct writer {
	struct fs *fs;
	unsigned id; /* each has files of its own */
	bool stop;   /* atomic */
};

static void *
write_on(void *arg)
{
	struct writer *w = arg;
	uint64_t seed = 7 + w->id;
	char name[40];

	for (unsigned n = 0; !__atomic_load_n(&w->stop, __ATOMIC_RELAXED); n++) {
		struct file *f;

		snprintf(name, sizeof(name), "file-%u", 2 * (unsigned)(unit_random(&seed) % 150) + w->id);
		if (n % 7 == 0) {
			fs_release(unit_file(w->fs, name, O_RDWR));
			unit_unlink(w->fs, name);
			continue;
		}
		f = unit_file(w->fs, name, O_RDWR);
		unit_fill(f, unit_random(&seed) % 8 * BLK_SIZE, 2 * BLK_SIZE, (uint8_t)n);
		if (n % 5 == 0)
			ck_assert_ok(fs_fsync_wait(w->fs, f->inode, false));
		fs_release(f);
	}
	return NULL;
}

/* What changes meanwhile is no damage. */
START_TEST(writers_and_a_scrub_go_together)
{
	struct fs *fs = filled(300);
	struct writer w[2] = { { .fs = fs, .id = 0 }, { .fs = fs, .id = 1 } };
	struct scrub_status st;
	pthread_t thread[2];

	for (unsigned n = 0; n < 2; n++)
		ck_assert_int_eq(pthread_create(&thread[n], NULL, write_on, &w[n]), 0);
	for (unsigned n = 0; n < 30; n++) {
		st = scrub(fs);
		ck_assert_int_eq(st.state, SCRUB_DONE);
		ck_assert_uint_eq(st.node_errors + st.inode_errors + st.block_errors, 0);
		ck_assert_uint_gt(st.inodes, 100);
	}
	for (unsigned n = 0; n < 2; n++) {
		__atomic_store_n(&w[n].stop, true, __ATOMIC_RELAXED);
		pthread_join(thread[n], NULL);
	}
	ck_assert_ok(fs_umount(fs));
	unit_check(path);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("scrub");
	TCase *t = tcase_create("scrub");

	tcase_add_test(t, everything_is_read);
	tcase_add_test(t, damaged_content_is_found);
	tcase_add_test(t, a_damaged_node_is_found);
	tcase_add_test(t, one_at_a_time_at_its_rate_and_cancelled);
	tcase_add_test(t, writers_and_a_scrub_go_together);
	suite_add_tcase(s, t);
	return unit_main(s);
}
