/* SPDX-License-Identifier: BSD-3-Clause */
/* A holder of leases and pins, or somebody in whose way they are, that a shell test steers: one command a line on
 * standard input, one line of reply each: "ok", "ok VALUE..." or "err ENAME". It stays until end of input or a signal. It needs
 * no library: everything is done by ioctl(2).
 *
 *   open PATH [FLAGS] | close               the file (one at a time); FLAGS of r(ead only), n(onblock), t(runcate)
 *   lease TYPE OFF LEN [DEADLINE [SIGNAL COOKIE]]  s(hared) or e(xclusive); r(evoke), f(ail) or w(ait): "ok ID"
 *   modify ID TYPE | release ID
 *   events                                  "ok EVENT:LEASE:OP..."
 *   poll HOW MS                             poll, epoll, select or uring until POLLPRI: "ok pri" or "ok none"
 *   signal MS                               wait for it: "ok SIGNAL COOKIE" or "ok none"
 *   pin ACCESS CLASS OFF LEN | unpin ID     r or w; t(ransient) or l(ong-term): "ok ID"
 *   store TEXT | load LEN                   through the newest pin, which is to be in one piece
 *   truncate SIZE | punch OFF LEN | zero OFF LEN | collapse OFF LEN | insert OFF LEN    on the descriptor
 *   path_truncate PATH SIZE | read OFF LEN | write OFF TEXT | sync (PINFS_IOC_SYNC) | noop
 *   many N DIR                              opens DIR/0.. and leases them; many_release gives the leases back
 *   truncate_many N DIR                     as many threads truncate these: "ok N" how many could
 *   leases N                                that many on the file
 *   fork                                    a child that has all files open: "ok PID"
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <linux/falloc.h>
#include <linux/io_uring.h>
#include <time.h>
#include <unistd.h>

#include <pinfs/ioctl.h>

#define MANY 1024

static int fd = -1;
static uint8_t *mapped;
static size_t mapped_len;
static int many_fd[MANY];
static uint64_t many_lease[MANY];

static void
reply(long r)
{
	if (r < 0)
		printf("err %s\n", strerrorname_np((int)-r));
	else
		printf("ok\n");
}

static long
errno_of(long r)
{
	return r < 0 ? -errno : r;
}

static void
reply_id(long r, uint64_t id)
{
	if (r < 0)
		reply(r);
	else
		printf("ok %llu\n", (unsigned long long)id);
}

/* ---- leases ------------------------------------------------------------------------ */

static long
take(int on, unsigned type, uint64_t off, uint64_t len, const char *deadline, unsigned sig, uint64_t cookie, uint64_t *id)
{
	struct pinfs_lease l = { .size = sizeof(l), .type = type, .off = off, .len = len, .signal = sig, .cookie = cookie };
	long r;

	l.on_deadline = *deadline == 'f' ? PINFS_DEADLINE_FAIL : *deadline == 'w' ? PINFS_DEADLINE_WAIT : PINFS_DEADLINE_REVOKE;
	r = errno_of(ioctl(on, PINFS_IOC_LEASE, &l));
	*id = l.id;
	return r;
}

static unsigned
type_of(const char *s)
{
	return *s == 'e' ? PINFS_LEASE_EXCLUSIVE : PINFS_LEASE_SHARED;
}

static void
do_lease(char **a)
{
	unsigned sig = (unsigned)strtoul(a[5], NULL, 0);
	uint64_t id;
	sigset_t set;
	long r;

	if (sig) {
		sigemptyset(&set);
		sigaddset(&set, (int)sig);
		sigprocmask(SIG_BLOCK, &set, NULL);
	}
	r = take(fd, type_of(a[1]), strtoull(a[2], NULL, 0), strtoull(a[3], NULL, 0), a[4], sig, strtoull(a[6], NULL, 0), &id);
	reply_id(r, id);
}

static void
do_modify(char **a)
{
	struct pinfs_lease l = { .size = sizeof(l), .flags = PINFS_LEASE_MODIFY, .id = strtoull(a[1], NULL, 0),
		.type = type_of(a[2]) };

	reply(errno_of(ioctl(fd, PINFS_IOC_LEASE, &l)));
}

static long
release(int on, uint64_t id)
{
	struct pinfs_lease_release r = { .size = sizeof(r), .id = id };

	return errno_of(ioctl(on, PINFS_IOC_LEASE_RELEASE, &r));
}

