/* SPDX-License-Identifier: BSD-3-Clause */
/* Mounting, unmounting, and what concerns the filesystem as a whole.
 *
 * Mount: the allocator is rebuilt by a walk over the committed tree, node by
 * node, which names every node's block and every extent's blocks; nothing is kept for each
 * inode. Then orphans, which only a crash leaves, are deleted. There is no
 * journal: what the root names is the filesystem.
 *
 * A damaged node hides which blocks it names. Such a pool is mounted read-only
 * or not at all, because a block that can't be known to be used must not be
 * given to anybody else.
 *
 * The walk passes the whole tree through the processor once, by way of the mapping
 * of the pool; so that these pages don't count as the daemon's memory they are dropped from
 * the mapping (not from the pool) now and then. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fs/fs_i.h"
#include "fs/inode_i.h"
#include "fs/refcount.h"
#include "fs/scrub.h"
#include "fs/track.h"
#include "pmem/held.h"
#include "pmem/log.h"

#define COMMIT_S_DEFAULT 5
#define LEASE_BREAK_S_DEFAULT 45 /* the kernel's own default */
#define LEASE_BREAK_S_MAX 1000000
#define LOCK_WAIT_MS_DEFAULT 5000
#define LEASE_LIMIT_DEFAULT 65536u /* some 400 bytes each */
#define TRANSIENT_MS_DEFAULT 1000
#define WALK_KEEP_NODES 16384u  /* 64 MiB */
#define ORPHAN_BATCH 64u

/* fs.lease-break-time, which is for fcntl(2) leases, is a good hint for ours. */
static unsigned
lease_break_s(void)
{
	FILE *f = fopen("/proc/sys/fs/lease-break-time", "re");
	unsigned s = LEASE_BREAK_S_DEFAULT;

	if (!f)
		return s;
	if (fscanf(f, "%u", &s) != 1 || s > LEASE_BREAK_S_MAX)
		s = LEASE_BREAK_S_DEFAULT;
	fclose(f);
	return s;
}

void
fs_options_default(struct fs_options *o)
{
	*o = (struct fs_options){
		.commit_s = COMMIT_S_DEFAULT,
		.dax = FS_DAX_INODE,
		.verify = FS_VERIFY_FIRST,
		.lease_break_ms = lease_break_s() * 1000,
		.lease_limit = LEASE_LIMIT_DEFAULT,
		.pin_without_lease = true,
		.atime = FS_ATIME_RELATIME,
		.pinned_transient = FS_PINNED_BOUNCE,
		.pinned_longterm = FS_PINNED_BOUNCE,
		.transient_ms = TRANSIENT_MS_DEFAULT,
		.pool = { .domain = -1, .lock_wait_ms = LOCK_WAIT_MS_DEFAULT },
	};
}

static int
fail(struct pool_error *e, int err, const char *text)
{
	if (e)
		snprintf(e->text, sizeof(e->text), "%s", text);
	return err;
}

/* ---- the walk ---- */

struct walk {
	struct pool *pool;
	uint64_t nodes;      /* since pages were last dropped */
	uint64_t damaged;
};

static int
walk_damaged(struct walk *w, pblk_t block, const char *why)
{
	w->damaged++;
	pinfs_log(LOG_ERR, "block %llu of the tree is damaged: %s", (unsigned long long)block, why);
	return 0;
}

/* NULL, or what is wrong with it. */
static const char *
use_extent(struct pool *p, const void *value, size_t len)
{
	struct extent_item e;

	if (len < EXTENT_ITEM_HEAD)
		return "extent item too short";
	memcpy(&e, value, EXTENT_ITEM_HEAD);
	if (e.len == 0 || !pool_range_ok(p, e.pblk, e.len))
		return "extent out of range";
	return pool_rebuild_used(p, e.pblk, e.len) ? "extent out of range" : NULL;
}

/* A damaged count is met, and told of, by who changes it. */
static void
count_shared(struct pool *p, struct tree_key key, const void *value, size_t len)
{
	struct refcount_run run;

	if (!refcount_decode(p, key, value, len, &run))
		refcount_found(p, &run);
}

