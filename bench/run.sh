#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# make bench: pinfs beside its peers, in turns, in one run; writes bench.tsv (name, pinfs, peer, ratio,
# floor) and prints it as a table that says which floors are met.
#
# Every row is measured in ROUNDS rounds, pinfs and peer one after the other in each; the ratio is the
# median of the rounds' ratios, so that a machine that gets slower in between spoils one
# round and not the result. All pools and images lie in /dev/shm.
#
#   peer of        is
#   plain rows     libfuse's example passthrough_ll over a tmpfs directory, cache=always and
#                  timeout=86400, which is what pinfs has by default: cached data is kept over opens, names
#                  and attributes for a day; O_DIRECT rows bypass the data cache on both sides
#   *-vs-checked   the same with default_permissions, which pinfs needs for access checks and ACLs: only so do both
#                  get the same requests (the kernel asks for a directory's attributes again after each change in it)
#   *-vs-ntfs3g    Debian's ntfs-3g with its defaults, on an image in /dev/shm
#   *-1m-vs-10k    pinfs itself, in a directory of 10,000 files instead of 1,000,000
#   map-*          a plain shared mapping of a file on tmpfs
#   fsync-*        the FUSE round trip that does nothing (PINFS_IOC_NOOP) on the same daemon
#   pin-*, write-pin-*, lease-*, break-*, release-*, truncate-*, fsync-1g-*, registered-*, write-4k-*
#                  what the row's name says after vs, or the same without what is many
#   -              none: an absolute figure
#
# randread, randwrite, reread and names: operations a second; seq*, map-*: MB/s; others as they are named.
# Rows named *-pinned have client and server on one processor; the others are as the scheduler likes.
#
#   BENCH=GLOB      only rows whose name matches       ROUNDS=N   rounds (5)
#   SECONDS_EACH=S  time of one measurement (1)        FILES=N    files in the large directory (1000000)
#   PIN_MIB=N       size of the large mapping (1024)    MANY=N     pins, leases (1000000)
#   OUT=FILE        instead of bench.tsv
#
# Run by `make bench` in a build directory, as root (it mounts tmpfs-backed peers and drops caches).

set -euo pipefail
export LC_ALL=C.UTF-8

BUILD=${PINFS_BUILD:-$PWD}
LOAD=$BUILD/bench/load
BENCH=${BENCH:-*}
ROUNDS=${ROUNDS:-5}
EACH=${SECONDS_EACH:-1}
FILES=${FILES:-1000000}
OUT=${OUT:-bench.tsv}
FEW=10000
PATH=$BUILD:/usr/sbin:/sbin:$PATH
CPU=$(($(nproc) - 1))

((EUID == 0)) || { echo "bench: needs root: it drops caches and mounts peers" >&2; exit 1; }
[[ -x $LOAD ]] || { echo "bench: $LOAD is not built; run 'make bench'" >&2; exit 1; }

W=/dev/shm/pinfs-bench.$$
mkdir -m 755 "$W"
declare -A PID=()

end() {
	local rc=$? m p
	trap - EXIT
	for m in $(awk -v d="$W/" 'index($5, d) == 1 { print $5 }' /proc/self/mountinfo | tac); do
		umount "$m" 2>/dev/null || umount -l "$m"
	done
	for p in "${PID[@]}"; do
		for ((n = 0; n < 200; n++)); do [[ -e /proc/$p ]] || break; sleep 0.05; done
		[[ ! -e /proc/$p ]] || kill -9 "$p"
	done
	rm -rf --one-file-system "$W"
	exit "$rc"
}
trap end EXIT
trap 'exit 130' INT TERM HUP

say() { printf '\r\033[K%s' "$*" >&2; }
[[ -t 2 ]] || say() { echo "$*" >&2; }

wanted() { # NAME...: is one of these rows to be run?
	local n
	for n; do
		# shellcheck disable=SC2053
		[[ $n == $BENCH ]] && return 0
	done
	return 1
}

mounted() { awk -v m="$1" '$5 == m { f = 1 } END { exit !f }' /proc/self/mountinfo; }

