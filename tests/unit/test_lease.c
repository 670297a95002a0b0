/* SPDX-License-Identifier: BSD-3-Clause */
/* Leases, and the layout operations that meet them: who gets one, who waits for whom, and how waiting ends. */
#include "fs/lease_i.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/unit_pin.h"

#define END (FBLK_MAX + 1)

/* An operation, and what became of it. */
struct try {
	struct layout_op op;
	int r;               /* of the end of the wait */
	unsigned ends;
	unsigned turn;       /* which of all it was */
};
static unsigned turns;

static void
resumed(struct layout_op *op, int r)
{
	struct try *t = caa_container_of(op, struct try, op);

	t->r = r;
	t->turn = ++turns;
	__atomic_add_fetch(&t->ends, 1, __ATOMIC_RELEASE);
}

static void
try_init(struct try *t, struct file *f, enum layout_kind kind, fblk_t start, fblk_t end)
{
	memset(t, 0, sizeof(*t));
	layout_op_init(&t->op, f->inode, kind, start, end);
	t->op.resume = resumed;
}

/* It has gone on, with that. */
static void
went_on(const struct try *t, int r)
{
	ck_assert_uint_eq(t->ends, 1);
	ck_assert_int_eq(t->r, r);
}

static int
begin(struct try *t, struct file *f, fblk_t start, fblk_t end)
{
	try_init(t, f, LAYOUT_PUNCH, start, end);
	return layout_begin(&t->op);
}

/* What happens to an operation that does not wait. */
static int
probe(struct file *f, fblk_t start, fblk_t end)
{
	struct try t;
	int r;

	try_init(&t, f, LAYOUT_PUNCH, start, end);
	t.op.probe = true;
	r = layout_begin(&t.op);
	if (r == 0)
		layout_end(&t.op);
	return r;
}

static int
take_as(struct file *f, enum lease_type type, enum lease_on_deadline on_deadline, pid_t tgid, fblk_t start, fblk_t end,
    uint64_t *id)
{
	struct lease_params p = { .type = type, .on_deadline = on_deadline, .cookie = start };
	struct fs_cred c = { .tgid = tgid };
	uint64_t off = start << BLK_SHIFT, len = end == END ? 0 : (end - start) << BLK_SHIFT;

	return lease_take(f, &off, &len, &p, &c, id);
}

static uint64_t
take(struct file *f, enum lease_type type, fblk_t start, fblk_t end)
{
	uint64_t id = 0;

	ck_assert_ok(take_as(f, type, LEASE_DEADLINE_REVOKE, 1, start, end, &id));
	return id;
}

static int
try_pin_long(struct file *f, enum pin_access access, uint64_t off, uint64_t len, uint64_t *id, struct pin_range *range)
{
	struct pin_params p = { .access = access, .class = PIN_LONGTERM };

	*range = (struct pin_range){ .off = off, .len = len };
	return pin_add(f, &p, range, 1, &unit_cred, id);
}

static uint8_t *
pin_long(struct file *f, uint64_t off, uint64_t len, uint64_t *id)
{
	struct pin_range r;

	ck_assert_ok(try_pin_long(f, PIN_WRITE, off, len, id, &r));
	ck_assert_uint_eq(r.ext_len, r.len);
	return pool_block(fs_pool(f->inode->fs), r.pool_off >> BLK_SHIFT);
}

static struct lease_info
look(struct file *f, uint64_t id)
{
	struct lease_info info;

	ck_assert_uint_eq(lease_list(f->inode, id - 1, &info, 1), 1);
	ck_assert_uint_eq(info.id, id);
	return info;
}

static struct lease_event
next_event(struct file *f)
{
	struct lease_event e;
	uint64_t lost;
	unsigned more;

	ck_assert_uint_eq(lease_events(f, &e, 1, &more, &lost), 1);
	ck_assert_uint_eq(lost, 0);
	return e;
}

static struct fs *fs;
static struct file *f, *other;
static const char *path;

static void
setup_with(void (*change)(struct fs_options *o))
{
	path = unit_mkpool(8);
	fs = unit_mount_quiet(path);
	f = unit_file(fs, "f", O_RDWR);
	other = unit_file(fs, "f", O_RDWR);
	fs->opt.lease_break_ms = 3600000;
	fs->opt.pin_without_lease = false;
	if (change)
		change(&fs->opt);
	unit_fill(f, 0, 64 * BLK, 'a');
	park_runner(true);
	turns = 0;
}

static void
setup(void)
{
	setup_with(NULL);
}

static void
teardown(void)
{
	struct fs_counters c;

	fs_release(f);
	fs_release(other);
	park_run(fs->park);
	fs_counters(fs, &c);
	ck_assert_uint_eq(c.leases, 0);
	ck_assert_uint_eq(c.parked, 0);
	ck_assert_uint_eq(park_count(fs->park), 0);
	park_runner(false);
	ck_assert_ok(fs_umount(fs));
	unit_check(path);
}

/* ---- grants ------------------------------------------------------------------------------ */

