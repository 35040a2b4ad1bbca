/* The network card. See net.h.
 *
 * State: struct virtio_net, the device's thread's own. A frame to send goes from guest RAM straight
 * to the cable, behind a checked copy of its header. A received frame is first taken into n->frame,
 * and from there into as many of the driver's buffers as it needs; if they do not suffice, none is
 * used, the frame waits, and nothing more is asked of the cable.
 *
 * To be told of a frame (a kick, a wake-up, an interrupt) costs driver, thread and cable some 10 us
 * each, more than a small frame does. When one comes within GATHER_NS of the last, in either
 * direction, nobody is asked to tell of the next: it is looked for every GATHER_NS, until a look
 * finds nothing. Who waits for each answer before he sends again, and who sends large frames, is
 * not delayed.
 */
#include "dev/virtio/net.h"

#include "base/log.h"
#include "base/string.h"
#include "host/host.h"

enum { QUEUE_RECEIVE, QUEUE_TRANSMIT, QUEUES };

#define BATCH 32u   /* frames between two looks at the other direction */
#define BUDGET 256u /* frames between two looks at the rest of the world: resets, calls */
#define DRAIN 4096u /* stale frames to throw away at most when a driver starts */
/* Told of a frame so soon after the last: look by the clock, unless one look finds so much. */
#define GATHER_NS 100000u
#define GATHER_BYTES 16384u

/* The configuration space, §5.1.4. */
struct net_config_space {
    uint8_t mac[6];
    uint16_t status;
    uint16_t max_virtqueue_pairs; /* without VIRTIO_NET_F_MQ nobody reads it */
    uint16_t mtu;
};
#define LINK_UP 1u

/* ---- headers ---- */

uint64_t virtio_net_as_sender(uint64_t receive_offloads)
{
    static const struct {
        uint64_t receive, send;
    } pairs[] = {
        {VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_CSUM},
        {VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_HOST_TSO4},
        {VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_HOST_TSO6},
        {VIRTIO_NET_F_GUEST_ECN, VIRTIO_NET_F_HOST_ECN},
    };
    uint64_t send = 0;
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        send |= receive_offloads & pairs[i].receive ? pairs[i].send : 0;
    }
    return send;
}

static bool check_segmentation(const struct virtio_net_hdr *hdr, uint64_t frame_len,
                               uint64_t offloads)
{
    uint64_t needs;
    switch (hdr->gso_type & ~VIRTIO_NET_GSO_ECN) {
    case VIRTIO_NET_GSO_TCPV4: needs = VIRTIO_NET_F_HOST_TSO4; break;
    case VIRTIO_NET_GSO_TCPV6: needs = VIRTIO_NET_F_HOST_TSO6; break;
    default: return false;
    }
    if (hdr->gso_type & VIRTIO_NET_GSO_ECN) {
        needs |= VIRTIO_NET_F_HOST_ECN;
    }
    return (offloads & needs) == needs && (hdr->flags & VIRTIO_NET_HDR_NEEDS_CSUM) &&
           hdr->gso_size != 0 && hdr->hdr_len <= frame_len;
}

bool virtio_net_check_header(struct virtio_net_hdr *hdr, uint64_t frame_len, uint64_t offloads)
{
    if (frame_len < VIRTIO_NET_FRAME_MIN || frame_len > VIRTIO_NET_FRAME_MAX) {
        return false;
    }
    hdr->num_buffers = 0;
    hdr->flags &= VIRTIO_NET_HDR_NEEDS_CSUM;
    if (hdr->flags == 0) {
        hdr->csum_start = 0;
        hdr->csum_offset = 0;
    } else if (!(offloads & VIRTIO_NET_F_CSUM) || hdr->csum_start < VIRTIO_NET_FRAME_MIN ||
               (uint64_t)hdr->csum_start + hdr->csum_offset + 2 > frame_len) {
        return false;
    }
    if (hdr->gso_type == VIRTIO_NET_GSO_NONE) {
        hdr->hdr_len = 0;
        hdr->gso_size = 0;
        return true;
    }
    return check_segmentation(hdr, frame_len, offloads);
}

