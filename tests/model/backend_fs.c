/* SPDX-License-Identifier: BSD-3-Clause */
/* The model test on fs/ without FUSE.
 *
 * This file stands where the kernel would: it walks paths, refuses to follow symlinks, and
 * makes the checks that the VFS makes before a filesystem is asked (xattrs of symlinks, overlapping
 * copies, moving a directory into itself). A crash is fs_abandon(); before every mount
 * the checker of fsck.pinfs has to find the pool sound.
 *
 * A direct mapping is a write pin plus the addresses that map_extents() told when it was
 * made: they have to stay right as long as the pin lives.
 */
#include "tests/model/model.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/check.h"
#include "fs/fs.h"
#include "fs/pin.h"

enum { MAP_EXTENTS = 256 };

struct slot {
	struct file *file;
	uint64_t pin;
	struct map_extent *map;
	int nmap;
};

static struct {
	char pool[600];
	struct fs *fs;
	struct slot slot[NSLOTS + 1];
} b;

static const struct fs_cred cred;

static int
mount_pool(void)
{
	struct pool_error why;
	struct fs_options o;
	int err;

	fs_options_default(&o);
	o.commit_s = 3600;
	err = fs_mount(&b.fs, b.pool, &o, &why);
	if (err) {
		fprintf(stderr, "fs_mount: %s\n", why.text);
		b.fs = NULL;
	}
	return err;
}

static int
start_fs(const char *dir)
{
	const struct mkfs_options mo = { .bytes = (uint64_t)64 << 20, .force = true };
	struct pool_error why;
	int err;

	memset(&b, 0, sizeof(b));
	snprintf(b.pool, sizeof(b.pool), "%s/pool", dir);
	err = pool_mkfs(b.pool, &mo, &why);
	if (!err)
		err = fs_format(b.pool, getuid(), getgid(), 0755, &why);
	if (err) {
		fprintf(stderr, "mkfs: %s\n", why.text);
		return err;
	}
	return mount_pool();
}

static void
print_finding(void *arg, const struct check_finding *f)
{
	char text[512];

	(void)arg;
	if (f->error && check_format(f, text, sizeof(text)) > 0)
		fprintf(stderr, "check: %s\n", text);
}

static int
check(void)
{
	const struct pool_options po = { .flags = POOL_RDONLY, .domain = -1 };
	const struct check_options co = { .threads = 1, .finding = print_finding };
	struct check_result res = { 0 };
	struct pool_error why;
	struct pool *p;
	int err;

	err = pool_open(&p, b.pool, &po, &why);
	if (err) {
		fprintf(stderr, "pool_open: %s\n", why.text);
		return err;
	}
	err = check_pool(p, &co, &res);
	pool_close(p);
	return err ? err : res.errors ? -EUCLEAN : 0;
}

static int
unmap_fs(unsigned slot)
{
	struct slot *s = &b.slot[slot];
	int err = pin_remove(s->file, s->pin);

	free(s->map);
	s->map = NULL;
	return err;
}

static int
close_fs(unsigned slot)
{
	struct slot *s = &b.slot[slot];

	/* the pin goes with the file, as where a client dies */
	free(s->map);
	s->map = NULL;
	fs_release(s->file);
	s->file = NULL;
	return 0;
}

static int
remount_fs(bool crash)
{
	int err = 0;

	for (unsigned k = 0; k <= NSLOTS; k++)
		if (b.slot[k].file)
			close_fs(k);
	if (crash)
		fs_abandon(b.fs);
	else
		err = fs_umount(b.fs);
	b.fs = NULL;
	if (!err)
		err = check();
	return err ? err : mount_pool();
}

static int
stop_fs(void)
{
	int err = fs_umount(b.fs);

	b.fs = NULL;
	return err ? err : check();
}

/* ---- paths --------------------------------------------------------------------------- */

