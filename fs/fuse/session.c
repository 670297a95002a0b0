/* SPDX-License-Identifier: BSD-3-Clause */
/* How requests reach threads.
 *
 * What a small request costs is not its work but the way to it: waking a processor that
 * sleeps takes longer than reading 4 KiB. So a request should be executed on the processor of the
 * client that waits for it, with no other one involved. The kernel does not help: it wakes whichever
 * reader of the device has waited longest. Hence:
 *
 *   - Workers have a home, a processor, and stay there. Where there is one processor (or the
 *     daemon was bound to one), nobody is moved.
 *   - A worker is SEATED (reads the device, executes what it gets, inline), RESTING (waits to be
 *     seated), or AWAY (executes something long). As few as possible are seated: one, if one
 *     client at a time has something to ask.
 *   - Every WINDOW requests a worker looks back: where do the clients run that it served? The workers
 *     whose homes these are should be seated; it rests itself if its own home is not among them; and if
 *     no client is anywhere else, others that serve the same clients need not be seated.
 *     If it never had to wait, because there was always a request pending, another worker is seated
 *     in any case.
 *   - Nobody spins: an idle daemon costs nothing.
 *
 * At least one worker should be ready for the next request at any time. What is known to be long
 * says so (session_long_request): the worker is AWAY then, and if it was the last one seated, another
 * one is seated in its place. For all other reasons to take long, a page of the pool that has to come from a
 * disk, a lock, a commit, there is a watchman: a thread that looks every few milliseconds, while
 * there are requests, whether a seated worker is still at the same request, and declares it AWAY.
 *
 *        seat                   long request, or the watchman
 *     RESTING ------> SEATED ---------------------------------> AWAY
 *        ^               |   <---------------------------------  |
 *        +---------------+        done, and nobody is seated     |
 *        |  not needed                                           |
 *        +-------------------------------------------------------+
 *                         done, and others are seated
 *
 * A stream of large writes is received without a copy: the worker offers the kernel blocks of the
 * pool as the place for the payload, and they become the file's blocks as they are.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fs/fuse/front_i.h"
#include "pmem/log.h"

#define WINDOW 64               /* requests between two looks back */
#define FUSE_COMPAT_INIT_IN 16    /* bytes of INIT's body up to its flags */
#define RECENT 2                /* clients that a worker remembers */
#define HOMES_MAX 16u           /* workers with a home of their own */
#define SPARE_WORKERS 8u        /* by default, beside them: for what takes long */
#define WATCH_NS 2000000        /* the watchman's round */
#define WATCH_IDLE_ROUNDS 25    /* without a request, after which he goes to sleep */
#define WAKE_SIGNAL SIGURG      /* gets a worker out of read(2); ignored by default */

#define HEAD_BYTES (sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in))
#define BUFFER_BYTES (HEAD_BYTES + SESSION_MAX_WRITE)
#define STREAM_BYTES (128u * 1024)        /* a write of at least that many is one of a stream */
#define STREAM_RUN ((uint64_t)SESSION_MAX_WRITE >> BLOCK_SHIFT)
/* Streams get blocks beforehand only while the pool has plenty. */
#define STREAM_MIN_FREE ((uint64_t)64 << 20 >> BLOCK_SHIFT)

enum worker_state { SEATED, RESTING, AWAY };

/* A thread that sends requests. */
struct client {
	uint32_t tid;               /* 0: none */
	int stat_fd;                /* /proc/<tid>/stat, -1: not open */
};

struct worker {
	struct session *s;
	pthread_t thread;
	int home;                   /* processor, -1: none */
	enum worker_state state;    /* P: s->lock to change; its own thread reads it atomically */
	pthread_cond_t seated;      /* its state is not RESTING any more, or the session ends */
	uint64_t turn;              /* atomic; odd while a request is executed */
	uint64_t seen_turn;         /* the watchman's */
	uint32_t client;            /* atomic; thread that sent the newest request */

	/* the worker's own */
	bool at_home;               /* bound to it */
	unsigned in_window;         /* requests */
	unsigned changed;           /* of these from another client than the one before */
	unsigned returned;          /* and this one had been there before, but not just now */
	struct client recent[RECENT]; /* the newest first */
	long switches;              /* at the beginning of the window */
	bool stream;                /* the newest request was a large write */
	pblk_t run;                 /* blocks of the pool for the next one, PBLK_NONE: none */
	uint8_t *buf;               /* BUFFER_BYTES */
} __attribute__((aligned(128)));

