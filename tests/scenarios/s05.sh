#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# S5: truncate under a long-term pin with a lease whose holder cooperates.
. "$(dirname "$0")/scenario.sh"
row default "" "told, lets go, truncate resumes"
row cut "lease_break=cut" "truncate at once; told; keeps its blocks"
