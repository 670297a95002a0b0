/* SPDX-License-Identifier: BSD-3-Clause */
/* The model: what a filesystem must look like after each operation, and what a crash may leave.
 *
 * Names, links and xattrs (struct meta) live in transactions: a crash goes back to how they were
 * at a commit. A file's content is durable as of a writeback of that file whose transaction was
 * committed. The model keeps for names a list of candidates: states at commits
 * that may have been the last one. Where a commit is certain (fsync of a file that was changed,
 * sync) the list shrinks to one. Where an operation may have committed (fsync of a file that
 * may have been clean) a candidate is added. For content it keeps, per file, the versions that a
 * writeback may have left: fsync and sync set it to one; what may write back (the source of a copy, a
 * file renamed over another) adds one.
 *
 * Errors are those of Linux, in the order in which the kernel checks them.
 */
#include "tests/model/model.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

/* ---- content ------------------------------------------------------------------ */

static struct content *
content_new(uint64_t size)
{
	struct content *c = calloc(1, sizeof(*c) + size);

	if (!c)
		abort();
	c->refs = 1;
	c->size = size;
	return c;
}

static struct content *
content_hold(struct content *c)
{
	if (c)
		c->refs++;
	return c;
}

static void
content_put(struct content *c)
{
	if (c && --c->refs == 0)
		free(c);
}

/* The node's content, to be changed, of at least size bytes. */
static uint8_t *
content_edit(struct node *n, uint64_t size)
{
	struct content *old = n->live, *c;

	if (old->refs == 1 && old->size >= size)
		return old->data;
	c = content_new(old->size > size ? old->size : size);
	memcpy(c->data, old->data, old->size);
	content_put(old);
	n->live = c;
	return c->data;
}

static void
content_resize(struct node *n, uint64_t size)
{
	struct content *c = content_new(size);

	memcpy(c->data, n->live->data, size < n->live->size ? size : n->live->size);
	content_put(n->live);
	n->live = c;
}

static void
durable_clear(struct node *n)
{
	while (n->ndurable)
		content_put(n->durable[--n->ndurable]);
}

/* A writeback of the node may have been made now. */
static void
durable_maybe(struct node *n)
{
	if (n->meta.type != NODE_FILE || (n->ndurable && n->durable[n->ndurable - 1] == n->live))
		return;
	n->durable[n->ndurable++] = content_hold(n->live);
}

/* A writeback of the node was made now, and committed. */
static void
durable_now(struct node *n)
{
	if (n->meta.type != NODE_FILE)
		return;
	durable_clear(n);
	durable_maybe(n);
}

/* ---- commits ------------------------------------------------------------------- */

static void
candidate_add(struct state *st)
{
	struct candidate *c = &st->cand[st->ncand++];

	for (int k = 0; k < NODES; k++)
		c->meta[k] = st->node[k].meta;
}

static bool
in_candidates(const struct state *st, int node)
{
	for (unsigned k = 0; k < st->ncand; k++)
		if (st->cand[k].meta[node].type != NODE_FREE && st->cand[k].meta[node].nlink > 0)
			return true;
	return false;
}

/* Nodes that nothing names and no crash can bring back are free. */
static void
reap(struct state *st)
{
	for (int k = 1; k < NODES; k++) {
		struct node *n = &st->node[k];

		if (n->meta.type == NODE_FREE && !n->ndurable)
			continue;
		if ((n->meta.type != NODE_FREE && n->meta.nlink > 0) || n->opens || in_candidates(st, k))
			continue;
		content_put(n->live);
		n->live = NULL;
		durable_clear(n);
		n->meta = (struct meta){ .type = NODE_FREE };
	}
}

static void
committed(struct state *st)
{
	st->ncand = 0;
	candidate_add(st);
	for (int k = 0; k < NODES; k++)
		st->node[k].touched = 0;
	reap(st);
}

/* The first n commits are not the last one. */
static void
candidates_from(struct state *st, unsigned n)
{
	memmove(st->cand, st->cand + n, (st->ncand - n) * sizeof(*st->cand));
	st->ncand -= n;
	for (int k = 0; k < NODES; k++)
		if (st->node[k].touched)
			st->node[k].touched = st->node[k].touched > n ? st->node[k].touched - n : 1;
	reap(st);
}

void
state_synced(struct state *st)
{
	for (int k = 0; k < NODES; k++)
		durable_now(&st->node[k]);
	committed(st);
}