START_TEST(test_grants)
{
	uint64_t a, b, c, id;
	struct lease_info info;

	a = take(f, LEASE_SHARED, 0, 10);
	b = take(other, LEASE_SHARED, 5, 15);
	c = take(f, LEASE_SHARED, 0, 10); /* twice is two */
	ck_assert_err(take_as(f, LEASE_EXCLUSIVE, 0, 1, 0, 10, &id), EBUSY);
	ck_assert_err(take_as(f, LEASE_EXCLUSIVE, 0, 1, 14, 20, &id), EBUSY);
	id = take(f, LEASE_EXCLUSIVE, 15, 20);
	ck_assert_err(take_as(other, LEASE_SHARED, 0, 1, 19, 30, &(uint64_t){ 0 }), EBUSY);
	take(f, LEASE_SHARED, 19, 30); /* the same open file */
	ck_assert_uint_eq(counters(fs).leases, 5);

	info = look(f, id);
	ck_assert_uint_eq(info.off, 15 * BLK);
	ck_assert_uint_eq(info.len, 5 * BLK);
	ck_assert_int_eq(info.type, LEASE_EXCLUSIVE);
	ck_assert_int_eq(info.state, LEASE_HELD);

	ck_assert_err(lease_release(other, a), ENOENT);
	ck_assert_err(lease_release(f, b), ENOENT);
	ck_assert_err(lease_release(f, 0), ENOENT);
	ck_assert_ok(lease_release(f, a));
	ck_assert_err(lease_release(f, a), ENOENT);
	ck_assert_ok(lease_release(other, b));
	ck_assert_ok(lease_release(f, c));
	ck_assert_ok(take_as(other, LEASE_EXCLUSIVE, 0, 2, 0, 15, &id));
}
END_TEST

START_TEST(test_arguments)
{
	struct lease_params p = { .type = LEASE_SHARED };
	struct fs_cred c = { .tgid = 1 };
	uint64_t off, len, id;

	off = 100, len = 5000;
	ck_assert_ok(lease_take(f, &off, &len, &p, &c, &id));
	ck_assert_uint_eq(off, 0);
	ck_assert_uint_eq(len, 2 * BLK);
	off = 5000, len = 0;
	ck_assert_ok(lease_take(f, &off, &len, &p, &c, &id));
	ck_assert_uint_eq(off, BLK);
	ck_assert_uint_eq(off + len, FILE_MAX_BYTES);
	off = FILE_MAX_BYTES, len = 0;
	ck_assert_err(lease_take(f, &off, &len, &p, &c, &id), EINVAL);
	off = 1, len = FILE_MAX_BYTES;
	ck_assert_err(lease_take(f, &off, &len, &p, &c, &id), EINVAL);
	off = 0, len = UINT64_MAX;
	ck_assert_err(lease_take(f, &off, &len, &p, &c, &id), EINVAL);
	off = len = 0;
	p.type = 3;
	ck_assert_err(lease_take(f, &off, &len, &p, &c, &id), EINVAL);
	p = (struct lease_params){ .type = LEASE_SHARED, .on_deadline = 3 };
	ck_assert_err(lease_take(f, &off, &len, &p, &c, &id), EINVAL);
	p = (struct lease_params){ .type = LEASE_SHARED, .signal = SIGRTMAX + 1 };
	ck_assert_err(lease_take(f, &off, &len, &p, &c, &id), EINVAL);
	p.signal = SIGUSR1;
	c.tgid = 0;
	ck_assert_err(lease_take(f, &off, &len, &p, &c, &id), EPERM);
	ck_assert_uint_eq(counters(fs).leases, 2);
}
END_TEST

START_TEST(test_modify)
{
	struct lease_params up = { .type = LEASE_EXCLUSIVE, .cookie = 7 }, down = { .type = LEASE_SHARED };
	struct fs_cred c = { .tgid = 1 };
	uint64_t a = take(f, LEASE_SHARED, 0, 10), b = take(other, LEASE_SHARED, 9, 20);
	struct try t;

	ck_assert_err(lease_modify(f, a, &up, &c), EBUSY);
	ck_assert_err(lease_modify(f, b, &up, &c), ENOENT);
	ck_assert_ok(lease_release(other, b));
	ck_assert_ok(lease_modify(f, a, &up, &c));
	ck_assert_err(take_as(other, LEASE_SHARED, 0, 1, 9, 20, &b), EBUSY);
	ck_assert_err(begin(&t, f, 0, 1), ETXTBSY);
	ck_assert_ok(lease_modify(f, a, &up, &c));
	ck_assert_ok(lease_modify(f, a, &down, &c));
	b = take(other, LEASE_SHARED, 9, 20);
	ck_assert_int_eq(begin(&t, f, 0, 1), LAYOUT_PARKED);
	ck_assert_err(lease_modify(f, a, &up, &c), EAGAIN);
	ck_assert_ok(lease_release(f, a));
	park_run(fs->park);
	went_on(&t, 0);
	layout_end(&t.op);
	ck_assert_err(lease_modify(f, a, &down, &c), ENOENT);
}
END_TEST

#define MANY 400

/* The interval tree against a list. */
START_TEST(test_intervals)
{
	struct { uint64_t id; fblk_t start, end; } have[MANY];
	uint64_t rnd = 0x1234 + (uint64_t)_i;
	unsigned n = 0;

	for (unsigned round = 0; round < 4000; round++) {
		fblk_t start = unit_random(&rnd) % 1000, end = start + 1 + unit_random(&rnd) % 20;
		bool hit = false;

		if (unit_random(&rnd) % 16 == 0)
			end = start + 1 + unit_random(&rnd) % 500;
		if (n < MANY && unit_random(&rnd) % 2) {
			have[n].id = take(f, LEASE_SHARED, start, end);
			have[n].start = start;
			have[n++].end = end;
		} else if (n > 0) {
			unsigned k = (unsigned)(unit_random(&rnd) % n);

			ck_assert_ok(lease_release(f, have[k].id));
			have[k] = have[--n];
		}
		start = unit_random(&rnd) % 1100;
		end = start + 1 + unit_random(&rnd) % 8;
		for (unsigned k = 0; k < n; k++)
			hit |= have[k].start < end && start < have[k].end;
		ck_assert_int_eq(probe(f, start, end), hit ? -EWOULDBLOCK : 0);
		if (round % 64 == 0) {
			struct lease_table *t = lease_table(f->inode);
			unsigned found = 0, wanted = 0;

			mtx_lock(&t->lock);
			for (struct lease *l = lease_first_locked(t, start, start + 100); l;
			     l = lease_next_locked(l, start, start + 100))
				found++;
			mtx_unlock(&t->lock);
			for (unsigned k = 0; k < n; k++)
				wanted += have[k].start < start + 100 && start < have[k].end;
			ck_assert_uint_eq(found, wanted);
		}
	}
}
END_TEST

