/* libFuzzer over split virtqueues: any ring registers, any bytes in RAM, any order of calls.
 *
 * The input is a program of small steps: half of them change guest RAM (bytes, descriptors, heads),
 * half call virtq.c. What must hold: a chain's segments lie in RAM and add up, copies stay within
 * them, each call ends.
 */
#include "stream.h"

#include "dev/virtio/virtq.h"

#define RAM_SIZE 0x20000u
#define STEPS_MAX 512u
#define COPY_MAX 4096u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum step {
    STEP_BYTES,
    STEP_DESC,
    STEP_OFFER,
    STEP_INDEX,
    STEP_TABLE,
    STEP_INIT,
    STEP_POP,
    STEP_UNPOP,
    STEP_PUSH,
    STEP_PUBLISH,
    STEP_KICKS,
    STEP_COPY,
    STEPS,
};

/** The guest's idea of its ring, and ours. */
struct bench {
    struct ram ram;
    struct virtio_queue_regs regs;
    struct virtq q;
    struct virtq_chain chain;
    bool popped; /* chain holds one */
};

static void check(bool ok)
{
    if (!ok) {
        abort();
    }
}

static void put(struct bench *b, uint64_t at, const void *bytes, size_t len)
{
    uint8_t *to = ram_span(&b->ram, gpa(at), len);
    if (to != NULL) {
        memcpy(to, bytes, len);
    }
}

/* An address that is mostly good: a page and an offset; or anything. */
static uint64_t address(struct stream *s)
{
    uint8_t kind = stream8(s);
    return kind < 0xf0 ? (uint64_t)kind * 0x400 % RAM_SIZE + (kind & 1 ? stream8(s) : 0)
                       : stream64(s);
}

static void put_desc(struct bench *b, struct stream *s, uint64_t table, unsigned index)
{
    uint8_t how = stream8(s);
    struct {
        uint64_t gpa;
        uint32_t len;
        uint16_t flags, next;
    } d = {.flags = how & 7, .next = how >> 3 & 15};
    d.gpa = address(s);
    d.len = how & 0x80 ? stream32(s) : stream16(s);
    put(b, table + index * sizeof(d), &d, sizeof(d));
}

static void init(struct bench *b, struct stream *s)
{
    uint8_t kind = stream8(s);
    b->regs = (struct virtio_queue_regs){.desc = 0x1000,
                                         .driver = 0x3000,
                                         .device = 0x4000,
                                         .size = 1u << (kind & 15),
                                         .enabled = true};
    if (kind & 0x10) {
        b->regs.desc = address(s);
        b->regs.driver = address(s);
        b->regs.device = address(s);
        b->regs.size = stream16(s);
    }
    uint64_t features =
        (kind & 0x20 ? VIRTIO_F_EVENT_IDX : 0) | (kind & 0x40 ? VIRTIO_F_INDIRECT_DESC : 0);
    bool ok = virtq_init(&b->q, &b->ram, &b->regs, features);
    check(ok == (b->q.size != 0));
    b->popped = false;
}

static bool in_ram(const struct bench *b, const struct io_vec *v)
{
    return v->base >= b->ram.base && v->len <= RAM_SIZE &&
           v->base <= b->ram.base + RAM_SIZE - v->len;
}

static void check_chain(const struct bench *b)
{
    const struct virtq_chain *c = &b->chain;
    uint64_t out = 0, in = 0;
    check(c->out_count + c->in_count <= VIRTQ_SEGMENTS_MAX && c->head < b->q.size);
    for (unsigned i = 0; i < c->out_count + c->in_count; i++) {
        check(c->seg[i].len != 0 && in_ram(b, &c->seg[i]));
        *(i < c->out_count ? &out : &in) += c->seg[i].len;
    }
    check(out == c->out_len && in == c->in_len);
}

static void pop(struct bench *b)
{
    bool work = virtq_has_work(&b->q);
    int got = virtq_pop(&b->q, &b->chain);
    check(got == 1 || got == 0 || (got == -1 && b->q.broken));
    check(work == (got != 0) || b->q.broken);
    b->popped = got == 1;
    if (b->popped) {
        check_chain(b);
    }
}

static void copy(struct bench *b, struct stream *s)
{
    uint8_t bytes[COPY_MAX];
    struct io_vec vec[VIRTQ_SEGMENTS_MAX];
    uint8_t kind = stream8(s);
    bool in = kind & 1;
    uint64_t at = kind & 2 ? stream64(s) : stream16(s), len = stream16(s) % COPY_MAX;
    uint64_t total = in ? b->chain.in_len : b->chain.out_len;
    memset(bytes, 0x11, sizeof(bytes));
    bool ok =
        in ? virtq_copy_in(&b->chain, at, bytes, len) : virtq_copy_out(&b->chain, at, bytes, len);
    check(ok == (len == 0 || (at <= total && len <= total - at)));
    uint64_t want = kind & 4 ? stream64(s) : len, sum = 0;
    unsigned n = virtq_slice(&b->chain, in, at, want, vec);
    check(n <= VIRTQ_SEGMENTS_MAX);
    for (unsigned i = 0; i < n; i++) {
        check(vec[i].len != 0 && in_ram(b, &vec[i]));
        sum += vec[i].len;
    }
    check(n == 0 || sum == want);
}

static void guest_step(struct bench *b, struct stream *s, enum step step)
{
    uint16_t word;
    uint8_t bytes[32];
    switch (step) {
    case STEP_BYTES: {
        uint64_t at = address(s);
        unsigned len = stream8(s) % sizeof(bytes);
        stream_bytes(s, bytes, len);
        put(b, at, bytes, len);
        break;
    }
    case STEP_DESC: put_desc(b, s, b->regs.desc, stream8(s)); break;
    case STEP_TABLE: put_desc(b, s, 0x8000 + (stream8(s) & 3) * 0x400ull, stream8(s) & 15); break;
    case STEP_OFFER:
        word = stream8(s);
        put(b, b->regs.driver + 4 + (b->q.next_avail & (b->q.size - 1u)) * 2ull, &word, 2);
        word = (uint16_t)(b->q.next_avail + 1);
        put(b, b->regs.driver + 2, &word, 2);
        break;
    default:
        word = stream16(s);
        put(b, b->regs.driver + 2, &word, 2);
        break;
    }
}

static void device_step(struct bench *b, struct stream *s, enum step step)
{
    switch (step) {
    case STEP_POP: pop(b); break;
    case STEP_UNPOP:
        if (b->popped) {
            virtq_unpop(&b->q);
            b->popped = false;
        }
        break;
    case STEP_PUSH: virtq_push(&b->q, stream16(s), stream32(s)); break;
    case STEP_PUBLISH: virtq_publish(&b->q); break;
    case STEP_KICKS:
        if (stream8(s) & 1) {
            check(!virtq_enable_kicks(&b->q) || b->q.size != 0);
        } else {
            virtq_disable_kicks(&b->q);
        }
        break;
    default:
        if (b->popped) {
            copy(b, s);
        }
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct bench b;
    struct stream s = {data, size};
    memset(&b, 0, sizeof(b));
    b.ram = fuzz_ram(RAM_SIZE);
    init(&b, &s);
    for (unsigned i = 0; i < STEPS_MAX && s.left != 0; i++) {
        enum step step = stream8(&s) % STEPS;
        if (step == STEP_INIT) {
            init(&b, &s);
        } else if (step < STEP_INIT) {
            guest_step(&b, &s, step);
        } else {
            device_step(&b, &s, step);
        }
    }
    return 0;
}
