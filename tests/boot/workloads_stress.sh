# stress-ng --verify in a Debian guest. STRESS_SECONDS for each stressor, 2 if not given.
. tests/lib.sh
. tests/boot/workloads/lib.sh
export LIMIT=580

guest bash /tests/stress.sh "${STRESS_SECONDS:-2}" cpu vm fork signal futex pipe mmap switch sigsegv sigfpe sigq clone \
    vfork pthread timer itimer mremap madvise vm-rw vm-segv mprotect mmapfork mmapfixed sem mq shm msg poll eventfd \
    sigio sigtrap vecwide vecmath tlb-shootdown stackmmap context icache fault sock af-alg vm-addr far-branch
expect_status 0 "stress-ng: $(cat "$scratch/out")"
finish
