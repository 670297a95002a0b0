/* SPDX-License-Identifier: BSD-3-Clause */
/* Layout operations meet leases and pins.
 *
 *           begin            conflict            resume
 *     (new) -----> judged ------------> WAITING ---------> judged again
 *                    |                     |
 *                    | nothing in the way  | cancelled, failed, unmounted
 *                    v                     v
 *                 RUNNING --> end        over
 *
 * All operations of an inode are in one list from begin to end or over, in the order in which they came. Judging is one
 * step under the layout lock (shared: pins stand still) and the table's lock (leases and operations do): whoever pins enters his pin
 * under the former, and asks before it, under the latter, whether an operation is registered. So either the operation
 * sees the pin, or the pin the operation.
 *
 * A waiting operation counts what it waits for. Nothing can be added to that while it waits, so each lease and
 * each pin that goes takes one off, and the last one wakes it; it is judged again then, which sets right
 * what was counted differently. Its own deadline is about pins only; leases have theirs, kept by the timer of the table:
 * the first operation that breaks a lease sets it.
 *
 * Operations that overlap go on in the order in which they came: one that has had to wait is not overtaken,
 * except by its own lease holder, for whom it waits.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>

#include "fs/lease_i.h"
#include "fs/process.h"

#define NEED_PROCESS 2 /* beside LAYOUT_PARKED: whose operation is it? */
#define PROCESS_UNKNOWN (-1)

static const struct fs_options *
options(const struct layout_op *op)
{
	return &op->inode->fs->opt;
}

/* 0 is nobody: a process that we can't see. */
static bool
is_own(const struct layout_op *op, pid_t tgid)
{
	return op->tgid > 0 && op->tgid == tgid;
}

static bool
moves_content(const struct layout_op *op)
{
	return op->kind == LAYOUT_COLLAPSE || op->kind == LAYOUT_INSERT || op->kind == LAYOUT_EXCHANGE;
}

static bool
ops_overlap(const struct layout_op *a, const struct layout_op *b)
{
	return ranges_overlap(a->start, a->end, b->start, b->end);
}

static bool
overlaps_lease(const struct layout_op *op, const struct lease *l)
{
	return ranges_overlap(op->start, op->end, l->start, l->end);
}

int
layout_wanted_locked(const struct lease_table *t, fblk_t start, fblk_t end)
{
	const struct layout_op *op;
	int r = 0;

	cds_list_for_each_entry(op, &t->ops, link)
		if (ranges_overlap(op->start, op->end, start, end))
			r = max_of(r, op->waits ? 2 : 1);
	return r;
}

/* ---- pins ----------------------------------------------------------------------------------- */

static bool
overlaps_pin(const struct layout_op *op, const struct pin *pin)
{
	for (uint32_t k = 0; k < pin->next; k++)
		if (ranges_overlap(op->start, op->end, pin->ext[k].fblk, pin->ext[k].fblk + pin->ext[k].len))
			return true;
	return false;
}

static bool
covers_pin(const struct layout_op *op, const struct pin *pin)
{
	for (uint32_t k = 0; k < pin->next; k++)
		if (pin->ext[k].fblk < op->start || pin->ext[k].fblk + pin->ext[k].len > op->end)
			return false;
	return true;
}

/* Until when the operation waits for such a pin; 0: not at all. */
static int64_t
pin_deadline(const struct layout_op *op, const struct pin *pin)
{
	if (pin_longterm(pin))
		return pin->leased ? op->longterm_ns : 0;
	return moves_content(op) || options(op)->layout_wait ? op->transient_ns : 0;
}

struct pin_look {
	struct layout_op *op;
	int64_t now;
	int64_t until;   /* the earliest deadline of those that it waits for */
	bool any, own;
};

static void
look_at_pin(void *arg, struct pin *pin)
{
	struct pin_look *k = arg;
	int64_t until;

	if (pin->cut || !overlaps_pin(k->op, pin))
		return;
	k->any = true;
	if (is_own(k->op, pin->tgid)) {
		k->own = true;
		return;
	}
	until = pin_deadline(k->op, pin);
	if (until > k->now) {
		k->op->pins++;
		k->until = min_of(k->until, until);
	}
}

