/* SPDX-License-Identifier: BSD-3-Clause */
/* Areas: records that only one thread changes, by every means, so that it knows exactly what has to be there; while
 * others do the same in the same file and block beside it, pin, sync and clone it. The last one is a dax file. */
#include "tests/stress/threads.h"

#include <errno.h>
#include <fcntl.h>

enum { PER_BLOCK = BLK_SIZE / RECORD_SIZE };

static uint64_t
at(const struct area *a, unsigned first)
{
	return (a->base + first) * RECORD_SIZE;
}

/* What area a holds, records first to first+n, is what its thread thinks. */
void
area_check(struct area *a, unsigned me, unsigned first, unsigned n)
{
	struct record is[OWN], want;

	if (n == 0)
		return;
	must_all(fs_read(a->f, is, n * sizeof(is[0]), at(a, first)), n * sizeof(is[0]), "read");
	for (unsigned k = 0; k < n; k++) {
		uint64_t seq = a->seq[first + k];

		if (seq)
			record_fill(&want, me, seq, me);
		else
			want = (struct record){ 0 };
		if (memcmp(&is[k], &want, sizeof(want)) != 0)
			die("thread %u, inode %llu, record %u at %#llx: number %llu sequence %llu by %llu mark %#llx, %s; "
			    "should be sequence %llu",
			    me, (unsigned long long)a->f->inode->ino, first + k, (unsigned long long)at(a, first + k),
			    (unsigned long long)is[k].number, (unsigned long long)is[k].sequence, (unsigned long long)is[k].by,
			    (unsigned long long)is[k].mark, record_whole(&is[k]) ? "whole" : record_empty(&is[k]) ? "empty" : "torn",
			    (unsigned long long)seq);
	}
}

static bool
some_range(struct worker *w, const struct area *a, unsigned *first, unsigned *n)
{
	if (a->n == 0)
		return false;
	*first = rnd(w, a->n);
	*n = 1 + rnd(w, a->n - *first < 40 ? a->n - *first : 40);
	return true;
}

/* Whole blocks of the area, in records. */
static bool
some_blocks(struct worker *w, const struct area *a, unsigned *first, unsigned *n)
{
	uint64_t start = (a->base + PER_BLOCK - 1) / PER_BLOCK, end = (a->base + a->n) / PER_BLOCK;

	if (end <= start)
		return false;
	start += rnd(w, (unsigned)(end - start));
	*first = (unsigned)(start * PER_BLOCK - a->base);
	*n = (1 + rnd(w, end - start < 6 ? (unsigned)(end - start) : 6)) * PER_BLOCK;
	return true;
}

/* n new records from `first` on. */
static void
compose(struct worker *w, struct area *a, unsigned first, unsigned n, struct record *r)
{
	for (unsigned k = 0; k < n; k++) {
		a->seq[first + k] = ++w->sequence;
		record_fill(&r[k], w->me, w->sequence, w->me);
	}
}

static void
write_some(struct worker *w, struct area *a)
{
	struct record r[OWN];
	unsigned first, n;

	if (a->own) {
		first = rnd(w, a->n + 8 < OWN ? a->n + 8 : OWN);
		n = 1 + rnd(w, OWN - first < 40 ? OWN - first : 40);
		for (; a->n < first + n; a->n++)
			a->seq[a->n] = 0;
	} else if (!some_range(w, a, &first, &n)) {
		return;
	}
	compose(w, a, first, n, r);
	must_all(fs_write(a->f, r, n * sizeof(r[0]), at(a, first), rnd(w, 4) == 0), n * sizeof(r[0]), "write");
}

static void
clear_some(struct worker *w, struct area *a)
{
	bool punch = rnd(w, 2);
	int mode = FALLOC_FL_KEEP_SIZE | (punch ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);
	struct ask op;
	unsigned first, n;

	if (!some_range(w, a, &first, &n) ||
	    !layout_ask(w, &op, a->f, punch ? LAYOUT_PUNCH : LAYOUT_ZERO, at(a, first), (uint64_t)n * RECORD_SIZE))
		return;
	must(fs_fallocate(a->f, mode, at(a, first), (uint64_t)n * RECORD_SIZE), punch ? "punch" : "zero");
	layout_end(&op.op);
	memset(&a->seq[first], 0, n * sizeof(a->seq[0]));
}

static void
allocate_some(struct worker *w, struct area *a)
{
	unsigned first, n;

	if (some_range(w, a, &first, &n))
		must(fs_fallocate(a->f, FALLOC_FL_KEEP_SIZE, at(a, first), (uint64_t)n * RECORD_SIZE), "fallocate");
}

