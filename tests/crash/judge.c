/* SPDX-License-Identifier: BSD-3-Clause */
/* Whether an image is one that a power failure may leave.
 *
 * 1. fsck finds no damage, and it can be mounted.
 * 2. Names and attributes are all as they were after one operation j, which is not older than what was promised
 *    to be durable and not newer than the operation that was running. So operations on names are whole or absent,
 *    and none is there without those before it.
 * 3. The content of each file is as it was after one operation k, whole, and has been taken by a writeback: not newer
 *    than j, because writebacks enter the same transactions, and not older than what was promised for that file.
 * 4. A dax file, which is stored to in place, has in each eight bytes what it had after one of these operations.
 * 5. Sometimes: it can be written to, and is sound after that.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/check.h"
#include "tests/crash/crash.h"

static char reason[512];

static const char * __attribute__((format(printf, 1, 2)))
because(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	return reason;
}

/* ---- fsck ---------------------------------------------------------------------------- */

static void
on_finding(void *arg, const struct check_finding *f)
{
	char *text = arg;

	if (f->error && !text[0])
		check_format(f, text, 256);
}

static const char *
fsck(const char *path)
{
	struct pool_options open = { .flags = POOL_RDONLY, .domain = DOMAIN_VOLATILE };
	char text[256] = "";
	/* Data blocks are read, and their checksums checked, when the content is compared. */
	struct check_options opt = { .no_data = true, .finding = on_finding, .threads = 1, .arg = text };
	struct check_result res;
	struct pool_error err;
	struct pool *p;
	int r;

	r = pool_open(&p, path, &open, &err);
	if (r < 0)
		return because("can't be opened: %s", err.text);
	r = check_pool(p, &opt, &res);
	pool_close(p);
	if (r < 0)
		return because("fsck: %s", strerror(-r));
	return res.errors ? because("fsck: %s", text) : NULL;
}

/* ---- content ------------------------------------------------------------------------------ */

static bool
promises_content(const struct promise *p, const struct seen_file *f)
{
	return p->all || p->ino == f->ino || p->data_ino == f->ino;
}

/* Content of f is at least that of operation ..., if `ended` has returned and names are those after j. */
static unsigned
content_floor(const struct run *r, const struct seen_file *f, unsigned ended, unsigned j)
{
	unsigned k = ended;

	while (k > 0 && !promises_content(&r->promise[k], f))
		k--;
	for (unsigned n = k + 1; n <= j; n++)
		if (r->promise[n].with_names == f->ino)
			k = n;
	return k;
}

static bool
is_version(const struct run *r, const struct look *image, const struct seen_file *f, unsigned k)
{
	const struct seen_file *v = look_find(&r->look[k], f->ino);

	return v && v->written && look_same(&r->look[k], v, image, f);
}

static uint64_t
word_of(const struct look *l, const struct seen_file *f, uint64_t at)
{
	uint64_t word = 0;

	if (at < f->size)
		memcpy(&word, look_data(l, f) + at, min_of(sizeof(word), f->size - at));
	return word;
}

/* Each word, and the size, is that of some operation in [from, to]. */
static bool
is_mixture(const struct run *r, const struct look *image, const struct seen_file *f, unsigned from, unsigned to)
{
	const struct seen_file *v[OPS_MAX + 1];
	bool size = false;

	for (unsigned k = from; k <= to; k++) {
		v[k] = look_find(&r->look[k], f->ino);
		size = size || (v[k] && v[k]->size == f->size);
	}
	if (!size)
		return false;
	for (uint64_t at = 0; at < f->size; at += sizeof(uint64_t)) {
		uint64_t mask = f->size - at >= sizeof(uint64_t) ? UINT64_MAX : (1ull << 8 * (f->size - at)) - 1;
		uint64_t word = word_of(image, f, at);
		unsigned k = from;

		while (k <= to && !(v[k] && (word_of(&r->look[k], v[k], at) & mask) == word))
			k++;
		if (k > to)
			return false;
	}
	return true;
}

/* A writeback copies what is pinned for write block by block, and the operation that came in between may have changed
 * some of them. */
static bool
is_mixed(const struct run *r, const struct look *image, const struct seen_file *f, unsigned from, unsigned to)
{
	for (unsigned k = from; k < to; k++)
		if (r->mixed[k] && is_mixture(r, image, f, k, k + 1))
			return true;
	return false;
}

static const char *
judge_content(const struct run *r, const struct look *image, unsigned j, unsigned begun, unsigned ended)
{
	for (unsigned n = 0; n < image->nfiles; n++) {
		const struct seen_file *f = &image->file[n];
		unsigned least, k;

		if (!f->reg)
			continue;
		least = content_floor(r, f, ended, j);
		k = max_of(j, least);
		if (f->dax && is_mixture(r, image, f, least, begun))
			continue;
		/* Made since, with or without a name: then it was empty once. */
		if (f->size == 0 && !look_find(&r->look[least], f->ino))
			continue;
		if (!f->dax)
			while (k > least && !is_version(r, image, f, k))
				k--;
		if (f->dax || !(is_version(r, image, f, k) || is_mixed(r, image, f, least, begun)))
			return because("inode %llu: its content is not what it was after any of the operations %u to %u",
			    (unsigned long long)f->ino, least, f->dax ? begun : max_of(j, least));
	}
	return NULL;
}

