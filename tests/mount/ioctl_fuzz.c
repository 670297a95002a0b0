/* SPDX-License-Identifier: BSD-3-Clause */
/* ioctl_fuzz DIR SECONDS SEED [REQUEST...]: hostile input at every request of <pinfs/ioctl.h>, or at those named
 * (PIN, LEASE, ...; "calls" for system calls), on files in DIR.
 *
 * First, in order, what each request must refuse: another size, an unknown flag, each reserved byte that is not zero, a
 * bad pointer, a descriptor that is none. Then random ones for that many seconds, from several threads of
 * several processes at once: structures that are right but for one field, structures of boundary values, junk, sizes
 * off by some; on regular files, directories, O_PATH, pipes, descriptors that are closed meanwhile; among truncate, punch,
 * write, fsync and fork. Whatever comes back must be an errno that a request may give. What has to be true of the
 * mount afterwards, the shell test looks at.
 *
 * A request may be parked until a lease is gone, and some leases never go: a timer interrupts each thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <pinfs/ioctl.h>

enum { PROCESSES = 3, THREADS = 3, FILES = 3, BUF = 1 << 14 };

static const char *dir;
static char **only;    /* names of requests; NULL: all */
static _Atomic unsigned failures;

static void
fail(const char *request, const char *what, int err)
{
	printf("FAIL: %s: %s%s%s\n", request, what, err ? ": " : "", err ? strerrorname_np(err) : "");
	fflush(stdout);
	failures++;
}

/* xorshift64* */
static uint64_t
random64(uint64_t *s)
{
	*s ^= *s >> 12;
	*s ^= *s << 25;
	*s ^= *s >> 27;
	return *s * 0x2545f4914f6cdd1d;
}

static unsigned
below(uint64_t *s, unsigned n)
{
	return (unsigned)(random64(s) >> 33) % n;
}

/* ---- the requests ------------------------------------------------------------------------------------------ */

static const struct request {
	const char *name;
	unsigned cmd;          /* PIN: with one range */
	size_t size;
	unsigned flags;        /* known ones */
	size_t reserved, reserved_len;   /* where, bytes */
	size_t reserved32;     /* another one, 4 bytes; 0: none */
} requests[] = {
#define REQUEST(name, cmd, type, flags, r32) \
	{ name, cmd, sizeof(struct type), flags, offsetof(struct type, reserved), sizeof(((struct type *)0)->reserved), r32 }
	REQUEST("INFO", PINFS_IOC_INFO, pinfs_info, 0, 0),
	{ "PIN", PINFS_IOC_PIN(1), PINFS_PIN_SIZE(1), PINFS_PIN_ALLOC, offsetof(struct pinfs_pin, reserved),
	    sizeof(((struct pinfs_pin *)0)->reserved), offsetof(struct pinfs_pin, reserved32) },
	REQUEST("UNPIN", PINFS_IOC_UNPIN, pinfs_unpin, 0, 0),
	REQUEST("TRACK", PINFS_IOC_TRACK, pinfs_track, 0, 0),
	REQUEST("EXTENTS", PINFS_IOC_EXTENTS, pinfs_extents, 0, offsetof(struct pinfs_extents, reserved32)),
	REQUEST("PIN_EXTENTS", PINFS_IOC_PIN_EXTENTS, pinfs_pin_extents, 0, offsetof(struct pinfs_pin_extents, reserved32)),
	REQUEST("SYNC", PINFS_IOC_SYNC, pinfs_sync_range, PINFS_SYNC_FS, 0),
	REQUEST("STATUS", PINFS_IOC_STATUS, pinfs_status, 0, 0),
	REQUEST("LIST", PINFS_IOC_LIST, pinfs_list, PINFS_LIST_MOUNT, offsetof(struct pinfs_list, reserved32)),
	REQUEST("LEASE", PINFS_IOC_LEASE, pinfs_lease, PINFS_LEASE_MODIFY, offsetof(struct pinfs_lease, reserved32)),
	REQUEST("LEASE_RELEASE", PINFS_IOC_LEASE_RELEASE, pinfs_lease_release, 0, 0),
	REQUEST("EVENTS", PINFS_IOC_EVENTS, pinfs_events, 0, 0),
	REQUEST("COLLAPSE", PINFS_IOC_COLLAPSE, pinfs_range, 0, 0),
	REQUEST("INSERT", PINFS_IOC_INSERT, pinfs_range, 0, 0),
	REQUEST("OFFER", PINFS_IOC_OFFER, pinfs_offer, 0, 0),
	REQUEST("CLONE", PINFS_IOC_CLONE, pinfs_clone, 0, 0),
	REQUEST("EXCHANGE", PINFS_IOC_EXCHANGE, pinfs_exchange, 0, 0),
};
#define NREQUESTS (sizeof(requests) / sizeof(requests[0]))