START_TEST(test_illegal_move)
{
	struct lease_table *t;
	uint64_t id = take(f, LEASE_SHARED, 0, 1);

	t = lease_table(f->inode);
	mtx_lock(&t->lock);
	lease_move_locked(t, RB_ROOT(&t->by_id), LEASE_REVOKED);
	ck_assert_uint_eq(RB_ROOT(&t->by_id)->id, id);
	lease_move_locked(t, RB_ROOT(&t->by_id), LEASE_HELD);
}
END_TEST

/* ---- a break ------------------------------------------------------------------------------- */

START_TEST(test_break)
{
	uint64_t a = take(f, LEASE_SHARED, 0, 10), b = take(other, LEASE_SHARED, 8, 20), far = take(f, LEASE_SHARED, 30, 40), id;
	struct pin_range pr;
	struct lease_event e;
	struct try t;

	ck_assert(!lease_events_pending(f));
	ck_assert_int_eq(begin(&t, f, 9, 25), LAYOUT_PARKED);
	ck_assert_uint_eq(counters(fs).parked, 1);
	ck_assert_uint_eq(counters(fs).lease_breaks, 2);
	ck_assert_int_eq(look(f, a).state, LEASE_BREAKING);
	ck_assert_int_eq(look(f, b).state, LEASE_BREAKING);
	ck_assert_int_eq(look(f, far).state, LEASE_HELD);
	ck_assert(lease_events_pending(f) && lease_events_pending(other));
	e = next_event(other);
	ck_assert_int_eq(e.type, LEASE_EVENT_BREAK);
	ck_assert_int_eq(e.op, LAYOUT_PUNCH);
	ck_assert_uint_eq(e.lease, b);
	ck_assert_uint_eq(e.cookie, 8);
	ck_assert_uint_eq(e.off, 9 * BLK);
	ck_assert_uint_eq(e.len, 11 * BLK);
	ck_assert_int_gt(e.deadline_ns, park_now());
	ck_assert_uint_eq(e.seq, 1);
	ck_assert(!lease_events_pending(other));

	/* Nothing new on the range, or on what is BREAKING; elsewhere as ever. */
	ck_assert_err(take_as(f, LEASE_SHARED, 0, 1, 24, 26, &id), EAGAIN);
	ck_assert_err(take_as(f, LEASE_SHARED, 0, 1, 0, 1, &id), EAGAIN);
	ck_assert_ok(take_as(f, LEASE_SHARED, 0, 1, 25, 26, &id));
	ck_assert_err(try_pin_long(f, PIN_READ, 9 * BLK, BLK, &id, &pr), EAGAIN);
	ck_assert_err(try_pin_long(f, PIN_READ, 0, BLK, &id, &pr), EAGAIN);
	ck_assert_ok(try_pin_long(f, PIN_READ, 30 * BLK, BLK, &id, &pr));

	ck_assert_ok(lease_release(f, a));
	park_run(fs->park);
	ck_assert_uint_eq(t.ends, 0);
	ck_assert_ok(lease_release(other, b));
	ck_assert(park_ready(fs->park));
	park_run(fs->park);
	went_on(&t, 0);
	ck_assert_uint_eq(counters(fs).parked, 0);
	ck_assert_err(take_as(f, LEASE_SHARED, 0, 1, 24, 26, &id), EAGAIN);
	layout_end(&t.op);
	ck_assert_ok(take_as(f, LEASE_SHARED, 0, 1, 24, 26, &id));
	ck_assert(!lease_events_pending(f)); /* what was unread went with the lease */
}
END_TEST

START_TEST(test_exclusive)
{
	uint64_t a = take(f, LEASE_SHARED, 0, 10), b = take(f, LEASE_EXCLUSIVE, 10, 20);
	struct try t;

	ck_assert_err(begin(&t, f, 5, 11), ETXTBSY);
	ck_assert_int_eq(look(f, a).state, LEASE_HELD); /* it was not broken for nothing */
	ck_assert_int_eq(look(f, b).state, LEASE_HELD);
	ck_assert(!lease_events_pending(f));
	ck_assert_ok(begin(&t, f, 20, END));
	layout_end(&t.op);
}
END_TEST

/* Who may only read can delay who writes, not stop him. */
START_TEST(test_readers)
{
	struct lease_params p = { .type = LEASE_EXCLUSIVE };
	struct file *r = unit_file(fs, "f", O_RDONLY), *w = unit_file(fs, "f", O_WRONLY);
	struct fs_cred c = { .tgid = 1 };
	uint64_t id, a;

	ck_assert_err(take_as(r, LEASE_EXCLUSIVE, LEASE_DEADLINE_REVOKE, 1, 0, 10, &id), EBADF);
	ck_assert_err(take_as(r, LEASE_SHARED, LEASE_DEADLINE_WAIT, 1, 0, 10, &id), EBADF);
	ck_assert_err(take_as(r, LEASE_SHARED, LEASE_DEADLINE_FAIL, 1, 0, 10, &id), EBADF);
	a = take(r, LEASE_SHARED, 0, 10);
	ck_assert_err(lease_modify(r, a, &p, &c), EBADF);
	p = (struct lease_params){ .type = LEASE_SHARED, .on_deadline = LEASE_DEADLINE_WAIT };
	ck_assert_err(lease_modify(r, a, &p, &c), EBADF);
	p.on_deadline = LEASE_DEADLINE_REVOKE;
	ck_assert_ok(lease_modify(r, a, &p, &c));
	ck_assert_ok(lease_release(r, a));
	ck_assert_ok(take_as(w, LEASE_EXCLUSIVE, LEASE_DEADLINE_WAIT, 1, 0, 10, &id));
	fs_release(r);
	fs_release(w);
}
END_TEST

