/* SPDX-License-Identifier: BSD-3-Clause */
/* What scenario programs share. A scenario is a program
 *
 *     sNN DIR POLICY
 *
 * that plays one situation with real processes in DIR, on a mount made with that policy's options (sNN.sh), and says what
 * it saw: its last line of output is SEEN and a few words, its exit status tells whether that is what has to come out.
 * It never hangs: an alarm ends it. Nothing is decided by how long something took, except where the scenario is
 * about a bound, and then only that nothing was shorter than it can be.
 */
#ifndef PINFS_TESTS_SCENARIO_H
#define PINFS_TESTS_SCENARIO_H

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <pinfs/pinfs.h>

#define BLOCK PINFS_BLOCK_SIZE
#define SCENARIO_LIMIT_S 120u

static const char *scenario_dir, *scenario_policy;

/* ---- ends ------------------------------------------------------------------------------------------ */

__attribute__((format(printf, 2, 3), noreturn, unused)) static void
seen(bool as_expected, const char *fmt, ...)
{
	va_list ap;

	printf("SEEN ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
	_exit(as_expected ? 0 : 1);
}

/* Something in the set-up went wrong, or a call that has to work did not. */
#define must(cond, ...) \
	do { \
		if (!(cond)) { \
			printf("%s:%d: %s: %s\n", __FILE__, __LINE__, #cond, strerror(errno)); \
			seen(false, __VA_ARGS__); \
		} \
	} while (0)

__attribute__((unused)) static void
scenario_begin(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: %s DIR POLICY\n", argv[0]);
		_exit(2);
	}
	scenario_dir = argv[1];
	scenario_policy = argv[2];
	setvbuf(stdout, NULL, _IOLBF, 0);
	alarm(SCENARIO_LIMIT_S);
}

static inline bool
policy_is(const char *name)
{
	return strcmp(scenario_policy, name) == 0;
}

static inline int64_t
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static inline void
sleep_ms(unsigned ms)
{
	struct timespec ts = { ms / 1000, (long)(ms % 1000) * 1000000 };

	nanosleep(&ts, NULL);
}

/* ---- files, pins ----------------------------------------------------------------------------------- */

__attribute__((unused)) static int
open_in(const char *name, int flags)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", scenario_dir, name);
	fd = open(path, flags | O_CLOEXEC, 0644);
	must(fd >= 0, "open %s", name);
	return fd;
}

/* A file of nblocks blocks full of c, durable. */
__attribute__((unused)) static int
make_file(const char *name, unsigned nblocks, int c)
{
	int fd = open_in(name, O_RDWR | O_CREAT | O_TRUNC);
	char block[BLOCK];

	memset(block, c, sizeof(block));
	for (unsigned k = 0; k < nblocks; k++)
		must(pwrite(fd, block, BLOCK, (off_t)k * BLOCK) == BLOCK, "write %s", name);
	must(fsync(fd) == 0, "fsync %s", name);
	return fd;
}

/* The dax attribute: 0 or -errno. */
__attribute__((unused)) static int
set_dax(int fd, bool on)
{
	struct fsxattr x;

	must(ioctl(fd, FS_IOC_FSGETXATTR, &x) == 0, "FSGETXATTR");
	x.fsx_xflags = on ? x.fsx_xflags | FS_XFLAG_DAX : x.fsx_xflags & ~(uint32_t)FS_XFLAG_DAX;
	return ioctl(fd, FS_IOC_FSSETXATTR, &x) < 0 ? -errno : 0;
}

__attribute__((unused)) static bool
is_dax(int fd)
{
	struct fsxattr x;

	must(ioctl(fd, FS_IOC_FSGETXATTR, &x) == 0, "FSGETXATTR");
	return (x.fsx_xflags & FS_XFLAG_DAX) != 0;
}

/* A pin of one range, or -errno. */
__attribute__((unused)) static int
try_pin(int fd, uint64_t off, uint64_t len, unsigned access, unsigned class, uint64_t *id)
{
	struct pinfs_pin_options o = { .size = sizeof(o), .access = access, .pin_class = class };
	struct pinfs_pin_range r = { .off = off, .len = len };

	return pinfs_pin(fd, &o, &r, 1, id);
}

__attribute__((unused)) static uint64_t
pin(int fd, uint64_t off, uint64_t len, unsigned access, unsigned class)
{
	uint64_t id = 0;
	int r = try_pin(fd, off, len, access, class, &id);

	errno = -r;
	must(r == 0, "pin: %s", pinfs_strerror(r));
	return id;
}

/* Mapped, with a pin of that class (0: the library's choice). */
__attribute__((unused)) static struct pinfs_map *
map_range(int fd, uint64_t off, uint64_t len, unsigned flags, unsigned class)
{
	struct pinfs_pin_range range = { .off = off, .len = len };
	struct pinfs_map_options o = { .size = sizeof(o), .flags = flags, .pin_class = class, .nranges = 1, .ranges = &range };
	struct pinfs_map *m = NULL;
	int r = pinfs_map_with(fd, &o, &m);

	errno = -r;
	must(r == 0, "map: %s", pinfs_strerror(r));
	return m;
}

/* The pool's memory at pool_off, without a lock of the library and without its help: what a holder has who maps by
 * himself. */
