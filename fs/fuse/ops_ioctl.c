/* SPDX-License-Identifier: BSD-3-Clause */
/* ioctl(2): the flags of chattr(1) and xfs_io(8), and what <pinfs/ioctl.h> defines.
 *
 * ioctls are of the restricted kind: the kernel copies as many bytes in and out as the command's number
 * says. So a command is known by number and type, and its size is checked against the structure, and
 * against the size that the structure itself states.
 *
 * A write pin makes stores possible that the kernel does not see. Before the caller is told
 * of his pin, and after he is done with it, the kernel drops what it has cached of the file, if anything (front_forget): the
 * note goes to the notifier, and the reply to the ioctl is sent when the note has been.
 */
#include <errno.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fs/fuse/ioctl_i.h"
#include "fs/pin.h"
#include "fs/process.h"
#include "fs/scrub.h"
#include "pmem/held.h"

bool
ioctl_all_zero(const void *p, size_t n)
{
	const char *c = p;

	while (n > 0 && *c == 0) {
		c++;
		n--;
	}
	return n == 0;
}

void
ioctl_reply_struct(const struct call *c, const void *s, size_t size)
{
	fuse_reply_ioctl(c->req, 0, s, min_of(size, c->out_size));
}

/* ---- chattr(1), xfs_io(8) ------------------------------------------------------------------------ */

static const struct { uint32_t inode, fs, x; } flag_map[] = {
	{ INODE_FL_IMMUTABLE, FS_IMMUTABLE_FL, FS_XFLAG_IMMUTABLE },
	{ INODE_FL_APPEND, FS_APPEND_FL, FS_XFLAG_APPEND },
	{ INODE_FL_NOATIME, FS_NOATIME_FL, FS_XFLAG_NOATIME },
	{ INODE_FL_NODUMP, FS_NODUMP_FL, FS_XFLAG_NODUMP },
	{ INODE_FL_SYNC, FS_SYNC_FL, FS_XFLAG_SYNC },
	{ INODE_FL_DAX, FS_DAX_FL, FS_XFLAG_DAX },
};
#define FLAGS (sizeof(flag_map) / sizeof(flag_map[0]))

static uint32_t
flags_from_inode(uint32_t flags, bool x)
{
	uint32_t out = 0;

	for (size_t k = 0; k < FLAGS; k++)
		if (flags & flag_map[k].inode)
			out |= x ? flag_map[k].x : flag_map[k].fs;
	return out;
}

static int
flags_to_inode(uint32_t flags, bool x, uint32_t *out)
{
	*out = 0;
	for (size_t k = 0; k < FLAGS; k++) {
		uint32_t bit = x ? flag_map[k].x : flag_map[k].fs;

		if (flags & bit)
			*out |= flag_map[k].inode;
		flags &= ~bit;
	}
	return flags ? -EOPNOTSUPP : 0;
}

/* New flags for a file; to turn dax on or off is a layout operation. */
struct flagging {
	struct front_op op;
	struct front *front;
	fuse_req_t req;
	struct inode *inode;   /* a reference */
	uint32_t flags, projid;
	struct fs_cred cred;
};

static int
set_flags_now(const struct flagging *f)
{
	int r = fs_setflags(f->front->fs, f->inode, f->flags, f->projid, &f->cred);

	/* the change time moved, and the kernel does not know */
	if (r == 0)
		notify_inval(f->front->notifier, f->inode->ino, 0, -1, NULL, NULL);
	return r;
}

static void
set_flags_layout(struct front_op *p, int r)
{
	struct flagging *f = caa_container_of(p, struct flagging, op);

	if (r == 0) {
		r = set_flags_now(f);
		layout_end(&p->op);
	}
	if (r < 0)
		front_reply(f->req, r);
	else
		fuse_reply_ioctl(f->req, 0, NULL, 0);
	inode_put(f->inode);
	free(f);
}

