# Debian's kernels, each from its package as it is: they boot to user space, run a command, give its exit status,
# and have nothing to complain of. Cloud and generic always; the others when they were fetched before, or when
# RING3_ALL_KERNELS=1 asks to fetch them.
. tests/lib.sh
export LIMIT=120

dir=$BUILD/kernels
packages=$BUILD/packages
mkdir -p "$dir" "$packages"

# The package name that metapackage $1 depends on now.
image_of() {
    apt-cache depends --no-recommends --no-suggests "$1" 2>/dev/null |
        sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1
}

# The kernel image of metapackage $1 as $dir/$1, fetched if that is allowed; status 1 if it is not there.
kernel() {
    [ ! -e "$dir/$1" ] || return 0
    [ "$2" = fetch ] || return 1
    local package deb
    package=$(image_of "$1")
    [ -n "$package" ] || return 1
    (cd "$packages" && { ls "${package}"_*.deb >/dev/null 2>&1 || apt-get download "$package" >/dev/null 2>&1; }) || return 1
    # shellcheck disable=SC2012
    deb=$(ls "$packages/${package}"_*.deb | sort -V | tail -n 1)
    dpkg-deb --fsys-tarfile "$deb" | tar -xO --wildcards './boot/vmlinuz-*' >"$dir/$1.new" &&
        mv "$dir/$1.new" "$dir/$1"
}

complaints='WARNING|BUG|Oops|Call Trace|general protection|stall|lockup|hung task|unhandled|stuck|Unable|segfault'

boots() { # NAME
    run "$RING3" run -m 512M -k "$dir/$1" -- sh -c 'uname -r; dmesg >&2; (exit 3); [ $? -eq 3 ] && exit 42' </dev/null
    expect_status 42 "$1"
    grep -q '^[0-9]' "$scratch/out" || fail "$1: no version"
    echo "$1: $(cat "$scratch/out")"
    ! grep -E "$complaints" "$scratch/err" || fail "$1: the kernel complains"
}

allow=no
[ "${RING3_ALL_KERNELS:-0}" = 1 ] && allow=fetch
for name in linux-image-cloud-amd64 linux-image-amd64; do
    kernel "$name" fetch || fail "$name: cannot be fetched"
    [ ! -e "$dir/$name" ] || boots "$name"
done
for name in linux-image-rt-amd64 linux-image-6.12-amd64 linux-image-6.12-cloud-amd64 linux-image-6.12-rt-amd64; do
    if kernel "$name" $allow; then
        boots "$name"
    elif [ $allow = fetch ] && [ -n "$(image_of "$name")" ]; then
        fail "$name: cannot be fetched"
    fi
done
finish
