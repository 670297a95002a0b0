/* SPDX-License-Identifier: BSD-3-Clause */
/* Every allocation and every system call of pmem/ and fs/ fails once, and then it and all after it.
 *
 *     faults [--domain volatile|pagecache|pmem] [--from N] [--to N] [--on] [--step K] [-v]
 *
 * A fixed sequence of operations runs on a small pool, beside a model of what the files hold. First without a fault, to
 * count the points; then once for each point, in a process of its own, that point failing (wrap.h), and with
 * --on once more for every K-th point with everything failing from there on. Whatever fails:
 *
 *   - no operation crashes or hangs, and one that returns an error has changed nothing;
 *   - after a fault that passed, everything works again, unless the pool has become read-only (EROFS, EIO), as it
 *     does when a commit fails;
 *   - if unmounting says success, the next mount finds exactly the model;
 *   - if it does not, and after a crash, names are as after some step not before the last sync that said success, and
 *     each file's content is one that the file has had since then;
 *   - the check finds nothing.
 *
 * The last line tells how many points were tried.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/falloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fs/check.h"
#include "fs/fs.h"
#include "fs/pin.h"
#include "pmem/crc.h"
#include "pmem/log.h"
#include "tests/faults/wrap.h"

#define POOL_BYTES ((uint64_t)4 << 20)
#define OBJECTS 12
#define CONTENT_MAX 65536u
#define STATES_MAX 128
#define LIMIT_S 60 /* for one run */

/* ---- the model ------------------------------------------------------------------------------ */

struct object {            /* a file, under its one name */
	char name[16];     /* "": unlinked, or never made */
	uint64_t size;
	uint8_t data[CONTENT_MAX];
	char xattr[8];     /* value of user.x, "" if there is none */
};
struct state {             /* what can be told apart after a crash */
	char name[OBJECTS][16];
	uint64_t size[OBJECTS];
	uint32_t crc[OBJECTS];
};
static struct object object[OBJECTS];
static struct state state[STATES_MAX];
static int nstates, names_acked, acked[OBJECTS]; /* indexes of states */

static void
push_state(void)
{
	struct state *s = &state[nstates++];

	if (nstates > STATES_MAX)
		abort();
	for (int k = 0; k < OBJECTS; k++) {
		memcpy(s->name[k], object[k].name, sizeof(s->name[k]));
		s->size[k] = object[k].size;
		s->crc[k] = crc32c(object[k].data, object[k].size);
	}
}

/* ---- one run ----------------------------------------------------------------------------------- */

static const struct fs_cred cred = { .umask = 022, .fsetid = true };
static struct fs *fs;
static char path[64];
static int domain = -1;
static bool verbose;

static void __attribute__((noreturn, format(printf, 1, 2)))
broken(const char *fmt, ...)
{
	va_list ap;

	printf("BROKEN (first fault: %s): ", faults_hit() ? faults_hit() : "none");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
	_exit(1);
}

static int
get(int k, struct inode **i)
{
	struct inode *dir;
	int r = inode_get(fs, INO_ROOT, &dir);

	if (r < 0)
		return r;
	r = fs_lookup(fs, dir, object[k].name, i);
	inode_put(dir);
	return r;
}

static int
open_object(int k, struct file **f)
{
	struct inode *i;
	int r = get(k, &i);

	if (r < 0)
		return r;
	r = fs_open(fs, i, O_RDWR, &cred, f);
	inode_put(i);
	return r;
}

enum what {
	END, CREATE, WRITE, TRUNCATE, PUNCH, PREALLOCATE, CLONE, COLLAPSE, INSERT, EXCHANGE, RENAME, UNLINK, XATTR, PIN_STORE,
	FSYNC, SYNC, LIST,
};
struct step {
	enum what what;
	int k;            /* object */
	uint64_t a, b;    /* offset or size, length */
	int other;        /* object */
};

