/* SPDX-License-Identifier: BSD-3-Clause */
/* load run DIR STATE SECONDS SEED: processes that use a mount in every way at once, for so long.
 * load check DIR STATE clean|crash: is what they left there still right, after a remount or a crash of the daemon?
 *
 * Workers have records of their own in two files: one is changed by all ways of ways.h, a direct mapping among them,
 * one by the page cache's mmap and write(2). STATE, a file elsewhere that survives the daemon, tells of each record what
 * was written last and what an fsync has made durable: a clean remount has to show the one, a crash nothing older than the
 * other. Names of their own they compare after a clean remount. Holders have nothing of their own and are killed by
 * SIGKILL in between. All of them write, cut, move, clone, exchange, pin and lease in a few common files, where all that
 * is known is that records are whole.
 *
 * Exit status of run: 0; 1 something was wrong; 3 the daemon has gone away.
 */
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/stress/ways.h"

enum { WORKERS = 4, HOLDERS = 2, SLOTS = 128, NAMES = 24, COMMON_FILES = 3, COMMON = 512, PINS = 3, GONE = 3,
	BLOCK = 4096, PER_BLOCK = BLOCK / RECORD_SIZE };

struct slots {
	uint64_t newest[SLOTS], durable[SLOTS];
	bool mapped[SLOTS];  /* since the last fsync it was stored to through a mapping: a crash may find it torn */
};

struct state {
	_Atomic int stop;
	_Atomic uint64_t done;
	struct worker {
		uint64_t sequence;
		struct slots slots[2];
		bool name[NAMES], is_dir[NAMES];
	} worker[WORKERS];
};
static struct state *state;

static uint64_t seed;
static unsigned me;          /* worker; from WORKERS on: holder */
static struct worker *self;  /* NULL: a holder */
static int mount_fd;
static struct ways file;     /* of slots[0] */
static int cached_fd, cached_direct;
static char *cached;         /* slots[1] */
static int common[COMMON_FILES], common_direct[COMMON_FILES];
static struct { int fd; uint64_t id; } pin[PINS], lease[PINS]; /* id 0: none */

static unsigned
rnd(unsigned n)
{
	return random_below(&seed, n);
}

static bool
daemon_gone(void)
{
	struct statfs st;

	return fstatfs(mount_fd, &st) < 0;
}

/* A call failed, with e as its errno. */
_Noreturn static void
failed(const char *what, int e)
{
	if (daemon_gone())
		exit(GONE);
	errx(1, "%s: %s", what, strerror(e));
}

void
ways_failed(const char *what)
{
	failed(what, errno);
}

/* r < 0: errno is one of those. */
static bool
may_be(int64_t r, const char *what, const int *errors)
{
	int e = errno;

	if (r >= 0)
		return true;
	for (; *errors; errors++)
		if (e == *errors)
			return false;
	failed(what, e);
}
#define may(r, what, ...) may_be((r), (what), (const int[]){ __VA_ARGS__, 0 })
/* What may happen to a layout operation among leases and pins: this process's own pins, an exclusive lease, a
 * deadline, the timer of wait_at_most(). */
#define may_layout(r, what) may((r), (what), EBUSY, ETXTBSY, EAGAIN, EINTR, EINVAL)

static void
must(int64_t r, const char *what)
{
	if (r < 0)
		failed(what, errno);
}

/* A function of libpinfs: its result as a system call's. */
static int
lib(int r)
{
	if (r < 0)
		errno = -r;
	return r < 0 ? -1 : r;
}

/* Whoever waits for a lease longer than that is interrupted. 0: no longer. */
static void
wait_at_most(unsigned ms)
{
	struct itimerval t = { .it_value = { 0, (suseconds_t)ms * 1000 }, .it_interval = { 0, (suseconds_t)ms * 1000 } };

	setitimer(ITIMER_REAL, &t, NULL);
}

static void
on_alarm(int sig)
{
	(void)sig;
}