static long
apply_fsync(struct state *st, int node)
{
	struct node *n = &st->node[node];

	if (n->touched && n->touched > st->ncand) {
		durable_now(n);
		committed(st);
	} else if (n->touched) {
		/* a commit that may have been made since the change, for another file, would do */
		durable_now(n);
		candidates_from(st, n->touched - 1);
		candidate_add(st);
	} else {
		/* perhaps nothing had to be done, and nothing else was committed */
		durable_maybe(n);
		candidate_add(st);
	}
	return 0;
}

void
state_crash(struct state *st, unsigned k)
{
	const struct candidate c = st->cand[k];

	for (int j = 0; j < NODES; j++) {
		struct node *n = &st->node[j];

		n->meta = c.meta[j];
		n->opens = 0;
		n->touched = 0;
		if (j && n->meta.nlink == 0)
			n->meta = (struct meta){ .type = NODE_FREE };
		if (n->meta.type == NODE_FREE) {
			content_put(n->live);
			n->live = NULL;
			durable_clear(n);
		}
	}
	for (unsigned s = 0; s < NSLOTS; s++) {
		st->slot[s] = -1;
		st->mapped[s] = 0;
	}
	st->ncand = 0;
	candidate_add(st);
}

void
state_adopt(struct state *st, int node, unsigned version)
{
	struct node *n = &st->node[node];
	struct content *c = content_hold(n->durable[version]);

	content_put(n->live);
	n->live = c;
	durable_now(n);
}

/* ---- names ----------------------------------------------------------------------- */

/* The directory of the last component, or -errno. */
static int
parent_of(const struct state *st, const struct mpath *p)
{
	int node = 0;

	for (unsigned k = 0; k + 1 < p->n; k++) {
		node = st->node[node].meta.entry[p->name[k]];
		if (node < 0)
			return -ENOENT;
		if (st->node[node].meta.type == NODE_SYMLINK) /* all of them point nowhere */
			return -ENOENT;
		if (st->node[node].meta.type != NODE_DIR)
			return -ENOTDIR;
	}
	return node;
}

static unsigned
last_name(const struct mpath *p)
{
	return p->name[p->n - 1];
}

int
state_lookup(const struct state *st, const struct mpath *p)
{
	int dir = parent_of(st, p), node;

	if (dir < 0)
		return dir;
	node = st->node[dir].meta.entry[last_name(p)];
	return node < 0 ? -ENOENT : node;
}

static bool
dir_empty(const struct meta *m)
{
	for (unsigned k = 0; k < NNAMES; k++)
		if (m->entry[k] >= 0)
			return false;
	return true;
}

static int
node_new(struct state *st, enum node_type type, int dir, unsigned name)
{
	for (int k = 1; k < NODES; k++) {
		struct node *n = &st->node[k];

		if (n->meta.type != NODE_FREE || n->ndurable || in_candidates(st, k))
			continue;
		memset(&n->meta, 0, sizeof(n->meta));
		n->meta.type = type;
		n->meta.nlink = type == NODE_DIR ? 2 : 1;
		n->meta.parent = dir;
		for (unsigned e = 0; e < NNAMES; e++)
			n->meta.entry[e] = -1;
		n->opens = 0;
		n->touched = 1 + st->ncand;
		if (type == NODE_FILE) {
			n->live = content_new(0);
			durable_maybe(n);
		}
		st->node[dir].meta.entry[name] = k;
		st->node[dir].touched = 1 + st->ncand;
		if (type == NODE_DIR)
			st->node[dir].meta.nlink++;
		return k;
	}
	abort(); /* state_full() was asked before */
}

/* One name less for node. */
static void
drop_link(struct state *st, int node)
{
	struct node *n = &st->node[node];

	n->touched = 1 + st->ncand;
	if (n->meta.type == NODE_DIR) {
		st->node[n->meta.parent].meta.nlink--;
		n->meta.nlink = 0;
	} else {
		n->meta.nlink--;
	}
}

/* A name for something new is free? The directory, or -errno. */
static int
room_for(const struct state *st, const struct mpath *p)
{
	int dir = parent_of(st, p);

	if (dir < 0)
		return dir;
	return st->node[dir].meta.entry[last_name(p)] >= 0 ? -EEXIST : dir;
}

