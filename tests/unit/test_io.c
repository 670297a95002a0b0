/* SPDX-License-Identifier: BSD-3-Clause */
/* Content of files: random operations against arrays of bytes, with writebacks, remounts and pins in
 * between; a full pool; the ends of the offset range. */
#include "tests/unit/unit_file.h"

#include <linux/falloc.h>
#include <pthread.h>
#include <unistd.h>


/* ---- model ------------------------------------------------------------------- */

#define MODEL_FILES 3u
#define MODEL_BYTES ((size_t)300 << 10)
#define MODEL_PINS 3u

struct model_file {
	uint8_t *byte; /* MODEL_BYTES; zero behind size */
	uint64_t size;
	struct file *f;
	char name[16];
	uint64_t pin[MODEL_PINS]; /* 0: none */
};

struct model {
	const char *path;
	struct fs *fs;
	struct model_file file[MODEL_FILES];
	uint64_t rnd;
	uint8_t *buf;
	bool pins;
};

static uint64_t
below(struct model *m, uint64_t n)
{
	return unit_random(&m->rnd) % n;
}

/* An offset or length: anything, near a block boundary, or at one. */
static uint64_t
some_bytes(struct model *m, uint64_t max)
{
	uint64_t v = below(m, max + 1);

	switch (below(m, 4)) {
	case 0:
		return v;
	case 1:
		return below(m, min_of(max, (uint64_t)9000) + 1);
	case 2:
		return v & ~(uint64_t)BLK_MASK;
	default:
		v = (v & ~(uint64_t)BLK_MASK) + below(m, 3);
		return min_of(v > 0 ? v - 1 : 0, max);
	}
}

static void
fill_random(struct model *m, uint8_t *p, size_t len)
{
	uint64_t v = unit_random(&m->rnd);

	/* recognisable, never zero */
	for (size_t k = 0; k < len; k++)
		p[k] = (uint8_t)(1 + (v + k / 7) % 255);
}

static void
model_resize(struct model_file *mf, uint64_t size)
{
	if (size < mf->size)
		memset(mf->byte + size, 0, mf->size - size);
	mf->size = size;
}

static void
verify(struct model *m, struct model_file *mf)
{
	ssize_t n = fs_read(mf->f, m->buf, MODEL_BYTES, 0);

	if (unit_size(mf->f) != mf->size)
		ck_abort_msg("%s: size %llu, not %llu", mf->name, (unsigned long long)unit_size(mf->f),
		    (unsigned long long)mf->size);
	if (n != (ssize_t)mf->size)
		ck_abort_msg("%s: read %lld, not %llu", mf->name, (long long)n, (unsigned long long)mf->size);
	for (uint64_t k = 0; k < mf->size; k++)
		if (m->buf[k] != mf->byte[k])
			ck_abort_msg("%s: byte %#llx is %#x, not %#x", mf->name, (unsigned long long)k,
			    m->buf[k], mf->byte[k]);
}

/* ---- operations: each may fail for want of space only, and then has changed nothing ---------- */

static void
op_write(struct model *m, struct model_file *mf)
{
	uint64_t off = some_bytes(m, MODEL_BYTES - 1), len = some_bytes(m, MODEL_BYTES / 3);
	ssize_t n;

	len = min_of(len, MODEL_BYTES - off);
	fill_random(m, m->buf, len);
	n = fs_write(mf->f, m->buf, len, off, false);
	if (n == -ENOSPC)
		return;
	ck_assert_ok(n);
	ck_assert_uint_le((uint64_t)n, len);
	if (n > 0) {
		memcpy(mf->byte + off, m->buf, (size_t)n);
		mf->size = max_of(mf->size, off + (uint64_t)n);
	}
}

static void
op_write_blocks(struct model *m, struct model_file *mf)
{
	struct pool *p = fs_pool(m->fs);
	uint64_t off = some_bytes(m, MODEL_BYTES - (64 << 10)), got;
	pblk_t start;
	ssize_t n;

	if (below(m, 4))
		off &= ~(uint64_t)BLK_MASK;
	if (pool_alloc_data(p, PBLK_NONE, 1 + below(m, 16), 0, &start, &got) < 0)
		return;
	fill_random(m, m->buf, got << BLK_SHIFT);
	memcpy(pool_block(p, start), m->buf, got << BLK_SHIFT);
	n = fs_write_blocks(mf->f, start, got, off, false);
	if (n == -ENOSPC)
		return;
	ck_assert_ok(n);
	memcpy(mf->byte + off, m->buf, (size_t)n);
	mf->size = max_of(mf->size, off + (uint64_t)n);
}

static void
op_append(struct model *m, struct model_file *mf)
{
	struct file *f = unit_file(m->fs, mf->name, O_WRONLY | O_APPEND);
	uint64_t len = some_bytes(m, 20000);
	ssize_t n;

	len = min_of(len, MODEL_BYTES - mf->size);
	fill_random(m, m->buf, len);
	n = fs_write(f, m->buf, len, below(m, 1000000), false);
	fs_release(f);
	if (n == -ENOSPC)
		return;
	ck_assert_ok(n);
	memcpy(mf->byte + mf->size, m->buf, (size_t)n);
	mf->size += (uint64_t)n;
}

