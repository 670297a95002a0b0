#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# SIGKILL of the daemon, over and over, while files are written, renamed and synced: every file that
# was synced is there, whole; every file is some whole version of itself; the pool is sound.
. "$(dirname "$0")/lib.sh"

fresh_mount 256M "${OTHERS:+$OTHERS,}commit=1"

# Versions of a file: N lines that all say the same number, so a mixture would show. Version v has
# 500 + v % 700 lines.
version() { awk -v v="$1" 'BEGIN { for (k = 0; k < 500 + v % 700; k++) print v }'; }
whole() { # FILE: a whole version? prints its number
	local v
	v=$(head -n 1 "$1")
	[[ -z $v && ! -s $1 ]] && { echo 0; return; }
	cmp -s "$1" <(version "$v") || fail "$1 is no whole version (first line '$v', $(stat -c %s "$1") bytes)"
	echo "$v"
}

writer() { # NAME FIRST: rewrite NAME in place of a rename, synced; log what is durable
	local v=$2
	while version "$v" >"$MNT/$1.tmp" && sync "$MNT/$1.tmp" && mv "$MNT/$1.tmp" "$MNT/$1" && sync "$MNT/$1"; do
		echo "$v" >"$WORK/durable.$1"
		v=$((v + 1))
	done 2>/dev/null
}
churn() { # files that come and go, never synced
	local k=0
	while mkdir "$MNT/churn.$1" && head -c $((k * 977 % 200000)) /dev/zero >"$MNT/churn.$1/a" &&
	    ln "$MNT/churn.$1/a" "$MNT/churn.$1/b" && rm -r "$MNT/churn.$1"; do
		k=$((k + 1))
	done 2>/dev/null
}

v=1
for round in 1 2 3 4 5 6; do
	step "round $round"
	writer one $v & w1=$!
	writer two $v & w2=$!
	churn a & w3=$!
	churn b & w4=$!
	sleep "0.$((RANDOM % 9 + 1))"
	sleep 0.7
	kill_pinfs
	for w in "$w1" "$w2" "$w3" "$w4"; do wait "$w" || true; done
	check_pool
	mount_pinfs "${OTHERS:+$OTHERS,}commit=1"
	for f in one two; do
		[[ -e $WORK/durable.$f ]] || fail "$f never became durable"
		got=$(whole "$MNT/$f")
		((got >= $(cat "$WORK/durable.$f"))) ||
			fail "$f is version $got, but $(cat "$WORK/durable.$f") was synced"
		note "$f: version $got, synced $(cat "$WORK/durable.$f")"
		[[ ! -e $MNT/$f.tmp ]] || { whole "$MNT/$f.tmp" >/dev/null; rm "$MNT/$f.tmp"; }
	done
	rm -rf "$MNT"/churn.*
	v=$((v + 1000))
done
step "pinctl sync: many files, one moment"
mkdir "$MNT/many"
for k in {1..300}; do echo "content $k" >"$MNT/many/$k"; done
pinctl sync "$MNT"
for k in {1..300}; do echo "later $k" >"$MNT/many/$k"; done
kill_pinfs
check_pool
mount_pinfs "$OTHERS"
for k in {1..300}; do
	equals "file $k" "$(cat "$MNT/many/$k")" "content $k"
done
rm -r "${MNT:?}"/*
umount_pinfs
check_pool
