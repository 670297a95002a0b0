# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# What scenario scripts share. sNN.sh sources this and has a line for each policy:
#
#   row POLICY "MOUNT,OPTIONS" "what must come out"
#
# which makes a pool, mounts it so, runs the program sNN on it, checks the pool, and prints a row of the table: id, policy,
# expected, seen, seconds.
PINFS_TEST_TIMEOUT=${PINFS_TEST_TIMEOUT:-300}
. "$(dirname "${BASH_SOURCE[0]}")/../mount/lib.sh"

ID=$(basename "$0" .sh)
PROGRAM=$BUILD/tests/scenarios/$ID
POOL_SIZE=128M
need_fuse
[[ -x $PROGRAM ]] || fail "$PROGRAM is not built: make check TESTS="

row() { # POLICY OPTIONS EXPECTED
	local rc=0 out begin end seen
	rm -f "$POOL"
	mkpool "$POOL_SIZE"
	mount_pinfs "${OTHERS:+$OTHERS,}commit=3600${2:+,$2}"
	begin=$(date +%s%N)
	out=$("$PROGRAM" "$MNT" "$1" 2>&1) || rc=$?
	end=$(date +%s%N)
	seen=$(sed -n 's/^SEEN //p' <<<"$out" | tail -n 1)
	seen=${seen:-nothing: status $rc}
	if ((rc == 77)); then
		seen="skipped: $seen"
	elif ((rc)); then
		echo "$out"
		seen="WRONG: $seen"
	fi
	scenario_row "$1" "$3" "$seen" "$(awk -v n=$((end - begin)) 'BEGIN { printf "%.2f", n / 1e9 }')"
	((rc == 0 || rc == 77)) || fail "${ID^^} under $1"
	umount_pinfs
	check_pool
}
