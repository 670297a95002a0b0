/* SPDX-License-Identifier: BSD-3-Clause */
/* ISA-L's crc32_iscsi is the bare polynomial division: it neither inverts the
 * initial value nor the result, so both are done here. Inverting the result on
 * the way out and again on the way in is also what lets a checksum be continued.
 * Its length is an int; longer buffers go through in pieces.
 */
#include "pmem/crc.h"

#include <isa-l.h>

#define PIECE ((size_t)1 << 30)

/* The header declares the buffer without const; it is only read. */
static uint32_t
iscsi(uint32_t state, const void *data, size_t len)
{
	return crc32_iscsi((unsigned char *)(uintptr_t)data, (int)len, state);
}

uint32_t
crc32c_more(uint32_t crc, const void *data, size_t len)
{
	const unsigned char *p = data;
	uint32_t state = ~crc;

	while (len > PIECE) {
		state = iscsi(state, p, PIECE);
		p += PIECE;
		len -= PIECE;
	}
	if (len > 0)
		state = iscsi(state, p, len);
	return ~state;
}

uint32_t
crc32c(const void *data, size_t len)
{
	return crc32c_more(0, data, len);
}

uint32_t
crc32c_block_but(const void *block, size_t crc_off)
{
	static const uint32_t zero;
	const char *p = block;
	size_t rest = crc_off + sizeof(zero);
	uint32_t crc = crc32c(p, crc_off);

	crc = crc32c_more(crc, &zero, sizeof(zero));
	return crc32c_more(crc, p + rest, BLK_SIZE - rest);
}