/* Its blocks are no longer the file's: what the operation does not take (NULL: anything) is for pin_detach(). */
static void
cut_locked(struct inode *i, struct pin *pin, const struct layout_op *op)
{
	pin->cut = true;
	if (!op || !covers_pin(op, pin))
		__atomic_store_n(&pin_table(i)->loose, true, __ATOMIC_RELEASE);
}

/* The operation runs: pins that are in it lose their blocks to it. */
static void
cut_pin(void *arg, struct pin *pin)
{
	const struct layout_op *op = arg;

	if (overlaps_pin(op, pin) && ((pin_longterm(pin) && pin->leased) || covers_pin(op, pin)))
		cut_locked(op->inode, pin, op);
}

/* ---- breaking and revoking -------------------------------------------------------------------- */

static void
start_timer_locked(struct lease_table *t, int64_t deadline_ns)
{
	if (t->timed || deadline_ns == PARK_FOREVER)
		return;
	t->timed = true;
	inode_hold(t->inode);
	park(&t->timer, deadline_ns);
}

static void
break_locked(struct lease_table *t, struct lease *l, const struct layout_op *op)
{
	if (l->state == LEASE_HELD) {
		l->deadline_ns = l->params.on_deadline == LEASE_DEADLINE_WAIT ? PARK_FOREVER :
		    park_after_ms(options(op)->lease_break_ms);
		lease_move_locked(t, l, LEASE_BREAKING);
		lease_event_add_locked(l, LEASE_EVENT_BREAK, op);
		start_timer_locked(t, l->deadline_ns);
	}
	l->unattended |= op->nonblock;
}

/* Layout lock held, at least shared: the pins of the file stand still. op may be NULL. */
static void
revoke_locked(struct lease_table *t, struct lease *l, const struct layout_op *op)
{
	const struct layout_op range = { .start = l->start, .end = l->end };
	struct pin *pin;

	lease_move_locked(t, l, LEASE_REVOKED);
	cds_list_for_each_entry(pin, &l->file->pins, file_link)
		if (pin_longterm(pin) && overlaps_pin(&range, pin))
			cut_locked(t->inode, pin, NULL);
	lease_event_add_locked(l, LEASE_EVENT_REVOKED, op);
}

static void
restore_locked(struct lease_table *t, struct lease *l, const struct layout_op *op)
{
	lease_move_locked(t, l, LEASE_HELD);
	lease_event_add_locked(l, LEASE_EVENT_RESTORED, op);
}

/* Is there an operation, other than `but`, that waits for the lease? */
static bool
awaited_locked(const struct lease_table *t, const struct lease *l, const struct layout_op *but)
{
	const struct layout_op *op;

	cds_list_for_each_entry(op, &t->ops, link)
		if (op != but && op->waits && !op->failed && !is_own(op, l->tgid) && overlaps_lease(op, l))
			return true;
	return false;
}

/* ---- waiting ------------------------------------------------------------------------------------ */

static void
wake_if_free_locked(struct layout_op *op)
{
	if (op->leases == 0 && op->pins == 0 && !op->behind)
		park_wake(&op->park);
}

void
layout_lease_gone_locked(struct lease_table *t, const struct lease *l)
{
	struct layout_op *op;

	cds_list_for_each_entry(op, &t->ops, link)
		if (op->waits && op->leases > 0 && !is_own(op, l->tgid) && overlaps_lease(op, l)) {
			op->leases--;
			wake_if_free_locked(op);
		}
}

void
layout_pin_gone(struct inode *i, const struct pin *pin)
{
	struct lease_table *t = lease_table(i);
	struct layout_op *op;

	if (!t || __atomic_load_n(&t->nwaiting, __ATOMIC_RELAXED) == 0)
		return;
	mtx_lock(&t->lock);
	cds_list_for_each_entry(op, &t->ops, link)
		if (op->waits && op->pins > 0 && !pin->cut && !is_own(op, pin->tgid) && pin_deadline(op, pin) > 0 &&
		    overlaps_pin(op, pin)) {
			op->pins--;
			wake_if_free_locked(op);
		}
	mtx_unlock(&t->lock);
}

/* Does a lease of that process stand in the way of the operation? */
static bool
waits_for_locked(struct lease_table *t, const struct layout_op *op, pid_t tgid)
{
	struct lease *l;

	for (l = lease_first_locked(t, op->start, op->end); l; l = lease_next_locked(l, op->start, op->end))
		if (l->tgid == tgid && l->state != LEASE_REVOKED)
			return true;
	return false;
}