start() { # NAME MNT COMMAND...: a server in the foreground of a job, until its mount is there
	local name=$1 mnt=$2 n=600
	shift 2
	mkdir -p "$mnt"
	"$@" >>"$W/$name.log" 2>&1 &
	PID[$name]=$!
	until mounted "$mnt"; do
		[[ -e /proc/${PID[$name]} ]] || { cat "$W/$name.log" >&2; echo "bench: $name does not start" >&2; exit 1; }
		((n-- > 0)) || { echo "bench: $name does not mount" >&2; exit 1; }
		sleep 0.05
	done
	stat -f "$mnt" >/dev/null
}

stop() { # NAME MNT
	umount "$2"
	wait "${PID[$1]}" || true
	unset "PID[$1]"
}

# Which processors client and servers run on: `on one` or `on all`.
ON=()
on() {
	local p cpus=0-$(($(nproc) - 1))
	ON=()
	[[ $1 == one ]] && { cpus=$CPU; ON=(taskset -c "$CPU"); }
	for p in "${PID[@]}"; do taskset -a -c -p "$cpus" "$p" >/dev/null; done
}

load() { "${ON[@]}" "$LOAD" "$@"; }

settle() { # until the background writeback has nothing left to do
	local n
	for ((n = 0; n < 600; n++)); do
		(($(pinctl status --json "$PINFS" | sed 's/.*"dirty_inodes":\([0-9]*\).*/\1/') == 0)) && return
		sleep 0.1
	done
}

# Drop what the kernel has cached of names, and let pinfs, if it is there, learn of that: what is measured
# after it is not the forgetting.
drop() {
	local n left
	echo 2 >/proc/sys/vm/drop_caches
	sleep 0.1
	[[ -n ${PID[pinfs]:-} ]] || return 0
	for ((n = 0; n < 600; n++)); do
		left=$(pinctl status --json "$PINFS" | sed 's/.*"cached_inodes":\([0-9]*\).*/\1/')
		((left > 1000)) || return 0
		sleep 0.1
	done
	echo "bench: $left inodes are still cached after drop_caches" >&2
	exit 1
}

# ---- results ----------------------------------------------------------------

printf 'name\tpinfs\tpeer\tratio\tfloor\n' >"$OUT"

