#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# S4: truncate and hole punch under a pin for one I/O.
. "$(dirname "$0")/scenario.sh"
POOL_SIZE=16M
row default "" "at once; no block is reused under the DMA"
row wait "layout_transient=wait,transient_ms=200" "after transient_ms; no block is reused under the DMA"
