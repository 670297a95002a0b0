/* SPDX-License-Identifier: BSD-3-Clause */
/* Coherence under stress: coherence FILE SECONDS
 *
 * FILE is an array of records of 512 bytes, each with its number, a sequence number and a checksum. A record has one owner at a time, who
 * has it locked in shared memory, changes it by one way of many (a direct mapping, write(2), O_DIRECT, splice, sendfile,
 * copy_file_range), through a descriptor that was opened before anybody pinned or after, and lets it go. Whoever locks it next
 * looks by any way: he must see that very record. So every process always sees the others' last completed change.
 *
 * Where the kernel answers from its page cache it may do so without asking the daemon: splice(2) and sendfile(2)
 * always, read(2) through a descriptor that was opened before the pin (with kernels before 6.6: through any) if another
 * process's request on the file ends at that moment. What they see must be a whole record, none from the future, and the newest
 * soon: the daemon has such pages dropped as soon as they are filled.
 *
 * PROCESSES of them go on for so long, while one more pins and unpins parts, fsyncs, and looks at the page cache's
 * mmap at the moments at which that is promised to be coherent: after a pin and after an unpin. Blocks are shared by
 * records of several owners, so changes of less than a block meet each other.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <pinfs/pinfs.h>

#define PROCESSES 6
#define RECORDS 256u       /* 32 blocks */
#define SIZE 512u
#define WORDS (SIZE / 8)

struct record {
	uint64_t number, sequence, by, sum;
	uint64_t filler[WORDS - 4];
};

/* What all processes share. */
struct shared {
	uint32_t locked[RECORDS];   /* atomic: process that owns it, + 1 */
	uint64_t sequence[RECORDS]; /* what it must be; the owner's */
	uint32_t last_way[RECORDS];
	uint64_t changes[16], looks[16], old[16]; /* atomic, by way; old: what was seen was not the newest yet */
	int stop;                   /* atomic */
};
static struct shared *sh;

static const char *path;
static int before = -1, after = -1, direct = -1; /* descriptors: opened before any pin, later, O_DIRECT */
static int spool = -1;                           /* a file of another filesystem, for splice and sendfile */
static int scratch = -1;                         /* a file of this one, for copy_file_range */
static struct pinfs_map *map;
static unsigned me;
static uint64_t seed;

static unsigned
rnd(unsigned n)
{
	seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
	return (unsigned)(seed >> 20) % n;
}

static uint64_t
sum_of(const struct record *r)
{
	uint64_t s = r->number * 0x9e3779b97f4a7c15u ^ r->sequence * 0xc2b2ae3d27d4eb4fu ^ r->by;

	for (unsigned k = 0; k < WORDS - 4; k++)
		s = (s << 7 | s >> 57) ^ r->filler[k];
	return s;
}

static void
fill(struct record *r, unsigned number, uint64_t sequence)
{
	r->number = number;
	r->sequence = sequence;
	r->by = me;
	for (unsigned k = 0; k < WORDS - 4; k++)
		r->filler[k] = sequence * 0x100000001b3u + k;
	r->sum = sum_of(r);
}

static void
put_all(int fd, const void *buf, size_t len, off_t off)
{
	ssize_t n = pwrite(fd, buf, len, off);

	if (n != (ssize_t)len)
		err(1, "write at %lld: %zd", (long long)off, n);
}

static void
get_all(int fd, void *buf, size_t len, off_t off)
{
	ssize_t n = pread(fd, buf, len, off);

	if (n != (ssize_t)len)
		err(1, "read at %lld: %zd", (long long)off, n);
}

/* ---- ways ------------------------------------------------------------------------------------------------- */

enum way { MAPPED, READ_BEFORE, READ_AFTER, DIRECT, SPLICE, SENDFILE, COPY_RANGE, WAYS };
static const char *const way_name[WAYS] = { "mapping", "read/write, opened before", "read/write, opened after", "O_DIRECT",
	"splice", "sendfile", "copy_file_range" };

static void
splice_all(int from, off_t *off_from, int to, off_t *off_to)
{
	int p[2];

	if (pipe(p) < 0)
		err(1, "pipe");
	if (splice(from, off_from, p[1], NULL, SIZE, 0) != SIZE || splice(p[0], NULL, to, off_to, SIZE, 0) != SIZE)
		err(1, "splice");
	close(p[0]);
	close(p[1]);
}

