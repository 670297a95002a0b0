/* SPDX-License-Identifier: BSD-3-Clause */
/* pinctl map: the extents of a file, as a table and drawn as a strip.
 *
 * The strip shows the file from left to right; a cell that covers several states shows
 * the one that matters most (a pin over dirty over durable over a hole). */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <pinfs/pinfs.h>

#include "cli/cli.h"
#include "cli/pinctl.h"

struct extent_list {
	struct pinfs_extent *e;
	size_t n, room;
};

static int
append(struct extent_list *l, const struct pinfs_extent *e)
{
	if (l->n == l->room) {
		size_t room = l->room ? l->room * 2 : 256;
		struct pinfs_extent *more = reallocarray(l->e, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		l->e = more;
		l->room = room;
	}
	l->e[l->n++] = *e;
	return 0;
}

/* All extents of the file; those that come in pieces are joined. */
static int
list_extents(int fd, uint64_t size, struct extent_list *l)
{
	struct pinfs_extents *x = malloc(sizeof(*x));
	uint64_t off = 0;
	int err = x ? 0 : -ENOMEM;

	while (!err && off < size) {
		memset(x, 0, sizeof(*x));
		x->size = sizeof(*x);
		x->off = off;
		x->len = size - off;
		if (ioctl(fd, PINFS_IOC_EXTENTS, x) < 0) {
			err = -errno;
			break;
		}
		for (uint32_t i = 0; i < x->count && !err; i++)
			err = append(l, &x->extents[i]);
		if (x->count == 0 || x->next_off <= off)
			break;
		off = x->next_off;
	}
	free(x);
	return err;
}

/* In ascending order of what matters in a cell of the strip. */
static const struct {
	uint32_t bit;
	char mark;
	const char *name;
} states[] = {
	{ PINFS_EXTENT_HOLE, '.', "hole" },
	{ PINFS_EXTENT_UNWRITTEN, 'u', "unwritten" },
	{ PINFS_EXTENT_DURABLE, '=', "durable" },
	{ PINFS_EXTENT_SHARED, 's', "shared" },
	{ PINFS_EXTENT_DIRTY, '~', "dirty" },
	{ PINFS_EXTENT_RPINNED, 'R', "read-pinned" },
	{ PINFS_EXTENT_WPINNED, 'W', "write-pinned" },
};
#define NSTATES (sizeof(states) / sizeof(states[0]))

static size_t
rank(uint32_t flags)
{
	size_t r = 0;

	for (size_t i = 0; i < NSTATES; i++)
		if (flags & states[i].bit)
			r = i;
	return r;
}

static void
draw_strip(const struct extent_list *l, uint64_t size)
{
	enum { WIDTH = 64 };
	size_t best[WIDTH] = { 0 };
	uint64_t blocks = size / PINFS_BLOCK_SIZE + (size % PINFS_BLOCK_SIZE != 0);
	size_t width = blocks < WIDTH ? (size_t)blocks : WIDTH;
	uint32_t seen = 0;

	if (width == 0)
		return;
	for (size_t i = 0; i < l->n; i++) {
		uint64_t first = l->e[i].off / PINFS_BLOCK_SIZE;
		uint64_t last = (l->e[i].off + l->e[i].len - 1) / PINFS_BLOCK_SIZE;
		size_t r = rank(l->e[i].flags);

		if (last >= blocks)
			last = blocks - 1;
		for (size_t c = (size_t)((double)first / (double)blocks * (double)width);
		     c < width && c <= (size_t)((double)last / (double)blocks * (double)width); c++)
			if (r > best[c])
				best[c] = r;
	}
	putchar('[');
	for (size_t c = 0; c < width; c++) {
		putchar(states[best[c]].mark);
		seen |= 1u << best[c];
	}
	printf("]\n");
	for (size_t i = 0; i < NSTATES; i++)
		if (seen & 1u << i)
			printf(" %c %s ", states[i].mark, states[i].name);
	putchar('\n');
}

static void
print_flags(uint32_t flags, const char *sep, bool quote)
{
	const char *s = "";

	for (size_t i = 0; i < NSTATES; i++)
		if (flags & states[i].bit) {
			printf(quote ? "%s\"%s\"" : "%s%s", s, states[i].name);
			s = sep;
		}
}

static void
print_map(const char *path, const struct extent_list *l, uint64_t size)
{
	char buf[16];

	printf("%s: %s in %zu extent%s\n", path, cli_size(buf, size), l->n, l->n == 1 ? "" : "s");
	if (l->n)
		printf("%16s %16s %12s  %s\n", "file offset", "pool offset", "length", "state");
	for (size_t i = 0; i < l->n; i++) {
		const struct pinfs_extent *e = &l->e[i];

		printf("%16llu ", (unsigned long long)e->off);
		if (e->pool_off == PINFS_POOL_OFF_HOLE)
			printf("%16s ", "-");
		else
			printf("%16llu ", (unsigned long long)e->pool_off);
		printf("%12llu  ", (unsigned long long)e->len);
		print_flags(e->flags, ",", false);
		putchar('\n');
	}
	draw_strip(l, size);
}

static void
json_map(const struct extent_list *l, uint64_t size)
{
	printf("{\"size\":%llu,\"extents\":[", (unsigned long long)size);
	for (size_t i = 0; i < l->n; i++) {
		const struct pinfs_extent *e = &l->e[i];

		printf("%s{\"offset\":%llu,\"pool_offset\":", i ? "," : "", (unsigned long long)e->off);
		if (e->pool_off == PINFS_POOL_OFF_HOLE)
			printf("null");
		else
			printf("%llu", (unsigned long long)e->pool_off);
		printf(",\"length\":%llu,\"state\":[", (unsigned long long)e->len);
		print_flags(e->flags, ",", true);
		printf("]}");
	}
	printf("]}\n");
}

int
pinctl_map(const struct pinctl_args *a)
{
	const char *path = a->operand[0];
	struct pinfs_info in = { .size = sizeof(in) };
	struct extent_list l = { 0 };
	int fd = pinctl_open(path);
	int err = 0;

	if (fd < 0)
		return 1;
	if (ioctl(fd, PINFS_IOC_INFO, &in) < 0)
		err = -errno;
	else
		err = list_extents(fd, in.file_size, &l);
	close(fd);
	if (err < 0)
		pinctl_failed(path, "map", err);
	else if (pinctl_has(a, PINCTL_JSON))
		json_map(&l, in.file_size);
	else
		print_map(path, &l, in.file_size);
	free(l.e);
	return err < 0;
}