struct session {
	struct front *front;
	int fd, ended_fd;
	bool debug, deny_others;
	uid_t owner;
	cpu_set_t cpus;             /* that we were allowed when we began */
	unsigned ncpus;
	unsigned max_workers;

	struct mtx lock;            /* LOCK_LEAF */
	unsigned nworkers;          /* P: lock; started, never fewer again */
	unsigned nseated;           /* P: lock */
	bool bound;                 /* atomic; to a processor that we did not choose */
	bool stop;                  /* atomic */
	int error;                  /* P: lock */

	pthread_t watchman;
	bool watching;              /* there is one */
	bool watchman_asleep;       /* atomic */
	uint64_t held_blocks;       /* atomic; of the pool, in workers' hands */
	pthread_cond_t wake_watchman; /* P: lock */

	struct worker *workers;     /* max_workers of them */
};

_Thread_local const struct request *front_request;
static _Thread_local struct worker *self;

static int start_worker_locked(struct session *s, enum worker_state state);
static void set_state_locked(struct worker *w, enum worker_state state);

/* ---- places ------------------------------------------------------------------------ */

static int
nth_cpu(const struct session *s, unsigned n)
{
	for (int c = 0; c < CPU_SETSIZE; c++)
		if (CPU_ISSET(c, &s->cpus) && n-- == 0)
			return c;
	return -1;
}

static void
go_home(struct worker *w)
{
	cpu_set_t set;

	if (w->home < 0 || w->at_home || __atomic_load_n(&w->s->bound, __ATOMIC_RELAXED))
		return;
	CPU_ZERO(&set);
	CPU_SET(w->home, &set);
	w->at_home = pthread_setaffinity_np(pthread_self(), sizeof(set), &set) == 0;
}

static void
leave_home(struct worker *w)
{
	if (!w->at_home)
		return;
	pthread_setaffinity_np(pthread_self(), sizeof(w->s->cpus), &w->s->cpus);
	w->at_home = false;
}

/* Is the worker where it put itself? The administrator may have bound us to some other processor
 * (taskset -a): then we stay there, one at a time; or have set us free again: then we go home. */
static bool
still_at_home(struct worker *w)
{
	struct session *s = w->s;
	cpu_set_t set;
	bool bound;

	if (w->home < 0 || pthread_getaffinity_np(pthread_self(), sizeof(set), &set) != 0)
		return false;
	bound = CPU_COUNT(&set) == 1;
	if (bound && CPU_ISSET(w->home, &set))
		return true;
	w->at_home = false;
	mtx_lock(&s->lock);
	__atomic_store_n(&s->bound, bound, __ATOMIC_RELAXED);
	if (bound && s->nseated > 1 && w->state == SEATED)
		set_state_locked(w, RESTING);
	mtx_unlock(&s->lock);
	go_home(w);
	return false;
}

/* The processor that a client is on, -1: can't be told. */
static int
cpu_of(struct client *c)
{
	char text[1024], *p;
	ssize_t n;

	if (c->tid == 0)
		return -1;
	if (c->stat_fd < 0) {
		snprintf(text, sizeof(text), "/proc/%u/stat", c->tid);
		c->stat_fd = open(text, O_RDONLY | O_CLOEXEC);
	}
	if (c->stat_fd < 0)
		return -1;
	n = pread(c->stat_fd, text, sizeof(text) - 1, 0);
	if (n <= 0)
		return -1;
	text[n] = '\0';
	/* field 39, counted from the end of the command name, which is field 2 */
	p = strrchr(text, ')');
	for (int field = 2; p && field < 39; field++)
		p = strchr(p + 1, ' ');
	return p ? atoi(p + 1) : -1;
}

static void
forget_client(struct client *c)
{
	if (c->stat_fd >= 0)
		close(c->stat_fd);
	*c = (struct client){ .tid = 0, .stat_fd = -1 };
}

/* ---- blocks for streams of writes ------------------------------------------------------ */

