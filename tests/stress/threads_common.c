/* SPDX-License-Identifier: BSD-3-Clause */
/* What all threads change at once: a few files, by all operations in both directions, with pins and leases that
 * stay for a while; and names. Nobody knows what is in these files, but it is whole records; marks are stored through
 * mappings, one word each, also where the block has been cut out of the file: in a record of threads_areas.c there is none.
 *
 * In directory "names" each thread has names of its own, and knows them exactly; in "x" and "y" all fight for the
 * same. */
#include "tests/stress/threads.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/xattr.h>

/* ---- files ---------------------------------------------------------------------------------------------- */

/* Every record of it is whole, or nothing. */
void
common_look(struct file *f)
{
	static _Thread_local struct record r[64];

	for (uint64_t off = 0;; off += sizeof(r)) {
		ssize_t n = fs_read(f, r, sizeof(r), off);

		must(n, "read");
		for (size_t k = 0; k < (size_t)n / RECORD_SIZE; k++)
			if (!record_whole(&r[k]) && !record_empty(&r[k]))
				die("inode %llu, record at %#llx: number %llu sequence %llu by %llu mark %#llx: torn",
				    (unsigned long long)f->inode->ino, (unsigned long long)(off + k * RECORD_SIZE),
				    (unsigned long long)r[k].number, (unsigned long long)r[k].sequence,
				    (unsigned long long)r[k].by, (unsigned long long)r[k].mark);
		if (n < (ssize_t)sizeof(r))
			return;
	}
}

static void
write_common(struct worker *w, struct file *f)
{
	struct record r[16];
	unsigned n = 1 + rnd(w, 16);

	for (unsigned k = 0; k < n; k++)
		record_fill(&r[k], rnd(w, COMMON), ++w->sequence, w->me);
	must_all(fs_write(f, r, n * sizeof(r[0]), (uint64_t)rnd(w, COMMON - 16) * RECORD_SIZE, false), n * sizeof(r[0]), "write");
}

static void
change_layout(struct worker *w, struct file *f)
{
	uint64_t off = (uint64_t)rnd(w, COMMON) * RECORD_SIZE, len = (1 + (uint64_t)rnd(w, 40)) * RECORD_SIZE, size;
	struct stat st = { .st_size = (off_t)off };
	struct ask op;
	int r = 0;
	enum layout_kind kind = LAYOUT_TRUNCATE + rnd(w, LAYOUT_INSERT - LAYOUT_TRUNCATE + 1);
	bool moves = kind == LAYOUT_COLLAPSE || kind == LAYOUT_INSERT;

	if (moves) {
		off &= ~(uint64_t)BLK_MASK;
		len = (1 + len / BLK_SIZE) * BLK_SIZE;
		inode_stat(f->inode, &st);
		size = (uint64_t)st.st_size;
		if (kind == LAYOUT_INSERT && size > COMMON * RECORD_SIZE)
			return;
	}
	if (!layout_ask(w, &op, f, kind, off, kind == LAYOUT_TRUNCATE || moves ? 0 : len))
		return;
	switch (kind) {
	case LAYOUT_TRUNCATE:
		r = fs_setattr(test.fs, f->inode, FS_SET_SIZE, &st, &threads_cred);
		break;
	case LAYOUT_PUNCH:
		r = fs_fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len);
		break;
	case LAYOUT_ZERO:
		r = fs_fallocate(f, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, off, len);
		break;
	case LAYOUT_COLLAPSE:
		r = fs_collapse_range(f, off, len);
		break;
	case LAYOUT_INSERT:
		r = fs_insert_range(f, off, len);
		break;
	default:
		break;
	}
	layout_end(&op.op);
	may(w, r, "a layout operation", moves ? EINVAL : 0); /* the file has become shorter */
}

static void
two_files(struct worker *w, struct file *a, struct file *b)
{
	uint64_t from = (uint64_t)rnd(w, COMMON), to = (uint64_t)rnd(w, COMMON), n = 1 + rnd(w, 100);
	unsigned what = rnd(w, 3);
	struct ask op;

	if (what == 0) {
		may(w, fs_copy_range(a, from * RECORD_SIZE, b, to * RECORD_SIZE, n * RECORD_SIZE), "copy_range", EINVAL);
		return;
	}
	from = from / 8 * BLK_SIZE;
	to = to / 8 * BLK_SIZE;
	n = (1 + n / 8) * BLK_SIZE;
	if (!layout_ask(w, &op, b, what == 1 ? LAYOUT_CLONE_INTO : LAYOUT_EXCHANGE, to, n))
		return;
	/* -EINVAL: behind an end, or they overlap; -EBUSY: a writeback has to come first, and a pin forbids it */
	if (what == 1)
		may(w, fs_clone_range(a, from, b, to, n), "clone", EINVAL, EBUSY);
	else
		may(w, fs_exchange_range(a, from, b, to, n), "exchange", EINVAL, EBUSY);
	layout_end(&op.op);
}

