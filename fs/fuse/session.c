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
 *   - How many are seated, and which, follows from where the clients run (seats.c).
 *   - Nobody spins: an idle daemon costs nothing.
 *
 * At least one worker should be ready for the next request at any time. What is known to be long
 * says so (session_long_request): the worker is AWAY then, and if it was the last one seated, another
 * one is seated in its place. For all other reasons to take long, a page of the pool that has to come from a
 * disk, a lock, a commit, there is a watchman, who declares a worker AWAY that is too long at one request.
 *
 * A request that waits for a client is parked (fs/park.h, waiting.h) and needs no worker. The worker that ends its wait, by
 * releasing or unpinning something for somebody, goes on with it right after its own reply.
 *
 * A stream of large writes is received without a copy: the worker offers the kernel blocks of the
 * pool as the place for the payload, and they become the file's blocks as they are.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "fs/fuse/session_i.h"
#include "pmem/log.h"

#define INIT_IN_MIN 16          /* bytes of INIT's body up to its flags */
#define SPARE_WORKERS 8u        /* by default, beside those with homes: for what takes long */
#define WAKE_SIGNAL SIGURG      /* gets a worker out of read(2); ignored by default */

#define HEAD_BYTES (sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in))
#define BUFFER_BYTES (HEAD_BYTES + SESSION_MAX_WRITE)
#define STREAM_BYTES (128u * 1024)        /* a write of at least that many is one of a stream */
#define STREAM_RUN ((uint64_t)SESSION_MAX_WRITE >> BLK_SHIFT)
/* Streams get blocks beforehand only while the pool has plenty. */
#define STREAM_MIN_FREE ((uint64_t)64 << 20 >> BLK_SHIFT)

_Thread_local const struct request *front_request;
static _Thread_local struct worker *self;

void
session_long_request(void)
{
	if (self)
		seats_long(self);
}

bool
session_poll_later(uint64_t handle)
{
	if (!self || self->npolls == POLLS_MAX)
		return false;
	self->polls[self->npolls++] = handle;
	return true;
}

/* What the request has left to do: it has its reply, or is parked. Who has one resumed request to go on with does that
 * in his seat; many are a long piece of work. */
static void
follow_up(struct worker *w, struct park_lot *lot)
{
	do {
		while (w->npolls > 0)
			notify_poll_now(w->s->front->notifier, w->polls[--w->npolls]);
		if (park_ready(lot) > 1)
			session_long_request();
		if (park_ready(lot))
			park_run(lot);
	} while (w->npolls > 0 || park_ready(lot));
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
	uint64_t nblocks = (len - HEAD_BYTES) >> BLK_SHIFT;
	bool whole = len - HEAD_BYTES == in->size && in->size == nblocks << BLK_SHIFT;

	w->stream = in->size >= STREAM_BYTES;
	if (in_run && w->stream && whole && (in->offset & BLK_MASK) == 0) {
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
	[FUSE_POLL] = request_poll,
	[FUSE_RELEASE] = request_release,
	[FUSE_READ] = request_read,
	[FUSE_COPY_FILE_RANGE] = request_copy_range,
	[OPCODE_COPY_FILE_RANGE_64] = request_copy_range,
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

/* An interrupt of a request that is parked: there is no reply to that. Any other is libfuse's. */
static bool
interrupts(struct front *fr, const struct request *r)
{
	const struct fuse_interrupt_in *in = r->body;

	return r->head->opcode == FUSE_INTERRUPT && r->len >= sizeof(*in) &&
	    waiters_interrupt(&fr->waiters, in->unique);
}

static void
execute_other(struct worker *w, const struct request *r, size_t len)
{
	const struct fuse_in_header *head = r->head;
	struct fuse_buf buf = { .size = len, .mem = w->buf };
	struct front *fr = w->s->front;

	if (interrupts(fr, r))
		return;
	if (denied(w->s, head)) {
		front_reply_error(fr, r, -EACCES);
	} else if (head->opcode < RAW_REQUESTS && raw_requests[head->opcode]) {
		raw_requests[head->opcode](fr, r);
	} else {
		if (head->opcode == FUSE_INIT && r->len >= INIT_IN_MIN)
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
session_ends(struct session *s, int err)
{
	uint64_t one = 1;
	ssize_t n;

	mtx_lock(&s->lock);
	/* ENODEV: unmounted. So is ECONNABORTED, for who reads while the unmount is on its way; it is also what an
	 * administrator does through /sys/fs/fuse, and no failure of ours either. */
	if (err != -ENODEV && err != -ECONNABORTED && s->error == 0 && !s->stop)
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
	struct park_lot *lot = fs_park(s->front->fs);
	char name[16];
	ssize_t n = 0;
	bool in_run;

	self = w;
	snprintf(name, sizeof(name), "pinfs-%u", (unsigned)(w - s->workers) % 1000);
	pthread_setname_np(pthread_self(), name);
	park_runner(true);
	seats_first(w);
	while (!__atomic_load_n(&s->stop, __ATOMIC_ACQUIRE)) {
		if (__atomic_load_n(&w->state, __ATOMIC_RELAXED) == RESTING) {
			stream_ends(w);
			seats_rest(w);
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
		seats_turn_begins(w);
		execute(w, (size_t)n, in_run);
		lock_assert_none_held();
		if (w->npolls > 0 || park_ready(lot))
			follow_up(w, lot);
		seats_turn_ends(w, ((const struct fuse_in_header *)w->buf)->pid);
	}
	if (!__atomic_load_n(&s->stop, __ATOMIC_ACQUIRE))
		session_ends(s, n < 0 ? (int)n : -EIO);
	stream_ends(w);
	seats_last(w);
	return NULL;
}

/* ---- starting and stopping ------------------------------------------------------------------ */

int
session_start_worker_locked(struct session *s, enum worker_state state)
{
	struct worker *w = s->workers + s->nworkers;
	int r;

	if (s->nworkers >= s->max_workers || s->stop)
		return -EAGAIN;
	w->buf = mmap(NULL, BUFFER_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (w->buf == MAP_FAILED)
		return -ENOMEM;
	w->s = s;
	w->home = seats_home(s, s->nworkers);
	w->run = PBLK_NONE;
	for (unsigned k = 0; k < SEATS_RECENT; k++)
		w->recent[k] = (struct client){ .tid = 0, .stat_fd = -1 };
	w->state = RESTING;
	pthread_cond_init(&w->seated, NULL);
	seats_set_state_locked(w, state);
	r = pthread_create(&w->thread, NULL, worker_main, w);
	if (r) {
		seats_set_state_locked(w, RESTING);
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
	s->max_workers = threads ? threads : min_of(s->ncpus, SEATS_HOMES_MAX) + SPARE_WORKERS;
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
	r = session_start_worker_locked(s, SEATED);
	mtx_unlock(&s->lock);
	if (r < 0)
		return r;
	return seats_watch_start(s);
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
	mtx_unlock(&s->lock);
	for (unsigned i = 0; i < n; i++)
		join_worker(s->workers + i);
	seats_watch_stop(s);
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
