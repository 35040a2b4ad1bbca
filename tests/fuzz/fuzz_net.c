/* libFuzzer over the network: the card's queues and cable, the switch's frames, passt's stream, the
 * arguments.
 *
 * The first byte chooses which. What comes out is held against the promises: nobody gets a frame
 * whose header asks for more than he said he takes; nothing longer than a frame can be; nothing
 * outside guest RAM.
 */
#include "stream.h"

#include <sys/socket.h>
#include <unistd.h>

#include "net/passt.h"
#include "net/switch.h"
#include "unit/fake_host.h"

#define RAM_SIZE 0x100000u
#define STEPS_MAX 300u
#define QUEUE_SIZE 16u
#define RING(q) (0x10000ull + (q)*0x8000ull)
#define DATA 0x40000ull
#define HDR NET_HDR_LEN

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok) {
        abort();
    }
}

/* A header that says "nothing special", or nearly so, as often as anything. */
static void random_header(struct stream *s, struct virtio_net_hdr *hdr)
{
    uint8_t how = stream8(s);
    memset(hdr, 0, sizeof(*hdr));
    if (how & 1) {
        stream_bytes(s, hdr, sizeof(*hdr));
    } else if (how & 2) {
        hdr->flags = VIRTIO_NET_HDR_NEEDS_CSUM;
        hdr->csum_start = how & 4 ? 34 : how & 8 ? 54 : 38;
        hdr->csum_offset = 16;
        hdr->gso_type = how & 16 ? VIRTIO_NET_GSO_TCPV4 : how & 32 ? VIRTIO_NET_GSO_TCPV6 : 0;
        hdr->gso_size = how & 64 ? 48 : 1448;
    }
}

static void check_header(const uint8_t *bytes, size_t frame_len, uint64_t offloads)
{
    struct virtio_net_hdr hdr, cleaned;
    memcpy(&hdr, bytes, sizeof(hdr));
    hdr.num_buffers = 0;
    cleaned = hdr;
    check(virtio_net_check_header(&cleaned, frame_len, offloads));
    hdr.flags &= offloads & VIRTIO_NET_F_CSUM ? (uint8_t)~VIRTIO_NET_HDR_DATA_VALID : 0xff;
    check(memcmp(&hdr, &cleaned, sizeof(hdr)) == 0);
}

/* ---- the switch ---- */

static struct net_switch sw;
static unsigned sender;

static bool switch_out(void *ctx, unsigned port, const struct io_vec *vec, unsigned n)
{
    static uint8_t copy[HDR + NET_FRAME_MAX];
    size_t len = 0;
    check(port < SWITCH_PORTS_MAX && port != sender && sw.port[port].plugged);
    for (unsigned i = 0; i < n; i++) {
        check(len + vec[i].len <= sizeof(copy));
        memcpy(copy + len, vec[i].base, vec[i].len);
        len += vec[i].len;
    }
    check(len >= HDR + VIRTIO_NET_FRAME_MIN && vec[0].len == HDR);
    check_header(copy, len - HDR, virtio_net_as_sender(sw.port[port].features));
    return ctx == NULL || *(bool *)ctx;
}

/* Ethernet and IP headers that make sense, more or less, and what follows. */
static size_t random_frame(struct stream *s, uint8_t *bytes)
{
    uint8_t how = stream8(s);
    size_t len = stream16(s) >> (how & 3), at = HDR + 12;
    random_header(s, (struct virtio_net_hdr *)(void *)bytes);
    memset(bytes + HDR, 0, len);
    for (unsigned i = 0; i < 2; i++) {
        memcpy(bytes + HDR + 6 * i, (uint8_t[6]){0x52, 0x33, 0, 0, 0, stream8(s)}, 6);
    }
    if (how & 4) {
        memset(bytes + HDR, 0xff, 6);
    }
    if (how & 8) {
        memcpy(bytes + at, (uint8_t[4]){0x81, 0, 0, 1}, 4);
        at += 4;
    }
    bool v6 = how & 16;
    memcpy(bytes + at, v6 ? (uint8_t[2]){0x86, 0xdd} : (uint8_t[2]){8, 0}, 2);
    at += 2;
    bytes[at] = v6 ? 0x60 : 0x45;
    bytes[at + (v6 ? 6 : 9)] = 6;
    at += v6 ? 40 : 20;
    bytes[at + 12] = stream8(s);
    for (unsigned spoils = stream8(s) & 7; spoils > 0; spoils--) {
        bytes[HDR + stream16(s) % 128] = stream8(s);
    }
    return HDR + len;
}

