/* Implementation of jail.h.
 *
 * A guest address in the window's margins can alias the task's own memory (docs/limits.md), so a hostile guest kernel may come to run code of
 * its own here. It then finds a process without privileges that can make these calls and no others. kill and pidfd_open take any pid: where the task has no
 * process ids of its own (namespaces.h), they reach processes of the same user; as root, the user is nobody.
 * State: none but the kernel's. Called in the vCPU task, once.
 */
#include "host/linux/jail.h"

#include "host/linux/io.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NOBODY 65534

int jail_drop_privileges(void)
{
    if (geteuid() == 0) {
        /* a container may map no other user: then capabilities are all there is to lose */
        bool done = setgroups(0, NULL) == 0 && setresgid(NOBODY, NOBODY, NOBODY) == 0 && setresuid(NOBODY, NOBODY, NOBODY) == 0;
        (void)done;
    }
    return jail_keep_capabilities(0) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ? -errno : 0;
}

int jail_keep_capabilities(uint64_t wanted)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct set[2];
    if (syscall(SYS_capget, &head, set)) {
        return -errno;
    }
    for (unsigned i = 0; i < 2; i++) {
        set[i].permitted &= (uint32_t)(wanted >> (32 * i));
        set[i].effective = set[i].permitted;
        set[i].inheritable = 0;
    }
    return syscall(SYS_capset, &head, set) ? -errno : 0;
}

static const int plain_calls[] = {
    SCMP_SYS(brk), SCMP_SYS(clock_gettime), SCMP_SYS(close), SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(futex),
    SCMP_SYS(futex_waitv), SCMP_SYS(getpid), SCMP_SYS(getppid), SCMP_SYS(getrandom), SCMP_SYS(gettid), SCMP_SYS(kill), SCMP_SYS(lseek),
    SCMP_SYS(madvise), SCMP_SYS(mmap), SCMP_SYS(mprotect), SCMP_SYS(munmap), SCMP_SYS(pidfd_open),
    SCMP_SYS(pidfd_send_signal), SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(pread64), SCMP_SYS(restart_syscall),
    SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(sched_getaffinity), SCMP_SYS(sched_setaffinity),
    SCMP_SYS(sched_yield), SCMP_SYS(tgkill), SCMP_SYS(timer_settime), SCMP_SYS(wait4), SCMP_SYS(waitid),
};

int jail_enter(const int *write_fds, unsigned count)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    int rc = ctx ? 0 : -ENOMEM;
    if (!rc) {
        seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    }
    for (size_t i = 0; !rc && i < ARRAY_LEN(plain_calls); i++) {
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, plain_calls[i], 0);
    }
    for (unsigned i = 0; !rc && i < count; i++) {
        if (write_fds[i] >= 0) {
            const struct scmp_arg_cmp fd = {.arg = 0, .op = SCMP_CMP_EQ, .datum_a = (scmp_datum_t)write_fds[i]};
            rc = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(write), 1, &fd);
        }
    }
    if (!rc) { /* the bells of the devices */
        const struct scmp_arg_cmp bell = {
            .arg = 0, .op = SCMP_CMP_MASKED_EQ, .datum_a = (scmp_datum_t)~(uint64_t)(IO_BELL_LAST - IO_BELL_FIRST), .datum_b = IO_BELL_FIRST};
        rc = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(write), 1, &bell);
    }
    rc = rc ? rc : seccomp_load(ctx);
    if (ctx) {
        seccomp_release(ctx);
    }
    return rc;
}
