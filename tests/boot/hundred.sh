# Boots in a row, two at a time: each runs a command and gives its output and exit status. COUNT of them, 20 if not given.
. tests/lib.sh
count=${COUNT:-20}

one_boot() { # N
    local out status
    out=$(timeout -k 5 60 "$RING3" run -- sh -c "echo boot $1; exit $(($1 % 100))" </dev/null 2>"$scratch/err.$1")
    status=$?
    [ "$out" = "boot $1" ] && [ $status -eq $(($1 % 100)) ] ||
        echo "boot $1: exit status $status, output '$out', $(tail -n 3 "$scratch/err.$1" | tr '\n' ' ')" >>"$scratch/failed.$2"
}

half() { # WHICH
    local n
    for ((n = $1; n <= count; n += 2)); do
        one_boot "$n" "$1"
    done
}

start=$SECONDS
half 1 &
half 2
wait
touch "$scratch/failed.1" "$scratch/failed.2"
cat "$scratch/failed.1" "$scratch/failed.2"
bad=$(cat "$scratch/failed.1" "$scratch/failed.2" | wc -l)
echo "$count boots in $((SECONDS - start)) s, $bad failed"
[ "$bad" -eq 0 ] || fail "$bad of $count boots"
finish
