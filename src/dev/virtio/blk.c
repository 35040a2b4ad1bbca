/* Implementation of blk.h.
 *
 * Owner of struct virtio_blk: the device's thread. Requests are taken in the order of the ring, and
 * given back in batches: after each PUBLISH_NS at the latest, before anything that takes long (a
 * discard), and when the ring is empty. After SLICE_NS the thread gets to look at its other bells (a
 * reset). A rate limit makes requests wait in the ring, for the timer.
 *
 * Where there is a crew, it gets the reads, unless there is nothing else to do meanwhile, and the
 * flushes: one at a time, for which later ones wait, to be done by the next together.
 */
#include "dev/virtio/blk.h"

#include "base/log.h"
#include "base/string.h"
#include "host/host.h"

#define PUBLISH_NS 100000u
#define SLICE_NS 20000000u
#define REPORT_NS 10000000000ull

/* Features, virtio 1.2 §5.2.3. */
#define F_SEG_MAX (1ull << 2)
#define F_RO (1ull << 5)
#define F_BLK_SIZE (1ull << 6)
#define F_FLUSH (1ull << 9)
#define F_TOPOLOGY (1ull << 10)
#define F_MQ (1ull << 12)
#define F_DISCARD (1ull << 13)
#define F_WRITE_ZEROES (1ull << 14)

/* What the driver must keep to (§5.2.4), and is held to. */
#define SEG_MAX (VIRTQ_SEGMENTS_MAX - 2) /* header and status take one each */
#define DISCARD_SECTORS_MAX 0x400000u    /* 2 GB: a hole is made at once */
#define ZEROES_SECTORS_MAX 0x20000u      /* 64 MB: they may have to be written */
#define RANGES_MAX 16u                   /* in one DISCARD or WRITE_ZEROES */
#define PHYSICAL_SHIFT 3u                /* pages of 4 KB hold 2^3 sectors */

enum request_type {
    T_IN = 0,
    T_OUT = 1,
    T_FLUSH = 4,
    T_GET_ID = 8,
    T_DISCARD = 11,
    T_WRITE_ZEROES = 13,
};

enum request_status { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2, S_LATER = 256 /* not said yet */ };

/* §5.2.4 "Device configuration layout"; little-endian, as this machine is. */
struct config {
    uint64_t capacity; /* in sectors */
    uint32_t size_max, seg_max;
    uint16_t cylinders;
    uint8_t heads, sectors;
    uint32_t blk_size;
    uint8_t physical_block_exp, alignment_offset;
    uint16_t min_io_size;
    uint32_t opt_io_size;
    uint8_t writeback, unused0;
    uint16_t num_queues;
    uint32_t max_discard_sectors, max_discard_seg, discard_sector_alignment;
    uint32_t max_write_zeroes_sectors, max_write_zeroes_seg;
    uint8_t write_zeroes_may_unmap, unused1[3];
};
_Static_assert(sizeof(struct config) <= VIRTIO_CONFIG_MAX &&
                   offsetof(struct config, opt_io_size) == 28 &&
                   offsetof(struct config, max_discard_sectors) == 36 &&
                   offsetof(struct config, write_zeroes_may_unmap) == 56,
               "virtio 1.2 §5.2.4");

/* §5.2.6 "Device Operation" */
struct header {
    uint32_t type, reserved;
    uint64_t sector;
};

struct range {
    uint64_t sector;
    uint32_t sectors, flags;
};
#define RANGE_UNMAP 1u

/* ---- failures ---- */

static enum request_status fail(struct virtio_blk *b, const char *what, uint64_t off, uint64_t len,
                                int err)
{
    uint64_t now = host_time_ns();
    virtio_count(&b->device.stat.errors, 1);
    if (b->disk.failed && (b->reported_ns == 0 || now - b->reported_ns >= REPORT_NS)) {
        b->disk.failed(b->disk.ctx, what, off, len, err, b->unreported);
        b->reported_ns = now;
        b->unreported = 0;
    } else {
        b->unreported++;
    }
    return S_IOERR;
}

/* The driver asked for what it must not (§5.2.6.1): its error, not the disk's. */
static enum request_status refuse(struct virtio_blk *b)
{
    virtio_count(&b->device.stat.errors, 1);
    return S_IOERR;
}

static bool in_range(const struct virtio_blk *b, uint64_t sector, uint64_t len)
{
    uint64_t sectors = b->disk.size / VIRTIO_BLK_SECTOR;
    return sector <= sectors && len <= (sectors - sector) * VIRTIO_BLK_SECTOR;
}