/* Take them from the pool, if it has plenty. */
static bool
have_run(struct worker *w)
{
	struct pool *p = fs_pool(w->s->front->fs);
	struct alloc_stats st;
	uint64_t got;

	if (w->run != PBLK_NONE)
		return true;
	alloc_stats(pool_alloc(p), &st);
	if (st.free < st.reserved + STREAM_MIN_FREE)
		return false;
	if (pool_alloc_data(p, PBLK_NONE, STREAM_RUN, ALLOC_EXACT, &w->run, &got) < 0)
		return false;
	__atomic_add_fetch(&w->s->held_blocks, STREAM_RUN, __ATOMIC_RELAXED);
	return true;
}

/* The first nblocks of them are about to become a file's; the others go back. */
static pblk_t
use_run(struct worker *w, uint64_t nblocks)
{
	pblk_t run = w->run;

	w->run = PBLK_NONE;
	if (nblocks < STREAM_RUN)
		pool_free_data(fs_pool(w->s->front->fs), run + nblocks, STREAM_RUN - nblocks);
	__atomic_sub_fetch(&w->s->held_blocks, STREAM_RUN, __ATOMIC_RELAXED);
	return run;
}

static void
stream_ends(struct worker *w)
{
	w->stream = false;
	if (w->run != PBLK_NONE)
		use_run(w, 0);
}

/* The request was none that goes into blocks as it is. */
static void
take_out_of_run(struct worker *w, size_t len)
{
	if (len > HEAD_BYTES)
		memcpy(w->buf + HEAD_BYTES, pool_block(fs_pool(w->s->front->fs), w->run), len - HEAD_BYTES);
}

/* ---- seats --------------------------------------------------------------------------- */

static void
set_state_locked(struct worker *w, enum worker_state state)
{
	if (w->state == SEATED)
		w->s->nseated--;
	if (state == SEATED)
		w->s->nseated++;
	if (w->state == RESTING)
		pthread_cond_signal(&w->seated);
	__atomic_store_n(&w->state, state, __ATOMIC_RELAXED);
}

static bool
home_is_taken_locked(const struct session *s, int home)
{
	for (unsigned i = 0; i < s->nworkers; i++)
		if (s->workers[i].state == SEATED && s->workers[i].home == home)
			return true;
	return false;
}

/* Seat somebody else: best where nobody is, else anybody who rests, else a new worker. */
static void
seat_another_locked(struct session *s)
{
	struct worker *best = NULL;

	for (unsigned i = 0; i < s->nworkers; i++) {
		struct worker *w = s->workers + i;

		if (w->state != RESTING)
			continue;
		if (!best || !home_is_taken_locked(s, w->home))
			best = w;
		if (!home_is_taken_locked(s, w->home))
			break;
	}
	if (best)
		set_state_locked(best, SEATED);
	else
		start_worker_locked(s, SEATED);
}

void
session_long_request(void)
{
	struct worker *w = self;
	struct session *s;

	if (!w)
		return;
	s = w->s;
	mtx_lock(&s->lock);
	if (w->state == SEATED) {
		set_state_locked(w, AWAY);
		if (s->nseated == 0)
			seat_another_locked(s);
	}
	mtx_unlock(&s->lock);
	leave_home(w);
}

static void
come_back(struct worker *w)
{
	struct session *s = w->s;

	mtx_lock(&s->lock);
	if (w->state == AWAY)
		set_state_locked(w, s->nseated == 0 ? SEATED : RESTING);
	mtx_unlock(&s->lock);
	go_home(w);
}

static long
context_switches(void)
{
	struct rusage u;

	getrusage(RUSAGE_THREAD, &u);
	return u.ru_nvcsw + u.ru_nivcsw;
}

static void
start_window(struct worker *w)
{
	w->in_window = w->changed = w->returned = 0;
	w->switches = context_switches();
}

static void
rest(struct worker *w)
{
	struct session *s = w->s;

	stream_ends(w);
	mtx_lock(&s->lock);
	while (w->state == RESTING && !s->stop)
		mtx_cond_wait(&w->seated, &s->lock);
	mtx_unlock(&s->lock);
	start_window(w);
}

static struct worker *
worker_of_locked(struct session *s, int home)
{
	for (unsigned i = 0; i < s->nworkers; i++)
		if (s->workers[i].home == home && s->workers[i].state != AWAY)
			return s->workers + i;
	return NULL;
}

