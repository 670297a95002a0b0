/* SPDX-License-Identifier: BSD-3-Clause */
/* A fuzz target without a fuzzer: runs it over each file named, and each file in each directory named, in
 * the order of their names. The exit status is 0, or what the target's abort makes of it; the file that is
 * being run is on stderr by then. */
#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

#include "tests/fuzz/fuzz.h"

static unsigned nrun;

static void
run_file(const char *path)
{
	uint8_t *data = NULL;
	size_t size = 0, space = 0, n;
	FILE *f = fopen(path, "rb");

	if (!f) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		exit(1);
	}
	do {
		if (space - size < 4096) {
			space = space ? 2 * space : 16384;
			data = realloc(data, space);
			if (!data)
				abort();
		}
		n = fread(data + size, 1, space - size, f);
		size += n;
	} while (n > 0);
	fclose(f);
	fprintf(stderr, "%s: %zu bytes\n", path, size);
	/* a copy of the exact size, so that a sanitizer sees a read behind the end */
	data = realloc(data, size ? size : 1);
	if (!data)
		abort();
	LLVMFuzzerTestOneInput(data, size);
	free(data);
	nrun++;
}

static void
run_dir(const char *path)
{
	struct dirent **list;
	char name[4096];
	int n = scandir(path, &list, NULL, alphasort);

	if (n < 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		exit(1);
	}
	for (int k = 0; k < n; k++) {
		snprintf(name, sizeof(name), "%s/%s", path, list[k]->d_name);
		if (list[k]->d_name[0] != '.')
			run_file(name);
		free(list[k]);
	}
	free(list);
}

int
main(int argc, char **argv)
{
	struct stat st;

	for (int k = 1; k < argc; k++) {
		if (stat(argv[k], &st) == 0 && S_ISDIR(st.st_mode))
			run_dir(argv[k]);
		else
			run_file(argv[k]);
	}
	fprintf(stderr, "%u inputs\n", nrun);
	return nrun > 0 ? 0 : 1;
}
