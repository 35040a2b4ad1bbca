# Python's own regression tests, less a stress test of a minute. $* are the tests; the exit status is theirs.
export HOME=/root
cd /tmp || exit 1
python3 -m test -w --timeout 150 -i '*StressTest*' "$@" 2>&1 | tee log | grep -vE '^[0-9]:[0-9:]+ load avg.*\] [a-z_0-9]+( -- .*passed.*)?$'
status=${PIPESTATUS[0]}
dmesg | grep -E 'WARNING|BUG|Oops|Call Trace|stall|lockup' && status=99
exit "$status"