static int
walk_node(void *arg, const struct tree_walk_node *wn)
{
	struct walk *w = arg;
	struct tree_key key;
	const void *value;
	const char *why;
	size_t len;
	unsigned n;

	if (wn->error)
		return walk_damaged(w, wn->block, wn->why ? wn->why : "unreadable");
	if (pool_rebuild_used(w->pool, wn->block, 1))
		return walk_damaged(w, wn->block, "out of range");
	if (wn->level == 0) {
		n = leaf_count(wn->node);
		for (unsigned k = 0; k < n; k++) {
			leaf_item(wn->node, k, &key, &value, &len);
			why = NULL;
			if (tree_key_type(key) == ITEM_EXTENT)
				why = use_extent(w->pool, value, len);
			else if (tree_key_type(key) == ITEM_REFCOUNT)
				count_shared(w->pool, key, value, len);
			if (why)
				walk_damaged(w, wn->block, why);
		}
	}
	if (++w->nodes >= WALK_KEEP_NODES) {
		w->nodes = 0;
		madvise(pool_block(w->pool, 0), pool_nblocks(w->pool) << BLK_SHIFT, MADV_DONTNEED);
	}
	return 0;
}

/* Find out what is used. *damaged: how many blocks of the tree can't be read. */
static int
rebuild(struct pool *p, uint64_t *damaged)
{
	struct walk w = { .pool = p };
	int err;

	err = pool_rebuild_begin(p);
	if (!err)
		err = tree_walk(p, walk_node, &w);
	if (!err)
		err = pool_rebuild_end(p);
	*damaged = w.damaged;
	return err;
}

/* ---- orphans ---- */

struct orphans {
	uint64_t ino[ORPHAN_BATCH];
	unsigned n;
};

static int
collect_orphan(void *arg, struct tree_key key, const void *value, size_t len)
{
	struct orphans *o = arg;

	(void)value;
	(void)len;
	o->ino[o->n++] = key.lo;
	return o->n == ORPHAN_BATCH;
}

/* An orphan item without an orphan: the inode has a name after all, or is gone. */
static int
forget_orphan(struct fs *fs, uint64_t ino)
{
	struct txn t;
	int err = txn_begin(fs->pool, &t, txn_credits(fs->pool, 1), TXN_MUST);

	if (err)
		return err;
	err = tree_delete(&t, tree_key(INO_NONE, ITEM_ORPHAN, ino));
	txn_end(&t);
	return err;
}

static int
delete_orphan(struct fs *fs, uint64_t ino)
{
	struct inode *i;
	uint32_t nlink;
	int err;

	err = inode_get_orphan(fs, ino, &i);
	if (err == -ENOENT)
		return forget_orphan(fs, ino);
	if (err)
		return err;
	nlink = i->attr.nlink;
	inode_put(i); /* deletes it, if it has no links */
	return nlink ? forget_orphan(fs, ino) : 0;
}

static void
delete_orphans(struct fs *fs)
{
	uint64_t next = 0, count = 0, failed = 0;
	struct orphans o;
	int err;

	do {
		o.n = 0;
		err = tree_scan(fs->pool, tree_key(INO_NONE, ITEM_ORPHAN, next),
		    tree_key(INO_NONE, ITEM_ORPHAN, UINT64_MAX), collect_orphan, &o);
		if (err < 0)
			break;
		for (unsigned k = 0; k < o.n; k++) {
			count++;
			if (delete_orphan(fs, o.ino[k]))
				failed++;
		}
		if (o.n > 0)
			next = o.ino[o.n - 1] + 1;
	} while (o.n == ORPHAN_BATCH && next != 0);
	if (err < 0 || failed)
		pinfs_log(LOG_ERR, "%llu unlinked files could not be deleted; fsck.pinfs will",
		    (unsigned long long)failed);
	if (count)
		pinfs_log(LOG_INFO, "deleted %llu unlinked files", (unsigned long long)(count - failed));
}

/* ---- mount ---- */

/* An fsync that leaves blocks out and says success must not surprise anybody. */
static void
log_skip(const struct fs_options *o)
{
	if (o->pinned_transient == FS_PINNED_SKIP)
		pinfs_log(LOG_WARNING, "writeback_transient=skip: fsync leaves out blocks with transient pins");
	if (o->pinned_longterm == FS_PINNED_SKIP)
		pinfs_log(LOG_WARNING, "writeback_longterm=skip: fsync leaves out blocks with long-term pins");
	if (o->allow_skip)
		pinfs_log(LOG_WARNING, "allow_skip: fsync leaves out blocks whose pin asks for it");
}

/* The struct and what needs no pool. */
static int
fs_new(struct fs **out, const struct fs_options *opt)
{
	struct fs *fs = calloc(1, sizeof(*fs));
	int err;

	if (!fs)
		return -ENOMEM;
	fs->opt = *opt;
	fs->dirhash_mask = ~(uint64_t)0;
	err = park_lot_new(&fs->park);
	if (!err)
		err = tracker_new(&fs->tracker);
	if (!err)
		err = scrub_new(fs, &fs->scrub);
	if (!err)
		err = inode_cache_init(fs);
	if (err) {
		tracker_free(fs->tracker);
		scrub_free(fs->scrub);
		park_lot_free(fs->park);
		free(fs);
		return err;
	}
	mtx_init(&fs->rename_lock, LOCK_RENAME, 0);
	*out = fs;
	return 0;
}