static void
op_truncate(struct model *m, struct model_file *mf)
{
	uint64_t size = some_bytes(m, MODEL_BYTES);
	int r = fs_truncate(mf->f->inode, size);

	if (r == -ENOSPC)
		return;
	ck_assert_ok(r);
	model_resize(mf, size);
}

static void
op_fallocate(struct model *m, struct model_file *mf)
{
	static const int modes[] = { 0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE,
		FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE };
	int mode = modes[below(m, 6)];
	uint64_t off = some_bytes(m, MODEL_BYTES - 1), len = 1 + some_bytes(m, MODEL_BYTES / 3), end;
	int r;

	end = min_of(off + len, MODEL_BYTES);
	r = fs_fallocate(mf->f, mode, off, end - off);
	if (r == -ENOSPC)
		return;
	ck_assert_ok(r);
	if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		memset(mf->byte + off, 0, end - off);
	if (!(mode & FALLOC_FL_KEEP_SIZE) && end > mf->size)
		mf->size = end;
	/* nothing shows behind the end */
	memset(mf->byte + mf->size, 0, MODEL_BYTES - mf->size);
}

static void
op_seek(struct model *m, struct model_file *mf)
{
	uint64_t off = some_bytes(m, MODEL_BYTES);
	int64_t data = fs_seek(mf->f, (int64_t)off, SEEK_DATA), hole = fs_seek(mf->f, (int64_t)off, SEEK_HOLE);
	uint64_t zeroes_to;

	if (off >= mf->size) {
		ck_assert_int_eq(data, -ENXIO);
		ck_assert_int_eq(hole, -ENXIO);
		return;
	}
	/* what is not data is zero */
	ck_assert(data == -ENXIO || (data >= (int64_t)off && data < (int64_t)mf->size));
	zeroes_to = data == -ENXIO ? mf->size : (uint64_t)data;
	for (uint64_t k = off; k < zeroes_to; k++)
		if (mf->byte[k])
			ck_abort_msg("data at %#llx was taken for a hole", (unsigned long long)k);
	ck_assert(hole >= (int64_t)off && hole <= (int64_t)mf->size);
	ck_assert(data == -ENXIO || data != hole);
	if (hole < (int64_t)mf->size)
		ck_assert(mf->byte[hole] == 0);
	ck_assert(data == (int64_t)off || hole == (int64_t)off);
}

static void
op_clone(struct model *m, struct model_file *mf)
{
	struct model_file *to = &m->file[below(m, MODEL_FILES)];
	uint64_t off_in = some_bytes(m, MODEL_BYTES - 1) & ~(uint64_t)BLK_MASK;
	uint64_t off_out = some_bytes(m, MODEL_BYTES - 1) & ~(uint64_t)BLK_MASK;
	uint64_t len = some_bytes(m, MODEL_BYTES / 2) & ~(uint64_t)BLK_MASK;
	int r;

	if (off_in >= mf->size)
		return;
	if (below(m, 3) == 0) /* up to the end */
		len = mf->size - off_in;
	len = min_of(min_of(len, mf->size - off_in), MODEL_BYTES - off_out);
	if ((off_in + len) & BLK_MASK && (off_in + len != mf->size || off_out + len < to->size))
		len &= ~(uint64_t)BLK_MASK;
	if (len == 0 || (to == mf && off_in < off_out + len && off_out < off_in + len))
		return;
	r = fs_clone_range(mf->f, off_in, to->f, off_out, len);
	if (r == -ENOSPC)
		return;
	ck_assert_ok(r);
	memmove(to->byte + off_out, mf->byte + off_in, len);
	to->size = max_of(to->size, off_out + len);
}

static void
op_copy(struct model *m, struct model_file *mf)
{
	struct model_file *to = &m->file[below(m, MODEL_FILES)];
	uint64_t off_in = some_bytes(m, MODEL_BYTES - 1), off_out = some_bytes(m, MODEL_BYTES - 1);
	uint64_t len = some_bytes(m, MODEL_BYTES / 2);
	ssize_t n;

	if (below(m, 2))
		off_out = (off_out & ~(uint64_t)BLK_MASK) | (off_in & BLK_MASK);
	len = min_of(len, MODEL_BYTES - max_of(off_in, off_out));
	n = fs_copy_range(mf->f, off_in, to->f, off_out, len);
	if (to == mf && off_in < off_out + len && off_out < off_in + len) {
		uint64_t real = off_in < mf->size ? min_of(len, mf->size - off_in) : 0;

		if (real > 0 && off_in < off_out + real && off_out < off_in + real) {
			ck_assert_int_eq(n, -EINVAL);
			return;
		}
	}
	if (n == -ENOSPC)
		return;
	ck_assert_ok(n);
	if (off_in >= mf->size || len == 0) {
		ck_assert_int_eq(n, 0);
		return;
	}
	ck_assert_uint_le((uint64_t)n, min_of(len, mf->size - off_in));
	if (n > 0) {
		memmove(to->byte + off_out, mf->byte + off_in, (size_t)n);
		to->size = max_of(to->size, off_out + (uint64_t)n);
	}
}

