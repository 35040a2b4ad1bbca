# What tests of the network share. Sourced after machines.sh.

# A program of the host's with all that it loads, as $scratch/www/NAME.tgz for guests to fetch and unpack over their /.
pack_program() { # NAME
    local program
    program=$(command -v "$1") || return 1
    mkdir -p "$scratch/www"
    # ... and what libc loads when a thread is cancelled.
    # shellcheck disable=SC2046
    tar -czhf "$scratch/www/$1.tgz" -C / "${program#/}" \
        $({ ldd "$program"; /sbin/ldconfig -p | grep 'libgcc_s\.so\.1 .*x86-64'; } | grep -o '/[^ )]*' | sed 's,^/,,') 2>/dev/null
}

# A command of the guest's that fetches and unpacks it; ADDRESS:PORT is where `serve` serves $scratch/www.
fetch_program() { # NAME ADDRESS:PORT
    echo "wget -q -O - http://$2/$1.tgz | tar -xz -C /"
}

# Wait until FILE has a line with TEXT in it.
wait_for() { # FILE TEXT SECONDS
    local i
    for ((i = 0; i < $3 * 20; i++)); do
        ! grep -qsF -- "$2" "$1" || return 0
        sleep 0.05
    done
    fail "no '$2' in ${1##*/} after $3 s: $(tail -n 5 "$1" | tr '\n' ' ')"
    return 1
}

# Two machines on a switch that share iperf3; ends the test (skipped) where there is no passt to fetch it by, or no iperf3.
# card ADDRESS: the first card is the switch's, the second fetches what is needed.
serve_iperf() {
    command -v passt >/dev/null || { echo "no passt here, by which the machines get iperf3"; exit 77; }
    pack_program iperf3 || { echo "no iperf3 here"; exit 77; }
    serve "$scratch/www"
}
card() { echo "ip addr add $1/24 dev eth0; $(fetch_program iperf3 "$gateway:$served")"; }

# Bytes a second of a transfer that iperf3 told of with --json.
iperf_speed() { # FILE
    sed -n '/"sum_received"/,/}/s/.*"bits_per_second":[^0-9]*\([0-9]*\).*/\1/p' "$1" | head -n 1 |
        awk '{ printf "%d\n", $1 / 8 }'
}

# Of $scratch/out, all but the first SKIP lines: transfers that iperf3 told of, with = between them. The first two are
# fast enough; each goes to a file $scratch/iperfN.
expect_speeds() { # SKIP
    local n speed
    awk -v dir="$scratch" 'BEGIN { RS = "\n=\n" } { print >(dir "/iperf" NR) }' <(sed "1,$1d" "$scratch/out")
    for n in 1 2; do
        speed=$(iperf_speed "$scratch/iperf$n")
        echo "iperf3 $n: $speed bytes a second"
        [ "${speed:-0}" -gt 10000000 ] || fail "iperf3: only ${speed:-0} bytes a second"
    done
}
