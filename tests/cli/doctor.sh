#!/bin/sh
# ring3 doctor: the report's structure, its plausibility on any x86-64 Linux, options, exit status.
# Usage: tests/cli/doctor.sh [RING3]   (default: $RING3, else build/ring3)
# Needs nothing but a shell and the standard tools; the JSON is parsed too where python3 is there,
# and hosts that refuse something are made where gcc is.

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
bt = next(e for e in r["engines"] if e["name"] == "bt")
assert bt["usable"] == (bt["machine"] == "ran")
assert bt["machine"] != "ran" or 0 < bt["machine_ms"] < 5000
assert next(e for e in r["engines"] if e["name"] == "kvm")["machine"] == "untried"
END
fi

# ---- the machine that is run ----

ran='^ +a machine was run, kernel code and user code, in [0-9]+ ms$'
if [ "$code" = 0 ]; then
    grep -Eq "$ran" "$dir/text" || fail "usable, but no machine was run"
fi

# `ring3 run` agrees.
gcc=$(command -v gcc)
if [ -n "$gcc" ]; then
    printf '.globl _start\n_start: mov $0, %%al\nout %%al, $0xf4\n' | gcc -x assembler -nostdlib -static \
        -no-pie -Wl,--build-id=none,-z,noexecstack,-Ttext=0x1000000 -o "$dir/end.elf" - || fail "gcc"
    timeout 60 "$ring3" run -k "$dir/end.elf" >"$dir/out" 2>"$dir/err" </dev/null
    got=$?
    [ "$((got != 0))" = "$code" ] || fail "doctor's exit status is $code, run's $got: $(cat "$dir/err")"
fi

# Without /proc the guest, a file in memory, has no path.
mkdir "$dir/bare"
cp "$ring3" "$dir/bare/ring3"
if [ "$code" = 0 ] && chroot "$dir/bare" /ring3 version >"$dir/out" 2>/dev/null; then
    chroot "$dir/bare" /ring3 doctor >"$dir/out" 2>&1 </dev/null || fail "without /proc: exit status"
    grep -q '^ *no machine could be tried: /proc' "$dir/out" || fail "without /proc: no reason"
    grep -Eq "$ran" "$dir/out" && fail "without /proc: a machine was run"
fi

# unusable REASON COMMAND...: run so, doctor finds bt unusable, says this one reason, and no other
# engine to take; in JSON the same.
unusable()
{
    reason=$1
    shift
    timeout 60 "$@" "$ring3" doctor >"$dir/text" 2>"$dir/err" </dev/null
    got=$?
    [ "$got" = 1 ] || fail "$reason: exit status $got, not 1"
    [ -s "$dir/err" ] && fail "$reason: something on stderr: $(cat "$dir/err")"
    said=$(sed -n '/^  bt /,/^  `auto`/p' "$dir/text" | tr -s ' \n' ' ')
    [ "$said" = " bt unusable $reason \`auto\`: no engine can run on this host " ] ||
        fail "$reason: said is '$said'"
    timeout 60 "$@" "$ring3" doctor --format json >"$dir/json" 2>&1 </dev/null
    got=$?
    [ "$got" = 1 ] || fail "$reason: JSON: exit status $got, not 1"
    grep -qF "{\"name\": \"bt\", \"usable\": false, \"why\": \"$reason\", \"machine\": \"failed\"," "$dir/json" ||
        fail "$reason: JSON: $(grep '"bt"' "$dir/json")"
    grep -qF '"auto": {"engine": null,' "$dir/json" || fail "$reason: JSON: an engine is taken"
}

if [ "$code" = 0 ]; then
    unusable "the host gives no memory for the machine: no memory; use a smaller -m, or ulimit -v\
 unlimited and ulimit -d unlimited" sh -c 'ulimit -v 200000; exec "$@"' -
fi

