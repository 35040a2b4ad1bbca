#!/usr/bin/env bash
# ring3 in a guest of ring3: a host that is itself a virtual machine and whose processor is taken away now and then, as
# clouds do. The clocks there count that time as used; no process of the inner guests may be taken for a runaway.
. tests/lib.sh

trap '"$RING3" rm -f outer >/dev/null 2>&1; rm -rf "$scratch"' EXIT
mkdir -p "$scratch/disk/kernel"
cp "$RING3" "$BUILD/default-guest.cpio" "$scratch/disk/"
cp -L "$BUILD/kernel/vmlinuz" "$scratch/disk/kernel/"
cat >"$scratch/disk/inside" <<'INSIDE'
export XDG_RUNTIME_DIR=/tmp/inner
mkdir -m 700 $XDG_RUNTIME_DIR
for name in one two three; do
    /test/ring3 run --detach --name $name -m 96M -- sh -c 'while :; do :; done' || exit
done
sleep 3
echo started
sleep 20
/test/ring3 ps
for name in one two three; do /test/ring3 logs $name; done
INSIDE
tar -C "$scratch/disk" -cf "$scratch/disk.tar" . || exit 1

run "$RING3" run --detach --name outer -m 640M -d "$scratch/disk.tar,ro,format=raw" -- \
    sh -c 'mkdir /test && tar -C /test -xf /dev/vda && sh /test/inside'
expect_status 0 "the outer machine"
for _ in $(seq 600); do
    "$RING3" logs outer | grep -q '^started' && break
    "$RING3" ps | grep -q '^outer .*running' || break
    sleep 0.1
done
if ! "$RING3" logs outer | grep -q '^started'; then
    echo "ring3 does not run in ring3 here: $("$RING3" logs outer | tail -n 1)"
    exit 77
fi
for _ in {1..40}; do
    "$RING3" pause outer >/dev/null || break
    sleep 0.3
    "$RING3" resume outer >/dev/null
    sleep 0.05
done
for _ in $(seq 600); do "$RING3" ps | grep -q '^outer .*running' || break; sleep 0.1; done
"$RING3" logs outer >"$scratch/log"
for name in one two three; do
    grep -q "^$name  *running" "$scratch/log" || fail "$name: $(grep "^$name " "$scratch/log")"
done
[ "$failures" -eq 0 ] || tail -n 20 "$scratch/log"
finish
