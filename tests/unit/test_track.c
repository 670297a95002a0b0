/* SPDX-License-Identifier: BSD-3-Clause */
/* Faultable pins: writeback bounces what was stored to since the last one, all of that, and not much more.
 *
 * The process maps the pool a second time, as a client would, and protects that mapping itself. */
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "fs/pin_i.h"
#include "fs/track.h"
#include "fs/writeback_i.h"
#include "tests/unit/unit_pin.h"
#include "tests/unit/unit_track.h"

static struct mapping
map_pool(const char *path, uint64_t pool_off, size_t len)
{
	struct mapping m = { .len = len, .uffd = -1 };
	int fd = open(path, O_RDWR | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	m.at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)pool_off);
	ck_assert_ptr_ne(m.at, MAP_FAILED);
	close(fd);
	return m;
}

static int
pin_faultable(struct file *f, uint64_t off, uint64_t len, uint64_t *id, uint64_t *pool_off)
{
	const struct pin_params params = { .access = PIN_WRITE, .class = PIN_FAULTABLE };
	struct pin_range r = { .off = off, .len = len };
	int err = pin_add(f, &params, &r, 1, &unit_cred, id);

	ck_assert(err < 0 || r.ext_len == r.len);
	*pool_off = r.pool_off;
	return err;
}

/* Pin blocks for writing, map them, and have the mapping tracked. */
static struct mapping
track(const char *path, struct file *f, uint64_t b, uint64_t n, uint64_t *id)
{
	struct mapping m;
	uint64_t pool_off;
	int reason;

	ck_assert_ok(pin_faultable(f, b * BLK, n * BLK, id, &pool_off));
	m = map_pool(path, pool_off, n * BLK);
	ck_assert_ok(protect(&m));
	ck_assert_ok(pin_track(f, *id, b * BLK, n * BLK, (uintptr_t)m.at, getpid(), &reason));
	ck_assert_int_eq(reason, 0);
	return m;
}

/* Bounced by an fsync. */
static uint64_t
bounced(struct file *f)
{
	struct fs *fs = f->inode->fs;
	uint64_t n = counters(fs).bounced_blocks;

	sync_file(f);
	return counters(fs).bounced_blocks - n;
}

START_TEST(test_only_dirty)
{
	struct mapping m;
	uint64_t id;
	START(16);

	ck_assert_ok(fs_truncate(f->inode, 1024 * BLK));
	m = track(path, f, 0, 1024, &id);
	/* The first time all of it. */
	memset(m.at, 'a', 1024 * BLK);
	ck_assert_uint_eq(bounced(f), 1024);
	unit_crash_expect(path, "f", 1024 * BLK, 'a');
	ck_assert_uint_eq(bounced(f), 0);
	ck_assert_uint_eq(f->inode->live.extents, 1);
	ck_assert(inode_is_dirty(f->inode)); /* or nobody would ask again */
	/* Then what was stored to. */
	for (unsigned k = 0; k < 1024; k += 100)
		m.at[k * BLK + k] = 'b';
	unit_expect(f, 0, 1, 'b');
	ck_assert_uint_eq(bounced(f), 11);
	ck_assert_uint_eq(f->inode->live.extents, 1);
	ck_assert_uint_eq(bounced(f), 0);
	{
		struct fs *image = unit_crash(path);
		struct file *g = unit_file(image, "f", O_RDONLY);

		for (unsigned k = 0; k < 1024; k++)
			unit_expect(g, k * BLK + k, 1, k % 100 ? 'a' : 'b');
		fs_release(g);
		ck_assert_ok(fs_umount(image));
	}
	/* The daemon's own stores. */
	unit_fill(f, 500 * BLK - 1, 2, 'c');
	ck_assert_uint_eq(bounced(f), 2);
	ck_assert_int_eq(m.at[500 * BLK], 'c');
	ck_assert_ok(fs_fallocate(f, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 7 * BLK, 1));
	ck_assert_uint_eq(bounced(f), 1);
	/* The last unpin: all of it is taken by reference. */
	memset(m.at, 'd', 1024 * BLK);
	ck_assert_ok(pin_remove(f, id));
	ck_assert_uint_eq(bounced(f), 0);
	unit_crash_expect(path, "f", 1024 * BLK, 'd');
	unmap(&m);
	finish(fs, path, f, before);
}
END_TEST

