/* SPDX-License-Identifier: BSD-3-Clause */
/* Metadata images: the check says of an image what it says of the pool, content and hidden names are not in
 * it, and nobody mounts it. */
#include "tests/unit/unit_damage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/image.h"
#include "tests/unit/unit_repair.h"

static struct image_result
make_image(const char *from, const char *to, bool hide)
{
	struct pool_options po = { .flags = POOL_RDONLY | POOL_MEND | POOL_IMAGE, .domain = -1 };
	struct image_options opt = { .hide_names = hide };
	struct image_result res;
	struct pool_error err;
	struct pool *p;
	int fd = open(to, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_ok(pool_open(&p, from, &po, &err));
	ck_assert_ok(image_write(p, fd, &opt, &res));
	pool_close(p);
	close(fd);
	return res;
}

static struct check_result
check(const char *path, struct unit_told *told)
{
	struct pool_options po = { .flags = POOL_RDONLY | POOL_MEND | POOL_IMAGE, .domain = -1 };
	struct check_options opt = { .finding = unit_tell, .arg = told };
	struct check_result res;
	struct pool_error err;
	struct pool *p;
	int r = pool_open(&p, path, &po, &err);

	ck_assert_msg(r == 0, "open: %s", err.text);
	memset(told, 0, sizeof(*told));
	ck_assert_ok(check_pool(p, &opt, &res));
	pool_close(p);
	return res;
}

/* Does the text occur anywhere? */
static bool
contains(const char *path, const char *text)
{
	size_t len = strlen(text), n;
	struct stat st;
	char *buf;
	bool found;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fstat(fd, &st), 0);
	n = (size_t)st.st_size;
	buf = malloc(n);
	ck_assert_ptr_nonnull(buf);
	ck_assert_int_eq(read(fd, buf, n), (ssize_t)n);
	close(fd);
	found = memmem(buf, n, text, len) != NULL;
	free(buf);
	return found;
}

static const char marker[] = "TOP-SECRET-CONTENT";

static const char *
make_pool(void)
{
	const char *path = unit_mkpool(8);
	struct fs *fs = unit_mount(path);
	struct inode *root, *i;
	char name[60];

	ck_assert_ok(inode_get(fs, INO_ROOT, &root));
	for (unsigned n = 0; n < 150; n++) {
		struct file *f;

		snprintf(name, sizeof(name), "confidential-%u", n);
		f = unit_file(fs, name, O_RDWR);
		unit_write(f, marker, sizeof(marker), n);
		ck_assert_ok(fs_setxattr(fs, f->inode, "user.classified", "attribute-value", 15, 0, &unit_cred));
		fs_release(f);
	}
	ck_assert_ok(fs_symlink(fs, root, "pointer", "where-it-points", &unit_cred, &i));
	inode_put(i);
	for (unsigned n = 0; n < 150; n += 3) { /* leaves dead values in nodes */
		snprintf(name, sizeof(name), "confidential-%u", n);
		unit_unlink(fs, name);
	}
	inode_put(root);
	ck_assert_ok(fs_umount(fs));
	return path;
}

START_TEST(an_image_is_sound_and_has_no_content)
{
	const char *path = make_pool(), *image = unit_pool_path(), *second = unit_pool_path();
	struct check_result pool, im;
	struct image_result res;
	struct unit_told told;
	struct stat st;

	pool = check(path, &told);
	res = make_image(path, image, _i == 1);
	ck_assert_uint_eq(res.nodes, pool.nodes);
	ck_assert_uint_eq(res.damaged, 0);
	im = check(image, &told);
	ck_assert_uint_eq(told.n, 0);
	ck_assert_uint_eq(im.inodes, pool.inodes);
	ck_assert_uint_eq(im.data_blocks, pool.data_blocks);
	ck_assert_uint_eq(im.verified_blocks, 0);
	ck_assert(contains(path, marker));
	ck_assert(!contains(image, marker));
	ck_assert_int_eq(stat(image, &st), 0);
	ck_assert_int_lt(st.st_blocks * 512, (off_t)(pool.nodes + 8) * BLK_SIZE);
	/* An image of an image is as good. */
	make_image(image, second, false);
	check(second, &told);
	ck_assert_uint_eq(told.n, 0);
}
END_TEST

