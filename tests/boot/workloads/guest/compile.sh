# The compiler, its libraries, and what it makes: all variants of one program say the same.
cd /tmp || exit 1
build() { # NAME OPTIONS...
    local name=$1
    shift
    gcc -w "$@" -o "$name" /tests/compute.c -lm || { echo "FAIL: gcc $*"; return; }
    "./$name" >"$name.out" || echo "FAIL: $name: exit status $?"
    cmp "$name.out" o0.out || echo "FAIL: gcc $*: another result"
}
build o0 -O0
cat o0.out
build o2 -O2
build o3 -O3 -march=x86-64-v3
build static -O1 -static
build pie -O1 -fPIE -pie
build m32 -m32 -O1 -msse2 -mfpmath=sse
build m32static -m32 -O0 -static
printf 'int twice(int x) { return 2 * x; }\n' >lib.c
printf '#include <stdio.h>\nint twice(int);\nint main(void) { printf("%%d\\n", twice(21)); return 9; }\n' >main.c
printf 'all: main\nlib.so: lib.c\n\tgcc -shared -fPIC -o $@ $<\nmain: main.c lib.so\n\tgcc -o $@ main.c ./lib.so\n' >Makefile
make -s && ./main
echo "exit status $?"
objdump -d main | grep -c ret
for how in '' -static; do
    gcc -m32 -O1 $how -pthread -o compat /tests/compat.c && ./compat
done
echo done
