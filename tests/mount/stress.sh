#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Many processes at once: trees copied, renamed and removed, files written and verified, directories
# listed, syncs and statfs in between; then the tree is right and the pool is sound.
. "$(dirname "$0")/lib.sh"

fresh_mount 384M "${OTHERS:+$OTHERS,}commit=1"
src=$WORK/src
mkdir "$src"
cp -a /usr/include/linux "$src/"
until_end=$((SECONDS + 12))

copier() { # copies, compares, renames, removes
	local k=0
	while ((SECONDS < until_end)); do
		cp -a "$src/linux" "$MNT/c$1.$k"
		mv "$MNT/c$1.$k" "$MNT/done$1.$k"
		diff -r "$src/linux" "$MNT/done$1.$k" >"$WORK/log/diff$1" || return 1
		((k == 0)) || rm -r "$MNT/done$1.$((k - 1))"
		k=$((k + 1))
	done
}
writer() { # one file, overwritten with known content at changing sizes
	local k=0 n
	while ((SECONDS < until_end)); do
		n=$((k * 7919 % 900000))
		head -c $n "$WORK/random" >"$MNT/w$1"
		((k % 3)) || sync "$MNT/w$1"
		cmp -n $n "$WORK/random" "$MNT/w$1" || return 1
		[[ $(stat -c %s "$MNT/w$1") == "$n" ]] || return 1
		k=$((k + 1))
	done
}
lister() {
	while ((SECONDS < until_end)); do
		find "$MNT" -type f -size +100k >/dev/null 2>&1 || true
		stat -f "$MNT" >/dev/null
		sync "$MNT"
		pinctl status "$MNT" >/dev/null
		sleep 0.05
	done
}

head -c 1000000 /dev/urandom >"$WORK/random"
pids=()
copier 1 & pids+=($!)
copier 2 & pids+=($!)
writer 1 & pids+=($!)
writer 2 & pids+=($!)
lister & pids+=($!)
for p in "${pids[@]}"; do wait "$p" || fail "one of the processes found wrong content or an error"; done

step "what is left is right"
for d in "$MNT"/done*; do diff -r "$src/linux" "$d"; done
umount_pinfs
check_pool
mount_pinfs "$OTHERS"
for d in "$MNT"/done*; do diff -r "$src/linux" "$d"; done
rm -r "${MNT:?}"/*
umount_pinfs
check_pool
