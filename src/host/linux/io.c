/* The threads of the devices. See io.h.
 *
 * Owner of everything in struct io_thread: the thread itself once it runs; before that, and after it was joined, its maker. Exceptions: `call`
 * and what belongs to it, under `lock`; `stopping`, an atomic flag followed by a wake-up.
 */
#include "host/linux/io.h"

#include "host/host.h"
#include "host/linux/arena.h"
#include "host/linux/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000ull
#define STACK_SIZE 0x80000u

struct io_watch {
    int fd; /* -1: free */
    short events;
    void (*fn)(void *ctx, short revents);
    void *ctx;
};

struct io_thread {
    struct virtio_device *device;
    char name[16];
    pthread_t thread;
    bool started;
    bool stopping, ended; /* atomic */
    int end_bell;         /* rung when it has ended; -1: nobody waits */
    void (*last)(void *ctx); /* NULL: nothing */
    void *last_ctx;
    int wake;      /* eventfd: look at `call` and `stopping` */
    int control, kick[VIRTIO_QUEUES_MAX]; /* copies: those in the register file are anybody's */
    uint32_t left;                        /* bit q: bell q is another process's */
    struct io_watch watch[IO_WATCHES_MAX];
    uint64_t timer_ns; /* 0: none */
    void (*timer_fn)(void *ctx);
    void *timer_ctx;

    pthread_mutex_t lock;
    pthread_cond_t called;
    void (*call)(void *ctx); /* wanted; NULL: none */
    void *call_ctx;
};

/* ---- bells ---- */

static int bell_create(void)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) {
        return -errno;
    }
    int bell = fcntl(fd, F_DUPFD_CLOEXEC, IO_BELL_FIRST);
    int err = bell >= 0 ? 0 : errno == EINVAL ? -EMFILE : -errno; /* EINVAL: beyond ulimit -n */
    close(fd);
    if (bell > (int)IO_BELL_LAST) {
        close(bell);
        err = -EMFILE;
    }
    return err ? err : bell;
}

static void bell_ring(int bell)
{
    uint64_t one = 1;
    (void)!write(bell, &one, sizeof(one));
}

static bool bell_take(int bell)
{
    uint64_t count;
    return read(bell, &count, sizeof(count)) == (ssize_t)sizeof(count);
}

void host_notify(int bell)
{
    if (bell >= 0) {
        bell_ring(bell);
    }
}

void host_device_interrupt(unsigned slot)
{
    __atomic_fetch_or(&ARENA->vm.device_pending, 1u << slot, __ATOMIC_RELEASE);
    host_kick(0);
}

int host_ram_discard(uint64_t ram_off, uint64_t len)
{
    return madvise((void *)(RAM_ADDR + ram_off), len, MADV_REMOVE) ? -errno : 0;
}

/* ---- life ---- */

int io_thread_create(struct io_thread **out, struct virtio_device *d, const char *name)
{
    struct io_thread *t = calloc(1, sizeof(*t));
    if (!t) {
        return -ENOMEM;
    }
    t->device = d;
    t->end_bell = -1;
    fmt_line(t->name, sizeof(t->name), "%s", name);
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->called, NULL);
    for (unsigned i = 0; i < IO_WATCHES_MAX; i++) {
        t->watch[i].fd = -1;
    }
    for (unsigned q = 0; q < VIRTIO_QUEUES_MAX; q++) {
        t->kick[q] = -1;
    }
    t->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    t->control = bell_create();
    int err = t->wake < 0 ? -errno : t->control < 0 ? t->control : 0;
    for (unsigned q = 0; q < d->queue_count && !err; q++) {
        t->kick[q] = bell_create();
        err = t->kick[q] < 0 ? t->kick[q] : 0;
    }
    if (err) {
        io_thread_destroy(t);
        return err;
    }
    d->regs->control = t->control;
    memcpy(d->regs->kick, t->kick, sizeof(t->kick));
    *out = t;
    return 0;
}