START_TEST(names_are_hidden)
{
	static const char *const secrets[] = { "confidential", "classified", "attribute-value", "pointer", "where-it" };
	const char *path = make_pool(), *plain = unit_pool_path(), *hidden = unit_pool_path();

	make_image(path, plain, false);
	make_image(path, hidden, true);
	for (unsigned n = 0; n < sizeof(secrets) / sizeof(secrets[0]); n++) {
		ck_assert_msg(contains(plain, secrets[n]), "%s", secrets[n]);
		ck_assert_msg(!contains(hidden, secrets[n]), "%s", secrets[n]);
	}
	ck_assert(contains(hidden, "user."));
}
END_TEST

START_TEST(nobody_mounts_an_image)
{
	const char *path = make_pool(), *image = unit_pool_path();
	struct fs_options opt;
	struct pool_error err;
	struct fs *fs;

	make_image(path, image, false);
	fs_options_default(&opt);
	for (unsigned n = 0; n < 2; n++) {
		opt.readonly = n == 1;
		ck_assert_err(fs_mount(&fs, image, &opt, &err), EPROTONOSUPPORT);
		ck_assert_ptr_nonnull(strstr(err.text, "image"));
	}
}
END_TEST

/* Of each kind of damage the image tells what the pool tells; content is all that is missing. */
START_TEST(damage_shows_in_the_image)
{
	const struct damage_kind *kind = &damage_kinds[_i];
	struct sample s = damage_sample();
	const char *image = unit_pool_path();
	struct unit_told pool, im;

	damage_plant(&s, kind->plant);
	check(s.path, &pool);
	for (unsigned hide = 0; hide < 2; hide++) {
		make_image(s.path, image, hide);
		check(image, &im);
		pool.codes[CHECK_DATA_CRC] = im.codes[CHECK_DATA_CRC] = 0;
		if (hide && strcmp(kind->name, "dirent") == 0)
			continue; /* an impossible name is hidden by one that is possible */
		if (hide) { /* what can't be told then */
			pool.codes[CHECK_DIRENT_HASH] = 0;
			pool.codes[CHECK_XATTR] = im.codes[CHECK_XATTR] = 0;
			pool.codes[CHECK_DIRENT] = im.codes[CHECK_DIRENT] = 0;
		}
		for (unsigned n = 0; n < CHECK_CODES; n++)
			ck_assert_msg(im.codes[n] == pool.codes[n], "%s: %s: %u in the image, %u in the pool", kind->name,
			    check_code_name((enum check_code)n), im.codes[n], pool.codes[n]);
	}
}
END_TEST

static int
note_leaf(void *arg, const struct tree_walk_node *wn)
{
	if (wn->level == 0)
		*(pblk_t *)arg = wn->block;
	return 0;
}

START_TEST(a_damaged_node_shows_in_the_image)
{
	const char *path = make_pool(), *image = unit_pool_path();
	struct pool *p = unit_open(path);
	struct unit_told told;
	pblk_t leaf = PBLK_NONE;

	ck_assert_ok(tree_walk(p, note_leaf, &leaf));
	pool_close(p);
	damage_flip(path, leaf, 4000);
	ck_assert_uint_eq(make_image(path, image, false).damaged, 1);
	check(image, &told);
	ck_assert_uint_eq(told.codes[CHECK_NODE], 1);
	ck_assert_uint_eq(make_image(path, image, true).damaged, 1);
	check(image, &told);
	ck_assert_uint_eq(told.codes[CHECK_NODE], 1);
	ck_assert(!contains(image, "confidential"));
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("image");
	TCase *t = tcase_create("image");

	tcase_add_loop_test(t, an_image_is_sound_and_has_no_content, 0, 2);
	tcase_add_test(t, names_are_hidden);
	tcase_add_test(t, nobody_mounts_an_image);
	tcase_add_loop_test(t, damage_shows_in_the_image, 0, (int)damage_nkinds);
	tcase_add_test(t, a_damaged_node_shows_in_the_image);
	suite_add_tcase(s, t);
	return unit_main(s);
}
