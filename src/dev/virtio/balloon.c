/* See balloon.h. */
#include "dev/virtio/balloon.h"

#include "base/string.h"
#include "host/host.h"

/* Features, §5.5.3. */
#define BALLOON_STATS (1ull << 1)
#define BALLOON_DEFLATE_ON_OOM (1ull << 2)
#define BALLOON_PAGE_POISON (1ull << 4)
#define BALLOON_REPORTING (1ull << 5)

/* Queues that were not negotiated are left out of the numbering: without statistics, the third one
 * is for reporting. */
enum { QUEUE_INFLATE, QUEUE_DEFLATE, QUEUE_STATS, QUEUE_REPORTING, QUEUES };

#define PFN_SHIFT 12 /* of the balloon's page numbers, whatever the guest's pages are */
#define PFNS_AT_ONCE 256u
#define PFNS_MAX 4096u      /* looked at in one buffer; the others stay as they are */
#define CALLS_AT_ONCE 1024u /* discards for one kick, about */
#define FACTS_AT_ONCE 32u

/* The configuration space, §5.5.4. All fields are little-endian. */
struct config {
    uint32_t target;         /* pages the guest should give back */
    uint32_t actual;         /* pages it says it did; the driver writes it */
    uint32_t free_page_hint; /* not offered */
    uint32_t poison;         /* what the guest fills free pages with; the driver writes it */
};

/* One fact, in the guest's memory. */
struct fact {
    uint16_t tag;
    uint64_t value;
} __attribute__((packed));
_Static_assert(sizeof(struct fact) == 10, "guest-visible layout");

static uint32_t config_word(const struct virtio_device *d, unsigned at)
{
    uint32_t value;
    memcpy(&value, d->regs->config + at, sizeof(value));
    return value;
}

/* ---- giving back ---- */

/* Neighbouring pages, collected so as to go in one call. */
struct run {
    uint64_t start, len; /* in RAM; len 0: none */
};

static void discard(struct virtio_device *d, uint64_t off, uint64_t len)
{
    struct virtio_balloon *b = d->state;
    b->calls++;
    if (host_ram_discard(off, len) == 0) {
        virtio_count(&d->stat.in_bytes, len);
    } else {
        virtio_count(&d->stat.errors, 1);
    }
}

static void finish_run(struct virtio_device *d, struct run *run)
{
    if (run->len != 0) {
        discard(d, run->start, run->len);
        run->len = 0;
    }
}

/* Guests hand out pages upwards and downwards alike. */
static void add_page(struct virtio_device *d, struct run *run, uint32_t pfn)
{
    int64_t off = ram_offset(&d->ram, gpa((uint64_t)pfn << PFN_SHIFT), PAGE_SIZE);
    if (off < 0) {
        virtio_count(&d->stat.errors, 1);
        return;
    }
    uint64_t at = (uint64_t)off;
    if (run->len != 0 && at == run->start + run->len) {
        run->len += PAGE_SIZE;
    } else if (run->len != 0 && at + PAGE_SIZE == run->start) {
        run->start = at;
        run->len += PAGE_SIZE;
    } else {
        finish_run(d, run);
        *run = (struct run){.start = at, .len = PAGE_SIZE};
    }
}

/* A buffer of page numbers, 32 bits each. */
static void inflate(struct virtio_device *d, const struct virtq_chain *chain)
{
    uint32_t pfn[PFNS_AT_ONCE];
    struct run run = {0};
    uint64_t left = min_u64(chain->out_len / sizeof(pfn[0]), PFNS_MAX), at = 0;
    while (left != 0) {
        unsigned n = (unsigned)min_u64(left, PFNS_AT_ONCE);
        if (!virtq_copy_out(chain, at, pfn, n * sizeof(pfn[0]))) {
            break;
        }
        for (unsigned i = 0; i < n; i++) {
            add_page(d, &run, pfn[i]);
        }
        at += n * sizeof(pfn[0]);
        left -= n;
    }
    finish_run(d, &run);
}

/* A buffer that is itself the free memory: the whole pages of it go. Not if the guest expects them
 * back filled with something else than zeros. */
static void report(struct virtio_device *d, const struct virtq_chain *chain)
{
    if (virtio_has(d, BALLOON_PAGE_POISON) &&
        config_word(d, offsetof(struct config, poison)) != 0) {
        return;
    }
    for (unsigned i = 0; i < chain->in_count; i++) {
        const struct io_vec *seg = &chain->seg[chain->out_count + i];
        uint64_t off = (uint64_t)(seg->base - d->ram.base);
        uint64_t start = align_up(off, PAGE_SIZE), end = align_down(off + seg->len, PAGE_SIZE);
        if (start < end) {
            discard(d, start, end - start);
        }
    }
}

