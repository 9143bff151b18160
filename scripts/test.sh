#!/bin/sh
# All tests, or those that the arguments choose, in two sessions. Called by `make test`.
#
# Deep Lake 4.7.4 prepares each fork by ending its own threads. In a process that has run hundreds of tests this has hung for ever (twice, in
# its native code, with no thread of ours alive; never in a process of its own), so what forks again and again has a session of its own.
set -u
cd "$(dirname "$0")/.."

# A file's tests stay in one process: they share datasets, environments and servers that take seconds to make.
# A process that crashes ends the session: xdist would wait for its file's other tests for ever.
# One process more than there are cores: many tests wait for servers and for processes that end.
processes=$(.venv/bin/python -c 'import os; print(min(4, (os.cpu_count() or 1) + 1))')
session() {
    LINEAGE_TEST_SESSION=$1; export LINEAGE_TEST_SESSION; shift
    .venv/bin/python -m pytest --numprocesses "$processes" --max-worker-restart 0 --dist loadfile "$@"
}

session forks "$@"
forks=$?
session others "$@"
others=$?
# 5: no test was chosen, which is an error only when there was none in the other session, either.
[ "$forks" = 5 ] && exit "$others"
[ "$others" = 5 ] && exit "$forks"
[ "$forks" = 0 ] && exit "$others"
exit "$forks"