static void fuzz_switch(struct stream *s)
{
    static uint8_t bytes[HDR + 65536 + 256];
    uint64_t now = 1;
    bool room = true;
    memset(&sw, 0, sizeof(sw));
    sw.out = switch_out;
    sw.ctx = &room;
    for (unsigned step = 0; s->left && step < STEPS_MAX; step++) {
        uint8_t what = stream8(s), arg = stream8(s);
        unsigned port = arg % 8;
        uint8_t mac[6] = {0x52, 0x33, 0, 0, 0, (uint8_t)(arg >> 4)};
        switch (what % 8) {
        case 0: (void)switch_plug(&sw, mac, "vm", &port); break;
        case 1:
            if (sw.port[port].plugged) {
                switch_unplug(&sw, port);
            }
            break;
        case 2:
            if (sw.port[port].plugged) {
                uint64_t takes = stream16(s) & VIRTIO_NET_RECEIVE_OFFLOADS;
                sw.port[port].features = takes & VIRTIO_NET_F_GUEST_CSUM ? takes : 0;
            }
            break;
        case 3: now += (uint64_t)arg << 33; break;
        case 4: room = arg & 1; break;
        default: {
            size_t len = random_frame(s, bytes);
            if (sw.port[port].plugged) {
                sender = port;
                check(switch_frame(&sw, port, bytes, len, now) >= 1);
            }
        }
        }
    }
}

/* ---- the card ---- */

static struct {
    struct virtio_net net;
    struct virtio_regs regs;
    struct ram ram;
    struct stream *s;
    unsigned room, gives;
    bool unplug;
    uint64_t until_ns; /* to be called */
    uint16_t next[2];
} card;

static enum virtio_net_sent cable_send(void *ctx, const struct io_vec *vec, unsigned n)
{
    (void)ctx;
    uint64_t len = 0;
    if (card.room == 0) {
        return VIRTIO_NET_BUSY;
    }
    card.room--;
    check(n >= 2 && vec[0].len == HDR);
    for (unsigned i = 1; i < n; i++) {
        check(vec[i].len && vec[i].base >= card.ram.base &&
              vec[i].base + vec[i].len <= card.ram.base + card.ram.size);
        len += vec[i].len;
    }
    check_header(vec[0].base, len, card.net.device.features);
    return VIRTIO_NET_TAKEN;
}

static int64_t cable_receive(void *ctx, uint8_t *buf)
{
    (void)ctx;
    if (card.unplug) {
        return -1;
    }
    if (card.gives == 0) {
        return 0;
    }
    card.gives--;
    struct virtio_net_hdr hdr;
    size_t len = VIRTIO_NET_HDR_LEN + stream16(card.s);
    random_header(card.s, &hdr);
    memcpy(buf, &hdr, sizeof(hdr));
    memset(buf + sizeof(hdr), 0x11, len - sizeof(hdr));
    return (int64_t)len;
}

static void cable_features(void *ctx, uint64_t features)
{
    (void)ctx;
    check(!(features & ~VIRTIO_NET_RECEIVE_OFFLOADS));
    check(!features || features & VIRTIO_NET_F_GUEST_CSUM);
}

static void cable_wait(void *ctx, unsigned what, uint64_t until_ns)
{
    (void)ctx;
    check(what <= 3 && ((!what && !until_ns) || card.net.device.running));
    card.until_ns = until_ns;
}

static const struct virtio_net_cable cable = {.send = cable_send,
                                              .receive = cable_receive,
                                              .set_features = cable_features,
                                              .wait = cable_wait};

static void put(uint64_t at, const void *bytes, size_t len)
{
    memcpy(card.ram.base + at % (RAM_SIZE - 64), bytes, len);
}

/* A chain of up to 8 descriptors, mostly sound, made available. */
static void add_chain(struct stream *s)
{
    unsigned q = stream8(s) & 1, count = 1 + stream8(s) % 8;
    uint16_t head = card.next[q];
    struct virtio_net_hdr hdr;
    for (unsigned i = 0; i < count; i++) {
        struct {
            uint64_t gpa;
            uint32_t len;
            uint16_t flags, next;
        } d = {.gpa = DATA + stream16(s) * 8ull, .len = stream16(s)};
        uint8_t spoil = stream8(s);
        uint16_t at = (uint16_t)((head + i) % QUEUE_SIZE);
        d.flags = (uint16_t)((i + 1 < count) | (q == 0 ? 2 : 0));
        d.next = (uint16_t)((at + 1) % QUEUE_SIZE);
        if (i == 0 && q == 1) {
            random_header(s, &hdr);
            put(d.gpa, &hdr, sizeof(hdr));
        }
        if (spoil > 250) {
            stream_bytes(s, &d, sizeof(d));
        }
        put(RING(q) + at * 16ull, &d, sizeof(d));
    }
    uint16_t index;
    memcpy(&index, card.ram.base + RING(q) + 0x2002, 2);
    put(RING(q) + 0x2004 + index % QUEUE_SIZE * 2u, &head, 2);
    index++;
    put(RING(q) + 0x2002, &index, 2);
    card.next[q] = (uint16_t)((head + count) % QUEUE_SIZE);
}

static void start(struct stream *s)
{
    struct virtio_regs *r = &card.regs;
    r->driver_features = (stream32(s) & card.net.device.offered) | VIRTIO_F_VERSION_1 |
                         (stream8(s) & 1 ? VIRTIO_F_COMMON : 0);
    for (unsigned q = 0; q < 2; q++) {
        r->queue[q] = (struct virtio_queue_regs){.desc = RING(q),
                                                 .driver = RING(q) + 0x2000,
                                                 .device = RING(q) + 0x4000,
                                                 .size = QUEUE_SIZE,
                                                 .enabled = true};
        memset(card.ram.base + RING(q), 0, 0x6000);
        card.next[q] = 0;
    }
    r->status = 15;
    r->request++;
    virtio_device_control(&card.net.device);
}

