/* SPDX-License-Identifier: BSD-3-Clause */
/* Clock, random numbers and RCU without chance and without waiting. */
#ifndef PINFS_TESTS_CRASH_CALM_H
#define PINFS_TESTS_CRASH_CALM_H

#include <stdint.h>

/* Time and getrandom(2) begin anew. */
void calm_restart(void);
/* A generator of one's own (splitmix64). */
uint64_t calm_random(uint64_t *state);

#endif
