/* SPDX-License-Identifier: BSD-3-Clause */
/* The inode cache: coming, going, deletion, what survives a remount. */
#include "tests/unit/unit_names.h"

#include <pthread.h>
#include <unistd.h>

#include "fs/inode_i.h"
#include "fs/xattr.h"
#include "pmem/log.h"

static void
ignore_log(void *arg, int level, const char *text)
{
	(void)arg;
	(void)level;
	(void)text;
}

static uint64_t
cached(void)
{
	struct fs_counters c;

	fs_counters(fs, &c);
	return c.cached_inodes;
}

static bool
item_exists(uint64_t ino, enum item_type type, uint64_t lo)
{
	char buf[ITEM_VALUE_MAX];
	ssize_t n = tree_get(fs->pool, tree_key(ino, type, lo), buf, sizeof(buf));

	ck_assert(n >= 0 || n == -ENOENT);
	return n >= 0;
}

static int
stop(void *arg, struct tree_key key, const void *value, size_t len)
{
	(void)arg;
	(void)key;
	(void)value;
	(void)len;
	return 1;
}

static bool
has_items(uint64_t ino)
{
	return tree_scan(fs->pool, (struct tree_key){ ino << 8, 0 }, (struct tree_key){ ino << 8 | 0xff, UINT64_MAX },
	    stop, NULL) == 1;
}

START_TEST(size_in_memory)
{
#ifndef PINFS_DEBUG
	ck_assert_uint_lt(sizeof(struct inode), 600);
#endif
}
END_TEST

START_TEST(get_and_put)
{
	struct inode *a, *b;
	uint64_t ino = touch_file(root, "f");

	ck_assert_uint_eq(cached(), 1);
	ck_assert_ok(inode_get(fs, ino, &a));
	ck_assert_ok(inode_get(fs, ino, &b));
	ck_assert_ptr_eq(a, b);
	ck_assert_uint_eq(cached(), 2);
	inode_put(a);
	ck_assert_uint_eq(cached(), 2);
	inode_put(inode_hold(b));
	inode_put(b);
	ck_assert_uint_eq(cached(), 1);
	inode_put(NULL);
}
END_TEST

START_TEST(get_errors)
{
	struct inode *i;

	ck_assert_err(inode_get(fs, 0, &i), ENOENT);
	ck_assert_err(inode_get(fs, 12345, &i), ENOENT);
	ck_assert_err(inode_get(fs, INO_MAX, &i), ENOENT);
	ck_assert_err(inode_get(fs, INO_MAX + 1, &i), ENOENT);
	ck_assert_err(inode_get(fs, UINT64_MAX, &i), ENOENT);
	ck_assert_uint_eq(cached(), 1);
}
END_TEST

START_TEST(kernel_lookups)
{
	uint64_t ino = touch_file(root, "f");
	struct inode *i = lookup(root, "f");

	inode_lookup_ref(i);
	inode_lookup_ref(i);
	inode_lookup_ref(i);
	inode_put(i);
	ck_assert_uint_eq(cached(), 2);
	inode_forget(fs, ino, 2);
	ck_assert_uint_eq(cached(), 2);
	inode_forget(fs, ino, 1);
	ck_assert_uint_eq(cached(), 1);
	inode_forget(fs, ino, 1); /* nothing to forget: no harm */
	ck_assert_uint_eq(cached(), 1);

	/* More than there were. */
	i = lookup(root, "f");
	inode_lookup_ref(i);
	inode_forget(fs, ino, 1000);
	ck_assert_uint_eq(cached(), 2);
	inode_put(i);
	ck_assert_uint_eq(cached(), 1);
}
END_TEST

