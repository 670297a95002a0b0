/* SPDX-License-Identifier: BSD-3-Clause */
/* The model test: long random sequences of operations are run against a filesystem and against
 * a model of it in memory (state.c), which says what each has to return and what must be
 * there afterwards.
 *
 *   ops.c      an operation: made at random from a seed, printed, parsed
 *   state.c    the model: names, links, content, xattrs; what a crash may leave
 *   run.c      does a sequence on both and compares
 *   backend_*  the two ways to reach the filesystem: fs/fs.h, or system calls on a mount
 *   main.c     seeds, shrinking of a sequence that fails, the command line
 */
#ifndef PINFS_TESTS_MODEL_H
#define PINFS_TESTS_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

enum {
	NNAMES = 6,          /* names that entries can have */
	DEPTH = 3,           /* components of a path in an operation, at most */
	DEPTH_MAX = 8,       /* to which renames can make the tree grow */
	NSLOTS = 4,          /* open files; backends have one more, for checks */
	NXATTRS = 3,
	XATTR_LEN_MAX = 2000,
	FILE_MAX = 200 * 1024,
	TARGET_MAX = 300,
};
#define PATH_SIZE 2560

/* ---- operations (ops.c) ------------------------------------------------- */

enum op_kind {
	OP_OPEN,      /* slot path flags: create */
	OP_CLOSE,     /* slot */
	OP_WRITE,     /* slot off len seed */
	OP_READ,      /* slot: its whole content and attributes */
	OP_TRUNCATE,  /* slot len */
	OP_FALLOCATE, /* slot off len flags: mode */
	OP_COPY,      /* slot off slot2 off2 len */
	OP_COLLAPSE,  /* slot off len */
	OP_INSERT,    /* slot off len */
	OP_EXCHANGE,  /* slot off slot2 off2 len: 0: to the ends */
	OP_MAP,       /* slot: a direct mapping for writing of the whole file */
	OP_STORE,     /* slot off len seed: through the mapping */
	OP_UNMAP,     /* slot */
	OP_FSYNC,     /* slot */
	OP_MKDIR,     /* path */
	OP_SYMLINK,   /* path seed: of the target */
	OP_LINK,      /* path path2 */
	OP_UNLINK,    /* path */
	OP_RMDIR,     /* path */
	OP_RENAME,    /* path path2 flags */
	OP_SETXATTR,  /* path slot2: name, len seed flags */
	OP_RMXATTR,   /* path slot2: name */
	OP_SYNC,
	OP_CHECK,     /* everything */
	OP_REMOUNT,
	OP_CRASH,
	OP_KINDS
};

/* A path is a list of name numbers; names are numbered from 0. */
struct mpath {
	uint8_t n, name[DEPTH_MAX];
};

struct op {
	enum op_kind kind;
	struct mpath path, path2;
	unsigned slot, slot2, flags, seed;
	uint64_t off, off2, len;
};

struct state;
uint64_t random_next(uint64_t *rng);
/* A new operation, one that has a good chance to do something in that state. */
void op_random(struct op *op, const struct state *st, uint64_t *rng);
void op_print(FILE *f, const struct op *op);
bool op_parse(struct op *op, const char *line);
/* "a/b/c" */
const char *path_text(const struct mpath *p, char buf[PATH_SIZE]);
const char *name_text(unsigned name);
const char *xattr_name(unsigned n);
/* Bytes that depend on seed and place; never all zero. */
void pattern(void *buf, size_t len, unsigned seed);

/* ---- the model (state.c) -------------------------------------------------- */

enum { NODES = 160, CANDIDATES = 24, VERSIONS = 24 };

enum node_type { NODE_FREE, NODE_FILE, NODE_DIR, NODE_SYMLINK };

struct mxattr {
	bool set;
	unsigned len, seed;
};

/* What a transaction holds of an inode. */
struct meta {
	enum node_type type;
	int nlink;
	int entry[NNAMES];    /* directory: node, or -1 */
	int parent;           /* directory */
	unsigned target_seed; /* symlink */
	struct mxattr xattr[NXATTRS];
};

/* Content, shared between versions by reference count. */
struct content {
	unsigned refs;
	uint64_t size;
	uint8_t data[]; /* size bytes */
};

struct node {
	struct meta meta;
	struct content *live;
	/* What a crash may leave: contents as of a writeback that may have been the last. */
	struct content *durable[VERSIONS];
	unsigned ndurable;
	int opens;
	/* Changed since a commit that is certain: 1 + how many candidates there were then; 0: not. */
	unsigned touched;
};

/* The names as a commit may have left them. */
struct candidate {
	struct meta meta[NODES];
};