static int
do_create(const struct step *s)
{
	struct inode *dir, *i;
	char name[16];
	int r = inode_get(fs, INO_ROOT, &dir);

	if (r < 0)
		return r;
	snprintf(name, sizeof(name), "file%d", s->k);
	r = fs_create(fs, dir, name, S_IFREG | 0600, 0, &cred, &i);
	inode_put(dir);
	if (r < 0)
		return r;
	inode_put(i);
	memcpy(object[s->k].name, name, sizeof(name));
	return 0;
}

static int
do_rename(const struct step *s, bool away)
{
	struct object *o = &object[s->k];
	struct inode *dir;
	int r = inode_get(fs, INO_ROOT, &dir);

	if (r < 0)
		return r;
	r = away ? fs_unlink(fs, dir, o->name) : fs_rename(fs, dir, o->name, dir, object[s->other].name, 0);
	inode_put(dir);
	if (r < 0)
		return r;
	if (!away) {
		char name[16];

		memcpy(name, object[s->other].name, sizeof(name));
		object[s->other].name[0] = '\0';
		memcpy(o->name, name, sizeof(name));
	} else {
		o->name[0] = '\0';
	}
	return 0;
}

static int
count_entry(void *arg, const char *name, size_t len, uint64_t ino, unsigned char type, off_t cookie, struct inode *child)
{
	(void)name, (void)len, (void)ino, (void)type, (void)cookie;
	inode_put(child);
	++*(int *)arg;
	return 0;
}

static int
do_list(void)
{
	struct inode *dir;
	int n = 0, want = 2, r = inode_get(fs, INO_ROOT, &dir);

	if (r < 0)
		return r;
	r = fs_readdir(fs, dir, 0, true, count_entry, &n);
	inode_put(dir);
	for (int k = 0; k < OBJECTS; k++)
		want += object[k].name[0] != '\0';
	if (r >= 0 && n != want)
		broken("a directory of %d entries lists %d", want, n);
	return min_of(r, 0);
}

/* Stores through the mapping, as a holder would. */
static int
pin_store(struct file *f, struct object *o, const struct step *s)
{
	const struct pin_params params = { .access = PIN_WRITE, .class = PIN_TRANSIENT, .flags = PIN_ALLOC };
	struct pin_range range = { .off = s->a, .len = s->b };
	uint64_t id, end = s->a + s->b;
	int r;

	r = pin_add(f, &params, &range, 1, &cred, &id);
	if (r < 0)
		return r;
	if (o->size < end) {
		memset(o->data + o->size, 0, end - o->size);
		o->size = end;
	}
	if (range.ext_len >= BLK_SIZE) {
		memset(pool_block(fs_pool(fs), range.pool_off >> BLK_SHIFT), 'P', 100);
		memset(o->data + range.off, 'P', 100);
	}
	return pin_remove(f, id);
}

static void
exchange_content(struct object *a, struct object *b)
{
	uint8_t *was = object[OBJECTS - 1].data;
	uint64_t size = a->size;

	memcpy(was, a->data, CONTENT_MAX);
	memcpy(a->data, b->data, CONTENT_MAX);
	memcpy(b->data, was, CONTENT_MAX);
	a->size = b->size;
	b->size = size;
}