/* ---- giving back ---- */

static void publish(struct virtio_blk *b, unsigned q)
{
    if (bit(b->pushed, q)) {
        b->pushed &= ~(1u << q);
        virtio_device_publish(&b->device, q);
    }
}

/* Tell the driver how a request ended. */
static void finish(struct virtio_blk_request *r, enum request_status status)
{
    struct virtio_blk *b = r->blk;
    uint8_t byte = (uint8_t)status;
    /* The length was checked: this cannot fail. */
    bool told = virtq_copy_in(&r->chain, r->chain.in_len - 1, &byte, 1);
    BUG_ON(!told);
    virtq_push(&b->device.queue[r->queue], r->chain.head, (uint32_t)r->chain.in_len);
    b->pushed |= 1u << r->queue;
    r->busy = false;
}

/* ---- reads ---- */

static enum request_status read_ended(struct virtio_blk_request *r, int err)
{
    struct virtio_blk *b = r->blk;
    if (err) {
        return fail(b, "read", r->off, r->len, err);
    }
    virtio_count(&b->device.stat.in_ops, 1);
    virtio_count(&b->device.stat.in_bytes, r->len);
    return S_OK;
}

/* Whether there is something else to do while the disk is waited for. */
static bool is_busy(const struct virtio_blk_request *r)
{
    const struct virtio_blk *b = r->blk;
    return b->under_way > 0 || virtq_has_work(&b->device.queue[r->queue]);
}

static enum request_status do_read(struct virtio_blk_request *r, uint64_t sector)
{
    struct virtio_blk *b = r->blk;
    r->len = r->chain.in_len - 1;
    r->off = sector * VIRTIO_BLK_SECTOR;
    if (r->len % VIRTIO_BLK_SECTOR || !in_range(b, sector, r->len)) {
        return refuse(b);
    }
    if (r->len == 0) {
        return S_OK;
    }
    unsigned n = virtq_slice(&r->chain, true, 0, r->len, r->data);
    int err = b->crew.read && is_busy(r)
                  ? b->crew.read(b->crew.ctx, r->off, r->data, n, &r->job)
                  : b->disk.read(b->disk.ctx, r->off, r->data, n);
    if (err == VIRTIO_BLK_LATER) {
        b->under_way++;
        return S_LATER;
    }
    return read_ended(r, err);
}

/* ---- flushes ---- */

static enum request_status flush_ended(struct virtio_blk *b, int err)
{
    return err ? fail(b, "flush", 0, 0, err) : S_OK;
}

/* Begin one that stands for all of the list. */
static enum request_status begin_flush(struct virtio_blk_request *list)
{
    struct virtio_blk *b = list->blk;
    int err = b->crew.flush(b->crew.ctx, &list->job);
    if (err == VIRTIO_BLK_LATER) {
        b->under_way++;
        b->flushing = list;
        return S_LATER;
    }
    return flush_ended(b, err);
}

static void finish_flushes(struct virtio_blk_request *list, enum request_status status)
{
    for (struct virtio_blk_request *next; list; list = next) {
        next = list->next;
        finish(list, status);
    }
}

/* The flush under way has ended: those that came after it are next. */
static void next_flush(struct virtio_blk *b, int err)
{
    finish_flushes(b->flushing, flush_ended(b, err));
    struct virtio_blk_request *list = b->flushes;
    b->flushing = b->flushes = NULL;
    enum request_status status = list ? begin_flush(list) : S_LATER;
    if (status != S_LATER) {
        finish_flushes(list, status);
    }
}

static enum request_status do_flush(struct virtio_blk_request *r)
{
    struct virtio_blk *b = r->blk;
    if (!b->crew.flush || !virtio_has(&b->device, F_FLUSH)) {
        return flush_ended(b, b->disk.flush(b->disk.ctx));
    }
    r->next = NULL;
    if (!b->flushing) {
        return begin_flush(r);
    }
    r->next = b->flushes;
    b->flushes = r;
    return S_LATER;
}

/* A driver that knows no flush expects that what was written is on the disk (§5.2.6.2). */
static enum request_status settle(struct virtio_blk *b)
{
    return virtio_has(&b->device, F_FLUSH) ? S_OK : flush_ended(b, b->disk.flush(b->disk.ctx));
}

/* ---- other requests ---- */

