# kill -9 of the monitor while its guest writes: the image opens clean, and everything the guest had flushed is there.
# KILLS for each kind of disk, 4 if not given.
. tests/lib.sh
. tests/boot/lib/machines.sh
kills=${KILLS:-4}

# One run of the guest. It checks what is there (files up to the last number in `last`), says "have N", and goes on: file
# N+1 with contents of its own, flushed, then its number into `last`, flushed, then "done N+1".
# shellcheck disable=SC2016
program='
text() { yes "this is file $1" | head -c 65536; }
mount -t ext4 /dev/vda /mnt || exit 2
cd /mnt
n=$(cat last 2>/dev/null || echo 0)
[ $n -le 30 ] || first=$((n - 30))
for i in $(seq ${first:-1} $n); do
    [ "$(text $i | md5sum)" = "$(md5sum <f$i)" ] || { echo "bad $i"; exit 3; }
done
echo "have $n"
while [ "$1" = write ]; do
    n=$((n + 1))
    text $n >f$n
    [ $n -le 40 ] || rm -f f$((n - 40))
    sync
    echo $n >last.new; mv last.new last
    sync
    echo "done $n"
done
'
spec() { # KIND
    case $1 in
    raw) echo "$scratch/a.img" ;;
    qcow2) echo "$scratch/a.qcow2" ;;
    mirror) echo "mirror:$scratch/m1.img,$scratch/m2.img" ;;
    stripe) echo "stripe:64K:$scratch/s1.img,$scratch/s2.img" ;;
    esac
}

# The last number that the guest said to be flushed.
acknowledged() {
    sed -n 's/^\(done\|have\) \([0-9]*\)$/\2/p' "$scratch/said" | tail -n 1
}

one_kill() { # KIND ACKNOWLEDGED: the new number is in $flushed
    local pid ms
    : >"$scratch/said" # what the last one said must not be taken for this one's
    "$RING3" run -d "$(spec "$1")" -- sh -c "$program" sh write </dev/null >"$scratch/said" 2>"$scratch/err" &
    pid=$!
    helpers+=("$pid")
    for _ in $(seq 200); do
        grep -q '^have' "$scratch/said" && break
        sleep 0.05
    done
    grep -q '^have' "$scratch/said" || fail "$1: $(tail -n 3 "$scratch/said" "$scratch/err" | tr '\n' ' ')"
    [ "$(sed -n 's/^have //p' "$scratch/said")" -ge "$2" ] 2>/dev/null || fail "$1: $2 was flushed, found: $(cat "$scratch/said")"
    ms=$((RANDOM % 1500))
    sleep "$((ms / 1000)).$(printf %03d $((ms % 1000)))"
    kill -9 "$(pgrep -P "$pid" | head -n 1)" # below the launcher (host/linux/launch.h)
    wait "$pid" 2>/dev/null
    flushed=$(acknowledged)
    echo "$1: killed after $ms ms at ${flushed:-?}"
    [ "$1" != qcow2 ] || { run "$RING3" image check "$scratch/a.qcow2"; expect_status 0 "qcow2: check after a kill"; }
}

for f in a m1 m2 s1 s2; do
    truncate -s 64M "$scratch/$f.img"
done
run "$RING3" image create "$scratch/a.qcow2" 64M
expect_status 0 "image create"
for kind in raw qcow2 mirror stripe; do
    # The guest's own mke2fs knows ext2 only: ours writes through an image of the same size.
    size=$("$RING3" run -d "$(spec $kind)" -- cat /sys/block/vda/size </dev/null)
    rm -f "$scratch/new.img"
    truncate -s $((size * 512)) "$scratch/new.img"
    /usr/sbin/mke2fs -q -t ext4 "$scratch/new.img"
    run "$RING3" run -d "$(spec $kind)" -d "$scratch/new.img,ro" -- dd if=/dev/vdb of=/dev/vda bs=1M conv=fsync </dev/null
    expect_status 0 "$kind: a file system"
    flushed=0
    for _ in $(seq "$kills"); do
        one_kill $kind "${flushed:-0}"
    done
    [ "${flushed:-0}" -gt 0 ] || fail "$kind: nothing was written"
    run "$RING3" run -d "$(spec $kind)" -- sh -c "$program" sh check </dev/null
    expect_status 0 "$kind: after the last kill: $(cat "$scratch/out")"
    run "$RING3" run -d "$(spec $kind)" -d "$scratch/new.img" -- dd if=/dev/vda of=/dev/vdb bs=1M conv=fsync </dev/null
    expect_clean "$scratch/new.img" "$kind"
done
finish
