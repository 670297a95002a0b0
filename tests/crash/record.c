/* SPDX-License-Identifier: BSD-3-Clause */
/* The record of a run: stores as cache lines with the content that they had, flushes, barriers.
 *
 * Only bulk stores are told by the domain. Nodes, and what clients store through mappings, are found
 * by comparing the pool with what was seen last: the range of each flush when it is flushed, the whole pool
 * at each barrier and at the beginning and end of each operation. So what a line held when it was flushed is
 * in the record exactly, and a store after the flush is a store of its own. What is lost are values that a
 * line had for a while between two of these moments.
 *
 * A defect can be planted: then some barriers or flushes don't enter the record, as if the filesystem had
 * left them out.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/crash/crash.h"

#define ROOT_LINES (ROOT_SLOTS * BLK_SIZE / LINE)

void
record_init(struct record *r, uint8_t *pool)
{
	*r = (struct record){ .pool = pool };
	pthread_mutex_init(&r->lock, NULL);
	r->seen = malloc(CRASH_POOL_BYTES);
	r->killed = malloc(CRASH_POOL_BYTES);
	if (!r->seen || !r->killed)
		die("record", ENOMEM);
}

void
record_free(struct record *r)
{
	free(r->seen);
	free(r->killed);
	free(r->rec);
	free(r->data);
	pthread_mutex_destroy(&r->lock);
}

void
record_start(struct record *r, bool pmem, enum plant plant, unsigned plant_skip, unsigned kill_at)
{
	r->pmem = pmem;
	memcpy(r->seen, r->pool, CRASH_POOL_BYTES);
	r->nrec = r->ndata = 0;
	r->plant = plant;
	r->plant_skip = plant_skip;
	r->root_flushed = false;
	r->kill_at = kill_at;
	r->nevents = 0;
	r->killed_nrec = 0;
	r->begun = r->ended = 0;
}

static void
add(struct record *r, enum rec_kind kind, size_t at, size_t n)
{
	if (r->nrec == r->room) {
		r->room = r->room ? 2 * r->room : 4096;
		r->rec = reallocarray(r->rec, r->room, sizeof(*r->rec));
		if (!r->rec)
			die("record", ENOMEM);
	}
	r->rec[r->nrec++] = (struct rec){ kind, (uint32_t)at, (uint32_t)n };
}

static void
add_store(struct record *r, size_t line)
{
	if (r->ndata == r->data_room) {
		r->data_room = r->data_room ? 2 * r->data_room : 4096;
		r->data = reallocarray(r->data, r->data_room, LINE);
		if (!r->data)
			die("record", ENOMEM);
	}
	memcpy(r->data[r->ndata], r->pool + line * LINE, LINE);
	memcpy(r->seen + line * LINE, r->data[r->ndata], LINE);
	add(r, REC_STORE, line, r->ndata++);
}

/* Lines [from, to) that differ from what was seen. */
static void
compare(struct record *r, size_t from, size_t to)
{
	const size_t step = BLK_SIZE / LINE;

	while (from < to) {
		size_t end = min_of((from / step + 1) * step, to);

		if (memcmp(r->pool + from * LINE, r->seen + from * LINE, (end - from) * LINE) != 0)
			for (size_t l = from; l < end; l++)
				if (memcmp(r->pool + l * LINE, r->seen + l * LINE, LINE) != 0)
					add_store(r, l);
		from = end;
	}
}

static void
add_flush(struct record *r, size_t from, size_t to)
{
	r->root_flushed = from < ROOT_LINES;
	if (r->root_flushed && r->plant == PLANT_ROOT)
		return;
	if (!r->root_flushed && r->plant == PLANT_FLUSH && r->plant_skip-- == 0)
		return;
	add(r, REC_FLUSH, from, to - from);
}

static void
add_barrier(struct record *r)
{
	if (r->plant == (r->root_flushed ? PLANT_ROOT : PLANT_BARRIER))
		return;
	add(r, REC_BARRIER, 0, 0);
}

/* Whether the daemon may be killed right behind this. In the pmem domain a copy and its write-back are one, but for
 * that of a root. */
static bool
kill_point(const struct record *r, enum domain_event event, uint64_t off)
{
	return event != DOMAIN_STORE || !r->pmem || off < ROOT_SLOTS * BLK_SIZE;
}

void
record_event(void *arg, enum domain_event event, uint64_t off, uint64_t len)
{
	struct record *r = arg;
	size_t from = off / LINE, to = (off + len + LINE - 1) / LINE;

	pthread_mutex_lock(&r->lock);
	switch (event) {
	case DOMAIN_STORE:
		compare(r, from, to);
		break;
	case DOMAIN_FLUSH:
		compare(r, from, to);
		add_flush(r, from, to);
		break;
	case DOMAIN_BARRIER:
		compare(r, 0, LINES);
		add_barrier(r);
		break;
	}
	if (kill_point(r, event, off) && ++r->nevents == r->kill_at) {
		compare(r, 0, LINES);
		memcpy(r->killed, r->seen, CRASH_POOL_BYTES);
		r->killed_nrec = r->nrec;
		r->killed_begun = r->begun;
		r->killed_ended = r->ended;
	}
	pthread_mutex_unlock(&r->lock);
	if (r->event_hook)
		r->event_hook(r->event_arg, event, off);
}

bool
record_kill(struct record *r)
{
	if (r->killed_nrec == 0)
		return false;
	r->nrec = r->killed_nrec;
	memcpy(r->seen, r->killed, CRASH_POOL_BYTES);
	memcpy(r->pool, r->killed, CRASH_POOL_BYTES);
	r->begun = r->killed_begun;
	r->ended = r->killed_ended;
	r->killed_nrec = 0;
	return true;
}

void
record_stores(struct record *r)
{
	pthread_mutex_lock(&r->lock);
	compare(r, 0, LINES);
	pthread_mutex_unlock(&r->lock);
}

void
record_mark(struct record *r, enum rec_kind kind, unsigned n)
{
	pthread_mutex_lock(&r->lock);
	compare(r, 0, LINES);
	add(r, kind, 0, n);
	*(kind == REC_BEGIN ? &r->begun : &r->ended) = n;
	pthread_mutex_unlock(&r->lock);
}