static void
do_release(char **a)
{
	reply(release(fd, strtoull(a[1], NULL, 0)));
}

static void
do_events(char **a)
{
	static const char *const types[] = { "?", "break", "revoked", "restored", "filled" };
	static const char *const ops[] = { "?", "truncate", "punch", "zero", "collapse", "insert", "exchange", "clone", "dax", "fill" };
	static struct pinfs_events e;
	long r;

	(void)a;
	e = (struct pinfs_events){ .size = sizeof(e) };
	r = errno_of(ioctl(fd, PINFS_IOC_EVENTS, &e));
	if (r < 0) {
		reply(r);
		return;
	}
	printf("ok");
	for (unsigned k = 0; k < e.count; k++)
		printf(" %s:%llu:%s", types[e.events[k].type < 5 ? e.events[k].type : 0], (unsigned long long)e.events[k].lease,
		    ops[e.events[k].op < 10 ? e.events[k].op : 0]);
	printf(e.more || e.lost ? " more=%u lost=%llu\n" : "\n", e.more, (unsigned long long)e.lost);
}

/* ---- waiting for them ----------------------------------------------------------------- */

static bool
wait_poll(int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLPRI };

	return poll(&p, 1, ms) == 1 && (p.revents & POLLPRI);
}

static bool
wait_epoll(int ms)
{
	struct epoll_event e = { .events = EPOLLPRI };
	int ep = epoll_create1(EPOLL_CLOEXEC), n;

	if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e) < 0)
		return false;
	n = epoll_wait(ep, &e, 1, ms);
	close(ep);
	return n == 1 && (e.events & EPOLLPRI);
}

static bool
wait_select(int ms)
{
	struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };
	fd_set set;

	FD_ZERO(&set);
	FD_SET(fd, &set);
	return select(fd + 1, NULL, NULL, &set, &tv) == 1;
}

/* One IORING_OP_POLL_ADD, without liburing: the rings are small. -1: there is no io_uring here. */
static int
wait_uring(int ms)
{
	struct io_uring_params p = { 0 };
	int ring = (int)syscall(SYS_io_uring_setup, 2, &p), n = -1;
	uint8_t *sq, *cq;
	struct io_uring_sqe *sqe;
	struct pollfd pfd;

	if (ring < 0)
		return -1;
	sq = mmap(NULL, p.sq_off.array + p.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	cq = mmap(NULL, p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe), PROT_READ | PROT_WRITE, MAP_SHARED, ring,
	    IORING_OFF_CQ_RING);
	sqe = mmap(NULL, p.sq_entries * sizeof(*sqe), PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
	if (sq == MAP_FAILED || cq == MAP_FAILED || sqe == MAP_FAILED)
		exit(3);
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = IORING_OP_POLL_ADD;
	sqe->fd = fd;
	sqe->poll32_events = POLLPRI;
	((uint32_t *)(sq + p.sq_off.array))[0] = 0;
	__atomic_store_n((uint32_t *)(sq + p.sq_off.tail), 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring, 1, 0, 0, NULL, 0) == 1) {
		pfd = (struct pollfd){ .fd = ring, .events = POLLIN };
		n = 0;
		if (poll(&pfd, 1, ms) == 1)
			n = ((struct io_uring_cqe *)(cq + p.cq_off.cqes))[0].res & POLLPRI ? 1 : 0;
	}
	close(ring);
	return n;
}

static void
do_poll(char **a)
{
	int ms = atoi(a[2]), r;

	if (strcmp(a[1], "epoll") == 0)
		r = wait_epoll(ms);
	else if (strcmp(a[1], "select") == 0)
		r = wait_select(ms);
	else if (strcmp(a[1], "uring") == 0)
		r = wait_uring(ms);
	else
		r = wait_poll(ms);
	printf(r < 0 ? "ok unavailable\n" : r ? "ok pri\n" : "ok none\n");
}

static void
do_signal(char **a)
{
	int ms = atoi(a[1]);
	struct timespec limit = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000l };
	sigset_t blocked;
	siginfo_t info;

	sigprocmask(SIG_BLOCK, NULL, &blocked);
	if (sigtimedwait(&blocked, &info, &limit) < 0)
		printf("ok none\n");
	else
		printf("ok %d %lu%s\n", info.si_signo, (unsigned long)(uintptr_t)info.si_value.sival_ptr,
		    info.si_code == SI_QUEUE ? "" : " not queued");
}

