/* SPDX-License-Identifier: BSD-3-Clause */
/* The inside of pins, for pin.c, pin_prepare.c, quarantine.c, bounce.c, revoke.c, unshare.c and writeback.c. */
#ifndef PINFS_FS_PIN_I_H
#define PINFS_FS_PIN_I_H

#include "fs/content.h"

/* Flag of a live extent, beside those in live.h: it is write-pinned, and the durable
 * map has a block of its own there, with no other owner: what the next bounce displaces. */
#define LIVE_BACKED 0x80u
/* Its holder (FS_PINNED_HOLDER) went without unpinning: when the last pin is gone the file goes back to what is
 * durable. */
#define LIVE_REVERT 0x40u
/* A pin that is not cut has it. Only while revoke.c is at it. */
#define LIVE_STAYS 0x20u

/* A run of blocks that a pin fixed: they were the content of the file from fblk
 * on when it was taken. If the live map still has them there, the pin is counted in the extent;
 * if not, they are in quarantine. A block can't be anywhere else while it is pinned, so
 * this is all a pin has to know. */
struct pin_ext {
	fblk_t fblk;
	pblk_t pblk;         /* PBLK_NONE: a hole, nothing is fixed */
	uint64_t len;
};

/* What a live extent counts of a pin: one more read pin; or write pin, with what it wants of
 * writeback. */
enum pin_count { COUNT_READ, COUNT_BOUNCE, COUNT_WAIT, COUNT_FAIL, COUNT_SKIP, COUNT_HOLDER };

struct pin {
	RB_ENTRY(pin) link;            /* pin_table.pins */
	struct cds_list_head file_link; /* file->pins; P: layout lock exclusive */
	struct file *file;
	uint64_t id;
	int64_t since_ns;              /* CLOCK_MONOTONIC */
	uint64_t blocks;               /* charged to uid */
	uid_t uid;
	pid_t tgid;
	uint8_t class;                 /* enum pin_class */
	enum pin_count count;
	bool leased;                   /* long-term, and taken under a lease */
	bool cut;                      /* P: lease table lock; a layout operation has taken its blocks from the file */
	struct track *tracks;          /* track.c; P: layout lock exclusive */
	uint32_t next;                 /* elements of ext */
	struct pin_ext ext[];
};
RB_HEAD(pin_tree, pin);

/* Blocks that are in no file any more but still pinned. */
struct quarantined {
	RB_ENTRY(quarantined) link;    /* pin_table.quarantine, by block, without overlap */
	struct cds_list_head dead_link; /* pin_table.dead, when the last pin is gone */
	pblk_t pblk;
	uint64_t len;
	uint64_t txn;                  /* the durable map named it until this transaction; 0: never */
	uint32_t wpins, rpins;
	bool durable;                  /* the durable map still names it; if not, alloc_quarantine() was told */
	bool tainted;                  /* has to be punched out of the pool file before reuse */
};
RB_HEAD(quarantine_tree, quarantined);

/* pin_unshare under way: the durable map does not name these any more, the
 * committed root may. */
struct move {
	struct cds_list_head link;     /* pin_table.moves */
	uint64_t txn;
	struct pin_ext ext;
};

/* Blocks that the durable map has let go, kept for the next bounce; see bounce.c. */
struct spare {
	struct cds_list_head link;     /* pin_table.spares */
	pblk_t pblk;
	uint64_t len;
	uint64_t txn;                  /* may be stored to when this is committed */
};

struct pin_table {
	/* P: the inode's layout lock, exclusive to change */
	struct pin_tree pins;          /* by id */
	struct quarantine_tree quarantine;
	struct cds_list_head moves;
	struct cds_list_head tracks;   /* struct track; of all pins */
	uint64_t ntracks;              /* atomic */
	bool scanning;                 /* P: the tracker's lock */
	bool loose;                    /* atomic; pins that are cut may have blocks in the file: pin_detach() */

