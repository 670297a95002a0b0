/* SPDX-License-Identifier: BSD-3-Clause */
/* What a mounted filesystem shows: a walk over all names that collects, for each inode, a hash of
 * its names and attributes, and of regular files the content. Times are left out: they are stored lazily, with
 * the content or without.
 *
 * Directories come in the order of their hashes, which is the same in an image and in the run that made it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "fs/siphash.h"
#include "tests/crash/crash.h"

#define DEPTH_MAX 8
#define TEXT_MAX 8192u

static const struct fs_cred cred = { .fsetid = true };
static const uint64_t key[2] = { 0x70696e66732d6372, 0x6173682d6c6f6f6b };

struct walk {
	struct look *look;
	struct fs *fs;
	unsigned depth;
	char path[256];
	uint64_t h;        /* of what is being looked at */
};

static void
failed(struct look *l, int err, const char *path, const char *what)
{
	if (l->error)
		return;
	l->error = err;
	snprintf(l->what, sizeof(l->what), "%s: %s: %s", path, what, strerror(-err));
}

static void __attribute__((format(printf, 2, 3)))
say(struct look *l, const char *fmt, ...)
{
	va_list ap;

	if (!l->text)
		return;
	va_start(ap, fmt);
	l->text_len += (size_t)vsnprintf(l->text + l->text_len, TEXT_MAX - l->text_len, fmt, ap);
	va_end(ap);
	l->text_len = min_of(l->text_len, (size_t)TEXT_MAX - 1);
}

static void
mix(uint64_t *h, const void *data, size_t len)
{
	const uint64_t k[2] = { key[0] ^ *h, key[1] };

	*h = siphash24(k, data, len);
}

static struct seen_file *
file_of(struct look *l, uint64_t ino)
{
	for (unsigned i = 0; i < l->nfiles; i++)
		if (l->file[i].ino == ino)
			return &l->file[i];
	if (l->nfiles == l->room) {
		l->room = l->room ? 2 * l->room : 16;
		l->file = reallocarray(l->file, l->room, sizeof(*l->file));
		if (!l->file)
			die("look", ENOMEM);
	}
	memset(&l->file[l->nfiles], 0, sizeof(*l->file));
	l->file[l->nfiles].ino = ino;
	return &l->file[l->nfiles++];
}

const struct seen_file *
look_find(const struct look *l, uint64_t ino)
{
	for (unsigned i = 0; i < l->nfiles; i++)
		if (l->file[i].ino == ino)
			return &l->file[i];
	return NULL;
}

bool
look_same(const struct look *a, const struct seen_file *fa, const struct look *b, const struct seen_file *fb)
{
	return fa->reg && fb->reg && fa->size == fb->size
	    && memcmp(look_data(a, fa), look_data(b, fb), fa->size) == 0;
}

static void
look_xattrs(struct walk *w, struct inode *i, uint64_t *h)
{
	char list[1024], value[4096];
	ssize_t n = fs_listxattr(w->fs, i, list, sizeof(list)), len;

	if (n < 0) {
		failed(w->look, (int)n, w->path, "listxattr");
		return;
	}
	for (char *name = list; name < list + n; name += strlen(name) + 1) {
		len = fs_getxattr(w->fs, i, name, value, sizeof(value));
		if (len < 0) {
			failed(w->look, (int)len, w->path, name);
			return;
		}
		mix(h, name, strlen(name) + 1);
		mix(h, value, (size_t)len);
		say(w->look, " %s=%zd", name, len);
	}
}

static void
look_content(struct walk *w, struct inode *i, struct seen_file *f)
{
	struct look *l = w->look;
	struct file *file;
	ssize_t n;
	int r;

	if (l->nbytes + f->size > l->bytes_room) {
		l->bytes_room = 2 * (l->nbytes + f->size);
		l->bytes = realloc(l->bytes, l->bytes_room);
		if (!l->bytes)
			die("look", ENOMEM);
	}
	r = fs_open(w->fs, i, O_RDONLY, &cred, &file);
	if (r < 0) {
		failed(l, r, w->path, "open");
		return;
	}
	n = fs_read(file, l->bytes + l->nbytes, f->size, 0);
	fs_release(file);
	if (n != (ssize_t)f->size)
		failed(l, n < 0 ? (int)n : -EIO, w->path, "read");
	f->at = l->nbytes;
	l->nbytes += f->size;
}

