#!/usr/bin/env bash
# Weights and caps where there is only cgroup version 2: in a guest of ring3, whose machines ring3 runs in turn. As root,
# in a group with limits, and as a user, with groups as systemd hands them out. The inner machines are a loop without a
# system, all on the guest's one processor; what they used is what their groups say.
. tests/lib.sh

mkdir "$scratch/disk"
cp "$RING3" "$scratch/disk/ring3"
printf '.globl _start\n.section .note.GNU-stack,"",@progbits\n.text\n_start: jmp _start\n' |
    gcc -x assembler -nostdlib -static -no-pie -Wl,--build-id=none,-Ttext=0x1000000 -o "$scratch/disk/busy.elf" - || exit 1

cat >"$scratch/disk/inside" <<'INSIDE'
cgroups=/sys/fs/cgroup
umask 022
busy() { # NAME OPTIONS...
    name=$1
    shift
    /test/ring3 run --detach --rm --name "$name" -m 32M -k /test/busy.elf "$@" >/dev/null || echo "failed $name"
}
group() { cat "$XDG_RUNTIME_DIR/ring3/$1/group"; }
used() { # LABEL NAME...: microseconds of each machine, and hundredths of a second of the clock
    label=$1
    shift
    for name; do
        read -r up _ </proc/uptime
        echo "used $label $name $(sed -n 's/^usage_usec //p' "$(group "$name")/cpu.stat") ${up%.*}${up#*.}"
    done
}
measure() { # LABEL SECONDS NAME...
    label=$1 seconds=$2
    shift 2
    sleep 0.5
    used "$label" "$@"
    sleep "$seconds"
    used "$label" "$@"
}
three() { # LABEL SECONDS
    busy one; busy two --weight 200; busy three --weight 300
    measure "$1" "$2" one two three
    echo "group $1 $(group three)"
    [ "$1" != root ] || take_back
    /test/ring3 rm -f one two three >/dev/null
}
take_back() { # as systemd does when no unit of its own wants the controller
    echo -cpu >$cgroups/cgroup.subtree_control
    echo "kept $(cat "$(group three)/cpu.weight")"
} 2>/dev/null
if [ $# -eq 2 ]; then # as the user
    three "$@"
    exit
fi

mount -t cgroup2 none $cgroups
export XDG_RUNTIME_DIR=/tmp/root
mkdir -m 700 $XDG_RUNTIME_DIR
busy first || exit
/test/ring3 ps -q | grep -q first || { echo "nothing runs"; exit; }
/test/ring3 rm -f first >/dev/null

three root 10
busy low --cap 15 --weight 1000; busy high --cap 40 --weight 1000; busy other
measure caps 10 low high
/test/ring3 rm -f low high other >/dev/null

# Limits that somebody put around ring3: the machines stay within.
mkdir $cgroups/box
echo "400000 100000" >$cgroups/box/cpu.max
(sh -c 'echo $PPID' >$cgroups/box/cgroup.procs && three box 10)
echo "left box: $(cat $cgroups/box/cgroup.type) $(cat $cgroups/box/cgroup.subtree_control)"

# A user's part of the groups, and a session that is not in it.
slice=$cgroups/user.slice/user-1000.slice
user=$slice/user@1000.service
mkdir -p $slice/session-1.scope $user/app.slice/ring3.scope
for dir in $cgroups $cgroups/user.slice $slice; do echo +cpu >$dir/cgroup.subtree_control; done
find $user '(' -type d -o -name cgroup.procs -o -name cgroup.subtree_control ')' -exec chown 1000:1000 {} +
echo 'u:x:1000:1000::/tmp:/bin/sh' >>/etc/passwd
mkdir -m 700 /tmp/user
chown 1000:1000 /tmp/user
as_user() { # GROUP COMMAND...
    dir=$1
    shift
    (sh -c 'echo $PPID' >"$dir/cgroup.procs" && exec su u -s /bin/sh -c "XDG_RUNTIME_DIR=/tmp/user $*") 2>&1
}
as_user $user/app.slice/ring3.scope sh /test/inside user 10
as_user $slice/session-1.scope /test/ring3 run --detach --rm --name one -m 32M -k /test/busy.elf --weight 200
as_user $slice/session-1.scope /test/ring3 rm -f one
echo "left: $(find $cgroups -name 'ring3.*.*')"
INSIDE
tar -C "$scratch/disk" -cf "$scratch/disk.tar" . || exit 1

LIMIT=200 run "$RING3" run -m 320M -d "$scratch/disk.tar,ro" -- sh -c 'mkdir /test && cd /test && tar -xf /dev/vda && sh /test/inside' </dev/null
expect_status 0 "the guest"
! grep -qx 'nothing runs' "$scratch/out" || { echo "ring3 does not run in ring3 here"; exit 77; }

# had LABEL NAME: per cent of a processor
had() {
    awk -v label="$1" -v name="$2" '$1 == "used" && $2 == label && $3 == name { n++; used[n] = $4; at[n] = $5 }
        END { if (n == 2) printf "%.2f", (used[2] - used[1]) / (at[2] - at[1]) / 100; else print "none" }' "$scratch/out"
}
within() { # LABEL NAME PERCENT TOLERANCE
    local had
    had=$(had "$1" "$2")
    echo "$1: $2 had $had % of a processor, $3 expected"
    awk -v had="$had" -v want="$3" -v by="$4" 'BEGIN { exit !(had >= want * (1 - by) && had <= want * (1 + by)) }' ||
        fail "$1: $2 had $had %, not $3 %"
}
weights() { # LABEL GROUP: where the machines' groups are
    local all
    all=$(awk -v a="$(had "$1" one)" -v b="$(had "$1" two)" -v c="$(had "$1" three)" 'BEGIN { print a + b + c }')
    within "$1" one "$(awk "BEGIN { print $all / 6 }")" 0.10
    within "$1" two "$(awk "BEGIN { print $all / 3 }")" 0.10
    within "$1" three "$(awk "BEGIN { print $all / 2 }")" 0.10
    expect_text out "group $1 $2/ring3.three." "$1: where the group is"
}
weights root /sys/fs/cgroup
expect_text out "kept 300" "the controller, taken back"
within caps low 15 0.05
within caps high 40 0.05
weights box /sys/fs/cgroup/box
expect_text out "left box: domain " "a group with limits, afterwards"
weights user /sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service
expect_text out "--weight 200: no control group can be made here" "a session of a user's"
expect_text out "left: " "groups afterwards"
! grep '^left: .' "$scratch/out" || fail "groups are left"
[ "$failures" -eq 0 ] || grep -v '^used' "$scratch/out"
finish
