/* SPDX-License-Identifier: BSD-3-Clause */
/* The vocabulary of sequences. Each operation is small and works on a handful of names, so that any of
 * them has a good chance to meet what another has left: files a and b with content, x of the dax
 * kind, directory d; c is a name that is free.
 *
 * An operation that can't do anything (the name is gone, there is no space) returns an error, and what it
 * shows afterwards is what counts. What is written differs in each eight bytes from everything that was
 * written before.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/pin.h"
#include "tests/crash/crash.h"

#define WRITE_MAX (512u * 1024)

static const struct fs_cred cred = { .fsetid = true };

/* ---- names and files ------------------------------------------------------------------ */

/* The directory of a path of one or two components, and the last of them. */
static int
parent_of(struct fs *fs, const char *path, struct inode **dir, const char **name)
{
	const char *slash = strchr(path, '/');
	char first[16];
	struct inode *root;
	int r;

	r = inode_get(fs, INO_ROOT, &root);
	*name = path;
	*dir = root;
	if (r < 0 || !slash)
		return r;
	snprintf(first, sizeof(first), "%.*s", (int)(slash - path), path);
	*name = slash + 1;
	r = fs_lookup(fs, root, first, dir);
	inode_put(root);
	if (r == 0 && !inode_is_dir(*dir)) {
		inode_put(*dir);
		r = -ENOTDIR;
	}
	return r;
}

static int
lookup(struct fs *fs, const char *path, struct inode **out)
{
	const char *name;
	struct inode *dir;
	int r = parent_of(fs, path, &dir, &name);

	if (r < 0)
		return r;
	r = fs_lookup(fs, dir, name, out);
	inode_put(dir);
	return r;
}

static int
open_file(struct fs *fs, const char *path, struct file **out)
{
	struct inode *i;
	int r = lookup(fs, path, &i);

	if (r < 0)
		return r;
	r = inode_is_reg(i) ? fs_open(fs, i, O_RDWR, &cred, out) : -EISDIR;
	inode_put(i);
	return r;
}

/* The file that is held as this name; opened, if it is not. */
static int
hold(struct run *r, const char *name, struct held **out)
{
	struct file *f;
	int err;

	for (unsigned k = 0; k < r->nheld; k++) {
		if (strcmp(r->held[k].name, name) == 0) {
			*out = &r->held[k];
			return 0;
		}
	}
	if (r->nheld == HELD_MAX)
		return -EMFILE;
	err = open_file(r->fs, name, &f);
	if (err < 0)
		return err;
	*out = &r->held[r->nheld++];
	**out = (struct held){ .file = f };
	snprintf((*out)->name, sizeof((*out)->name), "%s", name);
	return 0;
}

static void
drop_map(struct held *h)
{
	if (h->map.at)
		unmap(&h->map);
	h->map.at = NULL;
}

void
ops_close(struct run *r)
{
	while (r->nheld > 0) {
		drop_map(&r->held[--r->nheld]);
		fs_release(r->held[r->nheld].file);
	}
}

static void
fill(struct run *r, uint8_t *buf, size_t len)
{
	r->stamp++;
	for (size_t at = 0; at < len; at += sizeof(uint64_t)) {
		uint64_t word = (uint64_t)r->stamp << 32 | at;

		memcpy(buf + at, &word, min_of(sizeof(word), len - at));
	}
}

static uint64_t
size_of(const struct file *f)
{
	struct stat st;

	inode_stat(f->inode, &st);
	return (uint64_t)st.st_size;
}

/* ---- operations ----------------------------------------------------------------------------- */

static int
do_create(struct run *r, const struct op_def *op, struct promise *p)
{
	const char *name;
	struct inode *dir, *i;
	int err = parent_of(r->fs, op->a, &dir, &name);

	(void)p;
	if (err < 0)
		return err;
	err = fs_create(r->fs, dir, name, S_IFREG | 0644, 0, &cred, &i);
	if (err == 0)
		inode_put(i);
	inode_put(dir);
	return err;
}

