/* SPDX-License-Identifier: BSD-3-Clause */
/* Two ranges change places, of two files or of one.
 *
 * As collapsing and inserting (shift.c): both files are written back; then, with the writebacks of both kept
 * away and all locks of both held, the extents of the ranges change places in one
 * transaction, and so do those of the live maps. After a crash both files have the one or both have
 * the other content, as of the writebacks.
 *
 * What was cut from a file while it was pinned and durable belongs to the pins of that
 * file as soon as its durable map lets go (quarantine.c). The map of another file would not tell them; so
 * where such a block is found, which can only be if it was cut after the writeback, all is done again.
 */
#include <errno.h>
#include <fcntl.h>

#include "fs/pin_i.h"
#include "fs/relocate.h"
#include "fs/writeback_i.h"

/* One of the two. */
struct end {
	struct inode *inode;
	uint64_t off;
	uint64_t size, durable_size; /* after it */
	struct relocation moved;
};

struct exchange {
	struct end a, b;
	uint64_t len;            /* bytes; 0: to the ends of both */
	struct content_wait wait;
	struct inode *wait_inode;
};

static fblk_t
first(const struct end *e)
{
	return e->off >> BLK_SHIFT;
}

/* Bytes of a file of that size from the range's start on. */
static uint64_t
tail(const struct end *e, uint64_t size)
{
	return size > e->off ? size - e->off : 0;
}

/* The size that e gets with what is behind off of the other file; its own beginning may end before. */
static uint64_t
with_tail(const struct end *e, uint64_t size, uint64_t other_tail)
{
	return other_tail > 0 ? e->off + other_tail : min_of(size, e->off);
}

/* With the io locks held, or just to find out early. */
static int
check_sizes(struct exchange *x)
{
	uint64_t size_a = x->a.inode->size, size_b = x->b.inode->size;
	uint64_t tail_a = tail(&x->a, size_a), tail_b = tail(&x->b, size_b);

	if (x->a.off > size_a || x->b.off > size_b)
		return -EINVAL;
	x->a.size = size_a;
	x->b.size = size_b;
	if (x->len > 0) {
		if (x->len > tail_a || x->len > tail_b)
			return -EINVAL;
		return (x->len & BLK_MASK) != 0 && (x->len != tail_a || x->len != tail_b) ? -EINVAL : 0;
	}
	if (x->a.inode == x->b.inode)
		return -EINVAL;
	if (tail_b > FILE_MAX_BYTES - x->a.off || tail_a > FILE_MAX_BYTES - x->b.off)
		return -EFBIG;
	x->a.size = x->a.off + tail_b;
	x->b.size = x->b.off + tail_a;
	return 0;
}

/* Layout locks held: blocks to exchange, and the durable sizes after it. */
static int
measure(struct exchange *x, uint64_t *n)
{
	struct inode *a = x->a.inode, *b = x->b.inode;
	uint64_t size_a = a->durable_size, size_b = b->durable_size;
	fblk_t end_a, end_b, first_a = first(&x->a), first_b = first(&x->b);
	int r;

	if (x->len > 0) {
		/* if a file grew since its writeback, what comes to it is more than it had */
		*n = bytes_to_blocks_up(x->len);
		x->a.durable_size = max_of(size_a, x->a.off + x->len);
		x->b.durable_size = max_of(size_b, x->b.off + x->len);
		return 0;
	}
	r = content_end(a, &end_a);
	if (r == 0)
		r = content_end(b, &end_b);
	if (r < 0)
		return r;
	*n = max_of(end_a > first_a ? end_a - first_a : 0, end_b > first_b ? end_b - first_b : 0);
	if (*n > FBLK_MAX + 1 - max_of(first_a, first_b))
		return -EFBIG;
	x->a.durable_size = with_tail(&x->a, size_a, tail(&x->b, size_b));
	x->b.durable_size = with_tail(&x->b, size_b, tail(&x->a, size_a));
	return 0;
}

static int
prepare_end(struct exchange *x, struct end *e, struct txn *t, uint64_t n)
{
	struct inode *i = e->inode;
	int r;

	x->wait_inode = i;
	if (x->a.inode != x->b.inode && pin_quarantine_durable(i))
		return -EAGAIN;
	r = relocate_prepare(&e->moved, t, i, first(e), first(e) + n, &x->wait);
	/* A dax file's pinned blocks must not come to the other: they are cut loose, and copies written back first. */
	if (r == 0 && x->a.inode != x->b.inode && inode_is_dax(i) && e->moved.ncopies > 0) {
		relocate_cut(&e->moved);
		return -EAGAIN;
	}
	return r;
}

static int
touch_end(const struct end *e, struct txn *t)
{
	int r = tree_touch(t, tree_key(e->inode->ino, ITEM_INODE, 0));

	return r == 0 ? tree_touch(t, tree_key(e->inode->ino, ITEM_EXTENT, e->moved.end)) : r;
}

