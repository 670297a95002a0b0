/* SPDX-License-Identifier: BSD-3-Clause */
/* Repair of pools with random damage: bits, blocks and fields of metadata, with checksums put right again or
 * not. It never crashes, never hangs, and ends with a pool that checks clean, stays as it is at a second run, and
 * mounts.
 *
 * ROUNDS pools in each test, or PINFS_RANDOM_ROUNDS; PINFS_RANDOM_SEED begins elsewhere. A failure
 * names its seed; PINFS_RANDOM_KEEP=FILE keeps the pool as it was before the repair. */
#include "tests/unit/unit_damage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pmem/crc.h"
#include "pmem/node.h"
#include "tests/unit/unit_repair.h"

#define ROUNDS 40u
#define TESTS 6
#define POOL_MIB 4u
#define NODES_MAX 256u

/* The pool that is damaged, again and again. */
struct image {
	const char *path;
	unsigned char *sound; /* its bytes */
	size_t len;
};

struct victim {
	unsigned char *base;
	uint64_t nblocks;
	pblk_t node[NODES_MAX];
	unsigned nnodes;
	uint64_t seed;
};

static uint64_t
below(struct victim *v, uint64_t n)
{
	return unit_random(&v->seed) % n;
}

/* ---- a pool --------------------------------------------------------------------------- */

static void
fill_pool(struct fs *fs, bool deep)
{
	struct inode *root, *dir, *i;
	char name[80], value[1500];
	struct file *f, *to;

	memset(value, 'v', sizeof(value));
	value[sizeof(value) - 1] = '\0'; /* a symlink's target, too */
	ck_assert_ok(inode_get(fs, INO_ROOT, &root));
	for (unsigned d = 0; d < (deep ? 12u : 2u); d++) {
		snprintf(name, sizeof(name), "directory-%u", d);
		ck_assert_ok(fs_mkdir(fs, root, name, 0755, &unit_cred, &dir));
		for (unsigned n = 0; n < 8; n++) {
			snprintf(name, sizeof(name), "file-%u-in-directory-%u", n, d);
			ck_assert_ok(fs_create(fs, dir, name, S_IFREG | 0644, 0, &unit_cred, &i));
			ck_assert_ok(fs_open(fs, i, O_RDWR, &unit_cred, &f));
			unit_fill(f, n % 3 * BLK_SIZE, 1000 + 3000 * n, (uint8_t)(d + n));
			if (n == 0)
				ck_assert_ok(fs_fallocate(f, FALLOC_FL_KEEP_SIZE, 10 * BLK_SIZE, 5 * BLK_SIZE));
			if (n == 1)
				ck_assert_ok(fs_setxattr(fs, i, "user.some", value, d % 2 ? sizeof(value) : 20, 0,
				    &unit_cred));
			fs_release(f);
			inode_put(i);
		}
		ck_assert_ok(fs_symlink(fs, dir, "symlink", d % 2 ? "../over/there" : value + 200, &unit_cred, &i));
		ck_assert_ok(fs_link(fs, i, root, name));
		inode_put(i);
		inode_put(dir);
		ck_assert_ok(fs_sync(fs));
	}
	inode_put(root);
	f = unit_file(fs, "source", O_RDWR);
	to = unit_file(fs, "clone", O_RDWR);
	unit_fill(f, 0, 20 * BLK_SIZE, 'c');
	ck_assert_ok(fs_fsync_wait(fs, f->inode, false));
	ck_assert_ok(fs_clone_range(f, 0, to, 5 * BLK_SIZE, 10 * BLK_SIZE));
	fs_release(f);
	fs_release(to);
}

