/* SPDX-License-Identifier: BSD-3-Clause */
/* Writing a metadata image.
 *
 * The walk lists the nodes, parents before their children. They are copied in the opposite order, each into its own
 * block of the image; so when a parent's turn comes, the checksums of its children are known. Without
 * hiding, the copies are true to the byte. If the tree is damaged, what the damage hides is of interest,
 * too: then damaged nodes and every other block that says it is a node of this pool are copied with it.
 *
 * To hide names, the values of items are rewritten in place, with the same lengths, so that the shape of
 * the tree stays what it is; bytes of nodes that no item uses are zeroed, since old names lie there. The keys stay
 * as well, though they contain hashes of names; but the key of the hash is replaced by a random one. A node
 * that is damaged can't be relied on to show all of its names, and is left out.
 *
 * The root says that this is an image (FEATURE_INCOMPAT_IMAGE), and whether names fit their hashes
 * (FEATURE_INCOMPAT_HIDDEN).
 */
#include "fs/image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "fs/siphash.h"
#include "pmem/crc.h"

#define PHASE "image"

struct listed {
	pblk_t block;
	uint32_t crc;   /* of the copy, once it is made */
};

struct image {
	struct pool *pool;
	int fd;
	const struct image_options *opt;
	struct image_result *res;
	struct root_block root;   /* as it will be */
	uint32_t owner;           /* of the copies */
	uint64_t hide_key[2];
	struct listed *node;      /* by walk; sorted by block when all copies are made */
	size_t n, space;
	struct listed *done;      /* sound ones that were copied, by block */
	size_t ndone;
};

static int
write_block(struct image *im, pblk_t b, const void *data)
{
	const char *at = data;
	size_t left = BLK_SIZE;

	while (left > 0) {
		ssize_t n = pwrite(im->fd, at, left, (off_t)((b << BLK_SHIFT) + (BLK_SIZE - left)));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += n;
		left -= (size_t)n;
	}
	return 0;
}

/* ---- hiding ------------------------------------------------------------------------ */

/* Letters that depend on all of the name. */
static void
hide_name(const struct image *im, unsigned char *name, size_t len)
{
	uint64_t h = siphash24(im->hide_key, name, len);

	for (size_t k = 0; k < len; k++) {
		name[k] = (unsigned char)('a' + h % 26);
		h = h / 26 ? h / 26 : siphash24(im->hide_key, name, k + 1);
	}
}

/* The namespace is no secret, and what an attribute is for may matter. */
static size_t
namespace_len(const unsigned char *name, size_t len)
{
	static const char *const spaces[] = { "user.", "trusted.", "security.", "system." };

	for (unsigned k = 0; k < sizeof(spaces) / sizeof(spaces[0]); k++)
		if (len > strlen(spaces[k]) && memcmp(name, spaces[k], strlen(spaces[k])) == 0)
			return strlen(spaces[k]);
	return 0;
}

static void
hide_xattr(const struct image *im, struct tree_key key, unsigned char *value, size_t len)
{
	size_t namelen = 0, keep;

	if (len < XATTR_ITEM_HEAD)
		return;
	if ((key.lo & 0xff) == 0)
		namelen = min_of((size_t)value[offsetof(struct xattr_item, namelen)], len - XATTR_ITEM_HEAD);
	keep = namespace_len(value + XATTR_ITEM_HEAD, namelen);
	hide_name(im, value + XATTR_ITEM_HEAD + keep, namelen - keep);
	memset(value + XATTR_ITEM_HEAD + namelen, 'x', len - XATTR_ITEM_HEAD - namelen);
}

static void
hide_value(const struct image *im, struct tree_key key, unsigned char *value, size_t len)
{
	switch (tree_key_type(key)) {
	case ITEM_INODE:
	case ITEM_EXTENT:
	case ITEM_REFCOUNT:
	case ITEM_ORPHAN:
		break;
	case ITEM_DIRENT:
		if (len > DIRENT_ITEM_HEAD)
			hide_name(im, value + DIRENT_ITEM_HEAD, len - DIRENT_ITEM_HEAD);
		break;
	case ITEM_XATTR:
		hide_xattr(im, key, value, len);
		break;
	default: /* a symlink, or what nobody knows */
		memset(value, 'x', len);
	}
}

