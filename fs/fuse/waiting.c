/* SPDX-License-Identifier: BSD-3-Clause */
/* The kernel sends an interrupt once, as soon as somebody has read the request; so another worker may have
 * it before the request has come to the point where it waits. Those interrupts are remembered: the
 * newest few, which is enough, because what is executed at one time is limited by the number of workers, and they
 * are also given to libfuse, which makes the kernel send them again if the request is still there.
 */
#include "fs/fuse/waiting.h"

void
waiters_init(struct waiters *s)
{
	*s = (struct waiters){ .next = 0 };
	mtx_init(&s->lock, LOCK_PINS, 0);
	CDS_INIT_LIST_HEAD(&s->list);
}

void
waiters_destroy(struct waiters *s)
{
	mtx_destroy(&s->lock);
}

void
waiting_begin(struct waiters *s, struct waiting *w, uint64_t unique, struct parked *p)
{
	w->unique = unique;
	w->parked = p;
	mtx_lock(&s->lock);
	cds_list_add_tail(&w->link, &s->list);
	for (unsigned k = 0; k < INTERRUPTS_EARLY; k++)
		if (s->early[k] == unique)
			park_cancel(p);
	mtx_unlock(&s->lock);
}

void
waiting_end(struct waiters *s, struct waiting *w)
{
	mtx_lock(&s->lock);
	cds_list_del(&w->link);
	mtx_unlock(&s->lock);
}

static void
resumed(struct layout_op *op, int r)
{
	struct front_op *p = caa_container_of(op, struct front_op, op);

	waiting_end(p->waiters, &p->wait);
	p->go(p, r);
}

void
front_op_begin(struct front_op *p, struct waiters *s, uint64_t unique, void (*go)(struct front_op *p, int r))
{
	int r;

	p->waiters = s;
	p->go = go;
	p->op.resume = resumed;
	waiting_begin(s, &p->wait, unique, &p->op.park);
	r = layout_begin(&p->op);
	if (r != LAYOUT_PARKED)
		resumed(&p->op, r);
}

bool
waiters_interrupt(struct waiters *s, uint64_t unique)
{
	struct waiting *w;
	bool found = false;

	mtx_lock(&s->lock);
	cds_list_for_each_entry(w, &s->list, link)
		if (w->unique == unique) {
			park_cancel(w->parked);
			found = true;
			break;
		}
	if (!found) {
		s->early[s->next] = unique;
		s->next = (s->next + 1) % INTERRUPTS_EARLY;
	}
	mtx_unlock(&s->lock);
	return found;
}
