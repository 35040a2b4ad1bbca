# fio with verification in a Debian system on disks of each kind, and the same bytes seen from the host.
# FIO_SIZE for each disk, 64M if not given.
. tests/lib.sh
. tests/boot/lib/machines.sh
. tests/boot/lib/debian.sh
size=${FIO_SIZE:-64M}

for f in raw s1 s2 s3 m1 m2; do
    truncate -s "$size" "$scratch/$f.img"
done
run "$RING3" image create "$scratch/q.qcow2" "$size"
expect_status 0 "image create"

port=$(free_port)
debian_disk "$scratch/disk.img"
debian_start fio "$port" -d "$scratch/disk.img" -d "$scratch/raw.img,serial=rawdisk" -d "$scratch/q.qcow2" \
    -d "stripe:64K:$scratch/s1.img,$scratch/s2.img,$scratch/s3.img" -d "mirror:$scratch/m1.img,$scratch/m2.img"
debian_wait fio "$port"
[ "$(debian_ssh "$port" cat /sys/block/vdb/serial </dev/null)" = rawdisk ] || fail "serial number"

# Different block sizes, deep queues, random order: each block carries its own checksum and is read again. Then the
# disks' checksums, for the host.
LIMIT=400 debian_ssh "$port" "sh -es" >"$scratch/out" 2>&1 <<'END' || fail "fio: $(tail -n 15 "$scratch/out" | tr '\n' ' ')"
for disk in vdb vdc vdd vde; do
    fio --name=$disk --filename=/dev/$disk --direct=1 --ioengine=libaio --iodepth=16 --rw=randwrite --bsrange=512-256k \
        --verify=crc32c --verify_fatal=1 --verify_pattern=0 --output-format=terse --minimal >/tmp/fio.$disk
    fio --name=$disk --filename=/dev/$disk --ioengine=psync --rw=randrw --bs=4k --fsync=32 --size=8M --verify=crc32c \
        --verify_fatal=1 --output-format=terse --minimal >>/tmp/fio.$disk
    # A hole in the middle reads as zeros.
    blkdiscard -o 4194304 -l 2097152 /dev/$disk
    blkdiscard -z -o 4194304 -l 2097152 /dev/$disk
    cmp -n 2097152 -i 4194304:0 /dev/$disk /dev/zero
    sync /dev/$disk
    echo "$disk $(blockdev --getsize64 /dev/$disk) $(md5sum </dev/$disk)"
done
dmesg | grep -i 'i/o error' && exit 1 || true
END
cp "$scratch/out" "$scratch/sums"
stop_machine fio
expect_clean "$scratch/disk.img" fio

seen() { # DISK IMAGE
    run "$RING3" image convert "$2" "$scratch/whole.img"
    expect_status 0 "convert $2"
    grep -q "^$1 $(stat -c %s "$scratch/whole.img") $(sum_of "$scratch/whole.img") " "$scratch/sums" ||
        fail "$2: the host sees other bytes than the guest: $(grep "^$1" "$scratch/sums")"
    rm -f "$scratch/whole.img"
}
seen vdb "$scratch/raw.img"
seen vdc "$scratch/q.qcow2"
seen vdd "stripe:64K:$scratch/s1.img,$scratch/s2.img,$scratch/s3.img"
# A mirror's legs are alike but for what it keeps behind the data.
read -r _ bytes sum _ < <(grep '^vde ' "$scratch/sums")
for leg in m1 m2; do
    [ "$(head -c "$bytes" "$scratch/$leg.img" | md5sum | cut -d' ' -f1)" = "$sum" ] ||
        fail "the mirror's leg $leg: the host sees other bytes than the guest"
done
run "$RING3" image check "$scratch/q.qcow2"
expect_status 0 "check of the qcow2 image"
finish
