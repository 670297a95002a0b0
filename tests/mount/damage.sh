#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A damaged pool: fsck.pinfs -n finds it and says so by its exit status; the damaged file gives
# EIO, everything else goes on working; junk in any block never crashes or hangs daemon or fsck.
. "$(dirname "$0")/lib.sh"

fresh_mount 32M
head -c 100000 /dev/urandom >"$WORK/good"
cp "$WORK/good" "$MNT/good"
cp "$WORK/good" "$MNT/bad"
sync_all
off=$(pinctl map "$MNT/bad" | awk '/durable/ && $1 == 0 { print $2 }')
[[ -n $off ]] || fail "pinctl map shows no durable extent at 0"
umount_pinfs
check_pool
cp "$POOL" "$WORK/intact"

status_of() { STATUS=0; timeout 60 "$@" >"$WORK/out" 2>&1 || STATUS=$?; }

step "one bit of one data block"
printf '\377' | dd of="$POOL" bs=1 seek=$((off + 4096 + 77)) conv=notrunc status=none
cmp -s "$POOL" "$WORK/intact" && printf '\0' | dd of="$POOL" bs=1 seek=$((off + 4096 + 77)) conv=notrunc status=none
status_of fsck.pinfs -n "$POOL"
equals "status of fsck.pinfs -n" "$STATUS" 4
mount_pinfs "$OTHERS"
same "$WORK/good" "$MNT/good"
must_say 'input/output error' cat "$MNT/bad"
must_say 'input/output error' dd if="$MNT/bad" of=/dev/null bs=4096 skip=1 count=1 iflag=direct
cmp <(head -c 4096 "$WORK/good") <(head -c 4096 "$MNT/bad") || fail "the blocks around it should be readable"
echo new >"$MNT/new"
rm "$MNT/bad"
umount_pinfs
status_of fsck.pinfs -n "$POOL"
equals "status after the file is gone" "$STATUS" 0

step "what is no pool"
head -c 1M /dev/urandom >"$WORK/junk"
status_of fsck.pinfs -n "$WORK/junk"
((STATUS >= 4)) || fail "fsck.pinfs -n of junk: status $STATUS"
status_of fsck.pinfs -n "$WORK/none"
((STATUS >= 8)) || fail "fsck.pinfs -n of a missing file: status $STATUS"
head -c 16M "$WORK/intact" >"$WORK/short"
status_of fsck.pinfs -n "$WORK/short"
((STATUS >= 4)) || fail "fsck.pinfs -n of a pool that was cut off: status $STATUS"
must_fail pinfs "$WORK/short" "$MNT"

step "junk in one block after another: found or harmless, never a crash or a hang"
# Blocks in use: all that are not zero, in the part of the pool that was used.
mapfile -t used < <(od -An -v -t x8 -w4096 "$WORK/intact" | awk '{ for (i = 1; i <= NF; i++) if ($i !~ /^0+$/) { print NR - 1; next } }')
note "${#used[@]} blocks hold something"
step_by=$(((${#used[@]} + 39) / 40))
for ((k = 0; k < ${#used[@]}; k += step_by)); do
	b=${used[k]}
	cp "$WORK/intact" "$POOL"
	dd if=/dev/urandom of="$POOL" bs=4096 seek="$b" count=1 conv=notrunc status=none
	status_of fsck.pinfs -n "$POOL"
	((STATUS < 16)) || { cat "$WORK/out"; fail "fsck.pinfs -n, block $b: status $STATUS"; }
	((b < 2 || STATUS > 0)) || ((b > 0)) || fail "block $b: damage not found"
	pinfs "$POOL" "$MNT" -f >>"$WORK/log/daemon" 2>&1 &
	DAEMON=$!
	for ((n = 0; n < 100; n++)); do
		{ is_mounted "$MNT" || [[ ! -e /proc/$DAEMON ]]; } && break
		sleep 0.02
	done
	if is_mounted "$MNT"; then
		timeout 30 find "$MNT" -type f -exec cat {} + >/dev/null 2>&1 || (($? < 124)) || fail "block $b: reading hangs"
		timeout 30 rm -rf "$MNT"/* 2>/dev/null || (($? < 124)) || fail "block $b: deleting hangs"
		[[ -e /proc/$DAEMON ]] || fail "block $b: the daemon crashed"
		unmount "$MNT"
		wait_gone 30 "$DAEMON" || fail "block $b: the daemon does not end"
	fi
	rc=0
	wait "$DAEMON" || rc=$?
	((rc < 128)) || fail "block $b: the daemon died with status $rc"
done