/* The kernel still knows the file when it is unlinked: it goes when it is forgotten. */
START_TEST(forget_deletes)
{
	struct inode *i = make_file(root, "f"), *again;
	uint64_t ino = i->ino;

	inode_lookup_ref(i);
	inode_put(i);
	ck_assert_ok(fs_unlink(fs, root, "f"));
	ck_assert(item_exists(ino, ITEM_INODE, 0));
	ck_assert(item_exists(INO_NONE, ITEM_ORPHAN, ino));
	ck_assert_ok(inode_get(fs, ino, &again));
	ck_assert_uint_eq(stat_of(again).st_nlink, 0);
	inode_put(again);
	inode_forget(fs, ino, 1);
	ck_assert(!has_items(ino));
	ck_assert(!item_exists(INO_NONE, ITEM_ORPHAN, ino));
	ck_assert_uint_eq(inodes_in_use(), 1);
	ck_assert_err(inode_get(fs, ino, &again), ENOENT);
}
END_TEST

START_TEST(numbers_are_not_reused)
{
	uint64_t last = touch_file(root, "f"), ino;

	for (int k = 0; k < 5; k++) {
		ck_assert_ok(fs_unlink(fs, root, "f"));
		if (k & 1)
			remount();
		ino = touch_file(root, "f");
		ck_assert_uint_gt(ino, last);
		last = ino;
	}
}
END_TEST

START_TEST(generations)
{
	struct inode *a = make_file(root, "a"), *b = make_file(root, "b");
	uint32_t generation = a->attr.generation;

	ck_assert_uint_ne(generation, 0);
	ck_assert_uint_ne(b->attr.generation, 0);
	ck_assert_uint_ne(generation, b->attr.generation);
	inode_put(a);
	inode_put(b);
	remount();
	a = lookup(root, "a");
	ck_assert_uint_eq(a->attr.generation, generation);
	inode_put(a);
}
END_TEST

START_TEST(attributes_survive_remount)
{
	struct inode *i = make_file(root, "f");
	struct stat st = { .st_mode = 04711, .st_uid = 12, .st_gid = 34, .st_atim = { -5, 999999999 },
		.st_mtim = { 1ll << 33, 7 } }, after;

	ck_assert_ok(fs_setattr(fs, i, FS_SET_UID | FS_SET_GID, &st, &cred_root));
	st.st_mode = 04711;
	st.st_atim = (struct timespec){ -5, 999999999 };
	st.st_mtim = (struct timespec){ 1ll << 33, 7 };
	ck_assert_ok(fs_setattr(fs, i, FS_SET_MODE | FS_SET_ATIME | FS_SET_MTIME, &st, &cred_root));
	ck_assert_ok(fs_setflags(fs, i, INODE_FL_NODUMP, 99, &cred_root));
	st = stat_of(i);
	inode_put(i);
	remount();
	i = lookup(root, "f");
	after = stat_of(i);
	ck_assert_mem_eq(&st, &after, sizeof(st));
	ck_assert_uint_eq(after.st_mode, S_IFREG | 04711);
	ck_assert_uint_eq(after.st_uid, 12);
	ck_assert_int_eq(after.st_atim.tv_sec, -5);
	ck_assert_int_eq(after.st_mtim.tv_sec, 1ll << 33);
	ck_assert_uint_eq(i->attr.projid, 99);
	ck_assert_uint_eq(i->attr.flags, INODE_FL_NODUMP);
	inode_put(i);
}
END_TEST

/* What is not committed is lost, and only that. */
START_TEST(crash_forgets_the_open_transaction)
{
	touch_file(root, "before");
	ck_assert_ok(fs_sync(fs));
	touch_file(root, "after");
	crash();
	ck_assert(exists(root, "before"));
	ck_assert(!exists(root, "after"));
	ck_assert_uint_eq(stat_of(root).st_size, 1);
	ck_assert_uint_eq(inodes_in_use(), 2);
}
END_TEST

