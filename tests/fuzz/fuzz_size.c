/* SPDX-License-Identifier: BSD-3-Clause */
/* Sizes and offsets on command lines: any string is taken or refused with a reason, and a plain decimal number means
 * what strtoull says. */
#include <ctype.h>
#include <errno.h>

#include "cli/cli.h"
#include "pmem/size.h"
#include "tests/fuzz/fuzz.h"

static int
all_digits(const char *s)
{
	for (; *s; s++)
		if (!isdigit((unsigned char)*s))
			return 0;
	return 1;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *why = NULL;
	uint64_t bytes = 0;
	char buf[16], *text;
	int r;

	if (size > 64 || !(text = malloc(size + 1)))
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	r = size_parse(text, &bytes, &why);
	fuzz_require(r == 0 || ((r == -EINVAL || r == -ERANGE) && why && why[0]), "'%s': %d", text, r);
	if (r == 0)
		fuzz_require(strlen(cli_size(buf, bytes)) + 1 < sizeof(buf), "%s", buf);
	if (size > 0 && size < 20 && strlen(text) == size && all_digits(text)) {
		errno = 0;
		fuzz_require(r == 0 && bytes == strtoull(text, NULL, 10), "'%s' is not %llu", text,
		    (unsigned long long)bytes);
	}
	free(text);
	return 0;
}
