/* SPDX-License-Identifier: BSD-3-Clause */
/* Asking the kernel which blocks the holder of a faultable pin has stored to.
 *
 * A piece says that a run of pool blocks is mapped at an address of a process. Each extent of the live map counts the
 * write pins on it whose pieces cover it (tracked). Where that is all of them, a writeback that takes the extent
 * clears LIVE_DIRTY, and these set it again: a store by the daemon, for another process; the end of the piece; and
 * track_scan(), which comes before each writeback. It does for each piece
 *
 *   1. PAGEMAP_SCAN: which pages were written to since they were last protected, and protect these again, in
 *      one step for each page. Only then writeback copies. So a store is either seen by this scan and comes before
 *      the copy, or is seen by the next one; it may be both, but never neither.
 *   2. PROCMAP_QUERY: is the run still mapped there, shared and in whole? The scan passes over what is not mapped in
 *      silence. A store, then munmap() would be lost.
 *
 * and marks the blocks. Two scans of an inode exclude each other from 1 to the marks: who comes second must not miss
 * what the first has reset but not told yet.
 *
 * A piece for which that fails is dropped: its process is gone or has another image, its mapping is not what it
 * was, or it did not answer in time. Its extents then count as dirty at each writeback. Too many blocks are never
 * wrong, only slow; so where memory is short more is marked than was stored to.
 *
 * A process is known by two files, /proc/PID/pagemap and maps. They stand for its image (mm) at the time they were
 * opened, not for the number: after exec or exit they fail. Its number comes with the request, from the kernel.
 *
 * The scanner thread takes jobs in turn. The one who waits for a job gives up after two seconds: the job, its memory and the
 * thread are left to each other, and the next job gets a new thread, up to SCANNERS_MAX that are stuck.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "fs/park.h"
#include "fs/track.h"
#include "pmem/log.h"

#define SCANNERS_MAX 8u
#define REGIONS 256u       /* told by one PAGEMAP_SCAN */

/* From <linux/fs.h>, Linux 6.7: Documentation/admin-guide/mm/pagemap.rst. */
#define SCAN_WP_MATCHING 1u   /* protect the pages that are told */
#define SCAN_CHECK_WPASYNC 2u /* EPERM if a mapping is not protected asynchronously */
#define PAGE_WRITTEN 2u       /* category: since it was last protected */
struct scan_region {
	uint64_t start, end, categories;
};
struct scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define SCAN_IOCTL _IOWR('f', 16, struct scan_arg)

/* The same, Linux 6.11: Documentation/filesystems/proc.rst. */
#define VMA_SHARED 8u
struct vma_query {
	uint64_t size, query_flags, query_addr, vma_start, vma_end, vma_flags, page_size, vma_offset, inode;
	uint32_t dev_major, dev_minor, vma_name_size, build_id_size;
	uint64_t vma_name_addr, build_id_addr;
};
#define QUERY_IOCTL _IOWR('f', 17, struct vma_query)

/* A process that has pins mapped. */
struct holder {
	struct cds_list_head link;      /* tracker->holders */
	uint64_t refs;                  /* P: tracker->lock */
	pid_t tgid;
	int pagemap, maps;
	bool broken;                    /* P: tracker->lock; it did not answer */
};

/* Blocks [pblk, pblk+len), which fblk.. of the file has, are mapped at addr. */
struct track {
	struct cds_list_head link;      /* pin_table.tracks, by id */
	struct track *next;             /* of the same pin */
	struct pin *pin;
	struct holder *holder;
	uint64_t id;
	fblk_t fblk;
	pblk_t pblk;
	uint64_t len;
	uint64_t addr;
};

/* What a job asks about one of them, and the answer. */
struct piece {
	struct holder *holder;
	uint64_t id;
	fblk_t fblk;
	pblk_t pblk;
	uint64_t len;
	uint64_t addr;
	int err;
};

struct run {
	fblk_t fblk;
	uint64_t len;
};

enum job_state { JOB_QUEUED, JOB_RUNNING, JOB_DONE, JOB_ABANDONED };

