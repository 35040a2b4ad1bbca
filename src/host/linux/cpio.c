/* cpio archives, "newc" form. No state but the caller's; any thread. */
#include "host/linux/cpio.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_LEN 110 /* "070701" and 13 numbers of 8 digits */

/* Room for n more bytes, or NULL. The bytes are counted as written. */
static uint8_t *grow(struct cpio *c, size_t n)
{
    if (c->failed) {
        return NULL;
    }
    if (n > c->size - c->len) {
        size_t size = c->size ? c->size : 4096;
        while (size - c->len < n) {
            size *= 2;
        }
        uint8_t *bytes = realloc(c->bytes, size);
        if (!bytes) {
            c->failed = true;
            return NULL;
        }
        c->bytes = bytes;
        c->size = size;
    }
    uint8_t *at = c->bytes + c->len;
    c->len += n;
    return at;
}

static void put(struct cpio *c, const void *data, size_t len)
{
    uint8_t *at = grow(c, len);
    if (at && len) {
        memcpy(at, data, len);
    }
}

static void pad4(struct cpio *c)
{
    put(c, "\0\0\0", -c->len & 3);
}

void cpio_add(struct cpio *c, const char *path, unsigned mode, unsigned major, unsigned minor,
              const void *data, size_t len)
{
    char header[HEADER_LEN + 1];
    c->entries++;
    snprintf(header, sizeof(header), "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
             c->entries, mode, 0, 0, 1, 0, (unsigned)len, 0, 0, major, minor,
             (unsigned)strlen(path) + 1, 0);
    put(c, header, HEADER_LEN);
    put(c, path, strlen(path) + 1);
    pad4(c);
    put(c, data, len);
    pad4(c);
}

int cpio_finish(struct cpio *c)
{
    cpio_add(c, "TRAILER!!!", 0, 0, 0, NULL, 0);
    return c->failed ? -ENOMEM : 0;
}

void cpio_fini(struct cpio *c)
{
    free(c->bytes);
    *c = (struct cpio){0};
}
