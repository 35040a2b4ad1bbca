# Disks whose files the host has to read: many readers at once check every byte while a writer flushes. The host forgets
# the files all the while, so that reads have to wait and go to the crew (host/linux/device_disk.c). Then machines that are
# stopped, rebooted, and whose disks are reset amid such reads.
# ROUNDS of reading everything, 2 if not given.
. tests/lib.sh
. tests/boot/lib/machines.sh
rounds=${ROUNDS:-2}

# What a disk begins with: 48 MB in chunks of 4 MB, random but for a hole. Behind it are 16 MB for the writer.
chunks=12
head -c $((chunks << 22)) /dev/urandom >"$scratch/data"
truncate -s 64M "$scratch/data"
fallocate -p -o 9M -l 5M "$scratch/data"
chunk_sum() { # FILE N
    dd if="$1" bs=4M skip="$2" count=1 status=none | md5sum | cut -d' ' -f1
}

cp --sparse=always "$scratch/data" "$scratch/raw.img"
run "$RING3" image convert "$scratch/data" "$scratch/q.qcow2"
expect_status 0 "a qcow2 image"
stripe=stripe:64K:$scratch/s1.img,$scratch/s2.img,$scratch/s3.img
truncate -s 22M "$scratch"/s{1,2,3}.img # 2 MB more than the others, in all
run "$RING3" run -d "$scratch/data,ro" -d "$stripe" -- dd if=/dev/vda of=/dev/vdb bs=1M conv=fsync </dev/null
expect_status 0 "a stripe"
specs=("$scratch/raw.img" "$scratch/q.qcow2" "$stripe")
disks=(-d "${specs[0]}" -d "${specs[1]}" -d "${specs[2]}")
[ "$failures" -eq 0 ] || finish

while :; do
    for f in "$scratch"/raw.img "$scratch"/q.qcow2 "$scratch"/s{1,2,3}.img; do
        sync "$f"
        dd if="$f" iflag=nocache count=0 status=none
    done
    sleep 0.02
done 2>/dev/null &
helpers+=($!)

# What the guests have in common. A reader reads each fourth chunk.
# shellcheck disable=SC2016
reader='
sum_at() { dd if=/dev/$1 bs=$3 iflag=direct,skip_bytes,count_bytes skip=$(($2 << 22)) count=4194304 2>/dev/null | md5sum; }
reader() { # DISK FIRST BLOCK_SIZE
    for i in $2 $(($2 + 4)) $(($2 + 8)); do
        sum=$(sum_at $1 $i $3)
        echo "read $1 $i ${sum%% *}"
    done
}
readers() { # DISK
    reader $1 0 128k & reader $1 1 8k & reader $1 2 1M & reader $1 3 32k &
    wait
}
endless() {
    for d in vda vdb vdc; do while :; do readers $d >/dev/null; done & done
    sleep 1.5
}
'

# ---- every byte ----

# The writer goes on as long as anybody reads.
# shellcheck disable=SC2016
program=$reader'
writer() { # DISK
    n=0
    while [ ! -e /tmp/over ]; do
        i=$((12 + n % 4))
        head -c 4194304 /dev/urandom >/tmp/$1
        dd if=/tmp/$1 of=/dev/$1 bs=64k seek=$((i * 64)) conv=fsync 2>/dev/null || echo bad $1
        [ "$(sum_at $1 $i 64k)" = "$(md5sum </tmp/$1)" ] || echo "bad $1 $i"
        sum=$(md5sum </tmp/$1)
        echo "wrote $1 $i ${sum%% *}"
        n=$((n + 1))
    done
}
for d in vda vdb vdc; do writer $d & done
writers=$(jobs -p)
for round in $(seq $1); do
    ids=
    for d in vda vdb vdc; do readers $d & ids="$ids $!"; done
    wait $ids
done
touch /tmp/over
wait $writers
echo over
sleep 100'

said() { # NAME TEXT: wait until it says so
    local i
    for ((i = 0; i < 400; i++)); do
        "$RING3" logs "$1" 2>/dev/null | tr -d '\r' >"$scratch/said"
        ! grep -q "^$2" "$scratch/said" || return 0
        sleep 0.1
    done
    fail "$1: no '$2' after 40 s: $(tail -n 5 "$scratch/said" | tr '\n' ' ')"
}

