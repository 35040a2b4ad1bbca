# A disk whose server does not answer any more: the machine can still be ended at once, and says what that may have cost. And output that cannot be
# written is never a success.
. tests/lib.sh
. tests/boot/lib/machines.sh
command -v qemu-nbd >/dev/null || { echo "no qemu-nbd; tools/setup test installs it"; exit 77; }

truncate -s 16M "$scratch/disk"
serve_disk "$scratch/disk"

# The guest writes; the server is stopped amid that.
start_stuck() { # NAME
    "$RING3" run --detach --name "$1" -d "nbd+unix:///?socket=$socket" -- \
        sh -c 'echo there; while :; do dd if=/dev/zero of=/dev/vda bs=64k count=100 conv=fsync; done' >/dev/null || fail "no machine $1"
    local i
    for ((i = 0; i < 200; i++)); do
        ! "$RING3" logs "$1" 2>/dev/null | grep -q 'records out' || break
        sleep 0.05
    done
    kill -STOP "$server"
    sleep 0.3
}

# Seconds that the command takes, whole ones.
took() {
    local start=$SECONDS
    run "$@"
    seconds=$((SECONDS - start))
}

start_stuck one
took "$RING3" kill one
expect_status 0 "kill amid a write that is not answered"
[ "$seconds" -le 4 ] || fail "kill took $seconds s"
"$RING3" ps | grep -q '^one  *exited (137)' || fail "killed, but: $("$RING3" ps | tail -n 1)"
"$RING3" logs one | grep -q 'does not answer: what the guest wrote there and did not flush may be lost' || fail "nothing is said of the disk"
run "$RING3" rm one
kill -CONT "$server"

start_stuck two
took "$RING3" stop -t 2 two
[ "$seconds" -le 8 ] || fail "stop -t 2 took $seconds s"
"$RING3" ps | grep -q '^two  *exited (137)' || fail "stopped, but: $("$RING3" ps | tail -n 1)"
kill -CONT "$server"

start_stuck three
monitor=$(machine_pid three)
kill -TERM "$monitor"
start=$SECONDS
while kill -0 "$monitor" 2>/dev/null && [ $((SECONDS - start)) -lt 30 ]; do
    sleep 0.1
done
[ $((SECONDS - start)) -le 4 ] || fail "SIGTERM: still there after $((SECONDS - start)) s"
kill -CONT "$server"

# Output that nobody takes: the command's success is none.
for _ in $(seq 20); do
    "$RING3" run -- echo hi >/dev/full 2>"$scratch/said"
    status=$?
    [ $status -eq 125 ] && grep -q "cannot write the guest's output" "$scratch/said" || fail "output lost, but status $status: $(cat "$scratch/said")"
done
finish
