#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# pinctl as holder and as observer: pin, unpin, lease, leases, events, status and map with who holds what; top on a
# terminal of its own.
. "$(dirname "$0")/lib.sh"

fresh_mount 64M "${OTHERS:+$OTHERS,}lease_break_ms=2000"
f=$MNT/f
head -c 1M /dev/urandom >"$f"
json() { if command -v jq >/dev/null; then jq -e . >/dev/null; else python3 -m json.tool >/dev/null; fi; }
number() { pinctl status --json "$MNT" | sed "s/.*\"$1\":\([0-9]*\).*/\1/"; }
wait_for() { # WHAT NUMBER
	local n=200
	until [[ $(number "$1") == "$2" ]]; do
		((n-- > 0)) || fail "$1 is $(number "$1"), not $2 after 10 s"
		sleep 0.05
	done
}
# Start a holder; its pid in $HOLDER, its output in $WORK/holder.
hold() {
	pinctl "$@" --hold >"$WORK/holder" 2>&1 &
	HOLDER=$!
}

# truncate(1) opens O_NONBLOCK, and so does not wait for a lease; dd does.
cut() { # SIZE
	dd if=/dev/null of="$f" bs=1 seek="$1" count=0 status=none
}

step "nobody holds anything"
pinctl status "$MNT" | grep -x 'no pins' >/dev/null
equals "pinctl leases" "$(pinctl leases "$MNT")" "no leases"

step "pin: what it would be, and what is refused"
pinctl pin "$f" 64K 128K | grep -E 'pin [0-9]+: 128 KiB at 64 KiB, for reading, longterm' >/dev/null
pinctl pin "$f" 64K 128K --json | json
equals "pins afterwards" "$(number pins)" 0
must_say 'beyond|inside the file|range' pinctl pin "$f" 0 2M
must_say 'transient, longterm, faultable' pinctl pin "$f" 0 4K --class nonsense
must_say 'not a size' pinctl pin "$f" 0 many
must_say 'takes FILE OFF LEN' pinctl pin "$f" 0
must_say 'does not take --exclusive' pinctl pin "$f" 0 4K --exclusive
must_say 'regular' pinctl pin "$MNT" 0 4K
equals "status of a usage error" "$STATUS" 1
pinctl pin "$f" 1M 1M --write --alloc >/dev/null
equals "size after --alloc" "$(stat -c %s "$f")" $((2 << 20))

step "a held pin is seen, with its holder, and ends with it"
hold pin "$f" 64K 128K --write
wait_for pins 1
pinctl status "$MNT" | grep -E " $HOLDER +(lt-)?pinctl +longterm +write +64 KiB +128 KiB .* held +$f\$" >/dev/null ||
	fail "pinctl status does not show the pin: $(pinctl status "$MNT")"
pinctl map "$f" | grep -E "<-+> .*pin [0-9]+: pid $HOLDER" >/dev/null || fail "pinctl map does not draw the pin"
for args in "status $MNT" "map $f" "leases $MNT" "leases $f"; do
	# shellcheck disable=SC2086
	pinctl $args --json | json || fail "pinctl $args --json: no JSON"
done
kill "$HOLDER"
wait "$HOLDER" || fail "a holder that is told to end: status $?"
wait_for pins 0

step "unpin takes it from its holder"
hold pin "$f" 0 4K
wait_for pins 1
id=$(sed -n 's/.*: pin \([0-9]*\):.*/\1/p' "$WORK/holder")
must_say 'no pin' pinctl unpin "$f" $((id + 1000))
must_say 'no id' pinctl unpin "$f" nonsense
pinctl unpin "$f" "$id" | grep -F "pin $id of pid $HOLDER" >/dev/null
equals "pins" "$(number pins)" 0
kill "$HOLDER"
wait "$HOLDER"

step "a cooperating holder lets go; an exclusive lease makes others fail"
hold lease "$f" --cooperate
wait_for leases 1
pinctl leases "$MNT" | grep -E " $HOLDER +(lt-)?pinctl +shared +0 +to the end .* held +$f\$" >/dev/null ||
	fail "pinctl leases does not show the lease: $(pinctl leases "$MNT")"
cut 1M
wait "$HOLDER"
grep -E 'break: truncate of all at 1 MiB, by pid [0-9]+ \(dd\)' "$WORK/holder" >/dev/null ||
	fail "the holder says: $(cat "$WORK/holder")"
wait_for leases 0 # the kernel tells of the last close when it is over
hold lease "$f" 0 64K --exclusive
wait_for leases 1
must_say 'text file busy' truncate -s 4K "$f"
kill "$HOLDER"
wait "$HOLDER"
wait_for leases 0

pinctl lease "$f" --on-deadline fail >/dev/null
pinctl lease "$f" --on-deadline wait >/dev/null

step "a holder that does not cooperate is revoked"
hold pin "$f" 0 1M --write
wait_for pins 1
cut 4K &
cutter=$!
n=100
until pinctl leases "$f" | grep -E 'BREAKING, .* left' >/dev/null; do
	((n-- > 0)) || fail "no lease is BREAKING: $(pinctl leases "$f")"
	sleep 0.05
done
equals "parked" "$(number parked)" 1
wait "$cutter"
pinctl status "$MNT" | grep -E " $HOLDER .* REVOKED " >/dev/null || fail "nothing is shown as revoked"
(($(number quarantined_blocks) >= 255)) || fail "quarantined: $(number quarantined_blocks), should be 255"
kill "$HOLDER"
wait "$HOLDER"
grep '^revoked: truncate' "$WORK/holder" >/dev/null || fail "the holder is not told: $(cat "$WORK/holder")"
wait_for quarantined_blocks 0

step "events: a lease that gives way, and is taken again"
wait_for leases 0
truncate -s 1M "$f"
pinctl events "$f" --follow --json >"$WORK/events" &
watcher=$!
for size in 512K 256K 128K; do
	wait_for leases 1
	cut $size
done
kill "$watcher"
wait "$watcher"
equals "events seen" "$(grep -c '"event":"break","op":"truncate"' "$WORK/events")" 3
json <"$WORK/events"

step "top"
must_say 'terminal' pinctl top "$MNT"
must_say 'interval' pinctl top "$MNT" --interval 0
if command -v script >/dev/null; then
	hold pin "$f" 0 64K
	wait_for pins 1
	(sleep 2; printf q) | TERM=xterm timeout 20 script -qec "stty cols 120 rows 30; pinctl top $MNT --interval 0.5" /dev/null \
	    >"$WORK/top"
	grep -a 'longterm' "$WORK/top" >/dev/null || fail "top does not show the pin"
	kill "$HOLDER"
	wait "$HOLDER"
else
	note "not run on a terminal: there is no script(1)"
fi
wait_for pins 0
wait_for leases 0
umount_pinfs
check_pool
