#!/usr/bin/env bash
# Machines in the background, from --detach to rm: names, states, stop, kill, crashes.
. tests/lib.sh

dir=$XDG_RUNTIME_DIR/ring3
state() { "$RING3" ps --format json | tr -d ' \n' | grep -o "{\"name\":\"$1\",\"state\":\"[a-z]*\"" | cut -d'"' -f8; }
is() { # STATE NAME WHAT
    local now
    now=$(state "$2")
    [ "$now" = "$1" ] || fail "$3: $2 is '$now', not $1"
}
trap '"$RING3" rm -f $("$RING3" ps -q) >/dev/null 2>&1; rm -rf "$scratch"' EXIT

# nothing there
run "$RING3" ps
expect_status 0 "ps of nothing"
expect_lines out 1 "ps of nothing"
[ ! -e "$dir" ] || fail "ps makes a directory"

# a name of one's own, and one made up
run "$RING3" run --detach --name web -- sleep 1000
expect_status 0 "--detach"
expect_exactly out 'web\n' "--detach"
expect_exactly err '' "--detach"
run "$RING3" run --detach -- sleep 1000
expect_status 0 "a made-up name"
made=$(cat "$scratch/out")
[[ $made =~ ^[a-z]+-[a-z]+$ ]] || fail "a made-up name: $made"
is running web --detach
is running "$made" --detach
for f in control log pid config.json; do [ -e "$dir/web/$f" ] || fail "--detach: no file $f"; done
[ "$(stat -c %a "$dir" "$dir/web")" = $'700\n700' ] || fail "directories are open to others"
run "$RING3" ps -q
expect_lines out 2 "ps -q"
run "$RING3" ps
expect_text out "sleep 1000" ps

# a name is taken once
run "$RING3" run --detach --name web -- true
expect_status 2 "a name that is taken"
expect_lines err 1 "a name that is taken"
expect_text err "already" "a name that is taken"
run "$RING3" run --name web -- true </dev/null
expect_status 2 "a name that is taken, in the foreground"

# hold it and let it go on
run "$RING3" pause web
expect_status 0 pause
is paused web pause
spent() { "$RING3" stats --format json web | tr -d ' \n' | grep -o '"guest":[0-9]*' | cut -d: -f2; }
sleep 0.3 # on a busy host a process is stopped when it next had its turn
before=$(spent)
sleep 0.3
[ "$before" = "$(spent)" ] || fail "pause: it runs on"
run "$RING3" resume web
expect_status 0 resume
is running web resume

# live statistics fit the window, whatever its size
printf '%s\n' 'size 12 40' 'sleep 1500' 'expect more lines' 'signal INT' wait |
    timeout 30 "$BUILD/tests/tools/pty" "$RING3" stats web 2>&1 | tr -d '\0\r' >"$scratch/out"
expect_text out "signal 2" "live stats"
tac "$scratch/out" | sed -n '/more lines/,/NAME/p' >"$scratch/frame" # the last that was drawn
[ "$(wc -l <"$scratch/frame")" -eq 12 ] || fail "live stats: $(wc -l <"$scratch/frame") lines in a window of 12"
awk '{ sub(/^\033\[H\033\[J/, "") } length($0) > 40 { exit 1 }' "$scratch/frame" || fail "live stats: a line is too long"
run "$RING3" stats --once web
expect_text out "EXITS BY KIND" "stats --once"
grep -qE '^[a-z].*  0 +0$' "$scratch/out" && fail "stats --once: kinds of which there were none: $(cat "$scratch/out")"

# by a beginning of the name
run "$RING3" inspect we
expect_status 0 "a beginning of a name"
for word in '"state": "running"' '"kernel_version"' '"weight": 100' "\"directory\": \"$dir/web\""; do
    expect_text out "$word" inspect
done

# kill: at once
run "$RING3" kill "$made"
expect_status 0 kill
is exited "$made" kill
run "$RING3" kill "$made"
expect_status 1 "kill, again"
expect_text err "exited (137)" "kill, again"
run "$RING3" rm "$made"
expect_status 0 rm
[ ! -e "$dir/$made" ] || fail "rm: the directory is there"

# stop: the power button, and it powers off
run "$RING3" rm web
expect_status 1 "rm of one that runs"
expect_text err "rm -f" "rm of one that runs"
run "$RING3" stop web
expect_status 0 stop
expect_exactly out 'web\n' stop
"$RING3" ps | grep -q '^web .*exited (126)' || fail "stop under a command: $("$RING3" ps)"
run "$RING3" logs -n 1 web
expect_text out "powered off before the command ended" "stop under a command"
run "$RING3" run --detach --name web -- true
expect_status 2 "the name of one that has ended"
expect_text err "ring3 rm web" "the name of one that has ended"
run "$RING3" rm web
run "$RING3" run --detach --name web -- true
expect_status 0 "a name that is free again"

