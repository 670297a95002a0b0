#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Every fuzz target over its corpus: the seeds, and the inputs that once made it fail.
set -euo pipefail
src=${TOP_SRCDIR:-$(cd "$(dirname "$0")/../.." && pwd)} build=${PINFS_BUILD:-$PWD}

for dir in "$src"/tests/fuzz/corpus/*/; do
	target=fuzz_$(basename "$dir")
	echo "-- $target"
	timeout 120 "$build/tests/fuzz/$target" "$dir" >"$target.out" 2>&1 || {
		tail -n 40 "$target.out"
		rm -f "$target.out"
		echo "FAIL: $target: the file named last"
		exit 1
	}
	tail -n 1 "$target.out"
	rm -f "$target.out"
done
