#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# fio with verification: O_DIRECT over psync, libaio and io_uring, buffered, and mmap; every block
# read back and its checksum compared, once more after a remount.
. "$(dirname "$0")/lib.sh"

need fio
fresh_mount 384M
cd "$MNT"

run() { # NAME ENGINE DIRECT [OPTION...]
	local name=$1 engine=$2 direct=$3
	shift 3
	step "$name"
	fio --name="$name" --filename="$name" --ioengine="$engine" --direct="$direct" --size=24M --bs=4k-64k \
	    --bs_unaligned=0 --rw=randrw --rwmixwrite=70 --loops=2 --verify=crc32c --verify_fatal=1 --verify_dump=0 \
	    --do_verify=1 --randrepeat=1 --allrandrepeat=1 --group_reporting --minimal "$@" >"$WORK/log/fio-$name" 2>&1 ||
		fail "fio, $name"
}

supported() { fio --enghelp 2>/dev/null | grep -w "$1" >/dev/null; }

run psync psync 1
run psync-odd psync 1 --bs=512-8k --size=8M
run buffered psync 0 --fsync=32
run mmap mmap 0 --bs=4k
if supported libaio; then run libaio libaio 1 --iodepth=16; else note "not run: fio has no libaio"; fi
# 0: io_uring is not disabled by the administrator; older kernels have no such file
if supported io_uring && [[ $(cat /proc/sys/kernel/io_uring_disabled 2>/dev/null || echo 0) == 0 ]]; then
	run io_uring io_uring 1 --iodepth=16
	run io_uring-buffered io_uring 0 --iodepth=16
else
	note "not run: no io_uring"
fi

step "2 jobs on one file, each its half"
fio --name=two --filename=two --ioengine=psync --direct=1 --numjobs=2 --size=8M --offset_increment=8M --bs=4k \
    --rw=randwrite --verify=crc32c --verify_fatal=1 --do_verify=1 --minimal >"$WORK/log/fio-two" 2>&1 ||
	fail "fio, two jobs"

step "the same bytes after a remount"
cd "$MNT"
sum() { (cd "$MNT" && sha256sum -- *); }
before=$(sum)
cd /
umount_pinfs
check_pool
mount_pinfs "$OTHERS"
equals "the checksums" "$(sum)" "$before"
