/* The device of a share: its driver's queues are handed to virtiofsd when it starts, and taken back when it resets.
 *
 * State: struct share, the device's thread's. The thread never sees a request; what it does is pass interrupts on (virtiofsd rings an eventfd) and notice
 * when virtiofsd goes away.
 */
#include "share/share.h"

#include "base/log.h"

#include "host/host.h"
#include "share/vhost_user.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#define QUEUES 2u /* high priority, requests */

struct share_queue {
    struct share *share;
    unsigned index;
    int call; /* eventfd that virtiofsd rings */
};

struct share {
    struct virtio_device device;
    struct io_thread *thread;
    struct vhost_user user;
    struct share_config config;
    struct share_queue queue[QUEUES];
    struct share_helper helper; /* -1: lost, none */
};

/* virtio 1.2 §5.11.4 */
struct fs_config {
    uint8_t tag[SHARE_TAG_MAX];
    uint8_t request_queues[4];
};

static void say_lost(struct share *s, const char *why)
{
    char line[256];
    fmt_line(line, sizeof(line), "the share %s is lost: %s; the guest's accesses to it fail or wait from now on", s->config.source, why);
    host_log(LOG_WARN, line);
}

/* A descriptor, not a process id: whoever reaps it, no other process is meant. */
static void end_helper(const struct share *s)
{
    syscall(SYS_pidfd_send_signal, s->helper.pidfd, SIGKILL, NULL, 0);
}

static void lose(struct share *s, const char *why)
{
    if (s->helper.fd >= 0) {
        io_thread_unwatch(s->thread, s->helper.fd);
        close(s->helper.fd);
        s->helper.fd = -1;
        end_helper(s); /* what it does not give back, it must not go on using */
        s->device.stat.errors++;
        say_lost(s, why);
        virtio_device_break(&s->device, why);
    }
}

static void on_call(void *ctx, short revents)
{
    struct share_queue *q = ctx;
    uint64_t count;
    (void)revents;
    if (read(q->call, &count, sizeof(count)) == (ssize_t)sizeof(count)) {
        struct virtio_device *d = &q->share->device;
        d->stat.interrupts++;
        __atomic_fetch_or(&d->regs->interrupts, 1u << q->index, __ATOMIC_RELEASE);
        host_device_interrupt(d->slot);
    }
}

/* It only speaks when spoken to: it has gone. */
static void on_connection(void *ctx, short revents)
{
    struct share *s = ctx;
    if (revents & (POLLHUP | POLLERR | POLLIN)) {
        lose(s, "virtiofsd has ended");
    }
}

/* What virtiofsd has to say, line by line as it comes. */
static void on_message(void *ctx, short revents)
{
    struct share *s = ctx;
    char text[256], line[400];
    ssize_t n = read(s->helper.messages, text, sizeof(text) - 1);
    if (n <= 0) {
        if (n == 0 || (revents & (POLLHUP | POLLERR))) {
            io_thread_unwatch(s->thread, s->helper.messages);
        }
        return;
    }
    while (n > 0 && text[n - 1] == '\n') {
        n--;
    }
    text[n] = '\0';
    fmt_line(line, sizeof(line), "virtiofsd (%s): %s", s->config.source, text);
    host_log(LOG_WARN, line);
}

static void share_device_start(struct virtio_device *d)
{
    struct share *s = d->state;
    int kick[QUEUES], call[QUEUES];
    if (s->helper.fd < 0) {
        virtio_device_break(d, "virtiofsd has ended");
        return;
    }
    for (unsigned q = 0; q < QUEUES; q++) {
        kick[q] = io_thread_kick_fd(s->thread, q);
        call[q] = s->queue[q].call;
    }
    if (vhost_user_start(&s->user, d, kick, call)) {
        lose(s, "virtiofsd does not take the queues");
    }
}

static void share_device_stop(struct virtio_device *d)
{
    struct share *s = d->state;
    if (s->helper.fd >= 0 && vhost_user_stop(&s->user, d)) {
        lose(s, "virtiofsd does not give the queues back");
    }
}

static void share_device_kick(struct virtio_device *d, unsigned q)
{
    (void)d;
    (void)q; /* the bells are virtiofsd's */
}

static const struct virtio_ops share_ops = {.start = share_device_start, .stop = share_device_stop, .kick = share_device_kick};

static int make_thread(struct share *s)
{
    int err = io_thread_create(&s->thread, &s->device, "share");
    for (unsigned q = 0; q < QUEUES && !err; q++) {
        s->queue[q] = (struct share_queue){.share = s, .index = q, .call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
        err = s->queue[q].call < 0 ? -errno : 0;
        if (!err) {
            io_thread_leave_kicks(s->thread, q);
            err = io_thread_watch(s->thread, s->queue[q].call, POLLIN, on_call, &s->queue[q]);
        }
    }
    err = err ? err : io_thread_watch(s->thread, s->helper.messages, POLLIN, on_message, s);
    return err ? err : io_thread_watch(s->thread, s->helper.fd, POLLIN, on_connection, s);
}

int share_create(const struct share_config *c, struct virtio_regs *regs, const struct ram *ram, unsigned slot, struct share **out,
                 struct share_error *err)
{
    struct share *s = calloc(1, sizeof(*s));
    if (!s) {
        fmt_line(err->text, sizeof(err->text), "-v %s: out of memory", c->source);
        return -1;
    }
    s->config = *c;
    s->helper = (struct share_helper){-1, -1, -1};
    for (unsigned q = 0; q < QUEUES; q++) {
        s->queue[q].call = -1;
    }
    if (share_spawn(c, &s->helper, err)) {
        share_destroy(s);
        return -1;
    }
    int failed = vhost_user_hello(&s->user, s->helper.fd);
    if (!failed && !(s->user.features & VIRTIO_F_VERSION_1)) {
        failed = -EPROTO;
    }
    struct fs_config config = {.request_queues = {1}};
    memcpy(config.tag, c->tag, strlen(c->tag));
    virtio_device_init(&s->device, regs, ram, slot, VIRTIO_ID_FS, QUEUES, 0, &config, sizeof(config), &share_ops, s);
    /* virtiofsd reads the rings itself: only what it understands may be offered. */
    s->device.offered &= s->user.features;
    regs->device_features = s->device.offered;
    failed = failed ? failed : make_thread(s);
    if (failed) {
        fmt_line(err->text, sizeof(err->text), "-v %s: virtiofsd does not work here: %s", c->source, strerror(-failed));
        share_destroy(s);
        return -1;
    }
    *out = s;
    return 0;
}

void share_destroy(struct share *s)
{
    if (s->thread) {
        io_thread_destroy(s->thread);
    }
    if (s->helper.pidfd >= 0) { /* first: it would complain of a lost connection */
        end_helper(s);
        close(s->helper.pidfd);
    }
    if (s->helper.fd >= 0) {
        close(s->helper.fd);
    }
    if (s->helper.messages >= 0) {
        close(s->helper.messages);
    }
    for (unsigned q = 0; q < QUEUES; q++) {
        if (s->queue[q].call >= 0) {
            close(s->queue[q].call);
        }
    }
    free(s);
}

struct virtio_device *share_device(struct share *s)
{
    return &s->device;
}

struct io_thread *share_thread(struct share *s)
{
    return s->thread;
}
