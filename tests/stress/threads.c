/* SPDX-License-Identifier: BSD-3-Clause */
/* threads [--dir D] [--seed N] [--seconds N] [--rounds N] [--threads N]: many threads at once on fs/.
 *
 * A round: each thread does random operations of three sorts (threads_areas.c: what it alone changes, in files
 * of its own and beside the others in one that all share; threads_common.c: files that all change, with pins and leases
 * that stay, and names), and dies at the first thing that must not be. Then all is released and nothing may be left of
 * it: pins, leases, waits, quarantine, reserved blocks, blocks that are in use by nobody. The pool is unmounted, or
 * abandoned after a sync as in a crash, checked, mounted again and compared; all is deleted, and as many blocks must be
 * free as at first.
 *
 * The seed decides what each thread does, but not when: a failure may need more rounds than one to come again.
 */
#include "tests/stress/threads.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "fs/check.h"
#include "pmem/held.h"

struct test test;
const struct fs_cred threads_cred = { .fsetid = true };
static char pool_file[600];

void
die(const char *fmt, ...)
{
	va_list ap;

	flockfile(stderr); /* the first one says it */
	va_start(ap, fmt);
	fputs("FAIL: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	unlink(pool_file);
	_exit(1);
}

void
must(int64_t r, const char *what)
{
	if (r < 0)
		die("%s: %s", what, strerror((int)-r));
}

void
must_all(int64_t r, size_t len, const char *what)
{
	must(r, what);
	if (r != (int64_t)len)
		die("%s: %lld bytes of %zu", what, (long long)r, len);
}

bool
may_be(struct worker *w, int64_t r, const char *what, const int *errors)
{
	if (r >= 0)
		return true;
	for (; *errors; errors++)
		if (r == -*errors) {
			w->refused++;
			return false;
		}
	die("%s: %s", what, strerror((int)-r));
}

/* ---- files, layout operations, mappings --------------------------------------------------------------------- */

struct inode *
directory(const char *name)
{
	struct inode *root, *i;
	int r;

	must(inode_get(test.fs, INO_ROOT, &root), "the root directory");
	r = fs_lookup(test.fs, root, name, &i);
	if (r == -ENOENT)
		r = fs_mkdir(test.fs, root, name, 0755, &threads_cred, &i);
	must(r, name);
	inode_put(root);
	return i;
}

struct file *
open_file(const char *name)
{
	struct inode *root, *i;
	struct file *f;
	int r;

	must(inode_get(test.fs, INO_ROOT, &root), "the root directory");
	r = fs_lookup(test.fs, root, name, &i);
	if (r == -ENOENT)
		r = fs_create(test.fs, root, name, S_IFREG | 0644, 0, &threads_cred, &i);
	must(r, name);
	must(fs_open(test.fs, i, O_RDWR, &threads_cred, &f), name);
	inode_put(i);
	inode_put(root);
	return f;
}

static void
resumed(struct layout_op *op, int r)
{
	struct ask *ask = caa_container_of(op, struct ask, op);

	ask->r = r;
	sem_post(&ask->over);
}

bool
layout_ask(struct worker *w, struct ask *ask, struct file *f, enum layout_kind kind, uint64_t off, uint64_t len)
{
	struct timespec until;
	int r;

	layout_op_init(&ask->op, f->inode, kind, off >> BLK_SHIFT, len ? bytes_to_blocks_up(off + len) : FBLK_MAX + 1);
	ask->op.resume = resumed;
	ask->op.nonblock = rnd(w, 8) == 0;
	sem_init(&ask->over, 0, 0);
	r = layout_begin(&ask->op);
	if (r == LAYOUT_PARKED) {
		park_run(fs_park(test.fs)); /* nobody else goes on with what this thread has woken */
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += 1000000 * (long)(1 + rnd(w, 40));
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		while ((r = sem_timedwait(&ask->over, &until)) < 0 && errno == EINTR)
			;
		if (r < 0) { /* interrupted, as by a signal */
			park_cancel(&ask->op.park);
			park_run(fs_park(test.fs));
			while (sem_wait(&ask->over) < 0 && errno == EINTR)
				;
		}
		r = ask->r;
	}
	sem_destroy(&ask->over);
	return may(w, r, "to be allowed a layout operation", ETXTBSY, EAGAIN, EWOULDBLOCK, EINTR);
}

void *
mapped(struct file *f, uint64_t off)
{
	struct map_extent e;

	if (map_extents(f->inode, off & ~(uint64_t)BLK_MASK, BLK_SIZE, &e, 1) != 1 || e.pool_off == UINT64_MAX)
		die("inode %llu: a pinned block at %#llx is nowhere", (unsigned long long)f->inode->ino, (unsigned long long)off);
	return (char *)pool_block(fs_pool(test.fs), e.pool_off >> BLK_SHIFT) + (off & BLK_MASK);
}

__attribute__((no_sanitize("thread"))) void
store_words(void *to, const void *from, size_t len)
{
	volatile uint64_t *t = to;
	const uint64_t *f = from;

	for (size_t k = 0; k < len / 8; k++)
		t[k] = f[k];
}

/* ---- rounds ----------------------------------------------------------------------------------------------------- */

static void
mount_pool(void)
{
	struct pool_error why;
	struct fs_options o;

	fs_options_default(&o);
	o.commit_s = 1;
	o.lease_break_ms = 20;
	o.transient_ms = 10;
	o.layout_wait = true;
	if (fs_mount(&test.fs, pool_file, &o, &why) < 0)
		die("mount: %s", why.text);
}

static void
tell_finding(void *arg, const struct check_finding *f)
{
	char text[512];

	(void)arg;
	if (f->error && check_format(f, text, sizeof(text)) > 0)
		fprintf(stderr, "check: %s\n", text);
}

static void
check(void)
{
	const struct pool_options po = { .flags = POOL_RDONLY, .domain = -1 };
	const struct check_options co = { .threads = 1, .finding = tell_finding };
	struct check_result res = { 0 };
	struct pool_error why;
	struct pool *p;

	must(pool_open(&p, pool_file, &po, &why), "open of the pool");
	must(check_pool(p, &co, &res), "check");
	pool_close(p);
	if (res.errors)
		die("the pool is damaged");
}

/* Blocks that are free when all is committed; nothing of pins, leases and waits is left. */
static uint64_t
all_quiet(void)
{
	struct alloc_stats st;
	struct fs_counters c;

	for (unsigned k = 0; k < 2; k++) {
		must(fs_sync(test.fs), "sync");
		must(txn_commit_wait(fs_pool(test.fs), txn_open_number(fs_pool(test.fs))), "commit");
	}
	held_check_all(fs_pool(test.fs));
	alloc_stats(pool_alloc(fs_pool(test.fs)), &st);
	fs_counters(test.fs, &c);
	if (c.pins || c.pinned_blocks || c.leases || c.parked || c.dirty_inodes || st.quarantined || st.reserved)
		die("left: %llu pins of %llu blocks, %llu leases, %llu waits, %llu dirty inodes, %llu blocks in quarantine, "
		    "%llu reserved",
		    (unsigned long long)c.pins, (unsigned long long)c.pinned_blocks, (unsigned long long)c.leases,
		    (unsigned long long)c.parked, (unsigned long long)c.dirty_inodes, (unsigned long long)st.quarantined,
		    (unsigned long long)st.reserved);
	return st.free;
}

static void
open_files(struct worker *w)
{
	char name[32];

	w->area[0].f = open_file("shared");
	for (unsigned k = 1; k < AREAS; k++) {
		snprintf(name, sizeof(name), "own%u-%u", w->me, k);
		w->area[k].f = open_file(name);
	}
	snprintf(name, sizeof(name), "scratch%u", w->me);
	w->scratch = open_file(name);
	for (unsigned k = 0; k < COMMON_FILES; k++) {
		snprintf(name, sizeof(name), "common%u", k);
		w->common[k] = open_file(name);
	}
}

static void
close_files(struct worker *w)
{
	for (unsigned k = 0; k < AREAS; k++)
		fs_release(w->area[k].f);
	for (unsigned k = 0; k < COMMON_FILES; k++)
		fs_release(w->common[k]);
	fs_release(w->scratch);
}

static void *
work(void *arg)
{
	struct worker *w = arg;

	park_runner(w->runner);
	while (!test.stop) {
		unsigned what = rnd(w, 64);

		if (what < 28)
			area_step(w);
		else if (what < 50)
			common_step(w);
		else if (what < 63)
			names_step(w);
		else
			shared_snapshot(w);
		if (w->runner)
			park_run(fs_park(test.fs));
		w->done++;
	}
	if (rnd(w, 2)) /* else they go with the file */
		release_held(w);
	memset(w->pin, 0, sizeof(w->pin));
	memset(w->lease, 0, sizeof(w->lease));
	close_files(w);
	if (w->runner)
		park_run(fs_park(test.fs));
	return NULL;
}

static void
compare(struct worker *w)
{
	open_files(w);
	for (unsigned k = 0; k < AREAS; k++) {
		struct stat st;

		inode_stat(w->area[k].f->inode, &st);
		if (st.st_size != (off_t)((k ? w->area[k].n : REGION * test.threads) * RECORD_SIZE))
			die("thread %u: file %u has %lld bytes", w->me, k, (long long)st.st_size);
		area_check(&w->area[k], w->me, 0, w->area[k].n);
	}
	for (unsigned k = 0; k < COMMON_FILES; k++)
		common_look(w->common[k]);
	names_check(w);
	close_files(w);
}

struct listed {
	char name[64][FS_NAME_MAX + 1];
	bool dir[64];
	unsigned n;
};

static int
list(void *arg, const char *name, size_t len, uint64_t ino, unsigned char type, off_t cookie, struct inode *child)
{
	struct listed *l = arg;

	(void)ino, (void)cookie, (void)child;
	if (name[0] == '.')
		return 0;
	snprintf(l->name[l->n], sizeof(l->name[0]), "%.*s", (int)len, name);
	l->dir[l->n] = type == DT_DIR;
	return ++l->n == 64;
}

static void
delete_all(struct inode *dir)
{
	static struct listed lists[2];
	static unsigned depth;
	struct listed *l = &lists[depth];
	struct inode *sub;

	do {
		l->n = 0;
		must(fs_readdir(test.fs, dir, 0, false, list, l), "readdir");
		for (unsigned k = 0; k < l->n; k++) {
			if (l->dir[k] && depth == 0) {
				depth++;
				must(fs_lookup(test.fs, dir, l->name[k], &sub), "lookup");
				delete_all(sub);
				inode_put(sub);
				depth--;
			}
			must(l->dir[k] ? fs_rmdir(test.fs, dir, l->name[k]) : fs_unlink(test.fs, dir, l->name[k]), "delete");
		}
	} while (l->n > 0);
}

static void
round_of(unsigned number, unsigned ms)
{
	const struct timespec pause = { ms / 1000, (long)(ms % 1000) * 1000000 };
	struct stat st = { .st_size = (off_t)test.threads * REGION * RECORD_SIZE };
	struct inode *root, *dir;
	uint64_t before, after;
	struct file *f;

	mount_pool();
	before = all_quiet();
	f = open_file("shared");
	must(fs_setattr(test.fs, f->inode, FS_SET_SIZE, &st, &threads_cred), "truncate");
	fs_release(f);
	f = open_file("common0");
	must(fs_setflags(test.fs, f->inode, INODE_FL_DAX, 0, &threads_cred), "dax");
	fs_release(f);
	for (unsigned k = 0; k < 3; k++) {
		dir = directory(k == 0 ? "names" : k == 1 ? "x" : "y");
		inode_put(dir);
	}
	test.stop = false;
	for (unsigned t = 0; t < test.threads; t++) {
		struct worker *w = &test.worker[t];

		for (unsigned k = 0; k < AREAS; k++)
			w->area[k] = (struct area){ .own = k > 0, .n = k ? 0 : REGION, .base = k ? 0 : (uint64_t)t * REGION };
		memset(w->name, 0, sizeof(w->name));
		memset(w->value, 0, sizeof(w->value));
		w->runner = t % 2;
		open_files(w);
		must(fs_setflags(test.fs, w->area[AREAS - 1].f->inode, INODE_FL_DAX, 0, &threads_cred), "dax");
		if (pthread_create(&w->thread, NULL, work, w) != 0)
			die("no thread");
	}
	nanosleep(&pause, NULL);
	test.stop = true;
	for (unsigned t = 0; t < test.threads; t++)
		pthread_join(test.worker[t].thread, NULL);
	after = all_quiet();
	if (number % 2)
		must(fs_umount(test.fs), "unmount");
	else
		fs_abandon(test.fs);
	check();
	mount_pool();
	if (all_quiet() != after) /* which counts what is free by what is in use */
		die("%llu blocks were free, not as many as after a mount", (unsigned long long)after);
	for (unsigned t = 0; t < test.threads; t++)
		compare(&test.worker[t]);
	must(inode_get(test.fs, INO_ROOT, &root), "the root directory");
	delete_all(root);
	inode_put(root);
	if (all_quiet() != before)
		die("not all blocks are free again: %llu at first", (unsigned long long)before);
	must(fs_umount(test.fs), "unmount");
	check();
}

int
main(int argc, char **argv)
{
	static const struct option options[] = { { "dir", 1, NULL, 'd' }, { "seed", 1, NULL, 's' },
		{ "seconds", 1, NULL, 't' }, { "rounds", 1, NULL, 'r' }, { "threads", 1, NULL, 'n' }, { 0 } };
	const struct mkfs_options mo = { .bytes = (uint64_t)64 << 20, .force = true };
	unsigned long seed = 1, seconds = 3, rounds = 2, k;
	unsigned long long done = 0, refused = 0;
	const char *dir = "/dev/shm";
	struct pool_error why;
	int c;

	test.threads = 8;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		unsigned long n = c == 'd' || c == '?' ? 0 : strtoul(optarg, NULL, 0);

		if (c == 'd')
			dir = optarg;
		else if (c == 's')
			seed = n;
		else if (c == 't')
			seconds = n;
		else if (c == 'r')
			rounds = n;
		else if (c == 'n' && n > 0 && n <= THREADS_MAX)
			test.threads = (unsigned)n;
		else
			errx(2, "usage: threads [--dir D] [--seed N] [--seconds N of a round] [--rounds N] [--threads 1..%d]", THREADS_MAX);
	}
	snprintf(pool_file, sizeof(pool_file), "%s/threads.%d", dir, (int)getpid());
	for (unsigned t = 0; t < test.threads; t++) {
		test.worker[t].me = t;
		test.worker[t].seed = (seed * THREADS_MAX + t + 1) * 0x9e3779b97f4a7c15u;
	}
	if (pool_mkfs(pool_file, &mo, &why) < 0 || fs_format(pool_file, getuid(), getgid(), 0755, &why) < 0)
		die("mkfs: %s", why.text);
	for (k = 0; k < rounds; k++)
		round_of((unsigned)k, (unsigned)seconds * 1000);
	unlink(pool_file);
	for (unsigned t = 0; t < test.threads; t++) {
		done += test.worker[t].done;
		refused += test.worker[t].refused;
	}
	printf("%llu operations (%llu refused) of %u threads in %lu rounds, seed %lu: 0 failed\n", done, refused, test.threads, k,
	    seed);
	return 0;
}
