#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# S17: the dax attribute of an inode: set, inherited, cleared under load; of a file that is pinned.
. "$(dirname "$0")/scenario.sh"
row default "" "set, inherited, cleared; pinned: ETXTBSY"
