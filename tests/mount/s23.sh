#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# S23: a holder is SIGKILLed, or closes everything, while the kernel has a read of its into a registered buffer in flight. Its
# pins are gone, its last content is the file's, and what arrives late is in no file: not in its own, not in the ones that
# get the space.
. "$(dirname "$0")/late.bash"

fresh_mount 64M "${OTHERS:+$OTHERS,}commit=3600"
start_slow
f=$MNT/f

late() { # HOW END: f is all 'a' and has a holder with DMA in flight, who ends so
	pattern a 1M >"$f"
	sync "$f"
	holder "$1" "$f"
	equals "pins" "$(status pins)" 1
	if [[ $2 == kill ]]; then kill_holder; else tell close; fi
	wait_for 0 status pins
}
no_trace() {
	only "$f" a
	only "$MNT/new" n
	drop_caches
	only "$f" a
	only "$MNT/new" n
	rm "$MNT/new"
}

for how in registered direct; do
	for end in close kill; do
		# a read(2) keeps its process from dying until it is complete
		[[ $how$end != directkill ]] || continue
		step "$how, $end: DMA completes when other files have all space"
		late $how $end
		sync "$f"
		fill_up "$MNT/new" n
		equals "quarantined blocks" "$(status quarantined_blocks)" 0
		complete 65536
		no_trace
		[[ $end == kill ]] || { echo quit >&"${HOLDER[1]}"; wait "$holder" || true; }

		step "$how, $end: DMA completes before anything else happens"
		late $how $end
		complete 65536
		# The blocks are the file's until its next writeback, which leaves them behind.
		tr -d aD <"$f" | head -c 1 | cmp - /dev/null || fail "strange content"
		cp "$f" "$WORK/f.now"
		sync "$f"
		same "$f" "$WORK/f.now"
		fill_up "$MNT/new" n
		only "$MNT/new" n
		rm "$MNT/new"
		[[ $end == kill ]] || { echo quit >&"${HOLDER[1]}"; wait "$holder" || true; }

		step "$how, $end: the file is cut and deleted first"
		late $how $end
		truncate -s 8K "$f"
		rm "$f"
		fill_up "$MNT/new" n
		complete 65536
		only "$MNT/new" n
		rm "$MNT/new"
		[[ $end == kill ]] || { echo quit >&"${HOLDER[1]}"; wait "$holder" || true; }
	done
done

step "the image: undamaged, and no byte of it in any file"
pattern a 1M >"$f"
holder registered "$f"
kill_holder
wait_for 0 status pins
sync "$f"
fill_up "$MNT/new" n
complete 65536
kill_pinfs
check_pool
mount_pinfs "$OTHERS"
only "$f" a
only "$MNT/new" n
umount_pinfs
check_pool
unmount "$SLOW"
scenario_row default "its pins gone, its last content kept, late DMA nowhere" "late reads reached no file, killed or closed" "$SECONDS"
