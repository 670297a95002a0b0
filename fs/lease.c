/* SPDX-License-Identifier: BSD-3-Clause */
/* Leases: taking them, giving them back, and the table of them that an inode has.
 *
 *              break                    deadline, or lease_break=cut
 *      HELD ----------> BREAKING -----------------------------------> REVOKED
 *       ^ \  <----------  /   restored: nobody waits any more, or    /  ^
 *       |  \             /    the deadline of one that makes it fail/   |
 *   take|   +-----------+------------------------------------------+----+ cut
 *       |               | release, last close                      |
 *                       +-----------------> RELEASED <-------------+
 *
 * A REVOKED lease stays in the table until its holder releases it, so that his calls get ESTALE, but is in nobody's way.
 *
 * The table is an interval tree (by_start, each node knows the largest end below it), so what a layout operation
 * pays for is the leases on its range, not those elsewhere in the file. A table is made with the first lease or layout operation,
 * by compare and exchange, and stays with the inode.
 *
 * Locks: a table's lock (LOCK_PINS) is taken with or without the layout lock. Revoking looks at pins, so it needs the
 * layout lock shared. The reference that an open file has keeps the inode; the table's timer has one of its own.
 */
#include "fs/lease_i.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>

#include "fs/users.h"

static uint64_t last_id; /* atomic */

/* ---- the tree -------------------------------------------------------------------------- */

static int
start_cmp(const struct lease *a, const struct lease *b)
{
	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	return a->id < b->id ? -1 : a->id > b->id;
}

static int
id_cmp(const struct lease *a, const struct lease *b)
{
	return a->id < b->id ? -1 : a->id > b->id;
}

/* A lease that is being removed counts as empty. */
static void
augment(struct lease *l)
{
	const struct lease *left = RB_LEFT(l, by_start), *right = RB_RIGHT(l, by_start);

	l->max_end = l->state == LEASE_RELEASED ? 0 : l->end;
	if (left)
		l->max_end = max_of(l->max_end, left->max_end);
	if (right)
		l->max_end = max_of(l->max_end, right->max_end);
}

#undef RB_AUGMENT
#define RB_AUGMENT(l) augment(l)
RB_GENERATE_INTERNAL(lease_start_tree, lease, by_start, start_cmp, static __attribute__((unused)))
#undef RB_AUGMENT
#define RB_AUGMENT(l) do { } while (0)
RB_GENERATE_INTERNAL(lease_id_tree, lease, by_id, id_cmp, static __attribute__((unused)))

/* The tree's own calls of augment() reach as far as a rotation does: up to the root it is done here. */
static void
augment_up(struct lease *l)
{
	for (; l; l = RB_PARENT(l, by_start))
		augment(l);
}

static void
enter_locked(struct lease_table *t, struct lease *l)
{
	l->max_end = l->end;
	RB_INSERT(lease_start_tree, &t->by_start, l);
	augment_up(l);
	RB_INSERT(lease_id_tree, &t->by_id, l);
	__atomic_store_n(&t->nleases, t->nleases + 1, __ATOMIC_RELAXED);
	__atomic_add_fetch(&t->inode->fs->counters.leases, 1, __ATOMIC_RELAXED);
}

/* RELEASED already. */
static void
remove_locked(struct lease_table *t, struct lease *l)
{
	augment_up(l);
	RB_REMOVE(lease_start_tree, &t->by_start, l);
	RB_REMOVE(lease_id_tree, &t->by_id, l);
	__atomic_store_n(&t->nleases, t->nleases - 1, __ATOMIC_RELAXED);
	__atomic_sub_fetch(&t->inode->fs->counters.leases, 1, __ATOMIC_RELAXED);
}

/* The leftmost one of a subtree that overlaps, or NULL. */
static struct lease *
first_below(struct lease *l, fblk_t start, fblk_t end)
{
	while (l && l->max_end > start) {
		struct lease *left = RB_LEFT(l, by_start);

		if (left && left->max_end > start) {
			/* Whatever ends behind `start` there begins before l: if none of it overlaps, nothing here does. */
			l = left;
			continue;
		}
		if (l->start >= end)
			return NULL;
		if (l->end > start && l->state != LEASE_RELEASED)
			return l;
		l = RB_RIGHT(l, by_start);
	}
	return NULL;
}

