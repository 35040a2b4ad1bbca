/* The monitor's jail. It parses what guests put into queues, what a network sends and what image files hold; if one of these parsers has a hole, this
 * is what its finder has got: the files and connections the machine was given, and its memory.
 * State: none but the kernel's. Called once, from the main thread; holds for all threads (TSYNC).
 */
#include "host/linux/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/if_tun.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <termios.h>
#include <unistd.h>

static const int plain_calls[] = {
    /* files it has */
    SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(pread64), SCMP_SYS(pwrite64), SCMP_SYS(preadv), SCMP_SYS(preadv2),
    SCMP_SYS(pwritev), SCMP_SYS(lseek), SCMP_SYS(fsync), SCMP_SYS(fdatasync), SCMP_SYS(fallocate), SCMP_SYS(ftruncate), SCMP_SYS(fstat),
    SCMP_SYS(newfstatat), SCMP_SYS(close), SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(pipe2),
    /* connections it has; accept: of the control socket */
    SCMP_SYS(accept4), SCMP_SYS(recvfrom), SCMP_SYS(recvmsg), SCMP_SYS(recvmmsg), SCMP_SYS(sendto), SCMP_SYS(sendmsg), SCMP_SYS(sendmmsg),
    SCMP_SYS(shutdown), SCMP_SYS(getsockopt), SCMP_SYS(setsockopt), SCMP_SYS(getsockname),
    /* memory: see also mmap and mprotect */
    SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise),
    /* time, waiting, its own threads */
    SCMP_SYS(clock_gettime), SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep), SCMP_SYS(futex), SCMP_SYS(restart_syscall), SCMP_SYS(sched_yield),
    SCMP_SYS(set_robust_list), SCMP_SYS(rseq), SCMP_SYS(getrandom),
    /* signals of its own, children */
    SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(wait4), SCMP_SYS(waitid), SCMP_SYS(pidfd_send_signal),
    SCMP_SYS(getpid), SCMP_SYS(getppid), SCMP_SYS(gettid), SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(getrusage), SCMP_SYS(exit),
    SCMP_SYS(exit_group),
};

/* What fcntl, and terminals, taps and block devices, are asked for. */
static const unsigned fcntl_commands[] = {F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_OFD_SETLK, F_OFD_GETLK};
static const unsigned long ioctl_requests[] = {TCGETS, TCSETS, TCSETSW, TCSETSF, TIOCGWINSZ, TIOCGPGRP, FIONREAD, BLKDISCARD, BLKZEROOUT, TUNSETOFFLOAD};

static int allow_when(scmp_filter_ctx ctx, int call, unsigned arg, enum scmp_compare op, uint64_t a, uint64_t b)
{
    const struct scmp_arg_cmp cmp = {.arg = arg, .op = op, .datum_a = a, .datum_b = b};
    return seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, call, 1, &cmp);
}

/* A negative pid is a 64-bit register's lower half: compare 32 bits. */
static int allow_kill(scmp_filter_ctx ctx, int pid)
{
    return allow_when(ctx, SCMP_SYS(kill), 0, SCMP_CMP_MASKED_EQ, 0xffffffffu, (uint32_t)pid);
}

static int add_rules(scmp_filter_ctx ctx, const int *groups, unsigned count)
{
    int rc = 0;
    for (size_t i = 0; !rc && i < ARRAY_LEN(plain_calls); i++) {
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, plain_calls[i], 0);
    }
    for (size_t i = 0; !rc && i < ARRAY_LEN(fcntl_commands); i++) {
        rc = allow_when(ctx, SCMP_SYS(fcntl), 1, SCMP_CMP_EQ, fcntl_commands[i], 0);
    }
    for (size_t i = 0; !rc && i < ARRAY_LEN(ioctl_requests); i++) {
        rc = allow_when(ctx, SCMP_SYS(ioctl), 1, SCMP_CMP_EQ, ioctl_requests[i], 0);
    }
    /* Nothing executable is made. */
    rc = rc ? rc : allow_when(ctx, SCMP_SYS(mmap), 2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
    rc = rc ? rc : allow_when(ctx, SCMP_SYS(mprotect), 2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
    rc = rc ? rc : allow_when(ctx, SCMP_SYS(prctl), 0, SCMP_CMP_EQ, PR_SET_NAME, 0);
    rc = rc ? rc : allow_kill(ctx, getpid()); /* job control, and to die of a signal */
    rc = rc ? rc : allow_when(ctx, SCMP_SYS(tgkill), 0, SCMP_CMP_EQ, (uint64_t)getpid(), 0);
    for (unsigned i = 0; !rc && i < count; i++) {
        rc = allow_kill(ctx, -groups[i]);
    }
    return rc;
}

int jail_enter_monitor(const int *groups, unsigned count)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) {
        return -errno;
    }
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    int rc = ctx ? 0 : -ENOMEM;
    rc = rc ? rc : seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    rc = rc ? rc : seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
    rc = rc ? rc : add_rules(ctx, groups, count);
    rc = rc ? rc : seccomp_load(ctx);
    if (ctx) {
        seccomp_release(ctx);
    }
    return rc;
}
