#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Many threads on fs/ without FUSE: few that meet often, then many. STRESS_SECONDS=N: for as long, with other seeds each
# time; STRESS_SEED=N: the first of them.
PINFS_TEST_TIMEOUT=${PINFS_TEST_TIMEOUT:-$((${STRESS_SECONDS:-0} + 300))}
. "$(dirname "$0")/../mount/lib.sh"

threads=$BUILD/tests/stress/threads
[[ -x $threads ]] || skip "$threads is not built"
seed=${STRESS_SEED:-1} end=$((SECONDS + ${STRESS_SECONDS:-0}))
while :; do
	"$threads" --dir "$WORK" --threads 3 --seconds 2 --seed "$seed"
	"$threads" --dir "$WORK" --threads 16 --seconds 3 --seed "$((seed + 1))"
	seed=$((seed + 2))
	((SECONDS < end)) || break
done
