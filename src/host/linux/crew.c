/* Implementation of crew.h.
 *
 * Under `lock`: both lists, `ending`. The rest is the owner's.
 */
#include "host/linux/crew.h"

#include "base/log.h"
#include "host/linux/thread.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define STACK_SIZE 0x20000u

/** First in, first out. */
struct list {
    struct crew_task *first, **end;
};

struct crew {
    int bell;
    const char *name;   /* of its threads */
    unsigned under_way; /* submitted, not collected */
    unsigned threads;
    pthread_t thread[CREW_THREADS_MAX];

    pthread_mutex_t lock;
    pthread_cond_t wanted, finished;
    struct list todo, ready; /* for the crew; for the owner */
    bool ending;
};

static void list_init(struct list *l)
{
    l->first = NULL;
    l->end = &l->first;
}

static void list_add(struct list *l, struct crew_task *t)
{
    t->next = NULL;
    *l->end = t;
    l->end = &t->next;
}

static struct crew_task *list_take(struct list *l)
{
    struct crew_task *t = l->first;
    if (t) {
        l->first = t->next;
        if (!l->first) {
            l->end = &l->first;
        }
    }
    return t;
}

/* ---- the crew ---- */

static void *thread_main(void *arg)
{
    struct crew *c = arg;
    thread_name(c->name);
    pthread_mutex_lock(&c->lock);
    for (;;) {
        struct crew_task *t = list_take(&c->todo);
        if (t) {
            const uint64_t one = 1;
            pthread_mutex_unlock(&c->lock);
            t->work(t);
            pthread_mutex_lock(&c->lock);
            bool first = !c->ready.first;
            list_add(&c->ready, t);
            if (first) {
                pthread_cond_signal(&c->finished);
                (void)!write(c->bell, &one, sizeof(one));
            }
        } else if (c->ending) {
            break;
        } else {
            pthread_cond_wait(&c->wanted, &c->lock);
        }
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

/* ---- the owner ---- */

int crew_create(struct crew **out)
{
    struct crew *c = calloc(1, sizeof(*c));
    if (!c) {
        return -ENOMEM;
    }
    c->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (c->bell < 0) {
        int err = -errno;
        free(c);
        return err;
    }
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->wanted, NULL);
    pthread_cond_init(&c->finished, NULL);
    list_init(&c->todo);
    list_init(&c->ready);
    *out = c;
    return 0;
}

int crew_start(struct crew *c, unsigned threads, const char *name)
{
    int err = 0;
    BUG_ON(threads == 0 || threads > CREW_THREADS_MAX);
    c->name = name;
    while (!err && c->threads < threads) {
        err = thread_start(&c->thread[c->threads], STACK_SIZE, thread_main, c);
        c->threads += !err;
    }
    return c->threads ? 0 : err; /* fewer will do */
}

int crew_bell(const struct crew *c)
{
    return c->bell;
}

void crew_submit(struct crew *c, struct crew_task *t)
{
    c->under_way++;
    pthread_mutex_lock(&c->lock);
    list_add(&c->todo, t);
    pthread_cond_signal(&c->wanted);
    pthread_mutex_unlock(&c->lock);
}

static void collect(struct crew *c, bool wait)
{
    uint64_t count;
    pthread_mutex_lock(&c->lock);
    while (wait && !c->ready.first) {
        pthread_cond_wait(&c->finished, &c->lock);
    }
    (void)!read(c->bell, &count, sizeof(count));
    struct crew_task *next = c->ready.first;
    list_init(&c->ready);
    pthread_mutex_unlock(&c->lock);
    while (next) {
        struct crew_task *t = next;
        next = t->next;
        c->under_way--;
        t->done(t);
    }
}

void crew_collect(struct crew *c)
{
    collect(c, false);
}

void crew_drain(struct crew *c)
{
    while (c->under_way) {
        collect(c, true);
    }
}

void crew_destroy(struct crew *c)
{
    BUG_ON(c->under_way);
    pthread_mutex_lock(&c->lock);
    c->ending = true;
    pthread_cond_broadcast(&c->wanted);
    pthread_mutex_unlock(&c->lock);
    for (unsigned i = 0; i < c->threads; i++) {
        pthread_join(c->thread[i], NULL);
    }
    pthread_cond_destroy(&c->finished);
    pthread_cond_destroy(&c->wanted);
    pthread_mutex_destroy(&c->lock);
    close(c->bell);
    free(c);
}
