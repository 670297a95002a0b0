/* SPDX-License-Identifier: BSD-3-Clause */
/* pinctl top: a mount, live, on the whole screen.
 *
 * Once a second (--interval) it asks for status and listing and draws all of it; rates are the differences of
 * counters over the time between. Leases that are being broken come first, then pins and leases by age; a key
 * leaves out the one or the other. If the daemon goes away the last picture stays, and says so.
 */
#include "config.h"

#include <errno.h>
#include <limits.h>
#include <locale.h>
#include <ncurses.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <pinfs/pinfs.h>

#include "cli/cli.h"
#include "cli/pinctl.h"
#include "cli/pinctl_list.h"

struct view {
	const char *path;
	int fd;
	struct pinfs_status st, before;
	int64_t at_ms, before_ms;   /* when they were asked for */
	struct listing list;
	bool list_unknown;          /* the daemon can't tell */
	int err;                    /* of the last look */
	bool pins, leases;          /* what is shown of the table */
	size_t first;               /* row of the table that is shown first */
};

static int64_t
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void
look(struct view *v)
{
	static struct pinfs_status st;
	int err = pinfs_get_status(v->fd, &st);

	if (err == 0) {
		v->before = v->st;
		v->before_ms = v->at_ms;
		v->st = st;
		v->at_ms = now_ms();
		err = listing_get(&v->list, v->fd, true);
		v->list_unknown = err == -ENOTTY;
		if (v->list_unknown)
			err = 0;
	}
	v->err = err;
}

/* Of a counter; 0 before there are two looks. */
static double
per_second(const struct view *v, uint64_t now, uint64_t before)
{
	double s = (double)(v->at_ms - v->before_ms) / 1000;

	return v->before_ms && s > 0 && now >= before ? (double)(now - before) / s : 0;
}

/* ---- drawing --------------------------------------------------------------------------------------------- */

static void
line(int y, attr_t attr, const char *text)
{
	if (y >= LINES)
		return;
	attron(attr);
	mvaddnstr(y, 0, text, COLS);
	attroff(attr);
	clrtoeol();
}

static int
draw_head(const struct view *v)
{
	const struct pinfs_status *s = &v->st;
	static char buf[PATH_MAX + 4096 + 128];
	char a[16], b[16], c[16], d[16];
	unsigned breaking = 0;
	int y = 0;

	for (size_t k = 0; k < v->list.n; k++)
		breaking += v->list.row[k].e.kind == PINFS_LIST_LEASE && v->list.row[k].e.state == PINFS_LEASE_BREAKING;
	snprintf(buf, sizeof(buf), "%.*s  pool %s, %s%s, daemon %u", PATH_MAX, v->path, s->pool_path, pinctl_domain(s->domain),
	    s->readonly ? ", read-only" : "", s->daemon_pid);
	line(y++, A_BOLD, buf);
	if (v->err)
		snprintf(buf, sizeof(buf), "NO ANSWER: %s", pinfs_strerror(v->err));
	else
		snprintf(buf, sizeof(buf), "space   %8s free of %s, %s reserved, %s quarantined",
		    cli_size(a, s->free_blocks * s->block_size), cli_size(b, s->total_blocks * s->block_size),
		    cli_size(c, s->reserved_blocks * s->block_size), cli_size(d, s->quarantined_blocks * s->block_size));
	line(y++, v->err ? A_REVERSE : s->quarantined_blocks ? A_BOLD : A_NORMAL, buf);
	snprintf(buf, sizeof(buf), "pins    %8llu over %s", (unsigned long long)s->pins,
	    cli_size(a, s->pinned_blocks * s->block_size));
	line(y++, A_NORMAL, buf);
	snprintf(buf, sizeof(buf), "leases  %8llu, %u breaking, %llu requests parked; so far %llu breaks, %llu revoked",
	    (unsigned long long)s->leases, breaking, (unsigned long long)s->parked, (unsigned long long)s->lease_breaks,
	    (unsigned long long)s->lease_revocations);
	line(y++, breaking ? A_BOLD : A_NORMAL, buf);
	snprintf(buf, sizeof(buf), "per s   %8.0f blocks bounced, %.0f written back, %.0f commits, %.0f requests",
	    per_second(v, s->bounced_blocks, v->before.bounced_blocks),
	    per_second(v, s->written_blocks, v->before.written_blocks), per_second(v, s->commits, v->before.commits),
	    per_second(v, s->requests, v->before.requests));
	line(y++, A_NORMAL, buf);
	line(y++, A_NORMAL, "");
	return y;
}

static bool
shown(const struct view *v, const struct list_row *r)
{
	return r->e.kind == PINFS_LIST_PIN ? v->pins : v->leases;
}

static attr_t
attr_of(const struct list_row *r)
{
	return r->e.state == PINFS_LEASE_BREAKING ? A_BOLD | A_REVERSE : r->e.state == PINFS_LEASE_REVOKED ? A_BOLD : A_NORMAL;
}