static void
fs_free(struct fs *fs)
{
	inode_cache_destroy(fs);
	scrub_free(fs->scrub);
	park_lot_free(fs->park);
	tracker_free(fs->tracker);
	mtx_destroy(&fs->rename_lock);
	free(fs->csum_checked);
	if (fs->pool)
		pool_close(fs->pool);
	free(fs);
}

static int
attach_pool(struct fs *fs, struct pool_error *e)
{
	struct root_block root;
	uint64_t nblocks = pool_nblocks(fs->pool), damaged;
	int err;

	pool_root(fs->pool, &root);
	memcpy(fs->hash_key, root.hash_seed, sizeof(fs->hash_key));
	if (fs->opt.pin_limit == 0)
		fs->opt.pin_limit = (nblocks / 2) << BLK_SHIFT;
	fs->csum_checked = calloc((nblocks + 63) / 64, sizeof(*fs->csum_checked));
	if (!fs->csum_checked)
		return fail(e, -ENOMEM, "out of memory");
	err = rebuild(fs->pool, &damaged);
	if (err)
		return fail(e, err, "the tree could not be read");
	if (damaged && !fs->opt.readonly)
		return fail(e, -EIO, "the tree is damaged: mount it read-only to save what can be read");
	return 0;
}

static int
check_root_dir(struct fs *fs, struct pool_error *e)
{
	struct inode *root;
	int err = inode_get(fs, INO_ROOT, &root);

	if (err)
		return fail(e, err == -ENOENT ? -EINVAL : err, err == -ENOENT
		    ? "the pool has no root directory: make one with mkfs.pinfs" : "the root directory is damaged");
	err = inode_is_dir(root) ? 0 : fail(e, -EIO, "the root is no directory");
	inode_put(root);
	return err;
}

int
fs_mount(struct fs **out, const char *path, const struct fs_options *opt, struct pool_error *err)
{
	struct fs *fs;
	int r;

	if (err)
		err->text[0] = '\0';
	r = fs_new(&fs, opt);
	if (r)
		return fail(err, r, "out of memory");
	if (fs->opt.readonly)
		fs->opt.pool.flags |= POOL_RDONLY;
	r = pool_open(&fs->pool, path, &fs->opt.pool, err);
	if (r)
		fs->pool = NULL;
	if (!r)
		r = attach_pool(fs, err);
	if (!r)
		r = check_root_dir(fs, err);
	if (!r && !fs->opt.readonly) {
		delete_orphans(fs);
		r = writeback_start(fs);
		if (r)
			fail(err, r, "background writeback could not be started");
	}
	if (r) {
		if (err && !err->text[0])
			fail(err, r, strerror(-r));
		fs->abandoned = true;
		inode_cache_drain(fs);
		fs_free(fs);
		return r;
	}
	log_skip(opt);
	*out = fs;
	return 0;
}

static int
found_orphan(void *arg, struct tree_key key, const void *value, size_t len)
{
	(void)arg, (void)key, (void)value, (void)len;
	return 1;
}

/* The last commit. A file that could not be deleted is no reason to fail, but the root must not say that there is none. */
static int
commit_last(struct fs *fs)
{
	int r = tree_scan(fs->pool, tree_key(INO_NONE, ITEM_ORPHAN, 0), tree_key(INO_NONE, ITEM_ORPHAN, UINT64_MAX),
	    found_orphan, NULL);

	if (r < 0)
		return r;
	return r > 0 ? txn_commit_wait(fs->pool, txn_open_number(fs->pool)) : pool_commit_clean(fs->pool);
}

int
fs_umount(struct fs *fs)
{
	int err = 0;

	scrub_free(fs->scrub);
	fs->scrub = NULL;
	park_close(fs->park);
	file_release_all(fs);
	if (!fs->opt.readonly) {
		writeback_stop(fs);
		err = fs_sync(fs);
	}
	inode_cache_drain(fs);
	held_check_all(fs->pool);
	/* After an error the root that is in force stays, and says that there is more to it. */
	if (!fs->opt.readonly && !err)
		err = commit_last(fs);
	fs_free(fs);
	return err;
}

