/* SPDX-License-Identifier: BSD-3-Clause */
/* One sequence of operations on a filesystem and on the model, compared after every step.
 */
#include "tests/model/model.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct run {
	const struct backend *be;
	struct state *st;
	char *why;
	size_t whysize;
	/* Inode number of each node, as the tree was walked: hard links agree, others differ. */
	uint64_t ino[NODES];
	/* After a crash: which of node.durable was found. */
	bool crashed;
	int version[NODES];
};

static int __attribute__((format(printf, 2, 3)))
wrong(struct run *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->why, r->whysize, fmt, ap);
	va_end(ap);
	return 1;
}

static const char *
errno_text(long r)
{
	static char buf[32];

	if (r >= 0)
		snprintf(buf, sizeof(buf), "%ld", r);
	else
		snprintf(buf, sizeof(buf), "-%s", strerrorname_np((int)-r) ? strerrorname_np((int)-r) : "?");
	return buf;
}

static int
expect(struct run *r, const char *what, long got, long want)
{
	char a[32];

	if (got == want)
		return 0;
	snprintf(a, sizeof(a), "%s", errno_text(got));
	return wrong(r, "%s: %s, should be %s", what, a, errno_text(want));
}

static uint64_t
first_difference(const uint8_t *a, const uint8_t *b, uint64_t n)
{
	uint64_t k = 0;

	while (k < n && a[k] == b[k])
		k++;
	return k;
}

/* ---- what is there ----------------------------------------------------------------- */

static int
check_content(struct run *r, unsigned slot, const struct content *want, const char *name)
{
	static uint8_t buf[FILE_MAX + 100];
	struct stat st;
	uint64_t at;
	long n;

	if (expect(r, "fstat", r->be->fstat(slot, &st), 0))
		return 1;
	if ((uint64_t)st.st_size != want->size)
		return wrong(r, "%s: size %lld, should be %llu", name, (long long)st.st_size,
		    (unsigned long long)want->size);
	n = r->be->read(slot, buf, sizeof(buf), 0);
	if (expect(r, "read", n, (long)want->size))
		return 1;
	at = first_difference(buf, want->data, want->size);
	if (at < want->size)
		return wrong(r, "%s: byte %llu is %#x, should be %#x", name, (unsigned long long)at, buf[at],
		    want->data[at]);
	return 0;
}

static int
check_slot(struct run *r, unsigned slot)
{
	const struct node *n = &r->st->node[r->st->slot[slot]];
	struct stat st;
	char name[32];

	snprintf(name, sizeof(name), "slot %u", slot);
	if (check_content(r, slot, n->live, name))
		return 1;
	if (expect(r, "fstat", r->be->fstat(slot, &st), 0))
		return 1;
	return expect(r, "st_nlink", (long)st.st_nlink, n->meta.nlink);
}

static int
check_file(struct run *r, const char *path, int node)
{
	const struct node *n = &r->st->node[node];
	int err = 1;

	if (expect(r, "open", r->be->open(NSLOTS, path, false), 0))
		return 1;
	if (!r->crashed) {
		err = check_content(r, NSLOTS, n->live, path);
	} else {
		r->version[node] = -1;
		for (int v = (int)n->ndurable - 1; v >= 0; v--) {
			err = check_content(r, NSLOTS, n->durable[v], path);
			if (!err) {
				r->version[node] = v;
				break;
			}
		}
		if (n->ndurable > 1 && err) {
			size_t at = strlen(r->why);

			snprintf(r->why + at, r->whysize - at, " (nor as any of %u other writebacks left it)",
			    n->ndurable - 1);
		}
	}
	if (expect(r, "close", r->be->close(NSLOTS), 0))
		return 1;
	return err;
}

static void
symlink_target(char buf[TARGET_MAX + 1], unsigned seed)
{
	size_t len = 10 + seed % (TARGET_MAX - 10);

	memset(buf, 'x', len);
	buf[len] = 0;
	memcpy(buf, "nowhere/", 8);
}

static int
check_symlink(struct run *r, const char *path, const struct meta *m)
{
	char want[TARGET_MAX + 1], got[TARGET_MAX + 1];

	symlink_target(want, m->target_seed);
	if (expect(r, "readlink", r->be->readlink(path, got, sizeof(got)), (long)strlen(want)))
		return 1;
	return memcmp(want, got, strlen(want)) ? wrong(r, "%s: wrong target", path) : 0;
}

