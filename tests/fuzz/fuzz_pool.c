/* SPDX-License-Identifier: BSD-3-Clause */
/* A damaged pool, mounted and used.
 *
 * The base image is a small pool with one of everything, made once: directories large enough for a tree of several
 * levels, data, holes, preallocated and shared blocks, attributes, links, special files. An input is
 *
 *   how       bit 0: make all checksums right again after patching, so that what is behind them is met
 *   n         patches: which block (root slots and nodes; no data), where, up to 16 bytes
 *   script    operations on the mounted filesystem
 *
 * Whatever the patches did, mounting either fails with an error or works; every operation ends; the check ends (and so
 * does its other use, on what the operations made of it). Without patches this is a model in small: then the check has
 * to find nothing, and what was written last is read back.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fs/check.h"
#include "fs/fs.h"
#include "fs/pin.h"
#include "pmem/crc.h"
#include "pmem/log.h"
#include "pmem/node.h"
#include "tests/fuzz/fuzz.h"

#define POOL_BYTES ((size_t)2 << 20)
#define POOL_BLOCKS (POOL_BYTES >> BLK_SHIFT)
#define PATCHES_MAX 16u
#define SCRIPT_MAX 96u
#define FILES 4u
#define IO_MAX 20000u

static uint8_t base[POOL_BYTES];
static pblk_t targets[POOL_BLOCKS]; /* blocks that patches may hit */
static unsigned ntargets;
static uint8_t *image;               /* the pool file, mapped */
static char path[64];

static const struct fs_cred root_cred = { .umask = 022, .fsetid = true };

/* ---- the base image ---------------------------------------------------------------------------- */

static struct inode *
look_up(struct fs *fs, const char *name)
{
	struct inode *dir, *i = NULL;

	if (inode_get(fs, INO_ROOT, &dir) < 0)
		return NULL;
	if (fs_lookup(fs, dir, name, &i) < 0)
		i = NULL;
	inode_put(dir);
	return i;
}

static struct file *
open_name(struct fs *fs, const char *name, int flags)
{
	struct inode *i = look_up(fs, name);
	struct file *f = NULL;

	if (i && fs_open(fs, i, flags, &root_cred, &f) < 0)
		f = NULL;
	inode_put(i);
	return f;
}

static void
make_file(struct fs *fs, struct inode *dir, const char *name, size_t bytes, uint64_t off)
{
	uint8_t *buf = malloc(bytes + 1);
	struct inode *i;
	struct file *f;

	fuzz_require(buf && fs_create(fs, dir, name, S_IFREG | 0644, 0, &root_cred, &i) == 0, "%s", name);
	fuzz_require(fs_open(fs, i, O_RDWR, &root_cred, &f) == 0, "%s", name);
	for (size_t k = 0; k < bytes; k++)
		buf[k] = (uint8_t)(k * 7 + off);
	fuzz_require(fs_write(f, buf, bytes, off, false) == (ssize_t)bytes, "%s", name);
	fs_release(f);
	inode_put(i);
	free(buf);
}

static void
fill(struct fs *fs)
{
	struct inode *dir, *sub, *i;
	struct file *a, *b;
	char name[200];

	fuzz_require(inode_get(fs, INO_ROOT, &dir) == 0, "root");
	for (unsigned k = 0; k < FILES; k++) {
		snprintf(name, sizeof(name), "f%u", k);
		make_file(fs, dir, name, 3000 + 9000 * k, k == 3 ? (uint64_t)1 << 40 : 0);
	}
	fuzz_require(fs_mkdir(fs, dir, "sub", 0755, &root_cred, &sub) == 0, "sub");
	for (unsigned k = 0; k < 40; k++) {
		snprintf(name, sizeof(name), "a rather long name, so that leaves are full soon, number %u%0*u", k, 100, k);
		make_file(fs, sub, name, 10, 0);
	}
	fuzz_require(fs_symlink(fs, dir, "link", "where it points", &root_cred, &i) == 0, "link");
	inode_put(i);
	fuzz_require(fs_create(fs, dir, "fifo", S_IFIFO | 0600, 0, &root_cred, &i) == 0, "fifo");
	inode_put(i);
	i = look_up(fs, "f1");
	memset(name, 'v', sizeof(name));
	fuzz_require(fs_setxattr(fs, i, "user.a", name, sizeof(name), 0, &root_cred) == 0, "xattr");
	fuzz_require(fs_link(fs, i, sub, "hard") == 0, "hard link");
	inode_put(i);
	a = open_name(fs, "f2", O_RDWR);
	b = open_name(fs, "f0", O_RDWR);
	fuzz_require(fs_fallocate(b, FALLOC_FL_KEEP_SIZE, 1 << 16, 1 << 14) == 0, "preallocate");
	fuzz_require(fs_clone_range(a, 0, b, 8192, 8192) == 0, "clone");
	fs_release(a);
	fs_release(b);
	inode_put(sub);
	inode_put(dir);
}