static int
write_to(struct run *r, struct file *f, size_t len, uint64_t off)
{
	uint8_t *buf = malloc(len);
	ssize_t n;

	if (!buf)
		die("write", ENOMEM);
	fill(r, buf, len);
	n = fs_write(f, buf, len, off, false);
	free(buf);
	return n < 0 ? (int)n : 0;
}

/* A file without a name, written and then given one. */
static int
do_tmpfile(struct run *r, const struct op_def *op, struct promise *p)
{
	struct inode *root, *i;
	struct file *f;
	int err = inode_get(r->fs, INO_ROOT, &root);

	(void)p;
	if (err < 0)
		return err;
	err = fs_tmpfile(r->fs, root, S_IFREG | 0644, &cred, &i);
	if (err == 0) {
		err = fs_open(r->fs, i, O_RDWR, &cred, &f);
		if (err == 0) {
			err = write_to(r, f, op->len, 0);
			fs_release(f);
		}
		if (err == 0)
			err = fs_link(r->fs, i, root, op->a);
		inode_put(i);
	}
	inode_put(root);
	return err;
}

/* off UINT64_MAX: at the end. */
static int
do_write(struct run *r, const struct op_def *op, struct promise *p)
{
	struct file *f;
	int err = open_file(r->fs, op->a, &f);

	(void)p;
	if (err < 0)
		return err;
	err = write_to(r, f, op->len, op->off == UINT64_MAX ? size_of(f) : op->off);
	fs_release(f);
	return err;
}

/* A run of blocks, len of them, becomes content without a copy. */
static int
do_adopt(struct run *r, const struct op_def *op, struct promise *p)
{
	struct pool *pool = fs_pool(r->fs);
	struct file *f;
	uint64_t got;
	pblk_t start;
	ssize_t n;
	int err = open_file(r->fs, op->a, &f);

	(void)p;
	if (err < 0)
		return err;
	err = pool_alloc_data(pool, PBLK_NONE, op->len, 0, &start, &got);
	if (err == 0) {
		fill(r, (uint8_t *)pool_block(pool, start), got << BLK_SHIFT);
		n = fs_write_blocks(f, start, got, op->off, false);
		err = n < 0 ? (int)n : 0;
	}
	fs_release(f);
	return err;
}

static int
do_fsync(struct run *r, const struct op_def *op, struct promise *p)
{
	struct inode *i;
	int err = lookup(r->fs, op->a, &i);

	if (err < 0)
		return err;
	err = fs_fsync_wait(r->fs, i, op->mode);
	if (err == 0 && op->mode)
		p->data_ino = i->ino;
	else if (err == 0)
		p->ino = i->ino;
	inode_put(i);
	return err;
}

static int
do_sync(struct run *r, const struct op_def *op, struct promise *p)
{
	int err;

	(void)op;
	p->sync = true;
	err = fs_sync(r->fs);
	p->all = err == 0;
	return err;
}

static int
do_rename(struct run *r, const struct op_def *op, struct promise *p)
{
	const char *from, *to;
	struct inode *dir, *dir2, *i;
	uint64_t ino = 0;
	int err;

	err = parent_of(r->fs, op->a, &dir, &from);
	if (err < 0)
		return err;
	err = parent_of(r->fs, op->b, &dir2, &to);
	if (err < 0) {
		inode_put(dir);
		return err;
	}
	/* Over a file that there is: what takes its name is written back before. */
	if (op->mode == 0 && fs_lookup(r->fs, dir2, to, &i) == 0) {
		inode_put(i);
		if (fs_lookup(r->fs, dir, from, &i) == 0) {
			ino = inode_is_reg(i) ? i->ino : 0;
			inode_put(i);
		}
	}
	err = fs_rename(r->fs, dir, from, dir2, to, (unsigned)op->mode);
	if (err == 0)
		p->with_names = ino;
	inode_put(dir);
	inode_put(dir2);
	return err;
}