START_TEST(orphans_go_at_mount)
{
	struct inode *kept = make_file(root, "kept"), *tmp, *again;
	uint64_t ino[2], before;
	char value[5000];

	memset(value, 'v', sizeof(value));
	ck_assert_ok(fs_setxattr(fs, kept, "user.big", value, sizeof(value), 0, &cred_root));
	before = inodes_in_use();
	ck_assert_ok(fs_tmpfile(fs, root, 0600, &cred_root, &tmp));
	ino[0] = kept->ino;
	ino[1] = tmp->ino;
	ck_assert_ok(fs_unlink(fs, root, "kept"));
	ck_assert_uint_eq(inodes_in_use(), before + 1);
	ck_assert_ok(fs_sync(fs));
	crash();
	for (int k = 0; k < 2; k++) {
		ck_assert(!has_items(ino[k]));
		ck_assert(!item_exists(INO_NONE, ITEM_ORPHAN, ino[k]));
		ck_assert_err(inode_get(fs, ino[k], &again), ENOENT);
	}
	ck_assert_uint_eq(inodes_in_use(), 1);
}
END_TEST

START_TEST(many_orphans)
{
	char name[16];

	for (unsigned k = 0; k < 300; k++) {
		struct inode *i;

		snprintf(name, sizeof(name), "%u", k);
		i = make_file(root, name);
		if (k % 3)
			inode_lookup_ref(i);
		inode_put(i);
	}
	for (unsigned k = 0; k < 300; k++) {
		snprintf(name, sizeof(name), "%u", k);
		ck_assert_ok(fs_unlink(fs, root, name));
	}
	ck_assert_uint_eq(inodes_in_use(), 1 + 200);
	ck_assert_ok(fs_sync(fs));
	crash();
	ck_assert_uint_eq(inodes_in_use(), 1);
}
END_TEST

/* An orphan item that should not be there does no harm to a linked file. */
START_TEST(false_orphans)
{
	uint64_t ino = touch_file(root, "linked");
	struct txn t;

	ck_assert_ok(txn_begin(fs->pool, &t, txn_credits(fs->pool, 2), 0));
	ck_assert_ok(tree_insert(&t, tree_key(INO_NONE, ITEM_ORPHAN, ino), NULL, 0));
	ck_assert_ok(tree_insert(&t, tree_key(INO_NONE, ITEM_ORPHAN, 777), NULL, 0));
	txn_end(&t);
	ck_assert_ok(fs_sync(fs));
	crash();
	ck_assert(exists(root, "linked"));
	ck_assert(!item_exists(INO_NONE, ITEM_ORPHAN, ino));
	ck_assert(!item_exists(INO_NONE, ITEM_ORPHAN, 777));
	remount();
	ck_assert(exists(root, "linked"));
}
END_TEST

/* A clean unmount leaves no orphans, even of files that the kernel never forgot. */
START_TEST(unmount_deletes)
{
	struct inode *i = make_file(root, "f");
	struct root_block rb;
	uint64_t ino = i->ino;

	inode_lookup_ref(i);
	inode_put(i);
	ck_assert_ok(fs_unlink(fs, root, "f"));
	inode_put(root);
	ck_assert_ok(fs_umount(fs));
	setup_mount();
	pool_root(fs->pool, &rb);
	ck_assert_uint_eq(rb.flags & ROOT_CLEAN, ROOT_CLEAN);
	ck_assert_uint_eq(rb.ninodes, 1);
	ck_assert(!has_items(ino));
}
END_TEST

START_TEST(deletion_takes_all_items)
{
	struct inode *i = make_file(root, "f");
	uint64_t ino = i->ino;
	char *value = malloc(XATTR_VALUE_MAX), name[32];

	memset(value, 'x', XATTR_VALUE_MAX);
	for (unsigned k = 0; k < 20; k++) {
		snprintf(name, sizeof(name), "user.attr%u", k);
		ck_assert_ok(fs_setxattr(fs, i, name, value, k % 5 == 0 ? XATTR_VALUE_MAX : k, 0, &cred_root));
	}
	free(value);
	ck_assert_ok(fs_unlink(fs, root, "f"));
	ck_assert(has_items(ino));
	inode_put(i);
	ck_assert(!has_items(ino));
}
END_TEST

