/* ring3 image create */
#include "cli/image.h"

#include "block/qcow2.h"
#include "block/spec.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHAIN_MAX 32u /* files looked at; more than can be opened */

static bool begins_like_qcow2(const char *path)
{
    uint8_t magic[4];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    bool yes =
        fd >= 0 && pread(fd, magic, sizeof(magic), 0) == 4 && qcow2_probe(magic, sizeof(magic));
    if (fd >= 0) {
        close(fd);
    }
    return yes;
}

/** How the image shall name its backing file: the image's folder is where such names begin.
 * malloc'd, or NULL. */
static char *name_in_image(const char *image, const char *backing)
{
    const char *image_slash = strrchr(image, '/'), *slash = strrchr(backing, '/');
    size_t image_dir = image_slash ? (size_t)(image_slash + 1 - image) : 0,
           dir = slash ? (size_t)(slash + 1 - backing) : 0;
    if (backing[0] == '/' || (dir == image_dir && memcmp(image, backing, dir) == 0)) {
        const char *name = backing[0] == '/' ? backing : backing + dir;
        char *text;
        bool scheme = name[0] != '/' && strchr(name, ':'); /* a colon would read as a protocol */
        return asprintf(&text, "%s%s", scheme ? "./" : "", name) < 0 ? NULL : text;
    }
    return realpath(backing, NULL);
}

/** Open the backing file once: it must be one, and *size is its disk's. */
static int look_at_backing(const struct image_args *a, const char *format, uint64_t *size)
{
    struct block_error err;
    struct block *b;
    const struct block_options o = {.read_only = true, .allow_backing = true};
    int rc = strcmp(format, "qcow2") == 0 ? qcow2_open(a->backing, &o, &b, &err)
                                          : raw_open(a->backing, &o, &b, &err);
    if (rc) {
        return image_say(a, CLI_USAGE, "%s", err.text);
    }
    *size = b->size;
    block_close(b);
    return 0;
}

/** The file below the image at path, which is qcow2; *is_qcow2: what that one is. malloc'd; NULL:
 * there is none. */
static char *next_in_chain(const char *path, int fd, bool *is_qcow2)
{
    struct block_error err;
    struct qcow2_info info;
    if (qcow2_info(fd, path, &info, &err) || !info.backing[0]) {
        return NULL;
    }
    *is_qcow2 = info.backing_format[0] ? strcmp(info.backing_format, "qcow2") == 0
                                       : spec_ends(info.backing, ".qcow2");
    return qcow2_backing_path(path, info.backing);
}

/** Whether `made` is the backing file, or one below it: making it anew would destroy what it shall
 * read. The chain was opened once: it has an end, but others may change it meanwhile. */
static bool is_in_chain(const struct stat *made, const char *backing, bool is_qcow2)
{
    char *path = strdup(backing);
    bool found = false;
    for (unsigned left = CHAIN_MAX; path && !found && left > 0; left--) {
        struct stat st;
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        found = fd >= 0 && fstat(fd, &st) == 0 && st.st_dev == made->st_dev &&
                st.st_ino == made->st_ino;
        char *next = fd >= 0 && !found && is_qcow2 ? next_in_chain(path, fd, &is_qcow2) : NULL;
        if (fd >= 0) {
            close(fd);
        }
        free(path);
        path = next;
    }
    free(path);
    return found;
}

static int plan_backing(const struct image_args *a, struct qcow2_create *what)
{
    const char *format = image_format(a, a->backing_format, a->backing);
    if (!format) {
        return CLI_USAGE;
    }
    if (!a->backing_format && strcmp(format, "raw") == 0 && begins_like_qcow2(a->backing)) {
        return image_say(a, CLI_USAGE,
                         "%s begins like a qcow2 image: say -F qcow2, or -F raw to use it as it is",
                         a->backing);
    }
    int status = look_at_backing(a, format, &what->size);
    struct stat made;
    if (!status && stat(a->word[0], &made) == 0 &&
        is_in_chain(&made, a->backing, strcmp(format, "qcow2") == 0)) {
        return image_say(a, CLI_USAGE,
                         "%s is the backing file, or one below it: an image cannot lie over itself",
                         a->word[0]);
    }
    what->backing_format = format;
    what->backing = status ? NULL : name_in_image(a->word[0], a->backing);
    return status || what->backing
               ? status
               : image_say(a, IMAGE_PROBLEM, "%s: %s", a->backing, strerror(errno));
}

/** A number, but none from 1 on: "0", "0G". */
static bool is_zero(const char *text)
{
    size_t digits = strspn(text, "0");
    return digits > 0 && (!text[digits] || (strchr("KMGTkmgt", text[digits]) && !text[digits + 1]));
}

static int parse_size(const struct image_args *a, uint64_t *size)
{
    if (a->words < 2) {
        return a->backing ? 0
                          : image_say(a, CLI_USAGE, "the size of the disk is needed, as in %s 10G",
                                      a->word[0]);
    }
    *size = spec_number(a->word[1], 1024);
    if (is_zero(a->word[1])) {
        return image_say(a, CLI_USAGE, "%s: a disk has 512 bytes at least", a->word[1]);
    }
    if (*size == 0 || *size > INT64_MAX) {
        return image_say(a, CLI_USAGE,
                         "%s: SIZE is a number of bytes, or has a suffix K, M, G or T, as in 10G",
                         a->word[1]);
    }
    if (*size % BLOCK_SECTOR) {
        return image_say(a, CLI_USAGE, "%s: SIZE is a multiple of 512", a->word[1]);
    }
    return 0;
}

static int fill(const struct image_args *a, const struct image_output *out, const char *format,
                const struct qcow2_create *what)
{
    struct block_error err;
    if (strcmp(format, "raw") == 0) {
        return ftruncate(out->fd, (off_t)what->size)
                   ? image_say(a, IMAGE_PROBLEM, "%s: %s", a->word[0],
                               errno == EFBIG ? "the file system has no files so large"
                                              : strerror(errno))
                   : 0;
    }
    return qcow2_create(out->fd, a->word[0], what, &err)
               ? image_say(a, IMAGE_PROBLEM, "%s", err.text)
               : 0;
}

int image_create(const struct image_args *a)
{
    struct qcow2_create what = {.cluster_bits = image_cluster_bits(a)};
    struct image_output out;
    const char *format = image_format(a, a->format, a->word[0]);
    if (!format) {
        return CLI_USAGE;
    }
    if (strcmp(format, "raw") == 0 && (a->backing || a->cluster)) {
        return image_say(a, CLI_USAGE,
                         "%s is for qcow2: give it a name that ends in .qcow2, or -f qcow2",
                         a->backing ? "-b" : "--cluster");
    }
    if (a->backing_format && !a->backing) {
        return image_say(a, CLI_USAGE, "-F is the format of a backing file, but there is no -b");
    }
    int status = a->backing ? plan_backing(a, &what) : 0;
    status = status ? status : parse_size(a, &what.size);
    signals_catch(); /* a file begun is finished, or goes again */
    status = status ? status : output_begin(a, a->word[0], a->force, &out);
    if (!status) {
        status = fill(a, &out, format, &what);
        if (status) {
            output_discard(&out);
        } else {
            status = output_finish(a, &out);
        }
    }
    free((void *)(uintptr_t)what.backing);
    signals_release();
    return status;
}