/* Replies itself, or returns an error. */
static int
set_flags(const struct call *c, uint32_t flags, bool x, const uint32_t *projid)
{
	struct flagging f = { .front = c->front, .req = c->req, .inode = c->inode }, *later;
	uint32_t old, id;
	int r;

	front_cred(c->req, &f.cred);
	r = flags_to_inode(flags, x, &f.flags);
	if (r == 0)
		r = fs_getflags(c->front->fs, c->inode, &old, &id);
	if (r < 0)
		return r;
	f.projid = projid ? *projid : id;
	/* who may not do it is told so before anybody has to make way for him */
	if (!((old ^ f.flags) & INODE_FL_DAX) || !inode_is_reg(c->inode) ||
	    (f.cred.uid != 0 && f.cred.uid != __atomic_load_n(&c->inode->attr.uid, __ATOMIC_RELAXED))) {
		r = set_flags_now(&f);
		if (r == 0)
			fuse_reply_ioctl(c->req, 0, NULL, 0);
		return r;
	}
	later = malloc(sizeof(*later));
	if (!later)
		return -ENOMEM;
	*later = f;
	inode_hold(f.inode);
	layout_op_init(&later->op.op, f.inode, LAYOUT_DAX, 0, FBLK_MAX + 1);
	later->op.op.tid = f.cred.tgid;
	later->op.op.nonblock = c->file && (c->file->flags & O_NONBLOCK);
	front_op_begin(&later->op, &c->front->waiters, front_request->head->unique, set_flags_layout);
	return 0;
}

static int
do_getflags(const struct call *c)
{
	uint32_t fl, projid, out;
	int r = fs_getflags(c->front->fs, c->inode, &fl, &projid);

	if (r == 0 && c->out_size < sizeof(out))
		r = -EINVAL;
	if (r < 0)
		return r;
	out = flags_from_inode(fl, false);
	ioctl_reply_struct(c, &out, sizeof(out));
	return 0;
}

static int
do_setflags(const struct call *c)
{
	uint32_t flags;

	if (c->in_size < sizeof(flags))
		return -EINVAL;
	memcpy(&flags, c->in, sizeof(flags));
	return set_flags(c, flags, false, NULL);
}

static int
do_fsgetxattr(const struct call *c)
{
	struct fsxattr x = { 0 };
	uint32_t fl;
	int r = fs_getflags(c->front->fs, c->inode, &fl, &x.fsx_projid);

	if (r == 0 && c->out_size < sizeof(x))
		r = -EINVAL;
	if (r < 0)
		return r;
	x.fsx_xflags = flags_from_inode(fl, true);
	ioctl_reply_struct(c, &x, sizeof(x));
	return 0;
}

static int
do_fssetxattr(const struct call *c)
{
	struct fsxattr x;

	if (c->in_size < sizeof(x))
		return -EINVAL;
	memcpy(&x, c->in, sizeof(x));
	if (x.fsx_extsize || x.fsx_cowextsize)
		return -EOPNOTSUPP;
	return set_flags(c, x.fsx_xflags & ~(uint32_t)FS_XFLAG_HASATTR, true, &x.fsx_projid);
}

static int
do_getversion(const struct call *c)
{
	uint32_t generation = c->inode->attr.generation;

	ioctl_reply_struct(c, &generation, sizeof(generation));
	return 0;
}

/* ---- facts --------------------------------------------------------------------------------------- */

_Static_assert(INODE_FL_IMMUTABLE == PINFS_INODE_IMMUTABLE && INODE_FL_APPEND == PINFS_INODE_APPEND &&
    INODE_FL_NOATIME == PINFS_INODE_NOATIME && INODE_FL_NODUMP == PINFS_INODE_NODUMP &&
    INODE_FL_SYNC == PINFS_INODE_SYNC && INODE_FL_DAX == PINFS_INODE_DAX, "flags of the medium and of the ABI");
