#!/usr/bin/env bash
# Under the limits that shells and sandboxes set, it works, or says in one line which limit is in the way.
. tests/lib.sh

# under "ULIMIT ARGUMENTS" COMMAND...
under() {
    local limit=$1
    shift
    # shellcheck disable=SC2086
    run bash -c 'ulimit $1 || exit 99; shift; exec "$@"' under "$limit" "$@" </dev/null
}
works() {
    under "$1" "$RING3" run -- echo hello
    expect_status 0 "ulimit $1"
    expect_exactly out 'hello\n' "ulimit $1"
    expect_exactly err '' "ulimit $1"
}
refused() { # LIMIT STATUS TEXT; STATUS "2|125": whether something runs already depends on what the caller left open
    under "$1" "$RING3" run -- echo hello
    [[ "|$2|" == *"|$status|"* ]] || fail "ulimit $1: exit status $status, not $2"
    expect_lines out 0 "ulimit $1"
    expect_lines err 1 "ulimit $1"
    expect_text err "$3" "ulimit $1"
}

works "-n 64"
works "-s 256"
works "-s unlimited"
works "-l 0"
works "-c 0"
works "-v 8000000"
refused "-n 16" "2|125" "ulimit -n"
refused "-v 100000" 2 "ulimit -v"
refused "-f 100" 2 "ulimit -f"

# no environment; no standard streams at all
run env -i "$RING3" run -- echo hello </dev/null
expect_status 0 "no environment"
expect_exactly out 'hello\n' "no environment"
"$RING3" run -- sh -c 'exit 3' <&- >&- 2>&-
[ $? -eq 3 ] || fail "closed standard streams"

# a user namespace of its own, where this host has them
if unshare -Ur true 2>/dev/null; then
    run unshare -Ur "$RING3" run -- echo hello </dev/null
    expect_status 0 "a user namespace"
    expect_exactly out 'hello\n' "a user namespace"
fi
finish