static void
op_pin(struct model *m, struct model_file *mf)
{
	struct pin_range pr = { .off = some_bytes(m, MODEL_BYTES / 2), .len = 1 + some_bytes(m, 60000) };
	unsigned slot = (unsigned)below(m, MODEL_PINS);
	int r;

	if (!m->pins)
		return;
	if (mf->pin[slot]) {
		ck_assert_ok(pin_remove(mf->f, mf->pin[slot]));
		mf->pin[slot] = 0;
		return;
	}
	r = unit_pin(mf->f, below(m, 3) ? PIN_WRITE : PIN_READ, &pr, 1, &mf->pin[slot]);
	if (r < 0) {
		ck_assert(r == -ENOSPC || r == -EINVAL);
		mf->pin[slot] = 0;
	}
}

/* Store as a holder of write pins does. */
static void
op_direct_store(struct model *m, struct model_file *mf)
{
	struct map_extent x[64];
	int n;

	if (!m->pins || mf->size == 0)
		return;
	n = map_extents(mf->f->inode, 0, MODEL_BYTES, x, 64);
	ck_assert_ok(n);
	for (int k = 0; k < n; k++) {
		uint8_t *at = (uint8_t *)pool_block(fs_pool(m->fs), 0) + x[k].pool_off;

		if (!(x[k].flags & MAP_WPINNED) || below(m, 2))
			continue;
		/* the whole block: behind the end of the file, too */
		uint64_t off = x[k].off + (below(m, x[k].len) & ~(uint64_t)BLK_MASK);

		fill_random(m, m->buf, BLK_SIZE);
		memcpy(at + (off - x[k].off), m->buf, BLK_SIZE);
		if (off < mf->size)
			memcpy(mf->byte + off, m->buf, min_of((uint64_t)BLK_SIZE, mf->size - off));
	}
}

static void
remount(struct model *m)
{
	for (unsigned k = 0; k < MODEL_FILES; k++) {
		memset(m->file[k].pin, 0, sizeof(m->file[k].pin));
		fs_release(m->file[k].f);
	}
	ck_assert_ok(fs_umount(m->fs));
	unit_check(m->path);
	m->fs = unit_mount(m->path);
	for (unsigned k = 0; k < MODEL_FILES; k++)
		m->file[k].f = unit_file(m->fs, m->file[k].name, O_RDWR);
}

static void
op_any(struct model *m)
{
	struct model_file *mf = &m->file[below(m, MODEL_FILES)];

	switch (below(m, 32)) {
	case 0: case 1: case 2: case 3: case 4: case 5: case 6: case 7:
		op_write(m, mf);
		break;
	case 8: case 9:
		op_write_blocks(m, mf);
		break;
	case 10: case 11:
		op_append(m, mf);
		break;
	case 12: case 13: case 14:
		op_truncate(m, mf);
		break;
	case 15: case 16: case 17: case 18: case 19:
		op_fallocate(m, mf);
		break;
	case 20:
		op_seek(m, mf);
		break;
	case 21: case 22:
		op_clone(m, mf);
		break;
	case 23:
		op_copy(m, mf);
		break;
	case 24: case 25: case 26:
		ck_assert_ok(fs_fsync_wait(m->fs, mf->f->inode, below(m, 2)));
		break;
	case 27:
		ck_assert_ok(fs_sync(m->fs));
		break;
	case 28: case 29:
		op_pin(m, mf);
		break;
	case 30:
		op_direct_store(m, mf);
		break;
	default:
		if (below(m, 6) == 0)
			remount(m);
		break;
	}
	verify(m, mf);
}

static void
model_run(uint64_t seed, unsigned mib, int ops, bool pins)
{
	struct model m = { .path = unit_mkpool(mib), .rnd = seed, .pins = pins };
	uint64_t free_before;

	m.buf = malloc(MODEL_BYTES);
	ck_assert_ptr_nonnull(m.buf);
	m.fs = unit_mount(m.path);
	free_before = unit_free_blocks(m.fs);
	for (unsigned k = 0; k < MODEL_FILES; k++) {
		struct model_file *mf = &m.file[k];

		snprintf(mf->name, sizeof(mf->name), "file%u", k);
		mf->byte = calloc(1, MODEL_BYTES);
		ck_assert_ptr_nonnull(mf->byte);
		mf->f = unit_file(m.fs, mf->name, O_RDWR);
	}
	for (int n = 0; n < ops; n++)
		op_any(&m);
	for (int again = 0; again < 2; again++) {
		for (unsigned k = 0; k < MODEL_FILES; k++)
			verify(&m, &m.file[k]);
		remount(&m);
	}
	/* nothing leaks */
	for (unsigned k = 0; k < MODEL_FILES; k++) {
		unit_unlink(m.fs, m.file[k].name);
		fs_release(m.file[k].f);
		free(m.file[k].byte);
	}
	ck_assert_uint_eq(unit_free_blocks(m.fs), free_before);
	ck_assert_uint_eq(unit_reserved_blocks(m.fs), 0);
	ck_assert_ok(fs_umount(m.fs));
	free(m.buf);
}

