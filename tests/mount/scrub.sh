#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# pinctl scrub: a sound mount under load; damage that came after the mount is found, named in the log and no longer read;
# one at a time, throttled, cancelled; who may start one.
. "$(dirname "$0")/lib.sh"

status_of() { STATUS=0; timeout 120 "$@" >"$WORK/out" 2>&1 || STATUS=$?; }

fresh_mount 128M
mkdir "$MNT/d"
for k in $(seq 200); do head -c $((k * 211)) /dev/urandom >"$MNT/d/file-$k"; done
head -c 4M /dev/urandom >"$WORK/good"
cp "$WORK/good" "$MNT/victim"
sync_all

step "a sound mount, with writers at work"
(for k in $(seq 400); do head -c 50000 /dev/urandom >"$MNT/d/busy-$((k % 10))" || exit 1; done) &
writer=$!
status_of pinctl scrub --rate 0 --json "$MNT"
equals "status" "$STATUS" 0
grep -q '"state":"done".*"node_errors":0,"inode_errors":0,"block_errors":0' "$WORK/out" || { cat "$WORK/out"; fail "scrub"; }
wait "$writer"

step "one at a time, throttled, cancelled"
pinctl scrub --rate 4096 "$MNT" >"$WORK/slow" 2>&1 &
slow=$!
for _ in $(seq 100); do
	pinctl scrub --status --json "$MNT" | grep -q '"state":"running"' && break
	sleep 0.05
done
must_say 'a scrub is running' pinctl scrub "$MNT"
pinctl scrub --cancel "$MNT"
rc=0
wait "$slow" || rc=$?
equals "status of a scrub that was cancelled" "$rc" 32
grep -q 'scrub cancelled' "$WORK/slow" || { cat "$WORK/slow"; fail "it should say so"; }

step "damage since it was read"
off=$(pinctl map "$MNT/victim" | awk '/durable/ && $1 == 0 { print $2 }')
same "$WORK/good" "$MNT/victim"
dd if=/dev/urandom of="$POOL" bs=4096 seek=$((off / 4096 + 2)) count=1 conv=notrunc status=none
status_of pinctl scrub --rate 1G "$MNT"
equals "status" "$STATUS" 4
grep -q 'blocks .* 1 damaged' "$WORK/out" || { cat "$WORK/out"; fail "one damaged block"; }
grep -q "scrub: inode $(stat -c %i "$MNT/victim"), offset 8192" "$WORK/log/daemon" || fail "the log should name inode and offset"
must_say 'input/output error' dd if="$MNT/victim" of=/dev/null bs=4096 skip=2 count=1 iflag=direct
status_of pinctl scrub --status "$MNT"
equals "status of --status" "$STATUS" 4

step "who may"
must_fail pinctl scrub --status --cancel "$MNT"
must_say 'not on a pinfs mount' pinctl scrub "$WORK"
if [[ -n ${OTHERS:-} && $(id -u) -eq 0 ]] && command -v setpriv >/dev/null; then
	must_say 'not permitted' setpriv --reuid=12345 --regid=12345 --clear-groups -- "$(command -v pinctl)" scrub "$MNT"
fi
umount_pinfs
