#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# What the daemon gave away when it began to serve: every thread of it has no_new_privs and the filter, and it unmounts all the
# same when asked to end; nothing of it is left then, nor after SIGKILL.
. "$(dirname "$0")/lib.sh"

fresh_mount 64M
helper_of() { pgrep -P "$1" -x pinfs-unmount; }

step "every thread is filtered"
echo x >"$MNT/file"
grep -q '^Seccomp:' "/proc/$DAEMON/status" || skip "this kernel has no seccomp"
n=0
for t in /proc/"$DAEMON"/task/*; do
	equals "no_new_privs of $t" "$(awk '/^NoNewPrivs:/ { print $2 }' "$t/status")" 1
	equals "seccomp of $t" "$(awk '/^Seccomp:/ { print $2 }' "$t/status")" 2
	n=$((n + 1))
done
note "$n threads"
((n >= 3)) || fail "only $n threads were looked at"
helper=$(helper_of "$DAEMON") || fail "there is no process that unmounts"
equals "threads of it" "$(ls "/proc/$helper/task" | wc -l)" 1

step "SIGTERM: unmounted, and nobody is left"
kill -TERM "$DAEMON"
wait_gone 30 "$DAEMON" || fail "the daemon does not end"
wait "$DAEMON" || fail "the daemon ended with status $?"
! is_mounted "$MNT" || fail "it is still mounted"
wait_gone 10 "$helper" || fail "the process that unmounts is left"
check_pool

step "SIGTERM while a file is open: unmounted, the holder gets an error"
mount_pinfs "$OTHERS"
exec {fd}<"$MNT/file"
helper=$(helper_of "$DAEMON")
kill -TERM "$DAEMON"
wait_gone 30 "$DAEMON" || fail "the daemon does not end"
wait "$DAEMON" || fail "the daemon ended with status $?"
! is_mounted "$MNT" || fail "it is still mounted"
! cat <&"$fd" >/dev/null 2>&1 || note "the page cache still had it"
exec {fd}<&-
wait_gone 10 "$helper" || fail "the process that unmounts is left"
check_pool
grep -i "unmount" "$WORK/log/daemon" && fail "complaints about unmounting"

step "umount(8): the helper goes, too"
mount_pinfs "$OTHERS"
helper=$(helper_of "$DAEMON")
umount_pinfs
wait_gone 10 "$helper" || fail "the process that unmounts is left"

step "SIGKILL: so does it"
mount_pinfs "$OTHERS"
helper=$(helper_of "$DAEMON")
kill_pinfs
wait_gone 10 "$helper" || fail "the process that unmounts is left"

step "in the background: no descriptor of ours is kept"
out=$(timeout 20 pinfs "$POOL" "$MNT") || fail "pinfs hangs or fails: $out"
daemon=$(pgrep -f "^(/.*/)?(lt-)?pinfs $POOL $MNT" | head -n 1)
unmount "$MNT"
[[ -z $daemon ]] || wait_gone 30 "$daemon" || fail "the daemon does not end"
check_pool
