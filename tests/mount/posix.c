/* SPDX-License-Identifier: BSD-3-Clause */
/* posix DIR [NAME...]: run the checks of posix_*.c below DIR, all or those named, each in a
 * directory and a process of its own, and print a line per failure and one of totals. Exit status 0 if
 * none failed. posix -l lists the names.
 *
 * posix -s FILE writes a file handle of FILE to standard output, in hex; posix -o MOUNT HANDLE
 * opens it again (open_by_handle_at) and copies the file to standard output. The shell test uses
 * them around a remount.
 *
 * The checks compare with what ext4 and XFS do; they pass there, too, and that is how to find out
 * whether a failure is the check's fault.
 */
#include "tests/mount/posix.h"

#include <grp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <time.h>

static unsigned nfailures;

static void __attribute__((format(printf, 3, 4)))
failed(const char *file, int line, const char *fmt, ...)
{
	const char *base = strrchr(file, '/');
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	printf("FAIL: %s:%d: %s\n", base ? base + 1 : file, line, text);
	fflush(stdout);
	nfailures++;
}

void
check_ok(long long r, const char *expr, const char *file, int line)
{
	if (r < 0)
		failed(file, line, "%s: %s", expr, strerror(errno));
}

void
check_err(long long r, int err, const char *expr, const char *file, int line)
{
	if (r >= 0)
		failed(file, line, "%s: succeeds, should be %s", expr, strerrorname_np(err));
	else if (errno != err)
		failed(file, line, "%s: %s, should be %s", expr, strerrorname_np(errno), strerrorname_np(err));
}

void
check_eq(long long got, long long want, const char *expr, const char *file, int line)
{
	if (got != want)
		failed(file, line, "%s: %lld, should be %lld", expr, got, want);
}

void
check_true(bool c, const char *expr, const char *file, int line)
{
	if (!c)
		failed(file, line, "not true: %s", expr);
}

void
not_run(const char *why)
{
	printf("   not run: %s\n", why);
	fflush(stdout);
}

bool
can_act(void)
{
	int status;
	pid_t pid;

	if (!is_root()) {
		not_run("acting as another user: not root");
		return false;
	}
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		_exit(setresuid(65534, 65534, 65534) < 0 || access(".", X_OK) < 0);
	if (pid > 0 && waitpid(pid, &status, 0) == pid && status == 0)
		return true;
	not_run("acting as another user: this mount is not open to others");
	return false;
}

int
as_begin(uid_t uid, gid_t gid)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		nfailures = 0;
		OK(setgroups(0, NULL));
		OK(setresgid(gid, gid, gid));
		OK(setresuid(uid, uid, uid));
		return 0;
	}
	OK(pid);
	if (pid > 0) {
		OK(waitpid(pid, &status, 0));
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
			nfailures++;
	}
	return 1;
}

int
as_end(void)
{
	fflush(stdout);
	_exit(nfailures != 0);
}

int
make(const char *path, const char *content)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	OK(fd);
	if (fd < 0)
		return -1;
	EQ(write(fd, content, strlen(content)), strlen(content));
	return close(fd);
}

int
open_new(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	OK(fd);
	return fd;
}

struct stat
st_of(const char *path)
{
	struct stat st;

	memset(&st, 0, sizeof(st));
	OK(lstat(path, &st));
	return st;
}

bool
content_is(const char *path, const char *want)
{
	char buf[256];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, buf, sizeof(buf));
	close(fd);
	return n == (ssize_t)strlen(want) && memcmp(buf, want, (size_t)n) == 0;
}

void
fill(void *buf, size_t len, unsigned seed)
{
	uint8_t *p = buf;

	for (size_t k = 0; k < len; k++)
		p[k] = (uint8_t)(1 + (seed * 31 + k + k / 251) % 255);
}

bool
is_filled(const void *buf, size_t len, unsigned seed)
{
	const uint8_t *p = buf;

	for (size_t k = 0; k < len; k++)
		if (p[k] != (uint8_t)(1 + (seed * 31 + k + k / 251) % 255))
			return false;
	return true;
}