static long
apply_open(struct state *st, const struct op *op)
{
	int dir = parent_of(st, &op->path), node;

	if (dir < 0)
		return dir;
	node = st->node[dir].meta.entry[last_name(&op->path)];
	if (node < 0) {
		if (!op->flags)
			return -ENOENT;
		node = node_new(st, NODE_FILE, dir, last_name(&op->path));
	}
	if (st->node[node].meta.type == NODE_DIR)
		return -EISDIR;
	if (st->node[node].meta.type == NODE_SYMLINK)
		return -ELOOP;
	st->slot[op->slot] = node;
	st->mapped[op->slot] = 0;
	st->node[node].opens++;
	return 0;
}

static void
close_slot(struct state *st, unsigned slot)
{
	if (st->slot[slot] < 0)
		return;
	st->node[st->slot[slot]].opens--;
	st->slot[slot] = -1;
	st->mapped[slot] = 0;
	reap(st);
}

void
state_close_all(struct state *st)
{
	for (unsigned k = 0; k < NSLOTS; k++)
		close_slot(st, k);
}

static long
apply_link(struct state *st, const struct op *op)
{
	int node = state_lookup(st, &op->path), dir;

	if (node < 0)
		return node;
	dir = room_for(st, &op->path2);
	if (dir < 0)
		return dir;
	if (st->node[node].meta.type == NODE_DIR)
		return -EPERM;
	st->node[node].meta.nlink++;
	st->node[node].touched = 1 + st->ncand;
	st->node[dir].meta.entry[last_name(&op->path2)] = node;
	return 0;
}

static long
apply_unlink(struct state *st, const struct op *op)
{
	int node = state_lookup(st, &op->path);
	const struct meta *m;

	if (node < 0)
		return node;
	m = &st->node[node].meta;
	if (op->kind == OP_UNLINK && m->type == NODE_DIR)
		return -EISDIR;
	if (op->kind == OP_RMDIR && m->type != NODE_DIR)
		return -ENOTDIR;
	if (op->kind == OP_RMDIR && !dir_empty(m))
		return -ENOTEMPTY;
	st->node[parent_of(st, &op->path)].meta.entry[last_name(&op->path)] = -1;
	drop_link(st, node);
	reap(st);
	return 0;
}

/* Is directory a the node b or above it? */
static bool
above(const struct state *st, int a, int b)
{
	while (b != a && b != 0)
		b = st->node[b].meta.parent;
	return b == a;
}

/* Levels below a node, itself included. */
static unsigned
height(const struct state *st, int node)
{
	const struct meta *m = &st->node[node].meta;
	unsigned h = 0;

	for (unsigned k = 0; m->type == NODE_DIR && k < NNAMES; k++) {
		unsigned below = m->entry[k] < 0 ? 0 : height(st, m->entry[k]);

		if (below > h)
			h = below;
	}
	return h + 1;
}

bool
state_too_deep(const struct state *st, const struct op *op)
{
	int a = state_lookup(st, &op->path), b = state_lookup(st, &op->path2);

	return (a >= 0 && op->path2.n - 1u + height(st, a) > DEPTH_MAX) ||
	       (b >= 0 && op->path.n - 1u + height(st, b) > DEPTH_MAX);
}

static void
set_parent(struct state *st, int node, int dir)
{
	struct meta *m = &st->node[node].meta;

	st->node[node].touched = 1 + st->ncand;
	if (m->type != NODE_DIR)
		return;
	st->node[m->parent].meta.nlink--;
	m->parent = dir;
	st->node[dir].meta.nlink++;
}

static long
apply_rename(struct state *st, const struct op *op)
{
	int d1 = parent_of(st, &op->path), d2 = parent_of(st, &op->path2), a, b;
	unsigned n1 = last_name(&op->path), n2 = last_name(&op->path2);
	bool adir, bdir;

	if (d1 < 0)
		return d1;
	if (d2 < 0)
		return d2;
	a = st->node[d1].meta.entry[n1];
	b = st->node[d2].meta.entry[n2];
	if (a < 0)
		return -ENOENT;
	if ((op->flags & RENAME_NOREPLACE) && b >= 0)
		return -EEXIST;
	if ((op->flags & RENAME_EXCHANGE) && b < 0)
		return -ENOENT;
	adir = st->node[a].meta.type == NODE_DIR;
	bdir = b >= 0 && st->node[b].meta.type == NODE_DIR;
	if (adir && above(st, a, d2))
		return -EINVAL;
	if (bdir && above(st, b, d1))
		return op->flags & RENAME_EXCHANGE ? -EINVAL : -ENOTEMPTY;
	if (a == b)
		return 0;
	if (op->flags & RENAME_EXCHANGE) {
		st->node[d1].meta.entry[n1] = b;
		st->node[d2].meta.entry[n2] = a;
		set_parent(st, b, d1);
		set_parent(st, a, d2);
		return 0;
	}
	if (b >= 0) {
		if (adir && !bdir)
			return -ENOTDIR;
		if (!adir && bdir)
			return -EISDIR;
		if (bdir && !dir_empty(&st->node[b].meta))
			return -ENOTEMPTY;
		/* the file that takes the name may be written back, and committed, first */
		candidate_add(st);
		durable_maybe(&st->node[a]);
		drop_link(st, b);
	}
	st->node[d1].meta.entry[n1] = -1;
	st->node[d2].meta.entry[n2] = a;
	set_parent(st, a, d2);
	reap(st);
	return 0;
}

