/* SPDX-License-Identifier: BSD-3-Clause */
/* Mount options.
 *
 * One table names every option, what it takes, and what it does; the parser, the list in an error
 * message and the help text are all made from it. An option that is not in the table is an error:
 * a typing mistake must not turn into a mount with other properties than were asked for.
 *
 * mount(8) and mount.fuse3 pass on what an fstab line holds, so what only concerns them (noauto,
 * user, _netdev, x-...) is taken and means nothing. mount(8) keeps dev, suid and exec to itself, since
 * they are its defaults: so for a mount by root they are the defaults here as well, and nodev, nosuid,
 * noexec have to be asked for. fusermount3 adds nodev and nosuid for everybody else.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "fs/fuse/options.h"
#include "pmem/size.h"

#define OPTION_TEXT_MAX 256
#define LEASE_BREAK_MS_MAX 1000000000u

struct option {
	const char *name;
	int (*set)(struct mount_options *o, const char *value, int arg);
	int arg;
	const char *takes; /* what may follow "="; NULL: nothing */
	const char *help;  /* NULL: not worth a line */
};

/* ---- values ------------------------------------------------------------------ */

static int
parse_number(const char *s, unsigned min, unsigned max, unsigned *out)
{
	unsigned long v;
	char *end;

	if (*s < '0' || *s > '9')
		return -EINVAL;
	errno = 0;
	v = strtoul(s, &end, 10);
	if (errno || *end || v < min || v > max)
		return -EINVAL;
	*out = (unsigned)v;
	return 0;
}

/* Which of the words, separated by "|", value is; -EINVAL: none. */
static int
word_index(const char *words, const char *value)
{
	size_t len = strlen(value);

	for (int i = 0; len > 0; i++) {
		size_t n = strcspn(words, "|");

		if (n == len && memcmp(words, value, n) == 0)
			return i;
		if (words[n] == '\0')
			break;
		words += n + 1;
	}
	return -EINVAL;
}

/* ---- setters ----------------------------------------------------------------- */

static int
set_nothing(struct mount_options *o, const char *value, int arg)
{
	(void)o;
	(void)value;
	(void)arg;
	return 0;
}

static int
set_readonly(struct mount_options *o, const char *value, int arg)
{
	(void)value;
	o->fs.readonly = arg;
	return 0;
}

enum { FLAG_ALLOW_OTHER, FLAG_ALLOW_ROOT, FLAG_NODEV, FLAG_NOSUID, FLAG_NOEXEC, FLAG_SYNC, FLAG_DIRSYNC };
#define CLEAR 0x100

static int
set_flag(struct mount_options *o, const char *value, int arg)
{
	bool *const flags[] = { &o->allow_other, &o->allow_root, &o->nodev, &o->nosuid, &o->noexec, &o->sync,
		&o->dirsync };

	(void)value;
	*flags[arg & ~CLEAR] = !(arg & CLEAR);
	return 0;
}

static int
set_atime(struct mount_options *o, const char *value, int arg)
{
	(void)value;
	o->fs.atime = (enum fs_atime)arg;
	return 0;
}

static int
set_commit(struct mount_options *o, const char *value, int arg)
{
	(void)arg;
	return parse_number(value, 1, 3600, &o->fs.commit_s);
}

static int
set_dax(struct mount_options *o, const char *value, int arg)
{
	int i = word_index("inode|always|never", value);

	(void)arg;
	if (i >= 0)
		o->fs.dax = (enum fs_dax_mode)i;
	return min_of(i, 0);
}

static int
set_verify(struct mount_options *o, const char *value, int arg)
{
	int i = word_index("first|always", value);

	(void)arg;
	if (i >= 0)
		o->fs.verify = (enum fs_verify)i;
	return min_of(i, 0);
}

static int
set_dio_align(struct mount_options *o, const char *value, int arg)
{
	static const unsigned bytes[] = { 0, 512, 4096 };
	int i = word_index("0|512|4096", value);

	(void)arg;
	if (i >= 0)
		o->fs.dio_align = bytes[i];
	return min_of(i, 0);
}

