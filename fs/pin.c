/* SPDX-License-Identifier: BSD-3-Clause */
/* Pins: taking and dropping them.
 *
 * Where a pin is recorded: the live extents it covers count it (wpins, rpins), and the pin
 * itself knows which runs of blocks it fixed. No search by range is ever needed: all that concerns a
 * block is in the extent that has it or, when the file has let go of it, in the quarantine
 * (quarantine.c). The table of an inode finds a pin by its id.
 *
 * Taking one:
 *   1. with the writeback and the io lock held, bring the blocks into shape (pin_prepare.c). The
 *      former means that nothing is LIVE_TAKEN, the latter that content and size stand still.
 *   2. reserve what bounces of newly write-pinned blocks will need (bounce.c)
 *   3. make the pin, count it everywhere. Nothing can fail any more from here on.
 * If 1 or 2 lack something that has to be done without locks (pin_unshare, making space), all is
 * dropped and tried again.
 *
 * A user's pins together may cover fs->opt.pin_limit bytes (users.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/lease_i.h"
#include "fs/pin_i.h"
#include "fs/refcount.h"
#include "fs/track.h"
#include "fs/users.h"
#include "fs/writeback_i.h"

#define DROP_BATCH 256u /* pins that pin_drop_all drops at a time */

static int
pin_cmp(const struct pin *a, const struct pin *b)
{
	return a->id < b->id ? -1 : a->id > b->id;
}

RB_GENERATE_INTERNAL(pin_tree, pin, link, pin_cmp, static __attribute__((unused)))

static uint64_t last_id; /* atomic */

/* ---- the table ---------------------------------------------------------------------------- */

struct pin_table *
pin_table_make(struct inode *i)
{
	struct pin_table *pt = pin_table(i);

	if (pt)
		return pt;
	pt = calloc(1, sizeof(*pt));
	if (!pt)
		return NULL;
	RB_INIT(&pt->pins);
	RB_INIT(&pt->quarantine);
	CDS_INIT_LIST_HEAD(&pt->moves);
	CDS_INIT_LIST_HEAD(&pt->tracks);
	bounce_init(pt);
	__atomic_store_n(&i->pins, pt, __ATOMIC_RELEASE);
	return pt;
}

void
pin_evict(struct inode *i)
{
	struct pin_table *pt = pin_table(i);
	struct quarantined *q, *qnext;
	struct spare *s, *snext;
	struct move *m, *mnext;

	if (!pt)
		return;
	pin_settle(i);
	/* The rest can be there only if the filesystem is being abandoned, or a commit has failed. */
	quarantine_clear(pt);
	cds_list_for_each_entry_safe(q, qnext, &pt->dead, dead_link)
		free(q);
	cds_list_for_each_entry_safe(s, snext, &pt->spares, link)
		free(s);
	cds_list_for_each_entry_safe(m, mnext, &pt->moves, link)
		free(m);
	if (pt->reserved > 0)
		alloc_unreserve(pool_alloc(i->fs->pool), pt->reserved);
	mtx_destroy(&pt->lock);
	i->pins = NULL;
	free(pt);
}

static void
count_pin(struct inode *i, const struct pin *pin, int sign)
{
	struct fs_counters *c = &i->fs->counters;
	struct pin_table *pt = pin_table(i);
	uint64_t one = (uint64_t)(int64_t)sign;

	__atomic_fetch_add(&pt->npins, one, __ATOMIC_RELAXED);
	if (pin->count != COUNT_READ)
		__atomic_fetch_add(&pt->nwpins, one, __ATOMIC_RELEASE);
	if (pin->count == COUNT_WAIT)
		__atomic_fetch_add(&pt->nwait, one, __ATOMIC_RELAXED);
	__atomic_fetch_add(&c->pins, one, __ATOMIC_RELAXED);
	__atomic_fetch_add(&c->pinned_blocks, one * pin->blocks, __ATOMIC_RELAXED);
}

