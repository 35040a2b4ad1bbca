/* libFuzzer over the virtio devices and their PCI transport: any register access, any rings, any
 * order.
 *
 * The first byte chooses the device, and for a disk whether it has a crew and a rate limit. The
 * rest is a program of small steps: accesses of the guest to configuration space and BAR, bytes and
 * descriptors in its RAM, a whole driver start (so that inputs get somewhere), a spoilt register
 * file (a vCPU task gone wild), the device's bells, and what happens at its back end. Guest RAM
 * lies between inaccessible pages; back ends check what they are given.
 */
#include "stream.h"

#include "dev/virtio/balloon.h"
#include "dev/virtio/blk.h"
#include "dev/virtio/console.h"
#include "dev/virtio/console_out.h"
#include "dev/virtio/rng.h"
#include "dev/virtio/virtio_pci.h"
#include "unit/fake_host.h"

#define RAM_SIZE 0x100000u
#define STEPS_MAX 400u
#define SLOT 3u
#define QUEUE_SIZE 16u
#define RING(q) (0x10000ull + (q)*0x4000ull)
#define DATA 0x80000ull
#define DISK_SIZE 0x10000u
#define ROUNDS_MAX 64u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum step {
    STEP_READ,
    STEP_WRITE,
    STEP_CONFIG,
    STEP_BYTES,
    STEP_CHAIN,
    STEP_INDEX,
    STEP_START,
    STEP_RESET,
    STEP_SPOIL,
    STEP_CONTROL,
    STEP_KICK,
    STEP_DELIVER,
    STEP_BACK_END,
    STEPS,
};

/** A job of the disk's crew. */
struct job {
    struct virtio_blk_job *job;
    bool flush;
    uint64_t off;
    const struct io_vec *vec;
    unsigned n;
    struct io_vec then[VIRTQ_SEGMENTS_MAX]; /* what vec held */
};

/** The machine, its one device, and the device's back end. */
struct bench {
    struct vm vm;
    _Alignas(64) struct vcpu vcpu;
    struct virtio_regs regs;
    struct virtio_pci pci;
    struct virtio_device *device;
    void (*back_end)(struct stream *s);
    union {
        struct virtio_rng rng;
        struct virtio_console console;
        struct virtio_balloon balloon;
        struct virtio_blk blk;
    } u;
    struct virtio_console_out out; /* the console's */
    uint64_t bar;
    uint8_t disk[DISK_SIZE];
    int disk_error;
    uint64_t ready_ns, timer_ns;
    void (*timer)(void *arg);
    void *timer_arg;
    struct job job[VIRTIO_BLK_REQUESTS]; /* under way */
    unsigned jobs;
    uint8_t at_once, which; /* how the crew answers; which job ends first in drain */
};

static struct bench b;

static void check(bool ok)
{
    if (!ok) {
        abort();
    }
}

/* ---- back ends ---- */

static void check_vec(const struct io_vec *vec, unsigned n, uint64_t len)
{
    uint64_t sum = 0;
    check(n <= VIRTQ_SEGMENTS_MAX);
    for (unsigned i = 0; i < n; i++) {
        const uint8_t *base = b.vm.ram.base;
        check(vec[i].base >= base && vec[i].len <= RAM_SIZE &&
              vec[i].base + vec[i].len <= base + RAM_SIZE);
        sum += vec[i].len;
    }
    check(len == UINT64_MAX || sum <= len);
}

static void terminal_room(void *ctx)
{
    (void)ctx;
    virtio_console_input(&b.u.console, "room", 4);
}

static void console_event(struct stream *s)
{
    uint8_t bytes[300] = {0};
    uint8_t what = stream8(s);
    switch (what & 3) {
    case 0: check(virtio_console_input(&b.u.console, bytes, what) <= what); break;
    case 1: virtio_console_resize(&b.u.console, stream16(s), stream16(s)); break;
    default: virtio_console_out_kick(&b.out); break;
    }
}

static void balloon_event(struct stream *s)
{
    uint8_t what = stream8(s);
    if (what & 1) {
        virtio_balloon_set_target(&b.u.balloon, stream64(s));
    } else {
        virtio_balloon_ask(&b.u.balloon);
    }
    check(virtio_balloon_actual(&b.u.balloon) <= RAM_SIZE);
}