/* Is there an operation that has to be done first? */
static bool
behind_locked(struct lease_table *t, const struct layout_op *op)
{
	const struct layout_op *o;

	cds_list_for_each_entry(o, &t->ops, link) {
		if (o == op)
			break;
		if (o->has_waited && ops_overlap(o, op) && !(op->tgid > 0 && waits_for_locked(t, o, op->tgid)))
			return true;
	}
	return false;
}

static void
set_waits_locked(struct lease_table *t, struct layout_op *op, bool waits)
{
	uint64_t one = waits ? 1 : UINT64_MAX;

	if (op->waits == waits)
		return;
	op->waits = waits;
	op->has_waited |= waits;
	__atomic_store_n(&t->nwaiting, t->nwaiting + one, __ATOMIC_RELAXED);
	__atomic_add_fetch(&t->inode->fs->counters.parked, one, __ATOMIC_RELAXED);
}

/* Off the list: who was behind it may go on. */
static void
leave_locked(struct lease_table *t, struct layout_op *op)
{
	struct layout_op *o;
	bool waited = op->has_waited;

	set_waits_locked(t, op, false);
	cds_list_del(&op->link);
	if (!waited)
		return;
	cds_list_for_each_entry(o, &t->ops, link)
		if (o->waits && o->behind && ops_overlap(o, op) && !behind_locked(t, o)) {
			o->behind = false;
			wake_if_free_locked(o);
		}
}

/* It is not going to happen: nobody is to suffer from it. */
static void
give_up_locked(struct lease_table *t, struct layout_op *op)
{
	struct lease *l, *next;

	cds_list_for_each_entry_safe(l, next, &t->breaking, breaking_link)
		if (!l->unattended && !is_own(op, l->tgid) && overlaps_lease(op, l) && !awaited_locked(t, l, op))
			restore_locked(t, l, op);
	leave_locked(t, op);
}

/* ---- judging -------------------------------------------------------------------------------------- */

static bool
is_conflict(const struct layout_op *op, const struct lease *l)
{
	return l->state != LEASE_REVOKED && !is_own(op, l->tgid);
}

/* The leases in the way, if none forbids the operation. */
static int
count_leases_locked(struct lease_table *t, struct layout_op *op)
{
	struct lease *l;

	op->leases = 0;
	for (l = lease_first_locked(t, op->start, op->end); l; l = lease_next_locked(l, op->start, op->end)) {
		if (op->tgid == PROCESS_UNKNOWN)
			return NEED_PROCESS;
		if (!is_conflict(op, l))
			continue;
		if (l->params.type == LEASE_EXCLUSIVE)
			return -ETXTBSY;
		op->leases++;
	}
	return 0;
}

static void
break_leases_locked(struct lease_table *t, struct layout_op *op)
{
	bool cut = options(op)->lease_cut;
	struct lease *l;

	for (l = lease_first_locked(t, op->start, op->end); l; l = lease_next_locked(l, op->start, op->end)) {
		if (!is_conflict(op, l))
			continue;
		if (cut)
			revoke_locked(t, l, op);
		else
			break_locked(t, l, op);
	}
	if (cut)
		op->leases = 0;
}

static int
judge_locked(struct lease_table *t, struct layout_op *op)
{
	struct pin_look look = { .op = op, .now = park_now(), .until = PARK_FOREVER };
	int r;

	op->pins = 0;
	if (pin_table(op->inode))
		pin_each(op->inode, look_at_pin, &look);
	r = count_leases_locked(t, op);
	op->behind = behind_locked(t, op);
	if (r == 0 && op->tgid == PROCESS_UNKNOWN && (look.any || op->behind))
		r = NEED_PROCESS;
	if (r == 0 && op->kind == LAYOUT_DAX && look.any)
		r = -ETXTBSY;
	if (r == 0 && look.own)
		r = -EBUSY;
	if (r == 0 && op->probe && (op->leases > 0 || look.any || op->behind))
		r = -EWOULDBLOCK;
	if (r != 0)
		return r;
	if (op->leases > 0)
		break_leases_locked(t, op);
	if (op->leases == 0 && op->pins == 0 && !op->behind) {
		set_waits_locked(t, op, false);
		if (look.any)
			pin_each(op->inode, cut_pin, op);
		return 0;
	}
	if (op->nonblock)
		return -EWOULDBLOCK;
	set_waits_locked(t, op, true);
	park(&op->park, look.until);
	return LAYOUT_PARKED;
}

