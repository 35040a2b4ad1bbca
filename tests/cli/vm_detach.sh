#!/usr/bin/env bash
# --detach: what goes wrong is said to the caller, with the right exit status, and leaves nothing behind.
. tests/lib.sh

dir=$XDG_RUNTIME_DIR/ring3
left() { ls -A "$dir" 2>/dev/null | grep -vE '^\.(locks|switches)$'; } # those are not a machine's
refused() { # STATUS TEXT ARGS...
    local status_wanted=$1 text=$2
    shift 2
    LIMIT=20 run "$RING3" run --detach "$@"
    expect_status "$status_wanted" "--detach $*"
    expect_lines err 1 "--detach $*"
    expect_lines out 0 "--detach $*"
    expect_text err "$text" "--detach $*"
    [ -z "$(left)" ] || fail "--detach $*: left $(left)"
}
refused 2 "cannot read the kernel" -k "$scratch/none"
refused 2 "cannot read the initrd" -i "$scratch/none"
refused 2 "$scratch/none" -d "$scratch/none"
refused 2 "-p" --net tap=nosuch -p 80:80
refused 2 "no such engine" --engine qemu
refused 2 "did you mean --detach" --detatch

# no directory can be made: an error for a machine with a name, nothing for another
blocked=(env XDG_RUNTIME_DIR="$scratch/none" unshare -m sh -c '
    mount -t tmpfs -o size=4k,mode=755 none /run && mount -o remount,ro /run &&
    mount -t tmpfs -o size=4k,mode=1777 none /tmp && mount -o remount,ro /tmp && exec "$@"' sh)
if [ "$(id -u)" = 0 ] && "${blocked[@]}" true 2>/dev/null && [[ $RING3 != /tmp/* ]]; then
    run "${blocked[@]}" "$RING3" run -- echo hello </dev/null
    expect_status 0 "no directory, no name"
    expect_exactly out 'hello\n' "no directory, no name"
    expect_exactly err '' "no directory, no name"
    for verb in ps switch; do
        run "${blocked[@]}" "$RING3" $verb
        expect_status 125 "no directory, $verb"
        expect_text err "XDG_RUNTIME_DIR" "no directory, $verb"
        expect_exactly out '' "no directory, $verb"
    done
    for option in --detach "--name x"; do
        # shellcheck disable=SC2086
        run "${blocked[@]}" "$RING3" run $option -- true </dev/null
        expect_status 2 "no directory, $option"
        expect_text err "XDG_RUNTIME_DIR" "no directory, $option"
        expect_lines err 1 "no directory, $option"
    done
fi

# it holds nothing of the caller's: no file, no terminal, no directory
mkfifo "$scratch/fifo"
cat "$scratch/fifo" >"$scratch/seen" &
reader=$!
"$RING3" run --detach --name loose -- sleep 1000 7>"$scratch/fifo" >/dev/null
timeout 5 tail --pid=$reader -f /dev/null || fail "it holds a file of the caller's"
pid=$(cat "$dir/loose/pid")
[ "$(ps -o tty= -p "$pid" | tr -d ' ')" = '?' ] || fail "it has a terminal"
[ "$(ps -o sid= -p "$pid" | tr -d ' ')" = "$pid" ] || fail "it is in the caller's session"
"$RING3" rm -f loose >/dev/null

# a caller who goes away before it runs does not want it
for delay in 0.002 0.004 0.008 0.012 0.016; do
    "$RING3" run --detach --name early -- sleep 1000 >"$scratch/out" 2>/dev/null &
    sleep $delay
    kill -9 $! 2>/dev/null
    wait $! 2>/dev/null
    if [ -s "$scratch/out" ]; then # it was too late
        "$RING3" rm -f early >/dev/null
        continue
    fi
    for _ in $(seq 50); do [ -n "$(left)" ] || break; sleep 0.1; done
    [ -z "$(left)" ] || fail "its caller has gone after $delay s, and it runs: $(left)"
    "$RING3" rm -f early >/dev/null 2>&1
done

# the output of a command goes to the log, both streams, in order
run "$RING3" run --detach --name out -- sh -c 'echo one; echo two >&2; echo three'
for _ in $(seq 100); do "$RING3" ps | grep -q 'out .*exited (0)' && break; sleep 0.1; done
run "$RING3" logs out
expect_status 0 logs
[ "$(tr -d '\r' <"$scratch/out")" = $'one\ntwo\nthree' ] || fail "logs: $(cat "$scratch/out")"
run "$RING3" logs -n 1 out
[ "$(tr -d '\r' <"$scratch/out")" = three ] || fail "logs -n: $(cat "$scratch/out")"

# following a log to the end; the log is bounded
"$RING3" run --detach --name chatty -- sh -c 'i=0; while [ $i -lt 60000 ]; do echo "$i is a number that is written out in a line which is long enough to be a line of sixty or more"; i=$((i+1)); done' >/dev/null
run "$RING3" logs -f chatty
expect_status 0 "logs -f"
[ "$(tail -n 1 "$scratch/out" | cut -d' ' -f1)" = 59999 ] || fail "logs -f: ends with $(tail -n 1 "$scratch/out")"
awk '{ if (NR > 1 && $1 != last + 1) { print "after " last " comes " $1; exit 1 } last = $1 }' "$scratch/out" ||
    fail "logs -f: lines are missing"
size=$(cat "$dir/chatty/log" "$dir/chatty/log.1" | wc -c)
[ "$size" -le $((4 << 20)) ] && [ "$size" -gt $((2 << 20)) ] || fail "the log has $size bytes"
"$RING3" rm out chatty >/dev/null
finish
