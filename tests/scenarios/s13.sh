#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# S13: pin and map racing truncate, punch, collapse, insert and exchange inside the file.
. "$(dirname "$0")/scenario.sh"
row default "" "old layout or new, never half of both"
