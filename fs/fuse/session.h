/* SPDX-License-Identifier: BSD-3-Clause */
/* How requests reach threads: see the top of session.c.
 */
#ifndef PINFS_FS_FUSE_SESSION_H
#define PINFS_FS_FUSE_SESSION_H

#include <stdbool.h>
#include <stdint.h>

struct front;
struct session;

#define SESSION_MAX_WRITE (1u << 20)

/* fd: the FUSE device, connected. threads: most that may work at a time, 0: decide. debug: log every
 * request. */
int session_new(struct session **out, struct front *fr, int fd, unsigned threads, bool debug);
/* Starts serving. */
int session_start(struct session *s);
/* Becomes readable when the kernel has closed the connection, or reading failed. */
int session_ended_fd(struct session *s);
/* Requests that are being executed are finished, others stay where they are; then no
 * thread is left. 0, or what made reading requests fail. */
int session_stop(struct session *s);
void session_free(struct session *s);

/* The calling thread is about to do something that may take long: somebody else is to
 * take the next request. Ends by itself with the request. */
void session_long_request(void);

/* Called by a worker: tell the kernel that there is something to poll for as soon as this request is done with (or
 * parked). False: this is no worker, or it has too many. */
bool session_poll_later(uint64_t handle);

/* Blocks that workers have taken from the pool for what they may be asked to write next: as good as free. */
uint64_t session_held_blocks(struct session *s);

/* Requests served so far. */
uint64_t session_requests(struct session *s);

#endif