struct state {
	struct node node[NODES]; /* 0 is the root directory */
	struct candidate *cand;  /* CANDIDATES of them; the last is the newest */
	unsigned ncand;
	int slot[NSLOTS];        /* open node, or -1 */
	uint64_t mapped[NSLOTS]; /* bytes that the slot has mapped, 0: none */
	/* Blocks of the mapping that the file has moved away from: what is stored there is in no file. */
	bool loose[NSLOTS][FILE_MAX / 4096 + 1];
};

struct state *state_new(void);
void state_free(struct state *st);

/* Each returns what the system call has to return: >= 0 or -errno. */
long state_apply(struct state *st, const struct op *op);
/* Node of a path, or -errno. */
int state_lookup(const struct state *st, const struct mpath *p);
/* Is there room for another node and another candidate? If not, the run syncs or skips. */
bool state_full(const struct state *st);
bool state_needs_sync(const struct state *st);
/* Would a rename make the tree deeper than DEPTH_MAX? */
bool state_too_deep(const struct state *st, const struct op *op);
/* Would it make a file longer than FILE_MAX? */
bool state_too_long(const struct state *st, const struct op *op);
/* Does the operation take content away from, or share blocks into, a file that is mapped? Node or -1. */
int state_unmaps(const struct state *st, const struct op *op);
/* Does it move content of the node? */
bool state_moves(const struct state *st, const struct op *op, int node);
void state_close_all(struct state *st);
/* Everything is durable now. */
void state_synced(struct state *st);
/* Go back to candidate k. Content is then one of node.durable: the run finds out which. */
void state_crash(struct state *st, unsigned k);
void state_adopt(struct state *st, int node, unsigned version);

/* ---- a filesystem (backend_fs.c, backend_mount.c) ----------------------- */

struct dirent_seen {
	char name[260];
	uint64_t ino;
};

/* All return >= 0 or -errno. A backend does what the kernel would do before the filesystem sees
 * the call. dir: a directory of its own; the pool is made there. */
struct backend {
	const char *name;
	/* Content moves away from under mappings. If not, they are unmapped first: a process that has pins would wait
	 * for itself. */
	bool moves_under_mappings;
	int (*start)(const char *dir);
	/* Unmount and mount. crash: as SIGKILL of the daemon would do it. All slots are closed. */
	int (*remount)(bool crash);
	int (*stop)(void);

	int (*open)(unsigned slot, const char *path, bool create);
	int (*close)(unsigned slot);
	long (*write)(unsigned slot, const void *buf, size_t len, uint64_t off);
	long (*read)(unsigned slot, void *buf, size_t len, uint64_t off);
	int (*fstat)(unsigned slot, struct stat *st);
	int (*truncate)(unsigned slot, uint64_t size);
	int (*fallocate)(unsigned slot, int mode, uint64_t off, uint64_t len);
	long (*copy)(unsigned slot, uint64_t off, unsigned slot2, uint64_t off2, uint64_t len);
	int (*collapse)(unsigned slot, uint64_t off, uint64_t len);
	int (*insert)(unsigned slot, uint64_t off, uint64_t len);
	int (*exchange)(unsigned slot, uint64_t off, unsigned slot2, uint64_t off2, uint64_t len);
	int (*map)(unsigned slot, uint64_t len);
	int (*store)(unsigned slot, const void *buf, size_t len, uint64_t off);
	int (*unmap)(unsigned slot);
	int (*fsync)(unsigned slot);
	int (*sync)(void);

	int (*mkdir)(const char *path);
	int (*symlink)(const char *target, const char *path);
	int (*link)(const char *old, const char *path);
	int (*unlink)(const char *path);
	int (*rmdir)(const char *path);
	int (*rename)(const char *old, const char *path, unsigned flags);
	int (*setxattr)(const char *path, const char *name, const void *value, size_t len, int flags);
	int (*removexattr)(const char *path, const char *name);
	long (*getxattr)(const char *path, const char *name, void *buf, size_t len);
	int (*stat)(const char *path, struct stat *st);
	long (*readlink)(const char *path, char *buf, size_t len);
	/* Without "." and ".."; up to max; the count. */
	int (*readdir)(const char *path, struct dirent_seen *out, int max);
};
extern const struct backend backend_fs, backend_mount;

/* ---- running (run.c) --------------------------------------------------------- */

struct op_list {
	struct op *op;
	unsigned n, room;
};
void op_list_add(struct op_list *l, const struct op *op);

/* Run ops that are there (replay) or `make` new ones from the seed, appending them to the list; in
 * directory dir. 0, or 1 with the reason in why; *at: the operation that failed. */
int run_ops(const struct backend *be, const char *dir, struct op_list *l, unsigned make, uint64_t seed, bool verbose,
    char *why, size_t whysize, unsigned *at);

#endif
