/* SPDX-License-Identifier: BSD-3-Clause */
/* What a user can do by ioctl(2) on files that are not his, and must not. A shell test makes the files, and runs this as
 * that user.
 *
 *   users hold FILE r|w LEN     pin the first LEN bytes, say "ok ID" or "err ENAME", keep it until end of input
 *   users may DIR ID            everything in the table below, on DIR/theirs (he may read it), DIR/shared (he may write
 *                               it), DIR/mine; ID: somebody else's pin of DIR/theirs
 *   users limit DIR BLOCKS      he can pin that many and no more, also when they have left their file
 *   users many DIR N            make N files in DIR, lease each, say "ok", keep them until end of input
 *   users list DIR OWN OTHERS   that many entries are listed to him of the mount
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <pinfs/ioctl.h>

#define BLOCK ((uint64_t)PINFS_BLOCK_SIZE)

static unsigned failures;

static void __attribute__((format(printf, 1, 2)))
fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	printf("FAIL: ");
	vprintf(fmt, ap);
	printf("\n");
	va_end(ap);
	failures++;
}

/* The call's result and errno against the errno that it must have, 0: none. */
static void
must(const char *what, int r, int want)
{
	int err = r < 0 ? errno : 0;

	if (err != want)
		fail("%s: %s, should be %s", what, err ? strerrorname_np(err) : "succeeds",
		    want ? strerrorname_np(want) : "allowed");
}

static int
open_in(const char *dir, const char *name, int flags)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, flags | O_CLOEXEC);
	if (fd < 0) {
		printf("FAIL: can't open %s: %s\n", path, strerror(errno));
		exit(1);
	}
	return fd;
}

/* ---- requests ------------------------------------------------------------------------------------------ */

static int
pin(int fd, int access, unsigned flags, uint64_t off, uint64_t len, uint64_t *id)
{
	_Alignas(struct pinfs_pin) char room[PINFS_PIN_SIZE(1)] = { 0 };
	struct pinfs_pin *p = (struct pinfs_pin *)room;
	int r;

	p->size = sizeof(room);
	p->flags = flags;
	p->access = (uint16_t)access;
	p->pin_class = PINFS_PIN_TRANSIENT;
	p->nranges = 1;
	p->ranges[0].off = off;
	p->ranges[0].len = len;
	r = ioctl(fd, PINFS_IOC_PIN(1), p);
	*id = r == 0 ? p->id : 0;
	return r;
}

static int
unpin(int fd, uint64_t id)
{
	struct pinfs_unpin u = { .size = sizeof(u), .id = id };

	return ioctl(fd, PINFS_IOC_UNPIN, &u);
}

static int
lease(int fd, unsigned type, unsigned on_deadline)
{
	struct pinfs_lease l = { .size = sizeof(l), .type = type, .on_deadline = on_deadline };

	return ioctl(fd, PINFS_IOC_LEASE, &l);
}

static int
offer(int fd, uint8_t token[16])
{
	struct pinfs_offer o = { .size = sizeof(o) };
	int r = ioctl(fd, PINFS_IOC_OFFER, &o);

	memcpy(token, o.token, sizeof(o.token));
	return r;
}

static int
clone_by(int fd, const uint8_t token[16])
{
	struct pinfs_clone c = { .size = sizeof(c), .len = BLOCK };

	memcpy(c.token, token, sizeof(c.token));
	return ioctl(fd, PINFS_IOC_CLONE, &c);
}

static int
exchange_by(int fd, const uint8_t token[16])
{
	struct pinfs_exchange x = { .size = sizeof(x), .len = BLOCK };

	memcpy(x.token, token, sizeof(x.token));
	return ioctl(fd, PINFS_IOC_EXCHANGE, &x);
}

static int
clone_from(int fd, int from)
{
	uint8_t token[16];

	must("an offer", offer(from, token), 0);
	return clone_by(fd, token);
}

static int
exchange_with(int fd, int other)
{
	uint8_t token[16];

	must("an offer", offer(other, token), 0);
	return exchange_by(fd, token);
}

static int
shift(int fd, unsigned long cmd)
{
	struct pinfs_range r = { .size = sizeof(r), .off = BLOCK, .len = BLOCK };

	return ioctl(fd, cmd, &r);
}

