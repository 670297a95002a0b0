/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pmem/domain.h"
#include "pmem/domain_uring.h"
#include "pmem/log.h"

#define NBLOCKS 4096u

struct area {
	char name[32];
	int fd;
	uint8_t *base;
	size_t len;
};

static void
quiet(void *arg, int level, const char *text)
{
	(void)arg, (void)level, (void)text;
}

/* A mapped file in the directory that the test runs in, which is on a disk as a rule. */
static void
area_open(struct area *ar)
{
	strcpy(ar->name, "test_domain.XXXXXX");
	ar->fd = mkstemp(ar->name);
	ck_assert_int_ge(ar->fd, 0);
	unlink(ar->name);
	ar->len = (size_t)NBLOCKS << BLK_SHIFT;
	ck_assert_int_eq(ftruncate(ar->fd, (off_t)ar->len), 0);
	ar->base = mmap(NULL, ar->len, PROT_READ | PROT_WRITE, MAP_SHARED, ar->fd, 0);
	ck_assert(ar->base != MAP_FAILED);
}

static void
area_close(struct area *ar)
{
	munmap(ar->base, ar->len);
	close(ar->fd);
}

/* Pages of the range that are not on the medium yet; -1: this kernel or filesystem can't tell. */
static int64_t
dirty_pages(int fd, pblk_t start, uint64_t n)
{
#ifdef __NR_cachestat
	const long nr = __NR_cachestat;
#else
	const long nr = 451;
#endif
	struct { uint64_t off, len; } range = { start << BLK_SHIFT, n << BLK_SHIFT };
	struct { uint64_t cache, dirty, writeback, evicted, recently_evicted; } cs;

	if (syscall(nr, fd, &range, &cs, 0) < 0)
		return -1;
	return (int64_t)(cs.dirty + cs.writeback);
}

START_TEST(names)
{
	enum domain_kind kind;

	for (int i = DOMAIN_VOLATILE; i <= DOMAIN_PMEM; i++) {
		ck_assert_ok(domain_parse(domain_name((enum domain_kind)i), &kind));
		ck_assert_int_eq((int)kind, i);
	}
	ck_assert_err(domain_parse("disk", &kind), EINVAL);
	ck_assert_err(domain_parse("", &kind), EINVAL);
}
END_TEST

START_TEST(detect)
{
	int fd = memfd_create("test_domain", MFD_CLOEXEC);
	void *base;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, BLK_SIZE), 0);
	base = mmap(NULL, BLK_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert(base != MAP_FAILED);
	ck_assert_int_eq(domain_detect(fd, base, BLK_SIZE), DOMAIN_VOLATILE);
	munmap(base, BLK_SIZE);
	close(fd);
}
END_TEST

START_TEST(copy_and_zero)
{
	enum domain_kind kind = (enum domain_kind)_i;
	uint8_t *src, *dst;
	struct domain *d;
	struct flush_set *fs;
	struct area ar;
	uint64_t seed = 3;

	area_open(&ar);
	ck_assert_ok(domain_open(&d, kind, ar.fd, ar.base, ar.len));
	ck_assert_int_eq(domain_kind(d), kind);
	if (kind != DOMAIN_PAGECACHE)
		ck_assert(!domain_uses_uring(d));
	fs = flush_set_new(d);
	ck_assert_ptr_nonnull(fs);
	src = malloc(1 << 20);
	ck_assert_ptr_nonnull(src);
	for (unsigned i = 0; i < 1 << 20; i++)
		src[i] = (uint8_t)unit_random(&seed);
	dst = ar.base + 5 * BLK_SIZE;
	domain_copy(d, dst, src, 1 << 20);
	ck_assert_int_eq(memcmp(dst, src, 1 << 20), 0);
	domain_copy(d, dst + 3, src + 1, 100);
	ck_assert_int_eq(memcmp(dst + 3, src + 1, 100), 0);
	domain_zero(d, dst + 1, 5000);
	ck_assert_uint_eq(dst[0], src[0]);
	for (unsigned i = 1; i < 5001; i++)
		ck_assert_uint_eq(dst[i], 0);
	ck_assert_uint_eq(dst[5001], src[5001]);
	flush_set_add(fs, 5, 256);
	flush_set_add(fs, 7, 0);
	ck_assert_ok(domain_flush_set(d, fs));
	ck_assert_ok(domain_flush_range(d, dst + 10, 20));
	ck_assert_ok(domain_flush_range(d, dst, 0));
	free(src);
	flush_set_free(fs);
	domain_close(d);
	area_close(&ar);
}
END_TEST

