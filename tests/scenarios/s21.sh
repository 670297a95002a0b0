#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# S21: O_DIRECT at offsets and of lengths that are multiples of 512, or of nothing.
. "$(dirname "$0")/scenario.sh"
row any "" "all work"
row 512 "dio_align=512" "multiples of 512 work, others: EINVAL"
row 4096 "dio_align=4096" "multiples of 4096 work, others: EINVAL"
