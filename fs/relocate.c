/* SPDX-License-Identifier: BSD-3-Clause */
/* What a move of content does to pins.
 *
 * A pin is on blocks, and says so to its holder by their place in the pool: they can't follow the content, because
 * the next writeback of the file, or a store at the new place, would be theirs to obey. So the holder
 * keeps the blocks, in quarantine, and the file gets a copy of what they hold when the move takes place:
 *
 *   dirty, or pinned for write   copied into fresh blocks, which take their place in the live map, dirty.
 *                                What a tainted block holds is copied, too.
 *   read-pinned and clean        the durable map has the content already. If it is in the pinned block itself
 *                                (LIVE_DURABLE), pin_unshare() comes first; then the live map just lets go.
 *   pinned, or held, in a dax file  copied as what is dirty: late DMA must reach no other file.
 *
 * The copies are made before anything is changed, so a move that finds no space changes nothing. The holder
 * may go on storing meanwhile; what he stores after the copy is his alone, as after any cut.
 */
#include "fs/relocate.h"

#include <errno.h>
#include <stdlib.h>

#include "fs/pin_i.h"
#include "pmem/held.h"

/* ---- locks of two inodes ------------------------------------------------------ */

static void
lock_both(struct rwl *a, struct rwl *b, bool a_first)
{
	rwl_wrlock(a_first ? a : b);
	if (a != b)
		rwl_wrlock(a_first ? b : a);
}

static void
unlock_both(struct rwl *a, struct rwl *b)
{
	rwl_unlock(a);
	if (a != b)
		rwl_unlock(b);
}

void
io_lock_both(struct inode *a, struct inode *b)
{
	lock_both(&a->io_lock, &b->io_lock, a->ino <= b->ino);
}

void
io_unlock_both(struct inode *a, struct inode *b)
{
	unlock_both(&a->io_lock, &b->io_lock);
}

void
layout_lock_both(struct inode *a, struct inode *b)
{
	lock_both(&a->layout_lock, &b->layout_lock, a->ino <= b->ino);
}

void
layout_unlock_both(struct inode *a, struct inode *b)
{
	unlock_both(&a->layout_lock, &b->layout_lock);
}

/* ---- copies ------------------------------------------------------------------- */

static bool
needs_copy(const struct inode *i, const struct live_extent *e)
{
	if (e->flags & LIVE_DAX)
		return live_pinned(e) || held_any(i->fs->pool, e->pblk, e->len);
	return live_held(e) && e->kind == LIVE_DATA && (live_bounced(e) || (e->flags & LIVE_DIRTY));
}

/* Blocks of a dax file that late DMA may reach, and that only the durable map has: into the live map with them, to be
 * copied. If nothing comes of that, a writeback takes them out again. */
static int
enter_held(const struct relocation *m)
{
	struct inode *i = m->inode;
	fblk_t at, end;
	struct segment s;
	int r;

	r = content_end(i, &end);
	end = min_of(end, m->end);
	for (at = m->fblk; r == 0 && at < end; at += s.len) {
		r = segment_lookup(i, at, end - at, &s);
		if (r < 0 || s.live || !(s.extent_flags & EXTENT_NOCSUM) || !held_any(i->fs->pool, s.pblk, s.len))
			continue;
		r = live_set(&i->live, at, s.len, LIVE_DATA, s.pblk, LIVE_DURABLE | LIVE_DAX | LIVE_DIRTY, NULL, NULL);
		inode_mark_dirty(i);
	}
	return r;
}

static int
add_copy(struct relocation *m, fblk_t fblk, pblk_t pblk, uint64_t len)
{
	if (m->ncopies == m->space) {
		size_t space = m->space ? 2 * m->space : 16;
		struct relocate_copy *more = reallocarray(m->copy, space, sizeof(*more));

		if (!more)
			return -ENOMEM;
		m->copy = more;
		m->space = space;
	}
	m->copy[m->ncopies++] = (struct relocate_copy){ fblk, pblk, len };
	return 0;
}

/* The extent at fblk becomes one for each run of fresh blocks. */
static int
copy_extent(struct relocation *m, fblk_t fblk)
{
	struct inode *i = m->inode;
	struct pool *p = i->fs->pool;
	struct live_extent *e = live_find(&i->live, fblk);
	fblk_t end = live_end(e);
	uint64_t got;
	pblk_t start;
	int r;

	for (; fblk < end; fblk += got) {
		r = pool_alloc_data(p, PBLK_NONE, end - fblk, 0, &start, &got);
		if (r < 0)
			return r;
		r = live_split(&i->live, fblk + got);
		if (r == 0)
			r = add_copy(m, fblk, start, got);
		if (r < 0) {
			pool_free_data(p, start, got);
			return r;
		}
		e = live_find(&i->live, fblk);
		domain_copy(content_domain(i), pool_block(p, start), pool_block(p, e->pblk), got << BLK_SHIFT);
	}
	return 0;
}

static int
copy_pinned(struct relocation *m, struct content_wait *w)
{
	struct live_map *map = &m->inode->live;
	struct live_extent *e;
	fblk_t at, next;
	int r;

	for (e = live_find(map, m->fblk); e && e->fblk < m->end; e = live_next(map, e))
		if ((e->flags & (LIVE_DURABLE | LIVE_DAX)) == LIVE_DURABLE)
			return content_want_unshare(w, e->fblk, m->end - e->fblk);
	for (at = m->fblk; (e = live_find(map, at)) != NULL && e->fblk < m->end; at = next) {
		next = live_end(e); /* the copy may be in pieces, and then e is divided */
		if (!needs_copy(m->inode, e))
			continue;
		r = copy_extent(m, e->fblk);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- entry points -------------------------------------------------------------- */

int
relocate_prepare(struct relocation *m, struct txn *t, struct inode *i, fblk_t fblk, fblk_t end,
    struct content_wait *w)
{
	int r;

	*m = (struct relocation){ .inode = i, .fblk = fblk, .end = end };
	r = live_split(&i->live, fblk);
	if (r == 0)
		r = live_split(&i->live, end);
	if (r == 0 && inode_is_dax(i))
		r = enter_held(m);
	if (r == 0)
		r = copy_pinned(m, w);
	if (r == 0)
		r = live_prepare(&i->live);
	if (r == 0)
		r = extent_split(t, i, fblk);
	if (r == 0)
		r = extent_split(t, i, end);
	if (r == 0)
		r = extent_list_read(&m->durable, i, fblk, end);
	return r;
}

uint64_t
relocate_credits(const struct relocation *m)
{
	return extent_list_credits(m->inode->fs->pool, &m->durable);
}

void
relocate_cut(struct relocation *m)
{
	struct inode *i = m->inode;
	struct live_extent *e, *next;
	size_t k = 0;

	content_cut_pins(i, m->fblk, m->end);
	for (e = live_find(&i->live, m->fblk); e && e->fblk < m->end; e = next) {
		next = live_next(&i->live, e);
		if (k < m->ncopies && m->copy[k].fblk == e->fblk)
			live_repoint(&i->live, e, m->copy[k++].pblk);
		else if (live_held(e))
			live_remove(&i->live, e->fblk, e->len, NULL, NULL);
	}
	m->ncopies = 0;
}

void
relocate_free(struct relocation *m)
{
	for (size_t k = 0; k < m->ncopies; k++)
		pool_free_data(m->inode->fs->pool, m->copy[k].pblk, m->copy[k].len);
	free(m->copy);
	extent_list_free(&m->durable);
	*m = (struct relocation){ 0 };
}
