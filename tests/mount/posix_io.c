/* SPDX-License-Identifier: BSD-3-Clause */
/* Content: read, write, append, truncate, fallocate, holes, copy_file_range, mmap, O_DIRECT, locks,
 * limits.
 */
#include "tests/mount/posix.h"

#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

enum { BLK = 4096 };

/* Does the file have exactly this content from off on? */
static bool
range_is(int fd, const void *want, size_t len, off_t off)
{
	char *buf = malloc(len ? len : 1);
	bool same = buf && pread(fd, buf, len, off) == (ssize_t)len && memcmp(buf, want, len) == 0;

	free(buf);
	return same;
}

static bool
range_zero(int fd, size_t len, off_t off)
{
	char *buf = malloc(len ? len : 1);
	bool zero;

	if (!buf)
		return false;
	memset(buf, 1, len);
	zero = pread(fd, buf, len, off) == (ssize_t)len && is_zero(buf, len);
	free(buf);
	return zero;
}

static off_t
size_of(int fd)
{
	struct stat st;

	OK(fstat(fd, &st));
	return st.st_size;
}

static void
read_write(void)
{
	char buf[3 * BLK], got[3 * BLK];
	struct iovec v[3] = { { buf, 100 }, { buf + 100, 5000 }, { buf + 5100, 33 } };
	int fd = open_new("f");

	fill(buf, sizeof(buf), 1);
	EQ(read(fd, got, sizeof(got)), 0);
	EQ(write(fd, buf, 1), 1);
	EQ(pwrite(fd, buf + 1, sizeof(buf) - 1, 1), sizeof(buf) - 1);
	EQ(pread(fd, got, sizeof(got), 0), sizeof(got));
	TRUE(is_filled(got, sizeof(got), 1));
	EQ(pread(fd, got, sizeof(got), 3 * BLK - 5), 5);
	EQ(pread(fd, got, sizeof(got), 3 * BLK), 0);
	EQ(pread(fd, got, sizeof(got), (off_t)1 << 50), 0);
	ERR(pread(fd, got, 1, -1), EINVAL);
	ERR(pwrite(fd, got, 1, -1), EINVAL);
	ERR(syscall(SYS_write, fd, 8L, 100L), EFAULT);
	EQ(lseek(fd, 0, SEEK_CUR), 1);
	EQ(pwritev(fd, v, 3, 7), 5133);
	EQ(pread(fd, got, 5133, 7), 5133);
	TRUE(is_filled(got, 5133, 1));
	EQ(lseek(fd, -1, SEEK_END), 3 * BLK - 1);
	ERR(lseek(fd, -1, SEEK_SET), EINVAL);
	EQ(pwritev2(fd, v, 1, 0, RWF_DSYNC), 100);
	OK(fdatasync(fd));
	OK(close(fd));
}

/* Overwrites of every kind of range over a file that was made durable in between. */
static void
partial_writes(void)
{
	static char want[8 * BLK], part[8 * BLK];
	const struct {
		unsigned off, len;
	} w[] = {
		{ 1, 1 }, { BLK - 1, 2 }, { 0, BLK }, { BLK, 2 * BLK }, { 100, 3 * BLK }, { 5 * BLK + 7, 11 },
		{ 8 * BLK - 3, 3 }, { 2 * BLK, 1 }, { 0, 8 * BLK },
	};
	int fd = open_new("f");

	fill(want, sizeof(want), 1);
	EQ(pwrite(fd, want, sizeof(want), 0), sizeof(want));
	for (unsigned k = 0; k < sizeof(w) / sizeof(w[0]) * 2; k++) {
		unsigned j = k % (sizeof(w) / sizeof(w[0]));

		if (k % 2)
			OK(fsync(fd));
		fill(part, w[j].len, k + 2);
		memcpy(want + w[j].off, part, w[j].len);
		EQ(pwrite(fd, part, w[j].len, w[j].off), w[j].len);
		TRUE(range_is(fd, want, sizeof(want), 0));
	}
	EQ(size_of(fd), sizeof(want));
	OK(close(fd));
}