struct job {
	struct cds_list_head link;      /* tracker->queue */
	enum job_state state;           /* P: tracker->lock */
	/* The thread's while it is RUNNING; after that who waits for it has it, unless it is ABANDONED. */
	uint64_t pool_dev, pool_inode;
	size_t npieces, nruns, space;
	struct run *run;                /* stored to */
	struct piece piece[];
};

struct tracker {
	struct mtx lock;                /* LOCK_LEAF; protects what follows */
	pthread_cond_t work;            /* queue, stop or thread changed */
	pthread_cond_t done;            /* CLOCK_MONOTONIC; a job is done, a scan has ended */
	struct cds_list_head queue, holders;
	uint64_t refs;                  /* the filesystem, and each thread */
	uint64_t thread;                /* number of the one that takes jobs; 0: there is none */
	uint64_t last_thread;
	unsigned stuck;                 /* threads that work on abandoned jobs */
	bool stop;
	/* How the kernel names the pool where it is mapped. */
	bool known;
	uint64_t pool_dev, pool_inode;
};

static uint64_t last_id; /* atomic */
int64_t track_scan_ns = 2000000000;

/* ---- looking into a process -------------------------------------------------------------- */

static uint64_t
device(const struct vma_query *q)
{
	return (uint64_t)q->dev_major << 32 | q->dev_minor;
}

static int
query(int maps, uint64_t addr, struct vma_query *q)
{
	*q = (struct vma_query){ .size = sizeof(*q), .query_addr = addr };
	return ioctl(maps, QUERY_IOCTL, q) < 0 ? -errno : 0;
}

/* How would a mapping of the pool be shown? As ours is. */
static int
know_pool(struct tracker *t, struct pool *p)
{
	struct vma_query q;
	int r, maps;
	bool known;

	mtx_lock(&t->lock);
	known = t->known;
	mtx_unlock(&t->lock);
	if (known)
		return 0;
	maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	if (maps < 0)
		return -errno;
	r = query(maps, (uint64_t)(uintptr_t)pool_block(p, 0), &q);
	close(maps);
	if (r < 0)
		return r;
	mtx_lock(&t->lock);
	t->pool_dev = device(&q);
	t->pool_inode = q.inode;
	t->known = true;
	mtx_unlock(&t->lock);
	return 0;
}

static int
check_mapped(const struct job *j, const struct piece *p)
{
	uint64_t at = p->addr, end = at + (p->len << BLK_SHIFT);
	struct vma_query q;
	int r;

	for (; at < end; at = q.vma_end) {
		r = query(p->holder->maps, at, &q);
		if (r < 0)
			return r;
		if (device(&q) != j->pool_dev || q.inode != j->pool_inode || !(q.vma_flags & VMA_SHARED) ||
		    q.vma_offset + (at - q.vma_start) != (p->pblk << BLK_SHIFT) + (at - p->addr))
			return -EFAULT;
	}
	return 0;
}

