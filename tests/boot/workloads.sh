# Programs in a Debian guest give the results that they give natively: traps, steps, memory, vector registers, clocks,
# busybox, compiled programs of 64 and 32 bits, Perl.
. tests/lib.sh
. tests/boot/workloads/lib.sh
export LIMIT=200 PATH=/usr/sbin:/usr/bin:/sbin:/bin

bin=$BUILD/rootfs/root/tests/bin
for p in traps stepper; do
    timeout 60 "$bin/$p" >"$scratch/native" </dev/null
    guest /tests/bin/$p
    expect_status 0 $p
    like_native $p
done
guest sh /tests/programs.sh "$(date +%s)"
expect_status 0 "programs: $(cat "$scratch/out")"

b=$BUILD/packages/busybox
"$b" sh tests/boot/workloads/guest/busybox.sh "$b" >"$scratch/native" 2>/dev/null </dev/null
guest /tests/bin/busybox sh /tests/busybox.sh /tests/bin/busybox
expect_status 0 busybox
like_native busybox

for script in compile perl; do
    guest bash /tests/$script.sh
    expect_status 0 $script
    ! grep FAIL "$scratch/out" || fail $script
    native bash /tests/$script.sh
    [ $? -eq 77 ] || like_native $script
done
finish
