#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Power loss (tests/README.md): a bounded part of it. First, defects that are planted in the record have to be
# found; then 100,000 images have to be sound. PINFS_CRASH_ARGS replaces the arguments of the latter.
PINFS_TEST_TIMEOUT=${PINFS_TEST_TIMEOUT:-600}
. "$(dirname "$0")/../mount/lib.sh"

crash=$BUILD/tests/crash/crash
[[ -x $crash ]] || skip "$crash is not built"

for plant in barrier flush root; do
	for domain in pmem pagecache; do
		step "planted in the $domain domain: $plant"
		rc=0
		"$crash" --jobs 1 --images 20000 --domain $domain --plant $plant >"$WORK/log/$plant" || rc=$?
		((rc == 1)) || fail "it was not found"
		# The command that is printed makes the same image again.
		again=$(grep -m 1 '^tests/crash/crash ' "$WORK/log/$plant")
		read -ra again <<<"${again#tests/crash/crash }"
		rc=0
		"$crash" "${again[@]}" >"$WORK/log/again" || rc=$?
		((rc == 1)) || fail "the image that was found is another one now: ${again[*]}"
	done
done

step "no defect"
# shellcheck disable=SC2086
"$crash" --keep "$WORK/log" ${PINFS_CRASH_ARGS:---jobs 2 --images 100000}