static int
do_link(struct run *r, const struct op_def *op, struct promise *p)
{
	const char *name;
	struct inode *i, *dir;
	int err = lookup(r->fs, op->a, &i);

	(void)p;
	if (err < 0)
		return err;
	err = parent_of(r->fs, op->b, &dir, &name);
	if (err == 0) {
		err = inode_is_dir(i) ? -EPERM : fs_link(r->fs, i, dir, name);
		inode_put(dir);
	}
	inode_put(i);
	return err;
}

static int
do_unlink(struct run *r, const struct op_def *op, struct promise *p)
{
	const char *name;
	struct inode *dir;
	int err = parent_of(r->fs, op->a, &dir, &name);

	(void)p;
	if (err < 0)
		return err;
	err = op->mode ? fs_rmdir(r->fs, dir, name) : fs_unlink(r->fs, dir, name);
	inode_put(dir);
	return err;
}

static int
do_mkdir(struct run *r, const struct op_def *op, struct promise *p)
{
	const char *name;
	struct inode *dir, *i;
	int err = parent_of(r->fs, op->a, &dir, &name);

	(void)p;
	if (err < 0)
		return err;
	err = op->b ? fs_symlink(r->fs, dir, name, op->b, &cred, &i) : fs_mkdir(r->fs, dir, name, 0755, &cred, &i);
	if (err == 0)
		inode_put(i);
	inode_put(dir);
	return err;
}

static int
do_truncate(struct run *r, const struct op_def *op, struct promise *p)
{
	struct stat st = { .st_size = (off_t)op->len };
	struct inode *i;
	int err = lookup(r->fs, op->a, &i);

	(void)p;
	if (err < 0)
		return err;
	err = inode_is_reg(i) ? fs_setattr(r->fs, i, FS_SET_SIZE, &st, &cred) : -EISDIR;
	inode_put(i);
	return err;
}

static int
do_chmod(struct run *r, const struct op_def *op, struct promise *p)
{
	struct stat st = { .st_mode = (mode_t)op->mode };
	struct inode *i;
	int err = lookup(r->fs, op->a, &i);

	(void)p;
	if (err < 0)
		return err;
	err = fs_setattr(r->fs, i, FS_SET_MODE, &st, &cred);
	inode_put(i);
	return err;
}

static int
do_fallocate(struct run *r, const struct op_def *op, struct promise *p)
{
	struct file *f;
	int err = open_file(r->fs, op->a, &f);

	(void)p;
	if (err < 0)
		return err;
	err = fs_fallocate(f, op->mode, op->off, op->len);
	fs_release(f);
	return err;
}

/* mode 0: collapse; 1: insert. */
static int
do_shift(struct run *r, const struct op_def *op, struct promise *p)
{
	struct file *f;
	int err = open_file(r->fs, op->a, &f);

	if (err < 0)
		return err;
	err = op->mode ? fs_insert_range(f, op->off, op->len) : fs_collapse_range(f, op->off, op->len);
	p->moved[0] = err == 0 ? f->inode->ino : 0;
	fs_release(f);
	return err;
}

/* len 0: remove it. */
static int
do_xattr(struct run *r, const struct op_def *op, struct promise *p)
{
	uint8_t value[4096];
	struct inode *i;
	int err = lookup(r->fs, op->a, &i);

	(void)p;
	if (err < 0)
		return err;
	fill(r, value, op->len);
	err = op->len ? fs_setxattr(r->fs, i, op->b, value, op->len, 0, &cred) : fs_removexattr(r->fs, i, op->b);
	inode_put(i);
	return err;
}

