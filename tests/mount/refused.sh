#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A pool on a disk filesystem: the kernel refuses long-term pins of its pages, and libpinfs says what would help; DMA for the
# time of one read(2) is allowed.
. "$(dirname "$0")/lib.sh"

need_fuse
need_disk
ex=$BUILD/examples
[[ -x $ex/registered-buffer ]] || skip "the examples are not built"
head -c 1M /dev/urandom >"$DISK/source"
mkpool 64M "$DISK/pool"
mount_pinfs "$OTHERS" "$DISK/pool"

step "a registered buffer: refused, with a word about the remedy"
STATUS=0
OUT=$("$ex/registered-buffer" "$DISK/source" "$MNT/f" 2>&1) || STATUS=$?
((STATUS != 77)) || skip "the kernel does not have io_uring: $OUT"
((STATUS != 0)) || skip "this kernel grants long-term pins on $(stat -f -c %T "$DISK")"
grep 'pool lies on a disk filesystem' <<<"$OUT" || fail "that says nothing of the pool: $OUT"

step "the file is none the worse; a read(2) into the mapping works"
pinctl status "$MNT" | grep pagecache >/dev/null || fail "the domain should be pagecache"
"$ex/direct-read" "$DISK/source" "$MNT/f"
same "$DISK/source" "$MNT/f"
umount_pinfs
check_pool "$DISK/pool"