/* Every errno that a request may give for whatever reason. EIO, ENOTCONN, EPROTO, ENOSYS are none. */
static bool
may_be(int err)
{
	static const int fine[] = { EINVAL, EBADF, ENOTTY, ENOENT, ESTALE, EAGAIN, EBUSY, EDQUOT, ENOSPC, EPERM, ENOLCK,
		ETXTBSY, EISDIR, EFBIG, EXDEV, EINTR, EOPNOTSUPP, EACCES, EFAULT, ENOMEM, EOVERFLOW };

	for (size_t k = 0; k < sizeof(fine) / sizeof(fine[0]); k++)
		if (err == fine[k])
			return true;
	return false;
}

static bool
wanted(const char *name)
{
	if (!only)
		return true;
	for (char **n = only; *n; n++)
		if (strcmp(*n, name) == 0)
			return true;
	return false;
}

static unsigned
with_size(unsigned cmd, size_t size)
{
	return (cmd & ~((unsigned)_IOC_SIZEMASK << _IOC_SIZESHIFT)) | ((unsigned)size & _IOC_SIZEMASK) << _IOC_SIZESHIFT;
}

/* ---- structures that are right ---------------------------------------------------------------------------------- */

/* What the threads of a process have been told: ids and tokens, so that some guesses are right. */
static struct {
	uint64_t id[64];
	uint8_t token[16];
} told; /* written and read by all, without care: a torn one is one more bad guess */

static uint64_t
offset(uint64_t *s)
{
	static const uint64_t odd[] = { 0, 1, 511, 4095, 4097, 1 << 20, UINT32_MAX, (uint64_t)1 << 32, INT64_MAX,
		INT64_MAX - 4095, (uint64_t)1 << 63, UINT64_MAX, UINT64_MAX - 4095, INT64_MAX - 8191 };

	return below(s, 12) ? below(s, 64) * 4096ull : odd[below(s, sizeof(odd) / sizeof(odd[0]))];
}

static uint64_t
some_id(uint64_t *s)
{
	return below(s, 8) ? told.id[below(s, 64)] : below(s, 2) ? below(s, 1000) : random64(s);
}

static void
range(uint64_t *s, struct pinfs_pin_range *r)
{
	*r = (struct pinfs_pin_range){ .off = offset(s), .len = below(s, 4) ? (1 + below(s, 16)) * 4096ull : offset(s) };
}