/* Of each user, whatever file it is about; a lease that was refused, or has ended in any way, does not count. */
START_TEST(test_limit)
{
	struct lease_params p = { .type = LEASE_SHARED };
	struct fs_cred some = { .uid = 1000, .tgid = 1 }, more = { .uid = 1001, .tgid = 1 };
	struct file *g = unit_file(fs, "g", O_RDWR), *h = unit_file(fs, "f", O_RDWR);
	uint64_t id[3], x;

#define TAKE(file, cred, to) \
	(off = 0, len = 0, lease_take(file, &off, &len, &p, cred, to))
	uint64_t off, len;

	fs->opt.lease_limit = 3;
	ck_assert_ok(TAKE(f, &some, &id[0]));
	ck_assert_ok(TAKE(g, &some, &id[1]));
	ck_assert_ok(TAKE(h, &some, &id[2]));
	ck_assert_err(TAKE(g, &some, &x), EDQUOT);
	ck_assert_ok(TAKE(g, &more, &x));
	ck_assert_ok(lease_release(g, x));
	ck_assert_ok(lease_release(f, id[0]));
	p.type = LEASE_EXCLUSIVE;
	for (int k = 0; k < 5; k++)
		ck_assert_err(TAKE(f, &some, &x), EBUSY);
	p.type = LEASE_SHARED;
	ck_assert_ok(TAKE(f, &some, &id[0]));
	ck_assert_err(TAKE(f, &some, &x), EDQUOT);
	fs_release(h);
	ck_assert_ok(TAKE(f, &some, &x));
	ck_assert_err(TAKE(f, &some, &x), EDQUOT);
	ck_assert_ok(lease_modify(g, id[1], &p, &some));
	fs_release(g);
#undef TAKE
}
END_TEST

START_TEST(test_own)
{
	struct fs_cred me = { .tgid = getpid() };
	struct pin_range pr = { .off = 0, .len = BLK };
	struct lease_params p = { .type = LEASE_EXCLUSIVE };
	uint64_t off = 0, len = 0, id, pin_id;
	struct try t;

	ck_assert_ok(lease_take(f, &off, &len, &p, &me, &id));
	try_init(&t, f, LAYOUT_TRUNCATE, 0, END);
	t.op.tid = getpid();
	ck_assert_ok(layout_begin(&t.op));
	layout_end(&t.op);
	ck_assert(!lease_events_pending(f));

	/* a pin of his own: he would wait for himself */
	ck_assert_ok(pin_add(f, &(struct pin_params){ .access = PIN_READ, .class = PIN_TRANSIENT }, &pr, 1, &me, &pin_id));
	ck_assert_err(layout_begin(&t.op), EBUSY);
	try_init(&t, f, LAYOUT_TRUNCATE, 1, END);
	t.op.tid = getpid();
	ck_assert_ok(layout_begin(&t.op));
	layout_end(&t.op);
	ck_assert_err(begin(&t, f, 0, 1), ETXTBSY);
	ck_assert_ok(pin_remove(f, pin_id));
}
END_TEST

START_TEST(test_nonblock)
{
	uint64_t a = take(f, LEASE_SHARED, 0, 10), id;
	struct try t;

	try_init(&t, f, LAYOUT_TRUNCATE, 0, END);
	t.op.nonblock = true;
	ck_assert_err(layout_begin(&t.op), EWOULDBLOCK);
	ck_assert_int_eq(look(f, a).state, LEASE_BREAKING);
	ck_assert_int_eq(next_event(f).type, LEASE_EVENT_BREAK);
	/* It has the time it would have if somebody waited, and gets no new lease meanwhile. */
	ck_assert_err(take_as(other, LEASE_SHARED, 0, 1, 5, 6, &id), EAGAIN);
	ck_assert_int_gt(look(f, a).deadline_ns, park_now());
	/* Somebody who waits, and is interrupted, does not change that. */
	ck_assert_int_eq(begin(&t, f, 0, 1), LAYOUT_PARKED);
	park_cancel(&t.op.park);
	park_run(fs->park);
	went_on(&t, -EINTR);
	ck_assert_int_eq(look(f, a).state, LEASE_BREAKING);
	ck_assert_ok(lease_release(f, a));
	ck_assert_ok(begin(&t, f, 0, END));
	layout_end(&t.op);
}
END_TEST

START_TEST(test_cancel)
{
	uint64_t a = take(f, LEASE_SHARED, 0, 10), b = take(f, LEASE_SHARED, 10, 20);
	struct try t, wider;

	ck_assert_int_eq(begin(&t, f, 0, 5), LAYOUT_PARKED);
	ck_assert_int_eq(begin(&wider, f, 6, 15), LAYOUT_PARKED);
	park_cancel(&wider.op.park);
	park_run(fs->park);
	went_on(&wider, -EINTR);
	ck_assert_int_eq(look(f, a).state, LEASE_BREAKING); /* the first one still waits for it */
	ck_assert_int_eq(look(f, b).state, LEASE_HELD);
	park_cancel(&t.op.park);
	park_run(fs->park);
	went_on(&t, -EINTR);
	ck_assert_int_eq(look(f, a).state, LEASE_HELD);
	ck_assert_int_eq(next_event(f).type, LEASE_EVENT_BREAK);
	ck_assert_int_eq(next_event(f).type, LEASE_EVENT_BREAK);
	ck_assert_uint_eq(next_event(f).lease, b);
	ck_assert_int_eq(next_event(f).type, LEASE_EVENT_RESTORED);
	ck_assert(!lease_events_pending(f));
	ck_assert_uint_eq(park_count(fs->park), 0); /* nor does the timer run on */

	/* Cancelled before it had to wait. */
	try_init(&t, f, LAYOUT_PUNCH, 0, 1);
	park_cancel(&t.op.park);
	ck_assert_int_eq(layout_begin(&t.op), LAYOUT_PARKED);
	park_run(fs->park);
	went_on(&t, -EINTR);
}
END_TEST

