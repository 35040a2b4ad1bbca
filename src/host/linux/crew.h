/* A crew: threads that make single slow calls for a device's thread, which goes on meanwhile.
 *
 *   device's thread                     the crew
 *   crew_submit(task)  ───────────────> task->work(task)
 *   the bell: crew_collect  <────────── finished
 *    └─ task->done(task)
 *
 * Only `work` runs in the crew, so it must keep to what is in its task and to what nobody changes: open files, the guest's RAM. All else is the
 * owner's: one thread, which makes all of these calls. Tasks are taken in order, and end in any.
 */
#ifndef HOST_LINUX_CREW_H
#define HOST_LINUX_CREW_H

#include "base/types.h"

struct crew;

/** The owner's memory, untouched by him between crew_submit and done. */
struct crew_task {
    void (*work)(struct crew_task *t);
    void (*done)(struct crew_task *t);
    struct crew_task *next; /* the crew's */
};

/** A crew without threads yet. 0 or -errno. */
int crew_create(struct crew **out) MUST_CHECK;
#define CREW_THREADS_MAX 16u
/** Give it `threads` threads (1..CREW_THREADS_MAX): before the first task. Fewer than asked for will do. name: borrowed. 0 or -errno. */
int crew_start(struct crew *c, unsigned threads, const char *name) MUST_CHECK;
/** Readable when a task has finished: then crew_collect is due. */
int crew_bell(const struct crew *c);
/** Have t->work called by a thread, as soon as one is free. */
void crew_submit(struct crew *c, struct crew_task *t);
/** Call done of those that have finished; it may submit more. */
void crew_collect(struct crew *c);
/** Collect until nothing is left under way. Not from within done. */
void crew_drain(struct crew *c);
/** With nothing under way: end the threads, free. */
void crew_destroy(struct crew *c);

#endif
