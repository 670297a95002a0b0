#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A full pool: ENOSPC, nothing lost, reading, overwriting what is possible, deleting and syncing
# still work, and the space comes back. Once with large files, once with small ones.
. "$(dirname "$0")/lib.sh"

fresh_mount 64M
free() { stat -f -c '%f' "$MNT"; }
empty=$(free)

step "a file that was there before"
head -c 3M /dev/urandom >"$WORK/keep"
cp "$WORK/keep" "$MNT/keep"
sync "$MNT/keep"

for round in 1 2; do
	step "round $round: fill with one big file"
	must_say 'no space' dd if=/dev/urandom of="$MNT/big" bs=1M
	must_say 'no space' cp "$WORK/keep" "$MNT/another"
	size=$(stat -c %s "$MNT/big")
	((size > 30000000)) || fail "full at $size bytes already"
	note "$size bytes fitted; $(free) blocks of 4096 are left of $empty"
	step "what is there can be read and synced"
	same "$WORK/keep" "$MNT/keep"
	sync "$MNT/big"
	sync_all
	sum=$(sha256sum <"$MNT/big")
	drop_caches
	equals "the sum of big" "$(sha256sum <"$MNT/big")" "$sum"
	step "full again after the sync, through a remount"
	umount_pinfs
	check_pool
	mount_pinfs "$OTHERS"
	equals "the sum of big" "$(sha256sum <"$MNT/big")" "$sum"
	same "$WORK/keep" "$MNT/keep"
	dd if=/dev/zero of="$MNT/rest" bs=4k 2>/dev/null || true
	step "deleting works on a full pool"
	rm -f "$MNT/big" "$MNT/rest" "$MNT/another"
	sync_all
	head -c 20M /dev/urandom >"$WORK/new"
	cp "$WORK/new" "$MNT/new"
	sync "$MNT/new"
	same "$WORK/new" "$MNT/new"
	rm "$MNT/new"
	sync_all
done

step "small files until nothing goes"
mkdir "$MNT/d"
n=0
while { echo "content of $n" >"$MNT/d/file$n"; } 2>/dev/null; do
	n=$((n + 1))
	((n < 100000)) || fail "a 64 MiB pool takes 100000 files of 4 KiB"
done
note "$n files fitted"
((n > 2000)) || fail "only $n small files fitted"
sync_all
for ((k = 0; k < n; k += 97)); do equals "file$k" "$(<"$MNT/d/file$k")" "content of $k"; done
step "truncate, rm and rename on a full pool"
: >"$MNT/d/file0"
rm "$MNT/d/file1"
if mv "$MNT/d/file2" "$MNT/d/file3" 2>/dev/null; then # may need space
	equals "file3" "$(<"$MNT/d/file3")" "content of 2"
else
	equals "file2" "$(<"$MNT/d/file2")" "content of 2"
	equals "file3" "$(<"$MNT/d/file3")" "content of 3"
fi
rm -r "$MNT/d"
same "$WORK/keep" "$MNT/keep"
sync_all

step "fallocate beyond the space: ENOSPC, nothing kept"
before=$(free)
must_say 'no space' fallocate -l 1G "$MNT/toobig"
rm -f "$MNT/toobig"
sync_all
after=$(free)
((after + 64 >= before)) || fail "a fallocate that failed keeps $((before - after)) blocks"

step "everything came back"
same "$WORK/keep" "$MNT/keep"
rm "$MNT/keep"
sync_all
umount_pinfs
check_pool
mount_pinfs "$OTHERS"
left=$(free)
((left + 256 >= empty)) || fail "$((empty - left)) blocks are missing in an empty filesystem"
