#!/usr/bin/env bash
# Help, version, --dry-run.
. tests/lib.sh

verbs='run ps console logs stop kill pause resume stats inspect rm image switch doctor version help'

run "$RING3" --version
expect_status 0 version
grep -qE '^ring3 [0-9]+\.[0-9]+' "$scratch/out" || fail "version: $(cat "$scratch/out")"

for args in help --help -h; do
    run "$RING3" $args
    expect_status 0 "$args"
    for verb in $verbs; do expect_text out "  $verb " "$args"; done
done
run "$RING3"
expect_status 2 "no arguments"

for verb in $verbs; do
    run "$RING3" "$verb" --help
    expect_status 0 "$verb --help"
    expect_text out "Usage: ring3 $verb" "$verb --help"
    cp "$scratch/out" "$scratch/first"
    run "$RING3" help "$verb"
    expect_status 0 "help $verb"
    cmp -s "$scratch/first" "$scratch/out" || fail "help $verb and $verb --help differ"
done
# Every exit status and option that the help names stands in the manual, and the other way round.
run "$RING3" help run
for word in $(grep -oE '^ +(-[a-z], )?--[a-z-]+' "$scratch/out" | grep -oE -- '--[a-z-]+'); do
    grep -q -- "$(printf '%s' "$word" | sed 's/-/\\\\-/g')" man/ring3.1 || fail "the manual lacks $word"
done
for verb in $verbs; do
    grep -q "ring3 $verb\|\<$verb\>" man/ring3.1 || fail "the manual lacks ring3 $verb"
    # shellcheck disable=SC1091
    grep -qw -- "$verb" tools/completion/ring3.bash || fail "the completion lacks $verb"
done
for code in 123 125 126 130 137; do
    expect_text out "$code" "help run"
    grep -qx "\.B $code" man/ring3.1 || fail "the manual lacks exit status $code"
done

run "$RING3" run --dry-run -m 200M -a "one two" --engine bt -- prog 'an arg'
expect_status 0 dry-run
expect_text out "200.0 MB" dry-run
expect_text out "one two" dry-run
expect_text out "6." dry-run
expect_text out "prog an arg" dry-run
expect_text out "engine      bt" dry-run
truncate -s 1M "$scratch/disk"
mkdir "$scratch/dir"
run "$RING3" run --dry-run -d "$scratch/disk,ro" -v "$scratch/dir:/mnt:ro" --weight 50 --cap 25
expect_status 0 "dry-run with devices"
for line in "disk        $scratch/disk,ro" "share       $scratch/dir:/mnt:ro" "weight      50" "cap         25%"; do
    expect_text out "$line" "dry-run with devices"
done
if command -v passt >/dev/null; then
    run "$RING3" run --dry-run -p 127.0.0.1:28080:80
    expect_status 0 "dry-run with ports"
    expect_text out "network     user" "dry-run with ports"
    expect_text out "port        127.0.0.1:28080:80" "dry-run with ports"
fi
run "$RING3" run -nographic -kernel "$BUILD/kernel/vmlinuz" -append "console=ttyS0 x" -smp 1 -m 256 --dry-run
expect_status 0 "QEMU's spellings"
expect_text out "append      console=ttyS0 x" "QEMU's spellings"
expect_text out "initrd      none" "QEMU's spellings"
run "$RING3" run --kernel="$BUILD/kernel/vmlinuz" --memory=1G --dry-run
expect_status 0 "--name=value"
expect_text out "1024.0 MB" "--name=value"
finish
