#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# make scenarios: every scenario once (SCENARIO_ROUNDS=N: N times), and the table of what was seen. SCENARIOS="s01 s09" runs
# these only. Exit status 1 if anything came out otherwise than expected.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
table=$(mktemp)
trap 'rm -f "$table"' EXIT
export SCENARIO_TABLE=$table PINFS_BUILD=${PINFS_BUILD:-$PWD}
failed=()

printf '%-4s %-11s %-52s %-58s %8s\n' id policy expected seen time
for ((round = 1; round <= ${SCENARIO_ROUNDS:-1}; round++)); do
	for script in $(printf '%s\n' "$here"/s[0-9]*.sh "$here"/../mount/s[0-9]*.sh | awk -F/ '{ print $NF, $0 }' | sort | cut -d' ' -f2-); do
		id=$(basename "$script" .sh)
		[[ -z ${SCENARIOS:-} || " $SCENARIOS " == *" $id "* ]] || continue
		rc=0
		out=$("$script" 2>&1) || rc=$?
		((rc == 0 || rc == 77)) || failed+=("$id")
		if ((rc != 0 && rc != 77)); then
			echo "$out"
		elif ((round == 1)); then
			grep -E "^${id^^} " <<<"$out" || true
		fi
	done
	((round == 1)) || printf 'round %d: %d failed so far\n' "$round" "${#failed[@]}"
done
((${#failed[@]} == 0)) || { echo "not as expected: ${failed[*]}"; exit 1; }
echo "all as expected"
