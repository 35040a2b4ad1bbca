/* Threads of the monitor: those of devices, and of their crews. */
#ifndef HOST_LINUX_THREAD_H
#define HOST_LINUX_THREAD_H

#include "base/types.h"

#include <pthread.h>

/** Start fn(arg) in a thread with `stack` bytes, which takes no signals: they are the main thread's. 0 or -errno. */
int thread_start(pthread_t *out, size_t stack, void *(*fn)(void *arg), void *arg) MUST_CHECK;
/** Name the thread that calls, for ps and the like: 15 characters. (pthread_setname_np names others through /proc, which the monitor has not.) */
void thread_name(const char *name);

#endif
