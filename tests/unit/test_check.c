/* SPDX-License-Identifier: BSD-3-Clause */
/* The checker: a pool with some of everything is sound; each kind of damage that is planted in
 * it is found, and nothing else is. */
#include "tests/unit/unit_damage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/check.h"
#include "fs/fs.h"
#include "fs/siphash.h"
#include "pmem/crc.h"
#include "pmem/log.h"

#define FOUND_MAX 64

/* ---- checking it ----------------------------------------------------------------------- */

struct found {
	unsigned n;
	enum check_code code[FOUND_MAX];
	char line[FOUND_MAX][400];
	char path[FOUND_MAX][100];
	struct check_result res;
};

static void
note_finding(void *arg, const struct check_finding *f)
{
	struct found *found = arg;

	if (found->n == FOUND_MAX)
		return;
	found->code[found->n] = f->code;
	snprintf(found->path[found->n], sizeof(found->path[0]), "%s", f->path ? f->path : "");
	check_format(f, found->line[found->n], sizeof(found->line[0]));
	found->n++;
}

static void
check(const char *path, bool no_data, struct found *found)
{
	struct check_options opt = { .no_data = no_data, .finding = note_finding, .arg = found };
	struct pool_options po = { .flags = POOL_RDONLY, .domain = -1 };
	struct pool_error err;
	struct pool *p;
	int r = pool_open(&p, path, &po, &err);

	ck_assert_msg(r == 0, "open: %s", err.text);
	found->n = 0;
	ck_assert_ok(check_pool(p, &opt, &found->res));
	pool_close(p);
}

START_TEST(a_sound_pool_is_clean)
{
	struct sample s = damage_sample();
	struct found found;

	check(s.path, false, &found);
	ck_assert_msg(found.n == 0, "%s", found.line[0]);
	ck_assert_uint_eq(found.res.errors, 0);
	ck_assert_uint_eq(found.res.inodes, 7);
	ck_assert_uint_eq(found.res.dirs, 3);
	ck_assert_uint_eq(found.res.orphans, 0);
	ck_assert_uint_eq(found.res.shared_blocks, 8);
	/* file 74, clone 13 of its own, pre 20 */
	ck_assert_uint_eq(found.res.data_blocks, 74 + 13 + 20);
	ck_assert_uint_eq(found.res.verified_blocks, 74 + 13 + 8);
	check(s.path, true, &found);
	ck_assert_uint_eq(found.res.verified_blocks, 0);
}
END_TEST

START_TEST(an_empty_pool_is_clean)
{
	const char *path = unit_mkpool(4);
	struct pool_error err;
	struct found found;

	check(path, false, &found);
	ck_assert_uint_eq(found.n, 1);
	ck_assert_int_eq(found.code[0], CHECK_NO_ROOT_DIR);
	ck_assert_ok(fs_format(path, 0, 0, 0755, &err));
	check(path, false, &found);
	ck_assert_msg(found.n == 0, "%s", found.line[0]);
	ck_assert_uint_eq(found.res.inodes, 1);
}
END_TEST

static void
say_found(const char *name, const struct found *found)
{
	for (unsigned n = 0; n < found->n; n++)
		fprintf(stderr, "%s: [%s] %s\n", name, check_code_name(found->code[n]), found->line[n]);
}

START_TEST(exactly_what_was_planted_is_found)
{
	struct sample s = damage_sample();
	struct found found;
	bool same;

	damage_plant(&s, damage_kinds[_i].plant);
	check(s.path, false, &found);
	same = found.n == damage_kinds[_i].ncodes;
	for (unsigned n = 0; same && n < found.n; n++)
		same = found.code[n] == damage_kinds[_i].code[n];
	if (!same)
		say_found(damage_kinds[_i].name, &found);
	ck_assert_msg(same, "%s: %u findings", damage_kinds[_i].name, found.n);
	ck_assert_str_eq(found.path[0], damage_kinds[_i].path);
}
END_TEST

START_TEST(an_orphan_of_a_crash_is_no_damage)
{
	struct sample s = damage_sample();
	struct found found;

	damage_plant(&s, damage_plant_orphan);
	check(s.path, false, &found);
	say_found("orphan", &found);
	ck_assert_uint_eq(found.n, 0);
	ck_assert_uint_eq(found.res.orphans, 1);
}
END_TEST

/* ---- below the items ----------------------------------------------------------------------- */

static int
find_last_leaf(void *arg, const struct tree_walk_node *wn)
{
	if (wn->error == 0 && wn->level == 0)
		*(pblk_t *)arg = wn->block;
	return 0;
}

START_TEST(a_damaged_node_is_found)
{
	struct sample s = damage_sample();
	struct pool *p = unit_open(s.path);
	pblk_t leaf = PBLK_NONE;
	struct found found;
	unsigned nodes = 0;

	ck_assert_ok(tree_walk(p, find_last_leaf, &leaf));
	pool_close(p);
	damage_flip(s.path, leaf, 4000);
	check(s.path, false, &found);
	for (unsigned n = 0; n < found.n; n++)
		nodes += found.code[n] == CHECK_NODE;
	ck_assert_uint_eq(nodes, 1);
	ck_assert_int_eq(found.code[0], CHECK_NODE);
}
END_TEST

