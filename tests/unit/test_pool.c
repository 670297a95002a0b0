/* SPDX-License-Identifier: BSD-3-Clause */
/* mkfs, opening, root slots, and space. Damage is planted in the file with its
 * CRC made good again, where it is the check behind the CRC that is to catch it. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "pmem/crc.h"
#include "pmem/log.h"
#include "pmem/pool_i.h"

#define MIB ((uint64_t)1 << 20)

static struct pool_error err;

static void
quiet(void *arg, int level, const char *text)
{
	(void)arg, (void)level, (void)text;
}

static void
setup(void)
{
	pinfs_log_to(quiet, NULL);
}

static void
teardown(void)
{
	pinfs_log_to(NULL, NULL);
}

/* ---- helpers ---- */

static int
mkfs_size(const char *path, uint64_t bytes)
{
	struct mkfs_options opt = { .bytes = bytes };
	int ret = pool_mkfs(path, &opt, &err);

	ck_assert((ret == 0) == (err.text[0] == 0));
	return ret;
}

static int
mkfs_force(const char *path, uint64_t bytes)
{
	struct mkfs_options opt = { .bytes = bytes, .force = true };

	return pool_mkfs(path, &opt, &err);
}

static int
open_with(struct pool **p, const char *path, unsigned flags, unsigned wait_ms)
{
	struct pool_options opt = { .flags = flags, .domain = -1, .lock_wait_ms = wait_ms };
	int ret = pool_open(p, path, &opt, &err);

	ck_assert((ret == 0) == (err.text[0] == 0));
	return ret;
}

/* What opening gives; closes again. */
static int
try_open(const char *path, unsigned flags)
{
	struct pool *p;
	int ret = open_with(&p, path, flags, 0);

	if (ret == 0)
		pool_close(p);
	return ret;
}

static uint64_t
txn_of(const char *path)
{
	struct root_block r;
	struct pool *p;

	ck_assert_ok(open_with(&p, path, POOL_RDONLY, 0));
	pool_root(p, &r);
	pool_close(p);
	return r.txn;
}

static void
write_at(const char *path, uint64_t off, const void *buf, size_t len)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite(fd, buf, len, (off_t)off), (ssize_t)len);
	close(fd);
}

static void
read_slot(const char *path, unsigned slot, struct root_block *r)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pread(fd, r, sizeof(*r), slot * BLK_SIZE), sizeof(*r));
	close(fd);
}

static void
write_slot(const char *path, unsigned slot, struct root_block *r)
{
	r->crc = crc32c_block_but(r, offsetof(struct root_block, crc));
	write_at(path, slot * BLK_SIZE, r, sizeof(*r));
}

static uint64_t
size_of(const char *path)
{
	struct stat st;

	ck_assert_int_eq(stat(path, &st), 0);
	return (uint64_t)st.st_size;
}

static void
expect_error(int ret, int want, const char *words)
{
	ck_assert_msg(ret == want, "%d (%s), not %d", ret, err.text, want);
	ck_assert_msg(strstr(err.text, words) != NULL, "no \"%s\" in \"%s\"", words, err.text);
}

/* ---- mkfs ---- */

struct progress {
	uint64_t last, total;
	unsigned calls;
};

static void
note_progress(void *arg, uint64_t done, uint64_t total)
{
	struct progress *pr = arg;

	ck_assert_uint_ge(done, pr->last);
	ck_assert_uint_le(done, total);
	pr->last = done;
	pr->total = total;
	pr->calls++;
}

START_TEST(mkfs_new)
{
	const char *path = unit_pool_path();
	static const uint8_t uuid[16] = "0123456789abcdef";
	struct progress pr = { 0 };
	struct mkfs_options opt = { .bytes = 4 * MIB + 5000, .label = "über", .uuid = uuid,
		.progress = note_progress, .progress_arg = &pr };
	struct root_block r[2];
	struct stat st;

	ck_assert_ok(pool_mkfs(path, &opt, &err));
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	ck_assert_int_eq(st.st_size, 4 * MIB + BLK_SIZE);
	ck_assert_int_ge(st.st_blocks * 512, st.st_size); /* allocated */
	ck_assert_uint_ge(pr.calls, 1);
	ck_assert_uint_eq(pr.last, pr.total);
	for (unsigned i = 0; i < 2; i++) {
		read_slot(path, i, &r[i]);
		ck_assert_int_eq(memcmp(r[i].magic, POOL_MAGIC, 8), 0);
		ck_assert_int_eq(memcmp(r[i].uuid, uuid, 16), 0);
		ck_assert_uint_eq(r[i].version, POOL_VERSION);
		ck_assert_uint_eq(r[i].txn, i == 1 ? 1 : 2);
		ck_assert_uint_eq(r[i].nblocks, 1025);
		ck_assert_uint_eq(r[i].flags, ROOT_CLEAN);
		ck_assert_uint_eq(r[i].tree[0].block, PBLK_NONE);
		ck_assert_str_eq(r[i].label, "über");
		ck_assert_uint_eq(r[i].next_ino, INO_ROOT + 1);
	}
	ck_assert_uint_eq(txn_of(path), 2);
}
END_TEST

