/* SPDX-License-Identifier: BSD-3-Clause */
/* Mappings, pins and syncs through libpinfs, one behaviour a test. */
#include "tests/client/client.h"

#include <linux/fs.h>
#include <setjmp.h>

static sigjmp_buf jump;

static void
on_segv(int sig)
{
	siglongjmp(jump, sig);
}

/* A load from p is SIGSEGV. */
static bool
faults(const volatile char *p)
{
	struct sigaction old, sa = { .sa_handler = on_segv };
	volatile bool faulted = true;

	sigaction(SIGSEGV, &sa, &old);
	if (sigsetjmp(jump, 1) == 0) {
		(void)*p;
		faulted = false;
	}
	sigaction(SIGSEGV, &old, NULL);
	return faulted;
}

START_TEST(ranges_side_by_side)
{
	int fd = test_file("ranges", 26);
	struct pinfs_pin_range r[] = { { .off = 20 * BLK, .len = 2 * BLK }, { .off = 3 * BLK, .len = 100 },
		{ .off = 24 * BLK, .len = 0 } };
	struct pinfs_map_options o = { .size = sizeof(o), .flags = PINFS_MAP_WRITE, .nranges = 3, .ranges = r };
	struct pinfs_map *m;
	char *p;

	ck_assert_ok(pinfs_map_with(fd, &o, &m));
	p = pinfs_addr(m);
	/* 2 blocks, 1 that 100 bytes need, 2 to the end of the file */
	ck_assert_uint_eq(pinfs_len(m), 5 * BLK);
	ck_assert_int_eq(p[0], 'a' + 20);
	ck_assert_int_eq(p[BLK], 'a' + 21);
	ck_assert_int_eq(p[2 * BLK], 'a' + 3);
	ck_assert_int_eq(p[3 * BLK], 'a' + 24);
	ck_assert_int_eq(p[5 * BLK - 1], 'a' + 25);
	p[2 * BLK] = '!';
	ck_assert_int_eq(test_byte(fd, 3 * BLK), '!');
	ck_assert_ok(pinfs_unmap(m));
	ck_assert_uint_eq(test_pins(fd), 0);
	close(fd);
}
END_TEST

START_TEST(most_ranges_in_pieces)
{
	struct pinfs_pin_range r[PINFS_PIN_RANGES_MAX];
	struct pinfs_map_options o = { .size = sizeof(o), .flags = PINFS_MAP_READ, .nranges = PINFS_PIN_RANGES_MAX,
		.ranges = r };
	int fd = test_file("pieces", 0);
	struct pinfs_map *m;
	const char *p;
	char block[BLK];

	/* every other block, so that no two are neighbours in the pool, and holes between them */
	for (int k = 0; k < 4 * PINFS_PIN_RANGES_MAX; k += 2) {
		memset(block, 1 + k % 100, sizeof(block));
		ck_assert_int_eq(pwrite(fd, block, BLK, (off_t)k * BLK), BLK);
	}
	ck_assert_int_eq(fsync(fd), 0);
	for (int k = 0; k < PINFS_PIN_RANGES_MAX; k++)
		r[k] = (struct pinfs_pin_range){ .off = (uint64_t)(PINFS_PIN_RANGES_MAX - 1 - k) * 4 * BLK, .len = 3 * BLK };
	ck_assert_ok(pinfs_map_with(fd, &o, &m));
	p = pinfs_addr(m);
	for (int k = 0; k < PINFS_PIN_RANGES_MAX; k++) {
		int at = (PINFS_PIN_RANGES_MAX - 1 - k) * 4;

		ck_assert_int_eq(p[3 * k * BLK], 1 + at % 100);
		ck_assert_int_eq(p[(3 * k + 1) * BLK], 0);
		ck_assert_int_eq(p[(3 * k + 2) * BLK], 1 + (at + 2) % 100);
	}
	ck_assert_ok(pinfs_unmap(m));
	close(fd);
}
END_TEST