_Static_assert((int)DOMAIN_VOLATILE == PINFS_DOMAIN_VOLATILE && (int)DOMAIN_PAGECACHE == PINFS_DOMAIN_PAGECACHE &&
    (int)DOMAIN_PMEM == PINFS_DOMAIN_PMEM, "domains");

static int
do_info(const struct call *c)
{
	struct inode *i = c->inode;
	struct root_block root;
	struct pinfs_info o;
	struct pool *p = fs_pool(c->front->fs);

	if (!TAKE(c, o) || !RESERVED_OK(o))
		return -EINVAL;
	pool_root(p, &root);
	o = (struct pinfs_info){ .size = sizeof(o), .ino = i->ino, .generation = i->attr.generation,
		.domain = domain_kind(pool_domain(p)) };
	memcpy(o.pool_uuid, root.uuid, sizeof(o.pool_uuid));
	rwl_rdlock(&i->layout_lock);
	mtx_lock(&i->attr_lock);
	o.file_size = i->size;
	o.durable_size = i->durable_size;
	o.durable_blocks = i->durable_blocks;
	o.inode_flags = i->attr.flags;
	mtx_unlock(&i->attr_lock);
	o.live_blocks = i->live.blocks;
	o.dirty_extents = i->live.dirty_extents;
	rwl_unlock(&i->layout_lock);
	if (inode_is_reg(i)) {
		uint64_t readers, writers;

		pin_counts(i, &readers, &writers);
		o.read_pins = readers;
		o.write_pins = writers;
	}
	ioctl_reply_struct(c, &o, sizeof(o));
	return 0;
}

static int
do_status(const struct call *c)
{
	struct fs *fs = c->front->fs;
	struct pool *p = fs_pool(fs);
	uint64_t inodes, data, nodes;
	struct fs_counters n;
	struct root_block root;
	struct pinfs_status *o;
	struct alloc_stats st;

	if (c->in_size != sizeof(*o))
		return -EINVAL;
	o = malloc(sizeof(*o));
	if (!o)
		return -ENOMEM;
	memcpy(o, c->in, sizeof(*o));
	if (o->size != sizeof(*o) || o->flags || !RESERVED_OK(*o)) {
		free(o);
		return -EINVAL;
	}
	held_check_all(p);
	pool_root(p, &root);
	pool_counters(p, &inodes, &data, &nodes);
	alloc_stats(pool_alloc(p), &st);
	fs_counters(fs, &n);
	*o = (struct pinfs_status){
		.size = sizeof(*o), .domain = domain_kind(pool_domain(p)), .block_size = BLK_SIZE,
		.total_blocks = st.total,
		.free_blocks = st.free + session_held_blocks(c->front->session), .reserved_blocks = st.reserved,
		.quarantined_blocks = st.quarantined,
		.data_blocks = data, .node_blocks = nodes, .inodes = inodes,
		.txn_committed = txn_committed(p),
		.pins = n.pins, .pinned_blocks = n.pinned_blocks, .dirty_inodes = n.dirty_inodes,
		.cached_inodes = n.cached_inodes, .live_extents = n.live_extents, .commits = n.commits,
		.writebacks = n.writebacks, .written_blocks = n.wb_blocks, .bounced_blocks = n.bounced_blocks,
		.skipped_blocks = n.skipped_blocks, .leases = n.leases, .lease_breaks = n.lease_breaks,
		.lease_revocations = n.lease_revocations, .parked = n.parked,
		.requests = session_requests(c->front->session),
		.held_blocks = held_waiting(p),
		.pool_dev = c->front->pool_dev, .pool_ino = c->front->pool_ino,
		.daemon_pid = (uint32_t)getpid(), .readonly = c->front->opt.fs.readonly,
	};
	memcpy(o->pool_uuid, root.uuid, sizeof(o->pool_uuid));
	memcpy(o->label, root.label, sizeof(o->label));
	o->label[sizeof(o->label) - 1] = '\0';
	snprintf(o->pool_path, sizeof(o->pool_path), "%s", pool_path(p));
	ioctl_reply_struct(c, o, sizeof(*o));
	free(o);
	return 0;
}

