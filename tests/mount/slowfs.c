/* SPDX-License-Identifier: BSD-3-Clause */
/* A device that is slow for certain: a FUSE filesystem of three files. Reads of `data` are kept waiting until somebody
 * writes to `go`; then the answer, all 'D', is put into the readers' buffers, where these are by then:
 * read with O_DIRECT, that is what DMA in flight is. `waiting` tells how many reads wait, and how many bytes have been
 * delivered: "N BYTES\n". slowfs MOUNTPOINT */
#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fuse_lowlevel.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_WAITING 64
#define DATA_SIZE (64 << 20)

enum { ROOT = FUSE_ROOT_ID, DATA, GO, WAITING };
static const char *const names[] = { [DATA] = "data", [GO] = "go", [WAITING] = "waiting" };

static struct {
	fuse_req_t req;
	size_t size;
} waiting[MAX_WAITING];
static unsigned nwaiting;
static unsigned long delivered; /* bytes */

static void
attr(fuse_ino_t ino, struct stat *st)
{
	*st = (struct stat){
		.st_ino = ino,
		.st_mode = ino == ROOT ? S_IFDIR | 0755 : S_IFREG | 0666,
		.st_nlink = 1,
		.st_size = ino == DATA ? DATA_SIZE : 0,
	};
}

static void
op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param e = { 0 };

	(void)parent;
	for (fuse_ino_t n = DATA; n <= WAITING; n++)
		if (strcmp(name, names[n]) == 0)
			e.ino = n;
	attr(e.ino, &e.attr);
	if (e.ino)
		fuse_reply_entry(req, &e);
	else
		fuse_reply_err(req, ENOENT);
}

static void
op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;

	(void)fi;
	attr(ino, &st);
	fuse_reply_attr(req, &st, 0);
}

static void
op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *to, int what, struct fuse_file_info *fi)
{
	(void)to, (void)what;
	op_getattr(req, ino, fi); /* the truncation of `echo >go` */
}

static void
op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	fi->direct_io = ino != DATA; /* data is opened O_DIRECT, which may be asynchronous */
	fuse_reply_open(req, fi);
}

static void
op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	char text[64];
	int n;

	(void)fi;
	if (ino == DATA && nwaiting < MAX_WAITING) {
		waiting[nwaiting].req = req;
		waiting[nwaiting++].size = size;
		return;
	}
	n = snprintf(text, sizeof(text), "%u %lu\n", nwaiting, delivered);
	fuse_reply_buf(req, text, ino == WAITING && off == 0 ? (size_t)n : 0);
}

static void
op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)ino, (void)buf, (void)off, (void)fi;
	while (nwaiting > 0) {
		size_t n = waiting[--nwaiting].size;
		char *answer = malloc(n);

		if (!answer)
			abort();
		memset(answer, 'D', n);
		if (fuse_reply_buf(waiting[nwaiting].req, answer, n) == 0)
			delivered += n;
		free(answer);
	}
	fuse_reply_write(req, size);
}

static const struct fuse_lowlevel_ops ops = {
	.lookup = op_lookup,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.open = op_open,
	.read = op_read,
	.write = op_write,
};

int
main(int argc, char **argv)
{
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);
	struct fuse_session *s = argc == 2 ? fuse_session_new(&args, &ops, sizeof(ops), NULL) : NULL;

	if (!s || fuse_session_mount(s, argv[1]) < 0)
		return 1;
	fuse_session_loop(s);
	fuse_session_unmount(s);
	fuse_session_destroy(s);
	return 0;
}