struct lease *
lease_first_locked(struct lease_table *t, fblk_t start, fblk_t end)
{
	return first_below(RB_ROOT(&t->by_start), start, end);
}

struct lease *
lease_next_locked(struct lease *l, fblk_t start, fblk_t end)
{
	struct lease *next = first_below(RB_RIGHT(l, by_start), start, end), *p;

	for (; !next && (p = RB_PARENT(l, by_start)) != NULL; l = p) {
		if (l != RB_LEFT(p, by_start))
			continue;
		if (p->start >= end)
			return NULL;
		next = p->end > start ? p : first_below(RB_RIGHT(p, by_start), start, end);
	}
	return next;
}

static struct lease *
find_locked(struct lease_table *t, const struct file *f, uint64_t id)
{
	struct lease key = { .id = id }, *l = t ? RB_FIND(lease_id_tree, &t->by_id, &key) : NULL;

	return l && l->file == f ? l : NULL;
}

/* ---- the table ------------------------------------------------------------------------- */

struct lease_table *
lease_table_make(struct inode *i)
{
	struct lease_table *t = lease_table(i), *none = NULL;

	if (t)
		return t;
	t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	mtx_init(&t->lock, LOCK_PINS, 0);
	t->inode = i;
	RB_INIT(&t->by_start);
	RB_INIT(&t->by_id);
	CDS_INIT_LIST_HEAD(&t->breaking);
	CDS_INIT_LIST_HEAD(&t->ops);
	park_init(&t->timer, i->fs->park, layout_timer);
	if (__atomic_compare_exchange_n(&i->leases, &none, t, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return t;
	mtx_destroy(&t->lock);
	free(t);
	return none;
}

void
lease_evict(struct inode *i)
{
	struct lease_table *t = lease_table(i);

	if (!t)
		return;
	i->leases = NULL;
	mtx_destroy(&t->lock);
	free(t);
}

static const bool legal[LEASE_RELEASED + 1][LEASE_RELEASED + 1] = {
	[LEASE_HELD] = { [LEASE_BREAKING] = true, [LEASE_REVOKED] = true, [LEASE_RELEASED] = true },
	[LEASE_BREAKING] = { [LEASE_HELD] = true, [LEASE_REVOKED] = true, [LEASE_RELEASED] = true },
	[LEASE_REVOKED] = { [LEASE_RELEASED] = true },
};

void
lease_move_locked(struct lease_table *t, struct lease *l, enum lease_state to)
{
	enum lease_state from = l->state;
	struct fs_counters *c = &t->inode->fs->counters;

	assert(legal[from][to]);
	if (from == LEASE_BREAKING)
		cds_list_del(&l->breaking_link);
	if (from == LEASE_HELD && l->params.type == LEASE_EXCLUSIVE)
		t->nexclusive--;
	l->state = to;
	switch (to) {
	case LEASE_HELD:
		l->unattended = false;
		break;
	case LEASE_BREAKING:
		cds_list_add_tail(&l->breaking_link, &t->breaking);
		__atomic_add_fetch(&c->lease_breaks, 1, __ATOMIC_RELAXED);
		break;
	case LEASE_REVOKED:
		__atomic_add_fetch(&c->lease_revocations, 1, __ATOMIC_RELAXED);
		break;
	case LEASE_RELEASED:
		break;
	}
}

void
lease_timer_stop(struct lease_table *t)
{
	bool stopped;

	mtx_lock(&t->lock);
	stopped = t->timed && cds_list_empty(&t->breaking) && park_withdraw(&t->timer);
	if (stopped)
		t->timed = false;
	mtx_unlock(&t->lock);
	if (stopped)
		inode_put(t->inode);
}

/* ---- taking ---------------------------------------------------------------------------- */

static bool
refuses(const struct lease_params *p)
{
	return p->type == LEASE_EXCLUSIVE || p->on_deadline != LEASE_DEADLINE_REVOKE;
}

static int
check_params(const struct file *f, const struct lease_params *p)
{
	if (p->type != LEASE_SHARED && p->type != LEASE_EXCLUSIVE)
		return -EINVAL;
	if (p->on_deadline != LEASE_DEADLINE_REVOKE && p->on_deadline != LEASE_DEADLINE_FAIL &&
	    p->on_deadline != LEASE_DEADLINE_WAIT)
		return -EINVAL;
	if (p->signal < 0 || p->signal > SIGRTMAX)
		return -EINVAL;
	/* Who may only read a file can have those wait who change it, but not keep them from it. */
	return refuses(p) && (f->flags & O_ACCMODE) == O_RDONLY ? -EBADF : 0;
}

/* May f have [start, end) with that type? self is not in its own way. */
static int
check_others_locked(struct lease_table *t, const struct file *f, fblk_t start, fblk_t end, enum lease_type type,
    const struct lease *self)
{
	struct lease *l;

	if (layout_wanted_locked(t, start, end))
		return -EAGAIN;
	cds_list_for_each_entry(l, &t->breaking, breaking_link)
		if (ranges_overlap(l->start, l->end, start, end))
			return -EAGAIN;
	if (type == LEASE_SHARED && t->nexclusive == 0)
		return 0;
	for (l = lease_first_locked(t, start, end); l; l = lease_next_locked(l, start, end))
		if (l != self && l->file != f && l->state == LEASE_HELD &&
		    (type == LEASE_EXCLUSIVE || l->params.type == LEASE_EXCLUSIVE))
			return -EBUSY;
	return 0;
}

static struct lease *
make(struct file *f, const struct lease_params *p, const struct fs_cred *c)
{
	struct lease *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->file = f;
	l->state = LEASE_HELD;
	l->params = *p;
	l->tgid = c->tgid;
	l->uid = c->uid;
	l->since_ns = park_now();
	l->id = __atomic_add_fetch(&last_id, 1, __ATOMIC_RELAXED);
	return l;
}

int
lease_take(struct file *f, uint64_t *off, uint64_t *len, const struct lease_params *p, const struct fs_cred *c,
    uint64_t *id)
{
	struct inode *i = f->inode;
	struct process process = { .pid = 0 };
	struct lease_table *t;
	struct lease *l;
	int r;

	r = check_params(f, p);
	if (r == 0 && (!inode_is_reg(i) || *off >= FILE_MAX_BYTES || *len > FILE_MAX_BYTES - *off))
		r = -EINVAL;
	if (r == 0 && p->signal)
		r = process_know(&process, c->tgid, c->uid);
	if (r == 0)
		r = user_charge(i->fs, c->uid, USER_LEASES, 1);
	if (r < 0)
		return r;
	t = lease_table_make(i);
	l = t ? make(f, p, c) : NULL;
	if (!l) {
		user_uncharge(i->fs, c->uid, USER_LEASES, 1);
		return -ENOMEM;
	}
	l->process = process;
	l->start = *off >> BLK_SHIFT;
	l->end = *len ? bytes_to_blocks_up(*off + *len) : FBLK_MAX + 1;
	mtx_lock(&t->lock);
	r = check_others_locked(t, f, l->start, l->end, p->type, NULL);
	if (r == 0) {
		enter_locked(t, l);
		t->nexclusive += p->type == LEASE_EXCLUSIVE;
		cds_list_add_tail(&l->file_link, &f->leases);
		*id = l->id;
		*off = l->start << BLK_SHIFT;
		*len = min_of(l->end << BLK_SHIFT, FILE_MAX_BYTES) - *off;
	}
	mtx_unlock(&t->lock);
	if (r < 0) {
		user_uncharge(i->fs, c->uid, USER_LEASES, 1);
		free(l);
	}
	return r;
}

int
lease_modify(struct file *f, uint64_t id, const struct lease_params *p, const struct fs_cred *c)
{
	struct lease_table *t = lease_table(f->inode);
	struct process process = { .pid = 0 };
	int r = check_params(f, p);
	struct lease *l;

	if (r == 0 && !t)
		r = -ENOENT;
	if (r == 0 && p->signal)
		r = process_know(&process, c->tgid, c->uid);
	if (r < 0)
		return r;
	mtx_lock(&t->lock);
	l = find_locked(t, f, id);
	if (!l)
		r = -ENOENT;
	else if (l->state == LEASE_REVOKED)
		r = -ESTALE;
	else if (l->state == LEASE_BREAKING)
		r = -EAGAIN;
	else
		r = check_others_locked(t, f, l->start, l->end, p->type, l);
	if (r == 0) {
		t->nexclusive += (uint64_t)(p->type == LEASE_EXCLUSIVE) - (uint64_t)(l->params.type == LEASE_EXCLUSIVE);
		l->params = *p;
		l->process = process;
	}
	mtx_unlock(&t->lock);
	return r;
}

/* ---- giving back ------------------------------------------------------------------------- */

static void
end_locked(struct lease_table *t, struct lease *l)
{
	enum lease_state was = l->state;

	lease_event_forget_locked(l);
	lease_move_locked(t, l, LEASE_RELEASED);
	cds_list_del(&l->file_link);
	remove_locked(t, l);
	if (was == LEASE_BREAKING)
		layout_lease_gone_locked(t, l);
	user_uncharge(t->inode->fs, l->uid, USER_LEASES, 1);
	free(l);
}

int
lease_release(struct file *f, uint64_t id)
{
	struct lease_table *t = lease_table(f->inode);
	struct lease *l;
	bool timed;

	if (!t)
		return -ENOENT;
	mtx_lock(&t->lock);
	l = find_locked(t, f, id);
	if (l)
		end_locked(t, l);
	timed = t->timed;
	mtx_unlock(&t->lock);
	if (timed)
		lease_timer_stop(t);
	return l ? 0 : -ENOENT;
}

void
lease_drop_all(struct file *f)
{
	struct lease_table *t = lease_table(f->inode);

	if (!t)
		return;
	mtx_lock(&t->lock);
	while (!cds_list_empty(&f->leases))
		end_locked(t, cds_list_first_entry(&f->leases, struct lease, file_link));
	mtx_unlock(&t->lock);
	lease_timer_stop(t);
}

/* ---- for pins ---------------------------------------------------------------------------- */

/* 0, -ENOLCK, -ESTALE. */
static int
covered_locked(struct lease_table *t, const struct file *f, fblk_t start, fblk_t end)
{
	struct lease *l;
	int r = -ENOLCK;

	for (l = lease_first_locked(t, start, end); l; l = lease_next_locked(l, start, end)) {
		if (l->file != f || l->start > start || l->end < end)
			continue;
		if (l->state == LEASE_HELD)
			return 0;
		r = -ESTALE;
	}
	return r;
}

int
lease_check_pin(struct file *f, const struct pin_range *r, unsigned n, bool longterm, bool *leased)
{
	struct lease_table *t = lease_table(f->inode);
	bool must = longterm && !f->inode->fs->opt.pin_without_lease;
	struct lease *l;
	int err = 0;

	*leased = false;
	if (!t)
		return must ? -ENOLCK : 0;
	mtx_lock(&t->lock);
	*leased = longterm;
	for (unsigned k = 0; k < n && err == 0; k++) {
		fblk_t start = r[k].off >> BLK_SHIFT, end = bytes_to_blocks_up(r[k].off + r[k].len);

		/* what runs has the io lock after us, or before us; only a lease could not be asked any more */
		if (layout_wanted_locked(t, start, end) > (longterm ? 0 : 1))
			err = -EAGAIN;
		cds_list_for_each_entry(l, &t->breaking, breaking_link)
			if (ranges_overlap(l->start, l->end, start, end))
				err = -EAGAIN;
		if (err == 0 && *leased) {
			int c = covered_locked(t, f, start, end);

			*leased = c == 0;
			if (must)
				err = c;
		}
	}
	mtx_unlock(&t->lock);
	return err;
}

/* ---- looking ----------------------------------------------------------------------------- */

unsigned
lease_list(struct inode *i, uint64_t after, struct lease_info *out, unsigned max)
{
	struct lease_table *t = lease_table(i);
	struct lease key = { .id = after + 1 }, *l;
	unsigned n = 0;

	if (!t)
		return 0;
	mtx_lock(&t->lock);
	for (l = RB_NFIND(lease_id_tree, &t->by_id, &key); l && n < max; l = RB_NEXT(lease_id_tree, &t->by_id, l))
		out[n++] = (struct lease_info){
			.id = l->id,
			.off = l->start << BLK_SHIFT,
			.len = min_of(l->end << BLK_SHIFT, FILE_MAX_BYTES) - (l->start << BLK_SHIFT),
			.since_ns = l->since_ns,
			.deadline_ns = l->state == LEASE_BREAKING ? l->deadline_ns : PARK_FOREVER,
			.tgid = l->tgid,
			.uid = l->uid,
			.type = l->params.type,
			.state = l->state,
		};
	mtx_unlock(&t->lock);
	return n;
}
