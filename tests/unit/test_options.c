/* SPDX-License-Identifier: BSD-3-Clause */
/* Mount options: what each sets, what is refused and how, and what the kernel is told. */
#include <errno.h>
#include <string.h>

#include "fs/fuse/options.h"
#include "tests/unit/unit.h"

static struct mount_options o;
static char why[1024];

static void
setup(void)
{
	mount_options_default(&o);
	strcpy(why, "stale");
}

static void
ok(const char *text)
{
	int r = mount_options_parse(&o, text, why, sizeof(why));

	ck_assert_msg(r == 0, "-o %s: %d, %s", text, r, why);
	ck_assert_str_eq(why, "");
}

/* It is refused, and the message has all these words (separated by blanks) in it. */
static void
refused(const char *text, const char *words)
{
	char copy[256], *word, *next;

	ck_assert_int_eq(mount_options_parse(&o, text, why, sizeof(why)), -EINVAL);
	ck_assert_uint_lt(strlen(words), sizeof(copy));
	strcpy(copy, words);
	for (word = strtok_r(copy, " ", &next); word; word = strtok_r(NULL, " ", &next))
		ck_assert_msg(strstr(why, word), "-o %s: \"%s\" does not say \"%s\"", text, why, word);
}

static const char *
kernel_list(void)
{
	static char list[256];

	mount_options_kernel(&o, list, sizeof(list));
	return list;
}

/* Is it an element of the kernel's list? */
static bool
tells(const char *option)
{
	char list[260], one[64];

	snprintf(list, sizeof(list), ",%s,", kernel_list());
	snprintf(one, sizeof(one), ",%s,", option);
	return strstr(list, one) != NULL;
}

START_TEST(defaults)
{
	ck_assert(!o.fs.readonly && !o.allow_other && !o.allow_root && !o.nodev && !o.nosuid && !o.noexec);
	ck_assert_uint_eq(o.fs.commit_s, 5);
	ck_assert_int_eq(o.fs.dax, FS_DAX_INODE);
	ck_assert_int_eq(o.fs.verify, FS_VERIFY_FIRST);
	ck_assert_int_eq(o.fs.atime, FS_ATIME_RELATIME);
	ck_assert_uint_eq(o.fs.dio_align, 0);
	ck_assert_uint_eq(o.fs.pin_limit, 0);
	ck_assert_int_eq(o.fs.pinned_transient, FS_PINNED_BOUNCE);
	ck_assert_int_eq(o.fs.pinned_longterm, FS_PINNED_BOUNCE);
	ck_assert_uint_eq(o.fs.transient_ms, 1000);
	ck_assert(!o.fs.allow_skip);
	ck_assert_int_eq(o.fs.pool.domain, -1);
	ck_assert_uint_eq(o.threads, 0);
	ck_assert_uint_gt(o.attr_timeout, 60);
}
END_TEST

START_TEST(nothing)
{
	ok("");
	ok(",");
	ok(",,ro,,");
	ck_assert(o.fs.readonly);
}
END_TEST

START_TEST(values)
{
	ok("commit=30,dax=always,verify=always,dio_align=512,domain=pmem,pin_limit=3M,lease_limit=9,threads=7,attr_timeout=0");
	ck_assert_uint_eq(o.fs.commit_s, 30);
	ck_assert_int_eq(o.fs.dax, FS_DAX_ALWAYS);
	ck_assert_int_eq(o.fs.verify, FS_VERIFY_ALWAYS);
	ck_assert_uint_eq(o.fs.dio_align, 512);
	ck_assert_int_eq(o.fs.pool.domain, DOMAIN_PMEM);
	ck_assert_uint_eq(o.fs.pin_limit, 3u << 20);
	ck_assert_uint_eq(o.fs.lease_limit, 9);
	ck_assert_uint_eq(o.threads, 7);
	ck_assert_uint_eq(o.attr_timeout, 0);
	ok("dax=never,verify=first,dio_align=0,domain=volatile");
	ck_assert_int_eq(o.fs.dax, FS_DAX_NEVER);
	ck_assert_int_eq(o.fs.verify, FS_VERIFY_FIRST);
	ck_assert_uint_eq(o.fs.dio_align, 0);
	ck_assert_int_eq(o.fs.pool.domain, DOMAIN_VOLATILE);
	ok("dax=inode,dio_align=4096,domain=pagecache");
	ck_assert_int_eq(o.fs.dax, FS_DAX_INODE);
	ck_assert_uint_eq(o.fs.dio_align, 4096);
	ck_assert_int_eq(o.fs.pool.domain, DOMAIN_PAGECACHE);
}
END_TEST

