#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Make ./configure from a clone of the repository.
set -e
cd "$(dirname "$0")"
mkdir -p m4
exec autoreconf --install --force "$@"
