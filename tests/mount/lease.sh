#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Layout leases between processes: who is told, who waits, who is refused, and how waiting ends.
PINFS_TEST_TIMEOUT=${PINFS_TEST_TIMEOUT:-400}
. "$(dirname "$0")/lib.sh"

helper=$BUILD/tests/mount/lease
[[ -x $helper ]] || skip "$helper is not built"
need_fuse
mkpool 128M
f=$MNT/f
grace=300000 # ms: what is to happen before that does not happen because of it

# Clients by name: start A; tell A COMMAND...; hear A (the reply in $R); A does both.
start() {
	local name
	for name; do
		mkfifo "$WORK/$name.in" "$WORK/$name.out"
		"$helper" <"$WORK/$name.in" >"$WORK/$name.out" 2>>"$WORK/log/clients" &
		pid[$name]=$!
		exec {fd}<>"$WORK/$name.in"
		in[$name]=$fd
		exec {fd}<>"$WORK/$name.out"
		out[$name]=$fd
	done
}
declare -A pid in out
end() {
	local name
	for name; do
		kill -9 "${pid[$name]}" 2>/dev/null || true
		{ wait "${pid[$name]}" || true; } 2>/dev/null
		exec {in[$name]}>&- {out[$name]}>&-
		rm "$WORK/$name.in" "$WORK/$name.out"
	done
}
tell() { echo "${@:2}" >&"${in[$1]}"; }
hear() { R=; read -r -t "${2:-30}" R <&"${out[$1]}" || fail "$1 gives no answer"; }
gives() { # WANTED CLIENT COMMAND...
	tell "${@:2}"
	hear "$2"
	equals "${*:2}" "$R" "$1"
}
ok() { tell "$@"; hear "$1"; [[ $R == ok* ]] || fail "$*: $R"; R=${R#ok}; R=${R# }; }
silent() { # CLIENT: it has no answer yet
	if read -r -t 0.3 R <&"${out[$1]}"; then fail "$1 should wait, but says $R"; fi
}
status() { pinctl status --json "$MNT" | grep -o "\"$1\":[0-9]*" | cut -d: -f2; }
parked() { # N: wait until that many requests are
	local n=400
	until (($(status parked) == $1)); do
		((n-- > 0)) || fail "$(status parked) requests are parked, should be $1"
		sleep 0.02
	done
}
fill() { head -c "${1:-65536}" /dev/zero | tr '\0' a >"$f"; }
size() { stat -c %s "$f"; }
mnt() { mount_pinfs "${OTHERS:+$OTHERS,}$1"; }

mnt "lease_break_ms=$grace"
start A B C
fill

step "a break: the holder is told, the operation waits for him, and for him only"
ok A open "$f"
ok A lease s 8192 8192
lease=$R
ok B open "$f"
gives "ok none" A poll poll 0
tell B punch 12288 40960
parked 1
for how in poll epoll select uring; do
	tell A poll $how 10000
	hear A
	[[ $R == "ok pri" || ($how == uring && $R == "ok unavailable") ]] || fail "$how says $R"
done
gives "ok break:$lease:punch" A events
gives "ok none" A poll poll 0
silent B
ok C open "$f"
gives "ok aaaa" C read 0 4
gives "ok" C sync # fsync(2) would not: the kernel has it wait for the punch
gives "err EAGAIN" C lease s 12288 4096
gives "err EAGAIN" C pin w t 45056 4096
ok C pin w t 0 4096
gives "ok" C unpin "$R"
gives "ok" A release "$lease"
hear B
equals "the punch" "$R" ok
gives "ok ...." B read 12288 4
gives "err ENOENT" A release "$lease"

step "woken while it polls: by poll, epoll, select and io_uring"
for how in poll epoll select uring; do
	fill
	ok A lease s 0 0
	lease=$R
	tell A poll $how 20000
	sleep 0.2
	tell B truncate 0
	hear A
	[[ $R == "ok pri" || ($how == uring && $R == "ok unavailable") ]] || fail "$how says $R"
	ok A release "$lease"
	hear B
	equals "the truncate" "$R" ok
	equals "size" "$(size)" 0
done
gives "ok" A events

step "what is no layout operation asks nobody"
fill
ok A lease s 0 0
lease=$R
ok B write 0 hello
ok B truncate 1000000
gives "ok none" A poll poll 0
cp "$f" "$MNT/copy"
cp "$MNT/copy" "$WORK/copy"
dd if="$WORK/copy" of="$f" conv=notrunc bs=64k status=none
gives "ok" A events
ok A release "$lease"

step "O_TRUNC, ftruncate, truncate, punch, zero, collapse, insert: each waits, each goes on"
ok A close
for op in "open $f t" "truncate 4096" "path_truncate $f 4096" "punch 4096 8192" "zero 4096 8192" "collapse 4096 4096" "insert 4096 4096"; do
	fill
	ok A open "$f"
	ok A lease s 4096 0
	tell B "$op"
	parked 1
	ok A events
	[[ $R == break:*:* ]] || fail "$op: A is told '$R'"
	# the last close ends the lease
	ok A close
	hear B
	equals "$op" "$R" ok
done

step "the same process; its own pins"
fill
ok A open "$f"
ok A lease e 0 0
lease=$R
ok A truncate 32768
ok A punch 0 4096
ok A pin r t 8192 4096
own=$R
gives "err EBUSY" A truncate 4096
ok A truncate 16384
ok A unpin "$own"
gives "ok" A events

step "exclusive: refused at once, and never broken"
gives "err ETXTBSY" B truncate 0
gives "err ETXTBSY" B punch 4096 4096
gives "err ETXTBSY" B collapse 0 4096
gives "err EBUSY" C lease s 0 4096
gives "ok" A modify "$lease" s
ok C lease s 0 4096
other=$R
gives "err EBUSY" A modify "$lease" e
ok C release "$other"
ok A modify "$lease" e
equals "size" "$(size)" 16384
ok A release "$lease"

step "O_NONBLOCK: EWOULDBLOCK, and the holder is told"
fill
ok A lease s 0 0
lease=$R
ok B close
ok B open "$f" n
gives "err EAGAIN" B truncate 0
gives "ok break:$lease:truncate" A events
gives "err EAGAIN" B truncate 0
ok A release "$lease"
ok B truncate 0
ok B close
ok B open "$f"

step "long-term pins need a lease of the same open file"
fill
gives "err ENOLCK" A pin w l 0 4096
gives "err ENOLCK" A pin r l 0 4096
ok A lease s 0 8192
lease=$R
gives "err ENOLCK" A pin w l 4096 8192
gives "err ENOLCK" C pin w l 0 4096
ok A pin w l 0 8192
pin=$R
ok A store DMA
tell B truncate 0
parked 1
ok A release "$lease"
silent B # the pin is still there
ok A store done
ok A unpin "$pin"
hear B
equals "the truncate" "$R" ok

step "signal and POLLPRI both arrive"
fill
ok A lease s 0 0 r 10 4711
lease=$R
ok A lease s 0 4096 r 36 17
second=$R
tell B truncate 0
gives "ok 10 4711" A signal 20000
gives "ok 36 17" A signal 20000
gives "ok pri" A poll poll 20000
ok A release "$lease"
silent B
ok A release "$second"
hear B
equals "the truncate" "$R" ok

step "a killed truncate goes away at once, and changes nothing"
fill
ok A lease s 0 0
lease=$R
gives "ok" A events
start D
tell D path_truncate "$f" 0
parked 1
kill -9 "${pid[D]}"
wait_gone 20 "${pid[D]}" || fail "a killed truncate does not end"
end D
parked 0
equals "size" "$(size)" 65536
gives "ok break:$lease:truncate restored:$lease:truncate" A events
for op in "open $f t" "open $f"$'\n'"punch 0 8192" "open $f"$'\n'"collapse 0 4096"; do
	start D
	tell D "$op"
	parked 1
	kill -TERM "${pid[D]}"
	wait_gone 20 "${pid[D]}" || fail "$op: does not end with SIGTERM"
	end D
	parked 0
done
must_say "temporarily unavailable" truncate -s 0 "$f" # it opens with O_NONBLOCK
equals "size" "$(size)" 65536
ok A release "$lease"

step "leases outlive a fork, and end with the last process that has the file"
ok A lease s 0 0
ok A fork
child=$R
ok A close
tell B truncate 0
parked 1
silent B
kill -9 "$child"
hear B
equals "the truncate" "$R" ok

step "the holder dies"
fill
ok A open "$f"
ok A lease s 0 0
ok A pin w l 0 65536
ok A store dying
tell B truncate 4096
parked 1
end A
hear B
equals "the truncate" "$R" ok
equals "what it stored" "$(head -c 5 "$f")" dying
start A

step "unlink and rename over ask nobody: the blocks stay"
fill
ok A open "$f"
ok A lease s 0 0
ok A pin w l 0 65536
pin=$R
ok A store still
rm "$f"
gives "ok still" A read 0 5
gives "ok" A events
ok A unpin "$pin"
ok A close
ok B close
ok C close
# The kernel does not unlink a file that it truncates: both wait, and nothing is lost.
fill
ok A open "$f"
ok A lease s 0 0
lease=$R
ok B open "$f"
tell B truncate 4096
parked 1
rm "$f" &
silent B
ok A release "$lease"
hear B
equals "the truncate" "$R" ok
wait $!
ok A close
ok B close
fill
ok A open "$f"
ok A lease s 0 0
head -c 10000 /dev/urandom >"$MNT/g"
mv "$MNT/g" "$f"
gives "ok aaaa" A read 0 4
gives "ok" A events
ok A close

step "unmount: refused while files are open; SIGTERM ends all waits"
fill
ok A open "$f"
ok A lease s 0 0
ok A pin w l 0 4096
ok A store kept
ok B open "$f"
tell B truncate 0
parked 1
must_fail unmount "$MNT"
kill -TERM "$DAEMON"
hear B
equals "the truncate" "$R" "err EIO"
wait_gone 60 "$DAEMON" || fail "the daemon does not end"
rc=0
wait "$DAEMON" || rc=$?
equals "status of the daemon" "$rc" 0
end A B C
unmount -l "$MNT" 2>/dev/null || true
check_pool
mnt "lease_break_ms=$grace"
equals "size" "$(size)" 65536
equals "content" "$(head -c 4 "$f")" kept
umount_pinfs

step "one worker, a thousand parked requests"
mnt "lease_break_ms=$grace,threads=1"
mkdir "$MNT/many"
start A B
ok A many 1000 "$MNT/many"
tell B truncate_many 1000 "$MNT/many"
parked 1000
workers=$(cat /proc/"$DAEMON"/task/*/comm | grep -c '^pinfs-[0-9]')
equals "workers" "$workers" 1
ok A open "$f"
ok A noop
ok A pin w t 0 4096
ok A unpin "$R"
equals "content" "$(head -c 4 "$f")" kept
ok A many_release
hear B 60
equals "truncates" "$R" "ok 1000"
equals "empty files" "$(find "$MNT/many" -size 0 -type f | wc -l)" 1000
parked 0
end A B
start A B
ok A many 1000 "$MNT/many"
tell B truncate_many 1000 "$MNT/many"
parked 1000
kill -9 "${pid[B]}"
wait_gone 30 "${pid[B]}" || fail "a thousand killed truncates don't end"
parked 0
equals "emptied files" "$(find "$MNT/many" -size 0 -type f | wc -l)" 0
end A B
umount_pinfs

step "the holder ignores the break: revoked, his stores reach no file"
mnt lease_break_ms=300
start A B
fill
ok A open "$f"
ok A lease s 0 0
lease=$R
ok A pin w l 0 8192
pin=$R
ok B open "$f"
ok B truncate 0
ok A events
equals "events" "$R" "break:$lease:truncate revoked:$lease:truncate"
equals "revocations" "$(status lease_revocations)" 1
equals "quarantined" "$(status quarantined_blocks)" 2
for k in 1 2 3 4; do head -c 20M /dev/urandom >"$MNT/other$k"; done
fill
sums=$(cd "$MNT" && sha256sum f other*)
ok A store LATE_DMA
sync_all
drop_caches
equals "other files" "$(cd "$MNT" && sha256sum f other*)" "$sums"
gives "err ESTALE" A modify "$lease" s
gives "err ESTALE" A pin w l 0 4096
ok A unpin "$pin"
ok A release "$lease"
equals "quarantined" "$(status quarantined_blocks)" 0
rm "$MNT"/other*

step "on_deadline=fail: the operation gives up; =wait: it does not"
fill
ok A lease s 0 0 f
lease=$R
gives "err EAGAIN" B truncate 0
equals "size" "$(size)" 65536
ok A events
equals "events" "$R" "break:$lease:truncate restored:$lease:truncate"
ok A release "$lease"
ok A lease s 0 0 w
lease=$R
tell B truncate 0
sleep 1
silent B
ok A release "$lease"
hear B
equals "the truncate" "$R" ok
end A B
umount_pinfs

step "lease_break=cut: nobody waits"
mnt lease_break=cut
start A B
fill
ok A open "$f"
ok A lease s 0 0
lease=$R
ok A pin w l 0 4096
pin=$R
ok B open "$f"
ok B truncate 0
gives "ok pri" A poll poll 10000
gives "ok revoked:$lease:truncate" A events
ok A store mine
gives "ok mine" A load 4
gives "ok" A read 0 10
ok A unpin "$pin"
end A B
umount_pinfs

step "transient pins: at once, or for a while; without end they starve nobody"
mnt transient_ms=300,layout_transient=wait
start A B
fill
ok A open "$f"
ok A pin w t 0 4096
pin=$R
ok B open "$f"
ok B truncate 0 # after a while, though the pin stays
ok A unpin "$pin"
end A B
umount_pinfs

step "10,000 leases cost nothing while nothing happens"
mnt "lease_break_ms=$grace"
start A
fill
ok A open "$f"
ok A leases 10000
equals "leases" "$(status leases)" 10000
ticks() { awk '{ print $14 + $15 }' "/proc/$DAEMON/stat"; }
sleep 0.5
before=$(ticks)
sleep 5
equals "ticks of processor time in 5 s" "$(($(ticks) - before))" 0
end A
umount_pinfs
check_pool
