#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# git: init, add, commit, gc, fsck, clone (with hard links), checkout of branches, worktree.
. "$(dirname "$0")/lib.sh"

need git
fresh_mount 256M
export HOME=$WORK GIT_CONFIG_NOSYSTEM=1 GIT_TERMINAL_PROMPT=0
git config --global user.name tester
git config --global user.email tester@example.org
git config --global init.defaultBranch main
git config --global safe.directory '*'
git config --global core.fsync all

step "init, add, commit"
mkdir "$MNT/r"
cd "$MNT/r"
git init -q .
cp -r /usr/include/linux .
git add .
git commit -q -m first
equals "git status" "$(git status --porcelain)" ""

step "branches, merge"
git checkout -q -b side
find linux -name 'a*.h' -exec sh -c 'for f; do echo "/* side */" >>"$f"; done' _ {} +
git commit -q -a -m side
git checkout -q main
find linux -name 'b*.h' -delete
git mv linux/uuid.h linux/renamed.h
git commit -q -a -m main
git merge -q -m merge side
git fsck --full --strict

step "gc"
git gc -q --aggressive --prune=now
git fsck --full --strict

step "clone with hard links, clone through the transport"
find linux -type d -empty -delete # git keeps no empty directories
git clone -q "$MNT/r" "$MNT/hard"
git clone -q "file://$MNT/r" "$MNT/copy"
git -C "$MNT/hard" fsck --full
git -C "$MNT/copy" fsck --full
diff -r --exclude=.git "$MNT/r" "$MNT/hard"
diff -r --exclude=.git "$MNT/r" "$MNT/copy"

step "after SIGKILL of the daemon what was committed (core.fsync=all) is there"
sync_all # a clone writes some refs without fsync
git -C "$MNT/hard" commit -q --allow-empty -m durable
head=$(git -C "$MNT/hard" rev-parse HEAD)
sync "$MNT/hard/.git/refs/heads" # git fsyncs the file, not the rename
cd /
kill_pinfs
check_pool
mount_pinfs "$OTHERS"
git -C "$MNT/hard" fsck --full
equals "HEAD" "$(git -C "$MNT/hard" rev-parse HEAD)" "$head"
umount_pinfs
check_pool