START_TEST(test_order)
{
	uint64_t a = take(f, LEASE_SHARED, 0, 10);
	struct try t[4], early;

	for (unsigned k = 0; k < 3; k++)
		ck_assert_int_eq(begin(&t[k], f, k, 10), LAYOUT_PARKED);
	/* It overlaps only the last of them, but came after it; and this one overlaps none. */
	ck_assert_ok(lease_release(f, a));
	ck_assert_int_eq(begin(&t[3], f, 9, 20), LAYOUT_PARKED);
	ck_assert_ok(begin(&early, f, 20, 30));
	layout_end(&early.op);
	for (unsigned k = 0; k < 4; k++) {
		park_run(fs->park);
		ck_assert_uint_eq(turns, k + 1);
		ck_assert_uint_eq(t[k].turn, k + 1);
		went_on(&t[k], 0);
		layout_end(&t[k].op);
	}
	ck_assert_uint_eq(counters(fs).parked, 0);
}
END_TEST

/* The holder reacts to a break with an operation of its own on the range. */
START_TEST(test_holder_is_not_behind)
{
	struct fs_cred me = { .tgid = getpid() };
	struct lease_params p = { .type = LEASE_SHARED };
	uint64_t off = 0, len = 0, id;
	struct try t, mine;

	ck_assert_ok(lease_take(f, &off, &len, &p, &me, &id));
	ck_assert_int_eq(begin(&t, f, 0, 10), LAYOUT_PARKED);
	try_init(&mine, f, LAYOUT_PUNCH, 5, 6);
	mine.op.tid = getpid();
	ck_assert_ok(layout_begin(&mine.op));
	layout_end(&mine.op);
	ck_assert_ok(lease_release(f, id));
	park_run(fs->park);
	went_on(&t, 0);
	layout_end(&t.op);
}
END_TEST

START_TEST(test_close)
{
	struct try t;

	take(other, LEASE_SHARED, 0, 10);
	take(other, LEASE_SHARED, 5, 10);
	ck_assert_int_eq(begin(&t, f, 0, END), LAYOUT_PARKED);
	fs_release(other);
	park_run(fs->park);
	went_on(&t, 0);
	layout_end(&t.op);
	other = unit_file(fs, "f", O_RDWR);
}
END_TEST

START_TEST(test_shutdown)
{
	uint64_t a = take(f, LEASE_SHARED, 0, 10);
	struct try t;

	ck_assert_int_eq(begin(&t, f, 0, END), LAYOUT_PARKED);
	park_close(fs->park);
	went_on(&t, -EIO);
	ck_assert_int_eq(look(f, a).state, LEASE_HELD);
	ck_assert_int_eq(begin(&t, f, 0, END), LAYOUT_PARKED);
	park_run(fs->park);
	went_on(&t, -EIO);
}
END_TEST

/* A great many at once: everybody is told, nobody twice. */
START_TEST(test_many)
{
	enum { N = 10000 };
	struct lease_event e[100];
	static uint64_t id[N];
	unsigned more = 1, total = 0;
	uint64_t lost;
	struct try t;

	for (unsigned k = 0; k < N; k++)
		id[k] = take(f, LEASE_SHARED, k, k + 2);
	ck_assert_int_eq(begin(&t, f, 0, END), LAYOUT_PARKED);
	while (more > 0) {
		unsigned n = lease_events(f, e, 100, &more, &lost);

		ck_assert_uint_eq(lost, 0);
		for (unsigned k = 0; k < n; k++, total++) {
			ck_assert_uint_eq(e[k].lease, id[total]);
			ck_assert_uint_eq(e[k].seq, total + 1);
		}
	}
	ck_assert_uint_eq(total, N);
	for (unsigned k = 0; k < N; k++) {
		ck_assert(!park_ready(fs->park));
		ck_assert_ok(lease_release(f, id[k]));
	}
	park_run(fs->park);
	went_on(&t, 0);
	layout_end(&t.op);
}
END_TEST

/* ---- pins -------------------------------------------------------------------------------------- */

START_TEST(test_pins_need_leases)
{
	uint64_t a = take(f, LEASE_SHARED, 2, 10), id, id2;
	struct pin_range pr, two[2] = { { .off = 2 * BLK, .len = BLK }, { .off = 10 * BLK, .len = BLK } };
	struct try t;

	ck_assert_err(try_pin_long(other, PIN_READ, 2 * BLK, BLK, &id, &pr), ENOLCK);
	ck_assert_err(try_pin_long(f, PIN_READ, BLK, 2 * BLK, &id, &pr), ENOLCK);
	ck_assert_err(try_pin_long(f, PIN_WRITE, 9 * BLK, 2 * BLK, &id, &pr), ENOLCK);
	ck_assert_err(pin_add(f, &(struct pin_params){ .access = PIN_READ, .class = PIN_FAULTABLE }, two, 2, &unit_cred,
	    &id), ENOLCK);
	ck_assert_ok(try_pin_long(f, PIN_WRITE, 2 * BLK, 8 * BLK, &id, &pr));
	fs->opt.pin_without_lease = true;
	ck_assert_ok(try_pin_long(f, PIN_WRITE, 0, BLK, &id2, &pr));
	ck_assert_ok(pin_remove(f, id2));

	/* The lease is given back before the pin is: the operation waits for that, too. */
	ck_assert_int_eq(begin(&t, f, 5, END), LAYOUT_PARKED);
	ck_assert_ok(lease_release(f, a));
	park_run(fs->park);
	ck_assert_uint_eq(t.ends, 0);
	ck_assert_ok(pin_remove(f, id));
	park_run(fs->park);
	went_on(&t, 0);
	layout_end(&t.op);
}
END_TEST