/* MAP_... as PINFS_EXTENT_... */
static uint32_t
extent_flags(uint32_t flags)
{
	static const struct { uint32_t map, abi; } bits[] = {
		{ MAP_DURABLE, PINFS_EXTENT_DURABLE }, { MAP_DIRTY, PINFS_EXTENT_DIRTY },
		{ MAP_UNWRITTEN, PINFS_EXTENT_UNWRITTEN }, { MAP_RPINNED, PINFS_EXTENT_RPINNED },
		{ MAP_WPINNED, PINFS_EXTENT_WPINNED }, { MAP_SHARED_BLOCKS, PINFS_EXTENT_SHARED },
		{ MAP_HOLE, PINFS_EXTENT_HOLE },
	};
	uint32_t out = 0;

	for (size_t k = 0; k < sizeof(bits) / sizeof(bits[0]); k++)
		if (flags & bits[k].map)
			out |= bits[k].abi;
	return out;
}

static int
do_extents(const struct call *c)
{
	struct map_extent e[PINFS_EXTENTS_MAX];
	struct pinfs_extents o;
	int n;

	if (!TAKE(c, o) || !RESERVED_OK(o) || o.reserved32)
		return -EINVAL;
	if (!inode_is_reg(c->inode))
		return inode_is_dir(c->inode) ? -EISDIR : -EINVAL;
	if (o.len == 0 || o.off > FILE_MAX_BYTES || o.len > FILE_MAX_BYTES - o.off)
		return -EINVAL;
	n = map_extents(c->inode, o.off, o.len, e, PINFS_EXTENTS_MAX);
	if (n < 0)
		return n;
	o.count = (uint32_t)n;
	o.next_off = o.off + o.len;
	for (int k = 0; k < n; k++)
		o.extents[k] = (struct pinfs_extent){ e[k].off, e[k].len, e[k].pool_off, extent_flags(e[k].flags), 0 };
	memset(o.extents + n, 0, (size_t)(PINFS_EXTENTS_MAX - n) * sizeof(o.extents[0]));
	if (n == PINFS_EXTENTS_MAX)
		o.next_off = min_of(o.next_off, o.extents[n - 1].off + o.extents[n - 1].len);
	ioctl_reply_struct(c, &o, sizeof(o));
	return 0;
}

/* ---- durability ------------------------------------------------------------------------------------ */

static int
do_sync(const struct call *c)
{
	struct pinfs_sync_range o;
	int r;

	if (c->in_size != sizeof(o))
		return -EINVAL;
	memcpy(&o, c->in, sizeof(o));
	if (o.size != sizeof(o) || (o.flags & ~(uint32_t)PINFS_SYNC_FS) || !RESERVED_OK(o))
		return -EINVAL;
	if (o.flags & PINFS_SYNC_FS) {
		if (o.off || o.len)
			return -EINVAL;
		session_long_request();
		r = fs_sync(c->front->fs);
		if (r == 0)
			fuse_reply_ioctl(c->req, 0, NULL, 0);
		return r;
	}
	if (o.off > FILE_MAX_BYTES || o.len > FILE_MAX_BYTES - o.off)
		return -EINVAL;
	front_sync(c->req, c->file, c->inode, o.off, o.len, false, true);
	return 0;
}

/* ---- pins ------------------------------------------------------------------------------------------ */

struct ioctl_deferred {
	fuse_req_t req;
	size_t size;
	char data[];
};

void
ioctl_reply_deferred(void *arg)
{
	struct ioctl_deferred *d = arg;

	fuse_reply_ioctl(d->req, 0, d->size ? d->data : NULL, d->size);
	free(d);
}

void
ioctl_defer_cancel(struct ioctl_deferred *d)
{
	free(d);
}

