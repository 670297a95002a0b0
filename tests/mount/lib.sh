# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# What every mount test shares. A test is a bash script that sources this first and then
# just does its work, under set -e; the first command that fails ends it.
#
# A test runs as two processes. The outer one (the script as it was started) makes a private
# directory, runs the same script again in it under a time limit, and cleans up whatever
# happened: it unmounts what is mounted below the directory, ends the daemons, frees loop devices, prints their log
# if the test failed, and removes the directory. The inner one (PINFS_TEST_WORK is set) is the
# test. So a test that hangs, crashes or is interrupted leaves nothing behind.
#
# Exit status: 0 passed, 1 failed, 77 skipped (the last line says why), as automake has it.
#
#   WORK       the private directory        MNT   where mount_pinfs mounts
#   POOL       the pool that mkpool makes   DAEMON  pid of the newest daemon
#
# PINFS_BUILD names the build directory (default: where we are, or ../../build), PINFS_TEST_DIR
# where private directories are made (default /dev/shm), PINFS_TEST_KEEP=1 keeps the directory.

set -euo pipefail
shopt -s inherit_errexit

SRC=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BUILD=${PINFS_BUILD:-$PWD}
[[ -x $BUILD/mkfs.pinfs ]] || BUILD=$SRC/build
PATH=$BUILD:/usr/local/sbin:/usr/sbin:/sbin:$PATH
export PINFS_BUILD=$BUILD LC_ALL=C.UTF-8

# Mount points below $1, deepest last mounted first. Names in mountinfo have blanks escaped;
# ours have none.
mounts_below() {
	awk -v d="$1/" 'index($5 "/", d) == 1 { print $5 }' /proc/self/mountinfo | tac
}

is_mounted() {
	awk -v m="$1" '$5 == m { found = 1 } END { exit !found }' /proc/self/mountinfo
}

# Processes that were started with a path below $1 as an argument and are one of our daemons.
daemons_of() {
	local p comm
	for p in /proc/[0-9]*; do
		comm=$(cat "$p/comm" 2>/dev/null) || continue
		[[ $comm == pinfs || $comm == lt-pinfs ]] || continue
		tr '\0' '\n' 2>/dev/null <"$p/cmdline" | grep "^$1/" >/dev/null && echo "${p#/proc/}"
	done
	return 0
}

# Wait up to $1 seconds for process $2 to be gone. A zombie of ours counts as gone.
wait_gone() {
	local n=$(($1 * 20))
	while [[ -e /proc/$2 ]] && ! grep -q '^State:[[:space:]]*Z' "/proc/$2/status" 2>/dev/null; do
		((n-- > 0)) || return 1
		sleep 0.05
	done
}

# Loop devices on files below $1.
loops_of() {
	losetup -n -l -O NAME,BACK-FILE 2>/dev/null | awk -v d="$1/" 'index($2, d) == 1 { print $1 }' || true
}

unmount() {
	if ((EUID == 0)); then umount "$@"; else fusermount3 -u "${@/#-l/-z}"; fi
}

# ---- the outer process ---------------------------------------------------

