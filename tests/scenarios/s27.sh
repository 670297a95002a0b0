#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# S27: truncate waits for a lease; the holder touches its mapping, then releases.
. "$(dirname "$0")/scenario.sh"
row default "" "truncate returns at the release, not at munmap"
