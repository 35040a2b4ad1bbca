# Two Debian systems on one switch, each with --net user beside: iperf3 and files with checksums between them, and
# between them and the host. IPERF_SECONDS for each run, 4 if not given.
. tests/lib.sh
. tests/boot/lib/machines.sh
. tests/boot/lib/debian.sh
command -v iperf3 >/dev/null || { echo "no iperf3; tools/setup test installs it"; exit 77; }
seconds=${IPERF_SECONDS:-4}

ports=() iperf=()
for n in 1 2; do
    ports[n]=$(free_port)
    iperf[n]=$(free_port)
    debian_disk "$scratch/$n.img"
    MEMORY=384M debian_start "net$n" "${ports[n]}" -d "$scratch/$n.img" -p "127.0.0.1:${iperf[n]}:5201" --net switch=test
done
for n in 1 2; do
    debian_wait "net$n" "${ports[n]}"
    debian_ssh "${ports[n]}" "ip link set eth1 up; ip addr add 10.99.0.$n/24 dev eth1; iperf3 -s -D" </dev/null ||
        fail "net$n: its second card"
done
debian_ssh "${ports[1]}" "ping -c 3 -W 5 10.99.0.2" </dev/null >"$scratch/out" || fail "ping: $(cat "$scratch/out")"

# What iperf3 says in JSON on its standard input, in Mbit/s; it must have moved something.
rate() { # WHAT
    local mbits
    mbits=$(awk -F'[:,]' '/"sum_received"/ { r = 1 } r && /"bits_per_second"/ { printf "%d", $2 / 1e6; exit }')
    echo "$1: ${mbits:-0} Mbit/s"
    [ "${mbits:-0}" -ge 20 ] || fail "$1: ${mbits:-0} Mbit/s"
}
for way in "" -R; do
    debian_ssh "${ports[1]}" "iperf3 -J -t $seconds $way -c 10.99.0.2" </dev/null | rate "guest to guest $way"
    timeout 60 iperf3 -J -t "$seconds" $way -c 127.0.0.1 -p "${iperf[1]}" | rate "host to guest $way"
done
iperf3 -s -B 127.0.0.1 -p "$(free_port)" >"$scratch/iperf" 2>&1 &
server=$!
helpers+=("$server")
sleep 0.5
listening=$(tr '\0' '\n' <"/proc/$server/cmdline" | tail -n 1)
# shellcheck disable=SC2016
debian_ssh "${ports[2]}" 'iperf3 -J -t '"$seconds"' -p '"$listening"' -c $(ip route | sed -n "s/^default via \([^ ]*\).*/\1/p")' \
    </dev/null | rate "guest to host"
# Datagrams of all sizes, 2000 a second: hardly any is lost.
# The server may still be busy with the last run's end: then once more.
debian_ssh "${ports[1]}" 'for l in 16 700 1400 8000; do
    for try in 1 2 3 4 5; do iperf3 -u -b $((l * 16000)) -l $l -t 1 -c 10.99.0.2 2>&1 | grep receiver && break; sleep 1; done; done' \
    </dev/null >"$scratch/out"
[ "$(sed -n 's/.*(\([0-9]*\)[.0-9e+-]*%).*/\1/p' "$scratch/out" | awk '$1 <= 10' | wc -l)" -eq 4 ] || fail "UDP: $(cat "$scratch/out")"

# A file between them, both ways, at once.
for n in 1 2; do
    debian_ssh "${ports[n]}" 'head -c 40000000 /dev/urandom >/root/f; md5sum </root/f
        cd /root; python3 -m http.server 8000 </dev/null >/dev/null 2>&1 &' </dev/null | cut -d' ' -f1 >"$scratch/sum$n"
done
for n in 1 2; do
    debian_ssh "${ports[n]}" "wget -q -O - http://10.99.0.$((3 - n)):8000/f | md5sum" </dev/null >"$scratch/got$n" &
    fetchers[n]=$!
done
wait "${fetchers[@]}"
for n in 1 2; do
    grep -q "$(cat "$scratch/sum$((3 - n))")" "$scratch/got$n" || fail "net$n: the other's file arrives changed"
done
for n in 1 2; do
    stop_machine "net$n"
    expect_clean "$scratch/$n.img" "net$n"
done
finish