START_TEST(random_operations)
{
	model_run(1000 + (uint64_t)_i, 16, 400, false);
}
END_TEST

START_TEST(random_operations_with_pins)
{
	model_run(2000 + (uint64_t)_i, 16, 400, true);
}
END_TEST

START_TEST(random_operations_on_a_full_pool)
{
	model_run(3000 + (uint64_t)_i, 2, 400, _i & 1);
}
END_TEST

/* ---- single behaviours ----------------------------------------------------------- */

START_TEST(boundaries)
{
	struct fs *fs = unit_mount(unit_mkpool(4));
	struct file *f = unit_file(fs, "a", O_RDWR), *ro, *ap;
	struct iovec iov[4];
	uint8_t buf[8192];
	int count;

	memset(buf, 7, sizeof(buf));
	ck_assert_int_eq(fs_read(f, buf, 100, 0), 0);
	ck_assert_int_eq(fs_write(f, buf, 0, 0, false), 0);
	ck_assert_uint_eq(unit_size(f), 0);

	/* the last byte that there can be */
	ck_assert_int_eq(fs_write(f, buf, 10, FILE_MAX_BYTES - 3, false), 3);
	ck_assert_uint_eq(unit_size(f), FILE_MAX_BYTES);
	ck_assert_int_eq(fs_read(f, buf, 100, FILE_MAX_BYTES - 5), 5);
	ck_assert(buf[0] == 0 && buf[1] == 0 && buf[2] == 7 && buf[4] == 7);
	ck_assert_err(fs_write(f, buf, 1, FILE_MAX_BYTES, false), EFBIG);
	ck_assert_err(fs_write(f, buf, 1, (uint64_t)FILE_MAX_BYTES + 1, false), EINVAL);
	ck_assert_err(fs_write(f, buf, 1, UINT64_MAX, false), EINVAL);
	ck_assert_err(fs_read(f, buf, 1, UINT64_MAX), EINVAL);
	ck_assert_int_eq(fs_read(f, buf, 1, FILE_MAX_BYTES), 0);
	ck_assert_err(fs_read_begin(f, (uint64_t)FILE_MAX_BYTES + 1, 1, iov, 4, &count), EINVAL);
	ck_assert_err(fs_truncate(f->inode, (uint64_t)FILE_MAX_BYTES + 1), EFBIG);
	ck_assert_err(fs_truncate(f->inode, UINT64_MAX), EFBIG);
	ap = unit_file(fs, "a", O_WRONLY | O_APPEND);
	ck_assert_err(fs_write(ap, buf, 1, 0, false), EFBIG);
	fs_release(ap);
	ck_assert_ok(fs_fsync_wait(fs, f->inode, false));
	unit_expect(f, FILE_MAX_BYTES - 3, 3, 7);
	ck_assert_int_eq(fs_seek(f, 0, SEEK_DATA), FILE_MAX_BYTES - 4095);
	ck_assert_int_eq(fs_seek(f, 5, SEEK_HOLE), 5);
	ck_assert_int_eq(fs_seek(f, FILE_MAX_BYTES - 1, SEEK_HOLE), FILE_MAX_BYTES);
	ck_assert_err(fs_seek(f, FILE_MAX_BYTES, SEEK_HOLE), ENXIO);
	ck_assert_err(fs_seek(f, -1, SEEK_DATA), ENXIO);
	ck_assert_err(fs_seek(f, 0, SEEK_SET), EINVAL);
	ck_assert_ok(fs_truncate(f->inode, FILE_MAX_BYTES));
	ck_assert_ok(fs_truncate(f->inode, FILE_MAX_BYTES - 2));
	unit_expect(f, FILE_MAX_BYTES - 3, 1, 7);
	ck_assert_ok(fs_truncate(f->inode, FILE_MAX_BYTES));
	unit_expect(f, FILE_MAX_BYTES - 2, 2, 0);
	ck_assert_ok(fs_truncate(f->inode, 0));

	ro = unit_file(fs, "a", O_RDONLY);
	ck_assert_err(fs_write(ro, buf, 1, 0, false), EBADF);
	ck_assert_err(fs_fallocate(ro, 0, 0, 1), EBADF);
	fs_release(ro);
	fs_release(f);
	ck_assert_ok(fs_umount(fs));
}
END_TEST