/* Changes the mode, too. */
static int
do_acl(struct run *r, const struct op_def *op, struct promise *p)
{
	static const uint8_t acl[] = {
		2, 0, 0, 0,
		1, 0, 7, 0, 255, 255, 255, 255, /* owner */
		2, 0, 5, 0, 210, 4, 0, 0,       /* user 1234 */
		4, 0, 4, 0, 255, 255, 255, 255, /* group */
		16, 0, 5, 0, 255, 255, 255, 255, /* mask */
		32, 0, 0, 0, 255, 255, 255, 255, /* others */
	};
	struct inode *i;
	int err = lookup(r->fs, op->a, &i);

	(void)p;
	if (err < 0)
		return err;
	err = fs_setxattr(r->fs, i, "system.posix_acl_access", acl, sizeof(acl), 0, &cred);
	inode_put(i);
	return err;
}

static int
do_clone(struct run *r, const struct op_def *op, struct promise *p)
{
	struct file *from, *to;
	int err = open_file(r->fs, op->a, &from);

	if (err < 0)
		return err;
	err = open_file(r->fs, op->b, &to);
	if (err == 0) {
		err = fs_clone_range(from, 0, to, op->off, op->len);
		p->moved[0] = err == 0 ? to->inode->ino : 0;
		fs_release(to);
	}
	fs_release(from);
	return err;
}

static int
do_copy(struct run *r, const struct op_def *op, struct promise *p)
{
	struct file *from, *to;
	ssize_t n = 0;
	int err = open_file(r->fs, op->a, &from);

	if (err < 0)
		return err;
	err = open_file(r->fs, op->b, &to);
	if (err == 0) {
		n = fs_copy_range(from, 0, to, op->off, op->len);
		p->moved[0] = n > 0 ? to->inode->ino : 0;
		fs_release(to);
	}
	fs_release(from);
	return err < 0 ? err : n < 0 ? (int)n : 0;
}

/* The content of a range of two files: both or none. */
static int
do_swap(struct run *r, const struct op_def *op, struct promise *p)
{
	struct file *a, *b;
	int err = open_file(r->fs, op->a, &a);

	if (err < 0)
		return err;
	err = open_file(r->fs, op->b, &b);
	if (err == 0) {
		err = fs_exchange_range(a, op->off, b, op->off, op->len);
		if (err == 0) {
			p->moved[0] = a->inode->ino;
			p->moved[1] = b->inode->ino;
		}
		fs_release(b);
	}
	fs_release(a);
	return err;
}

static int
do_open(struct run *r, const struct op_def *op, struct promise *p)
{
	struct held *h;

	(void)p;
	return hold(r, op->a, &h);
}

static int
do_close(struct run *r, const struct op_def *op, struct promise *p)
{
	(void)op, (void)p;
	ops_close(r);
	return 0;
}

/* The whole file. */
static int
pin(struct run *r, const char *name, enum pin_access access, enum pin_class class, struct held **out)
{
	const struct pin_params params = { .access = access, .class = class };
	struct pin_range range = { 0 };
	int err = hold(r, name, out);

	if (err < 0 || (*out)->pin)
		return err;
	range.len = size_of((*out)->file);
	if (range.len == 0)
		return -EINVAL;
	err = pin_add((*out)->file, &params, &range, 1, &cred, &(*out)->pin);
	(*out)->map_off = range.pool_off;
	(*out)->map.len = range.ext_len;
	return err;
}

/* With a mapping whose stores the kernel tells, so that writeback leaves alone what was not stored to. */
static int
do_faultable(struct run *r, const struct op_def *op, struct promise *p)
{
	struct held *h;
	int fd, reason, err = pin(r, op->a, PIN_WRITE, PIN_FAULTABLE, &h);

	(void)p;
	if (err < 0 || h->map.at)
		return err;
	fd = open(r->path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		die(r->path, errno);
	h->map.at = mmap(NULL, h->map.len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)h->map_off);
	close(fd);
	if (h->map.at == MAP_FAILED)
		die("mmap", errno);
	err = protect(&h->map);
	if (err == 0)
		err = pin_track(h->file, h->pin, 0, h->map.len, (uintptr_t)h->map.at, getpid(), &reason);
	if (err < 0)
		drop_map(h);
	return err;
}

