# A Debian 12 system, installed by debootstrap, as it is: from a raw and from a qcow2 disk to multi-user with nothing
# failed and with network; what it wrote is there; stopped by the power button it leaves a clean file system.
. tests/lib.sh
. tests/boot/lib/machines.sh
. tests/boot/lib/debian.sh

complaints='WARNING|BUG|Oops|Call Trace|general protection| stall|lockup|hung task|unhandled|stuck|segfault|I/O error'

look_around() { # NAME
    local port=$2
    debian_ssh "$port" 'systemctl is-system-running; systemctl is-active multi-user.target; systemctl --failed --plain --no-legend' \
        </dev/null >"$scratch/out" 2>&1
    expect_exactly out 'running\nactive\n' "$1: systemd"
    debian_ssh "$port" 'ip -4 -o addr show eth0 scope global; ip route' </dev/null >"$scratch/out"
    expect_text out " inet " "$1: address"
    expect_text out "default via" "$1: route"
    debian_ssh "$port" 'dmesg; journalctl -b -p err' </dev/null >"$scratch/out"
    ! grep -E "$complaints" "$scratch/out" || fail "$1: the kernel complains"
    "$RING3" logs "$1" >"$scratch/out" 2>&1
    expect_text out "debian12 login:" "$1: console"
}

one_system() { # NAME DISK
    local port sum
    port=$(free_port)
    debian_start "$1" "$port" -d "$2"
    debian_wait "$1" "$port"
    look_around "$1" "$port"
    sum=$(debian_ssh "$port" 'head -c 30000000 /dev/urandom >/root/data; sync; md5sum </root/data' </dev/null)
    stop_machine "$1"
    "$RING3" rm "$1" >/dev/null 2>&1
    # What it wrote is there, for it and for us.
    debian_start "$1" "$port" -d "$2"
    debian_wait "$1" "$port"
    [ "$(debian_ssh "$port" 'md5sum </root/data' </dev/null)" = "$sum" ] || fail "$1: another file after a reboot"
    LIMIT=60 debian_ssh "$port" systemctl poweroff </dev/null >/dev/null 2>&1
    [ $? -ne 124 ] || fail "$1: the connection outlives the machine"
    wait_for_end "$1"
    echo "$sum" >"$scratch/$1.sum"
}

read_back() { # NAME RAW_FILE
    expect_clean "$2" "$1"
    /usr/sbin/debugfs -R "dump /root/data $scratch/data" "$2" >/dev/null 2>&1
    [ "$(sum_of "$scratch/data")" = "$(cut -d' ' -f1 "$scratch/$1.sum")" ] || fail "$1: its file, read from the image, differs"
}

debian_disk "$scratch/raw.img"
run "$RING3" image convert "$scratch/raw.img" "$scratch/disk.qcow2"
expect_status 0 "convert to qcow2"

one_system raw "$scratch/raw.img"
read_back raw "$scratch/raw.img"
rm -f "$scratch/raw.img"

one_system qcow2 "$scratch/disk.qcow2"
run "$RING3" image check "$scratch/disk.qcow2"
expect_status 0 "check of the qcow2 image"
run "$RING3" image convert "$scratch/disk.qcow2" "$scratch/back.img"
expect_status 0 "convert to raw"
read_back qcow2 "$scratch/back.img"
finish
