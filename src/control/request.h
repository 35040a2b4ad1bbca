/* The requests of the control socket (docs/control.md): from a line of JSON to a checked struct. */
#ifndef CONTROL_REQUEST_H
#define CONTROL_REQUEST_H

#include "control/vm_dir.h"

#define CONTROL_PROTOCOL 1
#define REQUEST_MAX 1024u /* bytes of a line, with its end */
#define REQUEST_SECONDS_MAX 86400u
#define REQUEST_LINES_MAX 1000u
#define REQUEST_SIZE_MAX 10000u         /* columns, rows */
#define REQUEST_MEMORY_MIN (4ull << 20) /* no machine has less */

enum request_verb {
    REQUEST_HELLO,
    REQUEST_INSPECT,
    REQUEST_STATS,
    REQUEST_PAUSE,
    REQUEST_RESUME,
    REQUEST_STOP, /* seconds */
    REQUEST_KILL,
    REQUEST_CONSOLE, /* lines */
    REQUEST_RESIZE,  /* columns, rows */
    REQUEST_BALLOON, /* memory */
    REQUEST_VERBS,
};

struct request {
    enum request_verb verb;
    uint64_t seconds; /* until the machine is ended; 0: at once */
    uint64_t lines;   /* of what was said before */
    uint64_t columns, rows;
    uint64_t memory; /* bytes the guest is to keep */
};

/** Parse one line, without its end, of len bytes. 0, or -1 with *err. Takes bounded time and memory
 * whatever the bytes. */
int request_parse(const char *line, size_t len, struct request *r, struct vm_error *err) MUST_CHECK;

#endif
