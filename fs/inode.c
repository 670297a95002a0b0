/* SPDX-License-Identifier: BSD-3-Clause */
/* The inode cache, and the life of an inode in it.
 *
 * The cache is a lock-free hash table read under RCU. Finding a cached inode
 * is a lookup and one compare-and-swap that raises refs from a value above
 * 0; icache_lock is taken only when a count goes to 0 and when a state changes.
 *
 *      inode_get                     inode_new
 *         |                              |
 *      LOADING --item is sound--> LIVE <-+
 *         |                        |
 *      damaged or                refs 0
 *      not there                   |
 *         |               links?---+---no links
 *         v                |              |
 *   BAD, DELETING       (gone)        DELETING: items deleted, then (gone)
 *   (unhashed, gone
 *   with the last ref)
 *
 * LOADING is a placeholder: it is in the table before the item is read, so
 * that of two threads one reads and the other waits, and so that nobody can bring in an image
 * that is older than a change made in between. An inode whose refs fell to 0 is either
 * unhashed in the same critical section of icache_lock, or becomes DELETING and
 * keeps one reference for the deletion; so a count of 0 in the table is never seen
 * for longer than that section.
 *
 * A dirty inode is on fs->dirty, which holds a reference. A dirty inode
 * that nobody but the list refers to and that has no links needs no writeback any more:
 * inode_put takes it off the list, and that deletes it.
 *
 * Deletion: content first (file_delete_content, in transactions of its own), then what other
 * items there are, a bounded number in each transaction, and with the last of them, in one
 * transaction, the inode's item and its orphan item. A crash at any point leaves the
 * orphan item, and the next mount goes on where this one stopped.
 *
 * Threads that come here must be known to RCU; each is registered when it
 * first comes and unregistered when it ends. */
#include <urcu.h> /* first: it is what makes rculfhash.h one for this flavour */

#include "fs/inode_i.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "fs/fs_i.h"
#include "pmem/log.h"

#define CACHE_BUCKETS_MIN 1024u
#define DRAIN_BATCH 256u
#define DELETE_BATCH 16u /* items deleted in one transaction */

/* liburcu is not instrumented: the thread sanitizer is told what RCU orders, that is what a
 * reader did before the object is freed, and to keep quiet about liburcu's own threads. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RCU_SEEN_BY_TSAN 1
#endif
#elif defined(__SANITIZE_THREAD__)
#define RCU_SEEN_BY_TSAN 1
#endif
#ifdef RCU_SEEN_BY_TSAN
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
const char *__tsan_default_suppressions(void);
static char rcu_order;

const char *
__tsan_default_suppressions(void)
{
	return "race:liburcu.so\nrace:liburcu-cds.so\n";
}

#define rcu_readers_done() __tsan_acquire(&rcu_order)
#define rcu_reader_done() __tsan_release(&rcu_order)
#else
#define rcu_readers_done() ((void)0)
#define rcu_reader_done() ((void)0)
#endif

static __thread bool thread_known;
static pthread_key_t thread_key;
static pthread_once_t thread_once = PTHREAD_ONCE_INIT;
static bool thread_key_made;

static void
thread_exit(void *unused)
{
	(void)unused;
	rcu_unregister_thread();
	thread_known = false;
}

static void
make_thread_key(void)
{
	thread_key_made = pthread_key_create(&thread_key, thread_exit) == 0;
	if (!thread_key_made)
		pinfs_log(LOG_WARNING, "out of thread-specific keys: threads stay registered with RCU");
}

static void
rcu_enter(void)
{
	if (!thread_known) {
		pthread_once(&thread_once, make_thread_key);
		rcu_register_thread();
		thread_known = true;
		if (thread_key_made)
			pthread_setspecific(thread_key, &thread_known);
	}
	rcu_read_lock();
}

static void
rcu_leave(void)
{
	rcu_reader_done();
	rcu_read_unlock();
}

/* ---- the table ---- */

static inline unsigned long
hash_ino(uint64_t ino)
{
	ino ^= ino >> 32;
	ino *= 0x9e3779b97f4a7c15u;
	return (unsigned long)(ino ^ ino >> 29);
}

static int
match_ino(struct cds_lfht_node *node, const void *key)
{
	return caa_container_of(node, struct inode, hash)->ino == *(const uint64_t *)key;
}

