#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# SIGKILL of the daemon at random moments under real programs, over and over. In every round all loads run at once;
# after it the pool must check clean, and each program must find all that it was told is durable:
#
#   sqlite   a row for each transaction, journal modes WAL and DELETE, synchronous=EXTRA (in FULL, the unlink of a
#            rollback journal, which commits, is not synced itself); what the shell has
#            printed after the commit is acknowledged. integrity_check, and the newest row is not older.
#   git      commits, core.fsync=all. git fsck, and the newest commit acknowledged is an ancestor of what is there.
#   fio      O_SYNC random writes with checksums: every block that fio says it has written verifies.
#   mapped   a structure in a direct mapping, pinfs_sync() after each batch, if the example is built.
#
#   KILL_ROUNDS=N (60) or KILL_SECONDS=N: how long. KILL_SEED=N repeats the moments of the kills.
PINFS_TEST_TIMEOUT=${PINFS_TEST_TIMEOUT:-$((${KILL_SECONDS:-0} + 600))}
. "$(dirname "$0")/../mount/lib.sh"
need sqlite3 git fio

rounds=${KILL_ROUNDS:-60} seconds=${KILL_SECONDS:-0} seed=${KILL_SEED:-$RANDOM}
options="${OTHERS:+$OTHERS,}commit=1"
RANDOM=$seed
note "KILL_SEED=$seed"
fresh_mount 256M "$options"

# ---- loads: each ends by itself when its files are gone ---------------------------------------------

sql() { # NAME MODE FIRST
	{
		echo ".timeout 2000"
		echo "PRAGMA journal_mode=$2; PRAGMA synchronous=EXTRA;"
		echo "CREATE TABLE IF NOT EXISTS t(n INTEGER PRIMARY KEY, pad);"
		seq "$3" $(($3 + 3000)) | awk '{ printf "INSERT INTO t VALUES(%d, hex(randomblob(100))); SELECT \"ack\", %d;\n", $1, $1 }'
	} | sqlite3 -bail -batch "$MNT/$1.db" >>"$WORK/ack.$1" 2>/dev/null || true
}

commit_loop() { # FIRST
	local n=$1
	while echo "$n" >"$MNT/repo/file$((n % 7))" && git -C "$MNT/repo" add -A &&
	    git -C "$MNT/repo" commit -q -m "$n" && git -C "$MNT/repo" rev-parse HEAD >"$WORK/head.new"; do
		mv "$WORK/head.new" "$WORK/head"
		n=$((n + 1))
	done >/dev/null 2>&1 || true
}

fio_args=(--name=verify --filename="$MNT/fio" --size=4M --bs=4k --rw=randwrite --ioengine=psync --sync=1
    --verify=crc32c --verify_fatal=1 --verify_backlog=0 --do_verify=0 --randrepeat=1 --allrandrepeat=1)
