/* A check under way: see qcow2_check in qcow2.h.
 *
 *   qcow2_check.c    walks all that refers to clusters
 *   qcow2_refs.c     how often each cluster is referred to
 *   qcow2_compare.c  references against counts and flags, and setting them right
 *
 * Memory: four bytes for each cluster of the file that is referred to, in chunks; at most
 * REFS_BYTES_MAX. Time: each table is read once however many snapshots share it, and a table of
 * holes not at all.
 */
#ifndef BLOCK_QCOW2_CHECK_H
#define BLOCK_QCOW2_CHECK_H

#include "block/qcow2_impl.h"

/* ---- how often: qcow2_refs.c ---- */

#define REFS_CHUNK 1024u /* clusters */
#define REFS_BYTES_MAX (2ull << 30)

struct refs_chunk {
    uint64_t first;             /* cluster */
    uint32_t count[REFS_CHUNK]; /* saturates */
};

struct refs {
    struct refs_chunk **chunk; /* in the order in which they were made */
    size_t chunks, room;
    uint32_t *slot; /* hash of chunks: index + 1 */
    size_t slots;   /* a power of two, or 0 */
};

/** 0, or -ENOMEM (also when REFS_BYTES_MAX is reached). */
int refs_add(struct refs *r, uint64_t cluster, uint64_t n) MUST_CHECK;
uint64_t refs_get(const struct refs *r, uint64_t cluster);
void refs_fini(struct refs *r);

/* ---- the check ---- */

struct check {
    struct qcow2 *q;
    bool fix;
    const struct qcow2_check_sink *sink; /* may be NULL */
    struct qcow2_check_result *result;
    struct refs refs;          /* of every cluster */
    struct refs tables;        /* of L2 tables, by L1 tables */
    struct cluster_set active; /* L2 tables of the disk itself */
    uint8_t *buf;              /* a cluster */
    uint64_t file_clusters;
    bool unsure;    /* something could not be read that may hold references */
    unsigned lines; /* told so far */
};

/** Tell one finding. */
void check_say(struct check *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
/** The same of something that is wrong. */
#define check_corrupt(c, ...) ((c)->result->corruptions++, check_say(c, __VA_ARGS__))
bool check_stopped(const struct check *c);
/** Hold c->refs against the counts, then the flags of the active tables against these; set right
 * what differs. 0 or -errno. */
int check_counts(struct check *c) MUST_CHECK;
int check_flags(struct check *c) MUST_CHECK;

#endif
