/* Implementation of thread.h. No state. */
#include "host/linux/thread.h"

#include <signal.h>
#include <sys/prctl.h>

int thread_start(pthread_t *out, size_t stack, void *(*fn)(void *arg), void *arg)
{
    pthread_attr_t attr;
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* inherited */
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, stack);
    int err = pthread_create(out, &attr, fn, arg);
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return -err;
}

void thread_name(const char *name)
{
    prctl(PR_SET_NAME, name);
}
