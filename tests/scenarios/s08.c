/* SPDX-License-Identifier: BSD-3-Clause */
#include <poll.h>

#include "tests/scenarios/scenario.h"

#define COOKIE 0x1122334455667788ull

static volatile sig_atomic_t signals;
static void *volatile value;
static volatile int code;

static void
on_break(int sig, siginfo_t *si, void *ctx)
{
	(void)sig, (void)ctx;
	value = si->si_value.sival_ptr;
	code = si->si_code;
	signals++;
}

int
main(int argc, char **argv)
{
	struct sigaction sa = { .sa_sigaction = on_break, .sa_flags = SA_SIGINFO | SA_RESTART };
	struct truncater tr;
	struct pinfs_event ev;
	struct pollfd p;
	uint64_t id, pid;
	bool early;
	int fd, r;

	scenario_begin(argc, argv);
	must(sigaction(SIGRTMIN + 3, &sa, NULL) == 0, "sigaction");
	fd = make_file("held", 4, 'a');
	id = lease(fd, 0, 4 * BLOCK, PINFS_LEASE_SHARED, (unsigned)SIGRTMIN + 3, COOKIE);
	pid = pin(fd, 0, 4 * BLOCK, PINFS_ACCESS_READWRITE, PINFS_PIN_LONGTERM);
	truncater_start(&tr, "held", 0);
	p = (struct pollfd){ .fd = fd, .events = POLLPRI };
	do {
		r = poll(&p, 1, 10000);
	} while (r < 0 && errno == EINTR);
	must(r == 1 && (p.revents & POLLPRI), "POLLPRI does not come");
	for (int k = 0; k < 1000 && signals == 0; k++)
		sleep_ms(10);
	must(signals == 1, "%d signals", (int)signals);
	must((uint64_t)(uintptr_t)value == COOKIE && code == SI_QUEUE, "the signal's value");
	must(pinfs_next_event(fd, &ev, 0) == 1 && ev.lease == id && ev.cookie == COOKIE, "event");
	early = truncater_done(&tr, 50);
	must(pinfs_unpin(fd, pid) == 0 && pinfs_lease_release(fd, id) == 0, "unpin, release");
	r = truncater_end(&tr);
	seen(r == 0 && !early, "signal with its cookie, POLLPRI, release, truncate: %s", r ? strerror(r) : "0");
}