/* buf is all zero. Returns the command. */
static unsigned
right(const struct request *q, void *buf, uint64_t *s)
{
	union {
		struct pinfs_pin pin;
		struct pinfs_unpin unpin;
		struct pinfs_track track;
		struct pinfs_extents extents;
		struct pinfs_pin_extents pin_extents;
		struct pinfs_sync_range sync;
		struct pinfs_list list;
		struct pinfs_lease lease;
		struct pinfs_lease_release release;
		struct pinfs_events events;
		struct pinfs_range range;
		struct pinfs_clone clone;
		struct pinfs_exchange exchange;
	} *u = buf;
	uint32_t size = (uint32_t)q->size;
	unsigned cmd = q->cmd;

	switch (q->cmd) {
	case PINFS_IOC_PIN(1): {
		unsigned n = below(s, 4) ? 1 : 1 + below(s, PINFS_PIN_RANGES_MAX);

		size = (uint32_t)PINFS_PIN_SIZE(n);
		cmd = (unsigned)PINFS_IOC_PIN(n);
		u->pin.nranges = n;
		u->pin.access = below(s, 2) ? PINFS_ACCESS_READ : PINFS_ACCESS_READWRITE;
		u->pin.flags = u->pin.access != PINFS_ACCESS_READ && below(s, 2) ? PINFS_PIN_ALLOC : 0;
		u->pin.pin_class = (uint16_t)(1 + below(s, 3));
		u->pin.writeback = below(s, 3) ? 0 : below(s, 5);
		for (unsigned k = 0; k < n; k++)
			range(s, &u->pin.ranges[k]);
		break;
	}
	case PINFS_IOC_UNPIN:
		u->unpin.id = some_id(s);
		break;
	case PINFS_IOC_TRACK:
		u->track.id = some_id(s);
		u->track.off = offset(s);
		u->track.len = below(s, 4) ? offset(s) : 0;
		u->track.addr = below(s, 2) ? (uintptr_t)buf & ~(uintptr_t)4095 : offset(s);
		break;
	case PINFS_IOC_EXTENTS:
		u->extents.off = offset(s);
		u->extents.len = offset(s);
		break;
	case PINFS_IOC_PIN_EXTENTS:
		u->pin_extents.id = some_id(s);
		u->pin_extents.cursor = below(s, 2) ? 0 : random64(s) >> below(s, 64);
		break;
	case PINFS_IOC_SYNC:
		if (below(s, 8) == 0) {
			u->sync.flags = PINFS_SYNC_FS;
			break;
		}
		u->sync.off = offset(s);
		u->sync.len = offset(s);
		break;
	case PINFS_IOC_LIST:
		u->list.flags = below(s, 2) ? PINFS_LIST_MOUNT : 0;
		if (below(s, 2)) {
			u->list.cursor[0] = random64(s) >> below(s, 64);
			u->list.cursor[1] = random64(s) >> below(s, 64);
		}
		break;
	case PINFS_IOC_LEASE:
		u->lease.type = 1 + (below(s, 8) == 0);
		u->lease.on_deadline = below(s, 8) ? below(s, 2) : PINFS_DEADLINE_WAIT;
		u->lease.signal = below(s, 4) ? 0 : SIGUSR1;
		u->lease.cookie = random64(s);
		if (below(s, 4) == 0) {
			u->lease.flags = PINFS_LEASE_MODIFY;
			u->lease.id = some_id(s);
			break;
		}
		u->lease.off = offset(s);
		u->lease.len = below(s, 3) ? offset(s) : 0;
		break;
	case PINFS_IOC_LEASE_RELEASE:
		u->release.id = some_id(s);
		break;
	case PINFS_IOC_EVENTS:
		u->events.count = below(s, 3) ? 0 : below(s, PINFS_EVENTS_MAX + 1);
		break;
	case PINFS_IOC_COLLAPSE:
	case PINFS_IOC_INSERT:
		u->range.off = offset(s);
		u->range.len = (1 + below(s, 4)) * 4096ull;
		break;
	case PINFS_IOC_CLONE:
		memcpy(u->clone.token, told.token, sizeof(u->clone.token));
		u->clone.src_off = offset(s);
		u->clone.dst_off = offset(s);
		u->clone.len = below(s, 2) ? offset(s) : 0;
		break;
	case PINFS_IOC_EXCHANGE:
		memcpy(u->exchange.token, told.token, sizeof(u->exchange.token));
		u->exchange.off = offset(s);
		u->exchange.other_off = offset(s);
		u->exchange.len = below(s, 2) ? offset(s) : 4096;
		break;
	}
	memcpy(buf, &size, sizeof(size));
	return cmd;
}

/* ---- in order: what must be refused -------------------------------------------------------------------------------- */

