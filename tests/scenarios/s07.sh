#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# S7: an exclusive lease, and a truncate by another process.
. "$(dirname "$0")/scenario.sh"
row default "lease_break_ms=100" "ETXTBSY at once; the lease survives"