static int
check_xattrs(struct run *r, const char *path, const struct meta *m)
{
	static uint8_t want[XATTR_LEN_MAX], got[XATTR_LEN_MAX + 1];

	for (unsigned k = 0; k < NXATTRS; k++) {
		const struct mxattr *x = &m->xattr[k];
		long n = r->be->getxattr(path, xattr_name(k), got, sizeof(got));

		if (n != (x->set ? (long)x->len : -ENODATA)) {
			wrong(r, "%s: getxattr %s: %s", path, xattr_name(k), errno_text(n));
			return 1;
		}
		if (!x->set)
			continue;
		pattern(want, x->len, x->seed);
		if (memcmp(want, got, x->len))
			return wrong(r, "%s: wrong value of %s", path, xattr_name(k));
	}
	return 0;
}

static int check_dir(struct run *r, const struct meta *all, struct mpath *p, int node);

static int
check_entry(struct run *r, const struct meta *all, struct mpath *p, int node, uint64_t ino)
{
	static const mode_t modes[] = { 0, S_IFREG, S_IFDIR, S_IFLNK };
	const struct meta *m = &all[node];
	char path[PATH_SIZE];
	struct stat st;

	path_text(p, path);
	if (expect(r, path, r->be->stat(path, &st), 0))
		return 1;
	if ((st.st_mode & S_IFMT) != modes[m->type])
		return wrong(r, "%s: mode %#o", path, st.st_mode);
	if (st.st_nlink != (nlink_t)m->nlink)
		return wrong(r, "%s: st_nlink %ld, should be %d", path, (long)st.st_nlink, m->nlink);
	if (st.st_ino != ino || (r->ino[node] && r->ino[node] != ino))
		return wrong(r, "%s: st_ino %llu, d_ino %llu, another link has %llu", path, (unsigned long long)st.st_ino,
		    (unsigned long long)ino, (unsigned long long)r->ino[node]);
	r->ino[node] = ino;
	if (m->type == NODE_FILE) {
		if (check_file(r, path, node))
			return 1;
	} else if (m->type == NODE_SYMLINK) {
		return check_symlink(r, path, m);
	}
	if (check_xattrs(r, path, m))
		return 1;
	return m->type == NODE_DIR ? check_dir(r, all, p, node) : 0;
}

static int
check_dir(struct run *r, const struct meta *all, struct mpath *p, int node)
{
	const struct meta *m = &all[node];
	struct dirent_seen seen[NNAMES + 1];
	char path[PATH_SIZE];
	int n, want = 0;

	path_text(p, path);
	n = r->be->readdir(path, seen, NNAMES + 1);
	for (unsigned k = 0; k < NNAMES; k++)
		want += m->entry[k] >= 0;
	if (n != want)
		return wrong(r, "%s/: %d entries, should be %d", path, n, want);
	for (unsigned k = 0; k < NNAMES; k++) {
		int found = -1, err;

		if (m->entry[k] < 0)
			continue;
		for (int j = 0; j < n; j++)
			if (strcmp(seen[j].name, name_text(k)) == 0)
				found = j;
		if (found < 0)
			return wrong(r, "%s/: no entry %.20s", path, name_text(k));
		if (p->n == DEPTH_MAX)
			return wrong(r, "%s: too deep", path);
		p->name[p->n++] = (uint8_t)k;
		err = check_entry(r, all, p, m->entry[k], seen[found].ino);
		p->n--;
		if (err)
			return err;
	}
	return 0;
}

/* Everything that has a name, against these metas; then that no two nodes share an inode number. */
static int
check_tree(struct run *r, const struct meta *all)
{
	struct mpath p = { 0 };

	memset(r->ino, 0, sizeof(r->ino));
	if (check_dir(r, all, &p, 0))
		return 1;
	for (int a = 0; a < NODES; a++)
		for (int b = 0; b < a; b++)
			if (r->ino[a] && r->ino[a] == r->ino[b])
				return wrong(r, "two files have the inode number %llu", (unsigned long long)r->ino[a]);
	return 0;
}

static int
check_all(struct run *r)
{
	static struct meta all[NODES];

	for (int k = 0; k < NODES; k++)
		all[k] = r->st->node[k].meta;
	if (check_tree(r, all))
		return 1;
	for (unsigned s = 0; s < NSLOTS; s++)
		if (r->st->slot[s] >= 0 && check_slot(r, s))
			return 1;
	return 0;
}

/* ---- doing ------------------------------------------------------------------------------- */

static int
do_sync(struct run *r)
{
	if (expect(r, "sync", r->be->sync(), 0))
		return 1;
	state_synced(r->st);
	return 0;
}