static int
add_run(struct job *j, fblk_t fblk, uint64_t len)
{
	size_t space = j->space ? 2 * j->space : 64;
	struct run *grown;

	if (j->nruns == j->space) {
		grown = realloc(j->run, space * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		j->run = grown;
		j->space = space;
	}
	j->run[j->nruns++] = (struct run){ fblk, len };
	return 0;
}

static int
scan_piece(struct job *j, const struct piece *p)
{
	uint64_t end = p->addr + (p->len << BLK_SHIFT);
	struct scan_region region[REGIONS];
	struct scan_arg a = {
		.size = sizeof(a), .flags = SCAN_WP_MATCHING | SCAN_CHECK_WPASYNC, .start = p->addr, .end = end,
		.vec = (uint64_t)(uintptr_t)region, .vec_len = REGIONS,
		.category_mask = PAGE_WRITTEN, .return_mask = PAGE_WRITTEN,
	};
	int n, r;

	for (; a.start < end; a.start = a.walk_end) {
		n = ioctl(p->holder->pagemap, SCAN_IOCTL, &a);
		if (n < 0)
			return -errno;
		for (int k = 0; k < n; k++) {
			r = add_run(j, p->fblk + ((region[k].start - p->addr) >> BLK_SHIFT),
			    (region[k].end - region[k].start) >> BLK_SHIFT);
			if (r < 0)
				return r;
		}
		if (a.walk_end <= a.start)
			return -EIO; /* a page larger than what is left */
	}
	return check_mapped(j, p);
}

/* ---- processes ----------------------------------------------------------------------------- */

static void
holder_put_locked(struct holder *h)
{
	if (--h->refs > 0)
		return;
	cds_list_del(&h->link);
	close(h->pagemap);
	close(h->maps);
	free(h);
}

static void
holder_put(struct tracker *t, struct holder *h)
{
	mtx_lock(&t->lock);
	holder_put_locked(h);
	mtx_unlock(&t->lock);
}

static int
open_proc(pid_t tgid, const char *name)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)tgid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int
holder_new(struct tracker *t, pid_t tgid, struct holder **out)
{
	struct holder *h = malloc(sizeof(*h));
	int r;

	if (!h)
		return -ENOMEM;
	*h = (struct holder){ .refs = 1, .tgid = tgid };
	h->pagemap = r = open_proc(tgid, "pagemap");
	if (r >= 0) {
		h->maps = r = open_proc(tgid, "maps");
		if (r < 0)
			close(h->pagemap);
	}
	if (r < 0) {
		free(h);
		return r;
	}
	mtx_lock(&t->lock);
	cds_list_add(&h->link, &t->holders); /* the newest of a number is found first */
	mtx_unlock(&t->lock);
	*out = h;
	return 0;
}

static struct holder *
holder_find(struct tracker *t, pid_t tgid)
{
	struct holder *h, *found = NULL;

	mtx_lock(&t->lock);
	cds_list_for_each_entry(h, &t->holders, link)
		if (h->tgid == tgid && !h->broken) {
			h->refs++;
			found = h;
			break;
		}
	mtx_unlock(&t->lock);
	return found;
}

/* ---- the thread ------------------------------------------------------------------------------ */

static void
tracker_put_unlock(struct tracker *t)
{
	bool last = --t->refs == 0;

	mtx_unlock(&t->lock);
	if (!last)
		return;
	pthread_cond_destroy(&t->work);
	pthread_cond_destroy(&t->done);
	mtx_destroy(&t->lock);
	free(t);
}

static struct job *
job_new(size_t npieces)
{
	struct job *j = malloc(sizeof(*j) + npieces * sizeof(j->piece[0]));

	if (j)
		*j = (struct job){ .state = JOB_QUEUED };
	return j;
}

static void
job_add(struct job *j, const struct track *k)
{
	j->piece[j->npieces++] = (struct piece){ .holder = k->holder, .id = k->id, .fblk = k->fblk, .pblk = k->pblk,
		.len = k->len, .addr = k->addr };
}

static void
job_free_locked(struct job *j)
{
	for (size_t k = 0; k < j->npieces; k++)
		holder_put_locked(j->piece[k].holder);
	free(j->run);
	free(j);
}

struct start {
	struct tracker *t;
	uint64_t number;
};

static void *
scanner(void *arg)
{
	struct start *s = arg;
	struct tracker *t = s->t;
	uint64_t me = s->number;
	struct job *j;

	free(s);
	mtx_lock(&t->lock);
	while (t->thread == me && !t->stop) {
		if (cds_list_empty(&t->queue)) {
			mtx_cond_wait(&t->work, &t->lock);
			continue;
		}
		j = cds_list_first_entry(&t->queue, struct job, link);
		cds_list_del(&j->link);
		j->state = JOB_RUNNING;
		mtx_unlock(&t->lock);
		for (size_t k = 0; k < j->npieces; k++)
			j->piece[k].err = scan_piece(j, &j->piece[k]);
		mtx_lock(&t->lock);
		if (j->state == JOB_ABANDONED) {
			t->stuck--;
			job_free_locked(j);
		} else {
			j->state = JOB_DONE;
			pthread_cond_broadcast(&t->done);
		}
	}
	if (t->thread == me)
		t->thread = 0;
	tracker_put_unlock(t);
	return NULL;
}

