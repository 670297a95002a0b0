#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# tar out and in again: attributes, links, sparse files, xattrs and special files survive.
. "$(dirname "$0")/lib.sh"

need tar
fresh_mount 256M
mkdir "$MNT/a" "$MNT/b"
cd "$MNT/a"

step "a tree with one of everything"
tar -C /usr/include -cf - linux | tar -xf -
ln linux/fs.h hardlink
ln -s linux/fs.h symlink
ln -s nowhere dangling
mkfifo fifo
truncate -s 100M sparse
echo end | dd of=sparse bs=1 seek=$((50 << 20)) conv=notrunc status=none
mkdir -m 1777 sticky
touch -d '1969-12-31 23:59:58.123456789 UTC' old
touch -d '2200-01-01 00:00:00.000000001 UTC' young
if command -v setfattr >/dev/null; then setfattr -n user.note -v 'a value' hardlink; fi
if is_root; then
	mknod null c 1 3
	mknod disk b 259 1048575
	install -o 1234 -g 4321 -m 6755 /dev/null suid
fi

step "pack, unpack, compare"
tar --xattrs --xattrs-include='*' --acls -S -cf "$WORK/a.tar" .
tar -C "$MNT/b" --xattrs --xattrs-include='*' --acls -S -xpf "$WORK/a.tar"
list() { (cd "$1" && find . -printf '%p %y %m %U %G %n %T@ %l\n' | sort); }
list "$MNT/a" >"$WORK/want"
list "$MNT/b" >"$WORK/got"
diff "$WORK/want" "$WORK/got"
tar -C "$MNT/b" --compare -f "$WORK/a.tar"
equals "size" "$(stat -c %s "$MNT/b/sparse")" $((100 << 20))
(($(stat -c %b "$MNT/b/sparse") <= 64)) || fail "the sparse file takes $(stat -c %b "$MNT/b/sparse") sectors"
if is_root; then
	equals "device" "$(stat -c '%t:%T' "$MNT/b/disk")" "103:fffff"
fi

step "the same after a remount"
cd /
remount_pinfs "$OTHERS"
list "$MNT/b" >"$WORK/got"
diff "$WORK/want" "$WORK/got"
tar -C "$MNT/b" --compare -f "$WORK/a.tar"
umount_pinfs
check_pool
