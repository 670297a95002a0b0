#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Mount options: what is unknown or wrong is refused with a word on it; ro, noatime, noexec and dev
# do what they say; the daemon detaches, and tells the caller when a mount failed.
. "$(dirname "$0")/lib.sh"

need_fuse
mkpool 64M
mnt() { pinfs "$POOL" "$MNT" -o "$1"; }
off() { unmount "$MNT"; }

step "refused: unknown or wrong"
must_say 'nonsense' mnt nonsense
must_say 'commit' mnt commit=soon
must_say 'dax' mnt dax=perhaps
must_say 'domain' mnt domain=paper
must_say 'dio_align' mnt dio_align=777
must_say 'transient pins only' mnt writeback_longterm=wait
! is_mounted "$MNT" || fail "mounted all the same"
must_say 'no such|not found|exist' pinfs "$WORK/none" "$MNT"
must_say 'no such|not found|exist' pinfs "$POOL" "$WORK/none"
head -c 1M /dev/urandom >"$WORK/junk"
must_say 'not a pinfs|no pool|not a pool|magic' pinfs "$WORK/junk" "$MNT"
: >"$WORK/empty"
must_say . pinfs "$WORK/empty" "$MNT"
must_say . pinfs
must_say . pinfs "$POOL"

step "commit, in the background, no -f"
mnt "${OTHERS:+$OTHERS,}commit=2"
is_mounted "$MNT" || fail "not mounted when pinfs returned"
echo data >"$MNT/f"
echo '#!/bin/sh' >"$MNT/prog"
chmod +x "$MNT/prog"
"$MNT/prog"
mkdir "$MNT/d"
off

step "ro"
mnt "${OTHERS:+$OTHERS,}ro"
equals "the file" "$(<"$MNT/f")" data
must_say 'read-only' touch "$MNT/new"
must_say 'read-only' rm "$MNT/f"
must_say 'read-only' chmod 600 "$MNT/f"
grep -q " $MNT ro" /proc/self/mountinfo || grep " $MNT " /proc/self/mountinfo | grep ' ro,' >/dev/null || fail "not shown as ro"
sum=$(sha256sum <"$POOL")
cat "$MNT/f" >/dev/null
off
sleep 0.3
equals "the pool after a ro mount" "$(sha256sum <"$POOL")" "$sum"
check_pool

step "a pool that can't be written: ro works"
if ! is_root; then
	chmod 400 "$POOL"
	must_say 'permission|read-only|denied' mnt "${OTHERS:+$OTHERS,}commit=2"
	mnt ro
	equals "the file" "$(<"$MNT/f")" data
	off
	chmod 600 "$POOL"
fi

step "noexec, noatime, relatime"
mnt "${OTHERS:+$OTHERS,}noexec"
must_say 'permission denied' "$MNT/prog"
off
touch -a -d '2001-01-01' "$WORK/ref"
for o in noatime relatime; do
	mnt "${OTHERS:+$OTHERS,}$o"
	touch -a -r "$WORK/ref" "$MNT/f"
	dd if="$MNT/f" iflag=direct bs=4096 status=none >/dev/null
	year=$(stat -c %x "$MNT/f")
	year=${year%%-*}
	if [[ $o == noatime ]]; then equals "$o" "$year" 2001; elif ((year == 2001)); then fail "$o: atime did not move"; fi
	off
done

step "dio_align=4096: odd O_DIRECT is EINVAL; without it any alignment works"
head -c 8192 /dev/urandom >"$WORK/x"
mnt "${OTHERS:+$OTHERS,}dio_align=4096"
cp "$WORK/x" "$MNT/x"
dd if="$MNT/x" of="$WORK/y" iflag=direct bs=4096 status=none
same "$WORK/x" "$WORK/y"
must_say 'invalid argument' dd if="$MNT/x" of="$WORK/y" iflag=direct bs=1000 status=none
off
mnt "${OTHERS:-commit=5}"
dd if="$MNT/x" of="$WORK/y" iflag=direct bs=1000 status=none
same "$WORK/x" "$WORK/y"
off

if is_root; then
	step "nodev is what mount(8) and fusermount3 give to users; dev is there when asked for"
	mnt "$OTHERS,dev,suid"
	mknod "$MNT/null" c 1 3
	echo x >"$MNT/null"
	off
	mnt "$OTHERS,nodev"
	must_say 'permission denied' dd if="$MNT/null" of=/dev/null status=none
	off
	step "subtype and source as df and findmnt show them"
	mnt "$OTHERS"
	equals "type and source" "$(grep " $MNT " /proc/self/mountinfo | sed 's/.* - //' | cut -d' ' -f1,2)" "fuse.pinfs $POOL"
	off
fi
