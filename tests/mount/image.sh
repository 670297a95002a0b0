#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# pinfs-image: fsck.pinfs -n says of an image what it says of the pool; an image is small, is not mounted and not repaired;
# hidden names are not in it.
. "$(dirname "$0")/lib.sh"

status_of() { STATUS=0; timeout 60 "$@" >"$WORK/out" 2>&1 || STATUS=$?; }

fresh_mount 64M
mkdir "$MNT/secret-directory"
for k in $(seq 50); do head -c 30000 /dev/urandom >"$MNT/secret-directory/secret-file-$k"; done
sync_all
must_say 'busy|in use|mounted' pinfs-image "$POOL" "$WORK/image"
[[ ! -e $WORK/image ]] || fail "an image of a mounted pool was begun"
umount_pinfs

step "plain and hidden"
pinfs-image "$POOL" "$WORK/image"
pinfs-image --hide-names "$POOL" "$WORK/hidden"
for i in image hidden; do
	status_of fsck.pinfs -n "$WORK/$i"
	equals "status for the $i" "$STATUS" 0
	grep -q 'content not checked' "$WORK/out" || fail "$i: that there is no content should be said"
	equals "size of the $i" "$(stat -c %s "$WORK/$i")" "$(stat -c %s "$POOL")"
	(($(du -k "$WORK/$i" | cut -f 1) < 1000)) || fail "the $i takes $(du -k "$WORK/$i")"
	equals "mode of the $i" "$(stat -c %a "$WORK/$i")" 600
done
grep -q secret-file "$WORK/image" || fail "names should be in the image"
! grep -q secret "$WORK/hidden" || fail "names are not hidden"
must_say 'File exists' pinfs-image "$POOL" "$WORK/image"

step "an image is no pool"
must_say 'image' pinfs "$WORK/image" "$MNT"
cp "$WORK/image" "$WORK/copy"
must_say 'image' fsck.pinfs -y "$WORK/image"
cmp "$WORK/image" "$WORK/copy" || fail "fsck.pinfs -y changed the image"
