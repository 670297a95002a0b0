/* SPDX-License-Identifier: BSD-3-Clause */
/* Operations: made at random, printed and parsed.
 *
 * An operation is concrete (paths, offsets, slots), so any part of a sequence can be left out
 * and the rest still means something: that is what shrinking needs. Making one looks at
 * the model, so that most of them find the file they need; some are meant to fail.
 */
#include "tests/model/model.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

/* The last has 255 bytes, as many as a name may have. */
static const char *const names[NNAMES - 1] = { "a", "b", "c", "\xc3\xa9t\xc3\xa9", "name with blanks" };

const char *
name_text(unsigned name)
{
	static char longest[256];

	if (name < NNAMES - 1)
		return names[name];
	memset(longest, 'L', 255);
	return longest;
}

const char *
xattr_name(unsigned n)
{
	static const char *const x[NXATTRS] = { "user.one", "user.two", "user.a-longer-name.with.dots" };

	return x[n % NXATTRS];
}

const char *
path_text(const struct mpath *p, char buf[PATH_SIZE])
{
	size_t at = 0;

	buf[0] = 0;
	for (unsigned k = 0; k < p->n; k++)
		at += (size_t)snprintf(buf + at, PATH_SIZE - at, "%s%s", k ? "/" : "", name_text(p->name[k]));
	return buf;
}

void
pattern(void *buf, size_t len, unsigned seed)
{
	uint8_t *p = buf;

	for (size_t k = 0; k < len; k++)
		p[k] = (uint8_t)(1 + (seed * 37u + k + k / 4096 * 7) % 255);
}

uint64_t
random_next(uint64_t *rng)
{
	uint64_t x = *rng;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*rng = x;
	return x * 0x2545f4914f6cdd1du;
}

static unsigned
below(uint64_t *rng, unsigned n)
{
	return (unsigned)((random_next(rng) >> 32) % n);
}

/* A path that exists, of that type if there is one (NODE_FREE: any); by a random walk. */
static struct mpath
existing(const struct state *st, enum node_type type, uint64_t *rng)
{
	struct mpath p = { 0 }, best = { 0 };
	int node = 0;

	for (unsigned tries = 0; tries < 4; tries++) {
		p.n = 0;
		node = 0;
		while (p.n < DEPTH) {
			unsigned first = below(rng, NNAMES);
			int next = -1;

			for (unsigned k = 0; k < NNAMES && next < 0; k++) {
				p.name[p.n] = (uint8_t)((first + k) % NNAMES);
				next = st->node[node].meta.entry[p.name[p.n]];
			}
			if (next < 0)
				break;
			p.n++;
			node = next;
			best = p;
			if (st->node[node].meta.type != NODE_DIR)
				break;
			if (type != NODE_FILE && below(rng, 2))
				break;
		}
		if (p.n && (type == NODE_FREE || st->node[node].meta.type == type))
			return p;
	}
	if (!best.n) {
		best.n = 1;
		best.name[0] = (uint8_t)below(rng, NNAMES);
	}
	return best;
}

/* A path for something new: a name in an existing directory. */
static struct mpath
fresh(const struct state *st, uint64_t *rng)
{
	struct mpath p = { 0 };
	int node = 0;

	while (p.n + 1 < DEPTH && below(rng, 3)) {
		unsigned name = below(rng, NNAMES);
		int next = st->node[node].meta.entry[name];

		if (next < 0 || st->node[next].meta.type != NODE_DIR)
			break;
		p.name[p.n++] = (uint8_t)name;
		node = next;
	}
	p.name[p.n++] = (uint8_t)below(rng, NNAMES);
	return p;
}

/* Any path at all: one in ten operations takes such a one. */
static struct mpath
any_path(uint64_t *rng)
{
	struct mpath p = { .n = (uint8_t)(1 + below(rng, DEPTH)) };

	for (unsigned k = 0; k < p.n; k++)
		p.name[k] = (uint8_t)below(rng, NNAMES);
	return p;
}

/* An offset up to max with a liking for block boundaries. */
static uint64_t
offset(uint64_t *rng, uint64_t max)
{
	uint64_t off = random_next(rng) % (max + 1);

	switch (below(rng, 4)) {
	case 0:
		return off / 4096 * 4096;
	case 1:
		off = off / 4096 * 4096 + below(rng, 3);
		return off > 0 && off <= max + 1 ? off - 1 : 0;
	default:
		return off;
	}
}

static uint64_t
length(uint64_t *rng, uint64_t off)
{
	uint64_t room = FILE_MAX - off, len;

	switch (below(rng, 4)) {
	case 0:
		len = below(rng, 200);
		break;
	case 1:
		len = 4096 * below(rng, 5);
		break;
	default:
		len = below(rng, 40000);
		break;
	}
	return len < room ? len : room;
}

static unsigned
open_slot(const struct state *st, uint64_t *rng)
{
	unsigned s = below(rng, NSLOTS);

	for (unsigned k = 0; k < NSLOTS; k++)
		if (st->slot[(s + k) % NSLOTS] >= 0)
			return (s + k) % NSLOTS;
	return s;
}