static void
append(void)
{
	enum { PROCS = 4, EACH = 200, REC = 100 };
	static unsigned char seen[PROCS][EACH];
	char rec[REC + 1];
	int fd, status;
	FILE *f;

	fd = open("f", O_WRONLY | O_CREAT | O_APPEND, 0644);
	EQ(write(fd, "abc", 3), 3);
	EQ(lseek(fd, 0, SEEK_SET), 0);
	EQ(write(fd, "def", 3), 3);
	EQ(pwrite(fd, "ghi", 3, 0), 3); /* Linux: O_APPEND wins over the offset */
	OK(close(fd));
	TRUE(content_is("f", "abcdefghi"));

	for (int p = 0; p < PROCS; p++) {
		if (fork() != 0)
			continue;
		fd = open("log", O_WRONLY | O_CREAT | O_APPEND, 0644);
		for (int k = 0; k < EACH; k++) {
			memset(rec, ' ', REC);
			rec[snprintf(rec, 32, "%d %d", p, k)] = ' ';
			rec[REC - 1] = '\n';
			if (write(fd, rec, REC) != REC)
				_exit(1);
		}
		_exit(0);
	}
	for (int p = 0; p < PROCS; p++) {
		OK(wait(&status));
		EQ(status, 0);
	}
	EQ(st_of("log").st_size, PROCS * EACH * REC);
	f = fopen("log", "r");
	while (fread(rec, 1, REC, f) == REC) {
		int p = -1, k = -1;

		TRUE(sscanf(rec, "%d %d", &p, &k) == 2 && p >= 0 && p < PROCS && k >= 0 && k < EACH);
		if (p >= 0 && p < PROCS && k >= 0 && k < EACH)
			seen[p][k]++;
	}
	fclose(f);
	for (int p = 0; p < PROCS; p++)
		for (int k = 0; k < EACH; k++)
			EQ(seen[p][k], 1);
}

static void
truncates(void)
{
	static char buf[3 * BLK];
	int fd = open_new("f"), ro;

	fill(buf, sizeof(buf), 1);
	EQ(write(fd, buf, sizeof(buf)), sizeof(buf));
	OK(ftruncate(fd, BLK + 100));
	EQ(size_of(fd), BLK + 100);
	OK(ftruncate(fd, 3 * BLK)); /* what was cut off must not come back */
	TRUE(range_is(fd, buf, BLK + 100, 0));
	TRUE(range_zero(fd, 2 * BLK - 100, BLK + 100));
	OK(ftruncate(fd, 50));
	OK(fsync(fd));
	EQ(pwrite(fd, "x", 1, BLK - 1), 1); /* beyond the end, same block */
	TRUE(range_is(fd, buf, 50, 0));
	TRUE(range_zero(fd, BLK - 51, 50));
	OK(ftruncate(fd, 0));
	EQ(pread(fd, buf, 10, 0), 0);
	OK(ftruncate(fd, 1 << 30));
	EQ(size_of(fd), 1 << 30);
	TRUE(range_zero(fd, 3 * BLK, (1 << 29) + 123));
	ERR(ftruncate(fd, -1), EINVAL);
	ERR(truncate(".", 0), EISDIR);
	ERR(truncate("none", 0), ENOENT);
	ro = open("f", O_RDONLY);
	ERR(ftruncate(ro, 0), EINVAL);
	OK(close(ro));
	OK(close(fd));
}

