/* SPDX-License-Identifier: BSD-3-Clause */
/* Which sequences are run, in which processes, and what is done with an image that fails.
 *
 * Sequences are numbered: first the scenarios below, then each operation alone, then in turns a scenario in which the
 * daemon is killed or another thread meets an fsync, one each time at another point; an fsync that is met; two
 * operations; three or four. The last three come in an order that the seed decides, until all have been. A process
 * takes every n-th of them, for each domain; it has a pool to run on and one for the images, and
 * nothing to do with the others, so that a crash or a hang is that of one image, whose number stands in memory
 * shared with the parent.
 *
 * Everything that is left to chance comes from the seed, the sequence and the number of the image: the
 * command that is printed for an image that fails makes it again.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "pmem/log.h"
#include "tests/crash/calm.h"
#include "tests/crash/crash.h"

#define JOBS_MAX 64
#define HANG_S 60            /* one image takes a millisecond */
#define USE_EVERY 16u        /* images that are written to */
#define FAILURES_MAX 8u
#define LONGEST 4u
#define KILL_EVENTS 40u
#define MEET_POINTS 10u
#define MEET_POINTS_ONE 5u   /* of one fsync */
#define TEXT 512

static const char *const scenarios[] = {
	/* the classic: new file, fsync, rename over; with and without the fsync */
	"create-c,write-c,fsync-c,rename-c-a,fsync-a,write-a,sync",
	"create-c,write-c,rename-c-a,sync,write-a,fsync-a",
	"create-c,write-c,rename-c-a,append-b,fsync-b,write-a,rename-a-b,write-x,fsync-x",
	"write-a,rename-a-b,sync,append-b,fsync-b,unlink-b,sync",
	"link-a-c,unlink-a,sync,rename-c-a,fsync-a",
	/* names of all kinds */
	"mkdir-c,sync,rename-a-da,fsync-b,unlink-a,rmdir-d,sync",
	"symlink-c,xattr-a,bigxattr-b,sync,rmxattr-a,bigxattr-b,fsync-b",
	/* blocks that are freed are used again soon */
	"write-a,fsync-a,write-a,fsync-a,write-a,fsync-a,write-a,fsync-a,patch-a,fsync-a",
	"write-c,fill-c,unlink-c,create-c,write-c,fsync-c,write-c,fsync-c",
	/* a full pool: deleting takes several commits there */
	"create-c,fill-c,fill-b,fsync-c,unlink-c",
	"create-c,fill-c,fill-b,fsync-c,write-a,fsync-a,unlink-c,write-a,fsync-a,append-b,sync",
	"create-c,fill-c,fill-b,sync,patch-a,fsync-a,bigxattr-b,sync,empty-b,sync,append-b,fsync-b",
	"create-c,fill-c,fill-b,fill-c,fsync-b,pin-a,store-a,fsync-a,write-x,fsync-x,unlink-b,sync",
	/* what comes in between while something is written back and committed */
	"write-a,fsync-a,write-a,sync,patch-a,fsync-a,append-b,fsync-b,write-a,fsync-a,cut-a,sync,zero-a",
	"write-a,sync,write-x,append-b,sync,append-x,write-x,fsync-x,cut-x,write-a,sync,unlink-a",
	/* clones and what is written to them */
	"clone-a-b,write-a,fsync-a,append-b,sync,unlink-a,sync,clone-b-a",
	"clone-a-b,clone-b-a,patch-a,sync,punch-a,fsync-a,cut-a,sync",
	/* pins: bounced at each fsync, by reference at last; over clone, rename, truncate, unlink */
	"pin-a,store-a,fsync-a,store-a,fsync-a,unpin-a,fsync-a,write-a,sync",
	"write-a,fsync-a,store-a,write-a,sync,store-a,clone-a-b,store-a,fsync-b,close,sync",
	"store-a,cut-a,store-a,fsync-a,grow-a,store-a,fsync-a,punch-a,sync,unpin-a,sync",
	"store-a,unlink-a,store-a,sync,close,sync,create-c,write-c,fsync-c",
	"store-a,rename-a-b,store-a,fsync-b,close,fsync-b",
	"store-a,fsync-a,restart,patch-a,fsync-a,store-a,sync,restart",
	"fpin-a,store1-a,fsync-a,store1-a,fsync-a,store-a,sync,write-a,fsync-a,store1-a,unpin-a,fsync-a",
	"fpin-a,fsync-a,clone-a-b,store1-a,fsync-a,punch-a,store-a,sync,insert-a,store1-a,sync,close,sync",
	"rpin-a,write-a,fsync-a,clone-a-b,write-a,fsync-a,patch-a,close,fsync-a",
	"rpin-a,unlink-a,write-c,sync,close,tmpfile-c,fsync-c,adopt-b,fsync-b,copy-b-a,sync",
	/* dax files: in place */
	"write-x,fsync-x,write-x,write-x,fsync-x,append-x,fsync-x,cut-x,append-x,fsync-x",
	"alloc-x,append-x,write-x,fsync-x,store-x,fsync-x,close,write-x,fsync-x",
	"write-x,unlink-x,sync,write-a,fsync-a,write-c,create-c,write-c,fsync-c",
	/* moved without a copy */
	"write-a,collapse-a,fsync-b,append-b,insert-a,fsync-b,patch-a,swap-a-b,write-x,fsync-x,sync",
	"store-a,insert-a,store-a,swap-a-b,append-b,fsync-b,collapse-a,unpin-a,sync,swap-a-b,fsync-a",
	/* preallocated blocks, holes, and the end of the file */
	"alloc-a,patch-a,fsync-a,zero-a,fsync-a,punch-a,grow-a,fsync-a,cut-a,grow-a,fsync-a",
	"grow-a,fsync-a,alloc-a,fdatasync-a,write-a,fdatasync-a,cut-a,fsync-a",
	/* orphans, and mounts that delete them */
	"open-b,unlink-b,sync,write-a,fsync-a,restart,write-a,sync",
	"open-b,rename-a-b,sync,restart,sync,append-b,fsync-b,close,sync",
	"write-x,restart,sync",
	"open-b,unlink-b,fsync-a,close,sync,create-c,fill-c,sync,restart,unlink-c,sync",
};
#define NSCENARIOS (sizeof(scenarios) / sizeof(scenarios[0]))

