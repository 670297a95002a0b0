#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# S4b: short pins that overlap without end; somebody truncates meanwhile.
. "$(dirname "$0")/scenario.sh"
row default "" "truncate returns"
row wait "layout_transient=wait,transient_ms=200" "truncate returns, after transient_ms at most"