START_TEST(mkfs_uuid_and_sparse)
{
	struct mkfs_options opt = { .bytes = 64 * MIB, .keep_sparse = true };
	const char *a = unit_pool_path(), *b = unit_pool_path();
	struct root_block ra, rb;
	struct stat st;

	ck_assert_ok(pool_mkfs(a, &opt, &err));
	ck_assert_ok(pool_mkfs(b, &opt, &err));
	ck_assert_int_eq(stat(a, &st), 0);
	ck_assert_int_lt(st.st_blocks * 512, MIB);
	read_slot(a, 0, &ra);
	read_slot(b, 0, &rb);
	ck_assert_int_ne(memcmp(ra.uuid, rb.uuid, 16), 0);
	ck_assert_int_ne(memcmp(ra.hash_seed, rb.hash_seed, 16), 0);
	ck_assert_uint_eq(ra.uuid[6] >> 4, 4);
	ck_assert_uint_eq(ra.uuid[8] >> 6, 2);
}
END_TEST

START_TEST(mkfs_refuses)
{
	char label[65], path2[300];
	struct mkfs_options opt = { .bytes = 4 * MIB, .label = label };
	const char *path = unit_pool_path();

	expect_error(mkfs_size(path, 0), -EINVAL, "size");
	expect_error(mkfs_size(path, MIB - 1), -EINVAL, "at least");
	expect_error(mkfs_size(path, UINT64_MAX), -EFBIG, "size");
	memset(label, 'x', 64);
	label[64] = 0;
	expect_error(pool_mkfs(path, &opt, &err), -EINVAL, "63");
	/* Nothing was left behind. */
	ck_assert_int_eq(access(path, F_OK), -1);

	snprintf(path2, sizeof(path2), "%s/x", path);
	expect_error(mkfs_size(path2, 4 * MIB), -ENOENT, path2);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	expect_error(mkfs_size(path, 4 * MIB), -EISDIR, "directory");
	rmdir(path);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	expect_error(mkfs_size(path, 4 * MIB), -EINVAL, "neither");
	unlink(path);
	expect_error(mkfs_size("/dev/null", 4 * MIB), -EINVAL, "not a DAX device");
	label[63] = 0;
	ck_assert_ok(pool_mkfs(path, &opt, &err));
}
END_TEST

START_TEST(mkfs_keeps_content)
{
	const char *path = unit_pool_path();
	char byte = 'x';

	/* A single byte, anywhere: refused, and the file is as it was. */
	write_at(path, 3 * MIB + 77, &byte, 1);
	expect_error(mkfs_size(path, 8 * MIB), -EEXIST, "not empty");
	ck_assert_uint_eq(size_of(path), 3 * MIB + 78);
	ck_assert_ok(mkfs_force(path, 8 * MIB));
	ck_assert_uint_eq(size_of(path), 8 * MIB);
	ck_assert_ok(try_open(path, 0));

	expect_error(mkfs_size(path, 8 * MIB), -EEXIST, "pinfs pool already");
	ck_assert_uint_eq(txn_of(path), 2);
	/* To the size that it has. */
	ck_assert_ok(mkfs_force(path, 0));
	ck_assert_uint_eq(size_of(path), 8 * MIB);
	/* Smaller. */
	ck_assert_ok(mkfs_force(path, 2 * MIB));
	ck_assert_uint_eq(size_of(path), 2 * MIB);
	ck_assert_ok(try_open(path, 0));
}
END_TEST

