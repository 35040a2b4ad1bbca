# What the workload tests share. Sourced after tests/lib.sh: the Debian guest is there, and $RING3_GUEST names it.
tools/test-rootfs "$BUILD" || fail "the Debian guest cannot be made"
export RING3_GUEST=$BUILD/rootfs/guest

# guest COMMAND...: run it in the Debian guest (as run)
guest() { run "$RING3" run -m "${MEMORY:-2G}" -- "$@" </dev/null; }

# native COMMAND...: run it in the same tree without a virtual machine, output to $scratch/native.
# Status 77: that takes rights we do not have.
native() {
    local way=unshare
    [ "$(id -u)" = 0 ] || way='unshare -r'
    # shellcheck disable=SC2086
    $way -m true 2>/dev/null || return 77
    # shellcheck disable=SC2016,SC2086
    timeout 300 $way -m --propagation private sh -c 'root=$1; shift; mount --rbind /dev "$root/dev" &&
        mount --rbind /proc "$root/proc" && mount -t tmpfs none "$root/tmp" || exit 77
        exec chroot "$root" "$@"' sh "$BUILD/rootfs/root" "$@" >"$scratch/native" 2>"$scratch/native.err" </dev/null
}

# like_native WHAT: what the guest said is what the same commands say natively
like_native() {
    diff -u "$scratch/native" "$scratch/out" >"$scratch/diff" || { cat "$scratch/diff"; fail "$1: not as natively"; }
}
