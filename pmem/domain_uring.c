/* SPDX-License-Identifier: BSD-3-Clause */
/* A flush prepares one FSYNC request for each range, hands all of them to the
 * kernel with one call and waits for all in the same call. The file system then has
 * every range's writes under way at once, and merges the cache flushes of the
 * device.
 *
 * Requests refer to no memory of ours. So a ring that misbehaves can simply be given
 * up: what is still in flight on it does no harm, and fdatasync(2), which the
 * caller falls back to, covers it.
 */
#include "pmem/domain_uring.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>

#include "pmem/log.h"

#define IN_FLIGHT 16u
/* The request's length field has 32 bits. */
#define REQUEST_MAX ((uint64_t)UINT32_MAX & ~(uint64_t)BLK_MASK)

struct sync_ring {
	struct io_uring ring;
	int fd;
	bool busy;   /* atomic; the flag's owner has the ring */
	bool broken; /* P: busy */
};

struct sync_ring *
sync_ring_new(int fd)
{
	struct sync_ring *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->fd = fd;
	if (io_uring_queue_init(IN_FLIGHT, &r->ring, 0) < 0) {
		free(r);
		return NULL;
	}
	return r;
}

void
sync_ring_free(struct sync_ring *r)
{
	if (!r)
		return;
	io_uring_queue_exit(&r->ring);
	free(r);
}

/* Submit what was prepared and take n completions. */
static int
run(struct sync_ring *r, unsigned n)
{
	struct io_uring_cqe *cqe;
	unsigned done = 0;
	int error = 0;

	while (done < n) {
		int ret = io_uring_submit_and_wait(&r->ring, n - done);

		if (ret < 0 && ret != -EINTR && ret != -EAGAIN && ret != -EBUSY) {
			pinfs_log(LOG_NOTICE, "io_uring: %s; using fdatasync from now on", strerror(-ret));
			r->broken = true;
			return -EAGAIN;
		}
		while (io_uring_peek_cqe(&r->ring, &cqe) == 0) {
			int res = cqe->res;

			io_uring_cqe_seen(&r->ring, cqe);
			done++;
			if (res >= 0)
				continue;
			if (res == -EINVAL || res == -EOPNOTSUPP) {
				r->broken = true;
				error = error ? error : -EAGAIN;
			} else if (res == -EINTR || res == -EAGAIN || res == -ECANCELED) {
				error = error ? error : -EAGAIN;
			} else {
				pinfs_log(LOG_ERR, "pool file: fdatasync: %s", strerror(-res));
				error = -EIO;
			}
		}
	}
	return error;
}

static void
prepare(struct sync_ring *r, uint64_t off, uint64_t len)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&r->ring);

	io_uring_prep_fsync(sqe, r->fd, IORING_FSYNC_DATASYNC);
	/* The kernel takes off + len as the last byte, not as the first one behind. */
	sqe->off = off;
	sqe->len = (uint32_t)(len - 1);
}

int
sync_ring_flush(struct sync_ring *r, const struct sync_range *ranges, unsigned n)
{
	unsigned prepared = 0;
	int error = 0;

	if (__atomic_exchange_n(&r->busy, true, __ATOMIC_ACQUIRE))
		return -EAGAIN;
	if (r->broken)
		error = -EAGAIN;
	for (unsigned i = 0; i < n && !error; i++) {
		uint64_t off = ranges[i].off, left = ranges[i].len;

		while (left > 0 && !error) {
			uint64_t len = min_of(left, REQUEST_MAX);

			prepare(r, off, len);
			off += len;
			left -= len;
			if (++prepared == IN_FLIGHT) {
				error = run(r, prepared);
				prepared = 0;
			}
		}
	}
	if (!error && prepared > 0)
		error = run(r, prepared);
	__atomic_store_n(&r->busy, false, __ATOMIC_RELEASE);
	return error;
}