static int disk_move(uint64_t off, const struct io_vec *vec, unsigned n, bool write)
{
    check(off <= DISK_SIZE && off % 512 == 0);
    check_vec(vec, n, DISK_SIZE - off);
    for (unsigned i = 0; i < n && !b.disk_error; i++) {
        memcpy(write ? b.disk + off : vec[i].base, write ? vec[i].base : b.disk + off, vec[i].len);
        off += vec[i].len;
    }
    return b.disk_error;
}

static int disk_read(void *ctx, uint64_t off, const struct io_vec *vec, unsigned n)
{
    (void)ctx;
    return disk_move(off, vec, n, false);
}

static int disk_write(void *ctx, uint64_t off, const struct io_vec *vec, unsigned n)
{
    (void)ctx;
    return disk_move(off, vec, n, true);
}

static int disk_flush(void *ctx)
{
    (void)ctx;
    return b.disk_error;
}

static int disk_discard(void *ctx, uint64_t off, uint64_t len)
{
    (void)ctx;
    check(off <= DISK_SIZE && len <= DISK_SIZE - off && off % 512 == 0 && len % 512 == 0);
    memset(b.disk + off, 0, len);
    return b.disk_error;
}

static int disk_zeroes(void *ctx, uint64_t off, uint64_t len, bool unmap)
{
    (void)unmap;
    return disk_discard(ctx, off, len);
}

static uint64_t disk_ready_ns(void *ctx)
{
    (void)ctx;
    return b.ready_ns;
}

static void set_timer(void *ctx, uint64_t when_ns, void (*fn)(void *arg), void *arg)
{
    (void)ctx;
    b.timer_ns = when_ns;
    b.timer = when_ns ? fn : NULL;
    b.timer_arg = arg;
}

static bool timer_due(void)
{
    return b.timer && b.timer_ns <= fake.time_ns;
}

static void fire_timer(void)
{
    void (*fn)(void *arg) = b.timer;
    if (timer_due()) {
        b.timer = NULL;
        fn(b.timer_arg);
    }
}

/* ---- the disk's crew ---- */

static int begin_job(const struct job *j)
{
    check(b.jobs < VIRTIO_BLK_REQUESTS && j->job->index < VIRTIO_BLK_REQUESTS);
    for (unsigned i = 0; i < b.jobs; i++) {
        check(b.job[i].job->index != j->job->index && !(b.job[i].flush && j->flush));
    }
    b.job[b.jobs++] = *j;
    return VIRTIO_BLK_LATER;
}

static void end_job(unsigned i)
{
    struct job j = b.job[i];
    b.job[i] = b.job[--b.jobs];
    check(j.flush || memcmp(j.vec, j.then, j.n * sizeof(*j.vec)) == 0);
    j.job->done(j.job, j.flush ? b.disk_error : disk_move(j.off, j.vec, j.n, false));
}

static int crew_read(void *ctx, uint64_t off, const struct io_vec *vec, unsigned n,
                     struct virtio_blk_job *job)
{
    struct job j = {.job = job, .off = off, .vec = vec, .n = n};
    if (b.at_once & 1) {
        return disk_read(ctx, off, vec, n);
    }
    check_vec(vec, n, DISK_SIZE - off);
    memcpy(j.then, vec, n * sizeof(*vec));
    return begin_job(&j);
}

static int crew_flush(void *ctx, struct virtio_blk_job *job)
{
    const struct job j = {.job = job, .flush = true};
    return b.at_once & 2 ? disk_flush(ctx) : begin_job(&j);
}

static void crew_drain(void *ctx)
{
    unsigned ended = 0;
    (void)ctx;
    while (b.jobs > 0) {
        end_job(b.which % b.jobs);
        check(++ended <= VIRTIO_BLK_REQUESTS); /* no request comes in meanwhile */
    }
}

/* What is to be seen of a disk between two events. */
static void check_disk(void)
{
    const struct virtio_blk *blk = &b.u.blk;
    unsigned busy = 0;
    bool idle = b.jobs == 0 && !b.timer;
    for (unsigned i = 0; i < VIRTIO_BLK_REQUESTS; i++) {
        busy += blk->request[i].busy;
    }
    check(blk->under_way == b.jobs && busy >= b.jobs && (busy == 0 || b.jobs > 0));
    check(b.device->running || b.jobs == 0);
    /* The driver was told of all that has ended. */
    check(!b.device->running || b.device->broken || blk->pushed == 0);
    /* Either the driver kicks, or the device comes back by itself. */
    for (unsigned q = 0; q < b.device->queue_count && b.device->running && !b.device->broken; q++) {
        check(!idle || bit(b.device->listening, q) || bit(b.device->again, q) ||
              !virtq_has_work(&b.device->queue[q]));
    }
}

