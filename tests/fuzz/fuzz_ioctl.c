/* SPDX-License-Identifier: BSD-3-Clause */
/* The front end, with this program for a kernel: a socket takes the place of /dev/fuse.
 *
 * An input is a script: open and close files, read, write, resize, fallocate, and above all ioctls, whose structures begin as
 * they should be (size right, the id or token that the newest reply gave) and are then patched. The size that the command states is
 * patched as well. Everything gets a reply within the bounds that the mount options set, or after an interrupt; when all
 * files are closed nothing is pinned, leased, parked or, after a sync, quarantined; and the pool is sound.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <pinfs/ioctl.h>

#include "fs/check.h"
#include "fs/fuse/front.h"
#include "pmem/log.h"
#include "tests/fuzz/fuzz.h"

#define POOL_BYTES ((size_t)4 << 20)
#define FILES 3u
#define HANDLES 4u
#define STEPS_MAX 64u
#define PATIENCE_MS 20000
#define MOUNT_OPTIONS "commit=3600,transient_ms=5,lease_break_ms=20,pin_without_lease,allow_skip"

static uint8_t base[POOL_BYTES], *image;
static char path[64];

/* ---- the kernel's side ------------------------------------------------------------------------- */

struct kernel {
	int fd;
	uint64_t unique;
	uint64_t nodeid[FILES];
	struct { uint64_t fh; unsigned file; bool open; } handle[HANDLES];
	uint64_t pin, lease;
	uint8_t token[16];
	uint8_t reply[sizeof(struct fuse_out_header) + sizeof(struct fuse_ioctl_out) + (1 << 17)];
	size_t len;     /* of the body of the newest reply */
};

static const void *
body_of(const struct kernel *k)
{
	return k->reply + sizeof(struct fuse_out_header);
}

static void
tell(struct kernel *k, uint32_t opcode, uint64_t nodeid, const void *arg, size_t n, const void *more, size_t nmore)
{
	struct fuse_in_header head = { .len = (uint32_t)(sizeof(head) + n + nmore), .opcode = opcode, .unique = k->unique,
		.nodeid = nodeid, .pid = (uint32_t)getpid() };
	struct iovec iov[3] = { { &head, sizeof(head) }, { (void *)(uintptr_t)arg, n }, { (void *)(uintptr_t)more, nmore } };

	fuzz_require(writev(k->fd, iov, 3) == (ssize_t)head.len, "request: %s", strerror(errno));
}

/* Its reply; what has none within a while is interrupted. */
static int
ask(struct kernel *k, uint32_t opcode, uint64_t nodeid, const void *arg, size_t n, const void *more, size_t nmore)
{
	const struct fuse_out_header *out = (const void *)k->reply;
	struct pollfd p = { .fd = k->fd, .events = POLLIN };
	uint64_t mine = k->unique += 2;
	bool interrupted = false;
	ssize_t got;

	tell(k, opcode, nodeid, arg, n, more, nmore);
	for (;;) {
		int r = poll(&p, 1, interrupted ? PATIENCE_MS : 1000);

		fuzz_require(r > 0 || !interrupted, "opcode %u: no reply, also after an interrupt", opcode);
		if (r == 0) {
			struct fuse_interrupt_in in = { .unique = mine };

			interrupted = true;
			k->unique++;
			tell(k, FUSE_INTERRUPT, 0, &in, sizeof(in), NULL, 0);
			k->unique++;
			continue;
		}
		got = read(k->fd, k->reply, sizeof(k->reply));
		fuzz_require(got >= (ssize_t)sizeof(*out) && (size_t)got == out->len, "a reply of %zd bytes", got);
		if (out->unique == mine)
			break;
		/* a notification, or (to an interrupt) try again */
	}
	k->len = (size_t)got - sizeof(*out);
	fuzz_require(out->error <= 0 && out->error > -512, "opcode %u: error %d", opcode, out->error);
	return out->error;
}

static void
handshake(struct kernel *k)
{
	struct fuse_init_in in = { .major = FUSE_KERNEL_VERSION, .minor = 38, .max_readahead = 1 << 17,
		.flags = FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES | FUSE_IOCTL_DIR | FUSE_INIT_EXT | FUSE_MAX_PAGES };

	fuzz_require(ask(k, FUSE_INIT, 0, &in, sizeof(in), NULL, 0) == 0, "INIT");
}