static void
limits(void)
{
	const struct rlimit lim = { .rlim_cur = 10000, .rlim_max = RLIM_INFINITY };
	int fd = open_new("f");
	char buf[BLK];

	fill(buf, sizeof(buf), 1);
	/* a hole of a terabyte takes no space */
	EQ(pwrite(fd, buf, sizeof(buf), (off_t)1 << 40), sizeof(buf));
	EQ(size_of(fd), ((off_t)1 << 40) + BLK);
	TRUE(st_of("f").st_blocks < 1000);
	TRUE(range_is(fd, buf, sizeof(buf), (off_t)1 << 40));
	TRUE(range_zero(fd, BLK, (off_t)1 << 39));
	OK(ftruncate(fd, 0));
	/* the end of the number range: an error or a short write, never a wrap */
	TRUE(pwrite(fd, buf, sizeof(buf), INT64_MAX - 100) <= 100);
	TRUE(fallocate(fd, 0, INT64_MAX - 100, 4096) < 0 && errno == EFBIG);
	EQ(size_of(fd) < 0, 0);
	OK(ftruncate(fd, 0));
	signal(SIGXFSZ, SIG_IGN);
	OK(setrlimit(RLIMIT_FSIZE, &lim));
	EQ(pwrite(fd, buf, sizeof(buf), 8000), 2000);
	ERR(pwrite(fd, buf, sizeof(buf), 10000), EFBIG);
	ERR(ftruncate(fd, 10001), EFBIG);
	EQ(size_of(fd), 10000);
	OK(close(fd));
}

static void
fallocates(void)
{
	static char buf[8 * BLK], zero[8 * BLK];
	int fd = open_new("f"), ro;
	long blocks;

	OK(fallocate(fd, 0, 0, 3 * BLK + 1));
	EQ(size_of(fd), 3 * BLK + 1);
	TRUE(range_zero(fd, 3 * BLK + 1, 0));
	TRUE(st_of("f").st_blocks >= 4 * 8);
	OK(fallocate(fd, FALLOC_FL_KEEP_SIZE, 4 * BLK, 4 * BLK));
	EQ(size_of(fd), 3 * BLK + 1);
	fill(buf, sizeof(buf), 1);
	EQ(pwrite(fd, buf, sizeof(buf), 0), sizeof(buf));
	OK(fallocate(fd, 0, 0, sizeof(buf))); /* over data: content stays */
	TRUE(range_is(fd, buf, sizeof(buf), 0));
	OK(fsync(fd));
	blocks = st_of("f").st_blocks;

	OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, BLK + 10, 3 * BLK));
	memset(buf + BLK + 10, 0, 3 * BLK);
	TRUE(range_is(fd, buf, sizeof(buf), 0));
	OK(fsync(fd));
	TRUE(st_of("f").st_blocks < blocks);
	OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 7 * BLK + 5, 100 * BLK)); /* across the end */
	memset(buf + 7 * BLK + 5, 0, BLK - 5);
	EQ(size_of(fd), sizeof(buf));
	TRUE(range_is(fd, buf, sizeof(buf), 0));
	OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1000 * BLK, BLK)); /* behind the end */
	EQ(size_of(fd), sizeof(buf));

	OK(fallocate(fd, FALLOC_FL_ZERO_RANGE, 5 * BLK + 1, BLK + 3));
	memset(buf + 5 * BLK + 1, 0, BLK + 3);
	TRUE(range_is(fd, buf, sizeof(buf), 0));
	OK(fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 8 * BLK, 2 * BLK));
	EQ(size_of(fd), 8 * BLK);
	OK(fallocate(fd, FALLOC_FL_ZERO_RANGE, 8 * BLK, 2 * BLK));
	EQ(size_of(fd), 10 * BLK);
	TRUE(range_is(fd, zero, 2 * BLK, 8 * BLK));

	ERR(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, BLK), EOPNOTSUPP);
	ERR(fallocate(fd, 0, 0, 0), EINVAL);
	ERR(fallocate(fd, 0, -1, BLK), EINVAL);
	ERR(fallocate(fd, 0x4000, 0, BLK), EOPNOTSUPP);
	ro = open("f", O_RDONLY);
	ERR(fallocate(ro, 0, 0, BLK), EBADF);
	OK(close(ro));
	OK(close(fd));
}

