/* SPDX-License-Identifier: BSD-3-Clause */
/* Every cell of the table of what operations do to pinned and leased files (matrix.def), played on a real mount.
 *
 *   matrix DIR grace|cut [--cell OPERATION:STATE:KIND:WHO]
 *   matrix --man                          the table for pinfs(7)
 *
 * For each cell a process, the holder, makes a file of eight blocks, a letter each, pins and leases it as the state
 * says, maps it, and stores to it. Then somebody else does the operation: another process, or a thread of the
 * holder's. What is looked at: whether it waited, and for what; what it returned; then what the files hold, and of
 * each block of the holder's whether it still is the file's (what one stores the other sees) or has left it (keeps
 * what it held; what is stored to it is found nowhere). When the holder is gone, nothing may be left of him: no
 * pin, lease, quarantined block, parked request.
 *
 * REVOKED needs a mount with lease_break=cut, where a lease is taken away without waiting, the others one that waits
 * for long (matrix.sh): cells that are for the other one are skipped. Nothing is decided by a time but that who waits
 * for a transient pin does not return before TRANSIENT_MS.
 */
#include <linux/falloc.h>
#include <pthread.h>

#include "tests/scenarios/image.h"
#include "tests/scenarios/scenario.h"

#define TRANSIENT_MS 200 /* matrix.sh: transient_ms */
#define CELL_LIMIT_S 40u
#define SETTLE_MS 10000

#define NBLOCKS 8u
#define NBLOCKS_MAX 16u
#define LEN ((uint64_t)NBLOCKS * BLOCK)
#define FIRST "abcdefgh"
#define OTHER_FIRST "qrstuvwx"
/* What layout operations are about: blocks 2 to 5; SHIFT blocks put in or taken out at block 2; truncate keeps KEEP. */
#define AT 2u
#define COUNT 4u
#define SHIFT 2u
#define KEEP 4u
/* The block that the holder stores to before. */
#define STORED 5u
#define LAST (NBLOCKS - 1)

#define FILE_NAME "file"
#define OTHER_NAME "other"
#define COPY_NAME "copy"

enum op {
#define OPERATION(id, ...) OP_##id,
#include "tests/matrix/matrix.def"
#undef OPERATION
	OPS
};
enum state { NO_PIN, READ_PIN, WRITE_PIN, SHARED, EXCLUSIVE, REVOKED, STATES };
enum kind { STABLE, DAX, KINDS };
enum who { OTHER, SAME, WHOS };

static const char *const state_name[STATES] = { "none", "read", "write", "shared", "exclusive", "revoked" };
static const char *const kind_name[KINDS] = { "stable", "dax" };
static const char *const who_name[WHOS] = { "other", "same" };