/* Somebody should be seated on that processor. False: nobody can be had. */
static bool
seat_at_locked(struct session *s, int cpu)
{
	struct worker *w = worker_of_locked(s, cpu);

	if (!w) {
		/* homes are given out in order: maybe the next one's is that */
		if (s->nworkers < min_of(s->ncpus, HOMES_MAX))
			start_worker_locked(s, RESTING);
		w = worker_of_locked(s, cpu);
	}
	if (w && w->state == RESTING)
		set_state_locked(w, SEATED);
	return w != NULL;
}

/* The clients of the window are on these processors (n of them, different ones). */
static void
settle_locked(struct worker *w, const int *cpus, unsigned n)
{
	struct session *s = w->s;
	bool here = false, elsewhere = false;

	for (unsigned k = 0; k < n; k++) {
		if (cpus[k] == w->home)
			here = true;
		else
			elsewhere |= seat_at_locked(s, cpus[k]);
	}
	if (!here && elsewhere)
		set_state_locked(w, RESTING);
	if (!here || elsewhere)
		return;
	for (unsigned i = 0; i < s->nworkers; i++) {
		struct worker *o = s->workers + i;
		uint32_t client = __atomic_load_n(&o->client, __ATOMIC_RELAXED);

		if (o != w && o->state == SEATED && (client == w->recent[0].tid || client == w->recent[1].tid))
			set_state_locked(o, RESTING);
	}
}

static void
follow_clients(struct worker *w)
{
	bool several = w->returned >= WINDOW / 8;
	int cpus[RECENT];
	unsigned n = 0;

	for (unsigned k = 0; k < (several ? RECENT : 1u); k++) {
		int cpu = cpu_of(w->recent + k);

		if (cpu < 0)
			return;
		if (n == 0 || cpus[0] != cpu)
			cpus[n++] = cpu;
	}
	mtx_lock(&w->s->lock);
	if (w->state == SEATED)
		settle_locked(w, cpus, n);
	mtx_unlock(&w->s->lock);
}

static void
look_back(struct worker *w)
{
	struct session *s = w->s;
	long waited = context_switches() - w->switches;

	if (!still_at_home(w)) {
		/* where we are is not ours to say */
	} else if (waited < WINDOW / 4) {
		mtx_lock(&s->lock);
		if (s->nseated < min_of(s->ncpus, HOMES_MAX) && s->nseated < s->max_workers)
			seat_another_locked(s);
		mtx_unlock(&s->lock);
	} else if (w->changed < WINDOW / 8 || w->returned >= WINDOW / 8) {
		follow_clients(w);
	}
	start_window(w);
}

/* ---- the watchman ------------------------------------------------------------------------ */

/* True if anything is going on. */
static bool
watch_locked(struct session *s)
{
	bool busy = false;

	for (unsigned i = 0; i < s->nworkers; i++) {
		struct worker *w = s->workers + i;
		uint64_t turn = __atomic_load_n(&w->turn, __ATOMIC_SEQ_CST);

		busy |= turn != w->seen_turn || (turn & 1);
		if (w->state == SEATED && (turn & 1) && turn == w->seen_turn)
			set_state_locked(w, AWAY);
		w->seen_turn = turn;
	}
	if (s->nseated == 0)
		seat_another_locked(s);
	return busy;
}

static void *
watchman_main(void *arg)
{
	struct session *s = arg;
	struct timespec until;
	unsigned idle = 0;

	pthread_setname_np(pthread_self(), "pinfs-watch");
	mtx_lock(&s->lock);
	while (!s->stop) {
		idle = watch_locked(s) ? 0 : idle + 1;
		if (idle < WATCH_IDLE_ROUNDS) {
			mtx_unlock(&s->lock);
			clock_gettime(CLOCK_MONOTONIC, &until);
			until.tv_nsec += WATCH_NS;
			if (until.tv_nsec >= 1000000000) {
				until.tv_nsec -= 1000000000;
				until.tv_sec++;
			}
			clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
			mtx_lock(&s->lock);
			continue;
		}
		/* A worker counts its turn first and looks at this then: one of us sees the other. */
		__atomic_store_n(&s->watchman_asleep, true, __ATOMIC_SEQ_CST);
		while (__atomic_load_n(&s->watchman_asleep, __ATOMIC_SEQ_CST) && !s->stop && !watch_locked(s))
			mtx_cond_wait(&s->wake_watchman, &s->lock);
		__atomic_store_n(&s->watchman_asleep, false, __ATOMIC_SEQ_CST);
		idle = 0;
	}
	mtx_unlock(&s->lock);
	return NULL;
}

