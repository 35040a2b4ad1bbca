/* See window.h. */
#include "net/window.h"

#include <string.h>

#define ETHERNET_LEN 14u
#define TYPE_IPV4 0x0800u
#define IPV4_LEN 20u
#define TYPE_IPV6 0x86ddu
#define IPV6_LEN 40u
#define PROTOCOL_TCP 6u

#define TCP_LEN 20u
#define TCP_FLAGS 13u
#define TCP_SYN 2u
#define TCP_WINDOW 14u
#define TCP_SUM 16u
#define OPTION_END 0u
#define OPTION_NOTHING 1u
#define OPTION_SCALE 3u
#define SCALE_MAX 14u

static uint32_t get16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static void put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

/* A segment: its TCP header, options and all, and the other end's address. */
struct segment {
    uint8_t *tcp;
    size_t tcp_len;
    const uint8_t *peer; /* the last 4 bytes of it */
};

static bool find_segment(uint8_t *head, size_t len, struct segment *s)
{
    uint8_t *ip = head + ETHERNET_LEN;
    size_t at;
    if (len < ETHERNET_LEN + IPV4_LEN + TCP_LEN) {
        return false;
    }
    if (get16(head + 12) == TYPE_IPV4) {
        at = ETHERNET_LEN + (size_t)(ip[0] & 0xf) * 4;
        s->peer = ip + 16;
        if (ip[9] != PROTOCOL_TCP || (ip[6] & 0x1f) || ip[7]) { /* a fragment has no header */
            return false;
        }
    } else if (get16(head + 12) == TYPE_IPV6 && ip[6] == PROTOCOL_TCP) {
        at = ETHERNET_LEN + IPV6_LEN;
        s->peer = ip + 36;
    } else {
        return false;
    }
    if (at + TCP_LEN > len) {
        return false;
    }
    s->tcp = head + at;
    s->tcp_len = (size_t)(s->tcp[12] >> 4) * 4;
    return s->tcp_len >= TCP_LEN && at + s->tcp_len <= len;
}

static uint8_t find_scale(const struct segment *s)
{
    size_t at = TCP_LEN;
    while (at + 2 < s->tcp_len && s->tcp[at] != OPTION_END) {
        if (s->tcp[at] == OPTION_NOTHING) {
            at++;
            continue;
        }
        if (s->tcp[at] == OPTION_SCALE) {
            return s->tcp[at + 2] < SCALE_MAX ? s->tcp[at + 2] : SCALE_MAX;
        }
        at += s->tcp[at + 1] ? s->tcp[at + 1] : s->tcp_len;
    }
    return 0;
}

static void lower(const struct segment *s, uint32_t most)
{
    uint8_t *window = s->tcp + TCP_WINDOW, *sum = s->tcp + TCP_SUM;
    uint32_t changed = (~get16(sum) & 0xffff) + (~get16(window) & 0xffff) + most;
    changed = (changed & 0xffff) + (changed >> 16);
    changed = (changed & 0xffff) + (changed >> 16);
    put16(window, most);
    put16(sum, ~changed);
}

bool window_limit(struct window_limit *w, uint8_t *head, size_t len)
{
    struct segment s;
    uint32_t peer;
    if (!w->bytes || !find_segment(head, len, &s)) {
        return false;
    }
    memcpy(&peer, s.peer, sizeof(peer));
    uint64_t key = (uint64_t)peer << 32 | get16(s.tcp) << 16 | get16(s.tcp + 2);
    unsigned slot = (unsigned)((key * 0x9e3779b97f4a7c15ull) >> 56) % WINDOW_CONNECTIONS;
    if (s.tcp[TCP_FLAGS] & TCP_SYN) { /* its own window is never scaled */
        w->connection[slot].key = key;
        w->connection[slot].scale = find_scale(&s);
        return false;
    }
    uint32_t most = w->bytes >> w->connection[slot].scale;
    if (w->connection[slot].key != key || get16(s.tcp + TCP_WINDOW) <= most) {
        return false;
    }
    lower(&s, most ? most : 1);
    return true;
}