static const struct row {
	const char *name, *title;
	const char *outcome[KINDS][WHOS];
} rows[OPS] = {
#define OPERATION(id, name, title, stable_other, stable_same, dax_other, dax_same) \
	[OP_##id] = { name, title, { { stable_other, stable_same }, { dax_other, dax_same } } },
#include "tests/matrix/matrix.def"
#undef OPERATION
};

static const struct outcome {
	char code;
	const char *word, *meaning;
} outcomes[] = {
	{ '.', "at once", "It waits for nobody." },
	{ 'm', "moves",
		"It waits for the pin, for transient_ms at most; then the file gets a copy of the pinned blocks." },
	{ 'l', "waits", "It breaks the lease, and goes on when the holder lets go or the deadline has passed." },
	{ 'T', "ETXTBSY", "It fails." },
	{ 'B', "EBUSY", "It fails: it would wait for itself." },
};

struct cell {
	enum op op;
	enum state state;
	enum kind kind;
	enum who who;

	/* the holder's */
	int fd;
	int look;                    /* opened when it was pinned already: what one reads there is never old */
	struct pinfs_map *map;
	uint64_t exclusive;          /* the lease; 0: none */
	char held[NBLOCKS_MAX + 1];  /* what his file has to hold */

	/* who does the operation */
	struct turns t;
	pid_t pid;
	pthread_t thread;
};

/* What the names are to stand for; "-": for nothing. */
struct names { char file[NBLOCKS_MAX + 1], other[NBLOCKS_MAX + 1], copy[NBLOCKS_MAX + 1]; };

static const struct outcome *
outcome_of(char code)
{
	for (size_t k = 0; k < sizeof(outcomes) / sizeof(outcomes[0]); k++)
		if (outcomes[k].code == code)
			return &outcomes[k];
	return NULL;
}

/* ---- blocks of a letter ---------------------------------------------------------------------------- */

/* '.' for zeroes, '?' for what is not one letter. */
static char
letter_of(const uint8_t *block)
{
	for (unsigned k = 1; k < BLOCK; k++)
		if (block[k] != block[0])
			return '?';
	return block[0] ? (char)block[0] : '.';
}

static void
put_letters(int fd, const char *letters)
{
	static uint8_t buf[NBLOCKS_MAX * BLOCK];
	size_t n = strlen(letters);

	for (size_t k = 0; k < n; k++)
		memset(buf + k * BLOCK, letters[k], BLOCK);
	must(pwrite(fd, buf, n * BLOCK, 0) == (ssize_t)(n * BLOCK) && fsync(fd) == 0, "write %s", letters);
}

static int
make_letters(const char *name, const char *letters, enum kind kind)
{
	int fd = open_in(name, O_RDWR | O_CREAT | O_EXCL);

	must(kind == STABLE || set_dax(fd, true) == 0, "dax");
	put_letters(fd, letters);
	return fd;
}

static void
letters_of(const uint8_t *buf, ssize_t n, char *letters)
{
	ssize_t k = 0;

	for (; k * BLOCK < n; k++)
		letters[k] = letter_of(buf + k * BLOCK);
	letters[k] = 0;
}

/* What the file holds. False: it can't be read, or ends within a block. */
static bool
get_letters(int fd, char *letters)
{
	uint8_t *buf = NULL;
	ssize_t n;

	if (posix_memalign((void **)&buf, BLOCK, NBLOCKS_MAX * BLOCK) != 0)
		return false;
	n = pread(fd, buf, NBLOCKS_MAX * BLOCK, 0);
	if (n >= 0)
		letters_of(buf, n, letters);
	free(buf);
	return n >= 0 && n % BLOCK == 0;
}

static void
expect(const char *what, int fd, const char *want)
{
	char got[NBLOCKS_MAX + 1];

	must(get_letters(fd, got), "read the file %s", what);
	must(strcmp(got, want) == 0, "%s: the file holds %s, not %s", what, got, want);
}

static void
expect_name(const char *name, const char *want)
{
	char path[4096];
	int fd;

	if (want[0] == '-') {
		snprintf(path, sizeof(path), "%s/%s", scenario_dir, name);
		must(access(path, F_OK) < 0 && errno == ENOENT, "%s is still there", name);
		return;
	}
	fd = open_in(name, O_RDONLY);
	expect(name, fd, want);
	close(fd);
}

/* ---- operations ------------------------------------------------------------------------------------ */

static int
result(bool ok)
{
	return ok ? 0 : errno;
}

static int
read_all(int fd, const char *want)
{
	char got[NBLOCKS_MAX + 1];

	if (!get_letters(fd, got))
		return EIO;
	return strcmp(got, want) == 0 ? 0 : EILSEQ;
}

static int
write_block(int fd, unsigned block, int letter)
{
	uint8_t *buf = NULL;
	ssize_t n;

	if (posix_memalign((void **)&buf, BLOCK, BLOCK) != 0)
		return ENOMEM;
	memset(buf, letter, BLOCK);
	n = pwrite(fd, buf, BLOCK, (off_t)block * BLOCK);
	free(buf);
	return n < 0 ? errno : n == BLOCK ? 0 : EIO;
}

static int
allocate(int fd, int mode)
{
	return result(fallocate(fd, mode, AT * BLOCK, COUNT * BLOCK) == 0);
}

static int
shift(int fd, unsigned long request)
{
	struct pinfs_range r = { .size = sizeof(r), .off = AT * BLOCK, .len = SHIFT * BLOCK };

	return result(ioctl(fd, request, &r) == 0);
}

static int
clone_range(int from, int to, uint64_t off, uint64_t len)
{
	struct pinfs_offer o = { .size = sizeof(o) };
	struct pinfs_clone c = { .size = sizeof(c), .src_off = off, .dst_off = off, .len = len };

	if (ioctl(from, PINFS_IOC_OFFER, &o) < 0)
		return errno;
	memcpy(c.token, o.token, sizeof(c.token));
	return result(ioctl(to, PINFS_IOC_CLONE, &c) == 0);
}

static int
exchange(int fd, int other)
{
	struct pinfs_offer o = { .size = sizeof(o) };
	struct pinfs_exchange x = {
		.size = sizeof(x),
		.off = AT * BLOCK,
		.other_off = AT * BLOCK,
		.len = COUNT * BLOCK,
	};

	if (ioctl(other, PINFS_IOC_OFFER, &o) < 0)
		return errno;
	memcpy(x.token, o.token, sizeof(x.token));
	return result(ioctl(fd, PINFS_IOC_EXCHANGE, &x) == 0);
}

static int
copy_all(int from, int to)
{
	ssize_t n = copy_file_range(from, NULL, to, NULL, LEN, 0);

	return n < 0 ? errno : (uint64_t)n == LEN ? 0 : EIO;
}

static int
change_names(const char *from, const char *to)
{
	char a[4096], b[4096];

	snprintf(a, sizeof(a), "%s/%s", scenario_dir, from);
	snprintf(b, sizeof(b), "%s/%s", scenario_dir, to ? to : "");
	return result((to ? rename(a, b) : unlink(a)) == 0);
}

static int
operate_on(const struct cell *c, int fd, int other, int copy)
{
	switch (c->op) {
	case OP_READ:
	case OP_READ_DIRECT: return read_all(fd, c->held);
	case OP_WRITE:
	case OP_WRITE_DIRECT: return write_block(fd, 1, 'W');
	case OP_FSYNC:
	case OP_UNPIN: return result(fsync(fd) == 0);
	case OP_TRUNCATE: return result(ftruncate(fd, KEEP * BLOCK) == 0);
	case OP_PUNCH: return allocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
	case OP_ZERO: return allocate(fd, FALLOC_FL_ZERO_RANGE);
	case OP_COLLAPSE: return shift(fd, PINFS_IOC_COLLAPSE);
	case OP_INSERT: return shift(fd, PINFS_IOC_INSERT);
	case OP_EXCHANGE: return exchange(fd, other);
	case OP_CLONE_INTO: return clone_range(other, fd, AT * BLOCK, COUNT * BLOCK);
	case OP_CLONE_FROM: return clone_range(fd, copy, 0, 0);
	case OP_COPY_FROM: return copy_all(fd, copy);
	case OP_UNLINK: return change_names(FILE_NAME, NULL);
	case OP_RENAME_OVER: return change_names(OTHER_NAME, FILE_NAME);
	case OP_SET_DAX: return -set_dax(fd, c->kind == STABLE);
	default: return ENOSYS;
	}
}

static void
operate(void *arg)
{
	struct cell *c = arg;
	bool direct = c->op == OP_READ_DIRECT || c->op == OP_WRITE_DIRECT;
	int fd = open_in(FILE_NAME, O_RDWR | (direct ? O_DIRECT : 0));
	int other = open_in(OTHER_NAME, O_RDWR), copy = open_in(COPY_NAME, O_RDWR), r;

	turn_give(&c->t, 1, 'b');
	r = operate_on(c, fd, other, copy);
	close(fd);
	close(other);
	close(copy);
	turn_give(&c->t, 1, (char)r);
}

static void *
operate_thread(void *arg)
{
	operate(arg);
	return NULL;
}

/* ---- what has to come of it ------------------------------------------------------------------------- */

/* Where in the file the holder's block is after the operation, -1: in no file. */
static int
place(enum op op, unsigned block)
{
	switch (op) {
	case OP_TRUNCATE:
		return block < KEEP ? (int)block : -1;
	case OP_PUNCH:
	case OP_ZERO:
	case OP_EXCHANGE:
	case OP_CLONE_INTO:
		return block < AT || block >= AT + COUNT ? (int)block : -1;
	case OP_COLLAPSE:
	case OP_INSERT: /* all that moves is a copy */
		return block < AT ? (int)block : -1;
	default:
		return (int)block;
	}
}

/* The operation, done to the letters. */
static void
apply(struct cell *c, struct names *n)
{
	char was[NBLOCKS_MAX + 1];

	strcpy(was, c->held);
	switch (c->op) {
	case OP_WRITE:
	case OP_WRITE_DIRECT:
		c->held[1] = 'W';
		break;
	case OP_TRUNCATE:
		c->held[KEEP] = 0;
		break;
	case OP_PUNCH:
	case OP_ZERO:
		memset(c->held + AT, '.', COUNT);
		break;
	case OP_COLLAPSE:
		strcpy(c->held + AT, was + AT + SHIFT);
		break;
	case OP_INSERT:
		memset(c->held + AT, '.', SHIFT);
		strcpy(c->held + AT + SHIFT, was + AT);
		break;
	case OP_EXCHANGE:
		memcpy(n->other + AT, was + AT, COUNT);
		memcpy(c->held + AT, &OTHER_FIRST[AT], COUNT);
		break;
	case OP_CLONE_INTO:
		memcpy(c->held + AT, &OTHER_FIRST[AT], COUNT);
		break;
	case OP_CLONE_FROM:
	case OP_COPY_FROM:
		strcpy(n->copy, was);
		break;
	case OP_UNLINK:
		strcpy(n->file, "-");
		break;
	case OP_RENAME_OVER:
		strcpy(n->file, n->other);
		strcpy(n->other, "-");
		break;
	default:
		break;
	}
}

static uint8_t *
mapped(const struct cell *c, unsigned block)
{
	return (uint8_t *)pinfs_addr(c->map) + (size_t)block * BLOCK;
}

/* Each block of the holder's: the file's, or his alone. was: what they held when the operation was over. */
static void
check_mapping(struct cell *c, bool done, const char *was)
{
	bool may_store = c->state != READ_PIN;

	for (unsigned b = 0; b < NBLOCKS; b++) {
		int at = c->state == REVOKED ? -1 : done ? place(c->op, b) : (int)b;
		char now = letter_of(mapped(c, b)), want = at < 0 ? was[b] : c->held[at];

		must(now == want, "the holder's block %u shows %c, not %c", b, now, want);
		if (may_store)
			memset(mapped(c, b), '0' + (int)b, BLOCK);
		else if (at >= 0)
			must(write_block(c->fd, (unsigned)at, '0' + (int)b) == 0, "write");
		if (at >= 0) {
			c->held[at] = (char)('0' + b);
			must(letter_of(mapped(c, b)) == '0' + (int)b, "the holder's block %u shows no write", b);
		}
	}
}

/* A crash now leaves what the file holds. */
static void
check_durable(const struct cell *c)
{
	static uint8_t buf[NBLOCKS_MAX * BLOCK];
	struct image *im = image_take(c->fd);
	char got[NBLOCKS_MAX + 1];
	ssize_t n;

	must(im, "the crash image is damaged");
	n = image_read(im, FILE_NAME, buf, sizeof(buf), 0);
	must(n >= 0, "the file in the crash image");
	image_drop(im);
	letters_of(buf, n, got);
	must(strcmp(got, c->held) == 0, "after a crash the file would hold %s, not %s", got, c->held);
}

/* ---- the holder --------------------------------------------------------------------------------------- */

static void
punch_last(void *arg)
{
	int fd = open_in(FILE_NAME, O_RDWR);

	(void)arg;
	must(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, LAST * BLOCK, BLOCK) == 0, "punch");
}

