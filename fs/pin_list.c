/* SPDX-License-Identifier: BSD-3-Clause */
/* Telling what is pinned, and by whom.
 *
 * Pins of an inode are told in the order of their ids, so the last one told is all that has to be remembered
 * between two calls, whatever comes and goes. A pin is told as a whole: a call has room for the ranges of one.
 *
 * For the whole mount the inodes come by their numbers. Pins and leases belong to open files, so these are gone through
 * for the next few inodes that have any.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/lease_i.h"
#include "fs/pin_i.h"
#include "fs/track.h"

#define LOOKED_AT 4096u /* pins of others that one call passes over with the layout lock held */

static enum fs_pinned
writeback_of(const struct pin *pin)
{
	static const enum fs_pinned how[] = {
		[COUNT_READ] = FS_PINNED_DEFAULT,
		[COUNT_BOUNCE] = FS_PINNED_BOUNCE,
		[COUNT_WAIT] = FS_PINNED_WAIT,
		[COUNT_FAIL] = FS_PINNED_FAIL,
		[COUNT_SKIP] = FS_PINNED_SKIP,
		[COUNT_HOLDER] = FS_PINNED_HOLDER,
	};

	return how[pin->count];
}

/* The runs of blocks from ext *k on that follow each other in the file: *k moves behind them. */
static void
next_range(const struct pin *pin, uint32_t *k, struct pin_info *info)
{
	const struct pin_ext *x = &pin->ext[*k];

	info->off = x->fblk << BLK_SHIFT;
	info->len = x->len << BLK_SHIFT;
	for (++*k; *k < pin->next && pin->ext[*k].fblk == x->fblk + x->len; ++*k) {
		x = &pin->ext[*k];
		info->len += x->len << BLK_SHIFT;
	}
}

/* All ranges of the pin, if there is room: how many. 0: there is not. */
static unsigned
tell(const struct pin *pin, struct pin_info *out, unsigned room)
{
	uint32_t k = 0;
	unsigned n = 0;

	for (; k < pin->next && n < room; n++) {
		out[n] = (struct pin_info){
			.id = pin->id,
			.since_ns = pin->since_ns,
			.tgid = pin->tgid,
			.uid = pin->uid,
			.class = (enum pin_class)pin->class,
			.access = pin->count == COUNT_READ ? PIN_READ : PIN_WRITE,
			.writeback = writeback_of(pin),
			.tracked = track_blocks(pin) == pin->blocks,
			.cut = pin->cut,
		};
		next_range(pin, &k, &out[n]);
	}
	return k == pin->next ? n : 0;
}

unsigned
pin_list(struct inode *i, uint64_t *after, uid_t uid, struct pin_info *out, unsigned max)
{
	struct lease_table *lt;
	unsigned n = 0, looked = 0, told;
	struct pin *pin;

	rwl_rdlock(&i->layout_lock);
	lt = lease_table(i);
	if (lt)
		mtx_lock(&lt->lock);
	for (pin = pin_after(i, *after); pin && looked < LOOKED_AT; pin = pin_after(i, *after), looked++) {
		if (uid == PIN_LIST_ALL || pin->uid == uid) {
			told = tell(pin, out + n, max - n);
			if (told == 0)
				break;
			n += told;
		}
		*after = pin->id;
	}
	if (!pin)
		*after = UINT64_MAX;
	if (lt)
		mtx_unlock(&lt->lock);
	rwl_unlock(&i->layout_lock);
	return n;
}

static bool
has_any(const struct inode *i)
{
	const struct pin_table *pt = pin_table(i);

	return (pt && __atomic_load_n(&pt->npins, __ATOMIC_RELAXED) > 0) || lease_table(i);
}

unsigned
pin_inodes(struct fs *fs, uint64_t from, struct inode **out, unsigned max)
{
	unsigned n = 0, at;
	struct file *f;

	mtx_lock(&fs->open_lock);
	cds_list_for_each_entry(f, &fs->open, open_link) {
		struct inode *i = f->inode;

		if (i->ino < from || !has_any(i))
			continue;
		for (at = n; at > 0 && out[at - 1]->ino > i->ino; at--)
			;
		if (at == max || (at > 0 && out[at - 1] == i))
			continue;
		/* the open file has a reference, so those in the list are safe as long as it is locked */
		n -= n == max;
		memmove(out + at + 1, out + at, (n - at) * sizeof(out[0]));
		out[at] = i;
		n++;
	}
	for (at = 0; at < n; at++)
		inode_hold(out[at]);
	mtx_unlock(&fs->open_lock);
	return n;
}

/* ---- the blocks of a pin --------------------------------------------------------------------- */

/* How many of the n blocks at fblk, which were pblk.. when they were pinned, are in the file now, or are not (*cut). */
static uint64_t
cut_run(const struct inode *i, fblk_t fblk, pblk_t pblk, uint64_t n, bool *cut)
{
	struct live_extent *e = live_find(&i->live, fblk);

	*cut = true;
	if (!e)
		return n;
	if (e->fblk > fblk)
		return min_of(n, e->fblk - fblk);
	*cut = e->kind == LIVE_HOLE || e->pblk + (fblk - e->fblk) != pblk;
	return min_of(n, live_end(e) - fblk);
}

/* The next one, from block `skip` of x on. */
static void
next_extent(const struct inode *i, const struct pin_ext *x, uint64_t skip, struct map_extent *out)
{
	uint64_t n = x->len - skip, done, more;
	fblk_t fblk = x->fblk + skip;
	bool cut = false, next;

	*out = (struct map_extent){ .off = fblk << BLK_SHIFT, .pool_off = UINT64_MAX, .flags = MAP_HOLE };
	if (x->pblk != PBLK_NONE) {
		for (done = cut_run(i, fblk, x->pblk + skip, n, &cut); done < n; done += more) {
			more = cut_run(i, fblk + done, x->pblk + skip + done, n - done, &next);
			if (next != cut)
				break;
		}
		n = done;
		out->pool_off = (x->pblk + skip) << BLK_SHIFT;
		out->flags = cut ? MAP_CUT : 0;
	}
	out->len = n << BLK_SHIFT;
}

int
pin_extents(struct file *f, uint64_t id, uint64_t *cursor, struct map_extent *out, int max)
{
	struct inode *i = f->inode;
	uint64_t before = 0, at = *cursor;
	struct pin *pin;
	int n = 0;

	rwl_rdlock(&i->layout_lock);
	pin = pin_find(f, id);
	for (uint32_t k = 0; pin && k < pin->next; k++) {
		const struct pin_ext *x = &pin->ext[k];

		for (; at >= before && at < before + x->len && n < max; n++) {
			next_extent(i, x, at - before, &out[n]);
			at += out[n].len >> BLK_SHIFT;
		}
		before += x->len;
		if (n == max)
			break;
	}
	*cursor = pin && at < pin->blocks ? at : 0;
	rwl_unlock(&i->layout_lock);
	return pin ? n : -ENOENT;
}
