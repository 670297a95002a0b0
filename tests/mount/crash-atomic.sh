#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Crash-atomic memory: examples/crash-atomic.c keeps a hash table in a mapped file. It is killed anywhere, or the daemon, or both, while others
# sync all the time; afterwards the table is exactly as after a batch, and none that was told durable is lost.
# PINFS_ATOMIC_ROUNDS: how many kills (default 200).
. "$(dirname "$0")/lib.sh"

ex=$BUILD/examples/crash-atomic
[[ -x $ex ]] || skip "$ex is not built"
rounds=${PINFS_ATOMIC_ROUNDS:-200}
opts=${OTHERS:+$OTHERS,}commit=1
fresh_mount 64M "$opts"
f=$MNT/table

# Everybody else's sync is no reason for a batch to be durable in part.
others=
begin_others() {
	(
		trap 'exit 0' TERM
		while :; do
			sync "$f"
			pinctl sync "$MNT"
			cp "$f" "$MNT/clone"
		done
	) >/dev/null 2>&1 &
	others=$!
}
end_others() {
	kill "$others" 2>/dev/null || true
	wait "$others" 2>/dev/null || true
}
killed() { # a job of ours: bash reports it otherwise
	{ wait "$1" || true; } 2>/dev/null
}
check() { # FILE
	local least
	# The last line may be of a batch whose number was written in part.
	least=$(grep -E '^[0-9]+$' "$WORK/told" | tail -n 1 || true)
	OUT=$("$ex" "$1" check "${least:-0}" 2>&1) || fail "round $n, $how: $OUT (told: ${least:-0})"
}

"$ex" "$f" run 5 >"$WORK/told"
equals "batches told" "$(tail -n 1 "$WORK/told")" 5
begin_others
for ((n = 0; n < rounds; n++)); do
	case $((n % 4)) in
	0 | 1) how=program ;;
	2) how=daemon ;;
	3) how=both ;;
	esac
	"$ex" "$f" run 1000000 >>"$WORK/told" 2>>"$WORK/log/program" &
	program=$!
	sleep 0.0$((RANDOM % 6))$((RANDOM % 10))
	if [[ $how != daemon ]]; then
		kill -9 "$program"
		killed "$program"
	fi
	if [[ $how != program ]]; then
		kill_pinfs
		killed "$program" # it has been told
		end_others
		mount_pinfs "$opts"
		begin_others
	fi
	check "$f"
done
end_others
note "$rounds kills; $OUT"

step "what others took meanwhile is of a batch, too"
cp "$f" "$MNT/clone"
"$ex" "$f" run 1000000 >>"$WORK/told" 2>>"$WORK/log/program" &
program=$!
how="clone under load"
for ((n = 0; n < 10; n++)); do
	sleep 0.05
	cp "$f" "$MNT/clone.$n"
done
kill -9 "$program"
killed "$program"
: >"$WORK/told"
for ((n = 0; n < 10; n++)); do check "$MNT/clone.$n"; done
umount_pinfs
check_pool
