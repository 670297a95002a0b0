/* SPDX-License-Identifier: BSD-3-Clause */
/* The three domains differ in when the work is done.
 *
 * pmem: at once. A bulk copy goes past the cache, and adding a range to a flush set
 * writes its cache lines back; what is left for the commit is one fence. That fence
 * runs in the committing thread, the write-backs ran in others: on x86 a
 * write-back is ordered by the next locked instruction of its own thread, and
 * everybody who stores into the pool leaves through an unlock, which is one. Other
 * processors need an explicit drain in the thread that stored.
 *
 * pagecache: at commit. A flush set collects ranges; they are sorted, joined, and
 * brought down to a handful by closing the smallest gaps, since each range that the
 * kernel is asked for costs a cache flush of the device, while clean pages in
 * between cost next to nothing.
 *
 * volatile: never. What has to survive is the end of this process only, and then
 * every store that came before in program order (here, and in threads
 * that a lock has ordered before this one) arrives in memory. So it is just the
 * compiler that must not move stores across the barrier.
 */
#include "pmem/domain.h"

#include <errno.h>
#include <libpmem.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "pmem/domain_uring.h"
#include "pmem/log.h"

#define SET_MAX 16384u /* ranges that a set keeps apart */
#define FLUSH_MAX 8u   /* ranges that are flushed apart */

struct domain {
	enum domain_kind kind;
	int fd;
	uint8_t *base;
	size_t len;
	struct sync_ring *ring; /* pagecache; NULL: fdatasync(2) */
	domain_record_fn *record; /* NULL: nobody records */
	void *record_arg;
};

struct range {
	pblk_t start;
	uint64_t n;
};

struct flush_set {
	struct domain *domain;
	struct range *ranges;
	size_t nr, room;
	struct range builtin[16]; /* what there is when memory is short */
};

static const char *const names[] = {
	[DOMAIN_VOLATILE] = "volatile",
	[DOMAIN_PAGECACHE] = "pagecache",
	[DOMAIN_PMEM] = "pmem",
};

/* ---- kinds ---------------------------------------------------------------- */

const char *
domain_name(enum domain_kind kind)
{
	return names[kind];
}

int
domain_parse(const char *name, enum domain_kind *kind)
{
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(name, names[i]) == 0) {
			*kind = (enum domain_kind)i;
			return 0;
		}
	}
	return -EINVAL;
}

enum domain_kind
domain_detect(int fd, const void *base, size_t len)
{
	struct stat st;
	struct statfs sfs;

	if (fstat(fd, &st) == 0 && S_ISCHR(st.st_mode))
		return DOMAIN_PMEM;
	if (pmem_is_pmem(base, len))
		return DOMAIN_PMEM;
	if (fstatfs(fd, &sfs) < 0 || S_ISBLK(st.st_mode))
		return DOMAIN_PAGECACHE;
	switch ((unsigned long)sfs.f_type) {
	case TMPFS_MAGIC:
	case RAMFS_MAGIC:
	case HUGETLBFS_MAGIC:
		return DOMAIN_VOLATILE;
	default:
		return DOMAIN_PAGECACHE;
	}
}

int
domain_open(struct domain **out, enum domain_kind kind, int fd, void *base, size_t len)
{
	struct domain *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	d->kind = kind;
	d->fd = fd;
	d->base = base;
	d->len = len;
	if (kind == DOMAIN_PAGECACHE)
		d->ring = sync_ring_new(fd);
	*out = d;
	return 0;
}

void
domain_close(struct domain *d)
{
	if (!d)
		return;
	sync_ring_free(d->ring);
	free(d);
}

enum domain_kind
domain_kind(const struct domain *d)
{
	return d->kind;
}

bool
domain_uses_uring(const struct domain *d)
{
	return d->ring != NULL;
}

/* ---- recording ------------------------------------------------------------ */

void
domain_record(struct domain *d, domain_record_fn *fn, void *arg)
{
	d->record = fn;
	d->record_arg = arg;
}

static inline void
record(const struct domain *d, enum domain_event event, uint64_t off, uint64_t len)
{
	if (__builtin_expect(d->record != NULL, 0))
		d->record(d->record_arg, event, off, len);
}

/* A bulk store. In the pmem domain it is written back already. */
static inline void
record_store(const struct domain *d, const void *dst, size_t len)
{
	if (__builtin_expect(d->record == NULL, 1))
		return;
	record(d, DOMAIN_STORE, (uint64_t)((const uint8_t *)dst - d->base), len);
	if (d->kind == DOMAIN_PMEM)
		record(d, DOMAIN_FLUSH, (uint64_t)((const uint8_t *)dst - d->base), len);
}

/* ---- flush sets ----------------------------------------------------------- */

struct flush_set *
flush_set_new(struct domain *d)
{
	struct flush_set *fs = calloc(1, sizeof(*fs));

	if (!fs)
		return NULL;
	fs->domain = d;
	fs->ranges = fs->builtin;
	fs->room = sizeof(fs->builtin) / sizeof(fs->builtin[0]);
	return fs;
}

void
flush_set_free(struct flush_set *fs)
{
	if (!fs)
		return;
	if (fs->ranges != fs->builtin)
		free(fs->ranges);
	free(fs);
}

void
flush_set_clear(struct flush_set *fs)
{
	fs->nr = 0;
}

