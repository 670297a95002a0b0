#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# S12: a read fault (read pin) of a hole races the write fault of it, on a pool full of other files' old bytes.
. "$(dirname "$0")/scenario.sh"
row default "" "zero or the data, never other bytes"