struct ioctl_deferred *
ioctl_defer(fuse_req_t req, const void *data, size_t size)
{
	struct ioctl_deferred *d = malloc(sizeof(*d) + size);

	if (!d)
		return NULL;
	d->req = req;
	d->size = size;
	if (size)
		memcpy(d->data, data, size);
	return d;
}

_Static_assert((int)PIN_TRANSIENT == PINFS_PIN_TRANSIENT && (int)PIN_LONGTERM == PINFS_PIN_LONGTERM &&
    (int)PIN_FAULTABLE == PINFS_PIN_FAULTABLE, "classes of pins");
_Static_assert((int)FS_PINNED_DEFAULT == PINFS_WRITEBACK_DEFAULT && (int)FS_PINNED_BOUNCE == PINFS_WRITEBACK_BOUNCE &&
    (int)FS_PINNED_WAIT == PINFS_WRITEBACK_WAIT && (int)FS_PINNED_FAIL == PINFS_WRITEBACK_FAIL &&
    (int)FS_PINNED_SKIP == PINFS_WRITEBACK_SKIP && (int)FS_PINNED_HOLDER == PINFS_WRITEBACK_HOLDER, "what writeback does about pinned blocks");

/* A pin of that many bytes may have as much to copy. */
#define LONG_PIN_BYTES ((uint64_t)1 << 20)

static int
check_pin(const struct call *c, const struct pinfs_pin *o)
{
	if (c->in_size < sizeof(*o) || o->nranges == 0 || o->nranges > PINFS_PIN_RANGES_MAX)
		return -EINVAL;
	if (c->in_size != PINFS_PIN_SIZE(o->nranges) || o->size != c->in_size)
		return -EINVAL;
	if ((o->flags & ~(uint32_t)PINFS_PIN_ALLOC) || !RESERVED_OK(*o) || o->reserved32 ||
	    o->pin_class < PINFS_PIN_TRANSIENT || o->pin_class > PINFS_PIN_FAULTABLE ||
	    o->writeback > PINFS_WRITEBACK_HOLDER)
		return -EINVAL;
	if (o->access != PINFS_ACCESS_READ && o->access != PINFS_ACCESS_READWRITE)
		return -EINVAL;
	if ((o->flags & PINFS_PIN_ALLOC) && o->access != PINFS_ACCESS_READWRITE)
		return -EINVAL;
	for (uint32_t k = 0; k < o->nranges; k++) {
		const struct pinfs_pin_range *r = o->ranges + k;

		if (r->len == 0 || r->off > FILE_MAX_BYTES || r->len > FILE_MAX_BYTES - r->off)
			return -EINVAL;
	}
	return c->file ? 0 : -EISDIR;
}

