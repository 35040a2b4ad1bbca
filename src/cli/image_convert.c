/* ring3 image convert: a disk into a new image, a block device or an NBD disk.
 *
 * Zeros are not copied: what the source knows to be zero is not even read. A new image reads as
 * zero where nothing was written; on anything else zeros are written, as holes where it can.
 */
#include "cli/image.h"

#include "block/impl.h"
#include "block/qcow2.h"
#include "block/spec.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE (2u << 20) /* at least the largest cluster */
#define GRAIN 4096u      /* smaller runs of zeros are copied */

struct copy {
    const struct image_args *a;
    struct block *from, *to;
    bool fresh;       /* `to` reads as zero where nothing was written */
    uint64_t cluster; /* compressed: this many bytes at once; else 0 */
    uint8_t *buf;
    struct progress progress;
};

static bool all_zero(const uint8_t *p, size_t len)
{
    return p[0] == 0 && memcmp(p, p + 1, len - 1) == 0;
}

static int put_zeros(struct copy *c, uint64_t off, uint64_t len)
{
    return c->fresh ? 0 : block_write_zeroes(c->to, off, len, true);
}

/** Write [off, off+len), which is in buf from `at` on, without its zeros. */
static int put_data(struct copy *c, uint64_t off, size_t at, size_t len)
{
    size_t grain = c->cluster ? c->cluster : GRAIN;
    int rc = 0;
    for (size_t done = 0; !rc && done < len;) {
        size_t run = min_u64(grain, len - done);
        bool zero = all_zero(c->buf + at + done, run);
        while (!c->cluster && done + run < len &&
               all_zero(c->buf + at + done + run, min_u64(grain, len - done - run)) == zero) {
            run += min_u64(grain, len - done - run);
        }
        if (zero) {
            rc = put_zeros(c, off + done, run);
        } else if (c->cluster) {
            memset(c->buf + at + done + run, 0, grain - run); /* behind the disk's end */
            rc = qcow2_write_compressed(c->to, off + done, c->buf + at + done);
        } else {
            rc = block_write_buf(c->to, off + done, c->buf + at + done, run);
        }
        done += run;
    }
    return rc;
}

static int fail_io(const struct copy *c, const struct block *b, const char *what, uint64_t off,
                   int rc)
{
    progress_end((struct progress *)(uintptr_t)&c->progress);
    return image_say(c->a, IMAGE_PROBLEM, "%s: %s at byte %llu: %s", b->name, what,
                     (unsigned long long)off, strerror(-rc));
}

/** How much from off on is known to be zero, in whole units of copying. */
static uint64_t known_zero(struct copy *c, uint64_t off)
{
    uint64_t left = c->from->size - off, run = block_zero_run(c->from, off, left);
    return run == left ? run : align_down(run, c->cluster ? c->cluster : GRAIN);
}

static int copy_all(struct copy *c)
{
    for (uint64_t off = 0, part; off < c->from->size; off += part) {
        if (signals_caught()) {
            progress_end(&c->progress);
            return image_say(c->a, IMAGE_PROBLEM, "interrupted; %s is not complete", c->to->name);
        }
        progress_update(&c->progress, off, c->from->size);
        part = known_zero(c, off);
        if (part) {
            part = c->fresh ? part : min_u64(part, 64u << 20);
            int rc = put_zeros(c, off, part);
            if (rc) {
                return fail_io(c, c->to, "cannot be written", off, rc);
            }
            continue;
        }
        part = min_u64(PIECE, c->from->size - off);
        int rc = block_read_buf(c->from, off, c->buf, part);
        if (rc) {
            return fail_io(c, c->from, "cannot be read", off, rc);
        }
        rc = put_data(c, off, 0, part);
        if (rc) {
            return fail_io(c, c->to, "cannot be written", off, rc);
        }
    }
    int rc = block_flush(c->to);
    return rc ? fail_io(c, c->to, "cannot be written", 0, rc) : 0;
}

static int run_copy(const struct image_args *a, struct block *from, struct block *to, bool fresh)
{
    struct copy c = {.a = a, .from = from, .to = to, .fresh = fresh};
    c.cluster = a->compress ? 1ull << image_cluster_bits(a) : 0;
    c.buf = malloc(PIECE + (2u << 20));
    if (!c.buf) {
        return image_say(a, IMAGE_PROBLEM, "no memory");
    }
    progress_begin(&c.progress);
    int status = copy_all(&c);
    progress_end(&c.progress);
    free(c.buf);
    return status;
}