bool
inode_write_pinned(struct inode *i)
{
	struct pin_table *pt = pin_table(i);

	return pt && __atomic_load_n(&pt->nwpins, __ATOMIC_ACQUIRE) > 0;
}

void
pin_counts(struct inode *i, uint64_t *read, uint64_t *write)
{
	struct pin_table *pt = pin_table(i);

	*write = pt ? __atomic_load_n(&pt->nwpins, __ATOMIC_RELAXED) : 0;
	*read = pt ? __atomic_load_n(&pt->npins, __ATOMIC_RELAXED) : 0;
	*read -= min_of(*read, *write);
}

void
pin_each(struct inode *i, void (*fn)(void *arg, struct pin *pin), void *arg)
{
	struct pin *pin;

	RB_FOREACH(pin, pin_tree, &pin_table(i)->pins)
		fn(arg, pin);
}

/* ---- taking a pin --------------------------------------------------------------------------- */

/* What the caller asked for, rounded out to blocks. */
struct request {
	struct file *file;
	const struct pin_params *params;
	enum pin_class class;
	enum pin_count count;
	bool write, grow;
	bool dax;          /* the inode is */
	bool leased;       /* all ranges are, by the open file */
	bool refused;      /* because of leases: not to be tried again */
	struct pin_range *range;
	unsigned n;
	uint64_t end;      /* highest byte asked for, + 1; of those to be allocated */
	uint64_t blocks;
	uid_t uid;
	pid_t tgid;
};

static fblk_t
range_start(const struct pin_range *r)
{
	return r->off >> BLK_SHIFT;
}

static fblk_t
range_end(const struct pin_range *r)
{
	return (r->off + r->len) >> BLK_SHIFT;
}

static int
check_request(const struct file *f, const struct pin_params *pp, const struct pin_range *r, unsigned n)
{
	int mode = f->flags & O_ACCMODE;
	bool write = pp->access == PIN_WRITE;
	uint32_t flags;
	int err;

	if (!inode_is_reg(f->inode) || n == 0 || (pp->flags & ~(unsigned)PIN_ALLOC) ||
	    (!write && (pp->access != PIN_READ || pp->flags || pp->writeback != FS_PINNED_DEFAULT)) ||
	    pp->class < PIN_TRANSIENT || pp->class > PIN_FAULTABLE ||
	    pp->writeback > FS_PINNED_HOLDER || (pp->writeback == FS_PINNED_WAIT && pp->class != PIN_TRANSIENT))
		return -EINVAL;
	for (unsigned k = 0; k < n; k++)
		if (r[k].len == 0 || r[k].off > FILE_MAX_BYTES || r[k].len > FILE_MAX_BYTES - r[k].off)
			return -EINVAL;
	if (mode == O_WRONLY || (write && mode != O_RDWR))
		return -EBADF;
	if (pp->writeback == FS_PINNED_SKIP && !f->inode->fs->opt.allow_skip)
		return -EPERM;
	if (!write)
		return 0;
	/* The descriptor may be older than the flags. */
	err = content_writable(f->inode, &flags);
	return err == 0 && (flags & INODE_FL_APPEND) ? -EPERM : err;
}

/* Nothing of a dax file is bounced, so there is nothing to say about it. */
static enum pin_count
how_counted(const struct fs_options *o, const struct pin_params *pp, bool dax)
{
	static const enum pin_count count[] = {
		[FS_PINNED_BOUNCE] = COUNT_BOUNCE,
		[FS_PINNED_WAIT] = COUNT_WAIT,
		[FS_PINNED_FAIL] = COUNT_FAIL,
		[FS_PINNED_SKIP] = COUNT_SKIP,
		[FS_PINNED_HOLDER] = COUNT_HOLDER,
	};

	if (pp->access == PIN_READ)
		return COUNT_READ;
	if (dax)
		return COUNT_BOUNCE;
	if (pp->writeback != FS_PINNED_DEFAULT)
		return count[pp->writeback];
	return count[pp->class == PIN_TRANSIENT ? o->pinned_transient : o->pinned_longterm];
}

