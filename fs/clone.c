/* SPDX-License-Identifier: BSD-3-Clause */
/* Reflinks and copy_file_range(2).
 *
 * A clone shares durable blocks, so both files are written back first: what was dirty in the
 * source gets a durable block (that of a pinned block is a snapshot, which is what the clone
 * gets: the pinner keeps the block itself). Then, in one transaction and with both files locked,
 * the destination's durable map is pointed at the source's blocks, with a reference for each, and
 * its live map gives way. Holding the destination's writeback lock makes sure that no writeback is
 * under way that would map its blocks over the clone's afterwards. One of the source does no harm.
 *
 * What was written to the source between its writeback and the locks can't be shared; it is
 * copied into fresh live blocks of the destination, under the same locks, so a
 * clone is one image of the source. (So are blocks pinned for write, if anything at all was changed
 * in between.) The same goes for blocks without a checksum, which a dax inode may
 * have left behind, and for a last block with bytes behind the end of the file. Preallocated
 * blocks are never shared, because they are stored to in place: they become holes.
 *
 * With a dax file on either side nothing is shared: its blocks are stored to without a word to anybody, or
 * will be. Then all of it, holes too, becomes live in the destination, and its durable map stays what it is until
 * the next writeback, as after a write.
 *
 * All that can fail for want of space comes before the first change, and all of both durable maps
 * that will be met is read before it, so damage of the medium is found while nothing is changed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "fs/content.h"
#include "fs/layout.h"
#include "fs/pin_i.h"
#include "fs/refcount.h"
#include "fs/relocate.h"
#include "fs/writeback_i.h"

#define COPY_BYTES ((size_t)256 << 10)

enum source_how { SOURCE_HOLE, SOURCE_SHARE, SOURCE_COPY };

/* A stretch of the source, and how the destination gets it. */
struct source {
	enum source_how how;
	uint64_t len;
};

/* Fresh blocks that will be live in the destination; PBLK_NONE: a hole. */
struct piece {
	fblk_t fblk;
	pblk_t pblk;
	uint64_t len;
};

struct clone {
	struct inode *in, *out;
	uint64_t off_in, off_out, len; /* bytes */
	fblk_t src, dst;
	uint64_t nblocks;
	struct piece *piece;
	size_t npieces, maxpieces;
	bool unchanged;                /* the source is as it was before its writeback */
	bool copies;                   /* one of them is a dax file: nothing is shared */
	struct content_wait wait;
	struct inode *wait_inode;      /* whom CONTENT_UNSHARE is about */
};

/* ---- looking at the source ---------------------------------------------------- */

/* The block at fblk is the source's last one, and a direct mapping has stored behind the end. */
static bool
dirty_tail(struct inode *in, fblk_t fblk, pblk_t pblk)
{
	size_t valid = in->size & BLK_MASK;

	return valid != 0 && fblk == in->size >> BLK_SHIFT &&
	    !content_is_zero((uint8_t *)content_block(in, pblk) + valid, BLK_SIZE - valid);
}

/* What is at fblk of the source, at most max blocks. Layout lock held. */
static int
source_at(struct clone *c, fblk_t fblk, uint64_t max, struct source *s)
{
	struct inode *in = c->in;
	struct live_extent *e = live_find(&in->live, fblk);
	fblk_t tail = in->size >> BLK_SHIFT;
	struct extent x;
	int r;

	s->len = max;
	if (e != NULL && e->fblk <= fblk) {
		s->len = min_of(s->len, live_end(e) - fblk);
		/* the snapshot of what is pinned for write is durable, whether it is dirty again or not */
		if ((e->flags & (LIVE_DIRTY | LIVE_TAKEN)) && !(live_bounced(e) && c->unchanged)) {
			s->how = e->kind == LIVE_DATA ? SOURCE_COPY : SOURCE_HOLE;
			return 0;
		}
	} else if (e != NULL) {
		s->len = min_of(s->len, e->fblk - fblk);
	}
	r = extent_lookup(in, fblk, &x, NULL, 0);
	if (r < 0)
		return r;
	s->len = min_of(s->len, x.len - (fblk - x.fblk));
	if (x.pblk == PBLK_NONE || (x.flags & EXTENT_UNWRITTEN)) {
		s->how = SOURCE_HOLE;
		return 0;
	}
	s->how = (x.flags & EXTENT_NOCSUM) || c->copies ? SOURCE_COPY : SOURCE_SHARE;
	/* the last block stands for itself */
	if (fblk < tail)
		s->len = min_of(s->len, tail - fblk);
	else if (dirty_tail(in, fblk, x.pblk + (fblk - x.fblk)))
		s->how = SOURCE_COPY;
	return 0;
}

