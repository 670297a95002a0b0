/* SPDX-License-Identifier: BSD-3-Clause */
/* Ranged fdatasync of one file, several in flight, through an io_uring.
 *
 * A ring serves one caller at a time; a second one is turned away rather than
 * made to wait with a lock held.
 */
#ifndef PINFS_PMEM_DOMAIN_URING_H
#define PINFS_PMEM_DOMAIN_URING_H

#include "pmem/types.h"

struct sync_ring;

struct sync_range {
	uint64_t off, len; /* bytes; len > 0 */
};

/* NULL: this kernel, or this process's limits, have none. */
struct sync_ring *sync_ring_new(int fd);
void sync_ring_free(struct sync_ring *r);
/* Waits until all ranges are durable. -EIO: the medium failed (logged).
 * -EAGAIN: the ring is in use or does not do it; call fdatasync(2). */
int sync_ring_flush(struct sync_ring *r, const struct sync_range *ranges, unsigned n);

#endif