static struct image
make_image(bool deep)
{
	struct image im = { .path = unit_mkpool(POOL_MIB), .len = (size_t)POOL_MIB << 20 };
	struct fs *fs = unit_mount(im.path);
	int fd;

	fill_pool(fs, deep);
	ck_assert_ok(fs_umount(fs));
	im.sound = malloc(im.len);
	ck_assert_ptr_nonnull(im.sound);
	fd = open(im.path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(read(fd, im.sound, im.len), (ssize_t)im.len);
	close(fd);
	return im;
}

/* ---- damage ------------------------------------------------------------------------------ */

static struct root_block *
root_of(struct victim *v)
{
	struct root_block *slot = (struct root_block *)(void *)v->base;

	return slot[0].txn > slot[1].txn ? &slot[0] : &slot[1];
}

static struct node_header *
node_at(struct victim *v, pblk_t b)
{
	return b >= POOL_FIRST_BLOCK && b < v->nblocks ? (struct node_header *)(void *)(v->base + b * BLK_SIZE) : NULL;
}

/* All nodes below a ref, and with fix set, checksums bottom up. */
static void
walk(struct victim *v, struct node_ref *ref, int depth, bool fix)
{
	struct node_header *n = node_at(v, ref->block);

	if (!n || depth == 0)
		return;
	if (!fix && v->nnodes < NODES_MAX)
		v->node[v->nnodes++] = ref->block;
	for (unsigned k = 0; n->magic == NODE_MAGIC && n->level > 0 && k < min_of(n->nr, INNER_SLOTS_MAX); k++)
		walk(v, &inner_slots(n)[k].child, depth - 1, fix);
	if (fix)
		ref->crc = crc32c(n, BLK_SIZE);
}

static void
put_checksums_right(struct victim *v)
{
	struct root_block *root = root_of(v);

	walk(v, &root->tree[0], 4, true);
	root->crc = crc32c_block_but(root, offsetof(struct root_block, crc));
}

static unsigned char *
random_node(struct victim *v)
{
	return v->base + v->node[below(v, v->nnodes)] * BLK_SIZE;
}

/* Within a value: what the checks of nodes don't see. */
static void
hurt_value(struct victim *v)
{
	struct node_header *n = (struct node_header *)(void *)random_node(v);
	struct leaf_slot *slot;
	unsigned char *byte;

	if (n->magic != NODE_MAGIC || n->level > 0 || n->nr == 0 || n->nr > 100)
		return;
	slot = &leaf_slots(n)[below(v, n->nr)];
	if (slot->len == 0 || slot->off + slot->len > BLK_SIZE)
		return;
	byte = (unsigned char *)n + slot->off + below(v, min_of(slot->len, 130));
	switch (below(v, 4)) {
	case 0:
		*byte ^= (unsigned char)(1u << below(v, 8));
		break;
	case 1:
		*byte = (unsigned char)below(v, 256);
		break;
	case 2:
		memset((unsigned char *)n + slot->off, below(v, 2) ? 0 : 0xff, slot->len);
		break;
	default:
		*byte = (unsigned char)(*byte + 1);
	}
}

/* A key changes so that the order stays, as far as that is possible. */
static void
hurt_key(struct victim *v)
{
	struct node_header *n = (struct node_header *)(void *)random_node(v);
	struct leaf_slot *slot;

	if (n->magic != NODE_MAGIC || n->level > 0 || n->nr == 0 || n->nr > 100)
		return;
	slot = &leaf_slots(n)[below(v, n->nr)];
	if (below(v, 2))
		slot->lo += 1 + below(v, 3);
	else
		slot->hi ^= 1ull << below(v, 12);
}

static void
hurt_anything(struct victim *v)
{
	unsigned char *block = random_node(v), *other = random_node(v), copy[BLK_SIZE];

	switch (below(v, 7)) {
	case 0:
	case 1:
		block[below(v, BLK_SIZE)] ^= (unsigned char)(1u << below(v, 8));
		break;
	case 2:
		memset(block, 0, BLK_SIZE);
		break;
	case 3:
		for (unsigned k = 0; k < BLK_SIZE; k++)
			block[k] = (unsigned char)below(v, 256);
		break;
	case 4:
		memcpy(copy, block, BLK_SIZE);
		memcpy(block, other, BLK_SIZE);
		memcpy(other, copy, BLK_SIZE);
		break;
	case 5:
		block[below(v, 64)] ^= (unsigned char)(1u << below(v, 8)); /* header, first slot */
		break;
	default: /* content, or an old node */
		v->base[POOL_FIRST_BLOCK * BLK_SIZE + below(v, (v->nblocks - POOL_FIRST_BLOCK) * BLK_SIZE)] ^= 0x40;
	}
}

/* Figures of the root, possible and impossible ones. */
static void
hurt_root(struct victim *v)
{
	struct root_block *r = root_of(v);

	switch (below(v, 4)) {
	case 0:
		r->ninodes = below(v, 1000);
		memset(r->label, 'x', below(v, 2) * sizeof(r->label));
		break;
	case 1:
		r->data_blocks = below(v, 2 * v->nblocks);
		break;
	case 2:
		r->node_blocks = below(v, 2) ? below(v, v->nblocks) : UINT64_MAX;
		break;
	default:
		r->next_ino = below(v, 2) ? below(v, 100) : UINT64_MAX - below(v, 100);
	}
}

static void
hurt(struct victim *v)
{
	unsigned times = 1 + (unsigned)below(v, below(v, 4) ? 4 : 30);

	for (unsigned k = 0; k < times; k++) {
		switch (below(v, 8)) {
		case 0:
			hurt_root(v);
			break;
		case 1:
			hurt_key(v);
			break;
		case 2:
			hurt_anything(v);
			break;
		default:
			hurt_value(v);
		}
	}
	put_checksums_right(v);
	for (uint64_t k = below(v, 3); k > 1; k--)
		hurt_anything(v);
}

/* ---- a round ------------------------------------------------------------------------------- */

static void
write_image(const struct image *im, uint64_t seed)
{
	int fd = open(im->path, O_RDWR | O_CLOEXEC);
	struct victim v = { .nblocks = im->len / BLK_SIZE, .seed = seed };

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite(fd, im->sound, im->len, 0), (ssize_t)im->len);
	v.base = mmap(NULL, im->len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(v.base, MAP_FAILED);
	close(fd);
	walk(&v, &root_of(&v)->tree[0], 4, false);
	hurt(&v);
	munmap(v.base, im->len);
	if (getenv("PINFS_RANDOM_KEEP"))
		unit_copy(im->path, getenv("PINFS_RANDOM_KEEP"));
}

START_TEST(random_damage_is_repaired)
{
	const char *rounds = getenv("PINFS_RANDOM_ROUNDS"), *first = getenv("PINFS_RANDOM_SEED");
	uint64_t n = rounds ? strtoull(rounds, NULL, 0) : ROUNDS;
	uint64_t seed = (first ? strtoull(first, NULL, 0) : 1) + (uint64_t)_i * n;
	struct image im = make_image(_i % 2);
	struct repair_result rep;
	struct unit_told told;
	int r;

	for (uint64_t end = seed + n; seed < end; seed++) {
		write_image(&im, seed * 0x9e3779b97f4a7c15u);
		fprintf(stderr, "seed %llu\n", (unsigned long long)seed);
		r = unit_try_repair(im.path, (enum check_data)(seed % 3), &told, &rep);
		if (r != 0 || rep.left > 0) { /* once more, in words */
			write_image(&im, seed * 0x9e3779b97f4a7c15u);
			setenv("PINFS_TEST_VERBOSE", "1", 1);
			unit_try_repair(im.path, (enum check_data)(seed % 3), &told, &rep);
		}
		ck_assert_msg(r == 0, "seed %llu: %s", (unsigned long long)seed, strerror(-r));
		ck_assert_msg(rep.left == 0, "seed %llu: %llu errors are left", (unsigned long long)seed,
		    (unsigned long long)rep.left);
		unit_is_repaired(im.path);
	}
	free(im.sound);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("repair_random");
	TCase *t = tcase_create("random");

	tcase_set_timeout(t, 3600);
	tcase_add_loop_test(t, random_damage_is_repaired, 0, TESTS);
	suite_add_tcase(s, t);
	return unit_main(s);
}