START_TEST(a_torn_root_slot_is_a_remark)
{
	struct sample s = damage_sample();
	struct root_block root;
	struct pool *p = unit_open(s.path);
	struct found found;

	pool_root(p, &root);
	pool_close(p);
	damage_flip(s.path, (root.txn + 1) % ROOT_SLOTS, 100);
	check(s.path, false, &found);
	ck_assert_uint_eq(found.n, 1);
	ck_assert_int_eq(found.code[0], CHECK_ROOT_SLOT);
	ck_assert_uint_eq(found.res.errors, 0);
	ck_assert_uint_eq(found.res.infos, 1);
}
END_TEST

/* A block of the tree in a file: the node that the edit itself does not move. */
START_TEST(a_file_that_names_a_node_is_found)
{
	struct sample s = damage_sample();
	struct plant p = { .s = &s, .pool = unit_open(s.path) };
	pblk_t leaf = PBLK_NONE;
	struct found found;
	unsigned nodes = 0;

	/* Fill leaves behind everything else; the last of them stays where it is. */
	ck_assert_ok(txn_begin(p.pool, &p.txn, txn_credits(p.pool, 20), 0));
	for (unsigned n = 0; n < 12; n++) {
		char value[1000];

		memset(value, 'f', sizeof(value));
		damage_put(&p, tree_key(8888, ITEM_SYMLINK, n), value, sizeof(value));
	}
	txn_end(&p.txn);
	ck_assert_ok(txn_commit_wait(p.pool, txn_open_number(p.pool)));
	ck_assert_ok(tree_walk(p.pool, find_last_leaf, &leaf));
	ck_assert_ok(txn_begin(p.pool, &p.txn, txn_credits(p.pool, 20), 0));
	damage_redirect_pre(&p, leaf);
	txn_end(&p.txn);
	ck_assert_ok(txn_commit_wait(p.pool, txn_open_number(p.pool)));
	pool_close(p.pool);
	check(s.path, true, &found);
	for (unsigned n = 0; n < found.n; n++)
		nodes += found.code[n] == CHECK_BLOCK_NODE;
	if (nodes == 0)
		say_found("node", &found);
	ck_assert_uint_ge(nodes, 1);
}
END_TEST

static int
cancel(void *arg, const char *phase, uint64_t done, uint64_t total)
{
	const char *at = arg;

	(void)done, (void)total;
	return strcmp(phase, at) == 0;
}

START_TEST(every_phase_can_be_cancelled)
{
	static const char *const phases[] = { "tree nodes", "names", "files", "data" };
	struct sample s = damage_sample();
	struct pool_options po = { .flags = POOL_RDONLY, .domain = -1 };
	struct check_result res;
	struct pool_error err;
	struct pool *p;

	for (unsigned n = 0; n < 4; n++) {
		struct check_options opt = { .progress = cancel, .arg = (void *)phases[n] };

		ck_assert_ok(pool_open(&p, s.path, &po, &err));
		ck_assert_err(check_pool(p, &opt, &res), ECANCELED);
		pool_close(p);
	}
}
END_TEST

START_TEST(a_line_is_printable)
{
	struct check_finding f = { .code = CHECK_NLINK, .ino = 12, .path = "/a\n\x1b[m\xff\xc3\xa9\\",
		.offset = 4096, .block = CHECK_NOWHERE, .what = "what", .means = "means" };
	char line[200];

	check_format(&f, line, sizeof(line));
	ck_assert_str_eq(line, "/a\\012\\033[m\\377\xc3\xa9\\134 (inode 12), offset 4096: what: means");
	f.path = NULL;
	f.ino = INO_NONE;
	f.offset = CHECK_NOWHERE;
	check_format(&f, line, sizeof(line));
	ck_assert_str_eq(line, "what: means");
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("check");
	TCase *t = tcase_create("clean");

	tcase_add_test(t, a_sound_pool_is_clean);
	tcase_add_test(t, an_empty_pool_is_clean);
	tcase_add_test(t, an_orphan_of_a_crash_is_no_damage);
	suite_add_tcase(s, t);
	t = tcase_create("planted");
	tcase_add_loop_test(t, exactly_what_was_planted_is_found, 0, (int)damage_nkinds);
	suite_add_tcase(s, t);
	t = tcase_create("below");
	tcase_add_test(t, a_damaged_node_is_found);
	tcase_add_test(t, a_torn_root_slot_is_a_remark);
	tcase_add_test(t, a_file_that_names_a_node_is_found);
	suite_add_tcase(s, t);
	t = tcase_create("rest");
	tcase_add_test(t, every_phase_can_be_cancelled);
	tcase_add_test(t, a_line_is_printable);
	suite_add_tcase(s, t);
	return unit_main(s);
}
