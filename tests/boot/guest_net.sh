# The network of the default guest: an address, names and ping before the command starts; link-local addresses on a
# switch; nothing to do with it without a card.
. tests/lib.sh
. tests/boot/lib/machines.sh

run "$RING3" run -- ls /sys/class/net /run </dev/null
expect_exactly out '/run:\n\n/sys/class/net:\nlo\n' "without a card"

run "$RING3" run --net user -- sh -c 'ip -4 -o addr show eth0; ip route; cat /etc/resolv.conf' </dev/null
expect_status 0 "--net user"
expect_text out " inet " "address"
expect_text out "default via" "route"
expect_exactly err "" "--net user"
grep -q '^nameserver' "$scratch/out" || ! grep -q '^nameserver' /etc/resolv.conf || fail "no name server: $(cat "$scratch/out")"

# Echo requests, which passt sends where the kernel lets it: in a network namespace we can say so.
way='unshare -n'
[ "$(id -u)" = 0 ] || way='unshare -rn'
if $way true 2>/dev/null; then
    run $way sh -c 'ip link set lo up; echo 0 2147483647 >/proc/sys/net/ipv4/ping_group_range; exec "$@"' sh \
        "$RING3" run --net user -- sh -c "ping -c 2 -W 5 $gateway" </dev/null
    expect_status 0 "ping: $(cat "$scratch/out")"
fi
# Names that the host knows, the guest knows.
name=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | cut -d/ -f3 | head -n 1)
if [ -n "$name" ] && timeout 10 getent ahostsv4 "$name" >/dev/null; then
    run "$RING3" run --net user -- nslookup "$name" </dev/null
    expect_status 0 "nslookup $name: $(cat "$scratch/out")"
fi

# Two machines on a switch, by their link-local addresses.
: >"$scratch/one"
"$RING3" run --net switch=lan -- sh -c 'head -c 5000000 /dev/urandom >/tmp/f; md5sum </tmp/f | cut -c1-32
    ip -4 -o addr show eth0 | sed "s/.* inet \([^/]*\).*/\1/"; cd /tmp; exec timeout 30 httpd -f -h /tmp' \
    </dev/null >"$scratch/one" 2>"$scratch/one.err" &
server=$!
helpers+=("$server")
for _ in $(seq 100); do
    [ "$(wc -l <"$scratch/one")" -lt 2 ] || break
    sleep 0.1
done
{ read -r sum; read -r address; } <"$scratch/one"
[[ $address = 169.254.* ]] || fail "on a switch: address '$address'; $(cat "$scratch/one.err")"
run "$RING3" run --net switch=lan -- sh -c "timeout 10 wget -q -O - http://$address/f | md5sum" </dev/null
expect_text out "$sum" "a file over the switch"
finish
