#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# sqlite with a WAL (which needs coherent shared mmap and working locks): concurrent writers,
# integrity_check, and a committed transaction that survives SIGKILL of the daemon.
. "$(dirname "$0")/lib.sh"

need sqlite3
fresh_mount 256M
db=$MNT/test.db
sql() { sqlite3 -batch -cmd '.timeout 60000' "$db" "$@"; }

step "journal_mode=wal"
equals "journal mode" "$(sql 'PRAGMA journal_mode=wal;')" wal
sql 'PRAGMA synchronous=full; CREATE TABLE t(id INTEGER PRIMARY KEY, who INT, x BLOB); CREATE INDEX i ON t(who);'

step "4 writers and a reader at once"
pids=()
for who in 1 2 3 4; do
	for ((k = 0; k < 40; k++)); do
		echo "BEGIN IMMEDIATE;"
		for ((j = 0; j < 5; j++)); do echo "INSERT INTO t(who, x) VALUES($who, randomblob(3000));"; done
		echo "COMMIT;"
	done | sql &
	pids+=($!)
done
for ((k = 0; k < 10; k++)); do
	n=$(sql 'SELECT count(*) % 5 FROM t;')
	equals "rows outside whole transactions" "$n" 0
done
for p in "${pids[@]}"; do wait "$p"; done
equals "rows" "$(sql 'SELECT count(*) FROM t;')" 800
equals "integrity" "$(sql 'PRAGMA integrity_check;')" ok

step "rollback journal, vacuum"
equals "journal mode" "$(sql 'PRAGMA journal_mode=delete;')" delete
sql 'DELETE FROM t WHERE id % 3 = 0; VACUUM;'
equals "integrity" "$(sql 'PRAGMA integrity_check;')" ok

step "mmap_size"
equals "journal mode" "$(sql 'PRAGMA journal_mode=wal;')" wal
sql 'PRAGMA mmap_size=268435456; UPDATE t SET x = zeroblob(2000) WHERE id % 2 = 0; PRAGMA wal_checkpoint(truncate);'
equals "integrity" "$(sql 'PRAGMA mmap_size=268435456; PRAGMA integrity_check;' | tail -n 1)" ok

step "a commit survives SIGKILL of the daemon"
sql 'PRAGMA synchronous=full; INSERT INTO t(who, x) VALUES(99, zeroblob(10000));'
kill_pinfs
check_pool
mount_pinfs "$OTHERS"
equals "integrity" "$(sql 'PRAGMA integrity_check;')" ok
equals "the row" "$(sql 'SELECT count(*) FROM t WHERE who = 99;')" 1
umount_pinfs
check_pool