static int
add_piece(struct clone *c, fblk_t fblk, pblk_t pblk, uint64_t len)
{
	if (c->npieces == c->maxpieces) {
		size_t max = c->maxpieces ? 2 * c->maxpieces : 16;
		struct piece *p = realloc(c->piece, max * sizeof(*p));

		if (p == NULL)
			return -ENOMEM;
		c->piece = p;
		c->maxpieces = max;
	}
	c->piece[c->npieces++] = (struct piece){ fblk, pblk, len };
	return 0;
}

/* Copy the source's blocks from fblk on into fresh ones. Layout lock held. */
static int
copy_piece(struct clone *c, fblk_t fblk, uint64_t n)
{
	struct pool *p = c->in->fs->pool;
	struct domain *d = content_domain(c->in);
	uint64_t got, valid;
	struct segment s;
	pblk_t start;
	uint8_t *to;
	int r;

	for (; n > 0; fblk += got, n -= got) {
		r = segment_lookup(c->in, fblk, n, &s);
		if (r == 0)
			r = segment_verify(c->in, &s);
		if (r < 0)
			return r;
		r = pool_alloc_data(p, PBLK_NONE, s.len, 0, &start, &got);
		if (r < 0)
			return r;
		to = pool_block(p, start);
		valid = min_of(got << BLK_SHIFT, max_of(c->in->size, fblk << BLK_SHIFT) - (fblk << BLK_SHIFT));
		domain_copy(d, to, pool_block(p, s.pblk), valid);
		domain_zero(d, to + valid, (got << BLK_SHIFT) - valid);
		r = add_piece(c, c->dst + (fblk - c->src), start, got);
		if (r < 0) {
			pool_free_data(p, start, got);
			return r;
		}
	}
	return 0;
}

/* Go through the source: count the stretches, and make the copies if that is asked for. */
static int
survey(struct clone *c, bool copy, uint64_t *runs)
{
	fblk_t at = c->src, end = c->src + c->nblocks;
	struct source s;
	int r;

	for (*runs = 0; at < end; at += s.len, ++*runs) {
		r = source_at(c, at, end - at, &s);
		if (r == 0 && copy && s.how == SOURCE_COPY)
			r = copy_piece(c, at, s.len);
		else if (r == 0 && copy && c->copies && s.how == SOURCE_HOLE)
			r = add_piece(c, c->dst + (at - c->src), PBLK_NONE, s.len);
		if (r < 0)
			return r;
	}
	return 0;
}

static void
drop_pieces(struct clone *c)
{
	for (size_t k = 0; k < c->npieces; k++)
		if (c->piece[k].pblk != PBLK_NONE)
			pool_free_data(c->in->fs->pool, c->piece[k].pblk, c->piece[k].len);
	c->npieces = 0;
}

/* ---- space for reference counts ------------------------------------------------- */

/* What extent_replace() will ask the transaction for: all counts that it meets, those of n blocks
 * at pblk and of what the destination has at `to` now, may have to be split. */
