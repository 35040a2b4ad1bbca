/* ring3 image info. The JSON is one object; fields are only ever added, never renamed. */
#include "cli/image.h"

#include "block/mirror.h"
#include "block/qcow2.h"
#include "block/spec.h"
#include "control/json_text.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct report {
    const char *name;
    const char *format;
    uint64_t size;
    uint64_t allocated; /* bytes on the host; 0: not known */
    bool is_qcow2;
    struct qcow2_info qcow2;
    char mirror[256]; /* what the mark of a mirror's leg says; empty: none */
};

static json_object *qcow2_json(const struct qcow2_info *q)
{
    json_object *o = json_object_new_object();
    json_object_object_add(o, "version", json_object_new_int((int)q->version));
    json_object_object_add(o, "cluster_size", json_object_new_int(1 << q->cluster_bits));
    json_object_object_add(o, "refcount_bits", json_object_new_int((int)q->refcount_bits));
    json_object_object_add(o, "compression", json_object_new_string(q->zstd ? "zstd" : "zlib"));
    json_object_object_add(o, "snapshots", json_object_new_int64(q->snapshots));
    json_object_object_add(o, "bitmaps", json_object_new_boolean(q->bitmaps));
    json_object_object_add(o, "dirty", json_object_new_boolean(q->dirty));
    json_object_object_add(o, "corrupt", json_object_new_boolean(q->corrupt));
    json_object_object_add(o, "lazy_refcounts", json_object_new_boolean(q->lazy_refcounts));
    json_object_object_add(o, "extended_l2", json_object_new_boolean(q->extended_l2));
    json_object_object_add(o, "external_data", json_object_new_boolean(q->external_data));
    json_object_object_add(o, "encrypted", json_object_new_boolean(q->encrypted));
    if (q->backing[0]) {
        json_object_object_add(o, "backing", json_text(q->backing));
        json_object_object_add(o, "backing_format", json_text(q->backing_format));
    }
    return o;
}

static void print_json(const struct report *r)
{
    json_object *o = json_object_new_object();
    json_object_object_add(o, "name", json_text(r->name));
    json_object_object_add(o, "format", json_object_new_string(r->format));
    json_object_object_add(o, "size", json_object_new_uint64(r->size));
    if (r->allocated) {
        json_object_object_add(o, "allocated", json_object_new_uint64(r->allocated));
    }
    if (r->is_qcow2) {
        json_object_object_add(o, "qcow2", qcow2_json(&r->qcow2));
    }
    if (r->mirror[0]) {
        json_object_object_add(o, "mirror", json_text(r->mirror));
    }
    puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
                                               JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(o);
}

static void print_qcow2(const struct qcow2_info *q)
{
    printf("clusters    %s, %s compression\n", image_bytes(1ull << q->cluster_bits),
           q->zstd ? "zstd" : "zlib");
    printf("refcounts   %u bits%s\n", q->refcount_bits, q->lazy_refcounts ? ", lazy" : "");
    if (q->backing[0]) {
        printf("backing     %s (%s)\n", q->backing,
               q->backing_format[0] ? q->backing_format : "format not recorded");
    }
    if (q->snapshots) {
        printf("snapshots   %u\n", q->snapshots);
    }
    if (q->bitmaps) {
        puts("bitmaps     yes");
    }
    if (q->dirty) {
        puts("state       not closed cleanly: repaired when it is opened for writing");
    }
    if (q->corrupt) {
        puts("state       damaged: see ring3 image check");
    }
    if (q->extended_l2 || q->external_data || q->encrypted) {
        printf("not usable  %s\n", q->encrypted       ? "encrypted"
                                   : q->external_data ? "external data file"
                                                      : "extended L2 entries");
    }
}

static void print_text(const struct report *r)
{
    printf("name        %s\n", r->name);
    if (r->is_qcow2) {
        printf("format      %s, version %u\n", r->format, r->qcow2.version);
    } else {
        printf("format      %s\n", r->format);
    }
    printf("size        %s (%llu bytes)\n", image_bytes(r->size), (unsigned long long)r->size);
    if (r->allocated) {
        printf("allocated   %s\n", image_bytes(r->allocated));
    }
    if (r->is_qcow2) {
        print_qcow2(&r->qcow2);
    }
    if (r->mirror[0]) {
        printf("mirror      %s\n", r->mirror);
    }
}

/** By opening it as a disk: its size, and whether it is a mirror's leg. */
static int describe_disk(const struct image_args *a, struct report *r, bool needed)
{
    struct block_error err;
    struct block_options o = {.read_only = true};
    struct block *b;
    char *spec;
    if (block_parse(a->word[0], &spec, &o, &err)) {
        return needed ? image_say(a, CLI_USAGE, "%s", err.text) : 0;
    }
    o.read_only = true;
    int rc = block_open(spec, &o, &b, &err);
    free(spec);
    if (rc) {
        return needed ? image_say(a, CLI_USAGE, "%s", err.text) : 0; /* a VM may be using it */
    }
    r->size = b->size;
    r->format = b->ops->format;
    if (mirror_describe(b, r->mirror, sizeof(r->mirror))) {
        r->mirror[0] = '\0';
    }
    block_close(b);
    return 0;
}

/** A file is looked at without locking: also one in use. */
static int describe_file(const struct image_args *a, int fd, struct report *r)
{
    struct block_error err;
    struct stat st;
    uint8_t magic[4];
    if (fstat(fd, &st)) {
        return image_say(a, IMAGE_PROBLEM, "%s: %s", r->name, strerror(errno));
    }
    r->allocated = S_ISREG(st.st_mode) ? (uint64_t)st.st_blocks * 512 : 0;
    r->is_qcow2 = pread(fd, magic, sizeof(magic), 0) == 4 && qcow2_probe(magic, sizeof(magic));
    if (!r->is_qcow2 && S_ISREG(st.st_mode) && spec_ends(r->name, ".qcow2")) {
        return image_say(a, IMAGE_PROBLEM, IMAGE_NO_MAGIC, r->name);
    }
    if (!r->is_qcow2) {
        r->format = "raw";
        r->size = (uint64_t)st.st_size;
        return describe_disk(a, r, !S_ISREG(st.st_mode));
    }
    if (qcow2_info(fd, r->name, &r->qcow2, &err)) {
        return image_say(a, IMAGE_PROBLEM, "%s", err.text);
    }
    r->format = "qcow2";
    r->size = r->qcow2.size;
    return 0;
}

int image_info(const struct image_args *a)
{
    struct report r = {.name = a->word[0]};
    int fd = open(a->word[0], O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    int status = fd >= 0 ? describe_file(a, fd, &r) : describe_disk(a, &r, true);
    if (fd >= 0) {
        close(fd);
    }
    if (status) {
        return status;
    }
    if (a->json) {
        print_json(&r);
    } else {
        print_text(&r);
    }
    return fflush(stdout) ? image_say(a, IMAGE_PROBLEM, "standard output: %s", strerror(errno)) : 0;
}