/* By an operation on the last block alone: the others leave the holder, too. */
static void
revoke_lease(struct cell *c)
{
	must(reap(child(punch_last, NULL)) == 0, "the lease can't be broken");
	must(pinfs_map_state(c->map) == PINFS_LEASE_REVOKED, "the lease is not revoked");
	c->held[LAST] = '.';
}

static void
set_up(struct cell *c)
{
	close(make_letters(OTHER_NAME, OTHER_FIRST, c->kind));
	close(make_letters(COPY_NAME, "", STABLE));
	c->fd = make_letters(FILE_NAME, FIRST, c->kind);
	strcpy(c->held, FIRST);
	switch (c->state) {
	case NO_PIN:
	case STATES:
		break;
	case READ_PIN:
		c->map = map_range(c->fd, 0, LEN, PINFS_MAP_READ, PINFS_PIN_TRANSIENT);
		break;
	case WRITE_PIN:
		c->map = map_range(c->fd, 0, LEN, PINFS_MAP_WRITE, PINFS_PIN_TRANSIENT);
		break;
	case EXCLUSIVE: /* beside the shared one that comes with the mapping */
		c->exclusive = lease(c->fd, 0, LEN, PINFS_LEASE_EXCLUSIVE, 0, 0);
		/* fall through */
	case SHARED:
	case REVOKED:
		c->map = map_range(c->fd, 0, LEN, PINFS_MAP_WRITE, PINFS_PIN_LONGTERM);
		break;
	}
	if (c->state == REVOKED)
		revoke_lease(c);
	if (c->map && c->state != READ_PIN)
		memset(mapped(c, STORED), 'S', BLOCK);
	c->look = open_in(FILE_NAME, O_RDONLY);
	if (c->map && c->state != READ_PIN && c->state != REVOKED)
		c->held[STORED] = 'S';
}

