#!/usr/bin/env bash
# The default guest: commands, their output, input and exit status; the shell.
. tests/lib.sh
export LIMIT=60

# output and exit status
run "$RING3" run -- echo 'two  words' "quote'd" '$x' ''  </dev/null
expect_status 0 echo
expect_exactly out "two  words quote'd \$x \n" echo
expect_exactly err "" echo
run "$RING3" run -- sh -c 'echo out; echo err >&2; exit 7' </dev/null
expect_status 7 "exit 7"
expect_exactly out 'out\n' "exit 7"
expect_exactly err 'err\n' "exit 7"
run "$RING3" run -- sh -c 'kill -9 $$' </dev/null
expect_status 137 "killed command"
run "$RING3" run -- no-such-command </dev/null
expect_status 127 "no such command"
expect_text err "no-such-command" "no such command"
run "$RING3" run -- uname -sm </dev/null
expect_exactly out 'Linux x86_64\n' uname

# bytes, exactly: all values, no newline at the end, arguments too
all=$(for i in $(seq 0 255); do printf '\\%03o' "$i"; done)
run "$RING3" run -- printf "$all" </dev/null
expect_exactly out "$(for i in $(seq 0 255); do printf '\\0%03o' "$i"; done)" "all bytes"
arg=$(printf '\001\020\033\377 "\\')
run "$RING3" run -- printf %s "$arg" </dev/null
printf %s "$arg" | cmp -s - "$scratch/out" || fail "argument bytes"
run "$RING3" run -- sh -c 'i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done' </dev/null
for i in $(seq 0 2999); do echo "line $i"; done | cmp -s - "$scratch/out" || fail "3000 lines"

# input: nothing, a pipe, a file with all bytes, more than any buffer
run "$RING3" run -- cat </dev/null
expect_status 0 "cat </dev/null"
expect_exactly out "" "cat </dev/null"
printf 'a\020b\n' | LIMIT=60 run "$RING3" run -- cat
expect_exactly out 'a\0020b\n' "cat of a pipe"
head -c 100000 /dev/urandom >"$scratch/in"
run "$RING3" run -- cat <"$scratch/in"
cmp -s "$scratch/in" "$scratch/out" || fail "100 KB through cat"
run "$RING3" run -- md5sum <"$scratch/in"
expect_text out "$(md5sum <"$scratch/in" | cut -d' ' -f1)" md5sum
run "$RING3" run -- true <"$scratch/in"
expect_status 0 "input that nobody reads"

# a shell from a script on standard input
printf 'echo one\nexit 5\n' | run "$RING3" run
status=0
printf 'echo one\nexit 5\n' | { timeout 60 "$RING3" run >"$scratch/out" 2>"$scratch/err"; }
status=$?
expect_status 5 "a script"
expect_exactly out 'one\n' "a script"

# output to a file, with standard error; a reader that goes away
timeout 60 "$RING3" run -- sh -c 'echo a; echo b >&2' >"$scratch/both" 2>&1 </dev/null
[ "$(sort "$scratch/both" | tr -d '\n')" = ab ] || fail "output to a file: $(cat "$scratch/both")"
timeout 60 "$RING3" run -- yes </dev/null 2>/dev/null | head -n 1 >"$scratch/out"
expect_exactly out 'y\n' "yes | head"

# power-off ends it well, but not a command that has not ended
run "$RING3" run </dev/null
expect_status 0 "a shell without input"
run "$RING3" run <<<poweroff
expect_status 0 "poweroff in a shell"
run "$RING3" run -- poweroff </dev/null
expect_status 126 poweroff
expect_text err "ring3 run: the guest powered off before the command ended" poweroff

# with -k the kernel's messages are output too; a panic reboots as the command line says
run "$RING3" run -k "$BUILD/kernel/vmlinuz" -i "$BUILD/default-guest.cpio" \
    -a 'console=ttyS0 cryptomgr.notests panic=-1 reboot=a rdinit=/bin/true' --no-reboot </dev/null
expect_status 0 "kernel messages"
expect_text out "Linux version" "kernel messages"
expect_text out "Kernel panic" "kernel messages"
run "$RING3" run -a rdinit=/bin/true -- ls </dev/null
expect_status 126 "a panic under a command"
expect_text err "Kernel panic" "a panic under a command"
expect_text err "rebooted before the command ended" "a panic under a command"

# the counters
run "$RING3" run --stat -- true </dev/null
expect_status 0 --stat
[ "$(grep -cE '^[a-z].* [0-9]+$' "$scratch/err")" -ge 10 ] || fail "--stat: $(head -n 5 "$scratch/err")"
finish