START_TEST(mkfs_in_fixed_size)
{
	const char *path = unit_pool_path(), *zeroes = unit_pool_path();
	char *buf = calloc(1, 2 * MIB);

	ck_assert_ptr_nonnull(buf);
	write_at(path, 0, "", 0);
	ck_assert_int_eq(truncate(path, 2 * MIB + 100), 0);
	ck_assert_ok(mkfs_size(path, 0));
	ck_assert_uint_eq(size_of(path), 2 * MIB + 100);
	ck_assert_ok(try_open(path, 0));

	write_at(zeroes, 0, buf, 2 * MIB);
	ck_assert_ok(mkfs_size(zeroes, 0));
	ck_assert_ok(try_open(zeroes, 0));
	free(buf);

	path = unit_pool_path();
	write_at(path, 0, "", 0);
	expect_error(mkfs_size(path, 0), -EINVAL, "size");
	ck_assert_uint_eq(size_of(path), 0);
}
END_TEST

START_TEST(mkfs_cleans_up)
{
	const char *path = unit_pool_path(), *old = unit_pool_path();
	struct rlimit lim;

	write_at(old, 0, "", 0);
	ck_assert_int_eq(truncate(old, 2 * MIB), 0);
	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &lim), 0);
	lim.rlim_cur = 4 * MIB;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &lim), 0);
	expect_error(mkfs_size(path, 8 * MIB), -EFBIG, path);
	ck_assert_int_eq(access(path, F_OK), -1);
	expect_error(mkfs_size(old, 8 * MIB), -EFBIG, old);
	ck_assert_uint_eq(size_of(old), 2 * MIB);
	lim.rlim_cur = lim.rlim_max;
	setrlimit(RLIMIT_FSIZE, &lim);
	signal(SIGXFSZ, SIG_DFL);
}
END_TEST

START_TEST(mkfs_in_use)
{
	const char *path = unit_mkpool(4);
	struct flock fl = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 2 * MIB, .l_len = BLK_SIZE };
	struct pool *p;
	int fd;

	ck_assert_ok(open_with(&p, path, 0, 0));
	expect_error(mkfs_force(path, 0), -EBUSY, "in use");
	pool_close(p);
	/* The daemon is gone, but a client still maps a range. */
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &fl), 0);
	expect_error(mkfs_force(path, 0), -EBUSY, "client");
	ck_assert_ok(try_open(path, 0));
	close(fd);
	ck_assert_ok(mkfs_force(path, 0));
}
END_TEST

/* ---- opening ---- */

START_TEST(open_refuses)
{
	const char *path = unit_pool_path();
	char junk[3 * BLK_SIZE];
	uint64_t seed = 9;

	expect_error(try_open(path, 0), -ENOENT, path);
	write_at(path, 0, "", 0);
	expect_error(try_open(path, 0), -EINVAL, "empty");
	write_at(path, 0, "x", 1);
	expect_error(try_open(path, 0), -EINVAL, "too small");
	for (unsigned i = 0; i < sizeof(junk); i++)
		junk[i] = (char)unit_random(&seed);
	write_at(path, 0, junk, sizeof(junk));
	expect_error(try_open(path, 0), -EINVAL, "not a pinfs pool");
	expect_error(try_open(path, POOL_RDONLY), -EINVAL, "not a pinfs pool");
	expect_error(try_open("/dev/null", 0), -EINVAL, "not a DAX device");
	expect_error(try_open("/", 0), -EISDIR, "directory");
	expect_error(try_open("/", POOL_RDONLY), -EINVAL, "neither");
}
END_TEST

START_TEST(newest_slot)
{
	const char *path = unit_mkpool(4);
	struct root_block r;
	struct pool *p;

	ck_assert_ok(open_with(&p, path, 0, 0));
	for (uint64_t txn = 3; txn < 9; txn++) {
		r = p->root;
		r.txn = txn;
		r.ninodes = txn * 10;
		ck_assert_ok(root_write(p, &r));
		pool_root(p, &r);
		ck_assert_uint_eq(r.txn, txn);
	}
	pool_close(p);
	for (unsigned slot = 0; slot < 2; slot++) {
		read_slot(path, slot, &r);
		ck_assert_uint_eq(r.txn, slot == 0 ? 8 : 7);
		ck_assert_uint_eq(r.ninodes, r.txn * 10);
	}
	ck_assert_uint_eq(txn_of(path), 8);
}
END_TEST