START_TEST(open_rules)
{
	struct fs *fs = unit_mount(unit_mkpool(4));
	struct file *f = unit_file(fs, "a", O_RDWR), *g;
	struct iovec iov;
	struct inode *root;
	int count;

	unit_fill(f, 0, 10000, 1);
	ck_assert_ok(inode_get(fs, INO_ROOT, &root));
	ck_assert_err(fs_open(fs, root, O_RDWR, &unit_cred, &g), EISDIR);
	ck_assert_ok(fs_open(fs, root, O_RDONLY | O_DIRECTORY, &unit_cred, &g));
	ck_assert_err(fs_read_begin(g, 0, 1, &iov, 1, &count), EISDIR);
	fs_release(g);
	inode_put(root);

	g = unit_file(fs, "a", O_RDWR | O_TRUNC);
	ck_assert_uint_eq(unit_size(f), 0);
	unit_fill(g, 0, 5000, 2);
	fs_release(g);

	ck_assert_ok(fs_setflags(fs, f->inode, INODE_FL_APPEND, 0, &unit_cred));
	ck_assert_err(fs_open(fs, f->inode, O_RDWR, &unit_cred, &g), EPERM);
	ck_assert_err(fs_open(fs, f->inode, O_RDWR | O_APPEND | O_TRUNC, &unit_cred, &g), EPERM);
	ck_assert_err(fs_truncate(f->inode, 1), EPERM);
	ck_assert_ok(fs_open(fs, f->inode, O_RDWR | O_APPEND, &unit_cred, &g));
	unit_fill(g, 0, 10, 3);
	unit_expect(g, 5000, 10, 3);
	ck_assert_err(fs_fallocate(g, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), EPERM);
	fs_release(g);
	ck_assert_ok(fs_setflags(fs, f->inode, INODE_FL_IMMUTABLE, 0, &unit_cred));
	ck_assert_err(fs_open(fs, f->inode, O_WRONLY, &unit_cred, &g), EPERM);
	ck_assert_err(fs_write(f, "x", 1, 0, false), EPERM);
	ck_assert_ok(fs_setflags(fs, f->inode, 0, 0, &unit_cred));
	fs_release(f);
	ck_assert_ok(fs_umount(fs));
}
END_TEST

/* A full pool: what fits is written, the rest says ENOSPC, nothing is lost, deleting helps. */
START_TEST(full_pool)
{
	const char *path = unit_mkpool(4);
	struct fs *fs = unit_mount(path);
	uint64_t free_before = unit_free_blocks(fs), size, again;
	struct file *f = unit_file(fs, "a", O_RDWR), *g;
	static uint8_t buf[100000];
	ssize_t n;

	memset(buf, 5, sizeof(buf));
	for (size = 0; (n = fs_write(f, buf, sizeof(buf), size, false)) > 0; size += (uint64_t)n)
		ck_assert_uint_lt(size, 4u << 20);
	ck_assert_int_eq(n, -ENOSPC);
	ck_assert_uint_gt(size, 3u << 20);
	ck_assert_uint_eq(unit_size(f), size);
	ck_assert_ok(fs_fsync_wait(fs, f->inode, false));
	for (uint64_t off = 0; off < size; off += sizeof(buf))
		unit_expect(f, off, min_of(sizeof(buf), size - off), 5);
	ck_assert_err(fs_fallocate(f, 0, size, 1 << 20), ENOSPC);
	ck_assert_uint_eq(unit_size(f), size);

	/* overwriting takes what writeback gives back */
	for (uint64_t off = 0; off < size; off += 20000)
		fs_write(f, buf, 4096, off, false);
	/* shorter, also by a part of a block, works */
	ck_assert_ok(fs_truncate(f->inode, size - 4097 * 2));
	ck_assert_ok(fs_fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1000, 500000));
	ck_assert_ok(fs_sync(fs));
	g = unit_file(fs, "b", O_RDWR);
	unit_fill(g, 0, 100000, 6);
	fs_release(g);
	fs_release(f);
	ck_assert_ok(fs_umount(fs));

	fs = unit_mount(path);
	g = unit_file(fs, "b", O_RDWR);
	unit_expect(g, 0, 100000, 6);
	fs_release(g);
	f = unit_file(fs, "a", O_RDWR);
	unit_expect(f, 0, 1000, 5);
	unit_expect(f, 1000, 500000, 0);
	unit_expect(f, 501000, 100000, 5);
	fs_release(f);
	unit_unlink(fs, "a");
	unit_unlink(fs, "b");
	ck_assert_uint_eq(unit_free_blocks(fs), free_before);
	/* all of it can be used again */
	f = unit_file(fs, "c", O_RDWR);
	for (again = 0; (n = fs_write(f, buf, sizeof(buf), again, false)) > 0; again += (uint64_t)n)
		;
	ck_assert_uint_ge(again + (again >> 5), size);
	fs_release(f);
	ck_assert_ok(fs_umount(fs));
}
END_TEST

