#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Real DMA, by the examples: io_uring with a registered buffer and plain O_DIRECT from a disk into a mapping and back, zero-copy
# send, vmsplice; while other processes fsync, write, clone and read the file. Every word that anybody sees is one that was
# written, what was completed is what everybody sees, and a crash in the middle leaves an image of that kind.
. "$(dirname "$0")/lib.sh"

ex=$BUILD/examples
mixture=$BUILD/tests/mount/mixture
[[ -x $mixture && -x $ex/registered-buffer ]] || skip "the examples are not built"
need_disk
rounds=${PINFS_DMA_ROUNDS:-6}
size=$((8 << 20))
fresh_mount 128M "$OTHERS"
f=$MNT/f

a=$DISK/a b=$DISK/b
head -c "$size" /dev/urandom >"$a"
head -c "$size" /dev/urandom >"$b"
sync "$a" "$b"

# Status 77 of an example: the kernel does not have it.
run() { # COMMAND...
	local rc=0
	"$@" || rc=$?
	((rc != 77)) || skip "$(basename "$1"): the kernel does not have it"
	((rc == 0)) || fail "$* ends with $rc"
}

# What others do meanwhile: each a process that goes on until it is told to end, and fails if it sees what it must not.
others=()
begin() { # COMMAND...
	"$@" >>"$WORK/log/others" 2>&1 &
	others+=($!)
}
until_term() { # COMMAND...: over and over
	local go=1
	trap 'go=0' TERM
	while ((go)); do "$@"; done
}
one_write() {
	local n=$((RANDOM % 256))
	head -c 4096 "$a" | dd of="$f" bs=4096 seek=$((size / 4096 + n)) conv=notrunc status=none
	dd if="$f" bs=4096 skip=$((size / 4096 + n)) count=1 status=none | cmp - <(head -c 4096 "$a")
}
one_clone() {
	cp "$f" "$MNT/clone"
	"$mixture" "$MNT/clone" "$a" "$b"
}
begin_others() {
	others=()
	begin until_term sync "$f"
	begin until_term one_write
	begin until_term one_clone
	begin "$mixture" -r "$f" "$a" "$b"
	begin "$mixture" -d -r "$f" "$a" "$b"
}
end_others() {
	local p
	for p in "${others[@]}"; do kill "$p" 2>/dev/null || true; done
	for p in "${others[@]}"; do wait "$p" || fail "somebody saw what was never written: $(tail -n 5 "$WORK/log/others")"; done
}
is() { # FILE: f's first bytes are these, by read(2) and O_DIRECT
	cmp -n "$size" "$f" "$1" || fail "read(2) does not see what was completed"
	dd if="$f" bs=1M count=$((size >> 20)) iflag=direct status=none | cmp - "$1" || fail "O_DIRECT does not see it"
}

cp "$a" "$f"
truncate -s $((size + (1 << 20))) "$f"

for load in registered-buffer direct-read; do
	step "$load: from the disk into the file's memory, $rounds rounds"
	begin_others
	for ((n = 0; n < rounds; n++)); do
		run "$ex/$load" "$b" "$f"
		is "$b"
		run "$ex/$load" "$a" "$f"
		is "$a"
	done
	end_others
done

step "registered-buffer: and to the disk"
begin_others
run "$ex/registered-buffer" "$b" "$f" "$DISK/c"
same "$b" "$DISK/c"
run "$ex/registered-buffer" "$a" "$f" "$DISK/c"
same "$a" "$DISK/c"
end_others

step "zerocopy-send and vmsplice: out of the file's memory"
begin_others
for ((n = 0; n < rounds; n++)); do
	run "$ex/zerocopy-send" "$f" >"$WORK/sent"
	cmp -n "$size" "$WORK/sent" "$a" || fail "zerocopy-send"
	run "$ex/vmsplice" "$f" > >(cat >"$WORK/spliced")
	wait $! # the cat
	cmp -n "$size" "$WORK/spliced" "$a" || fail "vmsplice"
done
end_others
equals "pins" "$(pinctl status --json "$MNT" | sed 's/.*"pins":\([0-9]*\).*/\1/')" 0

step "SIGKILL of the daemon under DMA"
"$ex/registered-buffer" "$b" "$f"
for ((n = 0; n < 3; n++)); do
	until_term "$ex/registered-buffer" "$a" "$f" >/dev/null 2>&1 &
	loader=$!
	sleep 0.$((RANDOM % 5))
	kill_pinfs
	kill "$loader" 2>/dev/null || true # it may have failed by now
	wait "$loader" 2>/dev/null || true
	check_pool
	mount_pinfs "$OTHERS"
	equals "size" "$(stat -c %s "$f")" $((size + (1 << 20)))
	"$mixture" "$f" "$a" "$b" || fail "after the crash"
done
umount_pinfs
check_pool