static void
must_be(const struct request *q, const char *what, int r, int want, int or_else)
{
	char text[128];
	int err = errno;

	if (r < 0 && (err == want || err == or_else))
		return;
	snprintf(text, sizeof(text), "%s: should be %s", what, strerrorname_np(want));
	fail(q->name, text, r < 0 ? err : 0);
}

static void
check_refusals(const struct request *q, int fd, int path_fd)
{
	static _Alignas(8) char buf[BUF];
	uint64_t s = 1;
	unsigned cmd;

#define FRESH() (memset(buf, 0, sizeof(buf)), cmd = right(q, buf, &s))
	do
		FRESH();
	while (cmd != q->cmd); /* PIN: with one range */
	if (ioctl(fd, cmd, buf) < 0 && errno == ENOTTY) {
		printf("   not checked: the daemon has no %s\n", q->name);
		return;
	}
	for (int d = -1; d <= 1; d += 2) {
		uint32_t size = (uint32_t)((int)q->size + d);

		FRESH();
		memcpy(buf, &size, sizeof(size));
		must_be(q, "a size field that is off by one", ioctl(fd, cmd, buf), EINVAL, 0);
		FRESH();
		size = (uint32_t)((int)_IOC_SIZE(cmd) + 8 * d);
		must_be(q, "a request of another size", ioctl(fd, with_size(cmd, size), buf), EINVAL, ENOTTY);
		memcpy(buf, &size, sizeof(size));
		must_be(q, "a structure of another size", ioctl(fd, with_size(cmd, size), buf), EINVAL, ENOTTY);
	}
	for (unsigned bit = 0; bit < 32; bit++) {
		uint32_t flags;

		if (q->flags & 1u << bit)
			continue;
		FRESH();
		memcpy(&flags, buf + 4, sizeof(flags));
		flags |= 1u << bit;
		memcpy(buf + 4, &flags, sizeof(flags));
		must_be(q, "an unknown flag", ioctl(fd, cmd, buf), EINVAL, 0);
	}
	for (size_t k = 0; k < q->reserved_len + (q->reserved32 ? 4 : 0); k++) {
		FRESH();
		buf[k < q->reserved_len ? q->reserved + k : q->reserved32 + k - q->reserved_len] = 1;
		must_be(q, "a reserved byte that is not zero", ioctl(fd, cmd, buf), EINVAL, 0);
	}
	FRESH();
	must_be(q, "no structure", ioctl(fd, cmd, NULL), EFAULT, 0);
	must_be(q, "an O_PATH descriptor", ioctl(path_fd, cmd, buf), EBADF, 0);
	must_be(q, "no descriptor", ioctl(-1, cmd, buf), EBADF, 0);
#undef FRESH
}

/* ---- at random ------------------------------------------------------------------------------------------------ */

struct worker {
	uint64_t seed;
	int64_t until_ms;
	int fd[8];
	uint64_t done, ok;
};

static int64_t
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int
open_some(uint64_t *s, unsigned k)
{
	static const int modes[] = { O_RDWR, O_RDWR, O_RDONLY, O_WRONLY, O_RDWR | O_NONBLOCK, O_PATH, O_RDONLY | O_DIRECTORY };
	int mode = modes[k % (sizeof(modes) / sizeof(modes[0]))];
	char path[PATH_MAX];

	if (mode & O_DIRECTORY)
		return open(dir, mode | O_CLOEXEC);
	snprintf(path, sizeof(path), "%s/f%u", dir, below(s, FILES));
	return open(path, mode | O_CREAT | O_CLOEXEC, 0644);
}

static void
reopen(struct worker *w)
{
	for (unsigned k = 0; k < sizeof(w->fd) / sizeof(w->fd[0]); k++) {
		if (w->fd[k] >= 0)
			close(w->fd[k]);
		/* The last one stays what it was: a number that is closed, or somebody else's by now. */
		if (k + 1 < sizeof(w->fd) / sizeof(w->fd[0]))
			w->fd[k] = open_some(&w->seed, k);
	}
}

