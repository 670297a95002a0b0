/* SPDX-License-Identifier: BSD-3-Clause */
/* libpinfs: direct mappings of files on a pinfs mount. Link with -lpinfs.
 *
 * What will surprise you, first:
 *  - A mapping made by pinfs_map() is the file's memory itself: what you store
 *    is at once what read(2) in every process sees. It is not durable until pinfs_sync() (or
 *    fsync(2) by anybody) returns 0; after a crash the file is exactly as the last
 *    successful sync left it, whatever was stored later.
 *  - The pool file must be open to you (its permissions decide): a file you may write
 *    on a mount of somebody else's pool is not enough.
 *  - Only the process that maps may use the mapping: a child made by fork(2) does not
 *    inherit it (MADV_DONTFORK).
 *  - A pool that lies on a disk filesystem can be mapped, but the kernel refuses long-term
 *    page pins there (io_uring registered buffers, RDMA): put it on tmpfs or devdax.
 *
 * Functions return 0 or a value >= 0 on success, a negative errno on failure;
 * pinfs_strerror() says what it meant and what would help. All are thread-safe;
 * one struct pinfs_map must not be unmapped while another thread uses it.
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

enum {
	PINFS_MAP_READ = 1,
	PINFS_MAP_WRITE = 2,     /* includes reading; fd must be open O_RDWR */
	PINFS_MAP_ALLOC = 4,     /* extend the file to the end of the range */
	PINFS_MAP_POPULATE = 8,  /* fault all pages in now */
};

struct pinfs_map; /* opaque; made by pinfs_map(), freed by pinfs_unmap() */

/* Pin [off, off+len) of the file and map it. off must be a multiple of 4096. len 0: to
 * the end of the file. The mapping keeps a duplicate of fd, so fd may be closed; pin and
 * mapping end with pinfs_unmap(), or with the process.
 * Errors: those of PINFS_IOC_PIN; -EACCES the pool file may not be opened; -ENOTTY not a pinfs file. */
int pinfs_map(int fd, uint64_t off, size_t len, int flags, struct pinfs_map **map);
void *pinfs_addr(const struct pinfs_map *map);
size_t pinfs_len(const struct pinfs_map *map);
/* Unmap and unpin. The object is gone whatever is returned. NULL is allowed. */
int pinfs_unmap(struct pinfs_map *map);
/* Make what the mapping shows durable: returns 0 when an image of the file, taken during the
 * call, is durable in the pool's domain. */
int pinfs_sync(struct pinfs_map *map);
/* Counters and facts about the mount that fd is on. */
int pinfs_get_status(int fd, struct pinfs_status *st);
/* Text for a negative errno of this library. Static storage. */
const char *pinfs_strerror(int err);
/* "major.minor.micro" of the library in use. */
const char *pinfs_version(void);

#ifdef __cplusplus
}
#endif
#endif
