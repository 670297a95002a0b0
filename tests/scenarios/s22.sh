#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# S22: a holder whose stores fault; its page is cleaned by fsync, then stored to.
. "$(dirname "$0")/scenario.sh"
row default "" "store found by the next writeback; clean not copied"
