/* SPDX-License-Identifier: BSD-3-Clause */
/* libpinfs: direct mappings of files on a pinfs mount, pins, and leases. Link with -lpinfs.
 *
 * What will surprise you, first:
 *  - A mapping made by pinfs_map() is the file's memory itself: what you store
 *    is at once what read(2) in every process sees. It is not durable until pinfs_sync() (or
 *    fsync(2) by anybody) returns 0; after a crash the file is exactly as the last
 *    successful sync left it, whatever was stored later.
 *  - The pool file must be open to you (its permissions decide): a file you may write
 *    on a mount of somebody else's pool is not enough.
 *  - A mapping can be revoked: somebody who truncates the file waits for you to let go until the
 *    mount's deadline (lease_break_ms), and then takes the blocks out of the file. Your mapping goes on
 *    showing them, but they are in no file any more: pinfs_sync() says -ESTALE. Say PINFS_MAP_COOPERATE, or give a
 *    callback, to let go in time; after that, touching the mapping is SIGSEGV.
 *  - Only the process that maps may use the mapping: a child made by fork(2) does not
 *    inherit it (MADV_DONTFORK). It may call pinfs_unmap(), which then takes nothing away from the parent.
 *  - A pool that lies on a disk filesystem can be mapped, but the kernel refuses long-term
 *    page pins there (io_uring registered buffers, RDMA): put it on tmpfs or devdax.
 *
 * Functions return 0 or a value >= 0 on success, a negative errno on failure; pinfs_strerror() says what it
 * meant and what would help. All are thread-safe; one struct pinfs_map must not be unmapped while another
 * thread uses it. None may be called from a signal handler.
 *
 * An options structure begins with its own size: set it to sizeof, and everything that you do not know to 0. A
 * library that is older than the caller refuses (-E2BIG) what it does not know and is not 0.
 *
 * A page of libpinfs(3) for each function has the errors.
 */
#ifndef PINFS_H
#define PINFS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <pinfs/ioctl.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- mappings ------------------------------------------------------------------------------------- */

enum {
	PINFS_MAP_READ = 1,
	PINFS_MAP_WRITE = 2,         /* includes reading; fd must be open O_RDWR */
	PINFS_MAP_ALLOC = 4,         /* extend the file to the end of the range */
	PINFS_MAP_POPULATE = 8,      /* fault all pages in now */
	PINFS_MAP_FAULTABLE = 0x10,  /* with WRITE: a sync copies what was stored to since the last one, not all
	                                that is mapped. No DMA and no other mapping may store there. Where the kernel
	                                can't tell what was stored to, all is copied: see pinfs_map_tracked() */
	PINFS_MAP_COOPERATE = 0x20,  /* let go of the mapping by itself when a layout operation asks for it */
	PINFS_MAP_ATOMIC = 0x80,     /* with WRITE: only pinfs_sync() makes it durable, nobody else's sync, and if the process
	                                dies the file goes back to the last one: PINFS_WRITEBACK_HOLDER */
	PINFS_MAP_REPLACE = 0x40,    /* with an address: take the place of what is mapped there, as MAP_FIXED does */
};

struct pinfs_map; /* opaque; made by pinfs_map() or pinfs_map_with(), freed by pinfs_unmap() */

/* What a callback is told of is one event of a lease. It runs on a thread of the library, one for all
 * callbacks, so it should be brief. It may call every function of the library. */
typedef void pinfs_map_event_fn(struct pinfs_map *map, const struct pinfs_event *ev, void *arg);

struct pinfs_map_options {
	size_t size;         /* sizeof(struct pinfs_map_options) */
	unsigned flags;      /* PINFS_MAP_... */
	unsigned pin_class;  /* enum pinfs_pin_class; 0: LONGTERM, with PINFS_MAP_FAULTABLE: FAULTABLE */
	unsigned writeback;  /* enum pinfs_writeback */
	unsigned on_deadline;/* enum pinfs_on_deadline, of the mapping's lease */
	unsigned nranges;    /* 1 to PINFS_PIN_RANGES_MAX */
	/* off (a multiple of 4096) and len of each are read; len 0: to the end of the file. They are mapped side by
	 * side, each rounded up to whole blocks. */
	const struct pinfs_pin_range *ranges;
	void *addr;          /* NULL: anywhere; otherwise there or not at all (-EEXIST if something is mapped there) */
	pinfs_map_event_fn *on_event; /* NULL: none; not with PINFS_MAP_COOPERATE */
	void *arg;           /* for on_event */
};

/* Pin [off, off+len) of the file and map it. off must be a multiple of 4096. len 0: to
 * the end of the file. The mapping keeps a duplicate of fd, so fd may be closed; pin and
 * mapping end with pinfs_unmap(), or with the process. A long-term or faultable pin takes a shared lease of the range
 * first, and keeps it as long as the mapping.
 * Errors: those of PINFS_IOC_PIN and PINFS_IOC_LEASE; -EACCES the pool file may not be opened; -ENOTTY not a
 * pinfs file. */
int pinfs_map(int fd, uint64_t off, size_t len, int flags, struct pinfs_map **map);
int pinfs_map_with(int fd, const struct pinfs_map_options *o, struct pinfs_map **map);
void *pinfs_addr(const struct pinfs_map *map);
size_t pinfs_len(const struct pinfs_map *map);
/* Unmap, unpin, release the lease. The object is gone whatever is returned. NULL is allowed. Waits for a callback
 * of this map that is running. */