write_fio() { # SEED
	(cd "$WORK" && fio "${fio_args[@]}" --randseed="$1" --verify_state_save=1 >"$WORK/log/fio" 2>&1) || true
}
verify_fio() { # SEED
	local state
	state=$(compgen -G "$WORK/*-verify-*-verify.state" | head -n 1) || true
	[[ -n $state ]] || return 0
	(cd "$WORK" && fio "${fio_args[@]}" --randseed="$1" --verify_only=1 --verify_state_load=1 >"$WORK/log/fio" 2>&1) ||
		fail "fio finds blocks that it wrote and that are not there"
	rm -f "$WORK"/*verify.state
	fio_rounds=$((fio_rounds + 1))
}

# ---- after the crash ------------------------------------------------------------------------------------

last_ack() { awk -F'|' '$1 == "ack" && NF == 2 && $2 ~ /^[0-9]+$/ { n = $2 } END { print n + 0 }' "$WORK/ack.$1" 2>/dev/null || echo 0; }

check_sql() { # NAME
	local acked there
	[[ -e $MNT/$1.db ]] || { equals "$1: newest row" 0 "$(last_ack "$1")"; return; }
	equals "$1: integrity_check" "$(sqlite3 "$MNT/$1.db" 'PRAGMA integrity_check')" ok
	acked=$(last_ack "$1")
	# SQLite ignores it if the directory can't be opened to be synced, as when the daemon dies between the unlink of the
	# journal and that: the newest row of all may have been acknowledged wrongly
	[[ $1 != del ]] || acked=$((acked > 0 ? acked - 1 : 0))
	there=$(sqlite3 "$MNT/$1.db" 'SELECT ifnull(max(n), 0) FROM t' 2>/dev/null || echo 0)
	((there >= acked)) || fail "$1: row $acked was committed, the newest one is $there"
	((there <= acked + 2)) || fail "$1: row $there, but only $acked were asked for and acknowledged"
	# a row that was not acknowledged may be there all the same
	echo "ack|$there" >"$WORK/ack.$1"
}

check_git() {
	((round % 4)) || git -C "$MNT/repo" fsck --full --strict >"$WORK/log/git" 2>&1 || { cat "$WORK/log/git"; fail "git fsck"; }
	[[ ! -e $WORK/head ]] || git -C "$MNT/repo" merge-base --is-ancestor "$(cat "$WORK/head")" HEAD ||
		fail "commit $(cat "$WORK/head") was acknowledged and is gone"
	rm -f "$MNT/repo/.git/index.lock" "$MNT/repo/.git/HEAD.lock" "$MNT/repo/.git/refs/heads/"*.lock
	git -C "$MNT/repo" reset -q --hard
}

check_atomic() {
	local acked
	acked=$(tail -n 1 "$WORK/ack.atomic")
	[[ -n $acked ]] || return 0
	"$crash_atomic" "$MNT/atomic" check "$acked" >"$WORK/log/atomic" 2>&1 || fail "the mapped structure is not as a batch left it"
	batches=$acked
}

git init -q "$MNT/repo"
git -C "$MNT/repo" config core.fsync all
git -C "$MNT/repo" config user.name test
git -C "$MNT/repo" config user.email test@example.org
git -C "$MNT/repo" config gc.auto 0
git -C "$MNT/repo" commit -q --allow-empty -m start
sync_all
crash_atomic=$BUILD/examples/crash-atomic
[[ -x $crash_atomic ]] || crash_atomic=

batches=0 fio_rounds=0 round=0 begin=$SECONDS
while if ((seconds)); then ((SECONDS - begin < seconds)); else ((round < rounds)); fi; do
	round=$((round + 1))
	sql wal WAL $(($(last_ack wal) + 1)) & loads=($!)
	sql del DELETE $(($(last_ack del) + 1)) & loads+=($!)
	commit_loop $round & loads+=($!)
	write_fio $round & loads+=($!)
	if [[ -n $crash_atomic ]]; then
		"$crash_atomic" "$MNT/atomic" run 1000000 >"$WORK/ack.atomic" 2>/dev/null & loads+=($!)
	fi
	sleep "0.$(printf '%03d' $((20 + RANDOM % 280)))"
	kill_pinfs
	for load in "${loads[@]}"; do wait "$load" || true; done
	check_pool
	mount_pinfs "$options"
	check_sql wal
	check_sql del
	check_git
	verify_fio $round
	[[ -z $crash_atomic ]] || check_atomic
	((round % 20)) || note "$round rounds, rows $(last_ack wal) and $(last_ack del), $fio_rounds fio runs verified"
done
note "$round rounds in $((SECONDS - begin)) s: rows $(last_ack wal) and $(last_ack del), $(git -C "$MNT/repo" rev-list --count HEAD) commits, $fio_rounds fio runs verified, $batches batches"
(($(last_ack wal) > 0 && $(last_ack del) > 0 && fio_rounds > 0)) && [[ -z $crash_atomic || $batches -gt 0 ]] || fail "a load never got anywhere"
umount_pinfs
check_pool
