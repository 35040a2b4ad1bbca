/* A disk: a virtual disk of block/ behind a virtio block device, with a thread and a crew.
 *
 * The thread alone calls block/. What it may leave to the crew is reading and syncing files of the host: where a read's bytes lie, and which
 * files a flush is about, it asks first (block_locate, block_flush_files). A crew's read that fails is done again in the thread, in the usual way:
 * that knows other legs, and what to say. State: struct disk, the thread's; a job that is under way, the crew's.
 */
#include "base/log.h"
#include "block/guest_disk.h"
#include "block/impl.h"
#include "host/host.h"
#include "host/linux/crew.h"
#include "host/linux/devices.h"
#include "host/linux/host_error.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define CREW_THREADS 8u /* reads and flushes under way */

/** A read, or a flush, of the crew's. */
struct job {
    struct crew_task task; /* first */
    struct disk *disk;
    struct virtio_blk_job *request;
    int err;
    unsigned count; /* of runs, or of files */
    union {
        struct {
            uint64_t off;
            const struct io_vec *vec;
            unsigned n;
            struct block_run run[BLOCK_RUNS_MAX];
        } read;
        int file[BLOCK_FILES_MAX];
    };
};

struct disk {
    struct virtio_blk blk;
    struct block *block;
    struct io_thread *thread;
    struct crew *crew;
    struct job job[VIRTIO_BLK_REQUESTS];
};

/* A mirror lost a leg, a request failed: people should know. */
static void say(void *ctx, const char *line)
{
    (void)ctx;
    host_log(LOG_WARN, line);
}

static void set_timer(void *ctx, uint64_t when_ns, void (*fn)(void *arg), void *arg)
{
    io_thread_timer(ctx, when_ns, fn, arg);
}

/* ---- the crew ---- */

static void read_work(struct crew_task *t)
{
    struct job *j = (struct job *)t;
    j->err = block_read_runs(j->read.run, j->count, j->read.vec, j->read.n, true);
}

static void read_done(struct crew_task *t)
{
    struct job *j = (struct job *)t;
    int err = j->err ? block_read(j->disk->block, j->read.off, j->read.vec, j->read.n) : 0;
    j->request->done(j->request, err);
}

static void flush_work(struct crew_task *t)
{
    struct job *j = (struct job *)t;
    j->err = block_sync_files(j->file, j->count);
}

static void flush_done(struct crew_task *t)
{
    struct job *j = (struct job *)t;
    j->request->done(j->request, block_flush_end(j->disk->block, j->err));
}

static int submit(struct disk *d, struct virtio_blk_job *request, void (*work)(struct crew_task *t), void (*done)(struct crew_task *t))
{
    struct job *j = &d->job[request->index];
    j->task = (struct crew_task){.work = work, .done = done};
    j->disk = d;
    j->request = request;
    crew_submit(d->crew, &j->task);
    return VIRTIO_BLK_LATER;
}

/* What the host has in memory is there at once. */
static int start_read(void *ctx, uint64_t off, const struct io_vec *vec, unsigned n, struct virtio_blk_job *request)
{
    struct disk *d = ctx;
    struct job *j = &d->job[request->index];
    j->count = block_locate(d->block, off, vec_length(vec, n), j->read.run, BLOCK_RUNS_MAX);
    if (j->count == 0) {
        return block_read(d->block, off, vec, n);
    }
    if (block_read_runs(j->read.run, j->count, vec, n, false) == 0) {
        return 0;
    }
    j->read.off = off;
    j->read.vec = vec;
    j->read.n = n;
    return submit(d, request, read_work, read_done);
}

static int start_flush(void *ctx, struct virtio_blk_job *request)
{
    struct disk *d = ctx;
    struct job *j = &d->job[request->index];
    j->count = block_flush_files(d->block, j->file, BLOCK_FILES_MAX);
    return j->count ? submit(d, request, flush_work, flush_done) : block_flush(d->block);
}

static void drain(void *ctx)
{
    const struct disk *d = ctx;
    crew_drain(d->crew);
}

static void on_bell(void *ctx, short revents)
{
    struct disk *d = ctx;
    (void)revents;
    crew_collect(d->crew);
    virtio_blk_look(&d->blk);
}

static int disk_start(struct device *dev)
{
    const struct disk *d = dev->impl;
    return crew_start(d->crew, CREW_THREADS, "disk-crew");
}

/* ---- life ---- */

/* In the thread: it writes out what the format has kept, and a server may be slow. */
static void close_block(void *ctx)
{
    struct disk *d = ctx;
    block_close(d->block);
}

static void disk_destroy(struct device *dev)
{
    struct disk *d = dev->impl;
    io_thread_destroy(d->thread);
    crew_destroy(d->crew);
    free(d);
}

/* The thread, with the crew beside it. 0 or -errno; then neither is there. */
static int create_threads(struct disk *d)
{
    const struct virtio_blk_crew crew = {.ctx = d, .read = start_read, .flush = start_flush, .drain = drain};
    int err = crew_create(&d->crew);
    if (err) {
        return err;
    }
    err = io_thread_create(&d->thread, &d->blk.device, "disk");
    if (err) {
        crew_destroy(d->crew);
        return err;
    }
    virtio_blk_set_timer(&d->blk, &(struct virtio_blk_timer){.set = set_timer, .ctx = d->thread});
    virtio_blk_set_crew(&d->blk, &crew);
    err = io_thread_watch(d->thread, crew_bell(d->crew), POLLIN, on_bell, d);
    BUG_ON(err); /* the first: there is room */
    return 0;
}

/* Open what the argument names. */
static int open_block(struct disk *d, const struct device_place *at, const char *arg, char serial[21], struct boot_error *err)
{
    struct block_options o = {.vm_name = at->vm_name, .report = say};
    struct block_error why = {.gone = false};
    char *spec;
    if (block_parse(arg, &spec, &o, &why)) {
        fmt_line(err->text, sizeof(err->text), "%s", why.text);
        return -1;
    }
    memcpy(serial, o.serial, sizeof(o.serial));
    int failed = block_open(spec, &o, &d->block, &why);
    free(spec);
    if (failed) {
        fmt_line(err->text, sizeof(err->text), "-d %s", why.text);
        return -1;
    }
    return 0;
}

int device_disk_create(struct device *dev, const struct device_place *at, const char *arg, struct boot_error *err)
{
    char serial[21];
    struct disk *d = calloc(1, sizeof(*d));
    if (!d || open_block(d, at, arg, serial, err)) {
        free(d);
        return -1;
    }
    struct virtio_blk_disk guest;
    guest_disk(d->block, serial, &guest);
    virtio_blk_init(&d->blk, at->regs, at->ram, at->slot, 1, &guest);
    int failed = create_threads(d);
    if (failed) {
        fmt_line(err->text, sizeof(err->text), "-d %s: no thread for it: %s", arg, host_error(-failed));
        block_close(d->block);
        free(d);
        return -1;
    }
    io_thread_last(d->thread, close_block, d);
    dev->virtio = &d->blk.device;
    dev->thread = d->thread;
    dev->impl = d;
    dev->start = disk_start;
    dev->destroy = disk_destroy;
    fmt_line(dev->label, sizeof(dev->label), "%s", d->block->name);
    return 0;
}
