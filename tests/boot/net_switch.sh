# --net switch=NAME: files and iperf3 between two machines, while others on the same switch come to a bad end; and a switch
# that does.
. tests/lib.sh
. tests/boot/lib/machines.sh
. tests/boot/lib/net.sh
serve_iperf

"$RING3" run --name left --net switch=lan --net user -- sh -c "$(card 10.5.0.1)
    head -c 20000000 /dev/urandom >/data; md5sum </data; httpd -p 80 -h /; iperf3 -s >/dev/null; sleep 100" \
    </dev/null >"$scratch/left" 2>&1 &
wait_for "$scratch/left" "  -" 60
sum=$(cut -d' ' -f1 "$scratch/left")

# The others: a kernel that panics, a processor that shuts down, a monitor that is killed. Each says something first.
"$RING3" run --name panics --net switch=lan -- sh -c 'ip addr add 10.5.0.11/24 dev eth0; ping -c 1 10.5.0.1 >/dev/null
    sleep 3; echo c >/proc/sysrq-trigger; sleep 60' </dev/null >"$scratch/panics" 2>&1 &
"$RING3" run --name killed --net switch=lan -- sh -c 'ip addr add 10.5.0.12/24 dev eth0
    ping -c 1 10.5.0.1 >/dev/null && echo there; sleep 60' </dev/null >"$scratch/killed" 2>&1 &
(wait_for "$scratch/killed" there 30 && sleep 3 && kill -9 "$(machine_pid killed)") &

run "$RING3" run --name right --net switch=lan --net user -- sh -c "$(card 10.5.0.2)
    for i in 1 2 3 4 5 6 7 8 9 10; do wget -q -O - http://10.5.0.1/data | md5sum || exit 1; sleep 0.3; done
    # once more where the server is still busy with the last run
    measure() { to=\$1; shift; for i in 1 2 3 4 5; do iperf3 -c 10.5.0.1 --json \"\$@\" >\$to && return; sleep 1; done; cat \$to; exit 2; }
    measure /tcp -t 3; measure /reverse -t 3 -R; measure /udp -t 2 -u -b 20M
    cat /tcp; echo =; cat /reverse; echo =; cat /udp" </dev/null
expect_status 0 "traffic between two machines"
[ "$(grep -c "^$sum  -$" "$scratch/out")" -eq 10 ] || fail "not ten sound copies of the file"
expect_speeds 10

# What the switch knows; it is there until the last machine has left it.
run "$RING3" switch lan
expect_text out left "the switch's ports"
expect_lines out 2 "the switch's ports" # the head, and left: the others are gone
run "$RING3" run --name left2 --net switch=lan,mac="$(awk '/left/ { print $3 }' "$scratch/out")" </dev/null
expect_status 2 "a mac that is taken"
expect_text err "machine 'left' is on it with the same mac" "a mac that is taken"
kill -9 "$(machine_pid left)"
sleep 5
[ -z "$(ls "$XDG_RUNTIME_DIR/ring3/.switches")" ] || fail "the switch is still there"

# 4 MB a second, from the one that may no more.
"$RING3" run --name slow --net switch=lan,bps=4M -- sh -c 'ip addr add 10.5.0.1/24 dev eth0
    head -c 12000000 /dev/zero >/data; echo >/up; httpd -p 80 -h /; sleep 60' </dev/null >/dev/null 2>&1 &
run "$RING3" run --net switch=lan -- sh -c 'ip addr add 10.5.0.2/24 dev eth0
    now() { awk "{ printf \"%d\", \$1 * 100 }" /proc/uptime; }
    until wget -q -O - http://10.5.0.1/up 2>/dev/null >&2; do sleep 0.1; done; sleep 0.5
    a=$(now); wget -q -O /dev/null http://10.5.0.1/data || exit 2; b=$(now); echo $((b - a))' </dev/null
expect_status 0 "a limit"
hundredths=$(cat "$scratch/out")
[ "$hundredths" -ge 260 ] && [ "$hundredths" -le 4000 ] || fail "12 MB at 4 MB a second took $hundredths hundredths"

# The switch is killed, twice, the second time with its keeper: the link goes down, and the machines find each other again.
frail=frail$$ # a name that no other run of this test uses
switch_pids() { pgrep -f "^ring3 switch --serve $frail\$" | sort -n; } # the keeper, then the switch
"$RING3" run --name one --net switch=$frail -- sh -c 'ip addr add 10.5.0.1/24 dev eth0; sleep 100' </dev/null >"$scratch/one" 2>&1 &
"$RING3" run --name two --net switch=$frail -- sh -c 'ip addr add 10.5.0.2/24 dev eth0
    for n in 0 1 2; do
        until ping -c 1 -W 1 10.5.0.1 >/dev/null; do sleep 0.1; done
        echo "reached $n"
        until [ "$(cat /sys/class/net/eth0/carrier)" = 0 ]; do sleep 0.02; done
        echo "down $n"
    done' </dev/null >"$scratch/two" 2>&1 &
for n in 0 1; do
    wait_for "$scratch/two" "reached $n" 30
    before=$(switch_pids)
    [ "$(wc -w <<<"$before")" -eq 2 ] || fail "not a keeper and a switch: $before"
    # shellcheck disable=SC2046,SC2086
    kill -9 $([ $n = 1 ] && echo $before || tail -n 1 <<<"$before")
    start=$EPOCHREALTIME
    wait_for "$scratch/two" "down $n" 10
    wait_for "$scratch/two" "reached $((n + 1))" 10
    end=$EPOCHREALTIME
    echo "kill $n: the machines reach each other again after $(((${end/./} - ${start/./}) / 1000)) ms"
done
[ "$(grep -c "network switch=$frail: connected again" "$scratch/one")" -eq 2 ] || fail "what the machine says: $(cat "$scratch/one")"
"$RING3" kill one two
sleep 4
[ -z "$(pgrep -f "^ring3 switch --(serve|plug) $frail")" ] || fail "left behind: $(pgrep -af "^ring3 switch --(serve|plug) $frail")"

finish