static int
set_domain(struct mount_options *o, const char *value, int arg)
{
	enum domain_kind kind;
	int r;

	(void)arg;
	r = domain_parse(value, &kind);
	if (r == 0)
		o->fs.pool.domain = (int)kind;
	return r;
}

static int
set_lease_limit(struct mount_options *o, const char *value, int arg)
{
	(void)arg;
	return parse_number(value, 0, UINT_MAX, &o->fs.lease_limit);
}

static int
set_pin_limit(struct mount_options *o, const char *value, int arg)
{
	const char *why; /* parse_one has a reason for all values */

	(void)arg;
	return size_parse(value, &o->fs.pin_limit, &why);
}

static int
set_pinned(struct mount_options *o, const char *value, int longterm)
{
	static const enum fs_pinned how[] = { FS_PINNED_BOUNCE, FS_PINNED_FAIL, FS_PINNED_SKIP, FS_PINNED_WAIT };
	/* nobody knows when a long-term pin ends */
	int i = word_index(longterm ? "bounce|fail|skip" : "bounce|fail|skip|wait", value);

	if (i >= 0)
		*(longterm ? &o->fs.pinned_longterm : &o->fs.pinned_transient) = how[i];
	return min_of(i, 0);
}

static int
set_transient_ms(struct mount_options *o, const char *value, int arg)
{
	(void)arg;
	return parse_number(value, 1, 3600 * 1000, &o->fs.transient_ms);
}

static int
set_allow_skip(struct mount_options *o, const char *value, int arg)
{
	(void)value;
	(void)arg;
	o->fs.allow_skip = true;
	return 0;
}

static int
set_lease_break(struct mount_options *o, const char *value, int arg)
{
	int i = word_index("grace|cut", value);

	(void)arg;
	if (i >= 0)
		o->fs.lease_cut = i == 1;
	return min_of(i, 0);
}

static int
set_lease_break_ms(struct mount_options *o, const char *value, int arg)
{
	(void)arg;
	return parse_number(value, 0, LEASE_BREAK_MS_MAX, &o->fs.lease_break_ms);
}

static int
set_layout_transient(struct mount_options *o, const char *value, int arg)
{
	int i = word_index("at_once|wait", value);

	(void)arg;
	if (i >= 0)
		o->fs.layout_wait = i == 1;
	return min_of(i, 0);
}

static int
set_pin_without_lease(struct mount_options *o, const char *value, int arg)
{
	(void)value;
	o->fs.pin_without_lease = arg;
	return 0;
}

static int
set_threads(struct mount_options *o, const char *value, int arg)
{
	(void)arg;
	return parse_number(value, 1, MOUNT_THREADS_MAX, &o->threads);
}

static int
set_attr_timeout(struct mount_options *o, const char *value, int arg)
{
	(void)arg;
	return parse_number(value, 0, MOUNT_TIMEOUT_MAX, &o->attr_timeout);
}

