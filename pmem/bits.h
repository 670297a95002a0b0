/* SPDX-License-Identifier: BSD-3-Clause */
/* Arrays of bits, as pmem/ has them for blocks: allocated zeroed, so that what is never touched costs no
 * memory. Not atomic. */
#ifndef PINFS_PMEM_BITS_H
#define PINFS_PMEM_BITS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "pmem/types.h"

static inline uint64_t *
bits_new(uint64_t nbits)
{
	return calloc(nbits / 64 + 1, sizeof(uint64_t));
}

static inline void
bits_put(uint64_t *bits, uint64_t from, uint64_t n, bool value)
{
	while (n > 0) {
		uint64_t shift = from % 64;
		uint64_t here = min_of(n, 64 - shift);
		uint64_t mask = here == 64 ? UINT64_MAX : ((uint64_t)1 << here) - 1;

		if (value)
			bits[from / 64] |= mask << shift;
		else
			bits[from / 64] &= ~(mask << shift);
		from += here;
		n -= here;
	}
}

/* The first bit at or behind from that has the value; end if there is none. */
static inline uint64_t
bits_find(const uint64_t *bits, uint64_t from, uint64_t end, bool value)
{
	while (from < end) {
		uint64_t word = value ? bits[from / 64] : ~bits[from / 64];

		word >>= from % 64;
		if (word)
			return min_of(end, from + (uint64_t)__builtin_ctzll(word));
		from = (from / 64 + 1) * 64;
	}
	return end;
}

#endif
