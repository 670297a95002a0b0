/* SPDX-License-Identifier: BSD-3-Clause */
/* Between the files of libpinfs; nothing of it is exported. */
#ifndef PINFS_CLIENT_I_H
#define PINFS_CLIENT_I_H

#include <pthread.h>
#include <stdbool.h>

#include <pinfs/pinfs.h>

/* ---- options.c ---- */

/* Copy an options structure, which begins with its size, to one of `known` bytes. What the caller does not have is
 * 0; what he has and this library does not must be 0: -E2BIG. */
int options_take(void *to, size_t known, const void *from);

/* ---- watch.c ---- */

struct watch;
/* Have fn called, on the library's thread, for each event of one of the leases; fd is duplicated. w NULL: it will be
 * removed by watch_remove_lease(). -errno. */
int watch_add(int fd, const uint64_t *leases, unsigned n, pinfs_lease_event_fn *fn, void *arg, struct watch **w);
/* After this fn is not called any more, and does not run unless it is the caller. NULL is allowed. */
void watch_remove(struct watch *w);
/* The same for the watch, if any, that was added without a pointer for this lease of the mount that fd is on. */
void watch_remove_lease(int fd, uint64_t lease);

/* ---- map.c ---- */

struct map_range {
	uint64_t off;       /* of the file; whole blocks, as the pin has them */
	uint64_t len;
	size_t at;          /* offset of its place in the mapping */
	uint64_t lease;     /* 0: none */
};

struct pinfs_map {
	pid_t owner;        /* a child that inherits the object must leave pin, lease and addresses alone */
	int fd;             /* duplicate of the caller's: keeps the open file, and so pin and lease */
	unsigned flags;     /* PINFS_MAP_... */
	unsigned on_deadline;
	uint8_t *addr;      /* what the caller sees */
	size_t len;
	void *reserved;     /* the whole reservation around it */
	size_t reserved_len;
	uint64_t pin_id;
	bool pinned;
	bool leased;
	bool dax;
	uint32_t domain;    /* enum pinfs_domain */
	int tracked;        /* what pinfs_map_tracked() says */
	pinfs_map_event_fn *on_event;
	void *arg;
	struct watch *watch;

	pthread_mutex_t lock;
	bool gone;          /* it was let go; written with lock, read by atomics */
	int pool_fd;        /* holds the OFD locks; -1: none. Protected by lock, as is what follows */
	int uffd;           /* write-protects a tracked mapping as long as it is open; -1: none */

	unsigned nranges;
	struct map_range ranges[];
};

/* ---- map_place.c ---- */

/* Map the blocks of the pin at m->addr, which is reserved: first is what the pin's reply told. */
int map_place(struct pinfs_map *m, const struct pinfs_pin_range *first);
/* Reserve addresses: at `at`, if it is not NULL. */
int map_reserve(struct pinfs_map *m, void *at);
/* Take the blocks away again, and leave the addresses reserved: touching them is SIGSEGV. */
int map_displace(struct pinfs_map *m);

/* ---- track.c ---- */

/* Have writeback ask what was stored to. 1, or the reason why it can't: a negative errno. */
int track_start(struct pinfs_map *m);

#endif
