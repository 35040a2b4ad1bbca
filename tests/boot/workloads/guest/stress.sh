# stress-ng's own checks. $1 is how many seconds each; the rest are the stressors.
cd /tmp || exit 1
seconds=$1
failed=0
shift
for s in "$@"; do
    timeout -k 5 $((seconds * 5 + 30)) stress-ng --verify --"$s" 2 --timeout "$seconds" --no-rand-seed >log 2>&1
    status=$?
    if [ $status -ne 0 ] || grep -qE 'fail:|error:|warn:.*premature' log; then
        echo "FAIL: stress-ng --$s: exit status $status"
        cat log
        failed=1
    fi
    dmesg -c | grep -E 'WARNING|BUG|Oops|Call Trace|stall|lockup|general protection' && failed=1
done
exit $failed
