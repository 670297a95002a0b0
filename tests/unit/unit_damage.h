/* SPDX-License-Identifier: BSD-3-Clause */
/* A pool with some of everything, and ways to damage it. */
#ifndef PINFS_TESTS_UNIT_DAMAGE_H
#define PINFS_TESTS_UNIT_DAMAGE_H

#include "fs/check.h"
#include "fs/fs.h"
#include "tests/unit/unit.h"

struct sample {
	const char *path;
	uint64_t dir, sub, file, pre, clone, link; /* inode numbers */
};

struct plant {
	struct pool *pool;
	struct txn txn;
	const struct sample *s;
};

struct damage_kind {
	const char *name;
	void (*plant)(struct plant *p);
	const char *path; /* of the first finding */
	enum check_code code[4];
	unsigned ncodes;
};
extern const struct damage_kind damage_kinds[];
extern const unsigned damage_nkinds;

/* 16 MiB, cleanly unmounted. */
struct sample damage_sample(void);
/* In a transaction of its own. */
void damage_plant(const struct sample *s, void (*fn)(struct plant *p));
void damage_flip(const char *path, pblk_t block, size_t off);

/* An orphan, as a crash leaves it. */
void damage_plant_orphan(struct plant *p);
void damage_put(struct plant *p, struct tree_key key, const void *value, size_t len);
/* Have the extent of `pre`, 20 unwritten blocks, name others. */
void damage_redirect_pre(struct plant *p, pblk_t to);

#endif
