/* SPDX-License-Identifier: BSD-3-Clause */
/* The ways to a record: each is one system call or a few, or a mapping. A call that fails or does less is passed on to
 * ways_failed(), which does not return. */
#include "tests/stress/ways.h"

#include <fcntl.h>
#include <sys/sendfile.h>
#include <unistd.h>

const char *const way_name[WAYS] = { "mapping", "read/write, opened before", "read/write, opened after", "O_DIRECT",
	"splice", "sendfile", "copy_file_range" };

/* One or the other; which one changes. */
static int
either(const struct ways *o, uint64_t n)
{
	static unsigned turn;

	return (turn++ + n) % 2 ? o->before : o->after;
}

static void
put_all(int fd, const void *buf, size_t len, off_t off)
{
	ssize_t n = pwrite(fd, buf, len, off);

	if (n != (ssize_t)len)
		ways_failed("write");
}

static void
get_all(int fd, void *buf, size_t len, off_t off)
{
	ssize_t n = pread(fd, buf, len, off);

	if (n != (ssize_t)len)
		ways_failed("read");
}

static void
splice_all(int from, off_t *off_from, int to, off_t *off_to)
{
	int p[2];

	if (pipe(p) < 0)
		ways_failed("pipe");
	if (splice(from, off_from, p[1], NULL, RECORD_SIZE, 0) != RECORD_SIZE ||
	    splice(p[0], NULL, to, off_to, RECORD_SIZE, 0) != RECORD_SIZE)
		ways_failed("splice");
	close(p[0]);
	close(p[1]);
}

/* The record by that way. */
void
way_look(const struct ways *o, enum way w, uint64_t n, struct record *r)
{
	static _Alignas(4096) struct record bounce;
	off_t off = (off_t)(n * RECORD_SIZE), zero = 0;

	switch (w) {
	case MAPPED:
		memcpy(r, (char *)pinfs_addr(o->map) + off, RECORD_SIZE);
		break;
	case READ_BEFORE:
	case READ_AFTER:
		get_all(w == READ_BEFORE ? o->before : o->after, r, RECORD_SIZE, off);
		break;
	case DIRECT:
		get_all(o->direct, &bounce, RECORD_SIZE, off);
		*r = bounce;
		break;
	case SPLICE:
		splice_all(either(o, n), &off, o->spool, &zero);
		get_all(o->spool, r, RECORD_SIZE, 0);
		break;
	case SENDFILE:
		if (lseek(o->spool, 0, SEEK_SET) < 0 || sendfile(o->spool, either(o, n), &off, RECORD_SIZE) != RECORD_SIZE)
			ways_failed("sendfile");
		get_all(o->spool, r, RECORD_SIZE, 0);
		break;
	case COPY_RANGE:
		if (copy_file_range(either(o, n), &off, o->scratch, &zero, RECORD_SIZE, 0) != RECORD_SIZE)
			ways_failed("copy_file_range");
		get_all(o->scratch, r, RECORD_SIZE, 0);
		break;
	case WAYS:
		break;
	}
}

void
way_change(const struct ways *o, enum way w, uint64_t n, const struct record *r)
{
	static _Alignas(4096) struct record bounce;
	off_t off = (off_t)(n * RECORD_SIZE), zero = 0;

	switch (w) {
	case MAPPED:
		memcpy((char *)pinfs_addr(o->map) + off, r, RECORD_SIZE);
		break;
	case READ_BEFORE:
	case READ_AFTER:
		put_all(w == READ_BEFORE ? o->before : o->after, r, RECORD_SIZE, off);
		break;
	case DIRECT:
		bounce = *r;
		put_all(o->direct, &bounce, RECORD_SIZE, off);
		break;
	case SPLICE:
		put_all(o->spool, r, RECORD_SIZE, 0);
		splice_all(o->spool, &zero, either(o, n), &off);
		break;
	case SENDFILE:
		put_all(o->spool, r, RECORD_SIZE, 0);
		if (lseek(o->after, off, SEEK_SET) < 0 || sendfile(o->after, o->spool, &zero, RECORD_SIZE) != RECORD_SIZE)
			ways_failed("sendfile");
		break;
	case COPY_RANGE:
		put_all(o->scratch, r, RECORD_SIZE, 0);
		if (copy_file_range(o->scratch, &zero, either(o, n), &off, RECORD_SIZE, 0) != RECORD_SIZE)
			ways_failed("copy_file_range");
		break;
	case WAYS:
		break;
	}
}