/* ---- looking by the clock: struct virtio_net_pace ---- */

static void pace_count(struct virtio_net_pace *p, uint64_t bytes)
{
    p->bytes += bytes;
    p->by_clock = p->by_clock && p->bytes <= GATHER_BYTES;
}

/* Something has come, as we were told: was that soon after the last? */
static void pace_told(struct virtio_net_pace *p, uint64_t now_ns)
{
    p->by_clock = p->bytes <= GATHER_BYTES && now_ns - p->looked_ns < GATHER_NS;
}

/* A look begins. Whether anything is there ends what goes by the clock. */
static void pace_begin(struct virtio_net_pace *p, bool there, uint64_t now_ns)
{
    if (p->by_clock && !there && now_ns - p->looked_ns >= GATHER_NS) {
        p->by_clock = false;
        p->looked_ns = now_ns;
    }
    p->bytes = 0;
}

static void count_error(struct virtio_net *n)
{
    virtio_count(&n->device.stat.errors, 1);
}

/* ---- transmit ---- */

/* Send the frame in n->chain. False: the cable has no room. A frame that breaks the rules is lost.
 */
static bool send_chain(struct virtio_net *n)
{
    const struct virtq_chain *c = &n->chain;
    struct virtio_net_hdr hdr;
    uint64_t len = c->out_len < sizeof(hdr) ? 0 : c->out_len - sizeof(hdr);
    if (!virtq_copy_out(c, 0, &hdr, sizeof(hdr)) ||
        !virtio_net_check_header(&hdr, len, n->device.features)) {
        count_error(n);
        return true;
    }
    n->vec[0] = (struct io_vec){.base = (uint8_t *)&hdr, .len = sizeof(hdr)};
    unsigned slices = virtq_slice(c, false, sizeof(hdr), len, n->vec + 1);
    if (n->cable->send(n->ctx, n->vec, 1 + slices) == VIRTIO_NET_BUSY) {
        return false;
    }
    virtio_count(&n->device.stat.out_ops, 1);
    virtio_count(&n->device.stat.out_bytes, len);
    pace_count(&n->sending, len);
    return true;
}

/* Up to a batch. Returns how much was done; 0: there is nothing to send, or n->blocked. */
static unsigned transmit(struct virtio_net *n)
{
    struct virtq *q = &n->device.queue[QUEUE_TRANSMIT];
    unsigned done = 0;
    n->blocked = false;
    /* to find the queue empty by popping is to ask for a kick */
    while (done < BATCH && (!n->sending.by_clock || virtq_has_work(q)) &&
           virtio_device_pop(&n->device, QUEUE_TRANSMIT, &n->chain)) {
        if (!send_chain(n)) {
            virtq_unpop(q);
            n->blocked = true;
            break;
        }
        virtq_push(q, n->chain.head, 0);
        done++;
    }
    if (done) {
        virtio_device_publish(&n->device, QUEUE_TRANSMIT);
    }
    return done;
}

/* ---- receive ---- */

void virtio_net_set_link(struct virtio_net *n, bool up)
{
    const uint16_t status = up ? LINK_UP : 0;
    virtio_device_config(&n->device, offsetof(struct net_config_space, status), &status,
                         sizeof(status));
}

/* A frame from the cable into n->frame. False: there is none. */
static bool take_frame(struct virtio_net *n)
{
    int64_t len = n->unplugged ? 0 : n->cable->receive(n->ctx, n->frame);
    if (len < 0) {
        n->unplugged = true;
        virtio_net_set_link(n, false);
    }
    if (len <= 0) {
        return false;
    }
    struct virtio_net_hdr hdr;
    memcpy(&hdr, n->frame, sizeof(hdr));
    uint64_t offloads = virtio_net_as_sender(n->device.features);
    bool summed = (hdr.flags & VIRTIO_NET_HDR_DATA_VALID) && (offloads & VIRTIO_NET_F_CSUM);
    bool fits = (uint64_t)len <= sizeof(n->frame);
    if (!fits || !virtio_net_check_header(&hdr, (uint64_t)len - sizeof(hdr), offloads)) {
        count_error(n);
        n->pending = 0;
        return true;
    }
    hdr.flags |= summed && !hdr.flags ? VIRTIO_NET_HDR_DATA_VALID : 0;
    memcpy(n->frame, &hdr, sizeof(hdr));
    n->pending = (uint32_t)len;
    return true;
}

