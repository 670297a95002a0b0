/* SPDX-License-Identifier: BSD-3-Clause */
/* Apart from unit.c, so that tests of pmem/ link without fs/. */
#include "tests/unit/unit.h"

#include <unistd.h>

#include "fs/fs.h"

struct fs *
unit_mount(const char *path)
{
	struct pool_options look = { .flags = POOL_RDONLY, .domain = -1 };
	struct root_block root;
	struct fs_options opt;
	struct pool_error err;
	struct pool *p;
	struct fs *fs;
	int r;

	r = pool_open(&p, path, &look, &err);
	ck_assert_msg(r == 0, "open %s: %s", path, err.text);
	pool_root(p, &root);
	pool_close(p);
	if (root.tree[0].block == PBLK_NONE) {
		r = fs_format(path, getuid(), getgid(), 0755, &err);
		ck_assert_msg(r == 0, "format %s: %s", path, err.text);
	}
	fs_options_default(&opt);
	r = fs_mount(&fs, path, &opt, &err);
	ck_assert_msg(r == 0, "mount %s: %s", path, err.text);
	return fs;
}
