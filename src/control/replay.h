/* Console output that is shown once more, long after it was said.
 *
 * A guest asks the terminal things: where the cursor is, what it can do, which colours it has. The
 * answers are typed into whatever reads the terminal when the question is shown, so an old question
 * must not be asked again: the shell of a reader of logs would get the answer. This passes text,
 * controls and the sequences that only draw (ECMA-48 "Control Functions for Coded Character Sets"
 * §5.4, §8.3) and drops
 *  - the queries among ENQ, DECID and the control sequences, as xterm and its like understand them,
 *  - all control strings: titles, colours, definitions, images, and the queries in that form.
 * No terminal may see a query in what comes out, so all that is doubtful is dropped, too. A
 * sequence may lie in several pieces of input.
 */
#ifndef CONTROL_REPLAY_H
#define CONTROL_REPLAY_H

#include "base/types.h"

#define REPLAY_HELD 64u /* no control sequence that draws is longer */

/* Zeroed: at the beginning. */
struct replay {
    enum {
        REPLAY_TEXT,
        REPLAY_C1,            /* after 0xc2, with which U+0080..U+009F begin */
        REPLAY_ESCAPE,        /* after ESC and intermediates */
        REPLAY_CONTROL,       /* in a control sequence */
        REPLAY_STRING,        /* in a control string */
        REPLAY_STRING_ESCAPE, /* ESC in it: its end, or another sequence */
        REPLAY_STRING_C1,
    } state;
    size_t held_len;
    uint8_t held[REPLAY_HELD]; /* of the sequence so far */
    uint8_t last;              /* byte that came out */
};

/** Filter len bytes to `to`, which has room for len + REPLAY_HELD. How many came out. */
size_t replay_filter(struct replay *r, const void *bytes, size_t len, uint8_t *to);
/** At the end of what is old: what there is of a control sequence whose end is new, at most
 * REPLAY_HELD bytes. How many. */
size_t replay_rest(const struct replay *r, uint8_t *to);

#endif