static unsigned
mapped_slot(const struct state *st, uint64_t *rng)
{
	unsigned s = below(rng, NSLOTS);

	for (unsigned k = 0; k < NSLOTS; k++)
		if (st->mapped[(s + k) % NSLOTS])
			return (s + k) % NSLOTS;
	return s;
}

static const struct {
	enum op_kind kind;
	unsigned weight;
} weights[] = {
	{ OP_OPEN, 130 }, { OP_CLOSE, 40 }, { OP_WRITE, 160 }, { OP_READ, 40 }, { OP_TRUNCATE, 40 },
	{ OP_FALLOCATE, 60 }, { OP_COPY, 40 }, { OP_COLLAPSE, 15 }, { OP_INSERT, 15 }, { OP_EXCHANGE, 20 },
	{ OP_MAP, 20 }, { OP_STORE, 60 }, { OP_UNMAP, 15 }, { OP_FSYNC, 50 },
	{ OP_MKDIR, 40 }, { OP_SYMLINK, 15 }, { OP_LINK, 30 }, { OP_UNLINK, 50 }, { OP_RMDIR, 20 }, { OP_RENAME, 60 },
	{ OP_SETXATTR, 40 }, { OP_RMXATTR, 15 }, { OP_SYNC, 6 }, { OP_CHECK, 8 }, { OP_REMOUNT, 3 }, { OP_CRASH, 4 },
};

static enum op_kind
random_kind(uint64_t *rng)
{
	unsigned total = 0, r;

	for (size_t k = 0; k < sizeof(weights) / sizeof(weights[0]); k++)
		total += weights[k].weight;
	r = below(rng, total);
	for (size_t k = 0;; k++) {
		if (r < weights[k].weight)
			return weights[k].kind;
		r -= weights[k].weight;
	}
}

/* Mostly a range that can be moved: aligned, within a file of that size. */
static void
movable(struct op *op, uint64_t size, uint64_t *rng)
{
	if (below(rng, 10) == 0)
		return;
	op->off = size ? random_next(rng) % size / 4096 * 4096 : 0;
	op->off2 = below(rng, 2) ? op->off : size ? random_next(rng) % size / 4096 * 4096 : 0;
	op->len = below(rng, 4) ? 4096 * (1 + (uint64_t)below(rng, 8)) : 0;
}

static uint64_t
size_of_slot(const struct state *st, unsigned slot)
{
	return st->slot[slot] >= 0 ? st->node[st->slot[slot]].live->size : 0;
}

void
op_random(struct op *op, const struct state *st, uint64_t *rng)
{
	static const unsigned modes[] = {
		0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
	};
	static const unsigned rename_flags[] = { 0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE };
	static const unsigned xattr_flags[] = { 0, 0, XATTR_CREATE, XATTR_REPLACE };

	memset(op, 0, sizeof(*op));
	op->kind = random_kind(rng);
	op->slot = open_slot(st, rng);
	op->slot2 = open_slot(st, rng);
	op->seed = below(rng, 1000000);
	op->off = offset(rng, FILE_MAX);
	op->off2 = offset(rng, FILE_MAX);
	op->len = length(rng, op->off > op->off2 ? op->off : op->off2);
	op->path = existing(st, NODE_FREE, rng);
	op->path2 = below(rng, 3) ? fresh(st, rng) : existing(st, NODE_FREE, rng);
	switch (op->kind) {
	case OP_OPEN:
		op->slot = below(rng, NSLOTS);
		op->flags = below(rng, 3) > 0;
		op->path = op->flags && below(rng, 2) ? fresh(st, rng) : existing(st, NODE_FILE, rng);
		break;
	case OP_WRITE:
		op->len = length(rng, op->off);
		if (!op->len)
			op->len = 1;
		if (op->len > FILE_MAX - op->off)
			op->off = FILE_MAX - op->len;
		break;
	case OP_TRUNCATE:
		op->len = offset(rng, FILE_MAX);
		break;
	case OP_FALLOCATE:
		op->flags = modes[below(rng, sizeof(modes) / sizeof(modes[0]))];
		break;
	case OP_COLLAPSE:
	case OP_INSERT:
	case OP_EXCHANGE:
		movable(op, size_of_slot(st, op->slot), rng);
		break;
	case OP_STORE:
		op->slot = mapped_slot(st, rng);
		break;
	case OP_UNMAP:
		op->slot = mapped_slot(st, rng);
		break;
	case OP_MKDIR:
	case OP_SYMLINK:
		op->path = fresh(st, rng);
		break;
	case OP_LINK:
		op->path = existing(st, below(rng, 8) ? NODE_FILE : NODE_FREE, rng);
		break;
	case OP_RMDIR:
		op->path = existing(st, below(rng, 8) ? NODE_DIR : NODE_FREE, rng);
		break;
	case OP_RENAME:
		op->flags = rename_flags[below(rng, 5)];
		break;
	case OP_SETXATTR:
		op->len = below(rng, 3) ? below(rng, 60) : below(rng, XATTR_LEN_MAX);
		op->flags = xattr_flags[below(rng, 4)];
		op->slot2 = below(rng, NXATTRS);
		break;
	case OP_RMXATTR:
		op->slot2 = below(rng, NXATTRS);
		break;
	default:
		break;
	}
	if (below(rng, 10) == 0)
		op->path = any_path(rng);
	if (below(rng, 10) == 0)
		op->path2 = any_path(rng);
}

