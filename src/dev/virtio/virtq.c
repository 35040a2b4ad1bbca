/* Split virtqueues. See virtq.h for state and threads.
 *
 *   descriptor table   (address 8, length 4, flags 2, next 2) x size              driver writes
 *   available ring     flags 2, index 2, head 2 x size, used_event 2              driver writes
 *   used ring          flags 2, index 2, (head 4, length 4) x size, avail_event 2 device writes
 *
 * All little-endian; the figures are bytes. The two event fields are there only when
 * VIRTIO_F_EVENT_IDX was negotiated; room for them is always asked for (§2.7).
 *
 * The guest runs on another CPU: indices are loaded with acquire before what they announce is read,
 * stored with release after it was written; where each side stores its own word and then reads the
 * other's (kicks, interrupts), a full fence lies between.
 */
#include "dev/virtio/virtq.h"

#include "base/log.h"
#include "base/string.h"

#define DESC_SIZE 16u
#define DESC_NEXT 1u
#define DESC_WRITE 2u
#define DESC_INDIRECT 4u

#define RING_FLAGS 0u
#define RING_INDEX 2u
#define RING_ENTRIES 4u
#define USED_ELEMENT 8u

#define AVAIL_NO_INTERRUPT 1u
#define USED_NO_NOTIFY 1u

struct desc {
    uint64_t gpa;
    uint32_t len;
    uint16_t flags, next;
};
_Static_assert(sizeof(struct desc) == DESC_SIZE, "guest-visible layout");

/* ---- the guest's memory ---- */

static uint16_t *u16_at(uint8_t *p)
{
    return (uint16_t *)(void *)p;
}

static uint16_t load16(uint8_t *p, int order)
{
    uint16_t value = __atomic_load_n(u16_at(p), __ATOMIC_RELAXED);
    if (order != __ATOMIC_RELAXED) {
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
    }
    return value;
}

/* One copy, and no second look: the compiler must not read the original again for a field it has
 * already checked. */
static struct desc copy_desc(const uint8_t *p)
{
    struct desc d;
    memcpy(&d, p, sizeof(d));
    __asm__ volatile("" : "+m"(d) : : "memory");
    return d;
}

static uint8_t *avail_entry(const struct virtq *q, uint16_t at)
{
    return q->avail + RING_ENTRIES + (size_t)(at & (q->size - 1)) * 2;
}

static uint8_t *used_event(const struct virtq *q)
{
    return q->avail + RING_ENTRIES + (size_t)q->size * 2;
}

static uint8_t *avail_event(const struct virtq *q)
{
    return q->used_ring + RING_ENTRIES + (size_t)q->size * USED_ELEMENT;
}

static uint16_t avail_index(const struct virtq *q)
{
    return load16(q->avail + RING_INDEX, __ATOMIC_ACQUIRE);
}

/* ---- set-up ---- */

static uint8_t *part(const struct ram *ram, uint64_t at, uint64_t len, unsigned alignment)
{
    return at % alignment == 0 ? ram_span(ram, gpa(at), len) : NULL;
}

bool virtq_init(struct virtq *q, const struct ram *ram, const struct virtio_queue_regs *regs,
                uint64_t features)
{
    uint16_t size = regs->size;
    *q = (struct virtq){
        .ram = ram,
        .event_idx = (features & VIRTIO_F_EVENT_IDX) != 0,
        .indirect = (features & VIRTIO_F_INDIRECT_DESC) != 0,
    };
    if (!regs->enabled || size == 0 || size > VIRTIO_QUEUE_SIZE_MAX || (size & (size - 1)) != 0) {
        return false;
    }
    q->desc = part(ram, regs->desc, (uint64_t)size * DESC_SIZE, 16);
    q->avail = part(ram, regs->driver, RING_ENTRIES + (uint64_t)size * 2 + 2, 2);
    q->used_ring = part(ram, regs->device, RING_ENTRIES + (uint64_t)size * USED_ELEMENT + 2, 4);
    if (q->desc == NULL || q->avail == NULL || q->used_ring == NULL) {
        return false;
    }
    q->size = size;
    return true;
}

/* ---- popping ---- */

/* Where the walk through a chain is. */
struct walk {
    const uint8_t *table; /* the queue's, or an indirect one */
    uint32_t count;       /* descriptors in it */
    uint32_t at;
    bool inside;    /* of an indirect table */
    unsigned steps; /* descriptors seen: a chain that goes in circles ends by it */
};

/* Go on in the table that d refers to. It must be the chain's last of the queue's own descriptors,
 * and not lead to another (§2.7.5.3.1). */
static bool enter_table(const struct virtq *q, struct walk *w, const struct desc *d)
{
    if (!q->indirect || w->inside || (d->flags & DESC_NEXT) || d->len == 0 ||
        d->len % DESC_SIZE != 0) {
        return false;
    }
    *w = (struct walk){
        .table = ram_span(q->ram, gpa(d->gpa), d->len),
        .count = d->len / DESC_SIZE,
        .inside = true,
        .steps = w->steps,
    };
    return w->table != NULL;
}

/* Segments for the device to write come last (§2.7.4.2). */
static bool add_segment(const struct virtq *q, struct virtq_chain *chain, const struct desc *d)
{
    bool in = (d->flags & DESC_WRITE) != 0;
    if (d->len == 0) {
        return true;
    }
    unsigned n = chain->out_count + chain->in_count;
    uint8_t *base = ram_span(q->ram, gpa(d->gpa), d->len);
    if (base == NULL || n == VIRTQ_SEGMENTS_MAX || (!in && chain->in_count != 0)) {
        return false;
    }
    chain->seg[n] = (struct io_vec){.base = base, .len = d->len};
    if (in) {
        chain->in_count++;
        chain->in_len += d->len;
    } else {
        chain->out_count++;
        chain->out_len += d->len;
    }
    return true;
}