static void put_back(struct virtq *q, unsigned chains)
{
    while (chains-- > 0) {
        virtq_unpop(q);
    }
}

enum placed {
    PLACED,
    TOO_LARGE, /* for the driver's buffers, ever: lost */
    STARVED,   /* it waits for more of them */
};

/* Hand the filled buffers over: all the driver's, once published. §5.1.6.4 */
static void push_taken(struct virtio_net *n, uint16_t buffers)
{
    bool written = virtq_copy_in(&n->first, offsetof(struct virtio_net_hdr, num_buffers), &buffers,
                                 sizeof(buffers));
    BUG_ON(!written); /* the first buffer holds a header, or it would not have been taken */
    for (unsigned i = 0; i < buffers; i++) {
        virtq_push(&n->device.queue[QUEUE_RECEIVE], n->taken[i].head, n->taken[i].len);
    }
}

/* Put n->frame into as many buffers as it takes, or into none. */
static enum placed place_frame(struct virtio_net *n)
{
    struct virtq *q = &n->device.queue[QUEUE_RECEIVE];
    bool merge = virtio_has(&n->device, VIRTIO_NET_F_MRG_RXBUF);
    unsigned buffers = 0, segments = 0;
    for (uint32_t at = 0; at < n->pending; buffers++) {
        struct virtq_chain *c = buffers ? &n->chain : &n->first;
        /* More than the ring can hold: no further buffer will ever come. */
        if (buffers == ARRAY_LEN(n->taken) || (buffers && (!merge || segments >= q->size))) {
            put_back(q, buffers);
            return TOO_LARGE;
        }
        if (!virtio_device_pop(&n->device, QUEUE_RECEIVE, c)) {
            put_back(q, buffers);
            return STARVED;
        }
        uint32_t part = (uint32_t)min_u64(c->in_len, n->pending - at);
        if ((at == 0 && part < VIRTIO_NET_HDR_LEN) || !virtq_copy_in(c, 0, n->frame + at, part)) {
            put_back(q, buffers + 1);
            return TOO_LARGE;
        }
        n->taken[buffers] = (struct virtio_net_taken){.head = c->head, .len = part};
        segments += c->out_count + c->in_count;
        at += part;
    }
    push_taken(n, (uint16_t)buffers);
    return PLACED;
}

/* Up to a batch. Returns how much was done; 0: nothing is there, or n->starved. */
static unsigned receive(struct virtio_net *n)
{
    unsigned done = 0, placed = 0;
    n->starved = false;
    for (; done < BATCH && (n->pending || take_frame(n)); done++) {
        /* one that was not sound is gone, and was counted */
        enum placed how = n->pending ? place_frame(n) : TOO_LARGE;
        if (how == STARVED) {
            n->starved = true;
            break;
        }
        if (how == PLACED) {
            virtio_count(&n->device.stat.in_ops, 1);
            virtio_count(&n->device.stat.in_bytes, n->pending - VIRTIO_NET_HDR_LEN);
            pace_count(&n->receiving, n->pending - VIRTIO_NET_HDR_LEN);
            placed++;
        } else if (n->pending) {
            count_error(n);
        }
        n->pending = 0;
    }
    if (placed) {
        virtio_device_publish(&n->device, QUEUE_RECEIVE);
    }
    return done;
}

/* ---- both ---- */

/* Whether the queue can be worked on. */
static bool works(const struct virtio_net *n, unsigned q)
{
    const struct virtio_device *d = &n->device;
    return d->running && !d->broken && d->queue[q].size != 0;
}

