/* SPDX-License-Identifier: BSD-3-Clause */
/* Every block of the file says who it is. One process changes the layout, over and over; the other pins and maps
 * the first blocks and looks whether what it has got is one layout. */
#include <linux/falloc.h>

#include "tests/scenarios/scenario.h"

#define NBLOCKS 16u
#define LOOK 12u
#define ROUNDS 400

enum op { TRUNCATE, PUNCH, SHIFT, EXCHANGE, OPS };
static const char *const op_name[] = { "truncate", "punch", "collapse/insert", "exchange" };

struct changer {
	struct turns t;
	enum op op;
};

static uint64_t page[NBLOCKS][BLOCK / 8];

static void
write_blocks(int fd, unsigned from, unsigned n, uint64_t base)
{
	for (unsigned k = 0; k < n; k++)
		for (unsigned w = 0; w < BLOCK / 8; w++)
			page[k][w] = base + from + k;
	must(pwrite(fd, page, (size_t)n * BLOCK, (off_t)from * BLOCK) == (ssize_t)((size_t)n * BLOCK), "write");
}

static void
range_ioctl(int fd, unsigned long req, unsigned from, unsigned n)
{
	struct pinfs_range r = { .size = sizeof(r), .off = (uint64_t)from * BLOCK, .len = (uint64_t)n * BLOCK };

	must(ioctl(fd, req, &r) == 0, "collapse or insert");
}

static void
exchange(int fd, int other)
{
	struct pinfs_offer o = { .size = sizeof(o) };
	struct pinfs_exchange x = { .size = sizeof(x), .off = 4 * BLOCK, .len = 4 * BLOCK, .other_off = 4 * BLOCK };

	must(ioctl(other, PINFS_IOC_OFFER, &o) == 0, "offer");
	memcpy(x.token, o.token, sizeof(x.token));
	must(ioctl(fd, PINFS_IOC_EXCHANGE, &x) == 0, "exchange");
}

static void
change(void *arg)
{
	struct changer *c = arg;
	int fd = open_in("layout", O_RDWR), other = open_in("other", O_RDWR);

	for (int k = 0; !turn_ready(&c->t, 1, 0); k++) {
		switch (c->op) {
		case TRUNCATE:
			must(ftruncate(fd, 6 * BLOCK) == 0 && ftruncate(fd, NBLOCKS * BLOCK) == 0, "truncate");
			write_blocks(fd, 6, NBLOCKS - 6, 1);
			break;
		case PUNCH:
			must(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4 * BLOCK, 4 * BLOCK) == 0, "punch");
			write_blocks(fd, 4, 4, 1);
			break;
		case SHIFT:
			range_ioctl(fd, PINFS_IOC_COLLAPSE, 5, 1);
			range_ioctl(fd, PINFS_IOC_INSERT, 5, 1);
			break;
		default:
			exchange(fd, other);
			break;
		}
		if (k % 3 == 0)
			must(fsync(fd) == 0, "fsync");
	}
}

/* All words of a block say the same. */
static bool
one_block(const uint64_t *p, uint64_t *who)
{
	*who = p[0];
	for (unsigned w = 1; w < BLOCK / 8; w++)
		if (p[w] != p[0])
			return false;
	return true;
}

/* Blocks are numbered from 1; 0 is a hole. */
static bool
is_layout(enum op op, const uint64_t *who)
{
	bool old = true, new = true;

	for (unsigned k = 0; k < LOOK; k++) {
		uint64_t was = k + 1, is = was;

		switch (op) {
		case TRUNCATE: is = k < 6 ? was : 0; break;
		case PUNCH: is = k >= 4 && k < 8 ? 0 : was; break;
		case SHIFT: /* a hole from the first insert on; shifted or not */
			was = k == 5 ? 0 : k + 1;
			is = k < 5 ? k + 1 : k + 2;
			break;
		default: is = k >= 4 && k < 8 ? 101 + k : was; break;
		}
		old &= who[k] == was;
		new &= who[k] == is;
	}
	return old || new;
}

int
main(int argc, char **argv)
{
	unsigned looks = 0, refused = 0;
	int fd, other;

	scenario_begin(argc, argv);
	for (enum op op = 0; op < OPS; op++) {
		struct changer c = { .op = op };
		pid_t pid;

		fd = make_file("layout", NBLOCKS, 0);
		other = make_file("other", NBLOCKS, 0);
		write_blocks(fd, 0, NBLOCKS, 1);
		write_blocks(other, 0, NBLOCKS, 101);
		if (op == SHIFT) {
			range_ioctl(fd, PINFS_IOC_COLLAPSE, 5, 1);
			range_ioctl(fd, PINFS_IOC_INSERT, 5, 1);
		}
		turns_init(&c.t);
		pid = child(change, &c);
		for (int k = 0; k < ROUNDS; k++) {
			struct pinfs_pin_range range = { .off = 0, .len = LOOK * BLOCK };
			struct pinfs_map_options o = { .size = sizeof(o), .flags = PINFS_MAP_READ,
				.pin_class = PINFS_PIN_TRANSIENT, .nranges = 1, .ranges = &range };
			uint64_t who[LOOK];
			struct pinfs_map *m;
			int r = pinfs_map_with(fd, &o, &m);

			if (r == -EAGAIN || r == -EINVAL) {
				refused++;
				continue;
			}
			must(r == 0, "map: %s", pinfs_strerror(r));
			for (unsigned b = 0; b < LOOK; b++)
				must(one_block((uint64_t *)pinfs_addr(m) + b * (BLOCK / 8), &who[b]), "%s: block %u is torn",
				    op_name[op], b);
			if (!is_layout(op, who)) {
				for (unsigned b = 0; b < LOOK; b++)
					printf("%llu ", (unsigned long long)who[b]);
				printf("\n");
				seen(false, "%s: half of two layouts, in round %d", op_name[op], k);
			}
			looks++;
			must(pinfs_unmap(m) == 0, "unmap");
		}
		turn_give(&c.t, 0, 's');
		must(reap(pid) == 0, "%s failed", op_name[op]);
		close(fd);
		close(other);
	}
	seen(looks > 0, "%u looks, each one layout; %u refused", looks, refused);
}
