/* SPDX-License-Identifier: BSD-3-Clause */
/* Ways to look at and to change a record of a file on a mount (record.h): all must come to the same. */
#ifndef PINFS_TESTS_WAYS_H
#define PINFS_TESTS_WAYS_H

#include <pinfs/pinfs.h>

#include "tests/stress/record.h"

enum way { MAPPED, READ_BEFORE, READ_AFTER, DIRECT, SPLICE, SENDFILE, COPY_RANGE, WAYS };
extern const char *const way_name[WAYS];

struct ways {
	int before, after, direct; /* descriptors of the file: opened before any pin, later, O_DIRECT */
	int spool;                 /* of a file of another filesystem, for splice and sendfile */
	int scratch;               /* of one of this filesystem, for copy_file_range */
	struct pinfs_map *map;     /* of all of the file */
};

/* Record n of the file by that way. */
void way_look(const struct ways *o, enum way w, uint64_t n, struct record *r);
void way_change(const struct ways *o, enum way w, uint64_t n, const struct record *r);
/* The program's: a call failed, with errno. */
_Noreturn void ways_failed(const char *what);

#endif
