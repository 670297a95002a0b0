#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# copy_file_range(2) reaches the daemon, and shares blocks, also if many processes are the first to ask at once. (Linux 6.18 concludes
# from two refusals of its newer form of the request that there is neither, and copies through the page cache from then on.)
. "$(dirname "$0")/lib.sh"
need jq
need_fuse

shared() { pinctl map --json "$1" | jq '[.extents[] | select(.state | index("shared"))] | length'; }

head -c 1M /dev/urandom >"$WORK/data"
for round in {1..8}; do
	rm -f "$POOL"
	mkpool 64M
	mount_pinfs "$OTHERS"
	for k in {1..6}; do cp "$WORK/data" "$MNT/from.$k"; done
	for k in {1..6}; do cp "$MNT/from.$k" "$MNT/to.$k" & done
	wait $(jobs -p | grep -v "^$DAEMON$")
	cp "$MNT/from.1" "$MNT/later"
	for k in {1..6}; do same "$MNT/to.$k" "$WORK/data"; done
	same "$MNT/later" "$WORK/data"
	(($(shared "$MNT/later") > 0)) || fail "round $round: a copy shares no block any more: it did not reach the daemon"
	umount_pinfs
done
check_pool