outer_end() {
	local rc=$? m p disk
	disk=$(cat "$work/disk" 2>/dev/null || true)
	trap - EXIT
	trap '' HUP INT TERM
	[[ -z $inner ]] || kill -TERM "$inner" 2>/dev/null || true
	for m in $(mounts_below "$work"); do
		timeout 20 bash -c "$(declare -f unmount); unmount '$m'" 2>/dev/null || {
			((rc)) || { echo "FAIL: $m can't be unmounted at the end"; rc=1; }
			for p in $(daemons_of "$work"); do kill -9 "$p" 2>/dev/null || true; done
			unmount -l "$m" 2>/dev/null || true
		}
	done
	for p in $(daemons_of "$work"); do
		wait_gone 20 "$p" || {
			((rc)) || { echo "FAIL: the daemon, pid $p, does not end after the unmount"; rc=1; }
			kill -9 "$p" 2>/dev/null || true
			wait_gone 5 "$p" || true
		}
	done
	for p in $(loops_of "$work"); do losetup -d "$p" || true; done
	if ((rc != 0 && rc != 77)) && compgen -G "$work/log/*" >/dev/null; then
		for p in "$work"/log/*; do
			echo "---- $(basename "$p"), the last 100 lines ----"
			tail -n 100 "$p"
		done
	fi
	[[ -n ${PINFS_TEST_KEEP:-} ]] || rm -rf --one-file-system "$work" ${disk:+"$disk"}
	((rc != 0)) || echo "ok"
	exit "$rc"
}

outer() {
	local limit=${PINFS_TEST_TIMEOUT:-180} rc=0
	work=${PINFS_TEST_DIR:-/dev/shm}/pinfs-test.$$
	inner=
	mkdir -m 755 "$work"
	mkdir "$work/log" "$work/mnt"
	trap outer_end EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
	PINFS_TEST_WORK=$work timeout -k 10 "$limit" bash "$0" "$@" </dev/null &
	inner=$!
	wait "$inner" || rc=$?
	inner=
	case $rc in
	0 | 77) ;;
	124 | 137) echo "FAIL: stopped after $limit seconds" ;;
	esac
	exit "$rc"
}

if [[ -z ${PINFS_TEST_WORK:-} ]]; then
	outer "$@"
fi

# ---- the inner process: what tests call ---------------------------------------

WORK=$PINFS_TEST_WORK
POOL=$WORK/pool
MNT=$WORK/mnt
DAEMON=
set -E
trap 'echo "FAIL: $(basename "$0"):$LINENO: $BASH_COMMAND (status $?)"' ERR

step() { echo "-- $*"; }
fail() { echo "FAIL: $*"; exit 1; }
skip() { echo "skipped: $*"; exit 77; }
note() { echo "   $*"; }

is_root() { ((EUID == 0)); }

# Skip the whole test unless all these commands exist.
need() {
	local c
	for c; do command -v "$c" >/dev/null || skip "$c is not installed"; done
}

need_fuse() {
	[[ -c /dev/fuse ]] || skip "there is no /dev/fuse"
	is_root || [[ -r /dev/fuse && -w /dev/fuse ]] || skip "/dev/fuse is not open to uid $EUID"
	is_root || command -v fusermount3 >/dev/null || skip "fusermount3 is not installed"
}

# A private directory on a disk filesystem that takes O_DIRECT: $DISK.
need_disk() {
	local d
	for d in ${PINFS_DISK_DIR:+"$PINFS_DISK_DIR"} "$BUILD" /var/tmp; do
		[[ -w $d && $(stat -f -c %T "$d") != tmpfs ]] || continue
		DISK=$d/pinfs-test-disk.$$
		echo "$DISK" >"$WORK/disk"
		mkdir -p "$DISK"
		! dd if=/dev/zero of="$DISK/probe" bs=4096 count=1 oflag=direct 2>/dev/null || return 0
		rm -r "$DISK"
	done
	skip "no disk filesystem that takes O_DIRECT ($BUILD, /var/tmp; PINFS_DISK_DIR names another)"
}

# The command must fail; its output stays in $OUT, its status in $STATUS.
must_fail() {
	STATUS=0
	OUT=$("$@" 2>&1) || STATUS=$?
	((STATUS != 0)) || fail "should have failed: $* (output: $OUT)"
}

# The command must fail and say something that matches the regular expression $1.
must_say() {
	local re=$1
	shift
	must_fail "$@"
	grep -Eqi -- "$re" <<<"$OUT" || fail "$*: should say /$re/, says: $OUT"
}

same() { # FILE FILE
	cmp "$1" "$2" || fail "$1 and $2 differ"
}

equals() { # WHAT GOT WANTED
	[[ $2 == "$3" ]] || fail "$1 is '$2', should be '$3'"
}

mkpool() { # [SIZE [POOL]]
	mkfs.pinfs -s "${1:-128M}" "${2:-$POOL}" >>"$WORK/log/mkfs" 2>&1 || fail "mkfs.pinfs -s ${1:-128M} failed"
}

# mount_pinfs [OPTIONS [POOL [MNT]]]: start a daemon in the foreground of a background job, so that
# its messages are kept and its status can be waited for; return when the mount answers.
mount_pinfs() {
	local opts=${1:-} pool=${2:-$POOL} mnt=${3:-$MNT} n=400
	pinfs "$pool" "$mnt" -f ${opts:+-o "$opts"} >>"$WORK/log/daemon" 2>&1 &
	DAEMON=$!
	until is_mounted "$mnt"; do
		[[ -e /proc/$DAEMON ]] || fail "pinfs $pool $mnt -f ${opts:+-o $opts}: ended at once"
		((n-- > 0)) || fail "pinfs did not mount within 20 s"
		sleep 0.05
	done
	stat -f "$mnt" >/dev/null
}

# Unmount, and wait for the daemon, which must end without an error.
umount_pinfs() {
	local rc=0
	unmount "${1:-$MNT}"
	wait_gone 60 "$DAEMON" || fail "the daemon did not end within 60 s of the unmount"
	wait "$DAEMON" || rc=$?
	((rc == 0)) || fail "the daemon ended with status $rc"
}

# What a crash of the daemon is: SIGKILL, and the dead mount taken away.
kill_pinfs() {
	kill -9 "$DAEMON"
	{ # bash reports the death of its job here
		wait_gone 20 "$DAEMON" && { wait "$DAEMON" || true; }
	} 2>/dev/null || fail "the daemon survives SIGKILL"
	unmount -l "${1:-$MNT}"
}

remount_pinfs() {
	umount_pinfs
	mount_pinfs "$@"
}

# fsck.pinfs -n of a pool that is not in use: clean.
check_pool() {
	fsck.pinfs -n "${1:-$POOL}" >"$WORK/log/fsck" 2>&1 || {
		cat "$WORK/log/fsck"
		fail "fsck.pinfs -n finds the pool damaged"
	}
}

# Make everything on the mount durable. Not by syncfs(2): the kernel does not pass that on to a FUSE
# daemon (it does for virtiofs only).
sync_all() {
	pinctl sync "${1:-$MNT}"
}

drop_caches() { # forget what the kernel caches, where we may
	if is_root && [[ -w /proc/sys/vm/drop_caches ]]; then echo 3 >/proc/sys/vm/drop_caches; fi
}

# As root, others are to see the mount too: several tests act as another user.
OTHERS=
if is_root; then OTHERS=allow_other; fi

# Run a command as somebody without privileges (root only).
as_nobody() {
	setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all "$@"
}

# A row of the table that `make scenarios` prints; with SCENARIO_TABLE=FILE it goes there as well, separated by tabs.
scenario_row() { # POLICY EXPECTED SEEN SECONDS
	local id
	id=$(basename "$0" .sh)
	printf '%-4s %-11s %-52s %-58s %6s s\n' "${id^^}" "$1" "$2" "$3" "$4"
	[[ -z ${SCENARIO_TABLE:-} ]] || printf '%s\t%s\t%s\t%s\t%s\n' "${id^^}" "$1" "$2" "$3" "$4" >>"$SCENARIO_TABLE"
}

# Make a pool, mount it: how most tests begin.
fresh_mount() { # [SIZE [OPTIONS]]
	need_fuse
	mkpool "${1:-128M}"
	mount_pinfs "${2:-$OTHERS}"
}
