#!/bin/sh
# ring3 doctor: the report's structure, its plausibility on any x86-64 Linux, options, exit status.
# Usage: tests/cli/doctor.sh [RING3]   (default: $RING3, else build/ring3)
# Needs nothing but a shell and the standard tools; the JSON is parsed too where python3 is there.

set -u
ring3=${1:-${RING3:-build/ring3}}
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
failures=0

fail()
{
    echo "FAIL: $*"
    failures=$((failures + 1))
}

# The result in words of instruction $1 in the text report.
result()
{
    sed -n "s/^  $1  *\([a-z].*\)/\1/p" "$dir/text" | head -n 1
}

# expect NAME PATTERN: the result of NAME matches the extended regular expression.
expect()
{
    result "$1" | grep -Eq "^($2)" || fail "$1: '$(result "$1")' is not /$2/"
}

# status WANT ARGS...: ring3 doctor ARGS exits with WANT; output in out, err.
status()
{
    want=$1
    shift
    timeout 60 "$ring3" doctor "$@" >"$dir/out" 2>"$dir/err" </dev/null
    got=$?
    [ "$got" = "$want" ] || fail "doctor $*: exit status $got, not $want"
}

# ---- options and exit status ----

status 0 --help
grep -q '^Usage: ring3 doctor' "$dir/out" || fail "--help prints no usage"
status 0 -h
for bad in --format=xml --nonsense extra --format; do
    status 2 $bad
    [ -s "$dir/out" ] && fail "doctor $bad: something on stdout"
    [ "$(wc -l <"$dir/err")" = 1 ] || fail "doctor $bad: not one line on stderr"
done

# ---- the text report ----

timeout 60 "$ring3" doctor >"$dir/text" 2>"$dir/err" </dev/null
code=$?
case $code in
0) grep -q '^  `auto` takes ' "$dir/text" || fail "exit status 0, but no engine taken" ;;
1) grep -q '^  `auto`: no engine' "$dir/text" || fail "exit status 1, but an engine is taken" ;;
*) fail "exit status $code" ;;
esac
[ -s "$dir/err" ] && fail "something on stderr: $(cat "$dir/err")"
grep -q "$(printf '\033')" "$dir/text" && fail "colour, though not on a terminal"
LC_ALL=C awk 'length > 100 { bad = 1 } END { exit bad }' "$dir/text" ||
    fail "a line over 100 columns"
for part in '^Sensitive instructions' "^Popek & Goldberg's condition, measured" \
    '^What ring3 uses of this host' '^Engines'; do
    grep -q "$part" "$dir/text" || fail "no part '$part'"
done
grep -Eq '^  kvm .*not built in' "$dir/text" || fail "kvm not said to be not built in"

# ---- what can be true of any x86-64 processor in user mode with IOPL 0 ----

for i in cli sti hlt in out ins outs lgdt lidt lldt ltr lmsw clts 'mov r, cr0' 'mov r, cr3' \
    'mov cr0, r' 'mov cr3, r' 'mov r, dr7' rdmsr wrmsr invd wbinvd invlpg swapgs; do
    expect "$i" 'traps: SIGSEGV #GP\(0\)'
done
expect 'int 0x20' 'traps: SIGSEGV #GP\(0x102\)'
expect int3 'traps: SIGTRAP #BP'
expect ud2 'traps: SIGILL #UD'
expect pushf "silent: host's value"
expect popf 'silent: effect lost'
expect 'mov r, cs' "silent: host's value"
expect 'lar 0x33' "silent: host's value"
expect cpuid "silent: host's value|traps: SIGSEGV"
expect syscall 'to host kernel'
expect 'cpuid, faulting' 'traps: SIGSEGV #GP|not available here'
expect 'rdtsc, TSD set' 'traps: SIGSEGV #GP|not available here'

# UMIP is on for all five or for none, and the processor's flag agrees.
umip="silent: host's value"
grep -qw umip /proc/cpuinfo && umip='host kernel answers'
for i in sgdt sidt sldt str smsw; do
    expect "$i" "$umip"
done

