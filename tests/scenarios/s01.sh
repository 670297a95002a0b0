#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# S1, the evil buffer: who writes pages 0, 1 back in order, while the holder of page 1 waits for page 0, must not deadlock.
. "$(dirname "$0")/scenario.sh"
row default "" "no wait on either side"
row wait "writeback_transient=wait,transient_ms=300" "fsync ends after transient_ms, holder never waits"
