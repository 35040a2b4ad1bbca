# What tests with machines in the background share. Sourced after tests/lib.sh. A test's machines are its own: they live
# in a runtime folder under $scratch, and what is left of them at the end is killed.

export XDG_RUNTIME_DIR=$scratch/run
mkdir -m 700 "$XDG_RUNTIME_DIR"
helpers=()

machine_pid() { # NAME
    cat "$XDG_RUNTIME_DIR/ring3/$1/pid"
}

end_machines() {
    local pid
    exec 2>/dev/null # the shell's own words about who was killed
    [ ${#helpers[@]} -eq 0 ] || kill "${helpers[@]}"
    for pid in $(cat "$XDG_RUNTIME_DIR"/ring3/*/pid); do
        grep -qa ring3 "/proc/$pid/cmdline" && kill -9 "$pid"
    done
    wait
}
trap 'end_machines; rm -rf "$scratch"' EXIT

free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    echo "$port"
}

# serve FOLDER: over HTTP on the loopback interface; the port is in $served. Guests on --net user reach it by the address
# of their gateway.
serve() {
    served=$(free_port)
    "$BUILD/packages/busybox" httpd -f -p "127.0.0.1:$served" -h "$1" &
    helpers+=($!)
}

# serve_disk FILE: by NBD at $socket, from the process $server.
socket=$scratch/nbd.sock
serve_disk() {
    qemu-nbd -f raw -t -k "$socket" "$1" 2>/dev/null &
    server=$!
    helpers+=("$server")
    for _ in $(seq 100); do
        [ ! -S "$socket" ] || break
        sleep 0.05
    done
}

# The address that stands for the host in the default guest, as a shell command there.
# shellcheck disable=SC2034
gateway='$(ip route | sed -n "s/^default via \([^ ]*\).*/\1/p")'

is_running() { # NAME
    "$RING3" inspect "$1" 2>/dev/null | grep -q '"state": *"running"'
}

wait_for_end() { # NAME
    local start=$SECONDS
    while is_running "$1" && [ $((SECONDS - start)) -lt 60 ]; do
        sleep 0.3
    done
    ! is_running "$1" || fail "$1: still runs after 60 s; it says: $("$RING3" logs "$1" 2>&1 | tail -n 15)"
}

stop_machine() { # NAME
    run "$RING3" stop "$1"
    expect_status 0 "stop $1"
}

sum_of() { # FILE
    md5sum <"$1" | cut -d' ' -f1
}

# e2fsck -n replays no journal and mends nothing: what it finds to be clean was left clean.
expect_clean() { # FILE WHAT
    /usr/sbin/e2fsck -fn "$1" >"$scratch/fsck" 2>&1 || fail "$2: fsck: $(tail -n 5 "$scratch/fsck" | tr '\n' ' ')"
    /usr/sbin/dumpe2fs -h "$1" >"$scratch/fsck" 2>&1
    grep -q '^Filesystem state: *clean$' "$scratch/fsck" || fail "$2: the file system is not clean"
    ! grep -q '^Filesystem features:.*needs_recovery' "$scratch/fsck" || fail "$2: it was not unmounted"
}