static unsigned
spoil(unsigned cmd, char *buf, uint64_t *s)
{
	size_t size = _IOC_SIZE(cmd), head = size < 128 ? size : 128;
	uint64_t v = below(s, 2) ? offset(s) : random64(s) >> below(s, 64);

	switch (below(s, 10)) {
	case 0: /* a field of eight bytes */
		memcpy(buf + below(s, (unsigned)(head / 8)) * 8, &v, 8);
		break;
	case 1: /* of four */
		memcpy(buf + below(s, (unsigned)(head / 4)) * 4, &v, 4);
		break;
	case 2: /* a bit */
		buf[below(s, (unsigned)head)] ^= (char)(1 << below(s, 8));
		break;
	case 3: /* all junk */
		for (size_t k = 0; k < size / 8; k++) {
			v = random64(s);
			memcpy(buf + k * 8, &v, 8);
		}
		break;
	case 4: /* junk behind a right head */
		for (size_t k = 1; k < size / 8; k++) {
			v = below(s, 4) ? 0 : random64(s) >> below(s, 64);
			memcpy(buf + k * 8, &v, 8);
		}
		break;
	case 5: /* another size */
		cmd = with_size(cmd, size + below(s, 65) - 32);
		break;
	case 6: /* another request's number, any direction */
		cmd = _IOC(below(s, 4), PINFS_IOC_MAGIC, below(s, 40), below(s, BUF - 1));
		break;
	default: /* right */
		break;
	}
	if (_IOC_NR(cmd) == _IOC_NR(PINFS_IOC_LEASE)) {
		/* The daemon sends what it is asked to. Most we ignore; these two nobody can. */
		uint32_t sig;

		memcpy(&sig, buf + offsetof(struct pinfs_lease, signal), sizeof(sig));
		if (sig == SIGKILL || sig == SIGSTOP)
			memset(buf + offsetof(struct pinfs_lease, signal), 0, sizeof(sig));
	}
	return cmd;
}

static void
remember(unsigned cmd, const void *buf, uint64_t *s)
{
	if (_IOC_NR(cmd) == _IOC_NR(PINFS_IOC_PIN(1)))
		told.id[below(s, 64)] = ((const struct pinfs_pin *)buf)->id;
	else if (cmd == PINFS_IOC_LEASE)
		told.id[below(s, 64)] = ((const struct pinfs_lease *)buf)->id;
	else if (cmd == PINFS_IOC_OFFER)
		memcpy(told.token, ((const struct pinfs_offer *)buf)->token, sizeof(told.token));
}

static void
one_request(struct worker *w, char *buf)
{
	const struct request *q = &requests[below(&w->seed, NREQUESTS)];
	int fd = w->fd[below(&w->seed, sizeof(w->fd) / sizeof(w->fd[0]))];
	unsigned cmd;
	void *arg;

	if (!wanted(q->name))
		return;
	memset(buf, 0, BUF);
	cmd = spoil(right(q, buf, &w->seed), buf, &w->seed);
	arg = below(&w->seed, 200) ? buf : below(&w->seed, 2) ? NULL : buf + BUF - 8;
	w->done++;
	if (ioctl(fd, cmd, arg) == 0) {
		w->ok++;
		if (arg == buf)
			remember(cmd, buf, &w->seed);
	} else if (!may_be(errno)) {
		fail(q->name, "an errno that it must not give", errno);
	}
}

/* What others do to the same files meanwhile. */
static void
one_operation(struct worker *w)
{
	int fd = w->fd[below(&w->seed, 5)];
	off_t off = (off_t)below(&w->seed, 64) * 4096;
	char data[600] = "data";
	int r = 0;
	pid_t pid;

	switch (below(&w->seed, 8)) {
	case 0:
		r = ftruncate(fd, off);
		break;
	case 1:
		r = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, 4096 * 3);
		break;
	case 2:
		r = fsync(fd);
		break;
	case 3:
		reopen(w);
		break;
	case 4:
		if (below(&w->seed, 50) == 0 && (pid = fork()) >= 0) {
			if (pid == 0)
				_exit(0);
			while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
				continue;
		}
		break;
	default:
		r = (int)pwrite(fd, data, sizeof(data), off + 100);
		break;
	}
	if (r < 0 && !may_be(errno))
		fail("a system call", "an errno that it must not give", errno);
}

