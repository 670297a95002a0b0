/* SPDX-License-Identifier: BSD-3-Clause */
/* Repairing a pool, and all that has to hold afterwards. */
#ifndef PINFS_TESTS_UNIT_REPAIR_H
#define PINFS_TESTS_UNIT_REPAIR_H

#include "pmem/crc.h"
#include "tests/unit/unit_crash.h"

struct unit_told {
	unsigned n;
	unsigned codes[CHECK_CODES];
};

static inline void
unit_tell(void *arg, const struct check_finding *f)
{
	struct unit_told *told = arg;
	char line[600];

	told->n++;
	told->codes[f->code]++;
	if (!getenv("PINFS_TEST_VERBOSE"))
		return;
	check_format(f, line, sizeof(line));
	fprintf(stderr, "%s: [%s] %s\n", f->error ? "error" : "info", check_code_name(f->code), line);
}

/* As repair_pool; or what pool_open said. */
static inline int
unit_try_repair(const char *path, enum check_data data, struct unit_told *told, struct repair_result *rep)
{
	struct check_options opt = { .data = data, .finding = unit_tell, .arg = told, .threads = 1 };
	struct pool_options po = { .flags = POOL_MEND, .domain = -1 };
	struct check_result res;
	struct pool_error err;
	struct pool *p;
	int r = pool_open(&p, path, &po, &err);

	memset(told, 0, sizeof(*told));
	memset(rep, 0, sizeof(*rep));
	if (r < 0)
		return r;
	r = repair_pool(p, &opt, &res, rep);
	pool_close(p);
	return r;
}

static inline uint32_t
unit_pool_crc(const char *path)
{
	static char buf[1 << 20];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint32_t crc = 0;
	ssize_t n;

	ck_assert_int_ge(fd, 0);
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		crc = crc32c_more(crc, buf, (size_t)n);
	close(fd);
	return crc;
}

/* It checks clean, a second repair changes nothing, and it can be mounted. */
static inline void
unit_is_repaired(const char *path)
{
	struct repair_result again;
	struct unit_told ignored;
	struct fs_options opt;
	struct pool_error err;
	struct fs *fs;
	uint32_t crc;
	int r;

	unit_check(path);
	crc = unit_pool_crc(path);
	ck_assert_ok(unit_try_repair(path, CHECK_DATA_MARK, &ignored, &again));
	ck_assert_uint_eq(again.repaired, 0);
	ck_assert_uint_eq(again.commits, 0);
	ck_assert_uint_eq(unit_pool_crc(path), crc);
	fs_options_default(&opt);
	r = fs_mount(&fs, path, &opt, &err);
	ck_assert_msg(r == 0, "mount: %s", err.text);
	ck_assert_ok(fs_umount(fs));
	unit_check(path);
}

static inline struct repair_result
unit_repair(const char *path, enum check_data data, struct unit_told *told)
{
	struct repair_result rep;

	ck_assert_ok(unit_try_repair(path, data, told, &rep));
	ck_assert_uint_eq(rep.left, 0);
	unit_is_repaired(path);
	return rep;
}

#endif
