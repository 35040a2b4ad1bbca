/* The file below an image, which it reads where it holds nothing of its own. See qcow2_impl.h.
 *
 * An image may come from anywhere, and its backing file's name with it: it is opened only when the
 * user allows that, only as a plain file, and only in the format that the image has recorded.
 */
#include "block/qcow2_impl.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHAIN_MAX 16u /* backing files of backing files */

char *qcow2_backing_path(const char *image, const char *backing)
{
    const char *slash = strrchr(image, '/');
    int dir_len = slash && backing[0] != '/' ? (int)(slash + 1 - image) : 0;
    char *path;
    return asprintf(&path, "%.*s%s", dir_len, image, backing) < 0 ? NULL : path;
}

static bool is_qcow2_file(const char *path)
{
    char magic[4] = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return false;
    }
    ssize_t len = pread(fd, magic, sizeof(magic), 0);
    close(fd);
    return len == 4 && qcow2_probe(magic, 4);
}

/** Whether the backing file is qcow2: what the image has recorded. What a guest may have written
 * into a raw one must not decide. */
static int backing_is_qcow2(const struct qcow2 *q, const char *path, bool *yes,
                            struct block_error *err)
{
    const char *format = q->h.backing_format;
    *yes = strcmp(format, "qcow2") == 0;
    if (*yes || strcmp(format, "raw") == 0) {
        return 0;
    }
    if (format[0]) {
        return block_fail(
            err, "%s: its backing file %s is of format %s; only raw and qcow2 are supported",
            q->base.name, path, format);
    }
    size_t len = strlen(path);
    *yes = len > 6 && strcmp(path + len - 6, ".qcow2") == 0;
    if (!*yes && is_qcow2_file(path)) {
        return block_fail(err,
                          "%s: it does not say of what format its backing file %s is; if it is "
                          "qcow2, say so with qemu-img "
                          "rebase -u -b FILE -F qcow2",
                          q->base.name, path);
    }
    return 0;
}

int qcow2_open_backing(struct qcow2 *q, const char *path, const struct block_options *o,
                       unsigned depth, struct block_error *err)
{
    const char *name = q->h.backing, *colon = strchr(name, ':'), *slash = strchr(name, '/');
    if (!o->allow_backing) {
        return block_fail(
            err, "%s: this image has the backing file %s; say ,backing to allow it to be opened",
            path, name);
    }
    if (depth >= CHAIN_MAX) {
        return block_fail(err, "%s: more than %u backing files in a chain, or a circle of them",
                          path, CHAIN_MAX);
    }
    if (colon && (!slash || colon < slash)) {
        return block_fail(err,
                          "%s: its backing file %s is not a plain file; only those are supported",
                          path, name);
    }
    char *file = qcow2_backing_path(path, name);
    if (!file) {
        return block_fail(err, "%s: no memory", path);
    }
    struct block_options options = *o;
    options.read_only = true;
    options.format = NULL;
    bool is_qcow2;
    int rc = backing_is_qcow2(q, file, &is_qcow2, err);
    if (!rc) {
        rc = is_qcow2 ? qcow2_open_depth(file, &options, depth + 1, &q->backing, err)
                      : raw_open(file, &options, &q->backing, err);
    }
    free(file);
    return rc;
}