static struct fs_options
quiet_options(void)
{
	struct fs_options o;

	fs_options_default(&o);
	o.commit_s = 3600;
	return o;
}

static int
note_target(void *arg, const struct node_header *n)
{
	(void)arg;
	targets[ntargets++] = n->block;
	return 0;
}

/* Call fn for every node that a root reaches in buf; children before parents. Damage is stepped over. */
static void
each_node(uint8_t *buf, struct node_ref *ref, unsigned depth, uint8_t *seen,
    int (*fn)(void *arg, const struct node_header *n))
{
	struct node_header *n;

	if (ref->block < POOL_FIRST_BLOCK || ref->block >= POOL_BLOCKS || depth > NODE_LEVELS_MAX || seen[ref->block])
		return;
	seen[ref->block] = 1;
	n = (struct node_header *)(buf + (ref->block << BLK_SHIFT));
	for (unsigned k = 0; n->level > 0 && k < n->nr && k < INNER_SLOTS_MAX; k++)
		each_node(buf, &inner_slots(n)[k].child, depth + 1, seen, fn);
	if (fn)
		fn(NULL, n);
	ref->crc = crc32c(n, BLK_SIZE);
}

/* Both roots, and all that they reach, have the checksums that they should have. */
static void
fix_checksums(uint8_t *buf, int (*fn)(void *arg, const struct node_header *n))
{
	for (unsigned slot = 0; slot < ROOT_SLOTS; slot++) {
		struct root_block *r = (struct root_block *)(buf + slot * BLK_SIZE);
		uint8_t seen[POOL_BLOCKS] = { 0 };

		for (unsigned t = 0; t < POOL_TREES_MAX; t++)
			each_node(buf, &r->tree[t], 0, seen, fn);
		r->crc = crc32c_block_but(r, offsetof(struct root_block, crc));
	}
}

static void
no_log(void *arg, int level, const char *text)
{
	(void)arg, (void)level, (void)text;
}

static void
remove_pool(void)
{
	unlink(path);
}

