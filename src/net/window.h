/* Keeping the windows of a guest's TCP small.
 *
 * passt sends to the guest what the guest's window allows, at once: it has no congestion control of
 * its own. Where a rate limit lets less through, that is lost, and sent again, and lost again. So
 * the window in what the guest sends is lowered to what the limit lets through in a moment. How a
 * connection scales its window is only said when it begins: connections that were not seen to
 * begin, or were forgotten, stay as they are. RFC 9293 §3.1, RFC 7323 §2, RFC 1624. Pure; one
 * thread.
 */
#ifndef NET_WINDOW_H
#define NET_WINDOW_H

#include "base/types.h"

#define WINDOW_HEAD 140u /* bytes of a frame that hold all its headers, if they are of interest */
#define WINDOW_CONNECTIONS 256u

struct window_limit {
    uint32_t bytes; /* the largest window; 0: leave all as they are */
    struct {
        uint64_t key; /* 0: free */
        uint8_t scale;
    } connection[WINDOW_CONNECTIONS];
};

/** Look at a frame that the guest sends, by its first len bytes (all of it, or WINDOW_HEAD). True:
 * its window and checksum were changed. */
bool window_limit(struct window_limit *w, uint8_t *head, size_t len);

#endif