START_TEST(pinned)
{
	static const struct { const char *word; enum fs_pinned how; } words[] = {
		{ "bounce", FS_PINNED_BOUNCE }, { "wait", FS_PINNED_WAIT }, { "fail", FS_PINNED_FAIL },
		{ "skip", FS_PINNED_SKIP },
	};
	char text[64];

	for (size_t k = 0; k < sizeof(words) / sizeof(words[0]); k++) {
		snprintf(text, sizeof(text), "writeback_transient=%s", words[k].word);
		ok(text);
		ck_assert_int_eq(o.fs.pinned_transient, words[k].how);
		ck_assert_int_eq(o.fs.pinned_longterm, FS_PINNED_BOUNCE);
	}
	for (size_t k = 0; k < sizeof(words) / sizeof(words[0]); k++) {
		snprintf(text, sizeof(text), "writeback_longterm=%s", words[k].word);
		if (words[k].how == FS_PINNED_WAIT)
			continue;
		ok(text);
		ck_assert_int_eq(o.fs.pinned_longterm, words[k].how);
		ck_assert_int_eq(o.fs.pinned_transient, FS_PINNED_SKIP);
	}
	refused("writeback_longterm=wait", "writeback_longterm wait bounce|fail|skip transient only");
	refused("writeback_transient=", "bounce|wait|fail|skip");
	ck_assert(!o.fs.allow_skip);
	ok("allow_skip,transient_ms=250");
	ck_assert(o.fs.allow_skip);
	ck_assert_uint_eq(o.fs.transient_ms, 250);
	refused("transient_ms=0", "transient_ms MS");
	refused("allow_skip=yes", "allow_skip no value");
}
END_TEST

START_TEST(leases)
{
	ck_assert(!o.fs.pin_without_lease && !o.fs.lease_cut && !o.fs.layout_wait);
	ok("lease_break=cut,lease_break_ms=0,layout_transient=wait,pin_without_lease");
	ck_assert(o.fs.pin_without_lease && o.fs.lease_cut && o.fs.layout_wait);
	ck_assert_uint_eq(o.fs.lease_break_ms, 0);
	ok("lease_break=grace,lease_break_ms=1500,layout_transient=at_once");
	ck_assert(!o.fs.lease_cut && !o.fs.layout_wait);
	ck_assert_uint_eq(o.fs.lease_break_ms, 1500);
	refused("lease_break=never", "lease_break grace|cut");
	refused("lease_break_ms=-1", "lease_break_ms MS");
	refused("layout_transient=1", "layout_transient at_once|wait");
	refused("pin_without_lease=1", "pin_without_lease no value");
}
END_TEST

START_TEST(sizes)
{
	static const struct { const char *text; uint64_t bytes; } good[] = {
		{ "pin_limit=0", 0 }, { "pin_limit=4096", 4096 }, { "pin_limit=1K", 1024 }, { "pin_limit=2k", 2048 },
		{ "pin_limit=1MiB", 1 << 20 }, { "pin_limit=1MB", 1 << 20 }, { "pin_limit=5G", 5ull << 30 },
		{ "pin_limit=1.5G", 3ull << 29 }, { "pin_limit=0x1000", 4096 }, { "pin_limit=1T", 1ull << 40 }, { "pin_limit=16777215T", 16777215ull << 40 },
	};
	static const char *const bad[] = { "pin_limit=", "pin_limit=x", "pin_limit=-1", "pin_limit=1X", "pin_limit=1KK",
		"pin_limit=1.5", "pin_limit=16777216T", "pin_limit=99999999999999999999", "pin_limit= 1" };

	for (size_t k = 0; k < sizeof(good) / sizeof(good[0]); k++) {
		ok(good[k].text);
		ck_assert_uint_eq(o.fs.pin_limit, good[k].bytes);
	}
	for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++)
		refused(bad[k], "pin_limit SIZE");
}
END_TEST

START_TEST(limits)
{
	ok("commit=1");
	ok("commit=3600");
	refused("commit=0", "commit SECONDS");
	refused("commit=3601", "commit 3601");
	refused("commit=-1", "commit");
	refused("commit=1s", "commit 1s");
	ok("threads=1");
	ok("threads=64");
	refused("threads=0", "threads");
	refused("threads=65", "threads");
	ok("attr_timeout=2592000");
	refused("attr_timeout=2592001", "attr_timeout");
}
END_TEST

START_TEST(bad_values)
{
	refused("dax=perhaps", "dax perhaps inode|always|never");
	refused("dax=al", "dax");
	refused("dax=alwaysx", "dax");
	refused("dax=inode|always", "dax");
	refused("dax=", "dax");
	refused("verify=never", "verify first|always");
	refused("dio_align=777", "dio_align 777 0|512|4096");
	refused("domain=paper", "domain paper volatile|pagecache|pmem");
	refused("commit", "commit needs SECONDS");
	refused("ro=1", "ro no value");
	refused("noatime=", "noatime no value");
}
END_TEST

