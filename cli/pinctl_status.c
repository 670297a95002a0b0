/* SPDX-License-Identifier: BSD-3-Clause */
/* pinctl status and pinctl info: numbers, as the daemon tells them, and who holds what; pinctl sync. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <pinfs/pinfs.h>

#include "cli/cli.h"
#include "cli/pinctl.h"
#include "cli/pinctl_list.h"

typedef unsigned long long ull;

static void
print_status(const char *path, const struct pinfs_status *st, const struct listing *l)
{
	char a[16], b[16], uuid[37];

	printf("%s: pool %s%s\n", path, st->pool_path, st->readonly ? " (read-only)" : "");
	printf("  uuid          %s\n", cli_uuid(uuid, st->pool_uuid));
	if (st->label[0])
		printf("  label         %s\n", st->label);
	printf("  domain        %s\n", pinctl_domain(st->domain));
	printf("  daemon        pid %u, %llu requests served\n", st->daemon_pid, (ull)st->requests);
	printf("  space         %s, %s free\n", cli_size(a, st->total_blocks * st->block_size),
	    cli_size(b, st->free_blocks * st->block_size));
	printf("  reserved      %s\n", cli_size(a, st->reserved_blocks * st->block_size));
	printf("  quarantined   %s", cli_size(a, st->quarantined_blocks * st->block_size));
	if (st->held_blocks)
		printf(", %s of it still mapped by clients that have lost or dropped their pins",
		    cli_size(b, st->held_blocks * st->block_size));
	printf("\n");
	printf("  in use        %llu inodes, %s data, %s tree\n", (ull)st->inodes,
	    cli_size(a, st->data_blocks * st->block_size), cli_size(b, st->node_blocks * st->block_size));
	printf("  live          %llu extents, %llu dirty inodes, %llu inodes cached\n", (ull)st->live_extents,
	    (ull)st->dirty_inodes, (ull)st->cached_inodes);
	printf("  pins          %llu, over %s\n", (ull)st->pins, cli_size(a, st->pinned_blocks * st->block_size));
	printf("  leases        %llu; %llu breaks so far, %llu revoked; %llu requests parked\n", (ull)st->leases,
	    (ull)st->lease_breaks, (ull)st->lease_revocations, (ull)st->parked);
	printf("  transactions  %llu durable, %llu commits since mount\n", (ull)st->txn_committed, (ull)st->commits);
	printf("  writeback     %llu runs, %llu blocks, of which %llu bounced\n", (ull)st->writebacks,
	    (ull)st->written_blocks, (ull)st->bounced_blocks);
	if (l) {
		putchar('\n');
		listing_print(l, PINFS_LIST_PIN, terminal_width());
		putchar('\n');
		listing_print(l, PINFS_LIST_LEASE, terminal_width());
	}
}

static void
json_status(const struct pinfs_status *st, const struct listing *l)
{
	char uuid[37];

	printf("{\"pool\":");
	cli_json_string(stdout, st->pool_path);
	printf(",\"uuid\":\"%s\",\"label\":", cli_uuid(uuid, st->pool_uuid));
	cli_json_string(stdout, st->label);
	printf(",\"domain\":\"%s\",\"readonly\":%s,\"daemon_pid\":%u,\"requests\":%llu,\"block_size\":%u",
	    pinctl_domain(st->domain), st->readonly ? "true" : "false", st->daemon_pid, (ull)st->requests,
	    st->block_size);
	printf(",\"total_blocks\":%llu,\"free_blocks\":%llu,\"reserved_blocks\":%llu,\"quarantined_blocks\":%llu",
	    (ull)st->total_blocks, (ull)st->free_blocks, (ull)st->reserved_blocks, (ull)st->quarantined_blocks);
	printf(",\"data_blocks\":%llu,\"node_blocks\":%llu,\"inodes\":%llu", (ull)st->data_blocks,
	    (ull)st->node_blocks, (ull)st->inodes);
	printf(",\"txn_committed\":%llu,\"commits\":%llu,\"pins\":%llu,\"pinned_blocks\":%llu",
	    (ull)st->txn_committed, (ull)st->commits, (ull)st->pins, (ull)st->pinned_blocks);
	printf(",\"held_blocks\":%llu", (ull)st->held_blocks);
	printf(",\"dirty_inodes\":%llu,\"cached_inodes\":%llu,\"live_extents\":%llu", (ull)st->dirty_inodes,
	    (ull)st->cached_inodes, (ull)st->live_extents);
	printf(",\"writebacks\":%llu,\"written_blocks\":%llu,\"bounced_blocks\":%llu,\"skipped_blocks\":%llu",
	    (ull)st->writebacks, (ull)st->written_blocks, (ull)st->bounced_blocks, (ull)st->skipped_blocks);
	printf(",\"leases\":%llu,\"lease_breaks\":%llu,\"lease_revocations\":%llu,\"parked\":%llu", (ull)st->leases,
	    (ull)st->lease_breaks, (ull)st->lease_revocations, (ull)st->parked);
	if (l) {
		putchar(',');
		listing_json(l, PINFS_LIST_PIN, "pin_list");
		putchar(',');
		listing_json(l, PINFS_LIST_LEASE, "lease_list");
	}
	printf("}\n");
}

int
pinctl_status(const struct pinctl_args *a)
{
	static struct pinfs_status st; /* it holds a path: too large for comfort on a stack */
	const char *path = a->operand[0];
	int fd = pinctl_open(path), err, listed = 0;
	struct listing l = { 0 };

	if (fd < 0)
		return 1;
	err = pinfs_get_status(fd, &st);
	if (err == 0) {
		listed = listing_get(&l, fd, true);
		err = listed == -ENOTTY ? 0 : listed; /* an older daemon has numbers only */
	}
	close(fd);
	if (err < 0)
		pinctl_failed(path, "status", err);
	else if (pinctl_has(a, PINCTL_JSON))
		json_status(&st, listed == 0 ? &l : NULL);
	else
		print_status(path, &st, listed == 0 ? &l : NULL);
	listing_free(&l);
	return err < 0;
}