static enum request_status do_write(struct virtio_blk_request *r, uint64_t sector)
{
    struct virtio_blk *b = r->blk;
    uint64_t len = r->chain.out_len - sizeof(struct header), off = sector * VIRTIO_BLK_SECTOR;
    if (b->disk.read_only || len % VIRTIO_BLK_SECTOR || !in_range(b, sector, len)) {
        return refuse(b);
    }
    if (len == 0) {
        return settle(b);
    }
    unsigned n = virtq_slice(&r->chain, false, sizeof(struct header), len, r->data);
    int err = b->disk.write(b->disk.ctx, off, r->data, n);
    if (err) {
        return fail(b, "write", off, len, err);
    }
    virtio_count(&b->device.stat.out_ops, 1);
    virtio_count(&b->device.stat.out_bytes, len);
    return settle(b);
}

static enum request_status do_get_id(struct virtio_blk_request *r)
{
    uint64_t len = min_u64(r->chain.in_len - 1, VIRTIO_BLK_ID_LEN);
    return virtq_copy_in(&r->chain, 0, r->blk->disk.id, len) ? S_OK : refuse(r->blk);
}

static enum request_status do_range(struct virtio_blk *b, const struct range *r, bool zeroes)
{
    uint64_t off = r->sector * VIRTIO_BLK_SECTOR, len = (uint64_t)r->sectors * VIRTIO_BLK_SECTOR;
    if (r->flags & (zeroes ? ~RANGE_UNMAP : ~0u)) {
        return S_UNSUPP;
    }
    if (r->sectors > (zeroes ? ZEROES_SECTORS_MAX : DISCARD_SECTORS_MAX) ||
        !in_range(b, r->sector, len)) {
        return refuse(b);
    }
    int err = zeroes ? b->disk.write_zeroes(b->disk.ctx, off, len, r->flags & RANGE_UNMAP)
                     : b->disk.discard(b->disk.ctx, off, len);
    return err ? fail(b, zeroes ? "write of zeros" : "discard", off, len, err) : S_OK;
}

static enum request_status do_ranges(struct virtio_blk_request *r, bool zeroes)
{
    struct virtio_blk *b = r->blk;
    struct range ranges[RANGES_MAX];
    uint64_t len = r->chain.out_len - sizeof(struct header);
    enum request_status status = S_OK;
    if (b->disk.read_only || len == 0 || len % sizeof(struct range) || len > sizeof(ranges) ||
        !virtq_copy_out(&r->chain, sizeof(struct header), ranges, len)) {
        return refuse(b);
    }
    for (unsigned i = 0; i < len / sizeof(struct range) && status == S_OK; i++) {
        status = do_range(b, &ranges[i], zeroes);
    }
    return status == S_OK ? settle(b) : status;
}

static enum request_status do_request(struct virtio_blk_request *r, const struct header *h)
{
    switch (h->type) {
    case T_IN: return do_read(r, h->sector);
    case T_OUT: return do_write(r, h->sector);
    case T_FLUSH: return do_flush(r);
    case T_GET_ID: return do_get_id(r);
    case T_DISCARD: return do_ranges(r, false);
    case T_WRITE_ZEROES: return do_ranges(r, true);
    default: return S_UNSUPP;
    }
}

/* ---- the queues ---- */

static bool takes_long(const struct header *h)
{
    return h->type == T_FLUSH || h->type == T_DISCARD || h->type == T_WRITE_ZEROES;
}

/* Handle the request in r->chain. False: it is not one, and the device is broken. */
static bool handle(struct virtio_blk_request *r)
{
    struct virtio_blk *b = r->blk;
    struct header h;
    if (r->chain.in_len == 0 || r->chain.in_len > UINT32_MAX ||
        !virtq_copy_out(&r->chain, 0, &h, sizeof(h))) {
        virtio_device_break(&b->device, "a block request without header or status");
        return false;
    }
    if (takes_long(&h)) {
        publish(b, r->queue);
    }
    r->busy = true;
    enum request_status status = do_request(r, &h);
    if (status != S_LATER) {
        finish(r, status);
    }
    return true;
}

static void job_done(struct virtio_blk_job *job, int err)
{
    struct virtio_blk_request *r = (struct virtio_blk_request *)job;
    struct virtio_blk *b = r->blk;
    b->under_way--;
    if (r == b->flushing) {
        next_flush(b, err);
    } else {
        finish(r, read_ended(r, err));
    }
}