static int
do_pin(struct run *r, const struct op_def *op, struct promise *p)
{
	struct held *h;

	(void)p;
	return pin(r, op->a, (enum pin_access)op->mode, PIN_TRANSIENT, &h);
}

static int
do_unpin(struct run *r, const struct op_def *op, struct promise *p)
{
	struct held *h;
	int err = hold(r, op->a, &h);

	(void)p;
	if (err < 0 || !h->pin)
		return err < 0 ? err : -ENOENT;
	drop_map(h);
	err = pin_remove(h->file, h->pin);
	h->pin = 0;
	return err;
}

/* Through the mapping that a pin gives: some bytes in each of its blocks; mode 1: in one place only. */
static int
do_store(struct run *r, const struct op_def *op, struct promise *p)
{
	struct map_extent x[16];
	struct held *h;
	uint8_t *buf;
	int n = pin(r, op->a, PIN_WRITE, PIN_TRANSIENT, &h);

	(void)p;
	if (n < 0)
		return n;
	n = map_extents(h->file->inode, 0, size_of(h->file), x, 16);
	buf = malloc(WRITE_MAX);
	if (!buf)
		die(op->name, ENOMEM);
	for (int k = 0; k < n; k++) {
		uint8_t *to;

		if (x[k].pool_off == UINT64_MAX || !(x[k].flags & MAP_WPINNED))
			continue;
		to = (uint8_t *)pool_block(fs_pool(r->fs), x[k].pool_off >> BLK_SHIFT);
		if (h->map.at && x[k].pool_off == h->map_off + x[k].off && x[k].off + x[k].len <= h->map.len)
			to = h->map.at + x[k].off;
		fill(r, buf, min_of(x[k].len, (uint64_t)WRITE_MAX));
		for (uint64_t at = 0; at + op->off < min_of(x[k].len, (uint64_t)WRITE_MAX); at += BLK_SIZE) {
			memcpy(to + at + op->off, buf + at, op->len);
			if (op->mode)
				break;
		}
	}
	free(buf);
	record_stores(r->rec);
	return n < 0 ? n : 0;
}

/* SIGKILL and a new mount, which makes durable what it finds. */
static int
do_restart(struct run *r, const struct op_def *op, struct promise *p)
{
	struct pool_error err;
	int e;

	ops_close(r);
	if (r->fs)
		fs_abandon(r->fs);
	e = crash_mount(&r->fs, r->path, r->domain, r->rec, &err);
	if (e < 0)
		die(err.text, -e);
	(void)op;
	p->all = true;
	return 0;
}

#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)