static int
count_credits(struct clone *c, pblk_t pblk, fblk_t to, uint64_t n, uint64_t *credits)
{
	struct pool *p = c->in->fs->pool;
	fblk_t end = to + n;
	uint64_t runs = 0, len;
	struct extent x;
	int r = 0;

	*credits = 0;
	if (pblk != PBLK_NONE) {
		refcount_lock(p);
		r = refcount_check_locked(p, pblk, n, 1, &runs);
		refcount_unlock(p);
		*credits = refcount_credits(p, runs + 1);
	}
	for (; r == 0 && to < end; to += len) {
		r = extent_lookup(c->out, to, &x, NULL, 0);
		if (r < 0)
			break;
		len = min_of(x.len, end - to);
		if (x.pblk == PBLK_NONE)
			continue;
		refcount_lock(p);
		r = refcount_check_locked(p, x.pblk, len, -1, &runs);
		refcount_unlock(p);
		if (runs > 0 || pblk != PBLK_NONE)
			*credits += refcount_credits(p, runs + 1);
	}
	return r;
}

/* The next piece of the range, which is changed in one go. */
struct step {
	fblk_t at;
	uint64_t n;
	struct extent x;  /* shared: the source's blocks from at on */
	bool share;
	uint64_t credits; /* of reference counts */
};

/* Layout locks held. csums may be NULL. */
static int
next_step(struct clone *c, fblk_t at, struct step *st, uint32_t *csums)
{
	struct source s;
	int r;

	r = source_at(c, at, c->src + c->nblocks - at, &s);
	if (r < 0)
		return r;
	st->at = at;
	st->n = s.len;
	st->share = s.how == SOURCE_SHARE;
	st->x.pblk = PBLK_NONE;
	if (st->share) {
		st->n = min_of(s.len, (uint64_t)EXTENT_CSUM_BLOCKS_MAX);
		r = extent_lookup(c->in, at, &st->x, csums, csums != NULL ? st->n : 0);
		if (r < 0)
			return r;
		st->n = min_of(st->n, st->x.len);
	}
	return count_credits(c, st->x.pblk, c->dst + (at - c->src), st->n, &st->credits);
}

/* What all steps together will ask for, paid before the first; and all that they will meet is read, so that no
 * damage stops them half way. */
static int
prepay(struct clone *c, struct txn *t)
{
	fblk_t at = c->src, end = c->src + c->nblocks;
	uint64_t sum = 0;
	struct step st;
	int r;

	r = extent_check(c->in, c->src, c->nblocks);
	if (r == 0)
		r = extent_check(c->out, c->dst, c->nblocks);
	for (; r == 0 && at < end; at += st.n) {
		r = next_step(c, at, &st, NULL);
		sum += r == 0 ? st.credits : 0;
	}
	if (r == 0 && sum > 0)
		r = txn_extend(t, sum);
	if (r == 0)
		t->flags |= TXN_PREPAID;
	return r;
}

/* ---- changing the destination -------------------------------------------------- */

/* Durable map of the destination: the source's blocks, or a hole for what is copied. */
static int
map_out(struct clone *c, struct txn *t)
{
	struct pin_freed freed = { .inode = c->out, .keep = false };
	extent_freed_fn *fn = pin_table(c->out) ? pin_extent_freed : NULL;
	fblk_t at = c->src, end = c->src + c->nblocks;
	uint32_t csums[EXTENT_CSUM_BLOCKS_MAX];
	struct step st;
	int r = 0;

	CDS_INIT_LIST_HEAD(&freed.spares);
	for (; at < end && r == 0; at += st.n) {
		r = next_step(c, at, &st, csums);
		if (r < 0)
			break;
		r = extent_replace(t, c->out, c->dst + (at - c->src), st.x.pblk, st.n,
		    st.share ? st.x.flags : 0, st.share ? csums : NULL, st.share, fn, &freed);
	}
	return r;
}