/* ---- where it goes ---- */

static bool is_file_name(const char *name)
{
    struct stat st;
    if (strstr(name, "://")) {
        return false;
    }
    return stat(name, &st) || !S_ISBLK(st.st_mode);
}

static bool is_same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static int into_file(const struct image_args *a, struct block *from, const char *format)
{
    struct block_error err;
    struct image_output out;
    struct block *to;
    const struct block_options o = {0};
    const struct qcow2_create what = {.size = from->size, .cluster_bits = image_cluster_bits(a)};
    const bool raw = strcmp(format, "raw") == 0;
    int status = output_begin(a, a->word[1], a->force, &out);
    if (status) {
        return status;
    }
    int rc =
        raw ? ftruncate(out.fd, (off_t)from->size) : qcow2_create(out.fd, a->word[1], &what, &err);
    if (rc && raw) {
        rc = block_fail(&err, "%s: %s", a->word[1], strerror(errno));
    }
    if (!rc) {
        rc =
            raw ? raw_open(out.temporary, &o, &to, &err) : qcow2_open(out.temporary, &o, &to, &err);
    }
    if (rc) {
        status = image_say(a, IMAGE_PROBLEM, "%s", err.text);
    } else {
        snprintf(to->name, sizeof(to->name), "%s", a->word[1]);
        status = run_copy(a, from, to, true);
        block_close(to);
    }
    if (status) {
        output_discard(&out);
        return status;
    }
    return output_finish(a, &out);
}

/** A block device, or an NBD disk: what is there is overwritten. */
static int into_disk(const struct image_args *a, struct block *from)
{
    struct block_error err;
    struct block_options o = {.format = "raw"};
    struct block *to;
    if (!a->force) {
        return image_say(a, CLI_USAGE, "%s: what is on it would be lost; -y overwrites it",
                         a->word[1]);
    }
    if (block_open(a->word[1], &o, &to, &err)) {
        return image_say(a, CLI_USAGE, "%s", err.text);
    }
    int status = to->size < from->size
                     ? image_say(a, CLI_USAGE, "%s has %s, but %s are needed", a->word[1],
                                 image_bytes(to->size), image_bytes(from->size))
                     : run_copy(a, from, to, false);
    block_close(to);
    return status;
}

static int open_source(const struct image_args *a, struct block **from)
{
    struct block_error err;
    struct block_options o = {0};
    char *spec;
    if (block_parse(a->word[0], &spec, &o, &err)) {
        return image_say(a, CLI_USAGE, "%s", err.text);
    }
    o.read_only = true;
    o.format = a->format ? a->format : o.format;
    int rc = block_open(spec, &o, from, &err);
    bool same = !rc && is_same_file(spec, a->word[1]);
    free(spec);
    if (rc) {
        return image_say(a, CLI_USAGE, "%s", err.text);
    }
    if (same) {
        block_close(*from);
        return image_say(a, CLI_USAGE, "%s and %s are the same file", a->word[0], a->word[1]);
    }
    return 0;
}

int image_convert(const struct image_args *a)
{
    struct block *from = NULL;
    const bool file = is_file_name(a->word[1]);
    const char *format = image_format(a, a->out_format, file ? a->word[1] : "raw");
    if (!format || (a->format && !image_format(a, a->format, ""))) {
        return CLI_USAGE;
    }
    if (strcmp(format, "qcow2") != 0 && (a->compress || a->cluster)) {
        return image_say(a, CLI_USAGE, "%s is for qcow2: add -O qcow2",
                         a->compress ? "-c" : "--cluster");
    }
    if (!file && strcmp(format, "qcow2") == 0) {
        return image_say(a, CLI_USAGE, "%s: a qcow2 image is made in a file", a->word[1]);
    }
    int status = open_source(a, &from);
    if (status || !from) {
        return status;
    }
    signals_catch();
    status = file ? into_file(a, from, format) : into_disk(a, from);
    block_close(from);
    signals_release();
    return status;
}