void virtio_blk_look(struct virtio_blk *b)
{
    unsigned n = b->device.queue_count;
    /* By turns: there may be room for one request only. */
    b->turn = (b->turn + 1) % n;
    for (unsigned i = 0; i < n; i++) {
        /* It knows whether the device runs and the queue is there. */
        virtio_device_kick(&b->device, (b->turn + i) % n);
    }
}

/* The rate limit has more for the guest. */
static void timer_fired(void *arg)
{
    virtio_blk_look(arg);
}

/* Whether to go on with queue q now, in which case *r is a request to fill. If not, it is kicked
 * again in time. */
static bool may_go_on(struct virtio_blk *b, unsigned q, uint64_t began_ns, uint64_t now,
                      struct virtio_blk_request **r)
{
    unsigned i = 0;
    uint64_t ready = b->timer.set && b->disk.ready_ns ? b->disk.ready_ns(b->disk.ctx) : 0;
    if (ready > now) {
        b->timer.set(b->timer.ctx, ready, timer_fired, b);
        return false;
    }
    if (now - began_ns >= SLICE_NS) {
        virtio_device_later(&b->device, q);
        return false;
    }
    while (i < VIRTIO_BLK_REQUESTS && b->request[i].busy) {
        i++;
    }
    if (i == VIRTIO_BLK_REQUESTS) {
        return false; /* when one is done, virtio_blk_look is called */
    }
    *r = &b->request[i];
    (*r)->job = (struct virtio_blk_job){.index = i, .done = job_done};
    (*r)->blk = b;
    (*r)->queue = q;
    return true;
}

static void blk_kick(struct virtio_device *d, unsigned q)
{
    struct virtio_blk *b = d->state;
    struct virtio_blk_request *r;
    uint64_t began = host_time_ns(), published = began, now = began;
    publish(b, q);
    while (may_go_on(b, q, began, now, &r) && virtio_device_pop(d, q, &r->chain) && handle(r)) {
        now = host_time_ns();
        if (now - published >= PUBLISH_NS) {
            publish(b, q);
            published = now;
        }
    }
    publish(b, q);
}

/* ---- life ---- */

static void blk_start(struct virtio_device *d)
{
    struct virtio_blk *b = d->state;
    b->pushed = 0;
}

static void blk_stop(struct virtio_device *d)
{
    struct virtio_blk *b = d->state;
    if (b->crew.drain) {
        b->crew.drain(b->crew.ctx);
    }
    if (b->timer.set) {
        b->timer.set(b->timer.ctx, 0, NULL, NULL);
    }
}

static const struct virtio_ops blk_ops = {.start = blk_start, .stop = blk_stop, .kick = blk_kick};

void virtio_blk_init(struct virtio_blk *b, struct virtio_regs *regs, const struct ram *ram,
                     unsigned slot, unsigned queues, const struct virtio_blk_disk *disk)
{
    uint64_t features = F_SEG_MAX | F_BLK_SIZE | F_TOPOLOGY | F_FLUSH;
    features |= disk->read_only ? F_RO : F_DISCARD | F_WRITE_ZEROES;
    features |= queues > 1 ? F_MQ : 0;
    const struct config config = {
        .capacity = disk->size / VIRTIO_BLK_SECTOR,
        .seg_max = SEG_MAX,
        .blk_size = VIRTIO_BLK_SECTOR,
        .physical_block_exp = PHYSICAL_SHIFT,
        .min_io_size = 1u << PHYSICAL_SHIFT,
        .opt_io_size = disk->optimal / VIRTIO_BLK_SECTOR,
        .num_queues = (uint16_t)queues,
        .max_discard_sectors = DISCARD_SECTORS_MAX,
        .max_discard_seg = RANGES_MAX,
        .discard_sector_alignment = 1u << PHYSICAL_SHIFT,
        .max_write_zeroes_sectors = ZEROES_SECTORS_MAX,
        .max_write_zeroes_seg = RANGES_MAX,
        .write_zeroes_may_unmap = 1,
    };
    b->disk = *disk;
    virtio_device_init(&b->device, regs, ram, slot, VIRTIO_ID_BLOCK, queues, features, &config,
                       sizeof(config), &blk_ops, b);
}

void virtio_blk_set_timer(struct virtio_blk *b, const struct virtio_blk_timer *timer)
{
    b->timer = *timer;
}

void virtio_blk_set_crew(struct virtio_blk *b, const struct virtio_blk_crew *crew)
{
    b->crew = *crew;
}
