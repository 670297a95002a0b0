#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# S4c: truncate of one range, pins and a lease on another.
. "$(dirname "$0")/scenario.sh"
row default "" "no wait, nobody is told"
row wait "layout_transient=wait,transient_ms=5000" "no wait, nobody is told"
