/* SPDX-License-Identifier: BSD-3-Clause */
/* Collapsing and inserting ranges: the rest of the file moves down or up.
 *
 * Only writeback changes durable maps otherwise, because a change of the live map alone can't describe that
 * all blocks of a file have other places. So the file is written back first; then, with
 * its writebacks kept away and both locks held exclusively, both maps move: the durable one in one
 * transaction, the live one (what was written since, preallocated, or is pinned) in memory. A crash finds
 * the file as its writeback left it, or that image moved.
 *
 * How long it takes depends on the number of extents behind the range, not of blocks. It is one transaction in any
 * case, whose nodes are reserved before the first change: if the pool has no room for them it is
 * -ENOSPC. Commits wait that long, because the transaction is open.
 *
 * Pins on what moves: see relocate.c. On what is collapsed they are cut loose, as by a punch.
 *
 * A dax file's blocks are stored to by its users without a word to anybody, so there the transaction is
 * committed before the caller can store at the new places.
 */
#include <errno.h>
#include <fcntl.h>

#include "fs/pin_i.h"
#include "fs/relocate.h"
#include "fs/writeback_i.h"

struct shift {
	struct inode *inode;
	bool insert;
	uint64_t off, len;    /* bytes */
	fblk_t at;
	uint64_t n;           /* blocks */
	struct relocation rest;
	struct content_wait wait;
};

/* Against the size of the file: io lock held, or just to find out early. */
static int
check_size(const struct shift *s)
{
	uint64_t size = s->inode->size;

	if (s->insert) {
		if (s->off >= size)
			return -EINVAL;
		return s->len > FILE_MAX_BYTES - size ? -EFBIG : 0;
	}
	return s->off + s->len >= size ? -EINVAL : 0;
}

static uint64_t
shifted(const struct shift *s, uint64_t size)
{
	if (s->insert)
		return size > s->off ? size + s->len : size;
	return size > s->off + s->len ? size - s->len : min_of(size, s->off);
}

/* Everything that can fail. Layout lock exclusive. */
static int
prepare(struct shift *s, struct txn *t)
{
	struct inode *i = s->inode;
	fblk_t from = s->insert ? s->at : s->at + s->n, end, last;
	uint64_t credits, shared = 0;
	int r;

	r = content_end(i, &last);
	if (r < 0)
		return r;
	end = max_of(last, from);
	if (s->insert && s->n > FBLK_MAX + 1 - end)
		return -EFBIG;
	r = relocate_prepare(&s->rest, t, i, from, end, &s->wait);
	if (r == 0 && !s->insert) {
		r = live_split(&i->live, s->at);
		if (r == 0)
			r = extent_check(i, s->at, s->n);
		if (r == 0)
			r = extent_shared_credits(i, s->at, s->n, &shared);
	}
	if (r != 0)
		return r;
	credits = relocate_credits(&s->rest) + txn_credits(i->fs->pool, 1) + shared;
	if (!s->insert)
		credits += extent_credits(i, 1, s->n);
	r = txn_extend(t, credits);
	if (r == 0)
		r = tree_touch(t, tree_key(i->ino, ITEM_INODE, 0));
	if (r == 0)
		r = tree_touch(t, tree_key(i->ino, ITEM_EXTENT, s->insert ? end + s->n : end));
	if (r == 0)
		r = live_prepare(&i->live);
	return r;
}

/* The range to be collapsed becomes a hole of both maps. */
static int
cut_out(struct shift *s, struct txn *t)
{
	struct pin_freed freed = { .inode = s->inode };
	struct inode *i = s->inode;
	int r;

	CDS_INIT_LIST_HEAD(&freed.spares);
	content_cut_pins(i, s->at, s->at + s->n);
	r = live_remove(&i->live, s->at, s->n, content_drop, i);
	if (r == 0) {
		t->flags |= TXN_PREPAID;
		r = extent_replace(t, i, s->at, PBLK_NONE, s->n, 0, NULL, false,
		    pin_table(i) ? pin_extent_freed : NULL, &freed);
		t->flags &= ~(unsigned)TXN_PREPAID;
	}
	return r;
}

/* Layout lock exclusive. */
static int
shift_locked(struct shift *s, struct txn *t)
{
	struct inode *i = s->inode;
	fblk_t from, to;
	int r;

	r = prepare(s, t);
	if (r == 0 && !s->insert)
		r = cut_out(s, t);
	if (r != 0)
		return r;
	from = s->rest.fblk;
	to = s->insert ? from + s->n : from - s->n;
	relocate_cut(&s->rest);
	r = extent_list_take(t, i, &s->rest.durable);
	if (r == 0)
		r = extent_list_put(t, i, &s->rest.durable, from, to);
	if (s->insert)
		live_shift_up(&i->live, from, s->n);
	else
		live_shift_down(&i->live, from, s->n);
	content_store_size(t, i, shifted(s, i->durable_size));
	return r;
}

/* One attempt. No lock held. CONTENT_UNSHARE. */
static int
shift_once(struct shift *s)
{
	struct inode *i = s->inode;
	struct pool *p = i->fs->pool;
	uint64_t number;
	struct txn t;
	int r;

	r = writeback_inode(i, &number);
	if (r < 0)
		return r;
	writeback_lock(i);
	r = txn_begin(p, &t, 2 * extent_split_credits(i), 0);
	if (r == 0) {
		rwl_wrlock(&i->io_lock);
		r = check_size(s);
		if (r == 0) {
			rwl_wrlock(&i->layout_lock);
			r = shift_locked(s, &t);
			rwl_unlock(&i->layout_lock);
		}
		if (r == 0)
			content_changed(i, shifted(s, i->size), false);
		rwl_unlock(&i->io_lock);
		number = txn_number(&t);
		txn_end(&t);
	}
	relocate_free(&s->rest);
	writeback_unlock(i);
	pin_settle(i);
	return r == 0 && inode_is_dax(i) ? txn_commit_wait(p, number) : r;
}

static int
shift_range(struct file *f, uint64_t off, uint64_t len, bool insert)
{
	struct shift s = {
		.inode = f->inode,
		.insert = insert,
		.off = off,
		.len = len,
		.at = off >> BLK_SHIFT,
		.n = len >> BLK_SHIFT,
	};
	uint32_t flags;
	int r;

	r = content_writable(f->inode, &flags);
	if (r < 0)
		return r;
	if ((f->flags & O_ACCMODE) == O_RDONLY)
		return -EBADF;
	if (flags & INODE_FL_APPEND)
		return -EPERM;
	if (len == 0 || off > FILE_MAX_BYTES || len > FILE_MAX_BYTES || ((off | len) & BLK_MASK) != 0)
		return -EINVAL;
	if (len > FILE_MAX_BYTES - off)
		return -EFBIG;
	rwl_rdlock(&f->inode->io_lock);
	r = check_size(&s);
	rwl_unlock(&f->inode->io_lock);
	while (r == 0) {
		r = shift_once(&s);
		if (r == 0)
			return 0;
		r = content_retry(s.inode, r, &s.wait);
	}
	return r;
}

int
fs_collapse_range(struct file *f, uint64_t off, uint64_t len)
{
	return shift_range(f, off, len, false);
}

int
fs_insert_range(struct file *f, uint64_t off, uint64_t len)
{
	return shift_range(f, off, len, true);
}
