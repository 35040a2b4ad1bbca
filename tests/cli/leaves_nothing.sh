#!/usr/bin/env bash
# kill -9 of the monitor, at any time, leaves no process and no file behind.
. tests/lib.sh


for delay in 0.02 0.1 0.3 0.8; do
    marker=ring3test$$.$delay
    "$RING3" run -a "$marker" -- sleep 100 </dev/null >/dev/null 2>&1 &
    pid=$!
    sleep "$delay"
    pgrep -f -- "$marker" >/dev/null || fail "after $delay s: it does not run at all"
    kill -9 "$pid"
    wait "$pid" 2>/dev/null
    sleep 0.3
    # Every process of this run has the marker in its command line: they are forks.
    left=$(pgrep -f -- "$marker" | tr '\n' ' ')
    [ -z "$left" ] || fail "after $delay s: processes $left are left"
done


finish