static int
do_remount(struct run *r)
{
	for (unsigned s = 0; s < NSLOTS; s++)
		if (r->st->slot[s] >= 0 && expect(r, "close", r->be->close(s), 0))
			return 1;
	state_close_all(r->st);
	if (expect(r, "remount", r->be->remount(false), 0))
		return 1;
	state_synced(r->st);
	return check_all(r);
}

/* What is there must be one of the candidates; the newest that fits is taken. */
static int
do_crash(struct run *r)
{
	int err = 1;

	if (expect(r, "remount after a crash", r->be->remount(true), 0))
		return 1;
	r->crashed = true;
	for (unsigned k = r->st->ncand; k-- > 0;) {
		char first[512];

		snprintf(first, sizeof(first), "%s", r->why);
		err = check_tree(r, r->st->cand[k].meta);
		if (!err) {
			state_crash(r->st, k);
			for (int j = 0; j < NODES; j++)
				if (r->st->node[j].meta.type == NODE_FILE)
					state_adopt(r->st, j, (unsigned)r->version[j]);
			break;
		}
		if (k + 1 < r->st->ncand && first[0]) /* what the newest says is most telling */
			snprintf(r->why, r->whysize, "%s", first);
	}
	r->crashed = false;
	if (err) {
		size_t at = strlen(r->why);

		snprintf(r->why + at, r->whysize - at, " (after the crash; no commit of %u fits)", r->st->ncand);
		return 1;
	}
	r->why[0] = 0;
	return check_all(r);
}

static long
do_content(const struct backend *be, const struct op *op)
{
	static uint8_t buf[FILE_MAX];

	switch (op->kind) {
	case OP_WRITE:
		pattern(buf, op->len, op->seed);
		return be->write(op->slot, buf, op->len, op->off);
	case OP_TRUNCATE:
		return be->truncate(op->slot, op->len);
	case OP_FALLOCATE:
		return be->fallocate(op->slot, (int)op->flags, op->off, op->len);
	case OP_COPY:
		return be->copy(op->slot, op->off, op->slot2, op->off2, op->len);
	case OP_COLLAPSE:
		return be->collapse(op->slot, op->off, op->len);
	case OP_INSERT:
		return be->insert(op->slot, op->off, op->len);
	case OP_EXCHANGE:
		return be->exchange(op->slot, op->off, op->slot2, op->off2, op->len);
	default:
		pattern(buf, op->len, op->seed);
		return be->store(op->slot, buf, op->len, op->off);
	}
}

static long
do_name(const struct backend *be, const struct op *op)
{
	static uint8_t value[XATTR_LEN_MAX];
	char path[PATH_SIZE], path2[PATH_SIZE], target[TARGET_MAX + 1];

	path_text(&op->path, path);
	path_text(&op->path2, path2);
	switch (op->kind) {
	case OP_OPEN:
		return be->open(op->slot, path, op->flags);
	case OP_MKDIR:
		return be->mkdir(path);
	case OP_SYMLINK:
		symlink_target(target, op->seed);
		return be->symlink(target, path);
	case OP_LINK:
		return be->link(path, path2);
	case OP_UNLINK:
		return be->unlink(path);
	case OP_RMDIR:
		return be->rmdir(path);
	case OP_RENAME:
		return be->rename(path, path2, op->flags);
	case OP_SETXATTR:
		pattern(value, op->len, op->seed);
		return be->setxattr(path, xattr_name(op->slot2), value, op->len, (int)op->flags);
	default:
		return be->removexattr(path, xattr_name(op->slot2));
	}
}

/* Would it do anything now? Also cuts a store to what is mapped. */
static bool
applicable(const struct state *st, struct op *op)
{
	uint64_t end;

	switch (op->kind) {
	case OP_OPEN:
		return st->slot[op->slot] < 0 && !state_full(st);
	case OP_MKDIR:
	case OP_SYMLINK:
		return !state_full(st);
	case OP_RENAME:
		return !state_too_deep(st, op);
	case OP_COPY:
		return st->slot[op->slot] >= 0 && st->slot[op->slot2] >= 0;
	case OP_EXCHANGE:
		return st->slot[op->slot] >= 0 && st->slot[op->slot2] >= 0 && !state_too_long(st, op);
	case OP_COLLAPSE:
	case OP_INSERT:
		return st->slot[op->slot] >= 0 && !state_too_long(st, op);
	case OP_MAP:
		return st->slot[op->slot] >= 0 && !st->mapped[op->slot];
	case OP_UNMAP:
		return st->slot[op->slot] >= 0 && st->mapped[op->slot];
	case OP_STORE:
		if (st->slot[op->slot] < 0 || !st->mapped[op->slot])
			return false;
		end = st->node[st->slot[op->slot]].live->size;
		if (end > st->mapped[op->slot])
			end = st->mapped[op->slot];
		if (op->off >= end)
			return false;
		if (op->len > end - op->off)
			op->len = end - op->off;
		return true;
	case OP_CLOSE:
	case OP_WRITE:
	case OP_READ:
	case OP_TRUNCATE:
	case OP_FALLOCATE:
	case OP_FSYNC:
		return st->slot[op->slot] >= 0;
	default:
		return true;
	}
}