static void
holes(void)
{
	const off_t data = 16 * BLK, end = 64 * BLK;
	char buf[BLK];
	int fd = open_new("f");

	fill(buf, sizeof(buf), 1);
	ERR(lseek(fd, 0, SEEK_DATA), ENXIO);
	ERR(lseek(fd, 0, SEEK_HOLE), ENXIO);
	OK(ftruncate(fd, end));
	ERR(lseek(fd, 0, SEEK_DATA), ENXIO);
	EQ(lseek(fd, 0, SEEK_HOLE), 0);
	EQ(lseek(fd, 77, SEEK_HOLE), 77);
	EQ(pwrite(fd, buf, BLK, data), BLK);
	for (int synced = 0; synced < 2; synced++) {
		EQ(lseek(fd, 0, SEEK_DATA), data);
		EQ(lseek(fd, data + 5, SEEK_DATA), data + 5);
		EQ(lseek(fd, data, SEEK_HOLE), data + BLK);
		ERR(lseek(fd, data + BLK, SEEK_DATA), ENXIO);
		EQ(lseek(fd, data + BLK, SEEK_HOLE), data + BLK);
		ERR(lseek(fd, end, SEEK_HOLE), ENXIO);
		ERR(lseek(fd, end + 1, SEEK_DATA), ENXIO);
		OK(fsync(fd));
	}
	/* the end of the file counts as a hole */
	EQ(pwrite(fd, buf, BLK, end - BLK), BLK);
	EQ(lseek(fd, end - BLK, SEEK_HOLE), end);
	OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, data, BLK));
	EQ(lseek(fd, 0, SEEK_DATA), end - BLK);
	OK(close(fd));
}

static void
copy_ranges(void)
{
	static char want[20 * BLK], buf[20 * BLK];
	const struct {
		off_t in, out;
		size_t len;
	} c[] = {
		{ 0, 0, 8 * BLK }, { BLK, 3 * BLK, 2 * BLK }, { 1, 0, BLK }, { 3, BLK + 3, 2 * BLK }, { 10, 77, 5 },
		{ 0, 5 * BLK + 1, 3 * BLK + 17 }, { 7 * BLK, 12 * BLK, BLK },
	};
	int in = open_new("in"), out = open_new("out");
	off_t a, b;

	fill(buf, 8 * BLK, 5);
	EQ(pwrite(in, buf, 8 * BLK, 0), 8 * BLK);
	for (unsigned k = 0; k < sizeof(c) / sizeof(c[0]); k++) {
		a = c[k].in;
		b = c[k].out;
		EQ(copy_file_range(in, &a, out, &b, c[k].len, 0), c[k].len);
		EQ(a, c[k].in + (off_t)c[k].len);
		EQ(b, c[k].out + (off_t)c[k].len);
		memcpy(want + c[k].out, buf + c[k].in, c[k].len);
		TRUE(range_is(out, want, (size_t)size_of(out), 0));
	}
	/* short at the end of the source, 0 behind it */
	a = 7 * BLK + 100;
	b = 0;
	EQ(copy_file_range(in, &a, out, &b, 100 * BLK, 0), BLK - 100);
	memcpy(want, buf + 7 * BLK + 100, BLK - 100);
	TRUE(range_is(out, want, (size_t)size_of(out), 0));
	EQ(copy_file_range(in, &a, out, &b, 100, 0), 0);
	/* copies are independent afterwards */
	a = b = 0;
	EQ(copy_file_range(in, &a, out, &b, 8 * BLK, 0), 8 * BLK);
	memcpy(want, buf, 8 * BLK);
	EQ(pwrite(in, "changed", 7, BLK + 1), 7);
	TRUE(range_is(out, want, (size_t)size_of(out), 0));
	EQ(pwrite(out, "other", 5, 3 * BLK), 5);
	TRUE(range_is(in, buf + 3 * BLK, BLK, 3 * BLK));
	/* within one file: apart is fine, overlapping is not */
	a = 0;
	b = 10 * BLK;
	EQ(copy_file_range(in, &a, in, &b, 2 * BLK, 0), 2 * BLK);
	a = 0;
	b = BLK;
	ERR(copy_file_range(in, &a, in, &b, 2 * BLK, 0), EINVAL);
	ERR(copy_file_range(in, NULL, out, NULL, 1, 0x80), EINVAL);
	OK(fsync(out));
	OK(close(in));
	OK(close(out));
}

