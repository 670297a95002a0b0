/* SPDX-License-Identifier: BSD-3-Clause */
/* Power loss, exhaustively. A sequence of operations is run on a tiny pool while the domain of the
 * pool is recorded; then the record is replayed, and at each barrier images are made of what the
 * medium may hold if the power fails before it is passed. Each image is checked by fsck, mounted, and
 * compared with what the filesystem showed while it ran.
 *
 *   record.c  what was stored, flushed and fenced, in order
 *   replay.c  from the record to images: which stores may have reached the medium
 *   look.c    what a mounted filesystem shows: names, attributes, content
 *   run.c     runs a sequence, notes what was acknowledged
 *   ops.c     the operations that sequences are made of
 *   judge.c   whether an image may be so
 *   calm.c    clock, random numbers and RCU without chance and without waiting
 *   main.c    which sequences, how many, in how many processes; what failed
 */
#ifndef PINFS_TESTS_CRASH_H
#define PINFS_TESTS_CRASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "fs/fs.h"
#include "tests/unit/unit_track.h"

enum {
	CRASH_POOL_BYTES = POOL_MIN_BYTES,
	LINE = 64,                            /* bytes that a processor writes back at once */
	LINES = CRASH_POOL_BYTES / LINE,
	OPS_MAX = 64,                         /* of a sequence */
};

/* End with a message: something in the test itself does not work. */
void die(const char *what, int err) __attribute__((noreturn));

/* ---- the record ---------------------------------------------------------------- */

/* A defect that is put into the record, to see that it is found. */
enum plant {
	PLANT_NONE,
	PLANT_BARRIER,   /* no barrier before the root is written */
	PLANT_FLUSH,     /* one range (nodes or data) is not flushed before a commit */
	PLANT_ROOT,      /* the root is written, but neither flushed nor fenced */
};

enum rec_kind {
	REC_STORE,       /* line at `at` holds data[n] now */
	REC_FLUSH,       /* lines [at, at+n) */
	REC_BARRIER,
	REC_BEGIN,       /* operation n begins */
	REC_END,         /* operation n has returned */
};

struct rec {
	enum rec_kind kind;
	uint32_t at, n;
};

struct record {
	uint8_t *pool;         /* the pool's file, mapped */
	uint8_t *seen;         /* as of the newest store in the record */
	struct rec *rec;
	size_t nrec, room;
	uint8_t (*data)[LINE];
	size_t ndata, data_room;
	bool pmem;             /* the domain */
	enum plant plant;
	unsigned plant_skip;   /* flushes to pass before the one that is left out */
	/* Where the daemon is killed: after so many events; 0: nowhere. What the file holds then. */
	unsigned kill_at, nevents;
	uint8_t *killed;
	size_t killed_nrec;    /* 0: that point was not reached */
	unsigned begun, ended; /* operations */
	unsigned killed_begun, killed_ended;
	bool root_flushed;
	/* Called after each event, when nothing of the record is held; NULL: nobody. */
	void (*event_hook)(void *arg, enum domain_event event, uint64_t off);
	void *event_arg;
	pthread_mutex_t lock;  /* not one of pmem/lock.h: it may be taken under any of those */
};

void record_init(struct record *r, uint8_t *pool);
void record_free(struct record *r);
/* Begin again: what the pool's file holds now is on the medium. */
void record_start(struct record *r, bool pmem, enum plant plant, unsigned plant_skip, unsigned kill_at);
/* Go back to where the daemon was killed: the record ends there, and the file is what it was. The pool is not
 * mounted. False: that point was not reached. */
bool record_kill(struct record *r);
/* For struct pool_options: follow what is done to the pool. */
domain_record_fn record_event;
/* A client has stored to memory that it has mapped; the stores are noted at the latest at the next
 * barrier, and exactly when this is called. */
void record_stores(struct record *r);
void record_mark(struct record *r, enum rec_kind kind, unsigned n);

/* ---- images --------------------------------------------------------------------- */

struct image_id {
	unsigned interval;   /* barriers passed */
	unsigned number;     /* in the interval */
};

/* Called for each image, which lies in the pool's file: begun and ended are the newest operations
 * that had. *stored: the file may have been changed. Nonzero ends the replay. */
typedef int image_fn(void *arg, struct image_id id, unsigned begun, unsigned ended, bool *stored);

struct replay {
	uint8_t *pool;          /* the image file, mapped */
	bool pages;             /* pages reach the medium, not cache lines */
	unsigned per_interval;  /* images, at most */
	uint64_t seed;
	struct image_id only;   /* if only_one: no other */
	bool only_one;
	image_fn *image;
	void *arg;
};
/* base: the medium when the record begins. 0, or what image returned. */
int replay(struct replay *rp, const struct record *rec, const uint8_t *base);

/* ---- what a filesystem shows -------------------------------------------------------- */

struct seen_file {
	uint64_t ino;
	uint64_t meta;          /* hash of its names and attributes */
	bool reg, dax;
	/* run.c sets these: its content has been written back as it is, by now or by the next operation; by
	 * now; by this one, which is a sync, and no other before. */
	bool written, written_by_now, synced;
	uint64_t size;
	size_t at;              /* of its content in look.bytes */
};