/* Judge it; if it is over, the list does not have it any more. */
static int
proceed(struct layout_op *op, int r)
{
	struct inode *i = op->inode;
	struct lease_table *t = lease_table(i);
	/* No pin needs an eye kept on it if there has never been one: a long-term pin has a lease, that we see. */
	bool look = pin_table(i) || __atomic_load_n(&t->nleases, __ATOMIC_RELAXED) > 0;

	do {
		if (r == NEED_PROCESS)
			op->tgid = process_of(op->tid);
		if (look)
			rwl_rdlock(&i->layout_lock);
		mtx_lock(&t->lock);
		if (r >= 0)
			r = op->failed ? op->failed : judge_locked(t, op);
		if (r < 0)
			give_up_locked(t, op);
		mtx_unlock(&t->lock);
		if (look)
			rwl_unlock(&i->layout_lock);
	} while (r == NEED_PROCESS);
	if (r == 0)
		pin_detach(i, op->start, op->end);
	if (r < 0) {
		pin_detach(i, 0, 0);
		lease_timer_stop(t);
		inode_put(i);
	}
	return r;
}

/* The wait has ended. */
static void
resumed(struct parked *p, enum park_reason why)
{
	struct layout_op *op = caa_container_of(p, struct layout_op, park);
	int r = proceed(op, why == PARK_CANCELLED ? -EINTR : why == PARK_SHUTDOWN ? -EIO : 0);

	if (r != LAYOUT_PARKED)
		op->resume(op, r);
}

void
layout_op_init(struct layout_op *op, struct inode *i, enum layout_kind kind, fblk_t start, fblk_t end)
{
	*op = (struct layout_op){ .inode = i, .kind = kind, .start = start, .end = end, .tgid = PROCESS_UNKNOWN };
	park_init(&op->park, i->fs->park, resumed);
}

int
layout_begin(struct layout_op *op)
{
	const struct fs_options *o = options(op);
	struct lease_table *t = lease_table_make(op->inode);

	if (!t)
		return -ENOMEM;
	inode_hold(op->inode);
	op->longterm_ns = o->lease_cut ? 0 : park_after_ms(o->lease_break_ms);
	op->transient_ns = park_now() + (int64_t)o->transient_ms * 1000000;
	mtx_lock(&t->lock);
	cds_list_add_tail(&op->link, &t->ops);
	mtx_unlock(&t->lock);
	return proceed(op, 0);
}

void
layout_end(struct layout_op *op)
{
	struct inode *i = op->inode;
	struct lease_table *t = lease_table(i);

	mtx_lock(&t->lock);
	leave_locked(t, op);
	mtx_unlock(&t->lock);
	pin_detach(i, 0, 0);
	inode_put(i);
}

/* ---- filling holes ------------------------------------------------------------------------------- */

static bool
is_hole_somewhere(struct inode *i, fblk_t at, fblk_t end)
{
	struct segment s;

	for (; at < end; at += s.len)
		if (segment_lookup(i, at, end - at, &s) < 0)
			return false;
		else if (s.kind != LIVE_DATA)
			return true;
	return false;
}

/* Has the lease's holder pinned a hole that the operation fills? */
static bool
maps_hole(const struct lease *l, const struct layout_op *op)
{
	const struct pin *pin;

	cds_list_for_each_entry(pin, &l->file->pins, file_link)
		for (uint32_t k = 0; k < pin->next; k++) {
			const struct pin_ext *x = &pin->ext[k];

			if (x->pblk == PBLK_NONE && ranges_overlap(x->fblk, x->fblk + x->len, op->start, op->end) &&
			    is_hole_somewhere(op->inode, max_of(x->fblk, op->start), min_of(x->fblk + x->len, op->end)))
				return true;
		}
	return false;
}

