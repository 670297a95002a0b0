/* SPDX-License-Identifier: BSD-3-Clause */
/* ioctls that move content: collapse, insert, exchange, clone, and the offer that names the second file.
 *
 * The kernel may have pages of the files: of what is moved, and, from a shared mapping, changes that it has not told us
 * of. So it is made to drop its pages twice: before the operation, which makes it write back what is
 * changed, and after it, when they show what was there before. Both are done by the notifier; this thread waits for the
 * first, as a long request, so that another one is there for what the kernel writes back.
 *
 * Before all that, whoever holds leases on the ranges is asked (layout.h), for one range after the other. All that is
 * needed is in a struct operation, because the request may be parked meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>

#include "fs/fuse/ioctl_i.h"

struct operation;

/* One range of one file that an operation is about, to the end of the file if len is 0. */
struct moved {
	struct front_op op;
	struct operation *owner;
	struct file *file;     /* open until the reply */
	uint64_t off, len;
};

/* Parked, if need be, for each of its ranges in turn. */
struct operation {
	struct call call;       /* with an inode of its own, and `in` for the caller's structure */
	union {
		struct pinfs_range range;
		struct pinfs_clone clone;
		struct pinfs_exchange exchange;
	} in;
	uint64_t unique;
	struct moved to, from;  /* from.file NULL: there is only one */
	struct file other;      /* from.file, with a reference to its inode */
	int (*run)(const struct operation *o);
	bool from_changes;
	enum layout_kind kind;
	struct moved *asks[2];  /* ranges that others may have leased */
	unsigned nasks, asked;
};

/* ---- the kernel's pages ----------------------------------------------------------------- */

struct dropping {
	struct mtx lock;       /* LOCK_LEAF */
	pthread_cond_t done;
	unsigned left;         /* P: lock */
};

static void
dropped(void *arg)
{
	struct dropping *d = arg;

	mtx_lock(&d->lock);
	if (--d->left == 0)
		pthread_cond_signal(&d->done);
	mtx_unlock(&d->lock);
}

static void
drop(struct front *fr, const struct moved *m, void (*done)(void *arg), void *arg)
{
	notify_inval(fr->notifier, m->file->inode->ino, (int64_t)m->off, (int64_t)m->len, done, arg);
}

static void
drop_before(const struct operation *o)
{
	struct dropping d = { .left = o->from.file ? 2 : 1 };

	mtx_init(&d.lock, LOCK_LEAF, 0);
	pthread_cond_init(&d.done, NULL);
	drop(o->call.front, &o->to, dropped, &d);
	if (o->from.file)
		drop(o->call.front, &o->from, dropped, &d);
	mtx_lock(&d.lock);
	while (d.left > 0)
		mtx_cond_wait(&d.done, &d.lock);
	mtx_unlock(&d.lock);
	pthread_cond_destroy(&d.done);
	mtx_destroy(&d.lock);
}

/* ---- one operation ------------------------------------------------------------------------- */

/* It has ended for others; the caller may already have got his reply. */
static void
end_asked(struct operation *o)
{
	while (o->asked > 0)
		layout_end(&o->asks[--o->asked]->op.op);
}

/* Replies itself, or returns an error. */
static int
execute(struct operation *o)
{
	struct front *fr = o->call.front;
	struct ioctl_deferred *d = ioctl_defer(o->call.req, NULL, 0);
	int r;

	if (!d)
		return -ENOMEM;
	session_long_request();
	drop_before(o);
	r = o->run(o);
	if (r < 0) {
		ioctl_defer_cancel(d);
		return r;
	}
	end_asked(o);
	front_took_privileges(fr, fuse_req_ctx(o->call.req)->uid, o->to.file->inode);
	if (o->from_changes) {
		front_took_privileges(fr, fuse_req_ctx(o->call.req)->uid, o->from.file->inode);
		drop(fr, &o->from, NULL, NULL);
	}
	drop(fr, &o->to, ioctl_reply_deferred, d);
	return 0;
}

static void ask_next(struct operation *o);

static void
finish(struct operation *o, int r)
{
	end_asked(o);
	if (r < 0)
		front_reply(o->call.req, r);
	if (o->from.file)
		inode_put(o->from.file->inode);
	inode_put(o->call.inode);
	free(o);
}

static void
answered(struct front_op *p, int r)
{
	struct operation *o = caa_container_of(p, struct moved, op)->owner;

	if (r < 0) {
		finish(o, r);
		return;
	}
	o->asked++;
	ask_next(o);
}

/* What len 0 means: a clone ends where its source does now; 0: at no end that is known. */
static uint64_t
to_the_end(const struct operation *o)
{
	struct stat st;

	if (o->kind != LAYOUT_CLONE_INTO)
		return 0;
	inode_stat(o->other.inode, &st);
	return (uint64_t)st.st_size > o->from.off ? (uint64_t)st.st_size - o->from.off : 1;
}

static void
ask_next(struct operation *o)
{
	struct moved *m;
	uint64_t len;

	if (o->asked == o->nasks) {
		finish(o, execute(o));
		return;
	}
	m = o->asks[o->asked];
	len = m->len ? m->len : to_the_end(o);
	layout_op_init(&m->op.op, m->file->inode, o->kind, m->off >> BLK_SHIFT,
	    len ? bytes_to_blocks_up(m->off + len) : FBLK_MAX + 1);
	m->op.op.tid = fuse_req_ctx(o->call.req)->pid;
	m->op.op.nonblock = (o->call.file->flags & O_NONBLOCK) != 0;
	front_op_begin(&m->op, &o->call.front->waiters, o->unique, answered);
}