/* What was behind the end of the file does not come back. */
START_TEST(tail_is_zero)
{
	struct fs *fs = unit_mount(unit_mkpool(4));
	struct file *f = unit_file(fs, "a", O_RDWR);
	static const int sync_at[] = { 0, 1, 2, 3 };
	uint8_t one = 1;

	for (unsigned k = 0; k < 4; k++) {
		ck_assert_ok(fs_truncate(f->inode, 0));
		unit_fill(f, 0, 8192, 9);
		if (sync_at[k] & 1)
			ck_assert_ok(fs_fsync_wait(fs, f->inode, false));
		ck_assert_ok(fs_truncate(f->inode, 5000));
		if (sync_at[k] & 2)
			ck_assert_ok(fs_fsync_wait(fs, f->inode, false));
		unit_write(f, &one, 1, 9000);
		unit_expect(f, 0, 5000, 9);
		unit_expect(f, 5000, 4000, 0);
		unit_expect(f, 9000, 1, 1);
		ck_assert_ok(fs_truncate(f->inode, 5000));
		ck_assert_ok(fs_truncate(f->inode, 20000));
		unit_expect(f, 5000, 15000, 0);
	}
	fs_release(f);
	ck_assert_ok(fs_umount(fs));
}
END_TEST

START_TEST(times_and_modes)
{
	struct fs *fs = unit_mount(unit_mkpool(4));
	struct file *f = unit_file(fs, "a", O_RDWR);
	struct stat st = { .st_mode = S_IFREG | 06755 }, before;
	uint64_t change;

	ck_assert_ok(fs_setattr(fs, f->inode, FS_SET_MODE, &st, &unit_cred));
	st.st_mtim = st.st_atim = (struct timespec){ 1000, 5 };
	ck_assert_ok(fs_setattr(fs, f->inode, FS_SET_MTIME | FS_SET_ATIME, &st, &unit_cred));
	change = f->inode->change;
	unit_fill(f, 0, 10, 1);
	ck_assert_uint_gt(f->inode->change, change);
	inode_stat(f->inode, &before);
	ck_assert_int_gt(before.st_mtim.tv_sec, 1000);
	ck_assert_uint_eq(before.st_mode & 07777, 06755);
	ck_assert_int_eq(before.st_atim.tv_sec, 1000);
	/* relatime: it is older than mtime now */
	unit_expect(f, 0, 10, 1);
	inode_stat(f->inode, &before);
	ck_assert_int_gt(before.st_atim.tv_sec, 1000);
	ck_assert_int_eq(fs_write(f, "x", 1, 0, true), 1);
	inode_stat(f->inode, &st);
	ck_assert_uint_eq(st.st_mode & 07777, 0755);
	ck_assert_int_eq(st.st_blocks, 8);
	fs_release(f);
	ck_assert_ok(fs_umount(fs));
}
END_TEST

/* Iovecs point to where the blocks are; holes need none of their own; too few are a short read. */
START_TEST(zero_copy)
{
	struct fs *fs = unit_mount(unit_mkpool(8));
	struct file *f = unit_file(fs, "a", O_RDWR);
	struct iovec iov[16];
	uint8_t *base = pool_block(fs_pool(fs), 0);
	uint64_t pool_bytes = pool_nblocks(fs_pool(fs)) << BLK_SHIFT;
	int count;

	ck_assert_ok(fs_truncate(f->inode, 4 << 20));
	unit_fill(f, 100, 8192, 3);
	unit_fill(f, 3 << 20, 1 << 20, 4);
	ck_assert_int_eq(fs_read_begin(f, 10, 8 << 20, iov, 16, &count), (4 << 20) - 10);
	ck_assert_int_ge(count, 4);
	ck_assert((uint8_t *)iov[0].iov_base > base && (uint8_t *)iov[0].iov_base < base + pool_bytes);
	ck_assert_uint_eq(iov[0].iov_len, 3 * 4096 - 10);
	ck_assert((uint8_t *)iov[1].iov_base < base || (uint8_t *)iov[1].iov_base >= base + pool_bytes);
	fs_read_done(f);
	ck_assert_int_eq(fs_read_begin(f, 10, 8 << 20, iov, 1, &count), 3 * 4096 - 10);
	ck_assert_int_eq(count, 1);
	fs_read_done(f);
	ck_assert_int_eq(fs_read_begin(f, 4 << 20, 10, iov, 1, &count), 0);
	ck_assert_int_eq(count, 0);
	fs_read_done(f);
	fs_release(f);
	ck_assert_ok(fs_umount(fs));
}
END_TEST

START_TEST(dio_alignment)
{
	const char *path = unit_mkpool(4);
	struct pool_error err;
	struct fs_options opt;
	struct file *f;
	struct fs *fs;
	uint8_t buf[4096] = { 1 };

	ck_assert_ok(fs_umount(unit_mount(path)));
	fs_options_default(&opt);
	opt.dio_align = 512;
	ck_assert_ok(fs_mount(&fs, path, &opt, &err));
	f = unit_file(fs, "a", O_RDWR | O_DIRECT);
	ck_assert_err(fs_write(f, buf, 511, 0, false), EINVAL);
	ck_assert_err(fs_write(f, buf, 512, 1, false), EINVAL);
	ck_assert_int_eq(fs_write(f, buf, 1024, 512, false), 1024);
	ck_assert_err(fs_read(f, buf, 100, 0), EINVAL);
	ck_assert_int_eq(fs_read(f, buf, 4096, 0), 1536);
	fs_release(f);
	f = unit_file(fs, "a", O_RDWR);
	ck_assert_int_eq(fs_write(f, buf, 3, 1, false), 3);
	fs_release(f);
	ck_assert_ok(fs_umount(fs));
}
END_TEST