static long
apply_xattr(struct state *st, const struct op *op)
{
	int node = state_lookup(st, &op->path);
	struct mxattr *x;

	if (node < 0)
		return node;
	if (st->node[node].meta.type == NODE_SYMLINK)
		return -EPERM;
	x = &st->node[node].meta.xattr[op->slot2 % NXATTRS];
	if (op->kind == OP_RMXATTR ? !x->set : (op->flags & XATTR_REPLACE) && !x->set)
		return -ENODATA;
	if (op->kind == OP_SETXATTR && (op->flags & XATTR_CREATE) && x->set)
		return -EEXIST;
	*x = (struct mxattr){ 0 };
	if (op->kind == OP_SETXATTR)
		*x = (struct mxattr){ .set = true, .len = (unsigned)op->len, .seed = op->seed };
	st->node[node].touched = 1 + st->ncand;
	return 0;
}

/* ---- content operations ----------------------------------------------------------- */

static long
apply_write(struct state *st, const struct op *op)
{
	struct node *n = &st->node[st->slot[op->slot]];

	pattern(content_edit(n, op->off + op->len) + op->off, op->len, op->seed);
	n->touched = 1 + st->ncand;
	return (long)op->len;
}

static long
apply_truncate(struct state *st, const struct op *op)
{
	struct node *n = &st->node[st->slot[op->slot]];

	if (n->live->size != op->len)
		n->touched = 1 + st->ncand;
	content_resize(n, op->len);
	return 0;
}

static long
apply_fallocate(struct state *st, const struct op *op)
{
	struct node *n = &st->node[st->slot[op->slot]];
	uint64_t end = op->off + op->len, zero_end;

	if (op->len == 0)
		return -EINVAL;
	if (!(op->flags & FALLOC_FL_KEEP_SIZE) && end > n->live->size) {
		content_resize(n, end);
		n->touched = 1 + st->ncand;
	}
	zero_end = end < n->live->size ? end : n->live->size;
	if ((op->flags & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) && op->off < zero_end) {
		uint8_t *data = content_edit(n, 0);

		for (uint64_t k = op->off; k < zero_end; k++) {
			if (data[k])
				n->touched = 1 + st->ncand;
			data[k] = 0;
		}
	}
	return 0;
}

/* A copy is not atomic: whole blocks may be shared, which changes the durable map at once, and the rest
 * copied. Each step may be what a crash leaves. */
static void
copy_durably(struct node *out, struct content *from, uint64_t off, uint64_t off2, uint64_t len)
{
	uint64_t head = (4096 - off2 % 4096) % 4096, step[3], at = 0;

	if (head > len)
		head = len;
	step[0] = head;
	step[1] = (len - head) / 4096 * 4096;
	step[2] = len - head - step[1];
	content_hold(from); /* it may be out's own */
	durable_maybe(out);
	for (unsigned k = 0; k < 3; k++) {
		if (!step[k])
			continue;
		memmove(content_edit(out, off2 + at + step[k]) + off2 + at, from->data + off + at, step[k]);
		durable_maybe(out);
		at += step[k];
	}
	content_put(from);
}

static long
apply_copy(struct state *st, const struct op *op)
{
	struct node *in = &st->node[st->slot[op->slot]], *out = &st->node[st->slot[op->slot2]];
	uint64_t len = op->len;

	if (op->off >= in->live->size)
		return 0;
	if (len > in->live->size - op->off)
		len = in->live->size - op->off;
	if (len == 0)
		return 0;
	if (in == out && op->off + len > op->off2 && op->off2 + len > op->off)
		return -EINVAL;
	durable_maybe(in);
	candidate_add(st);
	copy_durably(out, in->live, op->off, op->off2, len);
	out->touched = 1 + st->ncand;
	return (long)len;
}