/* Damage anywhere in the newest slot: the other one is in force. */
START_TEST(torn_slot_falls_back)
{
	static const unsigned at[] = { 0, 5, 8, 12, 16, 40, 72, 80, 100, 512, 1000, 2048, 4095 };
	const char *path = unit_mkpool(4);
	struct root_block good[2], bad;

	for (unsigned i = 0; i < 2; i++)
		read_slot(path, i, &good[i]);
	for (unsigned i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		bad = good[0];
		((uint8_t *)&bad)[at[i]] ^= 0x10;
		write_at(path, 0, &bad, sizeof(bad));
		ck_assert_uint_eq(txn_of(path), 1);
		write_at(path, 0, &good[0], sizeof(good[0]));
		bad = good[1];
		((uint8_t *)&bad)[at[i]] ^= 0x10;
		write_at(path, BLK_SIZE, &bad, sizeof(bad));
		ck_assert_uint_eq(txn_of(path), 2);
		write_at(path, BLK_SIZE, &good[1], sizeof(good[1]));
	}
	/* Half of the next root over the one before the last. */
	bad = good[1];
	bad.txn = 3;
	bad.crc = crc32c_block_but(&bad, offsetof(struct root_block, crc));
	write_at(path, BLK_SIZE, &bad, 2048);
	bad = good[0];
	ck_assert_ok(try_open(path, 0));

	/* Both. */
	memset(&bad, 0x55, sizeof(bad));
	memcpy(bad.magic, POOL_MAGIC, 8);
	write_at(path, 0, &bad, sizeof(bad));
	write_at(path, BLK_SIZE, &bad, sizeof(bad));
	expect_error(try_open(path, 0), -EIO, "none of its root blocks");
	memset(&bad, 0, sizeof(bad));
	write_at(path, 0, &bad, sizeof(bad));
	write_at(path, BLK_SIZE, &bad, sizeof(bad));
	expect_error(try_open(path, 0), -EINVAL, "not a pinfs pool");
}
END_TEST

/* A root in the wrong slot does not count. */
START_TEST(misplaced_slot)
{
	const char *path = unit_mkpool(4);
	struct root_block r;

	read_slot(path, 1, &r);
	r.txn = 4; /* belongs to slot 0 */
	write_slot(path, 1, &r);
	ck_assert_uint_eq(txn_of(path), 2);
}
END_TEST

/* change is applied to both slots of a fresh pool. */
static const char *
pool_with(void (*change)(struct root_block *r))
{
	const char *path = unit_mkpool(4);
	struct root_block r;

	for (unsigned i = 0; i < 2; i++) {
		read_slot(path, i, &r);
		change(&r);
		write_slot(path, i, &r);
	}
	return path;
}

static void version_2(struct root_block *r) { r->version = 2; }
static void compat(struct root_block *r) { r->feature_compat = (uint64_t)1 << 63; }
static void ro_compat(struct root_block *r) { r->feature_ro_compat = 1; }
static void incompat(struct root_block *r) { r->feature_incompat = 1ull << 20; }
static void incompat_too(struct root_block *r) { r->feature_incompat = 4; r->ntrees = 3; }
static void too_large(struct root_block *r) { r->nblocks++; }
static void much_too_large(struct root_block *r) { r->nblocks = UINT64_MAX; }
static void too_small(struct root_block *r) { r->nblocks = 255; }
static void no_tree(struct root_block *r) { r->ntrees = 0; }
static void two_trees(struct root_block *r) { r->ntrees = 2; }
static void tree_outside(struct root_block *r) { r->tree[0].block = r->nblocks; }
static void tree_in_root(struct root_block *r) { r->tree[0].block = 1; }
static void tree_dirty(struct root_block *r) { r->tree[0].block = 5; r->tree[0].flags = NODE_REF_DIRTY; }
static void ino_0(struct root_block *r) { r->next_ino = 0; }
static void ino_huge(struct root_block *r) { r->next_ino = INO_MAX + 2; }
static void data_blocks(struct root_block *r) { r->data_blocks = r->nblocks; }
static void node_blocks(struct root_block *r) { r->node_blocks = UINT64_MAX; }
static void label(struct root_block *r) { memset(r->label, 'x', sizeof(r->label)); }
static void uuids(struct root_block *r) { r->uuid[0] = (uint8_t)(r->uuid[0] + r->txn); }

