/* SPDX-License-Identifier: BSD-3-Clause */
/* Options structures that can grow.
 *
 * Each begins with its size as the caller was compiled with it. A caller that is older than the library has fewer
 * fields, and the missing ones are 0, which means what was done before there was a choice. A newer one has more: fine as
 * long as he makes no use of them, and refused otherwise, for what he asks for would not be done. (As clone3(2) and
 * openat2(2) have it.)
 */
#include <errno.h>
#include <string.h>

#include "client/client_i.h"

#define OPTIONS_MAX 4096 /* bytes: more is not a size but an accident */

int
options_take(void *to, size_t known, const void *from)
{
	const unsigned char *p = from;
	size_t size;

	memcpy(&size, p, sizeof(size));
	if (size < sizeof(size) || size > OPTIONS_MAX)
		return -EINVAL;
	for (size_t k = known; k < size; k++)
		if (p[k] != 0)
			return -E2BIG;
	memset(to, 0, known);
	memcpy(to, p, size < known ? size : known);
	return 0;
}
