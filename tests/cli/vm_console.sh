#!/usr/bin/env bash
# ring3 console: attaching, the keys, the terminal's state after every end, several at once, reboots.
. tests/lib.sh

pty=$BUILD/tests/tools/pty
trap '"$RING3" rm -f $("$RING3" ps -q) >/dev/null 2>&1; rm -rf "$scratch"' EXIT
# attached WHAT END < SCRIPT: what was seen is in $scratch/out
attached() {
    { cat; printf 'wait\nsleep 100\nmodes\n'; } >"$scratch/script"
    timeout 60 "$pty" "$RING3" console box <"$scratch/script" 2>&1 | tr -d '\0' >"$scratch/out"
    [ "${PIPESTATUS[0]}" -eq 0 ] ||
        fail "$1: $(tail -n 5 "$scratch/out" | tr '\r\n' '  ')"
    tail -n 5 "$scratch/out" | grep -qx "$2" || fail "$1: not '$2' but $(tail -n 5 "$scratch/out" | tr '\r\n' '  ')"
    tail -n 1 "$scratch/out" | grep -qx "mode cooked" || fail "$1: the terminal is left raw"
}
"$RING3" run --detach --name box >/dev/null

attached "the shell" "status 0" <<'END'
expect ring3:~#
modes
type echo $((6*7))\r
expect 42
type stty size\r
expect 24 80
size 40 100
sleep 200
type stty size\r
expect 40 100
type \x01h
expect Ctrl-A d
type \x01d
END
expect_text out "mode raw" "the shell"
expect_text out "detached from box" "the shell"

attached "what was said before" "status 0" <<'END'
expect 42
type echo $((7*8))\r
expect 56
type \x01\x01
type \x01d
END

for sig in TERM:15 HUP:1 INT:2 KILL:9; do
    attached "SIG${sig%:*}" "signal ${sig#*:}" <<END
expect ring3:~#
signal ${sig%:*}
END
done
attached "a stop" "status 0" <<'END'
expect ring3:~#
signal TSTP
stopped
modes
signal CONT
sleep 200
type echo back$((1+1))\r
expect back2
type \x01d
END

# without a terminal: typed as it is; a watcher sees the same
"$RING3" console box </dev/null >"$scratch/watched" 2>&1 &
watcher=$!
sleep 0.3
(printf 'echo from-a-pipe-$((5*5))\n'; sleep 1) | timeout 20 "$RING3" console box >/dev/null 2>&1 &
sleep 1
grep -q from-a-pipe-25 "$scratch/watched" || fail "a watcher: $(tail -n 3 "$scratch/watched")"
kill %2 2>/dev/null
[ "$("$RING3" inspect box | grep -c '"watchers"')" = 1 ] || fail "inspect lacks the watchers"

# a flood that nobody reads harms nobody
(echo 'i=0; while [ $i -lt 4000 ]; do echo flood $i; i=$((i+1)); done; echo flood-over-$((1+1))'; sleep 100) |
    "$RING3" console box >/dev/null 2>&1 &
feeder=$!
sleep 60 | "$RING3" console box | sleep 60 &
"$RING3" console box </dev/null >"$scratch/flood" 2>/dev/null &
for _ in $(seq 300); do grep -q flood-over-2 "$scratch/flood" && break; sleep 0.1; done
grep -q flood-over-2 "$scratch/flood" || fail "a flood is not over: $(tail -n 2 "$scratch/flood")"
kill $! $feeder 2>/dev/null

# a reboot is followed; the end is told, with the machine's exit status
attached "a reboot" "status 0" <<'END'
expect ring3:~#
type reboot\r
expect Restarting system
expect ring3:~#
type poweroff\r
expect box has ended: exited (0)
END
wait $watcher
[ $? -eq 0 ] || fail "a watcher's exit status at the end"
"$RING3" rm box >/dev/null

"$RING3" run --detach --name box -- sh -c 'read x; exit $x' >/dev/null
attached "a command" "status 9" <<'END'
sleep 500
type 9\r
END
"$RING3" rm box >/dev/null
"$RING3" run --detach --name box >/dev/null
attached "Ctrl-A x" "status 130" <<'END'
expect ring3:~#
type \x01x
END
"$RING3" ps | grep -q 'box .*exited (137)' || fail "Ctrl-A x: $("$RING3" ps)"
"$RING3" rm box >/dev/null

# what the guest once asked its terminal is not asked again of another: the answer would be typed there
"$RING3" run --detach --name box -- sh -c 'printf "where\033[6n am \033]11;?\007I\n"; sleep 1000' >/dev/null
for _ in $(seq 100); do "$RING3" logs box | grep -q where && break; sleep 0.1; done
"$RING3" logs box | tr -d "\r" >"$scratch/out"
expect_exactly out 'where\033[6n am \033]11;?\007I\n' "logs without a terminal"
printf 'wait\n' | timeout 20 "$pty" "$RING3" logs box 2>&1 | tr -d '\0\r' >"$scratch/out"
grep -qx 'where am I' "$scratch/out" || fail "logs on a terminal: $(cat -v "$scratch/out")"
attached "a question" "status 0" <<'END'
expect I
type \x01d
END
grep -q 'where am I' "$scratch/out" || fail "the console's history: $(cat -v "$scratch/out")"
"$RING3" kill box >/dev/null
finish
