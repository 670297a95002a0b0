/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/unit.h"

#include <string.h>

#include "pmem/crc.h"

/* RFC 3720, B.4 (given there as bytes, lowest first), and the check value of the catalogues. */
START_TEST(vectors)
{
	static const uint8_t read_pdu[48] = { 0x01, 0xc0, [16] = 0x14, [22] = 0x04, [27] = 0x14, [31] = 0x18,
		[32] = 0x28, [40] = 0x02 };
	uint8_t buf[32];

	memset(buf, 0, sizeof(buf));
	ck_assert_uint_eq(crc32c(buf, sizeof(buf)), 0x8a9136aa);
	memset(buf, 0xff, sizeof(buf));
	ck_assert_uint_eq(crc32c(buf, sizeof(buf)), 0x62a8ab43);
	for (unsigned i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)i;
	ck_assert_uint_eq(crc32c(buf, sizeof(buf)), 0x46dd794e);
	for (unsigned i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)(31 - i);
	ck_assert_uint_eq(crc32c(buf, sizeof(buf)), 0x113fdb5c);
	ck_assert_uint_eq(crc32c(read_pdu, sizeof(read_pdu)), 0xd9963a56);
	ck_assert_uint_eq(crc32c("123456789", 9), 0xe3069283);
	ck_assert_uint_eq(crc32c("", 0), 0);
}
END_TEST

/* The definition, bit by bit. */
static uint32_t
slow(const uint8_t *p, size_t len)
{
	uint32_t crc = 0xffffffff;

	while (len-- > 0) {
		crc ^= *p++;
		for (int i = 0; i < 8; i++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	return ~crc;
}

START_TEST(any_length_and_alignment)
{
	uint8_t buf[600];
	uint64_t seed = 1;

	for (unsigned i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)unit_random(&seed);
	for (unsigned i = 0; i < 2000; i++) {
		size_t off = unit_random(&seed) % 64;
		size_t len = unit_random(&seed) % (sizeof(buf) - off);
		size_t cut = len ? unit_random(&seed) % len : 0;
		uint32_t whole = crc32c(buf + off, len);

		ck_assert_uint_eq(whole, slow(buf + off, len));
		ck_assert_uint_eq(crc32c_more(crc32c(buf + off, cut), buf + off + cut, len - cut), whole);
	}
}
END_TEST

START_TEST(field_counts_as_zero)
{
	uint8_t block[BLK_SIZE];
	uint64_t seed = 2;
	static const size_t offs[] = { 0, 12, 100, BLK_SIZE - 4 };

	for (unsigned i = 0; i < sizeof(block); i++)
		block[i] = (uint8_t)unit_random(&seed);
	for (unsigned i = 0; i < sizeof(offs) / sizeof(offs[0]); i++) {
		uint32_t crc = crc32c_block_but(block, offs[i]);

		memset(block + offs[i], 0, 4);
		ck_assert_uint_eq(crc, crc32c(block, sizeof(block)));
		ck_assert_uint_eq(crc, crc32c_block_but(block, offs[i]));
		memset(block + offs[i], 0xa5, 4);
		ck_assert_uint_eq(crc, crc32c_block_but(block, offs[i]));
		block[(offs[i] + 4) % BLK_SIZE] ^= 1;
		ck_assert_uint_ne(crc, crc32c_block_but(block, offs[i]));
	}
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("crc");
	TCase *tc = tcase_create("crc");

	tcase_add_test(tc, vectors);
	tcase_add_test(tc, any_length_and_alignment);
	tcase_add_test(tc, field_counts_as_zero);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