static void
make_files(struct kernel *k)
{
	for (unsigned n = 0; n < FILES; n++) {
		struct fuse_create_in in = { .flags = O_RDWR, .mode = S_IFREG | 0644 };
		struct fuse_release_in rel = { 0 };
		struct fuse_open_out open;
		char name[8];

		snprintf(name, sizeof(name), "f%u", n);
		fuzz_require(ask(k, FUSE_CREATE, FUSE_ROOT_ID, &in, sizeof(in), name, strlen(name) + 1) == 0, "create");
		k->nodeid[n] = ((const struct fuse_entry_out *)body_of(k))->nodeid;
		memcpy(&open, (const uint8_t *)body_of(k) + sizeof(struct fuse_entry_out), sizeof(open));
		rel.fh = open.fh;
		fuzz_require(ask(k, FUSE_RELEASE, k->nodeid[n], &rel, sizeof(rel), NULL, 0) == 0, "release");
	}
}

static void
close_handle(struct kernel *k, unsigned h)
{
	struct fuse_release_in in = { .fh = k->handle[h].fh };

	if (!k->handle[h].open)
		return;
	ask(k, FUSE_RELEASE, k->nodeid[k->handle[h].file], &in, sizeof(in), NULL, 0);
	k->handle[h].open = false;
}

/* ---- ioctls -------------------------------------------------------------------------------------- */

#define CMD(cmd, type, id) { cmd, sizeof(struct type), id, #type }
enum { NO_ID = 0, PIN_ID, LEASE_ID, TOKEN };
static const struct {
	unsigned cmd;
	size_t size;
	int id;
	const char *name;
} cmds[] = {
	CMD(PINFS_IOC_INFO, pinfs_info, NO_ID),
	CMD(PINFS_IOC_UNPIN, pinfs_unpin, PIN_ID),
	CMD(PINFS_IOC_EXTENTS, pinfs_extents, NO_ID),
	CMD(PINFS_IOC_SYNC, pinfs_sync_range, NO_ID),
	CMD(PINFS_IOC_STATUS, pinfs_status, NO_ID),
	CMD(PINFS_IOC_TRACK, pinfs_track, PIN_ID),
	CMD(PINFS_IOC_PIN_EXTENTS, pinfs_pin_extents, PIN_ID),
	CMD(PINFS_IOC_LIST, pinfs_list, NO_ID),
	CMD(PINFS_IOC_LEASE, pinfs_lease, LEASE_ID),
	CMD(PINFS_IOC_LEASE_RELEASE, pinfs_lease_release, LEASE_ID),
	CMD(PINFS_IOC_EVENTS, pinfs_events, NO_ID),
	CMD(PINFS_IOC_COLLAPSE, pinfs_range, NO_ID),
	CMD(PINFS_IOC_INSERT, pinfs_range, NO_ID),
	CMD(PINFS_IOC_OFFER, pinfs_offer, NO_ID),
	CMD(PINFS_IOC_CLONE, pinfs_clone, TOKEN),
	CMD(PINFS_IOC_EXCHANGE, pinfs_exchange, TOKEN),
	{ FS_IOC_FSSETXATTR, sizeof(struct fsxattr), NO_ID, "fsxattr" },
	{ FS_IOC_SETFLAGS, sizeof(long), NO_ID, "flags" },
};
#define CMDS (sizeof(cmds) / sizeof(cmds[0]))

static uint8_t arg[16384];

static void
put64(size_t off, uint64_t v)
{
	memcpy(arg + off, &v, sizeof(v));
}