median() { sort -g | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

fmt() { awk -v x="$1" 'BEGIN { printf((x >= 1000 ? "%.0f" : x >= 10 ? "%.1f" : "%.3f"), x) }'; }

result() { # NAME FLOOR FILE: lines of "pinfs peer"
	local a b r
	a=$(awk '{ print $1 }' "$3" | median)
	b=$(awk '{ print $2 }' "$3" | median)
	r=$(awk '{ print $1 / $2 }' "$3" | median)
	printf '%s\t%s\t%s\t%.3f\t%s\n' "$1" "$(fmt "$a")" "$(fmt "$b")" "$r" "$2" >>"$OUT"
}

absolute() { # NAME FLOOR VALUE
	printf '%s\t%s\t-\t-\t%s\n' "$1" "$(fmt "$3")" "$2" >>"$OUT"
}

# row NAME FLOOR: measure with the functions `ours` and `theirs`, which print a number.
row() {
	local k f=$W/rounds
	wanted "$1" || return 0
	: >"$f"
	for ((k = 1; k <= ROUNDS; k++)); do
		say "$1: round $k of $ROUNDS"
		# who is first changes, so that neither always finds the other's leavings
		if ((k % 2)); then a=$(ours) b=$(theirs); else b=$(theirs) a=$(ours); fi
		echo "$a $b" >>"$f"
	done
	result "$1" "$2" "$f"
}

table() {
	awk -F'\t' '
	function met(ratio, value, floor,   f, x) {
		f = floor; if (f == "-") return ""
		x = ratio == "-" ? value : ratio
		if (f ~ /^>=/) return x + 0 >= substr(f, 3) + 0 ? "ok" : "MISSED"
		return x + 0 <= substr(f, 3) + 0 ? "ok" : "MISSED"
	}
	NR == 1 { printf "%-34s %12s %12s %8s %8s\n", $1, $2, $3, $4, $5; next }
	{ m = met($4, $2, $5); missed += m == "MISSED"; rows += m != ""
	  printf "%-34s %12s %12s %8s %8s  %s\n", $1, $2, $3, $4, $5, m }
	END { printf "%d of %d floors met\n", rows - missed, rows }' "$OUT"
}

# ---- the sides ---------------------------------------------------------------------

PINFS=$W/pinfs THROUGH=$W/through CHECKED=$W/checked NTFS=$W/ntfs

need_pinfs() {
	[[ -z ${PID[pinfs]:-} ]] || return 0
	mkfs.pinfs -q -s 1536M "$W/pool"
	start pinfs "$PINFS" pinfs "$W/pool" "$PINFS" -f
}

need_through_ll() { # build it
	[[ ! -x $W/passthrough_ll ]] || return 0
	local ex=/usr/share/doc/libfuse3-dev/examples f=$W/passthrough_ll.c
	if [[ -r $ex/passthrough_ll.c ]]; then
		cp "$ex/passthrough_ll.c" "$f"
	elif [[ -r $ex/passthrough_ll.c.gz ]]; then
		zcat "$ex/passthrough_ll.c.gz" >"$f"
	else
		echo "bench: $ex/passthrough_ll.c is not there (package libfuse3-dev)" >&2
		exit 1
	fi
	if [[ -r $ex/passthrough_helpers.h ]]; then cp "$ex/passthrough_helpers.h" "$W/"
	elif [[ -r $ex/passthrough_helpers.h.gz ]]; then zcat "$ex/passthrough_helpers.h.gz" >"$W/passthrough_helpers.h"; fi
	# shellcheck disable=SC2046
	"${CC:-cc}" -O2 -w -D_GNU_SOURCE "$f" -o "$W/passthrough_ll" $(pkg-config --cflags --libs fuse3)
	ulimit -n "$(ulimit -H -n)" # it holds a descriptor for every file
}

start_through() { # NAME MNT OPTIONS
	[[ -z ${PID[$1]:-} ]] || return 0
	need_through_ll
	mkdir -p "$W/$1.src"
	start "$1" "$2" "$W/passthrough_ll" -o "source=$W/$1.src,cache=always,timeout=86400$3" -f "$2"
}

need_through() { start_through through "$THROUGH" ''; }
need_checked() { start_through checked "$CHECKED" ,default_permissions; }

need_ntfs() {
	[[ -z ${PID[ntfs]:-} ]] || return 0
	command -v ntfs-3g mkntfs >/dev/null || { echo "bench: ntfs-3g is not there (package ntfs-3g)" >&2; exit 1; }
	truncate -s 1G "$W/ntfs.img"
	mkntfs -F -Q -q "$W/ntfs.img" >/dev/null 2>&1
	start ntfs "$NTFS" ntfs-3g -o no_detach "$W/ntfs.img" "$NTFS"
}

# ---- data ------------------------------------------------------------------------------

floor_of() { # what, read or write
	case $1 in
	pinned-read) echo '>=1.25' ;; pinned-write) echo '>=1.1' ;;
	read) echo '>=1.5' ;; write) echo '>=1.3' ;;
	2jobs-read) echo '>=1.3' ;; 2jobs-write) echo '>=1.2' ;;
	seqread) echo '>=2' ;; seqwrite) echo '>=1.2' ;;
	esac
}

data_rows=(rand{read,write}-4k-pinned rand{read,write}-4k rand{read,write}-4k-2jobs seq{read,write}-1m
    reread-4k-cached reread-4k-cached-pinned)
