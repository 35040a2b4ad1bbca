/* The last bytes that a console said, and places in them.
 *
 * Every watcher of a console has a cursor: how many bytes of all that were ever said lie before it.
 * One who is too slow finds that bytes were overwritten, and goes on behind them.
 * Used by the monitor's loop only.
 */
#ifndef CONTROL_HISTORY_H
#define CONTROL_HISTORY_H

#include "base/types.h"

#define HISTORY_SIZE 65536u

struct history {
    uint64_t total; /* bytes ever added */
    uint8_t bytes[HISTORY_SIZE];
};

void history_add(struct history *h, const void *bytes, size_t len);
/** The cursor from which the last `lines` lines are seen, or the last `bytes` bytes if those are
 * less. */
uint64_t history_tail(const struct history *h, unsigned lines, size_t bytes);
/** Bytes at the cursor, in one piece; 0: none yet. *lost: how many were overwritten before they
 * were seen; the cursor is then moved behind them. */
size_t history_span(const struct history *h, uint64_t *cursor, const uint8_t **bytes,
                    uint64_t *lost);

#endif
