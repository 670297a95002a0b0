/* SPDX-License-Identifier: BSD-3-Clause */
#include <pthread.h>

#include "tests/scenarios/scenario.h"

#define FILES 1000
#define INTERRUPTED 50

static pthread_t thread[FILES];
static int result[FILES];

static void
wake(int sig)
{
	(void)sig;
}

static void *
truncate_one(void *arg)
{
	int k = (int)(intptr_t)arg;
	char path[4096];

	snprintf(path, sizeof(path), "%s/f%d", scenario_dir, k);
	result[k] = truncate(path, 0) == 0 ? 0 : errno;
	return NULL;
}

/* The other process: all truncates, then some interrupted, then the rest waited for. */
static void
truncate_all(void *arg)
{
	struct sigaction sa = { .sa_handler = wake };
	struct turns *t = arg;
	pthread_attr_t attr;
	int ok = 0, eintr = 0;

	sigaction(SIGUSR1, &sa, NULL);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 << 10);
	for (int k = 0; k < FILES; k++)
		must(pthread_create(&thread[k], &attr, truncate_one, (void *)(intptr_t)k) == 0, "thread %d", k);
	turn_take(t, 1);
	for (int k = 0; k < INTERRUPTED; k++) {
		pthread_kill(thread[k], SIGUSR1);
		pthread_join(thread[k], NULL);
		eintr += result[k] == EINTR;
	}
	turn_give(t, 1, 'i');
	for (int k = INTERRUPTED; k < FILES; k++) {
		pthread_join(thread[k], NULL);
		ok += result[k] == 0;
	}
	must(eintr == INTERRUPTED && ok == FILES - INTERRUPTED, "%d interrupted, %d done", eintr, ok);
}

int
main(int argc, char **argv)
{
	static uint64_t ids[FILES];
	static int fds[FILES];
	unsigned served = 0;
	char name[32];
	struct turns t;
	struct stat st;
	uint64_t id;
	pid_t pid;
	int fd;

	scenario_begin(argc, argv);
	fd = make_file("other", 4, 'o');
	for (int k = 0; k < FILES; k++) {
		snprintf(name, sizeof(name), "f%d", k);
		fds[k] = open_in(name, O_RDWR | O_CREAT);
		must(pwrite(fds[k], name, sizeof(name), 0) == sizeof(name), "write");
		ids[k] = lease(fds[k], 0, BLOCK, PINFS_LEASE_SHARED, 0, (uint64_t)k);
	}
	turns_init(&t);
	pid = child(truncate_all, &t);
	for (int k = 0; k < 6000 && status_of(fd, parked) < FILES; k++)
		sleep_ms(10);
	must(status_of(fd, parked) == FILES, "%llu parked", (unsigned long long)status_of(fd, parked));
	for (int k = 0; k < 100; k++, served++) {
		id = pin(fd, 0, BLOCK, PINFS_ACCESS_READWRITE, PINFS_PIN_TRANSIENT);
		must(pinfs_unpin(fd, id) == 0 && pwrite(fd, "x", 1, 0) == 1, "while all are parked");
	}
	turn_give(&t, 0, 'i');
	turn_take(&t, 0);
	must(status_of(fd, parked) == FILES - INTERRUPTED, "interrupted ones are still there");
	for (int k = 0; k < INTERRUPTED; k++)
		must(fstat(fds[k], &st) == 0 && st.st_size == sizeof(name), "an interrupted truncate changed its file");
	for (int k = 0; k < FILES; k++)
		must(pinfs_lease_release(fds[k], ids[k]) == 0, "release");
	must(reap(pid) == 0, "the truncates");
	for (int k = INTERRUPTED; k < FILES; k++)
		must(fstat(fds[k], &st) == 0 && st.st_size == 0, "a truncate that returned did nothing");
	must(status_of(fd, parked) == 0, "parked for ever");
	seen(true, "%d parked; %u unpins served; %d interrupted, %d resumed", FILES, served, INTERRUPTED, FILES - INTERRUPTED);
}