static void
resize_cache(struct rcu_head *head)
{
	struct fs *fs = caa_container_of(head, struct fs, icache_resize);
	uint64_t inodes = __atomic_load_n(&fs->counters.cached_inodes, __ATOMIC_RELAXED);
	uint64_t buckets = CACHE_BUCKETS_MIN;

	while (buckets < inodes)
		buckets *= 2;
	cds_lfht_resize(fs->icache, buckets);
	__atomic_store_n(&fs->icache_buckets, buckets, __ATOMIC_RELAXED);
	__atomic_store_n(&fs->icache_resizing, false, __ATOMIC_RELEASE);
}

/* In a reader's section of RCU. The table could look after its size itself (CDS_LFHT_AUTO_RESIZE), but in
 * liburcu 0.13 it may stop for good: who starts a resize notes that it is under way after it has begun, which
 * may be after it has ended. Then a million inodes sit in 2048 buckets. So the size is kept here. It takes
 * long and waits for readers, and call_rcu's thread, which runs it, may do both. */
static void
fit_cache(struct fs *fs, uint64_t inodes)
{
	uint64_t buckets = __atomic_load_n(&fs->icache_buckets, __ATOMIC_RELAXED);

	if (inodes <= 2 * buckets && (inodes >= buckets / 8 || buckets == CACHE_BUCKETS_MIN))
		return;
	if (!__atomic_exchange_n(&fs->icache_resizing, true, __ATOMIC_ACQUIRE))
		call_rcu(&fs->icache_resize, resize_cache);
}

/* One more reference, unless there is none. */
static bool
try_ref(struct inode *i)
{
	/* Acquire: what was stored before the inode was published. */
	uint64_t refs = __atomic_load_n(&i->refs, __ATOMIC_ACQUIRE);

	while (refs > 0)
		if (__atomic_compare_exchange_n(&i->refs, &refs, refs + 1, true, __ATOMIC_ACQUIRE,
		    __ATOMIC_ACQUIRE))
			return true;
	return false;
}

/* The inode with a reference, or NULL: not there, or on its way out. */
static struct inode *
cache_find(struct fs *fs, uint64_t ino)
{
	struct cds_lfht_iter iter;
	struct cds_lfht_node *node;
	struct inode *i = NULL;

	rcu_enter();
	cds_lfht_lookup(fs->icache, hash_ino(ino), match_ino, &ino, &iter);
	node = cds_lfht_iter_get_node(&iter);
	if (node) {
		i = caa_container_of(node, struct inode, hash);
		if (!try_ref(i))
			i = NULL;
	}
	rcu_leave();
	return i;
}

/* Put fresh in the table, unless one of its number is there: false. */
static bool
cache_add(struct inode *fresh)
{
	struct fs *fs = fresh->fs;
	struct cds_lfht_node *node;

	/* What try_ref reads: publishes everything stored before it. */
	__atomic_store_n(&fresh->refs, 1, __ATOMIC_RELEASE);
	rcu_enter();
	node = cds_lfht_add_unique(fs->icache, hash_ino(fresh->ino), match_ino, &fresh->ino, &fresh->hash);
	if (node == &fresh->hash)
		fit_cache(fs, __atomic_add_fetch(&fs->counters.cached_inodes, 1, __ATOMIC_RELAXED));
	rcu_leave();
	return node == &fresh->hash;
}

/* icache_lock is held. */
static void
cache_del(struct inode *i)
{
	rcu_enter();
	cds_lfht_del(i->fs->icache, &i->hash);
	fit_cache(i->fs, __atomic_sub_fetch(&i->fs->counters.cached_inodes, 1, __ATOMIC_RELAXED));
	rcu_leave();
}

/* Somebody is at work on the inode of this number under icache_lock: let him finish. */
static void
wait_icache(struct fs *fs)
{
	mtx_lock(&fs->icache_lock);
	mtx_unlock(&fs->icache_lock);
}

static enum inode_state
inode_state(const struct inode *i)
{
	return __atomic_load_n(&i->state, __ATOMIC_ACQUIRE);
}

static void
set_state(struct inode *i, enum inode_state state)
{
	__atomic_store_n(&i->state, state, __ATOMIC_RELEASE);
}

