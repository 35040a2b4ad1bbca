#!/usr/bin/env bash
# ring3 image: what its verbs do, what they refuse, what they leave behind. Beside QEMU's tools where there are any.
. tests/lib.sh

image() { run "$RING3" image "$@"; }
cd_to() { cd "$1" || exit 1; }
refused() { # STATUS WORDS ARGS...   one line that has the words, and nothing was made
    local expected=$1 words=$2
    shift 2
    image "$@"
    expect_status "$expected" "image $*"
    expect_text err "$words" "image $*"
    expect_lines err 1 "image $*"
}
qemu=
command -v qemu-img >/dev/null && qemu=1
cd_to "$scratch"

# ---- create, info ----
image create a.qcow2 1G
expect_status 0 create
expect_exactly out '' "create says nothing"
image info a.qcow2
expect_text out 'qcow2, version 3' info
expect_text out '1.0 GB (1073741824 bytes)' info
image info --format json a.qcow2
expect_text out '"size": 1073741824' 'info --format json'
expect_text out '"cluster_size": 65536' 'info --format json'
image create $'bytes\xff.qcow2' 1M
image info --format json $'bytes\xff.qcow2'
expect_status 0 'info of a name that is not UTF-8'
iconv -f UTF-8 -t UTF-8 out >/dev/null 2>&1 || fail "info --format json is not UTF-8: $(grep name out | od -c | head -3)"
expect_text out $'bytes\xef\xbf\xbd.qcow2' 'info of a name that is not UTF-8'
image create b.raw 10M
[ "$(stat -c %s b.raw)" -eq 10485760 ] || fail "create b.raw: $(stat -c %s b.raw) bytes"
[ "$(stat -c %b b.raw)" -lt 64 ] || fail "create b.raw takes space"
image create -f qcow2 --cluster 2M big 3T
expect_status 0 'create --cluster'
[ "$(stat -c %b big)" -lt 1024 ] || fail "an empty image takes $(stat -c %b big) blocks"
[ -z "$qemu" ] || qemu-img check -q big || fail "qemu-img does not like ours"
image check big
expect_status 0 'check of an empty image'
image create --cluster=512 c.qcow2 512
expect_status 0 'create --cluster=512'

refused 2 'exists already; -y' create a.qcow2 2G
refused 2 'the size of the disk is needed' create x
refused 2 'SIZE is a number' create x 10Q
refused 2 'multiple of 512' create x 1000
refused 2 'power of two' create --cluster 100K x.qcow2 1G
refused 2 'or -f qcow2' create --cluster 4K x 1G
refused 2 'no such format' create -f vmdk x 1G
refused 2 'did you mean --cluster' create --clutser 4K x.qcow2 1G
refused 2 "did you mean create" craete x 1G
refused 2 'one name too many' create x 1G y
refused 2 'no such option: -c' create -c x 1G
refused 2 'needs a value' create x 1G -f
refused 2 'No such file or directory' create no/such/folder 1G
refused 2 'nothere: no such file' info nothere
refused 2 'nothere: No such file' check nothere
refused 2 'nothere: no such file' convert nothere x
refused 2 'two names are needed' convert b.raw
refused 2 'a disk has 512 bytes at least' create x 0
refused 2 'a disk has 512 bytes at least' create x 0G
refused 2 'names no file' create '' 1G
refused 2 'is no option' info b.raw,bogus
refused 2 'is no option' convert b.raw,bogus x
refused 2 'no such file' rebuild nothere b.raw
refused 2 'a folder' info .
refused 2 'a folder' check .
mkfifo pipe
refused 2 'neither file nor block device' check pipe
refused 2 'neither file nor block device' info pipe
[ ! -e x ] && [ ! -e x.qcow2 ] || fail "something refused was made"
long=$(printf 'n%.0s' {1..255})
image create "$long" 1M
expect_status 0 'create with the longest name'
rm "$long"
image create -y a.qcow2 2G
expect_status 0 'create -y'
image info a.qcow2
expect_text out '2.0 GB' 'create -y'
[ "$(ls | grep -c part)" -eq 0 ] || fail "create -y leaves $(ls)"
image
expect_status 2 'no verb'
image --help
expect_status 0 --help
expect_text out 'Usage: ring3 image create' --help

# ---- convert: there and back, in every form ----
head -c 3000001 /dev/urandom >data
seq 1 300000 >>data
truncate -s 20M data
truncate -s 20480k data
for options in "" "-c" "--cluster 512" "-c --cluster 2M" "-c --cluster 4K"; do
    # shellcheck disable=SC2086
    image convert -O qcow2 $options -y data image
    expect_status 0 "convert $options"
    expect_exactly err '' "convert $options: no progress bar off a terminal"
    image convert -f qcow2 -y image back
    cmp data back || fail "convert $options: not the same"
    image check image
    expect_status 0 "check after convert $options"
    [ "$(stat -c %s back)" -eq "$(stat -c %s data)" ] || fail "convert $options: size"
    [ "$(stat -c %b back)" -lt 12000 ] || fail "convert $options: not sparse, $(stat -c %b back) blocks"
    [ -z "$qemu" ] || { qemu-img check -q image && qemu-img compare -q -f raw -F qcow2 data image; } || fail "convert $options: QEMU differs"