/* The record by that way. */
static void
look(enum way w, unsigned n, struct record *r)
{
	static _Alignas(4096) struct record bounce;
	off_t off = (off_t)n * SIZE, zero = 0;

	switch (w) {
	case MAPPED:
		memcpy(r, (char *)pinfs_addr(map) + off, SIZE);
		break;
	case READ_BEFORE:
	case READ_AFTER:
		get_all(w == READ_BEFORE ? before : after, r, SIZE, off);
		break;
	case DIRECT:
		get_all(direct, &bounce, SIZE, off);
		*r = bounce;
		break;
	case SPLICE:
		splice_all(rnd(2) ? before : after, &off, spool, &zero);
		get_all(spool, r, SIZE, 0);
		break;
	case SENDFILE:
		if (lseek(spool, 0, SEEK_SET) < 0 || sendfile(spool, rnd(2) ? before : after, &off, SIZE) != SIZE)
			err(1, "sendfile");
		get_all(spool, r, SIZE, 0);
		break;
	case COPY_RANGE:
		if (copy_file_range(rnd(2) ? before : after, &off, scratch, &zero, SIZE, 0) != SIZE)
			err(1, "copy_file_range");
		get_all(scratch, r, SIZE, 0);
		break;
	case WAYS:
		break;
	}
}

static void
change(enum way w, unsigned n, const struct record *r)
{
	static _Alignas(4096) struct record bounce;
	off_t off = (off_t)n * SIZE, zero = 0;

	switch (w) {
	case MAPPED:
		memcpy((char *)pinfs_addr(map) + off, r, SIZE);
		break;
	case READ_BEFORE:
	case READ_AFTER:
		put_all(w == READ_BEFORE ? before : after, r, SIZE, off);
		break;
	case DIRECT:
		bounce = *r;
		put_all(direct, &bounce, SIZE, off);
		break;
	case SPLICE:
		put_all(spool, r, SIZE, 0);
		splice_all(spool, &zero, rnd(2) ? before : after, &off);
		break;
	case SENDFILE:
		put_all(spool, r, SIZE, 0);
		if (lseek(after, off, SEEK_SET) < 0 || sendfile(after, spool, &zero, SIZE) != SIZE)
			err(1, "sendfile");
		break;
	case COPY_RANGE:
		put_all(scratch, r, SIZE, 0);
		if (copy_file_range(scratch, &zero, rnd(2) ? before : after, &off, SIZE, 0) != SIZE)
			err(1, "copy_file_range");
		break;
	case WAYS:
		break;
	}
}

/* ---- who changes and looks ------------------------------------------------------------------------------------ */

/* Does that way of looking always ask the daemon? */
static bool
strict(enum way w)
{
	static int major, minor;
	struct utsname un;

	if (major == 0 && (uname(&un) < 0 || sscanf(un.release, "%d.%d", &major, &minor) != 2))
		errx(1, "what kernel is this?");
	return w == MAPPED || w == DIRECT || w == COPY_RANGE ||
	    (w == READ_AFTER && (major > 6 || (major == 6 && minor >= 6)));
}

static void
check(const struct record *r, unsigned n, const char *how)
{
	if (r->number == n && r->sequence == sh->sequence[n] && r->sum == sum_of(r))
		return;
	errx(1, "record %u by %s: number %llu, sequence %llu, should be %llu (by %s), %s", n, how,
	    (unsigned long long)r->number, (unsigned long long)r->sequence, (unsigned long long)sh->sequence[n],
	    way_name[sh->last_way[n]], r->sum == sum_of(r) ? "an older one" : "a mixture");
}

