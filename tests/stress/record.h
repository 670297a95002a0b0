/* SPDX-License-Identifier: BSD-3-Clause */
/* Records that carry their identity and a checksum, so that a torn one, an old one, and one that belongs somewhere else
 * are seen; and the generator of random numbers that tests use with them. */
#ifndef PINFS_TESTS_RECORD_H
#define PINFS_TESTS_RECORD_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define RECORD_SIZE 512u
#define RECORD_WORDS (RECORD_SIZE / 8)

struct record {
	uint64_t number, sequence, by, sum;
	uint64_t mark;      /* not part of the sum: 0, or RECORD_MARK and anything, stored in one piece */
	uint64_t filler[RECORD_WORDS - 5];
};
#define RECORD_MARK ((uint64_t)0x6d61726b << 32)

static inline uint64_t
record_sum(const struct record *r)
{
	uint64_t s = r->number * 0x9e3779b97f4a7c15u ^ r->sequence * 0xc2b2ae3d27d4eb4fu ^ r->by;

	for (unsigned k = 0; k < RECORD_WORDS - 5; k++)
		s = (s << 7 | s >> 57) ^ r->filler[k];
	return s;
}

static inline void
record_fill(struct record *r, uint64_t number, uint64_t sequence, uint64_t by)
{
	*r = (struct record){ .number = number, .sequence = sequence, .by = by };
	for (unsigned k = 0; k < RECORD_WORDS - 5; k++)
		r->filler[k] = sequence * 0x100000001b3u + by * 0x9e3779b9u + k;
	r->sum = record_sum(r);
}

/* A whole one, as somebody wrote it. */
static inline bool
record_whole(const struct record *r)
{
	return r->sum == record_sum(r) && r->sequence > 0 && (r->mark & ~(uint64_t)UINT32_MAX) == (r->mark ? RECORD_MARK : 0);
}

/* Nothing was written here, or it was taken away. */
static inline bool
record_empty(const struct record *r)
{
	struct record zero = { .mark = r->mark };

	return memcmp(r, &zero, sizeof(zero)) == 0 && (r->mark & ~(uint64_t)UINT32_MAX) == (r->mark ? RECORD_MARK : 0);
}

/* xorshift64*; the state must not be 0. */
static inline uint64_t
random_next(uint64_t *s)
{
	*s ^= *s >> 12, *s ^= *s << 25, *s ^= *s >> 27;
	return *s * 0x2545f4914f6cdd1du;
}

static inline unsigned
random_below(uint64_t *s, unsigned n)
{
	return (unsigned)(random_next(s) >> 33) % n;
}

#endif