/* Another pin on the block that does not tell makes it dirty each time. */
START_TEST(test_untracked_pin)
{
	struct mapping m;
	uint64_t id, other, rid, far;
	uint8_t *p;
	START(16);

	unit_fill(f, 0, 64 * BLK, 'a');
	m = track(path, f, 0, 32, &id);
	p = pin(f, PIN_WRITE, 16 * BLK, 4 * BLK, &other);
	pin(f, PIN_READ, 0, 8 * BLK, &rid);
	sync_file(f);
	for (int k = 0; k < 3; k++) {
		m.at[0] = (uint8_t)k;
		p[0] = (uint8_t)k;
		ck_assert_uint_eq(bounced(f), 1 + 4);
	}
	ck_assert_ok(pin_remove(f, other));
	ck_assert_uint_eq(bounced(f), 4);
	ck_assert_uint_eq(bounced(f), 0);
	/* A faultable pin that does not tell, either; nor one that no longer tells. */
	ck_assert_ok(pin_faultable(f, 40 * BLK, 2 * BLK, &far, &other));
	ck_assert_uint_eq(bounced(f), 2);
	ck_assert_uint_eq(bounced(f), 2);
	{
		int reason;

		ck_assert_ok(pin_track(f, id, 0, 0, 0, getpid(), &reason));
	}
	ck_assert_uint_eq(bounced(f), 32 + 2);
	ck_assert_uint_eq(bounced(f), 32 + 2);
	ck_assert_ok(pin_remove(f, far));
	ck_assert_ok(pin_remove(f, rid));
	ck_assert_ok(pin_remove(f, id));
	unmap(&m);
	finish(fs, path, f, before);
}
END_TEST

/* Two that tell of the same blocks, one of them in two parts. */
START_TEST(test_two_tracked)
{
	struct mapping m, n;
	uint64_t id, id2, pool_off;
	int reason;
	START(16);

	unit_fill(f, 0, 64 * BLK, 'a');
	m = track(path, f, 0, 64, &id);
	ck_assert_ok(pin_faultable(f, 0, 32 * BLK, &id2, &pool_off));
	n = map_pool(path, pool_off, 32 * BLK);
	ck_assert_ok(protect(&n));
	ck_assert_ok(pin_track(f, id2, 0, 16 * BLK, (uintptr_t)n.at, getpid(), &reason));
	ck_assert_int_eq(reason, 0);
	sync_file(f);
	ck_assert_uint_eq(bounced(f), 16);
	ck_assert_ok(pin_track(f, id2, 16 * BLK, 16 * BLK, (uintptr_t)n.at + 16 * BLK, getpid(), &reason));
	ck_assert_int_eq(reason, 0);
	sync_file(f);
	ck_assert_uint_eq(bounced(f), 0);
	m.at[5 * BLK] = 1;
	n.at[6 * BLK] = 1;
	n.at[20 * BLK] = 1;
	m.at[50 * BLK] = 1;
	ck_assert_uint_eq(bounced(f), 4);
	/* Said again it counts once: the other pin's blocks must not become clean for it. */
	for (int k = 0; k < 3; k++)
		ck_assert_ok(pin_track(f, id2, 0, 32 * BLK, (uintptr_t)n.at, getpid(), &reason));
	sync_file(f);
	ck_assert_ok(pin_track(f, id, 0, 0, 0, 0, &reason));
	sync_file(f);
	ck_assert_uint_eq(bounced(f), 64);
	ck_assert_ok(pin_remove(f, id2));
	ck_assert_ok(pin_remove(f, id));
	unmap(&m);
	unmap(&n);
	finish(fs, path, f, before);
}
END_TEST

