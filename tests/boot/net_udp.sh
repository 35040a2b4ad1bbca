# Small datagrams, 30,000 a second from machine to machine: one frame does not cost one bell, and each that is lost is
# counted somewhere. How many are lost depends on the host; it is shown.
. tests/lib.sh
. tests/boot/lib/machines.sh
. tests/boot/lib/net.sh
serve_iperf
snmp='awk "/^Udp: [0-9]/ { print \$2, \$4 }" /proc/net/snmp' # datagrams that came to a program, and that did not

"$RING3" run --name sink --net switch=small --net user -- sh -c "$(card 10.5.0.1)
    $snmp; iperf3 -s -1 >/dev/null; $snmp; echo over; sleep 100" </dev/null >"$scratch/sink" 2>&1 &
wait_for "$scratch/sink" " " 60
"$RING3" run --name source --net switch=small --net user -- sh -c "$(card 10.5.0.2)
    iperf3 -u -l 64 -b 15360000 -c 10.5.0.1 -t 4 --json >/json; cat /json; echo over; sleep 100" </dev/null >"$scratch/source" 2>&1 &
wait_for "$scratch/source" over 60
wait_for "$scratch/sink" over 20

field() { # NAME: of the sums at the end
    sed -n '/"end":.*{/,$p' "$scratch/source" | sed -n '/"sum":/,/}/s/.*"'"$1"'":[^0-9]*\([0-9]*\).*/\1/p' | head -n 1
}
sent=$(field packets) lost=$(field lost_packets)
[ "${sent:-0}" -gt 20000 ] || fail "only ${sent:-no} datagrams were sent: $(tail -n 5 "$scratch/source" | tr '\n' ' ')"
dropped=$("$RING3" switch small | awk '$2 == "sink" { print $6 }')
overflowed=$(awk 'NF == 2 { n[++i] = $2 } END { print n[2] - n[1] }' "$scratch/sink")
echo "$sent sent in 4 s; $lost lost: $overflowed in the guest's socket, $dropped for want of room in its switch's port"
[ $((lost - overflowed - dropped)) -le 50 ] || fail "$lost lost, but only $overflowed and $dropped are counted"

# devices[] of `stats`: cards in the order given
counter() { # MACHINE NAME
    "$RING3" stats --format json "$1" | tr -d ' \n' | grep -o '"label":"switch=small"[^}]*' | grep -o "\"$2\":[0-9]*" | cut -d: -f2
}
kicks=$(counter source kicks) frames=$(counter source out_ops)
rings=$(counter sink interrupts) came=$(counter sink in_ops)
echo "$frames frames for $kicks kicks; $came frames for $rings interrupts"
[ "${frames:-0}" -gt 20000 ] && [ $((kicks * 4)) -lt "$frames" ] || fail "$kicks kicks for ${frames:-no} frames"
[ "${came:-0}" -gt 10000 ] && [ $((rings * 2)) -lt "$came" ] || fail "$rings interrupts for ${came:-no} frames"

finish
