# Machines on one switch, two of which exchange files without pause. Others die beside them: by a panic of their kernel, by
# a triple fault, by kill -9 of the monitor. The two do not notice.
. tests/lib.sh
. tests/boot/lib/machines.sh
. tests/boot/lib/net.sh

# Machine $1 of the two: serves a file that is always new, with its checksum in front, and fetches the other's for $2 s. The
# longest time that one exchange took is told in hundredths of a second.
# shellcheck disable=SC2016
program='
now() { read -r t _ </proc/uptime; echo $((${t%.*} * 100 + 1${t#*.} - 100)); }
new_file() { head -c 200000 /dev/urandom >data; { md5sum <data; cat data; } >new; mv new both; }
fetch() { timeout 10 wget -q -O got http://10.97.0.$((3 - $1))/both 2>/dev/null; }
ip addr add 10.97.0.$1/24 dev eth0
mkdir /www && cd /www && new_file && httpd -h /www || exit 2
until fetch $1; do sleep 0.1; done
echo ready
n=0 bad=0 longest=0 end=$(($(now) + $2 * 100))
while began=$(now); [ $began -lt $end ]; do
    new_file
    fetch $1 && [ "$(head -n 1 got)" = "$(tail -c 200000 got | md5sum)" ] || bad=$((bad + 1))
    took=$(($(now) - began))
    [ $took -le $longest ] || longest=$took
    n=$((n + 1))
done
echo "exchanges $n bad $bad longest $longest"
sleep 3'

pair=()
for n in 1 2; do
    : >"$scratch/said.$n"
    "$RING3" run -m 128M --net switch=pair -- sh -c "$program" sh $n 12 </dev/null >"$scratch/said.$n" 2>"$scratch/err.$n" &
    pair+=($!)
done
helpers+=("${pair[@]}")
wait_for "$scratch/said.1" ready 30
wait_for "$scratch/said.2" ready 30

for _ in 1 2; do
    run "$RING3" run -m 128M --net switch=pair -- sh -c 'echo c >/proc/sysrq-trigger' </dev/null
    expect_text err "Kernel panic" "a panic"
    run "$RING3" run --no-reboot -m 128M --net switch=pair -k "$BUILD/tests/guest/triple_fault.elf" </dev/null
    [ "$status" -ne 0 ] || fail "a triple fault: exit status 0"
    run "$RING3" run --detach --name victim -m 128M --net switch=pair -- sh -c 'echo on; while :; do ping -c 1 -W 1 10.97.0.1 >/dev/null; done' </dev/null
    expect_status 0 "the victim"
    sleep 1
    kill -9 "$(machine_pid victim)"
    sleep 0.5
    "$RING3" rm victim >/dev/null || fail "the victim's remains"
done

for n in 1 2; do
    wait "${pair[n - 1]}"
    status=$?
    [ $status -eq 0 ] || fail "machine $n: exit status $status: $(tail -n 3 "$scratch/said.$n" "$scratch/err.$n" | tr '\n' ' ')"
    echo "machine $n: $(tail -n 1 "$scratch/said.$n")"
    read -r _ exchanges _ bad _ longest < <(grep '^exchanges' "$scratch/said.$n")
    [ "${exchanges:-0}" -ge 10 ] && [ "${bad:-1}" -eq 0 ] && [ "$longest" -lt 500 ] || fail "machine $n was disturbed"
done
finish