int
inode_cache_init(struct fs *fs)
{
	int err;

	mtx_init(&fs->icache_lock, LOCK_ICACHE, 0);
	mtx_init(&fs->dirty_lock, LOCK_LEAF, 0);
	mtx_init(&fs->open_lock, LOCK_LEAF, 0);
	CDS_INIT_LIST_HEAD(&fs->open);
	err = -pthread_cond_init(&fs->icache_cond, NULL);
	if (err)
		goto out;
	CDS_INIT_LIST_HEAD(&fs->dirty);
	if (getrandom(&fs->generation_seed, sizeof(fs->generation_seed), 0)
	    != (ssize_t)sizeof(fs->generation_seed)) {
		err = -EIO;
		goto out_cond;
	}
	fs->icache_buckets = CACHE_BUCKETS_MIN;
	fs->icache = cds_lfht_new(CACHE_BUCKETS_MIN, CACHE_BUCKETS_MIN, 0, 0, NULL);
	if (fs->icache)
		return 0;
	err = -ENOMEM;
out_cond:
	pthread_cond_destroy(&fs->icache_cond);
out:
	mtx_destroy(&fs->open_lock);
	mtx_destroy(&fs->dirty_lock);
	mtx_destroy(&fs->icache_lock);
	return err;
}

void
inode_cache_destroy(struct fs *fs)
{
	int err;

	rcu_barrier(); /* inodes that were put are freed, the last resize is over: nobody looks at fs any more */
	err = cds_lfht_destroy(fs->icache, NULL);
	if (err)
		pinfs_log(LOG_ERR, "inode cache is not empty at unmount: %d", err);
	pthread_cond_destroy(&fs->icache_cond);
	mtx_destroy(&fs->open_lock);
	mtx_destroy(&fs->dirty_lock);
	mtx_destroy(&fs->icache_lock);
}

/* ---- coming ---- */

static struct inode *
inode_alloc(struct fs *fs, uint64_t ino)
{
	struct inode *i = calloc(1, sizeof(*i));

	if (!i)
		return NULL;
	i->fs = fs;
	i->ino = ino;
	i->state = INODE_LOADING;
	cds_lfht_node_init(&i->hash);
	CDS_INIT_LIST_HEAD(&i->dirty_link);
	live_init(&i->live, pool_wb_credits(fs->pool), &fs->counters.live_extents);
	return i;
}

/* Which locks it has is known when its type is. */
static void
init_locks(struct inode *i)
{
	rwl_init(&i->io_lock, S_ISDIR(i->type) ? LOCK_DIR : LOCK_IO, i->ino);
	rwl_init(&i->layout_lock, LOCK_LAYOUT, i->ino);
	mtx_init(&i->attr_lock, LOCK_ATTR, i->ino);
	mtx_init(&i->wb_lock, LOCK_WRITEBACK, i->ino);
}

static void
inode_free(struct inode *i)
{
	live_clear(&i->live);
	if (i->type) {
		rwl_destroy(&i->io_lock);
		rwl_destroy(&i->layout_lock);
		mtx_destroy(&i->attr_lock);
		mtx_destroy(&i->wb_lock);
	}
	free(i);
}

static void
inode_free_rcu(struct rcu_head *head)
{
	rcu_readers_done();
	inode_free(caa_container_of(head, struct inode, rcu));
}

/* The placeholder becomes what it stands for, or is of no use. */
static void
loading_done(struct inode *i, enum inode_state state)
{
	struct fs *fs = i->fs;

	mtx_lock(&fs->icache_lock);
	set_state(i, state);
	if (state != INODE_LIVE)
		cache_del(i);
	pthread_cond_broadcast(&fs->icache_cond);
	mtx_unlock(&fs->icache_lock);
}

static enum inode_state
wait_loaded(struct inode *i)
{
	struct fs *fs = i->fs;
	enum inode_state state = inode_state(i);

	if (state != INODE_LOADING)
		return state;
	mtx_lock(&fs->icache_lock);
	while ((state = inode_state(i)) == INODE_LOADING)
		mtx_cond_wait(&fs->icache_cond, &fs->icache_lock);
	mtx_unlock(&fs->icache_lock);
	return state;
}