/* With the lock held: is there a thread that takes jobs? */
static int
need_thread_locked(struct tracker *t)
{
	struct start *s;
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, old;
	int r;

	if (t->thread != 0)
		return 0;
	if (t->stuck >= SCANNERS_MAX)
		return -ETIMEDOUT;
	s = malloc(sizeof(*s));
	if (!s)
		return -ENOMEM;
	*s = (struct start){ t, t->last_thread + 1 };
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = -pthread_create(&thread, &attr, scanner, s);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (r < 0) {
		free(s);
		return r;
	}
	t->thread = ++t->last_thread;
	t->refs++;
	return 0;
}

/* It has not been answered in time. */
static void
give_up_locked(struct tracker *t, struct job *j)
{
	for (size_t k = 0; k < j->npieces; k++)
		j->piece[k].holder->broken = true;
	if (j->state == JOB_QUEUED) {
		cds_list_del(&j->link);
		job_free_locked(j);
		return;
	}
	j->state = JOB_ABANDONED;
	t->stuck++;
	t->thread = 0;
}

/* Have a job done: 0, and it is the caller's again, to be freed; or an error, and it is gone. Takes over one reference to
 * each holder. */
static int
job_run(struct tracker *t, struct job *j)
{
	int64_t deadline = park_now() + track_scan_ns;
	struct timespec ts = { .tv_sec = deadline / 1000000000, .tv_nsec = deadline % 1000000000 };
	int r;

	lock_assert_none_held();
	mtx_lock(&t->lock);
	j->pool_dev = t->pool_dev;
	j->pool_inode = t->pool_inode;
	r = need_thread_locked(t);
	if (r < 0) {
		job_free_locked(j);
		mtx_unlock(&t->lock);
		return r;
	}
	cds_list_add_tail(&j->link, &t->queue);
	pthread_cond_signal(&t->work);
	while (j->state < JOB_DONE && r == 0)
		r = park_now() < deadline ? -pthread_cond_timedwait(&t->done, &t->lock.m, &ts) : -ETIMEDOUT;
	if (j->state == JOB_DONE) {
		r = 0;
	} else {
		give_up_locked(t, j);
		r = -ETIMEDOUT;
	}
	mtx_unlock(&t->lock);
	return r;
}

int
tracker_new(struct tracker **out)
{
	struct tracker *t = calloc(1, sizeof(*t));
	pthread_condattr_t attr;

	if (!t)
		return -ENOMEM;
	mtx_init(&t->lock, LOCK_LEAF, 0);
	pthread_cond_init(&t->work, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&t->done, &attr);
	pthread_condattr_destroy(&attr);
	CDS_INIT_LIST_HEAD(&t->queue);
	CDS_INIT_LIST_HEAD(&t->holders);
	t->refs = 1;
	*out = t;
	return 0;
}

void
tracker_free(struct tracker *t)
{
	if (!t)
		return;
	mtx_lock(&t->lock);
	t->stop = true;
	pthread_cond_broadcast(&t->work);
	tracker_put_unlock(t);
}

/* ---- marks in the live map -------------------------------------------------------------------- */

/* [from, to) was stored to, as far as it is tracked. Layout lock exclusive. */
static void
mark(struct inode *i, fblk_t from, fblk_t to)
{
	struct live_extent *e;

	for (e = live_find(&i->live, from); e && e->fblk < to; e = live_next(&i->live, e))
		if (e->tracked > 0 && !(e->flags & LIVE_DIRTY))
			content_mark_dirty(i, max_of(e->fblk, from), min_of(live_end(e), to));
}

