/* SPDX-License-Identifier: BSD-3-Clause */
/* Transactions: what is reserved, freed and durable when; crashes between two operations,
 * in the middle of one and inside a commit; threads; a medium that fails. */
#include "pmem/txn.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "pmem/log.h"
#include "pmem/pool.h"
#include "tests/unit/unit.h"

/* As ck_assert, which writes to a file each time that all is well, and is not for threads. */
#define must(cond) \
	do { \
		if (!(cond)) \
			ck_abort_msg("%s", #cond); \
	} while (0)

/* Half of what happens here is meant to be logged. */
static void
drop_log(void *arg, int level, const char *text)
{
	(void)arg, (void)level, (void)text;
}

static void
setup(void)
{
	pinfs_log_to(drop_log, NULL);
}

/* An empty pool in a domain of choice. */
static struct pool *
open_empty(const char *path, enum domain_kind kind)
{
	struct pool_options opt = { .domain = (int)kind };
	struct pool_error err;
	struct pool *p;

	ck_assert_ok(pool_open(&p, path, &opt, &err));
	ck_assert_ok(pool_rebuild_begin(p));
	ck_assert_ok(pool_rebuild_end(p));
	return p;
}

static struct alloc_stats
stats(struct pool *p)
{
	struct alloc_stats st;

	alloc_stats(pool_alloc(p), &st);
	return st;
}

static struct tree_key
item_key(uint64_t ino, uint64_t lo)
{
	return tree_key(ino, ITEM_XATTR, lo);
}

/* One put of 8 bytes in a transaction of its own. Returns its number. */
static uint64_t
put(struct pool *p, struct tree_key key, uint64_t value)
{
	struct txn t;

	must(txn_begin(p, &t, txn_credits(p, 1), 0) == 0);
	must(tree_put(&t, key, &value, sizeof(value)) == 0);
	txn_end(&t);
	return t.number;
}

static uint64_t
get(struct pool *p, struct tree_key key)
{
	uint64_t value;
	ssize_t r = tree_get(p, key, &value, sizeof(value));

	must(r == sizeof(value) || r == -ENOENT);
	return r < 0 ? 0 : value;
}

START_TEST(numbers)
{
	struct pool *p = unit_open(unit_mkpool(4));
	uint64_t first = txn_open_number(p), n;
	struct root_block root;
	struct txn t;

	ck_assert_uint_eq(txn_committed(p), first - 1);
	ck_assert(!txn_open_dirty(p));

	/* Nothing changed: nothing to commit, whatever is asked for. */
	ck_assert_ok(txn_begin(p, &t, 3, 0));
	ck_assert_uint_eq(txn_number(&t), first);
	ck_assert_uint_eq(stats(p).reserved, 3);
	ck_assert_ok(txn_extend(&t, 4));
	ck_assert_uint_eq(stats(p).reserved, 7);
	txn_end(&t);
	ck_assert_uint_eq(stats(p).reserved, 0);
	ck_assert_ok(txn_commit_wait(p, first));
	ck_assert_ok(txn_commit_wait(p, first - 1));
	ck_assert_uint_eq(txn_open_number(p), first);

	n = put(p, item_key(1, 1), 11);
	ck_assert_uint_eq(n, first);
	ck_assert(txn_open_dirty(p));
	ck_assert_uint_eq(txn_open_nodes(p), 1);
	ck_assert_ok(txn_commit_wait(p, n - 1));
	ck_assert_uint_eq(txn_committed(p), n - 1);
	ck_assert_ok(txn_commit_wait(p, n));
	ck_assert_uint_eq(txn_committed(p), n);
	ck_assert_uint_eq(txn_open_number(p), n + 1);
	ck_assert(!txn_open_dirty(p));
	ck_assert_uint_eq(txn_open_nodes(p), 0);
	pool_root(p, &root);
	ck_assert_uint_eq(root.txn, n);

	/* A clean commit says so, once; the next ordinary one takes it back. */
	ck_assert_ok(pool_commit_clean(p));
	pool_root(p, &root);
	ck_assert_uint_eq(root.flags, ROOT_CLEAN);
	ck_assert_uint_eq(root.txn, n + 1);
	ck_assert_ok(pool_commit_clean(p));
	ck_assert_uint_eq(txn_committed(p), n + 1);
	ck_assert_ok(txn_commit_wait(p, put(p, item_key(1, 1), 12)));
	pool_root(p, &root);
	ck_assert_uint_eq(root.flags, 0);
	pool_close(p);
}
END_TEST

START_TEST(counters_are_durable)
{
	const char *path = unit_mkpool(4);
	struct pool *p = unit_open(path);
	uint64_t ninodes, data_blocks, nodes, ino;
	struct txn t;

	ck_assert_ok(txn_begin(p, &t, 0, 0));
	ino = txn_new_ino(&t);
	ck_assert_uint_eq(txn_new_ino(&t), ino + 1);
	txn_add_inodes(&t, 5);
	txn_add_inodes(&t, -2);
	txn_add_data_blocks(&t, 9);
	txn_end(&t);
	ck_assert_ok(txn_commit_wait(p, t.number));
	ck_assert_ok(txn_begin(p, &t, 0, 0));
	txn_add_inodes(&t, 100);
	txn_end(&t);
	pool_close(p);

	p = unit_open(path);
	pool_counters(p, &ninodes, &data_blocks, &nodes);
	ck_assert_uint_eq(ninodes, 3);
	ck_assert_uint_eq(data_blocks, 9);
	ck_assert_uint_eq(nodes, 0);
	ck_assert_ok(txn_begin(p, &t, 0, 0));
	ck_assert_uint_eq(txn_new_ino(&t), ino + 2);
	txn_end(&t);
	pool_close(p);
}
END_TEST

/* Ordinary transactions leave the metadata reserve alone. */
START_TEST(reserve_is_for_those_who_must)
{
	struct pool *p = unit_open(unit_mkpool(8));
	uint64_t keep = pool_meta_reserve(p), got;
	struct txn t;
	pblk_t start;

	ck_assert_uint_gt(keep, 2);
	while (alloc_run(pool_alloc(p), PBLK_NONE, 1000, keep, 0, &start, &got) == 0)
		;
	ck_assert_uint_eq(stats(p).free, keep);
	ck_assert_err(txn_begin(p, &t, 1, 0), ENOSPC);
	ck_assert_ok(txn_begin(p, &t, 1, TXN_MUST));
	ck_assert_err(txn_extend(&t, keep), ENOSPC);
	ck_assert_ok(txn_extend(&t, keep - 1));
	txn_end(&t);
	ck_assert_ok(txn_begin(p, &t, 0, 0));
	ck_assert_err(txn_extend(&t, 1), ENOSPC);
	txn_end(&t);
	ck_assert_uint_eq(stats(p).reserved, 0);
	pool_close(p);
}
END_TEST

static bool
can_allocate(struct pool *p, pblk_t blk)
{
	uint64_t got;
	pblk_t start;

	if (alloc_run(pool_alloc(p), blk, 1, 0, 0, &start, &got) < 0)
		return false;
	alloc_undo(pool_alloc(p), start, got, 0);
	return start == blk;
}

START_TEST(frees_wait_for_the_commit)
{
	struct pool *p = unit_open(unit_mkpool(8));
	uint64_t all = stats(p).free, got;
	pblk_t start[3];
	struct txn t;

	for (unsigned i = 0; i < 3; i++) {
		ck_assert_ok(pool_alloc_data(p, PBLK_NONE, 10, ALLOC_EXACT, &start[i], &got));
		ck_assert_uint_eq(got, 10);
	}
	ck_assert_ok(txn_begin(p, &t, 0, TXN_MUST));
	txn_free_new(&t, start[0], 10);
	ck_assert(can_allocate(p, start[0] + 5));
	/* In pieces, upwards and downwards. */
	txn_free(&t, start[1], 4);
	txn_free(&t, start[1] + 4, 6);
	txn_free(&t, start[2] + 7, 3);
	txn_free(&t, start[2], 7);
	txn_free(&t, start[2], 0);
	ck_assert_uint_eq(stats(p).free, all - 20);
	for (unsigned i = 0; i < 10; i++)
		ck_assert(!can_allocate(p, start[1] + i) && !can_allocate(p, start[2] + i));
	txn_end(&t);
	ck_assert_uint_eq(stats(p).free, all - 20);
	ck_assert(txn_open_dirty(p));
	ck_assert_ok(txn_commit_wait(p, t.number));
	ck_assert_uint_eq(stats(p).free, all);
	ck_assert(can_allocate(p, start[1]) && can_allocate(p, start[2] + 9));
	pool_close(p);
}
END_TEST

struct blocks {
	pblk_t blk[1000];
	unsigned nr;
};

static int
note_block(void *arg, const struct tree_walk_node *wn)
{
	struct blocks *b = arg;

	must(wn->error == 0 && b->nr < 1000);
	b->blk[b->nr++] = wn->block;
	return 0;
}

/* While the open transaction changes all of it, the committed tree stays what it is, and allocated. */
START_TEST(committed_nodes_stay)
{
	struct pool *p = unit_open(unit_mkpool(8));
	static struct blocks before, still;
	struct txn t;

	for (uint64_t i = 0; i < 20000; i++)
		put(p, item_key(1, i), i);
	ck_assert_ok(txn_commit_wait(p, txn_open_number(p)));
	ck_assert_ok(tree_walk(p, note_block, &before));
	ck_assert_uint_gt(before.nr, 100);
	for (uint64_t i = 0; i < 20000; i++) {
		must(txn_begin(p, &t, txn_credits(p, 1), TXN_MUST) == 0);
		if (i / 1000 % 2)
			must(tree_delete(&t, item_key(1, i)) == 0);
		else
			must(tree_put(&t, item_key(1, i), "changed", 7) == 0);
		txn_end(&t);
	}
	for (unsigned i = 0; i < before.nr; i++)
		must(!can_allocate(p, before.blk[i]));
	ck_assert_ok(tree_walk(p, note_block, &still));
	ck_assert_uint_eq(still.nr, before.nr);
	ck_assert_mem_eq(still.blk, before.blk, before.nr * sizeof(before.blk[0]));
	ck_assert_ok(txn_commit_wait(p, t.number));
	for (unsigned i = 0; i < before.nr; i++)
		must(can_allocate(p, before.blk[i]));
	pool_close(p);
}
END_TEST

/* More frees than there is room for at first. */
START_TEST(many_frees)
{
	struct pool *p = unit_open(unit_mkpool(32));
	uint64_t all = stats(p).free, got;
	static pblk_t blk[7000];
	struct txn t;

	for (unsigned i = 0; i < 7000; i++)
		must(pool_alloc_data(p, PBLK_NONE, 1, 0, &blk[i], &got) == 0);
	for (unsigned round = 0; round < 2; round++) {
		must(txn_begin(p, &t, 0, TXN_MUST) == 0);
		for (unsigned i = round; i < 7000; i += 2)
			txn_free(&t, blk[i], 1);
		txn_end(&t);
		must(stats(p).free == all - 7000 + round * 3500);
		must(txn_commit_wait(p, t.number) == 0);
		must(stats(p).free == all - 3500 + round * 3500);
	}
	pool_close(p);
}
END_TEST

/* ---- crashes ---- */

#define KEYS 400u

struct image {
	uint64_t value[KEYS]; /* 0: not there */
};

static void
copy_pool(const char *from, const char *to)
{
	static uint8_t buf[1 << 20];
	int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	ssize_t n;

	must(in >= 0 && out >= 0);
	while ((n = read(in, buf, sizeof(buf))) > 0)
		must(write(out, buf, (size_t)n) == n);
	must(n == 0);
	close(in);
	close(out);
}

/* What a mount after a crash finds in a copy of the pool. */
static void
expect_image(const char *path, const struct image *img)
{
	struct pool *p = unit_open(path);

	for (unsigned i = 0; i < KEYS; i++)
		must(get(p, item_key(i % 7, i)) == img->value[i]);
	pool_close(p);
}

/* Ruin the newest root slot, as a crash in the middle of writing it would. */
static void
tear_root(const char *path, uint64_t txn)
{
	int fd = open(path, O_WRONLY);

	must(fd >= 0);
	must(pwrite(fd, "torn", 4, (off_t)(txn % ROOT_SLOTS * BLK_SIZE + 100)) == 4);
	close(fd);
}

START_TEST(crash_finds_the_last_commit)
{
	char path[256], copy[256];
	struct image now = { { 0 } }, committed = { { 0 } }, before = { { 0 } };
	uint64_t seed = 800 + (uint64_t)_i;
	struct pool *p;
	struct txn t;

	snprintf(path, sizeof(path), "%s", unit_mkpool(2));
	snprintf(copy, sizeof(copy), "%s", unit_pool_path());
	p = unit_open(path);
	for (unsigned step = 0; step < 3000; step++) {
		unsigned i = (unsigned)(unit_random(&seed) % KEYS);

		must(txn_begin(p, &t, txn_credits(p, 2), TXN_MUST) == 0);
		if (unit_random(&seed) % 3) {
			uint64_t value = step + 1;

			must(tree_put(&t, item_key(i % 7, i), &value, sizeof(value)) == 0);
			now.value[i] = value;
		} else {
			int r = tree_delete(&t, item_key(i % 7, i));

			must(r == (now.value[i] ? 0 : -ENOENT));
			now.value[i] = 0;
		}
		/* In the middle of an operation, or after it. */
		if (step % 90 == 10)
			copy_pool(path, copy);
		txn_end(&t);
		if (step % 90 == 50)
			copy_pool(path, copy);
		if (step % 90 == 10 || step % 90 == 50)
			expect_image(copy, &committed);
		if (unit_random(&seed) % 20)
			continue;
		before = committed;
		committed = now;
		bool changed = txn_open_dirty(p);
		must(txn_commit_wait(p, t.number) == 0);
		if (!changed || step % 4)
			continue;
		copy_pool(path, copy);
		expect_image(copy, &committed);
		/* Nothing that the commit freed has been reused yet: so it would look just before. */
		tear_root(copy, t.number);
		expect_image(copy, &before);
	}
	pool_close(p);
}
END_TEST

/* ---- threads ---- */

#define THREADS 4u

struct worker {
	struct pool *p;
	unsigned id;
	pthread_barrier_t *barrier;
	uint64_t number;
	int result;
};

static void *
work_alone(void *arg)
{
	struct worker *w = arg;
	uint64_t seed = w->id + 1;

	for (unsigned i = 0; i < 1500 && w->result == 0; i++) {
		uint64_t value = unit_random(&seed), lo = value % 300;
		struct txn t;
		uint64_t got, start;

		w->result = txn_begin(w->p, &t, txn_credits(w->p, 1), 0);
		if (w->result < 0)
			break;
		if (i % 3 == 2) {
			int r = tree_delete(&t, item_key(w->id, lo));

			w->result = r == -ENOENT ? 0 : r;
		} else {
			w->result = tree_put(&t, item_key(w->id, lo), &value, sizeof(value));
		}
		/* A block that comes and goes with it. */
		if (w->result == 0)
			w->result = pool_alloc_data(w->p, PBLK_NONE, 1, 0, &start, &got);
		if (w->result == 0) {
			memset(pool_block(w->p, start), (int)i, BLK_SIZE);
			txn_note_data(&t, start, 1);
			txn_free(&t, start, 1);
		}
		txn_end(&t);
		if (w->result == 0 && i % 5 == 0) {
			w->result = txn_commit_wait(w->p, t.number);
			if (txn_committed(w->p) < t.number)
				w->result = -ENOTRECOVERABLE;
		}
		/* Nobody else touches these keys. */
		if (w->result == 0 && i % 3 != 2 && get(w->p, item_key(w->id, lo)) != value)
			w->result = -ENOTRECOVERABLE;
	}
	return NULL;
}

static bool readers_stop;

static int
count_item(void *arg, struct tree_key key, const void *value, size_t len)
{
	(void)value;
	if (len != sizeof(uint64_t) || tree_key_ino(key) >= THREADS)
		return -EBADMSG;
	++*(unsigned *)arg;
	return 0;
}

static void *
read_along(void *arg)
{
	struct tree_key from = item_key(0, 0), to = item_key(THREADS, 0);
	struct worker *w = arg;

	while (!__atomic_load_n(&readers_stop, __ATOMIC_RELAXED) && w->result == 0) {
		unsigned n = 0;

		w->result = tree_scan(w->p, from, to, count_item, &n);
		if (w->result == 0)
			w->result = tree_scan_back(w->p, from, to, count_item, &n);
	}
	return NULL;
}

static void
run_threads(struct worker *w, void *(*fn)(void *), unsigned n)
{
	pthread_t id[THREADS];

	for (unsigned i = 0; i < n; i++)
		must(pthread_create(&id[i], NULL, fn, &w[i]) == 0);
	for (unsigned i = 0; i < n; i++) {
		must(pthread_join(id[i], NULL) == 0);
		ck_assert_ok(w[i].result);
	}
}

static const enum domain_kind domains[] = { DOMAIN_VOLATILE, DOMAIN_PAGECACHE };

START_TEST(threads)
{
	const char *path = unit_mkpool(16);
	struct pool *p = open_empty(path, domains[_i]);
	struct worker w[THREADS], reader = { .p = p };
	uint64_t ninodes, data_blocks, nodes, all = stats(p).free, values[THREADS][300];
	pthread_t reader_id;

	readers_stop = false;
	must(pthread_create(&reader_id, NULL, read_along, &reader) == 0);
	for (unsigned i = 0; i < THREADS; i++)
		w[i] = (struct worker){ .p = p, .id = i };
	run_threads(w, work_alone, THREADS);
	__atomic_store_n(&readers_stop, true, __ATOMIC_RELAXED);
	must(pthread_join(reader_id, NULL) == 0);
	ck_assert_ok(reader.result);

	ck_assert_ok(pool_commit_clean(p));
	pool_counters(p, &ninodes, &data_blocks, &nodes);
	ck_assert_uint_eq(stats(p).free, all - nodes);
	ck_assert_uint_eq(stats(p).reserved, 0);
	for (unsigned i = 0; i < THREADS; i++)
		for (unsigned lo = 0; lo < 300; lo++)
			values[i][lo] = get(p, item_key(i, lo));
	pool_close(p);
	p = unit_open(path);
	must(stats(p).free == all - nodes);
	for (unsigned i = 0; i < THREADS; i++)
		for (unsigned lo = 0; lo < 300; lo++)
			must(get(p, item_key(i, lo)) == values[i][lo]);
	pool_close(p);
}
END_TEST

static void *
change_then_commit(void *arg)
{
	struct worker *w = arg;

	w->number = put(w->p, item_key(w->id, 0), 1);
	pthread_barrier_wait(w->barrier);
	w->result = txn_commit_wait(w->p, w->number);
	return NULL;
}

/* All that joined one transaction are served by one commit. */
START_TEST(group_commit)
{
	struct pool *p = open_empty(unit_mkpool(4), domains[_i]);
	struct worker w[THREADS];
	pthread_barrier_t barrier;
	uint64_t number = txn_open_number(p);

	pthread_barrier_init(&barrier, NULL, THREADS);
	for (unsigned i = 0; i < THREADS; i++)
		w[i] = (struct worker){ .p = p, .id = i, .barrier = &barrier };
	run_threads(w, change_then_commit, THREADS);
	for (unsigned i = 0; i < THREADS; i++)
		ck_assert_uint_eq(w[i].number, number);
	ck_assert_uint_eq(txn_committed(p), number);
	ck_assert_uint_eq(txn_open_number(p), number + 1);
	pthread_barrier_destroy(&barrier);
	pool_close(p);
}
END_TEST

struct reply {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	unsigned calls;
	int err;
};

static void
on_done(void *arg, int err)
{
	struct reply *r = arg;

	pthread_mutex_lock(&r->lock);
	r->calls++;
	if (err)
		r->err = err;
	pthread_cond_signal(&r->cond);
	pthread_mutex_unlock(&r->lock);
}

static int
await(struct reply *r, unsigned calls)
{
	pthread_mutex_lock(&r->lock);
	while (r->calls < calls)
		pthread_cond_wait(&r->cond, &r->lock);
	must(r->calls == calls);
	pthread_mutex_unlock(&r->lock);
	return r->err;
}

START_TEST(async_commit)
{
	struct pool *p = open_empty(unit_mkpool(4), domains[_i]);
	struct reply reply = { .lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };
	uint64_t number = 0;

	for (unsigned i = 0; i < 500; i++) {
		number = put(p, item_key(1, i), i);
		txn_commit_async(p, number, on_done, &reply);
	}
	ck_assert_ok(await(&reply, 500));
	ck_assert_uint_ge(txn_committed(p), number);
	/* Durable already; and open but unchanged. */
	txn_commit_async(p, number, on_done, &reply);
	ck_assert_uint_eq(reply.calls, 501);
	txn_commit_async(p, txn_open_number(p), on_done, &reply);
	ck_assert_ok(await(&reply, 502));
	/* Closing waits for what was asked for. */
	number = put(p, item_key(1, 0), 77);
	txn_commit_async(p, number, on_done, &reply);
	pool_close(p);
	ck_assert_uint_eq(reply.calls, 503);
}
END_TEST

/* ---- a medium that fails ---- */

START_TEST(failed_commit)
{
	char path[256];
	struct reply reply = { .lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };
	struct pool *p;
	uint64_t number, free_before;
	struct txn t, late;
	int fds[2];

	snprintf(path, sizeof(path), "%s", unit_mkpool(4));
	p = open_empty(path, DOMAIN_PAGECACHE);
	number = put(p, item_key(1, 1), 1);
	ck_assert_ok(txn_commit_wait(p, number));

	/* A pipe can't be synced. */
	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_ge(dup2(fds[0], pool_fd(p)), 0);
	number = put(p, item_key(1, 1), 2);
	free_before = stats(p).free;
	if (_i == 0) {
		ck_assert_err(txn_commit_wait(p, number), EIO);
	} else {
		txn_commit_async(p, number, on_done, &reply);
		ck_assert_err(await(&reply, 1), EIO);
	}
	ck_assert_uint_eq(txn_committed(p), number - 1);
	ck_assert_uint_eq(stats(p).free, free_before);
	ck_assert_err(txn_begin(p, &t, 1, 0), EROFS);
	ck_assert_err(txn_begin(p, &late, 0, TXN_MUST), EROFS);
	ck_assert_uint_eq(stats(p).reserved, 0);
	ck_assert_err(txn_commit_wait(p, number), EIO);
	ck_assert_err(txn_commit_wait(p, txn_open_number(p)), EIO);
	ck_assert_err(pool_commit_clean(p), EIO);
	ck_assert_ok(txn_commit_wait(p, number - 1));
	ck_assert_uint_eq(get(p, item_key(1, 1)), 2);
	close(fds[0]);
	close(fds[1]);
	pool_close(p);

	p = unit_open(path);
	ck_assert_uint_eq(get(p, item_key(1, 1)), 1);
	pool_close(p);
}
END_TEST

static void *
commit_open(void *arg)
{
	struct pool *p = arg;

	return (void *)(intptr_t)txn_commit_wait(p, txn_open_number(p));
}

/* What an aborted transaction changed is never committed, not even by a commit that waits for it to end. */
START_TEST(aborted_transaction)
{
	char path[256];
	const struct timespec pause = { .tv_nsec = 20000000 };
	uint64_t value = 2;
	struct pool *p;
	struct txn t, late;
	pthread_t thread;
	void *r;

	snprintf(path, sizeof(path), "%s", unit_mkpool(4));
	p = open_empty(path, DOMAIN_VOLATILE);
	ck_assert_ok(txn_commit_wait(p, put(p, item_key(1, 1), 1)));

	ck_assert_ok(txn_begin(p, &t, 10, 0));
	ck_assert_ok(tree_put(&t, item_key(1, 1), &value, sizeof(value)));
	ck_assert_uint_eq(t.changes, 1);
	ck_assert_int_eq(pthread_create(&thread, NULL, commit_open, p), 0);
	nanosleep(&pause, NULL);
	txn_abort(&t, -ENOSPC);
	txn_abort(&t, -EIO);
	txn_end(&t);
	ck_assert_int_eq(pthread_join(thread, &r), 0);
	ck_assert_int_eq((int)(intptr_t)r, -EIO);
	ck_assert_err(txn_commit_wait(p, txn_open_number(p)), EIO);
	ck_assert_err(txn_begin(p, &late, 1, TXN_MUST), EROFS);
	ck_assert_err(pool_commit_clean(p), EIO);
	ck_assert_uint_eq(stats(p).reserved, 0);
	ck_assert_uint_eq(get(p, item_key(1, 1)), 2);
	pool_close(p);

	p = unit_open(path);
	ck_assert_uint_eq(get(p, item_key(1, 1)), 1);
	pool_close(p);
}
END_TEST

START_TEST(read_only_pool)
{
	const char *path = unit_mkpool(4);
	struct pool *p = unit_open(path);
	struct pool_options opt = { .flags = POOL_RDONLY, .domain = -1 };
	struct pool_error err;
	struct txn t;

	ck_assert_ok(txn_commit_wait(p, put(p, item_key(1, 1), 5)));
	pool_close(p);
	ck_assert_ok(pool_open(&p, path, &opt, &err));
	ck_assert_err(txn_begin(p, &t, 0, TXN_MUST), EROFS);
	ck_assert_uint_eq(get(p, item_key(1, 1)), 5);
	ck_assert_ok(pool_commit_clean(p));
	pool_close(p);
}
END_TEST

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

int
main(void)
{
	Suite *s = suite_create("txn");
	TCase *c = tcase_create("txn");

	tcase_add_checked_fixture(c, setup, NULL);
	tcase_add_test(c, numbers);
	tcase_add_test(c, counters_are_durable);
	tcase_add_test(c, reserve_is_for_those_who_must);
	tcase_add_test(c, frees_wait_for_the_commit);
	tcase_add_test(c, committed_nodes_stay);
	tcase_add_test(c, many_frees);
	tcase_add_loop_test(c, crash_finds_the_last_commit, 0, 3);
	tcase_add_loop_test(c, threads, 0, COUNT(domains));
	tcase_add_loop_test(c, group_commit, 0, COUNT(domains));
	tcase_add_loop_test(c, async_commit, 0, COUNT(domains));
	tcase_add_loop_test(c, failed_commit, 0, 2);
	tcase_add_test(c, aborted_transaction);
	tcase_add_test(c, read_only_pool);
	suite_add_tcase(s, c);
	return unit_main(s);
}