START_TEST(features)
{
	const char *path;
	struct root_block r;

	expect_error(try_open(pool_with(version_2), 0), -EPROTONOSUPPORT, "version");
	expect_error(try_open(pool_with(version_2), POOL_RDONLY), -EPROTONOSUPPORT, "version");
	ck_assert_ok(try_open(pool_with(compat), 0));
	path = pool_with(ro_compat);
	expect_error(try_open(path, 0), -EROFS, "only read");
	ck_assert_ok(try_open(path, POOL_RDONLY));
	expect_error(try_open(pool_with(incompat), POOL_RDONLY), -EPROTONOSUPPORT, "feature");
	/* It may mean anything, so this is what has to be said. */
	expect_error(try_open(pool_with(incompat_too), 0), -EPROTONOSUPPORT, "feature");

	/* One slot written by a newer version: not passed over. */
	path = unit_mkpool(4);
	read_slot(path, 1, &r);
	r.version = 2;
	r.txn = 3;
	write_slot(path, 1, &r);
	expect_error(try_open(path, 0), -EPROTONOSUPPORT, "version");
}
END_TEST

START_TEST(geometry)
{
	const char *path;

	expect_error(try_open(pool_with(too_large), 0), -EIO, "shorter");
	expect_error(try_open(pool_with(much_too_large), 0), -EIO, "shorter");
	expect_error(try_open(pool_with(too_small), 0), -EIO, "minimum");
	expect_error(try_open(pool_with(no_tree), 0), -EIO, "trees");
	expect_error(try_open(pool_with(two_trees), 0), -EIO, "trees");
	expect_error(try_open(pool_with(tree_outside), 0), -EIO, "outside");
	expect_error(try_open(pool_with(tree_in_root), 0), -EIO, "outside");
	expect_error(try_open(pool_with(tree_dirty), 0), -EIO, "outside");
	expect_error(try_open(pool_with(ino_0), 0), -EIO, "inode number");
	expect_error(try_open(pool_with(ino_huge), 0), -EIO, "inode number");
	expect_error(try_open(pool_with(data_blocks), 0), -EIO, "more blocks");
	expect_error(try_open(pool_with(node_blocks), 0), -EIO, "more blocks");
	expect_error(try_open(pool_with(label), 0), -EIO, "label");
	expect_error(try_open(pool_with(uuids), 0), -EIO, "different pools");

	path = unit_mkpool(4);
	ck_assert_int_eq(truncate(path, 4 * MIB - 1), 0);
	expect_error(try_open(path, 0), -EIO, "shorter");
	ck_assert_int_eq(truncate(path, 5 * MIB), 0); /* larger does not matter */
	ck_assert_ok(try_open(path, 0));
}
END_TEST

/* Any content with a good CRC is opened or refused, and that is all. */
START_TEST(random_roots)
{
	const char *path = unit_mkpool(1);
	struct root_block good, r;
	uint64_t seed = 11;

	read_slot(path, 0, &good);
	for (unsigned i = 0; i < 300; i++) {
		r = good;
		for (unsigned n = 1 + unit_random(&seed) % 4; n > 0; n--) {
			size_t at = 8 + 8 * (unit_random(&seed) % 60);
			uint64_t v = unit_random(&seed) >> unit_random(&seed) % 64;

			memcpy((char *)&r + at, &v, sizeof(v));
		}
		r.txn &= ~(uint64_t)1;
		write_slot(path, 0, &r);
		try_open(path, 0);
		try_open(path, POOL_RDONLY);
	}
}
END_TEST

/* ---- the lock ---- */

static void *
close_soon(void *arg)
{
	const struct timespec t = { .tv_nsec = 30000000 };

	nanosleep(&t, NULL);
	pool_close(arg);
	return NULL;
}

START_TEST(one_at_a_time)
{
	const char *path = unit_mkpool(4);
	struct pool *p, *q;
	pthread_t t;

	ck_assert_ok(open_with(&p, path, 0, 0));
	expect_error(try_open(path, 0), -EBUSY, "in use");
	expect_error(try_open(path, POOL_RDONLY), -EBUSY, "in use");
	/* Bounded: this returns. */
	expect_error(open_with(&q, path, 0, 20), -EBUSY, "in use");
	ck_assert_int_eq(pthread_create(&t, NULL, close_soon, p), 0);
	ck_assert_ok(open_with(&q, path, 0, 60000));
	pthread_join(t, NULL);
	pool_close(q);

	/* Readers share. */
	ck_assert_ok(open_with(&p, path, POOL_RDONLY, 0));
	ck_assert_ok(open_with(&q, path, POOL_RDONLY, 0));
	expect_error(try_open(path, 0), -EBUSY, "in use");
	pool_close(p);
	pool_close(q);
	ck_assert_ok(try_open(path, 0));
}
END_TEST