/* The directory of the last component, with a reference; *last: that component. */
static int
walk(const char *path, struct inode **dir, const char **last)
{
	struct inode *d, *next;
	char name[256];
	const char *slash;
	int err;

	err = inode_get(b.fs, INO_ROOT, &d);
	while (!err && (slash = strchr(path, '/'))) {
		snprintf(name, sizeof(name), "%.*s", (int)(slash - path), path);
		err = fs_lookup(b.fs, d, name, &next);
		inode_put(d);
		if (err)
			return err;
		d = next;
		path = slash + 1;
		if (!inode_is_dir(d)) {
			/* a symlink would be followed: all of them point nowhere */
			err = S_ISLNK(d->attr.mode) ? -ENOENT : -ENOTDIR;
			inode_put(d);
		}
	}
	if (err)
		return err;
	*dir = d;
	*last = path;
	return 0;
}

/* The inode of a path, with a reference. "" is the root. */
static int
find(const char *path, struct inode **out)
{
	struct inode *dir;
	const char *last;
	int err = walk(path, &dir, &last);

	if (err)
		return err;
	if (!last[0]) {
		*out = dir;
		return 0;
	}
	err = fs_lookup(b.fs, dir, last, out);
	inode_put(dir);
	return err;
}

/* ---- files ------------------------------------------------------------------------------ */

static int
open_fs(unsigned slot, const char *path, bool create)
{
	struct inode *dir, *i;
	const char *last;
	int err = walk(path, &dir, &last);

	if (err)
		return err;
	err = fs_lookup(b.fs, dir, last, &i);
	if (err == -ENOENT && create)
		err = fs_create(b.fs, dir, last, S_IFREG | 0644, 0, &cred, &i);
	inode_put(dir);
	if (err)
		return err;
	err = fs_open(b.fs, i, O_RDWR, &cred, &b.slot[slot].file);
	inode_put(i);
	return err;
}

static long
write_fs(unsigned slot, const void *buf, size_t len, uint64_t off)
{
	return fs_write(b.slot[slot].file, buf, len, off, false);
}

static long
read_fs(unsigned slot, void *buf, size_t len, uint64_t off)
{
	return fs_read(b.slot[slot].file, buf, len, off);
}

static int
fstat_fs(unsigned slot, struct stat *st)
{
	inode_stat(b.slot[slot].file->inode, st);
	return 0;
}

static int
truncate_fs(unsigned slot, uint64_t size)
{
	struct stat st = { .st_size = (off_t)size };

	return fs_setattr(b.fs, b.slot[slot].file->inode, FS_SET_SIZE, &st, &cred);
}

static int
fallocate_fs(unsigned slot, int mode, uint64_t off, uint64_t len)
{
	return len ? fs_fallocate(b.slot[slot].file, mode, off, len) : -EINVAL;
}

