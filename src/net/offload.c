/* See offload.h. No state. */
#include "net/offload.h"

#include <string.h>

#define ETHERNET_LEN 14u
#define TYPE_IPV4 0x0800u
#define TYPE_IPV6 0x86ddu
#define TYPE_VLAN 0x8100u
#define TYPE_QINQ 0x88a8u
#define VLAN_LEN 4u
#define VLAN_TAGS_MAX 2u

#define IPV4_LEN 20u
#define IPV4_TOTAL 2u /* offsets in the header */
#define IPV4_ID 4u
#define IPV4_PROTOCOL 9u
#define IPV4_SUM 10u
#define IPV6_LEN 40u
#define IPV6_PAYLOAD 4u
#define PROTOCOL_TCP 6u

#define TCP_LEN 20u
#define TCP_SEQ 4u
#define TCP_OFFSET 12u
#define TCP_FLAGS 13u
#define TCP_SUM 16u
#define TCP_FIN 0x01u
#define TCP_PSH 0x08u
#define TCP_CWR 0x80u

#define HEADERS_MAX 512u

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static void put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static void put32(uint8_t *p, uint32_t v)
{
    put16(p, (uint16_t)(v >> 16));
    put16(p + 2, (uint16_t)v);
}

/* ---- checksums ---- */

static uint16_t fold(uint64_t sum)
{
    while (sum >> 16) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return (uint16_t)sum;
}

uint16_t offload_sum(const uint8_t *bytes, size_t len, uint32_t start)
{
    uint64_t sum = start;
    for (; len >= 4; bytes += 4, len -= 4) { /* 2^32 words fit before it overflows */
        uint32_t word;
        memcpy(&word, bytes, sizeof(word));
        sum += word;
    }
    uint8_t rest[4] = {0};
    memcpy(rest, bytes, len);
    uint32_t word;
    memcpy(&word, rest, sizeof(word));
    return fold(sum + word);
}

/* 0 means "none" to UDP, and says the same as this to the others. */
static uint16_t finish(uint16_t sum)
{
    return sum == 0xffff ? 0xffff : (uint16_t)~sum;
}

uint16_t offload_checksum(const uint8_t *frame, size_t len, const struct virtio_net_hdr *hdr)
{
    return finish(offload_sum(frame + hdr->csum_start, len - hdr->csum_start, 0));
}

/* ---- cutting ---- */

/* Where things are in a TCP frame. */
struct layout {
    size_t ip, tcp, headers; /* offsets; headers: where the payload begins */
    size_t payload;
    bool v6;
};

static bool find_ip(const uint8_t *frame, size_t len, struct layout *l)
{
    size_t type_at = ETHERNET_LEN - 2;
    for (unsigned tags = 0; type_at + 2 + IPV6_LEN <= len; tags++, type_at += VLAN_LEN) {
        uint16_t type = get16(frame + type_at);
        if (type == TYPE_IPV4 || type == TYPE_IPV6) {
            l->ip = type_at + 2;
            l->v6 = type == TYPE_IPV6;
            return true;
        }
        if ((type != TYPE_VLAN && type != TYPE_QINQ) || tags == VLAN_TAGS_MAX) {
            return false;
        }
    }
    return false;
}

/* Whether the IP header ends where TCP begins. IPv6 may have further headers in between. */
static bool check_ip(const uint8_t *frame, const struct layout *l)
{
    const uint8_t *ip = frame + l->ip;
    if (l->v6) {
        return ip[0] >> 4 == 6 && l->tcp >= l->ip + IPV6_LEN;
    }
    size_t ip_len = (size_t)(ip[0] & 0xf) * 4;
    return ip[0] >> 4 == 4 && ip_len >= IPV4_LEN && l->tcp == l->ip + ip_len &&
           ip[IPV4_PROTOCOL] == PROTOCOL_TCP;
}

static bool find_layout(const uint8_t *frame, size_t len, const struct virtio_net_hdr *hdr,
                        struct layout *l)
{
    bool v6 = (hdr->gso_type & ~VIRTIO_NET_GSO_ECN) == VIRTIO_NET_GSO_TCPV6;
    l->tcp = hdr->csum_start;
    if (hdr->csum_offset != TCP_SUM || hdr->gso_size < OFFLOAD_MSS_MIN || !find_ip(frame, len, l) ||
        l->v6 != v6 || !check_ip(frame, l) || l->tcp + TCP_LEN > len) {
        return false;
    }
    size_t tcp_len = (size_t)(frame[l->tcp + TCP_OFFSET] >> 4) * 4;
    l->headers = l->tcp + tcp_len;
    if (tcp_len < TCP_LEN || l->headers > len || l->headers > HEADERS_MAX) {
        return false;
    }
    l->payload = len - l->headers;
    return true;
}