static void
store_and_add(struct area *ar, struct flush_set *fs, pblk_t start, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		ar->base[(start + i) << BLK_SHIFT]++;
	flush_set_add(fs, start, n);
}

/* Every range that was added is clean afterwards, in whatever order and number they came. */
static void
flush_random_ranges(unsigned nranges, uint64_t seed)
{
	struct domain *d;
	struct flush_set *fs;
	struct area ar;
	struct { pblk_t start; uint64_t n; } *r = calloc(nranges, sizeof(*r));

	ck_assert_ptr_nonnull(r);
	area_open(&ar);
	ck_assert_ok(domain_open(&d, DOMAIN_PAGECACHE, ar.fd, ar.base, ar.len));
	fs = flush_set_new(d);
	ck_assert_ptr_nonnull(fs);
	ck_assert_ok(domain_flush_set(d, fs)); /* empty */
	for (unsigned i = 0; i < nranges; i++) {
		r[i].start = unit_random(&seed) % NBLOCKS;
		r[i].n = 1 + unit_random(&seed) % 3;
		r[i].n = min_of(r[i].n, NBLOCKS - r[i].start);
		store_and_add(&ar, fs, r[i].start, r[i].n);
	}
	ck_assert_ok(domain_flush_set(d, fs));
	for (unsigned i = 0; i < nranges; i++)
		ck_assert_int_le(dirty_pages(ar.fd, r[i].start, r[i].n), 0);
	/* Cleared, it starts again from nothing. */
	flush_set_clear(fs);
	store_and_add(&ar, fs, 17, 2);
	ck_assert_ok(domain_flush_set(d, fs));
	ck_assert_int_le(dirty_pages(ar.fd, 17, 2), 0);
	flush_set_free(fs);
	domain_close(d);
	area_close(&ar);
	free(r);
}

START_TEST(flush_sets)
{
	flush_random_ranges(1, 1);
	flush_random_ranges(5, 2);
	flush_random_ranges(17, 3);
	flush_random_ranges(300, 4);
	flush_random_ranges(60000, 5);
}
END_TEST

START_TEST(flush_one_range)
{
	struct domain *d;
	struct area ar;

	area_open(&ar);
	ck_assert_ok(domain_open(&d, DOMAIN_PAGECACHE, ar.fd, ar.base, ar.len));
	memset(ar.base, 1, ar.len);
	ck_assert_ok(domain_flush_range(d, ar.base + BLK_SIZE, BLK_SIZE));
	ck_assert_int_le(dirty_pages(ar.fd, 1, 1), 0);
	/* Across a block boundary: both. */
	ck_assert_ok(domain_flush_range(d, ar.base + 9 * BLK_SIZE - 1, 2));
	ck_assert_int_le(dirty_pages(ar.fd, 8, 2), 0);
	domain_close(d);
	area_close(&ar);
}
END_TEST

struct flusher {
	struct domain *d;
	uint8_t *addr;
	int error;
};

static void *
flusher(void *arg)
{
	struct flusher *f = arg;

	for (unsigned i = 0; i < 50 && f->error == 0; i++) {
		(*f->addr)++;
		f->error = domain_flush_range(f->d, f->addr, 1);
	}
	return NULL;
}

/* The ring serves one at a time; whoever finds it busy still gets his flush. */
START_TEST(flushers_at_once)
{
	struct flusher f[3];
	pthread_t t[3];
	struct domain *d;
	struct area ar;

	area_open(&ar);
	ck_assert_ok(domain_open(&d, DOMAIN_PAGECACHE, ar.fd, ar.base, ar.len));
	for (unsigned i = 0; i < 3; i++) {
		f[i] = (struct flusher){ .d = d, .addr = ar.base + i * 100 * BLK_SIZE };
		ck_assert_int_eq(pthread_create(&t[i], NULL, flusher, &f[i]), 0);
	}
	for (unsigned i = 0; i < 3; i++) {
		pthread_join(t[i], NULL);
		ck_assert_ok(f[i].error);
		ck_assert_int_le(dirty_pages(ar.fd, i * 100, 1), 0);
	}
	domain_close(d);
	area_close(&ar);
}
END_TEST

