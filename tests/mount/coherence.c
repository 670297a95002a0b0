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
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/stress/ways.h"

#define PROCESSES 6
#define RECORDS 256u       /* 32 blocks */

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
static struct ways file;
static unsigned me;
static uint64_t seed;

static unsigned
rnd(unsigned n)
{
	return random_below(&seed, n);
}

void
ways_failed(const char *what)
{
	err(1, "%s", what);
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
	if (r->number == n && r->sequence == sh->sequence[n] && r->sum == record_sum(r))
		return;
	errx(1, "record %u by %s: number %llu, sequence %llu, should be %llu (by %s), %s", n, how,
	    (unsigned long long)r->number, (unsigned long long)r->sequence, (unsigned long long)sh->sequence[n],
	    way_name[sh->last_way[n]], r->sum == record_sum(r) ? "an older one" : "a mixture");
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
			way_look(&file, w, n, &r);
			for (unsigned again = 0; !strict(w) && again < 5000 && r.sequence < sh->sequence[n]; again++) {
				if (r.number != n || r.sum != record_sum(&r))
					break;
				__atomic_fetch_add(&sh->old[w], 1, __ATOMIC_RELAXED);
				usleep(1000);
				way_look(&file, w, n, &r);
			}
			check(&r, n, way_name[w]);
			__atomic_fetch_add(&sh->looks[w], 1, __ATOMIC_RELAXED);
		}
		w = rnd(WAYS);
		record_fill(&r, n, sh->sequence[n] + 1, me);
		way_change(&file, w, n, &r);
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
		check((const struct record *)(cached + n * RECORD_SIZE), n, when);
}

static void
pinner(void)
{
	const char *cached = mmap(NULL, RECORDS * RECORD_SIZE, PROT_READ, MAP_SHARED, file.before, 0);
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
		e = pinfs_pin(file.after, &o, &r, 1, &id);
		if (e < 0)
			errx(1, "pin: %s", pinfs_strerror(e));
		if (o.access == PINFS_ACCESS_READWRITE)
			look_at_cache(cached, block, "the page cache at a pin");
		if (rnd(4) == 0 && fsync(file.after) < 0)
			err(1, "fsync");
		e = pinfs_unpin(file.after, id);
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
	file.scratch = unlinked(name);
	snprintf(name, sizeof(name), "/tmp/coherence.%d", (int)getpid());
	file.spool = unlinked(name);
	e = pinfs_map(file.before, 0, RECORDS * RECORD_SIZE, PINFS_MAP_WRITE, &file.map);
	if (e < 0)
		errx(1, "map: %s", pinfs_strerror(e));
	file.after = open_for(O_RDWR);
	file.direct = open_for(O_RDWR | O_DIRECT);
	if (number < PROCESSES)
		worker();
	else
		pinner();
	pinfs_unmap(file.map);
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
	file.before = open_for(O_RDWR | O_CREAT);
	for (unsigned n = 0; n < RECORDS; n++) {
		record_fill(&r, n, 0, me);
		way_change(&file, READ_BEFORE, n, &r);
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
	file.after = open_for(O_RDWR);
	for (unsigned n = 0; n < RECORDS && !failed; n++) {
		way_look(&file, READ_AFTER, n, &r);
		check(&r, n, "read(2) at the end");
	}
	return failed;
}
