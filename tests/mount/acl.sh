#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# POSIX ACLs: set, get, enforced, kept in step with the mode, inherited from a default ACL, there
# after a remount.
. "$(dirname "$0")/lib.sh"

need setfacl getfacl
fresh_mount 64M
cd "$MNT"
acl() { getfacl -cpn -- "$1" | grep -v '^$' | tr '\n' ' '; }

step "set and get"
echo text >f
chmod 640 f
setfacl -m u:1234:rw,g:4321:r f
equals "acl" "$(acl f)" "user::rw- user:1234:rw- group::r-- group:4321:r-- mask::rw- other::--- "
equals "mode" "$(stat -c %a f)" 660
step "chmod changes the mask, a new mask changes the mode"
chmod 600 f
equals "acl" "$(getfacl -cpn f | grep -v '^$' | tr -d '\t' | sed 's/#.*//' | tr '\n' ' ')" \
    "user::rw- user:1234:rw- group::r-- group:4321:r-- mask::--- other::--- "
setfacl -m m::rwx f
equals "mode" "$(stat -c %a f)" 670
setfacl -n -m o::r f
equals "mode" "$(stat -c %a f)" 674
step "an ACL that the mode can express is no ACL"
setfacl -m u::rwx,g::rx,o::- g 2>/dev/null || { : >g; setfacl -m u::rwx,g::rx,o::- g; }
equals "mode" "$(stat -c %a g)" 750
if command -v getfattr >/dev/null; then
	equals "the xattr" "$(getfattr -m - g)" ""
fi
step "remove"
setfacl -b f
equals "acl" "$(acl f)" "user::rw- group::r-- other::r-- "

step "default ACL: inherited by files and directories, in place of the umask"
mkdir d
chmod 755 d
setfacl -d -m u::rwx,u:1234:rwx,g::rx,o::- d
(umask 077; echo text >d/f; mkdir d/sub; echo text >d/sub/f)
equals "acl of d/f" "$(acl d/f | sed 's/#[^ ]* *//g' | tr -s ' \t' ' ')" "user::rw- user:1234:rwx group::r-x mask::rw- other::--- "
equals "mode of d/f" "$(stat -c %a d/f)" 660
equals "mode of d/sub" "$(stat -c %a d/sub)" 770
getfacl -cpnd d >"$WORK/want"
getfacl -cpnd d/sub >"$WORK/got"
diff "$WORK/want" "$WORK/got"
must_fail setfacl -d -m u:1234:r f

if is_root; then
	step "enforced"
	chmod 755 .
	: >h
	chmod 600 h
	setfacl -m u:65534:r h
	as_nobody cat h
	must_say 'permission denied' as_nobody sh -c 'echo x >>h'
	setfacl -m u:65534:rw h
	as_nobody sh -c 'echo x >>h'
	chmod 644 h
	setfacl -m u:65534:-,g::r h
	must_say 'permission denied' as_nobody cat h
	must_say 'not permitted' as_nobody setfacl -m u:65534:rwx h
	mkdir -m 700 closed
	setfacl -m u:65534:rwx closed
	as_nobody touch closed/new
	setfacl -x u:65534 closed
	must_say 'permission denied' as_nobody touch closed/newer
	step "a setgid bit that chacl would let a stranger keep"
	: >s
	chown 65534:4321 s
	chmod 2775 s
	as_nobody setfacl -m u:1:r s
	equals "mode" "$(stat -c %a s)" 775
fi

step "after a remount"
cd /
getfacl -Rcpn "$MNT" >"$WORK/want"
umount_pinfs
check_pool
mount_pinfs "$OTHERS"
getfacl -Rcpn "$MNT" >"$WORK/got"
diff "$WORK/want" "$WORK/got"
