/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/scenarios/scenario.h"

#define LEN (4 * BLOCK)

/* A direct write and read of [off, off+len): done right, or EINVAL. */
static bool
direct(int fd, uint8_t *model, uint8_t *buf, off_t off, size_t len, int c)
{
	uint8_t all[LEN];
	ssize_t n;

	memset(buf, c, len);
	n = pwrite(fd, buf, len, off);
	if (n < 0) {
		must(errno == EINVAL, "O_DIRECT write of %zu at %lld", len, (long long)off);
		must(pread(fd, buf, len, off) < 0 && errno == EINVAL, "the write is refused, the read is not");
		return false;
	}
	must(n == (ssize_t)len, "O_DIRECT write of %zu at %lld: %zd", len, (long long)off, n);
	memset(model + off, c, len);
	memset(buf, 0, len);
	must(pread(fd, buf, len, off) == (ssize_t)len && memcmp(buf, model + off, len) == 0,
	    "O_DIRECT read of %zu at %lld", len, (long long)off);
	n = pread(open_in("file", O_RDONLY), all, LEN, 0);
	must(n == LEN && memcmp(all, model, LEN) == 0, "what read(2) sees after an O_DIRECT write of %zu at %lld", len,
	    (long long)off);
	return true;
}

int
main(int argc, char **argv)
{
	static const unsigned steps[] = { 4096, 512, 1 };
	unsigned align, works[3] = { 0 }, refused[3] = { 0 };
	uint8_t model[LEN], *buf;
	bool ok = true;
	int fd;

	scenario_begin(argc, argv);
	align = policy_is("any") ? 1 : (unsigned)atoi(scenario_policy);
	close(make_file("file", LEN / BLOCK, 'a'));
	memset(model, 'a', LEN);
	fd = open_in("file", O_RDWR | O_DIRECT);
	must(posix_memalign((void **)&buf, BLOCK, LEN) == 0, "memory");
	for (unsigned s = 0; s < 3; s++) {
		for (unsigned a = 1; a <= 8; a++) {
			/* The offset alone, the length alone, both. */
			off_t off = a % 3 == 0 ? 0 : (off_t)(a % 3 * steps[s]);
			size_t len = a % 3 == 1 ? BLOCK : steps[s] * (a % 2 + 1);
			bool worked = direct(fd, model, buf, off, len, 'b' + (int)a);

			works[s] += worked;
			refused[s] += !worked;
			ok = ok && worked == (off % align == 0 && len % align == 0);
		}
	}
	seen(ok, "steps of 4096: %u of 8 work; 512: %u; 1: %u", works[0], works[1], works[2]);
}
