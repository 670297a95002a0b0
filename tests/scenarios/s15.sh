#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# S15: offsets up to 2^63-1, the last block, and what overflows a signed 64-bit number.
. "$(dirname "$0")/scenario.sh"
row default "" "EFBIG or EINVAL, nothing changed"