static int
in_file(const struct step *s)
{
	struct object *o = &object[s->k];
	struct stat st = { .st_size = (off_t)s->a };
	struct file *f, *g;
	ssize_t n;
	int r = open_object(s->k, &f);

	if (r < 0)
		return r;
	switch (s->what) {
	case WRITE:
		/* of its own bytes, so that every write differs */
		for (uint64_t k = 0; k < s->b; k++)
			((uint8_t *)object[OBJECTS - 1].data)[k] = (uint8_t)(k + s->a + 31 * (uint64_t)nstates);
		n = fs_write(f, object[OBJECTS - 1].data, s->b, s->a, false);
		r = (int)min_of(n, 0);
		if (n > 0) {
			if (s->a > o->size)
				memset(o->data + o->size, 0, s->a - o->size);
			memcpy(o->data + s->a, object[OBJECTS - 1].data, (size_t)n);
			o->size = max_of(o->size, s->a + (uint64_t)n);
		}
		break;
	case TRUNCATE:
		r = fs_setattr(fs, f->inode, FS_SET_SIZE, &st, &cred);
		if (r == 0 && s->a > o->size)
			memset(o->data + o->size, 0, s->a - o->size);
		if (r == 0)
			o->size = s->a;
		break;
	case PUNCH:
		r = fs_fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, s->a, s->b);
		if (r == 0 && s->a < o->size)
			memset(o->data + s->a, 0, min_of(s->b, o->size - s->a));
		break;
	case PREALLOCATE:
		r = fs_fallocate(f, 0, s->a, s->b);
		if (r == 0 && s->a + s->b > o->size) {
			memset(o->data + o->size, 0, s->a + s->b - o->size);
			o->size = s->a + s->b;
		}
		break;
	case CLONE:
		r = open_object(s->other, &g);
		if (r < 0)
			break;
		r = fs_clone_range(f, s->a, g, s->b, 0);
		if (r == 0) {
			struct object *d = &object[s->other];
			uint64_t len = o->size - s->a;

			if (s->b > d->size)
				memset(d->data + d->size, 0, s->b - d->size);
			memcpy(d->data + s->b, o->data + s->a, len);
			d->size = max_of(d->size, s->b + len);
		}
		fs_release(g);
		break;
	case COLLAPSE:
		r = fs_collapse_range(f, s->a, s->b);
		if (r == 0) {
			memmove(o->data + s->a, o->data + s->a + s->b, o->size - s->a - s->b);
			o->size -= s->b;
		}
		break;
	case INSERT:
		r = fs_insert_range(f, s->a, s->b);
		if (r == 0) {
			memmove(o->data + s->a + s->b, o->data + s->a, o->size - s->a);
			memset(o->data + s->a, 0, s->b);
			o->size += s->b;
		}
		break;
	case EXCHANGE:
		r = open_object(s->other, &g);
		if (r < 0)
			break;
		r = fs_exchange_range(f, 0, g, 0, 0);
		if (r == 0)
			exchange_content(o, &object[s->other]);
		fs_release(g);
		break;
	case XATTR:
		r = fs_setxattr(fs, f->inode, "user.x", "value", 5, 0, &cred);
		if (r == 0)
			strcpy(o->xattr, "value");
		break;
	case PIN_STORE:
		r = pin_store(f, o, s);
		break;
	default:
		abort();
	}
	fs_release(f);
	return r;
}

static int
do_fsync(const struct step *s)
{
	struct inode *i;
	int r = get(s->k, &i);

	if (r < 0)
		return r;
	r = fs_fsync_wait(fs, i, false);
	inode_put(i);
	if (r == 0)
		acked[s->k] = names_acked = nstates - 1;
	return r;
}

static int
do_sync(void)
{
	int r = fs_sync(fs);

	for (int k = 0; r == 0 && k < OBJECTS; k++)
		acked[k] = names_acked = nstates - 1;
	return r;
}

