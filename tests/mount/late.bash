# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# For the tests of DMA that completes late: lib.sh, a slow device ($SLOW/data, see slowfs.c), holders (late.c) that are
# steered by pipes, and ways to tell where the late bytes, all 'D', have gone.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

for helper in late slowfs; do
	[[ -x $BUILD/tests/mount/$helper ]] || skip "$BUILD/tests/mount/$helper is not built"
done
need jq
SLOW=$WORK/slow

start_slow() {
	mkdir "$SLOW"
	timeout 170 "$BUILD/tests/mount/slowfs" "$SLOW" 2>>"$WORK/log/slowfs" &
	slow_pid=$!
	for ((n = 200; n > 0; n--)); do
		! is_mounted "$SLOW" || return 0
		[[ -e /proc/$slow_pid ]] || break
		sleep 0.05
	done
	fail "slowfs does not mount"
}
# How many reads wait / how many bytes have been delivered.
waiting() { cut -d' ' -f1 "$SLOW/waiting"; }
delivered() { cut -d' ' -f2 "$SLOW/waiting"; }
wait_for() { # WANTED COMMAND...: until it prints that
	local want=$1 n
	shift
	for ((n = 400; n > 0; n--)); do
		[[ $("$@") != "$want" ]] || return 0
		sleep 0.05
	done
	fail "$* is $("$@"), not $want"
}

# holder HOW FILE: starts one, in flight when this returns
holder() {
	coproc HOLDER { exec "$BUILD/tests/mount/late" "$@" "$SLOW/data" 2>>"$WORK/log/late"; }
	holder=$HOLDER_PID
	if ! read -r -t 30 R <&"${HOLDER[0]}"; then
		local rc=0
		wait "$holder" || rc=$?
		((rc != 77)) || skip "$(sed -n 's/^skipped: //p' "$WORK/log/late" | tail -n 1)"
		fail "the holder does not start ($rc)"
	fi
	equals "the holder" "$R" "in flight"
	[[ $1 == vmsplice ]] || wait_for 1 waiting
}
tell() { # WORD: answers until "done" are in $ANSWER
	ANSWER=
	echo "$1" >&"${HOLDER[1]}"
	while read -r -t 30 R <&"${HOLDER[0]}"; do
		[[ $R != "done" ]] || return 0
		ANSWER+=$R
	done
	fail "no answer from the holder to $1"
}
kill_holder() {
	kill -9 "$holder"
	wait "$holder" 2>/dev/null || true
}
# The DMA completes now; all of the bytes must be taken.
complete() { # BYTES
	local before
	before=$(delivered)
	echo >"$SLOW/go"
	wait_for $((before + $1)) delivered
}
status() { pinctl status --json "$MNT" | jq ".$1"; }
pattern() { # CHARACTER SIZE
	head -c "$2" /dev/zero | tr '\0' "$1"
}
only() { # FILE CHARACTER: it consists of nothing else
	local n
	n=$(tr -d "$2" <"$1" | wc -c)
	((n == 0)) || fail "$1 has $n bytes that are not '$2': $(tr -d "$2" <"$1" | head -c 8 | od -An -c)"
	[[ -s $1 ]] || fail "$1 is empty"
}
fill_up() { # FILE CHARACTER
	pattern "$2" 1G >"$1" 2>/dev/null && fail "1G fits into the pool"
	sync_all || true
}