# stop: a guest that does not listen
run "$RING3" run --detach --name deaf -k "$BUILD/kernel/vmlinuz" -i "$BUILD/default-guest.cpio" \
    -a "console=ttyS0 rdinit=/bin/sleep -- 1000"
expect_status 0 "a deaf guest"
run "$RING3" stop -t 1 deaf
expect_status 1 "stop of a deaf guest"
expect_text err "did not power off within 1 s" "stop of a deaf guest"
is exited deaf "stop of a deaf guest"
expect_status 1 "stop of a deaf guest"

# names of files and arguments are bytes, JSON is UTF-8
odd=$scratch/$'odd\xff\xc3.img'
truncate -s 1M "$odd"
run "$RING3" run --detach --name odd -d "$odd" -- sh -c 'sleep 1000; : "$1"' $'\xe2\x82'
expect_status 0 "names that are no text"
for args in "ps --format json" "inspect odd" "stats --format json odd"; do
    # shellcheck disable=SC2086
    run "$RING3" $args
    expect_status 0 "$args of names that are no text"
    iconv -f UTF-8 -t UTF-16 "$scratch/out" >/dev/null || fail "$args: JSON that is not UTF-8"
done
run "$RING3" inspect odd
expect_text out $'odd\xef\xbf\xbd\xef\xbf\xbd.img' "names that are no text"
"$RING3" rm -f odd >/dev/null

# several at a time, one of which is not there
run "$RING3" run --detach --name a1 -- sleep 1000
run "$RING3" run --detach --name a2 -- sleep 1000
run "$RING3" stop a1 nobody a2
expect_status 2 "stop of several"
expect_text err "nobody" "stop of several"
is exited a1 "stop of several"
is exited a2 "stop of several"

# its end tells how it was
run "$RING3" run --detach --name seven -- sh -c 'exit 7'
for _ in $(seq 100); do [ "$(state seven)" = running ] || break; sleep 0.1; done
run "$RING3" ps
expect_text out "exited (7)" "exit status"
run "$RING3" run --detach --rm --name fleeting -- true
for _ in $(seq 100); do [ -e "$dir/fleeting" ] || break; sleep 0.1; done
[ ! -e "$dir/fleeting" ] || fail "--rm: it stays"

# in the foreground: a directory while it lasts
"$RING3" run --name front -- sleep 1000 </dev/null >/dev/null 2>"$scratch/front" &
for _ in $(seq 100); do [ "$(state front)" = running ] && break; sleep 0.1; done
is running front "in the foreground"
run "$RING3" logs front
expect_status 1 "logs of one in the foreground"
run "$RING3" kill front
expect_status 0 "kill of one in the foreground"
wait $!
[ $? -eq 137 ] || fail "kill of one in the foreground: exit status $?"
grep -q "ring3 kill" "$scratch/front" || fail "kill of one in the foreground: no reason"
[ ! -e "$dir/front" ] || fail "in the foreground: its directory stays"
"$RING3" run -- sleep 1000 </dev/null >/dev/null 2>&1 &
for _ in $(seq 100); do name=$("$RING3" ps -q | grep -E '^[a-z]+-[a-z]+$') && break; sleep 0.1; done
run "$RING3" stop "$name"
expect_status 0 "stop of one without a name"
wait $!
[ -z "$("$RING3" ps -q | grep -- -)" ] || fail "one without a name leaves something"

# crashes: of the launcher, of the monitor, of the vCPU task
run "$RING3" run --detach --name crash1 -- sleep 1000
kill -9 "$(cat "$dir/crash1/pid")"
for _ in $(seq 50); do [ "$(state crash1)" = dead ] && break; sleep 0.1; done
is dead crash1 "kill -9 of the launcher"
pgrep -f -- "--name crash1" >/dev/null && fail "kill -9 of the launcher: processes are left"
run "$RING3" run --detach --name crash2 -- sleep 1000
kill -9 "$(pgrep -P "$(cat "$dir/crash2/pid")")"
for _ in $(seq 50); do [ "$(state crash2)" = dead ] && break; sleep 0.1; done
is dead crash2 "kill -9 of the monitor"
run "$RING3" run --detach --name crash3 -- sleep 1000
kill -9 "$(pgrep -P "$(pgrep -P "$(cat "$dir/crash3/pid")")")"
for _ in $(seq 50); do [ "$(state crash3)" = exited ] && break; sleep 0.1; done
run "$RING3" logs -n 1 crash3
expect_text out "signal 9" "kill -9 of the vCPU task"
run "$RING3" console crash1
expect_status 1 "console of a dead one"
run "$RING3" rm crash1 crash2 crash3
expect_status 0 "rm of dead ones"
[ -z "$(ls -A "$dir" | grep crash)" ] || fail "rm of dead ones: $(ls -A "$dir")"

# a monitor that does not answer
run "$RING3" run --detach --name stuck -- sleep 1000
kill -STOP "$(pgrep -P "$(cat "$dir/stuck/pid")")"
run "$RING3" kill stuck
expect_status 0 "kill of a stuck one"
expect_text err "was killed" "kill of a stuck one"
finish