static long
copy_fs(unsigned slot, uint64_t off, unsigned slot2, uint64_t off2, uint64_t len)
{
	struct file *in = b.slot[slot].file, *out = b.slot[slot2].file;
	uint64_t size = in->inode->size;
	long done = 0;

	if (len > (off < size ? size - off : 0)) /* as it was before: the copy may make the source longer */
		len = off < size ? size - off : 0;
	if (len && in->inode == out->inode && off + len > off2 && off2 + len > off)
		return -EINVAL;
	while (len) {
		ssize_t n = fs_copy_range(in, off, out, off2, len);

		if (n < 0)
			return n;
		if (n == 0)
			break;
		done += n;
		off += (uint64_t)n;
		off2 += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return done;
}

static int
collapse_fs(unsigned slot, uint64_t off, uint64_t len)
{
	return fs_collapse_range(b.slot[slot].file, off, len);
}

static int
insert_fs(unsigned slot, uint64_t off, uint64_t len)
{
	return fs_insert_range(b.slot[slot].file, off, len);
}

static int
exchange_fs(unsigned slot, uint64_t off, unsigned slot2, uint64_t off2, uint64_t len)
{
	return fs_exchange_range(b.slot[slot].file, off, b.slot[slot2].file, off2, len);
}

static int
map_fs(unsigned slot, uint64_t len)
{
	struct slot *s = &b.slot[slot];
	struct pin_range range = { .len = len };
	int n, err = pin_add(s->file, &(struct pin_params){ PIN_WRITE, PIN_TRANSIENT, 0, 0 }, &range, 1, &cred, &s->pin);

	if (err)
		return err;
	s->map = calloc(MAP_EXTENTS, sizeof(*s->map));
	n = s->map ? map_extents(s->file->inode, 0, range.len, s->map, MAP_EXTENTS) : -ENOMEM;
	if (n < 0) {
		unmap_fs(slot);
		return n;
	}
	s->nmap = n;
	return 0;
}

static int
store_fs(unsigned slot, const void *buf, size_t len, uint64_t off)
{
	const struct slot *s = &b.slot[slot];
	const char *from = buf;

	for (int k = 0; k < s->nmap && len; k++) {
		const struct map_extent *e = &s->map[k];
		uint64_t at = off - e->off, n = len;
		char *to;

		if (off < e->off || at >= e->len)
			continue;
		if (n > e->len - at)
			n = e->len - at;
		if (e->pool_off == UINT64_MAX)
			return -EFAULT;
		to = pool_block(fs_pool(b.fs), 0);
		memcpy(to + e->pool_off + at, from, n);
		from += n;
		off += n;
		len -= n;
	}
	return len ? -EFAULT : 0;
}

static int
fsync_fs(unsigned slot)
{
	return fs_fsync_wait(b.fs, b.slot[slot].file->inode, slot % 2);
}

static int
sync_fs(void)
{
	return fs_sync(b.fs);
}

/* ---- names --------------------------------------------------------------------------------- */

static int
mkdir_fs(const char *path)
{
	struct inode *dir, *i;
	const char *last;
	int err = walk(path, &dir, &last);

	if (err)
		return err;
	err = fs_mkdir(b.fs, dir, last, 0755, &cred, &i);
	inode_put(dir);
	if (!err)
		inode_put(i);
	return err;
}

static int
symlink_fs(const char *target, const char *path)
{
	struct inode *dir, *i;
	const char *last;
	int err = walk(path, &dir, &last);

	if (err)
		return err;
	err = fs_symlink(b.fs, dir, last, target, &cred, &i);
	inode_put(dir);
	if (!err)
		inode_put(i);
	return err;
}

static int
link_fs(const char *old, const char *path)
{
	struct inode *i, *dir, *there;
	const char *last;
	int err = find(old, &i);

	if (err)
		return err;
	err = walk(path, &dir, &last);
	if (err)
		goto out;
	err = fs_lookup(b.fs, dir, last, &there);
	if (!err) {
		inode_put(there);
		err = -EEXIST;
	} else if (err == -ENOENT) {
		err = fs_link(b.fs, i, dir, last);
	}
	inode_put(dir);
out:
	inode_put(i);
	return err;
}

static int
unlink_fs(const char *path)
{
	struct inode *dir;
	const char *last;
	int err = walk(path, &dir, &last);

	if (err)
		return err;
	err = fs_unlink(b.fs, dir, last);
	inode_put(dir);
	return err;
}

static int
rmdir_fs(const char *path)
{
	struct inode *dir;
	const char *last;
	int err = walk(path, &dir, &last);

	if (err)
		return err;
	err = fs_rmdir(b.fs, dir, last);
	inode_put(dir);
	return err;
}

/* Is path p the path q or a directory above it? */
static bool
path_above(const char *p, const char *q)
{
	size_t n = strlen(p);

	return strncmp(p, q, n) == 0 && (q[n] == 0 || q[n] == '/');
}

static int
rename_fs(const char *old, const char *path, unsigned flags)
{
	struct inode *d1, *d2, *i = NULL, *there = NULL;
	const char *n1, *n2;
	int err = walk(old, &d1, &n1), there_err;

	if (err)
		return err;
	err = walk(path, &d2, &n2);
	if (err) {
		inode_put(d1);
		return err;
	}
	/* what the kernel checks with both names locked, in its order */
	err = fs_lookup(b.fs, d1, n1, &i);
	there_err = fs_lookup(b.fs, d2, n2, &there);
	if (!err && there_err && there_err != -ENOENT)
		err = there_err;
	if (!err && (flags & RENAME_NOREPLACE) && there)
		err = -EEXIST;
	if (!err && (flags & RENAME_EXCHANGE) && !there)
		err = -ENOENT;
	if (!err && strcmp(old, path) != 0) {
		if (inode_is_dir(i) && path_above(old, path))
			err = -EINVAL;
		else if (there && inode_is_dir(there) && path_above(path, old))
			err = flags & RENAME_EXCHANGE ? -EINVAL : -ENOTEMPTY;
	}
	if (!err && i != there)
		err = fs_rename(b.fs, d1, n1, d2, n2, flags);
	if (i)
		inode_put(i);
	if (there)
		inode_put(there);
	inode_put(d1);
	inode_put(d2);
	return err;
}

static int
setxattr_fs(const char *path, const char *name, const void *value, size_t len, int flags)
{
	struct inode *i;
	int err = find(path, &i);

	if (err)
		return err;
	err = S_ISLNK(i->attr.mode) ? -EPERM : fs_setxattr(b.fs, i, name, value, len, flags, &cred);
	inode_put(i);
	return err;
}

static int
removexattr_fs(const char *path, const char *name)
{
	struct inode *i;
	int err = find(path, &i);

	if (err)
		return err;
	err = S_ISLNK(i->attr.mode) ? -EPERM : fs_removexattr(b.fs, i, name);
	inode_put(i);
	return err;
}

static long
getxattr_fs(const char *path, const char *name, void *buf, size_t len)
{
	struct inode *i;
	long n = find(path, &i);

	if (n)
		return n;
	n = fs_getxattr(b.fs, i, name, buf, len);
	inode_put(i);
	return n;
}

static int
stat_fs(const char *path, struct stat *st)
{
	struct inode *i;
	int err = find(path, &i);

	if (err)
		return err;
	inode_stat(i, st);
	inode_put(i);
	return 0;
}

static long
readlink_fs(const char *path, char *buf, size_t len)
{
	struct inode *i;
	long n = find(path, &i);

	if (n)
		return n;
	n = fs_readlink(b.fs, i, buf, len);
	inode_put(i);
	return n;
}

struct listing {
	struct dirent_seen *out;
	int n, max;
};

static int
take_entry(void *arg, const char *name, size_t namelen, uint64_t ino, unsigned char type, off_t cookie,
    struct inode *child)
{
	struct listing *l = arg;

	(void)type, (void)cookie, (void)child;
	if ((namelen == 1 && name[0] == '.') || (namelen == 2 && memcmp(name, "..", 2) == 0))
		return 0;
	if (l->n == l->max)
		return 1;
	snprintf(l->out[l->n].name, sizeof(l->out[l->n].name), "%.*s", (int)namelen, name);
	l->out[l->n++].ino = ino;
	return 0;
}

static int
readdir_fs(const char *path, struct dirent_seen *out, int max)
{
	struct listing l = { out, 0, max };
	struct inode *dir;
	int err = find(path, &dir);

	if (err)
		return err;
	err = fs_readdir(b.fs, dir, 0, false, take_entry, &l);
	inode_put(dir);
	return err < 0 ? err : l.n;
}

const struct backend backend_fs = {
	.name = "fs", .start = start_fs, .remount = remount_fs, .stop = stop_fs, .open = open_fs, .close = close_fs,
	.write = write_fs, .read = read_fs, .fstat = fstat_fs, .truncate = truncate_fs, .fallocate = fallocate_fs,
	.copy = copy_fs, .collapse = collapse_fs, .insert = insert_fs, .exchange = exchange_fs, .moves_under_mappings = true,
	.map = map_fs, .store = store_fs, .unmap = unmap_fs, .fsync = fsync_fs, .sync = sync_fs,
	.mkdir = mkdir_fs, .symlink = symlink_fs, .link = link_fs, .unlink = unlink_fs, .rmdir = rmdir_fs,
	.rename = rename_fs, .setxattr = setxattr_fs, .removexattr = removexattr_fs, .getxattr = getxattr_fs,
	.stat = stat_fs, .readlink = readlink_fs, .readdir = readdir_fs,
};