struct options {
	const char *keep, *sequence;
	unsigned jobs, per_interval;
	uint64_t images, seconds, seed;
	int domain;             /* -1: both */
	enum plant plant;
	unsigned kill, meet;
	struct image_id only;
	bool only_one, progress;
};

/* What a worker is at. */
struct place {
	uint64_t number;        /* atomic; moves with each image */
	int pool_fd, image_fd;  /* files without a name: nothing is left whatever ends the test */
	char command[TEXT + 160]; /* makes that image again */
	struct image_id id;
};

struct shared {
	uint64_t images, sequences; /* atomic */
	uint64_t failures;      /* atomic */
	bool stop;              /* atomic */
	struct place place[JOBS_MAX];
};

struct worker {
	const struct options *opt;
	struct shared *shared;
	struct place *place;
	struct run run;
	struct record rec;
	struct replay replay;
	uint8_t *pool;          /* the one that sequences run on, mapped */
	uint8_t *base;          /* what it holds to begin with */
	char pool_path[40], image_path[40];
	char sequence[TEXT];
	unsigned kill;          /* the daemon, after so many events; 0: not */
	unsigned meet;          /* an operation comes into another, at that point; 0: not */
};

void
die(const char *what, int err)
{
	fprintf(stderr, "crash: %s: %s\n", what, strerror(err));
	exit(2);
}

static void
quiet(void *arg, int level, const char *text)
{
	(void)arg, (void)level, (void)text;
}

