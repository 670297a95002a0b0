/* SPDX-License-Identifier: BSD-3-Clause */
/* load: one kind of operation, as fast as it goes, for a given time or number; prints one number: operations a
 * second (MB/s for `mem`). What bench/run.sh compares filesystems with.
 *
 *   load io FILE read|write SIZE rand|seq [-d] [-j JOBS] [-t SECONDS]
 *   load noop PATH [-t SECONDS]            the FUSE round trip that does nothing
 *   load fsync FILE [-t SECONDS]           4 KiB written, then fsync: only the fsync is timed
 *   load meta create|stat|open|rename|unlink|mkdir DIR N [PREFIX]
 *   load mem pinfs|plain FILE in|out|load|store [-t SECONDS]
 *   load fill FILE MIB | load populate DIR N BYTES
 *
 * It does system calls on plain descriptors and nothing else in its loops, so that it costs both sides
 * the same. -d: O_DIRECT. Each job is a process with a descriptor and a sequence of offsets of
 * its own; they start together.
 */
#include <errno.h>
#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <pinfs/pinfs.h>

enum { JOBS_MAX = 64 };

static unsigned jobs = 1;
static double seconds = 1;
static bool direct;

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static uint64_t
random_next(uint64_t *s)
{
	*s ^= *s >> 12;
	*s ^= *s << 25;
	*s ^= *s >> 27;
	return *s * 0x2545f4914f6cdd1du;
}

static void *
buffer(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED)
		err(1, "mmap");
	memset(p, 0x5a, size);
	return p;
}

static int
open_or_die(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0644);

	if (fd < 0)
		err(1, "%s", path);
	return fd;
}

static unsigned long
number(const char *s)
{
	char *end;
	unsigned long v = strtoul(s, &end, 0);

	if (*end == 'k')
		v <<= 10;
	else if (*end == 'M')
		v <<= 20;
	else if (*end)
		errx(2, "'%s' is no number", s);
	return v;
}

/* ---- io -------------------------------------------------------------------- */

/* What the jobs share with the parent. */
struct shared {
	volatile int ready, go;
	struct {
		uint64_t ops;
		double took;
	} job[JOBS_MAX];
};

static void
io_job(struct shared *sh, unsigned job, const char *path, bool writes, size_t size, bool random)
{
	int fd = open_or_die(path, (writes ? O_RDWR : O_RDONLY) | (direct ? O_DIRECT : 0));
	uint64_t rng = 0x9e3779b97f4a7c15u * (job + 1), n = 0, blocks, at = 0;
	char *buf = buffer(size);
	struct stat st;
	double start, end;

	if (fstat(fd, &st) < 0 || (blocks = (uint64_t)st.st_size / size) == 0)
		errx(1, "%s: too small", path);
	at = blocks / jobs * job;
	__atomic_add_fetch(&sh->ready, 1, __ATOMIC_SEQ_CST);
	while (!sh->go)
		usleep(100);
	start = now();
	do {
		off_t off = (off_t)((random ? random_next(&rng) : at++) % blocks * size);
		ssize_t r = writes ? pwrite(fd, buf, size, off) : pread(fd, buf, size, off);

		if (r != (ssize_t)size)
			err(1, "%s: %s at %lld gives %zd", path, writes ? "write" : "read", (long long)off, r);
		n++;
		end = now();
	} while (end - start < seconds);
	sh->job[job].ops = n;
	sh->job[job].took = end - start;
	close(fd);
}

static double
run_io(const char *path, const char *what, const char *size, const char *order)
{
	struct shared *sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	double rate = 0;
	int status;

	if (sh == MAP_FAILED)
		err(1, "mmap");
	for (unsigned j = 0; j < jobs; j++) {
		pid_t pid = fork();

		if (pid < 0)
			err(1, "fork");
		if (pid == 0) {
			io_job(sh, j, path, strcmp(what, "write") == 0, number(size), strcmp(order, "rand") == 0);
			exit(0);
		}
	}
	while (sh->ready < (int)jobs && waitpid(-1, &status, WNOHANG) == 0)
		usleep(100);
	sh->go = 1;
	while (wait(&status) > 0)
		if (status)
			errx(1, "a job failed");
	for (unsigned j = 0; j < jobs; j++)
		rate += (double)sh->job[j].ops / sh->job[j].took;
	return rate;
}

