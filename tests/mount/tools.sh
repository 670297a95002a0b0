#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The command line: --help and --version everywhere, bad arguments named, sizes with units, what mkfs
# refuses, JSON that parses, exit statuses.
. "$(dirname "$0")/lib.sh"

step "--help and --version"
for p in mkfs.pinfs pinfs fsck.pinfs pinctl; do
	$p --help >"$WORK/help" || fail "$p --help: status $?"
	grep -qi usage "$WORK/help" || fail "$p --help does not show a usage"
	$p --version | grep -E '[0-9]+\.[0-9]+' >/dev/null || fail "$p --version shows no version"
	must_say 'no-such-option|unknown|unrecognized' $p --no-such-option
	((STATUS != 1)) || [[ $p == pinfs ]] || fail "$p: usage errors should not end with status 1"
	must_say . $p
done

step "sizes"
size() { rm -f "$POOL"; mkfs.pinfs -s "$1" "$POOL" >/dev/null; stat -c %s "$POOL"; }
equals 16M "$(size 16M)" $((16 << 20))
equals 16MiB "$(size 16MiB)" $((16 << 20))
equals 16777216 "$(size 16777216)" $((16 << 20))
equals 16384k "$(size 16384k)" $((16 << 20))
rm "$POOL"
must_say 'size|small|large|number|unit' mkfs.pinfs -s 12X "$POOL"
must_say 'size|small|large|number|unit' mkfs.pinfs -s -5M "$POOL"
must_say 'size|small|large|number|unit' mkfs.pinfs -s 1k "$POOL"
# The limit is for the case that it is not refused: the memory behind /dev/shm would be filled up.
must_say 'size|space|large|fit' bash -c 'ulimit -f 100000; trap "" XFSZ; mkfs.pinfs -s 900P "$1"' _ "$POOL"
must_say 'size' mkfs.pinfs "$POOL"
[[ ! -s $POOL ]] || fail "a refused mkfs leaves a file with $(stat -c %s "$POOL") bytes"

step "what mkfs refuses to overwrite without -f"
rm -f "$POOL"
mkfs.pinfs -s 16M "$POOL" >/dev/null
sum=$(sha256sum <"$POOL")
must_say 'force|-f|pool' mkfs.pinfs -s 16M "$POOL"
equals "the old pool" "$(sha256sum <"$POOL")" "$sum"
mkfs.pinfs -f -s 16M "$POOL" >/dev/null
fsck.pinfs -n "$POOL" >/dev/null
{ echo text; head -c 16M /dev/zero; } >"$WORK/text"
must_say 'force|-f|empty' mkfs.pinfs "$WORK/text"
equals "the file" "$(head -n 1 "$WORK/text")" text
mkfs.pinfs -f "$WORK/text" >/dev/null
must_fail mkfs.pinfs -s 16M "$WORK"
must_say 'no such' mkfs.pinfs -s 16M "$WORK/none/pool"

step "a file of fixed size; a label; the mode of a new pool"
truncate -s 24M "$WORK/fixed"
mkfs.pinfs -L my-label "$WORK/fixed" >/dev/null
equals "size" "$(stat -c %s "$WORK/fixed")" $((24 << 20))
equals "mode of a new pool" "$(stat -c %a "$POOL")" 600
must_say 'label' mkfs.pinfs -s 16M -L "$(printf 'x%.0s' {1..64})" "$WORK/long"

if is_root && command -v losetup >/dev/null; then
	step "a device node"
	truncate -s 32M "$WORK/disk"
	if loop=$(losetup --show -f "$WORK/disk" 2>/dev/null); then
		rc=0
		{ mkfs.pinfs "$loop" && fsck.pinfs -n "$loop"; } >"$WORK/log/device" 2>&1 || rc=$?
		losetup -d "$loop"
		equals "mkfs.pinfs and fsck.pinfs of a loop device" "$rc" 0
	else
		note "not run: no loop device to be had"
	fi
fi

step "fsck.pinfs"
fsck.pinfs -n "$POOL" >/dev/null
must_say . fsck.pinfs
must_say 'no such' fsck.pinfs -n "$WORK/none"
((STATUS >= 8)) || fail "status $STATUS of fsck.pinfs -n for a missing file, should be 8 or more"

step "pinctl"
need_fuse
mount_pinfs "$OTHERS" "$WORK/fixed"
head -c 100000 /dev/urandom >"$MNT/f"
truncate -s 1M "$MNT/f"
mkdir "$MNT/d"
json() { if command -v jq >/dev/null; then jq -e . >/dev/null; else python3 -m json.tool >/dev/null; fi; }
for args in "status $MNT" "status $MNT/d" "info $MNT/f" "info $MNT/d" "map $MNT/f"; do
	# shellcheck disable=SC2086
	pinctl $args >/dev/null || fail "pinctl $args: status $?"
	# shellcheck disable=SC2086
	pinctl ${args/ / --json } | json || fail "pinctl ${args/ / --json }: no JSON"
done
pinctl status "$MNT" | grep my-label >/dev/null || fail "pinctl status does not show the label"
pinctl status "$MNT" | grep -E 'volatile|pagecache|pmem' >/dev/null || fail "pinctl status does not show the domain"
pinctl map "$MNT/f" | grep dirty >/dev/null || fail "pinctl map does not show what is dirty"
sync "$MNT/f"
pinctl map "$MNT/f" | grep durable >/dev/null || fail "pinctl map does not show what is durable"
pinctl map "$MNT/f" | grep hole >/dev/null || fail "pinctl map does not show the hole"
must_say 'pinfs' pinctl info "$WORK/log"
must_say 'no such' pinctl info "$MNT/none"
must_say 'command|nonsense' pinctl nonsense "$MNT"
if command -v jq >/dev/null; then
	equals "file_size" "$(pinctl info --json "$MNT/f" | jq .size)" $((1 << 20))
	equals "bytes in the map" "$(pinctl map --json "$MNT/f" | jq '[.extents[].length] | add')" $((1 << 20))
	blocks=$(pinctl status --json "$MNT" | jq .total_blocks) # without the root blocks
	((blocks <= 24 << 8 && blocks >= (24 << 8) - 8)) || fail "total_blocks is $blocks"
fi
umount_pinfs
check_pool "$WORK/fixed"
