/* SPDX-License-Identifier: BSD-3-Clause */
/* pins: one row about pins or leases; both sides are measured in this one process, in turns, and printed on one line. What
 * bench/run.sh takes its rows of that kind from.
 *
 *   pins ROW DIR [-m MIB] [-n NUMBER] [-t SECONDS] [-d DISKFILE]
 *
 * DIR is on a pinfs mount of a pool that may be opened. Both numbers are in the unit that the row needs; their
 * ratio is what counts. MIB (1024) is the size of the large mapping, NUMBER (1000000) of what is many.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <isa-l/crc.h>
#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <pinfs/pinfs.h>

#define BLOCK 4096u
#define BATCH 200

static const char *dir;
static const char *disk;
static size_t mib = 1024;
static unsigned long many = 1000000;
static double seconds = 1;

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void
ok(int r, const char *what)
{
	if (r < 0)
		errx(1, "%s: %s", what, pinfs_strerror(r));
}

static int
open_in(const char *name, int flags)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, flags | O_CLOEXEC, 0644);
	if (fd < 0)
		err(1, "%s", path);
	return fd;
}

static void
remove_in(const char *name)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	unlink(path);
}

/* An empty file of that size. */
static int
fresh(const char *name, size_t bytes)
{
	int fd;

	remove_in(name);
	fd = open_in(name, O_RDWR | O_CREAT);
	if (ftruncate(fd, (off_t)bytes) < 0)
		err(1, "%s", name);
	return fd;
}

static void
fill(int fd, size_t bytes, int c)
{
	size_t chunk = 1 << 20;
	char *buf = malloc(chunk);

	if (!buf)
		err(1, "malloc");
	memset(buf, c, chunk);
	for (size_t off = 0; off < bytes; off += chunk)
		if (pwrite(fd, buf, chunk < bytes - off ? chunk : bytes - off, (off_t)off) < 0)
			err(1, "write");
	free(buf);
}

static struct pinfs_map *
map_it(int fd, size_t bytes, int flags)
{
	struct pinfs_map *m;

	ok(pinfs_map(fd, 0, bytes, flags, &m), "map");
	return m;
}

static char *
memory(size_t bytes)
{
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED)
		err(1, "mmap");
	return p;
}

/* The same of a file on tmpfs whose blocks are allocated, but which nobody has mapped yet: what a pool is. */
static char *
allocated(size_t bytes)
{
	int fd = memfd_create("pins", MFD_CLOEXEC);
	char *p;

	if (fd < 0 || fallocate(fd, 0, 0, (off_t)bytes) < 0)
		err(1, "memfd");
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		err(1, "mmap");
	close(fd);
	return p;
}

static void
result(double ours, double theirs)
{
	printf("%.9g %.9g\n", ours, theirs);
}

