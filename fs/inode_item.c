/* SPDX-License-Identifier: BSD-3-Clause */
/* An inode's image on the medium, and the attributes in memory that it is made
 * from.
 *
 * The item is written in two ways. An operation that changes attributes
 * stores it in its transaction, with attr_lock held from the change to the store:
 * so the item never goes back to an older image when two operations on one inode
 * overlap. What changes all the time and need not be durable before the next
 * fsync (the times of reads and writes) only sets attr_dirty; writeback stores it. Both
 * write durable_size, never size: an item never promises bytes that the durable map
 * does not have.
 *
 * What is read back is checked field by field before anybody uses it. */
#include "fs/inode_i.h"

#include <errno.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "fs/fs_i.h"
#include "pmem/log.h"

#define NSEC_PER_SEC 1000000000
#define RELATIME_SEC (24 * 60 * 60) /* atime moves at least once a day */

void
inode_item_encode(struct inode_item *item, const struct inode_attr *attr, uint64_t size, uint64_t nblocks)
{
	*item = (struct inode_item){
		.size = size,
		.nblocks = nblocks,
		.mode = attr->mode,
		.nlink = attr->nlink,
		.uid = attr->uid,
		.gid = attr->gid,
		.rdev_major = attr->rdev_major,
		.rdev_minor = attr->rdev_minor,
		.flags = attr->flags,
		.generation = attr->generation,
		.atime_sec = attr->atime.tv_sec,
		.mtime_sec = attr->mtime.tv_sec,
		.ctime_sec = attr->ctime.tv_sec,
		.btime_sec = attr->btime.tv_sec,
		.atime_nsec = (uint32_t)attr->atime.tv_nsec,
		.mtime_nsec = (uint32_t)attr->mtime.tv_nsec,
		.ctime_nsec = (uint32_t)attr->ctime.tv_nsec,
		.btime_nsec = (uint32_t)attr->btime.tv_nsec,
		.parent = attr->parent,
		.nentries = attr->nentries,
		.projid = attr->projid,
	};
}

const char *
inode_item_decode(const struct inode_item *item, uint64_t ino, struct inode_attr *attr, uint64_t *size,
    uint64_t *nblocks)
{
	if (item->mode & ~(uint32_t)(S_IFMT | 07777))
		return "mode has unknown bits";
	switch (item->mode & S_IFMT) {
	case S_IFREG:
		if (item->size > FILE_MAX_BYTES)
			return "size out of range";
		break;
	case S_IFDIR:
		if (item->parent == INO_NONE || item->parent > INO_MAX)
			return "parent out of range";
		if (ino == INO_ROOT && item->parent != INO_ROOT)
			return "the root directory has a parent";
		break;
	case S_IFLNK:
		if (item->size == 0 || item->size > SYMLINK_MAX_BYTES)
			return "length of symlink out of range";
		break;
	case S_IFIFO:
	case S_IFSOCK:
	case S_IFCHR:
	case S_IFBLK:
		break;
	default:
		return "unknown file type";
	}
	if (item->atime_nsec >= NSEC_PER_SEC || item->mtime_nsec >= NSEC_PER_SEC
	    || item->ctime_nsec >= NSEC_PER_SEC || item->btime_nsec >= NSEC_PER_SEC)
		return "nanoseconds out of range";
	if (item->flags & ~INODE_FL_SUPP)
		return "unknown flags";
	if (item->nlink > INODE_NLINK_MAX)
		return "link count out of range";
	if (item->nblocks > FBLK_MAX)
		return "block count out of range";

	*attr = (struct inode_attr){
		.mode = item->mode,
		.nlink = item->nlink,
		.uid = item->uid,
		.gid = item->gid,
		.rdev_major = item->rdev_major,
		.rdev_minor = item->rdev_minor,
		.flags = item->flags,
		.generation = item->generation,
		.projid = item->projid,
		.parent = item->parent,
		.nentries = item->nentries,
		.atime = { item->atime_sec, item->atime_nsec },
		.mtime = { item->mtime_sec, item->mtime_nsec },
		.ctime = { item->ctime_sec, item->ctime_nsec },
		.btime = { item->btime_sec, item->btime_nsec },
	};
	*size = item->size;
	*nblocks = item->nblocks;
	return NULL;
}

static int
read_item(struct fs *fs, uint64_t ino, struct inode_attr *attr, uint64_t *size, uint64_t *nblocks)
{
	struct inode_item item;
	const char *why = "wrong length";
	ssize_t n = tree_get(fs->pool, tree_key(ino, ITEM_INODE, 0), &item, sizeof(item));

	if (n < 0)
		return (int)n;
	if (n == (ssize_t)sizeof(item))
		why = inode_item_decode(&item, ino, attr, size, nblocks);
	if (why) {
		pinfs_log(LOG_ERR, "inode %llu: damaged: %s", (unsigned long long)ino, why);
		return -EIO;
	}
	return 0;
}

int
inode_load(struct inode *i)
{
	int err = read_item(i->fs, i->ino, &i->attr, &i->size, &i->durable_blocks);

	if (err)
		return err;
	i->durable_size = i->size;
	i->type = i->attr.mode & S_IFMT;
	return 0;
}