const struct op_def ops[] = {
	{ "create-c", do_create, "c", NULL, 0, 0, 0, OP_QUIET },
	{ "tmpfile-c", do_tmpfile, "c", NULL, 0, 3000, 0, OP_PLAIN },
	{ "create-da", do_create, "d/a", NULL, 0, 0, 0, OP_QUIET },
	{ "write-a", do_write, "a", NULL, 0, 4096, 0, OP_QUIET },
	{ "patch-a", do_write, "a", NULL, 3000, 6000, 0, OP_QUIET },
	{ "append-b", do_write, "b", NULL, UINT64_MAX, 5000, 0, OP_QUIET },
	{ "adopt-b", do_adopt, "b", NULL, 4096, 2, 0, OP_QUIET },
	{ "write-c", do_write, "c", NULL, 0, 9000, 0, OP_QUIET },
	{ "write-x", do_write, "x", NULL, 1000, 4000, 0, OP_QUIET },
	{ "append-x", do_write, "x", NULL, UINT64_MAX, 6000, 0, OP_QUIET },
	{ "fsync-a", do_fsync, "a", NULL, 0, 0, 0, OP_SYNCS },
	{ "fsync-b", do_fsync, "b", NULL, 0, 0, 0, OP_SYNCS },
	{ "fsync-c", do_fsync, "c", NULL, 0, 0, 0, OP_SYNCS },
	{ "fsync-x", do_fsync, "x", NULL, 0, 0, 0, OP_SYNCS },
	{ "fdatasync-a", do_fsync, "a", NULL, 0, 0, 1, OP_SYNCS },
	{ "sync", do_sync, NULL, NULL, 0, 0, 0, OP_SYNCS },
	{ "rename-a-b", do_rename, "a", "b", 0, 0, 0, OP_PLAIN },
	{ "rename-c-a", do_rename, "c", "a", 0, 0, 0, OP_PLAIN },
	{ "rename-a-da", do_rename, "a", "d/a", 0, 0, 0, OP_QUIET },
	{ "exchange-a-b", do_rename, "a", "b", 0, 0, RENAME_EXCHANGE, OP_PLAIN },
	{ "link-a-c", do_link, "a", "c", 0, 0, 0, OP_QUIET },
	{ "unlink-a", do_unlink, "a", NULL, 0, 0, 0, OP_QUIET },
	{ "unlink-b", do_unlink, "b", NULL, 0, 0, 0, OP_QUIET },
	{ "unlink-c", do_unlink, "c", NULL, 0, 0, 0, OP_QUIET },
	{ "unlink-x", do_unlink, "x", NULL, 0, 0, 0, OP_QUIET },
	{ "rmdir-d", do_unlink, "d", NULL, 0, 0, 1, OP_QUIET },
	{ "mkdir-c", do_mkdir, "c", NULL, 0, 0, 0, OP_QUIET },
	{ "symlink-c", do_mkdir, "c", "a", 0, 0, 0, OP_QUIET },
	{ "cut-a", do_truncate, "a", NULL, 0, 1000, 0, OP_QUIET },
	{ "empty-b", do_truncate, "b", NULL, 0, 0, 0, OP_QUIET },
	{ "grow-a", do_truncate, "a", NULL, 0, 20000, 0, OP_QUIET },
	{ "cut-x", do_truncate, "x", NULL, 0, 2000, 0, OP_QUIET },
	{ "chmod-a", do_chmod, "a", NULL, 0, 0, 0600, OP_QUIET },
	{ "acl-a", do_acl, "a", NULL, 0, 0, 0, OP_QUIET },
	{ "alloc-a", do_fallocate, "a", NULL, 4000, 20000, 0, OP_QUIET },
	{ "alloc-x", do_fallocate, "x", NULL, 4000, 20000, 0, OP_QUIET },
	{ "punch-a", do_fallocate, "a", NULL, 1000, 6000, PUNCH, OP_QUIET },
	{ "zero-a", do_fallocate, "a", NULL, 2000, 9000, FALLOC_FL_ZERO_RANGE, OP_QUIET },
	{ "collapse-a", do_shift, "a", NULL, 0, 4096, 0, OP_PLAIN },
	{ "insert-a", do_shift, "a", NULL, 4096, 8192, 1, OP_PLAIN },
	{ "collapse-x", do_shift, "x", NULL, 0, 4096, 0, OP_PLAIN },
	{ "insert-x", do_shift, "x", NULL, 0, 4096, 1, OP_PLAIN },
	{ "xattr-a", do_xattr, "a", "user.small", 0, 20, 0, OP_QUIET },
	{ "bigxattr-b", do_xattr, "b", "user.big", 0, 3500, 0, OP_QUIET },
	{ "rmxattr-a", do_xattr, "a", "user.small", 0, 0, 0, OP_QUIET },
	{ "clone-a-b", do_clone, "a", "b", 0, 0, 0, OP_PLAIN },
	{ "clone-b-a", do_clone, "b", "a", 4096, 4096, 0, OP_PLAIN },
	{ "copy-b-a", do_copy, "b", "a", 3000, 5000, 0, OP_PLAIN },
	{ "swap-a-b", do_swap, "a", "b", 0, 4096, 0, OP_PLAIN },
	{ "swap-all-a-b", do_swap, "a", "b", 0, 0, 0, OP_PLAIN },
	{ "pin-a", do_pin, "a", NULL, 0, 0, PIN_WRITE, OP_PLAIN },
	{ "rpin-a", do_pin, "a", NULL, 0, 0, PIN_READ, OP_PLAIN },
	{ "fpin-a", do_faultable, "a", NULL, 0, 0, 0, OP_PLAIN },
	{ "store1-a", do_store, "a", NULL, 4500, 8, 1, OP_PLAIN },
	{ "store-a", do_store, "a", NULL, 500, 200, 0, OP_PLAIN },
	{ "store-x", do_store, "x", NULL, 1000, 100, 0, OP_PLAIN },
	{ "unpin-a", do_unpin, "a", NULL, 0, 0, 0, OP_PLAIN },
	{ "open-b", do_open, "b", NULL, 0, 0, 0, OP_PLAIN },
	{ "close", do_close, NULL, NULL, 0, 0, 0, OP_PLAIN },
	{ "restart", do_restart, NULL, NULL, 0, 0, 0, OP_PLAIN },
	{ "fill-c", do_write, "c", NULL, 0, 500000, 0, OP_PLAIN },
	{ "fill-b", do_write, "b", NULL, 0, 300000, 0, OP_PLAIN },
};
const struct op_def op_restart = { "restart", do_restart, NULL, NULL, 0, 0, 0, OP_PLAIN };
const unsigned nops = sizeof(ops) / sizeof(ops[0]);