static double
run_noop(const char *path)
{
	int fd = open_or_die(path, O_RDONLY);
	double start = now(), end;
	uint64_t n = 0;

	do {
		if (ioctl(fd, PINFS_IOC_NOOP) < 0)
			err(1, "%s: PINFS_IOC_NOOP", path);
		n++;
		end = now();
	} while (end - start < seconds);
	return (double)n / (end - start);
}

static double
run_fsync(const char *path)
{
	int fd = open_or_die(path, O_RDWR | O_CREAT);
	double first = now(), took = 0, t;
	uint64_t n = 0, rng = 12345;
	char *buf = buffer(4096);

	do {
		if (pwrite(fd, buf, 4096, (off_t)(random_next(&rng) % 256 * 4096)) != 4096)
			err(1, "%s: write", path);
		t = now();
		if (fsync(fd) < 0)
			err(1, "%s: fsync", path);
		took += now() - t;
		n++;
	} while (t - first < seconds);
	return (double)n / took;
}

/* ---- names ------------------------------------------------------------------- */

static double
run_meta(const char *op, const char *path, unsigned n, const char *prefix)
{
	int dir = open_or_die(path, O_RDONLY | O_DIRECTORY), r = 0;
	char name[64], to[64];
	double start = now();
	struct stat st;

	for (unsigned pass = 0; pass < (op[0] == 'm' ? 2u : 1u); pass++) {
		for (unsigned k = 0; k < n && r >= 0; k++) {
			snprintf(name, sizeof(name), "%s%07u", prefix, k);
			switch (op[0]) {
			case 'c': /* create */
				r = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
				if (r >= 0)
					r = close(r);
				break;
			case 's': /* stat */
				r = fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW);
				break;
			case 'o': /* open */
				r = openat(dir, name, O_RDONLY | O_CLOEXEC);
				if (r >= 0)
					r = close(r);
				break;
			case 'r': /* rename */
				snprintf(to, sizeof(to), "%s-renamed-%07u", prefix, k);
				r = renameat(dir, name, dir, to);
				break;
			case 'u': /* unlink, of what rename left */
				snprintf(to, sizeof(to), "%s-renamed-%07u", prefix, k);
				r = unlinkat(dir, to, 0);
				break;
			case 'm': /* mkdir all, rmdir all */
				r = pass ? unlinkat(dir, name, AT_REMOVEDIR) : mkdirat(dir, name, 0755);
				break;
			default:
				errx(2, "what is '%s'?", op);
			}
		}
		if (r < 0)
			err(1, "%s %s/%s", op, path, name);
	}
	close(dir);
	return (op[0] == 'm' ? 2 : 1) * n / (now() - start);
}