/* Layout locks exclusive. CONTENT_UNSHARE. -EAGAIN. */
static int
exchange_locked(struct exchange *x, struct txn *t)
{
	struct relocation *a = &x->a.moved, *b = &x->b.moved;
	uint64_t n;
	int r;

	r = measure(x, &n);
	if (r < 0)
		return r;
	r = prepare_end(x, &x->a, t, n);
	if (r == 0)
		r = prepare_end(x, &x->b, t, n);
	if (r == 0)
		r = txn_extend(t, relocate_credits(a) + relocate_credits(b) + 2 * txn_credits(t->pool, 1));
	if (r == 0)
		r = touch_end(&x->a, t);
	if (r == 0)
		r = touch_end(&x->b, t);
	if (r != 0)
		return r;
	relocate_cut(a);
	relocate_cut(b);
	r = extent_list_take(t, a->inode, &a->durable);
	if (r == 0)
		r = extent_list_take(t, b->inode, &b->durable);
	if (r == 0)
		r = extent_list_put(t, b->inode, &a->durable, a->fblk, b->fblk);
	if (r == 0)
		r = extent_list_put(t, a->inode, &b->durable, b->fblk, a->fblk);
	live_exchange(&a->inode->live, a->fblk, &b->inode->live, b->fblk, n);
	content_store_size(t, a->inode, x->a.durable_size);
	content_store_size(t, b->inode, x->a.inode == x->b.inode ?
	    max_of(x->a.durable_size, x->b.durable_size) : x->b.durable_size);
	return r;
}

/* One attempt. No lock held. CONTENT_UNSHARE. */
static int
exchange_once(struct exchange *x)
{
	struct inode *a = x->a.inode, *b = x->b.inode;
	struct pool *p = a->fs->pool;
	uint64_t number;
	struct txn t;
	int r;

	r = writeback_inode(a, &number);
	if (r == 0 && a != b)
		r = writeback_inode(b, &number);
	if (r < 0)
		return r;
	writeback_lock_both(a, b);
	r = txn_begin(p, &t, 2 * extent_split_credits(a) + 2 * extent_split_credits(b), 0);
	if (r == 0) {
		io_lock_both(a, b);
		r = inode_is_dax(a) == inode_is_dax(b) ? check_sizes(x) : -EINVAL;
		if (r == 0) {
			layout_lock_both(a, b);
			r = exchange_locked(x, &t);
			layout_unlock_both(a, b);
		}
		if (r == 0) {
			content_changed(a, x->a.size, false);
			if (a != b)
				content_changed(b, x->b.size, false);
		}
		io_unlock_both(a, b);
		number = txn_number(&t);
		txn_end(&t);
	}
	relocate_free(&x->a.moved);
	relocate_free(&x->b.moved);
	writeback_unlock_both(a, b);
	pin_settle(a);
	if (a != b)
		pin_settle(b);
	return r == 0 && (inode_is_dax(a) || inode_is_dax(b)) ? txn_commit_wait(p, number) : r;
}

static int
check_files(const struct file *a, const struct file *b)
{
	const struct file *f[2] = { a, b };
	uint32_t flags[2];
	int r;

	for (int k = 0; k < 2; k++) {
		r = content_writable(f[k]->inode, &flags[k]);
		if (r < 0)
			return r;
	}
	for (int k = 0; k < 2; k++)
		if ((f[k]->flags & O_ACCMODE) != O_RDWR || (f[k]->flags & O_APPEND))
			return -EBADF;
	if (a->inode->fs != b->inode->fs)
		return -EXDEV;
	if ((flags[0] | flags[1]) & INODE_FL_APPEND)
		return -EPERM;
	return (flags[0] ^ flags[1]) & INODE_FL_DAX ? -EINVAL : 0;
}

int
fs_exchange_range(struct file *a, uint64_t off_a, struct file *b, uint64_t off_b, uint64_t len)
{
	struct exchange x = {
		.a = { .inode = a->inode, .off = off_a },
		.b = { .inode = b->inode, .off = off_b },
		.len = len,
	};
	int r;

	r = check_files(a, b);
	if (r < 0)
		return r;
	if (((off_a | off_b) & BLK_MASK) != 0 || off_a > FILE_MAX_BYTES || off_b > FILE_MAX_BYTES ||
	    len > FILE_MAX_BYTES - max_of(off_a, off_b))
		return -EINVAL;
	if (a->inode == b->inode && off_a < off_b + len && off_b < off_a + len)
		return -EINVAL;
	io_lock_both(a->inode, b->inode);
	r = check_sizes(&x);
	io_unlock_both(a->inode, b->inode);
	while (r == 0) {
		r = exchange_once(&x);
		if (r == 0)
			return 0;
		r = r == -EAGAIN ? 0 : content_retry(x.wait_inode, r, &x.wait);
	}
	return r;
}
