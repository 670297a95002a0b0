#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# S20: clone, the fork of files, while the source's blocks are pinned for writing and stored to; also 2 MiB runs.
. "$(dirname "$0")/scenario.sh"
row default "" "snapshot; pinner keeps its blocks; no store lost"