static void disk_event(struct stream *s)
{
    uint8_t what = stream8(s);
    b.disk_error = what & 1 ? -5 : 0;
    b.at_once = what >> 1 & 3;
    fake.time_ns += (uint64_t)(what >> 3) << 20;
    b.which = stream8(s);
    b.ready_ns = fake.time_ns + (b.which & 0x80 ? 5000000 : 0);
    fire_timer();
    if (b.jobs > 0) {
        for (unsigned i = b.which >> 5 & 3; i > 0 && b.jobs > 0; i--) {
            end_job(b.which % b.jobs);
        }
        virtio_blk_look(&b.u.blk);
    }
}

static void nothing(struct stream *s)
{
    (void)s;
}

/* ---- the machine ---- */

static void plug(uint8_t choice)
{
    const struct virtio_console_end end = {.input_room = terminal_room};
    const struct virtio_blk_timer timer = {.set = set_timer};
    const struct virtio_blk_crew crew = {
        .read = crew_read, .flush = crew_flush, .drain = crew_drain};
    const struct virtio_blk_disk disk = {
        .size = DISK_SIZE,
        .read_only = choice & 0x40,
        .read = disk_read,
        .write = disk_write,
        .flush = disk_flush,
        .discard = disk_discard,
        .write_zeroes = disk_zeroes,
        .ready_ns = choice & 0x20 ? disk_ready_ns : NULL,
    };
    switch (choice % 4) {
    case 0:
        virtio_rng_init(&b.u.rng, &b.regs, &b.vm.ram, SLOT);
        b.device = &b.u.rng.device;
        b.back_end = nothing;
        break;
    case 1:
        virtio_console_init(&b.u.console, &b.regs, &b.vm.ram, SLOT, &end, 80, 25);
        b.device = &b.u.console.device;
        b.back_end = console_event;
        break;
    case 2:
        virtio_balloon_init(&b.u.balloon, &b.regs, &b.vm.ram, SLOT);
        b.device = &b.u.balloon.device;
        b.back_end = balloon_event;
        break;
    default:
        virtio_blk_init(&b.u.blk, &b.regs, &b.vm.ram, SLOT, 1 + (choice >> 2 & 3), &disk);
        virtio_blk_set_timer(&b.u.blk, &timer);
        if (choice & 0x80) {
            virtio_blk_set_crew(&b.u.blk, &crew);
        }
        b.device = &b.u.blk.device;
        b.back_end = disk_event;
        break;
    }
    virtio_pci_init(&b.pci, &b.vm, &b.regs);
    if (b.back_end == console_event) {
        virtio_console_out_init(&b.out, &b.vm, &b.regs);
        virtio_pci_serve(&b.pci, VIRTIO_CONSOLE_OUT, virtio_console_out_kick, &b.out);
    }
    b.bar = bus_read(&b.vm.mmio, PCI_ECAM_BASE + (SLOT << 15) + 0x10, 4);
}

static void begin(uint8_t choice)
{
    memset(&b, 0, sizeof(b));
    b.vm.ram = fuzz_ram(RAM_SIZE);
    b.vm.cpu_count = 1;
    b.vm.vcpu[0] = &b.vcpu;
    b.vm.tsc_khz = FAKE_TSC_KHZ;
    fake.vm = &b.vm;
    fake.time_ns = 1000000000;
    vm_init(&b.vm);
    plug(choice);
}

/* What the I/O thread does with its device until nothing is left. */
static void run_again(void)
{
    for (unsigned i = 0; i < ROUNDS_MAX; i++) {
        uint32_t again = virtio_device_again(b.device);
        if (again == 0 && !timer_due()) {
            return;
        }
        fire_timer();
        for (unsigned q = 0; q < VIRTIO_QUEUES_MAX; q++) {
            if (bit(again, q)) {
                virtio_device_kick(b.device, q);
            }
        }
    }
}

