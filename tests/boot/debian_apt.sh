# In a Debian system with --net user: ssh and files through a forwarded port, apt-get from a server on the host.
. tests/lib.sh
. tests/boot/lib/machines.sh
. tests/boot/lib/debian.sh

# A repository with two packages, one of which needs the other.
make_package() { # NAME DEPENDS
    local tree=$scratch/$1 deb=$scratch/repository/$1.deb
    mkdir -p "$tree/DEBIAN" "$tree/usr/bin" "$tree/usr/share/$1"
    printf 'Package: %s\nVersion: 1.0\nArchitecture: all\nMaintainer: ring3 <ring3@localhost>\nDescription: test\n%s' \
        "$1" "${2:+Depends: $2
}" >"$tree/DEBIAN/control"
    printf '#!/bin/sh\necho "%s works"\n' "$1" >"$tree/usr/bin/$1"
    chmod 755 "$tree/usr/bin/$1"
    head -c 8000000 /dev/urandom >"$tree/usr/share/$1/data"
    dpkg-deb --root-owner-group -Znone -b "$tree" "$deb" >/dev/null || fail "cannot make package $1"
    {
        cat "$tree/DEBIAN/control"
        echo "Filename: ./$1.deb"
        echo "Size: $(stat -c %s "$deb")"
        echo "SHA256: $(sha256sum "$deb" | cut -d' ' -f1)"
        echo
    } >>"$scratch/repository/Packages"
}
umask 022
mkdir "$scratch/repository"
make_package ring3-one ""
make_package ring3-two ring3-one
serve "$scratch/repository"

port=$(free_port)
debian_disk "$scratch/disk.img"
debian_start apt "$port" -d "$scratch/disk.img"
debian_wait apt "$port"

# shellcheck disable=SC2016
debian_ssh "$port" "served=$served sh -es" >"$scratch/out" 2>&1 <<'END' || fail "apt-get: $(tail -n 5 "$scratch/out" | tr '\n' ' ')"
host=$(ip route | sed -n 's/^default via \([^ ]*\).*/\1/p')
echo "deb [trusted=yes] http://$host:$served ./" >/etc/apt/sources.list
apt-get -q update
DEBIAN_FRONTEND=noninteractive apt-get -q install -y ring3-two
dpkg --verify ring3-one ring3-two
ring3-one
ring3-two
END
expect_text out "ring3-one works" apt-get
expect_text out "ring3-two works" apt-get
for p in one two; do
    sum=$(debian_ssh "$port" "md5sum </usr/share/ring3-$p/data" </dev/null | cut -d' ' -f1)
    [ "$sum" = "$(sum_of "$scratch/ring3-$p/usr/share/ring3-$p/data")" ] || fail "ring3-$p: another checksum"
done

# A file there and back.
head -c 50000000 /dev/urandom >"$scratch/there"
debian_ssh "$port" 'cat >/root/copy; md5sum </root/copy' <"$scratch/there" >"$scratch/out" || fail "a file to the guest"
expect_text out "$(sum_of "$scratch/there")" "a file to the guest"
debian_ssh "$port" 'cat /root/copy' </dev/null >"$scratch/back" || fail "a file from the guest"
cmp "$scratch/there" "$scratch/back" || fail "a file there and back"

stop_machine apt
expect_clean "$scratch/disk.img" apt
finish