static enum layout_kind
kind_of(int i)
{
	static const enum layout_kind kinds[] = { LAYOUT_TRUNCATE, LAYOUT_PUNCH, LAYOUT_ZERO, LAYOUT_CLONE_INTO,
		LAYOUT_COLLAPSE, LAYOUT_INSERT, LAYOUT_EXCHANGE };

	return kinds[i];
}
enum { KINDS = 7, KINDS_AT_ONCE = 4 };

/* Who only frees blocks goes on at once, unless the mount has it otherwise; who moves them waits. */
START_TEST(test_transient)
{
	uint64_t id, none;
	struct pin_range pr;
	struct try t;

	for (int wait = 0; wait < 2; wait++) {
		fs->opt.layout_wait = wait;
		ck_assert_ok(try_pin(f, PIN_WRITE, 0, 2 * BLK, 2 * BLK, &id, &pr));
		try_init(&t, other, kind_of(_i), 3, END);
		if (_i < KINDS_AT_ONCE && !wait) {
			ck_assert_ok(layout_begin(&t.op));
		} else {
			ck_assert_int_eq(layout_begin(&t.op), LAYOUT_PARKED);
			/* others can't make it wait longer */
			ck_assert_err(try_pin(f, PIN_WRITE, 0, 3 * BLK, BLK, &none, &pr), EAGAIN);
			ck_assert_ok(pin_remove(f, id));
			park_run(fs->park);
			went_on(&t, 0);
			id = 0;
		}
		layout_end(&t.op);
		if (id)
			ck_assert_ok(pin_remove(f, id));
	}
}
END_TEST

START_TEST(test_probe)
{
	uint64_t a = take(f, LEASE_SHARED, 2, 10), id;
	struct pin_range pr;

	ck_assert_err(probe(f, 9, 11), EWOULDBLOCK);
	ck_assert_int_eq(look(f, a).state, LEASE_HELD);
	ck_assert_ok(probe(f, 10, 11));
	fs->opt.pin_without_lease = true;
	ck_assert_ok(try_pin_long(other, PIN_WRITE, 20 * BLK, BLK, &id, &pr));
	ck_assert_err(probe(f, 20, 21), EWOULDBLOCK);
	ck_assert_ok(pin_remove(other, id));
	ck_assert_ok(probe(f, 20, 21));
}
END_TEST

/* Somebody fills a hole that is mapped for reading: the mapping can't know. */
START_TEST(test_fill)
{
	uint64_t a, b, id, id2, wid;
	struct pin_range pr;
	struct lease_event e;

	ck_assert_ok(fs_truncate(f->inode, 64 * BLK));
	ck_assert_ok(fs_truncate(f->inode, 128 * BLK));
	a = take(f, LEASE_SHARED, 60, 80);
	b = take(other, LEASE_SHARED, 60, 200);
	ck_assert_ok(try_pin_long(f, PIN_READ, 62 * BLK, 10 * BLK, &id, &pr));
	ck_assert_ok(try_pin_long(other, PIN_READ, 62 * BLK, BLK, &id2, &pr));
	unit_fill(f, 80 * BLK, BLK, 'x');   /* a hole, but nobody has mapped it */
	unit_fill(f, 63 * BLK, BLK, 'x');   /* mapped, but no hole */
	ck_assert(!lease_events_pending(f));
	unit_fill(f, 65 * BLK + 5, 2 * BLK, 'x');
	e = next_event(f);
	ck_assert_int_eq(e.type, LEASE_EVENT_FILLED);
	ck_assert_int_eq(e.op, LAYOUT_FILL);
	ck_assert_uint_eq(e.lease, a);
	ck_assert_uint_eq(e.off, 65 * BLK);
	ck_assert_uint_eq(e.len, 3 * BLK);
	unit_fill(f, 66 * BLK, BLK, 'y');   /* data already */
	sync_file(f);
	unit_fill(f, 66 * BLK, BLK, 'z');   /* fresh blocks, and still */
	ck_assert(!lease_events_pending(f));
	ck_assert_ok(try_pin_long(other, PIN_WRITE, 70 * BLK, BLK, &wid, &pr));
	ck_assert_uint_eq(next_event(f).off, 70 * BLK);
	ck_assert(!lease_events_pending(other));
	ck_assert_int_eq(look(f, a).state, LEASE_HELD);
	ck_assert_int_eq(look(f, b).state, LEASE_HELD);
}
END_TEST

/* ---- deadlines ----------------------------------------------------------------------------------- */

static void
soon(struct fs_options *o)
{
	o->lease_break_ms = 20;
}

static void
setup_soon(void)
{
	setup_with(soon);
	park_runner(false); /* what the lot's thread wakes it runs itself */
}

static void
wait_for(struct try *t)
{
	for (unsigned n = 0; __atomic_load_n(&t->ends, __ATOMIC_ACQUIRE) == 0; n++) {
		ck_assert_uint_lt(n, 20000);
		usleep(1000);
	}
}

