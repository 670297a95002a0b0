#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# S16: space runs out half-way through a write fault of many blocks.
. "$(dirname "$0")/scenario.sh"
POOL_SIZE=32M
row default "" "ENOSPC; no unwritten block is ever read as data"
