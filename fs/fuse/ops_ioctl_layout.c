/* SPDX-License-Identifier: BSD-3-Clause */
/* ioctls that move content: collapse, insert, exchange, clone, and the offer that names the second file.
 *
 * The kernel may have pages of the files: of what is moved, and, from a shared mapping, changes that it has not told us
 * of. So it is made to drop its pages twice: before the operation, which makes it write back what is
 * changed, and after it, when they show what was there before. Both are done by the notifier; this thread waits for the
 * first, as a long request, so that another one is there for what the kernel writes back.
 */
#include <errno.h>
#include <pthread.h>

#include "fs/fuse/ioctl_i.h"

/* One range of one file that an operation is about, to the end of the file if len is 0. */
struct moved {
	struct file *file;
	uint64_t off, len;
};

struct operation {
	const struct call *call;
	struct moved to, from;  /* from.file NULL: there is only one */
	int (*run)(const struct operation *o);
	bool from_changes;
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
	drop(o->call->front, &o->to, dropped, &d);
	if (o->from.file)
		drop(o->call->front, &o->from, dropped, &d);
	mtx_lock(&d.lock);
	while (d.left > 0)
		mtx_cond_wait(&d.done, &d.lock);
	mtx_unlock(&d.lock);
	pthread_cond_destroy(&d.done);
	mtx_destroy(&d.lock);
}

/* ---- one operation ------------------------------------------------------------------------- */

static int
execute(const struct operation *o)
{
	struct front *fr = o->call->front;
	struct ioctl_deferred *d = ioctl_defer(o->call->req, NULL, 0);
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
	front_took_privileges(fr, o->call->req, o->to.file->inode);
	if (o->from_changes) {
		front_took_privileges(fr, o->call->req, o->from.file->inode);
		drop(fr, &o->from, NULL, NULL);
	}
	drop(fr, &o->to, ioctl_reply_deferred, d);
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
	struct pinfs_range x;

	memcpy(&x, o->call->in, sizeof(x));
	return fs_collapse_range(o->to.file, x.off, x.len);
}

static int
run_insert(const struct operation *o)
{
	struct pinfs_range x;

	memcpy(&x, o->call->in, sizeof(x));
	return fs_insert_range(o->to.file, x.off, x.len);
}

/* All that is behind off moves. */
static int
shift(const struct call *c, int (*run)(const struct operation *o))
{
	struct operation o = { .call = c, .run = run, .to.file = c->file };
	struct pinfs_range x;

	if (!TAKE(c, x) || !RESERVED_OK(x))
		return -EINVAL;
	o.to.off = x.off;
	if (x.off > FILE_MAX_BYTES)
		return -EINVAL;
	return c->file ? execute(&o) : not_a_file(c);
}

int
ioctl_collapse(const struct call *c)
{
	return shift(c, run_collapse);
}

int
ioctl_insert(const struct call *c)
{
	return shift(c, run_insert);
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
	struct pinfs_clone x;

	memcpy(&x, o->call->in, sizeof(x));
	return fs_clone_range(o->from.file, x.src_off, o->to.file, x.dst_off, x.len);
}

static int
run_exchange(const struct operation *o)
{
	struct pinfs_exchange x;

	memcpy(&x, o->call->in, sizeof(x));
	return fs_exchange_range(o->to.file, x.off, o->from.file, x.other_off, x.len);
}

static int
execute_redeemed(struct operation *o, const uint8_t token[OFFER_TOKEN])
{
	struct file other;
	int r;

	r = offer_redeem(&o->call->front->offers, token, &other);
	if (r < 0)
		return r;
	o->from.file = &other;
	r = execute(o);
	inode_put(other.inode);
	return r;
}

int
ioctl_clone(const struct call *c)
{
	struct operation o = { .call = c, .run = run_clone, .to.file = c->file };
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
	return c->file ? execute_redeemed(&o, x.token) : not_a_file(c);
}

int
ioctl_exchange(const struct call *c)
{
	struct operation o = { .call = c, .run = run_exchange, .to.file = c->file, .from_changes = true };
	struct pinfs_exchange x;

	if (!TAKE(c, x) || !RESERVED_OK(x))
		return -EINVAL;
	if (!in_range(x.off, x.len) || !in_range(x.other_off, x.len))
		return -EINVAL;
	o.to.off = x.off;
	o.from.off = x.other_off;
	o.to.len = o.from.len = x.len;
	return c->file ? execute_redeemed(&o, x.token) : not_a_file(c);
}