/* The image has f's content of some operation in [from, to]. */
static bool
shows(const struct run *r, const struct look *image, uint64_t ino, unsigned from, unsigned to)
{
	const struct seen_file *f = look_find(image, ino);

	for (unsigned k = from; f && k <= to; k++)
		if (is_version(r, image, f, k))
			return true;
	return false;
}

/* Two files that have exchanged content have both done it, or none has. */
static const char *
judge_exchanges(const struct run *r, const struct look *image, unsigned j)
{
	for (unsigned k = 1; k <= j; k++) {
		uint64_t a = r->promise[k].moved[0], b = r->promise[k].moved[1];
		bool old_a, old_b, new_a, new_b;

		if (!b)
			continue;
		old_a = shows(r, image, a, 0, k - 1);
		old_b = shows(r, image, b, 0, k - 1);
		new_a = shows(r, image, a, k, j);
		new_b = shows(r, image, b, k, j);
		if ((old_a && !new_a && new_b && !old_b) || (old_b && !new_b && new_a && !old_a))
			return because("inodes %llu and %llu: one has the content from before operation %u, %s, one that from after it",
			    (unsigned long long)a, (unsigned long long)b, k, r->op[k]->name);
	}
	return NULL;
}

/* What a sync that is on its way was the first to write back shows in all files, or in none. */
static const char *
judge_syncs(const struct run *r, const struct look *image, unsigned begun, unsigned ended)
{
	for (unsigned k = ended + 1; k <= begun; k++) {
		uint64_t new = INO_NONE, old = INO_NONE;

		for (unsigned n = 0; n < r->look[k].nfiles; n++) {
			const struct seen_file *v = &r->look[k].file[n], *f = look_find(image, v->ino);

			if (!v->synced || v->dax || !f)
				continue;
			if (look_same(&r->look[k], v, image, f))
				new = v->ino;
			else
				old = v->ino;
		}
		if (new != INO_NONE && old != INO_NONE)
			return because("operation %u, sync, is durable in part: in inode %llu, not in %llu", k,
			    (unsigned long long)new, (unsigned long long)old);
	}
	return NULL;
}

/* ---- the whole ---------------------------------------------------------------------------------- */

const char *
judge_look(const struct run *r, const struct look *image, unsigned begun, unsigned ended)
{
	static char first[sizeof(reason)];
	unsigned least = r->durable_names[ended];
	bool found = false;

	for (unsigned j = begun + 1; j-- > least; ) {
		const char *why;

		if (r->look[j].names != image->names)
			continue;
		why = judge_content(r, image, j, begun, ended);
		if (!why)
			why = judge_exchanges(r, image, j);
		if (!why)
			why = judge_syncs(r, image, begun, ended);
		if (!why)
			return NULL;
		if (!found)
			memcpy(first, reason, sizeof(first));
		found = true;
	}
	return found ? first : because("names and attributes are not what they were after any of the operations %u to %u",
	    least, begun);
}

static int
use_it(struct fs *fs)
{
	static const struct fs_cred cred = { .fsetid = true };
	static const char text[10000] = "x";
	struct inode *root, *i;
	struct file *f;
	int r = inode_get(fs, INO_ROOT, &root);

	if (r < 0)
		return r;
	r = fs_create(fs, root, "new", S_IFREG | 0644, 0, &cred, &i);
	if (r == 0) {
		r = fs_open(fs, i, O_RDWR, &cred, &f);
		if (r == 0) {
			ssize_t n = fs_write(f, text, sizeof(text), 0, false);

			r = n < 0 ? (int)n : 0;
			fs_release(f);
		}
		inode_put(i);
	}
	inode_put(root);
	return r == -ENOSPC ? 0 : r;
}

static void
print_states(const struct run *r, const struct look *image, unsigned begun, unsigned ended)
{
	for (unsigned k = r->durable_names[ended]; k <= begun; k++)
		printf("--- after operation %u, %s: %s\n%s", k, k ? r->op[k]->name : "none",
		    k ? strerror(-r->result[k]) : "", r->look[k].text);
	printf("--- the image\n%s", image->text);
}

const char *
judge(const struct run *r, const char *path, unsigned begun, unsigned ended, bool use, bool *stored, bool verbose)
{
	static struct look image;
	struct pool_error err;
	const char *why;
	struct fs *fs;
	int e;

	why = fsck(path);
	if (why)
		return why;
	e = crash_mount(&fs, path, DOMAIN_VOLATILE, NULL, &err);
	if (e < 0)
		return because("can't be mounted: %s", err.text);
	look_at(&image, fs, verbose);
	*stored = use || txn_open_dirty(fs_pool(fs));
	if (verbose)
		print_states(r, &image, begun, ended);
	if (image.error)
		why = because("%s", image.what);
	else
		why = judge_look(r, &image, begun, ended);
	if (!use || why) {
		fs_abandon(fs);
		return why;
	}
	e = use_it(fs);
	if (e < 0)
		why = because("can't be written to: %s", strerror(-e));
	e = fs_umount(fs);
	if (e < 0 && !why)
		why = because("can't be unmounted: %s", strerror(-e));
	return why ? why : fsck(path);
}
