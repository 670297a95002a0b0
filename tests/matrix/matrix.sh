#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# What operations do to pinned and leased files: every cell of matrix.def, and whether pinfs(7) says the same.
. "$(dirname "$0")/../mount/lib.sh"

matrix=$BUILD/tests/matrix/matrix
[[ -x $matrix ]] || skip "$matrix is not built"

step "pinfs(7) has the table: make man-matrix puts it there"
sed -n '/^\.\\" matrix begin/,/^\.\\" matrix end/{/^\.\\" matrix/!p}' "$SRC/man/pinfs.7" >"$WORK/in-manual"
"$matrix" --man >"$WORK/from-table"
diff -u "$WORK/in-manual" "$WORK/from-table" || fail "pinfs(7) says something else"

run() { # MOUNT OPTIONS
	mkpool 32M
	mount_pinfs "${OTHERS:+$OTHERS,}commit=3600,transient_ms=200,$2"
	"$matrix" "$MNT" "$1" || fail "see above"
	umount_pinfs
	check_pool
	rm "$POOL"
}

need_fuse
step "a holder who is asked, and lets go"
run grace lease_break_ms=20000
step "a holder whose lease was revoked"
run cut lease_break=cut
