# The default guest and the power button; its terminal on the virtio console.
. tests/lib.sh
. tests/boot/lib/machines.sh

truncate -s 32M "$scratch/a.img"
/usr/sbin/mke2fs -q -t ext4 "$scratch/a.img"
run "$RING3" run --detach --name button -d "$scratch/a.img" -- sh -c 'mount /dev/vda /mnt && echo mounted
    while :; do date >>/mnt/dates; done' </dev/null
expect_status 0 --detach
for _ in $(seq 100); do
    "$RING3" logs button 2>/dev/null | grep -q mounted && break
    sleep 0.1
done
start=$SECONDS
stop_machine button
[ $((SECONDS - start)) -le 10 ] || fail "the power button took $((SECONDS - start)) s"
expect_clean "$scratch/a.img" "the power button"

# Sizes follow ring3's terminal, and the shell's programs hear of it.
"$BUILD/tests/tools/pty" "$RING3" run >"$scratch/out" 2>&1 <<'END' || fail "console: $(tail -n 5 "$scratch/out" | tr '\r\n' '  ')"
expect ring3:~#
type tty; stty size\r
expect /dev/hvc0
expect 24 80
expect ring3:~#
size 50 132
sleep 500
type stty size\r
expect 50 132
expect ring3:~#
type sh -c 'trap "stty size" WINCH; while :; do sleep 0.1; done'\r
sleep 500
size 33 99
expect 33 99
type \x03
expect ring3:~#
type exit\r
wait
END
expect_text out "status 0" console
finish