static void
turn_begins(struct worker *w)
{
	struct session *s = w->s;

	__atomic_add_fetch(&w->turn, 1, __ATOMIC_SEQ_CST);
	if (!__atomic_load_n(&s->watchman_asleep, __ATOMIC_SEQ_CST))
		return;
	mtx_lock(&s->lock);
	__atomic_store_n(&s->watchman_asleep, false, __ATOMIC_SEQ_CST);
	pthread_cond_signal(&s->wake_watchman);
	mtx_unlock(&s->lock);
}

static void
turn_ends(struct worker *w)
{
	__atomic_add_fetch(&w->turn, 1, __ATOMIC_RELEASE);
}

/* ---- receiving ---------------------------------------------------------------------------- */

/* The next request into w->buf, or its payload into w->run: length, or -errno. */
static ssize_t
receive(struct worker *w, bool *in_run)
{
	struct iovec iov[2] = { { w->buf, HEAD_BYTES }, { NULL, SESSION_MAX_WRITE } };
	ssize_t n;

	*in_run = w->stream && have_run(w);
	if (*in_run) {
		iov[1].iov_base = pool_block(fs_pool(w->s->front->fs), w->run);
		n = readv(w->s->fd, iov, 2);
	} else {
		n = read(w->s->fd, w->buf, BUFFER_BYTES);
	}
	return n < 0 ? -errno : n;
}

/* ---- executing ---------------------------------------------------------------------------- */

static void
execute_write(struct worker *w, const struct request *r, size_t len, bool in_run)
{
	const struct fuse_write_in *in = r->body;
	uint64_t nblocks = (len - HEAD_BYTES) >> BLOCK_SHIFT;
	bool whole = len - HEAD_BYTES == in->size && in->size == nblocks << BLOCK_SHIFT;

	w->stream = in->size >= STREAM_BYTES;
	if (in_run && w->stream && whole && (in->offset & BLOCK_MASK) == 0) {
		request_write_blocks(w->s->front, r, use_run(w, nblocks), nblocks);
		return;
	}
	if (in_run)
		take_out_of_run(w, len);
	if (!w->stream)
		stream_ends(w);
	request_write(w->s->front, r);
}

/* What does not pass through libfuse. */
static void (*const raw_requests[])(struct front *fr, const struct request *r) = {
	[FUSE_LOOKUP] = request_lookup,
	[FUSE_FORGET] = request_forget,
	[FUSE_BATCH_FORGET] = request_batch_forget,
	[FUSE_GETATTR] = request_getattr,
	[FUSE_OPEN] = request_open,
	[FUSE_CREATE] = request_create,
	[FUSE_TMPFILE] = request_tmpfile,
	[FUSE_RELEASE] = request_release,
	[FUSE_READ] = request_read,
};
#define RAW_REQUESTS (sizeof(raw_requests) / sizeof(raw_requests[0]))

/* allow_root: the kernel lets everybody in. What needs an open file needs no second look. */
static bool
denied(const struct session *s, const struct fuse_in_header *head)
{
	if (!s->deny_others || head->uid == 0 || head->uid == s->owner)
		return false;
	return head->opcode == FUSE_LOOKUP || head->opcode == FUSE_GETATTR || head->opcode == FUSE_OPEN ||
	    head->opcode == FUSE_CREATE || head->opcode == FUSE_TMPFILE;
}

static void
execute_other(struct worker *w, const struct request *r, size_t len)
{
	const struct fuse_in_header *head = r->head;
	struct fuse_buf buf = { .size = len, .mem = w->buf };
	struct front *fr = w->s->front;

	if (denied(w->s, head)) {
		front_reply_error(fr, r, -EACCES);
	} else if (head->opcode < RAW_REQUESTS && raw_requests[head->opcode]) {
		raw_requests[head->opcode](fr, r);
	} else {
		if (head->opcode == FUSE_INIT && r->len >= FUSE_COMPAT_INIT_IN)
			front_init_request(fr, r);
		front_request = r;
		fuse_session_process_buf(fr->se, &buf);
		front_request = NULL;
	}
}

