# Directories of the host in the default guest.
. tests/lib.sh
. tests/boot/lib/machines.sh
[ -x /usr/libexec/virtiofsd ] || [ -x /usr/lib/qemu/virtiofsd ] || { echo "no virtiofsd; tools/setup test installs it"; exit 77; }

mkdir -p "$scratch/a/sub" "$scratch/b"
head -c 10000000 /dev/urandom >"$scratch/a/sub/data"
echo before >"$scratch/b/file"

run "$RING3" run -v "$scratch/a:/data/deep" -v "$scratch/b:/ro:ro" -- sh -c 'md5sum </data/deep/sub/data; cat /ro/file
    cp /data/deep/sub/data /data/deep/copy; mkdir /data/deep/new; echo x >/data/deep/new/x; rm -r /data/deep/sub
    ! echo y 2>/dev/null >/ro/file; mount | grep -c virtiofs' </dev/null
expect_status 0 "-v"
expect_text out before "a read-only directory"
sum=$(sum_of "$scratch/a/copy")
expect_text out "$sum" "a file of the host's"
[ "$(cat "$scratch/a/new/x")" = x ] || fail "what the guest made is not there"
[ ! -e "$scratch/a/sub" ] || fail "what the guest removed is still there"
[ "$(cat "$scratch/b/file")" = before ] || fail "a read-only directory was written"

# The same for an ordinary user, who may not mount. (Debian 12's virtiofsd is made root of a user namespace.)
if [ "$(id -u)" = 0 ] && { [ -x /usr/libexec/virtiofsd ] || setpriv --reuid 65534 --regid 65534 --clear-groups unshare -U true; }; then
    as_nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups env XDG_RUNTIME_DIR="$scratch/nobody" RING3_GUEST="$scratch/guest")
    mkdir -p "$scratch/guest" "$scratch/nobody" "$scratch/mine"
    cp "$RING3" "$BUILD/kernel/vmlinuz" "$BUILD/default-guest.cpio" "$scratch/guest"
    echo mine >"$scratch/mine/file"
    chmod 711 "$scratch"
    chmod 700 "$scratch/nobody"
    chown -R 65534:65534 "$scratch/nobody" "$scratch/mine"
    run "${as_nobody[@]}" "$scratch/guest/ring3" run -v "$scratch/mine:/rw" -v "$scratch/mine:/ro:ro" -- sh -c '
        cat /ro/file; echo new >/rw/new; for a in "rm /ro/file" "mkdir /ro/x" "chmod 0 /ro/file" "truncate -s 0 /ro/file" \
            "mv /ro/file /ro/y" "ln /ro/file /ro/z" "touch /ro/t"; do ! $a 2>/dev/null || echo "$a"; done' </dev/null
    expect_status 0 "an ordinary user"
    expect_exactly out "mine\n" "an ordinary user"
    [ "$(cd "$scratch/mine" && cat ./* && ls | wc -l)" = "$(printf 'mine\nnew\n2')" ] || fail "an ordinary user's read-only directory was written"
    [ "$(stat -c %u "$scratch/mine/new")" = 65534 ] || fail "what an ordinary user's guest made is not the user's"
fi

# Nothing outside it: a link means what it says to the guest.
ln -s /etc "$scratch/b/out"
echo secret >"$scratch/secret"
run "$RING3" run -v "$scratch/b:/b" -- sh -c 'cat /b/../secret /b/out/hostname 2>/dev/null; head -n 1 /b/out/passwd' </dev/null
expect_exactly out "$(head -n 1 guests/default/etc/passwd)\n" "outside the directory"

# A command whose directory is missing is not run.
run "$RING3" run -v "$scratch/none:/b" -- echo run </dev/null
[ "$status" -ne 0 ] || fail "no such directory: exit status 0"
expect_exactly out "" "no such directory"
expect_lines err 1 "no such directory"
finish
