#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# mount -t fuse.pinfs, and a line in an fstab, with options that mount(8) strips before it
# calls the helper (dev, suid, ...).
. "$(dirname "$0")/lib.sh"

is_root || skip "mount(8) needs root"
need mount
command -v mount.fuse3 >/dev/null || [[ -x /sbin/mount.fuse ]] || skip "mount.fuse3 is not installed"
need_fuse
# mount(8) looks for the helper's program in the system's directories only: put it there, in a mount
# namespace of our own.
if [[ -z ${PINFS_TEST_NS:-} ]]; then
	need unshare
	PINFS_TEST_NS=1 unshare -m --propagation private bash "$0" "$@"
	exit
fi
mount -t tmpfs -o mode=755 none /usr/local/sbin || skip "can't mount over /usr/local/sbin in a namespace"
ln -s "$BUILD/pinfs" /usr/local/sbin/pinfs
mkpool 64M

step "mount -t fuse.pinfs POOL MNT"
mount -t fuse.pinfs "$POOL" "$MNT"
is_mounted "$MNT" || fail "not mounted"
echo data >"$MNT/f"
umount "$MNT"

step "with options, also some that mount(8) keeps for itself"
mount -t fuse.pinfs -o dev,suid,noatime,allow_other,commit=3 "$POOL" "$MNT"
equals "the file" "$(<"$MNT/f")" data
mknod "$MNT/null" c 1 3
echo x >"$MNT/null"
opts=$(awk -v m="$MNT" '$5 == m { print $6 }' /proc/self/mountinfo)
for o in nodev nosuid; do
	[[ ,$opts, != *,$o,* ]] || fail "mounted with $o: $opts"
done
umount "$MNT"
mount -t fuse.pinfs -o nodev,nosuid,ro,allow_other "$POOL" "$MNT"
opts=$(awk -v m="$MNT" '$5 == m { print $6 }' /proc/self/mountinfo)
for o in nodev nosuid ro; do
	[[ ,$opts, == *,$o,* ]] || fail "$o is not there: $opts"
done
umount "$MNT"

step "a line in an fstab"
echo "$POOL $MNT fuse.pinfs rw,allow_other,noauto,nofail,_netdev 0 0" >"$WORK/fstab"
mount -T "$WORK/fstab" "$MNT"
equals "the file" "$(<"$MNT/f")" data
umount "$MNT"

step "a failure is mount's failure"
must_fail mount -t fuse.pinfs -o nonsense "$POOL" "$MNT"
must_fail mount -t fuse.pinfs "$WORK/none" "$MNT"
! is_mounted "$MNT" || fail "mounted all the same"
