#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# One pool, one user: a second mount, mkfs and fsck of a mounted pool are refused; a mount right
# after an unmount waits for the daemon that is still ending, but not for ever.
. "$(dirname "$0")/lib.sh"

fresh_mount 128M
mkdir "$WORK/mnt2"
echo data >"$MNT/f"

step "a second mount: EBUSY, said soon"
start=$SECONDS
must_say 'busy|in use' timeout 60 pinfs "$POOL" "$WORK/mnt2"
((SECONDS - start < 45)) || fail "it took $((SECONDS - start)) s to say so"
! is_mounted "$WORK/mnt2" || fail "mounted all the same"
must_say 'busy|in use|mounted' mkfs.pinfs -s 128M "$POOL"
must_say 'busy|in use|mounted' mkfs.pinfs -f -s 128M "$POOL"
equals "the file" "$(<"$MNT/f")" data

step "through another name of the pool"
ln -s "$POOL" "$WORK/alias"
must_say 'busy|in use' timeout 60 pinfs "$WORK/alias" "$WORK/mnt2"

step "umount and mount at once, 10 times"
umount_pinfs
for k in 1 2 3 4 5 6 7 8 9 10; do
	pinfs "$POOL" "$MNT" ${OTHERS:+-o "$OTHERS"} || fail "mount $k failed"
	head -c 5M /dev/zero >"$MNT/big" # so that the daemon has something to do at the end
	unmount "$MNT"
done
pinfs "$POOL" "$MNT" ${OTHERS:+-o "$OTHERS"}
equals "the file" "$(<"$MNT/f")" data
DAEMON=$(pinctl status --json "$MNT" | sed 's/.*"daemon_pid":\([0-9]*\).*/\1/')

step "a mount waits for SIGKILLed predecessors' locks as well"
kill -9 "$DAEMON"
unmount -l "$MNT"
pinfs "$POOL" "$MNT" ${OTHERS:+-o "$OTHERS"}
equals "the file" "$(<"$MNT/f")" data
unmount "$MNT"
