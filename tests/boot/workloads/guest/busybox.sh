# Busybox applets on made-up data: what they print must be what they print anywhere. $1 is the busybox.
b=$1
dir=$(mktemp -d)
cd "$dir" || exit 1
say() { echo "== $*"; }

i=0
while [ $i -lt 2000 ]; do echo "$i line $((i * 7919 % 1009)) $((i % 13))"; i=$((i + 1)); done >data
say sums
for a in md5sum sha1sum sha256sum sha512sum sha3sum cksum sum crc32; do $b $a <data; done
say text
$b sort -k3,3n -k1,1nr data | $b md5sum
$b sort -u -t' ' -k4,4 data | $b head -n 3
$b awk '{ s[$4] += $3 } END { for (k = 0; k < 13; k++) print k, s[k] }' data
$b sed -n 's/^\([0-9]*\)5 line \(.*\) 7$/\2 \1/p' data | $b tail -n 4
$b grep -cE '^[0-9]+ line 1.* [0-3]$' data
$b cut -d' ' -f3 data | $b uniq -c | $b wc -l
$b tr 0-9 a-j <data | $b head -c 100 | $b od -An -tx1
$b tac data | $b rev | $b fold -w 7 | $b paste -s -d, | $b md5sum
$b nl data | $b expand | $b tail -n 1
$b comm -12 data data | $b wc -c
echo 'b a c b' | $b xargs -n 1 echo | $b sort | $b uniq -d
$b diff data data && echo equal
$b seq 1 3 30 | $b shuf | $b sort -n | $b paste -s
say archives
for a in gzip bzip2 xz lzma lzop; do
    $b --list | $b grep -qx $a || continue
    $b $a -c <data >packed 2>/dev/null && $b $a -dc <packed | $b cmp - data && echo $a
done
$b mkdir -p tree/a/b tree/c
$b cp data tree/a/b/one
$b ln -s ../a tree/c/link
$b ln tree/a/b/one tree/hard
$b chmod 640 tree/hard
$b tar c tree | $b tar x -C / -f - -O tree/a/b/one | $b cmp - data && echo tar
$b find tree | $b sort | $b cpio -o -H newc 2>/dev/null | $b cpio -t 2>/dev/null
say files
$b stat -c '%a %h %s' tree/hard
$b du -a tree | $b wc -l
$b readlink tree/c/link
$b dd if=data of=piece bs=100 skip=3 count=5 2>/dev/null
$b md5sum <piece
$b split -l 700 data part
$b cat part* | $b cmp - data && ls part*
$b truncate -s 1000000 hole
$b stat -c %s hole
$b base64 piece | $b base64 -d | $b cmp - piece && echo base64
$b xxd piece | $b head -n 2
$b rm -r tree
say numbers
$b expr 17 '*' 23
echo '2^200; scale=30; 1/7' | $b bc
echo '5 k 2 v p' | $b dc
$b factor 1234567890
$b printf '%05d|%-6s|%x|%c\n' 42 ab 255 z
$b date -u -d '@1000000000' '+%F %T'
say shell
$b sh -c 'f() { case $1 in a*) echo A ;; *) echo other ;; esac; }; f abc; f x; x=hello; echo ${x#he} ${#x} ${x%l*}'
$b sh -c 'trap "echo caught" USR1; kill -USR1 $$; (exit 4); echo $?; set -- 1 2 3; shift; echo $# $*'
$b sh -c 'for i in 1 2 3 4 5; do (exit $i) & done; wait; echo waited'
$b sh -c 'echo a | { read x; echo got $x; }; cat <<X
here $((2**10))
X'
$b timeout 1 $b sleep 10
echo "timeout $?"
$b sh -c '$b sleep 0.1 & wait $!; echo slept'
$b yes | $b head -n 100000 | $b wc -c
$b env -i A=1 $b sh -c 'echo $A'
$b ash -c 'kill -9 $$'
echo "killed $?"
$b test -d / && echo directory
cd / && rm -r "$dir"