/* What was locked is what is mapped, even if the name meant something else by then. */
START_TEST(open_pool)
{
	const char *path = unit_mkpool(4);
	struct pool *p;

	ck_assert_ok(open_with(&p, path, 0, 0));
	ck_assert_uint_eq(pool_nblocks(p), 1024);
	ck_assert_str_eq(pool_path(p), path);
	ck_assert(!pool_readonly(p));
	ck_assert_ptr_eq(pool_block(p, 3), (char *)pool_block(p, 0) + 3 * BLK_SIZE);
	ck_assert_uint_eq(pool_block_of(p, (char *)pool_block(p, 3) + 17), 3);
	ck_assert(pool_range_ok(p, 2, 1022));
	ck_assert(!pool_range_ok(p, 2, 1023));
	ck_assert(!pool_range_ok(p, 1, 1));
	ck_assert(!pool_range_ok(p, 5, 0));
	ck_assert(!pool_range_ok(p, 1024, 1));
	ck_assert(!pool_range_ok(p, 5, UINT64_MAX));
	ck_assert(!pool_range_ok(p, UINT64_MAX, 2));
	memcpy(pool_block(p, 700), "here", 5);
	unlink(path);
	pool_close(p);
}
END_TEST

START_TEST(domain_option)
{
	const char *path = unit_mkpool(4);
	struct pool_options opt = { 0 };
	struct pool *p;

	for (opt.domain = DOMAIN_VOLATILE; opt.domain <= DOMAIN_PMEM; opt.domain++) {
		ck_assert_ok(pool_open(&p, path, &opt, &err));
		ck_assert_int_eq((int)domain_kind(pool_domain(p)), opt.domain);
		pool_close(p);
	}
}
END_TEST

/* ---- space ---- */

struct gap {
	pblk_t start;
	uint64_t n;
};

static void
note_gap(void *arg, pblk_t start, uint64_t n)
{
	struct gap **g = arg;

	*(*g)++ = (struct gap){ start, n };
}

static void
count_event(void *arg, enum domain_event event, uint64_t off, uint64_t len)
{
	struct { uint64_t flushed, barriers; } *seen = arg;

	if (event == DOMAIN_FLUSH && off == 0)
		seen->flushed = len;
	if (event == DOMAIN_BARRIER)
		seen->barriers++;
}

/* Whoever opens a pool to change it makes durable first what a daemon that was killed left in the page
 * cache: the root that he goes on from may be there only. */
START_TEST(settles)
{
	const char *path = unit_mkpool(4);
	struct { uint64_t flushed, barriers; } seen = { 0, 0 };
	struct pool_options opt = { .domain = DOMAIN_PAGECACHE, .record = count_event, .record_arg = &seen };
	struct pool *p;

	ck_assert_ok(pool_open(&p, path, &opt, NULL));
	ck_assert_uint_eq(seen.flushed, 4 * MIB);
	ck_assert_uint_eq(seen.barriers, 1);
	pool_close(p);
	opt.flags = POOL_RDONLY;
	ck_assert_ok(pool_open(&p, path, &opt, NULL));
	ck_assert_uint_eq(seen.barriers, 1);
	pool_close(p);
	opt.flags = 0;
	opt.domain = DOMAIN_PMEM;
	ck_assert_ok(pool_open(&p, path, &opt, NULL));
	ck_assert_uint_eq(seen.flushed, ROOT_SLOTS * BLK_SIZE);
	ck_assert_uint_eq(seen.barriers, 2);
	pool_close(p);
}
END_TEST