struct look {
	uint64_t names;         /* hash of all names and attributes */
	struct seen_file *file;
	unsigned nfiles, room;
	uint8_t *bytes;
	size_t nbytes, bytes_room;
	char *text;             /* for people; if wanted */
	size_t text_len;
	int error;              /* something could not be read: */
	char what[400];
};
/* text: for people, too. What l held before is gone. */
void look_at(struct look *l, struct fs *fs, bool text);
void look_free(struct look *l);
const struct seen_file *look_find(const struct look *l, uint64_t ino);
static inline const uint8_t *
look_data(const struct look *l, const struct seen_file *f)
{
	return l->bytes + f->at;
}
bool look_same(const struct look *a, const struct seen_file *fa, const struct look *b, const struct seen_file *fb);

/* ---- running a sequence ---------------------------------------------------------------- */

/* What an operation has promised when it returned. */
struct promise {
	bool sync;              /* it makes many files durable, all or none: also if it has not returned */
	bool all;               /* everything that was done before is durable */
	uint64_t ino;           /* this file's content is, and its names and attributes; 0: none */
	uint64_t data_ino;      /* this file's content is, nothing else */
	uint64_t moved[2];      /* the durable content of these files has changed without a writeback of what they
	                           have now: clone, collapse, insert; if it is two, of both or none: exchange */
	uint64_t with_names;    /* whoever sees the names as of now, sees this file's content as of now or later */
};

/* A file that a sequence holds open. */
struct held {
	char name[16];
	struct file *file;
	uint64_t pin;           /* 0: none */
	struct mapping map;     /* of a faultable pin, from the beginning of the file; at NULL: none */
	uint64_t map_off;       /* where that lies in the pool, bytes */
};

enum { HELD_MAX = 8, TAKEN_MAX = 16 };
#define INO_ALL UINT64_MAX

struct run {
	struct fs *fs;
	struct record *rec;
	const char *path;
	enum domain_kind domain;
	unsigned nops;                           /* the last one is the unmount */
	const struct op_def *op[OPS_MAX + 1];    /* [1..nops] */
	int result[OPS_MAX + 1];
	struct look look[OPS_MAX + 1];           /* after operation k; [0]: at the start */
	struct promise promise[OPS_MAX + 1];
	unsigned durable_names[OPS_MAX + 1];     /* when k has returned names are at least as of this operation */
	/* Files whose content operation k has written back, as it was before or after it; the last one may be INO_ALL. */
	uint64_t taken[OPS_MAX + 1][TAKEN_MAX];
	unsigned ntaken[OPS_MAX + 1];

	/* An operation is done by another thread while an fsync or sync is on its way: at the meet_at-th point
	 * where that can be; 0: never. */
	unsigned meet_at, meet_points;
	unsigned syncing;                        /* the operation that is on its way; 0: none */
	bool met;                                /* the one behind it was begun */
	bool mixed[OPS_MAX + 1];                 /* k was met, and there were pins: snapshots are by block then */
	pthread_t meeting;
	bool meeting_joined;

	struct held held[HELD_MAX];
	unsigned nheld;
	unsigned stamp;                          /* makes contents differ */
	const char *why;                         /* what was wrong after a restart; NULL: nothing */
};

enum op_kind {
	OP_PLAIN,
	OP_SYNCS,               /* shows the same before and after */
	OP_QUIET,               /* may be done while another one syncs: it waits for nothing */
};

struct op_def {
	const char *name;
	/* 0 or -errno, which is no failure of the test */
	int (*fn)(struct run *r, const struct op_def *op, struct promise *p);
	const char *a, *b;      /* names */
	uint64_t off, len;
	int mode;
	enum op_kind kind;
};
extern const struct op_def ops[];
extern const unsigned nops;
const struct op_def *op_find(const char *name, size_t len);
/* What a pool holds to begin with. */
void ops_prepare(struct fs *fs);
extern const struct op_def op_restart;
/* Release what is held, pins included. */
void ops_close(struct run *r);

/* Mounted so that nothing happens by itself. rec: NULL, or where it is recorded. */
int crash_mount(struct fs **out, const char *path, enum domain_kind domain, struct record *rec,
    struct pool_error *err);
/* Make a pool with what ops_prepare puts there. */
void crash_mkpool(const char *path);
/* Run the operations of r on the pool, which is not mounted, and unmount it. If the record has a point where the
 * daemon is killed, then after that a restart and the rest of the operations. */
void run_sequence(struct run *r);
void run_free(struct run *r);

/* ---- judging ------------------------------------------------------------------------------ */

/* NULL, or what is wrong, in a static buffer: with what was seen, if begun and ended are the newest operations that
 * had; and with the image in the file. use: write to it, too.
 * *stored: the file may have been stored to. verbose: print what the image shows, and what it may. */
const char *judge_look(const struct run *r, const struct look *image, unsigned begun, unsigned ended);
const char *judge(const struct run *r, const char *path, unsigned begun, unsigned ended, bool use,
    bool *stored, bool verbose);

#endif
