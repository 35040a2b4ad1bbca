/* ring3 image: what its sub-verbs share. Each returns an exit status: 0; IMAGE_PROBLEM; CLI_USAGE
 * (bad options or files: nothing was done).
 *
 *   image.c           options, the help text, dispatch    image_create.c   create
 *   image_info.c      info                                image_check.c    check
 *   image_convert.c   convert                             image_rebuild.c  rebuild
 *   image_output.c    files that disappear when they are not finished, signals
 *   progress.c        the bar
 */
#ifndef CLI_IMAGE_H
#define CLI_IMAGE_H

#include "block/block.h"
#include "cli/cli.h"

#define IMAGE_PROBLEM 1 /* found by a check, or what was begun failed */

/** Of a file that a disk would be opened as qcow2, by its name. */
#define IMAGE_NO_MAGIC                                                                             \
    "%s is called qcow2 but does not begin like it: it is damaged, or another kind of file"

struct image_args {
    const char *verb;           /* "create", ... for messages */
    const char *format;         /* -f; NULL: not given */
    const char *out_format;     /* -O */
    const char *backing;        /* -b */
    const char *backing_format; /* -F */
    uint64_t cluster;           /* --cluster, bytes; 0: not given */
    bool compress, force, repair, json;
    const char *word[3]; /* the rest */
    unsigned words;
};

int image_create(const struct image_args *a);
int image_info(const struct image_args *a);
int image_check(const struct image_args *a);
int image_convert(const struct image_args *a);
int image_rebuild(const struct image_args *a);

/** One line on standard error, "ring3 image VERB: ...". Returns status. */
int image_say(const struct image_args *a, int status, const char *fmt, ...) PRINTF_LIKE(3, 4);
/** The format of a file to be made: -f or -O, else by its name's ending. NULL: it is neither raw
 * nor qcow2 (that was said). */
const char *image_format(const struct image_args *a, const char *given, const char *path);
/** log2 of the clusters' size. */
unsigned image_cluster_bits(const struct image_args *a);
/** Bytes for people, as "1.5 GB". The text is one of four that are used in turn. */
const char *image_bytes(uint64_t bytes);

/* ---- image_output.c ---- */

/** A file being made. It gets its name when it is finished, so that nobody takes a part for the
 * whole, not even after kill -9: until then a file of that name that was there before stays. */
struct image_output {
    char *path;      /* as it shall be called */
    char *temporary; /* its name until it is finished, in the same folder: PATH.part and a number */
    bool replaces;   /* a file of that name is there and shall go */
    int fd;
};

/** Begin to make path; where something is there already, only with `force`. 0, or an exit status
 * (it was said): CLI_USAGE when it cannot be made there. */
int output_begin(const struct image_args *a, const char *path, bool force,
                 struct image_output *out) MUST_CHECK;
/** Bring it to stable storage and give it its name. 0, or an exit status (it was said, the file is
 * gone); also when something got that name meanwhile. */
int output_finish(const struct image_args *a, struct image_output *out) MUST_CHECK;
void output_discard(struct image_output *out);

/** From now on signals that would end us are noted only. */
void signals_catch(void);
bool signals_caught(void);
/** If one came, die of it. */
void signals_release(void);

/* ---- progress.c: a bar on standard error, when that is a terminal ---- */

struct progress {
    uint64_t begun_ns, drawn_ns;
    bool shown, terminal;
};

void progress_begin(struct progress *p);
/** Draws ten times a second at most. */
void progress_update(struct progress *p, uint64_t done, uint64_t all);
/** Take the bar away. */
void progress_end(struct progress *p);

#endif