	uint64_t npins, nwpins;        /* atomic; pins, and how many of them for writing */
	uint64_t nwait;                /* atomic; with COUNT_WAIT */

	struct mtx lock;               /* LOCK_PINS; protects what follows */
	uint64_t bounced;              /* blocks in the live map that a writeback will bounce */
	uint64_t need;                 /* blocks that the reserve should have for them */
	uint64_t reserved;             /* the reserve: promised by the allocator, */
	uint64_t nspare;               /* blocks in spares, */
	uint64_t drawn;                /* and taken out by a writeback under way */
	struct cds_list_head spares;   /* struct spare; those that can be used first */
	struct cds_list_head syncs;    /* fsyncs that wait for pins; fsync.c */
	struct cds_list_head dead;     /* struct quarantined: to be freed by pin_settle() */
};

/* A block that writeback has to copy: DMA may store to it at any time. (That of a dax file is durable as it is.) */
static inline bool
live_bounced(const struct live_extent *e)
{
	return !(e->flags & LIVE_DAX) && (e->wpins > 0 || (e->flags & LIVE_TAINTED));
}

/* What is to be done about it: where pins differ, the first of FAIL, SKIP, WAIT, BOUNCE. (HOLDER is alone.) */
static inline enum fs_pinned
live_policy(const struct live_extent *e)
{
	return e->holder > 0 || (e->flags & LIVE_REVERT) ? FS_PINNED_HOLDER :
	    e->fail > 0 ? FS_PINNED_FAIL : e->skip > 0 ? FS_PINNED_SKIP :
	    e->wait > 0 ? FS_PINNED_WAIT : FS_PINNED_BOUNCE;
}

/* One pin more, or (by -1) less. */
static inline void
live_count(struct live_extent *e, enum pin_count count, int by)
{
	uint32_t one = (uint32_t)by;

	if (count == COUNT_READ)
		e->rpins += one;
	else
		e->wpins += one;
	e->wait += count == COUNT_WAIT ? one : 0;
	e->fail += count == COUNT_FAIL ? one : 0;
	e->skip += count == COUNT_SKIP ? one : 0;
	e->holder += count == COUNT_HOLDER ? one : 0;
}

static inline bool
live_pinned(const struct live_extent *e)
{
	return e->wpins > 0 || e->rpins > 0;
}

static inline bool
pin_longterm(const struct pin *pin)
{
	return pin->class != PIN_TRANSIENT;
}

/* pin.c */

/* fn for all pins of the inode, which has a table: layout lock shared. */
void pin_each(struct inode *i, void (*fn)(void *arg, struct pin *pin), void *arg);

/* The inode's table, made if there is none: layout lock exclusive. NULL: no memory. */
struct pin_table *pin_table_make(struct inode *i);
/* That of an inode, or NULL. The caller holds any of its locks, or does not mind a stale NULL. */
static inline struct pin_table *
pin_table(const struct inode *i)
{
	return __atomic_load_n(&i->pins, __ATOMIC_ACQUIRE);
}

/* The first one of the inode with an id above that, or NULL. Layout lock held. */
struct pin *pin_after(const struct inode *i, uint64_t id);
/* The pin of that open file, or NULL. Layout lock held. */
struct pin *pin_find(const struct file *f, uint64_t id);

/* fsync.c: a pin with COUNT_WAIT is gone. Layout lock exclusive. */
void fsync_pin_gone(struct pin_table *pt);

/* pin_prepare.c */

/* Bring the ranges of a pin into a state in which it only has to be counted: with the writeback and
 * the io lock of the inode held. Returns with the layout lock exclusive held and all boundaries of
 * the ranges split if it returns 0. CONTENT_UNSHARE, CONTENT_DAX: w tells what for. -EAGAIN:
 * other pins have changed meanwhile. */
int pin_prepare_layout_lock(struct inode *i, bool write, const struct pin_range *r, unsigned n,
    struct content_wait *w);