bool
is_zero(const void *buf, size_t len)
{
	const uint8_t *p = buf;

	return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

bool
same_time(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

void
tick(void)
{
	const struct timespec t = { .tv_nsec = 12000000 };

	nanosleep(&t, NULL);
}

/* ---- running ------------------------------------------------------------- */

/* 0 passed, 1 failed. */
static int
run_one(const char *top, const struct check *c)
{
	char dir[4096];
	int status;
	pid_t pid;

	snprintf(dir, sizeof(dir), "%s/%s", top, c->name);
	if (mkdir(dir, 0777) < 0 || chmod(dir, 0777) < 0) {
		printf("FAIL: %s: mkdir: %s\n", dir, strerror(errno));
		return 1;
	}
	fflush(stdout);
	pid = fork();
	if (pid < 0) {
		perror("fork");
		return 1;
	}
	if (pid == 0) {
		umask(022);
		alarm(60);
		OK(chdir(dir));
		if (nfailures == 0)
			c->run();
		fflush(stdout);
		_exit(nfailures ? 1 : 0);
	}
	if (waitpid(pid, &status, 0) != pid) {
		perror("waitpid");
		return 1;
	}
	if (WIFSIGNALED(status))
		printf("FAIL: %s: killed by signal %d (%s)\n", c->name, WTERMSIG(status), strsignal(WTERMSIG(status)));
	else if (WEXITSTATUS(status) == 0)
		return 0;
	printf("^^^^ in the check %s\n", c->name);
	return 1;
}

static bool
chosen(const char *name, int argc, char **argv)
{
	if (argc == 0)
		return true;
	for (int k = 0; k < argc; k++)
		if (strcmp(argv[k], name) == 0)
			return true;
	return false;
}

static int
save_handle(const char *path)
{
	union {
		struct file_handle h;
		char space[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} u;
	int mount_id;

	u.h.handle_bytes = MAX_HANDLE_SZ;
	if (name_to_handle_at(AT_FDCWD, path, &u.h, &mount_id, 0) < 0) {
		perror("name_to_handle_at");
		return 1;
	}
	printf("%d:", u.h.handle_type);
	for (unsigned k = 0; k < u.h.handle_bytes; k++)
		printf("%02x", u.h.f_handle[k]);
	printf("\n");
	return 0;
}

static int
open_handle(const char *mnt, const char *text)
{
	union {
		struct file_handle h;
		char space[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} u;
	char *hex, buf[4096];
	unsigned byte;
	ssize_t n;
	int dir, fd;

	memset(&u, 0, sizeof(u));
	u.h.handle_type = (int)strtol(text, &hex, 10);
	if (*hex++ != ':')
		return 2;
	while (u.h.handle_bytes < MAX_HANDLE_SZ && sscanf(hex, "%2x", &byte) == 1) {
		u.h.f_handle[u.h.handle_bytes++] = (unsigned char)byte;
		hex += 2;
	}
	dir = open(mnt, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0) {
		perror(mnt);
		return 1;
	}
	fd = open_by_handle_at(dir, &u.h, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		fprintf(stderr, "open_by_handle_at: %s\n", strerrorname_np(errno));
		close(dir);
		return 1;
	}
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		if (fwrite(buf, 1, (size_t)n, stdout) != (size_t)n)
			break;
	if (n < 0)
		fprintf(stderr, "read: %s\n", strerrorname_np(errno));
	close(fd);
	close(dir);
	return n == 0 ? 0 : 1;
}

int
main(int argc, char **argv)
{
	const struct check *const tables[] = { posix_names, posix_attrs, posix_io };
	const size_t ntables = sizeof(tables) / sizeof(tables[0]);
	unsigned run = 0, bad = 0;
	char top[4000];

	if (argc == 3 && strcmp(argv[1], "-s") == 0)
		return save_handle(argv[2]);
	if (argc == 4 && strcmp(argv[1], "-o") == 0)
		return open_handle(argv[2], argv[3]);
	if (argc < 2) {
		fprintf(stderr, "usage: posix DIR [NAME...] | -l | -s FILE | -o MOUNT HANDLE\n");
		return 2;
	}
	if (strcmp(argv[1], "-l") != 0) {
		snprintf(top, sizeof(top), "%s/posix.XXXXXX", argv[1]);
		if (!mkdtemp(top) || chmod(top, 0755) < 0) {
			perror(top);
			return 2;
		}
	}
	for (size_t t = 0; t < ntables; t++) {
		for (const struct check *c = tables[t]; c->name; c++) {
			if (strcmp(argv[1], "-l") == 0) {
				printf("%s\n", c->name);
			} else if (chosen(c->name, argc - 2, argv + 2)) {
				run++;
				bad += (unsigned)run_one(top, c);
			}
		}
	}
	if (strcmp(argv[1], "-l") == 0)
		return 0;
	printf("%u checks, %u failed\n", run, bad);
	return bad || !run ? 1 : 0;
}
