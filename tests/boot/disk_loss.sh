# A disk that goes away while the guest writes. A leg of a mirror: the guest does not notice, we are told, and the leg
# can be made good again. A whole disk: I/O errors in the guest, which goes on.
. tests/lib.sh
. tests/boot/lib/machines.sh
command -v qemu-nbd >/dev/null || { echo "no qemu-nbd; tools/setup test installs it"; exit 77; }

# Block n of the disk says so, 64 KB long; written one after the other, each flushed. Then all are read again.
# shellcheck disable=SC2016
program='
text() { yes "this is block $1" | head -c 65536; }
if [ $1 = write ]; then
    for n in $(seq 0 $2); do
        text $n | dd of=/dev/vda bs=64k seek=$n conv=notrunc,fsync 2>/dev/null || { echo "write $n"; exit 1; }
        echo "done $n"
    done
fi
echo 3 >/proc/sys/vm/drop_caches
for n in $(seq 0 $2); do
    [ "$(dd if=/dev/vda bs=64k skip=$n count=1 2>/dev/null | md5sum)" = "$(text $n | md5sum)" ] || { echo "bad $n"; exit 1; }
done
echo all good'

# Kill the server as soon as block $1 was written.
lose_after() {
    local i
    for ((i = 0; i < 600; i++)); do
        ! grep -qsx "done $1" "$scratch/out" || break
        sleep 0.05
    done
    kill -9 "$server"
    rm -f "$socket"
}

truncate -s 40M "$scratch/m1.img" "$scratch/m2.img" "$scratch/one.img"
serve_disk "$scratch/m2.img"
: >"$scratch/out"
lose_after 60 &
run "$RING3" run -d "mirror:$scratch/m1.img,nbd+unix:///?socket=$socket" -- sh -c "$program" sh write 200 </dev/null
expect_status 0 "a mirror that loses a leg: $(tail -n 1 "$scratch/out")"
expect_text out "done 61" "a mirror that loses a leg"
expect_text out "all good" "a mirror that loses a leg"
grep -q 'mirror: .* is not used any more' "$scratch/err" || fail "nobody told of the lost leg: $(cat "$scratch/err")"
wait $!

# The old leg alone is not taken for the disk; made good again, it is one.
run "$RING3" run -d "mirror:$scratch/m1.img,$scratch/m2.img" -- sh -c "$program" sh read 200 </dev/null
expect_status 0 "with the stale leg"
run "$RING3" image rebuild "$scratch/m1.img" "$scratch/m2.img" </dev/null
expect_status 0 "rebuild"
run "$RING3" run -d "mirror:$scratch/m1.img,$scratch/m2.img" -- sh -c "$program" sh read 200 </dev/null
expect_status 0 "after the rebuild"
expect_exactly err "" "after the rebuild"
run "$RING3" run -d "$scratch/m2.img,ro" -- sh -c "$program" sh read 200 </dev/null
expect_status 0 "the leg that was rebuilt, alone"

serve_disk "$scratch/one.img"
: >"$scratch/out"
lose_after 20 &
run "$RING3" run -d "nbd+unix:///?socket=$socket" -- sh -c "$program" sh write 200 </dev/null
expect_status 1 "a disk that is lost"
grep -q '^write ' "$scratch/out" || fail "a disk that is lost: $(tail -n 3 "$scratch/out")"
expect_text err "the server is gone" "a disk that is lost"
wait $!
finish