static int
do_pin(const struct call *c)
{
	_Alignas(struct pinfs_pin) char room[PINFS_PIN_SIZE(PINFS_PIN_RANGES_MAX)];
	struct pin_range r[PINFS_PIN_RANGES_MAX];
	struct pinfs_pin *o = (struct pinfs_pin *)room;
	struct ioctl_deferred *d = NULL;
	struct pin_params params;
	struct fs_cred cred;
	uint64_t bytes = 0;
	bool writes;
	int err;

	if (c->in_size < sizeof(*o) || c->in_size > sizeof(room))
		return -EINVAL;
	memset(room, 0, sizeof(*o));
	memcpy(room, c->in, c->in_size);
	err = check_pin(c, o);
	if (err < 0)
		return err;
	writes = o->access == PINFS_ACCESS_READWRITE;
	for (uint32_t k = 0; k < o->nranges; k++) {
		r[k] = (struct pin_range){ .off = o->ranges[k].off, .len = o->ranges[k].len };
		bytes += min_of(r[k].len, LONG_PIN_BYTES);
	}
	if (bytes >= LONG_PIN_BYTES)
		session_long_request();
	front_cred(c->req, &cred);
	cred.tgid = process_of(cred.tgid);
	params = (struct pin_params){
		.access = writes ? PIN_WRITE : PIN_READ,
		.class = (enum pin_class)o->pin_class,
		.flags = o->flags & PINFS_PIN_ALLOC ? PIN_ALLOC : 0,
		.writeback = (enum fs_pinned)o->writeback,
	};
	err = pin_add(c->file, &params, r, o->nranges, &cred, (uint64_t *)&o->id);
	if (err < 0)
		return err;
	for (uint32_t k = 0; k < o->nranges; k++)
		o->ranges[k] = (struct pinfs_pin_range){ r[k].off, r[k].len,
			r[k].pool_off == UINT64_MAX ? PINFS_POOL_OFF_HOLE : r[k].pool_off, r[k].ext_len };
	if (!writes && !inode_write_pinned(c->inode)) {
		/* nobody stores behind the kernel's back */
		ioctl_reply_struct(c, o, c->in_size);
		return 0;
	}
	/* for the stores to come, which nobody will see */
	if (writes)
		front_took_privileges(c->front, fuse_req_ctx(c->req)->uid, c->inode);
	d = ioctl_defer(c->req, o, min_of(c->in_size, c->out_size));
	if (!d) {
		pin_remove(c->file, o->id);
		return -ENOMEM;
	}
	front_forget(c->front, c->inode, ioctl_reply_deferred, d);
	return 0;
}

static int
do_unpin(const struct call *c)
{
	struct pinfs_unpin o;
	struct ioctl_deferred *d;
	int err;

	if (!TAKE(c, o) || !RESERVED_OK(o))
		return -EINVAL;
	if (!c->file)
		return -EISDIR;
	err = pin_access_of(c->file, o.id);
	if (err == PIN_READ && !inode_write_pinned(c->inode)) {
		/* nothing was stored behind the kernel's back */
		err = pin_remove(c->file, o.id);
		if (err == 0)
			ioctl_reply_struct(c, NULL, 0);
		return err;
	}
	if (err < 0)
		return err;
	d = ioctl_defer(c->req, NULL, 0);
	if (!d)
		return -ENOMEM;
	err = pin_remove(c->file, o.id);
	if (err < 0) {
		ioctl_defer_cancel(d);
		return err;
	}
	front_forget(c->front, c->inode, ioctl_reply_deferred, d);
	return 0;
}

/* ---- dispatch ---------------------------------------------------------------------------------------- */

static int
do_noop(const struct call *c)
{
	ioctl_reply_struct(c, NULL, 0);
	return 0;
}

static int
do_scrub(const struct call *c)
{
	static const uint32_t states[SCRUB_STATES] = {
		[SCRUB_NEVER] = PINFS_SCRUB_NEVER, [SCRUB_RUNNING] = PINFS_SCRUB_RUNNING,
		[SCRUB_DONE] = PINFS_SCRUB_DONE, [SCRUB_CANCELLED] = PINFS_SCRUB_CANCELLED,
	};
	uid_t uid = fuse_req_ctx(c->req)->uid;
	struct fs *fs = c->front->fs;
	struct scrub_status st;
	struct pinfs_scrub o;
	int err = 0;

	if (!TAKE(c, o) || !RESERVED_OK(o) || o.op > PINFS_SCRUB_CANCEL)
		return -EINVAL;
	if (o.op != PINFS_SCRUB_STATUS && uid != 0 && uid != geteuid())
		return -EPERM;
	if (o.op == PINFS_SCRUB_START)
		err = fs_scrub_start(fs, o.bytes_per_s);
	else if (o.op == PINFS_SCRUB_CANCEL)
		fs_scrub_cancel(fs);
	if (err)
		return err;
	fs_scrub_status(fs, &st);
	o = (struct pinfs_scrub){ .size = sizeof(o), .op = o.op, .state = states[st.state],
		.bytes_per_s = st.bytes_per_s, .done_bytes = st.done_bytes, .total_bytes = st.total_bytes,
		.nodes = st.nodes, .inodes = st.inodes, .blocks = st.blocks, .node_errors = st.node_errors,
		.inode_errors = st.inode_errors, .block_errors = st.block_errors, .known_blocks = st.known_blocks,
		.started = st.started, .ended = st.ended };
	ioctl_reply_struct(c, &o, sizeof(o));
	return 0;
}