static void
let_go(struct cell *c)
{
	must(pinfs_unmap(c->map) == 0, "unmap");
	c->map = NULL;
	if (c->exclusive)
		must(pinfs_lease_release(c->fd, c->exclusive) == 0, "release");
	c->exclusive = 0;
}

/* The lease is being broken: the operation waits and has done nothing yet; what the holder stores now is the file's. */
static void
give_way(struct cell *c, const struct pinfs_event *ev)
{
	must(ev->type == PINFS_EVENT_BREAK && pinfs_map_state(c->map) == PINFS_LEASE_BREAKING, "event %u", ev->type);
	must(status_of(c->fd, parked) == 1 && !turn_ready(&c->t, 0, 10), "the operation does not wait");
	expect("while the operation waits", c->look, c->held);
	memset(mapped(c, 0), 'P', BLOCK);
	c->held[0] = 'P';
	expect("while the operation waits", c->look, c->held);
	let_go(c);
}

static void
start(struct cell *c)
{
	turns_init(&c->t);
	if (c->who == OTHER)
		c->pid = child(operate, c);
	else
		must(pthread_create(&c->thread, NULL, operate_thread, c) == 0, "thread");
	turn_take(&c->t, 0);
}

/* Wait for its end, and say what it was. */
static char
finish(struct cell *c)
{
	bool waited = false, broke = false, has_lease = c->map && (c->state == SHARED || c->state == EXCLUSIVE);
	int64_t begin = now_ms();
	struct pinfs_event ev;
	int r;

	while (!turn_ready(&c->t, 0, 1)) {
		waited |= status_of(c->fd, parked) > 0;
		if (has_lease && !broke && pinfs_next_event(c->fd, &ev, 0) == 1) {
			broke = true;
			give_way(c, &ev);
		}
	}
	r = turn_take(&c->t, 0);
	if (c->who == OTHER)
		must(reap(c->pid) == 0, "the process of the operation");
	else
		pthread_join(c->thread, NULL);
	must(r == 0 || r == EBUSY || r == ETXTBSY, "it fails: %s", strerror(r));
	must(broke || !has_lease || pinfs_next_event(c->fd, &ev, 0) == 0, "an event, although nobody waited");
	if (r != 0)
		return r == EBUSY ? 'B' : 'T';
	if (broke)
		return 'l';
	must(!waited || now_ms() - begin >= TRANSIENT_MS * 9 / 10, "it waited, but not for transient_ms");
	return waited ? 'm' : '.';
}

