#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Makes the table of numbers in doc/RELIABILITY.md: runs what tries to break pinfs for a while each, and writes down how
# often it was tried. In a build directory; SECONDS_EACH=N (300) for each part that has no end of its own.
#
#   make reliability            SECONDS_EACH=3600 make reliability
#
# Fuzzing needs a build of its own (--enable-fuzzing, with clang); FUZZ_BUILD=DIR names it, otherwise that row says "not run".
set -euo pipefail
export LC_ALL=C.UTF-8
src=$(cd "$(dirname "$0")/.." && pwd)
doc=$src/doc/RELIABILITY.md
seconds=${SECONDS_EACH:-300}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PINFS_BUILD=${PINFS_BUILD:-$PWD}
rows=$work/rows
failed=0

row() { printf '| %s | %s | %s |\n' "$1" "$2" "$3" | tee -a "$rows"; }
part() { # NAME COMMAND...: its output in $work/NAME
	local name=$1 rc=0
	shift
	echo "== $name"
	"$@" >"$work/$name" 2>&1 || rc=$?
	((rc == 0)) || { tail -n 40 "$work/$name"; failed=1; }
	return 0
}

part crash "$PINFS_BUILD/tests/crash/crash" --jobs "$(nproc)" --seconds "$seconds"
row "Power loss" "$(grep -oE '[0-9]+ images of [0-9]+ sequences' "$work/crash" | tail -n 1)" \
    "$(grep -oE '[0-9]+ failed' "$work/crash" | tail -n 1)"

part kill env KILL_SECONDS="$seconds" "$src/tests/kill/kill.sh"
row "SIGKILL of the daemon under sqlite, git, fio and a mapping" \
    "$(grep -oE '[0-9]+ rounds in [0-9]+ s' "$work/kill" | tail -n 1)" "$(grep -c '^FAIL' "$work/kill" || true) failed"

part load env STRESS_SECONDS="$seconds" "$src/tests/stress/load.sh"
row "Load: processes on a mount that is unmounted, or killed, in between" \
    "$(grep -oE '[0-9]+ operations in .*' "$work/load" | tail -n 1)" "$(grep -c '^FAIL' "$work/load" || true) failed"

part threads env STRESS_SECONDS="$seconds" "$src/tests/stress/threads.sh"
row "Load: threads, without FUSE" "$(awk '/ operations .* threads / { n += $1 } END { print n + 0 }' "$work/threads") operations in $seconds s" \
    "$(grep -c '^FAIL' "$work/threads" || true) failed"

for domain in volatile pagecache pmem; do
	part faults "$PINFS_BUILD/tests/faults/faults" --domain "$domain" --on
	row "Every allocation and system call fails, $domain domain" "$(grep -oE '[0-9]+ points' "$work/faults"), each once and from there on" \
	    "$(grep -oE '[0-9]+ failed' "$work/faults")"
done

if [[ -n ${FUZZ_BUILD:-} ]]; then
	part fuzz bash -c "cd '$FUZZ_BUILD' && FUZZ_SECONDS=$seconds '$src/tests/fuzz/run.sh' tests/fuzz/fuzz_ioctl tests/fuzz/fuzz_options tests/fuzz/fuzz_pool tests/fuzz/fuzz_size"
	while read -r name n _ _ _ _ found _; do
		row "Fuzzing, \`$name\`" "$n executions" "$found findings"
	done < <(grep 'executions in' "$work/fuzz" | sed 's/,//')
else
	row "Fuzzing" "not run" ""
fi

part scenarios "$src/tests/scenarios/run.sh"
row "Scenarios" "$(grep -cE '^S[0-9]' "$work/scenarios") rows" "$(grep -c 'WRONG' "$work/scenarios" || true) failed"

{
	sed '/^<!-- numbers -->/q' "$doc"
	printf '\nOf %s, %s, %s processors, Linux %s, %s s for each part without an end of its own; version %s.\n\n' "$(date -u +%F)" \
	    "$(uname -m)" "$(nproc)" "$(uname -r | cut -d- -f1)" "$seconds" "$(git -C "$src" rev-parse --short HEAD 2>/dev/null || echo unknown)"
	printf '| what | how often | result |\n|---|---|---|\n'
	cat "$rows"
	printf '\n'
	sed -n '/^<!-- end -->/,$p' "$doc"
} >"$work/new"
cp "$work/new" "$doc"
exit "$failed"
