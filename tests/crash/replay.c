/* SPDX-License-Identifier: BSD-3-Clause */
/* From the record to images of the medium.
 *
 * What reaches the medium by itself is a unit: a cache line in the pmem domain, a page in the pagecache
 * domain. Each unit has the stores to it that no barrier has made durable, in order; it may have reached the
 * medium after any of them, whatever the other units did. A flush says which of them the next barrier makes
 * durable. Besides, a unit may be torn: a line at eight bytes, a page at its sectors of 512.
 *
 * A store that is pending stays so until a barrier, so what can be on the medium at any moment between two
 * barriers can also be there right before the second one. That is the moment for which images are
 * made; and one at the end of the record.
 *
 * The medium is kept twice: as it would be at least (medium), and in the image file. An image is made by
 * storing what has reached the medium beyond that, and is taken back line by line; all of the
 * file is compared only if a mount has stored to it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/crash/calm.h"
#include "tests/crash/crash.h"

#define WORDS (LINE / sizeof(uint64_t))
#define SECTOR_LINES (512 / LINE)
#define SECTORS (BLK_SIZE / 512)
#define TRIES_MAX 4096u

struct unit {
	uint32_t first;       /* line */
	uint32_t *store;      /* indices into the record */
	unsigned n, room;
	unsigned flushed;     /* that many of them become durable at the next barrier */
};

/* How much of a unit is on the medium: the first n stores, and the words or sectors in `torn` of the next. */
struct reached {
	unsigned n;
	uint8_t torn;
};

struct state {
	struct replay *rp;
	const struct record *rec;
	uint8_t *medium;
	struct unit *unit;    /* pending ones, in order of their first store */
	unsigned nunits, room;
	uint32_t *index;      /* by first line: 1 + place in unit, 0: none */
	struct reached *reached;
	unsigned interval, begun, ended;
};

/* ---- pending stores ---------------------------------------------------------------- */

static uint32_t
unit_of(const struct state *s, uint32_t line)
{
	return s->rp->pages ? line & ~(uint32_t)(BLK_SIZE / LINE - 1) : line;
}

static void
pend(struct state *s, uint32_t line, uint32_t store)
{
	uint32_t first = unit_of(s, line);
	struct unit *u;

	if (s->index[first] == 0) {
		if (s->nunits == s->room) {
			unsigned room = s->room ? 2 * s->room : 256;

			s->unit = reallocarray(s->unit, room, sizeof(*s->unit));
			s->reached = reallocarray(s->reached, room, sizeof(*s->reached));
			if (!s->unit || !s->reached)
				die("replay", ENOMEM);
			memset(s->unit + s->room, 0, (room - s->room) * sizeof(*s->unit));
			s->room = room;
		}
		u = &s->unit[s->nunits++];
		u->first = first;
		u->n = u->flushed = 0;
		s->index[first] = s->nunits;
	}
	u = &s->unit[s->index[first] - 1];
	if (u->n == u->room) {
		u->room = u->room ? 2 * u->room : 4;
		u->store = reallocarray(u->store, u->room, sizeof(*u->store));
		if (!u->store)
			die("replay", ENOMEM);
	}
	u->store[u->n++] = store;
}

static void
flush(struct state *s, uint32_t from, uint32_t n)
{
	uint32_t step = s->rp->pages ? BLK_SIZE / LINE : 1;

	for (uint32_t l = unit_of(s, from); l < from + n && l < LINES; l += step)
		if (s->index[l])
			s->unit[s->index[l] - 1].flushed = s->unit[s->index[l] - 1].n;
}

static void
store_line(const struct state *s, uint8_t *to, uint32_t store)
{
	const struct rec *r = &s->rec->rec[store];

	memcpy(to + (size_t)r->at * LINE, s->rec->data[r->n], LINE);
}

/* What was flushed is durable now. */
static void
barrier(struct state *s)
{
	unsigned to = 0;

	for (unsigned i = 0; i < s->nunits; i++) {
		struct unit *u = &s->unit[i], spare;

		for (unsigned k = 0; k < u->flushed; k++) {
			store_line(s, s->medium, u->store[k]);
			store_line(s, s->rp->pool, u->store[k]);
		}
		u->n -= u->flushed;
		memmove(u->store, u->store + u->flushed, u->n * sizeof(*u->store));
		u->flushed = 0;
		if (u->n == 0) {
			s->index[u->first] = 0;
			continue;
		}
		s->index[u->first] = to + 1;
		if (to != i) { /* the room for stores stays with some unit */
			spare = s->unit[to];
			s->unit[to] = *u;
			*u = spare;
		}
		to++;
	}
	s->nunits = to;
}