START_TEST(ring)
{
	struct sync_range many[100];
	struct sync_ring *r;
	struct area ar;

	area_open(&ar);
	r = sync_ring_new(ar.fd);
	if (!r) {
		puts("domain: no io_uring here: test of the ring skipped");
		area_close(&ar);
		return;
	}
	for (unsigned i = 0; i < 100; i++) {
		many[i] = (struct sync_range){ (uint64_t)i * 8 * BLK_SIZE, BLK_SIZE };
		ar.base[many[i].off]++;
	}
	ck_assert_ok(sync_ring_flush(r, many, 100));
	for (unsigned i = 0; i < 100; i++)
		ck_assert_int_le(dirty_pages(ar.fd, many[i].off >> BLK_SHIFT, 1), 0);
	/* More than a request's length field can say. */
	many[0] = (struct sync_range){ 0, (uint64_t)9 << 30 };
	ar.base[0]++;
	ck_assert_ok(sync_ring_flush(r, many, 1));
	ck_assert_int_le(dirty_pages(ar.fd, 0, NBLOCKS), 0);
	ck_assert_ok(sync_ring_flush(r, many, 0));
	sync_ring_free(r);
	area_close(&ar);
}
END_TEST

/* What can't be synced is an error with the ring, and without. */
START_TEST(failure)
{
	struct flush_set *fs;
	struct domain *d;
	struct area ar;
	int fds[2];

	pinfs_log_to(quiet, NULL);
	area_open(&ar);
	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_ok(domain_open(&d, DOMAIN_PAGECACHE, fds[0], ar.base, ar.len));
	fs = flush_set_new(d);
	ck_assert_ptr_nonnull(fs);
	flush_set_add(fs, 1, 1);
	ck_assert_err(domain_flush_set(d, fs), EIO);
	ck_assert_err(domain_flush_set(d, fs), EIO);
	ck_assert_err(domain_flush_range(d, ar.base, 1), EIO);
	flush_set_free(fs);
	domain_close(d);
	close(fds[0]);
	close(fds[1]);
	area_close(&ar);
	pinfs_log_to(NULL, NULL);
}
END_TEST

struct seen {
	char text[200];
	size_t n;
};

static void
note_event(void *arg, enum domain_event event, uint64_t off, uint64_t len)
{
	struct seen *s = arg;

	s->n += (size_t)snprintf(s->text + s->n, sizeof(s->text) - s->n, "%c%llu+%llu ", "SFB"[event],
	    (unsigned long long)off, (unsigned long long)len);
	ck_assert_uint_lt(s->n, sizeof(s->text));
}

/* Everything that decides about what is durable is told, in order; nothing once it is switched off. */
START_TEST(recorder)
{
	static const char *const want[] = {
		[DOMAIN_VOLATILE] = "S100+5 S4096+8192 B0+0 B0+0 ",
		[DOMAIN_PAGECACHE] = "S100+5 S4096+8192 F4096+8192 B0+0 F0+4096 B0+0 ",
		[DOMAIN_PMEM] = "S100+5 F100+5 S4096+8192 F4096+8192 F4096+8192 B0+0 F10+20 B0+0 ",
	};
	struct seen seen = { .n = 0 };
	struct flush_set *fs;
	struct domain *d;
	struct area ar;

	area_open(&ar);
	ck_assert_ok(domain_open(&d, (enum domain_kind)_i, ar.fd, ar.base, ar.len));
	fs = flush_set_new(d);
	ck_assert_ptr_nonnull(fs);
	domain_record(d, note_event, &seen);
	domain_copy(d, ar.base + 100, "hello", 5);
	domain_zero(d, ar.base + BLK_SIZE, 2 * BLK_SIZE);
	flush_set_add(fs, 1, 2);
	ck_assert_ok(domain_flush_set(d, fs));
	ck_assert_ok(domain_flush_range(d, ar.base + 10, 20));
	ck_assert_str_eq(seen.text, want[_i]);
	domain_record(d, NULL, NULL);
	domain_copy(d, ar.base + 100, "hello", 5);
	ck_assert_ok(domain_flush_range(d, ar.base + 10, 20));
	ck_assert_str_eq(seen.text, want[_i]);
	flush_set_free(fs);
	domain_close(d);
	area_close(&ar);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("domain");
	TCase *tc = tcase_create("domain");

	tcase_add_test(tc, names);
	tcase_add_test(tc, detect);
	tcase_add_loop_test(tc, copy_and_zero, DOMAIN_VOLATILE, DOMAIN_PMEM + 1);
	tcase_add_test(tc, flush_sets);
	tcase_add_test(tc, flush_one_range);
	tcase_add_test(tc, flushers_at_once);
	tcase_add_test(tc, ring);
	tcase_add_test(tc, failure);
	tcase_add_loop_test(tc, recorder, DOMAIN_VOLATILE, DOMAIN_PMEM + 1);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