static void
ioctl_on(struct kernel *k, struct fuzz_input *in, unsigned h)
{
	struct fuse_ioctl_in head = { .fh = k->handle[h].fh };
	unsigned which = fuzz_u8(in) % (CMDS + 4), n, cmd;
	uint32_t size;

	memset(arg, 0, sizeof(arg));
	if (which >= CMDS) {
		struct pinfs_pin *p = (struct pinfs_pin *)arg;

		n = 1 + fuzz_u8(in) % 3;
		size = (uint32_t)PINFS_PIN_SIZE(n);
		cmd = (unsigned)PINFS_IOC_PIN(n);
		p->nranges = n;
		p->access = fuzz_u8(in) & 1 ? PINFS_ACCESS_READWRITE : PINFS_ACCESS_READ;
		p->pin_class = (uint16_t)(1 + fuzz_u8(in) % 3);
		p->flags = p->access == PINFS_ACCESS_READWRITE && (fuzz_u8(in) & 1) ? PINFS_PIN_ALLOC : 0;
		for (unsigned r = 0; r < n; r++) {
			p->ranges[r].off = fuzz_take(in, 1) * 1000;
			p->ranges[r].len = 1 + fuzz_take(in, 2) % 20000;
		}
	} else {
		size = (uint32_t)cmds[which].size;
		cmd = cmds[which].cmd;
		if (cmds[which].id == PIN_ID || cmds[which].id == LEASE_ID)
			put64(8, cmds[which].id == PIN_ID ? k->pin : k->lease);
		else if (cmds[which].id == TOKEN)
			memcpy(arg + 8, k->token, sizeof(k->token));
		if (cmd == PINFS_IOC_LEASE) {
			((struct pinfs_lease *)arg)->type = 1 + fuzz_u8(in) % 2;
			((struct pinfs_lease *)arg)->id = 0;
		} else if (cmd == PINFS_IOC_COLLAPSE || cmd == PINFS_IOC_INSERT) {
			put64(8, (uint64_t)fuzz_u8(in) << 12);
			put64(16, (uint64_t)fuzz_u8(in) << 12);
		} else if (cmd == PINFS_IOC_CLONE || cmd == PINFS_IOC_EXCHANGE) {
			put64(24, (uint64_t)(fuzz_u8(in) & 7) << 12);
			put64(32, (uint64_t)(fuzz_u8(in) & 7) << 12);
			put64(40, (uint64_t)(fuzz_u8(in) & 7) << 12);
		} else if (cmd == PINFS_IOC_EXTENTS) {
			put64(16, 1 << 20);
		}
	}
	if (_IOC_TYPE(cmd) == PINFS_IOC_MAGIC)
		memcpy(arg, &size, sizeof(size));
	/* and now what should not be */
	for (n = fuzz_u8(in) & 3; n > 0; n--) {
		size_t off = fuzz_u16(in) % (size + 8), len;
		const uint8_t *bytes = fuzz_bytes(in, 1 + (fuzz_u8(in) & 7), &len);

		memcpy(arg + off, bytes, len);
	}
	if ((fuzz_u8(in) & 0xf) == 0xf) {
		size = fuzz_u16(in) & 0x3fff;
		cmd = (cmd & ~(unsigned)(_IOC_SIZEMASK << _IOC_SIZESHIFT)) | size << _IOC_SIZESHIFT;
	}
	head.cmd = cmd;
	head.in_size = _IOC_DIR(cmd) & _IOC_WRITE ? size : 0;
	head.out_size = _IOC_DIR(cmd) & _IOC_READ ? size : 0;
	if (ask(k, FUSE_IOCTL, k->nodeid[k->handle[h].file], &head, sizeof(head), arg, head.in_size) != 0)
		return;
	fuzz_require(k->len >= sizeof(struct fuse_ioctl_out), "ioctl %#x: %zu bytes", cmd, k->len);
	fuzz_require(k->len - sizeof(struct fuse_ioctl_out) <= head.out_size, "ioctl %#x: more than was asked for", cmd);
	k->len -= sizeof(struct fuse_ioctl_out);
	{
		const uint8_t *data = (const uint8_t *)body_of(k) + sizeof(struct fuse_ioctl_out);

		if (_IOC_NR(cmd) == _IOC_NR(PINFS_IOC_PIN(1)) && k->len >= offsetof(struct pinfs_pin, id) + 8)
			memcpy(&k->pin, data + offsetof(struct pinfs_pin, id), 8);
		if (cmd == PINFS_IOC_LEASE && k->len >= 16)
			memcpy(&k->lease, data + 8, 8);
		if (cmd == PINFS_IOC_OFFER && k->len >= sizeof(struct pinfs_offer))
			memcpy(k->token, data + 8, 16);
	}
}

