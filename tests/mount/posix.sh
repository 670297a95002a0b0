#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The semantics checks of posix.c: errno values, attributes, timestamps, content. Run
# `tests/mount/posix DIR [NAME...]` in the build directory to do it by hand.
. "$(dirname "$0")/lib.sh"

[[ -x $BUILD/tests/mount/posix ]] || skip "$BUILD/tests/mount/posix is not built"
fresh_mount 128M
"$BUILD/tests/mount/posix" "$MNT"
step "what they made survives a remount and is sound"
list() { (cd "$MNT" && find . -printf '%p %y %m %U %G %s %n %T@ %l\n' | sort); }
list >"$WORK/before"
umount_pinfs
check_pool
mount_pinfs "$OTHERS"
list >"$WORK/after"
diff "$WORK/before" "$WORK/after"
rm -r "${MNT:?}"/*
umount_pinfs
check_pool