static unsigned count_segments(const struct layout *l, const struct virtio_net_hdr *hdr)
{
    return l->payload == 0 ? 1 : (unsigned)((l->payload + hdr->gso_size - 1) / hdr->gso_size);
}

/* IP's part in segment i, whose payload is `part` bytes. */
static void fix_ip(uint8_t *headers, const struct layout *l, unsigned i, size_t part)
{
    uint8_t *ip = headers + l->ip;
    size_t total = l->headers - l->ip + part;
    if (l->v6) {
        put16(ip + IPV6_PAYLOAD, (uint16_t)(total - IPV6_LEN));
        return;
    }
    put16(ip + IPV4_TOTAL, (uint16_t)total);
    put16(ip + IPV4_ID, (uint16_t)(get16(ip + IPV4_ID) + i));
    memset(ip + IPV4_SUM, 0, 2);
    uint16_t sum = (uint16_t)~offload_sum(ip, l->tcp - l->ip, 0);
    memcpy(ip + IPV4_SUM, &sum, sizeof(sum));
}

/* TCP's. In the checksum field stands the sum of the pseudo header, with the length of the whole
 * frame; that length becomes the segment's, whatever the addresses. */
static void fix_tcp(uint8_t *headers, const struct layout *l, const struct virtio_net_hdr *hdr,
                    unsigned i, size_t part)
{
    uint8_t *tcp = headers + l->tcp;
    size_t tcp_len = l->headers - l->tcp, at = (size_t)i * hdr->gso_size;
    put32(tcp + TCP_SEQ, (uint32_t)(get32(tcp + TCP_SEQ) + at));
    if (at + part < l->payload) {
        tcp[TCP_FLAGS] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
    }
    if (i != 0) {
        tcp[TCP_FLAGS] &= (uint8_t)~TCP_CWR;
    }
    uint64_t sum = get16(tcp + TCP_SUM);
    sum += (uint16_t) ~(uint16_t)(tcp_len + l->payload) + tcp_len + part;
    put16(tcp + TCP_SUM, fold(sum));
}

static void fill_checksum(uint8_t *headers, const struct layout *l, const uint8_t *payload,
                          size_t part)
{
    uint8_t *tcp = headers + l->tcp;
    /* TCP's header is a multiple of 4 bytes: the payload's bytes keep their places in the words */
    uint16_t sum = offload_sum(tcp, l->headers - l->tcp, 0);
    sum = finish(offload_sum(payload, part, sum));
    memcpy(tcp + TCP_SUM, &sum, sizeof(sum));
}

unsigned offload_segment(const uint8_t *frame, size_t len, const struct virtio_net_hdr *hdr,
                         bool checksums, offload_emit *emit, void *ctx)
{
    struct layout l;
    if (!find_layout(frame, len, hdr, &l)) {
        return 0;
    }
    struct virtio_net_hdr plain = {0};
    if (!checksums) {
        plain.flags = VIRTIO_NET_HDR_NEEDS_CSUM;
        plain.csum_start = hdr->csum_start;
        plain.csum_offset = hdr->csum_offset;
    }
    unsigned n = count_segments(&l, hdr);
    for (unsigned i = 0; i < n; i++) {
        uint8_t headers[HEADERS_MAX];
        size_t at = (size_t)i * hdr->gso_size;
        size_t part = min_u64(hdr->gso_size, l.payload - at);
        const uint8_t *payload = frame + l.headers + at;
        memcpy(headers, frame, l.headers);
        fix_ip(headers, &l, i, part);
        fix_tcp(headers, &l, hdr, i, part);
        if (checksums) {
            fill_checksum(headers, &l, payload, part);
        }
        const struct io_vec vec[3] = {
            {.base = (uint8_t *)&plain, .len = sizeof(plain)},
            {.base = headers, .len = l.headers},
            {.base = (uint8_t *)(uintptr_t)payload, .len = part}, /* read only */
        };
        emit(ctx, vec);
    }
    return n;
}