static int
load(struct inode *i, bool orphan)
{
	int err = inode_load(i);

	if (!err && i->attr.nlink == 0 && !orphan)
		err = -ENOENT; /* left by a crash: nobody has it open, nobody may */
	if (err) {
		i->type = 0; /* it has no locks */
		loading_done(i, err == -ENOENT ? INODE_DELETING : INODE_BAD);
		inode_put(i);
		return err;
	}
	init_locks(i);
	/* It may have been changed, and left the cache, since the last commit: an fsync has to make sure. */
	i->last_fsync_txn = txn_open_number(i->fs->pool);
	loading_done(i, INODE_LIVE);
	return 0;
}

static int
get(struct fs *fs, uint64_t ino, bool orphan, struct inode **out)
{
	struct inode *i, *fresh = NULL;
	enum inode_state state;
	int err;

	if (ino == INO_NONE || ino > INO_MAX)
		return -ENOENT;
	for (;;) {
		i = cache_find(fs, ino);
		if (i)
			break;
		if (!fresh)
			fresh = inode_alloc(fs, ino);
		if (!fresh)
			return -ENOMEM;
		if (cache_add(fresh)) {
			err = load(fresh, orphan);
			if (!err)
				*out = fresh;
			return err;
		}
		wait_icache(fs);
	}
	free(fresh);

	state = wait_loaded(i);
	if (state == INODE_LIVE) {
		*out = i;
		return 0;
	}
	inode_put(i);
	return state == INODE_BAD ? -EIO : -ENOENT;
}

int
inode_get(struct fs *fs, uint64_t ino, struct inode **out)
{
	return get(fs, ino, false, out);
}

int
inode_get_orphan(struct fs *fs, uint64_t ino, struct inode **out)
{
	return get(fs, ino, true, out);
}

struct inode *
inode_hold(struct inode *i)
{
	__atomic_fetch_add(&i->refs, 1, __ATOMIC_RELAXED);
	return i;
}

/* Not a secret: it only has to differ between files that had one number in two
 * pools, or before and after a restored image. */
static uint32_t
new_generation(struct fs *fs, uint64_t ino)
{
	uint64_t x = fs->generation_seed + ino * 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	x ^= x >> 32;
	return (uint32_t)x ? (uint32_t)x : 1;
}

int
inode_new_sized(struct txn *t, struct fs *fs, const struct inode_attr *attr, uint64_t size,
    struct inode **out)
{
	struct inode_item item;
	struct inode *i;
	int err;

	i = inode_alloc(fs, txn_new_ino(t));
	if (!i)
		return -ENOMEM;
	i->attr = *attr;
	i->attr.generation = new_generation(fs, i->ino);
	i->attr.btime = attr->ctime;
	if (i->ino == INO_ROOT || i->ino > INO_MAX) {
		free(i);
		return -ENOSPC;
	}
	i->type = attr->mode & S_IFMT;
	i->size = i->durable_size = size;
	i->last_fsync_txn = txn_number(t);
	i->xattr_known = XATTR_FRESH;
	init_locks(i);
	/* A file handle may have been made up for this number: whoever looks it up now
	 * finds no item, and is gone in a moment. */
	while (!cache_add(i))
		wait_icache(fs);

	inode_item_encode(&item, &i->attr, size, 0);
	err = tree_insert(t, tree_key(i->ino, ITEM_INODE, 0), &item, sizeof(item));
	if (err) {
		loading_done(i, INODE_DELETING);
		inode_put(i);
		return err;
	}
	txn_add_inodes(t, 1);
	loading_done(i, INODE_LIVE);
	*out = i;
	return 0;
}

int
inode_new(struct txn *t, struct fs *fs, const struct inode_attr *attr, struct inode **out)
{
	return inode_new_sized(t, fs, attr, 0, out);
}

/* ---- going ---- */

struct key_batch {
	struct tree_key key[DELETE_BATCH];
	unsigned n;
};

static int
collect_key(void *arg, struct tree_key key, const void *value, size_t len)
{
	struct key_batch *b = arg;

	(void)value;
	(void)len;
	b->key[b->n++] = key;
	return b->n == DELETE_BATCH;
}

/* Some of its items other than the inode's own. */
static int
collect_items(struct inode *i, struct key_batch *b)
{
	int r;

	b->n = 0;
	if ((i->xattr_known & XATTR_NONE) && !S_ISLNK(i->type))
		return 0;
	r = tree_scan(i->fs->pool, tree_key(i->ino, ITEM_SYMLINK, 0), tree_key(i->ino, ITEM_DIRENT, UINT64_MAX),
	    collect_key, b);
	return r < 0 ? r : 0;
}