static void deliver(void)
{
    if (__atomic_exchange_n(&b.vm.device_pending, 0, __ATOMIC_ACQUIRE) & 1u << SLOT) {
        virtio_pci_deliver(&b.pci);
    }
}

/* ---- the guest ---- */

static void put(uint64_t at, const void *bytes, size_t len)
{
    uint8_t *to = ram_span(&b.vm.ram, gpa(at), len);
    if (to != NULL) {
        memcpy(to, bytes, len);
    }
}

static void bar_set(uint64_t off, unsigned size, uint64_t value)
{
    bus_write(&b.vm.mmio, b.bar + off, size, value);
}

/* A driver that does all as it should, but for the features it takes. */
static void start(struct stream *s)
{
    uint64_t features =
        stream8(s) | (uint64_t)(stream8(s) & 0x7f) << 8 | (stream8(s) & 1 ? VIRTIO_F_COMMON : 0);
    uint64_t config = PCI_ECAM_BASE + (SLOT << 15);
    bus_write(&b.vm.mmio, config + 0x10, 4, b.bar);
    bus_write(&b.vm.mmio, config + 4, 2, 6);
    bus_write(&b.vm.mmio, config + b.pci.msix.cap + 2, 2, 0x8000);
    for (unsigned v = 0; v < b.pci.msix.vectors; v++) {
        bar_set(0x4000 + v * 16, 8, 0xfee00000);
        bar_set(0x4008 + v * 16, 8, 0x40 + v);
    }
    bar_set(0x14, 1, 0);
    virtio_device_control(b.device);
    bar_set(0x14, 1, 3);
    features = (features & b.device->offered) | VIRTIO_F_VERSION_1;
    for (unsigned half = 0; half < 2; half++) {
        bar_set(0x08, 4, half);
        bar_set(0x0c, 4, features >> half * 32);
    }
    bar_set(0x14, 1, 11);
    for (unsigned q = 0; q < VIRTIO_QUEUES_MAX; q++) {
        bar_set(0x16, 2, q);
        bar_set(0x18, 2, QUEUE_SIZE);
        bar_set(0x1a, 2, q + 1);
        bar_set(0x20, 8, RING(q));
        bar_set(0x28, 8, RING(q) + 0x2000);
        bar_set(0x30, 8, RING(q) + 0x3000);
        bar_set(0x1c, 2, 1);
        put(RING(q) + 0x2000, "\0\0\0\0", 4);
    }
    bar_set(0x14, 1, 15);
    virtio_device_control(b.device);
}

static uint32_t length(struct stream *s)
{
    static const uint32_t usual[] = {0,   1,   4,    10,   12,   16,    17,      32,
                                     512, 513, 1024, 4096, 8192, 65536, 0x80000, 0xfffff000};
    uint8_t kind = stream8(s);
    return kind & 0x80 ? stream32(s) : usual[kind % ARRAY_LEN(usual)];
}

static void put_desc(uint64_t table, unsigned index, uint64_t at, uint32_t len, uint16_t flags)
{
    struct {
        uint64_t gpa;
        uint32_t len;
        uint16_t flags, next;
    } d = {at, len, flags, (uint16_t)(index + 1)};
    put(table + index * sizeof(d), &d, sizeof(d));
}

/* A chain, mostly sound, offered in queue q: a header of 16 bytes with small numbers, then
 * segments, the last perhaps a status byte. */
static void offer_chain(struct stream *s)
{
    uint8_t how = stream8(s), count = stream8(s) % 6;
    unsigned q = how & 3;
    bool indirect = how & 4;
    uint64_t table = indirect ? 0x60000 : RING(q);
    uint32_t header[4] = {stream8(s) & 15, 0, stream8(s), 0};
    uint16_t index, head = indirect ? 0 : (how >> 3 & 7), at = head;
    put(DATA, header, sizeof(header));
    put_desc(table, at++, DATA, how & 0x40 ? length(s) : 16, count ? 1 : 0);
    for (unsigned i = 0; i < count; i++) {
        uint8_t kind = stream8(s);
        uint64_t where = kind & 8 ? stream32(s) : DATA + (kind >> 4) * 0x1000ull;
        bool status = i + 1 == count && (how & 0x80);
        put_desc(table, at++, where, status ? 1 : length(s),
                 (uint16_t)((i + 1 < count ? 1 : 0) | (status ? 2 : kind & 2)));
    }
    if (indirect) {
        put_desc(RING(q), 0, table, at * 16u, 4);
    }
    const uint8_t *ring = ram_span(&b.vm.ram, gpa(RING(q) + 0x2002), 2);
    memcpy(&index, ring, 2);
    put(RING(q) + 0x2004 + index % QUEUE_SIZE * 2, &head, 2);
    index++;
    put(RING(q) + 0x2002, &index, 2);
}

