/* See fake_file.h. */
#include "fake_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct fake_file *file_of(struct qcow2_io *io)
{
    return io->ctx;
}

static void *reserve(void)
{
    void *p = mmap(NULL, FAKE_FILE_MAX, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        abort();
    }
    return p;
}

void fake_file_init(struct fake_file *d)
{
    *d = (struct fake_file){.now = reserve(), .stable = reserve()};
}

void fake_file_fini(struct fake_file *d)
{
    munmap(d->now, FAKE_FILE_MAX);
    munmap(d->stable, FAKE_FILE_MAX);
    free(d->log);
    free(d->data);
}

static void *grow(void *p, size_t *room, size_t needed, size_t size)
{
    if (needed <= *room) {
        return p;
    }
    *room = needed * 2;
    p = realloc(p, *room * size);
    if (!p) {
        abort();
    }
    return p;
}

/** Note a write of bytes (NULL: a hole) and do it. */
static void apply(struct fake_file *d, uint64_t off, const uint8_t *bytes, size_t len)
{
    d->log = grow(d->log, &d->log_room, d->log_count + 1, sizeof(*d->log));
    struct fake_write *w = &d->log[d->log_count++];
    *w = (struct fake_write){.off = off, .len = (uint32_t)len, .at = UINT32_MAX};
    if (bytes) {
        d->data = grow(d->data, &d->data_room, d->data_len + len, 1);
        memcpy(d->data + d->data_len, bytes, len);
        w->at = (uint32_t)d->data_len;
        d->data_len += len;
        memcpy(d->now + off, bytes, len);
    } else {
        memset(d->now + off, 0, len);
    }
}

static int fake_read(struct qcow2_io *io, uint64_t off, const struct io_vec *vec, unsigned n)
{
    struct fake_file *d = file_of(io);
    for (unsigned i = 0; i < n; i++) {
        uint64_t there = off < d->size ? min_u64(vec[i].len, d->size - off) : 0;
        memcpy(vec[i].base, d->now + off, there);
        memset(vec[i].base + there, 0, vec[i].len - there);
        off += vec[i].len;
    }
    return 0;
}

static int fake_write(struct qcow2_io *io, uint64_t off, const struct io_vec *vec, unsigned n)
{
    struct fake_file *d = file_of(io);
    uint64_t len = vec_length(vec, n);
    uint8_t *bytes = malloc(len);
    if (!bytes || off + len > FAKE_FILE_MAX) {
        abort();
    }
    vec_gather(vec, n, 0, bytes, len); /* one piece: sectors are whole */
    bool fails = ++d->writes == d->fail_write, full = d->room && off + len > d->room;
    uint64_t done = fails ? len / 2 : full && off < d->room ? d->room - off : full ? 0 : len;
    done = done < len ? align_down(done, BLOCK_SECTOR) : len;
    if (done) {
        apply(d, off, bytes, done);
        d->size = max_u64(d->size, off + done);
    }
    free(bytes);
    io->size = d->size;
    return fails ? -EIO : full ? -ENOSPC : 0;
}

static int fake_sync(struct qcow2_io *io)
{
    struct fake_file *d = file_of(io);
    if (++d->syncs == d->fail_sync) {
        return -EIO;
    }
    for (size_t i = 0; i < d->log_count; i++) {
        memcpy(d->stable + d->log[i].off, d->now + d->log[i].off, d->log[i].len);
    }
    d->stable_size = d->size;
    d->log_count = d->data_len = 0;
    return 0;
}

static void fake_discard(struct qcow2_io *io, uint64_t off, uint64_t len)
{
    struct fake_file *d = file_of(io);
    if (off < d->size) {
        apply(d, off, NULL, min_u64(len, d->size - off));
    }
}

static bool fake_hole(struct qcow2_io *io, uint64_t off, uint64_t len)
{
    (void)len;
    return off >= file_of(io)->size;
}

static void fake_close(struct qcow2_io *io)
{
    (void)io;
}

static const struct qcow2_io_ops fake_ops = {
    .read = fake_read,
    .write = fake_write,
    .sync = fake_sync,
    .discard = fake_discard,
    .hole = fake_hole,
    .close = fake_close,
};

struct qcow2_file fake_file_file(struct fake_file *d)
{
    struct qcow2_file file = {.lock = {.note = -1}};
    file.io =
        (struct qcow2_io){.ops = &fake_ops, .fd = -1, .size = d->size, .grows = true, .ctx = d};
    return file;
}

void fake_file_load(struct fake_file *d, int fd)
{
    off_t size = lseek(fd, 0, SEEK_END);
    if (size < 0 || size > (off_t)FAKE_FILE_MAX || pread(fd, d->now, (size_t)size, 0) != size) {
        abort();
    }
    d->size = d->stable_size = (uint64_t)size;
    d->log_count = d->data_len = 0;
    memset(d->now + size, 0, FAKE_FILE_MAX - (size_t)size);
    memcpy(d->stable, d->now, FAKE_FILE_MAX);
}

void fake_file_crash(struct fake_file *d, unsigned keep, uint64_t (*random)(void *ctx), void *ctx)
{
    for (size_t i = 0; i < d->log_count; i++) {
        const struct fake_write *w = &d->log[i];
        for (uint64_t at = 0, part; at < w->len; at += part) {
            part = min_u64(w->len - at, 512 - (w->off + at) % 512);
            if (random(ctx) % 256 >= keep) {
                continue;
            }
            if (w->at == UINT32_MAX) {
                memset(d->stable + w->off + at, 0, part);
            } else {
                memcpy(d->stable + w->off + at, d->data + w->at + at, part);
                d->stable_size = max_u64(d->stable_size, w->off + at + part);
            }
        }
    }
    memcpy(d->now, d->stable, max_u64(d->size, d->stable_size));
    d->size = d->stable_size;
    d->log_count = d->data_len = 0;
}
