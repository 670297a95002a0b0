#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Several users on one mount with allow_other: each has what modes and ACLs give him, by ioctl(2) no more than by other
# calls; nobody sees, ends or starves another's pins; limits hold; and the pool file is nobody's but its owner's.
. "$(dirname "$0")/lib.sh"

is_root || skip "this takes root: it acts as several users"
need setpriv
ALICE=65534
BOB=54321
BLOCKS=256

as() { # UID COMMAND...
	local uid=$1
	shift
	setpriv --reuid="$uid" --regid="$uid" --clear-groups --inh-caps=-all timeout 60 "$@"
}

# where any user can execute them
mkdir "$WORK/bin"
for p in users mapping; do
	[[ -x $BUILD/tests/mount/$p ]] || skip "$p is not built"
	if [[ -x $BUILD/tests/mount/.libs/$p ]]; then real=$BUILD/tests/mount/.libs/$p; else real=$BUILD/tests/mount/$p; fi
	cp "$real" "$WORK/bin/"
done
cp -P "$BUILD"/.libs/libpinfs.so* "$WORK/bin/" 2>/dev/null || true
users=$WORK/bin/users

# start NAME UID COMMAND...: what `users` keeps until release; its answer is in $ID.
declare -A held ends
start() {
	local name=$1 uid=$2
	shift 2
	mkfifo "$WORK/$name.in" "$WORK/$name.out"
	( # without the others' ends of pipes, which would keep them from seeing the end
		for in in "${ends[@]}"; do exec {in}>&-; done
		as "$uid" "$users" "$@"
	) <"$WORK/$name.in" >"$WORK/$name.out" &
	held[$name]=$!
	exec {in}>"$WORK/$name.in" {out}<"$WORK/$name.out"
	ends[$name]=$in
	read -r -t 30 ID <&"$out" || fail "no answer about a pin"
	exec {out}<&-
	rm "$WORK/$name.in" "$WORK/$name.out"
	ID=${ID#ok }
}
hold() { # NAME UID FILE r|w LEN: a pin; $ID is its number, or the error
	local name=$1 uid=$2
	shift 2
	start "$name" "$uid" hold "$@"
}
release() { # NAME
	local in=${ends[$1]}
	exec {in}>&-
	unset "ends[$1]"
	wait "${held[$1]}" || true
}

umask 0 # what is made must not depend on it
fresh_mount 128M "$OTHERS,pin_limit=$((BLOCKS * 4))k"
dd if=/dev/urandom of="$MNT/theirs" bs=4k count=$BLOCKS status=none
cp "$MNT/theirs" "$WORK/theirs"
cp "$MNT/theirs" "$MNT/secret"
cp "$MNT/theirs" "$MNT/shared"
cp "$MNT/theirs" "$MNT/mine"
chmod 644 "$MNT/theirs"
chmod 600 "$MNT/secret" "$MNT/mine"
chmod 6777 "$MNT/shared"
chown $ALICE:$ALICE "$MNT/mine"
sync_all

step "the pool file is its owner's"
equals "its mode" "$(stat -c %a "$POOL")" 600
must_say 'permission denied' as $ALICE head -c 1 "$POOL"
as $ALICE env LD_LIBRARY_PATH="$WORK/bin" "$WORK/bin/mapping" >"$WORK/out" <<EOF
openro $MNT/theirs
map 0 4096 r
close
open $MNT/mine
map 0 4096 w
EOF
equals "direct mappings of who may not open it" "$(tr '\n' ' ' <"$WORK/out")" "ok err EACCES ok ok err EACCES "

step "what makes a file follows no link that lies in its place"
ln -s "$WORK/victim" "$WORK/link"
must_say 'exists' mkfs.pinfs -s 16M "$WORK/link"
[[ ! -e $WORK/victim ]] || fail "mkfs.pinfs has made what a link points to"
mkpool 16M "$WORK/other"
dd if=/dev/urandom of="$WORK/other" bs=4k count=1 seek=1 conv=notrunc status=none
must_say 'exists' fsck.pinfs -y --backup "$WORK/link" "$WORK/other"
[[ ! -e $WORK/victim ]] || fail "fsck.pinfs --backup has made what a link points to"
fsck.pinfs -y --backup "$WORK/backup" "$WORK/other" >/dev/null 2>&1 || (($? == 1)) || fail "fsck.pinfs --backup fails"
equals "the backup's mode" "$(stat -c %a "$WORK/backup")" 600
rm "$WORK/other" "$WORK/backup" "$WORK/link"

step "modes and ACLs"
must_say 'permission denied' as $ALICE cat "$MNT/secret"
must_say 'permission denied' as $BOB cat "$MNT/mine"
must_say 'permission denied' as $BOB dd if=/dev/null of="$MNT/theirs" conv=notrunc status=none
if command -v setfacl >/dev/null; then
	setfacl -m u:$BOB:r "$MNT/secret"
	as $BOB cmp "$MNT/secret" "$WORK/theirs"
	must_say 'permission denied' as $ALICE cat "$MNT/secret"
	setfacl -b "$MNT/secret"
	must_say 'permission denied' as $BOB cat "$MNT/secret"
fi

step "every request, through a descriptor that he may have"
hold root 0 "$MNT/theirs" r 65536
root_pin=$ID
hold bob $BOB "$MNT/theirs" r 65536
as $ALICE "$users" may "$MNT" "$root_pin" || fail "see above"
same "$MNT/theirs" "$WORK/theirs"
equals "flags of theirs" "$(lsattr -l "$MNT/theirs" 2>/dev/null | awk '{ print $2 }')" "---"

step "a long list is told in pieces, and none of it to others"
start many 0 many "$MNT" 700
as 0 "$users" list "$MNT" 701 1 || fail "see above"
as $BOB "$users" list "$MNT" 1 0 || fail "see above"
as $ALICE "$users" list "$MNT" 0 0 || fail "see above"
release many
release bob

step "his pins: his limit, and nobody else's"
as $ALICE "$users" limit "$MNT" $BLOCKS || fail "see above"
hold alice $ALICE "$MNT/theirs" r $((BLOCKS * 4096))
hold more $ALICE "$MNT/theirs" r 1
equals "Alice's second pin" "$ID" "err EDQUOT"
hold bob $BOB "$MNT/theirs" r 4096
[[ $ID == [0-9]* ]] || fail "Bob can't pin: $ID"
hold root2 0 "$MNT/theirs" w 4096
[[ $ID == [0-9]* ]] || fail "root can't pin: $ID"
release more

step "what he has pinned, its owner can change, cut and remove all the same"
printf new | timeout 30 dd of="$MNT/theirs" conv=notrunc,fsync status=none
equals "the beginning" "$(head -c 3 "$MNT/theirs")" new
timeout 30 truncate -s 4096 "$MNT/theirs"
timeout 30 pinctl sync "$MNT"
n=$(pinctl status --json "$MNT" | sed 's/.*"quarantined_blocks":\([0-9]*\).*/\1/')
((n >= BLOCKS - 1)) || fail "of what Alice has pinned, $n blocks are in quarantine"
timeout 30 rm "$MNT/theirs"
for h in root root2 alice bob; do release $h; done

step "without allow_other nobody but the owner gets in"
remount_pinfs
must_say 'permission denied' as $ALICE ls "$MNT"
must_say 'permission denied' as $ALICE cat "$MNT/mine"
umount_pinfs
check_pool