static void
execute(struct worker *w, size_t len, bool in_run)
{
	const struct fuse_in_header *head = (const struct fuse_in_header *)w->buf;
	struct request r = { head, head + 1, len - sizeof(*head) };

	if (w->s->debug)
		pinfs_log(LOG_DEBUG, "request %llu: opcode %u, inode %llu, %zu bytes, thread %u",
		    (unsigned long long)head->unique, head->opcode, (unsigned long long)head->nodeid, len, head->pid);
	if (head->opcode == FUSE_WRITE && len >= HEAD_BYTES) {
		execute_write(w, &r, len, in_run);
		return;
	}
	if (in_run)
		take_out_of_run(w, len);
	if (w->stream && head->opcode != FUSE_GETXATTR && head->opcode != FUSE_GETATTR)
		stream_ends(w);
	execute_other(w, &r, len);
}

static void
count_request(struct worker *w, uint32_t tid)
{
	struct client *c = w->recent, last;

	w->in_window++;
	if (tid == 0 || tid == c[0].tid) /* 0: nobody waits for this one */
		return;
	w->changed++;
	last = c[RECENT - 1];
	if (last.tid == tid) {
		w->returned++;
	} else {
		forget_client(&last);
		last.tid = tid;
	}
	memmove(c + 1, c, (RECENT - 1) * sizeof(*c));
	c[0] = last;
	__atomic_store_n(&w->client, tid, __ATOMIC_RELAXED);
}

static void
session_ends(struct session *s, int err)
{
	uint64_t one = 1;
	ssize_t n;

	mtx_lock(&s->lock);
	if (err != -ENODEV && s->error == 0 && !s->stop)
		s->error = err;
	mtx_unlock(&s->lock);
	n = write(s->ended_fd, &one, sizeof(one));
	(void)n; /* fails only when the counter is full: it is readable then */
}

static bool
harmless(ssize_t err)
{
	/* EINTR: our own signal. ENOENT: the request was interrupted before we got it. */
	return err == -EINTR || err == -ENOENT || err == -EAGAIN;
}

static void *
worker_main(void *arg)
{
	struct worker *w = arg;
	struct session *s = w->s;
	char name[16];
	ssize_t n = 0;
	bool in_run;

	self = w;
	snprintf(name, sizeof(name), "pinfs-%u", (unsigned)(w - s->workers) % 1000);
	pthread_setname_np(pthread_self(), name);
	go_home(w);
	start_window(w);
	while (!__atomic_load_n(&s->stop, __ATOMIC_ACQUIRE)) {
		if (__atomic_load_n(&w->state, __ATOMIC_RELAXED) == RESTING) {
			rest(w);
			continue;
		}
		n = receive(w, &in_run);
		if (n < (ssize_t)sizeof(struct fuse_in_header)) {
			/* the kernel could not fill the blocks, and has failed that request */
			if (n == -EFAULT && in_run)
				stream_ends(w);
			else if (!harmless(n))
				break;
			continue;
		}
		turn_begins(w);
		execute(w, (size_t)n, in_run);
		lock_assert_none_held();
		turn_ends(w);
		if (__atomic_load_n(&w->state, __ATOMIC_RELAXED) == AWAY)
			come_back(w);
		count_request(w, ((const struct fuse_in_header *)w->buf)->pid);
		if (w->in_window >= WINDOW)
			look_back(w);
	}
	if (!__atomic_load_n(&s->stop, __ATOMIC_ACQUIRE))
		session_ends(s, n < 0 ? (int)n : -EIO);
	stream_ends(w);
	for (unsigned k = 0; k < RECENT; k++)
		forget_client(w->recent + k);
	return NULL;
}

/* ---- starting and stopping ------------------------------------------------------------------ */