/* ---- pins and leases that stay ---------------------------------------------------------------------------------- */

static void
pin_step(struct worker *w, struct file *f)
{
	struct held *h = &w->pin[rnd(w, HELD)];
	struct pin_params p = { .class = 1 + rnd(w, 2) };
	struct pin_range r[2];
	unsigned n = 1 + rnd(w, 2);
	uint64_t mark;

	if (h->f && h->write && rnd(w, 3)) { /* also if the block is in no file any more: it is still mine */
		mark = RECORD_MARK | rnd(w, 1u << 31);
		store_words((char *)pool_block(fs_pool(test.fs), 0) + h->pool_off +
		    rnd(w, (unsigned)(h->len / RECORD_SIZE)) * RECORD_SIZE + offsetof(struct record, mark), &mark, sizeof(mark));
		return;
	}
	if (h->f) {
		must(pin_remove(h->f, h->id), "unpin");
		h->f = NULL;
		return;
	}
	p.access = rnd(w, 2) ? PIN_WRITE : PIN_READ;
	p.flags = p.access == PIN_WRITE && rnd(w, 4) == 0 ? PIN_ALLOC : 0;
	if (p.access == PIN_WRITE && rnd(w, 4) == 0)
		p.writeback = (const enum fs_pinned[]){ FS_PINNED_HOLDER, FS_PINNED_BOUNCE, FS_PINNED_FAIL,
			p.class == PIN_TRANSIENT ? FS_PINNED_WAIT : FS_PINNED_BOUNCE }[rnd(w, 4)];
	for (unsigned k = 0; k < n; k++)
		r[k] = (struct pin_range){ .off = (uint64_t)rnd(w, COMMON / 8) * BLK_SIZE,
			.len = (1 + (uint64_t)rnd(w, 8)) * BLK_SIZE };
	/* -EINVAL: behind the end; -EBUSY: pins of FS_PINNED_HOLDER bear no other */
	if (!may(w, pin_add(f, &p, r, n, &threads_cred, &h->id), "pin", EAGAIN, EINVAL, EBUSY))
		return;
	*h = (struct held){ f, h->id, r[0].pool_off, r[0].ext_len, p.access == PIN_WRITE };
	if (h->write && h->pool_off == UINT64_MAX)
		die("a write pin has no block");
}

static void
lease_step(struct worker *w, struct file *f)
{
	struct lease_params p = { .type = rnd(w, 4) ? LEASE_SHARED : LEASE_EXCLUSIVE,
		.on_deadline = (enum lease_on_deadline)rnd(w, 3) };
	struct fs_cred c = { .tgid = (pid_t)(1 + rnd(w, 2)) };
	uint64_t off = (uint64_t)rnd(w, COMMON) * RECORD_SIZE, lost;
	uint64_t len = rnd(w, 4) ? (1 + (uint64_t)rnd(w, 64)) * RECORD_SIZE : 0;
	struct held *h = &w->lease[rnd(w, HELD)];
	struct lease_event ev[4];
	unsigned n, more;

	n = lease_events(f, ev, 4, &more, &lost);
	for (unsigned k = 0; k < n; k++)
		for (unsigned j = 0; j < HELD; j++)
			if (w->lease[j].f == f && w->lease[j].id == ev[k].lease && rnd(w, 4)) {
				must(lease_release(f, ev[k].lease), "release of a lease that is being broken");
				w->lease[j].f = NULL;
			}
	if (h->f && rnd(w, 3) == 0) {
		may(w, lease_modify(h->f, h->id, &p, &c), "lease_modify", ESTALE, EAGAIN, EBUSY);
	} else if (h->f) {
		must(lease_release(h->f, h->id), "release of a lease");
		h->f = NULL;
	} else if (may(w, lease_take(f, &off, &len, &p, &c, &h->id), "lease", EAGAIN, EBUSY)) {
		h->f = f;
	}
}

