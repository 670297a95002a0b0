/* SPDX-License-Identifier: BSD-3-Clause */
/* Mount options: any string is taken apart or refused with a sentence; what was taken can be told to the
 * kernel, within the buffers that the header promises. */
#include <errno.h>

#include "fs/fuse/options.h"
#include "tests/fuzz/fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mount_options o;
	char list[256], why[512], *text = malloc(size + 1);
	int r;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	mount_options_default(&o);
	r = mount_options_parse(&o, text, why, sizeof(why));
	fuzz_require(r == 0 || r == -EINVAL, "%d", r);
	fuzz_require((r == 0) == (why[0] == '\0'), "status %d, but '%s'", r, why);
	if (r == 0) {
		mount_options_kernel(&o, list, sizeof(list));
		fuzz_require(strlen(list) + 1 < sizeof(list), "list may be cut: %s", list);
		fuzz_require(o.threads <= MOUNT_THREADS_MAX && o.attr_timeout <= MOUNT_TIMEOUT_MAX, "out of range");
	}
	free(text);
	return 0;
}
