#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# S9: fsync of a page whose first 1 KiB write(2) has changed, and the second DMA, which is not finished.
. "$(dirname "$0")/scenario.sh"
row default "" "0, and both halves on the medium"
row fail "writeback_longterm=fail,pin_without_lease" "EBUSY, nothing written"
row skip "writeback_longterm=skip,allow_skip,pin_without_lease" "0, and the medium has neither: the lie"