static bool
lock_record(unsigned n)
{
	uint32_t none = 0;

	return __atomic_compare_exchange_n(&sh->locked[n], &none, me + 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

static void
worker(void)
{
	struct record r;

	while (!__atomic_load_n(&sh->stop, __ATOMIC_RELAXED)) {
		unsigned n = rnd(RECORDS);
		enum way w;

		if (!lock_record(n))
			continue;
		for (unsigned k = rnd(3); k > 0; k--) {
			w = rnd(WAYS);
			look(w, n, &r);
			for (unsigned again = 0; !strict(w) && again < 5000 && r.sequence < sh->sequence[n]; again++) {
				if (r.number != n || r.sum != sum_of(&r))
					break;
				__atomic_fetch_add(&sh->old[w], 1, __ATOMIC_RELAXED);
				usleep(1000);
				look(w, n, &r);
			}
			check(&r, n, way_name[w]);
			__atomic_fetch_add(&sh->looks[w], 1, __ATOMIC_RELAXED);
		}
		w = rnd(WAYS);
		fill(&r, n, sh->sequence[n] + 1);
		change(w, n, &r);
		sh->sequence[n]++;
		sh->last_way[n] = w;
		__atomic_fetch_add(&sh->changes[w], 1, __ATOMIC_RELAXED);
		__atomic_store_n(&sh->locked[n], 0, __ATOMIC_RELEASE);
	}
}

/* ---- who pins -------------------------------------------------------------------------------------------------------- */

/* With all records of the block locked: the page cache's mapping shows them. */
static void
look_at_cache(const char *cached, unsigned block, const char *when)
{
	for (unsigned n = block * 8; n < block * 8 + 8; n++)
		check((const struct record *)(cached + n * SIZE), n, when);
}

static void
pinner(void)
{
	const char *cached = mmap(NULL, RECORDS * SIZE, PROT_READ, MAP_SHARED, before, 0);
	struct pinfs_pin_options o = { .size = sizeof(o), .pin_class = PINFS_PIN_TRANSIENT };
	volatile char sink;

	if (cached == MAP_FAILED)
		err(1, "mmap of the page cache");
	while (!__atomic_load_n(&sh->stop, __ATOMIC_RELAXED)) {
		unsigned block = rnd(RECORDS / 8);
		struct pinfs_pin_range r = { .off = block * 4096u, .len = 4096 };
		uint64_t id;
		int e;

		for (unsigned n = block * 8; n < block * 8 + 8; n++)
			while (!lock_record(n)) {
				if (__atomic_load_n(&sh->stop, __ATOMIC_RELAXED))
					return;
				usleep(10);
			}
		sink = cached[block * 4096u]; /* so that there is something old in the cache */
		(void)sink;
		o.access = rnd(2) ? PINFS_ACCESS_READWRITE : PINFS_ACCESS_READ;
		e = pinfs_pin(after, &o, &r, 1, &id);
		if (e < 0)
			errx(1, "pin: %s", pinfs_strerror(e));
		if (o.access == PINFS_ACCESS_READWRITE)
			look_at_cache(cached, block, "the page cache at a pin");
		if (rnd(4) == 0 && fsync(after) < 0)
			err(1, "fsync");
		e = pinfs_unpin(after, id);
		if (e < 0)
			errx(1, "unpin: %s", pinfs_strerror(e));
		look_at_cache(cached, block, "the page cache at an unpin");
		for (unsigned n = block * 8; n < block * 8 + 8; n++)
			__atomic_store_n(&sh->locked[n], 0, __ATOMIC_RELEASE);
		usleep(1000);
	}
}

/* ---- the whole ---------------------------------------------------------------------------------------------------------- */

static int
open_for(int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	if (fd < 0)
		err(1, "%s", path);
	return fd;
}

static int
unlinked(const char *name)
{
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || unlink(name) < 0)
		err(1, "%s", name);
	return fd;
}

static void
child_main(unsigned number)
{
	char name[4096];
	int e;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	me = number;
	seed = 88172645463325252u + number * 7919u;
	snprintf(name, sizeof(name), "%s.%u", path, number);
	scratch = unlinked(name);
	snprintf(name, sizeof(name), "/tmp/coherence.%d", (int)getpid());
	spool = unlinked(name);
	e = pinfs_map(before, 0, RECORDS * SIZE, PINFS_MAP_WRITE, &map);
	if (e < 0)
		errx(1, "map: %s", pinfs_strerror(e));
	after = open_for(O_RDWR);
	direct = open_for(O_RDWR | O_DIRECT);
	if (number < PROCESSES)
		worker();
	else
		pinner();
	pinfs_unmap(map);
	exit(0);
}

int
main(int argc, char **argv)
{
	unsigned seconds = argc == 3 ? (unsigned)atoi(argv[2]) : 0;
	pid_t pid[PROCESSES + 1];
	struct record r;
	int status, failed = 0;

	if (seconds == 0)
		errx(2, "usage: coherence FILE SECONDS");
	path = argv[1];
	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (sh == MAP_FAILED)
		err(1, "mmap");
	before = open_for(O_RDWR | O_CREAT);
	for (unsigned n = 0; n < RECORDS; n++) {
		fill(&r, n, 0);
		put_all(before, &r, SIZE, (off_t)n * SIZE);
	}
	for (unsigned k = 0; k <= PROCESSES; k++) {
		pid[k] = fork();
		if (pid[k] < 0)
			err(1, "fork");
		if (pid[k] == 0)
			child_main(k);
	}
	for (unsigned t = 0; t < seconds * 10 && !failed; t++) {
		usleep(100000);
		failed = waitpid(-1, &status, WNOHANG) != 0;
	}
	__atomic_store_n(&sh->stop, 1, __ATOMIC_RELAXED);
	while (wait(&status) > 0 || errno == EINTR)
		failed |= status != 0;
	for (unsigned w = 0; w < WAYS; w++)
		printf("%-28s %8llu changes %8llu looks %8llu old\n", way_name[w], (unsigned long long)sh->changes[w],
		    (unsigned long long)sh->looks[w], (unsigned long long)sh->old[w]);
	after = open_for(O_RDWR);
	for (unsigned n = 0; n < RECORDS && !failed; n++) {
		get_all(after, &r, SIZE, (off_t)n * SIZE);
		check(&r, n, "read(2) at the end");
	}
	return failed;
}
