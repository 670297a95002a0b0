#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A real tree (/usr/include) copied with cp -a, compared, compared again after a remount, copied
# within the mount and removed.
. "$(dirname "$0")/lib.sh"

fresh_mount 640M

step "cp -a /usr/include"
cp -a /usr/include "$MNT/a"
diff -r --no-dereference /usr/include "$MNT/a"

step "the attributes, too"
owner='%U %G' # only root can keep it
is_root || owner=
list() { # DIR: a line for everything below; without the sizes of directories
	(cd "$1" && find . \( -type d -printf "%p %y %m $owner %T@\n" \) -o -printf "%p %y %m $owner %s %T@ %l\n" | sort)
}
list /usr/include >"$WORK/want"
list "$MNT/a" >"$WORK/got"
diff "$WORK/want" "$WORK/got"

step "again after a remount"
remount_pinfs "$OTHERS"
diff -r --no-dereference /usr/include "$MNT/a"
list "$MNT/a" >"$WORK/got"
diff "$WORK/want" "$WORK/got"

step "a copy within the mount"
cp -a "$MNT/a" "$MNT/b"
diff -r --no-dereference "$MNT/a" "$MNT/b"

step "rm -r leaves an empty, sound pool"
used() { stat -f -c '%b %f' "$MNT" | { read -r total free; echo $((total - free)); }; }
rm -r "$MNT/a" "$MNT/b"
equals "what is left" "$(ls -A "$MNT")" ""
sync_all
umount_pinfs
check_pool
mount_pinfs "$OTHERS"
left=$(used)
((left < 2048)) || fail "$left blocks are in use in an empty filesystem"