static const struct step steps[] = {
	{ CREATE, 0, 0, 0, 0 }, { WRITE, 0, 0, 20000, 0 }, { FSYNC, 0, 0, 0, 0 },
	{ WRITE, 0, 5000, 6000, 0 }, { CREATE, 1, 0, 0, 0 }, { WRITE, 1, 100, 3000, 0 },
	{ TRUNCATE, 0, 9001, 0, 0 }, { XATTR, 1, 0, 0, 0 }, { FSYNC, 1, 0, 0, 0 },
	{ CREATE, 2, 0, 0, 0 }, { CLONE, 0, 4096, 8192, 2 }, { PUNCH, 0, 1000, 5000, 0 },
	{ WRITE, 2, 9000, 100, 0 }, { FSYNC, 2, 0, 0, 0 }, { WRITE, 0, 40000, 20000, 0 },
	{ PREALLOCATE, 1, 10000, 20000, 0 }, { WRITE, 1, 15000, 300, 0 }, { PIN_STORE, 0, 4096, 16384, 0 },
	{ FSYNC, 0, 0, 0, 0 }, { COLLAPSE, 0, 4096, 8192, 0 }, { INSERT, 0, 8192, 4096, 0 }, { EXCHANGE, 0, 0, 0, 1 },
	{ FSYNC, 1, 0, 0, 0 }, { EXCHANGE, 0, 0, 0, 1 }, { PIN_STORE, 0, 8192, 4096, 0 }, { RENAME, 2, 0, 0, 1 },
	{ CREATE, 3, 0, 0, 0 }, { CREATE, 4, 0, 0, 0 }, { CREATE, 5, 0, 0, 0 }, { WRITE, 3, 0, 10, 0 },
	{ SYNC, 0, 0, 0, 0 }, { UNLINK, 3, 0, 0, 0 }, { TRUNCATE, 0, 0, 0, 0 }, { LIST, 0, 0, 0, 0 },
	{ WRITE, 4, 60000, 5000, 0 }, { CLONE, 4, 0, 0, 5 }, { WRITE, 5, 0, 4096, 0 }, { FSYNC, 5, 0, 0, 0 },
	{ TRUNCATE, 4, 100, 0, 0 }, { PIN_STORE, 2, 0, 4096, 0 }, { UNLINK, 5, 0, 0, 0 }, { LIST, 0, 0, 0, 0 },
	{ END, 0, 0, 0, 0 },
};

/* The file is the object. */
static void
compare(int k)
{
	static uint8_t got[CONTENT_MAX + 1];
	struct object *o = &object[k];
	char value[8] = "";
	struct file *f;
	ssize_t n;
	int r;

	if (!o->name[0])
		return;
	r = open_object(k, &f);
	if (r < 0)
		broken("%s can't be opened: %s", o->name, strerror(-r));
	n = fs_read(f, got, sizeof(got), 0);
	if (n != (ssize_t)o->size || memcmp(got, o->data, o->size) != 0)
		broken("%s: %zd bytes, or others than the %llu that it should have", o->name, n,
		    (unsigned long long)o->size);
	n = fs_getxattr(fs, f->inode, "user.x", value, sizeof(value) - 1);
	if (n != -ENODATA && n < 0)
		broken("%s: attribute: %s", o->name, strerror((int)-n));
	if (strcmp(value, o->xattr) != 0)
		broken("%s: attribute '%s', should be '%s'", o->name, value, o->xattr);
	fs_release(f);
}

static int
do_step(const struct step *s)
{
	if (s->what != CREATE && s->what != SYNC && s->what != LIST && !object[s->k].name[0])
		return 0; /* a step before it failed */
	if ((s->what == CLONE || s->what == EXCHANGE || s->what == RENAME) && !object[s->other].name[0])
		return 0;
	switch (s->what) {
	case CREATE: return do_create(s);
	case RENAME: return do_rename(s, false);
	case UNLINK: return do_rename(s, true);
	case LIST: return do_list();
	case FSYNC: return do_fsync(s);
	case SYNC: return do_sync();
	default: return in_file(s);
	}
}

static void
finding(void *arg, const struct check_finding *f)
{
	char line[400];

	(void)arg;
	check_format(f, line, sizeof(line));
	if (f->error)
		printf("  %s\n", line);
}

static void
check_clean(void)
{
	struct pool_options po = { .flags = POOL_RDONLY, .domain = domain };
	struct check_options co = { .threads = 1, .finding = finding };
	struct check_result res = { 0 };
	struct pool_error err;
	struct pool *p;

	if (pool_open(&p, path, &po, &err) < 0)
		broken("the pool can't be opened: %s", err.text);
	if (check_pool(p, &co, &res) < 0 || res.errors > 0)
		broken("the check finds %llu errors", (unsigned long long)res.errors);
	pool_close(p);
}

