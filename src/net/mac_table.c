/* See mac_table.h. */
#include "net/mac_table.h"

#include <string.h>

#define PINNED 0u

static uint16_t *bucket_of(struct mac_table *t, const uint8_t mac[6])
{
    uint32_t h = 0x811c9dc5u;
    for (unsigned i = 0; i < 6; i++) {
        h = (h ^ mac[i]) * 0x01000193u;
    }
    return &t->bucket[(h ^ h >> 16) % MAC_BUCKETS];
}

static unsigned port_of(unsigned index)
{
    return index / MAC_PER_PORT;
}

static bool is_pinned(unsigned index)
{
    return index % MAC_PER_PORT == PINNED;
}

/* 1 + index, or 0. */
static unsigned find(const struct mac_table *t, const uint8_t mac[6])
{
    unsigned at = *bucket_of((struct mac_table *)(uintptr_t)t, mac); /* only read */
    while (at && memcmp(t->entry[at - 1].mac, mac, 6) != 0) {
        at = t->entry[at - 1].next;
    }
    return at;
}

static void remove_entry(struct mac_table *t, unsigned index)
{
    struct mac_entry *e = &t->entry[index];
    uint16_t *link = bucket_of(t, e->mac);
    while (*link != index + 1) {
        link = &t->entry[*link - 1].next;
    }
    *link = e->next;
    *e = (struct mac_entry){0};
}

static void add_entry(struct mac_table *t, unsigned index, const uint8_t mac[6], uint64_t now_ns)
{
    uint16_t *bucket = bucket_of(t, mac);
    struct mac_entry *e = &t->entry[index];
    *e = (struct mac_entry){.used = true, .next = *bucket, .seen_ns = now_ns};
    memcpy(e->mac, mac, 6);
    *bucket = (uint16_t)(index + 1);
}

bool mac_table_pin(struct mac_table *t, unsigned port, const uint8_t mac[6])
{
    unsigned at = find(t, mac), index = port * MAC_PER_PORT + PINNED;
    if (at && is_pinned(at - 1)) {
        return port_of(at - 1) == port;
    }
    if (at) {
        remove_entry(t, at - 1);
    }
    if (t->entry[index].used) {
        remove_entry(t, index);
    }
    add_entry(t, index, mac, 0);
    return true;
}

/* A free entry of the port's, or the one unseen for longest. */
static unsigned make_room(struct mac_table *t, unsigned port)
{
    unsigned first = port * MAC_PER_PORT + PINNED + 1, oldest = first;
    for (unsigned i = first; i < (port + 1) * MAC_PER_PORT; i++) {
        if (!t->entry[i].used) {
            return i;
        }
        if (t->entry[i].seen_ns < t->entry[oldest].seen_ns) {
            oldest = i;
        }
    }
    remove_entry(t, oldest);
    return oldest;
}

bool mac_table_learn(struct mac_table *t, unsigned port, const uint8_t mac[6], uint64_t now_ns)
{
    unsigned at = find(t, mac);
    if (at && port_of(at - 1) == port) {
        t->entry[at - 1].seen_ns = now_ns;
        return true;
    }
    if (at && is_pinned(at - 1)) {
        return false;
    }
    if (at) {
        remove_entry(t, at - 1); /* it has moved */
    }
    add_entry(t, make_room(t, port), mac, now_ns);
    return true;
}

int mac_table_find(const struct mac_table *t, const uint8_t mac[6], uint64_t now_ns)
{
    unsigned at = find(t, mac);
    if (!at || (!is_pinned(at - 1) && now_ns - t->entry[at - 1].seen_ns > MAC_AGE_NS)) {
        return -1;
    }
    return (int)port_of(at - 1);
}

void mac_table_forget(struct mac_table *t, unsigned port)
{
    for (unsigned i = port * MAC_PER_PORT; i < (port + 1) * MAC_PER_PORT; i++) {
        if (t->entry[i].used) {
            remove_entry(t, i);
        }
    }
}