if wanted "${data_rows[@]}"; then
	need_pinfs
	need_through
	say "preparing files"
	"$LOAD" fill "$PINFS/data" 256 >/dev/null
	"$LOAD" fill "$THROUGH/data" 256 >/dev/null
	for pin in one all; do
		on $pin
		suffix=; [[ $pin == one ]] && suffix=-pinned
		for op in read write; do
			ours() { load -d -t "$EACH" io "$PINFS/data" $op 4k rand; }
			theirs() { load -d -t "$EACH" io "$THROUGH/data" $op 4k rand; }
			row "rand$op-4k$suffix" "$(floor_of ${suffix:+pinned-}$op)"
		done
		# cached: read once, so that the pages are there, then again at random
		ours() { load -t "$EACH" io "$PINFS/data" read 4k rand; }
		theirs() { load -t "$EACH" io "$THROUGH/data" read 4k rand; }
		if wanted "reread-4k-cached$suffix"; then
			cat "$PINFS/data" "$THROUGH/data" >/dev/null
			row "reread-4k-cached$suffix" '>=0.95'
		fi
	done
	for op in read write; do
		ours() { load -d -j 2 -t "$EACH" io "$PINFS/data" $op 4k rand; }
		theirs() { load -d -j 2 -t "$EACH" io "$THROUGH/data" $op 4k rand; }
		row "rand$op-4k-2jobs" "$(floor_of 2jobs-$op)"
		ours() { load -d -t "$EACH" io "$PINFS/data" $op 1M seq; }
		theirs() { load -d -t "$EACH" io "$THROUGH/data" $op 1M seq; }
		row "seq$op-1m" "$(floor_of seq$op)"
	done
	rm "$PINFS/data" "$THROUGH/data"
fi

# ---- fsync, and the round trip below which nothing can be ---------------------------------

if wanted noop-us{,-pinned} fsync-4k-vs-noop{,-pinned}; then
	need_pinfs
	: >"$PINFS/noop"
	"$LOAD" fill "$PINFS/fsync" 1 >/dev/null
	us() { awk '{ print 1e6 / $1 }'; }
	for pin in one all; do
		on $pin
		suffix=; [[ $pin == one ]] && suffix=-pinned
		ours() { load -t "$EACH" fsync "$PINFS/fsync" | us; }
		theirs() { load -t "$EACH" noop "$PINFS/noop" | us; }
		row "fsync-4k-vs-noop$suffix" '<=3'
		if wanted "noop-us$suffix"; then absolute "noop-us$suffix" - "$(theirs)"; fi
	done
	rm "$PINFS/noop" "$PINFS/fsync"
fi

# ---- mapped memory ------------------------------------------------------------------------------

if wanted map-{memcpy-in,memcpy-out,load,store}; then
	need_pinfs
	on all
	"$LOAD" fill "$PINFS/map" 64 >/dev/null
	"$LOAD" fill "$W/plain" 64 >/dev/null
	for what in in out load store; do
		name=map-$what
		[[ $what == in || $what == out ]] && name=map-memcpy-$what
		ours() { load -t "$EACH" mem pinfs "$PINFS/map" $what; }
		theirs() { load -t "$EACH" mem plain "$W/plain" $what; }
		row "$name" '>=0.98'
	done
	rm "$PINFS/map" "$W/plain"
fi

# ---- pins and leases: both sides in one process, in turns ----------------------------------------------

