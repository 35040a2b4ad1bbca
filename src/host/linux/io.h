/* I/O threads: each device of the machine has one, in the monitor process.
 *
 * A thread sleeps in poll over its device's bells (kick, control), the file descriptors its back end asked to watch, and one timer. Everything the
 * device and its back end do happens here, so neither needs locks. Threads are made after the vCPU tasks were forked.
 */
#ifndef HOST_LINUX_IO_H
#define HOST_LINUX_IO_H

#include "dev/virtio/device.h"

/* Bells have these file descriptors, in the monitor and in its vCPU tasks, which may write to no others of the kind (jail.c). */
#define IO_BELL_FIRST 512u /* a power of two */
#define IO_BELL_LAST 1023u

#define IO_WATCHES_MAX 8u

struct io_thread;

/** Make the bells of d's register file (eventfds, inherited by vCPU tasks forked later). 0 or -errno. */
int io_thread_create(struct io_thread **out, struct virtio_device *d, const char *name) MUST_CHECK;
/** Start it: after the vCPU tasks have been forked. 0 or -errno. */
int io_thread_start(struct io_thread *t) MUST_CHECK;
/** Have it stop the device, call fn(ctx) of io_thread_last, and end; then `bell` (an eventfd) rings. Does not wait. */
void io_thread_stop(struct io_thread *t, int bell);
/** Whether it has ended, or was never started. */
bool io_thread_ended(const struct io_thread *t);
/** Stop it, wait, free. */
void io_thread_destroy(struct io_thread *t);
/** The last thing the thread does is fn(ctx), which may block: closing the back end. Also called by io_thread_destroy when it was never
 *  started. Before start. */
void io_thread_last(struct io_thread *t, void (*fn)(void *ctx), void *ctx);

/** Call fn(ctx, revents) in the thread when fd is ready for events (POLLIN, POLLOUT); events 0: keep it, but do not look. Replaces what was set
 *  for fd; at most 8 fds a thread. Before start, or from the thread itself. */
int io_thread_watch(struct io_thread *t, int fd, short events, void (*fn)(void *ctx, short revents), void *ctx) MUST_CHECK;
void io_thread_unwatch(struct io_thread *t, int fd);
/** Call fn(ctx) in the thread at host time when_ns (0: never). One timer a thread. From the thread itself. */
void io_thread_timer(struct io_thread *t, uint64_t when_ns, void (*fn)(void *ctx), void *ctx);
/** Have fn(ctx) called in the thread soon, and wait until it has returned; from another thread (the monitor's loop). */
void io_thread_call(struct io_thread *t, void (*fn)(void *ctx), void *ctx);
/** Bell `q`, for another process to be kicked by; and: this thread does not listen to it (before start). */
int io_thread_kick_fd(const struct io_thread *t, unsigned q);
void io_thread_leave_kicks(struct io_thread *t, unsigned q);
/** The thread's cpu time in ns. */
uint64_t io_thread_cpu_ns(const struct io_thread *t);

#endif
