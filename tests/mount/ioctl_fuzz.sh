#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Hostile input at every request, from several processes and threads (ioctl_fuzz.c). Afterwards the daemon is
# there, nothing is pinned, leased, parked or quarantined, no block is lost, and the pool is sound.
#
# PINFS_FUZZ_SECONDS (20) and PINFS_FUZZ_SEED (1) in the environment.
seconds=${PINFS_FUZZ_SECONDS:-20}
export PINFS_TEST_TIMEOUT=${PINFS_TEST_TIMEOUT:-$((seconds * 2 + 120))}
. "$(dirname "$0")/lib.sh"

fuzz=$BUILD/tests/mount/ioctl_fuzz
[[ -x $fuzz ]] || skip "$fuzz is not built"
seed=${PINFS_FUZZ_SEED:-1}
fresh_mount 64M "${OTHERS:+$OTHERS,}commit=1"
number() { pinctl status --json "$MNT" | sed "s/.*\"$1\":\([0-9]*\).*/\1/"; }
mkdir "$MNT/d"
pinctl sync "$MNT"
before=$(number free_blocks)

step "$seconds s with seed $seed"
"$fuzz" "$MNT/d" "$seconds" "$seed"
[[ -e /proc/$DAEMON ]] || fail "the daemon is gone"

step "nothing is left"
for what in pins leases parked; do equals "$what" "$(number $what)" 0; done
rm -r "$MNT/d"
mkdir "$MNT/d"
pinctl sync "$MNT"
for ((n = 0; n < 200; n++)); do # what is quarantined is looked at now and then
	[[ $(number quarantined_blocks) != 0 || $(number free_blocks) != "$before" ]] || break
	sleep 0.05
	pinctl sync "$MNT"
done
[[ $(number free_blocks) == "$before" ]] || pinctl status --json "$MNT"
equals "quarantined blocks" "$(number quarantined_blocks)" 0
equals "free blocks" "$(number free_blocks)" "$before"
umount_pinfs
check_pool
