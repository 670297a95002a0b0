#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The client in README.md: compiles as it stands, is under 40 lines, and does what it says.
. "$(dirname "$0")/lib.sh"

need_fuse
command -v gcc >/dev/null || skip "no gcc"
fresh_mount

awk '/^```c$/ { on = 1; next } /^```$/ { on = 0 } on' "$SRC/README.md" >"$WORK/client.c"
lines=$(wc -l <"$WORK/client.c")
((lines > 5 && lines < 40)) || fail "the client in README.md has $lines lines"
# a library that is built for a sanitizer needs its runtime
san=$(sed -n "s/^PINFS_LDFLAGS = //p" "$BUILD/Makefile")
# shellcheck disable=SC2086
gcc -Wall -Wextra -Werror $san -I"$SRC/include" "$WORK/client.c" -L"$BUILD/.libs" -lpinfs -o "$WORK/client"
export LD_LIBRARY_PATH=$BUILD/.libs
step "it counts its runs"
equals "first run" "$("$WORK/client" "$MNT/counter")" "run 1 times"
equals "second run" "$("$WORK/client" "$MNT/counter")" "run 2 times"
step "and a crash does not lose one"
kill_pinfs
mount_pinfs
equals "third run" "$("$WORK/client" "$MNT/counter")" "run 3 times"