/* Live map of the destination: only what was copied. */
static int
enter_pieces(struct clone *c)
{
	int r = 0;

	for (; c->npieces > 0 && r == 0; c->npieces--) {
		const struct piece *p = &c->piece[c->npieces - 1];

		r = live_set(&c->out->live, p->fblk, p->len, p->pblk == PBLK_NONE ? LIVE_HOLE : LIVE_DATA, p->pblk,
		    LIVE_DIRTY, content_drop, c->out);
		if (r < 0)
			break;
	}
	return r;
}

/* Both files written back and locked (layout exclusive), pieces made, credits there. */
static int
change_out(struct clone *c, struct txn *t)
{
	struct inode *out = c->out;
	int r;

	r = tree_touch(t, tree_key(out->ino, ITEM_INODE, 0));
	if (r == 0)
		r = live_prepare_changes(&out->live, (unsigned)c->npieces + 1);
	if (r < 0)
		return r;
	content_cut_pins(out, c->dst, c->dst + c->nblocks);
	r = live_remove(&out->live, c->dst, c->nblocks, content_drop, out);
	if (r == 0 && !c->copies)
		r = map_out(c, t);
	if (r == 0)
		r = enter_pieces(c);
	if (c->copies)
		return r;
	/* a part of a clone does not make the file longer */
	content_store_size(t, out, r == 0 ? max_of(out->durable_size, c->off_out + c->len) : out->durable_size);
	return r;
}

static uint64_t
change_of(struct inode *i)
{
	return __atomic_load_n(&i->change, __ATOMIC_ACQUIRE);
}

/* With the io locks held: the sizes are what they are. */
static int
check_sizes(struct clone *c)
{
	if (c->off_in > c->in->size || c->len > c->in->size - c->off_in)
		return -EINVAL;
	if (((c->off_in + c->len) & BLK_MASK) != 0 &&
	    (c->off_in + c->len != c->in->size || c->off_out + c->len < c->out->size))
		return -EINVAL;
	return 0;
}

/* Layout locks exclusive held. */
static int
clone_locked(struct clone *c, struct txn *t, uint64_t credits)
{
	uint64_t runs, need;
	int r;

	c->copies = inode_is_dax(c->in) || inode_is_dax(c->out);
	r = pin_table(c->in) ? pin_share(c->in, c->src, c->nblocks) : 0;
	if (r == -EAGAIN) {
		c->wait_inode = c->in;
		return content_want_unshare(&c->wait, c->src, c->nblocks);
	}
	if (r == 0)
		r = survey(c, true, &runs);
	if (r < 0)
		return r;
	need = extent_credits(c->out, runs, c->nblocks) + txn_credits(c->in->fs->pool, 1);
	if (need > credits)
		r = txn_extend(t, need - credits);
	if (r == 0)
		r = prepay(c, t);
	if (r == 0)
		r = change_out(c, t);
	t->flags &= ~(unsigned)TXN_PREPAID;
	return r;
}

/* One attempt. No lock held. CONTENT_UNSHARE. */
static int
clone_once(struct clone *c)
{
	struct pool *p = c->in->fs->pool;
	uint64_t credits, runs, number, change = change_of(c->in);
	struct txn t;
	int r;

	r = writeback_inode(c->in, &number);
	if (r == 0 && c->in != c->out)
		r = writeback_inode(c->out, &number);
	if (r < 0)
		return r;
	rwl_rdlock(&c->in->io_lock);
	rwl_rdlock(&c->in->layout_lock);
	r = survey(c, false, &runs);
	rwl_unlock(&c->in->layout_lock);
	rwl_unlock(&c->in->io_lock);
	if (r < 0)
		return r;

	writeback_lock(c->out);
	credits = extent_credits(c->out, runs, c->nblocks) + txn_credits(p, 1);
	r = txn_begin(p, &t, credits, 0);
	if (r == 0) {
		io_lock_both(c->in, c->out);
		r = check_sizes(c);
		if (r == 0 && c->off_out > c->out->size) {
			c->wait_inode = c->out;
			r = content_zero_tail(c->out, &c->wait);
		}
		if (r == 0) {
			layout_lock_both(c->in, c->out);
			c->unchanged = change_of(c->in) == change;
			r = clone_locked(c, &t, credits);
			layout_unlock_both(c->in, c->out);
		}
		if (r == 0)
			content_changed(c->out, max_of(c->out->size, c->off_out + c->len), true);
		io_unlock_both(c->in, c->out);
		txn_end(&t);
	}
	writeback_unlock(c->out);
	drop_pieces(c);
	return r;
}

