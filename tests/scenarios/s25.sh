#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# S25: 1,000 truncates parked on leases, and one worker thread.
. "$(dirname "$0")/scenario.sh"
row default "threads=1,lease_break_ms=60000" "unpins served; each resumes or is interrupted"