void
layout_fill(struct inode *i, fblk_t fblk, uint64_t n)
{
	const struct layout_op op = { .inode = i, .kind = LAYOUT_FILL, .start = fblk, .end = fblk + n };
	struct lease_table *t = lease_table(i);
	struct lease *l;

	if (!t || n == 0 || __atomic_load_n(&t->nleases, __ATOMIC_RELAXED) == 0 || !pin_table(i))
		return;
	mtx_lock(&t->lock);
	for (l = lease_first_locked(t, op.start, op.end); l; l = lease_next_locked(l, op.start, op.end))
		if (l->state != LEASE_REVOKED && maps_hole(l, &op))
			lease_event_add_locked(l, LEASE_EVENT_FILLED, &op);
	mtx_unlock(&t->lock);
}

/* ---- deadlines -------------------------------------------------------------------------------------- */

/* A lease of the kind that makes operations fail has waited long enough. */
static void
fail_ops_locked(struct lease_table *t, struct lease *l)
{
	struct layout_op *op;

	cds_list_for_each_entry(op, &t->ops, link)
		if (op->waits && !is_own(op, l->tgid) && overlaps_lease(op, l)) {
			op->failed = -EAGAIN;
			park_wake(&op->park);
		}
	restore_locked(t, l, NULL);
}

/* Those that make operations fail come first: nobody is revoked for an operation that fails. True: a lease was
 * revoked that no operation waits for any more. */
static bool
expire_locked(struct lease_table *t, int64_t now)
{
	struct lease *l, *next;
	bool alone = false;

	cds_list_for_each_entry_safe(l, next, &t->breaking, breaking_link)
		if (l->deadline_ns <= now && l->params.on_deadline == LEASE_DEADLINE_FAIL)
			fail_ops_locked(t, l);
	cds_list_for_each_entry_safe(l, next, &t->breaking, breaking_link) {
		if (l->deadline_ns > now)
			continue;
		if (!awaited_locked(t, l, NULL)) {
			if (!l->unattended) {
				restore_locked(t, l, NULL);
				continue;
			}
			alone = true;
		}
		revoke_locked(t, l, NULL);
		layout_lease_gone_locked(t, l);
	}
	return alone;
}

void
layout_timer(struct parked *p, enum park_reason why)
{
	struct lease_table *t = caa_container_of(p, struct lease_table, timer);
	struct inode *i = t->inode;
	bool alone = false;
	struct lease *l;

	rwl_rdlock(&i->layout_lock);
	mtx_lock(&t->lock);
	t->timed = false;
	if (why == PARK_DEADLINE) {
		alone = expire_locked(t, park_now());
		cds_list_for_each_entry(l, &t->breaking, breaking_link)
			if (l->deadline_ns != PARK_FOREVER) {
				start_timer_locked(t, l->deadline_ns);
				break;
			}
	}
	mtx_unlock(&t->lock);
	rwl_unlock(&i->layout_lock);
	if (alone)
		pin_detach(i, 0, 0);
	inode_put(i); /* what was parked; start_timer_locked() took another one */
}

/* ---- which blocks ------------------------------------------------------------------------------------- */

bool
layout_of_truncate(struct inode *i, uint64_t size, fblk_t *start, fblk_t *end)
{
	uint64_t now;

	mtx_lock(&i->attr_lock);
	now = i->size;
	mtx_unlock(&i->attr_lock);
	*start = bytes_to_blocks_up(size);
	*end = FBLK_MAX + 1;
	return size <= now && size <= FILE_MAX_BYTES;
}

bool
layout_of_fallocate(struct inode *i, int mode, uint64_t off, uint64_t len, enum layout_kind *kind, fblk_t *start,
    fblk_t *end)
{
	uint64_t stop = off + len, size;

	if (off > FILE_MAX_BYTES || len > FILE_MAX_BYTES - off)
		return false;
	if (!(mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)))
		return false;
	mtx_lock(&i->attr_lock);
	size = i->size;
	mtx_unlock(&i->attr_lock);
	*kind = mode & FALLOC_FL_PUNCH_HOLE ? LAYOUT_PUNCH : LAYOUT_ZERO;
	*start = bytes_to_blocks_up(off);
	*end = stop >> BLK_SHIFT;
	/* behind the end of the file there is nothing to keep: its last block goes as a whole */
	if (*kind == LAYOUT_PUNCH && stop >= size)
		*end = max_of(*end, bytes_to_blocks_up(max_of(size, stop)));
	return *start < *end;
}
