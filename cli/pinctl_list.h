/* SPDX-License-Identifier: BSD-3-Clause */
/* Pins and leases as the commands of pinctl show them. */
#ifndef PINFS_CLI_PINCTL_LIST_H
#define PINFS_CLI_PINCTL_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pinfs/pinfs.h>

struct list_row {
	struct pinfs_list_entry e;
	char command[16];  /* of the holder; "-" if it is gone or hidden */
	const char *path;  /* the file, as the holder has it open; or "inode N". In the listing's memory */
};

struct listing {
	struct list_row *row;
	size_t n, room;
	char **paths;      /* what the rows point to, each once */
	size_t npaths, paths_room;
};

/* All pins and leases of the file, or of the mount; with names of holders and files. Replaces what is in l, which
 * begins as all zero. -ENOTTY: the daemon has no such request; otherwise -errno. */
int listing_get(struct listing *l, int fd, bool whole_mount);
void listing_free(struct listing *l);
/* A table with a heading, or a word if there are none. kind: enum pinfs_list_kind. width: of the terminal, 0: any. */
void listing_print(const struct listing *l, unsigned kind, int width);
/* The lines of that table, one at a time. */
void listing_heading(char *buf, size_t size, unsigned kind, int width);
void listing_format(char *buf, size_t size, const struct list_row *r, int width);
/* "NAME":[...], without braces around. */
void listing_json(const struct listing *l, unsigned kind, const char *name);

/* What the numbers of the ABI are called, here and on the command line; "?" for unknown ones. */
const char *name_of_class(unsigned pin_class);
const char *name_of_access(unsigned access);
const char *name_of_lease(unsigned type);
const char *name_of_state(unsigned state);
const char *name_of_writeback(unsigned policy);
const char *name_of_op(unsigned op);
const char *name_of_event(unsigned type);
const char *name_of_deadline(unsigned on_deadline);
/* The number with that name, looked up by one of the above from 0 to 15; -1: none. */
int number_of(const char *name, const char *(*name_of)(unsigned));

/* "/proc/PID/comm", or "-". */
void command_of(char buf[16], uint32_t pid);
/* Offsets and lengths, with a unit where that is exact: "64 KiB", "4097". */
const char *exact_size(char buf[24], uint64_t bytes);
/* "0.4 s", "12 s", "5 min", "3 h", "2 d" */
const char *short_time(char buf[16], uint64_t ms);
/* Columns of the terminal that standard output is; 0: it is none. */
int terminal_width(void);

#endif
