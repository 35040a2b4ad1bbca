/* A disk in memory for tests, in two parts: the medium, which outlives crashes, and the struct
 * block that uses it. Like a real one it keeps what was written in a volatile cache until a flush.
 * A test can make it fail, and can pull the plug at any request.
 */
#ifndef TESTS_FAKE_DISK_H
#define TESTS_FAKE_DISK_H

#include <setjmp.h>

#include "block/impl.h"

struct fake_plug;

struct fake_medium {
    char name[32];
    uint64_t size;
    uint8_t *stable, *cache; /* what survives, and what reads see */
    uint64_t *unflushed;     /* sectors that differ, in the order of writing */
    unsigned unflushed_count;
    bool fail_reads, fail_writes, fail_flushes, read_only;
    uint64_t bad_from, bad_to; /* reads of [from, to) fail until it is written */
    unsigned reads, writes, flushes, discards, zeroes; /* requests so far */
    struct fake_plug *plug;                            /* NULL: none */
    bool open;
};

/** Pulled after `left` more writes and flushes (of all media at it): control goes to `where`, in
 * the midst of the request. */
struct fake_plug {
    unsigned left; /* 0: not armed */
    jmp_buf where;
    uint64_t seed;
};

/** Call fn(ctx) and pull the plug at the left-th write or flush. False: it was pulled. True: fn
 * returned before that. What fn had allocated is lost then. */
bool fake_plug_run(struct fake_plug *plug, unsigned left, void (*fn)(void *ctx), void *ctx);

void fake_medium_init(struct fake_medium *m, const char *name, uint64_t size);
void fake_medium_fini(struct fake_medium *m);
/** The host lost power: of what was not flushed each sector is there or not. keep_all: only ring3
 * was killed. */
void fake_medium_crash(struct fake_medium *m, uint64_t *seed, bool keep_all);
struct block *fake_disk_open(struct fake_medium *m);

/** A generator of its own, so that tests repeat. */
uint64_t fake_random(uint64_t *seed);

#endif
