#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# S19: one thread stores to the last 512 bytes of a page, another O_DIRECT-reads from the mount into its first 512, a third
# forks. The page is a process's own, or in a direct mapping. S19_SECONDS: how long (default 5).
. "$(dirname "$0")/scenario.sh"
row anonymous "" "no read lost"
row mapping "" "no read lost"
