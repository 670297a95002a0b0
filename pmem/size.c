/* SPDX-License-Identifier: BSD-3-Clause */
/* Sizes as people write them: a whole number, perhaps a fraction of a unit, perhaps a unit. The fraction is taken as a
 * double, which is exact to far less than a byte of any unit below an exbibyte. */
#include "pmem/size.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static int
parse_unit(const char *s, unsigned *shift)
{
	static const char letters[] = "KMGTPE";
	const char *l;

	*shift = 0;
	if (*s == '\0')
		return 0;
	if (strcasecmp(s, "B") == 0)
		return 0;
	l = strchr(letters, toupper((unsigned char)*s));
	if (!l)
		return -EINVAL;
	*shift = 10 * (unsigned)(l - letters + 1);
	s++;
	return *s == '\0' || strcasecmp(s, "B") == 0 || strcasecmp(s, "iB") == 0 ? 0 : -EINVAL;
}

int
size_parse(const char *text, uint64_t *bytes, const char **why)
{
	bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
	unsigned long long whole;
	double fraction = 0;
	unsigned shift;
	char *end;

	*why = "not a size: write a number with an optional unit, such as 4096, 64K or 1.5G";
	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	whole = strtoull(text, &end, hex ? 16 : 10);
	if (errno == ERANGE) {
		*why = "too large";
		return -ERANGE;
	}
	if (*end == '.' && !hex) {
		const char *digits = end + 1;

		if (!isdigit((unsigned char)*digits))
			return -EINVAL;
		for (double scale = 0.1; isdigit((unsigned char)*digits); digits++, scale /= 10)
			fraction += (*digits - '0') * scale;
		end = (char *)digits;
	}
	while (*end == ' ')
		end++;
	if (parse_unit(end, &shift) < 0)
		return -EINVAL;
	if (fraction > 0 && shift == 0) {
		*why = "a fraction needs a unit, such as 1.5G";
		return -EINVAL;
	}
	if (whole > UINT64_MAX >> shift) {
		*why = "too large";
		return -ERANGE;
	}
	*bytes = (uint64_t)whole << shift;
	/* fraction < 1, so the sum can only pass the end at the very top of the range */
	if (fraction > 0) {
		uint64_t more = (uint64_t)ldexp(fraction, (int)shift);

		if (*bytes > UINT64_MAX - more) {
			*why = "too large";
			return -ERANGE;
		}
		*bytes += more;
	}
	return 0;
}