static int
open_for(const char *name, int flags)
{
	int fd = open(name, flags | O_CLOEXEC, 0644);

	must(fd, name);
	return fd;
}

/* ---- records of one's own --------------------------------------------------------------------------------- */

static void
look_at(const struct record *r, const struct slots *s, unsigned k, const char *how)
{
	if (s->newest[k] ? record_whole(r) && r->by == me && r->number == k && r->sequence == s->newest[k] : record_empty(r))
		return;
	errx(1, "worker %u, record %u by %s: number %llu sequence %llu by %llu, %s; should be sequence %llu", me, k, how,
	    (unsigned long long)r->number, (unsigned long long)r->sequence, (unsigned long long)r->by,
	    record_whole(r) ? "whole" : record_empty(r) ? "empty" : "torn", (unsigned long long)s->newest[k]);
}

static void
sync_slots(unsigned which)
{
	struct slots *s = &self->slots[which];
	struct pinfs_sync_range o = { .size = sizeof(o) };

	if (which == 1)
		must(rnd(2) ? msync(cached, SLOTS * RECORD_SIZE, MS_SYNC) : fsync(cached_fd), "fsync");
	else if (rnd(3) == 0)
		must(lib(pinfs_sync(file.map)), "pinfs_sync");
	else
		must(rnd(2) ? fsync(file.before) : ioctl(file.after, PINFS_IOC_SYNC, &o), "fsync");
	memcpy(s->durable, s->newest, sizeof(s->durable));
	memset(s->mapped, 0, sizeof(s->mapped));
}

static void
slots_step(void)
{
	static const enum way strict[] = { MAPPED, DIRECT, COPY_RANGE };
	unsigned which = rnd(2), k = rnd(SLOTS);
	struct slots *s = &self->slots[which];
	static _Alignas(BLOCK) struct record r;
	enum way w;

	if (rnd(6) == 0) {
		sync_slots(which);
	} else if (rnd(3) == 0) { /* look */
		if (which == 0) {
			w = strict[rnd(3)];
			way_look(&file, w, k, &r);
			look_at(&r, s, k, way_name[w]);
		} else if (rnd(4) == 0) {
			must(msync(cached, SLOTS * RECORD_SIZE, MS_SYNC), "msync");
			must(pread(cached_direct, &r, RECORD_SIZE, (off_t)k * RECORD_SIZE), "O_DIRECT read");
			look_at(&r, s, k, "O_DIRECT, beside mmap");
		} else {
			memcpy(&r, cached + k * RECORD_SIZE, RECORD_SIZE);
			look_at(&r, s, k, "mmap");
		}
	} else {
		s->newest[k] = ++self->sequence;
		record_fill(&r, k, s->newest[k], me);
		w = rnd(WAYS);
		if (which == 0) {
			s->mapped[k] |= w == MAPPED;
			way_change(&file, w, k, &r);
		} else if (rnd(2)) {
			s->mapped[k] = true;
			memcpy(cached + k * RECORD_SIZE, &r, RECORD_SIZE);
		} else {
			must(pwrite(cached_fd, &r, RECORD_SIZE, (off_t)k * RECORD_SIZE), "write");
		}
	}
}

/* ---- names of one's own ----------------------------------------------------------------------------------------- */

static void
names_step(void)
{
	unsigned a = rnd(NAMES), b = rnd(NAMES);
	char na[32], nb[32];

	snprintf(na, sizeof(na), "w%u/n%u", me, a);
	snprintf(nb, sizeof(nb), "w%u/n%u", me, b);
	if (!self->name[a]) {
		self->is_dir[a] = rnd(4) == 0;
		if (self->is_dir[a])
			must(mkdir(na, 0755), na);
		else
			close(open_for(na, O_RDWR | O_CREAT | O_EXCL));
		self->name[a] = true;
	} else if (a != b && (!self->name[b] || self->is_dir[a] == self->is_dir[b])) {
		must(rename(na, nb), "rename");
		self->name[a] = false;
		self->name[b] = true;
		self->is_dir[b] = self->is_dir[a];
	} else {
		must(self->is_dir[a] ? rmdir(na) : unlink(na), na);
		self->name[a] = false;
	}
}

