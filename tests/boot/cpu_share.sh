#!/usr/bin/env bash
# Caps, weights and pauses of machines that would use all they can get, measured over 10 s on a busy host.
. tests/lib.sh

trap '"$RING3" rm -f $("$RING3" ps -q) >/dev/null 2>&1; rm -rf "$scratch"' EXIT
busy() { # NAME OPTIONS...: a machine that never rests
    local name=$1
    shift
    "$@" "$RING3" run --detach --name "$name" "${options[@]}" -- sh -c 'echo busy; while :; do :; done' >/dev/null ||
        fail "$name does not start"
}
# Nanoseconds of processor time, and when, of one machine.
used() { "$RING3" stats --format json "$1" | tr -d ' \n' |
    sed -E 's/.*"time_ns":([0-9]+).*"guest":([0-9]+).*/\2 \1/'; }
# measure NAME...: share[NAME] is the percentage of one processor that each had for 10 s
declare -A share
measure() {
    local name before after
    declare -A start
    for name in "$@"; do
        for _ in $(seq 100); do "$RING3" logs "$name" 2>/dev/null | grep -q busy && break; sleep 0.1; done
    done
    sleep 0.5
    for name in "$@"; do start[$name]=$(used "$name"); done
    sleep 10
    for name in "$@"; do
        before=${start[$name]} after=$(used "$name")
        share[$name]=$(echo "$before $after" | awk '{ printf "%.2f", ($3 - $1) * 100 / ($4 - $2) }')
    done
}
within() { # NAME PERCENT TOLERANCE WHAT
    echo "$4: $1 had ${share[$1]} % of a processor, $2 expected"
    awk -v had="${share[$1]}" -v want="$2" -v by="$3" \
        'BEGIN { exit !(had >= want * (1 - by) && had <= want * (1 + by)) }' ||
        fail "$4: $1 had ${share[$1]} %, not $2 %"
}

caps() { # WHAT COMMAND...
    local what=$1
    shift
    options=(--cap 15 --weight 400); busy low "$@"
    options=(--cap 40 --weight 400); busy high "$@"
    options=(); busy other1 "$@" # without a cap: they take all that is left
    options=(); busy other2 "$@"
    measure low high
    within low 15 0.05 "$what"
    within high 40 0.05 "$what"
    "$RING3" rm -f low high other1 other2 >/dev/null
}
caps "caps"
# where no control group can be had the monitor does it
if [ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null; then
    caps "caps, no control groups" unshare -m sh -c 'umount -R -l /sys/fs/cgroup 2>/dev/null; exec "$@"' sh
fi

# weights, on one processor, if they are exact here
options=(--weight 100); busy one taskset -c 0
options=(--weight 200); busy two taskset -c 0
options=(--weight 300); busy three taskset -c 0
if [ -s "$XDG_RUNTIME_DIR/ring3/one/group" ]; then
    measure one two three
    all=$(awk -v a="${share[one]}" -v b="${share[two]}" -v c="${share[three]}" 'BEGIN { print a + b + c }')
    within one "$(awk -v a="$all" 'BEGIN { print a / 6 }')" 0.10 weights
    within two "$(awk -v a="$all" 'BEGIN { print a / 3 }')" 0.10 weights
    within three "$(awk -v a="$all" 'BEGIN { print a / 2 }')" 0.10 weights
else
    echo "no control group can be made here: weights are not measured"
fi

# held, a busy machine uses nothing; afterwards it goes on and has not been confused by it
"$RING3" pause one two
sleep 0.2
first=$(used one)
sleep 1
second=$(used one)
[ "${first% *}" = "${second% *}" ] || fail "pause: it used $((${second% *} - ${first% *})) ns"
sleep 30 # as long as the guest's watchdogs wait
"$RING3" resume one
sleep 3
third=$(used one)
[ $((${third% *} - ${second% *})) -gt 200000000 ] || fail "resume: it does not go on"
"$RING3" logs one | grep -iE 'lockup|stall|hung' && fail "resume: the guest complains"
finish