__attribute__((unused)) static uint8_t *
map_pool(int fd, uint64_t pool_off, uint64_t len)
{
	struct pinfs_status *st = calloc(1, sizeof(*st));
	uint8_t *p = MAP_FAILED;
	int pool;

	must(st && pinfs_get_status(fd, st) == 0, "status");
	pool = open(st->pool_path, O_RDWR | O_CLOEXEC);
	must(pool >= 0, "open the pool");
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, pool, (off_t)pool_off);
	must(p != MAP_FAILED, "map the pool");
	close(pool);
	free(st);
	return p;
}

/* A counter of the mount. */
#define status_of(fd, field) \
	__extension__({ \
		struct pinfs_status *st_ = calloc(1, sizeof(*st_)); \
		uint64_t v_; \
		must(st_ && pinfs_get_status(fd, st_) == 0, "status"); \
		v_ = st_->field; \
		free(st_); \
		v_; \
	})

/* Write files of c until there is no space left; how many bytes. */
__attribute__((unused)) static uint64_t
fill_pool(const char *name, int c)
{
	static char buf[1 << 20];
	int fd = open_in(name, O_RDWR | O_CREAT | O_TRUNC);
	uint64_t done = 0;
	ssize_t n;

	memset(buf, c, sizeof(buf));
	while ((n = pwrite(fd, buf, sizeof(buf), (off_t)done)) > 0)
		done += (uint64_t)n;
	must(n < 0 && errno == ENOSPC, "filling the pool");
	fsync(fd);
	close(fd);
	return done;
}

/* How many of its bytes are not c. */
__attribute__((unused)) static uint64_t
count_others(const char *name, int c)
{
	static char buf[1 << 20];
	int fd = open_in(name, O_RDONLY);
	uint64_t others = 0;
	ssize_t n;

	for (off_t off = 0; (n = pread(fd, buf, sizeof(buf), off)) > 0; off += n)
		for (ssize_t k = 0; k < n; k++)
			others += buf[k] != (char)c;
	must(n == 0, "read %s", name);
	close(fd);
	return others;
}

/* ---- processes ------------------------------------------------------------------------------------- */

/* Two processes take turns through a pair of pipes. */
struct turns { int fd[2][2]; };

__attribute__((unused)) static void
turns_init(struct turns *t)
{
	must(pipe(t->fd[0]) == 0 && pipe(t->fd[1]) == 0, "pipe");
}

/* who: 0 the parent, 1 the child. */
__attribute__((unused)) static void
turn_give(struct turns *t, int who, char what)
{
	must(write(t->fd[who][1], &what, 1) == 1, "tell the other process");
}

__attribute__((unused)) static char
turn_take(struct turns *t, int who)
{
	char c = 0;

	must(read(t->fd[!who][0], &c, 1) == 1, "the other process is gone");
	return c;
}

/* Is there something to take within ms? */
__attribute__((unused)) static bool
turn_ready(struct turns *t, int who, int ms)
{
	fd_set set;
	struct timeval tv = { ms / 1000, (ms % 1000) * 1000 };

	FD_ZERO(&set);
	FD_SET(t->fd[!who][0], &set);
	return select(t->fd[!who][0] + 1, &set, NULL, NULL, &tv) > 0;
}

__attribute__((unused)) static pid_t
child(void (*fn)(void *arg), void *arg)
{
	pid_t pid = fork();

	must(pid >= 0, "fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(SCENARIO_LIMIT_S);
		fn(arg);
		fflush(stdout);
		_exit(0);
	}
	return pid;
}

/* Its exit status, or 128 and the signal. */
__attribute__((unused)) static int
reap(pid_t pid)
{
	int status;

	must(waitpid(pid, &status, 0) == pid, "waitpid");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* truncate(2) of a file by its name, in a process of its own: gives 'b' when it begins, then 'o', or its errno. */
struct truncater {
	struct turns t;
	const char *name;
	off_t size;
	pid_t pid;
};

__attribute__((unused)) static void
truncater_main(void *arg)
{
	struct truncater *tr = arg;
	char path[4096];
	int r;

	snprintf(path, sizeof(path), "%s/%s", scenario_dir, tr->name);
	turn_give(&tr->t, 1, 'b');
	r = truncate(path, tr->size);
	turn_give(&tr->t, 1, r == 0 ? 'o' : (char)errno);
}

__attribute__((unused)) static void
truncater_start(struct truncater *tr, const char *name, off_t size)
{
	tr->name = name;
	tr->size = size;
	turns_init(&tr->t);
	tr->pid = child(truncater_main, tr);
	turn_take(&tr->t, 0);
}

__attribute__((unused)) static bool
truncater_done(struct truncater *tr, int within_ms)
{
	return turn_ready(&tr->t, 0, within_ms);
}

/* 0 or errno. */
__attribute__((unused)) static int
truncater_end(struct truncater *tr)
{
	char c = turn_take(&tr->t, 0);

	must(reap(tr->pid) == 0, "the process that truncates failed");
	return c == 'o' ? 0 : c;
}

/* A lease of [off, off+len). */
__attribute__((unused)) static uint64_t
lease(int fd, uint64_t off, uint64_t len, unsigned type, unsigned sig, uint64_t cookie)
{
	struct pinfs_lease_options o = { .size = sizeof(o), .type = type, .off = off, .len = len, .signal = sig, .cookie = cookie };
	uint64_t id = 0;
	int r = pinfs_lease(fd, &o, &id);

	errno = -r;
	must(r == 0, "lease: %s", pinfs_strerror(r));
	return id;
}

#endif