/* ---- what is common ------------------------------------------------------------------------------------------------ */

static void
common_look(unsigned n)
{
	static _Alignas(BLOCK) struct record r[64];
	ssize_t got;

	for (off_t off = 0; (got = pread(common_direct[n], r, sizeof(r), off)) > 0; off += got)
		for (size_t k = 0; k < (size_t)got / RECORD_SIZE; k++)
			if (!record_whole(&r[k]) && !record_empty(&r[k]))
				errx(1, "common%u, record at %lld: number %llu sequence %llu by %llu: torn", n,
				    (long long)off + (long long)(k * RECORD_SIZE), (unsigned long long)r[k].number,
				    (unsigned long long)r[k].sequence, (unsigned long long)r[k].by);
	must(got, "O_DIRECT read");
}

static void
common_write(unsigned n)
{
	static _Alignas(BLOCK) struct record r[PER_BLOCK];
	static uint64_t sequence;

	for (unsigned k = 0; k < PER_BLOCK; k++)
		record_fill(&r[k], rnd(COMMON), ++sequence, me);
	if (rnd(2))
		must(pwrite(common_direct[n], r, sizeof(r), (off_t)rnd(COMMON / PER_BLOCK) * BLOCK), "O_DIRECT write");
	else
		must(pwrite(common[n], r, (1 + rnd(PER_BLOCK)) * RECORD_SIZE, (off_t)rnd(COMMON) * RECORD_SIZE), "write");
}

static void
common_layout(unsigned n)
{
	struct pinfs_range r = { .size = sizeof(r), .off = rnd(COMMON / PER_BLOCK) * (uint64_t)BLOCK,
		.len = (1 + rnd(4)) * (uint64_t)BLOCK };
	off_t off = (off_t)rnd(COMMON) * RECORD_SIZE, len = (off_t)(1 + rnd(40)) * RECORD_SIZE;
	off_t size = lseek(common[n], 0, SEEK_END);

	must(size, "lseek");
	wait_at_most(30);
	switch (rnd(6)) {
	case 0:
		may_layout(ftruncate(common[n], off), "truncate");
		break;
	case 1:
		may_layout(fallocate(common[n], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len), "punch");
		break;
	case 2:
		may_layout(fallocate(common[n], FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, off, len), "zero");
		break;
	case 3:
		may_layout(ioctl(common[n], PINFS_IOC_COLLAPSE, &r), "collapse");
		break;
	case 4:
		if (size < COMMON * (off_t)RECORD_SIZE)
			may_layout(ioctl(common[n], PINFS_IOC_INSERT, &r), "insert");
		break;
	case 5:
		may(fallocate(common[n], 0, off, len), "fallocate", EINTR);
		break;
	}
	wait_at_most(0);
}

static void
common_two(unsigned a, unsigned b)
{
	struct pinfs_offer o = { .size = sizeof(o) };
	uint64_t from = rnd(COMMON / PER_BLOCK) * (uint64_t)BLOCK, to = rnd(COMMON / PER_BLOCK) * (uint64_t)BLOCK,
	    len = (1 + rnd(12)) * (uint64_t)BLOCK;
	struct pinfs_clone c = { .size = sizeof(c), .src_off = from, .dst_off = to, .len = len };
	struct pinfs_exchange x = { .size = sizeof(x), .off = to, .other_off = from, .len = len };
	off_t off_a = (off_t)rnd(COMMON) * RECORD_SIZE, off_b = (off_t)rnd(COMMON) * RECORD_SIZE;

	if (rnd(3) == 0) {
		may(copy_file_range(common[a], &off_a, common[b], &off_b, len / 2, 0), "copy_file_range", EINVAL);
		return;
	}
	must(ioctl(common[a], PINFS_IOC_OFFER, &o), "offer");
	memcpy(c.token, o.token, sizeof(c.token));
	memcpy(x.token, o.token, sizeof(x.token));
	wait_at_most(30);
	if (rnd(2))
		may_layout(ioctl(common[b], PINFS_IOC_CLONE, &c), "clone");
	else
		may_layout(ioctl(common[b], PINFS_IOC_EXCHANGE, &x), "exchange");
	wait_at_most(0);
}

