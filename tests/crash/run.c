/* SPDX-License-Identifier: BSD-3-Clause */
/* One sequence: each operation is between two marks in the record, and after each one what the filesystem
 * shows is kept: that, and what the operations promised, is what images are held against.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/crash/calm.h"
#include "tests/crash/crash.h"

int
crash_mount(struct fs **out, const char *path, enum domain_kind domain, struct record *rec, struct pool_error *err)
{
	struct fs_options opt;

	fs_options_default(&opt);
	opt.commit_s = 3600;
	opt.atime = FS_ATIME_NOATIME;
	opt.pool.domain = (int)domain;
	opt.pool.lock_wait_ms = 0;
	if (rec) {
		opt.pool.record = record_event;
		opt.pool.record_arg = rec;
	}
	return fs_mount(out, path, &opt, err);
}

void
crash_mkpool(const char *path)
{
	struct mkfs_options opt = { .bytes = CRASH_POOL_BYTES, .force = true };
	struct pool_error err;
	struct fs *fs;
	int r;

	calm_restart();
	r = pool_mkfs(path, &opt, &err);
	if (r == 0)
		r = fs_format(path, 0, 0, 0755, &err);
	if (r == 0)
		r = crash_mount(&fs, path, DOMAIN_VOLATILE, NULL, &err);
	if (r < 0)
		die(err.text, -r);
	ops_prepare(fs);
	r = fs_umount(fs);
	if (r < 0)
		die(path, -r);
}

/* The newest operation up to k that changed names or attributes of the inode. */
static unsigned
last_change(const struct run *r, unsigned k, uint64_t ino)
{
	while (k > 0) {
		const struct seen_file *now = look_find(&r->look[k], ino), *before = look_find(&r->look[k - 1], ino);

		if ((now ? now->meta : 0) != (before ? before->meta : 0))
			break;
		k--;
	}
	return k;
}

static void
note_durable(struct run *r, unsigned k)
{
	const struct promise *p = &r->promise[k];
	unsigned names = k > 0 ? r->durable_names[k - 1] : 0;

	if (p->all)
		names = k;
	else if (p->ino)
		names = max_of(names, last_change(r, k, p->ino));
	r->durable_names[k] = names;
}

static void
do_one(struct run *r, unsigned k)
{
	const struct op_def *op = r->op[k];

	record_mark(r->rec, REC_BEGIN, k);
	r->result[k] = op->fn(r, op, &r->promise[k]);
	record_mark(r->rec, REC_END, k);
	look_at(&r->look[k], r->fs, true);
	if (r->look[k].error)
		die(r->look[k].what, -r->look[k].error);
	note_durable(r, k);
}

/* The unmount, as operation k. */
static void
do_umount(struct run *r, unsigned k)
{
	record_mark(r->rec, REC_BEGIN, k);
	ops_close(r);
	look_at(&r->look[k], r->fs, true);
	r->result[k] = fs_umount(r->fs);
	r->fs = NULL;
	record_mark(r->rec, REC_END, k);
	r->promise[k].all = r->result[k] == 0;
	note_durable(r, k);
}

static const struct op_def op_umount = { .name = "umount" };

/* Operations from k on, and the unmount. */
static void
run_from(struct run *r, unsigned k)
{
	for (; k <= r->nops; k++)
		do_one(r, k);
	r->op[++r->nops] = &op_umount;
	do_umount(r, r->nops);
}

/* The daemon was killed in operation k (0: before the first): that one has promised nothing, and a restart comes
 * behind it. */
static void
run_killed(struct run *r)
{
	unsigned k = r->rec->begun;

	if (r->rec->ended < k) {
		r->promise[k] = (struct promise){ .with_names = r->promise[k].with_names };
		note_durable(r, k);
	}
	memmove(&r->op[k + 2], &r->op[k + 1], (OPS_MAX - k - 1) * sizeof(r->op[0]));
	r->op[k + 1] = &op_restart;
	memset(&r->promise[k + 1], 0, (OPS_MAX - k) * sizeof(r->promise[0]));
	/* The unmount comes again; if it was the one, its place is taken by the restart. */
	run_from(r, k + 1);
}

void
run_sequence(struct run *r)
{
	unsigned given = r->nops;
	struct pool_error err;
	int e;

	calm_restart();
	memset(r->promise, 0, sizeof(r->promise));
	r->nheld = 0;
	r->stamp = 0;
	e = crash_mount(&r->fs, r->path, r->domain, r->rec, &err);
	if (e < 0)
		die(err.text, -e);
	look_at(&r->look[0], r->fs, true);
	r->promise[0].all = true;
	note_durable(r, 0);
	run_from(r, 1);
	if (record_kill(r->rec)) {
		r->nops = max_of(given, r->rec->begun) + 1;
		run_killed(r);
	}
}

void
run_free(struct run *r)
{
	for (unsigned k = 0; k <= OPS_MAX; k++)
		look_free(&r->look[k]);
}
