#!/usr/bin/env bash
# What the shell tests share. Sourced; $RING3 is the program, $BUILD the build folder.
# A test runs all its checks and ends with `finish`.

failures=0
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# Machines of a test are its own: it sees no others, and nobody sees them.
export XDG_RUNTIME_DIR=$scratch/runtime
mkdir -m 700 "$XDG_RUNTIME_DIR"

fail() {
    echo "FAIL: $*"
    failures=$((failures + 1))
}

# run COMMAND...: leaves its exit status in $status, its streams in $scratch/out and $scratch/err
run() {
    timeout -k 5 "${LIMIT:-60}" "$@" >"$scratch/out" 2>"$scratch/err"
    status=$?
}

expect_status() { # STATUS WHAT
    [ "$status" -eq "$1" ] || fail "$2: exit status $status, not $1; $(tail -n 3 "$scratch/err" | tr '\n' ' ')"
}

expect_text() { # FILE TEXT WHAT
    grep -qF -- "$2" "$scratch/$1" || fail "$3: no '$2' in $1: $(head -n 5 "$scratch/$1" | tr '\n' ' ')"
}

expect_exactly() { # FILE TEXT WHAT     (printf %b understands the text)
    printf '%b' "$2" | cmp -s - "$scratch/$1" || fail "$3: $1 is not exactly '$2' but '$(head -c 300 "$scratch/$1")'"
}

expect_lines() { # FILE N WHAT
    local n
    n=$(wc -l <"$scratch/$1")
    [ "$n" -eq "$2" ] || fail "$3: $n lines in $1, not $2"
}

finish() {
    [ "$failures" -eq 0 ] && exit 0
    echo "$failures checks failed"
    exit 1
}