START_TEST(rebuild)
{
	const char *path = unit_mkpool(4);
	struct gap gaps[8], *end = gaps;
	struct alloc_stats st;
	struct pool *p;

	ck_assert_ok(open_with(&p, path, 0, 0));
	alloc_stats(pool_alloc(p), &st);
	ck_assert_uint_eq(st.free, 0);
	ck_assert_ok(pool_rebuild_begin(p));
	ck_assert_ok(pool_rebuild_used(p, 2, 1));
	ck_assert_ok(pool_rebuild_used(p, 63, 2));
	ck_assert_ok(pool_rebuild_used(p, 63, 1)); /* again */
	ck_assert_ok(pool_rebuild_used(p, 100, 300));
	ck_assert_ok(pool_rebuild_used(p, 512, 64));
	ck_assert_ok(pool_rebuild_used(p, 1023, 1));
	ck_assert_err(pool_rebuild_used(p, 1023, 2), EIO);
	ck_assert_err(pool_rebuild_used(p, 0, 1), EIO);
	ck_assert_err(pool_rebuild_used(p, 1, 4), EIO);
	ck_assert_err(pool_rebuild_used(p, 1024, 1), EIO);
	ck_assert_err(pool_rebuild_used(p, UINT64_MAX - 1, 4), EIO);
	ck_assert_err(pool_rebuild_used(p, 5, 0), EIO);
	ck_assert_ok(pool_rebuild_end(p));
	alloc_each_free(pool_alloc(p), note_gap, &end);
	ck_assert_int_eq(end - gaps, 4);
	ck_assert(gaps[0].start == 3 && gaps[0].n == 60);
	ck_assert(gaps[1].start == 65 && gaps[1].n == 35);
	ck_assert(gaps[2].start == 400 && gaps[2].n == 112);
	ck_assert(gaps[3].start == 576 && gaps[3].n == 447);
	/* The mapping still holds what it held. */
	ck_assert_int_eq(memcmp(pool_block(p, 0), POOL_MAGIC, 8), 0);
	pool_close(p);
}
END_TEST

START_TEST(data_leaves_the_reserve)
{
	struct pool *p = unit_open(unit_mkpool(4));
	uint64_t reserve = pool_meta_reserve(p), got, taken = 0;
	struct alloc_stats st;
	pblk_t start;

	ck_assert_uint_eq(reserve, 64);
	while (pool_alloc_data(p, PBLK_NONE, 100, 0, &start, &got) == 0) {
		memset(pool_block(p, start), 0xee, got << BLK_SHIFT);
		taken += got;
	}
	alloc_stats(pool_alloc(p), &st);
	ck_assert_uint_eq(st.free, reserve);
	ck_assert_uint_eq(taken, 1022 - reserve);
	/* Dirty extents make it grow, but never beyond what the tree could need. */
	*pool_wb_credits(p) += 10;
	ck_assert_uint_eq(pool_meta_reserve(p), reserve + 10);
	*pool_wb_credits(p) += 1000000;
	ck_assert_uint_le(pool_meta_reserve(p), reserve + 64 + 1000010 / 32);
	*pool_wb_credits(p) += -1000010;
	ck_assert_uint_eq(pool_meta_reserve(p), reserve);
	/* A reservation may draw on it. */
	ck_assert_ok(alloc_reserve(pool_alloc(p), 5, 0));
	ck_assert_ok(pool_alloc_data(p, PBLK_NONE, 5, ALLOC_RESERVED, &start, &got));
	pool_free_data(p, start, got);
	alloc_stats(pool_alloc(p), &st);
	ck_assert_uint_eq(st.free, reserve);
	ck_assert_uint_eq(st.reserved, 5 - got);
	pool_close(p);

	p = unit_open(unit_mkpool(1));
	ck_assert_uint_eq(pool_meta_reserve(p), 32);
	pool_close(p);
	p = unit_open(unit_mkpool(128));
	ck_assert_uint_eq(pool_meta_reserve(p), 128);
	pool_close(p);
}
END_TEST

static bool
write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

/* For an ordinary user that takes a user namespace, where he has to have a number. */
static bool
own_namespace(void)
{
	unsigned uid = getuid(), gid = getgid();
	char uids[40], gids[40];

	if (unshare(CLONE_NEWNS) == 0)
		return true;
	snprintf(uids, sizeof(uids), "0 %u 1", uid);
	snprintf(gids, sizeof(gids), "0 %u 1", gid);
	return unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 && write_text("/proc/self/setgroups", "deny") &&
	    write_text("/proc/self/uid_map", uids) && write_text("/proc/self/gid_map", gids);
}

/* A small tmpfs of our own to fill, mounted where nobody else sees it. NULL: not here. */
static const char *
small_tmpfs(void)
{
	const char *dir = unit_pool_path();

	ck_assert_int_eq(mkdir(dir, 0700), 0);
	if (own_namespace() &&
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	    mount("test_pool", dir, "tmpfs", 0, "size=16m") == 0)
		return dir;
	puts("pool: no mount namespace here: tests of a sparse pool on a full tmpfs skipped");
	rmdir(dir);
	return NULL;
}