pin_row() { # NAME FLOOR ROW [ARGUMENT...]
	local k f=$W/rounds name=$1 floor=$2 what=$3
	wanted "$name" || return 0
	shift 3
	if [[ ! -e $W/pins.pool ]]; then
		mkfs.pinfs -q --sparse -s "$((PIN_MIB * 4 + 512))M" "$W/pins.pool"
		start pins "$W/pins" pinfs "$W/pins.pool" "$W/pins" -f -o pin_without_lease
	fi
	: >"$f"
	for ((k = 1; k <= ROUNDS; k++)); do
		say "$name: round $k of $ROUNDS"
		"$BUILD/bench/pins" "$what" "$W/pins" -t "$EACH" -m "$PIN_MIB" -n "$MANY" "$@" >>"$f"
		rm -f "$W"/pins/*
		pinctl sync "$W/pins"
	done
	result "$name" "$floor" "$f"
}

PIN_MIB=${PIN_MIB:-1024} MANY=${MANY:-1000000}
on all
pin_row pin-unpin-vs-2-noops '<=1.25' pin-unpin
pin_row pin-64-ranges-vs-one-by-one '<=0.15' pin-64
pin_row fsync-1g-bounce-vs-memcpy-crc '>=0.7' fsync-bounce
pin_row fsync-1g-reference-vs-crc '>=0.8' fsync-reference
pin_row fsync-faultable-vs-longterm '<=0.02' fsync-faultable
pin_row first-store-to-clean-page-us '<=3' first-store
pin_row write-pin-1g-fresh-vs-memset '>=0.8' pin-fresh
pin_row write-pin-1g-durable-vs-memcpy '>=0.8' pin-durable
pin_row pin-with-1m-elsewhere '<=1.5' pin-many-elsewhere
pin_row pin-with-1m-on-the-file '<=1.5' pin-many-same-file
pin_row memory-per-pin-bytes '<=200' pin-memory
pin_row write-4k-p99-beside-fsync-1g '<=5' write-beside
if wanted registered-read-vs-read-write; then
	disk=$(mktemp /var/tmp/pinfs-bench.XXXXXX)
	dd if=/dev/urandom of="$disk" bs=1M count=256 conv=fsync status=none
	pin_row registered-read-vs-read-write '>=1.5' registered -d "$disk"
	rm "$disk"
fi
pin_row lease-release-vs-2-noops '<=1.25' lease-release
pin_row break-told-p50-vs-noop '<=3' told-p50
pin_row break-told-p99-vs-noop '<=10' told-p99
pin_row release-to-return-p50-vs-noop '<=3' resumed-p50
pin_row truncate-with-1m-leases '<=1.2' truncate-many
pin_row idle-10000-leases-ticks-10s '<=0' idle-ticks
if [[ -n ${PID[pins]:-} ]]; then
	stop pins "$W/pins"
	rm "$W/pins.pool"
fi

# ---- names: create, stat (cold), open+close, rename, unlink, mkdir+rmdir ----------------------------

meta_ops=(create stat open rename unlink mkdir)

# One round of all operations in DIR/d; a line "op rate" each. Caches are dropped before stat.
meta_round() { # DIR PREFIX
	local op
	for op in "${meta_ops[@]}"; do
		if [[ $op == stat ]]; then drop; fi
		echo "$op $(load meta "$op" "$1" $FEW "$2")"
	done
}

# peer: where it is mounted, how the rows of its comparison end, their floor
peers=("$THROUGH -10k-pinned >=3" "$CHECKED -10k-pinned-vs-checked -" "$NTFS -10k-pinned-vs-ntfs3g >=1.2")
sides=()
for peer in "${peers[@]}"; do
	read -r mnt suffix floor <<<"$peer"
	if wanted "${meta_ops[@]/%/$suffix}"; then
		need_pinfs
		"need_$(basename "$mnt")"
		sides+=("$mnt")
	fi
done
if ((${#sides[@]} > 0)); then
	sides=("$PINFS" "${sides[@]}")
	on one
	for ((k = 1; k <= ROUNDS; k++)); do
		for side in "${sides[@]}"; do
			say "names, 10,000 files: round $k of $ROUNDS, $(basename "$side")"
			mkdir -p "$side/d"
			meta_round "$side/d" f >"$W/meta.$(basename "$side").$k"
		done
	done
	for op in "${meta_ops[@]}"; do
		for peer in "${peers[@]}"; do
			read -r mnt suffix floor <<<"$peer"
			wanted "$op$suffix" || continue
			for ((k = 1; k <= ROUNDS; k++)); do
				echo "$(awk -v o="$op" '$1 == o { print $2 }' "$W/meta.pinfs.$k")" \
				    "$(awk -v o="$op" '$1 == o { print $2 }' "$W/meta.$(basename "$mnt").$k")"
			done >"$W/rounds"
			result "$op$suffix" "$floor" "$W/rounds"
		done
	done
fi
if [[ -n ${PID[ntfs]:-} ]]; then
	stop ntfs "$NTFS"
	rm "$W/ntfs.img"
fi
for name in through checked; do
	[[ -n ${PID[$name]:-} ]] || continue
	stop $name "$W/$name"
	rm -rf "$W/$name.src"
done
if [[ -n ${PID[pinfs]:-} ]]; then
	stop pinfs "$PINFS"
	rm "$W/pool"
fi

# ---- mount of an empty pool ---------------------------------------------------------------------------

ms() { # COMMAND...: how long it takes, in ms
	local a b
	a=$(date +%s%N)
	"$@"
	b=$(date +%s%N)
	awk -v n=$((b - a)) 'BEGIN { print n / 1e6 }'
}

if wanted mount-empty-ms; then
	say "mount of an empty pool"
	mkfs.pinfs -q -s 1G "$W/empty"
	mkdir -p "$W/mnt"
	for ((k = 0; k < 7; k++)); do
		ms pinfs "$W/empty" "$W/mnt"
		umount "$W/mnt"
		sleep 0.3
	done >"$W/times"
	absolute mount-empty-ms '<=50' "$(median <"$W/times")"
	rm "$W/empty"
fi

# ---- a million files ----------------------------------------------------------------------------------------

if wanted "${meta_ops[@]/%/-1m-vs-10k}" mount-1m-after-kill-s rss-1m-mib rss-1m-own-mib; then
	# A file takes a block; take the content away where memory is short.
	bytes=100 size=$(((FILES * 5500 >> 20) + 512))
	avail=$(($(df --output=avail -k /dev/shm | tail -n 1) >> 10))
	free=$(awk '/^MemAvailable/ { print int($2 / 1024) }' /proc/meminfo)
	((avail < free)) && free=$avail
	if ((size + 1024 > free)); then
		bytes=0 size=$(((FILES * 1400 >> 20) + 512))
	fi
	((size + 512 <= free)) || { echo "bench: $FILES files need $size MiB in /dev/shm" >&2; exit 1; }
	mkfs.pinfs -q --sparse -s "${size}M" "$W/pool"
	start pinfs "$PINFS" pinfs "$W/pool" "$PINFS" -f
	mkdir "$PINFS/many" "$PINFS/few"
	say "making $FILES files of $bytes bytes"
	load populate "$PINFS/many" "$FILES" $bytes >"$W/populate"
	load populate "$PINFS/few" $FEW $bytes >/dev/null
	settle
	if wanted "${meta_ops[@]/%/-1m-vs-10k}"; then
		on one
		for ((k = 1; k <= ROUNDS; k++)); do
			for side in many few; do
				say "names, $FILES files: round $k of $ROUNDS, $side"
				drop
				meta_round "$PINFS/$side" new >"$W/meta.$side.$k"
			done
		done
		for op in "${meta_ops[@]}"; do
			for ((k = 1; k <= ROUNDS; k++)); do
				echo "$(awk -v o="$op" '$1 == o { print $2 }' "$W/meta.many.$k")" \
				    "$(awk -v o="$op" '$1 == o { print $2 }' "$W/meta.few.$k")"
			done >"$W/rounds"
			if wanted "$op-1m-vs-10k"; then result "$op-1m-vs-10k" '>=0.8' "$W/rounds"; fi
		done
		on all
	fi
	if wanted mount-1m-after-kill-s rss-1m-mib rss-1m-own-mib; then
		settle
		for ((k = 0; k < 3; k++)); do
			say "mount of $FILES files after SIGKILL, $((k + 1)) of 3"
			: >"$PINFS/dirty"
			kill -9 "${PID[pinfs]}"
			wait "${PID[pinfs]}" 2>/dev/null || true
			umount -l "$PINFS"
			ms pinfs "$W/pool" "$PINFS" >>"$W/times.kill"
			PID[pinfs]=$(pinctl status --json "$PINFS" | sed 's/.*"daemon_pid":\([0-9]*\).*/\1/')
			stat "$PINFS/many/file-0000007" >/dev/null
			awk '/^VmRSS/ { print $2 / 1024 }' "/proc/${PID[pinfs]}/status" >>"$W/rss"
			# what it holds itself: the pages of the pool, which it maps, are there anyway
			awk '/^RssAnon/ { print $2 / 1024 }' "/proc/${PID[pinfs]}/status" >>"$W/own"
		done
		if wanted mount-1m-after-kill-s; then
			absolute mount-1m-after-kill-s '<=2' "$(median <"$W/times.kill" | awk '{ print $1 / 1000 }')"
		fi
		if wanted rss-1m-mib; then absolute rss-1m-mib '<=400' "$(median <"$W/rss")"; fi
		if wanted rss-1m-own-mib; then absolute rss-1m-own-mib - "$(median <"$W/own")"; fi
		umount "$PINFS"
		for ((n = 0; n < 600; n++)); do [[ -e /proc/${PID[pinfs]} ]] || break; sleep 0.05; done
		unset 'PID[pinfs]'
	else
		stop pinfs "$PINFS"
	fi
fi

say ""
table
