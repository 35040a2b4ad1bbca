# The default guest on a terminal: the shell, the keys, and the terminal's state after every kind of end.
. tests/lib.sh

pty=$BUILD/tests/tools/pty
on_terminal() { # WHAT SCRIPT ARGS...    leaves what was seen in $scratch/out
    local what=$1 script=$2
    shift 2
    printf '%b\n' "$script" | timeout 120 "$pty" "$RING3" "$@" >"$scratch/out" 2>&1 ||
        fail "$what: $(tail -n 5 "$scratch/out" | tr '\r\n' '  ')"
}
after() { # WHAT END      the last two things: how it ended, and the terminal cooked again
    tail -n 5 "$scratch/out" | grep -qx "$2" || fail "$1: not '$2'"
    tail -n 1 "$scratch/out" | grep -qx "mode cooked" || fail "$1: the terminal is left raw"
}

prompt='expect ring3:'
on_terminal shell "$prompt\nmodes\ntype echo \$((6*7))\\\\\\\\r\nexpect 42\ntype exit\\\\\\\\r\nwait\nmodes" run
after shell "status 0"
expect_text out "mode raw" shell
on_terminal poweroff "$prompt\ntype poweroff\\\\\\\\r\nwait\nmodes" run
after poweroff "status 0"
on_terminal job-control "$prompt\ntype sleep 100\\\\\\\\r\nsleep 500\ntype \\\\\\\\x03\n$prompt\ntype cat\\\\\\\\r\nsleep 300\ntype \\\\\\\\x1a\nexpect Stopped\ntype kill %1; exit\\\\\\\\r\nsleep 200\ntype exit\\\\\\\\r\nwait\nmodes" run
after job-control "status 0"
on_terminal ctrl-a-x "$prompt\ntype \\\\\\\\x01x\nwait\nmodes" run
after ctrl-a-x "status 130"
on_terminal ctrl-a-h "$prompt\ntype \\\\\\\\x01h\nexpect Ctrl-A x\ntype \\\\\\\\x01x\nwait\nmodes" run
after ctrl-a-h "status 130"
on_terminal command "wait\nmodes" run -- sh -c 'tty; exit 9'
after command "status 9"
expect_text out "/dev/" command
on_terminal size "wait\nmodes" run -- stty size
expect_text out "24 80" size
for sig in TERM:15 HUP:1 INT:2 KILL:9 SEGV:11; do
    on_terminal "SIG${sig%:*}" "$prompt\nsignal ${sig%:*}\nwait\nsleep 100\nmodes" run
    after "SIG${sig%:*}" "signal ${sig#*:}"
done
on_terminal stop "$prompt\nsignal TSTP\nstopped\nmodes\nsignal CONT\nsleep 200\nmodes\ntype echo back\\\\\\\\r\nexpect back\ntype \\\\\\\\x01x\nwait\nmodes" run
after stop "status 130"
finish
