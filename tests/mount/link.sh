#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A compiler and linker at work on the mount (they mmap their output, write it sparsely and seek in
# it), and programs and shared libraries run from it.
. "$(dirname "$0")/lib.sh"

need gcc ar ldd
fresh_mount 128M "${OTHERS:+$OTHERS,}exec"
cd "$MNT"

step "compile, archive, link"
for k in 1 2 3 4; do echo "int f$k(int x) { return x + $k; }" >f$k.c; done
cat >main.c <<'END'
#include <stdio.h>
int f1(int), f2(int), f3(int), f4(int);
int main(void) { printf("%d\n", f1(f2(f3(f4(0))))); return 0; }
END
gcc -g -fPIC -c f1.c f2.c f3.c f4.c
ar rcs libf.a f1.o f2.o
gcc -shared -o libg.so f3.o f4.o
gcc -g -o prog main.c -L. -lf -lg -Wl,-rpath,"$MNT"
equals "output" "$(./prog)" 10
ldd prog | grep "$MNT/libg.so" >/dev/null

step "again over the old files, while the program is in use: a new file, then ETXTBSY for a store"
gcc -O2 -o prog main.c -L. -lf -lg -Wl,-rpath,"$MNT"
cp "$(command -v sleep)" sleeper
./sleeper 30 &
p=$!
sleep 0.2
must_say 'text file busy' bash -c 'echo x >>sleeper'
kill $p
wait $p 2>/dev/null || true

step "strip and run after a remount"
strip prog
sum=$(sha256sum <prog)
cd /
umount_pinfs
check_pool
mount_pinfs "${OTHERS:+$OTHERS,}exec"
equals "the sum" "$(sha256sum <"$MNT/prog")" "$sum"
equals "output" "$("$MNT/prog")" 10