static int
set_flags(int fd, int flags)
{
	return ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

static int
set_x(int fd, unsigned flags, unsigned projid)
{
	struct fsxattr x = { .fsx_xflags = flags, .fsx_projid = projid };

	return ioctl(fd, FS_IOC_FSSETXATTR, &x);
}

static int
scrub(int fd, unsigned op)
{
	struct pinfs_scrub s = { .size = sizeof(s), .op = op };

	return ioctl(fd, PINFS_IOC_SCRUB, &s);
}

static void
get_status(int fd, struct pinfs_status *st)
{
	memset(st, 0, sizeof(*st));
	st->size = sizeof(*st);
	must("STATUS", ioctl(fd, PINFS_IOC_STATUS, st), 0);
}

/* Entries of that user, and of others. */
static void
count_entries(int fd, unsigned flags, unsigned *own, unsigned *others)
{
	struct pinfs_list *l = calloc(1, sizeof(*l));

	*own = *others = 0;
	if (!l)
		exit(1);
	do {
		l->size = sizeof(*l);
		l->flags = flags;
		must("LIST", ioctl(fd, PINFS_IOC_LIST, l), 0);
		for (unsigned k = 0; k < l->count; k++)
			++*(l->entries[k].uid == geteuid() ? own : others);
	} while (failures == 0 && (l->cursor[0] || l->cursor[1]));
	free(l);
}

/* ---- the table ------------------------------------------------------------------------------------------- */

/* Through a descriptor of a file that he may only read. */
static void
may_read(int fd, int mine)
{
	uint64_t id;

	must("write pin, read-only", pin(fd, PINFS_ACCESS_READWRITE, 0, 0, BLOCK, &id), EBADF);
	must("growing pin, read-only", pin(fd, PINFS_ACCESS_READWRITE, PINFS_PIN_ALLOC, 0, 100 * BLOCK, &id), EBADF);
	must("COLLAPSE, read-only", shift(fd, PINFS_IOC_COLLAPSE), EBADF);
	must("INSERT, read-only", shift(fd, PINFS_IOC_INSERT), EBADF);
	must("CLONE into, read-only", clone_from(fd, mine), EBADF);
	must("EXCHANGE, read-only", exchange_with(fd, mine), EBADF);
	must("EXCHANGE with an offer, read-only", exchange_with(mine, fd), EBADF);
	must("CLONE from what he may read", clone_from(mine, fd), 0);
	must("an exclusive lease, read-only", lease(fd, PINFS_LEASE_EXCLUSIVE, PINFS_DEADLINE_REVOKE), EBADF);
	must("a lease that never ends, read-only", lease(fd, PINFS_LEASE_SHARED, PINFS_DEADLINE_WAIT), EBADF);
	must("a lease that refuses, read-only", lease(fd, PINFS_LEASE_SHARED, PINFS_DEADLINE_FAIL), EBADF);
	must("a shared lease", lease(fd, PINFS_LEASE_SHARED, PINFS_DEADLINE_REVOKE), 0);
	must("read pin", pin(fd, PINFS_ACCESS_READ, 0, 0, BLOCK, &id), 0);
	must("unpin", unpin(fd, id), 0);
}

/* Flags are the owner's, some of them only root's, whoever may write the file. */
static void
may_flag(int fd, const char *which, int want)
{
	int rooted[] = { FS_IMMUTABLE_FL, FS_APPEND_FL };
	int r = set_flags(fd, FS_NODUMP_FL);

	must(which, r, want);
	must(which, set_x(fd, FS_XFLAG_NOATIME, 0), want);
	must(which, set_x(fd, 0, 7), want);
	if (want)
		must(which, set_x(fd, FS_XFLAG_DAX, 0), want);
	for (unsigned k = 0; k < 2; k++)
		must(which, set_flags(fd, rooted[k]), EPERM);
	must(which, set_x(fd, FS_XFLAG_IMMUTABLE, 0), EPERM);
	must(which, set_x(fd, FS_XFLAG_APPEND, 0), EPERM);
}

/* A pin that is another's, by its number. */
static void
may_others(int fd, int shared, uint64_t id)
{
	struct pinfs_pin_extents x = { .size = sizeof(x), .id = id };
	struct pinfs_lease_release rel = { .size = sizeof(rel) };
	struct pinfs_track t = { .size = sizeof(t), .id = id, .len = BLOCK };
	struct pinfs_events e = { .size = sizeof(e) };
	unsigned own, others;
	uint64_t mine;

	must("another's pin: UNPIN", unpin(fd, id), ENOENT);
	must("another's pin: UNPIN by another file", unpin(shared, id), ENOENT);
	must("another's pin: PIN_EXTENTS", ioctl(fd, PINFS_IOC_PIN_EXTENTS, &x), ENOENT);
	must("another's pin: TRACK", ioctl(fd, PINFS_IOC_TRACK, &t), ENOENT);
	for (rel.id = 1; rel.id < 1000; rel.id++)
		must("another's lease", ioctl(shared, PINFS_IOC_LEASE_RELEASE, &rel), ENOENT);
	must("EVENTS", ioctl(fd, PINFS_IOC_EVENTS, &e), 0);
	if (e.count || e.more)
		fail("he can read another's events");
	must("read pin", pin(fd, PINFS_ACCESS_READ, 0, 0, BLOCK, &mine), 0);
	count_entries(fd, 0, &own, &others);
	if (own != 2 || others) /* and the lease from before */
		fail("of the file, %u of his and %u of others are listed", own, others);
	count_entries(fd, PINFS_LIST_MOUNT, &own, &others);
	if (own != 2 || others)
		fail("of the mount, %u of his and %u of others are listed", own, others);
	must("unpin", unpin(fd, mine), 0);
}

static void
may_offers(int theirs, int mine, const char *dir)
{
	uint8_t a[16], b[16];
	int fd;

	must("OFFER", offer(theirs, a), 0);
	must("OFFER", offer(theirs, b), 0);
	if (memcmp(a, b, sizeof(a)) == 0)
		fail("two offers have one token");
	must("an offer that was replaced", clone_by(mine, a), ESTALE);
	for (unsigned k = 0; k < 128; k++) {
		memcpy(a, b, sizeof(a));
		a[k / 8] ^= (uint8_t)(1u << k % 8);
		must("a wrong token", clone_by(mine, a), ESTALE);
	}
	must("a token", clone_by(mine, b), 0);
	must("a token, once more", clone_by(mine, b), ESTALE);
	fd = open_in(dir, "theirs", O_RDONLY);
	must("OFFER", offer(fd, a), 0);
	close(fd);
	/* close(2) does not wait until the daemon has heard of it */
	for (unsigned k = 0; k < 500 && clone_by(mine, a) == 0; k++) {
		fd = open_in(dir, "theirs", O_RDONLY);
		must("OFFER", offer(fd, a), 0);
		close(fd);
		usleep(10000);
	}
	must("a token of a file that is closed", clone_by(mine, a), ESTALE);
}

static int
may(const char *dir, uint64_t id)
{
	int theirs = open_in(dir, "theirs", O_RDONLY), mine = open_in(dir, "mine", O_RDWR);
	int shared = open_in(dir, "shared", O_RDWR), d = open_in(dir, ".", O_RDONLY | O_DIRECTORY);
	struct pinfs_sync_range s = { .size = sizeof(s), .flags = PINFS_SYNC_FS };
	struct stat st;
	uint64_t pinned;

	may_flag(theirs, "flags of a file that he may read", EPERM);
	may_flag(shared, "flags of a file that he may write", EPERM);
	may_flag(d, "flags of a directory", EPERM);
	may_flag(mine, "flags of a file of his", 0);
	may_read(theirs, mine);
	may_others(theirs, shared, id);
	may_offers(theirs, mine, dir);
	must("SCRUB start", scrub(d, PINFS_SCRUB_START), EPERM);
	must("SCRUB cancel", scrub(d, PINFS_SCRUB_CANCEL), EPERM);
	must("SCRUB status", scrub(d, PINFS_SCRUB_STATUS), 0);
	must("SYNC of the mount", ioctl(d, PINFS_IOC_SYNC, &s), 0);
	/* as by write(2) */
	must("write pin of a setuid file", pin(shared, PINFS_ACCESS_READWRITE, 0, 0, BLOCK, &pinned), 0);
	must("fstat", fstat(shared, &st), 0);
	if (st.st_mode & (S_ISUID | S_ISGID))
		fail("a file that he has pinned for writing is setuid still: mode %o", st.st_mode);
	return failures > 0;
}

/* ---- limits ------------------------------------------------------------------------------------------------ */

/* In a process that has no pin of it: who has would wait for himself. */
static void
truncate_elsewhere(int fd)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(ftruncate(fd, 0) < 0);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		fail("a child's ftruncate fails");
}

