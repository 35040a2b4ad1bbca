/* The user's terminal while a guest has it: raw mode, the Ctrl-A keys, and putting everything back.
 *
 * The terminal is put back whatever happens: on return, on signals, while the job is stopped, when
 * the monitor crashes, and by a small guard process when the monitor is killed outright. Used by
 * the monitor only; one terminal at a time.
 */
#ifndef HOST_LINUX_TERMINAL_H
#define HOST_LINUX_TERMINAL_H

#include "base/types.h"

#include <sys/types.h>
#include <termios.h>

struct terminal {
    int fd;
    bool raw; /* in raw mode now */
    struct termios saved, raw_mode;
    pid_t guard;  /* 0: none */
    int guard_fd; /* its pidfd: a jailed monitor may signal nobody by number */
};

/** Put the terminal fd into raw mode: no echo, no line editing, no signals from keys, bytes as they
 * are. 0, or -errno; then nothing has changed. */
int terminal_init(struct terminal *t, int fd) MUST_CHECK;
/** As it was before, for good. Harmless after a failed or no terminal_init of a zeroed struct. */
void terminal_fini(struct terminal *t);
/** As it was before, and raw again: around a stop of the job. */
void terminal_suspend(struct terminal *t);
void terminal_resume(struct terminal *t);

/* ---- keys ---- */

enum terminal_key { KEY_NONE, KEY_QUIT, KEY_HELP, KEY_DETACH };

/** Ctrl-A is the prefix key: Ctrl-A x quits, Ctrl-A d detaches, Ctrl-A h helps, Ctrl-A Ctrl-A (or
 * Ctrl-A a) sends one Ctrl-A, anything else after it is swallowed. */
struct terminal_keys {
    bool prefixed; /* the last byte was the prefix */
};
/** Take the keys for us out of the len bytes at buf. *len becomes the number of bytes for the
 * guest, moved to the front. Returns the first key for us; bytes after it are lost. */
enum terminal_key terminal_filter(struct terminal_keys *k, uint8_t *buf, size_t *len);
/** What KEY_HELP shows, lines ending in CR LF: to who started the machine, and to who attached to
 * it. */
extern const char terminal_help[], terminal_help_attached[];

#endif