START_TEST(unknown)
{
	/* it is named, and so are the valid ones */
	refused("nonsense", "'nonsense' commit= dax= ro, threads= attr_timeout=");
	refused("Ro", "'Ro'");
	refused("ro,commit=9,nonsense=1", "'nonsense'");
	refused("r", "'r'");
	refused("roo", "'roo'");
	refused("=5", "''");
}
END_TEST

START_TEST(refusal_keeps_message_whole)
{
	char small[16];

	ck_assert_int_eq(mount_options_parse(&o, "nonsense", small, sizeof(small)), -EINVAL);
	ck_assert_uint_lt(strlen(small), sizeof(small));
}
END_TEST

START_TEST(long_option)
{
	char text[600];

	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	refused(text, "longer 255");
	text[255] = '\0';
	refused(text, "unknown");
}
END_TEST

START_TEST(escapes)
{
	/* a comma with a backslash is part of the value; the backslash is not */
	refused("dax=a\\,b", "'a,b'");
	refused("dax=a\\\\b", "'a\\b'");
	refused("\\x", "'x'");
	ok("comment=one\\,two,ro");
	ck_assert(o.fs.readonly);
}
END_TEST

START_TEST(last_one_wins)
{
	ok("ro,rw");
	ck_assert(!o.fs.readonly);
	ok("rw,ro,nodev,dev,dev,nosuid,noexec,exec");
	ck_assert(o.fs.readonly && !o.nodev && o.nosuid && !o.noexec);
	ok("noatime,strictatime");
	ck_assert_int_eq(o.fs.atime, FS_ATIME_STRICT);
	ok("relatime");
	ck_assert_int_eq(o.fs.atime, FS_ATIME_RELATIME);
}
END_TEST

START_TEST(fstab_words)
{
	struct mount_options before = o;

	ok("defaults,auto,noauto,nofail,user,users,nouser,owner,group,_netdev,x-systemd.automount,x-gvfs-hide=1,"
	   "comment=text,default_permissions,user=me,rw,async,exec,dev,suid,diratime,nodiratime");
	ck_assert_mem_eq(&before, &o, sizeof(o));
}
END_TEST

START_TEST(kernel)
{
	ck_assert(tells("default_permissions") && tells("rw") && tells("dev") && tells("suid"));
	ck_assert(!tells("ro") && !tells("allow_other") && !tells("allow_root") && !tells("noatime") && !tells("noexec"));
	ok("ro,nodev,nosuid,noexec,noatime,allow_other,sync,dirsync");
	ck_assert(tells("default_permissions") && tells("ro") && tells("nodev") && tells("nosuid") && tells("noexec"));
	ck_assert(tells("noatime") && tells("allow_other") && tells("sync") && tells("dirsync"));
	ck_assert(!tells("rw") && !tells("dev") && !tells("suid"));
}
END_TEST

START_TEST(kernel_others)
{
	/* libfuse takes one of the two only */
	ok("allow_root");
	ck_assert(tells("allow_root") && !tells("allow_other"));
	ok("allow_other");
	ck_assert(tells("allow_other") && !tells("allow_root"));
}
END_TEST

START_TEST(kernel_never_overflows)
{
	ok("ro,nodev,nosuid,noexec,noatime,allow_other,allow_root,sync,dirsync,strictatime,noatime");
	ck_assert_uint_lt(strlen(kernel_list()), 200);
}
END_TEST

START_TEST(help_names_all)
{
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	ck_assert_ptr_nonnull(f);
	mount_options_help(f);
	ck_assert_int_eq(fclose(f), 0);
	ck_assert_ptr_nonnull(strstr(text, "commit=SECONDS"));
	ck_assert_ptr_nonnull(strstr(text, "dax=inode|always|never"));
	ck_assert_ptr_nonnull(strstr(text, "allow_other"));
	for (char *line = text, *end; *line; line = end + 1) {
		end = strchr(line, '\n');
		ck_assert_ptr_nonnull(end);
		ck_assert_int_le(end - line, 100);
	}
	free(text);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("options");
	TCase *t = tcase_create("options");
	const TTest *const tests[] = { defaults, nothing, values, pinned, leases, sizes, limits, bad_values, unknown,
		refusal_keeps_message_whole, long_option, escapes, last_one_wins, fstab_words, kernel, kernel_others,
		kernel_never_overflows, help_names_all };

	tcase_add_checked_fixture(t, setup, NULL);
	for (size_t k = 0; k < sizeof(tests) / sizeof(tests[0]); k++)
		tcase_add_test(t, tests[k]);
	suite_add_tcase(s, t);
	return unit_main(s);
}