START_TEST(test_revoke)
{
	struct lease_params p = { .type = LEASE_SHARED };
	struct fs_cred c = { .tgid = 1 };
	uint64_t a = take(f, LEASE_SHARED, 0, 10), id, pin_id;
	struct pin_range pr;
	struct try t;
	uint8_t *at;

	at = pin_long(f, 0, 4 * BLK, &pin_id);
	ck_assert_int_eq(begin(&t, f, 0, END), LAYOUT_PARKED);
	wait_for(&t);
	went_on(&t, 0);
	ck_assert_ok(fs_truncate(f->inode, 0));
	layout_end(&t.op);
	ck_assert_int_eq(look(f, a).state, LEASE_REVOKED);
	ck_assert_uint_eq(counters(fs).lease_revocations, 1);
	ck_assert_int_eq(next_event(f).type, LEASE_EVENT_BREAK);
	ck_assert_int_eq(next_event(f).type, LEASE_EVENT_REVOKED);

	/* Its blocks are the holder's alone; it is in nobody's way, but good for nothing. */
	ck_assert_uint_eq(quarantined(fs), 4);
	unit_fill(other, 0, 4 * BLK, 'n');
	memset(at, 'x', 4 * BLK);
	unit_expect(other, 0, 4 * BLK, 'n');
	ck_assert_err(lease_modify(f, a, &p, &c), ESTALE);
	ck_assert_err(try_pin_long(f, PIN_READ, 0, BLK, &id, &pr), ESTALE);
	ck_assert_ok(begin(&t, f, 0, END));
	layout_end(&t.op);
	ck_assert_ok(take_as(other, LEASE_EXCLUSIVE, 0, 2, 0, 5, &id));
	ck_assert_ok(pin_remove(f, pin_id));
	ck_assert_ok(lease_release(f, a));
	ck_assert_uint_eq(quarantined(fs), 0);
}
END_TEST

START_TEST(test_fail)
{
	uint64_t a, b = take(other, LEASE_SHARED, 5, 15);
	struct try t;

	ck_assert_ok(take_as(f, LEASE_SHARED, LEASE_DEADLINE_FAIL, 1, 0, 10, &a));
	ck_assert_int_eq(begin(&t, f, 0, END), LAYOUT_PARKED);
	wait_for(&t);
	went_on(&t, -EAGAIN);
	/* and nobody else has lost a lease for it */
	ck_assert_int_eq(look(f, a).state, LEASE_HELD);
	ck_assert_int_eq(look(f, b).state, LEASE_HELD);
	ck_assert_int_eq(next_event(f).type, LEASE_EVENT_BREAK);
	ck_assert_int_eq(next_event(f).type, LEASE_EVENT_RESTORED);
	ck_assert_int_eq(next_event(other).type, LEASE_EVENT_BREAK);
	ck_assert_int_eq(next_event(other).type, LEASE_EVENT_RESTORED);
}
END_TEST

START_TEST(test_wait)
{
	uint64_t a, b = take(other, LEASE_SHARED, 5, 15);
	struct try t;

	ck_assert_ok(take_as(f, LEASE_SHARED, LEASE_DEADLINE_WAIT, 1, 0, 10, &a));
	ck_assert_int_eq(begin(&t, f, 0, END), LAYOUT_PARKED);
	ck_assert_int_eq(next_event(f).deadline_ns, 0);
	while (look(f, b).state != LEASE_REVOKED)
		usleep(1000);
	usleep(50000);
	ck_assert_uint_eq(__atomic_load_n(&t.ends, __ATOMIC_ACQUIRE), 0);
	ck_assert_int_eq(look(f, a).state, LEASE_BREAKING);
	ck_assert_ok(lease_release(f, a));
	wait_for(&t);
	went_on(&t, 0);
	layout_end(&t.op);
}
END_TEST

/* Nobody waits, and still the time runs out. */
START_TEST(test_nonblock_deadline)
{
	uint64_t a = take(f, LEASE_SHARED, 0, 10);
	struct try t;

	try_init(&t, f, LAYOUT_TRUNCATE, 0, END);
	t.op.nonblock = true;
	ck_assert_err(layout_begin(&t.op), EWOULDBLOCK);
	for (unsigned n = 0; look(f, a).state != LEASE_REVOKED; n++) {
		ck_assert_uint_lt(n, 20000);
		usleep(1000);
	}
	ck_assert_ok(layout_begin(&t.op));
	layout_end(&t.op);
}
END_TEST

/* It has to be short, as it was promised to be. */
START_TEST(test_transient_deadline)
{
	struct pin_range pr;
	uint64_t id;
	struct try t;

	fs->opt.transient_ms = 20;
	fs->opt.lease_break_ms = 3600000;
	ck_assert_ok(try_pin(f, PIN_WRITE, 0, 0, BLK, &id, &pr));
	try_init(&t, other, LAYOUT_COLLAPSE, 0, END);
	ck_assert_int_eq(layout_begin(&t.op), LAYOUT_PARKED);
	wait_for(&t);
	ck_assert_int_eq(t.r, 0);
	layout_end(&t.op);
	ck_assert_ok(pin_remove(f, id));
}
END_TEST

/* The lease is back, its pin is not: the deadline is good for both. */
START_TEST(test_pin_deadline)
{
	uint64_t a = take(f, LEASE_SHARED, 0, 10), pin_id;
	struct try t;

	pin_long(f, 0, 4 * BLK, &pin_id);
	ck_assert_int_eq(begin(&t, f, 0, END), LAYOUT_PARKED);
	ck_assert_ok(lease_release(f, a));
	wait_for(&t);
	went_on(&t, 0);
	ck_assert_ok(fs_truncate(f->inode, 0));
	layout_end(&t.op);
	ck_assert_uint_eq(quarantined(fs), 4);
	ck_assert_ok(pin_remove(f, pin_id));
}
END_TEST

static void
cut(struct fs_options *o)
{
	o->lease_cut = true;
}

static void
setup_cut(void)
{
	setup_with(cut);
}

START_TEST(test_cut)
{
	uint64_t a = take(f, LEASE_SHARED, 0, 10), pin_id;
	struct try t;

	pin_long(f, 0, 4 * BLK, &pin_id);
	ck_assert_ok(begin(&t, f, 2, END));
	layout_end(&t.op);
	ck_assert_int_eq(look(f, a).state, LEASE_REVOKED);
	ck_assert_int_eq(next_event(f).type, LEASE_EVENT_REVOKED);
	ck_assert(!lease_events_pending(f));
	ck_assert_ok(pin_remove(f, pin_id));
}
END_TEST

