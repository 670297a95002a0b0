/* SPDX-License-Identifier: BSD-3-Clause */
/* How a store becomes durable.
 *
 *   DOMAIN_PMEM       fs-DAX or devdax: cache line write-back and a fence,
 *                     through libpmem; bulk copies with non-temporal stores
 *   DOMAIN_PAGECACHE  the pool is a file on a disk filesystem: ranged fdatasync,
 *                     submitted to an io_uring and waited for together
 *   DOMAIN_VOLATILE   tmpfs or hugetlbfs: a store is as durable as it gets; it
 *                     survives the daemon, not the machine
 *
 * Everything that has to be durable passes through a struct flush_set: ranges
 * are added while a transaction is open and made durable together at its
 * commit. Barriers, what goes before them and bulk stores pass through this module, so
 * that a recorder can see them.
 *
 * Thread safety: a flush_set belongs to whoever holds the lock that protects
 * it; domain_copy, domain_zero may run in any thread.
 */
#ifndef PINFS_PMEM_DOMAIN_H
#define PINFS_PMEM_DOMAIN_H

#include "pmem/types.h"

enum domain_kind { DOMAIN_VOLATILE, DOMAIN_PAGECACHE, DOMAIN_PMEM };

struct domain;    /* one per pool */
struct flush_set; /* ranges of the pool, coalesced */

/* "volatile", "pagecache", "pmem" */
const char *domain_name(enum domain_kind kind);
/* 0, or -EINVAL */
int domain_parse(const char *name, enum domain_kind *kind);
/* What kind the mapped file is: by filesystem type and pmem_is_pmem(). */
enum domain_kind domain_detect(int fd, const void *base, size_t len);

/* base..base+len is the whole pool, mapped shared from fd. -errno on failure;
 * an io_uring that can't be had is no failure (fdatasync(2) serves instead;
 * domain_uses_uring() tells). */
int domain_open(struct domain **out, enum domain_kind kind, int fd, void *base, size_t len);
void domain_close(struct domain *d);
enum domain_kind domain_kind(const struct domain *d);
bool domain_uses_uring(const struct domain *d);

struct flush_set *flush_set_new(struct domain *d); /* NULL: no memory */
void flush_set_free(struct flush_set *fs);
void flush_set_clear(struct flush_set *fs);
/* The range will have to be durable. In the pmem domain its cache lines are
 * written back at once (no fence); nothing in the volatile domain. Never fails:
 * out of memory makes the set cover more than it has to. */
void flush_set_add(struct flush_set *fs, pblk_t start, uint64_t n);

/* Make all ranges of the set durable, with a barrier after them: what is stored
 * after it returns can't become durable before them. -EIO if the kernel says so. */
int domain_flush_set(struct domain *d, struct flush_set *fs);
/* One small range (a root slot), with a barrier after it. */
int domain_flush_range(struct domain *d, void *addr, size_t len);

/* Bulk stores into the pool. In the pmem domain non-temporal and already
 * written back (the barrier at commit is all they still need). */
void domain_copy(struct domain *d, void *dst, const void *src, size_t len);
void domain_zero(struct domain *d, void *dst, size_t len);

/* ---- recording, for tests of power loss ---- */

/* What a recorder is told, in the order in which it happens:
 *   STORE    the range was stored to by domain_copy or domain_zero. Stores that are made through
 *            pointers (nodes, a direct mapping) come with no event: the recorder has to
 *            compare memory, and everything that is stored before a FLUSH is in memory then
 *   FLUSH    what the range holds now will be durable when the next barrier is passed
 *   BARRIER  it is durable; nothing that comes after it can be durable before
 * In the volatile domain there is no FLUSH: a barrier is for everything. */
enum domain_event { DOMAIN_STORE, DOMAIN_FLUSH, DOMAIN_BARRIER };
/* off: in the pool, bytes. Called by the thread that stores or flushes, with whatever locks it has. */
typedef void domain_record_fn(void *arg, enum domain_event event, uint64_t off, uint64_t len);
/* Have everything recorded from now on; NULL: no more. While nobody else uses the domain. One
 * test of a pointer is what it costs those who don't record. */
void domain_record(struct domain *d, domain_record_fn *fn, void *arg);

#endif