int
inode_read_parent(struct fs *fs, uint64_t ino, uint64_t *parent)
{
	struct inode_attr attr;
	uint64_t size, nblocks;
	int err = read_item(fs, ino, &attr, &size, &nblocks);

	if (err)
		return err;
	if (!S_ISDIR(attr.mode)) {
		pinfs_log(LOG_ERR, "inode %llu: damaged: a parent, but no directory", (unsigned long long)ino);
		return -EIO;
	}
	*parent = attr.parent;
	return 0;
}

int
inode_store_locked(struct txn *t, struct inode *i)
{
	struct inode_item item;
	int err;

	inode_item_encode(&item, &i->attr, i->durable_size, i->durable_blocks);
	err = tree_put(t, tree_key(i->ino, ITEM_INODE, 0), &item, sizeof(item));
	if (err)
		return err;
	i->attr_dirty = false;
	i->last_fsync_txn = txn_number(t);
	return 0;
}

int
inode_store(struct txn *t, struct inode *i)
{
	int err;

	mtx_lock(&i->attr_lock);
	err = inode_store_locked(t, i);
	mtx_unlock(&i->attr_lock);
	return err;
}

struct timespec
inode_now(void)
{
	struct timespec now;

	/* The tick that the kernel stamps files with: the two must not disagree. */
	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	return now;
}

void
inode_touch(struct inode *i, unsigned which)
{
	struct timespec now;

	if (i->fs->opt.readonly)
		return;
	now = inode_now();
	mtx_lock(&i->attr_lock);
	if (which & TOUCH_ATIME)
		i->attr.atime = now;
	if (which & TOUCH_MTIME)
		i->attr.mtime = now;
	if (which & TOUCH_CTIME)
		i->attr.ctime = now;
	i->attr_dirty = true;
	mtx_unlock(&i->attr_lock);
	inode_changed(i);
	inode_mark_dirty(i);
}

static bool
before_or_at(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec < b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec <= b->tv_nsec);
}

void
inode_accessed(struct inode *i)
{
	struct timespec now;
	bool due;

	if (i->fs->opt.readonly || i->fs->opt.atime == FS_ATIME_NOATIME || (inode_flags(i) & INODE_FL_NOATIME))
		return;
	now = inode_now();
	mtx_lock(&i->attr_lock);
	if (i->fs->opt.atime == FS_ATIME_STRICT)
		due = !before_or_at(&now, &i->attr.atime) || !before_or_at(&i->attr.atime, &now);
	else
		due = before_or_at(&i->attr.atime, &i->attr.mtime) || before_or_at(&i->attr.atime, &i->attr.ctime)
		    || now.tv_sec - i->attr.atime.tv_sec >= RELATIME_SEC;
	if (due) {
		i->attr.atime = now;
		i->attr_dirty = true;
	}
	mtx_unlock(&i->attr_lock);
	if (due)
		inode_mark_dirty(i);
}

void
inode_kill_suidgid(struct inode *i)
{
	uint32_t mode;
	bool change;

	if (!inode_is_reg(i))
		return;
	mtx_lock(&i->attr_lock);
	mode = i->attr.mode & ~(uint32_t)S_ISUID;
	if (mode & S_IXGRP)
		mode &= ~(uint32_t)S_ISGID;
	change = mode != i->attr.mode;
	if (change) {
		i->attr.mode = mode;
		i->attr.ctime = inode_now();
		i->attr_dirty = true;
	}
	mtx_unlock(&i->attr_lock);
	if (change) {
		inode_changed(i);
		inode_mark_dirty(i);
	}
}

/* How many blocks the file has, as far as two counts can tell without comparing the
 * maps: a block that was overwritten since the last writeback is in both, and blocks that a
 * truncate cut off are in the durable one only. */
static uint64_t
count_blocks(const struct inode *i)
{
	uint64_t in_size = bytes_to_blocks_up(i->size);
	uint64_t durable = i->durable_blocks, live = i->live.blocks;

	if (i->size < i->durable_size)
		durable = min_of(durable, in_size);
	return min_of(durable + live, max_of(in_size, max_of(durable, live)));
}

void
inode_stat(struct inode *i, struct stat *st)
{
	uint64_t blocks, size;

	memset(st, 0, sizeof(*st));
	rwl_rdlock(&i->layout_lock);
	mtx_lock(&i->attr_lock);
	blocks = inode_is_reg(i) ? count_blocks(i) : 0;
	size = inode_is_dir(i) ? i->attr.nentries : i->size;
	st->st_ino = i->ino;
	st->st_mode = i->attr.mode;
	st->st_nlink = i->attr.nlink;
	st->st_uid = i->attr.uid;
	st->st_gid = i->attr.gid;
	st->st_rdev = makedev(i->attr.rdev_major, i->attr.rdev_minor);
	st->st_size = (off_t)size;
	st->st_blksize = BLK_SIZE;
	st->st_blocks = (blkcnt_t)(blocks << (BLK_SHIFT - 9));
	st->st_atim = i->attr.atime;
	st->st_mtim = i->attr.mtime;
	st->st_ctim = i->attr.ctime;
	mtx_unlock(&i->attr_lock);
	rwl_unlock(&i->layout_lock);
}