# forbid CALL ERRNO COMMAND...: under a filter with which the system call (timer_create; dumpable:
# prctl's PR_SET_DUMPABLE) fails so.
# forbid CALL hold FILE COMMAND...: with which it never returns. COMMAND's process id goes to FILE,
# and forbid lives 5 s longer than COMMAND.
cat >"$dir/forbid.c" <<'END'
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int hold = argc > 4 && !strcmp(argv[2], "hold");
    if (argc < 4)
        return 99;
    int dumpable = !strcmp(argv[1], "dumpable");
    unsigned call = dumpable ? SYS_prctl : SYS_timer_create;
    unsigned verdict = hold ? SECCOMP_RET_USER_NOTIF : SECCOMP_RET_ERRNO | (unsigned)atoi(argv[2]);
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args)),
        BPF_JUMP(BPF_JMP | (dumpable ? BPF_JEQ : BPF_JGE) | BPF_K, dumpable ? PR_SET_DUMPABLE : 0, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, verdict),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {.len = 6, .filter = code};
    signal(SIGINT, SIG_DFL);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                hold ? SECCOMP_FILTER_FLAG_NEW_LISTENER : 0, &prog) < 0)
        return 77;
    pid_t pid = hold ? fork() : 0;
    if (pid == 0) {
        execv(argv[3 + hold], argv + 3 + hold);
        return 99;
    }
    FILE *f = fopen(argv[3], "w");
    if (!f || fprintf(f, "%d\n", (int)pid) < 0 || fclose(f))
        return 99;
    int status;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    f = fopen(argv[3], "a");
    if (!f || fprintf(f, "ended %d\n", status) < 0 || fclose(f))
        return 99;
    sleep(5);
    return 0;
}
END

# in_session PID: the processes of the session that PID leads, without PID and without those that
# have ended and wait for init to notice.
in_session()
{
    for p in $(pgrep -s "$1" | grep -vx "$1"); do
        grep -q '^State:.*zombie' "/proc/$p/status" 2>/dev/null || echo "$p"
    done
}

# hold COMMAND...: a doctor whose machine never starts, in the background, in a session of its own,
# led by $leader; returns when all of the machine is there.
hold()
{
    rm -f "$dir/pid"
    setsid "$dir/forbid" timer_create hold "$dir/pid" "$@" >"$dir/text" 2>"$dir/err" </dev/null &
    leader=$!
    for i in $(seq 100); do
        [ "$(in_session "$leader" | wc -l)" -ge 4 ] && return 0
        sleep 0.1
    done
    fail "$*: no machine after 10 s: $(in_session "$leader" | tr '\n' ' ')"
}

# gone WHAT: but the leader, the session ends within 2 s; that is before the held call is let go.
gone()
{
    for i in $(seq 20); do
        left=$(in_session "$leader" | tr '\n' ' ')
        [ -z "$left" ] && break
        sleep 0.1
    done
    [ -z "$left" ] || fail "$1: processes $left are left"
    kill "$leader" 2>/dev/null || fail "$1: looked too late"
    wait "$leader" 2>/dev/null
    [ -z "$(ls -A "$XDG_RUNTIME_DIR")" ] || fail "$1: files are left: $(ls -A "$XDG_RUNTIME_DIR")"
}

if [ "$code" = 0 ] && [ -n "$gcc" ] &&
    gcc -O1 -Wall -Werror -o "$dir/forbid" "$dir/forbid.c" && "$dir/forbid" dumpable 1 /bin/true; then
    # What `ring3 run` says is the reason.
    unusable 'the bt engine cannot start: Operation not permitted' "$dir/forbid" timer_create 1
    unusable "the bt engine cannot start: the process that user code's are forked from ends at\
 once: something (a seccomp profile?) refuses it a system call" "$dir/forbid" dumpable 1
    "$dir/forbid" dumpable 1 "$ring3" run -k "$dir/end.elf" 2>"$dir/err" </dev/null
    [ "$(cat "$dir/err")" = "ring3 run: failed: $reason; 'ring3 doctor' says more" ] ||
        fail "run says $(cat "$dir/err")"

    export XDG_RUNTIME_DIR="$dir/runtime"
    mkdir -m 700 "$XDG_RUNTIME_DIR"
    # Whatever ends the doctor ends its machine; until then nobody sees it.
    for sig in INT TERM KILL; do
        hold "$ring3" doctor
        [ -z "$("$ring3" ps -q 2>&1)" ] || fail "ps shows a doctor's machine"
        kill -$sig "$(head -n 1 "$dir/pid")"
        gone "SIG$sig"
    done
    # A machine that does not end is given up.
    hold "$ring3" doctor
    for i in $(seq 150); do
        grep -q ended "$dir/pid" && break
        sleep 0.1
    done
    grep -q '^ended 256$' "$dir/pid" || fail "a machine without end: $(cat "$dir/pid")"
    gone "a machine without end"
    tr -s ' \n' ' ' <"$dir/text" | grep -q 'bt unusable a machine that was tried did not end within' ||
        fail "a machine without end: $(grep '^  bt' "$dir/text")"
else
    echo "doctor: no gcc or no seccomp: refusals and interruptions were not tried"
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