static int
mount_fs(struct pool_error *err)
{
	struct fs_options o;

	fs_options_default(&o);
	o.commit_s = 3600;
	o.pool.domain = domain;
	return fs_mount(&fs, path, &o, err);
}

/* After a crash: one of the states since the last sync. */
static void
check_states(void)
{
	struct object was[OBJECTS];
	bool match = false;
	int s, k;

	memcpy(was, object, sizeof(was));
	for (s = names_acked; s < nstates && !match; s++) {
		match = true;
		for (k = 0; k < OBJECTS && match; k++) {
			struct inode *i;
			int r;

			/* a name of this state is there; one that only another has is not */
			memcpy(object[k].name, state[s].name[k], sizeof(object[k].name));
			if (object[k].name[0]) {
				r = get(k, &i);
				match = r == 0;
				if (r == 0)
					inode_put(i);
			}
		}
		if (match) {
			int n = 0, want = 2;
			struct inode *dir;

			if (inode_get(fs, INO_ROOT, &dir) < 0 || fs_readdir(fs, dir, 0, false, count_entry, &n) < 0)
				broken("the root directory can't be read");
			inode_put(dir);
			for (k = 0; k < OBJECTS; k++)
				want += object[k].name[0] != '\0';
			match = n == want;
		}
	}
	if (!match)
		broken("after a crash: names as after no step from %d to %d", names_acked, nstates - 1);
	for (k = 0; k < OBJECTS; k++) {
		static uint8_t got[CONTENT_MAX + 1];
		struct file *f;
		ssize_t n;
		int a;

		if (!object[k].name[0])
			continue;
		if (open_object(k, &f) < 0)
			broken("after a crash: %s can't be opened", object[k].name);
		n = fs_read(f, got, sizeof(got), 0);
		fs_release(f);
		for (a = acked[k]; a < nstates; a++)
			if (n == (ssize_t)state[a].size[k] && crc32c(got, (size_t)n) == state[a].crc[k])
				break;
		if (a == nstates)
			broken("after a crash: %s has %zd bytes of no state since its sync", object[k].name, n);
	}
	memcpy(object, was, sizeof(was));
}

/* Faults may be told of; but that the allocator's books are wrong is none. (With --enable-debug it aborts.) */
static void
no_log(void *arg, int level, const char *text)
{
	(void)arg;
	if (verbose)
		printf("  log %d: %s\n", level, text);
	if (strncmp(text, "allocator:", 10) == 0)
		broken("%s", text);
}

/* In a process of its own. crash: end without unmounting. Returns how many points there were. */
static uint64_t
run(uint64_t n, bool on, bool crash)
{
	struct pool_error err = { "" };
	bool excused = n != 0; /* errors may come */
	uint64_t points;
	int r;

	pinfs_log_to(no_log, NULL);
	push_state();
	faults_arm(n, on);
	r = mount_fs(&err);
	if (r < 0) {
		points = faults_disarm();
		if (!excused)
			broken("mount: %s", err.text);
		if (!err.text[0])
			broken("mount fails with %s and does not say why", strerror(-r));
		check_clean();
		return points;
	}
	for (const struct step *s = steps; s->what != END; s++) {
		r = do_step(s);
		if (r < 0 && !(excused && faults_hit()))
			broken("step %d: %s", (int)(s - steps), strerror(-r));
		push_state();
		if (verbose && r < 0)
			printf("  step %d: %s\n", (int)(s - steps), strerror(-r));
		/* the fault has passed: an operation that failed has changed nothing */
		if (r < 0 && !on && s->what != SYNC && s->what != LIST)
			compare(s->k);
		if (r < 0 && !on && (s->what == CLONE || s->what == EXCHANGE || s->what == RENAME))
			compare(s->other);
	}
	faults_pause(true);
	if (!on)
		for (int k = 0; k < OBJECTS; k++)
			compare(k);
	faults_pause(false);
	if (crash) {
		points = faults_disarm();
		fs_abandon(fs);
		r = -EIO;
	} else {
		r = fs_umount(fs);
		points = faults_disarm();
		if (r < 0 && !(excused && faults_hit()))
			broken("umount: %s", strerror(-r));
	}
	check_clean();
	if (mount_fs(&err) < 0)
		broken("the second mount: %s", err.text);
	if (r == 0)
		for (int k = 0; k < OBJECTS; k++)
			compare(k);
	else
		check_states();
	r = fs_umount(fs);
	if (r < 0)
		broken("the second umount: %s", strerror(-r));
	check_clean();
	return points;
}