START_TEST(test_refused)
{
	struct pin_range r = { .len = 16 * BLK };
	struct mapping m;
	struct file *g;
	uint64_t id, rid, lid, pool_off;
	uintptr_t at;
	int reason;
	START(8);

	unit_fill(f, 0, 16 * BLK, 'a');
	g = unit_file(fs, "f", O_RDWR);
	ck_assert_ok(pin_faultable(f, 0, 8 * BLK, &id, &pool_off));
	m = map_pool(path, pool_off, 8 * BLK);
	at = (uintptr_t)m.at;
	ck_assert_ok(unit_pin(f, PIN_WRITE, &r, 1, &lid));
	ck_assert_ok(pin_add(f, &(struct pin_params){ PIN_READ, PIN_FAULTABLE, 0, 0 }, &r, 1, &unit_cred, &rid));
	ck_assert_err(pin_track(g, id, 0, BLK, at, getpid(), &reason), ENOENT);
	ck_assert_err(pin_track(f, id + 1000, 0, BLK, at, getpid(), &reason), ENOENT);
	ck_assert_err(pin_track(f, lid, 0, BLK, at, getpid(), &reason), EINVAL);
	ck_assert_err(pin_track(f, rid, 0, BLK, at, getpid(), &reason), EINVAL);
	ck_assert_err(pin_track(f, id, 0, 9 * BLK, at, getpid(), &reason), EINVAL);
	ck_assert_err(pin_track(f, id, 8 * BLK, BLK, at, getpid(), &reason), EINVAL);
	ck_assert_err(pin_track(f, id, 1, BLK, at, getpid(), &reason), EINVAL);
	ck_assert_err(pin_track(f, id, 0, 1, at, getpid(), &reason), EINVAL);
	ck_assert_err(pin_track(f, id, 0, BLK, at + 1, getpid(), &reason), EINVAL);
	ck_assert_err(pin_track(f, id, 0, BLK, -BLK / 2, getpid(), &reason), EINVAL);
	ck_assert_err(pin_track(f, id, INT64_MAX & ~BLK_MASK, UINT64_MAX & ~(uint64_t)BLK_MASK, at, getpid(), &reason),
	    EINVAL);
	/* Not protected. */
	ck_assert_ok(pin_track(f, id, 0, 8 * BLK, at, getpid(), &reason));
	ck_assert_int_eq(reason, EPERM);
	ck_assert_ok(protect(&m));
	/* Other blocks than it says; no such process; not mapped at all. */
	ck_assert_ok(pin_track(f, id, 0, 4 * BLK, at + BLK, getpid(), &reason));
	ck_assert_int_eq(reason, EFAULT);
	ck_assert_ok(pin_track(f, id, 0, 8 * BLK, at, 0, &reason));
	ck_assert_int_eq(reason, ESRCH);
	ck_assert_ok(pin_track(f, id, 0, 8 * BLK, 64 * BLK, getpid(), &reason));
	ck_assert_int_ne(reason, 0);
	ck_assert(!track_any(f->inode));
	ck_assert_ok(pin_track(f, id, 0, 8 * BLK, at, getpid(), &reason));
	ck_assert_int_eq(reason, 0);
	ck_assert_ok(pin_remove(f, lid));
	ck_assert_ok(pin_remove(f, rid));
	ck_assert_ok(pin_remove(f, id));
	ck_assert(!track_any(f->inode));
	unmap(&m);
	fs_release(g);
	finish(fs, path, f, before);
}
END_TEST

/* What a holder stored before he unmapped, or went, or became another program, is dirty. */
START_TEST(test_holder_goes)
{
	struct mapping m;
	uint64_t id, pool_off;
	int reason, to[2], from[2];
	uintptr_t at;
	pid_t pid;
	char c;
	START(8);

	unit_fill(f, 0, 64 * BLK, 'a');
	m = track(path, f, 0, 64, &id);
	sync_file(f);
	ck_assert_uint_eq(bounced(f), 0);
	m.at[3 * BLK] = 'b';
	munmap(m.at + 3 * BLK, BLK);
	ck_assert_uint_eq(bounced(f), 64);
	ck_assert(!track_any(f->inode));
	ck_assert_uint_eq(bounced(f), 64);
	unmap(&m);
	ck_assert_ok(pin_remove(f, id));
	sync_file(f);

	/* Another process: it stores whatever it is told, or goes by 'q' or 'x'. */
	ck_assert_ok(pin_faultable(f, 0, 64 * BLK, &id, &pool_off));
	for (int round = 0; round < 2; round++) {
		ck_assert(pipe2(to, O_CLOEXEC) == 0 && pipe2(from, O_CLOEXEC) == 0);
		pid = fork();
		ck_assert_int_ge(pid, 0);
		if (pid == 0) {
			m = map_pool(path, pool_off, 64 * BLK);
			if (protect(&m) < 0 || write(from[1], &m.at, sizeof(m.at)) < 0)
				_exit(1);
			while (read(to[0], &c, 1) == 1) {
				memset(m.at + 7 * BLK, c, BLK);
				if (c == 'x')
					execl("/bin/sleep", "sleep", "10", (char *)NULL);
				if (c == 'q')
					_exit(0);
				if (write(from[1], &c, 1) < 0)
					_exit(1);
			}
			_exit(0);
		}
		close(from[1]);
		ck_assert_int_eq(read(from[0], &at, sizeof(at)), sizeof(at));
		ck_assert_ok(pin_track(f, id, 0, 64 * BLK, at, pid, &reason));
		ck_assert_int_eq(reason, 0);
		sync_file(f);
		ck_assert_uint_eq(bounced(f), 0);
		ck_assert(write(to[1], "1", 1) == 1 && read(from[0], &c, 1) == 1);
		ck_assert_uint_eq(bounced(f), 1);
		ck_assert_int_eq(write(to[1], round ? "x" : "q", 1), 1);
		ck_assert_int_eq(read(from[0], &c, 1), 0); /* closed: it is gone */
		if (!round)
			ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
		ck_assert_uint_eq(bounced(f), 64);
		ck_assert(!track_any(f->inode));
		{
			struct fs *image = unit_crash(path);
			struct file *g = unit_file(image, "f", O_RDONLY);

			unit_expect(g, 7 * BLK, BLK, round ? 'x' : 'q');
			fs_release(g);
			ck_assert_ok(fs_umount(image));
		}
		if (round) {
			kill(pid, SIGKILL);
			ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
		}
		close(to[0]);
		close(to[1]);
		close(from[0]);
	}
	ck_assert_ok(pin_remove(f, id));
	finish(fs, path, f, before);
}
END_TEST

