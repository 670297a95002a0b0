#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The model test through a mount: the same sequences as system calls, with SIGKILL of the daemon as the
# crash, fsck.pinfs before each mount, and direct mappings through libpinfs. PINFS_MODEL_ARGS
# replaces the seeds and counts.
PINFS_TEST_TIMEOUT=${PINFS_TEST_TIMEOUT:-400}
. "$(dirname "$0")/../mount/lib.sh"

need_fuse
model=$BUILD/tests/model/model
[[ -x $model ]] || skip "$model is not built"
# shellcheck disable=SC2086
"$model" --backend mount --dir "$WORK" ${PINFS_MODEL_ARGS:---seed 101 --runs 6 --ops 2500}