/* The two ranges are as long as each other; they overlap only if that is refused. */
static bool
two_ranges(struct worker *w, struct area *a, struct area *b, bool blocks, unsigned *fa, unsigned *fb, unsigned *n)
{
	unsigned na, nb;
	bool (*some)(struct worker *, const struct area *, unsigned *, unsigned *) = blocks ? some_blocks : some_range;

	if (!some(w, a, fa, &na) || !some(w, b, fb, &nb))
		return false;
	*n = na < nb ? na : nb;
	return a != b || *fa + *n <= *fb || *fb + *n <= *fa;
}

static void
copy_some(struct worker *w, struct area *a, struct area *b)
{
	unsigned fa, fb, n;
	uint64_t len;

	if (!two_ranges(w, a, b, false, &fa, &fb, &n))
		return;
	len = (uint64_t)n * RECORD_SIZE;
	for (uint64_t done = 0; done < len;) {
		ssize_t r = fs_copy_range(a->f, at(a, fa) + done, b->f, at(b, fb) + done, len - done);

		must(r > 0 ? 0 : r < 0 ? r : -ENODATA, "copy_range");
		done += (uint64_t)r;
	}
	memmove(&b->seq[fb], &a->seq[fa], n * sizeof(a->seq[0]));
}

static void
clone_some(struct worker *w, struct area *a, struct area *b)
{
	struct ask op;
	unsigned fa, fb, n;

	if (!two_ranges(w, a, b, true, &fa, &fb, &n) ||
	    !layout_ask(w, &op, b->f, LAYOUT_CLONE_INTO, at(b, fb), (uint64_t)n * RECORD_SIZE))
		return;
	must(fs_clone_range(a->f, at(a, fa), b->f, at(b, fb), (uint64_t)n * RECORD_SIZE), "clone");
	layout_end(&op.op);
	memmove(&b->seq[fb], &a->seq[fa], n * sizeof(a->seq[0]));
}

static void
exchange_some(struct worker *w, struct area *a, struct area *b)
{
	struct ask op, op2;
	unsigned fa, fb, n;

	if (inode_is_dax(a->f->inode) != inode_is_dax(b->f->inode) || !two_ranges(w, a, b, true, &fa, &fb, &n) ||
	    !layout_ask(w, &op, a->f, LAYOUT_EXCHANGE, at(a, fa), (uint64_t)n * RECORD_SIZE))
		return;
	if (layout_ask(w, &op2, b->f, LAYOUT_EXCHANGE, at(b, fb), (uint64_t)n * RECORD_SIZE)) {
		must(fs_exchange_range(a->f, at(a, fa), b->f, at(b, fb), (uint64_t)n * RECORD_SIZE), "exchange");
		layout_end(&op2.op);
		for (unsigned k = 0; k < n; k++) {
			uint64_t t = a->seq[fa + k];

			a->seq[fa + k] = b->seq[fb + k];
			b->seq[fb + k] = t;
		}
	}
	layout_end(&op.op);
}

/* Pin, store, look, sync perhaps, let go. */
static void
store_some(struct worker *w, struct area *a)
{
	struct pin_params p = { .access = PIN_WRITE, .class = 1 + rnd(w, 2) };
	struct record r[OWN];
	struct pin_range range;
	unsigned first, n;
	uint64_t id;

	if (!some_range(w, a, &first, &n))
		return;
	range = (struct pin_range){ .off = at(a, first), .len = (uint64_t)n * RECORD_SIZE };
	/* -EAGAIN: a neighbour's layout operation wants the block that the two share */
	if (!may(w, pin_add(a->f, &p, &range, 1, &threads_cred, &id), "pin", EAGAIN))
		return;
	if (rnd(w, 3) == 0)
		area_check(a, w->me, first, n);
	compose(w, a, first, n, r);
	if (!a->own)
		atomic_fetch_add(&w->stores, 1);
	for (unsigned k = 0; k < n; k++)
		store_words(mapped(a->f, at(a, first + k)), &r[k], RECORD_SIZE);
	if (!a->own)
		atomic_fetch_add(&w->stores, 1);
	if (rnd(w, 3) == 0)
		must(fs_fsync_wait(test.fs, a->f->inode, rnd(w, 2)), "fsync of a pinned file");
	if (rnd(w, 2))
		area_check(a, w->me, first, n);
	must(pin_remove(a->f, id), "unpin");
}