static void card_step(struct stream *s)
{
    uint8_t what = stream8(s), arg = stream8(s);
    uint64_t bytes;
    switch (what % 11) {
    case 0: start(s); break;
    case 1:
        card.regs.status = 0;
        card.regs.request++;
        virtio_device_control(&card.net.device);
        break;
    case 2: card.room = arg; break;
    case 3: card.gives = arg % 32; break;
    case 4: virtio_device_kick(&card.net.device, arg & 1); break;
    case 5: virtio_net_run(&card.net); break;
    case 6:
        bytes = stream64(s);
        put(stream16(s) * 16ull, &bytes, sizeof(bytes));
        break;
    case 7: card.unplug = arg == 77; break;
    case 8:
        fake.time_ns += arg * 1000ull;
        if (card.until_ns && card.until_ns <= fake.time_ns) {
            virtio_net_run(&card.net); /* it does not want to be called at once, again and again */
            check(!card.until_ns || card.until_ns > fake.time_ns);
        }
        break;
    default: add_chain(s); break;
    }
    for (unsigned i = 0; i < 8; i++) {
        uint32_t again = virtio_device_again(&card.net.device);
        for (unsigned q = 0; q < 2; q++) {
            if (bit(again, q)) {
                virtio_device_kick(&card.net.device, q);
            }
        }
    }
}

static void fuzz_card(struct stream *s)
{
    memset(&card, 0, sizeof(card));
    card.ram = fuzz_ram(RAM_SIZE);
    card.s = s;
    card.room = 100;
    struct virtio_net_setup how = {.mac = {0x52, 0x33}, .mtu = 1500, .cable = &cable};
    how.offloads = stream32(s) & VIRTIO_NET_OFFLOADS;
    virtio_net_init(&card.net, &card.regs, &card.ram, 3, &how);
    start(s);
    for (unsigned step = 0; s->left && step < STEPS_MAX; step++) {
        card_step(s);
    }
}

/* ---- passt's stream ---- */

static int far_end;

int passt_start(const struct net_config *c, const uint8_t mac[6], struct passt_process *out,
                struct net_error *err)
{
    (void)c;
    (void)mac;
    (void)err;
    int pair[2];
    check(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    *out = (struct passt_process){.fd = pair[0], .messages = -1, .pidfd = -1};
    far_end = pair[1];
    return 0;
}

void passt_stop(struct passt_process *p)
{
    close(p->fd);
    close(far_end);
}

static void fuzz_stream(struct stream *s)
{
    static uint8_t buf[HDR + NET_FRAME_MAX], piece[256];
    uint8_t how = stream8(s);
    const struct net_config c = {
        .kind = NET_USER, .bps = how & 1, .no_host_loopback = (how & 2) != 0};
    struct net_port *p;
    struct net_error err;
    int64_t got = 0;
    uint8_t hdr[HDR] = {0};
    check(passt_open(&c, &p, &err) == 0);
    while (s->left && got >= 0) {
        uint8_t len = stream8(s);
        stream_bytes(s, piece, len);
        if (len & 2) { /* a frame of the guest's, in two pieces */
            unsigned half = len / 3u;
            const struct io_vec vec[3] = {{hdr, HDR}, {piece, half}, {piece + half, len - half}};
            check(p->ops->send(p, vec, 3) <= 0);
            while (recv(far_end, buf, sizeof(buf), MSG_DONTWAIT) > 0) {
            }
            continue;
        }
        check(send(far_end, piece, len, MSG_DONTWAIT) == len);
        if (len & 1) {
            while ((got = p->ops->receive(p, buf)) > 0) {
                check(got >= (int64_t)(HDR + VIRTIO_NET_FRAME_MIN) && got <= (int64_t)sizeof(buf));
            }
        }
    }
    p->ops->close(p);
}

/* ---- arguments ---- */

static void fuzz_arguments(struct stream *s)
{
    char arg[200];
    struct net_config c;
    struct net_forward f;
    struct net_error err = {{0}};
    size_t len = s->left < sizeof(arg) - 1 ? s->left : sizeof(arg) - 1;
    memcpy(arg, s->at, len);
    arg[len] = '\0';
    int rc = net_parse(arg, &c, &err);
    check(rc == 0 ? c.kind == NET_USER || c.name[0] : rc == -1 && strlen(err.text) > 10);
    memset(&err, 0, sizeof(err));
    rc = net_parse_forward(arg, &f, &err);
    check(rc == 0 ? f.host_port && f.guest_port && f.count && f.host_port + f.count <= 65536 &&
                        f.guest_port + f.count <= 65536
                  : rc == -1 && strlen(err.text) > 10);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const fuzz[])(struct stream * s) = {fuzz_card, fuzz_switch, fuzz_stream,
                                                      fuzz_arguments};
    struct stream s = {data, size};
    fuzz[stream8(&s) % ARRAY_LEN(fuzz)](&s);
    return 0;
}