static int
cmp_double(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double
quantile(double *v, size_t n, double q)
{
	qsort(v, n, sizeof(*v), cmp_double);
	return v[(size_t)(q * (double)(n - 1))];
}

/* ---- round trips, in turns -------------------------------------------------------------------------- */

/* Seconds for each call of ours and of theirs: batches in turns for as long as we have. */
static void
in_turns(void (*ours)(void *), void (*theirs)(void *), void *arg)
{
	double a = 0, b = 0, t, end = now() + seconds;
	unsigned n = 0;

	for (; now() < end; n++) {
		t = now();
		for (int k = 0; k < BATCH; k++)
			ours(arg);
		a += now() - t;
		t = now();
		for (int k = 0; k < BATCH; k++)
			theirs(arg);
		b += now() - t;
	}
	result(a / n / BATCH, b / n / BATCH);
}

struct calls {
	int fd;
	uint64_t off;
	unsigned nranges;
};

static void
pin_unpin(void *arg)
{
	struct calls *c = arg;
	struct pinfs_pin_options o = { .size = sizeof(o), .access = PINFS_ACCESS_READWRITE, .pin_class = PINFS_PIN_TRANSIENT };
	struct pinfs_pin_range r[PINFS_PIN_RANGES_MAX];
	uint64_t id;

	for (unsigned k = 0; k < c->nranges; k++)
		r[k] = (struct pinfs_pin_range){ .off = c->off + (uint64_t)k * 2 * BLOCK, .len = BLOCK };
	ok(pinfs_pin(c->fd, &o, r, c->nranges, &id), "pin");
	ok(pinfs_unpin(c->fd, id), "unpin");
}

static void
pin_64(void *arg)
{
	struct calls *c = arg;

	c->nranges = 64;
	pin_unpin(c);
	c->nranges = 1;
}

static void
pin_64_singly(void *arg)
{
	struct calls *c = arg;

	for (unsigned k = 0; k < 64; k++) {
		c->off = (uint64_t)k * 2 * BLOCK;
		pin_unpin(c);
	}
	c->off = 0;
}

static void
two_noops(void *arg)
{
	struct calls *c = arg;

	if (ioctl(c->fd, PINFS_IOC_NOOP) < 0 || ioctl(c->fd, PINFS_IOC_NOOP) < 0)
		err(1, "noop");
}

static void
lease_release(void *arg)
{
	struct calls *c = arg;
	struct pinfs_lease_options o = { .size = sizeof(o), .len = BLOCK };
	uint64_t id;

	ok(pinfs_lease(c->fd, &o, &id), "lease");
	ok(pinfs_lease_release(c->fd, id), "release");
}

static struct calls
small_file(void)
{
	struct calls c = { .fd = fresh("small", 128 * BLOCK), .nranges = 1 };

	fill(c.fd, 128 * BLOCK, 1);
	return c;
}

static void
row_pin(void)
{
	struct calls c = small_file();

	in_turns(pin_unpin, two_noops, &c);
}

static void
row_pin_64(void)
{
	struct calls c = small_file();

	in_turns(pin_64, pin_64_singly, &c);
}

static void
row_lease(void)
{
	struct calls c = small_file();

	in_turns(lease_release, two_noops, &c);
}

/* ---- many of them ------------------------------------------------------------------------------------- */

static double
time_pins(struct calls *c)
{
	double t = now();
	unsigned n = 0;

	for (; now() - t < seconds; n++)
		pin_unpin(c);
	return (now() - t) / n;
}

/* Read pins of one block, on the file or another one. */
static void
row_many(bool same)
{
	struct calls c = small_file();
	struct pinfs_pin_options o = { .size = sizeof(o), .access = PINFS_ACCESS_READ, .pin_class = PINFS_PIN_TRANSIENT };
	struct pinfs_pin_range r;
	int fd = same ? c.fd : fresh("other", 128 * BLOCK);
	double with, without;
	uint64_t id;

	if (!same)
		fill(fd, 128 * BLOCK, 1);
	fsync(fd);
	without = time_pins(&c);
	for (unsigned long k = 0; k < many; k++) {
		/* not where the pins are that are timed */
		r = (struct pinfs_pin_range){ .off = (64 + k % 64) * BLOCK, .len = BLOCK };
		ok(pinfs_pin(fd, &o, &r, 1, &id), "pin");
	}
	with = time_pins(&c);
	result(with, without);
}

static void row_many_elsewhere(void) { row_many(false); }
static void row_many_same(void) { row_many(true); }

/* ---- a gigabyte ---------------------------------------------------------------------------------------- */

/* What a bounce has to do anyway, a piece at a time as it does it. */
static double
copy_and_crc(char *to, const char *from, size_t bytes)
{
	double t = now();
	volatile uint32_t sum = 0;

	for (size_t off = 0; off < bytes; off += 16 * BLOCK) {
		memcpy(to + off, from + off, 16 * BLOCK);
		for (size_t k = 0; k < 16 * BLOCK; k += BLOCK)
			sum ^= crc32_iscsi((unsigned char *)to + off + k, BLOCK, 0);
	}
	return now() - t;
}

static double
crc_only(char *p, size_t bytes)
{
	double t = now();
	volatile uint32_t sum = 0;

	for (size_t off = 0; off < bytes; off += BLOCK)
		sum ^= crc32_iscsi((unsigned char *)p + off, BLOCK, 0);
	return now() - t;
}

static double
timed_fsync(int fd)
{
	double t = now();

	if (fsync(fd) < 0)
		err(1, "fsync");
	return now() - t;
}

/* Ratios of rates: theirs / ours in time. */
static void
row_bounce(void)
{
	size_t bytes = mib << 20;
	int fd = fresh("large", bytes);
	struct pinfs_map *m = map_it(fd, bytes, PINFS_MAP_WRITE | PINFS_MAP_POPULATE);
	char *to = memory(bytes);
	double ours = 0, theirs = 0;

	memset(pinfs_addr(m), 1, bytes);
	timed_fsync(fd); /* both copies of all blocks are there after two */
	timed_fsync(fd);
	for (int k = 0; k < 3; k++) {
		ours += timed_fsync(fd);
		theirs += copy_and_crc(to, pinfs_addr(m), bytes);
	}
	ok(pinfs_unmap(m), "unmap");
	result(1 / ours, 1 / theirs);
}

static void
row_reference(void)
{
	size_t bytes = mib << 20;
	int fd = fresh("large", bytes);
	char *p = memory(bytes);
	double ours = 0, theirs = 0;

	memset(p, 1, bytes);
	for (int k = 0; k < 2; k++) {
		fill(fd, bytes, k);
		ours += timed_fsync(fd);
		theirs += crc_only(p, bytes);
	}
	result(1 / ours, 1 / theirs);
}

static void
scatter(struct pinfs_map *m, unsigned n)
{
	size_t blocks = pinfs_len(m) / BLOCK;

	for (unsigned k = 0; k < n; k++)
		((volatile char *)pinfs_addr(m))[(size_t)k * 7919 % blocks * BLOCK] = (char)k;
}

/* In a process of its own, so that the other mapping is gone. */
static double
scattered_fsync(int flags)
{
	size_t bytes = mib << 20;
	double *t = (double *)memory(BLOCK);
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		int fd = fresh("large", bytes);
		struct pinfs_map *m = map_it(fd, bytes, PINFS_MAP_WRITE | PINFS_MAP_POPULATE | flags);

		if ((flags & PINFS_MAP_FAULTABLE) && pinfs_map_tracked(m) != 1)
			errx(1, "not tracked: %s", pinfs_strerror(pinfs_map_tracked(m)));
		memset(pinfs_addr(m), 1, bytes);
		timed_fsync(fd);
		timed_fsync(fd);
		for (int k = 0; k < 3; k++) {
			scatter(m, 100);
			*t += timed_fsync(fd);
		}
		_exit(pinfs_unmap(m) < 0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || status != 0)
		errx(1, "the process with the mapping failed");
	return *t;
}

static void
row_faultable(void)
{
	double ours = scattered_fsync(PINFS_MAP_FAULTABLE);

	result(ours, scattered_fsync(0));
}

/* Microseconds that the first store to a clean page takes more than one to a dirty page. */
static void
row_first_store(void)
{
	size_t bytes = (size_t)64 << 20, blocks = bytes / BLOCK;
	int fd = fresh("large", bytes);
	struct pinfs_map *m = map_it(fd, bytes, PINFS_MAP_WRITE | PINFS_MAP_FAULTABLE | PINFS_MAP_POPULATE);
	volatile char *p = pinfs_addr(m);
	double clean, dirty, t;

	memset(pinfs_addr(m), 1, bytes);
	timed_fsync(fd);
	t = now();
	for (size_t k = 0; k < blocks; k++)
		p[k * BLOCK] = 2;
	clean = now() - t;
	t = now();
	for (size_t k = 0; k < blocks; k++)
		p[k * BLOCK] = 3;
	dirty = now() - t;
	ok(pinfs_unmap(m), "unmap");
	result((clean - dirty) / (double)blocks * 1e6, 1);
}

static double
timed_pin(int fd, size_t bytes)
{
	struct pinfs_pin_options o = { .size = sizeof(o), .access = PINFS_ACCESS_READWRITE, .pin_class = PINFS_PIN_TRANSIENT };
	struct pinfs_pin_range r = { .off = 0, .len = bytes };
	uint64_t id;
	double t = now();

	ok(pinfs_pin(fd, &o, &r, 1, &id), "pin");
	t = now() - t;
	ok(pinfs_unpin(fd, id), "unpin");
	return t;
}

static void
row_pin_fresh(void)
{
	size_t bytes = mib << 20;
	double ours, t;
	char *p;
	int fd = fresh("large", bytes);

	ours = timed_pin(fd, bytes);
	p = allocated(bytes);
	t = now();
	memset(p, 0, bytes);
	result(1 / ours, 1 / (now() - t));
}

static void
row_pin_durable(void)
{
	size_t bytes = mib << 20;
	char *from = memory(bytes), *to = allocated(bytes);
	double ours, t;
	int fd = fresh("large", bytes);

	fill(fd, bytes, 5);
	timed_fsync(fd);
	ours = timed_pin(fd, bytes);
	memset(from, 5, bytes);
	t = now();
	memcpy(to, from, bytes);
	result(1 / ours, 1 / (now() - t));
}

/* ---- beside an fsync ------------------------------------------------------------------------------------- */

static bool stop_syncing; /* atomic */

static void *
sync_on_and_on(void *arg)
{
	while (!__atomic_load_n(&stop_syncing, __ATOMIC_RELAXED))
		timed_fsync(*(int *)arg);
	return NULL;
}

static double
write_p99(int fd, size_t n)
{
	double *v = calloc(n, sizeof(*v)), q;
	char *buf = memory(BLOCK);

	if (!v)
		err(1, "calloc");
	for (size_t k = 0; k < n; k++) {
		double t = now();

		if (pwrite(fd, buf, BLOCK, (off_t)(k % 64 * BLOCK)) != BLOCK)
			err(1, "write");
		v[k] = now() - t;
	}
	q = quantile(v, n, 0.99);
	free(v);
	return q;
}

static void
row_beside(void)
{
	size_t bytes = mib << 20;
	int large = fresh("large", bytes), small;
	struct pinfs_map *m = map_it(large, bytes, PINFS_MAP_WRITE | PINFS_MAP_POPULATE);
	double idle, busy;
	pthread_t t;

	close(fresh("direct", 64 * BLOCK));
	small = open_in("direct", O_RDWR | O_DIRECT);
	timed_fsync(large);
	idle = write_p99(small, 20000);
	if (pthread_create(&t, NULL, sync_on_and_on, &large))
		errx(1, "thread");
	busy = write_p99(small, 20000);
	__atomic_store_n(&stop_syncing, true, __ATOMIC_RELAXED);
	pthread_join(t, NULL);
	ok(pinfs_unmap(m), "unmap");
	result(busy, idle);
}

/* ---- DMA from a disk file ---------------------------------------------------------------------------------- */

#define CHUNK ((size_t)1 << 20)

static double
read_registered(int from, char *to, size_t bytes)
{
	struct iovec iov = { to, bytes };
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	size_t asked = 0, done = 0;
	double t;
	int r = io_uring_queue_init(8, &ring, 0);

	if (r < 0 || (r = io_uring_register_buffers(&ring, &iov, 1)) < 0)
		errx(1, "io_uring: %s", strerror(-r));
	t = now();
	while (done < bytes) {
		while (asked < bytes && asked - done < 4 * CHUNK) {
			struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

			io_uring_prep_read_fixed(sqe, from, to + asked, CHUNK, asked, 0);
			asked += CHUNK;
		}
		io_uring_submit(&ring);
		r = io_uring_wait_cqe(&ring, &cqe);
		if (r < 0 || cqe->res != (int)CHUNK)
			errx(1, "read: %s", strerror(r < 0 ? -r : -cqe->res));
		io_uring_cqe_seen(&ring, cqe);
		done += CHUNK;
	}
	t = now() - t;
	io_uring_queue_exit(&ring);
	return t;
}

static void
row_registered(void)
{
	size_t bytes = (size_t)256 << 20;
	int from = open(disk, O_RDONLY | O_DIRECT | O_CLOEXEC), fd;
	char *buf = memory(CHUNK);
	struct pinfs_map *m;
	double ours, t;

	if (from < 0)
		err(1, "%s", disk);
	fd = fresh("target", bytes);
	m = map_it(fd, bytes, PINFS_MAP_WRITE | PINFS_MAP_POPULATE);
	read_registered(from, pinfs_addr(m), bytes);
	ours = read_registered(from, pinfs_addr(m), bytes);
	ok(pinfs_unmap(m), "unmap");
	close(fd);
	fd = fresh("target", bytes);
	fill(fd, bytes, 1);
	t = now();
	for (size_t off = 0; off < bytes; off += CHUNK)
		if (pread(from, buf, CHUNK, (off_t)off) != (ssize_t)CHUNK || pwrite(fd, buf, CHUNK, (off_t)off) != (ssize_t)CHUNK)
			err(1, "copy");
	result(1 / ours, 1 / (now() - t));
}

/* ---- leases ---------------------------------------------------------------------------------------------------- */

struct stamps { double called, told, released, returned; };

static double
noop_p50(int fd)
{
	static double v[5000];

	for (int k = 0; k < 5000; k++) {
		double t = now();

		if (ioctl(fd, PINFS_IOC_NOOP) < 0)
			err(1, "noop");
		v[k] = now() - t;
	}
	return quantile(v, 5000, 0.5);
}

/* The other process: truncates when it is told to, and says when it was done. */
static void
truncate_on_call(int fd, struct stamps *s, int in, int out)
{
	char c;

	while (read(in, &c, 1) == 1) {
		usleep(200); /* so that the holder sleeps in poll(2) */
		s->called = now();
		if (ftruncate(fd, 0) < 0)
			err(1, "truncate");
		s->returned = now();
		if (ftruncate(fd, 16 * BLOCK) < 0 || write(out, "d", 1) != 1)
			err(1, "truncate");
	}
}

static void
one_break(int fd, struct stamps *s, int out, int in)
{
	struct pinfs_lease_options o = { .size = sizeof(o), .len = 16 * BLOCK };
	struct pollfd p = { .fd = fd, .events = POLLPRI };
	struct pinfs_event ev;
	uint64_t id;
	char c;

	ok(pinfs_lease(fd, &o, &id), "lease");
	if (write(out, "g", 1) != 1 || poll(&p, 1, 10000) != 1)
		err(1, "poll");
	s->told = now();
	ok(pinfs_next_event(fd, &ev, 0), "event");
	usleep(200); /* the other process sleeps by now */
	s->released = now();
	ok(pinfs_lease_release(fd, id), "release");
	if (read(in, &c, 1) != 1)
		err(1, "the process that truncates");
}

static void
breaks(double q, bool released)
{
	enum { N = 1000 };
	struct stamps *s = (struct stamps *)memory(BLOCK);
	int fd = fresh("leased", 16 * BLOCK), other = open_in("leased", O_RDWR), to[2], from[2];
	static double v[N];
	pid_t pid;

	if (pipe(to) < 0 || pipe(from) < 0 || (pid = fork()) < 0)
		err(1, "fork");
	if (pid == 0) {
		close(to[1]);
		truncate_on_call(other, s, to[0], from[1]);
		_exit(0);
	}
	for (int k = 0; k < N; k++) {
		one_break(fd, s, to[1], from[0]);
		v[k] = released ? s->returned - s->released : s->told - s->called;
	}
	close(to[1]);
	waitpid(pid, NULL, 0);
	result(quantile(v, N, q), noop_p50(fd));
}

static void row_told_p50(void) { breaks(0.5, false); }
static void row_told_p99(void) { breaks(0.99, false); }
static void row_resumed_p50(void) { breaks(0.5, true); }

static double
time_truncates(int fd)
{
	double t = now();
	unsigned n = 0;

	for (; now() - t < seconds; n++)
		if (ftruncate(fd, BLOCK) < 0 || ftruncate(fd, 16 * BLOCK) < 0)
			err(1, "truncate");
	return (now() - t) / n;
}

static void
row_truncate_many(void)
{
	int fd = fresh("small", 16 * BLOCK), other = fresh("other", 16 * BLOCK);
	struct pinfs_lease_options o = { .size = sizeof(o), .len = BLOCK };
	double without = time_truncates(fd);
	uint64_t id;

	for (unsigned long k = 0; k < many; k++) {
		o.off = k % 1000 * BLOCK;
		ok(pinfs_lease(other, &o, &id), "lease");
	}
	result(time_truncates(fd), without);
}

/* Processor ticks of the daemon in 10 s, with 10,000 leases held and nothing to do. */
static void
row_idle(void)
{
	struct pinfs_status *st = calloc(1, sizeof(*st));
	struct pinfs_lease_options o = { .size = sizeof(o), .len = BLOCK };
	unsigned long ticks[2], u, s;
	int fd = fresh("leased", 16 * BLOCK);
	char path[64];
	uint64_t id;

	if (!st)
		err(1, "calloc");
	ok(pinfs_get_status(fd, st), "status");
	for (unsigned k = 0; k < 10000; k++) {
		o.off = (uint64_t)k * BLOCK;
		ok(pinfs_lease(fd, &o, &id), "lease");
	}
	snprintf(path, sizeof(path), "/proc/%u/stat", st->daemon_pid);
	sleep(7); /* what background writeback had left to do is done */
	for (int k = 0; k < 2; k++) {
		FILE *f = fopen(path, "r");

		if (!f || fscanf(f, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &u, &s) != 2)
			errx(1, "%s", path);
		ticks[k] = u + s;
		fclose(f);
		if (k == 0)
			sleep(10);
	}
	result((double)(ticks[1] - ticks[0]), 1);
}

/* Bytes of the daemon's own memory for each pin. */
static void
row_memory(void)
{
	struct pinfs_status *st = calloc(1, sizeof(*st));
	struct pinfs_pin_options o = { .size = sizeof(o), .access = PINFS_ACCESS_READ, .pin_class = PINFS_PIN_TRANSIENT };
	struct calls c = small_file();
	struct pinfs_pin_range r;
	unsigned long kb[2];
	char path[64], line[256];
	uint64_t id;

	if (!st)
		err(1, "calloc");
	fsync(c.fd);
	ok(pinfs_get_status(c.fd, st), "status");
	snprintf(path, sizeof(path), "/proc/%u/status", st->daemon_pid);
	for (int k = 0; k < 2; k++) {
		FILE *f = fopen(path, "r");

		if (!f)
			err(1, "%s", path);
		while (fgets(line, sizeof(line), f))
			sscanf(line, "RssAnon: %lu", &kb[k]);
		fclose(f);
		for (unsigned long n = 0; k == 0 && n < many; n++) {
			r = (struct pinfs_pin_range){ .off = n % 128 * BLOCK, .len = BLOCK };
			ok(pinfs_pin(c.fd, &o, &r, 1, &id), "pin");
		}
	}
	result((double)(kb[1] - kb[0]) * 1024 / (double)many, 1);
}

static const struct {
	const char *name;
	void (*run)(void);
} rows[] = {
	{ "pin-unpin", row_pin },
	{ "pin-64", row_pin_64 },
	{ "pin-many-elsewhere", row_many_elsewhere },
	{ "pin-many-same-file", row_many_same },
	{ "pin-memory", row_memory },
	{ "fsync-bounce", row_bounce },
	{ "fsync-reference", row_reference },
	{ "fsync-faultable", row_faultable },
	{ "first-store", row_first_store },
	{ "pin-fresh", row_pin_fresh },
	{ "pin-durable", row_pin_durable },
	{ "write-beside", row_beside },
	{ "registered", row_registered },
	{ "lease-release", row_lease },
	{ "told-p50", row_told_p50 },
	{ "told-p99", row_told_p99 },
	{ "resumed-p50", row_resumed_p50 },
	{ "truncate-many", row_truncate_many },
	{ "idle-ticks", row_idle },
};

int
main(int argc, char **argv)
{
	struct rlimit files = { 65536, 65536 };
	int c;

	while ((c = getopt(argc, argv, "m:n:t:d:")) != -1) {
		switch (c) {
		case 'm': mib = strtoul(optarg, NULL, 0); break;
		case 'n': many = strtoul(optarg, NULL, 0); break;
		case 't': seconds = atof(optarg); break;
		case 'd': disk = optarg; break;
		default: return 2;
		}
	}
	if (argc - optind != 2)
		errx(2, "usage: pins ROW DIR [-m MIB] [-n NUMBER] [-t SECONDS] [-d DISKFILE]");
	setrlimit(RLIMIT_NOFILE, &files);
	dir = argv[optind + 1];
	for (size_t k = 0; k < sizeof(rows) / sizeof(rows[0]); k++) {
		if (strcmp(argv[optind], rows[k].name) == 0) {
			rows[k].run();
			return 0;
		}
	}
	errx(2, "no row '%s'", argv[optind]);
}