static int
limit(const char *dir, uint64_t blocks)
{
	int mine = open_in(dir, "mine", O_RDWR), theirs = open_in(dir, "theirs", O_RDONLY);
	struct pinfs_status before, cut, after;
	struct statvfs v, w;
	uint64_t id, id2;

	must("ftruncate", ftruncate(mine, 0), 0);
	get_status(mine, &before);
	must("all that the limit allows", pin(mine, PINFS_ACCESS_READWRITE, PINFS_PIN_ALLOC, 0, blocks * BLOCK, &id), 0);
	must("a block more", pin(mine, PINFS_ACCESS_READ, 0, 0, 1, &id2), EDQUOT);
	must("a block more of another file", pin(theirs, PINFS_ACCESS_READ, 0, 0, 1, &id2), EDQUOT);
	truncate_elsewhere(mine);
	must("fsync", fsync(mine), 0);
	get_status(mine, &cut);
	if (cut.quarantined_blocks < before.quarantined_blocks + blocks)
		fail("%llu blocks in quarantine, %llu should be", (unsigned long long)cut.quarantined_blocks,
		    (unsigned long long)(before.quarantined_blocks + blocks));
	must("statvfs", fstatvfs(mine, &v), 0);
	must("a block more, when all are in no file", pin(theirs, PINFS_ACCESS_READ, 0, 0, 1, &id2), EDQUOT);
	must("unpin", unpin(mine, id), 0);
	must("fsync", fsync(mine), 0);
	get_status(mine, &after);
	if (after.quarantined_blocks != before.quarantined_blocks)
		fail("%llu blocks stay in quarantine", (unsigned long long)after.quarantined_blocks);
	must("statvfs", fstatvfs(mine, &w), 0);
	if (w.f_bfree + 8 < v.f_bfree + blocks) /* 8: nodes of the tree come and go */
		fail("statvfs counts blocks in quarantine as free: %llu then, %llu later", (unsigned long long)v.f_bfree,
		    (unsigned long long)w.f_bfree);
	must("a pin when the others have gone", pin(theirs, PINFS_ACCESS_READ, 0, 0, 1, &id2), 0);
	return failures > 0;
}