void io_thread_last(struct io_thread *t, void (*fn)(void *ctx), void *ctx)
{
    t->last = fn;
    t->last_ctx = ctx;
}

void io_thread_stop(struct io_thread *t, int bell)
{
    t->end_bell = bell; /* before the release, which the thread acquires */
    __atomic_store_n(&t->stopping, true, __ATOMIC_RELEASE);
    bell_ring(t->wake);
}

bool io_thread_ended(const struct io_thread *t)
{
    return !t->started || __atomic_load_n(&t->ended, __ATOMIC_ACQUIRE);
}

void io_thread_destroy(struct io_thread *t)
{
    if (t->started) {
        if (!__atomic_load_n(&t->stopping, __ATOMIC_RELAXED)) {
            io_thread_stop(t, -1);
        }
        pthread_join(t->thread, NULL);
    } else if (t->last) {
        t->last(t->last_ctx);
    }
    for (unsigned q = 0; q < VIRTIO_QUEUES_MAX; q++) {
        if (t->kick[q] >= 0) {
            close(t->kick[q]);
        }
    }
    if (t->control >= 0) {
        close(t->control);
    }
    if (t->wake >= 0) {
        close(t->wake);
    }
    pthread_cond_destroy(&t->called);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

/* ---- what device and back end ask for ---- */

int io_thread_watch(struct io_thread *t, int fd, short events, void (*fn)(void *ctx, short revents), void *ctx)
{
    struct io_watch *free_one = NULL;
    for (unsigned i = 0; i < IO_WATCHES_MAX; i++) {
        struct io_watch *w = &t->watch[i];
        if (w->fd == fd) {
            free_one = w;
            break;
        }
        if (w->fd < 0 && !free_one) {
            free_one = w;
        }
    }
    if (!free_one) {
        return -ENOSPC;
    }
    *free_one = (struct io_watch){.fd = fd, .events = events, .fn = fn, .ctx = ctx};
    return 0;
}

void io_thread_unwatch(struct io_thread *t, int fd)
{
    for (unsigned i = 0; i < IO_WATCHES_MAX; i++) {
        if (t->watch[i].fd == fd) {
            t->watch[i].fd = -1;
        }
    }
}

void io_thread_timer(struct io_thread *t, uint64_t when_ns, void (*fn)(void *ctx), void *ctx)
{
    t->timer_ns = when_ns;
    t->timer_fn = fn;
    t->timer_ctx = ctx;
}

void io_thread_call(struct io_thread *t, void (*fn)(void *ctx), void *ctx)
{
    if (!t->started) {
        fn(ctx);
        return;
    }
    pthread_mutex_lock(&t->lock);
    while (t->call) {
        pthread_cond_wait(&t->called, &t->lock);
    }
    t->call = fn;
    t->call_ctx = ctx;
    bell_ring(t->wake);
    while (t->call == fn && t->call_ctx == ctx) {
        pthread_cond_wait(&t->called, &t->lock);
    }
    pthread_mutex_unlock(&t->lock);
}

int io_thread_kick_fd(const struct io_thread *t, unsigned q)
{
    return t->kick[q];
}

void io_thread_leave_kicks(struct io_thread *t, unsigned q)
{
    t->left |= 1u << q;
}

uint64_t io_thread_cpu_ns(const struct io_thread *t)
{
    clockid_t clock;
    struct timespec now;
    if (!t->started || pthread_getcpuclockid(t->thread, &clock) || clock_gettime(clock, &now)) {
        return 0;
    }
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* ---- the loop ---- */

enum { FD_WAKE, FD_CONTROL, FD_KICK, FD_WATCH = FD_KICK + VIRTIO_QUEUES_MAX, FDS = FD_WATCH + IO_WATCHES_MAX };

static void fill_fds(const struct io_thread *t, struct pollfd fds[FDS])
{
    fds[FD_WAKE] = (struct pollfd){.fd = t->wake, .events = POLLIN};
    fds[FD_CONTROL] = (struct pollfd){.fd = t->control, .events = POLLIN};
    for (unsigned q = 0; q < VIRTIO_QUEUES_MAX; q++) {
        fds[FD_KICK + q] = (struct pollfd){.fd = bit(t->left, q) ? -1 : t->kick[q], .events = POLLIN};
    }
    for (unsigned i = 0; i < IO_WATCHES_MAX; i++) {
        const struct io_watch *w = &t->watch[i];
        fds[FD_WATCH + i] = (struct pollfd){.fd = w->events ? w->fd : -1, .events = w->events};
    }
}

static void wait_for_work(const struct io_thread *t, struct pollfd fds[FDS])
{
    struct timespec rest = {0}, *timeout = NULL;
    if (t->timer_ns) {
        uint64_t now = host_time_ns();
        uint64_t left = t->timer_ns > now ? t->timer_ns - now : 0;
        rest = (struct timespec){.tv_sec = (time_t)(left / NS_PER_S), .tv_nsec = (long)(left % NS_PER_S)};
        timeout = &rest;
    }
    if (ppoll(fds, FDS, timeout, NULL) < 0) {
        for (unsigned i = 0; i < FDS; i++) {
            fds[i].revents = 0;
        }
    }
}

static void answer_call(struct io_thread *t)
{
    bell_take(t->wake);
    pthread_mutex_lock(&t->lock);
    void (*fn)(void *) = t->call;
    void *ctx = t->call_ctx;
    pthread_mutex_unlock(&t->lock);
    if (fn) {
        fn(ctx);
        pthread_mutex_lock(&t->lock);
        t->call = NULL;
        pthread_cond_broadcast(&t->called);
        pthread_mutex_unlock(&t->lock);
    }
}

static void run_timer(struct io_thread *t)
{
    if (t->timer_ns && host_time_ns() >= t->timer_ns) {
        t->timer_ns = 0;
        t->timer_fn(t->timer_ctx);
    }
}

/* Control first: a reset must be over before anything else is looked at. */
static void handle(struct io_thread *t, const struct pollfd fds[FDS])
{
    if (fds[FD_CONTROL].revents && bell_take(t->control)) {
        virtio_device_control(t->device);
    }
    for (unsigned q = 0; q < VIRTIO_QUEUES_MAX; q++) {
        if (fds[FD_KICK + q].revents && bell_take(t->kick[q])) {
            virtio_device_kick(t->device, q);
        }
    }
    for (unsigned i = 0; i < IO_WATCHES_MAX; i++) {
        const struct io_watch *w = &t->watch[i];
        short revents = fds[FD_WATCH + i].revents;
        if (revents && w->events && w->fd == fds[FD_WATCH + i].fd) { /* else a call above changed it */
            w->fn(w->ctx, revents);
        }
    }
    run_timer(t);
    for (uint32_t again = virtio_device_again(t->device); again; again &= again - 1) {
        bell_ring(t->kick[__builtin_ctz(again)]);
    }
}

static void *thread_main(void *arg)
{
    struct io_thread *t = arg;
    struct pollfd fds[FDS];
    thread_name(t->name);
    while (!__atomic_load_n(&t->stopping, __ATOMIC_ACQUIRE)) {
        fill_fds(t, fds);
        wait_for_work(t, fds);
        if (fds[FD_WAKE].revents) {
            answer_call(t);
        }
        handle(t, fds);
    }
    virtio_device_stop(t->device);
    if (t->last) {
        t->last(t->last_ctx);
    }
    __atomic_store_n(&t->ended, true, __ATOMIC_RELEASE);
    if (t->end_bell >= 0) {
        bell_ring(t->end_bell);
    }
    return NULL;
}

int io_thread_start(struct io_thread *t)
{
    int err = thread_start(&t->thread, STACK_SIZE, thread_main, t);
    t->started = !err;
    return err;
}