/* ---- text: one line, the name and the operands that the operation uses ---------- */

static const struct {
	const char *name;
	const char *operands; /* s slot, S slot2, p path, P path2, o off, O off2, l len, f flags, x seed */
} forms[OP_KINDS] = {
	[OP_OPEN] = { "open", "spf" },
	[OP_CLOSE] = { "close", "s" },
	[OP_WRITE] = { "write", "solx" },
	[OP_READ] = { "read", "s" },
	[OP_TRUNCATE] = { "truncate", "sl" },
	[OP_FALLOCATE] = { "fallocate", "solf" },
	[OP_COPY] = { "copy", "soSOl" },
	[OP_COLLAPSE] = { "collapse", "sol" },
	[OP_INSERT] = { "insert", "sol" },
	[OP_EXCHANGE] = { "exchange", "soSOl" },
	[OP_MAP] = { "map", "s" },
	[OP_STORE] = { "store", "solx" },
	[OP_UNMAP] = { "unmap", "s" },
	[OP_FSYNC] = { "fsync", "s" },
	[OP_MKDIR] = { "mkdir", "p" },
	[OP_SYMLINK] = { "symlink", "px" },
	[OP_LINK] = { "link", "pP" },
	[OP_UNLINK] = { "unlink", "p" },
	[OP_RMDIR] = { "rmdir", "p" },
	[OP_RENAME] = { "rename", "pPf" },
	[OP_SETXATTR] = { "setxattr", "pSlxf" },
	[OP_RMXATTR] = { "rmxattr", "pS" },
	[OP_SYNC] = { "sync", "" },
	[OP_CHECK] = { "check", "" },
	[OP_REMOUNT] = { "remount", "" },
	[OP_CRASH] = { "crash", "" },
};

static void
print_path(FILE *f, const struct mpath *p)
{
	fputc(' ', f);
	for (unsigned k = 0; k < p->n; k++)
		fprintf(f, "/%u", p->name[k]);
}

void
op_print(FILE *f, const struct op *op)
{
	fputs(forms[op->kind].name, f);
	for (const char *c = forms[op->kind].operands; *c; c++) {
		if (*c == 'p')
			print_path(f, &op->path);
		else if (*c == 'P')
			print_path(f, &op->path2);
		else
			fprintf(f, " %llu", (unsigned long long)(*c == 's' ? op->slot : *c == 'S' ? op->slot2 :
			    *c == 'o' ? op->off : *c == 'O' ? op->off2 : *c == 'l' ? op->len :
			    *c == 'f' ? op->flags : op->seed));
	}
	fputc('\n', f);
}

static bool
parse_path(struct mpath *p, const char **s)
{
	char *end;

	p->n = 0;
	while (**s == '/') {
		unsigned long v = strtoul(*s + 1, &end, 10);

		if (end == *s + 1 || v >= NNAMES || p->n == DEPTH)
			return false;
		p->name[p->n++] = (uint8_t)v;
		*s = end;
	}
	return p->n > 0;
}

bool
op_parse(struct op *op, const char *line)
{
	char word[16] = "";
	int at = 0;
	const char *s;

	memset(op, 0, sizeof(*op));
	if (sscanf(line, "%15s%n", word, &at) < 1)
		return false;
	for (op->kind = 0; op->kind < OP_KINDS; op->kind++)
		if (strcmp(forms[op->kind].name, word) == 0)
			break;
	if (op->kind == OP_KINDS)
		return false;
	s = line + at;
	for (const char *c = forms[op->kind].operands; *c; c++) {
		unsigned long long v;
		char *end;

		while (*s == ' ')
			s++;
		if (*c == 'p' || *c == 'P') {
			if (!parse_path(*c == 'p' ? &op->path : &op->path2, &s))
				return false;
			continue;
		}
		v = strtoull(s, &end, 10);
		if (end == s)
			return false;
		s = end;
		if (*c == 'o')
			op->off = v;
		else if (*c == 'O')
			op->off2 = v;
		else if (*c == 'l')
			op->len = v;
		else if (*c == 's')
			op->slot = (unsigned)v % NSLOTS;
		else if (*c == 'S')
			op->slot2 = (unsigned)v % NSLOTS;
		else if (*c == 'f')
			op->flags = (unsigned)v;
		else
			op->seed = (unsigned)v;
	}
	return op->off <= FILE_MAX && op->off2 <= FILE_MAX && op->len <= FILE_MAX;
}