/* A copy of a sound leaf with nothing in it but its items, hidden. */
static void
hide_leaf(const struct image *im, const struct node_header *leaf, unsigned char *copy)
{
	memset(copy, 0, BLK_SIZE);
	memcpy(copy, leaf, sizeof(*leaf) + leaf->nr * sizeof(struct leaf_slot));
	for (unsigned k = 0; k < leaf_count(leaf); k++) {
		struct tree_key key;
		const void *value;
		size_t len, off;

		leaf_item(leaf, k, &key, &value, &len);
		off = (size_t)((const unsigned char *)value - (const unsigned char *)leaf);
		if (len == 0)
			continue;
		memcpy(copy + off, value, len);
		hide_value(im, key, copy + off, len);
	}
}

/* ---- copying ------------------------------------------------------------------------ */

static int
cmp_listed(const void *a, const void *b)
{
	const struct listed *x = a, *y = b;

	return x->block < y->block ? -1 : x->block > y->block;
}

/* The children have other checksums now; damaged ones, which are not in the image, keep theirs. */
static void
hide_inner(const struct image *im, const struct node_header *inner, unsigned char *copy)
{
	struct inner_slot *slot;

	memset(copy, 0, BLK_SIZE);
	memcpy(copy, inner, sizeof(*inner) + inner->nr * sizeof(*slot));
	slot = (struct inner_slot *)(void *)(copy + sizeof(*inner));
	for (unsigned k = 0; k < inner->nr; k++) {
		struct listed want = { .block = slot[k].child.block };
		const struct listed *l = bsearch(&want, im->done, im->ndone, sizeof(want), cmp_listed);

		if (l)
			slot[k].child.crc = l->crc;
	}
}

static int
copy_node(struct image *im, struct listed *l)
{
	const struct node_header *n = pool_block(im->pool, l->block);
	_Alignas(struct node_header) unsigned char copy[BLK_SIZE];

	if (!im->opt->hide_names) {
		memcpy(copy, n, BLK_SIZE);
	} else if (n->level == 0) {
		hide_leaf(im, n, copy);
	} else {
		hide_inner(im, n, copy);
	}
	if (im->opt->hide_names)
		((struct node_header *)(void *)copy)->owner = im->owner;
	l->crc = crc32c(copy, BLK_SIZE);
	im->res->nodes++;
	return write_block(im, l->block, copy);
}

