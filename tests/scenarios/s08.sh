#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# S8: a lease with a signal; its handler notes it, the holder finishes, unpins, releases.
. "$(dirname "$0")/scenario.sh"
row default "" "signal with cookie, and POLLPRI; truncate resumes"