static void
common_pin(unsigned n)
{
	struct pinfs_pin_options o = { .size = sizeof(o), .access = rnd(2) ? PINFS_ACCESS_READ : PINFS_ACCESS_READWRITE,
		.pin_class = PINFS_PIN_TRANSIENT };
	struct pinfs_pin_range r = { .off = rnd(COMMON / PER_BLOCK) * (uint64_t)BLOCK, .len = (1 + rnd(4)) * (uint64_t)BLOCK };
	unsigned k = rnd(PINS);
	struct pinfs_map *m;

	if (rnd(3) == 0) {
		/* EINVAL: behind the end; EBUSY: in the way of a layout operation that waits */
		if (!may(lib(pinfs_map(common[n], r.off, r.len, PINFS_MAP_WRITE, &m)), "map", EINVAL, EAGAIN, EBUSY, EINTR))
			return;
		for (unsigned j = rnd(8); j > 0; j--) {
			struct record *at = (struct record *)((char *)pinfs_addr(m) + rnd((unsigned)(r.len / RECORD_SIZE)) * RECORD_SIZE);

			__atomic_store_n(&at->mark, RECORD_MARK | rnd(1u << 31), __ATOMIC_RELAXED);
		}
		if (rnd(2))
			may(lib(pinfs_sync(m)), "pinfs_sync of a common file", ESTALE); /* cut out of it */
		must(lib(pinfs_unmap(m)), "unmap");
	} else if (pin[k].id) {
		must(lib(pinfs_unpin(pin[k].fd, pin[k].id)), "unpin");
		pin[k].id = 0;
	} else if (may(lib(pinfs_pin(common[n], &o, &r, 1, &pin[k].id)), "pin", EINVAL, EAGAIN)) {
		pin[k].fd = common[n];
	} else {
		pin[k].id = 0;
	}
}

static void
common_lease(unsigned n)
{
	struct pinfs_lease_options o = { .size = sizeof(o), .type = rnd(8) ? PINFS_LEASE_SHARED : PINFS_LEASE_EXCLUSIVE,
		.on_deadline = rnd(3), .off = rnd(COMMON) * (uint64_t)RECORD_SIZE, .len = (1 + rnd(64)) * (uint64_t)RECORD_SIZE };
	unsigned k = rnd(PINS);
	struct pinfs_event ev;

	while (lib(pinfs_next_event(common[n], &ev, 0)) > 0)
		for (unsigned j = 0; j < PINS; j++)
			if (lease[j].id == ev.lease && lease[j].fd == common[n] && rnd(4)) {
				must(lib(pinfs_lease_release(common[n], ev.lease)), "release of a lease that is being broken");
				lease[j].id = 0;
			}
	if (lease[k].id) {
		must(lib(pinfs_lease_release(lease[k].fd, lease[k].id)), "release of a lease");
		lease[k].id = 0;
	} else if (may(lib(pinfs_lease(common[n], &o, &lease[k].id)), "lease", EAGAIN, EBUSY)) {
		lease[k].fd = common[n];
	} else {
		lease[k].id = 0;
	}
}

static void
common_step(void)
{
	struct pinfs_sync_range all = { .size = sizeof(all), .flags = PINFS_SYNC_FS };
	unsigned n = rnd(COMMON_FILES);

	switch (rnd(8)) {
	case 0:
	case 1:
		common_write(n);
		break;
	case 2:
		common_look(n);
		break;
	case 3:
		common_layout(n);
		break;
	case 4:
		common_two(n, rnd(COMMON_FILES));
		break;
	case 5:
		common_pin(n);
		break;
	case 6:
		common_lease(n);
		break;
	case 7:
		must(rnd(6) ? fsync(common[n]) : ioctl(common[n], PINFS_IOC_SYNC, &all), "sync");
		break;
	}
}

