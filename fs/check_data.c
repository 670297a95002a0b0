/* SPDX-License-Identifier: BSD-3-Clause */
/* Last phase: the CRC of every data block.
 *
 * Threads take leaves off a common list and check the blocks that the extents in
 * them name; a leaf has a few hundred blocks at most, so the work is even. The thread
 * that called looks on, tells how far it is, and passes a cancellation on. A
 * shared block is checked with each extent that names it, since each carries a CRC.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fs/check_i.h"
#include "fs/extent.h"
#include "pmem/crc.h"

#define PHASE "data"
#define THREADS_MAX 64u
#define LOOK_NS 100000000 /* how often the caller looks */

struct data {
	struct ck *c;
	size_t next_leaf;        /* atomic */
	uint64_t done;           /* atomic; blocks */
	bool cancelled;          /* atomic */
	pthread_mutex_t lock;
	pthread_cond_t ended;
	unsigned running;        /* P: lock */
};

/* Some of the blocks are bad: the extent in pieces that are wholly good or wholly bad. */
static void
fix_blocks_of(struct ck *c, struct tree_key key, const struct extent *e, const uint8_t *csums, const bool *bad)
{
	unsigned char value[ITEM_VALUE_MAX];

	fix_delete(c, key);
	for (uint64_t from = 0, to; from < e->len; from = to) {
		struct extent_item item = { .pblk = e->pblk + from,
			.flags = bad[from] && c->opt->data == CHECK_DATA_MARK ? EXTENT_DAMAGED : 0 };

		for (to = from + 1; to < e->len && bad[to] == bad[from]; to++)
			;
		if (bad[from] && c->opt->data == CHECK_DATA_PUNCH)
			continue;
		item.len = (uint32_t)(to - from);
		memcpy(value, &item, EXTENT_ITEM_HEAD);
		memcpy(value + EXTENT_ITEM_HEAD, csums + from * sizeof(uint32_t), item.len * sizeof(uint32_t));
		for (uint64_t k = from; k < to && bad[from] && c->opt->data == CHECK_DATA_ACCEPT; k++) {
			uint32_t crc = crc32c(pool_block(c->pool, e->pblk + k), BLK_SIZE);

			memcpy(value + EXTENT_ITEM_HEAD + (k - from) * sizeof(crc), &crc, sizeof(crc));
		}
		key.lo = e->fblk + from;
		fix_put(c, key, value, EXTENT_ITEM_HEAD + item.len * sizeof(uint32_t));
	}
}

static void
check_blocks(struct data *d, struct tree_key key, const struct extent *e, const uint8_t *csums)
{
	bool bad[EXTENT_CSUM_BLOCKS_MAX] = { false }, any = false;
	struct ck *c = d->c;
	/* Who asks for more than a mark has known damage dealt with, too. */
	bool known = (e->flags & EXTENT_DAMAGED) && (!c->fix || c->opt->data == CHECK_DATA_MARK);

	for (uint64_t k = 0; k < e->len; k++) {
		uint32_t want, crc = crc32c(pool_block(c->pool, e->pblk + k), BLK_SIZE);

		memcpy(&want, csums + k * sizeof(want), sizeof(want));
		if (crc == want)
			continue;
		ck_report(c, known ? CHECK_DATA_KNOWN : CHECK_DATA_CRC, tree_key_ino(key), (e->fblk + k) << BLK_SHIFT,
		    e->pblk + k, "content has CRC %08x, it should be %08x", crc, want);
		bad[k] = any = true;
	}
	if (any && c->fix && !known)
		fix_blocks_of(c, key, e, csums, bad);
	__atomic_fetch_add(&d->done, e->len, __ATOMIC_RELAXED);
}

static void
check_leaf(struct data *d, const struct node_header *node)
{
	for (unsigned i = 0; i < leaf_count(node); i++) {
		struct tree_key key;
		struct extent e;
		const uint8_t *csums;
		const void *value;
		size_t len;

		leaf_item(node, i, &key, &value, &len);
		/* Damaged items were reported with the files. */
		if (tree_key_type(key) != ITEM_EXTENT || tree_key_ino(key) == INO_NONE ||
		    extent_decode(d->c->pool, key, value, len, &e, &csums) || !csums)
			continue;
		check_blocks(d, key, &e, csums);
	}
}

static void *
data_thread(void *arg)
{
	struct data *d = arg;
	const pblk_t *leaf = d->c->leaves.data;

	while (!__atomic_load_n(&d->cancelled, __ATOMIC_RELAXED)) {
		size_t l = __atomic_fetch_add(&d->next_leaf, 1, __ATOMIC_RELAXED);

		if (l >= d->c->leaves.n)
			break;
		check_leaf(d, pool_block(d->c->pool, leaf[l]));
	}
	pthread_mutex_lock(&d->lock);
	d->running--;
	pthread_cond_signal(&d->ended);
	pthread_mutex_unlock(&d->lock);
	return NULL;
}

/* Until all threads have ended. */
static int
look_on(struct data *d)
{
	struct ck *c = d->c;
	struct timespec until;
	int r = 0;

	pthread_mutex_lock(&d->lock);
	while (d->running > 0) {
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += LOOK_NS;
		if (until.tv_nsec >= 1000000000) {
			until.tv_nsec -= 1000000000;
			until.tv_sec++;
		}
		pthread_cond_timedwait(&d->ended, &d->lock, &until);
		if (r < 0)
			continue;
		pthread_mutex_unlock(&d->lock);
		r = ck_progress(c, PHASE, __atomic_load_n(&d->done, __ATOMIC_RELAXED), c->res->data_blocks);
		if (r < 0)
			__atomic_store_n(&d->cancelled, true, __ATOMIC_RELAXED);
		pthread_mutex_lock(&d->lock);
	}
	pthread_mutex_unlock(&d->lock);
	return r;
}

int
ck_data(struct ck *c)
{
	struct data d = { .c = c };
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned want = c->opt->threads ? c->opt->threads : cpus > 2 ? (unsigned)cpus : 2;
	pthread_t thread[THREADS_MAX];
	unsigned n = 0;
	int r;

	want = min_of(want, THREADS_MAX);
	pthread_mutex_init(&d.lock, NULL);
	pthread_cond_init(&d.ended, NULL);
	pthread_mutex_lock(&d.lock);
	while (n < want && pthread_create(&thread[n], NULL, data_thread, &d) == 0)
		n++;
	d.running = n;
	pthread_mutex_unlock(&d.lock);
	if (n > 0) {
		r = look_on(&d);
	} else { /* no thread to be had */
		d.running = 1;
		data_thread(&d);
		r = 0;
	}
	for (unsigned i = 0; i < n; i++)
		pthread_join(thread[i], NULL);
	c->res->verified_blocks = d.done;
	pthread_cond_destroy(&d.ended);
	pthread_mutex_destroy(&d.lock);
	if (r == 0)
		r = ck_progress(c, PHASE, c->res->data_blocks, c->res->data_blocks);
	return r;
}
