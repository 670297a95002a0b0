#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The public headers: the same layout on 32 and 64 bit (abi.c); C and C++ programs of any dialect that
# this compiler has can include them without a warning; every function is exported and has a manual page.
. "$(dirname "$0")/../mount/lib.sh"

need gcc
here=$SRC/tests/client
# Not -Wshadow: in C++ it objects to a function with the name of a struct, such as stat.
compile() { "$@" -I"$SRC/include" -Wall -Wextra -Werror -fsyntax-only; }

printf '#include <pinfs/%s.h>\nint main(void) { return 0; }\n' pinfs >"$WORK/both.c"
cp "$WORK/both.c" "$WORK/both.cc"

step "C"
compile gcc "$here/abi.c"
for std in c99 c11 gnu89 gnu17; do compile gcc -std=$std "$WORK/both.c"; done

missing=
step "C++"
if command -v g++ >/dev/null; then
	compile g++ -x c++ "$here/abi.c"
	for std in c++11 c++17 c++20; do compile g++ -std=$std "$WORK/both.cc"; done
else
	missing="C++ (no g++)"
fi

step "32 bit"
if echo '#include <stddef.h>
#include <linux/types.h>' | gcc -m32 -fsyntax-only -x c - 2>/dev/null; then
	compile gcc -m32 "$here/abi.c"
	compile gcc -m32 "$WORK/both.c"
else
	missing="${missing:+$missing and }32 bit (gcc -m32 needs gcc-multilib)"
fi

step "the test notices a change"
sed 's/__u32 daemon_pid;/__u64 daemon_pid;/' "$SRC/include/pinfs/ioctl.h" >"$WORK/ioctl.h"
mkdir "$WORK/pinfs"
cp "$WORK/ioctl.h" "$WORK/pinfs/"
must_say 'static assertion' gcc -I"$WORK" -fsyntax-only "$here/abi.c"

step "each function of the library is declared, exported, and has a page in the manual"
sed -n '/^[a-z]/s/.*\b\(pinfs_[a-z_]*\)(.*/\1/p' "$SRC/include/pinfs/pinfs.h" | grep -v '_fn$' | sort -u >"$WORK/declared"
sed -n 's/^\t\t\(pinfs_[a-z_]*\);$/\1/p' "$SRC/client/libpinfs.map" | sort >"$WORK/exported"
(cd "$SRC/man" && ls pinfs_*.3) | sed 's/\.3$//' | sort >"$WORK/pages"
(($(wc -l <"$WORK/declared") > 20)) || fail "the header does not look as this test expects"
diff "$WORK/declared" "$WORK/exported" || fail "declared in pinfs.h is not what libpinfs.map exports"
diff "$WORK/exported" "$WORK/pages" || fail "functions and pages in man/ differ"

[[ -z $missing ]] || note "not checked: $missing"
