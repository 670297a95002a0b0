#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# S24: the daemon is SIGKILLed while holders go on storing, and a new daemon mounts the pool. Files are as of their last sync;
# what the holders map is quarantined until they go, whatever they store; they get ENOTCONN and can unmap.
. "$(dirname "$0")/lib.sh"

helper=$BUILD/tests/mount/mapping
[[ -x $helper ]] || skip "$helper is not built"
need jq
opts=${OTHERS:+$OTHERS,}commit=3600
fresh_mount 64M "$opts"

# Holders by name, each with two pipes.
declare -A to from pid
start() { # NAME
	local n=$1
	mkfifo "$WORK/$n.in" "$WORK/$n.out"
	"$helper" <"$WORK/$n.in" >"$WORK/$n.out" 2>>"$WORK/log/holder" &
	pid[$n]=$!
	exec {to[$n]}>"$WORK/$n.in" {from[$n]}<"$WORK/$n.out"
}
m() { # NAME COMMAND...: its reply in $R
	local n=$1
	shift
	echo "$*" >&"${to[$n]}"
	read -r -t 30 R <&"${from[$n]}" || fail "no answer from $n to: $*"
}
ok() { m "$@"; [[ $R == ok* ]] || fail "$*: $R"; }
gives() { # WANTED NAME COMMAND...
	local want=$1
	shift
	m "$@"
	equals "$*" "$R" "$want"
}
held() { pinctl status --json "$MNT" | jq .held_blocks; }
only() { # FILE CHARACTER: it consists of nothing else
	[[ -s $1 && -z $(tr -d "$2" <"$1" | head -c 1) ]] || fail "$1 is not all '$2'"
}

step "two holders store without end; the daemon is killed"
for h in a b; do
	start $h
	ok $h open "$MNT/$h"
	ok $h map 0 1048576 wa
	ok $h fill 0 1048576 "$h"
	ok $h sync
	ok $h storm Z
done
head -c 1M /dev/zero | tr '\0' d >"$MNT/durable"
sync_all
sleep 0.2
kill_pinfs
check_pool
must_say 'mapped' mkfs.pinfs -f -s 64M "$POOL"

step "a new daemon: old image intact, held ranges quarantined"
mount_pinfs "$opts"
# a sync that was made under the storm has both
for h in a b; do
	[[ $(stat -c %s "$MNT/$h") == 1048576 ]] || fail "$h has lost its size"
	equals "strange bytes in $h" "$(tr -d "${h}Z" <"$MNT/$h" | wc -c)" 0
	cp "$MNT/$h" "$WORK/$h.copy"
done
only "$MNT/durable" d
equals "held blocks" "$(held)" 512
equals "quarantined" "$(pinctl status --json "$MNT" | jq .quarantined_blocks)" 512
pinctl status "$MNT" | grep 'still mapped by clients' >/dev/null || fail "pinctl status does not say it"

step "new files take all other space, and none of what is stored"
head -c 64M /dev/zero | tr '\0' n >"$MNT/new" 2>/dev/null && fail "64M fit into a pool of 64M"
sync_all || true
only "$MNT/new" n
for h in a b; do
	same "$MNT/$h" "$WORK/$h.copy"
done
before=$(stat -c %s "$MNT/new")

step "SIGKILL of one holder: what it held is free, and new"
kill -9 "${pid[a]}"
wait "${pid[a]}" 2>/dev/null || true
for ((n = 200; n > 0 && $(held) > 256; n--)); do sleep 0.05; done
equals "held blocks" "$(held)" 256
head -c 512K /dev/zero | tr '\0' m >"$MNT/more"
only "$MNT/more" m

step "the other: ENOTCONN, clean unmap, space for the asking"
gives "err ENOTCONN" b fsync
gives "err ENOTCONN" b sync
gives "err ENOTCONN" b read 0 4
ok b calm
gives "ok ZZZZ" b load 4096 4
ok b unmap
ok b close
equals "held blocks" "$(held)" 0
equals "quarantined" "$(pinctl status --json "$MNT" | jq .quarantined_blocks)" 0
rm "$MNT/new"
head -c "$before" /dev/zero | tr '\0' n >"$MNT/new"
sync_all
only "$MNT/new" n
rm "$MNT/new"
ok b open "$MNT/b"
ok b map 0 1048576 w
ok b store 0 again
equals "read(2)" "$(head -c 5 "$MNT/b")" again
ok b unmap
kill "${pid[b]}"
umount_pinfs
check_pool

step "a holder that has gone before the mount leaves nothing"
mount_pinfs "$opts"
equals "held blocks" "$(held)" 0
only "$MNT/durable" d
umount_pinfs
scenario_row default "old image intact, held ranges kept until they go" "files as of their sync; quarantined; freed with the holders" "$SECONDS"
