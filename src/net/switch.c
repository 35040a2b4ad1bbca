/* See switch.h. */
#include "net/switch.h"

#include "net/offload.h"

#include <string.h>

#define SOURCE_AT 6u /* in the Ethernet header */
#define GROUP 1u     /* in the first byte of an address */

/* A checked frame on its way. */
struct frame {
    struct virtio_net_hdr hdr;
    uint8_t *bytes; /* behind the header */
    size_t len;
};

struct delivery {
    struct net_switch *s;
    unsigned port;
};

static void deliver(struct net_switch *s, unsigned port, const struct io_vec *vec, unsigned n,
                    size_t len)
{
    struct switch_counters *count = &s->port[port].count;
    if (!s->out(s->ctx, port, vec, n)) {
        count->dropped++;
        return;
    }
    count->received_frames++;
    count->received_bytes += len;
}

static void deliver_segment(void *ctx, const struct io_vec vec[3])
{
    const struct delivery *d = ctx;
    deliver(d->s, d->port, vec, 3, vec[1].len + vec[2].len);
}

/* With the checksum that the sender left out. The frame itself stays as it is, for other ports. */
static void deliver_summed(struct net_switch *s, unsigned port, const struct frame *f)
{
    struct virtio_net_hdr plain = {0};
    size_t at = (size_t)f->hdr.csum_start + f->hdr.csum_offset;
    uint16_t sum = offload_checksum(f->bytes, f->len, &f->hdr);
    const struct io_vec vec[4] = {
        {.base = (uint8_t *)&plain, .len = sizeof(plain)},
        {.base = f->bytes, .len = at},
        {.base = (uint8_t *)&sum, .len = sizeof(sum)},
        {.base = f->bytes + at + sizeof(sum), .len = f->len - at - sizeof(sum)},
    };
    deliver(s, port, vec, 4, f->len);
}

/* To one port, in a form that it understands. Returns the cost. */
static unsigned send_to(struct net_switch *s, unsigned port, struct frame *f)
{
    uint64_t takes = virtio_net_as_sender(s->port[port].features);
    struct virtio_net_hdr hdr = f->hdr;
    if (virtio_net_check_header(&hdr, f->len, takes)) {
        const struct io_vec vec[2] = {{.base = (uint8_t *)&hdr, .len = sizeof(hdr)},
                                      {.base = f->bytes, .len = f->len}};
        deliver(s, port, vec, 2, f->len);
        return 1;
    }
    if (f->hdr.gso_type == VIRTIO_NET_GSO_NONE) {
        deliver_summed(s, port, f);
        return 1;
    }
    struct delivery d = {s, port};
    unsigned n = offload_segment(f->bytes, f->len, &f->hdr, !(takes & VIRTIO_NET_F_CSUM),
                                 deliver_segment, &d);
    if (n == 0) { /* nothing that can be cut */
        s->port[port].count.dropped++;
    }
    return n + 1;
}

static unsigned flood(struct net_switch *s, unsigned from, struct frame *f)
{
    unsigned cost = 1;
    for (unsigned i = 0; i < SWITCH_PORTS_MAX; i++) {
        if (i != from && s->port[i].plugged) {
            cost += send_to(s, i, f);
        }
    }
    return cost;
}

/* IEEE 802.1Q §8.6.3: these are for the next bridge, and no bridge passes them on. */
static bool is_reserved(const uint8_t mac[6])
{
    static const uint8_t prefix[5] = {0x01, 0x80, 0xc2, 0x00, 0x00};
    return memcmp(mac, prefix, sizeof(prefix)) == 0 && mac[5] < 0x10;
}

/* The frame out of len bytes, header and all. False: it is none, or its sender is a forgery. */
static bool admit(struct net_switch *s, unsigned from, uint8_t *bytes, size_t len, uint64_t now_ns,
                  struct frame *f)
{
    if (len < sizeof(f->hdr)) {
        return false;
    }
    memcpy(&f->hdr, bytes, sizeof(f->hdr));
    f->bytes = bytes + sizeof(f->hdr);
    f->len = len - sizeof(f->hdr);
    return virtio_net_check_header(&f->hdr, f->len, VIRTIO_NET_SEND_OFFLOADS) &&
           !(f->bytes[SOURCE_AT] & GROUP) &&
           mac_table_learn(&s->macs, from, f->bytes + SOURCE_AT, now_ns);
}

unsigned switch_frame(struct net_switch *s, unsigned from, uint8_t *bytes, size_t len,
                      uint64_t now_ns)
{
    struct switch_counters *count = &s->port[from].count;
    struct frame f;
    if (!admit(s, from, bytes, len, now_ns, &f)) {
        count->bad++;
        return 1;
    }
    count->sent_frames++;
    count->sent_bytes += f.len;
    if (is_reserved(f.bytes)) {
        return 1;
    }
    int to = f.bytes[0] & GROUP ? -1 : mac_table_find(&s->macs, f.bytes, now_ns);
    if (to < 0) {
        return flood(s, from, &f);
    }
    return (unsigned)to == from ? 1 : 1 + send_to(s, (unsigned)to, &f);
}

enum switch_refusal switch_plug(struct net_switch *s, const uint8_t mac[6], const char *name,
                                unsigned *port)
{
    unsigned i = 0;
    while (i < SWITCH_PORTS_MAX && s->port[i].plugged) {
        i++;
    }
    if (i == SWITCH_PORTS_MAX) {
        return SWITCH_FULL;
    }
    if (mac[0] & GROUP) {
        return SWITCH_BAD_HELLO;
    }
    if (!mac_table_pin(&s->macs, i, mac)) {
        return SWITCH_MAC_TAKEN;
    }
    struct switch_port *p = &s->port[i];
    *p = (struct switch_port){.plugged = true};
    memcpy(p->mac, mac, 6);
    memcpy(p->name, name, strnlen(name, sizeof(p->name) - 1));
    *port = i;
    return SWITCH_WELCOME;
}

void switch_unplug(struct net_switch *s, unsigned port)
{
    mac_table_forget(&s->macs, port);
    s->port[port] = (struct switch_port){0};
}
