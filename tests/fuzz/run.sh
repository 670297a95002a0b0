#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# make fuzz: run fuzz targets, each for FUZZ_SECONDS (60), as many at a time as there are processors, in a build
# that was configured with --enable-fuzzing. Each starts from its corpus in the tree; what it adds stays below
# fuzz-out/ in the build directory, and so does an input that made it fail (crash-*), which then belongs into
# tests/fuzz/corpus/. The last lines tell executions and findings.
set -euo pipefail
src=$(cd "$(dirname "$0")/../.." && pwd)
seconds=${FUZZ_SECONDS:-60} jobs=${FUZZ_JOBS:-$(nproc)} failed=0
out=$PWD/fuzz-out

export UBSAN_OPTIONS=print_stacktrace=1 ASAN_OPTIONS=detect_leaks=1
one() { # TARGET
	local name=${1##*/} corpus dir
	corpus=$src/tests/fuzz/corpus/${name#fuzz_} dir=$out/$name
	mkdir -p "$dir/corpus"
	cp -n "$corpus"/* "$dir/corpus/"
	"$1" -max_total_time="$seconds" -timeout=60 -rss_limit_mb=2048 -max_len=4096 -print_final_stats=1 \
	    -artifact_prefix="$dir/" "$dir/corpus" >"$dir/log" 2>&1
}
for target in "$@"; do
	while (($(jobs -rp | wc -l) >= jobs)); do sleep 0.2; done
	one "./$target" &
done
wait || true
for target in "$@"; do
	name=${target##*/}
	runs=$(sed -n 's/^stat::number_of_executed_units: //p' "$out/$name/log")
	found=$(find "$out/$name" -maxdepth 1 -name '*-*' | wc -l)
	printf '%-14s %10s executions in %s s, %s findings\n' "$name" "${runs:-no}" "$seconds" "$found"
	if [[ -z $runs ]] || ((found)); then
		tail -n 60 "$out/$name/log"
		failed=1
	fi
done
exit "$failed"