/* A directory stands for its mount. */
static int
sync_request(const struct pinctl_args *a, int fd, struct pinfs_sync_range *o)
{
	struct stat sb;

	if (fstat(fd, &sb) < 0)
		return -errno;
	if (S_ISDIR(sb.st_mode)) {
		o->flags = PINFS_SYNC_FS;
		return a->operands > 1 ? -EISDIR : 0;
	}
	return 0;
}

int
pinctl_sync(const struct pinctl_args *a)
{
	const char *path = a->operand[0];
	struct pinfs_sync_range o = { .size = sizeof(o) };
	uint64_t off = 0, len = 0;
	int fd, err;

	if (a->operands == 2) {
		cli_usage_error(PINCTL_PROG, "sync takes an offset and a length, or neither");
		return PINCTL_USAGE;
	}
	if (a->operands == 3 &&
	    (pinctl_size(a->operand[1], "offset", &off) < 0 || pinctl_size(a->operand[2], "length", &len) < 0))
		return PINCTL_USAGE;
	o.off = off;
	o.len = len;
	fd = pinctl_open(path);
	if (fd < 0)
		return 1;
	err = sync_request(a, fd, &o);
	/* what the kernel has not handed to the daemon yet comes first: shared mappings */
	if (err == 0 && (o.flags & PINFS_SYNC_FS ? syncfs(fd) : sync_file_range(fd, (off_t)off, (off_t)len,
	    SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER)) < 0)
		err = -errno;
	if (err == 0 && ioctl(fd, PINFS_IOC_SYNC, &o) < 0)
		err = -errno;
	close(fd);
	if (err < 0) {
		pinctl_failed(path, "sync", err);
		return 1;
	}
	if (pinctl_has(a, PINCTL_JSON))
		printf("{\"synced\":true}\n");
	return 0;
}

static const struct {
	uint32_t bit;
	const char *name;
} inode_flags[] = {
	{ PINFS_INODE_IMMUTABLE, "immutable" }, { PINFS_INODE_APPEND, "append" },
	{ PINFS_INODE_NOATIME, "noatime" },     { PINFS_INODE_NODUMP, "nodump" },
	{ PINFS_INODE_SYNC, "sync" },           { PINFS_INODE_DAX, "dax" },
};
#define NFLAGS (sizeof(inode_flags) / sizeof(inode_flags[0]))

static void
print_info(const char *path, const struct pinfs_info *in)
{
	char a[16], b[16];

	printf("%s: inode %llu, generation %llu\n", path, (ull)in->ino, (ull)in->generation);
	printf("  size     %llu bytes, %llu as of the last writeback\n", (ull)in->file_size, (ull)in->durable_size);
	printf("  durable  %llu blocks (%s)\n", (ull)in->durable_blocks,
	    cli_size(a, in->durable_blocks * PINFS_BLOCK_SIZE));
	printf("  live     %llu blocks (%s), %llu dirty extents\n", (ull)in->live_blocks,
	    cli_size(b, in->live_blocks * PINFS_BLOCK_SIZE), (ull)in->dirty_extents);
	printf("  pins     %llu read, %llu write\n", (ull)in->read_pins, (ull)in->write_pins);
	printf("  flags   ");
	for (size_t i = 0; i < NFLAGS; i++)
		if (in->inode_flags & inode_flags[i].bit)
			printf(" %s", inode_flags[i].name);
	printf("%s\n", in->inode_flags ? "" : " none");
	printf("  domain   %s\n", pinctl_domain(in->domain));
}

static void
json_info(const struct pinfs_info *in)
{
	const char *sep = "";

	printf("{\"ino\":%llu,\"generation\":%llu,\"size\":%llu,\"durable_size\":%llu", (ull)in->ino,
	    (ull)in->generation, (ull)in->file_size, (ull)in->durable_size);
	printf(",\"live_blocks\":%llu,\"durable_blocks\":%llu,\"dirty_extents\":%llu", (ull)in->live_blocks,
	    (ull)in->durable_blocks, (ull)in->dirty_extents);
	printf(",\"read_pins\":%llu,\"write_pins\":%llu,\"flags\":[", (ull)in->read_pins, (ull)in->write_pins);
	for (size_t i = 0; i < NFLAGS; i++)
		if (in->inode_flags & inode_flags[i].bit) {
			printf("%s\"%s\"", sep, inode_flags[i].name);
			sep = ",";
		}
	printf("],\"domain\":\"%s\"}\n", pinctl_domain(in->domain));
}

int
pinctl_info(const struct pinctl_args *a)
{
	const char *path = a->operand[0];
	struct pinfs_info in = { .size = sizeof(in) };
	int fd = pinctl_open(path);
	int err;

	if (fd < 0)
		return 1;
	err = ioctl(fd, PINFS_IOC_INFO, &in) < 0 ? -errno : 0;
	close(fd);
	if (err < 0) {
		pinctl_failed(path, "info", err);
		return 1;
	}
	if (pinctl_has(a, PINCTL_JSON))
		json_info(&in);
	else
		print_info(path, &in);
	return 0;
}
