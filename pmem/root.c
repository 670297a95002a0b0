/* SPDX-License-Identifier: BSD-3-Clause */
/* Two slots, written in turn: transaction n goes to slot n % 2, so the root of
 * transaction n-1 is untouched while that of n is being written. A slot that a
 * crash tore fails its CRC, and the other one is in force. What the newest slot
 * refers to was durable before the slot was written, so CRC and number are all that
 * decides which one counts.
 *
 * Which slot counts is settled before its contents are judged: a root of an unknown
 * kind, or one that makes no sense, is refused and not passed over in favour of an
 * older one whose blocks may have been reused.
 */
#include "pmem/pool_i.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "pmem/crc.h"
#include "pmem/log.h"

static bool
has_magic(const struct root_block *r)
{
	return memcmp(r->magic, POOL_MAGIC, sizeof(r->magic)) == 0;
}

static bool
crc_ok(const struct root_block *r)
{
	return r->crc == crc32c_block_but(r, offsetof(struct root_block, crc));
}

static bool
ref_ok(const struct node_ref *ref, uint64_t nblocks)
{
	if (ref->flags != 0)
		return false;
	if (ref->block == PBLK_NONE)
		return true;
	return ref->block >= POOL_FIRST_BLOCK && ref->block < nblocks;
}

/* NULL, or what is wrong. */
static const char *
judge(const struct root_block *r, uint64_t file_blocks)
{
	if (r->nblocks < POOL_MIN_BYTES >> BLK_SHIFT)
		return "its root names a size below the minimum";
	if (r->nblocks > file_blocks)
		return "it is shorter than its root says";
	if (r->ntrees != 1)
		return "its root has a wrong number of trees";
	if (!ref_ok(&r->tree[0], r->nblocks))
		return "its root refers to a block outside";
	if (r->next_ino <= INO_ROOT || r->next_ino > INO_MAX + 1)
		return "its root has a wrong inode number";
	if (r->data_blocks >= r->nblocks || r->node_blocks >= r->nblocks)
		return "its root counts more blocks than there are";
	if (memchr(r->label, 0, sizeof(r->label)) == NULL)
		return "its label has no end";
	return NULL;
}

int
root_mend(struct root_block *r, uint64_t file_blocks)
{
	if (r->next_ino <= INO_ROOT || r->next_ino > INO_MAX + 1)
		r->next_ino = INO_ROOT + 1;
	if (r->data_blocks >= r->nblocks)
		r->data_blocks = 0;
	if (r->node_blocks >= r->nblocks)
		r->node_blocks = 0;
	r->label[sizeof(r->label) - 1] = '\0';
	return judge(r, file_blocks) ? -EIO : 0;
}

int
root_read(const void *base, uint64_t file_blocks, uint64_t incompat, struct root_block *out, const char **why)
{
	struct root_block slot[ROOT_SLOTS];
	const struct root_block *best = NULL;
	unsigned magic = 0, foreign = 0, valid = 0;

	*why = "it is too small to be a pool";
	if (file_blocks < ROOT_SLOTS)
		return -EINVAL;
	memcpy(slot, base, sizeof(slot));
	for (unsigned i = 0; i < ROOT_SLOTS; i++) {
		if (!has_magic(&slot[i]))
			continue;
		magic++;
		/* Every version keeps magic, version and CRC where they are. */
		if (!crc_ok(&slot[i]))
			continue;
		if (slot[i].version != POOL_VERSION) {
			foreign++;
		} else if (slot[i].txn % ROOT_SLOTS == i) {
			valid++;
			if (!best || slot[i].txn > best->txn)
				best = &slot[i];
		}
	}
	*why = "it is not a pinfs pool";
	if (magic == 0)
		return -EINVAL;
	*why = "its format version is not known to this program";
	if (foreign > 0)
		return -EPROTONOSUPPORT;
	*why = "none of its root blocks is valid";
	if (!best)
		return -EIO;
	if (valid < ROOT_SLOTS)
		pinfs_log(LOG_NOTICE, "root slot %u is not valid: the root is that of transaction %llu",
		    best == slot ? 1u : 0u, (unsigned long long)best->txn);
	*why = "its root blocks belong to different pools";
	if (valid == ROOT_SLOTS && memcmp(slot[0].uuid, slot[1].uuid, sizeof(slot[0].uuid)) != 0)
		return -EIO;
	*out = *best;
	*why = "it has a feature that is not known to this program";
	if (out->feature_incompat & FEATURE_INCOMPAT_IMAGE)
		*why = "it is the image of a pool's metadata, which can only be checked: fsck.pinfs -n";
	if (out->feature_incompat & ~incompat)
		return -EPROTONOSUPPORT;
	*why = judge(out, file_blocks);
	return *why ? -EIO : 0;
}

uint32_t
pool_node_owner(const struct root_block *r)
{
	return crc32c_more(crc32c(r->uuid, sizeof(r->uuid)), r->hash_seed, sizeof(r->hash_seed));
}

int
root_store(struct domain *d, void *base, struct root_block *r)
{
	struct root_block *slot = (struct root_block *)base + r->txn % ROOT_SLOTS;
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	r->commit_time_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	r->crc = crc32c_block_but(r, offsetof(struct root_block, crc));
	domain_copy(d, slot, r, sizeof(*r));
	return domain_flush_range(d, slot, sizeof(*slot));
}

int
root_write(struct pool *p, struct root_block *r)
{
	int ret = root_store(p->domain, p->base, r);

	if (ret < 0) {
		pinfs_log(LOG_ERR, "%s: root of transaction %llu could not be written", p->path,
		    (unsigned long long)r->txn);
		return ret;
	}
	mtx_lock(&p->root_lock);
	p->root = *r;
	mtx_unlock(&p->root_lock);
	return 0;
}