static void
mmaps(void)
{
	static char want[4 * BLK];
	int fd = open_new("f");
	char *p, *q;

	fill(want, sizeof(want), 1);
	EQ(write(fd, want, sizeof(want)), sizeof(want));
	p = mmap(NULL, sizeof(want), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	q = mmap(NULL, sizeof(want), PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	TRUE(p != MAP_FAILED && q != MAP_FAILED);
	if (p == MAP_FAILED || q == MAP_FAILED)
		return;
	TRUE(memcmp(p, want, sizeof(want)) == 0);
	q[0] = 'q'; /* private: nobody else sees it */
	TRUE(range_is(fd, want, sizeof(want), 0));
	memcpy(p + BLK + 5, "store", 5);
	memcpy(want + BLK + 5, "store", 5);
	TRUE(range_is(fd, want, sizeof(want), 0));
	EQ(pwrite(fd, "write", 5, 2 * BLK + 9), 5);
	memcpy(want + 2 * BLK + 9, "write", 5);
	TRUE(memcmp(p, want, sizeof(want)) == 0);
	OK(msync(p, sizeof(want), MS_SYNC));
	EQ(q[0], 'q');
	OK(munmap(p, sizeof(want)));
	OK(munmap(q, sizeof(want)));
	OK(close(fd));
	fd = open("f", O_RDONLY);
	TRUE(range_is(fd, want, sizeof(want), 0));
	p = mmap(NULL, BLK, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	TRUE(p == MAP_FAILED && errno == EACCES);
	OK(close(fd));
}

/* Stores beyond the end of the file, into the last page, must not show when the file grows. */
static void
mmap_tail(void)
{
	int fd = open_new("f");
	char *p;

	EQ(write(fd, "0123456789", 10), 10);
	p = mmap(NULL, BLK, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	TRUE(p != MAP_FAILED);
	if (p == MAP_FAILED)
		return;
	TRUE(is_zero(p + 10, BLK - 10));
	memset(p + 10, 'x', 100);
	OK(msync(p, BLK, MS_SYNC));
	OK(munmap(p, BLK));
	OK(ftruncate(fd, 2 * BLK));
	TRUE(range_is(fd, "0123456789", 10, 0));
	TRUE(range_zero(fd, 2 * BLK - 10, 10));
	OK(close(fd));
}

static void
mmap_bus(void)
{
	int fd = open_new("f"), status;
	pid_t pid;

	EQ(write(fd, "x", 1), 1);
	pid = fork();
	if (pid == 0) {
		volatile char *p = mmap(NULL, 2 * BLK, PROT_READ, MAP_SHARED, fd, 0);

		signal(SIGBUS, SIG_DFL); /* not what a sanitizer makes of it */
		_exit(p != MAP_FAILED && p[BLK] == 0 ? 0 : 1); /* beyond the last page: SIGBUS */
	}
	OK(waitpid(pid, &status, 0));
	TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	OK(close(fd));
}

static void
mmap_holes(void)
{
	int fd = open_new("f");
	char *p;

	OK(ftruncate(fd, 64 * BLK));
	p = mmap(NULL, 64 * BLK, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	TRUE(p != MAP_FAILED);
	if (p == MAP_FAILED)
		return;
	TRUE(is_zero(p, 64 * BLK));
	for (unsigned k = 0; k < 64; k += 3)
		fill(p + k * BLK, BLK, k);
	OK(munmap(p, 64 * BLK));
	for (unsigned k = 0; k < 64; k++) {
		char buf[BLK];

		EQ(pread(fd, buf, BLK, k * BLK), BLK);
		TRUE(k % 3 ? is_zero(buf, BLK) : is_filled(buf, BLK, k));
	}
	OK(close(fd));
}

static void
direct(void)
{
	const struct {
		unsigned off, len;
	} w[] = { { 0, BLK }, { 512, 512 }, { 3, 1 }, { BLK - 1, 2 }, { 1000, 3 * BLK }, { 10 * BLK, 100 } };
	static char want[16 * BLK];
	char *buf = aligned_alloc(BLK, 16 * BLK);
	int fd = open("f", O_RDWR | O_CREAT | O_DIRECT, 0644), fd2;
	unsigned size = 0;

	OK(fd);
	fd2 = open("f", O_RDWR);
	for (unsigned k = 0; k < sizeof(w) / sizeof(w[0]); k++) {
		fill(buf, w[k].len, k);
		memcpy(want + w[k].off, buf, w[k].len);
		if (size < w[k].off + w[k].len)
			size = w[k].off + w[k].len;
		if (pwrite(fd, buf, w[k].len, w[k].off) < 0 && errno == EINVAL && (w[k].off | w[k].len) % 512) {
			not_run("O_DIRECT at odd offsets: EINVAL here");
			break;
		}
		EQ(size_of(fd), size);
		TRUE(range_is(fd2, want, size, 0)); /* buffered sees direct */
		memset(buf, 0, size);
		EQ(pread(fd, buf, 16 * BLK, 0), size);
		TRUE(memcmp(buf, want, size) == 0);
	}
	fill(want + 2 * BLK, BLK, 99);
	EQ(pwrite(fd2, want + 2 * BLK, BLK, 2 * BLK), BLK); /* direct sees buffered */
	EQ(pread(fd, buf, BLK, 2 * BLK), BLK);
	TRUE(memcmp(buf, want + 2 * BLK, BLK) == 0);
	OK(close(fd));
	OK(close(fd2));
	free(buf);
}

static void
locks(void)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 10 };
	int fd = open_new("f"), fd2, status;
	pid_t pid;

	OK(fcntl(fd, F_SETLK, &l));
	pid = fork();
	if (pid == 0) {
		struct flock m = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 11 };

		if (fcntl(fd, F_SETLK, &m) == 0 || (errno != EAGAIN && errno != EACCES))
			_exit(1);
		m.l_len = 10;
		_exit(fcntl(fd, F_SETLK, &m) == 0 ? 0 : 2);
	}
	OK(waitpid(pid, &status, 0));
	EQ(status, 0);
	fd2 = open("f", O_RDWR);
	OK(flock(fd, LOCK_EX));
	ERR(flock(fd2, LOCK_SH | LOCK_NB), EWOULDBLOCK);
	OK(flock(fd, LOCK_UN));
	OK(flock(fd2, LOCK_SH | LOCK_NB));
	OK(close(fd));
	OK(close(fd2));
}

/* Readers while others write, truncate and sync: every block read is of one piece. */
static void
parallel_io(void)
{
	enum { BLOCKS = 16, ROUNDS = 400 };
	int fd = open_new("f"), status;
	pid_t pids[3];
	char buf[BLK];

	memset(buf, 1, sizeof(buf));
	for (unsigned k = 0; k < BLOCKS; k++)
		EQ(pwrite(fd, buf, BLK, k * BLK), BLK);
	for (int p = 0; p < 3; p++) {
		pids[p] = fork();
		if (pids[p] != 0)
			continue;
		for (unsigned r = 0; r < ROUNDS; r++) {
			unsigned k = (r * 7 + (unsigned)p * 5) % BLOCKS;

			memset(buf, 1 + (int)(r % 200), BLK);
			if (p == 2 ? fsync(fd) != 0 : pwrite(fd, buf, BLK, k * BLK) != BLK)
				_exit(1);
			if (pread(fd, buf, BLK, k * BLK) != BLK || buf[0] == 0)
				_exit(2);
		}
		_exit(0);
	}
	for (int p = 0; p < 3; p++) {
		OK(waitpid(pids[p], &status, 0));
		EQ(status, 0);
	}
	EQ(size_of(fd), BLOCKS * BLK);
	OK(close(fd));
}

const struct check posix_io[] = {
	{ "read_write", read_write },
	{ "partial_writes", partial_writes },
	{ "append", append },
	{ "truncates", truncates },
	{ "limits", limits },
	{ "fallocates", fallocates },
	{ "holes", holes },
	{ "copy_ranges", copy_ranges },
	{ "mmaps", mmaps },
	{ "mmap_tail", mmap_tail },
	{ "mmap_bus", mmap_bus },
	{ "mmap_holes", mmap_holes },
	{ "direct", direct },
	{ "locks", locks },
	{ "parallel_io", parallel_io },
	{ NULL, NULL },
};
