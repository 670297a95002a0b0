/* SPDX-License-Identifier: BSD-3-Clause */
/* mkfs.pinfs: make a pool, with an empty root directory, in a file or on a device. */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "fs/fs.h"
#include "pmem/size.h"

static const char prog[] = "mkfs.pinfs";

static void
help(void)
{
	printf("Usage: %s [OPTION]... POOL\n"
	       "Make a pinfs pool in POOL: a new file, a file of fixed size, or a device.\n"
	       "\n"
	       "  -s, --size=SIZE     size of the pool, such as 512M or 1G; needed for a new file,\n"
	       "                      otherwise the size that POOL has\n"
	       "  -f, --force         overwrite a pool or any other content of POOL\n"
	       "  -L, --label=LABEL   a name, at most 63 bytes\n"
	       "  -U, --uuid=UUID     instead of a random one\n"
	       "      --sparse        don't allocate the file's blocks now\n"
	       "  -q, --quiet         say nothing unless it fails\n"
	       "      --help          show this\n"
	       "      --version       show the version\n"
	       "\n"
	       "Example: %s -s 1G /dev/shm/pool && pinfs /dev/shm/pool /mnt\n",
	    prog, prog);
}

static int
parse_uuid(const char *text, uint8_t uuid[16])
{
	static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
	unsigned nibble = 0;

	if (strlen(text) != sizeof(form) - 1)
		return -EINVAL;
	for (size_t i = 0; i < sizeof(form) - 1; i++) {
		char digit[2] = { text[i], '\0' };
		unsigned v;
		char *end;

		if (form[i] == '-') {
			if (text[i] != '-')
				return -EINVAL;
			continue;
		}
		v = (unsigned)strtoul(digit, &end, 16);
		if (*end || end == digit)
			return -EINVAL;
		if (nibble % 2 == 0)
			uuid[nibble / 2] = (uint8_t)(v << 4);
		else
			uuid[nibble / 2] |= (uint8_t)v;
		nibble++;
	}
	return 0;
}

static void
progress(void *arg, uint64_t done, uint64_t total)
{
	struct cli_progress *p = arg;

	p->total = total;
	cli_progress_update(p, done);
}

static void
report(const char *path, const char *label)
{
	struct pool_options po = { .flags = POOL_RDONLY, .domain = -1 };
	struct pool_error err = { "" };
	struct root_block root;
	struct pool *pool;
	char size[16], uuid[37];

	if (pool_open(&pool, path, &po, &err) < 0)
		return; /* it was made; that somebody has mounted it already is no failure */
	pool_root(pool, &root);
	printf("%s: %s, %llu blocks of %u bytes, domain %s\n", path,
	    cli_size(size, root.nblocks << BLK_SHIFT), (unsigned long long)root.nblocks, BLK_SIZE,
	    domain_name(domain_kind(pool_domain(pool))));
	printf("UUID %s%s%s\n", cli_uuid(uuid, root.uuid), label ? ", label " : "", label ? label : "");
	pool_close(pool);
}

int
main(int argc, char **argv)
{
	enum { OPT_HELP = 256, OPT_VERSION, OPT_SPARSE };
	static const struct option longopts[] = {
		{ "size", required_argument, NULL, 's' },
		{ "force", no_argument, NULL, 'f' },
		{ "label", required_argument, NULL, 'L' },
		{ "uuid", required_argument, NULL, 'U' },
		{ "sparse", no_argument, NULL, OPT_SPARSE },
		{ "quiet", no_argument, NULL, 'q' },
		{ "help", no_argument, NULL, OPT_HELP },
		{ "version", no_argument, NULL, OPT_VERSION },
		{ NULL, 0, NULL, 0 },
	};
	struct mkfs_options opt = { 0 };
	struct pool_error err = { "" };
	struct cli_progress bar;
	uint8_t uuid[16];
	bool quiet = false;
	const char *why;
	int c, r;

	while ((c = getopt_long(argc, argv, "s:fL:U:q", longopts, NULL)) != -1) {
		switch (c) {
		case 's':
			if (size_parse(optarg, &opt.bytes, &why) < 0) {
				cli_usage_error(prog, "size '%s': %s", optarg, why);
				return 2;
			}
			if (opt.bytes < POOL_MIN_BYTES) {
				cli_usage_error(prog, "size '%s': a pool has at least %u KiB", optarg, POOL_MIN_BYTES >> 10);
				return 2;
			}
			break;
		case 'f':
			opt.force = true;
			break;
		case 'L':
			if (strlen(optarg) > 63) {
				cli_usage_error(prog, "label '%s': longer than 63 bytes", optarg);
				return 2;
			}
			opt.label = optarg;
			break;
		case 'U':
			if (parse_uuid(optarg, uuid) < 0) {
				cli_usage_error(prog, "UUID '%s': not of the form "
				    "01234567-89ab-cdef-0123-456789abcdef", optarg);
				return 2;
			}
			opt.uuid = uuid;
			break;
		case OPT_SPARSE:
			opt.keep_sparse = true;
			break;
		case 'q':
			quiet = true;
			break;
		case OPT_HELP:
			help();
			return 0;
		case OPT_VERSION:
			cli_version(prog);
			return 0;
		default:
			cli_usage_error(prog, "unknown option or missing value");
			return 2;
		}
	}
	if (argc == optind) {
		cli_usage_error(prog, "which POOL? name a file or device");
		return 2;
	}
	if (argc - optind > 1) {
		cli_usage_error(prog, "one POOL at a time: '%s' is one too many", argv[optind + 1]);
		return 2;
	}
	cli_progress_start(&bar, "allocating", 1, !quiet && isatty(STDERR_FILENO));
	opt.progress = progress;
	opt.progress_arg = &bar;
	r = pool_mkfs(argv[optind], &opt, &err);
	cli_progress_end(&bar);
	if (r == 0)
		r = fs_format(argv[optind], getuid(), getgid(), 0755, &err);
	if (r < 0) {
		cli_error(prog, "%s", err.text[0] ? err.text : strerror(-r));
		return 1;
	}
	if (!quiet)
		report(argv[optind], opt.label);
	return 0;
}
