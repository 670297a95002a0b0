/* SPDX-License-Identifier: BSD-3-Clause */
/* Pins against a model of what they promise, and many threads at once. */
#include <pthread.h>

#include "tests/unit/unit_pin.h"

/* ---- random operations against a model ------------------------------------------------- */

#define MODEL_BLOCKS 64u
#define MODEL_PINS 12u

struct model {
	struct fs *fs;
	const char *path;
	struct file *f;
	uint64_t seed;
	uint8_t live[MODEL_BLOCKS * BLK_SIZE], durable[MODEL_BLOCKS * BLK_SIZE];
	uint64_t size, durable_size;
	struct {
		struct file *file;
		uint64_t id, off, len;
		uint8_t *addr;     /* NULL: in more than one piece, or a hole */
		bool write, cut;   /* cut: a part of it is in the file no more */
	} pin[MODEL_PINS];
};

static uint64_t
pick(struct model *m, uint64_t n)
{
	return unit_random(&m->seed) % n;
}

static void
model_range(struct model *m, uint64_t max, uint64_t *off, uint64_t *len)
{
	*off = pick(m, max);
	*len = 1 + pick(m, min_of(max - *off, 16 * BLK));
}

static void
model_store(struct model *m, uint64_t off, uint64_t len, uint8_t c)
{
	if (off > m->size)
		memset(m->live + m->size, 0, off - m->size);
	memset(m->live + off, c, len);
	m->size = max_of(m->size, off + len);
}

static void
model_cut(struct model *m, uint64_t off, uint64_t end)
{
	for (unsigned k = 0; k < MODEL_PINS; k++)
		if (m->pin[k].file && m->pin[k].off < end && off < m->pin[k].off + m->pin[k].len)
			m->pin[k].cut = true;
}

static void
model_pin(struct model *m, unsigned k)
{
	struct pin_range r;
	uint64_t off, len;
	int err;

	if (m->pin[k].file) {
		if (pick(m, 4) == 0)
			fs_release(m->pin[k].file); /* without unpinning */
		else {
			ck_assert_ok(pin_remove(m->pin[k].file, m->pin[k].id));
			fs_release(m->pin[k].file);
		}
		m->pin[k].file = NULL;
		return;
	}
	model_range(m, MODEL_BLOCKS * BLK, &off, &len);
	m->pin[k].write = pick(m, 2);
	m->pin[k].file = unit_file(m->fs, "f", O_RDWR);
	err = try_pin(m->pin[k].file, m->pin[k].write ? PIN_WRITE : PIN_READ, 0, off, len, &m->pin[k].id, &r);
	if (bytes_to_blocks_up(off + len) > bytes_to_blocks_up(m->size)) {
		ck_assert_int_eq(err, -EINVAL);
	} else if (err != -ENOSPC) {
		ck_assert_ok(err);
	}
	if (err < 0) {
		fs_release(m->pin[k].file);
		m->pin[k].file = NULL;
		return;
	}
	m->pin[k].off = r.off;
	m->pin[k].len = r.len;
	m->pin[k].cut = false;
	m->pin[k].addr = r.ext_len == r.len && r.pool_off != UINT64_MAX ?
	    pool_block(fs_pool(m->fs), r.pool_off >> BLK_SHIFT) : NULL;
}

/* Store through a write pin, or compare through any. */
static void
model_touch(struct model *m, unsigned k)
{
	uint64_t off, len;
	uint8_t c = (uint8_t)pick(m, 255);

	if (!m->pin[k].file || !m->pin[k].addr)
		return;
	off = pick(m, m->pin[k].len);
	len = 1 + pick(m, m->pin[k].len - off);
	if (m->pin[k].cut) {
		/* Such a store must not show up anywhere. */
		if (m->pin[k].write && pick(m, 2) == 0)
			return;
	} else {
		uint64_t at = m->pin[k].off + off;

		if (at < m->size)
			ck_assert_mem_eq(m->pin[k].addr + off, m->live + at, min_of(len, m->size - at));
		if (m->pin[k].write && at < m->size) {
			len = min_of(len, m->size - at);
			memset(m->pin[k].addr + off, c, len);
			memset(m->live + at, c, len);
		}
	}
}