/* In a process of its own. */
static void
play(void *arg)
{
	struct cell *c = arg;
	char want = rows[c->op].outcome[c->kind][c->who][c->state], got, was[NBLOCKS_MAX + 1];
	struct names n = { .other = OTHER_FIRST };
	bool done;

	alarm(CELL_LIMIT_S);
	set_up(c);
	if (c->op == OP_UNPIN && c->map)
		let_go(c);
	start(c);
	got = finish(c);
	must(got == want, "the outcome is \"%s\", not \"%s\"", outcome_of(got)->word, outcome_of(want)->word);
	done = got != 'B' && got != 'T';
	strcpy(was, c->held);
	if (c->state == REVOKED) { /* the file does not know */
		was[STORED] = 'S';
		was[LAST] = FIRST[LAST];
	}
	if (done)
		apply(c, &n);
	if (c->op == OP_FSYNC || c->op == OP_UNPIN)
		check_durable(c);
	must(is_dax(c->fd) == ((c->kind == DAX) != (c->op == OP_SET_DAX && done)), "the dax attribute");
	expect("after the operation", c->look, c->held);
	if (c->map)
		check_mapping(c, done, was);
	expect("at the end", c->look, c->held);
	expect_name(FILE_NAME, n.file[0] ? n.file : c->held);
	expect_name(OTHER_NAME, n.other);
	expect_name(COPY_NAME, n.copy);
	if (c->map)
		let_go(c);
	expect("without pins", c->look, c->held);
	close(c->look);
	close(c->fd);
}

/* ---- all of them ---------------------------------------------------------------------------------------- */

/* The holder is gone. Closing is not waited for by close(2). */
static bool
nothing_left(int dir)
{
	for (int64_t end = now_ms() + SETTLE_MS; now_ms() < end; sleep_ms(1))
		if (status_of(dir, pins) == 0 && status_of(dir, leases) == 0 && status_of(dir, parked) == 0 &&
		    status_of(dir, quarantined_blocks) == 0)
			return true;
	printf("left: %llu pins, %llu leases, %llu parked, %llu quarantined\n",
	    (unsigned long long)status_of(dir, pins), (unsigned long long)status_of(dir, leases),
	    (unsigned long long)status_of(dir, parked), (unsigned long long)status_of(dir, quarantined_blocks));
	return false;
}

