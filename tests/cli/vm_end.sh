#!/usr/bin/env bash
# Several who end one machine at a time, and what each of them is told.
. tests/lib.sh

trap '"$RING3" rm -f $("$RING3" ps -q) >/dev/null 2>&1; rm -rf "$scratch"' EXIT
deaf() { # NAME: a machine that does not hear the power button
    run "$RING3" run --detach --name "$1" -k "$BUILD/kernel/vmlinuz" -i "$BUILD/default-guest.cpio" \
        -a "console=ttyS0 rdinit=/bin/sleep -- 1000"
    expect_status 0 "a deaf guest"
}
exited() { # NAME STATUS WHAT
    "$RING3" ps | grep -q "^$1 .*exited ($2)" || fail "$3: $("$RING3" ps | grep "^$1 ")"
}

# who changes a machine says all of its name; who looks need not
run "$RING3" run --detach --name web2 -- sleep 1000
expect_status 0 "--detach"
for verb in stop kill pause resume rm "rm -f"; do
    # shellcheck disable=SC2086
    run "$RING3" $verb web
    expect_status 2 "$verb of a beginning"
    expect_exactly err "ring3 ${verb% -f}: no machine is named web; did you mean web2?\n" "$verb of a beginning"
    expect_exactly out '' "$verb of a beginning"
done
"$RING3" ps | grep -q '^web2 .*running' || fail "a beginning of its name: $("$RING3" ps)"
run "$RING3" inspect web
expect_status 0 "inspect of a beginning"
run "$RING3" rm -f web2
expect_status 0 "rm -f"

# all at once: each is told that it has ended, and how it ended is kept
for round in 1 2 3; do
    run "$RING3" run --detach --name many -- sleep 1000
    jobs=()
    for i in {1..12}; do
        timeout 30 "$RING3" kill many >"$scratch/kill$i" 2>&1 &
        jobs+=($!)
    done
    for i in {1..12}; do
        wait "${jobs[i - 1]}"
        kill_status=$?
        # one that looked when it was over already is told so
        grep -qx "many\|ring3 kill: many: it is not running: exited (137)" "$scratch/kill$i" ||
            fail "kill, $i of 12, round $round: $kill_status, $(cat "$scratch/kill$i")"
    done
    exited many 137 "kill, round $round"
    run "$RING3" rm many
done
run "$RING3" run --detach --name many -- sleep 1000
for i in 1 2 3; do
    timeout 30 "$RING3" rm -f many >"$scratch/rm$i" 2>&1 &
    jobs[i]=$!
done
for i in 1 2 3; do
    wait "${jobs[i]}"
    grep -qx "many\|ring3 rm: no machine is named many; .*" "$scratch/rm$i" || fail "rm -f, $i of 3: $(cat "$scratch/rm$i")"
done
[ -z "$("$RING3" ps -q)" ] || fail "rm -f, three at a time: $("$RING3" ps)"

# a stop whose machine somebody kills is not a stop whose time is over
deaf box
"$RING3" stop -t 20 box >"$scratch/stop1" 2>&1 &
first=$!
"$RING3" stop -t 20 box >"$scratch/stop2" 2>&1 &
second=$!
for _ in $(seq 50); do "$RING3" ps | grep -q '^box .*stopping' && break; sleep 0.1; done
sleep 0.3
run "$RING3" kill box
expect_status 0 "kill of one that is stopping"
for n in 1 2; do
    if [ $n = 1 ]; then wait $first; else wait $second; fi
    [ $? -eq 1 ] || fail "stop, then kill: stop $n ends well"
    grep -qx "ring3 stop: box: it was killed before it had powered off" "$scratch/stop$n" ||
        fail "stop, then kill: stop $n says $(cat "$scratch/stop$n")"
done
exited box 137 "stop, then kill"
run "$RING3" rm box

# two stops: the second waits with the first
run "$RING3" run --detach --name two
timeout 60 "$RING3" stop two >"$scratch/stop1" 2>&1 &
first=$!
for i in 2 3 4 5; do
    sleep 0.1
    timeout 60 "$RING3" stop two >"$scratch/stop$i" 2>&1
    grep -qx "two\|ring3 stop: two: it is not running: exited (0)" "$scratch/stop$i" || fail "stop $i: $(cat "$scratch/stop$i")"