static void
model_compare(struct model *m, struct fs *fs, const uint8_t *content, uint64_t size)
{
	struct file *f = unit_file(fs, "f", O_RDONLY);
	uint8_t *buf = malloc(MODEL_BLOCKS * BLK);

	(void)m;
	ck_assert_uint_eq(unit_size(f), size);
	ck_assert_int_eq(fs_read(f, buf, MODEL_BLOCKS * BLK, 0), (long long)size);
	for (uint64_t n = 0; n < size; n++)
		if (buf[n] != content[n])
			ck_abort_msg("byte %llu (block %llu): %#x, not %#x", (unsigned long long)n,
			    (unsigned long long)(n / BLK), buf[n], content[n]);
	free(buf);
	fs_release(f);
}

static void
model_step(struct model *m)
{
	uint64_t off, len, txn;
	uint8_t c = (uint8_t)pick(m, 255);
	ssize_t r;

	switch (pick(m, 16)) {
	case 0: case 1: case 2:
		model_range(m, MODEL_BLOCKS * BLK, &off, &len);
		{
			uint8_t *buf = malloc(len);

			memset(buf, c, len);
			r = fs_write(m->f, buf, len, off, false);
			free(buf);
		}
		ck_assert_int_eq(r, (long long)len);
		model_store(m, off, len, c);
		break;
	case 3:
		off = pick(m, MODEL_BLOCKS * BLK);
		ck_assert_ok(fs_truncate(m->f->inode, off));
		if (off > m->size)
			memset(m->live + m->size, 0, off - m->size);
		else
			model_cut(m, (off + BLK - 1) & ~(BLK - 1), UINT64_MAX);
		m->size = off;
		break;
	case 4:
		off = pick(m, MODEL_BLOCKS) * BLK;
		len = (1 + pick(m, MODEL_BLOCKS - off / BLK)) * BLK;
		ck_assert_ok(fs_fallocate(m->f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len));
		if (off < m->size)
			memset(m->live + off, 0, min_of(len, m->size - off));
		model_cut(m, off, off + len);
		break;
	case 5:
		model_range(m, MODEL_BLOCKS * BLK, &off, &len);
		ck_assert_ok(fs_fallocate(m->f, 0, off, len));
		if (off + len > m->size)
			memset(m->live + m->size, 0, off + len - m->size);
		m->size = max_of(m->size, off + len);
		break;
	case 6:
		ck_assert_ok(writeback_inode(m->f->inode, &txn));
		/* Not committed: the image may be either, so make it so. */
		if (pick(m, 2))
			break;
		/* fall through */
	case 7:
		ck_assert_ok(pick(m, 2) ? fs_fsync_wait(m->fs, m->f->inode, false) : fs_sync(m->fs));
		memcpy(m->durable, m->live, sizeof(m->live));
		m->durable_size = m->size;
		break;
	case 8: case 9: case 10: case 11:
		model_pin(m, (unsigned)pick(m, MODEL_PINS));
		break;
	default:
		for (unsigned k = 0; k < MODEL_PINS; k++)
			model_touch(m, k);
		break;
	}
}

/* Holes that a read pin covers are not its own when they are filled, so such pins are not compared (addr
 * is NULL unless the range was one piece of data). */
