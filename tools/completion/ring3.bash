# Completion of ring3's command line for bash. Installed as PREFIX/share/bash-completion/completions/ring3.

_ring3_machines() {
    COMPREPLY+=($(compgen -W "$(ring3 ps -q 2>/dev/null)" -- "$1"))
}

_ring3_files() {
    compopt -o filenames 2>/dev/null
    COMPREPLY+=($(compgen -f -- "$1"))
}

# The words of a verb's options, from its own help.
_ring3_options() {
    COMPREPLY+=($(compgen -W "$(ring3 "$@" --help 2>/dev/null |
        grep -oE '^  +(-[a-z], )?--[a-z-]+|^  +-[a-z]\b' | grep -oE -- '--?[a-z-]+')" -- "$cur"))
}

_ring3_run() {
    case "$prev" in
    -k | --kernel | -i | --initrd | --trace | -d | --disk | -kernel | -initrd) _ring3_files "$cur" ;;
    -v | --volume) compopt -o nospace -S : 2>/dev/null; COMPREPLY+=($(compgen -d -- "$cur")) ;;
    --net) compopt -o nospace 2>/dev/null; COMPREPLY+=($(compgen -W 'user tap= switch=' -- "$cur")) ;;
    --engine) COMPREPLY+=($(compgen -W 'auto bt' -- "$cur")) ;;
    -a | --append | -m | --memory | -c | --cpus | -p | --port | --name | --weight | --cap) ;;
    *) _ring3_options run ;;
    esac
}

_ring3_image() {
    if [ "$COMP_CWORD" -eq 2 ]; then
        COMPREPLY+=($(compgen -W 'create info check convert rebuild' -- "$cur"))
    elif [[ $prev = -f || $prev = -O ]]; then
        COMPREPLY+=($(compgen -W 'raw qcow2' -- "$cur"))
    elif [[ $cur = -* ]]; then
        _ring3_options image "${COMP_WORDS[2]}"
    else
        _ring3_files "$cur"
    fi
}

_ring3() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} verb=${COMP_WORDS[1]} word
    local verbs='run ps console logs stop kill pause resume stats inspect rm image switch doctor version help'
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "$verbs" -- "$cur"))
        return
    fi
    for word in "${COMP_WORDS[@]:2:COMP_CWORD-2}"; do
        [ "$word" != -- ] || return # the guest's own command
    done
    case "$verb" in
    run) _ring3_run ;;
    image) _ring3_image ;;
    help) COMPREPLY=($(compgen -W "$verbs" -- "$cur")) ;;
    ps | stats)
        if [ "$prev" = --format ]; then
            COMPREPLY=($(compgen -W 'table json' -- "$cur"))
        elif [[ $cur = -* ]]; then
            _ring3_options "$verb"
        elif [ "$verb" = stats ]; then
            _ring3_machines "$cur"
        fi
        ;;
    console | logs | stop | kill | pause | resume | inspect | rm)
        if [[ $cur = -* ]]; then _ring3_options "$verb"; else _ring3_machines "$cur"; fi
        ;;
    *) [[ $cur != -* ]] || _ring3_options "$verb" ;;
    esac
}
complete -F _ring3 ring3
