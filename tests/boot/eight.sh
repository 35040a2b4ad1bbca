# Eight machines of 256 MB at once, each with a disk and a card on one switch: they write, read again, serve a file to a
# neighbour and fetch another's, over and over, and compare checksums. EIGHT_SECONDS of it, 20 if not given.
. tests/lib.sh
. tests/boot/lib/machines.sh
seconds=${EIGHT_SECONDS:-20}
export LIMIT=$((seconds * 3 + 120))

# Machine $1 of 8 with address 10.98.0.$1. Files are named by their checksums.
# shellcheck disable=SC2016
program='
errors=0 rounds=0 fetched=0
bad() { echo "error: $*"; errors=$((errors + 1)); }
mount -t ext4 /dev/vda /mnt && mkdir -p /mnt/www && cd /mnt || exit 2
ip addr add 10.98.0.$1/24 dev eth0
httpd -h /mnt/www
neighbour=10.98.0.$(($1 % 8 + 1))
end=$(($(date +%s) + $2))
while [ $(date +%s) -lt $end ]; do
    dd if=/dev/urandom of=new bs=64k count=32 2>/dev/null
    sum=$(md5sum <new | cut -c1-32)
    sync
    echo 3 >/proc/sys/vm/drop_caches
    [ "$(md5sum <new | cut -c1-32)" = $sum ] || bad "disk, round $rounds"
    mv new www/$sum; echo $sum >www/now.new; mv www/now.new www/now
    if theirs=$(timeout 5 wget -q -O - http://$neighbour/now) && [ -n "$theirs" ]; then
        got=$(timeout 20 wget -q -O - http://$neighbour/$theirs | md5sum | cut -c1-32)
        # It may have gone on meanwhile, and its old file may be gone.
        if [ "$got" = $theirs ]; then fetched=$((fetched + 1))
        elif [ -n "$(timeout 5 wget -q -O - http://$neighbour/$theirs | head -c 1)" ]; then bad "network, round $rounds"; fi
    fi
    ls -t www | grep -v now | tail -n +6 | while read -r old; do rm -f www/$old; done
    rounds=$((rounds + 1))
done
echo "rounds $rounds fetched $fetched errors $errors"
sleep 5 # the neighbour may be fetching
'
pids=()
for n in 1 2 3 4 5 6 7 8; do
    truncate -s 64M "$scratch/$n.img"
    /usr/sbin/mke2fs -q -t ext4 "$scratch/$n.img"
    timeout "$LIMIT" "$RING3" run -m 256M -d "$scratch/$n.img" --net switch=eight -- sh -c "$program" sh $n "$seconds" \
        </dev/null >"$scratch/said.$n" 2>"$scratch/err.$n" &
    pids+=($!)
done
least=1000000 most=0
for n in 1 2 3 4 5 6 7 8; do
    wait "${pids[n - 1]}"
    status=$?
    [ $status -eq 0 ] || fail "machine $n: exit status $status: $(tail -n 3 "$scratch/said.$n" "$scratch/err.$n" | tr '\n' ' ')"
    echo "machine $n: $(tail -n 1 "$scratch/said.$n")"
    read -r _ rounds _ fetched _ errors < <(grep '^rounds' "$scratch/said.$n")
    [ "${errors:-1}" -eq 0 ] || fail "machine $n: $(grep error "$scratch/said.$n" | head -n 3)"
    [ "${fetched:-0}" -ge 1 ] || fail "machine $n: nothing came over the network"
    [ "${rounds:-0}" -ge "$least" ] || least=${rounds:-0}
    [ "${rounds:-0}" -le "$most" ] || most=$rounds
    expect_clean "$scratch/$n.img" "machine $n"
done
[ $((least * 3)) -ge "$most" ] || fail "unequal: between $least and $most rounds"
finish