START_TEST(new_and_undo)
{
	struct inode_attr attr = { .mode = S_IFREG | 0600, .nlink = 1 };
	struct inode *i, *again;
	uint64_t ino;
	struct txn t;

	ck_assert_ok(txn_begin(fs->pool, &t, txn_credits(fs->pool, 4), 0));
	ck_assert_ok(inode_new(&t, fs, &attr, &i));
	ino = i->ino;
	ck_assert_ok(inode_get(fs, ino, &again)); /* by a handle that somebody guessed */
	inode_new_undo(&t, i);
	txn_end(&t);
	ck_assert(!has_items(ino));
	ck_assert_err(inode_get(fs, ino, &i), ENOENT);
	inode_put(again);
	ck_assert_uint_eq(cached(), 1);
	ck_assert_uint_eq(inodes_in_use(), 1);
}
END_TEST

START_TEST(damaged_items)
{
	struct inode_item good, bad;
	uint64_t ino = touch_file(root, "f");
	struct inode_attr attr;
	uint64_t size, nblocks;
	struct inode *i;
	struct txn t;

	pinfs_log_to(ignore_log, NULL);
	ck_assert_int_eq(tree_get(fs->pool, tree_key(ino, ITEM_INODE, 0), &good, sizeof(good)), sizeof(good));
	ck_assert_ptr_null(inode_item_decode(&good, ino, &attr, &size, &nblocks));

#define DAMAGE(change) \
	do { bad = good; change; \
	     ck_assert_ptr_nonnull(inode_item_decode(&bad, ino, &attr, &size, &nblocks)); } while (0)
	DAMAGE(bad.mode = 0644);
	DAMAGE(bad.mode |= 1u << 20);
	DAMAGE(bad.mode = S_IFMT | 0644);
	DAMAGE(bad.size = (uint64_t)INT64_MAX + 1);
	DAMAGE(bad.atime_nsec = 1000000000);
	DAMAGE(bad.mtime_nsec = 1000000000);
	DAMAGE(bad.ctime_nsec = UINT32_MAX);
	DAMAGE(bad.btime_nsec = UINT32_MAX);
	DAMAGE(bad.flags = 1u << 31);
	DAMAGE(bad.nlink = UINT32_MAX);
	DAMAGE(bad.nblocks = UINT64_MAX);
	DAMAGE(bad.mode = S_IFDIR | 0755);                                /* no parent */
	DAMAGE((bad.mode = S_IFDIR | 0755, bad.parent = INO_MAX + 1));
	DAMAGE(bad.mode = S_IFLNK | 0777);                                /* empty symlink */
	DAMAGE((bad.mode = S_IFLNK | 0777, bad.size = 4096));
#undef DAMAGE

	bad = good;
	bad.mode = 0;
	ck_assert_ok(txn_begin(fs->pool, &t, txn_credits(fs->pool, 2), 0));
	ck_assert_ok(tree_put(&t, tree_key(ino, ITEM_INODE, 0), &bad, sizeof(bad)));
	txn_end(&t);
	ck_assert_err(inode_get(fs, ino, &i), EIO);
	ck_assert_int_eq(lookup_error(root, "f"), -EIO);
	ck_assert_ok(txn_begin(fs->pool, &t, txn_credits(fs->pool, 2), 0));
	ck_assert_ok(tree_put(&t, tree_key(ino, ITEM_INODE, 0), &bad, sizeof(bad) - 1));
	txn_end(&t);
	ck_assert_err(inode_get(fs, ino, &i), EIO);
	/* Not for good: it is looked at again each time. */
	ck_assert_ok(txn_begin(fs->pool, &t, txn_credits(fs->pool, 2), 0));
	ck_assert_ok(tree_put(&t, tree_key(ino, ITEM_INODE, 0), &good, sizeof(good)));
	txn_end(&t);
	ck_assert_ok(inode_get(fs, ino, &i));
	inode_put(i);
	ck_assert_uint_eq(cached(), 1);
	pinfs_log_to(NULL, NULL);
}
END_TEST