/* A writeback that takes something and fails has not made it clean. */
START_TEST(test_failed_writeback)
{
	const struct wb_want want = { .times = true };
	struct writeback wb;
	struct mapping m;
	uint64_t id;
	START(8);

	unit_fill(f, 0, 16 * BLK, 'a');
	m = track(path, f, 0, 16, &id);
	sync_file(f);
	m.at[5 * BLK] = 'b';
	m.at[6 * BLK] = 'b';
	track_scan(f->inode);
	ck_assert_uint_eq(f->inode->live.dirty_extents, 1);
	writeback_lock(f->inode);
	ck_assert_ok(writeback_take(&wb, f->inode, &want));
	ck_assert_uint_eq(f->inode->live.dirty_extents, 0);
	ck_assert_ok(writeback_copy(&wb));
	writeback_undo(&wb);
	writeback_unlock(f->inode);
	ck_assert_uint_eq(f->inode->live.dirty_extents, 1);
	ck_assert_uint_eq(bounced(f), 2);
	ck_assert_ok(pin_remove(f, id));
	unmap(&m);
	finish(fs, path, f, before);
}
END_TEST

/* A process that does not answer in time: everything is dirty, nobody asks it again, and what it was asked is forgotten
 * when it is done. */
START_TEST(test_no_answer)
{
	struct mapping m;
	uint64_t id;
	int reason;
	START(8);

	unit_fill(f, 0, 512 * BLK, 'a');
	m = track(path, f, 0, 512, &id);
	sync_file(f);
	ck_assert_uint_eq(bounced(f), 0);
	track_scan_ns = 0;
	m.at[0] = 'b';
	ck_assert_uint_eq(bounced(f), 512);
	ck_assert(!track_any(f->inode));
	ck_assert_ok(pin_track(f, id, 0, 512 * BLK, (uintptr_t)m.at, getpid(), &reason));
	ck_assert_int_eq(reason, ETIMEDOUT);
	track_scan_ns = 10000000000;
	ck_assert_ok(pin_track(f, id, 0, 512 * BLK, (uintptr_t)m.at, getpid(), &reason));
	ck_assert_int_eq(reason, 0);
	sync_file(f);
	m.at[0] = 'c';
	ck_assert_uint_eq(bounced(f), 1);
	ck_assert_ok(pin_remove(f, id));
	unmap(&m);
	finish(fs, path, f, before);
}
END_TEST

/* Random stores by the holder, write(2), truncation and other pins: after each fsync the crash image is what memory
 * was. */
