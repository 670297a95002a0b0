#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Processes use a mount in every way at once (load.c), while holders of pins and leases are killed, and the daemon is
# unmounted, or killed, and started again. After each round: nothing pinned or leased, fsck clean, what was written is there.
# STRESS_SECONDS=N (30): how long. STRESS_SEED=N repeats a run's choices.
PINFS_TEST_TIMEOUT=${PINFS_TEST_TIMEOUT:-$((${STRESS_SECONDS:-30} + 300))}
. "$(dirname "$0")/../mount/lib.sh"

load=$BUILD/tests/stress/load
[[ -x $load ]] || skip "$load is not built"
seed=${STRESS_SEED:-$RANDOM} seconds=${STRESS_SECONDS:-30}
RANDOM=$seed
note "STRESS_SEED=$seed"
options="${OTHERS:+$OTHERS,}commit=1,lease_break_ms=20"
fresh_mount 128M "$options"
status_of() { pinctl status --json "$MNT" | sed "s/.*\"$1\":\([0-9]*\).*/\1/"; }

# Releases reach the daemon some time after the last close.
nothing_left() {
	local what n
	for what in pins leases parked quarantined_blocks; do
		n=100
		until [[ $(status_of $what) == 0 ]]; do
			((n-- > 0)) || { pinctl status "$MNT"; fail "$what: $(status_of $what) are left"; }
			sleep 0.1
		done
	done
}

operations=0 round=0 kills=0 begin=$SECONDS
while ((SECONDS - begin < seconds)); do
	round=$((round + 1))
	rc=0
	if ((round % 2)); then
		"$load" run "$MNT" "$WORK/state" 3 "$RANDOM" >"$WORK/log/load" 2>&1 || { cat "$WORK/log/load"; fail "round $round"; }
		nothing_left
		umount_pinfs
		how=clean
	else
		"$load" run "$MNT" "$WORK/state" 20 "$RANDOM" >"$WORK/log/load" 2>&1 &
		pid=$!
		until grep -q '^started' "$WORK/log/load"; do [[ -e /proc/$pid ]] || break; sleep 0.05; done
		sleep "$((RANDOM % 3)).$((RANDOM % 10))"
		kill_pinfs
		wait "$pid" || rc=$?
		((rc == 3)) || { cat "$WORK/log/load"; fail "round $round: status $rc, not that of a daemon that is gone"; }
		kills=$((kills + 1))
		how=crash
	fi
	operations=$((operations + $(awk '/operations/ { print $1 }' "$WORK/log/load")))
	check_pool
	mount_pinfs "$options"
	"$load" check "$MNT" "$WORK/state" $how
done
note "$operations operations in $round rounds, $kills kills, in $((SECONDS - begin)) s"
rm -rf "${MNT:?}"/*
nothing_left
umount_pinfs
check_pool
