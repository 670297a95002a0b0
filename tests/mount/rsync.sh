#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# rsync -aHAX into the mount, within it, and out again: nothing left to transfer afterwards.
. "$(dirname "$0")/lib.sh"

need rsync
fresh_mount 384M
src=$WORK/src
mkdir "$src"
cp -a /usr/include/linux /usr/include/x86_64-linux-gnu "$src/" 2>/dev/null || cp -a /usr/include/linux "$src/"
ln "$src/linux/fs.h" "$src/hardlink"
ln -s linux/fs.h "$src/symlink"
if command -v setfattr >/dev/null; then setfattr -n user.k -v v "$src/linux/fs.h" 2>/dev/null || true; fi
if command -v setfacl >/dev/null; then setfacl -m u:1234:rwx,d:g:4321:rx "$src/linux" 2>/dev/null || true; fi

again() { # FROM TO: a second run finds nothing to do
	local out
	out=$(rsync -aHAXi --checksum --delete "$1/" "$2/")
	equals "what a second rsync finds" "$out" ""
}

step "in"
rsync -aHAX "$src/" "$MNT/a/"
again "$src" "$MNT/a"
step "within, writing in place"
rsync -aHAX --inplace "$MNT/a/" "$MNT/b/"
again "$MNT/a" "$MNT/b"
step "an update"
find "$src/linux" -name 'c*.h' -exec sh -c 'for f; do echo "/* more */" >>"$f"; done' _ {} +
find "$src/linux" -name 'd*.h' -delete
rsync -aHAX --delete "$src/" "$MNT/a/"
again "$src" "$MNT/a"
step "out, after a remount"
remount_pinfs "$OTHERS"
rsync -aHAX "$MNT/a/" "$WORK/out/"
again "$src" "$WORK/out"
diff -r --no-dereference "$src" "$WORK/out"
umount_pinfs
check_pool