START_TEST(fixed_address)
{
	int fd = test_file("fixed", 4);
	struct pinfs_pin_range r = { .off = 0, .len = 4 * BLK };
	char *place = mmap(NULL, 8 * BLK, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct pinfs_map_options o = { .size = sizeof(o), .flags = PINFS_MAP_READ, .nranges = 1, .ranges = &r,
		.addr = place + 2 * BLK };
	struct pinfs_map *m;

	ck_assert_ptr_ne(place, MAP_FAILED);
	ck_assert_err(pinfs_map_with(fd, &o, &m), EEXIST);
	ck_assert_ptr_null(m);
	ck_assert_uint_eq(test_pins(fd), 0);
	o.flags |= PINFS_MAP_REPLACE;
	ck_assert_ok(pinfs_map_with(fd, &o, &m));
	ck_assert_ptr_eq(pinfs_addr(m), place + 2 * BLK);
	ck_assert_int_eq(place[2 * BLK], 'a');
	ck_assert_int_eq(place[6 * BLK - 1], 'd');
	ck_assert(faults(place + 6 * BLK));
	ck_assert_ok(pinfs_unmap(m));
	ck_assert(!test_mapped(place + 2 * BLK));
	/* now there is room */
	o.flags = PINFS_MAP_READ;
	ck_assert_ok(pinfs_map_with(fd, &o, &m));
	ck_assert_ptr_eq(pinfs_addr(m), place + 2 * BLK);
	ck_assert_ok(pinfs_unmap(m));
	o.addr = place + 1;
	ck_assert_err(pinfs_map_with(fd, &o, &m), EINVAL);
	close(fd);
}
END_TEST

START_TEST(populated)
{
	int fd = test_file("populated", 64);
	unsigned char vec[64];
	struct pinfs_map *m;

	ck_assert_ok(pinfs_map(fd, 0, 64 * BLK, PINFS_MAP_WRITE | PINFS_MAP_POPULATE, &m));
	ck_assert_int_eq(mincore(pinfs_addr(m), 64 * BLK, vec), 0);
	for (int k = 0; k < 64; k++)
		ck_assert_int_eq(vec[k] & 1, 1);
	ck_assert_ok(pinfs_unmap(m));
	close(fd);
}
END_TEST

START_TEST(large_is_aligned)
{
	int fd = test_file("large", 0);
	struct pinfs_map *m;

	ck_assert_ok(pinfs_map(fd, 0, 4 << 20, PINFS_MAP_WRITE | PINFS_MAP_ALLOC, &m));
	ck_assert_uint_eq((uintptr_t)pinfs_addr(m) % (2 << 20), 0);
	ck_assert_ok(pinfs_unmap(m));
	close(fd);
}
END_TEST

/* What is refused leaves nothing behind. */
START_TEST(bad_options)
{
	int fd = test_file("bad", 4), ro = open(test_path("bad"), O_RDONLY | O_CLOEXEC);
	struct pinfs_pin_range r = { .off = 0, .len = BLK }, odd = { .off = 1, .len = BLK },
		far = { .off = 4 * BLK, .len = 0 }, wraps = { .off = BLK, .len = UINT64_MAX };
	static const unsigned bad_flags[] = { 0, PINFS_MAP_ALLOC, 0x80000001, PINFS_MAP_READ | PINFS_MAP_FAULTABLE,
		PINFS_MAP_READ | PINFS_MAP_REPLACE };
	struct pinfs_map_options good = { .size = sizeof(good), .flags = PINFS_MAP_READ, .nranges = 1, .ranges = &r }, o;
	struct {
		struct pinfs_map_options o;
		uint64_t more;
	} newer = { .o = good };
	struct pinfs_map *m = (void *)1;

	for (unsigned k = 0; k < sizeof(bad_flags) / sizeof(bad_flags[0]); k++) {
		o = good;
		o.flags = bad_flags[k];
		ck_assert_err(pinfs_map_with(fd, &o, &m), EINVAL);
		ck_assert_ptr_null(m);
	}
	o = good;
	o.nranges = 0;
	ck_assert_err(pinfs_map_with(fd, &o, &m), EINVAL);
	o.nranges = PINFS_PIN_RANGES_MAX + 1;
	ck_assert_err(pinfs_map_with(fd, &o, &m), EINVAL);
	o = good;
	o.pin_class = 99;
	ck_assert_err(pinfs_map_with(fd, &o, &m), EINVAL);
	o = good;
	o.ranges = &odd;
	ck_assert_err(pinfs_map_with(fd, &o, &m), EINVAL);
	o.ranges = &far;
	ck_assert_err(pinfs_map_with(fd, &o, &m), EINVAL);
	o.ranges = &wraps;
	ck_assert_err(pinfs_map_with(fd, &o, &m), EINVAL);
	o = good;
	o.size = 4;
	ck_assert_err(pinfs_map_with(fd, &o, &m), EINVAL);
	newer.o.size = sizeof(newer);
	newer.more = 1;
	ck_assert_err(pinfs_map_with(fd, &newer.o, &m), E2BIG);
	newer.more = 0;
	ck_assert_ok(pinfs_map_with(fd, &newer.o, &m));
	ck_assert_ok(pinfs_unmap(m));
	/* one that was compiled before there were fixed addresses */
	o = good;
	o.size = offsetof(struct pinfs_map_options, addr);
	o.addr = (void *)1;
	ck_assert_ok(pinfs_map_with(fd, &o, &m));
	ck_assert_ok(pinfs_unmap(m));
	ck_assert_err(pinfs_map(ro, 0, BLK, PINFS_MAP_WRITE, &m), EBADF);
	ck_assert_err(pinfs_map(-1, 0, BLK, PINFS_MAP_READ, &m), EBADF);
	ck_assert_ok(pinfs_unmap(NULL));
	ck_assert_uint_eq(test_pins(fd), 0);
	close(ro);
	close(fd);
}
END_TEST

START_TEST(not_on_a_mount)
{
	int fd = open("/dev/zero", O_RDWR | O_CLOEXEC);
	struct pinfs_pin_range r = { .off = 0, .len = BLK };
	static struct pinfs_status st;
	struct pinfs_map *m;
	uint64_t id;

	ck_assert_err(pinfs_map(fd, 0, BLK, PINFS_MAP_READ, &m), ENOTTY);
	ck_assert_err(pinfs_pin(fd, NULL, &r, 1, &id), ENOTTY);
	ck_assert_err(pinfs_unpin(fd, 1), ENOTTY);
	ck_assert_err(pinfs_sync_range(fd, 0, 0), ENOTTY);
	ck_assert_err(pinfs_get_status(fd, &st), ENOTTY);
	ck_assert_err(pinfs_lease(fd, NULL, &id), ENOTTY);
	close(fd);
}
END_TEST

/* After letting go the object and its addresses are there, the pin is not. */
START_TEST(let_go)
{
	int fd = test_file("let-go", 4);
	struct pinfs_map *m;
	char *p;

	ck_assert_ok(pinfs_map(fd, 0, 4 * BLK, PINFS_MAP_WRITE, &m));
	ck_assert_int_eq(pinfs_map_state(m), PINFS_LEASE_HELD);
	p = pinfs_addr(m);
	p[0] = 'Z';
	ck_assert_ok(pinfs_let_go(m));
	ck_assert_uint_eq(test_pins(fd), 0);
	ck_assert_int_eq(test_byte(fd, 0), 'Z');
	ck_assert(faults(p));
	ck_assert(faults(p + 4 * BLK - 1));
	/* nothing else comes to lie there */
	ck_assert_ptr_eq(mmap(p, BLK, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0), MAP_FAILED);
	ck_assert_int_eq(pinfs_map_state(m), PINFS_LEASE_RELEASED);
	ck_assert_err(pinfs_sync(m), ESTALE);
	ck_assert_err(pinfs_persist(m, p, 1), ESTALE);
	ck_assert_ok(pinfs_let_go(m));
	ck_assert_ok(pinfs_unmap(m));
	ck_assert(!test_mapped(p));
	close(fd);
}
END_TEST

/* A child has the object but not the memory, and can take nothing away from the parent. */
START_TEST(forked_child)
{
	int fd = test_file("fork", 4), status;
	struct pinfs_map *m;
	char *p;
	pid_t pid;

	ck_assert_ok(pinfs_map(fd, 0, 4 * BLK, PINFS_MAP_WRITE, &m));
	p = pinfs_addr(m);
	pid = fork();
	if (pid == 0) {
		/* The child may have put something of its own there. */
		char *own = mmap(p, BLK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

		if (own != p)
			_exit(1);
		if (pinfs_let_go(m) != -ECHILD)
			_exit(2);
		if (pinfs_unmap(m) != 0)
			_exit(3);
		*own = 1;
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_uint_eq(test_pins(fd), 1);
	p[0] = 'F';
	ck_assert_int_eq(test_byte(fd, 0), 'F');
	ck_assert_ok(pinfs_sync(m));
	ck_assert_ok(pinfs_unmap(m));
	ck_assert_uint_eq(test_pins(fd), 0);
	close(fd);
}
END_TEST

START_TEST(pins)
{
	int fd = test_file("pins", 8), ro = open(test_path("pins"), O_RDONLY | O_CLOEXEC);
	struct pinfs_pin_options o = { .size = sizeof(o), .access = PINFS_ACCESS_READWRITE };
	struct pinfs_pin_range r[2] = { { .off = 100, .len = 10 }, { .off = 5 * BLK, .len = BLK + 1 } };
	uint64_t id, write_id, lease = 0;

	if (pinfs_lease(fd, NULL, &lease) == 0)
		ck_assert_ok(pinfs_lease(ro, NULL, &lease));
	ck_assert_ok(pinfs_pin(ro, NULL, r, 2, &id));
	ck_assert_uint_eq(r[0].off, 0);
	ck_assert_uint_eq(r[0].len, BLK);
	ck_assert_uint_eq(r[1].off, 5 * BLK);
	ck_assert_uint_eq(r[1].len, 2 * BLK);
	ck_assert_uint_ne(r[0].pool_off, PINFS_POOL_OFF_HOLE);
	ck_assert_err(pinfs_pin(ro, &o, r, 2, &write_id), EBADF);
	ck_assert_ok(pinfs_pin(fd, &o, r, 2, &write_id));
	ck_assert_uint_ne(id, write_id);
	ck_assert_uint_eq(test_pins(fd), 2);
	ck_assert_err(pinfs_unpin(fd, id), ENOENT); /* of another open file */
	ck_assert_ok(pinfs_unpin(ro, id));
	ck_assert_err(pinfs_unpin(ro, id), ENOENT);
	ck_assert_err(pinfs_pin(fd, &o, r, 0, &id), EINVAL);
	ck_assert_err(pinfs_pin(fd, &o, r, PINFS_PIN_RANGES_MAX + 1, &id), EINVAL);
	close(fd); /* ends its pin */
	ck_assert_uint_eq(test_pins(ro), 0);
	close(ro);
}
END_TEST

static uint64_t
commits(int fd)
{
	static struct pinfs_status st;

	ck_assert_ok(pinfs_get_status(fd, &st));
	return st.commits;
}

START_TEST(persist_and_sync)
{
	int fd = test_file("persist", 4);
	struct pinfs_map *m;
	uint64_t before;
	char *p;

	ck_assert_ok(pinfs_map(fd, 0, 4 * BLK, PINFS_MAP_WRITE, &m));
	p = pinfs_addr(m);
	ck_assert_ok(pinfs_sync(m));
	before = commits(fd);
	p[BLK] = 'P';
	ck_assert_ok(pinfs_persist(m, p + BLK, 1));
	ck_assert_uint_gt(commits(fd), before); /* a stable file: nothing less than a sync is enough */
	ck_assert_ok(pinfs_persist(m, p, 0));
	ck_assert_err(pinfs_persist(m, p - 1, 1), EINVAL);
	ck_assert_err(pinfs_persist(m, p + 4 * BLK, 1), EINVAL);
	ck_assert_err(pinfs_persist(m, p + BLK, SIZE_MAX), EINVAL);
	ck_assert_ok(pinfs_sync_range(fd, 0, 0));
	ck_assert_ok(pinfs_sync_range(fd, BLK, BLK));
	ck_assert_err(pinfs_sync_range(fd, UINT64_MAX, 1), EINVAL);
	ck_assert_ok(pinfs_unmap(m));
	close(fd);
}
END_TEST

/* A dax file on a pool in the memory of this machine: no request at all. */
START_TEST(persist_dax)
{
	int fd = test_file("dax", 0);
	struct fsxattr x = { 0 };
	static struct pinfs_status a, b;
	struct pinfs_map *m;

	ck_assert_int_eq(ioctl(fd, FS_IOC_FSGETXATTR, &x), 0);
	x.fsx_xflags |= FS_XFLAG_DAX;
	ck_assert_int_eq(ioctl(fd, FS_IOC_FSSETXATTR, &x), 0);
	ck_assert_ok(pinfs_map(fd, 0, 4 * BLK, PINFS_MAP_WRITE | PINFS_MAP_ALLOC, &m));
	ck_assert_ok(pinfs_get_status(fd, &a));
	ck_assert_int_ne(a.domain, PINFS_DOMAIN_PAGECACHE);
	memset(pinfs_addr(m), 'x', BLK);
	ck_assert_ok(pinfs_persist(m, pinfs_addr(m), BLK));
	ck_assert_ok(pinfs_get_status(fd, &b));
	ck_assert_uint_eq(b.requests, a.requests + 1);
	ck_assert_uint_eq(b.commits, a.commits);
	ck_assert_ok(pinfs_unmap(m));
	/* nothing of it is copied, so there is nothing to track */
	ck_assert_ok(pinfs_map(fd, 0, 4 * BLK, PINFS_MAP_WRITE | PINFS_MAP_FAULTABLE, &m));
	ck_assert_int_eq(pinfs_map_tracked(m), -EOPNOTSUPP);
	ck_assert_int_eq(*(char *)pinfs_addr(m), 'x');
	ck_assert_ok(pinfs_unmap(m));
	close(fd);
}
END_TEST

/* Tracked or not, and then with a reason, a faultable mapping works. */
START_TEST(faultable)
{
	int fd = test_file("faultable", 0), tracked;
	struct pinfs_map *m;
	char *p;

	ck_assert_ok(pinfs_map(fd, 0, 64 * BLK, PINFS_MAP_WRITE | PINFS_MAP_ALLOC, &m));
	ck_assert_int_eq(pinfs_map_tracked(m), 0);
	ck_assert_ok(pinfs_unmap(m));
	ck_assert_ok(pinfs_map(fd, 0, 64 * BLK, PINFS_MAP_WRITE | PINFS_MAP_FAULTABLE, &m));
	tracked = pinfs_map_tracked(m);
	ck_assert_msg(tracked == 1 || tracked < 0, "tracked: %d", tracked);
	ck_assert_str_ne(pinfs_strerror(tracked < 0 ? tracked : 0), "");
	p = pinfs_addr(m);
	for (int round = 0; round < 3; round++) {
		p[7 * BLK] = (char)('0' + round);
		ck_assert_ok(pinfs_sync(m));
		ck_assert_int_eq(test_byte(fd, 7 * BLK), '0' + round);
		p[63 * BLK] = (char)('5' + round);
		ck_assert_int_eq(test_byte(fd, 63 * BLK), '5' + round);
	}
	ck_assert_ok(pinfs_unmap(m));
	ck_assert_int_eq(test_byte(fd, 63 * BLK), '7');
	close(fd);
}
END_TEST

static void *
map_and_unmap(void *arg)
{
	int fd = *(int *)arg;

	for (int k = 0; k < 100; k++) {
		struct pinfs_map *m;
		uint64_t off = (uint64_t)(k % 8) * BLK;
		char want = (char)('a' + k % 8);

		if (pinfs_map(fd, off, 8 * BLK, PINFS_MAP_READ, &m) < 0)
			return "pinfs_map";
		if (*(char *)pinfs_addr(m) != want)
			return "content";
		if (pinfs_unmap(m) < 0)
			return "pinfs_unmap";
	}
	return NULL;
}

START_TEST(many_threads)
{
	int fd = test_file("threads", 16);
	pthread_t t[4];
	void *wrong;

	for (int k = 0; k < 4; k++)
		ck_assert_int_eq(pthread_create(&t[k], NULL, map_and_unmap, &fd), 0);
	for (int k = 0; k < 4; k++) {
		ck_assert_int_eq(pthread_join(t[k], &wrong), 0);
		ck_assert_msg(!wrong, "%s", (char *)wrong);
	}
	ck_assert_uint_eq(test_pins(fd), 0);
	close(fd);
}
END_TEST

/* Each errno that the manual lists has a text of its own, that is more than strerror(3)'s. */
START_TEST(errors_in_words)
{
	static const int known[] = { ENOTTY, EINVAL, E2BIG, EBADF, EACCES, ENOENT, ESTALE, ENOLCK, EAGAIN, EBUSY, ETXTBSY,
		EEXIST, ECHILD, EISDIR, ENOSYS, EDQUOT, ENOSPC, ENOTCONN, EFAULT, EIO, ENOMEM, EROFS, EPROTO };

	for (unsigned k = 0; k < sizeof(known) / sizeof(known[0]); k++) {
		const char *text = pinfs_strerror(-known[k]);

		ck_assert_str_ne(text, strerror(known[k]));
		ck_assert_str_eq(text, pinfs_strerror(known[k]));
		for (unsigned j = 0; j < k; j++)
			ck_assert_str_ne(text, pinfs_strerror(-known[j]));
	}
	ck_assert_str_eq(pinfs_strerror(0), "success");
	ck_assert_str_eq(pinfs_strerror(-ELOOP), strerror(ELOOP));
	ck_assert_str_eq(pinfs_strerror(-99999), "unknown error");
	ck_assert_str_eq(pinfs_strerror(INT_MIN), "unknown error");
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = { ranges_side_by_side, most_ranges_in_pieces, fixed_address, populated,
		large_is_aligned, bad_options, not_on_a_mount, let_go, forked_child, pins, persist_and_sync, persist_dax,
		faultable, many_threads, errors_in_words };
	Suite *s = suite_create("libpinfs: mappings");
	TCase *tc = tcase_create("map");

	tcase_set_timeout(tc, 60);
	for (unsigned k = 0; k < sizeof(tests) / sizeof(tests[0]); k++)
		tcase_add_test(tc, tests[k]);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
