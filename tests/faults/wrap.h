/* SPDX-License-Identifier: BSD-3-Clause */
/* Failing allocations and system calls on demand.
 *
 * The program is linked with --wrap for each function in wrap.c, so every call that pmem/ and fs/ make passes here
 * and is a fault point. Points are counted over all threads. While armed, the point whose number comes up fails as
 * the real function would when it has no memory, or when the pool file's filesystem gives up.
 */
#ifndef PINFS_TESTS_FAULTS_WRAP_H
#define PINFS_TESTS_FAULTS_WRAP_H

#include <stdbool.h>
#include <stdint.h>

/* Count from 0 again; the n'th point (from 1; 0: none) fails, and if `on` all after it, too. */
void faults_arm(uint64_t n, bool on);
/* While paused, calls are no points. */
void faults_pause(bool paused);
/* Points passed since faults_arm; no more failures. */
uint64_t faults_disarm(void);
/* The function that failed first, or NULL: none was reached. */
const char *faults_hit(void);

#endif
