/* SPDX-License-Identifier: BSD-3-Clause */
/* One sequence: each operation is between two marks in the record, and after each one what the filesystem
 * shows is kept: that, and what the operations promised, is what images are held against.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/writeback.h"
#include "tests/crash/calm.h"
#include "tests/crash/crash.h"

#define MEETING_NS 100000000

int
crash_mount(struct fs **out, const char *path, enum domain_kind domain, struct record *rec, struct pool_error *err)
{
	struct fs_options opt;

	fs_options_default(&opt);
	opt.commit_s = 3600;
	opt.atime = FS_ATIME_NOATIME;
	opt.transient_ms = 1;
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

/* ---- what is written back, and who comes in between -------------------------------- */

/* The one run of this process. */
static struct run *current;

static void
note_taken(struct run *r, unsigned k, uint64_t ino)
{
	if (r->ntaken[k] < TAKEN_MAX)
		r->taken[k][r->ntaken[k]++] = ino;
	else
		r->taken[k][TAKEN_MAX - 1] = INO_ALL;
}

static bool
is_taken(const struct run *r, unsigned k, uint64_t ino)
{
	for (unsigned n = 0; n < r->ntaken[k]; n++)
		if (r->taken[k][n] == ino || r->taken[k][n] == INO_ALL)
			return true;
	return false;
}

/* Which contents may be found on the medium: a writeback of operation k has taken what was there before or
 * after it. Besides, what is new is empty; and a clone is made of durable blocks, as is what was moved. */
static void
note_written(struct run *r, unsigned last)
{
	for (unsigned k = 0; k <= last; k++) {
		for (unsigned n = 0; n < r->look[k].nfiles; n++) {
			struct seen_file *f = &r->look[k].file[n];
			const struct seen_file *before = k > 0 ? look_find(&r->look[k - 1], f->ino) : NULL;

			bool taken = is_taken(r, k, f->ino);
			bool same = before && look_same(&r->look[k - 1], before, &r->look[k], f);

			if (!f->reg)
				continue;
			f->synced = r->promise[k].sync && taken && !r->mixed[k] && !(same && before->written_by_now);
			f->written_by_now = !before || taken || r->promise[k].moved[0] == f->ino
			    || r->promise[k].moved[1] == f->ino || (same && before->written_by_now);
			f->written = f->written_by_now || (k < last && is_taken(r, k + 1, f->ino));
		}
	}
}

static void *
meeting_main(void *arg)
{
	struct run *r = arg;
	unsigned k = r->syncing + 1;

	r->result[k] = r->op[k]->fn(r, r->op[k], &r->promise[k]);
	return NULL;
}

/* The next operation is done here, by another thread. If it has to wait for this one after all, then only until
 * now. */
static void
meeting_point(struct run *r)
{
	unsigned k = r->syncing + 1;
	struct timespec until;

	if (r->syncing == 0 || r->met || ++r->meet_points != r->meet_at)
		return;
	if (k > r->nops || r->op[k]->kind != OP_QUIET)
		return;
	r->met = true;
	record_mark(r->rec, REC_BEGIN, k);
	if (pthread_create(&r->meeting, NULL, meeting_main, r) != 0)
		die("thread", EAGAIN);
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += MEETING_NS;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	r->meeting_joined = pthread_clockjoin_np(r->meeting, NULL, CLOCK_MONOTONIC, &until) == 0;
}

static void
on_writeback(struct inode *i, enum writeback_point at)
{
	struct run *r = current;

	if (at == WRITEBACK_TAKEN) {
		note_taken(r, r->rec->begun, i->ino);
		if (r->met) /* by which of the two is not known */
			note_taken(r, r->rec->begun - 1, i->ino);
	}
	meeting_point(r);
}

/* When what is committed is durable, when the root is stored, when that is durable. */
static void
on_event(void *arg, enum domain_event event, uint64_t off)
{
	if (event == DOMAIN_BARRIER || (event == DOMAIN_STORE && off < ROOT_SLOTS * BLK_SIZE))
		meeting_point(arg);
}

