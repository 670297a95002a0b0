#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# libpinfs against a daemon: each tests/client/test_* is run on a fresh mount, and leaves no pin, no lease and
# no damage behind.
. "$(dirname "$0")/../mount/lib.sh"

need_fuse
# A child of a program with threads starts one of its own, which the thread sanitizer has to be told is meant.
export TSAN_OPTIONS="die_after_fork=0${TSAN_OPTIONS:+ $TSAN_OPTIONS}"
found=
for t in "$BUILD"/tests/client/test_*; do
	[[ -x $t && -f $t && $t != *.o ]] || continue
	found=yes
	rm -f "$POOL"
	fresh_mount 128M "${OTHERS:+$OTHERS,}lease_break_ms=1500"
	step "$(basename "$t")"
	PINFS_TEST_MNT=$MNT "$t"
	for what in pins leases parked quarantined_blocks; do
		equals "$what at the end" "$(pinctl status --json "$MNT" | sed "s/.*\"$what\":\([0-9]*\).*/\1/")" 0
	done
	umount_pinfs
	check_pool
done
[[ -n $found ]] || skip "the programs are not built: they need check"