/* Turned on and off, the file keeps its content, and from then on is written as the attribute says. */
START_TEST(dax_on_and_off)
{
	const char *path = unit_mkpool(8);
	struct fs *fs = unit_mount(path);
	struct file *f = unit_file(fs, "a", O_RDWR);
	struct map_extent before, x;

	unit_fill(f, 0, 20000, 1);
	ck_assert_ok(fs_fsync_wait(fs, f->inode, false));
	unit_fill(f, 12288, 4096, 2);
	ck_assert_ok(fs_setflags(fs, f->inode, INODE_FL_DAX, 0, &unit_cred));
	unit_expect(f, 0, 12288, 1);
	unit_expect(f, 12288, 4096, 2);
	unit_fill(f, 0, 4096, 3);
	ck_assert_int_eq(map_extents(f->inode, 0, 4096, &before, 1), 1);
	unit_fill(f, 0, 4096, 4);
	ck_assert_int_eq(map_extents(f->inode, 0, 4096, &x, 1), 1);
	ck_assert_uint_eq(x.pool_off, before.pool_off);
	ck_assert_ok(fs_setflags(fs, f->inode, 0, 0, &unit_cred));
	unit_expect(f, 0, 4096, 4);
	unit_fill(f, 0, 4096, 5);
	ck_assert_int_eq(map_extents(f->inode, 0, 4096, &x, 1), 1);
	ck_assert_uint_ne(x.pool_off, before.pool_off);
	for (int pass = 0; pass < 2; pass++) {
		unit_expect(f, 0, 4096, 5);
		unit_expect(f, 4096, 8192, 1);
		unit_expect(f, 12288, 4096, 2);
		unit_expect(f, 16384, 20000 - 16384, 1);
		fs_release(f);
		ck_assert_ok(fs_umount(fs));
		unit_check(path);
		fs = unit_mount(path);
		f = unit_file(fs, "a", O_RDWR);
	}
	fs_release(f);
	ck_assert_ok(fs_umount(fs));
}
END_TEST

/* A dax inode: what is written is in blocks without checksums, in place from then on. */
START_TEST(dax)
{
	const char *path = unit_mkpool(8);
	struct fs *fs = unit_mount(path);
	uint64_t free_before = unit_free_blocks(fs);
	struct file *f = unit_file(fs, "a", O_RDWR);
	struct map_extent before, x;

	ck_assert_ok(fs_setflags(fs, f->inode, INODE_FL_DAX, 0, &unit_cred));
	unit_fill(f, 0, 20000, 1);
	unit_fill(f, 4096, 4096, 2);
	ck_assert_int_eq(map_extents(f->inode, 4096, 4096, &before, 1), 1);
	unit_fill(f, 5000, 100, 3);
	ck_assert_int_eq(map_extents(f->inode, 4096, 4096, &x, 1), 1);
	ck_assert_uint_eq(x.pool_off, before.pool_off);
	ck_assert(x.flags & MAP_DURABLE);
	unit_fill(f, 100000, 3000, 4);
	unit_fill(f, 110000, 3000, 5);
	ck_assert_ok(fs_fallocate(f, 0, 200000, 50000));
	ck_assert_ok(fs_fsync_wait(fs, f->inode, false));
	unit_fill(f, 210000, 10000, 6);
	ck_assert_ok(fs_fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 110500, 1000));
	for (int pass = 0; pass < 2; pass++) {
		unit_expect(f, 0, 4096, 1);
		unit_expect(f, 4096, 904, 2);
		unit_expect(f, 5000, 100, 3);
		unit_expect(f, 5100, 8192 - 5100, 2);
		unit_expect(f, 8192, 20000 - 8192, 1);
		unit_expect(f, 20000, 80000, 0);
		unit_expect(f, 100000, 3000, 4);
		unit_expect(f, 103000, 7000, 0);
		unit_expect(f, 110000, 500, 5);
		unit_expect(f, 110500, 1000, 0);
		unit_expect(f, 111500, 1500, 5);
		unit_expect(f, 113000, 97000, 0);
		unit_expect(f, 210000, 10000, 6);
		unit_expect(f, 220000, 30000, 0);
		fs_release(f);
		ck_assert_ok(fs_umount(fs));
		fs = unit_mount(path);
		f = unit_file(fs, "a", O_RDWR);
	}
	ck_assert_ok(fs_truncate(f->inode, 5050));
	unit_fill(f, 6000, 10, 7);
	unit_expect(f, 5000, 50, 3);
	unit_expect(f, 5050, 950, 0);
	unit_expect(f, 6000, 10, 7);
	fs_release(f);
	unit_unlink(fs, "a");
	ck_assert_uint_eq(unit_free_blocks(fs), free_before);
	ck_assert_ok(fs_umount(fs));
}
END_TEST

