#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# S11: two threads write-fault (pin for writing, store) the same hole at once. S11_ROUNDS: how often (default 100,000; where no table
# is made, in make check, 10,000).
. "$(dirname "$0")/scenario.sh"
export S11_ROUNDS=${S11_ROUNDS:-$([[ -n ${SCENARIO_TABLE:-} ]] && echo 100000 || echo 10000)}
row default "" "one block, zeroed once, both stores kept"