done
wait $first || fail "the first stop: $(cat "$scratch/stop1")"
exited two 0 "two stops"
"$RING3" rm two >/dev/null

# a machine that starts: its disk's server does not answer. Who asks is told so, who ends it ends it, and so does
# Ctrl-C (here SIGTERM: the shell keeps SIGINT from what it starts in the background)
if command -v qemu-nbd >/dev/null; then
    truncate -s 1M "$scratch/disk"
    qemu-nbd -f raw -t -k "$scratch/nbd.sock" "$scratch/disk" 2>/dev/null &
    server=$!
    trap 'kill -KILL "$server"; "$RING3" rm -f $("$RING3" ps -q) >/dev/null 2>&1; rm -rf "$scratch"' EXIT
    for _ in $(seq 100); do [ ! -S "$scratch/nbd.sock" ] || break; sleep 0.05; done
    kill -STOP "$server"
    start() {
        "$RING3" run --detach --name slow -d "nbd+unix:///?socket=$scratch/nbd.sock" >"$scratch/start" 2>&1 &
        starter=$!
        for _ in $(seq 100); do "$RING3" ps | grep -q '^slow .*starting' && return; sleep 0.05; done
        fail "it is not starting: $("$RING3" ps)"
    }
    start
    run "$RING3" stats --once slow
    expect_text err "ring3 stats: slow: it is still starting; try again when it runs" "stats of one that starts"
    run "$RING3" pause slow
    expect_status 1 "pause of one that starts"
    expect_exactly err 'ring3 pause: slow: it is still starting; try again when it runs\n' "pause of one that starts"
    run "$RING3" kill slow
    expect_status 0 "kill of one that starts"
    expect_exactly err 'ring3 kill: slow: it was still starting; it was killed\n' "kill of one that starts"
    wait "$starter"
    [ $? -eq 125 ] || fail "kill of one that starts: its caller ends with $?"
    run "$RING3" rm slow
    start
    kill -TERM "$starter"
    wait "$starter" 2>/dev/null
    [ $? -eq 143 ] || fail "its caller gives up, and ends with $?"
    [ -z "$("$RING3" ps -q)" ] || fail "its caller gave up: $("$RING3" ps)"
    # (Not by this shell: a job that is not yet its program would run this shell's trap.)
    for delay in 0.0005 0.001 0.002 0.004 0.006 0.01; do
        timeout $delay "$RING3" run --detach --name slow -d "nbd+unix:///?socket=$scratch/nbd.sock" 2>/dev/null
        [ -z "$("$RING3" ps -q)" ] || fail "its caller gave up after $delay s: $("$RING3" ps)"
        timeout $delay "$RING3" run --name slow -d "nbd+unix:///?socket=$scratch/nbd.sock" 2>/dev/null
        [ -z "$("$RING3" ps -q)" ] || fail "it was ended after $delay s: $("$RING3" ps)"
    done
fi

# who cannot be told something is told that
if [ -c /dev/full ]; then
    for args in "ps" "help" "version" "run --dry-run" "switch"; do
        # shellcheck disable=SC2086
        timeout 20 "$RING3" $args >/dev/full 2>"$scratch/err"
        status=$?
        expect_status 125 "$args to a full disk"
        expect_exactly err "ring3 ${args%% *}: cannot write to standard output: No space left on device\n" "$args to a full disk"
    done
    timeout 20 "$RING3" run --detach --name full -- sh -c "echo something; sleep 1000" >/dev/full 2>"$scratch/err"
    status=$?
    expect_status 125 "--detach to a full disk"
    expect_text err "the machine runs, but its name cannot be printed: No space left on device: full" "--detach to a full disk"
    for _ in $(seq 100); do "$RING3" logs full | grep -q something && break; sleep 0.05; done
    for args in "ps -q" "inspect full" "logs full" "stats --format json full" "stats --once full"; do
        # shellcheck disable=SC2086
        timeout 20 "$RING3" $args >/dev/full 2>"$scratch/err"
        status=$?
        expect_status 125 "$args to a full disk"
        expect_lines err 1 "$args to a full disk"
    done
fi
finish