static bool collect(const struct virtq *q, uint16_t head, struct virtq_chain *chain)
{
    struct walk w = {.table = q->desc, .count = q->size, .at = head};
    for (;;) {
        if (w.at >= w.count || w.steps++ > VIRTQ_SEGMENTS_MAX) {
            return false;
        }
        struct desc d = copy_desc(w.table + (size_t)w.at * DESC_SIZE);
        if (d.flags & DESC_INDIRECT) {
            if (!enter_table(q, &w, &d)) {
                return false;
            }
            continue;
        }
        if (!add_segment(q, chain, &d)) {
            return false;
        }
        if (!(d.flags & DESC_NEXT)) {
            return true;
        }
        w.at = d.next;
    }
}

int virtq_pop(struct virtq *q, struct virtq_chain *chain)
{
    if (q->size == 0 || q->broken) {
        return q->broken ? -1 : 0;
    }
    uint16_t there = (uint16_t)(avail_index(q) - q->next_avail);
    if (there == 0) {
        return 0;
    }
    uint16_t head = load16(avail_entry(q, q->next_avail), __ATOMIC_RELAXED);
    chain->head = head;
    chain->out_count = chain->in_count = 0;
    chain->out_len = chain->in_len = 0;
    if (there > q->size || !collect(q, head, chain)) {
        q->broken = true;
        return -1;
    }
    q->next_avail++;
    return 1;
}

void virtq_unpop(struct virtq *q)
{
    q->next_avail--;
}

bool virtq_has_work(const struct virtq *q)
{
    return q->size != 0 && !q->broken && avail_index(q) != q->next_avail;
}

/* ---- giving back ---- */

void virtq_push(struct virtq *q, uint16_t head, uint32_t written)
{
    if (q->size == 0 || q->broken) {
        return;
    }
    uint32_t element[2] = {head, written};
    memcpy(q->used_ring + RING_ENTRIES + (size_t)(q->used & (q->size - 1)) * USED_ELEMENT, element,
           sizeof(element));
    q->used++;
}

bool virtq_publish(struct virtq *q)
{
    uint16_t before = q->signalled;
    if (q->size == 0 || q->broken || q->used == before) {
        return false;
    }
    q->signalled = q->used;
    __atomic_store_n(u16_at(q->used_ring + RING_INDEX), q->used, __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!q->event_idx) {
        return !(load16(q->avail + RING_FLAGS, __ATOMIC_RELAXED) & AVAIL_NO_INTERRUPT);
    }
    /* Whether the index went past the event: all three wrap around. */
    uint16_t event = load16(used_event(q), __ATOMIC_RELAXED);
    return (uint16_t)(q->used - event - 1) < (uint16_t)(q->used - before);
}

/* ---- kicks ---- */

bool virtq_enable_kicks(struct virtq *q)
{
    if (q->size == 0 || q->broken) {
        return false;
    }
    if (q->event_idx) {
        __atomic_store_n(u16_at(avail_event(q)), q->next_avail, __ATOMIC_RELAXED);
    } else {
        __atomic_store_n(u16_at(q->used_ring + RING_FLAGS), 0, __ATOMIC_RELAXED);
    }
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return virtq_has_work(q);
}

/* With event indices there is nothing to do: the event lies behind, and no kick comes until it is
 * moved. */
void virtq_disable_kicks(struct virtq *q)
{
    if (q->size != 0 && !q->broken && !q->event_idx) {
        __atomic_store_n(u16_at(q->used_ring + RING_FLAGS), USED_NO_NOTIFY, __ATOMIC_RELAXED);
    }
}

/* ---- a chain's bytes ---- */

unsigned virtq_slice(const struct virtq_chain *chain, bool in, uint64_t at, uint64_t len,
                     struct io_vec *vec)
{
    uint64_t total = in ? chain->in_len : chain->out_len;
    const struct io_vec *seg = in ? chain->seg + chain->out_count : chain->seg;
    unsigned count = in ? chain->in_count : chain->out_count, n = 0;
    if (len == 0 || at > total || len > total - at) {
        return 0;
    }
    for (unsigned i = 0; i < count && len != 0; i++) {
        if (at >= seg[i].len) {
            at -= seg[i].len;
            continue;
        }
        uint64_t part_len = min_u64(seg[i].len - at, len);
        vec[n++] = (struct io_vec){.base = seg[i].base + at, .len = part_len};
        len -= part_len;
        at = 0;
    }
    return n;
}

/* Copy [at, at+len) of the out or in segments to `to`, or from `from`; the other is NULL. */
static bool copy(const struct virtq_chain *chain, bool in, uint64_t at, uint8_t *to,
                 const uint8_t *from, uint64_t len)
{
    struct io_vec vec[VIRTQ_SEGMENTS_MAX];
    unsigned n = virtq_slice(chain, in, at, len, vec);
    size_t done = 0;
    for (unsigned i = 0; i < n; i++) {
        if (to != NULL) {
            memcpy(to + done, vec[i].base, vec[i].len);
        } else {
            memcpy(vec[i].base, from + done, vec[i].len);
        }
        done += vec[i].len;
    }
    return done == len;
}

bool virtq_copy_out(const struct virtq_chain *chain, uint64_t at, void *to, uint64_t len)
{
    bool whole = copy(chain, false, at, to, NULL, len);
    __asm__ volatile("" : : : "memory"); /* what was copied is not read from the guest again */
    return whole;
}

bool virtq_copy_in(const struct virtq_chain *chain, uint64_t at, const void *from, uint64_t len)
{
    return copy(chain, true, at, NULL, from, len);
}