/* ---- choosing what has reached the medium ---------------------------------------------- */

static bool
is_root(const struct unit *u)
{
	return u->first < ROOT_SLOTS * BLK_SIZE / LINE;
}

/* All subsets are few enough to have each of them made. */
static bool
few(const struct state *s)
{
	if (s->nunits > 16 || 1u << s->nunits > s->rp->per_interval)
		return false;
	for (unsigned i = 0; i < s->nunits; i++)
		if (s->unit[i].n != 1)
			return false;
	return true;
}

static unsigned
below(uint64_t *rng, unsigned n)
{
	return (unsigned)(calm_random(rng) % n);
}

/* As if stores had been made in order of time, or of addresses, up to a place. */
static void
choose_cut(struct state *s, uint64_t *rng, bool by_time)
{
	const struct unit *some = &s->unit[below(rng, s->nunits)];
	uint32_t at = by_time ? some->store[below(rng, some->n)] : some->first;
	bool above = !by_time && below(rng, 2);

	for (unsigned i = 0; i < s->nunits; i++) {
		const struct unit *u = &s->unit[i];
		unsigned n = 0;

		if (by_time)
			while (n < u->n && u->store[n] <= at)
				n++;
		else if ((u->first <= at) != above)
			n = u->n;
		s->reached[i].n = n;
	}
}

static void
choose(struct state *s, unsigned number)
{
	uint64_t rng = s->rp->seed ^ ((uint64_t)s->interval << 32 | number);
	unsigned how, odd;

	if (s->nunits == 0)
		return;
	memset(s->reached, 0, s->nunits * sizeof(*s->reached));
	if (few(s)) {
		for (unsigned i = 0; i < s->nunits; i++)
			s->reached[i].n = number >> i & 1;
		return;
	}
	if (number < 2) {
		for (unsigned i = 0; i < s->nunits; i++)
			s->reached[i].n = number ? s->unit[i].n : 0;
		return;
	}
	calm_random(&rng);
	how = below(&rng, 7);
	odd = below(&rng, s->nunits);
	if (how < 2)
		choose_cut(s, &rng, how == 0);
	for (unsigned i = 0; i < s->nunits; i++) {
		struct reached *r = &s->reached[i];
		unsigned n = s->unit[i].n;

		switch (how) {
		case 2: /* one only */
			r->n = i == odd ? 1 + below(&rng, n) : 0;
			break;
		case 3: /* all but one */
			r->n = i == odd ? below(&rng, n) : n;
			break;
		case 4:
			r->n = below(&rng, 8) ? n : below(&rng, n + 1);
			break;
		case 5:
			r->n = below(&rng, 8) ? 0 : below(&rng, n + 1);
			break;
		case 6:
			r->n = below(&rng, n + 1);
			break;
		}
	}
	if (below(&rng, 2)) /* a root that is whole shows what is missing below it */
		for (unsigned i = 0; i < s->nunits; i++)
			if (is_root(&s->unit[i]))
				s->reached[i].n = s->unit[i].n;
	how = below(&rng, 3);
	for (unsigned i = 0; i < s->nunits && how > 0; i++)
		if ((i == odd || (how == 2 && below(&rng, 8) == 0)) && s->reached[i].n < s->unit[i].n)
			s->reached[i].torn = (uint8_t)calm_random(&rng);
}

/* ---- images --------------------------------------------------------------------------------- */