/* One tracked pin more, or (by -1) less, where the live map still has the blocks; in that case they are dirty. */
static void
count(struct inode *i, const struct track *k, int by)
{
	fblk_t at = k->fblk, end = k->fblk + k->len, to;
	struct live_extent *e;

	for (e = live_find(&i->live, at); e && e->fblk < end; e = live_next(&i->live, e)) {
		at = max_of(at, e->fblk);
		to = min_of(end, live_end(e));
		if (e->kind != LIVE_DATA || e->pblk + (at - e->fblk) != k->pblk + (at - k->fblk))
			continue;
		if (by > 0) {
			e->tracked++; /* the caller has split at its ends */
			continue;
		}
		/* Without memory for it all of the extent has one less: rather too dirty. */
		if (live_split(&i->live, at) == 0 && live_split(&i->live, to) == 0)
			e = live_find(&i->live, at);
		e->tracked -= e->tracked > 0;
		live_change_flags(&i->live, e, LIVE_DIRTY, 0);
	}
	live_merge(&i->live, k->fblk, k->len);
}

bool
track_any(const struct inode *i)
{
	const struct pin_table *pt = pin_table(i);

	return pt && __atomic_load_n(&pt->ntracks, __ATOMIC_ACQUIRE) > 0;
}

uint64_t
track_blocks(const struct pin *pin)
{
	uint64_t sum = 0;

	for (const struct track *k = pin->tracks; k; k = k->next)
		sum += k->len;
	return sum;
}

/* Layout lock exclusive. */
static void
track_free(struct inode *i, struct track *k)
{
	count(i, k, -1);
	cds_list_del(&k->link);
	__atomic_fetch_sub(&pin_table(i)->ntracks, 1, __ATOMIC_RELEASE);
	holder_put(i->fs->tracker, k->holder);
	free(k);
}

void
track_end(struct inode *i, struct pin *pin)
{
	struct track *k;

	while ((k = pin->tracks) != NULL) {
		pin->tracks = k->next;
		track_free(i, k);
	}
}

void
track_dirty_all(struct inode *i)
{
	rwl_wrlock(&i->layout_lock);
	mark(i, 0, FBLK_MAX + 1);
	rwl_unlock(&i->layout_lock);
}

/* ---- before a writeback ------------------------------------------------------------------------- */

/* Two scans of an inode exclude each other. */
static void
scan_enter(struct tracker *t, struct pin_table *pt)
{
	mtx_lock(&t->lock);
	while (pt->scanning)
		mtx_cond_wait(&t->done, &t->lock);
	pt->scanning = true;
	mtx_unlock(&t->lock);
}

static void
scan_leave(struct tracker *t, struct pin_table *pt)
{
	mtx_lock(&t->lock);
	pt->scanning = false;
	pthread_cond_broadcast(&t->done);
	mtx_unlock(&t->lock);
}

static struct job *
job_of_inode(struct inode *i)
{
	struct tracker *t = i->fs->tracker;
	struct pin_table *pt = pin_table(i);
	struct job *j;
	struct track *k;

	rwl_rdlock(&i->layout_lock);
	j = job_new(__atomic_load_n(&pt->ntracks, __ATOMIC_RELAXED));
	if (j) {
		mtx_lock(&t->lock);
		cds_list_for_each_entry(k, &pt->tracks, link) {
			job_add(j, k);
			k->holder->refs++;
		}
		mtx_unlock(&t->lock);
	}
	rwl_unlock(&i->layout_lock);
	return j;
}

/* Drop the tracks of a pin that have failed, with the rest of it: it is a long-term pin from now on. Layout lock
 * exclusive. */
static void
drop_failed(struct inode *i, const struct job *j)
{
	struct pin_table *pt = pin_table(i);
	struct track *k, *next;
	struct pin *pin;
	size_t n = 0;

	cds_list_for_each_entry_safe(k, next, &pt->tracks, link) {
		while (j && n < j->npieces && j->piece[n].id < k->id)
			n++;
		if (j && (n == j->npieces || j->piece[n].id != k->id || j->piece[n].err == 0))
			continue;
		pinfs_log(LOG_INFO, "inode %llu: process %d can't be asked what it has stored (%s): "
		    "its pin counts as long-term", (unsigned long long)i->ino, (int)k->holder->tgid,
		    strerror(j ? -j->piece[n].err : ETIMEDOUT));
		pin = k->pin;
		/* the next one may be of the same pin */
		while (&next->link != &pt->tracks && next->pin == pin)
			next = cds_list_entry(next->link.next, struct track, link);
		track_end(i, pin);
	}
}

