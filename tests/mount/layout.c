/* SPDX-License-Identifier: BSD-3-Clause */
/* For layout.sh, what pinctl does not show: offers that are no good, and pages of a shared mapping of the kernel's that
 * nobody has written back when their place in the file changes. layout DIRECTORY */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <pinfs/ioctl.h>

#define BLK 4096

static unsigned failures;

static void
check(const char *what, long got, long want)
{
	if (got == want)
		return;
	printf("%s: %ld, not %ld\n", what, got, want);
	failures++;
}

static int
file(const char *name, const char *blocks, int flags)
{
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0644);
	char buf[BLK];

	for (; fd >= 0 && *blocks; blocks++) {
		memset(buf, *blocks, BLK);
		if (write(fd, buf, BLK) != BLK)
			break;
	}
	if (fd < 0 || *blocks) {
		perror(name);
		exit(1);
	}
	if (flags != O_RDWR) {
		close(fd);
		fd = open(name, flags);
	}
	return fd;
}

static void
expect(const char *what, int fd, const char *blocks)
{
	struct stat sb;
	char buf[BLK];

	fstat(fd, &sb);
	check(what, sb.st_size, (long)strlen(blocks) * BLK);
	for (off_t off = 0; *blocks; blocks++, off += BLK) {
		if (pread(fd, buf, BLK, off) != BLK)
			memset(buf, '?', BLK);
		for (size_t k = 0; k < BLK; k += BLK - 1)
			if (buf[k] != (*blocks == '.' ? 0 : *blocks)) {
				printf("%s: block %ld has '%c', not '%c'\n", what, (long)(off / BLK), buf[k], *blocks);
				failures++;
			}
	}
}

static int
request(int fd, unsigned long cmd, void *arg)
{
	return ioctl(fd, cmd, arg) < 0 ? errno : 0;
}

static struct pinfs_offer
offer(int fd)
{
	struct pinfs_offer o = { .size = sizeof(o) };

	check("offer", request(fd, PINFS_IOC_OFFER, &o), 0);
	return o;
}

static int
clone_with(int fd, const struct pinfs_offer *o)
{
	struct pinfs_clone c = { .size = sizeof(c) };

	memcpy(c.token, o->token, sizeof(c.token));
	return request(fd, PINFS_IOC_CLONE, &c);
}

static int
exchange_with(int fd, const struct pinfs_offer *o, uint64_t off, uint64_t len)
{
	struct pinfs_exchange x = { .size = sizeof(x), .off = off, .other_off = off, .len = len };

	memcpy(x.token, o->token, sizeof(x.token));
	return request(fd, PINFS_IOC_EXCHANGE, &x);
}

static void
offers(void)
{
	int a = file("a", "abc", O_RDONLY), b = file("b", "xyz", O_RDWR);
	int again = open("a", O_RDONLY), dir = open(".", O_RDONLY);
	struct pinfs_offer o = { .size = sizeof(o) }, old, wo;
	int w = open("a", O_WRONLY);

	check("a token that was never made", clone_with(b, &o), ESTALE);
	o = offer(a);
	check("clone", clone_with(b, &o), 0);
	check("the same token again", clone_with(b, &o), ESTALE);
	expect("the clone", b, "abc");
	old = offer(a);
	o = offer(a);
	check("an offer that was replaced", clone_with(b, &old), ESTALE);
	/* a failed use is a use */
	check("exchange with a file open for reading", exchange_with(b, &o, 0, BLK), EBADF);
	check("a token after a failure", clone_with(b, &o), ESTALE);
	o = offer(again);
	close(again);
	check("an offer of a closed file", clone_with(b, &o), ESTALE);
	wo = offer(w);
	check("clone of a file open for writing only", clone_with(b, &wo), EBADF);
	check("offer of a directory", request(dir, PINFS_IOC_OFFER, &old), EINVAL);
	memset(old.token, 0, sizeof(old.token));
	check("offer of a directory", request(dir, PINFS_IOC_OFFER, &old), EISDIR);
	o = offer(a);
	check("clone into a directory", clone_with(dir, &o), EISDIR);
	old.flags = 1;
	check("unknown flag", request(a, PINFS_IOC_OFFER, &old), EINVAL);
	old.flags = 0;
	old.reserved[1] = 1;
	check("reserved field", request(a, PINFS_IOC_OFFER, &old), EINVAL);
	check("another size", request(a, _IOWR(PINFS_IOC_MAGIC, _IOC_NR(PINFS_IOC_OFFER), uint64_t), &old), EINVAL);
	close(a);
	close(b);
	close(w);
	close(dir);
}

/* Many at a time, each of its own file. */
static void
many_offers(void)
{
	enum { N = 100 };
	struct pinfs_offer o[N];
	int src[N], b = file("b", "x", O_RDWR);

	file("a", "q", O_RDWR);
	for (int k = 0; k < N; k++) {
		src[k] = open("a", O_RDONLY);
		o[k] = offer(src[k]);
	}
	for (int k = 0; k < N; k += 2)
		close(src[k]);
	for (int k = 0; k < N; k++)
		check("one of many", clone_with(b, &o[k]), k % 2 ? 0 : ESTALE);
	for (int k = 1; k < N; k += 2)
		close(src[k]);
	expect("the last clone", b, "q");
	close(b);
}

static char *
map(int fd, size_t blocks)
{
	char *p = mmap(NULL, blocks * BLK, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	return p;
}

static void
dirty_pages(void)
{
	struct pinfs_range r = { .size = sizeof(r), .off = BLK, .len = BLK };
	int a = file("a", "abcde", O_RDWR), b = file("b", "vwxyz", O_RDWR);
	char *pa = map(a, 5), *pb = map(b, 5);
	struct pinfs_offer o;

	memset(pa + 3 * BLK, 'D', BLK);
	check("collapse", request(a, PINFS_IOC_COLLAPSE, &r), 0);
	expect("collapse of a file with dirty pages", a, "acDe");
	check("a page of the mapping", pa[2 * BLK], 'D');
	memset(pa + 3 * BLK, 'E', BLK);
	check("insert", request(a, PINFS_IOC_INSERT, &r), 0);
	expect("insert into a file with dirty pages", a, "a.cDE");
	memset(pa + 2 * BLK, 'C', BLK);
	memset(pb + 2 * BLK, 'X', BLK);
	o = offer(a);
	check("exchange", exchange_with(b, &o, 0, 3 * BLK), 0);
	expect("exchange of dirty pages", a, "vwXDE");
	expect("exchange of dirty pages", b, "a.Cyz");
	check("a page of the mapping", pa[2 * BLK], 'X');
	memset(pa, 'V', BLK);
	o = offer(a);
	check("clone", clone_with(b, &o), 0);
	expect("clone of dirty pages", b, "VwXDE");
	check("a page of the mapping", pb[0], 'V');
	munmap(pa, 5 * BLK);
	munmap(pb, 5 * BLK);
	close(a);
	close(b);
}

int
main(int argc, char **argv)
{
	if (argc != 2 || chdir(argv[1]) < 0) {
		fprintf(stderr, "usage: layout DIRECTORY\n");
		return 2;
	}
	offers();
	many_offers();
	dirty_pages();
	return failures ? 1 : 0;
}