static const struct option options[] = {
	{ "ro", set_readonly, true, NULL, "read-only; the pool file is not written to" },
	{ "rw", set_readonly, false, NULL, NULL },
	{ "commit", set_commit, 0, "SECONDS", "age of dirty data when it is written back, 1 to 3600 (default 5)" },
	{ "dax", set_dax, 0, "inode|always|never", "files that are stored to in place (default inode: FS_XFLAG_DAX)" },
	{ "verify", set_verify, 0, "first|always", "when checksums of data are checked (default first touch)" },
	{ "dio_align", set_dio_align, 0, "0|512|4096", "what O_DIRECT has to be aligned to (default 0: nothing)" },
	{ "domain", set_domain, 0, "volatile|pagecache|pmem", "how a store becomes durable (default: found out)" },
	{ "lease_limit", set_lease_limit, 0, "N", "leases that a user may have at a time (default 65536)" },
	{ "pin_limit", set_pin_limit, 0, "SIZE", "bytes that a user may have pinned (default half the pool)" },
	{ "writeback_transient", set_pinned, false, "bounce|wait|fail|skip",
	    "writeback of blocks with transient pins (default bounce)" },
	{ "writeback_longterm", set_pinned, true, "bounce|fail|skip",
	    "of those with longer ones; wait is for transient pins only" },
	{ "transient_ms", set_transient_ms, 0, "MS", "how long a transient pin is waited for at most (default 1000)" },
	{ "allow_skip", set_allow_skip, 0, NULL, "a pin may have its blocks left out of fsync: for study" },
	{ "lease_break", set_lease_break, 0, "grace|cut",
		"what holders of leases get before they lose them (default grace)" },
	{ "lease_break_ms", set_lease_break_ms, 0, "MS",
		"how much grace, 0: no end (default: fs.lease-break-time of the kernel)" },
	{ "layout_transient", set_layout_transient, 0, "at_once|wait",
		"do layout operations wait for transient pins? (default at_once)" },
	{ "pin_without_lease", set_pin_without_lease, true, NULL, "long-term pins need no lease" },
	{ "relatime", set_atime, FS_ATIME_RELATIME, NULL, "access times move now and then (the default)" },
	{ "noatime", set_atime, FS_ATIME_NOATIME, NULL, "access times don't move" },
	{ "strictatime", set_atime, FS_ATIME_STRICT, NULL, "access times move with every read" },
	{ "norelatime", set_atime, FS_ATIME_STRICT, NULL, NULL },
	{ "atime", set_atime, FS_ATIME_RELATIME, NULL, NULL },
	{ "allow_other", set_flag, FLAG_ALLOW_OTHER, NULL, "everybody may use the mount, not only who mounted it" },
	{ "allow_root", set_flag, FLAG_ALLOW_ROOT, NULL, "root may use it, too" },
	{ "nodev", set_flag, FLAG_NODEV, NULL, "device nodes don't work" },
	{ "dev", set_flag, FLAG_NODEV | CLEAR, NULL, NULL },
	{ "nosuid", set_flag, FLAG_NOSUID, NULL, "setuid and setgid programs run without" },
	{ "suid", set_flag, FLAG_NOSUID | CLEAR, NULL, NULL },
	{ "noexec", set_flag, FLAG_NOEXEC, NULL, "programs can't be run" },
	{ "exec", set_flag, FLAG_NOEXEC | CLEAR, NULL, NULL },
	{ "sync", set_flag, FLAG_SYNC, NULL, NULL },
	{ "async", set_flag, FLAG_SYNC | CLEAR, NULL, NULL },
	{ "dirsync", set_flag, FLAG_DIRSYNC, NULL, NULL },
	{ "threads", set_threads, 0, "N", "at most that many requests at a time, 1 to 64 (default: by processors)" },
	{ "attr_timeout", set_attr_timeout, 0, "SECONDS", "how long the kernel may cache names and attributes" },
	/* always so, or not ours to decide */
	{ "default_permissions", set_nothing, 0, NULL, NULL },
	{ "defaults", set_nothing, 0, NULL, NULL },
	{ "auto", set_nothing, 0, NULL, NULL },
	{ "noauto", set_nothing, 0, NULL, NULL },
	{ "nofail", set_nothing, 0, NULL, NULL },
	{ "user", set_nothing, 0, NULL, NULL },
	{ "users", set_nothing, 0, NULL, NULL },
	{ "nouser", set_nothing, 0, NULL, NULL },
	{ "owner", set_nothing, 0, NULL, NULL },
	{ "group", set_nothing, 0, NULL, NULL },
	{ "_netdev", set_nothing, 0, NULL, NULL },
	{ "diratime", set_nothing, 0, NULL, NULL },
	{ "nodiratime", set_nothing, 0, NULL, NULL },
};
#define OPTIONS (sizeof(options) / sizeof(options[0]))

void
mount_options_default(struct mount_options *o)
{
	*o = (struct mount_options){ .attr_timeout = 24 * 3600 };
	fs_options_default(&o->fs);
	o->fs.pin_without_lease = false;
}

