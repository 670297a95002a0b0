#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# File handles (open_by_handle_at, what an NFS server uses): good over renames, remounts and a crash,
# ESTALE when the file is gone, also when its inode number could have been used again.
. "$(dirname "$0")/lib.sh"

is_root || skip "open_by_handle_at needs CAP_DAC_READ_SEARCH"
posix=$BUILD/tests/mount/posix
[[ -x $posix ]] || skip "$posix is not built"
fresh_mount 64M

mkdir -p "$MNT/a/b"
echo content >"$MNT/a/b/f"
echo other >"$MNT/gone"
h=$("$posix" -s "$MNT/a/b/f")
d=$("$posix" -s "$MNT/a/b")
gone=$("$posix" -s "$MNT/gone")

step "at once, and after a rename"
equals "content" "$("$posix" -o "$MNT" "$h")" content
mv "$MNT/a/b/f" "$MNT/g"
equals "content" "$("$posix" -o "$MNT" "$h")" content
drop_caches
equals "content, caches dropped" "$("$posix" -o "$MNT" "$h")" content

step "over a remount"
remount_pinfs "$OTHERS"
equals "content" "$("$posix" -o "$MNT" "$h")" content
must_say 'EISDIR' "$posix" -o "$MNT" "$d" # it opens; a directory can't be read

step "over SIGKILL of the daemon"
sync_all
kill_pinfs
mount_pinfs "$OTHERS"
equals "content" "$("$posix" -o "$MNT" "$h")" content

step "ESTALE when it is gone"
rm "$MNT/gone"
must_say 'ESTALE' "$posix" -o "$MNT" "$gone"
for ((k = 0; k < 500; k++)); do echo new >"$MNT/new$k"; done
must_say 'ESTALE' "$posix" -o "$MNT" "$gone"
remount_pinfs "$OTHERS"
for ((k = 500; k < 1000; k++)); do echo new >"$MNT/new$k"; done
must_say 'ESTALE' "$posix" -o "$MNT" "$gone"
umount_pinfs
check_pool