/* ---- the rest ------------------------------------------------------------------------------------- */

static void
open_handle(struct kernel *k, struct fuzz_input *in, unsigned h)
{
	static const int flags[] = { O_RDWR, O_RDWR, O_RDONLY, O_WRONLY, O_RDWR | O_NONBLOCK, O_RDWR | O_TRUNC, O_RDWR | O_DIRECT,
		O_RDWR | O_APPEND };
	struct fuse_open_in o = { .flags = (uint32_t)flags[fuzz_u8(in) & 7] };
	unsigned file = fuzz_u8(in) % FILES;

	close_handle(k, h);
	if (ask(k, FUSE_OPEN, k->nodeid[file], &o, sizeof(o), NULL, 0) != 0)
		return;
	k->handle[h].fh = ((const struct fuse_open_out *)body_of(k))->fh;
	k->handle[h].file = file;
	k->handle[h].open = true;
}

static void
step(struct kernel *k, struct fuzz_input *in)
{
	uint8_t op = fuzz_u8(in);
	unsigned h = op >> 4 & 3;
	uint64_t nodeid;

	if (!k->handle[h].open || (op & 15) == 1) {
		open_handle(k, in, h);
		return;
	}
	nodeid = k->nodeid[k->handle[h].file];
	switch (op & 15) {
	case 0:
		close_handle(k, h);
		break;
	case 2: {
		struct fuse_write_in w = { .fh = k->handle[h].fh, .offset = fuzz_take(in, 2) * 16, .size = 1 + fuzz_u16(in) % 20000 };

		memset(arg, 'w', 16384);
		w.size = w.size < 16384 ? w.size : 16384;
		ask(k, FUSE_WRITE, nodeid, &w, sizeof(w), arg, w.size);
		break;
	}
	case 3: {
		struct fuse_read_in r = { .fh = k->handle[h].fh, .offset = fuzz_offset(in) & INT64_MAX, .size = fuzz_u16(in) };

		ask(k, FUSE_READ, nodeid, &r, sizeof(r), NULL, 0);
		break;
	}
	case 4: {
		struct fuse_setattr_in s = { .valid = FATTR_SIZE | (op & 0x80 ? FATTR_FH : 0), .fh = k->handle[h].fh,
			.size = fuzz_take(in, 2) * 8 };

		ask(k, FUSE_SETATTR, nodeid, &s, sizeof(s), NULL, 0);
		break;
	}
	case 5: {
		struct fuse_fallocate_in f = { .fh = k->handle[h].fh, .offset = fuzz_take(in, 2) * 8, .length = 1 + fuzz_take(in, 2),
			.mode = fuzz_u8(in) & 0x13 };

		ask(k, FUSE_FALLOCATE, nodeid, &f, sizeof(f), NULL, 0);
		break;
	}
	case 6: {
		struct fuse_fsync_in f = { .fh = k->handle[h].fh };

		ask(k, FUSE_FSYNC, nodeid, &f, sizeof(f), NULL, 0);
		break;
	}
	case 7: {
		struct fuse_poll_in p = { .fh = k->handle[h].fh, .kh = k->unique, .flags = FUSE_POLL_SCHEDULE_NOTIFY };

		ask(k, FUSE_POLL, nodeid, &p, sizeof(p), NULL, 0);
		break;
	}
	default:
		ioctl_on(k, in, h);
		break;
	}
}

