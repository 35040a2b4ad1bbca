#!/usr/bin/env bash
# Bad input: one line that says what and what to do, exit status 2, nothing on standard output, before anything runs.
. tests/lib.sh

kernel=$BUILD/kernel/vmlinuz
refused() { # TEXT ARGS...
    local text=$1
    shift
    LIMIT=10 run "$RING3" "$@"
    expect_status 2 "$*"
    expect_lines err 1 "$*"
    expect_lines out 0 "$*"
    expect_text err "$text" "$*"
    expect_text err "ring3" "$*"
}

# the command line
refused "did you mean run" rum
refused "ring3 help" frobnicate
refused "did you mean --dry-run" run --dry-rum
refused "lists them" run --frobnicate
refused "needs a FILE" run -k
refused "needs a SIZE" run -m
refused "suffix K, M or G" run -m lots
refused "suffix K, M or G" run -m 12X
refused "suffix K, M or G" run -m -5
refused "needs 4M" run -m 0
refused "needs 4M" run -m 3M
refused "256 GB" run -m 300G
refused "256 GB" run -m 99999999999999999999G
refused "one processor" run -c 2
refused "at least 1" run -c 0
refused "at least 1" run -smp two
refused "no such engine" run --engine qemu
refused "after --" run ls
refused "leave one of the two away" run -i "$kernel" -- ls
refused "takes no arguments" version x
refused "no such command" help frobnicate

# machines and their names
refused "a name is up to 48" run --name a/b
refused "a name is up to 48" run --name ''
refused "a FILE comes after it" run -d --detach
refused "a FILE comes after it" run -d ''
refused "needs a FILE" run -d
refused "HOST:GUEST" run -p 80
refused "--verbose" run -v -- ls
refused "user, tap=NAME or switch=NAME" run --net ''
refused "no-host-loopback has no value; leave =yes away" run --net user,no-host-loopback=yes
refused "no-host-loopback is for user only" run --net switch=lan,no-host-loopback
refused "from 1 to 10000" run --weight 0
refused "from 1 to 10000" run --weight 10001
refused "100 is one processor" run --cap 0
refused "100 is one processor" run --cap fifty
for verb in console logs inspect rm; do
    refused "no machine is named web" $verb web
    refused "needs the name" $verb
    refused "no such option" $verb --frobnicate
done
for verb in stop kill pause resume; do
    refused "no machine is named web" $verb web
    refused "needs the name" $verb
done
refused "no machine is named" kill ../web
refused "no machine is named" kill ''
refused "what is b" console a b
refused "what is b" logs a b
refused "takes no names" ps web
refused "no switch nosuch runs" switch nosuch
refused "with --detach" run --rm -- true
refused "suffix K, M or G" run -m ' 5'
refused "suffix K, M or G" run -m +64
refused "at least 1" run -c ' 1'
refused "'ring3 help' lists them" bogus
refused "did you mean stop" stpo
refused "did you mean console" consoel
refused "did you mean switch" swtich
refused "table or json" ps --format xml
refused "table or json" stats --format xml
refused "from 0 to 86400" stop -t soon web
refused "from 1 to" logs -n 0 web
refused "needs a SECONDS" stop -t

# kernels
head -c 100000 "$kernel" >"$scratch/cut"
head -c 700 "$kernel" >"$scratch/stub"
: >"$scratch/empty"
head -c 70000 /dev/urandom >"$scratch/noise"
{ head -c 1000000 "$kernel"; head -c 3000000 /dev/zero; tail -c +4000001 "$kernel"; } >"$scratch/holed"
refused "cannot read the kernel" run -k "$scratch/none"
refused "not a regular file" run -k /dev/null
refused "not a regular file" run -k "$scratch"
refused "$scratch/cut" run -k "$scratch/cut"
refused "$scratch/stub" run -k "$scratch/stub"
refused "$scratch/empty" run -k "$scratch/empty"
refused "$scratch/noise" run -k "$scratch/noise"
refused "$scratch/holed" run -k "$scratch/holed"
refused "tests/lib.sh" run -k tests/lib.sh
printf '\177ELF\1\1\1\0\0\0\0\0\0\0\0\0\2\0\3\0\1\0\0\0\0\0\20\0\64\0\0\0%0100d' 0 >"$scratch/elf32"
refused "32-bit" run -k "$scratch/elf32"
if [ "$(id -u)" != 0 ]; then
    cp "$kernel" "$scratch/secret" && chmod 0 "$scratch/secret"
    refused "Permission denied" run -k "$scratch/secret"
fi

# sizes
refused "use -m" run -k "$kernel" -m 8M
truncate -s 300M "$scratch/big"
refused "-m" run -k "$kernel" -i "$scratch/big" -m 128M
refused "cannot read the initrd" run -k "$kernel" -i "$scratch/none"
refused "command line" run -k "$kernel" -a "$(head -c 3000 /dev/zero | tr '\0' x)"

# a default guest that is not there
RING3_GUEST=$scratch refused "make guest" run
finish