static int
delete_items(struct txn *t, const struct key_batch *b)
{
	int err = 0;

	for (unsigned k = 0; k < b->n && !err; k++)
		err = tree_delete(t, b->key[k]);
	return err;
}

void
inode_new_undo(struct txn *t, struct inode *i)
{
	struct fs *fs = i->fs;
	struct key_batch batch;
	int err;

	do {
		err = collect_items(i, &batch);
		if (!err)
			err = delete_items(t, &batch);
	} while (!err && batch.n == DELETE_BATCH);
	if (!err)
		err = tree_delete(t, tree_key(i->ino, ITEM_INODE, 0));
	if (err) {
		pinfs_log(LOG_ERR, "inode %llu: could not be undone: %d", (unsigned long long)i->ino, err);
		txn_abort(t, err);
	} else {
		txn_add_inodes(t, -1);
	}
	mtx_lock(&fs->icache_lock);
	set_state(i, INODE_DELETING);
	cache_del(i);
	mtx_unlock(&fs->icache_lock);
	inode_put(i);
}

/* Deleting may use the metadata reserve; if that is used up by what was deleted before, a
 * commit gives it back. */
static int
delete_begin(struct pool *p, struct txn *t, uint64_t credits)
{
	int err = txn_begin(p, t, credits, TXN_MUST);

	if (err != -ENOSPC)
		return err;
	err = txn_commit_wait(p, txn_open_number(p));
	return err ? err : txn_begin(p, t, credits, TXN_MUST);
}

static int
delete_step(struct inode *i, bool *done)
{
	struct pool *pool = i->fs->pool;
	struct key_batch batch;
	uint64_t credits;
	struct txn t;
	int err;

	err = collect_items(i, &batch);
	if (err)
		return err;
	*done = batch.n < DELETE_BATCH;
	credits = txn_credits(pool, 2);
	if (batch.n > 0)
		credits += txn_credits_run(pool, batch.n, ITEM_VALUE_MAX);
	err = delete_begin(pool, &t, credits);
	if (err)
		return err;
	err = delete_items(&t, &batch);
	if (!err && *done) {
		/* The orphan item last: while it is there, the next mount can go on. */
		err = tree_delete(&t, tree_key(i->ino, ITEM_INODE, 0));
		if (!err)
			txn_add_inodes(&t, -1);
		if (!err || err == -ENOENT)
			err = tree_delete(&t, tree_key(INO_NONE, ITEM_ORPHAN, i->ino));
	}
	txn_end(&t);
	writeback_wake(i->fs);
	return err;
}

/* State DELETING, one reference, no lock. */
static void
inode_delete(struct inode *i)
{
	bool done = false;
	int err = 0;

	if (inode_is_reg(i))
		err = file_delete_content(i);
	while (!err && !done)
		err = delete_step(i, &done);
	if (err && err != -EROFS)
		pinfs_log(LOG_ERR, "inode %llu has no links and could not be deleted: %d",
		    (unsigned long long)i->ino, err);

	mtx_lock(&i->fs->icache_lock);
	cache_del(i);
	mtx_unlock(&i->fs->icache_lock);
}

static void put_ref(struct inode *i);

static void
put_last(struct inode *i)
{
	struct fs *fs = i->fs;

	mtx_lock(&fs->icache_lock);
	if (__atomic_sub_fetch(&i->refs, 1, __ATOMIC_ACQ_REL) != 0) {
		mtx_unlock(&fs->icache_lock);
		return;
	}
	if (inode_state(i) == INODE_LIVE) {
		if (i->attr.nlink == 0 && !fs->abandoned && !fs->opt.readonly) {
			set_state(i, INODE_DELETING);
			__atomic_store_n(&i->refs, 1, __ATOMIC_RELEASE);
			mtx_unlock(&fs->icache_lock);
			inode_delete(i);
			put_ref(i);
			return;
		}
		set_state(i, INODE_DELETING);
		cache_del(i);
	}
	mtx_unlock(&fs->icache_lock);
	if (i->type)
		file_evict(i);
	rcu_enter();
	call_rcu(&i->rcu, inode_free_rcu);
	rcu_leave();
}