/* Round out to blocks, and count these. */
static void
round_ranges(struct request *q)
{
	for (unsigned k = 0; k < q->n; k++) {
		struct pin_range *r = &q->range[k];
		uint64_t end = r->off + r->len;

		q->end = max_of(q->end, end);
		r->off &= ~(uint64_t)BLK_MASK;
		r->len = (bytes_to_blocks_up(end) << BLK_SHIFT) - r->off;
		q->blocks += r->len >> BLK_SHIFT;
	}
}

/* With the io lock held: the size stands still. */
static int
check_size(struct request *q, struct content_wait *w)
{
	struct inode *i = q->file->inode;

	if (bytes_to_blocks_up(q->end) <= bytes_to_blocks_up(i->size) && !q->grow)
		return 0;
	if (!q->grow)
		return -EINVAL;
	return q->end > i->size ? content_zero_tail(i, w) : 0;
}

/* How many of the n blocks at fblk have, or don't have, a durable block that is theirs alone. */
static int
backed_run(struct inode *i, fblk_t fblk, uint64_t *n, bool *backed)
{
	struct extent x;
	uint32_t owners;
	int r;

	*backed = false;
	if (i->durable_blocks == 0)
		return 0;
	r = extent_lookup(i, fblk, &x, NULL, 0);
	if (r < 0)
		return r;
	*n = min_of(*n, x.len - (fblk - x.fblk));
	if (x.pblk == PBLK_NONE)
		return 0;
	r = refcount_get(i->fs->pool, x.pblk + (fblk - x.fblk), *n, &owners, n);
	*backed = r == 0 && owners == 1;
	return r;
}

static void
forget_backed(struct request *q)
{
	struct live_map *m = &q->file->inode->live;

	for (unsigned k = 0; k < q->n; k++) {
		const struct pin_range *r = &q->range[k];
		struct live_extent *e;

		for (e = live_find(m, range_start(r)); e && e->fblk < range_end(r); e = live_next(m, e))
			if (!live_bounced(e))
				live_change_flags(m, e, 0, LIVE_BACKED);
		live_merge(m, range_start(r), range_end(r) - range_start(r));
	}
}

/* Reserve for the blocks that will have to be bounced: *reserved. They are marked if they are backed. */
static int
reserve(struct request *q, uint64_t *reserved)
{
	struct inode *i = q->file->inode;
	struct pool *p = i->fs->pool;
	struct live_map *m = &i->live;
	uint64_t need = 0, n;
	bool backed;
	int r = 0;

	for (unsigned k = 0; k < q->n && r == 0; k++) {
		fblk_t at = range_start(&q->range[k]), end = range_end(&q->range[k]);

		for (; at < end && r == 0; at += n) {
			struct live_extent *e = live_find(m, at);

			n = min_of(live_end(e), end) - at;
			if (live_bounced(e))
				continue;
			r = backed_run(i, at, &n, &backed);
			if (r == 0)
				r = live_split(m, at + n);
			if (r < 0)
				break;
			live_change_flags(m, live_find(m, at), backed ? LIVE_BACKED : 0, backed ? 0 : LIVE_BACKED);
			need += backed ? n : 2 * n;
		}
	}
	if (r == 0)
		r = alloc_reserve(pool_alloc(p), need, pool_meta_reserve(p));
	if (r < 0)
		forget_backed(q);
	*reserved = r == 0 ? need : 0;
	return r;
}