START_TEST(dirty_list)
{
	struct inode *i = make_file(root, "f");
	struct fs_counters c;
	struct timespec mtime;

	ck_assert(!inode_is_dirty(i));
	inode_touch(i, TOUCH_MTIME);
	ck_assert(inode_is_dirty(i) && i->attr_dirty);
	inode_mark_dirty(i);
	fs_counters(fs, &c);
	ck_assert_uint_eq(c.dirty_inodes, 1);
	mtime = stat_of(i).st_mtim;
	inode_put(i);
	ck_assert_uint_eq(cached(), 2); /* the list holds it */
	ck_assert_ok(fs_sync(fs));
	fs_counters(fs, &c);
	ck_assert_uint_eq(c.dirty_inodes, 0);
	ck_assert_uint_eq(cached(), 1);
	crash();
	i = lookup(root, "f");
	ck_assert_int_eq(stat_of(i).st_mtim.tv_sec, mtime.tv_sec);
	ck_assert_int_eq(stat_of(i).st_mtim.tv_nsec, mtime.tv_nsec);
	inode_put(i);
}
END_TEST

/* Nobody needs the times of a file that is gone. */
START_TEST(unlinked_dirty_inode_is_deleted)
{
	struct inode *i = make_file(root, "f");
	uint64_t ino = i->ino;

	inode_touch(i, TOUCH_MTIME);
	ck_assert_ok(fs_unlink(fs, root, "f"));
	ck_assert(inode_is_dirty(i));
	inode_put(i);
	ck_assert_uint_eq(cached(), 1);
	ck_assert(!has_items(ino));
}
END_TEST

START_TEST(readonly_mount)
{
	struct fs_options opt;
	struct pool_error err;
	struct inode *i, *f;
	struct stat st = { .st_mode = 0600 };
	struct statvfs sv;

	touch_file(root, "f");
	inode_put(root);
	ck_assert_ok(fs_umount(fs));
	fs_options_default(&opt);
	opt.readonly = true;
	ck_assert_ok(fs_mount(&fs, pool_at, &opt, &err));
	ck_assert_ok(inode_get(fs, INO_ROOT, &root));
	f = lookup(root, "f");
	ck_assert_err(fs_create(fs, root, "g", 0644, 0, &cred_root, &i), EROFS);
	ck_assert_err(fs_unlink(fs, root, "f"), EROFS);
	ck_assert_err(fs_rename(fs, root, "f", root, "g", 0), EROFS);
	ck_assert_err(fs_setattr(fs, f, FS_SET_MODE, &st, &cred_root), EROFS);
	ck_assert_err(fs_setxattr(fs, f, "user.a", "v", 1, 0, &cred_root), EROFS);
	inode_touch(f, TOUCH_MTIME);
	inode_accessed(f);
	ck_assert(!inode_is_dirty(f));
	ck_assert_ok(fs_statfs(fs, &sv));
	ck_assert(sv.f_flag & ST_RDONLY);
	inode_put(f);
	teardown();
	setup_mount();
}
END_TEST

START_TEST(mount_errors)
{
	const char *path = unit_mkpool(4);
	struct fs_options opt;
	struct pool_error err;
	struct fs *other;

	pinfs_log_to(ignore_log, NULL);
	fs_options_default(&opt);
	opt.pool.lock_wait_ms = 0;
	ck_assert_err(fs_mount(&other, path, &opt, &err), EINVAL); /* no root directory */
	ck_assert_str_ne(err.text, "");
	ck_assert_err(fs_mount(&other, pool_at, &opt, &err), EBUSY);
	ck_assert_err(fs_mount(&other, "/dev/null/none", &opt, &err), ENOTDIR);
	ck_assert_ok(fs_format(path, 5, 6, 01777, &err));
	ck_assert_err(fs_format(path, 5, 6, 01777, &err), EEXIST);
	ck_assert_ok(fs_mount(&other, path, &opt, &err));
	ck_assert_ok(fs_umount(other));
	pinfs_log_to(NULL, NULL);
}
END_TEST