void
fs_abandon(struct fs *fs)
{
	scrub_free(fs->scrub);
	fs->scrub = NULL;
	park_close(fs->park);
	if (!fs->opt.readonly)
		writeback_stop(fs);
	fs->abandoned = true;
	inode_cache_drain(fs);
	fs_free(fs);
}

/* ---- mkfs ---- */

static int
add_root_dir(struct pool *p, uid_t uid, gid_t gid, mode_t mode)
{
	struct timespec now = inode_now();
	struct inode_attr attr = {
		.mode = S_IFDIR | (mode & 07777),
		.nlink = 2,
		.uid = uid,
		.gid = gid,
		.generation = 1,
		.parent = INO_ROOT,
		.atime = now,
		.mtime = now,
		.ctime = now,
		.btime = now,
	};
	struct inode_item item;
	struct txn t;
	int err;

	err = txn_begin(p, &t, txn_credits(p, 1), 0);
	if (err)
		return err;
	inode_item_encode(&item, &attr, 0, 0);
	err = tree_insert(&t, tree_key(INO_ROOT, ITEM_INODE, 0), &item, sizeof(item));
	if (!err) {
		txn_new_ino(&t); /* number 1, if it was not set aside before */
		txn_add_inodes(&t, 1);
	}
	txn_end(&t);
	return err;
}

int
fs_format(const char *path, uid_t uid, gid_t gid, mode_t mode, struct pool_error *err)
{
	struct pool_options opt = { .domain = -1 };
	struct pool *p;
	uint64_t damaged;
	int r;

	if (err)
		err->text[0] = '\0';
	r = pool_open(&p, path, &opt, err);
	if (r)
		return r;
	r = rebuild(p, &damaged);
	if (!r && damaged)
		r = -EIO;
	if (!r)
		r = add_root_dir(p, uid, gid, mode);
	if (!r)
		r = pool_commit_clean(p);
	if (r)
		fail(err, r, r == -EEXIST ? "the pool has a root directory already"
		    : "the root directory could not be made");
	pool_close(p);
	return r;
}

/* ---- the whole ---- */

int
fs_statfs(struct fs *fs, struct statvfs *st)
{
	uint64_t ninodes, data_blocks, node_blocks, reserve = pool_meta_reserve(fs->pool), more;
	struct alloc_stats a;
	struct root_block root;

	held_check_all(fs->pool);
	alloc_stats(pool_alloc(fs->pool), &a);
	pool_counters(fs->pool, &ninodes, &data_blocks, &node_blocks);
	pool_root(fs->pool, &root);
	memset(st, 0, sizeof(*st));
	st->f_bsize = BLK_SIZE;
	st->f_frsize = BLK_SIZE;
	st->f_blocks = a.total;
	/* Who has no space left gets it committed first, so what is as good as free counts. */
	st->f_bfree = min_of(a.free + txn_pending_free(fs->pool), a.total) - a.reserved;
	st->f_bavail = st->f_bfree > reserve ? st->f_bfree - reserve : 0;
	/* Inodes are items like any other: there is room for as many as fit. */
	more = st->f_bavail * (BLK_SIZE / (2 * sizeof(struct inode_item)));
	st->f_files = ninodes + more;
	st->f_ffree = more;
	st->f_favail = more;
	memcpy(&st->f_fsid, root.uuid, sizeof(st->f_fsid));
	st->f_flag = fs->opt.readonly ? ST_RDONLY : 0;
	st->f_namemax = FS_NAME_MAX;
	return 0;
}

void
fs_counters(struct fs *fs, struct fs_counters *c)
{
	const uint64_t *from = (const uint64_t *)&fs->counters;
	uint64_t *to = (uint64_t *)c;

	_Static_assert(sizeof(struct fs_counters) % sizeof(uint64_t) == 0, "all counters are 64-bit");
	for (size_t k = 0; k < sizeof(*c) / sizeof(*to); k++)
		to[k] = __atomic_load_n(&from[k], __ATOMIC_RELAXED);
	c->commits = txn_commits(fs->pool);
	mtx_lock(&fs->dirty_lock);
	c->dirty_inodes = fs->dirty_count;
	mtx_unlock(&fs->dirty_lock);
}

struct pool *
fs_pool(struct fs *fs)
{
	return fs->pool;
}

void
fs_set_notify(struct fs *fs, void (*fn)(void *arg, struct file *f), void *arg)
{
	fs->notify = fn;
	fs->notify_arg = arg;
}

struct park_lot *
fs_park(struct fs *fs)
{
	return fs->park;
}

const struct fs_options *
fs_options(struct fs *fs)
{
	return &fs->opt;
}
