# What the tests with a whole Debian system share. Sourced after tests/lib.sh and machines.sh. Its disk is a copy of the
# one that tools/debian-image makes, with a key of the test's own for ssh through a forwarded port.

tools/debian-image "$BUILD" >"$scratch/image" 2>&1
case $? in
0) ;;
77) tail -n 1 "$scratch/image"; exit 77 ;;
*) cat "$scratch/image"; exit 1 ;;
esac
for tool in ssh ssh-keygen /usr/sbin/debugfs; do
    command -v $tool >/dev/null || { echo "no $tool; tools/setup test installs it"; exit 77; }
done
ssh-keygen -q -t ed25519 -N '' -C test -f "$scratch/key" </dev/null

debian_disk() { # FILE
    cp --sparse=always "$BUILD/debian/disk.img" "$1" &&
        /usr/sbin/debugfs -w -R "write $scratch/key.pub /root/.ssh/authorized_keys" "$1" >/dev/null 2>&1 ||
        fail "cannot make $1"
}

# Its kernel and initramfs as they are; the disk is the first -d.
debian_start() { # NAME SSH_PORT ARGS...
    local name=$1 port=$2
    shift 2
    run "$RING3" run --detach --name "$name" -m "${MEMORY:-512M}" -k "$BUILD/debian/vmlinuz" -i "$BUILD/debian/initrd.img" \
        -a "root=/dev/vda console=ttyS0 quiet net.ifnames=0 systemd.mask=apt-daily.timer systemd.mask=apt-daily-upgrade.timer" \
        --net user -p "127.0.0.1:$port:22" "$@" </dev/null
    expect_status 0 "start $name"
}

debian_ssh() { # SSH_PORT COMMAND...
    local port=$1
    shift
    timeout -k 5 "${LIMIT:-120}" ssh -F /dev/null -i "$scratch/key" -p "$port" -o BatchMode=yes -o LogLevel=ERROR \
        -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=3 \
        -o ServerAliveInterval=10 root@127.0.0.1 "$@"
}

# Wait until it lets us in and has started all it starts. Fails the test at once if it does not.
debian_wait() { # NAME SSH_PORT
    local start=$SECONDS
    until LIMIT=20 debian_ssh "$2" true </dev/null 2>/dev/null; do
        if [ $((SECONDS - start)) -gt 180 ]; then
            fail "$1: no ssh after 180 s; it says: $("$RING3" logs "$1" 2>&1 | tail -n 15)"
            finish
        fi
        sleep 0.5
    done
    debian_ssh "$2" systemctl is-system-running --wait </dev/null >/dev/null
    echo "$1: up after $((SECONDS - start)) s"
}
