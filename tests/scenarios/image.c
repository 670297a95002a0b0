/* SPDX-License-Identifier: BSD-3-Clause */
/* The copy lies beside the pool and is removed with the image. */
#include "tests/scenarios/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <pinfs/pinfs.h>

#include "fs/check.h"
#include "fs/fs.h"

struct image {
	char path[4200];
	struct fs *fs;
};

static const struct fs_cred cred = { .umask = 022, .fsetid = true };

static int
copy(const char *from, const char *to)
{
	int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct stat st;
	ssize_t n = -1;
	off_t off = 0;

	if (in >= 0 && out >= 0 && fstat(in, &st) == 0)
		while (off < st.st_size && (n = sendfile(out, in, &off, (size_t)(st.st_size - off))) > 0)
			;
	if (in >= 0)
		close(in);
	if (out >= 0)
		close(out);
	return n < 0 ? -errno : 0;
}

static void
finding(void *arg, const struct check_finding *f)
{
	char line[400];

	(void)arg;
	check_format(f, line, sizeof(line));
	if (f->error)
		printf("crash image: %s\n", line);
}

static int
check(const char *path)
{
	struct pool_options po = { .flags = POOL_RDONLY, .domain = -1 };
	struct check_options co = { .finding = finding };
	struct check_result res = { 0 };
	struct pool_error err;
	struct pool *p;
	int r = pool_open(&p, path, &po, &err);

	if (r < 0) {
		printf("crash image: %s\n", err.text);
		return r;
	}
	r = check_pool(p, &co, &res);
	pool_close(p);
	return r < 0 ? r : res.errors ? -EIO : 0;
}

struct image *
image_take(int fd)
{
	struct pinfs_status *st = calloc(1, sizeof(*st));
	struct image *im = calloc(1, sizeof(*im));
	struct pool_error err = { "" };
	struct fs_options o;
	int r = -ENOMEM;

	if (st && im)
		r = pinfs_get_status(fd, st);
	if (r == 0) {
		snprintf(im->path, sizeof(im->path), "%s.image.%d", st->pool_path, (int)getpid());
		r = copy(st->pool_path, im->path);
		if (r == 0)
			r = check(im->path);
		fs_options_default(&o);
		o.readonly = true;
		o.verify = FS_VERIFY_ALWAYS;
		if (r == 0)
			r = fs_mount(&im->fs, im->path, &o, &err);
		unlink(im->path);
	}
	free(st);
	if (r == 0)
		return im;
	printf("crash image: %s %s\n", strerror(-r), err.text);
	free(im);
	return NULL;
}

ssize_t
image_read(struct image *im, const char *name, void *buf, size_t len, uint64_t off)
{
	struct inode *dir, *i = NULL;
	struct file *f;
	ssize_t n = inode_get(im->fs, INO_ROOT, &dir);

	if (n < 0)
		return n;
	n = fs_lookup(im->fs, dir, name, &i);
	inode_put(dir);
	if (n == 0)
		n = fs_open(im->fs, i, O_RDONLY, &cred, &f);
	inode_put(n == 0 || i ? i : NULL);
	if (n < 0)
		return n;
	n = fs_read(f, buf, len, off);
	fs_release(f);
	return n;
}

void
image_drop(struct image *im)
{
	if (!im)
		return;
	fs_umount(im->fs);
	free(im);
}