static void
make_unit(struct state *s, const struct unit *u, const struct reached *r)
{
	uint8_t *pool = s->rp->pool;

	for (unsigned k = 0; k < r->n; k++)
		store_line(s, pool, u->store[k]);
	if (r->torn == 0)
		return;
	if (!s->rp->pages) {
		const struct rec *next = &s->rec->rec[u->store[r->n]];

		for (unsigned w = 0; w < WORDS; w++)
			if (r->torn >> w & 1)
				memcpy(pool + (size_t)next->at * LINE + w * sizeof(uint64_t),
				    s->rec->data[next->n] + w * sizeof(uint64_t), sizeof(uint64_t));
		return;
	}
	/* The sectors of the page that were written hold what was stored until then. */
	for (unsigned k = r->n; k < u->n; k++) {
		unsigned sector = (s->rec->rec[u->store[k]].at - u->first) / SECTOR_LINES;

		if (r->torn >> sector & 1)
			store_line(s, pool, u->store[k]);
	}
}

static void
take_back(struct state *s, bool stored)
{
	uint8_t *pool = s->rp->pool;

	if (stored) {
		for (size_t off = 0; off < CRASH_POOL_BYTES; off += BLK_SIZE)
			if (memcmp(pool + off, s->medium + off, BLK_SIZE) != 0)
				memcpy(pool + off, s->medium + off, BLK_SIZE);
		return;
	}
	for (unsigned i = 0; i < s->nunits; i++) {
		size_t off = (size_t)s->unit[i].first * LINE;

		if (s->reached[i].n > 0 || s->reached[i].torn)
			memcpy(pool + off, s->medium + off, s->rp->pages ? BLK_SIZE : LINE);
	}
}

/* Tells images of one interval apart. */
static uint64_t
choice_hash(const struct state *s)
{
	uint64_t h = 0;

	for (unsigned i = 0; i < s->nunits; i++) {
		h ^= (uint64_t)s->reached[i].n << 8 | s->reached[i].torn;
		calm_random(&h);
	}
	return h;
}

static int
one_image(struct state *s, unsigned number)
{
	struct image_id id = { s->interval, number };
	bool stored = false;
	int r;

	for (unsigned i = 0; i < s->nunits; i++)
		make_unit(s, &s->unit[i], &s->reached[i]);
	r = s->rp->image(s->rp->arg, id, s->begun, s->ended, &stored);
	take_back(s, stored);
	return r;
}

static int
images(struct state *s)
{
	unsigned most = few(s) ? 1u << s->nunits : s->rp->per_interval, nseen = 0;
	uint64_t *seen;
	int r = 0;

	if (s->rp->only_one) {
		if (s->interval != s->rp->only.interval)
			return 0;
		choose(s, s->rp->only.number);
		return one_image(s, s->rp->only.number);
	}
	most = min_of(most, TRIES_MAX);
	seen = malloc(most * sizeof(*seen));
	if (!seen)
		die("replay", ENOMEM);
	for (unsigned number = 0; number < most && r == 0; number++) {
		uint64_t h;
		unsigned k = 0;

		choose(s, number);
		h = choice_hash(s);
		while (k < nseen && seen[k] != h)
			k++;
		if (k < nseen)
			continue;
		seen[nseen++] = h;
		r = one_image(s, number);
	}
	free(seen);
	return r;
}

/* ---- the whole ----------------------------------------------------------------------------------- */

int
replay(struct replay *rp, const struct record *rec, const uint8_t *base)
{
	struct state s = { .rp = rp, .rec = rec };
	int r = 0;

	s.medium = malloc(CRASH_POOL_BYTES);
	s.index = calloc(LINES, sizeof(*s.index));
	if (!s.medium || !s.index)
		die("replay", ENOMEM);
	memcpy(s.medium, base, CRASH_POOL_BYTES);
	take_back(&s, true);
	for (size_t i = 0; i < rec->nrec && r == 0; i++) {
		const struct rec *e = &rec->rec[i];

		switch (e->kind) {
		case REC_STORE:
			pend(&s, e->at, (uint32_t)i);
			break;
		case REC_FLUSH:
			flush(&s, e->at, e->n);
			break;
		case REC_BARRIER:
			r = images(&s);
			barrier(&s);
			s.interval++;
			break;
		case REC_BEGIN:
			s.begun = e->n;
			break;
		case REC_END:
			s.ended = e->n;
			break;
		}
	}
	if (r == 0)
		r = images(&s);
	for (unsigned i = 0; i < s.room; i++)
		free(s.unit[i].store);
	free(s.unit);
	free(s.reached);
	free(s.index);
	free(s.medium);
	return r;
}
