#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# S3: a dirty page is written back while it is pinned; then the DMA finishes, and the pin goes.
. "$(dirname "$0")/scenario.sh"
row default "" "late data is in the next writeback"
row wait "writeback_transient=wait,transient_ms=100" "late data is in the next writeback"