const struct op_def *
op_find(const char *name, size_t len)
{
	for (unsigned k = 0; k < nops; k++)
		if (strlen(ops[k].name) == len && memcmp(ops[k].name, name, len) == 0)
			return &ops[k];
	return NULL;
}

/* ---- what there is to begin with ----------------------------------------------------------------- */

static void
must(struct run *r, int (*fn)(struct run *, const struct op_def *, struct promise *), struct op_def op)
{
	struct promise p = { .all = false };
	int err = fn(r, &op, &p);

	if (err < 0)
		die(op.name, -err);
}

void
ops_prepare(struct fs *fs)
{
	struct run r = { .fs = fs, .stamp = 1000 };
	struct inode *x;
	int err;

	must(&r, do_create, (struct op_def){ .name = "create", .a = "a" });
	must(&r, do_write, (struct op_def){ .name = "write", .a = "a", .len = 10000 });
	must(&r, do_create, (struct op_def){ .name = "create", .a = "b" });
	must(&r, do_write, (struct op_def){ .name = "write", .a = "b", .len = 8192 });
	must(&r, do_mkdir, (struct op_def){ .name = "mkdir", .a = "d" });
	/* so that the tree has some leaves, and an inner node */
	must(&r, do_xattr, (struct op_def){ .name = "xattr", .a = "a", .b = "user.base", .len = 3000 });
	must(&r, do_xattr, (struct op_def){ .name = "xattr", .a = "d", .b = "user.base", .len = 3000 });
	must(&r, do_xattr, (struct op_def){ .name = "xattr", .a = "d", .b = "user.more", .len = 2000 });
	must(&r, do_create, (struct op_def){ .name = "create", .a = "x" });
	err = lookup(fs, "x", &x);
	if (err == 0) {
		err = fs_setflags(fs, x, INODE_FL_DAX, 0, &cred);
		inode_put(x);
	}
	if (err < 0)
		die("x", -err);
	must(&r, do_write, (struct op_def){ .name = "write", .a = "x", .len = 6000 });
}
