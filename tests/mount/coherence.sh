#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Many processes change and look at one file, by a direct mapping, read(2), write(2), O_DIRECT, splice, sendfile and
# copy_file_range, through descriptors that were opened before and after it was pinned: each sees the others' last completed change. A stable
# file and a dax file. PINFS_COHERENCE_SECONDS: how long for each (default 12).
. "$(dirname "$0")/lib.sh"

helper=$BUILD/tests/mount/coherence
[[ -x $helper ]] || skip "$helper is not built"
seconds=${PINFS_COHERENCE_SECONDS:-12}
fresh_mount 64M "${OTHERS:+$OTHERS,}commit=1"

step "a stable file"
"$helper" "$MNT/stable" "$seconds" 2>&1 || fail "not coherent"
remount_pinfs "${OTHERS:+$OTHERS,}commit=1,dax=always"
step "a dax file"
"$helper" "$MNT/dax" "$seconds" 2>&1 || fail "not coherent"
umount_pinfs
check_pool