/* ---- the holder's signal ---------------------------------------------------------------------------- */

START_TEST(test_signal)
{
	struct lease_params p = { .type = LEASE_SHARED, .signal = SIGRTMIN + 1, .cookie = 0x123456789abcull };
	struct fs_cred me = { .tgid = getpid() };
	struct timespec limit = { .tv_sec = 10 };
	uint64_t off = 0, len = 0, id[3];
	siginfo_t info;
	sigset_t set;
	struct try t;

	sigemptyset(&set);
	sigaddset(&set, p.signal);
	for (int k = 0; k < 3; k++, p.cookie++)
		ck_assert_ok(lease_take(f, &off, &len, &p, &me, &id[k]));
	ck_assert_int_eq(begin(&t, f, 0, END), LAYOUT_PARKED);
	for (unsigned k = 0; k < 3; k++) {
		ck_assert_int_eq(sigtimedwait(&set, &info, &limit), p.signal);
		ck_assert_int_eq(info.si_code, SI_QUEUE);
		ck_assert_uint_eq((uintptr_t)info.si_value.sival_ptr, 0x123456789abcull + k);
	}
	for (int k = 0; k < 3; k++)
		ck_assert_ok(lease_release(f, id[k]));
	park_run(fs->park);
	went_on(&t, 0);
	layout_end(&t.op);
}
END_TEST

/* They are not what descriptors are used up by. */
START_TEST(test_signals_many)
{
	struct lease_params p = { .type = LEASE_SHARED, .signal = SIGRTMIN + 1 };
	struct fs_cred me = { .tgid = getpid() };
	uint64_t off, len, id;
	int before = dup(0), after;

	for (int k = 0; k < 100; k++) {
		off = len = 0;
		ck_assert_ok(lease_take(f, &off, &len, &p, &me, &id));
	}
	after = dup(0);
	ck_assert_int_eq(after, before + 1);
	close(after);
	close(before);
}
END_TEST

/* A process that was a user's is somebody else's now: he can't have it signalled. (Root only: nobody else can become another.) */
START_TEST(test_signal_whose)
{
	struct lease_params p = { .type = LEASE_SHARED, .signal = SIGKILL };
	struct fs_cred his = { .uid = 65534 };
	uint64_t off = 0, len = 0, id;
	int go[2], ready[2], status;
	struct try t;
	char c;

	if (getuid() != 0)
		return;
	ck_assert_ok(pipe(go));
	ck_assert_ok(pipe(ready));
	his.tgid = fork();
	if (his.tgid == 0) {
		ck_assert_ok(seteuid(65534));
		if (write(ready[1], "x", 1) != 1 || read(go[0], &c, 1) != 1 || seteuid(0) < 0 ||
		    write(ready[1], "x", 1) != 1 || read(go[0], &c, 1) != 1)
			_exit(1);
		_exit(7);
	}
	ck_assert_int_eq(read(ready[0], &c, 1), 1);
	ck_assert_ok(lease_take(f, &off, &len, &p, &his, &id));
	ck_assert_int_eq(write(go[1], "x", 1), 1);
	ck_assert_int_eq(read(ready[0], &c, 1), 1);
	ck_assert_err(lease_modify(f, id, &p, &his), EPERM);
	ck_assert_int_eq(begin(&t, f, 0, END), LAYOUT_PARKED);
	ck_assert_int_eq(next_event(f).type, LEASE_EVENT_BREAK);
	ck_assert_int_eq(write(go[1], "x", 1), 1);
	ck_assert_int_eq(waitpid(his.tgid, &status, 0), his.tgid);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	ck_assert_ok(lease_release(f, id));
	park_run(fs->park);
	went_on(&t, 0);
	layout_end(&t.op);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("lease");
	TCase *all = tcase_create("all"), *late = tcase_create("deadlines"), *at_once = tcase_create("cut");
	sigset_t set;

	/* of all threads that the filesystem will start: test_signal waits for it */
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	tcase_add_checked_fixture(all, setup, teardown);
	tcase_add_test(all, test_grants);
	tcase_add_test(all, test_arguments);
	tcase_add_test(all, test_modify);
	tcase_add_test(all, test_readers);
	tcase_add_test(all, test_limit);
	tcase_add_loop_test(all, test_intervals, 0, 3);
	tcase_add_test_raise_signal(all, test_illegal_move, SIGABRT);
	tcase_add_test(all, test_break);
	tcase_add_test(all, test_exclusive);
	tcase_add_test(all, test_own);
	tcase_add_test(all, test_nonblock);
	tcase_add_test(all, test_cancel);
	tcase_add_test(all, test_order);
	tcase_add_test(all, test_holder_is_not_behind);
	tcase_add_test(all, test_close);
	tcase_add_test(all, test_shutdown);
	tcase_add_test(all, test_many);
	tcase_add_test(all, test_pins_need_leases);
	tcase_add_loop_test(all, test_transient, 0, KINDS);
	tcase_add_test(all, test_probe);
	tcase_add_test(all, test_fill);
	tcase_add_test(all, test_signal);
	tcase_add_test(all, test_signals_many);
	tcase_add_test(all, test_signal_whose);

	tcase_add_checked_fixture(late, setup_soon, teardown);
	tcase_add_test(late, test_revoke);
	tcase_add_test(late, test_fail);
	tcase_add_test(late, test_wait);
	tcase_add_test(late, test_nonblock_deadline);
	tcase_add_test(late, test_pin_deadline);
	tcase_add_test(late, test_transient_deadline);
	tcase_add_checked_fixture(at_once, setup_cut, teardown);
	tcase_add_test(at_once, test_cut);
	suite_add_tcase(s, all);
	suite_add_tcase(s, late);
	suite_add_tcase(s, at_once);
	return unit_main(s);
}
