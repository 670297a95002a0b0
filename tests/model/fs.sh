#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The model test on fs/ without FUSE: several seeds, thousands of operations each, with remounts and
# crashes in between. PINFS_MODEL_ARGS replaces the seeds and counts.
PINFS_TEST_TIMEOUT=${PINFS_TEST_TIMEOUT:-400}
. "$(dirname "$0")/../mount/lib.sh"

model=$BUILD/tests/model/model
[[ -x $model ]] || skip "$model is not built"
# shellcheck disable=SC2086
"$model" --backend fs --dir "$WORK" ${PINFS_MODEL_ARGS:---seed 1 --runs 30 --ops 4000}