static const struct {
	unsigned cmd;
	int (*execute)(const struct call *c); /* replies itself, or returns an error and has not replied */
} commands[] = {
	{ PINFS_IOC_INFO, do_info },
	{ PINFS_IOC_PIN(1), do_pin },
	{ PINFS_IOC_UNPIN, do_unpin },
	{ PINFS_IOC_TRACK, ioctl_track },
	{ PINFS_IOC_PIN_EXTENTS, ioctl_pin_extents },
	{ PINFS_IOC_LIST, ioctl_list },
	{ PINFS_IOC_EXTENTS, do_extents },
	{ PINFS_IOC_SYNC, do_sync },
	{ PINFS_IOC_STATUS, do_status },
	{ PINFS_IOC_NOOP, do_noop },
	{ PINFS_IOC_LEASE, ioctl_lease },
	{ PINFS_IOC_LEASE_RELEASE, ioctl_lease_release },
	{ PINFS_IOC_EVENTS, ioctl_events },
	{ PINFS_IOC_COLLAPSE, ioctl_collapse },
	{ PINFS_IOC_INSERT, ioctl_insert },
	{ PINFS_IOC_OFFER, ioctl_offer },
	{ PINFS_IOC_CLONE, ioctl_clone },
	{ PINFS_IOC_EXCHANGE, ioctl_exchange },
	{ PINFS_IOC_SCRUB, do_scrub },
	{ FS_IOC_GETFLAGS, do_getflags },
	{ FS_IOC_SETFLAGS, do_setflags },
	{ FS_IOC_FSGETXATTR, do_fsgetxattr },
	{ FS_IOC_FSSETXATTR, do_fssetxattr },
	{ FS_IOC_GETVERSION, do_getversion },
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

/* A command without the size of its structure. */
static unsigned
sizeless(unsigned cmd)
{
	return cmd & ~((unsigned)_IOC_SIZEMASK << _IOC_SIZESHIFT);
}

static int
dispatch(const struct call *c, unsigned cmd)
{
	for (size_t k = 0; k < COMMANDS; k++) {
		/* one number, many sizes: it checks that itself */
		bool any_size = commands[k].cmd == PINFS_IOC_PIN(1);

		if (any_size ? sizeless(cmd) == sizeless(commands[k].cmd) : cmd == commands[k].cmd)
			return commands[k].execute(c);
	}
	/* a number of ours with another size is a caller from another version */
	for (size_t k = 0; k < COMMANDS; k++)
		if (_IOC_TYPE(cmd) == PINFS_IOC_MAGIC && _IOC_TYPE(commands[k].cmd) == PINFS_IOC_MAGIC &&
		    _IOC_NR(cmd) == _IOC_NR(commands[k].cmd))
			return -EINVAL;
	return -ENOTTY;
}

static void
op_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned cmd, void *arg, struct fuse_file_info *fi, unsigned flags,
    const void *in, size_t in_size, size_t out_size)
{
	struct front *fr = front_of(req);
	struct call c = { .req = req, .front = fr, .in = in, .in_size = in_size, .out_size = out_size };
	int r;

	(void)arg;
	if (!(flags & FUSE_IOCTL_DIR))
		c.file = front_file(fi);
	r = front_inode(fr, ino, &c.inode);
	if (r == 0) {
		r = dispatch(&c, cmd);
		inode_put(c.inode);
	}
	if (r < 0)
		front_reply(req, r);
}

void
ops_ioctl_fill(struct fuse_lowlevel_ops *ops)
{
	ops->ioctl = op_ioctl;
}