struct leaves {
	uint64_t ino;     /* look for the leaf that has its item */
	pblk_t block;
};

static int
find_leaf(void *arg, const struct tree_walk_node *wn)
{
	struct leaves *l = arg;
	struct tree_key key;
	const void *value;
	size_t len;

	if (wn->level > 0)
		return 0;
	for (unsigned k = 0; k < leaf_count(wn->node); k++) {
		leaf_item(wn->node, k, &key, &value, &len);
		if (tree_key_ino(key) == l->ino && tree_key_type(key) == ITEM_INODE)
			l->block = wn->block;
	}
	return 0;
}

/* A node that can't be read: no mount for writing, since its blocks would be given away;
 * read-only, all but what is in it. */
START_TEST(damaged_tree)
{
	char name[16], junk[512];
	struct leaves l = { 0 };
	struct fs_options opt;
	struct pool_error err;
	FILE *f;

	for (unsigned k = 0; k < 200; k++) {
		snprintf(name, sizeof(name), "%u", k);
		l.ino = touch_file(root, name);
	}
	ck_assert_ok(fs_sync(fs));
	ck_assert_ok(tree_walk(fs->pool, find_leaf, &l));
	ck_assert_uint_ne(l.block, 0);
	inode_put(root);
	ck_assert_ok(fs_umount(fs));
	/* The commit of the unmount may have moved it. */
	ck_assert_ptr_nonnull(fs = unit_mount(pool_at));
	ck_assert_ok(tree_walk(fs->pool, find_leaf, &l));
	fs_abandon(fs);

	memset(junk, 0xa5, sizeof(junk));
	ck_assert_ptr_nonnull(f = fopen(pool_at, "r+"));
	ck_assert_int_eq(fseek(f, (long)(l.block * BLK_SIZE + 1024), SEEK_SET), 0);
	ck_assert_uint_eq(fwrite(junk, sizeof(junk), 1, f), 1);
	ck_assert_int_eq(fclose(f), 0);

	pinfs_log_to(ignore_log, NULL);
	fs_options_default(&opt);
	ck_assert_err(fs_mount(&fs, pool_at, &opt, &err), EIO);
	ck_assert_str_ne(err.text, "");
	opt.readonly = true;
	ck_assert_ok(fs_mount(&fs, pool_at, &opt, &err));
	ck_assert_ok(inode_get(fs, INO_ROOT, &root));
	ck_assert(exists(root, "0"));
	ck_assert_int_eq(lookup_error(root, name), -EIO);
	inode_put(root);
	ck_assert_ok(fs_umount(fs));
	pinfs_log_to(NULL, NULL);
	pool_at = unit_mkpool(4);
	setup_mount();
}
END_TEST

START_TEST(root_directory)
{
	struct stat st;

	teardown();
	pool_at = unit_mkpool(4);
	ck_assert_ok(fs_format(pool_at, 5, 6, 01770, NULL));
	setup_mount();
	st = stat_of(root);
	ck_assert_uint_eq(st.st_ino, 1);
	ck_assert_uint_eq(st.st_mode, S_IFDIR | 01770);
	ck_assert_uint_eq(st.st_uid, 5);
	ck_assert_uint_eq(st.st_gid, 6);
	ck_assert_uint_eq(st.st_nlink, 2);
	ck_assert_uint_eq(inodes_in_use(), 1);
	ck_assert_uint_gt(touch_file(root, "f"), 1);
}
END_TEST

