#!/usr/bin/env bash
# The default guest on a terminal: the shell, the keys, and the terminal's state after every kind of end.
. tests/lib.sh

pty=$BUILD/tests/tools/pty
# on_terminal WHAT END ARGS... < SCRIPT: what was seen is in $scratch/out; the script's last steps are added here
on_terminal() {
    local what=$1 end=$2
    shift 2
    { cat; printf 'wait\nsleep 100\nmodes\n'; } >"$scratch/script"
    timeout 120 "$pty" "$RING3" run "$@" <"$scratch/script" >"$scratch/out" 2>&1 ||
        fail "$what: $(tail -n 5 "$scratch/out" | tr '\r\n' '  ')"
    tail -n 5 "$scratch/out" | grep -qx "$end" || fail "$what: not '$end'"
    tail -n 1 "$scratch/out" | grep -qx "mode cooked" || fail "$what: the terminal is left raw"
}

on_terminal shell "status 0" <<'END'
expect ring3:~#
modes
type echo $((6*7))\r
expect 42
type exit\r
END
expect_text out "mode raw" shell

on_terminal resize "status 0" <<'END'
expect ring3:~#
type stty size\r
expect 24 80
size 40 100
sleep 200
type stty size\r
expect 40 100
type exit\r
END

on_terminal poweroff "status 0" <<'END'
expect ring3:~#
type poweroff\r
END

on_terminal job-control "status 0" <<'END'
expect ring3:~#
type sleep 1000\r
sleep 500
type \x03
expect ring3:~#
type cat\r
sleep 500
type \x1a
expect Stopped
type kill %1\r
expect ring3:~#
type exit\r
sleep 300
type exit\r
END

on_terminal reboot "status 130" <<'END'
expect ring3:~#
type reboot\r
expect ring3:~#
type \x01x
END

on_terminal keys "status 130" <<'END'
expect ring3:~#
type \x01h
expect Ctrl-A x
type cat -v\r
type \x01\x01b\r
expect ^Ab
type \x01x
END

on_terminal command "status 9" -- sh -c 'tty; exit 9' </dev/null
expect_text out "/dev/" command
on_terminal size "status 0" -- stty size </dev/null
expect_text out "24 80" size
# What a program leaves behind on the guest's terminal does not matter.
on_terminal odd-modes "status 4" -- sh -c 'stty raw -echo; exit 4' </dev/null

for sig in TERM:15 HUP:1 INT:2 KILL:9 SEGV:11; do
    on_terminal "SIG${sig%:*}" "signal ${sig#*:}" <<END
expect ring3:~#
signal ${sig%:*}
END
done

on_terminal stop "status 130" <<'END'
expect ring3:~#
signal TSTP
stopped
modes
signal CONT
sleep 200
modes
type echo back\r
expect back
type \x01x
END
[ "$(grep -c '^mode cooked' "$scratch/out")" -eq 2 ] || fail "stop: the terminal is not cooked while stopped"
finish
