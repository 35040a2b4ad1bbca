/* Which port of a switch a station is behind: learned from the frames it sends, forgotten after a
 * while.
 *
 * Each port has entries of its own, one of them pinned for the card that is plugged in there:
 * nobody else can claim that address, and a port that claims many pushes out only its own. IEEE
 * 802.1Q "Filtering Database" (§8.8). Pure; one thread. Times are monotonic nanoseconds.
 */
#ifndef NET_MAC_TABLE_H
#define NET_MAC_TABLE_H

#include "base/types.h"

#define MAC_PORTS 64u
#define MAC_PER_PORT 64u /* the pinned one is [0] */
#define MAC_BUCKETS 1024u
#define MAC_AGE_NS 300000000000ull

struct mac_entry {
    uint8_t mac[6];
    bool used;
    uint16_t next; /* in its bucket: 1 + index, 0 = end */
    uint64_t seen_ns;
};

struct mac_table {
    struct mac_entry entry[MAC_PORTS * MAC_PER_PORT];
    uint16_t bucket[MAC_BUCKETS]; /* 1 + index of the first entry, 0 = none */
};

/** A table of zeros is empty. */

/** Give mac to port for good. False: another port has it so already. */
bool mac_table_pin(struct mac_table *t, unsigned port, const uint8_t mac[6]);
/** A frame from mac came in at port. False: it is pinned to another port, the frame a forgery. */
bool mac_table_learn(struct mac_table *t, unsigned port, const uint8_t mac[6], uint64_t now_ns);
/** The port that mac is behind, -1: not known (any more). */
int mac_table_find(const struct mac_table *t, const uint8_t mac[6], uint64_t now_ns);
/** Forget all of port's. */
void mac_table_forget(struct mac_table *t, unsigned port);

#endif