static int
start_worker_locked(struct session *s, enum worker_state state)
{
	struct worker *w = s->workers + s->nworkers;
	int r;

	if (s->nworkers >= s->max_workers || s->stop)
		return -EAGAIN;
	w->buf = mmap(NULL, BUFFER_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (w->buf == MAP_FAILED)
		return -ENOMEM;
	w->s = s;
	w->home = s->ncpus > 1 ? nth_cpu(s, s->nworkers % s->ncpus) : -1;
	w->run = PBLK_NONE;
	for (unsigned k = 0; k < RECENT; k++)
		w->recent[k] = (struct client){ .tid = 0, .stat_fd = -1 };
	w->state = RESTING;
	pthread_cond_init(&w->seated, NULL);
	set_state_locked(w, state);
	r = pthread_create(&w->thread, NULL, worker_main, w);
	if (r) {
		set_state_locked(w, RESTING);
		pthread_cond_destroy(&w->seated);
		munmap(w->buf, BUFFER_BYTES);
		pinfs_log(LOG_WARNING, "can't start a thread: %s", strerror(r));
		return -r;
	}
	s->nworkers++;
	return 0;
}

static void
on_wake_signal(int sig)
{
	(void)sig;
}

int
session_new(struct session **out, struct front *fr, int fd, unsigned threads, bool debug)
{
	struct session *s = calloc(1, sizeof(*s));
	void *workers = NULL;
	int r = -ENOMEM;

	if (!s)
		return -ENOMEM;
	s->front = fr;
	s->fd = fd;
	s->debug = debug;
	s->deny_others = fr->opt.allow_root && !fr->opt.allow_other;
	s->owner = getuid();
	if (sched_getaffinity(0, sizeof(s->cpus), &s->cpus) < 0)
		CPU_ZERO(&s->cpus);
	s->ncpus = max_of((unsigned)CPU_COUNT(&s->cpus), 1u);
	s->max_workers = threads ? threads : min_of(s->ncpus, HOMES_MAX) + SPARE_WORKERS;
	s->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->ended_fd < 0) {
		r = -errno;
		goto fail;
	}
	if (posix_memalign(&workers, _Alignof(struct worker), s->max_workers * sizeof(struct worker)))
		goto fail;
	memset(workers, 0, s->max_workers * sizeof(struct worker));
	s->workers = workers;
	mtx_init(&s->lock, LOCK_LEAF, 0);
	pthread_cond_init(&s->wake_watchman, NULL);
	*out = s;
	return 0;
fail:
	if (s->ended_fd >= 0)
		close(s->ended_fd);
	free(s);
	return r;
}

int
session_start(struct session *s)
{
	struct sigaction sa = { .sa_handler = on_wake_signal };
	int r;

	sigaction(WAKE_SIGNAL, &sa, NULL);
	mtx_lock(&s->lock);
	r = start_worker_locked(s, SEATED);
	mtx_unlock(&s->lock);
	if (r < 0)
		return r;
	r = pthread_create(&s->watchman, NULL, watchman_main, s);
	if (r)
		pinfs_log(LOG_WARNING, "can't start a thread: %s", strerror(r));
	s->watching = r == 0;
	return -r;
}

int
session_ended_fd(struct session *s)
{
	return s->ended_fd;
}

/* The signal may come just before read(2) blocks, so it is sent until the thread is gone. */
static void
join_worker(struct worker *w)
{
	struct timespec until;

	do {
		pthread_kill(w->thread, WAKE_SIGNAL);
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += 10000000;
		if (until.tv_nsec >= 1000000000) {
			until.tv_nsec -= 1000000000;
			until.tv_sec++;
		}
	} while (pthread_timedjoin_np(w->thread, NULL, &until) == ETIMEDOUT);
}

int
session_stop(struct session *s)
{
	unsigned n;

	mtx_lock(&s->lock);
	__atomic_store_n(&s->stop, true, __ATOMIC_RELEASE);
	n = s->nworkers; /* no more from now on */
	for (unsigned i = 0; i < n; i++)
		pthread_cond_signal(&s->workers[i].seated);
	pthread_cond_signal(&s->wake_watchman);
	mtx_unlock(&s->lock);
	for (unsigned i = 0; i < n; i++)
		join_worker(s->workers + i);
	if (s->watching)
		pthread_join(s->watchman, NULL);
	s->watching = false;
	return s->error;
}

void
session_free(struct session *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < s->nworkers; i++) {
		pthread_cond_destroy(&s->workers[i].seated);
		munmap(s->workers[i].buf, BUFFER_BYTES);
	}
	pthread_cond_destroy(&s->wake_watchman);
	mtx_destroy(&s->lock);
	free(s->workers);
	close(s->ended_fd);
	free(s);
}

uint64_t
session_requests(struct session *s)
{
	uint64_t n = 0;

	mtx_lock(&s->lock);
	for (unsigned i = 0; i < s->nworkers; i++)
		n += (__atomic_load_n(&s->workers[i].turn, __ATOMIC_RELAXED) + 1) / 2;
	mtx_unlock(&s->lock);
	return n;
}

uint64_t
session_held_blocks(struct session *s)
{
	return __atomic_load_n(&s->held_blocks, __ATOMIC_RELAXED);
}
