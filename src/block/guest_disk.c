/* Implementation of guest_disk.h. No state. */
#include "block/guest_disk.h"

#include "block/impl.h"

#include <stdio.h>
#include <string.h>

static int disk_read(void *ctx, uint64_t off, const struct io_vec *vec, unsigned n)
{
    return block_read(ctx, off, vec, n);
}

static int disk_write(void *ctx, uint64_t off, const struct io_vec *vec, unsigned n)
{
    return block_write(ctx, off, vec, n);
}

static int disk_flush(void *ctx)
{
    return block_flush(ctx);
}

static int disk_discard(void *ctx, uint64_t off, uint64_t len)
{
    return block_discard(ctx, off, len);
}

static int disk_write_zeroes(void *ctx, uint64_t off, uint64_t len, bool unmap)
{
    return block_write_zeroes(ctx, off, len, unmap);
}

static uint64_t disk_ready_ns(void *ctx)
{
    return block_ready_ns(ctx);
}

static void disk_failed(void *ctx, const char *what, uint64_t off, uint64_t len, int err,
                        uint64_t more)
{
    const struct block *b = ctx;
    char before[64] = "", where[80] = "";
    if (more > 0) {
        snprintf(before, sizeof(before), " (%llu more failed before)", (unsigned long long)more);
    }
    if (len > 0) {
        snprintf(where, sizeof(where), " of %llu bytes at %llu", (unsigned long long)len,
                 (unsigned long long)off);
    }
    block_report(b, "disk %s: a %s%s failed: %s; the guest gets an I/O error%s", b->name, what,
                 where, strerror(-err), before);
}

void guest_disk(struct block *b, const char *serial, struct virtio_blk_disk *disk)
{
    *disk = (struct virtio_blk_disk){
        .ctx = b,
        .size = b->size,
        .optimal = b->optimal,
        .read_only = b->read_only,
        .read = disk_read,
        .write = disk_write,
        .flush = disk_flush,
        .discard = disk_discard,
        .write_zeroes = disk_write_zeroes,
        .ready_ns = disk_ready_ns,
        .failed = disk_failed,
    };
    memcpy(disk->id, serial, strnlen(serial, sizeof(disk->id)));
}