void
track_scan(struct inode *i)
{
	struct tracker *t = i->fs->tracker;
	struct pin_table *pt = pin_table(i);
	struct job *j;
	int r;

	if (!track_any(i))
		return;
	scan_enter(t, pt);
	j = job_of_inode(i);
	r = j ? job_run(t, j) : -ENOMEM;
	rwl_wrlock(&i->layout_lock);
	if (r == 0) {
		for (size_t k = 0; k < j->nruns; k++)
			mark(i, j->run[k].fblk, j->run[k].fblk + j->run[k].len);
		drop_failed(i, j);
	} else if (r == -ENOMEM && !j) {
		mark(i, 0, FBLK_MAX + 1);
	} else {
		drop_failed(i, NULL);
	}
	rwl_unlock(&i->layout_lock);
	if (r == 0) {
		mtx_lock(&t->lock);
		job_free_locked(j);
		mtx_unlock(&t->lock);
	}
	scan_leave(t, pt);
}

/* ---- a holder tells ------------------------------------------------------------------------------ */

/* The blocks that the pin has fixed for [fblk, end), as a job. NULL and -EINVAL: not all of that is in the pin. Layout
 * lock shared. */
static int
job_of_range(const struct pin *pin, fblk_t fblk, fblk_t end, uint64_t addr, struct job **out)
{
	struct job *j = job_new(pin->next);
	fblk_t at = fblk;

	*out = NULL;
	if (!j)
		return -ENOMEM;
	/* ranges of a pin are in the order in which they were asked for */
	for (uint32_t n = 0; at < end && n < pin->next; n++) {
		const struct pin_ext *x = &pin->ext[n];
		uint64_t skip = at - x->fblk, len;

		if (at < x->fblk || at >= x->fblk + x->len || x->pblk == PBLK_NONE)
			continue;
		len = min_of(x->fblk + x->len, end) - at;
		j->piece[j->npieces++] = (struct piece){ .fblk = at, .pblk = x->pblk + skip, .len = len,
			.addr = addr + ((at - fblk) << BLK_SHIFT) };
		at += len;
	}
	if (at < end) {
		free(j);
		return -EINVAL;
	}
	*out = j;
	return 0;
}

/* Ask the kernel once, to see whether it answers. The job is the caller's on success; it may be tried again with
 * another holder if not. *h: the reference is taken over. */
static int
try_holder(struct tracker *t, const struct job *asked, struct holder *h, struct job **out)
{
	struct job *j = job_new(asked->npieces);
	int r = 0;

	*out = NULL;
	mtx_lock(&t->lock);
	for (size_t k = 0; j && k < asked->npieces; k++) {
		j->piece[j->npieces] = asked->piece[k];
		j->piece[j->npieces++].holder = h;
		h->refs++;
	}
	holder_put_locked(h);
	mtx_unlock(&t->lock);
	if (!j)
		return -ENOMEM;
	r = job_run(t, j);
	if (r < 0)
		return r;
	for (size_t k = 0; k < j->npieces && r == 0; k++)
		r = j->piece[k].err;
	if (r == 0) {
		*out = j;
		return 0;
	}
	mtx_lock(&t->lock);
	job_free_locked(j);
	mtx_unlock(&t->lock);
	return r;
}

static int
ask(struct inode *i, const struct job *asked, pid_t tgid, struct job **out)
{
	struct tracker *t = i->fs->tracker;
	struct holder *h;
	int r;

	r = tgid > 0 ? know_pool(t, i->fs->pool) : -ESRCH;
	if (r < 0)
		return r;
	h = holder_find(t, tgid);
	if (h && try_holder(t, asked, h, out) == 0)
		return 0;
	/* one that was found may have been of another process, or of another image of this one */
	r = holder_new(t, tgid, &h);
	return r < 0 ? r : try_holder(t, asked, h, out);
}

