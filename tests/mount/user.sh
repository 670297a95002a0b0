#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# All of it as an unprivileged user, with his own pool and mountpoint: mkfs, mount through
# fusermount3, direct mapping, pinctl, unmount, fsck. Run by root it becomes such a user.
. "$(dirname "$0")/lib.sh"

if is_root; then
	need setpriv
	fm=$(command -v fusermount3) || skip "fusermount3 is not installed"
	[[ -u $fm ]] || skip "$fm is not setuid root"
	[[ -c /dev/fuse ]] || skip "there is no /dev/fuse"
	# Who may not open /dev/fuse can't mount. Where udev does not give it mode 0666, a private mount
	# namespace gets a node that has it.
	if ! as_nobody test -w /dev/fuse; then
		if [[ -z ${PINFS_TEST_NS:-} ]]; then
			need unshare
			PINFS_TEST_NS=1 unshare -m --propagation private bash "$0" "$@"
			exit
		fi
		mkdir "$WORK/dev"
		mount -t tmpfs -o dev,mode=755 none "$WORK/dev" || skip "/dev/fuse is not open to others"
		mknod -m 666 "$WORK/dev/fuse" c 10 229
		mount --bind "$WORK/dev/fuse" /dev/fuse || skip "/dev/fuse is not open to others"
		as_nobody test -w /dev/fuse || skip "/dev/fuse is not open to others"
	fi
	# His own copy of the programs: the build may lie where he can't go.
	mkdir "$WORK/bin" "$WORK/home"
	for p in mkfs.pinfs pinfs fsck.pinfs pinctl tests/mount/posix tests/mount/mapping; do
		[[ -x $BUILD/$p ]] || skip "$p is not built"
		libtool=$(dirname "$BUILD/$p")/.libs/$(basename "$p")
		if [[ -x $libtool ]]; then cp "$libtool" "$WORK/bin/"; else cp "$BUILD/$p" "$WORK/bin/"; fi
	done
	cp -P "$BUILD"/.libs/libpinfs.so* "$WORK/bin/" 2>/dev/null || true
	cp "$0" "$(dirname "$0")/lib.sh" "$WORK/bin/"
	chown -R 65534:65534 "$WORK/home" "$WORK/log"
	rmdir "$WORK/mnt"
	as_nobody env HOME="$WORK/home" PINFS_BUILD="$WORK/bin" LD_LIBRARY_PATH="$WORK/bin" \
	    PINFS_TEST_WORK="$WORK" PATH="$PATH" bash "$WORK/bin/user.sh"
	exit
fi

step "as uid $EUID"
need_fuse
home=$WORK
[[ -d $WORK/home ]] && home=$WORK/home
POOL=$home/pool
MNT=$home/mnt
mkdir -p "$MNT"
bin=$BUILD
[[ -x $bin/posix ]] || bin=$BUILD/tests/mount

mkpool 128M
equals "the pool's mode" "$(stat -c %a "$POOL")" 600
mount_pinfs
equals "owner of the root" "$(stat -c %u "$MNT")" "$EUID"
cp -a /usr/include/linux "$MNT/"
diff -r /usr/include/linux "$MNT/linux"

step "semantics, as far as a user can see them"
"$bin/posix" "$MNT"

step "a direct mapping"
printf 'open %s\nmap 0 8192 wa\nstore 10 hello\nread 10 5\nsync\nunmap\n' "$MNT/f" | "$bin/mapping" >"$home/out"
equals "replies" "$(tr '\n' ' ' <"$home/out")" "ok ok ok ok hello ok ok "

step "crash, remount, tools"
kill_pinfs
check_pool
mount_pinfs
equals "what was synced" "$(dd if="$MNT/f" bs=1 skip=10 count=5 status=none)" hello
pinctl status "$MNT" >/dev/null
pinctl map "$MNT/f" >/dev/null
umount_pinfs
check_pool

step "somebody else's pool is closed to him"
cp "$POOL" "$home/closed"
chmod 0 "$home/closed"
must_say 'permission denied' pinfs "$home/closed" "$MNT"