/* ---- operations ------------------------------------------------------------------------- */

static void
look(struct run *r, unsigned k)
{
	look_at(&r->look[k], r->fs, true);
	if (r->look[k].error)
		die(r->look[k].what, -r->look[k].error);
}

/* Operation k was a restart. What it shows is judged here, because images are held against it afterwards. */
static void
check_restart(struct run *r, unsigned k, unsigned ended)
{
	note_written(r, k - 1);
	if (!r->why)
		r->why = judge_look(r, &r->look[k], k - 1, ended);
	note_taken(r, k, INO_ALL);
}

/* Returns how many operations were done. */
static unsigned
do_one(struct run *r, unsigned k)
{
	const struct op_def *op = r->op[k];
	unsigned ended = r->rec->ended;

	r->met = false;
	if (op->kind == OP_SYNCS) {
		look(r, k);
		r->syncing = k;
	}
	record_mark(r->rec, REC_BEGIN, k);
	r->result[k] = op->fn(r, op, &r->promise[k]);
	r->syncing = 0;
	if (r->met && !r->meeting_joined)
		pthread_join(r->meeting, NULL);
	record_mark(r->rec, REC_END, k);
	if (r->met) {
		for (unsigned n = 0; n < r->nheld; n++)
			r->mixed[k] |= r->held[n].pin != 0;
		record_mark(r->rec, REC_END, k + 1);
		note_durable(r, k);
		k++;
	}
	if (op->kind != OP_SYNCS || r->met)
		look(r, k);
	if (op->fn == op_restart.fn)
		check_restart(r, k, ended);
	note_durable(r, k);
	return r->met ? 2 : 1;
}

/* The unmount, as operation k. */
static void
do_umount(struct run *r, unsigned k)
{
	r->met = false;
	record_mark(r->rec, REC_BEGIN, k);
	ops_close(r);
	look(r, k);
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
	while (k <= r->nops)
		k += do_one(r, k);
	r->op[++r->nops] = &op_umount;
	do_umount(r, r->nops);
}

/* The daemon was killed in operation k (0: before the first): that one has promised nothing, and a restart comes
 * behind it. */
static void
run_killed(struct run *r)
{
	unsigned k = r->rec->begun;

	for (unsigned n = r->rec->ended + 1; n <= k; n++) {
		r->mixed[n] = r->meet_at != 0 && n < k;
		r->promise[n].all = false;
		r->promise[n].ino = r->promise[n].data_ino = 0;
		note_durable(r, n);
	}
	memmove(&r->op[k + 2], &r->op[k + 1], (OPS_MAX - k - 1) * sizeof(r->op[0]));
	r->op[k + 1] = &op_restart;
	memset(&r->promise[k + 1], 0, (OPS_MAX - k) * sizeof(r->promise[0]));
	memset(&r->ntaken[k + 1], 0, (OPS_MAX - k) * sizeof(r->ntaken[0]));
	r->meet_at = 0;
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
	memset(r->ntaken, 0, sizeof(r->ntaken));
	memset(r->mixed, 0, sizeof(r->mixed));
	note_taken(r, 0, INO_ALL);
	current = r;
	r->rec->event_hook = on_event;
	r->rec->event_arg = r;
	r->meet_points = 0;
	r->why = NULL;
	__atomic_store_n(&writeback_test_hook, on_writeback, __ATOMIC_RELEASE);
	r->nheld = 0;
	r->stamp = 0;
	e = crash_mount(&r->fs, r->path, r->domain, r->rec, &err);
	if (e < 0)
		die(err.text, -e);
	look(r, 0);
	r->promise[0].all = true;
	note_durable(r, 0);
	run_from(r, 1);
	if (record_kill(r->rec)) {
		r->nops = max_of(given, r->rec->begun) + 1;
		run_killed(r);
	}
	__atomic_store_n(&writeback_test_hook, NULL, __ATOMIC_RELEASE);
	note_written(r, r->nops);
}

void
run_free(struct run *r)
{
	for (unsigned k = 0; k <= OPS_MAX; k++)
		look_free(&r->look[k]);
}