/* What can't be done anyway is not asked for: the operation says why. */
static bool
plausible(const struct moved *m)
{
	return m->off <= FILE_MAX_BYTES && m->len <= FILE_MAX_BYTES - m->off && (m->off & BLK_MASK) == 0 &&
	    (m->file->flags & O_ACCMODE) != O_RDONLY;
}

/* Two that exchange the same files ask in the same order, so that each can't wait for the other. */
static void
choose_asks(struct operation *o)
{
	bool both = o->from_changes;

	o->nasks = 0;
	if (!plausible(&o->to) || (both && !plausible(&o->from)))
		return;
	o->asks[o->nasks++] = &o->to;
	if (!both)
		return;
	o->asks[o->nasks++] = &o->from;
	if (o->from.file->inode->ino < o->to.file->inode->ino) {
		o->asks[0] = &o->from;
		o->asks[1] = &o->to;
	}
}

/* Takes over from.file. */
static int
start(const struct operation *from)
{
	struct operation *o = malloc(sizeof(*o));

	if (!o) {
		if (from->from.file)
			inode_put(from->other.inode);
		return -ENOMEM;
	}
	*o = *from;
	memcpy(&o->in, from->call.in, from->call.in_size);
	o->call.in = &o->in;
	inode_hold(o->call.inode);
	o->unique = front_request->head->unique;
	if (o->from.file)
		o->from.file = &o->other;
	o->to.owner = o->from.owner = o;
	choose_asks(o);
	ask_next(o);
	return 0;
}

static int
not_a_file(const struct call *c)
{
	return c->file ? 0 : -EISDIR;
}

/* Offsets are passed on to the notifier as signed numbers. */
static bool
in_range(uint64_t off, uint64_t len)
{
	return off <= FILE_MAX_BYTES && len <= FILE_MAX_BYTES - off;
}

/* ---- one file ---------------------------------------------------------------------------- */

static int
run_collapse(const struct operation *o)
{
	return fs_collapse_range(o->to.file, o->in.range.off, o->in.range.len);
}

static int
run_insert(const struct operation *o)
{
	return fs_insert_range(o->to.file, o->in.range.off, o->in.range.len);
}

/* All that is behind off moves. */
static int
shift(const struct call *c, enum layout_kind kind, int (*run)(const struct operation *o))
{
	struct operation o = { .call = *c, .kind = kind, .run = run, .to.file = c->file };
	struct pinfs_range x;

	if (!TAKE(c, x) || !RESERVED_OK(x))
		return -EINVAL;
	o.to.off = x.off;
	if (x.off > FILE_MAX_BYTES)
		return -EINVAL;
	return c->file ? start(&o) : not_a_file(c);
}

int
ioctl_collapse(const struct call *c)
{
	return shift(c, LAYOUT_COLLAPSE, run_collapse);
}

int
ioctl_insert(const struct call *c)
{
	return shift(c, LAYOUT_INSERT, run_insert);
}

/* ---- two files ------------------------------------------------------------------------------ */

int
ioctl_offer(const struct call *c)
{
	struct pinfs_offer o;
	int r;

	if (!TAKE(c, o) || !RESERVED_OK(o) || !ioctl_all_zero(o.token, sizeof(o.token)))
		return -EINVAL;
	r = not_a_file(c);
	if (r == 0)
		r = offer_make(&c->front->offers, c->file, o.token);
	if (r == 0)
		ioctl_reply_struct(c, &o, sizeof(o));
	return r;
}

static int
run_clone(const struct operation *o)
{
	const struct pinfs_clone *x = &o->in.clone;

	return fs_clone_range(o->from.file, x->src_off, o->to.file, x->dst_off, x->len);
}

static int
run_exchange(const struct operation *o)
{
	const struct pinfs_exchange *x = &o->in.exchange;

	return fs_exchange_range(o->to.file, x->off, o->from.file, x->other_off, x->len);
}

static int
start_redeemed(struct operation *o, const uint8_t token[OFFER_TOKEN])
{
	int r = offer_redeem(&o->call.front->offers, token, &o->other);

	if (r < 0)
		return r;
	o->from.file = &o->other;
	return start(o);
}

int
ioctl_clone(const struct call *c)
{
	struct operation o = { .call = *c, .kind = LAYOUT_CLONE_INTO, .run = run_clone, .to.file = c->file };
	struct pinfs_clone x;

	if (!TAKE(c, x) || !RESERVED_OK(x))
		return -EINVAL;
	if (!in_range(x.src_off, x.len) || !in_range(x.dst_off, 0))
		return -EINVAL;
	if (x.len > FILE_MAX_BYTES - x.dst_off)
		return -EFBIG;
	o.to.off = x.dst_off;
	o.to.len = x.len;
	o.from.off = x.src_off;
	o.from.len = x.len;
	return c->file ? start_redeemed(&o, x.token) : not_a_file(c);
}

int
ioctl_exchange(const struct call *c)
{
	struct operation o = { .call = *c, .kind = LAYOUT_EXCHANGE, .run = run_exchange, .to.file = c->file,
		.from_changes = true };
	struct pinfs_exchange x;

	if (!TAKE(c, x) || !RESERVED_OK(x))
		return -EINVAL;
	if (!in_range(x.off, x.len) || !in_range(x.other_off, x.len))
		return -EINVAL;
	o.to.off = x.off;
	o.from.off = x.other_off;
	o.to.len = o.from.len = x.len;
	return c->file ? start_redeemed(&o, x.token) : not_a_file(c);
}