static int
insert_one(struct pool *p, uint64_t key)
{
	static const char value[1000];
	struct txn t;
	int ret = txn_begin(p, &t, txn_credits(p, 1), 0);

	if (ret < 0)
		return ret;
	/* Only the beginning may be refused. */
	ck_assert_ok(tree_insert(&t, tree_key(1, ITEM_XATTR, key), value, sizeof(value)));
	txn_end(&t);
	ck_assert_ok(txn_commit_wait(p, txn_open_number(p)));
	return 0;
}

static void
delete_one(struct pool *p, uint64_t key)
{
	struct txn t;

	ck_assert_ok(txn_begin(p, &t, txn_credits(p, 1), TXN_MUST));
	ck_assert_ok(tree_delete(&t, tree_key(1, ITEM_XATTR, key)));
	txn_end(&t);
	ck_assert_ok(txn_commit_wait(p, txn_open_number(p)));
}

/* A pool file with holes on a full tmpfs: ENOSPC, and never a SIGBUS. First filled with
 * data (round 0) or with items only (round 1). */
START_TEST(sparse_pool_on_full_disk)
{
	struct mkfs_options opt = { .bytes = 64 * MIB, .keep_sparse = true };
	const char *dir = small_tmpfs();
	uint64_t got, key, blocks = 0;
	struct alloc_stats before, after;
	char path[300];
	struct pool *p;
	pblk_t start;
	int ret;

	if (!dir)
		return;
	snprintf(path, sizeof(path), "%s/pool", dir);
	ck_assert_ok(pool_mkfs(path, &opt, &err));
	p = unit_open(path);
	for (key = 0; key < 300; key++)
		ck_assert_ok(insert_one(p, key));
	while (_i == 0 && (ret = pool_alloc_data(p, PBLK_NONE, 50, 0, &start, &got)) == 0) {
		memset(pool_block(p, start), 0xee, got << BLK_SHIFT);
		blocks += got;
	}
	if (_i == 0) {
		ck_assert_int_eq(ret, -ENOSPC);
		ck_assert_uint_lt(blocks, 16 * MIB >> BLK_SHIFT);
		ck_assert_uint_gt(blocks, 8 * MIB >> BLK_SHIFT); /* the rest is for nodes */
	}
	while ((ret = insert_one(p, key)) == 0)
		key++;
	ck_assert_int_eq(ret, -ENOSPC);
	if (_i == 1)
		ck_assert_uint_gt(key, 3000);
	/* A reservation that can't be served is still there, as are the blocks. */
	ck_assert_ok(alloc_reserve(pool_alloc(p), 2000, 0));
	alloc_stats(pool_alloc(p), &before);
	ck_assert_err(pool_alloc_data(p, PBLK_NONE, 2000, ALLOC_RESERVED, &start, &got), ENOSPC);
	alloc_stats(pool_alloc(p), &after);
	ck_assert_uint_eq(after.free, before.free);
	ck_assert_uint_eq(after.reserved, before.reserved);
	alloc_unreserve(pool_alloc(p), 2000);
	/* Deleting goes on working, to the end. */
	while (key-- > 0)
		delete_one(p, key);
	pool_close(p);
	umount(dir);
	rmdir(dir);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("pool");
	TCase *tc = tcase_create("pool");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, mkfs_new);
	tcase_add_test(tc, mkfs_uuid_and_sparse);
	tcase_add_test(tc, mkfs_refuses);
	tcase_add_test(tc, mkfs_keeps_content);
	tcase_add_test(tc, mkfs_in_fixed_size);
	tcase_add_test(tc, mkfs_cleans_up);
	tcase_add_test(tc, mkfs_in_use);
	tcase_add_test(tc, open_refuses);
	tcase_add_test(tc, newest_slot);
	tcase_add_test(tc, torn_slot_falls_back);
	tcase_add_test(tc, misplaced_slot);
	tcase_add_test(tc, features);
	tcase_add_test(tc, geometry);
	tcase_add_test(tc, random_roots);
	tcase_add_test(tc, one_at_a_time);
	tcase_add_test(tc, open_pool);
	tcase_add_test(tc, domain_option);
	tcase_add_test(tc, settles);
	tcase_add_test(tc, rebuild);
	tcase_add_test(tc, data_leaves_the_reserve);
	tcase_add_loop_test(tc, sparse_pool_on_full_disk, 0, 2);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