static void
make_base(void)
{
	static const uint8_t uuid[16] = { 1 };
	struct mkfs_options mo = { .bytes = POOL_BYTES, .uuid = uuid, .force = true };
	struct fs_options fo = quiet_options();
	struct pool_error err;
	struct root_block *r;
	struct fs *fs;
	int fd;

	pinfs_log_to(no_log, NULL);
	snprintf(path, sizeof(path), "/dev/shm/pinfs-fuzz.%d", (int)getpid());
	atexit(remove_pool);
	fuzz_require(pool_mkfs(path, &mo, &err) == 0, "%s", err.text);
	fuzz_require(fs_format(path, 0, 0, 0755, &err) == 0, "%s", err.text);
	fuzz_require(fs_mount(&fs, path, &fo, &err) == 0, "%s", err.text);
	fill(fs);
	fuzz_require(fs_umount(fs) == 0, "umount");
	fd = open(path, O_RDWR | O_CLOEXEC);
	fuzz_require(fd >= 0, "%s", strerror(errno));
	image = mmap(NULL, POOL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	fuzz_require(image != MAP_FAILED, "%s", strerror(errno));
	close(fd);
	memcpy(base, image, POOL_BYTES);
	/* of the newer root, so that patches matter */
	r = (struct root_block *)base;
	if (((struct root_block *)(base + BLK_SIZE))->txn > r->txn)
		r = (struct root_block *)(base + BLK_SIZE);
	targets[ntargets++] = 0;
	targets[ntargets++] = 1;
	each_node(base, &r->tree[0], 0, (uint8_t[POOL_BLOCKS]){ 0 }, note_target);
}

/* ---- operations ------------------------------------------------------------------------------- */

struct run {
	struct fs *fs;
	struct file *f[FILES];
	struct fuzz_input *in;
};

static int
entry(void *arg, const char *name, size_t len, uint64_t ino, unsigned char type, off_t cookie, struct inode *child)
{
	unsigned *left = arg;

	(void)name, (void)len, (void)ino, (void)type, (void)cookie;
	if (*left == 0)
		return 1;
	--*left;
	inode_put(child);
	return 0;
}

static void
in_names(struct run *u, uint8_t op)
{
	static const char *const names[] = { "f0", "f1", "f2", "f3", "sub", "link", "fifo", "new" };
	const char *a = names[fuzz_u8(u->in) & 7], *b = names[fuzz_u8(u->in) & 7];
	struct inode *dir, *i = NULL, *made = NULL;
	char buf[64];
	unsigned left = 100;

	if (inode_get(u->fs, INO_ROOT, &dir) < 0)
		return;
	i = look_up(u->fs, a);
	switch (op % 10) {
	case 0: fs_create(u->fs, dir, a, S_IFREG | 0600, 0, &root_cred, &made); break;
	case 1: fs_unlink(u->fs, dir, a); break;
	case 2: fs_rename(u->fs, dir, a, dir, b, fuzz_u8(u->in) & 3); break;
	case 3: fs_mkdir(u->fs, dir, a, 0700, &root_cred, &made); break;
	case 4: fs_rmdir(u->fs, dir, a); break;
	case 5: fs_readdir(u->fs, i && inode_is_dir(i) ? i : dir, (off_t)(fuzz_u16(u->in) & INT64_MAX), true, entry,
	    &left); break;
	case 6:
		if (i)
			fs_link(u->fs, i, dir, b);
		break;
	case 7:
		if (i && fs_getxattr(u->fs, i, "user.a", buf, sizeof(buf)) < 0)
			fs_setxattr(u->fs, i, "user.a", a, 2, 0, &root_cred);
		break;
	case 8:
		if (i)
			fs_listxattr(u->fs, i, buf, sizeof(buf));
		if (i)
			fs_removexattr(u->fs, i, "user.a");
		break;
	case 9:
		if (i && i->type == S_IFLNK)
			fs_readlink(u->fs, i, buf, sizeof(buf));
		break;
	}
	inode_put(made);
	inode_put(i);
	inode_put(dir);
}

static void
in_file(struct run *u, uint8_t op)
{
	static uint8_t buf[IO_MAX];
	unsigned a = fuzz_u8(u->in) % FILES, b = fuzz_u8(u->in) % FILES;
	uint64_t off = fuzz_offset(u->in), len = fuzz_offset(u->in), id;
	struct pin_range range = { .off = off, .len = len };
	struct map_extent x[4];
	struct pin_params pp;
	struct stat st = { .st_size = (off_t)off };
	char name[8];

	snprintf(name, sizeof(name), "f%u", a);
	if (!u->f[a])
		u->f[a] = open_name(u->fs, name, O_RDWR);
	snprintf(name, sizeof(name), "f%u", b);
	if (!u->f[b])
		u->f[b] = open_name(u->fs, name, O_RDWR);
	if (!u->f[a] || !u->f[b])
		return;
	switch (op % 12) {
	case 0: fs_read(u->f[a], buf, min_of(len, IO_MAX), off); break;
	case 1: fs_write(u->f[a], base, min_of(len, IO_MAX), off, false); break;
	case 2: fs_setattr(u->fs, u->f[a]->inode, FS_SET_SIZE, &st, &root_cred); break;
	case 3: fs_fallocate(u->f[a], fuzz_u8(u->in) & 0x13, off, min_of(len, (uint64_t)1 << 20)); break;
	case 4: fs_clone_range(u->f[a], off, u->f[b], len, 4096); break;
	case 5: fs_copy_range(u->f[a], off, u->f[b], len, IO_MAX); break;
	case 6: fs_fsync_wait(u->fs, u->f[a]->inode, op & 1); break;
	case 7: fs_seek(u->f[a], (int64_t)(off & INT64_MAX), op & 1 ? SEEK_DATA : SEEK_HOLE); break;
	case 8: map_extents(u->f[a]->inode, off, len, x, 4); break;
	case 9:
		range.len = min_of(len, (uint64_t)1 << 20);
		pp.access = op & 1 ? PIN_READ : PIN_WRITE;
		pp.class = (enum pin_class)(fuzz_u8(u->in) % 4);
		pp.flags = op & 1 ? 0 : PIN_ALLOC;
		pp.writeback = (enum fs_pinned)(fuzz_u8(u->in) % 6);
		if (pin_add(u->f[a], &pp, &range, 1, &root_cred, &id) == 0 && (op & 2))
			pin_remove(u->f[a], id);
		break;
	case 10: fs_sync(u->fs); break;
	case 11:
		fs_release(u->f[a]);
		u->f[a] = NULL;
		break;
	}
}

/* What was written is read back, whatever came before: of an undamaged pool. */
static void
write_and_read(struct run *u)
{
	uint8_t got[6000];
	struct file *f = u->f[0];
	ssize_t n;

	if (!f)
		return;
	n = fs_write(f, base + 12345, sizeof(got), 100, false);
	if (n <= 0)
		return;
	fuzz_require(fs_read(f, got, (size_t)n, 100) == n && memcmp(got, base + 12345, (size_t)n) == 0, "read back");
}

static void
use(struct fuzz_input *in, bool damaged)
{
	struct fs_options o = quiet_options();
	struct run u = { .in = in };
	struct pool_error err;

	if (fs_mount(&u.fs, path, &o, &err) < 0) {
		fuzz_require(damaged, "%s", err.text);
		return;
	}
	for (unsigned k = 0; k < SCRIPT_MAX && in->left > 0; k++) {
		uint8_t op = fuzz_u8(in);

		if (op & 0x80)
			in_names(&u, op & 0x7f);
		else
			in_file(&u, op);
	}
	if (!damaged)
		write_and_read(&u);
	for (unsigned k = 0; k < FILES; k++)
		if (u.f[k])
			fs_release(u.f[k]);
	fs_umount(u.fs);
}

static void
finding(void *arg, const struct check_finding *f)
{
	char line[512];

	(void)arg;
	check_format(f, line, sizeof(line));
	if (getenv("PINFS_FUZZ_VERBOSE"))
		fprintf(stderr, "  %s\n", line);
}

/* Errors found. */
static uint64_t
check(void)
{
	struct pool_options po = { .flags = POOL_RDONLY, .domain = -1 };
	struct check_options co = { .threads = 1, .finding = finding };
	struct check_result res = { 0 };
	struct pool_error err;
	struct pool *p;

	if (pool_open(&p, path, &po, &err) < 0)
		return 1;
	if (check_pool(p, &co, &res) < 0)
		res.errors++;
	pool_close(p);
	return res.errors;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	unsigned how, n;

	if (!image)
		make_base();
	memcpy(image, base, POOL_BYTES);
	how = fuzz_u8(&in);
	n = fuzz_u8(&in) % (PATCHES_MAX + 1);
	for (unsigned k = 0; k < n; k++) {
		pblk_t block = targets[fuzz_u8(&in) % ntargets];
		size_t off = fuzz_u16(&in) & BLK_MASK, len;
		const uint8_t *bytes = fuzz_bytes(&in, 1 + (fuzz_u8(&in) & 15), &len);

		memcpy(image + (block << BLK_SHIFT) + off, bytes, min_of(len, BLK_SIZE - off));
	}
	if (how & 1)
		fix_checksums(image, NULL);
	if (n > 0)
		check();
	use(&in, n > 0);
	fuzz_require(check() == 0 || n > 0, "an undamaged pool is damaged now");
	return 0;
}