void
release_held(struct worker *w)
{
	for (unsigned k = 0; k < HELD; k++) {
		if (w->pin[k].f)
			must(pin_remove(w->pin[k].f, w->pin[k].id), "unpin");
		if (w->lease[k].f)
			must(lease_release(w->lease[k].f, w->lease[k].id), "release of a lease");
		w->pin[k].f = w->lease[k].f = NULL;
	}
}

static void
look_around(struct worker *w, struct file *f)
{
	struct pin_info pins[64];
	struct lease_info leases[16];
	struct inode *some[8];
	struct map_extent map[16];
	struct fs_counters c;
	struct statvfs sv;
	uint64_t after = 0;
	unsigned n;

	while (after != UINT64_MAX)
		pin_list(f->inode, &after, PIN_LIST_ALL, pins, 64);
	lease_list(f->inode, 0, leases, 16);
	n = pin_inodes(test.fs, rnd(w, 1000), some, 8);
	while (n > 0)
		inode_put(some[--n]);
	must(map_extents(f->inode, 0, COMMON * RECORD_SIZE, map, 16), "map_extents");
	may(w, fs_seek(f, (int64_t)rnd(w, COMMON) * RECORD_SIZE, rnd(w, 2) ? SEEK_DATA : SEEK_HOLE), "seek", ENXIO);
	fs_counters(test.fs, &c);
	must(fs_statfs(test.fs, &sv), "statfs");
}

/* The holder goes away: his pins and leases go with the file. */
static void
reopen(struct worker *w, unsigned n)
{
	struct file *f = w->common[n];
	char name[32];

	for (unsigned k = 0; k < HELD; k++) {
		if (w->pin[k].f == f)
			w->pin[k].f = NULL;
		if (w->lease[k].f == f)
			w->lease[k].f = NULL;
	}
	fs_release(f);
	snprintf(name, sizeof(name), "common%u", n);
	w->common[n] = open_file(name);
}

void
common_step(struct worker *w)
{
	unsigned k = rnd(w, COMMON_FILES);
	struct file *f = w->common[k];

	switch (rnd(w, 10)) {
	case 0:
	case 1:
		write_common(w, f);
		break;
	case 2:
		common_look(f);
		break;
	case 3:
		change_layout(w, f);
		break;
	case 4:
		two_files(w, f, w->common[rnd(w, COMMON_FILES)]);
		break;
	case 5:
	case 6:
		pin_step(w, f);
		break;
	case 7:
		lease_step(w, f);
		break;
	case 8:
		look_around(w, f);
		break;
	case 9:
		if (rnd(w, 8) == 0)
			reopen(w, k);
		else if (rnd(w, 8) == 0)
			may(w, fs_sync(test.fs), "sync", EBUSY); /* pins of FS_PINNED_FAIL */
		else
			may(w, fs_fsync_wait(test.fs, f->inode, rnd(w, 2)), "fsync", EBUSY);
		break;
	}
}

/* ---- names -------------------------------------------------------------------------------------------------- */

struct seen {
	struct worker *w;    /* NULL: those that all fight for */
	unsigned n[NAMES];
};

static int
see(void *arg, const char *name, size_t len, uint64_t ino, unsigned char type, off_t cookie, struct inode *child)
{
	struct seen *s = arg;
	unsigned owner, k;
	char text[64];

	(void)type, (void)cookie;
	if (child)
		inode_put(child);
	snprintf(text, sizeof(text), "%.*s", (int)len, name);
	if (s->w ? sscanf(text, "t%u-%u", &owner, &k) == 2 && owner == s->w->me : sscanf(text, "n%u", &k) == 1) {
		if (k >= NAMES)
			die("a name that nobody made: %s", text);
		if (++s->n[k] > 1)
			die("%s is there twice", text);
		if (s->w && ino != s->w->name[k])
			die("%s is inode %llu, should be %llu", text, (unsigned long long)ino, (unsigned long long)s->w->name[k]);
	}
	return 0;
}

void
names_check(struct worker *w)
{
	struct inode *dir = directory("names");
	struct seen s = { .w = w };

	must(fs_readdir(test.fs, dir, 0, rnd(w, 2), see, &s), "readdir");
	for (unsigned k = 0; k < NAMES; k++) {
		struct inode *i;
		char text[64];
		uint64_t value;

		if (s.n[k] != (w->name[k] != 0))
			die("t%u-%u is %s", w->me, k, w->name[k] ? "gone" : "there");
		if (!w->name[k] || !w->value[k])
			continue;
		snprintf(text, sizeof(text), "t%u-%u", w->me, k);
		must(fs_lookup(test.fs, dir, text, &i), text);
		must_all(fs_getxattr(test.fs, i, "user.v", &value, sizeof(value)), sizeof(value), "getxattr");
		if (value != w->value[k])
			die("%s has value %llu, should have %llu", text, (unsigned long long)value, (unsigned long long)w->value[k]);
		inode_put(i);
	}
	inode_put(dir);
}