# CPUID faulting: the instruction and the feature list say the same.
faults=no
listed=no
case $(result 'cpuid, faulting') in traps*) faults=yes ;; esac
grep -Eq '^  cpuid faulting +ok' "$dir/text" && listed=yes
[ "$faults" = "$listed" ] || fail "cpuid faults: $faults, listed as a feature: $listed"

# The host's own words agree.
maps=$(cat /proc/sys/vm/max_map_count)
grep -Eq "^  vm.max_map_count .* $maps\\b" "$dir/text" || fail "max_map_count is not $maps"
grep -q "Linux $(uname -r)" "$dir/text" || fail "no kernel version"
if [ -e /dev/kvm ] && ! grep -Eqw 'vmx|svm' /proc/cpuinfo; then
    grep -Eq '^  /dev/kvm +ok' "$dir/text" && fail "/dev/kvm taken for hardware virtualization"
fi

# The sums add up: sensitive = trap + answered + silent; something does not trap.
LC_ALL=C awk '
    / are sensitive and present:/ { total = $(NF - 4) }
    /^ +[0-9]+ (trap|do not trap)/ { sum += $1 }
    /^ +[0-9]+ do not trap/ { silent = $1 }
    END { exit !(total > 40 && total == sum && silent > 5) }' "$dir/text" ||
    fail "Popek & Goldberg's sums are wrong"
# QEMU 7.2's TCG with SMAP kills a process that uses iretq or a far return (its own bug).
grep -q '^  hypervisor beneath .*TCG' "$dir/text" || ! grep -q 'child ended' "$dir/text" ||
    fail "an instruction killed its child: $(grep 'child ended' "$dir/text")"

# ---- verbose, JSON ----

status "$code" --verbose
grep -Eq '^ +IF=1 IOPL=0, [0-9]+ ns' "$dir/out" || fail "--verbose: no flags"
[ "$(wc -l <"$dir/out")" -gt "$(wc -l <"$dir/text")" ] || fail "--verbose says no more"

status "$code" --format json
for key in instructions summary host engines auto; do
    grep -q "^  \"$key\": " "$dir/out" || fail "JSON: no \"$key\""
done
cp "$dir/out" "$dir/json"
grep -q '"name": "cli", "sensitive": true, "result": "traps"' "$dir/json" || fail "JSON: cli"
if command -v python3 >/dev/null 2>&1; then
    python3 - "$dir/json" <<'END' || fail "JSON: not valid, or not consistent"
import json, sys
r = json.load(open(sys.argv[1]))
s = r["summary"]
assert len(r["instructions"]) == s["measured"]
assert s["trap"] + s["kernel_answers"] + s["do_not_trap"] == s["sensitive"]
assert not s["trap_and_emulate_suffices"]
assert len({i["name"] for i in r["instructions"]}) == s["measured"]
assert all(h["status"] in ("ok", "info", "warn", "missing") for h in r["host"])
assert all(h.get("remedy") for h in r["host"] if h["status"] == "missing")
usable = [e["name"] for e in r["engines"] if e["usable"]]
assert r["auto"]["engine"] == (usable[0] if usable else None)
END
fi

# ---- awkward callers ----

# Signals inherited as ignored, a closed stdin, a full disk, little address space.
# Not under timeout, nor from dash: both reset SIGCHLD. Each child is bounded by itself.
if command -v bash >/dev/null 2>&1; then
    bash -c "trap '' CHLD ALRM; exec \"\$0\" doctor --format json" "$ring3" <&- >"$dir/out" 2>&1
    grep -q '"name": "hlt", "sensitive": true, "result": "traps"' "$dir/out" ||
        fail "with SIGCHLD and SIGALRM ignored: hlt"
fi
(
    ulimit -v 4000000
    exec timeout 60 "$ring3" doctor >"$dir/out" 2>&1
)
grep -q 'remedy: ulimit -v unlimited' "$dir/out" ||
    fail "a limited address space goes unnoticed"
if [ -w /dev/full ]; then
    "$ring3" doctor >/dev/full 2>/dev/null && fail "a full disk goes unnoticed"
fi

[ "$failures" = 0 ] && echo "doctor: ok"
[ "$failures" = 0 ]