/* Threads that look up, forget and unlink the same few files. */
static void *
churn(void *arg)
{
	uint64_t seed = (uint64_t)(uintptr_t)arg;
	struct inode *i;
	char name[8];
	int err;

	for (unsigned k = 0; k < 4000; k++) {
		snprintf(name, sizeof(name), "%u", (unsigned)(unit_random(&seed) % 8));
		switch (unit_random(&seed) % 6) {
		case 0:
			err = fs_create(fs, root, name, 0644, 0, &cred_root, &i);
			break;
		case 1:
			err = fs_unlink(fs, root, name);
			ck_assert(err == 0 || err == -ENOENT);
			continue;
		case 2:
			err = inode_get(fs, unit_random(&seed) % 4000, &i);
			break;
		case 3:
			err = fs_lookup(fs, root, name, &i);
			if (!err) {
				inode_lookup_ref(i);
				inode_forget(fs, i->ino, 1);
			}
			break;
		default:
			err = fs_lookup(fs, root, name, &i);
			if (!err && (k & 1))
				inode_touch(i, TOUCH_MTIME | TOUCH_CTIME);
		}
		ck_assert(err == 0 || err == -ENOENT || err == -EEXIST);
		if (!err)
			inode_put(i);
	}
	return NULL;
}

START_TEST(concurrent_churn)
{
	struct fs_counters c;
	pthread_t th[3];

	for (uintptr_t k = 0; k < 3; k++)
		ck_assert_int_eq(pthread_create(&th[k], NULL, churn, (void *)(k + 11)), 0);
	for (unsigned k = 0; k < 3; k++)
		pthread_join(th[k], NULL);
	ck_assert_ok(fs_sync(fs));
	fs_counters(fs, &c);
	ck_assert_uint_eq(c.cached_inodes, 1);
	ck_assert_uint_eq(c.dirty_inodes, 0);
	ck_assert_uint_eq(inodes_in_use(), 1 + (uint64_t)stat_of(root).st_size);
}
END_TEST

static bool
buckets_come_to(uint64_t least, uint64_t most)
{
	for (unsigned n = 0; n < 1000; n++) {
		uint64_t have = __atomic_load_n(&fs->icache_buckets, __ATOMIC_RELAXED);

		if (have >= least && have <= most)
			return true;
		usleep(10000);
	}
	return false;
}

/* The table grows and shrinks with what is in it, time and again. */
START_TEST(cache_size_follows)
{
	enum { MANY = 5000 };
	static struct inode *i[MANY];
	static uint64_t ino[MANY];
	char name[16];

	for (unsigned k = 0; k < MANY; k++) {
		snprintf(name, sizeof(name), "f%u", k);
		ino[k] = touch_file(root, name);
	}
	for (unsigned turn = 0; turn < 3; turn++) {
		for (unsigned k = 0; k < MANY; k++)
			ck_assert_ok(inode_get(fs, ino[k], &i[k]));
		ck_assert(buckets_come_to(MANY / 2, 2 * MANY));
		for (unsigned k = 0; k < MANY; k++)
			inode_put(i[k]);
		ck_assert(buckets_come_to(1, MANY / 4));
	}
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("inode");
	TCase *tc = tcase_create("inode");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, size_in_memory);
	tcase_add_test(tc, get_and_put);
	tcase_add_test(tc, get_errors);
	tcase_add_test(tc, kernel_lookups);
	tcase_add_test(tc, forget_deletes);
	tcase_add_test(tc, numbers_are_not_reused);
	tcase_add_test(tc, generations);
	tcase_add_test(tc, attributes_survive_remount);
	tcase_add_test(tc, crash_forgets_the_open_transaction);
	tcase_add_test(tc, orphans_go_at_mount);
	tcase_add_test(tc, many_orphans);
	tcase_add_test(tc, false_orphans);
	tcase_add_test(tc, unmount_deletes);
	tcase_add_test(tc, deletion_takes_all_items);
	tcase_add_test(tc, new_and_undo);
	tcase_add_test(tc, damaged_items);
	tcase_add_test(tc, dirty_list);
	tcase_add_test(tc, unlinked_dirty_inode_is_deleted);
	tcase_add_test(tc, readonly_mount);
	tcase_add_test(tc, mount_errors);
	tcase_add_test(tc, damaged_tree);
	tcase_add_test(tc, root_directory);
	tcase_add_test(tc, concurrent_churn);
	tcase_add_test(tc, cache_size_follows);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