static void *
work(void *arg)
{
	struct sigevent ev = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGALRM };
	struct itimerspec every = { { 0, 150000000 }, { 0, 150000000 } };
	struct worker *w = arg;
	/* Behind the last byte there is nothing. */
	char *room = mmap(NULL, BUF + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	timer_t timer;

	ev._sigev_un._tid = (pid_t)syscall(SYS_gettid);
	if (room == MAP_FAILED || mprotect(room + BUF, 4096, PROT_NONE) < 0 || timer_create(CLOCK_MONOTONIC, &ev, &timer) < 0) {
		fail("a thread", "can't begin", errno);
		return NULL;
	}
	timer_settime(timer, 0, &every, NULL);
	memset(w->fd, -1, sizeof(w->fd));
	reopen(w);
	while (now_ms() < w->until_ms && failures < 20) {
		one_request(w, room);
		if (below(&w->seed, 6) == 0 && wanted("calls"))
			one_operation(w);
		else if (below(&w->seed, 500) == 0)
			reopen(w);
	}
	timer_delete(timer);
	return NULL;
}

static void
on_signal(int sig)
{
	(void)sig;
}

static int
process(uint64_t seed, int64_t until_ms)
{
	static struct worker w[THREADS];
	struct sigaction sa = { .sa_handler = on_signal };
	uint64_t done = 0, ok = 0;
	pthread_t t[THREADS];

	for (int sig = 1; sig <= SIGRTMAX; sig++)
		if (sig != SIGINT && sig != SIGTERM && sig != SIGSEGV && sig != SIGBUS && sig != SIGABRT && sig != SIGCHLD)
			sigaction(sig, &sa, NULL);
	for (int k = 0; k < THREADS; k++) {
		w[k] = (struct worker){ .seed = seed * 31 + (uint64_t)k * 7919 + 1, .until_ms = until_ms };
		if (pthread_create(&t[k], NULL, work, &w[k]) != 0)
			return 1;
	}
	for (int k = 0; k < THREADS; k++) {
		pthread_join(t[k], NULL);
		done += w[k].done;
		ok += w[k].ok;
	}
	printf("   %llu requests, %llu of them granted\n", (unsigned long long)done, (unsigned long long)ok);
	fflush(stdout);
	if (ok == 0)
		fail("all", "not one request was granted", 0);
	return failures != 0;
}

int
main(int argc, char **argv)
{
	int seconds = argc > 2 ? atoi(argv[2]) : 0, bad, status;
	uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 0) : 0;
	char path[PATH_MAX];
	int64_t until;
	int fd, path_fd;

	if (argc < 4) {
		fprintf(stderr, "usage: ioctl_fuzz DIR SECONDS SEED [REQUEST...]\n");
		return 2;
	}
	dir = argv[1];
	only = argc > 4 ? argv + 4 : NULL;
	snprintf(path, sizeof(path), "%s/f0", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	path_fd = open(path, O_PATH | O_CLOEXEC);
	if (fd < 0 || path_fd < 0 || ftruncate(fd, 64 * 4096) < 0) {
		perror(path);
		return 1;
	}
	for (size_t k = 0; k < NREQUESTS; k++)
		if (wanted(requests[k].name))
			check_refusals(&requests[k], fd, path_fd);
	close(fd);
	close(path_fd);
	bad = failures != 0;
	fflush(stdout);
	until = now_ms() + seconds * 1000;
	for (int k = 0; k < PROCESSES; k++) {
		pid_t pid = fork();

		if (pid < 0) {
			perror("fork");
			return 1;
		}
		if (pid == 0)
			_exit(process(seed + (uint64_t)k * 1000003, until));
	}
	while (wait(&status) > 0)
		if (status != 0) {
			if (WIFSIGNALED(status))
				printf("FAIL: a process was ended by signal %d\n", WTERMSIG(status));
			bad = 1;
		}
	return bad;
}