/* ---- pins -------------------------------------------------------------------------------- */

static void
do_pin(char **a)
{
	union {
		struct pinfs_pin pin;
		char room[PINFS_PIN_SIZE(1)];
	} u = { .pin = { .size = PINFS_PIN_SIZE(1), .nranges = 1 } };
	static struct pinfs_status st;
	struct pinfs_pin_range *range = u.pin.ranges;
	long r;
	int pool;

	u.pin.access = *a[1] == 'w' ? PINFS_ACCESS_READWRITE : PINFS_ACCESS_READ;
	u.pin.pin_class = *a[2] == 't' ? PINFS_PIN_TRANSIENT : PINFS_PIN_LONGTERM;
	range->off = strtoull(a[3], NULL, 0);
	range->len = strtoull(a[4], NULL, 0);
	r = errno_of(ioctl(fd, PINFS_IOC_PIN(1), &u.pin));
	if (r == 0 && range->pool_off != PINFS_POOL_OFF_HOLE) {
		st = (struct pinfs_status){ .size = sizeof(st) };
		ioctl(fd, PINFS_IOC_STATUS, &st);
		pool = open(st.pool_path, O_RDWR | O_CLOEXEC);
		mapped_len = range->ext_len;
		mapped = mmap(NULL, mapped_len, PROT_READ | PROT_WRITE, MAP_SHARED, pool, (off_t)range->pool_off);
		close(pool);
		if (mapped == MAP_FAILED)
			r = -EIO;
	}
	reply_id(r, u.pin.id);
}

static void
do_unpin(char **a)
{
	struct pinfs_unpin u = { .size = sizeof(u), .id = strtoull(a[1], NULL, 0) };

	reply(errno_of(ioctl(fd, PINFS_IOC_UNPIN, &u)));
}

static void
do_store(char **a)
{
	if (!mapped || strlen(a[1]) > mapped_len) {
		reply(-ERANGE);
		return;
	}
	memcpy(mapped, a[1], strlen(a[1]));
	reply(0);
}

static void
print_bytes(const uint8_t *p, size_t len)
{
	printf("ok ");
	for (size_t k = 0; k < len; k++)
		putchar(p[k] == 0 ? '.' : p[k] > ' ' && p[k] < 127 ? p[k] : '?');
	putchar('\n');
}

static void
do_load(char **a)
{
	size_t len = strtoul(a[1], NULL, 0);

	if (!mapped || len > mapped_len)
		reply(-ERANGE);
	else
		print_bytes(mapped, len);
}

/* ---- files -------------------------------------------------------------------------------- */

static void
do_open(char **a)
{
	int flags = strchr(a[2], 'r') ? O_RDONLY : O_RDWR | O_CREAT;

	flags |= (strchr(a[2], 'n') ? O_NONBLOCK : 0) | (strchr(a[2], 't') ? O_TRUNC : 0);
	fd = open(a[1], flags | O_CLOEXEC, 0644);
	reply(errno_of(fd));
}

static void
do_close(char **a)
{
	(void)a;
	reply(errno_of(close(fd)));
	fd = -1;
}

static void
do_truncate(char **a)
{
	reply(errno_of(ftruncate(fd, (off_t)strtoull(a[1], NULL, 0))));
}

static void
do_path_truncate(char **a)
{
	reply(errno_of(truncate(a[1], (off_t)strtoull(a[2], NULL, 0))));
}

static void
do_fallocate(char **a)
{
	int mode = *a[0] == 'p' ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE;

	reply(errno_of(fallocate(fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)strtoull(a[1], NULL, 0), (off_t)strtoull(a[2], NULL, 0))));
}

static void
do_shift(char **a)
{
	struct pinfs_range x = { .size = sizeof(x), .off = strtoull(a[1], NULL, 0), .len = strtoull(a[2], NULL, 0) };

	reply(errno_of(ioctl(fd, *a[0] == 'c' ? PINFS_IOC_COLLAPSE : PINFS_IOC_INSERT, &x)));
}

static void
do_read(char **a)
{
	uint8_t buf[4096];
	size_t len = strtoul(a[2], NULL, 0);
	ssize_t n = pread(fd, buf, len < sizeof(buf) ? len : sizeof(buf), (off_t)strtoull(a[1], NULL, 0));

	if (n < 0)
		reply(-errno);
	else
		print_bytes(buf, (size_t)n);
}