static void
wait_for_end(void)
{
	char c;

	fflush(stdout);
	while (read(STDIN_FILENO, &c, 1) > 0)
		;
}

static int
many(const char *dir, unsigned n)
{
	char path[4096];

	for (unsigned k = 0; k < n; k++) {
		snprintf(path, sizeof(path), "%s/many.%u", dir, k);
		must("a lease", lease(open(path, O_RDWR | O_CREAT, 0600), PINFS_LEASE_SHARED, PINFS_DEADLINE_REVOKE), 0);
	}
	printf("ok\n");
	wait_for_end();
	return failures > 0;
}

static int
list(const char *dir, unsigned want_own, unsigned want_others)
{
	unsigned own, others;

	count_entries(open_in(dir, ".", O_RDONLY | O_DIRECTORY), PINFS_LIST_MOUNT, &own, &others);
	if (own != want_own || others != want_others)
		fail("%u of his and %u of others are listed", own, others);
	return failures > 0;
}

static int
hold(const char *path, const char *access, uint64_t len)
{
	bool write = access[0] == 'w';
	int fd = open(path, write ? O_RDWR : O_RDONLY), r = fd;
	uint64_t id = 0;

	if (r >= 0)
		r = pin(fd, write ? PINFS_ACCESS_READWRITE : PINFS_ACCESS_READ, 0, 0, len, &id);
	if (r < 0)
		printf("err %s\n", strerrorname_np(errno));
	else
		printf("ok %llu\n", (unsigned long long)id);
	wait_for_end();
	return r < 0;
}

int
main(int argc, char **argv)
{
	if (argc == 5 && strcmp(argv[1], "hold") == 0)
		return hold(argv[2], argv[3], strtoull(argv[4], NULL, 0));
	if (argc == 4 && strcmp(argv[1], "may") == 0)
		return may(argv[2], strtoull(argv[3], NULL, 0));
	if (argc == 4 && strcmp(argv[1], "limit") == 0)
		return limit(argv[2], strtoull(argv[3], NULL, 0));
	if (argc == 4 && strcmp(argv[1], "many") == 0)
		return many(argv[2], (unsigned)strtoul(argv[3], NULL, 0));
	if (argc == 5 && strcmp(argv[1], "list") == 0)
		return list(argv[2], (unsigned)strtoul(argv[3], NULL, 0), (unsigned)strtoul(argv[4], NULL, 0));
	fprintf(stderr, "usage: users hold FILE r|w LEN | may DIR ID | limit DIR BLOCKS | many DIR N | list DIR OWN OTHERS\n");
	return 2;
}