/* Everything is closed: nothing is left of it. */
static void
look_for_traces(struct kernel *k)
{
	struct fuse_ioctl_in sync = { .flags = FUSE_IOCTL_DIR, .cmd = PINFS_IOC_SYNC, .in_size = sizeof(struct pinfs_sync_range) };
	struct fuse_ioctl_in status = { .flags = FUSE_IOCTL_DIR, .cmd = PINFS_IOC_STATUS, .in_size = sizeof(struct pinfs_status),
		.out_size = sizeof(struct pinfs_status) };
	struct pinfs_sync_range s = { .size = sizeof(s), .flags = PINFS_SYNC_FS };
	static struct pinfs_status st, got;
	int r;

	st = (struct pinfs_status){ .size = sizeof(st) };
	r = ask(k, FUSE_IOCTL, FUSE_ROOT_ID, &sync, sizeof(sync), &s, sizeof(s));
	fuzz_require(r == 0, "sync: %d", r);
	fuzz_require(ask(k, FUSE_IOCTL, FUSE_ROOT_ID, &status, sizeof(status), &st, sizeof(st)) == 0, "status");
	memcpy(&got, (const uint8_t *)body_of(k) + sizeof(struct fuse_ioctl_out), sizeof(got));
	fuzz_require(got.pins == 0 && got.pinned_blocks == 0, "%llu pins of %llu blocks are left", (unsigned long long)got.pins,
	    (unsigned long long)got.pinned_blocks);
	fuzz_require(got.leases == 0 && got.parked == 0, "%llu leases, %llu parked are left", (unsigned long long)got.leases,
	    (unsigned long long)got.parked);
	fuzz_require(got.quarantined_blocks == 0, "%llu blocks in quarantine", (unsigned long long)got.quarantined_blocks);
}

static void
finding(void *a, const struct check_finding *f)
{
	char line[512];

	(void)a;
	check_format(f, line, sizeof(line));
	if (f->error)
		fprintf(stderr, "  %s\n", line);
}

static void
check(void)
{
	struct pool_options po = { .flags = POOL_RDONLY, .domain = -1 };
	struct check_options co = { .threads = 1, .finding = finding };
	struct check_result res = { 0 };
	struct pool_error err;
	struct pool *p;

	fuzz_require(pool_open(&p, path, &po, &err) == 0, "%s", err.text);
	fuzz_require(check_pool(p, &co, &res) == 0 && res.errors == 0, "the pool is damaged");
	pool_close(p);
}

static void
no_log(void *a, int level, const char *text)
{
	(void)a, (void)level;
	if (getenv("PINFS_FUZZ_VERBOSE"))
		fprintf(stderr, "  log: %s\n", text);
}

static void
remove_pool(void)
{
	unlink(path);
}

static void
make_base(void)
{
	static const uint8_t uuid[16] = { 1 };
	struct mkfs_options mo = { .bytes = POOL_BYTES, .uuid = uuid, .force = true };
	struct pool_error err;
	int fd;

	pinfs_log_to(no_log, NULL);
	snprintf(path, sizeof(path), "/dev/shm/pinfs-fuzz.%d", (int)getpid());
	atexit(remove_pool);
	fuzz_require(pool_mkfs(path, &mo, &err) == 0, "%s", err.text);
	fuzz_require(fs_format(path, getuid(), getgid(), 0755, &err) == 0, "%s", err.text);
	fd = open(path, O_RDWR | O_CLOEXEC);
	fuzz_require(fd >= 0, "%s", strerror(errno));
	image = mmap(NULL, POOL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	fuzz_require(image != MAP_FAILED, "%s", strerror(errno));
	close(fd);
	memcpy(base, image, POOL_BYTES);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct kernel k;
	struct fuzz_input in = { data, size };
	struct mount_options o;
	struct front_error err;
	struct front *front;
	char why[512];
	int fd[2];

	if (!image)
		make_base();
	memcpy(image, base, POOL_BYTES);
	memset(&k, 0, sizeof(k));
	mount_options_default(&o);
	fuzz_require(mount_options_parse(&o, MOUNT_OPTIONS, why, sizeof(why)) == 0, "%s", why);
	fuzz_require(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd) == 0, "%s", strerror(errno));
	k.fd = fd[0];
	fuzz_require(front_open_fd(&front, path, fd[1], &o, &err) == 0, "%s", err.text);
	handshake(&k);
	make_files(&k);
	for (unsigned n = 0; n < STEPS_MAX && in.left > 0; n++)
		step(&k, &in);
	for (unsigned h = 0; h < HANDLES; h++)
		close_handle(&k, h);
	look_for_traces(&k);
	fuzz_require(front_close(front) == 0, "close");
	close(k.fd);
	check();
	return 0;
}