START_TEST(test_random)
{
	enum { BLOCKS = 256 };
	static uint8_t model[BLOCKS * BLK_SIZE], image[BLOCKS * BLK_SIZE];
	uint64_t rnd = 77 + (uint64_t)_i, id, id2 = 0, total = 0, most = 0;
	struct mapping m;
	START(16);

	unit_fill(f, 0, BLOCKS * BLK, 0);
	m = track(path, f, 0, BLOCKS, &id);
	for (unsigned round = 0; round < 60; round++) {
		unsigned stores = (unsigned)(unit_random(&rnd) % 20);

		for (unsigned k = 0; k < stores; k++) {
			uint64_t at = unit_random(&rnd) % (BLOCKS * BLK - 9000), n = 1 + unit_random(&rnd) % 9000;
			uint8_t c = (uint8_t)unit_random(&rnd);

			memset(model + at, c, n);
			if (unit_random(&rnd) % 3)
				memset(m.at + at, c, n);
			else
				unit_fill(f, at, n, c);
		}
		if (unit_random(&rnd) % 8 == 0) {
			if (id2) {
				ck_assert_ok(pin_remove(f, id2));
				id2 = 0;
			} else {
				pin(f, unit_random(&rnd) % 2 ? PIN_READ : PIN_WRITE, unit_random(&rnd) % 99 * BLK,
				    (1 + unit_random(&rnd) % 99) * BLK, &id2);
			}
		}
		ck_assert_mem_eq(m.at, model, sizeof(model));
		total += bounced(f);
		most += BLOCKS;
		if (round % 4 == 0) {
			struct fs *crashed = unit_crash(path);
			struct file *g = unit_file(crashed, "f", O_RDONLY);

			ck_assert_int_eq(fs_read(g, image, sizeof(image), 0), sizeof(image));
			ck_assert_mem_eq(image, model, sizeof(model));
			fs_release(g);
			ck_assert_ok(fs_umount(crashed));
		}
	}
	ck_assert_uint_lt(total, most / 2);
	fs_release(f);
	unmap(&m);
	(void)before;
	ck_assert_ok(fs_umount(fs));
	unit_check(path);
}
END_TEST

/* Stores go on while it is synced: none is missed in the end. */
struct storer {
	struct mapping m;
	bool stop;
	uint64_t stores; /* atomic */
};

static void *
store(void *arg)
{
	struct storer *s = arg;
	uint64_t rnd = 5, n = 0;

	while (!__atomic_load_n(&s->stop, __ATOMIC_ACQUIRE)) {
		uint64_t *at = (uint64_t *)(void *)(s->m.at + unit_random(&rnd) % (s->m.len / BLK) * BLK);

		__atomic_store_n(at, ++n, __ATOMIC_RELAXED);
		__atomic_store_n(&s->stores, n, __ATOMIC_RELAXED);
	}
	return NULL;
}

START_TEST(test_stores_meanwhile)
{
	struct storer s = { .stop = false };
	pthread_t thread;
	uint64_t id;
	START(16);

	ck_assert_ok(fs_truncate(f->inode, 512 * BLK));
	s.m = track(path, f, 0, 512, &id);
	sync_file(f);
	ck_assert_int_eq(pthread_create(&thread, NULL, store, &s), 0);
	/* on a busy machine the thread may take a while to begin */
	for (int k = 0; k < 300 || __atomic_load_n(&s.stores, __ATOMIC_RELAXED) == 0; k++)
		sync_file(f);
	__atomic_store_n(&s.stop, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	sync_file(f);
	{
		struct fs *image = unit_crash(path);
		struct file *g = unit_file(image, "f", O_RDONLY);
		static uint8_t buf[512 * BLK_SIZE];

		ck_assert_int_eq(fs_read(g, buf, sizeof(buf), 0), sizeof(buf));
		ck_assert_mem_eq(buf, s.m.at, sizeof(buf));
		fs_release(g);
		ck_assert_ok(fs_umount(image));
	}
	ck_assert_ok(pin_remove(f, id));
	unmap(&s.m);
	finish(fs, path, f, before);
}
END_TEST

/* Can the kernel do this at all? */
static bool
supported(void)
{
	struct mapping m = { .len = BLK_SIZE };
	int r;

	m.at = mmap(NULL, m.len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	r = protect(&m);
	unmap(&m);
	if (r < 0)
		printf("no asynchronous write protection (Linux 6.7) here: %s\n", strerror(-r));
	return r == 0;
}

int
main(void)
{
	Suite *s = suite_create("track");
	TCase *t = tcase_create("track");

	if (!supported())
		return 77;
	tcase_set_timeout(t, 60);
	tcase_add_test(t, test_only_dirty);
	tcase_add_test(t, test_untracked_pin);
	tcase_add_test(t, test_two_tracked);
	tcase_add_test(t, test_refused);
	tcase_add_test(t, test_holder_goes);
	tcase_add_test(t, test_failed_writeback);
	tcase_add_test(t, test_no_answer);
	tcase_add_loop_test(t, test_random, 0, 3);
	tcase_add_test(t, test_stores_meanwhile);
	suite_add_tcase(s, t);
	return unit_main(s);
}
