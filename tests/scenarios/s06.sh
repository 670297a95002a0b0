#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# S6: the same, but the holder does not react.
. "$(dirname "$0")/scenario.sh"
POOL_SIZE=16M
row default "lease_break_ms=300" "revoked at the deadline; its stores in no file"