/* ---- parsing ------------------------------------------------------------------- */

static void
list_options(char *list, size_t size)
{
	size_t used = 0;

	list[0] = '\0';
	for (size_t i = 0; i < OPTIONS; i++) {
		const struct option *p = options + i;
		int n;

		if (!p->help)
			continue;
		n = snprintf(list + used, size - used, "%s%s%s", used ? ", " : "", p->name, p->takes ? "=" : "");
		if (n < 0 || (size_t)n >= size - used)
			return;
		used += (size_t)n;
	}
}

static int
parse_one(struct mount_options *o, char *text, char *why, size_t size)
{
	char *value = strchr(text, '=');
	char valid[768];

	if (strncmp(text, "x-", 2) == 0 || strncmp(text, "comment=", 8) == 0)
		return 0;
	if (value)
		*value++ = '\0';
	for (size_t i = 0; i < OPTIONS; i++) {
		const struct option *p = options + i;

		if (strcmp(text, p->name) != 0)
			continue;
		if (!p->takes && value && p->set != set_nothing) {
			snprintf(why, size, "option '%s' takes no value, but has '%s'", text, value);
			return -EINVAL;
		}
		if (p->takes && !value) {
			snprintf(why, size, "option '%s' needs a value: %s=%s", text, text, p->takes);
			return -EINVAL;
		}
		if (p->set(o, value, p->arg) == 0)
			return 0;
		snprintf(why, size, "option '%s' can't be '%s': write %s=%s: %s", text, value, text, p->takes, p->help);
		return -EINVAL;
	}
	list_options(valid, sizeof(valid));
	snprintf(why, size, "unknown option '%s'; there are: %s", text, valid);
	return -EINVAL;
}

/* The next element of the list into buf, without its backslashes; where the list goes on, or
 * NULL: too long. */
static const char *
next_option(const char *text, char *buf, size_t size)
{
	size_t n = 0;

	for (; *text && *text != ','; text++) {
		if (*text == '\\' && text[1])
			text++;
		if (n + 1 >= size)
			return NULL;
		buf[n++] = *text;
	}
	buf[n] = '\0';
	return *text ? text + 1 : text;
}

int
mount_options_parse(struct mount_options *o, const char *text, char *why, size_t size)
{
	char one[OPTION_TEXT_MAX];
	int r;

	why[0] = '\0';
	while (*text) {
		const char *next = next_option(text, one, sizeof(one));

		if (!next) {
			snprintf(why, size, "an option is longer than %d bytes", OPTION_TEXT_MAX - 1);
			return -EINVAL;
		}
		text = next;
		if (one[0] == '\0')
			continue;
		r = parse_one(o, one, why, size);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- for the kernel, for the user ----------------------------------------------- */

void
mount_options_kernel(const struct mount_options *o, char *list, size_t size)
{
	snprintf(list, size, "default_permissions%s%s%s%s%s%s%s%s%s", o->fs.readonly ? ",ro" : ",rw",
	    o->allow_other ? ",allow_other" : "", !o->allow_other && o->allow_root ? ",allow_root" : "",
	    o->nodev ? ",nodev" : ",dev", o->nosuid ? ",nosuid" : ",suid", o->noexec ? ",noexec" : "",
	    o->sync ? ",sync" : "", o->dirsync ? ",dirsync" : "",
	    o->fs.atime == FS_ATIME_NOATIME ? ",noatime" : "");
}

void
mount_options_help(FILE *f)
{
	for (size_t i = 0; i < OPTIONS; i++) {
		const struct option *p = options + i;
		char left[64];

		if (!p->help)
			continue;
		snprintf(left, sizeof(left), "%s%s%s", p->name, p->takes ? "=" : "", p->takes ? p->takes : "");
		if (strlen(left) > 23)
			fprintf(f, "    %s\n    %-23s %s\n", left, "", p->help);
		else
			fprintf(f, "    %-23s %s\n", left, p->help);
	}
}