static void look_inode(struct walk *w, struct inode *i);

static int
on_entry(void *arg, const char *name, size_t len, uint64_t ino, unsigned char type, off_t cookie,
    struct inode *child)
{
	struct walk *w = arg;
	size_t at = strlen(w->path);

	(void)ino, (void)type, (void)cookie;
	if (len > 100 || at + len + 2 > sizeof(w->path)) {
		failed(w->look, -EIO, w->path, "a name that nobody has made");
		return 0;
	}
	if (!child) {
		if (!(name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.'))))
			failed(w->look, -EIO, w->path, "an entry without inode");
		return 0;
	}
	if (!(name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')))) {
		snprintf(w->path + at, sizeof(w->path) - at, "/%.*s", (int)len, name);
		look_inode(w, child);
		w->path[at] = '\0';
	}
	inode_put(child);
	return 0;
}

static void
look_inode(struct walk *w, struct inode *i)
{
	struct look *l = w->look;
	struct seen_file *f = file_of(l, i->ino);
	bool first = f->meta == 0;
	uint64_t h = f->meta;
	struct {
		uint64_t ino, mode, nlink, uid, gid, flags;
	} attr;
	struct stat st;
	int r;

	inode_stat(i, &st);
	attr.ino = i->ino;
	attr.mode = st.st_mode;
	attr.nlink = st.st_nlink;
	attr.uid = st.st_uid;
	attr.gid = st.st_gid;
	attr.flags = inode_flags(i);
	mix(&h, w->path, strlen(w->path));
	mix(&h, &attr, sizeof(attr));
	say(l, "%s: inode %llu mode %o links %u size %llu", w->path[0] ? w->path : "/",
	    (unsigned long long)i->ino, st.st_mode, (unsigned)st.st_nlink, (unsigned long long)st.st_size);
	look_xattrs(w, i, &h);
	if (S_ISLNK(st.st_mode)) {
		char target[256];
		ssize_t n = fs_readlink(w->fs, i, target, sizeof(target));

		if (n < 0)
			failed(l, (int)n, w->path, "readlink");
		else
			mix(&h, target, (size_t)n);
	}
	f->meta = h | 1;
	mix(&l->names, &f->meta, sizeof(f->meta));
	if (S_ISREG(st.st_mode) && first) {
		f->reg = true;
		f->dax = inode_is_dax(i);
		f->size = (uint64_t)st.st_size;
		if (f->size > CRASH_POOL_BYTES)
			failed(l, -EIO, w->path, "a size that nobody has given it");
		else
			look_content(w, i, f);
		if (l->text && !l->error) {
			uint64_t c = 0;

			mix(&c, look_data(l, f), f->size);
			say(l, " content %08x", (unsigned)c);
		}
	}
	say(l, "\n");
	if (!S_ISDIR(st.st_mode))
		return;
	if (++w->depth > DEPTH_MAX) {
		failed(l, -ELOOP, w->path, "directory");
	} else {
		r = fs_readdir(w->fs, i, 0, true, on_entry, w);
		if (r < 0)
			failed(l, r, w->path, "readdir");
	}
	w->depth--;
}

void
look_at(struct look *l, struct fs *fs, bool text)
{
	struct walk w = { .look = l, .fs = fs };
	struct inode *root;
	int r;

	l->names = 0;
	l->nfiles = 0;
	l->nbytes = 0;
	l->error = 0;
	l->text_len = 0;
	if (text && !l->text) {
		l->text = malloc(TEXT_MAX);
		if (!l->text)
			die("look", ENOMEM);
	}
	if (l->text)
		l->text[0] = '\0';
	r = inode_get(fs, INO_ROOT, &root);
	if (r < 0) {
		failed(l, r, "/", "root directory");
		return;
	}
	look_inode(&w, root);
	inode_put(root);
}

void
look_free(struct look *l)
{
	free(l->file);
	free(l->bytes);
	free(l->text);
	memset(l, 0, sizeof(*l));
}
