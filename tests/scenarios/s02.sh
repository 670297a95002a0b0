#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# S2: a page is stored to while it is being written back.
. "$(dirname "$0")/scenario.sh"
row default "" "images pass their checksums, the storer never stops"
