#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# S26: the last unlink while DMA into a mapping is in flight; then new files fill the pool. Not one byte of the DMA is in a
# new file. (fs-DAX on Linux 6.1 and 6.12: all of it.) And the other way round: what the kernel has still to send out of
# a mapping is what it was, and nothing of a new file.
. "$(dirname "$0")/late.bash"

fresh_mount 64M "${OTHERS:+$OTHERS,}commit=3600"
start_slow
f=$MNT/f

for how in registered direct; do
	step "$how: unlinked, the holder stays"
	pattern a 1M >"$f"
	sync "$f"
	holder $how "$f"
	rm "$f"
	fill_up "$MNT/new" n
	complete 65536
	only "$MNT/new" n
	rm "$MNT/new"

	step "$how: and goes"
	echo quit >&"${HOLDER[1]}"
	wait "$holder" || true
	wait_for 0 status pins
	fill_up "$MNT/new" n
	only "$MNT/new" n
	rm "$MNT/new"

	step "$how: unlinked, the holder closes all, new files, the DMA"
	pattern a 1M >"$f"
	sync "$f"
	holder $how "$f"
	rm "$f"
	tell close
	wait_for 0 status pins
	fill_up "$MNT/new" n
	complete 65536
	only "$MNT/new" n
	rm "$MNT/new"
	echo quit >&"${HOLDER[1]}"
	wait "$holder" || true
done

step "what a pipe has of a mapping that is gone: the old content"
pattern a 64K >"$f"
sync "$f"
holder vmsplice "$f"
rm "$f"
tell close
wait_for 0 status pins
fill_up "$MNT/new" n
tell read
equals "in the pipe" "$ANSWER" "holds a"
only "$MNT/new" n
umount_pinfs
check_pool
unmount "$SLOW"
scenario_row default "not one byte of the DMA in a new file" "new files have their own bytes only" "$SECONDS"
