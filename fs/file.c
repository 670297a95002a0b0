/* SPDX-License-Identifier: BSD-3-Clause */
/* Open files, and the end of a file's content.
 *
 * A struct file is what one open(2) made: it carries the flags it was opened
 * with, holds its inode in memory, and owns pins and leases, which end with it.
 *
 * The content of a deleted inode goes in two steps: first the live map, whose
 * blocks are free at once, then the extents, a bounded stretch for each transaction, so that
 * a file of any size can be deleted with the metadata reserve of a full pool. Nobody can
 * see the file any more; if the machine stops half way, the orphan item
 * brings the rest back here at the next mount.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "fs/content.h"
#include "fs/lease.h"
#include "fs/writeback_i.h"

/* Blocks that one transaction unmaps. */
#define DELETE_BLOCKS ((uint64_t)64 * EXTENT_CSUM_BLOCKS_MAX)

static bool
opens_for_writing(int flags)
{
	return (flags & O_ACCMODE) != O_RDONLY;
}

/* What may be opened how, as far as the kernel doesn't see to it. */
static int
check_open(struct fs *fs, struct inode *i, int flags)
{
	bool writes = opens_for_writing(flags) || (flags & O_TRUNC);
	uint32_t fl;

	if (i->type == S_IFLNK)
		return -ELOOP;
	if (!writes)
		return 0;
	if (i->type == S_IFDIR)
		return -EISDIR;
	if (fs->opt.readonly || pool_readonly(fs->pool))
		return -EROFS;
	mtx_lock(&i->attr_lock);
	fl = i->attr.flags;
	mtx_unlock(&i->attr_lock);
	if (fl & INODE_FL_IMMUTABLE)
		return -EPERM;
	if ((fl & INODE_FL_APPEND) && (!(flags & O_APPEND) || (flags & O_TRUNC)))
		return -EPERM;
	return 0;
}

int
fs_open(struct fs *fs, struct inode *i, int flags, const struct fs_cred *c, struct file **out)
{
	struct file *f;
	int r;

	r = check_open(fs, i, flags);
	if (r < 0)
		return r;
	f = calloc(1, sizeof(*f));
	if (f == NULL)
		return -ENOMEM;
	if ((flags & O_TRUNC) && i->type == S_IFREG) {
		r = fs_truncate(i, 0);
		if (r < 0) {
			free(f);
			return r;
		}
		if (c == NULL || !c->fsetid)
			inode_kill_suidgid(i);
	}
	f->inode = inode_hold(i);
	f->flags = flags & ~(O_TRUNC | O_CREAT | O_EXCL);
	CDS_INIT_LIST_HEAD(&f->pins);
	CDS_INIT_LIST_HEAD(&f->leases);
	CDS_INIT_LIST_HEAD(&f->events);
	mtx_lock(&fs->open_lock);
	cds_list_add_tail(&f->open_link, &fs->open);
	mtx_unlock(&fs->open_lock);
	*out = f;
	return 0;
}

void
fs_release(struct file *f)
{
	struct fs *fs = f->inode->fs;

	mtx_lock(&fs->open_lock);
	cds_list_del(&f->open_link);
	mtx_unlock(&fs->open_lock);
	pin_drop_all(f);
	lease_drop_all(f);
	inode_put(f->inode);
	free(f);
}

void
file_release_all(struct fs *fs)
{
	struct file *f;

	for (;;) {
		mtx_lock(&fs->open_lock);
		f = cds_list_empty(&fs->open) ? NULL : cds_list_first_entry(&fs->open, struct file, open_link);
		mtx_unlock(&fs->open_lock);
		if (f == NULL)
			return;
		fs_release(f);
	}
}

/* Everything that is live. */
static int
delete_live(struct inode *i)
{
	int r;

	rwl_wrlock(&i->layout_lock);
	r = live_prepare(&i->live);
	if (r == 0) {
		content_cut_pins(i, 0, FBLK_MAX + 1);
		r = live_remove(&i->live, 0, FBLK_MAX + 1, content_drop, i);
	}
	rwl_unlock(&i->layout_lock);
	return r;
}

/* Join a transaction to unmap up to *n blocks. On a full pool that may need a commit, for what was
 * deleted before to become free, or has to be done in smaller steps: *n is cut. */
static int
delete_begin(struct inode *i, struct txn *t, uint64_t *n)
{
	struct pool *p = i->fs->pool;
	bool committed = false;
	int r;

	for (;;) {
		r = txn_begin(p, t, extent_credits(i, 1, *n) + txn_credits(p, 1), TXN_MUST);
		if (r != -ENOSPC || (committed && *n == 1))
			return r;
		if (committed) {
			*n = (*n + 3) / 4;
			continue;
		}
		r = txn_commit_wait(p, txn_open_number(p));
		if (r < 0)
			return r;
		committed = true;
	}
}

/* Unmap the first stretch at or behind *at, and move *at behind it; FBLK_MAX + 1
 * when there is none. */
static int
delete_stretch(struct inode *i, fblk_t *at)
{
	struct extent e;
	struct txn t;
	uint64_t n;
	int r;

	rwl_rdlock(&i->layout_lock);
	r = extent_lookup(i, *at, &e, NULL, 0);
	rwl_unlock(&i->layout_lock);
	if (r < 0)
		return r;
	if (e.pblk == PBLK_NONE) {
		*at = e.fblk + e.len;
		return 0;
	}
	n = min_of(DELETE_BLOCKS, FBLK_MAX + 1 - *at);
	r = delete_begin(i, &t, &n);
	if (r < 0)
		return r;
	/* Its item goes along: a commit may come before the next step, and then it has to count what is left. */
	rwl_wrlock(&i->layout_lock);
	r = tree_touch(&t, tree_key(i->ino, ITEM_INODE, 0));
	if (r == 0)
		r = extent_unmap(&t, i, *at, n);
	if (r == 0)
		r = inode_store(&t, i);
	rwl_unlock(&i->layout_lock);
	txn_end(&t);
	*at += n;
	return r;
}

int
file_delete_content(struct inode *i)
{
	fblk_t at = 0;
	int r;

	/* a writeback that still runs ends first: what it has taken is its own until then */
	writeback_lock(i);
	r = delete_live(i);
	writeback_unlock(i);
	while (r == 0 && i->durable_blocks > 0 && at <= FBLK_MAX)
		r = delete_stretch(i, &at);
	return r;
}

void
file_evict(struct inode *i)
{

	pin_evict(i);
	lease_evict(i);
	live_clear(&i->live);
	extent_cache_free(i);
}