/* A layout change under a mapping cuts its blocks out of the file: unmap first, so that
 * the model needs not know which blocks those are. */
static int
unmap_first(struct run *r, const struct op *op)
{
	int node = state_unmaps(r->st, op);

	for (unsigned s = 0; s < NSLOTS; s++) {
		bool moves = !r->be->moves_under_mappings && state_moves(r->st, op, r->st->slot[s]);

		if (r->st->slot[s] < 0 || !r->st->mapped[s] || (r->st->slot[s] != node && !moves))
			continue;
		if (expect(r, "unmap", r->be->unmap(s), 0))
			return 1;
		r->st->mapped[s] = 0;
	}
	return 0;
}

static int
do_op(struct run *r, const struct op *given)
{
	const struct backend *be = r->be;
	struct op op = *given;
	uint64_t maplen = 0;
	long want;

	if (!applicable(r->st, &op))
		return 0;
	if (state_needs_sync(r->st) && do_sync(r))
		return 1;
	if (unmap_first(r, &op))
		return 1;
	if (op.kind == OP_MAP)
		maplen = r->st->node[r->st->slot[op.slot]].live->size;
	switch (op.kind) {
	case OP_REMOUNT:
		return do_remount(r);
	case OP_CRASH:
		return do_crash(r);
	case OP_SYNC:
		return do_sync(r);
	case OP_CHECK:
		return check_all(r);
	case OP_READ:
		return check_slot(r, op.slot);
	default:
		break;
	}
	want = state_apply(r->st, &op);
	switch (op.kind) {
	case OP_CLOSE:
		return expect(r, "close", be->close(op.slot), want);
	case OP_FSYNC:
		return expect(r, "fsync", be->fsync(op.slot), want);
	case OP_MAP:
		return expect(r, "map", be->map(op.slot, maplen), want);
	case OP_UNMAP:
		return expect(r, "unmap", be->unmap(op.slot), want);
	case OP_WRITE:
	case OP_TRUNCATE:
	case OP_FALLOCATE:
	case OP_COPY:
	case OP_COLLAPSE:
	case OP_INSERT:
	case OP_EXCHANGE:
	case OP_STORE:
		if (expect(r, "returns", do_content(be, &op), want))
			return 1;
		/* not always: reading changes what is cached */
		if (op.seed % 4 && op.kind == OP_EXCHANGE && check_slot(r, op.slot2))
			return 1;
		return op.seed % 4 ? check_slot(r, op.kind == OP_COPY ? op.slot2 : op.slot) : 0;
	default:
		return expect(r, "returns", do_name(be, &op), want);
	}
}

void
op_list_add(struct op_list *l, const struct op *op)
{
	if (l->n == l->room) {
		l->room = l->room ? l->room * 2 : 1024;
		l->op = reallocarray(l->op, l->room, sizeof(*l->op));
		if (!l->op)
			abort();
	}
	l->op[l->n++] = *op;
}

int
run_ops(const struct backend *be, const char *dir, struct op_list *l, unsigned make, uint64_t seed, bool verbose,
    char *why, size_t whysize, unsigned *at)
{
	struct run r = { .be = be, .st = state_new(), .why = why, .whysize = whysize };
	uint64_t rng = seed * 0x9e3779b97f4a7c15u + 0x1234567;
	struct op op;
	int err;

	why[0] = 0;
	*at = 0;
	err = expect(&r, "start", be->start(dir), 0);
	for (unsigned k = 0; !err && k < (make ? make : l->n); k++) {
		*at = k;
		if (make) {
			op_random(&op, r.st, &rng);
			op_list_add(l, &op);
		}
		if (verbose) {
			op_print(stdout, &l->op[k]);
			fflush(stdout);
		}
		err = do_op(&r, &l->op[k]);
	}
	if (!err) {
		*at = l->n;
		err = do_remount(&r);
	}
	if (!err)
		err = expect(&r, "stop", be->stop(), 0);
	state_free(r.st);
	return err;
}
