# --net user and -p: address, pings, files both ways, reboots, limits, and no passt is left behind.
. tests/lib.sh
. tests/boot/lib/machines.sh
. tests/boot/lib/net.sh
command -v passt >/dev/null || { echo "no passt here"; exit 77; }

mkdir "$scratch/www"
head -c 5000000 /dev/urandom >"$scratch/www/data"
sum=$(sum_of "$scratch/www/data")
serve "$scratch/www"

run "$RING3" run --net user -- sh -c "ip -4 -o addr show eth0 | grep -o 'inet [^ ]*'; ping -c 2 $gateway >/dev/null && echo ping
    wget -q -O - http://$gateway:$served/data | md5sum; cat /sys/class/net/eth0/mtu" </dev/null
expect_status 0 "a user network"
expect_exactly out "inet 10.0.2.15/24\nping\n$sum  -\n65520\n" "a user network"

# Does the guest's file NAME come through the host's port?  Waits for the server to begin.
expect_file() { # PORT NAME SUM WHAT
    local i got=
    for ((i = 0; i < 100; i++)); do
        got=$("$BUILD/packages/busybox" wget -q -O - "http://127.0.0.1:$1/$2" 2>/dev/null | md5sum | cut -d' ' -f1)
        [ "$got" != "$3" ] || return
        sleep 0.1
    done
    fail "$4: not the guest's file"
}

# Ports of the guest's, a range of them; and a machine that talks to another through the host.
web=$(free_port)
"$RING3" run --name web -p "$web-$((web + 1)):80-81" -- sh -c "
    head -c 5000000 /dev/urandom >/data; md5sum </data; httpd -p 80 -h /; httpd -p 81 -h /; sleep 100" \
    </dev/null >"$scratch/web" 2>&1 &
web_pid=$!
wait_for "$scratch/web" "  -" 30
sum=$(cut -d' ' -f1 "$scratch/web")
expect_file "$web" data "$sum" "a port"
expect_file "$((web + 1))" data "$sum" "a port of a range"
run "$RING3" run --net user -- sh -c "wget -q -O - http://$gateway:$web/data | md5sum" </dev/null
expect_exactly out "$sum  -\n" "from one machine to another through the host"

# A port that is in use: one line, and nothing was started.
run "$RING3" run -p "$web:80" </dev/null
expect_status 2 "a port in use"
expect_text err "TCP port $web of the host is in use" "a port in use"
expect_lines err 1 "a port in use"

# passt goes with its machine, however that ends.
passts() { pgrep -f "^passt .* $web-$((web + 1)):80-81" | wc -l; }
[ "$(passts)" -eq 1 ] || fail "$(passts) passts instead of one"
kill -9 "$(machine_pid web)"
wait "$web_pid" 2>/dev/null
for ((i = 0; i < 100; i++)); do
    [ "$(passts)" -ne 0 ] || break
    sleep 0.05
done
[ "$(passts)" -eq 0 ] || fail "passt outlives its machine"

# A machine that reboots has its ports again. (The default guest starts anew only on a terminal.)
mkfifo "$scratch/keys"
LIMIT=60 run "$RING3" run -k "$BUILD/kernel/vmlinuz" -i "$BUILD/default-guest.cpio" -a "console=ttyS0 quiet" -p "$web:80" \
    <"$scratch/keys" &
exec 4>"$scratch/keys"
booted() { # N: the shell has said hello that often
    local i
    for ((i = 0; i < 400; i++)); do
        [ "$(grep -c 'built-in shell' "$scratch/out")" -lt "$1" ] || return 0
        sleep 0.05
    done
    fail "boot $1 does not come to its shell"
}
booted 1
echo "echo before >/mark; httpd -p 80 -h /" >&4
expect_file "$web" mark "$(echo before | md5sum | cut -d' ' -f1)" "before a reboot"
echo reboot >&4
booted 2
echo "echo after >/mark; httpd -p 80 -h /" >&4
expect_file "$web" mark "$(echo after | md5sum | cut -d' ' -f1)" "after a reboot"
echo poweroff >&4
exec 4>&-
wait $!

# no-host-loopback: neither by the gateway's address, nor by one of the loopback interface's that the guest sends to its
# card. (Without it the first of them is the file.)
echo "not for guests" >"$scratch/www/secret"
reach() { # NETWORK
    run "$RING3" run --net "$1" -p "127.0.0.1:$web:80" -- sh -c "
        ask() { timeout 3 wget -q -O - http://\$1:$served/secret 2>/dev/null | grep -x 'not for guests'; }
        echo mark >/mark; httpd -p 80 -h /; ping -c 1 10.0.2.2 >/dev/null && echo ping
        echo gateway; ask 10.0.2.2
        echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet
        ip addr del 127.0.0.1/8 dev lo; ip route flush table local 127.0.0.0/8
        ip route add 127.0.0.0/8 via 10.0.2.2 dev eth0 src 10.0.2.15
        echo loopback; ask 127.0.0.1
        ip route get 127.0.0.1 | grep -o 'via [^ ]*'; sleep 3" </dev/null
}
reach user
expect_text out "$(printf 'ping\ngateway\nnot for guests\nloopback\n')" "the host's loopback services"
rm "$scratch/out"
reach user,no-host-loopback &
wait_for "$scratch/out" gateway 30
expect_file "$web" mark "$(echo mark | md5sum | cut -d' ' -f1)" "a port of a guest that is shut out"
wait $!
expect_exactly out "ping\ngateway\nloopback\nvia 10.0.2.2\n" "no-host-loopback"

# 1 MB a second, each way.
run "$RING3" run --net user,bps=1M -- sh -c "
    now() { awk '{ printf \"%d\", \$1 * 100 }' /proc/uptime; }
    a=\$(now); wget -q -O /dev/null http://$gateway:$served/data; b=\$(now); echo \$((b - a))" </dev/null
hundredths=$(cat "$scratch/out")
[ "$hundredths" -ge 440 ] && [ "$hundredths" -le 4000 ] || fail "5 MB at 1 MB a second took $hundredths hundredths"

finish
