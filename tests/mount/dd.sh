#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# dd with conv=fsync, fdatasync, notrunc, sparse, oflag=direct, append and dsync, with block sizes
# that fit nothing; the result compared, also after a SIGKILL right behind the fsync.
. "$(dirname "$0")/lib.sh"

fresh_mount 192M
head -c 10000001 /dev/urandom >"$WORK/in"

for args in "bs=4k conv=fsync" "bs=1M conv=fdatasync" "bs=777 conv=fsync count=5000" "bs=3000000 conv=fsync" \
    "bs=512 oflag=direct,dsync count=200" "bs=1M oflag=direct conv=fsync" "bs=64k conv=sparse,fsync"; do
	step "dd $args"
	# shellcheck disable=SC2086
	dd if="$WORK/in" of="$WORK/want" ${args//direct/nonblock} status=none
	# shellcheck disable=SC2086
	dd if="$WORK/in" of="$MNT/out" $args status=none
	same "$WORK/want" "$MNT/out"
	rm "$MNT/out"
done

step "in the middle of a file"
cp "$WORK/in" "$MNT/mid"
cp "$WORK/in" "$WORK/mid"
for f in "$MNT/mid" "$WORK/mid"; do
	dd if=/dev/zero of="$f" bs=1000 seek=777 count=33 conv=notrunc,fsync status=none
	dd if="$WORK/in" of="$f" bs=4096 skip=3 count=5 oflag=append conv=notrunc,fsync status=none
done
same "$WORK/mid" "$MNT/mid"

step "conv=fsync, then SIGKILL: all there"
dd if="$WORK/in" of="$MNT/durable" bs=64k conv=fsync status=none
kill_pinfs
check_pool
mount_pinfs "$OTHERS"
same "$WORK/in" "$MNT/durable"
same "$WORK/mid" "$MNT/mid"
umount_pinfs
check_pool
