#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Every fault point in turn, in each domain: see faults.c.
set -euo pipefail
build=${PINFS_BUILD:-$PWD}

for domain in volatile pagecache pmem; do
	echo "-- $domain"
	timeout -k 5 240 "$build/tests/faults/faults" --domain "$domain" --on
done