static double
now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* ---- numbered sequences ------------------------------------------------------------------- */

static uint64_t
power(uint64_t n, unsigned k)
{
	return k ? n * power(n, k - 1) : 1;
}

static uint64_t
gcd(uint64_t a, uint64_t b)
{
	return b ? gcd(b, a % b) : a;
}

/* The i-th of n numbers in an order that the seed decides. */
static uint64_t
shuffled(uint64_t i, uint64_t n, uint64_t seed)
{
	uint64_t rng = seed, step;

	do
		step = calm_random(&rng) % n;
	while (gcd(step, n) != 1);
	return (uint64_t)(((unsigned __int128)i * step + calm_random(&rng)) % n);
}

/* The operations of a kind; how many. */
static unsigned
kinds(const struct op_def *of[OPS_MAX], enum op_kind kind)
{
	unsigned n = 0;

	for (unsigned k = 0; k < nops; k++)
		if (ops[k].kind == kind)
			of[n++] = &ops[k];
	return n;
}

static void
spell(char to[TEXT], uint64_t code, unsigned length)
{
	size_t at = 0;

	for (unsigned k = 0; k < length; k++, code /= nops)
		at += (size_t)snprintf(to + at, TEXT - at, "%s%s", k ? "," : "", ops[code % nops].name);
}

/* The code-th sequence of an operation, an fsync or sync, and one that may come into that. */
static void
spell_meeting(char to[TEXT], uint64_t code)
{
	const struct op_def *sync[OPS_MAX], *quiet[OPS_MAX];
	unsigned nsync = kinds(sync, OP_SYNCS), nquiet = kinds(quiet, OP_QUIET);

	snprintf(to, TEXT, "%s,%s,%s", ops[code % nops].name, sync[code / nops % nsync]->name,
	    quiet[code / nops / nsync % nquiet]->name);
}

/* One number in three of those from 1 on, which may be too large to be reached. */
static unsigned
one_in_three(uint64_t hash, unsigned most)
{
	calm_random(&hash);
	return hash % 3 ? 0 : 1 + (unsigned)(hash / 3 % most);
}

/* False: there are no more. */
static bool
sequence(struct worker *w, uint64_t number)
{
	const struct op_def *some[OPS_MAX];
	uint64_t seed = w->opt->seed, n2 = power(nops, 2), n3 = power(nops, 3), n4 = power(nops, LONGEST);
	uint64_t nmeetings = (uint64_t)nops * kinds(some, OP_SYNCS) * kinds(some, OP_QUIET) * MEET_POINTS_ONE;
	uint64_t i, round = 0;

	w->kill = w->meet = 0;
	if (number < NSCENARIOS) {
		snprintf(w->sequence, TEXT, "%s", scenarios[number]);
		return true;
	}
	number -= NSCENARIOS;
	if (number < nops) {
		spell(w->sequence, number, 1);
		return true;
	}
	number -= nops;
	i = number / 4;
	switch (number % 4) {
	case 0:
		snprintf(w->sequence, TEXT, "%s", scenarios[i % NSCENARIOS]);
		round = i / NSCENARIOS;
		*(round % 2 ? &w->kill : &w->meet) = 1 + (unsigned)(round / 2 % KILL_EVENTS);
		return true;
	case 1:
		i = shuffled(i % nmeetings, nmeetings, seed);
		spell_meeting(w->sequence, i / MEET_POINTS_ONE);
		w->meet = 1 + (unsigned)(i % MEET_POINTS_ONE);
		return true;
	case 2:
		i = shuffled(i % n2, n2, seed);
		spell(w->sequence, i, 2);
		break;
	default:
		if (i >= n3 + n4)
			return false;
		i = shuffled(i, n3 + n4, seed);
		spell(w->sequence, i < n3 ? i : i - n3, i < n3 ? 3 : LONGEST);
		break;
	}
	w->kill = one_in_three(number, KILL_EVENTS);
	w->meet = one_in_three(~number, MEET_POINTS);
	return true;
}

