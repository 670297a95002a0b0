#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# pinctl clone, exchange, punch, collapse, insert, sync of a file: what they do, what they refuse, with dirty pages
# and with pins, over SIGKILL of the daemon.
. "$(dirname "$0")/lib.sh"

helper=$BUILD/tests/mount/layout mapper=$BUILD/tests/mount/mapping
[[ -x $helper && -x $mapper ]] || skip "$helper is not built"
need jq
opts=${OTHERS:+$OTHERS,}commit=3600
fresh_mount 128M "$opts"

fill() { # FILE LETTERS: a block of each
	local k
	: >"$1"
	for ((k = 0; k < ${#2}; k++)); do
		head -c 4096 /dev/zero | tr '\0' "${2:k:1}" >>"$1"
	done
}
blocks() { # FILE: the first letter of each block, "." for zeroes
	local k n
	n=$((($(stat -c %s "$1") + 4095) / 4096))
	for ((k = 0; k < n; k++)); do
		dd if="$1" bs=4096 skip=$k count=1 status=none | head -c 1 | tr '\0' '.'
	done
}
is() { equals "$1" "$(blocks "$MNT/$1")" "$2"; }

echo plain >"$WORK/plain"
a=$MNT/a b=$MNT/b

step "offers, and pages that the kernel has not written back"
"$helper" "$MNT" || fail "see above"

step "collapse and insert"
fill "$a" abcdef
pinctl collapse "$a" 4096 8K
is a adef
equals "JSON" "$(pinctl insert --json "$a" 4K 4096)" '{"operation":"insert","offset":4096,"length":4096,"size":20480}'
is a a.def
pinctl punch "$a" 8192 4K
is a a..ef
must_say 4096 pinctl collapse "$a" 1 4096
must_say 'end' pinctl collapse "$a" 0 1M
must_say 'end' pinctl insert "$a" 1M 4096
must_say 'size|number' pinctl insert "$a" x 4096
equals "usage status" "$STATUS" 2
must_say 'not enough' pinctl insert "$a" 4096
must_say 'No such file' pinctl collapse "$MNT/none" 0 4096
must_say 'not a regular file' pinctl collapse "$MNT" 0 4096
must_say 'not on a pinfs mount' pinctl collapse "$WORK/plain" 0 4096

step "clone"
fill "$a" abcdef
printf tail >>"$a"
pinctl clone "$a" "$b"
cmp "$a" "$b"
equals "mode" "$(stat -c %a "$b")" "$(stat -c %a "$a")"
pinctl map --json "$b" | jq -e '[.extents[].state | index("shared")] | all' >/dev/null || fail "blocks are not shared"
fill "$b" 0123456789
pinctl clone "$a" "$b"
cmp "$a" "$b"
must_say 4096 pinctl clone "$a" "$a"
must_say 'different mounts' pinctl clone "$a" "$WORK/elsewhere"
[[ ! -e $WORK/elsewhere ]] || fail "a clone that failed leaves a new file"
must_say 'not on a pinfs mount' pinctl clone "$WORK/plain" "$WORK/elsewhere"

step "exchange"
fill "$a" abcd
fill "$b" uvwxyz
printf tail >>"$b"
pinctl exchange "$a" "$b"
is a uvwxyzt
is b abcd
pinctl exchange "$a" "$b" 4K 8K
is a ubcxyzt
is b avwd
must_say 4096 pinctl exchange "$a" "$b" 0 1M
must_say 'offset and a length' pinctl exchange "$a" "$b" 0
must_say 'nothing to exchange' pinctl exchange "$a" "$b" 0 0

step "sync of a file and of a range, then SIGKILL: both files have changed or neither"
pinctl sync "$MNT"
pinctl exchange "$a" "$b"
kill_pinfs
mount_pinfs "$opts"
case $(blocks "$a")/$(blocks "$b") in
ubcxyzt/avwd | avwd/ubcxyzt) ;;
*) fail "after SIGKILL: $(blocks "$a") and $(blocks "$b")" ;;
esac
fill "$a" abcd
fill "$b" wxyz
pinctl sync "$MNT"
pinctl exchange "$a" "$b"
equals "JSON" "$(pinctl sync --json "$a")" '{"synced":true}'
kill_pinfs
mount_pinfs "$opts"
is a wxyz
is b abcd
pinctl collapse "$b" 0 4K
pinctl sync "$b" 0 4K
kill_pinfs
mount_pinfs "$opts"
is b bcd
must_say 'directory' pinctl sync "$MNT" 0 4K
must_say 'offset and a length' pinctl sync "$b" 0

step "the holder of a pin keeps his blocks, the file gets what they hold"
remount_pinfs "$opts,lease_break=cut"
coproc CLIENT { exec "$mapper" 2>>"$WORK/log/layout"; }
client=$CLIENT_PID
m() { # COMMAND...: its reply in $R
	R=
	echo "$*" >&"${CLIENT[1]}"
	read -r -t 30 R <&"${CLIENT[0]}" || fail "no answer to: $*"
}
fill "$a" abcdef
m open "$a"
m map 0 24576 w
[[ $R == ok* ]] || fail "map: $R"
m store 8192 stored
pinctl collapse "$a" 4096 4096
equals "what was stored" "$(dd if="$a" bs=1 skip=4096 count=6 status=none)" stored
m store 8192 after.
m load 8192 6
equals "the mapping" "$R" "ok after."
equals "the file" "$(dd if="$a" bs=1 skip=4096 count=6 status=none)" stored
# all that the pin has: its lease is revoked (lease_break=cut), also where the collapse was not
equals "quarantined" "$(pinctl status --json "$MNT" | jq .quarantined_blocks)" 6
echo quit >&"${CLIENT[1]}"
wait "$client"
is a asdef
equals "quarantined" "$(pinctl status --json "$MNT" | jq .quarantined_blocks)" 0

step "the pool is sound"
umount_pinfs
check_pool