START_TEST(test_model)
{
	struct model *m = calloc(1, sizeof(*m));
	uint64_t before;

	ck_assert_ptr_nonnull(m);
	m->seed = (uint64_t)_i * 7919 + 17;
	m->path = unit_mkpool(8);
	m->fs = unit_mount_quiet(m->path);
	m->f = unit_file(m->fs, "f", O_RDWR);
	before = unit_free_blocks(m->fs);
	for (unsigned n = 0; n < 1200; n++) {
		model_step(m);
		if (n % 16 == 0)
			model_compare(m, m->fs, m->live, m->size);
	}
	/* The last image, after pins were stored to once more. */
	ck_assert_ok(fs_fsync_wait(m->fs, m->f->inode, false));
	memcpy(m->durable, m->live, sizeof(m->live));
	m->durable_size = m->size;
	for (unsigned k = 0; k < MODEL_PINS; k++)
		model_touch(m, k);
	{
		struct fs *image = unit_crash(m->path);

		model_compare(m, image, m->durable, m->durable_size);
		ck_assert_ok(fs_umount(image));
	}
	for (unsigned k = 0; k < MODEL_PINS; k++)
		if (m->pin[k].file)
			fs_release(m->pin[k].file);
	finish(m->fs, m->path, m->f, before);
	free(m);
}
END_TEST

/* ---- threads ----------------------------------------------------------------------------- */

struct crowd {
	struct fs *fs;
	unsigned done; /* atomic */
};

#define PINNERS 2u

static void *
pinner(void *arg)
{
	struct crowd *c = arg;
	struct file *f = unit_file(c->fs, "f", O_RDWR);
	struct pin_range r;
	uint64_t id, seed = (uint64_t)(uintptr_t)f;

	for (unsigned n = 0; n < 400; n++) {
		uint64_t off = unit_random(&seed) % 32 * BLK;
		int err = try_pin(f, n % 3 ? PIN_WRITE : PIN_READ, PIN_ALLOC * (n % 3 != 0), off, 8 * BLK, &id, &r);

		if (err == -EINVAL)
			continue; /* somebody has truncated */
		ck_assert_ok(err);
		ck_assert_ok(pin_remove(f, id));
	}
	fs_release(f);
	__atomic_fetch_add(&c->done, 1, __ATOMIC_RELEASE);
	return NULL;
}

static void *
changer(void *arg)
{
	struct crowd *c = arg;
	struct file *f = unit_file(c->fs, "f", O_RDWR);
	uint64_t seed = 5;

	while (__atomic_load_n(&c->done, __ATOMIC_ACQUIRE) < PINNERS) {
		uint64_t x = unit_random(&seed);

		if (x % 7 == 0)
			ck_assert_ok(fs_truncate(f->inode, x / 7 % 40 * BLK));
		else
			unit_fill(f, x / 7 % 32 * BLK, 4 * BLK, (uint8_t)x);
	}
	fs_release(f);
	return NULL;
}

static void *
syncer(void *arg)
{
	struct crowd *c = arg;
	struct file *f = unit_file(c->fs, "f", O_RDWR);

	for (unsigned n = 0; __atomic_load_n(&c->done, __ATOMIC_ACQUIRE) < PINNERS; n++) {
		if (n % 2)
			ck_assert_ok(fs_sync(c->fs));
		else
			sync_file(f);
	}
	fs_release(f);
	return NULL;
}

START_TEST(test_threads)
{
	void *(*const job[])(void *) = { pinner, pinner, changer, syncer };
	struct crowd c = { 0 };
	pthread_t thread[4];
	START(8);

	c.fs = fs;
	unit_fill(f, 0, 40 * BLK, 'a');
	for (unsigned k = 0; k < 4; k++)
		ck_assert_int_eq(pthread_create(&thread[k], NULL, job[k], &c), 0);
	for (unsigned k = 0; k < 4; k++)
		pthread_join(thread[k], NULL);
	finish(fs, path, f, before);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("pin_model");
	TCase *t = tcase_create("pin_model");

	tcase_add_loop_test(t, test_model, 0, 12);
	tcase_add_test(t, test_threads);
	suite_add_tcase(s, t);
	return unit_main(s);
}
