#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# S10, the journal: direct I/O takes pins and then starts a transaction; writeback in a transaction meets the pins.
. "$(dirname "$0")/scenario.sh"
row bounce "" "no deadlock in 10,000 rounds"
row wait "writeback_transient=wait,transient_ms=2" "no deadlock in 10,000 rounds"
row fail "writeback_transient=fail" "no deadlock; fsync 0 or EBUSY"
row skip "writeback_transient=skip,allow_skip" "no deadlock in 10,000 rounds"