/* ---- the whole ------------------------------------------------------------------------------------------------- */

static void
open_own(void)
{
	char name[64];

	snprintf(name, sizeof(name), "slots%u-0", me);
	file.before = open_for(name, O_RDWR | O_CREAT);
	must(ftruncate(file.before, SLOTS * RECORD_SIZE), "truncate");
	must(lib(pinfs_map(file.before, 0, SLOTS * RECORD_SIZE, PINFS_MAP_WRITE, &file.map)), "map");
	file.after = open_for(name, O_RDWR);
	file.direct = open_for(name, O_RDWR | O_DIRECT);
	snprintf(name, sizeof(name), "scratch%u", me);
	file.scratch = open_for(name, O_RDWR | O_CREAT);
	file.spool = memfd_create("spool", MFD_CLOEXEC);
	must(file.spool, "memfd");
	snprintf(name, sizeof(name), "slots%u-1", me);
	cached_fd = open_for(name, O_RDWR | O_CREAT);
	must(ftruncate(cached_fd, SLOTS * RECORD_SIZE), "truncate");
	cached_direct = open_for(name, O_RDWR | O_DIRECT);
	cached = mmap(NULL, SLOTS * RECORD_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, cached_fd, 0);
	if (cached == MAP_FAILED)
		failed("mmap", errno);
}

static void
child(unsigned number, uint64_t from)
{
	struct sigaction sa = { .sa_handler = on_alarm };
	char name[64];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigaction(SIGALRM, &sa, NULL);
	me = number;
	seed = from;
	if (me < WORKERS) {
		self = &state->worker[me];
		open_own();
	}
	for (unsigned k = 0; k < COMMON_FILES; k++) {
		snprintf(name, sizeof(name), "common%u", k);
		common[k] = open_for(name, O_RDWR | O_CREAT);
		common_direct[k] = open_for(name, O_RDWR | O_DIRECT);
	}
	while (!state->stop) {
		unsigned what = rnd(8);

		if (self && what < 4)
			slots_step();
		else if (self && what < 6)
			names_step();
		else
			common_step();
		state->done++;
	}
	if (self)
		must(msync(cached, SLOTS * RECORD_SIZE, MS_SYNC), "msync");
	exit(0);
}

static pid_t
start(unsigned number, uint64_t *from)
{
	uint64_t own = random_next(from);
	pid_t pid = fork();

	if (pid < 0)
		err(1, "fork");
	if (pid == 0)
		child(number, own | 1);
	return pid;
}

static int
run(unsigned seconds, uint64_t from)
{
	pid_t pid[WORKERS + HOLDERS];
	uint64_t before = state->done;
	int rc = 0, status;
	unsigned k;

	state->stop = 0;
	puts("started"); /* whatever happens to the mount now, it is not another directory */
	fflush(stdout);
	for (k = 0; k < WORKERS; k++) {
		char name[32];

		snprintf(name, sizeof(name), "w%u", k);
		may(mkdir(name, 0755), name, EEXIST);
	}
	for (k = 0; k < WORKERS + HOLDERS; k++)
		pid[k] = start(k, &from);
	for (unsigned t = 0; t < seconds * 4 && rc == 0; t++) {
		usleep(250000);
		k = WORKERS + t % HOLDERS;
		kill(pid[k], SIGKILL);
		waitpid(pid[k], &status, 0);
		if (WIFEXITED(status))
			rc = WEXITSTATUS(status);
		pid[k] = start(k, &from);
		for (unsigned j = 0; j < WORKERS && rc == 0; j++)
			if (waitpid(pid[j], &status, WNOHANG) > 0)
				rc = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
	}
	state->stop = 1;
	while (wait(&status) > 0)
		if (status != 0 && rc != 1)
			rc = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
	printf("%llu operations\n", (unsigned long long)(state->done - before));
	return rc;
}

/* ---- after a remount ------------------------------------------------------------------------------------------------- */