/* What has been checked already: files, alignment, overlap. */
static int
clone_range(struct inode *in, uint64_t off_in, struct inode *out, uint64_t off_out, uint64_t len)
{
	struct clone c = {
		.in = in,
		.out = out,
		.off_in = off_in,
		.off_out = off_out,
		.len = len,
		.src = off_in >> BLK_SHIFT,
		.dst = off_out >> BLK_SHIFT,
		.nblocks = bytes_to_blocks_up(len),
		.wait_inode = out,
	};
	int r;

	do {
		r = clone_once(&c);
		if (r != 0)
			r = content_retry(c.wait_inode, r, &c.wait);
		else
			break;
	} while (r == 0);
	free(c.piece);
	return r;
}

/* ---- entry points ---------------------------------------------------------------- */

static uint64_t
size_of(struct inode *i)
{
	uint64_t size;

	mtx_lock(&i->attr_lock);
	size = i->size;
	mtx_unlock(&i->attr_lock);
	return size;
}

static int
check_files(const struct file *in, const struct file *out, uint32_t *in_flags, uint32_t *out_flags)
{
	int r;

	if (in->inode->type != S_IFREG)
		return in->inode->type == S_IFDIR ? -EISDIR : -EINVAL;
	r = content_writable(out->inode, out_flags);
	if (r < 0)
		return r;
	if ((in->flags & O_ACCMODE) == O_WRONLY || (out->flags & O_ACCMODE) == O_RDONLY ||
	    (out->flags & O_APPEND))
		return -EBADF;
	if (in->inode->fs != out->inode->fs)
		return -EXDEV;
	if (*out_flags & INODE_FL_APPEND)
		return -EPERM;
	mtx_lock(&in->inode->attr_lock);
	*in_flags = in->inode->attr.flags;
	mtx_unlock(&in->inode->attr_lock);
	return 0;
}

static bool
overlap(const struct file *in, uint64_t off_in, const struct file *out, uint64_t off_out, uint64_t len)
{
	return in->inode == out->inode && off_in < off_out + len && off_out < off_in + len;
}

int
fs_clone_range(struct file *in, uint64_t off_in, struct file *out, uint64_t off_out, uint64_t len)
{
	uint32_t in_flags, out_flags;
	uint64_t size;
	int r;

	r = check_files(in, out, &in_flags, &out_flags);
	if (r < 0)
		return r;
	if (((off_in | off_out) & BLK_MASK) != 0 || off_in > FILE_MAX_BYTES || off_out > FILE_MAX_BYTES)
		return -EINVAL;
	size = size_of(in->inode);
	if (off_in > size)
		return -EINVAL;
	if (len == 0)
		len = size - off_in;
	if (len > size - off_in)
		return -EINVAL;
	if (len > FILE_MAX_BYTES - off_out)
		return -EFBIG;
	if (len == 0)
		return 0;
	if (overlap(in, off_in, out, off_out, len))
		return -EINVAL;
	return clone_range(in->inode, off_in, out->inode, off_out, len);
}

