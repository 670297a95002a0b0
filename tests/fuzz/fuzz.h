/* SPDX-License-Identifier: BSD-3-Clause */
/* What fuzz targets share. A target is one function over bytes, in the form that libFuzzer and afl-clang-fast call;
 * built without a fuzzer (fuzz_main.c) the same program replays files, which is how what was found once
 * stays found.
 *
 * A target must not depend on anything but its input: no time, no random numbers, no state kept from the
 * input before.
 */
#ifndef PINFS_TESTS_FUZZ_H
#define PINFS_TESTS_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input, taken from the front. Behind its end there are zeroes. */
struct fuzz_input {
	const uint8_t *p;
	size_t left;
};

static inline uint64_t
fuzz_take(struct fuzz_input *in, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned k = 0; k < bytes && in->left > 0; k++, in->left--)
		v |= (uint64_t)*in->p++ << (8 * k);
	return v;
}

static inline uint8_t fuzz_u8(struct fuzz_input *in) { return (uint8_t)fuzz_take(in, 1); }
static inline uint16_t fuzz_u16(struct fuzz_input *in) { return (uint16_t)fuzz_take(in, 2); }

/* An offset or length in which all magnitudes are likely: a byte says how many bits, and whether it is near
 * a boundary of blocks. */
static inline uint64_t
fuzz_offset(struct fuzz_input *in)
{
	uint8_t how = fuzz_u8(in);
	uint64_t v = fuzz_take(in, 1 + (how & 7));

	return how & 0x80 ? (v << 12) - ((how >> 4) & 1) : v;
}

/* Up to max bytes; *n tells how many. They are the input's own. */
static inline const uint8_t *
fuzz_bytes(struct fuzz_input *in, size_t max, size_t *n)
{
	const uint8_t *p = in->p;

	*n = in->left < max ? in->left : max;
	in->p += *n;
	in->left -= *n;
	return p;
}

/* A promise was broken: what a fuzzer takes for a crash. */
#define fuzz_require(cond, ...) \
	do { \
		if (!(cond)) { \
			fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #cond); \
			fprintf(stderr, __VA_ARGS__); \
			fputc('\n', stderr); \
			abort(); \
		} \
	} while (0)

#endif