static bool
run(struct cell *c, int dir)
{
	bool ok = reap(child(play, c)) == 0;

	change_names(FILE_NAME, NULL);
	change_names(OTHER_NAME, NULL);
	change_names(COPY_NAME, NULL);
	return nothing_left(dir) && ok;
}

/* No cell is empty. */
static void
check_table(void)
{
	for (unsigned k = 0; k < OPS * KINDS * WHOS; k++) {
		const struct row *row = &rows[k / (KINDS * WHOS)];
		const char *s = row->outcome[k / WHOS % KINDS][k % WHOS];

		must(strlen(s) == STATES, "%s: %s is not %d states", row->name, s, STATES);
		for (; *s; s++)
			must(outcome_of(*s), "%s: no outcome is %c", row->name, *s);
	}
}

static int
run_all(const char *only)
{
	int dir = open(scenario_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	unsigned passed = 0, failed = 0, skipped = 0;

	must(dir >= 0, "open %s", scenario_dir);
	for (unsigned k = 0; k < OPS * STATES * KINDS * WHOS; k++) {
		struct cell c = {
			.op = (enum op)(k / (STATES * KINDS * WHOS)),
			.state = (enum state)(k / (KINDS * WHOS) % STATES),
			.kind = (enum kind)(k / WHOS % KINDS),
			.who = (enum who)(k % WHOS),
		};
		char name[100];
		bool ok;

		snprintf(name, sizeof(name), "%s:%s:%s:%s", rows[c.op].name, state_name[c.state], kind_name[c.kind],
		    who_name[c.who]);
		if (only && strcmp(only, name) != 0)
			continue;
		if (policy_is("cut") != (c.state == REVOKED)) {
			skipped++;
			continue;
		}
		alarm(SCENARIO_LIMIT_S);
		ok = run(&c, dir);
		printf("%s %u - %s %s\n", ok ? "ok" : "not ok", k + 1, name,
		    outcome_of(rows[c.op].outcome[c.kind][c.who][c.state])->word);
		passed += ok;
		failed += !ok;
	}
	must(passed + failed + skipped > 0, "there is no cell %s", only);
	printf("%u passed, %u failed, %u skipped\n", passed, failed, skipped);
	return failed ? 1 : 0;
}

/* ---- the manual ----------------------------------------------------------------------------------------- */

static void
man_row(const struct row *row, const char *kind, const char *s)
{
	printf("%s%s", row->title, kind);
	for (; *s; s++)
		printf("\t%s", outcome_of(*s)->word);
	printf("\n");
}

/* The rows that the process of that kind has other than another one would. */
static void
man_table(enum who who)
{
	printf(".TS\nl l l l l l l.\noperation");
	for (enum state s = 0; s < STATES; s++)
		printf("\t%s", state_name[s]);
	printf("\n_\n");
	for (enum op op = 0; op < OPS; op++) {
		const struct row *row = &rows[op];
		const char *stable = row->outcome[STABLE][who], *dax = row->outcome[DAX][who];

		if (who == OTHER || strcmp(stable, row->outcome[STABLE][OTHER]) != 0)
			man_row(row, "", stable);
		if (strcmp(dax, stable) != 0)
			man_row(row, ", dax file", dax);
	}
	printf(".TE\n");
}

static void
man(void)
{
	man_table(OTHER);
	printf(".PP\nBy the process that has the pin or lease; what is not here is as above.\n.PP\n");
	man_table(SAME);
	for (size_t k = 0; k < sizeof(outcomes) / sizeof(outcomes[0]); k++)
		printf(".TP\n.B %s\n%s\n", outcomes[k].word, outcomes[k].meaning);
}

int
main(int argc, char **argv)
{
	bool one = argc == 5 && strcmp(argv[3], "--cell") == 0;

	check_table();
	if (argc == 2 && strcmp(argv[1], "--man") == 0) {
		man();
		return 0;
	}
	if ((argc != 3 && !one) || (strcmp(argv[2], "grace") != 0 && strcmp(argv[2], "cut") != 0)) {
		fprintf(stderr, "usage: matrix DIR grace|cut [--cell OPERATION:STATE:KIND:WHO]\n       matrix --man\n");
		return 2;
	}
	scenario_begin(3, argv);
	return run_all(one ? argv[4] : NULL);
}