/* Copy through memory. Returns how much, an error only if nothing was. */
static ssize_t
copy_bytes(struct inode *in, uint64_t off_in, struct inode *out, uint64_t off_out, uint64_t len)
{
	/* alignment is between a file and who opened it, not ours to keep */
	struct file from = { .inode = in, .flags = O_RDONLY }, to = { .inode = out, .flags = O_RDWR };
	uint64_t done = 0;
	uint8_t *buf;
	ssize_t n = 0, w;

	if (len == 0)
		return 0;
	buf = malloc(min_of(len, COPY_BYTES));
	if (buf == NULL)
		return -ENOMEM;
	while (done < len) {
		n = fs_read(&from, buf, min_of(len - done, COPY_BYTES), off_in + done);
		if (n <= 0)
			break;
		w = fs_write(&to, buf, (size_t)n, off_out + done, true);
		if (w > 0)
			done += (uint64_t)w;
		if (w != n) {
			n = w;
			break;
		}
	}
	free(buf);
	return done > 0 ? (ssize_t)done : n;
}

/* The whole blocks of a range that can be shared, from its first block boundary on: bytes. Up to
 * the end of the source this includes its last, partial block, if it becomes the last one there. */
static uint64_t
sharable(struct inode *in, uint64_t off_in, struct inode *out, uint64_t off_out, uint64_t len)
{
	if (((off_in | off_out) & BLK_MASK) != 0)
		return 0;
	if (off_in + len == size_of(in) && off_out + len >= size_of(out))
		return len;
	return len & ~(uint64_t)BLK_MASK;
}

/* Sharing blocks replaces those of the destination: that is a layout operation. A copy is none, and goes into blocks that are
 * leased or pinned as any write does; so rather than to break leases there, copy. */
static int
clone_if_free(struct inode *from, uint64_t off_in, struct inode *to, uint64_t off_out, uint64_t len)
{
	struct layout_op op;
	int r;

	layout_op_init(&op, to, LAYOUT_CLONE_INTO, off_out >> BLK_SHIFT, bytes_to_blocks_up(off_out + len));
	op.probe = true;
	r = layout_begin(&op);
	if (r == 0) {
		r = clone_range(from, off_in, to, off_out, len);
		layout_end(&op);
	}
	return r;
}

ssize_t
fs_copy_range(struct file *in, uint64_t off_in, struct file *out, uint64_t off_out, uint64_t len)
{
	struct inode *from = in->inode, *to = out->inode;
	uint64_t size, part, done = 0;
	uint32_t in_flags, out_flags;
	bool share;
	ssize_t n;
	int r;

	r = check_files(in, out, &in_flags, &out_flags);
	if (r < 0)
		return r;
	if (off_in > FILE_MAX_BYTES || off_out > FILE_MAX_BYTES)
		return -EINVAL;
	size = size_of(from);
	if (off_in >= size || len == 0)
		return 0;
	len = min_of(len, size - off_in);
	if (off_out >= FILE_MAX_BYTES)
		return -EFBIG;
	len = min_of(len, FILE_MAX_BYTES - off_out);
	if (overlap(in, off_in, out, off_out, len))
		return -EINVAL;
	share = ((off_in ^ off_out) & BLK_MASK) == 0 && !((in_flags | out_flags) & INODE_FL_DAX);

	/* up to the first block boundary, then whole blocks, then the rest */
	part = share ? min_of(len, -off_in & BLK_MASK) : len;
	n = copy_bytes(from, off_in, to, off_out, part);
	if (n < 0)
		return n;
	done = (uint64_t)n;
	if (done < part || done == len)
		return (ssize_t)done;
	part = sharable(from, off_in + done, to, off_out + done, len - done);
	if (part > 0 && clone_if_free(from, off_in + done, to, off_out + done, part) == 0)
		done += part;
	/* also what could not be shared, whatever the reason: if it was a good one, copying says so */
	n = copy_bytes(from, off_in + done, to, off_out + done, len - done);
	if (n > 0)
		done += (uint64_t)n;
	return done > 0 ? (ssize_t)done : n;
}