/* quarantine.c: the end of pins. Layout lock exclusive. */

/* One pin less on the blocks of x, wherever they are. taint: the holder has not said that it is done. */
void pin_release(struct inode *i, const struct pin_ext *x, enum pin_count count, bool taint);
/* extent_freed_fn for an inode with pins: the durable map lets go of a run. What is pinned stays
 * allocated; the rest goes on the list of spares, if it is to become one, or is freed with the
 * transaction. */
struct pin_freed {
	struct inode *inode;
	bool keep;
	struct cds_list_head spares; /* for bounce_keep() */
};
void pin_extent_freed(void *arg, struct txn *t, fblk_t fblk, pblk_t pblk, uint64_t n);
/* Is a block in quarantine that the durable map still names? Layout lock shared. */
bool pin_quarantine_durable(struct inode *i);
/* Blocks that writeback had taken by reference and that left the live map meanwhile
 * did not get into the durable map after all. */
void pin_not_durable(struct inode *i, const struct live_extent *part);
/* Free the blocks, which were tainted and never durable, when the kernel has let go of them. */
void pin_discard(struct inode *i, pblk_t pblk, uint64_t n);
/* Free what has become free. No lock but LOCK_WRITEBACK may be held. */
void pin_settle(struct inode *i);
/* Forget all entries: nobody is left to be protected from. */
void quarantine_clear(struct pin_table *pt);
/* How many of the n blocks, whose content is at fblk, the durable map names (*durable) or does not.
 * Layout lock shared. If it can't be read, all of them. */
uint64_t pin_durable_run(struct inode *i, fblk_t fblk, pblk_t pblk, uint64_t n, bool *durable);

/* revoke.c */

/* The blocks of pins that are cut leave the file, but for those in [keep, keep_end), and the file gets copies. What can't be
 * done now (others have them pinned, too) is left for later calls. No lock may be held. */
void pin_detach(struct inode *i, fblk_t keep, fblk_t keep_end);

/* unshare.c */

/* The transaction that has to be committed before the block may be stored to, 0 if there is none;
 * *n is cut to the blocks for which that holds alike. Layout lock shared. */
uint64_t pin_moved_txn(struct pin_table *pt, pblk_t pblk, uint64_t *n);

/* bounce.c: the reserve. Any lock up to LOCK_PINS may be held, except where it says otherwise. */

void bounce_init(struct pin_table *pt);
/* Blocks become, or cease to be, such as writeback bounces (under the layout lock exclusive). Blocks of
 * reserve that come with them are handed over as promised by the allocator. */
void bounce_join(struct pin_table *pt, uint64_t n, bool backed, uint64_t reserved);
void bounce_leave(struct inode *i, uint64_t n, bool backed);
/* They got a private durable copy, or lost it and `reserved` made up for it. */
void bounce_set_backed(struct pin_table *pt, uint64_t n);
void bounce_clear_backed(struct pin_table *pt, uint64_t n, uint64_t reserved);
/* Can all blocks be bounced now? -EAGAIN: when *txn is committed; -ENOSPC. */
int bounce_ready(struct inode *i, uint64_t *txn);
/* Take a run of up to want blocks out of the reserve; put it back unused; it is mapped. */
int bounce_draw(struct inode *i, uint64_t want, pblk_t *start, uint64_t *got);
void bounce_undraw(struct inode *i, pblk_t start, uint64_t n);
void bounce_used(struct inode *i, uint64_t n);
/* Displaced durable copies go into the reserve: a list of struct spare, which is taken over. */
void bounce_keep(struct pin_table *pt, struct cds_list_head *spares);
/* Give back what the reserve has too much. */
void bounce_trim(struct inode *i);
/* The same for what only a transaction can free. No lock but LOCK_WRITEBACK may be held. */
void bounce_settle(struct inode *i);

#endif
