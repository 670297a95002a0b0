#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# fsck.pinfs -y: what it says and returns, --backup, --data, -p; a repaired pool mounts, and the files that were not
# damaged are what they were. A repair that is killed leaves a pool on which repairing goes on.
. "$(dirname "$0")/lib.sh"

status_of() { STATUS=0; timeout 120 "$@" >"$WORK/out" 2>&1 || STATUS=$?; }

fresh_mount 64M
mkdir -p "$MNT/a/b"
for k in $(seq 300); do head -c $((k * 97)) /dev/urandom >"$MNT/a/b/file-number-$k"; done
head -c 300000 /dev/urandom >"$WORK/good"
cp "$WORK/good" "$MNT/good"
cp "$WORK/good" "$MNT/bad"
(cd "$MNT/a/b" && md5sum file-*) >"$WORK/sums"
sync_all

step "a pool in use"
must_say 'busy|in use|mounted' fsck.pinfs -y "$POOL"
((STATUS == 8)) || fail "status $STATUS, not 8"
off=$(pinctl map "$MNT/bad" | awk '/durable/ && $1 == 0 { print $2 }')
umount_pinfs
cp "$POOL" "$WORK/intact"

step "nothing to do"
status_of fsck.pinfs -y --backup "$WORK/none" "$POOL"
equals "status for a sound pool" "$STATUS" 0
[[ ! -e $WORK/none ]] || fail "a copy was made though nothing was changed"
cmp "$POOL" "$WORK/intact" || fail "a sound pool was changed"

step "damaged content: marked, and the copy is what was there before"
dd if=/dev/urandom of="$POOL" bs=4096 seek=$((off / 4096 + 1)) count=1 conv=notrunc status=none
cp "$POOL" "$WORK/damaged"
status_of fsck.pinfs -y --backup "$WORK/copy" "$POOL"
equals "status of the repair" "$STATUS" 1
grep -q '/bad.*offset 4096.*marked' "$WORK/out" || { cat "$WORK/out"; fail "path, offset and repair should be named"; }
cmp "$WORK/copy" "$WORK/damaged" || fail "the copy is not what was there"
equals "mode of the copy" "$(stat -c %a "$WORK/copy")" 600
status_of fsck.pinfs -y --backup "$WORK/copy" "$WORK/damaged"
equals "status if the copy exists" "$STATUS" 8
cmp "$WORK/copy" "$WORK/damaged" || fail "changed though no copy could be made"
check_pool
cp "$POOL" "$WORK/once"
status_of fsck.pinfs -y "$POOL"
equals "status of a second repair" "$STATUS" 0
cmp "$POOL" "$WORK/once" || fail "a second repair changed something"
mount_pinfs "$OTHERS"
must_say 'input/output error' cat "$MNT/bad"
same "$WORK/good" "$MNT/good"
umount_pinfs

step "damaged content: a hole if asked for"
status_of fsck.pinfs -y --data=punch "$POOL"
equals "status" "$STATUS" 1
mount_pinfs "$OTHERS"
cmp <(head -c 4096 "$MNT/bad") <(head -c 4096 "$WORK/good") || fail "the block before"
cmp <(tail -c +4097 "$MNT/bad" | head -c 4096) <(head -c 4096 /dev/zero) || fail "not zero"
umount_pinfs

step "-p leaves alone what could lose something"
cp "$WORK/damaged" "$POOL"
status_of fsck.pinfs -p "$POOL"
equals "status of -p after a clean unmount" "$STATUS" 0
status_of fsck.pinfs -p -f "$POOL"
equals "status of -p -f" "$STATUS" 4
grep -q 'fsck.pinfs -y' "$WORK/out" || fail "-p should say what to do"
cmp "$POOL" "$WORK/damaged" || fail "-p changed something"

step "the root of the tree is gone: everything is found again"
cp "$WORK/intact" "$POOL"
fsck.pinfs -n --json "$POOL" >"$WORK/before.json"
root=$(od -An -t u8 -j $((4096 * $(od -An -t u8 -j 56 -N 8 "$POOL" | awk -v two="$(od -An -t u8 -j 4152 -N 8 "$POOL")" \
	'{ print ($1 > two + 0) ? 0 : 1 }') + 208)) -N 8 "$POOL" | tr -d ' ')
dd if=/dev/zero of="$POOL" bs=4096 seek="$root" count=1 conv=notrunc status=none
cp "$POOL" "$WORK/rootless"
must_fail pinfs "$POOL" "$MNT"
status_of fsck.pinfs -n "$POOL"
equals "status of the check" "$STATUS" 4
status_of fsck.pinfs -y "$POOL"
equals "status of the repair" "$STATUS" 1
check_pool
mount_pinfs "$OTHERS"
(cd "$MNT/a/b" && md5sum --quiet -c "$WORK/sums") || fail "files have changed"
same "$WORK/good" "$MNT/good"
umount_pinfs

step "a repair that is killed can be repeated"
for k in 1 2 3 4 5 6 7 8 9 10; do
	cp "$WORK/rootless" "$POOL"
	fsck.pinfs -y "$POOL" >/dev/null 2>&1 &
	sleep "0.00$k"
	kill -9 $! 2>/dev/null || true
	wait $! 2>/dev/null || true
	status_of fsck.pinfs -y "$POOL"
	((STATUS <= 1)) || { cat "$WORK/out"; fail "status $STATUS after a killed repair"; }
	check_pool
done
mount_pinfs "$OTHERS"
(cd "$MNT/a/b" && md5sum --quiet -c "$WORK/sums") || fail "files have changed"
umount_pinfs

step "usage"
status_of fsck.pinfs --data=guess -y "$POOL"
equals "status of a wrong --data" "$STATUS" 16
status_of fsck.pinfs -n --backup x "$POOL"
equals "status of --backup with -n" "$STATUS" 16