/* One kind, from row *skip of what is left to skip on; returns the next free line. */
static int
draw_table(const struct view *v, int y, unsigned kind, size_t *skip)
{
	char buf[PATH_MAX + 256];
	bool any = false;

	for (size_t k = 0; k < v->list.n && y < LINES - 1; k++) {
		const struct list_row *r = &v->list.row[k];

		if (r->e.kind != kind)
			continue;
		if (!any) {
			listing_heading(buf, sizeof(buf), kind, COLS);
			line(y++, A_UNDERLINE, buf);
			any = true;
		}
		if (*skip > 0) {
			(*skip)--;
			continue;
		}
		listing_format(buf, sizeof(buf), r, COLS);
		if (y < LINES - 1)
			line(y++, attr_of(r), buf);
	}
	if (any && y < LINES - 1)
		line(y++, A_NORMAL, "");
	return y;
}

static void
draw(struct view *v)
{
	size_t rows = 0, skip;
	int y = draw_head(v);

	for (size_t k = 0; k < v->list.n; k++)
		rows += shown(v, &v->list.row[k]);
	if (v->first >= rows)
		v->first = rows ? rows - 1 : 0;
	skip = v->first;
	if (v->leases)
		y = draw_table(v, y, PINFS_LIST_LEASE, &skip);
	if (v->pins)
		y = draw_table(v, y, PINFS_LIST_PIN, &skip);
	if (rows == 0)
		line(y++, A_NORMAL, v->list_unknown ? "This daemon can't list pins and leases." :
		    v->pins && v->leases	    ? "No pins and no leases." :
		    v->pins			    ? "No pins." :
						      "No leases.");
	while (y < LINES - 1)
		line(y++, A_NORMAL, "");
	line(LINES - 1, A_REVERSE, " q quit   p pins only   l leases only   a all   up, down, page: scroll ");
	refresh();
}

/* ---- keys ------------------------------------------------------------------------------------------------ */

/* false: quit */
static bool
key(struct view *v, int c)
{
	size_t page = LINES > 10 ? (size_t)LINES - 9 : 1;

	switch (c) {
	case 'q':
	case 'Q':
	case 27: /* Esc */
		return false;
	case 'a':
		v->pins = v->leases = true;
		break;
	case 'p':
		v->pins = true;
		v->leases = false;
		break;
	case 'l':
		v->pins = false;
		v->leases = true;
		break;
	case KEY_DOWN:
	case 'j':
		v->first++;
		break;
	case KEY_NPAGE:
	case ' ':
		v->first += page;
		break;
	case KEY_UP:
	case 'k':
		v->first -= v->first ? 1 : 0;
		break;
	case KEY_PPAGE:
		v->first -= v->first < page ? v->first : page;
		break;
	case KEY_HOME:
		v->first = 0;
		break;
	}
	return true;
}

static void
run(struct view *v, int interval_ms)
{
	int64_t next = now_ms() + interval_ms; /* it has looked once */

	for (;;) {
		int64_t wait = next - now_ms();
		int c;

		if (wait <= 0) {
			look(v);
			next = now_ms() + interval_ms;
			wait = interval_ms;
		}
		draw(v);
		timeout((int)wait);
		c = getch();
		if (c != ERR && !key(v, c))
			return;
	}
}

static int
take_interval(const struct pinctl_args *a)
{
	double s = 1;
	char *end;

	if (!pinctl_has(a, PINCTL_INTERVAL))
		return 1000;
	s = strtod(a->value[PINCTL_INTERVAL], &end);
	if (*end || end == a->value[PINCTL_INTERVAL] || !(s >= 0.1 && s <= 3600)) {
		cli_usage_error(PINCTL_PROG, "'%s' is no interval: seconds, 0.1 to 3600", a->value[PINCTL_INTERVAL]);
		return -EINVAL;
	}
	return (int)(s * 1000);
}

int
pinctl_top(const struct pinctl_args *a)
{
	static struct view v; /* it holds paths: too large for comfort on a stack */
	int interval = take_interval(a);

	if (interval < 0)
		return PINCTL_USAGE;
	v = (struct view){ .path = a->operand[0], .pins = true, .leases = true };
	v.fd = pinctl_open(v.path);
	if (v.fd < 0)
		return 1;
	look(&v);
	if (v.err) {
		pinctl_failed(v.path, "top", v.err);
		close(v.fd);
		return 1;
	}
	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
		cli_error(PINCTL_PROG, "top needs a terminal: 'pinctl status --json' is for programs");
		close(v.fd);
		return 1;
	}
	setlocale(LC_ALL, "");
	if (!newterm(NULL, stdout, stdin)) {
		cli_error(PINCTL_PROG, "top: nothing is known about this terminal (TERM)");
		close(v.fd);
		return 1;
	}
	cbreak();
	noecho();
	keypad(stdscr, TRUE);
	set_escdelay(25);
	curs_set(0);
	run(&v, interval);
	endwin();
	listing_free(&v.list);
	close(v.fd);
	return 0;
}