static void
own_names(struct worker *w)
{
	struct inode *dir = directory("names"), *i = NULL;
	unsigned a = rnd(w, NAMES), b = rnd(w, NAMES);
	char na[32], nb[32];
	uint64_t t;

	snprintf(na, sizeof(na), "t%u-%u", w->me, a);
	snprintf(nb, sizeof(nb), "t%u-%u", w->me, b);
	if (!w->name[a]) {
		w->dir[a] = rnd(w, 4) == 0;
		must(w->dir[a] ? fs_mkdir(test.fs, dir, na, 0755, &threads_cred, &i) :
			fs_create(test.fs, dir, na, S_IFREG | 0644, 0, &threads_cred, &i), na);
		w->name[a] = i->ino;
		w->value[a] = 0;
	} else if (rnd(w, 3) == 0) {
		must(fs_lookup(test.fs, dir, na, &i), na);
		t = ++w->sequence;
		must(fs_setxattr(test.fs, i, "user.v", &t, sizeof(t), 0, &threads_cred), "setxattr");
		for (unsigned k = 0; k < NAMES; k++) /* links */
			if (w->name[k] == w->name[a])
				w->value[k] = t;
	} else if (!w->name[b] && !w->dir[a] && rnd(w, 2)) {
		must(fs_lookup(test.fs, dir, na, &i), na);
		must(fs_link(test.fs, i, dir, nb), "link");
		w->name[b] = w->name[a];
		w->value[b] = w->value[a];
		w->dir[b] = false;
	} else if (a != b && w->name[a] != w->name[b] && (!w->name[b] || w->dir[a] == w->dir[b])) {
		must(fs_rename(test.fs, dir, na, dir, nb, 0), "rename");
		w->name[b] = w->name[a];
		w->value[b] = w->value[a];
		w->dir[b] = w->dir[a];
		w->name[a] = w->value[a] = 0;
	} else {
		must(w->dir[a] ? fs_rmdir(test.fs, dir, na) : fs_unlink(test.fs, dir, na), na);
		w->name[a] = w->value[a] = 0;
	}
	if (i)
		inode_put(i);
	inode_put(dir);
}

/* Names that all want: whatever happens is one of the things that may. */
static void
fight(struct worker *w)
{
	struct inode *d1 = directory(rnd(w, 2) ? "x" : "y"), *d2 = directory(rnd(w, 2) ? "x" : "y"), *i = NULL;
	struct seen s = { 0 };
	char n1[16], n2[16];

	snprintf(n1, sizeof(n1), "n%u", rnd(w, 8));
	snprintf(n2, sizeof(n2), "n%u", rnd(w, 8));
	switch (rnd(w, 6)) {
	case 0:
		if (!may(w, fs_create(test.fs, d1, n1, S_IFREG | 0644, 0, &threads_cred, &i), "create", EEXIST))
			i = NULL;
		break;
	case 1:
		may(w, fs_unlink(test.fs, d1, n1), "unlink", ENOENT);
		break;
	case 2:
		may(w, fs_rename(test.fs, d1, n1, d2, n2, rnd(w, 2) ? 0 : RENAME_NOREPLACE), "rename", ENOENT, EEXIST);
		break;
	case 3:
		may(w, fs_rename(test.fs, d1, n1, d2, n2, RENAME_EXCHANGE), "rename (exchange)", ENOENT);
		break;
	case 4:
		if (!may(w, fs_lookup(test.fs, d1, n1, &i), "lookup", ENOENT))
			i = NULL;
		else
			may(w, fs_link(test.fs, i, d2, n2), "link", EEXIST, ENOENT);
		break;
	case 5:
		must(fs_readdir(test.fs, d1, 0, rnd(w, 2), see, &s), "readdir");
		break;
	}
	if (i)
		inode_put(i);
	inode_put(d1);
	inode_put(d2);
}

void
names_step(struct worker *w)
{
	unsigned what = rnd(w, 16);

	if (what == 0)
		names_check(w);
	else if (what < 9)
		own_names(w);
	else
		fight(w);
}
