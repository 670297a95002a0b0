#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Direct mappings through libpinfs: store and load are coherent with read(2), write(2) and O_DIRECT;
# sync makes an atomic snapshot; after SIGKILL of the daemon the file is as of the last sync;
# pins end with the last close, whoever dies.
. "$(dirname "$0")/lib.sh"

helper=$BUILD/tests/mount/mapping
[[ -x $helper ]] || skip "$helper is not built"
need jq
fresh_mount 128M "${OTHERS:+$OTHERS,}commit=3600"
f=$MNT/f

start() {
	coproc CLIENT { exec "$helper" 2>>"$WORK/log/mapping"; }
	client=$CLIENT_PID # bash forgets it when the process ends
}
m() { # COMMAND...: its reply in $R
	R=
	echo "$*" >&"${CLIENT[1]}"
	read -r -t 30 R <&"${CLIENT[0]}" || fail "no answer to: $*"
}
ok() { m "$@"; [[ $R == ok* ]] || fail "$*: $R"; }
gives() { # WANTED COMMAND...
	local want=$1
	shift
	m "$@"
	equals "$*" "$R" "$want"
}
stop() {
	echo quit >&"${CLIENT[1]}"
	wait "$client"
}
pins() { pinctl status --json "$MNT" | sed 's/.*"pins":\([0-9]*\).*/\1/'; }
bytes() { dd if="$f" bs=1 skip="$1" count="$2" status=none | tr '\0' '.'; }
direct() { dd if="$f" bs=4096 count=1 iflag=direct status=none | tail -c +$(($1 + 1)) | head -c "$2" | tr '\0' '.'; }

step "a new file: map with ALLOC, store, read(2) sees it"
start
ok open "$f"
gives "err EINVAL" map 0 65536 w
ok map 0 65536 wa
equals "size" "$(stat -c %s "$f")" 65536
gives "ok ........" load 100 8
ok store 100 first
equals "read(2)" "$(bytes 99 7)" ".first."
equals "O_DIRECT" "$(direct 100 5)" first
equals "pins" "$(pins)" 1
pinctl map "$f" | grep write-pinned >/dev/null || fail "pinctl map does not show the pin"

step "write(2) is seen in the mapping, also after a cached read"
cat "$f" >/dev/null
ok store 4096 again
equals "read(2) after a cached read" "$(bytes 4096 5)" again
printf written | dd of="$f" bs=1 seek=8192 conv=notrunc status=none
gives "ok written" load 8192 7
printf 'd%.0s' {1..4096} | dd of="$f" bs=4096 seek=3 oflag=direct conv=notrunc status=none
gives "ok dddd" load 12288 4

step "sync, store, SIGKILL of the daemon: as of the sync"
ok sync
ok store 100 SECOND
ok store 8192 WRITTEN
equals "read(2)" "$(bytes 100 6)" SECOND
kill_pinfs
gives "ok SECOND" load 100 6 # memory, in no file any more
m sync
[[ $R == err* ]] || fail "sync without a daemon says $R"
check_pool
mount_pinfs "${OTHERS:+$OTHERS,}commit=3600"
equals "after the crash" "$(bytes 100 7)" "first.."
equals "after the crash" "$(bytes 8192 7)" "written"
equals "after the crash" "$(bytes 12288 4)" "dddd"

step "what the survivor stores now reaches no file"
before=$(sha256sum <"$f")
ok fill 0 65536 X
for k in 1 2 3 4 5 6 7 8; do head -c 1M /dev/urandom >"$MNT/other$k"; done
sync_all
sums=$(cd "$MNT" && sha256sum other*)
ok fill 0 65536 Y
drop_caches
equals "other files" "$(cd "$MNT" && sha256sum other*)" "$sums"
equals "the file" "$(sha256sum <"$f")" "$before"
stop
umount_pinfs
check_pool
mount_pinfs "${OTHERS:+$OTHERS,}commit=3600"

step "fsync by somebody else while stores go on; unmap"
start
ok open "$f"
ok map 0 65536 w
ok store 0 one
sync "$f"
ok store 0 two
pinctl info "$f" >/dev/null
ok unmap
equals "pins after unmap" "$(pins)" 0
equals "read(2)" "$(bytes 0 3)" two
kill_pinfs
stop
mount_pinfs "${OTHERS:+$OTHERS,}commit=3600"
equals "after the crash" "$(bytes 0 3)" one

step "unpinned content becomes durable, too"
start
ok open "$f"
ok map 0 0 w
ok store 0 three
ok unmap
ok fsync
kill_pinfs
stop
check_pool
mount_pinfs "${OTHERS:+$OTHERS,}lease_break=cut" # nobody waits for mappings
equals "after the crash" "$(bytes 0 5)" three

step "read mappings: coherent with writers; not writable"
start
ok openro "$f"
gives "err EBADF" map 0 4096 w
ok map 0 8192 r
gives "ok three" load 0 5
printf THREE | dd of="$f" bs=1 conv=notrunc status=none
gives "ok THREE" load 0 5
ok unmap
ok close

step "truncate and punch under a mapping"
ok open "$f"
ok map 0 65536 w
ok fill 0 65536 A
truncate -s 4096 "$f"
equals "size" "$(stat -c %s "$f")" 4096
ok fill 0 65536 B
truncate -s 65536 "$f"
# Its lease was revoked for the truncate, so the mapping is out of the file as a whole.
equals "inside" "$(bytes 0 4)" AAAA
equals "cut off, grown again" "$(bytes 4096 4)" "...."
fallocate -p -o 0 -l 4096 "$f"
ok fill 0 4096 C
equals "punched" "$(bytes 0 4)" "...."

step "unlink under a mapping"
ok store 60000 gone
rm "$f"
gives "ok gone" load 60000 4
gives "ok ...." read 0 4
ok unmap
ok close

step "SIGKILL of the client drops its pins"
ok open "$f"
ok map 0 65536 wa
ok store 0 left
equals "pins" "$(pins)" 1
kill -9 "$client"
wait "$client" 2>/dev/null || true
for ((n = 100; n > 0; n--)); do
	(($(pins) == 0)) && break
	sleep 0.05
done
equals "pins" "$(pins)" 0
equals "its last store" "$(bytes 0 4)" left

step "a child that was forked with the pool open keeps nothing quarantined"
start
ok open "$f"
ok map 0 65536 wa
ok store 0 forked
ok fork
ok unmap
sync "$f"
equals "quarantined" "$(pinctl status --json "$MNT" | jq .quarantined_blocks)" 0
stop

step "errors"
start
ok open "$WORK/elsewhere"
gives "err ENOTTY" map 0 4096 wa
ok close
ok open "$f"
gives "err EINVAL" map 1 4096 w
gives "err EINVAL" map 65536 4096 r
gives "err EINVAL" map 0x7ffffffffffff000 0x2000 wa
stop
umount_pinfs
check_pool