/* False: an operation is not known. */
static bool
parse(const char *text, struct run *r)
{
	r->nops = 0;
	while (*text) {
		size_t len = strcspn(text, ",");
		const struct op_def *op = op_find(text, len);

		if (!op || r->nops + 1 >= OPS_MAX)
			return false;
		r->op[++r->nops] = op;
		text += len + (text[len] == ',');
	}
	return true;
}

/* ---- one sequence --------------------------------------------------------------------------------- */

static const char *const plants[] = {
	[PLANT_NONE] = "none",
	[PLANT_BARRIER] = "barrier",
	[PLANT_FLUSH] = "flush",
	[PLANT_ROOT] = "root",
};

static uint8_t *
map_pool(int fd)
{
	uint8_t *at = mmap(NULL, CRASH_POOL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (at == MAP_FAILED)
		die("mmap", errno);
	return at;
}

/* The image as a file, with what is wrong with it beside. */
static void
keep(const struct options *o, const struct place *place, uint64_t number, const char *why)
{
	char path[400];
	uint8_t *image;
	FILE *f;

	if (!o->keep)
		return;
	mkdir(o->keep, 0755); /* if it is there or can't be made, fopen tells */
	snprintf(path, sizeof(path), "%s/image-%llu-%d", o->keep, (unsigned long long)number, (int)getpid());
	image = map_pool(place->image_fd);
	f = fopen(path, "w");
	if (!f || fwrite(image, CRASH_POOL_BYTES, 1, f) != 1)
		die(path, errno);
	fclose(f);
	munmap(image, CRASH_POOL_BYTES);
	printf("the image is %s\n", path);
	snprintf(path + strlen(path), 5, ".txt");
	f = fopen(path, "w");
	if (!f)
		die(path, errno);
	fprintf(f, "%s\n%s\n", why, place->command);
	fclose(f);
}

static void
name_image(struct worker *w, struct image_id id)
{
	const struct options *o = w->opt;

	w->place->id = id;
	snprintf(w->place->command, sizeof(w->place->command),
	    "tests/crash/crash --seed %llu --per-interval %u%s%s --domain %s --kill %u --meet %u --ops %s --image %u.%u",
	    (unsigned long long)o->seed, o->per_interval, o->plant ? " --plant " : "", o->plant ? plants[o->plant] : "",
	    domain_name(w->run.domain), w->kill, w->meet, w->sequence, id.interval, id.number);
}

static void
failed(struct worker *w, unsigned ended, const char *why)
{
	uint64_t n = __atomic_fetch_add(&w->shared->failures, 1, __ATOMIC_RELAXED);

	printf("FAILED after %s of %s: %s\n%s\n", ended ? w->run.op[ended]->name : "the mount", w->sequence, why,
	    w->place->command);
	keep(w->opt, w->place, n, why);
	fflush(stdout);
	if (n + 1 >= FAILURES_MAX)
		__atomic_store_n(&w->shared->stop, true, __ATOMIC_RELAXED);
}

static int
on_image(void *arg, struct image_id id, unsigned begun, unsigned ended, bool *stored)
{
	struct worker *w = arg;
	struct shared *s = w->shared;
	const struct options *o = w->opt;
	uint64_t n;
	const char *why;

	name_image(w, id);
	__atomic_fetch_add(&w->place->number, 1, __ATOMIC_RELAXED);
	why = judge(&w->run, w->image_path, begun, ended, id.number % USE_EVERY == 1, stored, o->only_one);
	n = __atomic_add_fetch(&s->images, 1, __ATOMIC_RELAXED);
	if (o->images && n >= o->images)
		__atomic_store_n(&s->stop, true, __ATOMIC_RELAXED);
	if (why) {
		*stored = true;
		failed(w, ended, why);
		return 1; /* one of a sequence will do */
	}
	return __atomic_load_n(&s->stop, __ATOMIC_RELAXED);
}

static void
copy_pages(uint8_t *to, const uint8_t *from)
{
	for (size_t off = 0; off < CRASH_POOL_BYTES; off += BLK_SIZE)
		if (memcmp(to + off, from + off, BLK_SIZE) != 0)
			memcpy(to + off, from + off, BLK_SIZE);
}

static uint64_t
text_hash(const char *text, uint64_t seed)
{
	for (; *text; text++) {
		seed ^= (uint8_t)*text;
		calm_random(&seed);
	}
	return seed;
}

static void
one_sequence(struct worker *w, enum domain_kind domain)
{
	const struct options *o = w->opt;
	uint64_t hash = text_hash(w->sequence, o->seed);

	if (!parse(w->sequence, &w->run))
		die(w->sequence, EINVAL);
	w->run.domain = domain;
	copy_pages(w->pool, w->base);
	w->run.meet_at = w->meet;
	/* What a client has stored to a dax file's own blocks he has to flush himself, or to fsync: if the daemon dies before that,
	 * it may be lost with the next power failure, and the tool's client does not flush. */
	if (domain == DOMAIN_PMEM && strstr(w->sequence, "store-x"))
		w->kill = 0;
	record_start(&w->rec, domain == DOMAIN_PMEM, o->plant, (unsigned)(hash % 16), w->kill);
	name_image(w, (struct image_id){ 0, 0 });
	run_sequence(&w->run);
	if (w->run.why) {
		failed(w, w->rec.ended, w->run.why);
		return;
	}
	w->replay.pages = domain == DOMAIN_PAGECACHE;
	w->replay.seed = hash;
	replay(&w->replay, &w->rec, w->base);
	__atomic_fetch_add(&w->shared->sequences, 1, __ATOMIC_RELAXED);
}

/* ---- a worker ------------------------------------------------------------------------------------------ */

static void
worker_start(struct worker *w, const struct options *o, struct shared *s, unsigned index)
{
	w->opt = o;
	w->shared = s;
	w->place = &s->place[index];
	snprintf(w->pool_path, sizeof(w->pool_path), "/proc/self/fd/%d", w->place->pool_fd);
	snprintf(w->image_path, sizeof(w->image_path), "/proc/self/fd/%d", w->place->image_fd);
	crash_mkpool(w->pool_path);
	crash_mkpool(w->image_path);
	w->pool = map_pool(w->place->pool_fd);
	w->base = malloc(CRASH_POOL_BYTES);
	if (!w->base)
		die("base", ENOMEM);
	memcpy(w->base, w->pool, CRASH_POOL_BYTES);
	record_init(&w->rec, w->pool);
	w->run.rec = &w->rec;
	w->run.path = w->pool_path;
	w->replay = (struct replay){ .pool = map_pool(w->place->image_fd), .per_interval = o->per_interval,
		.only = o->only, .only_one = o->only_one, .image = on_image, .arg = w };
}

static void
worker_end(struct worker *w)
{
	munmap(w->pool, CRASH_POOL_BYTES);
	munmap(w->replay.pool, CRASH_POOL_BYTES);
	record_free(&w->rec);
	run_free(&w->run);
	free(w->base);
}

static void
worker_main(const struct options *o, struct shared *s, unsigned index)
{
	static const enum domain_kind domains[] = { DOMAIN_PMEM, DOMAIN_PAGECACHE };
	struct worker *w = calloc(1, sizeof(*w));

	if (!w)
		die("worker", ENOMEM);
	worker_start(w, o, s, index);
	for (uint64_t n = index; !__atomic_load_n(&s->stop, __ATOMIC_RELAXED); n += o->jobs) {
		if (o->sequence) {
			snprintf(w->sequence, sizeof(w->sequence), "%s", o->sequence);
			w->kill = o->kill;
			w->meet = o->meet;
		} else if (!sequence(w, n)) {
			break;
		}
		for (unsigned k = 0; k < 2 && !__atomic_load_n(&s->stop, __ATOMIC_RELAXED); k++)
			if (o->domain < 0 || o->domain == (int)domains[k])
				one_sequence(w, domains[k]);
		if (o->sequence)
			break;
	}
	worker_end(w);
	free(w);
}

/* ---- the parent -------------------------------------------------------------------------------------------- */

static void
report(const struct shared *s, double start, bool end)
{
	uint64_t n = __atomic_load_n(&s->images, __ATOMIC_RELAXED);
	double t = now() - start;

	fprintf(stderr, "%s%llu images of %llu sequences in %.0f s (%.0f/s), %llu failed%s", end ? "" : "\r",
	    (unsigned long long)n, (unsigned long long)__atomic_load_n(&s->sequences, __ATOMIC_RELAXED), t,
	    (double)n / (t > 0 ? t : 1), (unsigned long long)__atomic_load_n(&s->failures, __ATOMIC_RELAXED),
	    end ? "\n" : "  ");
}

/* The worker has gone without an end. */
static void
died(const struct options *o, struct shared *s, unsigned index, const char *how)
{
	uint64_t n = __atomic_fetch_add(&s->failures, 1, __ATOMIC_RELAXED);

	printf("FAILED: %s\n%s\n", how, s->place[index].command);
	keep(o, &s->place[index], n, how);
	fflush(stdout);
}

static void
ended(const struct options *o, struct shared *s, unsigned index, int status)
{
	char how[80];

	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return;
	if (WIFSIGNALED(status))
		snprintf(how, sizeof(how), "ended by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		snprintf(how, sizeof(how), "ended with status %d", WEXITSTATUS(status));
	died(o, s, index, how);
}

static void
look_after(const struct options *o, struct shared *s, pid_t *pid)
{
	const struct timespec pause = { .tv_nsec = 20000000 };
	double start = now(), since[JOBS_MAX], said = start;
	uint64_t seen[JOBS_MAX] = { 0 };
	unsigned running = o->jobs;
	int status;

	for (unsigned k = 0; k < o->jobs; k++)
		since[k] = start;
	while (running > 0) {
		double t = now();

		nanosleep(&pause, NULL);
		if (o->seconds && t - start >= (double)o->seconds)
			__atomic_store_n(&s->stop, true, __ATOMIC_RELAXED);
		for (unsigned k = 0; k < o->jobs; k++) {
			uint64_t n = __atomic_load_n(&s->place[k].number, __ATOMIC_RELAXED);

			if (!pid[k])
				continue;
			if (n != seen[k]) {
				seen[k] = n;
				since[k] = t;
			} else if (t - since[k] > HANG_S) {
				printf("no image for %u s\n", HANG_S);
				kill(pid[k], SIGKILL);
				since[k] = t;
			}
			if (waitpid(pid[k], &status, WNOHANG) == pid[k]) {
				pid[k] = 0;
				running--;
				ended(o, s, k, status);
			}
		}
		if (o->progress && t - said >= 1) {
			report(s, start, false);
			said = t;
		}
	}
	if (o->progress)
		fputc('\n', stderr);
	report(s, start, true);
}

static void
usage(void)
{
	fputs("usage: crash [options]\n"
	    "  --images N         stop after so many images\n"
	    "  --seconds N        stop after so many seconds\n"
	    "  --jobs N           processes (default 2)\n"
	    "  --per-interval N   images between two barriers, at most (default 16)\n"
	    "  --seed N           of sequences and images (default 1)\n"
	    "  --domain NAME      pmem or pagecache only\n"
	    "  --ops A,B,...      this sequence only; --list tells what there is\n"
	    "  --image I.N        with --ops and --domain: this image only, and what it shows\n"
	    "  --kill N           with --ops: kill the daemon after N stores, flushes and barriers\n"
	    "  --meet N           with --ops: another thread does the operation behind an fsync, at point N of that\n"
	    "  --plant WHAT       leave out from the record: barrier, flush, root\n"
	    "  --keep DIR         store images that fail there\n"
	    "  --progress\n", stderr);
	exit(2);
}

static uint64_t
number_arg(const char *text)
{
	char *end;
	unsigned long long v = strtoull(text, &end, 0);

	if (end == text || *end)
		usage();
	return v;
}

static void
parse_options(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "images", 1, NULL, 'n' }, { "seconds", 1, NULL, 't' },
		{ "jobs", 1, NULL, 'j' }, { "per-interval", 1, NULL, 'i' }, { "seed", 1, NULL, 's' },
		{ "domain", 1, NULL, 'D' }, { "ops", 1, NULL, 'o' }, { "image", 1, NULL, 'I' },
		{ "plant", 1, NULL, 'p' }, { "keep", 1, NULL, 'k' }, { "progress", 0, NULL, 'P' },
		{ "kill", 1, NULL, 'K' }, { "meet", 1, NULL, 'm' }, { "list", 0, NULL, 'l' }, { NULL, 0, NULL, 0 },
	};
	enum domain_kind kind;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) >= 0) {
		switch (c) {
		case 'n': o->images = number_arg(optarg); break;
		case 't': o->seconds = number_arg(optarg); break;
		case 'j': o->jobs = (unsigned)number_arg(optarg); break;
		case 'i': o->per_interval = (unsigned)number_arg(optarg); break;
		case 's': o->seed = number_arg(optarg); break;
		case 'o': o->sequence = optarg; break;
		case 'k': o->keep = optarg; break;
		case 'K': o->kill = (unsigned)number_arg(optarg); break;
		case 'm': o->meet = (unsigned)number_arg(optarg); break;
		case 'P': o->progress = true; break;
		case 'D':
			if (domain_parse(optarg, &kind) < 0)
				usage();
			o->domain = (int)kind;
			break;
		case 'I':
			if (sscanf(optarg, "%u.%u", &o->only.interval, &o->only.number) != 2)
				usage();
			o->only_one = true;
			break;
		case 'p':
			for (unsigned k = 0; k < sizeof(plants) / sizeof(plants[0]); k++)
				if (strcmp(optarg, plants[k]) == 0)
					o->plant = (enum plant)k;
			if (!o->plant)
				usage();
			break;
		case 'l':
			for (unsigned k = 0; k < nops; k++)
				puts(ops[k].name);
			exit(0);
		default:
			usage();
		}
	}
	if (optind < argc || o->jobs == 0 || o->jobs > JOBS_MAX || o->per_interval == 0)
		usage();
	if (o->only_one && (!o->sequence || o->domain < 0))
		usage();
	if (o->sequence)
		o->jobs = 1;
}

int
main(int argc, char **argv)
{
	struct options o = { .jobs = 2, .per_interval = 16, .seed = 1, .domain = -1 };
	pid_t pid[JOBS_MAX];
	struct shared *s;
	bool failed;

	parse_options(argc, argv, &o);
	s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (s == MAP_FAILED)
		die("shared memory", errno);
	if (!o.only_one)
		pinfs_log_to(quiet, NULL);
	fflush(NULL);
	for (unsigned k = 0; k < o.jobs; k++) {
		s->place[k].pool_fd = memfd_create("pool", MFD_CLOEXEC);
		s->place[k].image_fd = memfd_create("image", MFD_CLOEXEC);
		if (s->place[k].pool_fd < 0 || s->place[k].image_fd < 0)
			die("memfd", errno);
		pid[k] = fork();
		if (pid[k] < 0)
			die("fork", errno);
		if (pid[k] == 0) {
			worker_main(&o, s, k);
			exit(0);
		}
	}
	look_after(&o, s, pid);
	failed = s->failures > 0;
	munmap(s, sizeof(*s));
	return failed;
}