/* The next run of a range as a pin remembers it: from at on. */
static struct pin_ext
next_ext(const struct live_map *m, fblk_t at, fblk_t end)
{
	struct pin_ext x = { .fblk = at, .pblk = PBLK_NONE };
	struct live_extent *e = live_find(m, at);

	for (; e && e->fblk < end; e = live_next(m, e)) {
		bool data = e->kind == LIVE_DATA && e->fblk <= at;
		pblk_t pblk = data ? e->pblk + (at - e->fblk) : PBLK_NONE;

		if (x.len > 0 && (x.pblk == PBLK_NONE ? data : !data || x.pblk + x.len != pblk))
			return x;
		if (data && x.len == 0)
			x.pblk = pblk;
		if (e->fblk > at && e->kind == LIVE_DATA) {
			/* a gap up to it */
			x.len += e->fblk - at;
			return x;
		}
		x.len += min_of(live_end(e), end) - at;
		at = x.fblk + x.len;
	}
	if (x.pblk == PBLK_NONE)
		x.len = end - x.fblk;
	return x;
}

static struct pin *
make_pin(const struct request *q)
{
	const struct live_map *m = &q->file->inode->live;
	struct timespec ts;
	struct pin *pin;
	uint32_t n = 0;

	for (unsigned k = 0; k < q->n; k++) {
		fblk_t at = range_start(&q->range[k]), end = range_end(&q->range[k]);

		for (; at < end; n++)
			at += next_ext(m, at, end).len;
	}
	pin = malloc(sizeof(*pin) + n * sizeof(pin->ext[0]));
	if (!pin)
		return NULL;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	pin->file = q->file;
	pin->id = __atomic_add_fetch(&last_id, 1, __ATOMIC_RELAXED);
	pin->since_ns = (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
	pin->blocks = q->blocks;
	pin->uid = q->uid;
	pin->tgid = q->tgid;
	pin->class = (uint8_t)q->class;
	pin->count = q->count;
	pin->leased = q->leased;
	pin->cut = false;
	pin->tracks = NULL;
	pin->next = n;
	n = 0;
	for (unsigned k = 0; k < q->n; k++) {
		struct pin_range *r = &q->range[k];
		fblk_t at = range_start(r), end = range_end(r);
		bool first = true;

		for (; at < end; n++) {
			struct pin_ext x = next_ext(m, at, end);

			pin->ext[n] = x;
			at += x.len;
			if (first) {
				r->pool_off = x.pblk == PBLK_NONE ? UINT64_MAX : x.pblk << BLK_SHIFT;
				r->ext_len = x.len << BLK_SHIFT;
			}
			first = false;
		}
	}
	return pin;
}

/* Count the pin in the live map. The boundaries of its ranges are split. Returns what is left of `reserved`. */
static uint64_t
count_everywhere(struct inode *i, const struct pin *pin, uint64_t reserved)
{
	struct live_map *m = &i->live;
	struct pin_table *pt = pin_table(i);

	for (uint32_t k = 0; k < pin->next; k++) {
		const struct pin_ext *x = &pin->ext[k];
		struct live_extent *e;

		if (x->pblk == PBLK_NONE)
			continue;
		for (e = live_find(m, x->fblk); e && e->fblk < x->fblk + x->len; e = live_next(m, e)) {
			bool backed = (e->flags & LIVE_BACKED) != 0;
			uint64_t need = backed ? e->len : 2 * e->len;

			if (pin->count == COUNT_READ) {
				live_count(e, COUNT_READ, 1);
				continue;
			}
			if (!live_bounced(e) && !(e->flags & LIVE_DAX)) {
				bounce_join(pt, e->len, backed, need);
				reserved -= need;
			}
			live_count(e, pin->count, 1);
			live_change_flags(m, e, LIVE_DIRTY, 0);
		}
	}
	for (uint32_t k = 0; k < pin->next; k++)
		live_merge(m, pin->ext[k].fblk, pin->ext[k].len);
	return reserved;
}

static int
check_leases(struct request *q)
{
	int r = lease_check_pin(q->file, q->range, q->n, q->class != PIN_TRANSIENT, &q->leased);

	q->refused = r < 0;
	return r;
}

/* Who says alone what becomes durable can't share that with others who store. */
static int
check_holders(const struct request *q)
{
	struct live_extent *e;

	for (unsigned k = 0; q->write && k < q->n; k++) {
		const struct pin_range *r = &q->range[k];

		e = live_find(&q->file->inode->live, range_start(r));
		for (; e && e->fblk < range_end(r); e = live_next(&q->file->inode->live, e))
			if (live_policy(e) == FS_PINNED_HOLDER || (q->count == COUNT_HOLDER && e->wpins > 0))
				return -EBUSY;
	}
	return 0;
}

/* Layout lock exclusive, blocks prepared. */
static int
enter_pin(struct request *q, uint64_t *id)
{
	struct inode *i = q->file->inode;
	struct pin_table *pt = pin_table_make(i);
	uint64_t reserved = 0;
	struct pin *pin;
	int r = 0;

	if (!pt)
		return -ENOMEM;
	/* From here on a layout operation sees the pin, if the pin does not see the operation. */
	r = check_leases(q);
	if (r == 0)
		r = check_holders(q);
	if (r == 0 && q->write && !q->dax)
		r = reserve(q, &reserved);
	if (r == 0) {
		pin = make_pin(q);
		if (pin) {
			reserved = count_everywhere(i, pin, reserved);
			RB_INSERT(pin_tree, &pt->pins, pin);
			cds_list_add_tail(&pin->file_link, &q->file->pins);
			count_pin(i, pin, 1);
			if (pin->count == COUNT_HOLDER)
				__atomic_fetch_add(&q->file->nholder, 1, __ATOMIC_RELEASE);
			*id = pin->id;
		} else {
			forget_backed(q);
			r = -ENOMEM;
		}
	}
	if (reserved > 0)
		alloc_unreserve(pool_alloc(i->fs->pool), reserved);
	return r;
}

/* A pin that was to make the file longer has failed, when blocks for that were there already. Behind the end they must
 * read as zero, so they become what fallocate leaves there; those of a dax file, which may be durable, go. io lock exclusive. */
static void
hide_behind_end(struct request *q)
{
	struct inode *i = q->file->inode;
	fblk_t at = bytes_to_blocks_up(i->size), end = bytes_to_blocks_up(q->end);
	struct live_extent *e;

	if (!q->grow || at >= end)
		return;
	if (q->dax) {
		content_cut(i, at, end);
		return;
	}
	rwl_wrlock(&i->layout_lock);
	while (at < end && (e = live_find(&i->live, at)) != NULL && e->fblk < end) {
		fblk_t from = max_of(at, e->fblk), to = min_of(live_end(e), end);

		at = to;
		if (e->kind == LIVE_DATA && !live_held(e) && !(e->flags & (LIVE_TAKEN | LIVE_DURABLE)) &&
		    live_set(&i->live, from, to - from, LIVE_UNWRITTEN, e->pblk + (from - e->fblk), LIVE_DIRTY, NULL, NULL) < 0)
			break; /* no memory: it is zero all the same */
	}
	rwl_unlock(&i->layout_lock);
}

static int
try_pin(struct request *q, struct content_wait *w, uint64_t *id)
{
	struct inode *i = q->file->inode;
	int r;

	writeback_lock(i);
	rwl_wrlock(&i->io_lock);
	q->dax = inode_is_dax(i);
	q->count = how_counted(&i->fs->opt, q->params, q->dax);
	r = q->dax && q->params->writeback == FS_PINNED_HOLDER ? -EINVAL : check_size(q, w);
	if (r == 0)
		r = pin_prepare_layout_lock(i, q->write, q->range, q->n, w);
	if (r == 0) {
		r = enter_pin(q, id);
		rwl_unlock(&i->layout_lock);
		if (r == 0 && q->grow && q->end > i->size)
			content_changed(i, q->end, false);
		else if (q->write)
			inode_mark_dirty(i);
	}
	if (r < 0)
		hide_behind_end(q);
	rwl_unlock(&i->io_lock);
	writeback_unlock(i);
	/* Blocks that were tainted may have been replaced. */
	pin_settle(i);
	return r;
}

/* Who flushes what he stores himself needs the blocks, and the size, to be durable before. */
static int
dax_settle(struct file *f, uint64_t id)
{
	struct inode *i = f->inode;
	bool grown;
	uint64_t txn;
	int r = 0;

	mtx_lock(&i->attr_lock);
	grown = i->size != i->durable_size;
	txn = i->last_fsync_txn;
	mtx_unlock(&i->attr_lock);
	if (grown)
		r = writeback_inode(i, &txn);
	if (r == 0)
		r = txn_commit_wait(i->fs->pool, txn);
	if (r < 0)
		pin_remove(f, id);
	return r;
}

int
pin_add(struct file *f, const struct pin_params *params, struct pin_range *r, unsigned n,
    const struct fs_cred *c, uint64_t *id)
{
	struct request q = {
		.file = f,
		.params = params,
		.class = params->class,
		.write = params->access == PIN_WRITE,
		.grow = (params->flags & PIN_ALLOC) != 0,
		.range = r,
		.n = n,
		.uid = c ? c->uid : 0,
		.tgid = c ? c->tgid : 0,
	};
	struct inode *i = f->inode;
	struct content_wait w = { 0 };
	int err;

	err = check_request(f, params, r, n);
	if (err < 0)
		return err;
	round_ranges(&q);
	/* before any work is done for it; what counts is asked later */
	err = check_leases(&q);
	if (err == 0)
		err = user_charge(i->fs, q.uid, USER_PINNED_BLOCKS, q.blocks);
	if (err < 0)
		return err;
	do {
		err = try_pin(&q, &w, id);
		if (err == 0)
			return q.dax && q.write ? dax_settle(f, *id) : 0;
		if (err == -EAGAIN && !q.refused)
			err = 0;
		else
			err = content_retry(i, err, &w);
	} while (err == 0);
	if (q.dax) { /* what was made durable between two attempts */
		rwl_wrlock(&i->io_lock);
		hide_behind_end(&q);
		rwl_unlock(&i->io_lock);
	}
	user_uncharge(i->fs, q.uid, USER_PINNED_BLOCKS, q.blocks);
	return err;
}

/* ---- dropping pins ----------------------------------------------------------------------------- */

/* Layout lock exclusive. */
static void
drop(struct inode *i, struct pin *pin, bool taint)
{
	struct pin_table *pt = pin_table(i);

	RB_REMOVE(pin_tree, &pt->pins, pin);
	cds_list_del(&pin->file_link);
	track_end(i, pin);
	if (pin->count == COUNT_HOLDER)
		__atomic_fetch_sub(&pin->file->nholder, 1, __ATOMIC_RELEASE);
	for (uint32_t k = 0; k < pin->next; k++)
		pin_release(i, &pin->ext[k], pin->count, taint);
	count_pin(i, pin, -1);
	if (pin->count == COUNT_WAIT)
		fsync_pin_gone(pt);
	layout_pin_gone(i, pin);
	user_uncharge(i->fs, pin->uid, USER_PINNED_BLOCKS, pin->blocks);
	free(pin);
}

struct pin *
pin_after(const struct inode *i, uint64_t id)
{
	struct pin_table *pt = pin_table(i);
	struct pin key = { .id = id + 1 };

	return pt && id < UINT64_MAX ? RB_NFIND(pin_tree, &pt->pins, &key) : NULL;
}

struct pin *
pin_find(const struct file *f, uint64_t id)
{
	struct pin key = { .id = id }, *pin = NULL;

	if (pin_table(f->inode))
		pin = RB_FIND(pin_tree, &pin_table(f->inode)->pins, &key);
	return pin && pin->file == f ? pin : NULL;
}

int
pin_access_of(struct file *f, uint64_t id)
{
	struct inode *i = f->inode;
	struct pin *pin;
	int r = -ENOENT;

	rwl_rdlock(&i->layout_lock);
	pin = pin_find(f, id);
	if (pin)
		r = pin->count == COUNT_READ ? PIN_READ : PIN_WRITE;
	rwl_unlock(&i->layout_lock);
	return r;
}

int
pin_remove(struct file *f, uint64_t id)
{
	struct inode *i = f->inode;
	struct pin *pin;

	if (!pin_table(i))
		return -ENOENT;
	rwl_wrlock(&i->layout_lock);
	pin = pin_find(f, id);
	if (pin) {
		drop(i, pin, false);
		bounce_trim(i);
	}
	rwl_unlock(&i->layout_lock);
	if (!pin)
		return -ENOENT;
	pin_settle(i);
	pin_detach(i, 0, 0);
	return 0;
}

void
pin_drop_all(struct file *f)
{
	struct inode *i = f->inode;
	bool more;

	if (!pin_table(i))
		return;
	do {
		rwl_wrlock(&i->layout_lock);
		for (unsigned n = 0; n < DROP_BATCH && !cds_list_empty(&f->pins); n++)
			drop(i, cds_list_first_entry(&f->pins, struct pin, file_link), true);
		more = !cds_list_empty(&f->pins);
		bounce_trim(i);
		rwl_unlock(&i->layout_lock);
	} while (more);
	pin_settle(i);
	pin_detach(i, 0, 0);
}

/* ---- looking --------------------------------------------------------------------------------------- */

static uint32_t
live_flags(const struct live_extent *e)
{
	return (e->flags & LIVE_DURABLE ? MAP_DURABLE : 0u) | (e->flags & LIVE_DIRTY ? MAP_DIRTY : 0u) |
	    (e->wpins > 0 ? MAP_WPINNED : 0u) | (e->rpins > 0 ? MAP_RPINNED : 0u);
}

/* One extent from the segment, which is cut to what is alike. */
static int
map_segment(struct inode *i, struct segment *s, struct map_extent *x)
{
	uint32_t owners;
	int r = 0;

	x->flags = s->live ? live_flags(s->live) : s->pblk != PBLK_NONE ? MAP_DURABLE : 0;
	x->flags |= s->kind == LIVE_HOLE ? MAP_HOLE : s->kind == LIVE_UNWRITTEN ? MAP_UNWRITTEN : 0;
	if (s->pblk != PBLK_NONE && (x->flags & MAP_DURABLE)) {
		r = refcount_get(i->fs->pool, s->pblk, s->len, &owners, &s->len);
		if (r == 0 && owners > 1)
			x->flags |= MAP_SHARED_BLOCKS;
	}
	x->off = s->fblk << BLK_SHIFT;
	x->len = s->len << BLK_SHIFT;
	x->pool_off = s->kind == LIVE_DATA ? s->pblk << BLK_SHIFT : UINT64_MAX;
	return r;
}

static bool
map_continues(const struct map_extent *a, const struct map_extent *b)
{
	return a->off + a->len == b->off && a->flags == b->flags &&
	    (a->pool_off == UINT64_MAX ? b->pool_off == UINT64_MAX :
	        b->pool_off != UINT64_MAX && a->pool_off + a->len == b->pool_off);
}

int
map_extents(struct inode *i, uint64_t off, uint64_t len, struct map_extent *out, int max)
{
	fblk_t at = off >> BLK_SHIFT, end;
	struct map_extent x;
	struct segment s;
	int n = 0, r = 0;

	if (!inode_is_reg(i) || off > FILE_MAX_BYTES)
		return -EINVAL;
	end = bytes_to_blocks_up(off + min_of(len, FILE_MAX_BYTES - off));
	rwl_rdlock(&i->layout_lock);
	for (; at < end; at += s.len) {
		r = segment_lookup(i, at, end - at, &s);
		if (r == 0)
			r = map_segment(i, &s, &x);
		if (r < 0)
			break;
		if (n > 0 && map_continues(&out[n - 1], &x))
			out[n - 1].len += x.len;
		else if (n == max)
			break;
		else
			out[n++] = x;
	}
	rwl_unlock(&i->layout_lock);
	return r < 0 ? r : n;
}
