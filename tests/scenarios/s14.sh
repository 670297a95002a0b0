#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# S14: a pin racing truncate at the end of the file.
. "$(dirname "$0")/scenario.sh"
row default "" "EINVAL beyond the end; the tail reads zero"