int pinfs_unmap(struct pinfs_map *map);
/* What pinfs_unmap() does, but the object stays, and so do its addresses, which nothing else will be mapped at:
 * touching them is SIGSEGV. For holders of a lease that is being broken. Doing it twice is no error. */
int pinfs_let_go(struct pinfs_map *map);
/* enum pinfs_lease_state: HELD; BREAKING, somebody waits for it; REVOKED, what it shows is in no file any
 * more; RELEASED, it was let go. Asks the daemon. */
int pinfs_map_state(struct pinfs_map *map);
/* Of a mapping with PINFS_MAP_FAULTABLE: 1 if syncs copy only what was stored to; otherwise the reason why not, a
 * negative errno. Of others 0. */
int pinfs_map_tracked(const struct pinfs_map *map);
/* The descriptor on which the events of the mapping's lease come (POLLPRI), for pinfs_next_event(). It belongs to
 * the mapping. */
int pinfs_event_fd(const struct pinfs_map *map);

/* ---- durability ------------------------------------------------------------------------------------- */

/* Make what the mapping shows durable: returns 0 when an image of the file, taken during the
 * call, is durable in the pool's domain. -ESTALE: the mapping was revoked or let go. */
int pinfs_sync(struct pinfs_map *map);
/* The same for [off, off+len) of a file, len 0: to its end. As fdatasync(2), but pages that were stored to
 * through mmap(2) of the file, not of a struct pinfs_map, have to be sent to the daemon by msync(2) before. */
int pinfs_sync_range(int fd, uint64_t off, uint64_t len);
/* Make [addr, addr+len) of the mapping durable by the quickest means that is enough: for a dax file, in the pmem
 * domain CPU cache flushes and a fence, in the volatile domain a fence; otherwise a sync of that range. */
int pinfs_persist(struct pinfs_map *map, const void *addr, size_t len);

/* ---- pins without a mapping ----------------------------------------------------------------------------- */

struct pinfs_pin_options {
	size_t size;         /* sizeof(struct pinfs_pin_options) */
	unsigned flags;      /* PINFS_PIN_ALLOC */
	unsigned access;     /* enum pinfs_access; 0: READ */
	unsigned pin_class;  /* enum pinfs_pin_class; 0: LONGTERM, which needs a lease: pinfs_lease() */
	unsigned writeback;  /* enum pinfs_writeback */
};
/* Pin ranges, all or none: off and len go in, and come out rounded to blocks with the first extent. o NULL: all 0.
 * The pin belongs to the open file and ends with pinfs_unpin() or its last close. */
int pinfs_pin(int fd, const struct pinfs_pin_options *o, struct pinfs_pin_range *ranges, unsigned nranges, uint64_t *id);
int pinfs_unpin(int fd, uint64_t id);

/* ---- leases ------------------------------------------------------------------------------------------- */

/* fd is the library's duplicate of the one that the lease was taken on, good until the lease is released. */
typedef void pinfs_lease_event_fn(int fd, const struct pinfs_event *ev, void *arg);

struct pinfs_lease_options {
	size_t size;          /* sizeof(struct pinfs_lease_options) */
	unsigned type;        /* enum pinfs_lease_type; 0: SHARED */
	unsigned on_deadline; /* enum pinfs_on_deadline */
	uint64_t off, len;    /* len 0: to the end however large the file is or becomes */
	unsigned signal;      /* 0: none */
	unsigned reserved;    /* 0 */
	uint64_t cookie;      /* comes back in events, and as si_value of the signal */
	pinfs_lease_event_fn *on_event; /* NULL: you poll fd for POLLPRI and call pinfs_next_event() */
	void *arg;            /* for on_event */
};
/* Take a lease; o NULL: shared, of the whole file. It belongs to the open file and ends with
 * pinfs_lease_release() or its last close. With on_event the library keeps a duplicate of fd until the release, and
 * reads all events of that open file: those of its leases without a callback are lost then, so open the file
 * once more for leases that you want to watch yourself. */
int pinfs_lease(int fd, const struct pinfs_lease_options *o, uint64_t *id);
/* Change type, on_deadline, signal and cookie (up- or downgrade); off, len and on_event must be 0. */
int pinfs_lease_modify(int fd, uint64_t id, const struct pinfs_lease_options *o);
/* Waits for a callback of the lease that is running, unless called from it. */
int pinfs_lease_release(int fd, uint64_t id);
/* The oldest event of the leases of this open file. Waits for one up to timeout_ms, -1: as long as it takes. 1 with
 * an event, 0 without. */
int pinfs_next_event(int fd, struct pinfs_event *ev, int timeout_ms);
/* An on_event that is ready made: at PINFS_EVENT_BREAK or _REVOKED it does pinfs_let_go() and releases the lease. arg
 * is the struct pinfs_map, or NULL for a lease alone. */
void pinfs_lease_give_way(int fd, const struct pinfs_event *ev, void *arg);

/* ---- the mount ------------------------------------------------------------------------------------------ */

/* Counters and facts about the mount that fd is on. */
int pinfs_get_status(int fd, struct pinfs_status *st);
/* Call each() for every pin and lease of the file (flags 0) or of its mount (PINFS_LIST_MOUNT) until it returns
 * something else than 0, which is returned. */
typedef int pinfs_list_fn(const struct pinfs_list_entry *e, void *arg);
int pinfs_list(int fd, unsigned flags, pinfs_list_fn *each, void *arg);

/* Text for a negative errno of this library. Static storage. */
const char *pinfs_strerror(int err);
/* "major.minor.micro" of the library in use. */
const char *pinfs_version(void);

#ifdef __cplusplus
}
#endif
#endif