static long
apply_map(struct state *st, const struct op *op)
{
	struct node *n = &st->node[st->slot[op->slot]];

	if (n->live->size == 0)
		return -EINVAL;
	st->mapped[op->slot] = n->live->size;
	memset(st->loose[op->slot], 0, sizeof(st->loose[op->slot]));
	return 0;
}

/* Blocks that the file has moved away from take it, but nobody sees it. */
static long
apply_store(struct state *st, const struct op *op)
{
	struct node *n = &st->node[st->slot[op->slot]];
	uint64_t end = st->mapped[op->slot] < n->live->size ? st->mapped[op->slot] : n->live->size;
	uint8_t bytes[FILE_MAX], *data;

	if (op->off + op->len > end)
		return -ERANGE;
	pattern(bytes, op->len, op->seed);
	data = content_edit(n, 0);
	for (uint64_t k = 0; k < op->len; k++)
		if (!st->loose[op->slot][(op->off + k) / 4096])
			data[op->off + k] = bytes[k];
	if (op->len)
		n->touched = 1 + st->ncand;
	return 0;
}

/* ---- content that moves ----------------------------------------------------------- */

/* Mappings of [off, end) of the node are none of the file any more. */
static void
cut_loose(struct state *st, int node, uint64_t off, uint64_t end)
{
	for (unsigned s = 0; s < NSLOTS; s++)
		for (uint64_t k = off / 4096; st->slot[s] == node && k * 4096 < end && k <= FILE_MAX / 4096; k++)
			st->loose[s][k] = true;
}

/* Before and after: a writeback comes first, and the change is in the open transaction at once. */
static void
moves(struct state *st, struct node *n)
{
	durable_maybe(n);
	n->touched = 1 + st->ncand;
}

static long
apply_shift(struct state *st, const struct op *op)
{
	int node = st->slot[op->slot];
	struct node *n = &st->node[node];
	uint64_t size = n->live->size, off = op->off, len = op->len;
	struct content *c;

	if (len == 0 || (off | len) % 4096 || (op->kind == OP_INSERT ? off : off + len) >= size)
		return -EINVAL;
	moves(st, n);
	candidate_add(st);
	c = content_new(op->kind == OP_INSERT ? size + len : size - len);
	memcpy(c->data, n->live->data, off);
	if (op->kind == OP_INSERT)
		memcpy(c->data + off + len, n->live->data + off, size - off);
	else
		memcpy(c->data + off, n->live->data + off + len, size - off - len);
	content_put(n->live);
	n->live = c;
	moves(st, n);
	cut_loose(st, node, off, UINT64_MAX);
	return 0;
}

/* What n has of its own up to off, and from there on len bytes of from; then what it has behind. */
static struct content *
exchanged(const struct content *own, uint64_t off, const struct content *from, uint64_t from_off, uint64_t len,
    bool to_end)
{
	struct content *c = content_new(to_end ? off + len : own->size);

	memcpy(c->data, own->data, to_end ? off : own->size);
	memcpy(c->data + off, from->data + from_off, len);
	return c;
}

static long
apply_exchange(struct state *st, const struct op *op)
{
	int na = st->slot[op->slot], nb = st->slot[op->slot2];
	struct node *a = &st->node[na], *b = &st->node[nb];
	uint64_t len = op->len, tail_a, tail_b;
	struct content *ca, *cb;

	if ((op->off | op->off2) % 4096 || op->off > a->live->size || op->off2 > b->live->size)
		return -EINVAL;
	tail_a = a->live->size - op->off;
	tail_b = b->live->size - op->off2;
	if (len > tail_a || len > tail_b || (len % 4096 && (len != tail_a || len != tail_b)))
		return -EINVAL;
	if (a == b && (len == 0 || (op->off < op->off2 + len && op->off2 < op->off + len)))
		return -EINVAL;
	moves(st, a);
	moves(st, b);
	candidate_add(st);
	if (a == b) {
		uint8_t *data = content_edit(a, 0), tmp[FILE_MAX];

		memcpy(tmp, data + op->off, len);
		memcpy(data + op->off, data + op->off2, len);
		memcpy(data + op->off2, tmp, len);
	} else {
		ca = exchanged(a->live, op->off, b->live, op->off2, len ? len : tail_b, len == 0);
		cb = exchanged(b->live, op->off2, a->live, op->off, len ? len : tail_a, len == 0);
		content_put(a->live);
		content_put(b->live);
		a->live = ca;
		b->live = cb;
	}
	moves(st, a);
	moves(st, b);
	cut_loose(st, na, op->off, len ? op->off + len : UINT64_MAX);
	cut_loose(st, nb, op->off2, len ? op->off2 + len : UINT64_MAX);
	return 0;
}