static int
list_node(void *arg, const struct tree_walk_node *wn)
{
	struct image *im = arg;

	if (wn->error) {
		im->res->damaged++;
		if (im->opt->hide_names || wn->block >= pool_nblocks(im->pool))
			return 0;
		return write_block(im, wn->block, pool_block(im->pool, wn->block));
	}
	if (im->n == im->space) {
		size_t space = im->space ? 2 * im->space : 256;
		struct listed *grown = reallocarray(im->node, space, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		im->node = grown;
		im->space = space;
	}
	im->node[im->n++] = (struct listed){ .block = wn->block };
	return 0;
}

/* Children come before their parents, level by level: those of one level are sorted by block when the
 * next is begun, so that a parent finds them. */
static int
copy_nodes(struct image *im)
{
	unsigned levels = 0;
	int r = 0;

	im->done = calloc(im->n + 1, sizeof(*im->done));
	if (!im->done)
		return -ENOMEM;
	for (size_t k = 0; k < im->n; k++) {
		const struct node_header *n = pool_block(im->pool, im->node[k].block);

		levels = max_of(levels, n->level + 1u);
	}
	for (unsigned level = 0; level < levels && r == 0; level++) {
		size_t below = im->ndone;

		for (size_t k = 0; k < im->n && r == 0; k++) {
			struct listed *l = &im->node[k];

			if (((const struct node_header *)pool_block(im->pool, l->block))->level != level)
				continue;
			r = copy_node(im, l);
			if (r == 0 && im->opt->progress && im->res->nodes % 256 == 0 &&
			    im->opt->progress(im->opt->arg, PHASE, im->res->nodes, im->n))
				r = -ECANCELED;
			/* Beyond those that are sorted: bsearch does not look there. */
			im->done[below++] = *l;
		}
		im->ndone = below;
		qsort(im->done, im->ndone, sizeof(*im->done), cmp_listed);
	}
	return r;
}

/* What no sound node leads to. */
static int
copy_strays(struct image *im)
{
	int r = 0;

	for (pblk_t b = POOL_FIRST_BLOCK; b < pool_nblocks(im->pool) && r == 0; b++) {
		const struct node_header *n = pool_block(im->pool, b);
		struct listed want = { .block = b };

		if (n->magic != NODE_MAGIC || n->owner != im->owner || n->block != b ||
		    bsearch(&want, im->done, im->ndone, sizeof(want), cmp_listed))
			continue;
		r = write_block(im, b, n);
		im->res->nodes++;
	}
	return r;
}

/* ---- roots ---------------------------------------------------------------------------- */

static int
make_root(struct image *im)
{
	pool_root(im->pool, &im->root);
	im->root.feature_incompat |= FEATURE_INCOMPAT_IMAGE;
	im->owner = pool_node_owner(&im->root);
	if (!im->opt->hide_names)
		return 0;
	im->root.feature_incompat |= FEATURE_INCOMPAT_HIDDEN;
	memset(im->root.label, 0, sizeof(im->root.label));
	if (getrandom(im->root.hash_seed, sizeof(im->root.hash_seed), 0) != (ssize_t)sizeof(im->root.hash_seed) ||
	    getrandom(im->hide_key, sizeof(im->hide_key), 0) != (ssize_t)sizeof(im->hide_key))
		return -EIO;
	im->owner = pool_node_owner(&im->root);
	return 0;
}

/* The root in force goes to its slot. The other one is of interest if it is damaged; but it has a label. */
static int
write_roots(struct image *im)
{
	unsigned slot = im->root.txn % ROOT_SLOTS, other = 1 - slot;
	struct root_block r;
	int ret;

	for (size_t k = 0; k < im->ndone; k++)
		if (im->done[k].block == im->root.tree[0].block)
			im->root.tree[0].crc = im->done[k].crc;
	im->root.crc = crc32c_block_but(&im->root, offsetof(struct root_block, crc));
	ret = write_block(im, slot, &im->root);
	if (ret < 0)
		return ret;
	memcpy(&r, pool_block(im->pool, other), sizeof(r));
	if (r.crc == crc32c_block_but(&r, offsetof(struct root_block, crc))) {
		/* Sound, and older: what it led to is not in the image. */
		uint64_t txn = r.txn;

		r = im->root;
		r.txn = txn;
		r.tree[0] = (struct node_ref){ .block = PBLK_NONE };
		r.crc = crc32c_block_but(&r, offsetof(struct root_block, crc));
	} else if (im->opt->hide_names) {
		return 0;
	}
	return write_block(im, other, &r);
}

int
image_write(struct pool *p, int fd, const struct image_options *opt, struct image_result *res)
{
	struct image im = { .pool = p, .fd = fd, .opt = opt, .res = res };
	int r;

	memset(res, 0, sizeof(*res));
	r = make_root(&im);
	if (r == 0 && ftruncate(fd, (off_t)(pool_nblocks(p) << BLK_SHIFT)) < 0)
		r = -errno;
	if (r == 0)
		r = tree_walk(p, list_node, &im);
	if (r == 0)
		r = copy_nodes(&im);
	if (r == 0 && res->damaged > 0 && !opt->hide_names)
		r = copy_strays(&im);
	if (r == 0)
		r = write_roots(&im);
	free(im.node);
	free(im.done);
	return r;
}
