/* ring3 kill: end machines at once, their monitors too if they do not answer. */
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/vms.h"
#include "control/client.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ANSWER_MS 2000
#define LEAVE_MS 5000u

static const struct args_option options[] = {{0}};

/* The process that holds the lock now, so it is not another one by the same number. */
static bool kill_process(const struct vms *v, const struct vm_entry *e)
{
    struct vm_entry now;
    int fd = e->pid > 0 ? (int)syscall(SYS_pidfd_open, e->pid, 0) : -1;
    bool same =
        fd >= 0 && vm_look(&v->base, e->name, &now) == 0 && vm_alive(&now) && now.pid == e->pid;
    bool done = same && syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return done;
}

int kill_machine(const struct vms *v, const struct vm_entry *e)
{
    struct vm_error err;
    struct vm_entry now = *e;
    char what[sizeof(err.text) + 32];
    int failed = client_ask(&v->base, e->name, "kill", NULL, ANSWER_MS, &err);
    /* A monitor that hears nobody any more is about to leave, like one that was asked to. */
    if (vms_wait_end(v, &now, failed == -ETIMEDOUT ? 0 : LEAVE_MS)) {
        return 0;
    }
    bool starting = now.state == VM_STARTING;
    bool killed = kill_process(v, e);
    if (!vms_wait_end(v, &now, killed ? LEAVE_MS : 0)) {
        vms_say(v, e, "it cannot be ended");
        return CLI_FAILED;
    }
    if (killed) {
        snprintf(what, sizeof(what), "%s; it was killed",
                 starting ? "it was still starting"
                 : failed ? err.text
                          : "its monitor did not end");
        vms_say(v, e, what);
    }
    return 0;
}

static int kill_one(const struct vms *v, const struct vm_entry *e, void *ctx)
{
    (void)ctx;
    int status = kill_machine(v, e);
    if (!status) {
        puts(e->name);
    }
    return status;
}

int kill_main(int argc, char **argv)
{
    struct args a;
    struct vms v;
    int status = vms_begin(argc, argv, options, VMS_WHOLE_NAMES, &a, &v);
    if (status >= 0) {
        return status;
    }
    status = vms_each_alive(&v, a.words, a.count, kill_one, NULL);
    vms_close(&v);
    return status;
}