static void
put_ref(struct inode *i)
{
	uint64_t refs = __atomic_load_n(&i->refs, __ATOMIC_RELAXED);

	while (refs > 1)
		if (__atomic_compare_exchange_n(&i->refs, &refs, refs - 1, true, __ATOMIC_RELEASE,
		    __ATOMIC_RELAXED))
			return;
	put_last(i);
}

void
inode_put(struct inode *i)
{
	if (!i)
		return;
	if (__atomic_load_n(&i->refs, __ATOMIC_RELAXED) == 2 && inode_is_dirty(i)
	    && __atomic_load_n(&i->attr.nlink, __ATOMIC_RELAXED) == 0)
		inode_clear_dirty(i);
	put_ref(i);
}

void
inode_lookup_ref(struct inode *i)
{
	/* The reference first: between the two another thread may forget the last lookup. */
	inode_hold(i);
	if (__atomic_fetch_add(&i->nlookup, 1, __ATOMIC_ACQ_REL) != 0)
		put_ref(i);
}

void
inode_forget(struct fs *fs, uint64_t ino, uint64_t n)
{
	struct inode *i = cache_find(fs, ino);
	uint64_t old, left;

	if (!i)
		return;
	old = __atomic_load_n(&i->nlookup, __ATOMIC_RELAXED);
	do
		left = old > n ? old - n : 0;
	while (!__atomic_compare_exchange_n(&i->nlookup, &old, left, true, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
	if (old != 0 && left == 0)
		put_ref(i);
	inode_put(i);
}

/* ---- dirty inodes ---- */

void
inode_mark_dirty(struct inode *i)
{
	struct fs *fs = i->fs;
	struct timespec now;

	/* Read by an atomic change of it, so that it falls before or after the exchange in
	 * inode_clear_dirty: if before, whoever cleared it sees what the caller did. */
	if (__atomic_fetch_add(&i->dirty_since_ns, 0, __ATOMIC_ACQ_REL) != 0)
		return;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	mtx_lock(&fs->dirty_lock);
	if (__atomic_load_n(&i->dirty_since_ns, __ATOMIC_RELAXED) == 0) {
		int64_t ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;

		__atomic_store_n(&i->dirty_since_ns, ns > 0 ? ns : 1, __ATOMIC_RELEASE);
		cds_list_add_tail(&i->dirty_link, &fs->dirty);
		fs->dirty_count++;
		inode_hold(i);
	}
	mtx_unlock(&fs->dirty_lock);
	writeback_wake(fs);
}

void
inode_clear_dirty(struct inode *i)
{
	struct fs *fs = i->fs;
	bool was;

	mtx_lock(&fs->dirty_lock);
	was = __atomic_exchange_n(&i->dirty_since_ns, 0, __ATOMIC_ACQ_REL) != 0;
	if (was) {
		cds_list_del(&i->dirty_link);
		CDS_INIT_LIST_HEAD(&i->dirty_link);
		fs->dirty_count--;
	}
	mtx_unlock(&fs->dirty_lock);
	if (was)
		put_ref(i);
}

/* ---- the end ---- */

void
inode_cache_drain(struct fs *fs)
{
	struct inode *batch[DRAIN_BATCH];
	struct cds_lfht_iter iter;
	unsigned n;

	do {
		n = 0;
		rcu_enter();
		for (cds_lfht_first(fs->icache, &iter); n < DRAIN_BATCH && cds_lfht_iter_get_node(&iter);
		    cds_lfht_next(fs->icache, &iter)) {
			struct inode *i = caa_container_of(cds_lfht_iter_get_node(&iter), struct inode, hash);

			if (try_ref(i))
				batch[n++] = i;
		}
		rcu_leave();
		for (unsigned k = 0; k < n; k++) {
			struct inode *i = batch[k];

			if (__atomic_exchange_n(&i->nlookup, 0, __ATOMIC_ACQ_REL) != 0)
				put_ref(i);
			inode_clear_dirty(i);
			if (__atomic_load_n(&i->refs, __ATOMIC_ACQUIRE) > 1) {
				/* No failure: the kernel need not release what was open when a mount goes. */
				if (!fs->abandoned)
					pinfs_log(LOG_DEBUG, "inode %llu is still in use at unmount",
					    (unsigned long long)i->ino);
				__atomic_store_n(&i->refs, 1, __ATOMIC_RELEASE);
			}
			put_ref(i);
		}
	} while (n > 0);
}
