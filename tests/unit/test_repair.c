/* SPDX-License-Identifier: BSD-3-Clause */
/* Repair: whatever was planted, afterwards the pool checks clean and mounts, a second run changes
 * nothing, and files that were not concerned have the bytes that they had. */
#include "tests/unit/unit_damage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pmem/crc.h"
#include "tests/unit/unit_crash.h"

/* ---- repairing ---------------------------------------------------------------------------- */

static bool verbose; /* PINFS_TEST_VERBOSE */

struct told {
	unsigned n;
	unsigned codes[CHECK_CODES];
};

static void
tell(void *arg, const struct check_finding *f)
{
	struct told *told = arg;
	char line[600];

	told->n++;
	told->codes[f->code]++;
	check_format(f, line, sizeof(line));
	if (verbose)
		fprintf(stderr, "%s: [%s] %s\n", f->error ? "error" : "info", check_code_name(f->code), line);
}

static int
try_repair(const char *path, enum check_data data, struct told *told, struct repair_result *rep)
{
	struct check_options opt = { .data = data, .finding = tell, .arg = told, .threads = 2 };
	struct pool_options po = { .domain = -1 };
	struct check_result res;
	struct pool_error err;
	struct pool *p;
	int r = pool_open(&p, path, &po, &err);

	memset(told, 0, sizeof(*told));
	ck_assert_msg(r == 0, "open: %s", err.text);
	r = repair_pool(p, &opt, &res, rep);
	pool_close(p);
	return r;
}

static uint32_t
crc_of_pool(const char *path)
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

/* Repair; then all that has to hold. */
static struct repair_result
repair_with(const char *path, enum check_data data, struct told *told)
{
	struct repair_result rep, again;
	struct told ignored;
	struct fs *fs;
	uint32_t crc;

	ck_assert_ok(try_repair(path, data, told, &rep));
	ck_assert_uint_eq(rep.left, 0);
	unit_check(path);
	crc = crc_of_pool(path);
	ck_assert_ok(try_repair(path, CHECK_DATA_MARK, &ignored, &again));
	ck_assert_uint_eq(again.repaired, 0);
	ck_assert_uint_eq(again.commits, 0);
	ck_assert_uint_eq(crc_of_pool(path), crc);
	fs = unit_mount(path);
	ck_assert_ok(fs_umount(fs));
	unit_check(path);
	return rep;
}

static struct repair_result
repair(const char *path, struct told *told)
{
	return repair_with(path, CHECK_DATA_MARK, told);
}

/* ---- looking at files ------------------------------------------------------------------------- */

static struct inode *
walk_to(struct fs *fs, const char *path)
{
	struct inode *i, *next;
	char copy[200], *save = NULL;

	snprintf(copy, sizeof(copy), "%s", path);
	ck_assert_ok(inode_get(fs, INO_ROOT, &i));
	for (char *name = strtok_r(copy, "/", &save); name; name = strtok_r(NULL, "/", &save)) {
		int r = fs_lookup(fs, i, name, &next);

		inode_put(i);
		if (r == -ENOENT)
			return NULL;
		ck_assert_ok(r);
		i = next;
	}
	return i;
}

/* CRC and size of a file's content; false: no such file. */
static bool
content_of(struct fs *fs, const char *path, uint32_t *crc, uint64_t *size)
{
	static char buf[400000];
	struct inode *i = walk_to(fs, path);
	struct file *f;
	ssize_t n;

	if (!i)
		return false;
	ck_assert_ok(fs_open(fs, i, O_RDONLY, &unit_cred, &f));
	inode_put(i);
	n = fs_read(f, buf, sizeof(buf), 0);
	*size = unit_size(f);
	fs_release(f);
	*crc = n >= 0 ? crc32c(buf, (size_t)n) : 0;
	if (n >= 0)
		*size = (uint64_t)n;
	return n >= 0;
}

static const char *const names[] = { "/file", "/dir/clone", "/dir/pre", "/dir/sub/hard" };
#define NAMES (sizeof(names) / sizeof(names[0]))

struct contents {
	bool there[NAMES];
	uint32_t crc[NAMES];
	uint64_t size[NAMES];
};

static struct contents
contents_of(const char *path)
{
	struct fs *fs = unit_mount(path);
	struct contents c;

	for (unsigned n = 0; n < NAMES; n++)
		c.there[n] = content_of(fs, names[n], &c.crc[n], &c.size[n]);
	ck_assert_ok(fs_umount(fs));
	return c;
}

/* ---- what was planted ---------------------------------------------------------------------------- */

/* Damage after which a file is not what it was, or is elsewhere. */
static const struct {
	const char *kind, *name;
} concerned[] = {
	{ "unreachable", "/dir/clone" }, { "unreachable", "/dir/pre" }, { "unreachable", "/dir/sub/hard" },
	{ "circle", "/dir/clone" }, { "circle", "/dir/pre" }, { "circle", "/dir/sub/hard" },
	{ "extent", "/file" }, { "extent", "/dir/sub/hard" }, { "eof", "/file" }, { "eof", "/dir/sub/hard" },
	{ "data", "/file" }, { "data", "/dir/sub/hard" },
};

static bool
is_concerned(const char *kind, const char *name)
{
	for (unsigned n = 0; n < sizeof(concerned) / sizeof(concerned[0]); n++)
		if (strcmp(concerned[n].kind, kind) == 0 && strcmp(concerned[n].name, name) == 0)
			return true;
	return false;
}

START_TEST(what_was_planted_is_repaired)
{
	const struct damage_kind *kind = &damage_kinds[_i];
	struct sample s = damage_sample();
	struct contents before = contents_of(s.path), after;
	struct repair_result rep;
	struct told told;

	damage_plant(&s, kind->plant);
	rep = repair(s.path, &told);
	if (kind->code[0] == CHECK_ORPHAN_GONE)
		ck_assert_uint_eq(rep.repaired, 0);
	else
		ck_assert_uint_ge(rep.repaired, 1);
	ck_assert_uint_ge(told.codes[kind->code[0]], 1);
	after = contents_of(s.path);
	for (unsigned n = 0; n < NAMES; n++) {
		if (is_concerned(kind->name, names[n]))
			continue;
		ck_assert_msg(after.there[n], "%s: %s is gone", kind->name, names[n]);
		ck_assert_msg(after.crc[n] == before.crc[n] && after.size[n] == before.size[n], "%s: %s has changed",
		    kind->name, names[n]);
	}
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("repair");
	TCase *t = tcase_create("planted");

	verbose = getenv("PINFS_TEST_VERBOSE") != NULL;
	tcase_add_loop_test(t, what_was_planted_is_repaired, 0, (int)damage_nkinds);
	suite_add_tcase(s, t);
	return unit_main(s);
}
