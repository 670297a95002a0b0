/* SPDX-License-Identifier: BSD-3-Clause */
/* A client of libpinfs that a shell test steers: one command a line on standard input, one line of
 * reply each: "ok", "ok VALUE" or "err ENAME". It stays until end of input, "quit" or a signal.
 *
 *   open PATH | openro PATH | close        the file (one at a time)
 *   map OFF LEN FLAGS                      pinfs_map; FLAGS of r, w, a(lloc), p(opulate)
 *   unmap | sync                           pinfs_unmap, pinfs_sync
 *   store OFF TEXT | load OFF LEN          through the mapping
 *   read OFF LEN | write OFF TEXT          pread, pwrite on the descriptor
 *   fill OFF LEN BYTE                      memset in the mapping
 *   storm BYTE | calm                      the same, all of it, on and on in a thread of its own
 *   fork                                   a child that only lives, until we end
 *   fsync | truncate SIZE | punch OFF LEN  on the descriptor
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <pinfs/pinfs.h>

static int fd = -1;
static struct pinfs_map *map;

static void
reply(long r)
{
	if (r < 0)
		printf("err %s\n", strerrorname_np((int)-r));
	else
		printf("ok\n");
}

static long
errno_of(long r)
{
	return r < 0 ? -errno : r;
}

/* "ok " and the bytes, with those that don't print as '.' for 0, '?' for others. */
static void
reply_bytes(const char *p, size_t len)
{
	printf("ok ");
	for (size_t k = 0; k < len; k++)
		putchar(p[k] == 0 ? '.' : p[k] > ' ' && p[k] < 127 ? p[k] : '?');
	putchar('\n');
}

static int
map_flags(const char *s)
{
	int flags = 0;

	for (; *s; s++)
		flags |= *s == 'r' ? PINFS_MAP_READ : *s == 'w' ? PINFS_MAP_WRITE : *s == 'a' ? PINFS_MAP_ALLOC :
		    *s == 'p' ? PINFS_MAP_POPULATE : 0;
	return flags;
}

static bool
inside(unsigned long off, unsigned long len)
{
	return map && off <= pinfs_len(map) && len <= pinfs_len(map) - off;
}

static void
on_mapping(const char *cmd, unsigned long off, const char *arg)
{
	unsigned long len = strtoul(arg, NULL, 0);
	char *p;

	if (!inside(off, strcmp(cmd, "store") == 0 ? strlen(arg) : len)) {
		reply(-ERANGE);
		return;
	}
	p = (char *)pinfs_addr(map) + off;
	if (strcmp(cmd, "store") == 0) {
		memcpy(p, arg, strlen(arg));
		reply(0);
	} else if (strcmp(cmd, "load") == 0) {
		reply_bytes(p, len);
	} else {
		const char *byte = strchr(arg, ' ');

		memset(p, byte ? byte[1] : 0, len);
		reply(0);
	}
}

static void
on_file(const char *cmd, unsigned long off, const char *arg)
{
	char buf[4096];
	ssize_t n;

	if (strcmp(cmd, "read") == 0) {
		n = pread(fd, buf, strtoul(arg, NULL, 0) % sizeof(buf), (off_t)off);
		if (n < 0)
			reply(-errno);
		else
			reply_bytes(buf, (size_t)n);
	} else if (strcmp(cmd, "write") == 0) {
		reply(errno_of(pwrite(fd, arg, strlen(arg), (off_t)off)));
	} else if (strcmp(cmd, "truncate") == 0) {
		reply(errno_of(ftruncate(fd, (off_t)off)));
	} else if (strcmp(cmd, "punch") == 0) {
		reply(errno_of(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off,
		    (off_t)strtoul(arg, NULL, 0))));
	} else if (strcmp(cmd, "fsync") == 0) {
		reply(errno_of(fsync(fd)));
	} else {
		reply(-ENOSYS);
	}
}

static pthread_t stormer;
static atomic_int storming = -1;

static void *
storm(void *arg)
{
	int byte;

	(void)arg;
	while ((byte = storming) >= 0)
		memset(pinfs_addr(map), byte, pinfs_len(map));
	return NULL;
}

static void
on_process(const char *cmd, const char *arg)
{
	pid_t pid;

	if (strcmp(cmd, "storm") == 0 && map) {
		storming = arg[0];
		reply(-pthread_create(&stormer, NULL, storm, NULL));
	} else if (strcmp(cmd, "calm") == 0) {
		storming = -1;
		reply(-pthread_join(stormer, NULL));
	} else {
		pid = fork();
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				pause();
		}
		reply(errno_of(pid));
	}
}

static void
command(char *line)
{
	char cmd[16] = "", rest[3000] = "", *arg;
	unsigned long off;

	if (sscanf(line, "%15s %2999[^\n]", cmd, rest) < 1)
		return;
	off = strtoul(rest, &arg, 0);
	while (*arg == ' ')
		arg++;
	if (strcmp(cmd, "open") == 0 || strcmp(cmd, "openro") == 0) {
		fd = cmd[4] ? open(rest, O_RDONLY | O_CLOEXEC) : open(rest, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
		reply(errno_of(fd));
	} else if (strcmp(cmd, "close") == 0) {
		reply(errno_of(close(fd)));
		fd = -1;
	} else if (strcmp(cmd, "map") == 0) {
		unsigned long len = strtoul(arg, &arg, 0);

		reply(map ? -EBUSY : pinfs_map(fd, off, len, map_flags(arg), &map));
	} else if (strcmp(cmd, "unmap") == 0) {
		reply(pinfs_unmap(map));
		map = NULL;
	} else if (strcmp(cmd, "sync") == 0) {
		reply(map ? pinfs_sync(map) : -EINVAL);
	} else if (strcmp(cmd, "store") == 0 || strcmp(cmd, "load") == 0 || strcmp(cmd, "fill") == 0) {
		on_mapping(cmd, off, arg);
	} else if (strcmp(cmd, "storm") == 0 || strcmp(cmd, "calm") == 0 || strcmp(cmd, "fork") == 0) {
		on_process(cmd, rest);
	} else if (strcmp(cmd, "quit") == 0) {
		exit(0);
	} else {
		on_file(cmd, off, arg);
	}
}

int
main(void)
{
	char line[3100];

	setvbuf(stdout, NULL, _IOLBF, 0);
	while (fgets(line, sizeof(line), stdin))
		command(line);
	return 0;
}
