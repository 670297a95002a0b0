/* SPDX-License-Identifier: BSD-3-Clause */
/* pinctl map: the extents of a file, as a table and drawn as a strip, with pins and leases below it.
 *
 * The strip shows the file from left to right; a cell that covers several states shows
 * the one that matters most (a pin over dirty over durable over a hole). Each pin and lease has a line under the
 * strip that shows what it covers. */
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
#include "cli/pinctl_list.h"

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

/* A strip of cells for the blocks of a file. */
struct strip {
	uint64_t blocks;
	size_t width;
};
enum { STRIP_MIN = 16, STRIP_MAX = 64, HOLDERS_MAX = 24 };

static struct strip
strip_for(uint64_t size)
{
	uint64_t blocks = size / PINFS_BLOCK_SIZE + (size % PINFS_BLOCK_SIZE != 0);
	int cols = terminal_width();
	size_t width = cols == 0 || cols > STRIP_MAX + 2 ? STRIP_MAX : cols < STRIP_MIN + 2 ? STRIP_MIN : (size_t)cols - 2;

	return (struct strip){ blocks, blocks < width ? (size_t)blocks : width };
}

static size_t
cell_of(const struct strip *s, uint64_t block)
{
	if (block >= s->blocks)
		block = s->blocks - 1;
	return (size_t)((double)block / (double)s->blocks * (double)s->width);
}

/* Each pin and lease under the strip: where it lies, and whose it is. */
static void
draw_holders(const struct strip *s, const struct listing *h)
{
	size_t drawn = 0;

	for (size_t k = 0; k < h->n; k++) {
		const struct pinfs_list_entry *e = &h->row[k].e;
		bool pin = e->kind == PINFS_LIST_PIN;
		size_t first, last;

		if (e->off / PINFS_BLOCK_SIZE >= s->blocks || e->len == 0)
			continue; /* behind the end of the file */
		if (drawn++ == HOLDERS_MAX)
			break;
		first = cell_of(s, e->off / PINFS_BLOCK_SIZE);
		last = cell_of(s, (e->off + e->len - 1) / PINFS_BLOCK_SIZE);
		putchar(' ');
		for (size_t c = 0; c < s->width; c++)
			putchar(c < first || c > last ? ' ' : first == last ? '|' : c == first ? '<' : c == last ? '>' : '-');
		printf("  %s %llu: pid %u (%s), ", pin ? "pin" : "lease", (unsigned long long)e->id, e->pid, h->row[k].command);
		if (pin)
			printf("%s, %s", name_of_access(e->access), name_of_class(e->type));
		else
			printf("%s", name_of_lease(e->type));
		printf("%s%s\n", e->state == PINFS_LEASE_HELD ? "" : ", ",
		    e->state == PINFS_LEASE_HELD ? "" : name_of_state(e->state));
	}
	if (drawn > HOLDERS_MAX)
		printf(" and more: see pinctl status\n");
}

static void
draw_strip(const struct strip *s, const struct extent_list *l)
{
	size_t best[STRIP_MAX] = { 0 };
	uint32_t seen = 0;

	for (size_t i = 0; i < l->n; i++) {
		uint64_t first = l->e[i].off / PINFS_BLOCK_SIZE;
		uint64_t last = (l->e[i].off + l->e[i].len - 1) / PINFS_BLOCK_SIZE;
		size_t r = rank(l->e[i].flags);

		for (size_t c = cell_of(s, first); c < s->width && c <= cell_of(s, last); c++)
			if (r > best[c])
				best[c] = r;
	}
	putchar('[');
	for (size_t c = 0; c < s->width; c++) {
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
print_map(const char *path, const struct extent_list *l, uint64_t size, const struct listing *h)
{
	struct strip s = strip_for(size);
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
	if (s.width == 0)
		return;
	draw_strip(&s, l);
	draw_holders(&s, h);
}

static void
json_map(const struct extent_list *l, uint64_t size, const struct listing *h)
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
	printf("],");
	listing_json(h, PINFS_LIST_PIN, "pins");
	putchar(',');
	listing_json(h, PINFS_LIST_LEASE, "leases");
	printf("}\n");
}

int
pinctl_map(const struct pinctl_args *a)
{
	const char *path = a->operand[0];
	struct pinfs_info in = { .size = sizeof(in) };
	struct extent_list l = { 0 };
	struct listing h = { 0 };
	int fd = pinctl_open(path);
	int err = 0;

	if (fd < 0)
		return 1;
	if (ioctl(fd, PINFS_IOC_INFO, &in) < 0)
		err = -errno;
	else
		err = list_extents(fd, in.file_size, &l);
	if (err == 0) {
		err = listing_get(&h, fd, false);
		if (err == -ENOTTY) /* an older daemon */
			err = 0;
	}
	close(fd);
	if (err < 0)
		pinctl_failed(path, "map", err);
	else if (pinctl_has(a, PINCTL_JSON))
		json_map(&l, in.file_size, &h);
	else
		print_map(path, &l, in.file_size, &h);
	free(l.e);
	listing_free(&h);
	return err < 0;
}