static uint64_t bar_offset(struct stream *s)
{
    uint8_t area = stream8(s);
    return (uint64_t)(area & 7) << 12 | (area & 8 ? stream16(s) & 0xfff : stream8(s) & 0x7f);
}

static void access_config(struct stream *s)
{
    uint8_t how = stream8(s);
    uint64_t at = PCI_ECAM_BASE + (how & 0x40 ? stream32(s) & 0xfffff : (SLOT << 15) + stream8(s));
    if (how & 0x80) {
        bus_write(&b.vm.ports, 0xcf8, 4, 0x80000000u | SLOT << 11 | stream8(s));
        at = 0xcfc + (how >> 4 & 3);
    }
    const struct bus *bus = how & 0x80 ? &b.vm.ports : &b.vm.mmio;
    unsigned size = 1u << (how & 3) % (how & 0x80 ? 3 : 4);
    if (how & 8) {
        bus_write(bus, at, size, stream64(s));
    } else {
        bus_read(bus, at, size);
    }
}

/* Any bytes anywhere in the register file, and the device's look at it. Afterwards its truth values
 * are ones again, for the transport. */
static void spoil(struct stream *s)
{
    unsigned at = stream16(s) % sizeof(b.regs), len = 1 + stream8(s) % 32;
    uint8_t bytes[32];
    stream_bytes(s, bytes, len);
    memcpy((uint8_t *)&b.regs + at, bytes, len <= sizeof(b.regs) - at ? len : sizeof(b.regs) - at);
    if (stream8(s) & 1) {
        b.regs.request++;
    }
    virtio_device_control(b.device);
    uint8_t one = 1, *broken = (uint8_t *)&b.regs.broken;
    *broken &= one;
    for (unsigned q = 0; q < VIRTIO_QUEUES_MAX; q++) {
        uint8_t *enabled = (uint8_t *)&b.regs.queue[q].enabled;
        *enabled &= one;
    }
}

static void take_step(struct stream *s, enum step step)
{
    uint8_t bytes[32];
    switch (step) {
    case STEP_READ: {
        uint64_t off = bar_offset(s);
        bus_read(&b.vm.mmio, b.bar + off, 1u << (stream8(s) & 3));
        break;
    }
    case STEP_WRITE: {
        uint64_t off = bar_offset(s);
        uint8_t how = stream8(s);
        bar_set(off, 1u << (how & 3), how & 4 ? stream64(s) : stream8(s));
        break;
    }
    case STEP_CONFIG: access_config(s); break;
    case STEP_BYTES: {
        uint64_t at = stream32(s) % RAM_SIZE;
        unsigned len = stream8(s) % sizeof(bytes);
        stream_bytes(s, bytes, len);
        put(at, bytes, len);
        break;
    }
    case STEP_CHAIN: offer_chain(s); break;
    case STEP_INDEX: {
        uint64_t q = stream8(s) & 3;
        stream_bytes(s, bytes, 2);
        put(RING(q) + 0x2002, bytes, 2);
        break;
    }
    case STEP_START: start(s); break;
    case STEP_RESET: bar_set(0x14, 1, 0); break;
    case STEP_SPOIL: spoil(s); break;
    case STEP_CONTROL: virtio_device_control(b.device); break;
    case STEP_KICK: virtio_device_kick(b.device, stream8(s) & 7); break;
    case STEP_DELIVER: deliver(); break;
    default: b.back_end(s); break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct stream s = {data, size};
    begin(stream8(&s));
    for (unsigned i = 0; i < STEPS_MAX && s.left != 0; i++) {
        take_step(&s, stream8(&s) % STEPS);
        run_again();
        if (b.back_end == disk_event) {
            check_disk();
        }
    }
    virtio_device_stop(b.device);
    check(b.jobs == 0);
    return 0;
}
