# Disks in the default guest: found, mounted, written, read-only where asked, left clean.
. tests/lib.sh
. tests/boot/lib/machines.sh

# A disk with a file system and a file in it.
new_disk() { # FILE SIZE
    mkdir -p "$scratch/tree"
    head -c 3000000 /dev/urandom >"$scratch/tree/data"
    rm -f "$1"
    truncate -s "$2" "$1"
    /usr/sbin/mke2fs -q -t ext4 -d "$scratch/tree" "$1" || fail "cannot make $1"
}

run "$RING3" run -- sh -c 'ls /dev/vd* /sys/class/net/eth* /dev/hvc0 2>/dev/null' </dev/null
expect_exactly out "" "no devices"

new_disk "$scratch/a.img" 64M
sum=$(sum_of "$scratch/tree/data")
run "$RING3" run -d "$scratch/a.img,serial=first" -- sh -c 'echo $(cat /sys/block/vda/serial); mount /dev/vda /mnt &&
    md5sum </mnt/data; cp /mnt/data /mnt/copy; sync; echo 3 >/proc/sys/vm/drop_caches; md5sum </mnt/copy' </dev/null
expect_status 0 "a disk"
expect_exactly out "first\n$sum  -\n$sum  -\n" "a disk"
expect_clean "$scratch/a.img" "a disk, left mounted by the command"

# Something still writes when the command ends, and when the shell says poweroff.
run "$RING3" run -d "$scratch/a.img" -- sh -c 'mount /dev/vda /mnt && { yes >/mnt/more & sleep 0.3; exit 3; }' </dev/null
expect_status 3 "a writer in the background"
expect_clean "$scratch/a.img" "a writer in the background"
run "$RING3" run -d "$scratch/a.img" -- sh -c 'mount /dev/vda /mnt && cd /mnt && { yes >more & sleep 0.3; poweroff; sleep 100; }' </dev/null
expect_status 126 poweroff
expect_clean "$scratch/a.img" poweroff

before=$(sum_of "$scratch/a.img")
run "$RING3" run -d "$scratch/a.img,ro" -- sh -c 'cat /sys/block/vda/ro; mount -o ro /dev/vda /mnt && md5sum </mnt/data;
    ! echo x 2>/dev/null >/dev/vda; ! mount -o remount,rw /mnt 2>/dev/null' </dev/null
expect_status 0 "a read-only disk"
expect_exactly out "1\n$sum  -\n" "a read-only disk"
[ "$before" = "$(sum_of "$scratch/a.img")" ] || fail "a read-only disk was changed"

# Two disks keep their order; a qcow2 image holds what was written.
run "$RING3" image create "$scratch/b.qcow2" 100M
expect_status 0 "image create"
run "$RING3" run -d "$scratch/a.img" -d "$scratch/b.qcow2" -- sh -c 'cat /sys/block/vda/size /sys/block/vdb/size
    mount /dev/vda /mnt; mke2fs /dev/vdb >/dev/null && mkdir /b && mount /dev/vdb /b && cp /mnt/data /b/ && df /b >&2' </dev/null
expect_status 0 "two disks"
expect_exactly out "131072\n204800\n" "two disks"
run "$RING3" run -d "$scratch/b.qcow2" -- sh -c 'mount /dev/vda /mnt && md5sum </mnt/data' </dev/null
expect_exactly out "$sum  -\n" "the qcow2 image, again"
run "$RING3" image check "$scratch/b.qcow2"
expect_status 0 "image check"

# Many small flushes, and a disk that is full.
run "$RING3" run -d "$scratch/a.img" -- sh -c 'mount /dev/vda /mnt; for i in $(seq 100); do echo $i >/mnt/n; sync; done; cat /mnt/n
    ! dd if=/dev/zero of=/mnt/full bs=1M 2>/dev/null; rm /mnt/full' </dev/null
expect_status 0 "flushes"
expect_exactly out "100\n" "flushes"
expect_clean "$scratch/a.img" "a full disk"
finish