run "$RING3" run --detach --name bytes "${disks[@]}" -- sh -c "$program" sh "$rounds" </dev/null
expect_status 0 "a machine"
said bytes over
cp "$scratch/said" "$scratch/log"
run "$RING3" stats --once --format json bytes
cp "$scratch/out" "$scratch/stats"
# What the crews did, in the monitor (it is below the launcher): how often their threads waited for more work. Each waits
# once in the beginning.
read -r threads waits < <(grep -s -h '^Name:\|^voluntary' "/proc/$(pgrep -P "$(machine_pid bytes)" | head -n 1)"/task/*/status |
    awk '$1 == "Name:" { crew = $2 == "disk-crew"; n += crew } /^vol/ && crew { waits += $2 } END { print n + 0, waits + 0 }')
stop_machine bytes

echo "$(grep -c '^read' "$scratch/log") chunks read, $(grep -c '^wrote' "$scratch/log") written; the crews' $threads threads waited for work $waits times"
! grep '^bad' "$scratch/log" || fail "a writer read other bytes than it wrote"
if [ "$(stat -f -c %T "$scratch")" = tmpfs ]; then
    echo "$scratch is in memory: there was nothing to wait for"
else
    [ "$threads" -eq 24 ] && [ "$waits" -ge $((2 * threads)) ] || fail "the crews had little to do: $threads threads waited $waits times"
fi
n=0
for d in vda vdb vdc; do
    for ((i = 0; i < chunks; i++)); do
        sum=$(chunk_sum "$scratch/data" $i)
        [ "$(grep -cx "read $d $i $sum" "$scratch/log")" -eq "$rounds" ] || fail "$d, chunk $i: not $sum: $(grep "^read $d $i " "$scratch/log" | tr '\n' ' ')"
    done
    read -r ops bytes writes errors < <(grep -o '"\(in_ops\|in_bytes\|out_bytes\|errors\)": *[0-9]*' "$scratch/stats" |
        sed 's/.*: *//' | paste -d' ' - - - - | sed -n "$((++n))p")
    [ "$ops" -ge $((rounds * 1000)) ] && [ "$bytes" -ge $((rounds * chunks << 22)) ] && [ "$writes" -ge $((1 << 22)) ] &&
        [ "$errors" -eq 0 ] || fail "$d: the counters say $ops reads of $bytes bytes, $writes written, $errors errors"
done

# ---- endings ----

run "$RING3" run --detach --name stop "${disks[@]}" -- sh -c "$reader echo on; endless; sleep 100" </dev/null
expect_status 0 "a machine to be stopped"
said stop on
sleep 1
start=$SECONDS
stop_machine stop
[ $((SECONDS - start)) -le 10 ] || fail "stop amid reads took $((SECONDS - start)) s"

run "$RING3" run "${disks[@]}" -- sh -c "$reader endless; reboot -f; sleep 100" </dev/null
expect_status 126 "a reboot amid reads"
expect_text err "the guest rebooted before the command ended" "a reboot amid reads"
! grep -v '^\[\|the guest rebooted' "$scratch/err" || fail "a reboot amid reads: more was said"

# The same in a terminal, where the machine starts again.
"$BUILD/tests/tools/pty" "$RING3" run "${disks[@]}" >"$scratch/out" 2>&1 <<END || fail "a reboot: $(tail -n 5 "$scratch/out" | tr '\r\n' '  ')"
expect ring3:~#
type old=1; for d in vda vdb vdc; do for i in 1 2 3 4; do dd if=/dev/\$d of=/dev/null bs=64k iflag=direct 2>/dev/null & done; done; sleep 0.3; reboot -f\r
expect ring3:~#
type for d in vda vdb vdc; do dd if=/dev/\$d bs=4M count=1 2>/dev/null | md5sum; done\r
expect $(chunk_sum "$scratch/data" 0)
expect $(chunk_sum "$scratch/data" 0)
expect $(chunk_sum "$scratch/data" 0)
type echo "<\$old>"\r
expect <>
type exit\r
wait
END
expect_text out "status 0" "a reboot in a terminal"

# ---- what the host sees ----

n=0
for d in vda vdb vdc; do
    run "$RING3" image convert "${specs[n]}" "$scratch/whole.img"
    expect_status 0 "convert ${specs[n]}"
    cmp -n $((chunks << 22)) "$scratch/data" "$scratch/whole.img" || fail "$d: data was changed"
    for i in 12 13 14 15; do
        last=$(sed -n "s/^wrote $d $i //p" "$scratch/log" | tail -n 1)
        [ -z "$last" ] || [ "$last" = "$(chunk_sum "$scratch/whole.img" $i)" ] || fail "$d, chunk $i: not what was written last"
    done
    rm -f "$scratch/whole.img"
    n=$((n + 1))
done
run "$RING3" image check "$scratch/q.qcow2"
expect_status 0 "check of the qcow2 image"
finish