/* What the pin said before of any part of the range holds no longer. Layout lock exclusive. */
static void
forget_range(struct inode *i, struct pin *pin, fblk_t fblk, fblk_t end)
{
	struct track **at = &pin->tracks, *k;

	while ((k = *at) != NULL) {
		if (k->fblk >= end || k->fblk + k->len <= fblk) {
			at = &k->next;
			continue;
		}
		*at = k->next;
		track_free(i, k);
	}
}

/* Layout lock exclusive. All or nothing. */
static int
enter(struct inode *i, struct pin *pin, const struct job *j)
{
	struct pin_table *pt = pin_table(i);
	struct tracker *t = i->fs->tracker;
	struct track *list = NULL, *k;
	int r = 0;

	for (size_t n = 0; n < j->npieces && r == 0; n++) {
		const struct piece *p = &j->piece[n];

		r = live_split(&i->live, p->fblk);
		if (r == 0)
			r = live_split(&i->live, p->fblk + p->len);
		k = r == 0 ? malloc(sizeof(*k)) : NULL;
		if (!k) {
			r = -ENOMEM;
			break;
		}
		*k = (struct track){ .next = list, .pin = pin, .holder = p->holder, .fblk = p->fblk, .pblk = p->pblk,
			.len = p->len, .addr = p->addr };
		list = k;
	}
	while ((k = list) != NULL) {
		list = k->next;
		if (r < 0) {
			free(k);
			continue;
		}
		k->id = __atomic_add_fetch(&last_id, 1, __ATOMIC_RELAXED);
		mtx_lock(&t->lock);
		k->holder->refs++;
		mtx_unlock(&t->lock);
		k->next = pin->tracks;
		pin->tracks = k;
		cds_list_add_tail(&k->link, &pt->tracks);
		__atomic_fetch_add(&pt->ntracks, 1, __ATOMIC_RELEASE);
		count(i, k, 1);
	}
	return r;
}

/* The pin, if it is a faultable one of that file for writing. Layout lock held. */
static int
find_faultable(const struct file *f, uint64_t id, struct pin **pin)
{
	*pin = pin_find(f, id);
	if (!*pin)
		return -ENOENT;
	return (*pin)->class == PIN_FAULTABLE && (*pin)->count != COUNT_READ ? 0 : -EINVAL;
}

int
pin_track(struct file *f, uint64_t id, uint64_t off, uint64_t len, uint64_t addr, pid_t tgid, int *reason)
{
	struct inode *i = f->inode;
	struct tracker *t = i->fs->tracker;
	fblk_t fblk = off >> BLK_SHIFT, end;
	struct job *asked = NULL, *j = NULL;
	struct pin *pin;
	int r;

	*reason = 0;
	if (((off | len | addr) & BLK_MASK) || off > FILE_MAX_BYTES || len > FILE_MAX_BYTES - off ||
	    addr > UINT64_MAX - len)
		return -EINVAL;
	end = (off + len) >> BLK_SHIFT;
	rwl_wrlock(&i->layout_lock);
	r = find_faultable(f, id, &pin);
	if (r == 0 && len == 0)
		track_end(i, pin);
	else if (r == 0)
		r = job_of_range(pin, fblk, end, addr, &asked);
	if (r == 0 && len > 0)
		forget_range(i, pin, fblk, end);
	rwl_unlock(&i->layout_lock);
	if (r < 0 || len == 0)
		return r;
	/* nothing of it is ever copied */
	if (inode_is_dax(i)) {
		free(asked);
		*reason = EOPNOTSUPP;
		return 0;
	}
	*reason = -ask(i, asked, tgid, &j);
	free(asked);
	if (!j)
		return 0;
	rwl_wrlock(&i->layout_lock);
	r = find_faultable(f, id, &pin);
	if (r == 0) {
		/* another thread may have said the same meanwhile */
		forget_range(i, pin, fblk, end);
		*reason = -enter(i, pin, j);
	}
	rwl_unlock(&i->layout_lock);
	mtx_lock(&t->lock);
	job_free_locked(j);
	mtx_unlock(&t->lock);
	return r;
}
