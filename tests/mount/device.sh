#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A pool on a block device (a loop device): mkfs.pinfs takes its size, fsync is durable through it.
. "$(dirname "$0")/lib.sh"

need_fuse
is_root || skip "needs root for a loop device"
truncate -s 64M "$WORK/image"
dev=$(losetup -f --show "$WORK/image" 2>/dev/null) || skip "no loop device to be had"

step "the size is the device's; more than that is refused"
must_say 'only|bytes' mkfs.pinfs -s 65M "$dev"
mkfs.pinfs "$dev" >"$WORK/log/mkfs"
must_say 'pool already' mkfs.pinfs "$dev"
step "files, a crash after fsync, a check"
mount_pinfs "$OTHERS" "$dev"
equals "domain" "$(pinctl status --json "$MNT" | sed 's/.*"domain":"\([a-z]*\)".*/\1/')" pagecache
equals "size in blocks" "$(pinctl status --json "$MNT" | sed 's/.*"total_blocks":\([0-9]*\).*/\1/')" $((64 * 256 - 2))
dd if=/dev/urandom of="$WORK/data" bs=64k count=100 status=none
dd if="$WORK/data" of="$MNT/data" bs=64k conv=fsync status=none
kill_pinfs
check_pool "$dev"
mount_pinfs "$OTHERS" "$dev"
same "$WORK/data" "$MNT/data"
umount_pinfs
