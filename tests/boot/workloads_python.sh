# Python's own tests in a Debian guest. PYTHON_TESTS names others than these.
. tests/lib.sh
. tests/boot/workloads/lib.sh
export LIMIT=580

# shellcheck disable=SC2086
guest bash /tests/python.sh ${PYTHON_TESTS:-test_json test_re test_struct test_math test_cmath test_float test_long \
    test_decimal test_hashlib test_zlib test_bz2 test_lzma test_array test_random test_builtin test_dict test_set \
    test_ctypes test_mmap test_os test_posix test_fork1 test_wait4 test_time test_select test_epoll test_thread \
    test_threading test_signal test_subprocess test_socket test_fcntl test_resource test_pty test_gc test_faulthandler \
    test_tempfile test_pickle test_queue}
expect_status 0 "Python: $(tail -n 40 "$scratch/out")"
finish
