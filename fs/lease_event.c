/* SPDX-License-Identifier: BSD-3-Clause */
/* What the holders of leases are told.
 *
 * Of each type of event a lease has at most one that is unread; a second one replaces what the first one said and keeps its
 * place. And what is unread of a lease goes with the lease. So an open file has never more events than a few
 * for each of its leases, and nothing has to be dropped, however many breaks come at once and however long nobody reads.
 *
 * Whoever polls the file is told of each (fs->notify), and the process that took the lease gets its signal.
 */
#include <stdlib.h>

#include "fs/lease_i.h"

static struct lease_event
describe(const struct lease *l, enum lease_event_type type, const struct layout_op *op)
{
	struct lease_event e = l->cause;
	fblk_t start, end;

	if (op) {
		start = max_of(op->start, l->start);
		end = min_of(op->end, l->end);
		e.op = (int)op->kind;
		e.off = start << BLK_SHIFT;
		e.len = min_of(end << BLK_SHIFT, FILE_MAX_BYTES) - e.off;
		e.pid = op->tgid;
	}
	e.type = type;
	e.lease = l->id;
	e.cookie = l->params.cookie;
	e.deadline_ns = l->state == LEASE_BREAKING && l->deadline_ns != PARK_FOREVER ? l->deadline_ns : 0;
	return e;
}

void
lease_event_add_locked(struct lease *l, enum lease_event_type type, const struct layout_op *op)
{
	struct fs *fs = l->file->inode->fs;
	struct file *f = l->file;
	struct unread *u = l->unread[type];
	struct lease_event e = describe(l, type, op);

	if (!u && (u = malloc(sizeof(*u))) != NULL) {
		u->lease = l;
		l->unread[type] = u;
		cds_list_add_tail(&u->link, &f->events);
		__atomic_store_n(&f->nevents, f->nevents + 1, __ATOMIC_SEQ_CST);
	}
	if (u)
		u->event = e;
	else
		f->events_lost++;
	if (type == LEASE_EVENT_BREAK)
		l->cause = e;
	if (fs->notify)
		fs->notify(fs->notify_arg, f);
	if (l->params.signal && (type == LEASE_EVENT_BREAK || type == LEASE_EVENT_REVOKED))
		process_signal(&l->process, l->params.signal, l->params.cookie);
}

static void
drop_locked(struct unread *u)
{
	struct file *f = u->lease->file;

	u->lease->unread[u->event.type] = NULL;
	cds_list_del(&u->link);
	__atomic_store_n(&f->nevents, f->nevents - 1, __ATOMIC_RELEASE);
	free(u);
}

void
lease_event_forget_locked(struct lease *l)
{
	for (int k = 0; k < LEASE_EVENT_TYPES; k++)
		if (l->unread[k])
			drop_locked(l->unread[k]);
}

unsigned
lease_events(struct file *f, struct lease_event *out, unsigned max, unsigned *more, uint64_t *lost)
{
	struct lease_table *t = lease_table(f->inode);
	unsigned n = 0;

	*more = 0;
	*lost = 0;
	if (!t)
		return 0;
	mtx_lock(&t->lock);
	*lost = f->events_lost;
	f->event_seq += f->events_lost;
	f->events_lost = 0;
	for (; n < max && !cds_list_empty(&f->events); n++) {
		struct unread *u = cds_list_first_entry(&f->events, struct unread, link);

		out[n] = u->event;
		out[n].seq = ++f->event_seq;
		drop_locked(u);
	}
	*more = f->nevents;
	mtx_unlock(&t->lock);
	return n;
}

bool
lease_events_pending(struct file *f)
{
	return __atomic_load_n(&f->nevents, __ATOMIC_SEQ_CST) > 0;
}