/* ---- all runs ---------------------------------------------------------------------------------------- */

static uint64_t *shared_points;

static void
fresh_pool(void)
{
	static uint8_t *base;
	struct mkfs_options mo = { .bytes = POOL_BYTES, .force = true };
	struct pool_error err;
	int fd;

	if (!base) {
		base = malloc(POOL_BYTES);
		if (!base || pool_mkfs(path, &mo, &err) < 0 || fs_format(path, 0, 0, 0755, &err) < 0)
			broken("mkfs");
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || read(fd, base, POOL_BYTES) != (ssize_t)POOL_BYTES)
			broken("reading the pool");
		close(fd);
	}
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || pwrite(fd, base, POOL_BYTES, 0) != (ssize_t)POOL_BYTES)
		broken("writing the pool");
	close(fd);
}

/* True if it went as it should. */
static bool
fork_run(uint64_t n, bool on, bool crash)
{
	int status;
	pid_t pid;

	fresh_pool();
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		alarm(LIMIT_S);
		*shared_points = run(n, on, crash);
		fflush(stdout);
		exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0) {
		printf("fork: %s\n", strerror(errno));
		return false;
	}
	if (status == 0)
		return true;
	printf("FAIL: point %llu%s%s: %s %d\n", (unsigned long long)n, on ? " and all after it" : "",
	    crash ? ", then a crash" : "", WIFSIGNALED(status) ? "signal" : "status",
	    WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	return false;
}

static void
remove_pool(void)
{
	unlink(path);
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "domain", required_argument, NULL, 'd' }, { "from", required_argument, NULL, 'f' },
		{ "to", required_argument, NULL, 't' }, { "step", required_argument, NULL, 's' },
		{ "on", no_argument, NULL, 'o' }, { NULL, 0, NULL, 0 },
	};
	uint64_t from = 1, to = UINT64_MAX, step = 1, tried = 0, failed = 0, points;
	enum domain_kind kind;
	bool on = false;
	int c;

	while ((c = getopt_long(argc, argv, "v", options, NULL)) != -1) {
		switch (c) {
		case 'd':
			if (domain_parse(optarg, &kind) < 0)
				return 2;
			domain = (int)kind;
			break;
		case 'f': from = strtoull(optarg, NULL, 0); break;
		case 't': to = strtoull(optarg, NULL, 0); break;
		case 's': step = max_of(strtoull(optarg, NULL, 0), 1ull); break;
		case 'o': on = true; break;
		case 'v': verbose = true; break;
		default: return 2;
		}
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	snprintf(path, sizeof(path), "%s/pinfs-faults.%d", getenv("PINFS_TEST_DIR") ? getenv("PINFS_TEST_DIR") : "/dev/shm",
	    (int)getpid());
	shared_points = mmap(NULL, sizeof(*shared_points), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared_points == MAP_FAILED)
		return 1;
	if (!fork_run(0, false, false)) {
		remove_pool();
		return 1;
	}
	points = *shared_points;
	for (uint64_t n = from; n <= min_of(to, points); n += step, tried++) {
		failed += !fork_run(n, false, n & 1);
		if (on)
			failed += !fork_run(n, true, !(n & 1));
	}
	remove_pool();
	printf("%llu points, %llu tried%s, %llu failed\n", (unsigned long long)points, (unsigned long long)tried,
	    on ? " both ways" : "", (unsigned long long)failed);
	return failed > 0;
}
