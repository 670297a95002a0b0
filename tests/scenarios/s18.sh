#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# S18: the lock-order validator is silent over a run of everything, and finds an inversion that is planted.
. "$(dirname "$0")/scenario.sh"
row default "" "an inversion that is planted aborts, with both places"