static int
range_cmp(const void *a, const void *b)
{
	const struct range *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

/* Join neighbours in sorted ranges that are at most gap blocks apart. */
static void
join(struct flush_set *fs, uint64_t gap)
{
	size_t to = 0;

	for (size_t i = 1; i < fs->nr; i++) {
		struct range *last = &fs->ranges[to];
		const struct range *next = &fs->ranges[i];
		pblk_t end = last->start + last->n;

		if (next->start <= end || next->start - end <= gap)
			last->n = max_of(end, next->start + next->n) - last->start;
		else
			fs->ranges[++to] = *next;
	}
	fs->nr = to + 1;
}

/* Down to at most `most` ranges, in ascending order. */
static void
coarsen(struct flush_set *fs, size_t most)
{
	if (fs->nr < 2)
		return;
	qsort(fs->ranges, fs->nr, sizeof(*fs->ranges), range_cmp);
	join(fs, 0);
	for (uint64_t gap = 1; fs->nr > most; gap *= 2)
		join(fs, gap);
}

static bool
grow(struct flush_set *fs)
{
	size_t room = fs->room * 4;
	struct range *r;

	if (fs->room >= SET_MAX)
		return false;
	r = malloc(room * sizeof(*r));
	if (!r)
		return false;
	memcpy(r, fs->ranges, fs->nr * sizeof(*r));
	if (fs->ranges != fs->builtin)
		free(fs->ranges);
	fs->ranges = r;
	fs->room = room;
	return true;
}

static void
local_drain(void)
{
#ifndef __x86_64__
	pmem_drain();
#endif
}

void
flush_set_add(struct flush_set *fs, pblk_t start, uint64_t n)
{
	struct domain *d = fs->domain;

	if (n == 0 || d->kind == DOMAIN_VOLATILE)
		return;
	if (d->kind == DOMAIN_PMEM) {
		pmem_flush(d->base + (start << BLK_SHIFT), n << BLK_SHIFT);
		local_drain();
		record(d, DOMAIN_FLUSH, start << BLK_SHIFT, n << BLK_SHIFT);
		return;
	}
	if (fs->nr > 0) {
		struct range *last = &fs->ranges[fs->nr - 1];
		pblk_t last_end = last->start + last->n;

		/* Allocation is mostly sequential: so is what comes here. */
		if (start <= last_end && start + n >= last->start) {
			pblk_t end = max_of(last_end, start + n);

			last->start = min_of(last->start, start);
			last->n = end - last->start;
			return;
		}
	}
	if (fs->nr == fs->room && !grow(fs))
		coarsen(fs, fs->room / 2);
	fs->ranges[fs->nr++] = (struct range){ start, n };
}

/* ---- making things durable ------------------------------------------------ */

static int
sync_ranges(struct domain *d, const struct sync_range *ranges, unsigned n)
{
	if (d->ring) {
		int r = sync_ring_flush(d->ring, ranges, n);

		if (r != -EAGAIN)
			return r;
	}
	while (fdatasync(d->fd) < 0) {
		if (errno == EINTR)
			continue;
		pinfs_log(LOG_ERR, "pool file: fdatasync: %s", strerror(errno));
		return -EIO;
	}
	return 0;
}

static int
file_sync(struct domain *d, const struct sync_range *ranges, unsigned n)
{
	int r;

	for (unsigned i = 0; i < n; i++)
		record(d, DOMAIN_FLUSH, ranges[i].off, ranges[i].len);
	r = sync_ranges(d, ranges, n);
	if (r == 0)
		record(d, DOMAIN_BARRIER, 0, 0);
	return r;
}

int
domain_flush_set(struct domain *d, struct flush_set *fs)
{
	struct sync_range ranges[FLUSH_MAX];

	switch (d->kind) {
	case DOMAIN_PMEM:
		pmem_drain();
		record(d, DOMAIN_BARRIER, 0, 0);
		return 0;
	case DOMAIN_VOLATILE:
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
		record(d, DOMAIN_BARRIER, 0, 0);
		return 0;
	case DOMAIN_PAGECACHE:
		break;
	}
	if (fs->nr == 0)
		return 0;
	coarsen(fs, FLUSH_MAX);
	for (size_t i = 0; i < fs->nr; i++)
		ranges[i] = (struct sync_range){ fs->ranges[i].start << BLK_SHIFT,
			fs->ranges[i].n << BLK_SHIFT };
	return file_sync(d, ranges, (unsigned)fs->nr);
}

int
domain_flush_range(struct domain *d, void *addr, size_t len)
{
	uint64_t off = (uint64_t)((uint8_t *)addr - d->base);
	uint64_t start = off & ~(uint64_t)BLK_MASK;
	struct sync_range range = { start, (bytes_to_blocks_up(off + len) << BLK_SHIFT) - start };

	switch (d->kind) {
	case DOMAIN_PMEM:
		pmem_persist(addr, len);
		record(d, DOMAIN_FLUSH, off, len);
		record(d, DOMAIN_BARRIER, 0, 0);
		return 0;
	case DOMAIN_VOLATILE:
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
		record(d, DOMAIN_BARRIER, 0, 0);
		return 0;
	case DOMAIN_PAGECACHE:
		break;
	}
	return len > 0 ? file_sync(d, &range, 1) : 0;
}

void
domain_copy(struct domain *d, void *dst, const void *src, size_t len)
{
	if (d->kind != DOMAIN_PMEM) {
		memcpy(dst, src, len);
	} else {
		pmem_memcpy_nodrain(dst, src, len);
		local_drain();
	}
	record_store(d, dst, len);
}

void
domain_zero(struct domain *d, void *dst, size_t len)
{
	if (d->kind != DOMAIN_PMEM) {
		memset(dst, 0, len);
	} else {
		pmem_memset_nodrain(dst, 0, len);
		local_drain();
	}
	record_store(d, dst, len);
}