static void
resize(struct worker *w, struct area *a)
{
	unsigned n = rnd(w, OWN), blocks, off;
	struct stat st = { .st_size = (off_t)n * RECORD_SIZE };
	struct ask op;

	if (rnd(w, 2)) {
		if (n < a->n && !layout_ask(w, &op, a->f, LAYOUT_TRUNCATE, at(a, n), 0))
			return;
		must(fs_setattr(test.fs, a->f->inode, FS_SET_SIZE, &st, &threads_cred), "truncate");
		if (n < a->n)
			layout_end(&op.op);
		for (; a->n < n; a->n++)
			a->seq[a->n] = 0;
		a->n = n;
		return;
	}
	blocks = 1 + rnd(w, 4);
	n = blocks * PER_BLOCK;
	if (a->n <= n + PER_BLOCK)
		return;
	off = rnd(w, (a->n - n - 1) / PER_BLOCK) * PER_BLOCK;
	if (rnd(w, 2)) {
		if (off + n >= a->n || !layout_ask(w, &op, a->f, LAYOUT_COLLAPSE, at(a, off), 0))
			return;
		must(fs_collapse_range(a->f, at(a, off), (uint64_t)n * RECORD_SIZE), "collapse");
		memmove(&a->seq[off], &a->seq[off + n], (a->n - off - n) * sizeof(a->seq[0]));
		a->n -= n;
	} else {
		if (a->n + n > OWN || !layout_ask(w, &op, a->f, LAYOUT_INSERT, at(a, off), 0))
			return;
		must(fs_insert_range(a->f, at(a, off), (uint64_t)n * RECORD_SIZE), "insert");
		memmove(&a->seq[off + n], &a->seq[off], (a->n - off) * sizeof(a->seq[0]));
		memset(&a->seq[off], 0, n * sizeof(a->seq[0]));
		a->n += n;
	}
	layout_end(&op.op);
}

static void
sync_some(struct worker *w, struct area *a)
{
	must(fs_fsync_wait(test.fs, a->f->inode, rnd(w, 2)), "fsync");
}

void
area_step(struct worker *w)
{
	struct area *a = &w->area[rnd(w, AREAS)], *b = &w->area[rnd(w, AREAS)];
	unsigned first, n;

	switch (rnd(w, 11)) {
	case 0:
	case 1:
		write_some(w, a);
		break;
	case 2:
		if (some_range(w, a, &first, &n))
			area_check(a, w->me, first, n);
		break;
	case 3:
		clear_some(w, a);
		break;
	case 4:
		allocate_some(w, a);
		break;
	case 5:
		copy_some(w, a, b);
		break;
	case 6:
		clone_some(w, a, b);
		break;
	case 7:
		exchange_some(w, a, b);
		break;
	case 8:
		store_some(w, a);
		break;
	case 9:
		if (a->own)
			resize(w, a);
		break;
	case 10:
		sync_some(w, a);
		break;
	}
}

/* A clone, or copy, of the file that all share: in each thread's part its own records, whole, but where it has
 * stored meanwhile. */
void
shared_snapshot(struct worker *w)
{
	uint64_t len = (uint64_t)test.threads * REGION * RECORD_SIZE, before[THREADS_MAX];
	struct file *from = w->area[0].f;
	struct record r[REGION];

	must(fs_truncate(w->scratch->inode, 0), "truncate");
	for (unsigned t = 0; t < test.threads; t++)
		before[t] = atomic_load(&test.worker[t].stores);
	if (rnd(w, 3)) {
		must(fs_clone_range(from, 0, w->scratch, 0, 0), "clone of the whole");
	} else {
		for (uint64_t done = 0; done < len;) {
			ssize_t n = fs_copy_range(from, done, w->scratch, done, len - done);

			must(n > 0 ? 0 : n < 0 ? n : -ENODATA, "copy of the whole");
			done += (uint64_t)n;
		}
	}
	for (unsigned t = 0; t < test.threads; t++) {
		must_all(fs_read(w->scratch, r, sizeof(r), (uint64_t)t * sizeof(r)), sizeof(r), "read of a clone");
		if ((before[t] & 1) || before[t] != atomic_load(&test.worker[t].stores))
			continue;
		for (unsigned k = 0; k < REGION; k++)
			if (!record_empty(&r[k]) && (!record_whole(&r[k]) || r[k].by != t))
				die("a clone has record %u of thread %u: number %llu sequence %llu by %llu, %s", k, t,
				    (unsigned long long)r[k].number, (unsigned long long)r[k].sequence, (unsigned long long)r[k].by,
				    record_whole(&r[k]) ? "foreign" : "torn");
	}
}