/* ---- many at once ---------------------------------------------------------------- */

#define RECORD 20000u
#define RECORDS 8u

struct race {
	struct fs *fs;
	struct file *f;
	unsigned rounds;
	bool done; /* atomic */
};

static void *
race_writer(void *arg)
{
	struct race *r = arg;
	uint64_t rnd = 99;
	uint8_t buf[RECORD];

	for (unsigned n = 0; n < r->rounds; n++) {
		memset(buf, (int)(1 + n % 255), sizeof(buf));
		unit_write(r->f, buf, sizeof(buf), unit_random(&rnd) % RECORDS * RECORD);
		if (n % 50 == 49) {
			ck_assert_ok(fs_fallocate(r->f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 50000));
			ck_assert_ok(fs_fallocate(r->f, 0, 0, RECORDS * RECORD));
		}
	}
	__atomic_store_n(&r->done, true, __ATOMIC_RELEASE);
	return NULL;
}

static void *
race_reader(void *arg)
{
	struct race *r = arg;
	uint64_t rnd = 7;
	uint8_t buf[RECORD];

	while (!__atomic_load_n(&r->done, __ATOMIC_ACQUIRE)) {
		uint64_t k = unit_random(&rnd) % RECORDS;

		/* a write is seen as a whole; only the punched part of a record may differ */
		ck_assert_int_eq(fs_read(r->f, buf, RECORD, k * RECORD), RECORD);
		for (unsigned b = 1; b < RECORD && k != 2; b++)
			if (buf[b] != buf[0])
				ck_abort_msg("half of a write was seen");
	}
	return NULL;
}

static void *
race_syncer(void *arg)
{
	struct race *r = arg;

	while (!__atomic_load_n(&r->done, __ATOMIC_ACQUIRE))
		ck_assert_ok(fs_fsync_wait(r->fs, r->f->inode, false));
	return NULL;
}

static void *
race_pinner(void *arg)
{
	struct race *r = arg;
	uint64_t rnd = 3, id;

	while (!__atomic_load_n(&r->done, __ATOMIC_ACQUIRE)) {
		struct pin_range pr = { .off = unit_random(&rnd) % 150000, .len = 10000 };

		ck_assert_ok(unit_pin(r->f, unit_random(&rnd) % 2 ? PIN_READ : PIN_WRITE, &pr, 1, &id));
		ck_assert_ok(pin_remove(r->f, id));
	}
	return NULL;
}

static void *
race_cloner(void *arg)
{
	struct race *r = arg;
	struct file *g = unit_file(r->fs, "clone", O_RDWR);

	while (!__atomic_load_n(&r->done, __ATOMIC_ACQUIRE)) {
		ck_assert_ok(fs_clone_range(r->f, 0, g, 0, 0));
		ck_assert_ok(fs_truncate(g->inode, 100));
	}
	fs_release(g);
	return NULL;
}

START_TEST(concurrent)
{
	static void *(*const role[])(void *) = { race_writer, race_reader, race_reader, race_syncer, race_pinner,
		race_cloner };
	const char *path = unit_mkpool(16);
	struct race r = { .fs = unit_mount(path), .rounds = 400 };
	pthread_t thread[6];
	uint8_t buf[RECORD] = { 0 };

	r.f = unit_file(r.fs, "a", O_RDWR);
	for (unsigned k = 0; k < RECORDS; k++)
		unit_write(r.f, buf, RECORD, k * RECORD);
	for (unsigned k = 0; k < 6; k++)
		ck_assert_int_eq(pthread_create(&thread[k], NULL, role[k], &r), 0);
	for (unsigned k = 0; k < 6; k++)
		pthread_join(thread[k], NULL);
	fs_release(r.f);
	ck_assert_ok(fs_umount(r.fs));
	unit_check(path);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("io");
	TCase *t = tcase_create("io");

	tcase_add_test(t, boundaries);
	tcase_add_test(t, open_rules);
	tcase_add_test(t, full_pool);
	tcase_add_test(t, tail_is_zero);
	tcase_add_test(t, times_and_modes);
	tcase_add_test(t, zero_copy);
	tcase_add_test(t, dio_alignment);
	tcase_add_test(t, dax);
	tcase_add_test(t, dax_on_and_off);
	tcase_add_test(t, concurrent);
	tcase_add_loop_test(t, random_operations, 0, 6);
	tcase_add_loop_test(t, random_operations_with_pins, 0, 6);
	tcase_add_loop_test(t, random_operations_on_a_full_pool, 0, 6);
	suite_add_tcase(s, t);
	return unit_main(s);
}