bool
state_too_long(const struct state *st, const struct op *op)
{
	uint64_t a = st->node[st->slot[op->slot]].live->size, b;

	if (op->kind == OP_INSERT)
		return a + op->len > FILE_MAX;
	if (op->kind != OP_EXCHANGE || op->len)
		return false;
	b = st->node[st->slot[op->slot2]].live->size;
	return (b > op->off2 && op->off + b - op->off2 > FILE_MAX) || (a > op->off && op->off2 + a - op->off > FILE_MAX);
}

bool
state_moves(const struct state *st, const struct op *op, int node)
{
	if (op->kind != OP_COLLAPSE && op->kind != OP_INSERT && op->kind != OP_EXCHANGE)
		return false;
	return st->slot[op->slot] == node || (op->kind == OP_EXCHANGE && st->slot[op->slot2] == node);
}

int
state_unmaps(const struct state *st, const struct op *op)
{
	int node = op->kind == OP_COPY ? st->slot[op->slot2] : st->slot[op->slot];

	if (op->kind != OP_COPY && op->kind != OP_TRUNCATE && op->kind != OP_FALLOCATE)
		return -1;
	return node;
}

long
state_apply(struct state *st, const struct op *op)
{
	int dir;

	switch (op->kind) {
	case OP_OPEN:
		return apply_open(st, op);
	case OP_CLOSE:
		close_slot(st, op->slot);
		return 0;
	case OP_WRITE:
		return apply_write(st, op);
	case OP_TRUNCATE:
		return apply_truncate(st, op);
	case OP_FALLOCATE:
		return apply_fallocate(st, op);
	case OP_COPY:
		return apply_copy(st, op);
	case OP_COLLAPSE:
	case OP_INSERT:
		return apply_shift(st, op);
	case OP_EXCHANGE:
		return apply_exchange(st, op);
	case OP_MAP:
		return apply_map(st, op);
	case OP_STORE:
		return apply_store(st, op);
	case OP_UNMAP:
		st->mapped[op->slot] = 0;
		return 0;
	case OP_FSYNC:
		return apply_fsync(st, st->slot[op->slot]);
	case OP_MKDIR:
		dir = room_for(st, &op->path);
		if (dir >= 0)
			node_new(st, NODE_DIR, dir, last_name(&op->path));
		return dir < 0 ? dir : 0;
	case OP_SYMLINK:
		dir = room_for(st, &op->path);
		if (dir >= 0)
			st->node[node_new(st, NODE_SYMLINK, dir, last_name(&op->path))].meta.target_seed = op->seed;
		return dir < 0 ? dir : 0;
	case OP_LINK:
		return apply_link(st, op);
	case OP_UNLINK:
	case OP_RMDIR:
		return apply_unlink(st, op);
	case OP_RENAME:
		return apply_rename(st, op);
	case OP_SETXATTR:
	case OP_RMXATTR:
		return apply_xattr(st, op);
	default:
		return 0;
	}
}

bool
state_full(const struct state *st)
{
	unsigned n = 0;

	for (int k = 1; k < NODES; k++)
		n += st->node[k].meta.type == NODE_FREE && !st->node[k].ndurable && !in_candidates(st, k);
	return n < 2;
}

bool
state_needs_sync(const struct state *st)
{
	if (st->ncand >= CANDIDATES - 2)
		return true;
	for (int k = 0; k < NODES; k++)
		if (st->node[k].ndurable >= VERSIONS - 6)
			return true;
	return false;
}

struct state *
state_new(void)
{
	struct state *st = calloc(1, sizeof(*st));

	if (!st)
		abort();
	st->cand = calloc(CANDIDATES, sizeof(*st->cand));
	if (!st->cand)
		abort();
	st->node[0].meta.type = NODE_DIR;
	st->node[0].meta.nlink = 2;
	for (unsigned k = 0; k < NNAMES; k++)
		st->node[0].meta.entry[k] = -1;
	for (unsigned k = 0; k < NSLOTS; k++)
		st->slot[k] = -1;
	candidate_add(st);
	return st;
}

void
state_free(struct state *st)
{
	for (int k = 0; k < NODES; k++) {
		content_put(st->node[k].live);
		durable_clear(&st->node[k]);
	}
	free(st->cand);
	free(st);
}