/* ---- facts ---- */

static void forget_facts(struct virtio_balloon *b)
{
    memset(b->fact, 0xff, sizeof(b->fact));
    b->asking = false;
}

static void take_facts(struct virtio_balloon *b, const struct virtq_chain *chain)
{
    struct fact fact[FACTS_AT_ONCE];
    uint64_t n = min_u64(chain->out_len / sizeof(fact[0]), FACTS_AT_ONCE);
    if (!virtq_copy_out(chain, 0, fact, n * sizeof(fact[0]))) {
        return;
    }
    for (uint64_t i = 0; i < n; i++) {
        if (fact[i].tag < BALLOON_FACTS) {
            b->fact[fact[i].tag] = fact[i].value;
        }
    }
}

/* The driver leaves one buffer, and fills it anew when it gets it back; one that comes earlier is
 * given back at once. */
static void facts_came(struct virtio_balloon *b, const struct virtq_chain *chain)
{
    if (b->asking) {
        virtq_push(&b->device.queue[QUEUE_STATS], b->ask_head, 0);
    }
    take_facts(b, chain);
    b->asking = true;
    b->ask_head = chain->head;
}

bool virtio_balloon_ask(struct virtio_balloon *b)
{
    if (!b->asking) {
        return false;
    }
    b->asking = false;
    virtq_push(&b->device.queue[QUEUE_STATS], b->ask_head, 0);
    virtio_device_publish(&b->device, QUEUE_STATS);
    return true;
}

/* ---- the device ---- */

static void start(struct virtio_device *d)
{
    forget_facts(d->state);
}

static void handle(struct virtio_balloon *b, unsigned role, const struct virtq_chain *chain)
{
    switch (role) {
    case QUEUE_INFLATE:
        inflate(&b->device, chain);
        virtio_count(&b->device.stat.in_ops, 1);
        break;
    case QUEUE_DEFLATE: /* pages come back by being touched */
        virtio_count(&b->device.stat.out_ops, 1);
        virtio_count(&b->device.stat.out_bytes, chain->out_len / sizeof(uint32_t) << PFN_SHIFT);
        break;
    case QUEUE_REPORTING:
        report(&b->device, chain);
        virtio_count(&b->device.stat.in_ops, 1);
        break;
    }
}

static void kick(struct virtio_device *d, unsigned q)
{
    struct virtio_balloon *b = d->state;
    struct virtq_chain chain;
    unsigned role = q >= QUEUE_STATS && !virtio_has(d, BALLOON_STATS) ? q + 1 : q;
    b->calls = 0;
    while (b->calls < CALLS_AT_ONCE && virtio_device_pop(d, q, &chain)) {
        if (role == QUEUE_STATS) {
            facts_came(b, &chain);
        } else {
            handle(b, role, &chain);
            virtq_push(&d->queue[q], chain.head, 0);
        }
    }
    virtio_device_publish(d, q);
    if (b->calls >= CALLS_AT_ONCE) {
        virtio_device_later(d, q);
    }
}

static const struct virtio_ops balloon_ops = {.start = start, .stop = start, .kick = kick};

static void let_write(struct virtio_regs *regs, unsigned at, unsigned len)
{
    for (unsigned i = at; i < at + len; i++) {
        regs->config_writable[i / 8] |= (uint8_t)(1u << i % 8);
    }
}

void virtio_balloon_init(struct virtio_balloon *b, struct virtio_regs *regs, const struct ram *ram,
                         unsigned slot)
{
    struct config config = {0};
    *b = (struct virtio_balloon){0};
    virtio_device_init(&b->device, regs, ram, slot, VIRTIO_ID_BALLOON, QUEUES,
                       BALLOON_STATS | BALLOON_DEFLATE_ON_OOM | BALLOON_PAGE_POISON |
                           BALLOON_REPORTING,
                       &config, sizeof(config), &balloon_ops, b);
    let_write(regs, offsetof(struct config, actual), sizeof(config.actual));
    let_write(regs, offsetof(struct config, poison), sizeof(config.poison));
    forget_facts(b);
}

void virtio_balloon_set_target(struct virtio_balloon *b, uint64_t bytes)
{
    uint32_t pages = (uint32_t)min_u64(min_u64(bytes, b->device.ram.size) >> PFN_SHIFT, UINT32_MAX);
    virtio_device_config(&b->device, offsetof(struct config, target), &pages, sizeof(pages));
}

uint64_t virtio_balloon_actual(const struct virtio_balloon *b)
{
    uint64_t pages = config_word(&b->device, offsetof(struct config, actual));
    return min_u64(pages << PFN_SHIFT, b->device.ram.size);
}