static void
check_slots(unsigned which, bool crash)
{
	struct slots *s = &self->slots[which];
	char name[64];
	int fd;

	snprintf(name, sizeof(name), "slots%u-%u", me, which);
	fd = open(name, O_RDWR | O_CLOEXEC);
	for (unsigned k = 0; k < SLOTS; k++) {
		struct record r = { 0 };

		if (fd >= 0)
			must(pread(fd, &r, RECORD_SIZE, (off_t)k * RECORD_SIZE), name);
		if (!crash) {
			look_at(&r, s, k, name);
		} else if (record_whole(&r) ? r.by != me || r.number != k || r.sequence < s->durable[k] || r.sequence > s->newest[k] :
		    record_empty(&r) ? s->durable[k] > 0 : !s->mapped[k]) {
			errx(1, "after a crash %s has record %u: number %llu sequence %llu by %llu, %s; "
			    "%llu was durable, %llu the newest", name, k, (unsigned long long)r.number,
			    (unsigned long long)r.sequence, (unsigned long long)r.by, record_whole(&r) ? "whole" : record_empty(&r) ? "empty" : "torn", (unsigned long long)s->durable[k],
			    (unsigned long long)s->newest[k]);
		}
		if (!record_whole(&r) && !record_empty(&r)) {
			record_fill(&r, k, ++self->sequence, me);
			must(pwrite(fd, &r, RECORD_SIZE, (off_t)k * RECORD_SIZE), name);
		}
		s->newest[k] = s->durable[k] = r.sequence;
		s->mapped[k] = false;
	}
	if (fd >= 0) {
		must(fsync(fd), name);
		close(fd);
	}
}

static void
check_names(bool crash)
{
	bool seen[NAMES] = { false }, dir[NAMES] = { false };
	char name[300];
	struct dirent *e;
	unsigned k;
	DIR *d;

	snprintf(name, sizeof(name), "w%u", me);
	d = opendir(name);
	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		if (sscanf(e->d_name, "n%u", &k) != 1 || k >= NAMES || seen[k])
			errx(1, "%s/%s: nobody made it, or it is there twice", name, e->d_name);
		seen[k] = true;
		dir[k] = e->d_type == DT_DIR;
	}
	if (d)
		closedir(d);
	for (k = 0; k < NAMES; k++) {
		if (!crash && (seen[k] != self->name[k] || (seen[k] && dir[k] != self->is_dir[k])))
			errx(1, "%s/n%u is %s", name, k, !seen[k] ? "gone" : self->name[k] ? "of another type" : "there again");
		self->name[k] = seen[k];
		self->is_dir[k] = dir[k];
	}
}

static void
check(bool crash)
{
	char name[32];

	for (me = 0; me < WORKERS; me++) {
		self = &state->worker[me];
		check_slots(0, crash);
		check_slots(1, crash);
		check_names(crash);
	}
	for (unsigned k = 0; k < COMMON_FILES; k++) {
		snprintf(name, sizeof(name), "common%u", k);
		common_direct[k] = open_for(name, O_RDWR | O_CREAT | O_DIRECT);
		common_look(k);
	}
}

int
main(int argc, char **argv)
{
	bool runs = argc == 6 && strcmp(argv[1], "run") == 0;
	int fd;

	if (!runs && !(argc == 5 && strcmp(argv[1], "check") == 0))
		errx(2, "usage: load run DIR STATE SECONDS SEED | load check DIR STATE clean|crash");
	fd = open(argv[3], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, sizeof(*state)) < 0)
		err(1, "%s", argv[3]);
	state = mmap(NULL, sizeof(*state), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	mount_fd = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (state == MAP_FAILED || mount_fd < 0 || fchdir(mount_fd) < 0)
		err(1, "%s", argv[2]);
	if (runs)
		return run((unsigned)atoi(argv[4]), strtoull(argv[5], NULL, 0) * 2 + 1);
	check(strcmp(argv[4], "crash") == 0);
	return 0;
}