static double
run_populate(const char *path, unsigned n, size_t bytes)
{
	int dir = open_or_die(path, O_RDONLY | O_DIRECTORY), fd;
	char *buf = buffer(bytes ? bytes : 1), name[64];
	double start = now();

	for (unsigned k = 0; k < n; k++) {
		snprintf(name, sizeof(name), "file-%07u", k);
		fd = openat(dir, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
		if (fd < 0 || (bytes && write(fd, buf, bytes) != (ssize_t)bytes) || close(fd) < 0)
			err(1, "%s/%s", path, name);
	}
	return n / (now() - start);
}

static double
run_fill(const char *path, unsigned mib)
{
	int fd = open_or_die(path, O_WRONLY | O_CREAT);
	char *buf = buffer(1 << 20);
	double start = now();

	for (unsigned k = 0; k < mib; k++)
		if (write(fd, buf, 1 << 20) != 1 << 20)
			err(1, "%s: write", path);
	if (fsync(fd) < 0 || close(fd) < 0)
		err(1, "%s", path);
	return mib / (now() - start);
}

/* ---- mapped memory --------------------------------------------------------------- */

static double
run_mem(const char *how, const char *path, const char *what)
{
	enum { CHUNK = 1 << 20, WORDS = 1 << 16 };
	int fd = open_or_die(path, O_RDWR), r;
	char *buf = buffer(CHUNK), *p;
	uint64_t rng = 99, bytes = 0, sum = 0, at = 0;
	struct pinfs_map *map;
	double start, end;
	struct stat st;

	if (fstat(fd, &st) < 0 || st.st_size < CHUNK)
		errx(1, "%s: too small", path);
	if (strcmp(how, "pinfs") == 0) {
		r = pinfs_map(fd, 0, (size_t)st.st_size, PINFS_MAP_WRITE | PINFS_MAP_POPULATE, &map);
		if (r < 0)
			errx(1, "%s: %s", path, pinfs_strerror(r));
		p = pinfs_addr(map);
	} else {
		p = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
		if (p == MAP_FAILED)
			err(1, "%s: mmap", path);
	}
	for (off_t k = 0; k < st.st_size; k += 4096) /* dirty every page once: no write faults later */
		((volatile char *)p)[k] = 1;
	start = now();
	do {
		if (strcmp(what, "in") == 0) {
			memcpy(p + at, buf, CHUNK);
			bytes += CHUNK;
		} else if (strcmp(what, "out") == 0) {
			memcpy(buf, p + at, CHUNK);
			bytes += CHUNK;
		} else {
			bool store = what[0] == 's';

			for (unsigned k = 0; k < WORDS; k++) {
				volatile uint64_t *w = (volatile uint64_t *)(p +
				    random_next(&rng) % ((uint64_t)st.st_size / 8) * 8);

				if (store)
					*w = k;
				else
					sum += *w;
			}
			bytes += WORDS * 8;
		}
		at = (at + CHUNK) % ((uint64_t)st.st_size / CHUNK * CHUNK);
		end = now();
	} while (end - start < seconds);
	__asm__ volatile("" : : "r"(sum), "r"(buf) : "memory");
	return (double)bytes / (end - start) / 1e6;
}

int
main(int argc, char **argv)
{
	double rate;
	int c;

	while ((c = getopt(argc, argv, "dj:t:")) != -1) {
		if (c == 'd')
			direct = true;
		else if (c == 'j')
			jobs = (unsigned)number(optarg);
		else if (c == 't')
			seconds = atof(optarg);
		else
			return 2;
	}
	argc -= optind;
	argv += optind;
	if (jobs < 1 || jobs > JOBS_MAX)
		errx(2, "1 to %d jobs", JOBS_MAX);
	if (argc == 5 && strcmp(argv[0], "io") == 0)
		rate = run_io(argv[1], argv[2], argv[3], argv[4]);
	else if (argc == 2 && strcmp(argv[0], "noop") == 0)
		rate = run_noop(argv[1]);
	else if (argc == 2 && strcmp(argv[0], "fsync") == 0)
		rate = run_fsync(argv[1]);
	else if ((argc == 4 || argc == 5) && strcmp(argv[0], "meta") == 0)
		rate = run_meta(argv[1], argv[2], (unsigned)number(argv[3]), argc == 5 ? argv[4] : "f");
	else if (argc == 4 && strcmp(argv[0], "mem") == 0)
		rate = run_mem(argv[1], argv[2], argv[3]);
	else if (argc == 3 && strcmp(argv[0], "fill") == 0)
		rate = run_fill(argv[1], (unsigned)number(argv[2]));
	else if (argc == 4 && strcmp(argv[0], "populate") == 0)
		rate = run_populate(argv[1], (unsigned)number(argv[2]), number(argv[3]));
	else
		errx(2, "bad arguments; see the head of load.c");
	printf("%.1f\n", rate);
	return 0;
}
