# --net tap=NAME in a network namespace of this test's own: files and iperf3 between a machine and its host.
if [ -z "${NET_TAP_INSIDE:-}" ]; then
    export NET_TAP_INSIDE=1
    [ -r /dev/net/tun ] && [ -w /dev/net/tun ] || { echo "no /dev/net/tun here"; exit 77; }
    how=-n
    [ "$(id -u)" = 0 ] || how=-rn
    unshare $how true 2>/dev/null || { echo "no network namespaces here"; exit 77; }
    exec unshare $how bash "$0"
fi
. tests/lib.sh
. tests/boot/lib/machines.sh
. tests/boot/lib/net.sh
command -v ip >/dev/null || { echo "no ip here"; exit 77; }
pack_program iperf3 || { echo "no iperf3 here"; exit 77; }
ip link set lo up

run "$RING3" run --net tap=lo </dev/null
expect_status 2 "no tap"
expect_text err "it is no tap" "no tap"

# One that exists, with large frames.
ip tuntap add dev t0 mode tap
ip addr add 10.6.0.1/24 dev t0
ip link set t0 mtu 9000 up
mkdir -p "$scratch/www"
head -c 20000000 /dev/urandom >"$scratch/www/data"
sum=$(sum_of "$scratch/www/data")
"$BUILD/packages/busybox" httpd -f -p 10.6.0.1:8080 -h "$scratch/www" &
helpers+=($!)
iperf3 -s -B 10.6.0.1 >/dev/null 2>&1 &
helpers+=($!)
run "$RING3" run --name tapped --net tap=t0 -- sh -c "ip addr add 10.6.0.2/24 dev eth0
    cat /sys/class/net/eth0/mtu; ping -c 1 10.6.0.1 >/dev/null && echo ping
    wget -q -O - http://10.6.0.1:8080/data | md5sum
    $(fetch_program iperf3 10.6.0.1:8080)
    iperf3 -c 10.6.0.1 -t 3 --json >/up && iperf3 -R -c 10.6.0.1 -t 3 --json >/down || exit 2
    cat /up; echo =; cat /down" </dev/null
expect_status 0 "traffic over a tap"
head -n 3 "$scratch/out" | cmp -s - <(printf '9000\nping\n%s  -\n' "$sum") || fail "over a tap: $(head -n 3 "$scratch/out")"
expect_speeds 3

# An address that somebody set stays, with no DHCP server on the tap and with one that answers late; without one there is a
# link-local address.
run "$RING3" run --net tap=t0 -- sh -c 'ip addr add 10.6.0.2/24 dev eth0
    until [ -e /run/network/eth0 ]; do sleep 0.1; done; ip -4 -o addr show dev eth0 | grep -o "inet [^ ]*"' </dev/null
expect_exactly out "inet 10.6.0.2/24\n" "an address set by hand, no DHCP"
run "$RING3" run --net tap=t0 -- sh -c '
    until [ -e /run/network/eth0 ]; do sleep 0.1; done; ip -4 -o addr show dev eth0 | grep -o "inet [^ ]*"' </dev/null
grep -qx 'inet 169\.254\.[0-9.]*/16' "$scratch/out" || fail "no link-local address: $(cat "$scratch/out")"
printf 'interface t0\nstart 10.6.0.50\nend 10.6.0.50\nlease_file %s\noption subnet 255.255.255.0\noption lease 600\n' \
    "$scratch/leases" >"$scratch/udhcpd.conf"
: >"$scratch/leases"
"$BUILD/packages/busybox" udhcpd -f "$scratch/udhcpd.conf" >/dev/null 2>&1 &
helpers+=($!)
run "$RING3" run --net tap=t0 -- sh -c 'ip addr add 10.7.0.2/24 dev eth0
    until [ -e /run/network/eth0 ]; do sleep 0.1; done; ip -4 -o addr show dev eth0 | grep -o "inet [^ ]*"' </dev/null
expect_exactly out "inet 10.7.0.2/24\ninet 10.6.0.50/24\n" "an address set by hand, and one by DHCP"
kill "${helpers[-1]}"
unset "helpers[-1]"

# Two cannot have it; and one that is made for a machine goes with it.
"$RING3" run --name first --net tap=t0 -- sh -c "ip addr add 10.6.0.2/24 dev eth0; sleep 60" </dev/null >/dev/null 2>&1 &
for ((i = 0; i < 100; i++)); do
    ! ping -c 1 -W 1 10.6.0.2 >/dev/null 2>&1 || break
    sleep 0.1
done
run "$RING3" run --net tap=t0 </dev/null
expect_status 2 "a tap in use"
expect_text err "another program or machine uses it" "a tap in use"
ip link del t0 # under its nose: the machine goes on
sleep 1
run "$RING3" ps
expect_text out first "a machine whose tap was deleted"
run "$RING3" kill first
run "$RING3" run --net tap=t1 -- sh -c 'cat /sys/class/net/eth0/carrier' </dev/null
expect_exactly out "1\n" "a tap that is made"
! ip link show t1 >/dev/null 2>&1 || fail "the tap stays behind"

finish