/* Say what to wait for. */
static void wait(struct virtio_net *n)
{
    unsigned what = 0;
    uint64_t until_ns = 0;
    if (works(n, QUEUE_TRANSMIT)) {
        what |= n->blocked ? VIRTIO_NET_WAIT_SEND : 0;
        until_ns = n->sending.by_clock && !n->blocked ? n->sending.looked_ns + GATHER_NS : 0;
    }
    if (works(n, QUEUE_RECEIVE) && !n->starved && !n->unplugged) {
        uint64_t look_ns = n->receiving.looked_ns + GATHER_NS;
        if (!n->receiving.by_clock) {
            what |= VIRTIO_NET_WAIT_RECEIVE;
        } else if (!until_ns || look_ns < until_ns) {
            until_ns = look_ns;
        }
    }
    n->cable->wait(n->ctx, what, until_ns);
}

/* look: at the cable too; else only a frame that waits is received. */
static void run(struct virtio_net *n, bool look)
{
    unsigned done = 0, now = 1, sent = 0, received = 0;
    uint64_t now_ns = host_time_ns();
    bool looked = look, told = !n->receiving.by_clock;
    pace_begin(&n->sending, virtq_has_work(&n->device.queue[QUEUE_TRANSMIT]), now_ns);
    n->receiving.bytes = 0;
    while (done < BUDGET && now) {
        unsigned out = works(n, QUEUE_TRANSMIT) ? transmit(n) : 0;
        unsigned in = (look || n->pending) && works(n, QUEUE_RECEIVE) ? receive(n) : 0;
        look = in != 0;
        sent += out;
        received += in;
        now = out + in;
        done += now;
    }
    if (now) {
        virtio_device_later(&n->device, QUEUE_RECEIVE);
    }
    if (sent) {
        n->sending.looked_ns = now_ns;
    }
    if (received) {
        if (told) {
            pace_told(&n->receiving, now_ns);
        }
        n->receiving.looked_ns = now_ns;
    } else if (looked) {
        pace_begin(&n->receiving, false, now_ns);
    }
    wait(n);
}

void virtio_net_run(struct virtio_net *n)
{
    run(n, true);
}

static void net_start(struct virtio_device *d)
{
    struct virtio_net *n = d->state;
    uint64_t takes = d->features & VIRTIO_NET_RECEIVE_OFFLOADS;
    if (!(takes & VIRTIO_NET_F_GUEST_CSUM)) {
        takes = 0; /* §5.1.3.1: the others mean nothing without it */
    }
    n->cable->set_features(n->ctx, takes);
    /* What came while no driver listened is old by now. */
    bool more = true;
    for (unsigned i = 0; i < DRAIN && more; i++) {
        more = take_frame(n);
    }
    n->pending = 0;
    virtio_net_run(n);
}

static void net_stop(struct virtio_device *d)
{
    struct virtio_net *n = d->state;
    n->pending = 0;
    n->sending.by_clock = n->receiving.by_clock = false;
    n->cable->set_features(n->ctx, 0);
    n->cable->wait(n->ctx, 0, 0);
}

/* A kick for sending says nothing about the cable, which is being waited for. */
static void net_kick(struct virtio_device *d, unsigned q)
{
    struct virtio_net *n = d->state;
    if (q == QUEUE_TRANSMIT && !n->sending.by_clock) {
        pace_told(&n->sending, host_time_ns());
    }
    run(n, q == QUEUE_RECEIVE);
}

static const struct virtio_ops net_ops = {.start = net_start, .stop = net_stop, .kick = net_kick};

void virtio_net_init(struct virtio_net *n, struct virtio_regs *regs, const struct ram *ram,
                     unsigned slot, const struct virtio_net_setup *setup)
{
    struct net_config_space space = {
        .status = LINK_UP, .max_virtqueue_pairs = 1, .mtu = setup->mtu};
    uint64_t offered = VIRTIO_NET_F_MAC | VIRTIO_NET_F_STATUS | VIRTIO_NET_F_MRG_RXBUF |
                       (setup->offloads & VIRTIO_NET_OFFLOADS);
    if (setup->mtu) {
        offered |= VIRTIO_NET_F_MTU;
    }
    memcpy(space.mac, setup->mac, sizeof(space.mac));
    n->cable = setup->cable;
    n->ctx = setup->ctx;
    virtio_device_init(&n->device, regs, ram, slot, VIRTIO_ID_NET, QUEUES, offered, &space,
                       sizeof(space), &net_ops, n);
}