done
[ "$(stat -c %b image)" -lt 11000 ] || fail "-c does not compress"
refused 2 'are the same file' convert -y data ./data
refused 2 'exists already' convert data back
refused 2 'begins like a qcow2' create -b image x.qcow2
image convert -O qcow2 -y data image
refused 2 'begins like a qcow2' convert image x
refused 2 'add -O qcow2' convert -c data x
mkdir folder
refused 2 'folder' convert -y data folder
image convert data,ro x.raw
cmp data x.raw || fail "convert DISK,ro"
truncate -s 10M p1
cp data p2
truncate -s 10M p2
image convert concat:p2,p1 joined.qcow2
expect_status 0 'convert of a concat'
image convert joined.qcow2 joined
cmp -n 10485760 joined data || fail "convert of a concat: first part"

# ---- backing files ----
mkdir -p sub
image create -b data over.qcow2
expect_status 0 'create -b'
image info over.qcow2
expect_text out 'data (raw)' 'info of an image with a backing file'
refused 2 'say ,backing' convert over.qcow2 y
image convert over.qcow2,backing y
cmp data y || fail "convert of an image with a backing file"
image create -b over.qcow2 sub/top.qcow2 30M
expect_status 0 'create -b in another folder'
image info sub/top.qcow2
expect_text out "$PWD/over.qcow2 (qcow2)" 'the backing file elsewhere is absolute'
image convert sub/top.qcow2,backing top
cmp -n 20971520 top data || fail "a chain of two"
[ -z "$qemu" ] || qemu-img compare -q -f raw -F qcow2 top sub/top.qcow2 || fail "a chain of two: QEMU differs"
refused 2 'nothing: no such file' create -b nothing x.qcow2 1G
refused 2 'there is no -b' create -F raw x.qcow2 1G
refused 2 'in .qcow2, or -f qcow2' create -b data x.img
[ ! -e x.img ] || fail "create -b makes qcow2 under a raw name"
image create -f qcow2 -b data x.img
expect_status 0 'create -f qcow2 -b'

# An image over itself, at once or by way of others: nothing is touched.
image create -b over.qcow2 top.qcow2
cp over.qcow2 over.kept
refused 2 'cannot lie over itself' create -y -b over.qcow2 over.qcow2
refused 2 'cannot lie over itself' create -y -b top.qcow2 ./over.qcow2
refused 2 'cannot lie over itself' create -y -b over.qcow2 -f qcow2 data
refused 2 'cannot lie over itself' create -b sub/../over.qcow2 over.qcow2
ln -s over.qcow2 alias.qcow2
refused 2 'cannot lie over itself' create -y -b alias.qcow2 over.qcow2
cmp over.qcow2 over.kept || fail "create -y over its own backing file changed it"
image create -y -b over.qcow2 top.qcow2
expect_status 0 'create -y over the same backing file'

# ---- check, repair ----
if [ -n "$qemu" ]; then
    image convert -O qcow2 --cluster 4K -y data image
    # the count of cluster 4 (here: data) from 1 to 0, of 5 from 1 to 2
    printf '\0\0\0\2' | dd of=image bs=1 seek=$((2 * 4096 + 4 * 2)) conv=notrunc status=none
    image check image
    expect_status 1 'check of a damaged image'
    expect_text out 'is counted 0 times' check
    expect_text out '1 leaked clusters' check
    image check --repair image
    expect_status 0 'check --repair'
    image check image
    expect_status 0 'check after repair'
    expect_text out 'no problem found' 'check after repair'
    qemu-img check -q image && qemu-img compare -q -f raw -F qcow2 data image || fail "repaired image"
fi
image check data
expect_status 0 'check of a raw image'
expect_text out 'nothing to check' 'check of a raw image'
# By its name it is opened as qcow2: without the magic it is damaged.
image create spoilt.qcow2 1M
printf X | dd of=spoilt.qcow2 bs=1 conv=notrunc status=none
: >empty.qcow2
for file in spoilt.qcow2 empty.qcow2; do
    refused 1 'does not begin like it' check "$file"
    refused 1 'does not begin like it' info "$file"
done
image info spoilt.qcow2,format=raw
expect_status 0 'info of a damaged image as raw'

# ---- what is in use ----
exec 9<>a.qcow2
if command -v flock >/dev/null && flock --help 2>&1 | grep -q fcntl; then
    flock --fcntl 9
    refused 2 'in use' check --repair a.qcow2
    refused 2 'in use' create -y a.qcow2 1G
    image info a.qcow2
    expect_status 0 'info of an image in use'
fi
exec 9>&-

# ---- interrupted: nothing is left; what was there before is still there ----
head -c 300M /dev/zero | tr '\0' x >large
echo old >kept
for target in new kept; do
    for signal in INT TERM; do
        env --default-signal=INT "$RING3" image convert -c -O qcow2 -y large $target 2>err & # a shell's & ignores INT
        pid=$!
        sleep 0.3
        kill -$signal $pid 2>/dev/null
        wait $pid
        status=$?
        [ $status -gt 128 ] || fail "interrupted by $signal: exit status $status; $(cat err)"
    done
done
"$RING3" image convert -c -O qcow2 -y large new 2>err &
pid=$!
sleep 0.3
kill -KILL $pid
wait $pid 2>/dev/null
ls new.part* >/dev/null 2>&1 || fail "killed too early or too late for this test: $(ls)"
rm -f new.part*
[ ! -e new ] || fail "a half-written file is left"
[ "$(head -c 3 kept)" = old ] || fail "the file that was there is spoilt"
[ "$(ls | grep -c part)" -eq 0 ] || fail "interrupted: $(ls | grep part) is left"
(
    ulimit -f 2000
    trap '' XFSZ
    "$RING3" image convert data full 2>err
    [ $? -eq 1 ] && [ ! -e full ] && grep -q 'too large' err
) || fail "a copy that did not fit: $(cat err)"
finish
