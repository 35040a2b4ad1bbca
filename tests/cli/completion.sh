#!/usr/bin/env bash
# bash completion: verbs, options, names of machines in the states that fit, files.
. tests/lib.sh
. tools/completion/ring3.bash

compopt() { :; } # only within a real completion
# completes EXPECTED WORDS...   (the last word is being typed)
completes() {
    local expected=$1
    shift
    COMP_WORDS=("$RING3" "$@") COMP_CWORD=$#
    _ring3
    [ "${COMPREPLY[*]}" = "$expected" ] || fail "$*: '${COMPREPLY[*]}', not '$expected'"
}
completes "run" ru
completes "stop stats" st
completes "--detach" run --de
completes "--weight" run --name x --wei
completes "" run -- --de
completes "auto" run --engine a
completes "tools/completion" run -d tools/compl
completes "table json" ps --format ''
completes "" stop -t ''
completes "convert" image co
completes "qcow2" image create -f q
completes "text json" doctor --format ''
completes "--format --verbose -h --help" doctor -
completes "-h --help" version ''
completes "-h --help" switch -
completes "-h --help" help -
completes "--repair -h --help" image check -
completes "--format -h --help" image info -
completes "-h --help" image rebuild -
completes "--compress --cluster" image convert --c
completes "--backing" image create --b
completes "--lines" logs --l
completes "pause" help pau

"$RING3" run --detach --name one -- sleep 1000 >/dev/null
"$RING3" run --detach --name two -- sleep 1000 >/dev/null
"$RING3" run --detach --name three -- true >/dev/null
"$RING3" pause two
for _ in $(seq 100); do "$RING3" ps | grep -q 'three .*exited' && break; sleep 0.1; done
completes "one two" stop ''
"$RING3" run --detach --name four --net switch=lan4 -- sleep 1000 >/dev/null
completes "lan4 -h --help" switch ''
"$RING3" rm -f four >/dev/null
completes "two" resume ''
completes "one" pause ''
completes "one three two" rm ''
completes "three two" logs t
"$RING3" rm -f one two three >/dev/null
finish
