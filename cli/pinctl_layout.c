/* SPDX-License-Identifier: BSD-3-Clause */
/* pinctl clone, exchange, punch, collapse, insert: operations on the layout of files, most of which no system call
 * carries to a FUSE filesystem. A request on two files goes to one of them, after an offer of the other
 * (PINFS_IOC_OFFER). */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <pinfs/pinfs.h>

#include "cli/cli.h"
#include "cli/pinctl.h"

/* What the library says of errors is about pins and mappings. */
static void
failed(const char *path, const char *what, int err)
{
	const char *text = strerror(-err);

	switch (-err) {
	case EINVAL:
		text = "offsets and lengths must be multiples of 4096 inside of the file; what is exchanged may end at the end "
		       "of both, what is collapsed or inserted may not";
		break;
	case EPERM:
		text = "the file is immutable or append-only";
		break;
	case EXDEV:
		text = "the files are on different mounts";
		break;
	case EFBIG:
	case ENOSPC:
		break;
	default:
		pinctl_failed(path, what, err);
		return;
	}
	cli_error(PINCTL_PROG, "%s: %s: %s", path, what, text);
}

/* Two operands from the n-th on. */
static int
range_operands(const struct pinctl_args *a, int n, uint64_t *off, uint64_t *len)
{
	int err = pinctl_size(a->operand[n], "offset", off);

	return err < 0 ? err : pinctl_size(a->operand[n + 1], "length", len);
}

static int
offer(int fd, uint8_t token[16])
{
	struct pinfs_offer o = { .size = sizeof(o) };

	if (ioctl(fd, PINFS_IOC_OFFER, &o) < 0)
		return -errno;
	memcpy(token, o.token, sizeof(o.token));
	return 0;
}

/* ---- one file ----------------------------------------------------------------------------------- */

static int
punch(int fd, uint64_t off, uint64_t len)
{
	if (off > INT64_MAX || len > INT64_MAX)
		return -EINVAL;
	return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len) < 0 ? -errno : 0;
}

static int
collapse(int fd, uint64_t off, uint64_t len)
{
	struct pinfs_range r = { .size = sizeof(r), .off = off, .len = len };

	return ioctl(fd, PINFS_IOC_COLLAPSE, &r) < 0 ? -errno : 0;
}

static int
insert(int fd, uint64_t off, uint64_t len)
{
	struct pinfs_range r = { .size = sizeof(r), .off = off, .len = len };

	return ioctl(fd, PINFS_IOC_INSERT, &r) < 0 ? -errno : 0;
}

static int
on_range(const struct pinctl_args *a, const char *what, int (*run)(int fd, uint64_t off, uint64_t len))
{
	const char *path = a->operand[0];
	uint64_t off, len;
	struct stat sb;
	int fd, err;

	if (range_operands(a, 1, &off, &len) < 0)
		return PINCTL_USAGE;
	fd = pinctl_open_file(path, O_RDWR, 0, &sb);
	if (fd < 0)
		return 1;
	err = run(fd, off, len);
	if (err == 0 && fstat(fd, &sb) < 0)
		err = -errno;
	close(fd);
	if (err < 0) {
		failed(path, what, err);
		return 1;
	}
	if (pinctl_has(a, PINCTL_JSON))
		printf("{\"operation\":\"%s\",\"offset\":%llu,\"length\":%llu,\"size\":%llu}\n", what,
		    (unsigned long long)off, (unsigned long long)len, (unsigned long long)sb.st_size);
	return 0;
}

int
pinctl_punch(const struct pinctl_args *a)
{
	return on_range(a, "punch", punch);
}

int
pinctl_collapse(const struct pinctl_args *a)
{
	return on_range(a, "collapse", collapse);
}

int
pinctl_insert(const struct pinctl_args *a)
{
	return on_range(a, "insert", insert);
}

/* ---- two files ----------------------------------------------------------------------------------- */

/* All of src into dst, which may have been longer. */
static int
clone_file(int src, off_t size, int dst, off_t old_size)
{
	struct pinfs_clone c = { .size = sizeof(c) };
	int err = offer(src, c.token);

	/* a last block that is not full must become the last one there, too */
	if (err == 0 && old_size > size && ftruncate(dst, size) < 0)
		err = -errno;
	if (err == 0 && ioctl(dst, PINFS_IOC_CLONE, &c) < 0)
		err = -errno;
	return err;
}

int
pinctl_clone(const struct pinctl_args *a)
{
	const char *from = a->operand[0], *to = a->operand[1];
	struct stat s, d;
	bool is_new;
	int src, dst, err;

	src = pinctl_open_file(from, O_RDONLY, 0, &s);
	if (src < 0)
		return 1;
	is_new = access(to, F_OK) < 0 && errno == ENOENT;
	dst = pinctl_open_file(to, O_RDWR | O_CREAT | (is_new ? O_EXCL : 0), s.st_mode & 0777, &d);
	if (dst < 0) {
		close(src);
		return 1;
	}
	if (s.st_dev != d.st_dev)
		err = -EXDEV;
	else
		err = s.st_ino == d.st_ino ? -EINVAL : clone_file(src, s.st_size, dst, d.st_size);
	close(src);
	close(dst);
	if (err < 0) {
		if (is_new)
			unlink(to);
		failed(to, "clone", err);
		return 1;
	}
	if (pinctl_has(a, PINCTL_JSON))
		printf("{\"operation\":\"clone\",\"size\":%llu}\n", (unsigned long long)s.st_size);
	return 0;
}

static int
exchange_files(int fd, int other, uint64_t off, uint64_t len)
{
	struct pinfs_exchange x = { .size = sizeof(x), .off = off, .other_off = off, .len = len };
	int err = offer(other, x.token);

	if (err == 0 && ioctl(fd, PINFS_IOC_EXCHANGE, &x) < 0)
		err = -errno;
	return err;
}

int
pinctl_exchange(const struct pinctl_args *a)
{
	uint64_t off = 0, len = 0;
	struct stat sa, sb;
	int fd, other, err;

	if (a->operands == 3) {
		cli_usage_error(PINCTL_PROG, "exchange takes an offset and a length, or neither");
		return PINCTL_USAGE;
	}
	if (a->operands == 4 && range_operands(a, 2, &off, &len) < 0)
		return PINCTL_USAGE;
	if (a->operands == 4 && len == 0) {
		cli_usage_error(PINCTL_PROG, "length '%s': nothing to exchange", a->operand[3]);
		return PINCTL_USAGE;
	}
	fd = pinctl_open_file(a->operand[0], O_RDWR, 0, &sa);
	if (fd < 0)
		return 1;
	other = pinctl_open_file(a->operand[1], O_RDWR, 0, &sb);
	if (other < 0) {
		close(fd);
		return 1;
	}
	err = sa.st_dev != sb.st_dev ? -EXDEV : exchange_files(fd, other, off, len);
	close(fd);
	close(other);
	if (err < 0) {
		failed(a->operand[0], "exchange", err);
		return 1;
	}
	if (pinctl_has(a, PINCTL_JSON))
		printf("{\"operation\":\"exchange\",\"offset\":%llu,\"length\":%llu}\n", (unsigned long long)off,
		    (unsigned long long)len);
	return 0;
}
