# The project's own small programs; each says "good" or what is wrong.
failed=0
for p in far_pages homes vectors; do
    timeout 60 /tests/bin/$p || failed=1
done
for seed in 1 2 3 4 5 6 7 8; do
    timeout 60 /tests/bin/memory_model $seed 8000 || failed=1
done
timeout 60 /tests/bin/clocks "$1" || failed=1
dmesg | grep -E 'WARNING|BUG|Oops|Call Trace|stall|lockup|general protection' && failed=1
exit $failed
