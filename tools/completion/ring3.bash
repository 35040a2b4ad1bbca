# bash completion for ring3: verbs, options, names of machines, files. Installed as
# PREFIX/share/bash-completion/completions/ring3; or: . tools/completion/ring3.bash

# Names of machines in one of the states given (all, without states).
_ring3_names() {
    local program=${COMP_WORDS[0]/#\~/$HOME}
    if [ $# -eq 0 ]; then
        "$program" ps -q 2>/dev/null
    else
        "$program" ps 2>/dev/null | awk -v states=" $* " 'NR > 1 && index(states, " " $2 " ") { print $1 }'
    fi
}

_ring3_switches() {
    "${COMP_WORDS[0]/#\~/$HOME}" switch 2>/dev/null | awk 'NR > 1 && !seen[$1]++ { print $1 }'
}

_ring3_words() { mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2"); }
_ring3_files() {
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$1")
}

_ring3_run() {
    local word=$1 before=$2 i
    for ((i = 2; i < COMP_CWORD; i++)); do
        [ "${COMP_WORDS[i]}" = -- ] && return # the guest's command
    done
    case "$before" in
    -k | --kernel | -i | --initrd | --trace | -d | --disk | -v | --volume) _ring3_files "$word" ;;
    --net) _ring3_words 'user user,no-host-loopback tap= switch=' "$word"; compopt -o nospace 2>/dev/null ;;
    --engine) _ring3_words 'auto bt' "$word" ;;
    -a | --append | -m | --memory | -c | --cpus | -p | --port | --name | --weight | --cap) ;;
    *)
        _ring3_words '-k --kernel -i --initrd -a --append -m --memory -c --cpus -d --disk --net -p --port
            -v --volume --detach --name --rm --weight --cap --engine --no-reboot --stat --trace --dry-run
            --verbose -h --help --' "$word"
        ;;
    esac
}

_ring3_image() {
    local word=$1 before=$2 options=
    if [ "$COMP_CWORD" -eq 2 ]; then
        _ring3_words 'create info check convert rebuild --help' "$word"
        return
    fi
    case "${COMP_WORDS[2]}" in
    create) options='-f --cluster -b --backing -F -y --force' ;;
    info) options='--format' ;;
    check) options='--repair' ;;
    convert) options='-f -O -c --compress --cluster -y --force' ;;
    esac
    case "$before" in
    -f | -O | -F) _ring3_words 'raw qcow2' "$word" ;;
    --format) _ring3_words json "$word" ;;
    --cluster) ;;
    *)
        case "$word" in
        -*) _ring3_words "$options -h --help" "$word" ;;
        *) _ring3_files "$word" ;;
        esac
        ;;
    esac
}

_ring3() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    local verbs='run ps console logs stop kill pause resume stats inspect rm image switch doctor version help'
    local alive='starting running paused stopping' formats='table json' options states=
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        _ring3_words "$verbs --help --version" "$word"
        return
    fi
    case "${COMP_WORDS[1]}" in
    run) _ring3_run "$word" "$before"; return ;;
    image) _ring3_image "$word" "$before"; return ;;
    help) _ring3_words "$verbs -h --help" "$word"; return ;;
    switch) _ring3_words "$(_ring3_switches) -h --help" "$word"; return ;;
    version) _ring3_words '-h --help' "$word"; return ;;
    ps) options='-q --quiet --format' states=none ;;
    console) options='' states=$alive ;;
    logs) options='-f --follow -n --lines' ;;
    stop) options='-t --time' states=$alive ;;
    kill) options='' states=$alive ;;
    pause) options='' states=running ;;
    resume) options='' states=paused ;;
    stats) options='--once --format' states=$alive ;;
    inspect) options='' ;;
    rm) options='-f --force' ;;
    doctor) options='--format --verbose' formats='text json' states=none ;;
    *) return ;;
    esac
    case "$before" in
    --format) _ring3_words "$formats" "$word"; return ;;
    -n | --lines | -t | --time) return ;;
    esac
    if [[ $word = -* ]]; then
        _ring3_words "$options -h --help" "$word"
    else
        # shellcheck disable=SC2086
        _ring3_words "$(_ring3_names $states)" "$word"
    fi
}

complete -F _ring3 ring3