static void
do_write(char **a)
{
	reply(errno_of(pwrite(fd, a[2], strlen(a[2]), (off_t)strtoull(a[1], NULL, 0))));
}

static void
do_sync(char **a)
{
	struct pinfs_sync_range s = { .size = sizeof(s) };

	(void)a;
	reply(errno_of(ioctl(fd, PINFS_IOC_SYNC, &s)));
}

static void
do_noop(char **a)
{
	(void)a;
	reply(errno_of(ioctl(fd, PINFS_IOC_NOOP)));
}

/* ---- many ---------------------------------------------------------------------------------- */

static void
do_many(char **a)
{
	unsigned n = (unsigned)atoi(a[1]);
	char path[512];
	long r = 0;

	for (unsigned k = 0; k < n && k < MANY && r == 0; k++) {
		snprintf(path, sizeof(path), "%s/%u", a[2], k);
		many_fd[k] = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
		r = many_fd[k] < 0 ? -errno : errno_of(pwrite(many_fd[k], path, 100, 0));
		if (r > 0)
			r = take(many_fd[k], PINFS_LEASE_SHARED, 0, 0, "r", 0, 0, &many_lease[k]);
	}
	reply(r);
}

static void
do_many_release(char **a)
{
	long r = 0;

	(void)a;
	for (unsigned k = 0; k < MANY && many_fd[k] > 0 && r == 0; k++)
		r = release(many_fd[k], many_lease[k]);
	reply(r);
}

static void *
truncate_one(void *arg)
{
	char *path = arg;
	int r = truncate(path, 0);

	free(path);
	return r == 0 ? (void *)1 : NULL;
}

static void
do_truncate_many(char **a)
{
	unsigned n = (unsigned)atoi(a[1]), good = 0;
	pthread_t thread[MANY];
	pthread_attr_t attr;
	char *path;
	void *result;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 65536);
	for (unsigned k = 0; k < n && k < MANY; k++)
		if (asprintf(&path, "%s/%u", a[2], k) < 0 || pthread_create(&thread[k], &attr, truncate_one, path) != 0)
			exit(3);
	for (unsigned k = 0; k < n && k < MANY; k++) {
		pthread_join(thread[k], &result);
		good += result != NULL;
	}
	printf("ok %u\n", good);
}

static void
do_leases(char **a)
{
	unsigned n = (unsigned)atoi(a[1]);
	uint64_t id;
	long r = 0;

	for (unsigned k = 0; k < n && r == 0; k++)
		r = take(fd, PINFS_LEASE_SHARED, k * 4096ull, 4096, "r", 0, 0, &id);
	reply(r);
}

static void
do_fork(char **a)
{
	pid_t pid;

	(void)a;
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		close(STDOUT_FILENO);
		close(STDIN_FILENO);
		for (;;)
			pause();
	}
	printf("ok %d\n", (int)pid);
}

static const struct {
	const char *name;
	void (*run)(char **a);
} commands[] = {
	{ "open", do_open }, { "close", do_close }, { "lease", do_lease }, { "modify", do_modify }, { "release", do_release },
	{ "events", do_events }, { "poll", do_poll }, { "signal", do_signal }, { "pin", do_pin }, { "unpin", do_unpin },
	{ "store", do_store }, { "load", do_load }, { "truncate", do_truncate }, { "path_truncate", do_path_truncate },
	{ "punch", do_fallocate }, { "zero", do_fallocate }, { "collapse", do_shift }, { "insert", do_shift },
	{ "read", do_read }, { "write", do_write }, { "sync", do_sync }, { "noop", do_noop }, { "many", do_many },
	{ "many_release", do_many_release }, { "truncate_many", do_truncate_many }, { "leases", do_leases }, { "fork", do_fork },
};

int
main(void)
{
	char line[1024], *a[8], *save;

	setvbuf(stdout, NULL, _IOLBF, 0);
	while (fgets(line, sizeof(line), stdin)) {
		bool known = false;

		for (int k = 0; k < 8; k++)
			a[k] = strtok_r(k ? NULL : line, " \n", &save);
		for (int k = 0; k < 8; k++)
			if (!a[k])
				a[k] = (char[]){ "" };
		for (size_t k = 0; k < sizeof(commands) / sizeof(commands[0]); k++)
			if (strcmp(commands[k].name, a[0]) == 0) {
				commands[k].run(a);
				known = true;
			}
		if (!known)
			reply(-ENOSYS);
	}
	return 0;
}
